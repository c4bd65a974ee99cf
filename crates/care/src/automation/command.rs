//! What a rule comes to, and what that does to a ticket.

use forecare_domain::{Actor, Priority, Ticket, TicketState, Timestamp};
use serde::{Deserialize, Serialize};

use crate::lifecycle::record;
use crate::transition;
use crate::work::NOTE_CHARS_MAX;

/// What could be offered. The names are those of leads in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Offer {
    /// Another contract, or this one for longer.
    Renewal,
    /// A longer warranty.
    ExtendedWarranty,
    /// Another machine, or a better one.
    Upgrade,
}

impl Offer {
    /// The name in configuration, registry and events.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Renewal => "renewal",
            Self::ExtendedWarranty => "extended-warranty",
            Self::Upgrade => "upgrade",
        }
    }
}

/// Something to carry out, with its texts filled in.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// The ticket is assigned.
    Assign {
        /// To this technician.
        technician: Option<String>,
        /// To whoever has this skill.
        skill: Option<String>,
        /// And sent out.
        send: bool,
    },
    /// The ticket's priority is raised to this.
    Raise(Priority),
    /// A note is written.
    Note {
        /// The text.
        text: String,
        /// The customer may read it.
        to_customer: bool,
    },
    /// An article is given.
    Article {
        /// Its id; `None`: the one about the failure mode.
        id: Option<String>,
        /// The customer may read it.
        to_customer: bool,
    },
    /// A ticket is opened.
    Open {
        /// Its kind.
        kind: String,
        /// Its title.
        title: String,
        /// Its priority.
        priority: Priority,
        /// Its procedure; empty: the kind's.
        procedure: String,
        /// When it is due; `None`: by its priority.
        due_at: Option<Timestamp>,
        /// It follows up the ticket of the event.
        follow_up: bool,
    },
    /// Somebody is told.
    Tell {
        /// Whom.
        to: Vec<String>,
        /// What.
        text: String,
        /// In one line.
        subject: Option<String>,
        /// By which channels.
        channels: Vec<String>,
        /// It asks how it went.
        survey: bool,
    },
    /// A lead is put into the registry, and told.
    Lead {
        /// What could be offered.
        offer: Offer,
        /// In one line.
        title: String,
        /// What else to know.
        note: String,
    },
}

impl Command {
    /// The name of the action, as in the configuration and metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Assign { .. } => "assign",
            Self::Raise(_) => "priority",
            Self::Note { .. } | Self::Article { .. } => "note",
            Self::Open { .. } => "open",
            Self::Tell { .. } => "notify",
            Self::Lead { .. } => "lead",
        }
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reader = |to_customer: &bool| {
            if *to_customer {
                "for the customer"
            } else {
                "internal"
            }
        };
        match self {
            Self::Assign {
                technician,
                skill,
                send,
            } => {
                let mut parts = Vec::new();
                parts.extend(technician.as_ref().map(|who| format!("assign to {who}")));
                parts.extend(
                    skill
                        .as_ref()
                        .map(|skill| format!("ask for the skill {skill}")),
                );
                parts.extend(send.then(|| "send out".to_owned()));
                f.write_str(&parts.join(", "))
            }
            Self::Raise(to) => write!(f, "raise to {to:?}"),
            Self::Note { text, to_customer } => write!(f, "note ({}): {text}", reader(to_customer)),
            Self::Article { id, to_customer } => {
                let which = id.as_deref().unwrap_or("of the failure mode");
                write!(f, "article {which} ({})", reader(to_customer))
            }
            Self::Open {
                kind,
                title,
                priority,
                due_at,
                ..
            } => {
                write!(f, "open {kind} {priority:?}: {title}")?;
                due_at.map_or(Ok(()), |at| write!(f, " (due {at})"))
            }
            Self::Tell { to, text, .. } => write!(f, "tell {}: {text}", to.join(", ")),
            Self::Lead { offer, title, .. } => write!(f, "lead {}: {title}", offer.label()),
        }
    }
}

/// `ticket` with the priority `to`; `None`: it is that urgent already, or over.
#[must_use]
pub fn raised(
    ticket: &Ticket,
    to: Priority,
    by: Actor,
    why: &str,
    now: Timestamp,
) -> Option<Ticket> {
    if ticket.priority <= to || !ticket.state.is_open() {
        return None;
    }
    let mut after = ticket.clone();
    after.priority = to;
    let why = format!("priority {:?} -> {to:?}: {why}", ticket.priority);
    record(&mut after, ticket.state, by, &why, now);
    Some(after)
}

/// `ticket` with `skill` among those it needs; `None`: it is, or nobody is sent any more.
#[must_use]
pub fn with_skill(
    ticket: &Ticket,
    skill: &str,
    by: Actor,
    why: &str,
    now: Timestamp,
) -> Option<Ticket> {
    let is_there = ticket.skills.iter().any(|own| own == skill);
    if is_there || !crate::dispatch::is_proposable(ticket.state) {
        return None;
    }
    let mut after = ticket.clone();
    after.skills.push(skill.to_owned());
    let why = format!("needs the skill {skill}: {why}");
    record(&mut after, ticket.state, by, &why, now);
    Some(after)
}

/// `ticket` sent out to the technician it has.
///
/// # Errors
/// Why it is not sent, in words.
pub fn sent_out(ticket: &Ticket, by: &Actor, why: &str, now: Timestamp) -> Result<Ticket, String> {
    let Some(technician) = &ticket.technician else {
        return Err("nobody is laid down or proposed for it".to_owned());
    };
    let why = format!("sent to {technician}: {why}");
    let mut after = ticket.clone();
    if matches!(after.state, TicketState::New | TicketState::Reopened) {
        after = step(&after, TicketState::Triaged, by, &why, now)?;
    }
    step(&after, TicketState::Dispatched, by, &why, now)
}

fn step(
    ticket: &Ticket,
    to: TicketState,
    by: &Actor,
    why: &str,
    now: Timestamp,
) -> Result<Ticket, String> {
    transition(ticket, to, by.clone(), why, None, now).map_err(|refused| refused.to_string())
}

/// The note that gives an article, cut to what a note holds. Those who work here get title and id and read it where it
/// is; the customer gets the text.
#[must_use]
pub fn note_of_article(id: &str, title: &str, text: &str, to_customer: bool) -> String {
    let note = if to_customer {
        format!("{title}\n\n{}", text.trim())
    } else {
        format!("See article {id}: {title}")
    };
    note.chars().take(NOTE_CHARS_MAX).collect()
}
