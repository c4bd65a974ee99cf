//! The fleet on the wire: who shares a connection, pacing, stopping, counting.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use forecare_domain::{Clock, DeviceId, Timestamp};
use rumqttc::v5::mqttbytes::v5::ConnectReturnCode;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::fleet::{Emission, Fleet};
use crate::payload::{Kind, Message};
use crate::session::{Session, WINDOW};

/// Most connections when nothing else is said.
pub const CONNECTIONS_MAX_DEFAULT: usize = 64;
/// How often the clock is read, real time.
const TICK: Duration = Duration::from_millis(20);
/// How long outstanding PUBACKs are awaited after the stop signal, real time.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// About how many emissions are computed at once.
const BURST: u32 = 1000;

/// How devices prove who they are.
#[derive(Clone)]
pub enum Credentials {
    /// Not at all.
    None,
    /// Every connection with the same user, who may publish for every device.
    Gateway {
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
    /// User name and password per device; needs a connection per device.
    PerDevice(BTreeMap<DeviceId, (String, String)>),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Passwords stay out of logs.
        f.write_str(match self {
            Self::None => "None",
            Self::Gateway { .. } => "Gateway",
            Self::PerDevice(_) => "PerDevice",
        })
    }
}

/// Where and how to publish.
#[derive(Debug, Clone)]
pub struct PublisherConfig {
    /// The broker.
    pub broker: SocketAddr,
    /// How devices prove who they are.
    pub credentials: Credentials,
    /// Most connections; up to as many devices have one each, with a last will. More devices share
    /// connections as gateways, without a last will. At least 1; [`CONNECTIONS_MAX_DEFAULT`] is usual.
    pub connections_max: usize,
}

/// Why publishing ended early, or could not begin.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The configuration does not fit the fleet; the text says why.
    #[error("{0}")]
    Config(String),
    /// The broker refuses the client itself; trying again would not help.
    #[error("the broker refuses {client}: {code:?}")]
    Refused {
        /// MQTT client id.
        client: String,
        /// Its reason.
        code: ConnectReturnCode,
    },
    /// An emission has no JSON form.
    #[error("a sample cannot be written as JSON")]
    Payload(#[from] serde_json::Error),
    /// A connection's task died.
    #[error("a connection's task died")]
    Task(#[from] tokio::task::JoinError),
}

/// Counters of a running publisher, all from 0.
#[derive(Debug, Default)]
pub struct PublishStats {
    pub(crate) telemetry_acked: AtomicU64,
    pub(crate) events_acked: AtomicU64,
    pub(crate) status_acked: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) connects: AtomicU64,
    pub(crate) disconnects: AtomicU64,
    pub(crate) unacknowledged: AtomicU64,
    published_up_to: AtomicI64,
}

impl PublishStats {
    /// Telemetry messages that the broker acknowledged.
    #[must_use]
    pub fn telemetry_acked(&self) -> u64 {
        self.telemetry_acked.load(Ordering::Relaxed)
    }

    /// Event messages that the broker acknowledged.
    #[must_use]
    pub fn events_acked(&self) -> u64 {
        self.events_acked.load(Ordering::Relaxed)
    }

    /// Status messages that the broker acknowledged.
    #[must_use]
    pub fn status_acked(&self) -> u64 {
        self.status_acked.load(Ordering::Relaxed)
    }

    /// Messages sent, those sent again included.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Messages that the broker refused for good (not authorised, malformed) and that were dropped.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Times a connection was made.
    #[must_use]
    pub fn connects(&self) -> u64 {
        self.connects.load(Ordering::Relaxed)
    }

    /// Times a connection was lost or not reached.
    #[must_use]
    pub fn disconnects(&self) -> u64 {
        self.disconnects.load(Ordering::Relaxed)
    }

    /// Messages given up at the end without a PUBACK.
    #[must_use]
    pub fn unacknowledged(&self) -> u64 {
        self.unacknowledged.load(Ordering::Relaxed)
    }

    /// Simulated time up to which everything was handed to the connections; behind the clock when the broker
    /// is slower than the fleet.
    #[must_use]
    pub fn published_up_to(&self) -> Timestamp {
        Timestamp::from_millis(self.published_up_to.load(Ordering::Relaxed))
    }

    pub(crate) fn count_ack(&self, kind: Kind) {
        match kind {
            Kind::Telemetry => &self.telemetry_acked,
            Kind::Event => &self.events_acked,
            Kind::Status => &self.status_acked,
        }
        .fetch_add(1, Ordering::Relaxed);
    }
}

/// Publishes the fleet as `clock` goes on, until `stop` becomes true (or its sender is gone); then waits for
/// outstanding PUBACKs, at most 10 s. What the broker does not take in time waits in the fleet, and is left
/// there at the stop.
///
/// # Errors
/// [`PublishError`]; a broker that is away is none: connections are tried again until `stop`.
pub async fn publish(
    mut fleet: Fleet,
    config: PublisherConfig,
    clock: Arc<dyn Clock>,
    mut stop: watch::Receiver<bool>,
    stats: Arc<PublishStats>,
) -> Result<(), PublishError> {
    let (queues, mut sessions) = connect(&fleet, &config, &stats)?;
    // Which queue a device's messages go to, by name: devices are sorted and dealt out in turn.
    let queue_of: BTreeMap<DeviceId, usize> = fleet
        .devices()
        .iter()
        .cloned()
        .zip((0..queues.len()).cycle())
        .collect();

    let result = tokio::select! {
        result = feed(&mut fleet, &queues, &queue_of, &*clock, &stats) => result,
        _ = stop.wait_for(|stop| *stop) => Ok(()),
        Some(ended) = sessions.join_next() => ended.map_err(PublishError::from).and_then(|r| r),
    };
    // The sessions see the end of their queue, say `offline` and leave.
    drop(queues);
    result?;
    let drained = tokio::time::timeout(DRAIN_MAX, async {
        while let Some(ended) = sessions.join_next().await {
            ended??;
        }
        Ok(())
    });
    match drained.await {
        Ok(result) => result,
        Err(_elapsed) => {
            // Dropping a session counts what it still holds.
            sessions.shutdown().await;
            tracing::warn!(
                n_unacknowledged = stats.unacknowledged(),
                "stopped without the last acknowledgements"
            );
            Ok(())
        }
    }
}

type Sessions = JoinSet<Result<(), PublishError>>;

fn connect(
    fleet: &Fleet,
    config: &PublisherConfig,
    stats: &Arc<PublishStats>,
) -> Result<(Vec<mpsc::Sender<Message>>, Sessions), PublishError> {
    let n_devices = fleet.devices().len();
    if config.connections_max == 0 {
        return Err(PublishError::Config(
            "connections_max must be at least 1".to_owned(),
        ));
    }
    let shared = n_devices > config.connections_max;
    if shared && matches!(config.credentials, Credentials::PerDevice(_)) {
        return Err(PublishError::Config(format!(
            "{n_devices} devices with a credential each need as many connections, but connections_max is {}; raise it, or use a gateway credential",
            config.connections_max
        )));
    }
    let n_connections = n_devices.min(config.connections_max);
    let mut queues = Vec::with_capacity(n_connections);
    let mut sessions = JoinSet::new();
    for nth in 0..n_connections {
        let devices: Vec<DeviceId> = fleet
            .devices()
            .iter()
            .skip(nth)
            .step_by(n_connections)
            .cloned()
            .collect();
        let login = match &config.credentials {
            Credentials::None => None,
            Credentials::Gateway { username, password } => {
                Some((username.clone(), password.clone()))
            }
            Credentials::PerDevice(logins) => {
                let device = &fleet.devices()[nth];
                Some(logins.get(device).cloned().ok_or_else(|| {
                    PublishError::Config(format!("no credential for device {device}"))
                })?)
            }
        };
        let client = if shared {
            format!("forecare-gateway-{}", nth + 1)
        } else {
            fleet.devices()[nth].to_string()
        };
        let (queue, messages) = mpsc::channel(usize::from(WINDOW));
        queues.push(queue);
        let session = Session::new(
            client,
            config.broker,
            login,
            devices,
            messages,
            stats.clone(),
        );
        sessions.spawn(session.run());
    }
    Ok((queues, sessions))
}

/// Hands out emissions as they fall due; never returns without an error.
async fn feed(
    fleet: &mut Fleet,
    queues: &[mpsc::Sender<Message>],
    queue_of: &BTreeMap<DeviceId, usize>,
    clock: &dyn Clock,
    stats: &PublishStats,
) -> Result<(), PublishError> {
    let n_devices = u32::try_from(fleet.devices().len()).unwrap_or(u32::MAX);
    let burst_hours =
        fleet.sample_interval_hours() * (f64::from(BURST) / f64::from(n_devices)).min(1.0);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let now = clock.now();
        while fleet.next_at() <= now {
            let until = fleet.next_at().plus_hours(burst_hours).min(now);
            for emission in fleet.advance(until) {
                deliver(&emission, queues, queue_of).await?;
            }
            stats
                .published_up_to
                .store(until.as_millis(), Ordering::Relaxed);
        }
        // Nothing more is due.
        stats
            .published_up_to
            .store(now.as_millis(), Ordering::Relaxed);
    }
}

async fn deliver(
    emission: &Emission,
    queues: &[mpsc::Sender<Message>],
    queue_of: &BTreeMap<DeviceId, usize>,
) -> Result<(), PublishError> {
    let message = Message::of(emission)?;
    let Some(queue) = queue_of.get(emission.device()).and_then(|&q| queues.get(q)) else {
        return Ok(());
    };
    if queue.send(message).await.is_err() {
        // Its session has ended with an error, which `publish` reports; nothing to do until then.
        std::future::pending::<()>().await;
    }
    Ok(())
}
