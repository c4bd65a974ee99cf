//! The metrics together: which combinations are unusual, though each value may be usual.
//!
//! A shrunk covariance of the standardised residuals is kept (Ledoit and Wolf's idea with a fixed rule for
//! the shrinkage) and factorised now and then. It gives two things: Hotelling's T² over the metrics, and for
//! each metric what the others let expect of it: with precision matrix P, that is `z - (Pz)_i / P_ii`.

use linfa_linalg::cholesky::InverseC;
use ndarray::Array2;
use wide::f32x4;

use crate::bounds::{least, most, within};
use crate::chart::{Charted, Moments, pull};
use crate::codec::packed;

/// Most metrics covered: the first of the class that speak of health.
pub(crate) const TOGETHER_MAX: usize = 16;
/// Weight of the chart over T².
const CHART_WEIGHT: f32 = 0.1;
/// Residuals count no farther than this.
const RESIDUAL_MAX: f32 = 8.0;
/// A residual whose variance is below this does not vary.
const VARIANCE_MIN: f32 = 0.01;
/// Samples between two factorisations.
const REFIT_SAMPLES: u16 = 128;

/// Residuals of one row, in deviations.
pub(crate) type Residuals = [f32; TOGETHER_MAX];

/// State over the metrics of one device.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Together {
    /// Lower triangle of the covariance of the residuals.
    cov: Vec<f32>,
    n: f32,
    since_fit: u16,
    /// Deviation of each residual at the last factorisation.
    sds: Vec<f32>,
    /// Precision in units of `sds`: lower triangle; empty before the first factorisation.
    precision: Vec<f32>,
    chart: Moments,
    ewma: f32,
    /// Smoothed square of each metric's departure from what the others let expect.
    blame: Vec<f32>,
}
packed!(Together {
    cov,
    n,
    since_fit,
    sds,
    precision,
    chart,
    ewma,
    blame
});

/// T² of one row, taken apart.
pub(crate) struct Joint {
    /// Cube root of T² per metric: near normal (Wilson and Hilferty 1931).
    u: f32,
    /// Signed departure of each metric from what the others let expect, in its conditional deviations.
    pub(crate) departures: Residuals,
    /// What the others let expect of each metric, as a residual; 0 until [`Together::expect`] is asked.
    pub(crate) expected: Residuals,
    /// The residuals in deviations, bounded, and the precision times these.
    clipped: Residuals,
    pz: Residuals,
}

fn triangle(i: usize, j: usize) -> usize {
    i * (i + 1) / 2 + j
}

impl Together {
    pub(crate) fn new(n_metrics: usize) -> Self {
        Self {
            cov: vec![0.0; triangle(n_metrics, 0)],
            n: 0.0,
            since_fit: 0,
            sds: vec![1.0; n_metrics],
            precision: Vec::new(),
            chart: Moments::new(1.0, 0.05),
            ewma: 0.0,
            blame: vec![0.0; n_metrics],
        }
    }

    pub(crate) fn fits(&self, n_metrics: usize) -> bool {
        self.cov.len() == triangle(n_metrics, 0)
            && self.sds.len() == n_metrics
            && self.blame.len() == n_metrics
            && (self.precision.is_empty() || self.precision.len() == self.cov.len())
    }

    /// Size on the heap, bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        let n = self.cov.capacity()
            + self.sds.capacity()
            + self.precision.capacity()
            + self.blame.capacity();
        n * size_of::<f32>()
    }

    /// Learns the residuals of one row; unready metrics are 0.
    pub(crate) fn learn(&mut self, all: &Residuals, weight: f32, n_max: f32, n_min: f32) {
        if weight <= 0.0 {
            return;
        }
        self.n = least(self.n + weight, n_max);
        let rate = least(2.0 * weight / (self.n + 2.0), 1.0);
        let all = all.map(|x| within(x, RESIDUAL_MAX));
        let mut rest = &mut self.cov[..];
        for (i, x) in all.iter().enumerate().take(self.sds.len()) {
            let Some((row, below)) = rest.split_at_mut_checked(i + 1) else {
                break;
            };
            rest = below;
            for (c, y) in row.iter_mut().zip(&all) {
                *c += rate * (x * y - *c);
            }
        }
        self.since_fit = self.since_fit.saturating_add(1);
        if self.n >= n_min && (self.precision.is_empty() || self.since_fit >= REFIT_SAMPLES) {
            self.since_fit = 0;
            self.refit();
        }
    }

    /// Factorises. A covariance that cannot be inverted keeps the last factors.
    fn refit(&mut self) {
        let n = self.sds.len();
        if n == 0 {
            return;
        }
        let shrink = 1.0 - (0.02 + n as f32 / self.n.max(1.0)).min(0.5);
        let var = |i: usize| self.cov[triangle(i, i)];
        let correlations = Array2::from_shape_fn((n, n), |(i, j)| {
            if i == j {
                1.0
            } else if var(i) < VARIANCE_MIN || var(j) < VARIANCE_MIN {
                // A metric that does not vary stands alone.
                0.0
            } else {
                let c = self.cov[triangle(i.max(j), i.min(j))];
                f64::from(shrink * c / (var(i) * var(j)).sqrt())
            }
        });
        let Ok(precision) = correlations.invc() else {
            return;
        };
        if precision.iter().any(|p| !p.is_finite()) {
            return;
        }
        self.sds = (0..n)
            .map(|i| {
                if var(i) < VARIANCE_MIN {
                    1.0
                } else {
                    var(i).sqrt()
                }
            })
            .collect();
        self.precision.clear();
        for i in 0..n {
            for j in 0..=i {
                self.precision.push(narrow(precision[(i, j)]));
            }
        }
    }

    /// T² of residuals `z`, of which `n_ready` metrics are in use.
    pub(crate) fn joint(&self, z: &Residuals, n_ready: usize) -> Option<Joint> {
        if self.precision.is_empty() || n_ready < 2 {
            return None;
        }
        let n = self.sds.len();
        let mut clipped = [0.0_f32; TOGETHER_MAX];
        for ((c, z), sd) in clipped.iter_mut().zip(z).zip(&self.sds) {
            *c = within(z / sd, RESIDUAL_MAX);
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
            expected: [0.0; TOGETHER_MAX],
            clipped,
            pz,
        };
        let mut t2 = 0.0_f32;
        for i in 0..n {
            let p = most(self.precision[triangle(i, i)], 1e-6);
            t2 += clipped[i] * pz[i];
            joint.departures[i] = pz[i] / p.sqrt();
        }
        joint.u = (most(t2, 0.0) / n_ready as f32).cbrt();
        Some(joint)
    }

    /// Says what the others let expect of each metric.
    pub(crate) fn expect(&self, joint: &mut Joint) {
        for (i, sd) in self.sds.iter().enumerate() {
            let p = most(self.precision[triangle(i, i)], 1e-6);
            joint.expected[i] = sd * (joint.clipped[i] - joint.pz[i] / p);
        }
    }

    /// Takes T² into the chart.
    pub(crate) fn chart(&mut self, joint: &Joint) {
        let sd = self.chart.sd();
        pull(&mut self.ewma, joint.u - self.chart.mean, CHART_WEIGHT, sd);
        for (blame, departure) in self.blame.iter_mut().zip(joint.departures) {
            *blame += CHART_WEIGHT * (departure * departure - *blame);
        }
    }

    /// How far T² stands above its usual value, in deviations of its chart.
    pub(crate) fn departure(&self) -> f32 {
        let chart = Charted::of([&self.chart; 4]);
        let [sd] = chart.ewma_sds([CHART_WEIGHT], chart.n + f32x4::splat(30.0));
        self.ewma / sd.to_array()[0]
    }

    /// Share of each metric in the present departure; they sum to 1.
    pub(crate) fn shares(&self) -> Residuals {
        let mut shares = [0.0; TOGETHER_MAX];
        // A metric that only does what it always does (1 on average) is not to blame.
        let beyond = |b: f32| (b - 1.0).max(0.0);
        let all: f32 = self.blame.iter().map(|&b| beyond(b)).sum();
        if all > 0.0 {
            for (share, &b) in shares.iter_mut().zip(&self.blame) {
                *share = beyond(b) / all;
            }
        }
        shares
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
        self.blame.fill(0.0);
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
