//! Plans against every plan there is, and against their own conditions.

use forecare_domain::{DepotName, PartNumber, Place, Priority, TicketId, Timestamp};
use proptest::prelude::*;

use super::model::Model;
use super::random::Random;
use super::route::Route;
use super::*;

/// Monday, 07:00.
fn now() -> Timestamp {
    "2026-03-02T07:00:00Z".parse().unwrap()
}

fn at(hours: f64) -> Timestamp {
    now().plus_hours(hours)
}

fn place(latitude_deg: f64, longitude_deg: f64) -> Place {
    Place {
        latitude_deg,
        longitude_deg,
    }
}

fn depot() -> DepotName {
    DepotName::new("north").unwrap()
}

fn part(name: &str) -> PartNumber {
    PartNumber::new(name).unwrap()
}

fn job(id: i64, east_deg: f64) -> Job {
    Job {
        ticket: TicketId(id),
        place: Some(place(47.0, 8.0 + east_deg)),
        site: String::new(),
        depot: Some(depot()),
        region: None,
        customer: None,
        work_hours: 2.0,
        skills: vec!["mechanic".to_owned()],
        certificates: Vec::new(),
        parts: Vec::new(),
        earliest_at: now(),
        visiting: Vec::new(),
        due_at: at(48.0),
        waiting_cost_per_hour: 10.0,
        lateness_cost_per_hour: 100.0,
        preferred: Vec::new(),
        excluded: Vec::new(),
        only: None,
        fixed: None,
    }
}

/// At work from 08:00 to 17:00 on five days.
fn worker(name: &str, east_deg: f64) -> Worker {
    Worker {
        name: name.to_owned(),
        home: Some(place(47.0, 8.0 + east_deg)),
        depot: Some(depot()),
        skills: vec!["mechanic".to_owned()],
        certificates: Vec::new(),
        regions: Vec::new(),
        excluded_customers: Vec::new(),
        shifts: (0..5)
            .map(|d| {
                (
                    at(1.0 + 24.0 * f64::from(d)),
                    at(10.0 + 24.0 * f64::from(d)),
                )
            })
            .collect(),
        planned_hours: 0.0,
        van: Vec::new(),
    }
}

fn problem(jobs: Vec<Job>, technicians: Vec<Worker>) -> DispatchProblem {
    DispatchProblem {
        now: now(),
        rounds: default_rounds(jobs.len()),
        jobs,
        technicians,
        depots: vec![(depot(), place(47.0, 8.0))],
        weights: DispatchWeights::default(),
    }
}

fn who(plan: &DispatchPlan, job: usize) -> Option<&str> {
    plan.proposals[job]
        .assigned
        .as_ref()
        .map(|a| a.technician.as_str())
}

fn start(plan: &DispatchPlan, job: usize) -> Timestamp {
    plan.proposals[job].assigned.as_ref().unwrap().start_at
}

#[test]
fn the_nearer_goes_unless_overloaded() {
    let jobs = vec![job(1, 0.1)];
    let near = worker("Near", 0.1);
    let far = worker("Far", 0.9);
    let p = plan(&problem(jobs.clone(), vec![far.clone(), near.clone()]));
    assert_eq!(who(&p, 0), Some("Near"));
    assert_eq!(start(&p, 0), at(1.0), "at the door when the shift begins");
    let other = &p.proposals[0].candidates[0];
    assert_eq!(other.technician, "Far");
    assert!(
        other.cost.travel > 0.0 && p.proposals[0].assigned.as_ref().unwrap().cost.travel < 1e-6
    );
    let loaded = Worker {
        planned_hours: 200.0,
        ..near
    };
    assert_eq!(
        who(&plan(&problem(jobs, vec![far, loaded])), 0),
        Some("Far")
    );
}

#[test]
fn whoever_may_not_is_rejected_with_the_reason() {
    let mut j = job(1, 0.1);
    j.certificates = vec!["high voltage".to_owned()];
    j.region = Some("west".to_owned());
    j.customer = Some("acme".to_owned());
    j.excluded = vec!["Unwanted".to_owned()];
    let good = |name: &str| Worker {
        certificates: vec![Certificate {
            name: "high voltage".to_owned(),
            valid_until: None,
        }],
        ..worker(name, 0.1)
    };
    let cases = vec![
        good("Good"),
        Worker {
            skills: Vec::new(),
            ..good("Unskilled")
        },
        worker("Uncertified", 0.1),
        Worker {
            certificates: vec![Certificate {
                name: "high voltage".to_owned(),
                valid_until: Some(at(1.5)),
            }],
            ..worker("Expired", 0.1)
        },
        Worker {
            regions: vec!["east".to_owned()],
            ..good("Eastern")
        },
        Worker {
            excluded_customers: vec!["acme".to_owned()],
            ..good("Kept")
        },
        good("Unwanted"),
        Worker {
            shifts: Vec::new(),
            ..good("Absent")
        },
    ];
    let p = plan(&problem(vec![j], cases));
    assert_eq!(who(&p, 0), Some("Good"));
    let rejected = &p.proposals[0].rejected;
    assert_eq!(p.proposals[0].n_rejected, 7);
    for (name, expected) in [
        ("Unskilled", "lacks the skill mechanic"),
        ("Uncertified", "lacks the certificate high voltage"),
        (
            "Expired",
            "not valid long enough (until 2026-03-02T08:30:00Z)",
        ),
        ("Eastern", "does not work in the region west"),
        ("Kept", "is kept away from this customer"),
        ("Unwanted", "is not wanted by the customer"),
        ("Absent", "has no shift"),
    ] {
        let why = &rejected.iter().find(|r| r.technician == name).unwrap().why;
        assert!(why.contains(expected), "{name}: {why}");
    }
}

#[test]
fn a_certificate_counts_on_the_day() {
    let mut early = job(1, 0.0);
    early.certificates = vec!["crane".to_owned()];
    // Busy until Tuesday by an appointment of nine hours; the certificate ends on Monday evening.
    let mut busy = job(2, 0.0);
    busy.work_hours = 9.0;
    busy.fixed = Some(FixedStart {
        technician: "Ada".to_owned(),
        start_at: at(1.0),
    });
    let ada = |until| Worker {
        certificates: vec![Certificate {
            name: "crane".to_owned(),
            valid_until: Some(at(until)),
        }],
        ..worker("Ada", 0.0)
    };
    let p = plan(&problem(vec![early.clone(), busy.clone()], vec![ada(12.0)]));
    assert_eq!(who(&p, 0), None);
    assert!(
        p.proposals[0].why.contains("certificate"),
        "{}",
        p.proposals[0].why
    );
    let p = plan(&problem(vec![early, busy], vec![ada(48.0)]));
    assert_eq!(start(&p, 0), at(25.0));
}

#[test]
fn a_planners_decision_is_kept_and_its_flaws_are_told() {
    let mut fixed = job(1, 0.9);
    fixed.skills = vec!["diving".to_owned()];
    fixed.fixed = Some(FixedStart {
        technician: "Ada".to_owned(),
        start_at: at(14.0),
    });
    let p = plan(&problem(
        vec![fixed, job(2, 0.0)],
        vec![worker("Ada", 0.0), worker("Ben", 0.0)],
    ));
    assert_eq!((who(&p, 0), start(&p, 0)), (Some("Ada"), at(14.0)));
    let why = &p.proposals[0].why;
    assert!(
        why.contains("lacks the skill diving") && why.contains("outside the technician's shifts"),
        "{why}"
    );
    let mut unknown = job(1, 0.0);
    unknown.fixed = Some(FixedStart {
        technician: "Zoe".to_owned(),
        start_at: at(2.0),
    });
    let p = plan(&problem(vec![unknown], vec![worker("Ada", 0.0)]));
    assert_eq!(who(&p, 0), None);
    assert!(p.proposals[0].why.contains("Zoe"));
}

#[test]
fn whoever_is_chosen_without_what_it_takes_is_planned_and_that_is_told() {
    let mut j = job(1, 0.0);
    j.certificates = vec!["pressure".to_owned()];
    j.only = Some("Bo".to_owned());
    let over = Certificate {
        name: "pressure".to_owned(),
        valid_until: Some(at(-24.0)),
    };
    let bo = Worker {
        certificates: vec![over],
        ..worker("Bo", 0.0)
    };
    assert_eq!(
        missing(&bo, &["diving".to_owned()], &j.certificates, at(2.0)),
        [
            "lacks the skill diving",
            "pressure certificate ended 2026-03-01"
        ]
    );
    let p = plan(&problem(
        vec![j.clone()],
        vec![worker("Ada", 0.0), bo.clone()],
    ));
    assert_eq!(who(&p, 0), Some("Bo"));
    assert!(p.proposals[0].why.contains("the certificate pressure"));
    // Whoever is chosen and has no time is named, not who was not chosen.
    let away = Worker {
        shifts: Vec::new(),
        ..bo
    };
    let p = plan(&problem(vec![j], vec![worker("Ada", 0.0), away]));
    assert_eq!(
        p.proposals[0].why,
        "Bo is chosen for it, but: has no shift before the planning horizon ends"
    );
}

#[test]
fn nobody_is_sent_outside_the_hours_of_visits() {
    let always = Worker {
        shifts: vec![(at(0.0), at(120.0))],
        ..worker("Ada", 0.0)
    };
    let office: Vec<_> = (0..5)
        .map(|d| at(1.0 + 24.0 * f64::from(d)))
        .map(|open| (open, open.plus_hours(9.0)))
        .collect();
    let jobs: Vec<Job> = (0..12)
        .map(|id| Job {
            visiting: office.clone(),
            ..job(id, 0.1)
        })
        .collect();
    let p = plan(&problem(jobs.clone(), vec![always.clone()]));
    for proposal in &p.proposals {
        let visit = proposal.assigned.as_ref().unwrap();
        let within = |(open, close): &(Timestamp, Timestamp)| {
            *open <= visit.start_at && visit.end_at <= close.plus_hours(1e-5)
        };
        assert!(office.iter().any(within), "{visit:?}");
    }
    // What is longer than a day begins when somebody may come.
    let long = Job {
        work_hours: 20.0,
        earliest_at: at(11.0),
        ..jobs[0].clone()
    };
    let p = plan(&problem(vec![long], vec![always]));
    assert_eq!(start(&p, 0), at(25.0));
}

#[test]
fn appointments_that_collide_are_kept_and_told() {
    let fix = |id, hours| {
        let mut j = job(id, 0.0);
        j.fixed = Some(FixedStart {
            technician: "Ada".to_owned(),
            start_at: at(hours),
        });
        j
    };
    let p = plan(&problem(
        vec![fix(1, 2.0), fix(2, 3.0), job(3, 0.0)],
        vec![worker("Ada", 0.0)],
    ));
    assert_eq!((start(&p, 0), start(&p, 1)), (at(2.0), at(3.0)));
    assert!(
        p.proposals[1].why.contains("1.0 h later only"),
        "{}",
        p.proposals[1].why
    );
    assert_eq!(start(&p, 2), at(5.0), "the free job goes around them");
}

#[test]
fn who_has_the_part_in_the_van_goes_at_once() {
    let mut j = job(1, 0.1);
    j.parts = vec![JobPart {
        part: part("BRG-1"),
        quantity: 2,
        available_at: at(30.0),
    }];
    let van = Worker {
        van: vec![(part("BRG-1"), 2)],
        ..worker("Van", 0.6)
    };
    let p = plan(&problem(vec![j.clone()], vec![worker("Empty", 0.1), van]));
    assert_eq!(who(&p, 0), Some("Van"));
    assert!(start(&p, 0) < at(8.0));
    // Without the van one waits for the part, and fetches it.
    let p = plan(&problem(vec![j.clone()], vec![worker("Empty", 0.1)]));
    assert!(start(&p, 0) > at(30.25));
    assert!(p.proposals[0].assigned.as_ref().unwrap().cost.parts > 0.0);
    // A van is emptied once.
    let van = Worker {
        van: vec![(part("BRG-1"), 3)],
        ..worker("Van", 0.1)
    };
    let p = plan(&problem(
        vec![
            j.clone(),
            Job {
                ticket: TicketId(2),
                ..j
            },
        ],
        vec![van],
    ));
    let mut starts = [start(&p, 0), start(&p, 1)];
    starts.sort();
    assert!(starts[0] < at(8.0) && starts[1] > at(30.0), "{starts:?}");
}

#[test]
fn work_longer_than_a_shift_goes_on_the_next_day() {
    let mut long = job(1, 0.0);
    long.work_hours = 20.0;
    let p = plan(&problem(vec![long, job(2, 0.0)], vec![worker("Ada", 0.0)]));
    let ends: Vec<Timestamp> = (0..2)
        .map(|j| p.proposals[j].assigned.as_ref().unwrap().end_at)
        .collect();
    // 22 hours of work are two shifts and four hours, in either order.
    assert_eq!(ends.iter().max(), Some(&at(53.0)));
}

#[test]
fn a_way_that_leaves_no_time_for_the_work_makes_it_two_days() {
    // Five hours there; with six hours of work no shift of nine is long enough.
    let mut far = job(1, 3.0);
    far.work_hours = 6.0;
    let p = plan(&problem(vec![far], vec![worker("Ada", 0.0)]));
    let assigned = p.proposals[0].assigned.as_ref().unwrap();
    assert!(assigned.start_at < at(10.0) && assigned.end_at > at(25.0));
}

#[test]
fn the_urgent_goes_first_and_the_preferred_where_it_does_not_cost_much() {
    let mut urgent = job(2, 0.0);
    urgent.waiting_cost_per_hour = 500.0;
    let p = plan(&problem(
        vec![job(1, 0.0), urgent],
        vec![worker("Ada", 0.0)],
    ));
    assert!(start(&p, 1) < start(&p, 0));
    let mut wished = job(1, 0.0);
    wished.preferred = vec!["Ben".to_owned()];
    let p = plan(&problem(
        vec![wished],
        vec![worker("Ada", 0.0), worker("Ben", 0.05)],
    ));
    assert_eq!(who(&p, 0), Some("Ben"));
}

#[test]
fn without_coordinates_the_depot_decides() {
    let nowhere = |j: Job| Job { place: None, ..j };
    let homeless = |name: &str, depot: &str| Worker {
        home: None,
        depot: Some(DepotName::new(depot).unwrap()),
        ..worker(name, 0.0)
    };
    let p = plan(&problem(
        vec![nowhere(job(1, 0.0))],
        vec![homeless("Away", "south"), homeless("Here", "north")],
    ));
    assert_eq!(who(&p, 0), Some("Here"));
    // Two jobs on one site: no way between them.
    let site = |id| Job {
        site: "plant".to_owned(),
        ..nowhere(job(id, 0.0))
    };
    let p = plan(&problem(
        vec![site(1), site(2)],
        vec![homeless("Here", "north")],
    ));
    let mut starts = [start(&p, 0), start(&p, 1)];
    starts.sort();
    assert_eq!(starts[1].hours_since(starts[0]), 2.0);
}

#[test]
fn nothing_to_do_and_nobody_to_do_it_are_fine() {
    assert!(
        plan(&problem(Vec::new(), vec![worker("Ada", 0.0)]))
            .proposals
            .is_empty()
    );
    let p = plan(&problem(vec![job(1, 0.0)], Vec::new()));
    assert_eq!(p.proposals[0].why, "there are no technicians");
    let p = plan(&problem(
        vec![job(1, 0.0)],
        vec![Worker {
            skills: Vec::new(),
            ..worker("Ada", 0.0)
        }],
    ));
    assert_eq!(p.proposals[0].why, "nobody can: lacks the skill mechanic");
}

#[test]
fn of_too_many_the_dearest_are_planned() {
    let mut jobs: Vec<Job> = (0..i64::try_from(JOBS_MAX).unwrap() + 2)
        .map(|id| job(id, 0.1))
        .collect();
    jobs[0].waiting_cost_per_hour = 0.0;
    jobs[1].waiting_cost_per_hour = 0.0;
    let p = plan(&DispatchProblem {
        rounds: 0,
        ..problem(jobs, vec![worker("Ada", 0.0)])
    });
    assert!(
        p.proposals[0].why.contains("2000 are planned at once"),
        "{}",
        p.proposals[0].why
    );
    assert_eq!(p.proposals.len(), JOBS_MAX + 2);
}

/// A problem of the kind that the desk has: a region of some 100 km, a week, skills that not all have.
fn random_problem(seed: u64, n_jobs: usize, n_workers: usize) -> DispatchProblem {
    let mut r = Random::new(seed);
    let spot = |r: &mut Random| place(47.0 + r.unit() * 0.8, 8.0 + r.unit() * 1.2);
    let technicians = (0..n_workers)
        .map(|w| {
            let mut who = worker(&format!("T{w}"), 0.0);
            who.home = Some(spot(&mut r));
            if r.one_in(2) {
                who.skills.push("electrics".to_owned());
            }
            if r.one_in(2) {
                let hours = 6.0 + 60.0 * r.unit();
                who.certificates.push(Certificate {
                    name: "crane".to_owned(),
                    valid_until: Some(at(hours)),
                });
            }
            if r.one_in(2) {
                who.van.push((part("BRG-1"), 1));
            }
            who.shifts.truncate(1 + r.below(3));
            who
        })
        .collect();
    let jobs = (0..n_jobs)
        .map(|id| {
            let mut j = job(i64::try_from(id).unwrap(), 0.0);
            j.place = Some(spot(&mut r));
            j.work_hours = if r.one_in(12) {
                12.0
            } else {
                1.0 + 4.0 * r.unit()
            };
            j.due_at = at(4.0 + 60.0 * r.unit());
            j.waiting_cost_per_hour = 80.0 * r.unit().powi(3);
            if r.one_in(3) {
                j.skills.push("electrics".to_owned());
            }
            if r.one_in(5) {
                j.certificates.push("crane".to_owned());
            }
            if r.one_in(3) {
                let ready = 40.0 * r.unit();
                j.parts.push(JobPart {
                    part: part("BRG-1"),
                    quantity: 1,
                    available_at: at(ready),
                });
            }
            if r.one_in(4) {
                j.preferred = vec![format!("T{}", r.below(n_workers))];
            }
            if r.one_in(6) {
                j.excluded = vec![format!("T{}", r.below(n_workers))];
            }
            if r.one_in(6) {
                j.earliest_at = at(30.0 * r.unit());
            }
            if r.one_in(8) {
                let start_at = at(2.0 + 20.0 * r.unit());
                j.fixed = Some(FixedStart {
                    technician: format!("T{}", r.below(n_workers)),
                    start_at,
                });
            }
            j
        })
        .collect();
    problem(jobs, technicians)
}

/// The cheapest of all plans.
fn optimum(problem: &DispatchProblem) -> f64 {
    let model = Model::new(problem, problem.technicians.len());
    let free: Vec<usize> = (0..model.jobs.len())
        .filter(|j| model.jobs[*j].fixed.is_none())
        .collect();
    let mut orders: Vec<Vec<usize>> = (0..model.workers.len())
        .map(|w| Route::new(&model, w).jobs)
        .collect();
    let mut best = f64::INFINITY;
    every_plan(&model, &free, &mut orders, 0.0, &mut best);
    best
}

fn every_plan(
    model: &Model<'_>,
    free: &[usize],
    orders: &mut Vec<Vec<usize>>,
    left: f64,
    best: &mut f64,
) {
    let Some((job, rest)) = free.split_first() else {
        let mut cost = left;
        for (worker, order) in orders.iter().enumerate() {
            match Route::in_order(model, worker, order) {
                Some(route) => cost += route.cost,
                None => return,
            }
        }
        *best = best.min(cost);
        return;
    };
    every_plan(model, rest, orders, left + model.jobs[*job].leaving, best);
    for worker in 0..orders.len() {
        if model.pair(worker, *job).barred.is_some() {
            continue;
        }
        for position in 0..=orders[worker].len() {
            orders[worker].insert(position, *job);
            every_plan(model, rest, orders, left, best);
            orders[worker].remove(position);
        }
    }
}

#[test]
fn small_plans_are_as_good_as_the_best_of_all() {
    let mut gaps = Vec::new();
    for seed in 0..60 {
        let p = random_problem(seed, 3 + usize::try_from(seed % 3).unwrap(), 2);
        let best = optimum(&p);
        let ours = plan(&p).cost;
        assert!(
            ours >= best - 1e-6 * best.abs(),
            "seed {seed}: {ours} is below the optimum {best}"
        );
        gaps.push(ours / best - 1.0);
    }
    for seed in 100..106 {
        let p = random_problem(seed, 6, 3);
        gaps.push(plan(&p).cost / optimum(&p) - 1.0);
    }
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let worst = gaps.iter().copied().fold(0.0, f64::max);
    println!(
        "gap to the optimum: mean {:.4} %, worst {:.4} %",
        100.0 * mean,
        100.0 * worst
    );
    assert!(mean <= 0.005 && worst <= 0.1, "mean {mean}, worst {worst}");
}

#[test]
fn improvement_pays_beyond_the_first_insertion() {
    let (mut first, mut improved) = (0.0, 0.0);
    for seed in 0..5 {
        let p = random_problem(seed, 40, 8);
        first += plan(&DispatchProblem {
            rounds: 0,
            ..p.clone()
        })
        .cost;
        improved += plan(&p).cost;
    }
    println!(
        "improvement over the insertion: {:.2} %",
        100.0 * (1.0 - improved / first)
    );
    assert!(improved < first);
}

/// Great-circle hours by the haversine formula as it is usually written.
fn way(a: Place, b: Place, weights: &DispatchWeights) -> f64 {
    let (la, lb) = (a.latitude_deg.to_radians(), b.latitude_deg.to_radians());
    let dlon = (a.longitude_deg - b.longitude_deg).to_radians();
    let h = ((la - lb) / 2.0).sin().powi(2) + la.cos() * lb.cos() * (dlon / 2.0).sin().powi(2);
    2.0 * 6_371.009 * h.sqrt().asin() * weights.road_factor / weights.speed_km_per_hour
}

/// Everything that a plan must keep, from its proposals alone.
fn check(problem: &DispatchProblem, plan: &DispatchPlan) {
    const SLACK: f64 = 1e-5;
    for worker in &problem.technicians {
        let mut day: Vec<(&Job, &forecare_domain::DispatchCandidate)> = problem
            .jobs
            .iter()
            .zip(&plan.proposals)
            .filter_map(|(j, p)| {
                Some((
                    j,
                    p.assigned
                        .as_ref()
                        .filter(|a| a.technician == worker.name)?,
                ))
            })
            .collect();
        day.sort_by_key(|(j, a)| (a.start_at, j.ticket.0));
        for (j, a) in &day {
            if let Some(fixed) = &j.fixed {
                assert_eq!(
                    (&fixed.technician, fixed.start_at),
                    (&worker.name, a.start_at)
                );
                continue;
            }
            assert!(j.skills.iter().all(|s| worker.skills.contains(s)));
            assert!(!j.excluded.contains(&worker.name));
            for needed in &j.certificates {
                assert!(worker.certificates.iter().any(|c| {
                    &c.name == needed
                        && c.valid_until
                            .is_none_or(|until| until.plus_hours(SLACK) >= a.end_at)
                }));
            }
            assert!(a.start_at >= j.earliest_at.max(problem.now));
            let length = a.end_at.hours_since(a.start_at);
            let shift = worker
                .shifts
                .iter()
                .find(|(o, c)| *o <= a.start_at && a.start_at < *c)
                .unwrap();
            // What fits no shift with its way goes over days; how far the part is fetched is not told.
            let way_home = way(worker.home.unwrap(), j.place.unwrap(), &problem.weights);
            if (length - j.work_hours).abs() < SLACK {
                assert!(a.end_at <= shift.1.plus_hours(SLACK));
            } else {
                assert!(length > j.work_hours);
                assert!(!j.parts.is_empty() || way_home + j.work_hours > 9.0 - SLACK);
                assert!(
                    worker
                        .shifts
                        .iter()
                        .any(|(o, c)| *o <= a.end_at && a.end_at <= c.plus_hours(SLACK))
                );
            }
            let is_first = day
                .iter()
                .all(|(_, b)| b.start_at >= a.start_at || b.end_at <= shift.0);
            if is_first {
                assert!(a.start_at.hours_since(shift.0.max(problem.now)) >= way_home - SLACK);
            }
            let has_part = worker.van.iter().any(|(_, n)| *n > 0);
            if !has_part {
                assert!(j.parts.iter().all(|p| a.start_at >= p.available_at));
            }
        }
        for pair in day.windows(2) {
            let [(before, done), (after, next)] = pair else {
                unreachable!()
            };
            if after.fixed.is_some() {
                // The free job before an appointment must leave time for the way; two appointments may collide.
                if before.fixed.is_some() {
                    continue;
                }
            }
            assert!(
                next.start_at.plus_hours(SLACK) >= done.end_at,
                "two at once"
            );
            let same_shift = worker
                .shifts
                .iter()
                .any(|(o, c)| *o < done.end_at && next.start_at < *c);
            if same_shift {
                let hours = way(
                    before.place.unwrap(),
                    after.place.unwrap(),
                    &problem.weights,
                );
                let gap = next.start_at.hours_since(done.end_at);
                assert!(gap >= hours - SLACK, "{gap} h for a way of {hours} h");
            }
        }
        let from_van = day
            .iter()
            .filter(|(j, a)| {
                j.fixed.is_none() && j.parts.iter().any(|p| a.start_at < p.available_at)
            })
            .count();
        let held: u32 = worker.van.iter().map(|(_, n)| n).sum();
        assert!(from_van <= usize::try_from(held).unwrap());
    }
    for (j, p) in problem.jobs.iter().zip(&plan.proposals) {
        assert!(p.candidates.len() <= 5 && p.rejected.len() <= 8);
        assert!(p.assigned.is_some() || !p.why.is_empty());
        assert!(
            p.candidates
                .windows(2)
                .all(|w| w[0].cost.total() <= w[1].cost.total())
        );
        if j.fixed.is_none()
            && let Some(assigned) = &p.assigned
        {
            assert!(p.why.is_empty());
            assert!(
                p.candidates
                    .iter()
                    .all(|c| c.technician != assigned.technician)
            );
            assert!(
                p.rejected
                    .iter()
                    .all(|r| r.technician != assigned.technician)
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn no_plan_breaks_a_hard_condition(seed in any::<u64>(), n_jobs in 0..45_usize, n_workers in 1..9_usize) {
        let p = DispatchProblem { rounds: 300, ..random_problem(seed, n_jobs, n_workers) };
        let planned = plan(&p);
        check(&p, &planned);
        prop_assert_eq!(plan(&p), planned, "the same problem gives the same plan");
    }

    #[test]
    fn of_tickets_that_differ_in_priority_only_the_more_urgent_comes_first(
        seed in any::<u64>(),
        n_others in 0..20_usize,
        n_workers in 1..4_usize,
        priorities in prop::collection::vec(0..4_usize, 2..12),
    ) {
        let order = [Priority::P1, Priority::P2, Priority::P3, Priority::P4];
        let mut p = DispatchProblem { rounds: 300, ..random_problem(seed, n_others, n_workers) };
        let twins: Vec<usize> = (p.jobs.len()..p.jobs.len() + priorities.len()).collect();
        for (i, priority) in priorities.iter().enumerate() {
            let cost = delay_cost(order[*priority], None, 400.0);
            p.jobs.push(Job {
                waiting_cost_per_hour: cost.waiting_per_hour,
                lateness_cost_per_hour: cost.lateness_per_hour,
                ..job(1_000 + i as i64, 0.2)
            });
        }
        let planned = plan(&p);
        for a in &twins {
            for b in &twins {
                let more_urgent = p.jobs[*a].waiting_cost_per_hour > p.jobs[*b].waiting_cost_per_hour;
                if more_urgent && who(&planned, *a).is_some() && who(&planned, *a) == who(&planned, *b) {
                    prop_assert!(start(&planned, *a) < start(&planned, *b));
                }
            }
        }
    }
}

#[test]
fn an_urgent_job_that_is_late_goes_before_one_that_has_weeks() {
    let of = |id, priority, due| {
        let cost = delay_cost(priority, None, 400.0);
        Job {
            due_at: at(due),
            waiting_cost_per_hour: cost.waiting_per_hour,
            lateness_cost_per_hour: cost.lateness_per_hour,
            ..job(id, 0.3)
        }
    };
    let installation = Job {
        work_hours: 8.0,
        ..of(1, Priority::P4, 900.0)
    };
    let p = problem(
        vec![
            installation,
            of(2, Priority::P3, 600.0),
            of(3, Priority::P1, -2.0),
        ],
        vec![worker("Ada", 0.1)],
    );
    let planned = plan(&p);
    assert!(start(&planned, 2) < start(&planned, 1));
    assert!(start(&planned, 2) < start(&planned, 0));
    assert_eq!(
        start(&planned, 2).hours_since(at(1.0)).floor(),
        0.0,
        "at once"
    );
}

#[test]
fn slots_leave_the_plan_as_it_is() {
    // Ada is at another place from 08:00 to 12:00 on Monday; Ben has no shift before Tuesday.
    let mut other = job(1, 0.1);
    other.work_hours = 4.0;
    other.fixed = Some(FixedStart {
        technician: "Ada".to_owned(),
        start_at: at(1.0),
    });
    let mut unplanned = job(3, 0.1);
    unplanned.work_hours = 9.0;
    let ben = Worker {
        shifts: vec![(at(25.0), at(34.0))],
        ..worker("Ben", 0.5)
    };
    let p = problem(
        vec![other, job(2, 0.1), unplanned],
        vec![worker("Ada", 0.1), ben],
    );
    let windows = [
        (at(1.0), at(4.0)),
        (at(5.0), at(9.0)),
        (at(14.0), at(18.0)),
        (at(25.0), at(29.0)),
    ];
    let found = slots(&p, TicketId(2), &windows);
    let seen: Vec<(Timestamp, &str, Timestamp)> = found
        .iter()
        .map(|s| (s.from, s.visit.technician.as_str(), s.visit.start_at))
        .collect();
    assert_eq!(
        seen,
        [
            (at(5.0), "Ada", at(5.0)),
            // At night nobody works, and the nearer of both is the cheaper.
            (at(25.0), "Ada", at(25.0)),
        ]
    );
    assert!(slots(&p, TicketId(9), &windows).is_empty());
}

#[test]
fn a_slot_waits_for_the_parts() {
    let mut own = job(1, 0.1);
    own.parts = vec![JobPart {
        part: part("BRG-1"),
        quantity: 1,
        available_at: at(20.0),
    }];
    let p = problem(vec![own], vec![worker("Ada", 0.1)]);
    let windows = [(at(2.0), at(5.0)), (at(25.0), at(29.0))];
    let found = slots(&p, TicketId(1), &windows);
    assert_eq!(found.len(), 1);
    assert!(found[0].from == at(25.0) && found[0].visit.start_at >= at(25.0));
}
