//! The plan as a proposal per ticket: who, when, at what cost, who else, and who cannot.

use forecare_domain::{DispatchCandidate, DispatchCost, DispatchProposal, DispatchRejection};

use super::model::Model;
use super::pair::Barred;
use super::route::{EPSILON, Route, Visit};
use super::search::Solution;

/// Candidates kept with a proposal.
const CANDIDATES_MAX: usize = 5;
/// Rejections kept with a proposal.
const REJECTIONS_MAX: usize = 8;

/// One proposal per job, in their order.
pub(super) fn proposals(model: &Model<'_>, solution: &Solution) -> Vec<DispatchProposal> {
    let mut visits: Vec<Option<Visit>> = vec![None; model.jobs.len()];
    let mut too_late: Vec<f64> = vec![0.0; model.jobs.len()];
    for route in &solution.routes {
        for (job, visit) in route.jobs.iter().zip(route.visits(model)) {
            visits[*job] = Some(visit);
        }
        for (job, hours) in route.conflicts() {
            too_late[job] = hours;
        }
    }
    (0..model.jobs.len())
        .map(|job| proposal(model, solution, job, visits[job], too_late[job]))
        .collect()
}

fn proposal(
    model: &Model<'_>,
    solution: &Solution,
    job: usize,
    visit: Option<Visit>,
    too_late: f64,
) -> DispatchProposal {
    let problem = model.problem;
    let mut own = solution.worker_of[job].map(|w| solution.routes[w].clone());
    let assigned = own.as_mut().zip(visit).map(|(route, visit)| {
        let with = route.sums(model).cost(model, route.worker);
        // Where the others do not fit without it, nothing can be told apart, and it is given no cost.
        route.remove(model, |j| j == job);
        let without = route.sums(model).cost(model, route.worker);
        let cost = difference(&with, &without);
        candidate(model, route.worker, visit, cost)
    });
    let mut rejected: Vec<(usize, String)> = Vec::new();
    let mut candidates: Vec<DispatchCandidate> = Vec::new();
    // Those tried come first, nearest first; the others are looked at where none of those can.
    for worker in &model.tried[job] {
        let route = match &own {
            Some(own) if own.worker == *worker => continue,
            _ => &solution.routes[*worker],
        };
        match offer(model, route, job) {
            Some(offer) => candidates.push(offer),
            None => rejected.push((*worker, no_room(model, *worker, job))),
        }
    }
    candidates.sort_by(|a, b| a.cost.total().total_cmp(&b.cost.total()));
    candidates.truncate(CANDIDATES_MAX);
    let mut barred: Vec<(f64, usize, String)> = (0..model.workers.len())
        .filter_map(|w| {
            let barred = model.pair(w, job).barred.as_ref()?;
            Some((model.home_way(w, job), w, words(barred)))
        })
        .collect();
    barred.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    rejected.extend(barred.into_iter().map(|(_, w, why)| (w, why)));
    let n_rejected = u32::try_from(rejected.len()).unwrap_or(u32::MAX);
    let why = why(model, job, assigned.is_some(), &rejected, too_late, visit);
    DispatchProposal {
        planned_at: problem.now,
        assigned,
        why,
        candidates,
        rejected: rejected
            .into_iter()
            .take(REJECTIONS_MAX)
            .map(|(w, why)| DispatchRejection {
                technician: problem.technicians[w].name.clone(),
                why,
            })
            .collect(),
        n_rejected,
    }
}

fn candidate(
    model: &Model<'_>,
    worker: usize,
    visit: Visit,
    cost: DispatchCost,
) -> DispatchCandidate {
    let problem = model.problem;
    DispatchCandidate {
        technician: problem.technicians[worker].name.clone(),
        start_at: problem.now.plus_hours(visit.start),
        end_at: problem.now.plus_hours(visit.end),
        cost,
    }
}

/// What `job` would cost in `route` as it is.
pub(super) fn offer(model: &Model<'_>, route: &Route, job: usize) -> Option<DispatchCandidate> {
    if model.jobs[job].fixed.is_some() {
        return None;
    }
    let (_, position) = route.best_position(model, job, f64::INFINITY, || false)?;
    let mut with = route.clone();
    with.insert(model, job, position);
    let visit = *with.visits(model).get(position)?;
    let cost = difference(
        &with.sums(model).cost(model, route.worker),
        &route.sums(model).cost(model, route.worker),
    );
    Some(candidate(model, route.worker, visit, cost))
}

fn difference(with: &DispatchCost, without: &DispatchCost) -> DispatchCost {
    DispatchCost {
        travel: with.travel - without.travel,
        parts: with.parts - without.parts,
        waiting: with.waiting - without.waiting,
        lateness: with.lateness - without.lateness,
        preference: with.preference - without.preference,
        load: with.load - without.load,
    }
}

fn why(
    model: &Model<'_>,
    job: usize,
    is_assigned: bool,
    rejected: &[(usize, String)],
    too_late: f64,
    visit: Option<Visit>,
) -> String {
    let source = &model.problem.jobs[job];
    if let Some((worker, start)) = model.jobs[job].fixed {
        return objections(model, worker, job, start, too_late, visit).join("; ");
    }
    if let Some(fixed) = &source.fixed {
        return format!("\"{}\" is no technician that is planned", fixed.technician);
    }
    if is_assigned {
        let worker = model.worker_of_chosen(job);
        let despite = worker.and_then(|w| model.pair(w, job).despite.as_deref());
        return despite.map_or_else(String::new, words);
    }
    if model.workers.is_empty() {
        return "there are no technicians".to_owned();
    }
    if let Some(chosen) = model.worker_of_chosen(job) {
        let who = &model.problem.technicians[chosen].name;
        let own = rejected.iter().find(|(w, _)| *w == chosen);
        let own = own.map_or(
            "has no room before the planning horizon ends",
            |(_, why)| why,
        );
        return format!("{who} is chosen for it, but: {own}");
    }
    match rejected.first() {
        Some((_, first)) if rejected.iter().all(|(_, why)| why == first) => {
            format!("nobody can: {first}")
        }
        Some((_, first)) if model.tried[job].is_empty() => {
            format!("nobody can; the nearest: {first}")
        }
        _ => "nobody who could has room for it before the planning horizon ends".to_owned(),
    }
}

/// What speaks against an assignment that is laid down.
fn objections(
    model: &Model<'_>,
    worker: usize,
    job: usize,
    start: f64,
    too_late: f64,
    visit: Option<Visit>,
) -> Vec<String> {
    let mut objections = Vec::new();
    let (pair, who) = (model.pair(worker, job), &model.workers[worker]);
    for barred in [&pair.barred, &pair.despite].into_iter().flatten() {
        objections.push(words(barred));
    }
    let end = visit.map_or(start, |v| v.end);
    if end > pair.until + EPSILON && pair.barred.is_none() {
        objections.push("a certificate that is needed is not valid then".to_owned());
    }
    let on_shift = |(open, close): &(f64, f64)| *open <= start + EPSILON && start < *close;
    if start >= 0.0 && !who.shifts.iter().any(on_shift) {
        objections.push("the start is outside the technician's shifts".to_owned());
    }
    if too_late > EPSILON {
        objections.push(format!(
            "the technician can be there {too_late:.1} h later only, after the appointment before"
        ));
    }
    if pair.from_van.is_none()
        && let Some(parts_at) = model.jobs[job].parts_at
        && parts_at > start.max(0.0) + EPSILON
    {
        objections.push(format!(
            "the parts are at the depot {:.1} h after the start only",
            parts_at - start
        ));
    }
    objections
}

fn no_room(model: &Model<'_>, worker: usize, job: usize) -> String {
    if model.pair(worker, job).until.is_finite() {
        "no room before a certificate that is needed runs out".to_owned()
    } else {
        "no room in the shifts before the planning horizon ends".to_owned()
    }
}

fn words(barred: &Barred) -> String {
    match barred {
        Barred::Skill(skill) => format!("lacks the skill {skill}"),
        Barred::Certificate(name) => format!("lacks the certificate {name}"),
        Barred::CertificateOver(name, at) => {
            format!("the certificate {name} is not valid long enough (until {at})")
        }
        Barred::Region(region) => format!("does not work in the region {region}"),
        Barred::Customer => "is kept away from this customer".to_owned(),
        Barred::ByCustomer => "is not wanted by the customer".to_owned(),
        Barred::NotChosen(only) => format!("{only} is chosen for it"),
        Barred::NoShift => "has no shift before the planning horizon ends".to_owned(),
    }
}
