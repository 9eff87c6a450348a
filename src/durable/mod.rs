//! What makes an engine survive: the way of a record into the store, and back.
