//! One MQTT 5 connection: packets as rumqttc reads and writes them, but many to a system call. Its own event loop
//! writes every acknowledgement by itself, which costs us and the broker more than all the rest.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::tokio_rustls::TlsConnector;
use rumqttc::v5::mqttbytes::Error;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Connect, ConnectReturnCode, Login, Packet, PubAck};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Longest wait for TCP, TLS and CONNACK together.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Room for one read.
const READ_BYTES: usize = 256 * 1024;
/// A read of less than this emptied the socket.
const READ_BYTES_FEW: usize = 32 * 1024;

/// Where and how to connect.
pub(super) struct Endpoint {
    /// IPv6 addresses in brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) connect: Connect,
    pub(super) login: Option<Login>,
    /// Larger packets end the connection.
    pub(super) packet_bytes_max: u32,
}

/// An open connection. Every failure is a sentence for a person.
pub(super) struct Link {
    reader: Box<dyn AsyncRead + Send + Unpin>,
    writer: Box<dyn AsyncWrite + Send + Unpin>,
    incoming: BytesMut,
    outgoing: BytesMut,
    /// The writer may hold what it has taken.
    unflushed: bool,
    packet_bytes_max: u32,
}

/// What one turn of [`Link::turn`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Packets, or parts of them, arrived; `few`: there are no more for now.
    Read { few: bool },
    /// Some of what was to be sent has been.
    Written,
}

impl Link {
    /// Connects and waits for CONNACK.
    pub(super) async fn open(endpoint: &Endpoint) -> Result<(Self, ConnAck), String> {
        tokio::time::timeout(CONNECT_MAX, Self::handshake(endpoint))
            .await
            .map_err(|_elapsed| format!("no answer within {} s", CONNECT_MAX.as_secs()))?
    }

    async fn handshake(endpoint: &Endpoint) -> Result<(Self, ConnAck), String> {
        let place = format!("{}:{}", endpoint.host, endpoint.port);
        let tcp = TcpStream::connect(place).await.map_err(|e| e.to_string())?;
        tcp.set_nodelay(true).map_err(|e| e.to_string())?;
        let (reader, writer): (
            Box<dyn AsyncRead + Send + Unpin>,
            Box<dyn AsyncWrite + Send + Unpin>,
        ) = match &endpoint.tls {
            None => {
                let (reader, writer) = tcp.into_split();
                (Box::new(reader), Box::new(writer))
            }
            Some(config) => {
                let name =
                    ServerName::try_from(endpoint.host.clone()).map_err(|e| e.to_string())?;
                let tls = TlsConnector::from(Arc::clone(config))
                    .connect(name, tcp)
                    .await
                    .map_err(|e| format!("TLS: {e}"))?;
                let (reader, writer) = tokio::io::split(tls);
                (Box::new(reader), Box::new(writer))
            }
        };
        let mut link = Self {
            reader,
            writer,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            unflushed: false,
            packet_bytes_max: endpoint.packet_bytes_max,
        };
        let connect = Packet::Connect(endpoint.connect.clone(), None, endpoint.login.clone());
        link.put(&connect)?;
        loop {
            link.turn(true).await?;
            match link.next()? {
                None => {}
                Some(Packet::ConnAck(accepted)) if accepted.code == ConnectReturnCode::Success => {
                    return Ok((link, accepted));
                }
                Some(Packet::ConnAck(refused)) => {
                    return Err(format!("the broker refused us: {:?}", refused.code));
                }
                Some(_) => return Err("the broker did not answer CONNECT with CONNACK".to_owned()),
            }
        }
    }

    /// The next packet that has arrived whole.
    pub(super) fn next(&mut self) -> Result<Option<Packet>, String> {
        if self.incoming.is_empty() {
            return Ok(None);
        }
        match Packet::read(&mut self.incoming, Some(self.packet_bytes_max)) {
            Ok(packet) => Ok(Some(packet)),
            Err(Error::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Adds a packet to what is to be sent.
    pub(super) fn put(&mut self, packet: &Packet) -> Result<(), String> {
        packet
            .write(&mut self.outgoing, None)
            .map(|_n_bytes| ())
            .map_err(|e| e.to_string())
    }

    /// Adds acknowledgements to what is to be sent.
    pub(super) fn put_acks(&mut self, acks: &Acks) -> Result<(), String> {
        for id in acks.take() {
            self.put(&Packet::PubAck(PubAck::new(id, None)))?;
        }
        Ok(())
    }

    /// Sends what is to be sent; where nothing is, or the broker does not take it, receives, if `read`. Safe to
    /// cancel.
    pub(super) async fn turn(&mut self, read: bool) -> Result<Turn, String> {
        let Self {
            reader,
            writer,
            incoming,
            outgoing,
            unflushed,
            ..
        } = self;
        if read {
            incoming.reserve(READ_BYTES);
        }
        let turned = tokio::select! {
            biased;
            sent = async {
                if !outgoing.is_empty() {
                    *unflushed = true;
                    writer.write_buf(outgoing).await?;
                }
                if outgoing.is_empty() {
                    writer.flush().await?;
                    *unflushed = false;
                }
                Ok(())
            }, if !outgoing.is_empty() || *unflushed => sent.map(|()| Turn::Written),
            received = reader.read_buf(incoming), if read => match received {
                Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
                Ok(n_bytes) => Ok(Turn::Read { few: n_bytes < READ_BYTES_FEW }),
                Err(error) => Err(error),
            },
            else => std::future::pending().await,
        };
        turned.map_err(|error| {
            if error.kind() == ErrorKind::UnexpectedEof {
                "the broker closed the connection".to_owned()
            } else {
                error.to_string()
            }
        })
    }
}

/// Acknowledgements on their way from the consumer to the connection, in order. Never more than the broker may
/// have open, which the protocol bounds.
#[derive(Debug, Default)]
pub(super) struct Acks {
    ids: Mutex<Vec<u16>>,
    wake: Notify,
}

impl Acks {
    pub(super) fn push(&self, ids: impl Iterator<Item = u16>) {
        self.ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(ids);
        self.wake.notify_one();
    }

    fn take(&self) -> Vec<u16> {
        std::mem::take(&mut *self.ids.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns once something was pushed since the last return.
    pub(super) async fn pushed(&self) {
        self.wake.notified().await;
    }
}
