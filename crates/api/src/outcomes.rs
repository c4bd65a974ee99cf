//! Everything that figures are counted from: tickets with what their machines are, whose, and where they stood.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use forecare_care::kpi::{Answers, Case, Cut, Dimension, Links, Machine, Period, Scope, costs};
use forecare_domain::{Asset, AssetId, Supply, Ticket, TicketId, TicketState, Timestamp};
use forecare_registry::{
    AssetDetails, Body, Contract, Customer, Date, Level, Location, RecordId, RecordKind,
};
use forecare_store::{RecordFilter, ReservationFilter, StoreError, TicketFilter, newest};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::App;
use crate::overview::whole;
use crate::problem::Problem;
use crate::ticket_search::priority_label;
use crate::used::{failed_batches, parts_used};

/// Everything is read anew no more often.
const READ_EVERY: Duration = Duration::from_secs(5);
/// Tickets that are counted: the newest.
const CASES_MAX: usize = 100_000;
/// Lines of the ledger that are looked at: the newest.
const LINES_MAX: usize = 100_000;
/// Records of a kind that are looked at.
const RECORDS_MAX: usize = 200_000;
/// Levels above a location: more than there are.
const DEPTH_MAX: usize = 8;
/// Days that are counted where nothing else is asked for.
const DAYS_DEFAULT: f64 = 90.0;

/// What is asked about. Every dimension may be named: only what fits all of them counts.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutcomeParams {
    /// From, inclusive; 90 days before `to` where neither it nor `days` is given.
    #[param(value_type = Option<String>, format = DateTime)]
    pub(crate) from: Option<Timestamp>,
    /// To, exclusive; now where not given, and never later.
    #[param(value_type = Option<String>, format = DateTime)]
    pub(crate) to: Option<Timestamp>,
    /// Or so many days before `to`, 1 to 3,650.
    #[param(minimum = 1, maximum = 3_650)]
    pub(crate) days: Option<u32>,
    /// Dimensions to tell apart, comma-separated: `class`, `model`, `site`, `region`, `customer`, `tier`, `mode`, `batch`,
    /// `technician`, `kind`, `priority`, `week`.
    pub(crate) by: Option<String>,
    /// `json` or `csv`; `json` where not given.
    #[param(default = "json")]
    pub(crate) format: Option<String>,
    /// Only of this asset class.
    pub(crate) class: Option<String>,
    /// Only of this model.
    pub(crate) model: Option<String>,
    /// Only on this site.
    pub(crate) site: Option<String>,
    /// Only in this region.
    pub(crate) region: Option<String>,
    /// Only of this customer, by id.
    pub(crate) customer: Option<String>,
    /// Only of this tier.
    pub(crate) tier: Option<String>,
    /// Only of this failure mode.
    pub(crate) mode: Option<String>,
    /// Only of this batch or serial number of the part that failed.
    pub(crate) batch: Option<String>,
    /// Only of this technician.
    pub(crate) technician: Option<String>,
    /// Only tickets of this kind.
    pub(crate) kind: Option<String>,
    /// Only tickets of this priority.
    pub(crate) priority: Option<String>,
    /// Only tickets opened in this ISO week, such as `2026-W05`.
    pub(crate) week: Option<String>,
}

impl OutcomeParams {
    /// The span asked about.
    pub(crate) fn period(&self, now: Timestamp) -> Result<Period, Problem> {
        let to = self.to.unwrap_or(now).min(now);
        let days = match self.days {
            None => DAYS_DEFAULT,
            Some(days @ 1..=3_650) => f64::from(days),
            Some(_) => return Err(Problem::bad_parameter("days", "use 1 to 3650")),
        };
        let from = self.from.unwrap_or_else(|| to.plus_hours(-24.0 * days));
        if from >= to {
            return Err(Problem::bad_parameter(
                "from",
                "from must be earlier than to, and not in the future",
            ));
        }
        Ok(Period { from, to })
    }

    /// The dimensions to tell apart.
    pub(crate) fn dimensions(&self) -> Result<Vec<Dimension>, Problem> {
        let names = self.by.as_deref().unwrap_or_default().split(',');
        let named: Result<Vec<Dimension>, Problem> = names
            .filter(|name| !name.is_empty())
            .map(|name| {
                Dimension::named(name.trim()).ok_or_else(|| {
                    let all = Dimension::ALL.map(Dimension::label).join(", ");
                    Problem::bad_parameter("by", format!("use {all}"))
                })
            })
            .collect();
        // Each once, however often it is named.
        let mut seen = BTreeSet::new();
        Ok(named?.into_iter().filter(|d| seen.insert(*d)).collect())
    }

    /// Whether a file is wanted.
    pub(crate) fn wants_csv(&self) -> Result<bool, Problem> {
        match self.format.as_deref() {
            None | Some("json") => Ok(false),
            Some("csv") => Ok(true),
            Some(_) => Err(Problem::bad_parameter("format", "use csv or json")),
        }
    }

    /// The dimensions that are given, with their values.
    pub(crate) fn wanted(&self) -> Vec<(Dimension, &str)> {
        Dimension::ALL
            .into_iter()
            .filter_map(|dimension| {
                let value = match dimension {
                    Dimension::Class => &self.class,
                    Dimension::Model => &self.model,
                    Dimension::Site => &self.site,
                    Dimension::Region => &self.region,
                    Dimension::Customer => &self.customer,
                    Dimension::Tier => &self.tier,
                    Dimension::Mode => &self.mode,
                    Dimension::Batch => &self.batch,
                    Dimension::Technician => &self.technician,
                    Dimension::Kind => &self.kind,
                    Dimension::Priority => &self.priority,
                    Dimension::Week => &self.week,
                };
                Some((dimension, value.as_deref().filter(|v| !v.is_empty())?))
            })
            .collect()
    }
}

/// What is known of all tickets and machines.
pub(crate) struct Outcomes {
    cases: Vec<Case>,
    machines: Vec<Machine>,
    pub(crate) links: Links,
    /// How often articles helped, and how often not, by id.
    pub(crate) helped: BTreeMap<String, (u32, u32)>,
    /// There are more tickets than are counted.
    pub(crate) is_cut: bool,
}

/// What `count` makes of the outcomes, which are at most [`READ_EVERY`] old; off the threads that answer others.
pub(crate) async fn counted<R: Send + 'static>(
    app: &App,
    count: impl FnOnce(&Outcomes) -> R + Send + 'static,
) -> Result<R, Problem> {
    let outcomes = app.outcomes.get(READ_EVERY, Outcomes::read(app)).await?;
    let counting = tokio::task::spawn_blocking(move || count(&outcomes));
    counting.await.map_err(|broken| {
        tracing::error!(%broken, "figures cannot be counted");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the figures cannot be counted; the service's log says more",
        )
    })
}

impl Outcomes {
    async fn read(app: &App) -> Result<Self, Problem> {
        let registry = Registry::read(app).await?;
        let (store, filter) = (&app.state.store, TicketFilter::default());
        let mut tickets = newest(CASES_MAX + 1, |page| store.tickets(&filter, page)).await?;
        let is_cut = tickets.len() > CASES_MAX;
        tickets.truncate(CASES_MAX);
        let mut helped: BTreeMap<String, (u32, u32)> = BTreeMap::new();
        for (article, yes) in tickets.iter().flat_map(|t| &t.work.helped) {
            let (n_yes, n_no) = helped.entry(article.clone()).or_default();
            *(if *yes { n_yes } else { n_no }) += 1;
        }
        let mut answers = answers(app).await?;
        let mut lines = newest(LINES_MAX, |page| store.ledger(page)).await?;
        lines.reverse();
        let is_cut = is_cut || lines.len() == LINES_MAX;
        let catalogue = &app.state.catalogue;
        let asset_of = tickets.iter().map(|t| (t.id, &t.asset)).collect();
        let failed = failed_batches(catalogue, &asset_of, &lines);
        let mut booked = parts_used(catalogue, &lines);
        for (ticket, minutes) in store.minutes_booked().await? {
            booked.entry(ticket).or_default().minutes = minutes;
        }
        let costs = costs(&tickets, &booked, app.state.costs.labour_per_hour);
        let all = ReservationFilter::default();
        let held = newest(LINES_MAX, |page| store.reservations(&all, page)).await?;
        let mut at_hand: BTreeMap<TicketId, bool> = BTreeMap::new();
        for r in held.iter().filter(|r| r.state.is_live() || r.used > 0) {
            // What had to come lies there too, since it has come: later than it was asked for.
            let was_here =
                matches!(r.supply, Supply::Stock { .. }) && r.available_at <= r.reserved_at;
            *at_hand.entry(r.ticket).or_insert(true) &= was_here;
        }
        let cases = tickets.iter().map(|ticket| {
            let mut case = Case {
                at_hand: at_hand.get(&ticket.id).copied(),
                answers: answers.remove(&ticket.id).unwrap_or_default(),
                ..registry.case(app, ticket, costs.get(&ticket.id).copied())
            };
            let batch = failed.get(&ticket.id).cloned();
            case.cut.extend(batch.map(|b| (Dimension::Batch, b)));
            case
        });
        let cases: Vec<Case> = cases.collect();
        let machines = registry.assets.values().map(|asset| Machine {
            asset: asset.id.clone(),
            cut: registry.cut(app, asset, None, app.state.clock.now()),
            since: asset.registered_at,
        });
        Ok(Self {
            links: Links::of(&cases),
            cases,
            machines: machines.collect(),
            helped,
            is_cut,
        })
    }

    /// What tickets cost, where it is known.
    pub(crate) fn costs(&self) -> BTreeMap<TicketId, f64> {
        let cases = self.cases.iter();
        cases.filter_map(|c| Some((c.ticket, c.cost?))).collect()
    }

    /// What fits all that is wanted.
    pub(crate) fn scope(&self, wanted: &[(Dimension, &str)]) -> Scope<'_> {
        let fits = |cut: &Cut| {
            wanted
                .iter()
                .all(|(dimension, value)| cut.get(dimension).is_some_and(|v| v == value))
        };
        Scope {
            cases: self.cases.iter().filter(|c| fits(&c.cut)).collect(),
            machines: self.machines.iter().filter(|m| fits(&m.cut)).collect(),
        }
    }
}

/// What customers answered, the newest answer of each ticket.
async fn answers(app: &App) -> Result<BTreeMap<TicketId, Answers>, StoreError> {
    let store = &app.state.store;
    let mut all = BTreeMap::new();
    for answer in newest(CASES_MAX, |page| store.survey_answers(None, page)).await? {
        let answers = Answers {
            csat: answer.csat,
            nps: answer.nps,
            ces: answer.ces,
        };
        all.entry(answer.ticket).or_insert(answers);
    }
    Ok(all)
}

/// Master data that tickets are told apart by.
pub(crate) struct Registry {
    pub(crate) assets: BTreeMap<AssetId, Asset>,
    pub(crate) details: BTreeMap<AssetId, AssetDetails>,
    locations: BTreeMap<RecordId, Location>,
    /// Names that several sites have.
    shared_names: BTreeSet<String>,
    pub(crate) customers: BTreeMap<RecordId, Customer>,
    contracts: BTreeMap<RecordId, Vec<(RecordId, Contract)>>,
}

impl Registry {
    /// All of it, at most [`READ_EVERY`] old: one snapshot for everybody.
    pub(crate) async fn recent(app: &App) -> Result<Arc<Self>, StoreError> {
        app.registry.get(READ_EVERY, Self::read(app)).await
    }

    async fn read(app: &App) -> Result<Self, StoreError> {
        let mut found = Self {
            assets: BTreeMap::new(),
            details: BTreeMap::new(),
            locations: BTreeMap::new(),
            shared_names: BTreeSet::new(),
            customers: BTreeMap::new(),
            contracts: BTreeMap::new(),
        };
        for asset in app.state.store.assets().await? {
            found.assets.insert(asset.id.clone(), asset);
        }
        for kind in [
            RecordKind::Asset,
            RecordKind::Location,
            RecordKind::Customer,
            RecordKind::Contract,
        ] {
            for record in whole(app, kind, &RecordFilter::default(), RECORDS_MAX).await? {
                let id = record.record.id;
                match record.body {
                    Some(Body::Asset(details)) => {
                        if let Ok(asset) = AssetId::new(id.as_str()) {
                            found.details.insert(asset, details);
                        }
                    }
                    Some(Body::Location(location)) => {
                        found.locations.insert(id, location);
                    }
                    Some(Body::Customer(customer)) => {
                        found.customers.insert(id, customer);
                    }
                    Some(Body::Contract(contract)) => {
                        let of = found.contracts.entry(contract.customer.clone());
                        of.or_default().push((id, contract));
                    }
                    Some(_) | None => {}
                }
            }
        }
        let mut names = BTreeSet::new();
        for site in found.locations.values().filter(|l| l.level == Level::Site) {
            if !names.insert(&site.name) {
                found.shared_names.insert(site.name.clone());
            }
        }
        Ok(found)
    }

    fn case(&self, app: &App, ticket: &Ticket, cost: Option<f64>) -> Case {
        let mut cut = match self.assets.get(&ticket.asset) {
            Some(asset) => self.cut(app, asset, self.customer_of(ticket), ticket.opened_at),
            None => Cut::new(),
        };
        cut.extend(
            ticket
                .technician
                .clone()
                .map(|t| (Dimension::Technician, t)),
        );
        cut.extend(
            ticket
                .mode
                .as_ref()
                .map(|m| (Dimension::Mode, m.to_string())),
        );
        cut.insert(Dimension::Kind, ticket.kind.to_string());
        let priority = priority_label(ticket.priority);
        cut.insert(Dimension::Priority, priority.to_owned());
        cut.insert(Dimension::Week, week(ticket.opened_at));
        let mut case = Case::of(ticket, cut);
        let was_done = case.first(TicketState::Resolved).is_some();
        case.cost = cost.filter(|_| was_done);
        case
    }

    /// What a site is called, with its parent where another is called the same.
    fn site_name(&self, site: &Location) -> String {
        let parent = site.parent.as_ref().and_then(|id| self.locations.get(id));
        match parent {
            Some(parent) if self.shared_names.contains(&site.name) => {
                format!("{} ({})", site.name, parent.name)
            }
            Some(_) | None => site.name.clone(),
        }
    }

    /// Id of the customer whose `ticket` is, by the rule of [`customer_of`](crate::for_whom::customer_of).
    pub(crate) fn customer_of<'a>(&'a self, ticket: &'a Ticket) -> Option<&'a str> {
        let of_machine = || self.details.get(&ticket.asset)?.customer.as_ref();
        let opened_for = ticket.work.customer.as_deref().filter(|id| {
            let id = RecordId::new(*id);
            id.is_ok_and(|id| self.customers.contains_key(&id))
        });
        opened_for.or_else(|| of_machine().map(RecordId::as_str))
    }

    /// Where `asset` stood at `at`: the place and those above it, the lowest first.
    fn places(&self, asset: &AssetId, at: Timestamp) -> impl Iterator<Item = &Location> {
        let details = self.details.get(asset);
        let place = details.and_then(|d| d.position_at(at));
        let lowest = place.and_then(|p| self.locations.get(&p.location));
        let above = |l: &&Location| self.locations.get(l.parent.as_ref()?);
        std::iter::successors(lowest, above).take(DEPTH_MAX)
    }

    /// Whether `asset` stood at `at` on the site of that name in lower case: its own, or the one that tells it from others
    /// of the same name.
    pub(crate) fn is_on_site(&self, asset: &Asset, at: Timestamp, name: &str) -> bool {
        let mut is_placed = false;
        for site in self.places(&asset.id, at) {
            if site.level != Level::Site {
                continue;
            }
            is_placed = true;
            if site.name.to_lowercase() == name || self.site_name(site).to_lowercase() == name {
                return true;
            }
        }
        !is_placed && asset.site.to_lowercase() == name
    }

    /// What `asset` counts to at `at`; `customer` is whose it was then, where that is known.
    pub(crate) fn cut(
        &self,
        app: &App,
        asset: &Asset,
        customer: Option<&str>,
        at: Timestamp,
    ) -> Cut {
        let mut cut = Cut::new();
        cut.insert(Dimension::Class, asset.class.to_string());
        let details = self.details.get(&asset.id);
        if let Some(model) = details.and_then(|d| d.model.clone()) {
            cut.insert(Dimension::Model, model);
        }
        for location in self.places(&asset.id, at) {
            if location.level == Level::Site {
                cut.insert(Dimension::Site, self.site_name(location));
            }
            if let Some(region) = &location.region {
                cut.entry(Dimension::Region).or_insert(region.clone());
            }
        }
        if !asset.site.is_empty() {
            cut.entry(Dimension::Site).or_insert(asset.site.clone());
        }
        let customer = customer.and_then(|id| RecordId::new(id).ok());
        if let Some(id) = customer.or_else(|| details?.customer.clone()) {
            if let Some(customer) = self.customers.get(&id) {
                let none = Vec::new();
                let contracts = self.contracts.get(&id).unwrap_or(&none);
                let currency = &app.state.catalogue.currency;
                let tiers = &app.state.tiers;
                let tier = tiers.tier(customer, contracts, Date::of(at), currency);
                cut.insert(Dimension::Tier, tier.name);
            }
            cut.insert(Dimension::Customer, id.to_string());
        }
        cut
    }
}

/// The ISO 8601 week of an instant, in UTC.
fn week(at: Timestamp) -> String {
    let seconds = at.as_millis().div_euclid(1_000);
    match time::OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(utc) => {
            let (year, week, _) = utc.to_iso_week_date();
            format!("{year}-W{week:02}")
        }
        Err(_out_of_range) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_are_those_of_iso_8601() {
        let of = |text: &str| week(text.parse().unwrap());
        assert_eq!(of("2026-01-01T00:00:00Z"), "2026-W01");
        assert_eq!(of("2027-01-01T12:00:00Z"), "2026-W53");
        assert_eq!(of("2025-12-29T00:00:00Z"), "2026-W01");
    }
}
