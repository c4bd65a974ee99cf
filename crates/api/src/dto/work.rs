//! Work on a ticket: notes, time, files, checklist, fields, duplicates.

use std::collections::BTreeMap;

use super::MarksDto;
use forecare_domain::{EntryBody, FieldValue, Priority, TicketEntry, Timestamp, Visibility};
use forecare_store::Paged;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::part::ChannelDto;

/// P1 (now) to P4 (when convenient).
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub(crate) enum PriorityDto {
    /// Critical.
    P1,
    /// High.
    P2,
    /// Medium.
    P3,
    /// Low.
    P4,
}

impl From<PriorityDto> for Priority {
    fn from(priority: PriorityDto) -> Self {
        match priority {
            PriorityDto::P1 => Self::P1,
            PriorityDto::P2 => Self::P2,
            PriorityDto::P3 => Self::P3,
            PriorityDto::P4 => Self::P4,
        }
    }
}

/// Who may read a note.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum VisibilityDto {
    /// Those who work here.
    #[default]
    Internal,
    /// The customer too.
    Public,
}

impl From<VisibilityDto> for Visibility {
    fn from(visibility: VisibilityDto) -> Self {
        match visibility {
            VisibilityDto::Internal => Self::Internal,
            VisibilityDto::Public => Self::Public,
        }
    }
}

/// What somebody put to a ticket.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TicketEntryDto {
    /// Its number.
    pub(crate) id: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    /// Who.
    pub(crate) by: String,
    /// From where.
    pub(crate) channel: ChannelDto,
    /// What.
    #[serde(flatten)]
    pub(crate) body: EntryBodyDto,
}

/// What an entry holds.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub(crate) enum EntryBodyDto {
    /// A note.
    Note {
        /// The text.
        text: String,
        /// Who may read it.
        visibility: VisibilityDto,
    },
    /// Time spent.
    Time {
        /// Minutes.
        minutes: u32,
        /// On what.
        what: String,
    },
    /// A file: its content is at `attachments/{id}` of the ticket.
    Attachment {
        /// Its name.
        name: String,
        /// Its media type.
        media_type: String,
        /// Its length, bytes.
        bytes: u64,
        /// SHA-256 of its content, hexadecimal.
        sha256: String,
        /// Who signed, where it is a signature.
        signed_by: Option<String>,
    },
}

impl From<Paged<TicketEntry>> for TicketEntryDto {
    fn from(paged: Paged<TicketEntry>) -> Self {
        let entry = paged.item;
        Self {
            id: paged.position,
            at: entry.at,
            by: entry.by.name,
            channel: entry.by.channel.into(),
            body: match entry.body {
                EntryBody::Note { text, visibility } => EntryBodyDto::Note {
                    text,
                    visibility: match visibility {
                        Visibility::Internal => VisibilityDto::Internal,
                        Visibility::Public => VisibilityDto::Public,
                    },
                },
                EntryBody::Time { minutes, what } => EntryBodyDto::Time { minutes, what },
                EntryBody::Attachment(file) => EntryBodyDto::Attachment {
                    name: file.name,
                    media_type: file.media_type,
                    bytes: file.bytes,
                    sha256: file.sha256,
                    signed_by: file.signed_by,
                },
            },
        }
    }
}

/// Something done on a ticket; a file has an address of its own.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "work", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum WorkDto {
    /// A note.
    Note {
        /// The text, at most 4,000 characters.
        text: String,
        /// Who may read it.
        #[serde(default)]
        visibility: VisibilityDto,
    },
    /// Time spent.
    Time {
        /// Minutes, 1 to 10,080.
        minutes: u32,
        /// On what, at most 500 characters.
        #[serde(default)]
        what: String,
    },
    /// A line of the checklist is done, or not after all.
    Check {
        /// Its place in the checklist, from 0.
        item: usize,
        /// True: done.
        done: bool,
        /// What the line says: refused (409) where it says something else by now.
        #[serde(default)]
        text: Option<String>,
    },
    /// Parts used so far, in all, while the work is in progress.
    PartsUsed {
        /// Quantities by number of the part or the kit.
        parts_used: BTreeMap<String, u32>,
        /// Which pieces, by part number, of parts that are tracked.
        #[serde(default)]
        units_used: BTreeMap<String, MarksDto>,
    },
    /// Parts the work needs, all of them: what is held beyond them goes back, what is not held is reserved. They stand in
    /// place of the failure mode's; none: it needs none.
    Parts {
        /// Quantities by number of the part or the kit.
        parts: BTreeMap<String, u32>,
        /// Why, in words, at most 500 characters.
        #[serde(default)]
        why: String,
    },
    /// What kind of work it is and what is wrong; what is not given stays. Procedure, skills, hours, checklist and parts
    /// follow. Of an alarm's ticket only the title can be changed.
    Classify {
        /// The kind.
        #[serde(default)]
        kind: Option<String>,
        /// The failure mode, of the machine's class; empty: not known.
        #[serde(default)]
        mode: Option<String>,
        /// One line for people, at most 200 characters.
        #[serde(default)]
        title: Option<String>,
        /// Why, in words, at most 500 characters.
        #[serde(default)]
        why: String,
    },
    /// The fields of its kind, all of them.
    Fields {
        /// Values by name: text, number or true and false.
        #[schema(value_type = BTreeMap<String, serde_json::Value>)]
        fields: BTreeMap<String, FieldValue>,
    },
    /// How urgent it is, by a person's judgement. The clocks keep the time they have used; the due date follows.
    Priority {
        /// From now on.
        priority: PriorityDto,
        /// Why, in words, 1 to 500 characters.
        why: String,
    },
    /// An article of the knowledge base was tried; the last word counts, once per ticket.
    Helped {
        /// Its id.
        article_id: String,
        /// Whether it helped.
        helped: bool,
    },
    /// It is the same as another ticket of the machine, which goes on; this one ends, with a pointer.
    Merge {
        /// Number of the one that goes on.
        into: i64,
        /// Why, in words, at most 500 characters.
        #[serde(default)]
        why: String,
    },
}
