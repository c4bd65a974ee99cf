//! The adapter: each call of the port is one job on the writing thread or one read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use forecare_catalogue::Catalogue;
use forecare_domain::{
    Actor, Alarm, AlarmId, Asset, AssetHealth, AssetId, CareTask, Decision, DeliveryId, DeviceId,
    DeviceStatus, InboxMail, Label, MailFate, Notice, NoticeId, PurchaseOrder, RejectReason,
    Reservation, Row, SurveyAnswer, TaskId, Ticket, TicketEntry, TicketId, Timestamp, UnitAt,
};
use forecare_registry::{RecordKind, RecordRef};
use forecare_store::{
    AlarmFilter, Attempt, CareCommit, CareOutcome, Checkpoint, CommitBatch, CommitReceipt,
    Conflict, Credential, DeadLetter, Delivery, DeliveryFilter, Erasure, EventRecord, FileInfo,
    Fingerprint, LatestRow, LedgerEntry, MaintenanceWindow, NewDelivery, NewMail, OutboxDepth,
    PageRequest, Paged, RANGE_ROWS_MAX, RecordCommit, RecordFilter, RecordPage, RecordVersion,
    RecordsOutcome, ReservationFilter, Series, StockCommand, StockItem, StockOutcome, Store,
    StoreError, StoredFile, StoredRecord, TelemetryQuery, TicketFilter, UnitFilter,
};
use rusqlite::params;

pub use crate::connection::Durability;
use crate::connection::{Pool, Writer, open_for_reading, open_for_writing};
use crate::fault::{Outcome, unreadable};
use crate::ingest::Known;
use crate::layout::Layout;
use crate::{
    desk, files, history, ingest, mails, migrate, outbox, query, records, registry, stock,
};

/// Name of the database file in a data directory.
const FILE_NAME: &str = "forecare.sqlite";

/// The port on a SQLite file.
pub struct SqliteStore {
    pub(crate) pool: Pool,
    catalogue: Arc<Catalogue>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore")
            .field("file", &self.pool.file())
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the database, making it where there is none: `path` is a directory (the file in it is
    /// `forecare.sqlite`) or the file itself (it has an extension). Brings the schema up to date, makes
    /// room for what is new in `catalogue`, and books its initial stock at `now`.
    ///
    /// Commits are [`Durability::PowerLoss`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] for a place that cannot be written, [`StoreError::Corrupt`] for a file
    /// that is damaged, foreign, or written by a newer version; the text says what to do.
    pub fn open(path: &Path, catalogue: &Catalogue, now: Timestamp) -> Result<Self, StoreError> {
        Self::open_with(path, catalogue, now, Durability::default())
    }

    /// As [`SqliteStore::open`], with a choice of what a commit survives.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn open_with(
        path: &Path,
        catalogue: &Catalogue,
        now: Timestamp,
        durability: Durability,
    ) -> Result<Self, StoreError> {
        let file = file_of(path)?;
        let catalogue = Arc::new(catalogue.clone());
        let writer = prepare(&file, &catalogue, now, durability)
            .map_err(|fault| fault.at(&file, "opening the database"))?;
        Ok(Self {
            pool: Pool::start(file, writer)?,
            catalogue,
        })
    }

    /// The database file.
    #[must_use]
    pub fn file(&self) -> &Path {
        self.pool.file()
    }

    /// Finishes the queued writes and moves the write-ahead log into the file, so that the file alone is
    /// the whole database. Calls after it fail. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the disk fails; nothing acknowledged is lost, the log stays beside
    /// the file.
    pub fn close(&self) -> Result<(), StoreError> {
        let Some(writer) = self.pool.stop() else {
            return Ok(());
        };
        let moved = writer
            .conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        moved.map_err(|e| crate::fault::Fault::from(e).at(self.pool.file(), "closing the database"))
    }

    /// Checks the schema, every page and index of a file, and that stock equals its ledger. Changes nothing, also
    /// beside a running service; reads the whole file. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] names the first finding, [`StoreError::Unavailable`] a file that cannot be read.
    pub fn check(file: &Path) -> Result<(), StoreError> {
        let checking = || {
            let conn = open_for_reading(file)?;
            migrate::check(&conn)?;
            let finding: String = conn.query_row("PRAGMA integrity_check(1)", [], |r| r.get(0))?;
            if finding != "ok" {
                return Err(unreadable(finding));
            }
            let off: i64 = conn.query_row(
                "SELECT count(*) FROM stock WHERE on_hand <> (
                     SELECT coalesce(sum(delta), 0) FROM ledger
                     WHERE ledger.part = stock.part AND ledger.depot = stock.depot)",
                [],
                |r| r.get(0),
            )?;
            if off > 0 {
                return Err(unreadable(format!(
                    "{off} stock items differ from their ledger"
                )));
            }
            if let Some(finding) = stock::imbalance(&conn)? {
                return Err(unreadable(finding));
            }
            Outcome::Ok(())
        };
        checking().map_err(|fault| fault.at(file, "checking the database"))
    }

    /// Looks whether what records say still holds: references, their own rules, and the names of `catalogue`. The first
    /// twenty findings, in words. Changes nothing, also beside a running service. Blocks.
    ///
    /// # Errors
    /// As [`SqliteStore::check`].
    pub fn check_records(file: &Path, catalogue: &Catalogue) -> Result<Vec<String>, StoreError> {
        let checking = || records::check(&open_for_reading(file)?, catalogue);
        checking().map_err(|fault| fault.at(file, "checking master data"))
    }

    /// The first thousand records of a kind, also beside a running service. Changes nothing. Blocks.
    ///
    /// # Errors
    /// As [`SqliteStore::check`].
    pub fn read_records(file: &Path, kind: RecordKind) -> Result<Vec<StoredRecord>, StoreError> {
        let page = RecordPage {
            after: None,
            limit: 1_000,
        };
        let reading = || {
            records::list(
                &open_for_reading(file)?,
                kind,
                &RecordFilter::default(),
                &page,
            )
        };
        reading().map_err(|fault| fault.at(file, "reading master data"))
    }

    async fn write<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&rusqlite::Connection, &Layout, &Catalogue, &mut Known) -> Outcome<T>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        self.pool
            .write(what, |writer| writer.transaction(work))
            .await
    }
}

fn file_of(path: &Path) -> Result<PathBuf, StoreError> {
    let is_directory = path.is_dir() || (path.extension().is_none() && !path.is_file());
    let (directory, file) = if is_directory {
        (Some(path), path.join(FILE_NAME))
    } else {
        (
            path.parent().filter(|p| !p.as_os_str().is_empty()),
            path.to_owned(),
        )
    };
    if let Some(directory) = directory {
        std::fs::create_dir_all(directory).map_err(|e| StoreError::Unavailable {
            what: format!(
                "the data directory {} cannot be made; choose another one, or let this user write there",
                directory.display()
            ),
            source: Some(Box::new(e)),
        })?;
    }
    Ok(file)
}

fn prepare(
    file: &Path,
    catalogue: &Catalogue,
    now: Timestamp,
    durability: Durability,
) -> Outcome<Writer> {
    let mut conn = open_for_writing(file, durability)?;
    migrate::migrate(&mut conn, now)?;
    let layout = Arc::new(Layout::ensure(&mut conn, catalogue)?);
    let mut writer = Writer {
        conn,
        layout,
        catalogue: catalogue.clone(),
        known: Known::default(),
    };
    writer.transaction(|conn, _, catalogue, _| stock::book_initial(conn, catalogue, now))?;
    Ok(writer)
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit_batch(&self, batch: CommitBatch) -> Result<CommitReceipt, StoreError> {
        let work = move |conn: &_, layout: &_, _: &_, known: &mut _| {
            ingest::commit_batch(conn, layout, known, &batch)
        };
        self.write("commit_batch", work).await
    }

    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, StoreError> {
        self.pool
            .read("checkpoints", |conn, _| query::checkpoints(conn))
            .await
    }

    async fn rows_after(
        &self,
        device: &DeviceId,
        after: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let device = device.clone();
        let work =
            move |conn: &_, layout: &_| history::rows_after(conn, layout, &device, after, limit);
        self.pool.read("rows_after", work).await
    }

    async fn register_assets(&self, assets: Vec<Asset>) -> Result<(), StoreError> {
        self.write("register_assets", move |conn, layout, _, known| {
            known.forget();
            registry::register_assets(conn, layout, &assets)
        })
        .await
    }

    async fn assets(&self) -> Result<Vec<Asset>, StoreError> {
        self.pool
            .read("assets", |conn, _| registry::assets(conn))
            .await
    }

    async fn asset(&self, id: &AssetId) -> Result<Option<Asset>, StoreError> {
        let id = id.clone();
        self.pool
            .read("asset", move |conn, _| registry::asset(conn, &id))
            .await
    }

    async fn statuses(&self) -> Result<Vec<DeviceStatus>, StoreError> {
        self.pool
            .read("statuses", |conn, _| registry::statuses(conn))
            .await
    }

    async fn put_credential(&self, credential: Credential) -> Result<(), StoreError> {
        let work =
            move |conn: &_, _: &_, _: &_, _: &mut _| registry::put_credential(conn, &credential);
        self.write("put_credential", work).await
    }

    async fn credentials(&self) -> Result<Vec<Credential>, StoreError> {
        self.pool
            .read("credentials", |conn, _| registry::credentials(conn))
            .await
    }

    async fn setting(&self, key: &str) -> Result<Option<String>, StoreError> {
        let key = key.to_owned();
        self.pool
            .read("setting", move |conn, _| registry::setting(conn, &key))
            .await
    }

    async fn put_setting(&self, key: &str, value: &str) -> Result<(), StoreError> {
        let (key, value) = (key.to_owned(), value.to_owned());
        let work =
            move |conn: &_, _: &_, _: &_, _: &mut _| registry::put_setting(conn, &key, &value);
        self.write("put_setting", work).await
    }

    async fn put_maintenance_window(&self, window: MaintenanceWindow) -> Result<(), StoreError> {
        let work = move |conn: &_, _: &_, _: &_, _: &mut _| registry::put_window(conn, &window);
        self.write("put_maintenance_window", work).await
    }

    async fn maintenance_windows(
        &self,
        after: Timestamp,
    ) -> Result<Vec<MaintenanceWindow>, StoreError> {
        self.pool
            .read("maintenance_windows", move |conn, _| {
                registry::windows(conn, after)
            })
            .await
    }

    async fn commit_records(&self, commit: RecordCommit) -> Result<RecordsOutcome, StoreError> {
        let work = move |conn: &_, _: &_, catalogue: &_, _: &mut _| {
            records::commit(conn, catalogue, &commit)
        };
        self.write("commit_records", work).await
    }

    async fn record(&self, record: &RecordRef) -> Result<Option<StoredRecord>, StoreError> {
        let record = record.clone();
        self.pool
            .read("record", move |conn, _| records::get(conn, &record))
            .await
    }

    async fn records(
        &self,
        kind: RecordKind,
        filter: &RecordFilter,
        page: &RecordPage,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let (filter, page) = (filter.clone(), page.clone());
        self.pool
            .read("records", move |conn, _| {
                records::list(conn, kind, &filter, &page)
            })
            .await
    }

    async fn record_history(
        &self,
        record: &RecordRef,
        page: PageRequest,
    ) -> Result<Vec<Paged<RecordVersion>>, StoreError> {
        let record = record.clone();
        self.pool
            .read("record_history", move |conn, _| {
                records::history(conn, &record, page)
            })
            .await
    }

    async fn record_changes(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Paged<RecordVersion>>, StoreError> {
        self.pool
            .read("record_changes", move |conn, _| {
                records::changes(conn, after, limit)
            })
            .await
    }

    async fn erase_person(&self, erasure: Erasure) -> Result<StoredRecord, StoreError> {
        let work = move |conn: &_, _: &_, _: &_, _: &mut _| records::erase_person(conn, &erasure);
        self.write("erase_person", work).await
    }

    async fn next_tasks(&self, limit: usize) -> Result<Vec<(TaskId, CareTask)>, StoreError> {
        self.pool
            .read("next_tasks", move |conn, _| query::next_tasks(conn, limit))
            .await
    }

    async fn outcome(&self, idempotency_key: &str) -> Result<Option<CareOutcome>, StoreError> {
        let key = idempotency_key.to_owned();
        self.pool
            .read("outcome", move |conn, _| desk::first_outcome(conn, &key))
            .await
    }

    async fn commit_care(&self, commit: CareCommit) -> Result<CareOutcome, StoreError> {
        let work = move |conn: &_, _: &_, catalogue: &_, _: &mut _| {
            desk::commit_care(conn, catalogue, &commit)
        };
        self.write("commit_care", work).await
    }

    async fn move_stock(&self, command: StockCommand) -> Result<StockOutcome, StoreError> {
        let work = move |conn: &_, _: &_, catalogue: &_, _: &mut _| {
            stock::move_stock(conn, catalogue, &command)
        };
        self.write("move_stock", work).await
    }

    async fn put_purchase_order(&self, order: PurchaseOrder) -> Result<PurchaseOrder, StoreError> {
        let work = move |conn: &_, _: &_, catalogue: &_, _: &mut _| {
            stock::put_order(conn, catalogue, order)
        };
        self.write("put_purchase_order", work).await
    }

    async fn purchase_orders(&self, open_only: bool) -> Result<Vec<PurchaseOrder>, StoreError> {
        self.pool
            .read("purchase_orders", move |conn, _| {
                stock::orders(conn, open_only)
            })
            .await
    }

    async fn units(&self, filter: &UnitFilter) -> Result<Vec<UnitAt>, StoreError> {
        let filter = filter.clone();
        self.pool
            .read("units", move |conn, _| stock::units(conn, &filter))
            .await
    }

    async fn stock(&self) -> Result<Vec<StockItem>, StoreError> {
        let catalogue = Arc::clone(&self.catalogue);
        self.pool
            .read("stock", move |conn, _| stock::stock(conn, &catalogue))
            .await
    }

    async fn ledger(&self, page: PageRequest) -> Result<Vec<Paged<LedgerEntry>>, StoreError> {
        self.pool
            .read("ledger", move |conn, _| query::ledger(conn, page))
            .await
    }

    async fn ledger_of(&self, ticket: TicketId) -> Result<Vec<LedgerEntry>, StoreError> {
        self.pool
            .read("ledger of a ticket", move |conn, _| {
                query::ledger_of(conn, ticket)
            })
            .await
    }

    async fn tickets(
        &self,
        filter: &TicketFilter,
        page: PageRequest,
    ) -> Result<Vec<Paged<Ticket>>, StoreError> {
        let filter = filter.clone();
        self.pool
            .read("tickets", move |conn, _| {
                query::tickets(conn, &filter, page)
            })
            .await
    }

    async fn ticket(&self, id: TicketId) -> Result<Ticket, StoreError> {
        self.pool
            .read("ticket", move |conn, _| query::ticket(conn, id))
            .await
    }

    async fn reservations(
        &self,
        filter: &ReservationFilter,
        page: PageRequest,
    ) -> Result<Vec<Paged<Reservation>>, StoreError> {
        let filter = filter.clone();
        self.pool
            .read("reservations", move |conn, _| {
                query::reservations(conn, &filter, page)
            })
            .await
    }

    async fn ticket_entries(
        &self,
        ticket: TicketId,
        page: PageRequest,
    ) -> Result<Vec<Paged<TicketEntry>>, StoreError> {
        self.pool
            .read("ticket entries", move |conn, _| {
                query::ticket_entries(conn, ticket, page)
            })
            .await
    }

    async fn put_mail(&self, mail: NewMail) -> Result<Paged<InboxMail>, StoreError> {
        let work = move |conn: &_, _: &_, _: &_, _: &mut _| mails::put(conn, &mail);
        self.write("put_mail", work).await
    }

    async fn mails(
        &self,
        waiting_only: bool,
        page: PageRequest,
    ) -> Result<Vec<Paged<InboxMail>>, StoreError> {
        self.pool
            .read("mails", move |conn, _| mails::all(conn, waiting_only, page))
            .await
    }

    async fn mail(&self, position: i64) -> Result<(InboxMail, Option<Vec<u8>>), StoreError> {
        self.pool
            .read("mail", move |conn, _| mails::get(conn, position))
            .await
    }

    async fn settle_mail(&self, position: i64, fate: MailFate) -> Result<InboxMail, StoreError> {
        let work =
            move |conn: &_, _: &_, _: &_, _: &mut _| mails::settle(conn, position, fate.clone());
        self.write("settle_mail", work).await
    }

    async fn put_file(&self, file: StoredFile) -> Result<(), StoreError> {
        let work = move |conn: &_, _: &_, _: &_, _: &mut _| files::put(conn, &file);
        self.write("put_file", work).await
    }

    async fn files(&self) -> Result<Vec<FileInfo>, StoreError> {
        self.pool.read("files", |conn, _| files::all(conn)).await
    }

    async fn file(&self, sha256: &str) -> Result<Option<StoredFile>, StoreError> {
        let sha256 = sha256.to_owned();
        self.pool
            .read("file", move |conn, _| files::get(conn, &sha256))
            .await
    }

    async fn remove_file(&self, sha256: &str) -> Result<bool, StoreError> {
        let sha256 = sha256.to_owned();
        let work = move |conn: &_, _: &_, _: &_, _: &mut _| files::remove(conn, &sha256);
        self.write("remove_file", work).await
    }

    async fn entries(
        &self,
        page: PageRequest,
    ) -> Result<Vec<Paged<(TicketId, TicketEntry)>>, StoreError> {
        self.pool
            .read("entries", move |conn, _| query::entries(conn, page))
            .await
    }

    async fn minutes_booked(&self) -> Result<Vec<(TicketId, u64)>, StoreError> {
        self.pool
            .read("minutes booked", |conn, _| query::minutes_booked(conn))
            .await
    }

    async fn attachment(
        &self,
        ticket: TicketId,
        position: i64,
    ) -> Result<(TicketEntry, Vec<u8>), StoreError> {
        self.pool
            .read("attachment", move |conn, _| {
                query::attachment(conn, ticket, position)
            })
            .await
    }

    async fn labels(&self, page: PageRequest) -> Result<Vec<Paged<Label>>, StoreError> {
        self.pool
            .read("labels", move |conn, _| query::labels(conn, page))
            .await
    }

    async fn decisions(
        &self,
        device: Option<&DeviceId>,
        page: PageRequest,
    ) -> Result<Vec<Paged<Decision>>, StoreError> {
        let device = device.cloned();
        self.pool
            .read("decisions", move |conn, _| {
                query::decisions(conn, device.as_ref(), page)
            })
            .await
    }

    async fn notices(&self, page: PageRequest) -> Result<Vec<Paged<Notice>>, StoreError> {
        self.pool
            .read("notices", move |conn, _| outbox::kept(conn, page))
            .await
    }

    async fn unrouted_notices(&self, limit: usize) -> Result<Vec<Notice>, StoreError> {
        self.pool
            .read("unrouted_notices", move |conn, _| {
                outbox::unrouted(conn, limit)
            })
            .await
    }

    async fn route_notice(
        &self,
        id: &NoticeId,
        deliveries: Vec<NewDelivery>,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let id = id.clone();
        let work =
            move |conn: &_, _: &_, _: &_, _: &mut _| outbox::route(conn, &id, &deliveries, at);
        self.write("route_notice", work).await
    }

    async fn due_deliveries(
        &self,
        at: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        self.pool
            .read("due_deliveries", move |conn, _| {
                outbox::due(conn, at, limit)
            })
            .await
    }

    async fn record_attempts(
        &self,
        attempts: Vec<Attempt>,
        at: Timestamp,
    ) -> Result<usize, StoreError> {
        let work = move |conn: &_, _: &_, _: &_, _: &mut _| outbox::record(conn, &attempts, at);
        self.write("record_attempts", work).await
    }

    async fn retry_delivery(&self, id: DeliveryId, at: Timestamp) -> Result<Delivery, StoreError> {
        let work = move |conn: &_, _: &_, _: &_, _: &mut _| outbox::retry(conn, id, at);
        self.write("retry_delivery", work).await
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        page: PageRequest,
    ) -> Result<Vec<Paged<Delivery>>, StoreError> {
        let filter = filter.clone();
        self.pool
            .read("deliveries", move |conn, _| {
                outbox::deliveries(conn, &filter, page)
            })
            .await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Delivery, StoreError> {
        self.pool
            .read("delivery", move |conn, _| outbox::delivery(conn, id))
            .await
    }

    async fn outbox_depth(&self) -> Result<OutboxDepth, StoreError> {
        self.pool
            .read("outbox_depth", |conn, _| outbox::depth(conn))
            .await
    }

    async fn put_survey_answer(&self, answer: SurveyAnswer) -> Result<(), StoreError> {
        let work = move |conn: &_, _: &_, _: &_, _: &mut _| outbox::put_answer(conn, &answer);
        self.write("put_survey_answer", work).await
    }

    async fn survey_answers(
        &self,
        ticket: Option<TicketId>,
        page: PageRequest,
    ) -> Result<Vec<Paged<SurveyAnswer>>, StoreError> {
        self.pool
            .read("survey_answers", move |conn, _| {
                outbox::answers(conn, ticket, page)
            })
            .await
    }

    async fn alarms(
        &self,
        filter: &AlarmFilter,
        page: PageRequest,
    ) -> Result<Vec<Paged<Alarm>>, StoreError> {
        let filter = filter.clone();
        self.pool
            .read("alarms", move |conn, _| query::alarms(conn, &filter, page))
            .await
    }

    async fn alarm(&self, id: &AlarmId) -> Result<Alarm, StoreError> {
        let id = id.clone();
        self.pool
            .read("alarm", move |conn, _| query::alarm(conn, &id))
            .await
    }

    async fn acknowledge_alarm(
        &self,
        id: &AlarmId,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Alarm, StoreError> {
        let (id, by) = (id.clone(), by.name.clone());
        self.write("acknowledge_alarm", move |conn, _, _, _| {
            // The first to see it stays on record.
            conn.execute(
                "UPDATE alarms SET acknowledged_by = ?2, acknowledged_at = ?3 WHERE id = ?1 AND acknowledged_at IS NULL",
                params![id.0, by, at.as_millis()],
            )?;
            query::alarm(conn, &id)
        })
        .await
    }

    async fn health(&self) -> Result<Vec<AssetHealth>, StoreError> {
        self.pool
            .read("health", |conn, _| query::health(conn))
            .await
    }

    async fn health_of(&self, device: &DeviceId) -> Result<Option<AssetHealth>, StoreError> {
        let device = device.clone();
        self.pool
            .read("health_of", move |conn, _| query::health_of(conn, &device))
            .await
    }

    async fn latest(&self) -> Result<Vec<LatestRow>, StoreError> {
        self.pool.read("latest", history::latest).await
    }

    async fn telemetry(&self, query: &TelemetryQuery) -> Result<Vec<Series>, StoreError> {
        let query = query.clone();
        self.pool
            .read("telemetry", move |conn, layout| {
                history::telemetry(conn, layout, &query, RANGE_ROWS_MAX)
            })
            .await
    }

    async fn newest_reading(&self, device: &DeviceId) -> Result<Option<Timestamp>, StoreError> {
        let device = device.clone();
        self.pool
            .read("newest_reading", move |conn, layout| {
                history::newest(conn, layout, &device)
            })
            .await
    }

    async fn events(
        &self,
        device: Option<&DeviceId>,
        page: PageRequest,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let device = device.cloned();
        self.pool
            .read("events", move |conn, _| {
                query::events(conn, device.as_ref(), page)
            })
            .await
    }

    async fn dead_letters(
        &self,
        reason: Option<RejectReason>,
        page: PageRequest,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.pool
            .read("dead_letters", move |conn, _| {
                query::dead_letters(conn, reason, page)
            })
            .await
    }

    async fn rejection_counts(&self) -> Result<Vec<(RejectReason, u64)>, StoreError> {
        self.pool
            .read("rejection_counts", |conn, _| query::rejection_counts(conn))
            .await
    }

    async fn conflicts(&self, page: PageRequest) -> Result<Vec<Paged<Conflict>>, StoreError> {
        self.pool
            .read("conflicts", move |conn, _| query::conflicts(conn, page))
            .await
    }

    async fn fingerprint(&self, device: &DeviceId) -> Result<Fingerprint, StoreError> {
        let device = device.clone();
        self.pool
            .read("fingerprint", move |conn, layout| {
                history::fingerprint(conn, layout, &device)
            })
            .await
    }
}
