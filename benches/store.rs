//! How fast do events go out of a store and into one, and how long does a check of it take beside
//! reading its file?
//!
//! A store of 200 000 calls in a file, as `limitry store` opens it: copy-on-write, with the rules
//! that are in it. `export` writes to nowhere, so that no disk but the store's is in it; `import`
//! reads lines from memory into a new store, and closes it. `verify` opens, checks all and closes;
//! `read` reads the same file, which the system has in memory by then in both. Wanted: 500 000
//! events a second out, 300 000 in, and `verify` in at most twice the time of reading the file.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};

use bench_support::smoke;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use limitry::events::{EventQuery, Recording};
use limitry::store::{BadLines, Durable};
use limitry::{Engine, Event, Metric, Period, Quota, RateLimit, Window};

/// A folder that is removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("limitry-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

/// An engine with two rules on a new store.
fn new_store(path: &Path) -> Engine {
    let _none = fs::remove_file(path);
    Engine::builder()
        .rate_limit(RateLimit::new("Calls", 1_000_000, Window::Hour).per("customer_id"))
        .quota(Quota::new("Tokens", Metric::TotalTokens, 1_000_000, Period::Day).per("customer_id"))
        .durable(Durable::open(path).expect("a store"))
        .build()
        .expect("an engine")
}

/// The store as a tool opens it that only looks, and at no event in memory.
fn looked_at(path: &Path) -> Engine {
    let store = Durable::options().copy_on_write(true).open(path).expect("a store");
    let tool = Engine::builder().durable(store).as_stored().recording(Recording::Newest(1));
    tool.build().expect("an engine")
}

fn store(criterion: &mut Criterion) {
    let (folder, calls) = (Folder::new(), if smoke() { 500_u64 } else { 200_000 });
    let path = folder.0.join("limitry.redb");
    let engine = new_store(&path);
    for number in 0..calls {
        let event = Event::new(format!("cust_{}", number % 1_000), "model_call")
            .model("gpt-4o")
            .input_tokens(number % 5_000)
            .output_tokens(number % 900)
            .idempotency_key(format!("req_{number:012}"));
        assert!(engine.record(&event).expect("recorded").is_allowed());
    }
    engine.store().close().expect("closed");
    let mut lines = Vec::new();
    let engine = looked_at(&path);
    let exported = engine.store().export(&mut lines, &EventQuery::new(), |_| {});
    assert_eq!(exported.expect("written").count, calls);

    let mut group = criterion.benchmark_group("store");
    group.sample_size(10).throughput(Throughput::Elements(calls));
    group.bench_function("export", |bencher| {
        bencher.iter(|| {
            let out = &mut std::io::sink();
            black_box(engine.store().export(out, &EventQuery::new(), |_| {}).expect("written"))
        });
    });
    let other = folder.0.join("other.redb");
    group.bench_function("import", |bencher| {
        let import = |engine: Engine| {
            let store = engine.store();
            let report = store.import(&lines[..], BadLines::Stop, |_| {}).expect("recorded");
            assert_eq!(report.count, calls);
            store.close().expect("closed");
        };
        bencher.iter_batched(|| new_store(&other), import, BatchSize::PerIteration);
    });
    drop(engine);
    let bytes = fs::metadata(&path).expect("a file").len();
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("read", |bencher| {
        bencher.iter(|| black_box(fs::read(&path).expect("read").len()));
    });
    group.bench_function("verify", |bencher| {
        bencher.iter(|| black_box(looked_at(&path).store().verify(|_| {}).expect("whole")));
    });
    group.finish();
}

criterion_group!(benches, store);
criterion_main!(benches);
