//! Prometheus' text format, of counters and gauges alone: so little that no crate is asked for it
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>).

use std::fmt::{self, Write};

/// What kind of figures they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Kind {
    Counter,
    Gauge,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// A page of figures.
#[derive(Debug, Default)]
pub(in crate::http) struct Text(String);

impl Text {
    /// Begins the figures of a name: whoever reads it wants all of them behind each other.
    pub(in crate::http) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let help = Escaped(help, false);
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.as_str()));
    }

    /// A figure of the family that was begun last.
    pub(in crate::http) fn figure(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        value: impl fmt::Display,
    ) {
        self.put(format_args!("{name}{} {value}\n", Labels(labels)));
    }

    /// A figure that is alone in its family.
    pub(in crate::http) fn only(
        &mut self,
        (name, kind): (&str, Kind),
        help: &str,
        value: impl fmt::Display,
    ) {
        self.family(name, kind, help);
        self.figure(name, &[], value);
    }

    /// What is a page already.
    pub(in crate::http) fn page(&mut self, page: &str) {
        self.0.push_str(page);
    }

    pub(in crate::http) fn into_text(self) -> String {
        self.0
    }

    fn put(&mut self, what: fmt::Arguments<'_>) {
        // A text takes everything.
        let _written = self.0.write_fmt(what);
    }
}

/// The labels of a figure, in braces; nothing where there are none.
pub(in crate::http) struct Labels<'l>(pub(in crate::http) &'l [(&'l str, &'l str)]);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, value)) in self.0.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            write!(f, "{before}{name}=\"{}\"", Escaped(value, true))?;
        }
        if self.0.is_empty() { Ok(()) } else { f.write_char('}') }
    }
}

/// A text within the format, in quotes or not.
struct Escaped<'t>(&'t str, bool);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' if self.1 => f.write_str("\\\"")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}
