//! Which store an instance works with, how it is opened, waited for and closed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use forecare_catalogue::Catalogue;
use forecare_domain::Timestamp;
use forecare_store::{Store, StoreError};
use forecare_store_sqlite::SqliteStore;
use forecare_store_timescale::{
    ChunkInterval, Jobs, Retention, ServiceClaim, StoreSize, TimescaleSettings, TimescaleStore,
};
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::app::secret_file;
use crate::config::{self, StoreConfig};

/// Pause before the database is tried again, doubled up to the maximum.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(500);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);

/// Before the reason why a start ends.
const UNUSABLE: &str = "the store cannot be used";

/// An open store.
#[derive(Clone)]
pub(crate) struct Storage {
    adapter: Adapter,
    /// The right to work on the database's schema, where the store is a service's.
    claim: Option<Arc<Mutex<ServiceClaim>>>,
}

#[derive(Clone)]
enum Adapter {
    Sqlite(Arc<SqliteStore>),
    Timescale(Arc<TimescaleStore>),
}

impl Storage {
    /// Opens the configured store; `database` is the file used where no database is configured.
    ///
    /// # Errors
    /// As [`SqliteStore::open`] and [`TimescaleStore::open`]; a password file that cannot be read.
    pub(crate) async fn open(
        config: &StoreConfig,
        database: &Path,
        catalogue: &Catalogue,
        now: Timestamp,
    ) -> Result<Self> {
        let adapter = if config.url.is_empty() {
            Adapter::Sqlite(Arc::new(SqliteStore::open(database, catalogue, now)?))
        } else {
            let settings = settings(config)?;
            let store = TimescaleStore::open(settings, catalogue, now).await?;
            Adapter::Timescale(Arc::new(store))
        };
        Ok(Self {
            adapter,
            claim: None,
        })
    }

    /// Claims the configured database's schema for this service, which is `who` to others; `None` where there is nothing
    /// to claim, or the database is away: [`Storage::open_patiently`] claims it then.
    ///
    /// # Errors
    /// Another service works on it; what waiting does not cure.
    pub(crate) async fn claim(config: &StoreConfig, who: &str) -> Result<Option<ServiceClaim>> {
        if config.url.is_empty() {
            return Ok(None);
        }
        match ServiceClaim::take(&settings(config)?, who).await {
            Ok(claim) => Ok(Some(claim)),
            Err(error) if TimescaleStore::may_pass(&error) => Ok(None),
            // PostgreSQL's own words are part of the text.
            Err(error) => Err(anyhow!("{error}").context(UNUSABLE)),
        }
    }

    /// As [`Storage::open`] for the service that has the `claim`, and tries for as long as it takes while the database
    /// cannot be reached: it may start after us. `waiting` is told why.
    ///
    /// # Errors
    /// What waiting does not cure.
    pub(crate) async fn open_patiently(
        config: &StoreConfig,
        database: &Path,
        catalogue: &Catalogue,
        now: Timestamp,
        who: &str,
        mut claim: Option<ServiceClaim>,
        mut waiting: impl FnMut(String),
    ) -> Result<Self> {
        let mut pause = RETRY_PAUSE_MIN;
        let mut n_failures = 0_u32;
        loop {
            let opening = Self::open_claimed(config, database, catalogue, now, who, &mut claim);
            let error = match opening.await {
                Ok(mut storage) => {
                    if n_failures > 0 {
                        info!(n_failures, "the database answers");
                    }
                    storage.warn().await;
                    storage.claim = claim.map(|claim| Arc::new(Mutex::new(claim)));
                    return Ok(storage);
                }
                Err(error) => error,
            };
            match error.downcast_ref::<StoreError>() {
                Some(failure) if !config.url.is_empty() && TimescaleStore::may_pass(failure) => {}
                // PostgreSQL's own words are part of the text.
                Some(failure) if !config.url.is_empty() => {
                    return Err(anyhow!("{failure}").context(UNUSABLE));
                }
                _ => return Err(error.context(UNUSABLE)),
            }
            let why = error.to_string();
            n_failures += 1;
            warn!(
                error = why,
                again_in_s = pause.as_secs_f64(),
                "the database does not answer: trying again"
            );
            waiting(why);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }

    /// The claim before the schema is touched: it may be another version that works on it.
    async fn open_claimed(
        config: &StoreConfig,
        database: &Path,
        catalogue: &Catalogue,
        now: Timestamp,
        who: &str,
        claim: &mut Option<ServiceClaim>,
    ) -> Result<Self> {
        if !config.url.is_empty() && claim.as_ref().is_none_or(|claim| !claim.is_held()) {
            *claim = Some(ServiceClaim::take(&settings(config)?, who).await?);
        }
        let storage = Self::open(config, database, catalogue, now).await?;
        if let (Adapter::Timescale(store), Some(claim)) = (&storage.adapter, claim) {
            store.serve(claim).await?;
        }
        Ok(storage)
    }

    /// Resolves where another service has taken over the database: what is said of it. For ever where none does.
    pub(crate) async fn replaced(&self) -> String {
        if let Some(claim) = &self.claim {
            let mut replaced = claim.lock().await.replaced();
            if let Ok(why) = replaced.wait_for(Option::is_some).await {
                return why.clone().unwrap_or_default();
            }
        }
        std::future::pending().await
    }

    /// Says what is amiss with a database that works all the same.
    async fn warn(&self) {
        let Adapter::Timescale(store) = &self.adapter else {
            return;
        };
        match store.warnings().await {
            Ok(findings) => {
                for finding in findings {
                    warn!(
                        fix = finding.fix.unwrap_or_default(),
                        "the database: {}", finding.what
                    );
                }
            }
            Err(error) => {
                warn!(%error, "the database's settings are not examined: forecare doctor does it again");
            }
        }
    }

    /// The store.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match &self.adapter {
            Adapter::Sqlite(store) => store.clone(),
            Adapter::Timescale(store) => store.clone(),
        }
    }

    /// What the store needs once a day.
    ///
    /// # Errors
    /// The database cannot be reached: the next day will do.
    pub(crate) async fn maintain(&self, now: Timestamp) -> Result<(), StoreError> {
        match &self.adapter {
            Adapter::Sqlite(_) => {}
            Adapter::Timescale(store) => {
                if let Some(chunk_hours) = store.maintain(now).await? {
                    info!(chunk_hours, "chunk interval follows the readings' rate");
                }
            }
        }
        Ok(())
    }

    /// Prepares for history of `n_rows` rows in `span`; what [`Storage::history_arrived`] is to be given afterwards.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub(crate) async fn expect_history(
        &self,
        n_rows: u64,
        span: (Timestamp, Timestamp),
        now: Timestamp,
    ) -> Result<Option<u32>, StoreError> {
        match &self.adapter {
            Adapter::Sqlite(_) => Ok(None),
            Adapter::Timescale(store) => store.expect_history(n_rows, span, now).await,
        }
    }

    /// Makes history that has arrived visible in aggregates; `told` hears how far that is.
    ///
    /// # Errors
    /// The database cannot be reached: its policies do it in time.
    pub(crate) async fn history_arrived(
        &self,
        before: Option<u32>,
        span: (Timestamp, Timestamp),
        now: Timestamp,
        told: impl Fn(&str) + Sync,
    ) -> Result<(), StoreError> {
        match &self.adapter {
            Adapter::Sqlite(_) => Ok(()),
            Adapter::Timescale(store) => store.history_arrived(before, span, now, told).await,
        }
    }

    /// True where readings lie in TimescaleDB.
    pub(crate) fn is_timescale(&self) -> bool {
        matches!(self.adapter, Adapter::Timescale(_))
    }

    /// What the database's background jobs are doing; `None` where there are none.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub(crate) async fn jobs(&self) -> Result<Option<Jobs>, StoreError> {
        match &self.adapter {
            Adapter::Sqlite(_) => Ok(None),
            Adapter::Timescale(store) => store.jobs().await,
        }
    }

    /// Settings of a database server with which a stored reading could be lost.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub(crate) async fn durability(&self) -> Result<Vec<String>, StoreError> {
        match &self.adapter {
            // Set by ourselves, for each connection.
            Adapter::Sqlite(_) => Ok(Vec::new()),
            Adapter::Timescale(store) => store.durability().await,
        }
    }

    /// Whether a database server holds it all.
    pub(crate) fn is_server(&self) -> bool {
        match &self.adapter {
            Adapter::Sqlite(_) => false,
            Adapter::Timescale(_) => true,
        }
    }

    /// How much the database holds; `None` for SQLite, whose file lies in the instance's directory.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub(crate) async fn size(&self) -> Result<Option<StoreSize>, StoreError> {
        match &self.adapter {
            Adapter::Sqlite(_) => Ok(None),
            Adapter::Timescale(store) => store.size().await.map(Some),
        }
    }

    /// Seconds since 1970 at which the database's certificate expires; `None` without TLS.
    pub(crate) fn certificate_expires_at_s(&self) -> Option<i64> {
        match &self.adapter {
            Adapter::Sqlite(_) => None,
            Adapter::Timescale(store) => store.certificate_expires_at_s(),
        }
    }

    /// Finishes what is queued and closes the store; calls after it fail.
    ///
    /// # Errors
    /// The disk fails; nothing acknowledged is lost.
    pub(crate) async fn close(self) -> Result<()> {
        match self.adapter {
            Adapter::Sqlite(store) => {
                tokio::task::spawn_blocking(move || store.close()).await??;
            }
            Adapter::Timescale(store) => store.close().await,
        }
        if let Some(claim) = self.claim {
            claim.lock().await.release().await;
        }
        Ok(())
    }
}

/// The settings of TimescaleDB as configured.
///
/// # Errors
/// The password file cannot be read.
pub(crate) fn settings(config: &StoreConfig) -> Result<TimescaleSettings> {
    Ok(TimescaleSettings {
        url: config.url.clone(),
        password: secret_file(&config.password_file, "store.password_file")?,
        ca_file: Some(config.ca_file.clone()).filter(|path| !path.as_os_str().is_empty()),
        schema: config.schema.clone(),
        pool_max: config.pool_max,
        statement_timeout: Duration::from_secs(u64::from(config.statement_timeout_s)),
        chunk_interval: match config.chunk_interval_hours {
            config::ChunkInterval::Hours(hours) => ChunkInterval::Hours(hours),
            config::ChunkInterval::Named(config::Auto::Auto) => ChunkInterval::Auto,
        },
        compress_after: unless_0(config.compress_after_hours, 3_600),
        retention: Retention {
            raw: unless_0(config.retention_raw_days, DAY_S),
            minute: unless_0(config.retention_1m_days, DAY_S),
            hour: unless_0(config.retention_1h_days, DAY_S),
            day: unless_0(config.retention_1d_days, DAY_S),
        },
        plain_postgres: config.plain_postgres,
        ..TimescaleSettings::default()
    })
}

const DAY_S: u64 = 86_400;

fn unless_0(n: u32, unit_s: u64) -> Option<Duration> {
    (n > 0).then(|| Duration::from_secs(u64::from(n) * unit_s))
}
