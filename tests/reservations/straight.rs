//! Goal: the straight path of reservations and commits says and leaves what all other ways of
//! making them do.
//!
//! Method: two engines by one clock get the same random calls. One takes the straight path where it
//! can, the other never does. All that they answer is compared, and now and then where all
//! rules stand.

use std::time::Duration;

use crate::support::{Dice, cases, clock, goes_straight, seed};
use limitry::reservations::{ReservationId, ReservationQuery};
use limitry::rules::Algorithm;
use limitry::time::ManualClock;
use limitry::{Engine, Event, Hold, Metric, Period, Quota, RateLimit, Reserved, Window};

const NAMES: [&str; 3] = ["ann", "bob", "a customer with a longer name"];

fn build(clock: &ManualClock, straight: bool) -> Engine {
    let tokens = |name: &str, limit: u64, window| {
        RateLimit::new(name, limit, window).metric(Metric::TotalTokens)
    };
    let fixed = tokens("Fixed", 150, Window::Minute).algorithm(Algorithm::FixedWindow);
    let cents = Quota::new("Cents", Metric::TotalCostCents, 900, Period::Hour);
    let engine = Engine::builder()
        .rate_limit(tokens("Bucket", 60, Window::Minute).burst(140_u64).per("customer_id"))
        .rate_limit(fixed.per("customer_id"))
        .rate_limit(tokens("Shared", 300, Window::Minute))
        .quota(cents.per("customer_id"))
        .quota(Quota::new("Daily", Metric::TotalTokens, 2_000, Period::Day).per("model"))
        .quota(Quota::concurrent("Slots", 4).per("customer_id"))
        .clock(clock.clone())
        .build()
        .expect("good rules");
    engine.go_straight(straight);
    engine
}

fn event<'a>(dice: &mut Dice, name: &'a str) -> Event<'a> {
    let tokens = dice.pick(&[0, 1, 5, 30, 60, 120]);
    let event = Event::new(name, "call").model(dice.pick(&["small", "large"]));
    let event = if tokens > 0 { event.total_tokens(tokens) } else { event };
    if dice.range(0, 4) == 0 { event } else { event.cost_cents(dice.pick(&[0, 3, 200])) }
}

/// Ids are not the same: of each pair the first is shown.
fn shown(debug: String, ids: &[(ReservationId, ReservationId)]) -> String {
    ids.iter().fold(debug, |text, (one, other)| text.replace(&other.to_string(), &one.to_string()))
}

fn reserve(engine: &Engine, event: &Event<'_>, hold: Hold) -> (String, Option<ReservationId>) {
    match engine.reserve(event, hold).expect("good") {
        Reserved::Held(guard) => {
            let said = format!("{:?} {:?}", guard.decision(), guard.expires_at());
            let id = guard.id();
            std::mem::forget(guard);
            (said, Some(id))
        }
        Reserved::Refused(decision) => (format!("{decision:?} {decision}"), None),
        Reserved::Replayed(status) => panic!("{status:?}"),
    }
}

#[test]
fn both_paths_say_and_leave_the_same() {
    let mut dice = Dice::new(seed("straight reservations", 12_003));
    let (mut straight, cases) = (0, cases(60));
    for _ in 0..cases {
        let clock = clock();
        let engines = [build(&clock, goes_straight()), build(&clock, false)];
        let mut ids: Vec<(ReservationId, ReservationId)> = Vec::new();
        for step in 0..200 {
            let name = dice.pick(&NAMES);
            let call = event(&mut dice, name);
            let at = usize::try_from(dice.range(0, ids.len() as u64 + 1)).expect("few");
            let pair = ids.get(at.min(ids.len().saturating_sub(1))).copied();
            let lasting = Duration::from_secs(dice.range(1, 400));
            let [one, other] = match (dice.range(0, 10), pair) {
                (0..2, _) => {
                    clock.advance(Duration::from_millis(dice.pick(&[1, 900, 30_000, 400_000])));
                    [String::new(), String::new()]
                }
                (2..5, _) | (_, None) => {
                    let hold = Hold::lasting(lasting);
                    let [one, other] = engines.each_ref().map(|it| reserve(it, &call, hold));
                    assert_eq!(one.1.is_some(), other.1.is_some(), "{one:?} {other:?}");
                    ids.extend(one.1.zip(other.1));
                    [one.0, other.0]
                }
                (5, _) => engines.each_ref().map(|it| format!("{:?}", it.track(&call))),
                (6, Some((one, other))) => [
                    format!("{:?}", engines[0].release(one)),
                    format!("{:?}", engines[1].release(other)),
                ],
                (7, Some((one, other))) => [
                    format!(
                        "{:?}",
                        engines[0].grow(one, &Event::new(name, "call").total_tokens(5))
                    ),
                    format!(
                        "{:?}",
                        engines[1].grow(other, &Event::new(name, "call").total_tokens(5))
                    ),
                ],
                (_, Some((one, other))) => [
                    format!("{:?}", engines[0].commit(one, &call)),
                    format!("{:?}", engines[1].commit(other, &call)),
                ],
            };
            assert_eq!(
                without_events(&one),
                without_events(&shown(other, &ids)),
                "{step}: {call:?}"
            );
            // Not after each step: to ask makes of what one holds alone what any row is.
            if dice.range(0, 6) == 0 {
                for name in NAMES {
                    let call = Event::new(name, "call").model("small");
                    let [one, other] =
                        engines.each_ref().map(|it| it.standing(&call).expect("good"));
                    assert_eq!(format!("{one:?}"), format!("{other:?}"), "{step}");
                }
            }
        }
        let all = |it: &Engine| format!("{:?}", it.reservations().list(&ReservationQuery::new()));
        let [one, other] = engines.each_ref().map(all);
        assert_eq!(without_events(&one), without_events(&shown(other, &ids)));
        straight += engines[0].paths().0;
        assert_eq!(engines[1].paths().0, 0);
    }
    assert!(straight > 20 * u64::from(cases) || !goes_straight(), "{straight}");
}

/// The names of events are not the same either.
fn without_events(text: &str) -> String {
    text.split("evt_")
        .map(|part| part.trim_start_matches(|it: char| it.is_ascii_alphanumeric()))
        .collect()
}
