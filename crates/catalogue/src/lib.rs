#![doc = include_str!("../README.md")]

mod file;
mod model;

pub use file::CatalogueError;
pub use model::{
    AssetClass, Catalogue, Depot, Direction, FailureMode, Limits, MetricSpec, PartNeed, PartSpec,
    Signature, StockLevel, Technician, UNKNOWN_MODE,
};
