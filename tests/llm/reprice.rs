//! Goal: what recorded events would cost by another book is exact, by model and over all, with
//! corrected, voided, given and unpriced ones among them; restating them makes usage, quotas and
//! the log say so, once; and what stops half way is safe to go on with.
//!
//! Method: random events and corrections beside a list of what they are, whose costs are worked out
//! by hand in whole tenths of a millionth; the same over a restart; and prices that close the
//! store, or correct the event, when they are asked.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use limitry::errors::{CorrectError, PriceError, QueryError};
use limitry::events::{CorrectionQuery, EventId, EventQuery, Recording};
use limitry::llm::{PriceBook, Reprice, RepriceError, RepriceReport, Repriced};
use limitry::store::{MemoryStore, Progress};
use limitry::time::ManualClock;
use limitry::usage::UsageQuery;
use limitry::{Amount, Engine, Event, Metric, Period, Pricer, Quota, Timestamp};

const START: i64 = 1_800_000_000;
/// Dollars a billion tokens, in and out, by book and model: a tenth of a millionth of a cent each.
const RATES: [[(u64, u64); 3]; 2] =
    [[(150, 600), (2_500, 10_003), (7, 9)], [(151, 600), (2_000, 8_000), (7, 9)]];
const MODELS: [&str; 3] = ["m0", "m1", "m2"];

fn book(rates: &[(u64, u64); 3]) -> PriceBook {
    let price = |(model, (input, output)): (&str, &(u64, u64))| {
        let dollars = |rate: &u64| format!("{}.{:03}", rate / 1_000, rate % 1_000);
        let (input, output) = (dollars(input), dollars(output));
        format!("[[price]]\nmodel = \"{model}\"\ninput = {input}\noutput = {output}\n")
    };
    let text: String = MODELS.into_iter().zip(rates).map(price).collect();
    PriceBook::from_toml(&text).expect("a book")
}

/// The same numbers from the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
        (self.0 >> 33) % bound
    }
}

/// What an event is now.
#[derive(Clone, Debug)]
struct Known {
    id: EventId,
    at: i64,
    model: Option<usize>,
    tokens: (u64, u64),
    /// In millionths of a cent.
    cost: i128,
    is_given: bool,
    is_void: bool,
}

fn by_hand(model: usize, (input, output): (u64, u64), rates: &[(u64, u64); 3]) -> i128 {
    let (of_input, of_output) = rates[model];
    i128::from((input * of_input + output * of_output).div_ceil(10))
}

impl Known {
    fn event(&self) -> Event<'static> {
        let event = Event::new("ann", "call").input_tokens(self.tokens.0);
        let event = event.output_tokens(self.tokens.1);
        match self.model {
            Some(model) => event.model(MODELS[model]),
            None => event,
        }
    }

    fn other_cost(&self, rates: &[(u64, u64); 3]) -> i128 {
        match self.model {
            Some(model) if !self.is_given => by_hand(model, self.tokens, rates),
            _ => self.cost,
        }
    }
}

fn cents(millionths: i128) -> Amount {
    Amount::from_millionths(millionths)
}

/// Random events, some of them corrected, in an engine that has the first book.
fn fill(engine: &Engine, clock: &ManualClock, dice: &mut Dice) -> Vec<Known> {
    let mut all = Vec::new();
    let first = Event::new("ann", "nothing").timestamp(Timestamp::new(START - 1, 0));
    let first = engine.record(&first).expect("valid").event_id().expect("recorded");
    engine.void(first, "a name to begin with").expect("it is there");
    for _ in 0..200 {
        clock.advance(Duration::from_secs(dice.below(600)));
        let mut known = Known {
            id: first,
            at: START + i64::try_from(dice.below(100_000)).expect("small"),
            model: Some(dice.below(4)).filter(|it| *it < 3).map(|it| it as usize),
            tokens: (dice.below(5_000), 1 + dice.below(700)),
            cost: 0,
            is_given: false,
            is_void: false,
        };
        let mut event = known.event().timestamp(Timestamp::new(known.at, 0));
        known.is_given = dice.below(5) == 0;
        if known.is_given {
            known.cost = i128::from(dice.below(3_000_000)) - 500_000;
            event = event.cost_cents(cents(known.cost));
        }
        known.id = engine.record(&event).expect("valid").event_id().expect("recorded");
        known.cost = known.other_cost(&RATES[0]);
        all.push(known);
        if dice.below(4) > 0 {
            continue;
        }
        let place = dice.below(all.len() as u64) as usize;
        let known = &mut all[place];
        if known.is_void {
            continue;
        }
        if dice.below(3) == 0 {
            engine.void(known.id, "void").expect("it is there");
            known.is_void = true;
        } else {
            known.tokens.0 = dice.below(9_000);
            known.is_given = false;
            known.cost = 0;
            engine.amend(known.id, &known.event(), "amend").expect("it is there");
            known.cost = known.other_cost(&RATES[0]);
        }
    }
    all
}

/// The figures of a report, worked out event by event.
fn due(
    all: &[&Known],
    rates: &[(u64, u64); 3],
) -> (Repriced, BTreeMap<Option<Box<str>>, Repriced>) {
    let (mut totals, mut models) = (Repriced::default(), BTreeMap::<_, Repriced>::new());
    for known in all.iter().filter(|it| !it.is_void) {
        let model = known.model.map(|it| MODELS[it].into());
        for figures in [&mut totals, models.entry(model).or_default()] {
            let after = known.other_cost(rates);
            figures.events += 1;
            figures.given += u64::from(known.is_given);
            figures.changed += u64::from(after != known.cost);
            figures.before = figures.before.saturating_add(cents(known.cost));
            figures.after = figures.after.saturating_add(cents(after));
        }
    }
    (totals, models)
}

fn is_due(report: &RepriceReport, all: &[&Known], rates: &[(u64, u64); 3]) {
    let (totals, models) = due(all, rates);
    assert_eq!(report.totals, totals);
    let told = report.models.iter().map(|it| (it.model.clone(), it.figures));
    assert_eq!(told.collect::<BTreeMap<_, _>>(), models);
    let size = |it: &Repriced| it.difference().millionths().abs();
    assert!(report.models.is_sorted_by(|a, b| size(&a.figures) >= size(&b.figures)));
    assert_eq!((report.unpriced.len(), report.kept, report.dropped), (0, 0, 0));
}

/// What all events cost, by usage and by the quota.
fn cost(engine: &Engine) -> Amount {
    let usage = engine.usage().summary(&UsageQuery::all_time()).expect("valid").totals;
    let standing = engine.standing(&Event::new("ann", "call")).expect("valid");
    assert_eq!(standing.quotas().next().expect("it matches").used, usage.total_cost_cents);
    usage.total_cost_cents
}

fn corrections(engine: &Engine) -> usize {
    let (mut query, mut count) = (CorrectionQuery::new().limit(100), 0);
    loop {
        let page = engine.events().corrections(&query).expect("valid");
        count += page.data.len();
        let Some(next) = page.next_cursor else { return count };
        query = query.cursor(next);
    }
}

fn open(clock: &ManualClock, store: &MemoryStore) -> Engine {
    let budget = Quota::new("Budget", Metric::TotalCostCents, 1_000_000, Period::AllTime);
    let builder = Engine::builder().clock(clock.clone()).quota(budget).prices(book(&RATES[0]));
    builder.durable(store.open().expect("it opens")).build().expect("valid")
}

#[test]
fn costs_by_another_book_are_exact_and_restated_once_also_over_a_restart() {
    for seed in 0..2 {
        let clock = ManualClock::new(Timestamp::new(START + 100_000, 0));
        let store = MemoryStore::new();
        let engine = open(&clock, &store);
        let mut all = fill(&engine, &clock, &mut Dice(seed));
        let (old, new) = (book(&RATES[0]), book(&RATES[1]));

        // By its own book nothing changes, and a part of the events is as exact as all.
        let same = engine.reprice(&old, EventQuery::new()).report(|_| {}).expect("valid");
        is_due(&same, &all.iter().collect::<Vec<_>>(), &RATES[0]);
        assert_eq!((same.totals.changed, same.totals.before), (0, cost(&engine)));
        let (from, until) = (START + 20_000, START + 60_000);
        let part = EventQuery::new().between(Timestamp::new(from, 0), Timestamp::new(until, 0));
        let report = engine.reprice(&new, part.clone()).report(|_| {}).expect("valid");
        let of_part = |it: &&Known| (from..until).contains(&it.at);
        is_due(&report, &all.iter().filter(of_part).collect::<Vec<_>>(), &RATES[1]);
        assert!(report.totals.changed > 5);

        let before = corrections(&engine);
        let restated = engine.reprice(&new, part.clone()).restate("new", |_| {}).expect("valid");
        assert_eq!(restated.restated, report.totals.changed);
        assert_eq!((restated.totals, &restated.models), (report.totals, &report.models));
        for known in all.iter_mut().filter(|it| (from..until).contains(&it.at) && !it.is_void) {
            known.cost = known.other_cost(&RATES[1]);
        }
        let live: Vec<_> = all.iter().filter(|it| !it.is_void).collect();
        assert_eq!(cost(&engine), cents(live.iter().map(|it| it.cost).sum()));
        let after = corrections(&engine);
        assert_eq!(after - before, restated.restated as usize);

        // Twice is as once, by the engine that did it and by one that was opened again.
        engine.store().close().expect("it closes");
        let engine = open(&clock, &store);
        assert_eq!(cost(&engine), cents(live.iter().map(|it| it.cost).sum()));
        let again = engine.reprice(&new, part.clone()).restate("new", |_| {}).expect("valid");
        assert_eq!((again.restated, again.totals.changed), (0, 0));
        assert_eq!(again.totals.before, restated.totals.after);
        assert_eq!(corrections(&engine), after);

        // And back: restated costs are those of prices still.
        let back = engine.reprice(&old, EventQuery::new()).restate("back", |_| {}).expect("valid");
        is_due(&back, &live, &RATES[0]);
        assert_eq!(cost(&engine), same.totals.before);
    }
}

#[test]
fn given_costs_stay_unless_they_are_asked_for_and_what_has_no_price_says_why() {
    let engine = Engine::builder().build().expect("valid");
    let call = |model: &'static str| Event::new("ann", "call").model(model).input_tokens(10_000);
    let none = engine.record(&call("m1")).expect("valid").event_id().expect("recorded");
    let given = engine.record(&call("m1").cost_cents(9)).expect("valid").event_id();
    for _ in 0..2 {
        let _ = engine.record(&call("x")).expect("valid");
    }
    let newest = engine.record(&call("x").cost_cents(3)).expect("valid").event_id();
    let book = book(&RATES[0]);
    let events = || engine.reprice(&book, EventQuery::new());

    let report = events().report(|_| {}).expect("valid");
    let Repriced { events: count, changed, given: kept, unpriced, before, after, .. } =
        report.totals;
    assert_eq!((count, changed, kept, unpriced), (5, 1, 2, 2));
    // 10 000 tokens at 2.5 dollars a million.
    assert_eq!((before, after), (12.into(), "14.5".parse().expect("an amount")));
    assert_eq!(report.unpriced.len(), 1);
    let told = &report.unpriced[0];
    assert_eq!(told.events, 2);
    assert_eq!(told.reason.to_string(), "model: \"x\" has no price in the price book");

    let report = events().given_costs().restate("all", |_| {}).expect("valid");
    assert_eq!((report.restated, report.totals.given, report.unpriced[0].events), (2, 0, 3));
    assert_eq!(Some(report.unpriced[0].newest), newest);
    let known: Vec<_> = engine.events().newest(5);
    for id in [Some(none), given] {
        let found = known.iter().find(|it| Some(it.id) == id).expect("it is kept");
        let amended = found.correction.as_ref().and_then(|it| it.amended.as_ref());
        let amended = amended.expect("it is amended");
        assert!(amended.is_priced());
        assert_eq!(amended.amount("cost_cents"), Some("2.5".parse().expect("an amount")));
    }
    assert_eq!(events().given_costs().restate("all", |_| {}).expect("valid").restated, 0);
}

/// Cents an event, and something that is done when the price of some call is asked.
#[derive(Debug)]
struct Doing {
    asked: AtomicU64,
    at: u64,
    engine: OnceLock<Engine>,
    what: fn(&Engine, &Event<'_>),
}

impl Doing {
    fn at(at: u64, engine: &Engine, what: fn(&Engine, &Event<'_>)) -> Self {
        Self { asked: AtomicU64::new(0), at, engine: engine.clone().into(), what }
    }
}

impl Pricer for Doing {
    fn price(&self, event: &Event<'_>, _: Timestamp) -> Result<Option<Amount>, PriceError> {
        assert_eq!(event.amount("cost_cents"), None);
        if self.asked.fetch_add(1, Ordering::Relaxed) + 1 == self.at {
            (self.what)(self.engine.get().expect("it is set"), event);
        }
        Ok(Some(event.amount("total_tokens").unwrap_or_default()))
    }
}

#[test]
fn what_stops_half_way_is_gone_on_with() {
    let clock = ManualClock::new(Timestamp::new(START, 0));
    let store = MemoryStore::new();
    let engine = open(&clock, &store);
    for tokens in 1..=20 {
        let _ = engine.record(&Event::new("ann", "tool").input_tokens(tokens)).expect("valid");
    }
    // The price of an event that changes is asked twice.
    let prices = Doing::at(11, &engine, |engine, _| engine.store().close().expect("it closes"));
    let stopped = engine.reprice(&prices, EventQuery::new()).restate("r", |_| {}).unwrap_err();
    let RepriceError::Stopped { event_id, report, source } = stopped else { panic!("{stopped}") };
    assert!(matches!(source, CorrectError::Store(_)), "{source}");
    assert_eq!((report.restated, report.totals.after), (5, (20 + 19 + 18 + 17 + 16).into()));
    drop(engine);

    let engine = open(&clock, &store);
    assert_eq!(cost(&engine), report.totals.after);
    let prices = Doing::at(0, &engine, |_, _| ());
    let rest = EventQuery::new().cursor(event_id.to_string());
    let rest = engine.reprice(&prices, rest).report(|_| {}).expect("valid");
    assert_eq!((rest.totals.events, rest.totals.changed), (15, 15));
    let all = engine.reprice(&prices, EventQuery::new()).restate("r", |_| {}).expect("valid");
    assert_eq!((all.totals.events, all.restated), (20, 15));
    assert_eq!((cost(&engine), corrections(&engine)), (210.into(), 20));

    // A reason that breaks its rule stops at the first event that changes.
    let prices = book(&RATES[0]);
    let call = Event::new("ann", "call").model("m0").input_tokens(7).cost_cents(1);
    let _ = engine.record(&call).expect("valid");
    let bad = engine.reprice(&prices, EventQuery::new()).given_costs().restate("\n", |_| {});
    assert!(matches!(
        bad,
        Err(RepriceError::Stopped { source: CorrectError::Invalid { field: "reason", .. }, .. })
    ));
}

#[test]
fn what_others_correct_meanwhile_is_not_lost() {
    let engine = Engine::builder().build().expect("valid");
    let record = |tokens| {
        let event = Event::new("ann", "tool").input_tokens(tokens);
        engine.record(&event).expect("valid").event_id().expect("recorded")
    };
    let known = |id| {
        let found = engine.events().newest(9).into_iter().find(|it| it.id == id).expect("kept");
        found.correction.expect("it is corrected").amended
    };
    // When the price of the amendment is asked, which is the second time, somebody else amends.
    let id = record(10);
    let prices = Doing::at(2, &engine, |engine, event| {
        let id = engine.events().newest(1)[0].id;
        let _ = engine.amend(id, &event.clone().input_tokens(30), "others").expect("it is there");
    });
    let report = engine.reprice(&prices, EventQuery::new()).restate("r", |_| {}).expect("valid");
    let amended = known(id).expect("it is amended");
    assert_eq!(amended.amount("input_tokens"), Some(30.into()));
    assert_eq!(amended.amount("cost_cents"), Some(30.into()));
    assert_eq!((report.restated, report.totals.after), (1, 30.into()));
    // Or voids it: then it is none of the events.
    let id = record(5);
    let prices = Doing::at(2, &engine, |engine, _| {
        let id = engine.events().newest(1)[0].id;
        let _ = engine.void(id, "others").expect("it is there");
    });
    let report = engine.reprice(&prices, EventQuery::new()).restate("r", |_| {}).expect("valid");
    assert_eq!((known(id), report.restated, report.totals.events), (None, 0, 1));
}

#[test]
fn an_amount_beyond_the_bounds_is_no_price_and_progress_and_dropped_events_are_told() {
    #[derive(Debug)]
    struct TooMuch;
    impl Pricer for TooMuch {
        fn price(&self, _: &Event<'_>, _: Timestamp) -> Result<Option<Amount>, PriceError> {
            Ok(Some(Amount::from_millionths(i128::MAX)))
        }
    }
    let engine = Engine::builder().recording(Recording::Newest(1_100)).build().expect("valid");
    for _ in 0..2_500 {
        let _ = engine.record(&Event::new("ann", "tool").input_tokens(1)).expect("valid");
    }
    let mut told: Vec<Progress> = Vec::new();
    let report = engine.reprice(&TooMuch, EventQuery::new()).restate("r", |it| told.push(it));
    let report = report.expect("valid");
    let kept = engine.events().len() as u64;
    assert_eq!((report.totals.events, report.totals.unpriced, report.restated), (kept, kept, 0));
    assert_eq!((report.dropped, report.unpriced.len()), (2_500 - kept, 1));
    assert!(report.unpriced[0].reason.to_string().starts_with("cost_cents"));
    assert_eq!((told[0].done, told[0].total), (0, kept));
    assert_eq!(told.last().map(|it| (it.done, it.total)), Some((kept, kept)));
    assert!(told.is_sorted_by_key(|it| it.done) && told.len() > 2);

    // What is voided is done as well, though it is none of the events.
    told.clear();
    for event in engine.events().newest(500) {
        let _ = engine.void(event.id, "void").expect("it is there");
    }
    let _ = engine.reprice(&TooMuch, EventQuery::new()).report(|it| told.push(it)).expect("valid");
    assert!(told.is_sorted_by_key(|it| it.done) && told.len() > 2, "{told:?}");

    let off = Engine::builder().recording(Recording::Off).build().expect("valid");
    let why = off.reprice(&TooMuch, EventQuery::new()).report(|_| {}).unwrap_err();
    assert_eq!(why, RepriceError::Query(QueryError::RecordingOff));
}
