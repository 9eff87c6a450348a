//! Goal: however often the program is killed, at any moment, each alert of its history has arrived
//! at every endpoint, at least once, and there always under one `webhook-id`.
//!
//! Method: callers let alerts fire, each call one, and the program is killed (SIGKILL) after so
//! many answers or so many webhooks as the seed chooses: when the receiver has answered the last
//! one, or before it does. Some webhooks are answered 503 before. A store goes through several
//! such lives; then the program is started once more, is let send all, and asked for its history.
//! `LIMITRY_LONG=1` has 50 seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::program::{Answer, Folder, Server, text};

const CONFIG: &str = r#"
[webhooks]
allowHttp = true
allowPrivateAddresses = true
retrySeconds = [1, 1, 1, 1, 1]

[[quotas]]
name = "Calls"
metric = "total_tokens"
limitValue = 200
period = "month"
per = ["customer_id"]
alertThresholds = [50]
"#;
const LIVES: u64 = 6;
const CALLERS: u64 = 2;
/// A life ends after fewer answers, or webhooks, than these.
const MOST: u64 = 12;
/// Endpoints, of which each has the path of its generation.
const GENERATIONS: [u64; 2] = [2, 3];

/// What a receiver was sent: the path, the `webhook-id` and the event's id in the body, without its
/// prefix, which each generation has another of.
type Sent = (String, String, String);

/// What happened, on both sides of the program.
#[derive(Default)]
struct Happened {
    /// Customers whose calls were answered.
    answered: Vec<String>,
    sent: Vec<Sent>,
    /// From which webhook on nothing is answered.
    silent_from: Option<usize>,
    /// Whether all are taken.
    takes_all: bool,
}

#[derive(Default)]
struct Watch {
    happened: Mutex<Happened>,
    more: Condvar,
}

impl Watch {
    fn tell<T>(&self, of: impl FnOnce(&mut Happened) -> T) -> T {
        let told = of(&mut self.happened.lock().expect("nobody panics"));
        self.more.notify_all();
        told
    }

    /// Waits until it is so.
    fn until(&self, is_so: impl Fn(&Happened) -> bool) {
        let happened = self.happened.lock().expect("nobody panics");
        let most = Duration::from_secs(60);
        let waited = self.more.wait_timeout_while(happened, most, |happened| !is_so(happened));
        let (happened, timeout) = waited.expect("nobody panics");
        let (answered, sent) = (happened.answered.len(), happened.sent.len());
        assert!(!timeout.timed_out(), "nothing more after {answered} answers, {sent} webhooks");
    }
}

/// Starts a receiver; returns its address.
fn receiver(watch: &Arc<Watch>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let watch = Arc::clone(watch);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let watch = Arc::clone(&watch);
            thread::spawn(move || receive(stream, &watch));
        }
    });
    address
}

/// An id without its prefix.
fn bare(id: &Value) -> String {
    let (_, bare) = id.as_str().and_then(|id| id.split_once('_')).expect("an id");
    bare.to_owned()
}

fn receive(mut stream: TcpStream, watch: &Watch) {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4_096]);
    let (head, body): (String, Value) = loop {
        match stream.read(&mut piece) {
            // Who sent it was killed meanwhile: it has not arrived.
            Ok(0) | Err(_) => return,
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if let Ok(body) = serde_json::from_str(body) {
            break (head.to_owned(), body);
        }
    };
    let path = head.split(' ').nth(1).expect("a request line").to_owned();
    let id = head.lines().find_map(|line| line.strip_prefix("webhook-id: ")).expect("an id");
    let event = bare(&body["id"]);
    let status = watch.tell(|happened| {
        let number = happened.sent.len();
        happened.sent.push((path, id.to_owned(), event));
        let is_silent = happened.silent_from.is_some_and(|from| number >= from);
        let status = if happened.takes_all || number % 7 != 3 { 200 } else { 503 };
        (!is_silent).then_some(status)
    });
    match status {
        Some(status) => {
            let _sent = write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
        }
        // Until who sent it is dead.
        None => while stream.read(&mut piece).is_ok_and(|read| read > 0) {},
    }
}

/// Calls for one new customer after the other, as long as somebody answers.
fn call((address, key): (&str, &str), watch: &Watch, caller: &str) {
    for number in 0..MOST * 2 {
        let customer = format!("{caller}-{number}");
        let body = json!({"customerId": customer, "eventType": "call", "inputTokens": 150});
        let body = body.to_string();
        let length = body.len();
        let request = format!(
            "POST /v1/track HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {key}\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        let Ok(mut stream) = TcpStream::connect(address) else { break };
        let answer = stream.write_all(request.as_bytes()).ok().and_then(|()| Answer::read(stream));
        let Some(answer) = answer else { break };
        assert_eq!(answer.status, 201, "{}", answer.body);
        watch.tell(|happened| happened.answered.push(customer));
    }
}

/// A number below another one, by a seed: splitmix64.
fn below(seed: &mut u64, end: u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % end
}

/// Lets the program live until the seed kills it.
fn live(mut server: Server, watch: &Watch, life: u64, dice: &mut u64) {
    let (kind, most) = (below(dice, 3), below(dice, MOST));
    let most = usize::try_from(most).expect("it is small");
    let (answers, webhooks) = watch.tell(|happened| {
        let webhooks = happened.sent.len() + most;
        happened.silent_from = (kind == 2).then_some(webhooks);
        (happened.answered.len() + most, webhooks)
    });
    let (address, key) = (server.address.clone(), server.key.clone());
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (of, caller) = ((&*address, &*key), format!("{life}-{caller}"));
            scope.spawn(move || call(of, watch, &caller));
        }
        watch.until(|happened| match kind {
            0 => happened.answered.len() >= answers,
            1 => happened.sent.len() >= webhooks,
            // The silent one has come.
            _ => happened.sent.len() > webhooks,
        });
        server.kill();
    });
    watch.tell(|happened| happened.silent_from = None);
}

/// The ids of all alerts of the history, and whose they are.
fn history(server: &Server) -> BTreeMap<String, String> {
    let (mut alerts, mut path) = (BTreeMap::new(), "/engine/v1/alerts?limit=100".to_owned());
    loop {
        let page = server.send("GET", &path, "").body;
        let listed = page["data"].as_array().expect("a list").iter();
        let of = |it: &Value| it["data"]["customerId"].as_str().expect("a customer").to_owned();
        alerts.extend(listed.map(|it| (bare(&it["id"]), of(it))));
        let Some(cursor) = page["nextCursor"].as_str() else { return alerts };
        path = format!("/engine/v1/alerts?limit=100&cursor={cursor}");
    }
}

/// A store's lives; returns how many webhooks came once more.
fn story(seed: u64) -> usize {
    let folder = Folder::new(&format!("webhooks-kill-{seed}"));
    let (path, store) = (folder.write("limitry.toml", CONFIG), folder.path("limitry.redb"));
    let arguments = ["--config", text(&path), "--store", text(&store)];
    let (watch, mut dice) = (Arc::new(Watch::default()), seed);
    let address = receiver(&watch);
    for life in 0..LIVES {
        let server = Server::start(&arguments, None);
        if life == 0 {
            for generation in GENERATIONS {
                let url = format!("http://{address}/{generation}");
                let new = json!({"url": url, "generation": generation}).to_string();
                let made = server.send("POST", "/engine/v1/webhook-endpoints", &new);
                assert_eq!(made.status, 201, "{}", made.body);
            }
        }
        live(server, &watch, life, &mut dice);
    }
    watch.tell(|happened| happened.takes_all = true);
    let server = Server::start(&arguments, None);
    let alerts = history(&server);
    let arrived = |happened: &Happened| {
        let events: BTreeSet<_> = happened.sent.iter().map(|it| (&*it.0, &*it.2)).collect();
        let due = |path: &str| alerts.keys().all(|id| events.contains(&(path, &**id)));
        GENERATIONS.iter().all(|generation| due(&format!("/{generation}")))
    };
    watch.until(arrived);
    let happened = watch.happened.lock().expect("nobody panics");
    let fired: BTreeSet<_> = alerts.values().collect();
    assert!(happened.answered.iter().all(|customer| fired.contains(customer)), "seed {seed}");
    // An endpoint knows an event by one id, and by that id no other event.
    let ids: BTreeSet<_> = happened.sent.iter().map(|(path, id, _)| (path, id)).collect();
    let events: BTreeSet<_> = happened.sent.iter().map(|(path, _, event)| (path, event)).collect();
    let all: BTreeSet<_> = happened.sent.iter().collect();
    assert_eq!((all.len(), all.len()), (ids.len(), events.len()), "seed {seed}: {all:?}");
    // Nothing arrives that is not in the history.
    assert!(events.iter().all(|(_, event)| alerts.contains_key(*event)), "seed {seed}");
    happened.sent.len() - all.len()
}

#[test]
fn whenever_it_is_killed_each_alert_arrives_with_one_id() {
    let is_long = std::env::var_os("LIMITRY_LONG").is_some_and(|value| value == "1");
    let repeated: usize = (0..if is_long { 50 } else { 1 }).map(story).sum();
    println!("{repeated} webhooks came once more");
    assert!(repeated > 0);
}
