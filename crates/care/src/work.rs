//! Work on a ticket: notes, time, files, the checklist, parts, fields, duplicates.

mod parts;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use forecare_domain::{
    Actor, Attachment, Channel, ContactRef, Done, EntryBody, FieldValue, Notice, PartUsed,
    PartWanted, Priority, Ticket, TicketEntry, TicketState, Timestamp, Visibility,
};

use crate::lifecycle::{forecare, record};
use crate::notice::replied;
use crate::ticket_rules::TicketType;

pub use parts::parts_named;
use parts::{listed, parts_needed, parts_used};

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
