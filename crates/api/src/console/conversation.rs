//! What was written between a ticket's customer and us, as their page shows it: public notes of both sides.

use forecare_domain::{EntryBody, Origin, Ticket, Visibility};
use forecare_store::PageRequest;

use super::answer::Words;
use super::format::span;
use crate::app::App;
use crate::problem::Problem;

/// Entries of a ticket that are looked through: the newest.
const LOOKED_AT: usize = 500;
/// Messages shown: the newest.
const SHOWN_MAX: usize = 50;

/// A message.
pub(super) struct MessageView {
    /// `We` or `You`.
    pub(super) who: &'static str,
    /// By the clock of the appointments' calendar.
    pub(super) at: String,
    pub(super) text: String,
}

/// The messages on `ticket`, oldest first. Names are left out: a link may be passed on.
pub(super) async fn read(
    app: &App,
    words: &'static Words,
    ticket: &Ticket,
) -> Result<Vec<MessageView>, Problem> {
    let page = PageRequest {
        before: None,
        limit: LOOKED_AT,
    };
    let calendar = &app.state.appointments.calendar;
    let at = |ts| span(calendar, &words.weekdays, ts, ts);
    let side = |is_customer| if is_customer { words.you } else { words.we };
    let entries = app.state.store.ticket_entries(ticket.id, page).await?;
    let public = entries.into_iter().filter_map(|paged| {
        let entry = paged.item;
        match entry.body {
            EntryBody::Note {
                text,
                visibility: Visibility::Public,
            } => Some(MessageView {
                who: side(entry.by.is_customer()),
                at: at(entry.at),
                text,
            }),
            EntryBody::Note { .. } | EntryBody::Time { .. } | EntryBody::Attachment(_) => None,
        }
    });
    let mut messages: Vec<MessageView> = public.take(SHOWN_MAX).collect();
    // What a contact of theirs opened it with; what anybody else wrote is not theirs to read.
    let is_theirs = ticket.work.is_contacts
        && matches!(&ticket.origin, Origin::Person { by } if by.is_customer());
    let report = ticket.work.report.as_ref().filter(|_| is_theirs);
    if let Some(report) = report.filter(|r| !r.description.is_empty() && messages.len() < SHOWN_MAX)
    {
        messages.push(MessageView {
            who: words.you,
            at: at(ticket.opened_at),
            text: report.description.clone(),
        });
    }
    messages.reverse();
    Ok(messages)
}
