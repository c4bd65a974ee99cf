//! Counters of a source, read by metrics and health checks.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use forecare_tls::PeerCertificate;

type Probe = Box<dyn Fn() -> usize + Send + Sync>;

/// Counters of one source, shared with it. Counters only grow; gauges are marked so.
#[derive(Default)]
pub struct IngestStats {
    pub(crate) received: AtomicU64,
    pub(crate) acked: AtomicU64,
    pub(crate) abandoned: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    pub(crate) connected: AtomicBool,
    pub(crate) clients: AtomicUsize,
    pub(crate) stale_acks_dropped: AtomicU64,
    pub(crate) stale_events_dropped: AtomicU64,
    pub(crate) held_up: AtomicU64,
    pub(crate) qos0_dropped: AtomicU64,
    pub(crate) oversized: AtomicU64,
    pub(crate) in_flight: AtomicUsize,
    pub(crate) refused_auth: AtomicU64,
    pub(crate) refused_topic: AtomicU64,
    pub(crate) refused_clients: AtomicU64,
    queue: OnceLock<Probe>,
    broker_certificate: Arc<PeerCertificate>,
    last_error: Mutex<Option<String>>,
}

impl std::fmt::Debug for IngestStats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IngestStats")
            .field("received", &self.received())
            .field("acked", &self.acked())
            .field("in_flight", &self.in_flight())
            .field("connected", &self.connected())
            .finish_non_exhaustive()
    }
}

impl IngestStats {
    /// What an external broker with TLS showed when the connection was last made.
    #[must_use]
    pub fn broker_certificate(&self) -> Arc<PeerCertificate> {
        Arc::clone(&self.broker_certificate)
    }

    /// Messages that entered the queue.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Messages that were committed; each QoS 1 or 2 message of them is acknowledged to its publisher
    /// or broker, unless the connection is gone ([`Self::stale_acks_dropped`]).
    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// Messages whose batch could not be stored.
    pub fn abandoned(&self) -> u64 {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Connections to the external broker after the first.
    pub fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }

    /// Gauge. External: connected, and every subscription granted. Embedded: listening.
    pub fn connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Gauge: connections of the embedded broker.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// Acknowledgements not sent because the connection that brought the message is gone.
    pub fn stale_acks_dropped(&self) -> u64 {
        self.stale_acks_dropped.load(Ordering::Relaxed)
    }

    /// Queued messages dropped because the broker sends them again on its new connection.
    pub fn stale_events_dropped(&self) -> u64 {
        self.stale_events_dropped.load(Ordering::Relaxed)
    }

    /// Times nothing more was read from the external broker because the queue was full.
    pub fn held_up(&self) -> u64 {
        self.held_up.load(Ordering::Relaxed)
    }

    /// QoS 0 messages lost: their batch was abandoned (embedded).
    pub fn qos0_dropped(&self) -> u64 {
        self.qos0_dropped.load(Ordering::Relaxed)
    }

    /// Messages whose payload was cut because it is larger than allowed.
    pub fn oversized(&self) -> u64 {
        self.oversized.load(Ordering::Relaxed)
    }

    /// Gauge: messages received, and neither committed, abandoned nor dropped.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Gauge: messages in the queue, never more than its bound.
    pub fn queue_len(&self) -> usize {
        self.queue.get().map_or(0, |probe| probe())
    }

    /// Connections of the embedded broker refused for their credentials.
    pub fn refused_auth(&self) -> u64 {
        self.refused_auth.load(Ordering::Relaxed)
    }

    /// Messages, wills and subscriptions refused for their topic; external: subscriptions refused by
    /// the broker.
    pub fn refused_topic(&self) -> u64 {
        self.refused_topic.load(Ordering::Relaxed)
    }

    /// Connections of the embedded broker refused because there are too many.
    pub fn refused_clients(&self) -> u64 {
        self.refused_clients.load(Ordering::Relaxed)
    }

    /// The last failure of the connection to the external broker; `None` while all is well.
    pub fn last_error(&self) -> Option<String> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_last_error(&self, error: Option<String>) {
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// Ties the queue gauge to the queue. One source per `IngestStats`: a second one is not shown.
    pub(crate) fn watch_queue<T: Send + 'static>(&self, queue: &tokio::sync::mpsc::Sender<T>) {
        let queue = queue.downgrade();
        self.queue.get_or_init(|| {
            Box::new(move || {
                queue
                    .upgrade()
                    .map_or(0, |queue| queue.max_capacity() - queue.capacity())
            })
        });
    }
}

pub(crate) fn count(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}
