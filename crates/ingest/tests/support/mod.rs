//! What the tests against real brokers and real clients share.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its own part"
)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

pub mod device;
pub mod mosquitto;
pub mod raw;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use forecare_domain::{ManualClock, Timestamp};
use forecare_ingest::{
    Authorizer, Batch, BatchLimit, EmbeddedBroker, EmbeddedConfig, EmbeddedSource, IngestStats,
    Source,
};

/// Longest wait for anything that must happen. Generous: two cores are shared.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)))
}

pub fn limit(messages_max: usize) -> BatchLimit {
    BatchLimit {
        messages_max,
        linger: Duration::ZERO,
    }
}

/// Waits for the condition, failing the test at the deadline.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    if tokio::time::timeout(DEADLINE, waiting).await.is_err() {
        panic!("waited {DEADLINE:?} for {what}");
    }
}

/// The future's output, failing the test at the deadline.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_elapsed) => panic!("waited {DEADLINE:?} for {what}"),
    }
}

pub async fn batch(source: &mut impl Source, messages_max: usize) -> Batch {
    within("a batch", source.next_batch(limit(messages_max)))
        .await
        .expect("source ended")
}

pub fn payloads(batch: &Batch) -> Vec<String> {
    batch
        .messages
        .iter()
        .map(|message| String::from_utf8(message.payload.clone()).unwrap())
        .collect()
}

/// A user may publish and subscribe below its own name; the password is "secret".
pub struct OwnTopics;

impl Authorizer for OwnTopics {
    fn authenticate(&self, _id: &str, user: Option<&str>, password: Option<&[u8]>) -> bool {
        user.is_none() || password == Some(b"secret")
    }

    fn may_publish(&self, user: Option<&str>, topic: &str) -> bool {
        user.is_none_or(|user| {
            topic.starts_with(&format!("devices/{user}/")) || topic.starts_with("v1/devices/me/")
        })
    }

    fn may_subscribe(&self, user: Option<&str>, filter: &str) -> bool {
        user.is_none_or(|user| filter.starts_with(&format!("devices/{user}/")))
    }
}

pub fn embedded_config() -> EmbeddedConfig {
    EmbeddedConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        queue_max: 100,
        payload_bytes_max: 1_000,
        clients_max: 100,
    }
}

pub async fn embedded(
    config: EmbeddedConfig,
) -> (EmbeddedBroker, EmbeddedSource, Arc<IngestStats>) {
    let stats = Arc::new(IngestStats::default());
    let (broker, source) =
        EmbeddedBroker::start(config, Arc::new(OwnTopics), clock(), Arc::clone(&stats))
            .await
            .unwrap();
    (broker, source, stats)
}
