//! Master data. Bodies are the registry's own types: what is stored is what callers agree on.

use forecare_domain::Timestamp;
use forecare_registry::{
    ArticleState, Body, Contract, Customer, GeoPosition, Lead, OutcomeKind, RecordKind, Tier,
};
use forecare_store::{RecordVersion, StoredRecord};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::part::ChannelDto;
use super::{AlarmDto, HealthDto, ReservationDto, TicketDto};

/// What stands where an address is withheld.
const WITHHELD: &str = "(withheld)";

/// `body` for the eyes of the caller: addresses of people, where technicians live, and articles that nobody has published
/// only for those who work with them.
pub(crate) fn shown(mut body: Body, needs_to_know: bool) -> Body {
    if needs_to_know {
        return body;
    }
    match &mut body {
        Body::Customer(customer) => withhold(customer),
        Body::Technician(technician) => {
            for channel in &mut technician.channels {
                channel.address = WITHHELD.to_owned();
            }
            technician.home = None::<GeoPosition>;
            for certificate in &mut technician.certificates {
                certificate.number = None;
            }
        }
        Body::Location(_)
        | Body::Contract(_)
        | Body::Asset(_)
        | Body::Depot(_)
        | Body::Van(_)
        | Body::Calendar(_)
        | Body::Lead(_) => {}
        Body::Article(article) if article.state != ArticleState::Published => {
            article.text = WITHHELD.to_owned();
            article.documents.clear();
        }
        Body::Article(_) => {}
    }
    body
}

/// Takes the addresses of a customer's contacts away.
pub(crate) fn withhold(customer: &mut Customer) {
    for channel in customer.contacts.iter_mut().flat_map(|c| &mut c.channels) {
        channel.address = WITHHELD.to_owned();
    }
}

/// A record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordDto {
    /// Its kind.
    pub(crate) kind: RecordKind,
    /// Its id: the caller's.
    pub(crate) id: String,
    /// Rises by one with every change: the ETag.
    pub(crate) version: i64,
    /// What people call it.
    pub(crate) title: String,
    /// Its content, by kind.
    #[schema(value_type = Body)]
    pub(crate) body: Value,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) updated_at: Timestamp,
    /// Who changed it.
    pub(crate) updated_by: String,
    /// From where.
    pub(crate) channel: ChannelDto,
}

impl RecordDto {
    /// The record for the eyes of the caller; `None`: it is deleted.
    pub(crate) fn new(record: StoredRecord, needs_to_know: bool) -> Option<Self> {
        let body = shown(record.body?, needs_to_know);
        Some(Self {
            kind: record.record.kind,
            id: record.record.id.into(),
            version: record.version,
            title: body.title().to_owned(),
            body: body.to_value(),
            updated_at: record.updated_at,
            updated_by: record.updated_by.name,
            channel: record.updated_by.channel.into(),
        })
    }
}

/// A version of a record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordVersionDto {
    /// Its place among all changes; rises.
    pub(crate) position: i64,
    /// Kind of the record.
    pub(crate) kind: RecordKind,
    /// Id of the record.
    pub(crate) id: String,
    /// The version.
    pub(crate) version: i64,
    /// `put`, `delete` or `erase`.
    pub(crate) action: &'static str,
    /// The content from then on; null: deleted.
    #[schema(value_type = Option<Body>)]
    pub(crate) body: Option<Value>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    /// Who.
    pub(crate) by: String,
    /// From where.
    pub(crate) channel: ChannelDto,
}

impl RecordVersionDto {
    pub(crate) fn new(position: i64, version: RecordVersion, needs_to_know: bool) -> Self {
        let body = version.body.map(|b| shown(b, needs_to_know).to_value());
        Self {
            position,
            kind: version.record.kind,
            id: version.record.id.into(),
            version: version.version,
            action: version.action.label(),
            body,
            at: version.at,
            by: version.by.name,
            channel: version.by.channel.into(),
        }
    }
}

/// Changes of records, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordChangesDto {
    /// The changes.
    pub(crate) items: Vec<RecordVersionDto>,
    /// Ask with this as `after` for what comes next, now or later.
    pub(crate) after: i64,
}

/// What an import came to.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct ImportedDto {
    /// Records that are new.
    pub(crate) n_created: u64,
    /// Records that have changed.
    pub(crate) n_updated: u64,
    /// Records that were so already.
    pub(crate) n_unchanged: u64,
}

impl ImportedDto {
    pub(crate) fn count(&mut self, kind: OutcomeKind) {
        match kind {
            OutcomeKind::Created => self.n_created += 1,
            OutcomeKind::Updated => self.n_updated += 1,
            OutcomeKind::Unchanged | OutcomeKind::Deleted => self.n_unchanged += 1,
        }
    }
}

/// A record to import.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes what the registry reads")]
pub(crate) struct ImportEntryDto {
    /// Its id.
    #[schema(example = "C-1017")]
    pub(crate) id: String,
    /// Only where the record still has this version; 0: only where there is none.
    pub(crate) if_version: Option<i64>,
    /// Its content, by kind.
    #[schema(value_type = Body)]
    pub(crate) body: Value,
}

/// Whom to forget.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ErasureDto {
    /// Of a customer: the contact's id. Of a technician: nothing, the record is about the person.
    #[schema(example = "ada")]
    pub(crate) contact: Option<String>,
}

/// A tier and why.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TierDto {
    /// The tier.
    pub(crate) name: String,
    /// Place of the rule that holds, from 1.
    pub(crate) rule: usize,
    /// Which conditions hold, with the customer's figures.
    pub(crate) why: String,
}

impl From<Tier> for TierDto {
    fn from(tier: Tier) -> Self {
        Self {
            name: tier.name,
            rule: tier.rule,
            why: tier.why,
        }
    }
}

/// A contract of the customer's.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OwnedContractDto {
    /// Its id.
    pub(crate) id: String,
    /// True: today lies in it.
    pub(crate) in_force: bool,
    /// Its content.
    #[schema(value_type = Contract)]
    pub(crate) body: Contract,
}

/// A lead of the customer's.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OwnedLeadDto {
    /// Its id.
    pub(crate) id: String,
    /// Its content.
    #[schema(value_type = Lead)]
    pub(crate) body: Lead,
}

/// An asset of the customer's.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OwnedAssetDto {
    /// Its id.
    pub(crate) id: String,
    /// What people call it.
    pub(crate) name: String,
    /// Its class in the catalogue.
    pub(crate) class: String,
    /// The maker's serial number.
    pub(crate) serial: Option<String>,
    /// The maker's model.
    pub(crate) model: Option<String>,
    /// Last day of the warranty.
    #[schema(value_type = Option<String>, format = Date)]
    pub(crate) warranty_until: Option<String>,
    /// Where it stands, the highest level first.
    pub(crate) location: Vec<String>,
    /// The contract that speaks for it.
    pub(crate) contract_id: Option<String>,
    /// State of health; null: nothing scored yet.
    pub(crate) health: Option<HealthDto>,
    /// Number of its open tickets.
    pub(crate) n_open_tickets: u64,
}

/// A customer at a glance.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CustomerOverviewDto {
    /// The customer's id.
    pub(crate) id: String,
    /// Version of the customer's record.
    pub(crate) version: i64,
    /// The customer's record. Addresses of contacts are withheld from tokens that may only read.
    #[schema(value_type = Customer)]
    pub(crate) customer: Customer,
    /// The tier, and why.
    pub(crate) tier: TierDto,
    /// Contracts, those in force first.
    pub(crate) contracts: Vec<OwnedContractDto>,
    /// Assets with their health.
    pub(crate) assets: Vec<OwnedAssetDto>,
    /// Open tickets of these assets, newest first.
    pub(crate) open_tickets: Vec<TicketDto>,
    /// Active alarms of these assets, newest first.
    pub(crate) alarms: Vec<AlarmDto>,
    /// The last tickets that ended with work done, newest first; at most 10.
    pub(crate) recent_visits: Vec<TicketDto>,
    /// Parts that are held for the open tickets, or on their way.
    pub(crate) reservations: Vec<ReservationDto>,
    /// Leads that are neither won nor lost.
    pub(crate) leads: Vec<OwnedLeadDto>,
}
