//! Control charts that calibrate themselves: an EWMA, judged in units of its own deviation.
//!
//! A chart learns the variance and the lag-one correlation of what it is fed, so that an autocorrelated
//! series does not look like one alarm after the other. For AR(1) input with correlation r, an EWMA of
//! weight a has the variance `v a/(2-a) (1 + r(1-a))/(1 - r(1-a))` (Schmid 1997, for the modified EWMA chart).

use wide::f32x4;

use crate::bounds::{least, most, within};
use crate::codec::packed;

/// Farthest a single sample may pull an EWMA, in deviations: one wild value is no change.
const PULL_MAX: f32 = 3.0;
/// Farthest a single sample may count for mean and variance, deviations.
const LEARN_MAX: f32 = 4.0;
/// Least variance counted with.
const VARIANCE_MIN: f32 = 1e-6;
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
        most(self.var, VARIANCE_MIN).sqrt()
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
}

/// A number of each of four things, side by side.
#[inline]
pub(crate) fn four<T>([a, b, c, d]: [&T; 4], number: impl Fn(&T) -> f32) -> f32x4 {
    f32x4::new([number(a), number(b), number(c), number(d)])
}

/// The [`Moments`] of four series, side by side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Charted {
    pub(crate) mean: f32x4,
    /// At least a least variance.
    var: f32x4,
    cov: f32x4,
    pub(crate) n: f32x4,
}

impl Charted {
    #[inline]
    pub(crate) fn of(of: [&Moments; 4]) -> Self {
        Self {
            mean: four(of, |m| m.mean),
            var: four(of, |m| m.var).fast_max(f32x4::splat(VARIANCE_MIN)),
            cov: four(of, |m| m.cov),
            n: four(of, |m| m.n),
        }
    }

    /// Deviation of one sample.
    #[inline]
    pub(crate) fn sd(&self) -> f32x4 {
        self.var.sqrt()
    }

    /// Lag-one correlation, 0 to below 1.
    #[inline]
    fn correlation(&self) -> f32x4 {
        let most = f32x4::splat(CORRELATION_MAX);
        (self.cov / self.var)
            .fast_min(most)
            .fast_max(f32x4::splat(0.0))
    }

    /// Deviation of EWMAs of the given weights about the mean, with the mean known from `n_mean` samples.
    #[inline]
    pub(crate) fn ewma_sds<const N: usize>(&self, weights: [f32; N], n_mean: f32x4) -> [f32x4; N] {
        let one = f32x4::splat(1.0);
        let r = self.correlation();
        let unsure = ((one + r) / ((one - r) * n_mean.fast_max(one))).fast_min(one);
        weights.map(|a| {
            let q = r * f32x4::splat(1.0 - a);
            let wander = f32x4::splat(a) * (one + q) / (f32x4::splat(2.0 - a) * (one - q));
            (self.var * (wander + unsure)).sqrt()
        })
    }
}

/// Four EWMAs as [`pull`] leaves them.
#[inline]
pub(crate) fn pulled(ewma: f32x4, y: f32x4, a: f32, sd: f32x4) -> f32x4 {
    let reach = f32x4::splat(PULL_MAX) * sd;
    let way = (y - ewma).fast_min(reach).fast_max(-reach);
    ewma + f32x4::splat(a) * way
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
