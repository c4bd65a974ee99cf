//! Spare parts: stock, receipts, reservations, ledger.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use forecare_catalogue::PartSpec;
use forecare_store::{ReservationFilter, StockCommand, StockItem, StockMove};
use serde::Deserialize;
use utoipa::IntoParams;

use super::assets::depot;
use crate::app::{App, Caller, cut, ticket_id};
use crate::dto::{LedgerEntryDto, PartDto, ReceiptDto, ReservationDto, StockDto};
use crate::extract::{ApiJson, ApiPath, ApiQuery, idempotency_key};
use crate::page::{List, Page, PageParams};
use crate::problem::Problem;

/// Parts of one receipt at most: more is a slip of the finger.
const RECEIPT_MAX: u32 = 1_000_000;

/// A list that is given whole: the catalogue bounds it.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(crate) struct PartsDto {
    /// The parts, in the catalogue's order.
    pub(crate) items: Vec<PartDto>,
}

/// Parts with their stock by depot
#[utoipa::path(get, path = "/api/v1/parts", tag = "parts",
    responses((status = 200, description = "the parts", body = PartsDto)))]
pub(crate) async fn parts(State(app): State<App>) -> Result<Json<PartsDto>, Problem> {
    let stock = app.state.store.stock().await?;
    let currency = &app.state.catalogue.currency;
    let items = app
        .state
        .catalogue
        .parts
        .iter()
        .map(|part| with_stock(part, currency, &stock))
        .collect();
    Ok(Json(PartsDto { items }))
}

fn with_stock(part: &PartSpec, currency: &str, stock: &[StockItem]) -> PartDto {
    PartDto {
        number: part.number.to_string(),
        title: part.title.clone(),
        lead_time_hours: part.lead_time_hours,
        unit_cost: part.unit_cost,
        currency: currency.to_owned(),
        stock: stock
            .iter()
            .filter(|item| item.part == part.number)
            .cloned()
            .map(Into::into)
            .collect(),
    }
}

/// Books parts that arrived; back-orders are served first
///
/// `Idempotency-Key` is required: without one, a repeated request would book the parts twice.
#[utoipa::path(post, path = "/api/v1/parts/{number}/receipts", tag = "parts", request_body = ReceiptDto,
    params(
        ("number" = String, Path, description = "the part's number"),
        ("Idempotency-Key" = String, Header, description = "the same key again changes nothing")
    ),
    responses((status = 201, description = "the stock after it", body = StockDto)))]
pub(crate) async fn receipt(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(number): ApiPath<String>,
    headers: HeaderMap,
    ApiJson(body): ApiJson<ReceiptDto>,
) -> Result<(StatusCode, Json<StockDto>), Problem> {
    let key = idempotency_key(&headers)?.ok_or_else(|| {
        Problem::bad_parameter(
            "Idempotency-Key",
            "give a key of your own: without one, a repeated request would book the parts twice",
        )
    })?;
    let item = book(&app, &caller, &number, body, key).await?;
    Ok((StatusCode::CREATED, Json(item.into())))
}

pub(crate) async fn book(
    app: &App,
    caller: &Caller,
    number: &str,
    body: ReceiptDto,
    idempotency_key: String,
) -> Result<StockItem, Problem> {
    let part = app
        .state
        .catalogue
        .parts
        .iter()
        .find(|p| p.number.as_str() == number)
        .ok_or_else(|| Problem::not_found(format_args!("part \"{}\"", cut(number, 128))))?;
    if body.quantity == 0 || body.quantity > RECEIPT_MAX {
        return Err(Problem::invalid(
            "quantity",
            format!("quantity must be 1 to {RECEIPT_MAX}"),
        ));
    }
    let command = StockCommand {
        idempotency_key,
        kind: StockMove::Receipt,
        part: part.number.clone(),
        depot: depot(app, &body.depot)?,
        quantity: body.quantity,
        by: caller.actor(),
        at: app.state.clock.now(),
    };
    Ok(app.state.store.move_stock(command).await?)
}

/// Which reservations.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReservationParams {
    /// Only of this ticket: 7 or T-7.
    ticket: Option<String>,
    /// True: only those that hold stock, or wait for it.
    #[serde(default)]
    #[param(default = false)]
    live: bool,
    /// `next_cursor` of the page before; without it, the first page.
    cursor: Option<String>,
    /// Entries of a page, 1 to 500; 50 where not given.
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<u16>,
}

/// Reservations, newest first
#[utoipa::path(get, path = "/api/v1/reservations", tag = "parts", params(ReservationParams),
    responses((status = 200, description = "a page of reservations", body = Page<ReservationDto>)))]
pub(crate) async fn reservations(
    State(app): State<App>,
    ApiQuery(params): ApiQuery<ReservationParams>,
) -> Result<Json<Page<ReservationDto>>, Problem> {
    let ticket = match params.ticket.as_deref().map(ticket_id) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(_)) => {
            return Err(Problem::bad_parameter(
                "ticket",
                "use a number such as 7 or T-7",
            ));
        }
    };
    let filter = ReservationFilter {
        ticket,
        live: params.live,
    };
    let request = PageParams::new(params.cursor, params.limit).request(List::Reservations)?;
    let found = app.state.store.reservations(&filter, request).await?;
    Ok(Json(Page::of(
        List::Reservations,
        request,
        found,
        ReservationDto::from,
    )))
}

/// The append-only stock ledger, newest first
#[utoipa::path(get, path = "/api/v1/ledger", tag = "parts", params(PageParams),
    responses((status = 200, description = "a page of movements", body = Page<LedgerEntryDto>)))]
pub(crate) async fn ledger(
    State(app): State<App>,
    ApiQuery(page): ApiQuery<PageParams>,
) -> Result<Json<Page<LedgerEntryDto>>, Problem> {
    let request = page.request(List::Ledger)?;
    let found = app.state.store.ledger(request).await?;
    Ok(Json(Page::of(
        List::Ledger,
        request,
        found,
        LedgerEntryDto::from,
    )))
}
