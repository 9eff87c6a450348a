//! Which rules judge, where that hangs on the time.

use std::fmt;

use super::table::Charge;
use super::time::At;

/// Says which of the rules that match an event judge it at an instant, and which only count. Asked
/// under the locks of a decision, whose instant is known there alone.
pub(crate) trait Roles: fmt::Debug + Send + Sync {
    /// Lets those judge that do at an instant.
    fn assign(&self, at: &At, charges: &mut [Charge]);
}
