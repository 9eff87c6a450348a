//! A rule set, compiled to decide by: the snapshot that decisions read, the compiler that makes it,
//! and the index that finds the rules of an event.

pub(crate) mod index;
pub(crate) mod snapshot;
