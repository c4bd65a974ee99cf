//! Which service levels a ticket has, and how its customer stands: a view of the registry that follows its changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use forecare_care::Calendar;
use forecare_care::Standing;
use forecare_care::sla::{SlaTargets, SlaTerms, SlaTermsFile};
use forecare_catalogue::Technician as CrewMember;
use forecare_domain::{Asset, AssetId, ClassName, DepotName, Priority, Ticket, Timestamp};
use forecare_registry::{
    Body, Contract, Customer, Date, Depot, Location, Placement, PresumedConsent, Purpose, RecordId,
    RecordKind, Technician, TierRules, Van, covering,
};
use forecare_store::{RecordVersion, Store, StoreError};
use tracing::warn;

/// Changes of the registry read at once.
const CHANGES_AT_ONCE: usize = 1_000;
/// Levels above a location: more than there are.
const DEPTH_MAX: usize = 8;

/// The terms of all tickets.
#[derive(Debug)]
pub(crate) struct Terms {
    standard: Arc<SlaTerms>,
    pub(super) tiers: TierRules,
    pub(super) currency: String,
    /// What customers are taken to agree to who have said nothing.
    presumed: PresumedConsent,
    view: RwLock<View>,
    /// Assets whose class a ticket asked for and the view does not know.
    wanted: Mutex<BTreeSet<AssetId>>,
}

/// What the registry says, as far as tickets ask.
#[derive(Debug, Default)]
pub(super) struct View {
    /// All changes up to here are in it.
    position: i64,
    pub(super) customers: BTreeMap<RecordId, Customer>,
    pub(super) contracts: BTreeMap<RecordId, Contract>,
    pub(super) calendars: BTreeMap<RecordId, Calendar>,
    pub(super) assets: BTreeMap<RecordId, Owned>,
    pub(super) locations: BTreeMap<RecordId, Location>,
    pub(super) technicians: BTreeMap<RecordId, Technician>,
    pub(super) depots: BTreeMap<RecordId, Depot>,
    pub(super) vans: BTreeMap<RecordId, Van>,
    /// Made of the above: contracts by customer, terms by contract.
    pub(super) by_customer: BTreeMap<RecordId, Vec<(RecordId, Contract)>>,
    terms: BTreeMap<RecordId, Arc<SlaTerms>>,
    /// Those who get work, as the desk proposes them; `None`: no technician is on record.
    crew: Option<Arc<[CrewMember]>>,
    /// `None`: there is no such asset.
    classes: BTreeMap<AssetId, Option<ClassName>>,
    /// False: no asset was read yet, or some have been registered since.
    classes_are_read: bool,
}

/// Whose an asset is, where it stood and stands, and the dates of its life.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) customer: Option<RecordId>,
    positions: Vec<Placement>,
    pub(super) installed_on: Option<Date>,
    pub(super) commissioned_on: Option<Date>,
    pub(super) warranty_until: Option<Date>,
    pub(super) firmware: Option<String>,
}

impl Terms {
    /// Until [`Terms::refresh`], everybody has the terms of the configuration.
    pub(crate) fn new(standard: SlaTerms, tiers: TierRules, currency: &str) -> Self {
        Self {
            standard: Arc::new(standard),
            tiers,
            currency: currency.to_owned(),
            presumed: PresumedConsent::default(),
            view: RwLock::default(),
            wanted: Mutex::default(),
        }
    }

    /// With what customers are taken to agree to who have said nothing.
    pub(crate) fn presuming(self, presumed: PresumedConsent) -> Self {
        Self { presumed, ..self }
    }

    pub(super) fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn wanted(&self) -> MutexGuard<'_, BTreeSet<AssetId>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what has changed in the registry since the last time.
    pub(crate) async fn refresh(&self, store: &dyn Store) -> Result<(), StoreError> {
        loop {
            let position = self.view().position;
            let changes = store.record_changes(position, CHANGES_AT_ONCE).await?;
            let n_changes = changes.len();
            if n_changes > 0 {
                let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
                for change in changes {
                    view.position = view.position.max(change.position);
                    view.take(change.item);
                }
                view.derive(&self.standard);
            }
            if n_changes < CHANGES_AT_ONCE {
                break;
            }
        }
        let wanted = std::mem::take(&mut *self.wanted());
        // A ticket that is looked at before the class of its asset is known must not fall under other terms meanwhile.
        let is_first = {
            let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
            // Before they are read: what is registered meanwhile is read the next time.
            !std::mem::replace(&mut view.classes_are_read, true)
        };
        if is_first || !wanted.is_empty() {
            let all = store
                .assets()
                .await
                .inspect_err(|_| self.assets_changed())?;
            let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
            view.classes = wanted.into_iter().map(|id| (id, None)).collect();
            view.classes
                .extend(all.into_iter().map(|a| (a.id, Some(a.class))));
        }
        Ok(())
    }

    /// These assets are of these classes.
    pub(crate) fn know(&self, assets: &[Asset]) {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let classes = assets.iter().map(|a| (a.id.clone(), Some(a.class.clone())));
        view.classes.extend(classes);
    }

    /// Assets were registered, or are of another class now: the next [`Terms::refresh`] reads them.
    pub(crate) fn assets_changed(&self) {
        self.view
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .classes_are_read = false;
    }

    /// The terms of `ticket`: those of the contract that covered its asset when it was opened, else everybody's. While the
    /// class of its asset is not known, those that it has.
    pub(crate) fn of(&self, ticket: &Ticket) -> Arc<SlaTerms> {
        let view = self.view();
        let customer = view.customer_of(ticket);
        let Some(contracts) = customer.and_then(|id| view.by_customer.get(&id)) else {
            return Arc::clone(&self.standard);
        };
        let Some(class) = view.classes.get(&ticket.asset) else {
            self.wanted().insert(ticket.asset.clone());
            let has = |terms: &&Arc<SlaTerms>| {
                let sla = ticket.sla.as_ref();
                sla.is_some_and(|sla| sla.terms == terms.name())
            };
            return match view.terms.values().find(has) {
                Some(kept) => Arc::clone(kept),
                None if ticket.sla.is_some() => Arc::clone(&self.standard),
                // It is about to be opened: only a contract by class cannot be known.
                None => self.in_force(&view, contracts, &ticket.asset, "", ticket.opened_at),
            };
        };
        let class = class.as_ref().map_or("", ClassName::as_str);
        self.in_force(&view, contracts, &ticket.asset, class, ticket.opened_at)
    }

    /// The terms of a ticket that is opened on `asset` at `now`.
    pub(crate) fn of_asset(&self, asset: &Asset, now: Timestamp) -> Arc<SlaTerms> {
        let view = self.view();
        let contracts = view.contracts_of(&asset.id).unwrap_or_default();
        self.in_force(&view, contracts, &asset.id, asset.class.as_str(), now)
    }

    /// Id of the customer whose `asset` is.
    pub(crate) fn owner(&self, asset: &AssetId) -> Option<RecordId> {
        let view = self.view();
        view.assets.get(&RecordId::from(asset))?.customer.clone()
    }

    fn in_force(
        &self,
        view: &View,
        contracts: &[(RecordId, Contract)],
        asset: &AssetId,
        class: &str,
        at: Timestamp,
    ) -> Arc<SlaTerms> {
        let contract = view.covering(contracts, asset, class, at);
        let terms = contract.and_then(|(id, _)| view.terms.get(id));
        Arc::clone(terms.unwrap_or(&self.standard))
    }

    /// Everybody's who has no contract of their own.
    pub(crate) fn standard(&self) -> Arc<SlaTerms> {
        Arc::clone(&self.standard)
    }

    /// Those on record who get work; `None`: nobody is on record, and the catalogue's are asked.
    pub(crate) fn crew(&self) -> Option<Arc<[CrewMember]>> {
        self.view().crew.clone()
    }

    /// The time zone of the place where `asset` stands at `at`: the nearest that has one on record.
    pub(crate) fn time_zone_of(&self, asset: &AssetId, at: Timestamp) -> Option<String> {
        let view = self.view();
        let places = view.places(&RecordId::from(asset), at);
        let mut located = places.iter().filter_map(|id| view.locations.get(id));
        located.find_map(|location| location.time_zone.clone())
    }

    /// Whose `asset` is, where they do not have its failures predicted at `at`.
    pub(crate) fn prediction_refused(&self, asset: &AssetId, at: Timestamp) -> Option<String> {
        let view = self.view();
        let owned = view.assets.get(&RecordId::from(asset))?;
        let customer = view.customers.get(owned.customer.as_ref()?)?;
        let allowed = self.presumed.allows(customer, Purpose::Prediction, at);
        (!allowed).then(|| customer.name.clone())
    }

    /// How the customer of `asset` stands at `now`.
    pub(crate) fn standing(&self, asset: &Asset, now: Timestamp) -> Standing {
        let view = self.view();
        let owner = view
            .assets
            .get(&RecordId::from(&asset.id))
            .and_then(|owned| owned.customer.as_ref());
        let Some((id, customer)) = owner.and_then(|id| view.customers.get_key_value(id)) else {
            return Standing::default();
        };
        let contracts = view.by_customer.get(id).map_or(&[][..], Vec::as_slice);
        let tier = self
            .tiers
            .tier(customer, contracts, Date::of(now), &self.currency);
        let contract = view.covering(contracts, &asset.id, asset.class.as_str(), now);
        let (rank, of) = self.tiers.rank(&tier.name);
        Standing {
            customer: Some(customer.name.clone()),
            tier: Some((tier.name, rank, of)),
            contract: contract.map(|(id, contract)| title(id, contract)),
        }
    }
}

/// A technician on record as the desk proposes one.
fn crew_member(technician: &Technician) -> Option<CrewMember> {
    let depot = technician.depot.as_ref().map_or("none", RecordId::as_str);
    Some(CrewMember {
        name: technician.name.clone(),
        skills: technician.skills.clone(),
        depot: DepotName::new(depot).ok()?,
    })
}

/// What people call a contract.
fn title(id: &RecordId, contract: &Contract) -> String {
    let kind = contract.title.as_ref().unwrap_or(&contract.kind);
    format!("{id} ({kind})")
}

impl View {
    fn take(&mut self, change: RecordVersion) {
        let id = change.record.id;
        match change.record.kind {
            RecordKind::Customer => match change.body {
                Some(Body::Customer(customer)) => drop(self.customers.insert(id, customer)),
                Some(_) | None => drop(self.customers.remove(&id)),
            },
            RecordKind::Contract => match change.body {
                Some(Body::Contract(contract)) => drop(self.contracts.insert(id, contract)),
                Some(_) | None => drop(self.contracts.remove(&id)),
            },
            RecordKind::Calendar => match change.body {
                Some(Body::Calendar(calendar)) => match Calendar::try_from(calendar.hours) {
                    Ok(hours) => drop(self.calendars.insert(id, hours)),
                    // Checked when it was written; a time zone may have gone since.
                    Err(error) => warn!(calendar = %id, %error, "a calendar cannot be used"),
                },
                Some(_) | None => drop(self.calendars.remove(&id)),
            },
            RecordKind::Asset => match change.body {
                Some(Body::Asset(details)) => {
                    let owned = Owned {
                        customer: details.customer,
                        positions: details.positions,
                        installed_on: details.installed_on,
                        commissioned_on: details.commissioned_on,
                        warranty_until: details.warranty_until,
                        firmware: details.firmware,
                    };
                    self.assets.insert(id, owned);
                }
                Some(_) | None => drop(self.assets.remove(&id)),
            },
            RecordKind::Location => match change.body {
                Some(Body::Location(location)) => drop(self.locations.insert(id, location)),
                Some(_) | None => drop(self.locations.remove(&id)),
            },
            RecordKind::Technician => match change.body {
                Some(Body::Technician(technician)) => {
                    self.technicians.insert(id, technician);
                }
                Some(_) | None => drop(self.technicians.remove(&id)),
            },
            RecordKind::Depot => match change.body {
                Some(Body::Depot(depot)) => drop(self.depots.insert(id, depot)),
                Some(_) | None => drop(self.depots.remove(&id)),
            },
            RecordKind::Van => match change.body {
                Some(Body::Van(van)) => drop(self.vans.insert(id, van)),
                Some(_) | None => drop(self.vans.remove(&id)),
            },
            RecordKind::Lead | RecordKind::Article => {}
        }
    }

    fn derive(&mut self, standard: &SlaTerms) {
        self.by_customer.clear();
        for (id, contract) in &self.contracts {
            self.by_customer
                .entry(contract.customer.clone())
                .or_default()
                .push((id.clone(), contract.clone()));
        }
        let active = self.technicians.values().filter(|t| t.active);
        let crew: Option<Vec<CrewMember>> =
            (!self.technicians.is_empty()).then(|| active.filter_map(crew_member).collect());
        self.crew = crew.map(Arc::from);
        self.terms = self
            .contracts
            .iter()
            .filter_map(|(id, contract)| {
                let terms = terms_of(id, contract, &self.calendars, standard)?;
                Some((id.clone(), Arc::new(terms)))
            })
            .collect();
    }

    /// Contracts of the customer whose the asset is; `None`: none at all.
    fn contracts_of(&self, asset: &AssetId) -> Option<&[(RecordId, Contract)]> {
        let owned = self.assets.get(&RecordId::from(asset))?;
        let contracts = self.by_customer.get(owned.customer.as_ref()?)?;
        Some(contracts.as_slice())
    }

    /// Whose `ticket` is: the customer for whom it was opened, as long as they are on record, else whose the machine is.
    fn customer_of(&self, ticket: &Ticket) -> Option<RecordId> {
        let opened_for = ticket.work.customer.as_ref();
        let opened_for = opened_for.and_then(|id| RecordId::new(id).ok());
        let there = opened_for.filter(|id| self.customers.contains_key(id));
        there.or_else(|| {
            self.assets
                .get(&RecordId::from(&ticket.asset))?
                .customer
                .clone()
        })
    }

    /// Where an asset stands at `at`: the place, and all above it.
    pub(super) fn places(&self, asset: &RecordId, at: Timestamp) -> Vec<RecordId> {
        let mut within = Vec::new();
        let positions = self.assets.get(asset).map(|owned| &owned.positions);
        let placement = positions.and_then(|all| all.iter().find(|p| p.holds_at(at)));
        let mut next = placement.map(|placement| placement.location.clone());
        while let Some(id) = next.filter(|_| within.len() < DEPTH_MAX) {
            next = self.locations.get(&id).and_then(|l| l.parent.clone());
            within.push(id);
        }
        within
    }

    pub(super) fn covering<'a>(
        &self,
        contracts: &'a [(RecordId, Contract)],
        asset: &AssetId,
        class: &str,
        at: Timestamp,
    ) -> Option<(&'a RecordId, &'a Contract)> {
        let asset = RecordId::from(asset);
        let within = self.places(&asset, at);
        let found = covering(contracts, &asset, class, &within, Date::of(at));
        found.map(|(id, contract, _)| (id, contract))
    }
}

/// The terms that a contract agrees; `None`: it agrees no times. Where it names no target for a priority the standard
/// one holds, counted by the contract's calendar. Pauses and escalation are the standard's.
fn terms_of(
    id: &RecordId,
    contract: &Contract,
    calendars: &BTreeMap<RecordId, Calendar>,
    standard: &SlaTerms,
) -> Option<SlaTerms> {
    if contract.targets.is_empty() && contract.calendar.is_none() {
        return None;
    }
    let standard = SlaTermsFile::from(standard.clone());
    let calendar = match &contract.calendar {
        Some(calendar) => calendars.get(calendar)?.clone(),
        None => Calendar::around_the_clock(),
    };
    let target = |priority: Priority, standard: SlaTargets| {
        let agreed = contract.targets.iter().find(|t| t.priority == priority);
        agreed.map_or(standard, |agreed| SlaTargets {
            first_response_hours: agreed.response_hours,
            resolution_hours: agreed.resolution_hours,
            around_the_clock: false,
        })
    };
    let file = SlaTermsFile {
        name: format!("contract {}", title(id, contract)),
        calendar,
        p1: target(Priority::P1, standard.p1),
        p2: target(Priority::P2, standard.p2),
        p3: target(Priority::P3, standard.p3),
        p4: target(Priority::P4, standard.p4),
        pause_on_vendor: standard.pause_on_vendor,
        pause_on_part: standard.pause_on_part,
        escalations: standard.escalations,
    };
    match SlaTerms::try_from(file) {
        Ok(terms) => Some(terms),
        Err(error) => {
            warn!(contract = %id, %error, "a contract's times cannot be used: the standard ones apply");
            None
        }
    }
}
