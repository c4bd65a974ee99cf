//! Parts: stock by place, reservations, movements, ledger.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use forecare_domain::{DepotName, PartNumber, Unit};
use forecare_store::{PageRequest, ReservationFilter, StockItem};

use super::form::Fields;
use super::format::{When, hours, money};
use super::shell::{Shell, render_with};
use super::units::names;
use super::view::ReservationView;
use crate::app::{App, Caller, ticket_id};
use crate::dto::{FateDto, MovementDto, MovementKindDto};
use crate::problem::Problem;
use crate::routes::parts::{book, places};

/// Reservations and ledger lines shown at most; the API has all.
const SHOWN_MAX: usize = 50;

const KINDS: [(&str, &str); 9] = [
    ("receipt", "Receipt from a supplier"),
    ("issue", "Issue to a ticket or cost centre"),
    ("transfer", "Transfer to another place"),
    ("count", "Count: what was found"),
    ("return", "Return, unused"),
    ("return_scrap", "Return, defective: scrap"),
    ("return_repair", "Return, defective: repair"),
    ("repaired", "Back from repair"),
    ("scrap", "Scrap"),
];

#[derive(Template)]
#[template(path = "parts.html")]
struct PartsPage {
    shell: Shell,
    /// Movements: value and words.
    kinds: &'static [(&'static str, &'static str)],
    typed: Fields,
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
    tracked: &'static str,
    superseded_by: Option<String>,
    /// Part numbers, one after the other; empty: none.
    substitutes: String,
    stock: Vec<StockView>,
}

struct StockView {
    depot: String,
    on_hand: u32,
    soft: u32,
    hard: u32,
    available: u32,
    back_ordered: u32,
    in_repair: u32,
    bin: Option<String>,
    /// Nothing to take where something is held or ordered, or nothing in any depot.
    short: bool,
}

impl PartsPage {
    fn typed(&self, name: &str) -> &str {
        self.typed.get(name).unwrap_or_default()
    }
}

struct LineView {
    at: When,
    kind: String,
    part: String,
    depot: String,
    delta: String,
    /// Serial numbers and batches; empty: the part is not tracked.
    pieces: String,
    ticket: Option<(String, i64)>,
    cost_centre: Option<String>,
    reason: Option<String>,
    by: String,
}

pub(crate) async fn page(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    show(&app, &caller, None, Fields::of([])).await
}

/// `typed`: what the form keeps, where it could not be booked.
async fn show(
    app: &App,
    caller: &Caller,
    problem: Option<&Problem>,
    typed: Fields,
) -> Result<Response, Problem> {
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
    let places = places(app).await?;
    let title = |name: &DepotName| {
        let found = places.iter().find(|(place, _)| place == name);
        found.map_or_else(|| name.to_string(), |(_, title)| title.clone())
    };
    let html = PartsPage {
        shell: Shell::new(app, caller, "parts").problem(problem),
        kinds: &KINDS,
        typed,
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
                    tracked: part.tracking.label(),
                    superseded_by: part.superseded_by.as_ref().map(ToString::to_string),
                    substitutes: numbers(&part.substitutes),
                    stock: all
                        .into_iter()
                        .map(|item| StockView {
                            depot: title(&item.depot),
                            bin: item.bin.clone(),
                            in_repair: item.in_repair,
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
        depots: places
            .iter()
            .map(|(name, title)| (name.to_string(), title.clone()))
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
                    depot: title(&line.depot),
                    delta: format!("{:+}", line.delta).replace('-', "\u{2212}"),
                    pieces: pieces(&line.units),
                    ticket: line.ticket.map(|t| (t.to_string(), t.0)),
                    cost_centre: line.cost_centre,
                    reason: line.reason,
                    by: line.by.name,
                }
            })
            .collect(),
        form_key: app.form_key(),
        shown_max: SHOWN_MAX,
    };
    Ok(render_with(&html, problem))
}

/// Pieces of a line of the ledger: serial numbers, and batches of those without.
fn pieces(units: &[Unit]) -> String {
    let named = units.iter().filter_map(|unit| {
        let serial = unit.serial.as_ref().map(ToString::to_string);
        serial.or_else(|| unit.batch.as_ref().map(|batch| format!("batch {batch}")))
    });
    named.collect::<Vec<String>>().join(", ")
}

fn numbers(parts: &[PartNumber]) -> String {
    let numbers: Vec<&str> = parts.iter().map(PartNumber::as_str).collect();
    numbers.join(", ")
}

/// Books a movement and shows the parts again.
pub(crate) async fn movement(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    fields: Fields,
) -> Result<Response, Problem> {
    let booked = async {
        let key = fields.need("form_key")?.to_owned();
        book(&app, &caller, fields.need("part")?, entered(&fields)?, &key).await
    };
    match booked.await {
        Ok(_) => Ok(Redirect::to("/parts").into_response()),
        Err(problem) => show(&app, &caller, Some(&problem), fields).await,
    }
}

fn entered(fields: &Fields) -> Result<MovementDto, Problem> {
    let quantity = fields.need("quantity")?;
    let text = |name: &str| fields.get(name).map(str::to_owned);
    let (kind, fate) = match fields.need("kind")? {
        "receipt" => (MovementKindDto::Receipt, None),
        "issue" => (MovementKindDto::Issue, None),
        "transfer" => (MovementKindDto::Transfer, None),
        "count" => (MovementKindDto::Count, None),
        "return" => (MovementKindDto::Return, Some(FateDto::Shelf)),
        "return_scrap" => (MovementKindDto::Return, Some(FateDto::Scrap)),
        "return_repair" => (MovementKindDto::Return, Some(FateDto::Repair)),
        "repaired" => (MovementKindDto::Repaired, None),
        "scrap" => (MovementKindDto::Scrap, None),
        _ => return Err(Problem::invalid("kind", "choose a kind of movement")),
    };
    let has_consumer = matches!(kind, MovementKindDto::Issue | MovementKindDto::Return);
    let consumer = text("consumer").filter(|_| has_consumer);
    let is_ticket = consumer.as_deref().is_some_and(|c| ticket_id(c).is_ok());
    Ok(MovementDto {
        kind,
        depot: fields.need("depot")?.to_owned(),
        quantity: quantity.parse().map_err(|_cause| {
            Problem::invalid("quantity", format!("\"{quantity}\" is not a number"))
        })?,
        ticket: consumer.clone().filter(|_| is_ticket),
        cost_centre: consumer.filter(|_| !is_ticket),
        to: text("to").filter(|_| kind == MovementKindDto::Transfer),
        fate,
        order: text("order").filter(|_| kind == MovementKindDto::Receipt),
        reason: text("reason"),
        bin: text("bin"),
        batch: text("batch"),
        serials: names(fields.get("serials").unwrap_or_default()),
    })
}
