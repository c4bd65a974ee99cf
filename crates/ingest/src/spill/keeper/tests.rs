//! When the keeper gives up waiting for the store.

use async_trait::async_trait;

use super::*;
use crate::spill::SEGMENT_BYTES;
use crate::spill::log::LogSettings;

/// Never has anything.
struct Silent;

#[async_trait]
impl Source for Silent {
    async fn next_batch(&mut self, _limit: BatchLimit) -> Option<Batch> {
        std::future::pending().await
    }
    async fn commit(&mut self, _position: Position) {}
    async fn abandon(&mut self, _position: Position) {}
}

#[tokio::test]
async fn a_full_window_hurries_nobody_before_the_store_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let config = SpillConfig {
        dir: dir.path().to_owned(),
        bytes_max: 1 << 20,
        disk_free_min: 0,
        after: Duration::from_secs(2),
        memory_messages_max: 10,
        memory_bytes_max: 1 << 20,
    };
    let log = Log::open(LogSettings {
        dir: config.dir.clone(),
        bytes_max: config.bytes_max,
        disk_free_min: 0,
        segment_bytes: SEGMENT_BYTES,
    })
    .unwrap();
    let (_commands, received) = mpsc::channel(1);
    let stats = Arc::new(SpillStats::default());
    let mut keeper = Keeper::new(config, Box::new(Silent), log, stats, received);
    keeper.n_memory = 10;
    assert_eq!(keeper.patience(), Duration::from_secs(2));
    let (answer, _asked) = oneshot::channel();
    keeper.obey(Command::Next(FIRST_LIMIT, answer)).await;
    assert_eq!(keeper.patience(), Duration::from_millis(500));
}
