//! One message as bytes on disk.
//!
//! A record is the length of its body (u32), the CRC-32C of that length and the body (u32), and the
//! body: when it was received (i64, milliseconds), then topic, content type, user name and payload, each
//! with its length (u32); `u32::MAX` for an absent one. All numbers are little-endian.

use forecare_domain::Timestamp;

use crate::Message;

/// Length and checksum in front of a body.
pub(super) const HEAD_BYTES: usize = 8;
/// Bytes of a record beside the message's texts and payload.
const FRAME_BYTES: usize = HEAD_BYTES + 8 + 4 * 4;
/// Length that stands for an absent text.
const ABSENT: u32 = u32::MAX;

/// Bytes that the message takes on disk, and about that in memory.
pub(crate) fn bytes_of(message: &Message) -> usize {
    let texts = [&message.content_type, &message.principal];
    FRAME_BYTES
        + message.topic.len()
        + message.payload.len()
        + texts
            .iter()
            .map(|t| t.as_ref().map_or(0, String::len))
            .sum::<usize>()
}

/// Appends the record; `None`, with nothing appended, for 4 GiB and more.
pub(super) fn encode(message: &Message, into: &mut Vec<u8>) -> Option<()> {
    let body_bytes = u32::try_from(bytes_of(message) - HEAD_BYTES).ok()?;
    let begin = into.len();
    into.extend_from_slice(&body_bytes.to_le_bytes());
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&message.received_at.as_millis().to_le_bytes());
    for part in [
        Some(message.topic.as_bytes()),
        message.content_type.as_deref().map(str::as_bytes),
        message.principal.as_deref().map(str::as_bytes),
        Some(message.payload.as_slice()),
    ] {
        // Fits: the body, which is longer, did.
        let length = part.map_or(ABSENT, |part| u32::try_from(part.len()).unwrap_or(ABSENT));
        into.extend_from_slice(&length.to_le_bytes());
        into.extend_from_slice(part.unwrap_or_default());
    }
    let body = into.get(begin + HEAD_BYTES..).unwrap_or_default();
    let sum = checksum(body_bytes, body).to_le_bytes();
    if let Some(field) = into.get_mut(begin + 4..begin + HEAD_BYTES) {
        field.copy_from_slice(&sum);
    }
    Some(())
}

/// Length of the body and its checksum, from a record's head.
pub(super) fn head(bytes: [u8; HEAD_BYTES]) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = bytes;
    (
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    )
}

/// The checksum covers the length, so that zeros are no record.
pub(super) fn checksum(body_bytes: u32, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&body_bytes.to_le_bytes()), body)
}

/// The message of a body whose checksum is right; `None` where it is no message all the same.
pub(super) fn decode(body: &[u8]) -> Option<Message> {
    let (received_at, mut rest) = body.split_first_chunk::<8>()?;
    let received_at = Timestamp::from_millis(i64::from_le_bytes(*received_at));
    let mut part = || -> Option<Option<Vec<u8>>> {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        if length == ABSENT {
            rest = after;
            return Some(None);
        }
        let (part, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
        rest = after;
        Some(Some(part.to_vec()))
    };
    let topic = text(part()?)??;
    let content_type = text(part()?)?;
    let principal = text(part()?)?;
    let payload = part()??;
    rest.is_empty().then_some(Message {
        topic,
        payload,
        content_type,
        principal,
        received_at,
    })
}

/// Whether the lengths within a body add up to its own: quickly tells most bytes from a record.
pub(super) fn is_framed(body: &[u8]) -> bool {
    let framed = || {
        let mut rest = body.get(8..)?;
        for _part in 0..4 {
            let (length, after) = rest.split_first_chunk::<4>()?;
            rest = match u32::from_le_bytes(*length) {
                ABSENT => after,
                length => after.get(usize::try_from(length).ok()?..)?,
            };
        }
        Some(rest.is_empty())
    };
    framed().unwrap_or(false)
}

fn text(part: Option<Vec<u8>>) -> Option<Option<String>> {
    part.map(String::from_utf8).transpose().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message {
            topic: "devices/m1/telemetry".to_owned(),
            payload: vec![0, 255, 10],
            content_type: Some("application/json".to_owned()),
            principal: None,
            received_at: Timestamp::from_millis(1_700_000_000_123),
        }
    }

    #[test]
    fn what_is_written_is_read_and_its_length_is_known_before() {
        let all = [
            message(),
            Message {
                topic: String::new(),
                payload: Vec::new(),
                content_type: Some(String::new()),
                principal: Some("m1".to_owned()),
                ..message()
            },
        ];
        for message in all {
            let mut bytes = vec![9];
            encode(&message, &mut bytes).unwrap();
            assert_eq!(bytes.len() - 1, bytes_of(&message));
            let (first, body) = bytes[1..].split_first_chunk::<HEAD_BYTES>().unwrap();
            let (length, sum) = head(*first);
            assert_eq!(usize::try_from(length).unwrap(), body.len());
            assert_eq!(checksum(length, body), sum);
            assert_eq!(decode(body), Some(message));
        }
    }

    #[test]
    fn zeros_and_cut_bodies_are_no_messages() {
        assert_ne!(checksum(0, &[]), 0);
        let mut bytes = Vec::new();
        encode(&message(), &mut bytes).unwrap();
        let body = &bytes[HEAD_BYTES..];
        for end in 0..body.len() {
            // A payload cut short would be shorter than it says.
            assert_eq!(decode(&body[..end]), None, "{end}");
        }
    }
}
