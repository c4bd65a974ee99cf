#![doc = include_str!("../README.md")]

mod embedded;
mod error;
mod external;
mod gather;
mod source;
mod spill;
mod stats;

pub use embedded::{EmbeddedBroker, EmbeddedConfig, EmbeddedSource};
pub use error::IngestError;
pub use external::{ExternalBroker, ExternalConfig, ExternalSource};
pub use source::{Authorizer, Batch, BatchLimit, Message, Position, Source};
pub use spill::{SpillConfig, SpillStats, SpillingSource};
pub use stats::IngestStats;
