//! The tower layer on an empty handler: beside the bare handler, and beside `tower_governor` with
//! one rule.
//!
//! `cargo run --release -p limitry-tower-bench [-- --quick]`
//!
//! Each server has a thread with a runtime of its own; one other thread sends requests over
//! loopback, on as many connections as [`CONNECTIONS`], each when the last one is answered. The
//! cases take turns, so that a busy machine is busy for all. Of each the median of its rounds is
//! shown, and its ratio to the bare handler's: requests a second, and the CPU time that the
//! server's thread took for one, which says more where others use the machine, too.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use limitry::tower::{LimitLayer, Source};
use limitry::{Engine, RateLimit, Window};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower_governor::GovernorLayer;
use tower_governor::governor::GovernorConfigBuilder;

const CONNECTIONS: usize = 16;
const BODY: &str = "hello";

/// A limit that nobody reaches: what is refused costs less.
const LIMIT: u32 = 1_000_000_000;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (rounds, requests) = if quick { (3, 50) } else { (15, 2_000) };
    let hello = || Router::new().route("/", get(|| async { BODY }));
    let governor = GovernorConfigBuilder::default().per_nanosecond(1).burst_size(LIMIT).finish();
    let governor = Arc::new(governor.ok_or("a good configuration")?);
    let mut shown = GovernorConfigBuilder::default();
    let shown = shown.per_nanosecond(1).burst_size(LIMIT).use_headers().finish();
    let shown = Arc::new(shown.ok_or("a good configuration")?);
    let cases = [
        ("bare handler", hello()),
        ("limitry, nothing recorded", hello().layer(limits(false)?)),
        ("limitry, events recorded", hello().layer(limits(true)?)),
        ("tower_governor", hello().layer(GovernorLayer::new(governor))),
        ("tower_governor, headers", hello().layer(GovernorLayer::new(shown))),
    ];
    let mut servers = Vec::new();
    for (name, app) in cases {
        servers.push((name, serve(app)?, Vec::new(), Vec::new()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for _ in 0..rounds {
        for (_, server, rates, costs) in &mut servers {
            let (rate, cost) = runtime.block_on(round(*server, requests))?;
            rates.push(rate);
            costs.push(cost);
        }
    }
    println!("{:<28} {:>12} {:>6}   {:>12} {:>6}", "", "requests/s", "", "CPU ns each", "");
    let mut bare = None;
    for (name, _, rates, costs) in servers {
        let (rate, cost) = (median(rates), median(costs));
        let (bare_rate, bare_cost) = *bare.get_or_insert((rate, cost));
        let (of_rate, of_cost) = (rate / bare_rate, cost / bare_cost);
        println!("{name:<28} {rate:>12.0} {of_rate:>6.2}   {cost:>12.0} {of_cost:>6.2}");
    }
    Ok(())
}

/// By the peer's address, as `tower_governor` does.
fn limits(recording: bool) -> Result<LimitLayer, limitry::Error> {
    let rule = RateLimit::new("Requests", u64::from(LIMIT), Window::Second).per("customer_id");
    let builder = Engine::builder().rate_limit(rule);
    let builder =
        if recording { builder } else { builder.recording(limitry::events::Recording::Off) };
    let peer = Source::peer(|peer: &ConnectInfo<SocketAddr>| peer.0.ip());
    Ok(LimitLayer::new(&builder.build()?, peer))
}

/// Serves on a thread of its own, and beside the layer what CPU time that has taken.
fn serve(app: Router) -> Result<SocketAddr, Failure> {
    let cpu = || async {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        format!("{:>18}", i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec))
    };
    let app = app.route("/cpu", get(cpu));
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let service = app.into_make_service_with_connect_info::<SocketAddr>();
            axum::serve(TcpListener::from_std(listener)?, service).await
        })
    });
    Ok(address)
}

/// One round of a server: requests a second, and nanoseconds of CPU for each.
async fn round(server: SocketAddr, requests: usize) -> Result<(f64, f64), Failure> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        connections.push(stream);
    }
    let mut aside = TcpStream::connect(server).await?;
    let (before, start) = (cpu_of(&mut aside).await?, Instant::now());
    let tasks: Vec<_> = connections.into_iter().map(|stream| (stream, requests)).collect();
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async move {
            let tasks = tasks
                .into_iter()
                .map(|(stream, requests)| tokio::task::spawn_local(ask_on(stream, requests)));
            for task in tasks.collect::<Vec<_>>() {
                task.await??;
            }
            Ok::<(), Failure>(())
        })
        .await?;
    let (after, took) = (cpu_of(&mut aside).await?, start.elapsed());
    let all = (CONNECTIONS * requests) as f64;
    Ok((all / took.as_secs_f64(), (after - before) / all))
}

async fn ask_on(mut stream: TcpStream, requests: usize) -> Result<(), Failure> {
    let mut buffer = Vec::with_capacity(1_024);
    for _ in 0..requests {
        let answer = ask(&mut stream, "/", BODY.len(), &mut buffer).await?;
        if !answer.starts_with(b"HTTP/1.1 200") {
            return Err(String::from_utf8_lossy(answer).into());
        }
    }
    Ok(())
}

async fn cpu_of(stream: &mut TcpStream) -> Result<f64, Failure> {
    let mut buffer = Vec::new();
    let answer = ask(stream, "/cpu", 18, &mut buffer).await?;
    let text = str::from_utf8(&answer[answer.len() - 18..])?;
    Ok(text.trim().parse()?)
}

/// Sends one request, and reads an answer whose body has so many bytes.
async fn ask<'b>(
    stream: &mut TcpStream,
    path: &str,
    body: usize,
    buffer: &'b mut Vec<u8>,
) -> Result<&'b [u8], Failure> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await?;
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err("the server hung up".into());
        }
        let head = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        if head.is_some_and(|head| buffer.len() >= head + 4 + body) {
            return Ok(buffer);
        }
    }
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
