//! Tickets and their transitions.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use forecare_care::reporting::TITLE_CHARS_MAX;
use forecare_domain::{
    AssetId, ModeName, Report, Reservation, Ticket, TicketId, TicketState, Verdict,
};
use forecare_store::{PageRequest, ReservationFilter};

use super::assets::WHY_CHARS_MAX;
use crate::also_open::also_open;
use crate::app::{App, Caller, ticket_id};
use crate::dto::{
    AlsoOpenDto, AssignmentDto, NewTicketDto, SurveyAnswerDto, TicketDetailDto, TicketDto,
    TransitionDto,
};
use crate::extract::{ApiJson, ApiPath, ApiQuery, idempotency_key, if_match};
use crate::page::{Page, PageParams};
use crate::problem::Problem;
use crate::routes::units::parts_used;
use crate::state::{AssignmentRequest, OpenRequest, TransitionRequest};
use crate::ticket_search::TicketQuery;
use crate::{cost, for_whom};

/// Most characters of what a reporter tells.
const DESCRIPTION_CHARS_MAX: usize = 4_000;
/// Reservations shown with a ticket at most.
const RESERVATIONS_MAX: usize = 200;

/// Tickets, newest first where nothing else is asked for
///
/// A page may hold fewer tickets than asked for, or none, and yet have a `next_cursor`: no more than 20,000 tickets are
/// looked through for one.
#[utoipa::path(get, path = "/api/v1/tickets", tag = "tickets", params(TicketQuery),
    responses((status = 200, description = "a page of tickets", body = Page<TicketDto>)))]
pub(crate) async fn tickets(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiQuery(query): ApiQuery<TicketQuery>,
) -> Result<Json<Page<TicketDto>>, Problem> {
    let search = query.search(&app, &caller).await?;
    let params = PageParams::new(query.cursor, query.limit);
    let page = search.page(&app, &params, |t| TicketDto::from(t)).await?;
    Ok(Json(page))
}

pub(crate) async fn reservations_of(
    app: &App,
    ticket: TicketId,
) -> Result<Vec<Reservation>, Problem> {
    let filter = ReservationFilter {
        ticket: Some(ticket),
        live: false,
    };
    let page = PageRequest {
        before: None,
        limit: RESERVATIONS_MAX,
    };
    let found = app.state.store.reservations(&filter, page).await?;
    Ok(found.into_iter().map(|paged| paged.item).collect())
}

/// `ticket` for the eyes of the caller: what its reporter wrote is for those who work on it.
pub(crate) fn for_eyes(caller: &Caller, mut ticket: Ticket) -> Ticket {
    if !caller.needs_to_know()
        && let Some(report) = &mut ticket.work.report
    {
        report.description.clear();
    }
    ticket
}

pub(crate) async fn detail(
    app: &App,
    caller: &Caller,
    ticket: Ticket,
) -> Result<Response, Problem> {
    detail_with(app, caller, ticket, None).await
}

async fn detail_with(
    app: &App,
    caller: &Caller,
    ticket: Ticket,
    also_open: Option<Vec<AlsoOpenDto>>,
) -> Result<Response, Problem> {
    let ticket = for_eyes(caller, ticket);
    let reservations = reservations_of(app, ticket.id).await?;
    let etag = format!("\"{}\"", ticket.version);
    let clocks = (app.state.sla)(&ticket, app.state.clock.now());
    let newest = PageRequest {
        before: None,
        limit: 1,
    };
    let said = app
        .state
        .store
        .survey_answers(Some(ticket.id), newest)
        .await?;
    let (place, customer) = for_whom::of_ticket(app, caller, &ticket).await?;
    let cost = cost::of_ticket(app, &ticket, customer.as_ref()).await?;
    let asset = app.state.store.asset(&ticket.asset).await?;
    let class = asset.and_then(|asset| app.state.catalogue.class(&asset.class));
    let mode = class.zip(ticket.mode.as_ref());
    let mode = mode.and_then(|(class, mode)| class.mode(mode));
    let certificates = mode.map_or_else(Vec::new, |mode| mode.certificates.clone());
    let body = TicketDetailDto::new(
        ticket,
        &app.state.catalogue.currency,
        reservations.into_iter().map(Into::into).collect(),
        clocks,
        said.into_iter()
            .next()
            .map(|p| SurveyAnswerDto::new(p.item, caller.needs_to_know())),
        (place, customer.map(Into::into)),
        cost,
    )
    .with(certificates, also_open);
    let mut response = Json(body).into_response();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

/// Opens a ticket
///
/// What somebody reports: a fault, a complaint, a wish for an inspection. Its priority is impact x urgency; how it came
/// about stands in the history. The answer names what else is open on the machine (`also_open`). The same `Idempotency-Key` again opens nothing and answers with the ticket.
#[utoipa::path(post, path = "/api/v1/tickets", tag = "tickets", request_body = NewTicketDto,
    params(("Idempotency-Key" = Option<String>, Header, description = "the same key again opens nothing")),
    responses((status = 201, description = "the ticket", body = TicketDetailDto,
        headers(
            ("ETag" = String, description = "the version, for If-Match"),
            ("Location" = String, description = "its address")
        ))))]
pub(crate) async fn open(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    ApiJson(body): ApiJson<NewTicketDto>,
) -> Result<Response, Problem> {
    let mut request = checked_opening(body)?;
    request.idempotency_key = idempotency_key(&headers)?;
    let ticket = app.state.desk.open_ticket(request, caller.actor()).await?;
    let address = format!("/api/v1/tickets/{}", ticket.id.0);
    let others = also_open(&app, &ticket).await?;
    let others = others.iter().map(Into::into).collect();
    let mut response = detail_with(&app, &caller, ticket, Some(others)).await?;
    *response.status_mut() = StatusCode::CREATED;
    if let Ok(address) = HeaderValue::from_str(&address) {
        response.headers_mut().insert(header::LOCATION, address);
    }
    Ok(response)
}

/// An opening from the outside, with its names checked.
pub(crate) fn checked_opening(body: NewTicketDto) -> Result<OpenRequest, Problem> {
    if body.title.chars().count() > TITLE_CHARS_MAX || body.title.chars().any(char::is_control) {
        return Err(Problem::invalid(
            "title",
            format!("use at most {TITLE_CHARS_MAX} characters in one line"),
        ));
    }
    if body.description.chars().count() > DESCRIPTION_CHARS_MAX {
        return Err(Problem::invalid(
            "description",
            format!("use at most {DESCRIPTION_CHARS_MAX} characters"),
        ));
    }
    let asset =
        AssetId::new(body.asset_id).map_err(|e| Problem::invalid("asset_id", e.to_string()))?;
    let mode = body.mode.map(ModeName::new).transpose();
    Ok(OpenRequest {
        asset,
        kind: body.kind,
        title: body.title,
        report: Report {
            description: body.description,
            safety: body.safety,
            production: body.production.into(),
            urgency: body.urgency.into(),
        },
        mode: mode.map_err(|e| Problem::invalid("mode", e.to_string()))?,
        fields: body.fields,
        parent: body.parent_id.map(TicketId),
        contact: None,
        idempotency_key: None,
    })
}

/// One ticket with its decision, reasons, history and reservations
#[utoipa::path(get, path = "/api/v1/tickets/{id}", tag = "tickets",
    params(("id" = String, Path, description = "the ticket's number: 7 or T-7")),
    responses((status = 200, description = "the ticket", body = TicketDetailDto,
        headers(("ETag" = String, description = "the version, for If-Match")))))]
pub(crate) async fn ticket(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
) -> Result<Response, Problem> {
    let ticket = app.state.store.ticket(ticket_id(&id)?).await?;
    detail(&app, &caller, ticket).await
}

/// Moves a ticket to another state
///
/// Resolving takes the finding. With `If-Match`, only where the ticket has not changed since it was read.
#[utoipa::path(post, path = "/api/v1/tickets/{id}/transitions", tag = "tickets", request_body = TransitionDto,
    params(
        ("id" = String, Path, description = "the ticket's number: 7 or T-7"),
        ("If-Match" = Option<String>, Header, description = "the ETag of the ticket as it was read"),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key again changes nothing")
    ),
    responses((status = 200, description = "the ticket after it", body = TicketDetailDto,
        headers(("ETag" = String, description = "the version, for If-Match")))))]
pub(crate) async fn transition(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
    headers: HeaderMap,
    ApiJson(body): ApiJson<TransitionDto>,
) -> Result<Response, Problem> {
    let id = ticket_id(&id)?;
    let mut request = checked(body)?;
    request.if_version = if_match(&headers)?;
    request.idempotency_key = idempotency_key(&headers)?;
    let ticket = app
        .state
        .desk
        .transition(id, request, caller.actor())
        .await?;
    detail(&app, &caller, ticket).await
}

/// Lays down who does a ticket, and when
///
/// The dispatcher plans around it, whatever speaks against it; what does stands in `proposal.why`. Possible until
/// the work begins. Without a technician it is left to the dispatcher again. With `If-Match`, only where the
/// ticket has not changed since it was read.
#[utoipa::path(post, path = "/api/v1/tickets/{id}/assignment", tag = "tickets", request_body = AssignmentDto,
    params(
        ("id" = String, Path, description = "the ticket's number: 7 or T-7"),
        ("If-Match" = Option<String>, Header, description = "the ETag of the ticket as it was read"),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key again changes nothing")
    ),
    responses((status = 200, description = "the ticket after it", body = TicketDetailDto,
        headers(("ETag" = String, description = "the version, for If-Match")))))]
pub(crate) async fn assign(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
    headers: HeaderMap,
    ApiJson(body): ApiJson<AssignmentDto>,
) -> Result<Response, Problem> {
    let id = ticket_id(&id)?;
    let mut request = checked_assignment(body)?;
    request.if_version = if_match(&headers)?;
    request.idempotency_key = idempotency_key(&headers)?;
    let ticket = app.state.desk.assign(id, request, caller.actor()).await?;
    detail(&app, &caller, ticket).await
}

/// An assignment from the outside, checked.
pub(crate) fn checked_assignment(body: AssignmentDto) -> Result<AssignmentRequest, Problem> {
    // Without a reason the desk refuses it, and says what the technician lacks.
    if body.why.chars().count() > WHY_CHARS_MAX {
        return Err(Problem::invalid(
            "why",
            format!("use at most {WHY_CHARS_MAX} characters"),
        ));
    }
    if body.technician.is_none() && body.start_at.is_some() {
        return Err(Problem::invalid(
            "start_at",
            "goes with a technician only".to_owned(),
        ));
    }
    Ok(AssignmentRequest {
        technician: body.technician,
        start_at: body.start_at,
        why: body.why,
        if_version: None,
        idempotency_key: None,
    })
}

/// A transition from the outside, with its names checked.
pub(crate) fn checked(body: TransitionDto) -> Result<TransitionRequest, Problem> {
    let to: TicketState = body
        .to
        .parse()
        .map_err(|e: forecare_domain::UnknownTicketState| Problem::invalid("to", e.to_string()))?;
    if body.why.chars().count() > WHY_CHARS_MAX {
        return Err(Problem::invalid(
            "why",
            format!("use at most {WHY_CHARS_MAX} characters"),
        ));
    }
    let verdict = body
        .finding
        .map(Verdict::try_from)
        .transpose()
        .map_err(|e| Problem::invalid("finding.actual", e.to_string()))?;
    let parts_used = parts_used(body.parts_used, body.units_used)?;
    Ok(TransitionRequest {
        to,
        why: body.why,
        verdict,
        technician: body.technician,
        parts_used,
        if_version: None,
        idempotency_key: None,
    })
}
