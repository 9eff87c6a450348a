//! Recorders of figures that use the engine.

use super::*;
use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata};
use metrics::{SharedString, Unit};

/// Meddles when it is told of a figure, or of a new one.
struct Recorder {
    changer: RuleChanger,
    of_new: bool,
}

impl CounterFn for RuleChanger {
    fn increment(&self, _: u64) {
        self.meddle();
    }

    fn absolute(&self, _: u64) {}
}

impl GaugeFn for RuleChanger {
    fn increment(&self, _: f64) {
        self.meddle();
    }

    fn decrement(&self, _: f64) {
        self.meddle();
    }

    fn set(&self, _: f64) {}
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        if self.of_new {
            self.changer.meddle();
            return Counter::noop();
        }
        Counter::from_arc(Arc::new(self.changer.clone()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        if self.of_new { Gauge::noop() } else { Gauge::from_arc(Arc::new(self.changer.clone())) }
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn a_recorder_may_change_the_rules() {
    for of_new in [false, true] {
        ends(move || {
            let changer = RuleChanger::default();
            let recorder = Recorder { changer: changer.clone(), of_new };
            metrics::with_local_recorder(&recorder, || {
                let engine = Engine::builder().clock(clock()).build().expect("an engine");
                let calls: &[fn(&Engine)] =
                    if of_new { &[add_rule, add_rule] } else { &[add_rule, track, add_rule] };
                changer.meets(engine, calls);
            });
        });
    }
}
