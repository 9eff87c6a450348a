//! What goes over the wire: events as they come in and are listed, decisions with their headers,
//! and usage as it is answered. The types themselves know no form.

mod alert;
mod decision;
mod event;
mod headers;
mod recorded;
mod usage;

pub use self::decision::DecisionBody;
pub use self::event::EventBatch;
pub(crate) use self::event::{DraftProblem, Line, MAX_BATCH};
pub use self::headers::{HeaderDialect, Headers};
pub use self::usage::Generic;
