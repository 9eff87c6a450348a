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
