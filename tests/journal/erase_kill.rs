//! Goal: a process that is killed has erased a customer whole or not at all, and has, where it was
//! told so. What was refused is there as far as it was flushed, and never more than was refused;
//! attributes of customers come back with them.
//!
//! Method: this program runs itself as a child, whose threads call, are refused, set and erase
//! customers, each its own, and print each call before it and its answer after it. It is killed
//! (SIGKILL) after a number of answers that the seed chooses, and its store is opened here. A store
//! goes through several deaths. `LIMITRY_LONG=1` has ten times as many.

use std::collections::BTreeMap;
use std::path::Path;

use limitry::customer::Customer;
use limitry::errors::{CustomersError, RulesError, TrackError};
use limitry::events::EventQuery;
use limitry::refusals::RefusalQuery;
use limitry::store::{Durability, Durable};
use limitry::time::ManualClock;
use limitry::usage::UsageQuery;
use limitry::{Engine, Event, Metric, Period, Quota};

use crate::killed::{self, live_as_told, say};
use crate::support::{Dice, START, date, long, seed};

const CHILD: &str = "LIMITRY_ERASE_KILL_CHILD";
const THREADS: u64 = 3;

fn open(path: &Path) -> Engine {
    let store = Durable::open(path).expect("a store that opens").durability(Durability::Synced);
    let quota = |name: &str, limit: u64| {
        let quota = Quota::new(name, Metric::TotalEvents, limit, Period::AllTime);
        quota.per("customer_id").id(format!("q_{name}"))
    };
    Engine::builder()
        .clock(ManualClock::new(date(START)))
        .quota(quota("calls", 1_000_000))
        .quota(quota("none", 0).filter("event_type", "refused"))
        .quota(quota("pro", 1_000_000).filter("customer_plan", "pro"))
        .durable(store.max_waiting(64).max_batch(8))
        .build()
        .expect("an engine that goes on")
}

/// Not a test of its own: what the test below runs, and kills.
#[test]
fn child() {
    let live = |engine: &Engine, dice, (_, thread)| live(engine, dice, thread);
    live_as_told(CHILD, THREADS, |path, _| open(path), live);
}

fn live(engine: &Engine, mut dice: Dice, thread: u64) {
    for _ in 0..60 {
        let customer = format!("{thread}{}", dice.pick(&["ann", "bob"]));
        let (what, done) = match dice.below(20) {
            0..9 => ("CALL", call(engine, &customer, "call")),
            9..14 => ("REFUSE", call(engine, &customer, "refused")),
            14 | 15 => {
                say(&format!("TRY {customer} SET"));
                let set = Customer::new(&*customer).metadata("plan", "pro");
                ("SET", engine.customers().upsert(set).map(drop).map_err(of_customers))
            }
            16 | 17 => {
                say(&format!("TRY {customer} ERASE"));
                ("ERASE", engine.customers().erase(&customer).map(drop).map_err(of_customers))
            }
            _ => {
                say(&format!("TRY {customer} FLUSH"));
                ("FLUSH", engine.store().flush().map_err(|_| None))
            }
        };
        match done {
            Ok(()) => say(&format!("DID {customer} {what}")),
            Err(None) => return,
            Err(Some(why)) => say(&format!("BAD {why}")),
        }
    }
}

/// Why a step failed; nothing where the store is about to die with the process.
type Why = Option<String>;

fn of_customers(why: CustomersError) -> Why {
    match why {
        CustomersError::Rules(RulesError::Store(_)) => None,
        why => Some(why.to_string()),
    }
}

fn call(engine: &Engine, customer: &str, event_type: &'static str) -> Result<(), Why> {
    let what = if event_type == "call" { "CALL" } else { "REFUSE" };
    say(&format!("TRY {customer} {what}"));
    match engine.track(&Event::new(customer, event_type)) {
        Ok(decision) if decision.is_allowed() == (event_type == "call") => Ok(()),
        Ok(decision) => Err(Some(decision.to_string())),
        Err(TrackError::Store(_)) => Err(None),
        Err(why) => Err(Some(why.to_string())),
    }
}

/// What is known of a customer since it was erased last.
#[derive(Clone, Debug, Default)]
struct Known {
    calls: u64,
    is_pro: bool,
    refused: u64,
    /// How many of the refused calls were flushed.
    flushed: u64,
    /// What had begun, and no answer was heard.
    trying: Option<String>,
}

/// What is known of all, with what is nobody's any more.
#[derive(Debug, Default)]
struct Story {
    known: BTreeMap<String, Known>,
    calls: u64,
    /// Refused calls ever, by thread, and how many of them were flushed.
    refused: BTreeMap<char, (u64, u64)>,
    erased: u64,
}

impl killed::Story for Story {
    const CHILD: (&str, &str) = ("erase_kill::child", CHILD);
    const LIVES: u64 = 4;
    const ANSWERS: u64 = 150;

    fn hear(&mut self, said: &str) {
        let parts: Vec<&str> = said.split(' ').collect();
        assert!(["TRY", "DID"].contains(&parts[0]), "the child says {said}");
        let customer = parts[1];
        let thread = customer.chars().next().expect("its thread");
        if parts[0] == "TRY" {
            let known = self.known.entry(customer.to_owned()).or_default();
            known.trying = Some(parts[2].to_owned());
            return;
        }
        if parts[2] == "FLUSH" {
            let own = self.known.iter_mut().filter(|(of, _)| of.starts_with(thread));
            own.for_each(|(_, known)| known.flushed = known.refused);
            let (refused, flushed) = self.refused.entry(thread).or_default();
            *flushed = *refused;
        }
        let known = self.known.get_mut(customer).expect("it was tried");
        known.trying = None;
        match parts[2] {
            "CALL" => (known.calls, self.calls) = (known.calls + 1, self.calls + 1),
            "REFUSE" => {
                known.refused += 1;
                self.refused.entry(thread).or_default().0 += 1;
            }
            "SET" => known.is_pro = true,
            "ERASE" => {
                *known = Known::default();
                self.erased += 1;
            }
            _ => {}
        }
    }

    fn examine(&mut self, path: &Path, _: u64, context: &str) {
        examine(path, self, context);
    }
}

impl Story {
    fn is_trying(&self, what: &str) -> u64 {
        let trying = self.known.values().filter(|it| it.trying.as_deref() == Some(what));
        trying.count() as u64
    }
}

fn refused_of(engine: &Engine, customer: &str) -> u64 {
    let query = RefusalQuery::new().rule("q_none").key(("customer_id", customer));
    let page = engine.refusals().counts(&query).expect("a page");
    page.items.iter().map(|item| item.refused).sum()
}

/// What is found is what was said, and the story goes on from it.
fn examine(path: &Path, story: &mut Story, context: &str) {
    let engine = open(path);
    engine.store().verify(|_| ()).expect("it is whole");
    let all = engine.usage().summary(&UsageQuery::all_time()).expect("good").totals.total_events;
    let (least, most) = (story.calls, story.calls + story.is_trying("CALL"));
    assert!((least..=most).contains(&all), "{context}: {all} of {least} to {most} calls");
    let hours = engine.refusals().hours(&RefusalQuery::new()).expect("hours");
    let refused: u64 = hours.iter().map(|hour| hour.refused).sum();
    let least: u64 = story.refused.values().map(|(_, flushed)| flushed).sum();
    let most: u64 = story.refused.values().map(|(all, _)| all).sum();
    let most = most + story.is_trying("REFUSE");
    assert!((least..=most).contains(&refused), "{context}: {refused} of {least} to {most} refused");
    for (customer, known) in &mut story.known {
        let trying = |what: &str| known.trying.as_deref() == Some(what);
        let query = EventQuery::new().customer(&**customer);
        let calls = engine.events().iter(query).expect("good").count() as u64;
        let standing = engine.standing(&Event::new(&**customer, "call")).expect("good");
        let used = |id| standing.quotas().find(|it| it.id == id).map(|it| it.used.to_u64_floor());
        let (is_pro, refused) = (used("q_pro").is_some(), refused_of(&engine, customer));
        let text = format!("{context}: {customer}: {known:?}, and {calls} {is_pro} {refused}");
        let own = engine.usage().summary(&UsageQuery::all_time().customer(&**customer));
        assert_eq!(own.expect("good").totals.total_events, calls, "{text}");
        assert_eq!(used("q_calls"), Some(calls), "{text}");
        let is_set = engine.customers().get(customer).is_some_and(|it| !it.metadata.is_empty());
        assert_eq!(is_set, is_pro, "{text}");
        let is_whole = (known.calls..=known.calls + u64::from(trying("CALL"))).contains(&calls)
            && (is_pro == known.is_pro || (is_pro && trying("SET")))
            && (known.flushed..=known.refused + u64::from(trying("REFUSE"))).contains(&refused);
        let is_gone = trying("ERASE") && (calls, is_pro, refused) == (0, false, 0);
        assert!(is_whole || is_gone, "{text}");
        *known = Known { calls, is_pro, refused, flushed: refused, trying: None };
    }
    story.calls = all;
    story.refused = [('x', (refused, refused))].into();
    engine.store().close().expect("it closes");
}

#[test]
fn a_killed_process_has_erased_whole_or_not_at_all() {
    let first = seed("erase_kill", 60);
    let mut erased = 0;
    for seed in first..first + if long() { 40 } else { 4 } {
        let story: Story = killed::story("erase-kill", seed);
        erased += story.erased;
    }
    println!("{erased} were erased");
    assert!(erased > 10, "this shows nothing");
}
