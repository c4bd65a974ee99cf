//! The ticket's state machine.

use forecare_domain::{
    Actor, Channel, CloseReason, Hold, IllegalTransition, Label, Origin, Ticket, TicketChange,
    TicketState, Timestamp, Verdict,
};

/// Most entries of a ticket's history. When it is full the second oldest goes: the opening stays.
pub const HISTORY_MAX: usize = 256;
/// Most characters of a reason or a code; longer ones are cut.
pub const TEXT_CHARS_MAX: usize = 1_000;

/// First words of the reason when the risk has passed; [`close_reason`] reads them.
pub(crate) const RISK_PASSED: &str = "risk passed";
/// First words of the reason when the component was replaced outside the ticket.
pub(crate) const REPLACED_ELSEWHERE: &str = "replaced elsewhere";
/// The name under which the care desk itself acts.
const SYSTEM_NAME: &str = "forecare";

/// Why a ticket does not change as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransitionError {
    /// The state machine has no such step.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// A ticket is resolved only with a verdict.
    #[error(
        "resolving needs a verdict: confirmed (with failure_code), wrong_mode (with actual), no_fault_found, data_fault or too_early; for a ticket without an alarm, done, confirmed, no_fault_found or data_fault"
    )]
    VerdictMissing,
    /// A verdict came with a step that takes none.
    #[error("a verdict belongs to resolved, not to {}", .0.label())]
    VerdictUnexpected(TicketState),
    /// A confirmation without a code.
    #[error(
        "the verdict confirmed needs the failure_code found (ISO 14224 failure mode, mechanism or cause)"
    )]
    FailureCodeMissing,
    /// A verdict on a prediction, and there was none; or the other way round.
    #[error("the verdict {verdict} is none for a ticket from {origin}; use {instead}")]
    VerdictOutOfPlace {
        /// The verdict.
        verdict: &'static str,
        /// What opened the ticket.
        origin: &'static str,
        /// Those that fit.
        instead: &'static str,
    },
    /// A ticket is resolved only when what must be done is done.
    #[error("still to be done before it is resolved: {}", .0.join("; "))]
    ChecklistOpen(Vec<String>),
    /// The other mode is the ticket's own.
    #[error("the verdict wrong_mode names the ticket's own failure mode \"{0}\"; use confirmed")]
    ActualIsPredicted(String),
}

/// The states that can follow `from`.
#[must_use]
pub fn allowed(from: TicketState) -> &'static [TicketState] {
    use TicketState as S;
    match from {
        S::New | S::Reopened => &[S::Triaged, S::Cancelled],
        S::Triaged => &[S::Dispatched, S::Cancelled],
        // Back to triaged: the technician declines, or hands the ticket back.
        S::Dispatched => &[S::Accepted, S::Triaged, S::Cancelled],
        S::Accepted => &[S::InProgress, S::Triaged, S::Cancelled],
        // Work has begun: it ends with a verdict, not by cancelling.
        S::InProgress => &[
            S::OnHold(Hold::Customer),
            S::OnHold(Hold::Vendor),
            S::OnHold(Hold::Part),
            S::Resolved,
        ],
        S::OnHold(_) => &[S::InProgress, S::Resolved],
        S::Resolved => &[S::Confirmed, S::Reopened],
        S::Confirmed => &[S::Closed, S::Reopened],
        S::Closed | S::Cancelled => &[],
    }
}

/// `ticket` after the step to `to`, with the step in its history. The version stays the one it was read
/// with: the store compares and raises it.
///
/// Resolving takes the verdict; reopening forgets it (its label is stored already, and the next
/// resolution needs its own). Whoever accepts an unassigned ticket becomes its technician.
///
/// # Errors
/// [`TransitionError`] says what is wrong and what would be right; the ticket stays as it was.
pub fn transition(
    ticket: &Ticket,
    to: TicketState,
    by: Actor,
    why: &str,
    verdict: Option<Verdict>,
    now: Timestamp,
) -> Result<Ticket, TransitionError> {
    let next = allowed(ticket.state);
    if !next.contains(&to) {
        let allowed = if next.is_empty() {
            "nothing, this is final".to_owned()
        } else {
            let labels: Vec<&str> = next.iter().map(|s| s.label()).collect();
            labels.join(", ")
        };
        return Err(TransitionError::Illegal(IllegalTransition {
            from: ticket.state,
            to,
            allowed,
        }));
    }
    let mut after = ticket.clone();
    match (to, verdict) {
        (TicketState::Resolved, None) => return Err(TransitionError::VerdictMissing),
        (TicketState::Resolved, Some(verdict)) => {
            after.verdict = Some(checked(verdict, ticket)?);
            let open = to_be_done(ticket);
            if !open.is_empty() {
                return Err(TransitionError::ChecklistOpen(open));
            }
        }
        (_, Some(_)) => return Err(TransitionError::VerdictUnexpected(to)),
        (_, None) => {}
    }
    if to == TicketState::Reopened {
        after.verdict = None;
    }
    if to == TicketState::Accepted && after.technician.is_none() {
        after.technician = Some(by.name.clone());
    }
    record(&mut after, to, by, why, now);
    Ok(after)
}

/// Lines of the checklist that stand between `ticket` and its resolution.
fn to_be_done(ticket: &Ticket) -> Vec<String> {
    let open = ticket.work.checklist.iter();
    open.filter(|item| item.required && item.done.is_none())
        .map(|item| item.text.clone())
        .collect()
}

/// The verdicts that can be given on `ticket`, by label.
#[must_use]
pub fn verdicts(ticket: &Ticket) -> &'static [&'static str] {
    if ticket.is_predicted() {
        &[
            "confirmed",
            "wrong_mode",
            "no_fault_found",
            "data_fault",
            "too_early",
        ]
    } else {
        &["done", "confirmed", "no_fault_found", "data_fault"]
    }
}

fn checked(verdict: Verdict, ticket: &Ticket) -> Result<Verdict, TransitionError> {
    if !verdicts(ticket).contains(&verdict.label()) {
        return Err(TransitionError::VerdictOutOfPlace {
            verdict: verdict.label(),
            origin: match ticket.origin {
                Origin::Alarm => "an alarm",
                Origin::Person { .. } => "a person",
                Origin::Schedule { .. } => "a schedule",
                Origin::Event { .. } => "a device event",
                Origin::Automation { .. } => "automation",
            },
            instead: if ticket.is_predicted() {
                "confirmed, wrong_mode, no_fault_found, data_fault or too_early"
            } else {
                "done, confirmed, no_fault_found or data_fault"
            },
        });
    }
    match verdict {
        Verdict::Confirmed { failure_code } => {
            let failure_code = cut(failure_code.trim());
            if failure_code.is_empty() {
                return Err(TransitionError::FailureCodeMissing);
            }
            Ok(Verdict::Confirmed { failure_code })
        }
        Verdict::WrongMode { actual } => {
            if ticket.mode.as_ref() == Some(&actual) {
                return Err(TransitionError::ActualIsPredicted(actual.to_string()));
            }
            Ok(Verdict::WrongMode { actual })
        }
        Verdict::NoFaultFound | Verdict::DataFault | Verdict::TooEarly | Verdict::Done => {
            Ok(verdict)
        }
    }
}

/// Puts `ticket` into `to` and writes its history.
pub(crate) fn record(ticket: &mut Ticket, to: TicketState, by: Actor, why: &str, now: Timestamp) {
    ticket.history.push(TicketChange {
        at: now,
        by,
        from: Some(ticket.state),
        to,
        why: cut(why),
    });
    while ticket.history.len() > HISTORY_MAX {
        ticket.history.remove(1);
    }
    ticket.state = to;
}

pub(crate) fn cut(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

/// The care desk itself.
pub(crate) fn forecare() -> Actor {
    Actor {
        name: SYSTEM_NAME.to_owned(),
        channel: Channel::System,
    }
}

/// Why the care desk cancelled `ticket`; `None` when it did not, or a person did.
#[must_use]
pub fn close_reason(ticket: &Ticket) -> Option<CloseReason> {
    let last = ticket.history.last()?;
    if last.to != TicketState::Cancelled || last.by != forecare() {
        None
    } else if last.why.starts_with(REPLACED_ELSEWHERE) {
        Some(CloseReason::ReplacedElsewhere)
    } else if last.why.starts_with(RISK_PASSED) {
        Some(CloseReason::RiskPassed)
    } else {
        None
    }
}

/// When the present verdict was given: the latest step to resolved.
pub(crate) fn resolved_at(ticket: &Ticket) -> Option<Timestamp> {
    let resolved = |c: &&TicketChange| c.enters(TicketState::Resolved);
    ticket.history.iter().rev().find(resolved).map(|c| c.at)
}

/// The verdict on `ticket` as a training label; `None` until it is resolved, and where nothing was predicted.
#[must_use]
pub fn label_of(ticket: &Ticket) -> Option<Label> {
    let predicted = ticket.decision.as_ref().filter(|_| ticket.is_predicted())?;
    let verdict = ticket.verdict.clone()?;
    Some(Label {
        ticket: ticket.id,
        device: ticket.device.clone(),
        mode: ticket.mode.clone()?,
        verdict,
        detected_at: ticket.detected_at,
        at: resolved_at(ticket)?,
        probability: predicted.probability,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{TO_WORK, at, confirmed, person, resolved, ticket, walked};

    fn step(
        ticket: &Ticket,
        to: TicketState,
        verdict: Option<Verdict>,
    ) -> Result<Ticket, TransitionError> {
        transition(ticket, to, person(), "because", verdict, at(9.0))
    }

    #[test]
    fn a_refusal_names_what_is_possible() {
        let error = step(&ticket(), TicketState::Accepted, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a ticket that is new cannot become accepted; from here it can become: triaged, cancelled"
        );
        let cancelled = walked(&[TicketState::Cancelled], &confirmed());
        let error = step(&cancelled, TicketState::New, None).unwrap_err();
        assert!(error.to_string().ends_with("nothing, this is final"));
    }

    #[test]
    fn a_step_is_recorded_and_leaves_the_version_to_the_store() {
        let after = step(&ticket(), TicketState::Triaged, None).unwrap();
        let last = after.history.last().unwrap();
        assert_eq!(last.from, Some(TicketState::New));
        assert_eq!(last.to, TicketState::Triaged);
        assert_eq!((last.at, last.by.clone()), (at(9.0), person()));
        assert_eq!(last.why, "because");
        assert_eq!(after.version, ticket().version);
    }

    #[test]
    fn nothing_is_resolved_without_a_verdict() {
        let working = walked(&TO_WORK, &confirmed());
        let resolve = |verdict| step(&working, TicketState::Resolved, verdict);
        assert_eq!(resolve(None), Err(TransitionError::VerdictMissing));
        assert_eq!(
            resolve(Some(confirmed())).unwrap().verdict,
            Some(confirmed())
        );
        let blank = Verdict::Confirmed {
            failure_code: "  ".to_owned(),
        };
        assert_eq!(
            resolve(Some(blank)),
            Err(TransitionError::FailureCodeMissing)
        );
        let same = Verdict::WrongMode {
            actual: working.mode.clone().unwrap(),
        };
        assert!(matches!(
            resolve(Some(same)),
            Err(TransitionError::ActualIsPredicted(_))
        ));
    }

    #[test]
    fn a_verdict_belongs_to_the_resolution_only() {
        assert_eq!(
            step(&ticket(), TicketState::Triaged, Some(confirmed())),
            Err(TransitionError::VerdictUnexpected(TicketState::Triaged))
        );
    }

    #[test]
    fn reopening_asks_for_a_verdict_of_its_own() {
        let again = step(&resolved(&confirmed()), TicketState::Reopened, None).unwrap();
        assert_eq!(again.verdict, None);
        assert_eq!(label_of(&again), None);
    }

    #[test]
    fn who_accepts_an_unassigned_ticket_does_it() {
        let mut sent = walked(&TO_WORK[..2], &confirmed());
        let accepted = |t: &Ticket| step(t, TicketState::Accepted, None).unwrap().technician;
        assert_eq!(accepted(&sent), sent.technician);
        sent.technician = None;
        assert_eq!(accepted(&sent), Some("Eve".to_owned()));
    }

    #[test]
    fn the_label_is_the_verdict_with_its_circumstances() {
        assert_eq!(label_of(&ticket()), None);
        let label = label_of(&resolved(&Verdict::NoFaultFound)).unwrap();
        assert_eq!(label.verdict, Verdict::NoFaultFound);
        assert_eq!(label.at, at(5.0));
        assert_eq!(label.detected_at, ticket().detected_at);
        assert_eq!(label.probability, 0.9);
    }

    #[test]
    fn a_full_history_keeps_the_opening_and_the_newest() {
        let mut t = walked(&TO_WORK, &confirmed());
        let opening = t.history[0].clone();
        for _ in 0..HISTORY_MAX {
            t = step(&t, TicketState::OnHold(Hold::Vendor), None).unwrap();
            t = step(&t, TicketState::InProgress, None).unwrap();
        }
        assert_eq!(t.history.len(), HISTORY_MAX);
        assert_eq!(t.history[0], opening);
        assert_eq!(t.history.last().unwrap().to, TicketState::InProgress);
    }

    #[test]
    fn long_reasons_are_cut() {
        let why = "ü".repeat(TEXT_CHARS_MAX + 5);
        let after = transition(
            &ticket(),
            TicketState::Triaged,
            person(),
            &why,
            None,
            at(1.0),
        )
        .unwrap();
        let kept = &after.history.last().unwrap().why;
        assert_eq!(kept.chars().count(), TEXT_CHARS_MAX);
    }

    #[test]
    fn a_person_cancelling_is_no_reason_of_the_care_desk() {
        let why = "risk passed: says Eve";
        let t = transition(
            &ticket(),
            TicketState::Cancelled,
            person(),
            why,
            None,
            at(1.0),
        );
        assert_eq!(close_reason(&t.unwrap()), None);
    }

    #[test]
    fn every_state_is_reachable_and_can_end() {
        let reach = |from: TicketState| {
            let mut seen = vec![from];
            let mut i = 0;
            while i < seen.len() {
                for next in allowed(seen[i]) {
                    if !seen.contains(next) {
                        seen.push(*next);
                    }
                }
                i += 1;
            }
            seen
        };
        assert_eq!(reach(TicketState::New).len(), TicketState::ALL.len());
        for state in TicketState::ALL {
            let ends = reach(state);
            assert!(
                ends.contains(&TicketState::Closed) || ends.contains(&TicketState::Cancelled),
                "{state:?}"
            );
        }
    }

    #[test]
    fn the_contracts_road_is_open() {
        // `new -> triaged -> ... -> in_progress <-> on_hold -> resolved -> confirmed -> closed`
        for hold in [Hold::Customer, Hold::Vendor, Hold::Part] {
            let mut path = TO_WORK.to_vec();
            path.extend([
                TicketState::OnHold(hold),
                TicketState::InProgress,
                TicketState::Resolved,
                TicketState::Confirmed,
                TicketState::Closed,
            ]);
            assert_eq!(walked(&path, &confirmed()).state, TicketState::Closed);
        }
    }

    proptest! {
        #[test]
        fn random_requests_never_leave_the_machine(requests in prop::collection::vec((0..13_usize, any::<bool>()), 0..60)) {
            let mut t = ticket();
            for (index, with_verdict) in requests {
                let to = TicketState::ALL[index];
                let result = step(&t, to, with_verdict.then(confirmed));
                let legal = allowed(t.state).contains(&to) && with_verdict == (to == TicketState::Resolved);
                prop_assert_eq!(result.is_ok(), legal);
                if let Ok(after) = result {
                    prop_assert!(!matches!(t.state, TicketState::Closed | TicketState::Cancelled));
                    prop_assert_eq!(after.state, to);
                    prop_assert_eq!(after.history.len(), t.history.len() + 1);
                    let finished = matches!(to, TicketState::Resolved | TicketState::Confirmed | TicketState::Closed);
                    prop_assert_eq!(label_of(&after).is_some(), finished);
                    t = after;
                }
            }
        }
    }
}
