#![doc = include_str!("../README.md")]

mod port;

pub use port::{
    AlarmFilter, Bucket, CareCommit, CareOutcome, Checkpoint, CommitBatch, CommitReceipt, Conflict, Credential,
    CredentialRole, DeadLetter, EventRecord, Fingerprint, LedgerEntry, MaintenanceWindow, NewTask, PageRequest,
    Paged, ReservationFilter, ReservationWrite, ScoredRow, Series, StockCommand, StockItem, StockMove, Store,
    StoreError, TelemetryQuery, TicketFilter, TicketWrite, reading_hash,
};
