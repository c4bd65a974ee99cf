//! What people are told of when a ticket is stored. Adapters call this inside the transaction that stores it, so that
//! whatever path a change takes, nothing is forgotten and nothing is told that did not happen.

use crate::appointments::agreed_start;
use forecare_domain::{
    Actor, Notice, NoticeKind, Reservation, ShortPart, SlaPoint, Ticket, TicketState, Timestamp,
};

use crate::automation::chain_of;

/// What there is to tell once `after` (with the version it is stored under) has taken the place of `before`; `None`: it
/// was opened. In the order in which it is to be told. A new proposal of the dispatcher alone is nothing to tell.
#[must_use]
pub fn notices_of(before: Option<&Ticket>, after: &Ticket, at: Timestamp) -> Vec<Notice> {
    let automation = by_rules(before, after);
    let mut notices = Vec::new();
    let mut tell = |what, detail: &str| {
        let mut notice = Notice::of(after, what, detail, at);
        notice.automation.clone_from(&automation);
        notices.push(notice);
    };
    let said = before
        .and_then(|b| b.sla.as_ref())
        .map_or(&[][..], |sla| &sla.said);
    for key in after.sla.iter().flat_map(|sla| &sla.said) {
        if said.contains(key) {
            continue;
        }
        let clock = key.clock;
        match key.point {
            SlaPoint::Mark(percent) => tell(
                NoticeKind::SlaMark { clock, percent },
                &format!(".{}.{percent}", clock.label()),
            ),
            SlaPoint::Level(level) => tell(
                NoticeKind::SlaEscalated { clock, level },
                &format!(".{}.{level}", clock.label()),
            ),
        }
    }
    match before {
        None => {
            tell(NoticeKind::TicketOpened, "");
            if after.work.contact.is_some() {
                tell(NoticeKind::TicketReceived, "");
            }
        }
        Some(before) if before.state != after.state => tell(moved(before.state, after.state), ""),
        Some(before) if before.priority != after.priority => {
            tell(NoticeKind::TicketChanged { from: before.state }, "");
        }
        Some(before) if is_message(before, after) => tell(NoticeKind::TicketMessage, ""),
        Some(_) => {}
    }
    if let Some(technician) = &after.technician
        && is_newly_assigned(before, after)
    {
        let technician = technician.clone();
        tell(NoticeKind::TicketAssigned { technician }, "");
    }
    if is_taken_up(before, after) {
        tell(NoticeKind::VisitOffered, "");
    }
    if let Some(start_at) = visit_start(after)
        && before.and_then(visit_start) != Some(start_at)
    {
        tell(NoticeKind::VisitPlanned { start_at }, "");
    }
    notices
}

/// The rules of automation behind the step from `before`; empty: none. What fell due on a clock by the step stands in
/// the history after it.
fn by_rules(before: Option<&Ticket>, after: &Ticket) -> Vec<String> {
    let known = before.and_then(|b| b.history.last());
    let lines = after.history.iter().rev();
    let new = lines.take_while(|line| Some(*line) != known);
    new.map(|line| chain_of(&line.by))
        .find(|rules| !rules.is_empty())
        .unwrap_or_default()
}

/// That parts of `reservations`, which `ticket` has just got, arrive after they are needed; `None`: all are in time.
#[must_use]
pub fn parts_short(ticket: &Ticket, reservations: &[Reservation], at: Timestamp) -> Option<Notice> {
    let late = |r: &&Reservation| r.state.is_live() && r.available_at > r.needed_at;
    let parts: Vec<ShortPart> = reservations
        .iter()
        .filter(late)
        .map(|r| ShortPart {
            part: r.part.clone(),
            instead_of: r.instead_of.clone(),
            quantity: r.quantity - r.used,
            needed_at: r.needed_at,
            available_at: r.available_at,
        })
        .collect();
    // The reservations tell one such notice from another of the same version.
    let first = reservations.iter().find(late)?.id;
    let what = NoticeKind::PartsShort { parts };
    Some(Notice::of(ticket, what, &format!(".{first}"), at))
}

/// That we answered the customer on `ticket`. Written with the note, which changes nothing else of the ticket: time and
/// text tell one such notice from another of the same version.
#[must_use]
pub(crate) fn replied(ticket: &Ticket, text: &str, by: &Actor, at: Timestamp) -> Notice {
    // FNV-1a.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let what = NoticeKind::TicketReplied {
        text: text.to_owned(),
        by: by.name.clone(),
    };
    let detail = format!(".{}-{:08x}", at.as_millis(), hash >> 32);
    Notice::of(ticket, what, &detail, at)
}

/// When the work on a ticket that was sent out is to begin; `None`: it is not, or nobody knows.
#[must_use]
pub fn visit_start(ticket: &Ticket) -> Option<Timestamp> {
    if !matches!(
        ticket.state,
        TicketState::Dispatched | TicketState::Accepted
    ) {
        return None;
    }
    let laid_down = ticket.assignment.as_ref().and_then(|a| a.start_at);
    let planned = ticket.proposal.as_ref().and_then(|p| p.assigned.as_ref());
    laid_down.or_else(|| planned.map(|assigned| assigned.start_at))
}

fn moved(from: TicketState, to: TicketState) -> NoticeKind {
    match to {
        TicketState::Resolved => NoticeKind::TicketResolved,
        TicketState::Closed | TicketState::Cancelled => NoticeKind::TicketClosed,
        TicketState::New
        | TicketState::Triaged
        | TicketState::Dispatched
        | TicketState::Accepted
        | TicketState::InProgress
        | TicketState::OnHold(_)
        | TicketState::Confirmed
        | TicketState::Reopened => NoticeKind::TicketChanged { from },
    }
}

/// Somebody says that there is work to be done, and no time for it is laid down.
fn is_taken_up(before: Option<&Ticket>, after: &Ticket) -> bool {
    let was = before.map(|b| b.state);
    after.state == TicketState::Triaged
        && matches!(was, None | Some(TicketState::New | TicketState::Reopened))
        && agreed_start(after).is_none()
}

/// A customer said something, and nothing else changed.
fn is_message(before: &Ticket, after: &Ticket) -> bool {
    let last = after.history.last();
    let is_new = last != before.history.last() || after.history.len() != before.history.len();
    is_new && last.is_some_and(|c| c.by.is_customer() && c.from == Some(c.to))
}

/// Sent out, or laid down by a planner: what the dispatcher merely proposes changes from hour to hour. Who has it and is to
/// begin at that time was told before: laid down, agreed with the customer and sent out is told once.
fn is_newly_assigned(before: Option<&Ticket>, after: &Ticket) -> bool {
    let Some((technician, start_at)) = told_to_do(after) else {
        return false;
    };
    match before.and_then(told_to_do) {
        Some((known, known_at)) => {
            technician != known || (start_at.is_some() && start_at != known_at)
        }
        None => true,
    }
}

/// Who has been told to do the work, and when it is to begin, as far as that is laid down; `None`: nobody.
#[must_use]
pub fn told_to_do(ticket: &Ticket) -> Option<(&str, Option<Timestamp>)> {
    let mut lines = ticket.history.iter().rev();
    let reopened = lines.find(|c| c.to == TicketState::Reopened && c.from != Some(c.to));
    // What was laid down for the visit before says nothing of this one.
    let holds = |at: Timestamp| reopened.is_none_or(|since| at >= since.at);
    let laid_down = ticket.assignment.as_ref().filter(|a| holds(a.at));
    let is_sent = !matches!(
        ticket.state,
        TicketState::New | TicketState::Triaged | TicketState::Reopened
    );
    if !ticket.state.is_open() || !(is_sent || laid_down.is_some()) {
        return None;
    }
    let technician = ticket.technician.as_deref()?;
    let start_at = laid_down.and_then(|a| a.start_at);
    Some((technician, start_at.or_else(|| visit_start(ticket))))
}

#[cfg(test)]
mod tests {
    use forecare_domain::{DispatchOverride, Priority};

    use super::*;
    use crate::fixtures::{TO_WORK, at, confirmed, resolved, ticket, walked};
    use crate::lifecycle::forecare;

    fn kinds(before: Option<&Ticket>, after: &Ticket) -> Vec<&'static str> {
        let notices = notices_of(before, after, at(1.0));
        notices.iter().map(|n| n.what.label()).collect()
    }

    #[test]
    fn every_step_of_a_life_is_told_once() {
        let mut before = ticket();
        assert_eq!(kinds(None, &before), ["ticket.opened"]);
        for n in 1..=TO_WORK.len() {
            let after = walked(&TO_WORK[..n], &confirmed());
            let told = kinds(Some(&before), &after);
            assert_eq!(told[0], "ticket.changed", "{n}");
            before = after;
        }
        assert_eq!(
            kinds(Some(&before), &resolved(&confirmed())),
            ["ticket.resolved"]
        );
        assert_eq!(kinds(Some(&before), &before), [] as [&str; 0]);
    }

    #[test]
    fn a_planners_word_is_told_once_and_a_visit_when_it_moves() {
        let before = walked(&TO_WORK[..1], &confirmed());
        let mut after = walked(&TO_WORK[..2], &confirmed());
        assert_eq!(after.state, TicketState::Dispatched);
        after.technician = Some("Cy".to_owned());
        after.assignment = Some(DispatchOverride {
            technician: "Cy".to_owned(),
            start_at: Some(at(9.0)),
            why: "knows it".to_owned(),
            by: forecare(),
            at: at(1.0),
        });
        assert_eq!(
            kinds(Some(&before), &after),
            ["ticket.changed", "ticket.assigned", "visit.planned"]
        );
        let mut later = after.clone();
        later.version += 1;
        later.assignment.as_mut().unwrap().start_at = Some(at(10.0));
        assert_eq!(
            kinds(Some(&after), &later),
            ["ticket.assigned", "visit.planned"]
        );
        let ids = |t: &Ticket, b: &Ticket| {
            let notices = notices_of(Some(b), t, at(1.0));
            notices.into_iter().map(|n| n.id).collect::<Vec<_>>()
        };
        let mut all = ids(&after, &before);
        all.extend(ids(&later, &after));
        let n = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), n, "ids are unique");
    }

    #[test]
    fn who_was_told_is_told_again_only_when_who_or_when_changes() {
        let told = |before: &Ticket, after: &Ticket| {
            kinds(Some(before), after).contains(&"ticket.assigned")
        };
        let lay_down = |t: &Ticket, technician: &str, start_at| {
            let mut after = t.clone();
            after.version += 1;
            after.technician = Some(technician.to_owned());
            after.assignment = Some(DispatchOverride {
                technician: technician.to_owned(),
                start_at,
                why: "so".to_owned(),
                by: forecare(),
                at: at(1.0),
            });
            after
        };
        let triaged = walked(&TO_WORK[..1], &confirmed());
        let laid_down = lay_down(&triaged, "Cy", Some(at(9.0)));
        assert!(told(&triaged, &laid_down));
        let by_customer = lay_down(&laid_down, "Cy", Some(at(9.0)));
        assert!(!told(&laid_down, &by_customer));
        let sent = lay_down(&walked(&TO_WORK[..2], &confirmed()), "Cy", Some(at(9.0)));
        assert!(!told(&by_customer, &sent));
        assert!(told(&sent, &lay_down(&sent, "Cy", Some(at(10.0)))));
        assert!(told(&sent, &lay_down(&sent, "Di", Some(at(9.0)))));
        assert!(
            told(&triaged, &walked(&TO_WORK[..2], &confirmed())) == triaged.technician.is_some()
        );
    }

    #[test]
    fn who_asked_by_mail_is_told_that_it_has_come() {
        let mut asked = ticket();
        asked.work.contact = Some(forecare_domain::ContactRef {
            customer: "acme".to_owned(),
            contact: "ada".to_owned(),
        });
        assert_eq!(kinds(None, &asked), ["ticket.opened", "ticket.received"]);
        assert_eq!(kinds(Some(&asked), &asked), [] as [&str; 0]);
    }

    #[test]
    fn another_priority_is_a_change() {
        let before = ticket();
        let mut after = before.clone();
        after.priority = Priority::P1;
        assert_eq!(
            kinds(Some(&before), &after),
            if before.priority == Priority::P1 {
                vec![]
            } else {
                vec!["ticket.changed"]
            }
        );
    }
}
