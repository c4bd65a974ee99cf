//! The database's background jobs and its size, watched: what stops compressing, aggregating or dropping is told before the disk is
//! full or the charts stand still.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use forecare_store_timescale::FindingVerdict;
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};
use tracing::{debug, error, info, warn};

use crate::metrics::Metrics;
use crate::pipeline::chain;
use crate::storage::Storage;

/// How often the database is asked.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How often it is asked how much it holds, in looks: the server looks at every file for that.
const SIZE_EVERY: u32 = 10;

/// The gauges that tell what the jobs are doing, and what becomes of the disk where they do nothing.
pub(crate) struct JobWatch {
    jobs: IntGaugeVec,
    bytes: IntGauge,
    chunks_overdue: IntGauge,
    not_durable: IntGauge,
}

impl JobWatch {
    /// Registers the gauge.
    ///
    /// # Errors
    /// Two metrics of one name: our own mistake.
    pub(crate) fn new(registry: &Registry) -> Result<Self> {
        let jobs = IntGaugeVec::new(
            Opts::new(
                "forecare_store_jobs",
                "TimescaleDB's background jobs on our tables, by state: on_time, overdue, off (switched off), failed (in their last run), missing (wanted by the configuration, and not there). All 0 for SQLite, which needs none.",
            ),
            &["state"],
        )?;
        registry.register(Box::new(jobs.clone()))?;
        for state in ["on_time", "overdue", "off", "failed", "missing"] {
            jobs.with_label_values(&[state]).set(0);
        }
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, anyhow::Error>(gauge)
        };
        Ok(Self {
            jobs,
            bytes: gauge(
                "forecare_store_bytes",
                "Bytes of the database that holds everything, indexes included; 0 for SQLite, and before it was asked.",
            )?,
            chunks_overdue: gauge(
                "forecare_store_chunks_overdue",
                "Chunks of readings that should have been compressed two days ago or more, and are not.",
            )?,
            not_durable: gauge(
                "forecare_store_not_durable",
                "Settings of the database server with which acknowledged readings could be lost, such as fsync = off.",
            )?,
        })
    }

    async fn look_at_size(&self, storage: &Storage) {
        match storage.size().await {
            Ok(Some(size)) => {
                self.bytes.set(size.database_bytes);
                self.chunks_overdue.set(size.chunks_overdue);
            }
            Ok(None) => {}
            Err(error) => debug!(error = chain(&error), "the database's size is not known"),
        }
    }

    /// A start with such settings is refused; somebody may change them afterwards.
    async fn look_at_durability(&self, storage: &Storage) {
        match storage.durability().await {
            Ok(amiss) => {
                let before = self.not_durable.get();
                let now = i64::try_from(amiss.len()).unwrap_or(i64::MAX);
                self.not_durable.set(now);
                if now > before {
                    error!("the database's settings: {}", amiss.join("; "));
                }
            }
            Err(error) => debug!(
                error = chain(&error),
                "the database's settings are not known"
            ),
        }
    }

    /// Asks again and again, and says what has changed, until the task is ended.
    pub(crate) async fn run(self, storage: Storage, metrics: Arc<Metrics>) {
        let mut said = Vec::new();
        let mut n_looks = 0_u32;
        loop {
            if n_looks.is_multiple_of(SIZE_EVERY) {
                self.look_at_size(&storage).await;
            }
            n_looks = n_looks.wrapping_add(1);
            self.look_at_durability(&storage).await;
            metrics.certificate("database", storage.certificate_expires_at_s());
            match storage.jobs().await {
                // Nothing to watch: SQLite, or PostgreSQL without TimescaleDB, whose size and certificate are.
                Ok(None) if !storage.is_server() => return,
                Ok(None) => {}
                Ok(Some(jobs)) => {
                    for (state, n) in [
                        ("on_time", jobs.on_time),
                        ("overdue", jobs.overdue),
                        ("off", jobs.off),
                        ("failed", jobs.failed),
                        ("missing", jobs.missing),
                    ] {
                        let n = i64::try_from(n).unwrap_or(i64::MAX);
                        self.jobs.with_label_values(&[state]).set(n);
                    }
                    // By number: the text names whichever failed last.
                    let now = vec![jobs.overdue, jobs.off, jobs.failed, jobs.missing];
                    let amiss: Vec<_> = jobs
                        .findings
                        .iter()
                        .filter(|f| f.verdict > FindingVerdict::Ok)
                        .collect();
                    if now != said {
                        for finding in &amiss {
                            warn!(
                                fix = finding.fix.as_deref().unwrap_or_default(),
                                "the database's background jobs: {}", finding.what
                            );
                        }
                        if amiss.is_empty() && !said.is_empty() {
                            info!("the database's background jobs run on time");
                        }
                    }
                    said = now;
                }
                Err(error) => {
                    debug!(
                        error = chain(&error),
                        "the database's jobs are not looked at"
                    );
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
