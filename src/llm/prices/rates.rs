//! What a unit of each kind costs, and what many of them do.

use crate::Amount;

/// What has a price of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Input,
    CachedInput,
    CacheWrite,
    CacheWrite1h,
    AudioInput,
    ImageInput,
    Output,
    Reasoning,
    AudioOutput,
    ImageOutput,
    Image,
    Search,
    Request,
}

impl Kind {
    pub(super) const ALL: [Self; 13] = [
        Self::Input,
        Self::CachedInput,
        Self::CacheWrite,
        Self::CacheWrite1h,
        Self::AudioInput,
        Self::ImageInput,
        Self::Output,
        Self::Reasoning,
        Self::AudioOutput,
        Self::ImageOutput,
        Self::Image,
        Self::Search,
        Self::Request,
    ];

    const fn place(self) -> usize {
        self as usize
    }

    /// Its name in a book.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CachedInput => "cached_input",
            Self::CacheWrite => "cache_write",
            Self::CacheWrite1h => "cache_write_1h",
            Self::AudioInput => "audio_input",
            Self::ImageInput => "image_input",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::AudioOutput => "audio_output",
            Self::ImageOutput => "image_output",
            Self::Image => "image",
            Self::Search => "search",
            Self::Request => "request",
        }
    }

    /// Whose price it has where it has none; `None` of what is without one.
    const fn otherwise(self) -> Option<Self> {
        match self {
            Self::CachedInput | Self::CacheWrite | Self::AudioInput | Self::ImageInput => {
                Some(Self::Input)
            }
            Self::CacheWrite1h => Some(Self::CacheWrite),
            Self::Reasoning | Self::AudioOutput | Self::ImageOutput => Some(Self::Output),
            _ => None,
        }
    }

    /// Whether one that has no price costs nothing: it is paid for by its tokens.
    const fn may_be_free(self) -> bool {
        matches!(self, Self::Image | Self::Search | Self::Request)
    }

    /// Whether it is a number of tokens.
    pub(super) const fn is_tokens(self) -> bool {
        !self.may_be_free()
    }
}

/// How many there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts([u64; Kind::ALL.len()]);

impl Counts {
    pub(super) fn of(&self, kind: Kind) -> u64 {
        self.0.get(kind.place()).copied().unwrap_or(0)
    }

    pub(super) fn set(&mut self, kind: Kind, count: u64) {
        if let Some(own) = self.0.get_mut(kind.place()) {
            *own = count;
        }
    }
}

/// What one of each kind costs, in ten-trillionths (`10^-13`) of a cent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rates([Option<u64>; Kind::ALL.len()]);

/// A millionth of a cent is so many of them.
const MILLIONTH: u128 = 10_000_000;

impl Rates {
    pub(super) fn of(&self, kind: Kind) -> Option<u64> {
        self.0.get(kind.place()).copied().flatten()
    }

    pub(super) fn set(&mut self, kind: Kind, rate: u64) {
        if let Some(own) = self.0.get_mut(kind.place()) {
            *own = Some(rate);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

/// Rates for a whole request that is larger than a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// All tokens that go in.
    pub(super) input_tokens: u64,
    /// A request of exactly so many is above it.
    pub(super) inclusive: bool,
    pub(super) rates: Rates,
}

impl Step {
    fn holds(&self, input_tokens: u64) -> bool {
        if self.inclusive {
            input_tokens >= self.input_tokens
        } else {
            input_tokens > self.input_tokens
        }
    }
}

/// The rates of a service tier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tariff {
    pub(super) base: Rates,
    /// By their bounds, the lowest first.
    steps: Vec<Step>,
}

impl Tariff {
    pub(super) fn new(base: Rates, mut steps: Vec<Step>) -> Self {
        // Of two with the same bound the inclusive one begins first.
        steps.sort_by_key(|step| (step.input_tokens, !step.inclusive));
        Self { base, steps }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.base.is_empty() && self.steps.is_empty()
    }

    /// What a kind costs in a request of so many tokens: by the highest bound that it is above and
    /// that says so.
    fn own(&self, kind: Kind, input_tokens: u64) -> Option<u64> {
        let above = self.steps.iter().rev().filter(|step| step.holds(input_tokens));
        above.map(|step| &step.rates).find_map(|rates| rates.of(kind)).or(self.base.of(kind))
    }
}

/// Adds up what counts cost, by a tariff, and by the standard one where that says nothing.
///
/// # Errors
/// The kind that has no price, or whose cost is beyond any amount.
pub(super) fn cost(
    counts: &Counts,
    input_tokens: u64,
    tariff: &Tariff,
    standard: &Tariff,
) -> Result<Amount, Kind> {
    let rate =
        |kind: Kind| tariff.own(kind, input_tokens).or_else(|| standard.own(kind, input_tokens));
    let mut sum = 0_u128;
    for kind in Kind::ALL {
        let count = counts.of(kind);
        if count == 0 {
            continue;
        }
        let mut found = rate(kind);
        let mut next = kind.otherwise();
        while let (None, Some(other)) = (found, next) {
            (found, next) = (rate(other), other.otherwise());
        }
        let Some(found) = found.or(if kind.may_be_free() { Some(0) } else { None }) else {
            return Err(kind);
        };
        let own = u128::from(count).checked_mul(u128::from(found));
        sum = own.and_then(|own| sum.checked_add(own)).ok_or(kind)?;
    }
    let millionths = i128::try_from(sum.div_ceil(MILLIONTH)).map_err(|_| Kind::Input)?;
    Ok(Amount::from_millionths(millionths))
}
