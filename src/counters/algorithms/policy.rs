//! The list of the algorithms, and what a rule's counter asks of whichever it has: the only place
//! that names them all.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::periods::{KeyCalendar, Periods, UseAhead};
use super::{
    Algorithm, Balance, CalendarPeriod, FirstUse, FixedWindow, GaugePeriod, Reading, SlidingWindow,
    Slots, TokenBucket,
};
use crate::counters::cell::{CarriedUse, Cell, CellState, Layout};
use crate::counters::history::Used;
use crate::counters::row::Row;
use crate::counters::stored::StoredCharge;
use crate::counters::time::{At, Moment, Timeline};
use crate::rules::{Cost, Units};

/// Lists the algorithms, each with the number by which charges are stored.
///
/// What depends on the algorithm is dispatched by the two macros that this defines, over a
/// [`Policy`] and over the algorithm of a [`Reading`].
macro_rules! algorithms {
    ($d:tt $($name:ident = $code:literal),+ $(,)?) => {
        /// The arithmetic of a rule.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub(crate) enum Policy {
            $($name($name)),+
        }

        /// Which algorithm a state is of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Kind {
            $($name = $code),+
        }

        impl Kind {
            /// The algorithm of charges that are stored under this number, and whether they may
            /// leave less than nothing.
            pub(super) fn of_code(code: u8) -> Option<(Self, bool)> {
                match code {
                    $($code => Some((Self::$name, false)),)+
                    $(_ if $name::OWING_CODE == Some(code) => Some((Self::$name, true)),)+
                    _ => None,
                }
            }
        }

        $(impl Listed for $name {
            const KIND: Kind = Kind::$name;
        }

        impl From<$name> for Policy {
            fn from(algorithm: $name) -> Self {
                Self::$name(algorithm)
            }
        })+

        /// Evaluates an expression for the algorithm of a policy, and its type.
        macro_rules! with_algorithm {
            ($d policy:expr, $d A:ident($d algorithm:pat) => $d body:expr) => {
                match $d policy {
                    $(Policy::$name($d algorithm) => {
                        #[allow(dead_code, reason = "not every expression needs the type")]
                        type $d A = $crate::counters::algorithms::$name;
                        $d body
                    })+
                }
            };
        }

        /// Evaluates an expression for the type of an algorithm.
        macro_rules! with_type_of_kind {
            ($d kind:expr, $d A:ident => $d body:expr) => {
                match $d kind {
                    $(Kind::$name => {
                        type $d A = $crate::counters::algorithms::$name;
                        $d body
                    })+
                }
            };
        }

        impl Policy {
            /// Whether counters of `other` go on as counters of `self` as they are: the limits may
            /// differ, the meaning of the state may not.
            pub(crate) fn keeps_state_of(&self, other: &Self) -> bool {
                match (self, other) {
                    $((Self::$name(own), Self::$name(other)) => own.counts_like(other),)+
                    _ => false,
                }
            }
        }
    };
}

/// An algorithm of the list.
pub(super) trait Listed: Algorithm {
    const KIND: Kind;
}

// A number that was stored stays: 5 is a reading of no counter, 6 a bucket that may owe.
algorithms! { $
    TokenBucket = 0,
    FixedWindow = 1,
    SlidingWindow = 2,
    CalendarPeriod = 3,
    GaugePeriod = 4,
    Slots = 7,
    Balance = 8,
    FirstUse = 9,
}

pub(super) use with_algorithm as with_policy;
pub(super) use with_type_of_kind as with_type;

/// The row in which counters of a key are asked in one go: see [`Policy::pass`].
#[derive(Clone, Copy)]
pub(in crate::counters) struct KeyRow<'r> {
    /// The row, if there is one.
    pub(in crate::counters) row: Option<Row<'r>>,
    pub(in crate::counters) calendar: KeyCalendar<'r>,
    /// Where the counter's cell lies if the row lies in the order in which it is asked.
    pub(in crate::counters) hint: usize,
}

/// What part a rule has in the decision.
#[derive(Clone, Copy, Debug)]
pub(in crate::counters) struct Part {
    /// The rule has a say.
    pub(in crate::counters) judges: bool,
    /// It counts what it lets in itself, and nothing else: whatever the others say, or because
    /// nothing is let in then.
    pub(in crate::counters) counts_what_fits: bool,
    /// It counts no more than is left.
    pub(in crate::counters) is_capped: bool,
}

/// How it went.
#[derive(Clone, Copy, Debug)]
pub(in crate::counters) struct Passed {
    pub(in crate::counters) fits: bool,
    pub(in crate::counters) counts: bool,
    /// A cell held the event.
    pub(in crate::counters) is_known: bool,
    /// Where the cell lies that takes the state.
    pub(in crate::counters) cell: Option<NonZeroU32>,
}

impl Passed {
    /// Asked by its cell, which counts what fits.
    #[inline]
    pub(in crate::counters) fn in_cell(cell: Option<NonZeroU32>, fits: bool) -> Self {
        Self { fits, counts: fits, is_known: true, cell }
    }
}

/// What one counter says to a cost.
#[derive(Clone, Copy, Debug)]
pub(in crate::counters) struct Judged {
    pub(in crate::counters) reading: Reading,
    pub(in crate::counters) fits: bool,
    /// Where the cell lies that holds the state, if one does.
    pub(in crate::counters) cell: Option<usize>,
    /// Where a cell lies that holds nothing of use any more and may take the state.
    pub(in crate::counters) spare: Option<usize>,
}

/// The figures of a status, in counted units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    /// What is used of a window or period; for a bucket the tokens missing, rounded up.
    pub(crate) used: Units,
    pub(crate) remaining: Units,
    /// The Unix second at which the figures start over; `None` where nothing does.
    pub(crate) reset: Option<i64>,
}

impl Figures {
    const NONE: Self = Self { used: 0, remaining: 0, reset: None };
}

/// The cell among a counter's that holds the event, and one that may be used for it.
#[inline]
fn find<'c, A: Algorithm>(
    algorithm: &A,
    cells: impl Iterator<Item = Cell<'c>>,
    at: &At,
) -> (Option<Cell<'c>>, Option<Cell<'c>>) {
    let mut spare = None;
    for cell in cells {
        if algorithm.holds(cell, at) {
            return (Some(cell), None);
        }
        if algorithm.is_spare(cell, at) {
            spare = Some(cell);
        }
    }
    (None, spare)
}

/// What a counter says by the cell that holds the event, if there is one.
#[inline]
fn state_of<A: Algorithm>(
    algorithm: &A,
    cell: Option<Cell<'_>>,
    calendar: KeyCalendar<'_>,
    at: &At,
) -> A::State {
    match cell {
        Some(cell) => algorithm.read(cell, at),
        None => algorithm.fresh(calendar, at),
    }
}

#[inline]
fn judge<'c, A: Listed>(
    algorithm: &A,
    cells: impl Iterator<Item = Cell<'c>>,
    calendar: KeyCalendar<'_>,
    at: &At,
    cost: Cost,
) -> Judged {
    let (cell, spare) = find(algorithm, cells, at);
    let mut state = state_of(algorithm, cell, calendar, at);
    let fits = algorithm.fits(&state, cost, at);
    if !fits {
        algorithm.refused(&mut state, cell.map_or(&[], |cell| cell.words), cost, at);
    }
    let [cell, spare] = [cell, spare].map(|cell| cell.map(|cell| cell.offset));
    Judged { reading: Reading::of::<A>(&state), fits, cell, spare }
}

#[inline]
fn pass<A: Listed>(
    algorithm: &A,
    number: u32,
    key: &KeyRow<'_>,
    at: &At,
    cost: Cost,
    part: Part,
    reading: &mut Reading,
) -> Option<Passed> {
    if A::LAYOUT == Layout::List {
        return None;
    }
    let (cell, is_known) = look_for(algorithm, number, key, at)?;
    let mut state = state_of(algorithm, cell.filter(|_| is_known), key.calendar, at);
    let (fits, counts);
    if cost.counts && part.judges {
        fits = algorithm.charge_if_fits(&mut state, cost, at);
        counts = fits || !part.counts_what_fits;
        if counts && !fits {
            algorithm.charge(&mut state, cost, at);
        }
    } else {
        fits = algorithm.fits(&state, cost, at);
        counts = cost.counts;
        if counts {
            let left = if part.is_capped { algorithm.most_unasked(&state, at) } else { None };
            if left.is_some_and(|left| left < cost.units) {
                return None;
            }
            algorithm.charge(&mut state, cost, &at.for_judge(false));
        }
    }
    *reading = Reading::of::<A>(&state);
    let Some(Cell { offset, words, .. }) = cell else {
        return Some(Passed { fits, counts, is_known, cell: None });
    };
    if A::LAYOUT == Layout::Count && !A::pack(&state).fit(A::LAYOUT, words) {
        return None;
    }
    // A row's first cell lies behind its head.
    let cell = NonZeroU32::new(u32::try_from(offset).unwrap_or(0));
    Some(Passed { fits, counts, is_known, cell })
}

/// What is [passed](Policy::charge_narrow) in a cell of two words.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a call of its own is half as dear again, a rule")]
fn charge_narrow<A: Listed>(
    algorithm: &A,
    cell: &Cell<'_>,
    at: &At,
    cost: Cost,
    reading: &mut Reading,
) -> Option<bool> {
    if !matches!(A::LAYOUT, Layout::Pair | Layout::Count) || !algorithm.holds(*cell, at) {
        return None;
    }
    let mut state = algorithm.read(*cell, at);
    let fits = algorithm.charge_if_fits(&mut state, cost, at);
    *reading = Reading::of::<A>(&state);
    let has_room = A::LAYOUT == Layout::Pair || A::pack(&state).fit(A::LAYOUT, cell.words);
    has_room.then_some(fits)
}

/// The cell among a counter's that holds the event, first at the hint, or one that may be used for
/// it, and which of the two it is. `None` where the counter has open holds.
#[inline]
fn look_for<'r, A: Algorithm>(
    algorithm: &A,
    number: u32,
    key: &KeyRow<'r>,
    at: &At,
) -> Option<(Option<Cell<'r>>, bool)> {
    let Some(row) = key.row else { return Some((None, false)) };
    let hinted = row.cell_of(number, key.hint);
    if let Some(cell) = hinted.filter(|cell| algorithm.holds(*cell, at)) {
        return Some((Some(cell), true));
    }
    if row.is_held(number) {
        return None;
    }
    let (cell, spare) = find(algorithm, row.cells_of(number, 0), at);
    Some((cell.or(spare), cell.is_some()))
}

#[inline]
fn charge<A: Listed>(
    algorithm: &A,
    reading: &mut Reading,
    words: &mut [u64],
    at: &At,
    cost: Cost,
) -> Option<u32> {
    let mut state = reading.state::<A>();
    algorithm.charge(&mut state, cost, at);
    *reading = Reading::of::<A>(&state);
    algorithm.store(&state, words, cost, at)
}

/// The figures of a state that was read at `at`.
fn figures<A: Algorithm>(algorithm: &A, state: &A::State, at: &At, timeline: Timeline) -> Figures {
    Figures {
        used: algorithm.used(state, at),
        remaining: algorithm.remaining(state, at),
        reset: algorithm.reset(state, at, timeline),
    }
}

/// What is used at `at`, to carry it into a counter of another kind.
fn to_carry<'c, A: Algorithm>(
    algorithm: &A,
    cells: impl Iterator<Item = Cell<'c>>,
    at: &At,
) -> CarriedUse {
    let (cell, _) = find(algorithm, cells, at);
    cell.map_or(CarriedUse::of(0), |cell| algorithm.to_carry(&algorithm.read(cell, at), at))
}

/// The same cell of a quota's period with another use.
fn with_use<A: Algorithm>(algorithm: &A, cell: &CellState, used: Used, at: &At) -> CellState {
    A::cell_of(&A::with_use(algorithm.read(cell.as_cell(), at), used))
}

impl Policy {
    /// Finds the cell of the event among a counter's (one, none, or one a period), and judges a
    /// cost by it.
    #[inline]
    pub(in crate::counters) fn judge<'c>(
        &self,
        cells: impl Iterator<Item = Cell<'c>>,
        calendar: KeyCalendar<'_>,
        at: &At,
        cost: Cost,
    ) -> Judged {
        with_algorithm!(self, A(algorithm) => judge(algorithm, cells, calendar, at, cost))
    }

    /// Finds the cell of the event as [`judge`](Self::judge) does, first at a hint, judges a cost
    /// by it, and where the counter of this number counts the event moves the reading on. `None`
    /// where a reading does not say all that is to be written (of a list, and where the cell has
    /// no room), and where less is counted than the cost.
    pub(in crate::counters) fn pass(
        &self,
        number: u32,
        key: &KeyRow<'_>,
        at: &At,
        cost: Cost,
        part: Part,
        reading: &mut Reading,
    ) -> Option<Passed> {
        with_algorithm!(self, A(algorithm) => pass(algorithm, number, key, at, cost, part, reading))
    }

    /// The same of a cost that a rule judges, and of a cell of two words: moves the reading on
    /// where it fits, and returns whether it does. `None` where the cell is not one that holds the
    /// event, or not such a counter's, or has no room.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call of its own is half as dear again, a rule")]
    pub(in crate::counters) fn charge_narrow(
        &self,
        cell: &Cell<'_>,
        at: &At,
        cost: Cost,
        reading: &mut Reading,
    ) -> Option<bool> {
        with_algorithm!(self, A(algorithm) => charge_narrow(algorithm, cell, at, cost, reading))
    }

    /// What a cell says, or a counter that has none.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call of its own is a third as dear again, a rule")]
    pub(in crate::counters) fn read(
        &self,
        cell: Option<Cell<'_>>,
        calendar: KeyCalendar<'_>,
        at: &At,
    ) -> Reading {
        with_algorithm!(self, A(algorithm) => {
            let state = match cell.filter(|cell| algorithm.holds(*cell, at)) {
                Some(cell) => algorithm.read(cell, at),
                None => algorithm.fresh(calendar, at),
            };
            Reading::of::<A>(&state)
        })
    }

    /// Where the cell lies that holds the event, or one that may take it.
    pub(in crate::counters) fn find_cell<'c>(
        &self,
        cells: impl Iterator<Item = Cell<'c>>,
        at: &At,
    ) -> Option<usize> {
        let (cell, spare) = with_algorithm!(self, A(algorithm) => find(algorithm, cells, at));
        cell.or(spare).map(|cell| cell.offset)
    }

    /// Judges a cost by a reading.
    pub(in crate::counters) fn fits(&self, reading: &Reading, cost: Cost, at: &At) -> bool {
        with_algorithm!(self, A(algorithm) => algorithm.fits(&reading.state::<A>(), cost, at))
    }

    /// Moves a reading on by a cost, writes it into the words of a cell, and returns the 32 bits
    /// for the cell's tag. `None`, and nothing written, where the words have no room for it: see
    /// [`grown`](Self::grown). With no words only the reading moves.
    #[inline]
    pub(in crate::counters) fn charge(
        &self,
        reading: &mut Reading,
        words: &mut [u64],
        at: &At,
        cost: Cost,
    ) -> Option<u32> {
        with_algorithm!(self, A(algorithm) => charge(algorithm, reading, words, at, cost))
    }

    /// The cell after a cost for which these words had no room; the reading has moved on.
    pub(in crate::counters) fn grown(
        &self,
        reading: &Reading,
        words: &[u64],
        at: &At,
        cost: Cost,
    ) -> CellState {
        with_algorithm!(self, A(algorithm) => {
            algorithm.grown(&reading.state::<A>(), words, cost, at)
        })
    }

    /// Does a stored charge again on a cell that holds these words: returns what it holds then.
    pub(in crate::counters) fn redone(
        &self,
        held: &[u64],
        charge: &StoredCharge,
        now: Moment,
    ) -> CellState {
        with_algorithm!(self, A(algorithm) => {
            algorithm.redone(&charge.reading.state::<A>(), held, charge, now)
        })
    }

    /// Whether a reading is of this algorithm, or of no counter. One out of a file may be neither.
    pub(crate) fn may_have_said(&self, reading: &Reading) -> bool {
        reading.is_none() || with_algorithm!(self, A(_) => reading.is_of::<A>())
    }

    /// Whether cells keep a list of uses, to which a charge adds.
    pub(in crate::counters) fn keeps_list(&self) -> bool {
        with_algorithm!(self, A(_) => A::LAYOUT == Layout::List)
    }

    /// The cell of a counter that has counted nothing.
    pub(in crate::counters) fn empty_cell(&self) -> CellState {
        with_algorithm!(self, A(_) => CellState::empty(A::LAYOUT))
    }

    /// Whether a cell says no more than an empty one would.
    pub(in crate::counters) fn is_idle(&self, cell: Cell<'_>, at: &At) -> bool {
        with_algorithm!(self, A(algorithm) => algorithm.is_idle(cell, at))
    }

    /// Whether a cost can be too much. One that adds nothing cannot.
    #[inline]
    pub(crate) fn can_refuse(&self, cost: Cost) -> bool {
        with_algorithm!(self, A(algorithm) => algorithm.can_refuse(cost))
    }

    /// The figures of a reading that was taken at `at`.
    pub(crate) fn figures(&self, reading: &Reading, at: At, timeline: Timeline) -> Figures {
        if reading.is_none() {
            return Figures::NONE;
        }
        with_algorithm!(self, A(algorithm) => {
            figures(algorithm, &reading.state::<A>(), &at, timeline)
        })
    }

    /// Whether something is used.
    pub(in crate::counters) fn is_used(&self, reading: &Reading, at: &At) -> bool {
        with_algorithm!(self, A(algorithm) => algorithm.used(&reading.state::<A>(), at) != 0)
    }

    /// Whether four fifths of the limit, or more, are used.
    pub(crate) fn is_near_limit(&self, reading: &Reading, at: At) -> bool {
        !reading.is_none()
            && with_algorithm!(self, A(algorithm) => {
                algorithm.is_near_limit(&reading.state::<A>(), &at)
            })
    }

    /// What a rate limit that another rule decides for may count at the most.
    pub(in crate::counters) fn most_unasked(&self, reading: &Reading, at: &At) -> Option<Units> {
        with_algorithm!(self, A(algorithm) => {
            algorithm.most_unasked(&reading.state::<A>(), at)
        })
    }

    /// How the use of a counter goes on where its reading does not say it.
    pub(in crate::counters) fn ahead<'c>(
        &self,
        cells: impl Iterator<Item = Cell<'c>>,
        at: &At,
    ) -> UseAhead {
        with_algorithm!(self, A(algorithm) => algorithm.ahead(cells, at))
    }

    /// The periods of a quota by the calendar.
    #[inline]
    pub(crate) fn periods(&self) -> Option<&Periods> {
        with_algorithm!(self, A(algorithm) => algorithm.periods())
    }

    /// The window of a rolling quota.
    #[inline]
    pub(in crate::counters) fn rolling(&self) -> Option<&SlidingWindow> {
        with_algorithm!(self, A(algorithm) => algorithm.rolling())
    }

    /// Whether what is recorded tells what a counter would say.
    pub(crate) fn recounts(&self) -> bool {
        self.periods().is_some() || self.rolling().is_some()
    }

    /// Whether an event with a timestamp of its own falls in a period that takes no more.
    #[inline]
    pub(in crate::counters) fn is_too_late(&self, reading: &Reading, at: &At) -> bool {
        at.explicit
            && self.periods().is_some_and(|periods| {
                reading.bounds().is_some_and(|period| periods.is_closed(period, at))
            })
    }

    /// The same cell of a quota's period with another use.
    pub(in crate::counters) fn with_use(&self, cell: &CellState, used: Used, at: &At) -> CellState {
        with_algorithm!(self, A(algorithm) => with_use(algorithm, cell, used, at))
    }

    /// What is used at `at`, to carry it into a counter of another kind.
    pub(in crate::counters) fn to_carry<'c>(
        &self,
        cells: impl Iterator<Item = Cell<'c>>,
        at: &At,
    ) -> CarriedUse {
        with_algorithm!(self, A(algorithm) => to_carry(algorithm, cells, at))
    }

    /// The first cell of a counter that takes over so much use.
    pub(in crate::counters) fn adopt(
        &self,
        carried: CarriedUse,
        calendar: KeyCalendar<'_>,
        at: &At,
    ) -> CellState {
        with_algorithm!(self, A(algorithm) => algorithm.adopt(carried, calendar, at))
    }

    /// Whether what was so long ago makes no difference any more, whatever a cell says.
    pub(in crate::counters) fn forgets(&self, age: Duration) -> bool {
        with_algorithm!(self, A(algorithm) => algorithm.forgets(age))
    }
}
