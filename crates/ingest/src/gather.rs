//! Gathers a batch from a queue; both sources use it.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::BatchLimit;

/// While messages keep coming a batch stays open for so long after its first: under load a few large transactions
/// cost far less than many small ones.
const OPEN_MAX: Duration = Duration::from_millis(50);

/// A batch that holds so many bytes is handed out, however few messages it has.
pub(crate) const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Taken from the queue at once: a batch may exceed its bytes by so many messages.
const TAKE_MAX: usize = 32;

/// A queue and the batch that is being gathered from it. Gathering can be cancelled at any await.
pub(crate) struct Gather<T> {
    queue: mpsc::Receiver<T>,
    filling: Vec<T>,
    bytes_of: fn(&T) -> usize,
    /// Bytes of `filling`.
    bytes: usize,
    /// When the first and the newest messages of the batch were received.
    received: Option<(Instant, Instant)>,
}

impl<T> Gather<T> {
    pub(crate) fn new(queue: mpsc::Receiver<T>, bytes_of: fn(&T) -> usize) -> Self {
        Self {
            queue,
            filling: Vec::new(),
            bytes_of,
            bytes: 0,
            received: None,
        }
    }

    /// Waits until the batch is full (messages, or [`BATCH_BYTES_MAX`]), no more messages come for its linger, it has
    /// been open for long, or the queue is closed. The batch is empty only when the queue is closed and drained.
    pub(crate) async fn fill(&mut self, limit: BatchLimit) {
        let messages_max = limit.messages_max.max(1);
        while self.filling.len() < messages_max && self.bytes < BATCH_BYTES_MAX {
            let n_before = self.filling.len();
            let room = (messages_max - n_before).min(TAKE_MAX);
            let more = self.queue.recv_many(&mut self.filling, room);
            let n_received = match self.received {
                None => more.await,
                Some((first, newest)) => {
                    let deadline = (newest + limit.linger).min(first + limit.linger.max(OPEN_MAX));
                    match timeout_at(deadline, more).await {
                        Ok(n_received) => n_received,
                        Err(_elapsed) => break,
                    }
                }
            };
            if n_received == 0 {
                break;
            }
            let received = self.filling.get(n_before..).unwrap_or_default();
            self.bytes += received.iter().map(self.bytes_of).sum::<usize>();
            let now = Instant::now();
            let first = self.received.map_or(now, |(first, _)| first);
            self.received = Some((first, now));
        }
    }

    /// What was gathered so far.
    pub(crate) fn filling(&mut self) -> &mut Vec<T> {
        &mut self.filling
    }

    /// Takes what was gathered; the next batch starts.
    pub(crate) fn take(&mut self) -> Vec<T> {
        self.received = None;
        self.bytes = 0;
        std::mem::take(&mut self.filling)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limit(messages_max: usize, linger_ms: u64) -> BatchLimit {
        BatchLimit {
            messages_max,
            linger: Duration::from_millis(linger_ms),
        }
    }

    #[tokio::test]
    async fn a_batch_closes_when_full_or_when_its_linger_is_over() {
        let (tx, rx) = mpsc::channel(10);
        let mut gather = Gather::new(rx, |_| 1);
        for n in 0..5 {
            tx.send(n).await.unwrap();
        }
        gather.fill(limit(3, 60_000)).await;
        assert_eq!(gather.take(), [0, 1, 2]);

        let started = Instant::now();
        gather.fill(limit(3, 30)).await;
        assert_eq!(gather.take(), [3, 4]);
        assert!(started.elapsed() >= Duration::from_millis(30));

        drop(tx);
        gather.fill(limit(3, 60_000)).await;
        assert!(gather.take().is_empty());
    }

    #[tokio::test]
    async fn a_batch_of_large_messages_closes_by_its_bytes() {
        let (tx, rx) = mpsc::channel(1_000);
        let mut gather = Gather::new(rx, |_: &()| 1024 * 1024);
        for _ in 0..200 {
            tx.send(()).await.unwrap();
        }
        gather.fill(limit(20_000, 60_000)).await;
        let n = gather.take().len();
        assert!((16..16 + TAKE_MAX).contains(&n), "{n}");
    }

    #[tokio::test]
    async fn a_batch_stays_open_while_messages_keep_coming_but_not_for_long() {
        let (tx, rx) = mpsc::channel(1_000);
        let sender = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(2));
            loop {
                ticks.tick().await;
                tx.send(()).await.unwrap();
            }
        });
        let mut gather = Gather::new(rx, |_| 1);
        let started = Instant::now();
        // Half of what it stays open for: never silent for so long while the sender runs.
        gather.fill(limit(1_000_000, 25)).await;
        assert!(started.elapsed() >= Duration::from_millis(25));
        assert!(started.elapsed() < Duration::from_secs(10), "for ever");
        assert!(gather.take().len() > 1);
        sender.abort();
    }

    #[tokio::test]
    async fn zero_linger_takes_what_is_there_and_zero_size_counts_as_one() {
        let (tx, rx) = mpsc::channel(10);
        let mut gather = Gather::new(rx, |_| 1);
        tx.send('a').await.unwrap();
        tx.send('b').await.unwrap();
        gather.fill(limit(0, 0)).await;
        assert_eq!(gather.take(), ['a']);
        gather.fill(limit(5, 0)).await;
        assert_eq!(gather.take(), ['b']);
    }

    #[tokio::test]
    async fn cancelling_loses_nothing() {
        let (tx, rx) = mpsc::channel(10);
        let mut gather = Gather::new(rx, |_| 1);
        tx.send(1).await.unwrap();
        let cancelled =
            tokio::time::timeout(Duration::from_millis(10), gather.fill(limit(2, 60_000))).await;
        assert!(cancelled.is_err());
        tx.send(2).await.unwrap();
        gather.fill(limit(2, 60_000)).await;
        assert_eq!(gather.take(), [1, 2]);
    }
}
