//! `limitry serve`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use limitry::config::EngineConfig;
use limitry::http::{ApiKeys, Figures, Options, router};
use limitry::store::{Durability, Durable};
use limitry::{Engine, EngineBuilder};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower_service::Service;

use crate::config_file::{self, ServerConfig};
use crate::demo::{self, Traffic};
use crate::rules_file::RulesFile;
use crate::signals::{Signals, Told};
use crate::until_stop::until;
use crate::webhooks::{Sender, WebhooksConfig};
use crate::{Failure, Serve, keys};

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

/// What is served, as the arguments and the file say it.
struct Settings {
    store: Option<PathBuf>,
    keys: Option<PathBuf>,
    backups: Option<PathBuf>,
    project: String,
    listen: SocketAddr,
    bounds: Bounds,
}

/// What clients may ask of the server.
#[derive(Clone, Copy)]
struct Bounds {
    max_connections: usize,
    max_body_bytes: usize,
    head_timeout: Duration,
    request_timeout: Duration,
    stop_timeout: Duration,
}

impl Settings {
    fn of(given: &Serve, file: ServerConfig) -> Self {
        let time = |given: Option<Duration>, file: Option<u64>, default| {
            given.unwrap_or_else(|| Duration::from_secs(file.unwrap_or(default)))
        };
        let bounds = Bounds {
            max_connections: given.max_connections.or(file.max_connections).unwrap_or(4_096),
            max_body_bytes: given.max_body_bytes.or(file.max_body_bytes).unwrap_or(4_194_304),
            head_timeout: time(given.head_timeout, file.head_timeout_seconds, 30),
            request_timeout: time(given.request_timeout, file.request_timeout_seconds, 60),
            stop_timeout: time(given.stop_timeout, file.stop_timeout_seconds, 20),
        };
        let project = given.project.clone().or(file.project);
        let listen = given.listen.or(file.listen);
        Self {
            store: given.store.clone(),
            keys: given.keys.clone().or(file.keys),
            backups: given.backups.clone().or(file.backups),
            project: project.unwrap_or_else(|| "proj_default".to_owned()),
            listen: listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8_700))),
            bounds,
        }
    }
}

async fn serve(options: Serve) -> Result<(), Failure> {
    let (mut server, mut engine, mut fixed) = Default::default();
    let mut webhooks = WebhooksConfig::default();
    if let Some(path) = &options.rules {
        let config = config_file::read(path)?;
        (server, engine, fixed) = (config.server, config.engine, config.fixed);
        webhooks = config.webhooks;
    }
    let settings = Settings::of(&options, server);
    let (known, project) = keys_of(&settings)?;
    let figures = Figures::new();
    let is_stored = settings.store.is_some() || engine.store.is_some();
    let (is_demo, store) = (options.demo, settings.store.as_deref());
    if is_demo {
        engine.recording = Some(demo::recording());
        engine.rollups.get_or_insert_with(demo::rollups);
    }
    let engine = build(store, engine, &figures)?;
    let (mut rules, mut traffic) = (None, None);
    match &options.rules {
        Some(path) => {
            let mut file = RulesFile::of(path, &engine, fixed)?;
            reload(&mut file, &engine)?;
            rules = Some(file);
        }
        None if options.demo => {
            // Before there are rules: each late event would be looked up in what is recorded.
            traffic = Some(Traffic::new().recall(&engine));
            engine.rules().sync(demo::busy_rules(), limitry::rules::SyncOptions::apply())?;
        }
        None if !is_stored => {
            engine.rules().sync(demo::rules(), limitry::rules::SyncOptions::apply())?;
        }
        None => {}
    }
    let mut api = Options::new(&*project, known).max_body_bytes(settings.bounds.max_body_bytes);
    if let Some(folder) = &settings.backups {
        std::fs::create_dir_all(folder).map_err(|why| format!("{}: {why}", folder.display()))?;
        api = api.backups(folder);
    }
    let sender = Sender::start(&engine, &webhooks)?;
    api = api.webhooks(&*project, sender.hooks()).figures(&*project, sender.figures());
    let api = router(engine.clone(), api.page().figures(project, move || figures.page()));
    let traffic = traffic.map(|traffic| tokio::spawn(traffic.run(engine.clone())));
    let listener = TcpListener::bind(settings.listen).await?;
    let signals = Signals::new()?;
    println!("listening on http://{}", listener.local_addr()?);
    std::io::stdout().flush()?;

    let (stop, stopped) = watch::channel(false);
    let watching = tokio::spawn(watch_files(stop, signals, rules, engine.clone()));
    accept(listener, api, settings.bounds, stopped).await;
    watching.abort();
    sender.stop(settings.bounds.stop_timeout).await;
    if let Some(traffic) = traffic {
        traffic.abort();
    }
    // Everything that was answered is in the store.
    tokio::task::spawn_blocking(move || engine.store().close()).await??;
    Ok(())
}

/// The keys, and the project that they open.
fn keys_of(settings: &Settings) -> Result<(ApiKeys, String), Failure> {
    let known = match &settings.keys {
        Some(path) => keys::read(path)?,
        None => keys::print_fresh(&settings.project)?,
    };
    let project = match known.projects().as_slice() {
        [] => settings.project.clone(),
        [project] => (*project).to_owned(),
        many => return Err(several(many).into()),
    };
    Ok((known, project))
}

/// Why keys of several projects are not taken: a store is one project's, and so is a server.
fn several(projects: &[&str]) -> String {
    format!(
        "the file of keys opens {} projects ({}), and a server serves one: give each project a \
         server with a store, a file of keys and a --listen of its own",
        projects.len(),
        projects.join(", "),
    )
}

/// The engine of the file, in the store of the argument where there is one.
fn build(
    store: Option<&Path>,
    mut config: EngineConfig,
    figures: &Figures,
) -> Result<Engine, Failure> {
    if store.is_some() {
        config.store = None;
    }
    let mut builder = EngineBuilder::from_config(config)?.recorder(Arc::new(figures.clone()));
    if let Some(path) = store {
        builder = builder.durable(Durable::open(path)?.durability(Durability::Synced));
    }
    Ok(builder.build()?)
}

/// Takes connections until it is told to stop, and then waits for those that are open.
async fn accept(
    listener: TcpListener,
    api: axum::Router,
    bounds: Bounds,
    mut stopped: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(bounds.max_connections));
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
        let connection = connection(stream, api.clone(), bounds, stopped.clone());
        let connection = open.watch(connection);
        tokio::spawn(async move {
            // Whoever goes away in the middle of a request is nobody's fault.
            let _ended = connection.await;
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(bounds.stop_timeout, open.shutdown()).await.is_err() {
        tracing::warn!("requests were under way for longer than they may when the server stops");
    }
}

fn connection(
    stream: TcpStream,
    api: axum::Router,
    bounds: Bounds,
    stopped: watch::Receiver<bool>,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + Send + 'static {
    let timeout = bounds.request_timeout;
    let service = service_fn(move |request| {
        let (answered, stopped) = (answer(api.clone(), request, timeout), stopped.clone());
        // A stream would keep the server from stopping.
        async move { answered.await.map(|response| until(stopped, response)) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head_timeout)
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
        if !done.fixed.is_empty() {
            let settings = done.fixed.join(", ");
            tracing::warn!(settings, "changed in the file: they hold from the next start on");
        }
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
