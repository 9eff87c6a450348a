//! Questions about usage: the answers equal a naive fold over the events that were let in.

use std::time::Duration;

use limitry::errors::QueryError;
use limitry::time::ManualClock;
use limitry::usage::{Interval, MeterQuery, RollupOptions, UsageQuery};
use limitry::{Condition, Engine, Event, Meter, Metric, Period, Quota, Timestamp};

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn day() -> UsageQuery {
    UsageQuery::new(at("2024-01-15T00:00:00Z"), at("2024-01-16T00:00:00Z"))
}

#[test]
fn the_three_questions_answer_in_both_shapes() {
    let clock = ManualClock::new(at("2024-01-15T10:30:00Z"));
    let engine = Engine::builder().clock(clock.clone()).build().expect("no rules");
    for (model, tokens) in [(Some("gpt-4"), 900), (Some("gpt-4"), 100), (None, 50)] {
        let mut event = Event::new("cust_1", "model_call").total_tokens(tokens).value("images", 2);
        if let Some(model) = model {
            event = event.model(model);
        }
        let _ = engine.track(&event).expect("a good event");
        clock.advance(Duration::from_secs(3_600));
    }
    let usage = engine.usage();
    let summary = usage.summary(&day()).expect("a summary");
    assert_eq!(
        serde_json::to_string(&summary).expect("prints"),
        concat!(
            r#"{"totalEvents":3,"totalTokens":1050,"totalInputTokens":0,"#,
            r#""totalOutputTokens":0,"totalCostCents":0}"#
        )
    );
    assert_eq!(
        serde_json::to_string(&summary.generic()).expect("prints"),
        r#"{"totalEvents":3,"values":{"total_tokens":1050,"images":6}}"#
    );
    let by_model = usage.breakdown(&day(), "model").expect("a breakdown");
    assert_eq!(
        serde_json::to_string(&by_model.generic()).expect("prints"),
        concat!(
            r#"{"data":["#,
            r#"{"dimension":"gpt-4","totalEvents":2,"values":{"total_tokens":1000,"images":4}},"#,
            r#"{"dimension":null,"totalEvents":1,"values":{"total_tokens":50,"images":2}}]}"#
        )
    );
    let by_hour = usage.timeseries(&day(), Interval::Hour).expect("a series");
    let tokens: Vec<_> = by_hour.points.iter().map(|point| point.totals.total_tokens).collect();
    assert_eq!(tokens.len(), 24);
    assert_eq!(tokens[10..14], [900, 100, 50, 0]);
    assert!(by_hour.covers.is_complete);
}

#[test]
fn a_condition_asks_about_more_than_one_value() {
    let clock = ManualClock::new(at("2024-01-15T10:30:00Z"));
    let declared = RollupOptions::new().dimension("team");
    for options in [RollupOptions::new(), declared] {
        let builder = Engine::builder().clock(clock.clone()).rollups(options);
        let engine = builder.build().expect("no rules");
        for team in [None, Some("red"), Some("blue"), Some("green")] {
            let mut event = Event::new("cust_1", "call").value("units", 1);
            if let Some(team) = team {
                event = event.property("team", team);
            }
            let _ = engine.track(&event).expect("a good event");
        }
        let count = |query: UsageQuery| {
            let query: UsageQuery =
                serde_json::from_value(serde_json::to_value(query).expect("prints"))
                    .expect("reads");
            let series = engine.usage().timeseries(&query, Interval::Day).expect("a series");
            (
                engine.usage().summary(&query).expect("a sum").totals.total_events,
                series.points.len(),
            )
        };
        for (condition, events) in [
            (Condition::Present, 3),
            (Condition::Absent, 1),
            (Condition::one_of(["red", "blue"]), 2),
            (Condition::not("red"), 2),
            ("green".into(), 1),
        ] {
            assert_eq!(count(day().condition("team", condition)), (events, 1));
        }
        let both = day().filter("team", "red").condition("team", Condition::Absent);
        assert_eq!(count(both), (0, 1));
        for (name, condition) in [("a-b", Condition::Present), ("team", "".into())] {
            let asked = engine.usage().summary(&day().condition(name, condition));
            assert!(matches!(asked, Err(QueryError::Invalid { .. })), "{asked:?}");
        }
    }
}

#[test]
fn a_tenth_ten_times_is_one() {
    let engine = Engine::builder().build().expect("no rules");
    for _ in 0..10 {
        let _ = engine.record(&Event::new("c", "e").value("hours", "0.1")).expect("a good event");
    }
    let summary = engine.usage().summary(&UsageQuery::all_time()).expect("a summary");
    assert_eq!(summary.totals.values["hours"], 1_u64);
}

#[test]
fn a_meter_that_comes_later_knows_what_the_log_has() {
    let engine = Engine::builder().build().expect("no rules");
    for agents in [3_u64, 7, 5] {
        let _ = engine
            .record(&Event::new("c", "agents").value("agents", agents))
            .expect("a good event");
    }
    for (id, meter, value) in [
        ("max", Meter::max("m", "agents"), "7"),
        ("min", Meter::min("m", "agents"), "3"),
        ("latest", Meter::latest("m", "agents"), "5"),
        ("avg", Meter::avg("m", "agents"), "5"),
        ("sum", Meter::sum("m", "agents"), "15"),
        ("count", Meter::count("m"), "3"),
        ("unique", Meter::unique("m", "customer_id"), "1"),
    ] {
        engine.meters().add(meter.id(id)).expect("a good meter");
        let found = engine.meters().query(id, &MeterQuery::new().customer("c")).expect("a value");
        assert_eq!(found.value.to_string(), value, "{id}");
        let none = engine.meters().query(id, &MeterQuery::new().customer("d")).expect("a value");
        assert_eq!(none.value.to_string(), "0", "{id}");
    }
    let missing = engine.meters().query("none", &MeterQuery::new()).expect_err("no such meter");
    assert_eq!(missing, QueryError::MeterNotFound { id: "none".into() });
}

#[test]
fn a_meter_has_its_sum_beyond_the_names_that_have_room() {
    let engine = Engine::builder().build().expect("no rules");
    for name in 0..1_001 {
        let customer = format!("c{}", name / 64);
        let event = Event::new(customer, "e").value(format!("v{name}"), 2);
        let _ = engine.record(&event).expect("a good event");
    }
    for (id, meter) in [("s", Meter::sum("s", "v1000")), ("a", Meter::avg("a", "v1000"))] {
        engine.meters().add(meter.id(id)).expect("a good meter");
    }
    let _ = engine.record(&Event::new("c", "e").value("v1000", 4)).expect("a good event");
    let value = |id| engine.meters().query(id, &MeterQuery::new()).expect("a value").value;
    assert_eq!((value("s"), value("a")), (6_u64.into(), 3_u64.into()));
    let summary = engine.usage().summary(&UsageQuery::all_time()).expect("a summary");
    assert_eq!(summary.totals.values.len(), 1_001);
}

/// Events with this many names of a customer, as wide as events can be.
fn flood(engine: &Engine, customer: &str, names: usize) {
    let names: Vec<_> = (0..names).map(|name| format!("{customer}_{name}")).collect();
    for names in names.chunks(64) {
        let event = Event::new(customer, "e");
        let event = names.iter().fold(event, |event, name| event.value(name.as_str(), 1));
        let _ = engine.record(&event).expect("a good event");
    }
}

/// One customer's names take no room from the others', and what is in no sum is said in both
/// shapes.
#[test]
fn a_customer_has_64_names_and_those_that_rules_use_have_room_always() {
    let quota = Quota::new("Images", Metric::value("images"), 1_000, Period::Day);
    let rollups = RollupOptions::new().value("declared");
    let engine = Engine::builder().quota(quota).rollups(rollups).build().expect("a good rule");
    flood(&engine, "greedy", 1_000);
    let totals_of = |customer: &str| {
        let query = UsageQuery::all_time().customer(customer);
        engine.usage().summary(&query).expect("a summary").totals
    };
    let greedy = totals_of("greedy");
    assert_eq!((greedy.values.len(), greedy.other_values), (64, 1_000 - 64));
    let good = Event::new("good", "e").value("mine", 5).value("greedy_1", 7);
    let _ = engine.record(&good).expect("a good event");
    let good = totals_of("good");
    assert_eq!((good.values["mine"], good.other_values), (5_u64.into(), 0));
    assert_eq!(good.values["greedy_1"], 7_u64, "a name that has a sum has it for everybody");

    // Of all customers together it is 1 000 names, and there is room for what rules use yet.
    (0..20).for_each(|number| flood(&engine, &format!("cust_{number}"), 64));
    let all = engine.usage().summary(&UsageQuery::all_time()).expect("a summary").totals;
    assert_eq!(all.values.len(), 1_000);
    let more = Event::new("late", "e").value("images", 3).value("declared", 4).value("new", 5);
    let _ = engine.record(&more).expect("a good event");
    let late = totals_of("late");
    let known = [("declared", 4_u64), ("images", 3)].map(|(name, sum)| (name.into(), sum.into()));
    assert_eq!((late.values, late.other_values), (known.into(), 1));

    let query = UsageQuery::all_time().customer("late");
    let summary = engine.usage().summary(&query).expect("a summary");
    let first = serde_json::to_value(&summary).expect("plain data");
    assert_eq!(first["otherValues"], 1);
    let generic = serde_json::to_value(summary.generic()).expect("plain data");
    assert_eq!((&generic["otherValues"], &generic["values"]["images"]), (&1.into(), &3.into()));
    let rows = engine.usage().breakdown(&UsageQuery::all_time(), "customer_id").expect("rows");
    let body = serde_json::to_value(&rows).expect("plain data");
    let row = |customer: &str| {
        let rows = body["data"].as_array().expect("a list").iter();
        rows.clone().find(|row| row["dimension"] == customer).expect("a row").clone()
    };
    assert_eq!((&row("late")["otherValues"], row("good").get("otherValues")), (&1.into(), None));
}

/// A rule that names a value later knows all that the log still has of it.
#[test]
fn a_rule_that_names_a_value_later_knows_its_events() {
    let engine = Engine::builder().build().expect("no rules");
    flood(&engine, "c", 64);
    for _ in 0..3 {
        let _ = engine.record(&Event::new("c", "e").value("beyond", 2)).expect("a good event");
    }
    let quota =
        Quota::new("Beyond", Metric::value("beyond"), 1_000, Period::Day).per("customer_id");
    let quota = engine.rules().add(quota).expect("a good rule");
    let decision = engine.track(&Event::new("c", "e").value("beyond", 1)).expect("a good event");
    assert_eq!(decision.quotas().next().expect("it matches").used, 7_u64);
    let summary = engine.usage().summary(&UsageQuery::all_time()).expect("a summary");
    assert_eq!(summary.totals.values["beyond"], 7_u64);
    // Removed, it is a name as others are, and keeps its sum.
    let id = quota.id.expect("an id");
    engine.rules().remove(&id).expect("it is there");
    let _ = engine.record(&Event::new("d", "e").value("beyond", 1)).expect("a good event");
    let summary = engine.usage().summary(&UsageQuery::all_time()).expect("a summary");
    assert_eq!(summary.totals.values["beyond"], 8_u64);
}

/// Amounts below zero are what they are, in every figure.
#[test]
fn refunds_count_in_sums_and_meters_as_what_they_are() {
    let engine = Engine::builder().build().expect("no rules");
    let meters = [
        ("sum", Meter::sum("sum", "credit")),
        ("max", Meter::max("max", "credit")),
        ("min", Meter::min("min", "credit")),
        ("latest", Meter::latest("latest", "credit")),
        ("avg", Meter::avg("avg", "credit")),
    ];
    for (id, meter) in meters {
        engine.meters().add(meter.id(id)).expect("a good meter");
    }
    for amount in ["-5", "-2", "-2.000001"] {
        let event = Event::new("c", "e").value("credit", amount).cost_cents(amount);
        let _ = engine.record(&event).expect("a good event");
    }
    let value =
        |id| engine.meters().query(id, &MeterQuery::new()).expect("a value").value.to_string();
    assert_eq!(
        ["sum", "max", "min", "latest", "avg"].map(value),
        ["-9.000001", "-2", "-5", "-2.000001", "-3"]
    );
    let summary = engine.usage().summary(&UsageQuery::all_time()).expect("a summary");
    assert_eq!(summary.totals.values["credit"].to_string(), "-9.000001");
    assert_eq!(summary.totals.total_cost_cents.to_string(), "-9.000001");
    let body = serde_json::to_value(summary.generic()).expect("plain data");
    assert_eq!(body["values"]["cost_cents"].to_string(), "-9.000001");
}

/// Tracks hours of several customers, the first of which is busiest.
fn three_customers() -> Engine {
    let clock = ManualClock::new(at("2024-01-15T10:30:00Z"));
    let meters = [
        Meter::latest("Seats", "seats").id("seats"),
        Meter::sum("Tokens", "total_tokens").id("tokens"),
        Meter::unique("Customers", "customer_id").id("customers"),
        Meter::avg("Seats each", "seats").id("average"),
    ];
    let builder = meters.into_iter().fold(Engine::builder(), limitry::EngineBuilder::meter);
    let engine = builder.clock(clock.clone()).build().expect("no rules");
    for (customer, model, seats) in [
        ("a", Some("big"), 3_u64),
        ("a", Some("small"), 5),
        ("b", None, 7),
        ("a", Some("big"), 4),
        ("c", Some("big"), 2),
        ("b", Some("small"), 6),
    ] {
        let event = Event::new(customer, "seats").total_tokens(seats * 10).value("seats", seats);
        let event = model.into_iter().fold(event, Event::model);
        let _ = engine.record(&event).expect("a good event");
        clock.advance(Duration::from_secs(1_800));
    }
    engine
}

#[test]
fn a_series_by_a_dimension_has_the_busiest_values_and_the_rest() {
    let engine = three_customers();
    let query = UsageQuery::new(at("2024-01-15T10:00:00Z"), at("2024-01-15T13:30:00Z"));
    let by = |most| engine.usage().timeseries_by(&query, Interval::Hour, "customer_id", most);
    let answer = by(1).expect("a series");
    assert_eq!(
        serde_json::to_string(&answer.generic()).expect("prints"),
        concat!(
            r#"{"data":[{"dimension":"a","totalEvents":3,"#,
            r#""values":{"total_tokens":120,"seats":12},"#,
            r#""points":[{"timestamp":"2024-01-15T10:00:00Z","totalEvents":1,"#,
            r#""values":{"total_tokens":30,"seats":3}},"#,
            r#"{"timestamp":"2024-01-15T11:00:00Z","totalEvents":1,"#,
            r#""values":{"total_tokens":50,"seats":5}},"#,
            r#"{"timestamp":"2024-01-15T12:00:00Z","totalEvents":1,"#,
            r#""values":{"total_tokens":40,"seats":4}},"#,
            r#"{"timestamp":"2024-01-15T13:00:00Z","totalEvents":0,"values":{}}]}],"#,
            r#""rest":{"totalEvents":3,"values":{"total_tokens":150,"seats":15},"#,
            r#""points":[{"timestamp":"2024-01-15T10:00:00Z","totalEvents":0,"values":{}},"#,
            r#"{"timestamp":"2024-01-15T11:00:00Z","totalEvents":1,"#,
            r#""values":{"total_tokens":70,"seats":7}},"#,
            r#"{"timestamp":"2024-01-15T12:00:00Z","totalEvents":1,"#,
            r#""values":{"total_tokens":20,"seats":2}},"#,
            r#"{"timestamp":"2024-01-15T13:00:00Z","totalEvents":1,"#,
            r#""values":{"total_tokens":60,"seats":6}}]}}"#
        )
    );
    let plain = serde_json::to_value(&answer).expect("plain data");
    assert_eq!(plain["data"][0]["points"][1]["totalTokens"], 50);
    assert_eq!(by(0).expect("a series").series, []);
    let all = by(9).expect("a series");
    let values: Vec<_> = all.series.iter().map(|it| it.dimension.as_deref()).collect();
    assert_eq!((values, all.rest), (vec![Some("a"), Some("b"), Some("c")], None));
    let model = engine.usage().timeseries_by(&query, Interval::Day, "model", 9);
    let models: Vec<_> =
        model.expect("a series").series.into_iter().map(|it| it.dimension).collect();
    assert_eq!(models, [Some("big".into()), Some("small".into()), None]);
}

#[test]
fn a_meter_answers_by_windows_and_groups() {
    let engine = three_customers();
    let query = MeterQuery::new()
        .between(at("2024-01-15T10:00:00Z"), at("2024-01-15T12:30:00Z"))
        .interval(Interval::Hour)
        .group_by("model")
        .limit(1);
    let rows = engine.meters().rows("tokens", &query).expect("rows");
    let start = |hour: u32| format!("2024-01-15T{hour}:00:00Z");
    let window = |hour: u32, value: u32| {
        format!(
            r#"{{"windowStart":"{}","windowEnd":"{}","value":{value}}}"#,
            start(hour),
            start(hour + 1)
        )
    };
    let windows = |values: [u32; 3]| {
        (10..).zip(values).map(|(hour, value)| window(hour, value)).collect::<Vec<_>>().join(",")
    };
    assert_eq!(
        serde_json::to_string(&rows).expect("prints"),
        format!(
            concat!(
                r#"{{"meterId":"tokens","meterName":"Tokens","aggregation":"sum","data":["#,
                r#"{{"dimensions":{{"model":null}},"value":70,"windows":[{}]}}],"#,
                r#""rest":{{"value":120,"windows":[{}]}}}}"#,
            ),
            windows([0, 70, 0]),
            windows([30, 50, 40])
        )
    );
    // Who lacks a dimension has a row, and one that no event has says so.
    let by_model = MeterQuery::new().group_by("model").group_by("customer_id");
    let rows = engine.meters().rows("tokens", &by_model).expect("rows");
    let rows: Vec<_> = rows.rows.iter().map(|row| (row.group.clone(), row.value)).collect();
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[0].0["model"], None, "the order of equals is that of their values");
    assert_eq!((rows[0].1, rows[1].1), (70_u64.into(), 70_u64.into()));
    // In each window a value counts once, and once in all.
    let query = query.group_by("event_type").limit(9);
    let rows = engine.meters().rows("customers", &query).expect("rows");
    let small = rows.rows.iter().find(|row| row.group["model"].as_deref() == Some("small"));
    assert_eq!(small.map(|row| row.value), Some(1_u64.into()));
    let nobody = MeterQuery::new().customer("nobody");
    let rows = engine.meters().rows("tokens", &nobody).expect("rows");
    assert_eq!(rows.rows.len(), 1);
    assert_eq!(rows.rows[0].value, 0_u64);
    let rows = engine.meters().rows("tokens", &nobody.group_by("model")).expect("rows");
    assert_eq!(rows.rows, []);
}

#[test]
fn the_latest_of_all_keys_is_their_sum() {
    let engine = three_customers();
    let all = MeterQuery::new().sum_over("customer_id");
    let value = |id: &str, query: &MeterQuery| {
        engine.meters().query(id, query).expect("a value").value.to_string()
    };
    // The latest of a, b and c are 4, 6 and 2.
    assert_eq!(value("seats", &all), "12");
    assert_eq!(value("seats", &all.clone().until(at("2024-01-15T12:00:00Z"))), "12");
    assert_eq!(value("seats", &MeterQuery::new()), "6", "of all events the latest is one");
    // Of a the average of 3, 5 and 4; of b that of 7 and 6.
    assert_eq!(value("average", &all), "12.5");
    // An event without a model is none of any model: big 2, small 6.
    assert_eq!(value("seats", &MeterQuery::new().sum_over("model")), "8");
    let by = all.group_by("model");
    let rows = engine.meters().rows("seats", &by).expect("rows").rows;
    let rows: Vec<_> =
        rows.iter().map(|row| (row.group["model"].as_deref(), row.value.to_string())).collect();
    let expected = [(Some("small"), "11"), (None, "7"), (Some("big"), "6")];
    assert_eq!(rows, expected.map(|(model, value)| (model, value.to_owned())));
}

#[test]
fn what_is_wrong_with_a_question_by_groups_is_said() {
    let engine = three_customers();
    let told = |query: &MeterQuery| match engine.meters().rows("seats", query) {
        Ok(rows) => panic!("{rows:?}"),
        Err(error) => error.to_string(),
    };
    let day = MeterQuery::new().between(at("2024-01-15T00:00:00Z"), at("2024-01-16T00:00:00Z"));
    assert!(told(&day.clone().group_by("a-b")).starts_with(r#"groupBy: "a-b" must be"#));
    assert!(told(&day.clone().sum_over("")).starts_with(r#"sumOver: "" must be"#));
    let many = ["a", "b", "c", "d", "e", "f", "g", "h"]
        .into_iter()
        .fold(day.clone(), |query, name| query.group_by(name));
    assert_eq!(
        told(&many.sum_over("i")),
        r#"sumOver: "a,b,c,d,e,f,g,h,i" must be at most 8 dimensions in all"#
    );
    let unbounded = MeterQuery::new().since(at("2024-01-15T00:00:00Z")).interval(Interval::Day);
    assert_eq!(told(&unbounded), "a time series needs a start and an end");
    let long = MeterQuery::new().between(at("2000-01-01T00:00:00Z"), at("2024-01-16T00:00:00Z"));
    let too_many = "interval: the range has more than 100000 points; ask for a shorter range";
    assert_eq!(told(&long.clone().interval(Interval::Hour)), too_many);
    let query = UsageQuery::new(at("2020-01-15T00:00:00Z"), at("2024-01-16T00:00:00Z"));
    let by = |most| engine.usage().timeseries_by(&query, Interval::Hour, "customer_id", most);
    assert_eq!(by(3).expect_err("3 series of 35 064 points").to_string(), too_many);
    assert_eq!(by(1).expect("2 series of 35 064 points").series.len(), 1);
    for (query, why) in [
        (day.clone().interval(Interval::Day), r#"interval: "day""#),
        (day.group_by("model"), r#"groupBy: "model""#),
    ] {
        let error = engine.meters().query("seats", &query).expect_err("not one value").to_string();
        assert_eq!(
            error,
            format!("{why} is for the rows of a meter, where one value is asked for")
        );
    }
}
