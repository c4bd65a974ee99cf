//! One asset: health, plots, alarms, tickets, events, maintenance.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use forecare_domain::{Asset, EventSeverity, PartNumber, Timestamp};
use forecare_registry::{Body, Date, Purpose, RecordKind, RecordRef};
use forecare_store::{AlarmFilter, PageRequest, TicketFilter, UnitFilter};

use super::customers::{ContractView, contract_view, covered, place};
use super::form::Fields;
use super::format::{self, Bar, When};
use super::shell::{Shell, render_with};
use super::view::{
    AlarmView, ReasonView, TicketView, depot_title, mode_title, part_title, reasons,
};
use crate::app::{App, Caller};
use crate::dto::{NewMaintenanceWindowDto, UnitDto, UnitPlaceDto};
use crate::extract::ApiPath;
use crate::overview;
use crate::problem::Problem;
use crate::routes::assets::set_window;
use crate::routes::units::where_units;

/// Alarms, tickets and events shown at most; the API has all.
const SHOWN_MAX: usize = 20;
/// Pieces of tracked parts shown at most.
const FITTED_MAX: usize = 200;

#[derive(Template)]
#[template(path = "asset.html")]
struct AssetPage {
    shell: Shell,
    id: String,
    name: String,
    device: String,
    class: String,
    site: String,
    depot: String,
    health: Option<HealthView>,
    online: Option<bool>,
    seen: Option<When>,
    /// Begin of the first and end of the last reading, for the plots' "all".
    first: String,
    last: String,
    alarms: Vec<AlarmView>,
    tickets: Vec<TicketView>,
    events: Vec<EventView>,
    windows: Vec<WindowView>,
    window_from: String,
    window_to: String,
    back: String,
    master: Option<MasterView>,
    /// Pieces of tracked parts that are in it, or were handed out for it.
    fitted: Vec<FittedView>,
    fitted_is_cut: bool,
}

/// A piece of a tracked part.
struct FittedView {
    part: String,
    title: String,
    serial: String,
    batch: String,
    quantity: u32,
    since: When,
    ticket: Option<i64>,
    /// Handed out for work that goes on; else it is in the machine.
    is_issued: bool,
}

/// What the registry knows of the asset.
struct MasterView {
    serial: String,
    model: String,
    manufacturer: String,
    firmware: String,
    installed: String,
    commissioned: String,
    warranty: Option<(String, bool)>,
    place: String,
    since: Option<When>,
    /// Id and name.
    customer: Option<(String, String)>,
    /// The customer does not have its failures predicted.
    unpredicted: bool,
    /// The contract that speaks for it, and by what.
    contract: Option<(ContractView, &'static str)>,
    parts: Vec<String>,
    documents: Vec<(String, String)>,
}

struct HealthView {
    at: When,
    health: Bar,
    anomaly: String,
    rul: Option<[String; 3]>,
    prognoses: Vec<PrognosisView>,
}

struct PrognosisView {
    mode: String,
    probability: Bar,
    horizon: String,
    reasons: Vec<ReasonView>,
}

struct EventView {
    at: When,
    code: String,
    severity: &'static str,
    component: String,
    message: String,
}

struct WindowView {
    from: When,
    to: When,
    why: String,
    now: bool,
}

pub(crate) async fn page(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
) -> Result<Response, Problem> {
    show(&app, &caller, &id, None).await
}

async fn show(
    app: &App,
    caller: &Caller,
    id: &str,
    problem: Option<&Problem>,
) -> Result<Response, Problem> {
    let store = &app.state.store;
    let catalogue = &app.state.catalogue;
    let now = app.state.clock.now();
    let asset = app.asset(id).await?;
    let device = &asset.device;
    let health = store.health().await?;
    let statuses = store.statuses().await?;
    let status = statuses.iter().find(|s| &s.device == device);
    let health = health.iter().find(|h| &h.device == device);
    let heard = [health.map(|h| h.at), status.map(|s| s.at)];
    let page = PageRequest {
        before: None,
        limit: SHOWN_MAX,
    };
    let alarm_filter = AlarmFilter {
        device: Some(device.clone()),
        active: None,
    };
    let alarms = store.alarms(&alarm_filter, page).await?;
    let ticket_filter = TicketFilter {
        asset: Some(asset.id.clone()),
        open: None,
        ..TicketFilter::default()
    };
    let tickets = store.tickets(&ticket_filter, page).await?;
    let events = store.events(Some(device), page).await?;
    let windows = store.maintenance_windows(now).await?;
    let first = store.rows_after(device, None, 1).await?;
    let last = store.newest_reading(device).await?;

    let of_asset = UnitFilter {
        asset: Some(asset.id.clone()),
        ..UnitFilter::default()
    };
    let (units, is_cut) = where_units(store.as_ref(), &of_asset).await?;

    let html = AssetPage {
        shell: Shell::new(app, caller, "fleet").problem(problem),
        class: catalogue
            .class(&asset.class)
            .map_or_else(|| asset.class.to_string(), |c| c.title.clone()),
        depot: asset
            .depot
            .as_ref()
            .or_else(|| catalogue.depots.first().map(|d| &d.name))
            .map_or_else(String::new, |d| depot_title(catalogue, d)),
        health: health.map(|h| health_view(app, &asset, now, h)),
        online: status.map(|s| s.online),
        seen: heard
            .into_iter()
            .flatten()
            .max()
            .map(|at| When::new(now, at)),
        first: first
            .first()
            .map_or_else(String::new, |row| row.ts.to_string()),
        last: last.map_or_else(String::new, |ts| ts.to_string()),
        alarms: alarms
            .into_iter()
            .map(|paged| AlarmView::new(catalogue, Some(&asset), now, paged.item))
            .collect(),
        tickets: tickets
            .iter()
            .map(|paged| TicketView::new(catalogue, Some(&asset), now, &paged.item))
            .collect(),
        events: events
            .into_iter()
            .map(|record| EventView {
                at: When::new(now, record.item.ts),
                code: record.item.code,
                severity: match record.item.severity {
                    EventSeverity::Info => "info",
                    EventSeverity::Warning => "warning",
                    EventSeverity::Error => "critical",
                },
                component: record.item.component.map_or_else(String::new, Into::into),
                message: record.item.message,
            })
            .collect(),
        windows: windows
            .into_iter()
            .filter(|w| &w.device == device)
            .map(|w| WindowView {
                now: w.from <= now && now < w.to,
                from: When::new(now, w.from),
                to: When::new(now, w.to),
                why: w.why,
            })
            .collect(),
        window_from: minute(now),
        window_to: minute(now.plus_hours(4.0)),
        master: master(app, &asset, now).await?,
        fitted_is_cut: is_cut || units.len() > FITTED_MAX,
        fitted: units
            .into_iter()
            .take(FITTED_MAX)
            .map(|unit| fitted(app, now, unit))
            .collect(),
        back: format!(
            "/assets/{}",
            crate::percent::percent_encoded(asset.id.as_str())
        ),
        id: asset.id.to_string(),
        name: asset.name.clone(),
        device: asset.device.to_string(),
        site: asset.site.clone(),
    };
    Ok(render_with(&html, problem))
}

fn fitted(app: &App, now: Timestamp, unit: UnitDto) -> FittedView {
    let number = PartNumber::new(&unit.part).ok();
    FittedView {
        title: number.map_or_else(String::new, |n| part_title(&app.state.catalogue, &n)),
        part: unit.part,
        serial: unit.serial.unwrap_or_default(),
        batch: unit.batch.unwrap_or_default(),
        quantity: unit.quantity,
        since: When::new(now, unit.since),
        ticket: unit.ticket_id,
        is_issued: unit.place == UnitPlaceDto::Issued,
    }
}

async fn master(app: &App, asset: &Asset, now: Timestamp) -> Result<Option<MasterView>, Problem> {
    let Some(placed) = overview::of_asset(app, asset).await? else {
        return Ok(None);
    };
    let details = &placed.details;
    let day = Date::of(now);
    let mut unpredicted = false;
    let customer = match &details.customer {
        None => None,
        Some(id) => {
            let key = RecordRef::new(RecordKind::Customer, id.clone());
            let body = app.state.store.record(&key).await?.and_then(|r| r.body);
            if let Some(Body::Customer(customer)) = &body {
                let presumed = app.state.presumed;
                unpredicted = !presumed.allows(customer, Purpose::Prediction, now);
            }
            let name = body.map_or_else(|| id.to_string(), |b| b.title().to_owned());
            Some((id.to_string(), name))
        }
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let date = |date: Option<Date>| date.map_or_else(String::new, |d| d.to_string());
    Ok(Some(MasterView {
        serial: text(&details.serial),
        model: text(&details.model),
        manufacturer: text(&details.manufacturer),
        firmware: text(&details.firmware),
        installed: date(details.installed_on),
        commissioned: date(details.commissioned_on),
        warranty: details
            .warranty_until
            .map(|until| (until.to_string(), day <= until)),
        place: place(&placed.place),
        since: details.position_at(now).map(|p| When::new(now, p.from)),
        customer,
        unpredicted,
        contract: placed
            .contract
            .as_ref()
            .map(|(id, contract, by)| (contract_view(id, contract, day), covered(*by))),
        parts: details
            .bill_of_parts
            .iter()
            .map(|item| {
                let place = item.place.as_ref().map(|place| format!(" ({place})"));
                let serial = item.serial.as_ref().map(|s| format!(", no. {s}"));
                format!(
                    "{} × {}{}{}",
                    item.quantity,
                    item.part,
                    place.unwrap_or_default(),
                    serial.unwrap_or_default()
                )
            })
            .collect(),
        documents: details
            .documents
            .iter()
            .map(|d| (d.title.clone(), d.url.clone()))
            .collect(),
    }))
}

fn health_view(
    app: &App,
    asset: &Asset,
    now: Timestamp,
    h: &forecare_domain::AssetHealth,
) -> HealthView {
    let catalogue = &app.state.catalogue;
    let mut prognoses: Vec<_> = h.prognoses.iter().collect();
    prognoses.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    HealthView {
        at: When::new(now, h.at),
        health: Bar::health(h.health),
        anomaly: format::number(h.anomaly),
        rul: h.rul.quantiles_hours().map(|q| q.map(format::hours)),
        prognoses: prognoses
            .into_iter()
            .map(|p| PrognosisView {
                mode: mode_title(catalogue, Some(asset), &p.mode),
                probability: Bar::risk(p.probability),
                horizon: format::hours(p.horizon_hours),
                reasons: reasons(catalogue, Some(asset), &p.contributions),
            })
            .collect(),
    }
}

/// A time as the form's `datetime-local` writes it, in UTC.
fn minute(at: Timestamp) -> String {
    at.to_string().chars().take(16).collect()
}

fn from_minute(fields: &Fields, name: &str) -> Result<Timestamp, Problem> {
    let text = fields.need(name)?;
    let full = match text.len() {
        16 => format!("{text}:00Z"),
        _ => format!("{text}Z"),
    };
    full.parse().map_err(|_cause| {
        Problem::invalid(
            name,
            format!("\"{name}\" is not a time such as 2026-01-31T08:00"),
        )
    })
}

/// Sets a maintenance window and shows the asset again.
pub(crate) async fn set_maintenance(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
    fields: Fields,
) -> Result<Response, Problem> {
    let set = async {
        let window = NewMaintenanceWindowDto {
            from: from_minute(&fields, "from")?,
            to: from_minute(&fields, "to")?,
            why: fields.get("why").unwrap_or_default().to_owned(),
        };
        set_window(&app, &id, window).await
    };
    match set.await {
        Ok(_) => {
            let back = format!("/assets/{}", crate::percent::percent_encoded(&id));
            Ok(Redirect::to(&back).into_response())
        }
        Err(problem) => show(&app, &caller, &id, Some(&problem)).await,
    }
}
