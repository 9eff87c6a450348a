//! An answer as it is kept for long: in few bytes.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Body, Decision, Findings, HeldAnswer, Outcome, Pooled, ReservationId};
use crate::compiled::CompiledRule;
use crate::counters::{At, Charge, KeptLine, Moment, Timeline};
use crate::log::EventId;
use crate::rules::Units;

/// The answer to the commit of a reservation. It holds its rules, and no rule set.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    event_id: Option<EventId>,
    seq: Option<u64>,
    /// A rule was charged more than was held of it.
    is_overrun: bool,
    at: At,
    asked: Moment,
    is_recorded: bool,
    rules: Arc<[Arc<CompiledRule>]>,
    /// What the rules said, in their order: of four in place.
    charges: SmallVec<[KeptLine; 4]>,
    /// What few answers have.
    beside: Option<Box<Beside>>,
}

/// How much of rules is held, and how much of them is adjusted, by their places.
#[derive(Clone, Debug)]
struct Beside {
    held: Box<[(u32, Units)]>,
    adjusted: Box<[(u32, Units)]>,
}

impl Kept {
    pub(crate) fn event_id(&self) -> Option<EventId> {
        self.event_id
    }

    /// The answer to the commit of a reservation, as a retry gets it.
    pub(crate) fn replay(&self, id: ReservationId, timeline: Timeline) -> Decision {
        let mut kept = &self.charges[..];
        let charges = (0_u32..).map_while(|place| Charge::unkeep(place, &mut kept)).collect();
        debug_assert!(kept.is_empty(), "what was kept comes back");
        let rules = Arc::clone(&self.rules);
        let mut findings = Findings::restored(self.at, timeline, self.is_recorded, charges, rules);
        findings.asked = self.asked;
        if let Some(Beside { held, adjusted }) = self.beside.as_deref() {
            findings.verdict.held.extend_from_slice(held);
            findings.verdict.adjusted.extend_from_slice(adjusted);
        }
        let (outcome, event_id, seq) = (Outcome::Replayed, self.event_id, self.seq);
        let mut body = Body { outcome, event_id, seq, findings, ..Body::default() };
        let is_overrun = self.is_overrun;
        body.held.say(HeldAnswer { id: Some(id), is_overrun, ..HeldAnswer::default() });
        Decision { body: Pooled::new(body) }
    }
}

impl Decision {
    /// What is kept of the answer to give it again.
    pub(crate) fn kept(&self) -> Kept {
        let Body { event_id, seq, findings, .. } = &*self.body;
        let verdict = &findings.verdict;
        let all = &verdict.charges[..];
        let mut charges = SmallVec::new();
        for charge in all {
            charge.keep(&mut charges);
        }
        let has_beside = !verdict.held.is_empty() || !verdict.adjusted.is_empty();
        let beside = if has_beside { self.beside() } else { None };
        Kept {
            event_id: *event_id,
            seq: *seq,
            is_overrun: self.is_overrun(),
            at: verdict.at,
            asked: findings.asked,
            is_recorded: findings.is_recorded,
            rules: findings.own_rules(),
            charges,
            beside,
        }
    }

    /// How much of its rules is held and adjusted, where something is.
    #[inline(never)]
    fn beside(&self) -> Option<Box<Beside>> {
        let verdict = &self.body.findings.verdict;
        let place_of = |rule: u32| verdict.charges.iter().position(|charge| charge.rule == rule);
        let by_place = |list: &[(u32, Units)]| -> Box<[(u32, Units)]> {
            let placed = list.iter().filter_map(|(rule, units)| {
                let place = u32::try_from(place_of(*rule)?).ok()?;
                (*units != 0).then_some((place, *units))
            });
            placed.collect()
        };
        let (held, adjusted) = (by_place(&verdict.held), by_place(&verdict.adjusted));
        let has_beside = !held.is_empty() || !adjusted.is_empty();
        has_beside.then(|| Box::new(Beside { held, adjusted }))
    }
}
