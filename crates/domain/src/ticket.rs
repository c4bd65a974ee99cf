//! Where a ticket comes from, and what work on it needs: the vocabulary. The rules are in the `care` crate.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Actor, ModeName, PartNumber, Priority, ScheduleName, Ticket, TicketId, TicketKind, Timestamp,
};

/// What opened a ticket.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// An alarm, by a decision.
    #[default]
    Alarm,
    /// A person.
    Person {
        /// Who, and from where.
        by: Actor,
    },
    /// A schedule of the configuration.
    Schedule {
        /// Its name.
        schedule: ScheduleName,
        /// For which occurrence: hours since the asset was registered, or the counter's value.
        position: f64,
    },
    /// An event that the device reported.
    Event {
        /// The device's code, such as `E42`.
        code: String,
    },
    /// A rule of automation of the configuration.
    Automation {
        /// Its name.
        rule: String,
        /// The ticket whose work it follows up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        follows: Option<TicketId>,
    },
}

impl Origin {
    /// The name in JSON, SQL and metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Alarm => "alarm",
            Self::Person { .. } => "person",
            Self::Schedule { .. } => "schedule",
            Self::Event { .. } => "event",
            Self::Automation { .. } => "automation",
        }
    }
}

/// What a fault does to production.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProductionImpact {
    /// Nothing, as far as is known.
    #[default]
    None,
    /// Less or worse is made.
    Reduced,
    /// Nothing is made.
    Stopped,
}

/// How soon somebody is needed, by the reporter's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// When convenient.
    Low,
    /// Within days.
    #[default]
    Medium,
    /// Now.
    High,
}

/// What a person told when opening a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// In their words; may be empty.
    pub description: String,
    /// True: somebody may get hurt.
    pub safety: bool,
    /// What it does to production.
    pub production: ProductionImpact,
    /// How soon somebody is needed.
    pub urgency: Urgency,
}

/// A line of a ticket's checklist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChecklistItem {
    /// What is to be done.
    pub text: String,
    /// True: the ticket is not resolved before it is done.
    pub required: bool,
    /// Who has done it, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Done>,
}

/// That something was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// When.
    pub at: Timestamp,
    /// Who, and from where.
    pub by: Actor,
}

/// The value of a field of the configuration's. A date is a text: `2026-12-24`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FieldValue {
    /// Yes or no.
    Boolean(bool),
    /// A finite number.
    Number(f64),
    /// A text, a choice or a date.
    Text(String),
}

impl std::fmt::Display for FieldValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{}", if *value { "yes" } else { "no" }),
            Self::Number(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
        }
    }
}

/// A contact of a customer's. Their id says nothing without the customer's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactRef {
    /// Id of the customer.
    pub customer: String,
    /// Id of the contact among theirs.
    pub contact: String,
}

/// A number of one part that work needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartWanted {
    /// The part.
    pub part: PartNumber,
    /// How many. At least 1.
    #[serde(default = "one")]
    pub quantity: u32,
}

fn one() -> u32 {
    1
}

/// What tickets have beside the alarm's part, all of it empty on tickets of before.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TicketWork {
    /// What the reporter told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<Report>,
    /// By when it must be done whatever was promised: before the failure (then the promise counts too, where it is earlier),
    /// or as the schedule or rule that ordered it asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_by: Option<Timestamp>,
    /// What evidence had called for when a person set the priority: only more than that raises it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overruled: Option<Priority>,
    /// Work expected, hours; `None`: the failure mode's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work_hours: Option<f64>,
    /// The parts it needs, all of them, each once; `None`: those of its failure mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<Vec<PartWanted>>,
    /// Who laid these parts down; `None`: the schedule or kind says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts_by: Option<Actor>,
    /// What is to be done, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checklist: Vec<ChecklistItem>,
    /// Fields of its kind, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, FieldValue>,
    /// The ticket it is a part of, or follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<TicketId>,
    /// Id of the customer whose machine it was when the ticket was opened; `None`: nobody's, then it is whose the machine is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// The customer's contact who last wrote about it by e-mail: they are told before others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<ContactRef>,
    /// True: a contact of the customer's opened it, so that the report is theirs to read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_contacts: bool,
    /// The ticket that goes on in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<TicketId>,
    /// Articles that were tried, by id: whether they helped.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub helped: BTreeMap<String, bool>,
}

impl TicketWork {
    /// True where there is nothing to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Ticket {
    /// True where an alarm opened it: what becomes of it speaks of the prediction.
    #[must_use]
    pub fn is_predicted(&self) -> bool {
        self.origin == Origin::Alarm
    }

    /// What only one open ticket of an asset may be about; `None`: there may be several.
    #[must_use]
    pub fn opening_key(&self) -> Option<String> {
        match &self.origin {
            Origin::Alarm => self.mode.as_ref().map(Self::alarm_key),
            Origin::Person { .. } => None,
            Origin::Schedule { schedule, .. } => Some(format!("schedule:{schedule}")),
            Origin::Event { code } => Some(format!("event:{code}")),
            Origin::Automation { rule, follows } => Some(match follows {
                Some(ticket) => format!("automation:{rule}:{ticket}"),
                None => format!("automation:{rule}"),
            }),
        }
    }

    /// The [`opening_key`](Self::opening_key) of alarms of `mode`.
    #[must_use]
    pub fn alarm_key(mode: &ModeName) -> String {
        format!("mode:{mode}")
    }
}

/// The kind of tickets that were stored before there were several.
pub(crate) fn kind_of_old() -> TicketKind {
    TicketKind::predictive()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_what_it_is() {
        let values: Vec<FieldValue> = serde_json::from_str(r#"[true, 2.5, 3, "x"]"#).unwrap();
        let expected = [
            FieldValue::Boolean(true),
            FieldValue::Number(2.5),
            FieldValue::Number(3.0),
            FieldValue::Text("x".to_owned()),
        ];
        assert_eq!(values, expected);
    }

    #[test]
    fn nothing_is_written_of_empty_work() {
        assert_eq!(serde_json::to_string(&TicketWork::default()).unwrap(), "{}");
        let read: TicketWork = serde_json::from_str("{}").unwrap();
        assert!(read.is_empty());
    }
}
