//! The life of a model: learnt, kept as a version, tried, promoted under a running service, taken back.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{Service, dataset, forecare, run, wait_for};

fn models(home: &Path, args: &[&str]) -> Command {
    let mut command = forecare();
    command.arg("models").args(args).arg("--home").arg(home);
    command
}

/// Runs to a good end; what it printed.
#[track_caller]
fn said(command: &mut Command) -> String {
    let (ok, out, err) = run(command);
    assert!(ok, "{out}\n{err}");
    out
}

/// Runs to a refusal; what it said.
#[track_caller]
fn refused(command: &mut Command) -> String {
    let (ok, out, err) = run(command);
    assert!(!ok, "{out}");
    err
}

/// A small model of simulated compressors.
fn train(home: &Path, seed: &str) -> String {
    let mut command = forecare();
    command
        .args(["train", "simulated", "--devices", "6", "--hours", "900"])
        .args(["--seed", seed, "--home"])
        .arg(home);
    said(&mut command)
}

/// Version, role and hash of each model.
fn list(home: &Path) -> Vec<(String, String, String)> {
    let list: Value = serde_json::from_str(&said(&mut models(home, &["list", "--json"]))).unwrap();
    let text = |model: &Value, key: &str| model[key].as_str().unwrap().to_owned();
    list.as_array()
        .unwrap()
        .iter()
        .map(|m| (text(m, "version"), text(m, "role"), text(m, "sha256")))
        .collect()
}

fn roles(home: &Path) -> Vec<(String, String)> {
    list(home).into_iter().map(|(v, r, _)| (v, r)).collect()
}

fn is(version: &str, role: &str) -> (String, String) {
    (version.to_owned(), role.to_owned())
}

#[test]
fn versions_come_are_tried_promoted_and_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    assert!(said(&mut models(home, &["list"])).contains("detectors work alone"));
    assert!(refused(&mut models(home, &["show"])).contains("forecare train"));

    assert!(train(home, "1").contains("v1"));
    let second = train(home, "2");
    assert!(second.contains("shadow") && second.contains("forecare models promote v2"));
    assert!(train(home, "2").contains("there already"));
    assert_eq!(roles(home), [is("v1", "live"), is("v2", "shadow")]);

    let card = said(&mut models(home, &["show", "v2"]));
    for part in [
        "seed 2",
        "Reliability",
        "predicted",
        "observed",
        "sha256",
        "vibration mean 24 h",
    ] {
        assert!(card.contains(part), "{part}: {card}");
    }
    assert!(
        card.contains("the same data makes the same file") && !card.contains("trained at"),
        "{card}"
    );
    let both = said(&mut models(home, &["compare"]));
    assert!(
        both.contains("v1 (live)") && both.contains("v2 (shadow)"),
        "{both}"
    );
    assert!(both.contains("nothing is stored yet"), "{both}");

    assert!(refused(&mut models(home, &["promote", "v7"])).contains("v1, v2"));
    assert!(refused(&mut models(home, &["promote", "v1"])).contains("already"));
    assert!(refused(&mut models(home, &["rollback"])).contains("no usable version"));
    said(&mut models(
        home,
        &["promote", "v2", "--why", "better on valves"],
    ));
    assert_eq!(roles(home), [is("v1", "kept"), is("v2", "live")]);
    said(&mut models(home, &["rollback", "--why", "it cries"]));
    assert_eq!(roles(home), [is("v1", "live"), is("v2", "kept")]);
    let history = said(&mut models(home, &["show", "v2"]));
    assert!(
        history.contains("better on valves") && history.contains("it cries"),
        "{history}"
    );
    said(&mut models(home, &["shadow", "v2"]));
    assert_eq!(roles(home), [is("v1", "live"), is("v2", "shadow")]);
    said(&mut models(home, &["shadow", "off"]));
    said(&mut models(home, &["off"]));
    assert_eq!(roles(home), [is("v1", "kept"), is("v2", "kept")]);
    assert!(refused(&mut models(home, &["off"])).contains("no model is live"));
    said(&mut models(home, &["rollback"]));
    assert_eq!(roles(home), [is("v1", "live"), is("v2", "kept")]);
}

#[test]
fn a_damaged_live_model_is_listed_beside_the_others_that_can_be_promoted() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    train(home, "1");
    train(home, "2");
    let file = home.join("models/screw-compressor/v1.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("seed 1", "seed 9", 1)).unwrap();
    let listed = said(&mut models(home, &["list"]));
    for part in ["v1", "cannot be used", "v2", "shadow", "seed 2"] {
        assert!(listed.contains(part), "{part}: {listed}");
    }
    let error = refused(&mut models(home, &["show"]));
    assert!(
        error.contains("v2 can") && error.contains("forecare models promote"),
        "{error}"
    );
    said(&mut models(home, &["promote", "v2"]));
    said(&mut models(home, &["show"]));
}

#[test]
fn a_running_service_follows_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    train(home, "1");
    train(home, "2");
    let mut serve = forecare();
    serve
        .args([
            "serve",
            "--mqtt-listen",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--home",
        ])
        .arg(home);
    let service = Service::start(&mut serve, home);
    let says = |version: &str, role: &str| {
        let wanted = [format!("version=\"{version}\""), format!("role=\"{role}\"")];
        service
            .text("metrics")
            .lines()
            .filter(|l| l.starts_with("forecare_model_info{"))
            .any(|l| wanted.iter().all(|w| l.contains(w)))
    };
    assert!(says("v1", "live") && says("v2", "shadow"));
    said(&mut models(home, &["promote", "v2"]));
    wait_for("the promoted model to speak", || says("v2", "live"));
    assert!(!says("v1", "live") && !says("v2", "shadow"));
    wait_for("the API to list it", || {
        let list = service.get("api/v1/models");
        let items = list["items"].as_array().unwrap();
        items.len() == 2 && items[1]["id"] == "screw-compressor/v2" && items[1]["role"] == "live"
    });
    said(&mut models(home, &["rollback"]));
    wait_for("the former one to speak again", || says("v1", "live"));
    said(&mut models(home, &["off"]));
    wait_for("nobody to speak", || !says("v1", "live"));
    assert!(service.stop());

    // What was live when it stopped is remembered with the data; roles changed meanwhile count from the start on.
    said(&mut models(home, &["promote", "v2"]));
    let mut again = forecare();
    again
        .args([
            "serve",
            "--mqtt-listen",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--home",
        ])
        .arg(home);
    let service = Service::start(&mut again, home);
    assert_eq!(service.metric("forecare_model_demoted"), 0.0);
    let list = service.get("api/v1/models");
    assert_eq!(list["items"][1]["role"], "live", "{list:#}");
}

#[test]
fn a_file_from_before_there_were_versions_goes_on_speaking() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let loose = home.join("models/screw-compressor.json");
    let mut command = forecare();
    command
        .args([
            "train",
            "simulated",
            "--devices",
            "6",
            "--hours",
            "900",
            "--out",
        ])
        .arg(&loose);
    said(&mut command);
    let hash = &list(home)[0].2;
    let mut serve = forecare();
    serve
        .args([
            "serve",
            "--mqtt-listen",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--home",
        ])
        .arg(home);
    let service = Service::start(&mut serve, home);
    let list_now = service.get("api/v1/models");
    assert_eq!(list_now["items"][0]["id"], "screw-compressor/v1");
    assert_eq!(list_now["items"][0]["role"], "live");
    assert_eq!(list_now["items"][0]["sha256"], hash.as_str());
    assert!(!loose.exists() && home.join("models/screw-compressor/v1.json").is_file());
}

/// The one documented command gives the file that ships.
#[test]
fn the_shipped_compressor_model_is_rebuilt_to_the_same_hash() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rebuilt.json");
    let mut command = forecare();
    command.args(["train", "simulated", "--out"]).arg(&file);
    said(&mut command);
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/screw-compressor.json");
    assert!(
        std::fs::read(&file).unwrap() == std::fs::read(shipped).unwrap(),
        "models/screw-compressor.json is not what `forecare train simulated` gives: write it anew, and say so in CHANGELOG.md"
    );
}

/// So does that of the turbofan's, where the data is there.
#[test]
fn the_shipped_turbofan_model_is_rebuilt_to_the_same_hash() {
    let Some(data) = dataset("cmapss") else {
        println!(
            "the C-MAPSS data set is absent: set FORECARE_DATASETS to the directory that holds cmapss/"
        );
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rebuilt.json");
    let mut command = forecare();
    command
        .args(["train", "cmapss", "--data"])
        .arg(&data)
        .arg("--out")
        .arg(&file);
    said(&mut command);
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/turbofan.json");
    assert!(
        std::fs::read(&file).unwrap() == std::fs::read(shipped).unwrap(),
        "models/turbofan.json is not what `forecare train cmapss` gives: write it anew, and say so in CHANGELOG.md"
    );
}

/// A model of remaining life has a card of its own kind.
#[test]
fn a_life_model_is_shown_by_what_it_misses_and_how_often_its_interval_holds() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let config = home.join("forecare.toml");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let catalogue = root.join("crates/catalogue/catalogues/cmapss.toml");
    std::fs::write(
        &config,
        format!("catalogue = {:?}\n", catalogue.display().to_string()),
    )
    .unwrap();
    let turbofan = root.join("models/turbofan.json");
    let config = config.display().to_string();
    said(&mut models(
        home,
        &["add", &turbofan.display().to_string(), "--config", &config],
    ));
    let card = said(&mut models(home, &["show", "--config", &config]));
    for part in [
        "Remaining life",
        "RMSE 9.",
        "holds 80 %",
        "709 machines",
        "6 operating regime(s)",
        "degradation",
    ] {
        assert!(card.contains(part), "{part}: {card}");
    }
    assert!(
        !card.contains("mean 24 h"),
        "features that no tree asks for: {card}"
    );
}
