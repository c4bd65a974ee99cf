//! What a ticket has cost so far: hours booked and parts used, as the figures count them.

use std::collections::BTreeSet;

use forecare_domain::{EntryBody, Ticket, TicketId};
use forecare_store::{PageRequest, StoreError, TicketFilter, every};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::for_whom::ForWhom;
use crate::used::quantities_used;

/// Tickets of the machine that are looked at for those that were merged into this one.
const LOOKED_THROUGH: usize = 1_000;

/// What a ticket has cost so far.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = TicketCost)]
pub(crate) struct TicketCostDto {
    /// The catalogue's currency.
    pub(crate) currency: String,
    /// Labour and parts together.
    pub(crate) total: f64,
    /// Minutes that people booked, travel included.
    pub(crate) minutes: u64,
    /// What an hour costs, as configured today.
    pub(crate) labour_per_hour: f64,
    /// The minutes at that price.
    pub(crate) labour: f64,
    /// Why the customer does not pay for labour: warranty, or contract; null: they do.
    pub(crate) labour_paid_by: Option<String>,
    /// What of the total neither warranty nor contract includes: for the customer's invoice, at these prices.
    pub(crate) billable: f64,
    /// Parts used, by number, at today's prices; those given back unused are not among them.
    pub(crate) parts: Vec<PartCostDto>,
    /// Tickets that were merged into this one: what was booked on them is counted here.
    pub(crate) with_merged: Vec<i64>,
    /// How the sum comes about, in words.
    pub(crate) why: String,
}

/// What a part that was used costs.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = PartCost)]
pub(crate) struct PartCostDto {
    /// Its number.
    pub(crate) part: String,
    /// What people call it.
    pub(crate) title: String,
    /// How many.
    pub(crate) quantity: i64,
    /// The price of one; null: the catalogue does not have it any more, and it counts for nothing.
    pub(crate) unit_cost: Option<f64>,
    /// Quantity x price.
    pub(crate) cost: f64,
    /// Why the customer does not pay for it: warranty, or contract; null: they do.
    pub(crate) paid_by: Option<String>,
}

/// This ticket and those that were merged into it, directly or not.
async fn with_merged(app: &App, ticket: &Ticket) -> Result<BTreeSet<TicketId>, StoreError> {
    let filter = TicketFilter {
        asset: Some(ticket.asset.clone()),
        ..TicketFilter::default()
    };
    let page = PageRequest {
        before: None,
        limit: LOOKED_THROUGH,
    };
    let its = app.state.store.tickets(&filter, page).await?;
    let mut all = BTreeSet::from([ticket.id]);
    loop {
        let before = all.len();
        let into = |t: &&forecare_store::Paged<Ticket>| {
            t.item.work.merged_into.is_some_and(|id| all.contains(&id))
        };
        let more: Vec<TicketId> = its.iter().filter(into).map(|t| t.item.id).collect();
        all.extend(more);
        if all.len() == before {
            return Ok(all);
        }
    }
}

/// What `ticket` has cost so far, and what of it is to be paid by the customer it is for; `None`: nothing was booked on it.
pub(crate) async fn of_ticket(
    app: &App,
    ticket: &Ticket,
    customer: Option<&ForWhom>,
) -> Result<Option<TicketCostDto>, StoreError> {
    let (store, catalogue) = (&app.state.store, &app.state.catalogue);
    let all = with_merged(app, ticket).await?;
    let (mut minutes, mut lines) = (0_u64, Vec::new());
    for id in &all {
        for entry in every(|page| store.ticket_entries(*id, page)).await? {
            if let EntryBody::Time { minutes: more, .. } = entry.body {
                minutes += u64::from(more);
            }
        }
        lines.extend(store.ledger_of(*id).await?);
    }
    let parts: Vec<PartCostDto> = quantities_used(&lines)
        .into_iter()
        .map(|(number, quantity)| {
            let part = catalogue.part(&number);
            PartCostDto {
                title: part.map_or_else(|| number.to_string(), |p| p.title.clone()),
                unit_cost: part.map(|p| p.unit_cost),
                cost: part.map_or(0.0, |p| p.unit_cost * quantity as f64),
                paid_by: customer.and_then(|c| c.part_paid_by(ticket, number.as_str())),
                part: number.to_string(),
                quantity,
            }
        })
        .collect();
    if minutes == 0 && parts.is_empty() {
        return Ok(None);
    }
    let labour_per_hour = app.state.costs.labour_per_hour;
    let labour = minutes as f64 / 60.0 * labour_per_hour;
    let total = labour + parts.iter().map(|p| p.cost).sum::<f64>();
    let labour_paid_by = customer.and_then(|c| c.labour_paid_by(ticket));
    let billed = parts.iter().filter(|p| p.paid_by.is_none());
    let billable = billed.map(|p| p.cost).sum::<f64>()
        + if labour_paid_by.is_none() {
            labour
        } else {
            0.0
        };
    let currency = catalogue.currency.clone();
    let mut why =
        format!("{minutes} min booked, travel included, at {labour_per_hour} {currency} an hour");
    for p in &parts {
        let price = p.unit_cost.unwrap_or(0.0);
        why.push_str(&format!(
            " + {} x {} at {price} {currency}",
            p.quantity, p.part
        ));
    }
    Ok(Some(TicketCostDto {
        with_merged: all
            .into_iter()
            .filter(|id| *id != ticket.id)
            .map(|id| id.0)
            .collect(),
        currency,
        total,
        minutes,
        labour_per_hour,
        labour,
        labour_paid_by,
        billable,
        parts,
        why,
    }))
}
