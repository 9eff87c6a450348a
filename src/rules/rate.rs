//! The rate of a token bucket.

use super::Units;

/// A rate as the fraction that a bucket counts by: so many units in so many nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) units: u64,
    pub(crate) nanos: u64,
    /// The capacity in parts of a unit, of which a unit has as many as the rate has nanoseconds.
    pub(crate) depth: u128,
}

impl Rate {
    /// The rate of a limit each window of so many nanoseconds, for a bucket of some capacity.
    /// `None` where exact arithmetic on it (an instant below 2^64 times the units, and a capacity
    /// times the nanoseconds) could leave 128 bits.
    pub(crate) fn new(limit: Units, window: u64, capacity: Units) -> Option<Self> {
        let limit = u128::try_from(limit).ok()?;
        let capacity = u128::try_from(capacity).ok()?;
        // As they were given where that will do: a part of a unit then means the same before and
        // after a change of the limit.
        Self::exact(limit, window.into(), capacity).or_else(|| {
            let shared = greatest_shared(limit, window.into());
            let per = |number: u128| number.checked_div(shared).unwrap_or(0);
            Self::exact(per(limit), per(window.into()), capacity)
        })
    }

    fn exact(units: u128, nanos: u128, capacity: u128) -> Option<Self> {
        const MOST_UNITS: u64 = 1 << 62;
        const MOST_DEPTH: u128 = 1 << 126;
        let units = u64::try_from(units).ok().filter(|units| *units <= MOST_UNITS)?;
        let depth = capacity.checked_mul(nanos).filter(|depth| *depth <= MOST_DEPTH)?;
        Some(Self { units, nanos: u64::try_from(nanos).ok()?, depth })
    }
}

/// The greatest number that divides both.
fn greatest_shared(a: u128, b: u128) -> u128 {
    let (mut a, mut b) = (a, b);
    while let Some(rest) = a.checked_rem(b) {
        (a, b) = (b, rest);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000_000;
    const QUADRILLION: Units = 1_000_000_000_000_000;
    const MILLION: Units = 1_000_000;

    #[test]
    fn a_rate_is_reduced_only_where_it_must_be() {
        let rate = |limit, window, capacity| Rate::new(limit, window, capacity);
        let plain = Rate { units: 10, nanos: HOUR, depth: 10 * u128::from(HOUR) };
        assert_eq!(rate(10, HOUR, 10), Some(plain));
        let most = QUADRILLION * MILLION;
        let reduced = Rate { units: 2_500_000_000, nanos: 9, depth: 9 * most.cast_unsigned() };
        assert_eq!(rate(most, HOUR, most), Some(reduced));
        assert_eq!(rate(0, HOUR, 0), Some(Rate { units: 0, nanos: HOUR, depth: 0 }));
    }

    #[test]
    fn whole_limits_up_to_a_quadrillion_are_exact_over_whole_milliseconds() {
        for limit in [QUADRILLION, QUADRILLION - 1, QUADRILLION - 7, 1] {
            for window in [1_000_000, 7_000_000, 1_000_000_000, HOUR, 31 * 24 * HOUR] {
                for scale in [1, MILLION] {
                    assert!(Rate::new(limit * scale, window, limit * scale).is_some());
                }
            }
        }
        let odd = QUADRILLION * MILLION - 1;
        assert_eq!(Rate::new(odd, HOUR, odd), None);
        assert_eq!(Rate::new(1, u64::MAX, odd), None);
        assert_eq!(Rate::new(-1, HOUR, 1), None);
    }
}
