//! The product's HTTP API, called in memory.

mod app;
mod door;
mod engine;
mod figures;
mod first;
mod replay;
mod second;
mod third;
