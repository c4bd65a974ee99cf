//! The embedded broker: devices connect to this process, and their PUBACK means stored.

mod connection;
mod sniffer;
mod source;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forecare_domain::Clock;
use mqtt5::broker::client_handler::ClientHandler;
use mqtt5::broker::config::StorageConfig;
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::storage::QueueLimits;
use mqtt5::broker::sys_topics::BrokerStats;
use mqtt5::broker::transport::BrokerTransport;
use mqtt5::broker::{
    BrokerConfig, DynamicStorage, MemoryBackend, ResourceLimits, ResourceMonitor, StorageBackend,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use crate::{Authorizer, IngestError, IngestStats};
use connection::{Connection, Registry};
use sniffer::SniffedStream;
pub use source::EmbeddedSource;
use source::Queued;

/// Sessions of devices that went away are kept this long; nothing of them is on disk.
const SESSION_EXPIRY: Duration = Duration::from_secs(3_600);
/// How often expired sessions and their queues are dropped.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Messages and bytes kept for a device that is away, or slower than what it subscribed to.
const DEVICE_QUEUE: QueueLimits = QueueLimits {
    max_messages: 1_000,
    max_bytes: 1024 * 1024,
};
/// Room for topic and properties beside the payload, and for payloads to be refused by name.
const PACKET_OVERHEAD_BYTES: usize = 256 * 1024;
/// Unfinished QoS 2 exchanges of one connection.
const QOS2_OPEN_MAX: u16 = 256;
const SUBSCRIPTIONS_PER_CLIENT_MAX: usize = 64;
/// Messages on their way to one connection.
const CLIENT_CHANNEL: usize = 256;
/// Password checks at a time: each may be a slow hash that fills tens of megabytes.
const PASSWORD_CHECKS_MAX: usize = 4;
/// Pause after the system refused to accept, as when out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Settings of the embedded broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedConfig {
    /// Where to listen, plain TCP; port 0 takes a free one ([`EmbeddedBroker::local_addr`]).
    pub listen: SocketAddr,
    /// Most messages waiting for the pipeline; at least 1. When full, devices wait for their PUBACK.
    pub queue_max: usize,
    /// Largest payload that is passed on whole, bytes. Up to 256 KiB more is cut and passed on; beyond
    /// that the device is disconnected.
    pub payload_bytes_max: usize,
    /// Most connections at a time.
    pub clients_max: usize,
}

/// What the connections share.
struct Shared {
    /// `None` once the broker is shut down.
    queue: Mutex<Option<mpsc::Sender<Queued>>>,
    closing: AtomicBool,
    authorizer: Arc<dyn Authorizer>,
    clock: Arc<dyn Clock>,
    stats: Arc<IngestStats>,
    router: Arc<MessageRouter>,
    registry: Registry,
    password_checks: Arc<Semaphore>,
    payload_bytes_max: usize,
    retained_max: usize,
}

impl Shared {
    fn queue(&self) -> Option<mpsc::Sender<Queued>> {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn close_queue(&self) {
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A running embedded broker. Dropping it shuts it down without waiting.
#[derive(Debug)]
pub struct EmbeddedBroker {
    local_addr: SocketAddr,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl EmbeddedBroker {
    /// Listens, and serves connections until [`Self::shutdown`].
    ///
    /// # Errors
    /// [`IngestError::AddressInUse`], [`IngestError::Listen`] when the address cannot be had;
    /// [`IngestError::BadSetting`] for a bound of zero; [`IngestError::Broker`] otherwise.
    pub async fn start(
        config: EmbeddedConfig,
        authorizer: Arc<dyn Authorizer>,
        clock: Arc<dyn Clock>,
        stats: Arc<IngestStats>,
    ) -> Result<(EmbeddedBroker, EmbeddedSource), IngestError> {
        for (key, bound) in [
            ("ingest.queue_max", config.queue_max),
            ("mqtt.clients_max", config.clients_max),
            ("ingest.payload_bytes_max", config.payload_bytes_max),
        ] {
            if bound == 0 {
                return Err(IngestError::BadSetting {
                    key,
                    reason: "must be at least 1",
                });
            }
        }
        let (listener, local_addr) = listen(config.listen).await?;

        let storage = Arc::new(DynamicStorage::Memory(MemoryBackend::with_queue_limits(
            DEVICE_QUEUE,
        )));
        let router = Arc::new(
            MessageRouter::with_storage(Arc::clone(&storage))
                .with_fallback_queue_limits(DEVICE_QUEUE),
        );
        router.initialize().await.map_err(|e| IngestError::Broker {
            reason: e.to_string(),
        })?;

        let (queue, receiver) = mpsc::channel(config.queue_max);
        stats.watch_queue(&queue);
        let shared = Arc::new(Shared {
            queue: Mutex::new(Some(queue)),
            closing: AtomicBool::new(false),
            authorizer,
            clock,
            stats: Arc::clone(&stats),
            router,
            registry: Registry::default(),
            password_checks: Arc::new(Semaphore::new(PASSWORD_CHECKS_MAX)),
            payload_bytes_max: config.payload_bytes_max,
            retained_max: config.clients_max.saturating_mul(4),
        });
        let (stop, stopped) = watch::channel(false);
        let server = Server {
            shared,
            storage,
            protocol: protocol_settings(&config, local_addr),
            monitor: Arc::new(ResourceMonitor::new(ResourceLimits {
                max_connections: config.clients_max,
                max_connections_per_ip: config.clients_max,
                // Back-pressure bounds what devices can send; a fleet that comes back after an outage
                // must neither be refused for its number nor for its backlog.
                max_connection_rate: u32::MAX,
                max_message_rate_per_client: 0,
                max_bandwidth_per_client: 0,
                ..ResourceLimits::default()
            })),
            broker_stats: Arc::new(BrokerStats::new()),
            places: Arc::new(Semaphore::new(
                config.clients_max.min(Semaphore::MAX_PERMITS),
            )),
            stopped,
        };
        stats.connected.store(true, Ordering::Relaxed);
        Ok((
            EmbeddedBroker {
                local_addr,
                stop,
                server: tokio::spawn(server.serve(listener)),
            },
            EmbeddedSource::new(receiver, stats),
        ))
    }

    /// Where the broker listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Stops accepting connections and messages, waits until every message already taken is committed
    /// or abandoned and its device told, disconnects, and closes the queue: the source then ends.
    /// Waits for as long as the consumer of the source does.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Err(error) = (&mut self.server).await {
            tracing::error!(%error, "embedded broker failed");
        }
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

async fn listen(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), IngestError> {
    let named = |source: io::Error| {
        if source.kind() == io::ErrorKind::AddrInUse {
            IngestError::AddressInUse { listen }
        } else {
            IngestError::Listen { listen, source }
        }
    };
    let listener = TcpListener::bind(listen).await.map_err(named)?;
    let local_addr = listener.local_addr().map_err(named)?;
    Ok((listener, local_addr))
}

/// Settings of the protocol engine. It binds nothing itself: we accept, it serves the connection.
fn protocol_settings(config: &EmbeddedConfig, local_addr: SocketAddr) -> BrokerConfig {
    let mut protocol = BrokerConfig::new()
        .with_bind_address(local_addr)
        .with_max_clients(config.clients_max)
        .with_session_expiry(SESSION_EXPIRY)
        .with_max_packet_size(
            config
                .payload_bytes_max
                .saturating_add(PACKET_OVERHEAD_BYTES),
        )
        .with_max_subscriptions_per_client(SUBSCRIPTIONS_PER_CLIENT_MAX)
        .with_client_channel_capacity(CLIENT_CHANNEL)
        .with_server_receive_maximum(QOS2_OPEN_MAX)
        .with_sys_topics_enabled(false)
        .with_storage(StorageConfig {
            max_queued_messages_per_client: DEVICE_QUEUE.max_messages,
            max_queued_bytes_per_client: DEVICE_QUEUE.max_bytes,
            ..StorageConfig::new().with_backend(mqtt5::broker::StorageBackendType::Memory)
        });
    // A shared subscription reorders a device's messages, and nothing here needs one.
    protocol.shared_subscription_available = false;
    protocol.topic_alias_maximum = 64;
    protocol
}

struct Server {
    shared: Arc<Shared>,
    storage: Arc<DynamicStorage>,
    protocol: BrokerConfig,
    monitor: Arc<ResourceMonitor>,
    broker_stats: Arc<BrokerStats>,
    places: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

impl Server {
    async fn serve(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopped = self.stopped.clone();
        loop {
            tokio::select! {
                () = until_stopped(&mut stopped) => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.admit(stream, peer, &mut connections),
                    Err(error) => {
                        tracing::warn!(%error, "connection not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(finished) = connections.join_next() => self.finished(finished),
                _ = sweep.tick() => self.sweep().await,
            }
        }
        drop(listener);
        self.shared.closing.store(true, Ordering::SeqCst);
        while let Some(finished) = connections.join_next().await {
            self.finished(finished);
        }
        self.shared.close_queue();
        self.shared.stats.connected.store(false, Ordering::Relaxed);
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr, connections: &mut JoinSet<()>) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            crate::stats::count(&self.shared.stats.refused_clients, 1);
            tracing::warn!(%peer, "connection refused: mqtt.clients_max reached");
            return;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "TCP_NODELAY not set");
        }
        self.shared.stats.clients.fetch_add(1, Ordering::Relaxed);
        let connection = Connection::new(Arc::clone(&self.shared));
        let stream = SniffedStream::new(stream, peer, connection.sniffer());
        let settings = BrokerConfig {
            event_handler: Some(connection.clone()),
            ..self.protocol.clone()
        };
        let handler = ClientHandler::new(
            BrokerTransport::WebSocket(Box::new(stream)),
            peer,
            Arc::new(settings),
            Arc::clone(&self.shared.router),
            connection.clone(),
            Some(Arc::clone(&self.storage)),
            Arc::clone(&self.broker_stats),
            Arc::clone(&self.monitor),
            connection.closed_signal(),
        );
        connections.spawn(run_connection(
            connection,
            handler,
            peer,
            self.stopped.clone(),
            place,
        ));
    }

    fn finished(&self, finished: Result<(), tokio::task::JoinError>) {
        self.shared.stats.clients.fetch_sub(1, Ordering::Relaxed);
        if let Err(error) = finished {
            tracing::error!(%error, "connection failed");
        }
    }

    async fn sweep(&self) {
        if let Err(error) = self.storage.cleanup_expired().await {
            tracing::warn!(%error, "expired sessions not dropped");
        }
        self.shared.router.sweep_sessions().await;
        self.monitor.cleanup_expired_windows().await;
    }
}

async fn until_stopped(stopped: &mut watch::Receiver<bool>) {
    // An error means that the handle is gone, which stops us as well.
    stopped.wait_for(|stop| *stop).await.map(|_stop| ()).ok();
}

async fn run_connection(
    connection: Arc<Connection>,
    handler: ClientHandler,
    peer: SocketAddr,
    mut stopped: watch::Receiver<bool>,
    place: OwnedSemaphorePermit,
) {
    let run = handler.run();
    tokio::pin!(run);
    let outcome = tokio::select! {
        outcome = &mut run => outcome,
        () = until_stopped(&mut stopped) => {
            // What the hook already took is finished and acknowledged before this takes effect.
            connection.close();
            run.await
        }
    };
    connection.left();
    if let Err(error) = outcome {
        tracing::debug!(%peer, %error, "connection ended");
    }
    drop(place);
}
