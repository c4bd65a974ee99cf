//! What the service achieves: figures with their meaning, told apart, with the tickets behind each.

use std::collections::BTreeMap;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use forecare_care::kpi::{Dimension, Figure, Scope, Unit, by, figures};
use forecare_catalogue::Catalogue;
use forecare_domain::{Asset, Ticket, TicketId};
use forecare_registry::{RecordId, RecordKind, RecordRef};

use super::format::{Bar, hours, money, number, percent};
use super::shell::{Shell, render};
use super::view::TicketView;
use crate::app::{App, Caller};
use crate::dto::ParetoLineDto;
use crate::extract::{ApiPath, ApiQuery};
use crate::outcomes::{OutcomeParams, Outcomes, counted};
use crate::percent::percent_encoded;
use crate::problem::Problem;
use crate::routes::kpis::{faults, figure};

/// Spans to choose from, days.
const SPANS: [(&str, u32); 4] = [
    ("7 days", 7),
    ("30 days", 30),
    ("90 days", 90),
    ("A year", 365),
];
/// The span that is shown first, days.
const SPAN_DEFAULT: u32 = 90;
/// Figures beside each other where they are told apart.
const COLUMNS: [&str; 8] = [
    "resolved",
    "resolution_p50",
    "resolution_kept",
    "first_time_fix",
    "csat",
    "cost_per_ticket",
    "warning_precision",
    "warning_recall",
];
/// The sections, each with the first of its figures.
const SECTIONS: [(&str, &str); 5] = [
    ("Service", "opened"),
    ("Quality", "first_contact"),
    ("Customers", "csat"),
    ("Machines", "failures"),
    ("Warnings", "warnings"),
];
/// What faults are told apart by.
const FAULT_DIMENSIONS: [Dimension; 2] = [Dimension::Mode, Dimension::Model];
/// Groups and kinds of faults shown.
const GROUPS_MAX: usize = 50;
/// Tickets shown behind a figure.
const TICKETS_MAX: usize = 200;

#[derive(Template)]
#[template(path = "kpis.html")]
struct KpisPage {
    shell: Shell,
    spans: Vec<(&'static str, String, bool)>,
    dimensions: Vec<(&'static str, bool)>,
    /// What narrows it down: dimension, value, the value in words, and the address without it.
    filters: Vec<(&'static str, String, String, String)>,
    days: u32,
    /// The query of this page, for links to what is behind a figure.
    query: String,
    sections: Vec<(&'static str, Vec<FigureView>)>,
    dimension: Option<&'static str>,
    columns: Vec<&'static str>,
    groups: Vec<GroupView>,
    n_groups_left_out: usize,
    faults: Vec<FaultView>,
    is_cut: bool,
}

struct FigureView {
    key: &'static str,
    title: &'static str,
    meaning: &'static str,
    value: String,
    n: usize,
    n_unknown: usize,
    is_known: bool,
}

struct GroupView {
    /// In words; empty: what has none.
    name: String,
    /// Where it is shown alone.
    href: String,
    values: Vec<(&'static str, String)>,
}

struct FaultView {
    what: String,
    /// Where it is shown alone.
    href: String,
    n: usize,
    n_failures: usize,
    cost: String,
    downtime: String,
    cumulative: Bar,
}

fn shown(figure: &Figure, currency: &str) -> String {
    let Some(value) = figure.value else {
        return "\u{2014}".to_owned();
    };
    match figure.kind.unit {
        Unit::Count => number(value),
        Unit::Hours => hours(value),
        Unit::Share => percent(value),
        Unit::Money => money(value, currency),
        Unit::Points => number((value * 10.0).round() / 10.0),
    }
}

impl FigureView {
    fn new(figure: &Figure, currency: &str) -> Self {
        Self {
            key: figure.kind.key,
            title: figure.kind.title,
            meaning: figure.kind.meaning,
            value: shown(figure, currency),
            n: figure.n,
            n_unknown: figure.n_unknown,
            is_known: figure.value.is_some(),
        }
    }
}

/// The address of this page for a choice.
fn query(days: u32, by: Option<&str>, wanted: &[(Dimension, &str)]) -> String {
    let mut query = format!("days={days}");
    if let Some(by) = by {
        query.push_str("&by=");
        query.push_str(by);
    }
    for (dimension, value) in wanted {
        query.push('&');
        query.push_str(dimension.label());
        query.push('=');
        query.push_str(&percent_encoded(value));
    }
    query
}

/// What people call the value of a dimension.
async fn words(app: &App, dimension: Dimension, value: &str) -> Result<String, Problem> {
    let named = match dimension {
        Dimension::Mode => mode_words(&app.state.catalogue, value),
        Dimension::Class => {
            let mut classes = app.state.catalogue.classes.iter();
            let class = classes.find(|c| c.name.as_str() == value);
            class.map(|class| class.title.clone())
        }
        Dimension::Kind => app.state.tickets.kind(value).map(|kind| kind.title.clone()),
        Dimension::Customer => match RecordId::new(value) {
            Ok(id) => {
                let key = RecordRef::new(RecordKind::Customer, id);
                let body = app.state.store.record(&key).await?.and_then(|r| r.body);
                body.map(|body| body.title().to_owned())
            }
            Err(_no_id) => None,
        },
        Dimension::Model
        | Dimension::Site
        | Dimension::Region
        | Dimension::Tier
        | Dimension::Batch
        | Dimension::Technician
        | Dimension::Priority
        | Dimension::Week => None,
    };
    Ok(named.unwrap_or_else(|| value.to_owned()))
}

/// What people call a failure mode, of whatever class.
fn mode_words(catalogue: &Catalogue, name: &str) -> Option<String> {
    let mut modes = catalogue.classes.iter().flat_map(|class| &class.modes);
    let mode = modes.find(|mode| mode.name.as_str() == name);
    mode.map(|mode| mode.title.clone())
}

/// A kind of fault: its failure mode and model, and where it is shown alone.
fn fault(
    catalogue: &Catalogue,
    group: &[String],
    days: u32,
    wanted: &[(Dimension, &str)],
) -> (String, String) {
    let mut narrower = wanted.to_vec();
    let mut what = Vec::new();
    for (dimension, value) in FAULT_DIMENSIONS.into_iter().zip(group) {
        let is_mode = dimension == Dimension::Mode;
        if value.is_empty() {
            what.extend(is_mode.then(|| "No failure mode recorded".to_owned()));
            continue;
        }
        narrower.retain(|(d, _)| *d != dimension);
        narrower.push((dimension, value));
        let named = mode_words(catalogue, value).filter(|_| is_mode);
        what.push(named.unwrap_or_else(|| value.clone()));
    }
    (what.join(", "), query(days, None, &narrower))
}

/// What the page shows, counted.
struct Counted {
    figures: Vec<Figure>,
    groups: Vec<(String, Vec<Figure>)>,
    faults: Vec<ParetoLineDto>,
    is_cut: bool,
}

pub(crate) async fn page(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiQuery(params): ApiQuery<OutcomeParams>,
) -> Result<Response, Problem> {
    let days = params.days.unwrap_or(SPAN_DEFAULT);
    let period = params.period(app.state.clock.now())?;
    let dimension = params.dimensions()?.into_iter().next();
    let label = dimension.map(Dimension::label);
    let wanted = params.wanted();
    let currency = &app.state.catalogue.currency;
    let asked = (params.clone(), currency.clone());
    let counted = counted(&app, move |outcomes| {
        let (params, currency) = asked;
        let scope = outcomes.scope(&params.wanted());
        let of = |scope: &Scope<'_>| figures(scope, &outcomes.links, period);
        let groups = dimension.map(|dimension| by(&scope, dimension));
        let groups = groups.into_iter().flatten();
        let groups = groups.map(|(name, group)| (name, of(&group)));
        Counted {
            figures: of(&scope),
            groups: groups.collect(),
            faults: faults(outcomes, &params, &FAULT_DIMENSIONS, period, currency).lines,
            is_cut: outcomes.is_cut,
        }
    });
    let counted = counted.await?;
    let found = counted.figures;
    let mut sections: Vec<(&'static str, Vec<FigureView>)> = Vec::new();
    for figure in &found {
        if let Some((title, _)) = SECTIONS.iter().find(|(_, first)| *first == figure.kind.key) {
            sections.push((title, Vec::new()));
        }
        if let Some((_, figures)) = sections.last_mut() {
            figures.push(FigureView::new(figure, currency));
        }
    }
    let n_groups_left_out = counted.groups.len().saturating_sub(GROUPS_MAX);
    let mut groups = Vec::new();
    if let Some(dimension) = dimension {
        for (name, found) in counted.groups.iter().take(GROUPS_MAX) {
            let of = |key: &&str| found.iter().find(|f| f.kind.key == *key);
            let mut narrower = wanted.clone();
            narrower.retain(|(d, _)| *d != dimension);
            narrower.push((dimension, name));
            groups.push(GroupView {
                href: query(days, None, &narrower),
                values: COLUMNS
                    .iter()
                    .filter_map(of)
                    .map(|f| (f.kind.title, shown(f, currency)))
                    .collect(),
                name: words(&app, dimension, name).await?,
            });
        }
    }
    let mut filters = Vec::new();
    for (dimension, value) in &wanted {
        let mut rest = wanted.clone();
        rest.retain(|(d, _)| d != dimension);
        filters.push((
            dimension.label(),
            (*value).to_owned(),
            words(&app, *dimension, value).await?,
            query(days, label, &rest),
        ));
    }
    Ok(render(&KpisPage {
        shell: Shell::new(&app, &caller, "kpis"),
        spans: SPANS
            .iter()
            .map(|(title, d)| (*title, query(*d, label, &wanted), *d == days))
            .collect(),
        dimensions: Dimension::ALL
            .iter()
            .map(|d| (d.label(), Some(*d) == dimension))
            .collect(),
        filters,
        days,
        query: query(days, None, &wanted),
        sections,
        dimension: label,
        columns: COLUMNS
            .iter()
            .filter_map(|key| found.iter().find(|f| f.kind.key == *key))
            .map(|f| f.kind.title)
            .collect(),
        groups,
        n_groups_left_out,
        faults: counted
            .faults
            .into_iter()
            .take(GROUPS_MAX)
            .map(|line| {
                let (what, href) = fault(&app.state.catalogue, &line.group, days, &wanted);
                FaultView {
                    what,
                    href,
                    n: line.n,
                    n_failures: line.n_failures,
                    cost: money(line.cost, currency),
                    downtime: hours(line.downtime_hours),
                    cumulative: Bar::share(line.cumulative),
                }
            })
            .collect(),
        is_cut: counted.is_cut,
    }))
}

#[derive(Template)]
#[template(path = "kpi.html")]
struct FigurePage {
    shell: Shell,
    figure: FigureView,
    back: String,
    /// Each with what it cost, where that is shown.
    tickets: Vec<(TicketView, Option<String>)>,
    shows_cost: bool,
    n_left_out: usize,
}

pub(crate) async fn behind(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(key): ApiPath<String>,
    ApiQuery(params): ApiQuery<OutcomeParams>,
) -> Result<Response, Problem> {
    let days = params.days.unwrap_or(SPAN_DEFAULT);
    let found = figure(&app, &key, &params).await?;
    let now = app.state.clock.now();
    let assets = app.state.store.assets().await?;
    let by_id: BTreeMap<_, &Asset> = assets.iter().map(|a| (&a.id, a)).collect();
    let shows_cost = found.kind.key == "cost_per_ticket";
    let costs = if shows_cost {
        counted(&app, Outcomes::costs).await?
    } else {
        BTreeMap::new()
    };
    let currency = &app.state.catalogue.currency;
    let mut ids = found.tickets.clone();
    if shows_cost {
        // The dearest first.
        let cost = |id: &TicketId| costs.get(id).copied().unwrap_or(0.0);
        ids.sort_by(|a, b| cost(b).total_cmp(&cost(a)));
    }
    let mut tickets = Vec::new();
    for id in ids.iter().take(TICKETS_MAX) {
        let ticket: Ticket = app.state.store.ticket(*id).await?;
        let asset = by_id.get(&ticket.asset).copied();
        let view = TicketView::new(&app.state.catalogue, asset, now, &ticket);
        let cost = costs.get(id);
        tickets.push((view, cost.map(|cost| money(*cost, currency))));
    }
    Ok(render(&FigurePage {
        shell: Shell::new(&app, &caller, "kpis"),
        figure: FigureView::new(&found, &app.state.catalogue.currency),
        back: query(days, None, &params.wanted()),
        shows_cost,
        n_left_out: found.tickets.len() - tickets.len(),
        tickets,
    }))
}
