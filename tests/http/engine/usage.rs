//! Goal: usage and refusals over HTTP are what the Rust API says, in bounds.

use limitry::refusals::RefusalQuery;
use limitry::usage::{Interval, UsageQuery};
use limitry::{Engine, Event, RateLimit, Window};
use serde_json::{Value, json};

use super::{ask, data, get, post, problem};
use crate::app::App;

fn app() -> App {
    let calls = RateLimit::new("Calls", 2, Window::Hour).per("customer_id");
    let app = App::with(Engine::builder().rate_limit(calls));
    for (customer, calls) in [("ann", 5), ("bob", 3), ("cid", 1)] {
        for call in 0..calls {
            let event = Event::new(customer, "call").model(if call == 0 { "a" } else { "b" });
            let _ = app.engine.track(&event.input_tokens(10)).expect("a good event");
        }
    }
    app
}

#[test]
fn every_question_about_usage_is_that_of_the_engine() {
    let app = app();
    let range = json!({"startDate": "2024-01-15T10:00:00Z", "endDate": "2024-01-15T12:00:00Z"});
    let query: UsageQuery = serde_json::from_value(range.clone()).expect("a range");
    let usage = app.engine.usage();
    let summary = usage.summary(&query).expect("an answer");
    assert_eq!(post(&app, "/usage", json!({"query": range})), data(&summary));
    let by = usage.breakdown(&query, "customer_id").expect("an answer");
    let asked = json!({"query": range, "groupBy": "customer_id"});
    assert_eq!(post(&app, "/usage", asked), data(&by));
    let series = usage.timeseries(&query, Interval::Hour).expect("an answer");
    let asked = json!({"query": range, "interval": "hour"});
    assert_eq!(post(&app, "/usage", asked), data(&series));
    let both = usage.timeseries_by(&query, Interval::Hour, "model", 1).expect("an answer");
    let asked = json!({"query": range, "interval": "hour", "groupBy": "model", "most": 1});
    assert_eq!(post(&app, "/usage", asked), data(&both));
    // Fewer rows than there are.
    let asked = json!({"query": range, "groupBy": "customer_id", "most": 2});
    assert_eq!(post(&app, "/usage", asked)["data"].as_array().map(Vec::len), Some(2));
    let all = post(&app, "/usage", json!({}));
    assert_eq!((&all["totalEvents"], &all["totalTokens"]), (&json!(5), &json!(50)));
    for (body, said) in [
        (json!({"most": 0}), "most: 0 must be 1 to 1000"),
        (json!({"most": 1_001}), "most: 1001 must be 1 to 1000"),
        (json!({"interval": "decade"}), "decade"),
        (json!({"interval": "hour"}), "needs a start and an end"),
        (json!({"groupBy": "no key"}), "groupBy"),
        (json!({"by": "model"}), "by"),
    ] {
        let answer = ask(&app, "POST", "/usage", body);
        let (status, detail, _) = problem(&answer);
        assert!(status == 400 && detail.contains(said), "{detail}");
    }
}

#[test]
fn refusals_are_those_of_the_engine() {
    let app = app();
    let counts = app.engine.refusals().counts(&RefusalQuery::new()).expect("an answer");
    assert_eq!(get(&app, "/refusals"), data(&counts));
    let first = get(&app, "/refusals?limit=1&ruleId=rl_calls");
    assert_eq!((&first["items"][0]["refused"], &first["total"]), (&json!(3), &json!(4)));
    let hours = get(&app, "/refusals/hours");
    assert_eq!(hours, json!({"data": [{"start": "2024-01-15T10:00:00Z", "refused": 4}]}));
    assert_eq!(get(&app, "/refusals/hours?ruleId=rl_none")["data"], json!([]));
    let of_hours = ["/hours?limit=5", "/hours?cursor=x", "/hours?state=held"];
    for query in ["?limit=x", "?limit=0", "?limit=1001", "?state=held"].iter().chain(&of_hours) {
        let answer = ask(&app, "GET", &format!("/refusals{query}"), Value::Null);
        assert_eq!(problem(&answer).0, 400, "{query}");
    }
}
