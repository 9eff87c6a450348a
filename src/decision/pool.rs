//! The boxes that decisions lie in.
//!
//! A decision is a few hundred bytes, and would be moved several times on its way to the caller. So
//! it lies in a box and is filled where it lies, and only the box is handed on. A thread uses its
//! boxes again, each with the list of its charges and its reference to the rule set: a thread that
//! goes on deciding by one rule set allocates nothing, and changes no count of references that
//! other threads change, too.
//!
//! What that keeps alive: [`SPARE`] boxes a thread at the most, of a few hundred bytes each, with
//! the rule sets that they were last used with, also where those are not in force any more or their
//! engine is gone. A rule set is the rules and their index; counters of keys, events and stores are
//! none of it. A box goes to the thread that drops the decision. A thread that ends frees its own.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use super::Body;

/// How many boxes a thread keeps.
const SPARE: usize = 8;

/// A box that holds more charges than this is freed.
const CHARGES: usize = 64;

thread_local! {
    #[expect(clippy::vec_box, reason = "the boxes are what is used again")]
    static POOL: RefCell<Vec<Box<Body>>> = const { RefCell::new(Vec::new()) };
}

/// A decision's body in its box, which goes back to the pool.
pub(super) struct Pooled(Option<Box<Body>>);

impl Pooled {
    /// A box that this thread has used before, or a new one. What is in it is of any decision, but
    /// that nothing is ahead.
    #[inline]
    pub(super) fn take() -> Self {
        // While a thread ends there is no pool any more.
        let spare = POOL.try_with(|pool| pool.borrow_mut().pop()).ok().flatten();
        Self(Some(spare.unwrap_or_default()))
    }

    /// A box of its own, for what is kept for long.
    pub(super) fn new(body: Body) -> Self {
        Self(Some(Box::new(body)))
    }
}

impl Deref for Pooled {
    type Target = Body;

    #[inline]
    fn deref(&self) -> &Body {
        let Some(body) = &self.0 else { unreachable!("a box is given back only when dropped") };
        body
    }
}

impl DerefMut for Pooled {
    #[inline]
    fn deref_mut(&mut self) -> &mut Body {
        let Some(body) = &mut self.0 else { unreachable!("a box is given back only when dropped") };
        body
    }
}

impl Clone for Pooled {
    fn clone(&self) -> Self {
        let mut copy = Self::take();
        Body::clone_from(&mut copy, self);
        copy
    }
}

impl Drop for Pooled {
    #[inline]
    fn drop(&mut self) {
        let Some(mut body) = self.0.take() else { return };
        if body.held.is_said || !body.findings.is_light(CHARGES) {
            body.held.is_said = false;
            body.findings.lighten(CHARGES);
        }
        // What finds no room is dropped when the pool is not borrowed any more.
        let _full = POOL.try_with(move |pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < SPARE {
                pool.push(body);
                return None;
            }
            Some(body)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Decision;
    use crate::{Engine, Event, RateLimit, Window};

    fn spare() -> usize {
        POOL.with(|pool| pool.borrow().len())
    }

    fn engine(limit: u64) -> Engine {
        let rule = RateLimit::new("Calls", limit, Window::Hour).per("customer_id");
        Engine::builder().rate_limit(rule).build().expect("a good rule")
    }

    fn decisions(engine: &Engine, count: usize) -> Vec<Decision> {
        let event = Event::new("c", "call");
        (0..count).map(|_| engine.track(&event).expect("a good event")).collect()
    }

    #[test]
    fn a_thread_keeps_a_few_boxes_of_what_it_drops() {
        let engine = engine(100);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let made = decisions(&engine, 20);
                assert_eq!(spare(), 0, "all are out");
                drop(made);
                assert_eq!(spare(), SPARE);
                let made = decisions(&engine, 3);
                assert_eq!(spare(), SPARE - 3);
                let copies = made.clone();
                assert_eq!(spare(), SPARE - 6);
                // A box goes to the thread that drops it.
                let other = scope.spawn(move || {
                    drop(made);
                    spare()
                });
                assert_eq!(other.join().expect("it ends well"), 3);
                drop(copies);
                assert_eq!(spare(), SPARE - 3);
            });
        });
    }

    #[test]
    fn a_box_says_what_its_own_engine_decided() {
        for limit in 1..5 {
            let engine = engine(limit);
            let made = decisions(&engine, 6);
            let allowed = made.iter().filter(|decision| decision.is_allowed()).count();
            assert_eq!(allowed as u64, limit);
            drop(engine);
            let limits = made.iter().flat_map(Decision::rate_limits);
            assert!(limits.into_iter().all(|it| it.limit == Some(limit.into())), "{made:?}");
        }
    }

    #[test]
    fn rules_that_change_are_not_decided_by_any_more() {
        let engine = engine(3);
        let rule = |limit| RateLimit::new("Calls", limit, Window::Hour).per("customer_id");
        let id = engine.rules().list().iter().find_map(|it| it.id().map(str::to_owned));
        let mut remaining = Vec::new();
        for limit in [3, 10, 2] {
            let rules = std::iter::once(rule(limit).id(id.clone().expect("an id")).into());
            engine.rules().sync(rules.collect(), crate::rules::SyncOptions::apply()).expect("good");
            let decision = decisions(&engine, 1).remove(0);
            remaining.extend(decision.rate_limits().map(|it| (it.limit, it.remaining)));
        }
        let expected = [(3, 2), (10, 8), (2, 0)];
        let expected = expected.map(|(limit, left)| (Some(u64::into(limit)), u64::into(left)));
        assert_eq!(remaining, expected);
    }

    #[test]
    fn a_box_that_holds_much_is_let_go_of() {
        let rules = (0..CHARGES + 1).map(|number| {
            RateLimit::new(format!("Rule {number}"), 10, Window::Hour).per("customer_id").into()
        });
        let engine = Engine::builder().rule_set(rules.collect()).build().expect("good rules");
        drop(decisions(&engine, 1));
        let held = POOL.with(|pool| {
            pool.borrow().iter().map(|body| body.findings.verdict.charges.capacity()).max()
        });
        assert!(held.is_none_or(|held| held <= CHARGES), "{held:?}");
    }
}
