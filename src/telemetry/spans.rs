//! Spans and events of the `tracing` facade, and nothing in their place without the feature
//! `tracing`: then no field is evaluated. A collector is the caller's code, so both are made where
//! no lock is held.

pub(crate) use self::facade::{Span, event, span};

#[cfg(feature = "tracing")]
mod facade {
    /// A span of a name, with fields: what is [run](Span::run) in it is traced as part of it.
    macro_rules! span {
        ($name:literal $(, $field:ident = $value:expr)*) => {
            $crate::telemetry::Span(tracing::info_span!($name $(, $field = $value)*))
        };
    }

    /// An event of a level, `info` or `warn`, with fields and a message.
    macro_rules! event {
        ($level:ident, $($field:ident = $value:expr,)* $message:literal) => {
            tracing::$level!($($field = $value,)* $message)
        };
    }

    pub(crate) use {event, span};

    pub(crate) struct Span(pub(crate) tracing::Span);

    impl Span {
        /// Does the work within the span, and traces its error as an event.
        pub(crate) fn run<T, E: std::fmt::Display>(
            self,
            work: impl FnOnce() -> Result<T, E>,
        ) -> Result<T, E> {
            self.0.in_scope(|| work().inspect_err(|error| tracing::error!(%error)))
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod facade {
    macro_rules! span {
        ($name:literal $(, $field:ident = $value:expr)*) => {{
            let _ = || { $(let _ = &$value;)* };
            $crate::telemetry::Span
        }};
    }

    macro_rules! event {
        ($level:ident, $($field:ident = $value:expr,)* $message:literal) => {{
            let _ = || { $(let _ = &$value;)* };
        }};
    }

    pub(crate) use {event, span};

    pub(crate) struct Span;

    impl Span {
        #[expect(clippy::unused_self, reason = "the same signature as with a collector")]
        pub(crate) fn run<T, E>(self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
            work()
        }
    }
}
