//! Who does a ticket and when: the dispatcher's proposal, and a planner's word against it.

use forecare_domain::{Actor, DispatchOverride, DispatchProposal, Ticket, TicketState, Timestamp};

use crate::lifecycle::{cut, forecare, record};

/// A proposed start that moves by less than this is the same, hours: a plan that is made anew as time goes by
/// would change every ticket otherwise.
const SAME_START_HOURS: f64 = 1.0;

/// Why an assignment is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssignError {
    /// The work has begun, or is over.
    #[error("a ticket that is {} is not assigned any more: that is possible until the work begins", .0.label())]
    TooLate(TicketState),
    /// No reason.
    #[error("say why the plan is overridden")]
    NoReason,
    /// There was nothing to take back.
    #[error("nobody has laid down an assignment that could be taken back")]
    NothingLaidDown,
}

/// `ticket` with `technician` laid down for it, at `start_at` or when the plan has room, and that in its
/// history. `technician`: `None` takes back what was laid down, and leaves it to the dispatcher again.
///
/// # Errors
/// [`AssignError`]; the ticket stays as it was.
pub fn assign(
    ticket: &Ticket,
    technician: Option<String>,
    start_at: Option<Timestamp>,
    by: Actor,
    why: &str,
    now: Timestamp,
) -> Result<Ticket, AssignError> {
    if !is_assignable(ticket.state) {
        return Err(AssignError::TooLate(ticket.state));
    }
    let why = cut(why.trim());
    if why.is_empty() {
        return Err(AssignError::NoReason);
    }
    let mut after = ticket.clone();
    let said = if let Some(technician) = technician {
        let when = start_at.map_or_else(
            || "when the plan has room".to_owned(),
            |at| format!("at {at}"),
        );
        let said = format!("assigned to {technician}, {when}: {why}");
        after.technician = Some(technician.clone());
        after.assignment = Some(DispatchOverride {
            technician,
            start_at,
            why,
            by: by.clone(),
            at: now,
        });
        said
    } else {
        if after.assignment.take().is_none() {
            return Err(AssignError::NothingLaidDown);
        }
        format!("the assignment is left to the dispatcher again: {why}")
    };
    record(&mut after, ticket.state, by, &said, now);
    Ok(after)
}

/// `ticket` with a new proposal, where that says something new: another technician, a start moved by an hour or
/// more, another reason. `None`: it does not, or nobody asks the dispatcher any more.
#[must_use]
pub fn proposed(ticket: &Ticket, proposal: &DispatchProposal, now: Timestamp) -> Option<Ticket> {
    if !is_proposable(ticket.state) {
        return None;
    }
    if let Some(before) = &ticket.proposal
        && before.why == proposal.why
        && same(before, proposal)
    {
        return None;
    }
    let mut after = ticket.clone();
    after.proposal = Some(proposal.clone());
    let who = proposal.assigned.as_ref().map(|a| a.technician.clone());
    if ticket.assignment.is_none() && who != ticket.technician {
        let why = match &proposal.assigned {
            Some(a) => format!(
                "planned with all open tickets: {} from {} (cost {:.0})",
                a.technician,
                a.start_at,
                a.cost.total()
            ),
            None => format!("planned with all open tickets: {}", proposal.why),
        };
        after.technician = who;
        record(&mut after, ticket.state, forecare(), &why, now);
    }
    Some(after)
}

fn same(before: &DispatchProposal, after: &DispatchProposal) -> bool {
    match (&before.assigned, &after.assigned) {
        (Some(a), Some(b)) => {
            a.technician == b.technician
                && a.start_at.hours_since(b.start_at).abs() < SAME_START_HOURS
        }
        (None, None) => true,
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// True until the work begins.
#[must_use]
pub fn is_assignable(state: TicketState) -> bool {
    matches!(
        state,
        TicketState::New
            | TicketState::Triaged
            | TicketState::Reopened
            | TicketState::Dispatched
            | TicketState::Accepted
    )
}

/// True while the dispatcher has a say: nobody has been sent out.
#[must_use]
pub fn is_proposable(state: TicketState) -> bool {
    matches!(
        state,
        TicketState::New | TicketState::Triaged | TicketState::Reopened
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{TO_WORK, at, confirmed, person, ticket, walked};

    #[test]
    fn a_planners_word_is_kept_with_its_reason() {
        let after = assign(
            &ticket(),
            Some("Ada".to_owned()),
            Some(at(5.0)),
            person(),
            "knows it",
            at(1.0),
        )
        .unwrap();
        assert_eq!(after.technician.as_deref(), Some("Ada"));
        let last = after.history.last().unwrap();
        assert!(
            last.why.starts_with("assigned to Ada, at 2023-11-15T"),
            "{}",
            last.why
        );
        assert!(last.why.ends_with(": knows it"));
        assert_eq!((last.from, last.to), (Some(ticket().state), ticket().state));
        let back = assign(&after, None, None, person(), "she is ill", at(2.0)).unwrap();
        assert_eq!(back.assignment, None);
        assert_eq!(
            assign(&back, None, None, person(), "again", at(3.0)),
            Err(AssignError::NothingLaidDown)
        );
    }

    fn proposal(technician: &str, hours: f64) -> DispatchProposal {
        DispatchProposal {
            planned_at: at(0.0),
            assigned: Some(forecare_domain::DispatchCandidate {
                technician: technician.to_owned(),
                start_at: at(hours),
                end_at: at(hours + 2.0),
                cost: forecare_domain::DispatchCost::default(),
            }),
            why: String::new(),
            candidates: Vec::new(),
            rejected: Vec::new(),
            n_rejected: 0,
        }
    }

    #[test]
    fn a_proposal_is_kept_where_it_says_something_new() {
        let first = proposed(&ticket(), &proposal("Ada", 4.0), at(1.0)).unwrap();
        assert_eq!(first.technician.as_deref(), Some("Ada"));
        assert_eq!(proposed(&first, &proposal("Ada", 4.9), at(2.0)), None);
        let later = proposed(&first, &proposal("Ada", 5.0), at(2.0)).unwrap();
        assert_eq!(
            later.history, first.history,
            "a moved start is no change of hands"
        );
        let other = proposed(&first, &proposal("Ben", 4.0), at(2.0)).unwrap();
        assert_eq!(other.history.len(), first.history.len() + 1);
        let sent = walked(&TO_WORK[..2], &confirmed());
        assert_eq!(proposed(&sent, &proposal("Ben", 4.0), at(2.0)), None);
    }

    #[test]
    fn a_planners_word_stands_against_the_dispatcher() {
        let chosen = assign(
            &ticket(),
            Some("Di".to_owned()),
            None,
            person(),
            "x",
            at(1.0),
        )
        .unwrap();
        let after = proposed(&chosen, &proposal("Ada", 4.0), at(2.0)).unwrap();
        assert_eq!(after.technician.as_deref(), Some("Di"));
        assert!(after.proposal.is_some());
    }

    #[test]
    fn begun_work_and_missing_reasons_are_refused() {
        let begun = walked(&TO_WORK, &confirmed());
        let ada = || Some("Ada".to_owned());
        let refused = assign(&begun, ada(), None, person(), "x", at(9.0)).unwrap_err();
        assert!(refused.to_string().contains("in_progress"));
        assert_eq!(
            assign(&ticket(), ada(), None, person(), "  ", at(9.0)),
            Err(AssignError::NoReason)
        );
    }
}
