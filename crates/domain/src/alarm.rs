//! Alarm episodes, their reasons, and what is expected to come.

use serde::{Deserialize, Serialize};

use crate::{AlarmId, DeviceId, ModeName, Timestamp};

/// How urgent an alarm episode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Unusual; watch.
    Warning,
    /// Degrading, or about to fail.
    Critical,
}

/// One reason of an alarm: what was expected of a metric (or feature), and what was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// The metric, or the feature's name where a model speaks (such as `vibration mean 24 h`).
    pub name: String,
    /// Share in the whole, 0 to 1; the shares of one alarm sum to 1.
    pub share: f64,
    /// The value that was to be expected, in the metric's unit.
    pub expected: f64,
    /// The value seen, in the metric's unit.
    pub seen: f64,
    /// What fired, in words: `above limit 7.1`, `drifts up`, `unusual for this load`.
    pub reason: String,
}

/// What raised the alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmSource {
    /// An engineering limit of the catalogue.
    Limit,
    /// A departure from the device's own baseline, a drift, or a change.
    Anomaly,
    /// The failure probability of a trained model.
    Prognosis,
}

/// An alarm episode: one per device and failure mode while it lasts. `active` (the condition holds) and
/// `acknowledged` (a person has seen it) are separate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// Deterministic id of the episode.
    pub id: AlarmId,
    /// The device.
    pub device: DeviceId,
    /// The failure mode; `unknown` where no signature of the catalogue fits.
    pub mode: ModeName,
    /// What raised it.
    pub source: AlarmSource,
    /// Highest severity reached so far.
    pub severity: Severity,
    /// True while the condition holds.
    pub active: bool,
    /// True once a person has seen it.
    pub acknowledged: bool,
    /// Time of the reading that raised it.
    pub raised_at: Timestamp,
    /// Time of the reading that last changed it.
    pub updated_at: Timestamp,
    /// Time of the reading that cleared it.
    pub cleared_at: Option<Timestamp>,
    /// Strength of the evidence at its last change, 0 to 1.
    pub strength: f64,
    /// Why, largest share first.
    pub contributions: Vec<Contribution>,
}

/// A change of an alarm episode; carries the whole episode after the change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", content = "alarm", rename_all = "snake_case")]
pub enum AlarmChange {
    /// A new episode.
    Raised(Alarm),
    /// Its severity rose.
    Escalated(Alarm),
    /// The condition is gone.
    Cleared(Alarm),
}

impl AlarmChange {
    /// The episode after the change.
    #[must_use]
    pub fn alarm(&self) -> &Alarm {
        match self {
            Self::Raised(alarm) | Self::Escalated(alarm) | Self::Cleared(alarm) => alarm,
        }
    }
}

/// Probability that a failure mode strikes within a horizon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prognosis {
    /// The failure mode.
    pub mode: ModeName,
    /// Probability of failure within the horizon, 0 to 1.
    pub probability: f64,
    /// The horizon, hours.
    pub horizon_hours: f64,
    /// What moved the probability, largest share first; filled where it matters (elevated probability).
    pub contributions: Vec<Contribution>,
}

/// Remaining useful life, hours, or why none can be given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Rul {
    /// A degradation trend reaches the failure threshold after about so many hours.
    Trend {
        /// One in ten fails earlier, hours.
        p10_hours: f64,
        /// Median, hours.
        p50_hours: f64,
        /// One in ten lasts longer, hours.
        p90_hours: f64,
    },
    /// What machines that ran to failure had left when they looked like this one.
    Learnt {
        /// One in ten fails earlier, hours.
        p10_hours: f64,
        /// Median, hours; at most the longest remaining life that the model tells apart.
        p50_hours: f64,
        /// One in ten lasts longer, hours.
        p90_hours: f64,
    },
    /// No statistically sound trend towards failure: no number is better than a made-up one.
    NoTrend,
}

impl Rul {
    /// p10, p50 and p90, hours, wherever they come from; `None` where no number is given.
    #[must_use]
    pub fn quantiles_hours(&self) -> Option<[f64; 3]> {
        match *self {
            Self::Trend {
                p10_hours,
                p50_hours,
                p90_hours,
            }
            | Self::Learnt {
                p10_hours,
                p50_hours,
                p90_hours,
            } => Some([p10_hours, p50_hours, p90_hours]),
            Self::NoTrend => None,
        }
    }
    /// Share of machines with this remaining useful life that have failed after `hours`, 0 to 1: the quantiles
    /// joined by straight lines, the last one prolonged. `None` without a (sane) one.
    #[must_use]
    pub fn share_failed_by(&self, hours: f64) -> Option<f64> {
        let [p10_hours, p50_hours, p90_hours] = self.quantiles_hours()?;
        let sane = p10_hours >= 0.0 && p10_hours <= p50_hours && p50_hours <= p90_hours;
        if !sane || !p90_hours.is_finite() {
            return None;
        }
        let line = |from: (f64, f64), to: (f64, f64)| {
            let width = to.0 - from.0;
            if width > 0.0 {
                from.1 + (to.1 - from.1) * (hours - from.0) / width
            } else {
                to.1
            }
        };
        let share = if hours < p10_hours {
            line((0.0, 0.0), (p10_hours, 0.1))
        } else if hours < p50_hours {
            line((p10_hours, 0.1), (p50_hours, 0.5))
        } else {
            let floor = if hours >= p90_hours { 0.9 } else { 0.5 };
            line((p50_hours, 0.5), (p90_hours, 0.9)).max(floor)
        };
        Some(if share.is_nan() {
            0.0
        } else {
            share.clamp(0.0, 1.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_nearer_failure_is_never_less_likely(
            p10 in 0.0..200.0_f64, to50 in 0.0..200.0_f64, to90 in 0.0..200.0_f64, hours in 0.0..500.0_f64, more in 0.0..100.0_f64,
        ) {
            let rul = Rul::Trend { p10_hours: p10, p50_hours: p10 + to50, p90_hours: p10 + to50 + to90 };
            let share = rul.share_failed_by(hours).unwrap();
            prop_assert!((0.0..=1.0).contains(&share));
            prop_assert!(rul.share_failed_by(hours + more).unwrap() >= share - 1e-12);
        }
    }
}
