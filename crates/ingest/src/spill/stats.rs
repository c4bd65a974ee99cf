//! What the spill counts, read by metrics and health checks.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

use forecare_domain::Timestamp;

/// Stands for "no message".
const NONE: i64 = i64::MIN;

/// Counters of one spill, shared with it. Counters only grow; gauges are marked so.
#[derive(Debug)]
pub struct SpillStats {
    pub(super) bytes: AtomicU64,
    pub(super) messages: AtomicU64,
    pub(super) oldest_ms: AtomicI64,
    pub(super) spilling: AtomicBool,
    pub(super) blocked: AtomicBool,
    pub(super) spilled: AtomicU64,
    pub(super) drained: AtomicU64,
    pub(super) full: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) damaged: AtomicU64,
    pub(super) memory_messages: AtomicUsize,
    pub(super) memory_bytes: AtomicUsize,
}

impl Default for SpillStats {
    fn default() -> Self {
        Self {
            bytes: AtomicU64::default(),
            messages: AtomicU64::default(),
            oldest_ms: AtomicI64::new(NONE),
            spilling: AtomicBool::default(),
            blocked: AtomicBool::default(),
            spilled: AtomicU64::default(),
            drained: AtomicU64::default(),
            full: AtomicU64::default(),
            failed: AtomicU64::default(),
            damaged: AtomicU64::default(),
            memory_messages: AtomicUsize::default(),
            memory_bytes: AtomicUsize::default(),
        }
    }
}

impl SpillStats {
    /// Gauge: bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Gauge: messages on disk that are not in the store yet.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Gauge: when the oldest message on disk was received.
    pub fn oldest(&self) -> Option<Timestamp> {
        let ms = self.oldest_ms.load(Ordering::Relaxed);
        (ms != NONE).then(|| Timestamp::from_millis(ms))
    }

    pub(super) fn set_oldest(&self, oldest: Option<Timestamp>) {
        let ms = oldest.map_or(NONE, Timestamp::as_millis);
        self.oldest_ms.store(ms, Ordering::Relaxed);
    }

    /// Gauge: new messages go to disk.
    pub fn spilling(&self) -> bool {
        self.spilling.load(Ordering::Relaxed)
    }

    /// Gauge: the disk takes no more; nothing is read from the broker or the devices.
    pub fn blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Messages written to disk.
    pub fn spilled(&self) -> u64 {
        self.spilled.load(Ordering::Relaxed)
    }

    /// Messages stored from disk.
    pub fn drained(&self) -> u64 {
        self.drained.load(Ordering::Relaxed)
    }

    /// Times the spill was full: its bound, or the disk's floor, was reached.
    pub fn full(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }

    /// Times the disk failed to take or give messages.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Messages that were on disk and cannot be read any more.
    pub fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Gauge: messages in memory, handed out or waiting, that are neither stored nor on disk.
    pub fn memory_messages(&self) -> usize {
        self.memory_messages.load(Ordering::Relaxed)
    }

    /// Gauge: bytes of these.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes.load(Ordering::Relaxed)
    }
}
