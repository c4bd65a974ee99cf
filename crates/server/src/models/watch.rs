//! What a live model is shown, and what a shadow model would have said: counted per class while the pipeline scores,
//! in bounded memory, with no effect on what is raised or stored.
//!
//! The counts are no part of a device's state: after a failed commit rows are scored again, and a crash loses what was
//! counted since the last save (a minute). Neither touches what the service decides by them: shares over many rows.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use forecare_detect::Episodes;
use forecare_domain::{
    AlarmChange, CareTask, DeviceId, ModeName, Prognosis, Row, TicketId, Timestamp,
};
use forecare_prognosis::{Drift, FeatureState, InputCounts, Model};
use prometheus::Histogram;
use serde::{Deserialize, Serialize};

use super::library::{InRole, Named};
use crate::pipeline::{ClassContext, Outcome, prognosis_evidence};

/// Rows (device hours) that a window of inputs must hold before it says anything: a week of one machine.
const WINDOW_ROWS_MIN: u64 = 168;
/// A device's first hours in this process are not looked at: its windows are still filling.
const SETTLING_HOURS: f64 = 24.0;
/// A longer silence of a device is not counted as watched time, hours.
const GAP_HOURS_MAX: f64 = 24.0;
/// Assessments remembered until their verdict comes.
const LOOKED_MAX: usize = 1_024;
/// Verdicts remembered for the average precision.
const JUDGED_MAX: usize = 1_024;
const HOUR_MS: i64 = 3_600_000;

/// The models of a class while they work, and what is seen of them.
pub(crate) struct Watch {
    pub(crate) live: Option<Named>,
    pub(crate) shadow: Option<Named>,
    /// Length of a window of inputs, hours.
    window_hours: f64,
    seconds: Option<Histogram>,
    seen: Mutex<Seen>,
}

/// What was seen so far: kept with the data, read by `forecare models`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Seen {
    /// SHA-256 of the live model this is about.
    live: Option<String>,
    /// SHA-256 of the shadow model the trial is about.
    shadow: Option<String>,
    /// The window of inputs that is being filled.
    window: Option<Window>,
    /// What the last full window said.
    pub(crate) drift: Option<SeenDrift>,
    /// What the verdicts on the live model's tickets say.
    pub(crate) precision: Option<SeenPrecision>,
    /// Live and shadow side by side.
    pub(crate) trial: Option<Trial>,
}

impl Seen {
    /// Whether this is about that model as the live one.
    pub(crate) fn is_live(&self, sha256: &str) -> bool {
        self.live.as_deref() == Some(sha256)
    }

    /// Whether this is about that model as the shadow.
    pub(crate) fn is_shadow(&self, sha256: &str) -> bool {
        self.shadow.as_deref() == Some(sha256)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Window {
    from: Timestamp,
    counts: InputCounts,
}

/// Drift of the inputs over one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SeenDrift {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    pub(crate) drift: Drift,
}

/// Precision of the live model's tickets: the Beta posterior of a uniform prior.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct SeenPrecision {
    /// Verdicts on tickets that this model opened since it went live.
    pub(crate) n_verdicts: usize,
    pub(crate) mean: f64,
    /// The central 90 %.
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// A shadow model beside the live one, on the same rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trial {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    pub(crate) n_rows: u64,
    /// Of these, rows for which both would act on the same failure modes.
    pub(crate) n_rows_agreed: u64,
    /// Sum of absolute differences of probabilities, and how many there are.
    difference: f64,
    n_compared: u64,
    /// Time watched, summed over devices.
    pub(crate) device_hours: f64,
    /// Alarms that each model alone would have raised.
    pub(crate) live_alarms: u64,
    pub(crate) shadow_alarms: u64,
    /// What both said when the care desk was asked, until the verdict comes.
    looked: VecDeque<Looked>,
    /// What both had said of what a technician then looked at.
    judged: VecDeque<Judged>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Looked {
    device: DeviceId,
    mode: ModeName,
    ts: Timestamp,
    live: f64,
    shadow: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Judged {
    ticket: TicketId,
    right: bool,
    live: f64,
    shadow: f64,
}

/// Hours of a month, for rates.
pub(crate) const MONTH_HOURS: f64 = 30.44 * 24.0;

impl Trial {
    fn new(from: Timestamp) -> Self {
        Self {
            from,
            to: from,
            n_rows: 0,
            n_rows_agreed: 0,
            difference: 0.0,
            n_compared: 0,
            device_hours: 0.0,
            live_alarms: 0,
            shadow_alarms: 0,
            looked: VecDeque::new(),
            judged: VecDeque::new(),
        }
    }

    /// Share of rows for which both would act alike, 0 to 1; `None` before the first.
    pub(crate) fn agreement(&self) -> Option<f64> {
        (self.n_rows > 0).then(|| self.n_rows_agreed as f64 / self.n_rows as f64)
    }

    /// Mean absolute difference of the probabilities.
    pub(crate) fn mean_difference(&self) -> Option<f64> {
        (self.n_compared > 0).then(|| self.difference / self.n_compared as f64)
    }

    /// Alarms per device and month of live and shadow alone.
    pub(crate) fn alarm_rates(&self) -> Option<(f64, f64)> {
        let months = self.device_hours / MONTH_HOURS;
        (months > 0.0).then(|| {
            (
                self.live_alarms as f64 / months,
                self.shadow_alarms as f64 / months,
            )
        })
    }

    /// Average precision of live and shadow on the verdicts so far, and their number; `None` until there are right and
    /// wrong ones.
    pub(crate) fn average_precision(&self) -> Option<(f64, f64, usize)> {
        let of = |p: fn(&Judged) -> f64| {
            let judged: Vec<(f64, bool)> = self.judged.iter().map(|j| (p(j), j.right)).collect();
            average_precision(&judged)
        };
        Some((of(|j| j.live)?, of(|j| j.shadow)?, self.judged.len()))
    }
}

/// Area under precision over recall of probabilities with their outcome; `None` unless both outcomes occur.
pub(crate) fn average_precision(judged: &[(f64, bool)]) -> Option<f64> {
    let n_right = judged.iter().filter(|(_, right)| *right).count();
    if n_right == 0 || n_right == judged.len() {
        return None;
    }
    let mut judged = judged.to_vec();
    judged.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut hits, mut seen, mut sum) = (0.0, 0.0, 0.0);
    for ties in judged.chunk_by(|a, b| a.0 == b.0) {
        let right = ties.iter().filter(|(_, right)| *right).count() as f64;
        hits += right;
        seen += ties.len() as f64;
        sum += right * hits / seen;
    }
    Some(sum / n_right as f64)
}

/// The alarms that a model would raise alone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Voice(Episodes);

impl Voice {
    /// Takes what the model says of a row; returns the modes it would raise an alarm for now.
    pub(crate) fn hear(
        &mut self,
        context: &ClassContext,
        row: &Row,
        prognoses: &[Prognosis],
        suppressed: bool,
    ) -> Vec<ModeName> {
        let evidence: Vec<_> = prognoses
            .iter()
            .filter_map(|p| prognosis_evidence(context, &self.0, p))
            .collect();
        self.0
            .update(
                &row.device,
                row.ts,
                &evidence,
                context.episode_settings(),
                suppressed,
            )
            .into_iter()
            .filter_map(|change| match change {
                AlarmChange::Raised(alarm) => Some(alarm.mode),
                AlarmChange::Escalated(_) | AlarmChange::Cleared(_) => None,
            })
            .collect()
    }
}

impl Voice {
    /// The modes' faults are gone.
    pub(crate) fn repaired(&mut self, at: Timestamp, modes: &[ModeName]) {
        // What would have been cleared is told to nobody.
        let _cleared = self.0.reset_after_repair(at, modes);
    }

    /// Whether an alarm of that mode would be on.
    pub(crate) fn speaks_of(&self, mode: &ModeName) -> bool {
        self.0.active().any(|alarm| alarm.mode == *mode)
    }
}

/// What the watch remembers of one device; lost at a restart.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeviceWatch {
    live: Voice,
    shadow: Voice,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    /// The hour of the epoch that was last counted.
    hour: Option<i64>,
}

impl Watch {
    /// Watches these models; goes on with what was `seen` of the same ones.
    pub(crate) fn new(
        models: InRole,
        seen: Seen,
        window_hours: f64,
        seconds: Option<Histogram>,
    ) -> Self {
        let sha = |named: &Option<Named>| named.as_ref().map(|n| n.sha256().to_owned());
        let (live, shadow) = (sha(&models.live), sha(&models.shadow));
        let same_live = seen.live == live;
        let seen = Seen {
            window: seen.window.filter(|_| same_live),
            drift: seen.drift.filter(|_| same_live),
            precision: seen.precision.filter(|_| same_live),
            trial: seen.trial.filter(|_| same_live && seen.shadow == shadow),
            live,
            shadow,
        };
        Self {
            live: models.live,
            shadow: models.shadow,
            window_hours,
            seconds,
            seen: Mutex::new(seen),
        }
    }

    /// A model that nobody watches, or none.
    pub(crate) fn alone(model: Option<Model>) -> Self {
        let models = InRole {
            live: model.map(|model| Named {
                version: String::new(),
                model: Arc::new(model),
            }),
            shadow: None,
        };
        Self::new(models, Seen::default(), f64::INFINITY, None)
    }

    /// What was seen so far.
    pub(crate) fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // Counts stay usable whoever broke off in their midst.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a row that was scored just now, with what it led to.
    pub(crate) fn row(
        &self,
        context: &ClassContext,
        device: &mut DeviceWatch,
        row: &Row,
        features: &FeatureState,
        outcome: &Outcome,
        suppressed: bool,
    ) {
        let first = *device.first.get_or_insert(row.ts);
        let hour = row.ts.as_millis().div_euclid(HOUR_MS);
        if let Some(live) = &self.live
            && device.hour != Some(hour)
            && row.ts.hours_since(first) >= SETTLING_HOURS
        {
            device.hour = Some(hour);
            self.count(context, live, features, row);
        }
        if let Some(shadow) = &self.shadow {
            self.try_beside(shadow, context, device, row, features, outcome, suppressed);
        }
        device.last = device.last.max(Some(row.ts));
    }

    fn count(&self, context: &ClassContext, live: &Named, features: &FeatureState, row: &Row) {
        let ts = row.ts;
        let mut seen = self.lock();
        let window = seen.window.get_or_insert_with(|| Window {
            from: ts,
            counts: InputCounts::default(),
        });
        let values = context.class.without_counters(&row.values);
        live.model
            .observe(features, ts, &values, &mut window.counts);
        if ts.hours_since(window.from) < self.window_hours
            || window.counts.n_rows() < WINDOW_ROWS_MIN
        {
            return;
        }
        // A window with too few rows for the bins of the model goes on until they suffice.
        if let Some(drift) = live.model.drift(&window.counts) {
            let from = window.from;
            seen.window = None;
            seen.drift = Some(SeenDrift {
                from,
                to: ts,
                drift,
            });
        }
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "one row with all that is known of it"
    )]
    fn try_beside(
        &self,
        shadow: &Named,
        context: &ClassContext,
        device: &mut DeviceWatch,
        row: &Row,
        features: &FeatureState,
        outcome: &Outcome,
        suppressed: bool,
    ) {
        let timer = self.seconds.as_ref().map(Histogram::start_timer);
        let mut theirs = shadow.model.predict(features, row.ts);
        theirs.extend(outcome.tried.clone());
        if let Some(timer) = timer {
            timer.observe_duration();
        }
        let ours: &[Prognosis] = outcome.health.as_ref().map_or(&[], |h| &h.prognoses);
        let acts = |prognoses: &[Prognosis]| -> Vec<ModeName> {
            let mut modes: Vec<ModeName> = prognoses
                .iter()
                .filter(|p| p.probability > context.act_above(&p.mode))
                .map(|p| p.mode.clone())
                .collect();
            modes.sort();
            modes
        };
        let agreed = acts(ours) == acts(&theirs);
        let live_alarms = device.live.hear(context, row, ours, suppressed).len() as u64;
        let shadow_alarms = device.shadow.hear(context, row, &theirs, suppressed).len() as u64;
        let gap = device.last.map_or(0.0, |last| row.ts.hours_since(last));

        let mut seen = self.lock();
        let trial = seen.trial.get_or_insert_with(|| Trial::new(row.ts));
        trial.to = trial.to.max(row.ts);
        trial.n_rows += 1;
        trial.n_rows_agreed += u64::from(agreed);
        trial.live_alarms += live_alarms;
        trial.shadow_alarms += shadow_alarms;
        if (0.0..=GAP_HOURS_MAX).contains(&gap) {
            trial.device_hours += gap;
        }
        let both = |mode: &ModeName| {
            let of =
                |all: &[Prognosis]| all.iter().find(|p| p.mode == *mode).map(|p| p.probability);
            Some((of(ours)?, of(&theirs)?))
        };
        for prognosis in ours {
            if let Some((live, shadow)) = both(&prognosis.mode) {
                trial.difference += (live - shadow).abs();
                trial.n_compared += 1;
            }
        }
        for task in &outcome.tasks {
            if let CareTask::Assess {
                device,
                mode,
                reading_ts,
                ..
            } = task
                && let Some((live, shadow)) = both(mode)
            {
                if trial.looked.len() == LOOKED_MAX {
                    trial.looked.pop_front();
                }
                trial.looked.push_back(Looked {
                    device: device.clone(),
                    mode: mode.clone(),
                    ts: *reading_ts,
                    live,
                    shadow,
                });
            }
        }
    }

    /// A technician has looked at what was assessed at `ts`: the predicted fault was there, or not. A ticket counts
    /// once.
    pub(crate) fn judge(
        &self,
        ticket: TicketId,
        device: &DeviceId,
        mode: &ModeName,
        ts: Timestamp,
        right: bool,
    ) {
        let mut seen = self.lock();
        let Some(trial) = &mut seen.trial else { return };
        if trial.judged.iter().any(|j| j.ticket == ticket) {
            return;
        }
        let Some(at) = trial
            .looked
            .iter()
            .position(|l| l.device == *device && l.mode == *mode && l.ts == ts)
        else {
            return;
        };
        let Some(looked) = trial.looked.remove(at) else {
            return;
        };
        if trial.judged.len() == JUDGED_MAX {
            trial.judged.pop_front();
        }
        trial.judged.push_back(Judged {
            ticket,
            right,
            live: looked.live,
            shadow: looked.shadow,
        });
    }

    /// What the verdicts say of the live model now.
    pub(crate) fn set_precision(&self, precision: Option<SeenPrecision>) {
        self.lock().precision = precision;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn average_precision_matches_the_sum_by_hand() {
        // Right at ranks 1 and 3: (1/1 + 2/3) / 2.
        let judged = [(0.9, true), (0.8, false), (0.7, true), (0.1, false)];
        assert!((average_precision(&judged).unwrap() - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
        assert_eq!(average_precision(&[(0.9, true)]), None);
        // All alike: the share of right ones.
        let ties = [(0.5, true), (0.5, false), (0.5, false), (0.5, false)];
        assert!((average_precision(&ties).unwrap() - 0.25).abs() < 1e-12);
    }
}
