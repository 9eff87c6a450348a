//! Goal: whenever the machine stops, and whichever write fails, the balances of an engine that is
//! opened again are as they were after each call that was answered, and maybe after the one more
//! that was under way: accounts, grants, holds, ledgers and keys, with their events.
//!
//! Method: one scripted life of an engine with balances, closed and opened again twice, on a medium
//! in memory that is cut off at every write and sync (a part of them, by a stride; `LIMITRY_LONG=1`
//! takes more), or fails at every call. What is found is what an engine in memory shows that lived
//! as many steps.

use std::time::Duration;

use limitry::balances::{BalanceQuery, Credit, Debit, LedgerQuery, NewBalance};
use limitry::errors::{BalanceError, ReservationError, TrackError};
use limitry::reservations::ReservationId;
use limitry::time::ManualClock;
use limitry::{Engine, EngineBuilder, Event, Hold, Metric, Period, Quota, Reserved};

use crate::lives::{Life, check_failed, crash_everywhere, live, portraits};
use crate::support::medium::{Fault, Medium};
use crate::support::{Dice, long};

const OWNERS: [&str; 3] = ["ann", "bob", "eve"];

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An engine, and its open reservations.
#[derive(Default)]
struct Balances {
    ids: Vec<(ReservationId, &'static str, &'static str)>,
}

/// Only what the store says is an error here.
fn of_balance<T>(done: Result<T, BalanceError>) -> Result<(), String> {
    match done {
        Err(BalanceError::Store(why)) => Err(why.to_string()),
        _ => Ok(()),
    }
}

fn of_reservation<T>(done: Result<T, ReservationError>) -> Result<(), String> {
    match done {
        Err(ReservationError::Track(TrackError::Store(why))) => Err(why.to_string()),
        _ => Ok(()),
    }
}

impl Life for Balances {
    const STEPS: u64 = 70;
    const REOPENED: [u64; 2] = [23, 47];

    fn builder(clock: &ManualClock) -> EngineBuilder {
        let opened = Quota::balance("opened", Metric::TotalEvents).per("customer_id").opening(30);
        Engine::builder()
            .clock(clock.clone())
            .quota(Quota::balance("credits", Metric::TotalTokens).per("customer_id"))
            .quota(opened.filter("model", "large"))
            .quota(Quota::new("daily", Metric::TotalTokens, 9_000, Period::Day).per("customer_id"))
    }

    fn step(&mut self, engine: &Engine, (script, number): (u64, u64)) -> Result<(), String> {
        let mut dice = Dice::new(script * 1_000 + number + 77);
        let (owner, balances) = (dice.pick(&OWNERS), engine.balances());
        let model = dice.pick(&["large", "small"]);
        let amount = dice.range(1, 200);
        let event = Event::new(owner, "call").model(model).total_tokens(amount);
        let key = format!("key {}", dice.below(6));
        let one = (!self.ids.is_empty()).then(|| dice.below(self.ids.len() as u64));
        let one = one.map(|one| usize::try_from(one).expect("small"));
        let what = if number < 3 { 0 } else { dice.range(0, 11) };
        let owner = if number < 3 { OWNERS[number as usize] } else { owner };
        match what {
            // Now and then it is removed, and not there for a while.
            1 if dice.chance(20) => of_balance(balances.remove(owner, "credits")),
            0 => {
                let new = NewBalance::new(owner, "credits").initial(300).minimum(-20);
                of_balance(balances.create(&new))
            }
            1..4 => {
                let credit = Credit::new(amount).description("more").priority(1);
                let credit = match dice.below(3) {
                    0 => credit,
                    1 => credit.expires_at(engine.now() + secs(dice.range(10, 400))),
                    _ => credit.idempotency_key(key),
                };
                of_balance(balances.credit(owner, "credits", &credit))
            }
            4 => {
                let debit = Debit::new(amount).reference("less").idempotency_key(key);
                of_balance(balances.debit(owner, "credits", &debit))
            }
            5 | 6 => engine.track(&event).map(|_| ()).map_err(|why| why.to_string()),
            7 => engine.record(&event).map(|_| ()).map_err(|why| why.to_string()),
            8 | 9 => {
                let hold = Hold::lasting(secs(dice.range(30, 300)));
                let reserved = engine.reserve(&event, hold);
                if let Ok(Reserved::Held(held)) = reserved {
                    self.ids.push((held.into_id(), owner, model));
                    return Ok(());
                }
                of_reservation(reserved)
            }
            _ => {
                let Some((id, owner, model)) = one.map(|one| self.ids[one]) else { return Ok(()) };
                let event = Event::new(owner, "call").model(model).total_tokens(amount);
                match dice.below(5) {
                    0 => of_reservation(engine.release(id)),
                    1 => of_reservation(engine.extend(id, secs(200))),
                    2 => of_reservation(engine.grow(id, &event)),
                    _ => of_reservation(engine.commit(id, &event)),
                }
            }
        }
    }

    fn portrait(engine: &Engine) -> String {
        let balances = engine.balances();
        let mut all = String::new();
        let ordinals: Vec<_> = engine
            .events()
            .iter(limitry::events::EventQuery::new())
            .expect("a good question")
            .map(|event| event.id)
            .collect();
        for balance in balances.list(&BalanceQuery::new()).balances {
            let (owner, name) = (&*balance.owner, &*balance.name);
            all += &format!("{balance:?}\n{:?}\n", balances.grants(owner, name));
            let page = balances.ledger(owner, name, &LedgerQuery::new().limit(1_000));
            for mut entry in page.expect("it is there").transactions {
                let place =
                    entry.event_id.take().map(|id| ordinals.iter().position(|it| *it == id));
                all += &format!("  {place:?} {entry:?}\n");
            }
        }
        for owner in OWNERS {
            let event = Event::new(owner, "call").model("large");
            all += &format!("{:?}\n", engine.standing(&event).expect("good"));
        }
        all
    }
}

#[test]
fn whenever_the_machine_stops_balances_are_as_they_were() {
    let shown = (0..4).flat_map(portraits::<Balances>).collect::<String>();
    for part in ["Expiry", "Debit", "Credit", "\"opened\"", "Some(Some(", "held: Amount(1"] {
        assert!(shown.contains(part), "{part}");
    }
    for script in 0..if long() { 30 } else { 4 } {
        crash_everywhere::<Balances>(script, if long() { 3 } else { 61 });
    }
}

#[test]
fn whichever_call_fails_no_balance_is_half_changed() {
    let portraits = portraits::<Balances>(0);
    let medium = Medium::new();
    live::<Balances>(&medium, 0);
    let stride = if long() { 1 } else { 61 };
    for call in (0..medium.calls()).step_by(stride) {
        let medium = Medium::new().fail_at(Fault { call, for_ever: true });
        check_failed::<Balances>(&medium, 0, &portraits, &format!("call {call} fails"));
    }
}
