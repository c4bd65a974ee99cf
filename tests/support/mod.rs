//! Starting the real binary, talking to it, killing it.
#![allow(dead_code, reason = "every test file uses its own part of this")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for anything in a test.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// The binary under test, with the environment of the developer's shell kept out.
pub(crate) fn forecare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forecare"));
    command.stdin(Stdio::null());
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("FORECARE_")) {
        command.env_remove(key);
    }
    command
}

/// Runs to the end; returns success, standard output and standard error.
pub(crate) fn run(command: &mut Command) -> (bool, String, String) {
    let output = command.output().expect("the binary starts");
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// A running `serve` or `demo`.
pub(crate) struct Service {
    pub(crate) child: Child,
    /// `host:port` of the embedded broker, where it has one.
    pub(crate) mqtt: Option<String>,
    /// `http://host:port/`.
    pub(crate) http: String,
    pub(crate) token: String,
}

impl Service {
    /// Starts `command` and waits for the addresses it prints; the home directory gives the token.
    pub(crate) fn start(command: &mut Command, home: &Path) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary starts");
        let (send, lines) = mpsc::sync_channel(1_000);
        let stdout = child.stdout.take().expect("piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    // Keep reading, so that the child never blocks on a full pipe.
                    continue;
                }
            }
        });
        let mut mqtt = None;
        let mut http = None;
        let end = Instant::now() + DEADLINE;
        while let Ok(line) = lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            let word = line
                .split_whitespace()
                .nth(1)
                .unwrap_or_default()
                .to_owned();
            match line.split_whitespace().next() {
                Some("console") => {
                    let end = word["http://".len()..]
                        .find('/')
                        .map_or(word.len(), |at| at + "http://".len() + 1);
                    http = Some(word[..end].to_owned());
                }
                Some("mqtt") => mqtt = word.strip_prefix("mqtt://").map(str::to_owned),
                Some("token" | "time") => break,
                _ => {}
            }
        }
        let Some(http) = http else {
            let status = child.wait();
            panic!("the service printed no address: {status:?}");
        };
        let token = std::fs::read_to_string(home.join("token"))
            .expect("a token")
            .trim()
            .to_owned();
        Self {
            child,
            mqtt,
            http,
            token,
        }
    }

    pub(crate) fn mqtt_port(&self) -> u16 {
        self.mqtt
            .as_deref()
            .and_then(|a| a.rsplit_once(':'))
            .and_then(|(_, p)| p.parse().ok())
            .expect("a port")
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.http);
        let mut response = ureq::get(&url)
            .header("authorization", &format!("Bearer {}", self.token))
            .call()
            .unwrap_or_else(|e| panic!("GET {url}: {e}"));
        response.body_mut().read_json().expect("JSON")
    }

    pub(crate) fn text(&self, path: &str) -> String {
        let url = format!("{}{path}", self.http);
        let mut response = ureq::get(&url)
            .header("authorization", &format!("Bearer {}", self.token))
            .call()
            .unwrap_or_else(|e| panic!("GET {url}: {e}"));
        response.body_mut().read_to_string().expect("text")
    }

    /// Posts JSON; returns status and body.
    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}{path}", self.http);
        let mut response = ureq::post(&url)
            .config()
            .http_status_as_error(false)
            .build()
            .header("authorization", &format!("Bearer {}", self.token))
            .send_json(body)
            .unwrap_or_else(|e| panic!("POST {url}: {e}"));
        (
            response.status().as_u16(),
            response.body_mut().read_json().unwrap_or(Value::Null),
        )
    }

    /// A metric's value, summed over its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        self.text("metrics")
            .lines()
            .filter(|l| l.starts_with(name) && !l.starts_with('#'))
            .filter(|l| matches!(l.as_bytes().get(name.len()), Some(b' ' | b'{')))
            .filter_map(|l| l.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }

    /// SIGKILL, as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    /// SIGTERM, and the exit it leads to.
    pub(crate) fn stop(mut self) -> bool {
        terminate(&mut self.child)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Already gone is fine.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Ends a child of ours with SIGTERM; true when it ended well.
pub(crate) fn terminate(child: &mut Child) -> bool {
    Command::new("kill")
        .arg(child.id().to_string())
        .status()
        .expect("kill");
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().expect("waited") {
            return status.success();
        }
        assert!(Instant::now() < end, "the service did not stop");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A service with an embedded broker, on free ports.
pub(crate) fn serve(home: &Path) -> Service {
    let mut command = forecare();
    command
        .args(["serve", "--mqtt-listen", "127.0.0.1:0", "--http"])
        .args(["127.0.0.1:0", "--home"])
        .arg(home);
    Service::start(&mut command, home)
}

/// Runs `forecare <args> --home HOME`; fails with what it said unless it ends well.
#[track_caller]
pub(crate) fn well(home: &Path, args: &[&str]) -> String {
    let (ok, out, err) = run(forecare().args(args).arg("--home").arg(home));
    assert!(ok, "{args:?}: {err}");
    out
}

/// The same, which must not end well: what it says.
#[track_caller]
pub(crate) fn badly(home: &Path, args: &[&str]) -> String {
    let (ok, out, err) = run(forecare().args(args).arg("--home").arg(home));
    assert!(!ok, "{args:?}: {out}");
    err
}

/// Waits until `done` holds; fails with `what` at the deadline.
pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "waited {DEADLINE:?} for: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Directory of a public data set, where it is present.
pub(crate) fn dataset(name: &str) -> Option<PathBuf> {
    let base = std::env::var_os("FORECARE_DATASETS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    Some(base.join(name)).filter(|dir| dir.is_dir())
}

/// A real broker that keeps what its subscriber is away for.
pub(crate) struct Mosquitto(Child);

impl Mosquitto {
    /// One that keeps a million messages for a client that is away.
    pub(crate) fn start(dir: &Path, port: u16) -> Self {
        Self::configured(dir, port, "max_queued_messages 1000000\n")
    }

    /// One with the limits it has by itself: what exceeds them it drops.
    pub(crate) fn with_default_limits(dir: &Path, port: u16) -> Self {
        Self::configured(dir, port, "")
    }

    fn configured(dir: &Path, port: u16, more: &str) -> Self {
        let config = dir.join(format!("mosquitto-{port}.conf"));
        std::fs::write(
            &config,
            format!("listener {port} 127.0.0.1\nallow_anonymous true\n{more}"),
        )
        .unwrap();
        let path = [
            "/usr/sbin/mosquitto",
            "/usr/local/sbin/mosquitto",
            "/opt/homebrew/sbin/mosquitto",
        ]
        .into_iter()
        .find(|p| Path::new(p).exists())
        .expect("Mosquitto is missing: apt-get install mosquitto");
        let child = Command::new(path)
            .arg("-c")
            .arg(&config)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("mosquitto starts");
        wait_for("mosquitto", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self(child)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A free loopback port. Another program may take it before it is used; tests that need a known port accept
/// that.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a port")
        .port()
}
