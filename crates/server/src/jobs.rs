//! The database's background jobs, watched: what stops compressing, aggregating or dropping is told before the disk is
//! full or the charts stand still.

use std::time::Duration;

use anyhow::Result;
use forecare_store_timescale::FindingVerdict;
use prometheus::{IntGaugeVec, Opts, Registry};
use tracing::{debug, info, warn};

use crate::pipeline::chain;
use crate::storage::Storage;

/// How often the database is asked.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The gauge that tells what the jobs are doing.
pub(crate) struct JobWatch {
    jobs: IntGaugeVec,
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
                "TimescaleDB's background jobs on our tables, by state: on_time, overdue, off (switched off), failed (in their last run). All 0 for SQLite, which needs none.",
            ),
            &["state"],
        )?;
        registry.register(Box::new(jobs.clone()))?;
        for state in ["on_time", "overdue", "off", "failed"] {
            jobs.with_label_values(&[state]).set(0);
        }
        Ok(Self { jobs })
    }

    /// Asks again and again, and says what has changed, until the task is ended.
    pub(crate) async fn run(self, storage: Storage) {
        let mut said = Vec::new();
        loop {
            match storage.jobs().await {
                Ok(None) => return,
                Ok(Some(jobs)) => {
                    for (state, n) in [
                        ("on_time", jobs.on_time),
                        ("overdue", jobs.overdue),
                        ("off", jobs.off),
                        ("failed", jobs.failed),
                    ] {
                        let n = i64::try_from(n).unwrap_or(i64::MAX);
                        self.jobs.with_label_values(&[state]).set(n);
                    }
                    // By number: the text names whichever failed last.
                    let now = vec![jobs.overdue, jobs.off, jobs.failed];
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
