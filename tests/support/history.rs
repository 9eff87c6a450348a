//! Whether a recorded history of concurrent calls equals some order of single calls.
//!
//! The search is the one of Wing and Gong: of the calls that are not ordered yet, any that was
//! made before the earliest of them had returned may come next. Each candidate is tried on a copy
//! of the model, which either accepts the recorded answer or rules the candidate out.

use std::sync::atomic::{AtomicU64, Ordering};

/// Hands out the instants of a run: one order of everything that any thread did.
#[derive(Debug, Default)]
pub struct Stamps(AtomicU64);

impl Stamps {
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// One call: what was asked, what was answered, and between which instants.
#[derive(Clone, Debug)]
pub struct Call<T> {
    pub thread: usize,
    pub invoked: u64,
    pub returned: u64,
    pub what: T,
}

/// Finds an order of the calls that the model accepts, as indices into `calls`.
///
/// The error is the complaint that the search met the furthest on its way.
pub fn linearize<M: Clone, T>(
    start: &M,
    calls: &[Call<T>],
    accept: impl Fn(&mut M, &T) -> Result<(), String>,
) -> Result<Vec<usize>, String> {
    let mut search =
        Search { calls, accept, order: Vec::new(), furthest: 0, complaint: "no call".into() };
    if search.step(start) { Ok(search.order) } else { Err(search.complaint) }
}

struct Search<'a, T, F> {
    calls: &'a [Call<T>],
    accept: F,
    order: Vec<usize>,
    furthest: usize,
    complaint: String,
}

impl<T, F> Search<'_, T, F> {
    fn step<M: Clone>(&mut self, model: &M) -> bool
    where
        F: Fn(&mut M, &T) -> Result<(), String>,
    {
        let open: Vec<usize> =
            (0..self.calls.len()).filter(|index| !self.order.contains(index)).collect();
        let Some(horizon) = open.iter().map(|&index| self.calls[index].returned).min() else {
            return true;
        };
        for index in open {
            if self.calls[index].invoked > horizon {
                continue;
            }
            let mut next = model.clone();
            match (self.accept)(&mut next, &self.calls[index].what) {
                Ok(()) => {
                    self.order.push(index);
                    if self.step(&next) {
                        return true;
                    }
                    self.order.pop();
                }
                Err(why) if self.order.len() >= self.furthest => {
                    self.furthest = self.order.len();
                    self.complaint = format!("after {:?}, call {index}: {why}", self.order);
                }
                Err(_) => {}
            }
        }
        false
    }
}
