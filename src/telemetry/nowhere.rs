//! The same names as in `recorder.rs`, with nothing behind them.

#![expect(clippy::unused_self, reason = "the same signatures as with a recorder")]

#[derive(Clone, Debug)]
pub(crate) struct Count;

impl Count {
    pub(crate) fn new(_name: &'static str, _labels: &[(&'static str, &str)]) -> Self {
        Self
    }

    #[inline]
    pub(crate) fn add(&self, _by: u64) {}

    pub(crate) fn describe_all() {}
}

#[derive(Debug)]
pub(crate) struct Level;

impl Level {
    pub(crate) fn new(_name: &'static str) -> Self {
        Self
    }

    #[inline]
    pub(crate) fn show(&self, _now: u64) {}
}

#[derive(Debug, Default)]
pub(crate) struct Tally(());

impl Tally {
    #[inline]
    pub(crate) fn add(&self, _by: u64) {}

    #[inline]
    pub(crate) fn take(&self) -> u64 {
        0
    }
}

#[derive(Clone, Debug)]
pub(crate) struct RuleFigures;

impl RuleFigures {
    pub(super) fn labelled(_rule: &str) -> Self {
        Self
    }

    pub(crate) fn show(&self) {}

    #[inline]
    pub(crate) fn count(&self, _count: impl FnOnce(&super::RuleCounts)) {}
}
