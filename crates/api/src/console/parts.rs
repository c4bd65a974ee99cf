//! Parts: stock by depot, reservations, receipts, ledger.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use forecare_store::{PageRequest, ReservationFilter, StockItem};

use super::form::Fields;
use super::format::{When, hours, money};
use super::shell::{Shell, render_with};
use super::view::{ReservationView, depot_title};
use crate::app::{App, Caller};
use crate::dto::ReceiptDto;
use crate::problem::Problem;
use crate::routes::parts::book;

/// Reservations and ledger lines shown at most; the API has all.
const SHOWN_MAX: usize = 50;

#[derive(Template)]
#[template(path = "parts.html")]
struct PartsPage {
    shell: Shell,
    parts: Vec<PartView>,
    depots: Vec<(String, String)>,
    reservations: Vec<ReservationView>,
    ledger: Vec<LineView>,
    form_key: String,
    shown_max: usize,
}

struct PartView {
    number: String,
    title: String,
    lead_time: String,
    unit_cost: String,
    stock: Vec<StockView>,
}

struct StockView {
    depot: String,
    on_hand: u32,
    soft: u32,
    hard: u32,
    available: u32,
    back_ordered: u32,
    /// Nothing to take where something is held or ordered, or nothing in any depot.
    short: bool,
}

struct LineView {
    at: When,
    kind: String,
    part: String,
    depot: String,
    delta: String,
    ticket: Option<(String, i64)>,
    by: String,
}

pub(crate) async fn page(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    show(&app, &caller, None).await
}

async fn show(app: &App, caller: &Caller, problem: Option<&Problem>) -> Result<Response, Problem> {
    let store = &app.state.store;
    let catalogue = &app.state.catalogue;
    let now = app.state.clock.now();
    let stock = store.stock().await?;
    let page = PageRequest {
        before: None,
        limit: SHOWN_MAX,
    };
    let live = ReservationFilter {
        ticket: None,
        live: true,
    };
    let reservations = store.reservations(&live, page).await?;
    let ledger = store.ledger(page).await?;
    let html = PartsPage {
        shell: Shell::new(app, caller, "parts").problem(problem),
        parts: catalogue
            .parts
            .iter()
            .map(|part| {
                let all: Vec<_> = stock.iter().filter(|s| s.part == part.number).collect();
                let left = |s: &StockItem| s.on_hand.saturating_sub(s.hard);
                let nowhere = all.iter().all(|s| left(s) == 0);
                PartView {
                    number: part.number.to_string(),
                    title: part.title.clone(),
                    lead_time: hours(part.lead_time_hours),
                    unit_cost: money(part.unit_cost, &catalogue.currency),
                    stock: all
                        .into_iter()
                        .map(|item| StockView {
                            depot: depot_title(catalogue, &item.depot),
                            on_hand: item.on_hand,
                            soft: item.soft,
                            hard: item.hard,
                            available: left(item),
                            back_ordered: item.back_ordered,
                            short: left(item) == 0
                                && (nowhere || item.soft + item.hard + item.back_ordered > 0),
                        })
                        .collect(),
                }
            })
            .collect(),
        depots: catalogue
            .depots
            .iter()
            .map(|d| (d.name.to_string(), d.title.clone()))
            .collect(),
        reservations: reservations
            .iter()
            .map(|paged| ReservationView::new(catalogue, now, &paged.item))
            .collect(),
        ledger: ledger
            .into_iter()
            .map(|paged| {
                let line = paged.item;
                LineView {
                    at: When::new(now, line.at),
                    kind: line.kind.replace('_', " "),
                    part: line.part.to_string(),
                    depot: depot_title(catalogue, &line.depot),
                    delta: format!("{:+}", line.delta).replace('-', "\u{2212}"),
                    ticket: line.ticket.map(|t| (t.to_string(), t.0)),
                    by: line.by.name,
                }
            })
            .collect(),
        form_key: app.form_key(),
        shown_max: SHOWN_MAX,
    };
    Ok(render_with(&html, problem))
}

/// Books parts that arrived and shows the parts again.
pub(crate) async fn receipt(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    fields: Fields,
) -> Result<Response, Problem> {
    let booked = async {
        let quantity = fields.need("quantity")?;
        let receipt = ReceiptDto {
            depot: fields.need("depot")?.to_owned(),
            quantity: quantity.parse().map_err(|_cause| {
                Problem::invalid("quantity", format!("\"{quantity}\" is not a number"))
            })?,
        };
        let key = fields.need("form_key")?.to_owned();
        book(&app, &caller, fields.need("part")?, receipt, key).await
    };
    match booked.await {
        Ok(_) => Ok(Redirect::to("/parts").into_response()),
        Err(problem) => show(&app, &caller, Some(&problem)).await,
    }
}
