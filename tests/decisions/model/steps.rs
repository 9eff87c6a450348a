//! What is drawn: worlds of rules, and steps that run in them.

use super::credits::{self, Pay, pay};
use super::operators::{Operate, operate};
use crate::support::START;
use crate::support::oracle::{
    Asked, DAY, Enforce, HOUR, Kind, MILLISECOND, MINUTE, Measure, Milli, Missing, Nanos,
    PlainEvent, PlainThreshold, Prop, Rule, SECOND, Span,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// One step. Numbers that choose among what is there are taken modulo how many there are.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Track(PlainEvent, Option<DatedBy>),
    Record(PlainEvent, Option<DatedBy>),
    Check(PlainEvent, Option<DatedBy>),
    Standing(PlainEvent),
    Batch(Vec<PlainEvent>),
    /// Tracks, records or reserves an earlier event with a key again.
    Again {
        which: usize,
        verb: Verb,
        how: Difference,
    },
    /// Reserves for so long; the guard that is dropped charges or gives back.
    Reserve {
        plain: PlainEvent,
        dating: Option<DatedBy>,
        lasting: Nanos,
        charge_on_drop: bool,
        /// Of what what is left will do, and how many quarters of it at least.
        up_to: Option<(Measure, u64)>,
    },
    Grow(usize, Growth),
    Extend(usize, Nanos),
    /// Commits by the guard, where it is there, or by the id.
    Commit {
        which: usize,
        actual: Actual,
        by_guard: bool,
    },
    Release {
        which: usize,
        by_guard: bool,
    },
    Drop(usize),
    Forget(usize),
    /// To the instant at which a reservation expires, and so many nanoseconds beside it.
    ToExpiry(usize, i64),
    Forward(Nanos),
    Backward(Nanos),
    /// To the instant of the last refusal's retry, and so many nanoseconds beside it.
    ToRetry(i64),
    /// To the end of the current period, and so many nanoseconds beside it.
    ToEnd(Span, i64),
    /// To where a rule begins or ends to judge, and so many nanoseconds beside it.
    ToTime(usize, bool, i64),
    Add(Rule),
    Change(usize, Edit),
    Remove(usize),
    /// Ends the engine and opens its store again, where it has one: see [`Pair::restart`].
    ///
    /// [`Pair::restart`]: crate::support::Pair::restart
    Restart(u8),
    /// Reloads the rules as they are, with one changed, or dropped, or none.
    Sync(Option<(usize, Option<Edit>)>),
    /// What operators do, beside changing rules.
    Operate(Operate),
    /// What is done to a balance.
    Pay(Pay),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Verb {
    Track,
    Record,
    Reserve,
}

/// What happened, by what was reserved.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a test has few of them")]
pub(super) enum Actual {
    /// So many quarters of it.
    Quarters(u64),
    /// Another event of the same customer.
    Another(PlainEvent),
    /// An event that is not its: of another customer, time or key.
    Strange(u8),
}

/// What a reservation grows by.
#[derive(Clone, Debug)]
pub(super) struct Growth {
    pub(super) values: PlainEvent,
    /// It names a dimension: one of the reserve, or another.
    pub(super) model: Option<&'static str>,
    /// It is dated or has a key, which it must not have.
    pub(super) strange: bool,
}

/// In what an event differs from an earlier one with its key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Difference {
    AsItWas,
    /// It says anew when it happened.
    Dated(Option<DatedBy>),
    /// It says the total of its tokens where the first left it to be computed, or leaves it.
    Total,
    /// It is another customer's.
    OfAnother,
    /// It costs more.
    Costlier,
}

/// How an event is dated: from the start of the day, so that repeats have equal timestamps.
#[derive(Clone, Copy, Debug)]
pub(super) enum DatedBy {
    FromMidnight(Nanos),
    FromHour(Nanos),
    Ahead(Nanos),
}

#[derive(Clone, Debug)]
pub(super) enum Edit {
    Limit(u64),
    Window(Nanos),
    Burst(u64),
    Algorithm(u8),
    Span(Kind),
    Enforce(Enforce),
    Enabled(bool),
    Priority(i32),
    Times(Times),
    Opening(Option<u64>),
    Alerts(Vec<PlainThreshold>),
    Name,
    Nothing,
}

impl Edit {
    /// The rule after the edit, or none where the edit does not apply to its kind.
    pub(super) fn apply(&self, rule: &Rule) -> Option<Rule> {
        let mut new = rule.clone();
        match (self, rule.kind) {
            // A rule that blocks has no bucket.
            (Self::Limit(0), Kind::Bucket { burst: Some(_), .. }) => return None,
            (Self::Burst(_), _) if rule.limit == 0 => return None,
            // What a balance has is the limit.
            (Self::Limit(_), Kind::Balance { .. }) => return None,
            (Self::Opening(opening), Kind::Balance { name, .. }) => {
                new.kind = Kind::Balance { name, opening: *opening };
            }
            (Self::Limit(limit), _) => new.limit = *limit,
            (Self::Enforce(enforce), _) => new.enforce = *enforce,
            (Self::Enabled(enabled), _) => new.enabled = *enabled,
            (Self::Times(times), _) => (new.starts, new.ends) = *times,
            (Self::Priority(priority), _) => {
                new.policy.as_ref()?;
                new.priority = *priority;
            }
            (Self::Alerts(alerts), kind) => {
                if !may_alert(kind, &rule.measure, alerts) {
                    return None;
                }
                new.alerts.clone_from(alerts);
            }
            (Self::Name, _) => new.name.push('\''),
            (Self::Nothing, _) => {}
            (Self::Burst(burst), Kind::Bucket { window, .. }) => {
                new.kind = Kind::Bucket { window, burst: Some(*burst) };
            }
            (Self::Window(window), kind) => {
                let window = *window;
                new.kind = match kind {
                    Kind::Bucket { burst, .. } => Kind::Bucket { window, burst },
                    Kind::Fixed { .. } => Kind::Fixed { window },
                    Kind::Sliding { .. } => Kind::Sliding { window },
                    Kind::Rolling { .. }
                    | Kind::Calendar(_)
                    | Kind::FirstUse { .. }
                    | Kind::Slots
                    | Kind::Balance { .. } => return None,
                };
            }
            (Self::Algorithm(to), kind) => {
                let (Kind::Bucket { window, burst: None }
                | Kind::Fixed { window }
                | Kind::Sliding { window }) = kind
                else {
                    return None;
                };
                new.kind = match to % 3 {
                    0 => Kind::Bucket { window, burst: None },
                    1 => Kind::Fixed { window },
                    _ => Kind::Sliding { window },
                };
            }
            (Self::Span(to), Kind::Rolling { .. } | Kind::Calendar(_) | Kind::FirstUse { .. }) => {
                new.kind = *to
            }
            (Self::Span(_) | Self::Burst(_) | Self::Opening(_), _) => return None,
        }
        Some(new)
    }
}

pub(super) fn window() -> impl Strategy<Value = Nanos> {
    select(vec![SECOND, MINUTE, HOUR, 7 * SECOND, 1_500 * MILLISECOND + 7, 90 * MINUTE, 61])
}

pub(super) fn rate_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => (window(), proptest::option::of(1_u64..30))
            .prop_map(|(window, burst)| Kind::Bucket { window, burst }),
        2 => window().prop_map(|window| Kind::Fixed { window }),
        2 => window().prop_map(|window| Kind::Sliding { window }),
    ]
}

pub(super) fn quota_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => select(Span::ALL.to_vec()).prop_map(Kind::Calendar),
        1 => select(vec![HOUR, DAY, 10 * MINUTE, 3 * DAY + 1])
            .prop_map(|window| Kind::Rolling { window }),
        1 => select(vec![HOUR, 3 * HOUR, DAY, 14 * DAY])
            .prop_map(|length| Kind::FirstUse { length }),
    ]
}

pub(super) fn measure() -> impl Strategy<Value = Measure> {
    prop_oneof![
        4 => Just(Measure::Events),
        2 => Just(Measure::Tokens),
        1 => Just(Measure::Cost),
        1 => Just(Measure::Value("images".into())),
        1 => Just(Measure::Value("input_tokens".into())),
    ]
}

pub(super) fn enforce() -> impl Strategy<Value = Enforce> {
    prop_oneof![
        4 => Just(Enforce::Hard),
        1 => Just(Enforce::Soft),
        1 => Just(Enforce::Shadow),
    ]
}

pub(super) fn filter() -> impl Strategy<Value = Vec<(String, Asked)>> {
    let pairs = [("model", "gpt"), ("customer_id", "ann"), ("team", "red"), ("event_type", "call")];
    let pairs: Vec<(String, Asked)> = pairs.map(|(key, value)| (key.into(), value.into())).into();
    let keys = vec!["model", "customer_id", "team", "customer_plan"];
    let any = proptest::sample::subsequence(keys, 1..=2);
    let any = any.prop_flat_map(|keys| {
        let asked = keys.iter().map(|key| asked(key)).collect::<Vec<_>>();
        asked.prop_map(move |asked| {
            keys.iter().map(|&key| key.to_owned()).zip(asked).collect::<Vec<_>>()
        })
    });
    prop_oneof![
        6 => Just(Vec::new()),
        3 => proptest::sample::subsequence(pairs, 1..=2),
        3 => any,
    ]
}

/// Anything that can be asked of a dimension.
fn asked(key: &str) -> impl Strategy<Value = Asked> + use<> {
    let values: &[&str] = match key {
        "model" => &["gpt", "claude", "none"],
        "team" => &["red", "blue", "none"],
        "customer_plan" => &["pro", "free", "none"],
        _ => &["ann", "bob", "none"],
    };
    let owned: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
    let some = || proptest::sample::subsequence(owned.clone(), 1..=2);
    let prefixes: Vec<_> = values.iter().flat_map(|it| [&it[..1], &it[..3]]).collect();
    prop_oneof![
        1 => select(owned.clone()).prop_map(Asked::Is),
        2 => some().prop_map(Asked::OneOf),
        2 => select(prefixes).prop_map(|prefix| Asked::Begins(prefix.to_owned())),
        2 => some().prop_map(Asked::NoneOf),
        1 => Just(Asked::Present),
        1 => Just(if key == "customer_id" { Asked::Present } else { Asked::Absent }),
    ]
}

pub(super) fn per() -> impl Strategy<Value = Vec<String>> {
    let sets = [&[][..], &["customer_id"], &["team"], &["customer_id", "team"], &["model"]];
    let by_plan = [&["customer_plan"][..], &["customer_id", "customer_plan"]];
    let owned = |set: &[&str]| set.iter().map(|&key| key.to_owned()).collect::<Vec<_>>();
    prop_oneof![
        9 => select(sets.map(owned).to_vec()),
        1 => select(by_plan.map(owned).to_vec()),
    ]
}

/// From when on a rule judges, and until when.
pub(super) type Times = (Option<Nanos>, Option<Nanos>);

pub(super) fn times() -> impl Strategy<Value = Times> {
    let edge = || {
        let edges = vec![-DAY, 0, SECOND, MINUTE + 1, 10 * MINUTE, 5 * HOUR, DAY, 40 * DAY];
        select(edges).prop_map(|length| START + length)
    };
    prop_oneof![
        8 => Just((None, None)),
        1 => edge().prop_map(|start| (Some(start), None)),
        2 => edge().prop_map(|end| (None, Some(end))),
        2 => (edge(), select(vec![1, SECOND, HOUR, 3 * DAY]))
            .prop_map(|(start, length)| (Some(start), Some(start + length))),
    ]
}

pub(crate) fn rule() -> impl Strategy<Value = Rule> {
    rule_of(prop_oneof![4 => rate_kind(), 4 => quota_kind(), 1 => Just(Kind::Slots)])
}

/// Whether a rule may have such thresholds.
fn may_alert(kind: Kind, measure: &Measure, alerts: &[PlainThreshold]) -> bool {
    alerts.iter().all(|threshold| match (kind, threshold) {
        (Kind::Slots, _) => false,
        (kind, _) if kind.is_rate() => false,
        (Kind::Balance { .. }, PlainThreshold::Percent(_)) => false,
        (Kind::Balance { .. }, PlainThreshold::Amount(_)) => true,
        (_, PlainThreshold::Percent(_)) => true,
        (_, PlainThreshold::Amount(milli)) => {
            *milli > 0 && (!measure.is_whole() || milli % 1_000 == 0)
        }
    })
}

/// Thresholds, of a limit and of a balance.
fn alerts() -> impl Strategy<Value = Vec<PlainThreshold>> {
    let some = |percents: &[u32], amounts: &[Milli]| {
        let percents = percents.iter().copied().map(PlainThreshold::Percent);
        percents.chain(amounts.iter().copied().map(PlainThreshold::Amount)).collect::<Vec<_>>()
    };
    let of_limit = some(&[1, 20, 50, 80, 100, 120], &[2_000, 5_000, 12_000]);
    let of_any = some(&[], &[500, 3_000, 10_000]);
    let of_balance = some(&[], &[-3_000, 0, 2_500, 8_000, 20_000]);
    prop_oneof![
        3 => proptest::sample::subsequence(of_limit, 0..=5),
        1 => proptest::sample::subsequence(of_any, 1..=3),
        2 => proptest::sample::subsequence(of_balance, 1..=4),
    ]
}

/// A rule of some kind.
pub(super) fn rule_of(kind: impl Strategy<Value = Kind>) -> impl Strategy<Value = Rule> {
    let limit = prop_oneof![9 => 1_u64..6, 6 => 5_u64..30, 3 => 50_u64..200, 1 => Just(0)];
    let priority = select(vec![0, 0, 0, 0, -1, 1]);
    let policy = proptest::option::weighted(0.35, (select(vec!["one", "two"]), priority));
    let missing = prop_oneof![
        16 => Just(Missing::Skip),
        3 => select(vec!["red", "gpt", "none"]).prop_map(|value| Missing::Stated(value.into())),
        1 => Just(Missing::Refuse),
    ];
    let said = (policy, times(), proptest::option::weighted(0.4, alerts()));
    (limit, kind, measure(), filter(), per(), enforce(), said, missing).prop_map(
        |(limit, kind, measure, filter, per, enforce, (policy, times, alerts), missing)| {
            let kind = match kind {
                Kind::Bucket { window, .. } if limit == 0 => Kind::Bucket { window, burst: None },
                other => other,
            };
            // A quota may be large enough for the largest amounts.
            let limit = if limit == 29 && !kind.is_rate() { 3_000_000_000_000_000 } else { limit };
            // Reservations are slots' only measure.
            let measure = if kind == Kind::Slots { Measure::Events } else { measure };
            // A policy is of rate limits or of quotas, not of both.
            let priority = policy.map_or(0, |(_, priority)| priority);
            let policy = policy.map(|(name, _)| format!("{name} {}", kind.is_rate()));
            // What an event must lack splits nothing, but by a stated value.
            let splits = |key: &String| !filter.contains(&(key.clone(), Asked::Absent));
            let is_stated = matches!(missing, Missing::Stated(_));
            let per = per.into_iter().filter(|key| is_stated || splits(key)).collect();
            let rule = Rule {
                measure,
                filter,
                per,
                enforce,
                policy,
                missing,
                ..Rule::new("", limit, kind)
            };
            let alerts = alerts.filter(|it| may_alert(rule.kind, &rule.measure, it));
            let alerts = alerts.unwrap_or_default();
            Rule { priority, starts: times.0, ends: times.1, alerts, ..rule }
        },
    )
}

/// The most that one event may bring, in thousandths.
const MOST: i64 = 1_000_000_000_000_000_000;

pub(crate) fn plain_event() -> impl Strategy<Value = PlainEvent> {
    let prop = prop_oneof![
        4 => select(vec!["red", "blue"]).prop_map(|text| Some(Prop::Text(text.into()))),
        1 => Just(Some(Prop::Number(7))),
        1 => Just(Some(Prop::Flag(true))),
        2 => Just(None),
    ];
    let plan = vec![Prop::Text("pro".into()), Prop::Text("free".into()), Prop::Number(7)];
    let prop = (prop, proptest::option::weighted(0.05, select(plan)));
    let tokens = || proptest::option::of(prop_oneof![0_u64..8, 0_u64..60]);
    let images = prop_oneof![3 => Just(None), 2 => (0_i64..4_000).prop_map(Some),
        1 => Just(Some(500)), 1 => (-3_000_i64..0).prop_map(Some),
        1 => select(vec![MOST, MOST - 1, -MOST]).prop_map(Some)];
    (
        select(vec!["ann", "bob"]),
        select(vec!["call", "embed"]),
        proptest::option::of(select(vec!["gpt", "claude"])),
        prop,
        (tokens(), tokens(), proptest::option::weighted(0.3, 0_u64..20)),
        proptest::option::weighted(
            0.3,
            prop_oneof![0_i128..10_000, (0_i128..10).prop_map(|cents| cents * 1_000)],
        ),
        images,
        proptest::option::weighted(0.2, select(vec!["k1", "k2", "k3"])),
    )
        .prop_map(|(customer, event_type, model, prop, tokens, cost, images, key)| {
            let mut plain = PlainEvent::new(customer, event_type);
            plain.model = model.map(str::to_owned);
            let (team, plan) = prop;
            plain.props.extend(team.map(|prop| ("team".to_owned(), prop)));
            plain.props.extend(plan.map(|prop| ("customer_plan".to_owned(), prop)));
            (plain.input, plain.output, plain.total) = tokens;
            plain.cost = cost;
            plain.values.extend(images.map(|milli| ("images".to_owned(), i128::from(milli))));
            plain.key = key.map(str::to_owned);
            plain
        })
}

pub(super) fn dating() -> impl Strategy<Value = Option<DatedBy>> {
    prop_oneof![
        5 => Just(None),
        1 => (0_i128..30).prop_map(|hours| Some(DatedBy::FromMidnight(hours * HOUR))),
        1 => select(vec![-1, 0, 1, -HOUR, -HOUR - 1, 30 * MINUTE, HOUR])
            .prop_map(|length| Some(DatedBy::FromHour(length))),
        1 => select(vec![-2 * HOUR, -MINUTE, 0, 1, MINUTE, DAY - 1, DAY, DAY + 1])
            .prop_map(|length| Some(DatedBy::Ahead(length))),
    ]
}

pub(super) fn again() -> impl Strategy<Value = Difference> {
    prop_oneof![
        2 => Just(Difference::AsItWas),
        1 => dating().prop_map(Difference::Dated),
        1 => Just(Difference::Total),
        1 => Just(Difference::OfAnother),
        1 => Just(Difference::Costlier),
    ]
}

pub(super) fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        3 => (0_u64..30).prop_map(Edit::Limit),
        1 => window().prop_map(Edit::Window),
        1 => (1_u64..30).prop_map(Edit::Burst),
        1 => (0_u8..3).prop_map(Edit::Algorithm),
        1 => quota_kind().prop_map(Edit::Span),
        1 => enforce().prop_map(Edit::Enforce),
        1 => any::<bool>().prop_map(Edit::Enabled),
        1 => (-1..=1).prop_map(Edit::Priority),
        1 => times().prop_map(Edit::Times),
        1 => credits::opening().prop_map(Edit::Opening),
        2 => alerts().prop_map(Edit::Alerts),
        1 => Just(Edit::Name),
        1 => Just(Edit::Nothing),
    ]
}

fn verb() -> impl Strategy<Value = Verb> {
    select(vec![Verb::Track, Verb::Record, Verb::Reserve])
}

fn actual() -> impl Strategy<Value = Actual> {
    prop_oneof![
        4 => select(vec![0, 1, 2, 4, 4, 6, 12]).prop_map(Actual::Quarters),
        2 => plain_event().prop_map(Actual::Another),
        1 => any::<u8>().prop_map(Actual::Strange),
    ]
}

fn growth() -> impl Strategy<Value = Growth> {
    let model = proptest::option::weighted(0.3, select(vec!["gpt", "claude"]));
    let strange = proptest::bool::weighted(0.05);
    (plain_event(), model, strange).prop_map(|(values, model, strange)| Growth {
        values,
        model,
        strange,
    })
}

/// A step of a reservation.
fn held_step() -> impl Strategy<Value = Step> {
    let lasting = || {
        prop_oneof![
            4 => 1_i128..30 * SECOND,
            2 => select(vec![1, SECOND, MINUTE, 10 * MINUTE, HOUR, DAY]),
            2 => 1_i128..3 * HOUR,
        ]
    };
    let tokens = vec![Measure::Tokens, Measure::Tokens, Measure::Value("input_tokens".into())];
    let up_to = proptest::option::weighted(0.2, (select(tokens), 0_u64..=4));
    let reserve = (plain_event(), dating(), lasting(), proptest::bool::weighted(0.2), up_to);
    prop_oneof![
        8 => reserve.prop_map(|(plain, dating, lasting, charge_on_drop, up_to)| {
            Step::Reserve { plain, dating, lasting, charge_on_drop, up_to }
        }),
        3 => (any::<usize>(), growth()).prop_map(|(which, more)| Step::Grow(which, more)),
        2 => (any::<usize>(), lasting()).prop_map(|(which, by)| Step::Extend(which, by)),
        5 => (any::<usize>(), actual(), any::<bool>())
            .prop_map(|(which, actual, by_guard)| Step::Commit { which, actual, by_guard }),
        2 => (any::<usize>(), any::<bool>())
            .prop_map(|(which, by_guard)| Step::Release { which, by_guard }),
        1 => any::<usize>().prop_map(Step::Drop),
        1 => any::<usize>().prop_map(Step::Forget),
        2 => (any::<usize>(), -1_i64..=1)
            .prop_map(|(which, beside)| Step::ToExpiry(which, beside)),
    ]
}

/// A world: its rules, and the steps that run in it. Some have balances.
pub(super) fn world() -> impl Strategy<Value = (Vec<Rule>, Vec<Step>)> {
    let rules = prop_oneof![1 => rule().boxed(), 1 => credits::rule().boxed()].boxed();
    let made = vec(credits::create().prop_map(Step::Pay), 0..4);
    let steps = prop_oneof![5 => step(rules.clone()), 1 => pay().prop_map(Step::Pay)];
    let of_balances = (vec(rules, 1..6), made, vec(steps, 1..50));
    prop_oneof![
        5 => (vec(rule(), 1..6), vec(step(rule()), 1..60)),
        1 => of_balances.prop_map(|(rules, made, steps)| (rules, [made, steps].concat())),
    ]
}

/// A step; the rules that are added are such.
fn step(rule: impl Strategy<Value = Rule> + 'static) -> impl Strategy<Value = Step> {
    let length = || {
        prop_oneof![
            3 => 1_i128..20 * SECOND,
            2 => select(vec![1, MILLISECOND, SECOND, 10 * SECOND, MINUTE, 10 * MINUTE]),
            2 => 1_i128..3 * HOUR,
            1 => select(vec![HOUR, DAY, DAY - 1, 8 * DAY, 40 * DAY]),
        ]
    };
    let ending = Span::ALL.into_iter().filter(|span| *span != Span::AllTime);
    let span = || select(ending.clone().collect::<Vec<_>>());
    prop_oneof![
        12 => (plain_event(), dating()).prop_map(|(plain, dating)| Step::Track(plain, dating)),
        2 => (plain_event(), dating()).prop_map(|(plain, dating)| Step::Record(plain, dating)),
        2 => (plain_event(), dating()).prop_map(|(plain, dating)| Step::Check(plain, dating)),
        // What an event counts is no matter to where its dimensions stand.
        2 => plain_event()
            .prop_map(|plain| Step::Standing(PlainEvent { values: Vec::new(), ..plain })),
        1 => vec(plain_event(), 0..4).prop_map(Step::Batch),
        2 => (any::<usize>(), verb(), again())
            .prop_map(|(which, verb, how)| Step::Again { which, verb, how }),
        10 => held_step(),
        5 => length().prop_map(Step::Forward),
        1 => length().prop_map(Step::Backward),
        3 => (-1_i64..=1).prop_map(Step::ToRetry),
        1 => (span(), -1_i64..=1).prop_map(|(span, beside)| Step::ToEnd(span, beside)),
        1 => (any::<usize>(), any::<bool>(), -1_i64..=1)
            .prop_map(|(which, end, beside)| Step::ToTime(which, end, beside)),
        1 => rule.prop_map(Step::Add),
        2 => (any::<usize>(), edit()).prop_map(|(which, edit)| Step::Change(which, edit)),
        1 => any::<usize>().prop_map(Step::Remove),
        1 => any::<u8>().prop_map(Step::Restart),
        1 => proptest::option::of((any::<usize>(), proptest::option::of(edit())))
            .prop_map(Step::Sync),
        4 => operate().prop_map(Step::Operate),
    ]
}
