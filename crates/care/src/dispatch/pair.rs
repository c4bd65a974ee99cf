//! What holds between one technician and one job, whatever the time.

use forecare_domain::{PartNumber, Timestamp};

use super::problem::{DispatchProblem, Job, Worker};

/// Kinds of parts of one van that jobs are served from; of more, those that come later are fetched.
pub(super) const VAN_KINDS: usize = 16;

/// One worker with one job. Small: a search looks at them all the time.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    /// `None`: may do it.
    pub(super) barred: Option<Box<Barred>>,
    /// What speaks against whoever a person has chosen: their word stands.
    pub(super) despite: Option<Box<Barred>>,
    /// The certificates needed are valid until then.
    pub(super) until: f64,
    /// False: the customer prefers others.
    pub(super) welcome: bool,
    /// What the job takes of the van's kinds; `None`: the van does not hold all of it.
    pub(super) from_van: Option<Box<[u8; VAN_KINDS]>>,
}

/// Why somebody may not do a job, whatever the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Barred {
    Skill(String),
    Certificate(String),
    /// Runs out before anybody could be there.
    CertificateOver(String, Timestamp),
    Region(String),
    Customer,
    ByCustomer,
    NoShift,
    NotChosen(String),
}

impl Pair {
    pub(super) fn new(worker: &Worker, kinds: &[&PartNumber], job: &Job, now: Timestamp) -> Self {
        let mut until = f64::INFINITY;
        let mut barred = None;
        for needed in &job.certificates {
            match worker
                .certificates
                .iter()
                .filter(|c| &c.name == needed)
                .map(|c| c.valid_until)
                .max_by_key(
                    // Without end is the longest.
                    |until| until.map_or((1, now), |at| (0, at)),
                ) {
                None => barred = barred.or_else(|| Some(Barred::Certificate(needed.clone()))),
                Some(Some(at)) => {
                    let hours = at.hours_since(now);
                    until = until.min(hours);
                    if hours < job.work_hours {
                        barred =
                            barred.or_else(|| Some(Barred::CertificateOver(needed.clone(), at)));
                    }
                }
                Some(None) => {}
            }
        }
        if let Some(skill) = job.skills.iter().find(|s| !worker.skills.contains(s)) {
            barred = Some(Barred::Skill(skill.clone()));
        } else if let Some(only) = job.only.as_ref().filter(|only| **only != worker.name) {
            barred = Some(Barred::NotChosen(only.clone()));
        } else if job.excluded.contains(&worker.name) {
            barred = Some(Barred::ByCustomer);
        } else if job
            .customer
            .as_ref()
            .is_some_and(|c| worker.excluded_customers.contains(c))
        {
            barred = Some(Barred::Customer);
        } else if let Some(region) = &job.region
            && !worker.regions.is_empty()
            && !worker.regions.contains(region)
        {
            barred = Some(Barred::Region(region.clone()));
        } else if !worker.shifts.iter().any(|(_, close)| *close > now) {
            barred = Some(Barred::NoShift);
        }
        let is_chosen = job.only.as_ref() == Some(&worker.name);
        let mut despite = None;
        if is_chosen && barred.as_ref().is_some_and(|b| *b != Barred::NoShift) {
            despite = barred.take();
            until = f64::INFINITY;
        }
        Self {
            barred: barred.map(Box::new),
            despite: despite.map(Box::new),
            until,
            welcome: job.preferred.is_empty() || job.preferred.contains(&worker.name),
            from_van: from_van(worker, kinds, job).map(Box::new),
        }
    }
}

/// What `worker` has not that work until `end` asks for, each in words: skills, and certificates that are valid then.
#[must_use]
pub fn missing(
    worker: &Worker,
    skills: &[String],
    certificates: &[String],
    end: Timestamp,
) -> Vec<String> {
    let lacking = skills.iter().filter(|s| !worker.skills.contains(s));
    let mut missing: Vec<String> = lacking.map(|s| format!("lacks the skill {s}")).collect();
    for needed in certificates {
        let held = worker.certificates.iter().filter(|c| c.name == *needed);
        let held: Vec<Option<Timestamp>> = held.map(|c| c.valid_until).collect();
        if held.iter().any(|until| until.is_none_or(|at| at >= end)) {
            continue;
        }
        missing.push(match held.into_iter().flatten().max() {
            Some(at) => format!("{needed} certificate ended {}", day(at)),
            None => format!("lacks the certificate {needed}"),
        });
    }
    missing
}

/// The day in UTC.
fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

/// Kinds of parts in the van that some job takes.
pub(super) fn van_kinds<'a>(worker: &'a Worker, problem: &DispatchProblem) -> Vec<&'a PartNumber> {
    let mut kinds: Vec<&PartNumber> = worker
        .van
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(part, _)| part)
        .filter(|part| {
            problem
                .jobs
                .iter()
                .any(|job| job.parts.iter().any(|p| p.part == **part))
        })
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds.truncate(VAN_KINDS);
    kinds
}

fn small(n: u32) -> u8 {
    u8::try_from(n).unwrap_or(u8::MAX)
}

pub(super) fn van_counts(worker: &Worker, kinds: &[&PartNumber]) -> [u8; VAN_KINDS] {
    let mut counts = [0; VAN_KINDS];
    for (part, n) in &worker.van {
        if let Some(i) = kinds.iter().position(|k| *k == part) {
            let count: &mut u8 = &mut counts[i];
            *count = count.saturating_add(small(*n));
        }
    }
    counts
}

fn from_van(worker: &Worker, kinds: &[&PartNumber], job: &Job) -> Option<[u8; VAN_KINDS]> {
    let held = van_counts(worker, kinds);
    let mut taken = [0_u8; VAN_KINDS];
    for need in &job.parts {
        let i = kinds.iter().position(|k| **k == need.part)?;
        taken[i] = taken[i].checked_add(u8::try_from(need.quantity).ok()?)?;
    }
    (!job.parts.is_empty() && taken.iter().zip(held).all(|(t, h)| *t <= h)).then_some(taken)
}
