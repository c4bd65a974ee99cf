//! A ticket's beginning, what it needs, and evidence that comes again.

use forecare_catalogue::{Catalogue, FailureMode};
use forecare_domain::{
    Asset, Decision, DepotName, PartNumber, Priority, Reservation, Ticket, TicketChange, TicketId,
    TicketState, Timestamp,
};

use crate::dispatch::{Candidate, candidates};
use crate::lifecycle::{cut, forecare, record};
use crate::urgency::{due_at, priority};
use crate::{Assessment, CarePolicy};

/// Most candidates for dispatch named in the history.
const CANDIDATES_NAMED_MAX: usize = 3;

/// A ticket to be stored, together with what is to be reserved for it.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTicket {
    /// The ticket; its id and version are 0 until the store gives them.
    pub ticket: Ticket,
    /// The parts to allocate, in the order of the failure mode's bill of parts.
    pub needs: Vec<Need>,
}

/// A number of one part that a ticket needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Need {
    /// The part.
    pub part: PartNumber,
    /// How many. At least 1.
    pub quantity: u32,
    /// The depot that serves the asset.
    pub depot: DepotName,
    /// When the work must start at the latest.
    pub needed_at: Timestamp,
    /// The supplier's lead time, hours.
    pub lead_time_hours: f64,
    /// The ticket's priority; decides pre-emption.
    pub priority: Priority,
    /// When a soft hold ends unless evidence comes again.
    pub soft_until: Timestamp,
}

/// The ticket that `decision` (one that acts) calls for, and its needs. It opens at the decision's time;
/// `load` is the number of open tickets per technician, for the proposal of who is to do it.
///
/// `detected_at` is the time of the assessment's reading: set it to the episode's first reading where
/// that is known.
#[must_use]
pub fn open_ticket(
    catalogue: &Catalogue,
    asset: &Asset,
    mode: &FailureMode,
    assessment: &Assessment<'_>,
    decision: &Decision,
    load: &[(String, u32)],
    policy: &CarePolicy,
) -> NewTicket {
    let now = decision.at;
    let priority = priority(decision, assessment.severity, assessment.rul, policy);
    let due = due_at(
        decision,
        assessment.rul,
        priority,
        mode.work_hours,
        policy,
        now,
    );
    let depot = serving_depot(catalogue, asset);
    let proposed = candidates(
        &catalogue.technicians,
        &mode.skills,
        depot,
        load,
        policy.away_counts_as_tickets,
    );
    let ticket = Ticket {
        id: TicketId(0),
        version: 0,
        asset: asset.id.clone(),
        device: asset.device.clone(),
        mode: mode.name.clone(),
        state: TicketState::New,
        priority,
        title: format!(
            "{}: {} ({}) expected within {:.0} h",
            asset.name, mode.title, mode.iso14224, decision.horizon_hours
        ),
        procedure: mode.procedure.clone(),
        skills: mode.skills.clone(),
        technician: proposed.first().map(|c| c.technician.name.clone()),
        detected_at: assessment.reading_ts,
        opened_at: now,
        due_at: due,
        evidence_at: now,
        decision: decision.clone(),
        contributions: assessment.contributions.to_vec(),
        rul: assessment.rul.clone(),
        verdict: None,
        history: vec![TicketChange {
            at: now,
            by: forecare(),
            from: None,
            to: TicketState::New,
            why: cut(&format!("{} {}", decision.why, proposal(&proposed))),
        }],
    };
    let needs = needs_of(catalogue, asset, mode, &ticket, policy, now);
    NewTicket { ticket, needs }
}

/// The depot that serves `asset`: its own where the catalogue has it, else the first.
fn serving_depot<'a>(catalogue: &'a Catalogue, asset: &Asset) -> Option<&'a DepotName> {
    let own = |name: &&DepotName| asset.depot.as_ref() == Some(*name);
    let mut names = catalogue.depots.iter().map(|d| &d.name);
    names.clone().find(own).or_else(|| names.next())
}

fn proposal(candidates: &[Candidate<'_>]) -> String {
    if candidates.is_empty() {
        return "No technician has the skills.".to_owned();
    }
    let named: Vec<String> = candidates
        .iter()
        .take(CANDIDATES_NAMED_MAX)
        .map(|c| {
            format!(
                "{} (depot {}, {} open tickets, score {})",
                c.technician.name, c.technician.depot, c.open_tickets, c.score
            )
        })
        .collect();
    format!("Proposed for the work, best first: {}.", named.join(", "))
}

/// The parts that `ticket` needs by its due date, whatever is reserved already.
#[must_use]
pub fn needs_of(
    catalogue: &Catalogue,
    asset: &Asset,
    mode: &FailureMode,
    ticket: &Ticket,
    policy: &CarePolicy,
    now: Timestamp,
) -> Vec<Need> {
    let Some(depot) = serving_depot(catalogue, asset) else {
        return Vec::new();
    };
    mode.parts
        .iter()
        .filter_map(|p| Some((p, catalogue.part(&p.part)?)))
        .map(|(need, part)| Need {
            part: need.part.clone(),
            quantity: need.quantity,
            depot: depot.clone(),
            needed_at: ticket.due_at.plus_hours(-mode.work_hours).max(now),
            lead_time_hours: part.lead_time_hours,
            priority: ticket.priority,
            soft_until: now.plus_hours(policy.soft_hold_hours),
        })
        .collect()
}

/// What of `needs` ([`needs_of`] the ticket) its `reservations` do not cover: to be allocated anew after a
/// hold was pre-empted or ran out, when evidence comes again, or on reopening. Parts that are used cover
/// their need, unless the ticket has been reopened since they were reserved: the fault is back.
#[must_use]
pub fn outstanding(ticket: &Ticket, needs: &[Need], reservations: &[Reservation]) -> Vec<Need> {
    let reopened_at = ticket
        .history
        .iter()
        .rev()
        .find(|change| change.to == TicketState::Reopened)
        .map(|change| change.at);
    let covers = |r: &Reservation| {
        if r.state.is_live() {
            r.quantity
        } else if reopened_at.is_none_or(|at| r.reserved_at >= at) {
            r.used
        } else {
            0
        }
    };
    let mut open = Vec::new();
    for (line, need) in needs.iter().enumerate() {
        // Two lines of the bill may name the same part: the earlier one takes its share first.
        let before: u32 = needs[..line]
            .iter()
            .filter(|n| n.part == need.part)
            .map(|n| n.quantity)
            .sum();
        let covered: u32 = reservations
            .iter()
            .filter(|r| r.part == need.part)
            .map(covers)
            .sum();
        let missing = need.quantity.saturating_sub(covered.saturating_sub(before));
        if missing > 0 {
            open.push(Need {
                quantity: missing,
                ..need.clone()
            });
        }
    }
    open
}

/// An open `ticket` after evidence came again: `evidence_at` is renewed. Where the new `decision` acts and
/// calls for a higher priority, priority and due date tighten (never the reverse), with an entry in the
/// history. The version stays the one it was read with. `None`: the ticket is not open, or nothing changes.
#[must_use]
pub fn evidence_again(
    ticket: &Ticket,
    mode: &FailureMode,
    assessment: &Assessment<'_>,
    decision: &Decision,
    policy: &CarePolicy,
    now: Timestamp,
) -> Option<Ticket> {
    if !ticket.state.is_open() {
        return None;
    }
    let mut after = ticket.clone();
    after.evidence_at = ticket.evidence_at.max(now);
    let called_for = priority(decision, assessment.severity, assessment.rul, policy);
    if decision.act && called_for < ticket.priority {
        let due = due_at(
            decision,
            assessment.rul,
            called_for,
            mode.work_hours,
            policy,
            now,
        );
        after.priority = called_for;
        after.due_at = ticket.due_at.min(due);
        let why = format!(
            "priority {:?} to {called_for:?}, due {}: {}",
            ticket.priority, after.due_at, decision.why
        );
        record(&mut after, ticket.state, forecare(), &why, now);
    }
    if after == *ticket {
        return None;
    }
    Some(after)
}

/// An open `ticket` after its episode ended at `at`: until then there was evidence, however long ago it was
/// last assessed; the time to withdrawal starts here. `None`: nothing changes.
#[must_use]
pub fn evidence_ended(ticket: &Ticket, at: Timestamp) -> Option<Ticket> {
    (ticket.state.is_open() && at > ticket.evidence_at).then(|| Ticket {
        evidence_at: at,
        ..ticket.clone()
    })
}
