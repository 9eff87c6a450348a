//! Goal: the client reaches public addresses and no other, whatever a name says, and waits for
//! nobody for ever; the loop sends what is due, and one that never answers costs nobody else.
//!
//! Method: a receiver of the test on this machine, which is allowed or not, and a resolver of the
//! test between.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use limitry::Engine;
use limitry::alerts::StandardWebhook;
use limitry::webhooks::{
    Client, ClientOptions, DeliveryStatus, Generation, NewEndpoint, Outgoing, Reply, Resolve,
    Resolving, SendError, Transport, WebhookOptions, Webhooks, run,
};
use tokio::sync::oneshot;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned, crypto};

use super::receiver::{Does, Receiver};
use super::{World, fire, header};

/// Says that every name has these addresses, and counts who asks.
#[derive(Clone, Debug, Default)]
struct Says {
    addresses: Vec<IpAddr>,
    asked: Arc<AtomicUsize>,
}

impl Says {
    fn new(addresses: &[&str]) -> Self {
        let addresses = addresses.iter().map(|it| it.parse().expect("an address")).collect();
        Self { addresses, asked: Arc::default() }
    }
}

impl Resolve for Says {
    fn resolve<'a>(&'a self, _: &'a str) -> Resolving<'a> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let found = self.addresses.clone();
        let none = || Err(io::Error::other("no such name"));
        Box::pin(async move { if found.is_empty() { none() } else { Ok(found) } })
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// A request to a URL, signed.
fn request(url: &str) -> Outgoing {
    let options = WebhookOptions::new().allow_http(true).allow_private_addresses(true);
    let world = World::with(options);
    let new = NewEndpoint::new(url, Generation::Third);
    let id = world.hooks.create(new).expect("it is allowed").endpoint.id;
    world.hooks.test(&id).expect("it is there");
    world.due()[0].request().clone()
}

fn open() -> ClientOptions {
    ClientOptions::new().allow_private_addresses(true).timeout(Duration::from_secs(5))
}

fn send(options: ClientOptions, url: &str) -> Result<Reply, SendError> {
    let (client, request) = (Client::new(options).expect("good roots"), request(url));
    block_on(client.send(&request))
}

#[test]
fn what_is_signed_arrives_as_it_is() {
    let receiver = Receiver::new(|_, _| Does::answers(204));
    let request = request(&receiver.url());
    let client = Client::new(open()).expect("good roots");
    assert_eq!(block_on(client.send(&request)), Ok(Reply::new(204)));
    let received = receiver.received().remove(0);
    assert_eq!(received.line, "POST /hooks?x=1 HTTP/1.1");
    assert_eq!(received.body, &*request.body);
    assert_eq!(received.headers["host"], receiver.address.to_string());
    for name in ["content-type", "user-agent", "webhook-id", "webhook-signature"] {
        assert_eq!(received.headers[name], header(&request, name));
    }
}

#[test]
fn nothing_is_sent_to_an_address_that_is_not_public() {
    let receiver = Receiver::new(|_, _| Does::answers(200));
    let port = receiver.address.port();
    let closed = || ClientOptions::new().timeout(Duration::from_secs(5));
    for address in ["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1"] {
        let expected = Err(SendError::NotPublic { address: address.parse().expect("good") });
        // As it stands in a URL, and as what a name resolves to.
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        assert_eq!(send(closed(), &format!("http://{host}:{port}/")), expected, "{address}");
        let named = closed().resolver(Says::new(&[address]));
        assert_eq!(send(named, &format!("http://hooks.test:{port}/")), expected, "{address}");
    }
    // Forms of an address that a system may take for a name.
    for host in ["2130706433", "0x7f.1", "127.1", "localhost"] {
        let sent = send(closed(), &format!("http://{host}:{port}/"));
        let is_refused = matches!(sent, Err(SendError::NotPublic { .. } | SendError::NoAddress));
        assert!(is_refused, "{host}: {sent:?}");
    }
    let none = closed().resolver(Says::new(&[]));
    assert_eq!(send(none, "https://hooks.test/"), Err(SendError::NoAddress));
    assert!(receiver.received().is_empty());
    // Where it is allowed, the address that was checked is the one that is connected to.
    let says = Says::new(&["127.0.0.1"]);
    let sent = send(open().resolver(says.clone()), &format!("http://hooks.test:{port}/"));
    assert_eq!((sent, says.asked.load(Ordering::Relaxed)), (Ok(Reply::new(200)), 1));
    assert_eq!(receiver.received()[0].headers["host"], format!("hooks.test:{port}"));
}

#[test]
fn a_redirect_is_not_followed() {
    let private = Receiver::new(|_, _| Does::answers(200));
    let to = private.url();
    let receiver = Receiver::new(move |_, _| {
        Does::Says(format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"))
    });
    assert_eq!(send(open(), &receiver.url()), Ok(Reply::new(302)));
    assert!(private.received().is_empty());
}

#[test]
fn bad_receivers_are_waited_for_no_longer_than_was_said() {
    let endless = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n".to_owned();
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(1_000_000));
    let busy = "HTTP/1.1 429 X\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n".to_owned();
    let says = [endless, long, busy, "SSH-2.0-x\r\n".to_owned()].map(Does::Says);
    let slow = Does::Begins("HTTP/1.1 200 OK\r\nx: ".to_owned());
    let does = [&says[..], &[Does::Drops, Does::Hangs, slow]].concat();
    let receiver = Receiver::new(move |number, _| does[number].clone());
    let url = receiver.url();
    // Of an answer no more than the head is read.
    assert_eq!(send(open(), &url), Ok(Reply::new(200)));
    for bad in ["a long head", "busy", "no HTTP", "nothing"] {
        let sent = send(open(), &url);
        if bad == "busy" {
            assert_eq!(sent, Ok(Reply::new(429).retry_after(Duration::from_secs(7))));
        } else {
            assert!(matches!(sent, Err(SendError::Answer { .. })), "{bad}: {sent:?}");
        }
    }
    let hasty = open().timeout(Duration::from_millis(50));
    for _nothing_and_half_a_head in 0..2 {
        assert_eq!(send(hasty.clone(), &url), Err(SendError::TimedOut));
    }
    // Nobody listens there any more.
    let gone = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr();
    let sent = send(open(), &format!("http://{}/", gone.expect("an address")));
    assert!(matches!(sent, Err(SendError::Connect { .. })), "{sent:?}");
}

/// Answers 200 over TLS as `hooks.test`; returns its port.
fn tls_receiver() -> u16 {
    let leaf = CertificateDer::from(include_bytes!("tls/leaf.der").to_vec());
    let key = PrivateKeyDer::Pkcs8(include_bytes!("tls/key.der").to_vec().into());
    let config = ServerConfig::builder_with_provider(crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .and_then(|it| it.with_no_client_auth().with_single_cert(vec![leaf], key));
    let config = Arc::new(config.expect("a good key"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(Arc::clone(&config)).expect("a good setting");
            let mut stream = StreamOwned::new(connection, stream);
            // Who trusts it not goes away.
            let _read = stream.read(&mut [0; 4_096]);
            let _sent = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            stream.conn.send_close_notify();
            let _sent = stream.flush();
        }
    });
    port
}

#[test]
fn tls_is_of_who_is_trusted_and_of_the_name_that_was_called() {
    let port = tls_receiver();
    let local = || open().resolver(Says::new(&["127.0.0.1"]));
    let trusting = || local().root(include_bytes!("tls/root.der").as_slice());
    let to = |host: &str| format!("https://{host}:{port}/");
    assert_eq!(send(trusting(), &to("hooks.test")), Ok(Reply::new(200)));
    for (options, host) in [(trusting(), "other.test"), (local(), "hooks.test")] {
        let sent = send(options, &to(host));
        assert!(matches!(sent, Err(SendError::Tls { .. })), "{host}: {sent:?}");
    }
    assert!(Client::new(open().root([1, 2, 3])).is_err());
}

/// Runs the loop with real receivers until a question is answered with yes.
fn run_until(hooks: &Webhooks, timeout: Duration, is_done: impl Fn() -> bool) {
    block_on(async {
        let client = Client::new(open().timeout(timeout)).expect("good roots");
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move { drop(stopped.await) };
        let running = tokio::spawn(run(hooks.clone(), Arc::new(client), stopped));
        let mut seen = 0;
        while !is_done() {
            seen = hooks.changed(seen).await;
        }
        stop.send(()).expect("it runs");
        running.await.expect("it ends well");
    });
}

#[test]
fn the_loop_sends_to_the_others_while_one_never_answers() {
    let quota = limitry::Quota::new("Q", limitry::Metric::TotalTokens, 1_000, limitry::Period::Day);
    let quota = quota.per("customer_id").alert_at(limitry::rules::Threshold::percent(80));
    let engine = Engine::builder().quota(quota).build().expect("good rules");
    let options = WebhookOptions::new().allow_http(true).allow_private_addresses(true);
    let options = options.retries([Duration::from_millis(1); 5]);
    let hooks = Webhooks::open(&engine, options).expect("no store");
    let dead = Receiver::new(|_, _| Does::Hangs);
    // Each event is refused once.
    let seen = std::sync::Mutex::new(BTreeSet::new());
    let live = Receiver::new(move |_, request| {
        let is_new = seen.lock().expect("good").insert(request.headers["webhook-id"].clone());
        Does::answers(if is_new { 500 } else { 200 })
    });
    let create = |to: &Receiver| hooks.create(NewEndpoint::new(to.url(), Generation::Third));
    let dead_id = create(&dead).expect("it is allowed").endpoint.id;
    let created = create(&live).expect("it is allowed");
    let id = created.endpoint.id;
    for number in 0..8 {
        fire(&engine, &format!("cust_{number}"));
    }
    let delivered = || {
        let page = hooks.deliveries(&id, None, 100).expect("it is there").deliveries;
        page.len() == 8 && page.iter().all(|it| it.status == DeliveryStatus::Delivered)
    };
    run_until(&hooks, Duration::from_millis(300), delivered);
    let received = live.received();
    assert_eq!(received.len(), 16);
    let by = StandardWebhook::new(created.secret.expose()).expect("a secret");
    for one in &received {
        let of = |name: &str| &*one.headers[name];
        let [id, stamp, signed] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(of);
        by.verify(id, stamp, signed, one.body.as_bytes(), engine.now()).expect("it is signed");
    }
    // The other had no more than its three connections at a time, and its failures are its own.
    assert!(dead.received().len() <= 6, "{}", dead.received().len());
    let dead = hooks.deliveries(&dead_id, None, 100).expect("it is there").deliveries;
    assert!(dead.iter().all(|it| it.status != DeliveryStatus::Delivered));
    assert_eq!(hooks.get(&id).expect("it is there").consecutive_failures, 0);
}

/// Takes everything.
#[cfg(feature = "durable")]
#[derive(Debug)]
struct Takes;

#[cfg(feature = "durable")]
impl Transport for Takes {
    fn send<'a>(&'a self, _: &'a Outgoing) -> limitry::webhooks::Sending<'a> {
        Box::pin(async { Ok(Reply::new(200)) })
    }
}

#[test]
#[cfg(feature = "durable")]
fn what_is_old_is_removed_however_much_is_sent() {
    use limitry::store::{Durability, MemoryStore};

    let (memory, clock) = (MemoryStore::new(), limitry::time::ManualClock::new(super::START));
    let store = memory.open().expect("it is free").durability(Durability::Synced);
    let engine = super::rules(&clock).durable(store).build().expect("good rules");
    let hooks = Webhooks::open(&engine, WebhookOptions::new().max_deliveries(10)).expect("a store");
    let id =
        hooks.create(NewEndpoint::new(super::URL, Generation::Third)).expect("good").endpoint.id;
    // By a clock that goes on when all wait.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move { drop(stopped.await) };
        let running = tokio::spawn(run(hooks.clone(), Arc::new(Takes), stopped));
        for _ in 0..100 {
            hooks.test(&id).expect("it is there");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        drop(stop);
        running.await.expect("it ends well");
    });
    let space = engine.store().space("webhook-deliveries").expect("a store");
    let rows = space.list(b"", None, 1_000).expect("the store is good").rows.len();
    // Of a second ten more.
    assert!((10..=30).contains(&rows), "{rows}");
    assert_eq!(hooks.figures().delivered, 100);
}

/// One whose every other answer is a panic.
#[derive(Debug, Default)]
struct Panics(AtomicUsize);

impl Transport for Panics {
    fn send<'a>(&'a self, _: &'a Outgoing) -> limitry::webhooks::Sending<'a> {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        assert!(number > 0, "on purpose");
        Box::pin(async { Ok(Reply::new(200)) })
    }
}

#[test]
fn a_transport_that_panics_has_failed() {
    let world = World::with(WebhookOptions::new().retries([Duration::ZERO]));
    let id = world.endpoint(Generation::Third);
    world.fire("ann");
    block_on(async {
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move { drop(stopped.await) };
        let running = tokio::spawn(run(world.hooks.clone(), Arc::<Panics>::default(), stopped));
        let mut seen = 0;
        while world.hooks.figures().delivered == 0 {
            seen = world.hooks.changed(seen).await;
        }
        drop(stop);
        running.await.expect("it ends well");
    });
    assert_eq!(world.deliveries(&id)[0].attempts, 2);
    assert_eq!(world.hooks.figures().failed_attempts, 1);
}
