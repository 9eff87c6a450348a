//! What is reserved where less was granted than was asked for.

use crate::base::amount::Amount;
use crate::event::Event;

/// How much was granted of a value by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant<'n> {
    pub(crate) name: &'n str,
    pub(crate) amount: Amount,
}

impl Grant<'_> {
    /// The event with as much of the value: of `total_tokens` the output is lowered, and with the
    /// output a total that is given.
    pub(crate) fn lowered<'a>(self, event: &Event<'a>) -> Event<'a> {
        let mut lowered = event.clone();
        if self.name != "total_tokens" {
            let output = event.output_tokens.filter(|_| self.name == "output_tokens");
            let less = output.map(|output| output.saturating_sub(self.amount.to_u64_ceil()));
            let less = less.unwrap_or(0);
            lowered.total_tokens = event.total_tokens.map(|total| total.saturating_sub(less));
            lowered.set_value(self.name.to_owned().into(), self.amount);
            return lowered;
        }
        let total = self.amount.to_u64_floor();
        let input = event.input_tokens.unwrap_or(0);
        lowered.output_tokens = event.output_tokens.map(|it| it.min(total.saturating_sub(input)));
        // The sum says it, unless the total was given or the input alone is more.
        if event.total_tokens.is_some() || event.output_tokens.is_none() || input > total {
            lowered.total_tokens = Some(total);
        }
        lowered
    }
}
