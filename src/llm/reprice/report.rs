//! What came out of repricing events.

use std::collections::BTreeMap;

use super::{Fate, Judged};
use crate::Amount;
use crate::errors::{CorrectError, PriceError};
use crate::events::EventId;

/// What events cost, and what they would cost by other prices.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RepriceReport {
    /// Of all events.
    pub totals: Repriced,
    /// Of the events of each model, the largest difference first, then by name.
    pub models: Vec<RepricedModel>,
    /// Of the events of other models, where there are more than [`MAX_MODELS`](Self::MAX_MODELS):
    /// of those whose events were found last.
    pub other_models: Repriced,
    /// Which events have no price, and why: the first [`MAX_TOLD`](Self::MAX_TOLD) reasons.
    pub unpriced: Vec<UnpricedEvents>,
    /// How many events were amended to their new cost.
    pub restated: u64,
    /// How many events could not be amended, and have their cost as it was.
    pub kept: u64,
    /// The first [`MAX_TOLD`](Self::MAX_TOLD) of these, and why.
    pub kept_events: Vec<(EventId, CorrectError)>,
    /// How many entries the log had dropped when the call began, of the query's range or not:
    /// where it is 0, all that was recorded is in the figures.
    pub dropped: u64,
}

/// What some events cost, before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repriced {
    /// How many there are. Each is one of the following, or costs what it did.
    pub events: u64,
    /// How many cost something else.
    pub changed: u64,
    /// How many keep a cost that was given with them.
    pub given: u64,
    /// How many have no price, and keep what they cost.
    pub unpriced: u64,
    /// What all of them cost, in cents.
    pub before: Amount,
    /// What all of them cost by the other prices, in cents.
    pub after: Amount,
}

/// What the events of a model cost, before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepricedModel {
    /// The model; `None` of events without one.
    pub model: Option<Box<str>>,
    /// What they cost.
    pub figures: Repriced,
}

/// Events without a price, for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnpricedEvents {
    /// What has no price, and why.
    pub reason: PriceError,
    /// How many there are.
    pub events: u64,
    /// The newest of them.
    pub newest: EventId,
}

impl RepriceReport {
    /// The most models that are told apart.
    pub const MAX_MODELS: usize = 1_000;
    /// The most reasons, and the most events that could not be amended, that are told.
    pub const MAX_TOLD: usize = 100;
}

impl Repriced {
    /// Returns how much more the events cost by the other prices, in cents.
    #[must_use]
    pub fn difference(&self) -> Amount {
        self.after.saturating_sub(self.before)
    }

    fn add(&mut self, judged: &Judged) {
        let count = match judged.fate {
            Fate::Same => None,
            Fate::Other(_) => Some(&mut self.changed),
            Fate::Given => Some(&mut self.given),
            Fate::Unpriced(_) => Some(&mut self.unpriced),
        };
        if let Some(count) = count {
            *count = count.saturating_add(1);
        }
        self.events = self.events.saturating_add(1);
        // More than 10^14 events of the highest cost would not fit.
        self.before = self.before.saturating_add(judged.before);
        self.after = self.after.saturating_add(judged.after);
    }
}

/// A report in the making.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) report: RepriceReport,
    by_model: BTreeMap<Box<str>, Repriced>,
    without_model: Repriced,
}

impl Tally {
    pub(super) fn add(&mut self, id: EventId, model: Option<&str>, judged: Judged) {
        self.report.totals.add(&judged);
        self.of_model(model).add(&judged);
        let Fate::Unpriced(reason) = judged.fate else { return };
        let unpriced = &mut self.report.unpriced;
        if let Some(known) = unpriced.iter_mut().find(|known| known.reason == reason) {
            known.events = known.events.saturating_add(1);
        } else if unpriced.len() < RepriceReport::MAX_TOLD {
            unpriced.push(UnpricedEvents { reason, events: 1, newest: id });
        }
    }

    fn of_model(&mut self, model: Option<&str>) -> &mut Repriced {
        let Some(model) = model else { return &mut self.without_model };
        if !self.by_model.contains_key(model) {
            if self.by_model.len() >= RepriceReport::MAX_MODELS {
                return &mut self.report.other_models;
            }
            self.by_model.insert(model.into(), Repriced::default());
        }
        self.by_model.get_mut(model).unwrap_or(&mut self.without_model)
    }

    pub(super) fn restated(&mut self, is_amended: bool) {
        self.report.restated = self.report.restated.saturating_add(u64::from(is_amended));
    }

    pub(super) fn kept(&mut self, id: EventId, why: CorrectError) {
        self.report.kept = self.report.kept.saturating_add(1);
        if self.report.kept_events.len() < RepriceReport::MAX_TOLD {
            self.report.kept_events.push((id, why));
        }
    }

    pub(super) fn end(self) -> RepriceReport {
        let Self { mut report, by_model, without_model } = self;
        let named = by_model.into_iter().map(|(model, figures)| (Some(model), figures));
        let unnamed = [(None, without_model)].into_iter().filter(|(_, it)| it.events > 0);
        let models = unnamed.chain(named);
        let models = models.map(|(model, figures)| RepricedModel { model, figures });
        report.models = models.collect();
        // Stable: by name within.
        let size = |it: &RepricedModel| it.figures.difference().millionths().unsigned_abs();
        report.models.sort_by_key(|it| std::cmp::Reverse(size(it)));
        report
    }
}
