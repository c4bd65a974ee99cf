//! The port: values in, values out, one transaction per call.

use async_trait::async_trait;
use forecare_care::{Need, NewTicket};
use forecare_domain::{
    Actor, Alarm, AlarmChange, AlarmId, Asset, AssetHealth, AssetId, BatchNumber, CareTask,
    Decision, DeliveryId, DepotName, DeviceEvent, DeviceId, DeviceStatus, InboxMail, Label,
    MailFate, MetricName, Notice, NoticeId, PartNumber, PartUsed, PurchaseOrder, RejectReason,
    Rejection, Reservation, ReservationId, ReservationState, Row, SerialNumber, StockCommand,
    SurveyAnswer, TaskId, Ticket, TicketEntry, TicketId, Timestamp, Unit, UnitAt,
};
use forecare_registry::{RecordKind, RecordRef};

use crate::{
    Attempt, Delivery, DeliveryFilter, Erasure, FileInfo, NewDelivery, NewMail, OutboxDepth,
    RecordCommit, RecordFilter, RecordPage, RecordVersion, RecordsOutcome, StoredFile,
    StoredRecord,
};

/// What can go wrong, in the port's language. The adapter's own error is kept as source.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached or is busy; nothing was changed as far as is known: try again later.
    #[error("the store is unavailable: {what}")]
    Unavailable {
        /// What was tried.
        what: String,
        /// The adapter's error.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The settings, or the server they name, cannot be used: somebody has to do what the text says.
    #[error("{0}")]
    Misconfigured(String),
    /// The state of things forbids it: a version that moved on, too little stock.
    #[error("{0}")]
    Conflict(String),
    /// There is no such thing.
    #[error("{0} was not found")]
    NotFound(String),
    /// What is stored cannot be read: damaged, or written by a newer version.
    #[error("the stored data cannot be used: {what}")]
    Corrupt {
        /// What was read, and what to do.
        what: String,
        /// The adapter's error.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// A row with what the detectors made of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredRow {
    /// The readings.
    pub row: Row,
    /// Health 0 to 100 after this row; `None` where it was not scored (late, or no detector).
    pub health: Option<f64>,
}

/// The detector's state of one device, to restart from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The device.
    pub device: DeviceId,
    /// The newest row the state has seen; rows after it are replayed on start.
    pub watermark: Timestamp,
    /// The state, opaque to the store.
    pub state: Vec<u8>,
}

/// A task for the care desk, queued with the readings that caused it.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTask(
    /// The task.
    pub CareTask,
);

/// Everything one batch of messages changes: stored whole or not at all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CommitBatch {
    /// Readings, in arrival order. Rows of the same device and time merge, metric by metric.
    pub rows: Vec<ScoredRow>,
    /// Events of devices. The same (device, time, code, component) twice is one event.
    pub events: Vec<DeviceEvent>,
    /// Connection states; the newest per device is kept.
    pub statuses: Vec<DeviceStatus>,
    /// Refused messages.
    pub rejections: Vec<Rejection>,
    /// New devices under auto-registration; already known ids are left as they are.
    pub assets: Vec<Asset>,
    /// Detector states; the newest per device is kept.
    pub checkpoints: Vec<Checkpoint>,
    /// Changes of alarm episodes, in order. `acknowledged` in the store survives changes.
    pub alarms: Vec<AlarmChange>,
    /// State of health per device; the newest per device is kept.
    pub health: Vec<AssetHealth>,
    /// Tasks for the care desk, in order.
    pub tasks: Vec<NewTask>,
}

/// What became of a batch's readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CommitReceipt {
    /// Readings that are new.
    pub inserted: u64,
    /// Readings that were there already, with the same value.
    pub duplicates: u64,
    /// Readings that were there with another value: the first stays, the other is recorded as a conflict.
    pub conflicts: u64,
}

/// The same device, metric and time with two values.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// The device.
    pub device: DeviceId,
    /// The metric.
    pub metric: MetricName,
    /// The time of both readings.
    pub ts: Timestamp,
    /// The value that is stored.
    pub stored: f64,
    /// The value that came later; recorded once per distinct value.
    pub refused: f64,
}

/// What happens to a ticket in a [`CareCommit`].
#[derive(Debug, Clone, PartialEq, Default)]
pub enum TicketWrite {
    /// Nothing.
    #[default]
    None,
    /// A new ticket with its parts reserved. Where one is open for the same asset under the same
    /// [`opening_key`](Ticket::opening_key), nothing is opened.
    Open(Box<NewTicket>),
    /// The ticket after a change, as `care` returns it: with the `version` it was read with, which the store raises.
    /// Where the stored one has moved on, nothing changes ([`StoreError::Conflict`]). Reservations follow
    /// `care::settle` with the parts used.
    Update {
        /// The ticket after the change, with the version it was read with.
        ticket: Box<Ticket>,
        /// Parts used so far, in all; of a part that is tracked, which ones.
        parts_used: Vec<PartUsed>,
    },
}

/// A change of a reservation's state or expiry.
#[derive(Debug, Clone, PartialEq)]
pub struct ReservationWrite {
    /// The reservation.
    pub id: ReservationId,
    /// The state it was read with; if it has changed since, this write is left out.
    pub from: ReservationState,
    /// The state after.
    pub to: ReservationState,
    /// When the soft hold ends from now on.
    pub expires_at: Timestamp,
}

/// One step of the care desk, stored whole or not at all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CareCommit {
    /// The task it answers; removed with it. Where the task is gone, the step was done before and nothing
    /// changes.
    pub task: Option<TaskId>,
    /// A key of the caller; a step with a key seen before changes nothing and returns the first outcome.
    pub idempotency_key: Option<String>,
    /// The decision to record.
    pub decision: Option<Decision>,
    /// What happens to a ticket.
    pub ticket: TicketWrite,
    /// What happens to reservations.
    pub reservations: Vec<ReservationWrite>,
    /// Holds to be made smaller: what each keeps, at least what is used of it. One that is over, or holds no more, stays.
    pub cuts: Vec<(ReservationId, u32)>,
    /// Parts to reserve for tickets that are open already (after a hold ran out, or on reopening); left out
    /// where the ticket is not open after this step.
    pub needs: Vec<(TicketId, Need)>,
    /// Entries for tickets. Of each ticket at most [`ENTRIES_MAX`](crate::ENTRIES_MAX) and
    /// [`ENTRY_BYTES_MAX`](crate::ENTRY_BYTES_MAX) of files are kept; beyond, the step is refused.
    pub entries: Vec<NewEntry>,
    /// What people are to be told of beside what the step itself tells: messages and leads of automation.
    pub notices: Vec<Notice>,
    /// A verdict to learn from.
    pub label: Option<Label>,
    /// A task to queue behind this step.
    pub follow_up: Option<CareTask>,
    /// When.
    pub at: Timestamp,
}

/// An entry for a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// The ticket.
    pub ticket: TicketId,
    /// The entry.
    pub entry: TicketEntry,
    /// The content of a file.
    pub content: Option<Vec<u8>>,
}

/// What became of a [`CareCommit`].
#[derive(Debug, Clone, PartialEq)]
pub enum CareOutcome {
    /// Stored; no ticket was part of it.
    Stored,
    /// The ticket was opened, with these reservations.
    Opened {
        /// The ticket as stored.
        ticket: Box<Ticket>,
        /// Its reservations.
        reservations: Vec<Reservation>,
    },
    /// The ticket was changed; as stored, with its new version.
    Updated(Box<Ticket>),
    /// One was open for the same asset under the same key already.
    AlreadyOpen(TicketId),
    /// The task was done before.
    AlreadyDone,
}

/// Stock of one part at one depot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockItem {
    /// The part.
    pub part: PartNumber,
    /// The depot.
    pub depot: DepotName,
    /// On the shelf.
    pub on_hand: u32,
    /// Of these, held softly.
    pub soft: u32,
    /// Of these, held for good.
    pub hard: u32,
    /// Waiting for the supplier.
    pub back_ordered: u32,
    /// Handed in here as defective, and in repair since.
    pub in_repair: u32,
    /// The bin it lies in, as last told.
    pub bin: Option<String>,
}

/// What a [`StockCommand`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockOutcome {
    /// The stock at the command's place after it.
    pub item: StockItem,
    /// Of a transfer: the stock at its destination after it.
    pub there: Option<StockItem>,
    /// Reservations that a count has found to have no parts any more. What they held is reserved anew from elsewhere,
    /// or ordered.
    pub short: Vec<ReservationId>,
    /// The key was known: nothing was changed now, and `short` is not told again.
    pub repeated: bool,
}

/// One line of the append-only stock ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// When.
    pub at: Timestamp,
    /// `receipt`, `issue`, `consumed`, `return`, `scrap`, `count`, `repair_out`, `repair_in`, `transfer_out`,
    /// `transfer_in`.
    pub kind: String,
    /// The part.
    pub part: PartNumber,
    /// The depot.
    pub depot: DepotName,
    /// Change of stock on hand: negative when parts leave.
    pub delta: i64,
    /// Which pieces, as far as they are told apart.
    pub units: Vec<Unit>,
    /// The ticket it was for.
    pub ticket: Option<TicketId>,
    /// The cost centre it was for.
    pub cost_centre: Option<String>,
    /// Why, in words.
    pub reason: Option<String>,
    /// Who.
    pub by: Actor,
}

/// Which pieces of parts that are tracked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnitFilter {
    /// Only of this part.
    pub part: Option<PartNumber>,
    /// Only of this batch.
    pub batch: Option<BatchNumber>,
    /// Only with this serial number.
    pub serial: Option<SerialNumber>,
    /// Only those with a ticket of this machine: handed out to it, or fitted on it.
    pub asset: Option<AssetId>,
}

/// A span in which an asset is worked on: nothing is raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceWindow {
    /// The device.
    pub device: DeviceId,
    /// Begin.
    pub from: Timestamp,
    /// End.
    pub to: Timestamp,
    /// Why, in words.
    pub why: String,
}

/// What a credential opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialRole {
    /// One device's own topics; the user name is the device.
    Device,
    /// The topics of every device: a gateway.
    Gateway,
    /// API and console.
    Api,
    /// API and console, to read; of people no more than their names.
    Viewer,
}

impl CredentialRole {
    /// Whether its secret is a token of API and console; then it opens no broker.
    #[must_use]
    pub fn is_for_people(self) -> bool {
        matches!(self, Self::Api | Self::Viewer)
    }
}

/// A credential: the secret is random, only its hash is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The user name; unique.
    pub username: String,
    /// What it opens.
    pub role: CredentialRole,
    /// SHA-256 of the secret, in hex.
    pub secret_sha256: String,
}

/// A page to read, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// Only entries older than this position; `None`: from the newest.
    pub before: Option<i64>,
    /// How many at most. 1 to 1,000.
    pub limit: usize,
}

/// An entry of a page with its position.
#[derive(Debug, Clone, PartialEq)]
pub struct Paged<T> {
    /// Position, for [`PageRequest::before`].
    pub position: i64,
    /// The entry.
    pub item: T,
}

/// Which alarms.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AlarmFilter {
    /// Only of this device.
    pub device: Option<DeviceId>,
    /// Only active, or only ended ones.
    pub active: Option<bool>,
}

/// Which tickets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TicketFilter {
    /// Only of this asset.
    pub asset: Option<AssetId>,
    /// Only open, or only ended ones.
    pub open: Option<bool>,
    /// Only those that time may still change: neither closed nor cancelled.
    pub unfinished: bool,
    /// Only those with this [`opening_key`](Ticket::opening_key).
    pub opening_key: Option<String>,
    /// Only parts of, or visits after, this one.
    pub parent: Option<TicketId>,
}

/// Which reservations.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReservationFilter {
    /// Only of this ticket.
    pub ticket: Option<TicketId>,
    /// Only live ones.
    pub live: bool,
}

/// Name under which a [`TelemetryQuery`] asks for the health of an asset.
pub const HEALTH_METRIC: &str = "health";

/// A range of telemetry, down-sampled.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetryQuery {
    /// The device.
    pub device: DeviceId,
    /// The metrics; `health` is one of them. Empty: all of the class, and health.
    pub metrics: Vec<MetricName>,
    /// From, inclusive.
    pub from: Timestamp,
    /// To, exclusive.
    pub to: Timestamp,
    /// At most so many buckets of equal length. 1 to 5,000.
    pub points: usize,
    /// What stands in buckets without readings.
    pub fill: Fill,
}

/// What a series shows in buckets without readings that lie between buckets with some. Before the first and
/// after the last reading nothing is made up: a silent machine looks silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fill {
    /// Nothing: such buckets are left out.
    #[default]
    None,
    /// The mean of the bucket before the gap.
    Previous,
    /// The straight line from the mean before the gap to the mean after it.
    Linear,
}

impl TelemetryQuery {
    /// Length of a bucket, ms, at least 1: the least with which the range needs no more than `points`. The
    /// first bucket begins at `from`.
    #[must_use]
    pub fn bucket_ms(&self) -> i64 {
        let span_ms = (self.to.as_millis() - self.from.as_millis()).max(1);
        let points = i64::try_from(self.points.clamp(1, crate::POINTS_MAX)).unwrap_or(1);
        span_ms / points + i64::from(span_ms % points > 0)
    }

    /// `buckets`, given in time order, with the gaps between them filled as asked. No more than `points`
    /// where they are buckets of this query.
    #[must_use]
    pub fn filled(&self, buckets: Vec<Bucket>) -> Vec<Bucket> {
        if self.fill == Fill::None {
            return buckets;
        }
        let bucket_ms = self.bucket_ms();
        let mut all: Vec<Bucket> = Vec::with_capacity(buckets.len());
        for bucket in buckets {
            if let Some(before) = all.last().copied() {
                let (begin, end) = (before.ts.as_millis(), bucket.ts.as_millis());
                let mut ts = begin + bucket_ms;
                while ts < end {
                    let value = match self.fill {
                        Fill::None | Fill::Previous => before.mean,
                        Fill::Linear => {
                            let share = (ts - begin) as f64 / (end - begin) as f64;
                            before.mean * (1.0 - share) + bucket.mean * share
                        }
                    };
                    all.push(Bucket {
                        ts: Timestamp::from_millis(ts),
                        mean: value,
                        min: value,
                        max: value,
                        n: 0,
                    });
                    ts += bucket_ms;
                }
            }
            all.push(bucket);
        }
        all
    }
}

/// The newest row of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct LatestRow {
    /// The device.
    pub device: DeviceId,
    /// The row's time.
    pub ts: Timestamp,
    /// Health 0 to 100 after it; `None` where it was not scored.
    pub health: Option<f64>,
    /// What it holds of its class's metrics, in the catalogue's order. Metrics beyond the catalogue are left
    /// out: they are not kept beside the others.
    pub readings: Vec<(MetricName, f64)>,
}

/// One metric's points.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The metric.
    pub metric: MetricName,
    /// Buckets with readings, in time order; where asked for, the empty ones between them as well.
    pub buckets: Vec<Bucket>,
}

/// A bucket of readings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Begin of the bucket.
    pub ts: Timestamp,
    /// Mean of the readings.
    pub mean: f64,
    /// Least reading.
    pub min: f64,
    /// Greatest reading.
    pub max: f64,
    /// Number of readings; 0: filled in.
    pub n: u64,
}

/// Order-free fingerprint of stored readings: equal sets have equal fingerprints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fingerprint {
    /// Number of readings.
    pub n_readings: u64,
    /// Wrapping sum of [`reading_hash`] over all readings.
    pub checksum: u64,
}

impl StockItem {
    /// Held by nobody.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.on_hand
            .saturating_sub(self.soft)
            .saturating_sub(self.hard)
    }
}

impl Fingerprint {
    /// Adds one reading.
    pub fn add(&mut self, device: &DeviceId, metric: &MetricName, ts: Timestamp, value: f64) {
        self.n_readings += 1;
        self.checksum = self
            .checksum
            .wrapping_add(reading_hash(device, metric, ts, value));
    }
}

/// 64-bit hash of one reading: FNV-1a over device, metric, time and the value's bits, finished with the
/// mixing step of SplitMix64 so that sums of hashes stay telling. -0 counts as 0.
#[must_use]
pub fn reading_hash(device: &DeviceId, metric: &MetricName, ts: Timestamp, value: f64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let parts: [&[u8]; 5] = [
        device.as_str().as_bytes(),
        &[0],
        metric.as_str().as_bytes(),
        &ts.as_millis().to_le_bytes(),
        // Adding 0 turns -0 into 0: databases do not keep them apart.
        &(value + 0.0).to_bits().to_le_bytes(),
    ];
    for byte in parts.into_iter().flatten() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// A dead letter with its position.
pub type DeadLetter = Paged<Rejection>;
/// A device event with its position.
pub type EventRecord = Paged<DeviceEvent>;

/// The port. Every call is one transaction: done whole when it returns `Ok`, not at all otherwise (a lost
/// connection excepted, where the outcome is unknown and the call may be repeated: all are idempotent).
#[async_trait]
pub trait Store: Send + Sync {
    // The pipeline's side.

    /// Stores a batch.
    async fn commit_batch(&self, batch: CommitBatch) -> Result<CommitReceipt, StoreError>;
    /// Every device's newest checkpoint.
    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, StoreError>;
    /// Rows of `device` later than `after` (all when `None`), oldest first, at most `limit`.
    async fn rows_after(
        &self,
        device: &DeviceId,
        after: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError>;

    // Registry.

    /// Adds assets; those with a known id are replaced (except `registered_at`).
    async fn register_assets(&self, assets: Vec<Asset>) -> Result<(), StoreError>;
    /// All assets, by id.
    async fn assets(&self) -> Result<Vec<Asset>, StoreError>;
    /// The asset of that id.
    async fn asset(&self, id: &AssetId) -> Result<Option<Asset>, StoreError>;
    /// Newest connection state of every device.
    async fn statuses(&self) -> Result<Vec<DeviceStatus>, StoreError>;
    /// Adds or replaces a credential.
    async fn put_credential(&self, credential: Credential) -> Result<(), StoreError>;
    /// All credentials.
    async fn credentials(&self) -> Result<Vec<Credential>, StoreError>;
    /// A setting kept with the data.
    async fn setting(&self, key: &str) -> Result<Option<String>, StoreError>;
    /// Writes a setting.
    async fn put_setting(&self, key: &str, value: &str) -> Result<(), StoreError>;
    /// Adds a maintenance window; the same one twice is one.
    async fn put_maintenance_window(&self, window: MaintenanceWindow) -> Result<(), StoreError>;
    /// Windows that end after `after`.
    async fn maintenance_windows(
        &self,
        after: Timestamp,
    ) -> Result<Vec<MaintenanceWindow>, StoreError>;

    // Master data.

    /// Stores changes of records. The rules are those of `registry::plan`, judged inside the transaction with no
    /// other writer of records beside it: references between records hold, always. Done again it changes nothing,
    /// unless the caller names versions.
    async fn commit_records(&self, commit: RecordCommit) -> Result<RecordsOutcome, StoreError>;
    /// One record, deleted ones included.
    async fn record(&self, record: &RecordRef) -> Result<Option<StoredRecord>, StoreError>;
    /// Records of a kind that are there, by id.
    async fn records(
        &self,
        kind: RecordKind,
        filter: &RecordFilter,
        page: &RecordPage,
    ) -> Result<Vec<StoredRecord>, StoreError>;
    /// Versions of one record, newest first; the position is the version.
    async fn record_history(
        &self,
        record: &RecordRef,
        page: PageRequest,
    ) -> Result<Vec<Paged<RecordVersion>>, StoreError>;
    /// Versions of all records that were written after the position `after`, oldest first: what a CRM reads to follow.
    /// None is passed over, whatever is written at the same time.
    async fn record_changes(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Paged<RecordVersion>>, StoreError>;
    /// Takes a person out of a record and of every version in its history; the record, as it is after.
    /// [`StoreError::NotFound`] where none of them names the person.
    async fn erase_person(&self, erasure: Erasure) -> Result<StoredRecord, StoreError>;

    // The care desk's side.

    /// The oldest tasks, in order.
    async fn next_tasks(&self, limit: usize) -> Result<Vec<(TaskId, CareTask)>, StoreError>;
    /// Stores one step of the care desk.
    async fn commit_care(&self, commit: CareCommit) -> Result<CareOutcome, StoreError>;
    /// The outcome of the step that was stored under this key, if there was one.
    async fn outcome(&self, idempotency_key: &str) -> Result<Option<CareOutcome>, StoreError>;
    /// Moves stock, as `care::stock::plan_move` says. [`StoreError::Conflict`] where stock, holds or a key used for
    /// something else forbid it, [`StoreError::NotFound`] for a part, place or ticket that is not known.
    async fn move_stock(&self, command: StockCommand) -> Result<StockOutcome, StoreError>;
    /// Enters an order at a supplier, or changes the one of that id. What has arrived of it is counted by receipts that
    /// name it, whatever `received` says.
    async fn put_purchase_order(&self, order: PurchaseOrder) -> Result<PurchaseOrder, StoreError>;
    /// Orders, by the time they are due, then by id; at most [`ORDERS_MAX`](crate::ORDERS_MAX). `open_only`: only those
    /// of which something is still to come.
    async fn purchase_orders(&self, open_only: bool) -> Result<Vec<PurchaseOrder>, StoreError>;
    /// Every part at every depot of the catalogue, and at every other place where some was ever booked. In the
    /// catalogue's order; the other places after its depots, by name.
    async fn stock(&self) -> Result<Vec<StockItem>, StoreError>;
    /// Where pieces of parts that are tracked are, by part, serial number, batch and place; at most
    /// [`UNITS_MAX`](crate::UNITS_MAX).
    async fn units(&self, filter: &UnitFilter) -> Result<Vec<UnitAt>, StoreError>;
    /// The stock ledger, newest first.
    async fn ledger(&self, page: PageRequest) -> Result<Vec<Paged<LedgerEntry>>, StoreError>;
    /// Lines of the stock ledger that name a ticket, oldest first.
    async fn ledger_of(&self, ticket: TicketId) -> Result<Vec<LedgerEntry>, StoreError>;
    /// Tickets, newest first.
    async fn tickets(
        &self,
        filter: &TicketFilter,
        page: PageRequest,
    ) -> Result<Vec<Paged<Ticket>>, StoreError>;
    /// One ticket.
    async fn ticket(&self, id: TicketId) -> Result<Ticket, StoreError>;
    /// Entries of a ticket, newest first.
    async fn ticket_entries(
        &self,
        ticket: TicketId,
        page: PageRequest,
    ) -> Result<Vec<Paged<TicketEntry>>, StoreError>;
    /// Entries of all tickets, newest first, each with its ticket.
    async fn entries(
        &self,
        page: PageRequest,
    ) -> Result<Vec<Paged<(TicketId, TicketEntry)>>, StoreError>;
    /// Minutes that people booked, by ticket; tickets without any are left out. In no order.
    async fn minutes_booked(&self) -> Result<Vec<(TicketId, u64)>, StoreError>;
    /// The file of the entry at `position` of a ticket. [`StoreError::NotFound`] where that has none.
    async fn attachment(
        &self,
        ticket: TicketId,
        position: i64,
    ) -> Result<(TicketEntry, Vec<u8>), StoreError>;
    /// Keeps a file that records refer to; one with the same content again changes nothing. [`StoreError::Conflict`] where
    /// there would be more than [`FILES_MAX`](crate::FILES_MAX), or all together would have more than
    /// [`FILES_BYTES_MAX`](crate::FILES_BYTES_MAX).
    async fn put_file(&self, file: StoredFile) -> Result<(), StoreError>;
    /// All files, by SHA-256.
    async fn files(&self) -> Result<Vec<FileInfo>, StoreError>;
    /// The file of that SHA-256.
    async fn file(&self, sha256: &str) -> Result<Option<StoredFile>, StoreError>;
    /// Removes a file; false: it is not there.
    async fn remove_file(&self, sha256: &str) -> Result<bool, StoreError>;
    /// Reservations, newest first.
    async fn reservations(
        &self,
        filter: &ReservationFilter,
        page: PageRequest,
    ) -> Result<Vec<Paged<Reservation>>, StoreError>;
    /// Verdicts, newest first.
    async fn labels(&self, page: PageRequest) -> Result<Vec<Paged<Label>>, StoreError>;
    /// Decisions, of one device or all, newest first.
    async fn decisions(
        &self,
        device: Option<&DeviceId>,
        page: PageRequest,
    ) -> Result<Vec<Paged<Decision>>, StoreError>;

    // The outbox. Notices are written by `commit_care`, as `care::notices_of` and `care::parts_short` say, and those it is
    // given.

    /// Notices that are kept, newest first.
    async fn notices(&self, page: PageRequest) -> Result<Vec<Paged<Notice>>, StoreError>;
    /// Notices that nobody has been chosen for yet, oldest first.
    async fn unrouted_notices(&self, limit: usize) -> Result<Vec<Notice>, StoreError>;
    /// Chooses who gets a notice: the first [`DELIVERIES_PER_NOTICE_MAX`](crate::DELIVERIES_PER_NOTICE_MAX) of
    /// `deliveries`, two of the same channel and address being one. False, and nothing done, where that was done before.
    async fn route_notice(
        &self,
        id: &NoticeId,
        deliveries: Vec<NewDelivery>,
        at: Timestamp,
    ) -> Result<bool, StoreError>;
    /// Waiting deliveries that are due at `at`, the longest due first.
    async fn due_deliveries(
        &self,
        at: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError>;
    /// Records what came of attempts, all at once; those on deliveries that have changed since are left out. Returns
    /// how many counted.
    async fn record_attempts(
        &self,
        attempts: Vec<Attempt>,
        at: Timestamp,
    ) -> Result<usize, StoreError>;
    /// Brings a dead letter back, as if it had never been tried. [`StoreError::Conflict`] where it is not dead.
    async fn retry_delivery(&self, id: DeliveryId, at: Timestamp) -> Result<Delivery, StoreError>;
    /// Deliveries, newest first.
    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        page: PageRequest,
    ) -> Result<Vec<Paged<Delivery>>, StoreError>;
    /// One delivery.
    async fn delivery(&self, id: DeliveryId) -> Result<Delivery, StoreError>;
    /// How full the outbox is.
    async fn outbox_depth(&self) -> Result<OutboxDepth, StoreError>;

    // What customers say.

    /// Keeps an answer; the newest of a ticket counts, the others are its history. [`StoreError::NotFound`] without
    /// such a ticket, [`StoreError::Conflict`] beyond [`SURVEY_ANSWERS_MAX`](crate::SURVEY_ANSWERS_MAX).
    async fn put_survey_answer(&self, answer: SurveyAnswer) -> Result<(), StoreError>;
    /// Answers on one ticket, or the one that counts of every ticket; newest first.
    async fn survey_answers(
        &self,
        ticket: Option<TicketId>,
        page: PageRequest,
    ) -> Result<Vec<Paged<SurveyAnswer>>, StoreError>;

    // Messages that came by e-mail and belong nowhere yet.

    /// Keeps a message, and tells of it with its notice; one with the same message id again changes nothing. As it is
    /// stored. [`StoreError::Conflict`] where there is no room.
    async fn put_mail(&self, mail: NewMail) -> Result<Paged<InboxMail>, StoreError>;
    /// Messages, newest first; `waiting_only`: of which nobody has said what becomes of them.
    async fn mails(
        &self,
        waiting_only: bool,
        page: PageRequest,
    ) -> Result<Vec<Paged<InboxMail>>, StoreError>;
    /// One message, and as it came where it still waits and was kept so.
    async fn mail(&self, position: i64) -> Result<(InboxMail, Option<Vec<u8>>), StoreError>;
    /// Says what becomes of a message; how it came is forgotten. The same again changes nothing,
    /// [`StoreError::Conflict`] where something else was said before.
    async fn settle_mail(&self, position: i64, fate: MailFate) -> Result<InboxMail, StoreError>;

    // What people ask.

    /// Alarm episodes, newest first.
    async fn alarms(
        &self,
        filter: &AlarmFilter,
        page: PageRequest,
    ) -> Result<Vec<Paged<Alarm>>, StoreError>;
    /// One episode.
    async fn alarm(&self, id: &AlarmId) -> Result<Alarm, StoreError>;
    /// Marks an episode as seen; returns it.
    async fn acknowledge_alarm(
        &self,
        id: &AlarmId,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Alarm, StoreError>;
    /// State of health of every device that was scored.
    async fn health(&self) -> Result<Vec<AssetHealth>, StoreError>;
    /// State of health of `device`, where it was scored.
    async fn health_of(&self, device: &DeviceId) -> Result<Option<AssetHealth>, StoreError>;
    /// The newest row, by its own time, of every registered asset's device that has any; by device.
    async fn latest(&self) -> Result<Vec<LatestRow>, StoreError>;
    /// Telemetry, down-sampled. [`StoreError::Conflict`] where that would read more than
    /// [`RANGE_ROWS_MAX`](crate::RANGE_ROWS_MAX) rows.
    async fn telemetry(&self, query: &TelemetryQuery) -> Result<Vec<Series>, StoreError>;
    /// Time of the newest reading of `device`.
    async fn newest_reading(&self, device: &DeviceId) -> Result<Option<Timestamp>, StoreError>;
    /// Events of one device or all, newest first.
    async fn events(
        &self,
        device: Option<&DeviceId>,
        page: PageRequest,
    ) -> Result<Vec<EventRecord>, StoreError>;
    /// Refused messages, of one reason or all, newest first.
    async fn dead_letters(
        &self,
        reason: Option<RejectReason>,
        page: PageRequest,
    ) -> Result<Vec<DeadLetter>, StoreError>;
    /// Number of refused messages ever, by reason.
    async fn rejection_counts(&self) -> Result<Vec<(RejectReason, u64)>, StoreError>;
    /// Conflicting readings, newest first.
    async fn conflicts(&self, page: PageRequest) -> Result<Vec<Paged<Conflict>>, StoreError>;
    /// Fingerprint of the stored readings of `device`.
    async fn fingerprint(&self, device: &DeviceId) -> Result<Fingerprint, StoreError>;
}
