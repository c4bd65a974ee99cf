//! The scores: rows counted over all files together, and change points met in time.

use forecare_domain::Timestamp;
use serde::Serialize;

use super::Recording;

/// Rows at a file's beginning that a detector may learn from; the rest is judged.
pub const FIT_ROWS: usize = 400;
/// A change point is met by a prediction so many seconds after it, at most.
pub const CHANGE_WITHIN_S: f64 = 60.0;

/// Rows counted: what is anomalous, and what was said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Outliers {
    /// Anomalous and said so.
    pub true_positives: usize,
    /// Usual, yet called anomalous.
    pub false_positives: usize,
    /// Anomalous, and missed.
    pub false_negatives: usize,
    /// Usual, and left alone.
    pub true_negatives: usize,
}

#[allow(clippy::cast_precision_loss, reason = "there are fewer than 2^53 rows")]
fn share(part: usize, of: usize) -> f64 {
    if of == 0 {
        0.0
    } else {
        part as f64 / of as f64
    }
}

impl Outliers {
    /// Harmonic mean of precision and recall, 0 to 1: `2 TP / (2 TP + FP + FN)`.
    #[must_use]
    pub fn f1(&self) -> f64 {
        let twice = 2 * self.true_positives;
        share(twice, twice + self.false_positives + self.false_negatives)
    }

    /// Share of the usual rows that were called anomalous, 0 to 1.
    #[must_use]
    pub fn false_alarm_rate(&self) -> f64 {
        share(
            self.false_positives,
            self.false_positives + self.true_negatives,
        )
    }

    /// Share of the anomalous rows that were missed, 0 to 1.
    #[must_use]
    pub fn missed_alarm_rate(&self) -> f64 {
        share(
            self.false_negatives,
            self.false_negatives + self.true_positives,
        )
    }
}

/// Change points met, and predictions that meet none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ChangePoints {
    /// Change points in the judged rows.
    pub n_true: usize,
    /// Of these, met by a prediction within [`CHANGE_WITHIN_S`].
    pub n_met: usize,
    /// Predictions.
    pub n_predicted: usize,
    /// Of these, such that meet no change point.
    pub n_false: usize,
}

/// Counts the rows after the first [`FIT_ROWS`] of each labelled file; `predicted` has an entry per row.
#[must_use]
pub fn outliers(files: &[(&Recording, &[bool])]) -> Outliers {
    let mut counts = Outliers::default();
    for (recording, predicted) in files.iter().filter(|(r, _)| r.labelled) {
        for (row, &said) in recording.rows.iter().zip(*predicted).skip(FIT_ROWS) {
            let count = match (row.anomaly, said) {
                (true, true) => &mut counts.true_positives,
                (false, true) => &mut counts.false_positives,
                (true, false) => &mut counts.false_negatives,
                (false, false) => &mut counts.true_negatives,
            };
            *count += 1;
        }
    }
    counts
}

/// Compares predicted with true change points, in the rows after the first [`FIT_ROWS`] of each file that has them labelled.
#[must_use]
pub fn change_points(files: &[(&Recording, &[bool])]) -> ChangePoints {
    let mut counts = ChangePoints::default();
    for (recording, predicted) in files.iter().filter(|(r, _)| r.change_labelled) {
        let judged = || recording.rows.iter().zip(*predicted).skip(FIT_ROWS);
        let truth: Vec<Timestamp> = judged()
            .filter(|(r, _)| r.change)
            .map(|(r, _)| r.ts)
            .collect();
        let said: Vec<Timestamp> = judged().filter(|&(_, &p)| p).map(|(r, _)| r.ts).collect();
        let met = |truth: Timestamp, said: Timestamp| {
            (0.0..=CHANGE_WITHIN_S / 3_600.0).contains(&said.hours_since(truth))
        };
        counts.n_true += truth.len();
        counts.n_met += truth
            .iter()
            .filter(|&&t| said.iter().any(|&s| met(t, s)))
            .count();
        counts.n_predicted += said.len();
        counts.n_false += said
            .iter()
            .filter(|&&s| !truth.iter().any(|&t| met(t, s)))
            .count();
    }
    counts
}
