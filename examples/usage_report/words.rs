//! Numbers for people, beyond those of `text`.

use limitry::Amount;

use example_support::text::grouped;

/// `1234567` as `1,234,567`.
pub fn number(number: u128) -> String {
    grouped(saturate(number))
}

/// Cents as `$1,234.56`.
pub fn dollars(cents: Amount) -> String {
    let sign = if cents.is_negative() { "-" } else { "" };
    let cents = (cents.millionths().unsigned_abs() + 500_000) / 1_000_000;
    format!("{sign}${}.{:02}", number(cents / 100), cents % 100)
}

/// An amount that is not negative, to a tenth: `1,588.1`.
pub fn amount(amount: Amount) -> String {
    let tenths = (amount.millionths().max(0).unsigned_abs() + 50_000) / 100_000;
    match tenths % 10 {
        0 => number(tenths / 10),
        tenth => format!("{}.{tenth}", number(tenths / 10)),
    }
}

/// A few digits and a letter, rounded down: `950`, `1.2K`, `43M`.
pub fn compact(number: u128) -> String {
    const UNITS: [(u128, &str); 4] =
        [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1_000, "K")];
    let Some((unit, letter)) = UNITS.into_iter().find(|(unit, _)| number >= *unit) else {
        return number.to_string();
    };
    match number % unit / (unit / 10) {
        0 => format!("{}{letter}", number / unit),
        tenth => format!("{}.{tenth}{letter}", number / unit),
    }
}

/// A share of a whole: `12.3%`.
pub fn share(part: u128, whole: u128) -> String {
    example_support::text::percent(saturate(part), saturate(whole))
}

/// A name of at most so many letters, three or more: what tells names apart stands at their start
/// or at their end, so the middle goes.
pub fn shortened(name: &str, letters_max: usize) -> String {
    let letters = name.chars().count();
    if letters <= letters_max {
        return name.to_owned();
    }
    let tail = (letters_max - 1) / 2;
    let head = name.chars().take(letters_max - 1 - tail);
    head.chain(['\u{2026}']).chain(name.chars().skip(letters - tail)).collect()
}

fn saturate(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
