//! The plan of all visits: who goes where, when.

use std::collections::BTreeMap;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use forecare_domain::{Asset, AssetId, Ticket};

use super::format::{WEEKDAYS, When, hours, span};
use super::shell::{Shell, render};
use super::view::TicketView;
use crate::app::{App, Caller};
use crate::overview::places_of;
use crate::plan::Visit;
use crate::problem::Problem;

#[derive(Template)]
#[template(path = "plan.html")]
struct PlanPage {
    shell: Shell,
    planned: Option<When>,
    time_zone: String,
    tours: Vec<TourView>,
    /// Who has nothing to do.
    idle: Vec<String>,
    /// Ticket, site and why.
    unplanned: Vec<(TicketView, String, String)>,
}

struct TourView {
    technician: String,
    hours: String,
    n_late: usize,
    visits: Vec<VisitView>,
}

struct VisitView {
    /// Empty: nobody has said when.
    time: String,
    late: bool,
    laid_down: bool,
    site: String,
    ticket: TicketView,
}

pub(crate) async fn page(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let plan = app.plan(&caller).await?;
    let now = app.state.clock.now();
    let calendar = &app.state.appointments.calendar;
    let assets = app.state.store.assets().await?.into_iter();
    let assets: BTreeMap<AssetId, Asset> = assets.map(|a| (a.id.clone(), a)).collect();
    let visited = plan.tours.values().flatten();
    let tickets = visited.map(|v| &v.ticket);
    let tickets = tickets.chain(plan.unplanned.iter().map(|(t, _)| t));
    let places = places_of(&app, &tickets.map(|t| t.asset.clone()).collect()).await?;
    let ticket = |t: &Ticket| {
        let asset = assets.get(&t.asset);
        let place = places.get(&t.asset).cloned();
        let site = place.or_else(|| asset.map(|a| a.site.clone()));
        let site = site.unwrap_or_default();
        (TicketView::new(&app.state.catalogue, asset, now, t), site)
    };
    let visit = |v: &Visit| {
        let (view, site) = ticket(&v.ticket);
        let time = v.time.map(|(from, to)| span(calendar, &WEEKDAYS, from, to));
        VisitView {
            time: time.unwrap_or_default(),
            late: v.is_late,
            laid_down: v.is_laid_down,
            site,
            ticket: view,
        }
    };
    let (busy, idle): (Vec<_>, Vec<_>) = plan
        .tours
        .into_iter()
        .partition(|(_, visits)| !visits.is_empty());
    let html = PlanPage {
        shell: Shell::new(&app, &caller, "tickets"),
        planned: plan.planned_at.map(|at| When::new(now, at)),
        time_zone: calendar.time_zone().to_owned(),
        tours: busy
            .into_iter()
            .map(|(technician, visits)| TourView {
                technician,
                hours: hours(visits.iter().map(Visit::hours).sum()),
                n_late: visits.iter().filter(|v| v.is_late).count(),
                visits: visits.iter().map(visit).collect(),
            })
            .collect(),
        idle: idle.into_iter().map(|(technician, _)| technician).collect(),
        unplanned: plan
            .unplanned
            .iter()
            .map(|(t, why)| {
                let (view, site) = ticket(t);
                (view, site, why.clone())
            })
            .collect(),
    };
    Ok(render(&html))
}
