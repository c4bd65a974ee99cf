//! What happens to a ticket by itself: evidence that stays away, a replacement elsewhere, a customer
//! who does not object.

use forecare_domain::{Ticket, TicketState, Timestamp};

use crate::CarePolicy;
use crate::lifecycle::{REPLACED_ELSEWHERE, RISK_PASSED, forecare, record, resolved_at};

/// Nobody has started: new or triaged, and not because a finished job came back. (A ticket that a person
/// has reopened or sent out is ended by a person.)
fn unstarted(ticket: &Ticket) -> bool {
    matches!(ticket.state, TicketState::New | TicketState::Triaged)
        && !ticket.history.iter().any(|c| c.to == TicketState::Reopened)
}

/// `ticket` cancelled because the risk has passed: nobody started on it, its episode is not active, and
/// the last evidence is [`CarePolicy::withdraw_after_hours`] old. `None`: it stays.
#[must_use]
pub fn withdraw_due(
    ticket: &Ticket,
    evidence_active: bool,
    policy: &CarePolicy,
    now: Timestamp,
) -> Option<Ticket> {
    let quiet_hours = now.hours_since(ticket.evidence_at);
    if evidence_active || !unstarted(ticket) || quiet_hours < policy.withdraw_after_hours {
        return None;
    }
    let why = format!("{RISK_PASSED}: no evidence for {quiet_hours:.0} h");
    Some(cancelled(ticket, &why, now))
}

/// `ticket` cancelled because its component was replaced outside of it at `now`. `None`: it stays, as
/// work has been started (then the technician's verdict tells), or the evidence is younger than the
/// replacement and speaks of the new component.
#[must_use]
pub fn replaced_elsewhere(ticket: &Ticket, now: Timestamp) -> Option<Ticket> {
    if !unstarted(ticket) || now < ticket.detected_at {
        return None;
    }
    let why = format!("{REPLACED_ELSEWHERE}: the component was replaced outside this ticket");
    Some(cancelled(ticket, &why, now))
}

/// `ticket` closed: the customer has confirmed it, or has not objected to its resolution for
/// [`CarePolicy::confirm_after_hours`] (then the confirmation by time-out is in the history too).
#[must_use]
pub fn confirm_due(ticket: &Ticket, policy: &CarePolicy, now: Timestamp) -> Option<Ticket> {
    let mut after = ticket.clone();
    if ticket.state == TicketState::Resolved {
        let waited_hours = now.hours_since(resolved_at(ticket)?);
        if waited_hours < policy.confirm_after_hours {
            return None;
        }
        let why = format!("the customer did not object for {waited_hours:.0} h");
        record(&mut after, TicketState::Confirmed, forecare(), &why, now);
    }
    if after.state != TicketState::Confirmed {
        return None;
    }
    record(
        &mut after,
        TicketState::Closed,
        forecare(),
        "resolution confirmed",
        now,
    );
    Some(after)
}

fn cancelled(ticket: &Ticket, why: &str, now: Timestamp) -> Ticket {
    let mut after = ticket.clone();
    record(&mut after, TicketState::Cancelled, forecare(), why, now);
    after
}
