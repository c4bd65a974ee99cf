//! What people were told, and what customers answered.

use forecare_domain::{SurveyAnswer, Timestamp};
use forecare_store::{Delivery, DeliveryState};
use serde::Serialize;
use utoipa::ToSchema;

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DeliveryStateDto {
    /// To be tried at `next_at`.
    Waiting,
    /// The other side has taken it.
    Delivered,
    /// Given up, until somebody retries it.
    Dead,
    /// Not sent, because what it says no longer holds.
    Obsolete,
}

impl From<DeliveryState> for DeliveryStateDto {
    fn from(state: DeliveryState) -> Self {
        match state {
            DeliveryState::Waiting => Self::Waiting,
            DeliveryState::Delivered => Self::Delivered,
            DeliveryState::Dead => Self::Dead,
            DeliveryState::Obsolete => Self::Obsolete,
        }
    }
}

/// A notice for somebody.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryDto {
    /// The delivery's number.
    pub(crate) id: i64,
    /// Id of the event: the same whenever it is sent again.
    #[schema(example = "T-12.3.ticket.resolved")]
    pub(crate) event_id: String,
    /// What happened: `ticket.opened`, `sla.escalated`, ...
    pub(crate) event: &'static str,
    /// The ticket; null where it is about a machine or a contract.
    pub(crate) ticket_id: Option<i64>,
    /// What it is about: the ticket's number, a lead, a machine, a customer.
    pub(crate) about: String,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    /// Name of the channel.
    pub(crate) channel: String,
    /// Whom.
    pub(crate) recipient: String,
    /// Where; null where the channel itself says where, or for those who may only read.
    pub(crate) address: Option<String>,
    /// Language of the text.
    pub(crate) language: String,
    /// True: one of the customer's people.
    pub(crate) to_customer: bool,
    /// True: sent in one message with others.
    pub(crate) digest: bool,
    /// What became of it.
    pub(crate) state: DeliveryStateDto,
    /// Attempts so far.
    pub(crate) attempts: u32,
    /// Waiting: when it is tried next.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) next_at: Timestamp,
    /// Why the last attempt failed.
    pub(crate) error: Option<String>,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) updated_at: Timestamp,
}

impl DeliveryDto {
    pub(crate) fn new(d: Delivery, needs_to_know: bool) -> Self {
        Self {
            id: d.id.0,
            event: d.notice.what.label(),
            about: d.notice.about(),
            event_id: d.notice.id.0,
            ticket_id: d.notice.ticket.map(|ticket| ticket.0),
            at: d.notice.at,
            channel: d.channel,
            recipient: d.recipient,
            address: Some(d.address).filter(|a| needs_to_know && !a.is_empty()),
            language: d.language,
            to_customer: d.to_customer,
            digest: d.digest,
            state: d.state.into(),
            attempts: d.attempts,
            next_at: d.next_at,
            // What a mail server says names the address.
            error: d.error.filter(|_| needs_to_know),
            updated_at: d.updated_at,
        }
    }
}

/// What a customer said about a ticket's work.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SurveyAnswerDto {
    /// The ticket.
    pub(crate) ticket_id: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    /// False: the customer says that the work is not done.
    pub(crate) solved: Option<bool>,
    /// Satisfaction, 1 to 5.
    pub(crate) csat: Option<u8>,
    /// Would recommend, 0 to 10.
    pub(crate) nps: Option<u8>,
    /// Ease, 1 to 7.
    pub(crate) ces: Option<u8>,
    /// In their own words; for operators only.
    pub(crate) comment: Option<String>,
}

impl SurveyAnswerDto {
    pub(crate) fn new(a: SurveyAnswer, needs_to_know: bool) -> Self {
        Self {
            ticket_id: a.ticket.0,
            at: a.at,
            solved: a.solved,
            csat: a.csat,
            nps: a.nps,
            ces: a.ces,
            comment: a.comment.filter(|_| needs_to_know),
        }
    }
}
