//! A database of the measurement's own on a PostgreSQL server, spoken to through psql.

use std::collections::HashMap;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::usage::cpu_seconds;

/// Ends every answer.
const END: &str = "~end";

/// A session of psql.
struct Psql {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Psql {
    fn open(url: &str) -> Result<Self> {
        let mut child = Command::new("psql")
            .args(["-AtqX", "-v", "ON_ERROR_STOP=1", url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start psql: apt-get install postgresql-client")?;
        Ok(Self {
            input: child.stdin.take().context("psql has no input")?,
            output: BufReader::new(child.stdout.take().context("psql has no output")?).lines(),
            child,
        })
    }

    async fn ask(&mut self, sql: &str) -> Result<Vec<String>> {
        self.input
            .write_all(format!("{sql};\n\\echo {END}\n").as_bytes())
            .await?;
        let mut answer = Vec::new();
        while let Some(line) = self.output.next_line().await? {
            if line == END {
                return Ok(answer);
            }
            answer.push(line);
        }
        bail!("psql ended at: {sql}")
    }
}

/// The database. The server must run on this machine: its processes' CPU time is read.
pub(super) struct Database {
    server: Psql,
    session: Psql,
    name: String,
    pub(super) url: String,
    /// CPU time of the server's processes when the measurement began, and as last seen.
    cpu_seconds: HashMap<u32, (f64, f64)>,
}

impl Database {
    /// Creates the database beside the one that `server_url` names, with TimescaleDB in it.
    pub(super) async fn create(server_url: &str) -> Result<Self> {
        let name = format!("forecare_bench_{}", std::process::id());
        let (authority, query) = match server_url.split_once('?') {
            Some((authority, query)) => (authority, format!("?{query}")),
            None => (server_url, String::new()),
        };
        let begin = authority
            .find("://")
            .context("--store takes a URL: postgres://user@host:port/database")?
            + 3;
        let end = authority[begin..]
            .find('/')
            .map_or(authority.len(), |i| begin + i);
        let url = format!("{}/{name}{query}", &authority[..end]);
        let mut server = Psql::open(server_url)?;
        server.ask(&format!("create database {name}")).await?;
        let mut session = Psql::open(&url)?;
        session
            .ask("create extension if not exists timescaledb")
            .await?;
        Ok(Self {
            server,
            session,
            name,
            url,
            cpu_seconds: HashMap::new(),
        })
    }

    pub(super) async fn ask(&mut self, sql: &str) -> Result<Vec<String>> {
        self.session.ask(sql).await
    }

    /// Reads the CPU time of the database's backends, without our own, and of the server's writers.
    pub(super) async fn look(&mut self) -> Result<()> {
        let pids = self
            .session
            .ask(
                "select pid from pg_stat_activity where pid <> pg_backend_pid() and (datname = current_database() \
                 or backend_type in ('walwriter', 'checkpointer', 'background writer'))",
            )
            .await?;
        let began = !self.cpu_seconds.is_empty();
        for pid in pids.iter().filter_map(|pid| pid.parse().ok()) {
            if let Some(now) = cpu_seconds(pid) {
                // A backend that came later began at 0.
                let first = if began { 0.0 } else { now };
                self.cpu_seconds.entry(pid).or_insert((first, now)).1 = now;
            }
        }
        Ok(())
    }

    /// CPU time used between the first and the last look.
    pub(super) fn cpu_seconds(&self) -> f64 {
        self.cpu_seconds
            .values()
            .map(|(first, now)| now - first)
            .sum()
    }

    pub(super) async fn drop(mut self) -> Result<()> {
        self.session.child.kill().await?;
        let name = self.name;
        self.server
            .ask(&format!("drop database if exists {name} with (force)"))
            .await?;
        Ok(())
    }
}
