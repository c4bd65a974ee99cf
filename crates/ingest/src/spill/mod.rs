//! Between a source and the pipeline: keeps what the store does not take, in memory for a moment, then
//! on disk.

mod keeper;
mod log;
mod record;
mod stats;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use crate::{Batch, BatchLimit, IngestError, Position, Source};
use keeper::{Command, Keeper};
use log::{Log, LogSettings};
pub(crate) use record::bytes_of;
pub use stats::SpillStats;

/// A segment of the log is deleted once all of it is stored.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// The pipeline's commits and its request for more; it has few batches out at once.
const COMMANDS_MAX: usize = 64;

/// Settings of the spill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpillConfig {
    /// Where the files lie; made when missing. One process at a time.
    pub dir: PathBuf,
    /// Most bytes on disk. One append may exceed it by what memory held.
    pub bytes_max: u64,
    /// Bytes that must stay free on that disk.
    pub disk_free_min: u64,
    /// So long the store may take nothing before messages go to disk; a quarter of that once either bound
    /// of memory is reached and a batch was asked for, and twice the last batch's time more while one is handed out.
    pub after: Duration,
    /// Most messages in memory, handed out or waiting; at least 1.
    pub memory_messages_max: usize,
    /// Most bytes of these; one batch of the source may exceed it.
    pub memory_bytes_max: usize,
}

/// A source that never makes its publishers wait for a store that is away: it acknowledges what is on
/// disk, and hands it out first when the store is back. Messages keep the order in which they came.
///
/// An abandoned batch is handed out again. After a crash some messages that were stored are handed out
/// again too, in order: the store tells them by their key.
#[derive(Debug)]
pub struct SpillingSource {
    commands: mpsc::Sender<Command>,
    /// The answer to a request whose asker was cancelled.
    asked: Option<oneshot::Receiver<Option<Batch>>>,
}

impl SpillingSource {
    /// Opens the files, and begins to read from `inner`. What a former process left there is handed out
    /// first.
    ///
    /// # Errors
    /// [`IngestError::Spill`], [`IngestError::SpillInUse`]: the directory cannot be used.
    pub fn open(
        config: SpillConfig,
        inner: Box<dyn Source>,
        stats: Arc<SpillStats>,
    ) -> Result<Self, IngestError> {
        let log = Log::open(LogSettings {
            dir: config.dir.clone(),
            bytes_max: config.bytes_max,
            disk_free_min: config.disk_free_min,
            segment_bytes: SEGMENT_BYTES,
        })?;
        let failed = |source| IngestError::Spill {
            dir: config.dir.clone(),
            source,
        };
        // A thread of its own: writing to disk blocks, and must not hold up the connections meanwhile.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(failed)?;
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let keeper = Keeper::new(config.clone(), inner, log, stats, received);
        std::thread::Builder::new()
            .name("spill".to_owned())
            .spawn(move || runtime.block_on(keeper.run()))
            .map_err(failed)?;
        Ok(Self {
            commands,
            asked: None,
        })
    }

    async fn tell(&self, command: Command) {
        // The keeper ends before us only when it broke; the next request then answers with the end.
        self.commands.send(command).await.ok();
    }
}

#[async_trait]
impl Source for SpillingSource {
    async fn next_batch(&mut self, limit: BatchLimit) -> Option<Batch> {
        if self.asked.is_none() {
            let (answer, asked) = oneshot::channel();
            // Reserved first: a send that is cancelled must not lose the answer's other end.
            let place = self.commands.reserve().await.ok()?;
            place.send(Command::Next(limit, answer));
            self.asked = Some(asked);
        }
        let batch = match &mut self.asked {
            Some(asked) => asked.await.ok().flatten(),
            None => None,
        };
        self.asked = None;
        batch
    }

    async fn commit(&mut self, position: Position) {
        self.tell(Command::Commit(position)).await;
    }

    async fn abandon(&mut self, position: Position) {
        self.tell(Command::Abandon(position)).await;
        // A later batch that has been answered, but not been asked for again, must not overtake this one.
        if let Some(mut asked) = self.asked.take() {
            asked.close();
            if let Ok(Some(batch)) = asked.try_recv() {
                self.tell(Command::Abandon(batch.position)).await;
            }
        }
    }
}
