//! What people put to a ticket: notes, time spent, attachments. The rules are in the `care` crate.

use serde::{Deserialize, Serialize};

use crate::{Actor, Timestamp};

/// An entry of a ticket. Nothing of it changes later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketEntry {
    /// When.
    pub at: Timestamp,
    /// Who, and from where.
    pub by: Actor,
    /// What.
    pub body: EntryBody,
}

/// What an entry holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum EntryBody {
    /// A note.
    Note {
        /// The text.
        text: String,
        /// Who may read it.
        visibility: Visibility,
    },
    /// Time spent.
    Time {
        /// Minutes. At least 1.
        minutes: u32,
        /// On what; may be empty.
        what: String,
    },
    /// A file; its content is kept beside the entry.
    Attachment(Attachment),
}

/// Who may read a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Those who work here.
    #[default]
    Internal,
    /// The customer too.
    Public,
}

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its name, without a path.
    pub name: String,
    /// Its media type: one of those allowed.
    pub media_type: String,
    /// Its length, bytes.
    pub bytes: u64,
    /// SHA-256 of its content, hexadecimal.
    pub sha256: String,
    /// Who signed, where it is a signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
}
