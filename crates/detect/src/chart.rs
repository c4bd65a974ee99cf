//! Control charts that calibrate themselves: an EWMA, judged in units of its own deviation.
//!
//! A chart learns the variance and the lag-one correlation of what it is fed, so that an autocorrelated
//! series does not look like one alarm after the other. For AR(1) input with correlation r, an EWMA of
//! weight a has the variance `v a/(2-a) (1 + r(1-a))/(1 - r(1-a))` (Schmid 1997, for the modified EWMA chart).

use crate::bounds::{least, most, within};
use crate::codec::packed;

/// Farthest a single sample may pull an EWMA, in deviations: one wild value is no change.
const PULL_MAX: f32 = 3.0;
/// Farthest a single sample may count for mean and variance, deviations.
const LEARN_MAX: f32 = 4.0;
/// Correlation beyond which an AR(1) is taken as a random walk.
const CORRELATION_MAX: f32 = 0.98;
/// The prior weighs as much as so many samples.
const PRIOR_SAMPLES: f32 = 30.0;

/// Mean, variance and lag-one correlation of a series, learnt slowly and robustly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Moments {
    pub(crate) mean: f32,
    pub(crate) var: f32,
    /// Lag-one covariance.
    cov: f32,
    /// Last deviation, deviations of its own; NaN never: 0 after a gap.
    prev: f32,
    pub(crate) n: f32,
}
packed!(Moments {
    mean,
    var,
    cov,
    prev,
    n
});

impl Moments {
    pub(crate) const fn new(mean: f32, var: f32) -> Self {
        Self {
            mean,
            var,
            cov: 0.0,
            prev: 0.0,
            n: 0.0,
        }
    }

    /// Deviation of one sample.
    pub(crate) fn sd(&self) -> f32 {
        most(self.var, 1e-6).sqrt()
    }

    /// Lag-one correlation, 0 to below 1.
    pub(crate) fn correlation(&self) -> f32 {
        most(least(self.cov / most(self.var, 1e-6), CORRELATION_MAX), 0.0)
    }

    /// Learns `y` with `weight` 0..=1 (0: nothing but the order), averaging over `n_max` samples.
    pub(crate) fn learn(&mut self, y: f32, weight: f32, n_max: f32, with_mean: bool) {
        let sd = self.sd();
        let e = within(y - self.mean, LEARN_MAX * sd);
        if weight > 0.0 {
            self.n = least(self.n + weight, n_max);
            let rate = weight / (self.n + PRIOR_SAMPLES);
            if with_mean {
                self.mean += rate * e;
            }
            self.var += rate * (e * e - self.var);
            self.cov += rate * (e * self.prev - self.cov);
        }
        self.prev = e;
    }

    pub(crate) fn forget_order(&mut self) {
        self.prev = 0.0;
    }

    /// Deviation of EWMAs of the given weights about the mean, with the mean known from `n_mean` samples.
    pub(crate) fn ewma_sds<const N: usize>(&self, weights: [f32; N], n_mean: f32) -> [f32; N] {
        let r = self.correlation();
        let unsure = (1.0 + r) / ((1.0 - r) * most(n_mean, 1.0));
        weights.map(|a| {
            let q = r * (1.0 - a);
            let wander = a * (1.0 + q) / ((2.0 - a) * (1.0 - q));
            (most(self.var, 1e-6) * (wander + least(unsure, 1.0))).sqrt()
        })
    }
}

/// Moves `ewma` towards `y` by weight `a`, a single sample at most by `a` times [`PULL_MAX`] `sd`.
pub(crate) fn pull(ewma: &mut f32, y: f32, a: f32, sd: f32) {
    *ewma += a * within(y - *ewma, PULL_MAX * sd);
}

/// Upper quantile of the normal distribution for a tail probability 1e-300..0.5: Abramowitz and Stegun
/// 26.2.23, error below 4.5e-4.
pub(crate) fn normal_quantile(tail: f64) -> f64 {
    let t = (-2.0 * tail.clamp(1e-300, 0.5).ln()).sqrt();
    t - (2.515_517 + t * (0.802_853 + t * 0.010_328))
        / (1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_the_normal_distribution() {
        for (tail, z) in [(0.5, 0.0), (0.025, 1.959_96), (1e-6, 4.753_42)] {
            assert!((normal_quantile(tail) - z).abs() < 1e-3, "{tail}");
        }
    }

    #[test]
    fn a_single_wild_value_hardly_moves_an_ewma() {
        let mut ewma = 0.0;
        pull(&mut ewma, 1e30, 0.3, 1.0);
        assert!(ewma <= 0.91);
    }
}
