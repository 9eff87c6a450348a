//! How long a reservation holds, and what becomes of it where nobody says.

use std::time::Duration;

/// The longest that a hold may last without being extended.
pub(crate) const MAX_HOLD: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a reservation holds what it was made for, and what becomes of it where its guard is
/// dropped. By default five minutes, and given back.
///
/// ```
/// use limitry::Hold;
/// use std::time::Duration;
///
/// let hold = Hold::lasting(Duration::from_secs(60)).charge_on_drop();
/// assert_eq!((hold.length(), hold.charges_on_drop()), (Duration::from_secs(60), true));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hold {
    lasting: Duration,
    charge_on_drop: bool,
}

impl Hold {
    /// Holds for so long: 1 nanosecond to 24 hours, which a call that is made with it checks. An
    /// expired hold is given back by itself; [`extend`](crate::Reservation::extend) puts it off.
    #[must_use]
    pub const fn lasting(length: Duration) -> Self {
        Self { lasting: length, charge_on_drop: false }
    }

    /// Where the guard is dropped, charges what was reserved as if it had happened, instead of
    /// giving it back: for calls that cost something once they have begun.
    #[must_use]
    pub const fn charge_on_drop(mut self) -> Self {
        self.charge_on_drop = true;
        self
    }

    /// Returns how long it holds.
    #[must_use]
    pub const fn length(self) -> Duration {
        self.lasting
    }

    /// Returns whether what was reserved is charged where the guard is dropped.
    #[must_use]
    pub const fn charges_on_drop(self) -> bool {
        self.charge_on_drop
    }
}

impl Default for Hold {
    fn default() -> Self {
        Self::lasting(Duration::from_secs(300))
    }
}
