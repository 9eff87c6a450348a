//! A rule set, compiled to decide by: the snapshot that decisions read, the compiler that makes it,
//! and the index that finds the rules of an event.

mod compiler;
pub(crate) mod index;
mod rule;
pub(crate) mod snapshot;
