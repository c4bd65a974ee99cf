//! One device's chain from row to evidence: detectors, prognosis, episodes, trend, as one state that can be
//! checkpointed and rebuilt bit for bit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use forecare_catalogue::AssetClass;
use forecare_detect::{
    ClassDetector, DetectError, DetectSettings, DeviceDetector, EpisodeSettings, Episodes, Evidence,
};
use forecare_domain::{
    Alarm, AlarmChange, AlarmSource, AssetHealth, CareTask, ComponentName, DeviceEvent, ModeName,
    Prognosis, REPLACED_CODE, Row, Severity, Timestamp,
};
use forecare_prognosis::{FeatureState, Model, TrendState};
use serde::{Deserialize, Serialize};

/// Most events of one device remembered to recognise a repetition.
const RECENT_EVENTS_MAX: usize = 32;
/// Most metrics of one device that the catalogue does not know.
pub(crate) const EXTRA_METRICS_MAX: usize = 64;
/// Share of the raising probability below which a prognosis no longer holds its alarm.
const PROGNOSIS_HOLD_SHARE: f64 = 0.5;

/// What all devices of a class share.
pub(crate) struct ClassContext {
    pub(crate) class: AssetClass,
    detector: ClassDetector,
    pub(crate) model: Option<Model>,
    episodes: EpisodeSettings,
    reassess_hours: f64,
    confirm_hours: f64,
    /// Probability above which waiting costs more than acting, per mode.
    act_above: BTreeMap<ModeName, f64>,
}

impl ClassContext {
    pub(crate) fn new(
        class: AssetClass,
        model: Option<Model>,
        settings: &DetectSettings,
        episodes: EpisodeSettings,
        reassess_hours: f64,
        confirm_hours: f64,
        margin: f64,
    ) -> Result<Self, DetectError> {
        let detector = ClassDetector::new(&class, settings)?;
        let act_above = class
            .modes
            .iter()
            .map(|m| {
                (
                    m.name.clone(),
                    (m.cost_of_acting * (1.0 + margin) / m.cost_of_failure).min(1.0),
                )
            })
            .collect();
        Ok(Self {
            class,
            detector,
            model,
            episodes,
            reassess_hours,
            confirm_hours,
            act_above,
        })
    }

    fn modes_of(&self, component: &ComponentName) -> Vec<ModeName> {
        self.class
            .modes_of_component(component)
            .map(|m| m.name.clone())
            .collect()
    }

    fn act_above(&self, mode: &ModeName) -> f64 {
        self.act_above.get(mode).copied().unwrap_or(1.0)
    }
}

/// When and how a mode was last handed to the care desk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Assessed {
    at: Timestamp,
    above: bool,
}

/// Where a row stands relative to what was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Newer than everything: scored.
    InOrder,
    /// More metrics of the newest row: scored.
    Merged,
    /// A repetition, or late: stored if new, never scored.
    NotNewer,
}

/// What a row led to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) health: Option<AssetHealth>,
    pub(crate) alarms: Vec<AlarmChange>,
    pub(crate) tasks: Vec<CareTask>,
}

/// State of one device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Monitor {
    /// Time of the newest scored row.
    pub(crate) watermark: Option<Timestamp>,
    newest: Vec<Option<f64>>,
    detector: DeviceDetector,
    episodes: Episodes,
    features: FeatureState,
    trend: TrendState,
    assessed: BTreeMap<ModeName, Assessed>,
    recent_events: VecDeque<(Timestamp, String)>,
    /// Names of stored metrics that the catalogue does not know.
    pub(crate) extra_metrics: BTreeSet<String>,
    /// Highest `seq` seen, and how many were missing below it.
    pub(crate) seq: Option<u64>,
    pub(crate) seq_missing: u64,
    /// Rows scored since the last checkpoint: what a restart would replay.
    #[serde(skip)]
    since_checkpoint: Vec<(Timestamp, u64)>,
    /// True when something happened that a replay of rows would not reproduce.
    #[serde(skip)]
    irregular: bool,
}

impl Monitor {
    pub(crate) fn new(context: &ClassContext) -> Self {
        let n_metrics = context.class.metrics.len();
        Self {
            watermark: None,
            newest: vec![None; n_metrics],
            detector: DeviceDetector::new(&context.detector),
            episodes: Episodes::new(),
            features: FeatureState::new(n_metrics),
            trend: TrendState::new(),
            assessed: BTreeMap::new(),
            recent_events: VecDeque::new(),
            extra_metrics: BTreeSet::new(),
            seq: None,
            seq_missing: 0,
            since_checkpoint: Vec::new(),
            irregular: false,
        }
    }

    /// Takes the next row of the device. `suppressed`: a maintenance window covers it.
    pub(crate) fn row(
        &mut self,
        context: &ClassContext,
        row: &Row,
        judged_at: Timestamp,
        suppressed: bool,
    ) -> (Placement, Outcome) {
        let placement = match self.watermark {
            Some(watermark) if row.ts < watermark => Placement::NotNewer,
            Some(watermark) if row.ts == watermark => {
                let adds = row
                    .values
                    .iter()
                    .zip(&self.newest)
                    .any(|(new, old)| new.is_some() && old.is_none());
                if adds {
                    Placement::Merged
                } else {
                    Placement::NotNewer
                }
            }
            _ => Placement::InOrder,
        };
        match placement {
            Placement::NotNewer => {
                // A late row between checkpoint and watermark would be scored by a replay; a repetition of a
                // row that was scored changes nothing.
                let known = self
                    .since_checkpoint
                    .contains(&(row.ts, fingerprint(&row.values)));
                self.irregular |= !known;
                return (placement, Outcome::default());
            }
            Placement::Merged => {
                self.irregular = true;
                for (old, new) in self.newest.iter_mut().zip(&row.values) {
                    *old = old.or(*new);
                }
            }
            Placement::InOrder => {
                self.newest.clone_from(&row.values);
                self.since_checkpoint
                    .push((row.ts, fingerprint(&row.values)));
            }
        }
        self.watermark = Some(row.ts);
        (placement, self.score(context, row, judged_at, suppressed))
    }

    fn score(
        &mut self,
        context: &ClassContext,
        row: &Row,
        judged_at: Timestamp,
        suppressed: bool,
    ) -> Outcome {
        let scored = self.detector.step(&context.detector, row.ts, &row.values);
        self.features.push(row.ts, &row.values);
        let prognoses = context
            .model
            .as_ref()
            .map(|model| model.predict(&self.features, row.ts))
            .unwrap_or_default();
        let mut evidence = scored.evidence;
        for prognosis in &prognoses {
            evidence.extend(self.evidence_of(context, prognosis));
        }
        let alarms = self.episodes.update(
            &row.device,
            row.ts,
            &evidence,
            &context.episodes,
            suppressed,
        );
        self.trend.push(row.ts, scored.health);
        let rul = self.trend.rul();
        let worst = prognoses.iter().map(|p| p.probability).fold(0.0, f64::max);
        let health = AssetHealth {
            device: row.device.clone(),
            at: row.ts,
            health: scored.health.min(100.0 * (1.0 - worst)),
            anomaly: scored.anomaly,
            prognoses,
            rul,
        };
        let tasks = self.tasks(context, row, judged_at, &alarms, &health);
        Outcome {
            health: Some(health),
            alarms,
            tasks,
        }
    }

    /// A probability that makes waiting dearer than acting is evidence; it holds its alarm until it has
    /// fallen well below.
    fn evidence_of(&self, context: &ClassContext, prognosis: &Prognosis) -> Option<Evidence> {
        let active = self
            .episodes
            .active()
            .any(|a| a.mode == prognosis.mode && a.source == AlarmSource::Prognosis);
        let share = if active { PROGNOSIS_HOLD_SHARE } else { 1.0 };
        (prognosis.probability > share * context.act_above(&prognosis.mode)).then(|| Evidence {
            mode: prognosis.mode.clone(),
            source: AlarmSource::Prognosis,
            severity: Severity::Critical,
            strength: prognosis.probability,
            contributions: prognosis.contributions.clone(),
        })
    }

    /// The care desk hears of a new or escalated episode, of a probability that has come to make acting
    /// worthwhile, again at intervals while an episode lasts, and of its end. Where no model speaks, a mere
    /// warning is handed over only once it has lasted: short ones are mostly false.
    fn tasks(
        &mut self,
        context: &ClassContext,
        row: &Row,
        judged_at: Timestamp,
        alarms: &[AlarmChange],
        health: &AssetHealth,
    ) -> Vec<CareTask> {
        let mut tasks = Vec::new();
        for change in alarms {
            if let AlarmChange::Cleared(alarm) = change {
                self.assessed.remove(&alarm.mode);
                tasks.push(cleared(alarm, judged_at));
            }
        }
        for alarm in self.episodes.active() {
            let prognosis = health.prognoses.iter().find(|p| p.mode == alarm.mode);
            let above = prognosis.is_none_or(|p| p.probability > context.act_above(&alarm.mode));
            let changed = alarms.iter().any(|c| c.alarm().mode == alarm.mode);
            let due = self.assessed.get(&alarm.mode).is_none_or(|last| {
                (above && !last.above) || row.ts.hours_since(last.at) >= context.reassess_hours
            });
            let confirmed = prognosis.is_some()
                || alarm.severity == Severity::Critical
                || row.ts.hours_since(alarm.raised_at) >= context.confirm_hours;
            if !(confirmed && (changed || due)) {
                continue;
            }
            self.assessed
                .insert(alarm.mode.clone(), Assessed { at: row.ts, above });
            let contributions = prognosis
                .filter(|p| above && !p.contributions.is_empty())
                .map_or(&alarm.contributions, |p| &p.contributions);
            tasks.push(CareTask::Assess {
                device: row.device.clone(),
                mode: alarm.mode.clone(),
                alarm: alarm.id.clone(),
                severity: alarm.severity,
                probability: prognosis.map(|p| p.probability),
                horizon_hours: prognosis.map_or(context.class.horizon_hours, |p| p.horizon_hours),
                rul: health.rul.clone(),
                contributions: contributions.clone(),
                reading_ts: row.ts,
                at: judged_at,
            });
        }
        tasks
    }

    /// Takes an event of the device; a repetition changes nothing.
    pub(crate) fn event(
        &mut self,
        context: &ClassContext,
        event: &DeviceEvent,
        judged_at: Timestamp,
    ) -> Outcome {
        let key = (
            event.ts,
            format!(
                "{}/{}",
                event.code,
                event.component.as_ref().map_or("", |c| c.as_str())
            ),
        );
        if self.recent_events.contains(&key) {
            return Outcome::default();
        }
        if self.recent_events.len() == RECENT_EVENTS_MAX {
            self.recent_events.pop_front();
        }
        self.recent_events.push_back(key);
        self.irregular = true;
        let mut outcome = Outcome::default();
        if event.code == REPLACED_CODE {
            if let Some(component) = &event.component {
                self.features.replaced(event.ts, component);
                outcome = self.repaired(context, &context.modes_of(component), event.ts, judged_at);
                outcome.tasks.push(CareTask::Replaced {
                    device: event.device.clone(),
                    component: component.clone(),
                    at: judged_at,
                });
            }
        } else {
            self.features.event(event.ts, &event.code);
        }
        outcome
    }

    /// The modes' faults are gone: forget what was learnt of them.
    pub(crate) fn repaired(
        &mut self,
        context: &ClassContext,
        modes: &[ModeName],
        at: Timestamp,
        judged_at: Timestamp,
    ) -> Outcome {
        self.irregular = true;
        self.detector.reset_after_repair(&context.detector, modes);
        self.trend.reset();
        let alarms = self.episodes.reset_after_repair(at, modes);
        for mode in modes {
            self.assessed.remove(mode);
        }
        let tasks = alarms
            .iter()
            .map(|change| cleared(change.alarm(), judged_at))
            .collect();
        Outcome {
            health: None,
            alarms,
            tasks,
        }
    }

    /// Notes a message's sequence number; returns how many numbers were skipped just before it.
    pub(crate) fn sequence(&mut self, seq: u64) -> u64 {
        let skipped = self
            .seq
            .map_or(0, |last| seq.saturating_sub(last).saturating_sub(1));
        if self.seq.is_none_or(|last| seq > last) {
            self.seq = Some(seq);
        } else if self.seq_missing > 0 && self.seq.is_some_and(|last| seq < last) {
            // One that was missing has come after all.
            self.seq_missing -= 1;
        }
        self.seq_missing = self.seq_missing.saturating_add(skipped);
        skipped
    }

    /// After a rebuild from rows the newest sequence number is unknown: rows do not carry it.
    pub(crate) fn forget_sequence(&mut self) {
        self.seq = None;
    }

    /// True when the state must be stored with this batch: a replay of rows from the last checkpoint would
    /// not reproduce it, or would take longer than `rows_max` rows.
    pub(crate) fn needs_checkpoint(&self, rows_max: u32) -> bool {
        self.irregular
            || self.since_checkpoint.len() >= usize::try_from(rows_max).unwrap_or(usize::MAX)
    }

    /// Call once the state is part of a batch.
    pub(crate) fn checkpointed(&mut self) {
        self.since_checkpoint.clear();
        self.irregular = false;
    }
}

fn cleared(alarm: &Alarm, at: Timestamp) -> CareTask {
    CareTask::Cleared {
        device: alarm.device.clone(),
        mode: alarm.mode.clone(),
        alarm: alarm.id.clone(),
        at,
    }
}

/// Tells one row's values from another's at the same time.
fn fingerprint(values: &[Option<f64>]) -> u64 {
    values
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, value| {
            (hash ^ value.map_or(1, f64::to_bits))
                .wrapping_mul(0x0000_0100_0000_01b3)
                .rotate_left(23)
        })
}
