//! The vocabulary of Forecare: ids, readings, alarms, prognoses, tickets, parts and time.
//!
//! No I/O, no clock, no randomness. Every other crate speaks in these types. Values derive `serde`
//! because decisions, explanations and detector checkpoints are stored as JSON; the HTTP API and the
//! MQTT payloads have types of their own at the edge.

mod alarm;
mod asset;
mod care;
mod dispatch;
mod entry;
mod id;
mod mail;
mod notice;
mod reading;
mod sla;
mod stock;
mod ticket;
mod time;
mod unit;

pub use alarm::{Alarm, AlarmChange, AlarmSource, Contribution, Prognosis, Rul, Severity};
pub use asset::{Asset, AssetHealth, DeviceStatus};
pub use care::{
    Actor, CareTask, Channel, CloseReason, Decision, Hold, IllegalTransition, Label, Priority,
    Reservation, ReservationState, Supply, Ticket, TicketChange, TicketState, UnknownTicketState,
    Verdict,
};
pub use dispatch::{
    DispatchCandidate, DispatchCost, DispatchOverride, DispatchProposal, DispatchRejection, Place,
};
pub use entry::{Attachment, EntryBody, TicketEntry, Visibility};
pub use id::{
    AlarmId, AssetId, BatchNumber, ClassName, ComponentName, DeliveryId, DepotName, DeviceId,
    InvalidName, MetricName, ModeName, OrderId, PartNumber, ReservationId, ScheduleName,
    SerialNumber, TaskId, TicketId, TicketKind,
};
pub use mail::{InboxMail, MailFate};
pub use notice::{
    AutomationMessage, CareLead, Notice, NoticeId, NoticeKind, ShortPart, SurveyAnswer,
};
pub use reading::{DeviceEvent, EventSeverity, REPLACED_CODE, RejectReason, Rejection, Row};
pub use sla::{Sla, SlaClock, SlaKey, SlaKind, SlaPoint};
pub use stock::{Consumer, Fate, PurchaseOrder, StockAsked, StockCommand, StockMove, VAN_PREFIX};
pub use ticket::{
    ChecklistItem, ContactRef, Done, FieldValue, Origin, PartWanted, ProductionImpact, Report,
    TicketWork, Urgency,
};
pub use time::{Clock, InvalidTimestamp, ManualClock, Timestamp};
pub use unit::{Marks, PartUsed, Unit, UnitAt, UnitPlace};
