//! Who is told: names to people, people to addresses, addresses to deliveries. No I/O, no clock.

use std::borrow::Cow;

use forecare_care::appointments::agreed_start;
use forecare_care::dispatch::is_assignable;
use forecare_care::visit_start;
use forecare_domain::{Notice, NoticeKind, Priority, Ticket, TicketState, Timestamp};
use forecare_registry::{
    Contact, ContactAddress, Customer, DataConsent, Purpose, RecordId, Technician,
};
use forecare_store::NewDelivery;

use crate::hours::Hours;
use crate::settings::{Notify, PersonSettings, RuleSettings};
use crate::template::language_of;

/// What the registry and the service levels say of a notice's ticket.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AddressBook {
    /// Whom the level that was reached names.
    pub escalation: Vec<String>,
    /// Of a message on a ticket that nobody has: whom the first level of the escalation chain names.
    pub first_level: Vec<String>,
    /// All technicians.
    pub technicians: Vec<(RecordId, Technician)>,
    /// Whose the machine is.
    pub customer: Option<Customer>,
    /// Id of the contact who last wrote about the ticket, or sent the message.
    pub contact: Option<String>,
    /// Time zone of the machine's place.
    pub time_zone: Option<String>,
    /// They have said how the work went: they are not asked again.
    pub has_answered: bool,
}

/// Who is told, and who could not be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routed {
    /// The deliveries.
    pub deliveries: Vec<NewDelivery>,
    /// Names that no address was found for, with the reason.
    pub unreachable: Vec<String>,
    /// Why none of the customer's people is told, where they would be: nobody agreed to it, or nobody can be reached.
    /// Their choice, and no fault of ours.
    pub untold: Option<Untold>,
}

/// That the customer is not written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untold {
    /// How the work went would have been asked; else they would have been told something.
    pub asks: bool,
    /// Why, without a person's name: it is kept.
    pub why: String,
}

/// Somebody who can be told.
struct Recipient<'a> {
    name: String,
    language: &'a str,
    /// (channel, address), the preferred one first.
    addresses: Vec<(String, String)>,
    hours: Cow<'a, Hours>,
    to_customer: bool,
}

/// Who is told of `notice`, and when, as the rules say at `now`.
#[must_use]
pub fn route(notify: &Notify, notice: &Notice, book: &AddressBook, now: Timestamp) -> Routed {
    let mut routed = Routed::default();
    // A message names whom it is for; rules may send it to others as well.
    let own = match &notice.what {
        NoticeKind::AutomationMessage(message) => Some(RuleSettings {
            event: Vec::new(),
            priority: Vec::new(),
            to: message.to.clone(),
            channels: message.channels.clone(),
            digest: false,
        }),
        NoticeKind::TicketOpened
        | NoticeKind::TicketChanged { .. }
        | NoticeKind::TicketAssigned { .. }
        | NoticeKind::VisitOffered
        | NoticeKind::VisitPlanned { .. }
        | NoticeKind::TicketMessage
        | NoticeKind::TicketReplied { .. }
        | NoticeKind::TicketReceived
        | NoticeKind::MailUnplaced { .. }
        | NoticeKind::TicketResolved
        | NoticeKind::TicketClosed
        | NoticeKind::SlaMark { .. }
        | NoticeKind::SlaEscalated { .. }
        | NoticeKind::PartsShort { .. }
        | NoticeKind::CareLead(_) => None,
    };
    let rules = notify.settings.rule.iter();
    let applied: Vec<&RuleSettings> = rules.filter(|r| applies(r, notice)).collect();
    // Who wrote it for the customer must know that it stays here.
    if matches!(notice.what, NoticeKind::TicketReplied { .. })
        && !applied
            .iter()
            .any(|r| r.to.iter().any(|to| to == "@customer"))
    {
        routed.untold = Some(Untold {
            asks: false,
            why: "no rule of [notify] sends ticket.replied to @customer".to_owned(),
        });
    }
    for rule in own.iter().chain(applied) {
        for to in &rule.to {
            // Who cannot be told keeps nobody else from it.
            let found = if to == "@customer" {
                match customer(notify, notice, book, now) {
                    Ok(found) => found.into_iter().map(Ok).collect(),
                    Err(why) => {
                        routed.untold = Some(why);
                        Vec::new()
                    }
                }
            } else {
                recipients(notify, book, notice, to)
            };
            for found in found {
                match found {
                    Ok(recipient) => deliver(notify, notice, rule, &recipient, now, &mut routed),
                    Err(why) => routed.unreachable.push(why),
                }
            }
        }
    }
    routed
}

fn applies(rule: &RuleSettings, notice: &Notice) -> bool {
    let label = notice.what.label();
    rule.event.iter().any(|e| e == "*" || e == label)
        && (rule.priority.is_empty() || rule.priority.contains(&notice.priority))
}

fn recipients<'a>(
    notify: &'a Notify,
    book: &'a AddressBook,
    notice: &Notice,
    to: &str,
) -> Vec<Result<Recipient<'a>, String>> {
    if let Some(channel) = to.strip_prefix('#') {
        return vec![Ok(Recipient {
            name: channel.to_owned(),
            language: &notify.settings.language,
            addresses: vec![(channel.to_owned(), String::new())],
            hours: Cow::Borrowed(&notify.hours),
            to_customer: false,
        })];
    }
    match to {
        "@escalation" => {
            let all = book.escalation.iter();
            all.map(|name| person(notify, &book.technicians, name))
                .collect()
        }
        "@technician" => {
            // What a customer writes is heard, whether or not somebody has the ticket yet.
            let who = notice.technician.iter().chain(&book.first_level);
            who.map(|name| person(notify, &book.technicians, name))
                .collect()
        }
        name => vec![person(notify, &book.technicians, name)],
    }
}

/// The channels and addresses that `name` (a person of the configuration, or a technician by name or id) resolves to.
///
/// # Errors
/// Why there is none, in words.
pub fn reachable(
    notify: &Notify,
    technicians: &[(RecordId, Technician)],
    name: &str,
) -> Result<Vec<(String, String)>, String> {
    person(notify, technicians, name).map(|p| p.addresses)
}

fn person<'a>(
    notify: &'a Notify,
    technicians: &'a [(RecordId, Technician)],
    name: &str,
) -> Result<Recipient<'a>, String> {
    let configured = notify.settings.person.iter().position(|p| p.name == name);
    let technician = technicians
        .iter()
        .find(|(id, t)| t.name == name || id.as_str() == name)
        .map(|(_, t)| t);
    if configured.is_none() && technician.is_none() {
        return Err(format!(
            "\"{name}\" is nobody: neither a [[notify.person]] nor a technician of the registry"
        ));
    }
    let settings = configured.and_then(|i| notify.settings.person.get(i));
    let own = configured.and_then(|i| notify.hours_of.get(i));
    let addresses = match settings {
        Some(settings) if !settings.address.is_empty() => configured_addresses(settings),
        Some(_) | None => registry_addresses(
            notify,
            technician.map_or(&[][..], |t| t.channels.as_slice()),
        ),
    };
    if addresses.is_empty() {
        return Err(format!(
            "\"{name}\" has no address that a channel of [notify.channel] carries"
        ));
    }
    let language = settings
        .and_then(|s| s.language.as_deref())
        .or_else(|| technician.and_then(|t| t.language.as_deref()));
    Ok(Recipient {
        name: name.to_owned(),
        language: language.unwrap_or(&notify.settings.language),
        addresses,
        hours: Cow::Borrowed(own.unwrap_or(&notify.hours)),
        to_customer: false,
    })
}

fn configured_addresses(person: &PersonSettings) -> Vec<(String, String)> {
    let preferred = person
        .prefers
        .iter()
        .filter_map(|channel| person.address.get_key_value(channel));
    let others = person
        .address
        .iter()
        .filter(|(channel, _)| !person.prefers.contains(channel));
    preferred
        .chain(others)
        .map(|(channel, address)| (channel.clone(), address.clone()))
        .collect()
}

fn registry_addresses(notify: &Notify, channels: &[ContactAddress]) -> Vec<(String, String)> {
    let carried = |contact: &ContactAddress| {
        let carriers = notify.settings.channel.iter();
        let mut fitting = carriers.filter(|(_, c)| c.carries() == Some(contact.kind));
        fitting
            .next()
            .map(|(name, _)| (name.clone(), contact.address.clone()))
    };
    channels.iter().filter_map(carried).collect()
}

/// The first contact of the customer who agreed to it and can be reached; `None`: it is not for customers.
///
/// # Errors
/// Why there is nobody.
fn customer<'a>(
    notify: &'a Notify,
    notice: &Notice,
    book: &'a AddressBook,
    now: Timestamp,
) -> Result<Option<Recipient<'a>>, Untold> {
    let purpose = match &notice.what {
        // A survey of work that was never done makes no sense.
        NoticeKind::TicketClosed if notice.state == Some(TicketState::Cancelled) => {
            return Ok(None);
        }
        NoticeKind::TicketClosed => Purpose::Survey,
        NoticeKind::AutomationMessage(message) if message.survey => Purpose::Survey,
        // Leads are for sales, who ask themselves.
        NoticeKind::CareLead(_) => return Ok(None),
        NoticeKind::TicketReceived | NoticeKind::MailUnplaced { .. } => {
            return Ok(writer(notify, book, now));
        }
        NoticeKind::TicketOpened
        | NoticeKind::TicketChanged { .. }
        | NoticeKind::TicketAssigned { .. }
        | NoticeKind::VisitOffered
        | NoticeKind::VisitPlanned { .. }
        | NoticeKind::TicketMessage
        | NoticeKind::TicketReplied { .. }
        | NoticeKind::TicketResolved
        | NoticeKind::SlaMark { .. }
        | NoticeKind::SlaEscalated { .. }
        | NoticeKind::PartsShort { .. }
        | NoticeKind::AutomationMessage(_) => Purpose::Service,
    };
    let is_reply = matches!(notice.what, NoticeKind::TicketReplied { .. });
    let Some(customer) = &book.customer else {
        // Who wrote it must know that nobody gets it.
        let why = "the machine has no customer on record".to_owned();
        return if is_reply {
            Err(Untold { asks: false, why })
        } else {
            Ok(None)
        };
    };
    // Who asks wants to be answered.
    let asked = writer(notify, book, now);
    if is_reply && asked.is_some() {
        return Ok(asked);
    }
    if purpose == Purpose::Survey && book.has_answered {
        return Ok(None);
    }
    let willing = || {
        // Who asked for it comes before the others.
        let is_asker = |contact: &&Contact| book.contact.as_deref() == Some(contact.id.as_str());
        let contacts = &customer.contacts;
        let first = contacts.iter().filter(is_asker);
        let others = contacts.iter().filter(move |contact| !is_asker(contact));
        let all = first.chain(others);
        all.filter(|contact| agreed(&contact.consents, purpose, now))
    };
    let found = willing()
        .map(|contact| contacted(notify, book, contact))
        .find(|recipient| !recipient.addresses.is_empty());
    let about = match purpose {
        Purpose::Survey => "to be asked how the work went",
        Purpose::Service => "to messages about the work",
        Purpose::Prediction | Purpose::ModelTraining | Purpose::Marketing => "to it",
    };
    let name = &customer.name;
    let why = match (found, willing().next()) {
        (Some(recipient), _) => return Ok(Some(recipient)),
        (None, None) => format!("no contact of {name} has agreed {about}"),
        (None, Some(_)) => format!(
            "no contact of {name} who has agreed {about} has an address that a channel carries"
        ),
    };
    Err(Untold {
        asks: purpose == Purpose::Survey,
        why,
    })
}

/// The contact who wrote to us, where they can be reached and have not refused to be written to about the work: to answer
/// is what they asked for.
fn writer<'a>(notify: &'a Notify, book: &'a AddressBook, now: Timestamp) -> Option<Recipient<'a>> {
    let contacts = &book.customer.as_ref()?.contacts;
    let id = book.contact.as_deref()?;
    let contact = contacts.iter().find(|c| c.id.as_str() == id)?;
    let mut said = contact.consents.iter();
    let refused = said.any(|c| c.purpose == Purpose::Service && c.at <= now)
        && !agreed(&contact.consents, Purpose::Service, now);
    let recipient = contacted(notify, book, contact);
    (!refused && !recipient.addresses.is_empty()).then_some(recipient)
}

fn contacted<'a>(notify: &'a Notify, book: &'a AddressBook, contact: &'a Contact) -> Recipient<'a> {
    let language = contact.language.as_deref();
    Recipient {
        name: contact.name.clone(),
        language: language.unwrap_or(&notify.settings.language),
        addresses: registry_addresses(notify, &contact.channels),
        hours: hours_of_contact(notify, contact, book.time_zone.as_deref()),
        to_customer: true,
    }
}

/// Quiet hours and time zone of `contact`: their own; else, of the time zone, `place`, that of the machine's place; else
/// those of everybody.
#[must_use]
pub fn hours_of_contact<'a>(
    notify: &'a Notify,
    contact: &Contact,
    place: Option<&str>,
) -> Cow<'a, Hours> {
    let settings = &notify.settings;
    let zone = contact.time_zone.as_deref().or(place);
    if zone.is_none() && contact.quiet.is_none() {
        return Cow::Borrowed(&notify.hours);
    }
    let quiet = contact.quiet.as_deref().unwrap_or(&settings.quiet);
    let zone = zone.unwrap_or(&settings.time_zone);
    // Checked when the record was written; a time zone may have gone since.
    Hours::new(quiet, &settings.digest_at, zone).map_or(Cow::Borrowed(&notify.hours), Cow::Owned)
}

/// Agreed to, not taken back, not run out.
fn agreed(consents: &[DataConsent], purpose: Purpose, at: Timestamp) -> bool {
    consents.iter().any(|c| {
        c.purpose == purpose && c.given && c.at <= at && c.until.is_none_or(|until| at < until)
    })
}

fn deliver(
    notify: &Notify,
    notice: &Notice,
    rule: &RuleSettings,
    recipient: &Recipient<'_>,
    now: Timestamp,
    routed: &mut Routed,
) {
    let mut chosen: Vec<&(String, String)> = recipient
        .addresses
        .iter()
        .filter(|(channel, _)| rule.channels.is_empty() || rule.channels.contains(channel))
        .collect();
    if rule.channels.is_empty() {
        chosen.truncate(1);
    }
    if chosen.is_empty() {
        let channels = rule.channels.join(", ");
        routed.unreachable.push(format!(
            "\"{}\" has no address for {channels}",
            recipient.name
        ));
    }
    for (channel, address) in chosen {
        let is_new = |d: &NewDelivery| d.channel != *channel || d.address != *address;
        if !routed.deliveries.iter().all(is_new) {
            continue;
        }
        let settings = notify.settings.channel.get(channel);
        // Programs get each event by itself.
        let digest = rule.digest
            && !settings.is_some_and(|c| matches!(c, crate::ChannelSettings::Webhook { .. }))
            && !recipient.to_customer;
        let for_people = !settings.is_some_and(crate::ChannelSettings::has_own_address);
        routed.deliveries.push(NewDelivery {
            channel: channel.clone(),
            recipient: recipient.name.clone(),
            address: address.clone(),
            language: language_of(recipient.language).to_owned(),
            to_customer: recipient.to_customer,
            digest,
            due_at: due_at(notify, notice, recipient, digest, for_people, now),
        });
    }
}

fn due_at(
    notify: &Notify,
    notice: &Notice,
    recipient: &Recipient<'_>,
    digest: bool,
    for_people: bool,
    now: Timestamp,
) -> Timestamp {
    let mut at = now;
    if recipient.to_customer
        && let NoticeKind::VisitPlanned { start_at } = notice.what
    {
        at = at.max(start_at.plus_hours(-notify.settings.visit_notice_hours));
    }
    if notice.priority == Priority::P1 || !for_people {
        return at;
    }
    if digest {
        at = recipient.hours.digest(at);
    }
    recipient.hours.awake(at)
}

/// Whether what `notice` says still holds, `ticket` being as it is now: a visit that has moved is told by a newer one.
#[must_use]
pub fn still_holds(notice: &Notice, ticket: &Ticket) -> bool {
    match notice.what {
        NoticeKind::VisitPlanned { start_at } => visit_start(ticket) == Some(start_at),
        NoticeKind::VisitOffered => is_assignable(ticket.state) && agreed_start(ticket).is_none(),
        NoticeKind::TicketOpened
        | NoticeKind::TicketChanged { .. }
        | NoticeKind::TicketAssigned { .. }
        | NoticeKind::TicketMessage
        | NoticeKind::TicketReplied { .. }
        | NoticeKind::TicketReceived
        | NoticeKind::MailUnplaced { .. }
        | NoticeKind::TicketResolved
        | NoticeKind::TicketClosed
        | NoticeKind::SlaMark { .. }
        | NoticeKind::SlaEscalated { .. }
        | NoticeKind::PartsShort { .. }
        | NoticeKind::AutomationMessage(_)
        | NoticeKind::CareLead(_) => true,
    }
}
