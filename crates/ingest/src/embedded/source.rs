//! The receiving end of the embedded broker.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use crate::gather::Gather;
use crate::spill::bytes_of;
use crate::stats::count;
use crate::{Batch, BatchLimit, IngestStats, Message, Position, Source};

/// A message, and the hook that waits to be told whether it is stored.
pub(super) struct Queued {
    pub(super) message: Message,
    pub(super) settle: oneshot::Sender<bool>,
}

struct Outstanding {
    number: u64,
    settle: Vec<oneshot::Sender<bool>>,
    committed: bool,
}

/// Messages of the embedded broker. Dropping it closes the connections that still publish.
pub struct EmbeddedSource {
    gather: Gather<Queued>,
    outstanding: VecDeque<Outstanding>,
    batches: u64,
    stats: Arc<IngestStats>,
}

impl EmbeddedSource {
    pub(super) fn new(queue: mpsc::Receiver<Queued>, stats: Arc<IngestStats>) -> Self {
        Self {
            gather: Gather::new(queue, |queued| bytes_of(&queued.message)),
            outstanding: VecDeque::new(),
            batches: 0,
            stats,
        }
    }

    fn settle(&self, settle: Vec<oneshot::Sender<bool>>, stored: bool) {
        let counter = if stored {
            &self.stats.acked
        } else {
            &self.stats.abandoned
        };
        count(counter, settle.len());
        self.stats
            .in_flight
            .fetch_sub(settle.len(), Ordering::Relaxed);
        for hook in settle {
            // A hook that is gone has nobody left to tell.
            hook.send(stored).ok();
        }
    }
}

#[async_trait]
impl Source for EmbeddedSource {
    async fn next_batch(&mut self, limit: BatchLimit) -> Option<Batch> {
        self.gather.fill(limit).await;
        let queued = self.gather.take();
        if queued.is_empty() {
            return None;
        }
        self.batches += 1;
        let (messages, settle) = queued.into_iter().map(|q| (q.message, q.settle)).unzip();
        self.outstanding.push_back(Outstanding {
            number: self.batches,
            settle,
            committed: false,
        });
        Some(Batch {
            messages,
            position: Position::new(self.batches),
        })
    }

    async fn commit(&mut self, position: Position) {
        if let Some(batch) = self
            .outstanding
            .iter_mut()
            .find(|batch| batch.number == position.number())
        {
            batch.committed = true;
        }
        while let Some(batch) = self.outstanding.pop_front_if(|batch| batch.committed) {
            self.settle(batch.settle, true);
        }
    }

    async fn abandon(&mut self, position: Position) {
        if let Some(index) = self
            .outstanding
            .iter()
            .position(|batch| batch.number == position.number())
            && let Some(batch) = self.outstanding.remove(index)
        {
            self.settle(batch.settle, false);
        }
        // A later batch may have been waiting for this one.
        while let Some(batch) = self.outstanding.pop_front_if(|batch| batch.committed) {
            self.settle(batch.settle, true);
        }
    }
}
