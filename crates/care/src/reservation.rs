//! A reservation's life: soft, hard, used, given back.

use forecare_domain::{
    CloseReason, PartNumber, Reservation, ReservationId, ReservationState, Supply, Ticket,
    TicketState, Timestamp, Verdict,
};

use crate::CarePolicy;
use crate::lifecycle::close_reason;

/// When a soft hold really ends: [`CarePolicy::soft_hold_hours`] after its ticket's last evidence, and not
/// before its own `expires_at`. Derived, so that evidence renews every hold of its ticket without another
/// write; writing the result back as `expires_at` changes nothing.
#[must_use]
pub fn hold_ends_at(reservation: &Reservation, ticket: &Ticket, policy: &CarePolicy) -> Timestamp {
    reservation
        .expires_at
        .max(ticket.evidence_at.plus_hours(policy.soft_hold_hours))
}

/// What time and its ticket make of a reservation; `None`: nothing to do.
///
/// Soft becomes hard once a technician has accepted (or the ticket was reopened), or when the date the
/// parts are needed minus their lead time has passed. A soft hold of a new or triaged ticket expires when
/// the episode is not active and evidence has stayed away ([`hold_ends_at`]); once the ticket is sent out
/// it does not, so that nobody arrives without the part. A hold whose ticket has ended goes the way of
/// [`reservation_on_transition`].
#[must_use]
pub fn reservation_due(
    reservation: &Reservation,
    ticket: &Ticket,
    evidence_active: bool,
    lead_time_hours: f64,
    policy: &CarePolicy,
    now: Timestamp,
) -> Option<ReservationState> {
    if !reservation.state.is_live() {
        return None;
    }
    if !ticket.state.is_open() {
        return reservation_on_transition(reservation, ticket, &[]).map(|(state, _)| state);
    }
    if reservation.state != ReservationState::Soft {
        return None;
    }
    // A risen priority may have brought the ticket's date forward.
    let needed_at = reservation.needed_at.min(ticket.due_at);
    if now >= needed_at.plus_hours(-lead_time_hours) {
        return Some(ReservationState::Hard);
    }
    match ticket.state {
        TicketState::Accepted
        | TicketState::InProgress
        | TicketState::OnHold(_)
        | TicketState::Reopened => Some(ReservationState::Hard),
        TicketState::New | TicketState::Triaged => (!evidence_active
            && now >= hold_ends_at(reservation, ticket, policy))
        .then_some(ReservationState::Expired),
        TicketState::Dispatched
        | TicketState::Resolved
        | TicketState::Confirmed
        | TicketState::Closed
        | TicketState::Cancelled => None,
    }
}

/// What a change of its ticket does to a reservation: the new state and how many are used in all;
/// `None`: nothing. `parts_used` is what the technician reports as used in all; empty: nothing reported.
///
/// While the ticket is open only reported use counts. When it ends, what is reported is consumed and the
/// rest is given back (a list that does not name the part means none was used). Without a report a
/// confirmed fault or a part found to have life left consumed everything that was at hand, as did a
/// replacement elsewhere; any other end gives everything back.
///
/// One part may be split over several reservations: use [`settle`] for a ticket's reservations together.
#[must_use]
pub fn reservation_on_transition(
    reservation: &Reservation,
    ticket_after: &Ticket,
    parts_used: &[(PartNumber, u32)],
) -> Option<(ReservationState, u32)> {
    if !reservation.state.is_live() {
        return None;
    }
    let reported: Option<u32> = (!parts_used.is_empty()).then(|| {
        parts_used
            .iter()
            .filter(|(part, _)| *part == reservation.part)
            .fold(0_u32, |sum, (_, n)| sum.saturating_add(*n))
            .clamp(reservation.used, reservation.quantity.max(reservation.used))
    });
    if ticket_after.state.is_open() {
        let used = reported.filter(|used| *used > reservation.used)?;
        let state = if used >= reservation.quantity {
            ReservationState::Consumed
        } else {
            ReservationState::PartlyUsed
        };
        return Some((state, used));
    }
    let used = reported.unwrap_or_else(|| {
        if presumed_used(ticket_after) && at_hand(reservation, ticket_after) {
            reservation.quantity
        } else {
            reservation.used
        }
    });
    let state = if used > 0 {
        ReservationState::Consumed
    } else {
        ReservationState::Released
    };
    Some((state, used))
}

/// True where the way the ticket ended means that its parts were fitted.
fn presumed_used(ticket: &Ticket) -> bool {
    match &ticket.verdict {
        // The part "had" life left: it was exchanged. A part too few in the books is found at the next
        // count; a part too many would be promised to someone.
        Some(Verdict::Confirmed { .. } | Verdict::TooEarly) => true,
        Some(Verdict::WrongMode { .. } | Verdict::NoFaultFound | Verdict::DataFault) => false,
        None => close_reason(ticket) == Some(CloseReason::ReplacedElsewhere),
    }
}

/// True where the parts had arrived when the ticket ended.
fn at_hand(reservation: &Reservation, ticket: &Ticket) -> bool {
    match reservation.supply {
        Supply::Stock { .. } => true,
        Supply::Transfer { .. } | Supply::BackOrder { .. } => ticket
            .history
            .last()
            .is_some_and(|change| reservation.available_at <= change.at),
    }
}

/// What a change of their ticket does to all its `reservations`: id, new state and how many are used in
/// all, for those that change. Reported use is spread over the reservations of a part in the order given,
/// what is used already first; use beyond what was reserved is not booked here.
#[must_use]
pub fn settle(
    reservations: &[Reservation],
    ticket_after: &Ticket,
    parts_used: &[(PartNumber, u32)],
) -> Vec<(ReservationId, ReservationState, u32)> {
    if parts_used.is_empty() {
        return reservations
            .iter()
            .filter_map(|r| {
                let (state, used) = reservation_on_transition(r, ticket_after, &[])?;
                Some((r.id, state, used))
            })
            .collect();
    }
    let mut changes = Vec::new();
    // Not yet attributed, per line of the report; parts of reservations that are over count as attributed.
    let mut left: Vec<(PartNumber, u32)> = parts_used.to_vec();
    for r in reservations {
        take(&mut left, &r.part, r.used);
    }
    for r in reservations.iter().filter(|r| r.state.is_live()) {
        let more = take(&mut left, &r.part, r.quantity.saturating_sub(r.used));
        let report = [(r.part.clone(), r.used.saturating_add(more))];
        if let Some((state, used)) = reservation_on_transition(r, ticket_after, &report) {
            changes.push((r.id, state, used));
        }
    }
    changes
}

/// Takes up to `wanted` of `part` out of `left`; how many it got.
fn take(left: &mut [(PartNumber, u32)], part: &PartNumber, wanted: u32) -> u32 {
    let mut taken = 0;
    for (_, n) in left.iter_mut().filter(|(p, _)| p == part) {
        let step = (*n).min(wanted - taken);
        *n -= step;
        taken += step;
    }
    taken
}
