//! What is known of customers beside their events: a name, metadata, and whose midnights their
//! periods go by and from which day those run.
//!
//! Customers are the values of `customer_id`. A value of any other dimension may have the same, but
//! for attributes: those of customers alone stand in for dimensions of their events.

mod attributes;
mod calendars;
mod customer;
mod directory;
mod stored;

pub(crate) use self::attributes::{AttributeName, Attributes};
pub(crate) use self::calendars::{Calendars, OwnCalendar};
pub(crate) use self::customer::check_dimension;
pub use self::customer::{Customer, CustomerError};
pub use self::directory::CustomerPage;
pub(crate) use self::directory::Directory;
pub(crate) use self::stored::{customer_of_row, first_key, row_of};
