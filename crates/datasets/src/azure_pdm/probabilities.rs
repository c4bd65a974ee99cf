//! Probabilities against the truth, row by row, and histories cut in time.

use forecare_domain::{ComponentName, Timestamp};
use forecare_prognosis::{History, HistoryItem, Judged};
use serde::Serialize;

use super::AzurePdm;

/// The benchmark asks for failures within so many hours.
pub const HORIZON_H: f64 = 24.0;

/// What was foretold of a machine at a reading.
#[derive(Debug, Clone, PartialEq)]
pub struct RowProbabilities {
    /// The machine's number.
    pub machine: u32,
    /// Time of the reading.
    pub ts: Timestamp,
    /// Probability of failure within the horizon, per component, in an order of the caller's.
    pub of_components: Vec<f64>,
}

impl RowProbabilities {
    /// Probability that any of the components fails, taken as independent of each other.
    #[must_use]
    pub fn any(&self) -> f64 {
        1.0 - self.of_components.iter().map(|p| 1.0 - p).product::<f64>()
    }
}

/// Whether the hour of the failure itself, whose reading comes before the failure is known, counts as before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HourOfFailure {
    /// True from 24 h before to the hour before.
    After,
    /// True from 24 h before to the very hour.
    Before,
}

/// Each row's probability of one component (its name, its place in the rows), or of any, with what happened within
/// `horizon_h` hours after it.
#[must_use]
pub fn judged(
    truth: &AzurePdm,
    rows: &[RowProbabilities],
    component: Option<(&ComponentName, usize)>,
    horizon_h: f64,
    hour_of_failure: HourOfFailure,
) -> Vec<Judged> {
    let mut failures: Vec<(u32, Timestamp)> = truth
        .failures
        .iter()
        .filter(|f| component.is_none_or(|(name, _)| *name == f.component))
        .map(|f| (f.machine, f.ts))
        .collect();
    failures.sort_unstable();
    rows.iter()
        .map(|row| {
            let next = failures.partition_point(|f| match hour_of_failure {
                HourOfFailure::After => *f <= (row.machine, row.ts),
                HourOfFailure::Before => *f < (row.machine, row.ts),
            });
            Judged {
                probability: component.map_or_else(|| row.any(), |(_, i)| row.of_components[i]),
                came_true: failures.get(next).is_some_and(|(machine, at)| {
                    *machine == row.machine && at.hours_since(row.ts) <= horizon_h
                }),
                weight: 1.0,
            }
        })
        .collect()
}

/// Warnings by a fixed limit on the probability.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Warnings {
    /// Share of the warned rows that came true; 0 without any.
    pub precision: f64,
    /// Share of the rows that came true which were warned of; 0 without any.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
}

/// Takes every row predicted above `limit` as a warning.
#[must_use]
pub fn warnings(rows: &[Judged], limit: f64) -> Warnings {
    let count = |which: &dyn Fn(&&Judged) -> bool| rows.iter().filter(which).count() as f64;
    let right = count(&|j| j.probability > limit && j.came_true);
    let warned = count(&|j| j.probability > limit);
    let true_ones = count(&|j| j.came_true);
    let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
    Warnings {
        precision: ratio(right, warned),
        recall: ratio(right, true_ones),
        f1: ratio(2.0 * right, warned + true_ones),
    }
}

/// Where each machine's telemetry is cut: `share` (0 to 1) of the time from its first reading to its last. Machines
/// without readings are left out.
#[must_use]
pub fn cuts(data: &AzurePdm, share: f64) -> Vec<(u32, Timestamp)> {
    data.machines
        .iter()
        .filter_map(|machine| {
            let mut ts = data
                .readings
                .iter()
                .filter(|r| r.machine == *machine)
                .map(|r| r.ts);
            let first = ts.next()?;
            let last = ts.next_back().unwrap_or(first);
            Some((*machine, first.plus_hours(last.hours_since(first) * share)))
        })
        .collect()
}

/// What is known of a machine before `cut`: nothing that happens later, failures neither. Training does not know then
/// what followed the readings of the last horizon, and leaves them out unless a failure came before the cut.
#[must_use]
pub fn before(history: History, cut: Timestamp) -> History {
    History {
        items: history
            .items
            .into_iter()
            .filter(|item: &HistoryItem| item.ts() < cut)
            .collect(),
        ..history
    }
}
