//! The outbox at the port: notices are written with the change that caused them; each is routed once, to deliveries
//! that are tried until they succeed or are given up.

use forecare_domain::{DeliveryId, Notice, TicketId, Timestamp};
use forecare_registry::ERASED;

/// Notices kept with their deliveries; the oldest go first, whatever their state. A million deliveries at most, and far
/// fewer in practice.
pub const NOTICES_KEPT: i64 = 100_000;
/// Deliveries of one notice at most; the first count.
pub const DELIVERIES_PER_NOTICE_MAX: usize = 64;
/// Characters of an error kept.
pub const DELIVERY_ERROR_CHARS_MAX: usize = 500;
/// Answers of a customer on one ticket; what comes after is refused.
pub const SURVEY_ANSWERS_MAX: usize = 10;

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryState {
    /// To be tried at its next time.
    Waiting,
    /// Handed over: the other side has said so.
    Delivered,
    /// Given up after the last attempt: a dead letter, until somebody retries it.
    Dead,
    /// Not sent, because what it says no longer holds.
    Obsolete,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Delivered, Self::Dead, Self::Obsolete];

    /// The name in JSON and SQL.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Obsolete => "obsolete",
        }
    }
}

/// A notice for somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// Name of the channel in the configuration.
    pub channel: String,
    /// Whom, in words: a name.
    pub recipient: String,
    /// Where: an e-mail address, a number; empty where the channel itself says where.
    pub address: String,
    /// Language of the text: `en`, `zh-CN`.
    pub language: String,
    /// True: one of the customer's people, who is written to in other words than our own.
    pub to_customer: bool,
    /// True: may be sent in one message with others of the same address.
    pub digest: bool,
    /// Not before.
    pub due_at: Timestamp,
}

/// A delivery as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Given by the store.
    pub id: DeliveryId,
    /// What is told.
    pub notice: Notice,
    /// Name of the channel in the configuration.
    pub channel: String,
    /// Whom.
    pub recipient: String,
    /// Where.
    pub address: String,
    /// Language of the text.
    pub language: String,
    /// True: one of the customer's people.
    pub to_customer: bool,
    /// True: may be sent in one message with others of the same address.
    pub digest: bool,
    /// What became of it.
    pub state: DeliveryState,
    /// Attempts so far, since it was made or last retried by hand.
    pub attempts: u32,
    /// Waiting: when it is tried next.
    pub next_at: Timestamp,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Delivery {
    /// Forgets to whom it goes or went; what is still to be sent, or given up, is not sent any more.
    pub fn erase(&mut self, at: Timestamp) {
        self.recipient = ERASED.to_owned();
        // Two of one notice stay two.
        self.address = format!("{ERASED} {}", self.id.0);
        self.error = None;
        self.updated_at = at;
        if self.state != DeliveryState::Delivered {
            self.state = DeliveryState::Obsolete;
        }
    }
}

/// What came of trying a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The delivery.
    pub id: DeliveryId,
    /// Attempts it was read with; if another has been recorded since, this one is left out.
    pub attempts: u32,
    /// The state after it.
    pub state: DeliveryState,
    /// Waiting: when it is tried next.
    pub next_at: Timestamp,
    /// Why it failed; cut to [`DELIVERY_ERROR_CHARS_MAX`].
    pub error: Option<String>,
}

impl Attempt {
    /// `delivery` after this attempt at `at`; `None`: it has changed since it was read.
    #[must_use]
    pub fn on(&self, delivery: &Delivery, at: Timestamp) -> Option<Delivery> {
        if delivery.state != DeliveryState::Waiting || delivery.attempts != self.attempts {
            return None;
        }
        let error = self.error.as_ref();
        Some(Delivery {
            state: self.state,
            // What is put off was not tried.
            attempts: delivery.attempts
                + u32::from(self.state != DeliveryState::Waiting || self.error.is_some()),
            next_at: self.next_at,
            error: error.map(|text| text.chars().take(DELIVERY_ERROR_CHARS_MAX).collect()),
            updated_at: at,
            ..delivery.clone()
        })
    }
}

/// Which deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeliveryFilter {
    /// Only in this state.
    pub state: Option<DeliveryState>,
    /// Only about this ticket.
    pub ticket: Option<TicketId>,
    /// Only by this channel.
    pub channel: Option<String>,
}

/// How full the outbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutboxDepth {
    /// Notices that nobody has been chosen for yet.
    pub unrouted: u64,
    /// Deliveries to be tried.
    pub waiting: u64,
    /// Dead letters.
    pub dead: u64,
    /// When the delivery that has been due the longest was due; also in the future.
    pub oldest_due_at: Option<Timestamp>,
}
