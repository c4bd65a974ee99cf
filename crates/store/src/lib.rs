#![doc = include_str!("../README.md")]

mod agreed;
#[cfg(feature = "conformance")]
pub mod conformance;
mod files;
mod mails;
mod memory;
mod outbox;
mod pages;
mod port;
mod records;

pub use agreed::{
    CONFLICTS_KEPT, DEAD_LETTERS_KEPT, DECISIONS_KEPT, ENTRIES_MAX, ENTRY_BYTES_MAX, EVENTS_KEPT,
    ORDERS_MAX, OUTCOMES_KEPT, PAGE_ENTRIES_MAX, POINTS_MAX, RANGE_ROWS_MAX, ROWS_MAX, UNITS_MAX,
    check_asked, check_order, check_part, check_writes, counts, drawn, forecare, initial_stock,
    is_person, marks_for, marks_named, need_of_victim, next_order, nobody_to_erase, offers,
    place_on_record, refusal, refused, served, shelf_of, stock_list, units_of_line, use_lines,
};
pub use files::{FILES_BYTES_MAX, FILES_MAX, FileInfo, StoredFile};
pub use forecare_domain::{PurchaseOrder, StockCommand, StockMove};
pub use mails::{MAILS_BYTES_MAX, MAILS_SETTLED_KEPT, MAILS_WAITING_MAX, NewMail, settled};
pub use memory::MemoryStore;
pub use outbox::{
    Attempt, DELIVERIES_PER_NOTICE_MAX, DELIVERY_ERROR_CHARS_MAX, Delivery, DeliveryFilter,
    DeliveryState, NOTICES_KEPT, NewDelivery, OutboxDepth, SURVEY_ANSWERS_MAX,
};
pub use pages::{every, newest};
pub use port::{
    AlarmFilter, Bucket, CareCommit, CareOutcome, Checkpoint, CommitBatch, CommitReceipt, Conflict,
    Credential, CredentialRole, DeadLetter, EventRecord, Fill, Fingerprint, HEALTH_METRIC,
    LatestRow, LedgerEntry, MaintenanceWindow, NewEntry, NewTask, PageRequest, Paged,
    ReservationFilter, ReservationWrite, ScoredRow, Series, StockItem, StockOutcome, Store,
    StoreError, TelemetryQuery, TicketFilter, TicketWrite, UnitFilter, reading_hash,
};
pub use records::{
    Erasure, RECORD_VERSIONS_KEPT, RECORD_WRITES_MAX, RecordCommit, RecordFilter, RecordPage,
    RecordVersion, RecordsOutcome, StoredRecord,
};
