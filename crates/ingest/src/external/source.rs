//! The receiving end of an external broker.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc, watch};

use super::session::READ_PAUSE;
use super::view::{Verdict, View};
use crate::gather::Gather;
use crate::spill::bytes_of;
use crate::stats::count;
use crate::{Batch, BatchLimit, IngestStats, Message, Position, Source};

/// The connection reads in strides: a shorter silence means nothing.
const QUIET_MIN: Duration = READ_PAUSE.saturating_mul(2);

/// Beyond so many bytes nothing more is read from the broker.
pub(super) const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A message as it came, and what acknowledges it.
pub(super) struct Received {
    pub(super) message: Message,
    pub(super) epoch: u64,
    /// The packet's id; `None` for QoS 0.
    pub(super) ack: Option<u16>,
}

/// Bytes that were received and not yet handed out: the queue bounds them by number only.
#[derive(Debug, Default)]
pub(super) struct QueuedBytes {
    bytes: AtomicUsize,
    freed: Notify,
}

impl QueuedBytes {
    pub(super) fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= QUEUE_BYTES_MAX
    }

    pub(super) fn entered(&self, message: &Message) {
        self.bytes.fetch_add(bytes_of(message), Ordering::Relaxed);
    }

    fn left<'a>(&self, messages: impl Iterator<Item = &'a Message>) {
        let bytes = messages.map(bytes_of).sum();
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.freed.notify_one();
    }

    /// Waits until they are below their bound.
    pub(super) async fn room(&self) {
        while self.is_full() {
            self.freed.notified().await;
        }
    }
}

struct Outstanding {
    number: u64,
    acks: Vec<(u64, Option<u16>)>,
    committed: bool,
}

/// Messages of an external broker. Dropping it disconnects; the broker keeps what is not acknowledged.
pub struct ExternalSource {
    gather: Gather<Received>,
    outstanding: VecDeque<Outstanding>,
    batches: u64,
    view: Arc<watch::Sender<View>>,
    changes: watch::Receiver<View>,
    stats: Arc<IngestStats>,
    queued: Arc<QueuedBytes>,
}

impl ExternalSource {
    pub(super) fn new(
        queue: mpsc::Receiver<Received>,
        view: Arc<watch::Sender<View>>,
        stats: Arc<IngestStats>,
        queued: Arc<QueuedBytes>,
    ) -> Self {
        Self {
            queued,
            gather: Gather::new(queue, |received| bytes_of(&received.message)),
            outstanding: VecDeque::new(),
            batches: 0,
            changes: view.subscribe(),
            view,
            stats,
        }
    }

    fn settled(&self, n: usize) {
        // Release: who sees that nothing is under way also sees its acknowledgements.
        self.stats.in_flight.fetch_sub(n, Ordering::Release);
        // Wakes a session that waits for the last commit.
        self.view.send_modify(|_view| {});
    }

    /// Drops what comes again; waits while the next connection has to tell.
    async fn sort_out(&mut self) {
        loop {
            let mut waiting = false;
            let dropped = {
                let view = self.changes.borrow_and_update();
                let filling = self.gather.filling();
                let before = filling.len();
                filling.retain(|received| match view.verdict(received.epoch) {
                    Verdict::Keep => true,
                    // QoS 0 never comes again.
                    Verdict::Drop => {
                        if received.ack.is_some() {
                            self.queued.left(std::iter::once(&received.message));
                        }
                        received.ack.is_none()
                    }
                    Verdict::Wait => {
                        waiting |= received.ack.is_some();
                        true
                    }
                });
                before - filling.len()
            };
            if dropped > 0 {
                count(&self.stats.stale_events_dropped, dropped);
                self.settled(dropped);
            }
            if !waiting || self.changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn acknowledge(&self, acks: &[(u64, Option<u16>)]) {
        let n = acks.len();
        count(&self.stats.acked, n);
        let (epoch, link) = {
            let view = self.view.borrow();
            (view.epoch, view.acks.clone())
        };
        let present = |(of, ack): &(u64, Option<u16>)| ack.filter(|_| *of == epoch);
        let stale = acks
            .iter()
            .filter(|(of, ack)| ack.is_some() && (*of != epoch || link.is_none()))
            .count();
        if let Some(link) = link {
            link.push(acks.iter().filter_map(present));
        }
        if stale > 0 {
            count(&self.stats.stale_acks_dropped, stale);
        }
        self.settled(n);
    }

    fn acknowledge_committed(&mut self) {
        while let Some(batch) = self.outstanding.pop_front_if(|batch| batch.committed) {
            self.acknowledge(&batch.acks);
        }
    }
}

impl Drop for ExternalSource {
    fn drop(&mut self) {
        self.view.send_modify(|view| view.abandoned = true);
    }
}

#[async_trait]
impl Source for ExternalSource {
    async fn next_batch(&mut self, limit: BatchLimit) -> Option<Batch> {
        let mut limit = limit;
        if !limit.linger.is_zero() {
            limit.linger = limit.linger.max(QUIET_MIN);
        }
        loop {
            self.gather.fill(limit).await;
            if self.gather.filling().is_empty() {
                return None;
            }
            self.sort_out().await;
            let received = self.gather.take();
            if received.is_empty() {
                continue;
            }
            self.queued.left(received.iter().map(|r| &r.message));
            self.batches += 1;
            let (messages, acks) = received
                .into_iter()
                .map(|r| (r.message, (r.epoch, r.ack)))
                .unzip();
            self.outstanding.push_back(Outstanding {
                number: self.batches,
                acks,
                committed: false,
            });
            return Some(Batch {
                messages,
                position: Position::new(self.batches),
            });
        }
    }

    async fn commit(&mut self, position: Position) {
        if let Some(batch) = self
            .outstanding
            .iter_mut()
            .find(|batch| batch.number == position.number())
        {
            batch.committed = true;
        }
        self.acknowledge_committed();
    }

    async fn abandon(&mut self, position: Position) {
        if let Some(index) = self
            .outstanding
            .iter()
            .position(|batch| batch.number == position.number())
            && let Some(batch) = self.outstanding.remove(index)
        {
            count(&self.stats.abandoned, batch.acks.len());
            // From here on nothing of these connections is acknowledged, and the session reconnects.
            self.view.send_modify(|view| {
                for (epoch, ack) in &batch.acks {
                    if ack.is_some() {
                        view.end(*epoch);
                    }
                }
            });
            self.settled(batch.acks.len());
        }
        self.acknowledge_committed();
    }
}
