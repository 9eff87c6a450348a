//! What is learned of models, over all customers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::window::Window;
use crate::rules::Percentile;

/// How many of the newest calls are remembered of a model, and up to twice as many.
const GENERATION: u64 = 1_000;
/// Of so many calls of a model in a row ...
const IN_A_ROW: u64 = 16_384;
/// ... so many of one customer are taken.
const OF_ONE: u8 = 8;
/// A model gives up its place after so many calls of others.
const IDLE: u64 = 65_536;

/// How much a customer has given to what is learned of a model.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Given {
    row: u64,
    calls: u8,
}

impl Given {
    /// Whether one more is taken.
    fn gives(&mut self, row: u64) -> bool {
        if self.row != row {
            *self = Self { row, calls: 0 };
        }
        let gives = self.calls < OF_ONE;
        self.calls = self.calls.saturating_add(u8::from(gives));
        gives
    }
}

/// What is learned of one model, or of all.
#[derive(Debug)]
struct Model {
    window: Window,
    /// The calls that there were, taken or not.
    calls: u64,
    /// Customers that are not told apart are one.
    others: Given,
    last: u64,
}

impl Model {
    fn new() -> Self {
        Self { window: Window::new(GENERATION), calls: 0, others: Given::default(), last: 0 }
    }

    /// Returns whether the call is taken.
    fn learn(&mut self, tokens: u64, given: Option<&mut Given>) -> bool {
        let row = self.calls / IN_A_ROW;
        self.calls = self.calls.saturating_add(1);
        let takes = given.unwrap_or(&mut self.others).gives(row);
        if takes {
            self.window.add(tokens);
        }
        takes
    }
}

/// The models that are told apart, and all together.
#[derive(Debug)]
pub(super) struct Models {
    known: RwLock<HashMap<Box<str>, Mutex<Model>>>,
    all: Mutex<Model>,
    calls: AtomicU64,
    most: usize,
}

impl Models {
    pub(super) fn new(most: usize) -> Self {
        let (known, all) = (RwLock::default(), Mutex::new(Model::new()));
        Self { known, all, calls: AtomicU64::new(0), most }
    }

    pub(super) fn len(&self) -> usize {
        self.known.read().len()
    }

    /// Learns from a call of a customer who is told apart, and has given so much; `None` of others,
    /// by whom no model gets a place.
    pub(super) fn learn(&self, name: &str, tokens: u64, given: Option<&mut Given>) {
        let now = self.calls.fetch_add(1, Ordering::Relaxed);
        let known = self.known.read();
        if let Some(model) = known.get(name) {
            return self.learn_of(&mut model.lock(), (tokens, now), given);
        }
        drop(known);
        let Some(given) = given else {
            self.all.lock().learn(tokens, None);
            return;
        };
        let mut known = self.known.write();
        if !known.contains_key(name) && !self.makes_room(&mut known, now) {
            drop(known);
            self.all.lock().learn(tokens, Some(given));
            return;
        }
        let model = known.entry(name.into()).or_insert_with(|| Mutex::new(Model::new()));
        self.learn_of(model.get_mut(), (tokens, now), Some(given));
    }

    fn learn_of(&self, model: &mut Model, (tokens, now): (u64, u64), given: Option<&mut Given>) {
        model.last = now;
        if model.learn(tokens, given) {
            self.all.lock().window.add(tokens);
        }
    }

    /// Whether there is room for one more, where the one goes that had no call for longest.
    fn makes_room(&self, known: &mut HashMap<Box<str>, Mutex<Model>>, now: u64) -> bool {
        if known.len() < self.most {
            return true;
        }
        let last = known.iter_mut().map(|(name, model)| (model.get_mut().last, name));
        let longest = last.min().filter(|(last, _)| now.saturating_sub(*last) > IDLE);
        let Some(name) = longest.map(|(_, name)| name.clone()) else { return false };
        known.remove(&name).is_some()
    }

    pub(super) fn of_model(&self, name: &str, at: Percentile) -> Option<u64> {
        self.known.read().get(name)?.lock().window.estimate(at)
    }

    pub(super) fn of_all(&self, at: Percentile) -> Option<u64> {
        self.all.lock().window.estimate(at)
    }
}
