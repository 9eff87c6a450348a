//! The recorder of the `metrics` facade, and nothing in its place without the feature `metrics`.

pub(super) use self::facade::{Counter, Gauge, Own, counter, describe, gauge};

#[cfg(feature = "metrics")]
mod facade {
    use std::sync::Arc;

    pub(in crate::telemetry) use metrics::{Counter, Gauge};

    /// The recorder of an engine alone, where it has one.
    pub(in crate::telemetry) type Own = Option<Arc<dyn metrics::Recorder + Send + Sync>>;

    /// Lets the engine's own recorder hear what is said, or else the one that is installed.
    fn to<T>(own: &Own, say: impl FnOnce() -> T) -> T {
        match own {
            Some(own) => metrics::with_local_recorder(&**own, say),
            None => say(),
        }
    }

    pub(in crate::telemetry) fn counter(
        own: &Own,
        name: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Counter {
        let label =
            |(key, value): &(&'static str, &str)| metrics::Label::new(*key, (*value).to_owned());
        let labels: Vec<_> = labels.iter().map(label).collect();
        to(own, || metrics::counter!(target: "limitry", name, labels))
    }

    pub(in crate::telemetry) fn gauge(own: &Own, name: &'static str) -> Gauge {
        to(own, || metrics::gauge!(target: "limitry", name))
    }

    /// Tells what figures mean.
    pub(in crate::telemetry) fn describe(
        own: &Own,
        counters: &[(&'static str, &'static str)],
        gauges: &[(&'static str, &'static str)],
    ) {
        to(own, || {
            for (name, help) in counters.iter().copied() {
                metrics::describe_counter!(name, metrics::Unit::Count, help);
            }
            for (name, help) in gauges.iter().copied() {
                let is_time = name.ends_with("_seconds");
                let unit = if is_time { metrics::Unit::Seconds } else { metrics::Unit::Count };
                metrics::describe_gauge!(name, unit, help);
            }
        });
    }
}

#[cfg(not(feature = "metrics"))]
mod facade {
    #![expect(clippy::unused_self, reason = "the same signatures as with a recorder")]

    /// There is none.
    #[derive(Clone, Default)]
    pub(in crate::telemetry) struct Own;

    #[derive(Clone, Debug)]
    pub(in crate::telemetry) struct Counter;

    impl Counter {
        pub(in crate::telemetry) fn increment(&self, _: u64) {}
    }

    #[derive(Debug)]
    pub(in crate::telemetry) struct Gauge;

    impl Gauge {
        pub(in crate::telemetry) fn increment(&self, _: u32) {}
        pub(in crate::telemetry) fn decrement(&self, _: u32) {}
    }

    pub(in crate::telemetry) fn counter(
        _: &Own,
        _: &'static str,
        _: &[(&'static str, &str)],
    ) -> Counter {
        Counter
    }

    pub(in crate::telemetry) fn gauge(_: &Own, _: &'static str) -> Gauge {
        Gauge
    }

    pub(in crate::telemetry) fn describe(_: &Own, _: &[(&str, &str)], _: &[(&str, &str)]) {}
}
