//! What is known of endpoints and their deliveries, and what becomes of both: all of it follows
//! from what was done and from the instants that are given here.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::delivery::{Delivery, DeliveryPage, DeliveryRow, DeliveryStatus};
use super::endpoint::{EndpointError, EndpointRow};
use super::generation::Generation;
use super::schedule;
use super::transport::{Outgoing, Reply, SendError};
use crate::Timestamp;
use crate::alerts::WebhookError;

/// How many attempts fail in a row before an endpoint is disabled.
const MAX_FAILURES: u32 = 20;
/// The receiver is gone for good, and says so.
const GONE: u16 = 410;
/// How many letters of an error are kept.
const MAX_ERROR: usize = 200;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct State {
    /// In the order in which they were made; few.
    endpoints: Vec<Kept>,
    /// The number of the next endpoint or delivery.
    next_number: u64,
    /// Rows of the store that nobody needs.
    stale: VecDeque<String>,
    pub(super) counts: Counts,
}

/// What was done since the state was made.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) delivered: u64,
    pub(super) failed_attempts: u64,
    pub(super) failed: u64,
    pub(super) dropped: u64,
}

#[derive(Debug)]
struct Kept {
    row: EndpointRow,
    /// By their numbers, which rise.
    deliveries: BTreeMap<u64, DeliveryRow>,
    numbers: HashMap<String, u64>,
    /// Those that are pending and not under way.
    due: BTreeSet<(Timestamp, u64)>,
    under_way: BTreeSet<u64>,
}

/// An attempt that is to be made.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) endpoint: String,
    pub(super) number: u64,
    pub(super) request: Outgoing,
}

/// What has changed by an attempt, to be stored.
#[derive(Debug)]
pub(super) struct Changed {
    pub(super) delivery: DeliveryRow,
    pub(super) endpoint: EndpointRow,
}

/// The key of a delivery's row.
pub(super) fn key(endpoint: &str, number: u64) -> String {
    format!("{endpoint}/{number:016x}")
}

fn parse_key(key: &[u8]) -> Option<(&str, u64)> {
    let (endpoint, number) = std::str::from_utf8(key).ok()?.split_once('/')?;
    Some((endpoint, u64::from_str_radix(number, 16).ok()?))
}

impl State {
    /// Takes in an endpoint.
    pub(super) fn add(&mut self, row: EndpointRow) {
        let (deliveries, numbers, due, under_way) = Default::default();
        // Also where no row is left of the last numbers: what is made from now on is not given up.
        let next_number = row.number.saturating_add(1).max(row.given_up_below);
        self.next_number = self.next_number.max(next_number);
        self.endpoints.push(Kept { row, deliveries, numbers, due, under_way });
        self.endpoints.sort_by_key(|kept| kept.row.number);
    }

    /// Takes in a row of a delivery that was stored.
    pub(super) fn restore(&mut self, row_key: &[u8], row: Option<DeliveryRow>, most: usize) {
        let parsed = parse_key(row_key);
        if let Some((_, number)) = parsed {
            self.next_number = self.next_number.max(number.saturating_add(1));
        }
        let known = parsed.filter(|(endpoint, _)| self.find(endpoint).is_some());
        let (Some((endpoint, number)), Some(mut row)) = (known, row) else {
            // Its endpoint is gone, or it is none.
            self.stale.extend(String::from_utf8(row_key.to_vec()));
            return;
        };
        let below = self.find(endpoint).map_or(0, |kept| kept.row.given_up_below);
        if number < below && row.is_pending() {
            row.give_up();
        }
        self.insert(endpoint, number, row, most);
    }

    /// Gives out a number.
    pub(super) fn number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number = number.saturating_add(1);
        number
    }

    /// Takes in a delivery. What is beyond the bound makes room.
    pub(super) fn insert(&mut self, endpoint: &str, number: u64, row: DeliveryRow, most: usize) {
        let Some(kept) = self.find_mut(endpoint) else { return };
        if let Some(at) = row.delivery.next_attempt_at.filter(|_| row.is_pending()) {
            kept.due.insert((at, number));
        }
        kept.numbers.insert(row.delivery.id.clone(), number);
        kept.deliveries.insert(number, row);
        while self.find(endpoint).is_some_and(|kept| kept.deliveries.len() > most) {
            let Some((number, was_pending)) = self.find(endpoint).and_then(Kept::oldest) else {
                break;
            };
            self.forget(endpoint, number);
            self.counts.dropped = self.counts.dropped.saturating_add(u64::from(was_pending));
        }
    }

    fn forget(&mut self, endpoint: &str, number: u64) {
        let Some(kept) = self.find_mut(endpoint) else { return };
        let Some(row) = kept.deliveries.remove(&number) else { return };
        kept.numbers.remove(&row.delivery.id);
        kept.due.retain(|(_, other)| *other != number);
        self.stale.push_back(key(endpoint, number));
    }

    fn find(&self, id: &str) -> Option<&Kept> {
        self.endpoints.iter().find(|kept| kept.row.endpoint.id == id)
    }

    fn find_mut(&mut self, id: &str) -> Option<&mut Kept> {
        self.endpoints.iter_mut().find(|kept| kept.row.endpoint.id == id)
    }

    /// The endpoints, the newest first.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &EndpointRow> {
        self.endpoints.iter().rev().map(|kept| &kept.row)
    }

    pub(super) fn endpoint(&self, id: &str) -> Result<&EndpointRow, EndpointError> {
        let found = self.find(id).map(|kept| &kept.row);
        found.ok_or_else(|| EndpointError::NoEndpoint { id: id.chars().take(100).collect() })
    }

    /// Puts another row in place of an endpoint's.
    pub(super) fn replace(&mut self, row: EndpointRow) {
        if let Some(kept) = self.find_mut(&row.endpoint.id) {
            kept.row = row;
        }
    }

    /// Forgets an endpoint and its deliveries.
    pub(super) fn remove(&mut self, id: &str) {
        let Some(place) = self.endpoints.iter().position(|kept| kept.row.endpoint.id == id) else {
            return;
        };
        let kept = self.endpoints.remove(place);
        self.stale.extend(kept.deliveries.into_keys().map(|number| key(id, number)));
    }

    /// Whether an endpoint has a delivery of this id.
    pub(super) fn has(&self, endpoint: &str, delivery: &str) -> bool {
        self.find(endpoint).is_some_and(|kept| kept.numbers.contains_key(delivery))
    }

    pub(super) fn delivery(
        &self,
        endpoint: &str,
        delivery: &str,
    ) -> Result<&DeliveryRow, EndpointError> {
        self.endpoint(endpoint)?;
        let found = self.find(endpoint).and_then(|kept| {
            kept.numbers.get(delivery).and_then(|number| kept.deliveries.get(number))
        });
        found.ok_or_else(|| EndpointError::NoDelivery { id: delivery.chars().take(100).collect() })
    }

    /// A page of an endpoint's deliveries, the newest first.
    pub(super) fn page(
        &self,
        endpoint: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<DeliveryPage, EndpointError> {
        self.endpoint(endpoint)?;
        let kept = self.find(endpoint).map(|kept| &kept.deliveries);
        let older = kept.map(|all| all.range(..before.unwrap_or(u64::MAX)).rev());
        let mut page: Vec<(u64, Delivery)> = older
            .into_iter()
            .flatten()
            .take(limit.saturating_add(1))
            .map(|(number, row)| (*number, row.delivery.clone()))
            .collect();
        let has_more = page.len() > limit;
        page.truncate(limit);
        let next = page.last().filter(|_| has_more).map(|(number, _)| *number);
        let deliveries = page.into_iter().map(|(_, delivery)| delivery).collect();
        Ok(DeliveryPage { deliveries, next })
    }

    /// The deliveries of some events to an endpoint, the newest first.
    pub(super) fn deliveries_of(
        &self,
        endpoint: &str,
        events: &HashSet<String>,
    ) -> Result<Vec<Delivery>, EndpointError> {
        self.endpoint(endpoint)?;
        let rows = self.find(endpoint).into_iter().flat_map(|kept| kept.deliveries.values().rev());
        let wanted = rows.filter(|row| events.contains(&row.delivery.event_id));
        Ok(wanted.map(|row| row.delivery.clone()).collect())
    }

    /// The attempts that are to be made at an instant. They are under way from here on, at most so
    /// many of each endpoint: those first that have waited longest.
    pub(super) fn due(&mut self, now: Timestamp, at_once: usize) -> Vec<Due> {
        let mut found = Vec::new();
        for kept in &mut self.endpoints {
            while kept.under_way.len() < at_once {
                let first = kept.due.first().copied().filter(|(at, _)| *at <= now);
                let Some((at, number)) = first else { break };
                kept.due.remove(&(at, number));
                match kept.request(number, now) {
                    Some(Ok(request)) => {
                        kept.under_way.insert(number);
                        let endpoint = kept.row.endpoint.id.clone();
                        found.push(Due { endpoint, number, request });
                    }
                    // A row that was damaged: what cannot be signed is not sent.
                    Some(Err(why)) => {
                        if let Some(row) = kept.deliveries.get_mut(&number) {
                            row.delivery.last_error = Some(why.to_string());
                            row.give_up();
                            self.counts.failed = self.counts.failed.saturating_add(1);
                        }
                    }
                    None => {}
                }
            }
        }
        found
    }

    /// When the next attempt is to be made, of those that are not held up by others under way.
    pub(super) fn next_due(&self, at_once: usize) -> Option<Timestamp> {
        let free = self.endpoints.iter().filter(|kept| kept.under_way.len() < at_once);
        free.filter_map(|kept| kept.due.first().map(|(at, _)| *at)).min()
    }

    /// Puts back an attempt that was not made to its end.
    pub(super) fn release(&mut self, endpoint: &str, number: u64) {
        let Some(kept) = self.find_mut(endpoint) else { return };
        kept.under_way.remove(&number);
        let is_enabled = kept.row.endpoint.enabled;
        let Some(row) = kept.deliveries.get_mut(&number) else { return };
        if !is_enabled && !row.is_test {
            row.give_up();
        }
        if let Some(at) = row.delivery.next_attempt_at {
            kept.due.insert((at, number));
        }
    }

    /// Notes what became of an attempt.
    pub(super) fn finish(
        &mut self,
        (endpoint, number): (&str, u64),
        result: &Result<Reply, SendError>,
        retries: &[Duration],
        now: Timestamp,
    ) -> Option<Changed> {
        let next_number = self.next_number;
        let kept = self.endpoints.iter_mut().find(|kept| kept.row.endpoint.id == endpoint)?;
        kept.under_way.remove(&number);
        let row = kept.deliveries.get_mut(&number)?;
        let status = result.as_ref().ok().map(|reply| reply.status);
        let of = &mut kept.row.endpoint;
        (of.last_status, of.last_attempt_at) = (status, Some(now));
        let delivery = &mut row.delivery;
        delivery.attempts = delivery.attempts.saturating_add(1);
        (delivery.last_status, delivery.last_attempt_at) = (status, Some(now));
        delivery.last_error = error(result);
        if delivery.last_error.is_none() {
            delivery.status = DeliveryStatus::Delivered;
            delivery.next_attempt_at = None;
            self.counts.delivered = self.counts.delivered.saturating_add(1);
            if !row.is_test {
                of.consecutive_failures = 0;
            }
            return Some(Changed { delivery: row.clone(), endpoint: kept.row.clone() });
        }
        self.counts.failed_attempts = self.counts.failed_attempts.saturating_add(1);
        let was_enabled = of.enabled;
        if !row.is_test {
            of.consecutive_failures = of.consecutive_failures.saturating_add(1);
            if of.consecutive_failures >= MAX_FAILURES || status == Some(GONE) {
                of.enabled = false;
            }
        }
        let asked = result.as_ref().ok().and_then(|reply| reply.retry_after);
        let wait = schedule::wait(retries, &delivery.id, delivery.attempts, asked);
        if let Some(wait) = wait.filter(|_| of.enabled && !row.is_test) {
            let at = now.saturating_add(wait);
            delivery.next_attempt_at = Some(at);
            kept.due.insert((at, number));
        } else {
            row.give_up();
            self.counts.failed = self.counts.failed.saturating_add(1);
        }
        let delivery = row.clone();
        if was_enabled && !kept.row.endpoint.enabled {
            let given_up = kept.give_up(next_number);
            self.counts.failed = self.counts.failed.saturating_add(given_up);
        }
        Some(Changed { delivery, endpoint: kept.row.clone() })
    }

    /// Forgets what has been kept for long enough.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let over: Vec<(String, u64)> = self
            .endpoints
            .iter()
            .flat_map(|kept| {
                // They are in the order of their instants, but for a clock that stepped back.
                let old = kept.deliveries.iter().take_while(|(_, row)| row.is_over(now));
                old.map(|(number, _)| (kept.row.endpoint.id.clone(), *number))
            })
            .collect();
        for (endpoint, number) in over {
            self.forget(&endpoint, number);
        }
    }

    /// Takes the keys of some rows that nobody needs.
    pub(super) fn take_stale(&mut self, most: usize) -> Vec<String> {
        let most = most.min(self.stale.len());
        self.stale.drain(..most).collect()
    }

    /// How many deliveries are pending, and how many of them are under way.
    pub(super) fn pending(&self) -> (usize, usize) {
        self.endpoints.iter().fold((0, 0), |(pending, under_way), kept| {
            let own = kept.under_way.len();
            let all = pending.saturating_add(kept.due.len()).saturating_add(own);
            (all, under_way.saturating_add(own))
        })
    }
}

impl Kept {
    /// The delivery that makes room first, and whether it is pending: the oldest that is done, or
    /// else the oldest that is not under way.
    fn oldest(&self) -> Option<(u64, bool)> {
        let done = self.deliveries.iter().find(|(_, row)| !row.is_pending());
        let waiting = || self.deliveries.keys().find(|number| !self.under_way.contains(*number));
        let done = done.map(|(number, _)| (*number, false));
        done.or_else(|| waiting().map(|number| (*number, true)))
    }

    /// The request of a delivery, signed.
    fn request(&self, number: u64, now: Timestamp) -> Option<Result<Outgoing, WebhookError>> {
        let row = self.deliveries.get(&number)?;
        // What receivers know a repetition by. Events of the third generation have their ids in
        // them, and there it is the delivery's.
        let id = match self.row.endpoint.generation {
            Generation::Third => &row.delivery.id,
            Generation::First | Generation::Second => &row.delivery.event_id,
        };
        let signed = self.row.signer(now).and_then(|by| by.sign(id, now, row.body.as_bytes()));
        Some(signed.map(|signature| Outgoing {
            url: self.row.endpoint.url.clone(),
            headers: vec![
                ("content-type", "application/json".to_owned()),
                ("user-agent", concat!("limitry/", env!("CARGO_PKG_VERSION")).to_owned()),
                ("webhook-id", id.clone()),
                ("webhook-timestamp", now.unix_seconds().to_string()),
                ("webhook-signature", signature),
            ],
            body: row.body.clone(),
        }))
    }

    /// Gives up what waits, because the endpoint is disabled; returns how many.
    fn give_up(&mut self, next_number: u64) -> u64 {
        self.row.given_up_below = next_number;
        let mut given_up = 0_u64;
        for (_, number) in std::mem::take(&mut self.due) {
            if let Some(row) = self.deliveries.get_mut(&number) {
                row.give_up();
                given_up = given_up.saturating_add(1);
            }
        }
        given_up
    }
}

/// Why an attempt has failed, if it has.
fn error(result: &Result<Reply, SendError>) -> Option<String> {
    let why = match result {
        Ok(reply) if reply.is_taken() => return None,
        Ok(reply) if (300..400).contains(&reply.status) => {
            format!("answered {}: redirects are not followed", reply.status)
        }
        Ok(reply) => format!("answered {}", reply.status),
        Err(why) => why.to_string(),
    };
    Some(why.chars().take(MAX_ERROR).collect())
}
