//! Where pieces of tracked parts are: on which shelf, in which machine.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use axum::Json;
use axum::extract::State;
use forecare_domain::{
    AssetId, BatchNumber, Marks, PartNumber, PartUsed, SerialNumber, Ticket, TicketId, UnitAt,
    UnitPlace,
};
use forecare_store::{Store, StoreError, UnitFilter};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::App;
use crate::dto::{MarksDto, UnitDto, UnitPlaceDto};
use crate::extract::ApiQuery;
use crate::problem::Problem;

/// Serial numbers named in one go at most.
const SERIALS_MAX: usize = 1_000;

/// Which pieces.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnitParams {
    /// Only of this part.
    pub(crate) part: Option<String>,
    /// Only of this batch.
    pub(crate) batch: Option<String>,
    /// Only with this serial number.
    pub(crate) serial: Option<String>,
    /// Only those handed out to, or fitted on, tickets of this machine.
    pub(crate) asset: Option<String>,
}

/// Pieces, all of them, up to a bound.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(crate) struct UnitsDto {
    /// The pieces, by part, serial number and batch.
    pub(crate) items: Vec<UnitDto>,
    /// True where there are more than are shown: ask for less.
    pub(crate) is_cut: bool,
}

/// Where pieces of tracked parts are: which shelf, which machine
///
/// `?batch=B7` answers a recall: every shelf and every machine with parts of that batch. At most 10,000 pieces.
#[utoipa::path(get, path = "/api/v1/units", tag = "parts", params(UnitParams),
    responses((status = 200, description = "the pieces", body = UnitsDto)))]
pub(crate) async fn units(
    State(app): State<App>,
    ApiQuery(params): ApiQuery<UnitParams>,
) -> Result<Json<UnitsDto>, Problem> {
    Ok(Json(found(&app, &params).await?))
}

pub(crate) async fn found(app: &App, params: &UnitParams) -> Result<UnitsDto, Problem> {
    let named = |field: &'static str, e: forecare_domain::InvalidName| {
        Problem::bad_parameter(field, e.to_string())
    };
    let (part, batch, serial, asset) = (
        params.part.as_deref().map(PartNumber::new).transpose(),
        params.batch.as_deref().map(BatchNumber::new).transpose(),
        params.serial.as_deref().map(SerialNumber::new).transpose(),
        params.asset.as_deref().map(AssetId::new).transpose(),
    );
    let filter = UnitFilter {
        part: part.map_err(|e| named("part", e))?,
        batch: batch.map_err(|e| named("batch", e))?,
        serial: serial.map_err(|e| named("serial", e))?,
        asset: asset.map_err(|e| named("asset", e))?,
    };
    let (items, is_cut) = where_units(app.state.store.as_ref(), &filter).await?;
    Ok(UnitsDto { items, is_cut })
}

/// Pieces with the machines they are in, and whether there are more than these.
///
/// # Errors
/// Those of the store.
pub async fn where_units(
    store: &dyn Store,
    filter: &UnitFilter,
) -> Result<(Vec<UnitDto>, bool), StoreError> {
    let units = store.units(filter).await?;
    let is_cut = units.len() >= forecare_store::UNITS_MAX;
    let mut tickets: BTreeMap<TicketId, Ticket> = BTreeMap::new();
    let mut shown = Vec::with_capacity(units.len());
    for unit in units {
        let ticket = match unit.place {
            UnitPlace::Ticket(id) => {
                let known = tickets.entry(id);
                Some(match known {
                    Entry::Occupied(found) => &*found.into_mut(),
                    Entry::Vacant(new) => &*new.insert(store.ticket(id).await?),
                })
            }
            UnitPlace::Shelf(_)
            | UnitPlace::Repair(_)
            | UnitPlace::CostCentre(_)
            | UnitPlace::Scrapped(_) => None,
        };
        shown.push(shown_as(unit, ticket));
    }
    Ok((shown, is_cut))
}

fn shown_as(unit: UnitAt, ticket: Option<&Ticket>) -> UnitDto {
    let (place, depot, cost_centre) = match unit.place {
        UnitPlace::Shelf(depot) => (UnitPlaceDto::Shelf, Some(depot), None),
        UnitPlace::Repair(depot) => (UnitPlaceDto::Repair, Some(depot), None),
        UnitPlace::Scrapped(depot) => (UnitPlaceDto::Scrapped, Some(depot), None),
        UnitPlace::CostCentre(name) => (UnitPlaceDto::CostCentre, None, Some(name)),
        // Handed out until the work is over; then it is in the machine.
        UnitPlace::Ticket(_) if ticket.is_some_and(|t| t.state.is_open()) => {
            (UnitPlaceDto::Issued, None, None)
        }
        UnitPlace::Ticket(_) => (UnitPlaceDto::Installed, None, None),
    };
    UnitDto {
        part: unit.part.into(),
        batch: unit.batch.map(Into::into),
        serial: unit.serial.map(Into::into),
        quantity: unit.quantity,
        place,
        depot: depot.map(Into::into),
        cost_centre,
        ticket_id: ticket.map(|t| t.id.0),
        asset_id: ticket.map(|t| t.asset.to_string()),
        since: unit.since,
    }
}

/// Which pieces are named, checked; serial numbers in order, so that the same ones are the same request.
pub(crate) fn marks(batch: Option<&str>, serials: &[String]) -> Result<Marks, Problem> {
    let text = |text: &str| text.trim().to_owned();
    let batch = batch.map(text).filter(|batch| !batch.is_empty());
    let batch = batch
        .map(BatchNumber::new)
        .transpose()
        .map_err(|e| Problem::invalid("batch", e.to_string()))?;
    if serials.len() > SERIALS_MAX {
        return Err(Problem::invalid(
            "serials",
            format!("name at most {SERIALS_MAX} in one go"),
        ));
    }
    let mut serials = serials
        .iter()
        .map(|serial| SerialNumber::new(serial.trim()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| Problem::invalid("serials", e.to_string()))?;
    serials.sort();
    Ok(Marks { batch, serials })
}

/// Parts used, and which pieces, as one list.
pub(crate) fn parts_used(
    quantities: BTreeMap<String, u32>,
    units: BTreeMap<String, MarksDto>,
) -> Result<Vec<PartUsed>, Problem> {
    let number = |part: &str| {
        PartNumber::new(part).map_err(|e| Problem::invalid("parts_used", e.to_string()))
    };
    let mut used = Vec::with_capacity(quantities.len());
    for (part, quantity) in quantities {
        used.push(PartUsed::from((number(&part)?, quantity)));
    }
    for (part, named) in units {
        let part = number(&part)?;
        let marks = marks(named.batch.as_deref(), &named.serials)?;
        match used.iter_mut().find(|u| u.part == part) {
            Some(used) => used.marks = marks,
            None => used.push(PartUsed {
                part,
                quantity: 0,
                marks,
            }),
        }
    }
    Ok(used)
}
