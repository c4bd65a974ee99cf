//! The plan of all visits: who goes where, when. Counted from what stands with the open tickets.

use std::collections::BTreeMap;

use forecare_care::dispatch::is_proposable;
use forecare_domain::{AssetId, ClassName, Ticket, TicketState, Timestamp};
use forecare_registry::{Body, ERASED, RecordKind};
use forecare_store::RecordFilter;

use crate::app::{App, Caller};
use crate::overview::whole;
use crate::problem::Problem;
use crate::routes::tickets::for_eyes;

/// Technicians looked at.
const TECHNICIANS_MAX: usize = 1_000;

/// A visit, planned, agreed or under way.
pub(crate) struct Visit {
    /// Its ticket.
    pub(crate) ticket: Ticket,
    /// When it begins and ends; `None`: nobody has said.
    pub(crate) time: Option<(Timestamp, Timestamp)>,
    /// It ends after the work is due, or should have begun by now.
    pub(crate) is_late: bool,
    /// A person has laid down who does it.
    pub(crate) is_laid_down: bool,
}

/// What is planned.
#[derive(Default)]
pub(crate) struct Plan {
    /// Visits by technician, the first first; those without a time at the end.
    pub(crate) tours: BTreeMap<String, Vec<Visit>>,
    /// Tickets that nobody is planned for, and why.
    pub(crate) unplanned: Vec<(Ticket, String)>,
    /// When the newest proposal was made.
    pub(crate) planned_at: Option<Timestamp>,
}

impl Plan {
    /// The plan that stands with `open`, all open tickets. `technicians` without work are in it, with no visit.
    /// `hours_of`: how long the work on a ticket takes.
    pub(crate) fn of(
        open: Vec<Ticket>,
        technicians: Vec<String>,
        hours_of: impl Fn(&Ticket) -> f64,
        now: Timestamp,
    ) -> Self {
        let mut plan = Self::default();
        for name in technicians {
            plan.tours.entry(name).or_default();
        }
        for ticket in open {
            plan.planned_at = plan
                .planned_at
                .max(ticket.proposal.as_ref().map(|p| p.planned_at));
            match who(&ticket) {
                Some(name) => {
                    let visit = Visit::new(ticket, &name, &hours_of, now);
                    plan.tours.entry(name).or_default().push(visit);
                }
                None => {
                    let why = why_nobody(&ticket);
                    plan.unplanned.push((ticket, why));
                }
            }
        }
        for visits in plan.tours.values_mut() {
            visits.sort_by_key(|v| {
                let start = v.time.map(|(start, _)| start);
                (start.is_none(), start, v.ticket.priority, v.ticket.id)
            });
        }
        plan.unplanned
            .sort_by_key(|(t, _)| (t.priority, t.due_at, t.id));
        plan
    }
}

/// Whose it is: by a planner's word, once it is sent out by who got it, before that by the newest proposal.
fn who(ticket: &Ticket) -> Option<String> {
    if let Some(laid_down) = &ticket.assignment {
        return Some(laid_down.technician.clone());
    }
    if is_proposable(ticket.state) {
        let assigned = ticket.proposal.as_ref()?.assigned.as_ref();
        return assigned.map(|a| a.technician.clone());
    }
    ticket.technician.clone()
}

fn why_nobody(ticket: &Ticket) -> String {
    match &ticket.proposal {
        Some(proposal) if !proposal.why.is_empty() => proposal.why.clone(),
        Some(_) | None => "not planned yet".to_owned(),
    }
}

impl Visit {
    fn new(
        ticket: Ticket,
        technician: &str,
        hours_of: impl Fn(&Ticket) -> f64,
        now: Timestamp,
    ) -> Self {
        let assigned = ticket.proposal.as_ref().and_then(|p| p.assigned.as_ref());
        let own = assigned.filter(|a| a.technician == technician);
        let planned = own.map(|a| (a.start_at, a.end_at));
        let hours = match planned {
            Some((from, to)) => to.hours_since(from),
            None => hours_of(&ticket),
        };
        let mut changes = ticket.history.iter().rev();
        let begun = changes.find(|c| c.enters(TicketState::InProgress));
        let agreed = ticket.assignment.as_ref().and_then(|a| a.start_at);
        let is_begun = ticket.state == TicketState::InProgress;
        let start = if is_begun {
            begun.map(|c| c.at)
        } else {
            agreed.or(planned.map(|(start, _)| start))
        };
        // Work that takes longer than planned is taken to end now, as the dispatcher takes it.
        let end = |start: Timestamp| match start.plus_hours(hours) {
            end if is_begun => end.max(now),
            end => end,
        };
        let time = start.map(|start| (start, end(start)));
        let promised = ticket.sla.as_ref().and_then(|sla| sla.resolution.due_at);
        let due_at = promised.map_or(ticket.due_at, |at| at.min(ticket.due_at));
        let is_late = |(start, end)| end > due_at || (!is_begun && start < now);
        Self {
            is_late: time.is_some_and(is_late),
            is_laid_down: ticket.assignment.is_some(),
            time,
            ticket,
        }
    }

    /// How long it takes, hours; 0 where nobody has said.
    pub(crate) fn hours(&self) -> f64 {
        self.time.map_or(0.0, |(start, end)| end.hours_since(start))
    }
}

impl App {
    /// The plan that stands with the open tickets; every technician who gets work is in it.
    pub(crate) async fn plan(&self, caller: &Caller) -> Result<Plan, Problem> {
        let open = self.open_tickets(None).await?;
        let open = open.into_iter().map(|ticket| for_eyes(caller, ticket));
        let assets = self.state.store.assets().await?.into_iter();
        let classes: BTreeMap<AssetId, ClassName> = assets.map(|a| (a.id, a.class)).collect();
        let hours_of = |ticket: &Ticket| {
            let of_mode = || {
                let class = self.state.catalogue.class(classes.get(&ticket.asset)?)?;
                Some(class.mode(ticket.mode.as_ref()?)?.work_hours)
            };
            ticket.work.work_hours.or_else(of_mode).unwrap_or_default()
        };
        let technicians = technicians(self).await?;
        let now = self.state.clock.now();
        Ok(Plan::of(open.collect(), technicians, hours_of, now))
    }
}

/// Names of those who get work: of the registry, else of the catalogue.
pub(crate) async fn technicians(app: &App) -> Result<Vec<String>, Problem> {
    let all = RecordFilter::default();
    let found = whole(app, RecordKind::Technician, &all, TECHNICIANS_MAX).await?;
    let mut names: Vec<String> = found
        .into_iter()
        .filter_map(|record| match record.body {
            Some(Body::Technician(technician))
                if technician.active && technician.name != ERASED =>
            {
                Some(technician.name)
            }
            Some(_) | None => None,
        })
        .collect();
    if names.is_empty() {
        let of_catalogue = app.state.catalogue.technicians.iter();
        names.extend(of_catalogue.map(|t| t.name.clone()));
    }
    names.sort();
    names.dedup();
    Ok(names)
}
