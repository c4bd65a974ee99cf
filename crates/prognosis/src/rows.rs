//! Histories of machines, and the rows and labels that training takes from them.

use std::collections::BTreeSet;

use forecare_catalogue::FailureMode;
use forecare_domain::{ComponentName, ModeName, Timestamp};

use crate::features::{FeatureSpec, FeatureState};

/// One machine's history, in time order. At one instant: events, reading, replacements, failures; so a
/// reading is judged with the error codes of its instant known.
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
    /// Somebody looked at it: what was found holds for the whole span.
    Inspected {
        /// Begin of the span.
        from: Timestamp,
        /// When it was found: the end of the span.
        ts: Timestamp,
        /// The failure mode looked for; `None`: every one.
        mode: Option<ModeName>,
        /// What was found.
        finding: Finding,
    },
}

/// What an inspection says of the rows in its span. Where several speak of one row, the first of these counts:
/// unusable, faulty (or a failure within the horizon), sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// Nobody knows what these rows mean: no row to learn from.
    Unusable,
    /// The fault was there: rows before a failure.
    Faulty,
    /// The fault was not there, even if the component was replaced all the same.
    Sound,
}

impl HistoryItem {
    /// When it happened.
    #[must_use]
    pub fn ts(&self) -> Timestamp {
        match self {
            Self::Reading { ts, .. }
            | Self::Event { ts, .. }
            | Self::Replaced { ts, .. }
            | Self::Failure { ts, .. }
            | Self::Inspected { ts, .. } => *ts,
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
    /// Per mode: number of failures of the machines that a row was there for to foresee, within the horizon before them;
    /// one that two histories tell counts once.
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
    /// `histories` sorted by machine; readings within `distance_h` after a row are seen, but make no row.
    pub(crate) fn build(
        spec: &FeatureSpec,
        modes: &[&FailureMode],
        horizon_h: f64,
        distance_h: f64,
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
        let mut failures: Vec<BTreeSet<(usize, Timestamp)>> = vec![BTreeSet::new(); modes.len()];
        let mut out = Vec::new();
        for history in histories {
            let machine = rows.machines.partition_point(|m| *m < history.device);
            let fates: Vec<Fate> = modes.iter().map(|mode| Fate::of(mode, history)).collect();
            let first_row = rows.ts.len();
            let mut state = FeatureState::new(spec.metrics.len());
            let mut newest: Option<Timestamp> = None;
            for item in &history.items {
                match item {
                    HistoryItem::Reading { ts, values } => {
                        state.push(*ts, values);
                        if newest.is_some_and(|row| ts.hours_since(row) < distance_h) {
                            continue;
                        }
                        newest = Some(*ts);
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
                    HistoryItem::Failure { .. } | HistoryItem::Inspected { .. } => {}
                }
            }
            let times = &rows.ts[first_row..];
            let mut gaps: Vec<f64> = times
                .windows(2)
                .map(|t| t[1].hours_since(t[0]))
                .filter(|gap| *gap > 0.0)
                .collect();
            gaps.sort_by(f64::total_cmp);
            let sampled = Sampled {
                rows: first_row..rows.ts.len(),
                interval_h: gaps.get(gaps.len() / 2).copied().unwrap_or(1.0),
                span_h: gaps.iter().sum(),
                n_failures: fates.iter().map(|f| f.n_seen(times, horizon_h)).collect(),
            };
            rows.sampled.push(sampled);
            for (known, fate) in failures.iter_mut().zip(&fates) {
                let seen = fate.failed.iter().filter(|at| {
                    let rows_before = times.iter().map(|row| at.hours_since(*row));
                    rows_before
                        .into_iter()
                        .any(|h| (0.0..=horizon_h).contains(&h))
                });
                known.extend(seen.map(|ts| (machine, *ts)));
            }
        }
        rows.n_failures = failures.iter().map(BTreeSet::len).collect();
        rows
    }

    /// The rows of the histories that were sampled most densely: those that look like service. Daily means, say, beside
    /// hourly readings, have no deviations.
    pub(crate) fn densest(&self) -> impl Iterator<Item = usize> {
        let interval_h = self
            .sampled
            .iter()
            .map(|s| s.interval_h)
            .fold(f64::INFINITY, f64::min);
        self.sampled
            .iter()
            .filter(move |s| s.interval_h <= 1.5 * interval_h)
            .flat_map(|s| s.rows.clone())
    }

    /// Weights of the rows for a mode, 1 on average over the known ones. Histories are often kept around
    /// failures and thinned elsewhere; taken as they are they would make failure look common. So the
    /// quiet rows stand for all the quiet time between first and last reading, the rows before a
    /// failure for the horizon before each failure that telemetry could foresee. Histories sampled alike are
    /// pooled.
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
    /// Hours that one reading stands for: the median distance between instants, 1 if there is only one.
    interval_h: f64,
    /// Hours from the first reading to the last, gaps included.
    span_h: f64,
    /// Per mode: failures from the first reading to a horizon after the last.
    n_failures: Vec<usize>,
}

/// What befell one machine in one mode.
struct Fate {
    failed: Vec<Timestamp>,
    planned: Vec<Timestamp>,
    /// Spans from, to, with what was found.
    found: Vec<(Timestamp, Timestamp, Finding)>,
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
                | HistoryItem::Replaced { .. }
                | HistoryItem::Inspected { .. } => None,
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
                | HistoryItem::Failure { .. }
                | HistoryItem::Inspected { .. } => None,
            })
            .collect();
        let found = history
            .items
            .iter()
            .filter_map(|item| match item {
                HistoryItem::Inspected {
                    from,
                    ts,
                    mode: of,
                    finding,
                } => of
                    .as_ref()
                    .is_none_or(|of| *of == mode.name)
                    .then_some((*from, *ts, *finding)),
                HistoryItem::Reading { .. }
                | HistoryItem::Event { .. }
                | HistoryItem::Replaced { .. }
                | HistoryItem::Failure { .. } => None,
            })
            .collect();
        Self {
            failed,
            planned,
            found,
            // A finding of later tells nothing of the machine's fate until then.
            end: history
                .items
                .iter()
                .rev()
                .find(|item| !matches!(item, HistoryItem::Inspected { .. }))
                .map(HistoryItem::ts),
        }
    }

    /// How many failures readings at these times, in order, could foresee.
    fn n_seen(&self, times: &[Timestamp], horizon_h: f64) -> usize {
        let (Some(first), Some(last)) = (times.first(), times.last()) else {
            return 0;
        };
        let seen = |at: &&Timestamp| *at >= first && at.hours_since(*last) <= horizon_h;
        self.failed.iter().filter(seen).count()
    }

    fn outcome(&self, ts: Timestamp, horizon_h: f64) -> Outcome {
        let within = |t: &Timestamp| (0.0..=horizon_h).contains(&t.hours_since(ts));
        let ends_within = self.end.is_none_or(|end| end.hours_since(ts) < horizon_h);
        let is_found = |what: Finding| {
            self.found
                .iter()
                .any(|(from, to, finding)| *finding == what && (*from..=*to).contains(&ts))
        };
        if is_found(Finding::Unusable) {
            Outcome::Unknown
        } else if is_found(Finding::Faulty) || self.failed.iter().any(within) {
            Outcome::Failed
        } else if is_found(Finding::Sound) {
            Outcome::Lasted
        } else if ends_within || self.planned.iter().any(within) {
            Outcome::Unknown
        } else {
            Outcome::Lasted
        }
    }
}

#[cfg(test)]
mod tests {
    use forecare_catalogue::Catalogue;

    use super::*;

    const HORIZON_H: f64 = 24.0;

    fn ts(hour: i64) -> Timestamp {
        Timestamp::from_millis(hour * 3_600_000)
    }

    fn wear() -> ModeName {
        ModeName::new("wear").unwrap()
    }

    /// Readings and failures at these hours.
    fn history(readings: &[i64], failures: &[i64]) -> History {
        let mut items: Vec<HistoryItem> = readings
            .iter()
            .map(|&hour| HistoryItem::Reading {
                ts: ts(hour),
                values: vec![Some(1.0)],
            })
            .chain(failures.iter().map(|&hour| HistoryItem::Failure {
                ts: ts(hour),
                mode: wear(),
            }))
            .collect();
        items.sort_by_key(HistoryItem::ts);
        History {
            device: "p1".into(),
            items,
        }
    }

    fn rows(histories: &[History]) -> Rows {
        let mode = Catalogue::parse(
            r#"
            [[class]]
            name = "pump"
            title = "Pump"
            horizon_hours = 24
            sample_interval_s = 3600
            [[class.metric]]
            name = "heat"
            unit = "1"
            [[class.mode]]
            name = "wear"
            title = "Wear"
            iso14224 = "BRD"
            procedure = "P"
            work_hours = 1
            cost_of_failure = 10
            cost_of_acting = 5
            [[depot]]
            name = "d"
            title = "D"
            "#,
        )
        .unwrap()
        .classes
        .remove(0)
        .modes
        .remove(0);
        let spec = FeatureSpec {
            metrics: vec!["heat".into()],
            codes: Vec::new(),
            components: Vec::new(),
            own_usual_at: None,
        };
        let histories: Vec<&History> = histories.iter().collect();
        Rows::build(&spec, &[&mode], HORIZON_H, 0.0, &histories)
    }

    #[test]
    fn failures_without_telemetry_weigh_nothing() {
        let readings: Vec<i64> = (1_000..1_500).collect();
        let with = |failures: &[i64]| rows(&[history(&readings, failures)]).natural_weights(0);
        let within = with(&[1_200]);
        // Three failures long before the first reading; the last reading is well before the end.
        assert_eq!(with(&[10, 300, 900, 1_200]), within);
    }

    #[test]
    fn a_failure_within_the_horizon_of_the_last_reading_weighs() {
        let mut readings: Vec<i64> = (0..400).collect();
        // Most of the horizon before the failure was not kept.
        readings.extend([900, 901]);
        let weights = rows(&[history(&readings, &[920])]).natural_weights(0);
        let kept = weights.len() - 1;
        assert!(
            weights[kept] > 5.0 * weights[0],
            "{} {}",
            weights[kept],
            weights[0]
        );
    }

    #[test]
    fn rows_of_one_instant_have_finite_weights() {
        for readings in [vec![5, 5, 5, 5, 5, 6, 7], vec![5, 5, 5], vec![5]] {
            let rows = rows(&[history(&readings, &[10, 100])]);
            let weights = rows.natural_weights(0);
            assert!(
                weights.iter().all(|w| w.is_finite() && *w > 0.0),
                "{readings:?}: {weights:?}"
            );
        }
    }

    #[test]
    fn a_failure_told_by_two_histories_of_a_machine_counts_once() {
        let hourly: Vec<i64> = (0..200).collect();
        let daily: Vec<i64> = (0..9).map(|day| day * 24).collect();
        let both = rows(&[history(&hourly, &[100, 150]), history(&daily, &[100, 150])]);
        assert_eq!(both.n_failures, [2]);
    }
}
