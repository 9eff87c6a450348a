//! `limitry plan`: what a running server would change.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{Request, StatusCode, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use limitry::RuleSet;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{Failure, Plan, config_file};

/// How long the server may take for its answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes of an answer that are read.
const MAX_ANSWER: usize = 64 * 1_024 * 1_024;
/// Where the key is, unless it is an argument, which others may see.
const KEY: &str = "LIMITRY_KEY";

/// What the server says.
#[derive(Debug, Deserialize)]
struct Report {
    created: Vec<String>,
    updated: Vec<Change>,
    removed: Vec<String>,
    #[serde(default)]
    archived: Vec<String>,
    unchanged: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Change {
    name: String,
    fields: serde_json::Map<String, Value>,
}

/// Why the server gives no report.
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

/// Prints what would change; whether anything would.
pub(crate) fn run(options: &Plan) -> Result<bool, Failure> {
    let rules = config_file::read(&options.rules)?.set;
    let key = options.key.clone().or_else(|| std::env::var(KEY).ok());
    let key = key.ok_or_else(|| format!("a key must be given, by --key or in {KEY}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = ask(&options.url, &key, &rules, &options.missing);
    let report = runtime.block_on(async { tokio::time::timeout(TIMEOUT, asked).await });
    let report = report.map_err(|_| format!("{}: no answer in 30 seconds", options.url))??;
    print(&report);
    let counts = [&report.created, &report.removed, &report.archived].map(Vec::len);
    Ok(!report.updated.is_empty() || counts.iter().any(|count| *count > 0))
}

async fn ask(url: &Uri, key: &str, rules: &RuleSet, missing: &str) -> Result<Report, Failure> {
    let authority = url.authority().ok_or("--url: must be as http://127.0.0.1:8700")?;
    if url.scheme_str() != Some("http") {
        let rule = "must begin with http://; what is behind TLS is asked through its proxy";
        return Err(format!("--url: {url} {rule}").into());
    }
    let to = (authority.host(), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(to).await.map_err(|why| format!("{url}: {why}"))?;
    let (mut send, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let path = format!("{}/engine/v1/sync", url.path().trim_end_matches('/'));
    let body = json!({"rules": rules, "preview": true, "missing": missing});
    let request = Request::post(path)
        .header(HOST, authority.as_str())
        .header(AUTHORIZATION, format!("Bearer {key}"))
        .header(CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))?;
    let response = send.send_request(request).await?;
    let status = response.status();
    let body = to_bytes(Body::new(response.into_body()), MAX_ANSWER).await?;
    if status != StatusCode::OK {
        return Err(said(url, status, &body).into());
    }
    let report = serde_json::from_slice(&body);
    Ok(report.map_err(|why| format!("{url}: not the answer of a server like this: {why}"))?)
}

fn said(url: &Uri, status: StatusCode, body: &[u8]) -> String {
    let Ok(Problem { detail, problems }) = serde_json::from_slice(body) else {
        return format!("{url}: answered {status}");
    };
    let problems = problems.iter().map(|one| format!("\n  {}: {}", one.path, one.message));
    let problems: String = problems.collect();
    if problems.is_empty() { format!("{url}: {detail}") } else { format!("{url}:{problems}") }
}

fn print(report: &Report) {
    let Report { created, updated, removed, archived, unchanged } = report;
    for name in created {
        println!("+ {name}");
    }
    for Change { name, fields } in updated {
        println!("~ {name}");
        for (field, change) in fields {
            println!("    {field}: {} -> {}", change["from"], change["to"]);
        }
    }
    for (sign, names) in [("-", removed), ("archive", archived)] {
        for name in names {
            println!("{sign} {name}");
        }
    }
    let [created, updated, removed, archived, unchanged] =
        [created.len(), updated.len(), removed.len(), archived.len(), unchanged.len()];
    let archived = if archived > 0 { format!("{archived} to archive, ") } else { String::new() };
    println!(
        "{created} to create, {updated} to update, {removed} to remove, {archived}{unchanged} \
         unchanged"
    );
}
