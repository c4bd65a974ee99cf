//! Dispatch: all open tickets and all technicians planned together.
//!
//! Hard conditions: skills, certificates that are valid on the day, shifts, regions, customers and technicians
//! that do not get on, appointments and planners' decisions. Everything else is a cost in the catalogue's
//! currency: the road, fetching parts, machines that wait and may fail, lateness, the customer's preference,
//! and load heaped on one person.

mod assign;
mod delay;
mod explain;
mod first;
mod model;
mod pair;
mod problem;
mod random;
mod route;
mod search;
mod slots;
#[cfg(test)]
mod tests;
mod ways;

use forecare_domain::DispatchProposal;

pub use assign::{AssignError, assign, is_assignable, is_proposable, proposed};
pub use delay::{DelayCost, delay_cost, usual_visit_cost};
pub use first::{Candidate, Crew, candidates};
pub use pair::missing;
pub use problem::{
    Certificate, DispatchProblem, DispatchWeights, FixedStart, JOBS_MAX, Job, JobPart,
    TECHNICIANS_MAX, Worker,
};
pub use slots::{Slot, slots};

use model::Model;

/// A plan.
#[derive(Debug, Clone, PartialEq)]
pub struct DispatchPlan {
    /// One proposal per job, in the order of the problem's.
    pub proposals: Vec<DispatchProposal>,
    /// What it all costs, leaving jobs undone included, in the catalogue's currency.
    pub cost: f64,
}

/// Plans. The same problem gives the same plan.
#[must_use]
pub fn plan(problem: &DispatchProblem) -> DispatchPlan {
    let n_workers = problem.technicians.len().min(TECHNICIANS_MAX);
    if problem.jobs.len() > JOBS_MAX {
        return plan_the_most_pressing(problem);
    }
    let model = Model::new(problem, n_workers);
    let solution = search::solve(&model, problem.rounds);
    DispatchPlan {
        proposals: explain::proposals(&model, &solution),
        cost: solution.cost,
    }
}

/// What is laid down, and then what costs most while it waits.
fn plan_the_most_pressing(problem: &DispatchProblem) -> DispatchPlan {
    let jobs = &problem.jobs;
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by(|a, b| {
        let pressing = |j: &Job| j.waiting_cost_per_hour + j.lateness_cost_per_hour;
        let (a, b) = (&jobs[*a], &jobs[*b]);
        (b.fixed.is_some().cmp(&a.fixed.is_some()))
            .then(pressing(b).total_cmp(&pressing(a)))
            .then(a.due_at.cmp(&b.due_at))
    });
    let mut chosen: Vec<usize> = order.into_iter().take(JOBS_MAX).collect();
    chosen.sort_unstable();
    let part = DispatchProblem {
        jobs: chosen.iter().map(|j| jobs[*j].clone()).collect(),
        ..problem.clone()
    };
    let planned = plan(&part);
    let mut proposals = vec![
        DispatchProposal {
            planned_at: problem.now,
            assigned: None,
            why: format!(
                "{} open tickets, {JOBS_MAX} are planned at once: the dearer ones go first",
                jobs.len()
            ),
            candidates: Vec::new(),
            rejected: Vec::new(),
            n_rejected: 0,
        };
        jobs.len()
    ];
    for (job, proposal) in chosen.into_iter().zip(planned.proposals) {
        proposals[job] = proposal;
    }
    DispatchPlan {
        proposals,
        cost: planned.cost,
    }
}

/// Rounds for so many jobs: by the benchmark, beyond them another second buys about a percent.
#[must_use]
pub fn default_rounds(n_jobs: usize) -> u32 {
    u32::try_from(n_jobs.saturating_mul(20))
        .unwrap_or(u32::MAX)
        .clamp(500, 2_000)
}
