//! What `forecare doctor` sees, and a service whose store comes late or changes under it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use forecare_test_databases::{Options, Postgres, Timescale};
use serde_json::Value;
use support::{DEADLINE, Mosquitto, Service, forecare, free_port, run, terminate, wait_for};

fn on(home: &Path, name: &str) -> Command {
    let mut command = forecare();
    command.arg(name).arg("--home").arg(home);
    command
}

/// `serve` on free ports; also those of the config file, so that `doctor` finds it.
fn configured(home: &Path, more: &str) -> (Command, std::path::PathBuf) {
    let file = home.join("forecare.toml");
    std::fs::create_dir_all(home).unwrap();
    let (mqtt, http) = (free_port(), free_port());
    std::fs::write(
        &file,
        format!(
            "[http]\nlisten = \"127.0.0.1:{http}\"\n[mqtt]\nlisten = \"127.0.0.1:{mqtt}\"\n{more}"
        ),
    )
    .unwrap();
    let mut serve = on(home, "serve");
    serve.arg("--config").arg(&file);
    (serve, file)
}

/// Level of the worst finding, and all of them as one text a check.
fn doctor(command: &mut Command) -> (bool, Vec<(String, String, String)>) {
    let (ok, out, err) = run(command.arg("--json"));
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
    let findings = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| {
            let text = |key: &str| f[key].as_str().unwrap_or_default().to_owned();
            (
                text("check"),
                text("level"),
                text("text") + "; " + &text("fix"),
            )
        })
        .collect();
    (ok, findings)
}

/// The one finding of that check and level; its text with the fix.
#[track_caller]
fn found(findings: &[(String, String, String)], check: &str, level: &str) -> String {
    findings
        .iter()
        .find(|(c, l, _)| c == check && l == level)
        .unwrap_or_else(|| panic!("no {level} of {check} in {findings:#?}"))
        .2
        .clone()
}

#[test]
fn a_healthy_instance_is_found_healthy_running_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let (mut serve, file) = configured(dir.path(), "");
    let service = Service::start(&mut serve, dir.path());
    for running in [true, false] {
        if !running {
            assert!(terminate_by_id(service.child.id()));
            wait_for("the service to end", || {
                doctor(on(dir.path(), "doctor").arg("--config").arg(&file))
                    .1
                    .iter()
                    .any(|f| f.2.contains("not running"))
            });
        }
        let (ok, findings) = doctor(on(dir.path(), "doctor").arg("--config").arg(&file));
        assert!(ok, "{findings:#?}");
        for check in [
            "config",
            "catalogue",
            "home",
            "secrets",
            "models",
            "store",
            "broker",
            "service",
        ] {
            found(&findings, check, "ok");
        }
    }
    let (ok, out, _) = run(on(dir.path(), "doctor").arg("--config").arg(&file));
    assert!(ok && out.contains("0 failures"), "{out}");
}

fn terminate_by_id(id: u32) -> bool {
    Command::new("kill")
        .arg(id.to_string())
        .status()
        .unwrap()
        .success()
}

/// A service whose log is kept; its command is that of `serve`.
fn logged(serve: &Command, log: &Path, home: &Path) -> Service {
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" \"$@\" 2>\"$LOG\""])
        .env("LOG", log)
        .arg(serve.get_program())
        .args(serve.get_args());
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("FORECARE_")) {
        command.env_remove(key);
    }
    Service::start(&mut command, home)
}

#[test]
fn a_running_service_is_looked_at_where_it_is_whatever_it_was_started_with_and_logs_no_warning() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    // Embedded, on ports that no configuration names.
    let home = dir.path().join("embedded");
    let mut serve = on(&home, "serve");
    serve.args(["--mqtt-listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    let service = logged(&serve, &log, &home);
    let (ok, findings) = doctor(&mut on(&home, "doctor"));
    assert!(ok, "{findings:#?}");
    let text = found(&findings, "broker", "ok");
    assert!(
        text.contains(service.mqtt.as_deref().unwrap())
            && text.contains("as the running service was started"),
        "{text}"
    );
    let http = service.http["http://".len()..].trim_end_matches('/');
    assert!(found(&findings, "service", "ok").contains(http));
    assert!(service.stop());
    // What is gone is not believed.
    let (_, findings) = doctor(on(&home, "doctor").args(["--mqtt-listen", "127.0.0.1:0"]));
    assert!(found(&findings, "broker", "ok").contains("as the command line says"));

    // An external one, named on the command line.
    let home = dir.path().join("external");
    let port = free_port();
    let _broker = Mosquitto::start(dir.path(), port);
    let url = format!("mqtt://127.0.0.1:{port}");
    let mut serve = on(&home, "serve");
    serve.args(["--mqtt", &url, "--http", "127.0.0.1:0"]);
    let log_of_second = dir.path().join("log-2");
    let service = logged(&serve, &log_of_second, &home);
    let (ok, findings) = doctor(&mut on(&home, "doctor"));
    assert!(ok, "{findings:#?}");
    let text = found(&findings, "broker", "ok");
    assert!(
        text.contains(&url) && text.contains("as the running service was started"),
        "{text}"
    );
    // Asked of another one all the same, if that is what is wanted.
    let nobody = format!("mqtt://127.0.0.1:{}", free_port());
    let (ok, findings) = doctor(on(&home, "doctor").args(["--mqtt", &nobody]));
    assert!(!ok && found(&findings, "broker", "fail").contains(&nobody));
    assert!(service.stop());
    for log in [log, log_of_second] {
        let log = std::fs::read_to_string(log).unwrap();
        assert!(log.contains("INFO") && !log.contains("WARN"), "{log}");
    }
}

#[test]
fn each_fault_is_named_with_its_fix() {
    let dir = tempfile::tempdir().unwrap();
    let (mut serve, file) = configured(dir.path(), "");
    assert!(Service::start(&mut serve, dir.path()).stop());
    let doctor = || {
        let (ok, findings) = doctor(on(dir.path(), "doctor").arg("--config").arg(&file));
        (ok, findings)
    };

    let mode = |file: &Path, mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(file, mode).unwrap();
    };
    for token in ["metrics-token", "token"].map(|name| dir.path().join(name)) {
        mode(&token, 0o644);
        let (ok, findings) = doctor();
        let fix = format!("chmod 600 {}", token.display());
        assert!(ok && found(&findings, "secrets", "warn").contains(&fix));
        mode(&token, 0o600);
    }

    std::fs::create_dir(dir.path().join("models")).unwrap();
    std::fs::write(dir.path().join("models/broken.json"), "{}").unwrap();
    let (ok, findings) = doctor();
    assert!(!ok && found(&findings, "models", "fail").contains("broken.json"));
    std::fs::remove_dir_all(dir.path().join("models")).unwrap();

    let database = dir.path().join("forecare.sqlite");
    let whole = std::fs::read(&database).unwrap();
    let mut damaged = whole.clone();
    damaged[4_096..12_288].fill(0xa5);
    std::fs::write(&database, damaged).unwrap();
    let (ok, findings) = doctor();
    assert!(
        !ok && found(&findings, "store", "fail").contains("backup"),
        "{findings:#?}"
    );
    std::fs::write(&database, whole).unwrap();

    std::fs::write(&file, "[http]\nlissten = 1\n").unwrap();
    let (ok, findings) = doctor();
    assert!(!ok && found(&findings, "config", "fail").contains("lissten"));
}

#[test]
fn a_port_of_another_program_is_named_before_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let file = dir.path().join("forecare.toml");
    std::fs::write(
        &file,
        format!(
            "[http]\nlisten = {:?}\n",
            taken.local_addr().unwrap().to_string()
        ),
    )
    .unwrap();
    let (ok, findings) = doctor(
        on(&dir.path().join("home"), "doctor")
            .arg("--config")
            .arg(&file),
    );
    assert!(!ok && found(&findings, "service", "fail").contains("http.listen"));
}

#[test]
fn the_broker_is_asked_as_the_service_would() {
    let dir = tempfile::tempdir().unwrap();
    let ask = |url: &str, more: &[(&str, &str)]| {
        let mut command = on(dir.path(), "doctor");
        command.env("FORECARE_MQTT__URL", url);
        command.envs(more.iter().copied());
        doctor(&mut command)
    };
    let port = free_port();
    let url = format!("mqtt://127.0.0.1:{port}");
    let (ok, findings) = ask(&url, &[]);
    assert!(!ok && found(&findings, "broker", "fail").contains("see that the broker runs"));
    let _broker = Mosquitto::start(dir.path(), port);
    let (ok, findings) = ask(&url, &[]);
    assert!(
        ok && found(&findings, "broker", "ok").contains("QoS 1"),
        "{findings:#?}"
    );
    let (ok, findings) = ask("http://nowhere", &[]);
    assert!(!ok && found(&findings, "broker", "fail").contains("mqtt://"));
}

#[test]
fn a_database_that_must_not_be_used_is_named_with_its_fix() {
    let dir = tempfile::tempdir().unwrap();
    let plain = Postgres::shared();
    let closed = format!("postgres://postgres@127.0.0.1:{}/postgres", free_port());
    let database = plain.database();
    for (url, fix) in [
        (closed, "reachable"),
        (plain.url_of(&database), "CREATE EXTENSION"),
        (format!("{}x", plain.url_of(&database)), "CREATE DATABASE"),
    ] {
        let (ok, findings) = doctor(on(dir.path(), "doctor").env("FORECARE_STORE__URL", &url));
        let text = found(&findings, "store", "fail");
        let fits = text.contains(fix)
            || (fix == "CREATE EXTENSION" && text.contains("extension timescaledb"));
        assert!(!ok && fits, "{url}: {text}");
    }
    let unsafe_one = Postgres::start_with(Options {
        settings: &[("fsync", "off")],
        ..Options::default()
    });
    let (ok, findings) =
        doctor(on(dir.path(), "doctor").env("FORECARE_STORE__URL", unsafe_one.url()));
    assert!(
        !ok && found(&findings, "store", "fail").contains("fsync"),
        "{findings:#?}"
    );
}

#[test]
fn timescaledb_is_found_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let database = Timescale::shared();
    let store = format!(
        "[store]\nurl = {:?}\nschema = {:?}\n",
        database.url(),
        database.schema()
    );
    let (mut serve, file) = configured(dir.path(), &store);
    let ask = || doctor(on(dir.path(), "doctor").arg("--config").arg(&file));
    assert!(Service::start(&mut serve, dir.path()).stop());
    let (_, findings) = ask();
    // No background worker is part of the tests' TimescaleDB: what depends on them is not looked at here.
    for check in ["store", "server", "schema", "aggregates", "stock", "clock"] {
        found(&findings, check, "ok");
    }
}

/// A child of ours, ended with the test.
struct Waiting(Child);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Status and body of a GET without a token.
fn get(url: &str) -> Option<(u16, String)> {
    let mut response = ureq::get(url)
        .config()
        .http_status_as_error(false)
        .build()
        .call()
        .ok()?;
    Some((
        response.status().as_u16(),
        response.body_mut().read_to_string().ok()?,
    ))
}

#[test]
fn a_service_started_before_its_database_says_what_it_waits_for_and_then_works() {
    let dir = tempfile::tempdir().unwrap();
    let database = Postgres::start();
    let store = format!(
        "[store]\nurl = {:?}\nplain_postgres = true\n",
        database.url()
    );
    database.stop_immediate();
    let (mut serve, file) = configured(dir.path(), &store);
    let config = std::fs::read_to_string(&file).unwrap();
    let http = config.split('"').nth(1).unwrap().to_owned();
    let mut service = Waiting(serve.stdout(Stdio::null()).spawn().unwrap());
    let ready = || get(&format!("http://{http}/readyz"));
    wait_for("the reason", || {
        ready().is_some_and(|(status, body)| status == 503 && body.contains("127.0.0.1"))
    });
    assert_eq!(get(&format!("http://{http}/healthz")).unwrap().0, 200);
    database.start_again();
    wait_for("the service to be ready", || {
        ready().is_some_and(|(status, _)| status == 200)
    });
    assert!(terminate(&mut service.0));
}

#[test]
fn a_wrong_password_ends_the_start_with_the_fix() {
    let dir = tempfile::tempdir().unwrap();
    let database = Postgres::start_with(Options {
        password: Some("right"),
        ..Options::default()
    });
    let password = dir.path().join("password");
    std::fs::write(&password, "wrong\n").unwrap();
    let store = format!(
        "[store]\nurl = \"postgres://postgres@127.0.0.1:{}/postgres\"\npassword_file = {password:?}\nplain_postgres = true\n",
        database.port()
    );
    let (mut serve, _) = configured(dir.path(), &store);
    let (ok, _, err) = run(&mut serve);
    assert!(!ok && err.contains("password"), "{err}");
}

#[test]
fn a_device_added_while_the_service_runs_is_let_in() {
    let dir = tempfile::tempdir().unwrap();
    let (mut serve, file) = configured(dir.path(), "");
    let service = Service::start(&mut serve, dir.path());
    let (ok, out, err) = run(forecare()
        .args([
            "device",
            "add",
            "press-1",
            "--class",
            "screw-compressor",
            "--home",
        ])
        .arg(dir.path())
        .arg("--config")
        .arg(&file));
    assert!(ok && err.contains("running service"), "{err}");
    let password = out.split_whitespace().last().unwrap().to_owned();
    let end = Instant::now() + DEADLINE;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    while service.metric("forecare_readings_stored_total") < 1.0 {
        assert!(Instant::now() < end, "the device was never let in");
        runtime.block_on(publish(service.mqtt_port(), &password));
    }
    assert!(service.stop());
}

/// One reading; gives up when the broker does not let it in.
async fn publish(port: u16, password: &str) {
    use rumqttc::v5::mqttbytes::QoS;
    let mut options = rumqttc::v5::MqttOptions::new("press-1", "127.0.0.1", port);
    options.set_credentials("press-1", password);
    let (client, mut events) = rumqttc::v5::AsyncClient::new(options, 8);
    client
        .publish(
            "devices/press-1/telemetry",
            QoS::AtLeastOnce,
            false,
            "{\"load\":50}",
        )
        .await
        .unwrap();
    let acknowledged = async {
        loop {
            match events.poll().await {
                Ok(rumqttc::v5::Event::Incoming(rumqttc::v5::Incoming::PubAck(_))) => return,
                Ok(_) => {}
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    return;
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), acknowledged)
        .await
        .ok();
}
