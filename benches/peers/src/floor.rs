//! What the parts of any keyed decision cost on this machine: the floor under every limiter.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use chrono::{Datelike, Utc};
use dashmap::DashMap;
use governor::clock::{Clock, DefaultClock};
use parking_lot::Mutex;

use crate::measure::{Series, round};
use crate::traffic;

const CUSTOMERS: usize = 100_000;
const ROUNDS: usize = 21;

/// A customer's four counters, about as a keyed limiter holds them.
type Counters = Mutex<[u64; 8]>;

pub fn run() -> ExitCode {
    let customers = traffic::shuffled_customers(CUSTOMERS);
    let print = |part: &str, decide: &mut dyn FnMut(&String) -> bool| {
        let series: Series = (0..ROUNDS).map(|_| round(&customers, 1, &mut *decide)).collect();
        println!("| {part} | {:.1} |", series.median());
    };
    println!("| part, {CUSTOMERS} customers in random order | ns |\n|---|--:|");
    print("the loop itself", &mut |customer| black_box(customer).is_empty());
    print("clock: SystemTime::now", &mut |_| black_box(SystemTime::now()) > SystemTime::UNIX_EPOCH);
    let start = Instant::now();
    print("clock: Instant::now", &mut |_| black_box(Instant::now()) > start);
    let clock = DefaultClock::default();
    let earlier = clock.now();
    print("clock: governor's (quanta)", &mut |_| black_box(clock.now()) > earlier);
    print("clock and month: Utc::now().month()", &mut |_| black_box(Utc::now().month()) > 6);
    let keyed = RandomState::new();
    print("hash: SipHash, std", &mut |customer| black_box(keyed.hash_one(customer)) > 0);
    let keyed = ahash::RandomState::new();
    print("hash: ahash", &mut |customer| black_box(keyed.hash_one(customer)) > 0);
    let lock = Counters::default();
    print("lock: one uncontended mutex", &mut |_| black_box(lock.lock())[0] > 0);
    let table: DashMap<String, Counters> = filled(&customers);
    print("look-up and lock: DashMap, std hash", &mut |customer| counted(&table, customer));
    let table: DashMap<String, Counters, ahash::RandomState> = filled(&customers);
    print("look-up and lock: DashMap, ahash", &mut |customer| counted(&table, customer));
    ExitCode::SUCCESS
}

fn filled<S: BuildHasher + Clone + Default>(customers: &[String]) -> DashMap<String, Counters, S> {
    let table = DashMap::with_hasher(S::default());
    for customer in customers {
        table.insert(customer.clone(), Counters::default());
    }
    table
}

fn counted<S: BuildHasher + Clone>(table: &DashMap<String, Counters, S>, customer: &str) -> bool {
    table.get(customer).is_some_and(|counters| {
        let mut counters = counters.lock();
        counters[0] += 1;
        counters[0] > 0
    })
}
