//! One MQTT connection: publishes a queue, remembers what is not acknowledged, sends it again after a reconnect.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forecare_domain::DeviceId;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, LastWill, Packet, PubAck, PubAckReason};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use tokio::sync::mpsc;

use crate::payload::{Kind, Message, OFFLINE, status_topic};
use crate::publish::{PublishError, PublishStats};

/// Most unacknowledged messages of a connection, and most that wait in its queue.
pub(crate) const WINDOW: u16 = 16;
/// Room in rumqttc's own channel: a window and the parting DISCONNECT.
const REQUESTS_MAX: usize = WINDOW as usize + 1;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// A message on its way.
struct Sent {
    /// Known once rumqttc has written it.
    packet_id: Option<u16>,
    message: Message,
}

pub(crate) struct Session {
    client_id: String,
    broker: SocketAddr,
    login: Option<(String, String)>,
    devices: Vec<DeviceId>,
    messages: mpsc::Receiver<Message>,
    stats: Arc<PublishStats>,
    /// To be sent before anything new: status messages, and what was not acknowledged before a reconnect.
    first: VecDeque<Message>,
    /// Sent, in order, and not yet acknowledged; at most [`WINDOW`].
    in_flight: VecDeque<Sent>,
    /// The queue has ended.
    closing: bool,
    n_acked: u64,
}

/// Why a connection ended before its work was done.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("the broker could not take a message: {0:?}")]
    Busy(PubAckReason),
}

impl Session {
    pub(crate) fn new(
        client_id: String,
        broker: SocketAddr,
        login: Option<(String, String)>,
        devices: Vec<DeviceId>,
        messages: mpsc::Receiver<Message>,
        stats: Arc<PublishStats>,
    ) -> Self {
        Self {
            client_id,
            broker,
            login,
            devices,
            messages,
            stats,
            first: VecDeque::new(),
            in_flight: VecDeque::new(),
            closing: false,
            n_acked: 0,
        }
    }

    /// Publishes until the queue ends and everything is acknowledged.
    ///
    /// # Errors
    /// [`PublishError::Refused`] if the broker will never have this client.
    pub(crate) async fn run(mut self) -> Result<(), PublishError> {
        let mut backoff = BACKOFF_MIN;
        let seed = self.client_id.bytes().fold(0, |hash: u64, byte| {
            hash.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        let mut jitter = ChaCha8Rng::seed_from_u64(seed);
        loop {
            // A new event loop each time: rumqttc's own resend forgets everything when the broker has no
            // session, and its buffered acknowledgements would meet reused packet ids.
            let (client, mut connection) = AsyncClient::new(self.options(), REQUESTS_MAX);
            self.rewind();
            let acked_before = self.n_acked;
            let Err(error) = self.converse(&client, &mut connection).await else {
                return Ok(());
            };
            self.stats.disconnects.fetch_add(1, Ordering::Relaxed);
            if let Some(code) = refusal(&error) {
                return Err(PublishError::Refused {
                    client: self.client_id.clone(),
                    code,
                });
            }
            if self.n_acked > acked_before {
                backoff = BACKOFF_MIN;
            }
            // Half to all of the back-off, so that a fleet does not come back in one wave.
            let wait = backoff.mul_f64(0.5 + 0.5 * jitter.random::<f64>());
            tracing::warn!(client.id = %self.client_id, %error, wait_ms = wait.as_millis(), "connection lost");
            tokio::time::sleep(wait).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Talks until the work is done (`Ok`) or the connection is lost.
    async fn converse(
        &mut self,
        client: &AsyncClient,
        connection: &mut EventLoop,
    ) -> Result<(), Lost> {
        let mut parting = false;
        loop {
            // Polled to its end and never dropped half-way: a dropped poll can lose a packet that rumqttc
            // counts as sent.
            let mut poll = pin!(connection.poll());
            let event = loop {
                while self.has_room()
                    && let Some(message) = self.first.pop_front()
                {
                    self.send(client, message);
                }
                if self.closing && self.in_flight.is_empty() && !parting {
                    parting = client.try_disconnect().is_ok();
                }
                tokio::select! {
                    event = &mut poll => break event?,
                    message = self.messages.recv(), if self.has_room() && !self.closing => match message {
                        Some(message) => self.send(client, message),
                        None => self.close(),
                    },
                }
            };
            match event {
                Event::Incoming(Packet::ConnAck(_)) => {
                    self.stats.connects.fetch_add(1, Ordering::Relaxed);
                }
                Event::Incoming(Packet::PubAck(ack)) => self.acknowledged(&ack)?,
                Event::Outgoing(Outgoing::Publish(packet_id)) => {
                    // rumqttc writes in the order of requests, so this is the oldest without an id.
                    if let Some(sent) = self.in_flight.iter_mut().find(|s| s.packet_id.is_none()) {
                        sent.packet_id = Some(packet_id);
                    }
                }
                Event::Outgoing(Outgoing::Disconnect) => return Ok(()),
                Event::Incoming(_) | Event::Outgoing(_) => {}
            }
        }
    }

    fn options(&self) -> MqttOptions {
        let host = match self.broker {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        };
        let mut options = MqttOptions::new(&self.client_id, host, self.broker.port());
        options
            .set_keep_alive(KEEP_ALIVE)
            .set_clean_start(true)
            // rumqttc allocates a slot per packet id up to this: 65,535 by default.
            .set_outgoing_inflight_upper_limit(WINDOW);
        if let Some((username, password)) = &self.login {
            options.set_credentials(username, password);
        }
        if let [device] = self.devices.as_slice() {
            options.set_last_will(LastWill::new(
                status_topic(device),
                OFFLINE,
                QoS::AtLeastOnce,
                true,
                None,
            ));
        }
        options
    }

    fn has_room(&self) -> bool {
        self.in_flight.len() < usize::from(WINDOW)
    }

    fn send(&mut self, client: &AsyncClient, message: Message) {
        // Cannot be full: the channel holds a window. If it were, the message waits for the next connection.
        if client
            .try_publish(
                &message.topic,
                QoS::AtLeastOnce,
                message.retain,
                message.payload.clone(),
            )
            .is_ok()
        {
            self.stats.sent.fetch_add(1, Ordering::Relaxed);
        }
        self.in_flight.push_back(Sent {
            packet_id: None,
            message,
        });
    }

    /// Prepares everything unacknowledged to be sent again, between fresh status messages.
    fn rewind(&mut self) {
        let again: Vec<Message> = self
            .in_flight
            .drain(..)
            .map(|sent| sent.message)
            .chain(self.first.drain(..))
            .filter(|message| message.kind != Kind::Status)
            .collect();
        let online = self.devices.iter().map(|d| Message::status(d, true));
        self.first = online.chain(again).collect();
        if self.closing {
            self.close();
        }
    }

    /// Nothing new will come: ends with the news that the devices are gone.
    fn close(&mut self) {
        self.closing = true;
        let offline = self.devices.iter().map(|d| Message::status(d, false));
        self.first.extend(offline);
    }

    fn acknowledged(&mut self, ack: &PubAck) -> Result<(), Lost> {
        match ack.reason {
            PubAckReason::UnspecifiedError
            | PubAckReason::ImplementationSpecificError
            | PubAckReason::QuotaExceeded => return Err(Lost::Busy(ack.reason)),
            PubAckReason::Success
            | PubAckReason::NoMatchingSubscribers
            | PubAckReason::NotAuthorized
            | PubAckReason::TopicNameInvalid
            | PubAckReason::PacketIdentifierInUse
            | PubAckReason::PayloadFormatInvalid => {}
        }
        let position = self
            .in_flight
            .iter()
            .position(|s| s.packet_id == Some(ack.pkid));
        let Some(sent) = position.and_then(|p| self.in_flight.remove(p)) else {
            return Ok(());
        };
        if matches!(
            ack.reason,
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers
        ) {
            self.n_acked += 1;
            self.stats.count_ack(sent.message.kind);
        } else {
            self.stats.refused.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(client.id = %self.client_id, topic = sent.message.topic, reason = ?ack.reason, "message refused");
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let left = self.in_flight.len() + self.first.len() + self.messages.len();
        self.stats
            .unacknowledged
            .fetch_add(left as u64, Ordering::Relaxed);
    }
}

/// The broker's reason, where trying again would not help.
fn refusal(lost: &Lost) -> Option<ConnectReturnCode> {
    let Lost::Connection(ConnectionError::ConnectionRefused(code)) = lost else {
        return None;
    };
    matches!(
        code,
        ConnectReturnCode::BadUserNamePassword
            | ConnectReturnCode::NotAuthorized
            | ConnectReturnCode::Banned
            | ConnectReturnCode::BadAuthenticationMethod
            | ConnectReturnCode::BadClientId
            | ConnectReturnCode::ClientIdentifierNotValid
            | ConnectReturnCode::RefusedProtocolVersion
            | ConnectReturnCode::UnsupportedProtocolVersion
    )
    .then_some(*code)
}
