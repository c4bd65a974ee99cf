//! Packets as bytes, for what the client libraries hide.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

fn text(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut rest = body.len();
    loop {
        let digit = u8::try_from(rest % 128).unwrap();
        rest /= 128;
        bytes.push(digit | if rest > 0 { 0x80 } else { 0 });
        if rest == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

/// A QoS 1 PUBLISH of MQTT 3.1.1, or of 5 without properties.
pub fn publish(version: u8, topic: &str, id: u16, payload: &str) -> Vec<u8> {
    let mut body = text(topic);
    body.extend_from_slice(&id.to_be_bytes());
    if version == 5 {
        body.push(0);
    }
    body.extend_from_slice(payload.as_bytes());
    packet(0x32, &body)
}

/// Connects as an anonymous MQTT 3.1.1 client and publishes one message with id 1.
pub async fn publish_once(broker: SocketAddr, id: &str, topic: &str, payload: &str) -> TcpStream {
    let mut stream = TcpStream::connect(broker).await.unwrap();
    let mut connect = text("MQTT");
    connect.extend_from_slice(&[4, 2, 0, 60]);
    connect.extend_from_slice(&text(id));
    let mut bytes = packet(0x10, &connect);
    bytes.extend_from_slice(&publish(4, topic, 1, payload));
    stream.write_all(&bytes).await.unwrap();
    stream
}

/// All that the peer sends until it closes the connection.
pub async fn read_to_end(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    within("the end of the connection", stream.read_to_end(&mut bytes))
        .await
        .unwrap();
    bytes
}

/// Reads one packet: its first byte and its body. `None` once the peer is gone.
pub async fn read_packet(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
) -> Option<(u8, Vec<u8>)> {
    let first = stream.read_u8().await.ok()?;
    let (mut length, mut shift) = (0, 0);
    loop {
        let digit = usize::from(stream.read_u8().await.ok()?);
        length |= (digit & 0x7f) << shift;
        shift += 7;
        if digit & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((first, body))
}
