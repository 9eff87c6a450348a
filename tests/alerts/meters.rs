//! Goal: thresholds on meters, of all events together or of each value of a dimension, fire when a
//! naive statement of the meter's figure reaches them: counts, sums, a maximum, a gauge's latest
//! and distinct values, with a limit and without.
//!
//! Method: random calls, dates and changes of thresholds, beside a list of all events that is gone
//! through anew for each figure. Both paths, with recording and without.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use limitry::events::Recording;
use limitry::rules::{Enforcement, QuotaUpdate, Threshold};
use limitry::{Condition, Event, Meter, Metric, Period, Quota};

use crate::support::oracle::{DAY, HOUR, MINUTE, Nanos};
use crate::support::{Dice, START, cases, date, duration, engine, seed, track};

const AMOUNTS: [i64; 6] = [1, 3, 10, 25, 60, 150];
const PERCENT: [u32; 4] = [10, 50, 100, 150];
const LIMIT: i64 = 40;

/// What a meter asks of an event.
#[derive(Clone, Copy, Debug)]
enum Asks {
    Draws,
    Images,
    Largest,
    Seats,
    Users,
}

const METERS: [(&str, Asks); 5] = [
    ("draws", Asks::Draws),
    ("images", Asks::Images),
    ("largest", Asks::Largest),
    ("seats", Asks::Seats),
    ("users", Asks::Users),
];

/// What happened, when.
struct Call {
    draws: bool,
    model: &'static str,
    team: Option<&'static str>,
    user: Option<&'static str>,
    values: BTreeMap<&'static str, i64>,
    at: Nanos,
}

impl Call {
    fn drawn(dice: &mut Dice, now: Nanos) -> Self {
        let mut values = BTreeMap::new();
        for name in ["images", "seats"] {
            if dice.chance(50) {
                values.insert(name, i64::try_from(dice.below(30)).expect("small"));
            }
        }
        // Late ones, and such of the next periods.
        let beside = match dice.below(8) {
            0 => -MINUTE * i128::from(dice.below(50)),
            1 => HOUR * i128::from(dice.below(20)),
            _ => 0,
        };
        Self {
            draws: dice.chance(60),
            model: dice.pick(&["gpt-4", "gpt-4o", "o3"]),
            team: dice.pick(&[None, Some("red"), Some("blue")]),
            user: dice.pick(&[None, Some("u1"), Some("u2"), Some("u3"), Some("u4")]),
            values,
            at: now + beside,
        }
    }

    fn event(&self, is_dated: bool) -> Event<'static> {
        let event = Event::new("ann", if self.draws { "draw" } else { "call" }).model(self.model);
        let event = self.team.iter().fold(event, |it, team| it.property("team", *team));
        let event = self.user.iter().fold(event, |it, user| it.property("user_id", *user));
        let event = self.values.iter().fold(event, |it, (name, value)| it.value(*name, *value));
        if is_dated { event.timestamp(date(self.at)) } else { event }
    }

    fn value(&self, name: &str) -> Option<i64> {
        self.values.get(name).copied()
    }

    /// Whether it counts on a meter, and how much of it is used.
    fn used(&self, asks: Asks) -> i64 {
        let is_gpt = self.model.starts_with("gpt-4");
        match asks {
            Asks::Draws => i64::from(self.draws),
            Asks::Images if !is_gpt => 0,
            Asks::Images | Asks::Largest => self.value("images").unwrap_or(0),
            Asks::Seats => self.value("seats").unwrap_or(0),
            Asks::Users => i64::from(self.user.is_some()),
        }
    }
}

/// The figure of a meter, of calls in the order in which they came.
fn figure<'c>(asks: Asks, calls: impl Iterator<Item = &'c Call>) -> i64 {
    match asks {
        Asks::Draws | Asks::Images => calls.map(|call| call.used(asks)).sum(),
        Asks::Largest => calls.filter_map(|call| call.value("images")).max().unwrap_or(0),
        Asks::Seats => {
            let said = calls.filter_map(|call| Some((call.at, call.value("seats")?)));
            said.max_by_key(|(at, _)| *at).map_or(0, |(_, seats)| seats)
        }
        Asks::Users => {
            let users: BTreeSet<_> = calls.filter_map(|call| call.user).collect();
            i64::try_from(users.len()).expect("few")
        }
    }
}

struct Watch {
    id: String,
    asks: Asks,
    length: Nanos,
    by_team: bool,
    has_limit: bool,
    thresholds: Vec<Threshold>,
    fired: HashSet<(Option<&'static str>, String, Nanos)>,
}

impl Watch {
    fn level(threshold: &Threshold) -> i64 {
        match threshold {
            Threshold::Percent(percent) => LIMIT * i64::from(*percent) / 100,
            Threshold::Amount(amount) => i64::try_from(amount.to_u64_floor()).expect("small"),
            other => panic!("{other:?}"),
        }
    }

    fn quota(&self, metric: Metric) -> Quota {
        let period = if self.length == HOUR { Period::Hour } else { Period::Day };
        let quota = if self.has_limit {
            Quota::new(&*self.id, metric, LIMIT, period).enforcement(Enforcement::Soft)
        } else {
            Quota::unlimited(&*self.id, metric, period)
        };
        let quota = if self.by_team { quota.per("team") } else { quota };
        self.thresholds.iter().cloned().fold(quota.id(&*self.id), Quota::alert_at)
    }

    fn draw(&mut self, dice: &mut Dice) {
        let amounts = AMOUNTS.iter().map(|amount| Threshold::amount(*amount));
        let percents = PERCENT.iter().map(|percent| Threshold::percent(*percent));
        let percents = percents.filter(|_| self.has_limit);
        let kept: Vec<Threshold> = amounts.chain(percents).filter(|_| dice.chance(50)).collect();
        self.thresholds = kept;
    }

    /// What fires with the last of the calls: the key, the threshold's level and the figure.
    fn fires(&mut self, calls: &[Call], now: Nanos) -> Vec<(String, i64, i64)> {
        let last = calls.last().expect("one at least");
        let period = |at: Nanos| at.div_euclid(self.length);
        let is_of_it = |call: &Call| {
            (!self.by_team || call.team == last.team) && period(call.at) == period(last.at)
        };
        let is_used = last.used(self.asks) > 0 && (!self.by_team || last.team.is_some());
        if !is_used || period(last.at) != period(now) {
            return Vec::new();
        }
        let figure_of =
            |calls: &[Call]| figure(self.asks, calls.iter().filter(|call| is_of_it(call)));
        let figure = figure_of(calls);
        // A value that was there before uses nothing.
        if matches!(self.asks, Asks::Users) && figure == figure_of(&calls[..calls.len() - 1]) {
            return Vec::new();
        }
        let (key, start) = (last.team.filter(|_| self.by_team), period(now));
        let mut found = Vec::new();
        for threshold in &self.thresholds {
            let mark = (key, format!("{threshold:?}"), start);
            if figure >= Self::level(threshold) && self.fired.insert(mark) {
                found.push((key.unwrap_or("all").to_owned(), Self::level(threshold), figure));
            }
        }
        found.sort_by_key(|(_, level, _)| *level);
        found
    }
}

fn meter(name: &str, asks: Asks) -> Meter {
    let meter = match asks {
        Asks::Draws => Meter::count(name).filter("event_type", "draw"),
        Asks::Images => Meter::sum(name, "images").filter("model", Condition::prefix("gpt-4")),
        Asks::Largest => Meter::max(name, "images"),
        Asks::Seats => Meter::latest(name, "seats"),
        Asks::Users => Meter::unique(name, "user_id"),
    };
    meter.id(name)
}

fn run(dice: &mut Dice, recorded: bool, straight: bool) -> usize {
    let mut watches = Vec::new();
    for (name, asks) in METERS {
        for (by_team, length) in [(false, DAY), (true, HOUR)] {
            let id = format!("{name}_{by_team}");
            let (thresholds, fired) = Default::default();
            let has_limit = dice.chance(50);
            let mut watch = Watch { id, asks, length, by_team, has_limit, thresholds, fired };
            watch.draw(dice);
            watches.push((name, watch));
        }
    }
    let keep = if recorded { Recording::Newest(10_000) } else { Recording::Off };
    let (engine, clock) = engine(|builder| {
        let meters = METERS.iter().map(|(name, asks)| meter(name, *asks));
        let builder = meters.fold(builder.recording(keep), |builder, meter| builder.meter(meter));
        watches.iter().fold(builder, |builder, (name, watch)| {
            builder.quota(watch.quota(Metric::meter(*name)))
        })
    });
    engine.go_straight(straight);
    let (mut now, mut calls, alerts, mut met) = (START, Vec::new(), engine.alerts(), 0);
    for _ in 0..80 {
        if dice.chance(15) {
            let length = dice.pick(&[MINUTE, 20 * MINUTE, HOUR, 9 * HOUR]);
            now += length;
            clock.advance(duration(length));
        }
        if dice.chance(10) {
            let place = usize::try_from(dice.below(10)).expect("ten of them");
            let watch = &mut watches[place].1;
            watch.draw(dice);
            let update = QuotaUpdate::new().alert_thresholds(watch.thresholds.clone());
            engine.rules().update(&watch.id, update).expect("a valid change");
        }
        let call = Call::drawn(dice, now);
        let event = call.event(call.at != now);
        let answer = track(&engine, &event);
        assert!(answer.is_allowed(), "nothing refuses: {answer:?}");
        calls.push(call);
        let mut found: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for alert in std::iter::from_fn(|| alerts.poll()) {
            let key = alert.key.first().map_or("all", |(_, value)| value).to_owned();
            let used = i64::try_from(alert.used.to_u64_floor()).expect("small");
            let one = (key, Watch::level(&alert.threshold), used);
            found.entry(alert.rule_id.clone()).or_default().push(one);
        }
        for (_, watch) in &mut watches {
            let due = watch.fires(&calls, now);
            met += due.len();
            assert_eq!(found.remove(&watch.id).unwrap_or_default(), due, "{} {event:?}", watch.id);
        }
        assert!(found.is_empty(), "{found:?}");
    }
    met
}

#[test]
fn a_meters_thresholds_fire_when_its_figure_reaches_them() {
    let mut dice = Dice::new(seed("meters", 0x13_0428));
    let met: usize =
        (0..cases(24)).map(|case| run(&mut dice, case % 2 == 0, case / 2 % 2 == 0)).sum();
    assert!(met > 100, "{met} fired");
}
