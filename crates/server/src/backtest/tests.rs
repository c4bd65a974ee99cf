//! A history small enough to be judged by hand.
#![allow(
    clippy::single_range_in_vec_init,
    reason = "a pump is hot in any number of stretches"
)]

use std::io::Write;
use std::sync::Arc;

use forecare_domain::{
    Asset, AssetId, ClassName, ComponentName, DeviceEvent, DeviceId, EventSeverity, Label,
    ModeName, REPLACED_CODE, Row, TicketId, Verdict,
};
use forecare_store::{CommitBatch, MemoryStore, ScoredRow};
use proptest::prelude::*;

use super::device::{DeviceCourse, Played};
use super::history::Stretch;
use super::*;
use crate::config::Config;

/// A pump whose coil burns out: above 100 °C, at once, it is critical.
const CATALOGUE: &str = r#"
currency = "EUR"
[[class]]
name = "pump"
title = "Pump"
horizon_hours = 48
sample_interval_s = 3600
[[class.metric]]
name = "heat"
unit = "°C"
critical_high = 100
debounce_samples = 1
[[class.mode]]
name = "burn-out"
title = "Burn-out"
iso14224 = "OHE"
component = "coil"
signature = [{ metric = "heat", direction = "up" }]
procedure = "P-1"
skills = ["mechanics"]
work_hours = 2
parts = [{ part = "COIL" }]
cost_of_failure = 1000
cost_of_acting = 100
alarm_precision = 0.9
[class.unknown]
procedure = "P-0"
work_hours = 1
cost_of_failure = 1
cost_of_acting = 1
alarm_precision = 0
[[part]]
number = "COIL"
title = "Coil"
lead_time_hours = 10
unit_cost = 50
[[depot]]
name = "north"
title = "North"
transfer_hours = 4
[[stock]]
depot = "north"
part = "COIL"
on_hand = 5
[[technician]]
name = "Ada"
skills = ["mechanics"]
depot = "north"
[[technician]]
name = "Grace"
skills = ["mechanics"]
depot = "north"
"#;

const HOURS: i64 = 480;

fn hour(hours: i64) -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000 + hours * 3_600_000)
}

/// A pump: hours in which it is hot, hours at which it fails.
#[derive(Debug, Clone, Default)]
struct Pump {
    hot: Vec<std::ops::Range<i64>>,
    failures: Vec<i64>,
}

fn pump(hot: &[std::ops::Range<i64>], failures: &[i64]) -> Pump {
    Pump {
        hot: hot.to_vec(),
        failures: failures.to_vec(),
    }
}

fn name(place: usize) -> String {
    format!("pump-{place}")
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap()
}

fn catalogue() -> Catalogue {
    Catalogue::parse(CATALOGUE).unwrap()
}

fn replaced(place: usize, at: i64) -> DeviceEvent {
    DeviceEvent {
        device: DeviceId::new(name(place)).unwrap(),
        ts: hour(at),
        code: REPLACED_CODE.to_owned(),
        severity: EventSeverity::Info,
        component: Some(ComponentName::new("coil").unwrap()),
        message: String::new(),
    }
}

/// The pumps' history: a reading each hour, the coil replaced an hour after a failure.
fn store(runtime: &Runtime, pumps: &[Pump]) -> Arc<dyn Store> {
    let store = MemoryStore::new(&catalogue(), hour(0));
    let mut batch = CommitBatch::default();
    for (place, pump) in pumps.iter().enumerate() {
        let device = DeviceId::new(name(place)).unwrap();
        batch.assets.push(Asset {
            id: AssetId::new(name(place)).unwrap(),
            device: device.clone(),
            class: ClassName::new("pump").unwrap(),
            name: name(place),
            site: String::new(),
            depot: None,
            registered_at: hour(0),
        });
        for at in 0..HOURS {
            let is_hot = pump.hot.iter().any(|hot| hot.contains(&at));
            let ripple = [0.0, 0.4, 0.1, 0.3, 0.2][usize::try_from(at % 5).unwrap()];
            let row = Row {
                device: device.clone(),
                ts: hour(at),
                values: vec![Some(if is_hot { 120.0 } else { 50.0 } + ripple)],
                extra: Vec::new(),
            };
            batch.rows.push(ScoredRow { row, health: None });
        }
        batch
            .events
            .extend(pump.failures.iter().map(|at| replaced(place, at + 1)));
    }
    runtime.block_on(store.commit_batch(batch)).unwrap();
    Arc::new(store)
}

fn failures_file(pumps: &[Pump]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "device,ts,mode").unwrap();
    for (place, pump) in pumps.iter().enumerate() {
        for at in &pump.failures {
            writeln!(file, "{},{},burn-out", name(place), hour(*at)).unwrap();
        }
    }
    file
}

fn policy(text: &str) -> Policy {
    let config = Config::load(None, &[]).unwrap();
    let empty = tempfile::tempdir().unwrap();
    let catalogue = catalogue();
    let basis = Basis {
        config: &config,
        catalogue: &catalogue,
        model_dir: empty.path(),
    };
    Policy::parse(text, &basis).unwrap()
}

struct Trial {
    runtime: Runtime,
    store: Arc<dyn Store>,
    failures: Option<tempfile::NamedTempFile>,
}

impl Trial {
    fn new(pumps: &[Pump]) -> Self {
        let runtime = runtime();
        let store = store(&runtime, pumps);
        Self {
            runtime,
            store,
            failures: Some(failures_file(pumps)),
        }
    }

    fn run(&self, policies: &[&str]) -> Report {
        self.run_with(policies, 2, None)
    }

    fn run_with(&self, policies: &[&str], n_threads: usize, rows_held: Option<usize>) -> Report {
        let policies: Vec<Policy> = policies.iter().map(|text| policy(text)).collect();
        let setup = Setup {
            store: Arc::clone(&self.store),
            catalogue: &catalogue(),
            policies: &policies,
            period: Period {
                from: hour(150),
                to: hour(HOURS),
            },
            warm_up_days: 30.0,
            failures: self.failures.as_ref().map(tempfile::NamedTempFile::path),
            failure_codes: &[],
            right_within_hours: None,
            n_threads,
            rows_held,
        };
        backtest(&setup, &self.runtime, |_, _| {}).unwrap()
    }
}

/// Prevented, missed, a false visit, too late.
fn four() -> Vec<Pump> {
    vec![
        pump(&[200..220], &[220]),
        pump(&[], &[300]),
        pump(&[250..254], &[]),
        pump(&[298..300], &[300]),
    ]
}

#[test]
fn the_outcome_is_the_one_worked_out_by_hand() {
    let report = Trial::new(&four()).run(&[""]);
    let p = &report.policies[0];
    assert_eq!(report.truth.faults, 3);
    // Pump 0: hot at 200, ticket at once, work at 204, failure at 220: prevented, 20 h. Pump 3: hot at 298, failure at
    // 300, work not before 302: too late, with the part on the shelf.
    let each: Vec<_> = p
        .each_fault
        .iter()
        .map(|f| (f.device.as_str(), f.outcome, f.lead_hours, f.part_there))
        .collect();
    assert_eq!(
        each,
        [
            ("pump-0", "prevented", Some(20.0), Some(true)),
            ("pump-1", "missed", None, None),
            ("pump-3", "too_late", Some(2.0), Some(true)),
        ]
    );
    let by_lead: Vec<usize> = p.faults.by_lead.iter().map(|c| c.faults).collect();
    assert_eq!(by_lead, [1, 1, 0, 1, 0, 0]);
    // Only pump 0's ticket came earlier than a part from the supplier, 10 h.
    assert_eq!(p.faults.earlier_than_lead_time, 1);
    // Pump 2: hot from 250 to 253, visited at 254 for nothing.
    assert_eq!(
        (p.visits.visits, p.visits.right, p.visits.nothing_found),
        (2, 1, 1)
    );
    assert_eq!(p.visits.precision, Some(0.5));
    assert_eq!(
        (
            p.tickets.opened,
            p.tickets.ended_by_failure,
            p.tickets.open_at_end
        ),
        (3, 1, 0)
    );
    // Two visits, two failures that struck; three failures without anybody.
    assert_eq!((p.costs.visits, p.costs.failures), (200.0, 2_000.0));
    assert_eq!((p.costs.total, p.costs.run_to_failure), (2_200.0, 3_000.0));
    // Held: pumps 0 and 2 from the ticket to the end of the work, 6 h each; pump 3 from 298 to the recorded
    // replacement at 301.
    let part_days = p.parts.soft_part_days + p.parts.hard_part_days;
    assert!((part_days - 15.0 / 24.0).abs() < 1e-9, "{part_days}");
    assert_eq!(
        (
            p.parts.reserved,
            p.parts.back_ordered,
            p.parts.stock_outs_at_failure
        ),
        (3, 0, 0)
    );
    // Two visits of 2 h; the repair of pump 1. That of pump 3 is in the history.
    assert_eq!((p.crew.planned_hours, p.crew.corrective_hours), (4.0, 2.0));
    assert_eq!(p.crew.wait_for_crew_hours_max, 0.0);
}

#[test]
fn a_shelf_without_parts_makes_a_visit_late() {
    let none = "[[stock]]\ndepot = \"north\"\npart = \"COIL\"\non_hand = 0\n";
    let pumps = [
        pump(&[200..220], &[220]),
        pump(&[], &[300]),
        pump(&[298..300], &[300]),
    ];
    let report = Trial::new(&pumps).run(&["", none]);
    let p = &report.policies[1];
    // Ordered at 200, there at 210, work at 210: still in time; the last pump's part is not.
    assert_eq!((p.faults.prevented, p.faults.too_late), (1, 1));
    assert_eq!((p.faults.part_there, p.faults.part_not_there), (1, 1));
    assert_eq!(p.parts.back_ordered, 2);
    assert_eq!(p.crew.wait_for_parts_hours_max, 6.0);
    // The second pump fails, and no shelf has a coil.
    assert_eq!(p.parts.stock_outs_at_failure, 1);
    // The first policy is not touched by the second beside it.
    assert_eq!(
        report.policies[0],
        Trial::new(&pumps).run(&[""]).policies[0]
    );
}

#[test]
fn a_short_shift_costs_time_or_overtime() {
    // Hour 200 is 08:00, the visit would be at 12:00; it is due at 224 and takes 2 h: the shift at 223 is too late.
    let closed =
        "[crew]\nshift = \"07:00-09:00\"\novertime = false\n[costs]\novertime_per_hour = 10\n";
    let open = "[crew]\nshift = \"07:00-09:00\"\n[costs]\novertime_per_hour = 10\n";
    let report = Trial::new(&four()).run(&[closed, open]);
    let [closed, open] = &report.policies[..] else {
        panic!("two policies");
    };
    // Hour 223 is after the failure.
    assert_eq!((closed.faults.prevented, open.faults.prevented), (0, 1));
    assert!(open.crew.overtime_hours > 0.0);
    assert_eq!(open.costs.overtime, 10.0 * open.crew.overtime_hours);
}

#[test]
fn one_person_cannot_be_in_two_places() {
    let pumps = [
        pump(&[200..220], &[220]),
        pump(&[200..220], &[220]),
        pump(&[200..220], &[220]),
    ];
    let one = "[crew]\ntechnicians_per_depot = 1\n";
    let report = Trial::new(&pumps).run(&[one]);
    let p = &report.policies[0];
    assert_eq!(p.faults.prevented, 3);
    // Work begins at 204, 206 and 208.
    assert_eq!(p.crew.wait_for_crew_hours_max, 4.0);
    assert_eq!(p.crew.wait_for_crew_hours_mean, 2.0);
}

#[test]
fn a_policy_that_never_acts_equals_running_to_failure() {
    let report = Trial::new(&four()).run(&["[care]\nmargin = 1000000\n"]);
    let p = &report.policies[0];
    assert_eq!(p.tickets.opened, 0);
    assert_eq!(p.faults.missed, report.truth.faults);
    assert_eq!(p.costs.total, p.costs.run_to_failure);
    for point in &p.curve {
        assert_eq!(point.policy, point.run_to_failure);
    }
}

#[test]
fn neither_threads_nor_the_length_of_a_stretch_change_the_outcome() {
    let trial = Trial::new(&four());
    let report = trial.run(&["", "[care]\nmargin = 2.0\n"]);
    for (n_threads, rows_held) in [(1, None), (3, Some(4)), (2, Some(150)), (4, Some(900))] {
        let again = trial.run_with(&["", "[care]\nmargin = 2.0\n"], n_threads, rows_held);
        assert_eq!(again, report, "{n_threads} threads, {rows_held:?} rows");
    }
}

/// What a pump that is hot now and then tells, played in pieces that end at `ends`, with verdicts at `given`.
fn told_in_pieces(ends: &[i64], given: &[i64]) -> Vec<String> {
    let policy = policy("");
    let contexts =
        crate::pipeline::class_contexts(&policy.catalogue, policy.models.clone(), &policy.classes)
            .unwrap();
    let mut course = DeviceCourse::new(Arc::clone(&contexts[0]));
    let trial = Trial::new(&[pump(&[200..230, 250..254, 300..400], &[])]);
    let device = DeviceId::new(name(0)).unwrap();
    let n_rows = usize::try_from(HOURS).unwrap();
    let rows = trial.store.rows_after(&device, None, n_rows);
    let rows = trial.runtime.block_on(rows).unwrap();
    let events = [replaced(0, 320)];
    let mut told = Vec::new();
    let mut hear = |course: &mut DeviceCourse, until: Timestamp| {
        while course.next_at().is_some_and(|at| at <= until) {
            told.extend(course.hear().map(|told| format!("{told:?}")));
        }
    };
    let mut begin = Timestamp::MIN;
    for end in ends.iter().map(|end| hour(*end)) {
        let of_piece: Vec<Row> = rows
            .iter()
            .filter(|row| begin < row.ts && row.ts <= end)
            .cloned()
            .collect();
        let played = Played {
            rows: &of_piece,
            end,
            events: &events,
            windows: &[],
            told_from: hour(150),
        };
        course.play(played);
        let within = |at: &Timestamp| begin < *at && *at <= end;
        for at in given.iter().map(|at| hour(*at)).filter(within) {
            hear(&mut course, at);
            course.verdict(at, vec![ModeName::new("burn-out").unwrap()], played);
        }
        hear(&mut course, end);
        begin = end;
    }
    told
}

#[test]
fn where_the_pieces_end_changes_nothing_that_is_told_before_or_after_a_verdict() {
    let given = [210, 215, 330, 420];
    let told = told_in_pieces(&[HOURS], &given);
    assert!(told.len() > 6, "{told:?}");
    assert_ne!(told, told_in_pieces(&[HOURS], &[]));
    let each: Vec<i64> = (0..=HOURS).collect();
    let at_verdicts = [given.as_slice(), &[HOURS]].concat();
    for ends in [
        each.as_slice(),
        at_verdicts.as_slice(),
        &[208, 216, 316, 323, 331, HOURS],
    ] {
        assert_eq!(told_in_pieces(ends, &given), told, "{ends:?}");
    }
    // Pieces in which nothing happens but a verdict.
    let idle_between = [HOURS, HOURS + 10, HOURS + 20];
    assert_eq!(
        told_in_pieces(&idle_between, &[210, HOURS + 5, HOURS + 15]),
        told_in_pieces(&[HOURS + 20], &[210, HOURS + 5, HOURS + 15]),
    );
}

#[test]
fn pieces_hold_every_row_once_in_order_and_rows_of_an_instant_together() {
    let row = |device: usize, at: i64| Row {
        device: DeviceId::new(name(device)).unwrap(),
        ts: hour(at),
        values: Vec::new(),
        extra: Vec::new(),
    };
    // 100 devices: 32 rows at once. One is quick, one stutters, the others are slow or silent.
    let mut rows = vec![Vec::new(); 100];
    rows[0] = (0..300).map(|at| row(0, at)).collect();
    rows[1] = (0..200).map(|at| row(1, at / 50)).collect();
    rows[2] = (0..3).map(|at| row(2, at * 100)).collect();
    let stretch = Stretch {
        end: hour(400),
        rows,
        is_last: true,
    };
    let pieces: Vec<_> = stretch.pieces().collect();
    assert_eq!(pieces.last().map(|p| p.end), Some(hour(400)));
    for device in 0..100 {
        let again: Vec<Row> = pieces
            .iter()
            .flat_map(|p| p.rows[device].to_vec())
            .collect();
        assert_eq!(again, stretch.rows[device]);
    }
    for pair in pieces.windows(2) {
        assert!(pair[0].end < pair[1].end && pair[0].rows[0].len() <= 32);
        let rows = pair[1].rows.iter().copied().flatten();
        assert!(
            rows.clone()
                .all(|row| pair[0].end < row.ts && row.ts <= pair[1].end)
        );
    }
}

#[test]
fn without_records_of_failures_no_visit_is_a_win_or_false() {
    let mut trial = Trial::new(&four());
    trial.failures = None;
    let report = trial.run(&[""]);
    let p = &report.policies[0];
    assert_eq!((p.visits.right, p.visits.nothing_found), (0, 0));
    assert!(p.visits.visits > 0 && p.visits.unknown == p.visits.visits);
    assert_eq!(p.costs.run_to_failure, 0.0);
    assert!(p.costs.saved_against_run_to_failure < 0.0);
    assert!(page(&report).contains("no failure is known in the period"));
    assert!(table(&report).contains("not completely on record"));
}

#[test]
fn a_technicians_verdict_is_truth_too() {
    let pumps = [pump(&[200..206], &[]), pump(&[250..256], &[])];
    let mut trial = Trial::new(&pumps);
    trial.failures = None;
    let label = |place: usize, at: i64, verdict: Verdict| Label {
        ticket: TicketId(1),
        device: DeviceId::new(name(place)).unwrap(),
        mode: ModeName::new("burn-out").unwrap(),
        verdict,
        detected_at: hour(at - 6),
        at: hour(at),
        probability: 0.5,
    };
    let confirmed = Verdict::Confirmed {
        failure_code: "OHE".to_owned(),
    };
    for label in [
        label(0, 207, confirmed),
        label(1, 257, Verdict::NoFaultFound),
    ] {
        let commit = forecare_store::CareCommit {
            label: Some(label),
            ..forecare_store::CareCommit::default()
        };
        trial
            .runtime
            .block_on(trial.store.commit_care(commit))
            .unwrap();
    }
    let report = trial.run(&[""]);
    let p = &report.policies[0];
    assert_eq!((report.truth.faults, report.truth.from_verdicts), (1, 1));
    assert_eq!(
        (p.visits.right, p.visits.nothing_found, p.visits.unknown),
        (1, 1, 0)
    );
}

#[test]
fn a_machine_that_sent_nothing_is_left_out() {
    let pumps = [pump(&[], &[HOURS + 20]), pump(&[], &[300])];
    let mut trial = Trial::new(&pumps);
    let report = {
        trial.failures = Some(failures_file(&pumps));
        let policies = [policy("")];
        let setup = Setup {
            store: Arc::clone(&trial.store),
            catalogue: &catalogue(),
            policies: &policies,
            period: Period {
                from: hour(150),
                to: hour(HOURS + 400),
            },
            warm_up_days: 0.0,
            failures: trial.failures.as_ref().map(tempfile::NamedTempFile::path),
            failure_codes: &[],
            right_within_hours: None,
            n_threads: 1,
            rows_held: None,
        };
        backtest(&setup, &trial.runtime, |_, _| {}).unwrap()
    };
    // 20 h after its last reading it still counts.
    assert_eq!(
        (report.truth.faults, report.truth.left_out_without_readings),
        (2, 0)
    );
    let silent = [pump(&[], &[HOURS + 30]), pump(&[], &[300])];
    let silent_report = {
        let file = failures_file(&silent);
        let policies = [policy("")];
        let setup = Setup {
            store: Arc::clone(&trial.store),
            catalogue: &catalogue(),
            policies: &policies,
            period: Period {
                from: hour(150),
                to: hour(HOURS + 400),
            },
            warm_up_days: 0.0,
            failures: Some(file.path()),
            failure_codes: &[],
            right_within_hours: None,
            n_threads: 1,
            rows_held: None,
        };
        backtest(&setup, &trial.runtime, |_, _| {}).unwrap()
    };
    assert_eq!(
        (
            silent_report.truth.faults,
            silent_report.truth.left_out_without_readings
        ),
        (1, 1)
    );
}

#[test]
fn an_unknown_mode_in_the_failures_file_names_its_line() {
    let trial = Trial::new(&four());
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(
        file,
        "device,ts,mode\npump-0,{},burn-out\npump-0,{},rust",
        hour(5),
        hour(9)
    )
    .unwrap();
    let policies = [policy("")];
    let setup = Setup {
        store: Arc::clone(&trial.store),
        catalogue: &catalogue(),
        policies: &policies,
        period: Period {
            from: hour(0),
            to: hour(10),
        },
        warm_up_days: 0.0,
        failures: Some(file.path()),
        failure_codes: &[],
        right_within_hours: None,
        n_threads: 1,
        rows_held: None,
    };
    let text = format!(
        "{:#}",
        backtest(&setup, &trial.runtime, |_, _| {}).unwrap_err()
    );
    assert!(
        text.contains("line 3") && text.contains("rust") && text.contains("burn-out"),
        "{text}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_failure_is_in_one_class_and_every_ticket_has_one_end(
        pumps in prop::collection::vec(
            (prop::collection::vec((150_i64..470, 1_i64..30), 0..4), prop::collection::vec(155_i64..475, 0..4)),
            1..4,
        ),
        margin in 0.0..3.0_f64,
        technicians in 1_u32..3,
        stock in 0_u32..3,
    ) {
        let pumps: Vec<Pump> = pumps
            .into_iter()
            .map(|(hot, mut failures)| {
                failures.sort_unstable();
                Pump { hot: hot.into_iter().map(|(from, n)| from..from + n).collect(), failures }
            })
            .collect();
        let text = format!(
            "[care]\nmargin = {margin:.3}\n[crew]\ntechnicians_per_depot = {technicians}\n\
             [[stock]]\ndepot = \"north\"\npart = \"COIL\"\non_hand = {stock}\n"
        );
        let trial = Trial::new(&pumps);
        let report = trial.run(&[&text]);
        let p = &report.policies[0];
        let f = &p.faults;
        prop_assert_eq!(f.by_lead.iter().map(|c| c.faults).sum::<usize>(), report.truth.faults);
        prop_assert_eq!(f.prevented + f.too_late + f.missed, report.truth.faults);
        prop_assert_eq!(f.part_there + f.part_not_there, f.prevented + f.too_late);
        prop_assert_eq!(p.modes.iter().map(|m| m.faults.faults).sum::<usize>(), report.truth.faults);
        prop_assert_eq!(p.visits.right, f.prevented);
        let t = &p.tickets;
        prop_assert!(
            t.opened == t.visited + t.repaired_after_failure + t.ended_by_failure + t.withdrawn + t.overtaken + t.open_at_end
            // Work that goes on at the end is open and a visit already.
            || t.opened + t.open_at_end >= t.visited + t.repaired_after_failure + t.ended_by_failure + t.withdrawn + t.overtaken
        );
        let cost: f64 = p.costs.visits + p.costs.failures;
        prop_assert!((cost - (100.0 * p.visits.visits as f64 + 1_000.0 * (f.missed + f.too_late) as f64)).abs() < 1e-6);
        let again = trial.run_with(&[&text], 1, Some(40));
        prop_assert_eq!(again, report);
    }
}
