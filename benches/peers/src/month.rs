//! A month of made-up events, the same for every side.

use limitry::Event;

use crate::traffic::Random;

/// 2024-01-01T00:00:00Z; the month has 31 days.
pub const START: i64 = 1_704_067_200;
pub const DAYS: i64 = 31;
pub const DAY_SECONDS: i64 = 86_400;
const MODELS: [&str; 8] =
    ["gpt-4", "gpt-4o", "gpt-4o-mini", "opus", "sonnet", "haiku", "gemini", "embed"];
const TYPES: [&str; 3] = ["model_call", "embedding", "tool_call"];
const PROVIDERS: [&str; 3] = ["openai", "anthropic", "google"];

/// One event, as numbers.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub second: i64,
    pub customer: usize,
    pub model: usize,
    pub kind: usize,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cents: u64,
}

impl Call {
    pub fn model(&self) -> &'static str {
        MODELS[self.model]
    }

    pub fn kind(&self) -> &'static str {
        TYPES[self.kind]
    }

    pub fn provider(&self) -> &'static str {
        PROVIDERS[self.model / 3]
    }

    /// The event; the customers' names are made beforehand.
    pub fn event<'c>(&self, customers: &'c [String]) -> Event<'c> {
        Event::new(customers[self.customer].as_str(), self.kind())
            .model(self.model())
            .provider(self.provider())
            .input_tokens(self.input_tokens)
            .output_tokens(self.output_tokens)
            .cost_cents(self.cents)
    }
}

/// `count` calls, evenly over the month; most customers use a model or two.
pub fn calls(count: usize, customers: usize) -> impl Iterator<Item = Call> {
    let mut random = Random::new(0x0A70);
    let seconds = u128::from((DAYS * DAY_SECONDS).unsigned_abs());
    (0..count).map(move |number| {
        let customer = random.below(customers);
        let usual = customer % MODELS.len();
        let model = if random.below(4) == 0 { random.below(MODELS.len()) } else { usual };
        let kind = if random.below(5) == 0 { random.below(TYPES.len()) } else { 0 };
        let at = seconds * number as u128 / count as u128;
        Call {
            second: START + i64::try_from(at).expect("within the month"),
            customer,
            model,
            kind,
            input_tokens: random.below(4_000) as u64,
            output_tokens: random.below(800) as u64,
            cents: random.below(20) as u64,
        }
    })
}
