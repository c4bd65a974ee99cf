//! What replacing every component at a fixed age would have cost: age replacement after Barlow and Hunter, "Optimum
//! preventive maintenance policies" (1960), with the lives of the history as its life table (Kaplan and Meier, 1958,
//! with late entry).

use forecare_domain::Timestamp;
use serde::Serialize;

/// A component's life as far as it lies in the period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Life {
    /// Age at which it comes into view, hours.
    pub(crate) entry_hours: f64,
    /// Age at which it fails, is replaced, or the period ends, hours.
    pub(crate) exit_hours: f64,
    pub(crate) failed: bool,
}

/// The lives of one component of one device between `from` and `to`: `failures` and `replacements` are its own, by
/// time. A failure is the end of a life, whether or not a replacement is on record; a component whose age is not
/// known counts as new at `from`.
pub(crate) fn lives(
    from: Timestamp,
    to: Timestamp,
    failures: &[Timestamp],
    replacements: &[Timestamp],
    mended_within_hours: f64,
) -> Vec<Life> {
    let mends = |at: Timestamp| {
        failures
            .iter()
            .any(|f| (0.0..=mended_within_hours).contains(&at.hours_since(*f)))
    };
    // A replacement that mends a failure begins no life of its own: the failure has.
    let mut ends: Vec<(Timestamp, bool)> = failures.iter().map(|at| (*at, true)).collect();
    ends.extend(
        replacements
            .iter()
            .filter(|at| !mends(**at))
            .map(|at| (*at, false)),
    );
    ends.sort_unstable();
    let began = ends
        .iter()
        .rev()
        .find(|(at, _)| *at < from)
        .map(|(at, _)| *at);
    let mut birth = began.unwrap_or(from);
    let mut lives = Vec::new();
    for (at, failed) in ends.into_iter().filter(|(at, _)| from <= *at && *at < to) {
        lives.push(Life {
            entry_hours: from.max(birth).hours_since(birth),
            exit_hours: at.hours_since(birth),
            failed,
        });
        birth = at;
    }
    lives.push(Life {
        entry_hours: from.max(birth).hours_since(birth),
        exit_hours: to.hours_since(birth),
        failed: false,
    });
    lives.retain(|life| life.exit_hours > life.entry_hours);
    lives
}

/// What a policy of replacement at a fixed age comes to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct AgeCost {
    /// The age, hours; `None`: never.
    pub(crate) interval_hours: Option<f64>,
    pub(crate) failures: f64,
    pub(crate) replacements: f64,
    pub(crate) cost: f64,
}

impl AgeCost {
    /// In a few words.
    pub(crate) fn line(&self) -> String {
        self.interval_hours.map_or_else(
            || "never".to_owned(),
            |hours| format!("{hours:.0} h ({:.0} days)", hours / 24.0),
        )
    }
}

/// The survival curve of a component.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LifeTable {
    /// Age, hours, and the share that survives it; by age.
    steps: Vec<(f64, f64)>,
    /// Hours of all lives.
    exposure_hours: f64,
    n_failures: usize,
    longest_hours: f64,
}

impl LifeTable {
    pub(crate) fn of(lives: &[Life]) -> Self {
        let mut ages: Vec<f64> = lives
            .iter()
            .filter(|l| l.failed)
            .map(|l| l.exit_hours)
            .collect();
        let n_failures = ages.len();
        ages.sort_by(f64::total_cmp);
        ages.dedup();
        let mut survival = 1.0;
        let steps = ages
            .into_iter()
            .map(|age| {
                let at_risk = lives
                    .iter()
                    .filter(|l| l.entry_hours < age && age <= l.exit_hours)
                    .count();
                let deaths = lives
                    .iter()
                    .filter(|l| l.failed && l.exit_hours == age)
                    .count();
                survival *= 1.0 - deaths as f64 / at_risk.max(1) as f64;
                (age, survival)
            })
            .collect();
        Self {
            steps,
            exposure_hours: lives.iter().map(|l| l.exit_hours - l.entry_hours).sum(),
            n_failures,
            longest_hours: lives.iter().map(|l| l.exit_hours).fold(0.0, f64::max),
        }
    }

    /// The cost of replacement at `interval_hours` for as many hours as the history has: cycles end at the age, or by a
    /// failure before it.
    pub(crate) fn at(&self, interval_hours: f64, of_failure: f64, of_acting: f64) -> AgeCost {
        let (mut survival, mut cycle_hours, mut age) = (1.0, 0.0, 0.0);
        for (step, after) in self.steps.iter().filter(|(step, _)| *step < interval_hours) {
            cycle_hours += survival * (step - age);
            (age, survival) = (*step, *after);
        }
        cycle_hours += survival * (interval_hours - age);
        let cycles = self.exposure_hours / cycle_hours;
        let (failures, replacements) = (cycles * (1.0 - survival), cycles * survival);
        AgeCost {
            interval_hours: Some(interval_hours),
            failures,
            replacements,
            cost: failures * of_failure + replacements * of_acting,
        }
    }

    /// The cost of replacing nothing: the failures of the history.
    pub(crate) fn never(&self, of_failure: f64) -> AgeCost {
        AgeCost {
            interval_hours: None,
            failures: self.n_failures as f64,
            replacements: 0.0,
            cost: self.n_failures as f64 * of_failure,
        }
    }

    /// The age that costs least on this history. Between two failures' ages a later one is cheaper, so that only the
    /// ages of failures (just before them), the longest life and "never" are to be tried.
    pub(crate) fn best(&self, of_failure: f64, of_acting: f64) -> AgeCost {
        let ages = self.steps.iter().map(|(age, _)| *age);
        ages.chain([self.longest_hours])
            .filter(|age| *age > 0.0)
            .map(|age| self.at(age, of_failure, of_acting))
            .fold(self.never(of_failure), |best, one| {
                if one.cost < best.cost { one } else { best }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h(hours: f64) -> Timestamp {
        Timestamp::from_millis(0).plus_hours(hours)
    }

    #[test]
    fn lives_begin_with_what_is_known_of_their_age() {
        let lives = lives(
            h(100.0),
            h(1_000.0),
            &[h(400.0)],
            &[h(50.0), h(402.0), h(700.0)],
            24.0,
        );
        let plain: Vec<(f64, f64, bool)> = lives
            .iter()
            .map(|l| (l.entry_hours, l.exit_hours, l.failed))
            .collect();
        assert_eq!(
            plain,
            [
                (50.0, 350.0, true),
                (0.0, 300.0, false),
                (0.0, 300.0, false)
            ]
        );
    }

    #[test]
    fn lives_of_equal_length_are_best_replaced_just_before_their_end() {
        let all: Vec<Life> = (0..10)
            .map(|_| Life {
                entry_hours: 0.0,
                exit_hours: 100.0,
                failed: true,
            })
            .collect();
        let table = LifeTable::of(&all);
        let best = table.best(10.0, 1.0);
        assert_eq!(best.interval_hours, Some(100.0));
        assert_eq!(
            (best.failures, best.replacements, best.cost),
            (0.0, 10.0, 10.0)
        );
        assert_eq!(table.never(10.0).cost, 100.0);
        // At half the age twice as many replacements.
        assert_eq!(table.at(50.0, 10.0, 1.0).cost, 20.0);
    }

    #[test]
    fn half_that_die_early_are_counted_by_hand() {
        // Two lives: one fails at 10 h, one at 30 h. Replaced at 20 h: R = 1 to 10 h, 0.5 after: a cycle lasts 15 h;
        // 40 h are 40/15 cycles, half of them fail.
        let life = |exit_hours| Life {
            entry_hours: 0.0,
            exit_hours,
            failed: true,
        };
        let cost = LifeTable::of(&[life(10.0), life(30.0)]).at(20.0, 6.0, 3.0);
        assert!((cost.failures - 40.0 / 30.0).abs() < 1e-12);
        assert!((cost.replacements - 40.0 / 30.0).abs() < 1e-12);
        assert!((cost.cost - 12.0).abs() < 1e-12);
    }

    #[test]
    fn without_failures_nothing_is_replaced() {
        let table = LifeTable::of(&[Life {
            entry_hours: 0.0,
            exit_hours: 500.0,
            failed: false,
        }]);
        assert_eq!(table.best(10.0, 1.0).interval_hours, None);
        assert_eq!(table.best(10.0, 1.0).cost, 0.0);
    }
}
