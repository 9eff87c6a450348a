//! Asking a running server, by the API that everybody asks.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{Method, Request, StatusCode, Uri};
use clap::Args;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use limitry::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::Failure;

/// The most bytes of an answer that are read.
const MAX_ANSWER: usize = 64 * 1_024 * 1_024;
/// Where the key is, unless it is an argument, which others may see.
const KEY: &str = "LIMITRY_KEY";

/// Which server is asked.
#[derive(Clone, Debug, Args)]
pub(crate) struct Server {
    /// The server.
    #[arg(long, default_value = "http://127.0.0.1:8700")]
    pub(crate) url: Uri,
    /// A key that may; the environment's LIMITRY_KEY where it is left out.
    #[arg(long)]
    pub(crate) key: Option<String>,
}

/// A server, and the key that it is asked with.
#[derive(Debug)]
pub(crate) struct Client {
    url: Uri,
    key: String,
    timeout: Duration,
}

/// Why the server gives no answer.
#[derive(Debug, Deserialize)]
struct Problem {
    detail: String,
    #[serde(default)]
    problems: Vec<Detail>,
}

#[derive(Debug, Deserialize)]
struct Detail {
    path: String,
    message: String,
}

impl Client {
    /// Of a server that has so long for each answer.
    pub(crate) fn new(server: &Server, timeout: Duration) -> Result<Self, Failure> {
        let key = server.key.clone().or_else(|| std::env::var(KEY).ok());
        let key = key.ok_or_else(|| format!("a key must be given, by --key or in {KEY}"))?;
        Ok(Self { url: server.url.clone(), key, timeout })
    }

    /// Asks for what is at a path.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(Method::GET, path, Body::empty())
    }

    /// Sends a body to a path.
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Failure> {
        self.ask(Method::POST, path, Body::from(body.to_string()))
    }

    /// Asks what time it is there.
    pub(crate) fn now(&self) -> Result<Timestamp, Failure> {
        #[derive(Deserialize)]
        struct Health {
            now: Timestamp,
        }
        self.get("/engine/v1/health").map(|Health { now }| now)
    }

    /// Asks for what is no JSON.
    pub(crate) fn text(&self, path: &str) -> Result<String, Failure> {
        let body = self.answer(Method::GET, path, Body::empty())?;
        Ok(String::from_utf8(body).map_err(|why| format!("{}: {why}", self.url))?)
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<T, Failure> {
        let (body, url) = (self.answer(method, path, body)?, &self.url);
        let read = serde_json::from_slice(&body);
        Ok(read.map_err(|why| format!("{url}: not the answer of a server like this: {why}"))?)
    }

    fn answer(&self, method: Method, path: &str, body: Body) -> Result<Vec<u8>, Failure> {
        let url = &self.url;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let asked = self.send(method, path, body);
        let answer = runtime.block_on(async { tokio::time::timeout(self.timeout, asked).await });
        let seconds = self.timeout.as_secs();
        let (status, body) =
            answer.map_err(|_| format!("{url}: no answer in {seconds} seconds"))??;
        if !status.is_success() {
            return Err(said(url, status, &body).into());
        }
        Ok(body)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<(StatusCode, Vec<u8>), Failure> {
        let url = &self.url;
        let authority = url.authority().ok_or("--url: must be as http://127.0.0.1:8700")?;
        if url.scheme_str() != Some("http") {
            let rule = "must begin with http://; what is behind TLS is asked through its proxy";
            return Err(format!("--url: {url} {rule}").into());
        }
        let to = (authority.host(), authority.port_u16().unwrap_or(80));
        let stream = TcpStream::connect(to).await.map_err(|why| format!("{url}: {why}"))?;
        let (mut send, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let path = format!("{}{path}", url.path().trim_end_matches('/'));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, authority.as_str())
            .header(AUTHORIZATION, format!("Bearer {}", self.key))
            .header(CONTENT_TYPE, "application/json")
            .body(body)?;
        let response = send.send_request(request).await?;
        let status = response.status();
        let body = to_bytes(Body::new(response.into_body()), MAX_ANSWER).await?;
        Ok((status, body.to_vec()))
    }
}

fn said(url: &Uri, status: StatusCode, body: &[u8]) -> String {
    let Ok(Problem { detail, problems }) = serde_json::from_slice(body) else {
        return format!("{url}: answered {status}");
    };
    let problems = problems.iter().map(|one| format!("\n  {}: {}", one.path, one.message));
    let problems: String = problems.collect();
    if problems.is_empty() { format!("{url}: {detail}") } else { format!("{url}:{problems}") }
}
