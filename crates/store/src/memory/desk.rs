//! Tickets, reservations and stock.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use forecare_care::tracking::{self, Use, check_left, other_place};
use forecare_care::{Need, NewTicket, allocate, cut_down, notices_of, parts_short, settle};
use forecare_catalogue::{Catalogue, Tracking};
use forecare_domain::{
    Actor, AssetId, BatchNumber, CareTask, Decision, DepotName, Label, Marks, OrderId, PartNumber,
    PartUsed, PurchaseOrder, Reservation, ReservationId, ReservationState, SerialNumber,
    StockAsked, Supply, TaskId, Ticket, TicketId, Timestamp, Unit, UnitAt, UnitPlace,
};

use super::outbox::Outbox;
use crate::agreed::{
    UNITS_MAX, counts, forecare, is_person, marks_for, marks_named, need_of_victim, offers, served,
    shelf_of, units_of_line, use_lines,
};
use crate::{
    CareCommit, CareOutcome, LedgerEntry, NewEntry, NewTask, ReservationFilter, ReservationWrite,
    StoreError, TicketFilter, TicketWrite, UnitFilter,
};

#[derive(Debug, Clone, Default)]
pub(super) struct Desk {
    pub(super) tasks: BTreeMap<TaskId, CareTask>,
    n_tasks: i64,
    outcomes: BTreeMap<String, CareOutcome>,
    pub(super) tickets: Vec<Ticket>,
    /// Where a backtest would look through thousands again and again.
    of_asset: BTreeMap<AssetId, Vec<TicketId>>,
    unfinished: BTreeSet<TicketId>,
    reservations: Vec<Reservation>,
    of_ticket: BTreeMap<TicketId, Vec<ReservationId>>,
    live: BTreeSet<ReservationId>,
    /// Reservations made or changed that nobody has looked at since.
    pub(super) unseen: BTreeSet<ReservationId>,
    pub(super) shelves: BTreeMap<(PartNumber, DepotName), Shelf>,
    pub(super) ledger: Vec<LedgerEntry>,
    /// Pieces of tracked parts: by part, serial number, batch and place, how many and since when.
    pub(super) units: BTreeMap<UnitKey, (u32, Timestamp)>,
    pub(super) orders: BTreeMap<OrderId, PurchaseOrder>,
    pub(super) commands_seen: BTreeMap<String, StockAsked>,
    pub(super) labels: Vec<Label>,
    pub(super) decisions: Vec<Decision>,
    pub(super) outbox: Outbox,
    pub(super) entries: Vec<NewEntry>,
}

/// Part, serial number, batch, and the key of the place.
pub(super) type UnitKey = (
    PartNumber,
    Option<SerialNumber>,
    Option<BatchNumber>,
    String,
);

/// What lies where, beside what is held of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Shelf {
    pub(super) on_hand: u32,
    pub(super) in_repair: u32,
    pub(super) bin: Option<String>,
}

/// Who a movement of stock is for, and by whom.
pub(super) struct Cause {
    pub(super) ticket: Option<TicketId>,
    pub(super) cost_centre: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) by: Actor,
    pub(super) at: Timestamp,
}

impl Cause {
    pub(super) fn of_ticket(ticket: TicketId, by: Actor, at: Timestamp) -> Self {
        Self {
            ticket: Some(ticket),
            cost_centre: None,
            reason: None,
            by,
            at,
        }
    }
}

impl Desk {
    pub(super) fn queue(&mut self, tasks: Vec<NewTask>) {
        for NewTask(task) in tasks {
            self.n_tasks += 1;
            self.tasks.insert(TaskId(self.n_tasks), task);
        }
    }

    pub(super) fn outcome(&self, idempotency_key: &str) -> Option<CareOutcome> {
        self.outcomes.get(idempotency_key).cloned()
    }

    pub(super) fn ticket(&self, id: TicketId) -> Result<&Ticket, StoreError> {
        // Numbered 1, 2, ... in the order of the list.
        let ticket = place(id.0).and_then(|place| self.tickets.get(place));
        ticket.ok_or_else(|| StoreError::NotFound(format!("ticket {id}")))
    }

    /// Tickets among which all of `filter` are, by number.
    pub(super) fn tickets_for(
        &self,
        filter: &TicketFilter,
    ) -> Box<dyn DoubleEndedIterator<Item = &Ticket> + '_> {
        let of = |id: &TicketId| place(id.0).and_then(|place| self.tickets.get(place));
        match &filter.asset {
            Some(asset) => Box::new(
                self.of_asset
                    .get(asset)
                    .into_iter()
                    .flatten()
                    .filter_map(of),
            ),
            None if filter.unfinished || filter.open == Some(true) => {
                Box::new(self.unfinished.iter().filter_map(of))
            }
            None => Box::new(self.tickets.iter()),
        }
    }

    /// Reservations among which all of `filter` are, by number.
    pub(super) fn reservations_for(
        &self,
        filter: &ReservationFilter,
    ) -> Box<dyn DoubleEndedIterator<Item = &Reservation> + '_> {
        let of = |id: &ReservationId| self.reservation(*id);
        match filter.ticket {
            Some(ticket) => Box::new(
                self.of_ticket
                    .get(&ticket)
                    .into_iter()
                    .flatten()
                    .filter_map(of),
            ),
            None if filter.live => Box::new(self.live.iter().filter_map(of)),
            None => Box::new(self.reservations.iter()),
        }
    }

    pub(super) fn reservation(&self, id: ReservationId) -> Option<&Reservation> {
        place(id.0).and_then(|place| self.reservations.get(place))
    }

    fn set_state(&mut self, id: ReservationId, state: ReservationState) {
        if let Some(r) = place(id.0).and_then(|place| self.reservations.get_mut(place)) {
            r.state = state;
            self.unseen.insert(id);
            if state.is_live() {
                self.live.insert(id);
            } else {
                self.live.remove(&id);
            }
        }
    }

    /// A new hold, numbered here.
    pub(super) fn hold(&mut self, new: Reservation) {
        let id = ReservationId(next_number(self.reservations.len()));
        self.of_ticket.entry(new.ticket).or_default().push(id);
        self.unseen.insert(id);
        if new.state.is_live() {
            self.live.insert(id);
        }
        self.reservations.push(Reservation { id, ..new });
    }

    /// A hold in another state, of another size.
    pub(super) fn held_as(
        &mut self,
        id: ReservationId,
        state: ReservationState,
        quantity: u32,
        used: u32,
    ) {
        self.set_state(id, state);
        if let Some(r) = place(id.0).and_then(|place| self.reservations.get_mut(place)) {
            (r.quantity, r.used) = (quantity, used);
        }
    }

    pub(super) fn live(&self) -> impl Iterator<Item = &Reservation> {
        self.live.iter().filter_map(|id| self.reservation(*id))
    }

    /// Why `commit` must change nothing; once this is passed, it is done to its end.
    fn check(&self, commit: &CareCommit) -> Result<(), StoreError> {
        let mut settled = Vec::new();
        if let TicketWrite::Update { ticket, parts_used } = &commit.ticket {
            let stored = self.ticket(ticket.id)?;
            if ticket.version != stored.version {
                return Err(StoreError::stale_ticket(ticket, stored.version));
            }
            if let Some(other) = self
                .open_for(ticket)
                .filter(|other| ticket.state.is_open() && *other != ticket.id)
            {
                return Err(StoreError::second_open_ticket(ticket.id, other));
            }
            if !commit.reservations.is_empty() {
                settled = settle(&self.held_for(ticket.id), ticket, &counts(parts_used));
            }
        }
        for write in &commit.reservations {
            let r = self
                .reservation(write.id)
                .ok_or_else(|| StoreError::NotFound(format!("reservation {}", write.id)))?;
            let after = settled.iter().find(|(id, ..)| *id == write.id);
            let state = after.map_or(r.state, |(_, state, _)| *state);
            if state == write.from && !state.is_live() {
                return Err(StoreError::reservation_over(r.id, state));
            }
        }
        for (id, _) in &commit.cuts {
            if self.reservation(*id).is_none() {
                return Err(StoreError::NotFound(format!("reservation {id}")));
            }
        }
        for (id, _) in &commit.needs {
            self.ticket(*id)?;
        }
        let mut entries: Vec<&NewEntry> = self.entries.iter().collect();
        for new in &commit.entries {
            self.ticket(new.ticket)?;
            let its = entries.iter().filter(|e| e.ticket == new.ticket);
            let (n, bytes) = its.fold((0, 0), |(n, sum), e| (n + 1, sum + bytes_of(e)));
            if let Some(full) = StoreError::entries_full(new.ticket, n, bytes, bytes_of(new)) {
                return Err(full);
            }
            entries.push(new);
        }
        Ok(())
    }

    fn held_for(&self, ticket: TicketId) -> Vec<Reservation> {
        let filter = ReservationFilter {
            ticket: Some(ticket),
            live: false,
        };
        self.reservations_for(&filter).cloned().collect()
    }

    pub(super) fn commit(
        &mut self,
        catalogue: &Catalogue,
        commit: CareCommit,
    ) -> Result<CareOutcome, StoreError> {
        if let Some(outcome) = commit
            .idempotency_key
            .as_ref()
            .and_then(|k| self.outcomes.get(k))
        {
            return Ok(outcome.clone());
        }
        if commit
            .task
            .is_some_and(|task| !self.tasks.contains_key(&task))
        {
            return Ok(CareOutcome::AlreadyDone);
        }
        self.check(&commit)?;
        // Which pieces were used can turn out to be wrong half-way.
        let names_pieces = catalogue.parts.iter().any(|p| p.tracking != Tracking::Not);
        let before = names_pieces.then(|| self.clone());
        let outcome = self.carry_out(catalogue, commit);
        if let (Err(_), Some(before)) = (&outcome, before) {
            *self = before;
        }
        outcome
    }

    /// Does a step that [`Desk::check`] has passed.
    fn carry_out(
        &mut self,
        catalogue: &Catalogue,
        commit: CareCommit,
    ) -> Result<CareOutcome, StoreError> {
        if let Some(task) = commit.task {
            self.tasks.remove(&task);
        }
        let outcome = match commit.ticket {
            TicketWrite::None => CareOutcome::Stored,
            TicketWrite::Open(new) => self.open(catalogue, *new, commit.at)?,
            TicketWrite::Update { ticket, parts_used } => {
                self.update(catalogue, *ticket, &parts_used, commit.at)?
            }
        };
        for write in commit.reservations {
            self.write_reservation(catalogue, &write, commit.at)?;
        }
        for (id, keep) in commit.cuts {
            self.cut(catalogue, id, keep, commit.at);
        }
        for (id, need) in commit.needs {
            if self.ticket(id)?.state.is_open() {
                let n_before = self.reservations.len();
                self.reserve(catalogue, id, &need, true, commit.at);
                self.tell_short(n_before, commit.at)?;
            }
        }
        self.decisions.extend(commit.decision);
        self.labels.extend(commit.label);
        self.entries.extend(commit.entries);
        self.outbox.write(commit.notices);
        self.queue(commit.follow_up.into_iter().map(NewTask).collect());
        if let Some(key) = commit.idempotency_key {
            self.outcomes.insert(key, outcome.clone());
        }
        Ok(outcome)
    }

    fn open_for(&self, ticket: &Ticket) -> Option<TicketId> {
        let filter = TicketFilter {
            asset: Some(ticket.asset.clone()),
            ..TicketFilter::default()
        };
        let key = Some(ticket.opening_key()?);
        let same = |t: &&Ticket| t.state.is_open() && t.opening_key() == key;
        self.tickets_for(&filter).find(same).map(|t| t.id)
    }

    fn open(
        &mut self,
        catalogue: &Catalogue,
        new: NewTicket,
        at: Timestamp,
    ) -> Result<CareOutcome, StoreError> {
        if let Some(id) = self.open_for(&new.ticket) {
            return Ok(CareOutcome::AlreadyOpen(id));
        }
        let id = TicketId(next_number(self.tickets.len()));
        let ticket = Ticket {
            id,
            version: 1,
            ..new.ticket
        };
        self.of_asset
            .entry(ticket.asset.clone())
            .or_default()
            .push(id);
        self.keep(ticket.clone());
        self.outbox.write(notices_of(None, &ticket, at));
        let n_before = self.reservations.len();
        for need in &new.needs {
            self.reserve(catalogue, id, need, true, at);
        }
        self.tell_short(n_before, at)?;
        Ok(CareOutcome::Opened {
            ticket: Box::new(ticket),
            reservations: self.held_for(id),
        })
    }

    pub(super) fn reservations_made(&self) -> usize {
        self.reservations.len()
    }

    /// Tells of parts that come late, of all reservations made since there were `n_before`.
    pub(super) fn tell_short(&mut self, n_before: usize, at: Timestamp) -> Result<(), StoreError> {
        let mut by_ticket: BTreeMap<TicketId, Vec<Reservation>> = BTreeMap::new();
        for new in self.reservations.iter().skip(n_before) {
            by_ticket.entry(new.ticket).or_default().push(new.clone());
        }
        for (id, new) in by_ticket {
            let short = parts_short(self.ticket(id)?, &new, at);
            self.outbox.write(short.into_iter().collect());
        }
        Ok(())
    }

    /// The ticket as it is now, in its place or as the newest.
    fn keep(&mut self, ticket: Ticket) {
        if ticket.state.is_finished() {
            self.unfinished.remove(&ticket.id);
        } else {
            self.unfinished.insert(ticket.id);
        }
        match place(ticket.id.0).and_then(|place| self.tickets.get_mut(place)) {
            Some(kept) => *kept = ticket,
            None => self.tickets.push(ticket),
        }
    }

    /// Takes a ticket after a change that [`Desk::check`] has passed.
    fn update(
        &mut self,
        catalogue: &Catalogue,
        mut ticket: Ticket,
        parts_used: &[PartUsed],
        at: Timestamp,
    ) -> Result<CareOutcome, StoreError> {
        let mut named = marks_named(catalogue, parts_used)?;
        ticket.version += 1;
        if let Ok(before) = self.ticket(ticket.id) {
            let notices = notices_of(Some(before), &ticket, at);
            self.outbox.write(notices);
        }
        self.keep(ticket.clone());
        let its = self.held_for(ticket.id);
        let by = ticket
            .history
            .last()
            .map_or_else(forecare, |change| change.by.clone());
        for (id, state, used) in settle(&its, &ticket, &counts(parts_used)) {
            let cause = Cause::of_ticket(ticket.id, by.clone(), at);
            self.turn(catalogue, id, state, used, &cause, &mut named)?;
        }
        for (part, left) in &named {
            let known = self.units_known(part, &[UnitPlace::Ticket(ticket.id)], &left.serials);
            check_left(part, left, ticket.id, &known)?;
        }
        Ok(CareOutcome::Updated(Box::new(ticket)))
    }

    fn write_reservation(
        &mut self,
        catalogue: &Catalogue,
        write: &ReservationWrite,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let found = place(write.id.0).and_then(|place| self.reservations.get_mut(place));
        let Some(r) = found.filter(|r| r.state == write.from) else {
            return Ok(());
        };
        r.expires_at = write.expires_at;
        let used = if write.to == ReservationState::Consumed {
            r.quantity
        } else {
            r.used
        };
        let cause = Cause::of_ticket(r.ticket, forecare(), at);
        self.turn(
            catalogue,
            write.id,
            write.to,
            used,
            &cause,
            &mut BTreeMap::new(),
        )
    }

    /// Makes a hold smaller; what becomes free goes to who waits for it.
    fn cut(&mut self, catalogue: &Catalogue, id: ReservationId, keep: u32, at: Timestamp) {
        let Some(r) = self.reservation(id).cloned() else {
            return;
        };
        if let Some((quantity, state)) = cut_down(&r, keep) {
            self.held_as(id, state, quantity, r.used);
            if let Some(depot) = shelf_of(&r) {
                self.serve_back_orders(catalogue, &r.part, depot, at);
            }
        }
    }

    /// Brings a reservation into `state` with `used` parts used in all, and books what that means.
    fn turn(
        &mut self,
        catalogue: &Catalogue,
        id: ReservationId,
        state: ReservationState,
        used: u32,
        cause: &Cause,
        named: &mut BTreeMap<PartNumber, Marks>,
    ) -> Result<(), StoreError> {
        let Some(mut r) = self.reservation(id).cloned() else {
            return Ok(());
        };
        let newly_used = used.saturating_sub(r.used);
        r.used = used;
        self.held_as(id, state, r.quantity, used);
        if newly_used > 0 {
            let units = self.used_units(catalogue, &r, newly_used, cause, named)?;
            for (kind, depot, delta) in use_lines(&r, newly_used.into()) {
                self.book(kind, &r.part, depot, delta, &units, cause);
            }
        }
        if let (false, Some(depot)) = (state.is_live(), shelf_of(&r)) {
            self.serve_back_orders(catalogue, &r.part, depot, cause.at);
        }
        Ok(())
    }

    /// Which pieces of a tracked part are used.
    fn used_units(
        &self,
        catalogue: &Catalogue,
        r: &Reservation,
        quantity: u32,
        cause: &Cause,
        named: &mut BTreeMap<PartNumber, Marks>,
    ) -> Result<Vec<Unit>, StoreError> {
        let tracking = catalogue.tracking(&r.part);
        if tracking == Tracking::Not {
            return Ok(Vec::new());
        }
        let marks = marks_for(named, r);
        let from = shelf_of(r);
        let places: Vec<UnitPlace> = from.cloned().map(UnitPlace::Shelf).into_iter().collect();
        let known = self.units_known(&r.part, &places, &marks.serials);
        let on_hand = from.map_or(0, |depot| self.item(&r.part, depot).on_hand);
        let used = Use {
            tracking,
            part: &r.part,
            from,
            on_hand,
            quantity,
            known: &known,
            by_person: is_person(&cause.by),
        };
        Ok(tracking::used(&used, marks)?)
    }

    /// Reserves for `ticket`. Holds that are pre-empted are released, and their tickets served anew.
    pub(super) fn reserve(
        &mut self,
        catalogue: &Catalogue,
        ticket: TicketId,
        need: &Need,
        may_preempt: bool,
        at: Timestamp,
    ) {
        let known = |part: &PartNumber| -> Result<_, Infallible> {
            let depots = catalogue.depots.iter();
            Ok(depots.map(|d| self.item(part, &d.name)).collect())
        };
        let Ok(offers) = offers(catalogue, need, known);
        let preemptible = if may_preempt {
            let line = catalogue.line(&need.part);
            self.live()
                .filter(|r| line.contains(&&r.part))
                .cloned()
                .collect()
        } else {
            Vec::new()
        };
        let plan = allocate(need, &offers, &catalogue.depots, &preemptible, at);
        let mut victims = Vec::new();
        let preempted: BTreeSet<ReservationId> = plan.preempted.iter().copied().collect();
        for id in &preempted {
            self.set_state(*id, ReservationState::Released);
            victims.extend(self.reservation(*id).cloned());
        }
        for a in plan.allocations {
            self.hold(a.reservation(ticket, need, at));
        }
        for victim in &victims {
            let again = need_of_victim(catalogue, victim, need);
            self.reserve(catalogue, victim.ticket, &again, false, at);
        }
        let freed: BTreeSet<&PartNumber> = victims.iter().map(|victim| &victim.part).collect();
        for part in freed {
            self.serve_back_orders(catalogue, part, &need.depot, at);
        }
    }

    /// Gives free stock to those who wait at that depot, as [`served`] says.
    pub(super) fn serve_back_orders(
        &mut self,
        catalogue: &Catalogue,
        part: &PartNumber,
        depot: &DepotName,
        at: Timestamp,
    ) {
        let relatives = catalogue.relatives(part);
        let here = Supply::BackOrder { to: depot.clone() };
        let waiting: Vec<Reservation> = self
            .live()
            .filter(|r| r.supply == here && relatives.contains(&r.part))
            .cloned()
            .collect();
        if waiting.is_empty() {
            return;
        }
        let free = self.item(part, depot).free();
        for after in served(catalogue, part, depot, free, waiting, at) {
            let found = place(after.id.0).and_then(|place| self.reservations.get_mut(place));
            if let Some(r) = found {
                self.unseen.insert(after.id);
                *r = after;
            }
        }
    }

    fn count_unit(
        &mut self,
        part: &PartNumber,
        unit: &Unit,
        place: &UnitPlace,
        change: i64,
        at: Timestamp,
    ) {
        let key = (
            part.clone(),
            unit.serial.clone(),
            unit.batch.clone(),
            place.key(),
        );
        let (before, since) = self.units.get(&key).copied().unwrap_or((0, at));
        let after = u32::try_from(i64::from(before) + change);
        assert!(after.is_ok(), "{unit:?} of {part}: {before} are {place}");
        match after.unwrap_or(before) {
            0 => self.units.remove(&key),
            n => self
                .units
                .insert(key, (n, if change > 0 { at } else { since })),
        };
    }

    /// What is known of pieces of `part` at `places`, and of those with `serials`.
    pub(super) fn units_known(
        &self,
        part: &PartNumber,
        places: &[UnitPlace],
        serials: &[SerialNumber],
    ) -> Vec<UnitAt> {
        let is_it = |unit: &UnitAt| {
            let is_named = unit.serial.as_ref().is_some_and(|s| serials.contains(s));
            unit.part == *part && (is_named || places.contains(&unit.place))
        };
        self.all_units().filter(is_it).collect()
    }

    fn all_units(&self) -> impl Iterator<Item = UnitAt> + '_ {
        self.units
            .iter()
            .filter_map(|((part, serial, batch, place), (quantity, since))| {
                Some(UnitAt {
                    part: part.clone(),
                    batch: batch.clone(),
                    serial: serial.clone(),
                    place: UnitPlace::of_key(place)?,
                    quantity: *quantity,
                    since: *since,
                })
            })
    }

    pub(super) fn units(&self, filter: &UnitFilter) -> Vec<UnitAt> {
        let is_of = |place: &UnitPlace, asset: &AssetId| match place {
            UnitPlace::Ticket(id) => self.ticket(*id).is_ok_and(|t| t.asset == *asset),
            UnitPlace::Shelf(_)
            | UnitPlace::Repair(_)
            | UnitPlace::CostCentre(_)
            | UnitPlace::Scrapped(_) => false,
        };
        let is_it = |unit: &UnitAt| {
            filter.part.as_ref().is_none_or(|p| unit.part == *p)
                && (filter.batch.is_none() || unit.batch == filter.batch)
                && (filter.serial.is_none() || unit.serial == filter.serial)
                && filter.asset.as_ref().is_none_or(|a| is_of(&unit.place, a))
        };
        self.all_units().filter(is_it).take(UNITS_MAX).collect()
    }

    pub(super) fn book(
        &mut self,
        kind: &str,
        part: &PartNumber,
        depot: &DepotName,
        delta: i64,
        units: &[Unit],
        cause: &Cause,
    ) {
        let units = units_of_line(kind, delta, units);
        let other = other_place(kind, depot, cause.ticket, cause.cost_centre.as_deref());
        for unit in &units {
            let shelf = UnitPlace::Shelf(depot.clone());
            self.count_unit(part, unit, &shelf, unit.delta, cause.at);
            if let Some(other) = &other {
                self.count_unit(part, unit, other, -unit.delta, cause.at);
            }
        }
        let shelf = self
            .shelves
            .entry((part.clone(), depot.clone()))
            .or_default();
        let on_hand = shelf.on_hand;
        let after = u32::try_from(i64::from(on_hand) + delta);
        assert!(
            after.is_ok(),
            "{part} at {depot}: {on_hand} on hand cannot change by {delta}"
        );
        shelf.on_hand = after.unwrap_or(on_hand);
        self.ledger.push(LedgerEntry {
            at: cause.at,
            kind: kind.to_owned(),
            part: part.clone(),
            depot: depot.clone(),
            delta,
            units,
            ticket: cause.ticket,
            cost_centre: cause.cost_centre.clone(),
            reason: cause.reason.clone(),
            by: cause.by.clone(),
        });
    }
}

/// Where the ticket or reservation of that number lies in its list.
fn place(number: i64) -> Option<usize> {
    usize::try_from(number - 1).ok()
}

fn bytes_of(entry: &NewEntry) -> i64 {
    let content = entry.content.as_ref();
    content.map_or(0, |c| i64::try_from(c.len()).unwrap_or(i64::MAX))
}

/// Tickets and reservations are numbered 1, 2, ...
pub(super) fn next_number(taken: usize) -> i64 {
    i64::try_from(taken).unwrap_or(i64::MAX - 1) + 1
}
