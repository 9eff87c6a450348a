//! Goal: caps on keys and the counters under them are those of a plain model, and no customer ever
//! uses more than the limit by moving between a counter that is shared and one of its own.
//!
//! Method: properties over crowds at a cap; the model keeps a map a rule.

use super::overflow::*;
use crate::support::config;
use limitry::events::Recording;
use limitry::rules::{Overflow, QuotaUpdate, RateLimitUpdate};
use limitry::{Event, Metric, RateLimit, Window};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The most that one customer may use of a counter of ten an hour from one instant to another, both
/// included, in seconds; `None` where the definition says nothing of them together.
fn most_of(name: &str, from: u64, to: u64) -> Option<u64> {
    // The test begins at half past ten.
    let hour = |second: u64| (second + 1_800) / 3_600;
    let day = |second: u64| (second + 37_800) / 86_400;
    match name {
        "bucket" => Some(10 + (to - from) / 360),
        "sliding window" | "rolling quota" => (to - from < 3_600).then_some(10),
        "quota of values" => (day(from) == day(to)).then_some(10),
        _ => (hour(from) == hour(to)).then_some(10),
    }
}

/// One step of a crowd at a cap.
#[derive(Clone, Copy, Debug)]
enum Crowd {
    Call(usize),
    /// Calls of so many customers who come once and never again.
    PassBy(u32),
    Wait(u64),
    Cap(u64),
    Overflow(Overflow),
}

fn crowd() -> impl Strategy<Value = Crowd> {
    prop_oneof![
        12 => (0_usize..4).prop_map(Crowd::Call),
        3 => (1_u32..40).prop_map(Crowd::PassBy),
        3 => prop::sample::select(vec![1, 300, 360, 1_800, 3_599, 3_600, 7_200])
            .prop_map(Crowd::Wait),
        1 => (1_u64..4).prop_map(Crowd::Cap),
        // One that lets new keys pass lets them pass.
        1 => prop::sample::select(vec![Overflow::Share, Overflow::Deny]).prop_map(Crowd::Overflow),
    ]
}

proptest! {
    #![proptest_config(config(100))]

    /// Whatever comes free, and however the cap changes: nobody has two budgets.
    #[test]
    fn no_customer_ever_uses_more_than_the_limit(
        which in 0_usize..6,
        records: bool,
        steps in prop::collection::vec(crowd(), 1..150),
    ) {
        let (name, rule) = &ten_an_hour()[which];
        let recording = if records { Recording::Newest(200) } else { Recording::Off };
        // A second rule of the partition keeps rows alive in which the first has nothing.
        let other = RateLimit::new("other", 1_u64 << 40, Window::Hour).per("customer_id");
        let (engine, clock) =
            engine(|builder| rule(builder.recording(recording)).rate_limit(other));
        let call = |customer: &str, gb: u64| {
            let event = Event::new(customer, "call").value("gb", gb);
            engine.track(&event).expect("a valid event").is_allowed()
        };
        let (mut second, mut passers) = (0, 0);
        let mut used: [Vec<u64>; 4] = Default::default();
        for step in steps {
            match step {
                Crowd::Call(customer) => {
                    for _ in 0..4 {
                        if call(&format!("customer {customer}"), 1) {
                            used[customer].push(second);
                        }
                    }
                }
                Crowd::PassBy(number) => {
                    for _ in 0..number {
                        passers += 1;
                        let _ = call(&format!("passer-by {passers}"), 1);
                    }
                }
                Crowd::Wait(seconds) => {
                    second += seconds;
                    clock.advance(Duration::from_secs(seconds));
                }
                Crowd::Cap(keys) => set_cap(&engine, keys),
                Crowd::Overflow(overflow) => {
                    let quota = QuotaUpdate::new().overflow(overflow);
                    let limit = RateLimitUpdate::new().overflow(overflow);
                    let is_quota = engine.rules().update("ten", quota).is_ok();
                    prop_assert!(is_quota || engine.rules().update("ten", limit).is_ok());
                }
            }
        }
        for times in used {
            for (first, from) in times.iter().enumerate() {
                for (last, to) in times.iter().enumerate().skip(first) {
                    let count = (last - first + 1) as u64;
                    if let Some(most) = most_of(name, *from, *to) {
                        prop_assert!(count <= most, "{name}: {count} of {from} to {to}");
                    }
                }
            }
        }
    }
}

/// A rule as the model reads it.
#[derive(Clone, Debug)]
struct Plain {
    limit: u64,
    most: u64,
    overflow: Overflow,
    own: BTreeMap<usize, u64>,
    shared: u64,
}

/// Where a rule counts a key.
enum Place {
    Own(u64),
    Shared(u64),
    Denied,
    Uncounted,
}

impl Plain {
    fn place(&self, key: usize, has_row: bool, rows_left: bool) -> Place {
        let room = (self.own.len() as u64) < self.most && (has_row || rows_left);
        match (self.own.get(&key), room, self.overflow) {
            (Some(used), _, _) => Place::Own(*used),
            (None, true, _) => Place::Own(self.shared),
            (None, false, Overflow::Deny) => Place::Denied,
            (None, false, Overflow::Allow) => Place::Uncounted,
            (None, false, _) => Place::Shared(self.shared),
        }
    }

    fn fits(&self, place: &Place, cost: u64) -> bool {
        match place {
            Place::Own(used) | Place::Shared(used) => used + cost <= self.limit,
            Place::Denied => false,
            Place::Uncounted => true,
        }
    }

    fn take(&mut self, key: usize, place: &Place, cost: u64) {
        match place {
            Place::Own(used) => {
                self.own.insert(key, used + cost);
            }
            Place::Shared(_) => self.shared += cost,
            Place::Denied | Place::Uncounted => {}
        }
    }
}

fn plain() -> impl Strategy<Value = Plain> {
    let overflow = prop::sample::select(vec![Overflow::Share, Overflow::Deny, Overflow::Allow]);
    (1_u64..20, 1_u64..8, overflow).prop_map(|(limit, most, overflow)| Plain {
        limit,
        most,
        overflow,
        own: BTreeMap::new(),
        shared: 0,
    })
}

proptest! {
    #![proptest_config(config(1_000))]

    #[test]
    fn caps_and_counters_are_those_of_a_plain_model(
        mut rules in prop::collection::vec(plain(), 1..4),
        most_rows in 1_u64..10,
        calls in prop::collection::vec(
            (0_usize..10, 1_u64..6, prop::option::weighted(0.1, (0_usize..4, 1_u64..12))),
            1..120,
        ),
    ) {
        let (engine, _) = engine(|builder| {
            rules.iter().enumerate().fold(builder.max_keys(most_rows), |builder, (place, rule)| {
                let mut quota = lifetime(rule.limit, rule.most, rule.overflow);
                (quota.id, quota.metric) = (Some(place.to_string()), Metric::TotalTokens);
                builder.quota(quota)
            })
        });
        for (key, cost, cap) in calls {
            if let Some((place, most)) = cap
                && let Some(rule) = rules.get_mut(place)
            {
                rule.most = most;
                let update = QuotaUpdate::new().max_keys(most);
                engine.rules().update(&place.to_string(), update).expect("valid");
            }
            let rows: BTreeSet<usize> =
                rules.iter().flat_map(|rule| rule.own.keys().copied()).collect();
            let (has_row, rows_left) = (rows.contains(&key), (rows.len() as u64) < most_rows);
            let places: Vec<Place> =
                rules.iter().map(|rule| rule.place(key, has_row, rows_left)).collect();
            let fits: Vec<bool> =
                rules.iter().zip(&places).map(|(rule, place)| rule.fits(place, cost)).collect();
            let allowed = fits.iter().all(|fits| *fits);

            let customer = format!("key {key}");
            let event = Event::new(customer.as_str(), "call").total_tokens(cost);
            let foreseen = engine.check(&event).expect("a valid event");
            let decision = engine.track(&event).expect("a valid event");
            prop_assert_eq!(foreseen.is_allowed(), allowed);
            prop_assert_eq!(decision.is_allowed(), allowed);
            let exceeded: Vec<bool> = decision.quotas().map(|status| !status.exceeded).collect();
            prop_assert_eq!(exceeded, fits);
            if allowed {
                for (rule, place) in rules.iter_mut().zip(&places) {
                    rule.take(key, place, cost);
                }
            }
            let rows: BTreeSet<usize> =
                rules.iter().flat_map(|rule| rule.own.keys().copied()).collect();
            prop_assert_eq!(engine.live_keys(), rows.len() as u64);
            let used = |status: limitry::decision::QuotaStatus<'_>| status.used.to_u64_ceil();
            let figures: Vec<u64> = decision.quotas().map(used).collect();
            let expected: Vec<u64> = places
                .iter()
                .map(|place| match place {
                    Place::Own(used) | Place::Shared(used) => used + cost * u64::from(allowed),
                    Place::Denied | Place::Uncounted => 0,
                })
                .collect();
            prop_assert_eq!(figures, expected);
        }
    }
}
