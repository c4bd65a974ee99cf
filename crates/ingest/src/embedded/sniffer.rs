//! Finds the content type of each PUBLISH in the bytes that a device sends.
//!
//! The protocol engine hands its hook a message without the MQTT 5 content type. The sniffer reads the
//! same bytes, keeps the content types in order, and leaves everything else alone: bytes it cannot
//! follow are the engine's to refuse.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use mqtt5::broker::transport::WebSocketTransport;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Packet types, the upper half of a packet's first byte.
const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const PROPERTY_CONTENT_TYPE: u8 = 0x03;

/// Follows one connection's packets.
#[derive(Debug, Default)]
pub(super) struct Sniffer {
    /// The packet's head, as far as it has arrived and is of interest.
    head: Vec<u8>,
    /// Bytes of the packet that are still to come and need not be kept.
    skip: usize,
    v5: bool,
    lost: bool,
    found: VecDeque<Option<String>>,
}

/// Bytes of the packet are missing, or it is not as it should be.
enum Stop {
    Incomplete,
    Malformed,
}

/// Reads a packet's head from its beginning.
struct Head<'a> {
    rest: &'a [u8],
    /// What is left of the packet by its own account.
    left: usize,
}

impl<'a> Head<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Stop> {
        if n > self.left {
            return Err(Stop::Malformed);
        }
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Stop::Incomplete)?;
        self.rest = rest;
        self.left -= n;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        self.take(1)?.first().copied().ok_or(Stop::Incomplete)
    }

    fn binary(&mut self) -> Result<&'a [u8], Stop> {
        let length = [self.byte()?, self.byte()?];
        self.take(usize::from(u16::from_be_bytes(length)))
    }

    /// A variable byte integer, 1 to 4 bytes (MQTT 5, 1.5.5).
    fn integer(&mut self) -> Result<usize, Stop> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let digit = self.byte()?;
            value |= usize::from(digit & 0x7f) << shift;
            if digit & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Stop::Malformed)
    }
}

impl Sniffer {
    /// Reads on. Keeps no more than the head of one packet.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if self.lost {
            return;
        }
        let mut joined = std::mem::take(&mut self.head);
        let mut rest = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &joined
        };
        loop {
            let skipped = self.skip.min(rest.len());
            self.skip -= skipped;
            rest = rest.get(skipped..).unwrap_or_default();
            if rest.is_empty() {
                return;
            }
            match self.packet(rest) {
                Ok(length) => self.skip = length,
                Err(Stop::Incomplete) => {
                    self.head = rest.to_vec();
                    return;
                }
                Err(Stop::Malformed) => {
                    self.lost = true;
                    return;
                }
            }
        }
    }

    /// The content type of the next PUBLISH, in the order in which they were sent.
    pub(super) fn next(&mut self) -> Option<String> {
        self.found.pop_front().flatten()
    }

    /// Looks at the packet that begins here; returns its whole length.
    fn packet(&mut self, bytes: &[u8]) -> Result<usize, Stop> {
        let mut head = Head {
            rest: bytes,
            left: usize::MAX,
        };
        let first = head.byte()?;
        let length = head.integer()?;
        let fixed = bytes.len() - head.rest.len();
        head.left = length;
        match first >> 4 {
            CONNECT => {
                head.binary()?;
                self.v5 = head.byte()? >= 5;
            }
            PUBLISH => {
                head.binary()?;
                if first & 0b0110 != 0 {
                    head.take(2)?;
                }
                let content_type = if self.v5 {
                    content_type(&mut head)?
                } else {
                    None
                };
                self.found.push_back(content_type);
            }
            _ => {}
        }
        Ok(fixed + length)
    }
}

fn content_type(head: &mut Head<'_>) -> Result<Option<String>, Stop> {
    let length = head.integer()?;
    let mut properties = Head {
        rest: head.take(length)?,
        left: length,
    };
    let mut found = None;
    while properties.left > 0 {
        // The properties of a PUBLISH (MQTT 5, 3.3.2.3).
        match properties.byte()? {
            0x01 => drop(properties.take(1)?),
            0x02 => drop(properties.take(4)?),
            0x23 => drop(properties.take(2)?),
            0x0b => drop(properties.integer()?),
            0x08 | 0x09 => drop(properties.binary()?),
            0x26 => {
                properties.binary()?;
                properties.binary()?;
            }
            PROPERTY_CONTENT_TYPE => {
                found = std::str::from_utf8(properties.binary()?)
                    .ok()
                    .map(str::to_owned);
            }
            _ => return Err(Stop::Malformed),
        }
    }
    Ok(found)
}

/// A device's TCP connection, sniffed while the engine reads it.
#[derive(Debug)]
pub(super) struct SniffedStream {
    tcp: TcpStream,
    peer: SocketAddr,
    sniffer: Arc<Mutex<Sniffer>>,
}

impl SniffedStream {
    pub(super) fn new(tcp: TcpStream, peer: SocketAddr, sniffer: Arc<Mutex<Sniffer>>) -> Self {
        Self { tcp, peer, sniffer }
    }
}

impl AsyncRead for SniffedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.tcp).poll_read(cx, buf);
        if let Some(read) = buf.filled().get(before..)
            && !read.is_empty()
        {
            let mut sniffer = this.sniffer.lock().unwrap_or_else(PoisonError::into_inner);
            sniffer.feed(read);
        }
        polled
    }
}

impl AsyncWrite for SniffedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

/// The engine's only transport that takes a stream of our own; nothing here is a web socket.
impl WebSocketTransport for SniffedStream {
    fn peer_addr(&self) -> mqtt5::Result<SocketAddr> {
        Ok(self.peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        if body.len() < 128 {
            bytes.push(u8::try_from(body.len()).unwrap());
        } else {
            bytes.push(u8::try_from(body.len() % 128).unwrap() | 0x80);
            bytes.push(u8::try_from(body.len() / 128).unwrap());
        }
        bytes.extend_from_slice(body);
        bytes
    }

    /// CONNECT, PINGREQ, and messages with and without a content type among other properties.
    fn conversation(version: u8) -> Vec<u8> {
        let mut bytes = packet(0x10, &[0, 4, b'M', b'Q', b'T', b'T', version, 2, 0, 60, 0]);
        bytes.extend_from_slice(&[0xc0, 0]);
        let json = [
            &[0, 1, b't', 0, 7][..],
            &[
                21, 0x01, 1, 0x26, 0, 1, b'k', 0, 1, b'v', 0x23, 0, 9, 0x03, 0, 4,
            ],
            b"json",
            &[0x0b, 1],
            &[b'x'; 300],
        ]
        .concat();
        bytes.extend_from_slice(&packet(0x32, &json));
        bytes.extend_from_slice(&packet(0x30, &[0, 1, b't', 0, b'x']));
        bytes.extend_from_slice(&packet(0x30, &[0, 1, b't', 5, 0x03, 0, 2, b'a', b'b']));
        bytes
    }

    #[test]
    fn content_types_are_found_however_the_bytes_are_cut() {
        let bytes = conversation(5);
        for chunk in [1, 2, 3, 7, 50, bytes.len()] {
            let mut sniffer = Sniffer::default();
            for part in bytes.chunks(chunk) {
                sniffer.feed(part);
            }
            assert!(!sniffer.lost);
            assert_eq!(sniffer.found.len(), 3, "{chunk}");
            assert_eq!(sniffer.next().as_deref(), Some("json"));
            assert_eq!(sniffer.next(), None);
            assert_eq!(sniffer.next().as_deref(), Some("ab"));
        }
    }

    #[test]
    fn mqtt_3_has_no_properties_to_read() {
        let mut sniffer = Sniffer::default();
        sniffer.feed(&conversation(4));
        assert_eq!(sniffer.found, [None, None, None]);
    }

    #[test]
    fn what_it_cannot_follow_it_leaves_alone() {
        for bytes in [
            &packet(0x30, &[0, 9, b't'])[..],
            &[0x30, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ] {
            let mut sniffer = Sniffer::default();
            sniffer.feed(bytes);
            assert!(sniffer.lost);
            sniffer.feed(&conversation(5));
            assert_eq!(sniffer.next(), None);
        }
    }
}
