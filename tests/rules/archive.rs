//! Goal: an archived rule does nothing and keeps all that is known of it, a restored one goes on
//! with it, and each change of a rule counts in its version.
//!
//! Method: worked cases for limits and quotas, with recording and without, for lists, syncs and
//! explanations; and a store that is closed and opened again by the same code and by other code.

use std::time::Duration;

use crate::support::{START, date, engine, track};
use limitry::errors::RulesError;
use limitry::events::Recording;
use limitry::keys::KeyQuery;
use limitry::rules::{QuotaUpdate, SyncOptions};
use limitry::store::MemoryStore;
use limitry::time::ManualClock;
use limitry::{
    Amount, Engine, Event, Meter, Metric, Period, Quota, RateLimit, Rule, RuleSet, Window,
};

fn call() -> Event<'static> {
    Event::new("ann", "call").input_tokens(10)
}

fn limit() -> RateLimit {
    RateLimit::new("calls", 3, Window::Hour).id("calls").per("customer_id")
}

fn quota() -> Quota {
    Quota::new("tokens", Metric::TotalTokens, 100, Period::Day).id("tokens").per("customer_id")
}

fn used(engine: &Engine, id: &str) -> Option<Amount> {
    let page = engine.rules().keys(id, &KeyQuery::new()).expect("a rule");
    page.items.first().map(|one| one.used)
}

#[test]
fn an_archived_rule_does_nothing_and_keeps_what_was_used() {
    for recording in [Recording::Off, Recording::Newest(100)] {
        let (engine, clock) =
            engine(|builder| builder.recording(recording).rate_limit(limit()).quota(quota()));
        for _ in 0..3 {
            assert!(track(&engine, &call()).is_allowed());
        }
        assert!(!track(&engine, &call()).is_allowed());
        clock.advance(Duration::from_secs(1));
        for id in ["calls", "tokens"] {
            let archived = engine.rules().archive(id).expect("there");
            let (archived_at, version) = match &archived {
                Rule::RateLimit(rule) => (rule.archived_at, rule.version),
                Rule::Quota(rule) => (rule.archived_at, rule.version),
                _ => unreachable!("there are two"),
            };
            assert_eq!((archived_at, version), (Some(engine.now()), 2));
            // Once more changes nothing.
            clock.advance(Duration::from_secs(1));
            assert_eq!(engine.rules().archive(id), Ok(archived.clone()));
            assert_eq!(engine.rules().get::<Rule>(id), Some(archived));
        }
        assert_eq!((engine.rules().list().len(), engine.rules().archived().len()), (0, 2));
        assert!(engine.rules().rate_limits().is_empty() && engine.rules().quotas().is_empty());
        assert_eq!(engine.rules().set(), RuleSet::new());
        let decision = track(&engine, &call());
        assert_eq!((decision.rate_limits().count(), decision.quotas().count()), (0, 0));
        assert!(engine.explain(&call()).expect("valid").rules.is_empty());
        assert!(used(&engine, "tokens") == Some(30.into()));

        engine.rules().restore("calls").expect("there");
        assert!(!track(&engine, &call()).is_allowed(), "it goes on from what was used");
        engine.rules().restore("tokens").expect("there");
        let standing = engine.standing(&call()).expect("valid");
        let status = standing.quotas().next().expect("it is back");
        // What happened meanwhile is known where it is recorded.
        let expected = if recording == Recording::Off { 30 } else { 40 };
        assert_eq!(status.used, Amount::from(expected));
        assert_eq!((engine.rules().list().len(), engine.rules().archived().len()), (2, 0));
        let restored: Quota = engine.rules().get("tokens").expect("there");
        assert_eq!((restored.archived_at, restored.version), (None, 3));
    }
}

#[test]
fn what_is_not_there_cannot_be_archived() {
    let (engine, _) = engine(|builder| builder.rate_limit(limit()));
    let missing = RulesError::NotFound { kind: "rule", id: "x".to_owned() };
    assert_eq!(engine.rules().archive("x"), Err(missing.clone()));
    assert_eq!(engine.rules().restore("x"), Err(missing));
    // One that is not archived is what it is.
    let before: Option<RateLimit> = engine.rules().get("calls");
    engine.rules().restore("calls").expect("there");
    assert_eq!(engine.rules().get("calls"), before);
    // The id of an archived rule stays taken, and it can be removed.
    engine.rules().archive("calls").expect("there");
    let why = engine.rules().add(limit()).expect_err("its id is taken").to_string();
    assert!(why.contains("is the id of"), "{why}");
    engine.rules().remove("calls").expect("there");
    assert!(engine.rules().archived().is_empty());
    assert_eq!(engine.rules().add(limit()).expect("free").version, 1);
}

#[test]
fn every_change_is_a_version_more() {
    let (engine, _) = engine(|builder| builder.quota(quota()));
    let version = || engine.rules().get::<Quota>("tokens").expect("there").version;
    assert_eq!(version(), 1);
    engine.rules().update("tokens", QuotaUpdate::new().limit(200)).expect("good");
    assert_eq!(version(), 2);
    // A change that changes nothing is none.
    engine.rules().update("tokens", QuotaUpdate::new().limit(200)).expect("good");
    assert_eq!(version(), 2);
    let same: RuleSet = engine.rules().set();
    let report = engine.rules().sync(same, SyncOptions::apply()).expect("good");
    assert_eq!((report.unchanged.len(), version()), (1, 2));
    let list: RuleSet = [Rule::from(quota())].into_iter().collect();
    let report = engine.rules().sync(list, SyncOptions::apply()).expect("good");
    let fields: Vec<_> = report.updated[0].fields.keys().map(String::as_str).collect();
    assert_eq!((fields, version()), (vec!["limitValue"], 3));
}

#[test]
fn a_sync_archives_what_the_list_does_not_name_and_leaves_what_is_archived() {
    let meter = || Meter::sum("Tokens", "total_tokens").id("m");
    let (engine, _) = engine(|builder| {
        let metered = Quota::new("metered", Metric::meter("m"), 9, Period::Day).id("metered");
        builder.meter(meter()).rate_limit(limit()).quota(quota()).quota(metered)
    });
    let list = || -> RuleSet { [Rule::from(limit())].into_iter().collect() };
    let preview = SyncOptions::preview().archive_missing();
    let report = engine.rules().sync(list(), preview).expect("good");
    assert_eq!((report.archived.len(), engine.rules().archived().len()), (2, 0));
    let apply = SyncOptions::apply().archive_missing();
    let report = engine.rules().sync(list(), apply).expect("good");
    assert_eq!(report.archived, ["tokens", "metered"]);
    assert!(report.removed.is_empty() && engine.meters().list().len() == 1);
    assert_eq!((engine.rules().list().len(), engine.rules().archived().len()), (1, 2));
    // A second run changes nothing, and no other list is about what is archived.
    let again = engine.rules().sync(list(), apply).expect("good");
    assert!(again.archived.is_empty() && again.updated.is_empty() && again.created.is_empty());
    let unnamed = Quota::new("tokens", Metric::TotalTokens, 100, Period::Day);
    let named: RuleSet = [Rule::from(limit()), unnamed.into()].into_iter().collect();
    let report = engine.rules().sync(named, apply).expect("good");
    assert_eq!((report.created, engine.rules().archived().len()), (vec!["tokens".to_owned()], 2));
    assert_eq!(engine.rules().quotas()[0].id.as_deref(), Some("qta_tokens"));
}

#[test]
fn it_comes_back_archived_and_code_that_says_the_same_leaves_it_so() {
    let (store, clock) = (MemoryStore::new(), ManualClock::new(date(START)));
    let open = |rules: &[Rule]| {
        let rules: RuleSet = rules.iter().cloned().collect();
        let durable = store.open().expect("nobody has it");
        Engine::builder().clock(clock.clone()).rule_set(rules).durable(durable).build().expect("it")
    };
    let code = [Rule::from(limit()), quota().into()];
    let engine = open(&code);
    assert!(track(&engine, &call()).is_allowed());
    engine.rules().archive("tokens").expect("there");
    engine.store().close().expect("it closes");
    drop(engine);
    let engine = open(&code);
    let archived = engine.rules().archived();
    let Some(Rule::Quota(rule)) = archived.first() else { unreachable!("a quota is archived") };
    assert_eq!((rule.archived_at, rule.version), (Some(date(START)), 2));
    assert!(track(&engine, &call()).is_allowed());
    engine.store().close().expect("it closes");
    drop(engine);
    // What the code says otherwise is as it says, and archived.
    let mut raised = quota();
    raised.limit_value = Some(500.into());
    let engine = open(&[limit().into(), raised.into()]);
    let archived = engine.rules().archived();
    let Some(Rule::Quota(rule)) = archived.first() else { unreachable!("a quota is archived") };
    assert_eq!((rule.limit_value, rule.version), (Some(500.into()), 3));
    engine.rules().restore("tokens").expect("there");
    let standing = engine.standing(&call()).expect("valid");
    assert_eq!(standing.quotas().next().expect("it is back").used, Amount::from(20));
}

#[test]
fn a_rule_of_a_list_that_is_archived_is_archived_with_the_rest_of_the_list() {
    let (engine, clock) = engine(|builder| builder.rate_limit(limit()).quota(quota()));
    clock.advance(Duration::from_secs(1));
    // Whatever instant it gives.
    let mut archived = quota();
    archived.archived_at = Some(date(0));
    let list = RuleSet::new().rate_limit(limit().metadata("owner", "jo")).quota(archived);
    let report = engine.rules().sync(list, SyncOptions::apply().keep_missing()).expect("valid");
    assert_eq!((report.updated.len(), report.created.len()), (2, 0));
    let now = Some(engine.now());
    let archived = engine.rules().get::<Quota>("tokens").map(|rule| rule.archived_at);
    assert_eq!((engine.rules().quotas().len(), archived), (0, Some(now)));
    let kept = engine.rules().get::<RateLimit>("calls").expect("there").metadata;
    assert_eq!(kept.get("owner").map(String::as_str), Some("jo"));
}
