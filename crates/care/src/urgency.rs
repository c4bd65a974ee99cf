//! How urgent a ticket is, and by when the work must be done.

use forecare_catalogue::FailureMode;
use forecare_domain::{Decision, Origin, Priority, Rul, Severity, Ticket, Timestamp};

use crate::CarePolicy;
use crate::sla::SlaTerms;

/// Three steps, of impact as of urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Low,
    Medium,
    High,
}

/// A failure that costs so many planned visits has a high impact.
const HIGH_IMPACT_VISITS: f64 = 10.0;
/// A ticket to which neither a failure nor a promise gives a date is due after so many hours: a month.
const UNPROMISED_HOURS: f64 = 720.0;
/// A failure that costs so many planned visits has a medium impact.
const MEDIUM_IMPACT_VISITS: f64 = 3.0;

/// How the asset's customer stands, as far as it matters for the priority.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// The customer's name; `None`: nobody's asset.
    pub customer: Option<String>,
    /// The customer's tier, its place among the tiers (1: the best) and how many there are.
    pub tier: Option<(String, usize, usize)>,
    /// The contract in force that covers the asset.
    pub contract: Option<String>,
}

/// By what a ticket of an alarm is weighed.
#[derive(Debug, Clone, Copy)]
pub struct Footing<'a> {
    /// Settings.
    pub policy: &'a CarePolicy,
    /// What the asset's customer is promised.
    pub terms: &'a SlaTerms,
    /// How that customer stands.
    pub standing: &'a Standing,
}

/// Impact and urgency as they count for the customer: of the best of several tiers a low impact counts as medium, under a
/// contract in force a low urgency as medium. Adds to `why` what did.
pub(crate) fn lifted(
    (mut impact, mut urgency): (Step, Step),
    standing: &Standing,
    why: &mut Vec<String>,
) -> (Step, Step) {
    if let Some((tier, 1, tiers)) = &standing.tier
        && *tiers > 1
        && impact == Step::Low
    {
        impact = Step::Medium;
        why.push(format!("the customer is {tier}"));
    }
    if let Some(contract) = &standing.contract
        && urgency == Step::Low
    {
        urgency = Step::Medium;
        why.push(format!("contract {contract} covers the machine"));
    }
    (impact, urgency)
}

/// The priority by impact and urgency, in a sentence.
pub(crate) fn in_words((impact, urgency): (Step, Step), why: &[String]) -> String {
    let word = |step| match step {
        Step::High => "high",
        Step::Medium => "medium",
        Step::Low => "low",
    };
    format!(
        "{:?}: impact {} x urgency {} ({})",
        of_matrix(impact, urgency),
        word(impact),
        word(urgency),
        why.join("; ")
    )
}

/// Impact and urgency of an expected failure. Adds to `why` what counted for the customer.
fn steps(
    decision: &Decision,
    mode: &FailureMode,
    severity: Severity,
    rul: &Rul,
    footing: Footing<'_>,
    why: &mut Vec<String>,
) -> (Step, Step) {
    let visits = decision.cost_of_failure / decision.cost_of_acting;
    let impact = if visits >= HIGH_IMPACT_VISITS || mode.is_safety {
        Step::High
    } else if visits >= MEDIUM_IMPACT_VISITS {
        Step::Medium
    } else {
        Step::Low
    };
    let left = hours_left(decision, rul);
    let urgency = if severity == Severity::Critical || left <= footing.policy.urgent_hours {
        Step::High
    } else if left <= footing.policy.soon_hours {
        Step::Medium
    } else {
        Step::Low
    };
    lifted((impact, urgency), footing.standing, why)
}

/// Priority = impact x urgency of an expected failure, by the usual three-by-three matrix.
///
/// Impact is how many planned visits one failure costs: 10 or more high, 3 or more medium; high where somebody may get hurt.
/// Urgency is high for a critical episode or a failure expected within [`CarePolicy::urgent_hours`], medium within
/// [`CarePolicy::soon_hours`]. For a customer of the best of several tiers a low impact counts as medium, under a contract
/// in force a low urgency.
#[must_use]
pub fn priority(
    decision: &Decision,
    mode: &FailureMode,
    severity: Severity,
    rul: &Rul,
    footing: Footing<'_>,
) -> Priority {
    let (impact, urgency) = steps(decision, mode, severity, rul, footing, &mut Vec::new());
    of_matrix(impact, urgency)
}

/// That priority and what it is made of, in a sentence.
pub(crate) fn priority_in_words(
    decision: &Decision,
    mode: &FailureMode,
    severity: Severity,
    rul: &Rul,
    footing: Footing<'_>,
) -> String {
    let visits = decision.cost_of_failure / decision.cost_of_acting;
    let mut why = vec![format!("a failure costs {visits:.1} planned visits")];
    if mode.is_safety {
        why.push("somebody may get hurt".to_owned());
    }
    if severity == Severity::Critical {
        why.push("the alarm is critical".to_owned());
    }
    why.push(format!(
        "expected within {:.0} h",
        hours_left(decision, rul)
    ));
    let steps = steps(decision, mode, severity, rul, footing, &mut why);
    in_words(steps, &why)
}

/// The usual three-by-three matrix.
pub(crate) fn of_matrix(impact: Step, urgency: Step) -> Priority {
    match (impact, urgency) {
        (Step::High, Step::High) => Priority::P1,
        (Step::High, Step::Medium) | (Step::Medium, Step::High) => Priority::P2,
        (Step::High, Step::Low) | (Step::Medium, Step::Medium) | (Step::Low, Step::High) => {
            Priority::P3
        }
        (Step::Medium | Step::Low, Step::Low) | (Step::Low, Step::Medium) => Priority::P4,
    }
}

/// By when the work must be done if a failure is not to come first: before it is to be expected (p10 of remaining
/// useful life, else the horizon), but never sooner than the work takes.
#[must_use]
pub fn due_by(decision: &Decision, rul: &Rul, work_hours: f64, now: Timestamp) -> Timestamp {
    now.plus_hours(hours_left(decision, rul).max(work_hours))
}

/// When a ticket is due: what was promised, or what it must be done by, whichever comes first.
#[must_use]
pub(crate) fn due_at(
    due_by: Option<Timestamp>,
    terms: &SlaTerms,
    priority: Priority,
    now: Timestamp,
) -> Timestamp {
    let promised = terms.resolved_by(priority, now);
    // A calendar that never opens promises nothing; there is a date for the work all the same.
    let fallback = || now.plus_hours(UNPROMISED_HOURS);
    due_by
        .into_iter()
        .chain(promised)
        .min()
        .unwrap_or_else(fallback)
}

/// `ticket` follows its resolution clock: a promise that moves, by priority, contract or a pause that is over, moves
/// the due date, but not beyond the expected failure. While the clock stands the date stands, and so does one that a
/// schedule or a rule has laid down.
pub(crate) fn follow_clock(ticket: &mut Ticket) {
    let clock = ticket.sla.as_ref().map(|sla| &sla.resolution);
    let Some(promised) = clock
        .filter(|clock| clock.stopped_at.is_none())
        .and_then(|clock| clock.due_at)
    else {
        return;
    };
    ticket.due_at = match ticket.origin {
        // Opened before the failure's date was kept: the due date was no later than that.
        Origin::Alarm => promised.min(*ticket.work.due_by.get_or_insert(ticket.due_at)),
        Origin::Schedule { .. } | Origin::Automation { .. } => ticket
            .work
            .due_by
            .unwrap_or_else(|| promised.min(ticket.due_at)),
        Origin::Person { .. } | Origin::Event { .. } => promised,
    };
}

/// Hours until the failure is to be reckoned with.
fn hours_left(decision: &Decision, rul: &Rul) -> f64 {
    match rul.quantiles_hours() {
        // One in ten fails earlier: the cautious end of the interval.
        Some([p10_hours, ..]) if p10_hours.is_finite() => decision.horizon_hours.min(p10_hours),
        Some(_) | None => decision.horizon_hours,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{at, catalogue, decision, mode, task, terms, ticket};
    use crate::sla::sla_started;

    fn weighed(visits: f64, horizon_hours: f64) -> Decision {
        let mut decision = decision(&task(Severity::Warning, Some(0.9), Rul::NoTrend), at(0.0));
        decision.cost_of_failure = visits * decision.cost_of_acting;
        decision.horizon_hours = horizon_hours;
        decision
    }

    fn standing(tier: usize, contract: bool) -> Standing {
        Standing {
            customer: Some("Acme".to_owned()),
            tier: Some(("gold".to_owned(), tier, 2)),
            contract: contract.then(|| "C-1".to_owned()),
        }
    }

    fn priority_for(
        decision: &Decision,
        is_safety: bool,
        severity: Severity,
        rul: &Rul,
        standing: &Standing,
    ) -> (Priority, String) {
        let catalogue = catalogue();
        let mode = FailureMode {
            is_safety,
            ..mode(&catalogue).clone()
        };
        let (policy, terms) = (CarePolicy::default(), terms());
        let footing = Footing {
            policy: &policy,
            terms: &terms,
            standing,
        };
        (
            priority(decision, &mode, severity, rul, footing),
            priority_in_words(decision, &mode, severity, rul, footing),
        )
    }

    fn of(decision: &Decision, severity: Severity, rul: &Rul) -> Priority {
        priority_for(decision, false, severity, rul, &Standing::default()).0
    }

    #[test]
    fn tier_contract_and_safety_count_for_alarms_too_and_are_said() {
        let slight = weighed(1.5, 500.0);
        let with = |is_safety, standing: &Standing| {
            priority_for(
                &slight,
                is_safety,
                Severity::Warning,
                &Rul::NoTrend,
                standing,
            )
        };
        assert_eq!(with(false, &Standing::default()).0, Priority::P4);
        let (gold, why) = with(false, &standing(1, true));
        assert_eq!(gold, Priority::P3);
        assert_eq!(
            why,
            "P3: impact medium x urgency medium (a failure costs 1.5 planned visits; expected within 500 h; the customer is gold; contract C-1 covers the machine)"
        );
        assert_eq!(with(false, &standing(2, false)).0, Priority::P4);
        assert_eq!(with(true, &Standing::default()).0, Priority::P3);
    }

    #[test]
    fn priority_is_impact_times_urgency() {
        let table = [
            (20.0, [Priority::P1, Priority::P2, Priority::P3]),
            (5.0, [Priority::P2, Priority::P3, Priority::P4]),
            (1.5, [Priority::P3, Priority::P4, Priority::P4]),
        ];
        for (visits, expected) in table {
            let by_horizon = [12.0, 100.0, 500.0]
                .map(|h| of(&weighed(visits, h), Severity::Warning, &Rul::NoTrend));
            assert_eq!(by_horizon, expected);
            let decision = weighed(visits, 500.0);
            let critical = of(&decision, Severity::Critical, &Rul::NoTrend);
            assert_eq!(critical, expected[0]);
        }
    }

    #[test]
    fn a_trend_towards_an_early_failure_raises_urgency_and_brings_the_date_forward() {
        let rul = Rul::Trend {
            p10_hours: 20.0,
            p50_hours: 60.0,
            p90_hours: 90.0,
        };
        let decision = weighed(20.0, 100.0);
        assert_eq!(of(&decision, Severity::Warning, &rul), Priority::P1);
        let due = |rul| {
            let by = due_by(&decision, rul, 4.0, at(0.0));
            due_at(Some(by), &terms(), Priority::P3, at(0.0))
        };
        assert_eq!(due(&rul), at(20.0));
        assert_eq!(due(&Rul::NoTrend), at(100.0));
    }

    #[test]
    fn the_date_follows_the_promise_but_stays_before_the_failure() {
        let mut ticket = ticket();
        ticket.work.due_by = Some(at(50.0));
        let promise = |ticket: &mut Ticket, priority| {
            ticket.sla = Some(sla_started(&terms(), priority, at(0.0)));
            follow_clock(ticket);
            ticket.due_at
        };
        assert_eq!(promise(&mut ticket, Priority::P1), at(24.0));
        assert_eq!(promise(&mut ticket, Priority::P3), at(50.0));
        ticket.origin = Origin::Event {
            code: "E1".to_owned(),
        };
        assert_eq!(promise(&mut ticket, Priority::P3), at(168.0));
        // Of a version that kept no date of the failure.
        (ticket.origin, ticket.work.due_by, ticket.due_at) = (Origin::Alarm, None, at(20.0));
        assert_eq!(promise(&mut ticket, Priority::P3), at(20.0));
        // A date that was laid down stands.
        ticket.origin = Origin::Automation {
            rule: "r".to_owned(),
            follows: None,
        };
        ticket.work.due_by = Some(at(300.0));
        assert_eq!(promise(&mut ticket, Priority::P1), at(300.0));
    }

    proptest! {
        #[test]
        fn the_date_leaves_time_for_the_work_and_is_never_later_for_a_higher_priority(
            p10 in -5.0..300.0_f64, horizon in 1.0..500.0_f64, work in 0.5..40.0_f64,
        ) {
            let rul = Rul::Trend { p10_hours: p10, p50_hours: p10 + 1.0, p90_hours: p10 + 2.0 };
            let decision = weighed(5.0, horizon);
            let due = [Priority::P1, Priority::P2, Priority::P3, Priority::P4]
                .map(|p| due_at(Some(due_by(&decision, &rul, work, at(0.0))), &terms(), p, at(0.0)));
            prop_assert!(due.windows(2).all(|w| w[0] <= w[1]));
            prop_assert!(due[0] >= at(0.0).plus_hours(work.min(24.0)));
            prop_assert!(due[3] <= at(0.0).plus_hours(horizon.max(work)));
        }
    }
}
