//! Times that can be agreed with a customer.

use axum::Json;
use axum::extract::State;
use forecare_care::dispatch::Slot;
use forecare_domain::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::{App, ticket_id};
use crate::dto::DispatchCandidateDto;
use crate::extract::ApiPath;
use crate::problem::Problem;

/// Times that can be agreed with a customer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Slots)]
pub(crate) struct SlotsDto {
    /// Time zone that customers read times by.
    pub(crate) time_zone: String,
    /// The windows, in order.
    pub(crate) items: Vec<SlotDto>,
}

/// A window in which somebody can begin.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Slot)]
pub(crate) struct SlotDto {
    /// The window begins.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) from: Timestamp,
    /// The window ends.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) to: Timestamp,
    /// Who, when exactly, and what it adds to the plan's cost.
    pub(crate) visit: DispatchCandidateDto,
}

impl From<Slot> for SlotDto {
    fn from(slot: Slot) -> Self {
        Self {
            from: slot.from,
            to: slot.to,
            visit: slot.visit.into(),
        }
    }
}

/// Times that can be agreed with the customer
///
/// Windows in which the work can begin while every other visit stays where it is planned: by skill, shift, way and
/// parts. The same that customers choose among on their page. Lay one down with the visit's technician and start at
/// `/api/v1/tickets/{id}/assignment`. 409 where the work has begun or the visit is too near.
#[utoipa::path(get, path = "/api/v1/tickets/{id}/slots", tag = "tickets",
    params(("id" = String, Path, description = "the ticket's number: 7 or T-7")),
    responses((status = 200, description = "the windows", body = SlotsDto)))]
pub(crate) async fn slots(
    State(app): State<App>,
    ApiPath(id): ApiPath<String>,
) -> Result<Json<SlotsDto>, Problem> {
    let found = app.state.desk.slots(ticket_id(&id)?).await?;
    Ok(Json(SlotsDto {
        time_zone: app.state.appointments.calendar.time_zone().to_owned(),
        items: found.into_iter().map(Into::into).collect(),
    }))
}
