//! A ticket's beginning, what it needs, and evidence that comes again.

use std::collections::BTreeMap;

use forecare_catalogue::{Catalogue, FailureMode};
use forecare_domain::{
    Asset, Decision, DepotName, Origin, PartNumber, Priority, Reservation, ReservationId, Supply,
    Ticket, TicketChange, TicketId, TicketKind, TicketState, TicketWork, Timestamp,
};

use crate::dispatch::{Candidate, Crew, candidates};
use crate::lifecycle::{cut, forecare, record};
use crate::urgency::{Footing, due_at, due_by, priority, priority_in_words};
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
    /// The supplier's lead time, hours; of a superseded part, of the one that is ordered in its place.
    pub lead_time_hours: f64,
    /// The ticket's priority; decides pre-emption.
    pub priority: Priority,
    /// When a soft hold ends unless evidence comes again.
    pub soft_until: Timestamp,
}

/// The ticket that `decision` (one that acts) calls for, and its needs. It opens at the decision's time;
/// `crew` is for the proposal of who is to do it.
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
    crew: Crew<'_>,
    footing: Footing<'_>,
) -> NewTicket {
    let now = decision.at;
    let Footing { policy, terms, .. } = footing;
    let (severity, rul) = (assessment.severity, assessment.rul);
    let priority = priority(decision, mode, severity, rul, footing);
    let weighed = priority_in_words(decision, mode, severity, rul, footing);
    let by = due_by(decision, assessment.rul, mode.work_hours, now);
    let due = due_at(Some(by), terms, priority, now);
    let depot = serving_depot(catalogue, asset);
    let proposed = candidates(
        crew.technicians,
        &mode.skills,
        depot,
        crew.load,
        policy.away_counts_as_tickets,
    );
    let ticket = Ticket {
        id: TicketId(0),
        version: 0,
        asset: asset.id.clone(),
        device: asset.device.clone(),
        kind: TicketKind::predictive(),
        origin: Origin::Alarm,
        mode: Some(mode.name.clone()),
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
        decision: Some(decision.clone()),
        contributions: assessment.contributions.to_vec(),
        rul: assessment.rul.clone(),
        verdict: None,
        history: vec![TicketChange {
            at: now,
            by: forecare(),
            from: None,
            to: TicketState::New,
            why: cut(&format!(
                "{} {weighed}. {}",
                decision.why,
                proposal(&proposed)
            )),
        }],
        sla: None,
        assignment: None,
        proposal: None,
        work: TicketWork {
            due_by: Some(by),
            ..TicketWork::default()
        },
    };
    let needs = needs_of(catalogue, asset, Some(mode), &ticket, policy, now);
    NewTicket { ticket, needs }
}

/// The depot that serves `asset`: its own where the catalogue has it, else the first.
pub(crate) fn serving_depot<'a>(catalogue: &'a Catalogue, asset: &Asset) -> Option<&'a DepotName> {
    let own = |name: &&DepotName| asset.depot.as_ref() == Some(*name);
    let mut names = catalogue.depots.iter().map(|d| &d.name);
    names.clone().find(own).or_else(|| names.next())
}

pub(crate) fn proposal(candidates: &[Candidate<'_>]) -> String {
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

/// The parts that `ticket` needs by its due date, whatever is reserved already: those laid down for it, else those of
/// `mode`, its failure mode.
#[must_use]
pub fn needs_of(
    catalogue: &Catalogue,
    asset: &Asset,
    mode: Option<&FailureMode>,
    ticket: &Ticket,
    policy: &CarePolicy,
    now: Timestamp,
) -> Vec<Need> {
    let Some(depot) = serving_depot(catalogue, asset) else {
        return Vec::new();
    };
    let of_mode = || mode.iter().flat_map(|m| &m.parts);
    let wanted: Vec<(&PartNumber, u32)> = match &ticket.work.parts {
        Some(laid_down) => laid_down.iter().map(|p| (&p.part, p.quantity)).collect(),
        None => of_mode().map(|p| (&p.part, p.quantity)).collect(),
    };
    let work_hours = ticket.work.work_hours.or(mode.map(|m| m.work_hours));
    let needed_at = ticket.due_at.plus_hours(-work_hours.unwrap_or_default());
    wanted
        .into_iter()
        .filter(|(part, _)| catalogue.part(part).is_some())
        .map(|(part, quantity)| Need {
            part: part.clone(),
            quantity,
            depot: depot.clone(),
            needed_at: needed_at.max(now),
            lead_time_hours: catalogue.lead_time_hours(part),
            priority: ticket.priority,
            soft_until: now.plus_hours(policy.soft_hold_hours),
        })
        .collect()
}

/// How much of a need a reservation of `ticket` covers.
fn covering(ticket: &Ticket) -> impl Fn(&Reservation) -> u32 {
    let mut changes = ticket.history.iter().rev();
    let reopened = changes.find(|change| change.enters(TicketState::Reopened));
    let reopened_at = reopened.map(|change| change.at);
    move |r| {
        if r.state.is_live() {
            r.quantity
        } else if reopened_at.is_none_or(|at| r.reserved_at >= at) {
            r.used
        } else {
            0
        }
    }
}

/// What a ticket's `reservations` hold beyond `needs` ([`needs_of`] it): which, and how many of each are enough. What has still to
/// come goes before what lies there, the newest before the older; what is used stays.
#[must_use]
pub fn surplus(
    ticket: &Ticket,
    needs: &[Need],
    reservations: &[Reservation],
) -> Vec<(ReservationId, u32)> {
    let covers = covering(ticket);
    let sum = |numbers: &mut dyn Iterator<Item = u32>| numbers.fold(0_u32, u32::saturating_add);
    let mut excess: BTreeMap<&PartNumber, u32> = BTreeMap::new();
    for part in reservations.iter().map(Reservation::wanted) {
        let held = reservations.iter().filter(|r| r.wanted() == part);
        let needed = needs.iter().filter(|n| n.part == *part);
        let needed = sum(&mut needed.map(|n| n.quantity));
        let more = sum(&mut held.map(&covers)).saturating_sub(needed);
        excess.insert(part, more);
    }
    let mut live: Vec<&Reservation> = reservations.iter().filter(|r| r.state.is_live()).collect();
    live.sort_by_key(|r| {
        let nearness = match r.supply {
            Supply::BackOrder { .. } => 0,
            Supply::Transfer { .. } => 1,
            Supply::Stock { .. } => 2,
        };
        (nearness, std::cmp::Reverse(r.id))
    });
    let cuts = live.into_iter().filter_map(|r| {
        let more = excess.get_mut(r.wanted())?;
        let given = (*more).min(r.quantity.saturating_sub(r.used));
        *more -= given;
        (given > 0).then_some((r.id, r.quantity - given))
    });
    cuts.collect()
}

/// What of `needs` ([`needs_of`] the ticket) its `reservations` do not cover: to be allocated anew after a
/// hold was pre-empted or ran out, when evidence comes again, or on reopening. Parts that are used cover
/// their need, unless the ticket has been reopened since they were reserved: the fault is back.
#[must_use]
pub fn outstanding(ticket: &Ticket, needs: &[Need], reservations: &[Reservation]) -> Vec<Need> {
    let covers = covering(ticket);
    let mut open = Vec::new();
    for (line, need) in needs.iter().enumerate() {
        // Two lines of the bill may name the same part: the earlier one takes its share first.
        let before = needs[..line]
            .iter()
            .filter(|n| n.part == need.part)
            .fold(0_u32, |sum, n| sum.saturating_add(n.quantity));
        let covered = reservations
            .iter()
            .filter(|r| *r.wanted() == need.part)
            .fold(0_u32, |sum, r| sum.saturating_add(covers(r)));
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
    footing: Footing<'_>,
    now: Timestamp,
) -> Option<Ticket> {
    if !ticket.state.is_open() {
        return None;
    }
    let mut after = ticket.clone();
    after.evidence_at = ticket.evidence_at.max(now);
    let called_for = priority(decision, mode, assessment.severity, assessment.rul, footing);
    // A person's judgement holds until evidence says more than it said then.
    let says_more = ticket
        .work
        .overruled
        .is_none_or(|overruled| called_for < overruled);
    if decision.act && called_for < ticket.priority && says_more {
        let by = due_by(decision, assessment.rul, mode.work_hours, now);
        let by = ticket.work.due_by.map_or(by, |before| before.min(by));
        after.priority = called_for;
        after.work.due_by = Some(by);
        after.due_at = ticket
            .due_at
            .min(due_at(Some(by), footing.terms, called_for, now));
        let (severity, rul) = (assessment.severity, assessment.rul);
        let words = priority_in_words(decision, mode, severity, rul, footing);
        let why = format!(
            "priority {:?} to {words}. {}",
            ticket.priority, decision.why
        );
        record(&mut after, ticket.state, forecare(), &why, now);
    }
    if after == *ticket {
        return None;
    }
    Some(after)
}

#[cfg(test)]
mod tests {
    use forecare_domain::{CareTask, PartWanted, ReservationState, Rul, Severity};

    use super::*;
    use crate::fixtures::{
        asset, at, catalogue, confirmed, decision, depot, mode, on_nobodys, opened_by, part,
        person, resolved, soft_hold, task, terms, ticket, walked,
    };
    use crate::transition;
    use crate::work::{WorkStep, work};

    fn certain() -> CareTask {
        task(Severity::Warning, Some(0.9), Rul::NoTrend)
    }

    #[test]
    fn a_ticket_carries_its_decision_reasons_procedure_and_date() {
        let new = opened_by(&certain(), &[]).ticket;
        assert_eq!((new.id, new.version), (TicketId(0), 0));
        assert_eq!(new.title, "Pump 1: Bearing wear (VIB) expected within 48 h");
        assert_eq!(new.state, TicketState::New);
        assert_eq!(new.decision, Some(decision(&certain(), at(0.0))));
        assert_eq!(new.contributions[0].name, "vibration");
        assert_eq!(new.procedure, "P-1");
        // A failure costs ten visits (high impact), and is expected in two days (medium urgency).
        assert_eq!(new.priority, Priority::P2);
        assert_eq!(new.due_at, at(48.0));
        assert_eq!((new.opened_at, new.evidence_at), (at(0.0), at(0.0)));
    }

    #[test]
    fn the_proposed_technician_has_the_skills_and_the_history_says_why() {
        let load = [("Cy".to_owned(), 2), ("Di".to_owned(), 1)];
        let new = opened_by(&certain(), &load).ticket;
        assert_eq!(new.technician.as_deref(), Some("Di"));
        let why = &new.history[0].why;
        assert!(
            why.starts_with("Bearing wear: a failure within 48 h"),
            "{why}"
        );
        assert!(
            why.ends_with(
                "best first: Di (depot north, 1 open tickets, score 1), Cy (depot north, 2 open tickets, \
                 score 2), Ben (depot south, 0 open tickets, score 3)."
            ),
            "{why}"
        );
    }

    #[test]
    fn nobody_is_proposed_where_nobody_can() {
        let mut catalogue = catalogue();
        catalogue.technicians.clear();
        let task = certain();
        let new = open_ticket(
            &catalogue,
            &asset(),
            mode(&catalogue),
            &Assessment::of(&task).unwrap(),
            &decision(&task, at(0.0)),
            Crew {
                technicians: &catalogue.technicians,
                load: &[],
            },
            on_nobodys(&CarePolicy::default(), &terms()),
        );
        assert_eq!(new.ticket.technician, None);
        assert!(new.ticket.history[0].why.contains("No technician"));
    }

    #[test]
    fn the_whole_bill_is_needed_before_the_work_starts() {
        let needs = opened_by(&certain(), &[]).needs;
        let lines: Vec<(&str, u32, f64)> = needs
            .iter()
            .map(|n| (n.part.as_str(), n.quantity, n.lead_time_hours))
            .collect();
        assert_eq!(lines, [("BRG-1", 2, 30.0), ("SEAL-1", 1, 10.0)]);
        for need in needs {
            assert_eq!(need.depot, depot("north"));
            assert_eq!(need.needed_at, at(44.0));
            assert_eq!(need.soft_until, at(72.0));
            assert_eq!(need.priority, Priority::P2);
        }
    }

    fn depot_for(name: &str) -> DepotName {
        let catalogue = catalogue();
        let mut asset = asset();
        asset.depot = Some(depot(name));
        let needs = needs_of(
            &catalogue,
            &asset,
            Some(mode(&catalogue)),
            &ticket(),
            &CarePolicy::default(),
            at(0.0),
        );
        needs[0].depot.clone()
    }

    #[test]
    fn what_is_laid_down_stands_in_place_of_the_modes_bill() {
        let catalogue = catalogue();
        let mut t = ticket();
        let wanted = PartWanted {
            part: part("SEAL-1"),
            quantity: 3,
        };
        t.work.parts = Some(vec![wanted]);
        t.work.work_hours = Some(1.0);
        let policy = CarePolicy::default();
        let needs = needs_of(
            &catalogue,
            &asset(),
            Some(mode(&catalogue)),
            &t,
            &policy,
            at(0.0),
        );
        let lines: Vec<(&str, u32)> = needs
            .iter()
            .map(|n| (n.part.as_str(), n.quantity))
            .collect();
        assert_eq!(lines, [("SEAL-1", 3)]);
        assert_eq!(needs[0].needed_at, t.due_at.plus_hours(-1.0));
        t.work.parts = Some(Vec::new());
        assert_eq!(
            needs_of(
                &catalogue,
                &asset(),
                Some(mode(&catalogue)),
                &t,
                &policy,
                at(0.0)
            ),
            []
        );
    }

    #[test]
    fn what_is_held_beyond_the_needs_goes_back_what_has_to_come_first() {
        let needs = opened_by(&certain(), &[]).needs;
        let (wanted, other) = (needs[0].part.clone(), part("OTHER-1"));
        let hold = |id, part: &PartNumber, quantity, used| Reservation {
            part: part.clone(),
            used,
            ..soft_hold(id, quantity, Priority::P2)
        };
        let cuts = |held: &[Reservation]| -> Vec<(i64, u32)> {
            let cuts = surplus(&ticket(), &needs, held).into_iter();
            cuts.map(|(id, keep)| (id.0, keep)).collect()
        };
        // Two are needed.
        assert_eq!(cuts(&[hold(1, &wanted, 2, 0)]), []);
        assert_eq!(
            cuts(&[hold(1, &wanted, 2, 0), hold(2, &wanted, 1, 0)]),
            [(2, 0)]
        );
        assert_eq!(cuts(&[hold(1, &wanted, 5, 0)]), [(1, 2)]);
        assert_eq!(
            cuts(&[hold(1, &wanted, 5, 3)]),
            [(1, 3)],
            "what is used stays"
        );
        assert_eq!(cuts(&[hold(3, &other, 1, 0)]), [(3, 0)]);
        let mut waits = hold(1, &wanted, 2, 0);
        waits.supply = Supply::BackOrder { to: depot("north") };
        assert_eq!(cuts(&[waits, hold(2, &wanted, 2, 0)]), [(1, 0)]);
        let mut used = hold(4, &wanted, 1, 1);
        used.state = ReservationState::Consumed;
        assert_eq!(cuts(&[used, hold(5, &wanted, 2, 0)]), [(5, 1)]);
    }

    #[test]
    fn the_assets_depot_serves_it_and_an_unknown_one_falls_back_to_the_first() {
        assert_eq!(depot_for("south"), depot("south"));
        assert_eq!(depot_for("gone"), depot("north"));
    }

    fn again(ticket: &Ticket, task: &CareTask, hours: f64) -> Option<Ticket> {
        let catalogue = catalogue();
        evidence_again(
            ticket,
            mode(&catalogue),
            &Assessment::of(task).unwrap(),
            &decision(task, at(hours)),
            on_nobodys(&CarePolicy::default(), &terms()),
            at(hours),
        )
    }

    #[test]
    fn evidence_again_renews_without_crowding_the_history() {
        let after = again(&ticket(), &certain(), 7.0).unwrap();
        assert_eq!(after.evidence_at, at(7.0));
        assert_eq!(after.history, ticket().history);
        assert_eq!(again(&after, &certain(), 7.0), None);
        assert_eq!(again(&after, &certain(), 3.0), None);
    }

    #[test]
    fn worse_evidence_raises_the_priority_and_better_never_lowers_it() {
        let critical = task(Severity::Critical, Some(0.9), Rul::NoTrend);
        let raised = again(&ticket(), &critical, 2.0).unwrap();
        assert_eq!(raised.priority, Priority::P1);
        assert_eq!(raised.due_at, at(26.0));
        assert_eq!(raised.state, TicketState::New);
        let why = &raised.history.last().unwrap().why;
        assert!(why.starts_with("priority P2 to P1: "), "{why}");
        let calmer = again(&raised, &certain(), 3.0).unwrap();
        assert_eq!((calmer.priority, calmer.due_at), (Priority::P1, at(26.0)));
    }

    #[test]
    fn what_a_person_has_set_holds_until_evidence_says_more() {
        let set = |ticket: &Ticket, priority| {
            let step = WorkStep::Priority {
                priority,
                why: "it runs again".to_owned(),
            };
            let done = work(ticket, None, step, person(), at(1.0));
            done.unwrap().ticket.unwrap()
        };
        let lowered = set(&ticket(), Priority::P4);
        let same = again(&lowered, &certain(), 2.0).unwrap();
        assert_eq!(same.priority, Priority::P4);
        let critical = task(Severity::Critical, Some(0.9), Rul::NoTrend);
        let worse = again(&same, &critical, 3.0).unwrap();
        assert_eq!(worse.priority, Priority::P1);
        let again_lowered = set(&set(&worse, Priority::P3), Priority::P4);
        let critical = again(&again_lowered, &critical, 4.0).unwrap();
        assert_eq!(critical.priority, Priority::P1, "more than at first");
    }

    #[test]
    fn a_risen_priority_never_puts_the_date_off() {
        let critical = task(Severity::Critical, Some(0.9), Rul::NoTrend);
        let raised = again(&ticket(), &critical, 40.0).unwrap();
        assert_eq!(raised.priority, Priority::P1);
        assert_eq!(raised.due_at, ticket().due_at);
    }

    #[test]
    fn evidence_that_would_not_act_raises_nothing() {
        let faint = task(Severity::Critical, Some(0.01), Rul::NoTrend);
        let after = again(&ticket(), &faint, 2.0).unwrap();
        assert_eq!(after.priority, Priority::P2);
        assert_eq!(after.evidence_at, at(2.0));
    }

    #[test]
    fn an_ended_ticket_takes_no_evidence() {
        let ended = walked(&[TicketState::Cancelled], &confirmed());
        assert_eq!(again(&ended, &certain(), 9.0), None);
        assert_eq!(again(&resolved(&confirmed()), &certain(), 9.0), None);
    }

    fn still_open(ticket: &Ticket, reservations: &[Reservation]) -> Vec<(String, u32)> {
        let needs = opened_by(&certain(), &[]).needs;
        outstanding(ticket, &needs, reservations)
            .iter()
            .map(|n| (n.part.to_string(), n.quantity))
            .collect()
    }

    #[test]
    fn what_is_lost_is_outstanding_and_what_is_held_or_used_is_not() {
        let seal_only = [("SEAL-1".to_owned(), 1)];
        let [seal] = seal_only.clone();
        let bearing = |n| ("BRG-1".to_owned(), n);
        let mut hold = soft_hold(1, 2, Priority::P2);
        assert_eq!(still_open(&ticket(), &[]), [bearing(2), seal.clone()]);
        assert_eq!(
            still_open(&ticket(), std::slice::from_ref(&hold)),
            seal_only
        );
        hold.quantity = 1;
        assert_eq!(
            still_open(&ticket(), std::slice::from_ref(&hold)),
            [bearing(1), seal.clone()]
        );
        hold.state = ReservationState::Released;
        assert_eq!(
            still_open(&ticket(), std::slice::from_ref(&hold)),
            [bearing(2), seal.clone()]
        );
        (hold.state, hold.used) = (ReservationState::Consumed, 1);
        assert_eq!(still_open(&ticket(), &[hold]), [bearing(1), seal]);
    }

    #[test]
    fn a_reopened_ticket_needs_its_parts_again() {
        let mut used = soft_hold(1, 2, Priority::P2);
        (used.state, used.used) = (ReservationState::Consumed, 2);
        let reopened = transition(
            &resolved(&confirmed()),
            TicketState::Reopened,
            crate::fixtures::person(),
            "it is back",
            None,
            at(8.0),
        )
        .unwrap();
        assert_eq!(still_open(&reopened, std::slice::from_ref(&used)).len(), 2);
        used.reserved_at = at(9.0);
        assert_eq!(still_open(&reopened, &[used]).len(), 1);
    }

    #[test]
    fn two_lines_of_one_part_are_covered_one_after_the_other() {
        let mut needs = opened_by(&certain(), &[]).needs;
        needs[1].part = part("BRG-1");
        let open = outstanding(&ticket(), &needs, &[soft_hold(1, 2, Priority::P2)]);
        assert_eq!(open.len(), 1);
        assert_eq!((open[0].quantity, open[0].lead_time_hours), (1, 10.0));
    }
}
