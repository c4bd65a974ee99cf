//! Travelling times: great circle where places are known, by site and depot where they are not.

use forecare_domain::{DepotName, Place};

use super::problem::{DispatchProblem, Worker};

/// Mean radius of the earth, kilometres (IUGG).
const EARTH_RADIUS_KM: f64 = 6_371.009;

/// Depots by name. The last index stands for one that is not known.
pub(super) struct Depots<'a> {
    pub(super) names: Vec<&'a DepotName>,
    places: Vec<Option<Vector>>,
}

impl<'a> Depots<'a> {
    pub(super) fn new(problem: &'a DispatchProblem) -> Self {
        let mut names: Vec<&DepotName> = problem
            .jobs
            .iter()
            .filter_map(|j| j.depot.as_ref())
            .collect();
        names.sort_unstable();
        names.dedup();
        let places = names
            .iter()
            .map(|name| {
                let (_, place) = problem.depots.iter().find(|(n, _)| n == *name)?;
                Some(Vector::new(*place))
            })
            .chain([None])
            .collect();
        Self { names, places }
    }

    pub(super) fn of(&self, depot: Option<&DepotName>) -> usize {
        depot
            .and_then(|depot| self.names.iter().position(|n| *n == depot))
            .unwrap_or(self.names.len())
    }
}

/// A place as a unit vector: a distance takes one arc sine.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Vector([f64; 3]);

impl Vector {
    fn new(place: Place) -> Self {
        let (sin_lat, cos_lat) = place.latitude_deg.to_radians().sin_cos();
        let (sin_lon, cos_lon) = place.longitude_deg.to_radians().sin_cos();
        Self([cos_lat * cos_lon, cos_lat * sin_lon, sin_lat])
    }

    /// Great-circle distance: twice the arc sine of half the chord (the haversine formula).
    fn km(self, other: Self) -> f64 {
        let squared: f64 = self
            .0
            .iter()
            .zip(other.0)
            .map(|(a, b)| (a - b).powi(2))
            .sum();
        2.0 * EARTH_RADIUS_KM * (squared.sqrt() / 2.0).min(1.0).asin()
    }
}

/// Travelling times.
pub(super) struct Ways<'a> {
    problem: &'a DispatchProblem,
    workers: &'a [Worker],
    jobs: Vec<Option<Vector>>,
    homes: Vec<Option<Vector>>,
}

impl<'a> Ways<'a> {
    pub(super) fn new(problem: &'a DispatchProblem, workers: &'a [Worker]) -> Self {
        Self {
            problem,
            workers,
            jobs: problem
                .jobs
                .iter()
                .map(|j| j.place.map(Vector::new))
                .collect(),
            homes: workers.iter().map(|w| w.home.map(Vector::new)).collect(),
        }
    }

    fn hours(&self, a: Option<Vector>, b: Option<Vector>) -> Option<f64> {
        let weights = &self.problem.weights;
        Some(a?.km(b?) * weights.road_factor / weights.speed_km_per_hour)
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "a fraction of a second in a travelling time is nothing"
    )]
    pub(super) fn between(&self) -> Vec<f32> {
        let n = self.jobs.len();
        let unknown = self.problem.weights.unknown_way_hours;
        let mut ways = vec![0.0; n * n];
        for a in 0..n {
            for b in a + 1..n {
                let (first, second) = (&self.problem.jobs[a], &self.problem.jobs[b]);
                let same_site = !first.site.is_empty() && first.site == second.site;
                let hours = match self.hours(self.jobs[a], self.jobs[b]) {
                    Some(hours) => hours,
                    None if same_site => 0.0,
                    None => unknown,
                } as f32;
                ways[a * n + b] = hours;
                ways[b * n + a] = hours;
            }
        }
        ways
    }

    /// A way of `worker` that is not known.
    fn unknown(&self, worker: &Worker, depot: Option<&DepotName>) -> f64 {
        let away = matches!((worker.depot.as_ref(), depot), (Some(own), Some(its)) if own != its);
        if away {
            self.problem.weights.unknown_way_away_hours
        } else {
            self.problem.weights.unknown_way_hours
        }
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "a fraction of a second in a travelling time is nothing"
    )]
    pub(super) fn home_way(&self) -> Vec<f32> {
        let way = |w: usize, j: usize| {
            self.hours(self.homes[w], self.jobs[j]).unwrap_or_else(|| {
                self.unknown(&self.workers[w], self.problem.jobs[j].depot.as_ref())
            }) as f32
        };
        (0..self.jobs.len())
            .flat_map(|j| (0..self.workers.len()).map(move |w| (w, j)))
            .map(|(w, j)| way(w, j))
            .collect()
    }

    pub(super) fn to_depot(&self, depots: &Depots<'_>) -> Vec<f64> {
        let unknown = self.problem.weights.unknown_way_hours;
        (0..self.jobs.len())
            .flat_map(|j| depots.places.iter().map(move |place| (j, *place)))
            .map(|(j, place)| self.hours(self.jobs[j], place).unwrap_or(unknown))
            .collect()
    }

    pub(super) fn home_to_depot(&self, depots: &Depots<'_>) -> Vec<f64> {
        let names = depots.names.iter().copied().map(Some).chain([None]);
        let depots: Vec<(Option<&DepotName>, Option<Vector>)> =
            names.zip(depots.places.iter().copied()).collect();
        (0..self.workers.len())
            .flat_map(|w| depots.iter().map(move |(name, place)| (w, *name, *place)))
            .map(|(w, name, place)| {
                self.hours(self.homes[w], place)
                    .unwrap_or_else(|| self.unknown(&self.workers[w], name))
            })
            .collect()
    }
}
