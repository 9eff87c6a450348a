//! `GET /engine/v1/stream`: the figures of a project as server-sent events.
//!
//! They are made by one task, for all who listen, once a second at most, and by none where nobody
//! listens. A listener has no queue: it takes the newest figures when its connection has room, so
//! that a slow one skips some and costs nobody anything.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::response::Response;
use futures_util::stream::unfold;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use self::frame::{Point, event};
use self::sampler::Sampler;
use super::access::Need;
use super::call::{Answer, Call, Project};
use super::failure::{Failure, Reason};

mod frame;
mod sampler;

/// How often figures are made.
const EVERY: Duration = Duration::from_secs(1);
/// After how long without figures a line says that the connection is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// After how many figures a stream ends, so that a key that has ended is asked for again: they are
/// those of a quarter of an hour.
const LONGEST: u32 = 15 * 60;
/// How many may listen to a project at once.
const MOST: usize = 256;

/// Figures as they are sent.
#[derive(Debug)]
struct Shown {
    /// The points of before, for who has just come.
    history: Vec<Point>,
    /// What is made less often.
    tables: [Table; 3],
    /// The figures of a second.
    figures: Bytes,
}

/// A table as it is sent, and how often it has changed.
#[derive(Clone, Debug, Default)]
struct Table {
    bytes: Bytes,
    version: u64,
}

/// Who listens to a project, and the task that makes figures for them, where there is one.
#[derive(Debug, Default)]
pub(super) struct Live(Mutex<Running>);

#[derive(Debug, Default)]
struct Running {
    /// Of which task `sender` is.
    number: u64,
    sender: Option<watch::Sender<Option<Arc<Shown>>>>,
}

/// One who listens.
struct Listener {
    shown: watch::Receiver<Option<Arc<Shown>>>,
    /// Which versions of the tables were sent; none to who has just come.
    sent: Option<[u64; 3]>,
    /// How many figures are still sent.
    left: u32,
}

/// `GET /stream`
pub(super) async fn stream(call: Call) -> Answer {
    let project = call.needs(Need::Read)?.project;
    let shown = project.live().listen(&project)?;
    let listener = Listener { shown, sent: None, left: LONGEST };
    let mut response = Response::new(Body::from_stream(unfold(listener, Listener::next)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx keeps answers back until it has a page of them, unless this says no.
    let buffering = HeaderName::from_static("x-accel-buffering");
    headers.insert(buffering, HeaderValue::from_static("no"));
    Ok(response)
}

impl Live {
    /// The figures of the project that this is of, which are made from now on.
    fn listen(&self, project: &Project) -> Result<watch::Receiver<Option<Arc<Shown>>>, Failure> {
        let mut running = self.0.lock();
        if let Some(sender) = &running.sender {
            if sender.receiver_count() >= MOST {
                let message = format_args!("{MOST} listen to this project: no more may");
                return Err(Failure::new(Reason::Unavailable, &message).code("too_many_streams"));
            }
            let mut receiver = sender.subscribe();
            if receiver.borrow().is_some() {
                receiver.mark_changed();
            }
            return Ok(receiver);
        }
        let (sender, receiver) = watch::channel(None);
        running.number = running.number.wrapping_add(1);
        running.sender = Some(sender);
        let task = Task { project: project.clone(), number: running.number };
        tokio::spawn(task.run());
        Ok(receiver)
    }
}

/// The task that makes figures. However it ends, the next one to listen begins another.
struct Task {
    project: Project,
    number: u64,
}

impl Task {
    async fn run(self) {
        let mut sampler = Sampler::default();
        let mut seconds = interval(EVERY);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            seconds.tick().await;
            let look = move |engine: &_| {
                let shown = sampler.look(engine);
                Ok((sampler, shown))
            };
            let Ok((after, shown)) = self.project.ask(look).await else { return };
            sampler = after;
            if !self.show(shown) {
                return;
            }
        }
    }

    /// Hands figures on, unless nobody listens any more.
    fn show(&self, shown: Shown) -> bool {
        let mut running = self.project.live().0.lock();
        match &running.sender {
            Some(sender) if sender.receiver_count() > 0 => {
                sender.send_replace(Some(Arc::new(shown)));
                true
            }
            _ => {
                running.sender = None;
                false
            }
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let mut running = self.project.live().0.lock();
        if running.number == self.number {
            running.sender = None;
        }
    }
}

impl Listener {
    /// Waits for what is sent next; none when that is all.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        self.left = self.left.checked_sub(1)?;
        match timeout(HEARTBEAT, self.shown.changed()).await {
            Err(_) => return Some((Ok(Bytes::from_static(b": alive\n\n")), self)),
            // The task has failed: who listens comes again.
            Ok(Err(_)) => return None,
            Ok(Ok(())) => {}
        }
        let shown = self.shown.borrow_and_update().clone();
        let bytes = shown.map_or_else(Bytes::new, |shown| self.of(&shown));
        Some((Ok(bytes), self))
    }

    /// What this one is sent of the figures.
    fn of(&mut self, shown: &Shown) -> Bytes {
        let versions = shown.tables.each_ref().map(|table| table.version);
        if self.sent == Some(versions) {
            return shown.figures.clone();
        }
        let sent = self.sent.replace(versions);
        let history = sent.is_none().then(|| event("history", &shown.history));
        let sent = sent.unwrap_or_default();
        let other = shown.tables.iter().zip(sent).filter(|(table, sent)| table.version != *sent);
        let parts = history.iter().chain(other.map(|(table, _)| &table.bytes));
        let parts: Vec<&[u8]> = parts.chain([&shown.figures]).map(|part| &part[..]).collect();
        parts.concat().into()
    }
}
