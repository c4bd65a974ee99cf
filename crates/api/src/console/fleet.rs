//! The fleet, worst first.

use std::collections::BTreeMap;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use forecare_catalogue::Catalogue;
use forecare_domain::{
    Asset, AssetHealth, AssetId, DeviceId, DeviceStatus, ModeName, Rul, Severity, Ticket, Timestamp,
};
use serde::Deserialize;

use super::format::{self, Bar, When};
use super::shell::{Shell, render};
use super::view::mode_title;
use crate::app::{App, Caller};
use crate::extract::ApiQuery;
use crate::problem::Problem;

/// Assets of a page.
const PER_PAGE: usize = 50;

/// What is shown of the fleet.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct FleetParams {
    #[serde(default)]
    q: String,
    #[serde(default)]
    class: String,
    #[serde(default)]
    show: String,
    page: Option<usize>,
}

#[derive(Template)]
#[template(path = "fleet.html")]
struct FleetPage {
    shell: Shell,
    tiles: Tiles,
    classes: Vec<(String, String)>,
    q: String,
    class: String,
    show: String,
    rows: Vec<Row>,
    n_found: usize,
    page: usize,
    n_pages: usize,
    /// The filter without the page, for links.
    query: String,
}

#[derive(Default)]
struct Tiles {
    n_assets: usize,
    n_critical: usize,
    n_warning: usize,
    n_tickets: usize,
    n_offline: usize,
}

struct Row {
    id: String,
    name: String,
    site: String,
    class: String,
    health: Option<Bar>,
    worst: Option<(String, Bar)>,
    rul: Option<String>,
    alarm: Option<&'static str>,
    n_tickets: usize,
    online: Option<bool>,
    seen: Option<When>,
}

/// One asset with all that is known of it.
struct Member<'a> {
    asset: &'a Asset,
    health: Option<&'a AssetHealth>,
    status: Option<&'a DeviceStatus>,
    alarm: Option<Severity>,
    /// Open ones.
    tickets: Vec<&'a Ticket>,
}

impl Member<'_> {
    /// The most likely failure and its probability, by the models and by the decisions of open tickets.
    fn worst(&self) -> Option<(&ModeName, f64)> {
        let prognoses = self.health.into_iter().flat_map(|h| &h.prognoses);
        let foretold = prognoses.map(|p| (&p.mode, p.probability));
        let weighed = self
            .tickets
            .iter()
            .filter_map(|t| Some((t.mode.as_ref()?, t.decision.as_ref()?.probability)));
        foretold.chain(weighed).max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The larger of lost health and the worst failure probability, 0 to 1; nothing known counts as 0.
    fn risk(&self) -> f64 {
        let lost = self.health.map_or(0.0, |h| 1.0 - h.health / 100.0);
        self.worst().map_or(lost, |(_, p)| lost.max(p))
    }

    fn is_shown(&self, params: &FleetParams) -> bool {
        let asset = self.asset;
        let sought = params.q.trim().to_lowercase();
        let fits = |text: &str| text.to_lowercase().contains(&sought);
        let found = sought.is_empty()
            || fits(&asset.name)
            || fits(asset.id.as_str())
            || fits(asset.device.as_str())
            || fits(&asset.site);
        let kind = params.class.is_empty() || params.class == asset.class.as_str();
        let chosen = match params.show.as_str() {
            "critical" => self.alarm == Some(Severity::Critical),
            "warning" => self.alarm == Some(Severity::Warning),
            "tickets" => !self.tickets.is_empty(),
            "offline" => self.status.is_some_and(|s| !s.online),
            _ => true,
        };
        found && kind && chosen
    }

    fn row(&self, catalogue: &Catalogue, now: Timestamp) -> Row {
        let asset = self.asset;
        let heard = [self.health.map(|h| h.at), self.status.map(|s| s.at)];
        Row {
            id: asset.id.to_string(),
            name: asset.name.clone(),
            site: asset.site.clone(),
            class: catalogue
                .class(&asset.class)
                .map_or_else(|| asset.class.to_string(), |c| c.title.clone()),
            health: self.health.map(|h| Bar::health(h.health)),
            worst: self
                .worst()
                .map(|(mode, p)| (mode_title(catalogue, Some(asset), mode), Bar::risk(p))),
            rul: self
                .health
                .map(|h| &h.rul)
                .filter(|rul| **rul != Rul::NoTrend)
                .map(format::rul),
            alarm: self.alarm.map(format::severity),
            n_tickets: self.tickets.len(),
            online: self.status.map(|s| s.online),
            seen: heard
                .into_iter()
                .flatten()
                .max()
                .map(|at| When::new(now, at)),
        }
    }
}

pub(crate) async fn page(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiQuery(params): ApiQuery<FleetParams>,
) -> Result<Response, Problem> {
    let store = &app.state.store;
    let catalogue = &app.state.catalogue;
    let assets = store.assets().await?;
    let health = store.health().await?;
    let statuses = store.statuses().await?;
    let alarms = app.active_alarms().await?;
    let tickets = app.open_tickets(None).await?;

    let health: BTreeMap<&DeviceId, _> = health.iter().map(|h| (&h.device, h)).collect();
    let statuses: BTreeMap<&DeviceId, _> = statuses.iter().map(|s| (&s.device, s)).collect();
    let mut severities: BTreeMap<&DeviceId, Severity> = BTreeMap::new();
    for alarm in &alarms {
        let worst = severities.entry(&alarm.device).or_insert(alarm.severity);
        *worst = alarm.severity.max(*worst);
    }
    let mut tickets_of: BTreeMap<&AssetId, Vec<&Ticket>> = BTreeMap::new();
    for ticket in &tickets {
        tickets_of.entry(&ticket.asset).or_default().push(ticket);
    }

    let members: Vec<Member<'_>> = assets
        .iter()
        .map(|asset| Member {
            asset,
            health: health.get(&asset.device).copied(),
            status: statuses.get(&asset.device).copied(),
            alarm: severities.get(&asset.device).copied(),
            tickets: tickets_of.remove(&asset.id).unwrap_or_default(),
        })
        .collect();
    let count = |is: &dyn Fn(&Member<'_>) -> bool| members.iter().filter(|m| is(m)).count();
    let tiles = Tiles {
        n_assets: members.len(),
        n_critical: count(&|m| m.alarm == Some(Severity::Critical)),
        n_warning: count(&|m| m.alarm == Some(Severity::Warning)),
        n_tickets: count(&|m| !m.tickets.is_empty()),
        n_offline: count(&|m| m.status.is_some_and(|s| !s.online)),
    };

    let mut found: Vec<&Member<'_>> = members.iter().filter(|m| m.is_shown(&params)).collect();
    // Assets that nothing is known of come last, whatever the risk of the others.
    found.sort_by(|a, b| {
        b.health
            .is_some()
            .cmp(&a.health.is_some())
            .then(b.risk().total_cmp(&a.risk()))
            .then(a.asset.id.cmp(&b.asset.id))
    });
    let n_pages = found.len().div_ceil(PER_PAGE).max(1);
    let page = params.page.unwrap_or(1).clamp(1, n_pages);
    let now = app.state.clock.now();
    let rows = found
        .iter()
        .skip((page - 1) * PER_PAGE)
        .take(PER_PAGE)
        .map(|m| m.row(catalogue, now))
        .collect();
    Ok(render(&FleetPage {
        shell: Shell::new(&app, &caller, "fleet"),
        tiles,
        classes: catalogue
            .classes
            .iter()
            .map(|c| (c.name.to_string(), c.title.clone()))
            .collect(),
        rows,
        n_found: found.len(),
        page,
        n_pages,
        query: query_of(&params),
        q: params.q,
        class: params.class,
        show: params.show,
    }))
}

/// The filter as a query string that ends where `page=` can follow.
fn query_of(params: &FleetParams) -> String {
    let mut query = String::new();
    for (name, value) in [
        ("q", &params.q),
        ("class", &params.class),
        ("show", &params.show),
    ] {
        if !value.is_empty() {
            query.push_str(name);
            query.push('=');
            query.push_str(&crate::percent::percent_encoded(value));
            query.push('&');
        }
    }
    query
}
