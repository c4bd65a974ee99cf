//! One row as seen by the detectors, and what of it stands out.

use forecare_domain::Severity;

use crate::ClassDetector;
use crate::bounds::most;
use crate::class::Role;
use crate::limits::Passed;
use crate::metric::{Departure, Kind, Verdict};
use crate::signature::{Departed, Reason};
use crate::together::{Joint, Residuals};

/// A metric this many deviations off is unusual by itself, not only together with others.
const OWN_DEPARTURE: f32 = 3.0;
/// So near its own threshold a metric speaks for itself.
const OWN_RATIO: f64 = 0.9;

/// What one row says of one metric.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    pub(crate) metric: usize,
    pub(crate) x: f64,
    pub(crate) seen: f64,
    pub(crate) departure: Option<Departure>,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) passed: Option<Passed>,
    pub(crate) stuck: Option<u32>,
}

impl Look {
    /// A value that nothing has been said of yet.
    pub(crate) const fn at(metric: usize, seen: f64) -> Self {
        Self {
            metric,
            x: seen,
            seen,
            departure: None,
            verdict: None,
            passed: None,
            stuck: None,
        }
    }
}

/// The residuals of one row, by place.
pub(crate) struct Rows {
    pub(crate) z: Residuals,
    /// Metrics in use.
    pub(crate) n_ready: usize,
    /// Every metric in use has a recent residual that was not judged yet.
    pub(crate) complete: bool,
    pub(crate) joint: Option<Joint>,
}

pub(crate) fn departed(
    class: &ClassDetector,
    looks: &[Look],
    rows: &Rows,
    ratio_joint: f32,
    shares: &Residuals,
) -> Vec<Departed> {
    let joint = rows.joint.as_ref();
    looks
        .iter()
        .filter_map(|l| {
            let d = l.departure?;
            let own = l.verdict.filter(|v| v.counts).map(|v| Departed {
                metric: l.metric,
                ratio: f64::from(v.ratio),
                up: (v.kind != Kind::Spread).then_some(v.shift >= 0.0),
                expected: d.expected,
                seen: match v.kind {
                    Kind::Drift => d.expected + f64::from(v.shift) * d.sd,
                    Kind::Level | Kind::Spread => l.seen,
                },
                reason: Reason::Chart(v.kind),
            });
            let together = match (class.roles[l.metric], joint) {
                (Role::Health(Some(place)), Some(joint)) if ratio_joint >= 1.0 => Some(Departed {
                    metric: l.metric,
                    ratio: f64::from(ratio_joint * relative(shares, place)),
                    up: Some(joint.departures[place] >= 0.0),
                    expected: d.expected + f64::from(joint.expected[place]) * d.sd,
                    seen: l.seen,
                    reason: if d.z.abs() < OWN_DEPARTURE {
                        Reason::Together
                    } else {
                        Reason::Chart(Kind::Level)
                    },
                }),
                _ => None,
            };
            match (own, together) {
                (Some(own), Some(together))
                    if own.ratio < OWN_RATIO && together.ratio > own.ratio =>
                {
                    Some(together)
                }
                (None, together) => together,
                (own, _) => own,
            }
        })
        .collect()
}

/// A share over the largest one: the metric most to blame carries the whole departure.
fn relative(shares: &Residuals, place: usize) -> f32 {
    let most = shares.iter().copied().fold(0.0, f32::max);
    if most > 0.0 {
        shares[place] / most
    } else {
        1.0
    }
}

pub(crate) fn beyond_limit(class: &ClassDetector, look: &Look) -> Option<Departed> {
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

pub(crate) fn is_stuck(look: &Look) -> Option<Departed> {
    look.stuck.map(|n| Departed {
        metric: look.metric,
        ratio: 1.0,
        up: None,
        expected: look.departure.map_or(look.seen, |d| d.expected),
        seen: look.seen,
        reason: Reason::Stuck(n),
    })
}

pub(crate) fn joint_damage(ratio: f32) -> f64 {
    let over = f64::from((ratio - 1.0).max(0.0));
    0.3 * over / (over + 2.0)
}

/// From the strongest departure over its threshold to 0..1; `ratio_other` is that of all metrics together
/// and of novelty.
pub(crate) fn anomaly(looks: &[Look], ratio_other: f32) -> f64 {
    let ratio = looks
        .iter()
        .filter_map(|l| l.verdict.filter(|v| v.counts))
        .map(|v| most(v.ratio, v.ratio_single))
        .fold(ratio_other, most);
    score(ratio)
}

/// A departure over its threshold as a score: 0.5 at the threshold, 1 far beyond it.
pub(crate) fn score(ratio: f32) -> f64 {
    let ratio = f64::from(ratio);
    if ratio < 1.0 {
        0.5 * ratio * ratio
    } else {
        1.0 - 0.5 / (ratio * ratio)
    }
}
