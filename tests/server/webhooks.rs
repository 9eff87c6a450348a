//! Goal: the program sends what fires to its endpoints, signed, says so in its figures, stops in
//! its time, and after a kill sends what was not taken, under the same ids.
//!
//! Method: a receiver in the test, which at first refuses all.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::CALL;
use crate::program::{Folder, Server, run, text};

const CONFIG: &str = r#"
[webhooks]
allowHttp = true
allowPrivateAddresses = true
retrySeconds = [1, 1, 1, 1, 1]
timeoutSeconds = 5

[[quotas]]
name = "Calls"
metric = "total_tokens"
limitValue = 200
period = "month"
per = ["customer_id"]
alertThresholds = [50]
"#;

/// Answers 503 until it is told to take what comes; hands on the head and the body of each.
fn receiver(takes: Arc<AtomicBool>) -> (String, mpsc::Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/hooks", listener.local_addr().expect("an address"));
    let (sender, received) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut bytes, mut piece) = (Vec::new(), [0; 4_096]);
            let (head, body) = loop {
                let read = stream.read(&mut piece).expect("it comes");
                bytes.extend_from_slice(&piece[..read]);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                if let Ok(body) = serde_json::from_str(body) {
                    break (head.to_owned(), body);
                }
            };
            let status = if takes.load(Ordering::Acquire) { 200 } else { 503 };
            let _sent = write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
            let _told = sender.send((head, body));
        }
    });
    (url, received)
}

#[test]
fn what_fires_is_sent_also_after_a_kill() {
    let folder = Folder::new("webhooks");
    let (path, store) = (folder.write("limitry.toml", CONFIG), folder.path("limitry.redb"));
    let arguments = ["--config", text(&path), "--store", text(&store)];
    let server = Server::start(&arguments, None);
    let takes = Arc::new(AtomicBool::new(false));
    let (url, received) = receiver(Arc::clone(&takes));
    let next = || received.recv_timeout(Duration::from_secs(20)).expect("it is sent");
    let new = json!({"url": url, "generation": 3}).to_string();
    let made = server.send("POST", "/engine/v1/webhook-endpoints", &new);
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(server.send("POST", "/v1/track", CALL).status, 201);
    let (first, body) = next();
    assert_eq!(body["type"], "limit.threshold_reached");
    assert_eq!(body["data"]["customerId"], "cust_123");
    assert!(first.contains("webhook-signature: v1,"), "{first}");
    server.signal("KILL");
    server.wait();
    // It was sent and not taken: so it is sent again, and is the same.
    takes.store(true, Ordering::Release);
    let server = Server::start(&arguments, None);
    let (again, same) = loop {
        let (head, body) = next();
        if received.try_recv().is_err() {
            break (head, body);
        }
    };
    let id = |head: &str| head.lines().find(|it| it.starts_with("webhook-id")).map(str::to_owned);
    assert_eq!((id(&again), &same["id"]), (id(&first), &body["id"]));
    let listed = server.send("GET", "/engine/v1/webhook-endpoints", "");
    let endpoint = listed.body["data"][0]["id"].as_str().expect("an id").to_owned();
    let delivered = || {
        let path = format!("/engine/v1/webhook-endpoints/{endpoint}/deliveries");
        server.send("GET", &path, "").body["data"][0]["status"] == "delivered"
    };
    // It is known a moment after the receiver has answered.
    assert!((0..1_000).any(|_| delivered()));
    let Value::String(figures) = server.send("GET", "/metrics", "").body else {
        panic!("a page of figures")
    };
    for line in ["limitry_webhooks_endpoints 1", "limitry_webhooks_delivered_total 1"] {
        assert!(figures.lines().any(|known| known == line), "{line} is not in {figures}");
    }
    server.signal("TERM");
    assert!(server.wait().success());
}

#[test]
fn what_is_wrong_with_the_table_is_said() {
    let folder = Folder::new("webhooks-bad");
    for (table, said) in [
        ("timeoutSeconds = 0", "line 2: webhooks: timeoutSeconds: 0 must be 1 to 86400"),
        ("requestsAtOnce = 101", "requestsAtOnce: 101 must be 1 to 100"),
        ("maxDeliveries = 1", "maxDeliveries: 1 must be 10 to 100000"),
        ("retrySeconds = [5, 0]", "retrySeconds: must be at most 100 waits"),
        ("proxy = \"x\"", "webhooks: unknown field `proxy`"),
    ] {
        let path = folder.write("limitry.toml", &format!("[webhooks]\n{table}\n"));
        let (good, _, errors) = run(&["check", text(&path)]);
        assert!(!good && errors.contains(said), "{said} is not in {errors}");
    }
}
