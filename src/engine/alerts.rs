//! What fires, and who takes it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Core, Engine};
use crate::alerts::{
    Alert, AlertId, AlertIter, AlertKind, AlertPage, AlertQuery, Delivered, NextAlert, NotedAlert,
    Outbox,
};
use crate::base::clock::Timestamp;
use crate::compiled::{CompiledRule, Snapshot};
use crate::counters::{At, Committed as Charged, CrossedRow, Crossing, Mark};
use crate::journal::store::StoreError;
use crate::rules::{Period, Rule};

/// What fired: [`Engine::alerts`].
///
/// An alert is noted by the call whose event reaches the threshold, in the same step, and waits
/// here until somebody takes it: at once by [`poll`](Self::poll), on a thread by
/// [`iter`](Self::iter) or [`wait`](Self::wait), in a task of any runtime by [`next`](Self::next).
/// All handles take from the same list, each alert once, in the order in which they fired; sending
/// them on is the application's.
///
/// The newest 10 000 are kept, or as many as
/// [`EngineBuilder::max_alerts`](crate::EngineBuilder::max_alerts) says: as the
/// [history](Self::list), and for who has not taken them yet. Beyond it the oldest go; who comes
/// too late for some is told how [many](Delivered::missed).
///
/// With a store the alerts, and what has fired, survive as the events do: the record of an event
/// says what it fired. When an engine is opened again every alert is delivered anew that was not
/// [acknowledged](Self::acknowledge): at least once each, with the same
/// [id](crate::alerts::Alert::id).
///
/// The handle does not keep the engine open.
#[derive(Clone, Debug)]
pub struct Alerts {
    outbox: Arc<Outbox>,
    core: Weak<Core>,
}

impl Engine {
    /// Returns what has fired.
    #[must_use]
    pub fn alerts(&self) -> Alerts {
        Alerts { outbox: Arc::clone(&self.core.alerts.outbox), core: Arc::downgrade(&self.core) }
    }
}

impl Alerts {
    /// Takes the next alert, if there is one.
    #[must_use = "it is taken, and delivered to nobody else"]
    pub fn poll(&self) -> Option<Delivered> {
        self.outbox.poll()
    }

    /// Takes the next alert, and waits for it on this thread for so long, by the machine's clock;
    /// `None` where there was none, or the engine is closed.
    #[must_use = "it is taken, and delivered to nobody else"]
    pub fn wait(&self, timeout: Duration) -> Option<Delivered> {
        self.outbox.wait(Some(timeout))
    }

    /// Returns an iterator that takes one alert after the other, and waits for each on its thread.
    /// It ends when the engine does, by [`Store::close`](crate::handles::Store::close) or when its
    /// last handle is dropped.
    #[must_use]
    pub fn iter(&self) -> AlertIter {
        AlertIter::new(&self.outbox)
    }

    /// Takes the next alert, as a future for any runtime.
    pub fn next(&self) -> NextAlert {
        NextAlert::new(&self.outbox)
    }

    /// Returns a stream that takes one alert after the other.
    #[cfg(feature = "tokio")]
    pub fn stream(&self) -> crate::alerts::AlertStream {
        crate::alerts::AlertStream::new(&self.outbox)
    }

    /// Says that this alert needs no other delivery: an engine that is opened again with the store
    /// begins behind the last of those that are acknowledged without a gap. Returns at once; what
    /// it says is durable with the next commit. Does nothing for an engine without a store.
    ///
    /// # Errors
    /// The store has failed or is closed.
    pub fn acknowledge(&self, alert: &Delivered) -> Result<(), StoreError> {
        let moved = self.outbox.acknowledge(alert);
        let Some(core) = self.core.upgrade() else { return Ok(()) };
        let (Some(pipeline), Some(number)) = (&core.pipeline, moved) else { return Ok(()) };
        pipeline.put_acknowledged(number)
    }

    /// Returns a page of the history, the newest alert first, whether they were taken or not.
    /// O(alerts that are kept).
    #[must_use]
    pub fn list(&self, query: &AlertQuery) -> AlertPage {
        self.outbox.page(query)
    }

    /// Returns how many alerts wait to be taken.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.outbox.waiting()
    }
}

impl IntoIterator for &Alerts {
    type Item = Delivered;
    type IntoIter = AlertIter;

    fn into_iter(self) -> AlertIter {
        self.iter()
    }
}

/// The outbox of an engine, which is closed with it.
pub(super) struct EngineAlerts {
    pub(super) outbox: Arc<Outbox>,
    /// The engine's name in the ids of alerts.
    name: u64,
}

impl Drop for EngineAlerts {
    fn drop(&mut self) {
        self.outbox.close();
    }
}

impl EngineAlerts {
    pub(super) fn new(outbox: Arc<Outbox>, name: u64) -> Self {
        Self { outbox, name }
    }

    pub(super) fn close(&self) {
        self.outbox.close();
    }
}

impl Core {
    /// Notes the alerts of thresholds that a decision has reached, under its locks.
    #[inline]
    pub(super) fn note_alerts(&self, charged: &Charged<'_>, rules: &Snapshot) -> Vec<NotedAlert> {
        if charged.crossings.is_empty() { Vec::new() } else { self.note(charged, rules) }
    }

    #[cold]
    fn note(&self, charged: &Charged<'_>, rules: &Snapshot) -> Vec<NotedAlert> {
        let noted = charged.crossings.iter().filter_map(|crossing| {
            let rule = rules.rule(crossing.rule)?;
            let alert = Arc::new(self.alert(crossing, rule, charged.at));
            let number = self.alerts.outbox.note(Arc::clone(&alert));
            Some(NotedAlert { number, alert, row: crossing.row.clone(), mark: crossing.mark })
        });
        noted.collect()
    }

    fn alert(&self, crossing: &Crossing, compiled: &CompiledRule, at: &At) -> Alert {
        let Crossing { row, mark, used, low, .. } = crossing;
        let CompiledRule { rule, measure, partition, .. } = compiled;
        let threshold = mark.threshold();
        let values = match row {
            // The name of a balance, and its owner.
            CrossedRow::Key(_, values) if low.is_some() => values.get(1..).unwrap_or_default(),
            CrossedRow::Key(_, values) => &**values,
            CrossedRow::Shared(_) => &[],
        };
        let current = low.map(|low| measure.amount_of(low.current));
        // The same where a crash has lost that it fired, and another one after the next credit.
        let named = low.map_or(*mark, |low| Mark {
            start: low.raised.and_then(|raised| i64::try_from(raised).ok()).unwrap_or(-1),
            end: i64::try_from(low.created.unix_nanos()).unwrap_or(mark.end),
            ..*mark
        });
        let key = partition.iter().map(|dimension| dimension.as_str().to_owned());
        let key: Vec<_> = key.zip(values.iter().map(|it| it.clone().into_string())).collect();
        let limit = rule.limit();
        let units = measure.limit_of(limit);
        let left = measure.amount_of(units.saturating_sub(*used).max(0));
        let share = used.saturating_mul(100).checked_div(units);
        let (window_start, window_end) = self.window(rule, crossing, at);
        Alert {
            id: AlertId::new(self.alerts.name, compiled.id(), row, &named),
            kind: if low.is_some() { AlertKind::BalanceLow } else { AlertKind::of(threshold) },
            at: self.table.timeline().timestamp(at.now),
            rule_id: compiled.id().to_owned(),
            rule_name: rule.name().to_owned(),
            metric: rule.metric().clone(),
            customer_id: customer_of(rule, &key),
            key,
            threshold,
            limit,
            used: measure.amount_of(*used),
            remaining: current.or(limit.map(|_| left)),
            percentage: share.filter(|_| limit.is_some()).and_then(|it| u64::try_from(it).ok()),
            period: period_of(rule),
            window_start,
            window_end,
        }
    }

    /// From when to when the period is: of one that rolls the span that ends now.
    fn window(
        &self,
        rule: &Rule,
        Crossing { mark, .. }: &Crossing,
        at: &At,
    ) -> (Option<Timestamp>, Option<Timestamp>) {
        match period_of(rule) {
            Period::AllTime => (None, None),
            Period::Rolling(length) => {
                let now = self.table.timeline().timestamp(at.now);
                let nanos = i128::try_from(length.as_nanos()).unwrap_or(i128::MAX);
                let start = now.unix_nanos().saturating_sub(nanos);
                (Some(Timestamp::from_unix_nanos(start)), Some(now))
            }
            _ => (Some(Timestamp::new(mark.start, 0)), Some(Timestamp::new(mark.end, 0))),
        }
    }

    /// Wakes who waits for alerts, where a decision of this call has noted one. Called when no lock
    /// is held.
    #[inline]
    pub(super) fn tell_of_alerts(&self) {
        if self.alerts.outbox.is_due() {
            self.alerts.outbox.wake();
        }
    }
}

fn period_of(rule: &Rule) -> Period {
    match rule {
        Rule::Quota(quota) => quota.period,
        Rule::RateLimit(_) => {
            debug_assert!(false, "rate limits have no thresholds");
            Period::AllTime
        }
    }
}

/// The customer of a key, or the one that a rule's filter asks for.
fn customer_of(rule: &Rule, key: &[(String, String)]) -> Option<String> {
    const CUSTOMER: &str = "customer_id";
    let asked = || rule.filters().get(CUSTOMER)?.value().map(str::to_owned);
    let own = key.iter().find(|(dimension, _)| dimension == CUSTOMER);
    own.map(|(_, customer)| customer.clone()).or_else(asked)
}
