//! What is measured: our service, or a peer that others wrote.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::broker::Client;
use super::database::Database;
use super::usage::Usage;

/// The class of the bench's devices.
pub(super) const CATALOGUE: &str = include_str!("catalogue.toml");
const CLASS: &str = "bench-machine";
/// Readings of one message.
const METRICS: u64 = 8;
/// How long the service may take to start or stop.
const START_MAX: Duration = Duration::from_secs(30);
const CLIENT_ID: &str = "forecare-bench";
/// Where a peer copies to.
const PEER_TABLE: &str = "create table tj (device text not null, ts timestamptz not null, temperature float8, \
    vib_x float8, vib_y float8, vib_z float8, current float8, rpm float8, pressure float8, load float8)";

/// What to start.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Forecare,
    /// A command line.
    Peer(String),
}

impl Kind {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Forecare => "forecare".to_owned(),
            Self::Peer(command) => command
                .split_whitespace()
                .last()
                .and_then(|word| Path::new(word).file_stem())
                .map_or_else(
                    || command.clone(),
                    |stem| stem.to_string_lossy().into_owned(),
                ),
        }
    }

    /// Topic of a device's messages.
    pub(super) fn topic(&self) -> &'static str {
        match self {
            Self::Forecare => "devices/{}/telemetry",
            Self::Peer(_) => "telemetry/{}",
        }
    }

    /// Leaves the session behind that the consumer will take up.
    pub(super) async fn leave_session(&self, port: u16) -> Result<()> {
        match self {
            Self::Forecare => {
                let filters = [
                    "devices/+/telemetry",
                    "devices/+/events",
                    "devices/+/status",
                ];
                Client::leave_session(port, CLIENT_ID, &filters).await
            }
            Self::Peer(_) => Client::leave_session(port, "peer", &["telemetry/#"]).await,
        }
    }

    /// Starts the consumer in a process of its own, so that its CPU and memory are its own.
    pub(super) async fn start(
        &self,
        dir: &Path,
        port: u16,
        database: Option<&mut Database>,
        settings: &[String],
    ) -> Result<Consumer> {
        let mut command = match self {
            Self::Forecare => {
                let catalogue = dir.join("catalogue.toml");
                std::fs::write(&catalogue, CATALOGUE)?;
                let mut command = Command::new(std::env::current_exe()?);
                command
                    .args(["serve", "--http", "127.0.0.1:0", "--mqtt"])
                    .arg(format!("mqtt://127.0.0.1:{port}"))
                    .arg("--home")
                    .arg(dir.join("home"))
                    .env("FORECARE_CATALOGUE", &catalogue)
                    .env("FORECARE_MQTT__CLIENT_ID", CLIENT_ID)
                    .env("FORECARE_INGEST__AUTO_REGISTER", CLASS)
                    .env("FORECARE_LOG__FILTER", "warn");
                if let Some(database) = &database {
                    command.env("FORECARE_STORE__URL", &database.url);
                }
                for setting in settings {
                    let (key, value) = setting
                        .split_once('=')
                        .context("--set takes key=value, such as ingest.batch_linger_ms=5")?;
                    let key = key.to_uppercase().replace('.', "__");
                    command.env(format!("FORECARE_{key}"), value);
                }
                command
            }
            Self::Peer(line) => {
                let Some(database) = database else {
                    bail!("a peer needs --store: it copies into PostgreSQL");
                };
                database.ask(PEER_TABLE).await?;
                database
                    .ask("select create_hypertable('tj', 'ts', create_default_indexes => false)")
                    .await?;
                database
                    .ask("create unique index on tj (device, ts)")
                    .await?;
                let mut command = Command::new("sh");
                command
                    .arg("-c")
                    .arg(format!("exec {line}"))
                    .env("DB", &database.url)
                    .env("PORT", port.to_string());
                command
            }
        };
        let mut child = command
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.name()))?;
        let mut console = None;
        if matches!(self, Self::Forecare) {
            let stdout = child.stdout.take().context("the service has no output")?;
            let mut lines = BufReader::new(stdout).lines();
            console = tokio::time::timeout(START_MAX, async {
                while let Some(line) = lines.next_line().await.ok()? {
                    if let Some((_, address)) = line.split_once("http://") {
                        return Some(address.trim_end_matches('/').to_owned());
                    }
                }
                None
            })
            .await
            .context("the service did not start in time")?;
            if console.is_none() {
                bail!("the service ended before it listened");
            }
            // What it prints later must not fill the pipe.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        }
        Ok(Consumer {
            child,
            console,
            token_file: dir.join("home").join("token"),
        })
    }
}

/// A running consumer; killed when dropped.
pub(super) struct Consumer {
    child: Child,
    /// Address of the service's metrics; `None` of a peer.
    console: Option<String>,
    token_file: PathBuf,
}

impl Consumer {
    pub(super) fn usage(&self) -> Result<Usage> {
        Usage::of(self.child.id().context("the consumer is gone")?)
    }

    /// Messages committed so far, each once.
    pub(super) async fn n_stored(&mut self, database: Option<&mut Database>) -> Result<u64> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the consumer ended by itself ({status})");
        }
        if let Some(n_readings) = self.metric("forecare_readings_stored_total").await? {
            return Ok(n_readings / METRICS);
        }
        let database = database.context("a peer needs --store")?;
        let answer = database.ask("select count(*) from tj").await?;
        Ok(answer.first().context("no count")?.parse()?)
    }

    /// Messages that went to disk first; `None` of a peer.
    pub(super) async fn n_spilled(&self) -> Result<Option<u64>> {
        self.metric("forecare_spill_written_total").await
    }

    /// A metric without labels; `None` of a peer.
    async fn metric(&self, name: &str) -> Result<Option<u64>> {
        let Some(console) = &self.console else {
            return Ok(None);
        };
        let token = std::fs::read_to_string(&self.token_file)?;
        let mut stream = TcpStream::connect(console).await?;
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: {console}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            token.trim()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let value: f64 = answer
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(' '))
            .context("the service shows no metrics")?
            .parse()?;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count far below 2^53"
        )]
        let value = value as u64;
        Ok(Some(value))
    }

    /// True of a consumer whose count costs next to nothing to read.
    pub(super) fn counts_itself(&self) -> bool {
        self.console.is_some()
    }

    /// Asks it to stop, and kills it if it does not.
    pub(super) async fn stop(mut self) -> Result<()> {
        if let Some(pid) = self.child.id() {
            Command::new("kill").arg(pid.to_string()).status().await?;
        }
        if tokio::time::timeout(START_MAX, self.child.wait())
            .await
            .is_err()
        {
            self.child.kill().await?;
        }
        Ok(())
    }
}
