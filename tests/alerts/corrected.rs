//! Goal: what events are corrected to fires nothing by itself, is what the next event goes by, and
//! fires nothing twice in a period, beside adjustments and reservations.
//!
//! Method: seeded random steps beside a sum over the events as they are.

use std::collections::BTreeSet;
use std::time::Duration;

use limitry::events::EventId;
use limitry::reservations::ReservationId;
use limitry::{Event, Hold, Metric, Period, Quota, Reserved};

use crate::support::{Dice, START, cases, engine, seed};
use crate::{fired, percent};

const PERCENTS: [u32; 3] = [50, 80, 100];
const DAY: u64 = 86_400;

fn tokens(tokens: u64) -> Event<'static> {
    Event::new("ann", "call").total_tokens(tokens)
}

/// What was recorded of the quota: an event's tokens, or what was adjusted.
#[derive(Debug)]
struct Part {
    id: Option<EventId>,
    /// In seconds from the start.
    at: u64,
    units: i64,
    is_void: bool,
}

#[test]
fn corrections_fire_with_the_next_event_and_once_a_period() {
    let test = "corrections_fire_with_the_next_event_and_once_a_period";
    let mut dice = Dice::new(seed(test, 3));
    // The day of the start has begun so long before.
    let begun = u64::try_from((START / 1_000_000_000).rem_euclid(DAY.into())).expect("a second");
    for _ in 0..cases(60) {
        let (engine, clock) = engine(|it| {
            let quota = Quota::new("Tokens", Metric::TotalTokens, 100, Period::Day).id("tokens");
            let quota = quota.enforcement(limitry::rules::Enforcement::Soft).per("customer_id");
            it.quota(percent(PERCENTS).into_iter().fold(quota, Quota::alert_at))
        });
        let mut now = 0_u64;
        let mut parts: Vec<Part> = Vec::new();
        let mut open: Vec<(ReservationId, u64)> = Vec::new();
        let mut has_fired: BTreeSet<(u64, u32)> = BTreeSet::new();
        let mut steps = Vec::new();
        for _ in 0..50 {
            let day = |at: u64| (begun + at) / DAY;
            let mut used = None;
            match dice.range(0, 10) {
                0 => {
                    let ahead = dice.range(1, DAY / 4);
                    clock.advance(Duration::from_secs(ahead));
                    now += ahead;
                    steps.push(format!("pass {ahead}"));
                }
                1..=3 => {
                    let units = dice.range(0, 30);
                    let done = engine.track(&tokens(units)).expect("good");
                    let units = i64::try_from(units).expect("small");
                    parts.push(Part { id: done.event_id(), at: now, units, is_void: false });
                    used = Some(now).filter(|_| units > 0);
                    steps.push(format!("track {units}"));
                }
                4 => {
                    let hold = Hold::lasting(Duration::from_secs(DAY / 2));
                    let units = dice.range(0, 30);
                    match engine.reserve(&tokens(units), hold).expect("good") {
                        Reserved::Held(held) => open.push((held.into_id(), now)),
                        other => panic!("{other:?}"),
                    }
                    steps.push(format!("reserve {units}"));
                }
                5 if !open.is_empty() => {
                    let (id, at) = open.remove(0);
                    let units = dice.range(0, 30);
                    if now - at < DAY {
                        let done = engine.commit(id, &tokens(units)).expect("known");
                        let units = i64::try_from(units).expect("small");
                        parts.push(Part { id: done.event_id(), at, units, is_void: false });
                        used = Some(at).filter(|_| units > 0);
                        steps.push(format!("commit {units} of {at}"));
                    }
                }
                6 => {
                    let units = i64::try_from(dice.range(1, 40)).expect("small") - 20;
                    if units != 0 {
                        let ann = ("customer_id", "ann");
                        engine.rules().adjust("tokens", ann, units, "a note").expect("good");
                        parts.push(Part { id: None, at: now, units, is_void: false });
                        steps.push(format!("adjust {units}"));
                    }
                }
                _ => {
                    let known: Vec<usize> = (0..parts.len())
                        .filter(|at| parts[*at].id.is_some() && !parts[*at].is_void)
                        .collect();
                    if known.is_empty() {
                        continue;
                    }
                    let at = known[usize::try_from(dice.range(0, known.len() as u64 - 1)).unwrap()];
                    let part = &mut parts[at];
                    let id = part.id.expect("an event");
                    if dice.chance(50) {
                        engine.void(id, "void").expect("known");
                        part.is_void = true;
                        steps.push(format!("void {}", part.units));
                    } else {
                        let units = dice.range(0, 30);
                        engine.amend(id, &tokens(units), "amended").expect("known");
                        steps.push(format!("amend {} to {units}", part.units));
                        part.units = i64::try_from(units).expect("small");
                    }
                }
            }
            let mut due = Vec::new();
            if used.is_some_and(|at| day(at) == day(now)) {
                let of_day = parts.iter().filter(|it| !it.is_void && day(it.at) == day(now));
                let level: i64 = of_day.map(|it| it.units).sum();
                for percent in PERCENTS {
                    if level >= i64::from(percent) && has_fired.insert((day(now), percent)) {
                        due.push(format!("tokens ann {percent}%"));
                    }
                }
            }
            assert_eq!(fired(&engine), due, "{steps:#?}");
        }
    }
}
