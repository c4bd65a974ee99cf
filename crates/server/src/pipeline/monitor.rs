//! One device's chain from row to evidence: detectors, prognosis, episodes, trend, as one state that can be
//! checkpointed and rebuilt bit for bit.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use forecare_care::TicketRules;
use forecare_catalogue::AssetClass;
use forecare_detect::{
    ClassDetector, DetectError, DetectSettings, DeviceDetector, EpisodeSettings, Episodes,
    Evidence, from_fleet,
};
use forecare_domain::{
    Alarm, AlarmChange, AlarmSource, AssetHealth, CareTask, ComponentName, DeviceEvent, MetricName,
    ModeName, Prognosis, REPLACED_CODE, Row, Severity, Timestamp,
};
use forecare_prognosis::{EXPLAINED_FROM, FeatureState, LifeState, Model, TrendState};
use serde::{Deserialize, Serialize};

use crate::models::watch::Watch;

/// Most events of one device remembered to recognise a repetition.
const RECENT_EVENTS_MAX: usize = 32;
/// Most metrics of one device that the catalogue does not know.
pub(crate) const EXTRA_METRICS_MAX: usize = 64;
/// How long a device's own report confirms a warning of the same mode, hours.
const REPORTED_HOURS: f64 = 24.0;
/// Share of the raising probability below which a prognosis no longer holds its alarm.
const PROGNOSIS_HOLD_SHARE: f64 = 0.5;

/// What all devices of a class share.
pub(crate) struct ClassContext {
    pub(crate) class: AssetClass,
    detector: ClassDetector,
    /// The models that speak and are tried.
    pub(crate) watch: Arc<Watch>,
    episodes: EpisodeSettings,
    reassess_hours: f64,
    confirm_hours: f64,
    /// Probability above which waiting costs more than acting, per mode.
    act_above: BTreeMap<ModeName, f64>,
    /// Which events open tickets.
    tickets: Arc<TicketRules>,
    /// Probability from which a prognosis says what moved it.
    explained_from: f64,
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
            watch: Arc::new(Watch::alone(model)),
            episodes,
            reassess_hours,
            confirm_hours,
            act_above,
            tickets: Arc::default(),
            explained_from: EXPLAINED_FROM,
        })
    }

    /// Devices of this class open tickets by the events they report, as `tickets` says.
    pub(crate) fn reporting(self, tickets: Arc<TicketRules>) -> Self {
        Self { tickets, ..self }
    }

    /// The same class with other models.
    pub(crate) fn with_models(&self, watch: Arc<Watch>) -> Self {
        Self {
            class: self.class.clone(),
            detector: self.detector.clone(),
            watch,
            episodes: self.episodes.clone(),
            reassess_hours: self.reassess_hours,
            confirm_hours: self.confirm_hours,
            act_above: self.act_above.clone(),
            tickets: Arc::clone(&self.tickets),
            explained_from: self.explained_from,
        }
    }

    /// The same class where nobody looks at health: only a prognosis that raises or holds an alarm says what moved it.
    pub(crate) fn explaining_alarms_only(&self) -> Self {
        let least = self.act_above.values().copied().fold(1.0, f64::min);
        Self {
            explained_from: EXPLAINED_FROM.max(PROGNOSIS_HOLD_SHARE * least),
            ..self.with_models(Arc::clone(&self.watch))
        }
    }

    /// The model that speaks.
    pub(crate) fn model(&self) -> Option<&Model> {
        self.watch.live.as_ref().map(|named| &*named.model)
    }

    /// How alarms are raised and cleared.
    pub(crate) fn episode_settings(&self) -> &EpisodeSettings {
        &self.episodes
    }

    /// The failure modes of a component.
    pub(crate) fn modes_of(&self, component: &ComponentName) -> Vec<ModeName> {
        self.class
            .modes_of_component(component)
            .map(|m| m.name.clone())
            .collect()
    }

    /// Probability above which waiting costs more than acting.
    pub(crate) fn act_above(&self, mode: &ModeName) -> f64 {
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
    /// What the model on trial says by remaining life.
    pub(crate) tried: Option<Prognosis>,
}

/// State of one device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Monitor {
    /// Time of the newest scored row.
    pub(crate) watermark: Option<Timestamp>,
    /// The class's metrics when this state began: of another list it would mean nothing.
    metrics: Vec<String>,
    newest: Vec<Option<f64>>,
    detector: DeviceDetector,
    episodes: Episodes,
    features: FeatureState,
    trend: TrendState,
    /// Followed where the class's model tells remaining life.
    #[serde(default)]
    life: LifeState,
    /// The same for the model on trial: it has no effect before that one is promoted, and then goes on as `life`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tried: Option<LifeState>,
    assessed: BTreeMap<ModeName, Assessed>,
    recent_events: VecDeque<(Timestamp, String)>,
    /// Newest reported replacement of each component.
    replaced: BTreeMap<ComponentName, Timestamp>,
    /// Newest report of an event code that points to a mode.
    reported: BTreeMap<ModeName, Timestamp>,
    /// Names of stored metrics that the catalogue does not know.
    extra_metrics: BTreeSet<String>,
    /// Highest `seq` seen, and how many were missing below it.
    pub(crate) seq: Option<u64>,
    pub(crate) seq_missing: u64,
    /// Rows scored since the last checkpoint: what a restart would replay.
    #[serde(skip)]
    since_checkpoint: Vec<(Timestamp, u64)>,
    /// Watermark of the newest checkpoint.
    #[serde(skip)]
    checkpointed_to: Option<Timestamp>,
    /// True when something happened that a replay of rows would not reproduce.
    #[serde(skip)]
    irregular: bool,
}

impl Monitor {
    pub(crate) fn new(context: &ClassContext) -> Self {
        let n_metrics = context.class.metrics.len();
        Self {
            watermark: None,
            metrics: metric_names(context),
            newest: vec![None; n_metrics],
            detector: DeviceDetector::new(&context.detector),
            episodes: Episodes::new(),
            features: FeatureState::new(n_metrics),
            trend: TrendState::new(),
            life: LifeState::new(),
            tried: None,
            assessed: BTreeMap::new(),
            recent_events: VecDeque::new(),
            replaced: BTreeMap::new(),
            reported: BTreeMap::new(),
            extra_metrics: BTreeSet::new(),
            seq: None,
            seq_missing: 0,
            since_checkpoint: Vec::new(),
            checkpointed_to: None,
            irregular: false,
        }
    }

    /// A device that reports for the first time, at `at`, begins with what its sisters have learnt, if they have.
    /// No replay of its rows would bring that back, so it is part of the first checkpoint.
    pub(crate) fn begin_with_fleet<'a>(
        &mut self,
        context: &ClassContext,
        at: Timestamp,
        sisters: impl IntoIterator<Item = &'a Self>,
    ) {
        let fleet = sisters.into_iter().map(|m| &m.detector);
        if let Some(detector) = from_fleet(&context.detector, at, fleet) {
            self.detector = detector;
            self.irregular = true;
        }
    }

    /// The state of a checkpoint; `None` where it was written by another version or for other metrics.
    pub(crate) fn restored(context: &ClassContext, state: &[u8]) -> Option<Self> {
        let mut monitor: Self = serde_json::from_slice(state).ok()?;
        monitor.checkpointed_to = monitor.watermark;
        (monitor.metrics == metric_names(context)).then_some(monitor)
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
                // A late row between checkpoint and watermark would be scored by a replay; one before the
                // checkpoint, or a repetition of a row that was scored, changes nothing.
                let replayed = self.checkpointed_to.is_none_or(|mark| row.ts > mark);
                let known = self
                    .since_checkpoint
                    .contains(&(row.ts, fingerprint(&row.values)));
                self.irregular |= replayed && !known;
                return (placement, Outcome::default());
            }
            Placement::Merged => {
                self.irregular = true;
                // Only what is new counts: the rest was scored, or is refused by the store.
                let mut added = row.clone();
                for (new, old) in added.values.iter_mut().zip(&mut self.newest) {
                    *new = new.filter(|_| old.is_none());
                    *old = old.or(*new);
                }
                let outcome = self.score(context, &added, judged_at, suppressed);
                return (placement, outcome);
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
        let values = context.class.without_counters(&row.values);
        self.features.push(row.ts, &values);
        let mut prognoses = context
            .model()
            .map(|model| model.predict_explaining(&self.features, row.ts, context.explained_from))
            .unwrap_or_default();
        // Lives that ended say more than the trend of one that has not.
        let learnt = context.model().and_then(|model| {
            let id = &model.card().sha256;
            if let Some(tried) = self.tried.take_if(|tried| tried.is_of(id)) {
                self.life = tried;
            }
            let rul = model.life()?.step(id, &mut self.life, row.ts, &values);
            prognoses.extend(model.predict_from_life(&self.life, &rul));
            Some(rul)
        });
        let shadow = context.watch.shadow.as_ref().map(|named| &named.model);
        let tried = match shadow.and_then(|model| Some((model, model.life()?))) {
            Some((model, life)) => {
                // The time in service goes over to it; what belongs to the other model does not.
                let state = self.tried.get_or_insert_with(|| self.life.clone());
                let rul = life.step(&model.card().sha256, state, row.ts, &values);
                model.predict_from_life(state, &rul)
            }
            None => {
                self.tried = None;
                None
            }
        };
        let mut evidence = scored.evidence;
        for prognosis in &prognoses {
            evidence.extend(prognosis_evidence(context, &self.episodes, prognosis));
        }
        let alarms = self.episodes.update(
            &row.device,
            row.ts,
            &evidence,
            &context.episodes,
            suppressed,
        );
        self.trend.push(row.ts, scored.health);
        // After a model has fallen silent its last word no longer counts.
        let left = learnt.as_ref().and_then(|_| self.life.health());
        let rul = learnt.unwrap_or_else(|| self.trend.rul());
        let worst = prognoses.iter().map(|p| p.probability).fold(0.0, f64::max);
        let health = AssetHealth {
            device: row.device.clone(),
            at: row.ts,
            health: scored
                .health
                .min(100.0 * (1.0 - worst))
                .min(left.unwrap_or(100.0)),
            anomaly: scored.anomaly,
            prognoses,
            rul,
        };
        let tasks = self.tasks(context, row, judged_at, &alarms, &health);
        Outcome {
            health: Some(health),
            alarms,
            tasks,
            tried,
        }
    }

    /// The care desk hears of a new or escalated episode, of a probability that has come to make acting
    /// worthwhile, again at intervals while an episode lasts, and of its end. Where no model speaks, a mere
    /// warning is handed over only once it has lasted, or the device itself reports a code of that mode: short
    /// ones are mostly false.
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
            let reported = self.reported.get(&alarm.mode);
            let confirmed = prognosis.is_some()
                || alarm.severity == Severity::Critical
                || reported.is_some_and(|at| row.ts.hours_since(*at).abs() <= REPORTED_HOURS)
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
                // A limit means what it says, whatever a model has learnt.
                probability: prognosis
                    .filter(|_| alarm.source != AlarmSource::Limit)
                    .map(|p| p.probability),
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
        if event.code != REPLACED_CODE {
            self.features.event(event.ts, &event.code);
            for mode in &context.class.modes {
                if mode.event_codes.contains(&event.code) {
                    self.reported.insert(mode.name.clone(), event.ts);
                }
            }
            let mut outcome = Outcome::default();
            if context.tickets.event(&context.class.name, event).is_some() {
                outcome.tasks.push(CareTask::Reported {
                    event: event.clone(),
                    at: judged_at,
                });
            }
            return outcome;
        }
        let Some(component) = &event.component else {
            return Outcome::default();
        };
        if self
            .replaced
            .get(component)
            .is_some_and(|last| event.ts <= *last)
        {
            // An older report than the last one, or that one again.
            return Outcome::default();
        }
        self.replaced.insert(component.clone(), event.ts);
        self.features.replaced(event.ts, component);
        // What was raised after the replacement speaks of the new component.
        let younger: Vec<&ModeName> = self
            .episodes
            .active()
            .filter(|a| a.raised_at > event.ts)
            .map(|a| &a.mode)
            .collect();
        let mut cured = context.modes_of(component);
        cured.retain(|mode| !younger.contains(&mode));
        let mut outcome = self.repaired(context, &cured, event.ts, judged_at);
        outcome.tasks.push(CareTask::Replaced {
            device: event.device.clone(),
            component: component.clone(),
            at: event.ts,
        });
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
        self.life.reset();
        self.tried = None;
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
            tried: None,
        }
    }

    /// Admits a metric that the catalogue does not know, up to the bound per device; gives a refused name back.
    pub(crate) fn extra_metric<'a>(
        &mut self,
        name: Cow<'a, str>,
    ) -> Result<MetricName, Cow<'a, str>> {
        let is_known = self.extra_metrics.contains(name.as_ref());
        if !is_known && self.extra_metrics.len() >= EXTRA_METRICS_MAX {
            return Err(name);
        }
        match MetricName::new(name.as_ref()) {
            Ok(metric) => {
                if !is_known {
                    // Rows alone would not bring the name back.
                    self.irregular = true;
                    self.extra_metrics.insert(name.into_owned());
                }
                Ok(metric)
            }
            Err(_) => Err(name),
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

    /// Something outside the rows has changed what they mean from now on.
    pub(crate) fn touch(&mut self) {
        self.irregular = true;
    }

    /// After a rebuild from rows the newest sequence number is unknown: rows do not carry it.
    pub(crate) fn forget_sequence(&mut self) {
        self.seq = None;
    }

    /// What a model sees of the device.
    pub(crate) fn features(&self) -> &FeatureState {
        &self.features
    }

    /// True when the state must be stored with this batch: a replay of rows from the last checkpoint would
    /// not reproduce it, or would take longer than `rows_max` rows.
    pub(crate) fn needs_checkpoint(&self, rows_max: u32) -> bool {
        self.irregular
            || self.since_checkpoint.len() >= usize::try_from(rows_max).unwrap_or(usize::MAX)
    }

    /// True when a replay of rows would not reproduce the state: then its checkpoint cannot wait for another batch.
    pub(crate) fn must_checkpoint(&self) -> bool {
        self.irregular
    }

    /// Call once the state is part of a batch.
    pub(crate) fn checkpointed(&mut self) {
        self.since_checkpoint.clear();
        self.checkpointed_to = self.watermark;
        self.irregular = false;
    }
}

/// A probability that makes waiting dearer than acting is evidence; it holds its alarm until it has fallen well below.
pub(crate) fn prognosis_evidence(
    context: &ClassContext,
    episodes: &Episodes,
    prognosis: &Prognosis,
) -> Option<Evidence> {
    let active = episodes
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

fn cleared(alarm: &Alarm, at: Timestamp) -> CareTask {
    CareTask::Cleared {
        device: alarm.device.clone(),
        mode: alarm.mode.clone(),
        alarm: alarm.id.clone(),
        at,
    }
}

fn metric_names(context: &ClassContext) -> Vec<String> {
    let metrics = &context.class.metrics;
    metrics.iter().map(|m| m.name.to_string()).collect()
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

#[cfg(test)]
mod tests {
    use forecare_catalogue::Catalogue;
    use forecare_domain::{DeviceId, EventSeverity};
    use proptest::prelude::*;

    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn context() -> ClassContext {
        let catalogue = Catalogue::parse(crate::cli::DEMO_CATALOGUE).unwrap();
        ClassContext::new(
            catalogue.classes[0].clone(),
            None,
            &DetectSettings::default(),
            EpisodeSettings::default(),
            12.0,
            12.0,
            0.0,
        )
        .unwrap()
    }

    /// What may happen to a device.
    #[derive(Debug, Clone)]
    enum Step {
        /// The next row, some minutes later; a mask of metrics.
        Next(u8, u8, i16),
        /// A row for an earlier or the newest time again, perhaps with other metrics.
        Again(u8, u8, i16),
        /// A row between earlier ones.
        Late(u8, i16),
        Event(bool),
        Repaired,
        /// The batch ends here; then, perhaps, the process dies.
        Commit(bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (1_u8..90, any::<u8>(), any::<i16>()).prop_map(|(m, mask, v)| Step::Next(m, mask, v)),
            2 => (any::<u8>(), any::<u8>(), any::<i16>()).prop_map(|(i, mask, v)| Step::Again(i, mask, v)),
            2 => (any::<u8>(), any::<i16>()).prop_map(|(i, v)| Step::Late(i, v)),
            1 => any::<bool>().prop_map(Step::Event),
            1 => Just(Step::Repaired),
            3 => any::<bool>().prop_map(Step::Commit),
        ]
    }

    fn row(device: &DeviceId, at: i64, mask: u8, value: i16) -> Row {
        let values = (0..8)
            .map(|m| (mask & (1 << m) != 0).then(|| 50.0 + f64::from(m) + f64::from(value) / 500.0))
            .collect();
        Row {
            device: device.clone(),
            ts: Timestamp::from_millis(at),
            values,
            extra: Vec::new(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn a_rebuilt_monitor_equals_the_undisturbed_one(
            steps in prop::collection::vec(step(), 1..400),
            rows_max in 1_u32..40,
        ) {
            let context = context();
            let device = DeviceId::new("compressor-1").unwrap();
            let mut live = Monitor::new(&context);
            // What the store holds: committed rows (the first value of a reading stays), newest checkpoint.
            let mut stored: BTreeMap<i64, Vec<Option<f64>>> = BTreeMap::new();
            let mut uncommitted: Vec<Row> = Vec::new();
            let mut checkpoint: Option<Vec<u8>> = None;
            let mut times = vec![1_700_000_000_000_i64];
            for step in steps {
                let newest = times.last().copied().unwrap();
                let earlier = |i: u8| times[usize::from(i) % times.len()];
                let told = match step {
                    Step::Next(minutes, mask, value) => {
                        let at = newest + i64::from(minutes) * 60_000;
                        Some(row(&device, at, mask | 1, value))
                    }
                    Step::Again(i, mask, value) => {
                        let at = if i % 2 == 0 { newest } else { earlier(i) };
                        Some(row(&device, at, mask | 2, value))
                    }
                    Step::Late(i, value) => Some(row(&device, earlier(i) + 1, 255, value)),
                    Step::Event(replaced) => {
                        let event = DeviceEvent {
                            device: device.clone(),
                            ts: Timestamp::from_millis(newest),
                            code: if replaced { REPLACED_CODE.into() } else { "E21".into() },
                            severity: EventSeverity::Info,
                            component: replaced.then(|| ComponentName::new("bearing").unwrap()),
                            message: String::new(),
                        };
                        live.event(&context, &event, event.ts);
                        None
                    }
                    Step::Repaired => {
                        let modes = [context.class.modes[0].name.clone()];
                        let at = Timestamp::from_millis(newest + HOUR_MS);
                        live.repaired(&context, &modes, at, at);
                        None
                    }
                    Step::Commit(dies) => {
                        for row in uncommitted.drain(..) {
                            let kept = stored.entry(row.ts.as_millis()).or_insert_with(|| vec![None; 8]);
                            for (old, new) in kept.iter_mut().zip(row.values) {
                                *old = old.or(new);
                            }
                        }
                        if live.needs_checkpoint(rows_max) {
                            live.checkpointed();
                            checkpoint = Some(serde_json::to_vec(&live).unwrap());
                        }
                        let mut rebuilt = checkpoint.as_deref().map_or_else(
                            || Monitor::new(&context),
                            |state| Monitor::restored(&context, state).unwrap(),
                        );
                        let after = rebuilt.watermark.map_or(i64::MIN, Timestamp::as_millis);
                        for (at, values) in stored.range(after.saturating_add(1)..) {
                            let mut next = row(&device, *at, 0, 0);
                            next.values.clone_from(values);
                            rebuilt.row(&context, &next, next.ts, false);
                        }
                        prop_assert_eq!(
                            serde_json::to_value(&rebuilt).unwrap(),
                            serde_json::to_value(&live).unwrap()
                        );
                        if dies {
                            live = rebuilt;
                        }
                        None
                    }
                };
                if let Some(told) = told {
                    live.row(&context, &told, told.ts, false);
                    times.push(told.ts.as_millis().max(newest));
                    uncommitted.push(told);
                }
            }
        }
    }
}
