//! One service works on a schema: who does, how a second one is kept out, and how one that was replaced is stopped.
//!
//! Two things, because neither is enough. An advisory lock on a connection of its own tells whether a service lives: it
//! goes with the connection, so nothing has to be cleaned up after a crash. But a connection can be lost while its
//! service goes on, and then another may take the lock. So the service's token lies in `settings` too, and every
//! transaction of a service looks whether it is still its own, and keeps it from being changed until the commit.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forecare_store::StoreError;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};
use tracing::{debug, info, warn};

use crate::connection::{CONNECT_TIMEOUT, address, config, set_up};
use crate::fault::{Fault, Outcome, misconfigured};
use crate::preflight::Server;
use crate::settings::TimescaleSettings;
use crate::store::TimescaleStore;
use crate::tls;

/// First key of the lock; the second is the hash of the schema's name.
const SERVICE_LOCK: i32 = 0x4643_5356;
/// Where the token of the service lies in `settings`.
const KEY: &str = "service";
/// A service that has just ended, or was killed, gives the lock back within so long.
const GRACE: Duration = Duration::from_secs(10);
const GRACE_PAUSE: Duration = Duration::from_millis(250);
/// Pause before a lost lock is taken again, doubled up to the maximum.
const AGAIN_PAUSE_MIN: Duration = Duration::from_millis(250);
const AGAIN_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often the connection that holds the lock says something.
const SPEAK_EVERY: Duration = Duration::from_secs(10);
/// The server ends it when it says nothing for so long.
const SILENT_MAX: Duration = Duration::from_secs(45);
/// Longest wait for the lock to be given back at the end.
const RELEASE_MAX: Duration = Duration::from_secs(2);

/// The right of one service to work on a schema, held until it is dropped or [released](Self::release).
#[derive(Debug)]
pub struct ServiceClaim {
    fence: Arc<Fence>,
    client: Arc<Client>,
    settings: TimescaleSettings,
    /// The connection's end.
    connection: Option<JoinHandle<()>>,
    holding: Option<JoinHandle<()>>,
}

/// By what a service knows that the schema is still its own.
#[derive(Debug)]
pub(crate) struct Fence {
    token: String,
    who: String,
    /// What became of it, where another service has taken over.
    replaced: watch::Sender<Option<String>>,
    /// For messages.
    place: String,
}

impl Fence {
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Another service has taken over: nothing more is committed, and whoever waits for it is told.
    pub(crate) fn replaced_by(&self, value: Option<&str>) -> Fault {
        let text = format!(
            "another service has taken over {} ({}), or the database was put back to an earlier state: this one stores nothing more and ends. Let one of them run, or give each a schema of its own ([store] schema)",
            self.place,
            value.map_or_else(|| "its entry in settings is gone".to_owned(), described),
        );
        self.replaced.send_replace(Some(text.clone()));
        Fault::Store(misconfigured(text))
    }
}

/// Whose token a value of `settings` holds, in words.
fn described(value: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(value).unwrap_or_default();
    let text = |key: &str| value.get(key).and_then(|v| v.as_str()).unwrap_or("unknown");
    format!("{}, since {}", text("who"), text("since"))
}

/// The token in a value of `settings`.
pub(crate) fn token_of(value: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(value).ok()?;
    Some(value.get("token")?.as_str()?.to_owned())
}

impl ServiceClaim {
    /// Claims the schema for a service; `who` describes it to others, such as "process 4711 in /var/lib/forecare".
    /// A service that is just ending is waited for, some seconds.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] where another service works on the schema, the settings cannot be used, or the server
    /// must not be used as it is set up;
    /// [`StoreError::Unavailable`] where the server cannot be reached.
    pub async fn take(settings: &TimescaleSettings, who: &str) -> Result<Self, StoreError> {
        settings.check()?;
        let place = place(settings)?;
        let taking = async {
            let (client, connection) = connect(settings).await?;
            // Before whoever starts here takes anything from a service that runs elsewhere, such as its broker's session.
            let server = Server::ask(&client).await?;
            server.check(settings.plain_postgres)?;
            Server::check_rights(&client, &settings.schema).await?;
            let begin = Instant::now();
            while !try_lock(&client, &settings.schema).await? {
                if begin.elapsed() > GRACE {
                    return Err(Fault::Store(misconfigured(format!(
                        "another service works on {place} ({}): stop it, or give this one a schema of its own ([store] schema)",
                        holder(&client, &settings.schema)
                            .await?
                            .unwrap_or_else(|| "it has just ended".to_owned()),
                    ))));
                }
                tokio::time::sleep(GRACE_PAUSE).await;
            }
            let token = client
                .query_one("SELECT gen_random_uuid()::text", &[])
                .await?;
            Ok((client, connection, token.try_get(0)?))
        };
        let (client, connection, token) = taking
            .await
            .map_err(|fault: Fault| fault.at(&address_of(settings), "claiming the schema"))?;
        let (replaced, _) = watch::channel(None);
        Ok(Self {
            fence: Arc::new(Fence {
                token,
                who: who.to_owned(),
                replaced,
                place,
            }),
            client: Arc::new(client),
            settings: settings.clone(),
            connection: Some(connection),
            holding: None,
        })
    }

    /// Resolves when another service has taken over, which it can where this one's connection was lost; says so.
    #[must_use]
    pub fn replaced(&self) -> watch::Receiver<Option<String>> {
        self.fence.replaced.subscribe()
    }

    /// Writes the token where every transaction sees it: whoever had the schema before commits nothing from here on.
    /// The schema must be there. From now on a lock that is lost is taken again.
    async fn begin(&mut self) -> Outcome<()> {
        if self.client.is_closed() {
            return Err(lost(
                "the connection that holds the schema was lost; trying again".to_owned(),
                ErrorKind::ConnectionReset,
            ));
        }
        write_token(&self.client, &self.fence).await?;
        let held = Held {
            fence: Arc::clone(&self.fence),
            settings: self.settings.clone(),
        };
        if let Some(connection) = self.connection.take() {
            let client = Arc::clone(&self.client);
            self.holding = Some(tokio::spawn(held.keep(client, connection)));
        }
        Ok(())
    }

    /// Whether the lock is still held by the connection that took it. One that has not [begun](TimescaleStore::serve)
    /// and lost it is to be taken anew.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.client.is_closed()
    }

    /// Gives the schema back.
    pub async fn release(&mut self) {
        let unlocking = unlock(&self.client, &self.settings.schema);
        // The server lets go by itself where this fails: the connection ends here.
        if let Ok(Err(fault)) = tokio::time::timeout(RELEASE_MAX, unlocking).await {
            debug!(%fault, "the schema's lock goes with its connection");
        }
        self.end();
    }

    fn end(&mut self) {
        for task in [self.connection.take(), self.holding.take()]
            .into_iter()
            .flatten()
        {
            task.abort();
        }
    }
}

impl Drop for ServiceClaim {
    fn drop(&mut self) {
        self.end();
    }
}

impl TimescaleStore {
    /// From now on this store's writes are those of the service that has the `claim`: they fail once another has taken
    /// over.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the server cannot be reached, or the claim was lost meanwhile.
    pub async fn serve(&self, claim: &mut ServiceClaim) -> Result<(), StoreError> {
        self.pool
            .bounded("claiming the schema", claim.begin())
            .await?;
        self.pool.fence(Arc::clone(&claim.fence));
        Ok(())
    }

    /// The service that works on the schema now, in words; `None`: none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the server cannot be reached.
    pub async fn served_by(&self) -> Result<Option<String>, StoreError> {
        let asking = async {
            let session = self.pool.session().await?;
            let found = holder(&session, &self.settings.schema).await?;
            session.release();
            Ok(found)
        };
        self.pool.bounded("served_by", asking).await
    }
}

/// What keeps the lock for as long as the service lives.
struct Held {
    fence: Arc<Fence>,
    settings: TimescaleSettings,
}

impl Held {
    async fn keep(self, mut client: Arc<Client>, mut connection: JoinHandle<()>) {
        loop {
            // Aborted with this task.
            let _ends_with_us = AbortOnDrop(connection.abort_handle());
            until_lost(&client, connection).await;
            drop(client);
            warn!("the connection that holds the schema for this service is lost: taking it again");
            let mut pause = AGAIN_PAUSE_MIN;
            (client, connection) = loop {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(AGAIN_PAUSE_MAX);
                match self.take_again().await {
                    Ok(Some((client, connection))) => break (Arc::new(client), connection),
                    Ok(None) if self.fence.replaced.borrow().is_some() => return,
                    // Perhaps the server has not yet noticed the end of our own connection.
                    Ok(None) => debug!("the schema's lock is still held"),
                    Err(fault) => debug!(%fault, "the schema's lock cannot be taken yet"),
                }
            };
            info!("the schema is held for this service again");
        }
    }

    /// The lock on a new connection; `None` where it is not to be had, or another service has taken over.
    async fn take_again(&self) -> Outcome<Option<(Client, JoinHandle<()>)>> {
        let (client, connection) = connect(&self.settings).await?;
        let connection = AbortUnlessTaken(Some(connection));
        let is_ours = try_lock(&client, &self.settings.schema).await?;
        let row = client
            .query_opt("SELECT value FROM settings WHERE key = $1", &[&KEY])
            .await?;
        let value: Option<String> = row.map(|r| r.try_get(0)).transpose()?;
        let Some(value) = value else {
            self.fence.replaced_by(None);
            return Ok(None);
        };
        if token_of(&value).as_deref() != Some(self.fence.token()) {
            self.fence.replaced_by(Some(&value));
            return Ok(None);
        }
        Ok(is_ours
            .then(|| connection.take().map(|c| (client, c)))
            .flatten())
    }
}

/// Speaks on the connection until it does not answer. Whatever stands between here and the server (a pooler, a proxy) has
/// a connection to keep; and the server ends one that says nothing for longer, so that the lock of a machine that is gone
/// does not outlive it by much.
async fn until_lost(client: &Client, mut connection: JoinHandle<()>) {
    let silent = format!("SET idle_session_timeout = '{} s'", SILENT_MAX.as_secs());
    let mut said = client.batch_execute(&silent).await.is_ok();
    while said {
        tokio::select! {
            _ended = &mut connection => return,
            () = tokio::time::sleep(SPEAK_EVERY) => {}
        }
        let speaking = tokio::time::timeout(SPEAK_EVERY, client.batch_execute("SELECT 1"));
        said = matches!(speaking.await, Ok(Ok(())));
    }
    connection.abort();
}

/// Ends a task with this.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Ends a connection that nobody wants.
struct AbortUnlessTaken(Option<JoinHandle<()>>);

impl AbortUnlessTaken {
    fn take(mut self) -> Option<JoinHandle<()>> {
        self.0.take()
    }
}

impl Drop for AbortUnlessTaken {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            connection.abort();
        }
    }
}

/// A connection that is not there, which may pass.
fn lost(what: String, kind: ErrorKind) -> Fault {
    Fault::Store(StoreError::Unavailable {
        what,
        source: Some(Box::new(std::io::Error::from(kind))),
    })
}

/// A connection of its own, and the task that ends with it.
async fn connect(settings: &TimescaleSettings) -> Outcome<(Client, JoinHandle<()>)> {
    let config = config(settings)?;
    let connecting = async {
        if config.get_ssl_mode() == tokio_postgres::config::SslMode::Disable {
            let (client, connection) = config.connect(NoTls).await?;
            Outcome::Ok((client, tokio::spawn(async { drop(connection.await) })))
        } else {
            let connector = tls::connector(settings.ca_file.as_deref(), Arc::default())?;
            let (client, connection) = config.connect(connector).await?;
            Ok((client, tokio::spawn(async { drop(connection.await) })))
        }
    };
    let longest = CONNECT_TIMEOUT.saturating_mul(2);
    let late = |_elapsed| {
        let what = format!(
            "no connection to {} within {} s; see that the server is reachable",
            address(&config),
            longest.as_secs()
        );
        lost(what, ErrorKind::TimedOut)
    };
    let (client, connection) = tokio::time::timeout(longest, connecting)
        .await
        .map_err(late)??;
    client.batch_execute(&set_up(settings)).await?;
    // So that the lock of a machine that is gone does not outlive it for hours.
    let keepalive = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
                     SET idle_session_timeout = 0";
    client.batch_execute(keepalive).await?;
    Ok((client, connection))
}

async fn try_lock(client: &Client, schema: &str) -> Outcome<bool> {
    let row = client
        .query_one(
            "SELECT pg_try_advisory_lock($1, hashtext($2))",
            &[&SERVICE_LOCK, &schema],
        )
        .await?;
    Ok(row.try_get(0)?)
}

async fn unlock(client: &Client, schema: &str) -> Outcome<()> {
    client
        .execute(
            "SELECT pg_advisory_unlock($1, hashtext($2))",
            &[&SERVICE_LOCK, &schema],
        )
        .await?;
    Ok(())
}

/// Waits for the transactions that are being committed under another token.
async fn write_token(client: &Client, fence: &Fence) -> Outcome<()> {
    client
        .execute(
            "INSERT INTO settings (key, value) VALUES ($1,
                 json_build_object('token', $2::text, 'who', $3::text, 'since', now()::timestamptz(0))::text)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            &[&KEY, &fence.token, &fence.who],
        )
        .await?;
    Ok(())
}

/// Who has the schema's lock, in words.
async fn holder(client: &Client, schema: &str) -> Outcome<Option<String>> {
    let found = client
        .query_opt(
            "SELECT a.client_addr::text, a.backend_start::timestamptz(0)::text FROM pg_locks AS l
             LEFT JOIN pg_stat_activity AS a USING (pid)
             WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
                 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                 AND l.classid = $1::int4::oid AND l.objid = (hashtext($2)::int8 & 4294967295)::oid
             LIMIT 1",
            &[&SERVICE_LOCK, &schema],
        )
        .await?;
    let Some(row) = found else { return Ok(None) };
    let from: Option<String> = row.try_get(0)?;
    let since: Option<String> = row.try_get(1)?;
    let is_there = client
        .query_one(
            "SELECT to_regclass($1) IS NOT NULL",
            &[&format!("{schema}.settings")],
        )
        .await?;
    let entry = if is_there.try_get(0)? {
        client
            .query_opt("SELECT value FROM settings WHERE key = $1", &[&KEY])
            .await?
    } else {
        None
    };
    let entry: Option<String> = entry.map(|r| r.try_get(0)).transpose()?;
    Ok(Some(format!(
        "{}; connected {}{}",
        entry.map_or_else(|| "it is just starting".to_owned(), |v| described(&v)),
        from.map_or_else(|| "by a socket".to_owned(), |from| format!("from {from}")),
        since.map(|at| format!(" since {at}")).unwrap_or_default()
    )))
}

fn address_of(settings: &TimescaleSettings) -> String {
    config(settings).map_or_else(|_unreadable| String::new(), |config| address(&config))
}

fn place(settings: &TimescaleSettings) -> Result<String, StoreError> {
    Ok(format!(
        "schema {} of {}",
        settings.schema,
        address(&config(settings)?)
    ))
}
