//! Work on a ticket: notes, time, files, the checklist, parts used, fields, duplicates.

use std::collections::BTreeMap;

use forecare_catalogue::Catalogue;
use forecare_domain::{
    Actor, Attachment, Channel, ContactRef, Done, EntryBody, FieldValue, Marks, Notice, PartNumber,
    PartUsed, PartWanted, Priority, Ticket, TicketEntry, TicketState, Timestamp, Visibility,
};

use crate::lifecycle::{forecare, record};
use crate::notice::replied;
use crate::ticket_rules::{PARTS_MAX, QUANTITY_MAX, TicketType};

/// Most characters of a note.
pub const NOTE_CHARS_MAX: usize = 4_000;
/// Most minutes of one entry of time: a week.
pub const MINUTES_MAX: u32 = 10_080;
/// Most bytes of a file: 10 MiB.
pub const ATTACHMENT_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Media types of files.
pub const MEDIA_TYPES: [&str; 6] = [
    "image/jpeg",
    "image/png",
    "image/webp",
    "application/pdf",
    "text/plain",
    "text/csv",
];
/// Articles that one ticket has a word on, at most.
const ARTICLES_MAX: usize = 50;
/// After a customer's message, so long nobody is told of the next one, hours.
const QUIET_HOURS: f64 = 0.25;
/// What the history says of a customer's note; the note itself is for those who need to know it.
pub(crate) const WROTE: &str = "wrote a message";
/// Most parts that a line of the history names.
const PARTS_NAMED_MAX: usize = 10;
/// Most characters of a file's name or a signatory's.
const NAME_CHARS_MAX: usize = 128;

/// Something done on a ticket.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkStep {
    /// A note.
    Note {
        /// The text.
        text: String,
        /// Who may read it.
        visibility: Visibility,
    },
    /// Time spent.
    Time {
        /// Minutes.
        minutes: u32,
        /// On what.
        what: String,
    },
    /// A file.
    Attach {
        /// Its name.
        name: String,
        /// Its media type.
        media_type: String,
        /// Who signed, where it is a signature.
        signed_by: Option<String>,
        /// SHA-256 of the content, hexadecimal.
        sha256: String,
        /// The content.
        content: Vec<u8>,
    },
    /// A line of the checklist is done, or not.
    Check {
        /// Its place, from 0.
        item: usize,
        /// True: done.
        done: bool,
        /// What it says, by who read it; `None`: not said.
        text: Option<String>,
    },
    /// Parts used so far, in all, by number.
    PartsUsed(Vec<PartUsed>),
    /// Parts the work needs, all of them, whatever its failure mode needs; of a kit as of the parts in it.
    Parts {
        /// Each once.
        parts: Vec<PartWanted>,
        /// Why, in words; may be empty.
        why: String,
    },
    /// The fields of its kind, all of them.
    Fields(BTreeMap<String, FieldValue>),
    /// How urgent it is, by a person's judgement: what time it has used stays used.
    Priority {
        /// From now on.
        priority: Priority,
        /// Why, in words.
        why: String,
    },
    /// This contact of the customer's wrote about it: they are told before others from now on.
    Contact(ContactRef),
    /// An article of the knowledge base was tried.
    Helped {
        /// Its id.
        article: String,
        /// Whether it helped.
        helped: bool,
    },
    /// It is the same as another ticket, which goes on.
    Merge {
        /// That ticket.
        into: Box<Ticket>,
        /// Why, in words; may be empty.
        why: String,
    },
}

/// What a step comes to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WorkDone {
    /// The ticket after it; `None`: it stays as it is.
    pub ticket: Option<Ticket>,
    /// New entries, of this ticket or, first, of the one it is merged into.
    pub entries: Vec<(forecare_domain::TicketId, TicketEntry, Option<Vec<u8>>)>,
    /// Parts used, in all.
    pub parts_used: Vec<PartUsed>,
    /// What people are to be told of with it.
    pub notices: Vec<Notice>,
}

/// Why a step is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// A value makes no sense.
    #[error("{field}: {what}")]
    Invalid {
        /// Which.
        field: String,
        /// What would be right.
        what: String,
    },
    /// The state of things forbids it.
    #[error("{0}")]
    Conflict(String),
}

pub(crate) fn invalid(field: &str, what: impl Into<String>) -> WorkError {
    WorkError::Invalid {
        field: field.to_owned(),
        what: what.into(),
    }
}

/// What a report names, each kit as the parts in it, each part once, in the order of first mention.
///
/// # Errors
/// The number that the catalogue does not have.
pub fn parts_named(
    catalogue: &Catalogue,
    reported: Vec<PartUsed>,
) -> Result<Vec<PartUsed>, PartNumber> {
    let mut named: Vec<PartUsed> = Vec::with_capacity(reported.len());
    let mut add = |part: &PartNumber, quantity: u32, marks: Marks| {
        let place = named.iter().position(|used| used.part == *part);
        let place = place.unwrap_or_else(|| {
            named.push((part.clone(), 0).into());
            named.len() - 1
        });
        let used = &mut named[place];
        used.quantity = used.quantity.saturating_add(quantity);
        used.marks.batch = marks.batch.or(used.marks.batch.take());
        used.marks.serials.extend(marks.serials);
    };
    for used in reported {
        if let Some(kit) = catalogue.kit(&used.part) {
            for inside in &kit.parts {
                let quantity = inside.quantity.saturating_mul(used.quantity);
                add(&inside.part, quantity, Marks::default());
            }
        } else if catalogue.part(&used.part).is_some() {
            add(&used.part, used.quantity, used.marks);
        } else {
            return Err(used.part);
        }
    }
    Ok(named)
}

/// Takes `step` on `ticket`. `kind`: its kind, where the configuration still has it.
///
/// # Errors
/// What is wrong and what would be right; nothing has changed then.
pub fn work(
    ticket: &Ticket,
    kind: Option<&TicketType>,
    step: WorkStep,
    by: Actor,
    now: Timestamp,
) -> Result<WorkDone, WorkError> {
    let entry = |body| WorkDone {
        entries: vec![(
            ticket.id,
            TicketEntry {
                at: now,
                by: by.clone(),
                body,
            },
            None,
        )],
        ..WorkDone::default()
    };
    match step {
        WorkStep::Note { text, visibility } => {
            let text = text.trim();
            if text.is_empty() || text.chars().count() > NOTE_CHARS_MAX {
                return Err(invalid(
                    "text",
                    format!("write 1 to {NOTE_CHARS_MAX} characters"),
                ));
            }
            let mut done = entry(EntryBody::Note {
                text: text.to_owned(),
                visibility,
            });
            // Ours read each other's notes when they come by; a customer's word is told to somebody.
            if by.is_customer()
                && !crate::allowed(ticket.state).is_empty()
                && !wrote_lately(ticket, now)
            {
                let mut after = ticket.clone();
                record(&mut after, ticket.state, by.clone(), WROTE, now);
                done.ticket = Some(after);
            }
            // What rules say to customers is told by messages of their own.
            if visibility == Visibility::Public
                && !by.is_customer()
                && by.channel != Channel::System
            {
                done.notices.push(replied(ticket, text, &by, now));
            }
            Ok(done)
        }
        WorkStep::Time { minutes, what } => {
            if minutes == 0 || minutes > MINUTES_MAX {
                return Err(invalid("minutes", format!("give 1 to {MINUTES_MAX}")));
            }
            if what.chars().count() > crate::ticket_rules::LINE_CHARS_MAX {
                return Err(invalid("what", "use at most 500 characters"));
            }
            Ok(entry(EntryBody::Time { minutes, what }))
        }
        WorkStep::Attach {
            name,
            media_type,
            signed_by,
            sha256,
            content,
        } => {
            check_file(&name, &media_type, signed_by.as_deref(), &content)?;
            let mut done = entry(EntryBody::Attachment(Attachment {
                name,
                media_type,
                bytes: content.len() as u64,
                sha256,
                signed_by,
            }));
            for (_, _, kept) in &mut done.entries {
                *kept = Some(content.clone());
            }
            Ok(done)
        }
        WorkStep::Check { item, done, text } => {
            check(ticket, (item, text.as_deref()), done, by, now)
        }
        WorkStep::PartsUsed(parts) => parts_used(ticket, parts, by, now),
        WorkStep::Parts { parts, why } => parts_needed(ticket, parts, &why, by, now),
        WorkStep::Fields(fields) => {
            open(ticket)?;
            let kind = kind.ok_or_else(|| {
                WorkError::Conflict(format!("the kind {} is no longer configured", ticket.kind))
            })?;
            let fields = kind
                .checked_fields(fields)
                .map_err(|(field, what)| invalid(&format!("fields.{field}"), what))?;
            let mut after = ticket.clone();
            after.work.fields = fields;
            record(&mut after, ticket.state, by, "fields changed", now);
            Ok(WorkDone {
                ticket: Some(after),
                ..WorkDone::default()
            })
        }
        WorkStep::Priority { priority, why } => weighed(ticket, priority, &why, by, now),
        WorkStep::Contact(contact) => {
            if ticket.work.contact.as_ref() == Some(&contact) {
                return Ok(WorkDone::default());
            }
            let mut after = ticket.clone();
            after.work.contact = Some(contact);
            Ok(WorkDone {
                ticket: Some(after),
                ..WorkDone::default()
            })
        }
        WorkStep::Helped { article, helped } => tried(ticket, article, helped),
        WorkStep::Merge { into, why } => merge(ticket, &into, &why, by, now),
    }
}

/// Somebody was told a moment ago that there is something to read. The history has a line per such moment, not per message:
/// it is bounded, and what comes from outside must not push out what happened.
fn wrote_lately(ticket: &Ticket, now: Timestamp) -> bool {
    ticket
        .history
        .iter()
        .rev()
        .any(|c| c.by.is_customer() && c.why == WROTE && now.hours_since(c.at) < QUIET_HOURS)
}

pub(crate) fn open(ticket: &Ticket) -> Result<(), WorkError> {
    if ticket.state.is_open() {
        return Ok(());
    }
    Err(WorkError::Conflict(format!(
        "ticket {} is {}: only an open one is worked on",
        ticket.id,
        ticket.state.label()
    )))
}

fn check(
    ticket: &Ticket,
    (item, text): (usize, Option<&str>),
    done: bool,
    by: Actor,
    now: Timestamp,
) -> Result<WorkDone, WorkError> {
    open(ticket)?;
    let mut after = ticket.clone();
    let n_items = after.work.checklist.len();
    let Some(line) = after.work.checklist.get_mut(item) else {
        return Err(invalid(
            "item",
            format!("the checklist has {n_items} lines"),
        ));
    };
    // Lines change where a ticket is classified: nobody signs for what they have not read.
    if text.is_some_and(|text| text != line.text) {
        return Err(WorkError::Conflict(format!(
            "line {} of the checklist says something else now: {}",
            item + 1,
            line.text
        )));
    }
    if line.done.is_some() == done {
        return Ok(WorkDone::default());
    }
    if done {
        line.done = Some(Done { at: now, by });
    } else {
        line.done = None;
        let why = format!("not done after all: {}", line.text);
        record(&mut after, ticket.state, by, &why, now);
    }
    Ok(WorkDone {
        ticket: Some(after),
        ..WorkDone::default()
    })
}

/// The history says who set the priority and why; the clocks and the due date follow by the customer's terms.
fn weighed(
    ticket: &Ticket,
    priority: Priority,
    why: &str,
    by: Actor,
    now: Timestamp,
) -> Result<WorkDone, WorkError> {
    open(ticket)?;
    let why = why.trim();
    if why.is_empty() || why.chars().count() > crate::ticket_rules::LINE_CHARS_MAX {
        return Err(invalid("why", "say why in 1 to 500 characters"));
    }
    if priority == ticket.priority {
        return Ok(WorkDone::default());
    }
    let mut after = ticket.clone();
    after.work.overruled = ticket.work.overruled.or(Some(ticket.priority));
    after.priority = priority;
    let said = format!("priority {:?} to {priority:?}: {why}", ticket.priority);
    record(&mut after, ticket.state, by, &said, now);
    Ok(WorkDone {
        ticket: Some(after),
        ..WorkDone::default()
    })
}

pub(crate) fn is_short(field: &str, text: &str) -> Result<(), WorkError> {
    if text.chars().count() <= crate::ticket_rules::LINE_CHARS_MAX {
        return Ok(());
    }
    Err(invalid(field, "use at most 500 characters"))
}

/// `said: why`, or `said` alone.
pub(crate) fn with_reason(said: String, why: &str) -> String {
    match why.trim() {
        "" => said,
        why => format!("{said}: {why}"),
    }
}

/// `2 x BRG-1, 1 x SEAL-1`, of many the first ones.
fn listed(parts: &[PartWanted]) -> String {
    let named = parts.iter().take(PARTS_NAMED_MAX);
    let named: Vec<String> = named
        .map(|p| format!("{} x {}", p.quantity, p.part))
        .collect();
    match parts.len().saturating_sub(PARTS_NAMED_MAX) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

fn parts_needed(
    ticket: &Ticket,
    parts: Vec<PartWanted>,
    why: &str,
    by: Actor,
    now: Timestamp,
) -> Result<WorkDone, WorkError> {
    open(ticket)?;
    is_short("why", why)?;
    if parts.len() > PARTS_MAX {
        return Err(invalid("parts", format!("name at most {PARTS_MAX} parts")));
    }
    let fits = |wanted: &PartWanted| (1..=QUANTITY_MAX).contains(&wanted.quantity);
    if let Some(wanted) = parts.iter().find(|wanted| !fits(wanted)) {
        let field = format!("parts.{}", wanted.part);
        return Err(invalid(&field, format!("give 1 to {QUANTITY_MAX}")));
    }
    if ticket.work.parts.as_ref() == Some(&parts) && ticket.work.parts_by.is_some() {
        return Ok(WorkDone::default());
    }
    let said = if parts.is_empty() {
        "needs no parts".to_owned()
    } else {
        format!("parts needed: {}", listed(&parts))
    };
    let mut after = ticket.clone();
    after.work.parts = Some(parts);
    after.work.parts_by = Some(by.clone());
    record(&mut after, ticket.state, by, &with_reason(said, why), now);
    Ok(WorkDone {
        ticket: Some(after),
        ..WorkDone::default()
    })
}

/// The last word on an article counts, once per ticket.
fn tried(ticket: &Ticket, article: String, helped: bool) -> Result<WorkDone, WorkError> {
    let known = &ticket.work.helped;
    if known.get(&article) == Some(&helped) {
        return Ok(WorkDone::default());
    }
    if known.len() >= ARTICLES_MAX && !known.contains_key(&article) {
        return Err(WorkError::Conflict(format!(
            "{} has a word on {ARTICLES_MAX} articles already",
            ticket.id
        )));
    }
    let mut after = ticket.clone();
    after.work.helped.insert(article, helped);
    Ok(WorkDone {
        ticket: Some(after),
        ..WorkDone::default()
    })
}

fn parts_used(
    ticket: &Ticket,
    parts: Vec<PartUsed>,
    by: Actor,
    now: Timestamp,
) -> Result<WorkDone, WorkError> {
    if !matches!(
        ticket.state,
        TicketState::InProgress | TicketState::OnHold(_)
    ) {
        return Err(WorkError::Conflict(format!(
            "ticket {} is {}: parts are used while the work is in progress, or told when it is resolved",
            ticket.id,
            ticket.state.label()
        )));
    }
    if parts.is_empty() {
        return Err(invalid("parts_used", "name at least one part"));
    }
    let mut after = ticket.clone();
    let said: Vec<String> = parts
        .iter()
        .map(|used| {
            let serials: Vec<&str> = used.marks.serials.iter().map(|s| s.as_str()).collect();
            match serials.as_slice() {
                [] => format!("{} x {}", used.quantity, used.part),
                _ => format!("{} x {} ({})", used.quantity, used.part, serials.join(", ")),
            }
        })
        .collect();
    let why = format!("parts used so far: {}", said.join(", "));
    record(&mut after, ticket.state, by, &why, now);
    Ok(WorkDone {
        ticket: Some(after),
        parts_used: parts,
        ..WorkDone::default()
    })
}

/// Ends `ticket` in favour of `into`: cancelled, with a pointer; its history and entries stay. Both are open, of one
/// machine, and no work on `ticket` has begun.
fn merge(
    ticket: &Ticket,
    into: &Ticket,
    why: &str,
    by: Actor,
    now: Timestamp,
) -> Result<WorkDone, WorkError> {
    if ticket.id == into.id {
        return Err(invalid("into", "a ticket is not merged into itself"));
    }
    if ticket.asset != into.asset {
        return Err(WorkError::Conflict(format!(
            "{} is about {}, {} about {}: only tickets of one machine are merged",
            ticket.id, ticket.asset, into.id, into.asset
        )));
    }
    open(into)?;
    open(ticket)?;
    if !crate::allowed(ticket.state).contains(&TicketState::Cancelled) {
        return Err(WorkError::Conflict(format!(
            "work on {} has begun ({}): end it with a verdict, or merge the other one into it",
            ticket.id,
            ticket.state.label()
        )));
    }
    let because = if why.trim().is_empty() {
        String::new()
    } else {
        format!(": {}", why.trim())
    };
    let mut after = ticket.clone();
    after.work.merged_into = Some(into.id);
    let line = format!("merged into {}{because}", into.id);
    record(&mut after, TicketState::Cancelled, by, &line, now);
    // What somebody laid down for the one that ends is given back: whoever goes on must know.
    let laid_down = ticket.work.parts.as_deref().unwrap_or_default();
    let parts = match (&ticket.work.parts_by, laid_down) {
        (Some(_), [_, ..]) => format!(". Parts laid down for it: {}", listed(laid_down)),
        _ => String::new(),
    };
    let told = TicketEntry {
        at: now,
        by: forecare(),
        body: EntryBody::Note {
            text: format!("{} was merged into this ticket{because}{parts}", ticket.id),
            visibility: Visibility::Internal,
        },
    };
    Ok(WorkDone {
        ticket: Some(after),
        entries: vec![(into.id, told, None)],
        ..WorkDone::default()
    })
}

/// That `content` is a file as tickets and records take them: its name (and who signed), its size, and that it begins as
/// files of `media_type` do.
///
/// # Errors
/// [`WorkError::Invalid`]: what is wrong.
pub fn check_file(
    name: &str,
    media_type: &str,
    signed_by: Option<&str>,
    content: &[u8],
) -> Result<(), WorkError> {
    let is_name = |text: &str| {
        !text.trim().is_empty()
            && text.chars().count() <= NAME_CHARS_MAX
            && !text.chars().any(|c| c.is_control() || "/\\\"".contains(c))
    };
    if !is_name(name) {
        return Err(invalid(
            "name",
            format!("give a file's name of at most {NAME_CHARS_MAX} characters, without a path"),
        ));
    }
    if signed_by.is_some_and(|who| !is_name(who)) {
        return Err(invalid("signed_by", "give the name of who signed"));
    }
    if content.is_empty() || content.len() > ATTACHMENT_BYTES_MAX {
        return Err(invalid(
            "content",
            format!("send 1 to {ATTACHMENT_BYTES_MAX} bytes"),
        ));
    }
    if !MEDIA_TYPES.contains(&media_type) {
        return Err(invalid(
            "Content-Type",
            format!("use one of {}", MEDIA_TYPES.join(", ")),
        ));
    }
    // What a file claims to be is what it begins with: a page of script does not pass for a picture.
    let is_it = match media_type {
        "image/jpeg" => content.starts_with(&[0xff, 0xd8, 0xff]),
        "image/png" => content.starts_with(b"\x89PNG\r\n\x1a\n"),
        "image/webp" => content.starts_with(b"RIFF") && content.get(8..12) == Some(b"WEBP"),
        "application/pdf" => content.starts_with(b"%PDF-"),
        _ => std::str::from_utf8(content).is_ok_and(|text| !text.contains('\0')),
    };
    if is_it {
        return Ok(());
    }
    Err(invalid(
        "content",
        format!("these bytes are no {media_type}"),
    ))
}

#[cfg(test)]
mod tests {
    use forecare_domain::{ChecklistItem, TicketId};
    use proptest::prelude::*;

    use forecare_domain::NoticeKind;

    use super::*;
    use crate::fixtures::{TO_WORK, at, confirmed, part, person, resolved, ticket, walked};

    fn take(ticket: &Ticket, step: WorkStep) -> Result<WorkDone, WorkError> {
        work(ticket, None, step, person(), at(9.0))
    }

    fn merged(ticket: &Ticket, into: &Ticket) -> Result<WorkDone, WorkError> {
        let into = Box::new(into.clone());
        let why = "same leak".to_owned();
        take(ticket, WorkStep::Merge { into, why })
    }

    #[test]
    fn use_of_a_kit_is_use_of_its_parts() {
        let kit = "[[kit]]\nnumber = \"KIT-1\"\ntitle = \"-\"\nparts = [{ part = \"BRG-1\", quantity = 2 }, { part = \"SEAL-1\" }]\n";
        let text = format!("{}{kit}", crate::fixtures::CATALOGUE);
        let catalogue = Catalogue::parse(&text).unwrap();
        let reported = |of: &[(&str, u32)]| of.iter().map(|(p, n)| (part(p), *n).into()).collect();
        let named = parts_named(&catalogue, reported(&[("KIT-1", 2), ("SEAL-1", 1)])).unwrap();
        let seen: Vec<(&str, u32)> = named
            .iter()
            .map(|u| (u.part.as_str(), u.quantity))
            .collect();
        assert_eq!(seen, [("BRG-1", 4), ("SEAL-1", 3)]);
        let unknown = parts_named(&catalogue, reported(&[("NO-1", 1)]));
        assert_eq!(unknown, Err(part("NO-1")));
    }

    fn other() -> Ticket {
        Ticket {
            id: TicketId(2),
            ..ticket()
        }
    }

    #[test]
    fn a_merged_ticket_ends_with_a_pointer_and_the_other_one_is_told() {
        let done = merged(&ticket(), &other()).unwrap();
        let after = done.ticket.unwrap();
        assert_eq!(after.state, TicketState::Cancelled);
        assert_eq!(after.work.merged_into, Some(TicketId(2)));
        assert_eq!(
            after.history.last().unwrap().why,
            "merged into T-2: same leak"
        );
        assert_eq!(done.entries[0].0, TicketId(2));
        let EntryBody::Note { text, .. } = &done.entries[0].1.body else {
            panic!("a note");
        };
        assert_eq!(text, "T-1 was merged into this ticket: same leak");
    }

    #[test]
    fn what_a_customer_writes_is_told_while_the_ticket_lasts() {
        let note = |t: &Ticket, by: Actor| {
            let step = WorkStep::Note {
                text: "It leaks again".to_owned(),
                visibility: Visibility::Public,
            };
            work(t, None, step, by, at(9.0)).unwrap().ticket
        };
        let customer = || Actor {
            name: "Bo".to_owned(),
            channel: Channel::Email,
        };
        let told = |before: &Ticket, after: &Ticket| {
            let notices = crate::notices_of(Some(before), after, at(9.0));
            notices.iter().map(|n| n.what.label()).collect::<Vec<_>>()
        };
        for before in [ticket(), resolved(&confirmed())] {
            let after = note(&before, customer()).unwrap();
            assert_eq!(after.state, before.state);
            assert_eq!(after.history.last().unwrap().why, WROTE);
            assert_eq!(told(&before, &after), ["ticket.message"]);
            assert_eq!(note(&before, person()), None);
            assert_eq!(note(&after, customer()), None, "told a moment ago");
        }
        let mut closed = resolved(&confirmed());
        closed.state = TicketState::Closed;
        assert_eq!(note(&closed, customer()), None);
    }

    #[test]
    fn what_we_write_for_the_customer_is_told_once_per_note() {
        let note = |text: &str, visibility, by: Actor, hour| {
            let text = text.to_owned();
            let step = WorkStep::Note { text, visibility };
            work(&ticket(), None, step, by, at(hour)).unwrap().notices
        };
        let told = note("We come", Visibility::Public, person(), 9.0);
        assert_eq!(told.len(), 1);
        let NoticeKind::TicketReplied { text, by } = &told[0].what else {
            panic!("a reply");
        };
        assert_eq!((text.as_str(), by), ("We come", &person().name));
        let again = note("We come", Visibility::Public, person(), 10.0);
        let other = note("Tomorrow", Visibility::Public, person(), 9.0);
        assert_ne!(told[0].id, again[0].id);
        assert_ne!(told[0].id, other[0].id);
        assert_eq!(note("Among us", Visibility::Internal, person(), 9.0), []);
        assert_eq!(note("By a rule", Visibility::Public, forecare(), 9.0), []);
        let customer = Actor {
            name: "Bo".to_owned(),
            channel: Channel::Email,
        };
        assert_eq!(note("It leaks", Visibility::Public, customer, 21.0), []);
    }

    #[test]
    fn what_cannot_be_merged_is_refused_with_the_reason() {
        let elsewhere = Ticket {
            asset: forecare_domain::AssetId::new("pump-2").unwrap(),
            ..other()
        };
        let mut ended = other();
        ended.state = TicketState::Closed;
        for (from, into, says) in [
            (ticket(), ticket(), "into itself"),
            (ticket(), elsewhere, "one machine"),
            (ticket(), ended.clone(), "T-2 is closed"),
            (resolved(&confirmed()), other(), "T-1 is resolved"),
            (walked(&TO_WORK, &confirmed()), other(), "has begun"),
        ] {
            let refused = merged(&from, &into).unwrap_err().to_string();
            assert!(refused.contains(says), "{refused}");
        }
    }

    #[test]
    fn a_line_is_done_once_and_undoing_it_is_told() {
        let mut t = ticket();
        t.work.checklist = vec![ChecklistItem {
            text: "Lock out".to_owned(),
            required: true,
            done: None,
        }];
        let check = |t: &Ticket, item, done| {
            let text = None;
            take(t, WorkStep::Check { item, done, text })
        };
        let done = check(&t, 0, true).unwrap().ticket.unwrap();
        assert_eq!(done.work.checklist[0].done.as_ref().unwrap().by, person());
        assert_eq!(check(&done, 0, true).unwrap(), WorkDone::default());
        let undone = check(&done, 0, false).unwrap().ticket.unwrap();
        assert_eq!(
            undone.history.last().unwrap().why,
            "not done after all: Lock out"
        );
        let text = Some("Look".to_owned());
        let other = WorkStep::Check {
            item: 0,
            done: true,
            text,
        };
        assert!(matches!(take(&t, other), Err(WorkError::Conflict(_))));
        assert!(matches!(
            check(&t, 1, true),
            Err(WorkError::Invalid { field, .. }) if field == "item"
        ));
        assert!(matches!(
            check(&resolved(&confirmed()), 0, true),
            Err(WorkError::Conflict(_))
        ));
    }

    #[test]
    fn the_last_word_on_an_article_counts_once() {
        let says = |t: &Ticket, helped| {
            let article = "ticket-3".to_owned();
            take(t, WorkStep::Helped { article, helped }).unwrap()
        };
        let yes = says(&ticket(), true).ticket.unwrap();
        assert!(yes.work.helped["ticket-3"]);
        assert_eq!(says(&yes, true), WorkDone::default());
        let no = says(&yes, false).ticket.unwrap();
        assert_eq!(no.work.helped.len(), 1);
        assert_eq!(no.history, ticket().history, "nothing happened to it");
    }

    #[test]
    fn parts_are_laid_down_while_the_ticket_is_open() {
        let needs = |quantity| WorkStep::Parts {
            parts: vec![PartWanted {
                part: part("BRG-1"),
                quantity,
            }],
            why: "worn too".to_owned(),
        };
        let after = take(&ticket(), needs(2)).unwrap().ticket.unwrap();
        assert_eq!(
            after.history.last().unwrap().why,
            "parts needed: 2 x BRG-1: worn too"
        );
        assert_eq!(take(&after, needs(2)).unwrap(), WorkDone::default());
        for quantity in [0, 10_001] {
            assert!(matches!(
                take(&ticket(), needs(quantity)),
                Err(WorkError::Invalid { field, .. }) if field == "parts.BRG-1"
            ));
        }
        assert!(matches!(
            take(&resolved(&confirmed()), needs(2)),
            Err(WorkError::Conflict(_))
        ));
    }

    #[test]
    fn parts_are_used_while_work_goes_on() {
        let used = || WorkStep::PartsUsed(vec![(part("BRG-1"), 1).into()]);
        assert!(matches!(
            take(&ticket(), used()),
            Err(WorkError::Conflict(_))
        ));
        let done = take(&walked(&TO_WORK, &confirmed()), used()).unwrap();
        assert_eq!(done.parts_used, [PartUsed::from((part("BRG-1"), 1))]);
        assert_eq!(
            done.ticket.unwrap().history.last().unwrap().why,
            "parts used so far: 1 x BRG-1"
        );
    }

    #[test]
    fn a_file_is_what_it_claims_to_be() {
        let attach = |name: &str, media_type: &str, content: &[u8]| {
            let step = WorkStep::Attach {
                name: name.to_owned(),
                media_type: media_type.to_owned(),
                signed_by: None,
                sha256: String::new(),
                content: content.to_vec(),
            };
            take(&ticket(), step)
        };
        let png = b"\x89PNG\r\n\x1a\nrest";
        assert!(attach("a.png", "image/png", png).is_ok());
        assert!(attach("a.txt", "text/plain", "grün".as_bytes()).is_ok());
        for (name, media_type, content, field) in [
            ("a.png", "image/png", &b"<script>"[..], "content"),
            ("a.html", "text/html", &b"<p>"[..], "Content-Type"),
            ("a.svg", "image/svg+xml", &b"<svg/>"[..], "Content-Type"),
            ("../a.png", "image/png", &png[..], "name"),
            ("a\r\nX: y", "image/png", &png[..], "name"),
            ("a.txt", "text/plain", &b"\xff\xfe"[..], "content"),
            ("a.txt", "text/plain", &b""[..], "content"),
        ] {
            let refused = attach(name, media_type, content).unwrap_err();
            assert!(
                matches!(&refused, WorkError::Invalid { field: at, .. } if at == field),
                "{refused}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_step_of_work_takes_an_illegal_transition(state in 0..13_usize, into in 0..13_usize, step in 0..4_usize) {
            let mut t = ticket();
            t.state = TicketState::ALL[state];
            t.work.checklist = vec![ChecklistItem { text: "x".to_owned(), required: false, done: None }];
            let mut goes_on = other();
            goes_on.state = TicketState::ALL[into];
            let step = match step {
                0 => WorkStep::Check { item: 0, done: true, text: None },
                1 => WorkStep::PartsUsed(vec![(part("BRG-1"), 1).into()]),
                2 => WorkStep::Note { text: "x".to_owned(), visibility: Visibility::Public },
                _ => WorkStep::Merge { into: Box::new(goes_on), why: String::new() },
            };
            if let Ok(WorkDone { ticket: Some(after), .. }) = take(&t, step) {
                let stays = after.state == t.state && t.state.is_open();
                prop_assert!(stays || crate::allowed(t.state).contains(&after.state));
            }
        }
    }
}
