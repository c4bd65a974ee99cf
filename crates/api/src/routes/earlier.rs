//! Earlier work like a ticket's: what was found and done.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use forecare_domain::{Asset, AssetId, ClassName, Ticket, TicketState, Timestamp, Verdict};
use forecare_store::{PageRequest, TicketFilter};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::{App, ticket_id};
use crate::dto::VerdictDto;
use crate::extract::ApiPath;
use crate::problem::Problem;

/// Ended tickets looked at, of the machine and of all, newest first.
const LOOKED_AT: usize = 1_000;
/// Earlier work shown.
const SHOWN_MAX: usize = 8;

/// Earlier work like a ticket's.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EarlierWork)]
pub(crate) struct EarlierDto {
    /// On this machine before others, the same failure before others, then the newest first.
    pub(crate) items: Vec<EarlierItemDto>,
}

/// A ticket that was resolved.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EarlierTicket)]
pub(crate) struct EarlierItemDto {
    /// Its number.
    pub(crate) id: i64,
    /// One line for people.
    pub(crate) title: String,
    /// The machine.
    pub(crate) asset_id: String,
    /// True: the machine is the same.
    pub(crate) same_asset: bool,
    /// True: the failure mode is the same, and known.
    pub(crate) same_mode: bool,
    /// When it was resolved.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) resolved_at: Timestamp,
    /// What was found.
    pub(crate) finding: VerdictDto,
    /// What was done, in the technician's words; may be empty.
    pub(crate) done: String,
}

/// Resolved tickets of the same machine, and of others of its class with the same failure: what was found and done
///
/// Eight at most, of the newest 1,000 that have ended.
#[utoipa::path(get, path = "/api/v1/tickets/{id}/earlier", tag = "tickets",
    params(("id" = String, Path, description = "the ticket's number: 7 or T-7")),
    responses((status = 200, description = "the tickets", body = EarlierDto)))]
pub(crate) async fn earlier(
    State(app): State<App>,
    ApiPath(id): ApiPath<String>,
) -> Result<Json<EarlierDto>, Problem> {
    let ticket = app.state.store.ticket(ticket_id(&id)?).await?;
    let assets = app.state.store.assets().await?;
    let found = like(&app, &ticket, &assets).await?;
    let items = found.into_iter().filter_map(|old| item(&ticket, old));
    let items = items.collect();
    Ok(Json(EarlierDto { items }))
}

fn item(ticket: &Ticket, old: Ticket) -> Option<EarlierItemDto> {
    let resolved = resolution(&old)?;
    Some(EarlierItemDto {
        id: old.id.0,
        same_asset: old.asset == ticket.asset,
        same_mode: is_same_mode(ticket, &old),
        asset_id: old.asset.to_string(),
        resolved_at: resolved.0,
        done: resolved.1.to_owned(),
        finding: old.verdict.clone()?.into(),
        title: old.title,
    })
}

/// When a ticket was resolved last, and what was said then.
pub(crate) fn resolution(ticket: &Ticket) -> Option<(Timestamp, &str)> {
    let mut changes = ticket.history.iter().rev();
    let last = changes.find(|c| c.enters(TicketState::Resolved))?;
    Some((last.at, last.why.as_str()))
}

/// What was wrong, where that is known.
fn fault(ticket: &Ticket) -> Option<&str> {
    match &ticket.verdict {
        Some(Verdict::WrongMode { actual }) => Some(actual.as_str()),
        Some(_) | None => ticket.mode.as_ref().map(|mode| mode.as_str()),
    }
}

fn is_same_mode(ticket: &Ticket, old: &Ticket) -> bool {
    let mode = ticket.mode.as_ref().map(|mode| mode.as_str());
    mode.is_some() && fault(old) == mode
}

/// Resolved tickets like `ticket`: of its machine, or of its class with the same failure.
pub(crate) async fn like(
    app: &App,
    ticket: &Ticket,
    assets: &[Asset],
) -> Result<Vec<Ticket>, Problem> {
    let store = &app.state.store;
    let page = PageRequest {
        before: None,
        limit: LOOKED_AT,
    };
    let ended = |asset: Option<&AssetId>| TicketFilter {
        asset: asset.cloned(),
        open: Some(false),
        ..TicketFilter::default()
    };
    let assets = assets.iter();
    let classes: BTreeMap<&AssetId, &ClassName> = assets.map(|a| (&a.id, &a.class)).collect();
    let own = store.tickets(&ended(Some(&ticket.asset)), page).await?;
    let mut found: Vec<Ticket> = own.into_iter().map(|t| t.item).collect();
    if ticket.mode.is_some() {
        let class = classes.get(&ticket.asset);
        let others = store.tickets(&ended(None), page).await?.into_iter();
        let others = others.map(|t| t.item).filter(|old| {
            old.asset != ticket.asset
                && is_same_mode(ticket, old)
                && classes.get(&old.asset) == class
        });
        found.extend(others);
    }
    found.retain(|old| old.id != ticket.id && old.verdict.is_some());
    found.sort_by_key(|old| {
        let is_elsewhere = old.asset != ticket.asset;
        let at = resolution(old).map(|(at, _)| at);
        (
            is_elsewhere,
            !is_same_mode(ticket, old),
            std::cmp::Reverse(at),
        )
    });
    found.truncate(SHOWN_MAX);
    Ok(found)
}
