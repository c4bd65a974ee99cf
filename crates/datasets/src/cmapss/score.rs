//! The benchmark's measures.

/// RMSE and NASA score, once with the truth as it is and once capped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    /// Root mean squared error, truth capped, cycles.
    pub rmse_capped: f64,
    /// NASA score, truth capped; a sum over engines.
    pub score_capped: f64,
    /// Root mean squared error, cycles.
    pub rmse: f64,
    /// NASA score; a sum over engines.
    pub score: f64,
}

/// Root of the mean squared difference; NaN without engines.
#[must_use]
pub fn rmse(predicted: &[f64], truth: &[f64]) -> f64 {
    let squares: f64 = predicted
        .iter()
        .zip(truth)
        .map(|(p, t)| (p - t) * (p - t))
        .sum();
    (squares / predicted.len().min(truth.len()) as f64).sqrt()
}

/// The asymmetric score of the PHM 2008 challenge (Saxena et al. 2008): with d = predicted - true, the sum of
/// exp(-d / 13) - 1 where d is below 0 and of exp(d / 10) - 1 elsewhere. Too late costs more than too early.
#[must_use]
pub fn nasa_score(predicted: &[f64], truth: &[f64]) -> f64 {
    predicted
        .iter()
        .zip(truth)
        .map(|(p, t)| {
            let d = p - t;
            if d < 0.0 {
                (-d / 13.0).exp_m1()
            } else {
                (d / 10.0).exp_m1()
            }
        })
        .sum()
}

/// Both measures, with the truth as it is and capped at `cap` (most papers: 125 cycles).
#[must_use]
pub fn scores(predicted: &[f64], truth: &[f64], cap: f64) -> Scores {
    let capped: Vec<f64> = truth.iter().map(|t| t.min(cap)).collect();
    Scores {
        rmse_capped: rmse(predicted, &capped),
        score_capped: nasa_score(predicted, &capped),
        rmse: rmse(predicted, truth),
        score: nasa_score(predicted, truth),
    }
}
