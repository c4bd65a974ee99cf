//! The problem in numbers: hours from now, indices for names, who may do what.

use std::collections::BTreeMap;

use forecare_domain::{DispatchCost, PartNumber, Timestamp};

use super::pair::{Pair, VAN_KINDS, van_counts, van_kinds};
use super::problem::{DispatchProblem, DispatchWeights, Job};
use super::route::EPSILON;
use super::ways::{Depots, Ways};

/// Technicians a job is tried with at first: the nearest by [`Model::estimate`].
const TRIED_MAX: usize = 24;

/// The problem in numbers. Times are hours from now.
#[derive(Debug)]
pub(super) struct Model<'a> {
    pub(super) problem: &'a DispatchProblem,
    pub(super) jobs: Vec<JobNumbers>,
    pub(super) workers: Vec<WorkerNumbers>,
    pub(super) weights: DispatchWeights,
    /// By job, then worker: a search goes through the workers of a job.
    pairs: Vec<Pair>,
    /// Hours between jobs.
    between: Vec<f32>,
    /// Hours from home, by job, then worker.
    home_way: Vec<f32>,
    /// Hours between job and the depot that has its parts.
    to_depot: Vec<f64>,
    /// Hours from home to the depot of a job, by worker, then depot index.
    home_to_depot: Vec<f64>,
    n_depots: usize,
    /// For each job the workers to try, best estimate first.
    pub(super) tried: Vec<Vec<usize>>,
    /// For each job the other jobs, nearest first.
    pub(super) near: Vec<Vec<usize>>,
}

#[derive(Debug)]
pub(super) struct JobNumbers {
    pub(super) work: f64,
    pub(super) earliest: f64,
    /// When somebody may be there; empty: at any time.
    pub(super) visiting: Vec<(f64, f64)>,
    pub(super) due: f64,
    pub(super) waiting: f64,
    pub(super) lateness: f64,
    /// What leaving it undone costs.
    pub(super) leaving: f64,
    /// From when on its parts are at the depot; `None`: it takes none.
    pub(super) parts_at: Option<f64>,
    /// Index of the depot with its parts.
    depot: usize,
    /// Worker and start that are laid down.
    pub(super) fixed: Option<(usize, f64)>,
    /// False: fixed to somebody who is not planned.
    pub(super) planned: bool,
}

impl JobNumbers {
    /// The first time from `start` on at which the work may begin; `None`: never again before the horizon.
    pub(super) fn may_begin(&self, start: f64) -> Option<f64> {
        if self.visiting.is_empty() {
            return Some(start);
        }
        let next = self.visiting.partition_point(|(_, close)| *close <= start);
        let mut later = self.visiting.iter().skip(next);
        later.find_map(|(open, close)| {
            let begin = start.max(*open);
            let fits = begin + self.work <= close + EPSILON;
            let never_fits = self.work > close - open;
            (fits || never_fits && begin < *close).then_some(begin)
        })
    }
}

#[derive(Debug)]
pub(super) struct WorkerNumbers {
    pub(super) shifts: Vec<(f64, f64)>,
    /// Length of the longest shift.
    pub(super) longest: f64,
    pub(super) planned: f64,
    /// What the van holds of each kind that jobs need.
    pub(super) van: [u8; VAN_KINDS],
}

impl<'a> Model<'a> {
    /// `n_workers`: how many of the technicians are planned.
    pub(super) fn new(problem: &'a DispatchProblem, n_workers: usize) -> Self {
        let workers = &problem.technicians[..n_workers];
        let weights = problem.weights;
        let hours = |at: Timestamp| at.hours_since(problem.now);
        let horizon = workers
            .iter()
            .filter_map(|w| w.shifts.last())
            .map(|(_, close)| hours(*close))
            .fold(0.0, f64::max);
        let depots = Depots::new(problem);
        let index: BTreeMap<&str, usize> = workers
            .iter()
            .enumerate()
            .map(|(i, w)| (w.name.as_str(), i))
            .collect();
        let jobs: Vec<JobNumbers> = problem
            .jobs
            .iter()
            .map(|job| {
                let due = hours(job.due_at);
                let fixed = job.fixed.as_ref().and_then(|fixed| {
                    Some((
                        *index.get(fixed.technician.as_str())?,
                        hours(fixed.start_at),
                    ))
                });
                JobNumbers {
                    work: job.work_hours.max(0.0),
                    earliest: hours(job.earliest_at).max(0.0),
                    visiting: job
                        .visiting
                        .iter()
                        .map(|(open, close)| (hours(*open), hours(*close)))
                        .collect(),
                    due,
                    waiting: job.waiting_cost_per_hour.max(0.0),
                    lateness: job.lateness_cost_per_hour.max(0.0),
                    leaving: weights.undone
                        + job.waiting_cost_per_hour.max(0.0) * horizon
                        + job.lateness_cost_per_hour.max(0.0) * (horizon - due).max(0.0),
                    parts_at: job
                        .parts
                        .iter()
                        .map(|p| hours(p.available_at).max(0.0))
                        .reduce(f64::max),
                    depot: depots.of(job.depot.as_ref()),
                    planned: job.fixed.is_none() || fixed.is_some(),
                    fixed,
                }
            })
            .collect();
        let vans: Vec<Vec<&PartNumber>> = workers.iter().map(|w| van_kinds(w, problem)).collect();
        let pairs = problem
            .jobs
            .iter()
            .flat_map(|job| {
                workers
                    .iter()
                    .zip(&vans)
                    .map(move |(w, kinds)| (job, w, kinds))
            })
            .map(|(job, worker, kinds)| Pair::new(worker, kinds, job, problem.now))
            .collect();
        let way = Ways::new(problem, workers);
        let mut model = Self {
            problem,
            workers: workers
                .iter()
                .zip(&vans)
                .map(|(w, kinds)| WorkerNumbers {
                    shifts: w
                        .shifts
                        .iter()
                        .map(|(open, close)| (hours(*open).max(0.0), hours(*close)))
                        .filter(|(open, close)| open < close)
                        .collect(),
                    longest: w
                        .shifts
                        .iter()
                        .map(|(open, close)| close.hours_since((*open).max(problem.now)))
                        .fold(0.0, f64::max),
                    planned: w.planned_hours.max(0.0),
                    van: van_counts(w, kinds),
                })
                .collect(),
            pairs,
            between: way.between(),
            home_way: way.home_way(),
            to_depot: way.to_depot(&depots),
            home_to_depot: way.home_to_depot(&depots),
            n_depots: depots.names.len() + 1,
            jobs,
            weights,
            tried: Vec::new(),
            near: Vec::new(),
        };
        model.tried = (0..model.jobs.len())
            .map(|j| model.nearest_workers(j))
            .collect();
        model.near = (0..model.jobs.len())
            .map(|j| model.nearest_jobs(j))
            .collect();
        model
    }

    pub(super) fn pair(&self, worker: usize, job: usize) -> &Pair {
        &self.pairs[job * self.workers.len() + worker]
    }

    pub(super) fn between(&self, a: usize, b: usize) -> f64 {
        f64::from(self.between[a * self.jobs.len() + b])
    }

    pub(super) fn home_way(&self, worker: usize, job: usize) -> f64 {
        f64::from(self.home_way[job * self.workers.len() + worker])
    }

    /// From a job's place to the depot with the parts of another.
    pub(super) fn depot_from_job(&self, from: usize, job: usize) -> f64 {
        self.to_depot[from * self.n_depots + self.jobs[job].depot]
    }

    /// From the depot with its parts to the job.
    pub(super) fn depot_to_job(&self, job: usize) -> f64 {
        self.to_depot[job * self.n_depots + self.jobs[job].depot]
    }

    pub(super) fn home_to_depot(&self, worker: usize, job: usize) -> f64 {
        self.home_to_depot[worker * self.n_depots + self.jobs[job].depot]
    }

    /// What a plan's sums come to.
    pub(super) fn load_cost(&self, worker: usize, hours: f64) -> f64 {
        let planned = self.workers[worker].planned;
        self.weights.load_per_square_hour * ((planned + hours).powi(2) - planned.powi(2))
    }

    /// Whom a person has chosen for `job`.
    pub(super) fn worker_of_chosen(&self, job: usize) -> Option<usize> {
        let chosen = self.problem.jobs[job].only.as_ref()?;
        let workers = &self.problem.technicians[..self.workers.len()];
        workers.iter().position(|w| w.name == *chosen)
    }

    /// True where `job` differs from `other` in what its delay costs only, and costs more and is due no later.
    pub(super) fn is_dearer_twin(&self, job: usize, other: usize) -> bool {
        let (a, b) = (&self.jobs[job], &self.jobs[other]);
        let dearer = a.waiting >= b.waiting
            && a.lateness >= b.lateness
            && (a.waiting > b.waiting || a.lateness > b.lateness);
        if !dearer || a.fixed.is_some() || b.fixed.is_some() {
            return false;
        }
        let (a, b) = (&self.problem.jobs[job], &self.problem.jobs[other]);
        // Most differ in these, which saves the copy.
        if a.place != b.place || a.work_hours != b.work_hours || a.due_at > b.due_at {
            return false;
        }
        *b == Job {
            ticket: b.ticket,
            due_at: b.due_at,
            waiting_cost_per_hour: b.waiting_cost_per_hour,
            lateness_cost_per_hour: b.lateness_cost_per_hour,
            ..a.clone()
        }
    }

    /// A guess of what giving `job` to `worker` costs, before anything is planned.
    fn estimate(&self, worker: usize, job: usize) -> f64 {
        let (w, pair) = (&self.workers[worker], self.pair(worker, job));
        let way = self.home_way(worker, job);
        let fetch = if self.jobs[job].parts_at.is_some() && pair.from_van.is_none() {
            self.weights.pickup_hours + self.home_to_depot(worker, job)
        } else {
            0.0
        };
        let begin = w.shifts.first().map_or(0.0, |(open, _)| *open);
        self.weights.travel_per_hour * (2.0 * way + fetch)
            + if pair.welcome {
                0.0
            } else {
                self.weights.not_preferred
            }
            + self.jobs[job].waiting * begin
            + self.load_cost(worker, self.jobs[job].work)
    }

    /// Everybody who may do `job`, best estimate first.
    pub(super) fn able(&self, job: usize) -> Vec<usize> {
        let mut able: Vec<(f64, usize)> = (0..self.workers.len())
            .filter(|w| self.pair(*w, job).barred.is_none())
            .map(|w| (self.estimate(w, job), w))
            .collect();
        able.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        able.into_iter().map(|(_, w)| w).collect()
    }

    fn nearest_workers(&self, job: usize) -> Vec<usize> {
        let able = self.able(job);
        let mut tried: Vec<usize> = able.iter().copied().take(TRIED_MAX).collect();
        // Whom the customer asked for is always tried.
        if !self.problem.jobs[job].preferred.is_empty() {
            let wanted = able[tried.len()..]
                .iter()
                .filter(|w| self.pair(**w, job).welcome);
            tried.extend(wanted.take(TRIED_MAX));
        }
        tried
    }

    fn nearest_jobs(&self, job: usize) -> Vec<usize> {
        const NEAR_MAX: usize = 40;
        let mut others: Vec<(f64, usize)> = (0..self.jobs.len())
            .filter(|o| *o != job && self.jobs[*o].planned && self.jobs[*o].fixed.is_none())
            .map(|o| (self.between(job, o), o))
            .collect();
        let order = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        if others.len() > NEAR_MAX {
            others.select_nth_unstable_by(NEAR_MAX, order);
            others.truncate(NEAR_MAX);
        }
        others.sort_unstable_by(order);
        others.into_iter().map(|(_, o)| o).collect()
    }
}

/// Sums of a route, from which its cost follows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sums {
    pub(super) travel_hours: f64,
    pub(super) parts_hours: f64,
    pub(super) waiting: f64,
    pub(super) lateness: f64,
    pub(super) preference: f64,
    pub(super) work_hours: f64,
}

impl Sums {
    pub(super) fn plus(&self, other: &Self) -> Self {
        Self {
            travel_hours: self.travel_hours + other.travel_hours,
            parts_hours: self.parts_hours + other.parts_hours,
            waiting: self.waiting + other.waiting,
            lateness: self.lateness + other.lateness,
            preference: self.preference + other.preference,
            work_hours: self.work_hours + other.work_hours,
        }
    }

    pub(super) fn minus(&self, other: &Self) -> Self {
        Self {
            travel_hours: self.travel_hours - other.travel_hours,
            parts_hours: self.parts_hours - other.parts_hours,
            waiting: self.waiting - other.waiting,
            lateness: self.lateness - other.lateness,
            preference: self.preference - other.preference,
            work_hours: self.work_hours - other.work_hours,
        }
    }

    /// The cost of a route of `worker` with these sums.
    pub(super) fn cost(&self, model: &Model<'_>, worker: usize) -> DispatchCost {
        let per_hour = model.weights.travel_per_hour;
        let hours = self.travel_hours + self.parts_hours + self.work_hours;
        DispatchCost {
            travel: per_hour * self.travel_hours,
            parts: per_hour * self.parts_hours,
            waiting: self.waiting,
            lateness: self.lateness,
            preference: self.preference,
            load: model.load_cost(worker, hours),
        }
    }
}
