//! Prediction intervals by conformal prediction.
//!
//! The estimate for a machine that was held out of the training differs from the truth by so much: the empirical
//! quantiles of these differences, near the same estimate, are the interval (split conformal prediction:
//! Vovk, Gammerman, Shafer 2005; locally: Lei et al., "Distribution-free predictive inference for regression",
//! 2018). Machines, not rows, are exchangeable, so every machine weighs the same.

use serde::{Deserialize, Serialize};

/// Estimates at which the interval is known, the denser the nearer the failure; between them straight lines.
const KNOTS: usize = 16;
/// Share of the weight around a knot that speaks for it; less where the knot would not be in the middle: just before
/// a failure errors grow with the estimate, and those of longer ones would make the shortest too wide.
const NEIGHBOURHOOD: f64 = 0.12;
/// But at least so much on either side.
const LEAST_HALF: f64 = 0.01;
/// Share of machines that fail between p10 and p90.
const INSIDE: f64 = 0.8;

/// A held-out estimate, hours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct HeldOut {
    pub(crate) estimate: f64,
    /// Not capped.
    pub(crate) truth: f64,
    /// Sums to 1 over a machine.
    pub(crate) weight: f64,
}

/// What to add to an estimate for the lower and the upper end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Intervals {
    /// Estimate, lower and upper difference, hours; ascending.
    knots: Vec<(f64, f64, f64)>,
}

impl Intervals {
    /// From held-out estimates of `n_machines` machines.
    pub(crate) fn learn(held: &[HeldOut], n_machines: usize) -> Self {
        let mut sorted: Vec<&HeldOut> = held.iter().filter(|h| h.weight > 0.0).collect();
        sorted.sort_by(|a, b| {
            a.estimate
                .total_cmp(&b.estimate)
                .then(a.truth.total_cmp(&b.truth))
        });
        // Weight up to and with each.
        let mut up_to = Vec::with_capacity(sorted.len());
        let mut total = 0.0;
        for h in &sorted {
            total += h.weight;
            up_to.push(total);
        }
        // The finite-sample correction: of n machines, (n + 1) q must lie inside for the next one to be.
        let n = n_machines.max(1) as f64;
        let half = (INSIDE / 2.0 * (n + 1.0) / n).min(0.5);
        let (lower, upper) = (0.5 - half, 0.5 + half);
        let place = |weight: f64| {
            let at = up_to.partition_point(|w| *w < weight);
            at.min(sorted.len().saturating_sub(1))
        };
        let mut knots: Vec<(f64, f64, f64)> = Vec::with_capacity(KNOTS);
        for knot in 0..KNOTS {
            let share = ((knot as f64 + 0.5) / KNOTS as f64).powi(2);
            let half = (NEIGHBOURHOOD / 2.0).min(share.max(LEAST_HALF));
            let low = (share - half).clamp(0.0, 1.0 - 2.0 * half);
            let (Some(first), Some(centre), Some(last)) = (
                sorted.get(place(low * total)),
                sorted.get(place(share * total)),
                sorted.get(place((low + 2.0 * half) * total)),
            ) else {
                continue;
            };
            // Where many have the same estimate, that of the cap, all of them or none.
            let from = sorted.partition_point(|h| h.estimate < first.estimate);
            let to = sorted.partition_point(|h| h.estimate <= last.estimate);
            let mut near: Vec<(f64, f64)> = sorted[from..to]
                .iter()
                .map(|h| (h.truth - h.estimate, h.weight))
                .collect();
            near.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (Some(low), Some(high)) = (quantile(&near, lower), quantile(&near, upper)) else {
                continue;
            };
            if knots.last().is_none_or(|k| k.0 < centre.estimate) {
                knots.push((centre.estimate, low, high));
            }
        }
        Self { knots }
    }

    /// Lower and upper end for an estimate, hours: at least 0, and around the estimate.
    pub(crate) fn around(&self, estimate: f64) -> (f64, f64) {
        let place = self.knots.partition_point(|k| k.0 <= estimate);
        let (lower, upper) = match (
            place.checked_sub(1).and_then(|p| self.knots.get(p)),
            self.knots.get(place),
        ) {
            (Some(a), Some(b)) => {
                let share = (estimate - a.0) / (b.0 - a.0);
                (a.1 + (b.1 - a.1) * share, a.2 + (b.2 - a.2) * share)
            }
            (Some(k), None) | (None, Some(k)) => (k.1, k.2),
            (None, None) => (0.0, 0.0),
        };
        (
            (estimate + lower).clamp(0.0, estimate),
            (estimate + upper).max(estimate),
        )
    }

    pub(crate) fn is_sound(&self) -> bool {
        !self.knots.is_empty()
            && self
                .knots
                .iter()
                .all(|k| k.0.is_finite() && k.1.is_finite() && k.2.is_finite() && k.1 <= k.2)
            && self.knots.windows(2).all(|pair| pair[0].0 < pair[1].0)
    }
}

/// The first value at which the weight reaches the share `q`; values ascending.
pub(super) fn quantile(sorted: &[(f64, f64)], q: f64) -> Option<f64> {
    let total: f64 = sorted.iter().map(|v| v.1).sum();
    let mut sum = 0.0;
    for (value, weight) in sorted {
        sum += weight;
        if sum >= q * total {
            return Some(*value);
        }
    }
    sorted.last().map(|v| v.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Errors whose spread grows with the estimate, evenly spread: 10 % and 90 % are known.
    fn held(phase: usize) -> Vec<HeldOut> {
        (0..2_000_usize)
            .map(|i| {
                let estimate = (i % 100) as f64;
                let error = ((i * 37 + phase * 11) % 201) as f64 / 100.0 - 1.0;
                HeldOut {
                    estimate,
                    truth: estimate + error * (1.0 + estimate / 10.0),
                    weight: 1.0,
                }
            })
            .collect()
    }

    #[test]
    fn four_in_five_of_new_machines_lie_inside_and_wide_where_errors_are_wide() {
        let intervals = Intervals::learn(&held(0), 200);
        let inside = held(5)
            .iter()
            .filter(|h| {
                let (low, high) = intervals.around(h.estimate);
                low <= h.truth && h.truth <= high
            })
            .count();
        assert!((1_500..=1_700).contains(&inside), "{inside} of 2,000");
        let width = |e| {
            let (low, high) = intervals.around(e);
            high - low
        };
        assert!(width(90.0) > 2.0 * width(20.0));
        assert!(intervals.is_sound());
    }

    /// Share of those that `is_asked` whose truth lies inside.
    fn share_inside(
        intervals: &Intervals,
        held: &[HeldOut],
        is_asked: impl Fn(f64) -> bool,
    ) -> f64 {
        let asked = held.iter().filter(|h| is_asked(h.estimate));
        let (mut n, mut inside) = (0.0, 0.0);
        for h in asked {
            let (low, high) = intervals.around(h.estimate);
            n += 1.0;
            inside += f64::from(u8::from(low <= h.truth && h.truth <= high));
        }
        inside / n
    }

    #[test]
    fn of_estimates_at_the_cap_four_in_five_lie_inside_too() {
        let capped = |phase| {
            let estimate = |h: &HeldOut| h.estimate.min(60.0);
            let all = held(phase).into_iter();
            all.map(|h| HeldOut {
                estimate: estimate(&h),
                ..h
            })
            .collect::<Vec<HeldOut>>()
        };
        let intervals = Intervals::learn(&capped(0), 200);
        let share = share_inside(&intervals, &capped(5), |e| e >= 60.0);
        assert!((0.75..=0.86).contains(&share), "{share}");
    }

    #[test]
    fn just_before_a_failure_the_interval_is_as_narrow_as_the_errors_are_there() {
        let narrowing = |phase| {
            let all = held(phase).into_iter();
            all.map(|h| HeldOut {
                // Five times the growth of the spread.
                truth: h.estimate
                    + (h.truth - h.estimate) / (1.0 + h.estimate / 10.0) * (1.0 + h.estimate / 2.0),
                ..h
            })
            .collect::<Vec<HeldOut>>()
        };
        let intervals = Intervals::learn(&narrowing(0), 200);
        let share = share_inside(&intervals, &narrowing(5), |e| (1.0..5.0).contains(&e));
        assert!((0.7..=0.9).contains(&share), "{share}");
    }

    #[test]
    fn the_interval_holds_its_estimate_and_does_not_begin_before_now() {
        let biased: Vec<HeldOut> = held(0)
            .into_iter()
            .map(|h| HeldOut {
                truth: h.truth + 50.0,
                ..h
            })
            .collect();
        let intervals = Intervals::learn(&biased, 200);
        for estimate in [0.0, 3.0, 55.5, 200.0] {
            let (low, high) = intervals.around(estimate);
            assert!(0.0 <= low && low <= estimate && estimate <= high);
        }
    }
}
