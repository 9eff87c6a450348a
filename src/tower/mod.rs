//! Limits in front of any tower service: it uses what every user of the crate can.
//!
#![doc = include_str!("guide.md")]

mod address;
mod answer;
mod body;
mod commit;
mod extract;
mod grpc;
mod layer;
mod path;
mod reading;
mod replay;
mod service;
mod source;

pub use self::answer::set_headers;
pub use self::body::LimitBody;
pub use self::commit::{Commit, Ended, StreamReader};
pub use self::extract::Extracted;
pub use self::layer::LimitLayer;
pub use self::replay::Replay;
pub use self::service::{Limit, LimitFuture};
pub use self::source::Source;
