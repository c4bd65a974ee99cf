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
/// evidence has stayed away ([`hold_ends_at`]); once the ticket is sent out it does not, so that nobody
/// arrives without the part. The reservations of an ended ticket are [`settle`]'s.
///
/// `evidence_active`: the episode is active, or nothing is known of it because the device is silent; then
/// no hold expires.
#[must_use]
pub fn reservation_due(
    reservation: &Reservation,
    ticket: &Ticket,
    evidence_active: bool,
    lead_time_hours: f64,
    policy: &CarePolicy,
    now: Timestamp,
) -> Option<ReservationState> {
    if reservation.state != ReservationState::Soft || !ticket.state.is_open() {
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
        Some(Verdict::Confirmed { .. } | Verdict::TooEarly | Verdict::Done) => true,
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

/// A hold that is to keep `keep`: how many it is for, and its state. What is used of it stays; `None`: it is over, or holds no
/// more than that.
#[must_use]
pub fn cut_down(r: &Reservation, keep: u32) -> Option<(u32, ReservationState)> {
    let keep = keep.max(r.used);
    if !r.state.is_live() || keep >= r.quantity {
        return None;
    }
    Some(match keep {
        // A hold is for at least one.
        0 => (r.quantity, ReservationState::Released),
        _ if keep == r.used => (keep, ReservationState::Consumed),
        _ => (keep, r.state),
    })
}

/// What a change of their ticket does to all its `reservations`: id, new state and how many are used in
/// all, for those that change. Reported use is spread over the reservations of a part in the order given,
/// what is used already first; use beyond what was reserved is not booked here, see [`unbooked`]. A part that stands in for another may be
/// reported under either number.
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
    let (more, _) = spread(reservations, parts_used);
    let live = reservations.iter().zip(more);
    for (r, more) in live.filter(|(r, _)| r.state.is_live()) {
        let report = [(r.part.clone(), r.used.saturating_add(more))];
        if let Some((state, used)) = reservation_on_transition(r, ticket_after, &report) {
            changes.push((r.id, state, used));
        }
    }
    changes
}

/// Of `parts_used`, reported in all so far, what is neither held by `reservations`, a ticket's, nor was handed out to it:
/// nobody knows from where it was taken.
#[must_use]
pub fn unbooked(
    reservations: &[Reservation],
    parts_used: &[(PartNumber, u32)],
) -> Vec<(PartNumber, u32)> {
    let (_, mut left) = spread(reservations, parts_used);
    left.retain(|(_, n)| *n > 0);
    left
}

/// How many more each reservation gives to what was reported, and what of the report is left. Parts of reservations that
/// are over count as attributed. A part that stands in for another may be reported under either number: its own is
/// looked for first.
fn spread(
    reservations: &[Reservation],
    parts_used: &[(PartNumber, u32)],
) -> (Vec<u32>, Vec<(PartNumber, u32)>) {
    let mut left: Vec<(PartNumber, u32)> = parts_used.to_vec();
    let mut share = |of: &dyn Fn(&Reservation) -> u32| -> Vec<u32> {
        let own = reservations.iter().map(|r| take(&mut left, &r.part, of(r)));
        let mut shares: Vec<u32> = own.collect();
        for (r, share) in reservations.iter().zip(&mut shares) {
            if let Some(wanted) = &r.instead_of {
                *share += take(&mut left, wanted, of(r) - *share);
            }
        }
        shares
    };
    share(&|r| r.used);
    let more = share(&|r| {
        if r.state.is_live() {
            r.quantity.saturating_sub(r.used)
        } else {
            0
        }
    });
    (more, left)
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

#[cfg(test)]
mod tests {
    use forecare_domain::{ModeName, Priority};
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{
        TO_WORK, at, confirmed, depot, part, resolved, soft_hold, ticket, walked,
    };
    use crate::{replaced_elsewhere, withdraw_due};

    #[test]
    fn what_was_neither_held_nor_handed_out_is_named() {
        let held = Reservation { used: 1, ..hold() };
        let held_part = held.part.clone();
        let told = |parts: &[(PartNumber, u32)]| unbooked(std::slice::from_ref(&held), parts);
        assert_eq!(told(&[(held_part.clone(), 2)]), []);
        assert_eq!(told(&[(held_part.clone(), 5)]), [(held_part.clone(), 3)]);
        let unknown = part("OTHER-1");
        assert_eq!(told(&[(unknown.clone(), 1)]), [(unknown, 1)]);
        let released = Reservation {
            state: ReservationState::Released,
            used: 0,
            ..hold()
        };
        assert_eq!(
            unbooked(&[released], &[(held_part.clone(), 1)]),
            [(held_part, 1)]
        );
    }

    /// A hold of 2, made at hour 0, needed at hour 44 (the ticket is due at 48), held until 72.
    fn hold() -> Reservation {
        soft_hold(1, 2, Priority::P2)
    }

    fn due(ticket: &Ticket, active: bool, lead: f64, hours: f64) -> Option<ReservationState> {
        reservation_due(
            &hold(),
            ticket,
            active,
            lead,
            &CarePolicy::default(),
            at(hours),
        )
    }

    #[test]
    fn a_hold_hardens_when_a_later_order_would_come_too_late() {
        assert_eq!(due(&ticket(), true, 30.0, 13.9), None);
        assert_eq!(
            due(&ticket(), true, 30.0, 14.0),
            Some(ReservationState::Hard)
        );
        let mut sooner = ticket();
        sooner.due_at = at(40.0);
        assert_eq!(due(&sooner, true, 30.0, 10.0), Some(ReservationState::Hard));
    }

    #[test]
    fn acceptance_hardens() {
        assert_eq!(
            due(&walked(&TO_WORK[..2], &confirmed()), true, 0.0, 3.0),
            None
        );
        for n in 3..=4 {
            let t = walked(&TO_WORK[..n], &confirmed());
            assert_eq!(due(&t, true, 0.0, 4.0), Some(ReservationState::Hard));
        }
    }

    /// [`ticket`] with work that lies far ahead, so that nothing hardens by date.
    fn distant(mut ticket: Ticket) -> (Reservation, Ticket) {
        ticket.due_at = at(1e4);
        let mut r = hold();
        r.needed_at = at(1e4);
        (r, ticket)
    }

    #[test]
    fn a_hold_expires_only_when_evidence_has_stayed_away() {
        let (r, mut t) = distant(ticket());
        let policy = CarePolicy::default();
        let due = |t: &Ticket, active, h| reservation_due(&r, t, active, 30.0, &policy, at(h));
        assert_eq!(due(&t, false, 71.9), None);
        assert_eq!(due(&t, false, 72.0), Some(ReservationState::Expired));
        assert_eq!(due(&t, true, 500.0), None);
        t.evidence_at = at(100.0);
        assert_eq!(hold_ends_at(&r, &t, &policy), at(172.0));
        assert_eq!(due(&t, false, 171.9), None);
        assert_eq!(due(&t, false, 172.0), Some(ReservationState::Expired));
    }

    #[test]
    fn nobody_is_sent_out_and_loses_the_part() {
        let (r, sent) = distant(walked(&TO_WORK[..2], &confirmed()));
        let policy = CarePolicy::default();
        assert_eq!(
            reservation_due(&r, &sent, false, 30.0, &policy, at(5e3)),
            None
        );
    }

    #[test]
    fn what_is_over_stays_over() {
        for state in [
            ReservationState::Consumed,
            ReservationState::Released,
            ReservationState::Expired,
        ] {
            let mut r = hold();
            r.state = state;
            let policy = CarePolicy::default();
            assert_eq!(
                reservation_due(&r, &ticket(), false, 30.0, &policy, at(1e4)),
                None
            );
            let end = resolved(&confirmed());
            assert_eq!(reservation_on_transition(&r, &end, &[]), None);
        }
    }

    fn ended(verdict: Verdict) -> Option<(ReservationState, u32)> {
        reservation_on_transition(&hold(), &resolved(&verdict), &[])
    }

    #[test]
    fn without_a_report_the_verdict_decides() {
        let consumed = Some((ReservationState::Consumed, 2));
        let released = Some((ReservationState::Released, 0));
        assert_eq!(ended(confirmed()), consumed);
        assert_eq!(ended(Verdict::TooEarly), consumed);
        assert_eq!(ended(Verdict::NoFaultFound), released);
        assert_eq!(ended(Verdict::DataFault), released);
        let actual = ModeName::new("seal-leak").unwrap();
        assert_eq!(ended(Verdict::WrongMode { actual }), released);
    }

    #[test]
    fn a_report_overrules_the_verdict() {
        let report = |r: &Reservation, v: &Verdict, used| {
            reservation_on_transition(r, &resolved(v), &[used])
        };
        let one = (part("BRG-1"), 1);
        let consumed_one = Some((ReservationState::Consumed, 1));
        assert_eq!(report(&hold(), &confirmed(), one.clone()), consumed_one);
        assert_eq!(report(&hold(), &Verdict::NoFaultFound, one), consumed_one);
        let others_only = (part("SEAL-1"), 1);
        let released = Some((ReservationState::Released, 0));
        assert_eq!(report(&hold(), &confirmed(), others_only), released);
    }

    #[test]
    fn a_part_that_has_not_arrived_is_not_presumed_used() {
        let mut ordered = hold();
        ordered.supply = Supply::BackOrder { to: depot("north") };
        let end = resolved(&confirmed());
        ordered.available_at = at(5.0);
        let on = |r: &Reservation| reservation_on_transition(r, &end, &[]).unwrap().0;
        assert_eq!(on(&ordered), ReservationState::Consumed);
        ordered.available_at = at(5.1);
        assert_eq!(on(&ordered), ReservationState::Released);
    }

    #[test]
    fn a_withdrawn_ticket_gives_back_and_a_replacement_elsewhere_consumes() {
        let policy = CarePolicy::default();
        let withdrawn = withdraw_due(&ticket(), false, &policy, at(72.0)).unwrap();
        let replaced = replaced_elsewhere(&ticket(), at(9.0)).unwrap();
        for (t, expected) in [
            (withdrawn, (ReservationState::Released, 0)),
            (replaced, (ReservationState::Consumed, 2)),
        ] {
            assert_eq!(reservation_on_transition(&hold(), &t, &[]), Some(expected));
            let swept = reservation_due(&hold(), &t, false, 30.0, &policy, at(99.0));
            assert_eq!(swept, None);
        }
    }

    #[test]
    fn use_during_the_work_is_booked_as_it_comes() {
        let working = walked(&TO_WORK, &confirmed());
        let on = |r: &Reservation, n| reservation_on_transition(r, &working, &[(part("BRG-1"), n)]);
        assert_eq!(on(&hold(), 0), None);
        assert_eq!(on(&hold(), 1), Some((ReservationState::PartlyUsed, 1)));
        assert_eq!(on(&hold(), 2), Some((ReservationState::Consumed, 2)));
        let mut partly = hold();
        (partly.state, partly.used) = (ReservationState::PartlyUsed, 1);
        assert_eq!(on(&partly, 1), None);
        assert_eq!(reservation_on_transition(&partly, &working, &[]), None);
    }

    #[test]
    fn what_stands_in_for_another_part_is_reported_under_either_number() {
        let mut new = soft_hold(2, 1, Priority::P2);
        new.part = part("BRG-2");
        new.instead_of = Some(part("BRG-1"));
        let held = [soft_hold(1, 1, Priority::P2), new];
        let used = |report: &[(&str, u32)]| -> Vec<u32> {
            let report: Vec<_> = report.iter().map(|(p, n)| (part(p), *n)).collect();
            let changes = settle(&held, &resolved(&confirmed()), &report);
            changes.into_iter().map(|(.., used)| used).collect()
        };
        assert_eq!(used(&[("BRG-1", 2)]), [1, 1]);
        assert_eq!(used(&[("BRG-1", 1)]), [1, 0], "its own number first");
        assert_eq!(used(&[("BRG-2", 1)]), [0, 1]);
        assert_eq!(used(&[("BRG-1", 1), ("BRG-2", 1)]), [1, 1]);
        let mut partly = held.clone();
        partly[1].quantity = 3;
        partly[1].used = 1;
        let changes = settle(&partly, &resolved(&confirmed()), &[(part("BRG-1"), 3)]);
        let used: Vec<u32> = changes.into_iter().map(|(.., used)| used).collect();
        assert_eq!(used, [1, 2], "what was used already counts once");
    }

    proptest! {
        #[test]
        fn reported_use_is_booked_once_over_a_split_part(
            quantities in prop::collection::vec((1..5_u32, 0..5_u32), 0..5),
            more in 0..25_u32,
            ends in any::<bool>(),
        ) {
            let held: Vec<Reservation> = (1..).zip(&quantities).map(|(id, (quantity, used))| {
                let mut r = soft_hold(id, *quantity, Priority::P2);
                r.used = (*used).min(quantity - 1);
                r.state = if r.used > 0 { ReservationState::PartlyUsed } else { ReservationState::Hard };
                r
            }).collect();
            let total: u32 = held.iter().map(|r| r.quantity).sum();
            let used_before: u32 = held.iter().map(|r| r.used).sum();
            let reported = used_before + more;
            let t = if ends { resolved(&confirmed()) } else { walked(&TO_WORK, &confirmed()) };
            let changes = settle(&held, &t, &[(part("BRG-1"), reported)]);
            let mut used_after = used_before;
            for (id, state, used) in &changes {
                let r = held.iter().find(|r| r.id == *id).unwrap();
                prop_assert!(*used >= r.used && *used <= r.quantity);
                prop_assert!(!ends || !state.is_live());
                used_after += used - r.used;
            }
            prop_assert_eq!(used_after, reported.min(total));
            if ends {
                prop_assert_eq!(changes.len(), held.len());
            }
        }

        #[test]
        fn settling_without_a_report_follows_the_single_rule(ids in 0..5_i64) {
            let held: Vec<Reservation> = (0..ids).map(|id| soft_hold(id, 2, Priority::P2)).collect();
            for t in [ticket(), resolved(&confirmed()), resolved(&Verdict::NoFaultFound)] {
                let expected: Vec<_> = held.iter().filter_map(|r| {
                    let (state, used) = reservation_on_transition(r, &t, &[])?;
                    Some((r.id, state, used))
                }).collect();
                prop_assert_eq!(settle(&held, &t, &[]), expected);
            }
        }
    }
}
