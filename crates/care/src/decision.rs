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
            CareTask::Cleared { .. }
            | CareTask::Replaced { .. }
            | CareTask::Reported { .. }
            | CareTask::Repaired { .. } => None,
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
        .map(|need| catalogue.lead_time_hours(&need.part))
        .fold(0.0, f64::max);
    let (probability, source) = match assessment.probability {
        Some(p) => (unit(p), "model"),
        None => {
            let strikes = match (
                assessment.severity,
                assessment.rul.share_failed_by(horizon_hours),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{self, at};

    fn weigh(
        mode: &FailureMode,
        severity: Severity,
        p: Option<f64>,
        rul: Rul,
        margin: f64,
    ) -> Decision {
        let catalogue = fixtures::catalogue();
        let policy = CarePolicy {
            margin,
            ..CarePolicy::default()
        };
        decide(
            fixtures::class(&catalogue),
            mode,
            &catalogue,
            &Assessment::of(&fixtures::task(severity, p, rul)).unwrap(),
            &Precision::prior(mode),
            &policy,
            at(1.0),
        )
    }

    fn bearing() -> FailureMode {
        fixtures::mode(&fixtures::catalogue()).clone()
    }

    #[test]
    fn it_acts_above_break_even_only() {
        // 10,000 CHF against 1,000 CHF: break-even at 0.1.
        let act = |p| weigh(&bearing(), Severity::Warning, Some(p), Rul::NoTrend, 0.0).act;
        assert!(!act(0.1));
        assert!(act(0.101));
    }

    #[test]
    fn the_reasoning_carries_its_numbers_and_units() {
        let decision = weigh(&bearing(), Severity::Warning, Some(0.4), Rul::NoTrend, 0.5);
        assert_eq!(decision.at, at(1.0));
        assert_eq!(decision.probability_source, "model");
        assert_eq!(decision.expected_cost_of_waiting, 4000.0);
        assert_eq!(decision.part_lead_hours, 30.0);
        assert_eq!(
            decision.why,
            "Bearing wear: a failure within 48 h has probability 0.400 (model) and would cost 10000 CHF, so waiting \
             is expected to cost 4000 CHF; acting now costs 1000 CHF (1500 CHF with the margin): act."
        );
    }

    #[test]
    fn without_a_model_the_alarms_precision_speaks() {
        let critical = weigh(&bearing(), Severity::Critical, None, Rul::NoTrend, 0.0);
        assert_eq!(critical.probability, 0.5);
        assert_eq!(critical.probability_source, "alarm precision");
        let warning = weigh(&bearing(), Severity::Warning, None, Rul::NoTrend, 0.0);
        assert_eq!(warning.probability, 0.25);
    }

    #[test]
    fn a_trend_tells_how_near_a_warned_failure_is() {
        let p = |p10_hours, p50_hours, p90_hours| {
            let rul = Rul::Trend {
                p10_hours,
                p50_hours,
                p90_hours,
            };
            weigh(&bearing(), Severity::Warning, None, rul, 0.0).probability
        };
        assert!(p(500.0, 800.0, 1000.0) < 0.01);
        assert!((p(24.0, 48.0, 72.0) - 0.25).abs() < 1e-12);
        assert!((p(1.0, 2.0, 3.0) - 0.5).abs() < 1e-12);
        // Not a trend: quantiles out of order are not believed.
        assert_eq!(p(9.0, 2.0, 3.0), 0.25);
    }

    #[test]
    fn the_unknown_mode_of_precision_zero_never_acts() {
        let catalogue = fixtures::catalogue();
        let mut unknown = fixtures::class(&catalogue).unknown_mode.clone();
        unknown.cost_of_failure = 1e12;
        assert!(!weigh(&unknown, Severity::Critical, None, Rul::NoTrend, 0.0).act);
    }

    #[test]
    fn what_is_no_probability_is_no_evidence() {
        let p = |p| weigh(&bearing(), Severity::Critical, Some(p), Rul::NoTrend, 0.0).probability;
        assert_eq!(p(f64::NAN), 0.0);
        assert_eq!(p(-1.0), 0.0);
        assert_eq!(p(7.0), 1.0);
    }

    #[test]
    fn other_tasks_are_no_assessments() {
        let task = CareTask::Cleared {
            device: fixtures::asset().device,
            mode: bearing().name,
            alarm: AlarmId("a".to_owned()),
            at: at(0.0),
        };
        assert!(Assessment::of(&task).is_none());
    }

    proptest! {
        #[test]
        fn more_probability_or_damage_never_stops_and_more_effort_never_starts_an_action(
            p in 0.0..1.0_f64, more_p in 0.0..1.0_f64,
            failure in 1.0..1e6_f64, acting in 1.0..1e6_f64, more in 0.0..1e6_f64, margin in 0.0..2.0_f64,
        ) {
            let act = |p: f64, cost_of_failure, cost_of_acting, margin| {
                let mode = FailureMode { cost_of_failure, cost_of_acting, ..bearing() };
                weigh(&mode, Severity::Warning, Some(p), Rul::NoTrend, margin).act
            };
            if act(p, failure, acting, margin) {
                prop_assert!(act(p.max(more_p), failure, acting, margin));
                prop_assert!(act(p, failure + more, acting, margin));
                prop_assert!(act(p, failure, acting, 0.0));
            } else {
                prop_assert!(!act(p.min(more_p), failure, acting, margin));
                prop_assert!(!act(p, failure, acting + more, margin));
            }
        }
    }
}
