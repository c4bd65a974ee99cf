//! Service level clocks and the dispatcher's proposal on a ticket's page, and the planner's word.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use forecare_care::dispatch::is_assignable;
use forecare_care::sla::{SlaReading, SlaState};
use forecare_domain::{DispatchCandidate, SlaKind, Ticket, Timestamp};

use super::form::Fields;
use super::format::{WEEKDAYS, When, hours, money, percent, readable, span};
use super::shell::{Shell, render};
use super::tickets::show;
use crate::app::{App, Caller, ticket_id};
use crate::dto::AssignmentDto;
use crate::extract::ApiPath;
use crate::problem::Problem;
use crate::routes::tickets::checked_assignment;
use crate::state::DeskError;

/// A service level clock.
pub(super) struct ClockView {
    pub(super) name: &'static str,
    pub(super) state: &'static str,
    /// Class of its badge.
    pub(super) badge: &'static str,
    pub(super) used: String,
    pub(super) due: Option<When>,
}

impl ClockView {
    pub(super) fn new(now: Timestamp, r: &SlaReading) -> Self {
        Self {
            name: match r.kind {
                SlaKind::FirstResponse => "First response",
                SlaKind::Resolution => "Resolution",
            },
            state: r.state.label(),
            badge: match r.state {
                SlaState::Breached => "critical",
                SlaState::Running if r.fraction >= 0.75 => "warning",
                SlaState::Met => "good",
                SlaState::Running | SlaState::Paused | SlaState::Void => "plain",
            },
            used: format!("{} of {}", percent(r.fraction), hours(r.target_hours)),
            due: r.due_at.map(|at| When::new(now, at)),
        }
    }
}

/// What the dispatcher says of a ticket.
pub(super) struct DispatchView {
    /// False: the work has begun, and nobody is assigned any more.
    pub(super) can_assign: bool,
    /// What a planner has laid down, in a sentence.
    pub(super) laid_down: Option<String>,
    pub(super) planned: Option<When>,
    /// The plan is of before the planner's word, and says something else.
    pub(super) is_older: bool,
    pub(super) assigned: Option<CandidateView>,
    pub(super) why: String,
    pub(super) candidates: Vec<CandidateView>,
    pub(super) rejected: Vec<(String, String)>,
    /// Rejected, but not named.
    pub(super) n_more: usize,
}

pub(super) struct CandidateView {
    pub(super) technician: String,
    pub(super) start: When,
    pub(super) total: String,
    /// The terms of the cost that are not nothing.
    pub(super) terms: String,
}

impl CandidateView {
    fn new(now: Timestamp, c: &DispatchCandidate, currency: &str) -> Self {
        let terms = [
            ("road", c.cost.travel),
            ("parts", c.cost.parts),
            ("waiting", c.cost.waiting),
            ("lateness", c.cost.lateness),
            ("preference", c.cost.preference),
            ("load", c.cost.load),
        ];
        let terms: Vec<String> = terms
            .into_iter()
            .filter(|(_, cost)| cost.abs() >= 0.5)
            .map(|(name, cost)| format!("{name} {}", money(cost, currency)))
            .collect();
        Self {
            technician: c.technician.clone(),
            start: When::new(now, c.start_at),
            total: money(c.cost.total(), currency),
            terms: terms.join(", "),
        }
    }
}

/// Whether what was proposed last is not what a planner has laid down since.
fn is_older(ticket: &Ticket) -> bool {
    let (Some(laid_down), Some(proposal)) = (&ticket.assignment, &ticket.proposal) else {
        return false;
    };
    let fits = proposal.assigned.as_ref().is_some_and(|c| {
        c.technician == laid_down.technician
            && laid_down.start_at.is_none_or(|start| c.start_at == start)
    });
    !fits
}

impl DispatchView {
    pub(super) fn new(now: Timestamp, ticket: &Ticket, currency: &str) -> Self {
        let proposal = ticket.proposal.as_ref();
        let view = |c: &DispatchCandidate| CandidateView::new(now, c, currency);
        let rejected = proposal.map_or(&[][..], |p| &p.rejected);
        Self {
            can_assign: is_assignable(ticket.state),
            laid_down: ticket.assignment.as_ref().map(|o| {
                let when = o.start_at.map_or_else(
                    || "when the plan has room".to_owned(),
                    |at| format!("at {}", When::new(now, at).utc),
                );
                format!(
                    "{} laid down {}, {when}: {}",
                    o.by.name, o.technician, o.why
                )
            }),
            planned: proposal.map(|p| When::new(now, p.planned_at)),
            is_older: is_older(ticket),
            assigned: proposal.and_then(|p| p.assigned.as_ref()).map(view),
            why: proposal.map_or_else(String::new, |p| readable(&p.why)),
            candidates: proposal.map_or_else(Vec::new, |p| p.candidates.iter().map(view).collect()),
            rejected: rejected
                .iter()
                .map(|r| (r.technician.clone(), r.why.clone()))
                .collect(),
            n_more: proposal.map_or(0, |p| {
                usize::try_from(p.n_rejected)
                    .unwrap_or(usize::MAX)
                    .saturating_sub(rejected.len())
            }),
        }
    }
}

#[derive(Template)]
#[template(path = "slots.html")]
struct SlotsPage {
    shell: Shell,
    number: i64,
    time_zone: String,
    slots: Vec<SlotView>,
    why_none: Option<String>,
}

struct SlotView {
    window: String,
    technician: String,
    cost: String,
    /// As the form's field of a time has it.
    start: String,
}

/// Times that can be agreed with the customer.
pub(super) async fn slots(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
) -> Result<Response, Problem> {
    let id = ticket_id(&id)?;
    let calendar = &app.state.appointments.calendar;
    let (slots, why_none) = match app.state.desk.slots(id).await {
        Ok(slots) => (slots, None),
        Err(DeskError::Conflict(why)) => (Vec::new(), Some(why)),
        Err(failure) => return Err(failure.into()),
    };
    Ok(render(&SlotsPage {
        shell: Shell::new(&app, &caller, "tickets"),
        number: id.0,
        time_zone: calendar.time_zone().to_owned(),
        slots: slots
            .iter()
            .map(|s| SlotView {
                window: span(calendar, &WEEKDAYS, s.from, s.to),
                technician: s.visit.technician.clone(),
                cost: money(s.visit.cost.total(), &app.state.catalogue.currency),
                start: s.visit.start_at.to_string().chars().take(16).collect(),
            })
            .collect(),
        why_none,
    }))
}

/// Lays down who does a ticket, and shows it again.
pub(super) async fn assign(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
    fields: Fields,
) -> Result<Response, Problem> {
    let ticket = ticket_id(&id)?;
    let assigned = async {
        let mut request = checked_assignment(from_fields(&fields)?)?;
        request.if_version = fields.get("version").and_then(|v| v.parse().ok());
        app.state
            .desk
            .assign(ticket, request, caller.actor())
            .await?;
        Ok(())
    };
    match assigned.await {
        Ok(()) => Ok(Redirect::to(&format!("/tickets/{}", ticket.0)).into_response()),
        Err(problem) => show(&app, &caller, &id, Some(&problem)).await,
    }
}

fn from_fields(fields: &Fields) -> Result<AssignmentDto, Problem> {
    // The browser's field has minutes and no zone: it is labelled as UTC.
    let start_at = fields
        .get("start_at")
        .map(|text| {
            format!("{text}:00Z")
                .parse()
                .map_err(|_cause| Problem::invalid("start_at", "choose a day and a time"))
        })
        .transpose()?;
    Ok(AssignmentDto {
        technician: fields.get("technician").map(ToOwned::to_owned),
        start_at,
        why: fields.get("why").unwrap_or_default().to_owned(),
    })
}
