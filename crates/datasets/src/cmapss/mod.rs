//! NASA C-MAPSS: simulated turbofan engines that run to failure (Saxena, Goebel, Simon, Eklund, PHM 2008).

mod load;
mod score;

pub use load::{
    CYCLE_HOURS, CmapssError, Engine, METRICS, any_subsets, histories, load_engines, load_truth,
    training_subsets,
};
pub use score::{Scores, nasa_score, rmse, scores};
