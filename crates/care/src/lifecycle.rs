//! The ticket's state machine.

use forecare_domain::{
    Actor, Channel, CloseReason, Hold, IllegalTransition, Label, Ticket, TicketChange, TicketState,
    Timestamp, Verdict,
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
        "resolving needs a verdict: confirmed (with failure_code), wrong_mode (with actual), no_fault_found, data_fault or too_early"
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

fn checked(verdict: Verdict, ticket: &Ticket) -> Result<Verdict, TransitionError> {
    match verdict {
        Verdict::Confirmed { failure_code } => {
            let failure_code = cut(failure_code.trim());
            if failure_code.is_empty() {
                return Err(TransitionError::FailureCodeMissing);
            }
            Ok(Verdict::Confirmed { failure_code })
        }
        Verdict::WrongMode { actual } => {
            if actual == ticket.mode {
                return Err(TransitionError::ActualIsPredicted(actual.to_string()));
            }
            Ok(Verdict::WrongMode { actual })
        }
        Verdict::NoFaultFound | Verdict::DataFault | Verdict::TooEarly => Ok(verdict),
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
    let resolved = |c: &&TicketChange| c.to == TicketState::Resolved;
    ticket.history.iter().rev().find(resolved).map(|c| c.at)
}

/// The verdict on `ticket` as a training label; `None` until it is resolved.
#[must_use]
pub fn label_of(ticket: &Ticket) -> Option<Label> {
    let verdict = ticket.verdict.clone()?;
    Some(Label {
        ticket: ticket.id,
        device: ticket.device.clone(),
        mode: ticket.mode.clone(),
        verdict,
        detected_at: ticket.detected_at,
        at: resolved_at(ticket)?,
        probability: ticket.decision.probability,
    })
}
