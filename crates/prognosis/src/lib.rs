#![doc = include_str!("../README.md")]

mod boost;
mod calibration;
mod drift;
mod features;
mod forest;
mod life;
mod model;
mod own;
mod rows;
mod scores;
mod train;
mod trend;
mod view;

pub use drift::{Drift, InputCounts};
pub use features::{FeatureSpec, FeatureState, WINDOWS_H};
pub use life::{
    HeldOutReading, LifeError, LifeModel, LifeParams, LifeScores, LifeState, constant_rmse_hours,
    interval_gain, learn_life, machines_with_lives, train_life,
};
pub use model::{EXPLAINED_FROM, ModeRefused, ModeScores, Model, ModelCard, ModelError};
pub use rows::{Finding, History, HistoryItem};
pub use scores::{
    CALIBRATION_BINS, HIGH_FROM, Judged, ProbabilityScores, RELIABILITY_BOUNDS, ReliabilityBin,
    judge,
};
pub use train::{CardData, TrainError, TrainParams, train};
pub use trend::{FAILURE_HEALTH, TrendState};
