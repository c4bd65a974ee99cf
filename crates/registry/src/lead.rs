//! A chance to sell: found here, followed up in the CRM.

use forecare_domain::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fault::{Faults, NOTE_CHARS_MAX};
use crate::id::RecordId;

/// A lead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Lead {
    /// The customer.
    pub customer: RecordId,
    /// What could be sold, such as `renewal`, `extended-warranty` or `upgrade`.
    pub kind: String,
    /// In one line.
    pub title: String,
    /// The asset it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<RecordId>,
    /// The contract it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<RecordId>,
    /// How far it is.
    #[serde(default)]
    pub state: LeadState,
    /// When it was seen.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub opened_at: Timestamp,
    /// What it may be worth, in the catalogue's currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// What else to know, at most 2,000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How far a lead is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum LeadState {
    /// Nobody has taken it up.
    #[default]
    Open,
    /// Sales works on it.
    Taken,
    /// Sold.
    Won,
    /// Not sold.
    Lost,
}

impl Lead {
    pub(crate) fn check(&self, faults: &mut Faults) {
        faults.line("kind", &self.kind);
        faults.line("title", &self.title);
        if let Some(value) = self.value {
            faults.number("value", value, 0.0, 1e15);
        }
        if let Some(note) = &self.note {
            faults.text("note", note, NOTE_CHARS_MAX);
        }
    }
}
