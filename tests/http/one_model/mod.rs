//! One model of all that is beside each other: what was tracked through one API is seen by all.
//!
//! Goal: an engine behind the three generations' endpoints, the clients' ones, its own and the Rust
//! API is one engine. Method: random programs draw rules, events, checks, reservations, credits,
//! corrections, alerts, customers and balances, each by any API that has words for it. The model
//! beside them keeps what happened in a list, and adds it up again for each question
//! (`account.rs`). What a step answers, and what any API says of anything in between and at the
//! end, is compared with it (`views.rs`). `LIMITRY_SEED` and `LIMITRY_CASES` vary the programs;
//! `LIMITRY_LONG=1` runs a hundred times as many.

mod account;
mod alerts;
mod rules;
mod steps;
mod views;

use limitry::Engine;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use self::account::Account;
use self::alerts::Alert;
use crate::app::App;
use crate::third::number;

/// A program that runs.
pub(super) struct Program {
    app: App,
    account: Account,
    random: ChaCha8Rng,
    /// The tokens of customers' clients, and when they end.
    tokens: Vec<(String, i64, String)>,
    /// Those of the first generation.
    alerts: Vec<Alert>,
    made: usize,
}

impl Program {
    fn new(seed: u64) -> Self {
        let app = App::at("2024-01-29T22:00:00Z", Engine::builder());
        let account = Account { now: app.engine.now().unix_seconds(), ..Account::default() };
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self { app, account, random, tokens: Vec::new(), alerts: Vec::new(), made: 0 }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.random.random_range(0..from.len())]
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn number(&mut self, most: i64) -> i64 {
        self.random.random_range(0..=most)
    }
}

/// The whole number of a JSON value.
fn whole(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no whole number"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

#[test]
fn what_one_api_did_is_seen_by_all() {
    let long = std::env::var_os("LIMITRY_LONG").is_some_and(|value| value == "1");
    let first = number("LIMITRY_SEED", 1);
    for seed in first..first + number("LIMITRY_CASES", if long { 300 } else { 3 }) {
        println!("LIMITRY_SEED={seed} LIMITRY_CASES=1");
        let mut program = Program::new(seed);
        for _ in 0..6 {
            program.add_rule();
        }
        for _ in 0..40 {
            program.step();
            program.step();
            program.look();
        }
        program.look_at_all();
    }
}
