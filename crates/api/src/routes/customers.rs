//! One customer at a glance.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::{Extension, Json};
use forecare_domain::AssetId;
use forecare_registry::Date;

use crate::app::{App, Caller};
use crate::dto::{
    AlarmDto, CustomerOverviewDto, OwnedAssetDto, OwnedContractDto, OwnedLeadDto, ReservationDto,
    TicketDto, withhold,
};
use crate::extract::ApiPath;
use crate::overview::{self, Owned};
use crate::problem::Problem;

/// A customer with tier, contracts, assets, open work, visits and parts
#[utoipa::path(get, path = "/api/v1/customers/{id}/overview", tag = "registry",
    params(("id" = String, Path, description = "the customer's id")),
    responses((status = 200, description = "the customer", body = CustomerOverviewDto)))]
pub(crate) async fn customer_overview(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
) -> Result<Json<CustomerOverviewDto>, Problem> {
    let mut found = overview::of_customer(&app, &id).await?;
    if !caller.needs_to_know() {
        withhold(&mut found.customer);
    }
    let day = Date::of(app.state.clock.now());
    let mut open: BTreeMap<&AssetId, u64> = BTreeMap::new();
    for ticket in &found.tickets {
        *open.entry(&ticket.asset).or_default() += 1;
    }
    let assets = found
        .assets
        .iter()
        .map(|owned| asset(owned, open.get(&owned.asset.id).copied().unwrap_or(0)))
        .collect();
    Ok(Json(CustomerOverviewDto {
        id: found.id.to_string(),
        version: found.version,
        tier: found.tier.into(),
        contracts: found
            .contracts
            .into_iter()
            .map(|(id, body)| OwnedContractDto {
                id: id.to_string(),
                in_force: body.is_valid_on(day),
                body,
            })
            .collect(),
        assets,
        open_tickets: found.tickets.iter().map(TicketDto::from).collect(),
        alarms: found.alarms.into_iter().map(AlarmDto::from).collect(),
        recent_visits: found.visits.iter().map(TicketDto::from).collect(),
        reservations: found
            .reservations
            .into_iter()
            .map(ReservationDto::from)
            .collect(),
        leads: found
            .leads
            .into_iter()
            .map(|(id, body)| OwnedLeadDto {
                id: id.to_string(),
                body,
            })
            .collect(),
        customer: found.customer,
    }))
}

fn asset(owned: &Owned, n_open_tickets: u64) -> OwnedAssetDto {
    let (asset, placed) = (&owned.asset, &owned.placed);
    let details = &placed.details;
    OwnedAssetDto {
        id: asset.id.to_string(),
        name: asset.name.clone(),
        class: asset.class.to_string(),
        serial: details.serial.clone(),
        model: details.model.clone(),
        warranty_until: details.warranty_until.map(|d| d.to_string()),
        location: placed.place.iter().map(|(_, name)| name.clone()).collect(),
        contract_id: placed.contract.as_ref().map(|(id, ..)| id.to_string()),
        health: owned.health.clone().map(Into::into),
        n_open_tickets,
    }
}
