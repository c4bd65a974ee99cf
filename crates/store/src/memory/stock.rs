//! Commands on stock, and what lies where.

use forecare_care::stock::{HeldAsked, StockView, held_asked, need_of_short, plan_move};
use forecare_care::tracking::places_of;
use forecare_catalogue::Catalogue;
use forecare_domain::{
    DepotName, PartNumber, PurchaseOrder, Reservation, ReservationId, ReservationState,
    StockCommand, StockMove, Supply, Timestamp, Unit,
};

use super::desk::{Cause, Desk};
use crate::agreed::{
    ORDERS_MAX, check_asked, check_order, check_part, drawn, initial_stock, next_order, stock_list,
};
use crate::{ReservationFilter, StockItem, StockOutcome, StoreError};

impl Desk {
    pub(super) fn book_initial_stock(&mut self, catalogue: &Catalogue, now: Timestamp) {
        for command in initial_stock(catalogue, now) {
            let cause = cause(&command);
            let delta = i64::from(command.quantity);
            let units = initial_units(&command);
            self.book(
                "receipt",
                &command.part,
                &command.depot,
                delta,
                &units,
                &cause,
            );
            let asked = command.asked();
            self.commands_seen.insert(command.idempotency_key, asked);
        }
    }

    /// `is_place`: whether a depot or van of that name is known.
    pub(super) fn move_stock(
        &mut self,
        catalogue: &Catalogue,
        is_place: impl Fn(&DepotName) -> bool,
        command: &StockCommand,
    ) -> Result<StockOutcome, StoreError> {
        check_part(catalogue, &command.part)?;
        if let Some(before) = self.commands_seen.get(&command.idempotency_key) {
            check_asked(Some(before), command)?;
            return Ok(self.stock_outcome(command, Vec::new(), true));
        }
        let order = command.order.as_ref().and_then(|id| self.orders.get(id));
        check_order(order, command)?;
        let here = self.item(&command.part, &command.depot);
        let balance = here.balance();
        let there = match &command.kind {
            StockMove::Transfer { to } => {
                Some((self.item(&command.part, to).balance(), is_place(to)))
            }
            StockMove::Receipt
            | StockMove::Scrap
            | StockMove::Issue { .. }
            | StockMove::Count
            | StockMove::Return { .. }
            | StockMove::Repaired => None,
        };
        let ticket = command
            .ticket()
            .and_then(|id| self.ticket(id).ok())
            .cloned();
        let held = self.held(command);
        let units = self.units_known(&command.part, &places_of(command), &command.marks.serials);
        let view = StockView {
            here: &balance,
            in_repair: here.in_repair,
            is_place: is_place(&command.depot),
            there: there.as_ref().map(|(item, is_place)| (item, *is_place)),
            ticket: ticket.as_ref(),
            held: &held,
            at_cost_centre: self.at_cost_centre(command),
            tracking: catalogue.tracking(&command.part),
            units: &units,
        };
        let plan = plan_move(command, &view)?;
        let cause = cause(command);
        for line in &plan.lines {
            self.book(
                line.kind,
                &command.part,
                &line.depot,
                line.delta,
                &line.units,
                &cause,
            );
        }
        let key = (command.part.clone(), command.depot.clone());
        let shelf = self.shelves.entry(key).or_default();
        let in_repair = i64::from(shelf.in_repair) + plan.in_repair;
        shelf.in_repair = u32::try_from(in_repair).unwrap_or(0);
        if let Some(bin) = &command.bin {
            shelf.bin = Some(bin.clone());
        }
        for after in &plan.turned {
            self.held_as(after.id, after.state, after.quantity, after.used);
        }
        if let (Some(ticket), 1..) = (&ticket, plan.drawn) {
            self.hold(drawn(ticket, command, plan.drawn));
        }
        let n_before = self.reservations_made();
        for short in &plan.short {
            if let Some(need) = need_of_short(catalogue, short) {
                self.reserve(catalogue, short.ticket, &need, false, command.at);
            }
        }
        for depot in &plan.serve {
            self.serve_back_orders(catalogue, &command.part, depot, command.at);
        }
        self.tell_short(n_before, command.at)?;
        if let Some(order) = command
            .order
            .as_ref()
            .and_then(|id| self.orders.get_mut(id))
        {
            order.received = order.received.saturating_add(command.quantity);
        }
        let asked = command.asked();
        self.commands_seen
            .insert(command.idempotency_key.clone(), asked);
        let short = plan.short.iter().map(|r| r.id).collect();
        Ok(self.stock_outcome(command, short, false))
    }

    fn stock_outcome(
        &self,
        command: &StockCommand,
        short: Vec<ReservationId>,
        repeated: bool,
    ) -> StockOutcome {
        let there = match &command.kind {
            StockMove::Transfer { to } => Some(self.item(&command.part, to)),
            StockMove::Receipt
            | StockMove::Scrap
            | StockMove::Issue { .. }
            | StockMove::Count
            | StockMove::Return { .. }
            | StockMove::Repaired => None,
        };
        StockOutcome {
            item: self.item(&command.part, &command.depot),
            there,
            short,
            repeated,
        }
    }

    pub(super) fn put_order(
        &mut self,
        catalogue: &Catalogue,
        is_place: impl Fn(&DepotName) -> bool,
        order: PurchaseOrder,
    ) -> Result<PurchaseOrder, StoreError> {
        let before = self.orders.get(&order.id);
        let order = next_order(catalogue, is_place(&order.depot), before, order)?;
        self.orders.insert(order.id.clone(), order.clone());
        Ok(order)
    }

    pub(super) fn orders(&self, open_only: bool) -> Vec<PurchaseOrder> {
        let chosen = self.orders.values();
        let mut chosen: Vec<PurchaseOrder> = chosen
            .filter(|o| !open_only || o.outstanding() > 0)
            .cloned()
            .collect();
        chosen.sort_by_key(|o| o.due_at);
        chosen.truncate(ORDERS_MAX);
        chosen
    }

    fn held(&self, command: &StockCommand) -> Vec<Reservation> {
        let asked = held_asked(command);
        let filter = match asked {
            HeldAsked::None => return Vec::new(),
            HeldAsked::OfTicket(ticket) => ReservationFilter {
                ticket: Some(ticket),
                live: false,
            },
            HeldAsked::OnShelf => ReservationFilter {
                ticket: None,
                live: true,
            },
        };
        let is_asked = |r: &&Reservation| {
            let lies_here = || {
                matches!(&r.supply, Supply::Stock { depot } | Supply::Transfer { from: depot, .. }
                    if *depot == command.depot)
            };
            r.part == command.part && (asked != HeldAsked::OnShelf || lies_here())
        };
        let among = self.reservations_for(&filter);
        among.filter(is_asked).cloned().collect()
    }

    /// What went to the command's cost centre and did not come back.
    fn at_cost_centre(&self, command: &StockCommand) -> u32 {
        let Some(name) = command.cost_centre() else {
            return 0;
        };
        let its = self.ledger.iter().filter(|l| {
            l.part == command.part
                && l.cost_centre.as_deref() == Some(name)
                && (l.kind == "issue" || l.kind == "return")
        });
        u32::try_from(-its.map(|l| l.delta).sum::<i64>()).unwrap_or(0)
    }

    pub(super) fn stock(&self, catalogue: &Catalogue) -> Vec<StockItem> {
        let keys = self.shelves.keys();
        let known = keys.map(|(part, depot)| self.item(part, depot)).collect();
        let mut list = stock_list(catalogue, known);
        for item in &mut list {
            // Ordered before anything was ever there.
            *item = self.item(&item.part, &item.depot);
        }
        list
    }

    /// Stock of `part` at `depot`, counted from the reservations.
    pub(super) fn item(&self, part: &PartNumber, depot: &DepotName) -> StockItem {
        let mut item = StockItem::none(part.clone(), depot.clone());
        if let Some(shelf) = self.shelves.get(&(part.clone(), depot.clone())) {
            item.on_hand = shelf.on_hand;
            item.in_repair = shelf.in_repair;
            item.bin.clone_from(&shelf.bin);
        }
        for r in self.live().filter(|r| r.part == *part) {
            let held = r.quantity - r.used;
            match &r.supply {
                Supply::Stock { depot: at } | Supply::Transfer { from: at, .. } if at == depot => {
                    if r.state == ReservationState::Soft {
                        item.soft += held;
                    } else {
                        item.hard += held;
                    }
                }
                Supply::BackOrder { to } if to == depot => item.back_ordered += held,
                Supply::Stock { .. } | Supply::Transfer { .. } | Supply::BackOrder { .. } => {}
            }
        }
        item
    }
}

/// The pieces of stock to start with.
fn initial_units(command: &StockCommand) -> Vec<Unit> {
    let marks = &command.marks;
    let batch = &marks.batch;
    let serials = marks.serials.iter().cloned();
    let mut units: Vec<Unit> = serials
        .map(|s| Unit::of_serial(s, batch.clone(), 1))
        .collect();
    if let (true, Some(batch)) = (units.is_empty(), batch) {
        units.push(Unit::of_batch(batch.clone(), command.quantity.into()));
    }
    units
}

/// Why the command's lines are in the ledger.
fn cause(command: &StockCommand) -> Cause {
    Cause {
        ticket: command.ticket(),
        cost_centre: command.cost_centre().map(str::to_owned),
        reason: command.reason.clone(),
        by: command.by.clone(),
        at: command.at,
    }
}
