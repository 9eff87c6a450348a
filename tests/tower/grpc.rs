//! Goal: who calls by gRPC is refused as gRPC says it, with the wait in its details, and is let in
//! untouched.
//!
//! Method: tonic's server and client on both sides of the layer, with a codec of plain bytes; the
//! details are read back as protobuf by hand.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{Buf, BufMut};
use http::{Request as HttpRequest, Response as HttpResponse};
use limitry::tower::{Commit, LimitLayer, Source};
use limitry::{Engine, Event, Hold, Metric, Period, Quota, RateLimit, Window};
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::UnaryService;
use tonic::{Code, Request, Response, Status};

use crate::{Calls, engine, run};

/// Messages that are bytes.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut item = vec![0; from.remaining()];
        from.copy_to_slice(&mut item);
        Ok(Some(item))
    }
}

/// Answers what it was sent; `fail` is an error of its own.
#[derive(Clone)]
struct Echo(Calls);

impl UnaryService<Vec<u8>> for Echo {
    type Response = Vec<u8>;
    type Future = std::future::Ready<Result<Response<Vec<u8>>, Status>>;

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        self.0.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let message = request.into_inner();
        std::future::ready(match &*message {
            b"fail" => Err(Status::data_loss("it failed")),
            _ => Ok(Response::new(message)),
        })
    }
}

/// Calls the service behind a layer as tonic's clients do.
async fn call(
    layer: &LimitLayer,
    calls: &Calls,
    headers: &[(&'static str, &str)],
    message: &[u8],
) -> Result<Response<Vec<u8>>, Status> {
    let echo = Echo(calls.clone());
    let server = tower::service_fn(move |request: HttpRequest<Body>| {
        let echo = echo.clone();
        async move {
            let mut server = tonic::server::Grpc::new(Plain);
            Ok::<HttpResponse<Body>, Infallible>(server.unary(echo, request).await)
        }
    });
    let limited = tower::Layer::layer(layer, server);
    let mut client = tonic::client::Grpc::new(limited);
    client.ready().await.map_err(|_| Status::internal("not ready"))?;
    let mut request = Request::new(message.to_vec());
    for (name, value) in headers {
        request.metadata_mut().insert(*name, value.parse().expect("a good value"));
    }
    let path = http::uri::PathAndQuery::from_static("/echo.Echo/Say");
    client.unary(request, path, Plain).await
}

/// The fields of a protobuf message: the number, and bytes or a whole number.
fn fields(mut message: &[u8]) -> Vec<(u64, Result<&[u8], u64>)> {
    fn varint(message: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = message.get_u8();
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        found.push(match key & 7 {
            0 => (key >> 3, Err(varint(&mut message))),
            2 => {
                let length = usize::try_from(varint(&mut message)).expect("a length");
                let (bytes, rest) = message.split_at(length);
                message = rest;
                (key >> 3, Ok(bytes))
            }
            kind => panic!("wire type {kind}"),
        });
    }
    found
}

/// The wait that the details of a status say.
fn retry_delay(status: &Status) -> Option<Duration> {
    if status.details().is_empty() {
        return None;
    }
    let top = fields(status.details());
    assert_eq!(top[0], (1, Err(8)));
    assert_eq!(top[1], (2, Ok(status.message().as_bytes())));
    let any = fields(top[2].1.expect("a message"));
    assert_eq!(any[0], (1, Ok(&b"type.googleapis.com/google.rpc.RetryInfo"[..])));
    let info = fields(any[1].1.expect("a message"));
    assert_eq!((top.len(), any.len(), info.len()), (3, 2, 1));
    let delay = fields(info[0].1.expect("a duration"));
    let part = |number| delay.iter().find(|(it, _)| *it == number).map(|(_, it)| it.unwrap_err());
    let nanos = u32::try_from(part(2).unwrap_or(0)).expect("nanoseconds");
    Some(Duration::new(part(1).unwrap_or(0), nanos))
}

fn limited(limit: u64) -> (Engine, limitry::time::ManualClock) {
    engine(|it| {
        it.rate_limit(
            RateLimit::new("Caf\u{e9} calls, 5%", limit, Window::Minute).per("customer_id"),
        )
    })
}

#[test]
fn a_refusal_is_resource_exhausted_and_says_when_to_retry() {
    let (engine, clock) = limited(1);
    let layer = LimitLayer::new(&engine, Source::header("x-user"));
    let calls = Calls::default();
    let ann = [("x-user", "ann")];
    run(async {
        let answer = call(&layer, &calls, &ann, b"hi").await.expect("room");
        assert_eq!(answer.metadata().get("x-ratelimit-remaining").expect("the limits"), "0");
        assert_eq!(answer.into_inner(), b"hi");
        let status = call(&layer, &calls, &ann, b"hi").await.expect_err("no room");
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "refused by \"Caf\u{e9} calls, 5%\"; passes in 60s");
        assert_eq!(status.metadata().get("retry-after").expect("the wait"), "60");
        assert_eq!(retry_delay(&status), Some(Duration::from_secs(60)));
        for step in [1, 128_000_000, 59_871_999_998] {
            clock.advance(Duration::from_nanos(step));
            let status = call(&layer, &calls, &ann, b"hi").await.expect_err("no room");
            let wait = retry_delay(&status).expect("a wait");
            assert!(wait > Duration::ZERO && wait < Duration::from_secs(60));
        }
        // At that instant it passes.
        clock.advance(Duration::from_nanos(1));
        call(&layer, &calls, &ann, b"hi").await.expect("room");
    });
    assert_eq!(calls.count(), 2);
}

#[test]
fn what_never_passes_says_no_time() {
    let (engine, _) = engine(|it| it.quota(Quota::new("No", Metric::TotalTokens, 1, Period::Day)));
    let layer = LimitLayer::by(&engine, |_| Event::new("ann", "x").total_tokens(2).into());
    let status = run(call(&layer, &Calls::default(), &[], b"")).expect_err("never");
    assert_eq!((status.code(), retry_delay(&status)), (Code::ResourceExhausted, None));
}

#[test]
fn other_answers_are_statuses_too() {
    let (engine, _) = limited(100);
    let layer = LimitLayer::new(&engine, Source::header("x-user"))
        .idempotency_key(Source::header("idempotency-key"))
        .wait(Duration::ZERO);
    let calls = Calls::default();
    let code = |headers: &'static [(&'static str, &'static str)], message: &'static [u8]| {
        run(call(&layer, &calls, headers, message)).map_or_else(|it| it.code(), |_| Code::Ok)
    };
    assert_eq!(code(&[], b""), Code::InvalidArgument);
    assert_eq!(code(&[("x-user", "a"), ("idempotency-key", "k")], b""), Code::Ok);
    assert_eq!(code(&[("x-user", "a"), ("idempotency-key", "k")], b""), Code::AlreadyExists);
    assert_eq!(code(&[("x-user", "a")], b"fail"), Code::DataLoss);
    engine.waiting().close();
    assert_eq!(code(&[("x-user", "a")], b""), Code::Unavailable);
    assert_eq!(calls.count(), 2);
}

#[test]
fn a_reserved_call_is_committed_by_its_status() {
    let tokens = Quota::new("Tokens", Metric::TotalTokens, 100, Period::Day);
    let (engine, _) = engine(|it| it.quota(tokens));
    let layer = LimitLayer::by(&engine, |_| Event::new("ann", "x").total_tokens(50).into());
    let layer = layer.reserve(
        Hold::default(),
        Commit::by_body(1_024, |event, response, body| {
            // Five bytes frame a message. A call that fails has its status in the head.
            let failed = response.headers.contains_key("grpc-status");
            (!failed).then(|| event.total_tokens(body.len() as u64 - 5))
        }),
    );
    let calls = Calls::default();
    let used = || {
        let standing = engine.standing(&Event::new("ann", "x")).expect("a good event");
        let quota = standing.quotas().next().expect("it matches");
        (quota.used.to_u64_floor(), quota.held.to_u64_floor())
    };
    run(async {
        call(&layer, &calls, &[], b"seven b").await.expect("room");
        assert_eq!(used(), (7, 0));
        call(&layer, &calls, &[], b"fail").await.expect_err("it fails");
        assert_eq!(used(), (7, 0));
    });
}
