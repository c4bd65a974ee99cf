//! Owns the inner source: reads on whatever the pipeline does, and decides between memory and disk.
//!
//! What is not stored yet is one queue, oldest first: batches handed out, then messages on disk, then
//! messages in memory. Only a queue that ends in memory is unacknowledged, and only its part in memory.

mod handing_out;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forecare_domain::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::log::{Log, Place, Refused};
use super::stats::SpillStats;
use super::{SpillConfig, record};
use crate::stats::count;
use crate::{Batch, BatchLimit, Message, Position, Source};

/// What is taken from the inner source at once, until the pipeline has said what it likes.
const FIRST_LIMIT: BatchLimit = BatchLimit {
    messages_max: 1_000,
    linger: Duration::ZERO,
};
/// Pause after the disk refused, unless room is made before.
const DISK_RETRY: Duration = Duration::from_secs(1);
/// The share of [`SpillConfig::after`] that is waited when the window in memory is full.
const FULL_WINDOW_HASTE: u32 = 4;
/// A commit may last so many times the one before it, until it counts as a standstill: batches grow to twice the size.
const COMMIT_GROWTH: u32 = 2;
/// Longest allowance for a commit under way, in multiples of [`SpillConfig::after`].
const COMMIT_MAX: u32 = 10;
/// A batch that failed so often as the oldest is handed out in halves.
const FAILURES_BEFORE_HALVES: u32 = 2;
/// How often it is said again that messages wait.
const REMIND_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) enum Command {
    Next(BatchLimit, oneshot::Sender<Option<Batch>>),
    Commit(Position),
    Abandon(Position),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Out,
    Stored,
    Abandoned,
}

enum Held {
    Memory(Vec<Message>),
    Disk { from: Place, to: Place },
}

/// A batch that was handed out, until it and all before it are stored.
struct Given {
    number: u64,
    n_messages: usize,
    received_at: Option<Timestamp>,
    held: Held,
    fate: Fate,
    /// When it was handed out last.
    out_at: Instant,
    /// How often it failed while it was the oldest.
    n_failures: u32,
}

/// The disk takes no more.
struct Blocked {
    retry_at: Instant,
    remind_at: Instant,
}

pub(super) struct Keeper {
    config: SpillConfig,
    inner: Box<dyn Source>,
    log: Log,
    stats: Arc<SpillStats>,
    commands: mpsc::Receiver<Command>,
    /// The pipeline waits for a batch.
    request: Option<oneshot::Sender<Option<Batch>>>,
    limit: BatchLimit,
    given: VecDeque<Given>,
    /// Received, neither handed out nor on disk.
    waiting: VecDeque<Message>,
    /// Messages and bytes of `waiting` and of what is handed out from memory.
    n_memory: usize,
    memory_bytes: usize,
    /// Batches of the inner source that are not acknowledged, and their messages not yet durable.
    unacknowledged: VecDeque<(Position, usize)>,
    /// What is on disk is handed out up to here.
    read_to: Place,
    /// New messages go to disk.
    spilling: bool,
    spilled_before: u64,
    /// When the store last took something, or had nothing to take.
    moved_at: Instant,
    blocked: Option<Blocked>,
    read_again_at: Option<Instant>,
    /// Reads that failed one after another.
    n_unread: u32,
    /// Most messages of the next batch: grows with what is stored, halves with what fails.
    batch_max: usize,
    /// How long the store took for the last batch; `None` before the first.
    last_commit: Option<Duration>,
    numbers: u64,
    ended_at: Option<Instant>,
    /// The pipeline has asked for a batch: the store is open.
    is_open: bool,
}

impl Keeper {
    pub(super) fn new(
        config: SpillConfig,
        inner: Box<dyn Source>,
        log: Log,
        stats: Arc<SpillStats>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let n_messages = log.n_messages();
        if log.torn_bytes() > 0 {
            info!(
                bytes = log.torn_bytes(),
                "a torn end of the spill was cut: it was never acknowledged"
            );
        }
        stats.damaged.fetch_add(log.n_lost(), Ordering::Relaxed);
        if n_messages > 0 {
            info!(
                n_messages,
                bytes = log.bytes(),
                "messages of the last run wait on disk: they are stored first"
            );
        }
        Self {
            read_to: log.cursor(),
            spilling: n_messages > 0,
            config,
            inner,
            log,
            stats,
            commands,
            request: None,
            limit: FIRST_LIMIT,
            given: VecDeque::new(),
            waiting: VecDeque::new(),
            n_memory: 0,
            memory_bytes: 0,
            unacknowledged: VecDeque::new(),
            spilled_before: 0,
            moved_at: Instant::now(),
            blocked: None,
            read_again_at: None,
            n_unread: 0,
            batch_max: FIRST_LIMIT.messages_max,
            last_commit: None,
            numbers: 0,
            ended_at: None,
            is_open: false,
        }
    }

    /// Runs until the pipeline drops its end.
    pub(super) async fn run(mut self) {
        loop {
            if !self.wants_to_spill() {
                self.unblock();
            } else if self.may_try() {
                self.spill().await;
            }
            self.hand_out().await;
            self.publish();
            let wake_at = self.wake_at();
            let reads = self.reads();
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => return,
                },
                batch = self.inner.next_batch(self.limit), if reads => self.take(batch),
                () = until(wake_at) => {}
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Next(limit, answer) => {
                if !self.is_open {
                    self.is_open = true;
                    // It had nothing to take before.
                    self.moved_at = Instant::now();
                }
                self.limit = limit;
                self.request = Some(answer);
            }
            Command::Commit(position) => {
                self.set_fate(&position, Fate::Stored);
                self.settle_stored().await;
            }
            Command::Abandon(position) => {
                self.set_fate(&position, Fate::Abandoned);
                self.count_failure(&position);
            }
        }
    }

    /// The oldest batch failed: where it does so again and again, it may be too much for the store at once.
    fn count_failure(&mut self, position: &Position) {
        if let Some(oldest) = self.given.front_mut()
            && oldest.number == position.number()
        {
            oldest.n_failures += 1;
            if oldest.n_failures >= FAILURES_BEFORE_HALVES {
                self.batch_max = (oldest.n_messages / 2).max(1);
            }
        }
    }

    fn set_fate(&mut self, position: &Position, fate: Fate) {
        if let Some(given) = self
            .given
            .iter_mut()
            .find(|given| given.number == position.number())
        {
            given.fate = fate;
        }
    }

    fn take(&mut self, batch: Option<Batch>) {
        let Some(batch) = batch else {
            self.ended_at = Some(Instant::now());
            return;
        };
        if self.n_memory == 0 && self.given.is_empty() {
            self.moved_at = Instant::now();
        }
        let n_messages = batch.messages.len();
        self.unacknowledged.push_back((batch.position, n_messages));
        self.n_memory += n_messages;
        self.memory_bytes += batch.messages.iter().map(record::bytes_of).sum::<usize>();
        self.waiting.extend(batch.messages);
    }

    fn window_is_full(&self) -> bool {
        self.n_memory >= self.config.memory_messages_max
            || self.memory_bytes >= self.config.memory_bytes_max
    }

    /// Whether the inner source is asked for more.
    fn reads(&self) -> bool {
        let room = if self.spilling {
            // What was taken goes to disk at once; where it could not, it waits here.
            self.blocked.is_none()
        } else {
            !self.window_is_full()
        };
        self.ended_at.is_none() && room
    }

    /// Whether messages in memory belong on disk: the store took nothing for so long though there was
    /// something to take. A store that merely takes them slowly is no reason, publishers wait then: to write
    /// everything twice would make it slower still.
    fn wants_to_spill(&self) -> bool {
        self.n_memory > 0 && (self.spilling || self.moved_at.elapsed() >= self.patience())
    }

    /// Shorter when the window is full: from then on the broker's own queue fills, which may be small. Not before the
    /// store is open, which takes a moment with a queue of the broker's waiting. Longer while the store may be at work on a
    /// batch: it is slow then, not away.
    fn patience(&self) -> Duration {
        let idle = if self.is_open && self.window_is_full() {
            self.config.after / FULL_WINDOW_HASTE
        } else {
            self.config.after
        };
        let committing = self.given.front().is_some_and(|g| g.fate == Fate::Out);
        if !committing {
            return idle;
        }
        let commit = self
            .last_commit
            .unwrap_or(self.config.after / COMMIT_GROWTH);
        idle + (commit * COMMIT_GROWTH).min(self.config.after * COMMIT_MAX)
    }

    /// False in the pause after the disk refused.
    fn may_try(&self) -> bool {
        self.blocked
            .as_ref()
            .is_none_or(|blocked| Instant::now() >= blocked.retry_at)
    }

    fn unblock(&mut self) {
        if self.blocked.take().is_some() {
            info!("messages are taken again");
        }
    }

    /// Brings everything in memory to disk, oldest first, and acknowledges it.
    async fn spill(&mut self) {
        let mut groups: Vec<Vec<Message>> = Vec::new();
        for given in &mut self.given {
            if let Held::Memory(messages) = &mut given.held {
                groups.push(std::mem::take(messages));
            }
        }
        let n_given = groups.len();
        if !self.waiting.is_empty() {
            groups.push(std::mem::take(&mut self.waiting).into());
        }
        let spans = match self.log.append(&groups) {
            Ok(spans) => spans,
            Err(refused) => {
                let mut groups = groups.into_iter();
                for (given, messages) in self.in_memory().zip(groups.by_ref()) {
                    given.held = Held::Memory(messages);
                }
                self.waiting = groups.next().unwrap_or_default().into();
                self.refused(&refused);
                return;
            }
        };
        for (given, &(from, to)) in self.in_memory().zip(&spans) {
            given.held = Held::Disk { from, to };
        }
        if let Some((_, to)) = n_given.checked_sub(1).and_then(|last| spans.get(last)) {
            // Batches from memory were the newest handed out: nothing on disk was left to read.
            self.read_to = *to;
        }
        let n_messages = std::mem::take(&mut self.n_memory);
        self.memory_bytes = 0;
        if !self.spilling {
            self.spilling = true;
            self.spilled_before = self.stats.spilled();
            warn!(
                n_messages,
                stalled_ms = self.moved_at.elapsed().as_millis(),
                "the store does not keep up: messages go to disk"
            );
        }
        self.unblock();
        count(&self.stats.spilled, n_messages);
        self.show_oldest();
        self.acknowledge(n_messages).await;
    }

    fn in_memory(&mut self) -> impl Iterator<Item = &mut Given> {
        self.given
            .iter_mut()
            .filter(|given| matches!(given.held, Held::Memory(_)))
    }

    fn refused(&mut self, refused: &Refused) {
        let now = Instant::now();
        let first = self.blocked.is_none();
        if first {
            match refused {
                Refused::Full(_) => count(&self.stats.full, 1),
                Refused::Failed(_) => count(&self.stats.failed, 1),
            }
        }
        let remind = self.blocked.as_ref().is_none_or(|b| now >= b.remind_at);
        if remind {
            match refused {
                Refused::Full(why) => error!(
                    why,
                    "the spill is full: no more messages are taken until the store is back; raise spill.bytes_max or make room"
                ),
                Refused::Failed(error) => error!(
                    %error,
                    dir = %self.config.dir.display(),
                    "the spill cannot be written: no more messages are taken; check spill.dir and its disk"
                ),
            }
        }
        self.blocked = Some(Blocked {
            retry_at: now + DISK_RETRY,
            remind_at: match &self.blocked {
                Some(blocked) if !remind => blocked.remind_at,
                _ => now + REMIND_EVERY,
            },
        });
    }

    /// Tells the inner source of the oldest messages in memory that they are durable.
    async fn acknowledge(&mut self, mut n_messages: usize) {
        while n_messages > 0 {
            let Some((_, left)) = self.unacknowledged.front_mut() else {
                return;
            };
            let durable = n_messages.min(*left);
            *left -= durable;
            n_messages -= durable;
            if *left == 0
                && let Some((position, _)) = self.unacknowledged.pop_front()
            {
                self.inner.commit(position).await;
            }
        }
    }

    /// Lets go of the oldest batches as far as they are stored.
    async fn settle_stored(&mut self) {
        let mut settled_to = None;
        let n_before = self.given.len();
        while let Some(given) = self.given.pop_front_if(|given| given.fate == Fate::Stored) {
            let now = Instant::now();
            if given.n_messages > 0 {
                self.last_commit = Some(now - self.moved_at.max(given.out_at));
                let grown = self
                    .batch_max
                    .saturating_mul(2)
                    .min(FIRST_LIMIT.messages_max);
                self.batch_max = given.n_messages.saturating_mul(2).max(grown);
            }
            match given.held {
                Held::Memory(messages) => {
                    self.n_memory -= messages.len();
                    self.memory_bytes -= messages.iter().map(record::bytes_of).sum::<usize>();
                    self.acknowledge(messages.len()).await;
                }
                Held::Disk { to, .. } => {
                    count(&self.stats.drained, given.n_messages);
                    settled_to = Some(to);
                }
            }
            self.moved_at = now;
        }
        if let Some(to) = settled_to {
            self.log.settle(to);
            if let Some(blocked) = &mut self.blocked {
                // There may be room now.
                blocked.retry_at = Instant::now();
            }
            self.show_oldest();
        }
        let stored_some = self.given.len() < n_before;
        let caught_up = self.all_read() || (stored_some && self.fits_the_window());
        if self.spilling && caught_up && self.waiting.is_empty() {
            self.spilling = false;
            info!(
                n_messages = self.stats.spilled() - self.spilled_before,
                "the store has caught up: messages no longer go to disk"
            );
        }
    }

    /// What is still on disk would fit into the window. A store that takes messages faster than they come has stored it
    /// before new ones fill the window; one that does not is merely slow, and is not made slower by writing all twice.
    fn fits_the_window(&self) -> bool {
        let fits = |n: u64, max: usize| usize::try_from(n).is_ok_and(|n| n < max);
        fits(self.log.n_messages(), self.config.memory_messages_max)
            && fits(self.log.bytes(), self.config.memory_bytes_max)
    }

    fn all_read(&self) -> bool {
        self.read_to.sequence >= self.log.end().sequence
    }

    /// When there is something to do though nothing comes.
    fn wake_at(&self) -> Option<Instant> {
        let stalls = (self.n_memory > 0 && !self.spilling && self.blocked.is_none())
            .then(|| self.moved_at + self.patience());
        let retries = self.blocked.as_ref().map(|blocked| blocked.retry_at);
        let reads = self.request.as_ref().and(self.read_again_at);
        [stalls, retries, reads].into_iter().flatten().min()
    }

    fn show_oldest(&mut self) {
        let given = self
            .given
            .iter()
            .find(|given| matches!(given.held, Held::Disk { .. }));
        let oldest = match given {
            Some(given) => given.received_at,
            // The gauge can do without what cannot be read.
            None => self
                .log
                .read(self.read_to, 1, 1)
                .ok()
                .and_then(|found| found.messages.first().map(|message| message.received_at)),
        };
        self.stats.set_oldest(oldest);
    }

    fn publish(&self) {
        let stats = &self.stats;
        stats.bytes.store(self.log.bytes(), Ordering::Relaxed);
        stats
            .messages
            .store(self.log.n_messages(), Ordering::Relaxed);
        stats.spilling.store(self.spilling, Ordering::Relaxed);
        stats
            .blocked
            .store(self.blocked.is_some(), Ordering::Relaxed);
        stats
            .memory_messages
            .store(self.n_memory, Ordering::Relaxed);
        stats
            .memory_bytes
            .store(self.memory_bytes, Ordering::Relaxed);
    }
}

async fn until(wake_at: Option<Instant>) {
    match wake_at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
