//! Goal: what a decision says in HTTP headers is right: the rate limit that is nearest its end, a
//! wait in whole seconds that is enough, the quota that has to be waited for, and the fields of the
//! IETF draft.
//!
//! Method: worked cases on a manual clock.

use super::structured_fields::read_list;
use crate::support::{engine, track};
use limitry::rules::{Algorithm, Enforcement, Overflow};
use limitry::wire::HeaderDialect;
use limitry::{Decision, Event, Metric, Period, Quota, RateLimit, Window};
use std::time::Duration;

/// [`START`](crate::support::START) in seconds.
pub(crate) const START: i64 = 1_705_314_600;

pub(crate) fn call() -> Event<'static> {
    Event::new("c", "call")
}

pub(crate) fn pairs(decision: &Decision) -> Vec<(&'static str, String)> {
    decision.headers().collect()
}

pub(crate) fn fixed(name: &str, limit: u64, window: Window) -> RateLimit {
    RateLimit::new(name, limit, window).algorithm(Algorithm::FixedWindow)
}

/// The headers as lines, for comparing all at once.
pub(crate) fn lines(decision: &Decision, dialect: HeaderDialect) -> Vec<String> {
    decision.headers_in(dialect).map(|(name, value)| format!("{name}: {value}")).collect()
}

#[test]
fn an_allowed_call_tells_the_rate_limit_and_nothing_else() {
    let (engine, _) = engine(|builder| {
        builder.rate_limit(fixed("calls", 1_000, Window::Hour)).quota(Quota::new(
            "tokens",
            Metric::TotalTokens,
            100,
            Period::Day,
        ))
    });
    let decision = track(&engine, &call());
    assert_eq!(
        lines(&decision, HeaderDialect::XRateLimit),
        ["X-RateLimit-Limit: 1000", "X-RateLimit-Remaining: 999", "X-RateLimit-Reset: 1705316400"]
    );
    assert_eq!(decision.headers().len(), 3);
    assert_eq!(pairs(&decision), decision.headers_in(HeaderDialect::default()).collect::<Vec<_>>());
}

#[test]
fn without_a_matching_rate_limit_there_is_none_to_tell() {
    let (engine, _) = engine(|builder| {
        let other = fixed("other", 1, Window::Hour).filter("model", "gpt-4");
        let quota = Quota::new("tokens", Metric::TotalTokens, 10, Period::Day);
        builder.rate_limit(other).quota(quota)
    });
    assert_eq!(pairs(&track(&engine, &call().total_tokens(10))), []);
    // 13 hours and a half to midnight.
    assert_eq!(
        lines(&track(&engine, &call().total_tokens(10)), HeaderDialect::XRateLimit),
        [
            "X-Quota-Reset: 1705363200",
            "X-Quota-Period: day",
            "X-Quota-Metric: total_tokens",
            "Retry-After: 48600",
        ]
    );
}

#[test]
fn the_rate_limit_with_the_least_share_remaining_is_told() {
    let (engine, _) = engine(|builder| {
        builder
            .rate_limit(fixed("roomy", 100, Window::Minute))
            .rate_limit(fixed("tight", 5, Window::Second))
            .rate_limit(fixed("middling", 50, Window::Hour))
            .rate_limit(fixed("tokens", 9_000, Window::Hour).metric(Metric::TotalTokens))
            .rate_limit(RateLimit::new("bucket", 4, Window::Hour).burst(40))
    });
    let decision = track(&engine, &call());
    assert_eq!(pairs(&decision)[0], ("X-RateLimit-Limit", "5".to_owned()));
    assert_eq!(pairs(&decision)[1], ("X-RateLimit-Remaining", "4".to_owned()));
    // A third of the tokens and three fifths of the calls are left.
    let decision = track(&engine, &call().total_tokens(6_000));
    assert_eq!(pairs(&decision)[0], ("X-RateLimit-Limit", "9000".to_owned()));
    assert_eq!(pairs(&decision)[1], ("X-RateLimit-Remaining", "3000".to_owned()));
}

#[test]
fn shares_are_compared_exactly_however_close_they_are() {
    // 10^15 - 2 of 10^15 - 1 is less than 10^15 - 1 of 10^15, by a part in 10^30.
    let most = 1_000_000_000_000_000_u64;
    for turn in [false, true] {
        let (engine, _) = engine(|builder| {
            let rule = |limit: u64| fixed("r", 1, Window::Minute).id(format!("r{limit}"));
            let limits = if turn { [most, most - 1] } else { [most - 1, most] };
            limits.into_iter().fold(builder, |builder, limit| {
                let mut rule = rule(limit);
                rule.limit_value = Some(limit.into());
                builder.rate_limit(rule)
            })
        });
        let decision = track(&engine, &call());
        assert_eq!(pairs(&decision)[0].1, (most - 1).to_string());
    }
}

/// Fourteen calls of 57 cents leave 46 of 60 calls and too little of 8.20 dollars.
#[test]
fn a_refusal_tells_of_the_rule_that_has_to_be_waited_for_and_of_no_other() {
    let (engine, clock) = engine(|builder| {
        builder.rate_limit(fixed("calls", 60, Window::Minute)).rate_limit(
            RateLimit::new("cost", 820, Window::Hour)
                .metric(Metric::TotalCostCents)
                .algorithm(Algorithm::SlidingWindow),
        )
    });
    let event = call().cost_cents(57);
    for _ in 0..14 {
        assert!(track(&engine, &event).is_allowed());
    }
    clock.advance(Duration::from_secs(30));
    let refused = track(&engine, &event);
    let wait = refused.retry_after().and_then(limitry::RetryAfter::whole_seconds).expect("a wait");
    assert!((3_570..3_660).contains(&wait), "{wait}");
    assert_eq!(
        lines(&refused, HeaderDialect::XRateLimit),
        [
            "X-RateLimit-Limit: 820".to_owned(),
            "X-RateLimit-Remaining: 22".to_owned(),
            format!("X-RateLimit-Reset: {}", START + 30 + i64::try_from(wait).expect("few")),
            format!("Retry-After: {wait}"),
        ]
    );
    assert_eq!(
        lines(&refused, HeaderDialect::Draft10),
        [
            "RateLimit-Policy: \"cost\";q=820;qu=\"total_cost_cents\";w=3600".to_owned(),
            format!("RateLimit: \"cost\";r=22;t={wait}"),
            format!("Retry-After: {wait}"),
        ]
    );
}

#[test]
fn a_fraction_that_is_left_is_told_as_something() {
    let (engine, _) = engine(|builder| {
        let cost = RateLimit::new("cost", 1, Window::Hour).metric(Metric::TotalCostCents);
        let half = RateLimit::new("half", "0.5", Window::Hour).metric(Metric::value("gb"));
        let fixed = Algorithm::FixedWindow;
        builder.rate_limit(cost.algorithm(fixed)).rate_limit(half.algorithm(fixed))
    });
    let decision = track(&engine, &call().cost_cents("0.6"));
    assert_eq!(pairs(&decision)[0], ("X-RateLimit-Limit", "1".to_owned()));
    assert_eq!(pairs(&decision)[1], ("X-RateLimit-Remaining", "0.4".to_owned()));
    assert_eq!(
        lines(&decision, HeaderDialect::Draft10),
        [
            "RateLimit-Policy: \"cost\";q=1;qu=\"total_cost_cents\";w=3600, \
             \"half\";q=1;qu=\"values.gb\";w=3600",
            "RateLimit: \"cost\";r=1;t=1800, \"half\";r=1;t=1800",
        ]
    );
    let decision = track(&engine, &call().cost_cents("0.4"));
    assert_eq!(pairs(&decision)[1], ("X-RateLimit-Remaining", "0".to_owned()));
    assert!(lines(&decision, HeaderDialect::Draft10)[1].contains("\"cost\";r=0"));
}

#[test]
fn a_rule_without_a_limit_and_one_that_blocks_are_told_for_what_they_are() {
    let (engine, _) = engine(|builder| {
        let mut none = fixed("none", 1, Window::Minute);
        none.limit_value = None;
        let off = RateLimit::new("off", 0, Window::Minute).filter("model", "gpt-4");
        builder.rate_limit(none).rate_limit(off)
    });
    let decision = track(&engine, &call());
    assert!(decision.is_allowed() && pairs(&decision).is_empty());
    assert_eq!(decision.headers_in(HeaderDialect::Draft10).count(), 0);
    let blocked = track(&engine, &call().model("gpt-4"));
    assert_eq!(
        lines(&blocked, HeaderDialect::XRateLimit),
        ["X-RateLimit-Limit: 0", "X-RateLimit-Remaining: 0"]
    );
}

#[test]
fn what_remains_of_a_burst_may_be_above_the_limit() {
    let (engine, _) =
        engine(|builder| builder.rate_limit(RateLimit::new("b", 20, Window::Second).burst(40)));
    let decision = track(&engine, &call());
    assert_eq!(pairs(&decision)[0], ("X-RateLimit-Limit", "20".to_owned()));
    assert_eq!(pairs(&decision)[1], ("X-RateLimit-Remaining", "39".to_owned()));
}

#[test]
fn of_equal_remaining_the_latest_reset_is_told_wherever_it_stands() {
    let windows = [Window::Second, Window::Hour, Window::Minute];
    for turn in 0..3 {
        let (engine, _) = engine(|builder| {
            (0..3).fold(builder, |builder, place| {
                builder.rate_limit(fixed("equal", 7, windows[(turn + place) % 3]))
            })
        });
        let decision = track(&engine, &call());
        assert_eq!(pairs(&decision)[1], ("X-RateLimit-Remaining", "6".to_owned()));
        assert_eq!(pairs(&decision)[2], ("X-RateLimit-Reset", (START + 1_800).to_string()));
    }
}

#[test]
fn a_wait_is_rounded_up_and_at_least_a_second() {
    // A bucket of one: the wait is the window, less what has passed.
    for (window_nanos, passed_nanos, expected) in [
        (1, 0, "1"),
        (999_999_999, 0, "1"),
        (1_000_000_000, 0, "1"),
        (1_000_000_001, 0, "2"),
        (1_000_000_001, 1, "1"),
        (60_000_000_000, 0, "60"),
        (60_000_000_000, 1, "60"),
        (60_000_000_000, 999_999_999, "60"),
        (60_000_000_000, 1_000_000_000, "59"),
        (60_000_000_000, 59_999_999_999, "1"),
    ] {
        let window = Window::every(Duration::from_nanos(window_nanos));
        let (engine, clock) =
            engine(|builder| builder.rate_limit(RateLimit::new("one", 1, window)));
        assert!(track(&engine, &call()).is_allowed());
        clock.advance(Duration::from_nanos(passed_nanos));
        let refused = track(&engine, &call());
        let wait = pairs(&refused).into_iter().find(|(name, _)| *name == "Retry-After");
        assert_eq!(wait, Some(("Retry-After", expected.to_owned())), "{window_nanos}");
        let seconds = expected.parse().expect("a number");
        clock.advance(Duration::from_secs(seconds));
        assert!(track(&engine, &call()).is_allowed(), "the seconds told are enough");
    }
}

#[test]
fn what_never_passes_has_no_retry_after() {
    let (engine, _) = engine(|builder| {
        let tokens = fixed("tokens", 10, Window::Minute).metric(Metric::TotalTokens);
        builder.rate_limit(tokens)
    });
    let refused = track(&engine, &call().total_tokens(11));
    assert_eq!(
        lines(&refused, HeaderDialect::XRateLimit),
        ["X-RateLimit-Limit: 10", "X-RateLimit-Remaining: 10"],
        "nothing that resets helps"
    );
    assert_eq!(
        lines(&refused, HeaderDialect::Draft10),
        [
            "RateLimit-Policy: \"tokens\";q=10;qu=\"total_tokens\";w=60",
            "RateLimit: \"tokens\";r=10",
        ]
    );
}

#[test]
fn the_quota_that_has_to_be_waited_for_longest_is_told() {
    let (engine, _) = engine(|builder| {
        let quota = |metric, period| Quota::new("q", metric, 1, period);
        builder
            .rate_limit(fixed("calls", 1, Window::Minute))
            .quota(quota(Metric::TotalEvents, Period::Hour))
            .quota(quota(Metric::value("images"), Period::Month))
            .quota(quota(Metric::TotalTokens, Period::Year))
    });
    let event = call().value("images", 1);
    assert!(track(&engine, &event).is_allowed());
    // The year's quota has room, so the month's binds: 16 days, 13 hours and a half.
    assert_eq!(
        lines(&track(&engine, &event), HeaderDialect::XRateLimit),
        [
            "X-Quota-Reset: 1706745600",
            "X-Quota-Period: month",
            "X-Quota-Metric: values.images",
            "Retry-After: 1431000",
        ]
    );
    let [_, limits, _] =
        <[_; 3]>::try_from(lines(&track(&engine, &event), HeaderDialect::Draft10)).expect("three");
    assert_eq!(limits, "RateLimit: \"calls\";r=0;t=60, \"q\";r=0;t=1800, \"q\";r=0;t=1431000");
}

#[test]
fn a_quota_without_a_reset_is_told_without_one() {
    let (engine, _) = engine(|builder| {
        builder.quota(Quota::new("seats", Metric::TotalEvents, 1, Period::AllTime))
    });
    assert!(track(&engine, &call()).is_allowed());
    assert_eq!(
        lines(&track(&engine, &call()), HeaderDialect::XRateLimit),
        ["X-Quota-Period: all_time", "X-Quota-Metric: total_events"]
    );
}

#[test]
fn a_rate_limit_that_refuses_names_no_quota() {
    let (engine, _) = engine(|builder| {
        builder.rate_limit(fixed("calls", 1, Window::Minute)).quota(Quota::new(
            "roomy",
            Metric::TotalEvents,
            100,
            Period::Day,
        ))
    });
    assert!(track(&engine, &call()).is_allowed());
    let names: Vec<_> = track(&engine, &call()).headers().map(|(name, _)| name).collect();
    let limit = ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"];
    assert_eq!(names, [&limit[..], &["Retry-After"]].concat());
}

#[test]
fn callers_are_not_told_of_rules_on_trial() {
    let (engine, _) = engine(|builder| {
        let trial = fixed("trial", 1, Window::Minute).enforcement(Enforcement::Shadow);
        let quota = Quota::new("trial", Metric::TotalEvents, 1, Period::Day);
        let soft = fixed("soft", 3, Window::Minute).enforcement(Enforcement::Soft);
        builder.rate_limit(trial).quota(quota.enforcement(Enforcement::Shadow)).rate_limit(soft)
    });
    for _ in 0..4 {
        let decision = track(&engine, &call());
        assert!(decision.is_allowed());
        assert_eq!(pairs(&decision), []);
        assert_eq!(decision.headers_in(HeaderDialect::Draft10).count(), 0);
    }
}

#[test]
fn the_draft_writes_one_item_a_rule() {
    let (engine, _) = engine(|builder| {
        builder
            .rate_limit(fixed("burst", 100, Window::Minute))
            .rate_limit(fixed("tokens", 9_000, Window::Hour).metric(Metric::TotalTokens))
            .rate_limit(fixed("quick", 5, Window::every(Duration::from_millis(1_500))))
            .quota(Quota::new("daily", Metric::TotalEvents, 1_000, Period::Day))
            .quota(Quota::new("monthly", Metric::TotalCostCents, 500, Period::Month))
            .quota(Quota::new("ever", Metric::TotalEvents, 4, Period::AllTime))
    });
    let decision = track(&engine, &call().total_tokens(200).cost_cents(3));
    // The quick window began at an even multiple of 1.5 s, so it ends 1.5 s later at most.
    let [policy, limit] =
        <[_; 2]>::try_from(lines(&decision, HeaderDialect::Draft10)).expect("two");
    assert_eq!(
        policy,
        "RateLimit-Policy: \"burst\";q=100;w=60, \
         \"tokens\";q=9000;qu=\"total_tokens\";w=3600, \
         \"quick\";q=5, \
         \"daily\";q=1000;w=86400, \
         \"monthly\";q=500;qu=\"total_cost_cents\", \
         \"ever\";q=4"
    );
    assert_eq!(
        limit,
        "RateLimit: \"burst\";r=99;t=60, \
         \"tokens\";r=8800;t=1800, \
         \"quick\";r=4;t=2, \
         \"daily\";r=999;t=48600, \
         \"monthly\";r=497;t=1431000, \
         \"ever\";r=3"
    );
}

#[test]
fn the_draft_tells_a_refusal_with_its_wait_and_no_rule_with_no_field() {
    let (engine, _) = engine(|builder| {
        let rule = fixed("calls", 1, Window::Minute).filter("model", "gpt-4");
        builder.rate_limit(rule)
    });
    assert_eq!(lines(&track(&engine, &call()), HeaderDialect::Draft10), [""; 0]);
    let event = call().model("gpt-4");
    assert!(track(&engine, &event).is_allowed());
    assert_eq!(
        lines(&track(&engine, &event), HeaderDialect::Draft10),
        [
            "RateLimit-Policy: \"calls\";q=1;w=60",
            "RateLimit: \"calls\";r=0;t=60",
            "Retry-After: 60",
        ]
    );
}

#[test]
fn odd_names_are_escaped_and_foreign_ones_give_way_to_the_id() {
    for (name, id, expected) in [
        (r#"say "hi""#, "rl_1", r#""say \"hi\"""#),
        (r"back\slash", "rl_1", r#""back\\slash""#),
        (r#"\""#, "rl_1", r#""\\\"""#),
        (" ;q=1, ", "rl_1", r#"" ;q=1, ""#),
        ("d\u{e9}bit", "rl_1", r#""rl_1""#),
        ("\u{1f600}", "a\"b", r#""a\"b""#),
        ("\u{1f600}", "\u{1f601}", r#""rule""#),
    ] {
        let (engine, _) =
            engine(|builder| builder.rate_limit(fixed(name, 5, Window::Minute).id(id)));
        let decision = track(&engine, &call());
        let [policy, limit] =
            <[_; 2]>::try_from(lines(&decision, HeaderDialect::Draft10)).expect("two");
        assert_eq!(policy, format!("RateLimit-Policy: {expected};q=5;w=60"));
        assert_eq!(limit, format!("RateLimit: {expected};r=4;t=60"));
    }
}

#[test]
fn integers_are_cut_to_what_a_structured_field_can_say() {
    const MOST: &str = "999999999999999";
    let (engine, _) = engine(|builder| {
        let century = Window::every(Duration::from_secs(3_155_760_000));
        builder
            .rate_limit(RateLimit::new("large", 1_u64 << 62, century).metric(Metric::TotalTokens))
    });
    let decision = track(&engine, &call());
    assert_eq!(
        lines(&decision, HeaderDialect::Draft10),
        [
            format!("RateLimit-Policy: \"large\";q={MOST};qu=\"total_tokens\";w=3155760000"),
            format!("RateLimit: \"large\";r={MOST};t=0"),
        ]
    );
    // The older headers have no such bound.
    assert_eq!(pairs(&decision)[0].1, (1_u64 << 62).to_string());
}

#[test]
fn a_key_that_finds_no_room_is_told_plainly() {
    let (engine, _) = engine(|builder| {
        let rule = fixed("calls", 5, Window::Minute).per("customer_id").max_keys(1);
        builder.rate_limit(rule.overflow(Overflow::Deny))
    });
    assert!(track(&engine, &call()).is_allowed());
    let refused = track(&engine, &Event::new("other", "call"));
    let names: Vec<_> = refused.headers().map(|(name, _)| name).collect();
    assert_eq!(names, ["X-RateLimit-Limit", "X-RateLimit-Remaining"]);
    assert_eq!(pairs(&refused)[1].1, "0");
    for (_, value) in refused.headers_in(HeaderDialect::Draft10) {
        read_list(&value);
    }
}
