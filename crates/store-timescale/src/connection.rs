//! Connections: a pool for reading and for the care desk, one connection apart for readings, and what
//! becomes of a call when one of them is lost.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::str::FromStr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, PoolError, RecyclingMethod, Runtime,
    Transaction,
};
use forecare_store::StoreError;
use forecare_tls::PeerCertificate;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{Config, IsolationLevel, NoTls};

use crate::fault::{Fault, Outcome, misconfigured, unavailable};
use crate::service::{Fence, token_of};
use crate::settings::TimescaleSettings;
use crate::tls;

/// How long a host may take to answer a connection attempt.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence after which the other end is asked whether it is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// Unacknowledged data after this long means the connection is lost.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to go on asking what became of a COMMIT that was cut off.
const OUTCOME_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause between two such questions.
const OUTCOME_PAUSE: Duration = Duration::from_millis(250);
/// First key of every advisory lock; the second is the hash of the schema's name.
const CARE_LOCK: i32 = 0x4643_4152;
/// As [`CARE_LOCK`], held by whoever changes master data.
const RECORDS_LOCK: i32 = 0x4643_5245;
/// As [`CARE_LOCK`], held by whoever brings the schema up to date.
const START_LOCK: i32 = 0x4643_5354;

/// What a store's connections are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Write,
    /// The server refuses whatever would change something.
    Read,
}

/// The connections of one store.
pub(crate) struct Pool {
    shared: deadpool_postgres::Pool,
    /// One connection: readings neither wait for others nor keep them waiting.
    ingest: deadpool_postgres::Pool,
    limit: Duration,
    address: String,
    spent: Mutex<Vec<String>>,
    /// Set where these connections are a service's.
    fence: OnceLock<Arc<Fence>>,
    certificate: Arc<PeerCertificate>,
}

/// A borrowed connection. It goes back only by [`Session::release`]: one that was left in the middle of
/// something is closed instead.
pub(crate) struct Session(Option<Object>);

impl Pool {
    /// Builds the pool; connects nowhere yet.
    pub(crate) fn new(settings: &TimescaleSettings, access: Access) -> Result<Self, StoreError> {
        let config = config(settings)?;
        let address = address(&config);
        if in_the_clear(&config) {
            tracing::warn!(%address, "sslmode=disable: passwords and readings cross the network in the clear");
        }
        let mut set_up = set_up(settings);
        if access == Access::Read {
            set_up += "; SET default_transaction_read_only = on";
        }
        let certificate = Arc::new(PeerCertificate::default());
        let build = |n_max: usize| {
            let recycling = ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            };
            let manager = if config.get_ssl_mode() == SslMode::Disable {
                Manager::from_config(config.clone(), NoTls, recycling)
            } else {
                let connector =
                    tls::connector(settings.ca_file.as_deref(), Arc::clone(&certificate))?;
                Manager::from_config(config.clone(), connector, recycling)
            };
            let set_up = set_up.clone();
            deadpool_postgres::Pool::builder(manager)
                .max_size(n_max)
                .runtime(Runtime::Tokio1)
                .create_timeout(Some(CONNECT_TIMEOUT.saturating_mul(2)))
                .post_create(Hook::async_fn(move |client, _| {
                    let set_up = set_up.clone();
                    Box::pin(async move {
                        client
                            .batch_execute(&set_up)
                            .await
                            .map_err(HookError::Backend)
                    })
                }))
                .build()
                .map_err(|e| unavailable(format!("the connection pool cannot be made: {e}")))
        };
        Ok(Self {
            shared: build(settings.pool_max)?,
            ingest: build(1)?,
            limit: settings.statement_timeout,
            address,
            spent: Mutex::default(),
            fence: OnceLock::new(),
            certificate,
        })
    }

    /// From now on every commit makes sure that no other service has taken over.
    pub(crate) fn fence(&self, fence: Arc<Fence>) {
        // A store serves once.
        self.fence.set(fence).ok();
    }

    /// What the server showed when a connection was last made.
    pub(crate) fn certificate(&self) -> &PeerCertificate {
        &self.certificate
    }

    /// Hosts and database, for messages.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A connection for reading, and for all writing but readings.
    pub(crate) async fn session(&self) -> Outcome<Session> {
        Ok(Session(Some(
            self.shared.get().await.map_err(|e| self.refused(e))?,
        )))
    }

    /// The connection that stores readings.
    pub(crate) async fn ingest_session(&self) -> Outcome<Session> {
        Ok(Session(Some(
            self.ingest.get().await.map_err(|e| self.refused(e))?,
        )))
    }

    /// A connection without time-out, for migrations and maintenance.
    pub(crate) async fn patient_session(&self) -> Outcome<Session> {
        let session = self.session().await?;
        session
            .batch_execute("SET statement_timeout = 0; SET lock_timeout = 0")
            .await?;
        Ok(session)
    }

    fn refused(&self, e: PoolError) -> Fault {
        match e {
            PoolError::Backend(e) | PoolError::PostCreateHook(HookError::Backend(e)) => {
                Fault::Postgres(e)
            }
            PoolError::Closed => Fault::Store(unavailable(format!(
                "the store at {} is closed",
                self.address
            ))),
            e @ PoolError::Timeout(_) => Fault::Store(StoreError::Unavailable {
                what: format!(
                    "no connection to {} within {} s; see that the server is reachable",
                    self.address,
                    CONNECT_TIMEOUT.saturating_mul(2).as_secs()
                ),
                source: Some(Box::new(e)),
            }),
            e @ (PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_)) => {
                Fault::Store(unavailable(format!("{}: {e}", self.address)))
            }
        }
    }

    /// Runs a call of the port within the time-out. One that takes longer is dropped, and its connection
    /// closed: COPY heeds no `statement_timeout` of the server's.
    pub(crate) async fn bounded<T>(
        &self,
        what: &str,
        work: impl Future<Output = Outcome<T>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.limit, work).await {
            Ok(done) => done.map_err(|fault| fault.at(&self.address, what)),
            Err(late) => Err(StoreError::Unavailable {
                what: format!(
                    "{what}: {} did not finish within {} s; see what it is busy with (pg_stat_activity), or raise statement_timeout",
                    self.address,
                    self.limit.as_secs()
                ),
                // It may pass: whoever waits for the database at a start goes on waiting.
                source: Some(Box::new(std::io::Error::new(ErrorKind::TimedOut, late))),
            }),
        }
    }

    /// Commits, unless columns of the layout were added since `n_columns` were counted. Where the connection is
    /// lost on the way, another one is asked what became of it: `Ok` means committed, whatever happened.
    ///
    /// The transaction leaves a mark that is its own. Its number would not do: after a crash PostgreSQL may give
    /// the number of a transaction that never reached the disk to another one, which then is committed.
    pub(crate) async fn commit(&self, tx: Transaction<'_>, n_columns: Option<i64>) -> Outcome<()> {
        let spent = std::mem::take(&mut *self.spent());
        let mark = leave_mark(&tx, &spent, n_columns, self.fence.get()).await;
        let done = match mark {
            Ok(mark) => match tx.commit().await {
                Ok(()) => Ok(mark),
                Err(lost) if is_cut_off(&lost) => {
                    let asking = self.is_committed(&mark);
                    match tokio::time::timeout(OUTCOME_TIMEOUT, asking).await {
                        Ok(true) => Ok(mark),
                        Ok(false) | Err(_) => Err(lost.into()),
                    }
                }
                Err(lost) => Err(lost.into()),
            },
            Err(fault) => Err(fault),
        };
        match done {
            Ok(mark) => {
                self.spent().push(mark);
                Ok(())
            }
            Err(fault) => {
                self.spent().extend(spent);
                Err(fault)
            }
        }
    }

    /// Whether the transaction that left `mark` was committed; asks until the server answers. Leaving the same
    /// mark again waits for that transaction's end, and succeeds only if it was rolled back.
    async fn is_committed(&self, mark: &str) -> bool {
        loop {
            let asking = async {
                let session = self.session().await?;
                let n_left = session
                    .execute(
                        "INSERT INTO commit_marks (mark) VALUES ($1::text::uuid) ON CONFLICT DO NOTHING",
                        &[&mark],
                    )
                    .await?;
                session.release();
                Outcome::Ok(n_left)
            };
            match asking.await {
                Ok(0) => return true,
                Ok(_) => {
                    self.spent().push(mark.to_owned());
                    return false;
                }
                // Not back yet.
                Err(_) => tokio::time::sleep(OUTCOME_PAUSE).await,
            }
        }
    }

    /// Marks of transactions whose outcome is known: the next one removes them.
    fn spent(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        // A list of texts is whole, whoever panicked with it.
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes every connection that is idle now, and the others when they are given back.
    pub(crate) fn close(&self) {
        self.shared.close();
        self.ingest.close();
    }
}

impl Session {
    /// One state of the database for several queries, which change nothing.
    pub(crate) async fn snapshot(&mut self) -> Outcome<Transaction<'_>> {
        let builder = self.build_transaction();
        let builder = builder.isolation_level(IsolationLevel::RepeatableRead);
        Ok(builder.read_only(true).start().await?)
    }

    /// Gives the connection back to be used again.
    pub(crate) fn release(mut self) {
        drop(self.0.take());
    }

    /// Gives the connection back after work that succeeded, or failed for another reason than the connection.
    pub(crate) fn give_back<T>(self, done: &Outcome<T>) {
        match done {
            Ok(_) => self.release(),
            Err(fault) => self.release_after(fault),
        }
    }

    /// Gives the connection back after work that failed, unless the failure was its own.
    pub(crate) fn release_after(self, fault: &Fault) {
        if !fault.spoils_connection() {
            self.release();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

impl Deref for Session {
    type Target = Object;

    #[allow(
        clippy::expect_used,
        reason = "taken only by `release` and `drop`, which end it"
    )]
    fn deref(&self) -> &Object {
        self.0.as_ref().expect("a session lasts until released")
    }
}

impl DerefMut for Session {
    #[allow(
        clippy::expect_used,
        reason = "taken only by `release` and `drop`, which end it"
    )]
    fn deref_mut(&mut self) -> &mut Object {
        self.0.as_mut().expect("a session lasts until released")
    }
}

/// Leaves a mark in the transaction, and removes those that are `spent`. Where the transaction is a service's, no other
/// can take over before its end.
async fn leave_mark(
    tx: &Transaction<'_>,
    spent: &[String],
    n_columns: Option<i64>,
    fence: Option<&Arc<Fence>>,
) -> Outcome<String> {
    let Some(fence) = fence else {
        let statement = tx
            .prepare_cached(
                "WITH gone AS (DELETE FROM commit_marks WHERE mark = ANY ($1::text[]::uuid[]))
                 INSERT INTO commit_marks DEFAULT VALUES RETURNING mark::text, (SELECT count(*) FROM class_columns)",
            )
            .await?;
        return marked(&tx.query_one(&statement, &[&spent]).await?, n_columns);
    };
    let statement = tx
        .prepare_cached(
            "WITH gone AS (DELETE FROM commit_marks WHERE mark = ANY ($1::text[]::uuid[])),
                 service AS (SELECT value FROM settings WHERE key = 'service' FOR SHARE)
             INSERT INTO commit_marks DEFAULT VALUES RETURNING mark::text, (SELECT count(*) FROM class_columns),
                 (SELECT value FROM service)",
        )
        .await?;
    let row = tx.query_one(&statement, &[&spent]).await?;
    let value: Option<String> = row.try_get(2)?;
    if value.as_deref().and_then(token_of).as_deref() != Some(fence.token()) {
        return Err(fence.replaced_by(value.as_deref()));
    }
    marked(&row, n_columns)
}

/// The mark, unless columns were added since they were counted.
fn marked(row: &tokio_postgres::Row, n_columns: Option<i64>) -> Outcome<String> {
    if n_columns.is_some_and(|known| row.get::<_, i64>(1) != known) {
        return Err(Fault::LayoutChanged);
    }
    Ok(row.try_get(0)?)
}

/// The connection ended, or may have, before the server's answer came.
fn is_cut_off(e: &tokio_postgres::Error) -> bool {
    e.code()
        .is_none_or(|code| code.code().starts_with("57P") || code.code().starts_with("08"))
}

/// Waits until no other transaction of this schema changes tickets, reservations, stock or care outcomes.
/// The first statement of every such transaction.
pub(crate) async fn lock_care(tx: &tokio_postgres::Transaction<'_>) -> Outcome<()> {
    tx.execute(
        "SELECT pg_advisory_xact_lock($1, hashtext(current_schema()))",
        &[&CARE_LOCK],
    )
    .await?;
    Ok(())
}

/// Waits until no other transaction of this schema changes master data. The first statement of every such one.
pub(crate) async fn lock_records(tx: &tokio_postgres::Transaction<'_>) -> Outcome<()> {
    tx.execute(
        "SELECT pg_advisory_xact_lock($1, hashtext(current_schema()))",
        &[&RECORDS_LOCK],
    )
    .await?;
    Ok(())
}

/// Waits until no other process brings this schema up to date.
pub(crate) async fn lock_start(tx: &tokio_postgres::Transaction<'_>, schema: &str) -> Outcome<()> {
    tx.execute(
        "SELECT pg_advisory_xact_lock($1, hashtext($2))",
        &[&START_LOCK, &schema],
    )
    .await?;
    Ok(())
}

/// What every new connection is told.
pub(crate) fn set_up(settings: &TimescaleSettings) -> String {
    format!(
        "-- The extension's functions are found wherever it was created.
         SELECT set_config('search_path', concat_ws(', ', '{schema}', (
             SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace
             WHERE extname = 'timescaledb' AND nspname <> 'public'), 'public'), false);
         SET statement_timeout = {limit_ms};
         SET lock_timeout = {limit_ms};
         SET idle_in_transaction_session_timeout = {idle_ms};
         -- Compiling costs seconds wherever the planner expects too many rows, and saves none: our queries are short.
         SET jit = off;
         SET client_min_messages = warning;
         SET TimeZone = 'UTC';
         -- Late readings of a whole fleet may touch any number of compressed batches at once.
         SET timescaledb.max_tuples_decompressed_per_dml_transaction = 0;
         -- Off is refused at the start; a change of the server's mind must not reach us either.
         SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')
             WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)",
        schema = settings.schema,
        limit_ms = settings.statement_timeout.as_millis(),
        idle_ms = settings.statement_timeout.saturating_mul(2).as_millis(),
    )
}

/// How to reach the server.
pub(crate) fn config(settings: &TimescaleSettings) -> Result<Config, StoreError> {
    // libpq's names for what is always done here: the certificate is verified wherever TLS is used.
    let url = settings
        .url
        .replace("sslmode=verify-full", "sslmode=require")
        .replace("sslmode=verify-ca", "sslmode=require");
    if let Some((scheme, _)) = url.split_once("://")
        && !matches!(scheme, "postgres" | "postgresql")
    {
        return Err(misconfigured(format!(
            "the URL of the database begins with {scheme}://, which is not spoken here; it looks like postgres://user@host/database"
        )));
    }
    let mut config = Config::from_str(&url).map_err(|e| {
        misconfigured(format!(
            "the URL of the database cannot be read ({}); it looks like postgres://user@host/database?sslmode=require",
            std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string)
        ))
    })?;
    if let Some(password) = &settings.password {
        config.password(password);
    }
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(misconfigured(
            "the URL of the database names no host; it looks like postgres://user@host/database",
        ));
    }
    if config.get_ssl_mode() == SslMode::Prefer {
        // Never "with TLS if the server likes": whoever sits between could say it does not.
        config.ssl_mode(if is_local(&config) && settings.ca_file.is_none() {
            SslMode::Disable
        } else {
            SslMode::Require
        });
    }
    config
        .connect_timeout(CONNECT_TIMEOUT)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_IDLE)
        .tcp_user_timeout(TCP_USER_TIMEOUT)
        .target_session_attrs(TargetSessionAttrs::ReadWrite)
        .application_name(&settings.application_name);
    Ok(config)
}

impl TimescaleSettings {
    /// Hosts and name of the database, without user and password.
    ///
    /// # Errors
    /// The URL cannot be read.
    pub fn database(&self) -> Result<String, StoreError> {
        config(self).map(|config| address(&config))
    }
}

/// Passwords and readings cross a network that anybody may listen to: somebody has asked for it.
pub(crate) fn in_the_clear(config: &Config) -> bool {
    config.get_ssl_mode() == SslMode::Disable && !is_local(config)
}

/// Every host is this machine.
fn is_local(config: &Config) -> bool {
    let hosts = config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    });
    hosts && config.get_hostaddrs().iter().all(IpAddr::is_loopback)
}

/// `host:port,host:port/database`: no user, no password.
pub(crate) fn address(config: &Config) -> String {
    let ports = config.get_ports();
    let port = |i: usize| ports.get(i).or(ports.first()).copied().unwrap_or(5432);
    let hosts = config.get_hosts().iter().enumerate();
    let mut hosts: Vec<String> = hosts
        .map(|(i, host)| match host {
            Host::Tcp(name) => format!("{name}:{}", port(i)),
            #[cfg(unix)]
            Host::Unix(path) => path.display().to_string(),
        })
        .collect();
    if hosts.is_empty() {
        let addresses = config.get_hostaddrs().iter().enumerate();
        hosts.extend(addresses.map(|(i, ip)| format!("{ip}:{}", port(i))));
    }
    let database = config
        .get_dbname()
        .or(config.get_user())
        .unwrap_or_default();
    format!("{}/{database}", hosts.join(","))
}
