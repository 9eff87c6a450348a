//! A server on a thread of its own, and the load that it is given.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Instant;

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

pub(crate) const CONNECTIONS: usize = 16;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// What is served and what is asked of it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) app: Router,
    /// The status of each answer; any other ends the bench.
    pub(crate) status: u16,
    /// The request of a number.
    pub(crate) request: fn(usize) -> String,
}

/// What a round found.
pub(crate) struct Measured {
    /// Requests a second.
    pub(crate) rate: f64,
    /// Microseconds that one in a hundred requests took longer than.
    pub(crate) p99: f64,
    /// Nanoseconds of the server's CPU time for each request.
    pub(crate) cpu: f64,
}

#[derive(Clone, Copy)]
pub(crate) struct Server {
    address: SocketAddr,
    status: u16,
    request: fn(usize) -> String,
}

impl Server {
    /// Serves on a thread of its own, and beside the case what CPU time that has taken.
    pub(crate) fn start(case: Case) -> Result<Self, Failure> {
        let cpu = || async {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            (i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)).to_string()
        };
        let app = case.app.route("/cpu", get(cpu));
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
        Ok(Self { address, status: case.status, request: case.request })
    }

    /// Sends so many requests on each connection, and says what that took.
    pub(crate) async fn round(self, requests: usize) -> Result<Measured, Failure> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            connections.push(stream);
        }
        let mut aside = TcpStream::connect(self.address).await?;
        let (before, start) = (cpu_of(&mut aside).await?, Instant::now());
        let load = async move {
            let tasks = connections.into_iter().enumerate().map(|(number, stream)| {
                tokio::task::spawn_local(self.ask_on(stream, number * requests, requests))
            });
            let mut micros = Vec::new();
            for task in tasks.collect::<Vec<_>>() {
                micros.extend(task.await??);
            }
            Ok::<_, Failure>(micros)
        };
        let mut micros = LocalSet::new().run_until(load).await?;
        let (took, after) = (start.elapsed(), cpu_of(&mut aside).await?);
        micros.sort_by(f64::total_cmp);
        let all = micros.len() as f64;
        let p99 = micros[micros.len() * 99 / 100];
        Ok(Measured { rate: all / took.as_secs_f64(), p99, cpu: (after - before) / all })
    }

    /// The microseconds that each request took.
    async fn ask_on(
        self,
        mut stream: TcpStream,
        from: usize,
        requests: usize,
    ) -> Result<Vec<f64>, Failure> {
        let mut buffer = Vec::with_capacity(4_096);
        let mut micros = Vec::with_capacity(requests);
        for number in from..from + requests {
            let request = (self.request)(number);
            let start = Instant::now();
            let head = ask(&mut stream, &request, &mut buffer).await?;
            micros.push(start.elapsed().as_nanos() as f64 / 1e3);
            if !buffer[..head].starts_with(format!("HTTP/1.1 {} ", self.status).as_bytes()) {
                return Err(String::from_utf8_lossy(&buffer).into());
            }
        }
        Ok(micros)
    }
}

async fn cpu_of(stream: &mut TcpStream) -> Result<f64, Failure> {
    let mut buffer = Vec::new();
    let head = ask(stream, "GET /cpu HTTP/1.1\r\nhost: localhost\r\n\r\n", &mut buffer).await?;
    Ok(str::from_utf8(&buffer[head..])?.parse()?)
}

/// Sends one request, and reads its whole answer into the buffer: how long the answer's head is.
async fn ask(
    stream: &mut TcpStream,
    request: &str,
    buffer: &mut Vec<u8>,
) -> Result<usize, Failure> {
    stream.write_all(request.as_bytes()).await?;
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err("the server hung up".into());
        }
        if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = end + 4;
            if buffer.len() >= head + length_of(&buffer[..head])? {
                return Ok(head);
            }
        }
    }
}

/// The length that a head says its body has.
fn length_of(head: &[u8]) -> Result<usize, Failure> {
    let mut lines = str::from_utf8(head)?.lines();
    let length = lines.find_map(|line| line.strip_prefix("content-length: "));
    Ok(length.ok_or("an answer without a length")?.parse()?)
}
