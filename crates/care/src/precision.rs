//! How often a failure mode's alarms prove right.

use forecare_catalogue::FailureMode;
use forecare_domain::Verdict;

use crate::beta;

/// How many verdicts the catalogue's prior is worth: few, so that experience soon outweighs it.
const PRIOR_VERDICTS: f64 = 4.0;

/// Precision of a mode's alarms: the Beta posterior of a Bernoulli rate, from the catalogue's prior
/// (`alarm_precision`, worth four verdicts) and the verdicts so far.
///
/// A prior of 0 is a decision, not a guess: alarms of that mode never act by themselves, whatever the
/// verdicts say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Precision {
    hits: f64,
    misses: f64,
    switched_off: bool,
}

impl Precision {
    /// What is known of `mode` before any verdict.
    #[must_use]
    pub fn prior(mode: &FailureMode) -> Self {
        let share = if mode.alarm_precision.is_finite() {
            mode.alarm_precision.clamp(0.0, 1.0)
        } else {
            0.0
        };
        Self {
            hits: share * PRIOR_VERDICTS,
            misses: (1.0 - share) * PRIOR_VERDICTS,
            switched_off: share == 0.0,
        }
    }

    /// What is known before any verdict of a source of alarms about which nothing is said: every precision is as
    /// likely as any other, Beta(1, 1).
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            hits: 1.0,
            misses: 1.0,
            switched_off: false,
        }
    }

    /// The prior of `mode` with all `verdicts` taken in; their order does not matter.
    #[must_use]
    pub fn after<'a>(mode: &FailureMode, verdicts: impl IntoIterator<Item = &'a Verdict>) -> Self {
        let mut precision = Self::prior(mode);
        for verdict in verdicts {
            precision.observe(verdict);
        }
        precision
    }

    /// Takes a verdict in. A confirmation is a hit; another fault, no fault and bad data are misses; a
    /// part with much of its life left is half a miss: the mode was right, the moment was not.
    pub fn observe(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Confirmed { .. } => self.hits += 1.0,
            Verdict::WrongMode { .. } | Verdict::NoFaultFound | Verdict::DataFault => {
                self.misses += 1.0;
            }
            Verdict::TooEarly => self.misses += 0.5,
            // Nothing was predicted.
            Verdict::Done => {}
        }
    }

    /// Expected share of alarms that prove right, 0 to 1.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.switched_off {
            0.0
        } else {
            self.hits / (self.hits + self.misses)
        }
    }

    /// The central credible interval that holds the precision with probability `mass` (such as 0.9).
    #[must_use]
    pub fn interval(&self, mass: f64) -> (f64, f64) {
        if self.switched_off || self.hits <= 0.0 {
            return (0.0, 0.0);
        }
        if self.misses <= 0.0 {
            return (1.0, 1.0);
        }
        let tail = (1.0 - mass.clamp(0.0, 1.0)) / 2.0;
        (
            beta::quantile(self.hits, self.misses, tail),
            beta::quantile(self.hits, self.misses, 1.0 - tail),
        )
    }
}

#[cfg(test)]
mod tests {
    use forecare_domain::ModeName;
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures;

    fn prior(alarm_precision: f64) -> Precision {
        let catalogue = fixtures::catalogue();
        Precision::prior(&FailureMode {
            alarm_precision,
            ..fixtures::mode(&catalogue).clone()
        })
    }

    fn misses() -> [Verdict; 4] {
        [
            Verdict::WrongMode {
                actual: ModeName::new("seal-leak").unwrap(),
            },
            Verdict::NoFaultFound,
            Verdict::DataFault,
            Verdict::TooEarly,
        ]
    }

    #[test]
    fn the_prior_is_the_catalogues_figure() {
        assert!((prior(0.3).mean() - 0.3).abs() < 1e-12);
    }

    #[test]
    fn ten_misses_in_a_row_settle_that_less_than_a_quarter_is_right() {
        // Beta(1, 1 + n): the 95 % quantile is 1 - 0.05^(1 / (n + 1)).
        let after = |n: usize| {
            let mut precision = Precision::unknown();
            for _ in 0..n {
                precision.observe(&Verdict::NoFaultFound);
            }
            precision.interval(0.9).1
        };
        assert!((after(9) - (1.0 - 0.05_f64.powf(0.1))).abs() < 1e-6);
        assert!(after(9) > 0.25 && after(10) < 0.25);
    }

    #[test]
    fn a_confirmation_raises_and_anything_else_lowers() {
        let before = prior(0.3);
        let mut after = before;
        after.observe(&fixtures::confirmed());
        assert!(after.mean() > before.mean());
        for verdict in misses() {
            let mut after = before;
            after.observe(&verdict);
            assert!(after.mean() < before.mean(), "{verdict:?}");
        }
    }

    #[test]
    fn twenty_verdicts_outweigh_the_prior() {
        let catalogue = fixtures::catalogue();
        let verdicts = vec![Verdict::NoFaultFound; 20];
        let precision = Precision::after(fixtures::mode(&catalogue), &verdicts);
        assert!(precision.mean() < 0.1);
    }

    #[test]
    fn a_prior_of_zero_stays_zero() {
        let mut precision = prior(0.0);
        precision.observe(&fixtures::confirmed());
        assert_eq!(precision.mean(), 0.0);
        assert_eq!(precision.interval(0.9), (0.0, 0.0));
    }

    #[test]
    fn the_interval_narrows_with_experience() {
        let width = |n: usize| {
            let catalogue = fixtures::catalogue();
            let mut verdicts = vec![fixtures::confirmed(); n];
            verdicts.extend(vec![Verdict::NoFaultFound; n]);
            let (low, high) = Precision::after(fixtures::mode(&catalogue), &verdicts).interval(0.9);
            high - low
        };
        assert!(width(0) > 0.6);
        assert!(width(10) < 0.4);
        assert!(width(100) < 0.15);
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_mean(share in 0.05..0.95_f64, hits in 0..40_u32, misses in 0..40_u32) {
            let mut precision = prior(share);
            for _ in 0..hits {
                precision.observe(&fixtures::confirmed());
            }
            for _ in 0..misses {
                precision.observe(&Verdict::NoFaultFound);
            }
            let (low, high) = precision.interval(0.9);
            let mean = precision.mean();
            prop_assert!(0.0 <= low && low <= mean && mean <= high && high <= 1.0);
        }
    }
}
