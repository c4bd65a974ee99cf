//! The plan of all visits.

use axum::extract::State;
use axum::{Extension, Json};
use forecare_domain::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::{App, Caller};
use crate::dto::TicketDto;
use crate::plan::{Plan, Visit};
use crate::problem::Problem;

/// The plan of all visits.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Plan)]
pub(crate) struct PlanDto {
    /// When the newest proposal in it was made; null: none was.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) planned_at: Option<Timestamp>,
    /// Every technician who gets work, by name.
    pub(crate) technicians: Vec<TourDto>,
    /// Open tickets that nobody is planned for, the most urgent first.
    pub(crate) unplanned: Vec<UnplannedDto>,
}

/// A technician's visits.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tour)]
pub(crate) struct TourDto {
    /// The technician.
    pub(crate) technician: String,
    /// Work planned, hours; travel is not in it.
    pub(crate) hours: f64,
    /// The visits, the first first.
    pub(crate) visits: Vec<VisitDto>,
}

/// A visit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Visit)]
pub(crate) struct VisitDto {
    /// When it begins; null: nobody has said.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) start_at: Option<Timestamp>,
    /// When it ends.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) end_at: Option<Timestamp>,
    /// True: it ends after the work is due, or should have begun by now.
    pub(crate) late: bool,
    /// True: a person has laid down who does it.
    pub(crate) laid_down: bool,
    /// The ticket.
    pub(crate) ticket: TicketDto,
}

/// A ticket that nobody is planned for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UnplannedTicket)]
pub(crate) struct UnplannedDto {
    /// Why.
    pub(crate) why: String,
    /// The ticket.
    pub(crate) ticket: TicketDto,
}

impl From<Visit> for VisitDto {
    fn from(visit: Visit) -> Self {
        Self {
            start_at: visit.time.map(|(start, _)| start),
            end_at: visit.time.map(|(_, end)| end),
            late: visit.is_late,
            laid_down: visit.is_laid_down,
            ticket: TicketDto::from(&visit.ticket),
        }
    }
}

impl From<Plan> for PlanDto {
    fn from(plan: Plan) -> Self {
        let tours = plan.tours.into_iter().map(|(technician, visits)| TourDto {
            technician,
            hours: visits.iter().map(Visit::hours).sum(),
            visits: visits.into_iter().map(Into::into).collect(),
        });
        let unplanned = plan.unplanned.iter().map(|(ticket, why)| UnplannedDto {
            why: why.clone(),
            ticket: TicketDto::from(ticket),
        });
        Self {
            planned_at: plan.planned_at,
            technicians: tours.collect(),
            unplanned: unplanned.collect(),
        }
    }
}

/// The plan of all visits: who goes where, when, and which tickets nobody is planned for
///
/// All open tickets and technicians are planned together within seconds of a change; what is under way, agreed or laid down
/// by a person stands. The reckoning behind each proposal is with its ticket.
#[utoipa::path(get, path = "/api/v1/plan", tag = "tickets",
    responses((status = 200, description = "the plan", body = PlanDto)))]
pub(crate) async fn plan(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<PlanDto>, Problem> {
    Ok(Json(app.plan(&caller).await?.into()))
}
