//! Finds the content type of each PUBLISH in the bytes that a device sends.
//!
//! The protocol engine hands its hook a message without the MQTT 5 content type. The sniffer reads the
//! same bytes, keeps the content types in order, and leaves everything else alone: bytes it cannot
//! follow are the engine's to refuse.

use std::collections::VecDeque;

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
    /// Reads on. Never keeps more than one packet's head.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !self.lost && !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if bytes.is_empty() {
                return;
            }
            let before = self.head.len();
            self.head.extend_from_slice(bytes);
            match self.packet() {
                // The head is complete: what of it was not needed is skipped with the rest.
                Ok(packet_bytes) => {
                    bytes = match packet_bytes.checked_sub(before) {
                        Some(of_these) if of_these <= bytes.len() => {
                            bytes.get(of_these..).unwrap_or_default()
                        }
                        Some(of_these) => {
                            self.skip = of_these - bytes.len();
                            &[]
                        }
                        None => &[],
                    };
                    self.head.clear();
                }
                Err(Stop::Incomplete) => return,
                Err(Stop::Malformed) => {
                    self.lost = true;
                    self.head = Vec::new();
                }
            }
        }
    }

    /// The content type of the next PUBLISH, in the order in which they were sent.
    pub(super) fn next(&mut self) -> Option<String> {
        self.found.pop_front().flatten()
    }

    /// Looks at the packet whose head is held; returns its whole length.
    fn packet(&mut self) -> Result<usize, Stop> {
        let mut head = Head {
            rest: &self.head,
            left: usize::MAX,
        };
        let first = head.byte()?;
        let length = head.integer()?;
        let fixed = self.head.len() - head.rest.len();
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
