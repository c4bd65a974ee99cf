//! What people were told, and what customers answered.

use axum::extract::State;
use axum::{Extension, Json};
use forecare_domain::{DeliveryId, TicketId};
use forecare_store::{DeliveryFilter, DeliveryState};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::{App, Caller, cut, ticket_id};
use crate::dto::{DeliveryDto, SurveyAnswerDto};
use crate::extract::{ApiPath, ApiQuery};
use crate::page::{List, Page, PageParams};
use crate::problem::Problem;

/// Which deliveries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeliveryParams {
    /// Only in this state: waiting, delivered, dead or obsolete.
    state: Option<String>,
    /// Only about this ticket: 7 or T-7.
    ticket: Option<String>,
    /// Only by this channel.
    channel: Option<String>,
    /// `next_cursor` of the page before; without it, the first page.
    cursor: Option<String>,
    /// Entries of a page, 1 to 500; 50 where not given.
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<u16>,
}

/// The state of that name.
pub(crate) fn delivery_state(label: &str) -> Result<DeliveryState, Problem> {
    let found = DeliveryState::ALL.into_iter().find(|s| s.label() == label);
    found.ok_or_else(|| {
        let known = DeliveryState::ALL.map(DeliveryState::label).join(", ");
        Problem::bad_parameter("state", format!("the states are {known}"))
    })
}

/// A delivery's number from `7` or `D-7`.
pub(crate) fn delivery_id(text: &str) -> Result<DeliveryId, Problem> {
    let number = text.strip_prefix("D-").unwrap_or(text).parse();
    number
        .map(DeliveryId)
        .map_err(|_no_number: std::num::ParseIntError| {
            Problem::not_found(format_args!("delivery \"{}\"", cut(text, 128)))
        })
}

fn of_ticket(ticket: Option<&str>) -> Result<Option<TicketId>, Problem> {
    ticket
        .map(ticket_id)
        .transpose()
        .map_err(|_missing| Problem::bad_parameter("ticket", "use a number such as 7 or T-7"))
}

/// What people were and are to be told, newest first
///
/// A delivery that is `dead` was given up after the last attempt.
#[utoipa::path(get, path = "/api/v1/deliveries", tag = "notices", params(DeliveryParams),
    responses((status = 200, description = "a page of deliveries", body = Page<DeliveryDto>)))]
pub(crate) async fn deliveries(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiQuery(params): ApiQuery<DeliveryParams>,
) -> Result<Json<Page<DeliveryDto>>, Problem> {
    let filter = DeliveryFilter {
        state: params.state.as_deref().map(delivery_state).transpose()?,
        ticket: of_ticket(params.ticket.as_deref())?,
        channel: params.channel,
    };
    let request = PageParams::new(params.cursor, params.limit).request(List::Deliveries)?;
    let found = app.state.store.deliveries(&filter, request).await?;
    let knows = caller.needs_to_know();
    Ok(Json(Page::of(List::Deliveries, request, found, |d| {
        DeliveryDto::new(d, knows)
    })))
}

/// One delivery
#[utoipa::path(get, path = "/api/v1/deliveries/{id}", tag = "notices",
    params(("id" = String, Path, description = "the delivery's number: 7 or D-7")),
    responses((status = 200, description = "the delivery", body = DeliveryDto)))]
pub(crate) async fn delivery(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
) -> Result<Json<DeliveryDto>, Problem> {
    let found = app.state.store.delivery(delivery_id(&id)?).await?;
    Ok(Json(DeliveryDto::new(found, caller.needs_to_know())))
}

/// Tries a dead delivery again, as if it had never been tried
#[utoipa::path(post, path = "/api/v1/deliveries/{id}/retry", tag = "notices",
    params(
        ("id" = String, Path, description = "the delivery's number: 7 or D-7"),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key again changes nothing")
    ),
    responses((status = 200, description = "the delivery, waiting", body = DeliveryDto)))]
pub(crate) async fn retry(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
) -> Result<Json<DeliveryDto>, Problem> {
    let id = delivery_id(&id)?;
    let now = app.state.clock.now();
    let found = app.state.store.retry_delivery(id, now).await?;
    tracing::info!(delivery.id = %id, by = caller.name, "delivery to be tried again");
    Ok(Json(DeliveryDto::new(found, caller.needs_to_know())))
}

/// Which answers.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct SurveyParams {
    /// All answers on this ticket, those that were replaced included: 7 or T-7.
    ticket: Option<String>,
    /// `next_cursor` of the page before; without it, the first page.
    cursor: Option<String>,
    /// Entries of a page, 1 to 500; 50 where not given.
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<u16>,
}

/// What customers answered, newest first: the last answer of each ticket
#[utoipa::path(get, path = "/api/v1/surveys", tag = "notices", params(SurveyParams),
    responses((status = 200, description = "a page of answers", body = Page<SurveyAnswerDto>)))]
pub(crate) async fn surveys(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiQuery(params): ApiQuery<SurveyParams>,
) -> Result<Json<Page<SurveyAnswerDto>>, Problem> {
    let ticket = of_ticket(params.ticket.as_deref())?;
    let request = PageParams::new(params.cursor, params.limit).request(List::Surveys)?;
    let found = app.state.store.survey_answers(ticket, request).await?;
    let knows = caller.needs_to_know();
    Ok(Json(Page::of(List::Surveys, request, found, |a| {
        SurveyAnswerDto::new(a, knows)
    })))
}
