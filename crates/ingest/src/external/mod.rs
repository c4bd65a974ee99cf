//! An external broker, read through one MQTT 5 connection with a persistent session.

mod address;
mod backoff;
mod link;
mod session;
mod source;
mod tls;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forecare_domain::Clock;
use forecare_tls::PeerCertificate;
use rumqttc::v5::mqttbytes::v5::{Connect, ConnectProperties, Login};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::{IngestError, IngestStats};
use address::Address;
use backoff::Backoff;
use link::Endpoint;
use session::Session;
pub use source::ExternalSource;
use source::QueuedBytes;
use view::View;

/// Pings when idle; a broker that vanished is noticed after twice this.
const KEEP_ALIVE_S: u16 = 10;
/// Largest packet we announce, unless payloads are allowed to be larger. A payload between
/// `payload_bytes_max` and this is cut, and refused by name; what is larger the broker must not send
/// (MQTT 5, 3.1.2.11.4).
const PACKET_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Room for topic and properties beside the payload.
const PACKET_OVERHEAD_BYTES: usize = 256 * 1024;
/// Largest packet of the protocol.
const PROTOCOL_PACKET_BYTES_MAX: u32 = 268_435_455;

/// Packet ids of the protocol: no broker can have more messages unacknowledged on one connection.
const UNACKNOWLEDGED_MAX: usize = 65_535;
/// What a lost connection left behind, and what comes again. Not the receive maximum: Mosquitto sends
/// far beyond a small one (seen with 2.0.11), and to disconnect for that would be to do it for ever.
const QUEUE_MAX: usize = 2 * UNACKNOWLEDGED_MAX;

/// Settings of the connection to an external broker.
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalConfig {
    /// `mqtt://host:port` or `mqtts://host:port`; `user:password@` allowed, percent-encoded. The port
    /// is 1883 or 8883 when left out.
    pub url: String,
    /// Names the persistent session: keep it the same, and unique on the broker. Not empty.
    pub client_id: String,
    /// User name; wins over the one in `url`.
    pub username: Option<String>,
    /// Password; wins over the one in `url`.
    pub password: Option<String>,
    /// PEM file of the certificate authorities to trust with `mqtts`; the system's when `None`.
    pub ca_file: Option<PathBuf>,
    /// Topic filters to subscribe to, at QoS 1. At least one.
    pub topics: Vec<String>,
    /// How long the broker keeps messages for us while we are away, whole seconds.
    pub session_expiry: Duration,
    /// Most unacknowledged messages the broker may send; large is fast. At least 1. It bounds memory as
    /// far as the broker keeps to it; the protocol's own bound is 65,535.
    pub receive_maximum: u16,
    /// Largest payload that is passed on whole, bytes.
    pub payload_bytes_max: usize,
    /// First pause before connecting again; doubles with each failure, with jitter.
    pub backoff_min: Duration,
    /// Longest pause before connecting again.
    pub backoff_max: Duration,
}

impl std::fmt::Debug for ExternalConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither the password nor the URL, which may hold one.
        f.debug_struct("ExternalConfig")
            .field("client_id", &self.client_id)
            .field("topics", &self.topics)
            .field("receive_maximum", &self.receive_maximum)
            .finish_non_exhaustive()
    }
}

/// The connection to an external broker. Dropping it disconnects without waiting for commits.
#[derive(Debug)]
pub struct ExternalBroker {
    view: Arc<watch::Sender<View>>,
    session: JoinHandle<()>,
}

impl ExternalBroker {
    /// Starts connecting, in the background and for as long as it takes: [`IngestStats::connected`]
    /// and [`IngestStats::last_error`] tell how it goes. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`IngestError::BadUrl`], [`IngestError::Tls`], [`IngestError::NoRoots`],
    /// [`IngestError::BadSetting`]: the settings cannot work. A broker that is not there is no error.
    pub fn connect(
        config: ExternalConfig,
        clock: Arc<dyn Clock>,
        stats: Arc<IngestStats>,
    ) -> Result<(ExternalBroker, ExternalSource), IngestError> {
        for (key, wrong, reason) in [
            (
                "mqtt.client_id",
                config.client_id.is_empty(),
                "must not be empty: it names the session",
            ),
            (
                "mqtt.topics",
                config.topics.is_empty(),
                "must name at least one topic filter",
            ),
            (
                "mqtt.topics",
                !config
                    .topics
                    .iter()
                    .all(|topic| rumqttc::valid_filter(topic)),
                "holds a text that is no topic filter: + and # stand alone between slashes",
            ),
            (
                "mqtt.receive_maximum",
                config.receive_maximum == 0,
                "must be at least 1",
            ),
            (
                "mqtt.session_expiry_hours",
                config.session_expiry.as_secs() == 0,
                "must be at least 1: without a session the broker keeps nothing for us",
            ),
        ] {
            if wrong {
                return Err(IngestError::BadSetting { key, reason });
            }
        }
        let endpoint = endpoint(&config, stats.broker_certificate())?;
        let (queue, receiver) = mpsc::channel(QUEUE_MAX);
        let queued = Arc::new(QueuedBytes::default());
        stats.watch_queue(&queue);
        let view = Arc::new(watch::channel(View::default()).0);
        let backoff = Backoff::new(config.backoff_min, config.backoff_max, &config.client_id);
        let session = Session {
            endpoint,
            topics: config.topics,
            payload_bytes_max: config.payload_bytes_max,
            backoff,
            clock,
            stats: Arc::clone(&stats),
            view: Arc::clone(&view),
            queue: Some(queue),
            queued: Arc::clone(&queued),
        };
        let source = ExternalSource::new(receiver, Arc::clone(&view), stats, queued);
        let session = tokio::spawn(session.run());
        Ok((ExternalBroker { view, session }, source))
    }

    /// Takes no more messages; the source ends once it is drained. Acknowledges what is committed
    /// until nothing is outstanding, then disconnects; the broker keeps the session. Waits for as long
    /// as the consumer of the source does.
    pub async fn shutdown(mut self) {
        self.view.send_modify(|view| view.stopping = true);
        if let Err(error) = (&mut self.session).await {
            tracing::error!(%error, "broker session failed");
        }
    }
}

impl Drop for ExternalBroker {
    fn drop(&mut self) {
        self.session.abort();
        // The source must not wait for a connection that never comes.
        self.view.send_modify(View::finish);
    }
}

fn endpoint(config: &ExternalConfig, seen: Arc<PeerCertificate>) -> Result<Endpoint, IngestError> {
    let address: Address = config.url.parse()?;
    let username = config.username.clone().or(address.username);
    let password = config.password.clone().or(address.password);
    let login = (username.is_some() || password.is_some())
        .then(|| Login::new(username.unwrap_or_default(), password.unwrap_or_default()));
    let tls = if address.tls {
        Some(tls::client_config(config.ca_file.as_deref(), seen)?)
    } else {
        None
    };
    let packet_bytes_max = config
        .payload_bytes_max
        .saturating_add(PACKET_OVERHEAD_BYTES)
        .max(PACKET_BYTES_MAX);
    let packet_bytes_max = u32::try_from(packet_bytes_max)
        .unwrap_or(PROTOCOL_PACKET_BYTES_MAX)
        .min(PROTOCOL_PACKET_BYTES_MAX);
    let mut properties = ConnectProperties::new();
    properties.session_expiry_interval =
        Some(u32::try_from(config.session_expiry.as_secs()).unwrap_or(u32::MAX));
    properties.receive_maximum = Some(config.receive_maximum);
    properties.max_packet_size = Some(packet_bytes_max);
    // A message keeps its topic: resolving aliases would be state for little gain.
    properties.topic_alias_max = Some(0);
    Ok(Endpoint {
        host: address.host,
        port: address.port,
        tls,
        connect: Connect {
            keep_alive: KEEP_ALIVE_S,
            client_id: config.client_id.clone(),
            clean_start: false,
            properties: Some(properties),
        },
        login,
        packet_bytes_max,
    })
}
