//! Numenta Anomaly Benchmark, version 1.1: streams of one metric with labelled windows, and its score.

mod load;
mod score;

pub use load::{Nab, NabError, Row, Series, Window};
pub use score::{Cost, NO_DETECTION, Outcome, Profile, Scores, optimise, outcome, probation_rows};
