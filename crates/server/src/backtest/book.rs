//! The care desk's book in simulated time: the in-memory store behind the service's own steps, and beside it what a
//! backtest counts: parts held, back-orders, orders that keep the shelves at their level.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use forecare_catalogue::Catalogue;
use forecare_domain::{
    DepotName, DeviceId, Marks, PartNumber, Reservation, ReservationId, ReservationState, Supply,
    Ticket, TicketId, Timestamp,
};
use forecare_store::{
    CareCommit, CareOutcome, MemoryStore, PageRequest, Paged, ReservationFilter, StockCommand,
    StockMove, Store, StoreError, TicketFilter, TicketWrite, forecare,
};

use crate::desk::Book;

const HOURS_PER_DAY: f64 = 24.0;

/// A part on a shelf.
type Shelf = (PartNumber, DepotName);

/// Parts that will arrive.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arrival {
    pub(crate) at: Timestamp,
    pub(crate) part: PartNumber,
    pub(crate) depot: DepotName,
    pub(crate) quantity: u32,
}

/// What was held and what was lacking.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Holdings {
    /// Parts x days held softly.
    pub(crate) soft_part_days: f64,
    /// Parts x days held for good.
    pub(crate) hard_part_days: f64,
    /// Price x days of all of them.
    pub(crate) price_days: f64,
    /// Parts that a ticket had to wait for because no shelf had them.
    pub(crate) back_ordered: u32,
    /// Parts reserved for tickets in all.
    pub(crate) reserved: u32,
}

/// A part held since.
#[derive(Debug, Clone, PartialEq)]
struct Held {
    part: PartNumber,
    quantity: u32,
    is_hard: bool,
    since: Timestamp,
}

#[derive(Debug, Default)]
struct Counts {
    holdings: Holdings,
    held: BTreeMap<ReservationId, Held>,
    newest_reservation: i64,
    n_ledger_read: usize,
    on_hand: BTreeMap<Shelf, i64>,
    /// Who waits at which shelf for how many, and their number there.
    waiting: BTreeMap<ReservationId, (Shelf, u32)>,
    n_waiting: BTreeMap<Shelf, u32>,
    on_order: BTreeMap<Shelf, u32>,
    arrivals: Vec<Arrival>,
    n_receipts: u64,
    /// Newest reading of the device that is looked at.
    heard: Option<Timestamp>,
}

/// The book.
pub(crate) struct SimulatedBook {
    memory: MemoryStore,
    catalogue: Catalogue,
    /// What each shelf is kept at.
    levels: BTreeMap<Shelf, u32>,
    counts: Mutex<Counts>,
}

impl SimulatedBook {
    /// A book with the catalogue's stock, at `now`.
    pub(crate) async fn new(catalogue: &Catalogue, now: Timestamp) -> Result<Self, StoreError> {
        let mut levels = BTreeMap::new();
        for level in &catalogue.stock {
            *levels
                .entry((level.part.clone(), level.depot.clone()))
                .or_insert(0) += level.on_hand;
        }
        let book = Self {
            memory: MemoryStore::new(catalogue, now),
            catalogue: catalogue.clone(),
            levels,
            counts: Mutex::default(),
        };
        book.count(now);
        Ok(book)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the newest reading of the device that is looked at next.
    pub(crate) fn hear(&self, newest: Option<Timestamp>) {
        self.counts().heard = newest;
    }

    pub(crate) async fn ticket(&self, id: TicketId) -> Result<Ticket, StoreError> {
        self.memory.ticket(id).await
    }

    /// Shows a ticket and what was ever reserved for it, without copying any.
    pub(crate) fn see<R>(
        &self,
        id: TicketId,
        see: impl FnOnce(&Ticket, &mut dyn Iterator<Item = &Reservation>) -> R,
    ) -> Result<R, StoreError> {
        self.memory.see_ticket(id, see)
    }

    /// Number of open tickets.
    pub(crate) fn n_open(&self) -> usize {
        let filter = TicketFilter {
            open: Some(true),
            ..TicketFilter::default()
        };
        let mut n_open = 0;
        self.memory.for_each_ticket(&filter, |_| n_open += 1);
        n_open
    }

    /// Takes the orders placed since the last call.
    pub(crate) fn take_arrivals(&self) -> Vec<Arrival> {
        std::mem::take(&mut self.counts().arrivals)
    }

    /// Books an arrival.
    pub(crate) async fn receive(&self, arrival: Arrival) -> Result<(), StoreError> {
        {
            let shelf = (arrival.part.clone(), arrival.depot.clone());
            let mut counts = self.counts();
            if let Some(on_order) = counts.on_order.get_mut(&shelf) {
                *on_order = on_order.saturating_sub(arrival.quantity);
            }
        }
        self.shift(
            StockMove::Receipt,
            arrival.part,
            arrival.depot,
            arrival.quantity,
            arrival.at,
        )
        .await
    }

    /// Takes parts that nobody holds from a shelf, for a repair without a ticket; false where it has too few.
    pub(crate) async fn take(
        &self,
        part: &PartNumber,
        depot: &DepotName,
        quantity: u32,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let taken = self
            .shift(StockMove::Scrap, part.clone(), depot.clone(), quantity, at)
            .await;
        match taken {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict(_)) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    async fn shift(
        &self,
        kind: StockMove,
        part: PartNumber,
        depot: DepotName,
        quantity: u32,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let key = {
            let mut counts = self.counts();
            counts.n_receipts += 1;
            format!("backtest-{}", counts.n_receipts)
        };
        let command = StockCommand {
            idempotency_key: key,
            kind,
            part,
            depot,
            quantity,
            order: None,
            reason: None,
            bin: None,
            marks: Marks::default(),
            by: forecare(),
            at,
        };
        self.memory.move_stock(command).await?;
        self.count(at);
        Ok(())
    }

    /// The holdings up to `at`.
    pub(crate) fn holdings(&self, at: Timestamp) -> Holdings {
        let counts = self.counts();
        let mut holdings = counts.holdings.clone();
        for held in counts.held.values() {
            holdings.add(held, at, &self.catalogue);
        }
        holdings
    }

    /// Notes what has changed on the shelves, and orders what is missing there.
    fn count(&self, at: Timestamp) {
        let counts = &mut *self.counts();
        let n_read = counts.n_ledger_read;
        let mut changed: BTreeSet<Shelf> = match n_read {
            0 => self.levels.keys().cloned().collect(),
            _ => BTreeSet::new(),
        };
        self.memory.for_each_ledger_entry_after(n_read, |entry| {
            counts.n_ledger_read += 1;
            let shelf = (entry.part.clone(), entry.depot.clone());
            *counts.on_hand.entry(shelf.clone()).or_insert(0) += entry.delta;
            changed.insert(shelf);
        });
        let known = counts.newest_reservation;
        self.memory.for_each_changed_reservation(|r| {
            counts.note(r, known, at, &self.catalogue, &mut changed);
        });
        for shelf in changed {
            let of = |map: &BTreeMap<Shelf, u32>| i64::from(map.get(&shelf).copied().unwrap_or(0));
            let on_hand = counts.on_hand.get(&shelf).copied().unwrap_or(0);
            let position = on_hand + of(&counts.on_order) - of(&counts.n_waiting);
            let missing = u32::try_from(of(&self.levels) - position).unwrap_or(0);
            let Some(part) = self.catalogue.part(&shelf.0).filter(|_| missing > 0) else {
                continue;
            };
            counts.arrivals.push(Arrival {
                at: at.plus_hours(part.lead_time_hours),
                part: shelf.0.clone(),
                depot: shelf.1.clone(),
                quantity: missing,
            });
            *counts.on_order.entry(shelf).or_insert(0) += missing;
        }
    }
}

impl Counts {
    /// A reservation that was made or has changed; those up to `known` were counted. Shelves where others wait now are
    /// put to `changed`.
    fn note(
        &mut self,
        r: &Reservation,
        known: i64,
        at: Timestamp,
        catalogue: &Catalogue,
        changed: &mut BTreeSet<Shelf>,
    ) {
        let is_live = r.state.is_live();
        let open = r.quantity - r.used;
        let back_order = match &r.supply {
            Supply::BackOrder { to } if is_live => Some((r.part.clone(), to.clone())),
            Supply::BackOrder { .. } | Supply::Stock { .. } | Supply::Transfer { .. } => None,
        };
        if is_live {
            self.newest_reservation = self.newest_reservation.max(r.id.0);
            if r.id.0 > known {
                self.holdings.reserved += r.quantity;
                if back_order.is_some() {
                    self.holdings.back_ordered += r.quantity;
                }
            }
        }
        let now = (is_live && back_order.is_none()).then(|| Held {
            part: r.part.clone(),
            quantity: open,
            is_hard: r.state != ReservationState::Soft,
            since: at,
        });
        let before = match now {
            Some(now) => match self.held.get_mut(&r.id) {
                Some(held) if (held.quantity, held.is_hard) == (now.quantity, now.is_hard) => {
                    held.part = now.part;
                    None
                }
                Some(held) => Some(std::mem::replace(held, now)),
                None => {
                    self.held.insert(r.id, now);
                    None
                }
            },
            None => self.held.remove(&r.id),
        };
        if let Some(before) = before {
            self.holdings.add(&before, at, catalogue);
        }
        if let Some((shelf, n)) = self.waiting.remove(&r.id) {
            if let Some(all) = self.n_waiting.get_mut(&shelf) {
                *all -= n;
            }
            changed.insert(shelf);
        }
        if let Some(shelf) = back_order {
            *self.n_waiting.entry(shelf.clone()).or_insert(0) += open;
            self.waiting.insert(r.id, (shelf.clone(), open));
            changed.insert(shelf);
        }
    }
}

impl Holdings {
    fn add(&mut self, held: &Held, until: Timestamp, catalogue: &Catalogue) {
        let part_days =
            f64::from(held.quantity) * until.hours_since(held.since).max(0.0) / HOURS_PER_DAY;
        if held.is_hard {
            self.hard_part_days += part_days;
        } else {
            self.soft_part_days += part_days;
        }
        let price = catalogue.part(&held.part).map_or(0.0, |p| p.unit_cost);
        self.price_days += part_days * price;
    }
}

#[async_trait]
impl Book for SimulatedBook {
    async fn commit_care(&self, commit: CareCommit) -> Result<CareOutcome, StoreError> {
        let at = commit.at;
        let touches_stock = commit.ticket != TicketWrite::None
            || !commit.reservations.is_empty()
            || !commit.needs.is_empty();
        // Decisions, verdicts and words to the detectors are the backtest's own business: here they would pile up.
        let outcome = self
            .memory
            .commit_care(CareCommit {
                decision: None,
                label: None,
                follow_up: None,
                ..commit
            })
            .await?;
        if touches_stock {
            self.count(at);
        }
        Ok(outcome)
    }

    async fn tickets(
        &self,
        filter: &TicketFilter,
        page: PageRequest,
    ) -> Result<Vec<Paged<Ticket>>, StoreError> {
        self.memory.tickets(filter, page).await
    }

    async fn reservations(
        &self,
        filter: &ReservationFilter,
        page: PageRequest,
    ) -> Result<Vec<Paged<Reservation>>, StoreError> {
        self.memory.reservations(filter, page).await
    }

    async fn newest_reading(&self, _device: &DeviceId) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.counts().heard)
    }

    async fn has_tasks(&self) -> Result<bool, StoreError> {
        // Evidence is worked on as it comes.
        Ok(false)
    }

    async fn load(&self) -> Result<Vec<(String, u32)>, StoreError> {
        let filter = TicketFilter {
            open: Some(true),
            ..TicketFilter::default()
        };
        let mut load: BTreeMap<String, u32> = BTreeMap::new();
        self.memory.for_each_ticket(&filter, |ticket| {
            if let Some(technician) = &ticket.technician {
                match load.get_mut(technician) {
                    Some(n) => *n += 1,
                    None => {
                        load.insert(technician.clone(), 1);
                    }
                }
            }
        });
        Ok(load.into_iter().collect())
    }
}
