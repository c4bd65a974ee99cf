//! What the pipeline gets: what it gave back first, then what is on disk, then what is in memory.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tracing::error;

use super::{DISK_RETRY, Fate, Given, Held, Keeper};
use crate::gather::BATCH_BYTES_MAX;
use crate::spill::log::{Found, Place, Unread};
use crate::spill::record;
use crate::stats::count;
use crate::{Batch, Message, Position};

/// So often a part of the disk is tried before it is given up.
const READ_TRIES: u32 = 5;
/// So long the disk is still drained after the inner source has ended; the rest waits for the next start.
const DRAIN_AT_END: Duration = Duration::from_secs(10);

/// What came of a look for something to hand out.
enum Handed {
    Batch(Batch),
    /// It was on disk, and cannot be read any more.
    Lost,
    /// The disk gives nothing now.
    Later,
}

enum ReadAgain {
    Later,
    Never,
}

impl Keeper {
    /// Answers the pipeline's request if there is something for it.
    pub(super) async fn hand_out(&mut self) {
        if self.request.is_none() || self.read_again_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.read_again_at = None;
        let batch = loop {
            let abandoned = self
                .given
                .iter()
                .position(|given| given.fate == Fate::Abandoned);
            let again_from_disk = abandoned
                .and_then(|index| self.given.get(index))
                .is_some_and(|given| matches!(given.held, Held::Disk { .. }));
            let drained = self
                .ended_at
                .is_some_and(|ended| ended.elapsed() >= DRAIN_AT_END);
            let left_on_disk = again_from_disk || (drained && !self.all_read());
            if self.ended_at.is_some() && left_on_disk {
                // Safe on disk, and the store is away or far behind: it waits for the next start.
                break None;
            }
            let found = if let Some(index) = abandoned {
                self.again(index)
            } else if !self.all_read() {
                self.next_from_disk()
            } else if !self.waiting.is_empty() {
                break Some(self.next_from_memory());
            } else if self.ended_at.is_some() {
                break None;
            } else {
                return;
            };
            match found {
                Handed::Batch(batch) => break Some(batch),
                // Nothing of it is left, but there may be something behind it.
                Handed::Lost => self.settle_stored().await,
                Handed::Later => return,
            }
        };
        if let Some(request) = self.request.take()
            && let Err(Some(unwanted)) = request.send(batch)
        {
            self.set_fate(&unwanted.position, Fate::Abandoned);
        }
    }

    fn give(&mut self, messages: &[Message], held: Held) -> Position {
        self.numbers += 1;
        self.given.push_back(Given {
            number: self.numbers,
            n_messages: messages.len(),
            received_at: messages.first().map(|message| message.received_at),
            held,
            fate: Fate::Out,
            out_at: Instant::now(),
            n_failures: 0,
        });
        Position::new(self.numbers)
    }

    /// Hands an abandoned batch out again, or its first part where it is to be in parts.
    fn again(&mut self, index: usize) -> Handed {
        let Some(given) = self.given.get(index) else {
            return Handed::Later;
        };
        let n_whole = given.n_messages;
        let n_first = n_whole.min(self.batch_max);
        let messages = match &given.held {
            Held::Memory(messages) => messages.get(..n_first).unwrap_or_default().to_vec(),
            &Held::Disk { from, to } => {
                let found = match self.log.read_again(from, to, n_first) {
                    Ok(found) => found,
                    Err(error) => match self.unreadable(&error) {
                        ReadAgain::Later => return Handed::Later,
                        ReadAgain::Never => {
                            // Its file is kept.
                            self.log.give_up(from);
                            Found {
                                messages: Vec::new(),
                                to,
                                n_damaged: 0,
                            }
                        }
                    },
                };
                self.n_unread = 0;
                let n_found = found.messages.len();
                if n_found < n_whole && found.to != to {
                    self.split(index, n_found, Some(found.to));
                } else if n_found < n_whole {
                    // Damaged since it was read.
                    self.lost((n_whole - n_found) as u64);
                    self.given[index].n_messages = n_found;
                }
                found.messages
            }
        };
        if n_first < n_whole && matches!(self.given[index].held, Held::Memory(_)) {
            self.split(index, n_first, None);
        }
        self.numbers += 1;
        let given = &mut self.given[index];
        given.number = self.numbers;
        given.out_at = Instant::now();
        if messages.is_empty() {
            given.fate = Fate::Stored;
            return Handed::Lost;
        }
        given.fate = Fate::Out;
        Handed::Batch(Batch {
            messages,
            position: Position::new(self.numbers),
        })
    }

    /// Makes two of an abandoned batch; the second part begins at `middle` where it is on disk.
    fn split(&mut self, index: usize, n_first: usize, middle: Option<Place>) {
        let Some(given) = self.given.get_mut(index) else {
            return;
        };
        let (received_at, held) = match (&mut given.held, middle) {
            (Held::Memory(messages), _) => {
                let second = messages.split_off(n_first);
                (second.first().map(|m| m.received_at), Held::Memory(second))
            }
            (Held::Disk { to, .. }, Some(middle)) => {
                let second = Held::Disk {
                    from: middle,
                    to: std::mem::replace(to, middle),
                };
                (given.received_at, second)
            }
            (Held::Disk { .. }, None) => return,
        };
        let n_second = given.n_messages - n_first;
        given.n_messages = n_first;
        self.numbers += 1;
        let second = Given {
            number: self.numbers,
            n_messages: n_second,
            received_at,
            held,
            fate: Fate::Abandoned,
            out_at: Instant::now(),
            n_failures: 0,
        };
        self.given.insert(index + 1, second);
    }

    fn next_from_disk(&mut self) -> Handed {
        let from = self.read_to;
        let n_max = self.limit.messages_max.min(self.batch_max).max(1);
        let found = match self.log.read(from, n_max, BATCH_BYTES_MAX) {
            Ok(found) => found,
            Err(error) => match self.unreadable(&error) {
                ReadAgain::Later => return Handed::Later,
                ReadAgain::Never => self.log.give_up(from),
            },
        };
        self.n_unread = 0;
        self.read_to = found.to;
        if found.n_damaged > 0 {
            self.lost(found.n_damaged);
        }
        let held = Held::Disk { from, to: found.to };
        let position = self.give(&found.messages, held);
        if found.messages.is_empty() {
            self.set_fate(&position, Fate::Stored);
            return Handed::Lost;
        }
        Handed::Batch(Batch {
            messages: found.messages,
            position,
        })
    }

    fn lost(&self, n_messages: u64) {
        self.stats.damaged.fetch_add(n_messages, Ordering::Relaxed);
        error!(
            n_messages,
            "messages on disk are damaged: they are lost to the store; the file is kept as *.damaged"
        );
    }

    fn next_from_memory(&mut self) -> Batch {
        let mut bytes = 0;
        let n_messages = self
            .waiting
            .iter()
            .take(self.limit.messages_max.min(self.batch_max).max(1))
            .take_while(|message| {
                let fits = bytes < BATCH_BYTES_MAX;
                bytes += record::bytes_of(message);
                fits
            })
            .count();
        let messages: Vec<Message> = self.waiting.drain(..n_messages).collect();
        let position = self.give(&messages, Held::Memory(messages.clone()));
        Batch { messages, position }
    }

    fn unreadable(&mut self, unread: &Unread) -> ReadAgain {
        count(&self.stats.failed, 1);
        self.n_unread += 1;
        let dir = self.config.dir.display();
        if matches!(unread, Unread::Lost(_)) && self.n_unread >= READ_TRIES {
            error!(error = %unread, %dir, n_tries = self.n_unread, "a part of the spill cannot be read: given up");
            return ReadAgain::Never;
        }
        error!(error = %unread, %dir, "the spill cannot be read: tried again; check spill.dir and its disk");
        self.read_again_at = Some(Instant::now() + DISK_RETRY);
        ReadAgain::Later
    }
}
