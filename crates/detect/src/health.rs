//! The health index: 100 less the damage of the worst metric, smoothed.

use forecare_catalogue::Limits;
use forecare_domain::Severity;

use crate::bounds::{least, most};
use crate::limits::Passed;

/// Weight of the newest sample in the index.
const HEALTH_WEIGHT: f64 = 0.1;
/// Damage of a metric that stands at its critical limit, 0 to 1: the index is then below 50.
const CRITICAL_DAMAGE: f64 = 0.55;
/// How far towards the critical limit a warning limit without one counts.
const WARNING_PROGRESS: f64 = 0.6;
/// Most damage of an anomaly on the side of a limit: there the limit has the say.
const ANOMALY_DAMAGE_MAX: f64 = 0.35;

/// Up to here a lasting departure is noise, alarms,
const NOISE_ALARMS: f64 = 0.5;
/// and the strongest chart over its threshold.
const NOISE_RATIO: f64 = 0.7;

/// A metric's lasting departure, in its unit and in alarms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// What the baseline expects.
    pub(crate) expected: f64,
    /// The departure, smoothed.
    pub(crate) shift: f64,
    /// The same over the departure that is an alarm; at least 0.
    pub(crate) alarms: f64,
    /// The strongest chart over its threshold, spread included.
    pub(crate) ratio: f64,
}

/// Noise is no damage.
pub(crate) fn is_noise(alarms: f64, ratio: f64) -> bool {
    alarms <= NOISE_ALARMS && ratio <= NOISE_RATIO
}

/// Damage of one metric, 0 to 1.
#[inline]
pub(crate) fn damage(limits: &Limits, passed: Option<Passed>, standing: Option<Standing>) -> f64 {
    let at_limit = match passed.map(|p| p.severity) {
        Some(Severity::Critical) => 0.6,
        Some(Severity::Warning) => 0.3,
        None => 0.0,
    };
    let Some(s) = standing else { return at_limit };
    // Counts from half an alarm, in full from one and a half.
    let significant = (s.alarms - NOISE_ALARMS).clamp(0.0, 1.0);
    let over = (s.ratio - NOISE_RATIO).max(0.0);
    let anomaly = over / (over + 4.0);
    let (warning, critical) = if s.shift >= 0.0 {
        (limits.warning_high, limits.critical_high)
    } else {
        (limits.warning_low, limits.critical_low)
    };
    let lasting = match progress(s, warning, critical) {
        Some(p) => {
            let way = if p <= 1.0 {
                CRITICAL_DAMAGE * p
            } else {
                1.0 - (1.0 - CRITICAL_DAMAGE) * (2.0 - 2.0 * p).exp()
            };
            (significant * way).max(anomaly.min(ANOMALY_DAMAGE_MAX))
        }
        None => anomaly,
    };
    at_limit.max(lasting)
}

/// How far the way from the baseline to the critical limit is gone: 1 at the limit.
fn progress(s: Standing, warning: Option<f64>, critical: Option<f64>) -> Option<f64> {
    let to = |limit: f64| {
        let way = (limit - s.expected) * s.shift.signum();
        if way > 0.0 {
            s.shift.abs() / way
        } else {
            // The baseline itself lies beyond the limit.
            1.0
        }
    };
    match (warning, critical) {
        (_, Some(critical)) => Some(to(critical).min(1e6)),
        (Some(warning), None) => Some((WARNING_PROGRESS * to(warning)).min(0.9)),
        (None, None) => None,
    }
}

/// Moves the index towards what the damage lets expect.
pub(crate) fn smooth(health: f64, damage: f64) -> f64 {
    let target = 100.0 * (1.0 - most(least(damage, 1.0), 0.0));
    most(
        least(health + HEALTH_WEIGHT * (target - health), 100.0),
        0.0,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(shift: f64, limits: &Limits) -> f64 {
        damage(
            limits,
            None,
            Some(Standing {
                expected: 2.0,
                shift,
                alarms: shift.abs() / 0.1,
                ratio: shift.abs() / 0.1,
            }),
        )
    }

    #[test]
    fn damage_never_falls_while_a_metric_degrades() {
        let limits = Limits {
            warning_high: Some(4.5),
            critical_high: Some(7.0),
            ..Limits::default()
        };
        for limits in [limits, Limits::default()] {
            let all: Vec<f64> = (0..200).map(|i| at(f64::from(i) * 0.05, &limits)).collect();
            assert!(all.windows(2).all(|w| w[0] <= w[1]), "{all:?}");
            assert!(all[0] == 0.0 && all[199] > 0.6);
        }
        assert!(at(4.9, &limits) > 0.5, "nearly critical");
        assert!(at(2.5, &limits) < 0.5, "at the warning limit");
    }
}
