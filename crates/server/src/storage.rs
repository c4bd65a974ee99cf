//! Which store an instance works with, how it is opened, waited for and closed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use forecare_catalogue::Catalogue;
use forecare_domain::Timestamp;
use forecare_store::{Store, StoreError};
use forecare_store_sqlite::SqliteStore;
use tracing::{info, warn};

use crate::config::StoreConfig;

/// Pause before the database is tried again, doubled up to the maximum.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(500);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);

/// An open store.
pub(crate) struct Storage {
    adapter: Adapter,
}

enum Adapter {
    Sqlite(Arc<SqliteStore>),
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
            bail!("store.url: TimescaleDB is not wired up yet; leave it empty for SQLite");
        };
        Ok(Self { adapter })
    }

    /// As [`Storage::open`], and tries for as long as it takes while the database cannot be reached: it may
    /// start after us. `waiting` is told why.
    ///
    /// # Errors
    /// What waiting does not cure.
    pub(crate) async fn open_patiently(
        config: &StoreConfig,
        database: &Path,
        catalogue: &Catalogue,
        now: Timestamp,
        mut waiting: impl FnMut(String),
    ) -> Result<Self> {
        let mut pause = RETRY_PAUSE_MIN;
        let mut n_failures = 0_u32;
        loop {
            let error = match Self::open(config, database, catalogue, now).await {
                Ok(storage) => {
                    if n_failures > 0 {
                        info!(n_failures, "the database answers");
                    }
                    return Ok(storage);
                }
                Err(error) => error,
            };
            match error.downcast_ref::<StoreError>() {
                Some(StoreError::Unavailable { .. }) if !config.url.is_empty() => {}
                _ => return Err(error.context("the store cannot be used")),
            }
            let why = format!("{error:#}");
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

    /// The store.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match &self.adapter {
            Adapter::Sqlite(store) => store.clone(),
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
        }
        Ok(())
    }
}
