//! A record's content, whatever its kind.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::article::Article;
use crate::asset::AssetDetails;
use crate::calendar::Calendar;
use crate::contract::Contract;
use crate::customer::Customer;
use crate::fault::{Fault, Faults};
use crate::id::RecordId;
use crate::kind::RecordKind;
use crate::lead::Lead;
use crate::location::Location;
use crate::people::{Depot, Technician, Van};
use crate::wording::in_words;

/// Content of a record. In JSON, the content alone: the kind stands beside it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = RecordBody))]
pub enum Body {
    /// A node of the tree.
    Location(Location),
    /// A customer.
    Customer(Customer),
    /// A contract.
    Contract(Contract),
    /// Master data of a registered asset.
    Asset(AssetDetails),
    /// A technician.
    Technician(Technician),
    /// A depot.
    Depot(Depot),
    /// A van.
    Van(Van),
    /// A calendar.
    Calendar(Calendar),
    /// A lead.
    Lead(Lead),
    /// An article of the knowledge base.
    Article(Article),
}

/// One record, by kind and id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordRef {
    /// Its kind.
    pub kind: RecordKind,
    /// Its id.
    pub id: RecordId,
}

impl RecordRef {
    /// The record of `kind` with `id`.
    #[must_use]
    pub fn new(kind: RecordKind, id: RecordId) -> Self {
        Self { kind, id }
    }
}

impl std::fmt::Display for RecordRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} \"{}\"", self.kind.label(), self.id)
    }
}

/// Reads a body. Where it cannot be read, every top-level field that is of the wrong form is named, not the first alone.
fn read<T: DeserializeOwned>(mut value: Value) -> Result<T, Faults> {
    let mut faults: Vec<Fault> = Vec::new();
    loop {
        let fault = match read_once(value.clone()) {
            Ok(body) if faults.is_empty() => return Ok(body),
            Ok(_) => break,
            Err(fault) => fault,
        };
        let top: String = fault
            .field
            .split(['.', '['])
            .next()
            .unwrap_or_default()
            .to_owned();
        let known = |f: &Fault| f.field.split(['.', '[']).next() == Some(&top);
        // What is missing because it was taken out has been named.
        if faults.iter().any(known) {
            break;
        }
        faults.push(fault);
        // The others are read without it.
        let taken = value.as_object_mut().and_then(|fields| fields.remove(&top));
        if taken.is_none() || faults.len() >= FAULTS_MAX {
            break;
        }
    }
    Err(Faults(faults))
}

/// Faults named at once.
const FAULTS_MAX: usize = 20;

fn read_once<T: DeserializeOwned>(value: Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        let detail = error.into_inner().to_string();
        // What is missing was never visited: its name is in the text alone.
        let missing = detail
            .strip_prefix("missing field `")
            .and_then(|rest| rest.split('`').next());
        let field = match missing {
            Some(name) if path.is_empty() => name.to_owned(),
            Some(name) => format!("{path}.{name}"),
            None => path,
        };
        let detail = in_words(&detail);
        Fault { field, detail }
    })
}

impl Body {
    /// Reads and checks the JSON of a record of `kind`. What needs other records is checked when it is stored.
    ///
    /// # Errors
    /// Each field at fault, by its path.
    pub fn parse(kind: RecordKind, value: Value) -> Result<Self, Faults> {
        let body = Self::read(kind, value)?;
        let mut faults = Faults::default();
        body.check(&mut faults);
        if faults.0.is_empty() {
            Ok(body)
        } else {
            Err(faults)
        }
    }

    /// Reads what was stored: only its form counts, as rules may have become stricter since.
    ///
    /// # Errors
    /// The first field that cannot be read.
    pub fn read(kind: RecordKind, value: Value) -> Result<Self, Faults> {
        Ok(match kind {
            RecordKind::Location => Self::Location(read(value)?),
            RecordKind::Customer => Self::Customer(read(value)?),
            RecordKind::Contract => Self::Contract(read(value)?),
            RecordKind::Asset => Self::Asset(read(value)?),
            RecordKind::Technician => Self::Technician(read(value)?),
            RecordKind::Depot => Self::Depot(read(value)?),
            RecordKind::Van => Self::Van(read(value)?),
            RecordKind::Calendar => Self::Calendar(read(value)?),
            RecordKind::Lead => Self::Lead(read(value)?),
            RecordKind::Article => Self::Article(read(value)?),
        })
    }

    fn check(&self, faults: &mut Faults) {
        match self {
            Self::Location(body) => body.check(faults),
            Self::Customer(body) => body.check(faults),
            Self::Contract(body) => body.check(faults),
            Self::Asset(body) => body.check(faults),
            Self::Technician(body) => body.check(faults),
            Self::Depot(body) => body.check(faults),
            Self::Van(body) => body.check(faults),
            Self::Calendar(body) => body.check(faults),
            Self::Lead(body) => body.check(faults),
            Self::Article(body) => body.check(faults),
        }
    }

    /// What is wrong with it by itself; empty: nothing.
    #[must_use]
    pub fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        self.check(&mut faults);
        faults
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> RecordKind {
        match self {
            Self::Location(_) => RecordKind::Location,
            Self::Customer(_) => RecordKind::Customer,
            Self::Contract(_) => RecordKind::Contract,
            Self::Asset(_) => RecordKind::Asset,
            Self::Technician(_) => RecordKind::Technician,
            Self::Depot(_) => RecordKind::Depot,
            Self::Van(_) => RecordKind::Van,
            Self::Calendar(_) => RecordKind::Calendar,
            Self::Lead(_) => RecordKind::Lead,
            Self::Article(_) => RecordKind::Article,
        }
    }

    /// What people call it; empty where only the id names it.
    #[must_use]
    pub fn title(&self) -> &str {
        match self {
            Self::Location(body) => &body.name,
            Self::Customer(body) => &body.name,
            Self::Contract(body) => body.title.as_deref().unwrap_or(&body.kind),
            Self::Asset(body) => body.serial.as_deref().unwrap_or_default(),
            Self::Technician(body) => &body.name,
            Self::Depot(body) => &body.name,
            Self::Van(body) => &body.name,
            Self::Calendar(body) => &body.name,
            Self::Lead(body) => &body.title,
            Self::Article(body) => &body.title,
        }
    }

    /// What a search looks in: id, title and, of assets, model and maker; in lower case. Never a person at the
    /// customer's: what is erased must not be left behind in an index.
    #[must_use]
    pub fn searched(&self, id: &RecordId) -> String {
        let more = match self {
            Self::Asset(body) => [body.model.as_deref(), body.manufacturer.as_deref()],
            Self::Location(body) => [body.region.as_deref(), body.address.as_deref()],
            Self::Customer(_)
            | Self::Contract(_)
            | Self::Technician(_)
            | Self::Depot(_)
            | Self::Van(_)
            | Self::Calendar(_)
            | Self::Lead(_)
            | Self::Article(_) => [None, None],
        };
        let mut text = format!("{id}\n{}", self.title());
        for part in more.into_iter().flatten() {
            text.push('\n');
            text.push_str(part);
        }
        text.to_lowercase()
    }

    /// Every record it refers to, with the field that does. A reference to an asset is to a registered one.
    #[must_use]
    pub fn references(&self) -> Vec<(String, RecordRef)> {
        let mut all = Vec::new();
        let mut one = |field: &str, kind, id: &Option<RecordId>| {
            if let Some(id) = id {
                all.push((field.to_owned(), RecordRef::new(kind, id.clone())));
            }
        };
        match self {
            Self::Location(b) => one("parent", RecordKind::Location, &b.parent),
            Self::Customer(b) => {
                let lists = [
                    ("preferred_technicians", &b.preferred_technicians),
                    ("excluded_technicians", &b.excluded_technicians),
                ];
                for (field, ids) in lists {
                    all.extend(many(field, RecordKind::Technician, ids));
                }
            }
            Self::Contract(b) => {
                one("customer", RecordKind::Customer, &Some(b.customer.clone()));
                one("calendar", RecordKind::Calendar, &b.calendar);
                let coverage = &b.coverage;
                all.extend(many("coverage.assets", RecordKind::Asset, &coverage.assets));
                let places = &coverage.locations;
                all.extend(many("coverage.locations", RecordKind::Location, places));
            }
            Self::Asset(b) => {
                one("customer", RecordKind::Customer, &b.customer);
                for (i, placement) in b.positions.iter().enumerate() {
                    let place = RecordRef::new(RecordKind::Location, placement.location.clone());
                    all.push((format!("positions[{i}].location"), place));
                }
            }
            Self::Technician(b) => {
                one("depot", RecordKind::Depot, &b.depot);
                one("van", RecordKind::Van, &b.van);
                one("calendar", RecordKind::Calendar, &b.calendar);
            }
            Self::Van(b) => one("depot", RecordKind::Depot, &b.depot),
            Self::Lead(b) => {
                one("customer", RecordKind::Customer, &Some(b.customer.clone()));
                one("asset", RecordKind::Asset, &b.asset);
                one("contract", RecordKind::Contract, &b.contract);
            }
            Self::Article(b) => {
                all.extend(many("translations", RecordKind::Article, &b.translations));
            }
            Self::Depot(_) | Self::Calendar(_) => {}
        }
        all
    }

    /// The JSON of it, fields in a fixed order.
    #[must_use]
    pub fn to_value(&self) -> Value {
        // Strings, finite numbers and lists of them: nothing here can fail to be written.
        serde_json::to_value(self).unwrap_or(Value::Null)
    }
}

fn many(
    field: &str,
    kind: RecordKind,
    ids: &[RecordId],
) -> impl Iterator<Item = (String, RecordRef)> {
    ids.iter()
        .enumerate()
        .map(move |(i, id)| (format!("{field}[{i}]"), RecordRef::new(kind, id.clone())))
}
