//! A PostgreSQL cluster in a temporary directory.

use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{Certificate, DEADLINE, psql, run};

pub(crate) const INSTALL: &str = "PostgreSQL is missing: apt-get install postgresql (bash tests/run does, without starting a server)";

/// Ends the server and removes its directory once the test process has closed the pipe, by its death at the latest.
const GUARD: &str = r#"
trap '' HUP INT TERM
cat >/dev/null
file=$1/data/postmaster.pid
if read -r pid 2>/dev/null <"$file"; then
    kill -QUIT "$pid" 2>/dev/null
    n=0
    while [ -e "$file" ] && [ $n -lt 100 ]; do n=$((n + 1)); sleep 0.05; done
fi
rm -rf "$1"
"#;

/// Names the programs of a PostgreSQL that has TimescaleDB, such as `/usr/lib/postgresql/17/bin`: a test may have to
/// stop its server, so that the URL of one that runs would not do.
const TIMESCALE: &str = "FORECARE_TEST_TIMESCALE";

/// How a cluster is to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// Lines of postgresql.conf.
    pub settings: &'a [(&'a str, &'a str)],
    /// The password of `postgres`; `None`: anyone from this machine is trusted.
    pub password: Option<&'a str>,
    /// Turns on TLS, which is then required.
    pub certificate: Option<&'a Certificate>,
    /// Where the programs are; `None`: the newest that is installed.
    pub programs: Option<&'a Path>,
}

/// A running cluster. `fsync` is on, as the product asks for it.
#[derive(Debug)]
pub struct Postgres {
    directory: TempDir,
    port: u16,
    programs: Option<PathBuf>,
    has_timescale: bool,
    password: Option<String>,
    server: Mutex<Option<Child>>,
    guard: (Child, Option<ChildStdin>),
}

impl Postgres {
    /// A new cluster: some two seconds.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    /// A new cluster, with TimescaleDB in the database `postgres` where `FORECARE_TEST_TIMESCALE` names the programs of
    /// a PostgreSQL that has it. Without it, plain PostgreSQL.
    #[must_use]
    pub fn start_with_timescale_if_there() -> Self {
        let Some(programs) = std::env::var_os(TIMESCALE) else {
            return Self::start();
        };
        let mut cluster = Self::start_with(Options {
            settings: &[
                ("shared_preload_libraries", "timescaledb"),
                ("timescaledb.telemetry_level", "off"),
                ("max_worker_processes", "32"),
            ],
            programs: Some(Path::new(&programs)),
            ..Options::default()
        });
        cluster.sql("postgres", "CREATE EXTENSION timescaledb");
        cluster.has_timescale = true;
        cluster
    }

    /// Whether the database `postgres` has TimescaleDB.
    #[must_use]
    pub fn has_timescale(&self) -> bool {
        self.has_timescale
    }

    /// The one cluster of this process that tests share, a [database](Self::database) for each. Not to be
    /// stopped.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A new cluster that is as `options` say.
    #[must_use]
    pub fn start_with(options: Options<'_>) -> Self {
        let mut cluster = Self::empty(options.programs);
        let password_file = cluster.directory.path().join("password");
        let mut init = cluster.program("initdb");
        init.args([
            "--no-sync",
            "--username=postgres",
            "--encoding=UTF8",
            "--no-locale",
            "-D",
        ]);
        init.arg(cluster.data());
        if let Some(password) = options.password {
            std::fs::write(&password_file, password).unwrap();
            init.arg("--auth=scram-sha-256")
                .arg("--pwfile")
                .arg(&password_file);
            cluster.password = Some(password.to_owned());
        } else {
            init.arg("--auth=trust");
        }
        run(&mut init, INSTALL);
        let mut settings: Vec<(&str, String)> = vec![
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("unix_socket_directories", String::new()),
            ("max_connections", "150".to_owned()),
            ("shared_buffers", "32MB".to_owned()),
            ("timezone", "UTC".to_owned()),
        ];
        if let Some(certificate) = options.certificate {
            // The server accepts its key only where nobody else can read it.
            for (from, name) in [
                (&certificate.certificate, "server.crt"),
                (&certificate.key, "server.key"),
            ] {
                let to = cluster.data().join(name);
                std::fs::copy(from, &to).unwrap();
                give(&to);
            }
            settings.push(("ssl", "on".to_owned()));
            let hba = cluster.data().join("pg_hba.conf");
            let open = std::fs::read_to_string(&hba).unwrap();
            std::fs::write(&hba, open.replace("\nhost ", "\nhostssl ")).unwrap();
        }
        settings.extend(options.settings.iter().map(|(k, v)| (*k, (*v).to_owned())));
        let conf = cluster.data().join("postgresql.conf");
        let mut text = std::fs::read_to_string(&conf).unwrap();
        for (name, value) in settings {
            text.push_str(&format!("{name} = '{value}'\n"));
        }
        std::fs::write(&conf, text).unwrap();
        cluster.start_again();
        cluster
    }

    /// A standby that streams from this cluster and can be [promoted](Self::promote).
    #[must_use]
    pub fn standby(&self) -> Self {
        let standby = Self::empty(self.programs.as_deref());
        let mut copy = self.program("pg_basebackup");
        copy.args([
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
            "-D",
        ]);
        copy.arg(standby.data());
        copy.arg("-d").arg(self.url());
        run(&mut copy, INSTALL);
        standby.start_again();
        standby
    }

    fn empty(programs: Option<&Path>) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("forecare-postgres-")
            .tempdir()
            .unwrap();
        give(directory.path());
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "sh"])
            .arg(directory.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let pipe = guard.stdin.take();
        Self {
            port: free_port(),
            directory,
            programs: programs.map(Path::to_owned),
            has_timescale: false,
            password: None,
            server: Mutex::new(None),
            guard: (guard, pipe),
        }
    }

    /// A program of this cluster's version, run by the user whom PostgreSQL wants.
    fn program(&self, name: &str) -> Command {
        as_server(match &self.programs {
            Some(programs) => programs.join(name),
            None => program(name),
        })
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Port on 127.0.0.1; stays the same over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `postgres://...` of the database `postgres`, as the superuser.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// `postgres://...` of the named database, as the superuser.
    #[must_use]
    pub fn url_of(&self, database: &str) -> String {
        let password = self
            .password
            .as_ref()
            .map_or(String::new(), |p| format!(":{p}"));
        format!(
            "postgres://postgres{password}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// Makes a database; its name.
    #[must_use]
    pub fn database(&self) -> String {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", MADE.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// Runs SQL as the superuser; the result's values, a row a line, separated by `|`.
    #[allow(clippy::must_use_candidate, reason = "many statements have no result")]
    pub fn sql(&self, database: &str, sql: &str) -> String {
        psql(&self.url_of(database), sql)
    }

    /// Stops the server as a crash of all its processes would: no checkpoint, transactions broken off.
    pub fn stop_immediate(&self) {
        self.stop("QUIT");
    }

    /// Stops the server after its clients have been disconnected, and starts it again.
    pub fn restart(&self) {
        self.stop("INT");
        self.start_again();
    }

    /// Starts the stopped server on the same port, and waits until it accepts connections.
    pub fn start_again(&self) {
        let log = self.directory.path().join("log");
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let mut server = self
            .program("postgres")
            .arg("-D")
            .arg(self.data())
            .arg("-p")
            .arg(self.port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|e| panic!("{e}: {INSTALL}"));
        let what = || std::fs::read_to_string(&log).unwrap();
        wait("PostgreSQL to start", || {
            if let Some(status) = server.try_wait().unwrap() {
                panic!("PostgreSQL ended with {status}: {}", what());
            }
            // Its eighth line says how the server is doing.
            let state = std::fs::read_to_string(self.data().join("postmaster.pid"));
            state.is_ok_and(|s| s.lines().nth(7).is_some_and(|l| l.trim() == "ready"))
        });
        *self.server.lock().unwrap() = Some(server);
    }

    /// Ends a standby's recovery: from now on it is written to.
    pub fn promote(&self) {
        self.sql("postgres", "SELECT pg_promote()");
    }

    fn stop(&self, signal: &str) {
        let Some(mut server) = self.server.lock().unwrap().take() else {
            return;
        };
        let pid = server.id().to_string();
        run(Command::new("kill").args([&format!("-{signal}"), &pid]), "");
        wait("PostgreSQL to stop", || {
            server.try_wait().unwrap().is_some()
        });
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let (guard, pipe) = &mut self.guard;
        drop(pipe.take());
        guard.wait().ok();
        if let Some(mut server) = self.server.lock().unwrap_or_else(|e| e.into_inner()).take() {
            server.wait().ok();
        }
    }
}

/// Waits until `done`.
fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A free port. Another program may take it before the server does, which then says so.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A program of PostgreSQL: the newest that Debian's packages installed, or the one on the path.
pub(crate) fn program(name: &str) -> PathBuf {
    let version = |p: &Path| -> u32 {
        let directory = p
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        directory.parse().unwrap_or(0)
    };
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut installed: Vec<PathBuf> = installed.map_while(Result::ok).map(|e| e.path()).collect();
    installed.sort_by_key(|p| version(p));
    let of_version = installed.iter().rev().map(|p| p.join("bin").join(name));
    of_version
        .into_iter()
        .find(|p| p.exists())
        .unwrap_or_else(|| PathBuf::from(name))
}

/// The program, run by the user whom PostgreSQL wants: anyone but root.
fn as_server(program: PathBuf) -> Command {
    if server_user().is_none() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=postgres",
        "--regid=postgres",
        "--clear-groups",
        "--",
    ]);
    command.arg(program);
    // Readable for that user, whatever directory the test runs in.
    command.current_dir("/");
    command
}

/// User and group `postgres`, where this process is root's.
fn server_user() -> Option<(u32, u32)> {
    static USER: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    let id = |args: &[&str]| -> u32 {
        run(Command::new("id").args(args), INSTALL)
            .trim()
            .parse()
            .unwrap()
    };
    *USER.get_or_init(|| {
        let is_root = id(&["-u"]) == 0;
        is_root.then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
    })
}

/// Lets the server's user own `path`.
fn give(path: &Path) {
    if let Some((user, group)) = server_user() {
        chown(path, Some(user), Some(group)).unwrap();
    }
}
