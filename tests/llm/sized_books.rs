//! Goal: whatever sizes and service tiers a book has, a call costs what fractions say, by the
//! highest size that all of its input is above: exactly so many are above it where the book says
//! so.
//!
//! Method: random books of up to three sizes and a tier with sizes of its own, and calls with as
//! many input tokens as a size, one less, one more, or any number; against a list of prices that is
//! gone through from the start.

use limitry::llm::{PriceBook, Usage};
use limitry::{Amount, Timestamp};
use proptest::prelude::*;

/// Billionths of a dollar a million tokens: input, cached input, output; and a request's.
type Rates = [Option<u64>; 4];

const NAMES: [&str; 4] = ["input", "cached_input", "output", "request"];

#[derive(Clone, Debug)]
struct Size {
    tokens: u64,
    inclusive: bool,
    rates: Rates,
}

#[derive(Clone, Debug)]
struct Tariff {
    base: Rates,
    sizes: Vec<Size>,
}

fn rates() -> impl Strategy<Value = Rates> {
    prop::array::uniform4(prop::option::weighted(0.7, 0_u64..200_000_000_000))
}

fn tariff() -> impl Strategy<Value = Tariff> {
    let size = (0_u64..6, any::<bool>(), rates());
    let size =
        size.prop_map(|(at, inclusive, rates)| Size { tokens: at * 1_000, inclusive, rates });
    (rates(), prop::collection::vec(size, 0..4)).prop_map(|(base, sizes)| Tariff { base, sizes })
}

fn text_of(rates: &Rates) -> String {
    let named = NAMES.iter().zip(rates).filter_map(|(name, rate)| Some((name, (*rate)?)));
    let fields = named.map(|(name, rate)| {
        format!("{name} = \"{}.{:09}\"\n", rate / 1_000_000_000, rate % 1_000_000_000)
    });
    fields.collect()
}

/// The table of a tariff, whose sizes are named so.
fn table(tariff: &Tariff, sizes: &str) -> String {
    let mut text = text_of(&tariff.base);
    for Size { tokens, inclusive, rates } in &tariff.sizes {
        text += &format!("[[{sizes}]]\ninput_tokens = {tokens}\ninclusive = {inclusive}\n");
        text += &text_of(rates);
    }
    text
}

/// What a kind costs by a tariff: what the largest of the sizes says that the call is above.
fn rate(tariff: &Tariff, kind: usize, input: u64) -> Option<u64> {
    let mut found = (None, tariff.base[kind]);
    for Size { tokens, inclusive, rates } in &tariff.sizes {
        let is_above = input > *tokens || (*inclusive && input == *tokens);
        // Of two with the same bound the one that begins behind it is the larger.
        let size = Some((*tokens, !inclusive));
        if is_above && rates[kind].is_some() && size >= found.0 {
            found = (size, rates[kind]);
        }
    }
    found.1
}

proptest! {
    #[test]
    fn a_call_costs_what_its_size_and_tier_say(
        standard in tariff(),
        tier in prop::option::of(tariff()),
        asks_for_tier in any::<bool>(),
        near in (0_u64..6, prop_oneof![Just(-1_i64), Just(0), Just(1), -999_i64..999]),
        cached_share in 0_u64..=100,
        output in 0_u64..2_000,
        requests in 0_u64..3,
    ) {
        let mut book = format!("[[price]]\nmodel = \"m\"\n{}", table(&standard, "price.above"));
        if let Some(tier) = &tier {
            book += &format!("[price.tiers.batch]\n{}", table(tier, "price.tiers.batch.above"));
        }
        let book = PriceBook::from_toml(&book).map_err(|why| TestCaseError::fail(why.to_string()))?;
        let all = (near.0 * 1_000).saturating_add_signed(near.1);
        let cached = all * cached_share / 100;
        let mut usage = Usage::default();
        (usage.input, usage.cached_input) = (Some(all - cached), Some(cached));
        (usage.output, usage.requests) = (Some(output), Some(requests));
        usage.service_tier = asks_for_tier.then(|| "batch".to_owned());
        let found = book.cost(None, "m", &usage, Timestamp::new(1_800_000_000, 0));

        // A price of the tier before one of the standard, the own one before that of all input.
        let of = |kind: usize| {
            let tier = tier.as_ref().filter(|_| asks_for_tier);
            tier.and_then(|tier| rate(tier, kind, all)).or(rate(&standard, kind, all))
        };
        let priced = [
            (all - cached, of(0)),
            (cached, of(1).or(of(0))),
            (output, of(2)),
        ];
        let is_missing = priced.iter().any(|(count, rate)| *count > 0 && rate.is_none());
        let has_tier = tier.as_ref().is_some_and(|it| {
            it.base.iter().any(Option::is_some) || !it.sizes.is_empty()
        });
        if is_missing || (asks_for_tier && !has_tier) {
            prop_assert!(found.is_err(), "{found:?}");
            return Ok(());
        }
        // In 10^-15 of a dollar a token; of a request in 10^-9 of a dollar.
        let tokens = priced.iter().map(|(count, rate)| {
            u128::from(*count) * u128::from(rate.unwrap_or(0))
        });
        let of_requests = u128::from(requests) * u128::from(of(3).unwrap_or(0)) * 1_000_000;
        let due = (tokens.sum::<u128>() + of_requests).div_ceil(10_000_000);
        let due = Amount::from_millionths(i128::try_from(due).expect("it is small"));
        prop_assert_eq!(found, Ok(due));
    }
}
