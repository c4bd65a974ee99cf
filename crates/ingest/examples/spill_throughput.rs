//! How fast the spill takes messages, every append synced, and gives them back:
//! `cargo run --release -p forecare-ingest --example spill_throughput -- [MESSAGES] [PER BATCH]`.
#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "an example stops at the first failure"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use forecare_domain::Timestamp;
use forecare_ingest::{
    Batch, BatchLimit, Message, Position, Source, SpillConfig, SpillStats, SpillingSource,
};

/// Makes messages as fast as they are taken.
struct Endless {
    left: u64,
    per_batch: u64,
    closed: Arc<AtomicBool>,
}

#[async_trait]
impl Source for Endless {
    async fn next_batch(&mut self, _limit: BatchLimit) -> Option<Batch> {
        if self.left == 0 {
            while !self.closed.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            return None;
        }
        let n = self.per_batch.min(self.left);
        let messages = (0..n)
            .map(|i| Message {
                topic: format!("devices/pump-{}/telemetry", i % 1_000),
                payload: vec![b'7'; 192],
                content_type: None,
                principal: None,
                received_at: Timestamp::from_millis(1_700_000_000_000),
            })
            .collect();
        self.left -= n;
        Some(Batch {
            messages,
            position: Position::new(self.left),
        })
    }

    async fn commit(&mut self, _position: Position) {}

    async fn abandon(&mut self, _position: Position) {}
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let n: u64 = arguments.next().map_or(1_000_000, |n| n.parse().unwrap());
    let per_batch: u64 = arguments.next().map_or(5_000, |n| n.parse().unwrap());
    // Beside the sources and not in /tmp, which may be memory.
    let dir = tempfile::tempdir_in(".").unwrap();
    let stats = Arc::new(SpillStats::default());
    let closed = Arc::new(AtomicBool::new(false));
    let inner = Endless {
        left: n,
        per_batch,
        closed: Arc::clone(&closed),
    };
    let config = SpillConfig {
        dir: dir.path().to_owned(),
        bytes_max: u64::MAX,
        disk_free_min: 0,
        after: Duration::from_millis(1),
        memory_messages_max: 10_000,
        memory_bytes_max: 64 * 1024 * 1024,
    };
    let started = Instant::now();
    let mut source = SpillingSource::open(config, Box::new(inner), Arc::clone(&stats)).unwrap();
    while stats.messages() < n {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = started.elapsed().as_secs_f64();
    println!(
        "to disk     {:>9.0} messages/s, {:.0} MiB/s, {} messages in batches of {per_batch}",
        n as f64 / took,
        stats.bytes() as f64 / took / 1_048_576.0,
        stats.messages()
    );
    let started = Instant::now();
    let limit = BatchLimit {
        messages_max: 5_000,
        linger: Duration::ZERO,
    };
    let mut drained = 0;
    while drained < n {
        let batch = source.next_batch(limit).await.unwrap();
        drained += batch.messages.len() as u64;
        source.commit(batch.position).await;
    }
    println!(
        "from disk   {:>9.0} messages/s",
        n as f64 / started.elapsed().as_secs_f64()
    );
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let peak = status.lines().find(|line| line.starts_with("VmHWM:"));
        println!("memory      {}", peak.unwrap_or_default());
    }
    closed.store(true, Ordering::SeqCst);
}
