//! Goal: a process that is killed has made a correction whole or not at all, and has made it where
//! it was told so: in the log, the list of corrections, usage, meters and quotas alike.
//!
//! Method: this program runs itself as a child, whose threads record, void and amend events of a
//! customer each, also those of earlier lives, and print each call before it and its answer after
//! it. It is killed (SIGKILL) after a number of answers that the seed chooses, and its store is
//! opened here. A store goes through several deaths. `LIMITRY_LONG=1` has ten times as many.

use std::collections::BTreeMap;
use std::path::Path;

use limitry::errors::{CorrectError, TrackError};
use limitry::events::{CorrectionQuery, EventId, EventQuery, RecordedEvent};
use limitry::store::{Durability, Durable};
use limitry::time::ManualClock;
use limitry::usage::{MeterQuery, UsageQuery};
use limitry::{Amount, Engine, Event, Meter, Metric, Period, Quota};

use crate::killed::{self, live_as_told, say};
use crate::support::{Dice, START, date, long, seed};

const CHILD: &str = "LIMITRY_CORRECTIONS_KILL_CHILD";
const THREADS: u64 = 3;

fn open(path: &Path) -> Engine {
    let store = Durable::open(path).expect("a store that opens").durability(Durability::Synced);
    let quota = Quota::new("tokens", Metric::TotalTokens, 1_000_000_000, Period::AllTime);
    Engine::builder()
        .clock(ManualClock::new(date(START)))
        .meter(Meter::max("most", "input_tokens").id("most"))
        .quota(quota.per("customer_id"))
        .durable(store.max_waiting(64).max_batch(8))
        .build()
        .expect("an engine that goes on")
}

fn call(customer: &str, tokens: u64) -> Event<'_> {
    Event::new(customer, "call").input_tokens(tokens)
}

/// Not a test of its own: what the test below runs, and kills.
#[test]
fn child() {
    let live = |engine: &Engine, dice, (_, thread)| live(engine, dice, thread);
    live_as_told(CHILD, THREADS, |path, _| open(path), live);
}

fn live(engine: &Engine, mut dice: Dice, thread: u64) {
    let customer = format!("c{thread}");
    for _ in 0..60 {
        let own = engine.events().iter(EventQuery::new().customer(&*customer)).expect("good");
        let own: Vec<EventId> = own.filter(|it| tokens_of(it).is_some()).map(|it| it.id).collect();
        let (how, tokens) = (dice.below(10), dice.below(1_000));
        let Some(id) = Some(own).filter(|own| !own.is_empty() && how >= 5) else {
            say(&format!("TRY {customer} RECORD {tokens}"));
            match engine.record(&call(&customer, tokens)) {
                Ok(decision) => {
                    let id = decision.event_id().expect("it is recorded");
                    say(&format!("DID {customer} {id} {tokens}"));
                }
                Err(TrackError::Store(_)) => return,
                Err(why) => say(&format!("BAD {why}")),
            }
            continue;
        };
        let id = dice.pick(&id);
        let (to, done) = if how < 7 {
            say(&format!("TRY {customer} {id} void"));
            ("void".to_owned(), engine.void(id, "a kill"))
        } else {
            say(&format!("TRY {customer} {id} {tokens}"));
            (tokens.to_string(), engine.amend(id, &call(&customer, tokens), "a kill"))
        };
        match done {
            Ok(_) => say(&format!("DID {customer} {id} {to}")),
            Err(CorrectError::Store(_)) => return,
            Err(why) => say(&format!("BAD {why}")),
        }
    }
}

/// What an event has of tokens; nothing where it is voided.
fn tokens_of(event: &RecordedEvent) -> Option<u64> {
    let now = match &event.correction {
        None => &event.event,
        Some(correction) => correction.amended.as_deref()?,
    };
    Some(now.amount("input_tokens").expect("all have some").to_u64_floor())
}

/// The tokens of events, of those that are not voided.
type Known = BTreeMap<EventId, Option<u64>>;

/// What is done, or the event that is corrected, and what it is to be.
type Trying = Option<(String, Option<u64>)>;

/// What is known of each customer, and what had begun when no answer was heard.
#[derive(Debug, Default)]
struct Story {
    known: BTreeMap<String, (Known, Trying)>,
    corrected: u64,
}

impl killed::Story for Story {
    const CHILD: (&str, &str) = ("corrections_kill::child", CHILD);
    const LIVES: u64 = 3;
    const ANSWERS: u64 = 150;

    fn hear(&mut self, said: &str) {
        let parts: Vec<&str> = said.split(' ').collect();
        assert!(["TRY", "DID"].contains(&parts[0]), "the child says {said}");
        let (known, trying) = self.known.entry(parts[1].to_owned()).or_default();
        let tokens = parts[3].parse().ok();
        if parts[0] == "TRY" {
            *trying = Some((parts[2].to_owned(), tokens));
            return;
        }
        *trying = None;
        let before = known.insert(parts[2].parse().expect("an id"), tokens);
        self.corrected += u64::from(before.is_some());
    }

    fn examine(&mut self, path: &Path, _: u64, context: &str) {
        examine(path, self, context);
    }
}

/// What is found is what was said, and the story goes on from it.
fn examine(path: &Path, story: &mut Story, context: &str) {
    let engine = open(path);
    engine.store().verify(|_| ()).expect("it is whole");
    for (customer, (known, trying)) in &mut story.known {
        let text = format!("{context}: {customer}: {known:?}, and {trying:?}");
        let events = engine.events().iter(EventQuery::new().customer(&**customer)).expect("good");
        let found: Known = events.map(|event| (event.id, tokens_of(&event))).collect();
        let mut due = known.clone();
        match trying.take() {
            Some((what, tokens)) if what == "RECORD" => {
                let new = found.iter().find(|(id, _)| !known.contains_key(id));
                due.extend(new.filter(|(_, found)| **found == tokens).map(|(id, it)| (*id, *it)));
            }
            Some((id, tokens)) => {
                let id: EventId = id.parse().expect("an id");
                // It was known before it was corrected.
                if found.get(&id) == Some(&tokens) {
                    due.insert(id, tokens);
                }
            }
            None => {}
        }
        assert_eq!(found, due, "{text}");
        let live: Vec<u64> = found.values().flatten().copied().collect();
        let sum: u64 = live.iter().sum();
        let usage = engine.usage().summary(&UsageQuery::all_time().customer(&**customer));
        let totals = usage.expect("good").totals;
        let counted = (totals.total_events, totals.total_tokens);
        assert_eq!(counted, (live.len() as u64, u128::from(sum)), "{text}");
        let most = engine.meters().query("most", &MeterQuery::new().customer(&**customer));
        let most = most.expect("good").value;
        assert_eq!(most, Amount::from(live.iter().copied().max().unwrap_or(0)), "{text}");
        let standing = engine.standing(&call(customer, 0)).expect("good");
        assert_eq!(standing.quotas().next().expect("it matches").used, sum, "{text}");
        for (id, tokens) in &found {
            let query = CorrectionQuery::new().event(*id).limit(1);
            let newest = engine.events().corrections(&query).expect("good").data.pop();
            let is_void = newest.is_some_and(|newest| newest.amended.is_none());
            assert_eq!(is_void, tokens.is_none(), "{text}");
        }
        *known = found;
    }
    engine.store().close().expect("it closes");
}

#[test]
fn a_killed_process_has_corrected_whole_or_not_at_all() {
    let first = seed("corrections_kill", 80);
    let mut corrected = 0;
    for seed in first..first + if long() { 30 } else { 2 } {
        let story: Story = killed::story("corrections-kill", seed);
        corrected += story.corrected;
    }
    println!("{corrected} were corrected");
    assert!(corrected > 30, "this shows nothing");
}
