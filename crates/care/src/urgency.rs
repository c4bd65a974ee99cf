//! How urgent a ticket is, and by when the work must be done.

use forecare_domain::{Decision, Priority, Rul, Severity, Timestamp};

use crate::CarePolicy;

/// Three steps, of impact as of urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Low,
    Medium,
    High,
}

/// A failure that costs so many planned visits has a high impact.
const HIGH_IMPACT_VISITS: f64 = 10.0;
/// A failure that costs so many planned visits has a medium impact.
const MEDIUM_IMPACT_VISITS: f64 = 3.0;

/// Priority = impact x urgency, by the usual three-by-three matrix.
///
/// Impact is how many planned visits one failure costs: 10 or more high, 3 or more medium. Urgency is
/// high for a critical episode or a failure expected within [`CarePolicy::urgent_hours`], medium within
/// [`CarePolicy::soon_hours`].
#[must_use]
pub fn priority(
    decision: &Decision,
    severity: Severity,
    rul: &Rul,
    policy: &CarePolicy,
) -> Priority {
    let visits = decision.cost_of_failure / decision.cost_of_acting;
    let impact = if visits >= HIGH_IMPACT_VISITS {
        Step::High
    } else if visits >= MEDIUM_IMPACT_VISITS {
        Step::Medium
    } else {
        Step::Low
    };
    let left = hours_left(decision, rul);
    let urgency = if severity == Severity::Critical || left <= policy.urgent_hours {
        Step::High
    } else if left <= policy.soon_hours {
        Step::Medium
    } else {
        Step::Low
    };
    match (impact, urgency) {
        (Step::High, Step::High) => Priority::P1,
        (Step::High, Step::Medium) | (Step::Medium, Step::High) => Priority::P2,
        (Step::High, Step::Low) | (Step::Medium, Step::Medium) | (Step::Low, Step::High) => {
            Priority::P3
        }
        (Step::Medium | Step::Low, Step::Low) | (Step::Low, Step::Medium) => Priority::P4,
    }
}

/// When the work must be done at the latest: before the failure is to be expected (p10 of remaining
/// useful life, else the horizon) and within the priority's time, but never sooner than the work takes.
#[must_use]
pub fn due_at(
    decision: &Decision,
    rul: &Rul,
    priority: Priority,
    work_hours: f64,
    policy: &CarePolicy,
    now: Timestamp,
) -> Timestamp {
    let [p1, p2, p3, p4] = policy.resolve_within_hours;
    let within = match priority {
        Priority::P1 => p1,
        Priority::P2 => p2,
        Priority::P3 => p3,
        Priority::P4 => p4,
    };
    now.plus_hours(hours_left(decision, rul).min(within).max(work_hours))
}

/// Hours until the failure is to be reckoned with.
fn hours_left(decision: &Decision, rul: &Rul) -> f64 {
    match *rul {
        // One in ten fails earlier: the cautious end of the interval.
        Rul::Trend { p10_hours, .. } if p10_hours.is_finite() => {
            decision.horizon_hours.min(p10_hours.max(0.0))
        }
        Rul::Trend { .. } | Rul::NoTrend => decision.horizon_hours,
    }
}
