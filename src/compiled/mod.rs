//! A rule set, compiled to decide by: the snapshot that decisions read, the compiler that makes its
//! rules, and the index that finds those of an event.

mod compiler;
mod index;
mod rule;
pub(crate) mod snapshot;
mod times;
mod unique;

pub(crate) use self::compiler::Compiler;
pub(crate) use self::index::{Exception, Insisting, Matches, Rank, row_hash};
pub(crate) use self::rule::{CompiledRule, KeyProblem};
pub(crate) use self::snapshot::Snapshot;
pub(crate) use self::times::Times;
