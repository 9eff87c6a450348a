//! `limitry serve`.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use limitry::Engine;
use limitry::http::{Options, router};
use limitry::store::{Durability, Durable};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower_service::Service;

use crate::rules_file::RulesFile;
use crate::signals::{Signals, Told};
use crate::{Failure, Serve, demo, keys};

/// How often it is looked whether the file of rules has changed.
const LOOK: Duration = Duration::from_secs(1);
/// About how many bytes a request's head has at most, and how many headers.
const MAX_HEAD_BYTES: usize = 64 * 1_024;
const MAX_HEADERS: usize = 100;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Serves until it is told to stop.
pub(crate) fn run(options: Serve) -> Result<(), Failure> {
    tracing_subscriber::fmt().json().with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(options))
}

async fn serve(options: Serve) -> Result<(), Failure> {
    let engine = build(options.store.as_deref())?;
    let mut rules = None;
    match &options.rules {
        Some(path) => {
            let mut file = RulesFile::of(path, &engine)?;
            reload(&mut file, &engine)?;
            rules = Some(file);
        }
        None if options.store.is_none() => {
            engine.rules().sync(demo::rules(), limitry::rules::SyncOptions::apply())?;
        }
        None => {}
    }
    let known = match &options.keys {
        Some(path) => keys::read(path)?,
        None => keys::print_fresh(&options.project)?,
    };
    let project = match known.projects().as_slice() {
        [] => options.project.clone(),
        [project] => (*project).to_owned(),
        many => return Err(format!("keys of {} projects, and one is served", many.len()).into()),
    };
    let api = Options::new(project, known).max_body_bytes(options.max_body_bytes);
    let api = router(engine.clone(), api);
    let listener = TcpListener::bind(options.listen).await?;
    let signals = Signals::new()?;
    println!("listening on http://{}", listener.local_addr()?);
    std::io::stdout().flush()?;

    let (stop, stopped) = watch::channel(false);
    let watching = tokio::spawn(watch_files(stop, signals, rules, engine.clone()));
    accept(listener, api, &options, stopped).await;
    watching.abort();
    // Everything that was answered is in the store.
    tokio::task::spawn_blocking(move || engine.store().close()).await??;
    Ok(())
}

fn build(store: Option<&Path>) -> Result<Engine, Failure> {
    let mut builder = Engine::builder();
    if let Some(path) = store {
        builder = builder.durable(Durable::open(path)?.durability(Durability::Synced));
    }
    Ok(builder.build()?)
}

/// Takes connections until it is told to stop, and then waits for those that are open.
async fn accept(
    listener: TcpListener,
    api: axum::Router,
    options: &Serve,
    mut stopped: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(options.max_connections));
    let open = GracefulShutdown::new();
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { break };
        let stream = tokio::select! {
            stream = listener.accept() => stream,
            _ = stopped.changed() => break,
        };
        let stream = match stream {
            Ok((stream, _)) => stream,
            Err(why) => {
                // Too many files are open, or so: others will be closed.
                tracing::warn!(%why, "a connection was not taken");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let connection = open.watch(connection(stream, api.clone(), options));
        tokio::spawn(async move {
            // Whoever goes away in the middle of a request is nobody's fault.
            let _ended = connection.await;
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(options.stop_timeout, open.shutdown()).await.is_err() {
        tracing::warn!("requests were under way for longer than they may when the server stops");
    }
}

fn connection(
    stream: TcpStream,
    api: axum::Router,
    options: &Serve,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + Send + 'static {
    let timeout = options.request_timeout;
    let service = service_fn(move |request| answer(api.clone(), request, timeout));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.head_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
}

/// Answers a request in its time, and says so in the log.
async fn answer(
    mut api: axum::Router,
    mut request: Request<Incoming>,
    timeout: Duration,
) -> Result<Response<Body>, std::convert::Infallible> {
    #[expect(clippy::disallowed_methods, reason = "how long it took is for the log alone")]
    let begun = Instant::now();
    let id = request_id(&request);
    if let Ok(id) = HeaderValue::try_from(&*id) {
        request.headers_mut().insert(REQUEST_ID, id);
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let answered = tokio::time::timeout(timeout, api.call(request.map(Body::new))).await;
    let mut response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
            response
        }
    };
    let (status, micros) = (response.status().as_u16(), begun.elapsed().as_micros());
    tracing::info!(request = id, %method, path, status, micros, "answered");
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    Ok(response)
}

/// The id that a request brings, or a new one.
fn request_id(request: &Request<Incoming>) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let given = given.filter(|id| (1..=128).contains(&id.len()));
    given.map_or_else(new_id, str::to_owned)
}

fn new_id() -> String {
    let mut bytes = [0; 12];
    // Without chance it is no id, and the request is answered all the same.
    let _filled = getrandom::fill(&mut bytes);
    bytes.iter().fold("req_".to_owned(), |id, byte| format!("{id}{byte:02x}"))
}

fn reload(file: &mut RulesFile, engine: &Engine) -> Result<(), Failure> {
    if let Some(done) = file.reload(engine)? {
        let (created, updated, removed, left) = (
            done.created.join(", "),
            done.updated.join(", "),
            done.removed.join(", "),
            done.left.join(", "),
        );
        tracing::info!(created, updated, removed, left, "rules read from the file");
    }
    Ok(())
}

/// Reads the rules again when their file changes or the system says so, until it is told to stop.
async fn watch_files(
    stop: watch::Sender<bool>,
    mut signals: Signals,
    mut rules: Option<RulesFile>,
    engine: Engine,
) {
    loop {
        let told = tokio::time::timeout(LOOK, signals.next()).await;
        if let Ok(Told::Stop) = told {
            break;
        }
        // Reading and comparing wait for a disk.
        let (file, of) = (rules.take(), engine.clone());
        let read = tokio::task::spawn_blocking(move || {
            let mut file = file?;
            if let Err(why) = reload(&mut file, &of) {
                file.complain(&why);
            }
            Some(file)
        });
        rules = read.await.ok().flatten();
    }
    tracing::info!("stopping");
    let _stopped = stop.send(true);
}
