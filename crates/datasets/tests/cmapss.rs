//! C-MAPSS: small files of the data set's shape, and measures computed by hand.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::path::{Path, PathBuf};

use forecare_datasets::cmapss::{
    Engine, METRICS, any_subsets, histories, load_engines, load_truth, nasa_score, rmse, scores,
    training_subsets,
};
use forecare_prognosis::{FeatureState, HistoryItem, InputCounts, Model};

fn line(unit: u32, cycle: u32, first: f64) -> String {
    let mut text = format!("{unit} {cycle} {first}");
    for i in 1..METRICS.len() {
        text += &format!(" {i}.25");
    }
    text + "  \n"
}

fn file(dir: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = dir.path().join("train_FD009.txt");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn engines_come_with_their_cycles_and_fail_at_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let text = line(1, 1, 10.0) + &line(1, 2, 20.0) + &line(4, 1, -0.5);
    let engines = load_engines(&file(&dir, &text)).unwrap();
    assert_eq!(engines.len(), 2);
    assert_eq!((engines[0].unit, engines[0].cycles.len()), (1, 2));
    assert_eq!(engines[0].cycles[1][..3], [20.0, 1.25, 2.25]);
    assert_eq!((engines[1].unit, engines[1].cycles[0][0]), (4, -0.5));
    fs::write(dir.path().join("test_FD007.txt"), &text).unwrap();
    fs::write(dir.path().join("test_FD009.txt"), &text).unwrap();
    assert_eq!(training_subsets(dir.path()).unwrap(), ["FD009"]);
    assert_eq!(any_subsets(dir.path()).unwrap(), ["FD007", "FD009"]);

    let told = histories("FD009", &engines, "degradation").unwrap();
    assert_eq!(told[0].device, "FD009-0001");
    assert_eq!(told[0].items.len(), 3);
    let HistoryItem::Failure { ts, .. } = &told[0].items[2] else {
        panic!("the last item is the failure");
    };
    assert_eq!(*ts, Engine::ts(1));
    assert_eq!(Engine::ts(1).hours_since(Engine::ts(0)), 1.0);
}

#[test]
fn a_wrong_line_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |text: String| load_engines(&file(&dir, &text)).unwrap_err().to_string();
    let good = line(1, 1, 1.0);
    assert!(refused(good.clone() + "1 2 3\n").ends_with("line 2: 3 columns instead of 26"));
    assert!(refused(good.clone() + &line(1, 3, 1.0)).ends_with("cycle 3 of unit 1 where 2 is due"));
    assert!(refused(good.replace(" 1.25", " x")).ends_with("line 1: \"x\" is no number"));
    let back = good.clone() + &line(2, 1, 1.0) + &line(1, 2, 1.0);
    assert!(refused(back).ends_with("line 3: unit 1 comes back after another"));

    let truth = dir.path().join("RUL.txt");
    fs::write(&truth, "112 \n98\n\n").unwrap();
    assert_eq!(load_truth(&truth).unwrap(), [112.0, 98.0]);
    fs::write(&truth, "112\n-1\n").unwrap();
    let refused = load_truth(&truth).unwrap_err().to_string();
    assert!(
        refused.ends_with("line 2: \"-1\" is no number of cycles"),
        "{refused}"
    );
}

#[test]
fn rmse_and_score_are_those_computed_by_hand() {
    // Differences -13, 0, +10, +20: squares 169 + 0 + 100 + 400 = 669; exp(1) - 1 + 0 + exp(1) - 1 + exp(2) - 1.
    let (predicted, truth) = ([37.0, 50.0, 60.0, 120.0], [50.0, 50.0, 50.0, 100.0]);
    assert!((rmse(&predicted, &truth) - 12.932_517).abs() < 1e-6);
    assert!((nasa_score(&predicted, &truth) - 9.825_620).abs() < 1e-6);
}

#[test]
fn a_truth_beyond_the_cap_counts_as_the_cap_in_the_capped_measures_alone() {
    // 125 against 145: capped no error; else d = -20: exp(20/13) - 1.
    let s = scores(&[125.0], &[145.0], 125.0);
    assert_eq!((s.rmse_capped, s.score_capped, s.rmse), (0.0, 0.0, 20.0));
    assert!((s.score - 3.657_419).abs() < 1e-6, "{}", s.score);
}

/// By the default of `models.psi_max` a model is taken out of service above 1.
#[test]
fn test_engines_are_no_drift_to_the_model_that_ships_and_a_wrong_unit_is() {
    let dir = std::env::var_os("FORECARE_DATASETS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let dir = dir.join("cmapss");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/turbofan.json");
    let model = Model::from_json(&fs::read_to_string(shipped).unwrap()).unwrap();
    for path in ["test_FD001.txt", "test_FD003.txt"].map(|name| dir.join(name)) {
        if !path.is_file() {
            continue;
        }
        let psi = |change: &dyn Fn(&mut Vec<Option<f64>>)| {
            let mut counts = InputCounts::default();
            for engine in load_engines(&path).unwrap() {
                for (ts, mut values) in engine.readings() {
                    change(&mut values);
                    model.observe(&FeatureState::new(24), ts, &values, &mut counts);
                }
            }
            model.drift(&counts).unwrap()
        };
        let same = psi(&|_| {});
        let celsius = psi(&|values| {
            for temperature in &mut values[4..7] {
                *temperature = temperature.map(|rankine| rankine / 1.8 - 273.15);
            }
        });
        println!("{}: {same:?} {celsius:?}", path.display());
        assert!(same.psi < 1.0, "{same:?}");
        assert!(celsius.psi > same.psi + 0.5, "{celsius:?}");
    }
}
