#![doc = include_str!("../README.md")]

mod arrivals;
mod checks;
mod connection;
mod copy;
mod desk;
mod fault;
mod files;
mod history;
mod ingest;
mod instant;
mod internals;
mod jobs;
mod layout;
mod mails;
mod migrate;
mod outbox;
mod policies;
mod preflight;
mod query;
mod records;
mod registry;
mod rows;
mod scratch;
mod service;
mod settings;
mod stock;
mod store;
mod text;
mod tls;
mod views;

pub use checks::{Finding, FindingVerdict};
pub use jobs::{Jobs, StoreSize};
pub use scratch::{SCRATCH_SCHEMA, drop_scratch};
pub use service::ServiceClaim;
pub use settings::{ChunkInterval, Retention, TimescaleSettings};
pub use store::TimescaleStore;
