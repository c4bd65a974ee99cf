//! From counts to report.

use std::collections::BTreeMap;

use forecare_catalogue::{AssetClass, FailureMode};
use forecare_domain::{ClassName, ModeName, Timestamp};

use super::{
    CostReport, CrewReport, CurvePoint, EachFault, FaultReport, IntervalReport, LEAD_CLASSES,
    LeadClass, ModeReport, PartsReport, PolicyReport, TicketReport, TruthReport, VisitReport,
};
use crate::backtest::book::Holdings;
use crate::backtest::interval::{AgeCost, Life, LifeTable, lives};
use crate::backtest::policy::Policy;
use crate::backtest::tally::{CrewTally, Fate, ModeTally, Spent, Tally};
use crate::backtest::truth::{Fault, MENDED_WITHIN_H, Source, Truth};
use crate::backtest::world::Given;

/// Hours of a mean month.
const MONTH_H: f64 = 730.5;
/// Days of a mean year.
const YEAR_DAYS: f64 = 365.25;
/// Points of the curve of costs.
const CURVE_POINTS: i64 = 60;

/// The faults of the period that count, with their fates.
fn counted<'b>(
    given: Given<'b>,
    fates: &'b [Fate],
) -> impl Iterator<Item = (&'b Fault, &'b Fate)> + 'b {
    let period = given.period;
    given
        .truth
        .faults
        .iter()
        .zip(fates)
        .filter(move |(f, _)| period.from <= f.at && f.at < period.to)
        .filter(|(_, fate)| !matches!(fate, Fate::Unseen | Fate::Ahead))
}

impl TruthReport {
    pub(crate) fn of(given: Given<'_>, fates: &[Fate]) -> Self {
        let of = |source: Source| {
            counted(given, fates)
                .filter(|(f, _)| f.source == source)
                .count()
        };
        let truth: &Truth = given.truth;
        Self {
            faults: counted(given, fates).count(),
            left_out_without_readings: fates.iter().filter(|f| **f == Fate::Unseen).count(),
            from_file: of(Source::File),
            from_events: of(Source::Event),
            from_verdicts: of(Source::Verdict),
            complete: truth.complete,
            lines_of_other_devices: truth.n_elsewhere,
            failure_codes_absent: truth.codes_absent.clone(),
        }
    }
}

impl PolicyReport {
    pub(crate) fn of(
        given: Given<'_>,
        policy: &Policy,
        fates: &[Fate],
        tally: &Tally,
        holdings: &Holdings,
        open_at_end: usize,
    ) -> Self {
        let assets = &given.records.assets;
        let class_of = |f: &Fault| policy.catalogue.class(&assets[f.device].class);
        let mode_of = |f: &Fault| class_of(f).and_then(|c| c.mode(&f.mode));
        let mut faults = FaultReport::empty();
        let mut each_fault = Vec::new();
        let mut by_mode: BTreeMap<(ClassName, ModeName), FaultReport> = BTreeMap::new();
        let mut lost: Vec<(Timestamp, f64)> = Vec::new();
        for (fault, fate) in counted(given, fates) {
            let part_lead_hours = mode_of(fault).map_or(0.0, |m| longest_lead(policy, m));
            faults.count(fault, fate, part_lead_hours);
            let key = (assets[fault.device].class.clone(), fault.mode.clone());
            by_mode
                .entry(key)
                .or_default()
                .count(fault, fate, part_lead_hours);
            lost.push((fault.at, mode_of(fault).map_or(0.0, |m| m.cost_of_failure)));
            each_fault.push(EachFault {
                device: assets[fault.device].device.to_string(),
                mode: fault.mode.clone(),
                at: fault.at,
                source: fault.source,
                outcome: outcome(fate),
                lead_hours: fate.lead_hours(fault),
                part_there: part_there(fate),
            });
        }
        let spent = |kind: Spent| -> f64 {
            tally
                .spent
                .iter()
                .filter(|s| s.1 == kind)
                .map(|s| s.4)
                .sum()
        };
        let overtime = tally.crew.overtime_hours * policy.overtime_per_hour;
        let holding = holdings.price_days * policy.holding_share_per_year / YEAR_DAYS;
        let total = spent(Spent::Visit) + spent(Spent::Failure) + overtime + holding;
        let run_to_failure: f64 = lost.iter().map(|(_, cost)| cost).sum();
        let modes = modes(given, policy, tally, &by_mode, fates);
        let interval_given = policy.interval_hours.map(|_| {
            IntervalReport::of(
                modes.iter().filter_map(|m| m.interval_given.as_ref()),
                total,
            )
        });
        let interval_best = IntervalReport::of(modes.iter().map(|m| &m.interval_best), total);
        let mut visits = ModeTally::default();
        for one in tally.modes.values() {
            visits.add(one);
        }
        let device_months =
            given.period.to.hours_since(given.period.from) / MONTH_H * assets.len() as f64;
        let models = policy.models.iter();
        Self {
            name: policy.name.clone(),
            models: models
                .map(|m| (m.class().clone(), m.card().sha256.clone()))
                .collect(),
            faults,
            visits: VisitReport::of(&visits),
            tickets: TicketReport {
                opened: visits.tickets,
                visited: visits.visits(),
                repaired_after_failure: visits.visits_after,
                ended_by_failure: visits.ended_by_failure,
                withdrawn: visits.withdrawn,
                overtaken: visits.overtaken,
                open_at_end,
            },
            alarms: tally.alarms,
            alarms_per_device_month: tally.alarms as f64 / device_months.max(f64::MIN_POSITIVE),
            parts: PartsReport {
                reserved: holdings.reserved,
                back_ordered: holdings.back_ordered,
                soft_part_days: holdings.soft_part_days,
                hard_part_days: holdings.hard_part_days,
                stock_outs_at_failure: tally.stock_outs,
            },
            crew: CrewReport::of(&tally.crew),
            costs: CostReport {
                visits: spent(Spent::Visit),
                failures: spent(Spent::Failure),
                overtime,
                holding,
                total,
                run_to_failure,
                saved_against_run_to_failure: run_to_failure - total,
                interval_given,
                interval_best,
            },
            modes,
            curve: curve(given, tally, &lost),
            each_fault,
        }
    }
}

fn longest_lead(policy: &Policy, mode: &FailureMode) -> f64 {
    let leads = mode
        .parts
        .iter()
        .map(|n| policy.catalogue.lead_time_hours(&n.part));
    leads.fold(0.0, f64::max)
}

fn outcome(fate: &Fate) -> &'static str {
    match fate {
        Fate::Ahead => "ahead",
        Fate::Unseen => "no_readings",
        Fate::Prevented { .. } => "prevented",
        Fate::TooLate { .. } => "too_late",
        Fate::Missed => "missed",
    }
}

fn part_there(fate: &Fate) -> Option<bool> {
    match fate {
        Fate::Prevented { .. } => Some(true),
        Fate::TooLate { part_there, .. } => Some(*part_there),
        Fate::Ahead | Fate::Unseen | Fate::Missed => None,
    }
}

fn modes(
    given: Given<'_>,
    policy: &Policy,
    tally: &Tally,
    by_mode: &BTreeMap<(ClassName, ModeName), FaultReport>,
    fates: &[Fate],
) -> Vec<ModeReport> {
    let assets = &given.records.assets;
    let mut reports = Vec::new();
    for class in &policy.catalogue.classes {
        if assets.iter().all(|a| a.class != class.name) {
            continue;
        }
        for mode in class.modes.iter().chain([&class.unknown_mode]) {
            let key = (class.name.clone(), mode.name.clone());
            let faults = by_mode
                .get(&key)
                .cloned()
                .unwrap_or_else(FaultReport::empty);
            let counts = tally.modes.get(&key).copied().unwrap_or_default();
            let run_to_failure = faults.faults as f64 * mode.cost_of_failure;
            let of_mode = |s: &&(Timestamp, Spent, ClassName, ModeName, f64)| {
                (&s.2, &s.3) == (&key.0, &key.1)
            };
            let table = LifeTable::of(&lives_of(given, fates, class, mode));
            let (failure, acting) = (mode.cost_of_failure, mode.cost_of_acting);
            // What has no component cannot be replaced.
            let given_age = policy.interval_hours.filter(|_| mode.component.is_some());
            let interval_given = policy.interval_hours.map(|_| match given_age {
                Some(age) => table.at(age, failure, acting),
                None => table.never(failure),
            });
            let interval_best = if mode.component.is_some() {
                table.best(failure, acting)
            } else {
                table.never(failure)
            };
            reports.push(ModeReport {
                class: class.name.clone(),
                mode: mode.name.clone(),
                title: mode.title.clone(),
                faults,
                visits: VisitReport::of(&counts),
                tickets: counts.tickets,
                cost: tally.spent.iter().filter(of_mode).map(|s| s.4).sum(),
                run_to_failure,
                interval_given,
                interval_best,
            });
        }
    }
    reports
}

/// The lives of a mode's component on all devices of its class.
fn lives_of(given: Given<'_>, fates: &[Fate], class: &AssetClass, mode: &FailureMode) -> Vec<Life> {
    let mut all = Vec::new();
    for (device, asset) in given.records.assets.iter().enumerate() {
        if asset.class != class.name {
            continue;
        }
        let failures: Vec<Timestamp> = given
            .truth
            .of_device(device)
            .filter(|place| fates[*place] != Fate::Unseen)
            .map(|place| &given.truth.faults[place])
            .filter(|f| f.mode == mode.name)
            .map(|f| f.at)
            .collect();
        let replacements: Vec<Timestamp> = match &mode.component {
            Some(component) => given.truth.replacements(device, component).collect(),
            None => Vec::new(),
        };
        let (from, to) = (given.period.from, given.period.to);
        all.extend(lives(from, to, &failures, &replacements, MENDED_WITHIN_H));
    }
    all
}

fn curve(given: Given<'_>, tally: &Tally, lost: &[(Timestamp, f64)]) -> Vec<CurvePoint> {
    let (from, to) = (given.period.from.as_millis(), given.period.to.as_millis());
    (0..=CURVE_POINTS)
        .map(|i| {
            let at = Timestamp::from_millis(from + (to - from) / CURVE_POINTS * i);
            CurvePoint {
                at,
                policy: tally.spent.iter().filter(|s| s.0 <= at).map(|s| s.4).sum(),
                run_to_failure: lost.iter().filter(|l| l.0 <= at).map(|l| l.1).sum(),
            }
        })
        .collect()
}

impl FaultReport {
    pub(crate) fn empty() -> Self {
        Self {
            by_lead: LEAD_CLASSES
                .iter()
                .map(|(label, _)| LeadClass {
                    lead: (*label).to_owned(),
                    faults: 0,
                    prevented: 0,
                    part_there: 0,
                })
                .collect(),
            ..Self::default()
        }
    }

    fn count(&mut self, fault: &Fault, fate: &Fate, part_lead_hours: f64) {
        if self.by_lead.is_empty() {
            *self = Self::empty();
        }
        let prevented = matches!(fate, Fate::Prevented { .. });
        let there = part_there(fate);
        self.faults += 1;
        self.prevented += usize::from(prevented);
        self.too_late += usize::from(matches!(fate, Fate::TooLate { .. }));
        self.missed += usize::from(matches!(fate, Fate::Missed));
        self.part_there += usize::from(there == Some(true));
        self.part_not_there += usize::from(there == Some(false));
        let lead = fate.lead_hours(fault);
        self.earlier_than_lead_time += usize::from(lead.is_some_and(|l| l >= part_lead_hours));
        let place = lead.map_or(0, |lead| {
            let after = |(_, from): &&(&str, f64)| lead >= *from;
            LEAD_CLASSES[1..].iter().take_while(after).count()
        });
        let class = &mut self.by_lead[place];
        class.faults += 1;
        class.prevented += usize::from(prevented);
        class.part_there += usize::from(there == Some(true));
    }
}

impl ModeTally {
    fn add(&mut self, other: &Self) {
        self.tickets += other.tickets;
        self.withdrawn += other.withdrawn;
        self.overtaken += other.overtaken;
        self.ended_by_failure += other.ended_by_failure;
        self.visits_right += other.visits_right;
        self.visits_other += other.visits_other;
        self.visits_nothing += other.visits_nothing;
        self.visits_unknown += other.visits_unknown;
        self.visits_after += other.visits_after;
    }
}

impl VisitReport {
    fn of(counts: &ModeTally) -> Self {
        let told = counts.visits() - counts.visits_unknown;
        Self {
            visits: counts.visits(),
            right: counts.visits_right,
            other_fault: counts.visits_other,
            nothing_found: counts.visits_nothing,
            unknown: counts.visits_unknown,
            precision: (told > 0).then(|| counts.visits_right as f64 / told as f64),
        }
    }
}

impl CrewReport {
    fn of(tally: &CrewTally) -> Self {
        let jobs = tally.jobs.max(1) as f64;
        Self {
            jobs: tally.jobs,
            planned_hours: tally.planned_hours,
            corrective_hours: tally.corrective_hours,
            overtime_hours: tally.overtime_hours,
            wait_for_crew_hours_mean: tally.wait_for_crew_hours / jobs,
            wait_for_crew_hours_max: tally.wait_for_crew_hours_max,
            wait_for_parts_hours_mean: tally.wait_for_parts_hours / jobs,
            wait_for_parts_hours_max: tally.wait_for_parts_hours_max,
            jobs_without_skills: tally.without_skills,
        }
    }
}

impl IntervalReport {
    fn of<'b>(modes: impl Iterator<Item = &'b AgeCost>, policy_total: f64) -> Self {
        let mut sum = Self {
            failures: 0.0,
            replacements: 0.0,
            cost: 0.0,
            saved: 0.0,
        };
        for mode in modes {
            sum.failures += mode.failures;
            sum.replacements += mode.replacements;
            sum.cost += mode.cost;
        }
        sum.saved = sum.cost - policy_total;
        sum
    }
}
