//! What a customer says about a ticket, wherever that ticket has gone meanwhile: somebody hears it.

use std::collections::BTreeMap;

use forecare_care::work::WorkStep;
use forecare_domain::{
    Actor, Channel, ContactRef, Report, Ticket, TicketId, TicketKind, Visibility,
};
use forecare_store::{PageRequest, StoreError, TicketFilter};

use crate::app::App;
use crate::state::{DeskError, OpenRequest, Work, WorkRequest, opening_key, request_key};

/// Merges that are followed.
pub(crate) const MERGES_MAX: usize = 16;
/// Tickets after a closed one that are looked at.
const FOLLOW_UPS_MAX: usize = 50;
/// Times a note is tried that somebody else's step comes before.
const TRIES: usize = 5;

/// What a customer says.
pub(crate) struct Said {
    /// In their words, or what they chose.
    pub(crate) text: String,
    /// Who may read it.
    pub(crate) visibility: Visibility,
    /// Kind of the ticket that is opened where theirs is over.
    pub(crate) kind: String,
    /// The same again changes nothing.
    pub(crate) key: Option<String>,
    /// The customer's contact who says it by e-mail.
    pub(crate) contact: Option<ContactRef>,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It stands on this ticket, and its technician is told.
    Noted(TicketId),
    /// The ticket is over, or full: this one follows it up.
    FollowedUp(TicketId),
}

/// Puts what a customer says to ticket `id`, or the one it was merged into; where that is over, opens one that follows it
/// up.
pub(crate) async fn hear(
    app: &App,
    id: TicketId,
    said: Said,
    by: &Actor,
) -> Result<Heard, DeskError> {
    let desk = &app.state.desk;
    let mut ticket = read(app, id).await?;
    let mut followed = 0;
    while let Some(into) = ticket.work.merged_into.filter(|_| followed < MERGES_MAX) {
        // It was heard before the merge.
        if is_done(app, &ticket, said.key.as_deref()).await? {
            return Ok(Heard::Noted(ticket.id));
        }
        ticket = read(app, into).await?;
        followed += 1;
    }
    let mut is_full = false;
    for _ in 0..TRIES {
        if (is_over(&ticket) || is_full) && !is_done(app, &ticket, said.key.as_deref()).await? {
            if let Some(after) = followed_up(app, &ticket, &said).await? {
                ticket = after;
                is_full = false;
                continue;
            }
            let request = OpenRequest {
                asset: ticket.asset.clone(),
                kind: said.kind,
                title: format!("After {}: {}", ticket.id, ticket.title),
                report: Report {
                    description: said.text,
                    ..Report::default()
                },
                mode: None,
                fields: BTreeMap::new(),
                parent: Some(ticket.id),
                // By the customer's page: whoever was written to there is answered.
                contact: said.contact.or_else(|| {
                    let by_page = by.channel == Channel::Customer;
                    ticket.work.contact.clone().filter(|_| by_page)
                }),
                idempotency_key: said.key,
            };
            let opened = desk.open_ticket(request, by.clone()).await?;
            return Ok(Heard::FollowedUp(opened.id));
        }
        let request = WorkRequest {
            step: Work::Step(WorkStep::Note {
                text: said.text.clone(),
                visibility: said.visibility,
            }),
            if_version: None,
            idempotency_key: said.key.clone(),
        };
        match desk.work(ticket.id, request, by.clone()).await {
            Ok(noted) => return Ok(Heard::Noted(noted.id)),
            // Its clocks, or somebody, wrote to it in between.
            Err(DeskError::Conflict(_)) => {
                let again = read(app, ticket.id).await?;
                // Nobody did: it takes no more notes.
                is_full = again.version == ticket.version;
                ticket = again;
            }
            Err(failure) => return Err(failure),
        }
    }
    Err(DeskError::Unavailable(format!(
        "{} changes all the time; try again in a moment",
        ticket.id
    )))
}

async fn read(app: &App, id: TicketId) -> Result<Ticket, DeskError> {
    let ticket = app.state.store.ticket(id).await;
    ticket.map_err(|failure| match failure {
        StoreError::NotFound(_) => DeskError::NotFound(failure.to_string()),
        StoreError::Conflict(_)
        | StoreError::Unavailable { .. }
        | StoreError::Misconfigured(_)
        | StoreError::Corrupt { .. } => DeskError::Unavailable(failure.to_string()),
    })
}

fn is_over(ticket: &Ticket) -> bool {
    forecare_care::allowed(ticket.state).is_empty()
}

/// The ticket that follows `over` up already, and lasts; `None` where this is what opened it.
async fn followed_up(app: &App, over: &Ticket, said: &Said) -> Result<Option<Ticket>, DeskError> {
    let store = &app.state.store;
    let failed = |failure: StoreError| DeskError::Unavailable(failure.to_string());
    if let Some(key) = &said.key
        && store
            .outcome(&opening_key(key))
            .await
            .map_err(failed)?
            .is_some()
    {
        return Ok(None);
    }
    let filter = TicketFilter {
        parent: Some(over.id),
        open: Some(true),
        ..TicketFilter::default()
    };
    let page = PageRequest {
        before: None,
        limit: FOLLOW_UPS_MAX,
    };
    let after = store.tickets(&filter, page).await.map_err(failed)?;
    let mut after = after.into_iter().map(|paged| paged.item);
    Ok(after.find(|ticket| ticket.kind.as_str() == said.kind))
}

/// Whether this was put to the ticket before it was over.
async fn is_done(app: &App, ticket: &Ticket, key: Option<&str>) -> Result<bool, DeskError> {
    let Some(key) = key else { return Ok(false) };
    let done = app.state.store.outcome(&request_key(ticket.id, key)).await;
    done.map(|outcome| outcome.is_some())
        .map_err(|failure| DeskError::Unavailable(failure.to_string()))
}

/// Kind of the ticket that follows up one that a customer is not content with.
pub(crate) fn complaint() -> String {
    TicketKind::complaint().to_string()
}
