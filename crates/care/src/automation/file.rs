//! A rule as it is written in the configuration.

use forecare_domain::{MetricName, Priority, TicketState};
use serde::Deserialize;

use super::command::Offer;
use super::facts::Conditions;

/// A rule as written: `[[care.automation]]`. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    /// Its name: 1 to 64 of a-z, 0-9 and `-`. Stands in histories, keys and metrics.
    pub name: String,
    /// The event.
    pub on: String,
    /// Days after (installed, age) or before (contract, warranty).
    #[serde(default)]
    pub days: Option<f64>,
    /// Of `asset.age`: every so many days, in place of `days`.
    #[serde(default)]
    pub every_days: Option<f64>,
    /// Hours in a state, or without a reading.
    #[serde(default)]
    pub hours: Option<f64>,
    /// Of `ticket.waiting`: in these states; none: in any open one.
    #[serde(default)]
    pub states: Vec<TicketState>,
    /// Of `asset.cycles`: the metric that counts.
    #[serde(default)]
    pub counter: Option<MetricName>,
    /// Of `asset.cycles`: once, when it reaches this.
    #[serde(default)]
    pub at: Option<f64>,
    /// Of `asset.cycles`: every so many.
    #[serde(default)]
    pub every: Option<f64>,
    /// Of `firmware.notice`: versions, `2.1.*` for all that begin so.
    #[serde(default)]
    pub versions: Vec<String>,
    /// What must hold as well.
    #[serde(default)]
    pub when: Conditions,
    /// What is done, in order.
    pub then: Vec<Action>,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Who does the ticket.
    Assign(AssignSpec),
    /// The ticket gets this priority, where its own is lower.
    Priority(Priority),
    /// A note on the ticket.
    Note(NoteSpec),
    /// Another ticket.
    Open(OpenSpec),
    /// Somebody is told.
    Notify(NotifySpec),
    /// A chance to sell, for the CRM.
    Lead(LeadSpec),
}

impl Action {
    /// The name in configuration and metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Assign(_) => "assign",
            Self::Priority(_) => "priority",
            Self::Note(_) => "note",
            Self::Open(_) => "open",
            Self::Notify(_) => "notify",
            Self::Lead(_) => "lead",
        }
    }
}

/// Who does a ticket. At least one key is given.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AssignSpec {
    /// This technician, as if a planner had laid it down.
    pub technician: Option<String>,
    /// Whoever has this skill: it is added to those the ticket needs, and the dispatcher plans by it.
    pub skill: Option<String>,
    /// True: it is sent out at once, to the technician laid down or proposed.
    pub send: bool,
}

/// A note on a ticket: exactly one of `text`, `article` and `article_of_mode`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NoteSpec {
    /// The text.
    pub text: Option<String>,
    /// Id of an article of the knowledge base.
    pub article: Option<String>,
    /// True: the published article about the ticket's failure mode and class.
    pub article_of_mode: bool,
    /// True: the customer may read it; of articles only public ones are given then.
    pub to_customer: bool,
}

/// Another ticket.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenSpec {
    /// Its kind.
    pub kind: String,
    /// Its title.
    pub title: String,
    /// Its priority.
    #[serde(default = "lowest")]
    pub priority: Priority,
    /// Its procedure, by which it gets a checklist; empty: the kind's.
    #[serde(default)]
    pub procedure: String,
    /// Days until it is due; none: by its priority.
    #[serde(default)]
    pub due_days: Option<f64>,
    /// True: it follows up the ticket of the event, whose number it carries.
    #[serde(default)]
    pub follow_up: bool,
}

fn lowest() -> Priority {
    Priority::P4
}

/// Somebody is told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifySpec {
    /// Whom: names, `@technician`, `@customer`, `#channel`.
    pub to: Vec<String>,
    /// What.
    pub text: String,
    /// In one line, the subject of a mail; none: the ticket's title, or the machine's name.
    #[serde(default)]
    pub subject: Option<String>,
    /// By these channels; none: by the first that the recipient prefers.
    #[serde(default)]
    pub channels: Vec<String>,
    /// True: it asks the customer how it went, with a link to answer.
    #[serde(default)]
    pub survey: bool,
}

/// A chance to sell.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeadSpec {
    /// What could be offered.
    pub offer: Offer,
    /// In one line; empty: made from offer and subject.
    #[serde(default)]
    pub title: String,
    /// What else to know.
    #[serde(default)]
    pub note: String,
}
