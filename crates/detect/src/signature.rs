//! From departures to failure modes: which signature of the catalogue explains what is seen.

use forecare_catalogue::{AssetClass, Direction, FailureMode};
use forecare_domain::{AlarmSource, Contribution, ModeName, Severity};

use crate::Evidence;
use crate::limits::Passed;
use crate::metric::Kind;

/// Departures below this share of their threshold neither speak for nor against a mode.
const RATIO_MIN: f64 = 0.4;
/// Beyond this a departure counts no more: one metric must not drown the others.
const RATIO_MAX: f64 = 10.0;
/// Least share of what departs that a mode must explain.
const EXPLAINED_MIN: f64 = 0.5;
/// Least share of its signature that must be seen.
const SEEN_MIN: f64 = 0.25;
/// An anomaly so many times beyond its threshold is critical though no limit says so.
const CRITICAL_RATIO: f64 = 5.0;

/// Why a metric stands out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Reason {
    /// One of its own charts.
    Chart(Kind),
    /// The other metrics let expect something else.
    Together,
    /// The same value so many times.
    Stuck(u32),
    /// A limit.
    Limit(Passed),
}

/// A metric that stands out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Departed {
    pub(crate) metric: usize,
    /// Departure over its threshold.
    pub(crate) ratio: f64,
    /// True: up; false: down; `None`: neither.
    pub(crate) up: Option<bool>,
    /// What the baseline lets expect; of a limit while there is no baseline, the limit itself.
    pub(crate) expected: f64,
    /// The value of the row; of a drift the smoothed level, which is what departs.
    pub(crate) seen: f64,
    pub(crate) reason: Reason,
}

impl Departed {
    fn mass(&self) -> f64 {
        let ratio = self.ratio.clamp(0.0, RATIO_MAX);
        ratio * ratio
    }

    fn fits(&self, direction: Direction) -> bool {
        match direction {
            Direction::Any => true,
            // A wider spread speaks for a rise: loose and worn machines shake more.
            Direction::Up => self.up != Some(false),
            Direction::Down => self.up == Some(false),
        }
    }

    fn in_signature(&self, mode: &FailureMode) -> bool {
        mode.signature
            .iter()
            .any(|s| s.metric == self.metric && self.fits(s.direction))
    }

    fn words(&self, class: &AssetClass) -> String {
        let unit = class
            .metrics
            .get(self.metric)
            .map_or("", |m| m.unit.as_str());
        let way = if self.up == Some(false) { "down" } else { "up" };
        match self.reason {
            Reason::Chart(Kind::Drift) => format!("drifts {way}"),
            Reason::Chart(Kind::Spread) => "varies more than usual".to_owned(),
            Reason::Chart(Kind::Level) => {
                let high = if self.up == Some(false) {
                    "low"
                } else {
                    "high"
                };
                if class.metrics.iter().any(|m| m.operating_point) {
                    format!("unusually {high} for this load")
                } else {
                    format!("unusually {high}")
                }
            }
            Reason::Together => "unusual together with the other metrics".to_owned(),
            Reason::Stuck(n) => format!("stuck: the same value {n} times"),
            Reason::Limit(passed) => {
                let side = if passed.above { "above" } else { "below" };
                let grade = match passed.severity {
                    Severity::Critical => "critical",
                    Severity::Warning => "warning",
                };
                format!("{side} {grade} limit {} {unit}", passed.limit)
                    .trim_end()
                    .to_owned()
            }
        }
    }
}

/// How well `mode` explains `departed`: the cosine of the angle between the departures and the signature's
/// weights (fault isolation by joint angle: Yoon and MacGregor 2001). A sign that is missing, a departure that
/// the signature has not, and one against its direction all widen the angle; how far the fault has come
/// does not. `None` where too little of what departs is explained, or of the signature seen.
fn fit(mode: &FailureMode, departed: &[Departed]) -> Option<f64> {
    let all: f64 = departed.iter().map(Departed::mass).sum();
    let weights: f64 = mode.signature.iter().map(|s| s.weight).sum();
    if !(all > 0.0 && weights > 0.0) {
        return None;
    }
    let explained: f64 = departed
        .iter()
        .filter(|d| d.in_signature(mode))
        .map(Departed::mass)
        .sum::<f64>()
        / all;
    let (mut seen, mut along, mut squares) = (0.0, 0.0, 0.0);
    for sign in &mode.signature {
        let most = departed
            .iter()
            .filter(|d| d.metric == sign.metric && d.fits(sign.direction))
            .map(|d| d.ratio.min(RATIO_MAX))
            .fold(0.0, f64::max);
        seen += sign.weight * most.min(1.0);
        along += sign.weight * most;
        squares += sign.weight * sign.weight;
    }
    let cosine = along / (squares * all).sqrt();
    (explained >= EXPLAINED_MIN && seen / weights >= SEEN_MIN).then_some(cosine)
}

/// The mode that explains `departed` best; the catalogue's order breaks ties.
fn best_mode<'a>(
    class: &'a AssetClass,
    departed: &[Departed],
    allowed: impl Fn(&FailureMode) -> bool,
) -> Option<&'a FailureMode> {
    let mut best: Option<(&FailureMode, f64)> = None;
    for mode in class.modes.iter().filter(|m| allowed(m)) {
        if let Some(score) = fit(mode, departed)
            && best.is_none_or(|(_, b)| score > b)
        {
            best = Some((mode, score));
        }
    }
    best.map(|(mode, _)| mode)
}

fn evidence(
    class: &AssetClass,
    mode: &ModeName,
    source: AlarmSource,
    severity: Severity,
    strength: f64,
    departed: &[Departed],
) -> Evidence {
    let mut order: Vec<&Departed> = departed.iter().collect();
    order.sort_by(|a, b| b.ratio.total_cmp(&a.ratio));
    let all: f64 = order.iter().map(|d| d.ratio).sum();
    Evidence {
        mode: mode.clone(),
        source,
        severity,
        strength,
        contributions: order
            .into_iter()
            .filter_map(|d| {
                Some(Contribution {
                    name: class.metrics.get(d.metric)?.name.to_string(),
                    share: d.ratio / all,
                    expected: d.expected,
                    seen: d.seen,
                    reason: d.words(class),
                })
            })
            .collect(),
    }
}

/// Evidence of departures from the baseline: the mode that explains most, then what is left over.
pub(crate) fn of_anomalies(class: &AssetClass, departed: &[Departed], out: &mut Vec<Evidence>) {
    let mut left: Vec<Departed> = departed
        .iter()
        .filter(|d| d.ratio >= RATIO_MIN)
        .copied()
        .collect();
    let mut found_any = false;
    loop {
        let most = left.iter().map(|d| d.ratio).fold(0.0, f64::max);
        if most < 1.0 {
            return;
        }
        let mode = best_mode(class, &left, |_| true);
        let (name, mine) = match mode {
            Some(mode) => {
                let (mine, rest) = left.iter().partition::<Vec<_>, _>(|d| d.in_signature(mode));
                left = rest;
                (&mode.name, mine)
            }
            // What a named mode leaves over is most likely its consequence.
            None if found_any => return,
            None => (&class.unknown_mode.name, std::mem::take(&mut left)),
        };
        found_any = true;
        let ratio = mine.iter().map(|d| d.ratio).fold(0.0, f64::max);
        if ratio < 1.0 {
            continue;
        }
        let severity = if ratio >= CRITICAL_RATIO {
            Severity::Critical
        } else {
            Severity::Warning
        };
        let strength = 1.0 - 0.5 / ratio;
        out.push(evidence(
            class,
            name,
            AlarmSource::Anomaly,
            severity,
            strength,
            &mine,
        ));
    }
}

/// Evidence of passed limits: the mode whose signature has the metric and direction and that explains the
/// whole picture best.
pub(crate) fn of_limits(
    class: &AssetClass,
    limits: &[Departed],
    anomalies: &[Departed],
    out: &mut Vec<Evidence>,
) {
    let mut by_mode: Vec<(&ModeName, Vec<Departed>)> = Vec::new();
    // A metric beyond its limit is also as far from its baseline as it is.
    let mut picture: Vec<Departed> = limits
        .iter()
        .map(|l| {
            let same = |a: &&Departed| a.metric == l.metric && a.up == l.up;
            let departed = anomalies.iter().find(same).map_or(0.0, |a| a.ratio);
            Departed {
                ratio: l.ratio.max(departed),
                ..*l
            }
        })
        .collect();
    picture.extend(
        anomalies
            .iter()
            .filter(|a| a.ratio >= RATIO_MIN && limits.iter().all(|l| l.metric != a.metric)),
    );
    for &passed in limits {
        let mode = best_mode(class, &picture, |m| passed.in_signature(m))
            .or_else(|| best_mode(class, &[passed], |m| passed.in_signature(m)))
            .or_else(|| class.modes.iter().find(|m| passed.in_signature(m)))
            .map_or(&class.unknown_mode.name, |m| &m.name);
        match by_mode.iter_mut().find(|(name, _)| *name == mode) {
            Some((_, all)) => all.push(passed),
            None => by_mode.push((mode, vec![passed])),
        }
    }
    for (mode, passed) in by_mode {
        let ratio = passed.iter().map(|d| d.ratio).fold(0.0, f64::max);
        let critical = passed
            .iter()
            .any(|d| matches!(d.reason, Reason::Limit(p) if p.severity == Severity::Critical));
        let severity = if critical {
            Severity::Critical
        } else {
            Severity::Warning
        };
        let strength = 1.0 - 0.5 / ratio.max(1.0);
        out.push(evidence(
            class,
            mode,
            AlarmSource::Limit,
            severity,
            strength,
            &passed,
        ));
    }
}

/// Evidence of stuck sensors: a fault of the measurement, not of the machine.
pub(crate) fn of_stuck(class: &AssetClass, stuck: &[Departed], out: &mut Vec<Evidence>) {
    let ratio = stuck.iter().map(|d| d.ratio).fold(0.0, f64::max);
    if ratio >= 1.0 {
        out.push(evidence(
            class,
            &class.unknown_mode.name,
            AlarmSource::Anomaly,
            Severity::Warning,
            1.0 - 0.5 / ratio,
            stuck,
        ));
    }
}
