//! Progress on stderr, where somebody watches and there is something to wait for.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

const LONG_READ_BYTES: u64 = 16 << 20;
const LONG_REPLAY_CALLS: u64 = 500_000;

/// A bar for the reading of one file.
pub fn reading(bytes: u64) -> ProgressBar {
    let template = "reading    {wide_bar} {bytes:>11} of {total_bytes}, {eta} left";
    bar(bytes, bytes >= LONG_READ_BYTES, template)
}

/// A bar for the replay.
pub fn replaying(calls: usize) -> ProgressBar {
    let calls = calls.try_into().unwrap_or(u64::MAX);
    let template = "replaying  {wide_bar} {human_pos:>11} of {human_len} calls, {eta} left";
    bar(calls, calls >= LONG_REPLAY_CALLS, template)
}

fn bar(length: u64, is_long: bool, template: &str) -> ProgressBar {
    if !is_long || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
