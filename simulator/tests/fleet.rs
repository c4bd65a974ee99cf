//! What the fleet promises: determinism, health without faults, faults with the signs the catalogue names.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy exempts test functions, but not their helpers"
)]

use forecare_catalogue::{AssetClass, Catalogue, Direction};
use forecare_domain::{ClassName, REPLACED_CODE, Timestamp};
use forecare_simulator::{
    CLASS, Emission, Fleet, FleetConfig, FleetError, InjectedFault, METRICS, STOPPED_CODE,
    histories, histories_start,
};
use proptest::prelude::*;

const CATALOGUE: &str = include_str!("../../crates/catalogue/catalogues/demo.toml");

fn catalogue() -> Catalogue {
    Catalogue::parse(CATALOGUE).unwrap()
}

fn class(catalogue: &Catalogue) -> &AssetClass {
    catalogue.class(&ClassName::new(CLASS).unwrap()).unwrap()
}

fn config(seed: u64, n_devices: usize, n_faults: usize) -> FleetConfig {
    FleetConfig {
        seed,
        n_devices,
        start: histories_start(),
        sample_interval_s: 600.0,
        n_faults,
        first_onset_hours: 48.0,
        onset_spacing_hours: 3.0,
    }
}

fn fleet(seed: u64, n_devices: usize, n_faults: usize) -> Fleet {
    Fleet::new(&config(seed, n_devices, n_faults), &catalogue()).unwrap()
}

fn run(mut fleet: Fleet, hours: f64) -> Vec<Emission> {
    fleet.advance(histories_start().plus_hours(hours))
}

/// The samples of one device.
fn samples<'a>(
    emissions: &'a [Emission],
    fault: &'a InjectedFault,
) -> impl Iterator<Item = (Timestamp, &'a [f64; METRICS.len()])> {
    emissions.iter().filter_map(|e| match e {
        Emission::Telemetry {
            device, ts, values, ..
        } if *device == fault.device => Some((*ts, values)),
        Emission::Telemetry { .. } | Emission::Event(_) => None,
    })
}

/// Each fault with its device's samples up to the failure and those of its twin: the same device in the same
/// fleet without faults, with the same demand, weather and noise.
fn with_twins(
    seed: u64,
    mut check: impl FnMut(&InjectedFault, Vec<(Timestamp, [f64; 8], [f64; 8])>),
) {
    let faulty = fleet(seed, 10, 10);
    let faults = faulty.faults().to_vec();
    let (faulty, healthy) = (run(faulty, 300.0), run(fleet(seed, 10, 0), 300.0));
    for fault in &faults {
        let pairs: Vec<_> = samples(&faulty, fault)
            .zip(samples(&healthy, fault))
            .take_while(|((ts, _), _)| *ts < fault.failure_at)
            .map(|((ts, faulty), (twin_ts, healthy))| {
                assert_eq!(ts, twin_ts);
                (ts, *faulty, *healthy)
            })
            .collect();
        check(fault, pairs);
    }
}

#[test]
fn emissions_are_in_time_order_and_numbered_without_gaps() {
    let emissions = run(fleet(3, 20, 10), 400.0);
    assert!(emissions.is_sorted_by_key(Emission::ts));
    let mut seqs = std::collections::BTreeMap::new();
    for emission in &emissions {
        if let Emission::Telemetry { device, seq, .. } = emission {
            let last = seqs.insert(device, *seq).unwrap_or(0);
            assert_eq!(*seq, last + 1);
        }
    }
    assert_eq!(seqs.len(), 20);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn step_pattern_does_not_matter(seed in any::<u64>(), mut cuts in prop::collection::vec(0.0..200.0f64, 0..12)) {
        let whole = run(fleet(seed, 6, 4), 200.0);
        cuts.sort_by(f64::total_cmp);
        cuts.push(200.0);
        let mut stepped = fleet(seed, 6, 4);
        let pieces: Vec<Emission> = cuts
            .into_iter()
            .flat_map(|hours| stepped.advance(histories_start().plus_hours(hours)))
            .collect();
        prop_assert_eq!(whole, pieces);
    }
}

#[test]
fn another_seed_is_another_fleet() {
    assert_ne!(run(fleet(1, 3, 1), 24.0), run(fleet(2, 3, 1), 24.0));
}

#[test]
fn healthy_machines_stay_within_warning_limits_for_a_month() {
    let catalogue = catalogue();
    for seed in 0..4 {
        for emission in run(fleet(seed, 50, 0), 720.0) {
            let Emission::Telemetry {
                device, ts, values, ..
            } = emission
            else {
                continue;
            };
            for (metric, value) in class(&catalogue).metrics.iter().zip(values) {
                let inside = metric.limits.warning_low.is_none_or(|low| value > low)
                    && metric.limits.warning_high.is_none_or(|high| value < high);
                assert!(inside, "seed {seed} {device} {ts} {}: {value}", metric.name);
            }
        }
    }
}

#[test]
fn a_fault_moves_its_signature_and_nothing_before_its_onset() {
    let catalogue = catalogue();
    for seed in 0..4 {
        with_twins(seed, |fault, pairs| {
            let mode = class(&catalogue).mode(&fault.mode).unwrap();
            let (before, after): (Vec<_>, Vec<_>) = pairs
                .into_iter()
                .partition(|(ts, ..)| *ts <= fault.onset_at);
            assert!(!before.is_empty() && before.iter().all(|(_, f, h)| f == h));
            for (metric, name) in METRICS.iter().enumerate() {
                // The last day, relative to what the healthy twin shows.
                let last: Vec<f64> = after
                    .iter()
                    .filter(|(ts, ..)| fault.failure_at.hours_since(*ts) <= 24.0)
                    .map(|(_, f, h)| f[metric] / h[metric] - 1.0)
                    .collect();
                let change = last.iter().sum::<f64>() / last.len() as f64;
                let sign = mode.signature.iter().find(|s| s.metric == metric);
                let seen = match sign.map(|s| s.direction) {
                    Some(Direction::Up) => change > 0.01,
                    Some(Direction::Down) => change < -0.01,
                    Some(Direction::Any) => change.abs() > 0.01,
                    None => change.abs() < 0.05,
                };
                assert!(
                    seen,
                    "seed {seed} {}: {name} changed by {change}",
                    fault.mode
                );
            }
        });
    }
}

#[test]
fn limits_are_crossed_late_and_deviations_are_there_a_day_before_failure() {
    let catalogue = catalogue();
    let (mut n, mut n_crossed, mut n_early) = (0, 0, 0);
    for seed in 0..8 {
        with_twins(seed, |fault, pairs| {
            n += 1;
            let class = class(&catalogue);
            let main = class.mode(&fault.mode).unwrap().signature[0].metric;
            let limits = class.metrics[main].limits;
            let crossed = pairs.iter().find(|(_, f, _)| {
                limits.warning_high.is_some_and(|l| f[main] > l)
                    || limits.warning_low.is_some_and(|l| f[main] < l)
            });
            if let Some((ts, ..)) = crossed {
                n_crossed += 1;
                let hours = fault.failure_at.hours_since(*ts);
                assert!(hours <= 48.0, "{} crossed {hours} h before", fault.mode);
            }
            let early = pairs
                .iter()
                .filter(|(ts, ..)| (24.0..30.0).contains(&fault.failure_at.hours_since(*ts)))
                .map(|(_, f, h)| (f[main] / h[main] - 1.0).abs())
                .fold(0.0, f64::max);
            // Sensor noise is about 1 % of the value, 4 % for vibration.
            n_early += i32::from(early > 0.05);
        });
    }
    assert!(n_crossed * 4 >= n * 3, "{n_crossed} of {n} crossed a limit");
    assert!(
        n_early * 10 >= n * 9,
        "{n_early} of {n} deviated a day before"
    );
}

#[test]
fn failure_stops_the_machine_and_a_replaced_component_starts_it_again() {
    let catalogue = catalogue();
    let fleet = fleet(5, 12, 10);
    let faults = fleet.faults().to_vec();
    let emissions = run(fleet, 400.0);
    assert_eq!(faults.len(), 10);
    for fault in &faults {
        let life = fault.failure_at.hours_since(fault.onset_at);
        assert!((60.0..=161.0).contains(&life), "{life}");
        let of_device: Vec<&Emission> = emissions
            .iter()
            .filter(|e| *e.device() == fault.device)
            .collect();
        let stop = of_device
            .iter()
            .position(|e| matches!(e, Emission::Event(v) if v.code == STOPPED_CODE))
            .unwrap();
        assert_eq!(of_device[stop].ts(), fault.failure_at);
        let Emission::Event(replaced) = of_device[stop + 1] else {
            panic!("{} reports while it stands still", fault.device);
        };
        assert_eq!(replaced.code, REPLACED_CODE);
        assert_eq!(
            replaced.component,
            class(&catalogue).mode(&fault.mode).unwrap().component
        );
        let repair = replaced.ts.hours_since(fault.failure_at);
        assert!((6.0..6.2).contains(&repair), "{repair}");
        let after = of_device[stop + 2..]
            .iter()
            .filter(|e| matches!(e, Emission::Telemetry { .. }));
        assert!(after.count() > 6 * 24, "it runs on");
    }
}

#[test]
fn controllers_report_codes_that_the_catalogue_ties_to_the_mode() {
    let catalogue = catalogue();
    let mut n_reported = 0;
    for seed in 0..4 {
        let fleet = fleet(seed, 10, 10);
        let faults = fleet.faults().to_vec();
        let emissions = run(fleet, 300.0);
        for fault in &faults {
            let codes = &class(&catalogue).mode(&fault.mode).unwrap().event_codes;
            let reported = emissions.iter().any(|e| match e {
                Emission::Event(event) => {
                    event.device == fault.device
                        && codes.contains(&event.code)
                        && (0.0..24.0).contains(&fault.failure_at.hours_since(event.ts))
                }
                Emission::Telemetry { .. } => false,
            });
            n_reported += i32::from(reported);
        }
    }
    assert!((16..40).contains(&n_reported), "{n_reported} of 40");
}

#[test]
fn faults_spread_over_machines_and_modes_and_start_when_asked() {
    let fleet = fleet(9, 30, 10);
    let faults = fleet.faults();
    let devices: std::collections::BTreeSet<_> = faults.iter().map(|f| &f.device).collect();
    let modes: std::collections::BTreeSet<_> = faults.iter().map(|f| &f.mode).collect();
    assert_eq!((devices.len(), modes.len()), (10, 5));
    for (nth, fault) in faults.iter().enumerate() {
        let hours = fault.onset_at.hours_since(histories_start());
        assert_eq!(hours, 48.0 + 3.0 * nth as f64);
    }
}

#[test]
fn histories_fail_again_and_again_and_the_truth_names_each_failure() {
    let hours = 2000.0;
    let fleet = histories(11, 8, hours, &catalogue()).unwrap();
    let end = histories_start().plus_hours(hours);
    let mut truth: Vec<_> = fleet
        .faults()
        .iter()
        .filter(|f| f.failure_at <= end)
        .map(|f| (f.device.clone(), f.failure_at))
        .collect();
    let mut stops: Vec<_> = run(fleet, hours)
        .into_iter()
        .filter_map(|e| match e {
            Emission::Event(v) if v.code == STOPPED_CODE => Some((v.device, v.ts)),
            Emission::Event(_) | Emission::Telemetry { .. } => None,
        })
        .collect();
    truth.sort();
    stops.sort();
    assert_eq!(truth, stops);
    assert!(stops.len() >= 8 * 3, "{}", stops.len());
}

#[test]
fn impossible_fleets_are_refused_with_the_reason() {
    let refused =
        |config: FleetConfig| Fleet::new(&config, &catalogue()).err().unwrap().to_string();
    assert!(refused(config(1, 0, 0)).contains("n_devices"));
    assert!(refused(config(1, 2, 3)).contains("n_faults"));
    let mut slow = config(1, 2, 0);
    slow.sample_interval_s = f64::NAN;
    assert!(refused(slow).contains("sample_interval_s"));
    let renamed = CATALOGUE.replace("name = \"load\"", "name = \"duty\"");
    let misfit = Fleet::new(&config(1, 1, 0), &Catalogue::parse(&renamed).unwrap());
    assert!(matches!(misfit, Err(FleetError::Catalogue(text)) if text.contains("load")));
}

#[test]
fn the_demo_catalogue_shows_a_transfer_and_a_back_order() {
    let catalogue = catalogue();
    let first = &catalogue.depots[0].name;
    let stocked = |part: &str| -> Vec<_> {
        catalogue
            .stock
            .iter()
            .filter(|s| s.part.as_str() == part && s.on_hand > 0)
            .collect()
    };
    assert!(stocked("VLV-INL-3").is_empty());
    let distant = stocked("CLR-MTX-7");
    assert!(distant.len() == 1 && distant[0].depot != *first);
    for mode in &class(&catalogue).modes {
        assert!(mode.alarm_precision * mode.cost_of_failure > mode.cost_of_acting);
        let able = catalogue
            .technicians
            .iter()
            .any(|t| mode.skills.iter().all(|s| t.skills.contains(s)));
        assert!(able, "nobody can do {}", mode.procedure);
    }
}
