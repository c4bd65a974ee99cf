//! Tickets, decisions, parts: the vocabulary of the care desk. The rules are in the `care` crate.

use serde::{Deserialize, Serialize};

use crate::{
    AlarmId, AssetId, ComponentName, Contribution, DepotName, DeviceEvent, DeviceId,
    DispatchOverride, DispatchProposal, ModeName, Origin, PartNumber, ReservationId, Rul, Severity,
    Sla, TicketId, TicketKind, TicketWork, Timestamp,
};

/// What the pipeline hands to the care desk, queued in the same transaction as the readings that caused it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CareTask {
    /// A failure mode looks likely enough to be weighed.
    Assess {
        /// The asset's device.
        device: DeviceId,
        /// The failure mode.
        mode: ModeName,
        /// The alarm episode behind it.
        alarm: AlarmId,
        /// How urgent the episode is.
        severity: Severity,
        /// A model's probability of failure within the horizon; `None`: no model speaks for this mode,
        /// the care desk uses the precision its alarms have had so far.
        probability: Option<f64>,
        /// The horizon of the probability, hours.
        horizon_hours: f64,
        /// Remaining useful life, if there is a trend.
        rul: Rul,
        /// Why, largest share first.
        contributions: Vec<Contribution>,
        /// Time of the reading that caused it.
        reading_ts: Timestamp,
        /// The pipeline's time when it was judged.
        at: Timestamp,
    },
    /// The evidence for a failure mode is gone.
    Cleared {
        /// The asset's device.
        device: DeviceId,
        /// The failure mode.
        mode: ModeName,
        /// The episode that ended.
        alarm: AlarmId,
        /// The pipeline's time.
        at: Timestamp,
    },
    /// The device reports a component as replaced.
    Replaced {
        /// The asset's device.
        device: DeviceId,
        /// The component.
        component: ComponentName,
        /// When it was replaced.
        at: Timestamp,
    },
    /// A device reports an event for which the configuration opens a ticket.
    Reported {
        /// The event.
        event: DeviceEvent,
        /// The pipeline's time.
        at: Timestamp,
    },
    /// A technician has ended a ticket with a verdict: the detectors are to forget what it was about.
    Repaired {
        /// The asset's device.
        device: DeviceId,
        /// The failure modes that are settled.
        modes: Vec<ModeName>,
        /// When the verdict was given.
        at: Timestamp,
    },
}

/// P1 (now) to P4 (when convenient): impact x urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Priority {
    /// Critical.
    P1,
    /// High.
    P2,
    /// Medium.
    P3,
    /// Low.
    P4,
}

/// Why a ticket waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// For the customer.
    Customer,
    /// For a vendor.
    Vendor,
    /// For a part.
    Part,
}

/// States of a ticket, in the order of its life. In JSON the [`TicketState::label`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TicketState {
    /// Opened, nobody has looked.
    New,
    /// Classified and prioritised.
    Triaged,
    /// Sent to a technician.
    Dispatched,
    /// The technician has taken it.
    Accepted,
    /// Work goes on.
    InProgress,
    /// Work waits.
    OnHold(Hold),
    /// Work is done, a verdict is given.
    Resolved,
    /// The customer agrees, or did not object in time.
    Confirmed,
    /// Finished.
    Closed,
    /// Ended without work.
    Cancelled,
    /// The fault came back after resolution.
    Reopened,
}

impl TicketState {
    /// Every state, in the order of a ticket's life.
    pub const ALL: [Self; 13] = [
        Self::New,
        Self::Triaged,
        Self::Dispatched,
        Self::Accepted,
        Self::InProgress,
        Self::OnHold(Hold::Customer),
        Self::OnHold(Hold::Vendor),
        Self::OnHold(Hold::Part),
        Self::Resolved,
        Self::Confirmed,
        Self::Closed,
        Self::Cancelled,
        Self::Reopened,
    ];

    /// True until the ticket is resolved or cancelled: while true, no second ticket opens for the same
    /// asset and failure mode.
    #[must_use]
    pub fn is_open(self) -> bool {
        !matches!(
            self,
            Self::Resolved | Self::Confirmed | Self::Closed | Self::Cancelled
        )
    }

    /// True once time changes nothing any more: closed or cancelled.
    #[must_use]
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Closed | Self::Cancelled)
    }

    /// The name in JSON and SQL: `new`, ..., `on_hold:part`, ...
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Triaged => "triaged",
            Self::Dispatched => "dispatched",
            Self::Accepted => "accepted",
            Self::InProgress => "in_progress",
            Self::OnHold(Hold::Customer) => "on_hold:customer",
            Self::OnHold(Hold::Vendor) => "on_hold:vendor",
            Self::OnHold(Hold::Part) => "on_hold:part",
            Self::Resolved => "resolved",
            Self::Confirmed => "confirmed",
            Self::Closed => "closed",
            Self::Cancelled => "cancelled",
            Self::Reopened => "reopened",
        }
    }
}

impl From<TicketState> for String {
    fn from(state: TicketState) -> Self {
        state.label().to_owned()
    }
}

impl TryFrom<String> for TicketState {
    type Error = UnknownTicketState;
    fn try_from(label: String) -> Result<Self, UnknownTicketState> {
        label.parse()
    }
}

impl std::str::FromStr for TicketState {
    type Err = UnknownTicketState;
    fn from_str(label: &str) -> Result<Self, UnknownTicketState> {
        Self::ALL
            .into_iter()
            .find(|s| s.label() == label)
            .ok_or_else(|| UnknownTicketState(label.to_owned()))
    }
}

/// A text that names no ticket state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no ticket state; use new, triaged, dispatched, accepted, in_progress, on_hold:customer, on_hold:vendor, on_hold:part, resolved, confirmed, closed, cancelled or reopened"
)]
pub struct UnknownTicketState(pub String);

/// What the technician found. Mandatory on resolution; stored as a label for the next training.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The predicted fault was there.
    Confirmed {
        /// ISO 14224 failure mode, mechanism or cause code found.
        failure_code: String,
    },
    /// A fault was there, but another one.
    WrongMode {
        /// The failure mode that was found.
        actual: ModeName,
    },
    /// Nothing was wrong.
    NoFaultFound,
    /// The sensor or the data was wrong, not the machine.
    DataFault,
    /// The part had much of its life left.
    TooEarly,
    /// The work is done; nothing was predicted that could be right or wrong. Not for tickets of alarms.
    Done,
}

impl Verdict {
    /// The name in JSON, SQL and metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Confirmed { .. } => "confirmed",
            Self::WrongMode { .. } => "wrong_mode",
            Self::NoFaultFound => "no_fault_found",
            Self::DataFault => "data_fault",
            Self::TooEarly => "too_early",
            Self::Done => "done",
        }
    }
}

/// From where a change came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// Forecare itself.
    System,
    /// A device's message.
    Device,
    /// The REST API.
    Api,
    /// The console.
    Console,
    /// A `forecare` command.
    Cli,
    /// The customer's page, by a link.
    Customer,
    /// A message by e-mail.
    Email,
}

/// Who did something, and from where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// A person's name, or `forecare`.
    pub name: String,
    /// From where.
    pub channel: Channel,
}

impl Actor {
    /// A customer, by the link they got or by e-mail.
    #[must_use]
    pub fn is_customer(&self) -> bool {
        matches!(self.channel, Channel::Customer | Channel::Email)
    }
}

/// One entry of a ticket's history: who, when, why, from which channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketChange {
    /// When.
    pub at: Timestamp,
    /// Who, and from where.
    pub by: Actor,
    /// State before; `None` on opening.
    pub from: Option<TicketState>,
    /// State after.
    pub to: TicketState,
    /// Why, in words.
    pub why: String,
}

impl TicketChange {
    /// True where this is the step into `state`, not something said while in it.
    #[must_use]
    pub fn enters(&self, state: TicketState) -> bool {
        self.to == state && self.from != Some(state)
    }
}

/// A transition that the state machine does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a ticket that is {} cannot become {}; from here it can become: {allowed}", from.label(), to.label())]
pub struct IllegalTransition {
    /// The state it is in.
    pub from: TicketState,
    /// The state asked for.
    pub to: TicketState,
    /// The states it could take, comma-separated.
    pub allowed: String,
}

/// Why the care desk ended a ticket that nobody had started on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// The evidence went away and stayed away.
    RiskPassed,
    /// The component was replaced outside this ticket.
    ReplacedElsewhere,
}

/// The numbers behind acting or waiting, kept with the ticket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The asset's device.
    pub device: DeviceId,
    /// The failure mode weighed.
    pub mode: ModeName,
    /// The alarm episode behind it.
    pub alarm: AlarmId,
    /// When it was weighed.
    pub at: Timestamp,
    /// Probability of failure used, 0 to 1.
    pub probability: f64,
    /// Where the probability comes from: `model` or `alarm precision`.
    pub probability_source: String,
    /// Horizon of the probability, hours.
    pub horizon_hours: f64,
    /// Cost of an unplanned failure, in the catalogue's currency.
    pub cost_of_failure: f64,
    /// Cost of a planned visit with its parts, in the catalogue's currency.
    pub cost_of_acting: f64,
    /// probability x cost of failure.
    pub expected_cost_of_waiting: f64,
    /// Longest lead time of the parts needed, hours.
    pub part_lead_hours: f64,
    /// True: a ticket is due.
    pub act: bool,
    /// The reasoning in a sentence.
    pub why: String,
}

/// A maintenance ticket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ticket {
    /// Given by the store.
    pub id: TicketId,
    /// Rises by one with every change: the ETag.
    pub version: i64,
    /// The asset.
    pub asset: AssetId,
    /// Its device.
    pub device: DeviceId,
    /// What kind of work it is.
    #[serde(default = "crate::ticket::kind_of_old")]
    pub kind: TicketKind,
    /// What opened it.
    #[serde(default)]
    pub origin: Origin,
    /// The failure mode expected, or reported; an alarm's ticket has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ModeName>,
    /// Where in its life it is.
    pub state: TicketState,
    /// How urgent.
    pub priority: Priority,
    /// One line for people.
    pub title: String,
    /// Identifier of the standard procedure.
    pub procedure: String,
    /// Skills a technician must have.
    pub skills: Vec<String>,
    /// Who is to do it, once assigned.
    pub technician: Option<String>,
    /// Time of the reading that raised the alarm behind the ticket, or of the event or report.
    pub detected_at: Timestamp,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When the work must be done at the latest.
    pub due_at: Timestamp,
    /// Evidence last seen (the episode was active): a ticket nobody started on is withdrawn a while after.
    pub evidence_at: Timestamp,
    /// The decision that opened it, where an alarm did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// The reasons of the alarm, largest share first.
    pub contributions: Vec<Contribution>,
    /// Remaining useful life at opening.
    pub rul: Rul,
    /// The technician's finding, once resolved.
    pub verdict: Option<Verdict>,
    /// What happened to it, oldest first. At most 256 entries.
    pub history: Vec<TicketChange>,
    /// Its service level clocks; `None`: opened before there were any, they are counted from the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sla: Option<Sla>,
    /// What a planner has laid down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<DispatchOverride>,
    /// What the dispatcher proposed last, while the ticket is not sent out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposal: Option<DispatchProposal>,
    /// What the work needs beside it.
    #[serde(default, skip_serializing_if = "TicketWork::is_empty")]
    pub work: TicketWork,
}

/// A technician's verdict as a training label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// The ticket it came from.
    pub ticket: TicketId,
    /// The device.
    pub device: DeviceId,
    /// The failure mode that was predicted.
    pub mode: ModeName,
    /// What was found.
    pub verdict: Verdict,
    /// Time of the reading behind the alarm.
    pub detected_at: Timestamp,
    /// When the verdict was given.
    pub at: Timestamp,
    /// Probability the ticket was opened with.
    pub probability: f64,
}

/// Where a reserved part comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Supply {
    /// On the shelf of the depot that serves the asset.
    Stock {
        /// That depot.
        depot: DepotName,
    },
    /// On the shelf of another depot, to be sent.
    Transfer {
        /// Where it lies.
        from: DepotName,
        /// Where it is needed.
        to: DepotName,
    },
    /// To be ordered from the supplier.
    BackOrder {
        /// Where it is to arrive.
        to: DepotName,
    },
}

/// Life of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationState {
    /// Held, can expire or be pre-empted by a higher claim.
    Soft,
    /// Held for good.
    Hard,
    /// Some of it is used.
    PartlyUsed,
    /// All of it is used.
    Consumed,
    /// Given back.
    Released,
    /// Ran out before anyone needed it.
    Expired,
}

impl ReservationState {
    /// True while it holds stock (or its place in the back-order queue).
    #[must_use]
    pub fn is_live(self) -> bool {
        matches!(self, Self::Soft | Self::Hard | Self::PartlyUsed)
    }

    /// The name in JSON and SQL.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Soft => "soft",
            Self::Hard => "hard",
            Self::PartlyUsed => "partly_used",
            Self::Consumed => "consumed",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }
}

/// A number of parts held for a ticket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reservation {
    /// Given by the store.
    pub id: ReservationId,
    /// The ticket it is for.
    pub ticket: TicketId,
    /// That ticket's priority when it was made; decides pre-emption.
    pub priority: Priority,
    /// The part.
    pub part: PartNumber,
    /// The part that was asked for, where `part` stands in for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<PartNumber>,
    /// How many are held. At least 1.
    pub quantity: u32,
    /// How many of them are used already.
    pub used: u32,
    /// Where they come from.
    pub supply: Supply,
    /// Where in its life it is.
    pub state: ReservationState,
    /// When it was made.
    pub reserved_at: Timestamp,
    /// When the parts are needed.
    pub needed_at: Timestamp,
    /// When they can be there (now, for stock).
    pub available_at: Timestamp,
    /// When the soft hold ends.
    pub expires_at: Timestamp,
}

impl Reservation {
    /// The part that was asked for.
    #[must_use]
    pub fn wanted(&self) -> &PartNumber {
        self.instead_of.as_ref().unwrap_or(&self.part)
    }
}
