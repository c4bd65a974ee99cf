#![doc = include_str!("../README.md")]

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking"
)]
mod abort;
mod connection;
mod desk;
mod fault;
mod files;
mod history;
mod ingest;
mod layout;
mod mails;
mod migrate;
mod outbox;
mod query;
mod records;
mod registry;
mod rows;
mod stock;
mod store;
mod text;

pub use store::{Durability, SqliteStore};
