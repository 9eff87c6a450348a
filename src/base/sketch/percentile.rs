//! Which share of amounts is asked for.

use std::fmt;
use std::str::FromStr;

use crate::base::text::as_text;

/// A whole, in which percentiles are kept.
const WHOLE: u32 = 1_000_000;
/// Behind the point of a percentage.
const MOST_DECIMALS: usize = 4;

/// A share of amounts in percent, from 0 to 100 with at most four decimals: the amount that so many
/// of all are not above is asked for. Its text is `p95` or `p99.9`.
///
/// ```
/// use limitry::rules::Percentile;
///
/// let three_nines: Percentile = "p99.9".parse()?;
/// assert!(three_nines > Percentile::P99);
/// assert_eq!(Percentile::P95, "95".parse()?);
/// # Ok::<(), limitry::rules::PercentileError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percentile(pub(super) u32);

/// A text that is no [`Percentile`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "percentile {text:?} must be `p` and a number from 0 to 100 with at most four decimals, such \
     as `p95` or `p99.9`"
)]
pub struct PercentileError {
    text: Box<str>,
}

impl Percentile {
    /// The median.
    pub const P50: Self = Self(500_000);
    /// What nine of ten are not above.
    pub const P90: Self = Self(900_000);
    /// What 19 of 20 are not above.
    pub const P95: Self = Self(950_000);
    /// What 99 of 100 are not above.
    pub const P99: Self = Self(990_000);

    /// The rank, from 1 on, of the amount that is asked for among so many in ascending order.
    pub(super) fn rank(self, count: u64) -> u64 {
        let share = u128::from(count).saturating_mul(self.0.into());
        u64::try_from(share.div_ceil(WHOLE.into())).unwrap_or(u64::MAX).max(1)
    }
}

impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        write!(f, "p{whole}")?;
        if rest > 0 {
            let decimals = format!("{rest:04}");
            write!(f, ".{}", decimals.trim_end_matches('0'))?;
        }
        Ok(())
    }
}

impl FromStr for Percentile {
    type Err = PercentileError;

    fn from_str(text: &str) -> Result<Self, PercentileError> {
        read(text.strip_prefix('p').unwrap_or(text))
            .ok_or_else(|| PercentileError { text: crate::base::text::excerpt(text) })
    }
}

fn read(text: &str) -> Option<Percentile> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit())
    };
    if !is_number(whole, 3) || !is_number(decimals, MOST_DECIMALS) {
        return None;
    }
    let parts: u32 = format!("{whole}{decimals:0<MOST_DECIMALS$}").parse().ok()?;
    (parts <= WHOLE).then_some(Percentile(parts))
}

as_text!(Percentile);
