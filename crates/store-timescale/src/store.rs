//! The adapter: each call of the port is one transaction on a connection of the pool.

use std::sync::{Arc, PoisonError, RwLock};

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
use tokio::sync::Mutex;

use crate::connection::{Access, Pool, lock_care, lock_records, lock_start};
use crate::fault::{self, Fault, Outcome};
use crate::fleet::Fleet;
use crate::ingest::Ingest;
use crate::layout::Layout;
use crate::preflight::Server;
use crate::settings::TimescaleSettings;
use crate::{
    arrivals, desk, files, history, mails, migrate, outbox, policies, query, records, registry,
    stock, views,
};

/// A read of the port: `$work` sees one state of the database through the transaction `$tx`.
macro_rules! read {
    ($store:ident, $what:literal, |$tx:ident| $work:expr) => {{
        let pool = &$store.pool;
        let reading = async {
            let mut session = pool.session().await?;
            let done = async {
                let tx = session.snapshot().await?;
                let $tx = &tx;
                let value = $work.await?;
                tx.commit().await?;
                Outcome::Ok(value)
            };
            let done = done.await;
            session.give_back(&done);
            done
        };
        pool.bounded($what, reading).await
    }};
}

/// A write of the port: all of `$work`, or nothing, with the transaction `$tx`.
macro_rules! write {
    ($store:ident, $what:literal, |$tx:ident| $work:expr) => {{
        let pool = &$store.pool;
        let writing = async {
            let mut session = pool.session().await?;
            let done = async {
                let tx = session.transaction().await?;
                let $tx = &tx;
                let value = $work.await?;
                pool.commit(tx, None).await?;
                Outcome::Ok(value)
            };
            let done = done.await;
            session.give_back(&done);
            done
        };
        pool.bounded($what, writing).await
    }};
}

/// As `write`, of what the care desk and the stock room share: one at a time.
macro_rules! write_care {
    ($store:ident, $what:literal, |$tx:ident| $work:expr) => {
        write!($store, $what, |$tx| async {
            lock_care($tx).await?;
            $work.await
        })
    };
}

/// As `write`, of master data: one at a time.
macro_rules! write_records {
    ($store:ident, $what:literal, |$tx:ident| $work:expr) => {
        write!($store, $what, |$tx| async {
            lock_records($tx).await?;
            $work.await
        })
    };
}

/// The port on TimescaleDB.
pub struct TimescaleStore {
    pub(crate) pool: Pool,
    layout: RwLock<Arc<Layout>>,
    fleet: Fleet,
    pub(crate) catalogue: Catalogue,
    ingest: Mutex<Ingest>,
    pub(crate) settings: TimescaleSettings,
}

impl std::fmt::Debug for TimescaleStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TimescaleStore")
            .field("address", &self.pool.address())
            .field("schema", &self.settings.schema)
            .finish_non_exhaustive()
    }
}

impl TimescaleStore {
    /// Connects, brings the schema up to date, makes room for what is new in `catalogue`, and books its
    /// initial stock at `now`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] for a server that cannot be reached or must not be used as it is set up,
    /// [`StoreError::Corrupt`] for a schema written by a newer version; the text says what to do.
    pub async fn open(
        settings: TimescaleSettings,
        catalogue: &Catalogue,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        settings.check()?;
        let pool = Pool::new(&settings, Access::Write)?;
        let layout = prepare(&pool, &settings, catalogue, now)
            .await
            .map_err(|fault| fault.at(pool.address(), "opening the database"))?;
        Ok(Self::of(pool, layout, catalogue, settings))
    }

    /// Connects to look, and changes nothing, whatever is new in this program or in `catalogue`. `None` where
    /// the schema has yet to be made.
    ///
    /// # Errors
    /// As [`TimescaleStore::open`].
    pub async fn open_to_examine(
        settings: TimescaleSettings,
        catalogue: &Catalogue,
    ) -> Result<Option<Self>, StoreError> {
        settings.check()?;
        let pool = Pool::new(&settings, Access::Read)?;
        let looking = async {
            let mut session = pool.session().await?;
            let server = Server::ask(&session).await?;
            server.check(settings.plain_postgres)?;
            Server::check_rights(&session, &settings.schema).await?;
            let has_timescale = server.timescale.is_some() && !settings.plain_postgres;
            let tx = session.transaction().await?;
            let layout = if migrate::is_there(&tx).await? {
                migrate::check(&tx).await?;
                Some(Layout::read(&tx, catalogue, has_timescale).await?)
            } else {
                None
            };
            tx.commit().await?;
            session.release();
            Outcome::Ok(layout)
        };
        let layout = pool.bounded("opening the database", looking).await?;
        Ok(layout.map(|layout| Self::of(pool, layout, catalogue, settings)))
    }

    fn of(pool: Pool, layout: Layout, catalogue: &Catalogue, settings: TimescaleSettings) -> Self {
        Self {
            pool,
            layout: RwLock::new(Arc::new(layout)),
            fleet: Fleet::default(),
            catalogue: catalogue.clone(),
            ingest: Mutex::default(),
            settings,
        }
    }

    /// Where readings lie, as last read.
    pub(crate) fn layout(&self) -> Arc<Layout> {
        // It is replaced as a whole, so it is whole, whoever panicked.
        let layout = self.layout.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&layout)
    }

    /// Another program has given metrics a column: from here on they are found there.
    async fn read_layout(&self) -> Outcome<()> {
        let mut session = self.pool.session().await?;
        let tx = session.snapshot().await?;
        let layout = Layout::read(&tx, &self.catalogue, self.layout().has_timescale()).await?;
        tx.commit().await?;
        session.release();
        *self.layout.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(layout);
        Ok(())
    }

    /// Whether waiting may cure an error of [`TimescaleStore::open`]: the server is away, starting, full or on
    /// its way to another host. False where somebody has to do what the error's text says.
    #[must_use]
    pub fn may_pass(error: &StoreError) -> bool {
        fault::may_pass(error)
    }

    /// Whether the words of a [`StoreError`]'s source are part of the error's own: PostgreSQL's are, beside the fix.
    #[must_use]
    pub fn is_told(source: &(dyn std::error::Error + 'static)) -> bool {
        fault::is_told(source)
    }

    /// Looks again how long chunks should be, where that is left to the store ([`ChunkInterval::Auto`]):
    /// once a day is enough. Changes only chunks to come. Returns their length in hours where it was measured.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the server cannot be reached.
    ///
    /// [`ChunkInterval::Auto`]: crate::ChunkInterval::Auto
    pub async fn maintain(&self, now: Timestamp) -> Result<Option<u32>, StoreError> {
        if !self.layout().has_timescale() {
            return Ok(None);
        }
        write!(self, "maintain", |tx| async {
            policies::analyze(tx).await?;
            policies::adjust_chunks(tx, &self.layout(), &self.settings, now).await
        })
    }

    /// Prepares for history of `n_rows` rows between `span`: chunks as long as they need, where that is left to the store.
    /// Returns what [`TimescaleStore::history_arrived`] is to be given afterwards.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the server cannot be reached.
    pub async fn expect_history(
        &self,
        n_rows: u64,
        span: (Timestamp, Timestamp),
        now: Timestamp,
    ) -> Result<Option<u32>, StoreError> {
        if !self.layout().has_timescale() {
            return Ok(None);
        }
        write!(self, "expect_history", |tx| arrivals::expect(
            tx,
            &self.layout(),
            &self.settings,
            n_rows,
            span,
            now
        ))
    }

    /// Ends what [`TimescaleStore::expect_history`] began, lets the planner know of new devices, and computes the
    /// aggregates of `span`, which views and charts read; `told` hears how far that is.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the aggregates' own policies will come to it in time.
    pub async fn history_arrived(
        &self,
        before: Option<u32>,
        span: (Timestamp, Timestamp),
        now: Timestamp,
        told: impl Fn(&str) + Sync,
    ) -> Result<(), StoreError> {
        if !self.layout().has_timescale() {
            return Ok(());
        }
        let layout = self.layout();
        write!(self, "history_arrived", |tx| async {
            policies::analyze(tx).await?;
            match before {
                Some(hours) => policies::set_chunks(tx, &layout, hours).await,
                None => Ok(()),
            }
        })?;
        let refreshed = arrivals::refresh(&self.pool, &layout, &self.settings, span, now, told);
        refreshed
            .await
            .map_err(|fault| fault.at(self.pool.address(), "refreshing the aggregates"))
    }

    /// Looks whether what records say still holds: references, their own rules, and the names of the catalogue. The first
    /// twenty findings, in words. Changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the server cannot be reached.
    pub async fn check_records(&self) -> Result<Vec<String>, StoreError> {
        read!(self, "check_records", |tx| records::check(
            tx,
            &self.catalogue
        ))
    }

    /// Closes the connections; what runs is finished first by its caller. Calls after it fail.
    pub async fn close(&self) {
        self.pool.close();
    }
}

async fn prepare(
    pool: &Pool,
    settings: &TimescaleSettings,
    catalogue: &Catalogue,
    now: Timestamp,
) -> Outcome<Layout> {
    let mut session = pool.patient_session().await?;
    let server = Server::ask(&session).await?;
    server.check(settings.plain_postgres)?;
    Server::check_rights(&session, &settings.schema).await?;
    let has_timescale = server.timescale.is_some() && !settings.plain_postgres;
    let tx = session.transaction().await?;
    lock_start(&tx, &settings.schema).await?;
    // From here on nothing waits long: whoever waits for a table keeps all its writers waiting behind.
    tx.batch_execute("SET LOCAL lock_timeout = '10s'").await?;
    // IF NOT EXISTS would ask for the right to create one even where it is there.
    let is_there = tx
        .query_one(
            "SELECT to_regnamespace($1) IS NOT NULL",
            &[&settings.schema],
        )
        .await?;
    if !is_there.try_get::<_, bool>(0)? {
        tx.batch_execute(&format!("CREATE SCHEMA {}", settings.schema))
            .await?;
    }
    migrate::migrate(&tx, now).await?;
    // What was left by processes that are gone; no outcome is asked for after so long.
    tx.batch_execute("DELETE FROM commit_marks WHERE at < now() - interval '1 day'")
        .await?;
    let mut layout = Layout::ensure(&tx, catalogue, has_timescale).await?;
    if has_timescale {
        policies::ensure(&tx, &layout, settings, now).await?;
        layout.measure_chunks(&tx).await?;
    }
    views::ensure(&tx, &layout, &settings.schema).await?;
    policies::analyze(&tx).await?;
    lock_care(&tx).await?;
    stock::book_initial(&tx, catalogue, now).await?;
    tx.commit().await?;
    Ok(layout)
}

#[async_trait]
impl Store for TimescaleStore {
    async fn commit_batch(&self, batch: CommitBatch) -> Result<CommitReceipt, StoreError> {
        let storing = async {
            let mut ingest = self.ingest.lock().await;
            let layout = self.layout();
            match ingest.commit_batch(&self.pool, &layout, &batch).await {
                Err(Fault::LayoutChanged) => {
                    self.read_layout().await?;
                    ingest.forget();
                    let layout = self.layout();
                    ingest.commit_batch(&self.pool, &layout, &batch).await
                }
                done => done,
            }
        };
        self.pool.bounded("commit_batch", storing).await
    }

    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, StoreError> {
        read!(self, "checkpoints", |tx| query::checkpoints(tx))
    }

    async fn rows_after(
        &self,
        device: &DeviceId,
        after: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        read!(self, "rows_after", |tx| history::rows_after(
            tx,
            &self.layout(),
            device,
            after,
            limit
        ))
    }

    async fn register_assets(&self, assets: Vec<Asset>) -> Result<(), StoreError> {
        let mut ingest = self.ingest.lock().await;
        ingest.forget();
        write!(self, "register_assets", |tx| registry::register_assets(
            tx,
            &self.layout(),
            &assets
        ))
    }

    async fn assets(&self) -> Result<Vec<Asset>, StoreError> {
        read!(self, "assets", |tx| registry::assets(tx))
    }

    async fn asset(&self, id: &AssetId) -> Result<Option<Asset>, StoreError> {
        read!(self, "asset", |tx| registry::asset(tx, id))
    }

    async fn statuses(&self) -> Result<Vec<DeviceStatus>, StoreError> {
        read!(self, "statuses", |tx| registry::statuses(tx))
    }

    async fn put_credential(&self, credential: Credential) -> Result<(), StoreError> {
        write!(self, "put_credential", |tx| registry::put_credential(
            tx,
            &credential
        ))
    }

    async fn credentials(&self) -> Result<Vec<Credential>, StoreError> {
        read!(self, "credentials", |tx| registry::credentials(tx))
    }

    async fn setting(&self, key: &str) -> Result<Option<String>, StoreError> {
        read!(self, "setting", |tx| registry::setting(tx, key))
    }

    async fn put_setting(&self, key: &str, value: &str) -> Result<(), StoreError> {
        write!(self, "put_setting", |tx| registry::put_setting(
            tx, key, value
        ))
    }

    async fn put_maintenance_window(&self, window: MaintenanceWindow) -> Result<(), StoreError> {
        write!(self, "put_maintenance_window", |tx| registry::put_window(
            tx, &window
        ))
    }

    async fn maintenance_windows(
        &self,
        after: Timestamp,
    ) -> Result<Vec<MaintenanceWindow>, StoreError> {
        read!(self, "maintenance_windows", |tx| registry::windows(
            tx, after
        ))
    }

    async fn commit_records(&self, commit: RecordCommit) -> Result<RecordsOutcome, StoreError> {
        write_records!(self, "commit_records", |tx| records::commit(
            tx,
            &self.catalogue,
            &commit
        ))
    }

    async fn record(&self, record: &RecordRef) -> Result<Option<StoredRecord>, StoreError> {
        read!(self, "record", |tx| records::get(tx, record))
    }

    async fn records(
        &self,
        kind: RecordKind,
        filter: &RecordFilter,
        page: &RecordPage,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        read!(self, "records", |tx| records::list(tx, kind, filter, page))
    }

    async fn record_history(
        &self,
        record: &RecordRef,
        page: PageRequest,
    ) -> Result<Vec<Paged<RecordVersion>>, StoreError> {
        read!(self, "record_history", |tx| records::history(
            tx, record, page
        ))
    }

    async fn record_changes(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Paged<RecordVersion>>, StoreError> {
        read!(self, "record_changes", |tx| records::changes(
            tx, after, limit
        ))
    }

    async fn erase_person(&self, erasure: Erasure) -> Result<StoredRecord, StoreError> {
        write_records!(self, "erase_person", |tx| records::erase_person(
            tx, &erasure
        ))
    }

    async fn next_tasks(&self, limit: usize) -> Result<Vec<(TaskId, CareTask)>, StoreError> {
        read!(self, "next_tasks", |tx| query::next_tasks(tx, limit))
    }

    async fn commit_care(&self, commit: CareCommit) -> Result<CareOutcome, StoreError> {
        write_care!(self, "commit_care", |tx| desk::commit_care(
            tx,
            &self.catalogue,
            &commit
        ))
    }

    async fn outcome(&self, idempotency_key: &str) -> Result<Option<CareOutcome>, StoreError> {
        read!(self, "outcome", |tx| desk::first_outcome(
            tx,
            idempotency_key
        ))
    }

    async fn move_stock(&self, command: StockCommand) -> Result<StockOutcome, StoreError> {
        write_care!(self, "move_stock", |tx| stock::move_stock(
            tx,
            &self.catalogue,
            &command
        ))
    }

    async fn put_purchase_order(&self, order: PurchaseOrder) -> Result<PurchaseOrder, StoreError> {
        write_care!(self, "put_purchase_order", |tx| stock::put_order(
            tx,
            &self.catalogue,
            order
        ))
    }

    async fn purchase_orders(&self, open_only: bool) -> Result<Vec<PurchaseOrder>, StoreError> {
        read!(self, "purchase_orders", |tx| stock::orders(tx, open_only))
    }

    async fn units(&self, filter: &UnitFilter) -> Result<Vec<UnitAt>, StoreError> {
        read!(self, "units", |tx| stock::units(tx, filter))
    }

    async fn stock(&self) -> Result<Vec<StockItem>, StoreError> {
        read!(self, "stock", |tx| stock::stock(tx, &self.catalogue))
    }

    async fn ledger(&self, page: PageRequest) -> Result<Vec<Paged<LedgerEntry>>, StoreError> {
        read!(self, "ledger", |tx| query::ledger(tx, page))
    }

    async fn ledger_of(&self, ticket: TicketId) -> Result<Vec<LedgerEntry>, StoreError> {
        read!(self, "ledger of a ticket", |tx| query::ledger_of(
            tx, ticket
        ))
    }

    async fn tickets(
        &self,
        filter: &TicketFilter,
        page: PageRequest,
    ) -> Result<Vec<Paged<Ticket>>, StoreError> {
        read!(self, "tickets", |tx| query::tickets(tx, filter, page))
    }

    async fn ticket(&self, id: TicketId) -> Result<Ticket, StoreError> {
        read!(self, "ticket", |tx| query::ticket(tx, id))
    }

    async fn reservations(
        &self,
        filter: &ReservationFilter,
        page: PageRequest,
    ) -> Result<Vec<Paged<Reservation>>, StoreError> {
        read!(self, "reservations", |tx| query::reservations(
            tx, filter, page
        ))
    }

    async fn ticket_entries(
        &self,
        ticket: TicketId,
        page: PageRequest,
    ) -> Result<Vec<Paged<TicketEntry>>, StoreError> {
        read!(self, "ticket entries", |tx| query::ticket_entries(
            tx, ticket, page
        ))
    }

    async fn put_mail(&self, mail: NewMail) -> Result<Paged<InboxMail>, StoreError> {
        write_care!(self, "put_mail", |tx| mails::put(tx, &mail))
    }

    async fn mails(
        &self,
        waiting_only: bool,
        page: PageRequest,
    ) -> Result<Vec<Paged<InboxMail>>, StoreError> {
        read!(self, "mails", |tx| mails::all(tx, waiting_only, page))
    }

    async fn mail(&self, position: i64) -> Result<(InboxMail, Option<Vec<u8>>), StoreError> {
        read!(self, "mail", |tx| mails::get(tx, position))
    }

    async fn settle_mail(&self, position: i64, fate: MailFate) -> Result<InboxMail, StoreError> {
        write_care!(self, "settle_mail", |tx| mails::settle(tx, position, fate))
    }

    async fn put_file(&self, file: StoredFile) -> Result<(), StoreError> {
        // Under the lock of records: no two upload past the bounds together.
        write_records!(self, "put_file", |tx| files::put(tx, &file))
    }

    async fn files(&self) -> Result<Vec<FileInfo>, StoreError> {
        read!(self, "files", |tx| files::all(tx))
    }

    async fn file(&self, sha256: &str) -> Result<Option<StoredFile>, StoreError> {
        read!(self, "file", |tx| files::get(tx, sha256))
    }

    async fn remove_file(&self, sha256: &str) -> Result<bool, StoreError> {
        write!(self, "remove_file", |tx| files::remove(tx, sha256))
    }

    async fn entries(
        &self,
        page: PageRequest,
    ) -> Result<Vec<Paged<(TicketId, TicketEntry)>>, StoreError> {
        read!(self, "entries", |tx| query::entries(tx, page))
    }

    async fn minutes_booked(&self) -> Result<Vec<(TicketId, u64)>, StoreError> {
        read!(self, "minutes booked", |tx| query::minutes_booked(tx))
    }

    async fn attachment(
        &self,
        ticket: TicketId,
        position: i64,
    ) -> Result<(TicketEntry, Vec<u8>), StoreError> {
        read!(self, "attachment", |tx| query::attachment(
            tx, ticket, position
        ))
    }

    async fn labels(&self, page: PageRequest) -> Result<Vec<Paged<Label>>, StoreError> {
        read!(self, "labels", |tx| query::labels(tx, page))
    }

    async fn decisions(
        &self,
        device: Option<&DeviceId>,
        page: PageRequest,
    ) -> Result<Vec<Paged<Decision>>, StoreError> {
        read!(self, "decisions", |tx| query::decisions(tx, device, page))
    }

    async fn notices(&self, page: PageRequest) -> Result<Vec<Paged<Notice>>, StoreError> {
        read!(self, "notices", |tx| outbox::kept(tx, page))
    }

    async fn unrouted_notices(&self, limit: usize) -> Result<Vec<Notice>, StoreError> {
        read!(self, "unrouted_notices", |tx| outbox::unrouted(tx, limit))
    }

    async fn route_notice(
        &self,
        id: &NoticeId,
        deliveries: Vec<NewDelivery>,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        write_care!(self, "route_notice", |tx| outbox::route(
            tx,
            id,
            &deliveries,
            at
        ))
    }

    async fn due_deliveries(
        &self,
        at: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        read!(self, "due_deliveries", |tx| outbox::due(tx, at, limit))
    }

    async fn record_attempts(
        &self,
        attempts: Vec<Attempt>,
        at: Timestamp,
    ) -> Result<usize, StoreError> {
        write_care!(self, "record_attempts", |tx| outbox::record(
            tx, &attempts, at
        ))
    }

    async fn retry_delivery(&self, id: DeliveryId, at: Timestamp) -> Result<Delivery, StoreError> {
        write_care!(self, "retry_delivery", |tx| outbox::retry(tx, id, at))
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        page: PageRequest,
    ) -> Result<Vec<Paged<Delivery>>, StoreError> {
        read!(self, "deliveries", |tx| outbox::deliveries(
            tx, filter, page
        ))
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Delivery, StoreError> {
        read!(self, "delivery", |tx| outbox::delivery(tx, id))
    }

    async fn outbox_depth(&self) -> Result<OutboxDepth, StoreError> {
        read!(self, "outbox_depth", |tx| outbox::depth(tx))
    }

    async fn put_survey_answer(&self, answer: SurveyAnswer) -> Result<(), StoreError> {
        write_care!(self, "put_survey_answer", |tx| outbox::put_answer(
            tx, &answer
        ))
    }

    async fn survey_answers(
        &self,
        ticket: Option<TicketId>,
        page: PageRequest,
    ) -> Result<Vec<Paged<SurveyAnswer>>, StoreError> {
        read!(self, "survey_answers", |tx| outbox::answers(
            tx, ticket, page
        ))
    }

    async fn alarms(
        &self,
        filter: &AlarmFilter,
        page: PageRequest,
    ) -> Result<Vec<Paged<Alarm>>, StoreError> {
        read!(self, "alarms", |tx| query::alarms(tx, filter, page))
    }

    async fn alarm(&self, id: &AlarmId) -> Result<Alarm, StoreError> {
        read!(self, "alarm", |tx| query::alarm(tx, id))
    }

    async fn acknowledge_alarm(
        &self,
        id: &AlarmId,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Alarm, StoreError> {
        write!(self, "acknowledge_alarm", |tx| query::acknowledge(
            tx, id, by, at
        ))
    }

    async fn health(&self) -> Result<Vec<AssetHealth>, StoreError> {
        read!(self, "health", |tx| query::health(tx))
    }

    async fn health_of(&self, device: &DeviceId) -> Result<Option<AssetHealth>, StoreError> {
        read!(self, "health_of", |tx| query::health_of(tx, device))
    }

    async fn latest(&self) -> Result<Vec<LatestRow>, StoreError> {
        read!(self, "latest", |tx| self.fleet.latest(tx, &self.layout()))
    }

    async fn telemetry(&self, query: &TelemetryQuery) -> Result<Vec<Series>, StoreError> {
        read!(self, "telemetry", |tx| history::telemetry(
            tx,
            &self.layout(),
            query,
            RANGE_ROWS_MAX
        ))
    }

    async fn newest_reading(&self, device: &DeviceId) -> Result<Option<Timestamp>, StoreError> {
        read!(self, "newest_reading", |tx| history::newest(tx, device))
    }

    async fn events(
        &self,
        device: Option<&DeviceId>,
        page: PageRequest,
    ) -> Result<Vec<EventRecord>, StoreError> {
        read!(self, "events", |tx| query::events(tx, device, page))
    }

    async fn dead_letters(
        &self,
        reason: Option<RejectReason>,
        page: PageRequest,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        read!(self, "dead_letters", |tx| query::dead_letters(
            tx, reason, page
        ))
    }

    async fn rejection_counts(&self) -> Result<Vec<(RejectReason, u64)>, StoreError> {
        read!(self, "rejection_counts", |tx| query::rejection_counts(tx))
    }

    async fn conflicts(&self, page: PageRequest) -> Result<Vec<Paged<Conflict>>, StoreError> {
        read!(self, "conflicts", |tx| query::conflicts(tx, page))
    }

    async fn fingerprint(&self, device: &DeviceId) -> Result<Fingerprint, StoreError> {
        read!(self, "fingerprint", |tx| history::fingerprint(
            tx,
            &self.layout(),
            device
        ))
    }
}
