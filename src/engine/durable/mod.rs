//! Where the engine's calls meet its store. Without the feature `durable` there is none, and all of
//! this is nothing.

#[cfg(not(feature = "durable"))]
mod nowhere;
#[cfg(feature = "durable")]
mod open;
#[cfg(feature = "durable")]
mod store;
#[cfg(feature = "durable")]
mod verbs;

#[cfg(feature = "durable")]
pub use self::verbs::{Committed, Health};
