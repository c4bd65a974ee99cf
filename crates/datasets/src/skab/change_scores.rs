//! The benchmark's own score of change points: the Numenta score with a window to the right of each true change
//! point, as `core/metrics.py` of version 0.9 computes it (`chp_score(metric="nab", window_width=...,
//! anomaly_window_destination="righter")`, everything else at its default). Its code is called with windows of 60 s,
//! its leaderboard says 30 s: see [`CHANGE_WINDOWS_S`].
//!
//! The first prediction in a window is worth `A_fp + (A_tp - A_fp) (1 - tanh(x) / tanh(pi/2)) / 2`, with `x` from -pi/2
//! at the change point to pi/2 at the window's end, read from a table of a thousand steps: 1 at the change point, `A_fp`
//! at the end. A window without a prediction costs 1 (2 in the profile low-FN), a prediction outside the windows 0.11
//! (0.22 in low-FP). A window that would begin before the one before it has ended begins there. 0 is what silence gives,
//! 100 what a prediction at every change point and nowhere else gives.

use std::f64::consts::{FRAC_PI_2, PI};

use serde::Serialize;

use super::{FIT_ROWS, Recording};

/// Lengths of the windows for which the benchmark gives its score, seconds.
pub const CHANGE_WINDOWS_S: [f64; 2] = [30.0, 60.0];
/// Steps of the worth along a window.
const STEPS: usize = 1_000;

/// The score by each profile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ChangeScores {
    /// Length of the windows, seconds.
    pub window_s: f64,
    /// Standard.
    pub standard: f64,
    /// False predictions cost twice as much.
    pub low_fp: f64,
    /// Missed change points cost twice as much.
    pub low_fn: f64,
}

/// Counts of one or more files: what the profiles weigh.
#[derive(Debug, Default)]
struct Counts {
    /// Where in its window the first prediction lies, as a step; one per window met.
    met: Vec<usize>,
    n_windows: usize,
    n_false: usize,
}

impl Counts {
    /// Change points and predictions of one file, and the length of a window; hours, ascending.
    fn add(&mut self, truth: &[f64], said: &[f64], width: f64) {
        let mut windows: Vec<(f64, f64)> = Vec::with_capacity(truth.len());
        for &at in truth {
            let from = windows.last().map_or(at, |(_, end)| at.max(*end));
            windows.push((from, at + width));
        }
        let is_in = |at: f64, (from, to): (f64, f64)| from <= at && at <= to;
        for &window in &windows {
            let first = said.iter().copied().find(|&at| is_in(at, window));
            self.met.extend(first.map(|at| step(at, window)));
        }
        self.n_windows += windows.len();
        let outside = |at: &&f64| !windows.iter().any(|w| is_in(**at, *w));
        self.n_false += said.iter().filter(outside).count();
    }

    #[allow(clippy::cast_precision_loss, reason = "there are fewer than 2^53 rows")]
    fn score(&self, false_positive: f64, false_negative: f64) -> f64 {
        let met: f64 = self.met.iter().map(|s| worth(*s, false_positive)).sum();
        let missed = (self.n_windows - self.met.len()) as f64;
        let raw = met - false_negative * missed - false_positive * self.n_false as f64;
        let (null, perfect) = (
            -false_negative * self.n_windows as f64,
            self.n_windows as f64,
        );
        100.0 * (raw - null) / (perfect - null)
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and a thousand"
)]
fn step(at: f64, (from, to): (f64, f64)) -> usize {
    // Times are milliseconds: without this a whole step could fall just short of itself.
    let share = ((at - from) / (to - from) * 1e9).round() / 1e9;
    ((share * STEPS as f64) as usize).min(STEPS - 1)
}

#[allow(clippy::cast_precision_loss, reason = "at most a thousand")]
fn worth(step: usize, false_positive: f64) -> f64 {
    let x = -FRAC_PI_2 + PI * step as f64 / (STEPS - 1) as f64;
    let half = f64::midpoint(1.0, false_positive);
    half * (1.0 - x.tanh() / FRAC_PI_2.tanh()) - false_positive
}

/// The score over the rows after the first [`FIT_ROWS`] of each file with labelled change points; `predicted` has an entry per row. `None`
/// where there is no change point.
#[must_use]
pub fn change_scores(files: &[(&Recording, &[bool])], window_s: f64) -> Option<ChangeScores> {
    let mut counts = Counts::default();
    for (recording, predicted) in files.iter().filter(|(r, _)| r.change_labelled) {
        let Some(begin) = recording.rows.get(FIT_ROWS).map(|r| r.ts) else {
            continue;
        };
        let judged = || recording.rows.iter().zip(*predicted).skip(FIT_ROWS);
        let hours = |flag: fn(bool, bool) -> bool| -> Vec<f64> {
            judged()
                .filter(|(row, said)| flag(row.change, **said))
                .map(|(row, _)| row.ts.hours_since(begin))
                .collect()
        };
        let (truth, said) = (hours(|is_true, _| is_true), hours(|_, said| said));
        counts.add(&truth, &said, window_s / 3_600.0);
    }
    (counts.n_windows > 0).then(|| ChangeScores {
        window_s,
        standard: counts.score(0.11, 1.0),
        low_fp: counts.score(0.22, 1.0),
        low_fn: counts.score(0.11, 2.0),
    })
}
