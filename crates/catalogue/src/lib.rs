#![doc = include_str!("../README.md")]

mod file;
mod interchange;
mod model;
mod waveform;
mod waveform_file;

pub use file::CatalogueError;
pub use interchange::Choice;
pub use model::{
    AssetClass, Catalogue, Depot, Direction, FailureMode, Kit, Limits, MetricSpec, PartNeed,
    PartSpec, Signature, StockLevel, Technician, Tracking, UNKNOWN_MODE,
};
pub use waveform::{
    Band, Bearing, BearingFault, FeatureKind, ShaftSpeed, ToVelocity, WaveformFeature, WaveformSpec,
};
