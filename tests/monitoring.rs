//! Debian's Prometheus with the rules of `deploy/`, watching a running instance: a fault that the simulator injects
//! makes the right alert fire, and it reaches Alertmanager.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]

mod support;
#[path = "support/deploy.rs"]
mod tree;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use forecare_catalogue::Catalogue;
use forecare_domain::{Clock, Timestamp};
use forecare_simulator::{
    CLASS, CONNECTIONS_MAX_DEFAULT, Credentials, Fleet, FleetConfig, PublishStats, PublisherConfig,
    publish,
};
use serde_json::Value;
use support::{Service, forecare, free_port, run, wait_for};
use tree::{copy, tool};

/// A process of ours, ended with the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Simulated time, moved by the test.
#[derive(Debug)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

fn get(url: &str) -> Option<Value> {
    ureq::get(url).call().ok()?.body_mut().read_json().ok()
}

/// The labels of alerts that fire in Prometheus, by name.
fn firing(prometheus: &str) -> Vec<(String, Value)> {
    let alerts = get(&format!("{prometheus}/api/v1/alerts")).unwrap_or_default();
    alerts["data"]["alerts"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|alert| alert["state"] == "firing")
        .map(|alert| {
            let name = alert["labels"]["alertname"].as_str().unwrap_or_default();
            (name.to_owned(), alert["labels"].clone())
        })
        .collect()
}

fn query(prometheus: &str, expression: &str) -> Option<f64> {
    let url = format!("{prometheus}/api/v1/query?query={expression}");
    let answer = get(&url)?;
    answer["data"]["result"][0]["value"][1]
        .as_str()?
        .parse()
        .ok()
}

/// Starts Prometheus and Alertmanager with the files of `deploy/`: addresses are this machine's, and what takes
/// minutes there takes a second.
fn start(deploy: &Path, service: &Service, token: &Path) -> (Running, Running, String, String) {
    let (port, manager) = (free_port(), free_port());
    let config = deploy.join("prometheus/prometheus.yml");
    let target = service
        .http
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    let mut text = std::fs::read_to_string(&config).unwrap();
    for (from, to) in [
        ("/run/secrets/metrics_token", token.display().to_string()),
        ("forecare:8080", target),
        ("alertmanager:9093", format!("127.0.0.1:{manager}")),
        ("scrape_interval: 15s", "scrape_interval: 1s".to_owned()),
        ("scrape_timeout: 10s", "scrape_timeout: 1s".to_owned()),
        (
            "evaluation_interval: 15s",
            "evaluation_interval: 1s".to_owned(),
        ),
    ] {
        assert!(text.contains(from), "{from} in prometheus.yml");
        text = text.replace(from, &to);
    }
    std::fs::write(&config, text).unwrap();
    let prometheus = Running::start(
        tool("prometheus", "prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                deploy.join("prometheus-data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}")),
    );
    let routes = deploy.join("alertmanager/alertmanager.yml");
    let text = std::fs::read_to_string(&routes).unwrap();
    assert!(text.contains("group_wait: 10s"));
    std::fs::write(&routes, text.replace("group_wait: 10s", "group_wait: 0s")).unwrap();
    let alertmanager = Running::start(
        tool("prometheus-alertmanager", "prometheus-alertmanager")
            .arg(format!("--config.file={}", routes.display()))
            .arg(format!(
                "--storage.path={}",
                deploy.join("alertmanager-data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{manager}"))
            .arg("--cluster.listen-address="),
    );
    (
        prometheus,
        alertmanager,
        format!("http://127.0.0.1:{port}"),
        format!("http://127.0.0.1:{manager}"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_injected_fault_makes_the_alert_fire_and_reach_alertmanager() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let config = dir.path().join("forecare.toml");
    // History is replayed as fast as it goes; every reading is judged at its own time.
    std::fs::write(
        &config,
        "clock = \"device\"\n[ingest]\nfuture_tolerance_minutes = 1e9\n",
    )
    .unwrap();
    let (ok, said, err) = run(forecare()
        .args(["device", "add-gateway", "fleet", "--config"])
        .arg(&config)
        .arg("--home")
        .arg(&home));
    assert!(ok, "{err}");
    let password = said
        .lines()
        .find_map(|l| l.strip_prefix("password"))
        .unwrap()
        .trim()
        .to_owned();
    let mut serve = forecare();
    serve
        .args([
            "serve",
            "--mqtt-listen",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--config",
        ])
        .arg(&config)
        .arg("--home")
        .arg(&home)
        .env("FORECARE_INGEST__AUTO_REGISTER", CLASS);
    let service = Service::start(&mut serve, &home);
    let deploy = copy(dir.path());
    let (_prometheus, _alertmanager, prometheus, alertmanager) =
        start(&deploy, &service, &home.join("metrics-token"));

    // Four machines, one of which begins to wear out after eight days.
    let catalogue =
        std::fs::read_to_string(deploy.join("../crates/catalogue/catalogues/demo.toml")).unwrap();
    let begin = Timestamp::from_millis(1_700_000_000_000);
    let fleet = Fleet::new(
        &FleetConfig {
            seed: 7,
            n_devices: 4,
            start: begin,
            sample_interval_s: 600.0,
            n_faults: 1,
            first_onset_hours: 8.0 * 24.0,
            onset_spacing_hours: 0.0,
        },
        &Catalogue::parse(&catalogue).unwrap(),
    )
    .unwrap();
    let fault = fleet.faults()[0].clone();
    let clock = Arc::new(Hand(AtomicI64::new(begin.as_millis())));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let stats = Arc::new(PublishStats::default());
    let publisher = PublisherConfig {
        broker: service.mqtt.as_deref().unwrap().parse().unwrap(),
        credentials: Credentials::Gateway {
            username: "fleet".to_owned(),
            password,
        },
        connections_max: CONNECTIONS_MAX_DEFAULT,
    };
    let task = tokio::spawn(publish(
        fleet,
        publisher,
        clock.clone(),
        stopped,
        Arc::clone(&stats),
    ));

    // Healthy: everything arrives, Prometheus sees it, and no machine is alarming.
    clock.0.store(fault.onset_at.as_millis(), Ordering::SeqCst);
    let n_healthy = 4.0 * 8.0 * 24.0 * 6.0;
    wait_for("the healthy days", || {
        service.metric("forecare_messages_total") >= n_healthy
    });
    wait_for("Prometheus has seen the alarms there are", || {
        query(&prometheus, "forecare_messages_total").is_some_and(|n| n >= n_healthy)
            && query(&prometheus, "sum(forecare_devices)") == Some(4.0)
            && query(&prometheus, "sum(forecare_alarms_active)").is_some()
    });
    let before = firing(&prometheus);
    assert!(
        before.is_empty(),
        "nothing fires on a healthy fleet: {before:?}"
    );

    // The fault runs its course.
    clock
        .0
        .store(fault.failure_at.as_millis(), Ordering::SeqCst);
    let mut labels = Value::Null;
    wait_for("ForecareCriticalAlarm fires in Prometheus", || {
        let found = firing(&prometheus)
            .into_iter()
            .find(|(name, _)| name == "ForecareCriticalAlarm");
        found.is_some_and(|(_, found)| {
            labels = found;
            true
        })
    });
    assert_eq!(labels["class"], CLASS);
    assert_eq!(labels["severity"], "page");
    let alarms = service.get("api/v1/alarms?limit=100");
    let critical: Vec<&Value> = alarms["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|alarm| alarm["severity"] == "critical")
        .collect();
    assert!(
        !critical.is_empty()
            && critical
                .iter()
                .all(|alarm| alarm["device_id"] == fault.device.as_str()),
        "it is about the machine that fails: {critical:#?}"
    );
    wait_for("it reaches Alertmanager, for those on call", || {
        let url = format!("{alertmanager}/api/v2/alerts?filter=alertname=ForecareCriticalAlarm");
        get(&url).is_some_and(|alerts| {
            alerts[0]["receivers"][0]["name"] == "on-call"
                && alerts[0]["annotations"]["runbook_url"] == "runbook.md#forecarecriticalalarm"
        })
    });

    stop.send_replace(true);
    task.await.unwrap().unwrap();
    // The other end of the scale: the service itself is gone.
    drop(service);
    wait_for("Prometheus finds the instance down", || {
        query(&prometheus, "up") == Some(0.0)
    });
}
