//! Remaining useful life learnt from machines that ran to failure.

mod features;
mod file;
mod interval;
mod learn;
mod lives;
mod model;
mod regimes;
mod state;

pub use file::train_life;
pub use learn::{
    HeldOutReading, LifeError, LifeParams, LifeScores, constant_rmse_hours, interval_gain,
    learn_life, machines_with_lives,
};
pub use model::LifeModel;
pub use state::LifeState;
