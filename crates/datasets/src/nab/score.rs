//! The score, by the formulae of Lavin and Ahmad (2015) as version 1.1 of the benchmark computes them.
//!
//! Every row at or above the threshold is a detection. The first one in a window counts, the more the
//! earlier: `2 / (1 + exp(5 y)) - 1` at relative position `y`, -1 at the window's beginning and 0 past its end,
//! scaled so that the beginning gives 1. Each detection outside counts against, the more the farther behind
//! the last window, fully before the first one and more than three windows behind. A window without a
//! detection costs. One threshold for all files, the best one, is chosen for each profile.

use serde::{Deserialize, Serialize};

use super::{Series, Window};

/// A threshold that no score reaches.
pub const NO_DETECTION: f64 = 1.1;
/// Share of a file's rows that are not judged.
const PROBATION_SHARE: f64 = 0.15;
/// At most so many.
const PROBATION_MAX: usize = 750;

/// What a detection, a false one and a missed window are worth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// Its name in `profiles.json`.
    pub name: String,
    /// The weights.
    pub cost: Cost,
}

/// The weights of a profile, each at least 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Of the earliest detection in a window.
    #[serde(rename = "tpWeight")]
    pub true_positive: f64,
    /// Of a missed window.
    #[serde(rename = "fnWeight")]
    pub false_negative: f64,
    /// Of a row detected outside windows.
    #[serde(rename = "fpWeight")]
    pub false_positive: f64,
}

impl Profile {
    /// The three profiles of Lavin and Ahmad (2015), as version 1.1 of the benchmark has them.
    #[must_use]
    pub fn published() -> Vec<Self> {
        [
            ("standard", 1.0, 0.11),
            ("reward_low_FP_rate", 1.0, 0.22),
            ("reward_low_FN_rate", 2.0, 0.11),
        ]
        .map(|(name, false_negative, false_positive)| Self {
            name: name.to_owned(),
            cost: Cost {
                true_positive: 1.0,
                false_negative,
                false_positive,
            },
        })
        .to_vec()
    }
}

/// A file and its scores, a score per row. A file without labels counts for nothing.
#[derive(Debug, Clone, Copy)]
pub struct Scores<'a> {
    /// The file.
    pub series: &'a Series,
    /// The scores, 0 to 1, in the order of the rows.
    pub scores: &'a [f64],
}

/// What a threshold gives.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Rows with this score or more are detections.
    pub threshold: f64,
    /// The score: 0 as without any detection, 100 as with the earliest in every window and no other.
    pub score: f64,
    /// The same before it was scaled.
    pub raw: f64,
    /// Windows.
    pub n_windows: usize,
    /// Windows with a detection.
    pub n_windows_detected: usize,
    /// Rows detected outside windows.
    pub n_false_positives: usize,
}

/// Rows at a file's beginning that are not judged.
#[must_use]
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "files have fewer than 2^53 rows"
)]
pub fn probation_rows(n_rows: usize) -> usize {
    ((PROBATION_SHARE * n_rows as f64).floor() as usize).min(PROBATION_MAX)
}

fn sigmoid(position: f64) -> f64 {
    if position > 3.0 {
        -1.0
    } else {
        2.0 / (1.0 + (5.0 * position).exp()) - 1.0
    }
}

/// What a detection at each row would give: the window it lies in, if any, and its worth before weights.
#[allow(
    clippy::cast_precision_loss,
    reason = "files have fewer than 2^53 rows"
)]
fn worth(n_rows: usize, windows: &[Window]) -> Vec<(Option<usize>, f64)> {
    let mut rows = Vec::with_capacity(n_rows);
    for row in 0..n_rows {
        let within = windows
            .iter()
            .position(|w| (w.first..=w.last).contains(&row));
        let behind = windows.iter().rev().find(|w| w.last < row);
        let worth = match (within, behind) {
            (Some(i), _) => {
                let w = windows[i];
                let width = (w.last - w.first + 1) as f64;
                sigmoid(-((w.last - row + 1) as f64) / width) / sigmoid(-1.0)
            }
            (None, Some(w)) => {
                // A window of one row has no length to measure with.
                let length = (w.last - w.first).max(1) as f64;
                sigmoid((row - w.last) as f64 / length)
            }
            (None, None) => -1.0,
        };
        rows.push((within, worth));
    }
    rows
}

/// A row that is judged: its score, its window among those of all files, its worth.
struct Judged {
    score: f64,
    window: Option<usize>,
    worth: f64,
}

/// The judged rows of all files, highest score first, and the number of windows.
fn judged(files: &[Scores<'_>]) -> (Vec<Judged>, usize) {
    let mut all = Vec::new();
    let mut n_windows = 0;
    for file in files {
        let Some(windows) = &file.series.windows else {
            continue;
        };
        let n_rows = file.series.rows.len().min(file.scores.len());
        let rows = worth(n_rows, windows);
        let probation = probation_rows(file.series.rows.len());
        for (&score, &(window, worth)) in file.scores.iter().zip(&rows).skip(probation) {
            all.push(Judged {
                score,
                window: window.map(|w| n_windows + w),
                worth,
            });
        }
        n_windows += windows.len();
    }
    all.sort_by(|a, b| b.score.total_cmp(&a.score));
    (all, n_windows)
}

/// The running sum while the threshold falls.
struct Sweep {
    cost: Cost,
    /// Best detection of each window.
    best: Vec<Option<f64>>,
    false_positives: f64,
    n_false_positives: usize,
}

impl Sweep {
    fn new(cost: Cost, n_windows: usize) -> Self {
        Self {
            cost,
            best: vec![None; n_windows],
            false_positives: 0.0,
            n_false_positives: 0,
        }
    }

    fn detect(&mut self, row: &Judged) {
        match row.window {
            Some(window) => {
                let best = &mut self.best[window];
                *best = Some(best.map_or(row.worth, |b| b.max(row.worth)));
            }
            None => {
                self.false_positives += row.worth * self.cost.false_positive;
                self.n_false_positives += 1;
            }
        }
    }

    fn raw(&self) -> f64 {
        let windows = self.best.iter().map(|b| {
            b.map_or(-self.cost.false_negative, |worth| {
                worth * self.cost.true_positive
            })
        });
        windows.sum::<f64>() + self.false_positives
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "there are fewer than 2^53 windows"
    )]
    fn outcome(&self, threshold: f64) -> Outcome {
        let n_windows = self.best.len();
        let raw = self.raw();
        let null = -self.cost.false_negative * n_windows as f64;
        let perfect = self.cost.true_positive * n_windows as f64;
        Outcome {
            threshold,
            score: if n_windows == 0 {
                0.0
            } else {
                100.0 * (raw - null) / (perfect - null)
            },
            raw,
            n_windows,
            n_windows_detected: self.best.iter().flatten().count(),
            n_false_positives: self.n_false_positives,
        }
    }
}

/// The threshold over all `files` that is best for a profile, and what it gives. Of equal ones the highest.
#[must_use]
pub fn optimise(files: &[Scores<'_>], profile: &Profile) -> Outcome {
    let (rows, n_windows) = judged(files);
    let mut sweep = Sweep::new(profile.cost, n_windows);
    let mut best = sweep.outcome(NO_DETECTION);
    for (i, row) in rows.iter().enumerate() {
        sweep.detect(row);
        // Rows of one score are detected together.
        let is_last = rows.get(i + 1).is_none_or(|next| next.score < row.score);
        if is_last && sweep.raw() > best.raw {
            best = sweep.outcome(row.score);
        }
    }
    best
}

/// What a given threshold gives.
#[must_use]
pub fn outcome(files: &[Scores<'_>], profile: &Profile, threshold: f64) -> Outcome {
    let (rows, n_windows) = judged(files);
    let mut sweep = Sweep::new(profile.cost, n_windows);
    for row in rows.iter().take_while(|r| r.score >= threshold) {
        sweep.detect(row);
    }
    sweep.outcome(threshold)
}
