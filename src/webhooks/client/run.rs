//! The loop that sends what is due.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::super::hooks::{Attempt, Webhooks};
use super::super::transport::{SendError, Transport};

/// How often what is old is removed, and what waits for a store that had failed is tried again. No
/// longer does it sleep, either, for clocks may be set.
const TICK: Duration = Duration::from_secs(1);

/// Sends webhooks as they are due, until `stop` is done; then what is under way is waited for, as
/// long as the transport lets it take. What is not sent by then, or where this future is dropped,
/// is sent when the webhooks are opened again.
///
/// It takes the engine's alerts. To be spawned in a runtime of tokio; what waits for a disk is done
/// on its threads for that.
pub async fn run(hooks: Webhooks, transport: Arc<dyn Transport>, stop: impl Future<Output = ()>) {
    let mut stop = pin!(stop);
    let mut under_way = JoinSet::new();
    let (mut seen, mut has_alerts) = (0, true);
    let alerts = hooks.engine().alerts();
    // By its own time, which goes on however much is sent.
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        for attempt in hooks.due() {
            under_way.spawn(make(attempt, Arc::clone(&transport)));
        }
        let now = hooks.engine().now();
        let wait = hooks.next_due().map_or(TICK, |at| at.saturating_since(now).min(TICK));
        tokio::select! {
            () = &mut stop => break,
            alert = alerts.next(), if has_alerts => match alert {
                Some(alert) => wait_for(&hooks, move |hooks| hooks.accept(alert)).await,
                // The engine is closed.
                None => has_alerts = false,
            },
            version = hooks.changed(seen) => seen = version,
            _ = tick.tick() => wait_for(&hooks, |hooks| {
                hooks.take_alerts()?;
                hooks.upkeep()
            }).await,
            // Something is due.
            () = sleep(wait) => {}
            Some(_ended) = under_way.join_next() => {}
        }
    }
    while under_way.join_next().await.is_some() {}
}

/// Does what waits for a disk. Where the store has failed it is said by the engine's health, and
/// tried again.
async fn wait_for<T: Send + 'static>(
    hooks: &Webhooks,
    work: impl FnOnce(&Webhooks) -> T + Send + 'static,
) {
    let hooks = hooks.clone();
    let _done = spawn_blocking(move || drop(work(&hooks))).await;
}

/// Makes an attempt.
async fn make(attempt: Attempt, transport: Arc<dyn Transport>) {
    let request = attempt.request().clone();
    // In a task of its own, which ends with this one: a transport that panics has failed.
    let mut alone = JoinSet::new();
    alone.spawn(async move { transport.send(&request).await });
    let sent = alone.join_next().await.and_then(Result::ok);
    let panicked = || Err(SendError::Answer { why: "the transport has panicked".to_owned() });
    let result = sent.unwrap_or_else(panicked);
    let _done = spawn_blocking(move || drop(attempt.done(&result))).await;
}
