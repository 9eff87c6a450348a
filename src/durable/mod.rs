//! What makes an engine survive: the way of a record into the store, and back.
//!
//! Memory is what decides. What is durable is a log of [records](record), each an event with its
//! idempotency key and with how every rule counted it, and now and then a
//! [checkpoint](checkpoint) of counters and roll-ups. Records go through a bounded [queue] to the
//! one [thread that writes](writer); [opening](recovery) loads the newest whole checkpoint and
//! redoes the log's tail.

mod checkpoint;
mod options;
mod pipeline;
mod queue;
mod record;
mod recovery;
mod verify;
mod writer;

pub use self::options::{Durability, Durable, OnFailure, OpenOptions};
pub(crate) use self::pipeline::Pipeline;
pub(crate) use self::record::{Head, Record};
pub(crate) use self::recovery::{DECLARED, Recovered, Settings, recover};
pub(crate) use self::verify::Verified;
pub use self::verify::VerifyReport;
