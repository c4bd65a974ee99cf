//! The server's background jobs: what compresses, aggregates and drops.

use std::time::Duration;

use forecare_store::StoreError;
use tokio_postgres::Client;

use crate::checks::Finding;
use crate::fault::Outcome;
use crate::preflight::Server;
use crate::store::TimescaleStore;

const CHECK: &str = "policies";

/// What the jobs on this schema's tables are doing. A job counts once, in the first that is true of it: its last run
/// failed, it is switched off, it is overdue, it is on time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Jobs {
    /// Those whose last run failed.
    pub failed: usize,
    /// Those that somebody has switched off.
    pub off: usize,
    /// Those that no background worker has taken for longer than a schedule interval.
    pub overdue: usize,
    /// All others.
    pub on_time: usize,
    /// The same in words, each with its fix.
    pub findings: Vec<Finding>,
}

impl TimescaleStore {
    /// What the background jobs are doing; `None` on a PostgreSQL without the extension, which has none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the server cannot be reached.
    pub async fn jobs(&self) -> Result<Option<Jobs>, StoreError> {
        if !self.layout().has_timescale() {
            return Ok(None);
        }
        let asking = async {
            let session = self.pool.session().await?;
            let jobs = Jobs::ask(&session).await?;
            session.release();
            Ok(Some(jobs))
        };
        self.pool.bounded("jobs", asking).await
    }
}

/// How much the database holds, and what of it should be smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreSize {
    /// Bytes of the whole database, indexes included.
    pub database_bytes: i64,
    /// Chunks that are old enough to be compressed by more than two days, and are not; 0 where compression is off.
    pub chunks_overdue: i64,
}

impl TimescaleStore {
    /// How much the database holds.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the server cannot be reached.
    pub async fn size(&self) -> Result<StoreSize, StoreError> {
        let asking = async {
            let session = self.pool.session().await?;
            let row = session
                .query_one("SELECT pg_database_size(current_database())", &[])
                .await?;
            let overdue = match self.settings.compress_after {
                Some(after) if self.layout().has_timescale() => {
                    Chunks::ask(&session, after).await?.overdue
                }
                _ => 0,
            };
            session.release();
            Ok(StoreSize {
                database_bytes: row.try_get(0)?,
                chunks_overdue: overdue,
            })
        };
        self.pool.bounded("size", asking).await
    }

    /// Settings of the server, changed since the start, with which a stored reading could be lost; each with its fix.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the server cannot be reached.
    pub async fn durability(&self) -> Result<Vec<String>, StoreError> {
        let asking = async {
            let session = self.pool.session().await?;
            let amiss = Server::ask(&session).await?.durability();
            session.release();
            Ok(amiss)
        };
        self.pool.bounded("durability", asking).await
    }

    /// Seconds since 1970 at which the server's certificate expires, as of the newest connection; `None` without TLS.
    #[must_use]
    pub fn certificate_expires_at_s(&self) -> Option<i64> {
        self.pool.certificate().expires_at_s()
    }
}

/// Chunks of readings by what compression has made of them.
pub(crate) struct Chunks {
    pub(crate) overdue: i64,
    pub(crate) compressed: i64,
    pub(crate) all: i64,
}

impl Chunks {
    pub(crate) async fn ask(client: &Client, compress_after: Duration) -> Outcome<Self> {
        // Two days of grace: the job comes by every half a day.
        let limit = format!("{} seconds", compress_after.as_secs() + 2 * 86_400);
        let row = client
            .query_one(
                "SELECT count(*) FILTER (WHERE NOT is_compressed AND range_end < now() - $1::text::interval),
                     count(*) FILTER (WHERE is_compressed), count(*)
                 FROM timescaledb_information.chunks
                 WHERE hypertable_schema = current_schema() AND hypertable_name ~ '^(telemetry_[0-9]+|overflow)$'",
                &[&limit],
            )
            .await?;
        Ok(Self {
            overdue: row.try_get(0)?,
            compressed: row.try_get(1)?,
            all: row.try_get(2)?,
        })
    }
}

impl Jobs {
    pub(crate) async fn ask(client: &Client) -> Outcome<Self> {
        let rows = client
            .query(
                "SELECT j.job_id, j.proc_name || ' of ' || j.hypertable_name, j.scheduled, s.last_run_status = 'Failed',
                     coalesce(s.next_start, j.next_start) < now() - greatest(interval '15 minutes', j.schedule_interval)
                         AND s.job_status IS DISTINCT FROM 'Running',
                     (SELECT e.err_message FROM timescaledb_information.job_errors e
                      WHERE e.job_id = j.job_id ORDER BY e.finish_time DESC NULLS LAST LIMIT 1)
                 FROM timescaledb_information.jobs j LEFT JOIN timescaledb_information.job_stats s USING (job_id)
                 WHERE j.hypertable_schema = current_schema()
                 ORDER BY j.job_id",
                &[],
            )
            .await?;
        let (mut failed, mut off, mut overdue) = (Vec::new(), Vec::new(), Vec::new());
        for row in &rows {
            let (id, what): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
            let is_on: bool = row.try_get(2)?;
            let has_failed: Option<bool> = row.try_get(3)?;
            let is_overdue: Option<bool> = row.try_get(4)?;
            let why: Option<String> = row.try_get(5)?;
            let job = format!("{what} (job {id})");
            if has_failed == Some(true) {
                let why = why.as_deref().unwrap_or("no message");
                failed.push((id, format!("{job}: {why}")));
            } else if !is_on {
                off.push((id, job));
            } else if is_overdue == Some(true) {
                overdue.push((id, job));
            }
        }
        let n_amiss = failed.len() + off.len() + overdue.len();
        let mut jobs = Self {
            failed: failed.len(),
            off: off.len(),
            overdue: overdue.len(),
            on_time: rows.len() - n_amiss,
            findings: Vec::new(),
        };
        // One word for all of a kind: they mostly share their cause.
        if let Some((id, first)) = failed.first() {
            jobs.findings.push(Finding::fail(
                CHECK,
                format!("{} of {} jobs failed last, such as {first}", failed.len(), rows.len()),
                format!(
                    "mend what it says (\"failed to start\": too few workers; of a fault inside the server, such as a portal or a cache, \
                     its log tells more: its build of TimescaleDB does not fit); they are tried again by themselves. \
                     One by hand: CALL run_job({id}); all of them: SELECT * FROM timescaledb_information.job_errors"
                ),
            ));
        }
        if let Some((id, first)) = off.first() {
            jobs.findings.push(Finding::warn(
                CHECK,
                format!("{} jobs are switched off, such as {first}", off.len()),
                format!("SELECT alter_job({id}, scheduled => true)"),
            ));
        }
        if let Some((_, first)) = overdue.first() {
            jobs.findings.push(Finding::fail(
                CHECK,
                format!(
                    "{} jobs are overdue, no background worker takes them, such as {first}",
                    overdue.len()
                ),
                "SELECT _timescaledb_functions.start_background_workers(), and see the server's log; \
                 timescaledb must be in shared_preload_libraries",
            ));
        }
        if jobs.findings.is_empty() {
            jobs.findings.push(Finding::ok(
                CHECK,
                format!("{} jobs run on time", rows.len()),
            ));
        }
        Ok(jobs)
    }
}

/// There must be a worker for the launcher, one per database, and some for jobs.
pub(crate) async fn workers(client: &Client) -> Outcome<Vec<Finding>> {
    let row = client
        .query_one(
            "SELECT current_setting('timescaledb.max_background_workers')::int8,
                 current_setting('max_worker_processes')::int8, current_setting('max_parallel_workers')::int8,
                 (SELECT count(*) FROM pg_database WHERE datallowconn)",
            &[],
        )
        .await?;
    let (jobs, all, parallel, databases): (i64, i64, i64, i64) = (
        row.try_get(0)?,
        row.try_get(1)?,
        row.try_get(2)?,
        row.try_get(3)?,
    );
    let what = format!(
        "timescaledb.max_background_workers {jobs}, max_worker_processes {all}, max_parallel_workers {parallel}, {databases} databases"
    );
    let wanted = databases + 2;
    Ok(vec![if jobs < wanted {
        Finding::fail(
            "workers",
            format!("too few for the jobs: {what}"),
            format!(
                "ALTER SYSTEM SET timescaledb.max_background_workers = {}, then restart",
                wanted.max(16)
            ),
        )
    } else if all < wanted + 3 {
        Finding::fail(
            "workers",
            format!("too few processes for the jobs: {what}"),
            format!(
                "ALTER SYSTEM SET max_worker_processes = {}, then restart",
                jobs + parallel + 3
            ),
        )
    } else if all < jobs + parallel + 3 {
        Finding::warn(
            "workers",
            format!("jobs may have to wait for parallel queries: {what}"),
            format!(
                "ALTER SYSTEM SET max_worker_processes = {}, then restart",
                jobs + parallel + 3
            ),
        )
    } else {
        Finding::ok("workers", what)
    }])
}
