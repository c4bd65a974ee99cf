//! Messages by e-mail that belong nowhere yet: the vocabulary.

use serde::{Deserialize, Serialize};

use crate::{Actor, AssetId, TicketId, Timestamp};

/// A message of which nobody knew which machine it is about when it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxMail {
    /// Its `Message-ID`; unique.
    pub message_id: String,
    /// When it came.
    pub received_at: Timestamp,
    /// Who sent it: `Bo Lund <bo@example.com>`.
    pub from: String,
    /// The sender's address, in small letters.
    pub address: String,
    /// Its subject; may be empty.
    pub subject: String,
    /// Its own words.
    pub text: String,
    /// Files in it that a ticket takes.
    pub n_files: u32,
    /// Kind of the ticket that the sender's gateway asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Id of the customer's record one of whose contacts sent it; `None`: nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// Machines it may be about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<AssetId>,
    /// What became of it.
    pub fate: MailFate,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fate", rename_all = "snake_case")]
pub enum MailFate {
    /// It waits for somebody to say where it belongs.
    Waiting,
    /// It opened a ticket.
    Placed {
        /// The ticket.
        ticket: TicketId,
        /// Who said so.
        by: Actor,
        /// When.
        at: Timestamp,
    },
    /// Nothing is to be done about it.
    Discarded {
        /// Why.
        why: String,
        /// Who said so.
        by: Actor,
        /// When.
        at: Timestamp,
    },
}
