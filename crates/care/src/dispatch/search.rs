//! The plan: regret insertion, then ruin and recreate.
//!
//! - **Regret insertion** (Potvin and Rousseau, 1993, doi:10.1016/0377-2217(93)90221-8): the job goes first that
//!   loses most if it does not get its best place now.
//! - **Ruin and recreate** with the removal of strings of neighbouring stops and insertion with blinks (SISR:
//!   Christiaens and Vanden Berghe, 2020, doi:10.1287/trsc.2019.0914), under simulated annealing. One
//!   removal size covers what relocate, swap and 2-opt moves do one by one.

use super::model::Model;
use super::random::Random;
use super::route::Route;

/// Average number of jobs taken out in a round.
const RUINED_MEAN: usize = 10;
/// Longest string taken out of one route.
const STRING_MAX: usize = 10;
/// One insertion position in so many is passed over.
const BLINK_ONE_IN: u64 = 100;
/// The first and last temperature, as a share of a job's average cost.
const TEMPERATURE_SHARES: (f64, f64) = (0.1, 0.001);

/// Who does what in which order.
#[derive(Debug, Clone)]
pub(super) struct Solution {
    pub(super) routes: Vec<Route>,
    /// The worker of each job; `None`: undone.
    pub(super) worker_of: Vec<Option<usize>>,
    pub(super) cost: f64,
}

impl Solution {
    fn new(model: &Model<'_>) -> Self {
        let routes: Vec<Route> = (0..model.workers.len())
            .map(|w| Route::new(model, w))
            .collect();
        let mut worker_of = vec![None; model.jobs.len()];
        for route in &routes {
            for job in &route.jobs {
                worker_of[*job] = Some(route.worker);
            }
        }
        let mut solution = Self {
            routes,
            worker_of,
            cost: 0.0,
        };
        solution.cost = solution.counted(model);
        solution
    }

    fn counted(&self, model: &Model<'_>) -> f64 {
        let undone = |j: &usize| model.jobs[*j].planned && self.worker_of[*j].is_none();
        self.routes.iter().map(|r| r.cost).sum::<f64>()
            + (0..model.jobs.len())
                .filter(undone)
                .map(|j| model.jobs[j].leaving)
                .sum::<f64>()
    }

    fn insert(&mut self, model: &Model<'_>, job: usize, worker: usize, position: usize) {
        let before = self.routes[worker].cost;
        self.routes[worker].insert(model, job, position);
        self.worker_of[job] = Some(worker);
        self.cost += self.routes[worker].cost - before - model.jobs[job].leaving;
    }

    /// The cheapest place for `job` among `workers`, cheaper than leaving it: cost added, worker, position.
    fn best_place(
        &self,
        model: &Model<'_>,
        job: usize,
        workers: impl Iterator<Item = usize>,
        mut skip: impl FnMut() -> bool,
    ) -> Option<(f64, usize, usize)> {
        let mut best: Option<(f64, usize, usize)> = None;
        let mut limit = model.jobs[job].leaving;
        for worker in workers {
            let route = &self.routes[worker];
            if let Some((added, position)) = route.best_position(model, job, limit, &mut skip) {
                limit = added;
                best = Some((added, worker, position));
            }
        }
        best
    }
}

/// The plan after `rounds` of improvement.
pub(super) fn solve(model: &Model<'_>, rounds: u32) -> Solution {
    let mut solution = Solution::new(model);
    insert_by_regret(model, &mut solution);
    insert_anywhere(model, &mut solution);
    improve(model, &mut solution, rounds);
    insert_anywhere(model, &mut solution);
    put_in_order(model, &mut solution);
    solution
}

/// Of jobs of one technician that differ in what waiting costs only, the dearer goes first. Improvement by chance
/// misses that now and then, and nobody understands it. All else stays where it is.
fn put_in_order(model: &Model<'_>, solution: &mut Solution) {
    for route in &mut solution.routes {
        for first in 0..route.jobs.len() {
            for second in first + 1..route.jobs.len() {
                if model.is_dearer_twin(route.jobs[second], route.jobs[first]) {
                    route.swap(model, first, second);
                }
            }
        }
    }
    solution.cost = solution.counted(model);
}

fn insert_by_regret(model: &Model<'_>, solution: &mut Solution) {
    let mut open: Vec<usize> = (0..model.jobs.len())
        .filter(|j| model.jobs[*j].planned && model.jobs[*j].fixed.is_none())
        .collect();
    // Best position per job and worker tried.
    let place = |solution: &Solution, job: usize, worker: usize| {
        solution.routes[worker].best_position(model, job, model.jobs[job].leaving, || false)
    };
    let mut places: Vec<Vec<Option<(f64, usize)>>> = model
        .tried
        .iter()
        .enumerate()
        .map(|(j, tried)| {
            let is_open = model.jobs[j].planned && model.jobs[j].fixed.is_none();
            tried
                .iter()
                .filter(|_| is_open)
                .map(|w| place(solution, j, *w))
                .collect()
        })
        .collect();
    loop {
        let mut chosen: Option<(f64, usize, usize)> = None;
        for (i, job) in open.iter().enumerate() {
            let Some((regret, tried)) = regret(&places[*job], model.jobs[*job].leaving) else {
                continue;
            };
            if chosen.is_none_or(|(most, ..)| regret > most) {
                chosen = Some((regret, i, tried));
            }
        }
        let Some((_, i, tried)) = chosen else {
            return;
        };
        let job = open.swap_remove(i);
        let worker = model.tried[job][tried];
        if let Some((_, position)) = places[job][tried] {
            solution.insert(model, job, worker, position);
        }
        for job in &open {
            if let Some(tried) = model.tried[*job].iter().position(|w| *w == worker) {
                places[*job][tried] = place(solution, *job, worker);
            }
        }
    }
}

/// How much dearer the second and third best worker are than the best, and the best; `None`: nobody can, or
/// leaving it is cheaper.
fn regret(places: &[Option<(f64, usize)>], leaving: f64) -> Option<(f64, usize)> {
    let mut best = [(leaving, usize::MAX); 3];
    for (tried, place) in places.iter().enumerate() {
        let Some((added, _)) = *place else { continue };
        if added < best[0].0 {
            best = [(added, tried), best[0], best[1]];
        } else if added < best[1].0 {
            best = [best[0], (added, tried), best[1]];
        } else if added < best[2].0 {
            best[2] = (added, tried);
        }
    }
    let [first, second, third] = best;
    (first.1 != usize::MAX).then_some((second.0 - first.0 + third.0 - first.0, first.1))
}

/// Jobs that nobody of those tried could take: everybody is asked.
fn insert_anywhere(model: &Model<'_>, solution: &mut Solution) {
    for job in 0..model.jobs.len() {
        let numbers = &model.jobs[job];
        if numbers.planned && numbers.fixed.is_none() && solution.worker_of[job].is_none() {
            let able = model.able(job).into_iter();
            if let Some((_, worker, position)) = solution.best_place(model, job, able, || false) {
                solution.insert(model, job, worker, position);
            }
        }
    }
}

fn improve(model: &Model<'_>, solution: &mut Solution, rounds: u32) {
    let movable: Vec<usize> = (0..model.jobs.len())
        .filter(|j| model.jobs[*j].planned && model.jobs[*j].fixed.is_none())
        .filter(|j| !model.tried[*j].is_empty())
        .collect();
    if movable.is_empty() || rounds == 0 {
        return;
    }
    let mut random = Random::new(0x5eed);
    let mut best = solution.clone();
    let mean = (solution.cost / movable.len() as f64).max(1.0).min(
        // Jobs left undone must not heat up all the others.
        model.weights.undone,
    );
    let (first, last) = (mean * TEMPERATURE_SHARES.0, mean * TEMPERATURE_SHARES.1);
    let cooling = (last / first).powf(1.0 / f64::from(rounds));
    let mut temperature = first;
    // Which routes of `solution` differ from `best`'s.
    let mut differs = vec![false; solution.routes.len()];
    for _ in 0..rounds {
        let before = solution.cost;
        let seed = movable[random.below(movable.len())];
        let mut change = Change::default();
        ruin(model, solution, seed, &mut random, &mut change);
        // Undone jobs near by get another chance, too.
        let undone = model.near[seed].iter().filter(|j| {
            solution.worker_of[**j].is_none() && !change.open.contains(j) && model.jobs[**j].planned
        });
        let undone: Vec<usize> = undone.take(2).copied().collect();
        change.open.extend(undone);
        recreate(model, solution, &mut random, &mut change);
        let accepted = solution.cost < before - temperature * random.unit().ln();
        if accepted {
            for route in &change.routes {
                differs[route.worker] = true;
            }
            if solution.cost < best.cost - 1e-9 {
                for (worker, differs) in differs.iter_mut().enumerate() {
                    if std::mem::take(differs) {
                        best.routes[worker].clone_from(&solution.routes[worker]);
                    }
                }
                best.worker_of.clone_from(&solution.worker_of);
                best.cost = solution.cost;
            }
        } else {
            change.undo(solution);
            solution.cost = before;
        }
        temperature *= cooling;
    }
    best.cost = best.counted(model);
    *solution = best;
}

/// What a round has changed, to be undone.
#[derive(Debug, Default)]
struct Change {
    /// Routes as they were.
    routes: Vec<Route>,
    /// Jobs taken out, or undone before.
    open: Vec<usize>,
}

impl Change {
    fn keep(&mut self, route: &Route) {
        if self.routes.iter().all(|kept| kept.worker != route.worker) {
            self.routes.push(route.clone());
        }
    }

    fn undo(self, solution: &mut Solution) {
        for job in &self.open {
            solution.worker_of[*job] = None;
        }
        for route in self.routes {
            for job in &route.jobs {
                solution.worker_of[*job] = Some(route.worker);
            }
            let worker = route.worker;
            solution.routes[worker] = route;
        }
    }
}

/// Takes strings of stops near `seed` out of their routes.
fn ruin(
    model: &Model<'_>,
    solution: &mut Solution,
    seed: usize,
    random: &mut Random,
    change: &mut Change,
) {
    let mut ruined: Vec<usize> = Vec::new();
    let n_max = 1 + random.below(2 * RUINED_MEAN);
    if solution.worker_of[seed].is_none() {
        change.open.push(seed);
    }
    for job in std::iter::once(&seed).chain(&model.near[seed]) {
        if change.open.len() >= n_max {
            break;
        }
        let Some(worker) = solution.worker_of[*job].filter(|w| !ruined.contains(w)) else {
            continue;
        };
        ruined.push(worker);
        let route = &mut solution.routes[worker];
        let Some(at) = route.jobs.iter().position(|j| j == job) else {
            continue;
        };
        let length =
            (1 + random.below(STRING_MAX.min(route.jobs.len()))).min(n_max - change.open.len());
        // The string holds the stop itself, somewhere.
        let begin = at
            .saturating_sub(random.below(length))
            .min(route.jobs.len() - length);
        let string: Vec<usize> = route.jobs[begin..begin + length]
            .iter()
            .copied()
            .filter(|j| model.jobs[*j].fixed.is_none())
            .collect();
        change.keep(route);
        let before = route.cost;
        if route.remove(model, |j| string.contains(&j)) {
            solution.cost += route.cost - before;
            for job in string {
                solution.worker_of[job] = None;
                solution.cost += model.jobs[job].leaving;
                change.open.push(job);
            }
        }
    }
}

/// Puts the open jobs back, one after the other, each to its cheapest place.
fn recreate(model: &Model<'_>, solution: &mut Solution, random: &mut Random, change: &mut Change) {
    let mut order: Vec<usize> = change.open.clone();
    random.shuffle(&mut order);
    match random.below(4) {
        0 => {}
        1 => order.sort_by(|a, b| model.jobs[*a].due.total_cmp(&model.jobs[*b].due)),
        2 => order.sort_by(|a, b| model.jobs[*b].work.total_cmp(&model.jobs[*a].work)),
        _ => order.sort_by(|a, b| {
            let urgency = |j: usize| model.jobs[j].waiting + model.jobs[j].lateness;
            urgency(*b).total_cmp(&urgency(*a))
        }),
    }
    for job in order {
        let tried = model.tried[job].iter().copied();
        let place = solution.best_place(model, job, tried, || random.one_in(BLINK_ONE_IN));
        if let Some((_, worker, position)) = place {
            change.keep(&solution.routes[worker]);
            solution.insert(model, job, worker, position);
        }
    }
}
