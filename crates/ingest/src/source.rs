//! The trait that every source of messages implements, and what it speaks in.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use forecare_domain::Timestamp;

/// One MQTT message, as a device published it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The topic it was published to.
    pub topic: String,
    /// The payload. One that is longer than the configured `payload_bytes_max` is cut to one byte more
    /// than that, so that the decoder still sees that it is too large and memory stays bounded.
    pub payload: Vec<u8>,
    /// The MQTT 5 content type, where the publisher set one.
    pub content_type: Option<String>,
    /// The user name of the publisher's connection; `None` when anonymous, and always with an external
    /// broker, which does not tell.
    pub principal: Option<String>,
    /// When it reached this process.
    pub received_at: Timestamp,
}

/// When a batch closes: at `messages_max` or 16 MiB, after `linger` without another message, or 50 ms after its first (or
/// `linger`, where that is longer).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimit {
    /// Most messages in a batch; 0 counts as 1.
    pub messages_max: usize,
    /// Longest wait for another message; zero takes what is there.
    pub linger: Duration,
}

/// Messages to be stored together, in receive order.
#[derive(Debug)]
pub struct Batch {
    /// At least one message.
    pub messages: Vec<Message>,
    /// To be handed back, to [`Source::commit`] or [`Source::abandon`].
    pub position: Position,
}

/// Names a batch to the source that handed it out. Means nothing to anyone else.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a batch that is neither committed nor abandoned is never acknowledged"]
pub struct Position(u64);

impl Position {
    /// The position with this number; numbers are unique within one source.
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number given to [`Position::new`].
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where batches of messages come from, and where it is told that they are stored.
///
/// Several batches may be out at once. They are acknowledged in the order they were handed out: the
/// commit of a later batch waits for that of an earlier one.
#[async_trait]
pub trait Source: Send {
    /// Waits for at least one message. `None` once the source is closed and drained. Safe to cancel:
    /// nothing that was gathered is lost.
    async fn next_batch(&mut self, limit: BatchLimit) -> Option<Batch>;

    /// The batch is stored: acknowledge it, in receive order.
    async fn commit(&mut self, position: Position);

    /// The batch could not be stored. It is not acknowledged, so that its publishers (embedded) or the
    /// broker (external) send it again. Wait before asking for more when the store is down.
    async fn abandon(&mut self, position: Position);
}

/// Credentials and topic rights of the devices of the embedded broker.
pub trait Authorizer: Send + Sync + 'static {
    /// Whether the client may connect. Called on a thread where blocking, as for a slow hash, is fine.
    fn authenticate(
        &self,
        client_id: &str,
        username: Option<&str>,
        password: Option<&[u8]>,
    ) -> bool;

    /// Whether this user may publish to `topic`. Called for every message: be quick.
    fn may_publish(&self, username: Option<&str>, topic: &str) -> bool;

    /// Whether this user may subscribe to `filter`.
    fn may_subscribe(&self, username: Option<&str>, filter: &str) -> bool;
}

/// Cuts a payload to one byte more than allowed; tells whether it was too long.
pub(crate) fn cut_payload(payload: &[u8], payload_bytes_max: usize) -> (Vec<u8>, bool) {
    match payload.get(..payload_bytes_max.saturating_add(1)) {
        Some(cut) => (cut.to_vec(), true),
        None => (payload.to_vec(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_payload_above_the_limit_is_cut_and_stays_visibly_too_long() {
        assert_eq!(cut_payload(b"", 3), (vec![], false));
        assert_eq!(cut_payload(b"abc", 3), (b"abc".to_vec(), false));
        assert_eq!(cut_payload(b"abcd", 3), (b"abcd".to_vec(), true));
        assert_eq!(cut_payload(b"abcdef", 3), (b"abcd".to_vec(), true));
    }
}
