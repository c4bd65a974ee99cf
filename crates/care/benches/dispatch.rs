//! Seconds for a plan, by size: `cargo bench -p forecare-care`. `-- 1000 200 30 3000` for 30 problems of one size in
//! 3,000 rounds each.

use std::hint::black_box;
use std::time::Instant;

use forecare_care::dispatch::{
    DispatchProblem, DispatchWeights, FixedStart, Job, JobPart, Worker, default_rounds, plan,
};
use forecare_domain::{DepotName, PartNumber, Place, TicketId, Timestamp};

/// Monday, 07:00.
const NOW_MS: i64 = 1_772_434_800_000;
const SIZES: [(u32, u32, u32); 4] = [(10, 5, 30), (100, 20, 30), (300, 60, 20), (1_000, 200, 30)];

fn main() {
    let numbers: Vec<u32> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let sizes = match numbers.as_slice() {
        [jobs, workers, n, ..] => vec![(*jobs, *workers, *n)],
        _ => SIZES.to_vec(),
    };
    println!(
        "tickets x technicians: seconds p50, p99 (= worst of n), undone, cost after insertion, after all rounds"
    );
    for (n_jobs, n_workers, n_problems) in sizes {
        let mut seconds = Vec::new();
        let (mut undone, mut first, mut last) = (0, 0.0, 0.0);
        for seed in 0..n_problems {
            let mut problem = problem(u64::from(seed), n_jobs, n_workers);
            if let Some(rounds) = numbers.get(3) {
                problem.rounds = *rounds;
            }
            let start = Instant::now();
            let planned = black_box(plan(&problem));
            seconds.push(start.elapsed().as_secs_f64());
            undone += planned
                .proposals
                .iter()
                .filter(|p| p.assigned.is_none())
                .count();
            last += planned.cost;
            first += plan(&DispatchProblem {
                rounds: 0,
                ..problem
            })
            .cost;
        }
        seconds.sort_by(f64::total_cmp);
        println!(
            "{n_jobs} x {n_workers}: {:.3} s, {:.3} s of {n_problems}; undone {undone}; {:.0}, {:.0} ({:.1} % less)",
            seconds[seconds.len() / 2],
            seconds[seconds.len() - 1],
            first / f64::from(n_problems),
            last / f64::from(n_problems),
            100.0 * (1.0 - last / first),
        );
    }
}

/// Numbers from a seed, 0 to 1.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    fn spot(&mut self) -> Place {
        // About 300 km by 300 km, denser in the middle.
        Place {
            latitude_deg: 46.0 + 1.4 * (self.unit() + self.unit()),
            longitude_deg: 7.0 + 2.0 * (self.unit() + self.unit()),
        }
    }
}

/// A week of a service organisation: about five jobs a technician, four skills of which everybody has two
/// or three, parts for half of the jobs, one in ten at an appointed time.
fn problem(seed: u64, n_jobs: u32, n_workers: u32) -> DispatchProblem {
    let mut r = Random(seed.wrapping_mul(0x9e37_79b9) + 1);
    let now = Timestamp::from_millis(NOW_MS);
    let depots: Vec<(DepotName, Place)> = ["north", "south", "east"]
        .into_iter()
        .filter_map(|name| Some((DepotName::new(name).ok()?, r.spot())))
        .collect();
    let part = PartNumber::new("BRG-1").ok();
    let technicians: Vec<Worker> = (0..n_workers)
        .map(|w| Worker {
            name: format!("T{w}"),
            home: Some(r.spot()),
            depot: None,
            skills: (0..4)
                .filter(|_| r.chance(0.6))
                .map(|s| format!("skill {s}"))
                .collect(),
            certificates: Vec::new(),
            regions: Vec::new(),
            excluded_customers: Vec::new(),
            shifts: (0..5)
                .map(|d| 24.0 * f64::from(d))
                .map(|h| (now.plus_hours(h + 1.0), now.plus_hours(h + 10.0)))
                .collect(),
            planned_hours: 8.0 * r.unit(),
            van: part
                .clone()
                .filter(|_| r.chance(0.3))
                .map(|p| (p, 2))
                .into_iter()
                .collect(),
        })
        .collect();
    let jobs = (0..n_jobs)
        .map(|id| Job {
            ticket: TicketId(i64::from(id)),
            place: Some(r.spot()),
            site: String::new(),
            depot: depots
                .get(usize::from(r.chance(0.5)) + usize::from(r.chance(0.5)))
                .map(|d| d.0.clone()),
            region: None,
            customer: None,
            work_hours: 1.0 + 5.0 * r.unit(),
            skills: vec![format!(
                "skill {}",
                (0..3).filter(|_| r.chance(0.5)).count()
            )],
            certificates: Vec::new(),
            parts: part
                .clone()
                .filter(|_| r.chance(0.5))
                .map(|part| JobPart {
                    part,
                    quantity: 1,
                    available_at: now.plus_hours(48.0 * r.unit() - 24.0),
                })
                .into_iter()
                .collect(),
            earliest_at: now,
            visiting: Vec::new(),
            due_at: now.plus_hours(6.0 + 110.0 * r.unit()),
            waiting_cost_per_hour: 100.0 * r.unit().powi(3),
            lateness_cost_per_hour: 50.0,
            preferred: Vec::new(),
            excluded: Vec::new(),
            only: None,
            fixed: r.chance(0.1).then(|| FixedStart {
                technician: format!("T{}", id % n_workers.max(1)),
                start_at: now.plus_hours(2.0 + 24.0 * f64::from(id % 5) + 4.0 * r.unit()),
            }),
        })
        .collect();
    DispatchProblem {
        now,
        rounds: default_rounds(usize::try_from(n_jobs).unwrap_or(usize::MAX)),
        jobs,
        technicians,
        depots,
        weights: DispatchWeights::default(),
    }
}
