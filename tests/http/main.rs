//! The product's HTTP API, called in memory.

mod app;
mod conform;
mod door;
mod engine;
mod figures;
mod first;
mod hour;
mod keys;
mod no_panic;
mod one_model;
mod openapi;
mod quota_alerts;
mod replay;
mod second;
mod shapes;
mod third;
mod webhooks;
