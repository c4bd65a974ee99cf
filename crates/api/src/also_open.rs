//! What else is open on the machine of a ticket: it may be the same.

use forecare_domain::{Actor, AssetId, Channel, Origin, Ticket, TicketId};
use forecare_store::{PageRequest, StoreError, TicketFilter};

use crate::app::App;
use crate::state::request_key;

/// Tickets named at most.
const NAMED_MAX: usize = 20;
/// Tickets of the machine that are looked through for one that a message says again.
const LOOKED_THROUGH: usize = 100;
/// A message of the same sender with the same subject within so many hours says the same again.
const SAME_HOURS: f64 = 24.0;

/// Other open tickets of the machine of `ticket`, newest first.
pub(crate) async fn also_open(app: &App, ticket: &Ticket) -> Result<Vec<Ticket>, StoreError> {
    let open = tickets_on(app, &ticket.asset, Some(true), NAMED_MAX + 1).await?;
    let others = open.into_iter().filter(|other| other.id != ticket.id);
    Ok(others.take(NAMED_MAX).collect())
}

/// A message that may say again what opened a ticket.
pub(crate) struct Again<'a> {
    pub(crate) by: &'a Actor,
    /// Title of the ticket that it would open.
    pub(crate) title: &'a str,
    /// Where titles are kept neutral: what the report would begin with.
    pub(crate) words: Option<&'a str>,
    /// It counts once under this key.
    pub(crate) key: &'a str,
}

/// The ticket of `asset` that `said` says again: the same sender opened it under the same title within a day, and it is
/// open. Where `said` was put to one before, that one.
pub(crate) async fn said_before(
    app: &App,
    asset: &AssetId,
    said: Again<'_>,
) -> Result<Option<TicketId>, StoreError> {
    let now = app.state.clock.now();
    let is_same = |ticket: &&Ticket| {
        let Origin::Person { by: opener } = &ticket.origin else {
            return false;
        };
        let report = ticket.work.report.as_ref();
        let says_it = |words| report.is_some_and(|r| r.description.starts_with(words));
        opener.channel == Channel::Email
            && opener.name == said.by.name
            && ticket.title.trim().eq_ignore_ascii_case(said.title.trim())
            && said.words.is_none_or(says_it)
    };
    let newest = tickets_on(app, asset, None, LOOKED_THROUGH).await?;
    // The first of them, should there be several.
    let same: Vec<&Ticket> = newest.iter().rev().filter(is_same).collect();
    for ticket in &same {
        let key = request_key(ticket.id, said.key);
        if app.state.store.outcome(&key).await?.is_some() {
            return Ok(Some(ticket.id));
        }
    }
    let lasts = |t: &&&Ticket| t.state.is_open() && now.hours_since(t.opened_at) < SAME_HOURS;
    Ok(same.iter().find(lasts).map(|ticket| ticket.id))
}

async fn tickets_on(
    app: &App,
    asset: &AssetId,
    open: Option<bool>,
    limit: usize,
) -> Result<Vec<Ticket>, StoreError> {
    let filter = TicketFilter {
        asset: Some(asset.clone()),
        open,
        ..TicketFilter::default()
    };
    let before = None;
    let page = PageRequest { before, limit };
    let found = app.state.store.tickets(&filter, page).await?;
    Ok(found.into_iter().map(|paged| paged.item).collect())
}
