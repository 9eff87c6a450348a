//! One that waits: what it does when it is woken. Who drives it (a task, a thread) has it sleep.

use std::sync::{Arc, Weak};
use std::task::Waker;

use smallvec::SmallVec;

use super::patience::Patience;
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::base::clock::timer::Sleep;
use crate::counters::{Intent, Moment};
use crate::decision::{Decision, Outcome};
use crate::engine::{Core, Costs, Engine, Reserved, WaitError};
use crate::event::Event;
use crate::reservations::{Grant, Hold};
use crate::waiting::{Key, Keys, NoPlace, Place, Settled, Turn, WaitingRoom};

/// What is done once there is room.
pub(super) trait Verb<'a> {
    type Answer;

    /// Whether it makes a reservation, of which a customer may have so many.
    const RESERVES: bool;

    /// What has to have room, where that is not the event: without its idempotency key.
    fn lowered(&self) -> Option<&Event<'a>> {
        None
    }

    /// Does it, if there is room.
    fn attempt(
        &self,
        core: &Arc<Core>,
        event: &Event<'_>,
    ) -> Result<Attempt<Self::Answer>, WaitError>;

    /// A refusal as its answer.
    fn refused(decision: Decision) -> Self::Answer;

    /// The refusal that an answer is, if it is one.
    fn refusal(answer: &Self::Answer) -> Option<&Decision>;

    /// Counts an answer that is given to the caller. No lock is held.
    fn count(
        core: &Core,
        answer: Result<Self::Answer, WaitError>,
    ) -> Result<Self::Answer, WaitError>;
}

/// How it went.
pub(super) enum Attempt<A> {
    Done(A),
    Refused(Decision),
}

/// `track`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Track;

impl Verb<'_> for Track {
    type Answer = Decision;

    const RESERVES: bool = false;

    fn attempt(&self, core: &Arc<Core>, event: &Event<'_>) -> Result<Attempt<Decision>, WaitError> {
        // Who drives the waiter waits for the commit.
        let answer = core.answer_at_once(event, Intent::Track);
        if core.is_cut_off(&answer) {
            return Err(WaitError::Closed);
        }
        let decision = answer?;
        Ok(match decision.outcome() {
            Outcome::Refused => Attempt::Refused(decision),
            Outcome::Admitted | Outcome::Replayed => Attempt::Done(decision),
        })
    }

    fn refused(decision: Decision) -> Decision {
        decision
    }

    fn refusal(answer: &Decision) -> Option<&Decision> {
        (answer.outcome() == Outcome::Refused).then_some(answer)
    }

    fn count(core: &Core, answer: Result<Decision, WaitError>) -> Result<Decision, WaitError> {
        match answer {
            Ok(decision) => core.counted(Intent::Track, || Ok(decision)).map_err(WaitError::Track),
            Err(WaitError::Track(why)) => {
                core.counted(Intent::Track, || Err(why)).map_err(WaitError::Track)
            }
            other => other,
        }
    }
}

/// `reserve`.
#[derive(Clone, Debug)]
pub(super) struct Reserve<'a> {
    pub(super) hold: Hold,
    less: Option<Box<Lowered<'a>>>,
}

/// What is held of a value in place of what the event brings, and the event as it is then.
#[derive(Clone, Debug)]
struct Lowered<'a> {
    name: Box<str>,
    amount: Amount,
    event: Event<'a>,
}

impl<'a> Reserve<'a> {
    pub(super) fn new(hold: Hold) -> Self {
        Self { hold, less: None }
    }

    /// Reserves another amount of a value than an event brings.
    pub(super) fn of_amount(hold: Hold, event: &Event<'a>, name: &str, amount: Amount) -> Self {
        let lowered = Grant { name, amount }.lowered(event);
        let event = Event { idempotency_key: None, ..lowered };
        Self { hold, less: Some(Box::new(Lowered { name: name.into(), amount, event })) }
    }
}

impl<'a> Verb<'a> for Reserve<'a> {
    /// With the sequence number of the record that the answer goes by.
    type Answer = (Reserved, Option<u64>);

    const RESERVES: bool = true;

    fn lowered(&self) -> Option<&Event<'a>> {
        self.less.as_deref().map(|less| &less.event)
    }

    fn attempt(
        &self,
        core: &Arc<Core>,
        event: &Event<'_>,
    ) -> Result<Attempt<Self::Answer>, WaitError> {
        let engine = Engine { core: Arc::clone(core) };
        // Who drives the waiter waits for the commit.
        let amount = self.less.as_deref().map(|less| (&*less.name, less.amount));
        match engine.reserve_at_once(event, self.hold, amount) {
            Ok((Reserved::Refused(decision), _)) => Ok(Attempt::Refused(decision)),
            Ok(answer) => Ok(Attempt::Done(answer)),
            Err(why) => Err(super::wrong(why)),
        }
    }

    fn refused(decision: Decision) -> Self::Answer {
        (Reserved::Refused(decision), None)
    }

    fn refusal((answer, _): &Self::Answer) -> Option<&Decision> {
        match answer {
            Reserved::Refused(decision) => Some(decision),
            Reserved::Held(_) | Reserved::Replayed(_) => None,
        }
    }

    fn count(
        _core: &Core,
        answer: Result<Self::Answer, WaitError>,
    ) -> Result<Self::Answer, WaitError> {
        answer
    }
}

/// One that waits. Dropping it gives its place up.
pub(super) struct Waiter<'e, 'a> {
    core: Weak<Core>,
    room: Arc<WaitingRoom>,
    event: &'e Event<'a>,
    /// [`Moment::MAX`] for none.
    deadline: Moment,
    place: Option<Place>,
    /// The counters that may refuse the event, by the rule set and the attributes of customers of
    /// this version.
    touched: Keys,
    version: u64,
    /// [`Moment::MAX`] for as long as nobody wakes it.
    until: Moment,
    patience: Patience,
    is_over: bool,
}

/// What a waiter is about to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Look whether there is room, and take nothing.
    Look,
    Attempt,
}

impl<'e, 'a> Waiter<'e, 'a> {
    pub(super) fn new(core: &Arc<Core>, event: &'e Event<'a>, deadline: Option<Timestamp>) -> Self {
        Self {
            core: Arc::downgrade(core),
            room: Arc::clone(&core.waiting.room),
            event,
            deadline: deadline.map_or(Moment::MAX, |it| core.table.timeline().moment(it)),
            place: None,
            touched: Keys::new(),
            version: 0,
            until: Moment::MAX,
            patience: Patience::default(),
            is_over: false,
        }
    }

    pub(super) fn event(&self) -> &'e Event<'a> {
        self.event
    }

    /// Until when it sleeps if nobody wakes it before; `None` for as long as nobody does.
    pub(super) fn until(&self) -> Option<Moment> {
        Some(self.until).filter(|until| *until < Moment::MAX)
    }

    /// The engine, while it is open.
    pub(super) fn core(&self) -> Option<Arc<Core>> {
        self.core.upgrade()
    }

    /// Whether a moment has come, by the engine's time. Where the engine is gone all have.
    pub(super) fn is_due(&self, moment: Moment) -> bool {
        self.core.upgrade().is_none_or(|core| core.read_clock().moment >= moment)
    }

    /// A sleep until a moment, by the engine's timer.
    pub(super) fn sleep(&self, moment: Moment) -> Result<Sleep, WaitError> {
        let core = self.core.upgrade().ok_or(WaitError::Closed)?;
        let (until, wait) = core.clock_at(moment);
        Ok(core.waiting.timer()?.sleep(until, wait))
    }

    /// Takes a turn: answers, or sleeps [until](Self::until) then or until this waker is woken.
    /// `is_due` says that it has slept for as long as it said.
    pub(super) fn turn<V: Verb<'a>>(
        &mut self,
        verb: &V,
        waker: &Waker,
        is_due: bool,
    ) -> Option<Result<V::Answer, WaitError>> {
        if self.is_over {
            // It has had its answer.
            return None;
        }
        let answer = match self.core.upgrade() {
            None => Err(WaitError::Closed),
            Some(core) => {
                let answer = self.try_turn(verb, &core, waker, is_due).transpose()?;
                // Who counts may be the caller's code: the place is given up before.
                self.leave();
                if let Ok(Some(refusal)) = answer.as_ref().map(V::refusal) {
                    core.note_refusal(self.event, refusal);
                }
                V::count(&core, answer)
            }
        };
        self.leave();
        (self.is_over, self.until) = (true, Moment::MAX);
        Some(answer)
    }

    fn try_turn<V: Verb<'a>>(
        &mut self,
        verb: &V,
        core: &Arc<Core>,
        waker: &Waker,
        is_due: bool,
    ) -> Result<Option<V::Answer>, WaitError> {
        let deadline = self.deadline;
        let is_last = deadline < Moment::MAX && core.read_clock().moment >= deadline;
        let mut step = match &mut self.place {
            None => {
                if self.room.is_empty() {
                    match verb.attempt(core, self.event)? {
                        Attempt::Done(answer) => return Ok(Some(answer)),
                        Attempt::Refused(it) if is_last || it.never_passes() => {
                            return Ok(Some(V::refused(it)));
                        }
                        Attempt::Refused(_) => {}
                    }
                }
                self.place = Some(self.room.enter()?);
                Step::Look
            }
            Some(_) if self.version != core.version() => Step::Look,
            Some(place) => {
                match self.room.take_turn(place, &self.touched, is_due || is_last, waker) {
                    Turn::Closed => return Err(WaitError::Closed),
                    Turn::Decide => Step::Attempt,
                    Turn::Look => Step::Look,
                    Turn::Sleep => return Ok(None),
                }
            }
        };
        loop {
            let decision = match self.step(verb, core, step)? {
                Attempt::Done(answer) => return Ok(Some(answer)),
                Attempt::Refused(decision) => decision,
            };
            let has_room = decision.is_let_in();
            let passes_at = if has_room { None } else { decision.passes_at() };
            if !has_room && passes_at.is_none() {
                return Ok(Some(V::refused(decision)));
            }
            let (short, untils) = self.look_at(verb, core, &decision, passes_at, step);
            let Some(place) = &mut self.place else { return Err(WaitError::Closed) };
            step = match self.room.settle(place, &short, &self.touched, waker) {
                Settled::Closed => return Err(WaitError::Closed),
                Settled::Again => Step::Look,
                Settled::Free if has_room => Step::Attempt,
                _ if is_last && !has_room => return Ok(Some(V::refused(decision))),
                Settled::HeldUp(_) if is_last => {
                    return Ok(Some(V::refused(self.held_up(verb, core)?)));
                }
                Settled::HeldUp(first) => {
                    // What it was promised does not hold where others come before.
                    self.patience.promise = Moment::MAX;
                    let seen_to = untils.into_iter().zip(first).filter(|(_, first)| *first);
                    self.until = seen_to.map(|(until, _)| until).fold(deadline, Moment::min);
                    return Ok(None);
                }
                Settled::Free => {
                    self.until = untils.into_iter().fold(deadline, Moment::min);
                    return Ok(None);
                }
            };
        }
    }

    /// What has to have room.
    fn asked<'v>(&'v self, verb: &'v impl Verb<'a>) -> &'v Event<'a> {
        verb.lowered().unwrap_or(self.event)
    }

    /// A decision that is no answer: that there is room, or that there is none.
    fn step<V: Verb<'a>>(
        &mut self,
        verb: &V,
        core: &Arc<Core>,
        step: Step,
    ) -> Result<Attempt<V::Answer>, WaitError> {
        if step == Step::Look {
            self.version = core.version();
            // A known idempotency key has its answer at once. What is lowered has none to look for.
            if verb.lowered().is_none() || !core.knows_key_of(self.event)? {
                let decision = core.look(self.asked(verb))?;
                if !decision.is_replay() {
                    return Ok(Attempt::Refused(decision));
                }
            }
        }
        verb.attempt(core, self.event)
    }

    /// Notes which counters may refuse the event; says which do, and of each until when. Behind
    /// those stand the ones that it keeps.
    fn look_at<V: Verb<'a>>(
        &mut self,
        verb: &V,
        core: &Core,
        decision: &Decision,
        passes_at: Option<Moment>,
        step: Step,
    ) -> (Keys, SmallVec<[Moment; 4]>) {
        // Which counters the event touches is known since it looked by these rules.
        let is_known = step == Step::Attempt;
        if !is_known {
            self.touched.clear();
            self.touched.extend(V::RESERVES.then(|| core.key_of_reservations(self.event)));
        }
        let (mut short, mut untils) = (Keys::new(), SmallVec::new());
        let now = decision.at().now;
        let hurdles = core.as_rules_see(self.asked(verb), |event| {
            let hurdles = decision.hurdles(is_known);
            let keyed =
                hurdles.map(|it| (core.key_of(it.rule, it.is_shared, event), it.refused_until));
            keyed.collect::<SmallVec<[_; 4]>>()
        });
        for (key, refused_until) in hurdles {
            // A key may have come to share a counter.
            if !is_known || !self.touched.contains(&key) {
                self.touched.push(key);
            }
            if let Some(until) = refused_until {
                short.push(key);
                untils.push(until);
                self.patience.waits_for(key, until, now);
            }
        }
        if let Some(until) = decision.too_many_until() {
            short.push(core.key_of_reservations(self.event));
            untils.push(until);
        }
        if !short.is_empty() {
            self.patience.refused(now, passes_at, &mut short);
        }
        (short, untils)
    }

    /// The refusal of an event that others wait before.
    fn held_up(&self, verb: &impl Verb<'a>, core: &Core) -> Result<Decision, WaitError> {
        let held: Keys = self.place.as_ref().map_or_else(Keys::new, |it| self.room.held_up_by(it));
        let now = core.read_clock();
        let is_held = |key: Key| held.contains(&key);
        core.with_attributes(self.asked(verb), |event| {
            let stands = core.decide_by(event, Intent::Standing, now, Costs::Nothing, None)?;
            Ok(stands.held_up(|rule| {
                [false, true].into_iter().any(|shared| is_held(core.key_of(rule, shared, event)))
            }))
        })
        .map_err(WaitError::Track)
    }

    fn leave(&mut self) {
        if let Some(place) = self.place.take() {
            self.room.leave(&place);
        }
    }
}

impl Drop for Waiter<'_, '_> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl From<NoPlace> for WaitError {
    fn from(why: NoPlace) -> Self {
        match why {
            NoPlace::Closed => Self::Closed,
            NoPlace::Full(max) => Self::TooMany { max },
        }
    }
}
