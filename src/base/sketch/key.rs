//! Which bucket an amount is in.

/// How many binary digits behind the first one a bucket tells apart: there are 64 buckets for the
/// numbers from a power of two up to the next one.
const DIGITS: u32 = 6;

/// The bucket of a number: 0 for 0, and else by its first seven binary digits and how many there
/// are, with its sign. In the order of the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(i16);

impl Key {
    /// The one of the largest number, at the finest.
    pub(super) const HIGHEST: i16 = (1 << (DIGITS + 7)) - 1;

    #[inline]
    pub(crate) fn of(number: i128) -> Self {
        let magnitude = number.unsigned_abs();
        let place = if let Ok(magnitude) = u64::try_from(magnitude) {
            place_of(magnitude, 0)
        } else {
            // What is below the upper 64 digits is below those that count.
            let shift = u64::BITS.saturating_sub(magnitude.leading_zeros());
            let upper = u64::try_from(magnitude.unbounded_shr(shift)).unwrap_or(u64::MAX);
            place_of(upper, shift)
        };
        Self(if number < 0 { place.saturating_neg() } else { place })
    }

    /// The key as a number, as cells of the roll-ups have it.
    #[inline]
    pub(crate) fn number(self) -> i128 {
        self.0.into()
    }

    #[inline]
    pub(crate) fn of_number(number: i128) -> Self {
        Self(i16::try_from(number).unwrap_or(0))
    }

    /// The key that buckets joined in pairs so often have in its place.
    #[inline]
    pub(super) fn coarser(self, levels: u8) -> Self {
        if levels == 0 || self.0 == 0 {
            return self;
        }
        let place = self.0.unsigned_abs().saturating_sub(1).unbounded_shr(levels.into());
        let place = i16::try_from(place).unwrap_or(i16::MAX).saturating_add(1);
        Self(if self.0 < 0 { place.saturating_neg() } else { place })
    }

    /// Whether buckets have it that were joined in pairs so often.
    pub(super) fn is_at(self, level: u8) -> bool {
        let highest = Self(Self::HIGHEST).coarser(level);
        self.0.unsigned_abs() <= highest.0.unsigned_abs()
    }

    /// A number in the same order.
    #[inline]
    pub(super) fn ordered(self) -> u16 {
        self.0.cast_unsigned() ^ (1 << 15)
    }

    #[inline]
    pub(super) fn of_ordered(ordered: u16) -> Self {
        Self((ordered ^ (1 << 15)).cast_signed())
    }

    /// What stands for all numbers of its bucket, joined in pairs so often: within 1 % of each at
    /// the finest, and within twice as much for each level. Of such numbers one with as few digits
    /// as any, and of those the one nearest to the middle. In the order of the keys.
    pub(super) fn figure(self, level: u8) -> i128 {
        let Some(place) = self.0.unsigned_abs().checked_sub(1) else { return 0 };
        let first = u32::from(place).unbounded_shl(level.into());
        let last = u32::from(place).saturating_add(1).unbounded_shl(level.into()).saturating_sub(1);
        let (low, high) = (lowest_of(first), lowest_of(last.saturating_add(1)).saturating_sub(1));
        let figure = i128::try_from(roundest(low, high.max(low), level)).unwrap_or(i128::MAX);
        if self.0 < 0 { figure.saturating_neg() } else { figure }
    }
}

/// The place of the bucket of a number with so many binary digits behind it; 0 for nothing.
#[inline]
fn place_of(number: u64, shift: u32) -> i16 {
    let Some(power) = number.checked_ilog2() else { return 0 };
    // The digits behind the first one, from the top of the word on.
    let digits = number.unbounded_shl(u64::BITS.saturating_sub(power)) >> (u64::BITS - DIGITS);
    let place = (u64::from(power.saturating_add(shift)) << DIGITS) | digits;
    i16::try_from(place).unwrap_or(Key::HIGHEST).saturating_add(1)
}

/// The lowest number of the bucket of this place, at the finest: of places that no number is in,
/// because it has fewer digits, the next one.
fn lowest_of(place: u32) -> u128 {
    let power = place >> DIGITS;
    let digits = u128::from(place & ((1 << DIGITS) - 1));
    let bits = (1_u128 << DIGITS) | digits;
    if let Some(shift) = power.checked_sub(DIGITS) {
        let unit = 1_u128.checked_shl(shift);
        return unit.and_then(|unit| bits.checked_mul(unit)).unwrap_or(u128::MAX);
    }
    // Rounded up.
    let shift = DIGITS.saturating_sub(power);
    let below = 1_u128.unbounded_shl(shift).saturating_sub(1);
    bits.saturating_add(below).unbounded_shr(shift)
}

/// The number with the fewest digits that is within so many percent of both.
fn roundest(low: u128, high: u128, level: u8) -> u128 {
    let percent = 1_u128.unbounded_shl(level.into());
    let share = |number: u128| {
        let (hundreds, rest) = (number / 100, number % 100);
        hundreds.saturating_mul(percent).saturating_add(rest.saturating_mul(percent) / 100)
    };
    let (floor, top) = (high.saturating_sub(share(high)), low.saturating_add(share(low)));
    let middle = low.saturating_add(high.saturating_sub(low) / 2);
    let multiple = |step: u128| {
        let first = floor.checked_next_multiple_of(step)?;
        let last = top.saturating_sub(top.checked_rem(step)?);
        let nearest = middle.saturating_add(step / 2);
        let nearest = nearest.saturating_sub(nearest.checked_rem(step)?);
        (first <= last).then(|| nearest.clamp(first, last))
    };
    let steps = std::iter::successors(Some(1_u128), |step| step.checked_mul(10));
    steps.map_while(multiple).last().unwrap_or(middle)
}
