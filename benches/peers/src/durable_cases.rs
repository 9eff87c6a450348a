//! The cases about events that survive: what a durable event costs beside `SQLite` and beside a
//! bare append, what a call waits for, and how long opening again takes.
//!
//! The events are those of the month, each with a random idempotency key, counted by two rules. On
//! every side a commit is a sync, and holds the events, their keys and their counts.

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use limitry::events::Recording;
use limitry::store::{Durability, Durable};
use limitry::time::ManualClock;
use limitry::usage::RollupOptions;
use limitry::{Engine, EngineBuilder, Event, Metric, Period, Quota, RateLimit, Timestamp, Window};

use crate::counting;
use crate::measure::{cpu_time, process_cpu_time};
use crate::month::{self, Call, START};
use crate::peers::{APPEND, Peer, SQLITE_IN_FILE};
use crate::report::{Row, Target, figure, grouped};
use crate::sqlite_side::DurableSqlite;
use crate::traffic::Random;

/// How much of everything.
pub struct Size {
    pub events: usize,
    pub customers: usize,
    /// Customers with counters in the file that is opened again.
    pub counters: usize,
    /// Events of the slower side.
    pub sqlite_events: usize,
    pub paced: usize,
    pub calls: usize,
}

pub const FULL: Size = Size {
    events: 5_000_000,
    customers: 1_000,
    counters: 500_000,
    sqlite_events: 5_000_000,
    paced: 1_000_000,
    calls: 200_000,
};
pub const QUICK: Size = Size {
    events: 20_000,
    customers: 50,
    counters: 1_000,
    sqlite_events: 20_000,
    paced: 20_000,
    calls: 5_000,
};

/// Events of a commit, as limitry's default has it.
const BATCH: usize = 4_096;
/// The events a second at which waiting is measured.
const PACE: usize = 200_000;
const NANOS_A_SECOND: u64 = 1_000_000_000;
/// What the child process is told to do.
pub const CHILD: &str = "record-until-killed";

/// What a call waits for, and what it costs at each level.
pub fn calls(size: &Size) -> Vec<Row> {
    let mut rows = vec![waiting(size)];
    rows.extend(levels(size));
    rows
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder for files")
}

fn builder() -> EngineBuilder {
    let often = 1_000_000_000;
    Engine::builder()
        .recording(Recording::Newest(1_000))
        .rate_limit(RateLimit::new("calls", often, Window::Minute).per("customer_id"))
        .quota(Quota::new("tokens", Metric::TotalTokens, often, Period::Month).per("customer_id"))
}

fn clock() -> ManualClock {
    ManualClock::new(Timestamp::new(START, 0))
}

fn names(customers: usize) -> Vec<String> {
    (0..customers).map(|number| format!("cust_{number:07}")).collect()
}

/// A random key, as clients make them.
fn write_key(random: &mut Random, key: &mut String) {
    use std::fmt::Write as _;
    key.clear();
    let _ = write!(key, "{:016x}{:016x}", random.word(), random.word());
}

/// Events with random keys into a store; returns the seconds of each fifth.
fn record(
    engine: &Engine,
    calls: impl Iterator<Item = Call>,
    names: &[String],
    count: usize,
) -> Vec<f64> {
    let (mut random, mut key) = (Random::new(0x1D), String::new());
    let (mut fifths, mut start) = (Vec::new(), Instant::now());
    for (number, call) in calls.take(count).enumerate() {
        write_key(&mut random, &mut key);
        let event = call.event(names).idempotency_key(key.as_str());
        let decision = engine.track(&event).expect("a valid event");
        assert!(decision.is_allowed() && !decision.is_replay());
        if (number + 1) % (count / 5) == 0 {
            engine.store().flush().expect("a working store");
            fifths.push(start.elapsed().as_secs_f64());
            start = Instant::now();
        }
    }
    fifths
}

/// What recording all events into a new store took.
struct Ingested {
    engine: Engine,
    /// Seconds of each fifth, by the wall clock.
    fifths: Vec<f64>,
    /// CPU seconds of the thread that calls, and of the store's writer.
    calls_cpu: f64,
    writer_cpu: f64,
}

fn ingest_into(path: &Path, size: &Size, rollups: RollupOptions) -> Ingested {
    let names = names(size.customers);
    let store = Durable::open(path).expect("a new store");
    let builder = builder().rollups(rollups).durable(store).clock(clock());
    let engine = builder.build().expect("valid rules");
    let calls = month::calls(size.events, size.customers);
    let (all, own) = (process_cpu_time(), cpu_time());
    let fifths = record(&engine, calls, &names, size.events);
    let own = cpu_time().saturating_sub(own);
    let all = process_cpu_time().saturating_sub(all);
    let writer_cpu = all.saturating_sub(own).as_secs_f64();
    Ingested { engine, fifths, calls_cpu: own.as_secs_f64(), writer_cpu }
}

pub fn ingest(size: &Size) -> Vec<Row> {
    let Size { events, customers, sqlite_events, .. } = *size;
    let folder = folder();
    let into = |name: &str, rollups| ingest_into(&folder.path().join(name), size, rollups);
    eprintln!("recording | {} durable events, five times", grouped(events));
    let by_default = into("all.redb", RollupOptions::new()).fifths;
    // As on the other side: events, keys and the counts of two rules.
    let no_dimensions = || RollupOptions::new().dimensions::<String>([]);
    let Ingested { fifths, calls_cpu, writer_cpu, .. } = into("limitry.redb", no_dimensions());
    // Once more for the memory: counting it takes time.
    let (engine, heap) = counting::during(|| into("counted.redb", no_dimensions()).engine);
    drop(engine);
    let sqlite = {
        let file = folder.path().join("events.sqlite");
        let mut sqlite = DurableSqlite::new(&file).expect("a new database");
        let calls = month::calls(sqlite_events, customers);
        timed(sqlite_events, || sqlite.record(calls, BATCH).expect("rows"))
    };
    let raw = timed(events, || append(&folder.path().join("raw.log"), events));
    let each = |fifths: &[f64]| fifths.iter().sum::<f64>() * 1e9 / events as f64;
    let ours = each(&fifths);
    let case = format!("a durable event with a random key, {} in all", grouped(events));
    let first_and_last = fifths.first().zip(fifths.last());
    let (first, last) = first_and_last.map_or((f64::NAN, f64::NAN), |(a, b)| (*a, *b));
    let fifth = events as f64 / 5.0;
    let memory = heap.bytes as f64 / events as f64;
    let with_rollups = "the same with the roll-ups of four dimensions";
    let row = |case: &str, peer, peers, most| {
        let target = Some(Target::AtMost(most));
        Row { target, ..Row::of(case, peer, ours, peers) }
    };
    vec![
        row(&case, SQLITE_IN_FILE, sqlite, 0.1),
        row("the same", APPEND, raw, 2.6),
        figure("the same, by itself: 500 000 a second", "ns", ours, Some(Target::AtMost(2_000.0))),
        figure("the same, the caller's CPU time", "ns", calls_cpu * 1e9 / events as f64, None),
        figure("the same, the writer's CPU time", "ns", writer_cpu * 1e9 / events as f64, None),
        figure(with_rollups, "ns", each(&by_default), None),
        Row {
            ratio: first / last,
            target: Some(Target::AtLeast(0.9)),
            ..Row::of(
                "the speed of the last fifth",
                Peer::limitry("limitry, the first fifth"),
                last * 1e9 / fifth,
                first * 1e9 / fifth,
            )
        },
        figure("all its memory, for each of its keys", "bytes", memory, None),
    ]
}

/// Wall time of each of `count` events.
fn timed(count: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e9 / count as f64
}

/// What durability alone costs: as many bytes, a sync a batch, no key looked at and none counted.
fn append(path: &Path, events: usize) {
    let mut file = File::create(path).expect("a new file");
    let batch = vec![0x5A_u8; BATCH * 200];
    for _ in 0..events.div_ceil(BATCH) {
        file.write_all(&batch).expect("room on the disk");
        file.sync_data().expect("a sync");
    }
}

/// How long an event waits for its commit, with others coming at a pace.
fn waiting(size: &Size) -> Row {
    let (folder, names) = (folder(), names(size.customers));
    let store = Durable::open(folder.path().join("limitry.redb")).expect("a new store");
    let engine = builder().durable(store).clock(clock()).build().expect("valid rules");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut waits = Vec::new();
    std::thread::scope(|scope| {
        let pacer = scope.spawn(|| {
            let (mut random, mut key) = (Random::new(0x9A), String::new());
            let start = Instant::now();
            for (number, call) in month::calls(size.paced, size.customers).enumerate() {
                let due = Duration::from_nanos(number as u64 * NANOS_A_SECOND / PACE as u64);
                while start.elapsed() < due {
                    std::thread::yield_now();
                }
                write_key(&mut random, &mut key);
                let event = call.event(&names).idempotency_key(key.as_str());
                let _ = engine.track(&event).expect("valid");
            }
            stop.store(true, std::sync::atomic::Ordering::Release);
        });
        while !stop.load(std::sync::atomic::Ordering::Acquire) {
            let start = Instant::now();
            let decision = engine.track(&Event::new("prober", "probe")).expect("valid");
            engine.store().committed(&decision).wait().expect("a working store");
            waits.push(start.elapsed().as_secs_f64() * 1e3);
        }
        pacer.join().expect("the pacer ends");
    });
    waits.sort_by(f64::total_cmp);
    let p99 = waits.get(waits.len() * 99 / 100).copied().unwrap_or(f64::NAN);
    let case = format!("p99 of waiting for a commit, {} events a second", grouped(PACE));
    figure(&case, "ms", p99, Some(Target::AtMost(10.0)))
}

/// The median of a call at each level, and in memory.
fn levels(size: &Size) -> Vec<Row> {
    let (folder, names) = (folder(), names(size.customers));
    let open = |level, name: &str| {
        let store = Durable::open(folder.path().join(name)).expect("a new store");
        let builder = builder().durable(store.durability(level)).clock(clock());
        builder.build().expect("valid rules")
    };
    let buffered = open(Durability::Buffered, "buffered.redb");
    let unwritten = open(Durability::Memory, "memory.redb");
    let plain = builder().clock(clock()).build().expect("valid rules");
    let mut medians = [&buffered, &unwritten, &plain].map(|engine| {
        let (mut random, mut key) = (Random::new(0x77), String::new());
        let mut spent: Vec<u128> = Vec::with_capacity(size.calls);
        for call in month::calls(size.calls, size.customers) {
            write_key(&mut random, &mut key);
            let event = call.event(&names).idempotency_key(key.as_str());
            let start = Instant::now();
            let _ = black_box(engine.track(&event).expect("valid"));
            spent.push(start.elapsed().as_nanos());
        }
        spent.sort_unstable();
        spent.get(spent.len() / 2).copied().unwrap_or(0) as f64
    });
    let [buffered, unwritten, plain] = &mut medians;
    let row = |name, peers: f64| {
        let case = "a `Buffered` call with a key, the median";
        Row::of(case, Peer::limitry(name), *buffered, peers)
    };
    vec![
        Row { target: Some(Target::AtMost(1.5)), ..row("limitry, `Memory`", *unwritten) },
        row("limitry, no store", *plain),
    ]
}

/// Opening again, after a close and after a kill.
pub fn opening(size: &Size) -> Vec<Row> {
    let (folder, count) = (folder(), size.counters);
    let path = folder.path().join("limitry.redb");
    eprintln!("recording | {} events of {} customers", grouped(size.events), grouped(count));
    let program = std::env::current_exe().expect("this program");
    let child = Command::new(program)
        .args([CHILD, &path.display().to_string()])
        .args([size.events.to_string(), count.to_string()])
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.expect("a second process of this program");
    let mut line = String::new();
    let mut said = std::io::BufReader::new(child.stdout.take().expect("its words"));
    std::io::BufRead::read_line(&mut said, &mut line).expect("a word");
    child.kill().expect("it runs");
    child.wait().expect("it ended");
    let names = names(count);
    let open = || {
        let start = Instant::now();
        let store = Durable::open(&path).expect("a store");
        let engine = builder().durable(store).clock(clock()).build().expect("valid rules");
        let decision = engine.track(&Event::new(names[0].as_str(), "model_call")).expect("valid");
        let spent = start.elapsed().as_secs_f64() * 1e3;
        let used = decision.quotas().next().map_or(0, |quota| quota.used.to_u64_ceil());
        assert!(used > 0, "the counters are back");
        (engine, spent)
    };
    let (engine, killed) = open();
    engine.store().close().expect("a working store");
    drop(engine);
    let (engine, closed) = open();
    drop(engine);
    let what = format!("{} keys and {} counters", grouped(size.events), grouped(count * 2));
    let target = Some(Target::AtMost(2_000.0));
    vec![
        figure(&format!("opening with {what}, to the first decision"), "ms", closed, target),
        figure("the same after a kill", "ms", killed, target),
    ]
}

/// The child of [`opening`]: records, says so, and waits to be killed.
pub fn record_until_killed(path: &str, events: &str, customers: &str) -> ! {
    let (events, customers) = (events.parse().unwrap_or(0), customers.parse().unwrap_or(1));
    let store = Durable::open(path).expect("a new store");
    let engine = builder().durable(store).clock(clock()).build().expect("valid rules");
    let calls = month::calls(events, customers).enumerate();
    // Every customer has counters.
    let calls = calls.map(|(number, call)| Call { customer: number % customers, ..call });
    record(&engine, calls, &names(customers), events);
    println!("recorded");
    loop {
        std::thread::park();
    }
}
