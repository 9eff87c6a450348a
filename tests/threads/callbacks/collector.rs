//! Collectors of spans and events that use the engine.

use super::*;
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

/// Meddles when it is told of an event, or of a span.
struct Collector {
    changer: RuleChanger,
    of_spans: bool,
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("limitry")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        if !self.of_spans {
            self.changer.meddle();
        }
    }

    fn enter(&self, _: &Id) {
        if self.of_spans {
            self.changer.meddle();
        }
    }

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_collector_may_change_the_rules() {
    // What is traced for the first time while other tests do the same, without a collector, may
    // be taken for what nobody wants: it is traced once before, and asked about again.
    add_rule(&Engine::builder().clock(clock()).build().expect("an engine"));
    for of_spans in [false, true] {
        ends(move || {
            let changer = RuleChanger::default();
            let collector = Collector { changer: changer.clone(), of_spans };
            crate::support::with_collector(collector, || {
                let engine = Engine::builder().clock(clock()).build().expect("an engine");
                tracing::callsite::rebuild_interest_cache();
                changer.meets(engine, &[add_rule, add_rule]);
            });
        });
    }
}
