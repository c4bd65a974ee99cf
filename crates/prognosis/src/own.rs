//! What is usual for this very machine: how its metrics move with its operating point, over its last two weeks.
//!
//! Machines of a class differ by more than an early fault moves them. Mean and covariance of the hourly means are kept
//! with exponential forgetting; the newest day is not among them yet, so that what is compared is not in what it is
//! compared with. The expected value at an operating point is the linear regression on it.

use serde::{Deserialize, Serialize};

/// Hours after which old ones fade: two weeks.
const MEMORY_H: f64 = 336.0;
/// Before so many hours nothing is usual.
const HOURS_MIN: f64 = 72.0;
/// A departure beyond so many deviations says no more than this one.
const DEPARTURE_MAX: f64 = 30.0;
/// Most metrics that describe the operating point.
pub(crate) const AXES_MAX: usize = 2;

/// Mean and covariance of the hourly means of all metrics.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct OwnUsual {
    /// Hours taken in.
    n: f64,
    mean: Vec<f64>,
    /// Row by row, from the diagonal on.
    covariance: Vec<f64>,
}

/// Place of `i`, `j` among the rows of a symmetric matrix that begin at the diagonal.
fn place(i: usize, j: usize, n: usize) -> usize {
    let (row, column) = (i.min(j), i.max(j));
    row * n - row * (row + 1) / 2 + column
}

impl OwnUsual {
    /// Takes an hour's means in; one that lacks a metric is left out.
    pub(crate) fn take(&mut self, hour: &[f64]) {
        if hour.is_empty() || hour.iter().any(|v| !v.is_finite()) {
            return;
        }
        let n_metrics = hour.len();
        if self.mean.len() != n_metrics {
            *self = Self {
                n: 0.0,
                mean: vec![0.0; n_metrics],
                covariance: vec![0.0; n_metrics * (n_metrics + 1) / 2],
            };
        }
        self.n = (self.n + 1.0).min(MEMORY_H);
        let weight = 1.0 / self.n;
        let off: Vec<f64> = hour.iter().zip(&self.mean).map(|(v, m)| v - m).collect();
        for (mean, off) in self.mean.iter_mut().zip(&off) {
            *mean += weight * off;
        }
        let mut rest = &mut self.covariance[..];
        for i in 0..n_metrics {
            let (row, later) = std::mem::take(&mut rest).split_at_mut(n_metrics - i);
            for (value, off_j) in row.iter_mut().zip(&off[i..]) {
                *value = (1.0 - weight) * (*value + weight * off[i] * off_j);
            }
            rest = later;
        }
    }

    /// How far `seen` of `metric` lies from what is usual at the operating point `at` (`axes` with their values), in
    /// deviations of hourly means; NaN where that is not known.
    pub(crate) fn departure(&self, metric: usize, seen: f64, axes: &[usize], at: &[f64]) -> f64 {
        let n_metrics = self.mean.len();
        let is_whole = self.covariance.len() == n_metrics * (n_metrics + 1) / 2;
        if !is_whole
            || self.n < HOURS_MIN
            || metric >= n_metrics
            || axes.iter().any(|a| *a >= n_metrics)
        {
            return f64::NAN;
        }
        let c = |i: usize, j: usize| self.covariance[place(i, j, n_metrics)];
        // A little ridge: an operating point that never changes explains nothing.
        let ridge = |i: usize| c(i, i) * 1e-3 + 1e-9;
        let slopes: [f64; AXES_MAX] = match axes {
            [] => [0.0, 0.0],
            [a] => [c(*a, metric) / (c(*a, *a) + ridge(*a)), 0.0],
            [a, b, ..] => {
                let (aa, bb, ab) = (c(*a, *a) + ridge(*a), c(*b, *b) + ridge(*b), c(*a, *b));
                let whole = aa * bb - ab * ab;
                [
                    (bb * c(*a, metric) - ab * c(*b, metric)) / whole,
                    (aa * c(*b, metric) - ab * c(*a, metric)) / whole,
                ]
            }
        };
        let mut expected = self.mean[metric];
        let mut explained = 0.0;
        for ((axis, value), slope) in axes.iter().zip(at).zip(slopes) {
            expected += slope * (value - self.mean[*axis]);
            explained += slope * c(*axis, metric);
        }
        let deviation = (c(metric, metric) - explained).max(0.0).sqrt();
        let scale = deviation.max(1e-6 * self.mean[metric].abs()).max(1e-9);
        ((seen - expected) / scale).clamp(-DEPARTURE_MAX, DEPARTURE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Load swings; heat follows it at half its rate, plus what is the machine's own.
    fn known(own: f64) -> OwnUsual {
        let mut usual = OwnUsual::default();
        for hour in 0..400 {
            let load = 50.0 + 30.0 * f64::from(hour).sin();
            let noise = f64::from(hour * 7 % 11) / 11.0 - 0.5;
            usual.take(&[load, own + 0.5 * load + noise]);
        }
        usual
    }

    #[test]
    fn the_operating_point_explains_and_the_rest_stands_out() {
        for own in [10.0, 25.0] {
            let usual = known(own);
            for load in [20.0, 80.0] {
                let expected = own + 0.5 * load;
                assert!(usual.departure(1, expected, &[0], &[load]).abs() < 0.5);
                assert!(usual.departure(1, expected + 3.0, &[0], &[load]) > 5.0);
            }
        }
    }

    #[test]
    fn a_machine_not_known_yet_departs_from_nothing() {
        let mut usual = OwnUsual::default();
        for _ in 0..71 {
            usual.take(&[1.0, 2.0]);
        }
        assert!(usual.departure(1, 9.0, &[0], &[1.0]).is_nan());
        usual.take(&[1.0, f64::NAN]);
        assert!(usual.departure(1, 9.0, &[0], &[1.0]).is_nan());
    }

    #[test]
    fn the_weights_give_the_plain_mean_and_variance_at_first() {
        let mut usual = OwnUsual::default();
        for value in [1.0, 2.0, 6.0] {
            usual.take(&[value]);
        }
        assert!((usual.mean[0] - 3.0).abs() < 1e-12);
        assert!((usual.covariance[0] - 14.0 / 3.0).abs() < 1e-12);
    }
}
