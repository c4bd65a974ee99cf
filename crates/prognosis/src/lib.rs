#![doc = include_str!("../README.md")]

mod boost;
mod calibration;
mod drift;
mod features;
mod model;
mod own;
mod rows;
mod train;
mod trend;

pub use drift::{Drift, InputCounts};
pub use features::{FeatureSpec, FeatureState, WINDOWS_H};
pub use model::{ModeScores, Model, ModelCard, ModelError, ReliabilityBin};
pub use rows::{Finding, History, HistoryItem};
pub use train::{CardData, TrainError, TrainParams, train};
pub use trend::{FAILURE_HEALTH, TrendState};
