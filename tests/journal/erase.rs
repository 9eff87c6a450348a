//! Goal: who was erased is in no byte of the store's file once that was compacted, and whenever the
//! machine stops, all of it is there or nothing.
//!
//! Method: a file with all that can be known of a person, whose bytes are searched; a scripted life
//! with persons erased, cut off at the writes of its medium.

use std::fs;
use std::time::Duration;

use limitry::balances::{Credit, NewBalance};
use limitry::customer::Customer;
use limitry::events::{EventQuery, Recording};
use limitry::refusals::RefusalQuery;
use limitry::rules::Threshold;
use limitry::store::{Durability, Durable};
use limitry::time::{ManualClock, Tz};
use limitry::usage::UsageQuery;
use limitry::{Engine, EngineBuilder, Event, Hold, Metric, Period, Quota, Reserved};

use crate::lives::{Life, crash_everywhere, portraits};
use crate::support::files::Folder;
use crate::support::{Dice, START, date, long};

const PERSON: &str = "jo.doe@example.org";
const MARKER: &str = "a marker in her events";

fn builder(clock: &ManualClock) -> EngineBuilder {
    let quota = |name: &str| Quota::new(name, Metric::TotalEvents, 1_000_000, Period::Month);
    let credits = Quota::balance("credits", Metric::TotalTokens);
    Engine::builder()
        .clock(clock.clone())
        .recording(Recording::Newest(100_000).refusals(100))
        .quota(quota("own").id("q_own").per("customer_id").alert_at(Threshold::amount(1)))
        .quota(quota("team").id("q_team").per("team_id"))
        .quota(credits.per("customer_id").alert_at(Threshold::amount(999_990)))
        .quota(Quota::new("users", Metric::unique("customer_id"), 900, Period::Month).id("q_users"))
}

fn open(folder: &Folder, clock: &ManualClock) -> Engine {
    let store = Durable::open(folder.file("store")).expect("a store");
    let engine = builder(clock).durable(store.durability(Durability::Synced));
    engine.build().expect("an engine")
}

fn event(customer: &str, number: u64) -> Event<'_> {
    let event = Event::new(customer, "call").model("large").total_tokens(number % 50);
    let event = event.property("team_id", if number.is_multiple_of(2) { "red" } else { "blue" });
    match customer {
        PERSON if number.is_multiple_of(2) => event.property("note", MARKER),
        PERSON => event.attach("note", MARKER),
        _ => event,
    }
}

fn figures(engine: &Engine) -> String {
    let mut all = String::new();
    for number in 0..2 {
        let standing = engine.standing(&event("somebody", number)).expect("good");
        all += &format!("{:?}\n", standing.quotas().collect::<Vec<_>>());
    }
    all += &format!("{:?}", engine.usage().summary(&UsageQuery::all_time()).expect("good"));
    all + &format!("{:?}", engine.usage().breakdown(&UsageQuery::all_time(), "team_id"))
}

fn is_in(folder: &Folder, text: &str) -> bool {
    let bytes = fs::read(folder.file("store")).expect("it is read");
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// All that is to be known of a customer.
fn use_everything(engine: &Engine, customer: &str, from: u64) {
    let new = NewBalance::new(customer, "credits").initial(1_000_000);
    engine.balances().create(&new).expect("new");
    engine.balances().credit(customer, "credits", &Credit::new(5).reference("r")).expect("good");
    let set = Customer::new(customer).name("Jo Doe").time_zone(Tz::Asia__Tokyo);
    engine.customers().upsert(set).expect("good");
    engine.rules().adjust("q_own", [("customer_id", customer)], 1, "sorry").expect("good");
    for number in 0..30 {
        let too_much = event(customer, number).total_tokens(1 << 40);
        assert!(!engine.track(&too_much).expect("good").is_allowed());
    }
    for number in from..from + 300 {
        let key = format!("{customer} {number}");
        let event = event(customer, number).idempotency_key(key);
        assert!(engine.track(&event).expect("good").is_allowed());
        if number % 10 == 0 {
            let hold = Hold::lasting(Duration::from_secs(60));
            match engine.reserve(&self::event(customer, number), hold).expect("good") {
                Reserved::Held(held) if number % 20 == 0 => {
                    let _ = held.commit(&self::event(customer, number)).expect("good");
                }
                Reserved::Held(held) if number % 30 == 0 => drop(held),
                Reserved::Held(held) => drop(held.into_id()),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn no_byte_of_the_file_names_who_was_erased() {
    let folder = Folder::new("erased");
    let clock = ManualClock::new(date(START));
    let mut engine = open(&folder, &clock);
    use_everything(&engine, PERSON, 0);
    use_everything(&engine, "globex", 1_000);
    engine.store().close().expect("it closes");
    drop(engine);
    engine = open(&folder, &clock);
    for number in 2_000..2_100 {
        let _ = engine.track(&event(PERSON, number)).expect("good");
    }
    for text in [PERSON, MARKER, "globex"] {
        assert!(is_in(&folder, text), "{text}");
    }
    // What is held by its reservations goes back; all that is used stays.
    let hers = |engine: &Engine| {
        let all = EventQuery::new().customer(PERSON);
        engine.events().iter(all).expect("good").count()
    };
    let used = hers(&engine);
    let total = engine.usage().summary(&UsageQuery::all_time()).expect("good").totals.total_events;

    let report = engine.customers().erase(PERSON).expect("it is erased");
    assert_eq!(report.events, used as u64);
    assert_eq!((report.idempotency_keys, report.balances, report.was_set), (300, 1, true));
    let refused = engine.refusals().list(&RefusalQuery::new().limit(100)).expect("good").items;
    assert_eq!(refused.len(), 30);
    assert!(refused.iter().all(|it| it.event.customer_id() == "globex"));
    let after = figures(&engine);
    let now = engine.usage().summary(&UsageQuery::all_time()).expect("good").totals.total_events;
    assert_eq!((now, hers(&engine)), (total, 0));
    engine.store().compact(|_| ()).expect("it is made small");
    for text in [PERSON, MARKER] {
        assert!(!is_in(&folder, text), "{text} is in the file");
    }
    assert!(is_in(&folder, "globex"));
    engine.store().verify(|_| ()).expect("it is whole");
    drop(engine);

    let engine = open(&folder, &clock);
    assert_eq!(figures(&engine), after);
    assert!(engine.customers().get(PERSON).is_none());
    // She comes again, as somebody new.
    let key = format!("{PERSON} 7");
    let again = event(PERSON, 7).idempotency_key(&*key);
    let refused = engine.track(&again).expect("good");
    assert!(!refused.is_allowed(), "she has no credits");
    engine.balances().create(&NewBalance::new(PERSON, "credits").initial(1_000)).expect("new");
    let decision = engine.track(&again).expect("good");
    assert!(decision.is_allowed() && decision.outcome() == limitry::Outcome::Admitted);
    let own = decision.quotas().find(|quota| quota.id == "q_own").expect("it matches");
    assert_eq!(own.used, 1);
    engine.store().verify(|_| ()).expect("it is whole");
    engine.store().close().expect("it closes");
    drop(engine);
    let engine = open(&folder, &clock);
    assert_eq!(hers(&engine), 1);
}

/// A life with persons who are erased and come again.
#[derive(Default)]
struct Erased;

const OWNERS: [&str; 3] = ["ann", "bob", "eve"];

impl Life for Erased {
    const STEPS: u64 = 60;
    const REOPENED: [u64; 2] = [21, 44];

    fn builder(clock: &ManualClock) -> EngineBuilder {
        let own = Quota::new("bob's", Metric::TotalEvents, 500, Period::Day).id("q_bob");
        builder(clock).quota(own.filter("customer_id", "bob"))
    }

    fn step(&mut self, engine: &Engine, (script, number): (u64, u64)) -> Result<(), String> {
        let mut dice = Dice::new(script * 1_000 + number + 5);
        let owner = dice.pick(&OWNERS);
        match dice.below(12) {
            0 | 1 => {
                let erased = engine.customers().erase(owner);
                erased.map(drop).map_err(|why| why.to_string())
            }
            2 => {
                let new = NewBalance::new(owner, "credits").initial(900);
                match engine.balances().create(&new) {
                    Err(limitry::errors::BalanceError::Store(why)) => Err(why.to_string()),
                    _ => Ok(()),
                }
            }
            3 => {
                let set = Customer::new(owner).time_zone(dice.pick(&[Tz::Asia__Tokyo, Tz::UTC]));
                engine.customers().upsert(set).map(drop).map_err(|why| why.to_string())
            }
            _ => {
                let key = format!("{owner} {}", dice.below(30));
                let event = event(owner, number).idempotency_key(key);
                let done =
                    if dice.chance(50) { engine.record(&event) } else { engine.track(&event) };
                match done {
                    Err(limitry::errors::TrackError::Store(why)) => Err(why.to_string()),
                    _ => Ok(()),
                }
            }
        }
    }

    fn portrait(engine: &Engine) -> String {
        let mut all = figures(engine);
        for owner in OWNERS {
            let mine = EventQuery::new().customer(owner);
            let events = engine.events().iter(mine).expect("good");
            let events: Vec<_> = events.map(|it| (it.timestamp, it.event)).collect();
            let usage = engine.usage().summary(&UsageQuery::all_time().customer(owner));
            let standing = engine.standing(&event(owner, 0)).expect("good");
            let standing: Vec<_> = standing.quotas().collect();
            let mut known = engine.customers().get(owner);
            if let Some(known) = &mut known {
                (known.created_at, known.updated_at) = (None, None);
            }
            let balance = engine.balances().get(owner, "credits").map(|it| it.available_balance);
            all += &format!("\n{owner}: {known:?} {standing:?}\n{usage:?}\n{balance:?} {events:?}");
        }
        all
    }
}

#[test]
fn whenever_the_machine_stops_all_is_erased_or_nothing() {
    for script in 0..if long() { 20 } else { 3 } {
        assert!(portraits::<Erased>(script).len() > 1);
        crash_everywhere::<Erased>(script, if long() { 3 } else { 67 });
    }
}

/// Large values leave pages free that compacting does not need: what was in them is gone, too.
#[test]
fn pages_that_are_free_are_written_over() {
    let folder = Folder::new("blank");
    let clock = ManualClock::new(date(START));
    let open = || {
        let store = Durable::open(folder.file("store")).expect("a store");
        let engine = builder(&clock).durable(store.durability(Durability::Memory));
        engine.build().expect("an engine")
    };
    let mut engine = open();
    use_everything(&engine, PERSON, 0);
    for number in 5_000..7_000 {
        let _ = engine.record(&event(PERSON, number)).expect("good");
    }
    use_everything(&engine, "globex", 1_000);
    for number in 5_000..5_400 {
        let _ = engine.record(&event("globex", number)).expect("good");
        if number % 40 == 0 {
            engine.store().close().expect("it closes");
            engine = open();
        }
    }
    engine.customers().erase(PERSON).expect("it is erased");
    assert!(is_in(&folder, PERSON), "this shows nothing");
    engine.store().compact(|_| ()).expect("it is made small");
    assert!(!is_in(&folder, PERSON) && !is_in(&folder, MARKER));
}
