//! One technician's jobs in order: when each begins, and what that costs.
//!
//! Work begins as early as the order lets it. A day begins and ends at home; who has no part in the van
//! fetches it at the job's depot first. A job must fit into a shift, unless no shift is long enough for the way and
//! the work: then it goes on the next day.

use super::model::{Model, Sums};
use super::pair::VAN_KINDS;

/// Rounding in hours: less than a millisecond.
pub(super) const EPSILON: f64 = 1e-7;

/// After some of the jobs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct State {
    /// When the last one ended.
    clock: f64,
    /// The shift that goes on then, or the next one.
    shift: usize,
    /// The last job; `None`: at home.
    at: Option<usize>,
    sums: Sums,
    /// Hours by which fixed jobs are reached too late.
    conflict: f64,
    /// Taken from the van.
    used: [u8; VAN_KINDS],
}

/// When a job is done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Visit {
    pub(super) start: f64,
    pub(super) end: f64,
}

/// The jobs of one technician.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) worker: usize,
    pub(super) jobs: Vec<usize>,
    /// Before the first job, and after each.
    states: Vec<State>,
    pub(super) cost: f64,
    /// `conflict` that the fixed jobs alone cause: no other may add to it.
    conflict_max: f64,
}

impl Route {
    /// The fixed jobs of `worker`, in order of time.
    pub(super) fn new(model: &Model<'_>, worker: usize) -> Self {
        let mut fixed: Vec<(f64, usize)> = model
            .jobs
            .iter()
            .enumerate()
            .filter_map(|(j, job)| job.fixed.filter(|f| f.0 == worker).map(|f| (f.1, j)))
            .collect();
        fixed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let start = State {
            clock: 0.0,
            shift: 0,
            at: None,
            sums: Sums::default(),
            conflict: 0.0,
            used: [0; VAN_KINDS],
        };
        let mut route = Self {
            worker,
            jobs: fixed.into_iter().map(|(_, j)| j).collect(),
            states: vec![start],
            cost: 0.0,
            conflict_max: f64::INFINITY,
        };
        route.recount(model, 0);
        route.conflict_max = route.last().conflict + EPSILON;
        route
    }

    fn last(&self) -> &State {
        &self.states[self.states.len() - 1]
    }

    /// Sums of the whole route, the way home included.
    pub(super) fn sums(&self, model: &Model<'_>) -> Sums {
        finished(model, self.worker, self.last())
    }

    /// Counts anew from the job at `from` on.
    fn recount(&mut self, model: &Model<'_>, from: usize) {
        self.states.truncate(from + 1);
        for job in &self.jobs[from..] {
            // What stands in a route was tried before; the fixed always stand.
            match step(model, self.worker, self.last(), *job) {
                Some((next, _)) => self.states.push(next),
                None => unreachable!("a job that does not fit is not put into a route"),
            }
        }
        self.cost = self.sums(model).cost(model, self.worker).total();
    }

    /// When each job is done.
    pub(super) fn visits(&self, model: &Model<'_>) -> Vec<Visit> {
        self.jobs
            .iter()
            .zip(&self.states)
            .filter_map(|(job, before)| step(model, self.worker, before, *job))
            .map(|(_, visit)| visit)
            .collect()
    }

    /// How late each fixed job is reached, hours, by job.
    pub(super) fn conflicts(&self) -> impl Iterator<Item = (usize, f64)> {
        self.jobs
            .iter()
            .zip(self.states.windows(2))
            .map(|(job, pair)| (*job, pair[1].conflict - pair[0].conflict))
            .filter(|(_, hours)| *hours > EPSILON)
    }

    /// The cheapest position for `job` that adds less than `limit` to the cost, and what it adds; `None`:
    /// there is none. `skip` may pass over positions.
    pub(super) fn best_position(
        &self,
        model: &Model<'_>,
        job: usize,
        limit: f64,
        mut skip: impl FnMut() -> bool,
    ) -> Option<(f64, usize)> {
        let mut best: Option<(f64, usize)> = None;
        let mut limit = limit;
        for position in 0..=self.jobs.len() {
            if skip() {
                continue;
            }
            let before = &self.states[position];
            let Some((after, _)) = step(model, self.worker, before, job) else {
                continue;
            };
            // The others are done no earlier than without it, and further back it is done no earlier either.
            let own = after.sums.waiting - before.sums.waiting + after.sums.lateness
                - before.sums.lateness;
            if own >= limit {
                break;
            }
            let Some(sums) = self.goes_on(model, after, position) else {
                continue;
            };
            let added = sums.cost(model, self.worker).total() - self.cost;
            if added < limit {
                limit = added;
                best = Some((added, position));
            }
        }
        best
    }

    /// Sums of the route, with `state` where the job at `position` begins; `None`: the rest does not fit then.
    fn goes_on(&self, model: &Model<'_>, mut state: State, position: usize) -> Option<Sums> {
        for (job, was) in self.jobs[position..]
            .iter()
            .zip(&self.states[position + 1..])
        {
            state = step(model, self.worker, &state, *job)?.0;
            if state.goes_on_as(was) {
                // From here on nothing is different.
                let last = self.last();
                state = State {
                    sums: state.sums.plus(&last.sums.minus(&was.sums)),
                    conflict: state.conflict + (last.conflict - was.conflict),
                    ..*last
                };
                break;
            }
            if state.conflict > self.conflict_max {
                return None;
            }
        }
        (state.conflict <= self.conflict_max).then(|| finished(model, self.worker, &state))
    }

    /// Puts `job` to `position`, where it was found to fit.
    pub(super) fn insert(&mut self, model: &Model<'_>, job: usize, position: usize) {
        self.jobs.insert(position, job);
        self.recount(model, position);
    }

    /// Changes two jobs over that take the same time at the same place.
    pub(super) fn swap(&mut self, model: &Model<'_>, first: usize, second: usize) {
        self.jobs.swap(first, second);
        self.recount(model, first);
    }

    /// Takes out the jobs that `out` names. The rest is done earlier, or at the same time.
    ///
    /// (Without a job the others may not fit: a van's part can be left for an earlier one, and ways need not
    /// be shorter without a stop. Then nothing is taken out, and the answer is false.)
    pub(super) fn remove(&mut self, model: &Model<'_>, out: impl Fn(usize) -> bool) -> bool {
        let Some(first) = self.jobs.iter().position(|j| out(*j)) else {
            return true;
        };
        let kept: Vec<usize> = self.jobs.iter().copied().filter(|j| !out(*j)).collect();
        let mut state = self.states[first];
        for job in &kept[first..] {
            match step(model, self.worker, &state, *job) {
                Some((next, _)) => state = next,
                None => return false,
            }
        }
        if state.conflict > self.conflict_max {
            return false;
        }
        self.jobs = kept;
        self.recount(model, first);
        true
    }
}

impl State {
    /// True: the same future as `other`, whatever came before.
    fn goes_on_as(&self, other: &Self) -> bool {
        self.clock == other.clock
            && self.shift == other.shift
            && self.at == other.at
            && self.used == other.used
    }
}

/// With the way home.
fn finished(model: &Model<'_>, worker: usize, state: &State) -> Sums {
    let mut sums = state.sums;
    if let Some(job) = state.at {
        sums.travel_hours += model.home_way(worker, job);
    }
    sums
}

/// The state after `job`, and when it is done; `None`: it cannot be done after `state`.
fn step(model: &Model<'_>, worker: usize, state: &State, job: usize) -> Option<(State, Visit)> {
    let mut next = *state;
    let visit = match model.jobs[job].fixed {
        Some((_, start)) => appointment(model, worker, &mut next, job, start),
        None => free(model, worker, &mut next, job)?,
    };
    let numbers = &model.jobs[job];
    next.clock = next.clock.max(visit.end);
    next.at = Some(job);
    next.sums.work_hours += numbers.work;
    next.sums.waiting += numbers.waiting * visit.end.max(0.0);
    next.sums.lateness += numbers.lateness * (visit.end - numbers.due).max(0.0);
    if !model.pair(worker, job).welcome {
        next.sums.preference += model.weights.not_preferred;
    }
    Some((next, visit))
}

/// A job whose time is free.
fn free(model: &Model<'_>, worker: usize, next: &mut State, job: usize) -> Option<Visit> {
    let (numbers, who) = (&model.jobs[job], &model.workers[worker]);
    let until = model.pair(worker, job).until;
    let fetched = fetched(model, worker, next, job);
    loop {
        let (open, close) = *who.shifts.get(next.shift)?;
        if next.clock < open {
            go_home(model, worker, next);
            next.clock = open;
        }
        let way = way(model, worker, next.at, job, fetched);
        let start = (next.clock + way.travel + way.parts)
            .max(way.ready)
            .max(numbers.earliest);
        let start = numbers.may_begin(start)?;
        if start + numbers.work <= close + EPSILON {
            take(next, &way);
            let end = start + numbers.work;
            return (end <= until + EPSILON).then_some(Visit { start, end });
        }
        if start < close && fits_no_shift(model, worker, job, fetched) {
            take(next, &way);
            let end = over_days(model, worker, next, job, start)?;
            return (end <= until + EPSILON).then_some(Visit { start, end });
        }
        if close > until {
            return None;
        }
        next.shift += 1;
    }
}

/// True where even a whole shift, from home, is too short for the way and the work.
fn fits_no_shift(model: &Model<'_>, worker: usize, job: usize, fetched: bool) -> bool {
    let at_home = way(model, worker, None, job, fetched);
    let needed = at_home.travel + at_home.parts + model.jobs[job].work;
    needed > model.workers[worker].longest + EPSILON
}

/// Work that no shift is long enough for goes on day by day, each from home. Returns when it ends.
fn over_days(
    model: &Model<'_>,
    worker: usize,
    next: &mut State,
    job: usize,
    start: f64,
) -> Option<f64> {
    let who = &model.workers[worker];
    let way = model.home_way(worker, job);
    let mut left = model.jobs[job].work;
    let mut from = start;
    loop {
        let (_, close) = *who.shifts.get(next.shift)?;
        let worked = left.min((close - from).max(0.0));
        left -= worked;
        if left <= EPSILON {
            return Some(from + worked);
        }
        next.shift += 1;
        let (open, _) = *who.shifts.get(next.shift)?;
        next.sums.travel_hours += 2.0 * way;
        from = open + way;
    }
}

/// A job whose time is laid down: it begins then, even if nobody could be there.
fn appointment(
    model: &Model<'_>,
    worker: usize,
    next: &mut State,
    job: usize,
    start: f64,
) -> Visit {
    let who = &model.workers[worker];
    let of_start = who.shifts.partition_point(|(_, close)| *close <= start);
    let same_day = of_start == next.shift
        && who
            .shifts
            .get(of_start)
            .is_some_and(|(open, _)| *open <= start && *open <= next.clock + EPSILON);
    if !same_day {
        go_home(model, worker, next);
    }
    let fetched = fetched(model, worker, next, job);
    let way = way(model, worker, next.at, job, fetched);
    // The first of a day is reached on time: one leaves home as early as that takes.
    let arrival = next.clock + way.travel + way.parts;
    next.conflict += (arrival - start).max(0.0);
    take(next, &way);
    let end = start + model.jobs[job].work;
    next.shift = who
        .shifts
        .partition_point(|(_, close)| *close <= end.max(next.clock) + EPSILON);
    Visit { start, end }
}

fn go_home(model: &Model<'_>, worker: usize, next: &mut State) {
    if let Some(last) = next.at.take() {
        next.sums.travel_hours += model.home_way(worker, last);
    }
}

/// The way to a job.
struct Way {
    travel: f64,
    parts: f64,
    /// Not there before: parts that are still on their way.
    ready: f64,
}

fn take(next: &mut State, way: &Way) {
    next.sums.travel_hours += way.travel;
    next.sums.parts_hours += way.parts;
}

/// True: the parts are fetched at the depot. False: none are needed, or they come from the van, and are taken.
fn fetched(model: &Model<'_>, worker: usize, next: &mut State, job: usize) -> bool {
    if model.jobs[job].parts_at.is_none() {
        return false;
    }
    let Some(taken) = &model.pair(worker, job).from_van else {
        return true;
    };
    let mut used = next.used;
    for ((used, taken), held) in used
        .iter_mut()
        .zip(taken.iter())
        .zip(model.workers[worker].van)
    {
        *used = used.saturating_add(*taken);
        if *taken > 0 && *used > held {
            return true;
        }
    }
    next.used = used;
    false
}

/// From the last job, `None`: from home.
fn way(model: &Model<'_>, worker: usize, last: Option<usize>, job: usize, fetched: bool) -> Way {
    let straight = last.map_or_else(
        || model.home_way(worker, job),
        |last| model.between(last, job),
    );
    if !fetched {
        return Way {
            travel: straight,
            parts: 0.0,
            ready: 0.0,
        };
    }
    let to_depot = last.map_or_else(
        || model.home_to_depot(worker, job),
        |last| model.depot_from_job(last, job),
    );
    let from_depot = model.depot_to_job(job);
    let detour = (to_depot + from_depot - straight).max(0.0) + model.weights.pickup_hours;
    Way {
        travel: straight,
        parts: detour,
        ready: model.jobs[job].parts_at.unwrap_or(0.0) + model.weights.pickup_hours + from_depot,
    }
}

#[cfg(test)]
impl Route {
    /// `jobs` in this order from the start; `None`: they do not fit.
    pub(super) fn in_order(model: &Model<'_>, worker: usize, jobs: &[usize]) -> Option<Self> {
        let mut route = Self::new(model, worker);
        let mut state = route.states[0];
        for job in jobs {
            state = step(model, worker, &state, *job)?.0;
        }
        if state.conflict > route.conflict_max {
            return None;
        }
        route.jobs = jobs.to_vec();
        route.recount(model, 0);
        Some(route)
    }
}
