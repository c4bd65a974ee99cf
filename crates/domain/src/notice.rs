//! What people are told of, and what customers answer: the vocabulary. The rules are in `care` and `notify`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    AssetId, DeviceId, PartNumber, Priority, SlaKind, Ticket, TicketId, TicketState, Timestamp,
};

/// A notice's id: the ticket, its version and what happened; beside tickets the rule and its occasion. The same event always has the same id, so that whoever is
/// told twice can know it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NoticeId(pub String);

impl fmt::Display for NoticeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NoticeKind {
    /// A ticket was opened.
    TicketOpened,
    /// It has another state or priority.
    TicketChanged {
        /// The state before.
        from: TicketState,
    },
    /// It was given to somebody.
    TicketAssigned {
        /// The technician.
        technician: String,
    },
    /// A visit is to be agreed on: the ticket was taken up.
    VisitOffered,
    /// A technician was sent out, and when the work is to begin is known, or has moved.
    VisitPlanned {
        /// When the work is to begin.
        start_at: Timestamp,
    },
    /// A customer wrote something on it.
    TicketMessage,
    /// We wrote something on it that the customer may read.
    TicketReplied {
        /// What was written.
        text: String,
        /// Who wrote it: a name.
        by: String,
    },
    /// It was opened because a contact of the customer's wrote to us, who is to know that it has come.
    TicketReceived,
    /// A message came by e-mail of which nobody knows yet which machine it is about.
    MailUnplaced {
        /// Id of the customer's record whose contact sent it, and the contact's: who is to know that it has come.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<(String, String)>,
    },
    /// The work is done.
    TicketResolved,
    /// It is closed or cancelled.
    TicketClosed,
    /// So much of a service level's target is used.
    SlaMark {
        /// On which clock.
        clock: SlaKind,
        /// Percent of the target; 100: it was missed.
        percent: u16,
    },
    /// A level of the escalation chain was reached.
    SlaEscalated {
        /// On which clock.
        clock: SlaKind,
        /// Which level.
        level: u16,
    },
    /// Parts arrive after they are needed.
    PartsShort {
        /// Which, one entry per reservation.
        parts: Vec<ShortPart>,
    },
    /// A rule of automation has something to say.
    AutomationMessage(AutomationMessage),
    /// There is something to offer to a customer, for the CRM to follow up.
    CareLead(CareLead),
}

/// What a rule of automation says, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutomationMessage {
    /// The rule.
    pub rule: String,
    /// What it says.
    pub text: String,
    /// Whom, as in rules of notices: names, `@technician`, `@customer`, `#channel`.
    pub to: Vec<String>,
    /// By these channels; none: by the first that the recipient prefers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// True: it asks the customer how it went, and carries the link to answer.
    #[serde(default)]
    pub survey: bool,
    /// Id of the customer, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
}

/// A chance to sell, as the CRM gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CareLead {
    /// Id of the lead's record in the registry.
    pub lead: String,
    /// `renewal`, `extended-warranty` or `upgrade`.
    pub offer: String,
    /// Id of the customer.
    pub customer: String,
    /// Id of the contract that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<String>,
    /// Why, in words.
    pub reason: String,
    /// The rule that found it.
    pub rule: String,
}

/// A part that arrives after it is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShortPart {
    /// The part.
    pub part: PartNumber,
    /// The part that was asked for, where `part` stands in for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<PartNumber>,
    /// How many.
    pub quantity: u32,
    /// When they are needed.
    pub needed_at: Timestamp,
    /// When they can be there.
    pub available_at: Timestamp,
}

impl NoticeKind {
    /// Names of all kinds, as in the configuration, the API and metrics.
    pub const LABELS: [&'static str; 16] = [
        "ticket.opened",
        "ticket.changed",
        "ticket.assigned",
        "visit.offered",
        "visit.planned",
        "ticket.message",
        "ticket.replied",
        "ticket.received",
        "mail.unplaced",
        "ticket.resolved",
        "ticket.closed",
        "sla.mark",
        "sla.escalated",
        "parts.short",
        "automation.message",
        "care.lead",
    ];

    /// The name of this kind.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::TicketOpened => "ticket.opened",
            Self::TicketChanged { .. } => "ticket.changed",
            Self::TicketAssigned { .. } => "ticket.assigned",
            Self::VisitOffered => "visit.offered",
            Self::VisitPlanned { .. } => "visit.planned",
            Self::TicketMessage => "ticket.message",
            Self::TicketReplied { .. } => "ticket.replied",
            Self::TicketReceived => "ticket.received",
            Self::MailUnplaced { .. } => "mail.unplaced",
            Self::TicketResolved => "ticket.resolved",
            Self::TicketClosed => "ticket.closed",
            Self::SlaMark { .. } => "sla.mark",
            Self::SlaEscalated { .. } => "sla.escalated",
            Self::PartsShort { .. } => "parts.short",
            Self::AutomationMessage(_) => "automation.message",
            Self::CareLead(_) => "care.lead",
        }
    }
}

/// Something people are told of, with what there is to say, as it was when it happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Stable and unique.
    pub id: NoticeId,
    /// When it happened.
    pub at: Timestamp,
    /// The ticket; `None`: it is about a machine or a contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<TicketId>,
    /// The asset; `None`: it is about a contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<AssetId>,
    /// Its device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// The ticket's title, or what it is about.
    pub title: String,
    /// The ticket's priority; without one the lowest.
    pub priority: Priority,
    /// The ticket's state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<TicketState>,
    /// Who is to do it.
    pub technician: Option<String>,
    /// When the work must be done at the latest, or the day that it is about.
    pub due_at: Timestamp,
    /// Why, in the words of the history's last line.
    pub why: String,
    /// The rules of automation that led to it, the one that acted first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub automation: Vec<String>,
    /// What happened.
    pub what: NoticeKind,
}

impl Notice {
    /// The notice that `what` happened to `ticket` at `at`; `detail` tells it from others of the same kind and step.
    #[must_use]
    pub fn of(ticket: &Ticket, what: NoticeKind, detail: &str, at: Timestamp) -> Self {
        let label = what.label();
        Self {
            id: NoticeId(format!("{}.{}.{label}{detail}", ticket.id, ticket.version)),
            at,
            ticket: Some(ticket.id),
            asset: Some(ticket.asset.clone()),
            device: Some(ticket.device.clone()),
            title: ticket.title.clone(),
            priority: ticket.priority,
            state: Some(ticket.state),
            technician: ticket.technician.clone(),
            due_at: ticket.due_at,
            why: ticket
                .history
                .last()
                .map(|change| change.why.clone())
                .unwrap_or_default(),
            automation: Vec::new(),
            what,
        }
    }

    /// What it is about, in a word: the ticket's number, the lead, the asset, the customer.
    #[must_use]
    pub fn about(&self) -> String {
        if let Some(ticket) = self.ticket {
            return ticket.to_string();
        }
        match (&self.what, &self.asset) {
            (NoticeKind::CareLead(lead), _) => lead.lead.clone(),
            (NoticeKind::MailUnplaced { .. }, _) => "inbox".to_owned(),
            (_, Some(asset)) => asset.to_string(),
            (NoticeKind::AutomationMessage(message), None) => {
                message.customer.clone().unwrap_or_default()
            }
            (_, None) => String::new(),
        }
    }
}

/// What a customer says about a ticket's work. Every part is optional; none at all is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurveyAnswer {
    /// The ticket.
    pub ticket: TicketId,
    /// When it was given.
    pub at: Timestamp,
    /// False: the customer says that the work is not done.
    pub solved: Option<bool>,
    /// Satisfaction (CSAT), 1 to 5.
    pub csat: Option<u8>,
    /// Would recommend (NPS), 0 to 10.
    pub nps: Option<u8>,
    /// Ease (CES), 1 to 7.
    pub ces: Option<u8>,
    /// In their own words.
    pub comment: Option<String>,
}
