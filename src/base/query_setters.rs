//! The setters that queries have in common.

/// Sets which events a query is about, by their dimensions.
macro_rules! filter_setters {
    () => {
        /// Asks about one customer only.
        pub fn customer(mut self, customer_id: impl Into<String>) -> Self {
            self.customer_id = Some(customer_id.into());
            self
        }

        /// Asks about one type of event only.
        pub fn event_type(mut self, event_type: impl Into<String>) -> Self {
            self.event_type = Some(event_type.into());
            self
        }

        /// Asks about one model only.
        pub fn model(mut self, model: impl Into<String>) -> Self {
            self.model = Some(model.into());
            self
        }

        /// Asks only about events whose `dimension` has this value; several pairs must all hold. A
        /// dimension set twice keeps the last value.
        pub fn filter(mut self, dimension: impl Into<String>, value: impl Into<String>) -> Self {
            self.filters.insert(dimension.into(), value.into());
            self
        }
    };
}
pub(crate) use filter_setters;

/// Sets the range of time that a query is about, with or without bounds.
macro_rules! range_setters {
    () => {
        /// Asks about the events with timestamps from `start` on and before `end`.
        pub fn between(self, start: impl Into<Timestamp>, end: impl Into<Timestamp>) -> Self {
            self.since(start).until(end)
        }

        /// Asks about the events with timestamps from `start` on.
        pub fn since(mut self, start: impl Into<Timestamp>) -> Self {
            self.start_date = Some(start.into());
            self
        }

        /// Asks about the events with timestamps before `end`.
        pub fn until(mut self, end: impl Into<Timestamp>) -> Self {
            self.end_date = Some(end.into());
            self
        }
    };
}
pub(crate) use range_setters;
