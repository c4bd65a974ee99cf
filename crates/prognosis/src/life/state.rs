//! What is remembered of one machine's life: bounded, streaming.

use forecare_domain::Timestamp;
use serde::{Deserialize, Serialize};

use super::features::Trails;

/// A pseudo-observation of "no slope" against which a slope must stand, at the spread of its window: with few
/// readings the slope is near 0.
const SLOPE_RIDGE: f64 = 0.5;

/// Exponentially forgetting sums for the weighted regression of a value on its age, ages in windows.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "[f64; 5]", into = "[f64; 5]")]
struct Sums {
    /// Weights; times age; times age squared.
    w: f64,
    wx: f64,
    wxx: f64,
    /// Weighted values; times age.
    wy: f64,
    wxy: f64,
}

impl From<[f64; 5]> for Sums {
    fn from([w, wx, wxx, wy, wxy]: [f64; 5]) -> Self {
        Self {
            w,
            wx,
            wxx,
            wy,
            wxy,
        }
    }
}

impl From<Sums> for [f64; 5] {
    fn from(s: Sums) -> Self {
        [s.w, s.wx, s.wxx, s.wy, s.wxy]
    }
}

impl Sums {
    /// Everything grows older by `step` windows.
    fn age(&mut self, step: f64, decay: f64) {
        self.wxx = decay * (self.wxx - 2.0 * step * self.wx + step * step * self.w);
        self.wx = decay * (self.wx - step * self.w);
        self.wxy = decay * (self.wxy - step * self.wy);
        self.w *= decay;
        self.wy *= decay;
    }

    /// A value of age 0.
    fn add(&mut self, y: f64) {
        self.w += 1.0;
        self.wy += y;
    }

    /// Weighted mean; 0, what is normal, before any value.
    fn level(&self) -> f64 {
        if self.w > 0.0 { self.wy / self.w } else { 0.0 }
    }

    /// Change per window.
    fn slope(&self) -> f64 {
        let spread = self.w * self.wxx - self.wx * self.wx + SLOPE_RIDGE * self.w;
        if spread > 0.0 {
            (self.w * self.wxy - self.wx * self.wy) / spread
        } else {
            0.0
        }
    }
}

/// One metric's past.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Past {
    /// One per window.
    sums: Vec<Sums>,
    /// Values in this life, and their mean.
    n: f64,
    mean: f64,
}

/// Follows one machine's life on behalf of one life model. Bounded (48 bytes per metric and window) and
/// serialisable bit for bit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LifeState {
    /// Of which model: the values are in its units.
    model: String,
    /// First and newest reading of this life.
    began_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
    pasts: Vec<Past>,
    /// Smoothed estimate behind the health index, hours.
    smooth_hours: Option<f64>,
    /// Health index, 0 to 100: never rises within a life.
    health: Option<f64>,
}

impl LifeState {
    /// Of a machine never heard of.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A new life begins: the machine was repaired.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// Whether this follows the machine on behalf of the model of that id.
    #[must_use]
    pub fn is_of(&self, model: &str) -> bool {
        self.model == model
    }

    /// The health index, 0 (failed) to 100; `None` before the first estimate. It is the smoothed remaining life as
    /// a share of the longest one the model tells apart, and never rises until [`Self::reset`].
    #[must_use]
    pub fn health(&self) -> Option<f64> {
        self.health
    }

    /// Makes the state one of `model`. A state of another model begins anew; only the time in service stays.
    pub(crate) fn adopt(&mut self, model: &str, n_metrics: usize, n_windows: usize) {
        if self.model == model
            && self.pasts.len() == n_metrics
            && self.pasts.iter().all(|p| p.sums.len() == n_windows)
        {
            return;
        }
        let past = Past {
            sums: vec![Sums::default(); n_windows],
            n: 0.0,
            mean: 0.0,
        };
        *self = Self {
            model: model.to_owned(),
            began_at: self.began_at,
            pasts: vec![past; n_metrics],
            ..Self::new()
        };
    }

    /// Takes standard values at `ts`, in time order; windows in hours, as [`Self::adopt`] had them.
    pub(crate) fn push(&mut self, ts: Timestamp, values: &[Option<f64>], windows_h: &[f64]) {
        self.began_at = self.began_at.or(Some(ts));
        let passed_h = self
            .last_at
            .map_or(0.0, |last| ts.hours_since(last).max(0.0));
        self.last_at = self.last_at.max(Some(ts));
        for (place, window_h) in windows_h.iter().enumerate() {
            let step = passed_h / window_h;
            let decay = (-step).exp();
            for (past, value) in self.pasts.iter_mut().zip(values) {
                past.sums[place].age(step, decay);
                if let Some(value) = value {
                    past.sums[place].add(*value);
                }
            }
        }
        for (past, value) in self.pasts.iter_mut().zip(values) {
            if let Some(value) = value {
                past.n += 1.0;
                past.mean += (value - past.mean) / past.n;
            }
        }
    }

    /// Hours since the first reading of this life.
    pub(crate) fn age_hours(&self) -> f64 {
        match (self.began_at, self.last_at) {
            (Some(began), Some(last)) => last.hours_since(began),
            _ => 0.0,
        }
    }

    /// Levels, slopes and lifetime means of every metric.
    pub(crate) fn trails(&self, out: &mut Trails) {
        out.clear();
        for past in &self.pasts {
            for sums in &past.sums {
                out.push(sums.level());
            }
            for sums in &past.sums {
                out.push(sums.slope());
            }
            out.push(past.mean);
        }
    }

    /// Takes the estimate after a reading, `passed_h` after the one before: smoothed over `window_h`, as a
    /// share of `cap_hours`, and never above what it was.
    pub(crate) fn judge(&mut self, rul_hours: f64, passed_h: f64, window_h: f64, cap_hours: f64) {
        let smooth = self.smooth_hours.map_or(rul_hours, |old| {
            let share = 1.0 - (-passed_h / window_h).exp();
            old + (rul_hours - old) * share
        });
        self.smooth_hours = Some(smooth);
        let health = (100.0 * smooth / cap_hours).clamp(0.0, 100.0);
        self.health = Some(self.health.map_or(health, |old| old.min(health)));
    }

    /// Hours from the newest reading to `ts`.
    pub(crate) fn hours_to(&self, ts: Timestamp) -> f64 {
        self.last_at
            .map_or(0.0, |last| ts.hours_since(last).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Monotone in degradation: what is never estimated to last longer is never called healthier.
        #[test]
        fn the_more_worn_of_two_machines_is_not_the_healthier(
            told in prop::collection::vec((0.0_f64..150.0, 0.0_f64..50.0, 0.1_f64..20.0), 1..60),
        ) {
            let (mut better, mut worse) = (LifeState::new(), LifeState::new());
            for (rul, less, passed_h) in told {
                better.judge(rul, passed_h, 5.0, 125.0);
                worse.judge((rul - less).max(0.0), passed_h, 5.0, 125.0);
                prop_assert!(worse.health() <= better.health());
            }
        }
    }

    #[test]
    fn level_and_slope_follow_a_ramp_whatever_the_sampling() {
        let slope_of = |step_h: f64| {
            let mut sums = Sums::default();
            for i in 0..2_000 {
                sums.age(step_h / 10.0, (-step_h / 10.0).exp());
                sums.add(0.3 * f64::from(i) * step_h);
            }
            sums.slope() / 10.0
        };
        assert!((slope_of(0.1) - 0.3).abs() < 0.003);
        assert!((slope_of(1.0) - 0.3).abs() < 0.03, "{}", slope_of(1.0));
    }
}
