//! Goal: with the feature `durable` an engine goes on after a restart where it was.

#![cfg(feature = "durable")]
