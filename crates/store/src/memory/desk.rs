//! Tickets, reservations and stock.

use std::collections::BTreeMap;

use forecare_care::{Balance, Need, NewTicket, allocate, settle};
use forecare_catalogue::Catalogue;
use forecare_domain::{
    Actor, CareTask, Decision, DepotName, Label, OrderId, PartNumber, PurchaseOrder, Reservation,
    ReservationId, ReservationState, StockAsked, Supply, TaskId, Ticket, TicketId, Timestamp,
};

use crate::agreed::{forecare, need_of_victim};
use crate::{
    CareCommit, CareOutcome, LedgerEntry, NewTask, ReservationWrite, StoreError, TicketWrite,
};

#[derive(Debug, Clone, Default)]
pub(super) struct Desk {
    pub(super) tasks: BTreeMap<TaskId, CareTask>,
    n_tasks: i64,
    outcomes: BTreeMap<String, CareOutcome>,
    pub(super) tickets: Vec<Ticket>,
    pub(super) reservations: Vec<Reservation>,
    pub(super) shelves: BTreeMap<(PartNumber, DepotName), Shelf>,
    pub(super) ledger: Vec<LedgerEntry>,
    pub(super) orders: BTreeMap<OrderId, PurchaseOrder>,
    pub(super) commands_seen: BTreeMap<String, StockAsked>,
    pub(super) labels: Vec<Label>,
    pub(super) decisions: Vec<Decision>,
}

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
        let place = usize::try_from(id.0 - 1).ok();
        let ticket = place.and_then(|place| self.tickets.get(place));
        ticket.ok_or_else(|| StoreError::NotFound(format!("ticket {id}")))
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
                settled = settle(&self.held_for(ticket.id), ticket, parts_used);
            }
        }
        for write in &commit.reservations {
            let found = self.reservations.iter().find(|r| r.id == write.id);
            let r =
                found.ok_or_else(|| StoreError::NotFound(format!("reservation {}", write.id)))?;
            let after = settled.iter().find(|(id, ..)| *id == write.id);
            let state = after.map_or(r.state, |(_, state, _)| *state);
            if state == write.from && !state.is_live() {
                return Err(StoreError::reservation_over(r.id, state));
            }
        }
        for (id, _) in &commit.needs {
            self.ticket(*id)?;
        }
        Ok(())
    }

    fn held_for(&self, ticket: TicketId) -> Vec<Reservation> {
        let its = self.reservations.iter().filter(|r| r.ticket == ticket);
        its.cloned().collect()
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
        if let Some(task) = commit.task {
            self.tasks.remove(&task);
        }
        let outcome = match commit.ticket {
            TicketWrite::None => CareOutcome::Stored,
            TicketWrite::Open(new) => self.open(catalogue, *new, commit.at),
            TicketWrite::Update { ticket, parts_used } => {
                self.update(*ticket, &parts_used, commit.at)
            }
        };
        for write in commit.reservations {
            self.write_reservation(&write, commit.at);
        }
        for (id, need) in commit.needs {
            if self.ticket(id)?.state.is_open() {
                self.reserve(catalogue, id, &need, true, commit.at);
            }
        }
        self.decisions.extend(commit.decision);
        self.labels.extend(commit.label);
        self.queue(commit.follow_up.into_iter().map(NewTask).collect());
        if let Some(key) = commit.idempotency_key {
            self.outcomes.insert(key, outcome.clone());
        }
        Ok(outcome)
    }

    fn open_for(&self, ticket: &Ticket) -> Option<TicketId> {
        let same =
            |t: &&Ticket| t.state.is_open() && t.asset == ticket.asset && t.mode == ticket.mode;
        self.tickets.iter().find(same).map(|t| t.id)
    }

    fn open(&mut self, catalogue: &Catalogue, new: NewTicket, at: Timestamp) -> CareOutcome {
        if let Some(id) = self.open_for(&new.ticket) {
            return CareOutcome::AlreadyOpen(id);
        }
        let id = TicketId(next_number(self.tickets.len()));
        let ticket = Ticket {
            id,
            version: 1,
            ..new.ticket
        };
        self.tickets.push(ticket.clone());
        for need in &new.needs {
            self.reserve(catalogue, id, need, true, at);
        }
        let reservations = self
            .reservations
            .iter()
            .filter(|r| r.ticket == id)
            .cloned()
            .collect();
        CareOutcome::Opened {
            ticket: Box::new(ticket),
            reservations,
        }
    }

    /// Takes a ticket after a change that [`Desk::check`] has passed.
    fn update(
        &mut self,
        mut ticket: Ticket,
        parts_used: &[(PartNumber, u32)],
        at: Timestamp,
    ) -> CareOutcome {
        ticket.version += 1;
        let place = usize::try_from(ticket.id.0 - 1).ok();
        if let Some(kept) = place.and_then(|place| self.tickets.get_mut(place)) {
            *kept = ticket.clone();
        }
        let its = self.held_for(ticket.id);
        let by = ticket
            .history
            .last()
            .map_or_else(forecare, |change| change.by.clone());
        for (id, state, used) in settle(&its, &ticket, parts_used) {
            let cause = Cause::of_ticket(ticket.id, by.clone(), at);
            self.turn(id, state, used, &cause);
        }
        CareOutcome::Updated(Box::new(ticket))
    }

    fn write_reservation(&mut self, write: &ReservationWrite, at: Timestamp) {
        let found = self.reservations.iter_mut().find(|r| r.id == write.id);
        let Some(r) = found.filter(|r| r.state == write.from) else {
            return;
        };
        r.expires_at = write.expires_at;
        let used = if write.to == ReservationState::Consumed {
            r.quantity
        } else {
            r.used
        };
        let cause = Cause::of_ticket(r.ticket, forecare(), at);
        self.turn(write.id, write.to, used, &cause);
    }

    /// Brings a reservation into `state` with `used` parts used in all, and books what that means.
    fn turn(&mut self, id: ReservationId, state: ReservationState, used: u32, cause: &Cause) {
        let Some(r) = self.reservations.iter_mut().find(|r| r.id == id) else {
            return;
        };
        let newly_used = i64::from(used) - i64::from(r.used);
        r.state = state;
        r.used = used;
        let (part, supply) = (r.part.clone(), r.supply.clone());
        if newly_used > 0 {
            match &supply {
                Supply::Stock { depot } => self.book("consumed", &part, depot, -newly_used, cause),
                Supply::Transfer { from, to } => {
                    self.book("transfer_out", &part, from, -newly_used, cause);
                    self.book("transfer_in", &part, to, newly_used, cause);
                    self.book("consumed", &part, to, -newly_used, cause);
                }
                // Used before the store heard of its arrival: the supplier delivered to the site.
                Supply::BackOrder { to } => {
                    self.book("receipt", &part, to, newly_used, cause);
                    self.book("consumed", &part, to, -newly_used, cause);
                }
            }
        }
        if let (false, Supply::Stock { depot } | Supply::Transfer { from: depot, .. }) =
            (state.is_live(), &supply)
        {
            self.serve_back_orders(&part, depot, cause.at);
        }
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
        let balance = |depot: &DepotName| self.item(&need.part, depot).balance();
        let balances: Vec<Balance> = catalogue.depots.iter().map(|d| balance(&d.name)).collect();
        let preemptible = if may_preempt {
            self.reservations.clone()
        } else {
            Vec::new()
        };
        let plan = allocate(need, &balances, &catalogue.depots, &preemptible, at);
        let mut victims = Vec::new();
        for r in self
            .reservations
            .iter_mut()
            .filter(|r| plan.preempted.contains(&r.id))
        {
            r.state = ReservationState::Released;
            victims.push(r.clone());
        }
        for a in plan.allocations {
            self.reservations.push(Reservation {
                id: ReservationId(next_number(self.reservations.len())),
                ticket,
                priority: need.priority,
                part: need.part.clone(),
                quantity: a.quantity,
                used: 0,
                supply: a.supply,
                state: a.state,
                reserved_at: at,
                needed_at: need.needed_at,
                available_at: a.available_at,
                expires_at: a.expires_at,
            });
        }
        for victim in &victims {
            let again = need_of_victim(victim, need);
            self.reserve(catalogue, victim.ticket, &again, false, at);
        }
        if !victims.is_empty() {
            self.serve_back_orders(&need.part, &need.depot, at);
        }
    }

    /// Gives free stock to those who wait for it at that depot, by priority, then age. One that the stock
    /// does not suffice for is passed over.
    pub(super) fn serve_back_orders(
        &mut self,
        part: &PartNumber,
        depot: &DepotName,
        at: Timestamp,
    ) {
        let mut free = self.item(part, depot).free();
        let here = Supply::BackOrder { to: depot.clone() };
        let mut waiting: Vec<&mut Reservation> = self
            .reservations
            .iter_mut()
            .filter(|r| r.state.is_live() && r.part == *part && r.supply == here)
            .collect();
        waiting.sort_by_key(|r| (r.priority, r.reserved_at, r.id));
        for r in waiting {
            let wanted = r.quantity - r.used;
            if wanted <= free {
                free -= wanted;
                r.supply = Supply::Stock {
                    depot: depot.clone(),
                };
                r.available_at = at;
            }
        }
    }

    pub(super) fn book(
        &mut self,
        kind: &str,
        part: &PartNumber,
        depot: &DepotName,
        delta: i64,
        cause: &Cause,
    ) {
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
            ticket: cause.ticket,
            cost_centre: cause.cost_centre.clone(),
            reason: cause.reason.clone(),
            by: cause.by.clone(),
        });
    }
}

/// Tickets and reservations are numbered 1, 2, ...
pub(super) fn next_number(taken: usize) -> i64 {
    i64::try_from(taken).unwrap_or(i64::MAX - 1) + 1
}
