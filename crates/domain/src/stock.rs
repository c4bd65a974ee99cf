//! Commands on stock.

use serde::{Deserialize, Serialize};

use crate::{Actor, DepotName, Marks, OrderId, PartNumber, TicketId, Timestamp};

/// Who parts go to when they leave the shelf for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consumer {
    /// A ticket.
    Ticket(TicketId),
    /// A cost centre of the accounts: a workshop, a training, a customer without a ticket.
    CostCentre(String),
}

/// What becomes of parts that come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Unused: on the shelf again.
    Shelf,
    /// Defective, not worth a repair: thrown away.
    Scrap,
    /// Defective: to the repair shop.
    Repair,
}

/// A movement of stock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StockMove {
    /// Parts arrive from a supplier. Back-orders of that part at that depot are served in order of priority,
    /// then age.
    Receipt,
    /// Parts are thrown away.
    Scrap,
    /// Parts are handed out: to a ticket from what is held for it, then from what nobody holds; to a cost centre only
    /// from what nobody holds.
    Issue {
        /// Who gets them.
        to: Consumer,
    },
    /// Parts that nobody holds go to another place, and are there at once.
    Transfer {
        /// Where to.
        to: DepotName,
    },
    /// The shelf was counted: the quantity is what was found there, held parts included. 0 is allowed.
    Count,
    /// Parts that were handed out come back.
    Return {
        /// Who gives them back; no more than went there.
        from: Consumer,
        /// What becomes of them.
        fate: Fate,
    },
    /// Parts come back from the repair shop, as good as new.
    Repaired,
}

/// A command on stock. Idempotent by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockCommand {
    /// The caller's key; the same key again changes nothing.
    pub idempotency_key: String,
    /// What kind of movement.
    pub kind: StockMove,
    /// The part.
    pub part: PartNumber,
    /// The place: a depot, or a van as `van:<id>`.
    pub depot: DepotName,
    /// How many. At least 1; of a count, what was found, at least 0.
    pub quantity: u32,
    /// The order that a receipt is of: so many fewer are still to come of it.
    pub order: Option<OrderId>,
    /// Why, in words; a count that finds a difference must say.
    pub reason: Option<String>,
    /// The bin in which the part lies at `depot` from now on; `None`: as before.
    pub bin: Option<String>,
    /// Which pieces, of a part that is tracked.
    pub marks: Marks,
    /// Who.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
}

/// What a key was used for: the same key with another one of these is a mistake of the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockAsked {
    /// The movement.
    pub kind: StockMove,
    /// The part.
    pub part: PartNumber,
    /// The place.
    pub depot: DepotName,
    /// How many.
    pub quantity: u32,
    /// The order that a receipt is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderId>,
    /// Which pieces.
    #[serde(default, skip_serializing_if = "Marks::is_empty")]
    pub marks: Marks,
}

/// Parts on order at a supplier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurchaseOrder {
    /// The buyer's number of it, or of its line.
    pub id: OrderId,
    /// The part.
    pub part: PartNumber,
    /// Where it is to arrive.
    pub depot: DepotName,
    /// How many were ordered. At least 1.
    pub quantity: u32,
    /// How many of them have arrived; the store counts them.
    pub received: u32,
    /// When they are to arrive.
    pub due_at: Timestamp,
    /// Nothing more is to come.
    pub is_cancelled: bool,
    /// Who changed it last.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
}

/// How the name of a van's stock begins; the van's id follows.
pub const VAN_PREFIX: &str = "van:";

impl StockCommand {
    /// What its key is used for.
    #[must_use]
    pub fn asked(&self) -> StockAsked {
        StockAsked {
            kind: self.kind.clone(),
            part: self.part.clone(),
            depot: self.depot.clone(),
            quantity: self.quantity,
            order: self.order.clone(),
            marks: self.marks.clone(),
        }
    }

    /// The ticket that the parts go to or come from.
    #[must_use]
    pub fn ticket(&self) -> Option<TicketId> {
        match self.consumer()? {
            Consumer::Ticket(id) => Some(*id),
            Consumer::CostCentre(_) => None,
        }
    }

    /// The cost centre that the parts go to or come from.
    #[must_use]
    pub fn cost_centre(&self) -> Option<&str> {
        match self.consumer()? {
            Consumer::Ticket(_) => None,
            Consumer::CostCentre(name) => Some(name),
        }
    }

    fn consumer(&self) -> Option<&Consumer> {
        match &self.kind {
            StockMove::Issue { to } => Some(to),
            StockMove::Return { from, .. } => Some(from),
            StockMove::Receipt
            | StockMove::Scrap
            | StockMove::Transfer { .. }
            | StockMove::Count
            | StockMove::Repaired => None,
        }
    }
}

impl PurchaseOrder {
    /// Pieces still to come.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        if self.is_cancelled {
            0
        } else {
            self.quantity.saturating_sub(self.received)
        }
    }
}
