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

use crate::bounds::within;
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
/// Most regressors of one row that say how the axes move.
const MOVING_MAX: usize = AXES_MAX * PASTS;
/// Most regressors of one row that belong to its regime.
const OWN_MAX: usize = 1 + AXES_MAX;
/// Most slopes.
const SLOPES_MAX: usize = n_slopes(AXES_MAX);

/// Departures of the operating point from its regime's usual one, in units of each axis.
pub(crate) type Axes = [f64; AXES_MAX];

/// The regressors of one row that are not 0: two runs of neighbours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Regressors {
    /// How far each axis lies from its recent past; the first places.
    moving: [f64; MOVING_MAX],
    n_moving: usize,
    /// The regime's constant, 1, and its axes.
    own: [f64; OWN_MAX],
    n_own: usize,
    /// Place of the regime's constant; its axes follow.
    constant: usize,
    /// Slopes in use: those of regimes that have been opened. Nothing is known of the others, nor learnt.
    n_used: usize,
    /// Variance of the effect that is due to slopes not known, over the variance of a sample.
    pub(crate) leverage: f64,
    /// By how much a deviation is larger than the usual one for it.
    pub(crate) widened: f64,
}

impl Regressors {
    /// Of a row without operating point.
    pub(crate) const NONE: Self = Self {
        moving: [0.0; MOVING_MAX],
        n_moving: 0,
        own: [0.0; OWN_MAX],
        n_own: 0,
        constant: 0,
        n_used: 0,
        leverage: 0.0,
        widened: 1.0,
    };

    fn moving(&self) -> &[f64] {
        self.moving.get(..self.n_moving).unwrap_or_default()
    }

    fn own(&self) -> &[f64] {
        self.own.get(..self.n_own).unwrap_or_default()
    }

    /// Sum of the products with `of`, one value per slope; what lies beyond its end counts as 0.
    #[inline]
    fn times<T: Copy + Into<f64>>(&self, of: &[T]) -> f64 {
        let own = of.get(self.constant..).unwrap_or_default();
        // As long as the row's own: loops that are known to the compiler.
        let whole = match self.n_moving {
            2 => self.whole::<T, 2, 2>(of, own),
            4 => self.whole::<T, 4, 3>(of, own),
            6 => self.whole::<T, 6, 4>(of, own),
            _ => None,
        };
        if let Some(sum) = whole {
            return sum;
        }
        let mut sum = 0.0;
        for (x, &c) in self.moving().iter().zip(of) {
            sum += c.into() * x;
        }
        for (x, &c) in self.own().iter().zip(own) {
            sum += c.into() * x;
        }
        sum
    }

    /// The same where there are `MOVING` and `OWN` regressors, and a value for each.
    #[inline]
    fn whole<T: Copy + Into<f64>, const MOVING: usize, const OWN: usize>(
        &self,
        of: &[T],
        own: &[T],
    ) -> Option<f64> {
        let (of, own) = (of.first_chunk::<MOVING>()?, own.first_chunk::<OWN>()?);
        let mut sum = 0.0;
        for (x, &c) in self.moving.iter().zip(of) {
            sum += c.into() * x;
        }
        for (x, &c) in self.own.iter().zip(own) {
            sum += c.into() * x;
        }
        Some(sum)
    }

    /// Places and values.
    fn iter(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        let moving = self.moving().iter().copied().enumerate();
        let own = self.own().iter().copied().zip(self.constant..);
        moving.chain(own.map(|(x, at)| (at, x)))
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

impl Default for Gain {
    fn default() -> Self {
        Self {
            of: [0.0; SLOPES_MAX],
            n_axes: 0,
        }
    }
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

    /// The regressors of a row in `regime`, of `n_regimes` that have been opened; `gain` becomes its own. `axes` from the
    /// regime's usual point, `point` as it is, both in units. The point becomes part of the past.
    pub(crate) fn regressors(
        &mut self,
        (axes, point): (&Axes, &Axes),
        (regime, n_regimes): (usize, usize),
        gain: &mut Gain,
    ) -> Regressors {
        let n_axes = self.past.len() / PASTS;
        let mut row = Regressors::NONE;
        let is_first = self.n_past == 0;
        let moving = row.moving.as_chunks_mut::<PASTS>().0;
        let pasts = self.past.as_chunks_mut::<PASTS>().0;
        for ((moving, pasts), &x) in moving.iter_mut().zip(pasts).zip(point) {
            for ((moving, past), weight) in moving.iter_mut().zip(pasts).zip(PAST_WEIGHTS) {
                if is_first {
                    *past = x;
                }
                *moving = *past - x;
                *past += weight * (x - *past);
            }
        }
        row.n_moving = n_axes * PASTS;
        self.n_past = 1;
        row.constant = block(n_axes, regime);
        row.own[0] = 1.0;
        for (own, &x) in row.own[1..].iter_mut().zip(axes).take(n_axes) {
            *own = x;
        }
        row.n_own = 1 + n_axes;
        row.n_used = block(n_axes, n_regimes.clamp(regime + 1, REGIMES_MAX));
        self.products(&row, &mut gain.of);
        gain.n_axes = n_axes;
        row.leverage = row.times(&gain.of).max(0.0);
        row.widened = (1.0 + LEVERAGE_CAUTION * row.leverage).sqrt();
        let spread = 1.0 + row.leverage;
        let of = gain.of.iter_mut().take(row.n_used);
        of.for_each(|product| *product /= spread);
        row
    }

    /// The covariance times the regressors.
    fn products(&self, row: &Regressors, of: &mut [f64; SLOPES_MAX]) {
        let mut rest = &self.covariance[..];
        for (j, product) in of.iter_mut().enumerate().take(row.n_used) {
            let Some((line, below)) = rest.split_at_checked(j + 1) else {
                break;
            };
            rest = below;
            *product = row.times(line);
        }
        // The other half of the matrix.
        let mut add = |i: usize, x: f64| {
            let line = &self.covariance[triangle(i, 0)..triangle(i, i)];
            for (product, c) in of.iter_mut().zip(line) {
                *product += c * x;
            }
        };
        for (i, &x) in row.moving().iter().enumerate() {
            add(i, x);
        }
        for (i, &x) in row.own().iter().enumerate() {
            add(row.constant + i, x);
        }
    }

    /// The regressors of a point at which the device has stood for long.
    pub(crate) fn at_rest(&self, axes: &Axes, regime: usize) -> Regressors {
        let n_axes = self.past.len() / PASTS;
        let mut row = Regressors::NONE;
        row.constant = block(n_axes, regime);
        for (own, &x) in row.own[1..].iter_mut().zip(axes).take(n_axes) {
            *own = x;
        }
        row.n_own = 1 + n_axes;
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
        let n = row.n_used;
        let root = (trust * (1.0 + row.leverage)).sqrt();
        let mut known = [0.0; SLOPES_MAX];
        for (known, g) in known.iter_mut().zip(&gain.of).take(n) {
            *known = g * root;
        }
        // Rounding must not make a variance negative.
        let variance = |c: f64, at: usize| (c - known[at] * known[at]).max(1e-12);
        // Old rows fade, but only where a row says something new: what is known must not be forgotten while the
        // operating point stands still.
        let faded = FORGETTING.sqrt().recip();
        let mut fading = [1.0; SLOPES_MAX];
        for (at, _) in row.iter().filter(|(_, x)| *x != 0.0) {
            if variance(self.covariance[triangle(at, at)], at) < SLOPE_VARIANCE * KNOWN_SHARE {
                fading[at] = faded;
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
            let step = |c: &mut f64, kj: f64, fj: f64| *c = (*c - k * kj) * (f * fj);
            // Two at once.
            let (pairs, last) = line.as_chunks_mut::<2>();
            let (known_pairs, _) = known.as_chunks::<2>();
            let (fading_pairs, _) = fading.as_chunks::<2>();
            for ((c, kj), fj) in pairs.iter_mut().zip(known_pairs).zip(fading_pairs) {
                step(&mut c[0], kj[0], fj[0]);
                step(&mut c[1], kj[1], fj[1]);
            }
            if let Some(c) = last.first_mut() {
                *c = diagonal;
            } else if let Some(c) = pairs.last_mut() {
                c[1] = diagonal;
            }
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
    pub(crate) fn learn(&self, row: &Regressors, slopes: &mut [f32], error: f64, trust: f32) {
        let way = error * f64::from(trust);
        let step = |slope: &mut f32, gain: f64| {
            let moved = f64::from(*slope) + gain * way;
            *slope = narrow(within(moved, 1e6));
        };
        // Four at once; beyond those in use the gain is 0.
        let (fours, last) = slopes.as_chunks_mut::<4>();
        let (gains, _) = self.of.as_chunks::<4>();
        let n_fours = fours.len();
        for (slopes, gains) in fours.iter_mut().zip(gains).take(row.n_used.div_ceil(4)) {
            for (slope, gain) in slopes.iter_mut().zip(gains) {
                step(slope, *gain);
            }
        }
        for (slope, gain) in last.iter_mut().zip(&self.of[4 * n_fours..]) {
            step(slope, *gain);
        }
        let mut constant = block(self.n_axes, 0);
        while constant < row.n_used {
            if let Some(constant) = slopes.get_mut(constant) {
                *constant = 0.0;
            }
            constant += 1 + self.n_axes;
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
    row.times(slopes)
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
            let mut gain = Gain::default();
            let row = operation.regressors((&axes, &point), (regime, 2), &mut gain);
            let error =
                seen(&axes, &[slow[0] - point[0], 0.0, 0.0, 0.0], regime) - effect(&slopes, &row);
            slow[0] += 0.15 * (point[0] - slow[0]);
            gain.learn(&row, &mut slopes, error, 1.0);
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
            let row = operation.regressors((&axes, &axes), (regime, 4), &mut Gain::default());
            assert!((effect(&slopes, &row) - y).abs() < 0.05, "{regime}");
        }
    }

    #[test]
    fn where_nothing_was_learnt_leverage_is_large() {
        let (mut operation, _) = learnt(400, |axes, _, _| axes[0]);
        operation.forget_present();
        let mut leverage = |axes: Axes, regime| {
            operation
                .regressors((&axes, &axes), (regime, 4), &mut Gain::default())
                .leverage
        };
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
            operation.regressors((&still, &still), (0, 2), &mut Gain::default());
        }
        let moved = [30.0, 0.0, 0.0, 0.0];
        let row = operation.regressors((&still, &moved), (1, 2), &mut Gain::default());
        assert!((effect(&slopes, &row) + 9.0).abs() < 0.5);
    }
}
