//! The handle.

use std::collections::HashSet;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::delivery::{Delivery, DeliveryPage, DeliveryRow, DeliveryStatus};
use super::endpoint::{
    Created, Endpoint, EndpointError, EndpointRow, MAX_ENDPOINTS, NewEndpoint, Secret,
};
use super::payload::Payload;
use super::settings::WebhookOptions;
use super::state::{Counts, Due, State, key};
use super::transport::{Outgoing, Reply, SendError};
use crate::alerts::Delivered;
use crate::errors::StoreError;
use crate::store::{Space, SpaceError};
use crate::{Engine, Timestamp};

/// How many rows of the store are removed in passing.
const REMOVED_AT_ONCE: usize = 20;
/// How many alerts are taken at once.
const ALERTS: usize = 100;
/// How many deliveries a page has at most.
const MAX_PAGE: usize = 100;

/// The webhooks of an engine: see the [module](super). A cheap handle; all clones are one.
#[derive(Clone)]
pub struct Webhooks(Arc<Inner>);

struct Inner {
    engine: Engine,
    options: WebhookOptions,
    /// Held by who changes something, from when it looks to when it is stored: so rows are stored
    /// in the order of what they say. Nothing of it is held while a request is under way.
    changes: Mutex<()>,
    /// Locked under `changes`, or alone; never while a store is waited for.
    state: Mutex<State>,
    waiting: Mutex<Waiting>,
    /// Alerts that were taken and could not be stored.
    unstored: Mutex<Vec<Delivered>>,
    endpoints: Option<Space>,
    deliveries: Option<Space>,
}

/// Who waits for a change.
#[derive(Debug, Default)]
struct Waiting {
    version: u64,
    wakers: Vec<Waker>,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").field("figures", &self.figures()).finish_non_exhaustive()
    }
}

/// Figures of webhooks: what is now, and what was since they were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebhookFigures {
    /// How many endpoints there are, and how many of them are disabled.
    pub endpoints: usize,
    /// See `endpoints`.
    pub disabled: usize,
    /// How many deliveries are pending.
    pub waiting: usize,
    /// How many requests are under way.
    pub under_way: usize,
    /// How many deliveries were taken by their receivers.
    pub delivered: u64,
    /// How many attempts have failed.
    pub failed_attempts: u64,
    /// How many deliveries are tried no more.
    pub failed: u64,
    /// How many pending deliveries gave way to newer ones.
    pub dropped: u64,
}

impl Webhooks {
    /// Opens the webhooks of an engine: with a store those that it had, with what is pending. One
    /// handle is opened for each engine, and its clones are shared: it takes the engine's
    /// [alerts](Engine::alerts). O(deliveries that are kept).
    ///
    /// # Errors
    /// The store has failed or is closed.
    pub fn open(engine: &Engine, options: WebhookOptions) -> Result<Self, SpaceError> {
        let space = |name: &str| match engine.store().space(name) {
            Ok(space) => Ok(Some(space)),
            Err(SpaceError::NoStore { .. }) => Ok(None),
            Err(why) => Err(why),
        };
        let endpoints = space("webhook-endpoints")?;
        let deliveries = space("webhook-deliveries")?;
        let mut state = State::default();
        for row in endpoints.iter().flat_map(|space| space.rows(b"")) {
            // What another version has left is passed over, and its deliveries with it.
            if let Some(row) = read::<EndpointRow>(&row?.1) {
                state.add(row);
            }
        }
        for row in deliveries.iter().flat_map(|space| space.rows(b"")) {
            let (key, row) = row?;
            state.restore(&key, read::<DeliveryRow>(&row), options.max_deliveries);
        }
        state.counts = Counts::default();
        let (changes, waiting, unstored) = Default::default();
        Ok(Self(Arc::new(Inner {
            engine: engine.clone(),
            options,
            changes,
            state: Mutex::new(state),
            waiting,
            unstored,
            endpoints,
            deliveries,
        })))
    }

    /// Makes an endpoint, and returns it with its secret, which is shown this once.
    ///
    /// # Errors
    /// Something of it may not be; there are 10 already; the store has failed.
    pub fn create(&self, new: NewEndpoint) -> Result<Created, EndpointError> {
        let inner = &*self.0;
        new.validate(&inner.options)?;
        let _changes = inner.changes.lock();
        if inner.state.lock().endpoints().count() >= MAX_ENDPOINTS {
            return Err(EndpointError::TooMany { most: MAX_ENDPOINTS });
        }
        let secret = Secret::fresh()?;
        let endpoint = Endpoint {
            id: fresh("whe_")?,
            url: new.url,
            generation: new.generation,
            description: new.description,
            enabled: true,
            event_types: new.event_types,
            consecutive_failures: 0,
            last_status: None,
            last_attempt_at: None,
            created_at: inner.engine.now(),
        };
        let number = inner.state.lock().number();
        let row = EndpointRow::new(endpoint.clone(), secret.clone(), number);
        inner.put_endpoint(&row)?;
        inner.state.lock().add(row);
        Ok(Created { endpoint, secret })
    }

    /// Returns the endpoints, the newest first.
    #[must_use]
    pub fn list(&self) -> Vec<Endpoint> {
        self.0.state.lock().endpoints().map(|row| row.endpoint.clone()).collect()
    }

    /// Returns an endpoint.
    ///
    /// # Errors
    /// There is none of this id.
    pub fn get(&self, id: &str) -> Result<Endpoint, EndpointError> {
        Ok(self.0.state.lock().endpoint(id)?.endpoint.clone())
    }

    /// Deletes an endpoint, its secrets and its deliveries. A request that is under way may still
    /// come.
    ///
    /// # Errors
    /// There is none of this id; the store has failed.
    pub fn delete(&self, id: &str) -> Result<(), EndpointError> {
        let inner = &*self.0;
        let _changes = inner.changes.lock();
        inner.state.lock().endpoint(id)?;
        if let Some(space) = &inner.endpoints {
            space.remove(id.as_bytes())?;
        }
        inner.state.lock().remove(id);
        Ok(())
    }

    /// Enables an endpoint, whose failures are counted anew. What was given up when it was disabled
    /// can be [redelivered](Self::redeliver).
    ///
    /// # Errors
    /// There is none of this id; the store has failed.
    pub fn enable(&self, id: &str) -> Result<Endpoint, EndpointError> {
        self.0.change(id, |row| {
            row.endpoint.enabled = true;
            row.endpoint.consecutive_failures = 0;
            Ok(row.endpoint.clone())
        })
    }

    /// Gives an endpoint another secret, and returns it. For as long as `overlap` says, at most a
    /// week, what is sent is signed by the one before, too; 0 ends all older ones at once.
    ///
    /// # Errors
    /// There is no endpoint of this id; the overlap is too long; four older secrets still sign; the
    /// store has failed.
    pub fn rotate(&self, id: &str, overlap: Duration) -> Result<Secret, EndpointError> {
        let (secret, now) = (Secret::fresh()?, self.0.engine.now());
        let fresh = secret.clone();
        self.0.change(id, move |row| row.rotate(fresh, overlap, now))?;
        Ok(secret)
    }

    /// Sends an endpoint the event `ping`, also where it is disabled. It is tried once, and its
    /// failure does not count.
    ///
    /// # Errors
    /// There is no endpoint of this id; the store has failed.
    pub fn test(&self, id: &str) -> Result<Delivery, EndpointError> {
        let generation = self.get(id)?.generation;
        let payload = Payload::ping(fresh("evt_")?, generation, self.0.engine.now());
        // Words and a time are always JSON.
        let payload = payload.map_err(|_| EndpointError::NoChance)?;
        self.0.deliver_anew(id, |_| Ok((payload, true)))
    }

    /// Sends the event of a delivery again, as a new delivery with the same event id.
    ///
    /// # Errors
    /// There is no endpoint or no delivery of this id; the endpoint is disabled; the store has
    /// failed.
    pub fn redeliver(&self, id: &str, delivery: &str) -> Result<Delivery, EndpointError> {
        self.0.deliver_anew(id, |state| {
            let row = state.delivery(id, delivery)?;
            if !state.endpoint(id)?.endpoint.enabled {
                return Err(EndpointError::Disabled);
            }
            let Delivery { event_id, event_type, .. } = row.delivery.clone();
            Ok((Payload { event_id, event_type, body: row.body.clone() }, row.is_test))
        })
    }

    /// Returns a page of an endpoint's deliveries, the newest first, from the one on that the page
    /// before says is next. They are kept for 30 days, and the newest 1 000 or as many as
    /// [`max_deliveries`](WebhookOptions::max_deliveries) says. A page has at most 100.
    ///
    /// # Errors
    /// There is no endpoint of this id.
    pub fn deliveries(
        &self,
        id: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<DeliveryPage, EndpointError> {
        let mut state = self.0.state.lock();
        state.expire(self.0.engine.now());
        state.page(id, before, limit.clamp(1, MAX_PAGE))
    }

    /// Returns the deliveries of some events to an endpoint, by the events' ids, the newest first:
    /// those that are kept. O(deliveries of the endpoint), in one look.
    ///
    /// # Errors
    /// There is no endpoint of this id.
    pub fn deliveries_of(
        &self,
        id: &str,
        events: &HashSet<String>,
    ) -> Result<Vec<Delivery>, EndpointError> {
        let mut state = self.0.state.lock();
        state.expire(self.0.engine.now());
        state.deliveries_of(id, events)
    }

    /// Takes the alerts that wait, at most 100, and makes a delivery of each for every endpoint
    /// that is sent it. Returns how many were taken. An alert is acknowledged when its deliveries
    /// are durable; where that fails the next call takes it again.
    ///
    /// # Errors
    /// The store has failed or is closed.
    pub fn take_alerts(&self) -> Result<usize, EndpointError> {
        let alerts = self.0.engine.alerts();
        let mut taken = 0_usize;
        while taken < ALERTS {
            let again = self.0.unstored.lock().pop();
            let Some(alert) = again.or_else(|| alerts.poll()) else { break };
            self.accept(alert)?;
            taken = taken.saturating_add(1);
        }
        Ok(taken)
    }

    /// The same of an alert that was taken elsewhere.
    ///
    /// # Errors
    /// The store has failed or is closed: the alert is kept for
    /// [`take_alerts`](Self::take_alerts).
    pub fn accept(&self, alert: Delivered) -> Result<(), EndpointError> {
        let done = self.0.accept(&alert);
        if done.is_err() {
            self.0.unstored.lock().push(alert);
        }
        done
    }

    /// Returns the attempts to be made now, each of which is this caller's to make. Of an endpoint
    /// there are at most as many under way as
    /// [`requests_at_once`](WebhookOptions::requests_at_once) says.
    #[must_use = "they are under way, and made by nobody else"]
    pub fn due(&self) -> Vec<Attempt> {
        let inner = &*self.0;
        let due = inner.state.lock().due(inner.engine.now(), inner.options.requests_at_once);
        due.into_iter().map(|due| Attempt { hooks: self.clone(), due, is_done: false }).collect()
    }

    /// Returns when the next attempt is to be made, if one waits that no others hold up.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.0.state.lock().next_due(self.0.options.requests_at_once)
    }

    /// Drops what has been kept for 30 days, and some rows of the store that nobody needs. To be
    /// called now and then.
    ///
    /// # Errors
    /// The store has failed or is closed.
    pub fn upkeep(&self) -> Result<(), EndpointError> {
        let inner = &*self.0;
        let stale = {
            let mut state = inner.state.lock();
            state.expire(inner.engine.now());
            state.take_stale(REMOVED_AT_ONCE)
        };
        if let Some(space) = &inner.deliveries {
            // No number is given out twice, so that nobody puts a row of this key meanwhile.
            for key in stale {
                space.remove(key.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Waits until something was done by which more may be due: a new delivery, or an attempt that
    /// has ended. `seen` is what was returned last; 0 at first.
    pub async fn changed(&self, seen: u64) -> u64 {
        poll_fn(|task| {
            let mut waiting = self.0.waiting.lock();
            if waiting.version > seen {
                return Poll::Ready(waiting.version);
            }
            let is_known = waiting.wakers.iter().any(|known| known.will_wake(task.waker()));
            if !is_known {
                waiting.wakers.push(task.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    /// Returns the engine whose webhooks they are.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// Returns figures. O(endpoints).
    #[must_use]
    pub fn figures(&self) -> WebhookFigures {
        let state = self.0.state.lock();
        let Counts { delivered, failed_attempts, failed, dropped } = state.counts;
        let (waiting, under_way) = state.pending();
        WebhookFigures {
            endpoints: state.endpoints().count(),
            disabled: state.endpoints().filter(|row| !row.endpoint.enabled).count(),
            waiting,
            under_way,
            delivered,
            failed_attempts,
            failed,
            dropped,
        }
    }
}

impl Inner {
    /// Makes the deliveries of an alert durable, and acknowledges it.
    fn accept(&self, alert: &Delivered) -> Result<(), EndpointError> {
        let _changes = self.changes.lock();
        let now = self.engine.now();
        let rows = self.rows_of(alert, now);
        for (endpoint, number, row) in &rows {
            self.put_delivery(endpoint, *number, row)?;
        }
        let is_any = !rows.is_empty();
        {
            let mut state = self.state.lock();
            for (endpoint, number, row) in rows {
                state.insert(&endpoint, number, row, self.options.max_deliveries);
            }
        }
        if is_any {
            self.wake();
        }
        let acknowledged = self.engine.alerts().acknowledge(alert);
        acknowledged.map_err(|why: StoreError| EndpointError::Store(why.into()))
    }

    /// The deliveries that an alert becomes; none that is there already, from before a crash.
    fn rows_of(&self, alert: &Delivered, now: Timestamp) -> Vec<(String, u64, DeliveryRow)> {
        let mut state = self.state.lock();
        let endpoints: Vec<_> = state.endpoints().cloned().collect();
        let mut rows = Vec::new();
        for of in endpoints {
            // An alert is always JSON.
            let payload = Payload::of(alert, of.endpoint.generation).ok().flatten();
            let Some(payload) = payload.filter(|payload| of.wants(&payload.event_type)) else {
                continue;
            };
            let id = delivery_id(&of.endpoint.id, &payload.event_id);
            if !state.has(&of.endpoint.id, &id) {
                let number = state.number();
                rows.push((of.endpoint.id, number, row(id, payload, false, now)));
            }
        }
        rows
    }

    /// Makes a delivery that somebody has asked for.
    fn deliver_anew(
        &self,
        endpoint: &str,
        what: impl FnOnce(&State) -> Result<(Payload, bool), EndpointError>,
    ) -> Result<Delivery, EndpointError> {
        let _changes = self.changes.lock();
        let id = fresh("dlv_")?;
        let (number, row) = {
            let mut state = self.state.lock();
            let (payload, is_test) = what(&state)?;
            (state.number(), row(id, payload, is_test, self.engine.now()))
        };
        self.put_delivery(endpoint, number, &row)?;
        let delivery = row.delivery.clone();
        self.state.lock().insert(endpoint, number, row, self.options.max_deliveries);
        self.wake();
        Ok(delivery)
    }

    /// Changes an endpoint.
    fn change<T>(
        &self,
        id: &str,
        change: impl FnOnce(&mut EndpointRow) -> Result<T, EndpointError>,
    ) -> Result<T, EndpointError> {
        let _changes = self.changes.lock();
        let mut row = self.state.lock().endpoint(id)?.clone();
        let done = change(&mut row)?;
        self.put_endpoint(&row)?;
        self.state.lock().replace(row);
        Ok(done)
    }

    /// Notes what became of an attempt. What could not be stored is known here all the same.
    fn finish(&self, due: &Due, result: &Result<Reply, SendError>) -> Result<(), EndpointError> {
        let _changes = self.changes.lock();
        let (now, of) = (self.engine.now(), (&*due.endpoint, due.number));
        let changed = self.state.lock().finish(of, result, &self.options.retries, now);
        self.wake();
        let Some(changed) = changed else { return Ok(()) };
        self.put_delivery(&due.endpoint, due.number, &changed.delivery)?;
        self.put_endpoint(&changed.endpoint)
    }

    fn put_endpoint(&self, row: &EndpointRow) -> Result<(), EndpointError> {
        put(self.endpoints.as_ref(), &row.endpoint.id, row)
    }

    fn put_delivery(
        &self,
        endpoint: &str,
        number: u64,
        row: &DeliveryRow,
    ) -> Result<(), EndpointError> {
        put(self.deliveries.as_ref(), &key(endpoint, number), row)
    }

    fn wake(&self) {
        let wakers = {
            let mut waiting = self.waiting.lock();
            waiting.version = waiting.version.saturating_add(1);
            std::mem::take(&mut waiting.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// An attempt to deliver something, which is this one's to make. One that is dropped without
/// [`done`](Self::done) is due again.
#[derive(Debug)]
#[must_use = "it is under way, and made by nobody else"]
pub struct Attempt {
    hooks: Webhooks,
    due: Due,
    is_done: bool,
}

impl Attempt {
    /// Returns the request to make.
    #[must_use]
    pub fn request(&self) -> &Outgoing {
        &self.due.request
    }

    /// Says what became of it, and returns when that is durable.
    ///
    /// # Errors
    /// The store has failed or is closed: it is known until the engine ends.
    pub fn done(mut self, result: &Result<Reply, SendError>) -> Result<(), EndpointError> {
        self.is_done = true;
        self.hooks.0.finish(&self.due, result)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.is_done {
            self.hooks.0.state.lock().release(&self.due.endpoint, self.due.number);
            self.hooks.0.wake();
        }
    }
}

fn row(id: String, payload: Payload, is_test: bool, now: Timestamp) -> DeliveryRow {
    let Payload { event_id, event_type, body } = payload;
    let delivery = Delivery {
        id,
        event_id,
        event_type,
        status: DeliveryStatus::Pending,
        attempts: 0,
        last_status: None,
        last_error: None,
        last_attempt_at: None,
        next_attempt_at: Some(now),
        created_at: now,
    };
    DeliveryRow { delivery, body, is_test }
}

/// The same for the same endpoint and event.
fn delivery_id(endpoint: &str, event: &str) -> String {
    let mut hash = Sha256::new_with_prefix(endpoint);
    // No id has one.
    hash.update(".");
    hash.update(event);
    let bytes = hash.finalize();
    bytes.iter().take(16).fold("dlv_".to_owned(), |id, byte| format!("{id}{byte:02x}"))
}

/// A new id.
fn fresh(prefix: &str) -> Result<String, EndpointError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| EndpointError::NoChance)?;
    Ok(format!("{prefix}{:032x}", u128::from_le_bytes(bytes)))
}

fn put(space: Option<&Space>, key: &str, row: &impl Serialize) -> Result<(), EndpointError> {
    let Some(space) = space else { return Ok(()) };
    // Rows are words, numbers and times.
    let bytes = serde_json::to_vec(row).unwrap_or_default();
    Ok(space.put(key.as_bytes(), &bytes)?)
}

fn read<T: DeserializeOwned>(row: &[u8]) -> Option<T> {
    serde_json::from_slice(row).ok()
}
