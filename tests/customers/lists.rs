//! Goal: what is set of customers is there until it is set otherwise, in pages, and bad input
//! changes nothing.
//!
//! Method: worked cases.

use limitry::customer::Customer;
use limitry::errors::CustomersError;
use limitry::events::Recording;
use limitry::time::Tz;
use limitry::{Engine, Event};

fn engine() -> Engine {
    Engine::builder().build().expect("good settings")
}

fn ids(engine: &Engine, after: Option<&str>, limit: usize) -> (Vec<String>, bool) {
    let page = engine.customers().list(after, limit).expect("a good limit");
    (page.customers.into_iter().map(|customer| customer.id).collect(), page.has_more)
}

#[test]
fn customers_are_listed_by_page_with_those_of_recorded_events() {
    let engine = engine();
    for id in ["b", "d", "f"] {
        engine.customers().upsert(Customer::new(id)).expect("good");
    }
    for id in ["a", "d", "e"] {
        assert!(engine.track(&Event::new(id, "call")).expect("good").is_allowed());
    }
    assert_eq!(ids(&engine, None, 10), (["a", "b", "d", "e", "f"].map(String::from).into(), false));
    assert_eq!(ids(&engine, None, 2), (["a", "b"].map(String::from).into(), true));
    assert_eq!(ids(&engine, Some("b"), 2), (["d", "e"].map(String::from).into(), true));
    assert_eq!(ids(&engine, Some("e"), 2), (["f"].map(String::from).into(), false));
    assert_eq!(engine.customers().get("a"), Some(Customer::new("a")));
    assert_eq!(engine.customers().get("x"), None);
    for limit in [0, 1_001] {
        let why = engine.customers().list(None, limit).expect_err("a bad limit").to_string();
        assert!(why.contains(&limit.to_string()) && why.contains("must be 1 to 1000"), "{why}");
    }
}

#[test]
fn a_customer_is_what_was_set_last_and_keeps_its_first_day() {
    let engine = Engine::builder().recording(Recording::Off).build().expect("good settings");
    let customers = engine.customers();
    let acme = Customer::new("acme").name("Acme").time_zone(Tz::Asia__Tokyo);
    let first = customers.upsert(acme.metadata("plan", "pro").metadata("seats", 7)).expect("good");
    assert!(first.created_at.is_some() && first.created_at == first.updated_at);
    assert_eq!(customers.get("acme"), Some(first.clone()));
    let second = customers.upsert(Customer::new("acme").name("Acme Inc.")).expect("good");
    assert_eq!((second.time_zone, second.metadata.len()), (None, 0));
    assert_eq!(second.created_at, first.created_at);
    // A team of that name is another one.
    let teams = customers.of("team_id").expect("a good name");
    assert_eq!(teams.get("acme"), None);
    assert_eq!(customers.remove("acme").expect("good"), Some(second));
    assert_eq!(customers.remove("acme").expect("good"), None);
    assert_eq!(customers.get("acme"), None);
}

#[test]
fn bad_input_names_field_value_and_rule_and_changes_nothing() {
    let engine = engine();
    let customers = engine.customers();
    let long = "x".repeat(300);
    let many = (0..65).fold(Customer::new("c"), |it, key| it.metadata(format!("k{key}"), 1));
    let cases = [
        (Customer::new(""), "id: \"\" must be 1 to 256 bytes long"),
        (Customer::new("a\n"), "must not hold control characters"),
        (Customer::new("c").name(""), "name: \"\" must be 1 to 256 bytes long"),
        (Customer::new("c").metadata("a b", 1), "metadata: \"a b\" must be 1 to 55 ASCII letters"),
        (Customer::new("c").metadata("id", "x"), "and not `id`"),
        (Customer::new("c").metadata("plan", long.as_str()), "metadata.plan: \"xxx"),
        (Customer::new("c").metadata("n", vec![long; 60]), "at most 16384 bytes of compact JSON"),
        (many, "is one too many: a customer has at most 64"),
    ];
    for (customer, said) in cases {
        let good = Customer::new("good");
        let why = customers.upsert_all([good, customer]).expect_err("it is bad");
        assert!(matches!(why, CustomersError::Invalid(_)));
        assert!(why.to_string().contains(said), "{why}");
        assert!(limitry::Error::from(why).is_bad_input());
        assert_eq!(customers.get("good"), None);
    }
    let why = customers.of("a b").expect_err("a bad name").to_string();
    assert!(why.contains("dimension: \"a b\" must be 1 to 64 ASCII letters"), "{why}");
}

#[test]
fn a_customer_as_data_reads_as_it_prints() {
    let text = r#"{"customerId": "c", "timezone": "Asia/Kathmandu", "billing_anchor": "2024-01-31",
        "metadata": {"plan": "pro", "seats": 7}}"#;
    let customer: Customer = serde_json::from_str(text).expect("it is one");
    let anchor = "2024-01-31".parse().expect("a date");
    let built = Customer::new("c").time_zone(Tz::Asia__Kathmandu).billing_anchor(anchor);
    let built = built.metadata("plan", "pro").metadata("seats", 7);
    assert_eq!(customer, built);
    let printed = serde_json::to_string(&customer).expect("it prints");
    assert_eq!(serde_json::from_str::<Customer>(&printed).expect("it reads"), customer);
    let why = serde_json::from_str::<Customer>(r#"{"id": "c", "timeZone": 7}"#);
    let why = why.expect_err("a number is no zone").to_string();
    assert!(why.contains("timeZone"), "{why}");
}
