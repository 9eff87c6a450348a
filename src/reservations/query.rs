//! Which reservations are asked for.

use std::collections::BTreeMap;

use super::{ReservationId, ReservationState, ReservationStatus};
use crate::base::query_setters::filter_setters;

/// Which reservations are listed: all that are known, or those of some dimensions or one state.
///
/// ```
/// use limitry::reservations::{ReservationQuery, ReservationState};
///
/// let open = ReservationQuery::new().customer("cust_123").state(ReservationState::Held).limit(10);
/// # let _ = open;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a query asks nothing by itself"]
pub struct ReservationQuery {
    pub(crate) customer_id: Option<String>,
    event_type: Option<String>,
    model: Option<String>,
    filters: BTreeMap<String, String>,
    pub(crate) state: Option<ReservationState>,
    after: Option<ReservationId>,
    limit: Option<usize>,
}

impl ReservationQuery {
    /// Asks about all that are known.
    pub fn new() -> Self {
        Self::default()
    }

    filter_setters!();

    /// Asks about those in one state only.
    pub fn state(mut self, state: ReservationState) -> Self {
        self.state = Some(state);
        self
    }

    /// Asks about those only that were made after the one of this id, which need not be known any
    /// more: the next page of a list that ended with it.
    pub fn after(mut self, id: ReservationId) -> Self {
        self.after = Some(id);
        self
    }

    /// Asks for so many at the most; without it for all.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    pub(crate) fn most(&self) -> usize {
        self.limit.unwrap_or(usize::MAX)
    }

    /// Whether a reservation comes behind those that are passed over.
    pub(crate) fn has_reached(&self, id: ReservationId) -> bool {
        self.after.is_none_or(|after| id.number() > after.number())
    }

    pub(crate) fn wants(&self, status: &ReservationStatus) -> bool {
        let own = [
            ("customer_id", &self.customer_id),
            ("event_type", &self.event_type),
            ("model", &self.model),
        ];
        let own = own.iter().filter_map(|(name, wanted)| Some((*name, wanted.as_deref()?)));
        let others = self.filters.iter().map(|(name, wanted)| (name.as_str(), wanted.as_str()));
        self.state.is_none_or(|state| status.state == state)
            && own
                .chain(others)
                .all(|(name, wanted)| status.estimate.dimension(name) == Some(wanted))
    }
}
