//! The calls that every side answers: customers in one random order that is made beforehand.

use limitry::Event;

/// Tokens and cents of each call; the same on every side.
pub const INPUT_TOKENS: u64 = 150;
pub const OUTPUT_TOKENS: u64 = 50;
pub const TOKENS: u64 = INPUT_TOKENS + OUTPUT_TOKENS;
pub const CENTS: u64 = 25;

/// Every customer once, in random order. A name's text lies where the walk comes by next, as it
/// would in a request that was just parsed, so that a side pays for its own memory alone.
pub fn shuffled_customers(count: usize) -> Vec<String> {
    let mut numbers: Vec<usize> = (0..count).collect();
    let mut random = Random::new(0x5EED);
    for last in (1..numbers.len()).rev() {
        numbers.swap(last, random.below(last + 1));
    }
    numbers.into_iter().map(name).collect()
}

/// `count` calls by customers drawn with replacement: some call often, some once.
pub fn drawn_customers(customers: usize, count: usize) -> Vec<String> {
    let mut random = Random::new(0xD4A3);
    (0..count).map(|_| name(random.below(customers))).collect()
}

fn name(number: usize) -> String {
    format!("cust_{number:07}")
}

/// The event of a call that only counts.
#[inline]
pub fn plain(customer: &str) -> Event<'_> {
    Event::new(customer, "model_call")
}

/// The event of a model call with all that the four rules count.
#[inline]
pub fn model_call(customer: &str) -> Event<'_> {
    Event::new(customer, "model_call")
        .model("gpt-4")
        .provider("openai")
        .input_tokens(INPUT_TOKENS)
        .output_tokens(OUTPUT_TOKENS)
        .cost_cents(CENTS)
}

/// `SplitMix64`: small, seeded, and the same on every machine.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^= word >> 31;
        let scaled = (u128::from(word) * bound as u128) >> 64;
        usize::try_from(scaled).expect("below a usize")
    }
}
