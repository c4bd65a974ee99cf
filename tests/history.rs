//! History out and in again: nothing lost, nothing twice, whatever the file, the store and the moment of a kill.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use forecare_catalogue::Catalogue;
use forecare_domain::{DeviceId, Timestamp};
use forecare_store::{Fingerprint, Store};
use forecare_store_sqlite::SqliteStore;
use forecare_store_timescale::{TimescaleSettings, TimescaleStore};
use forecare_test_databases::Timescale;
use support::{forecare, run};

const CATALOGUE: &str = include_str!("../crates/catalogue/catalogues/demo.toml");
const CLASS: &str = "screw-compressor";
const DEVICES: usize = 3;

/// An instance with the built-in catalogue; `store` holds its [store] section.
struct Instance {
    dir: tempfile::TempDir,
}

impl Instance {
    fn new(store: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("forecare.toml"), store).unwrap();
        Self { dir }
    }

    fn command(&self, name: &str) -> Command {
        let mut command = forecare();
        command
            .arg(name)
            .arg("--home")
            .arg(self.home())
            .arg("--config")
            .arg(self.dir.path().join("forecare.toml"));
        command
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn import(&self, files: &[PathBuf], options: &[&str]) -> (bool, String, String) {
        run(self.command("import").args(options).args(files))
    }

    /// Exports into a directory of that name; the files, sorted.
    fn export(&self, name: &str, options: &[&str]) -> Vec<PathBuf> {
        let out = self.dir.path().join(name);
        let (ok, _, err) = run(self.command("export").args(options).arg("--out").arg(&out));
        assert!(ok, "{err}");
        let mut files: Vec<PathBuf> = std::fs::read_dir(&out)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        files.sort();
        files
    }

    /// The readings as they are in a SQLite file.
    fn fingerprints(&self) -> BTreeMap<String, Fingerprint> {
        let catalogue = Catalogue::parse(CATALOGUE).unwrap();
        let store = SqliteStore::open(
            &self.home().join("forecare.sqlite"),
            &catalogue,
            Timestamp::from_millis(0),
        )
        .unwrap();
        fingerprints(&store)
    }
}

fn fingerprints(store: &dyn Store) -> BTreeMap<String, Fingerprint> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    (0..DEVICES)
        .map(|i| {
            let device = DeviceId::new(format!("press-{i}")).unwrap();
            let print = runtime.block_on(store.fingerprint(&device)).unwrap();
            (device.to_string(), print)
        })
        .collect()
}

/// Readings of two months with gaps, long fractions and metrics beyond the catalogue.
fn recorded(path: &Path, rows_per_device: usize) {
    let mut text = "device,time,load,motor_current,extra\n".to_owned();
    for device in 0..DEVICES {
        for i in 0..rows_per_device {
            let ts = 1_577_836_800_000 + i64::try_from(i).unwrap() * 5_000_000 / 2;
            let load = (i as f64 * 0.7 + device as f64).sin() * 50.0 + 50.0;
            let current = if i % 7 == 0 {
                String::new()
            } else {
                format!("{}", load / 3.0)
            };
            let extra = if i % 50 == 3 {
                "\"{\"\"humidity\"\":0.1}\""
            } else {
                ""
            };
            text += &format!(
                "press-{device},{},{load},{current},{extra}\n",
                Timestamp::from_millis(ts)
            );
        }
    }
    std::fs::write(path, text).unwrap();
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn every_shape_of_file_brings_back_the_same_readings() {
    let first = Instance::new("");
    let file = first.dir.path().join("recorded.csv");
    recorded(&file, 1_500);
    let (ok, out, err) = first.import(std::slice::from_ref(&file), &["--register", CLASS]);
    assert!(ok && out.contains("imported 4500 rows"), "{out}{err}");
    let expected = first.fingerprints();
    assert!(expected.values().all(|print| print.n_readings > 2_500));
    let csv = text(&first.export("csv", &[])[0]);
    for (name, options) in [
        ("gzip", &["--format", "csv-gz"][..]),
        ("parquet", &["--format", "parquet"]),
        ("months", &["--format", "parquet", "--by-month"]),
    ] {
        let files = first.export(name, options);
        assert_eq!(
            files.len(),
            if name == "months" { 2 } else { 1 },
            "{files:?}"
        );
        let second = Instance::new("");
        let (ok, out, err) = second.import(&files, &["--register", CLASS]);
        assert!(
            ok && out.contains("imported 4500 rows"),
            "{name}: {out}{err}"
        );
        assert_eq!(second.fingerprints(), expected, "{name}");
        assert_eq!(text(&second.export("csv", &[])[0]), csv, "{name}");
    }
}

#[test]
fn a_file_imported_twice_counts_once_and_what_differs_is_a_conflict() {
    let instance = Instance::new("");
    let file = instance.dir.path().join("recorded.csv");
    recorded(&file, 100);
    let files = [file.clone()];
    assert!(instance.import(&files, &["--register", CLASS]).0);
    let expected = instance.fingerprints();
    let (ok, out, err) = instance.import(&files, &[]);
    assert!(ok && err.contains("imported before"), "{err}");
    assert!(
        out.contains("rows were imported before and not read again")
            && !out.contains("readings new"),
        "{out}"
    );
    let (ok, out, _) = instance.import(&files, &["--again"]);
    assert!(ok && out.contains(": 0 readings new"), "{out}");
    std::fs::write(
        &file,
        format!(
            "device,time,load\npress-0,{},12345\n",
            Timestamp::from_millis(1_577_836_800_000)
        ),
    )
    .unwrap();
    let (ok, out, _) = instance.import(&files, &[]);
    assert!(ok && out.contains("1 in conflict"), "{out}");
    assert_eq!(instance.fingerprints(), expected);
}

#[test]
fn timescaledb_gives_back_what_sqlite_gave() {
    let database = Timescale::shared();
    let sqlite = Instance::new("");
    let file = sqlite.dir.path().join("recorded.csv");
    recorded(&file, 400);
    assert!(sqlite.import(&[file], &["--register", CLASS]).0);
    let expected = sqlite.fingerprints();
    let parquet = sqlite.export("parquet", &["--format", "parquet"]);
    let schema = database.schema();
    let timescale = Instance::new(&format!(
        "[store]\nurl = {:?}\nschema = {schema:?}\n",
        database.url()
    ));
    let (ok, out, err) = timescale.import(&parquet, &["--register", CLASS]);
    assert!(ok && out.contains("imported 1200 rows"), "{out}{err}");
    let csv = timescale.export("csv", &[]);
    assert_eq!(text(&csv[0]), text(&sqlite.export("csv", &[])[0]));
    let third = Instance::new("");
    assert!(third.import(&csv, &["--register", CLASS]).0);
    assert_eq!(third.fingerprints(), expected);
    let settings = TimescaleSettings {
        url: database.url(),
        schema: schema.clone(),
        ..TimescaleSettings::default()
    };
    let catalogue = Catalogue::parse(CATALOGUE).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let stored = runtime.block_on(async {
        let store = TimescaleStore::open(settings, &catalogue, Timestamp::from_millis(0))
            .await
            .unwrap();
        let mut stored = BTreeMap::new();
        for name in expected.keys() {
            let device = DeviceId::new(name).unwrap();
            stored.insert(name.clone(), store.fingerprint(&device).await.unwrap());
        }
        store.close().await;
        stored
    });
    assert_eq!(stored, expected);
    // As a run leaves it that was killed while it computed the aggregates.
    let owed = format!("FROM {schema}.settings WHERE key LIKE 'import.%.aggregates'");
    assert_eq!(database.sql(&format!("SELECT value {owed}")).trim(), "null");
    let begin = Timestamp::from_millis(1_577_836_800_000);
    let span = serde_json::to_string(&(begin, begin.plus_hours(24.0))).unwrap();
    database.sql(&format!(
        "UPDATE {schema}.settings SET value = '{span}' WHERE key IN (SELECT key {owed})"
    ));
    let (ok, _, err) = timescale.import(&parquet, &[]);
    assert!(
        ok && err.contains("imported before") && err.contains("computing the aggregates"),
        "{err}"
    );
    let (ok, _, err) = timescale.import(&parquet, &[]);
    assert!(ok && !err.contains("computing the aggregates"), "{err}");
}

#[test]
fn what_retention_would_drop_unseen_is_refused() {
    let database = Timescale::shared();
    let instance = Instance::new(&format!(
        "[store]\nurl = {:?}\nschema = {:?}\nretention_raw_days = 30\n",
        database.url(),
        database.schema()
    ));
    let file = instance.dir.path().join("recorded.csv");
    recorded(&file, 10);
    let (ok, out, err) = instance.import(&[file], &["--register", CLASS]);
    assert!(!ok && out.contains("imported 0 rows"), "{out}{err}");
    let reasons = rejects(&instance).concat();
    assert!(reasons.contains("store.retention_raw_days"), "{reasons}");
}

#[test]
fn a_damaged_parquet_file_brings_no_other_values() {
    let first = Instance::new("");
    let file = first.dir.path().join("recorded.csv");
    recorded(&file, 200);
    assert!(first.import(&[file], &["--register", CLASS]).0);
    let expected = first.fingerprints();
    let whole = std::fs::read(&first.export("parquet", &["--format", "parquet"])[0]).unwrap();
    let damaged = first.dir.path().join("damaged.parquet");
    let mut n_refused = 0;
    for n in 1..=12 {
        let mut bytes = whole.clone();
        let at = bytes.len() * n / 13;
        bytes[at] ^= 1 << (n % 8);
        std::fs::write(&damaged, bytes).unwrap();
        let second = Instance::new("");
        let (ok, _, err) = second.import(std::slice::from_ref(&damaged), &["--register", CLASS]);
        if ok {
            assert_eq!(second.fingerprints(), expected, "byte {at}");
        } else {
            assert!(err.contains("damaged.parquet"), "byte {at}: {err}");
            n_refused += 1;
        }
    }
    assert!(n_refused >= 8, "{n_refused} of 12");
}

/// Every file in the directory of rejects, in order.
fn rejects(instance: &Instance) -> Vec<String> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(instance.home().join("imports"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| text(file)).collect()
}

#[test]
fn an_import_killed_at_any_moment_ends_as_if_it_had_not_been() {
    let undisturbed = Instance::new("");
    let file = undisturbed.dir.path().join("recorded.csv");
    recorded(&file, 40_000);
    let mut lines: Vec<String> = text(&file).lines().map(str::to_owned).collect();
    for i in (1_000..lines.len()).step_by(9_973) {
        lines[i] = "press-0,yesterday,1,2,".to_owned();
    }
    std::fs::write(&file, lines.join("\n") + "\n").unwrap();
    let files = [file.clone()];
    let (ok, _, err) = undisturbed.import(&files, &["--register", CLASS]);
    assert!(!ok && err.contains("12 lines were refused"), "{err}");

    let killed = Instance::new("");
    for kill in 0..3 {
        let mut child = killed
            .command("import")
            .args(["--register", CLASS])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // In the middle of its work: it tells how far it is, and goes on.
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(
            said.any(|line| line.unwrap().contains("0 %")),
            "the import ended before it could be killed ({kill})"
        );
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());
    }
    let (ok, _, err) = killed.import(&files, &["--register", CLASS]);
    assert!(
        !ok && err.contains("going on behind line") && err.contains("12 lines were refused"),
        "{err}"
    );
    assert_eq!(killed.fingerprints(), undisturbed.fingerprints());
    assert_eq!(rejects(&killed), rejects(&undisturbed));
}

#[test]
fn a_foreign_file_is_understood_by_its_options() {
    let instance = Instance::new("");
    let file = instance.dir.path().join("foreign.csv");
    std::fs::write(
        &file,
        "\u{feff}datetime,machineID,Load %,amps,comment\r\n\
         2026-01-01 06:00:00,1,50.5,150,fine\r\n\
         2026-01-01 07:00:00,1,NaN,151,\"said \"\"no\"\"\"\r\n",
    )
    .unwrap();
    let files = [file];
    let mapped = [
        "--register",
        CLASS,
        "--device-column",
        "machineID",
        "--time-column",
        "datetime",
        "--device-format",
        "press-{}",
        "--column",
        "Load %=load",
        "--column",
        "amps=motor_current",
    ];
    for (options, expected) in [
        (&[][..], "--time-column"),
        (&mapped, "--skip COLUMN"),
        (
            &[&mapped[..], &["--skip", "comment"]].concat(),
            "--time-offset",
        ),
    ] {
        let (ok, _, err) = instance.import(&files, options);
        let reasons = if options.len() > mapped.len() {
            rejects(&instance).concat()
        } else {
            err
        };
        assert!(!ok && reasons.contains(expected), "{reasons}");
    }
    let (ok, out, err) = instance.import(
        &files,
        &[
            &mapped[..],
            &["--skip", "comment", "--time-offset", "+01:00"],
        ]
        .concat(),
    );
    assert!(ok && out.contains("2 rows: 3 readings new"), "{out}{err}");
    assert_eq!(
        text(&instance.export("csv", &["--asset", "press-1", "--metric", "load"])[0]),
        "device,time,load,extra\npress-1,2026-01-01T05:00:00Z,50.5,\n"
    );
}

#[test]
fn events_come_in_as_they_went_out_and_from_foreign_files() {
    let instance = Instance::new("");
    let file = instance.dir.path().join("PdM_errors.csv");
    std::fs::write(
        &file,
        "\"datetime\",\"machineID\",\"errorID\"\n\
         2015-01-03 07:00:00,1,error1\n\
         2015-01-03 20:00:00,1,error3\n\
         2015-01-04 06:00:00,2,error5\n",
    )
    .unwrap();
    let foreign = [
        "--what",
        "events",
        "--register",
        CLASS,
        "--device-column",
        "machineID",
        "--device-format",
        "press-{}",
        "--time-column",
        "datetime",
        "--time-offset",
        "Z",
    ];
    let (ok, _, err) = instance.import(std::slice::from_ref(&file), &foreign);
    assert!(!ok && err.contains("--code-column"), "{err}");
    let with_code = [&foreign[..], &["--code-column", "errorID"]].concat();
    let (ok, out, err) = instance.import(std::slice::from_ref(&file), &with_code);
    assert!(
        ok && out.contains("imported 3 events") && out.contains("no ticket"),
        "{out}{err}"
    );
    let replaced = instance.dir.path().join("maint.csv");
    std::fs::write(
        &replaced,
        "device,ts,code,severity,component,message\n\
         press-1,1420304400000,replaced,warning,bearing,\"by hand, at last\"\n",
    )
    .unwrap();
    assert!(instance.import(&[replaced], &["--what", "events"]).0);
    let events = |instance: &Instance, name: &str| -> Vec<String> {
        let files = instance.export(name, &["--what", "events"]);
        let mut lines: Vec<String> = text(&files[0]).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let exported = events(&instance, "first");
    assert_eq!(exported.len(), 4);
    assert!(exported.iter().any(|l| l.contains("error3")
        && l.contains("2015-01-03T20:00:00Z")
        && l.contains("\"info\"")));
    // The same events again change nothing, and another instance gets the same.
    let (ok, out, err) = instance.import(&[file], &[&with_code[..], &["--again"]].concat());
    assert!(ok && out.contains("3 events"), "{out}{err}");
    assert_eq!(events(&instance, "again"), exported);
    let lines = instance.dir.path().join("first").join("events.jsonl");
    let other = Instance::new("");
    let (ok, out, err) = other.import(
        std::slice::from_ref(&lines),
        &["--what", "events", "--register", CLASS],
    );
    assert!(ok && out.contains("imported 4 events"), "{out}{err}");
    assert_eq!(events(&other, "other"), exported);
    // As telemetry it is refused with what to say.
    let (ok, _, err) = other.import(&[lines], &[]);
    assert!(!ok && err.contains("--what events"), "{err}");
}

#[test]
fn events_that_cannot_be_used_are_named_by_line() {
    let instance = Instance::new("");
    let file = instance.dir.path().join("events.jsonl");
    std::fs::write(
        &file,
        "{\"device\":\"press-0\",\"ts\":\"2026-01-01T00:00:00Z\",\"code\":\"E1\",\"severity\":\"error\",\"component\":null,\"message\":\"\"}\n\
         {\"device\":\"press-0\",\n\
         \n\
         {\"device\":\"press-0\",\"ts\":\"2026-01-01T00:00:00Z\"}\n\
         {\"device\":\"press-0\",\"ts\":\"2026-01-01T00:00:00Z\",\"code\":\"E1\",\"severity\":\"dire\"}\n\
         {\"device\":\"press-0\",\"ts\":\"yesterday\",\"code\":\"E1\"}\n\
         {\"device\":\"press-0\",\"code\":\"E1\"}\n",
    )
    .unwrap();
    let (ok, out, err) = instance.import(&[file], &["--what", "events", "--register", CLASS]);
    assert!(
        !ok && out.contains("imported 1 events") && err.contains("5 lines were refused"),
        "{out}{err}"
    );
    let reasons = rejects(&instance).concat();
    for (line, reason) in [
        (2, "no JSON object"),
        (4, "no code"),
        (5, "dire"),
        (6, "yesterday"),
        (7, "no time"),
    ] {
        assert!(
            reasons
                .lines()
                .any(|l| l.starts_with(&format!("{line},")) && l.contains(reason)),
            "line {line}, {reason}: {reasons}"
        );
    }
}

#[test]
fn refused_lines_are_kept_with_their_reason_and_the_fix() {
    let instance = Instance::new("");
    let file = instance.dir.path().join("bad.csv");
    std::fs::write(
        &file,
        b"device,time,load\n\
          press-0,2026-01-01T00:00:00Z,1\n\
          press-0,2026-01-01T00:00:00Z\n\
          press-0,2126-01-01T00:00:00Z,1\n\
          press-0,1970-01-01T00:00:00Z,1\n\
          press-0,2026-01-02T00:00:00Z,high\n\
          press-0,2026-01-02T00:00:00Z,inf\n\
          press-0,2026-01-02T00:00:00Z,\n\
          pr ess,2026-01-02T00:00:00Z,1\n\
          press-9,2026-01-02T00:00:00Z,\xff\n",
    )
    .unwrap();
    let files = [file];
    let (ok, _, err) = instance.import(&files, &[]);
    assert!(
        !ok && err.contains("press-0") && err.contains("--register CLASS"),
        "{err}"
    );
    let (ok, out, err) = instance.import(&files, &["--register", CLASS]);
    assert!(
        !ok && out.contains("1 rows: 1 readings new") && err.contains("8 lines were refused"),
        "{out}{err}"
    );
    let reasons = rejects(&instance).concat();
    for (line, reason) in [
        (3, "2 places in a file of 3 columns"),
        (4, "future"),
        (5, "before"),
        (6, "high"),
        (7, "not finite"),
        (8, "no reading"),
        (9, "contains ' '"),
        (10, "UTF-8"),
    ] {
        assert!(
            reasons
                .lines()
                .any(|l| l.starts_with(&format!("{line},")) && l.contains(reason)),
            "line {line}, {reason}: {reasons}"
        );
    }
}

#[test]
fn the_rest_is_exported_as_json_lines_of_the_chosen_assets() {
    let instance = Instance::new("");
    let file = instance.dir.path().join("recorded.csv");
    recorded(&file, 10);
    assert!(instance.import(&[file], &["--register", CLASS]).0);
    let files = instance.export("all", &["--what", "telemetry,events,alarms,tickets"]);
    let names: Vec<String> = files
        .iter()
        .map(|f| f.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(
        names,
        [
            "alarms.jsonl",
            "events.jsonl",
            "telemetry-screw-compressor.csv",
            "tickets.jsonl"
        ]
    );
    let (ok, _, err) = run(instance
        .command("export")
        .args(["--asset", "press-77", "--out"])
        .arg(instance.dir.path().join("x")));
    assert!(!ok && err.contains("press-77"), "{err}");
}

#[test]
fn by_month_there_is_a_file_for_each_month_with_readings_and_none_for_the_others() {
    let instance = Instance::new("");
    let file = instance.dir.path().join("some.csv");
    let mut lines = "device,time,vibration\n".to_owned();
    // Two devices whose months do not follow each other; the second's begin before the first's end.
    for (device, months) in [("a", ["2024-01", "2026-06"]), ("b", ["2024-03", "2026-06"])] {
        for month in months {
            for day in ["01T00:00:00Z", "15T12:00:00Z", "30T23:59:59Z"] {
                lines += &format!("{device},{month}-{day},2.5\n");
            }
        }
    }
    std::fs::write(&file, lines).unwrap();
    let (ok, _, err) = instance.import(&[file], &["--register", CLASS]);
    assert!(ok, "{err}");
    for format in ["csv", "parquet"] {
        let files = instance.export(format, &["--by-month", "--format", format]);
        let names: Vec<String> = files
            .iter()
            .map(|f| f.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        let month = |month: &str| format!("telemetry-{CLASS}-{month}.{format}");
        assert_eq!(names, ["2024-01", "2024-03", "2026-06"].map(month));
        if format == "csv" {
            let n_rows = files.iter().map(|f| text(f).lines().count() - 1);
            assert_eq!(n_rows.collect::<Vec<_>>(), [3, 3, 6]);
        }
        // All of it comes back.
        let other = Instance::new("");
        let (ok, _, err) = other.import(&files, &["--register", CLASS]);
        assert!(ok, "{err}");
        assert_eq!(other.fingerprints(), instance.fingerprints());
    }
}
