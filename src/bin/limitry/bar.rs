//! How far long work has come: a bar on stderr, where that is a terminal.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};
use limitry::store::Progress;

/// A bar that is gone when the work is done.
pub(crate) struct Bar {
    shown: ProgressBar,
    step: &'static str,
}

impl Bar {
    /// Shows that something begins which tells of nothing.
    pub(crate) fn new(begun: &'static str) -> Self {
        let is_seen = io::stderr().is_terminal();
        let shown = if is_seen { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        shown.set_message(begun);
        shown.tick();
        Self { shown, step: "" }
    }

    /// Shows how far the work has come.
    pub(crate) fn tell(&mut self, progress: Progress) {
        let is_known = progress.total > progress.done || progress.total == 0;
        if self.step != progress.step {
            self.step = progress.step;
            let template = match progress.step {
                // Of lines it is not known how many there are.
                "importing events" => "{spinner} {msg} {human_pos} ({per_sec})",
                _ => "{msg} [{wide_bar}] {percent} % ({eta})",
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                self.shown.set_style(style);
            }
            self.shown.set_message(progress.step);
        }
        if is_known {
            self.shown.set_length(progress.total);
        }
        self.shown.set_position(progress.done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.shown.finish_and_clear();
    }
}
