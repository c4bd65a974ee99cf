//! Engineering limits with debounce (samples in a row beyond) and hysteresis (how far to come back).

use forecare_catalogue::Limits;
use forecare_domain::Severity;

/// Where one metric stands against its limits.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct LimitState {
    /// Samples in a row beyond: critical low, warning low, warning high, critical high. Saturates.
    pub(crate) n_beyond: [u16; 4],
    /// Bit per limit, in the same order: it is passed and not yet left.
    pub(crate) passed: u8,
}

/// A limit that is passed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Passed {
    pub(crate) limit: f64,
    pub(crate) severity: Severity,
    /// True: above; false: below.
    pub(crate) above: bool,
}

const CRITICAL_LOW: usize = 0;
const WARNING_LOW: usize = 1;
const WARNING_HIGH: usize = 2;
const CRITICAL_HIGH: usize = 3;

impl LimitState {
    /// Takes the next value; the gravest limit passed, if any.
    #[inline]
    pub(crate) fn step(&mut self, limits: &Limits, value: f64) -> Option<Passed> {
        let levels = [
            limits.critical_low,
            limits.warning_low,
            limits.warning_high,
            limits.critical_high,
        ];
        for (i, (level, n_beyond)) in levels.into_iter().zip(&mut self.n_beyond).enumerate() {
            let Some(level) = level else { continue };
            // Positive: beyond the limit.
            let beyond = if i >= WARNING_HIGH {
                value - level
            } else {
                level - value
            };
            let bit = 1_u8 << i;
            if beyond > 0.0 {
                *n_beyond = n_beyond.saturating_add(1);
                if u32::from(*n_beyond) >= limits.debounce_samples.min(u16::MAX.into()) {
                    self.passed |= bit;
                }
            } else {
                *n_beyond = 0;
                if beyond <= -limits.hysteresis {
                    self.passed &= !bit;
                }
            }
        }
        if self.passed == 0 {
            return None;
        }
        self.gravest(&levels)
    }

    fn gravest(&self, levels: &[Option<f64>; 4]) -> Option<Passed> {
        [CRITICAL_HIGH, CRITICAL_LOW, WARNING_HIGH, WARNING_LOW]
            .into_iter()
            .find(|i| self.passed & (1 << i) != 0)
            .and_then(|i| {
                Some(Passed {
                    limit: levels[i]?,
                    severity: if i == CRITICAL_HIGH || i == CRITICAL_LOW {
                        Severity::Critical
                    } else {
                        Severity::Warning
                    },
                    above: i >= WARNING_HIGH,
                })
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        critical_low: None,
        warning_low: Some(1.0),
        warning_high: Some(4.5),
        critical_high: Some(7.1),
        hysteresis: 0.5,
        debounce_samples: 3,
    };

    fn severities(values: &[f64]) -> Vec<Option<Severity>> {
        let mut state = LimitState::default();
        values
            .iter()
            .map(|&v| state.step(&LIMITS, v).map(|p| p.severity))
            .collect()
    }

    #[test]
    fn two_samples_beyond_do_not_count_three_do() {
        use Severity::Warning;
        assert_eq!(
            severities(&[5.0, 5.0, 4.0, 5.0, 5.0, 5.0]),
            [None, None, None, None, None, Some(Warning)]
        );
    }

    #[test]
    fn a_limit_is_left_only_beyond_its_hysteresis() {
        let seen = severities(&[5.0, 5.0, 5.0, 4.4, 4.1, 4.0, 4.4]);
        assert_eq!(
            seen[2..],
            [
                Some(Severity::Warning),
                Some(Severity::Warning),
                Some(Severity::Warning),
                None,
                None
            ]
        );
    }

    #[test]
    fn the_gravest_limit_speaks_and_low_limits_work_below() {
        let seen = severities(&[8.0, 8.0, 8.0, 5.0]);
        assert_eq!(
            seen[2..],
            [Some(Severity::Critical), Some(Severity::Warning)]
        );
        let mut state = LimitState::default();
        let low = [0.5; 3].map(|v| state.step(&LIMITS, v));
        assert!(low[2].is_some_and(|p| !p.above && p.limit == 1.0));
    }
}
