//! For whom a ticket is: the customer, what was agreed with them, whom to speak to, and where the machine stands.

use forecare_domain::{Ticket, TicketKind};
use forecare_registry::{
    Contact, Contract, Covered, Customer, Date, Includes, RecordId, RecordKind, RecordRef, Tier,
};
use forecare_store::{Store, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::{App, Caller};
use crate::dto::withhold;
use crate::overview::{self, customer, standing};
use crate::problem::Problem;

/// For whom a ticket is, as API and console both tell it.
pub(crate) struct ForWhom {
    pub(crate) id: RecordId,
    /// With addresses withheld where they are not for the caller's eyes.
    pub(crate) customer: Customer,
    pub(crate) tier: Tier,
    /// The contract that covered the machine when the ticket was opened.
    pub(crate) contract: Option<(RecordId, Contract, Covered)>,
    /// Last day of the machine's warranty.
    pub(crate) warranty_until: Option<Date>,
}

impl ForWhom {
    /// Why the customer does not pay for something on `ticket`: warranty, where something is mended, or what the contract
    /// of then includes.
    fn paid_by(&self, ticket: &Ticket, includes: impl FnOnce(&Includes) -> bool) -> Option<String> {
        let opened = Date::of(ticket.opened_at);
        let is_mended = [
            TicketKind::PREDICTIVE,
            TicketKind::CORRECTIVE,
            TicketKind::COMPLAINT,
        ]
        .contains(&ticket.kind.as_str());
        let warranty = self
            .warranty_until
            .filter(|until| is_mended && opened <= *until);
        if let Some(until) = warranty {
            return Some(format!("warranty until {until}"));
        }
        let (id, contract, _) = self.contract.as_ref()?;
        includes(&contract.includes).then(|| format!("included in contract {id}"))
    }

    /// Why the customer does not pay for labour and travel on `ticket`; `None`: they do.
    pub(crate) fn labour_paid_by(&self, ticket: &Ticket) -> Option<String> {
        self.paid_by(ticket, |includes| includes.labour)
    }

    /// Why the customer does not pay for the part of that number on `ticket`; `None`: they do.
    pub(crate) fn part_paid_by(&self, ticket: &Ticket, part: &str) -> Option<String> {
        self.paid_by(ticket, |includes| {
            includes.all_parts || includes.parts.iter().any(|p| p == part)
        })
    }
}

/// Whose `ticket` is: the customer for whom it was opened, as long as they are on record, else the machine's `owner`.
///
/// # Errors
/// The store cannot be reached.
pub async fn customer_of(
    store: &dyn Store,
    ticket: &Ticket,
    owner: Option<RecordId>,
) -> Result<Option<RecordId>, StoreError> {
    let opened_for = ticket.work.customer.as_ref();
    if let Some(id) = opened_for.and_then(|id| RecordId::new(id).ok()) {
        let key = RecordRef::new(RecordKind::Customer, id);
        let record = store.record(&key).await?;
        if record.is_some_and(|r| r.body.is_some()) {
            return Ok(Some(key.id));
        }
    }
    Ok(owner)
}

/// Where the machine of a ticket stands, the highest level first, and for whom the ticket is, where that is known.
pub(crate) async fn of_ticket(
    app: &App,
    caller: &Caller,
    ticket: &Ticket,
) -> Result<(Vec<String>, Option<ForWhom>), Problem> {
    let Some(asset) = app.state.store.asset(&ticket.asset).await? else {
        return Ok((Vec::new(), None));
    };
    let Some(placed) = overview::of_asset(app, &asset).await? else {
        let site = Some(asset.site).filter(|site| !site.is_empty());
        return Ok((site.into_iter().collect(), None));
    };
    let mut place: Vec<String> = placed.place.into_iter().map(|(_, name)| name).collect();
    if place.is_empty() && !asset.site.is_empty() {
        place.push(asset.site.clone());
    }
    let owner = placed.details.customer.clone();
    let Some(id) = customer_of(app.state.store.as_ref(), ticket, owner).await? else {
        return Ok((place, None));
    };
    let warranty_until = placed.details.warranty_until;
    let (id, _, mut found) = customer(app, id.as_str()).await?;
    let (_, tier) = standing(app, &id, &found).await?;
    if !caller.needs_to_know() {
        withhold(&mut found);
    }
    let of = ForWhom {
        customer: found,
        tier,
        warranty_until,
        contract: overview::contract_at(app, &asset, &placed.details, &id, ticket.opened_at)
            .await?,
        id,
    };
    Ok((place, Some(of)))
}

/// For whom a ticket is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TicketCustomer)]
pub(crate) struct TicketCustomerDto {
    /// The customer's id.
    pub(crate) id: String,
    /// The firm's name.
    pub(crate) name: String,
    /// Their tier.
    pub(crate) tier: String,
    /// By which rule they have it.
    pub(crate) tier_why: String,
    /// Id of the contract in force that covers the machine; null: none does.
    pub(crate) contract_id: Option<String>,
    /// What that contract is called.
    pub(crate) contract_title: Option<String>,
    /// Last day of the machine's warranty; null: not known.
    #[schema(value_type = Option<String>, format = Date)]
    pub(crate) warranty_until: Option<Date>,
    /// People to speak to, the first one first, with what they agreed to; of those who only read, addresses are withheld.
    pub(crate) contacts: Vec<Contact>,
}

impl From<ForWhom> for TicketCustomerDto {
    fn from(of: ForWhom) -> Self {
        let contract = of.contract.as_ref();
        Self {
            contract_id: contract.map(|(id, ..)| id.to_string()),
            contract_title: contract.map(|(_, c, _)| contract_title(c)),
            warranty_until: of.warranty_until,
            id: of.id.to_string(),
            name: of.customer.name,
            tier: of.tier.name,
            tier_why: of.tier.why,
            contacts: of.customer.contacts,
        }
    }
}

/// What people call a contract.
fn contract_title(contract: &Contract) -> String {
    contract
        .title
        .clone()
        .unwrap_or_else(|| contract.kind.clone())
}
