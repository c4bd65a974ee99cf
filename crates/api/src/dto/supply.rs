//! Orders at suppliers, what can be promised when, what to order.

use forecare_domain::{PurchaseOrder, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::reorder::PartAdvice;

/// Parts to be ordered, or on order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PurchaseOrderPutDto {
    /// The part's number.
    pub(crate) part: String,
    /// Where they are to arrive: a depot, or a van as `van:<id>`.
    pub(crate) depot: String,
    /// How many, 1 to 1,000,000.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub(crate) quantity: u32,
    /// When they are to arrive.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) due_at: Timestamp,
    /// True: nothing more is to come.
    #[serde(default)]
    pub(crate) cancelled: bool,
}

/// Parts on order at a supplier.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PurchaseOrderDto {
    /// The buyer's number of it.
    pub(crate) id: String,
    /// The part's number.
    pub(crate) part: String,
    /// Where they are to arrive.
    pub(crate) depot: String,
    /// How many were ordered.
    pub(crate) quantity: u32,
    /// How many of them have arrived.
    pub(crate) received: u32,
    /// How many are still to come.
    pub(crate) outstanding: u32,
    /// When they are to arrive.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) due_at: Timestamp,
    /// Nothing more is to come.
    pub(crate) cancelled: bool,
    /// Who changed it last.
    pub(crate) by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
}

/// Orders, by the time they are due.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PurchaseOrdersDto {
    /// The orders, at most 10,000.
    pub(crate) items: Vec<PurchaseOrderDto>,
}

impl From<PurchaseOrder> for PurchaseOrderDto {
    fn from(o: PurchaseOrder) -> Self {
        Self {
            outstanding: o.outstanding(),
            id: o.id.into(),
            part: o.part.into(),
            depot: o.depot.into(),
            quantity: o.quantity,
            received: o.received,
            due_at: o.due_at,
            cancelled: o.is_cancelled,
            by: o.by.name,
            at: o.at,
        }
    }
}

/// What can be promised from an instant on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PromiseDto {
    /// From when on.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    /// What comes (above 0) or is needed (below 0) then.
    pub(crate) change: i64,
    /// Projected to be there then; below 0: so many are missing.
    pub(crate) projected: i64,
    /// Can be promised for then without breaking what is promised already.
    pub(crate) promisable: u32,
}

/// How many parts can be promised when.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AvailabilityDto {
    /// The part's number.
    pub(crate) part: String,
    /// The place that was asked for; none: all together.
    pub(crate) depot: Option<String>,
    /// On the shelf now.
    pub(crate) on_hand: u32,
    /// Now, and after each order that arrives and each need that falls due.
    pub(crate) points: Vec<PromiseDto>,
}

/// A machine that may come to need the part.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LikelyNeedDto {
    /// The asset.
    pub(crate) asset_id: String,
    /// The failure mode.
    pub(crate) mode: String,
    /// Probability of it within the horizon, 0 to 1.
    pub(crate) probability: f64,
    /// The horizon, hours.
    pub(crate) horizon_hours: f64,
    /// Pieces needed then.
    pub(crate) quantity: u32,
}

/// What to order of a part, and the numbers behind it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReorderDto {
    /// The part's number.
    pub(crate) part: String,
    /// What people call it.
    pub(crate) title: String,
    /// Pieces to order now; 0: none.
    pub(crate) quantity: u32,
    /// Where they are best sent: the depot whose machines are likeliest to need them.
    pub(crate) depot: Option<String>,
    /// Price of that quantity, in `currency`.
    pub(crate) cost: f64,
    /// Currency of the price.
    pub(crate) currency: String,
    /// Order where `position` is below this.
    pub(crate) reorder_point: u32,
    /// What an order brings `position` to.
    pub(crate) order_up_to: u32,
    /// On hand - held + on order - back-ordered.
    pub(crate) position: i64,
    /// On the shelves of all places.
    pub(crate) on_hand: u32,
    /// Of these, held for tickets.
    pub(crate) held: u32,
    /// Waited for by tickets.
    pub(crate) back_ordered: u32,
    /// Ordered, still to come.
    pub(crate) on_order: u32,
    /// Supplier's lead time, hours.
    pub(crate) lead_time_hours: f64,
    /// Pieces that machines with a prognosis are expected to need within the lead time.
    pub(crate) expected_predicted: f64,
    /// Pieces expected to be used within the lead time beside them, at the past rate.
    pub(crate) expected_base: f64,
    /// Probability that what there is does not last until an order of now would arrive, 0 to 1.
    pub(crate) short_probability: f64,
    /// Machines with a prognosis for a mode that needs the part, and no ticket for it.
    pub(crate) machines_at_risk: usize,
    /// The likeliest five of them.
    pub(crate) likeliest: Vec<LikelyNeedDto>,
    /// Pieces used since `history_from`, less those that came back.
    pub(crate) used: i64,
    /// Times a year that the mean stock is used up; null: there was no stock, or the history is shorter than 30 days.
    pub(crate) turns_per_year: Option<f64>,
    /// How long what is on hand lasts at the past rate, days; null: nothing was used, or the history is shorter than 30 days.
    pub(crate) days_of_cover: Option<f64>,
    /// When it was last used, within the history.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) last_used_at: Option<Timestamp>,
    /// Some lie there and none was used for `parts.slow_after_days`.
    pub(crate) slow: bool,
    /// The reasoning in a sentence.
    pub(crate) why: String,
}

/// What to order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReorderListDto {
    /// Probability with which an order cycle is to end without a part missing.
    pub(crate) service_level: f64,
    /// How long an order is to last beyond the lead time, days.
    pub(crate) cycle_days: f64,
    /// Since when consumption was looked at.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) history_from: Timestamp,
    /// Every part, in the catalogue's order.
    pub(crate) items: Vec<ReorderDto>,
}

impl ReorderDto {
    pub(crate) fn new(a: &PartAdvice<'_>, currency: &str, service_level: f64) -> Self {
        let advice = &a.advice;
        Self {
            part: a.part.number.to_string(),
            title: a.part.title.clone(),
            quantity: advice.quantity,
            depot: a.depot.as_ref().map(ToString::to_string),
            cost: f64::from(advice.quantity) * a.part.unit_cost,
            currency: currency.to_owned(),
            reorder_point: advice.reorder_point,
            order_up_to: advice.order_up_to,
            position: advice.position,
            on_hand: a.on_hand,
            held: a.held,
            back_ordered: a.back_ordered,
            on_order: a.on_order,
            lead_time_hours: a.part.lead_time_hours,
            expected_predicted: advice.expected_predicted,
            expected_base: advice.expected_base,
            short_probability: advice.short_probability,
            machines_at_risk: a.n_machines,
            likeliest: a
                .machines
                .iter()
                .map(|m| LikelyNeedDto {
                    asset_id: m.asset.to_string(),
                    mode: m.mode.to_string(),
                    probability: m.need.probability,
                    horizon_hours: m.need.horizon_hours,
                    quantity: m.need.quantity,
                })
                .collect(),
            used: a.turnover.used,
            turns_per_year: a.turnover.turns_per_year.filter(|_| !a.is_early),
            days_of_cover: a.turnover.days_of_cover.filter(|_| !a.is_early),
            last_used_at: a.turnover.last_used_at,
            slow: a.is_slow,
            why: a.why(service_level),
        }
    }
}
