//! Pieces of tracked parts: where they are, and which ones a ticket has used.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use forecare_catalogue::{Catalogue, Tracking};
use forecare_domain::{PartNumber, Reservation, Ticket, UnitAt, UnitPlace};
use forecare_store::UnitFilter;

use super::form::Fields;
use super::format::When;
use super::shell::{Shell, render_with};
use crate::app::{App, Caller};
use crate::dto::{MarksDto, UnitPlaceDto};
use crate::extract::ApiQuery;
use crate::problem::Problem;
use crate::routes::units::{UnitParams, found};

/// Pieces named beside a field at most.
const NAMED_MAX: usize = 20;

#[derive(Template)]
#[template(path = "units.html")]
struct UnitsPage {
    shell: Shell,
    part: String,
    batch: String,
    serial: String,
    asked: bool,
    is_cut: bool,
    units: Vec<UnitView>,
    machines: usize,
}

struct UnitView {
    part: String,
    serial: String,
    batch: String,
    quantity: u32,
    place: String,
    asset: Option<String>,
    ticket: Option<i64>,
    since: When,
}

/// Shows what is found of a part, a batch, a serial number.
pub(crate) async fn page(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiQuery(params): ApiQuery<UnitParams>,
) -> Result<Response, Problem> {
    let given = |field: &Option<String>| {
        let text = field.as_deref().map(str::trim);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let params = UnitParams {
        part: given(&params.part),
        batch: given(&params.batch),
        serial: given(&params.serial),
        asset: given(&params.asset),
    };
    let asked = params.part.is_some()
        || params.batch.is_some()
        || params.serial.is_some()
        || params.asset.is_some();
    let (problem, units, is_cut) = match found(&app, &params).await {
        Ok(found) if asked => (None, found.items, found.is_cut),
        Ok(_) => (None, Vec::new(), false),
        Err(problem) => (Some(problem), Vec::new(), false),
    };
    let now = app.state.clock.now();
    let assets: std::collections::BTreeSet<&String> =
        units.iter().filter_map(|u| u.asset_id.as_ref()).collect();
    let html = UnitsPage {
        shell: Shell::new(&app, &caller, "parts").problem(problem.as_ref()),
        machines: assets.len(),
        part: params.part.unwrap_or_default(),
        batch: params.batch.unwrap_or_default(),
        serial: params.serial.unwrap_or_default(),
        asked,
        is_cut,
        units: units
            .into_iter()
            .map(|unit| UnitView {
                place: match unit.place {
                    UnitPlaceDto::Shelf => {
                        format!("on the shelf at {}", unit.depot.unwrap_or_default())
                    }
                    UnitPlaceDto::Repair => {
                        format!("in repair, from {}", unit.depot.unwrap_or_default())
                    }
                    UnitPlaceDto::Scrapped => {
                        format!("scrapped at {}", unit.depot.unwrap_or_default())
                    }
                    UnitPlaceDto::CostCentre => unit.cost_centre.unwrap_or_default(),
                    UnitPlaceDto::Issued => "handed out for".to_owned(),
                    UnitPlaceDto::Installed => "installed in".to_owned(),
                },
                part: unit.part,
                serial: unit.serial.unwrap_or_default(),
                batch: unit.batch.unwrap_or_default(),
                quantity: unit.quantity,
                asset: unit.asset_id,
                ticket: unit.ticket_id,
                since: When::new(now, unit.since),
            })
            .collect(),
    };
    Ok(render_with(&html, problem.as_ref()))
}

/// Use of a part on a ticket, to be told in a form.
pub(super) struct UseView {
    pub(super) part: String,
    pub(super) title: String,
    /// Used so far, handed-out ones included.
    pub(super) used: u32,
    /// With what is still held for the ticket.
    pub(super) most: u32,
    pub(super) by_serial: bool,
    pub(super) by_batch: bool,
    /// Names of those that lie ready.
    pub(super) ready: String,
}

/// What a ticket's reservations let it use, part by part. `units` are the pieces known of these parts.
pub(super) fn uses(
    catalogue: &Catalogue,
    reservations: &[Reservation],
    units: &[UnitAt],
) -> Vec<UseView> {
    let mut parts: Vec<&PartNumber> = Vec::new();
    for r in reservations {
        if (r.state.is_live() || r.used > 0) && !parts.contains(&&r.part) {
            parts.push(&r.part);
        }
    }
    let of = |part: &PartNumber| {
        let its = || reservations.iter().filter(|r| r.part == *part);
        let used = its().map(|r| r.used).sum();
        let live = its().filter(|r| r.state.is_live());
        let open: u32 = live.map(|r| r.quantity.saturating_sub(r.used)).sum();
        let shelves: Vec<UnitPlace> = its()
            .filter_map(|r| forecare_store::shelf_of(r).cloned())
            .map(UnitPlace::Shelf)
            .collect();
        let ready = units
            .iter()
            .filter(|u| u.part == *part && shelves.contains(&u.place));
        let names: Vec<String> = ready
            .take(NAMED_MAX)
            .filter_map(|u| match (&u.serial, &u.batch) {
                (Some(serial), _) => Some(serial.to_string()),
                (None, batch) => batch.as_ref().map(ToString::to_string),
            })
            .collect();
        let tracking = catalogue.tracking(part);
        UseView {
            part: part.to_string(),
            title: catalogue
                .part(part)
                .map_or_else(|| part.to_string(), |p| p.title.clone()),
            used,
            most: used.saturating_add(open),
            by_serial: tracking == Tracking::Serial,
            by_batch: tracking == Tracking::Batch,
            ready: names.join(", "),
        }
    };
    parts.into_iter().map(of).collect()
}

/// Pieces of the tracked parts among these reservations.
pub(super) async fn known_units(
    app: &App,
    reservations: &[Reservation],
) -> Result<Vec<UnitAt>, Problem> {
    let catalogue = &app.state.catalogue;
    let parts = reservations.iter().filter(|r| r.state.is_live());
    let parts: BTreeSet<&PartNumber> = parts
        .map(|r| &r.part)
        .filter(|part| catalogue.tracking(part) != Tracking::Not)
        .collect();
    let mut units = Vec::new();
    for part in parts {
        let filter = UnitFilter {
            part: Some(part.clone()),
            ..UnitFilter::default()
        };
        units.extend(app.state.store.units(&filter).await?);
    }
    Ok(units)
}

/// Kits that the ticket's failure mode needs, with what is in them.
pub(super) fn kits_of(catalogue: &Catalogue, ticket: &Ticket) -> Vec<String> {
    let mode = ticket.mode.as_ref().filter(|_| ticket.work.parts.is_none());
    let modes = catalogue.classes.iter().flat_map(|class| &class.modes);
    let needs = modes
        .filter(|m| Some(&m.name) == mode)
        .flat_map(|m| &m.parts);
    let numbers: BTreeSet<&PartNumber> = needs.filter_map(|need| need.kit.as_ref()).collect();
    let kits = numbers
        .into_iter()
        .filter_map(|number| catalogue.kit(number));
    kits.map(|kit| {
        let parts: Vec<String> = kit
            .parts
            .iter()
            .map(|need| format!("{} x {}", need.quantity, need.part))
            .collect();
        format!("{} ({}): {}", kit.title, kit.number, parts.join(", "))
    })
    .collect()
}

/// Parts used as a form tells it: quantities by part, and which pieces.
pub(super) type Used = (BTreeMap<String, u32>, BTreeMap<String, MarksDto>);

/// Reads what [`uses`] asked for. Nothing is used of a part whose field says 0.
pub(super) fn entered(fields: &Fields) -> Result<Used, Problem> {
    let mut quantities: BTreeMap<String, u32> = BTreeMap::new();
    for (part, n) in fields.with_prefix("used:") {
        let n: u32 = n
            .parse()
            .map_err(|_cause| Problem::invalid("parts_used", format!("\"{n}\" is not a number")))?;
        let sum = quantities.entry(part.to_owned()).or_default();
        *sum = sum.saturating_add(n);
    }
    let mut units: BTreeMap<String, MarksDto> = BTreeMap::new();
    for (part, text) in fields.with_prefix("serials:") {
        let serials = names(text);
        if !serials.is_empty() {
            units.entry(part.to_owned()).or_default().serials = serials;
        }
    }
    for (part, text) in fields.with_prefix("batch:") {
        if !text.trim().is_empty() {
            units.entry(part.to_owned()).or_default().batch = Some(text.trim().to_owned());
        }
    }
    Ok((quantities, units))
}

/// Names one after the other, by commas or blanks.
pub(super) fn names(text: &str) -> Vec<String> {
    text.split(|c: char| c.is_whitespace() || c == ',' || c == ';')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}
