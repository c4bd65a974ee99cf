//! What tickets cost: the hours people booked and the parts they used.

use std::collections::BTreeMap;

use forecare_domain::{Ticket, TicketId};

/// What was booked on a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Booked {
    /// Minutes, travel included.
    pub minutes: u64,
    /// Parts used: those given back unused are not among them.
    pub n_parts: i64,
    /// What these cost.
    pub parts: f64,
}

/// Cost by ticket, in the currency of the prices; `labour_per_hour` in the same. What was booked on a ticket that was merged
/// counts for the one that goes on. A ticket on which nothing was booked is left out: its cost is not known.
#[must_use]
pub fn costs(
    tickets: &[Ticket],
    booked: &BTreeMap<TicketId, Booked>,
    labour_per_hour: f64,
) -> BTreeMap<TicketId, f64> {
    let into: BTreeMap<TicketId, TicketId> = tickets
        .iter()
        .filter_map(|t| Some((t.id, t.work.merged_into?)))
        .collect();
    let mut costs = BTreeMap::new();
    let is_any = |booked: &Booked| booked.minutes > 0 || booked.n_parts != 0;
    for (ticket, booked) in booked.iter().filter(|(_, booked)| is_any(booked)) {
        let mut goes_on = *ticket;
        // Only an open ticket is merged into, so there is no circle; what is stored is not trusted with that.
        for _ in 0..into.len() {
            match into.get(&goes_on) {
                Some(next) => goes_on = *next,
                None => break,
            }
        }
        let hours = booked.minutes as f64 / 60.0;
        *costs.entry(goes_on).or_insert(0.0) += hours * labour_per_hour + booked.parts;
    }
    costs
}
