//! What all devices of a class share.

use forecare_catalogue::{AssetClass, Limits};

use crate::chart::normal_quantile;
use crate::regimes::AXES_MAX;
use crate::together::{TOGETHER_MAX, narrow};
use crate::{DetectError, DetectSettings};

/// Weight of the EWMA that finds a changed level.
pub(crate) const LEVEL_WEIGHT: f32 = 0.2;
/// Weight of the EWMA that finds a slow drift.
pub(crate) const DRIFT_WEIGHT: f32 = 1.0 / 48.0;
/// Weight of the EWMA that finds a changed spread.
pub(crate) const SPREAD_WEIGHT: f32 = 1.0 / 24.0;
/// Independent looks per sample of a chart, relative to its weight: an EWMA of small weight crosses its
/// threshold upwards about so often as independent looks of that number would.
const LOOKS: f64 = 5.0;
/// Novelty passes a threshold upwards so often per row beyond it: it stays there for some rows. From simulated
/// noise; white, autocorrelated and heavy-tailed noise hardly differ.
const NOVELTY_LOOKS: f64 = 0.2;
/// Novelty below this is within what a quantile says, not a tail; decades.
const NOVELTY_MIN: f32 = 2.5;
/// An onset of two decades comes so often per row of simulated noise,
const ONSET_RATE: f64 = 7e-4;
const ONSET_DECADES: f64 = 2.0;
/// and by so many decades more it takes to make it ten times rarer.
const ONSET_SLOPE: f64 = 0.3;
/// Longest sampling interval at which a day still shows, hours.
const DAY_INTERVAL_HOURS_MAX: f64 = 3.0;

/// Shared by all devices of an asset class: settings, limits, signatures, thresholds. Immutable; share it
/// by reference or `Arc`.
#[derive(Debug, Clone)]
pub struct ClassDetector {
    pub(crate) class: AssetClass,
    pub(crate) settings: DetectSettings,
    pub(crate) roles: Vec<Role>,
    pub(crate) n_health: usize,
    pub(crate) n_axes: usize,
    pub(crate) thresholds: Thresholds,
    /// Samples averaged over at most.
    pub(crate) n_max: f32,
    /// Samples of a metric before it is judged.
    pub(crate) n_warm: f32,
    /// Samples of a metric within a regime before it is judged there.
    pub(crate) n_regime: f32,
    /// Learning rate of the hourly offsets; `None`: too few samples a day.
    pub(crate) hour_rate: Option<f32>,
    pub(crate) interval_ms: f64,
    /// Which metrics have limits.
    pub(crate) limited: Vec<bool>,
    /// Metrics watched for what is new, ascending.
    pub(crate) watched: Vec<usize>,
    /// Learning rate of the usual week.
    pub(crate) week_rate: f32,
}

/// What a metric is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Speaks of health; its place among the metrics judged together.
    Health(Option<usize>),
    /// Describes the operating point; its axis.
    Axis(usize),
    /// Only limits.
    Limits,
}

/// Thresholds in deviations of each chart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Thresholds {
    /// One sample on its own; scored, but no evidence.
    pub(crate) single: f32,
    pub(crate) level: f32,
    pub(crate) drift: f32,
    pub(crate) spread: f32,
    pub(crate) joint: f32,
    /// Of novelty, decades of probability.
    pub(crate) novelty: f32,
    /// Of the onset of novelty, decades.
    pub(crate) onset: f32,
}

impl ClassDetector {
    /// Number of slopes that a metric of this role learns.
    pub(crate) fn n_slopes(&self, role: Role) -> usize {
        match role {
            Role::Health(_) => crate::operation::n_slopes(self.n_axes),
            Role::Axis(_) | Role::Limits => 0,
        }
    }

    /// Checks the settings and prepares the class.
    ///
    /// # Errors
    /// [`DetectError`] names the setting or signature that cannot work.
    pub fn new(class: &AssetClass, settings: &DetectSettings) -> Result<Self, DetectError> {
        settings.check()?;
        let n_metrics = class.metrics.len();
        for mode in &class.modes {
            if let Some(sign) = mode.signature.iter().find(|s| s.metric >= n_metrics) {
                return Err(DetectError::Signature {
                    mode: mode.name.to_string(),
                    metric: sign.metric,
                    n_metrics,
                });
            }
        }
        let n_axes = class
            .metrics
            .iter()
            .filter(|m| m.operating_point)
            .count()
            .min(AXES_MAX);
        let (mut axis, mut health) = (0..n_axes, 0..TOGETHER_MAX);
        let roles: Vec<Role> = class
            .metrics
            .iter()
            .map(|m| {
                if m.counter {
                    Role::Limits
                } else if m.operating_point {
                    axis.next().map_or(Role::Limits, Role::Axis)
                } else {
                    Role::Health(health.next())
                }
            })
            .collect();
        let watched: Vec<usize> = roles
            .iter()
            .enumerate()
            .filter(|(_, role)| matches!(role, Role::Health(_)))
            .map(|(metric, _)| metric)
            .collect();
        let n_judged = watched.len();
        let interval_hours = class.sample_interval_s / 3_600.0;
        let n_warm = count(settings.warm_up_samples);
        Ok(Self {
            class: class.clone(),
            settings: settings.clone(),
            n_health: roles
                .iter()
                .filter(|r| matches!(r, Role::Health(Some(_))))
                .count(),
            n_axes,
            roles,
            thresholds: Thresholds::of(settings, n_judged, interval_hours),
            n_max: count(settings.baseline_samples),
            n_warm,
            n_regime: n_warm.min(60.0),
            hour_rate: (interval_hours <= DAY_INTERVAL_HOURS_MAX
                && settings.drift_after_hours > 0.0)
                .then(|| narrow((interval_hours / 3.0).min(0.1))),
            interval_ms: class.sample_interval_s * 1_000.0,
            limited: class.metrics.iter().map(|m| has_any(&m.limits)).collect(),
            watched,
            week_rate: crate::week::rate(class.sample_interval_s * 1_000.0),
        })
    }
}

fn has_any(limits: &Limits) -> bool {
    let levels = [
        limits.critical_low,
        limits.warning_low,
        limits.warning_high,
        limits.critical_high,
    ];
    levels.iter().any(Option::is_some)
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts up to a million are exact in single precision"
)]
fn count(n: u32) -> f32 {
    n as f32
}

impl Thresholds {
    /// Shares the tolerated false alarms evenly over the charts: per chart and look the tail probability
    /// is the rate divided by the number of charts and of independent looks in a month.
    fn of(settings: &DetectSettings, n_judged: usize, interval_hours: f64) -> Self {
        let n_charts = 3.0 * f64::from(u32::try_from(n_judged).unwrap_or(u32::MAX)) + 1.0;
        let samples = (720.0 / interval_hours).max(1.0);
        let per_chart = settings.false_alarms_per_device_month / n_charts;
        let threshold = |looks_per_sample: f64, sides: f64| {
            let tail = per_chart / (samples * looks_per_sample.min(1.0)) / sides;
            narrow(normal_quantile(tail)).max(3.0)
        };
        let n_watched = (n_charts - 1.0) / 3.0;
        let per_row = settings.false_alarms_per_device_month / n_watched.max(1.0) / samples;
        let novelty = -(per_row / NOVELTY_LOOKS).log10();
        let onset = ONSET_DECADES + ONSET_SLOPE * (ONSET_RATE / per_row).log10();
        Self {
            novelty: narrow(novelty).max(NOVELTY_MIN),
            onset: narrow(onset.clamp(ONSET_DECADES, novelty.max(ONSET_DECADES))),
            single: threshold(1.0, 2.0),
            level: threshold(LOOKS * f64::from(LEVEL_WEIGHT), 2.0),
            drift: threshold(LOOKS * f64::from(DRIFT_WEIGHT), 2.0),
            spread: threshold(LOOKS * f64::from(SPREAD_WEIGHT), 1.0),
            joint: threshold(LOOKS * 0.1, 1.0),
        }
    }
}
