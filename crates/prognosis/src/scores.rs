//! How good probabilities were, once the outcome is known.

use serde::{Deserialize, Serialize};

/// Bounds of the bins of [`ProbabilityScores::reliability`]; failures are rare, so they are finer below.
pub const RELIABILITY_BOUNDS: [f64; 9] = [0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0];
/// The calibration error is taken over so many bins of equal width, as in Naeini, Cooper and Hauskrecht (2015).
pub const CALIBRATION_BINS: usize = 10;
/// From this probability on a prediction counts for [`ProbabilityScores::calibration_error_high`].
pub const HIGH_FROM: f64 = 0.1;

/// A prediction and what happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// The probability predicted, 0 to 1.
    pub probability: f64,
    /// Whether it came true.
    pub came_true: bool,
    /// What it counts for; 1 where all count the same.
    pub weight: f64,
}

/// Scores of probabilities. All are weighted; what cannot be said of no rows is 0.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbabilityScores {
    /// Rows judged.
    pub n_rows: usize,
    /// Of these came true.
    pub n_true: usize,
    /// Share that came true, 0 to 1: the climate.
    pub base_rate: f64,
    /// Area under the ROC curve, 0.5 (guessing) to 1.
    pub auc: f64,
    /// Average precision, 0 to 1: precision at every new true one, averaged over them; equal probabilities are
    /// taken together (as scikit-learn's `average_precision_score`).
    pub average_precision: f64,
    /// Mean logarithmic loss, nats; 0 is perfect.
    pub log_loss: f64,
    /// Mean squared difference of probability and outcome; 0 is perfect (Brier 1950).
    pub brier: f64,
    /// The same of always predicting the base rate.
    pub brier_of_base_rate: f64,
    /// Expected calibration error, 0 to 1: over [`CALIBRATION_BINS`] bins of equal width, the distance of mean
    /// prediction and share that came true, weighted by the bin's rows. Where events are rare it is small for
    /// any timid model: read the next one too.
    pub calibration_error: f64,
    /// The same over the rows predicted at [`HIGH_FROM`] or above alone.
    pub calibration_error_high: f64,
    /// Rows predicted at [`HIGH_FROM`] or above.
    pub n_rows_high: usize,
    /// How often what was predicted came true.
    pub reliability: Vec<ReliabilityBin>,
}

/// A line of the reliability table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReliabilityBin {
    /// Probabilities from here
    pub from: f64,
    /// to below here.
    pub to: f64,
    /// Rows in the bin.
    pub n_rows: usize,
    /// Mean probability predicted, 0 to 1.
    pub predicted: f64,
    /// Share that came true, 0 to 1.
    pub observed: f64,
}

/// Judges probabilities by what happened.
#[must_use]
pub fn judge(rows: &[Judged]) -> ProbabilityScores {
    let mut rows = rows.to_vec();
    rows.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    let weight = sum(&rows, |j| j.weight);
    let positive = sum(&rows, |j| j.weight * outcome(j));
    let base_rate = ratio(positive, weight);
    let (area, precision_sum) = ranking(&rows);
    let mean = |of: &dyn Fn(&Judged) -> f64| ratio(sum(&rows, |j| j.weight * of(j)), weight);
    let high = &rows[..rows.partition_point(|j| j.probability >= HIGH_FROM)];
    ProbabilityScores {
        n_rows: rows.len(),
        n_true: rows.iter().filter(|j| j.came_true).count(),
        base_rate,
        auc: ratio(area, positive * (weight - positive)),
        average_precision: ratio(precision_sum, positive),
        log_loss: mean(&loss),
        brier: mean(&|j| (j.probability - outcome(j)).powi(2)),
        brier_of_base_rate: mean(&|j| (base_rate - outcome(j)).powi(2)),
        calibration_error: calibration_error(&rows),
        calibration_error_high: calibration_error(high),
        n_rows_high: high.len(),
        reliability: table(&rows, &RELIABILITY_BOUNDS),
    }
}

/// Mean logarithmic loss, nats, weighted.
pub(crate) fn log_loss(rows: &[Judged]) -> f64 {
    ratio(sum(rows, |j| j.weight * loss(j)), sum(rows, |j| j.weight))
}

fn loss(judged: &Judged) -> f64 {
    let p = judged.probability.clamp(1e-12, 1.0 - 1e-12);
    if judged.came_true {
        -p.ln()
    } else {
        -(1.0 - p).ln()
    }
}

fn outcome(judged: &Judged) -> f64 {
    f64::from(u8::from(judged.came_true))
}

fn sum(rows: &[Judged], of: impl Fn(&Judged) -> f64) -> f64 {
    rows.iter().map(of).sum()
}

fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

/// Of rows sorted by falling probability: the area of the ROC curve's steps, and the sum of precisions at the true ones.
fn ranking(rows: &[Judged]) -> (f64, f64) {
    let (mut hits, mut false_alarms, mut area, mut precision_sum) = (0.0, 0.0, 0.0, 0.0);
    for ties in rows.chunk_by(|a, b| a.probability == b.probability) {
        let up = sum(ties, |j| j.weight * outcome(j));
        let across = sum(ties, |j| j.weight) - up;
        area += across * (hits + up / 2.0);
        hits += up;
        false_alarms += across;
        if up > 0.0 {
            precision_sum += up * hits / (hits + false_alarms);
        }
    }
    (area, precision_sum)
}

fn calibration_error(rows: &[Judged]) -> f64 {
    let bounds: Vec<f64> = (0..=CALIBRATION_BINS)
        .map(|i| i as f64 / CALIBRATION_BINS as f64)
        .collect();
    let apart: f64 = bounds
        .windows(2)
        .map(|b| {
            let inside = || rows.iter().filter(|j| lies_in(j.probability, b[0], b[1]));
            let apart: f64 = inside()
                .map(|j| j.weight * (j.probability - outcome(j)))
                .sum();
            apart.abs()
        })
        .sum();
    ratio(apart, sum(rows, |j| j.weight))
}

/// The last bin has its upper bound too.
fn lies_in(p: f64, from: f64, to: f64) -> bool {
    p >= from && (p < to || to >= 1.0)
}

fn table(rows: &[Judged], bounds: &[f64]) -> Vec<ReliabilityBin> {
    bounds
        .windows(2)
        .map(|b| {
            let inside: Vec<Judged> = rows
                .iter()
                .copied()
                .filter(|j| lies_in(j.probability, b[0], b[1]))
                .collect();
            let weight = sum(&inside, |j| j.weight);
            ReliabilityBin {
                from: b[0],
                to: b[1],
                n_rows: inside.len(),
                predicted: ratio(sum(&inside, |j| j.weight * j.probability), weight),
                observed: ratio(sum(&inside, |j| j.weight * outcome(j)), weight),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(rows: &[(f64, bool)]) -> ProbabilityScores {
        let rows: Vec<Judged> = rows
            .iter()
            .map(|&(probability, came_true)| Judged {
                probability,
                came_true,
                weight: 1.0,
            })
            .collect();
        judge(&rows)
    }

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} for {b}");
    }

    #[test]
    fn scores_of_a_hand_computed_ranking() {
        let scores = judged(&[(0.2, false), (0.8, true), (0.4, true), (0.6, false)]);
        near(scores.auc, 0.75);
        near(scores.average_precision, (1.0 + 2.0 / 3.0) / 2.0);
        near(scores.brier, (0.04 + 0.04 + 0.36 + 0.36) / 4.0);
        near(scores.brier_of_base_rate, 0.25);
        near(
            scores.log_loss,
            -(0.8_f64.ln() * 2.0 + 0.4_f64.ln() * 2.0) / 4.0,
        );
        assert_eq!((scores.n_rows, scores.n_true), (4, 2));
        near(scores.base_rate, 0.5);
    }

    #[test]
    fn equal_probabilities_share_their_precision() {
        // One true among three equal ones, then a true one: 1/3 and 2/4.
        let scores = judged(&[(0.7, false), (0.7, true), (0.7, false), (0.1, true)]);
        near(scores.average_precision, (1.0 / 3.0 + 0.5) / 2.0);
    }

    #[test]
    fn the_calibration_error_of_two_bins_by_hand() {
        // 0.0 to 0.1: predicted 0.05, none of two true. 0.9 to 1: predicted 0.95 and 1, one of two true.
        let scores = judged(&[(0.05, false), (0.05, false), (0.95, true), (1.0, false)]);
        near(scores.calibration_error, 0.5 * 0.05 + 0.5 * (0.975 - 0.5));
        near(scores.calibration_error_high, 0.475);
        assert_eq!(scores.n_rows_high, 2);
        let last = &scores.reliability[7];
        assert_eq!((last.from, last.to, last.n_rows), (0.9, 1.0, 2));
        near(last.predicted, 0.975);
        near(last.observed, 0.5);
        let n: usize = scores.reliability.iter().map(|b| b.n_rows).sum();
        assert_eq!(n, 4);
    }

    #[test]
    fn a_weight_of_two_counts_as_two_rows() {
        let row = |probability, came_true, weight| Judged {
            probability,
            came_true,
            weight,
        };
        let weighted = judge(&[row(0.3, true, 2.0), row(0.6, false, 1.0)]);
        let twice = judge(&[
            row(0.3, true, 1.0),
            row(0.3, true, 1.0),
            row(0.6, false, 1.0),
        ]);
        near(weighted.brier, twice.brier);
        near(weighted.average_precision, twice.average_precision);
        near(weighted.calibration_error, twice.calibration_error);
        near(weighted.auc, twice.auc);
    }

    #[test]
    fn nothing_to_judge_scores_nothing() {
        let scores = judged(&[]);
        assert_eq!((scores.n_rows, scores.average_precision), (0, 0.0));
        assert!(scores.brier == 0.0 && scores.calibration_error == 0.0);
    }
}
