//! Who used what.

mod interval;

pub use self::interval::{Interval, IntervalParseError};
