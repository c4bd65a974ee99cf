//! One MQTT client per machine. A message counts as published once its PUBACK says so; after a lost
//! connection everything unacknowledged is sent again.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use forecare_datasets::azure_pdm::device_name;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

/// Pause between two attempts to connect, doubled up to the maximum.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How long an unacknowledged message may take before the connection is made anew.
const ACK_MAX: Duration = Duration::from_secs(60);

/// A message to publish with QoS 1.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
}

/// Who the clients say they are.
pub(crate) enum Login {
    /// Nobody.
    None,
    /// All the same user.
    Shared { username: String, password: String },
    /// Each machine with its own secret.
    PerMachine(BTreeMap<u32, String>),
}

struct Work {
    messages: Vec<Outgoing>,
    done: oneshot::Sender<Result<()>>,
}

/// The clients of all machines.
pub(crate) struct Publishers {
    clients: BTreeMap<u32, (mpsc::Sender<Work>, JoinHandle<()>)>,
}

/// Host and port of `mqtt://host[:port]`.
pub(crate) fn broker_address(url: &str) -> Result<SocketAddr> {
    let Some(rest) = url.strip_prefix("mqtt://") else {
        bail!("\"{url}\" is no broker address: write it as mqtt://host:1883");
    };
    let rest = rest.trim_end_matches('/');
    let with_port = if rest.contains(':') {
        rest.to_owned()
    } else {
        format!("{rest}:1883")
    };
    with_port
        .to_socket_addrs()
        .with_context(|| format!("cannot find the broker {with_port}"))?
        .next()
        .with_context(|| format!("cannot find the broker {with_port}"))
}

impl Publishers {
    pub(crate) fn connect(broker: SocketAddr, login: Login, machines: &[u32]) -> Self {
        let clients = machines
            .iter()
            .map(|machine| {
                let name = device_name(*machine);
                let credentials = match &login {
                    Login::None => None,
                    Login::Shared { username, password } => {
                        Some((username.clone(), password.clone()))
                    }
                    Login::PerMachine(secrets) => {
                        secrets.get(machine).map(|s| (name.clone(), s.clone()))
                    }
                };
                let (work, queue) = mpsc::channel(1);
                let client = Client {
                    broker,
                    name,
                    credentials,
                    connection: None,
                };
                (*machine, (work, tokio::spawn(client.run(queue))))
            })
            .collect();
        Self { clients }
    }

    /// Publishes messages, each by its machine's client in the given order; returns when all are
    /// acknowledged.
    pub(crate) async fn publish(&mut self, messages: Vec<(u32, Outgoing)>) -> Result<()> {
        let mut by_machine: BTreeMap<u32, Vec<Outgoing>> = BTreeMap::new();
        for (machine, message) in messages {
            by_machine.entry(machine).or_default().push(message);
        }
        let mut pending = Vec::with_capacity(by_machine.len());
        for (machine, messages) in by_machine {
            let Some((client, _)) = self.clients.get(&machine) else {
                continue;
            };
            let (done, answer) = oneshot::channel();
            client
                .send(Work { messages, done })
                .await
                .ok()
                .context("a client has stopped")?;
            pending.push(answer);
        }
        for answer in pending {
            answer.await.context("a client has stopped")??;
        }
        Ok(())
    }

    pub(crate) async fn close(self) {
        for (work, task) in self.clients.into_values() {
            drop(work);
            // A client that is connected says goodbye; one that cannot is simply gone.
            task.await.ok();
        }
    }
}

struct Client {
    broker: SocketAddr,
    name: String,
    credentials: Option<(String, String)>,
    connection: Option<(AsyncClient, EventLoop)>,
}

impl Client {
    async fn run(mut self, mut queue: mpsc::Receiver<Work>) {
        loop {
            let work = match &mut self.connection {
                None => queue.recv().await,
                // Between instants the connection is kept alive.
                Some((_, events)) => tokio::select! {
                    work = queue.recv() => work,
                    event = events.poll() => {
                        if event.is_err() {
                            self.connection = None;
                        }
                        continue;
                    }
                },
            };
            let Some(Work { messages, done }) = work else {
                break;
            };
            // The asker may have gone.
            done.send(self.deliver(&messages).await).ok();
        }
        if let Some((client, mut events)) = self.connection {
            client.disconnect().await.ok();
            while events.poll().await.is_ok() {}
        }
    }

    /// Publishes until every message is acknowledged.
    async fn deliver(&mut self, messages: &[Outgoing]) -> Result<()> {
        let mut pause = BACKOFF_MIN;
        let mut from = 0;
        loop {
            match self.attempt(messages, &mut from).await {
                Ok(()) => return Ok(()),
                Err(Failure::Final(text)) => bail!("{text}"),
                Err(Failure::Lost(text)) => {
                    debug!(client = %self.name, error = %text, "connection lost, sending again");
                    self.connection = None;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BACKOFF_MAX);
                }
            }
        }
    }

    async fn attempt(
        &mut self,
        messages: &[Outgoing],
        acknowledged: &mut usize,
    ) -> Result<(), Failure> {
        if self.connection.is_none() {
            self.connection = Some(open(&self.name, self.broker, self.credentials.as_ref()).await?);
        }
        let Some((client, events)) = &mut self.connection else {
            return Ok(());
        };
        // One at a time: acknowledgements then name their message without bookkeeping of packet ids.
        while let Some(message) = messages.get(*acknowledged) {
            client
                .try_publish(
                    message.topic.clone(),
                    QoS::AtLeastOnce,
                    false,
                    message.payload.clone(),
                )
                .map_err(|e| Failure::Lost(e.to_string()))?;
            loop {
                let event = tokio::time::timeout(ACK_MAX, events.poll())
                    .await
                    .map_err(|_elapsed| Failure::Lost("no acknowledgement".to_owned()))?
                    .map_err(|e| Failure::Lost(e.to_string()))?;
                match event {
                    Event::Incoming(Packet::PubAck(ack)) => match ack.reason {
                        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => break,
                        PubAckReason::NotAuthorized => {
                            return Err(Failure::Final(format!(
                                "the broker does not let {} publish to {}",
                                self.name, message.topic
                            )));
                        }
                        refused @ (PubAckReason::UnspecifiedError
                        | PubAckReason::ImplementationSpecificError
                        | PubAckReason::TopicNameInvalid
                        | PubAckReason::PacketIdentifierInUse
                        | PubAckReason::QuotaExceeded
                        | PubAckReason::PayloadFormatInvalid) => {
                            warn!(client = %self.name, reason = ?refused, "publish refused, sending again");
                            return Err(Failure::Lost(format!("{refused:?}")));
                        }
                    },
                    Event::Incoming(Packet::Disconnect(d)) => {
                        return Err(Failure::Lost(format!("disconnected: {:?}", d.reason_code)));
                    }
                    Event::Incoming(_) | Event::Outgoing(_) => {}
                }
            }
            *acknowledged += 1;
        }
        Ok(())
    }
}

async fn open(
    name: &str,
    broker: SocketAddr,
    credentials: Option<&(String, String)>,
) -> Result<(AsyncClient, EventLoop), Failure> {
    let mut options = MqttOptions::new(
        format!("replay-{}", name),
        broker.ip().to_string(),
        broker.port(),
    );
    options
        .set_keep_alive(Duration::from_secs(30))
        .set_clean_start(true);
    if let Some((username, password)) = credentials {
        options.set_credentials(username, password);
    }
    let (client, mut events) = AsyncClient::new(options, 16);
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(ack))) if ack.code == ConnectReturnCode::Success => {
                return Ok((client, events));
            }
            Ok(_) => {}
            Err(rumqttc::v5::ConnectionError::ConnectionRefused(
                code @ (ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized),
            )) => {
                return Err(Failure::Final(format!(
                    "the broker refuses {}: {code:?}",
                    name
                )));
            }
            Err(error) => return Err(Failure::Lost(error.to_string())),
        }
    }
}

enum Failure {
    /// Worth another attempt.
    Lost(String),
    /// Not worth one.
    Final(String),
}
