//! The server's background jobs: what compresses, aggregates and drops.

use std::time::Duration;

use forecare_store::StoreError;
use tokio_postgres::Client;

use crate::checks::Finding;
use crate::fault::Outcome;
use crate::layout::Layout;
use crate::policies::wanted;
use crate::preflight::Server;
use crate::settings::TimescaleSettings;
use crate::store::TimescaleStore;

const CHECK: &str = "policies";

/// What the jobs on this schema's tables are doing. A job counts once, in the first that is true of it: its last run
/// failed, it is switched off, it is overdue, it is on time; beside them those that there should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Jobs {
    /// Those whose last run failed.
    pub failed: usize,
    /// Those that somebody has switched off.
    pub off: usize,
    /// Those that no background worker has taken for longer than a schedule interval.
    pub overdue: usize,
    /// All others; those included that a crash of the server cut off, and that wait for their next try.
    pub on_time: usize,
    /// Those that the settings want and that are not there.
    pub missing: usize,
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
            let jobs = Jobs::ask(&session, &self.layout(), &self.settings).await?;
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

/// Age from which on a chunk should have been compressed. Two days of grace: the job comes by every half a day.
fn overdue_age(compress_after: Duration) -> String {
    format!("{} seconds", compress_after.as_secs() + 2 * 86_400)
}

/// Chunks of readings by what compression has made of them.
pub(crate) struct Chunks {
    pub(crate) overdue: i64,
    pub(crate) compressed: i64,
    pub(crate) all: i64,
}

impl Chunks {
    pub(crate) async fn ask(client: &Client, compress_after: Duration) -> Outcome<Self> {
        let row = client
            .query_one(
                "SELECT count(*) FILTER (WHERE NOT is_compressed AND range_end < now() - $1::text::interval),
                     count(*) FILTER (WHERE is_compressed), count(*)
                 FROM timescaledb_information.chunks
                 WHERE hypertable_schema = current_schema() AND hypertable_name ~ '^(telemetry_[0-9]+|overflow)$'",
                &[&overdue_age(compress_after)],
            )
            .await?;
        Ok(Self {
            overdue: row.try_get(0)?,
            compressed: row.try_get(1)?,
            all: row.try_get(2)?,
        })
    }
}

/// Chunks of one table that should be compressed, and the job that does it.
struct Late {
    job: Option<i32>,
    /// When it runs next, where it has done well and waits for its time.
    next: Option<String>,
}

/// What is to be said of `chunks`.
pub(crate) async fn compression(
    client: &Client,
    chunks: &Chunks,
    compress_after: Duration,
) -> Outcome<Finding> {
    const CHECK: &str = "compression";
    let Chunks {
        overdue,
        compressed,
        all,
    } = chunks;
    if *overdue == 0 {
        return Ok(Finding::ok(
            CHECK,
            format!("{compressed} of {all} chunks are compressed, none is overdue"),
        ));
    }
    let rows = client
        .query(
            "SELECT j.job_id,
                 to_char(CASE WHEN s.last_run_status = 'Success' AND s.next_start > now() THEN s.next_start END,
                     'YYYY-MM-DD HH24:MI TZ')
             FROM (
                 SELECT DISTINCT hypertable_schema, hypertable_name FROM timescaledb_information.chunks
                 WHERE hypertable_schema = current_schema() AND hypertable_name ~ '^(telemetry_[0-9]+|overflow)$'
                     AND NOT is_compressed AND range_end < now() - $1::text::interval) AS late
             LEFT JOIN timescaledb_information.jobs AS j USING (hypertable_schema, hypertable_name)
             LEFT JOIN timescaledb_information.job_stats AS s ON s.job_id = j.job_id
             WHERE j.proc_name IS NULL OR j.proc_name = 'policy_compression' ORDER BY s.next_start",
            &[&overdue_age(compress_after)],
        )
        .await?;
    let late: Result<Vec<Late>, tokio_postgres::Error> = rows
        .iter()
        .map(|row| {
            Ok(Late {
                job: row.try_get(0)?,
                next: row.try_get(1)?,
            })
        })
        .collect();
    let late = late?;
    let what = format!("{overdue} of {all} chunks should be compressed and are not");
    let now: Vec<String> = late.iter().filter_map(|l| l.job).map(run_now).collect();
    Ok(match late.first() {
        Some(Late {
            next: Some(next), ..
        }) if late.iter().all(|l| l.next.is_some()) => Finding::warn(
            CHECK,
            format!("{what}: older readings came after the job's last run; it runs next at {next}"),
            format!("wait for it, or have it run now: {}", now.join("; ")),
        ),
        _ => Finding::warn(
            CHECK,
            what,
            "see why the job policy_compression does not run: SELECT * FROM timescaledb_information.job_errors",
        ),
    })
}

/// The statement that has a job run by the scheduler at once: only its runs are written down as the job's last.
fn run_now(id: i32) -> String {
    format!("SELECT alter_job({id}, next_start => now())")
}

/// A job that is not as it should be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Amiss {
    Failed,
    Off,
    Overdue,
    CutOff,
}

impl Jobs {
    pub(crate) async fn ask(
        client: &Client,
        layout: &Layout,
        settings: &TimescaleSettings,
    ) -> Outcome<Self> {
        // A run begins with a next start of -infinity, and its end sets another. The scheduler looks after a start of the
        // server before anything counts as late.
        let rows = client
            .query(
                "SELECT j.job_id, j.proc_name::text, j.hypertable_name::text, j.scheduled, s.last_run_status = 'Failed',
                     s.next_start = '-infinity' AND s.job_status IS DISTINCT FROM 'Running'
                         AND (s.last_run_started_at < pg_postmaster_start_time() OR s.last_run_started_at < now() - interval '5 minutes'),
                     CASE s.next_start WHEN '-infinity' THEN greatest(s.last_run_started_at, pg_postmaster_start_time())
                         ELSE coalesce(s.next_start, j.next_start) END < now() - greatest(interval '15 minutes', j.schedule_interval)
                         AND s.job_status IS DISTINCT FROM 'Running',
                     (SELECT e.err_message FROM timescaledb_information.job_errors e
                      WHERE e.job_id = j.job_id ORDER BY e.finish_time DESC NULLS LAST LIMIT 1)
                 FROM timescaledb_information.jobs j LEFT JOIN timescaledb_information.job_stats s USING (job_id)
                 WHERE j.hypertable_schema = current_schema()
                 ORDER BY j.job_id",
                &[],
            )
            .await?;
        let mut missing = wanted(layout, settings);
        let mut amiss: Vec<(Amiss, i32, String)> = Vec::new();
        for row in &rows {
            let (id, kind, of): (i32, String, String) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            missing.retain(|policy| policy.of != of || policy.kind != kind);
            let is_on: bool = row.try_get(3)?;
            let has_failed: Option<bool> = row.try_get(4)?;
            let is_cut_off: Option<bool> = row.try_get(5)?;
            let is_overdue: Option<bool> = row.try_get(6)?;
            let why: Option<String> = row.try_get(7)?;
            let job = format!("{kind} of {of} (job {id})");
            if has_failed == Some(true) {
                let why = why.as_deref().unwrap_or("no message");
                amiss.push((Amiss::Failed, id, format!("{job}: {why}")));
            } else if !is_on {
                amiss.push((Amiss::Off, id, job));
            } else if is_overdue == Some(true) {
                amiss.push((Amiss::Overdue, id, job));
            } else if is_cut_off == Some(true) {
                amiss.push((Amiss::CutOff, id, job));
            }
        }
        let count = |what| amiss.iter().filter(|(kind, ..)| *kind == what).count();
        let (failed, off, overdue) = (
            count(Amiss::Failed),
            count(Amiss::Off),
            count(Amiss::Overdue),
        );
        let mut jobs = Self {
            failed,
            off,
            overdue,
            on_time: rows.len() - failed - off - overdue,
            missing: missing.len(),
            findings: Vec::new(),
        };
        if let Some(first) = missing.first() {
            jobs.findings.push(Finding::fail(
                CHECK,
                format!(
                    "{} jobs are missing that the configuration wants, such as {} of {}",
                    missing.len(),
                    first.kind,
                    first.of
                ),
                "restart the service: it puts them back",
            ));
        }
        // One word for all of a kind: they mostly share their cause.
        let mut told = Vec::new();
        for (kind, id, first) in &amiss {
            if !told.contains(kind) {
                told.push(*kind);
                jobs.findings
                    .push(finding(*kind, *id, first, count(*kind), rows.len()));
            }
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

/// Of `n` jobs out of `all` with the same trouble, the `first` of which is the job `id`.
fn finding(amiss: Amiss, id: i32, first: &str, n: usize, all: usize) -> Finding {
    match amiss {
        Amiss::Failed => Finding::fail(
            CHECK,
            format!("{n} of {all} jobs failed last, such as {first}"),
            format!(
                "mend what it says (\"failed to start\": too few workers; of a fault inside the server, such as a portal or a cache, \
                 its log tells more: its build of TimescaleDB does not fit); they are tried again by themselves. \
                 One at once: {} (2.22.1 refuses that of the refresh of hours and days: they wait for their time); all of them: SELECT * FROM timescaledb_information.job_errors",
                run_now(id)
            ),
        ),
        Amiss::Off => Finding::fail(
            CHECK,
            format!("{n} jobs are switched off, such as {first}"),
            format!("SELECT alter_job({id}, scheduled => true)"),
        ),
        Amiss::Overdue => Finding::fail(
            CHECK,
            format!("{n} jobs are overdue, no background worker takes them, such as {first}"),
            "SELECT _timescaledb_functions.start_background_workers(), and see the server's log; \
             timescaledb must be in shared_preload_libraries",
        ),
        Amiss::CutOff => Finding::warn(
            CHECK,
            format!(
                "{n} jobs were running when the server crashed or was stopped at once, such as {first}"
            ),
            "nothing: TimescaleDB runs them again some five minutes after the server's start, later after several crashes; \
             why it crashed is in its log",
        ),
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
