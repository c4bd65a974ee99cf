//! Times that can be agreed with a customer: where one job fits into the plan as it stands.

use forecare_domain::{DispatchCandidate, TicketId, Timestamp};

use super::explain::offer;
use super::model::Model;
use super::problem::{DispatchProblem, JOBS_MAX, TECHNICIANS_MAX};
use super::route::Route;

/// A window in which somebody can begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// The window begins.
    pub from: Timestamp,
    /// The window ends: the work begins before that.
    pub to: Timestamp,
    /// Who, when exactly as planned, and what it adds to the cost of the plan.
    pub visit: DispatchCandidate,
}

/// For each of `windows` in which the work on `ticket` can begin, the cheapest way to do it. All other jobs of `problem`
/// stay where they are: those without [`fixed`](super::Job::fixed) are left out. Nothing where the ticket has no job.
#[must_use]
pub fn slots(
    problem: &DispatchProblem,
    ticket: TicketId,
    windows: &[(Timestamp, Timestamp)],
) -> Vec<Slot> {
    let mut jobs = Vec::new();
    for job in &problem.jobs {
        if job.ticket == ticket {
            let mut own = job.clone();
            own.fixed = None;
            // The windows say when somebody may come.
            own.visiting.clear();
            jobs.insert(0, own);
        } else if job.fixed.is_some() {
            jobs.push(job.clone());
        }
    }
    if jobs.first().is_none_or(|job| job.ticket != ticket) {
        return Vec::new();
    }
    jobs.truncate(JOBS_MAX);
    let problem = DispatchProblem {
        jobs,
        ..problem.clone()
    };
    let n_workers = problem.technicians.len().min(TECHNICIANS_MAX);
    let mut model = Model::new(&problem, n_workers);
    let routes: Vec<Route> = model.tried[0]
        .iter()
        .map(|worker| Route::new(&model, *worker))
        .collect();
    let mut found = Vec::new();
    for (from, to) in windows {
        model.jobs[0].earliest = from.hours_since(problem.now).max(0.0);
        let offers = routes.iter().filter_map(|route| offer(&model, route, 0));
        let cheapest = offers
            .filter(|visit| visit.start_at < *to)
            .min_by(|a, b| a.cost.total().total_cmp(&b.cost.total()));
        found.extend(cheapest.map(|visit| Slot {
            from: *from,
            to: *to,
            visit,
        }));
    }
    found
}
