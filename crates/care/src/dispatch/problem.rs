//! What is to be planned: jobs, people, depots, and what things cost.

use forecare_domain::{DepotName, PartNumber, Place, TicketId, Timestamp};

/// Most jobs planned together. Of more, the dearest to leave are planned.
pub const JOBS_MAX: usize = 2_000;
/// Most technicians planned together; those after them are left out.
pub const TECHNICIANS_MAX: usize = 1_000;

/// Everything a plan is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct DispatchProblem {
    /// Now: nothing is planned before.
    pub now: Timestamp,
    /// The work to be done.
    pub jobs: Vec<Job>,
    /// Who may do it. Their shifts are the planning horizon.
    pub technicians: Vec<Worker>,
    /// Where depots stand, as far as that is known.
    pub depots: Vec<(DepotName, Place)>,
    /// What things cost.
    pub weights: DispatchWeights,
    /// Rounds of improvement; each takes out a few jobs and puts them back. The same number gives the same
    /// plan on every machine. See [`default_rounds`](crate::dispatch::default_rounds).
    pub rounds: u32,
}

/// Work on one ticket.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// The ticket.
    pub ticket: TicketId,
    /// Where it is to be done; `None`: not known, then `site` and `depot` must do.
    pub place: Option<Place>,
    /// Name of the site. Between jobs of one site nobody travels. May be empty.
    pub site: String,
    /// The depot that serves it, where its parts are.
    pub depot: Option<DepotName>,
    /// Region, for people who work in some only.
    pub region: Option<String>,
    /// The customer, for people who are kept away from some.
    pub customer: Option<String>,
    /// Working time, hours. Above 0.
    pub work_hours: f64,
    /// Skills the technician must have.
    pub skills: Vec<String>,
    /// Certificates the technician must hold on the day.
    pub certificates: Vec<String>,
    /// Parts it takes.
    pub parts: Vec<JobPart>,
    /// Not before: the customer's wish, or now.
    pub earliest_at: Timestamp,
    /// When somebody may be there, in order and apart: work begins in one of these, and ends in it unless it is longer.
    /// Empty: at any time.
    pub visiting: Vec<(Timestamp, Timestamp)>,
    /// When the work must be done.
    pub due_at: Timestamp,
    /// What an hour of waiting costs until the work is done: for a predicted failure its probability times
    /// its cost, over the horizon. At least 0.
    pub waiting_cost_per_hour: f64,
    /// What each hour after `due_at` costs beside that. At least 0.
    pub lateness_cost_per_hour: f64,
    /// Technicians the customer would like; nobody else is as welcome. May be empty.
    pub preferred: Vec<String>,
    /// Technicians the customer does not want.
    pub excluded: Vec<String>,
    /// Nobody else: a person has chosen, or it is sent out already. The time is free.
    pub only: Option<String>,
    /// Already agreed: an appointment, work under way, a planner's decision. It is kept whatever speaks
    /// against it.
    pub fixed: Option<FixedStart>,
}

/// A number of one part that a job takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPart {
    /// The part.
    pub part: PartNumber,
    /// How many.
    pub quantity: u32,
    /// From when on they lie at the job's depot.
    pub available_at: Timestamp,
}

/// Who and when, not to be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedStart {
    /// The technician's name.
    pub technician: String,
    /// When the work begins.
    pub start_at: Timestamp,
}

/// A technician as the dispatcher sees one.
#[derive(Debug, Clone, PartialEq)]
pub struct Worker {
    /// Name, one of a kind.
    pub name: String,
    /// Where each day begins and ends.
    pub home: Option<Place>,
    /// Home depot; stands in for `home` where that is not known.
    pub depot: Option<DepotName>,
    /// Skills held.
    pub skills: Vec<String>,
    /// Certificates held.
    pub certificates: Vec<Certificate>,
    /// Regions worked in; empty: all.
    pub regions: Vec<String>,
    /// Customers to be kept away from.
    pub excluded_customers: Vec<String>,
    /// When at work from now to the horizon, in order and apart, such as a calendar's openings.
    pub shifts: Vec<(Timestamp, Timestamp)>,
    /// Hours of work already taken on that are not among the jobs.
    pub planned_hours: f64,
    /// Parts in the van.
    pub van: Vec<(PartNumber, u32)>,
}

/// A certificate, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its name.
    pub name: String,
    /// The last instant at which it is valid; `None`: without end.
    pub valid_until: Option<Timestamp>,
}

/// What things cost, in the catalogue's currency, and how fast people travel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DispatchWeights {
    /// An hour on the road or at the depot's counter.
    pub travel_per_hour: f64,
    /// Somebody else than the customer asked for.
    pub not_preferred: f64,
    /// Load counts with the square of a person's hours: this for the first hour.
    pub load_per_square_hour: f64,
    /// Leaving a job undone within the horizon, beside its waiting and lateness until then.
    pub undone: f64,
    /// Kilometres per hour on the road. Above 0.
    pub speed_km_per_hour: f64,
    /// How much longer roads are than the great circle. At least 1.
    pub road_factor: f64,
    /// A way whose ends are not both known, hours: within the same depot's area.
    pub unknown_way_hours: f64,
    /// The same, for somebody of another depot.
    pub unknown_way_away_hours: f64,
    /// Time at the depot's counter, hours.
    pub pickup_hours: f64,
}

impl Default for DispatchWeights {
    fn default() -> Self {
        Self {
            travel_per_hour: 80.0,
            not_preferred: 100.0,
            load_per_square_hour: 0.5,
            undone: 10_000.0,
            speed_km_per_hour: 60.0,
            road_factor: 1.3,
            unknown_way_hours: 0.5,
            unknown_way_away_hours: 2.0,
            pickup_hours: 0.25,
        }
    }
}
