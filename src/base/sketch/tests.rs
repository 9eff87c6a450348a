//! Goal: an answer is within the stated error of the exact one over any amounts; what a sketch is
//! follows from the amounts and not from their order; it stays as small as it says; what is stored
//! comes back, and what is no sketch is an error.
//!
//! Method: a sorted list beside the sketch, over streams that are hard on buckets (powers and their
//! neighbours, both signs, all sizes at once, all the same); every bucket by its ends.

use proptest::prelude::*;

use super::key::Key;
use super::{COARSEST, MOST_BUCKETS, Percentile, Sketch};
use crate::base::amount::Amount;
use crate::base::codec::{Codec, Reader};
use crate::base::format::Version;

/// The highest amount that an event may have.
const HIGHEST: i128 = 1_000_000_000_000_000_000_000;

fn sketch_of(numbers: &[i128]) -> Sketch {
    let mut sketch = Sketch::new();
    numbers.iter().for_each(|number| sketch.add(Amount::from_millionths(*number)));
    sketch
}

/// The percentile of numbers in order, by what it means.
fn exact(sorted: &[i128], parts: u32) -> i128 {
    let count = sorted.len() as u128;
    let rank = (count * u128::from(parts)).div_ceil(1_000_000).max(1);
    sorted[usize::try_from(rank).unwrap() - 1]
}

fn assert_within(figure: i128, exact: i128, percent: u32) {
    let (exact_size, percent) = (exact.unsigned_abs(), u128::from(percent));
    let most = exact_size / 100 * percent + exact_size % 100 * percent / 100;
    assert!(figure.abs_diff(exact) <= most, "{figure} is not within {percent} % of {exact}");
}

fn assert_tells(numbers: &[i128], most_percent: u32) {
    let sketch = sketch_of(numbers);
    assert_eq!(sketch.count(), numbers.len() as u64);
    assert!(sketch.buckets() <= MOST_BUCKETS);
    assert!(sketch.error_percent() <= most_percent, "{} %", sketch.error_percent());
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let mut before = i128::MIN;
    for parts in (0..=1_000_000).step_by(12_500) {
        let figure = sketch.percentile(Percentile(parts)).expect("there are amounts").millionths();
        assert_within(figure, exact(&sorted, parts), sketch.error_percent());
        assert!(before <= figure, "figures are in the order of the percentiles");
        before = figure;
    }
}

#[test]
fn the_figure_of_every_bucket_is_near_to_both_of_its_ends() {
    for level in 0..=COARSEST {
        let mut before = i128::MIN;
        for power in 0..127_u32 {
            for digits in 0..128_u128 {
                // Both sides of every bound between buckets.
                let bound = (1_u128 << power) + (digits << power.saturating_sub(7));
                for number in [bound - 1, bound] {
                    let Ok(number) = i128::try_from(number) else { continue };
                    let figure = Key::of(number).coarser(level).figure(level);
                    assert_within(figure, number, 1 << level);
                    assert_eq!(Key::of(-number).coarser(level).figure(level), -figure);
                    if power >= 7 {
                        assert!(before <= figure, "{number} at {level}");
                        before = figure;
                    }
                }
            }
        }
    }
}

#[test]
fn ends_of_the_line_are_told() {
    for number in [0, 1, -1, 127, 128, -129, i128::MAX, i128::MIN, HIGHEST, -HIGHEST] {
        let sketch = sketch_of(&[number]);
        let figure = sketch.percentile(Percentile::P50).expect("one amount").millionths();
        assert_within(figure, number, 1);
    }
    assert_eq!(Sketch::new().percentile(Percentile::P99), None);
    assert_eq!(sketch_of(&[0, 0]).percentile(Percentile::P99), Some(Amount::ZERO));
}

#[test]
fn figures_have_few_digits() {
    let figure = |text: &str| {
        let mut sketch = Sketch::new();
        sketch.add(text.parse::<Amount>().expect("an amount"));
        sketch.percentile(Percentile::P50).expect("one amount").to_string()
    };
    for (amount, shown) in [("1", "1"), ("7", "7"), ("250", "250"), ("1250.3", "1250")] {
        assert_eq!(figure(amount), shown);
    }
    assert_eq!(figure("0.000003"), "0.000003");
    assert_eq!(figure("-40"), "-40");
}

#[test]
fn ranks_are_those_of_a_sorted_list() {
    let numbers: Vec<i128> = (1..=7).map(|number| number * 1_000_000).collect();
    assert_eq!(exact(&numbers, 500_000), 4_000_000);
    assert_eq!(Percentile(0).rank(7), 1);
    assert_eq!(Percentile(142_857).rank(7), 1);
    assert_eq!(Percentile(142_858).rank(7), 2);
    assert_eq!(Percentile(1_000_000).rank(7), 7);
    assert_eq!(Percentile(1_000_000).rank(u64::MAX), u64::MAX);
}

/// Every bucket that events can fill, of either sign.
fn everything() -> Vec<i128> {
    let bounds = (0..69_u32).flat_map(|power| {
        (0..64_i128).map(move |digits| (1_i128 << power) + (digits << power.saturating_sub(6)))
    });
    bounds.filter(|number| *number <= HIGHEST).flat_map(|number| [number, -number]).collect()
}

#[test]
fn a_flood_of_sizes_makes_it_coarser_and_no_larger() {
    let all = everything();
    assert!(all.len() > 5 * MOST_BUCKETS);
    assert_tells(&all, 8);
    let sketch = sketch_of(&all);
    assert!(sketch.buckets.capacity() <= 2 * MOST_BUCKETS);
    // From 1 to 65 536 times as much is told at the finest.
    let usual: Vec<i128> = (0..=40_000).map(|step| 1_000_000 + step * step * 40).collect();
    assert_tells(&usual, 1);
}

#[test]
fn what_is_taken_out_is_as_if_it_had_not_been_there() {
    let all = everything();
    let (kept, gone) = all.split_at(400);
    let mut sketch = sketch_of(kept);
    for number in &gone[..400] {
        sketch.add(Amount::from_millionths(*number));
        assert!(sketch.remove(Amount::from_millionths(*number)));
    }
    assert_eq!(sketch, sketch_of(kept));
    assert!(!sketch.remove(Amount::from_millionths(HIGHEST)), "there is none");
    // Coarse as it is, counts are right.
    let mut sketch = sketch_of(&all);
    all.iter().for_each(|number| assert!(sketch.remove(Amount::from_millionths(*number))));
    assert_eq!((sketch.count(), sketch.buckets()), (0, 0));
}

fn numbers() -> impl Strategy<Value = Vec<i128>> {
    let any = (any::<bool>(), 0..70_u32, 0..1_i128 << 40).prop_map(|(is_below, power, digits)| {
        let number = ((1_i128 << power) + (digits >> 40_u32.saturating_sub(power))).min(HIGHEST);
        if is_below { -number } else { number }
    });
    let near = (0..70_u32, -2..3_i128).prop_map(|(power, by)| (1_i128 << power) + by);
    let tokens = (0..200_000_i128).prop_map(|whole| whole * 1_000_000);
    let one = prop_oneof![any.clone(), near, tokens, Just(0)];
    // Some are long enough to pass the bound.
    prop_oneof![
        4 => proptest::collection::vec(one, 1..300),
        1 => proptest::collection::vec(any, 1_000..3_000),
    ]
}

proptest! {
    #[test]
    fn answers_are_within_the_stated_error(numbers in numbers()) {
        assert_tells(&numbers, 8);
    }

    #[test]
    fn merges_commute_and_are_the_whole(
        numbers in numbers(),
        cuts in (0..4_000_usize, 0..4_000_usize),
    ) {
        let whole = sketch_of(&numbers);
        let cut = |cut: usize| cut.min(numbers.len());
        let (first, rest) = numbers.split_at(cut(cuts.0));
        let (second, third) = rest.split_at(cut(cuts.1).min(rest.len()));
        let parts = [first, second, third].map(sketch_of);
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut merged = Sketch::new();
            order.iter().for_each(|part| merged.merge(&parts[*part]));
            assert_eq!(merged, whole, "{order:?}");
        }
        let mut pair = parts[1].clone();
        pair.merge(&parts[2]);
        let mut merged = parts[0].clone();
        merged.merge(&pair);
        assert_eq!(merged, whole);
        let bytes = whole.encoded();
        let read = Sketch::decode_all(Reader::new(Version::NEWEST, &bytes));
        assert_eq!(read.expect("a sketch"), whole);
    }

    #[test]
    fn bytes_of_anybody_are_a_sketch_or_an_error(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut from = Reader::new(Version::NEWEST, &bytes);
        if let Ok(sketch) = Sketch::decode(&mut from) {
            assert!(sketch.buckets.is_sorted_by(|a, b| a.key() < b.key()));
            let _ = (sketch.percentile(Percentile::P99), sketch.count());
            let mut twice = sketch.clone();
            twice.merge(&sketch);
            twice.add(1);
        }
    }
}

#[test]
fn percentiles_are_read_as_they_are_printed() {
    for (text, parts) in
        [("p0", 0), ("p50", 500_000), ("p99.9", 999_000), ("p100", 1_000_000), ("p0.0001", 1)]
    {
        let percentile: Percentile = text.parse().expect(text);
        assert_eq!((percentile.0, percentile.to_string().as_str()), (parts, text));
    }
    assert_eq!("95".parse(), Ok(Percentile::P95));
    assert_eq!("p95.50".parse(), Ok(Percentile(955_000)));
    for text in
        ["", "p", "p101", "p100.0001", "p-1", "p+1", "p9.99999", "p1.", "p.5", "pp5", "p5e1"]
    {
        let why = text.parse::<Percentile>().expect_err(text).to_string();
        assert!(why.contains(&format!("{text:?}")) && why.contains("0 to 100"), "{why}");
    }
}
