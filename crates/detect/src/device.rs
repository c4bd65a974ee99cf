//! One device, row by row.

use forecare_domain::{ModeName, Severity, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::class::Role;
use crate::codec::{self, packed};
use crate::health::{self, Standing};
use crate::hours::TimeOfDay;
use crate::limits::Passed;
use crate::metric::{Departure, Metric, Verdict};
use crate::regimes::{AXES_MAX, Move, Regimes};
use crate::signature::{self, Departed, Reason};
use crate::together::{Joint, Residuals, TOGETHER_MAX, Together};
use crate::{ClassDetector, Evidence, Scored};

/// Version of the serialised form.
const FORMAT: u8 = 1;
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

/// The state of one device. It serialises to one base64 text (or bytes) that reads back bit for bit.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceDetector {
    metrics: Vec<Metric>,
    regimes: Regimes,
    together: Together,
    first_ms: i64,
    last_ms: i64,
    /// When the present joint departure began, ms; `i64::MIN`: none.
    joint_departed_ms: i64,
    /// True once a day has been seen.
    settled: u8,
    health: f64,
}
packed!(DeviceDetector {
    metrics,
    regimes,
    together,
    first_ms,
    last_ms,
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
        codec::deserialize(FORMAT, deserializer)
    }
}

/// What one row says of one metric.
#[derive(Clone, Copy)]
struct Look {
    metric: usize,
    x: f64,
    seen: f64,
    departure: Option<Departure>,
    z: f32,
    /// Deviation once the operating point is taken into account, in the metric's unit.
    sd: f64,
    verdict: Option<Verdict>,
    passed: Option<Passed>,
    stuck: Option<u32>,
}

impl DeviceDetector {
    /// A device that has not reported yet.
    #[must_use]
    pub fn new(class: &ClassDetector) -> Self {
        Self {
            metrics: vec![Metric::new(); class.class.metrics.len()],
            regimes: Regimes::default(),
            together: Together::new(class.n_health, class.n_axes),
            first_ms: i64::MIN,
            last_ms: i64::MIN,
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

        let mut looks: Vec<Look> = Vec::with_capacity(self.metrics.len());
        for (i, value) in values.iter().enumerate().take(self.metrics.len()) {
            if let Some(seen) = value.filter(|v| v.is_finite()) {
                looks.push(self.look(class, i, seen, regime, tod));
            }
        }
        let (rows, ratio_joint) = self.judge(class, &mut looks, ms, regime, settled);
        self.learn(
            class,
            &looks,
            rows.as_ref(),
            ratio_joint,
            (regime, tod, early),
        );
        self.accept_lasting(class, &looks, ratio_joint, ms);

        let damage = looks
            .iter()
            .map(|l| self.damage(class, l))
            .fold(joint_damage(ratio_joint), f64::max);
        self.health = health::smooth(self.health, damage);
        Scored {
            anomaly: anomaly(&looks, ratio_joint),
            health: self.health,
            evidence: self.evidence(class, &looks, rows.as_ref(), ratio_joint),
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
            + self.regimes.heap_bytes()
            + self.together.heap_bytes()
    }

    fn fits(&self, class: &ClassDetector) -> bool {
        self.metrics.len() == class.class.metrics.len()
            && self.together.fits(class.n_health, class.n_axes)
            && self.regimes.sound()
            && self.metrics.iter().all(Metric::sound)
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
        if (ms - self.last_ms) as f64 > GAP_INTERVALS * class.interval_ms {
            self.metrics.iter_mut().for_each(Metric::forget_present);
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
        if n_axes > 0
            && let Move::Merged { kept, dropped } = self.regimes.step(point)
        {
            for metric in &mut self.metrics {
                metric.merge_regimes(kept, dropped);
            }
        }
    }

    fn look(
        &mut self,
        class: &ClassDetector,
        i: usize,
        seen: f64,
        regime: usize,
        tod: TimeOfDay,
    ) -> Look {
        let metric = &mut self.metrics[i];
        let x = seen.clamp(-VALUE_MAX, VALUE_MAX);
        let passed = metric.limit(&class.class.metrics[i].limits, seen);
        let stuck = metric.repetitions(x, class.n_warm);
        let departure = match class.roles[i] {
            Role::Limits => None,
            Role::Health(_) | Role::Axis(_) if metric.ready() => {
                Some(metric.departure(x, regime, tod))
            }
            Role::Health(_) | Role::Axis(_) => {
                metric.seed(x, regime);
                None
            }
        };
        Look {
            metric: i,
            x,
            seen,
            departure,
            z: departure.map_or(0.0, |d| d.q),
            sd: departure.map_or(0.0, |d| d.sd),
            verdict: None,
            passed,
            stuck,
        }
    }

    /// Judges every metric, then all together; T² and its chart over the threshold.
    fn judge(
        &mut self,
        class: &ClassDetector,
        looks: &mut [Look],
        ms: i64,
        regime: usize,
        settled: bool,
    ) -> (Option<Rows>, f32) {
        for look in looks.iter() {
            if let Some(d) = look.departure {
                let metric = &mut self.metrics[look.metric];
                metric.held = d.q;
                metric.held_ms = ms;
            }
        }
        let rows = self.residuals(class, looks, ms);
        for look in looks.iter_mut() {
            let (Some(d), Role::Health(place)) = (look.departure, class.roles[look.metric]) else {
                continue;
            };
            if let Some(place) = place {
                let (z, effect) = self.together.compensated(place, d.q, &rows.all);
                look.z = z;
                look.sd = d.sd * f64::from(self.together.sd(place));
                look.departure = Some(Departure {
                    expected: d.expected + f64::from(effect) * d.sd,
                    ..d
                });
            }
            let metric = &mut self.metrics[look.metric];
            if metric.charted(regime) {
                look.verdict = Some(metric.judge(look.z, regime, settled, class));
            }
        }
        let mut rows = rows;
        for look in looks.iter() {
            if let Role::Health(Some(place)) = class.roles[look.metric] {
                rows.z[place] = look.z;
            }
        }
        if !rows.complete {
            return (None, 0.0);
        }
        let joint = self.together.joint(&rows.z, rows.n_health);
        let mut ratio = 0.0;
        if let Some(joint) = &joint {
            let judged = looks
                .iter()
                .filter(|l| l.departure.is_some())
                .filter(|l| matches!(class.roles[l.metric], Role::Health(Some(_))))
                .all(|l| l.verdict.is_some_and(|v| v.counts));
            if judged && self.together.n_usual() >= JOINT_WARM_UP {
                ratio = self.together.judge(joint) / class.thresholds.joint;
            }
        }
        rows.joint = joint;
        (Some(rows), ratio.max(0.0))
    }

    /// The residuals of this row, with recent ones for metrics that it does not report.
    #[allow(
        clippy::cast_precision_loss,
        reason = "milliseconds within 285,000 years are exact"
    )]
    fn residuals(&self, class: &ClassDetector, looks: &[Look], ms: i64) -> Rows {
        let mut rows = Rows {
            all: [0.0; TOGETHER_MAX],
            z: [0.0; TOGETHER_MAX],
            n_health: 0,
            complete: true,
            fresh: false,
            joint: None,
        };
        let mut n_ready = 0_usize;
        for (role, metric) in class.roles.iter().zip(&self.metrics) {
            let place = match *role {
                Role::Health(Some(place)) => place,
                Role::Axis(axis) => class.n_health + axis,
                Role::Health(None) | Role::Limits => continue,
            };
            if !metric.ready() {
                continue;
            }
            n_ready += 1;
            rows.n_health += usize::from(place < class.n_health);
            let age = if metric.held_ms == i64::MIN {
                f64::INFINITY
            } else {
                (ms - metric.held_ms) as f64
            };
            rows.complete &= age <= HOLD_INTERVALS * class.interval_ms;
            rows.all[place] = metric.held;
        }
        for (role, metric) in class.roles.iter().zip(&self.metrics) {
            if let Role::Health(Some(place)) = *role
                && metric.ready()
            {
                rows.z[place] = self.together.compensated(place, metric.held, &rows.all).0;
            }
        }
        let n_fresh = looks.iter().filter(|l| l.departure.is_some()).count();
        rows.fresh = rows.complete && 2 * n_fresh >= n_ready;
        rows
    }

    fn learn(
        &mut self,
        class: &ClassDetector,
        looks: &[Look],
        rows: Option<&Rows>,
        ratio_joint: f32,
        (regime, tod, early): (usize, TimeOfDay, bool),
    ) {
        let trust_joint = (2.0 - 2.0 * ratio_joint).clamp(0.0, 1.0);
        let mut least = trust_joint;
        for look in looks {
            if look.departure.is_none() {
                continue;
            }
            let mut trust = look.verdict.map_or(1.0, |v| v.trust);
            if look.stuck.is_some() {
                trust = 0.0;
            }
            least = least.min(trust);
            self.metrics[look.metric].learn(
                (look.x, look.z),
                (regime, tod),
                (look.verdict, trust),
                class,
                early,
            );
        }
        if let Some(rows) = rows
            && rows.fresh
        {
            self.together
                .learn(&rows.all, least, class.n_max, class.n_warm);
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
            self.together = Together::new(class.n_health, class.n_axes);
            self.joint_departed_ms = i64::MIN;
        }
    }

    fn damage(&self, class: &ClassDetector, look: &Look) -> f64 {
        let standing = look
            .verdict
            .filter(|v| v.counts)
            .zip(look.departure)
            .map(|(v, d)| Standing {
                expected: d.expected,
                shift: f64::from(v.shift) * look.sd,
                alarms: f64::from(v.shift.abs() / v.shift_alarm),
                ratio: f64::from(v.ratio),
            });
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
        rows: Option<&Rows>,
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
        let anomalies = departed(class, looks, rows, ratio_joint);
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

/// The residuals of one row, by place.
struct Rows {
    all: Residuals,
    z: Residuals,
    n_health: usize,
    /// Every metric in use has a recent residual.
    complete: bool,
    /// And most of them are of this row.
    fresh: bool,
    joint: Option<Joint>,
}

fn departed(
    class: &ClassDetector,
    looks: &[Look],
    rows: Option<&Rows>,
    ratio_joint: f32,
) -> Vec<Departed> {
    let joint = rows.and_then(|r| r.joint.as_ref());
    let squares: f32 = joint.map_or(0.0, |j| j.departures.iter().map(|d| d * d).sum());
    looks
        .iter()
        .filter_map(|l| {
            let d = l.departure?;
            let own = l.verdict.filter(|v| v.counts).map(|v| Departed {
                metric: l.metric,
                ratio: f64::from(v.ratio),
                up: (v.kind != crate::metric::Kind::Spread).then_some(v.shift >= 0.0),
                expected: d.expected,
                seen: match v.kind {
                    crate::metric::Kind::Drift => d.expected + f64::from(v.shift) * l.sd,
                    crate::metric::Kind::Level | crate::metric::Kind::Spread => l.seen,
                },
                reason: Reason::Chart(v.kind),
            });
            let together = match (class.roles[l.metric], joint) {
                (Role::Health(Some(place)), Some(joint)) if ratio_joint >= 1.0 && squares > 0.0 => {
                    let departure = joint.departures[place];
                    Some(Departed {
                        metric: l.metric,
                        ratio: f64::from(ratio_joint * departure.abs() / squares.sqrt()),
                        up: Some(departure >= 0.0),
                        expected: l.x - f64::from(joint.surprise[place]) * l.sd,
                        seen: l.seen,
                        reason: Reason::Together,
                    })
                }
                _ => None,
            };
            match (own, together) {
                (Some(own), Some(together)) if together.ratio > own.ratio => Some(together),
                (None, together) => together,
                (own, _) => own,
            }
        })
        .collect()
}

fn beyond_limit(class: &ClassDetector, look: &Look) -> Option<Departed> {
    let passed = look.passed?;
    let limits = &class.class.metrics[look.metric].limits;
    let (warning, critical) = if passed.above {
        (limits.warning_high, limits.critical_high)
    } else {
        (limits.warning_low, limits.critical_low)
    };
    // 1 at the warning limit, 2 at the critical one, on beyond by the same measure.
    let way = warning.zip(critical).map(|(w, c)| (c - w).abs());
    let beyond = (look.x - passed.limit) * if passed.above { 1.0 } else { -1.0 };
    let further = way
        .filter(|&w| w > 0.0)
        .map_or(0.0, |w| (beyond / w).clamp(0.0, 1.0));
    let base = match passed.severity {
        Severity::Critical => 2.0,
        Severity::Warning => 1.0,
    };
    Some(Departed {
        metric: look.metric,
        ratio: base + further,
        up: Some(passed.above),
        expected: look.departure.map_or(passed.limit, |d| d.expected),
        seen: look.seen,
        reason: Reason::Limit(passed),
    })
}

fn is_stuck(look: &Look) -> Option<Departed> {
    look.stuck.map(|n| Departed {
        metric: look.metric,
        ratio: 1.0,
        up: None,
        expected: look.departure.map_or(look.seen, |d| d.expected),
        seen: look.seen,
        reason: Reason::Stuck(n),
    })
}

fn joint_damage(ratio: f32) -> f64 {
    let over = f64::from((ratio - 1.0).max(0.0));
    0.3 * over / (over + 2.0)
}

/// From the strongest departure over its threshold to 0..1: 0.5 at the threshold.
fn anomaly(looks: &[Look], ratio_joint: f32) -> f64 {
    let ratio = looks
        .iter()
        .filter_map(|l| l.verdict.filter(|v| v.counts))
        .map(|v| v.ratio.max(v.ratio_single))
        .fold(ratio_joint, f32::max);
    let ratio = f64::from(ratio);
    if ratio < 1.0 {
        0.5 * ratio * ratio
    } else {
        1.0 - 0.5 / (ratio * ratio)
    }
}
