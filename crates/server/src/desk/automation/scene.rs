//! What the registry and the store say of what a rule is looked at for.

use forecare_care::automation::{AutomationRules, CustomerFacts, Facts, Life};
use forecare_domain::{Asset, Notice, Ticket, Timestamp};
use forecare_registry::{Contract, Customer, Date, Purpose, RecordId};
use forecare_store::Store;

use crate::desk::Terms;
use crate::desk::terms::View;

/// What rules are looked at with, without a desk that acts.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) terms: &'a Terms,
    pub(crate) rules: &'a AutomationRules,
}

/// Whose a machine or contract is, and where it stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Surroundings {
    places: Vec<String>,
    pub(super) customer: Option<CustomerFacts>,
    /// Id, kind, price of a year: the contract that covers the machine, or the one that ends.
    pub(super) contract: Option<(String, String, Option<f64>)>,
    /// Language of the customer's first contact.
    pub(super) language: Option<String>,
}

/// Dates in the life of a machine.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Dates {
    installed_at: Option<Timestamp>,
    commissioned_at: Option<Timestamp>,
    warranty_ends_at: Option<Timestamp>,
    firmware: Option<String>,
}

impl Dates {
    pub(super) fn life(&self, heard_at: Option<Timestamp>) -> Life<'_> {
        Life {
            installed_at: self.installed_at,
            commissioned_at: self.commissioned_at,
            warranty_ends_at: self.warranty_ends_at,
            contract_ends_at: None,
            firmware: self.firmware.as_deref(),
            heard_at,
        }
    }
}

impl Surroundings {
    /// The facts without what happened.
    pub(super) fn facts<'a>(&'a self, asset: Option<&'a Asset>, now: Timestamp) -> Facts<'a> {
        let contract = self.contract.as_ref();
        Facts {
            now,
            what: None,
            ticket: None,
            asset,
            places: &self.places,
            customer: self.customer.as_ref(),
            contract: contract.map(|(id, kind, _)| (id.as_str(), kind.as_str())),
            answer: None,
        }
    }

    /// What the rule is about, in keys: the machine, else the contract.
    pub(super) fn subject(&self, asset: Option<&Asset>) -> String {
        match (asset, &self.contract) {
            (Some(asset), _) => asset.id.to_string(),
            (None, Some((id, ..))) => id.clone(),
            (None, None) => String::new(),
        }
    }
}

/// The ticket as a notice told of it.
pub(super) fn as_told(mut ticket: Ticket, notice: &Notice) -> Ticket {
    ticket.state = notice.state.unwrap_or(ticket.state);
    ticket.priority = notice.priority;
    ticket.technician.clone_from(&notice.technician);
    ticket
}

/// Begin of the day, in UTC.
fn begin(day: Date) -> Timestamp {
    const LAST_MS_OF_DAY: i64 = 86_400_000 - 1;
    Timestamp::from_millis(day.end().as_millis() - LAST_MS_OF_DAY)
}

impl Terms {
    /// What is around a machine at `at`.
    pub(super) fn surroundings(&self, asset: &Asset, at: Timestamp) -> Surroundings {
        let view = self.view();
        let id = RecordId::from(&asset.id);
        let places = view.places(&id, at);
        let places = places.iter().map(ToString::to_string).collect();
        let owner = view.assets.get(&id).and_then(|a| a.customer.as_ref());
        let Some((id, customer)) = owner.and_then(|id| view.customers.get_key_value(id)) else {
            return Surroundings {
                places,
                ..Surroundings::default()
            };
        };
        let contracts = view.by_customer.get(id).map_or(&[][..], Vec::as_slice);
        let contract = view.covering(contracts, &asset.id, asset.class.as_str(), at);
        Surroundings {
            places,
            customer: Some(self.customer_facts(&view, id, customer, at)),
            contract: contract.map(|(id, c)| (id.to_string(), c.kind.clone(), c.yearly_price)),
            language: language_of(customer),
        }
    }

    fn customer_facts(
        &self,
        view: &View,
        id: &RecordId,
        customer: &Customer,
        at: Timestamp,
    ) -> CustomerFacts {
        let contracts = view.by_customer.get(id).map_or(&[][..], Vec::as_slice);
        let day = Date::of(at);
        CustomerFacts {
            id: id.to_string(),
            name: customer.name.clone(),
            tier: self
                .tiers
                .tier(customer, contracts, day, &self.currency)
                .name,
            agrees_to_offers: customer.agrees_to(Purpose::Marketing, at),
        }
    }

    /// Dates in the life of a machine.
    pub(super) fn dates(&self, asset: &Asset) -> Dates {
        let view = self.view();
        let Some(owned) = view.assets.get(&RecordId::from(&asset.id)) else {
            return Dates::default();
        };
        Dates {
            installed_at: owned.installed_on.map(begin),
            commissioned_at: owned.commissioned_on.map(begin),
            warranty_ends_at: owned.warranty_until.map(Date::end),
            firmware: owned.firmware.clone(),
        }
    }

    /// Contracts with a last day, those left out that another one takes over from.
    pub(super) fn ending_contracts(&self) -> Vec<(RecordId, Life<'static>)> {
        let view = self.view();
        let ending = view.contracts.iter().filter_map(|(id, contract)| {
            let end = contract.valid_to?.end();
            let life = Life {
                contract_ends_at: Some(end),
                ..Life::default()
            };
            (!view.is_renewed(id, contract, end)).then(|| (id.clone(), life))
        });
        ending.collect()
    }

    /// What is around a contract at `at`; `None`: it is gone, or nobody's.
    pub(super) fn around_contract(&self, id: &RecordId, at: Timestamp) -> Option<Surroundings> {
        let view = self.view();
        let contract = view.contracts.get(id)?;
        let customer = view.customers.get(&contract.customer)?;
        Some(Surroundings {
            places: Vec::new(),
            customer: Some(self.customer_facts(&view, &contract.customer, customer, at)),
            contract: Some((id.to_string(), contract.kind.clone(), contract.yearly_price)),
            language: language_of(customer),
        })
    }
}

fn language_of(customer: &Customer) -> Option<String> {
    customer.contacts.first().and_then(|c| c.language.clone())
}

impl View {
    /// Another contract of the customer, for the same or for everything, is in force the day after.
    fn is_renewed(&self, id: &RecordId, contract: &Contract, end: Timestamp) -> bool {
        let next = Date::of(Timestamp::from_millis(end.as_millis() + 1));
        let of_customer = self.by_customer.get(&contract.customer);
        of_customer.into_iter().flatten().any(|(other, c)| {
            other != id
                && c.is_valid_on(next)
                && (c.coverage == contract.coverage || c.coverage == Default::default())
        })
    }
}
