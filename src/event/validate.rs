//! What makes an event a good one. On the path of every decision: one pass over its texts, and no
//! allocation.

use super::bounds::{
    self, MAX_AMOUNT, MAX_KEY_BYTES, MAX_TEXT_BYTES, MAX_UNITS, MAX_VALUES, check_attached,
    check_properties,
};
use super::{Event, EventError, Rare, ValueName};
use crate::base::amount::Amount;

impl Event<'_> {
    /// Checks everything that can be checked without an engine.
    ///
    /// # Errors
    /// The first field that breaks its rule, with its value and the rule. O(length of the
    /// event's strings), no allocation when all is well.
    pub fn validate(&self) -> Result<(), EventError> {
        if let Some(rare) = &self.rare {
            self.check_rare(rare)?;
        }
        check_text("customer_id", &self.customer_id)?;
        check_text("event_type", &self.event_type)?;
        if let Some(model) = &self.model {
            check_text("model", model)?;
        }
        if let Some(provider) = &self.provider {
            check_text("provider", provider)?;
        }
        if !(self.properties.is_empty() && self.values.is_empty()) {
            self.check_lists()?;
        }
        if let Some(key) = &self.idempotency_key {
            check_text("idempotency_key", key)?;
        }
        if let Some(at) = self.timestamp.filter(|at| !at.is_a_date()) {
            return Err(EventError::invalid("timestamp", &at.to_string(), bounds::DATE_RULE));
        }
        if let Some(cents) = self.cost_cents {
            check_amount("cost_cents", cents)?;
        }
        let numbers = [self.input_tokens, self.output_tokens, self.total_tokens, self.latency_ms];
        let sum = numbers.iter().fold(0, |sum: u64, of| sum.saturating_add(of.unwrap_or(0)));
        if sum <= MAX_UNITS { Ok(()) } else { self.check_large_numbers() }
    }

    /// Checks that attributes of the customer have found room beside what was given.
    pub(crate) fn check_room(&self) -> Result<(), EventError> {
        check_properties(&self.properties)?;
        self.rare.as_ref().map_or(Ok(()), |rare| self.check_rare(rare))
    }

    /// Checks what few events have.
    #[cold]
    fn check_rare(&self, rare: &Rare) -> Result<(), EventError> {
        match &rare.problem {
            Some(problem) => Err(problem.clone()),
            None => check_attached(&rare.attached, &self.properties),
        }
    }

    /// Checks the properties and the named values.
    fn check_lists(&self) -> Result<(), EventError> {
        for (key, value) in &self.properties {
            check_key("properties", key)?;
            if let Some(text) = value.text() {
                check_text(key, text)?;
            }
        }
        check_properties(&self.properties)?;
        for (name, amount) in &self.values {
            check_key("values", name)?;
            check_amount(name, *amount)?;
        }
        match self.values.get(MAX_VALUES) {
            Some((name, _)) => Err(EventError::invalid("values", name, bounds::VALUES_RULE)),
            None => Ok(()),
        }
    }

    /// Checks the built-in whole numbers, where not all of them together are small.
    #[cold]
    fn check_large_numbers(&self) -> Result<(), EventError> {
        for name in ValueName::BUILT_IN {
            let number = match name {
                ValueName::TotalTokens => self.total_tokens,
                _ => name.whole(self),
            };
            if let Some(number) = number.filter(|number| *number > MAX_UNITS) {
                return Err(EventError::invalid(
                    name.as_str(),
                    &number.to_string(),
                    bounds::WHOLE_RULE,
                ));
            }
        }
        match self.tokens() {
            Some(total) if total.unwrap_or(0) <= MAX_UNITS => Ok(()),
            _ => {
                let (input, output) = (self.input_tokens, self.output_tokens);
                let sum = format!("{} + {}", input.unwrap_or(0), output.unwrap_or(0));
                Err(EventError::invalid("total_tokens", &sum, bounds::TOTAL_RULE))
            }
        }
    }
}

#[inline]
pub(crate) fn check_amount(name: &str, amount: Amount) -> Result<(), EventError> {
    let most = MAX_AMOUNT.millionths().unsigned_abs();
    if amount.millionths().unsigned_abs() <= most {
        return Ok(());
    }
    Err(EventError::invalid(name, &amount.to_string(), bounds::SIGNED_RULE))
}

/// Checks an id or a dimension value.
#[inline]
fn check_text(field: &str, text: &str) -> Result<(), EventError> {
    if is_plain(text) { Ok(()) } else { check_odd_text(field, text) }
}

#[inline(never)]
fn check_odd_text(field: &str, text: &str) -> Result<(), EventError> {
    text_rule(text).map_or(Ok(()), |rule| Err(EventError::invalid(field, text, rule)))
}

/// Checks the key of a property or the name of a value.
fn check_key(field: &str, key: &str) -> Result<(), EventError> {
    key_rule(key).map_or(Ok(()), |rule| Err(EventError::invalid(field, key, rule)))
}

/// The rule that an id or a dimension value breaks, if any.
pub(crate) fn text_rule(text: &str) -> Option<&'static str> {
    if text.is_empty() || text.len() > MAX_TEXT_BYTES {
        return Some("must be 1 to 256 bytes long");
    }
    // Not plain ASCII is decoded, for C1 controls.
    let clean = is_plain(text) || !text.chars().any(char::is_control);
    (!clean).then_some("must not hold control characters")
}

/// Whether it is 1 to 256 bytes of printable ASCII, a space to `~`: what nearly every text is. One
/// pass over its words. May say no of some that are.
#[inline]
fn is_plain(text: &str) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // The top bit of a byte is set where it is not ASCII, is 0x7f, or is below a space. A carry
    // or borrow between bytes comes only from one that is marked itself.
    let odd = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        word | word.wrapping_add(ONES) | word.wrapping_sub(ONES << 5)
    };
    let bytes = text.as_bytes();
    if bytes.len() > MAX_TEXT_BYTES {
        return false;
    }
    // The last eight overlap the words before them: no byte is left over.
    let (Some((first, rest)), Some(last)) = (bytes.split_first_chunk(), bytes.last_chunk()) else {
        return !bytes.is_empty() && bytes.iter().all(|byte| (b' '..0x7f).contains(byte));
    };
    let mut any = odd(first) | odd(last);
    if rest.len() > 8 {
        any = rest.as_chunks().0.iter().fold(any, |any, word| any | odd(word));
    }
    any & (ONES << 7) == 0
}

/// The rule that a key breaks, if any.
pub(crate) fn key_rule(key: &str) -> Option<&'static str> {
    let letters = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let fits = letters && !key.is_empty() && key.len() <= MAX_KEY_BYTES;
    (!fits).then_some("must be 1 to 64 ASCII letters, digits or `_`")
}
