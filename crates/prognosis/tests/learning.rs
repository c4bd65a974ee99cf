//! Training on machines whose failures announce themselves, and the model file.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use forecare_catalogue::{AssetClass, Catalogue};
use forecare_domain::{ComponentName, ModeName, Timestamp};
use forecare_prognosis::{
    CardData, FeatureState, History, HistoryItem, Model, ModelError, TrainError, TrainParams, train,
};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const HOUR_MS: i64 = 3_600_000;

fn class() -> AssetClass {
    Catalogue::parse(
        r#"
        [[class]]
        name = "pump"
        title = "Pump"
        horizon_hours = 24
        sample_interval_s = 3600
        [[class.metric]]
        name = "heat"
        unit = "1"
        [[class.metric]]
        name = "noise"
        unit = "1"
        [[class.mode]]
        name = "wear"
        title = "Wear"
        iso14224 = "BRD"
        component = "bearing"
        procedure = "P"
        work_hours = 1
        cost_of_failure = 10
        cost_of_acting = 5
        [[class.mode]]
        name = "never"
        title = "Never seen"
        iso14224 = "BRD"
        procedure = "P"
        work_hours = 1
        cost_of_failure = 10
        cost_of_acting = 5
        [[depot]]
        name = "d"
        title = "D"
        "#,
    )
    .unwrap()
    .classes
    .remove(0)
}

fn ts(hour: i64) -> Timestamp {
    Timestamp::from_millis(hour * HOUR_MS)
}

/// Heat rises by 5 deviations a day before each failure; noise is noise.
fn histories(machines: u64) -> Vec<History> {
    (0..machines)
        .map(|machine| {
            let mut rng = ChaCha8Rng::seed_from_u64(machine);
            let mut failures: Vec<i64> = (0..3)
                .map(|i| 120 + 150 * i + rng.random_range(0..80))
                .collect();
            failures.sort_unstable();
            let mut items = Vec::new();
            for hour in 0..600 {
                let hot = failures.iter().any(|f| (hour..hour + 24).contains(f));
                let heat = rng.random_range(-1.0..1.0) + if hot { 3.0 } else { 0.0 };
                items.push(HistoryItem::Reading {
                    ts: ts(hour),
                    values: vec![Some(heat), Some(rng.random_range(-1.0..1.0))],
                });
                if failures.contains(&hour) {
                    items.push(HistoryItem::Replaced {
                        ts: ts(hour),
                        component: ComponentName::new("bearing").unwrap(),
                    });
                    items.push(HistoryItem::Failure {
                        ts: ts(hour),
                        mode: ModeName::new("wear").unwrap(),
                    });
                }
            }
            History {
                device: format!("p{machine}"),
                items,
            }
        })
        .collect()
}

fn learn(histories: &[History]) -> Model {
    let params = TrainParams {
        rounds: 30,
        ..TrainParams::default()
    };
    let card = CardData {
        data: "made up".into(),
        trained_at: ts(1_000),
    };
    train(&class(), histories, &params, &card, &mut |_| {}).unwrap()
}

/// Probability after a day of readings at this heat.
fn after_a_day(model: &Model, heat: Option<f64>) -> forecare_domain::Prognosis {
    let mut state = FeatureState::new(2);
    for hour in 0..24 {
        state.push(ts(hour), &[heat, Some(0.1)]);
    }
    model.predict(&state, ts(23)).remove(0)
}

#[test]
fn what_announces_a_failure_is_learnt_calibrated_and_named() {
    let model = learn(&histories(8));
    let card = model.card();
    let scores = &card.scores[0];
    assert!(scores.auc > 0.98, "{}", scores.auc);
    assert!(
        scores.average_precision > 0.85,
        "{}",
        scores.average_precision
    );
    assert_eq!(scores.n_failures, 24);
    assert_eq!(card.modes_left_out, ["never"]);
    // What is predicted comes true, where there are rows enough to tell.
    for bin in scores.reliability.iter().filter(|b| b.n_rows > 200) {
        assert!((bin.predicted - bin.observed).abs() < 0.1, "{bin:?}");
    }
    let hot = after_a_day(&model, Some(3.0));
    assert!(hot.probability > 0.8, "{hot:?}");
    assert!(hot.contributions[0].name.starts_with("heat"), "{hot:?}");
    assert!(hot.contributions[0].seen > hot.contributions[0].expected);
    let shares: f64 = hot.contributions.iter().map(|c| c.share).sum();
    assert!((shares - 1.0).abs() < 1e-9);
    let cool = after_a_day(&model, Some(0.0));
    assert!(
        cool.probability < 0.05 && cool.contributions.is_empty(),
        "{cool:?}"
    );
}

#[test]
fn absent_telemetry_does_not_look_like_failure() {
    let model = learn(&histories(6));
    assert!(after_a_day(&model, None).probability < 0.1);
    let never_heard = model.predict(&FeatureState::new(2), ts(0));
    assert!(never_heard[0].probability < 0.1);
}

#[test]
fn the_order_of_histories_does_not_matter() {
    let mut histories = histories(5);
    let model = learn(&histories);
    histories.shuffle(&mut ChaCha8Rng::seed_from_u64(7));
    assert_eq!(learn(&histories).card().sha256, model.card().sha256);
}

#[test]
fn a_model_file_comes_back_the_same_and_no_other() {
    let model = learn(&histories(4));
    let json = model.to_json();
    let back = Model::from_json(&json).unwrap();
    assert_eq!(back, model);
    assert_eq!(back.card().sha256, model.card().sha256);
    let forged = json.replace("made up", "made-up");
    assert!(matches!(
        Model::from_json(&forged),
        Err(ModelError::Changed { .. })
    ));
    let older = json.replace("\"version\":2", "\"version\":0");
    assert!(matches!(
        Model::from_json(&older),
        Err(ModelError::Version { found: 0 })
    ));
    assert!(matches!(Model::from_json("[]"), Err(ModelError::Shape(_))));
}

#[test]
fn a_model_that_does_not_fit_says_what_to_do() {
    let model = learn(&histories(4));
    let fits = class();
    model.check_fits(&fits).unwrap();
    let refused = |change: &dyn Fn(&mut AssetClass), text: &str| {
        let mut class = class();
        change(&mut class);
        let err = model.check_fits(&class).unwrap_err().to_string();
        assert!(err.contains(text) && err.contains("train"), "{err}");
    };
    refused(&|c| c.name = "fan".try_into_name(), "not \"fan\"");
    refused(&|c| c.metrics.swap(0, 1), "[noise, heat]");
    refused(&|c| c.metrics.truncate(1), "[heat, noise]");
    refused(&|c| c.modes.clear(), "\"wear\"");
    refused(&|c| c.horizon_hours = 48.0, "horizon_hours = 24");
}

trait TryIntoName {
    fn try_into_name(self) -> forecare_domain::ClassName;
}

impl TryIntoName for &str {
    fn try_into_name(self) -> forecare_domain::ClassName {
        forecare_domain::ClassName::new(self).unwrap()
    }
}

#[test]
fn a_mode_that_is_learnt_no_better_than_chance_is_named_and_not_spoken_of() {
    // Readings that never change announce nothing.
    let mut histories = histories(8);
    for history in &mut histories {
        let is_replacement = |i: &HistoryItem| matches!(i, HistoryItem::Replaced { .. });
        history.items.retain(|i| !is_replacement(i));
        for item in &mut history.items {
            if let HistoryItem::Reading { values, .. } = item {
                *values = vec![Some(0.0); 2];
            }
        }
    }
    let model = learn(&histories);
    let card = model.card();
    assert_eq!(model.modes().count(), 0, "{:?}", card.scores);
    assert!(card.scores.is_empty());
    let refused = &card.modes_refused[0];
    assert_eq!((refused.mode.as_str(), refused.n_failures), ("wear", 24));
    assert!(
        refused.auc <= 0.5 || refused.average_precision <= refused.base_rate,
        "{refused:?}"
    );
    assert!(refused.to_string().contains("no better than chance"));
    let read = Model::from_json(&model.to_json()).unwrap();
    assert!(read.predict(&FeatureState::new(2), ts(0)).is_empty());
}

#[test]
fn too_little_to_learn_from_is_an_error() {
    let card = CardData {
        data: String::new(),
        trained_at: ts(0),
    };
    let attempt = |histories: &[History]| {
        train(
            &class(),
            histories,
            &TrainParams::default(),
            &card,
            &mut |_| {},
        )
    };
    assert_eq!(attempt(&histories(1)), Err(TrainError::TooFewMachines(1)));
    let mut healthy = histories(3);
    for history in &mut healthy {
        history
            .items
            .retain(|i| !matches!(i, HistoryItem::Failure { .. }));
    }
    assert!(matches!(attempt(&healthy), Err(TrainError::NoFailures(_))));
    let mut silent = histories(3);
    for history in &mut silent {
        history
            .items
            .retain(|i| !matches!(i, HistoryItem::Reading { .. }));
    }
    assert_eq!(attempt(&silent), Err(TrainError::NoReadings));
}

#[test]
fn thinned_quiet_time_does_not_make_failure_look_common() {
    // Nine of ten quiet hours are thrown away; what is left keeps its probability.
    let mut thinned = histories(8);
    for history in &mut thinned {
        let failures: Vec<Timestamp> = history
            .items
            .iter()
            .filter(|i| matches!(i, HistoryItem::Failure { .. }))
            .map(HistoryItem::ts)
            .collect();
        history.items.retain(|i| {
            !matches!(i, HistoryItem::Reading { .. })
                || i.ts().as_millis() / HOUR_MS % 100 < 10
                || failures
                    .iter()
                    .any(|f| (0.0..30.0).contains(&f.hours_since(i.ts())))
        });
    }
    let model = learn(&thinned);
    let never_heard = model.predict(&FeatureState::new(2), ts(0));
    assert!(never_heard[0].probability < 0.1, "{never_heard:?}");
}
