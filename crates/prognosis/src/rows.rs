//! Histories of machines, and the rows and labels that training takes from them.

use forecare_catalogue::FailureMode;
use forecare_domain::{ComponentName, ModeName, Timestamp};

use crate::features::{FeatureSpec, FeatureState};

/// One machine's history, in time order. At one instant: reading, events, replacements, failures.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// The machine. Cross-validation never tests on a machine that it has trained on.
    pub device: String,
    /// What happened, in time order.
    pub items: Vec<HistoryItem>,
}

/// Something that happened to a machine.
#[derive(Debug, Clone, PartialEq)]
pub enum HistoryItem {
    /// A row of its metrics.
    Reading {
        /// When.
        ts: Timestamp,
        /// One place per metric of the class, in catalogue order.
        values: Vec<Option<f64>>,
    },
    /// An error code it reported.
    Event {
        /// When.
        ts: Timestamp,
        /// The code.
        code: String,
    },
    /// A component was replaced, as planned or after a failure.
    Replaced {
        /// When.
        ts: Timestamp,
        /// The component.
        component: ComponentName,
    },
    /// It failed.
    Failure {
        /// When.
        ts: Timestamp,
        /// How.
        mode: ModeName,
    },
}

impl HistoryItem {
    /// When it happened.
    #[must_use]
    pub fn ts(&self) -> Timestamp {
        match self {
            Self::Reading { ts, .. }
            | Self::Event { ts, .. }
            | Self::Replaced { ts, .. }
            | Self::Failure { ts, .. } => *ts,
        }
    }
}

/// A replacement within so many hours after a failure mends it; any other one was planned.
const MENDED_WITHIN_H: f64 = 24.0;

/// The rows of all histories with what is known of each.
pub(crate) struct Rows {
    /// Features, row by row; NaN where nothing can be said.
    pub(crate) x: Vec<f64>,
    /// Index of the row's machine among the sorted names.
    pub(crate) machine: Vec<usize>,
    /// Sorted names of the machines.
    pub(crate) machines: Vec<String>,
    pub(crate) ts: Vec<Timestamp>,
    /// Per mode: what is known of each row.
    pub(crate) outcome: Vec<Vec<Outcome>>,
    /// Per mode: number of failures in the histories.
    pub(crate) n_failures: Vec<usize>,
    /// The histories, in order: where their rows end, and what is known of their sampling.
    sampled: Vec<Sampled>,
    horizon_h: f64,
}

/// What followed a row within the horizon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The failure.
    Failed,
    /// Nothing.
    Lasted,
    /// The component was replaced first, or the history ends: nobody knows.
    Unknown,
}

impl Rows {
    /// `histories` sorted by machine.
    pub(crate) fn build(
        spec: &FeatureSpec,
        modes: &[&FailureMode],
        horizon_h: f64,
        histories: &[&History],
    ) -> Self {
        let mut machines: Vec<String> = histories.iter().map(|h| h.device.clone()).collect();
        machines.dedup();
        let mut rows = Self {
            x: Vec::new(),
            machine: Vec::new(),
            machines,
            ts: Vec::new(),
            outcome: vec![Vec::new(); modes.len()],
            n_failures: vec![0; modes.len()],
            sampled: Vec::new(),
            horizon_h,
        };
        let mut out = Vec::new();
        for history in histories {
            let machine = rows.machines.partition_point(|m| *m < history.device);
            let fates: Vec<Fate> = modes.iter().map(|mode| Fate::of(mode, history)).collect();
            for (n, fate) in rows.n_failures.iter_mut().zip(&fates) {
                *n += fate.failed.len();
            }
            let first_row = rows.ts.len();
            let mut state = FeatureState::new(spec.metrics.len());
            for item in &history.items {
                match item {
                    HistoryItem::Reading { ts, values } => {
                        state.push(*ts, values);
                        spec.extract(&state, *ts, &mut out);
                        rows.x.extend_from_slice(&out);
                        rows.machine.push(machine);
                        rows.ts.push(*ts);
                        for (outcome, fate) in rows.outcome.iter_mut().zip(&fates) {
                            outcome.push(fate.outcome(*ts, horizon_h));
                        }
                    }
                    HistoryItem::Event { ts, code } => state.event(*ts, code),
                    HistoryItem::Replaced { ts, component } => state.replaced(*ts, component),
                    HistoryItem::Failure { .. } => {}
                }
            }
            let times = &rows.ts[first_row..];
            let mut gaps: Vec<f64> = times.windows(2).map(|t| t[1].hours_since(t[0])).collect();
            gaps.sort_by(f64::total_cmp);
            let interval_h = gaps.get(gaps.len() / 2).copied().unwrap_or(0.0);
            rows.sampled.push(Sampled {
                rows: first_row..rows.ts.len(),
                interval_h,
                span_h: gaps.iter().sum(),
                n_failures: fates.iter().map(|f| f.failed.len()).collect(),
            });
        }
        rows
    }

    /// Weights of the rows for a mode, 1 on average over the known ones. Histories are often kept around
    /// failures and thinned elsewhere; taken as they are they would make failure look common. So the
    /// quiet rows stand for all the quiet time between first and last reading, the rows before a
    /// failure for the horizon before each failure. Histories sampled alike are pooled.
    pub(crate) fn natural_weights(&self, mode: usize) -> Vec<f64> {
        let outcome = &self.outcome[mode];
        let mut weights = vec![0.0; outcome.len()];
        let mut histories: Vec<&Sampled> = self.sampled.iter().collect();
        histories.sort_by(|a, b| a.interval_h.total_cmp(&b.interval_h));
        for alike in histories.chunk_by(|a, b| a.interval_h == b.interval_h) {
            let rows = || alike.iter().flat_map(|s| s.rows.clone());
            let seen_h = |which: Outcome| {
                let n = rows().filter(|r| outcome[*r] == which).count();
                n as f64 * alike[0].interval_h
            };
            let (failed_h, lasted_h) = (seen_h(Outcome::Failed), seen_h(Outcome::Lasted));
            let n_failures: usize = alike.iter().map(|s| s.n_failures[mode]).sum();
            let before_failures_h = (n_failures as f64 * self.horizon_h).max(failed_h);
            let span_h: f64 = alike.iter().map(|s| s.span_h).sum();
            let quiet_h = (span_h - before_failures_h).max(lasted_h);
            let factor = |all: f64, seen: f64| if seen > 0.0 { all / seen } else { 1.0 };
            let failed = factor(before_failures_h, failed_h);
            let lasted = factor(quiet_h, lasted_h);
            for row in rows() {
                weights[row] = match outcome[row] {
                    Outcome::Failed => failed * alike[0].interval_h,
                    Outcome::Lasted => lasted * alike[0].interval_h,
                    Outcome::Unknown => 0.0,
                };
            }
        }
        let known = outcome.iter().filter(|o| **o != Outcome::Unknown).count();
        let scale = known as f64 / weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        for weight in &mut weights {
            *weight *= scale;
        }
        weights
    }
}

/// How a history was sampled.
struct Sampled {
    rows: std::ops::Range<usize>,
    /// Hours that one reading stands for: the median distance.
    interval_h: f64,
    /// Hours from the first reading to the last, gaps included.
    span_h: f64,
    /// Per mode.
    n_failures: Vec<usize>,
}

/// What befell one machine in one mode.
struct Fate {
    failed: Vec<Timestamp>,
    planned: Vec<Timestamp>,
    end: Option<Timestamp>,
}

impl Fate {
    fn of(mode: &FailureMode, history: &History) -> Self {
        let failed: Vec<Timestamp> = history
            .items
            .iter()
            .filter_map(|item| match item {
                HistoryItem::Failure { ts, mode: m } => (*m == mode.name).then_some(*ts),
                HistoryItem::Reading { .. }
                | HistoryItem::Event { .. }
                | HistoryItem::Replaced { .. } => None,
            })
            .collect();
        let mends = |at: Timestamp| {
            failed
                .iter()
                .any(|f| (0.0..=MENDED_WITHIN_H).contains(&at.hours_since(*f)))
        };
        let planned = history
            .items
            .iter()
            .filter_map(|item| match item {
                HistoryItem::Replaced { ts, component } => {
                    (mode.component.as_ref() == Some(component) && !mends(*ts)).then_some(*ts)
                }
                HistoryItem::Reading { .. }
                | HistoryItem::Event { .. }
                | HistoryItem::Failure { .. } => None,
            })
            .collect();
        Self {
            failed,
            planned,
            end: history.items.last().map(HistoryItem::ts),
        }
    }

    fn outcome(&self, ts: Timestamp, horizon_h: f64) -> Outcome {
        let within = |t: &Timestamp| (0.0..=horizon_h).contains(&t.hours_since(ts));
        let ends_within = self.end.is_none_or(|end| end.hours_since(ts) < horizon_h);
        if self.failed.iter().any(within) {
            Outcome::Failed
        } else if ends_within || self.planned.iter().any(within) {
            Outcome::Unknown
        } else {
            Outcome::Lasted
        }
    }
}
