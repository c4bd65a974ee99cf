//! What the API works with, given by the process that starts it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use forecare_care::TicketRules;
use forecare_care::appointments::Appointments;
use forecare_care::classify::Classification;
use forecare_care::dispatch::Slot;
use forecare_care::sla::SlaReading;
use forecare_care::work::WorkStep;
use forecare_catalogue::Catalogue;
use forecare_domain::{
    Actor, Alarm, AlarmChange, AlarmId, Asset, AssetHealth, AssetId, Clock, ContactRef, FieldValue,
    ModeName, PartUsed, Report, Reservation, Ticket, TicketId, TicketState, Timestamp, Verdict,
};
use forecare_registry::{PresumedConsent, TierRules};
use forecare_store::{MaintenanceWindow, Store};

/// How a ticket's service level clocks stand at an instant: first response, resolution.
pub type ReadSla = dyn Fn(&Ticket, Timestamp) -> [SlaReading; 2] + Send + Sync;

/// The ticket that a customer's link is for; the error: true where it was good once, false where it never was.
pub type AnswerLinks = dyn Fn(&str, Timestamp) -> Result<TicketId, bool> + Send + Sync;

/// Everything the API needs. Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    /// What is stored.
    pub store: Arc<dyn Store>,
    /// Asset classes, parts, depots, technicians.
    pub catalogue: Arc<Catalogue>,
    /// The service's time.
    pub clock: Arc<dyn Clock>,
    /// Actions that touch more than the store.
    pub desk: Arc<dyn Desk>,
    /// Where live events come from; its capacity bounds how far a reader may fall behind.
    pub stream: tokio::sync::broadcast::Sender<StreamEvent>,
    /// What `/metrics` shows.
    pub metrics: prometheus::Registry,
    /// Who may come in.
    pub auth: Arc<dyn Auth>,
    /// How a ticket's service level clocks stand at an instant.
    pub sla: Arc<ReadSla>,
    /// What `/readyz` answers: the text says what is missing.
    pub readiness: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Every version of every class's model, sorted by id.
    pub models: Arc<dyn Fn() -> Vec<ModelInfo> + Send + Sync>,
    /// Rules of automation with what they did, sorted by name.
    pub automation: Arc<dyn Fn() -> Vec<AutomationInfo> + Send + Sync>,
    /// Reads customers' links.
    pub answer_links: Arc<AnswerLinks>,
    /// Kinds of tickets with their fields.
    pub tickets: Arc<TicketRules>,
    /// When customers may have somebody come.
    pub appointments: Arc<Appointments>,
    /// By which customers get their tier.
    pub tiers: Arc<TierRules>,
    /// What customers are taken to agree to who have said nothing.
    pub presumed: PresumedConsent,
    /// By which rules orders of parts are proposed.
    pub parts: crate::PartsPolicy,
    /// What work costs.
    pub costs: Costs,
    /// A banner on every page, such as `Simulated time: 1 s = 1 h`.
    pub notice: Option<String>,
}

/// What work costs, in the catalogue's currency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    /// An hour that somebody booked on a ticket.
    pub labour_per_hour: f64,
}

/// A version of a class's model, as `GET /api/v1/models` shows it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Model)]
pub struct ModelInfo {
    /// Class and version: `screw-compressor/v2`.
    pub id: String,
    /// The asset class it speaks for.
    pub class: String,
    /// `v1`, `v2`, ...
    pub version: String,
    /// `live`: it speaks; `shadow`: it is tried beside the live one; `kept`: neither.
    pub role: String,
    /// SHA-256 of the model file's content, hexadecimal.
    pub sha256: String,
    /// What it was learnt from, in words.
    pub data: String,
    /// When it was learnt.
    pub trained_at: String,
    /// First reading it was learnt from.
    pub from: String,
    /// Last reading it was learnt from.
    pub to: String,
    /// Machines it was learnt from.
    pub n_machines: usize,
    /// Horizon of its probabilities, hours.
    pub horizon_hours: f64,
    /// Failure modes it speaks of.
    pub modes: Vec<String>,
    /// Live: population stability index of its inputs in the last full window.
    pub psi: Option<f64>,
    /// Live: mean of what the verdicts say of the precision of its tickets, 0 to 1.
    pub precision: Option<f64>,
    /// Shadow: share of rows for which it would act as the live one, 0 to 1.
    pub agreement: Option<f64>,
}

/// A rule of automation, as `GET /api/v1/automation` shows it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, utoipa::ToSchema)]
#[schema(as = AutomationRule)]
pub struct AutomationInfo {
    /// Its name.
    pub name: String,
    /// The event it reacts to.
    pub on: String,
    /// When exactly, in words, such as `open for 24 h in one state`; empty: the event says all.
    pub trigger: String,
    /// What must hold as well, in words, one condition each.
    pub conditions: Vec<String>,
    /// What it does, in order and in words: `tell @customer: "..."`.
    pub does: Vec<String>,
    /// What it does, in order: `assign`, `priority`, `note`, `open`, `notify`, `lead`.
    pub actions: Vec<String>,
    /// What came of that since the service started.
    pub results: Vec<AutomationResult>,
    /// When it last acted, since the service started.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_at: Option<Timestamp>,
}

/// How often an action came to a result.
#[derive(Debug, Clone, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct AutomationResult {
    /// The action.
    pub action: String,
    /// `done`; `skipped`: there was nothing to do, or it was not the time for it; `failed`.
    pub result: String,
    /// How often.
    pub n: u64,
}

/// Actions that touch more than the store: detectors, timers, notifications.
#[async_trait]
pub trait Desk: Send + Sync {
    /// Opens a ticket that a person asks for; returns it as stored.
    async fn open_ticket(&self, request: OpenRequest, by: Actor) -> Result<Ticket, DeskError>;
    /// Takes a step of work on a ticket; returns it as stored.
    async fn work(
        &self,
        id: TicketId,
        request: WorkRequest,
        by: Actor,
    ) -> Result<Ticket, DeskError>;
    /// Moves a ticket to another state; returns it as stored.
    async fn transition(
        &self,
        id: TicketId,
        request: TransitionRequest,
        by: Actor,
    ) -> Result<Ticket, DeskError>;
    /// Lays down who does a ticket and when, or leaves it to the dispatcher again; returns it as stored.
    async fn assign(
        &self,
        id: TicketId,
        request: AssignmentRequest,
        by: Actor,
    ) -> Result<Ticket, DeskError>;
    /// Windows in which the visit for a ticket can begin, as the plan has room; a conflict where nothing is to be chosen.
    async fn slots(&self, id: TicketId) -> Result<Vec<Slot>, DeskError>;
    /// Lays down the visit in the window that begins at `from`; a conflict where that is no longer free.
    async fn take_slot(
        &self,
        id: TicketId,
        from: Timestamp,
        by: Actor,
    ) -> Result<Ticket, DeskError>;
    /// Marks an alarm episode as seen; again is no error.
    async fn acknowledge_alarm(&self, id: &AlarmId, by: Actor) -> Result<Alarm, DeskError>;
    /// Adds assets, or replaces those with the same id.
    async fn register_assets(&self, assets: Vec<Asset>) -> Result<(), DeskError>;
    /// Sets a span in which nothing is raised; the same one twice is one.
    async fn set_maintenance(&self, window: MaintenanceWindow) -> Result<(), DeskError>;
}

/// A ticket that a person asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenRequest {
    /// The machine.
    pub asset: AssetId,
    /// Name of the kind.
    pub kind: String,
    /// One line for people; empty: made from kind and mode.
    pub title: String,
    /// What is told.
    pub report: Report,
    /// The failure mode, where it is known.
    pub mode: Option<ModeName>,
    /// Fields of the kind.
    pub fields: BTreeMap<String, FieldValue>,
    /// The ticket it is a part of, or a visit after.
    pub parent: Option<TicketId>,
    /// The customer's contact who asks for it by e-mail.
    pub contact: Option<ContactRef>,
    /// The caller's key: the same one again opens nothing.
    pub idempotency_key: Option<String>,
}

/// A step of work on a ticket.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkRequest {
    /// The step; of a merge only the number of the other ticket is known here.
    pub step: Work,
    /// Only if the ticket still has this version.
    pub if_version: Option<i64>,
    /// The caller's key: the same one again changes nothing.
    pub idempotency_key: Option<String>,
}

/// The key under which a step that a caller asks for on ticket `id` is stored: theirs counts for that ticket only.
#[must_use]
pub fn request_key(id: TicketId, key: &str) -> String {
    format!("{id}:{key}")
}

/// The key under which the opening of a ticket that a caller asks for is stored.
#[must_use]
pub fn opening_key(key: &str) -> String {
    format!("open:{key}")
}

/// What is done on a ticket.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// A step that needs to know nothing else.
    Step(WorkStep),
    /// It is the same as another ticket.
    MergeInto {
        /// The one that goes on.
        into: TicketId,
        /// Why, in words; may be empty.
        why: String,
    },
    /// What kind of work it is and what is wrong.
    Classify(Box<Classification>),
}

/// A step in a ticket's life.
#[derive(Debug, Clone, PartialEq)]
pub struct TransitionRequest {
    /// The state to take.
    pub to: TicketState,
    /// Why, in words; may be empty.
    pub why: String,
    /// The finding; mandatory when `to` is resolved.
    pub verdict: Option<Verdict>,
    /// Who is to do the work, where that changes.
    pub technician: Option<String>,
    /// Parts used, on resolution; a kit is its parts.
    pub parts_used: Vec<PartUsed>,
    /// Only if the ticket still has this version.
    pub if_version: Option<i64>,
    /// The caller's key: the same one again changes nothing.
    pub idempotency_key: Option<String>,
}

/// A planner's word on who does a ticket.
#[derive(Debug, Clone, PartialEq)]
pub struct AssignmentRequest {
    /// The technician; `None`: it is left to the dispatcher again.
    pub technician: Option<String>,
    /// When the work begins; `None`: when the plan has room.
    pub start_at: Option<Timestamp>,
    /// Why, in words; must not be empty.
    pub why: String,
    /// Only if the ticket still has this version.
    pub if_version: Option<i64>,
    /// The caller's key: the same one again changes nothing.
    pub idempotency_key: Option<String>,
}

/// Why the desk refuses.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// There is no such thing. HTTP 404.
    #[error("{0}")]
    NotFound(String),
    /// The state of things forbids it. HTTP 409.
    #[error("{0}")]
    Conflict(String),
    /// Someone else was faster. HTTP 412.
    #[error("it has changed meanwhile and now has version {current}: read it again")]
    PreconditionFailed {
        /// The version it has now.
        current: i64,
    },
    /// It makes no sense. HTTP 422.
    #[error("{0}")]
    Invalid(String),
    /// Try again later. HTTP 503.
    #[error("{0}")]
    Unavailable(String),
}

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Operator,
    /// Read, and of people no more than their names.
    Viewer,
}

/// Somebody who has been let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    /// Name of the token's owner.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

/// Who may come in.
pub trait Auth: Send + Sync {
    /// Whose token it is; `None`: it opens nothing. Compares in constant time.
    fn check_token(&self, token: &str) -> Option<Visitor>;

    /// Whether the token opens `/metrics`, be it that it opens nothing else. Compares in constant time.
    fn opens_metrics(&self, token: &str) -> bool;
}

/// Something that happened, for those who watch.
#[derive(Debug, Clone)]
pub enum StreamEvent {
    /// An alarm episode changed.
    Alarm(AlarmChange),
    /// A ticket was opened or changed.
    Ticket(Box<Ticket>),
    /// A reservation was made or changed.
    Reservation(Reservation),
    /// Health of an asset; throttled by the sender.
    Health(AssetHealth),
}
