//! A server on a thread of its own, and the load that it is given.

use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use rustix::time::ClockId;
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
    /// How many listen to a stream meanwhile, each by this request.
    pub(crate) listeners: (usize, &'static str),
}

/// What a round found.
pub(crate) struct Measured {
    /// Requests a second.
    pub(crate) rate: f64,
    /// Microseconds that one in a hundred requests took longer than.
    pub(crate) p99: f64,
    /// Nanoseconds of CPU time for each request, of all threads but the one that asks.
    pub(crate) cpu: f64,
}

#[derive(Clone, Copy)]
pub(crate) struct Server {
    address: SocketAddr,
    /// The number of its process, where that is another one.
    process: Option<u32>,
    status: u16,
    request: fn(usize) -> String,
    listeners: (usize, &'static str),
}

impl Server {
    /// Serves on a thread of its own.
    pub(crate) fn start(case: Case) -> Result<Self, Failure> {
        let app = case.app;
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
        let Case { status, request, listeners, .. } = case;
        Ok(Self { address, process: None, status, request, listeners })
    }

    /// One that runs already, in another process.
    pub(crate) fn elsewhere(
        address: SocketAddr,
        process: u32,
        status: u16,
        request: fn(usize) -> String,
    ) -> Self {
        Self { address, process: Some(process), status, request, listeners: (0, "") }
    }

    /// Nanoseconds of CPU time that it has taken: its process's, or all threads' but this one, on
    /// which all that asks and listens runs.
    fn cpu(self) -> Result<f64, Failure> {
        let Some(process) = self.process else { return Ok(others()) };
        // The times are behind the name, which may have spaces in it.
        let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
        let (_, fields) = text.rsplit_once(") ").ok_or("a process without a name")?;
        let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
        Ok(ticks.sum::<Result<f64, _>>()? * 1e7)
    }

    /// Sends so many requests on each connection, and says what that took.
    pub(crate) async fn round(self, requests: usize) -> Result<Measured, Failure> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            connections.push(stream);
        }
        let heard = self.listen().await?;
        let (before, start) = (self.cpu()?, Instant::now());
        let load = async move {
            heard.into_iter().for_each(read_on);
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
        let (took, after) = (start.elapsed(), self.cpu()?);
        micros.sort_by(f64::total_cmp);
        let all = micros.len() as f64;
        let p99 = micros[micros.len() * 99 / 100];
        Ok(Measured { rate: all / took.as_secs_f64(), p99, cpu: (after - before) / all })
    }

    /// Streams that have begun: what each is sent first is sent.
    async fn listen(self) -> Result<Vec<TcpStream>, Failure> {
        let (count, request) = self.listeners;
        let mut streams = Vec::new();
        for _ in 0..count {
            let mut stream = TcpStream::connect(self.address).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut buffer = Vec::new();
            while !buffer.windows(15).any(|bytes| bytes == b"event: figures\n") {
                if stream.read_buf(&mut buffer).await? == 0 {
                    return Err(String::from_utf8_lossy(&buffer).into());
                }
            }
            streams.push(stream);
        }
        Ok(streams)
    }

    /// What listeners cost where nobody calls: the share of a CPU over so many seconds.
    pub(crate) async fn idle(self, seconds: u64) -> Result<f64, Failure> {
        let heard = self.listen().await?;
        let (before, start) = (self.cpu()?, Instant::now());
        let wait = async move {
            heard.into_iter().for_each(read_on);
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        };
        LocalSet::new().run_until(wait).await;
        Ok((self.cpu()? - before) / start.elapsed().as_nanos() as f64)
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

/// The request that a case sends, as its service gets it.
pub(crate) fn request(case: &Case, number: usize) -> Result<Request<Body>, Failure> {
    let text = (case.request)(number);
    let (head, body) = text.split_once("\r\n\r\n").ok_or("a head")?;
    let mut lines = head.lines();
    let mut words = lines.next().ok_or("a line")?.split(' ');
    let method = words.next().ok_or("a method")?;
    let request = Request::builder().method(method).uri(words.next().ok_or("a path")?);
    let peer = SocketAddr::from(([127, 0, 0, 1], 8_700));
    let request = request.extension(ConnectInfo(peer));
    let request = lines
        .filter_map(|line| line.split_once(": "))
        .fold(request, |request, (name, value)| request.header(name, value));
    Ok(request.body(Body::from(body.to_owned()))?)
}

/// Reads what comes, until the set of tasks that this one is in is dropped.
fn read_on(mut stream: TcpStream) {
    tokio::task::spawn_local(async move {
        let mut buffer = vec![0; 65_536];
        while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    });
}

/// Nanoseconds of CPU time of all threads but this one.
fn others() -> f64 {
    let of = |clock| {
        let time = rustix::time::clock_gettime(clock);
        time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
    };
    of(ClockId::ProcessCPUTime) - of(ClockId::ThreadCPUTime)
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
