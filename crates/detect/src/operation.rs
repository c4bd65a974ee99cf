//! The linear effect of the operating point within a regime, on each metric.
//!
//! Recursive least squares with Huberised errors. All metrics share the regressors, so one gain per row
//! serves them all. What is left of a metric once the effect is taken out is what its charts judge.

use crate::codec::packed;
use crate::regimes::AXES_MAX;

/// Variance of the slopes before anything is known, in units of metric per unit of axis.
const SLOPE_VARIANCE: f64 = 10.0;
/// Slopes average over about so many rows.
const FORGETTING: f64 = 1.0 - 1.0 / 4_000.0;
/// Axes count no farther from the regime's centre than this, units.
const AXIS_MAX: f64 = 1e4;

/// Departures of the operating point from its regime's usual one, in units of each axis.
pub(crate) type Axes = [f64; AXES_MAX];

/// Covariance of the slopes of one device.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Operation {
    /// Square, row by row; empty without axes.
    covariance: Vec<f64>,
}
packed!(Operation { covariance });

/// How far an error of this row moves the slopes.
pub(crate) struct Gain([f64; AXES_MAX]);

impl Operation {
    pub(crate) fn new(n_axes: usize) -> Self {
        let mut covariance = vec![0.0; n_axes * n_axes];
        for i in 0..n_axes {
            covariance[i * n_axes + i] = SLOPE_VARIANCE;
        }
        Self { covariance }
    }

    pub(crate) fn fits(&self, n_axes: usize) -> bool {
        self.covariance.len() == n_axes * n_axes
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.covariance.capacity() * size_of::<f64>()
    }

    /// Takes the axes of a row in.
    pub(crate) fn gain(&mut self, axes: &Axes, n_axes: usize) -> Gain {
        let mut gain = [0.0; AXES_MAX];
        let mut spread = 1.0;
        // Old rows fade, but not while the operating point stands still: what is known must not.
        let widest = (0..n_axes).map(|i| self.covariance[i * n_axes + i]);
        if widest.fold(0.0, f64::max) < SLOPE_VARIANCE * 1e-3 {
            self.covariance.iter_mut().for_each(|p| *p /= FORGETTING);
        }
        for i in 0..n_axes {
            let row = &self.covariance[i * n_axes..(i + 1) * n_axes];
            gain[i] = row.iter().zip(axes).map(|(p, x)| p * x).sum();
            spread += gain[i] * axes[i];
        }
        for i in 0..n_axes {
            for j in 0..=i {
                let p = self.covariance[i * n_axes + j] - gain[i] * gain[j] / spread;
                self.covariance[i * n_axes + j] = p;
                self.covariance[j * n_axes + i] = p;
            }
            // Rounding must not make a variance negative.
            let variance = &mut self.covariance[i * n_axes + i];
            *variance = variance.max(1e-12);
        }
        for g in &mut gain {
            *g /= spread;
        }
        Gain(gain)
    }
}

impl Gain {
    /// Learns an error, in units, with a trust of 0 to 1.
    pub(crate) fn learn(&self, slopes: &mut [f32], error: f64, trust: f32) {
        for (slope, gain) in slopes.iter_mut().zip(self.0) {
            let moved = f64::from(*slope) + gain * error * f64::from(trust);
            *slope = crate::together::narrow(moved.clamp(-1e6, 1e6));
        }
    }
}

/// A departure as an axis: bounded.
pub(crate) fn axis(departure: f64) -> f64 {
    departure.clamp(-AXIS_MAX, AXIS_MAX)
}

/// What the operating point adds to a metric, in its units.
pub(crate) fn effect(slopes: &[f32], axes: &Axes) -> f64 {
    slopes
        .iter()
        .zip(axes)
        .map(|(slope, x)| f64::from(*slope) * x)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_learnt_exactly_from_clean_rows() {
        let mut operation = Operation::new(2);
        let mut slopes = [0.0_f32; 2];
        for i in 0..200_u32 {
            let axes = [f64::from(i % 7) - 3.0, f64::from(i % 5) - 2.0, 0.0, 0.0];
            let seen = 1.5 * axes[0] - 0.5 * axes[1];
            let gain = operation.gain(&axes, 2);
            let error = seen - effect(&slopes, &axes);
            gain.learn(&mut slopes, error, 1.0);
        }
        assert!((slopes[0] - 1.5).abs() < 1e-3 && (slopes[1] + 0.5).abs() < 1e-3);
    }
}
