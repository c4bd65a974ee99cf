//! Customers: the list, and one of them at a glance.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use forecare_domain::{Asset, AssetId, Severity};
use forecare_registry::{
    Action, Body, ContactChannel, Contract, Covered, Customer, DataConsent, Date, Purpose,
    RecordId, RecordKind, RecordRef, Tier,
};
use forecare_store::{PageRequest, Paged, RecordFilter, RecordVersion};
use serde::Deserialize;

use super::format::{self, Bar, When, hours, money};
use super::shell::{Shell, render};
use super::tickets::channel_words;
use super::view::{AlarmView, ReservationView, TicketView, asset_of};
use crate::app::{App, Caller, cut};
use crate::dto::withhold;
use crate::extract::{ApiPath, ApiQuery};
use crate::overview::{self, Overview, referring};
use crate::page::{List, id_cursor, id_page};
use crate::percent::percent_encoded;
use crate::problem::Problem;

/// Customers of a page.
const PER_PAGE: u16 = 50;
/// Versions of the record shown.
const CHANGES_MAX: usize = 5;
/// Longest text to search for, characters.
const SOUGHT_CHARS_MAX: usize = 200;

/// Which customers.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct CustomerParams {
    #[serde(default)]
    q: String,
    cursor: Option<String>,
}

#[derive(Template)]
#[template(path = "customers.html")]
struct CustomersPage {
    shell: Shell,
    q: String,
    rows: Vec<CustomerRow>,
    /// The filter and the next page, for links.
    next: Option<String>,
    is_first: bool,
}

struct CustomerRow {
    id: String,
    name: String,
    address: String,
    tier: TierView,
    value: String,
    n_contracts: usize,
    n_assets: usize,
    n_tickets: usize,
    n_alarms: usize,
    tone: &'static str,
}

pub(crate) struct TierView {
    pub(super) name: String,
    pub(super) why: String,
    /// The best tier, an ordinary one.
    pub(super) tone: &'static str,
}

impl From<Tier> for TierView {
    fn from(tier: Tier) -> Self {
        Self {
            tone: if tier.rule == 1 { "good" } else { "plain" },
            name: tier.name,
            why: tier.why,
        }
    }
}

pub(crate) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiQuery(params): ApiQuery<CustomerParams>,
) -> Result<Response, Problem> {
    let q = cut(params.q.trim(), SOUGHT_CHARS_MAX);
    let filter = RecordFilter {
        refers_to: None,
        text: Some(q.clone()).filter(|q| !q.is_empty()),
    };
    let request = id_page(params.cursor.as_deref(), Some(PER_PAGE), List::Records)?;
    let store = &app.state.store;
    let mut found = store
        .records(RecordKind::Customer, &filter, &request)
        .await?;
    let ids: Vec<RecordId> = found.iter().map(|r| r.record.id.clone()).collect();
    found.truncate(usize::from(PER_PAGE));
    let alarms = app.active_alarms().await?;
    let tickets = app.open_tickets(None).await?;
    let assets = store.assets().await?;
    let mut severities: BTreeMap<&AssetId, (usize, Severity)> = BTreeMap::new();
    for alarm in &alarms {
        if let Some(asset) = asset_of(&assets, &alarm.device) {
            let (n, worst) = severities.entry(&asset.id).or_insert((0, alarm.severity));
            *n += 1;
            *worst = alarm.severity.max(*worst);
        }
    }
    let mut rows = Vec::new();
    for record in found {
        let Some(Body::Customer(customer)) = record.body else {
            continue;
        };
        let target = RecordRef::new(RecordKind::Customer, record.record.id.clone());
        let owned = referring(&app, RecordKind::Asset, &target).await?;
        let owned: Vec<&str> = owned.iter().map(|r| r.record.id.as_str()).collect();
        let (contracts, tier) = overview::standing(&app, &record.record.id, &customer).await?;
        let day = Date::of(app.state.clock.now());
        let is_owned = |id: &AssetId| owned.contains(&id.as_str());
        let of_owned = severities.iter().filter(|(id, _)| is_owned(id));
        let worst = of_owned.clone().map(|(_, (_, worst))| *worst).max();
        rows.push(CustomerRow {
            id: record.record.id.into(),
            value: money(customer.value.yearly, &app.state.catalogue.currency),
            tier: tier.into(),
            n_contracts: contracts.iter().filter(|(_, c)| c.is_valid_on(day)).count(),
            n_assets: owned.len(),
            n_tickets: tickets.iter().filter(|t| is_owned(&t.asset)).count(),
            n_alarms: of_owned.map(|(_, (n, _))| n).sum(),
            tone: worst.map_or("plain", format::severity),
            address: customer.address.unwrap_or_default(),
            name: customer.name,
        });
    }
    let next = id_cursor(List::Records, &request, &ids).map(|cursor| {
        let mut query = format!("cursor={cursor}");
        if !q.is_empty() {
            query.push_str("&q=");
            query.push_str(&percent_encoded(&q));
        }
        query
    });
    Ok(render(&CustomersPage {
        shell: Shell::new(&app, &caller, "customers"),
        is_first: params.cursor.is_none(),
        q,
        rows,
        next,
    }))
}

#[derive(Template)]
#[template(path = "customer.html")]
struct CustomerPage {
    shell: Shell,
    id: String,
    name: String,
    address: String,
    note: String,
    tier: TierView,
    value: String,
    lifetime: Option<String>,
    contacts: Vec<ContactView>,
    withheld: bool,
    consents: Vec<ConsentView>,
    preferred: Vec<String>,
    excluded: Vec<String>,
    contracts: Vec<ContractView>,
    assets: Vec<AssetRow>,
    tickets: Vec<TicketView>,
    alarms: Vec<AlarmView>,
    visits: Vec<TicketView>,
    reservations: Vec<ReservationView>,
    leads: Vec<LeadView>,
    changes: Vec<ChangeView>,
    back: String,
}

/// A version of the customer's record.
struct ChangeView {
    at: When,
    by: String,
    channel: &'static str,
    what: String,
}

pub(super) struct ContactView {
    pub(super) name: String,
    pub(super) role: String,
    language: String,
    pub(super) channels: Vec<(&'static str, String)>,
    pub(super) consents: Vec<ConsentView>,
}

pub(super) struct ConsentView {
    pub(super) purpose: &'static str,
    pub(super) holds: bool,
    pub(super) what: String,
}

pub(crate) struct ContractView {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) in_force: bool,
    pub(crate) span: String,
    pub(crate) covers: String,
    pub(crate) targets: Vec<String>,
    pub(crate) includes: String,
}

struct AssetRow {
    id: String,
    name: String,
    serial: String,
    model: String,
    place: String,
    health: Option<Bar>,
    alarm: Option<&'static str>,
    n_tickets: usize,
    contract: Option<String>,
}

struct LeadView {
    id: String,
    title: String,
    kind: String,
    opened: When,
    value: Option<String>,
}

/// What changed between two versions of a record: the names of its fields.
fn changed(before: Option<&Body>, after: &RecordVersion) -> String {
    let (before, body) = match (before, &after.body) {
        (_, None) => return "deleted".to_owned(),
        (None, Some(_)) => return "stored".to_owned(),
        (Some(before), Some(body)) => (before.to_value(), body.to_value()),
    };
    let empty = serde_json::Map::new();
    let before = before.as_object().unwrap_or(&empty);
    let body = body.as_object().unwrap_or(&empty);
    let keys: BTreeSet<&String> = before.keys().chain(body.keys()).collect();
    let differing = keys
        .into_iter()
        .filter(|key| before.get(*key) != body.get(*key));
    let fields: Vec<String> = differing.map(|key| key.replace('_', " ")).collect();
    match (after.action, fields.is_empty()) {
        (Action::Erase, _) => "a person was erased".to_owned(),
        (Action::Put | Action::Delete, true) => "stored".to_owned(),
        (Action::Put | Action::Delete, false) => format!("changed {}", fields.join(", ")),
    }
}

async fn changes(app: &App, id: &RecordId) -> Result<Vec<ChangeView>, Problem> {
    let key = RecordRef::new(RecordKind::Customer, id.clone());
    let page = PageRequest {
        before: None,
        limit: CHANGES_MAX + 1,
    };
    let versions = app.state.store.record_history(&key, page).await?;
    let now = app.state.clock.now();
    let view = |(i, version): (usize, &Paged<RecordVersion>)| {
        let before = versions.get(i + 1).and_then(|v| v.item.body.as_ref());
        let item = &version.item;
        ChangeView {
            at: When::new(now, item.at),
            by: item.by.name.clone(),
            channel: channel_words(item.by.channel),
            what: changed(before, item),
        }
    };
    Ok(versions
        .iter()
        .enumerate()
        .take(CHANGES_MAX)
        .map(view)
        .collect())
}

fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Service => "service",
        Purpose::Prediction => "prediction",
        Purpose::ModelTraining => "training of models",
        Purpose::Survey => "surveys",
        Purpose::Marketing => "offers",
    }
}

fn channel(kind: ContactChannel) -> &'static str {
    match kind {
        ContactChannel::Email => "e-mail",
        ContactChannel::Phone => "phone",
        ContactChannel::Sms => "SMS",
        ContactChannel::Wecom => "WeCom",
        ContactChannel::Dingtalk => "DingTalk",
        ContactChannel::Slack => "Slack",
        ContactChannel::Webhook => "webhook",
    }
}

fn consent(consent: &DataConsent, now: forecare_domain::Timestamp) -> ConsentView {
    let since = When::new(now, consent.at);
    let ended = consent.until.is_some_and(|until| until <= now);
    let day = |w: &When| w.utc.chars().take(10).collect::<String>();
    let what = match (consent.given, consent.until) {
        (false, _) => format!("refused on {}", day(&since)),
        (true, Some(until)) if ended => format!("ended on {}", day(&When::new(now, until))),
        (true, Some(until)) => format!("until {}", day(&When::new(now, until))),
        (true, None) => format!("since {}", day(&since)),
    };
    ConsentView {
        purpose: purpose(consent.purpose),
        holds: consent.given && !ended,
        what,
    }
}

/// A contract in words.
pub(crate) fn contract_view(id: &RecordId, contract: &Contract, day: Date) -> ContractView {
    let coverage = &contract.coverage;
    let mut covers = Vec::new();
    let count = |n: usize, one: &str, many: &str| match n {
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    };
    if !coverage.assets.is_empty() {
        covers.push(count(coverage.assets.len(), "asset", "assets"));
    }
    if !coverage.classes.is_empty() {
        covers.push(format!("every {}", coverage.classes.join(", ")));
    }
    if !coverage.locations.is_empty() {
        covers.push(count(coverage.locations.len(), "location", "locations"));
    }
    let mut includes = Vec::new();
    if contract.includes.labour {
        includes.push("labour".to_owned());
    }
    if contract.includes.all_parts {
        includes.push("all parts".to_owned());
    } else if !contract.includes.parts.is_empty() {
        includes.push(contract.includes.parts.join(", "));
    }
    ContractView {
        id: id.to_string(),
        title: contract
            .title
            .clone()
            .unwrap_or_else(|| contract.kind.clone()),
        in_force: contract.is_valid_on(day),
        span: match contract.valid_to {
            Some(to) => format!("{} to {to}", contract.valid_from),
            None => format!("since {}", contract.valid_from),
        },
        covers: if covers.is_empty() {
            "all assets".to_owned()
        } else {
            covers.join(", ")
        },
        targets: contract
            .targets
            .iter()
            .map(|t| {
                format!(
                    "{:?}: answer within {}, resolved within {}",
                    t.priority,
                    hours(t.response_hours),
                    hours(t.resolution_hours)
                )
            })
            .collect(),
        includes: includes.join(", "),
    }
}

/// By what a contract covers an asset, in words.
pub(crate) fn covered(by: Covered) -> &'static str {
    match by {
        Covered::ByAsset => "names this asset",
        Covered::ByLocation => "by its location",
        Covered::ByClass => "by its class",
        Covered::ByCustomer => "covers all of the customer's",
    }
}

/// Names of a path of locations.
pub(crate) fn place(path: &[(RecordId, String)]) -> String {
    let names: Vec<&str> = path.iter().map(|(_, name)| name.as_str()).collect();
    names.join(" \u{203a} ")
}

fn people(overview: &Overview, ids: &[RecordId]) -> Vec<String> {
    ids.iter()
        .map(|id| {
            let name = overview.technicians.get(id);
            name.cloned().unwrap_or_else(|| id.to_string())
        })
        .collect()
}

pub(super) fn contacts(customer: &Customer, now: forecare_domain::Timestamp) -> Vec<ContactView> {
    customer
        .contacts
        .iter()
        .map(|c| ContactView {
            name: c.name.clone(),
            role: c.role.clone().unwrap_or_default(),
            language: c.language.clone().unwrap_or_default(),
            channels: c
                .channels
                .iter()
                .map(|a| (channel(a.kind), a.address.clone()))
                .collect(),
            consents: c.consents.iter().map(|c| consent(c, now)).collect(),
        })
        .collect()
}

pub(crate) async fn page(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
) -> Result<Response, Problem> {
    let mut found = overview::of_customer(&app, &id).await?;
    if !caller.needs_to_know() {
        withhold(&mut found.customer);
    }
    let (catalogue, now) = (&app.state.catalogue, app.state.clock.now());
    let day = Date::of(now);
    let currency = &catalogue.currency;
    let assets: Vec<Asset> = found.assets.iter().map(|o| o.asset.clone()).collect();
    let of = |id: &AssetId| assets.iter().find(|a| a.id == *id);
    let ticket = |t: &forecare_domain::Ticket| TicketView::new(catalogue, of(&t.asset), now, t);
    let rows = found.assets.iter().map(|owned| {
        let (asset, placed) = (&owned.asset, &owned.placed);
        let alarms = found.alarms.iter().filter(|a| a.device == asset.device);
        AssetRow {
            id: asset.id.to_string(),
            name: asset.name.clone(),
            serial: placed.details.serial.clone().unwrap_or_default(),
            model: placed.details.model.clone().unwrap_or_default(),
            place: place(&placed.place),
            health: owned.health.as_ref().map(|h| Bar::health(h.health)),
            alarm: alarms.map(|a| a.severity).max().map(format::severity),
            n_tickets: found.tickets.iter().filter(|t| t.asset == asset.id).count(),
            contract: placed.contract.as_ref().map(|(id, ..)| id.to_string()),
        }
    });
    let customer = &found.customer;
    let html = CustomerPage {
        shell: Shell::new(&app, &caller, "customers"),
        changes: changes(&app, &found.id).await?,
        back: format!("/customers/{}", percent_encoded(found.id.as_str())),
        id: found.id.to_string(),
        name: customer.name.clone(),
        address: customer.address.clone().unwrap_or_default(),
        note: customer.note.clone().unwrap_or_default(),
        value: money(customer.value.yearly, currency),
        lifetime: customer.value.lifetime.map(|v| money(v, currency)),
        contacts: contacts(customer, now),
        withheld: !caller.needs_to_know(),
        consents: customer
            .data_consents
            .iter()
            .map(|c| consent(c, now))
            .collect(),
        preferred: people(&found, &customer.preferred_technicians),
        excluded: people(&found, &customer.excluded_technicians),
        contracts: found
            .contracts
            .iter()
            .map(|(id, contract)| contract_view(id, contract, day))
            .collect(),
        assets: rows.collect(),
        tickets: found.tickets.iter().map(ticket).collect(),
        visits: found.visits.iter().map(ticket).collect(),
        alarms: found
            .alarms
            .iter()
            .map(|a| AlarmView::new(catalogue, asset_of(&assets, &a.device), now, a.clone()))
            .collect(),
        reservations: found
            .reservations
            .iter()
            .map(|r| ReservationView::new(catalogue, now, r))
            .collect(),
        leads: found
            .leads
            .iter()
            .map(|(id, lead)| LeadView {
                id: id.to_string(),
                title: lead.title.clone(),
                kind: lead.kind.clone(),
                opened: When::new(now, lead.opened_at),
                value: lead.value.map(|v| money(v, currency)),
            })
            .collect(),
        tier: found.tier.into(),
    };
    Ok(render(&html))
}
