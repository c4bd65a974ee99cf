//! The metrics together: which combinations are unusual, though each value may be usual.
//!
//! A shrunk covariance of the standardised residuals is kept (Ledoit and Wolf's idea with a fixed rule for
//! the shrinkage) and factorised now and then. It gives three things: the linear effect of the operating
//! point within a regime, Hotelling's T² over the other metrics, and for each metric what the others let
//! expect of it: with precision matrix P, that is `z - (Pz)_i / P_ii`.

use linfa_linalg::cholesky::InverseC;
use ndarray::{Array2, Axis};

use crate::chart::{Moments, pull};
use crate::codec::packed;

/// Most metrics covered; the first of the class, the operating point included.
pub(crate) const TOGETHER_MAX: usize = 16;
/// Weight of the chart over T².
const CHART_WEIGHT: f32 = 0.1;
/// Residuals count no farther than this.
const RESIDUAL_MAX: f32 = 8.0;
/// Samples between two factorisations.
const REFIT_SAMPLES: u16 = 128;

/// Residuals of one row. Positions `0..n_health` are metrics that speak of health, then the operating point.
pub(crate) type Residuals = [f32; TOGETHER_MAX];

/// State over the metrics of one device.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Together {
    /// Lower triangle of the covariance of all residuals.
    cov: Vec<f32>,
    n: f32,
    since_fit: u16,
    /// True once factorised.
    fitted: u8,
    /// Effect of each operating-point residual on each health residual.
    slopes: Vec<f32>,
    /// Deviation of each health residual once those effects are taken out.
    sds: Vec<f32>,
    /// Precision of the health residuals in units of `sds`: lower triangle.
    precision: Vec<f32>,
    chart: Moments,
    ewma: f32,
}
packed!(Together {
    cov,
    n,
    since_fit,
    fitted,
    slopes,
    sds,
    precision,
    chart,
    ewma
});

/// T² of one row, taken apart.
pub(crate) struct Joint {
    /// Cube root of T² per metric: near normal (Wilson and Hilferty 1931).
    u: f32,
    /// Signed departure of each metric from what the others let expect, in its conditional deviations.
    pub(crate) departures: Residuals,
    /// The same, in residual units.
    pub(crate) surprise: Residuals,
}

fn triangle(i: usize, j: usize) -> usize {
    i * (i + 1) / 2 + j
}

impl Together {
    pub(crate) fn new(n_health: usize, n_axes: usize) -> Self {
        let n = n_health + n_axes;
        Self {
            cov: vec![0.0; n * (n + 1) / 2],
            n: 0.0,
            since_fit: 0,
            fitted: 0,
            slopes: vec![0.0; n_health * n_axes],
            sds: vec![1.0; n_health],
            precision: Vec::new(),
            chart: Moments::new(1.0, 0.05),
            ewma: 0.0,
        }
    }

    pub(crate) fn fits(&self, n_health: usize, n_axes: usize) -> bool {
        let n = n_health + n_axes;
        self.cov.len() == n * (n + 1) / 2
            && self.slopes.len() == n_health * n_axes
            && self.sds.len() == n_health
            && (self.fitted == 0 || self.precision.len() == n_health * (n_health + 1) / 2)
    }

    /// Size on the heap, bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        let n = self.cov.capacity()
            + self.slopes.capacity()
            + self.sds.capacity()
            + self.precision.capacity();
        n * size_of::<f32>()
    }

    fn n_axes(&self) -> usize {
        self.slopes.len() / self.sds.len().max(1)
    }

    /// Residual `q` of health metric `i` with the effect of the operating point taken out: its value in
    /// deviations, and how much of `q` the operating point explains.
    pub(crate) fn compensated(&self, i: usize, q: f32, all: &Residuals) -> (f32, f32) {
        let n_axes = self.n_axes();
        let axes = &all[self.sds.len()..self.sds.len() + n_axes];
        let effect: f32 = self.slopes[i * n_axes..(i + 1) * n_axes]
            .iter()
            .zip(axes)
            .map(|(b, x)| b * x)
            .sum();
        ((q - effect) / self.sds[i], effect)
    }

    /// Deviation of health metric `i`'s residual once compensated.
    pub(crate) fn sd(&self, i: usize) -> f32 {
        self.sds[i]
    }

    /// Learns the residuals of one row; unready metrics are 0.
    pub(crate) fn learn(&mut self, all: &Residuals, weight: f32, n_max: f32, n_min: f32) {
        if weight <= 0.0 {
            return;
        }
        let n_all = self.sds.len() + self.n_axes();
        self.n = (self.n + weight).min(n_max);
        let rate = (2.0 * weight / (self.n + 2.0)).min(1.0);
        for i in 0..n_all {
            let x = all[i].clamp(-RESIDUAL_MAX, RESIDUAL_MAX);
            let row = &mut self.cov[triangle(i, 0)..=triangle(i, i)];
            for (c, y) in row.iter_mut().zip(all) {
                *c += rate * (x * y.clamp(-RESIDUAL_MAX, RESIDUAL_MAX) - *c);
            }
        }
        self.since_fit = self.since_fit.saturating_add(1);
        if self.n >= n_min && (self.fitted == 0 || self.since_fit >= REFIT_SAMPLES) {
            self.since_fit = 0;
            self.refit();
        }
    }

    /// Factorises. A covariance that cannot be inverted keeps the last factors.
    fn refit(&mut self) {
        let n_health = self.sds.len();
        let n_all = n_health + self.n_axes();
        if n_health == 0 {
            return;
        }
        let shrink = 1.0 - (0.02 + n_all as f32 / self.n.max(1.0)).min(0.5);
        let cov = Array2::from_shape_fn((n_all, n_all), |(i, j)| {
            let c = |i: usize| f64::from(self.cov[triangle(i, i)]);
            // A metric that does not vary stands alone.
            if i == j {
                if c(i) < 0.01 { 1.0 } else { c(i) }
            } else if c(i) < 0.01 || c(j) < 0.01 {
                0.0
            } else {
                f64::from(shrink * self.cov[triangle(i.max(j), i.min(j))])
            }
        });
        let (of_health, of_axes) = cov.view().split_at(Axis(0), n_health);
        let (health, cross) = of_health.split_at(Axis(1), n_health);
        let axes = of_axes.split_at(Axis(1), n_health).1.to_owned();
        let (slopes, rest) = if n_all > n_health {
            let Ok(inverse) = axes.invc() else { return };
            let slopes = cross.dot(&inverse);
            let rest = &health - &slopes.dot(&cross.t());
            (slopes, rest)
        } else {
            (Array2::zeros((n_health, 0)), health.to_owned())
        };
        let sds: Vec<f64> = rest.diag().iter().map(|v| v.max(0.01).sqrt()).collect();
        let unit = Array2::from_shape_fn((n_health, n_health), |(i, j)| {
            if i == j {
                1.0
            } else {
                rest[(i, j)] / (sds[i] * sds[j])
            }
        });
        let Ok(precision) = unit.invc() else { return };
        if precision.iter().chain(&slopes).any(|p| !p.is_finite()) {
            return;
        }
        self.slopes = slopes.iter().map(|&b| narrow(b)).collect();
        self.sds = sds.iter().map(|&v| narrow(v)).collect();
        self.precision.clear();
        for i in 0..n_health {
            for j in 0..=i {
                self.precision.push(narrow(precision[(i, j)]));
            }
        }
        self.fitted = 1;
    }

    /// T² of compensated residuals `z`, of which `n_ready` metrics are in use.
    pub(crate) fn joint(&self, z: &Residuals, n_ready: usize) -> Option<Joint> {
        if self.fitted == 0 || n_ready < 2 {
            return None;
        }
        let n = self.sds.len();
        let mut clipped = [0.0_f32; TOGETHER_MAX];
        for (c, z) in clipped.iter_mut().zip(z) {
            *c = z.clamp(-RESIDUAL_MAX, RESIDUAL_MAX);
        }
        let mut pz = [0.0_f32; TOGETHER_MAX];
        for i in 0..n {
            let row = &self.precision[triangle(i, 0)..=triangle(i, i)];
            for (j, p) in row.iter().enumerate().take(i) {
                pz[i] += p * clipped[j];
                pz[j] += p * clipped[i];
            }
            pz[i] += row[i] * clipped[i];
        }
        let mut joint = Joint {
            u: 0.0,
            departures: [0.0; TOGETHER_MAX],
            surprise: [0.0; TOGETHER_MAX],
        };
        let mut t2 = 0.0_f32;
        for i in 0..n {
            let p = self.precision[triangle(i, i)].max(1e-6);
            t2 += clipped[i] * pz[i];
            joint.departures[i] = pz[i] / p.sqrt();
            joint.surprise[i] = pz[i] / p;
        }
        joint.u = (t2.max(0.0) / n_ready as f32).cbrt();
        Some(joint)
    }

    /// Takes T² into the chart; how far it stands above its usual value, in deviations of the chart.
    pub(crate) fn judge(&mut self, joint: &Joint) -> f32 {
        let sd = self.chart.sd();
        pull(&mut self.ewma, joint.u - self.chart.mean, CHART_WEIGHT, sd);
        self.ewma / self.chart.ewma_sd(CHART_WEIGHT, self.chart.n + 30.0)
    }

    /// Learns what T² usually is.
    pub(crate) fn learn_usual(&mut self, joint: &Joint, weight: f32, n_max: f32) {
        self.chart.learn(joint.u, weight, n_max, true);
    }

    /// Samples the chart has learnt from.
    pub(crate) fn n_usual(&self) -> f32 {
        self.chart.n
    }

    /// After a gap or a repair: the present state says nothing.
    pub(crate) fn forget_present(&mut self) {
        self.ewma = 0.0;
        self.chart.forget_order();
    }
}

/// To single precision; callers keep magnitudes far inside its range.
#[allow(
    clippy::cast_possible_truncation,
    reason = "rounds to the nearest f32; saturates to infinity, which callers exclude"
)]
pub(crate) fn narrow(x: f64) -> f32 {
    x as f32
}
