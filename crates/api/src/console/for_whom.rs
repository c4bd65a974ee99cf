//! On a ticket's page: the customer with whom to call, and what it has cost so far.

use forecare_domain::Timestamp;

use super::customers::{ContactView, TierView, contacts};
use super::format::{duration, money, money_exact};
use crate::cost::TicketCostDto;
use crate::for_whom::ForWhom;

/// The customer of a ticket's machine.
pub(super) struct CustomerView {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) tier: TierView,
    /// Title and id of the contract that covers the machine.
    pub(super) contract: Option<(String, String)>,
    /// Last day of the machine's warranty.
    pub(super) warranty: Option<String>,
    pub(super) contacts: Vec<ContactView>,
    pub(super) withheld: bool,
}

impl CustomerView {
    pub(super) fn new(of: ForWhom, now: Timestamp, withheld: bool) -> Self {
        Self {
            id: of.id.to_string(),
            name: of.customer.name.clone(),
            warranty: of.warranty_until.map(|until| until.to_string()),
            tier: of.tier.into(),
            contract: of.contract.map(|(id, contract, _)| {
                let title = contract.title.unwrap_or(contract.kind);
                (title, id.to_string())
            }),
            contacts: contacts(&of.customer, now),
            withheld,
        }
    }
}

/// What a ticket has cost so far.
pub(super) struct CostView {
    pub(super) total: String,
    pub(super) billable: String,
    /// What, how it is counted, and the cost.
    pub(super) lines: Vec<(String, String, String)>,
    pub(super) with_merged: Vec<i64>,
}

/// `how`, and why the customer does not pay for it.
fn paid(how: String, by: Option<&String>) -> String {
    match by {
        Some(by) => format!("{how}; {by}"),
        None => how,
    }
}

impl CostView {
    pub(super) fn new(cost: &TicketCostDto) -> Self {
        let currency = &cost.currency;
        let mut lines = Vec::new();
        if cost.minutes > 0 {
            let how = format!(
                "{} at {} an hour",
                duration(cost.minutes as f64 / 60.0),
                money_exact(cost.labour_per_hour, currency)
            );
            lines.push((
                "Labour and travel".to_owned(),
                paid(how, cost.labour_paid_by.as_ref()),
                money_exact(cost.labour, currency),
            ));
        }
        for part in &cost.parts {
            let how = match part.unit_cost {
                Some(price) => format!("{} at {}", part.quantity, money_exact(price, currency)),
                None => format!("{}, not in the catalogue any more: no price", part.quantity),
            };
            let how = paid(how, part.paid_by.as_ref());
            lines.push((part.title.clone(), how, money_exact(part.cost, currency)));
        }
        Self {
            total: money(cost.total, currency),
            billable: money(cost.billable, currency),
            lines,
            with_merged: cost.with_merged.clone(),
        }
    }
}
