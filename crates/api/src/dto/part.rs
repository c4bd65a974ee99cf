//! Parts, stock, reservations, ledger.

use std::collections::BTreeMap;

use forecare_domain::{Channel, Fate, Reservation, ReservationState, Supply, Timestamp};
use forecare_store::{LedgerEntry, StockItem, StockOutcome};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ticket_search::priority_label;

/// Stock of one part at one place.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct StockDto {
    /// The depot, or a van as `van:<id>`.
    pub(crate) depot: String,
    /// On the shelf.
    pub(crate) on_hand: u32,
    /// Of these, held softly: can expire or be pre-empted.
    pub(crate) held_soft: u32,
    /// Of these, held for good.
    pub(crate) held_hard: u32,
    /// On hand less what is held for good.
    pub(crate) available: u32,
    /// Waiting for the supplier.
    pub(crate) back_ordered: u32,
    /// Handed in here as defective, and in repair since.
    pub(crate) in_repair: u32,
    /// The bin it lies in.
    pub(crate) bin: Option<String>,
}

impl From<StockItem> for StockDto {
    fn from(s: StockItem) -> Self {
        Self {
            depot: s.depot.into(),
            on_hand: s.on_hand,
            held_soft: s.soft,
            held_hard: s.hard,
            available: s.on_hand.saturating_sub(s.hard),
            back_ordered: s.back_ordered,
            in_repair: s.in_repair,
            bin: s.bin,
        }
    }
}

/// A spare part and its stock.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PartDto {
    /// Part number.
    pub(crate) number: String,
    /// What people call it.
    pub(crate) title: String,
    /// Supplier's lead time, hours.
    pub(crate) lead_time_hours: f64,
    /// Price of one, in `currency`.
    pub(crate) unit_cost: f64,
    /// Currency of the price.
    pub(crate) currency: String,
    /// What has taken its place: it is used up, and not ordered any more.
    pub(crate) superseded_by: Option<String>,
    /// Parts that may stand in for it, the preferred one first.
    pub(crate) substitutes: Vec<String>,
    /// How its pieces are told apart: `no`, `batch` or `serial`.
    pub(crate) tracked: String,
    /// Stock by depot.
    pub(crate) stock: Vec<StockDto>,
}

/// Parts that are needed together.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KitDto {
    /// The kit's number; it may be named in `parts_used`.
    pub(crate) number: String,
    /// What people call it.
    pub(crate) title: String,
    /// Pieces in it, by part number.
    pub(crate) parts: BTreeMap<String, u32>,
}

/// Which pieces of a part that is tracked.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MarksDto {
    /// Their batch.
    pub(crate) batch: Option<String>,
    /// Their serial numbers.
    #[serde(default)]
    pub(crate) serials: Vec<String>,
}

/// Where a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnitPlaceDto {
    /// On a shelf.
    Shelf,
    /// In repair.
    Repair,
    /// Handed out to a ticket that is worked on.
    Issued,
    /// In the machine of a ticket whose work is over.
    Installed,
    /// With a cost centre.
    CostCentre,
    /// Gone for good.
    Scrapped,
}

/// A piece of a part, or several of a batch, and where they are.
#[derive(Debug, Serialize, ToSchema)]
pub struct UnitDto {
    /// The part.
    pub part: String,
    /// Its batch, where known.
    pub batch: Option<String>,
    /// Its serial number, where it has one.
    pub serial: Option<String>,
    /// How many.
    pub quantity: u32,
    /// Where.
    pub place: UnitPlaceDto,
    /// Of `shelf` and `repair`: the depot, or a van as `van:<id>`.
    pub depot: Option<String>,
    /// Of `cost_centre`: which.
    pub cost_centre: Option<String>,
    /// Of `issued` and `installed`: the ticket's number.
    pub ticket_id: Option<i64>,
    /// Of `issued` and `installed`: the machine.
    pub asset_id: Option<String>,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// What a movement moved of one batch, or of one piece.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LedgerUnitDto {
    /// Its batch, where known.
    pub(crate) batch: Option<String>,
    /// Its serial number, where it has one.
    pub(crate) serial: Option<String>,
    /// How many: negative ones leave the shelf.
    pub(crate) delta: i64,
}

/// Parts that arrived.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReceiptDto {
    /// Where.
    pub(crate) depot: String,
    /// How many, 1 to 1,000,000.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub(crate) quantity: u32,
    /// The order they are of.
    pub(crate) order: Option<String>,
    /// Their batch; needed of a part that is tracked by batch.
    pub(crate) batch: Option<String>,
    /// Their serial numbers; as many as `quantity` of a part that is tracked by serial number.
    #[serde(default)]
    pub(crate) serials: Vec<String>,
}

/// What kind of movement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MovementKindDto {
    /// Parts arrive from a supplier.
    Receipt,
    /// Parts are handed out to a ticket or a cost centre.
    Issue,
    /// Parts go to another place.
    Transfer,
    /// The shelf was counted: `quantity` is what was found.
    Count,
    /// Parts that were handed out come back.
    Return,
    /// Parts come back from the repair shop.
    Repaired,
    /// Parts are thrown away.
    Scrap,
}

/// What becomes of parts that come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FateDto {
    /// Unused: on the shelf again.
    Shelf,
    /// Defective: thrown away.
    Scrap,
    /// Defective: to the repair shop.
    Repair,
}

impl From<FateDto> for Fate {
    fn from(fate: FateDto) -> Self {
        match fate {
            FateDto::Shelf => Self::Shelf,
            FateDto::Scrap => Self::Scrap,
            FateDto::Repair => Self::Repair,
        }
    }
}

/// A movement of stock.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MovementDto {
    /// What kind.
    pub(crate) kind: MovementKindDto,
    /// Where: a depot, or a van as `van:<id>`.
    pub(crate) depot: String,
    /// How many, 1 to 1,000,000; of a count, what was found, from 0.
    #[schema(minimum = 0, maximum = 1_000_000)]
    pub(crate) quantity: u32,
    /// Of an issue or a return: the ticket, 7 or T-7.
    pub(crate) ticket: Option<String>,
    /// Of an issue or a return: the cost centre, where it is no ticket.
    pub(crate) cost_centre: Option<String>,
    /// Of a transfer: where to.
    pub(crate) to: Option<String>,
    /// Of a return: what becomes of the parts; `shelf` where not given.
    pub(crate) fate: Option<FateDto>,
    /// Of a receipt: the order it is of.
    pub(crate) order: Option<String>,
    /// Why, in words; a count that finds a difference must say.
    pub(crate) reason: Option<String>,
    /// The bin in which the part lies at `depot` from now on.
    pub(crate) bin: Option<String>,
    /// Of a part that is tracked: the batch.
    pub(crate) batch: Option<String>,
    /// Of a part that is tracked by serial number: which pieces; of a count, all that were found.
    #[serde(default)]
    pub(crate) serials: Vec<String>,
}

/// What a movement came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MovedDto {
    /// The stock after it.
    pub(crate) stock: StockDto,
    /// Of a transfer: the stock at its destination.
    pub(crate) there: Option<StockDto>,
    /// Reservations that a count has found to have no parts any more; they were served anew from elsewhere, or ordered.
    pub(crate) short: Vec<i64>,
    /// True where the key was known and nothing was changed now.
    pub(crate) repeated: bool,
    /// Of a receipt for an order of which more has arrived than was ordered: that, in words.
    pub(crate) more_than_ordered: Option<String>,
}

impl From<StockOutcome> for MovedDto {
    fn from(outcome: StockOutcome) -> Self {
        Self {
            stock: outcome.item.into(),
            there: outcome.there.map(Into::into),
            short: outcome.short.into_iter().map(|id| id.0).collect(),
            repeated: outcome.repeated,
            more_than_ordered: None,
        }
    }
}

/// Where a reserved part comes from.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum SupplyDto {
    /// The shelf of the depot that serves the asset.
    Stock {
        /// That depot.
        depot: String,
    },
    /// The shelf of another depot.
    Transfer {
        /// Where it lies.
        from: String,
        /// Where it is needed.
        to: String,
    },
    /// The supplier.
    BackOrder {
        /// Where it is to arrive.
        to: String,
    },
}

impl From<Supply> for SupplyDto {
    fn from(supply: Supply) -> Self {
        match supply {
            Supply::Stock { depot } => Self::Stock {
                depot: depot.into(),
            },
            Supply::Transfer { from, to } => Self::Transfer {
                from: from.into(),
                to: to.into(),
            },
            Supply::BackOrder { to } => Self::BackOrder { to: to.into() },
        }
    }
}

/// Life of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReservationStateDto {
    /// Can expire or be pre-empted.
    Soft,
    /// Held for good.
    Hard,
    PartlyUsed,
    Consumed,
    Released,
    Expired,
}

impl From<ReservationState> for ReservationStateDto {
    fn from(state: ReservationState) -> Self {
        match state {
            ReservationState::Soft => Self::Soft,
            ReservationState::Hard => Self::Hard,
            ReservationState::PartlyUsed => Self::PartlyUsed,
            ReservationState::Consumed => Self::Consumed,
            ReservationState::Released => Self::Released,
            ReservationState::Expired => Self::Expired,
        }
    }
}

/// A number of parts held for a ticket.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ReservationDto {
    /// The reservation's number.
    pub(crate) id: i64,
    /// The ticket's number.
    pub(crate) ticket_id: i64,
    /// The ticket's priority when it was made: `P1` to `P4`.
    pub(crate) priority: String,
    /// The part.
    pub(crate) part: String,
    /// The part that was asked for, where `part` stands in for it: its successor, or a substitute.
    pub(crate) instead_of: Option<String>,
    /// How many are held.
    pub(crate) quantity: u32,
    /// How many of them are used already.
    pub(crate) used: u32,
    /// Where they come from.
    pub(crate) supply: SupplyDto,
    /// Where in its life it is.
    pub(crate) state: ReservationStateDto,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) reserved_at: Timestamp,
    /// When the parts are needed.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) needed_at: Timestamp,
    /// When they can be there.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) available_at: Timestamp,
    /// When the soft hold ends.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) expires_at: Timestamp,
}

impl From<Reservation> for ReservationDto {
    fn from(r: Reservation) -> Self {
        Self {
            id: r.id.0,
            ticket_id: r.ticket.0,
            priority: priority_label(r.priority).to_owned(),
            part: r.part.into(),
            instead_of: r.instead_of.map(Into::into),
            quantity: r.quantity,
            used: r.used,
            supply: r.supply.into(),
            state: r.state.into(),
            reserved_at: r.reserved_at,
            needed_at: r.needed_at,
            available_at: r.available_at,
            expires_at: r.expires_at,
        }
    }
}

/// From where a change came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChannelDto {
    System,
    Device,
    Api,
    Console,
    Cli,
    Customer,
    /// A message by e-mail.
    Email,
}

impl From<Channel> for ChannelDto {
    fn from(channel: Channel) -> Self {
        match channel {
            Channel::System => Self::System,
            Channel::Device => Self::Device,
            Channel::Api => Self::Api,
            Channel::Console => Self::Console,
            Channel::Cli => Self::Cli,
            Channel::Customer => Self::Customer,
            Channel::Email => Self::Email,
        }
    }
}

/// One line of the append-only stock ledger.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LedgerEntryDto {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    /// `receipt`, `issue`, `consumed`, `return`, `scrap`, `count`, `repair_out`, `repair_in`, `transfer_out`,
    /// `transfer_in`.
    pub(crate) kind: String,
    /// The part.
    pub(crate) part: String,
    /// The depot.
    pub(crate) depot: String,
    /// Change of stock on hand: negative when parts leave.
    pub(crate) delta: i64,
    /// Which pieces, as far as they are told apart.
    pub(crate) units: Vec<LedgerUnitDto>,
    /// The ticket it was for.
    pub(crate) ticket_id: Option<i64>,
    /// The cost centre it was for.
    pub(crate) cost_centre: Option<String>,
    /// Why, in words.
    pub(crate) reason: Option<String>,
    /// Who.
    pub(crate) by: String,
    /// From where.
    pub(crate) channel: ChannelDto,
}

impl From<LedgerEntry> for LedgerEntryDto {
    fn from(e: LedgerEntry) -> Self {
        Self {
            at: e.at,
            kind: e.kind,
            part: e.part.into(),
            depot: e.depot.into(),
            delta: e.delta,
            units: e
                .units
                .into_iter()
                .map(|unit| LedgerUnitDto {
                    batch: unit.batch.map(Into::into),
                    serial: unit.serial.map(Into::into),
                    delta: unit.delta,
                })
                .collect(),
            ticket_id: e.ticket.map(|t| t.0),
            cost_centre: e.cost_centre,
            reason: e.reason,
            by: e.by.name,
            channel: e.by.channel.into(),
        }
    }
}
