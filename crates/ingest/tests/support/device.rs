//! Devices: rumqttc clients of both protocol versions behind one face.

use std::net::SocketAddr;
use std::time::Duration;

use rumqttc::{Packet, v5};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::within;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V4,
    V5,
}

/// What a device sees of its broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Connected,
    /// PUBACK: success or not.
    Acknowledged(bool),
    Received(String, Vec<u8>),
    Subscribed,
    /// Connection closed or refused, with the reason.
    Lost(String),
}

enum Client {
    V4(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

pub struct Device {
    client: Client,
    pub seen: mpsc::Receiver<Seen>,
    poll: JoinHandle<()>,
}

impl Drop for Device {
    /// As a device that loses its power: no DISCONNECT.
    fn drop(&mut self) {
        self.poll.abort();
    }
}

#[derive(Clone, Default)]
pub struct Login<'a> {
    pub id: &'a str,
    pub user: Option<&'a str>,
    pub password: &'a str,
    pub will: Option<(&'a str, &'a str)>,
    /// Seconds the broker waits before it publishes the will.
    pub will_delay_s: Option<u32>,
}

impl<'a> Login<'a> {
    pub fn user(user: &'a str) -> Self {
        Self {
            id: user,
            user: Some(user),
            password: "secret",
            ..Self::default()
        }
    }

    pub fn anonymous(id: &'a str) -> Self {
        Self {
            id,
            ..Self::default()
        }
    }
}

impl Device {
    /// Starts to connect. After a loss the device stays away until told to poll again.
    pub fn start(version: Version, broker: SocketAddr, login: &Login<'_>) -> Self {
        let (tx, seen) = mpsc::channel(10_000);
        let (client, poll) = match version {
            Version::V4 => start_v4(broker, login, tx),
            Version::V5 => start_v5(broker, login, tx),
        };
        Self { client, seen, poll }
    }

    pub async fn connect(version: Version, broker: SocketAddr, login: &Login<'_>) -> Self {
        let mut device = Self::start(version, broker, login);
        assert_eq!(device.next().await, Seen::Connected);
        device
    }

    pub async fn next(&mut self) -> Seen {
        within("the device to see something", self.seen.recv())
            .await
            .expect("device ended")
    }

    /// Publishes at QoS 1; returns when the packet is queued, not when it is acknowledged.
    pub async fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.publish_as(topic, 1, false, payload, None).await;
    }

    pub async fn publish_as(
        &self,
        topic: &str,
        qos: u8,
        retain: bool,
        payload: impl Into<Vec<u8>>,
        content_type: Option<&str>,
    ) {
        let payload = payload.into();
        match &self.client {
            Client::V4(client) => {
                let qos = rumqttc::qos(qos).unwrap();
                client.publish(topic, qos, retain, payload).await.unwrap();
            }
            Client::V5(client) => {
                let qos = v5::mqttbytes::qos(qos).unwrap();
                let properties = v5::mqttbytes::v5::PublishProperties {
                    content_type: content_type.map(str::to_owned),
                    ..Default::default()
                };
                client
                    .publish_with_properties(topic, qos, retain, payload, properties)
                    .await
                    .unwrap();
            }
        }
    }

    pub async fn subscribe(&mut self, filter: &str) {
        match &self.client {
            Client::V4(client) => client
                .subscribe(filter, rumqttc::QoS::AtLeastOnce)
                .await
                .unwrap(),
            Client::V5(client) => client
                .subscribe(filter, v5::mqttbytes::QoS::AtLeastOnce)
                .await
                .unwrap(),
        }
        assert_eq!(self.next().await, Seen::Subscribed);
    }

    /// Says goodbye; the broker forgets the will.
    pub async fn disconnect(mut self) {
        match &self.client {
            Client::V4(client) => client.disconnect().await.unwrap(),
            Client::V5(client) => client.disconnect().await.unwrap(),
        }
        while !matches!(self.seen.recv().await, None | Some(Seen::Lost(_))) {}
    }
}

fn start_v4(
    broker: SocketAddr,
    login: &Login<'_>,
    tx: mpsc::Sender<Seen>,
) -> (Client, JoinHandle<()>) {
    let mut options = rumqttc::MqttOptions::new(login.id, broker.ip().to_string(), broker.port());
    options.set_clean_session(false);
    options.set_keep_alive(Duration::from_secs(60));
    options.set_max_packet_size(64 * 1024 * 1024, 64 * 1024 * 1024);
    if let Some(user) = login.user {
        options.set_credentials(user, login.password);
    }
    if let Some((topic, payload)) = login.will {
        let qos = rumqttc::QoS::AtLeastOnce;
        options.set_last_will(rumqttc::LastWill::new(topic, payload, qos, true));
    }
    let (client, mut events) = rumqttc::AsyncClient::new(options, 1_000);
    let poll = tokio::spawn(async move {
        loop {
            let seen = match events.poll().await {
                Ok(rumqttc::Event::Incoming(Packet::ConnAck(_))) => Seen::Connected,
                Ok(rumqttc::Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_))) => {
                    Seen::Acknowledged(true)
                }
                Ok(rumqttc::Event::Incoming(Packet::SubAck(_))) => Seen::Subscribed,
                Ok(rumqttc::Event::Incoming(Packet::Publish(p))) => {
                    Seen::Received(p.topic, p.payload.to_vec())
                }
                Ok(_) => continue,
                Err(error) => Seen::Lost(error.to_string()),
            };
            if tx.send(seen).await.is_err() {
                return;
            }
        }
    });
    (Client::V4(client), poll)
}

fn start_v5(
    broker: SocketAddr,
    login: &Login<'_>,
    tx: mpsc::Sender<Seen>,
) -> (Client, JoinHandle<()>) {
    use v5::mqttbytes::v5::{LastWill, LastWillProperties, Packet, PubAckReason};

    let mut options = v5::MqttOptions::new(login.id, broker.ip().to_string(), broker.port());
    options.set_clean_start(false);
    options.set_session_expiry_interval(Some(600));
    options.set_max_packet_size(Some(64 * 1024 * 1024));
    options.set_keep_alive(Duration::from_secs(60));
    if let Some(user) = login.user {
        options.set_credentials(user, login.password);
    }
    if let Some((topic, payload)) = login.will {
        let properties = LastWillProperties {
            delay_interval: login.will_delay_s,
            payload_format_indicator: None,
            message_expiry_interval: None,
            content_type: Some("text/plain".to_owned()),
            response_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
        };
        let qos = v5::mqttbytes::QoS::AtLeastOnce;
        options.set_last_will(LastWill::new(topic, payload, qos, true, Some(properties)));
    }
    let (client, mut events) = v5::AsyncClient::new(options, 1_000);
    let poll = tokio::spawn(async move {
        loop {
            let seen = match events.poll().await {
                Ok(v5::Event::Incoming(Packet::ConnAck(_))) => Seen::Connected,
                Ok(v5::Event::Incoming(Packet::PubAck(ack))) => Seen::Acknowledged(matches!(
                    ack.reason,
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers
                )),
                Ok(v5::Event::Incoming(Packet::PubComp(_))) => Seen::Acknowledged(true),
                Ok(v5::Event::Incoming(Packet::SubAck(_))) => Seen::Subscribed,
                Ok(v5::Event::Incoming(Packet::Publish(p))) => Seen::Received(
                    String::from_utf8(p.topic.to_vec()).unwrap(),
                    p.payload.to_vec(),
                ),
                Ok(_) => continue,
                Err(error) => Seen::Lost(error.to_string()),
            };
            if tx.send(seen).await.is_err() {
                return;
            }
        }
    });
    (Client::V5(client), poll)
}
