//! What messages to our own people say beside the notice: the visit as whoever goes there has to know it, and what somebody
//! wrote. Read when the message is written, so that it says what holds then.

use forecare_api::{sender_name, unplaced_notice};
use forecare_care::told_to_do;
use forecare_domain::{
    AssetId, EntryBody, Notice, NoticeKind, Reservation, Supply, Ticket, TicketId, Timestamp,
};
use forecare_notify::{Visit, VisitPart};
use forecare_registry::{Body, Contact, RecordId, RecordKind, RecordRef};
use forecare_store::{PageRequest, ReservationFilter, StoreError, every};

use super::Notifier;

/// Characters told of what somebody wrote.
const WORDS_CHARS_MAX: usize = 500;
/// Entries of a ticket, or messages of the inbox, that are looked through for it: the newest.
const LOOKED_THROUGH: usize = 100;

/// What a message says beside its notice.
#[derive(Debug, Default)]
pub(super) struct About {
    pub(super) visit: Visit,
    pub(super) words: String,
    pub(super) sender: String,
}

impl Notifier {
    /// What a message to one of ours says beside `notice`.
    pub(super) async fn about(&self, notice: &Notice) -> Result<About, StoreError> {
        match (&notice.what, notice.ticket) {
            (NoticeKind::TicketAssigned { .. }, Some(ticket)) => Ok(About {
                visit: self.visit(ticket).await?,
                ..About::default()
            }),
            (NoticeKind::TicketMessage, Some(ticket)) => self.said(ticket, notice.at).await,
            (NoticeKind::MailUnplaced { .. }, _) => self.unplaced(notice).await,
            _ => Ok(About::default()),
        }
    }

    /// What a customer wrote on `ticket` until `at`, the last of it.
    async fn said(&self, ticket: TicketId, at: Timestamp) -> Result<About, StoreError> {
        let entries = self.store.ticket_entries(ticket, newest()).await?;
        let mut entries = entries.into_iter().map(|paged| paged.item);
        let said = entries.find_map(|entry| match entry.body {
            EntryBody::Note { text, .. } if entry.by.is_customer() && entry.at <= at => {
                Some((text, entry.by.name))
            }
            EntryBody::Note { .. } | EntryBody::Time { .. } | EntryBody::Attachment(_) => None,
        });
        Ok(said.map_or_else(About::default, |(text, sender)| About {
            words: begin(&text),
            sender,
            ..About::default()
        }))
    }

    /// The message in the inbox that `notice` is about.
    async fn unplaced(&self, notice: &Notice) -> Result<About, StoreError> {
        let mails = self.store.mails(false, newest()).await?;
        let mut mails = mails.into_iter().map(|paged| paged.item);
        let mail = mails.find(|mail| unplaced_notice(&mail.message_id) == notice.id);
        Ok(mail.map_or_else(About::default, |mail| About {
            words: begin(&mail.text),
            // The address stays in the inbox.
            sender: sender_name(&mail.from),
            ..About::default()
        }))
    }

    async fn visit(&self, id: TicketId) -> Result<Visit, StoreError> {
        let ticket = self.store.ticket(id).await?;
        let now = self.clock.now();
        let machine = self.store.asset(&ticket.asset).await?;
        let (mut place, address) = self.terms.address(&ticket.asset, now);
        if place.is_empty() {
            let site = machine.iter().map(|asset| asset.site.clone());
            place = site.filter(|site| !site.is_empty()).collect();
        }
        let (serial, _) = self.owned(&ticket.asset).await?;
        let customer = self.customer_of(&ticket).await?;
        let held = ReservationFilter {
            ticket: Some(id),
            live: true,
        };
        let held = every(|page| self.store.reservations(&held, page)).await?;
        let (customer, contact) = match customer {
            Some(id) => self.whom(&id, &ticket).await?,
            None => (String::new(), String::new()),
        };
        let start_at = told_to_do(&ticket).and_then(|(_, start_at)| start_at);
        Ok(Visit {
            machine: machine.map_or_else(String::new, |asset| asset.name),
            serial,
            place,
            address,
            customer,
            contact,
            start_at,
            procedure: ticket.procedure,
            parts: held.iter().map(|r| self.part(r, now)).collect(),
        })
    }

    /// Serial number and owner of a machine, as far as the registry knows them.
    pub(super) async fn owned(
        &self,
        asset: &AssetId,
    ) -> Result<(String, Option<RecordId>), StoreError> {
        let key = RecordRef::new(RecordKind::Asset, RecordId::from(asset));
        Ok(match self.store.record(&key).await?.and_then(|r| r.body) {
            Some(Body::Asset(details)) => (details.serial.unwrap_or_default(), details.customer),
            Some(_) | None => (String::new(), None),
        })
    }

    /// The customer's name, and whom to speak to: who wrote, else the first of their contacts.
    async fn whom(&self, id: &RecordId, ticket: &Ticket) -> Result<(String, String), StoreError> {
        let key = RecordRef::new(RecordKind::Customer, id.clone());
        let Some(Body::Customer(customer)) = self.store.record(&key).await?.and_then(|r| r.body)
        else {
            return Ok((String::new(), String::new()));
        };
        let wrote = ticket.work.contact.as_ref();
        let wrote = wrote.filter(|of| of.customer == id.as_str());
        let is_it = |c: &&Contact| wrote.is_some_and(|of| of.contact == c.id.as_str());
        let contact = customer.contacts.iter().find(is_it);
        let contact = contact.or_else(|| customer.contacts.first()).map(|c| {
            let ways = c.channels.iter().map(|to| to.address.clone());
            let all: Vec<String> = std::iter::once(c.name.clone()).chain(ways).collect();
            all.join(", ")
        });
        Ok((customer.name, contact.unwrap_or_default()))
    }

    fn part(&self, held: &Reservation, now: Timestamp) -> VisitPart {
        let part = self.desk.catalogue.part(&held.part);
        let (at, is_at_depot) = match &held.supply {
            Supply::Stock { depot } => (depot, true),
            Supply::Transfer { to, .. } | Supply::BackOrder { to } => (to, false),
        };
        VisitPart {
            part: held.part.to_string(),
            title: part.map_or_else(String::new, |part| part.title.clone()),
            quantity: held.quantity.saturating_sub(held.used),
            at: at.to_string(),
            is_there: is_at_depot && held.available_at <= now,
            available_at: held.available_at,
        }
    }
}

fn newest() -> PageRequest {
    PageRequest {
        before: None,
        limit: LOOKED_THROUGH,
    }
}

/// The beginning of `text`.
fn begin(text: &str) -> String {
    let text = text.trim();
    let mut begin: String = text.chars().take(WORDS_CHARS_MAX).collect();
    if begin.len() < text.len() {
        begin.push('\u{2026}');
    }
    begin
}
