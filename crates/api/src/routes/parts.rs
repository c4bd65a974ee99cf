//! Spare parts: stock, movements, reservations, ledger.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use forecare_catalogue::PartSpec;
use forecare_domain::{Consumer, DepotName, OrderId, VAN_PREFIX};
use forecare_registry::{Body, RecordKind};
use forecare_store::{
    RecordFilter, RecordPage, ReservationFilter, StockCommand, StockItem, StockMove, StockOutcome,
    StoreError,
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::{App, Caller, cut, ticket_id};
use crate::dto::{
    FateDto, KitDto, LedgerEntryDto, MovedDto, MovementDto, MovementKindDto, PartDto, ReceiptDto,
    ReservationDto, StockDto,
};
use crate::extract::{ApiJson, ApiPath, ApiQuery, idempotency_key};
use crate::page::{List, Page, PageParams};
use crate::problem::Problem;
use crate::routes::units::marks;

/// Parts of one movement at most: more is a slip of the finger.
pub(crate) const QUANTITY_MAX: u32 = 1_000_000;
/// Characters of a reason, a bin, a cost centre at most.
const LINE_CHARS_MAX: usize = 200;
/// Depots, and vans, on record offered at most; others are reached by their name.
const PLACES_MAX: usize = 1_000;

/// Places named where another is not known.
const PLACES_NAMED_MAX: usize = 20;

/// A list that is given whole: the catalogue bounds it.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(crate) struct PartsDto {
    /// The parts, in the catalogue's order.
    pub(crate) items: Vec<PartDto>,
    /// Kits made of them.
    pub(crate) kits: Vec<KitDto>,
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
    let kits = app.state.catalogue.kits.iter().map(|kit| KitDto {
        number: kit.number.to_string(),
        title: kit.title.clone(),
        parts: kit
            .parts
            .iter()
            .map(|need| (need.part.to_string(), need.quantity))
            .collect(),
    });
    Ok(Json(PartsDto {
        items,
        kits: kits.collect(),
    }))
}

fn with_stock(part: &PartSpec, currency: &str, stock: &[StockItem]) -> PartDto {
    PartDto {
        number: part.number.to_string(),
        title: part.title.clone(),
        lead_time_hours: part.lead_time_hours,
        unit_cost: part.unit_cost,
        currency: currency.to_owned(),
        superseded_by: part.superseded_by.as_ref().map(ToString::to_string),
        substitutes: part.substitutes.iter().map(ToString::to_string).collect(),
        tracked: part.tracking.label().to_owned(),
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
/// `Idempotency-Key` is required: without one, a repeated request would book the parts twice. Short for a movement of
/// the kind `receipt`.
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
    let key = needed_key(&headers)?;
    let movement = MovementDto {
        kind: MovementKindDto::Receipt,
        depot: body.depot,
        quantity: body.quantity,
        ticket: None,
        cost_centre: None,
        to: None,
        fate: None,
        order: body.order,
        reason: None,
        bin: None,
        batch: body.batch,
        serials: body.serials,
    };
    let outcome = book(&app, &caller, &number, movement, &key).await?;
    Ok((StatusCode::CREATED, Json(outcome.item.into())))
}

/// Moves stock: receipt, issue, transfer, count, return, scrap
///
/// `Idempotency-Key` is required: without one, a repeated request would book the movement twice. Keys are the caller's
/// own: another caller's same key is another one. A key that was used for something else is refused with 409, as is
/// what stock or holds do not allow.
#[utoipa::path(post, path = "/api/v1/parts/{number}/movements", tag = "parts", request_body = MovementDto,
    params(
        ("number" = String, Path, description = "the part's number"),
        ("Idempotency-Key" = String, Header, description = "the same key again changes nothing")
    ),
    responses((status = 201, description = "the stock after it, and what became short", body = MovedDto)))]
pub(crate) async fn movement(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(number): ApiPath<String>,
    headers: HeaderMap,
    ApiJson(body): ApiJson<MovementDto>,
) -> Result<(StatusCode, Json<MovedDto>), Problem> {
    let key = needed_key(&headers)?;
    let of = body.order.clone();
    let outcome = book(&app, &caller, &number, body, &key).await?;
    let mut moved = MovedDto::from(outcome);
    if let Some(order) = of {
        moved.more_than_ordered = more_than_ordered(&app, order.trim()).await?;
    }
    Ok((StatusCode::CREATED, Json(moved)))
}

/// That more has arrived of an order than was ordered, and what to do; `None`: it has not.
async fn more_than_ordered(app: &App, order: &str) -> Result<Option<String>, Problem> {
    let orders = app.state.store.purchase_orders(false).await?;
    let found = orders.into_iter().find(|o| o.id.as_str() == order);
    let over = found.filter(|o| o.received > o.quantity);
    Ok(over.map(|o| {
        format!(
            "{} of order {} have arrived, {} were ordered: if the supplier sent more, set the order's quantity; if it is a slip, count the shelf",
            o.received, o.id, o.quantity
        )
    }))
}

fn needed_key(headers: &HeaderMap) -> Result<String, Problem> {
    idempotency_key(headers)?.ok_or_else(|| {
        Problem::bad_parameter(
            "Idempotency-Key",
            "give a key of your own: without one, a repeated request would book the parts twice",
        )
    })
}

pub(crate) async fn book(
    app: &App,
    caller: &Caller,
    number: &str,
    body: MovementDto,
    idempotency_key: &str,
) -> Result<StockOutcome, Problem> {
    let part = app
        .state
        .catalogue
        .parts
        .iter()
        .find(|p| p.number.as_str() == number)
        .ok_or_else(|| Problem::not_found(format_args!("part \"{}\"", cut(number, 128))))?;
    let least = u32::from(body.kind != MovementKindDto::Count);
    if body.quantity < least || body.quantity > QUANTITY_MAX {
        return Err(Problem::invalid(
            "quantity",
            format!("quantity must be {least} to {QUANTITY_MAX}"),
        ));
    }
    let command = StockCommand {
        // Scoped, so that nobody's key is answered with another one's movement. A tab is in no header.
        idempotency_key: format!("{}\t{idempotency_key}", caller.name),
        kind: kind(&body)?,
        part: part.number.clone(),
        depot: place("depot", &body.depot)?,
        quantity: body.quantity,
        order: order(&body)?,
        reason: line("reason", body.reason.as_deref())?,
        bin: line("bin", body.bin.as_deref())?,
        marks: marks(body.batch.as_deref(), &body.serials)?,
        by: caller.actor(),
        at: app.state.clock.now(),
    };
    match app.state.store.move_stock(command).await {
        Ok(outcome) => Ok(outcome),
        // A place where nothing ever was has no stock either.
        Err(StoreError::NotFound(_) | StoreError::Conflict(_))
            if !is_place(app, &body.depot).await? && !has_stock(app, &body.depot).await? =>
        {
            Err(unknown_place(app, "depot", &body.depot).await?)
        }
        // The part is there: what was not found is named in the body.
        Err(StoreError::NotFound(what)) => {
            let field = if what.starts_with("ticket") {
                "ticket"
            } else if what.starts_with("order") {
                "order"
            } else {
                let to = body.to.as_deref().unwrap_or_default();
                return Err(unknown_place(app, "to", to).await?);
            };
            Err(Problem::invalid(field, format!("{what} was not found")))
        }
        Err(refused) => Err(refused.into()),
    }
}

/// Refuses a place that is not known, and names those that are.
async fn unknown_place(app: &App, field: &str, name: &str) -> Result<Problem, Problem> {
    let known = places(app).await?;
    let n_more = known.len().saturating_sub(PLACES_NAMED_MAX);
    let names = known.iter().take(PLACES_NAMED_MAX);
    let mut names: Vec<String> = names.map(|(name, _)| name.to_string()).collect();
    if n_more > 0 {
        names.push(format!("and {n_more} more"));
    }
    let names = names.join(", ");
    let name = cut(name, 128);
    Ok(Problem::invalid(
        field,
        format!("there is no depot or van \"{name}\"; use {names}"),
    ))
}

/// Some was once booked there, though it is no depot any more.
async fn has_stock(app: &App, name: &str) -> Result<bool, Problem> {
    let stock = app.state.store.stock().await?;
    Ok(stock.iter().any(|item| item.depot.as_str() == name))
}

async fn is_place(app: &App, name: &str) -> Result<bool, Problem> {
    let known = places(app).await?;
    Ok(known.iter().any(|(place, _)| place.as_str() == name))
}

/// The places that take parts in, with their titles: depots of the catalogue, then depots and vans on record.
pub(crate) async fn places(app: &App) -> Result<Vec<(DepotName, String)>, StoreError> {
    let depots = &app.state.catalogue.depots;
    let mut places: Vec<(DepotName, String)> = depots
        .iter()
        .map(|d| (d.name.clone(), d.title.clone()))
        .collect();
    for (kind, prefix) in [(RecordKind::Depot, ""), (RecordKind::Van, VAN_PREFIX)] {
        let page = RecordPage {
            after: None,
            limit: PLACES_MAX,
        };
        let records = app
            .state
            .store
            .records(kind, &RecordFilter::default(), &page)
            .await?;
        for record in records {
            let title = match &record.body {
                Some(Body::Depot(depot)) => depot.name.clone(),
                Some(Body::Van(van)) => van.name.clone(),
                _ => continue,
            };
            let Ok(name) = DepotName::new(format!("{prefix}{}", record.record.id)) else {
                continue;
            };
            if places.iter().all(|(known, _)| *known != name) {
                places.push((name, title));
            }
        }
    }
    Ok(places)
}

fn kind(body: &MovementDto) -> Result<StockMove, Problem> {
    let belongs = |field: &str, is_given: bool, to: bool| match (is_given, to) {
        (true, false) => Err(Problem::invalid(
            field,
            format!("{field} does not belong to this kind of movement"),
        )),
        (false, _) | (true, true) => Ok(()),
    };
    let is_return = body.kind == MovementKindDto::Return;
    let has_consumer = is_return || body.kind == MovementKindDto::Issue;
    belongs("ticket", body.ticket.is_some(), has_consumer)?;
    belongs("cost_centre", body.cost_centre.is_some(), has_consumer)?;
    belongs("fate", body.fate.is_some(), is_return)?;
    let is_transfer = body.kind == MovementKindDto::Transfer;
    belongs("to", body.to.is_some(), is_transfer)?;
    let is_receipt = body.kind == MovementKindDto::Receipt;
    belongs("order", body.order.is_some(), is_receipt)?;
    Ok(match body.kind {
        MovementKindDto::Receipt => StockMove::Receipt,
        MovementKindDto::Scrap => StockMove::Scrap,
        MovementKindDto::Count => StockMove::Count,
        MovementKindDto::Repaired => StockMove::Repaired,
        MovementKindDto::Issue => StockMove::Issue {
            to: consumer(body)?,
        },
        MovementKindDto::Return => StockMove::Return {
            from: consumer(body)?,
            fate: body.fate.unwrap_or(FateDto::Shelf).into(),
        },
        MovementKindDto::Transfer => {
            let to = body.to.as_deref();
            let to = to.ok_or_else(|| Problem::invalid("to", "say where the parts go"))?;
            StockMove::Transfer {
                to: place("to", to)?,
            }
        }
    })
}

fn order(body: &MovementDto) -> Result<Option<OrderId>, Problem> {
    let Some(id) = line("order", body.order.as_deref())? else {
        return Ok(None);
    };
    let id = OrderId::new(id).map_err(|invalid| Problem::invalid("order", invalid.to_string()))?;
    Ok(Some(id))
}

fn consumer(body: &MovementDto) -> Result<Consumer, Problem> {
    let centre = line("cost_centre", body.cost_centre.as_deref())?;
    match (&body.ticket, centre) {
        (Some(ticket), None) => ticket_id(ticket)
            .map(Consumer::Ticket)
            .map_err(|_unknown| Problem::invalid("ticket", "use a number such as 7 or T-7")),
        (None, Some(centre)) => Ok(Consumer::CostCentre(centre)),
        (Some(_), Some(_)) => Err(Problem::invalid(
            "cost_centre",
            "name a ticket or a cost centre, not both",
        )),
        (None, None) => Err(Problem::invalid(
            "ticket",
            "name the ticket, or the cost centre",
        )),
    }
}

pub(crate) fn place(field: &str, name: &str) -> Result<DepotName, Problem> {
    DepotName::new(name).map_err(|invalid| Problem::invalid(field, invalid.to_string()))
}

/// One line of text, without surrounding blanks; empty: none.
fn line(field: &str, text: Option<&str>) -> Result<Option<String>, Problem> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if text.chars().count() > LINE_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(Problem::invalid(
            field,
            format!("use one line of at most {LINE_CHARS_MAX} characters"),
        ));
    }
    Ok(Some(text.to_owned()))
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
