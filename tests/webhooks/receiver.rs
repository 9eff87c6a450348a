//! A receiver of webhooks that does what the test says.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) line: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// What the receiver does with one.
#[derive(Clone, Debug)]
pub(crate) enum Does {
    /// Writes this, and closes.
    Says(String),
    /// Says nothing, and closes.
    Drops,
    /// Says nothing, and stays.
    Hangs,
    /// Writes this, the beginning of an answer, and stays.
    Begins(String),
}

impl Does {
    pub(crate) fn answers(status: u16) -> Self {
        Self::Says(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n"))
    }
}

/// It listens as long as the test runs.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    /// Starts one that is told the number of a request, from 0 on.
    pub(crate) fn new(does: impl Fn(usize, &Received) -> Does + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let received = Arc::new(Mutex::new(Vec::new()));
        let (all, does) = (Arc::clone(&received), Arc::new(does));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (all, does) = (Arc::clone(&all), Arc::clone(&does));
                thread::spawn(move || serve(stream, &all, &*does));
            }
        });
        Self { address, received }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hooks?x=1", self.address)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().expect("nobody panics").clone()
    }
}

fn serve(
    mut stream: TcpStream,
    all: &Mutex<Vec<Received>>,
    does: &dyn Fn(usize, &Received) -> Does,
) {
    let Some(request) = read(&mut stream) else { return };
    let number = {
        let mut all = all.lock().expect("nobody panics");
        all.push(request.clone());
        all.len() - 1
    };
    match does(number, &request) {
        Does::Says(text) => {
            let _sent = stream.write_all(text.as_bytes());
        }
        Does::Drops => {}
        Does::Hangs => stay(&mut stream),
        Does::Begins(text) => {
            let _sent = stream.write_all(text.as_bytes());
            stay(&mut stream);
        }
    }
}

/// Waits until the other side has gone.
fn stay(stream: &mut TcpStream) {
    let _ended = stream.read(&mut [0; 16]);
}

fn read(stream: &mut TcpStream) -> Option<Received> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4_096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let mut lines = head.split("\r\n");
            let line = lines.next()?.to_owned();
            let headers: BTreeMap<String, String> = lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect();
            let length: usize = headers.get("content-length")?.parse().ok()?;
            if body.len() >= length {
                return Some(Received { line, headers, body: body.to_owned() });
            }
        }
        match stream.read(&mut piece).ok()? {
            0 => return None,
            read => bytes.extend_from_slice(&piece[..read]),
        }
    }
}
