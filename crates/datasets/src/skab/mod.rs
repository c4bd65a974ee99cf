//! Skoltech Anomaly Benchmark, version 0.9: a water loop with injected faults, labelled second by second.

mod change_scores;
mod load;
mod score;

pub use change_scores::{CHANGE_WINDOWS_S, ChangeScores, change_scores};
pub use load::{Recording, Row, Skab, SkabError};
pub use score::{CHANGE_WITHIN_S, ChangePoints, FIT_ROWS, Outliers, change_points, outliers};
