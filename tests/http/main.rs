//! The product's HTTP API, called in memory.

mod app;
mod door;
mod first;
mod replay;
mod second;
mod third;
