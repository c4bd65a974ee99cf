//! One customer at a glance: what API and console both show.

use std::collections::{BTreeMap, BTreeSet};

use forecare_domain::{
    Alarm, Asset, AssetHealth, AssetId, DeviceId, Reservation, Ticket, TicketId, TicketState,
    Timestamp,
};
use forecare_registry::{
    AssetDetails, Body, Contract, Covered, Customer, Date, Lead, LeadState, Location, RecordId,
    RecordKind, RecordRef, Tier, covering,
};
use forecare_store::{
    PageRequest, RecordFilter, RecordPage, ReservationFilter, StoreError, StoredRecord,
    TicketFilter,
};

use crate::app::{App, cut};
use crate::problem::Problem;

/// Assets, contracts or leads of one customer that are looked at; the registry's lists have all.
const OWNED_MAX: usize = 2_000;
/// Visits shown.
const VISITS_MAX: usize = 10;
/// Ended tickets that are looked through for visits; live reservations that are looked through.
const LOOKED_THROUGH: usize = 1_000;
/// Levels above a location: more than there are.
const DEPTH_MAX: usize = 8;

/// A customer with all that concerns them now.
pub(crate) struct Overview {
    pub(crate) id: RecordId,
    pub(crate) version: i64,
    pub(crate) customer: Customer,
    pub(crate) tier: Tier,
    /// Those in force first, then by end.
    pub(crate) contracts: Vec<(RecordId, Contract)>,
    pub(crate) assets: Vec<Owned>,
    /// Open ones.
    pub(crate) tickets: Vec<Ticket>,
    /// Active ones.
    pub(crate) alarms: Vec<Alarm>,
    /// Tickets that ended with work done, newest first.
    pub(crate) visits: Vec<Ticket>,
    /// Live ones, of the open tickets.
    pub(crate) reservations: Vec<Reservation>,
    /// Those not won or lost.
    pub(crate) leads: Vec<(RecordId, Lead)>,
    /// Technicians the customer prefers or excludes, by id.
    pub(crate) technicians: BTreeMap<RecordId, String>,
}

/// An asset of the customer's.
pub(crate) struct Owned {
    pub(crate) asset: Asset,
    pub(crate) placed: Placed,
    pub(crate) health: Option<AssetHealth>,
}

/// What the registry knows of an asset, as of now.
pub(crate) struct Placed {
    pub(crate) details: AssetDetails,
    /// Where it stands: the place and all above it, the highest first.
    pub(crate) place: Vec<(RecordId, String)>,
    /// The contract that speaks for it.
    pub(crate) contract: Option<(RecordId, Contract, Covered)>,
}

/// Locations that were read before.
#[derive(Default)]
struct Places(BTreeMap<RecordId, Option<Location>>);

impl Places {
    async fn path(&mut self, app: &App, id: &RecordId) -> Result<Vec<(RecordId, String)>, Problem> {
        let mut path = Vec::new();
        let mut next = Some(id.clone());
        while let Some(id) = next.filter(|_| path.len() < DEPTH_MAX) {
            if !self.0.contains_key(&id) {
                let key = RecordRef::new(RecordKind::Location, id.clone());
                let found = app.state.store.record(&key).await?;
                let location = match found.and_then(|r| r.body) {
                    Some(Body::Location(location)) => Some(location),
                    Some(_) | None => None,
                };
                self.0.insert(id.clone(), location);
            }
            let Some(Some(location)) = self.0.get(&id) else {
                break;
            };
            next = location.parent.clone();
            path.push((id, location.name.clone()));
        }
        path.reverse();
        Ok(path)
    }
}

/// Where machines stand now, in words: names, the highest level first, and the nearest address; of those of which the
/// registry knows it.
pub(crate) async fn places_of(
    app: &App,
    assets: &BTreeSet<AssetId>,
) -> Result<BTreeMap<AssetId, String>, Problem> {
    let now = app.state.clock.now();
    let mut places = Places::default();
    let mut found = BTreeMap::new();
    for asset in assets {
        let key = RecordRef::new(RecordKind::Asset, RecordId::from(asset));
        let record = app.state.store.record(&key).await?;
        let Some(Body::Asset(details)) = record.and_then(|r| r.body) else {
            continue;
        };
        let Some(placement) = details.position_at(now) else {
            continue;
        };
        let path = places.path(app, &placement.location).await?;
        let nearest = path.iter().rev();
        let mut known = nearest.filter_map(|(id, _)| places.0.get(id)?.as_ref());
        let address = known.find_map(|location| location.address.clone());
        let names: Vec<&str> = path.iter().map(|(_, name)| name.as_str()).collect();
        let names = names.join(" \u{203a} ");
        let words = [Some(names), address].into_iter().flatten();
        let words: Vec<String> = words.filter(|part| !part.is_empty()).collect();
        if !words.is_empty() {
            found.insert(asset.clone(), words.join(", "));
        }
    }
    Ok(found)
}

/// Records of `kind` that refer to `target`, the first two thousand by id.
pub(crate) async fn referring(
    app: &App,
    kind: RecordKind,
    target: &RecordRef,
) -> Result<Vec<StoredRecord>, StoreError> {
    let filter = RecordFilter {
        refers_to: Some(target.clone()),
        text: None,
    };
    whole(app, kind, &filter, OWNED_MAX).await
}

/// Records of `kind`, the first `n_max` by id.
pub(crate) async fn whole(
    app: &App,
    kind: RecordKind,
    filter: &RecordFilter,
    n_max: usize,
) -> Result<Vec<StoredRecord>, StoreError> {
    let mut all: Vec<StoredRecord> = Vec::new();
    loop {
        let page = RecordPage {
            after: all.last().map(|r| r.record.id.clone()),
            limit: 1_000.min(n_max.saturating_sub(all.len())),
        };
        let found = app.state.store.records(kind, filter, &page).await?;
        let is_last = found.len() < page.limit;
        all.extend(found);
        if is_last || all.len() >= n_max {
            return Ok(all);
        }
    }
}

async fn contracts_of(
    app: &App,
    customer: &RecordId,
) -> Result<Vec<(RecordId, Contract)>, Problem> {
    let target = RecordRef::new(RecordKind::Customer, customer.clone());
    let found = referring(app, RecordKind::Contract, &target).await?;
    Ok(found
        .into_iter()
        .filter_map(|r| match r.body {
            Some(Body::Contract(contract)) => Some((r.record.id, contract)),
            Some(_) | None => None,
        })
        .collect())
}

async fn placed(
    app: &App,
    places: &mut Places,
    asset: &Asset,
    details: AssetDetails,
    contracts: &[(RecordId, Contract)],
    now: Timestamp,
) -> Result<Placed, Problem> {
    let place = match details.position_at(now) {
        Some(placement) => places.path(app, &placement.location).await?,
        None => Vec::new(),
    };
    let within: Vec<RecordId> = place.iter().map(|(id, _)| id.clone()).collect();
    let (id, class, day) = (
        RecordId::from(&asset.id),
        asset.class.as_str(),
        Date::of(now),
    );
    let contract = covering(contracts, &id, class, &within, day);
    Ok(Placed {
        contract: contract.map(|(id, contract, by)| (id.clone(), contract.clone(), by)),
        details,
        place,
    })
}

/// What the registry knows of one asset; `None`: nothing.
pub(crate) async fn of_asset(app: &App, asset: &Asset) -> Result<Option<Placed>, Problem> {
    let key = RecordRef::new(RecordKind::Asset, RecordId::from(&asset.id));
    let found = app.state.store.record(&key).await?;
    let Some(Body::Asset(details)) = found.and_then(|r| r.body) else {
        return Ok(None);
    };
    let contracts = match &details.customer {
        Some(customer) => contracts_of(app, customer).await?,
        None => Vec::new(),
    };
    let now = app.state.clock.now();
    let mut places = Places::default();
    let placed = placed(app, &mut places, asset, details, &contracts, now).await?;
    Ok(Some(placed))
}

/// The contract of `customer` that covered `asset` at `at`.
pub(crate) async fn contract_at(
    app: &App,
    asset: &Asset,
    details: &AssetDetails,
    customer: &RecordId,
    at: Timestamp,
) -> Result<Option<(RecordId, Contract, Covered)>, Problem> {
    let contracts = contracts_of(app, customer).await?;
    let mut places = Places::default();
    Ok(
        placed(app, &mut places, asset, details.clone(), &contracts, at)
            .await?
            .contract,
    )
}

/// The customer of that id, and the record's version.
pub(crate) async fn customer(app: &App, id: &str) -> Result<(RecordId, i64, Customer), Problem> {
    let missing = || Problem::not_found(format_args!("customer \"{}\"", cut(id, 128)));
    let id = RecordId::new(id).map_err(|_invalid| missing())?;
    let key = RecordRef::new(RecordKind::Customer, id.clone());
    match app.state.store.record(&key).await? {
        Some(StoredRecord {
            version,
            body: Some(Body::Customer(customer)),
            ..
        }) => Ok((id, version, customer)),
        Some(_) | None => Err(missing()),
    }
}

/// Contracts and tier of a customer as of now.
pub(crate) async fn standing(
    app: &App,
    id: &RecordId,
    customer: &Customer,
) -> Result<(Vec<(RecordId, Contract)>, Tier), Problem> {
    let contracts = contracts_of(app, id).await?;
    let tier = tier_with(app, customer, &contracts);
    Ok((contracts, tier))
}

fn tier_with(app: &App, customer: &Customer, contracts: &[(RecordId, Contract)]) -> Tier {
    let (state, day) = (&app.state, Date::of(app.state.clock.now()));
    let currency = &state.catalogue.currency;
    state.tiers.tier(customer, contracts, day, currency)
}

/// All that concerns a customer now.
pub(crate) async fn of_customer(app: &App, id: &str) -> Result<Overview, Problem> {
    let store = &app.state.store;
    let now = app.state.clock.now();
    let (id, version, customer) = customer(app, id).await?;
    let mut contracts = contracts_of(app, &id).await?;
    let day = Date::of(now);
    contracts.sort_by(|(a, x), (b, y)| {
        let in_force = y.is_valid_on(day).cmp(&x.is_valid_on(day));
        in_force
            .then(y.valid_from.cmp(&x.valid_from))
            .then(a.cmp(b))
    });
    let target = RecordRef::new(RecordKind::Customer, id.clone());
    let health = store.health().await?;
    let health: BTreeMap<&DeviceId, &AssetHealth> = health.iter().map(|h| (&h.device, h)).collect();
    let mut places = Places::default();
    let mut assets = Vec::new();
    for record in referring(app, RecordKind::Asset, &target).await? {
        let (Some(Body::Asset(details)), Ok(asset)) =
            (record.body, AssetId::new(record.record.id.as_str()))
        else {
            continue;
        };
        if let Some(asset) = store.asset(&asset).await? {
            let placed = placed(app, &mut places, &asset, details, &contracts, now).await?;
            assets.push(Owned {
                health: health.get(&asset.device).map(|h| (*h).clone()),
                asset,
                placed,
            });
        }
    }
    let ids: BTreeSet<&AssetId> = assets.iter().map(|o| &o.asset.id).collect();
    let devices: BTreeSet<&DeviceId> = assets.iter().map(|o| &o.asset.device).collect();
    let mut tickets = app.open_tickets(None).await?;
    // Whose the machine was when it was opened: it may be another customer's by now.
    let is_theirs = |t: &Ticket| match &t.work.customer {
        Some(customer) => customer == id.as_str(),
        None => ids.contains(&t.asset),
    };
    tickets.retain(is_theirs);
    let mut alarms = app.active_alarms().await?;
    alarms.retain(|a| devices.contains(&a.device));
    let page = PageRequest {
        before: None,
        limit: LOOKED_THROUGH,
    };
    let ended = TicketFilter {
        open: Some(false),
        ..TicketFilter::default()
    };
    let ended = store.tickets(&ended, page).await?;
    let visits = ended
        .into_iter()
        .map(|paged| paged.item)
        .filter(|t| is_theirs(t) && t.state != TicketState::Cancelled)
        .take(VISITS_MAX)
        .collect();
    let numbers: BTreeSet<TicketId> = tickets.iter().map(|t| t.id).collect();
    let live = ReservationFilter {
        ticket: None,
        live: true,
    };
    let reservations = store.reservations(&live, page).await?;
    let reservations = reservations
        .into_iter()
        .map(|paged| paged.item)
        .filter(|r| numbers.contains(&r.ticket))
        .collect();
    let leads = referring(app, RecordKind::Lead, &target).await?;
    let leads = leads
        .into_iter()
        .filter_map(|r| match r.body {
            Some(Body::Lead(lead)) => Some((r.record.id, lead)),
            Some(_) | None => None,
        })
        .filter(|(_, lead)| matches!(lead.state, LeadState::Open | LeadState::Taken))
        .collect();
    let mut technicians = BTreeMap::new();
    let named = customer.preferred_technicians.iter();
    for technician in named.chain(&customer.excluded_technicians) {
        let key = RecordRef::new(RecordKind::Technician, technician.clone());
        let body = store.record(&key).await?.and_then(|r| r.body);
        let name = body.map_or_else(|| technician.to_string(), |b| b.title().to_owned());
        technicians.insert(technician.clone(), name);
    }
    Ok(Overview {
        tier: tier_with(app, &customer, &contracts),
        id,
        version,
        customer,
        contracts,
        tickets,
        alarms,
        visits,
        reservations,
        leads,
        technicians,
        assets,
    })
}
