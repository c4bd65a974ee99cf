//! The effect of the operating point on each metric: linear within a regime, and while it moves.
//!
//! Recursive least squares with Huberised errors, over all regimes at once. The regressors of a row are, for
//! its regime, a constant and the axes' departures from the regime's usual point; and for all regimes alike,
//! how far the axes lie from their own recent past (two EWMAs): heat, pressure and flow follow a changed load
//! with a lag, whatever the regime. The constant is the level of each
//! metric, which is kept with it (`metric::baseline`).
//! All metrics share the regressors, so one gain per row serves them all. What is left of a metric once the
//! effect is taken out is what its charts judge, against a deviation that grows with the row's leverage:
//! where little has been learnt, little can be said.

use crate::codec::packed;
use crate::regimes::{AXES_MAX, REGIMES_MAX};
use crate::together::narrow;

/// Variance of the slopes before anything is known, in units of metric per unit of axis.
const SLOPE_VARIANCE: f64 = 10.0;
/// Slopes average over about so many rows.
const FORGETTING: f64 = 1.0 - 1.0 / 4_000.0;
/// Slopes known better than this share of the first variance fade; others must not, however long they rest.
const KNOWN_SHARE: f64 = 1e-3;
/// Axes count no farther from the regime's centre than this, units.
const AXIS_MAX: f64 = 1e4;
/// Leverage counts so many times: neighbouring samples are no independent witnesses of the slopes.
const LEVERAGE_CAUTION: f64 = 4.0;
/// Weights of the EWMAs that stand for the recent past of an axis.
const PAST_WEIGHTS: [f64; 2] = [0.5, 0.15];
const PASTS: usize = PAST_WEIGHTS.len();
/// Most regressors of one row.
const ACTIVE_MAX: usize = 1 + AXES_MAX * (1 + PASTS);
/// Most slopes.
const SLOPES_MAX: usize = n_slopes(AXES_MAX);

/// Departures of the operating point from its regime's usual one, in units of each axis.
pub(crate) type Axes = [f64; AXES_MAX];

/// The regressors of one row that are not 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Regressors {
    at: [usize; ACTIVE_MAX],
    value: [f64; ACTIVE_MAX],
    n: usize,
    /// Place of the regime's constant.
    constant: usize,
    /// Variance of the effect that is due to slopes not known, over the variance of a sample.
    pub(crate) leverage: f64,
    /// By how much a deviation is larger than the usual one for it.
    pub(crate) widened: f64,
}

impl Regressors {
    /// Of a row without operating point.
    pub(crate) const NONE: Self = Self {
        at: [0; ACTIVE_MAX],
        value: [0.0; ACTIVE_MAX],
        n: 0,
        constant: 0,
        leverage: 0.0,
        widened: 1.0,
    };

    fn push(&mut self, at: usize, value: f64) {
        self.at[self.n] = at;
        self.value[self.n] = value;
        self.n += 1;
    }

    fn iter(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        let active = self.at.iter().copied().zip(self.value.iter().copied());
        active.take(self.n)
    }
}

/// Covariance of the slopes of one device, and the recent past of its axes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Operation {
    /// Lower triangle, row by row; empty without axes.
    covariance: Vec<f64>,
    /// EWMAs per axis, units; NaN never: `n_past` 0 before the first point.
    past: Vec<f64>,
    n_past: u8,
}
packed!(Operation {
    covariance,
    past,
    n_past
});

/// How far an error of this row moves the slopes.
pub(crate) struct Gain {
    of: [f64; SLOPES_MAX],
    n_axes: usize,
}

/// Number of slopes: the moving axes, then per regime a constant and the axes.
pub(crate) const fn n_slopes(n_axes: usize) -> usize {
    if n_axes == 0 {
        0
    } else {
        n_axes * PASTS + REGIMES_MAX * (1 + n_axes)
    }
}

const fn block(n_axes: usize, regime: usize) -> usize {
    n_axes * PASTS + regime * (1 + n_axes)
}

const fn triangle(i: usize, j: usize) -> usize {
    if i >= j {
        i * (i + 1) / 2 + j
    } else {
        j * (j + 1) / 2 + i
    }
}

impl Operation {
    pub(crate) fn new(n_axes: usize) -> Self {
        let n = n_slopes(n_axes);
        let mut covariance = vec![0.0; triangle(n, 0)];
        for i in 0..n {
            covariance[triangle(i, i)] = SLOPE_VARIANCE;
        }
        Self {
            covariance,
            past: vec![0.0; n_axes * PASTS],
            n_past: 0,
        }
    }

    pub(crate) fn fits(&self, n_axes: usize) -> bool {
        self.covariance.len() == triangle(n_slopes(n_axes), 0) && self.past.len() == n_axes * PASTS
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        (self.covariance.capacity() + self.past.capacity()) * size_of::<f64>()
    }

    /// The regressors of a row, and its gain: `axes` from the regime's usual point, `point` as it is, both in units.
    /// The point becomes part of the past.
    pub(crate) fn regressors(
        &mut self,
        axes: &Axes,
        point: &Axes,
        regime: usize,
    ) -> (Regressors, Gain) {
        let n_axes = self.past.len() / PASTS;
        let mut row = Regressors::NONE;
        for (axis, &x) in point.iter().enumerate().take(n_axes) {
            for (k, weight) in PAST_WEIGHTS.into_iter().enumerate() {
                let place = axis * PASTS + k;
                let past = &mut self.past[place];
                if self.n_past == 0 {
                    *past = x;
                }
                row.push(place, *past - x);
                *past += weight * (x - *past);
            }
        }
        self.n_past = 1;
        row.constant = block(n_axes, regime);
        row.push(row.constant, 1.0);
        for (axis, &x) in axes.iter().enumerate().take(n_axes) {
            row.push(row.constant + 1 + axis, x);
        }
        let mut of = [0.0; SLOPES_MAX];
        let n = n_slopes(n_axes);
        for (i, x) in row.iter() {
            let line = &self.covariance[triangle(i, 0)..=triangle(i, i)];
            for (product, c) in of.iter_mut().zip(line) {
                *product += c * x;
            }
            for (j, product) in of.iter_mut().enumerate().take(n).skip(i + 1) {
                *product += self.covariance[triangle(j, i)] * x;
            }
        }
        let leverage: f64 = row.iter().map(|(i, x)| x * of[i]).sum();
        row.leverage = leverage.max(0.0);
        row.widened = (1.0 + LEVERAGE_CAUTION * row.leverage).sqrt();
        let spread = 1.0 + row.leverage;
        of.iter_mut().for_each(|product| *product /= spread);
        (row, Gain { of, n_axes })
    }

    /// The regressors of a point at which the device has stood for long.
    pub(crate) fn at_rest(&self, axes: &Axes, regime: usize) -> Regressors {
        let n_axes = self.past.len() / PASTS;
        let mut row = Regressors::NONE;
        row.constant = block(n_axes, regime);
        for (axis, &x) in axes.iter().enumerate().take(n_axes) {
            row.push(row.constant + 1 + axis, x);
        }
        row
    }

    /// The slopes are another device's: they are known as if from a tenth of the rows.
    pub(crate) fn doubt(&mut self) {
        let n = n_slopes(self.past.len() / PASTS);
        // Scaled from both sides, so that no variance passes the first one and the matrix stays one of covariances.
        let scale: Vec<f64> = (0..n)
            .map(|i| {
                (SLOPE_VARIANCE / self.covariance[triangle(i, i)])
                    .clamp(1.0, 10.0)
                    .sqrt()
            })
            .collect();
        for i in 0..n {
            for j in 0..=i {
                self.covariance[triangle(i, j)] *= scale[i] * scale[j];
            }
        }
    }

    /// Counts a row as learnt from, with a trust of 0 to 1; `gain` is its own.
    pub(crate) fn absorb(&mut self, row: &Regressors, gain: &Gain, trust: f64) {
        let n = n_slopes(gain.n_axes);
        let root = (trust * (1.0 + row.leverage)).sqrt();
        let known = gain.of.map(|g| g * root);
        // Rounding must not make a variance negative.
        let variance = |c: f64, at: usize| (c - known[at] * known[at]).max(1e-12);
        // Old rows fade, but only where a row says something new: what is known must not be forgotten while the
        // operating point stands still.
        let mut fading = [1.0; SLOPES_MAX];
        for (at, _) in row.iter().filter(|(_, x)| *x != 0.0) {
            if variance(self.covariance[triangle(at, at)], at) < SLOPE_VARIANCE * KNOWN_SHARE {
                fading[at] = FORGETTING.sqrt().recip();
            }
        }
        let mut rest = &mut self.covariance[..];
        for i in 0..n {
            let Some((line, below)) = rest.split_at_mut_checked(i + 1) else {
                break;
            };
            rest = below;
            let (k, f) = (known[i], fading[i]);
            let diagonal = variance(line[i], i) * (f * f);
            for ((c, kj), fj) in line.iter_mut().zip(&known).zip(&fading) {
                *c = (*c - k * kj) * (f * fj);
            }
            line[i] = diagonal;
        }
    }

    /// The usual point of a regime has moved by `moved` on `axis`: its constant now stands for another point.
    pub(crate) fn move_usual(&mut self, regime: usize, axis: usize, moved: f64) {
        let n_axes = self.past.len() / PASTS;
        let constant = block(n_axes, regime);
        let slope = constant + 1 + axis;
        // c' = c + moved * s, row and column.
        let (cc, cs, ss) = (
            self.covariance[triangle(constant, constant)],
            self.covariance[triangle(constant, slope)],
            self.covariance[triangle(slope, slope)],
        );
        for j in (0..n_slopes(n_axes)).filter(|&j| j != constant) {
            let s = self.covariance[triangle(slope, j)];
            self.covariance[triangle(constant, j)] += moved * s;
        }
        self.covariance[triangle(constant, constant)] = cc + 2.0 * moved * cs + moved * moved * ss;
    }

    /// Nothing is known of the slopes of `regime` any more.
    pub(crate) fn forget_regime(&mut self, regime: usize) {
        let n_axes = self.past.len() / PASTS;
        let n = n_slopes(n_axes);
        let from = block(n_axes, regime);
        for i in (from..=from + n_axes).take(n) {
            for j in 0..n {
                self.covariance[triangle(i, j)] = 0.0;
            }
            self.covariance[triangle(i, i)] = SLOPE_VARIANCE;
        }
    }

    /// After a gap the past says nothing.
    pub(crate) fn forget_present(&mut self) {
        self.n_past = 0;
    }
}

impl Gain {
    /// The gain of the regime's constant, which is the level of each metric there.
    pub(crate) fn of_constant(&self, row: &Regressors) -> f64 {
        self.of.get(row.constant).map_or(0.0, |g| g.max(0.0))
    }

    /// Learns an error, in units, with a trust of 0 to 1. The constants stay 0: they are the levels'.
    pub(crate) fn learn(&self, slopes: &mut [f32], error: f64, trust: f32) {
        let way = error * f64::from(trust);
        for (slope, gain) in slopes.iter_mut().zip(&self.of) {
            let moved = f64::from(*slope) + gain * way;
            *slope = narrow(moved.clamp(-1e6, 1e6));
        }
        for regime in 0..REGIMES_MAX {
            if let Some(constant) = slopes.get_mut(block(self.n_axes, regime)) {
                *constant = 0.0;
            }
        }
    }
}

/// Slope of `axis` in `regime`, in units of the metric per unit of the axis.
pub(crate) fn slope(slopes: &[f32], n_axes: usize, regime: usize, axis: usize) -> f64 {
    let place = block(n_axes, regime) + 1 + axis;
    slopes.get(place).map_or(0.0, |&s| f64::from(s))
}

/// Regime `to` begins with the slopes of regime `from`.
pub(crate) fn copy_regime(slopes: &mut [f32], n_axes: usize, from: usize, to: usize) {
    let (from, to) = (block(n_axes, from), block(n_axes, to));
    if slopes.len() == n_slopes(n_axes) && n_axes > 0 {
        slopes.copy_within(from..from + 1 + n_axes, to);
    }
}

/// A departure as an axis: bounded.
pub(crate) fn axis(departure: f64) -> f64 {
    departure.clamp(-AXIS_MAX, AXIS_MAX)
}

/// What the operating point adds to a metric, in its units.
pub(crate) fn effect(slopes: &[f32], row: &Regressors) -> f64 {
    row.iter()
        .map(|(i, x)| slopes.get(i).map_or(0.0, |&s| f64::from(s)) * x)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a machine whose metric is `f(row, regressors' axes)`; the slopes it learns.
    fn learnt(n_rows: u32, seen: impl Fn(&Axes, &Axes, usize) -> f64) -> (Operation, Vec<f32>) {
        let mut operation = Operation::new(2);
        let mut slopes = vec![0.0_f32; n_slopes(2)];
        let mut slow = [0.0; AXES_MAX];
        for i in 0..n_rows {
            let regime = usize::from(i / 20 % 2 == 1);
            let axes = [f64::from(i % 7) - 3.0, f64::from(i % 5) - 2.0, 0.0, 0.0];
            let mut point = axes;
            point[0] += if regime == 1 { 30.0 } else { 0.0 };
            let (row, gain) = operation.regressors(&axes, &point, regime);
            let error =
                seen(&axes, &[slow[0] - point[0], 0.0, 0.0, 0.0], regime) - effect(&slopes, &row);
            slow[0] += 0.15 * (point[0] - slow[0]);
            gain.learn(&mut slopes, error, 1.0);
            operation.absorb(&row, &gain, 1.0);
        }
        (operation, slopes)
    }

    #[test]
    fn slopes_are_learnt_per_regime_from_clean_rows() {
        let (mut operation, slopes) = learnt(400, |axes, _, regime| {
            if regime == 0 {
                1.5 * axes[0] - 0.5 * axes[1]
            } else {
                -2.0 * axes[0]
            }
        });
        for (regime, x, y) in [(0, 1.0, 1.5), (1, 1.0, -2.0)] {
            let axes = [x, 0.0, 0.0, 0.0];
            operation.forget_present();
            let (row, _) = operation.regressors(&axes, &axes, regime);
            assert!((effect(&slopes, &row) - y).abs() < 0.05, "{regime}");
        }
    }

    #[test]
    fn where_nothing_was_learnt_leverage_is_large() {
        let (mut operation, _) = learnt(400, |axes, _, _| axes[0]);
        operation.forget_present();
        let mut leverage =
            |axes: Axes, regime| operation.regressors(&axes, &axes, regime).0.leverage;
        assert!(leverage([1.0, 1.0, 0.0, 0.0], 0) < 0.1);
        assert!(leverage([1.0, 1.0, 0.0, 0.0], 3) > 5.0, "another regime");
        assert!(leverage([300.0, 0.0, 0.0, 0.0], 0) > 5.0, "far away");
    }

    #[test]
    fn a_lag_is_learnt_from_moves_between_regimes() {
        let (mut operation, slopes) = learnt(2_000, |_, moved, _| 0.3 * moved[0]);
        operation.forget_present();
        let still = [0.0; AXES_MAX];
        for _ in 0..50 {
            operation.regressors(&still, &still, 0);
        }
        let moved = [30.0, 0.0, 0.0, 0.0];
        let (row, _) = operation.regressors(&still, &moved, 1);
        assert!((effect(&slopes, &row) + 9.0).abs() < 0.5);
    }
}
