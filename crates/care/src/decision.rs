//! Act now, or wait: the decision by expected cost.

use forecare_catalogue::{AssetClass, Catalogue, FailureMode};
use forecare_domain::{
    AlarmId, CareTask, Contribution, Decision, DeviceId, ModeName, Rul, Severity, Timestamp,
};

use crate::{CarePolicy, Precision};

/// The `Assess` variant of [`CareTask`], borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Assessment<'a> {
    /// The asset's device.
    pub device: &'a DeviceId,
    /// The failure mode.
    pub mode: &'a ModeName,
    /// The alarm episode behind it.
    pub alarm: &'a AlarmId,
    /// How urgent the episode is.
    pub severity: Severity,
    /// A model's probability of failure within the horizon, 0 to 1.
    pub probability: Option<f64>,
    /// The horizon of the probability, hours.
    pub horizon_hours: f64,
    /// Remaining useful life, if there is a trend.
    pub rul: &'a Rul,
    /// Why, largest share first.
    pub contributions: &'a [Contribution],
    /// Time of the reading that caused it.
    pub reading_ts: Timestamp,
    /// The pipeline's time when it was judged.
    pub at: Timestamp,
}

impl<'a> Assessment<'a> {
    /// The assessment in `task`; `None` for the other tasks.
    #[must_use]
    pub fn of(task: &'a CareTask) -> Option<Self> {
        match task {
            CareTask::Assess {
                device,
                mode,
                alarm,
                severity,
                probability,
                horizon_hours,
                rul,
                contributions,
                reading_ts,
                at,
            } => Some(Self {
                device,
                mode,
                alarm,
                severity: *severity,
                probability: *probability,
                horizon_hours: *horizon_hours,
                rul,
                contributions,
                reading_ts: *reading_ts,
                at: *at,
            }),
            CareTask::Cleared { .. } | CareTask::Replaced { .. } => None,
        }
    }
}

/// Weighs acting now against waiting, by expected cost: waiting costs the failure's cost times its
/// probability, acting costs the planned visit. Act when waiting is dearer by more than the margin:
/// `p * cost_of_failure > cost_of_acting * (1 + margin)`.
///
/// `p` is the model's probability where a model speaks. Where none does, it is the precision of the
/// mode's alarms so far (is the fault real?) times the chance that a real fault strikes within the
/// horizon: 1 for a critical episode; for a warning what the trend of remaining useful life says, or
/// [`CarePolicy::warning_share`] without a trend.
#[must_use]
pub fn decide(
    class: &AssetClass,
    mode: &FailureMode,
    catalogue: &Catalogue,
    assessment: &Assessment<'_>,
    precision: &Precision,
    policy: &CarePolicy,
    now: Timestamp,
) -> Decision {
    let horizon_hours = if assessment.horizon_hours.is_finite() && assessment.horizon_hours > 0.0 {
        assessment.horizon_hours
    } else {
        class.horizon_hours
    };
    let part_lead_hours = mode
        .parts
        .iter()
        .filter_map(|need| catalogue.part(&need.part))
        .map(|part| part.lead_time_hours)
        .fold(0.0, f64::max);
    let (probability, source) = match assessment.probability {
        Some(p) => (unit(p), "model"),
        None => {
            let strikes = match (
                assessment.severity,
                share_failed_by(assessment.rul, horizon_hours),
            ) {
                (Severity::Critical, _) => 1.0,
                (Severity::Warning, Some(share)) => share,
                (Severity::Warning, None) => unit(policy.warning_share),
            };
            (unit(precision.mean() * strikes), "alarm precision")
        }
    };
    let waiting = probability * mode.cost_of_failure;
    let threshold = mode.cost_of_acting * (1.0 + policy.margin.max(0.0));
    let act = waiting > threshold;
    let currency = &catalogue.currency;
    let margin = if threshold > mode.cost_of_acting {
        format!(" ({} {currency} with the margin)", money(threshold))
    } else {
        String::new()
    };
    let why = format!(
        "{}: a failure within {horizon_hours:.0} h has probability {probability:.3} ({source}) and would cost {} {currency}, \
         so waiting is expected to cost {} {currency}; acting now costs {} {currency}{margin}: {}.",
        mode.title,
        money(mode.cost_of_failure),
        money(waiting),
        money(mode.cost_of_acting),
        if act { "act" } else { "wait" },
    );
    Decision {
        device: assessment.device.clone(),
        mode: mode.name.clone(),
        alarm: assessment.alarm.clone(),
        at: now,
        probability,
        probability_source: source.to_owned(),
        horizon_hours,
        cost_of_failure: mode.cost_of_failure,
        cost_of_acting: mode.cost_of_acting,
        expected_cost_of_waiting: waiting,
        part_lead_hours,
        act,
        why,
    }
}

/// Clamped to 0..=1; what is no number counts as no evidence.
fn unit(p: f64) -> f64 {
    if p.is_nan() { 0.0 } else { p.clamp(0.0, 1.0) }
}

/// Whole units where cents would be noise.
fn money(amount: f64) -> String {
    if amount.abs() >= 100.0 {
        format!("{amount:.0}")
    } else {
        format!("{amount:.2}")
    }
}

/// Share of machines with this remaining useful life that have failed after `hours`: the quantiles
/// joined by straight lines, the last one prolonged. `None` without a (sane) trend.
fn share_failed_by(rul: &Rul, hours: f64) -> Option<f64> {
    let Rul::Trend {
        p10_hours,
        p50_hours,
        p90_hours,
    } = *rul
    else {
        return None;
    };
    let sane = p10_hours >= 0.0 && p10_hours <= p50_hours && p50_hours <= p90_hours;
    if !sane || !p90_hours.is_finite() {
        return None;
    }
    let line = |from: (f64, f64), to: (f64, f64)| {
        let width = to.0 - from.0;
        if width > 0.0 {
            from.1 + (to.1 - from.1) * (hours - from.0) / width
        } else {
            to.1
        }
    };
    let share = if hours < p10_hours {
        line((0.0, 0.0), (p10_hours, 0.1))
    } else if hours < p50_hours {
        line((p10_hours, 0.1), (p50_hours, 0.5))
    } else {
        line((p50_hours, 0.5), (p90_hours, 0.9)).max(if hours >= p90_hours { 0.9 } else { 0.5 })
    };
    Some(unit(share))
}
