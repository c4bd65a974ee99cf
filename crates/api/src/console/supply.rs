//! Supply: what to order and why, orders on their way, what can be promised when.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use forecare_care::promise::earliest;
use forecare_domain::{PurchaseOrder, Timestamp};

use super::form::Fields;
use super::format::{When, hours, money};
use super::shell::{Shell, render_with};
use crate::app::{App, Caller};
use crate::dto::{PurchaseOrderPutDto, ReorderDto};
use crate::problem::Problem;
use crate::reorder::TURNOVER_HOURS_MIN;
use crate::routes::parts::places;
use crate::routes::supply::{Supplies, csv_file, enter, proposals};

#[derive(Template)]
#[template(path = "supply.html")]
struct SupplyPage {
    shell: Shell,
    level: String,
    cycle: String,
    history_from: When,
    parts: Vec<PartView>,
    orders: Vec<OrderView>,
    depots: Vec<(String, String)>,
    /// Today, as a date field takes it.
    today: String,
}

struct PartView {
    number: String,
    title: String,
    proposal: Option<ProposalView>,
    why: String,
    position: i64,
    reorder_point: u32,
    order_up_to: u32,
    predicted: String,
    base: String,
    short_percent: String,
    likeliest: Vec<(String, String, String)>,
    used: i64,
    /// How often it turns over and how long it lasts, or that it is too early to say.
    turnover: String,
    slow: bool,
    promise_now: u32,
    /// When one more can be promised than now.
    promise_more: Option<(u32, When)>,
    /// When parts will be missing for what is promised.
    missing: Option<(i64, When)>,
}

fn turnover(item: &ReorderDto, is_early: bool) -> String {
    if is_early {
        return "too early to say how often it turns over: that takes 30 days of use".to_owned();
    }
    let dash = || "\u{2014}".to_owned();
    let turns = item.turns_per_year.map_or_else(dash, |n| format!("{n:.1}"));
    let cover = item
        .days_of_cover
        .map_or_else(dash, |n| format!("{n:.0} d"));
    format!("turns over {turns} times a year, lasts {cover}")
}

struct ProposalView {
    quantity: u32,
    depot: String,
    cost: String,
}

struct OrderView {
    id: String,
    part: String,
    depot: String,
    quantity: u32,
    received: u32,
    due: When,
    late: bool,
}

pub(crate) async fn page(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    show(&app, &caller, None).await
}

async fn show(app: &App, caller: &Caller, problem: Option<&Problem>) -> Result<Response, Problem> {
    let now = app.state.clock.now();
    let places = places(app).await?;
    let title = |name: &str| {
        let found = places.iter().find(|(place, _)| place.as_str() == name);
        found.map_or_else(|| name.to_owned(), |(_, title)| title.clone())
    };
    let list = proposals(app).await?;
    let supplies = Supplies::load(app).await?;
    let is_early = now.hours_since(list.history_from) < TURNOVER_HOURS_MIN;
    let mut parts = Vec::with_capacity(list.items.len());
    for (item, spec) in list.items.iter().zip(&app.state.catalogue.parts) {
        let (_, points) = supplies.promises(&spec.number, None, now);
        let promise_now = points.first().map_or(0, |p| p.promisable);
        let more = points.iter().find(|p| p.promisable > promise_now);
        let missing = points.iter().find(|p| p.projected < 0);
        parts.push(PartView {
            number: item.part.clone(),
            title: item.title.clone(),
            proposal: proposal(item, title),
            why: item.why.clone(),
            position: item.position,
            reorder_point: item.reorder_point,
            order_up_to: item.order_up_to,
            predicted: format!("{:.2}", item.expected_predicted),
            base: format!("{:.2}", item.expected_base),
            short_percent: format!("{:.0} %", item.short_probability * 100.0),
            likeliest: item
                .likeliest
                .iter()
                .map(|m| {
                    let percent = format!("{:.0} %", m.probability * 100.0);
                    (m.asset_id.clone(), m.mode.clone(), percent)
                })
                .collect(),
            used: item.used,
            turnover: turnover(item, is_early),
            slow: item.slow,
            promise_now,
            promise_more: more.and_then(|p| {
                let at = earliest(&points, p.promisable)?;
                Some((p.promisable, When::new(now, at)))
            }),
            missing: missing.map(|p| (-p.projected, When::new(now, p.at))),
        });
    }
    let orders = app.state.store.purchase_orders(true).await?;
    let html = SupplyPage {
        shell: Shell::new(app, caller, "parts").problem(problem),
        level: format!("{:.0} %", list.service_level * 100.0),
        cycle: hours(list.cycle_days * 24.0),
        history_from: When::new(now, list.history_from),
        parts,
        orders: orders.iter().map(|o| order(o, now, title)).collect(),
        depots: places
            .iter()
            .map(|(name, title)| (name.to_string(), title.clone()))
            .collect(),
        today: now.to_string().chars().take(10).collect(),
    };
    Ok(render_with(&html, problem))
}

fn proposal(item: &ReorderDto, title: impl Fn(&str) -> String) -> Option<ProposalView> {
    (item.quantity > 0).then(|| ProposalView {
        quantity: item.quantity,
        depot: item.depot.as_deref().map(title).unwrap_or_default(),
        cost: money(item.cost, &item.currency),
    })
}

fn order(o: &PurchaseOrder, now: Timestamp, title: impl Fn(&str) -> String) -> OrderView {
    OrderView {
        id: o.id.to_string(),
        part: o.part.to_string(),
        depot: title(o.depot.as_str()),
        quantity: o.quantity,
        received: o.received,
        due: When::new(now, o.due_at),
        late: o.due_at < now,
    }
}

/// What to order, as a file.
pub(crate) async fn csv(State(app): State<App>) -> Result<Response, Problem> {
    Ok(csv_file(&proposals(&app).await?))
}

/// Enters an order and shows the supply again.
pub(crate) async fn put_order(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    fields: Fields,
) -> Result<Response, Problem> {
    let entered = async {
        let quantity = fields.need("quantity")?;
        let due = fields.need("due")?;
        let order = PurchaseOrderPutDto {
            part: fields.need("part")?.to_owned(),
            depot: fields.need("depot")?.to_owned(),
            quantity: quantity.parse().map_err(|_cause| {
                Problem::invalid("quantity", format!("\"{quantity}\" is not a number"))
            })?,
            due_at: format!("{due}T00:00:00Z").parse().map_err(|_cause| {
                Problem::invalid("due", format!("\"{due}\" is not a date such as 2026-03-31"))
            })?,
            cancelled: fields.get("cancelled").is_some(),
        };
        enter(&app, &caller, fields.need("id")?, order).await
    };
    match entered.await {
        Ok(_) => Ok(Redirect::to("/parts/supply").into_response()),
        Err(problem) => show(&app, &caller, Some(&problem)).await,
    }
}
