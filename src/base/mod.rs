//! The ground: exact amounts, time, the calendar, and how bytes are read and written. It knows no
//! other room.

pub(crate) mod amount;
pub(crate) mod calendar;
pub(crate) mod clock;
pub(crate) mod codec;
pub(crate) mod format;
pub(crate) mod ids;
pub(crate) mod progress;
pub(crate) mod query_setters;
pub(crate) mod reading;
pub(crate) mod sketch;
pub(crate) mod suggest;
pub(crate) mod text;
pub(crate) mod words;
