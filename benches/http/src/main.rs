//! limitry over HTTP beside handlers without it: requests a second, latencies, and CPU time.
//!
//! `cargo run --release -p limitry-http-bench [-- --quick] [layer] [api] [stream] [peers]`
//!
//! - `layer`: the tower layer on an empty handler, beside that handler and beside `tower_governor`
//!   with one rule.
//! - `api`: `POST /v1/track` of the product's API with four rules, recording on, by 1 000
//!   customers, beside a handler that parses the same body and answers one of the same size.
//! - `stream`: the same of the API while nobody listens to the page's stream, while one does, and
//!   while a hundred do; and what they cost where nobody calls. Wanted: one costs a loaded server
//!   at most 1 % of its rate, a hundred at most 5 %.
//! - `peers`: the same API beside limitador's server with the same four limits in memory, each
//!   server on the first core and who asks on the second. What an answer says is not the same: that
//!   of limitador has the headers of one limit and the body `null`, limitry's has all four limits.
//!   It is skipped, and says so, where `limitador-server` is neither in the path nor named by
//!   `LIMITADOR_SERVER`. Its crate is not on crates.io: `cargo build --release -p limitador-server`
//!   in a clone of github.com/Kuadrant/limitador makes it, with `protoc`, OpenSSL's headers and
//!   `libclang` installed.
//!
//! Each server has a thread with a runtime of its own; one other thread sends requests over
//! loopback, on as many connections as [`load::CONNECTIONS`], each when the last one is answered.
//! The cases take turns, so that a busy machine is busy for all. Of each the median of its rounds
//! is shown, and its ratio to the first one's: requests a second, the latency that one in a hundred
//! requests exceeds, and the CPU time that all threads but the asking one took for a request, which
//! says more where others use the machine, too.
//!
//! `profile SECTION CASE CALLS` makes so many warm calls of a case of `layer` or `api` without a
//! server, to count their instructions:
//! `valgrind --tool=callgrind --toggle-collect='*profiled_calls*'`.

mod api;
mod layer;
mod load;
#[cfg(target_os = "linux")]
mod peers;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use load::{Case, Failure, Measured, Server};
use tokio::runtime::Runtime;
use tower::ServiceExt;

const NAMES: [&str; 4] = ["layer", "api", "stream", "peers"];

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, section, name, calls] = &*arguments
        && verb == "profile"
    {
        return profile(section, name, calls.parse()?);
    }
    let (options, names): (Vec<_>, Vec<_>) =
        arguments.iter().partition(|argument| argument.starts_with("--"));
    let quick = match options.as_slice() {
        [] => false,
        [option] if *option == "--quick" => true,
        _ => return Err(format!("{options:?}: --quick is the only option").into()),
    };
    if let Some(name) = names.iter().find(|name| !NAMES.contains(&name.as_str())) {
        return Err(format!("{name}: must be one of {NAMES:?}").into());
    }
    let is_asked = |name: &str| names.is_empty() || names.iter().any(|it| *it == name);
    if is_asked("layer") {
        let (rounds, requests) = if quick { (3, 50) } else { (15, 2_000) };
        show("the layer on an empty handler", started(layer::cases()?)?, rounds, requests)?;
    }
    if is_asked("api") {
        let (rounds, requests) = if quick { (3, 50) } else { (15, 1_000) };
        show("POST /v1/track, four rules", started(api::cases()?)?, rounds, requests)?;
    }
    if is_asked("stream") {
        // Some seconds a round: figures are made once a second.
        let (rounds, requests, seconds) = if quick { (1, 50, 1) } else { (7, 5_000, 10) };
        show("the same, with a stream", started(api::listened_to()?)?, rounds, requests)?;
        show_idle(api::listened_to()?, seconds)?;
    }
    if is_asked("peers") {
        let (rounds, requests) = if quick { (3, 50) } else { (15, 1_000) };
        show_peers(rounds, requests)?;
    }
    Ok(())
}

/// The API beside other servers, where there are some. It is the last: the threads stay where they
/// are.
#[cfg(target_os = "linux")]
fn show_peers(rounds: usize, requests: usize) -> Result<(), Failure> {
    // What is started stays on the core of who starts it.
    let has_two = std::thread::available_parallelism()?.get() > 1;
    peers::pin(0)?;
    let limitador = match peers::Limitador::start()? {
        Ok(limitador) => limitador,
        Err(why) => {
            println!("peers: skipped: {why}");
            return Ok(());
        }
    };
    let mut servers = vec![("limitador-server", limitador.server())];
    servers.extend(started(api::beside_others()?)?);
    if has_two {
        peers::pin(1)?;
    }
    show("four limits, on one core", servers, rounds, requests)
}

#[cfg(not(target_os = "linux"))]
fn show_peers(_: usize, _: usize) -> Result<(), Failure> {
    println!("peers: skipped: cores and CPU time are asked of Linux");
    Ok(())
}

/// Servers of cases, by their names.
fn started(cases: Vec<Case>) -> Result<Vec<(&'static str, Server)>, Failure> {
    cases.into_iter().map(|case| Ok((case.name, Server::start(case)?))).collect()
}

/// Makes so many warm calls of a case of a section, without a server.
fn profile(section: &str, name: &str, calls: usize) -> Result<(), Failure> {
    let cases = if section == "layer" { layer::cases()? } else { api::cases()? };
    let case = cases.into_iter().find(|case| case.name == name).ok_or("no such case")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let requests = || -> Result<Vec<_>, Failure> {
        (0..calls).map(|number| load::request(&case, number)).collect()
    };
    runtime.block_on(answer_all(&case.app, requests()?));
    profiled_calls(&runtime, &case.app, requests()?);
    Ok(())
}

/// What callgrind collects: `--toggle-collect='*profiled_calls*'`.
#[inline(never)]
fn profiled_calls(runtime: &Runtime, app: &Router, requests: Vec<Request<Body>>) {
    runtime.block_on(answer_all(app, requests));
}

async fn answer_all(app: &Router, requests: Vec<Request<Body>>) {
    for request in requests {
        let Ok(answer) = app.clone().oneshot(request).await;
        let body = to_bytes(answer.into_body(), usize::MAX).await;
        std::hint::black_box(body.is_ok());
    }
}

/// What listeners cost where nobody calls.
fn show_idle(cases: Vec<Case>, seconds: u64) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("{:<30} {:>11}", "nobody calls", "% of a CPU");
    for case in cases {
        let name = case.name;
        let share = runtime.block_on(Server::start(case)?.idle(seconds))?;
        println!("{name:<30} {:>11.3}", share * 100.0);
    }
    println!();
    Ok(())
}

/// Measures the cases in turns, and prints a line for each.
fn show(
    title: &str,
    servers: Vec<(&'static str, Server)>,
    rounds: usize,
    requests: usize,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let with_rounds = servers.into_iter().map(|(name, server)| (name, server, Vec::new()));
    let mut servers: Vec<_> = with_rounds.collect();
    for _ in 0..rounds {
        for (_, server, rounds) in &mut servers {
            rounds.push(runtime.block_on(server.round(requests))?);
        }
    }
    println!(
        "{title:<30} {:>11} {:>5}   {:>11} {:>5}   {:>11} {:>5}",
        "requests/s", "", "p99 us", "", "CPU ns each", ""
    );
    let mut first = None;
    for (name, _, rounds) in servers {
        let of = |figure: fn(&Measured) -> f64| median(rounds.iter().map(figure).collect());
        let (rate, p99, cpu) = (of(|it| it.rate), of(|it| it.p99), of(|it| it.cpu));
        let bare: &Measured = first.get_or_insert(Measured { rate, p99, cpu });
        println!(
            "{name:<30} {rate:>11.0} {:>5.2}   {p99:>11.0} {:>5.2}   {cpu:>11.0} {:>5.2}",
            rate / bare.rate,
            p99 / bare.p99,
            cpu / bare.cpu
        );
    }
    println!();
    Ok(())
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
