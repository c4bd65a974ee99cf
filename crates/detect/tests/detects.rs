//! What must be found, what must be left alone, and what must be said about it.

mod world;

use forecare_detect::{
    ClassDetector, DetectSettings, EpisodeSettings, Episodes, Evidence, Scored, from_fleet,
};
use forecare_domain::{AlarmChange, AlarmSource, DeviceId, ModeName, Severity};
use world::{
    AMBIENT, CURRENT, FLOW, LOAD, Noise, OIL, PRESSURE, Run, Source, TEMPERATURE, VIBRATION, class,
    detector, plain_class,
};

const TWO_DAYS: usize = 2_880;

fn warm(seed: u64) -> (Run, Source) {
    let mut run = Run::new(detector(&class()));
    let mut source = Source::new(seed, Noise::White);
    assert_eq!(run.quiet(&mut source, TWO_DAYS), Vec::<String>::new());
    (run, source)
}

/// Feeds rows changed by `fault(row, sample)` until there is evidence; the sample and the evidence.
fn until_evidence(
    run: &mut Run,
    source: &mut Source,
    n_samples_max: usize,
    fault: impl Fn(&mut [f64; 8], f64),
) -> (usize, Evidence) {
    for i in 0..n_samples_max {
        let mut row = source.row();
        fault(&mut row, i as f64);
        if let Some(evidence) = run.feed(&row).evidence.into_iter().next() {
            return (i, evidence);
        }
    }
    unreachable!("nothing found in {n_samples_max} samples");
}

fn check_shares(evidence: &Evidence) {
    let sum: f64 = evidence.contributions.iter().map(|c| c.share).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{evidence:?}");
    assert!((0.0..=1.0).contains(&evidence.strength), "{evidence:?}");
}

#[test]
fn a_step_is_found_within_minutes_and_its_metric_and_mode_are_named() {
    let (mut run, mut source) = warm(1);
    let (n, e) = until_evidence(&mut run, &mut source, 15, |row, _| row[OIL] -= 1.0);
    assert!(n >= 1, "one value alone is no change");
    assert_eq!(e.mode.as_str(), "oil-leak");
    assert_eq!(e.source, AlarmSource::Anomaly);
    assert_eq!(e.contributions[0].name, "oil");
    assert!((e.contributions[0].expected - 50.0).abs() < 0.2, "{e:?}");
    assert!((e.contributions[0].seen - 49.0).abs() < 0.8, "{e:?}");
    assert_eq!(e.contributions[0].reason, "unusually low for this load");
    check_shares(&e);
}

#[test]
fn a_slow_ramp_is_found_long_before_its_limit() {
    let (mut run, mut source) = warm(2);
    // From 2.2 to the warning limit of 4.5 mm/s it takes ten days.
    let ramp = 2.3 / 14_400.0;
    let (n, e) = until_evidence(&mut run, &mut source, 14_400, |row, i| {
        row[VIBRATION] += ramp * i;
    });
    assert!(n < 3_600, "found after {n} minutes");
    assert_eq!(e.mode.as_str(), "bearing-wear");
    assert_eq!(e.contributions[0].name, "vibration");
    assert_eq!(e.contributions[0].reason, "drifts up");
    assert!(e.contributions[0].seen < 3.0 && e.contributions[0].seen > e.contributions[0].expected);
}

#[test]
fn a_fault_is_not_learnt_as_normal_within_a_week() {
    let (mut run, mut source) = warm(3);
    until_evidence(&mut run, &mut source, 15, |row, _| row[OIL] -= 1.0);
    let mut n_with_evidence = 0;
    for _ in 0..10_080 {
        let mut row = source.row();
        row[OIL] -= 1.0;
        n_with_evidence += usize::from(!run.feed(&row).evidence.is_empty());
    }
    assert!(n_with_evidence > 10_000, "{n_with_evidence}");
}

#[test]
fn a_wider_spread_is_found_though_the_mean_stays() {
    let (mut run, mut source) = warm(4);
    let mut extra = Source::new(99, Noise::White);
    let mut found = None;
    for i in 0..240 {
        let mut row = source.row();
        row[CURRENT] += 0.6 * extra.normal();
        if let Some(e) = run.feed(&row).evidence.into_iter().next() {
            found = Some((i, e));
            break;
        }
    }
    let (_, e) = found.unwrap();
    assert_eq!(e.mode.as_str(), "unknown", "no signature names the current");
    assert_eq!(e.contributions[0].name, "current");
    assert_eq!(e.contributions[0].reason, "varies more than usual");
}

#[test]
fn metrics_that_part_company_are_found_though_each_is_usual() {
    let (mut run, mut source) = warm(5);
    let mut other = Source::new(77, Noise::White);
    let mut found = None;
    for i in 0..600 {
        let mut row = source.row();
        // The same spread as ever, but flow no longer follows pressure.
        row[FLOW] = 160.0 + 2.0 * other.normal();
        if let Some(e) = run.feed(&row).evidence.into_iter().next() {
            found = Some((i, e));
            break;
        }
    }
    let (n, e) = found.unwrap();
    assert!(n < 300, "{n}");
    let named: Vec<&str> = e.contributions.iter().map(|c| c.name.as_str()).collect();
    assert!(
        named.contains(&"flow") || named.contains(&"pressure"),
        "{e:?}"
    );
    assert_eq!(
        e.contributions[0].reason,
        "unusual together with the other metrics"
    );
    check_shares(&e);
}

#[test]
fn two_signs_point_to_the_mode_that_has_both() {
    let (mut run, mut source) = warm(6);
    let (_, e) = until_evidence(&mut run, &mut source, 60, |row, _| {
        row[FLOW] -= 12.0;
        row[PRESSURE] += 0.2;
    });
    assert_eq!(e.mode.as_str(), "clogging");
    assert!(
        e.contributions
            .iter()
            .all(|c| c.name == "flow" || c.name == "pressure"),
        "{e:?}"
    );
}

#[test]
fn what_no_signature_fits_is_unknown() {
    let (mut run, mut source) = warm(7);
    let (_, e) = until_evidence(&mut run, &mut source, 60, |row, _| row[OIL] += 2.0);
    assert_eq!(e.mode.as_str(), "unknown");
    assert_eq!(e.contributions[0].name, "oil");
}

#[test]
fn limits_work_from_the_first_row_after_their_debounce() {
    let mut run = Run::new(detector(&class()));
    let mut row = Source::new(8, Noise::White).row();
    row[VIBRATION] = 7.5;
    assert!(run.feed(&row).evidence.is_empty() && run.feed(&row).evidence.is_empty());
    let scored = run.feed(&row);
    let e = &scored.evidence[0];
    assert_eq!(
        (e.mode.as_str(), e.source, e.severity),
        ("bearing-wear", AlarmSource::Limit, Severity::Critical)
    );
    assert_eq!(e.contributions[0].reason, "above critical limit 7.1 mm/s");
    assert_eq!(e.contributions[0].seen, 7.5);
    assert_eq!(scored.anomaly, 0.0, "nothing is learnt yet");
}

#[test]
fn nothing_but_limits_speaks_during_warm_up() {
    let mut run = Run::new(detector(&class()));
    let mut source = Source::new(9, Noise::White);
    for i in 0..110 {
        let mut row = source.row();
        if i > 60 {
            row[OIL] += 20.0;
        }
        let scored = run.feed(&row);
        assert!(scored.evidence.is_empty() && scored.anomaly == 0.0);
        assert!(scored.health > 99.0);
    }
}

#[test]
fn one_wild_value_scores_but_raises_nothing() {
    let (mut run, mut source) = warm(10);
    let mut row = source.row();
    row[CURRENT] = 400.0;
    let wild = run.feed(&row);
    assert!(wild.anomaly > 0.9 && wild.evidence.is_empty());
    assert!(run.quiet(&mut source, 100).is_empty());
}

#[test]
fn a_day_cycle_does_not_alarm() {
    let mut run = Run::new(detector(&plain_class()));
    let mut source = Source::new(11, Noise::White);
    let mut modes = Vec::new();
    for i in 0..14_400 {
        let mut row = source.row();
        let wave = (std::f64::consts::TAU * f64::from(i) / 1_440.0).sin();
        // Five times the noise, up and down with the sun.
        row[TEMPERATURE] += 3.0 * wave;
        row[CURRENT] += 1.0 * wave;
        modes.extend(
            run.feed(&row)
                .evidence
                .into_iter()
                .map(|e| (i, e.contributions)),
        );
    }
    assert!(modes.is_empty(), "{} {:?}", modes.len(), modes.first());
}

#[test]
fn a_fault_is_found_on_top_of_a_learnt_day_cycle() {
    let mut run = Run::new(detector(&plain_class()));
    let mut source = Source::new(12, Noise::White);
    let mut found = None;
    for i in 0..10_080 {
        let mut row = source.row();
        let wave = (std::f64::consts::TAU * f64::from(i) / 1_440.0).sin();
        row[TEMPERATURE] += 3.0 * wave;
        // Smaller than the cycle itself.
        row[TEMPERATURE] += if i >= 7_200 { 2.0 } else { 0.0 };
        if let Some(e) = run.feed(&row).evidence.into_iter().next() {
            found = Some((i, e));
            break;
        }
    }
    let (i, e) = found.unwrap();
    assert!((7_200..7_320).contains(&i), "{i}");
    assert_eq!(e.contributions[0].name, "temperature");
}

#[test]
fn load_regimes_do_not_alarm_and_a_fault_within_one_does() {
    let mut run = Run::new(detector(&class()));
    let mut source = Source::new(13, Noise::White);
    let load_at = |i: i64| [40.0, 60.0, 95.0][usize::try_from(i / 90 % 3).unwrap()];
    for i in 0..10_080 {
        let row = source.row_at(load_at(i), 20.0);
        let scored = run.feed(&row);
        assert!(scored.evidence.is_empty(), "{i} {:?}", scored.evidence);
    }
    // At full load 2.9 mm/s is usual; at low load it is not.
    let mut found = None;
    for i in 10_080..10_500 {
        let mut row = source.row_at(load_at(i), 20.0);
        if row[LOAD] < 50.0 {
            row[VIBRATION] = 2.9;
        }
        if let Some(e) = run.feed(&row).evidence.into_iter().next() {
            found = Some(e);
            break;
        }
    }
    let e = found.unwrap();
    assert_eq!(e.contributions[0].name, "vibration");
    assert!((e.contributions[0].expected - 1.8).abs() < 0.2, "{e:?}");
}

#[test]
fn a_load_that_moves_all_over_its_range_hardly_alarms() {
    let mut run = Run::new(detector(&class()));
    let mut source = Source::new(14, Noise::White);
    let mut load = 60.0;
    let mut modes = Vec::new();
    for i in 0..14_400 {
        load = (load + 2.0 * source.normal()).clamp(30.0, 100.0);
        let ambient = 20.0 + 8.0 * (std::f64::consts::TAU * f64::from(i) / 1_440.0).sin();
        let row = source.row_at(load, ambient);
        modes.extend(run.feed(&row).evidence.into_iter().map(|e| (i, e)));
    }
    // The slopes are estimates, so one short episode in ten days is let pass.
    assert!(modes.len() < 15, "{} {:?}", modes.len(), modes.first());
}

#[test]
fn a_stuck_sensor_is_named_and_a_machine_at_rest_is_not() {
    let (mut run, mut source) = warm(15);
    let (n, e) = until_evidence(&mut run, &mut source, 60, |row, _| row[CURRENT] = 16.1);
    assert!(n >= 20);
    assert_eq!(e.mode.as_str(), "unknown");
    assert_eq!(e.contributions[0].name, "current");
    assert!(e.contributions[0].reason.starts_with("stuck"), "{e:?}");

    let (mut run, mut source) = warm(16);
    let still = source.row();
    for _ in 0..200 {
        let scored = run.feed(&still);
        let stuck = scored.evidence.iter().flat_map(|e| &e.contributions);
        assert!(stuck.filter(|c| c.reason.starts_with("stuck")).count() == 0);
    }
}

#[test]
fn after_a_repair_the_new_level_is_normal_and_health_comes_back() {
    let (mut run, mut source) = warm(17);
    let mut worst = 100.0_f64;
    for i in 0..3_000 {
        let mut row = source.row();
        row[VIBRATION] += f64::from(i) * 0.002;
        worst = worst.min(run.feed(&row).health);
    }
    assert!(worst < 50.0, "past the critical limit: {worst}");
    let class = run.class.clone();
    run.device
        .reset_after_repair(&class, &[ModeName::new("bearing-wear").unwrap()]);
    let mut last = Scored {
        anomaly: 0.0,
        novelty: 0.0,
        health: 0.0,
        evidence: Vec::new(),
    };
    for i in 0..1_440 {
        let mut row = source.row();
        // The new bearing runs smoother than the old one ever did.
        row[VIBRATION] -= 0.5;
        last = run.feed(&row);
        assert!(last.evidence.is_empty(), "{i} {:?}", last.evidence);
    }
    assert!(last.health > 95.0, "{}", last.health);
}

#[test]
fn health_falls_smoothly_with_a_ramp_and_stays_high_when_quiet() {
    let (mut run, mut source) = warm(18);
    let mut quiet_min = 100.0_f64;
    for _ in 0..5_000 {
        quiet_min = quiet_min.min(run.feed(&source.row()).health);
    }
    assert!(quiet_min > 90.0, "{quiet_min}");
    let mut health = Vec::new();
    for i in 0..3_000 {
        let mut row = source.row();
        row[VIBRATION] += f64::from(i) * 0.002;
        health.push(run.feed(&row).health);
    }
    assert!(
        health.windows(2).all(|w| (w[1] - w[0]).abs() < 8.0),
        "smooth"
    );
    let hourly: Vec<f64> = health
        .chunks(60)
        .map(|c| c.iter().sum::<f64>() / 60.0)
        .collect();
    assert!(hourly.windows(2).all(|w| w[1] < w[0] + 2.0), "{hourly:?}");
    assert!(hourly[49] < 45.0, "{hourly:?}");
}

#[test]
fn quiet_noise_alarms_about_as_often_as_the_setting_allows() {
    let settings = DetectSettings {
        false_alarms_per_device_month: 3.0,
        ..DetectSettings::default()
    };
    let class = ClassDetector::new(&class(), &settings).unwrap();
    let id = DeviceId::new("pump-1").unwrap();
    for noise in [Noise::White, Noise::Ar(0.5)] {
        let mut n_raised = 0;
        for seed in 0..4 {
            let mut run = Run::new(class.clone());
            let mut source = Source::new(2_000 + seed, noise);
            let mut episodes = Episodes::new();
            for _ in 0..21_600 {
                let ts = run.ts();
                let scored = run.feed(&source.row());
                let settings = EpisodeSettings::default();
                n_raised += episodes
                    .update(&id, ts, &scored.evidence, &settings, false)
                    .iter()
                    .filter(|c| matches!(c, AlarmChange::Raised(_)))
                    .count();
            }
        }
        // Two device-months: 6 are allowed; three times that is no longer "about".
        assert!(n_raised <= 18, "{noise:?}: {n_raised}");
    }
}

#[test]
fn rows_that_come_in_parts_and_gaps_do_not_alarm() {
    let mut run = Run::new(detector(&class()));
    let mut source = Source::new(19, Noise::White);
    for i in 0..6_000_usize {
        let row = source.row();
        // Two messages a minute with half the metrics each; the oil every tenth minute; days off.
        let halves: [&[usize]; 2] = [
            &[LOAD, AMBIENT, VIBRATION, TEMPERATURE],
            &[PRESSURE, FLOW, CURRENT],
        ];
        for (k, half) in halves.iter().enumerate() {
            let mut values = [None; 8];
            for &m in *half {
                values[m] = Some(row[m]);
            }
            if k == 1 && i % 10 == 0 {
                values[OIL] = Some(row[OIL]);
            }
            let ts = run.ts().plus_hours(k as f64 / 120.0);
            let scored = run.device.step(&run.class, ts, &values);
            assert!(scored.evidence.is_empty(), "{i} {:?}", scored.evidence);
        }
        run.minute += if i % 1_000 == 999 { 4_000 } else { 1 };
    }
}

#[test]
fn a_constant_metric_is_left_alone_and_joins_once_it_varies() {
    let mut run = Run::new(detector(&class()));
    let mut source = Source::new(20, Noise::White);
    for i in 0..6_000 {
        let mut row = source.row();
        if i < 3_000 {
            row[OIL] = 50.0;
        }
        let scored = run.feed(&row);
        assert!(scored.evidence.is_empty(), "{i} {:?}", scored.evidence);
    }
    let (_, e) = until_evidence(&mut run, &mut source, 60, |row, _| row[OIL] -= 2.0);
    assert_eq!(e.mode.as_str(), "oil-leak");
}

#[test]
fn a_new_device_of_a_known_fleet_is_judged_within_the_hour() {
    let class = detector(&class());
    let mut runs: Vec<Run> = Vec::new();
    let load_at = |i: usize| [40.0, 60.0, 95.0][i / 90 % 3];
    for seed in 0..5 {
        let mut run = Run::new(class.clone());
        let mut source = Source::new(300 + seed, Noise::White);
        for i in 0..4_400 {
            run.feed(&source.row_at(load_at(i), 20.0));
        }
        runs.push(run);
    }
    let fleet = || runs.iter().map(|r| &r.device);
    let at = runs[0].ts();
    let too_early = runs[0].ts().plus_hours(-24.0);
    assert!(from_fleet(&class, too_early, fleet()).is_none());
    assert!(from_fleet(&class, at, fleet().take(3)).is_none());
    let mut new = Run::new(class.clone());
    new.device = from_fleet(&class, at, fleet()).unwrap();
    new.minute = runs[0].minute;
    let mut source = Source::new(400, Noise::White);
    for i in 0..60 {
        let scored = new.feed(&source.row_at(load_at(i), 20.0));
        assert!(scored.evidence.is_empty(), "{i} {:?}", scored.evidence);
    }
    let mut found = None;
    for i in 60..90 {
        let mut row = source.row_at(load_at(i), 20.0);
        row[OIL] -= 1.5;
        if let Some(e) = new.feed(&row).evidence.into_iter().next() {
            found = Some(e);
            break;
        }
    }
    assert_eq!(found.unwrap().mode.as_str(), "oil-leak");
}
