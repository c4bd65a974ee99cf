//! The kinds of master data.

use serde::{Deserialize, Serialize};

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RecordKind {
    /// A node of the ISA-95 tree.
    Location,
    /// A customer with contacts.
    Customer,
    /// What was agreed with a customer.
    Contract,
    /// What is known of a registered asset beyond what its device needs; has the asset's id.
    Asset,
    /// Someone who does the work.
    Technician,
    /// A place that holds stock.
    Depot,
    /// A car that carries people, tools and parts.
    Van,
    /// Working hours and holidays.
    Calendar,
    /// A chance to sell, for the CRM.
    Lead,
    /// An article of the knowledge base.
    Article,
}

/// No kind of record has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no kind \"{0}\"; the kinds are locations, customers, contracts, assets, technicians, depots, vans, calendars, leads, articles"
)]
pub struct UnknownKind(pub String);

impl RecordKind {
    /// Every kind, those first that others refer to: imported in this order, every reference is there.
    pub const ALL: [Self; 10] = [
        Self::Calendar,
        Self::Location,
        Self::Depot,
        Self::Van,
        Self::Technician,
        Self::Customer,
        Self::Contract,
        Self::Asset,
        Self::Lead,
        Self::Article,
    ];

    /// The name in JSON and SQL: `location`, `customer`, ...
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Location => "location",
            Self::Customer => "customer",
            Self::Contract => "contract",
            Self::Asset => "asset",
            Self::Technician => "technician",
            Self::Depot => "depot",
            Self::Van => "van",
            Self::Calendar => "calendar",
            Self::Lead => "lead",
            Self::Article => "article",
        }
    }

    /// The name in paths and commands: `locations`, `customers`, ...
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Location => "locations",
            Self::Customer => "customers",
            Self::Contract => "contracts",
            Self::Asset => "assets",
            Self::Technician => "technicians",
            Self::Depot => "depots",
            Self::Van => "vans",
            Self::Calendar => "calendars",
            Self::Lead => "leads",
            Self::Article => "articles",
        }
    }
}

impl std::str::FromStr for RecordKind {
    type Err = UnknownKind;

    /// From the singular or the plural.
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.label() == text || kind.plural() == text)
            .ok_or_else(|| UnknownKind(text.chars().take(64).collect()))
    }
}
