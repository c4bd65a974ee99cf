#![doc = include_str!("../README.md")]

mod connection;
mod desk;
mod fault;
mod history;
mod ingest;
mod layout;
mod migrate;
mod query;
mod registry;
mod stock;
mod store;
mod text;

pub use store::{Durability, SqliteStore};
