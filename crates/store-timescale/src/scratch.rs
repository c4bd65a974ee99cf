//! What a measurement needs beside the port: a schema to try things in, its chunks compressed at once, plans.

use forecare_store::{RANGE_ROWS_MAX, StoreError, TelemetryQuery};
use tokio_postgres::error::SqlState;

use crate::connection::{Access, Pool};
use crate::fault::Outcome;
use crate::settings::TimescaleSettings;
use crate::store::TimescaleStore;
use crate::{fleet, history};

/// The schema of measurements: made by opening a store with it, dropped by [`drop_scratch`].
pub const SCRATCH_SCHEMA: &str = "forecare_bench";

/// Times that dropping is tried, against jobs at work.
const DROP_TRIES: u32 = 10;

/// Drops [`SCRATCH_SCHEMA`] with all that is in it from the database of the settings, whatever schema these name.
///
/// # Errors
/// [`StoreError::Unavailable`] where the server cannot be reached, or the role does not own the schema.
pub async fn drop_scratch(settings: &TimescaleSettings) -> Result<(), StoreError> {
    let pool = Pool::new(settings, Access::Write)?;
    let dropping = async {
        let session = pool.patient_session().await?;
        // The jobs that look after its tables, and lock what is to go.
        let has_jobs = session
            .query_one(
                "SELECT to_regclass('timescaledb_information.jobs') IS NOT NULL",
                &[],
            )
            .await?;
        if has_jobs.try_get(0)? {
            let sql = "SELECT delete_job(job_id) FROM timescaledb_information.jobs WHERE hypertable_schema = $1";
            session.query(sql, &[&SCRATCH_SCHEMA]).await?;
        }
        let drop = format!("DROP SCHEMA IF EXISTS {SCRATCH_SCHEMA} CASCADE");
        let mut n_tries = 0;
        loop {
            n_tries += 1;
            match session.batch_execute(&drop).await {
                Ok(()) => break,
                // A job that was at work already.
                Err(e)
                    if n_tries < DROP_TRIES
                        && e.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) => {}
                Err(e) => return Err(e.into()),
            }
        }
        session.release();
        Outcome::Ok(())
    };
    let dropped = dropping.await;
    pool.close();
    dropped.map_err(|fault| fault.at(pool.address(), "dropping the schema of the measurement"))
}

impl TimescaleStore {
    /// Compresses every chunk of readings now, whatever its age; returns how many there are. 0 without the extension.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the server cannot be reached.
    pub async fn compress_all(&self) -> Result<usize, StoreError> {
        if !self.layout().has_timescale() {
            return Ok(0);
        }
        let compressing = async {
            let session = self.pool.patient_session().await?;
            let chunks = session
                .query(
                    "SELECT compress_chunk(format('%I.%I', chunk_schema, chunk_name)::regclass, if_not_compressed => true)
                     FROM timescaledb_information.chunks
                     WHERE hypertable_schema = current_schema() AND hypertable_name ~ '^(telemetry_[0-9]+|overflow)$'",
                    &[],
                )
                .await?;
            Outcome::Ok(chunks.len())
        };
        compressing
            .await
            .map_err(|fault| fault.at(self.pool.address(), "compressing"))
    }

    /// How the server answers a query of telemetry: its statements on readings, each with its plan as it ran.
    ///
    /// # Errors
    /// As [`telemetry`](forecare_store::Store::telemetry).
    pub async fn telemetry_plans(&self, query: &TelemetryQuery) -> Result<Vec<String>, StoreError> {
        let asking = async {
            let mut session = self.pool.session().await?;
            let tx = session.snapshot().await?;
            let plans =
                history::telemetry_plans(&tx, &self.layout(), query, RANGE_ROWS_MAX).await?;
            tx.commit().await?;
            session.release();
            Outcome::Ok(plans)
        };
        self.pool.bounded("telemetry_plans", asking).await
    }

    /// How the server answers [`latest`](forecare_store::Store::latest): its statements, each with its plan as it ran.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the server cannot be reached.
    pub async fn latest_plan(&self) -> Result<String, StoreError> {
        let asking = async {
            let mut session = self.pool.session().await?;
            let tx = session.snapshot().await?;
            let plan = fleet::latest_plan(&tx).await?;
            tx.commit().await?;
            session.release();
            Outcome::Ok(plan)
        };
        self.pool.bounded("latest_plan", asking).await
    }
}
