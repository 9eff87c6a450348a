//! The recorder of the `metrics` facade, and nothing in its place without the feature `metrics`.

pub(super) use self::facade::{Counter, Gauge, counter, describe, gauge};

#[cfg(feature = "metrics")]
mod facade {
    pub(in crate::telemetry) use metrics::{Counter, Gauge};

    pub(in crate::telemetry) fn counter(
        name: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Counter {
        let label =
            |(key, value): &(&'static str, &str)| metrics::Label::new(*key, (*value).to_owned());
        let labels: Vec<_> = labels.iter().map(label).collect();
        metrics::counter!(target: "limitry", name, labels)
    }

    pub(in crate::telemetry) fn gauge(name: &'static str) -> Gauge {
        metrics::gauge!(target: "limitry", name)
    }

    /// Tells what figures mean.
    pub(in crate::telemetry) fn describe(
        counters: &[(&'static str, &'static str)],
        gauges: &[(&'static str, &'static str)],
    ) {
        for (name, help) in counters.iter().copied() {
            metrics::describe_counter!(name, metrics::Unit::Count, help);
        }
        for (name, help) in gauges.iter().copied() {
            let is_time = name.ends_with("_seconds");
            let unit = if is_time { metrics::Unit::Seconds } else { metrics::Unit::Count };
            metrics::describe_gauge!(name, unit, help);
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod facade {
    #![expect(clippy::unused_self, reason = "the same signatures as with a recorder")]

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

    pub(in crate::telemetry) fn counter(_: &'static str, _: &[(&'static str, &str)]) -> Counter {
        Counter
    }

    pub(in crate::telemetry) fn gauge(_: &'static str) -> Gauge {
        Gauge
    }

    pub(in crate::telemetry) fn describe(_: &[(&str, &str)], _: &[(&str, &str)]) {}
}
