//! What `deploy/` ships fits together, is accepted by the tools it is written for, and has no default secret. What
//! can be started here (broker, Forecare) is started with it; containers cannot.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]

mod support;
#[path = "support/deploy.rs"]
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use support::{Service, forecare, free_port, run, wait_for};
use tree::{bootstrap, copy, files, pass, root, text, tool};
use yaml_rust2::{Yaml, YamlLoader};

fn yaml(text: &str) -> Yaml {
    YamlLoader::load_from_str(text).unwrap().remove(0)
}

/// A service's own key, or the one it has from `x-service`.
fn of<'a>(compose: &'a Yaml, service: &'a Yaml, key: &str) -> &'a Yaml {
    match &service[key] {
        Yaml::BadValue => &compose["x-service"][key],
        own => own,
    }
}

fn strings(list: &Yaml) -> Vec<String> {
    list.as_vec()
        .into_iter()
        .flatten()
        .map(|item| item.as_str().unwrap().to_owned())
        .collect()
}

fn map(yaml: &Yaml) -> BTreeMap<String, &Yaml> {
    yaml.as_hash()
        .unwrap()
        .iter()
        .map(|(key, value)| (key.as_str().unwrap().to_owned(), value))
        .collect()
}

/// A tag that does not move: it names a version.
fn is_pinned(image: &str) -> bool {
    image
        .rsplit_once(':')
        .is_some_and(|(_, tag)| tag.contains('.') && tag.contains(|c: char| c.is_ascii_digit()))
}

#[test]
fn bootstrap_makes_every_file_that_compose_names() {
    let dir = tempfile::tempdir().unwrap();
    let deploy = copy(dir.path());
    let (ok, said) = bootstrap(&deploy, &["broker.example.com", "192.0.2.7"]);
    assert!(ok, "{said}");
    let compose_dir = deploy.join("compose");
    let compose = yaml(&std::fs::read_to_string(compose_dir.join("compose.yaml")).unwrap());
    let env = std::fs::read_to_string(compose_dir.join(".env")).unwrap();

    let secrets = map(&compose["secrets"]);
    for (name, secret) in &secrets {
        let file = compose_dir.join(secret["file"].as_str().unwrap());
        let mode = std::fs::metadata(&file)
            .unwrap_or_else(|e| panic!("secret {name}, {}: {e}", file.display()))
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let mut used = BTreeSet::new();
    for (name, service) in map(&compose["services"]) {
        for secret in strings(&service["secrets"]) {
            assert!(secrets.contains_key(&secret), "{name}: secret {secret}");
            used.insert(secret);
        }
        for volume in strings(&service["volumes"]) {
            let source = volume.split(':').next().unwrap();
            if source.starts_with('.') {
                assert!(compose_dir.join(source).exists(), "{name}: {source}");
            } else {
                assert!(
                    map(&compose["volumes"]).contains_key(source),
                    "{name}: {source}"
                );
            }
        }
        for network in strings(&service["networks"]) {
            assert!(
                map(&compose["networks"]).contains_key(&network),
                "{name}: {network}"
            );
        }
    }
    assert_eq!(used, secrets.into_keys().collect(), "every secret is used");
    // ${NAME:?...} must be in .env; ${NAME:-...} has a default.
    for (at, _) in text("compose/compose.yaml").match_indices(":?") {
        let before = &text("compose/compose.yaml")[..at];
        let name = &before[before.rfind("${").unwrap() + 2..];
        assert!(
            env.lines().any(|l| l.starts_with(&format!("{name}="))),
            "{name} in .env"
        );
    }
}

#[test]
fn bootstrap_overwrites_nothing_and_no_two_secrets_are_equal() {
    let dir = tempfile::tempdir().unwrap();
    let deploy = copy(dir.path());
    let (ok, said) = bootstrap(&deploy, &[]);
    assert!(
        !ok && said.contains("./bootstrap broker.example.com"),
        "{said}"
    );
    let (ok, said) = bootstrap(&deploy, &["-x;y"]);
    assert!(!ok && said.contains("no host name"), "{said}");
    assert!(bootstrap(&deploy, &["localhost"]).0);

    let contents = |what: &Path| -> BTreeMap<_, _> {
        files(what, "")
            .into_iter()
            .map(|file| (file.clone(), std::fs::read(file).unwrap()))
            .collect()
    };
    let instance = deploy.join("compose/instance");
    let first = contents(&instance);
    let (ok, said) = bootstrap(&deploy, &["localhost"]);
    assert!(!ok && said.contains("nothing was changed"), "{said}");
    assert_eq!(contents(&instance), first);
    let secrets = contents(&instance.join("secrets"));
    let distinct: BTreeSet<&Vec<u8>> = secrets.values().collect();
    assert_eq!(distinct.len(), secrets.len());
    assert!(
        secrets.values().all(|secret| secret.len() >= 64),
        "256 bits in hex"
    );
    let env = deploy.join("compose/.env");
    for file in first.keys().chain([&env]) {
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", file.display());
    }
    // A device that knew Forecare's client id could end its session at the broker.
    let client_id = |env: &Path| {
        let text = std::fs::read_to_string(env).unwrap();
        let id = text
            .lines()
            .find_map(|l| l.strip_prefix("FORECARE_CLIENT_ID=forecare-"));
        id.unwrap().to_owned()
    };
    let other = copy(&dir.path().join("other"));
    assert!(bootstrap(&other, &["localhost"]).0);
    assert_eq!(client_id(&env).len(), 32, "128 bits in hex");
    assert_ne!(client_id(&env), client_id(&other.join("compose/.env")));
}

#[test]
fn a_bootstrap_that_fails_at_any_step_leaves_nothing_and_can_be_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let deploy = copy(dir.path());
    let compose = deploy.join("compose");
    let listing = || -> BTreeSet<_> {
        std::fs::read_dir(&compose)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect()
    };
    let before = listing();
    // A program of the script's that fails when it is called with these words.
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let path = std::env::var("PATH").unwrap();
    for (program, words) in [
        ("openssl", "rand -hex 32"),
        ("openssl", "rand -hex 16"),
        ("mv", "*/.env .env"),
        ("mv", "* instance"),
    ] {
        let fake = bin.join(program);
        std::fs::write(
            &fake,
            format!(
                "#!/bin/sh\nPATH='{path}'\ncase \"$*\" in {}) exit 1 ;; esac\nexec {program} \"$@\"\n",
                words.replace(' ', "\\ ")
            ),
        )
        .unwrap();
        std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new(compose.join("bootstrap"));
        command
            .arg("localhost")
            .env("PATH", format!("{}:{path}", bin.display()));
        let (ok, _, text) = run(&mut command);
        assert!(!ok, "{program} {words}: {text}");
        assert_eq!(listing(), before, "{program} {words}");
        std::fs::remove_file(&fake).unwrap();
    }
    let (ok, text) = bootstrap(&deploy, &["localhost"]);
    assert!(ok, "{text}");
}

#[test]
fn compose_confines_every_service_and_pins_every_image() {
    let compose = yaml(&text("compose/compose.yaml"));
    for (name, service) in map(&compose["services"]) {
        assert!(
            !of(&compose, service, "restart").is_badvalue(),
            "{name}: restart"
        );
        assert_eq!(
            of(&compose, service, "read_only").as_bool(),
            Some(true),
            "{name}"
        );
        assert_eq!(
            strings(of(&compose, service, "cap_drop")),
            ["ALL"],
            "{name}"
        );
        assert!(
            !service["healthcheck"]["test"].is_badvalue(),
            "{name}: health check"
        );
        for limit in ["mem_limit", "cpus", "pids_limit"] {
            assert!(!service[limit].is_badvalue(), "{name}: {limit}");
        }
        let image = service["image"].as_str().unwrap();
        assert!(
            is_pinned(image) || image.starts_with("forecare:"),
            "{name}: {image}"
        );
        // One port for the network, those for people on the machine itself only.
        for port in strings(&service["ports"]) {
            assert!(
                port.starts_with("127.0.0.1:") || (name == "mosquitto" && port.ends_with(":8883")),
                "{name}: {port}"
            );
        }
        if name != "timescaledb" {
            assert!(
                service["user"].as_str().unwrap().contains("FORECARE_UID"),
                "{name}"
            );
        }
    }
    let internal = |name: &str| compose["networks"][name]["internal"].as_bool() == Some(true);
    assert!(internal("broker") && internal("database") && internal("watch"));
    assert!(!strings(&compose["services"]["timescaledb"]["networks"]).contains(&"edge".to_owned()));

    let dockerfile = text("Dockerfile");
    let mut stages = BTreeSet::from(["scratch".to_owned()]);
    for line in dockerfile.lines().filter(|l| l.starts_with("FROM ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert!(stages.contains(words[1]) || is_pinned(words[1]), "{line}");
        stages.extend(words.get(3).map(|&name| name.to_owned()));
    }
    let user = dockerfile
        .lines()
        .rfind(|l| l.starts_with("USER "))
        .unwrap();
    assert!(!user.contains("root") && !user.contains(" 0"), "{user}");
    assert!(dockerfile.contains("\nHEALTHCHECK "));
    for line in dockerfile.lines().filter(|l| l.starts_with("COPY deploy/")) {
        let source = line.split_whitespace().nth(1).unwrap();
        assert!(root().join(source).exists(), "{line}");
        assert!(
            std::fs::read_to_string(root().join(".dockerignore"))
                .unwrap()
                .contains(&format!("!{source}\n")),
            "{source} reaches the build"
        );
    }
}

#[test]
fn no_file_holds_a_secret() {
    let words = ["password", "token", "secret", "passwd"];
    for file in files(&root().join("deploy"), "") {
        if file.starts_with(root().join("deploy/compose/instance")) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains("PRIVATE KEY"), "{}", file.display());
        for line in text.lines().map(str::trim).filter(|l| !l.starts_with('#')) {
            let Some((key, value)) = line.split_once([':', '=']) else {
                continue;
            };
            let key = key.to_lowercase();
            let value = value.trim().trim_matches(['"', '\'']);
            // A path, a variable, a list of names, a file of Grafana's: no secret.
            let is_reference = value.is_empty()
                || value.starts_with(['/', '$', '[', '{', '.', '(', ';'])
                || key.ends_with("_file");
            if words.iter().any(|w| key.ends_with(w)) && !key.contains(' ') {
                assert!(is_reference, "{}: {line}", file.display());
            }
        }
    }
}

#[test]
fn scripts_pass_shellcheck() {
    let scripts: Vec<_> = files(&root().join("deploy"), "")
        .into_iter()
        .filter(|file| !file.starts_with(root().join("deploy/compose/instance")))
        .filter(|file| std::fs::read_to_string(file).is_ok_and(|text| text.starts_with("#!")))
        .collect();
    assert!(scripts.len() >= 5, "{scripts:?}");
    pass(tool("shellcheck", "shellcheck").args(&scripts));
    for script in scripts {
        let mode = std::fs::metadata(&script).unwrap().permissions().mode();
        assert_ne!(mode & 0o111, 0, "{} can be run", script.display());
    }
}

#[test]
fn the_unit_is_valid_and_exposes_little() {
    let dir = tempfile::tempdir().unwrap();
    let unit = dir.path().join("forecare.service");
    let binary = env!("CARGO_BIN_EXE_forecare");
    std::fs::write(
        &unit,
        text("forecare.service").replace("/usr/local/bin/forecare", binary),
    )
    .unwrap();
    let said = pass(tool("systemd-analyze", "systemd").arg("verify").arg(&unit));
    assert_eq!(said.trim(), "", "no warnings");
    // Of 10; what is left is that it uses the network.
    pass(
        tool("systemd-analyze", "systemd")
            .args(["security", "--no-pager", "--offline=true", "--threshold=15"])
            .arg(&unit),
    );
}

#[test]
fn commands_beside_the_unit_run_as_its_user_for_its_directory() {
    let unit = text("forecare.service");
    let readme = text("README.md");
    let of_unit = |key: &str| {
        let line = unit
            .lines()
            .find_map(|l| l.strip_prefix(&format!("{key}=")));
        line.unwrap_or_else(|| panic!("{key} in the unit"))
            .to_owned()
    };
    let user = of_unit("User");
    let start = of_unit("ExecStart");
    let after = |flag: &str| {
        let mut words = start.split_whitespace().skip_while(|w| *w != flag).skip(1);
        words.next().unwrap().to_owned()
    };
    // The one line through which all of them go.
    let line = readme
        .lines()
        .find(|l| l.starts_with("as_service()"))
        .unwrap();
    for part in [
        format!("runuser -u {user} --"),
        format!("FORECARE_HOME={}", after("--home")),
        format!("FORECARE_CONFIG={}", after("--config")),
    ] {
        assert!(line.contains(&part), "{part} in {line}");
    }
    assert!(readme.contains(&format!("--shell /usr/sbin/nologin {user}\n")));
    // What the unit refers to is laid down.
    let install = readme
        .lines()
        .find(|l| l.starts_with("install -D -m 0644 -t /usr/share/doc/forecare "))
        .unwrap();
    for page in of_unit("Documentation").split(' ') {
        let name = page
            .strip_prefix("file:///usr/share/doc/forecare/")
            .unwrap();
        assert!(install.contains(&format!("deploy/{name}")), "{page}");
        assert!(root().join("deploy").join(name).is_file(), "{page}");
    }
    assert!(after("--home").ends_with(&of_unit("StateDirectory")));
    // They work as written, on a directory and a configuration of this test's.
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("forecare.toml");
    std::fs::write(&config, "").unwrap();
    let mut tried = 0;
    for line in readme
        .lines()
        .filter_map(|l| l.strip_prefix("as_service forecare "))
    {
        let words: Vec<&str> = line.split('#').next().unwrap().split_whitespace().collect();
        let words = words.iter().map(|w| match *w {
            "history.csv" => dir.path().join("history.csv").display().to_string(),
            w => w.replace("/var/lib/forecare", &dir.path().display().to_string()),
        });
        std::fs::write(
            dir.path().join("history.csv"),
            "device,time,vibration\npress-1,2026-01-01T00:00:00Z,2.5\n",
        )
        .unwrap();
        let (ok, said, err) = run(forecare()
            .args(words)
            .env("FORECARE_HOME", dir.path().join("home"))
            .env("FORECARE_CONFIG", &config));
        // Too little history to learn from, which it says.
        let understood = ok || (line.starts_with("train") && !err.contains("Usage"));
        assert!(understood, "{line}: {said}{err}");
        tried += 1;
    }
    assert_eq!(tried, 5);
}

#[test]
fn the_images_root_is_enough_to_run_the_binary() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    pass(
        Command::new(root().join("deploy/collect-root"))
            .arg(env!("CARGO_BIN_EXE_forecare"))
            .arg(&out),
    );
    let libraries = files(&out, "");
    let loader = libraries
        .iter()
        .find(|path| {
            path.file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with("ld-"))
        })
        .expect("the loader");
    let dirs: BTreeSet<String> = libraries
        .iter()
        .filter(|path| path.to_string_lossy().contains(".so"))
        .map(|path| path.parent().unwrap().display().to_string())
        .collect();
    // The copied loader, told to look nowhere but in the copy.
    let dirs: Vec<String> = dirs.into_iter().collect();
    let said = pass(
        Command::new(loader)
            .args(["--inhibit-cache", "--library-path", &dirs.join(":")])
            .arg(out.join("usr/bin/forecare"))
            .arg("--version"),
    );
    assert!(said.contains(env!("CARGO_PKG_VERSION")), "{said}");

    // Webhooks and mail over TLS are verified by what is in it, and by nothing of this machine's.
    let config = dir.path().join("forecare.toml");
    let channel =
        "[notify.channel.team]\nkind = \"http\"\nurl = \"https://hooks.example/\"\nbody = \"{}\"\n";
    std::fs::write(&config, channel).unwrap();
    let doctor = |authorities: &Path| {
        let (_, said, _) = run(forecare()
            .arg("doctor")
            .arg("--config")
            .arg(&config)
            .arg("--home")
            .arg(dir.path().join("home"))
            .env("SSL_CERT_FILE", authorities)
            .env_remove("SSL_CERT_DIR"));
        said
    };
    let warning = "nothing can be sent over TLS";
    let said = doctor(&out.join("etc/ssl/certs/ca-certificates.crt"));
    assert!(!said.contains(warning), "{said}");
    let said = doctor(&out.join("etc/none"));
    assert!(said.contains(warning) && said.contains("ca_file"), "{said}");
}

#[test]
fn prometheus_and_alertmanager_accept_their_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let deploy = copy(dir.path());
    let token = dir.path().join("token");
    std::fs::write(&token, "x").unwrap();
    let config = deploy.join("prometheus/prometheus.yml");
    let text = std::fs::read_to_string(&config)
        .unwrap()
        .replace("/run/secrets/metrics_token", token.to_str().unwrap());
    std::fs::write(&config, text).unwrap();
    pass(
        tool("promtool", "prometheus")
            .args(["check", "config"])
            .arg(&config),
    );
    pass(
        tool("promtool", "prometheus")
            .args(["test", "rules"])
            .args(files(&deploy.join("prometheus/tests"), ".yml")),
    );
    pass(
        tool("amtool", "prometheus-alertmanager")
            .arg("check-config")
            .arg(deploy.join("alertmanager/alertmanager.yml")),
    );
}

#[test]
fn every_alert_has_a_test_and_a_section_in_the_runbook() {
    let tests = text("prometheus/tests/alerts.yml");
    let runbook = text("runbook.md");
    let rules = yaml(&text("prometheus/rules/alerts.yml"));
    let alerts: Vec<&Yaml> = rules["groups"]
        .as_vec()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_vec().unwrap())
        .collect();
    for alert in &alerts {
        let name = alert["alert"].as_str().unwrap();
        assert!(
            tests.contains(&format!(
                "alertname: {name}\n        exp_alerts:\n          - exp_labels"
            )),
            "{name} fires in a test"
        );
        assert!(
            tests.contains(&format!("alertname: {name}\n        exp_alerts: []")),
            "{name} is quiet in a test"
        );
        assert!(
            runbook.contains(&format!("\n## {name}\n")),
            "{name} in runbook.md"
        );
        let anchor = format!("runbook.md#{}", name.to_lowercase());
        assert_eq!(
            alert["annotations"]["runbook_url"].as_str(),
            Some(anchor.as_str())
        );
        assert!(
            matches!(
                alert["labels"]["severity"].as_str(),
                Some("page" | "ticket")
            ),
            "{name}"
        );
    }
    let sections = runbook.lines().filter(|l| l.starts_with("## ")).count();
    assert_eq!(
        sections,
        alerts.len(),
        "no section for an alert that is gone"
    );
}

/// Mosquitto as compose configures it, with paths and port of this machine.
struct Broker(Child);

impl Broker {
    fn start(deploy: &Path, port: u16) -> Self {
        let compose = deploy.join("compose");
        let instance = compose.join("instance");
        let path = |path: &Path| path.display().to_string();
        let mut config = text("compose/mosquitto/mosquitto.conf");
        for (from, to) in [
            (
                "listener 8883".to_owned(),
                format!("listener {port} 127.0.0.1"),
            ),
            (
                "/run/secrets/broker_certificate".to_owned(),
                path(&instance.join("certificates/broker.crt")),
            ),
            (
                "/run/secrets/broker_key".to_owned(),
                path(&instance.join("certificates/broker.key")),
            ),
            (
                "/mosquitto/users".to_owned(),
                path(&instance.join("mosquitto")),
            ),
            (
                "/mosquitto/config".to_owned(),
                path(&compose.join("mosquitto")),
            ),
            (
                "/mosquitto/data".to_owned(),
                path(&instance.join("state/mosquitto")),
            ),
        ] {
            assert!(config.contains(&from), "{from} in mosquitto.conf");
            config = config.replace(&from, &to);
        }
        // Root would become the user mosquitto, who may not read what bootstrap made; in the container it is
        // another unprivileged user who may.
        config.push_str("user root\n");
        let file = deploy.join("mosquitto-here.conf");
        std::fs::write(&file, config).unwrap();
        let child = tool("mosquitto", "mosquitto")
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("mosquitto", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self(child)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Runs compose's health check of the broker for a broker on `port`.
fn looks_healthy(port: u16) -> bool {
    let compose = yaml(&text("compose/compose.yaml"));
    let test = strings(&compose["services"]["mosquitto"]["healthcheck"]["test"]);
    assert_eq!(test[0], "CMD-SHELL");
    let own = format!(":{:X} ", 8883);
    assert!(test[1].contains(&own), "{}", test[1]);
    let command = test[1].replace(&own, &format!(":{port:04X} "));
    let status = Command::new("sh").args(["-c", &command]).status();
    status.unwrap().success()
}

/// What became of one QoS 1 publish over TLS.
#[derive(Debug, PartialEq)]
enum Published {
    Acknowledged(PubAckReason),
    NoConnection,
}

async fn publish(port: u16, ca: &Path, login: Option<(&str, &str)>, topic: &str) -> Published {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(roots)
    .with_no_client_auth();
    let mut options = MqttOptions::new("deploy-test", "localhost", port);
    options.set_transport(Transport::Tls(TlsConfiguration::Rustls(Arc::new(tls))));
    options.set_keep_alive(Duration::from_secs(5));
    if let Some((user, password)) = login {
        options.set_credentials(user, password);
    }
    let (client, mut events) = AsyncClient::new(options, 10);
    let payload = r#"{"values":{"vibration":2.5}}"#;
    client
        .publish(topic, QoS::AtLeastOnce, false, payload)
        .await
        .unwrap();
    let answer = async {
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::PubAck(ack))) => {
                    return Published::Acknowledged(ack.reason);
                }
                Ok(_) => {}
                Err(_) => return Published::NoConnection,
            }
        }
    };
    tokio::time::timeout(support::DEADLINE, answer)
        .await
        .expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_reach_forecare_through_the_brokers_tls_and_only_under_their_own_name() {
    let dir = tempfile::tempdir().unwrap();
    let deploy = copy(dir.path());
    let (ok, said) = bootstrap(&deploy, &["broker.example.com"]);
    assert!(ok, "{said}");
    let compose = deploy.join("compose");
    let instance = compose.join("instance");
    let ca = instance.join("certificates/ca.crt");
    let port = free_port();
    assert!(!looks_healthy(port));
    let broker = Broker::start(&deploy, port);
    assert!(looks_healthy(port));

    // Forecare as compose configures it, with paths and addresses of this machine, and SQLite.
    let mut config = text("compose/forecare.toml");
    let path = |path: std::path::PathBuf| path.display().to_string();
    for (from, to) in [
        (
            "mqtts://mosquitto:8883".to_owned(),
            format!("mqtts://localhost:{port}"),
        ),
        (
            "/run/secrets/mqtt_password".to_owned(),
            path(instance.join("secrets/mqtt_password")),
        ),
        (
            "/run/secrets/database_password".to_owned(),
            path(instance.join("secrets/database_password")),
        ),
        ("/run/secrets/ca_certificate".to_owned(), path(ca.clone())),
        (
            "/etc/forecare/catalogue.toml".to_owned(),
            path(instance.join("catalogue.toml")),
        ),
        ("0.0.0.0:8080".to_owned(), "127.0.0.1:0".to_owned()),
    ] {
        assert!(config.contains(&from), "{from} in forecare.toml");
        config = config.replace(&from, &to);
    }
    let file = compose.join("here.toml");
    std::fs::write(&file, &config).unwrap();
    let (ok, _, said) = run(forecare().args(["config", "check", "--config"]).arg(&file));
    assert!(ok, "{said}");
    let url = "postgres://forecare@timescaledb:5432/forecare";
    assert!(config.contains(url));
    std::fs::write(&file, config.replace(url, "")).unwrap();
    let home = instance.join("state/forecare");
    let mut serve = forecare();
    serve
        .arg("serve")
        .arg("--config")
        .arg(&file)
        .arg("--home")
        .arg(&home);
    let service = Service::start(&mut serve, &home);
    wait_for("the subscription", || {
        service.metric("forecare_ingest_connected") > 0.0
    });

    // What the broker showed, as bootstrap made it: 825 days.
    let expiry = service.metric("forecare_peer_certificate_expiry_timestamp_seconds");
    let (_, now, _) = run(Command::new("date").arg("+%s"));
    let days = (expiry - now.trim().parse::<f64>().unwrap()) / 86_400.0;
    assert!((823.0..=826.0).contains(&days), "{days}");
    let (_, said, _) = run(forecare()
        .args(["doctor", "--config"])
        .arg(&file)
        .arg("--home")
        .arg(&home));
    assert!(said.contains("its certificate expires in 82"), "{said}");

    // By add-device, with a docker that runs here what it is to run in the containers.
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n\
         'compose exec -T forecare /usr/bin/forecare device add '*) shift 5; n=$#\n\
         while [ \"$n\" -gt 0 ]; do case $1 in\n\
         /etc/forecare/forecare.toml) set -- \"$@\" '{}' ;; /var/lib/forecare) set -- \"$@\" '{}' ;; *) set -- \"$@\" \"$1\" ;;\n\
         esac; shift; n=$((n - 1)); done; exec '{}' \"$@\" ;;\n\
         'compose exec -T mosquitto kill -HUP 1') kill -HUP {} ;;\n\
         *) echo \"docker $*\" >&2; exit 1 ;;\nesac\n",
        file.display(),
        home.display(),
        env!("CARGO_BIN_EXE_forecare"),
        broker.0.id(),
    );
    std::fs::write(bin.join("docker"), script).unwrap();
    std::fs::set_permissions(bin.join("docker"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let (ok, said, err) = run(Command::new(compose.join("add-device"))
        .args(["--site", "Hall 1, north", "--name", "The old press"])
        .args(["screw-compressor", "press-1"])
        .env("PATH", format!("{}:{path}", bin.display()))
        .stdin(Stdio::null()));
    assert!(ok, "{said}{err}");
    let password = said
        .lines()
        .find_map(|l| l.strip_prefix("password"))
        .unwrap()
        .trim()
        .to_owned();
    let asset = service.get("api/v1/assets/press-1");
    assert_eq!(
        (&asset["site"], &asset["name"]),
        (&"Hall 1, north".into(), &"The old press".into()),
        "{asset}"
    );

    let mine = Some(("press-1", password.as_str()));
    let own = "devices/press-1/telemetry";
    let end = tokio::time::Instant::now() + support::DEADLINE;
    // Broker and service learn of the new device in their own time.
    while service.metric("forecare_readings_stored_total") < 1.0 {
        assert!(
            tokio::time::Instant::now() < end,
            "the device's reading is stored"
        );
        publish(port, &ca, mine, own).await;
    }
    assert_eq!(
        publish(port, &ca, mine, own).await,
        Published::Acknowledged(PubAckReason::Success)
    );

    let refused = Published::Acknowledged(PubAckReason::NotAuthorized);
    assert_eq!(
        publish(port, &ca, mine, "devices/press-2/telemetry").await,
        refused
    );
    assert_eq!(
        publish(port, &ca, mine, "v1/devices/me/telemetry").await,
        refused
    );
    assert_eq!(
        publish(port, &ca, Some(("press-1", "wrong")), own).await,
        Published::NoConnection
    );
    assert_eq!(publish(port, &ca, None, own).await, Published::NoConnection);
    // Another authority's word is not taken.
    let other = copy(&dir.path().join("other"));
    assert!(bootstrap(&other, &["broker.example.com"]).0);
    let foreign = other.join("compose/instance/certificates/ca.crt");
    assert_eq!(
        publish(port, &foreign, mine, own).await,
        Published::NoConnection
    );
    assert!(service.stop());
}
