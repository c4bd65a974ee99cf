//! Supply of parts: orders, what can be promised when, what to order.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use forecare_care::promise::{Dated, Promise, promise};
use forecare_domain::{
    DepotName, OrderId, PartNumber, PurchaseOrder, Reservation, Supply, Timestamp,
};
use forecare_store::{ReservationFilter, StockItem, StoreError, newest};
use serde::Deserialize;
use utoipa::IntoParams;

use super::parts::{QUANTITY_MAX, place};
use crate::app::{App, Caller, WHOLE_MAX, cut};
use crate::dto::{
    AvailabilityDto, PromiseDto, PurchaseOrderDto, PurchaseOrderPutDto, PurchaseOrdersDto,
    ReorderDto, ReorderListDto,
};
use crate::extract::{ApiJson, ApiPath, ApiQuery};
use crate::problem::Problem;
use crate::reorder::advice;

/// Enters an order at a supplier, or changes it
///
/// Under the buyer's own number, so that the same request again changes nothing. A receipt that names the order lowers
/// what is still to come of it.
#[utoipa::path(put, path = "/api/v1/purchase-orders/{id}", tag = "parts", request_body = PurchaseOrderPutDto,
    params(("id" = String, Path, description = "the buyer's number of it: letters, digits and - _ . :")),
    responses((status = 200, description = "the order", body = PurchaseOrderDto)))]
pub(crate) async fn put_purchase_order(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
    ApiJson(body): ApiJson<PurchaseOrderPutDto>,
) -> Result<Json<PurchaseOrderDto>, Problem> {
    Ok(Json(enter(&app, &caller, &id, body).await?.into()))
}

pub(crate) async fn enter(
    app: &App,
    caller: &Caller,
    id: &str,
    body: PurchaseOrderPutDto,
) -> Result<PurchaseOrder, Problem> {
    if body.quantity == 0 || body.quantity > QUANTITY_MAX {
        return Err(Problem::invalid(
            "quantity",
            format!("quantity must be 1 to {QUANTITY_MAX}"),
        ));
    }
    let order = PurchaseOrder {
        id: OrderId::new(id).map_err(|invalid| Problem::invalid("id", invalid.to_string()))?,
        part: PartNumber::new(&body.part)
            .map_err(|invalid| Problem::invalid("part", invalid.to_string()))?,
        depot: place("depot", &body.depot)?,
        quantity: body.quantity,
        received: 0,
        due_at: body.due_at,
        is_cancelled: body.cancelled,
        by: caller.actor(),
        at: app.state.clock.now(),
    };
    match app.state.store.put_purchase_order(order).await {
        Ok(order) => Ok(order),
        // What was not found is named in the body.
        Err(StoreError::NotFound(what)) => {
            let field = if what.starts_with("part") {
                "part"
            } else {
                "depot"
            };
            Err(Problem::invalid(field, format!("{what} was not found")))
        }
        Err(refused) => Err(refused.into()),
    }
}

/// Which orders.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderParams {
    /// True: only those of which something is still to come.
    #[serde(default)]
    #[param(default = false)]
    open: bool,
}

/// Orders at suppliers, by the time they are due
#[utoipa::path(get, path = "/api/v1/purchase-orders", tag = "parts", params(OrderParams),
    responses((status = 200, description = "the orders", body = PurchaseOrdersDto)))]
pub(crate) async fn purchase_orders(
    State(app): State<App>,
    ApiQuery(params): ApiQuery<OrderParams>,
) -> Result<Json<PurchaseOrdersDto>, Problem> {
    let orders = app.state.store.purchase_orders(params.open).await?;
    let items = orders.into_iter().map(Into::into).collect();
    Ok(Json(PurchaseOrdersDto { items }))
}

/// Where to look.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct AvailabilityParams {
    /// Only this place; without it, all together.
    depot: Option<String>,
}

/// How many of a part can be promised when
///
/// Counts what lies there, orders by the time they are due, and what tickets hold or wait for by the time they need it.
#[utoipa::path(get, path = "/api/v1/parts/{number}/availability", tag = "parts",
    params(("number" = String, Path, description = "the part's number"), AvailabilityParams),
    responses((status = 200, description = "what can be promised, from now on", body = AvailabilityDto)))]
pub(crate) async fn availability(
    State(app): State<App>,
    ApiPath(number): ApiPath<String>,
    ApiQuery(params): ApiQuery<AvailabilityParams>,
) -> Result<Json<AvailabilityDto>, Problem> {
    let parts = &app.state.catalogue.parts;
    let part = parts
        .iter()
        .find(|p| p.number.as_str() == number)
        .ok_or_else(|| Problem::not_found(format_args!("part \"{}\"", cut(&number, 128))))?;
    let depot = params.depot.as_deref();
    let depot = depot.map(|name| place("depot", name)).transpose()?;
    let supplies = Supplies::load(&app).await?;
    let now = app.state.clock.now();
    let (on_hand, points) = supplies.promises(&part.number, depot.as_ref(), now);
    Ok(Json(AvailabilityDto {
        part: number,
        depot: depot.map(Into::into),
        on_hand,
        points: points
            .into_iter()
            .map(|p| PromiseDto {
                at: p.at,
                change: p.change,
                projected: p.projected,
                promisable: p.promisable,
            })
            .collect(),
    }))
}

/// What there is, what is held or waited for, what is on order.
pub(crate) struct Supplies {
    stock: Vec<StockItem>,
    held: Vec<Reservation>,
    orders: Vec<PurchaseOrder>,
}

impl Supplies {
    pub(crate) async fn load(app: &App) -> Result<Self, StoreError> {
        let store = &app.state.store;
        let live = ReservationFilter {
            ticket: None,
            live: true,
        };
        Ok(Self {
            stock: store.stock().await?,
            held: newest(WHOLE_MAX, |page| store.reservations(&live, page)).await?,
            orders: store.purchase_orders(true).await?,
        })
    }

    /// How many of the part lie there, and what can be promised of it when; at one place, or all together.
    pub(crate) fn promises(
        &self,
        part: &PartNumber,
        depot: Option<&DepotName>,
        now: Timestamp,
    ) -> (u32, Vec<Promise>) {
        let is_here = |place: &DepotName| depot.is_none_or(|depot| depot == place);
        let its = self.stock.iter();
        let its = its.filter(|s| s.part == *part && is_here(&s.depot));
        let on_hand = its.map(|s| s.on_hand).sum();
        let needs = self.held.iter().filter(|r| r.part == *part).filter(|r| {
            is_here(match &r.supply {
                Supply::Stock { depot: at }
                | Supply::Transfer { from: at, .. }
                | Supply::BackOrder { to: at } => at,
            })
        });
        let mut dated: Vec<Dated> = needs
            .map(|r| Dated {
                at: r.needed_at,
                change: -i64::from(r.quantity.saturating_sub(r.used)),
            })
            .collect();
        let orders = self.orders.iter();
        let orders = orders.filter(|o| o.part == *part && is_here(&o.depot));
        dated.extend(orders.map(|o| Dated {
            at: o.due_at,
            change: i64::from(o.outstanding()),
        }));
        (on_hand, promise(on_hand, &dated, now))
    }
}

/// How the list is given.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReorderParams {
    /// `csv` or `json`; `json` where not given.
    format: Option<String>,
}

/// What to order now, and why
///
/// From the failure probabilities of the whole fleet over each part's lead time, and what was used beside it in the
/// past. Every part is listed, with its turnover; a quantity of 0 says that there is enough.
#[utoipa::path(get, path = "/api/v1/reorder-proposals", tag = "parts", params(ReorderParams),
    responses((status = 200, description = "the proposals", content(
        (ReorderListDto = "application/json"), (String = "text/csv")))))]
pub(crate) async fn reorder_proposals(
    State(app): State<App>,
    ApiQuery(params): ApiQuery<ReorderParams>,
) -> Result<Response, Problem> {
    let as_csv = match params.format.as_deref() {
        None | Some("json") => false,
        Some("csv") => true,
        Some(_) => return Err(Problem::bad_parameter("format", "use csv or json")),
    };
    let list = proposals(&app).await?;
    if !as_csv {
        return Ok(Json(list).into_response());
    }
    Ok(csv_file(&list))
}

/// The list as a file to keep.
pub(crate) fn csv_file(list: &ReorderListDto) -> Response {
    let head = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"reorder-proposals.csv\"",
        ),
    ];
    (head, csv(list)).into_response()
}

pub(crate) async fn proposals(app: &App) -> Result<ReorderListDto, StoreError> {
    let policy = &app.state.parts.reorder;
    let currency = &app.state.catalogue.currency;
    let (advice, history_from) = advice(app).await?;
    Ok(ReorderListDto {
        service_level: policy.service_level,
        cycle_days: policy.cycle_hours / 24.0,
        history_from,
        items: advice
            .iter()
            .map(|a| ReorderDto::new(a, currency, policy.service_level))
            .collect(),
    })
}

fn csv(list: &ReorderListDto) -> String {
    let mut text = String::from(
        "part,title,quantity,depot,cost,currency,reorder_point,order_up_to,position,on_hand,held,back_ordered,on_order,\
         lead_time_hours,expected_predicted,expected_base,short_probability,machines_at_risk,used,turns_per_year,\
         days_of_cover,slow,why\r\n",
    );
    let number = |n: Option<f64>| n.map_or_else(String::new, |n| format!("{n:.2}"));
    for r in &list.items {
        let fields = [
            quoted(&r.part),
            quoted(&r.title),
            r.quantity.to_string(),
            quoted(r.depot.as_deref().unwrap_or_default()),
            format!("{:.2}", r.cost),
            quoted(&r.currency),
            r.reorder_point.to_string(),
            r.order_up_to.to_string(),
            r.position.to_string(),
            r.on_hand.to_string(),
            r.held.to_string(),
            r.back_ordered.to_string(),
            r.on_order.to_string(),
            r.lead_time_hours.to_string(),
            format!("{:.4}", r.expected_predicted),
            format!("{:.4}", r.expected_base),
            format!("{:.4}", r.short_probability),
            r.machines_at_risk.to_string(),
            r.used.to_string(),
            number(r.turns_per_year),
            number(r.days_of_cover),
            r.slow.to_string(),
            quoted(&r.why),
        ];
        text.push_str(&fields.join(","));
        text.push_str("\r\n");
    }
    text
}

/// A text as a field of CSV (RFC 4180). What a spreadsheet would take for a formula is kept from being one.
fn quoted(text: &str) -> String {
    let guard = match text.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r') => "'",
        Some(_) | None => "",
    };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}
