//! Whether the store takes what the pipeline gives it; said loudly once, then rarely.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntGauge;
use tokio::sync::Notify;
use tracing::{error, info};

/// How often it is said again that the store is away.
const REMIND_EVERY: Duration = Duration::from_secs(60);

/// The store as the pipeline last found it.
#[derive(Debug)]
pub(crate) struct Outage {
    available: IntGauge,
    changed: Notify,
    now: Mutex<Option<Away>>,
}

#[derive(Debug)]
struct Away {
    since: Instant,
    said: Instant,
    n_failures: u64,
    failure: String,
}

impl Outage {
    /// `available` shows 1 while there is none.
    pub(crate) fn new(available: IntGauge) -> Self {
        available.set(1);
        Self {
            available,
            changed: Notify::new(),
            now: Mutex::new(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Away>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store refused something, or does not answer.
    pub(crate) fn failed(&self, failure: String) {
        let now = Instant::now();
        let mut away = self.lock();
        let away = away.get_or_insert_with(|| {
            error!(error = failure, "the store takes nothing: messages wait");
            self.changed.notify_one();
            Away {
                since: now,
                said: now,
                n_failures: 0,
                failure: String::new(),
            }
        });
        away.n_failures += 1;
        if now - away.said >= REMIND_EVERY {
            away.said = now;
            error!(
                error = failure,
                since_s = (now - away.since).as_secs(),
                n_failures = away.n_failures,
                "the store still takes nothing: messages wait"
            );
        }
        away.failure = failure;
        self.available.set(0);
    }

    /// The store took a batch.
    pub(crate) fn over(&self) {
        if let Some(away) = self.lock().take() {
            info!(
                after_s = away.since.elapsed().as_secs(),
                n_failures = away.n_failures,
                "the store takes batches again"
            );
            self.available.set(1);
            self.changed.notify_one();
        }
    }

    /// Resolves when an outage begins or ends; once for what happened meanwhile. For one listener.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Why the store takes nothing; `None` while it does.
    pub(crate) fn failure(&self) -> Option<String> {
        self.lock().as_ref().map(|away| away.failure.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn begin_and_end_of_an_outage_are_heard_at_once() {
        let outage = Outage::new(IntGauge::new("available", "1 while there is no outage").unwrap());
        outage.failed("refused".to_owned());
        outage.changed().await;
        outage.failed("refused again".to_owned());
        outage.over();
        outage.changed().await;
    }

    #[test]
    fn the_newest_failure_is_told_until_a_batch_is_stored() {
        let available = IntGauge::new("available", "1 while there is no outage").unwrap();
        let outage = Outage::new(available.clone());
        assert_eq!((outage.failure(), available.get()), (None, 1));
        outage.failed("refused".to_owned());
        outage.failed("no answer".to_owned());
        assert_eq!(
            (outage.failure().as_deref(), available.get()),
            (Some("no answer"), 0)
        );
        outage.over();
        assert_eq!((outage.failure(), available.get()), (None, 1));
    }
}
