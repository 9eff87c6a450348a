//! A recorder of the `metrics` facade that `GET /metrics` reads: the feature `metrics`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use metrics::atomics::AtomicU64;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;

use super::text::{Kind, Labels, Text};

/// The figures of an engine's own work, kept for `GET /metrics`: one for each engine, so that those
/// of projects stay apart.
///
/// ```
/// use std::sync::Arc;
/// use limitry::Engine;
/// use limitry::http::{ApiKeys, Figures, Options, router};
///
/// let figures = Figures::new();
/// let engine = Engine::builder().recorder(Arc::new(figures.clone())).build()?;
/// let options = Options::new("proj_eng", ApiKeys::new());
/// let app = router(engine, options.figures("proj_eng", move || figures.page()));
/// # let _: axum::Router = app;
/// # Ok::<(), limitry::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Figures(Arc<Mutex<Families>>);

/// By their names.
#[derive(Default)]
struct Families {
    counters: BTreeMap<String, Family>,
    gauges: BTreeMap<String, Family>,
}

#[derive(Default)]
struct Family {
    help: String,
    /// By their labels as they are printed.
    figures: BTreeMap<String, Arc<AtomicU64>>,
}

impl Family {
    fn figure(&mut self, key: &Key) -> Arc<AtomicU64> {
        let labels: Vec<(&str, &str)> =
            key.labels().map(|label| (label.key(), label.value())).collect();
        Arc::clone(self.figures.entry(Labels(&labels).to_string()).or_default())
    }
}

impl Figures {
    /// Makes one without any figures.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the figures in Prometheus' text format.
    #[must_use]
    pub fn page(&self) -> String {
        let families = self.0.lock();
        let mut text = Text::default();
        for (name, family) in &families.counters {
            put(&mut text, (name, Kind::Counter), family, |bits| bits);
        }
        for (name, family) in &families.gauges {
            put(&mut text, (name, Kind::Gauge), family, f64::from_bits);
        }
        text.into_text()
    }
}

fn put<V: fmt::Display>(
    text: &mut Text,
    (name, kind): (&str, Kind),
    family: &Family,
    value: impl Fn(u64) -> V,
) {
    text.family(name, kind, &family.help);
    for (labels, bits) in &family.figures {
        text.page(&format!("{name}{labels} {}\n", value(bits.load(Ordering::Relaxed))));
    }
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Figures").finish_non_exhaustive()
    }
}

impl Recorder for Figures {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, help: SharedString) {
        let mut families = self.0.lock();
        families.counters.entry(key.as_str().to_owned()).or_default().help = help.into_owned();
    }

    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, help: SharedString) {
        let mut families = self.0.lock();
        families.gauges.entry(key.as_str().to_owned()).or_default().help = help.into_owned();
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut families = self.0.lock();
        let family = families.counters.entry(key.name().to_owned()).or_default();
        Counter::from_arc(family.figure(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let mut families = self.0.lock();
        let family = families.gauges.entry(key.name().to_owned()).or_default();
        Gauge::from_arc(family.figure(key))
    }

    /// The engine has none.
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
