//! One device, row by row.

mod cold_start;

pub use cold_start::from_fleet;

use forecare_domain::{ModeName, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use smallvec::SmallVec;

use crate::bounds::most;
use crate::class::Role;
use crate::codec::{self, packed};
use crate::health::{self, Standing};
use crate::hours::TimeOfDay;
use crate::look::{Look, Rows, anomaly, beyond_limit, departed, is_stuck, joint_damage, score};
use crate::metric::{self, AT_ONCE, Metric};
use crate::novelty::{Novelty, Pace};
use crate::operation::{Axes, Gain, Operation, Regressors};
use crate::regimes::{AXES_MAX, Move, Regimes};
use crate::signature::{self, Departed};
use crate::together::{TOGETHER_MAX, Together, narrow};
use crate::week::TimeOfWeek;
use crate::{ClassDetector, Evidence, Scored};

/// Version of the serialised form.
const FORMAT: u8 = 3;
/// A gap of so many sampling intervals separates what was from what is.
const GAP_INTERVALS: f64 = 50.0;
/// A residual stands in for a missing value for so many sampling intervals.
const HOLD_INTERVALS: f64 = 5.0;
/// Samples that T² is watched before it is judged.
const JOINT_WARM_UP: f32 = 60.0;
/// Largest magnitude counted with: squares must stay finite.
const VALUE_MAX: f64 = 1e140;
/// From so many metrics on, all of them standing still is a machine at rest, not a stuck sensor.
const AT_REST_METRICS_MIN: usize = 3;

/// Metrics of a row that need no memory of their own.
const LOOKS_INLINE: usize = 12;

/// The state of one device. It serialises to one base64 text (or bytes) that reads back bit for bit.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceDetector {
    metrics: Vec<Metric>,
    regimes: Regimes,
    operation: Operation,
    together: Together,
    /// One per watched metric of the class.
    novelties: Vec<Novelty>,
    first_ms: i64,
    last_ms: i64,
    /// The last row that the metrics were judged together at, ms.
    joint_ms: i64,
    /// When the present joint departure began, ms; `i64::MIN`: none.
    joint_departed_ms: i64,
    /// True once a day has been seen.
    settled: u8,
    health: f64,
}
packed!(DeviceDetector {
    metrics,
    regimes,
    operation,
    together,
    novelties,
    first_ms,
    last_ms,
    joint_ms,
    joint_departed_ms,
    settled,
    health,
});

impl Serialize for DeviceDetector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        codec::serialize(FORMAT, self, serializer)
    }
}

impl<'de> Deserialize<'de> for DeviceDetector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let device: Self = codec::deserialize(FORMAT, deserializer)?;
        if device.sound() {
            Ok(device)
        } else {
            Err(de::Error::custom("detector state is corrupt"))
        }
    }
}

impl DeviceDetector {
    /// A device that has not reported yet.
    #[must_use]
    pub fn new(class: &ClassDetector) -> Self {
        Self {
            metrics: class
                .roles
                .iter()
                .map(|&role| Metric::new(class.n_slopes(role)))
                .collect(),
            regimes: Regimes::default(),
            operation: Operation::new(class.n_axes),
            together: Together::new(class.n_health),
            novelties: class.watched.iter().map(|_| Novelty::new()).collect(),
            first_ms: i64::MIN,
            last_ms: i64::MIN,
            joint_ms: i64::MIN,
            joint_departed_ms: i64::MIN,
            settled: 0,
            health: 100.0,
        }
    }

    /// Scores one row. Rows come in time order; `values` has one place per metric of the class, `None`
    /// where not reported. Values that are not finite count as not reported. A state of another shape
    /// than the class (its metrics have changed since) starts afresh.
    pub fn step(&mut self, class: &ClassDetector, ts: Timestamp, values: &[Option<f64>]) -> Scored {
        if !self.fits(class) {
            *self = Self::new(class);
        }
        let ms = ts.as_millis();
        self.pass_time(class, ms);
        let settled = self.settled == 1;
        let early = !settled && self.hours_since_first(ms) < 24.0;
        let tod = TimeOfDay::of(ts);
        self.find_regime(class, values);
        let regime = self.regimes.current();

        let mut gain = Gain::default();
        let (row, may_learn) = self.regressors(class, values, ms, regime, &mut gain);
        let mut looks: SmallVec<[Look; LOOKS_INLINE]> = SmallVec::new();
        for (i, value) in values.iter().enumerate().take(self.metrics.len()) {
            if let Some(seen) = value.filter(|v| v.is_finite()) {
                looks.push(Look::at(i, seen));
                if let Some(look) = looks.last_mut() {
                    self.look(class, look, (regime, tod), &row);
                }
            }
        }
        let (ratio_novel, ratio_onset) = self.novelty(class, &looks, ms);
        let (rows, ratio_joint) = self.judge(class, &mut looks, ms, regime, settled);
        let when = (regime, tod, early);
        let gain = may_learn.then_some((&row, &gain));
        self.learn(class, &looks, &rows, ratio_joint, gain, when);
        self.accept_lasting(class, &looks, ratio_joint, ms);

        let damage = looks
            .iter()
            .map(|l| self.damage(class, l))
            .fold(joint_damage(ratio_joint), most);
        self.health = health::smooth(self.health, damage);
        Scored {
            anomaly: anomaly(&looks, ratio_joint.max(ratio_novel)),
            novelty: score(ratio_onset),
            health: self.health,
            evidence: self.evidence(class, &looks, &rows, ratio_joint),
        }
    }

    /// A repair of the given modes: the metrics of their signatures (all metrics, where a mode has none)
    /// forget drift and limits and learn their level anew; the change that the repair makes is no anomaly.
    pub fn reset_after_repair(&mut self, class: &ClassDetector, modes: &[ModeName]) {
        let modes = modes.iter().filter_map(|name| class.class.mode(name));
        for mode in modes {
            for (i, metric) in self.metrics.iter_mut().enumerate() {
                if mode.signature.is_empty() || mode.signature.iter().any(|s| s.metric == i) {
                    metric.relearn();
                    if let Ok(place) = class.watched.binary_search(&i) {
                        self.novelties[place] = Novelty::new();
                    }
                }
            }
            self.together.forget_present();
            self.joint_departed_ms = i64::MIN;
        }
    }

    /// Size of the state in memory, heap included, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let metrics = self.metrics.capacity() - self.metrics.len();
        size_of::<Self>()
            + metrics * size_of::<Metric>()
            + self.metrics.iter().map(Metric::bytes).sum::<usize>()
            + self.novelties.iter().map(Novelty::bytes).sum::<usize>()
            + self.regimes.heap_bytes()
            + self.operation.heap_bytes()
            + self.together.heap_bytes()
    }

    /// True when a state read back has the shape that the code relies on, whatever its class.
    fn sound(&self) -> bool {
        self.regimes.sound()
            && self.novelties.iter().all(Novelty::sound)
            && self.metrics.iter().all(Metric::sound)
    }

    fn fits(&self, class: &ClassDetector) -> bool {
        self.metrics.len() == class.class.metrics.len()
            && self.together.fits(class.n_health)
            && self.operation.fits(class.n_axes)
            && self.novelties.len() == class.watched.len()
            && self
                .metrics
                .iter()
                .zip(&class.roles)
                .all(|(metric, &role)| metric.has_slopes(class.n_slopes(role)))
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "milliseconds within 285,000 years are exact"
    )]
    fn hours_since_first(&self, ms: i64) -> f64 {
        (ms - self.first_ms) as f64 / 3_600_000.0
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "milliseconds within 285,000 years are exact"
    )]
    fn pass_time(&mut self, class: &ClassDetector, ms: i64) {
        if self.first_ms == i64::MIN {
            self.first_ms = ms;
            self.last_ms = ms;
        }
        let gap_ms = (ms - self.last_ms) as f64;
        if gap_ms > HOLD_INTERVALS * class.interval_ms {
            self.operation.forget_present();
        }
        if gap_ms > GAP_INTERVALS * class.interval_ms {
            self.metrics.iter_mut().for_each(Metric::forget_present);
            self.novelties.iter_mut().for_each(Novelty::forget_present);
            self.together.forget_present();
        }
        let hours = self.hours_since_first(ms);
        if self.settled == 0 && hours >= class.settings.drift_after_hours {
            self.settled = 1;
            self.metrics.iter_mut().for_each(Metric::settle);
        }
        if self.settled == 1
            && hours >= 24.0
            && ms.div_euclid(3_600_000) != self.last_ms.div_euclid(3_600_000)
        {
            self.metrics.iter_mut().for_each(Metric::decide_on_hours);
        }
        self.last_ms = ms;
    }

    /// Finds the operating regime of a row that reports every known axis; else the last one stays.
    fn find_regime(&mut self, class: &ClassDetector, values: &[Option<f64>]) {
        let mut point = [0.0_f32; AXES_MAX];
        let mut n_axes = 0;
        for ((role, metric), value) in class.roles.iter().zip(&self.metrics).zip(values) {
            if let Role::Axis(axis) = role
                && metric.ready()
            {
                let Some(x) = value.filter(|v| v.is_finite()) else {
                    return;
                };
                point[*axis] = metric.axis(x.clamp(-VALUE_MAX, VALUE_MAX));
                n_axes += 1;
            }
        }
        if n_axes == 0 {
            return;
        }
        let (place, like) = match self.regimes.step(point, class.n_axes) {
            Move::Known | Move::Opened { like: None, .. } => return,
            Move::Opened {
                place,
                like: Some(like),
            } => (place, like),
            Move::Merged {
                kept,
                dropped,
                like,
            } => {
                for metric in &mut self.metrics {
                    metric.merge_regimes(kept, dropped);
                }
                self.together.forget_present();
                (dropped, like)
            }
        };
        self.operation.forget_regime(place);
        for metric in &mut self.metrics {
            metric.open_regime(place, like, class.n_axes);
        }
    }

    /// The regressors of the operating point; true, and their `gain`, where they may be learnt from: not while an axis
    /// is unknown or its last value too old.
    #[allow(
        clippy::cast_precision_loss,
        reason = "milliseconds within 285,000 years are exact"
    )]
    fn regressors(
        &mut self,
        class: &ClassDetector,
        values: &[Option<f64>],
        ms: i64,
        regime: usize,
        gain: &mut Gain,
    ) -> (Regressors, bool) {
        let mut axes = Axes::default();
        let mut point = Axes::default();
        let mut all_known = class.n_axes > 0;
        let mut moved = Axes::default();
        for ((role, metric), value) in class.roles.iter().zip(&mut self.metrics).zip(values) {
            let Role::Axis(axis) = *role else { continue };
            // An axis that has never varied has no effect.
            if !metric.ready() {
                continue;
            }
            if let Some(x) = value.filter(|v| v.is_finite()) {
                let x = x.clamp(-VALUE_MAX, VALUE_MAX);
                axes[axis] = metric.axis_departure(x, regime);
                metric.held = narrow(axes[axis]);
                metric.held_ms = ms;
                point[axis] = axes[axis] + metric.axis_place(regime);
                moved[axis] = metric.learn_axis(x, regime, class);
            } else {
                axes[axis] = f64::from(metric.held);
                point[axis] = axes[axis] + metric.axis_place(regime);
                all_known &= metric.held_ms != i64::MIN
                    && (ms - metric.held_ms) as f64 <= HOLD_INTERVALS * class.interval_ms;
            }
        }
        for (axis, &moved) in moved.iter().enumerate().filter(|(_, m)| **m != 0.0) {
            axes[axis] -= moved;
            self.operation.move_usual(regime, axis, moved);
            for metric in self.metrics.iter_mut().filter(|m| m.ready()) {
                metric.move_usual(regime, (axis, class.n_axes), moved);
            }
        }
        if all_known {
            let regimes = (regime, self.regimes.n_opened());
            let row = self.operation.regressors((&axes, &point), regimes, gain);
            (row, true)
        } else {
            (Regressors::NONE, false)
        }
    }

    fn look(
        &mut self,
        class: &ClassDetector,
        look: &mut Look,
        (regime, tod): (usize, TimeOfDay),
        row: &Regressors,
    ) {
        let metric = &mut self.metrics[look.metric];
        let x = look.seen.clamp(-VALUE_MAX, VALUE_MAX);
        look.x = x;
        if class.limited[look.metric] {
            look.passed = metric.limit(&class.class.metrics[look.metric].limits, look.seen);
        }
        look.stuck = metric.repetitions(x, class.n_warm);
        match class.roles[look.metric] {
            Role::Health(_) if metric.ready() => {
                look.departure = Some(metric.departure(x, regime, tod, row));
            }
            Role::Health(_) | Role::Axis(_) if !metric.ready() => metric.seed(x, regime),
            Role::Health(_) | Role::Axis(_) | Role::Limits => {}
        }
    }

    /// The strongest novelty among the watched metrics, over its threshold, and the same of its onset. Of a
    /// class with an operating point what counts is the departure from what the operating point lets expect.
    fn novelty(&mut self, class: &ClassDetector, looks: &[Look], ms: i64) -> (f32, f32) {
        let at = TimeOfWeek::of(ms);
        let (mut novelty, mut onset) = (0.0_f32, 0.0_f32);
        let mut pace = Pace::new(class.week_rate, class.n_warm);
        // Both in the order of the metrics.
        let mut looks = looks.iter().peekable();
        for (state, metric) in self.novelties.iter_mut().zip(&class.watched) {
            while looks.next_if(|l| l.metric < *metric).is_some() {}
            let Some(look) = looks.next_if(|l| l.metric == *metric) else {
                continue;
            };
            let x = match look.departure {
                _ if class.n_axes == 0 => look.x,
                Some(departure) => look.x - departure.expected,
                None => continue,
            };
            let surprise = state.step(x, at, &mut pace);
            novelty = novelty.max(surprise.decades);
            onset = onset.max(surprise.onset);
        }
        let limits = &class.thresholds;
        (novelty / limits.novelty, onset / limits.onset)
    }

    /// Judges every metric, then all together; T² and its chart over the threshold.
    fn judge(
        &mut self,
        class: &ClassDetector,
        looks: &mut [Look],
        ms: i64,
        regime: usize,
        settled: bool,
    ) -> (Rows, f32) {
        let mut charted: SmallVec<[usize; LOOKS_INLINE]> = SmallVec::new();
        for (place, look) in looks.iter().enumerate() {
            let Some(d) = &look.departure else { continue };
            let metric = &mut self.metrics[look.metric];
            metric.held = d.z;
            metric.held_ms = ms;
            if metric.charted(regime, class) {
                charted.push(place);
            }
        }
        for places in charted.chunks(AT_ONCE) {
            metric::judge(&mut self.metrics, looks, places, (regime, settled), class);
        }
        let mut rows = self.residuals(class, ms);
        if rows.complete {
            self.joint_ms = ms;
            rows.joint = self.together.joint(&rows.z, rows.n_ready);
        }
        let judged = looks
            .iter()
            .filter(|l| l.departure.is_some())
            .filter(|l| matches!(class.roles[l.metric], Role::Health(Some(_))))
            .all(|l| l.verdict.is_some_and(|v| v.counts));
        if !judged || self.together.n_usual() < JOINT_WARM_UP {
            return (rows, 0.0);
        }
        if let Some(joint) = &rows.joint {
            self.together.chart(joint);
        }
        let ratio = self.together.departure() / class.thresholds.joint;
        if ratio >= 1.0
            && let Some(joint) = &mut rows.joint
        {
            self.together.expect(joint);
        }
        (rows, most(ratio, 0.0))
    }

    /// The residuals of this row, with recent ones for metrics that it does not report.
    #[allow(
        clippy::cast_precision_loss,
        reason = "milliseconds within 285,000 years are exact"
    )]
    fn residuals(&self, class: &ClassDetector, ms: i64) -> Rows {
        let mut rows = Rows {
            z: [0.0; TOGETHER_MAX],
            n_ready: 0,
            complete: true,
            joint: None,
        };
        for (role, metric) in class.roles.iter().zip(&self.metrics) {
            let Role::Health(Some(place)) = *role else {
                continue;
            };
            if !metric.ready() {
                continue;
            }
            rows.n_ready += 1;
            // Each value counts once, however the metrics are spread over rows.
            rows.complete &= metric.held_ms != i64::MIN
                && metric.held_ms > self.joint_ms
                && (ms - metric.held_ms) as f64 <= HOLD_INTERVALS * class.interval_ms;
            rows.z[place] = metric.held;
        }
        rows
    }

    fn learn(
        &mut self,
        class: &ClassDetector,
        looks: &[Look],
        rows: &Rows,
        ratio_joint: f32,
        gain: Option<(&Regressors, &Gain)>,
        (regime, tod, early): (usize, TimeOfDay, bool),
    ) {
        let trust_joint = (2.0 - 2.0 * ratio_joint).clamp(0.0, 1.0);
        let mut least = trust_joint;
        let (mut trusted, mut n_learnt) = (0.0_f32, 0.0_f32);
        for look in looks {
            let Some(departure) = &look.departure else {
                continue;
            };
            let mut trust = look.verdict.map_or(1.0, |v| v.trust);
            if look.stuck.is_some() {
                trust = 0.0;
            }
            least = least.min(trust);
            trusted += trust * departure.weight();
            n_learnt += 1.0;
            self.metrics[look.metric].learn(
                (look.x, departure),
                (regime, tod),
                (look.verdict, trust),
                gain,
                class,
                early,
            );
        }
        // Slopes count as known only as far as the metrics have learnt from the row.
        if let Some((row, gain)) = gain
            && n_learnt > 0.0
        {
            let trust = f64::from(trusted / n_learnt);
            self.operation.absorb(row, gain, trust);
        }
        if rows.complete {
            self.together
                .learn(&rows.z, least, class.n_max, class.n_warm);
            if let Some(joint) = &rows.joint {
                self.together.learn_usual(joint, least, class.n_max);
            }
        }
    }

    /// What has departed for very long is the new normal.
    #[allow(
        clippy::cast_precision_loss,
        reason = "milliseconds within 285,000 years are exact"
    )]
    fn accept_lasting(&mut self, class: &ClassDetector, looks: &[Look], ratio_joint: f32, ms: i64) {
        let hours_max = class.settings.relearn_after_hours;
        for look in looks {
            if let Some(v) = look.verdict
                && self.metrics[look.metric].lasted(v.ratio, ms, hours_max)
            {
                self.metrics[look.metric].relearn();
            }
        }
        if ratio_joint < 0.5 {
            self.joint_departed_ms = i64::MIN;
        } else if ratio_joint >= 1.0 && self.joint_departed_ms == i64::MIN {
            self.joint_departed_ms = ms;
        }
        if self.joint_departed_ms != i64::MIN
            && (ms - self.joint_departed_ms) as f64 >= hours_max * 3_600_000.0
        {
            self.together = Together::new(class.n_health);
            self.joint_departed_ms = i64::MIN;
        }
    }

    fn damage(&self, class: &ClassDetector, look: &Look) -> f64 {
        let standing = match (&look.verdict, &look.departure) {
            (Some(v), Some(d)) if v.counts => {
                let alarms = f64::from(v.shift.abs() / v.shift_alarm);
                let ratio = f64::from(v.ratio);
                (!health::is_noise(alarms, ratio)).then(|| Standing {
                    expected: d.expected,
                    shift: f64::from(v.shift) * d.sd,
                    alarms,
                    ratio,
                })
            }
            _ => None,
        };
        if standing.is_none() && look.passed.is_none() {
            return 0.0;
        }
        health::damage(
            &class.class.metrics[look.metric].limits,
            look.passed,
            standing,
        )
    }

    fn evidence(
        &self,
        class: &ClassDetector,
        looks: &[Look],
        rows: &Rows,
        ratio_joint: f32,
    ) -> Vec<Evidence> {
        let mut out = Vec::new();
        let any_verdict = looks
            .iter()
            .any(|l| l.verdict.is_some_and(|v| v.ratio >= 1.0));
        let any_limit = looks.iter().any(|l| l.passed.is_some());
        let any_stuck = looks.iter().any(|l| l.stuck.is_some());
        if !(any_verdict || any_limit || any_stuck || ratio_joint >= 1.0) {
            return out;
        }
        let anomalies = departed(class, looks, rows, ratio_joint, &self.together.shares());
        let limits: Vec<Departed> = looks
            .iter()
            .filter_map(|l| beyond_limit(class, l))
            .collect();
        signature::of_limits(&class.class, &limits, &anomalies, &mut out);
        signature::of_anomalies(&class.class, &anomalies, &mut out);
        let stuck: Vec<Departed> = looks.iter().filter_map(is_stuck).collect();
        let n_varying = looks
            .iter()
            .filter(|l| self.metrics[l.metric].ready())
            .count();
        let at_rest = n_varying >= AT_REST_METRICS_MIN && stuck.len() == n_varying;
        if !at_rest {
            signature::of_stuck(&class.class, &stuck, &mut out);
        }
        out
    }
}
