//! What happens to a ticket by itself: evidence that stays away, a replacement elsewhere, a customer
//! who does not object.

use forecare_domain::{Ticket, TicketState, Timestamp};

use crate::CarePolicy;
use crate::lifecycle::{REPLACED_ELSEWHERE, RISK_PASSED, forecare, record, resolved_at};

/// Nobody has started: new or triaged, and not because a finished job came back. (A ticket that a person
/// has reopened or sent out is ended by a person.)
fn unstarted(ticket: &Ticket) -> bool {
    matches!(ticket.state, TicketState::New | TicketState::Triaged)
        && !ticket
            .history
            .iter()
            .any(|c| c.enters(TicketState::Reopened))
}

/// `ticket` cancelled because the risk has passed: nobody started on it, its episode is not active, and
/// the last evidence is [`CarePolicy::withdraw_after_hours`] old. `None`: it stays.
///
/// `now` should not run ahead of the device's newest reading: a device that has fallen silent is no sign of
/// health.
#[must_use]
pub fn withdraw_due(
    ticket: &Ticket,
    evidence_active: bool,
    policy: &CarePolicy,
    now: Timestamp,
) -> Option<Ticket> {
    let quiet_hours = now.hours_since(ticket.evidence_at);
    // Only what an alarm opened lives by evidence.
    if evidence_active
        || !ticket.is_predicted()
        || !unstarted(ticket)
        || quiet_hours < policy.withdraw_after_hours
    {
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
    if !ticket.is_predicted() || !unstarted(ticket) || now < ticket.detected_at {
        return None;
    }
    let why = format!("{REPLACED_ELSEWHERE}: the component was replaced outside this ticket");
    Some(cancelled(ticket, &why, now))
}

/// `ticket` closed: the customer has confirmed it, or has not objected to its resolution for
/// [`CarePolicy::confirm_after_hours`] (then the confirmation by time-out is in the history too).
#[must_use]
pub fn confirm_due(ticket: &Ticket, policy: &CarePolicy, now: Timestamp) -> Option<Ticket> {
    if !matches!(ticket.state, TicketState::Resolved | TicketState::Confirmed) {
        return None;
    }
    let mut after = ticket.clone();
    if ticket.state == TicketState::Resolved {
        let waited_hours = now.hours_since(resolved_at(ticket)?);
        if waited_hours < policy.confirm_after_hours {
            return None;
        }
        let why = format!("the customer did not object for {waited_hours:.0} h");
        record(&mut after, TicketState::Confirmed, forecare(), &why, now);
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

#[cfg(test)]
mod tests {
    use forecare_domain::CloseReason;

    use super::*;
    use crate::close_reason;
    use crate::fixtures::{TO_WORK, at, confirmed, resolved, ticket, walked};

    fn policy() -> CarePolicy {
        CarePolicy::default()
    }

    #[test]
    fn a_risk_that_stays_away_for_72_hours_has_passed() {
        assert_eq!(withdraw_due(&ticket(), false, &policy(), at(71.9)), None);
        let after = withdraw_due(&ticket(), false, &policy(), at(72.0)).unwrap();
        assert_eq!(after.state, TicketState::Cancelled);
        assert_eq!(close_reason(&after), Some(CloseReason::RiskPassed));
        let last = &after.history.last().unwrap().why;
        assert_eq!(last, "risk passed: no evidence for 72 h");
    }

    #[test]
    fn nothing_is_withdrawn_while_the_episode_is_active() {
        assert_eq!(withdraw_due(&ticket(), true, &policy(), at(1e4)), None);
    }

    #[test]
    fn what_a_person_has_sent_out_or_reopened_is_not_withdrawn() {
        let mut path = Vec::new();
        for state in TO_WORK {
            path.push(state);
            let t = walked(&path, &confirmed());
            let stays = state != TicketState::Triaged;
            assert_eq!(withdraw_due(&t, false, &policy(), at(1e4)).is_none(), stays);
            assert_eq!(replaced_elsewhere(&t, at(1e4)).is_none(), stays);
        }
        path.extend([
            TicketState::Resolved,
            TicketState::Reopened,
            TicketState::Triaged,
        ]);
        let again = walked(&path, &confirmed());
        assert_eq!(withdraw_due(&again, false, &policy(), at(1e4)), None);
    }

    #[test]
    fn a_replacement_elsewhere_ends_the_ticket_with_that_reason() {
        let after = replaced_elsewhere(&ticket(), at(3.0)).unwrap();
        assert_eq!(after.state, TicketState::Cancelled);
        assert_eq!(close_reason(&after), Some(CloseReason::ReplacedElsewhere));
    }

    #[test]
    fn evidence_after_a_replacement_speaks_of_the_new_component() {
        assert_eq!(replaced_elsewhere(&ticket(), at(-1.0)), None);
    }

    #[test]
    fn silence_confirms_and_closes() {
        let t = resolved(&confirmed());
        assert_eq!(confirm_due(&t, &policy(), at(5.0 + 71.0)), None);
        let after = confirm_due(&t, &policy(), at(5.0 + 72.0)).unwrap();
        assert_eq!(after.state, TicketState::Closed);
        let steps: Vec<TicketState> = after.history.iter().rev().take(2).map(|c| c.to).collect();
        assert_eq!(steps, [TicketState::Closed, TicketState::Confirmed]);
        assert_eq!(after.verdict, t.verdict);
    }

    #[test]
    fn the_customers_word_closes_at_once() {
        let mut path = TO_WORK.to_vec();
        path.extend([TicketState::Resolved, TicketState::Confirmed]);
        let t = walked(&path, &confirmed());
        let after = confirm_due(&t, &policy(), at(6.0)).unwrap();
        assert_eq!(after.state, TicketState::Closed);
        assert_eq!(after.history.len(), t.history.len() + 1);
    }

    #[test]
    fn only_finished_work_closes_by_itself() {
        for t in [
            ticket(),
            walked(&TO_WORK, &confirmed()),
            walked(&[TicketState::Cancelled], &confirmed()),
        ] {
            assert_eq!(confirm_due(&t, &policy(), at(1e4)), None);
        }
    }
}
