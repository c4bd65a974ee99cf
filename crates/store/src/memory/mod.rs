//! The port in memory: plain collections behind one lock. Simple enough to be read as the definition of
//! what the adapters do; used as their oracle, by tests that need a store but no disk, and by the backtest for the
//! care desk's side.

mod desk;
mod mails;
mod outbox;
mod records;
mod stock;
mod telemetry;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use forecare_catalogue::Catalogue;
use forecare_domain::{
    Actor, Alarm, AlarmId, Asset, AssetHealth, AssetId, CareTask, Decision, DeliveryId, DepotName,
    DeviceId, DeviceStatus, EntryBody, InboxMail, Label, MailFate, Notice, NoticeId, PurchaseOrder,
    RejectReason, Reservation, Row, SurveyAnswer, TaskId, Ticket, TicketEntry, TicketId, Timestamp,
    UnitAt,
};

use crate::agreed::place_on_record;
use crate::{
    AlarmFilter, Attempt, CareCommit, CareOutcome, Checkpoint, CommitBatch, CommitReceipt,
    Conflict, Credential, DeadLetter, Delivery, DeliveryFilter, Erasure, EventRecord, FileInfo,
    Fingerprint, LatestRow, LedgerEntry, MaintenanceWindow, NewDelivery, NewMail, OutboxDepth,
    PAGE_ENTRIES_MAX, PageRequest, Paged, RecordCommit, RecordFilter, RecordPage, RecordVersion,
    RecordsOutcome, ReservationFilter, Series, StockCommand, StockItem, StockOutcome, Store,
    StoreError, StoredFile, StoredRecord, TelemetryQuery, TicketFilter, UnitFilter,
};
use desk::Desk;
use forecare_registry::{RecordKind, RecordRef};
use mails::Mails;
use records::Records;
use telemetry::Telemetry;

/// The port in memory. Nothing is bounded but pages: for tests and simulation.
#[derive(Debug)]
pub struct MemoryStore {
    catalogue: Catalogue,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    telemetry: Telemetry,
    desk: Desk,
    records: Records,
    credentials: BTreeMap<String, Credential>,
    settings: BTreeMap<String, String>,
    files: BTreeMap<String, StoredFile>,
    mails: Mails,
    windows: Vec<MaintenanceWindow>,
}

impl MemoryStore {
    /// An empty store with the catalogue's stock, booked at `now`.
    #[must_use]
    pub fn new(catalogue: &Catalogue, now: Timestamp) -> Self {
        let mut state = State::default();
        state.desk.book_initial_stock(catalogue, now);
        Self {
            catalogue: catalogue.clone(),
            state: Mutex::new(state),
        }
    }

    /// Shows every ticket that `filter` asks for, oldest first, without copying any.
    pub fn for_each_ticket(&self, filter: &TicketFilter, see: impl FnMut(&Ticket)) {
        let state = self.state();
        let asked = state.desk.tickets_for(filter);
        asked.filter(|t| is_asked_for(t, filter)).for_each(see);
    }

    /// Shows every reservation that `filter` asks for, oldest first, without copying any.
    pub fn for_each_reservation(&self, filter: &ReservationFilter, see: impl FnMut(&Reservation)) {
        let state = self.state();
        let asked = state.desk.reservations_for(filter);
        asked.filter(|r| is_held_for(r, filter)).for_each(see);
    }

    /// Shows a ticket and what was ever reserved for it, oldest first, without copying any.
    ///
    /// # Errors
    /// There is none of that number.
    pub fn see_ticket<R>(
        &self,
        id: TicketId,
        see: impl FnOnce(&Ticket, &mut dyn Iterator<Item = &Reservation>) -> R,
    ) -> Result<R, StoreError> {
        let desk = &self.state().desk;
        let filter = ReservationFilter {
            ticket: Some(id),
            live: false,
        };
        Ok(see(desk.ticket(id)?, &mut desk.reservations_for(&filter)))
    }

    /// Shows every reservation that was made or has changed since the last call, oldest first.
    pub fn for_each_changed_reservation(&self, see: impl FnMut(&Reservation)) {
        let desk = &mut self.state().desk;
        let changed = std::mem::take(&mut desk.unseen);
        let changed = changed.iter().filter_map(|id| desk.reservation(*id));
        changed.for_each(see);
    }

    /// Shows every line of the ledger behind the first `n`, oldest first.
    pub fn for_each_ledger_entry_after(&self, n: usize, see: impl FnMut(&LedgerEntry)) {
        self.state().desk.ledger.iter().skip(n).for_each(see);
    }

    /// Whether stock may be brought to a place of that name.
    fn is_place<'a>(&'a self, records: &'a Records) -> impl Fn(&DepotName) -> bool + 'a {
        |name| {
            self.catalogue.depots.iter().any(|d| d.name == *name)
                || place_on_record(name).is_some_and(|record| records.is_there(&record))
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_asked_for(ticket: &Ticket, filter: &TicketFilter) -> bool {
    filter.asset.as_ref().is_none_or(|a| *a == ticket.asset)
        && filter
            .open
            .is_none_or(|open| open == ticket.state.is_open())
        && !(filter.unfinished && ticket.state.is_finished())
        && (filter.parent.is_none() || filter.parent == ticket.work.parent)
        && (filter.opening_key.is_none() || filter.opening_key == ticket.opening_key())
}

fn is_held_for(reservation: &Reservation, filter: &ReservationFilter) -> bool {
    filter.ticket.is_none_or(|t| t == reservation.ticket)
        && (!filter.live || reservation.state.is_live())
}

/// The page of `entries` (position, item), given oldest first.
fn page<'a, T: Clone + 'a>(
    entries: impl DoubleEndedIterator<Item = (i64, &'a T)>,
    request: PageRequest,
) -> Vec<Paged<T>> {
    entries
        .rev()
        .filter(|(position, _)| request.before.is_none_or(|before| *position < before))
        .take(request.limit.clamp(1, PAGE_ENTRIES_MAX))
        .map(|(position, item)| Paged {
            position,
            item: item.clone(),
        })
        .collect()
}

/// `entries` with their positions: 1, 2, ...
fn numbered<T>(entries: &[T]) -> impl DoubleEndedIterator<Item = (i64, &T)> + ExactSizeIterator {
    entries
        .iter()
        .enumerate()
        .map(|(i, item)| (i64::try_from(i).unwrap_or(i64::MAX - 1) + 1, item))
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit_batch(&self, batch: CommitBatch) -> Result<CommitReceipt, StoreError> {
        let state = &mut *self.state();
        let tasks = batch.tasks.clone();
        let receipt = state.telemetry.commit(&self.catalogue, batch);
        state.desk.queue(tasks);
        Ok(receipt)
    }

    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, StoreError> {
        Ok(self
            .state()
            .telemetry
            .checkpoints
            .values()
            .cloned()
            .collect())
    }

    async fn rows_after(
        &self,
        device: &DeviceId,
        after: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        Ok(self
            .state()
            .telemetry
            .rows_after(&self.catalogue, device, after, limit))
    }

    async fn register_assets(&self, assets: Vec<Asset>) -> Result<(), StoreError> {
        self.state().telemetry.register(&self.catalogue, assets)
    }

    async fn assets(&self) -> Result<Vec<Asset>, StoreError> {
        Ok(self.state().telemetry.assets.values().cloned().collect())
    }

    async fn asset(&self, id: &AssetId) -> Result<Option<Asset>, StoreError> {
        Ok(self.state().telemetry.assets.get(id).cloned())
    }

    async fn statuses(&self) -> Result<Vec<DeviceStatus>, StoreError> {
        Ok(self.state().telemetry.statuses.values().cloned().collect())
    }

    async fn put_credential(&self, credential: Credential) -> Result<(), StoreError> {
        self.state()
            .credentials
            .insert(credential.username.clone(), credential);
        Ok(())
    }

    async fn credentials(&self) -> Result<Vec<Credential>, StoreError> {
        Ok(self.state().credentials.values().cloned().collect())
    }

    async fn setting(&self, key: &str) -> Result<Option<String>, StoreError> {
        Ok(self.state().settings.get(key).cloned())
    }

    async fn put_setting(&self, key: &str, value: &str) -> Result<(), StoreError> {
        self.state()
            .settings
            .insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    async fn put_maintenance_window(&self, window: MaintenanceWindow) -> Result<(), StoreError> {
        let windows = &mut self.state().windows;
        if !windows.contains(&window) {
            windows.push(window);
            windows.sort_by(|a, b| {
                (a.to, a.from, &a.device, &a.why).cmp(&(b.to, b.from, &b.device, &b.why))
            });
        }
        Ok(())
    }

    async fn maintenance_windows(
        &self,
        after: Timestamp,
    ) -> Result<Vec<MaintenanceWindow>, StoreError> {
        Ok(self
            .state()
            .windows
            .iter()
            .filter(|w| w.to > after)
            .cloned()
            .collect())
    }

    async fn commit_records(&self, commit: RecordCommit) -> Result<RecordsOutcome, StoreError> {
        let state = &mut *self.state();
        let is_registered = |id: &str| state.telemetry.assets.keys().any(|a| a.as_str() == id);
        state
            .records
            .commit(&self.catalogue, is_registered, &commit)
    }

    async fn record(&self, record: &RecordRef) -> Result<Option<StoredRecord>, StoreError> {
        Ok(self.state().records.get(record))
    }

    async fn records(
        &self,
        kind: RecordKind,
        filter: &RecordFilter,
        page: &RecordPage,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        Ok(self.state().records.list(kind, filter, page))
    }

    async fn record_history(
        &self,
        record: &RecordRef,
        request: PageRequest,
    ) -> Result<Vec<Paged<RecordVersion>>, StoreError> {
        let state = self.state();
        Ok(page(state.records.history(record), request))
    }

    async fn record_changes(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Paged<RecordVersion>>, StoreError> {
        Ok(self.state().records.changes(after, limit))
    }

    async fn erase_person(&self, erasure: Erasure) -> Result<StoredRecord, StoreError> {
        let state = &mut *self.state();
        let (after, addressed) = state.records.erase(&erasure)?;
        state.desk.outbox.erase(&addressed, erasure.at);
        state.mails.erase(&addressed);
        Ok(after)
    }

    async fn next_tasks(&self, limit: usize) -> Result<Vec<(TaskId, CareTask)>, StoreError> {
        let state = self.state();
        let tasks = state
            .desk
            .tasks
            .iter()
            .take(limit.clamp(1, PAGE_ENTRIES_MAX));
        Ok(tasks.map(|(id, task)| (*id, task.clone())).collect())
    }

    async fn outcome(&self, idempotency_key: &str) -> Result<Option<CareOutcome>, StoreError> {
        Ok(self.state().desk.outcome(idempotency_key))
    }

    async fn commit_care(&self, commit: CareCommit) -> Result<CareOutcome, StoreError> {
        let state = &mut *self.state();
        state.desk.commit(&self.catalogue, commit)
    }

    async fn move_stock(&self, command: StockCommand) -> Result<StockOutcome, StoreError> {
        let state = &mut *self.state();
        let is_place = self.is_place(&state.records);
        state.desk.move_stock(&self.catalogue, is_place, &command)
    }

    async fn put_purchase_order(&self, order: PurchaseOrder) -> Result<PurchaseOrder, StoreError> {
        let state = &mut *self.state();
        let is_place = self.is_place(&state.records);
        state.desk.put_order(&self.catalogue, is_place, order)
    }

    async fn purchase_orders(&self, open_only: bool) -> Result<Vec<PurchaseOrder>, StoreError> {
        Ok(self.state().desk.orders(open_only))
    }

    async fn stock(&self) -> Result<Vec<StockItem>, StoreError> {
        Ok(self.state().desk.stock(&self.catalogue))
    }

    async fn units(&self, filter: &UnitFilter) -> Result<Vec<UnitAt>, StoreError> {
        Ok(self.state().desk.units(filter))
    }

    async fn ledger(&self, request: PageRequest) -> Result<Vec<Paged<LedgerEntry>>, StoreError> {
        Ok(page(numbered(&self.state().desk.ledger), request))
    }

    async fn ledger_of(&self, ticket: TicketId) -> Result<Vec<LedgerEntry>, StoreError> {
        let state = self.state();
        let lines = state.desk.ledger.iter();
        Ok(lines
            .filter(|l| l.ticket == Some(ticket))
            .cloned()
            .collect())
    }

    async fn tickets(
        &self,
        filter: &TicketFilter,
        request: PageRequest,
    ) -> Result<Vec<Paged<Ticket>>, StoreError> {
        let state = self.state();
        let among = state.desk.tickets_for(filter);
        let chosen = among.filter(|t| is_asked_for(t, filter));
        Ok(page(chosen.map(|t| (t.id.0, t)), request))
    }

    async fn ticket(&self, id: TicketId) -> Result<Ticket, StoreError> {
        self.state().desk.ticket(id).cloned()
    }

    async fn ticket_entries(
        &self,
        ticket: TicketId,
        request: PageRequest,
    ) -> Result<Vec<Paged<TicketEntry>>, StoreError> {
        let state = self.state();
        let all = numbered(&state.desk.entries);
        let its = all.filter(|(_, e)| e.ticket == ticket);
        Ok(page(its.map(|(n, e)| (n, &e.entry)), request))
    }

    async fn entries(
        &self,
        request: PageRequest,
    ) -> Result<Vec<Paged<(TicketId, TicketEntry)>>, StoreError> {
        let state = self.state();
        let all: Vec<(TicketId, TicketEntry)> = state
            .desk
            .entries
            .iter()
            .map(|e| (e.ticket, e.entry.clone()))
            .collect();
        Ok(page(numbered(&all), request))
    }

    async fn minutes_booked(&self) -> Result<Vec<(TicketId, u64)>, StoreError> {
        let state = self.state();
        let mut booked: BTreeMap<TicketId, u64> = BTreeMap::new();
        for kept in &state.desk.entries {
            if let EntryBody::Time { minutes, .. } = &kept.entry.body {
                *booked.entry(kept.ticket).or_default() += u64::from(*minutes);
            }
        }
        Ok(booked.into_iter().collect())
    }

    async fn attachment(
        &self,
        ticket: TicketId,
        position: i64,
    ) -> Result<(TicketEntry, Vec<u8>), StoreError> {
        let state = self.state();
        let found =
            numbered(&state.desk.entries).find(|(n, e)| *n == position && e.ticket == ticket);
        let file = found.and_then(|(_, e)| Some((e.entry.clone(), e.content.clone()?)));
        file.ok_or_else(|| StoreError::no_attachment(ticket, position))
    }

    async fn put_mail(&self, mail: NewMail) -> Result<Paged<InboxMail>, StoreError> {
        let state = &mut *self.state();
        let (position, item, is_new) = state.mails.put(&mail)?;
        if is_new {
            state.desk.outbox.write(vec![mail.notice]);
        }
        Ok(Paged { position, item })
    }

    async fn mails(
        &self,
        waiting_only: bool,
        request: PageRequest,
    ) -> Result<Vec<Paged<InboxMail>>, StoreError> {
        Ok(page(self.state().mails.all(waiting_only), request))
    }

    async fn mail(&self, position: i64) -> Result<(InboxMail, Option<Vec<u8>>), StoreError> {
        self.state().mails.get(position)
    }

    async fn settle_mail(&self, position: i64, fate: MailFate) -> Result<InboxMail, StoreError> {
        self.state().mails.settle(position, fate)
    }

    async fn put_file(&self, file: StoredFile) -> Result<(), StoreError> {
        let state = &mut *self.state();
        let before: usize = state.files.values().map(|f| f.content.len()).sum();
        if !state.files.contains_key(&file.sha256) {
            let n = state.files.len();
            if let Some(full) = file.too_much(n, i64::try_from(before).unwrap_or(i64::MAX)) {
                return Err(full);
            }
            state.files.insert(file.sha256.clone(), file);
        }
        Ok(())
    }

    async fn files(&self) -> Result<Vec<FileInfo>, StoreError> {
        let state = self.state();
        let all = state.files.values().map(|file| FileInfo {
            sha256: file.sha256.clone(),
            name: file.name.clone(),
            media_type: file.media_type.clone(),
            bytes: file.content.len() as u64,
        });
        Ok(all.collect())
    }

    async fn file(&self, sha256: &str) -> Result<Option<StoredFile>, StoreError> {
        Ok(self.state().files.get(sha256).cloned())
    }

    async fn remove_file(&self, sha256: &str) -> Result<bool, StoreError> {
        Ok(self.state().files.remove(sha256).is_some())
    }

    async fn reservations(
        &self,
        filter: &ReservationFilter,
        request: PageRequest,
    ) -> Result<Vec<Paged<Reservation>>, StoreError> {
        let state = self.state();
        let among = state.desk.reservations_for(filter);
        let chosen = among.filter(|r| is_held_for(r, filter));
        Ok(page(chosen.map(|r| (r.id.0, r)), request))
    }

    async fn labels(&self, request: PageRequest) -> Result<Vec<Paged<Label>>, StoreError> {
        Ok(page(numbered(&self.state().desk.labels), request))
    }

    async fn decisions(
        &self,
        device: Option<&DeviceId>,
        request: PageRequest,
    ) -> Result<Vec<Paged<Decision>>, StoreError> {
        let state = self.state();
        let chosen = numbered(&state.desk.decisions)
            .filter(|(_, d)| device.is_none_or(|device| *device == d.device));
        Ok(page(chosen, request))
    }

    async fn notices(&self, request: PageRequest) -> Result<Vec<Paged<Notice>>, StoreError> {
        Ok(page(self.state().desk.outbox.kept(), request))
    }

    async fn unrouted_notices(&self, limit: usize) -> Result<Vec<Notice>, StoreError> {
        Ok(self.state().desk.outbox.unrouted(limit))
    }

    async fn route_notice(
        &self,
        id: &NoticeId,
        deliveries: Vec<NewDelivery>,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.state().desk.outbox.route(id, deliveries, at)
    }

    async fn due_deliveries(
        &self,
        at: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        Ok(self.state().desk.outbox.due(at, limit))
    }

    async fn record_attempts(
        &self,
        attempts: Vec<Attempt>,
        at: Timestamp,
    ) -> Result<usize, StoreError> {
        Ok(self.state().desk.outbox.record(&attempts, at))
    }

    async fn retry_delivery(&self, id: DeliveryId, at: Timestamp) -> Result<Delivery, StoreError> {
        self.state().desk.outbox.retry(id, at)
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        request: PageRequest,
    ) -> Result<Vec<Paged<Delivery>>, StoreError> {
        Ok(page(self.state().desk.outbox.chosen(filter), request))
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Delivery, StoreError> {
        self.state().desk.outbox.delivery(id)
    }

    async fn outbox_depth(&self) -> Result<OutboxDepth, StoreError> {
        Ok(self.state().desk.outbox.depth())
    }

    async fn put_survey_answer(&self, answer: SurveyAnswer) -> Result<(), StoreError> {
        let desk = &mut self.state().desk;
        desk.ticket(answer.ticket)?;
        desk.outbox.answer(answer)
    }

    async fn survey_answers(
        &self,
        ticket: Option<TicketId>,
        request: PageRequest,
    ) -> Result<Vec<Paged<SurveyAnswer>>, StoreError> {
        Ok(page(self.state().desk.outbox.answers(ticket), request))
    }

    async fn alarms(
        &self,
        filter: &AlarmFilter,
        request: PageRequest,
    ) -> Result<Vec<Paged<Alarm>>, StoreError> {
        let state = self.state();
        let chosen = numbered(&state.telemetry.alarms).filter(|(_, a)| {
            filter.device.as_ref().is_none_or(|d| *d == a.device)
                && filter.active.is_none_or(|active| active == a.active)
        });
        Ok(page(chosen, request))
    }

    async fn alarm(&self, id: &AlarmId) -> Result<Alarm, StoreError> {
        let state = self.state();
        let alarm = state.telemetry.alarms.iter().find(|a| a.id == *id);
        alarm
            .cloned()
            .ok_or_else(|| StoreError::NotFound(format!("alarm {id}")))
    }

    async fn acknowledge_alarm(
        &self,
        id: &AlarmId,
        _by: &Actor,
        _at: Timestamp,
    ) -> Result<Alarm, StoreError> {
        let mut state = self.state();
        let alarm = state.telemetry.alarms.iter_mut().find(|a| a.id == *id);
        let alarm = alarm.ok_or_else(|| StoreError::NotFound(format!("alarm {id}")))?;
        alarm.acknowledged = true;
        Ok(alarm.clone())
    }

    async fn health(&self) -> Result<Vec<AssetHealth>, StoreError> {
        Ok(self.state().telemetry.health.values().cloned().collect())
    }

    async fn health_of(&self, device: &DeviceId) -> Result<Option<AssetHealth>, StoreError> {
        Ok(self.state().telemetry.health.get(device).cloned())
    }

    async fn latest(&self) -> Result<Vec<LatestRow>, StoreError> {
        Ok(self.state().telemetry.latest(&self.catalogue))
    }

    async fn telemetry(&self, query: &TelemetryQuery) -> Result<Vec<Series>, StoreError> {
        self.state().telemetry.series(&self.catalogue, query)
    }

    async fn newest_reading(&self, device: &DeviceId) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.state().telemetry.newest(device))
    }

    async fn events(
        &self,
        device: Option<&DeviceId>,
        request: PageRequest,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let state = self.state();
        let chosen = numbered(&state.telemetry.events)
            .filter(|(_, e)| device.is_none_or(|device| *device == e.device));
        Ok(page(chosen, request))
    }

    async fn dead_letters(
        &self,
        reason: Option<RejectReason>,
        request: PageRequest,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let state = self.state();
        let chosen = numbered(&state.telemetry.rejections)
            .filter(|(_, r)| reason.is_none_or(|reason| reason == r.reason));
        Ok(page(chosen, request))
    }

    async fn rejection_counts(&self) -> Result<Vec<(RejectReason, u64)>, StoreError> {
        let mut counts = BTreeMap::new();
        for rejection in &self.state().telemetry.rejections {
            *counts.entry(rejection.reason).or_insert(0) += 1;
        }
        Ok(counts.into_iter().collect())
    }

    async fn conflicts(&self, request: PageRequest) -> Result<Vec<Paged<Conflict>>, StoreError> {
        Ok(page(numbered(&self.state().telemetry.conflicts), request))
    }

    async fn fingerprint(&self, device: &DeviceId) -> Result<Fingerprint, StoreError> {
        Ok(self.state().telemetry.fingerprint(device))
    }
}
