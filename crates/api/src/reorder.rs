//! What to order: the demand of the fleet, worked out from what is stored, part by part.

use std::collections::{BTreeMap, HashMap, HashSet};

use forecare_care::reorder::{
    LikelyNeed, Movement, PartDemand, ReorderAdvice, ReorderPolicy, StockPosition, Turnover,
    reorder, turnover,
};
use forecare_catalogue::{Catalogue, FailureMode, PartSpec};
use forecare_domain::{AssetId, DepotName, DeviceId, ModeName, PartNumber, TicketId, Timestamp};
use forecare_store::{LedgerEntry, PageRequest, PurchaseOrder, StoreError, TicketFilter};

use crate::app::App;

/// Lines of the ledger read at most: the newest.
const LINES_MAX: usize = 100_000;
/// Lines, and tickets, read in one call.
const CHUNK: usize = 1_000;
/// Machines named with a proposal at most: the likeliest.
const NAMED_MAX: usize = 5;

/// A shorter past is not blown up to a year, hours.
pub(crate) const TURNOVER_HOURS_MIN: f64 = 30.0 * 24.0;

/// By which rules orders are proposed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PartsPolicy {
    /// Service level and order cycle.
    pub reorder: ReorderPolicy,
    /// How far back consumption is looked at, hours.
    pub history_hours: f64,
    /// A part of which none was used for so long is a slow mover, hours.
    pub slow_after_hours: f64,
}

/// What is proposed for a part, and why.
pub(crate) struct PartAdvice<'a> {
    pub(crate) part: &'a PartSpec,
    pub(crate) on_hand: u32,
    pub(crate) held: u32,
    /// Free ones of the parts it supersedes, as far as anything still asks for those.
    pub(crate) older_free: u32,
    pub(crate) back_ordered: u32,
    pub(crate) on_order: u32,
    pub(crate) advice: ReorderAdvice,
    /// Where most of the predicted demand is, and an order should go.
    pub(crate) depot: Option<DepotName>,
    /// The likeliest machines: asset, mode, probability within its horizon (hours), pieces.
    pub(crate) machines: Vec<Machine>,
    /// How many machines are likely at all.
    pub(crate) n_machines: usize,
    pub(crate) turnover: Turnover,
    /// The past is too short to say anything of a year.
    pub(crate) is_early: bool,
    /// Some lie there, and none was used for long.
    pub(crate) is_slow: bool,
}

/// A machine that may come to need the part.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) asset: AssetId,
    pub(crate) mode: ModeName,
    pub(crate) depot: Option<DepotName>,
    pub(crate) need: LikelyNeed,
}

/// Every part, in the catalogue's order, with what is to be ordered of it now. Also from when on the past was looked at:
/// later than asked for where there was less of it, or too much.
pub(crate) async fn advice(app: &App) -> Result<(Vec<PartAdvice<'_>>, Timestamp), StoreError> {
    let state = &app.state;
    let (store, catalogue, policy) = (&state.store, &state.catalogue, &state.parts);
    let now = state.clock.now();
    let (lines, from) = past(app, now.plus_hours(-policy.history_hours), now).await?;
    let stock = store.stock().await?;
    let orders = store.purchase_orders(true).await?;
    let assets = store.assets().await?;
    let by_device: HashMap<&DeviceId, _> = assets.iter().map(|a| (&a.device, a)).collect();
    let open = app.open_tickets(None).await?;
    let is_open: HashSet<(&AssetId, &ModeName)> = open
        .iter()
        .filter_map(|t| Some((&t.asset, t.mode.as_ref()?)))
        .collect();
    let first_depot = catalogue.depots.first().map(|d| &d.name);

    // Which machine needs what, with which probability; and which of them a model speaks for.
    let mut machines: BTreeMap<&PartNumber, Vec<Machine>> = BTreeMap::new();
    let mut foreseen: HashSet<(AssetId, ModeName)> = HashSet::new();
    for health in store.health().await? {
        let Some(asset) = by_device.get(&health.device) else {
            continue;
        };
        let Some(class) = catalogue.class(&asset.class) else {
            continue;
        };
        for prognosis in &health.prognoses {
            let Some(mode) = class.mode(&prognosis.mode) else {
                continue;
            };
            foreseen.insert((asset.id.clone(), mode.name.clone()));
            // What its ticket needs is held, or on back-order.
            if is_open.contains(&(&asset.id, &mode.name)) {
                continue;
            }
            for needed in &mode.parts {
                let ordered = catalogue.newest(&needed.part);
                machines.entry(ordered).or_default().push(Machine {
                    asset: asset.id.clone(),
                    mode: mode.name.clone(),
                    depot: asset.depot.as_ref().or(first_depot).cloned(),
                    need: LikelyNeed {
                        probability: prognosis.probability,
                        horizon_hours: prognosis.horizon_hours,
                        quantity: needed.quantity,
                    },
                });
            }
        }
    }
    let tickets = tickets_of(app, &lines).await?;
    // What was used in a day says little of a week: books that have just begun count as an order cycle old.
    let span_hours = now.hours_since(from).max(policy.reorder.cycle_hours);
    let parts = catalogue.parts.iter().map(|part| {
        let its_lines: Vec<&LedgerEntry> = lines.iter().filter(|l| l.part == part.number).collect();
        // What was asked of a superseded part is asked of its successor now.
        let is_superseded = part.superseded_by.is_some();
        let older: Vec<&PartNumber> = catalogue
            .parts
            .iter()
            .map(|p| &p.number)
            .filter(|n| !is_superseded && **n != part.number && *catalogue.newest(n) == part.number)
            .collect();
        let is_its = |number: &PartNumber| *number == part.number || older.contains(&number);
        let beside: i64 = lines
            .iter()
            .filter(|l| !is_superseded && is_its(&l.part) && is_use(l))
            .filter(|l| {
                let ticket = l.ticket.and_then(|id| tickets.get(&id));
                ticket.is_none_or(|of| !foreseen.contains(of))
            })
            .map(|l| -l.delta)
            .sum();
        let base_per_hour = beside.max(0) as f64 / span_hours;
        let mut likely = machines.remove(&part.number).unwrap_or_default();
        likely.sort_by(|a, b| {
            let p = |m: &Machine| m.need.probability;
            p(b).total_cmp(&p(a))
                .then_with(|| (&a.asset, &a.mode).cmp(&(&b.asset, &b.mode)))
        });
        let needs: Vec<LikelyNeed> = likely.iter().map(|m| m.need).collect();
        let its = || stock.iter().filter(|s| s.part == part.number);
        let sum = |of: fn(&forecare_store::StockItem) -> u32| its().map(of).sum::<u32>();
        let (on_hand, held) = (sum(|s| s.on_hand), sum(|s| s.soft + s.hard));
        let back_ordered = sum(|s| s.back_ordered);
        // Old ones are used up first, as long as anything still asks for them.
        let still_asked = |old: &PartNumber| {
            let named = modes(catalogue).any(|m| {
                m.parts
                    .iter()
                    .any(|n| catalogue.line(&n.part).contains(&old))
            });
            named || lines.iter().any(|l| l.part == *old && is_use(l))
        };
        // So are those that are still to come.
        let its_orders = orders
            .iter()
            .filter(|o| o.part == part.number || older.contains(&&o.part) && still_asked(&o.part));
        let on_order = its_orders.map(PurchaseOrder::outstanding).sum();
        let olds = || stock.iter().filter(|s| older.contains(&&s.part));
        let older_free: u32 = olds()
            .filter(|s| still_asked(&s.part))
            .map(forecare_store::StockItem::free)
            .sum();
        let older_waiting: u32 = olds().map(|s| s.back_ordered).sum();
        let demand = PartDemand {
            likely: &needs,
            base_per_hour,
            lead_time_hours: part.lead_time_hours,
        };
        let position = StockPosition {
            free: on_hand.saturating_sub(held) + older_free,
            // Who still waits for an old one gets its successor.
            back_ordered: if is_superseded {
                0
            } else {
                back_ordered + older_waiting
            },
            on_order,
        };
        let movements: Vec<Movement> = its_lines
            .iter()
            .map(|l| Movement {
                at: l.at,
                delta: l.delta,
                is_use: is_use(l),
            })
            .collect();
        let turnover = turnover(i64::from(on_hand), &movements, from, now);
        let since_use = now.hours_since(turnover.last_used_at.unwrap_or(from));
        PartAdvice {
            part,
            on_hand,
            held,
            older_free,
            back_ordered,
            on_order,
            advice: reorder(&demand, position, &policy.reorder),
            depot: busiest(&likely),
            n_machines: likely.len(),
            machines: likely.into_iter().take(NAMED_MAX).collect(),
            is_slow: on_hand > 0 && since_use >= policy.slow_after_hours,
            turnover,
            is_early: now.hours_since(from) < TURNOVER_HOURS_MIN,
        }
    });
    Ok((parts.collect(), from))
}

fn modes(catalogue: &Catalogue) -> impl Iterator<Item = &FailureMode> {
    catalogue.classes.iter().flat_map(|class| &class.modes)
}

/// Handed out or used up, or come back from there.
fn is_use(line: &LedgerEntry) -> bool {
    matches!(line.kind.as_str(), "issue" | "consumed" | "return")
}

/// The ledger from `from` on, newest first, and from when on that is all of it.
async fn past(
    app: &App,
    from: Timestamp,
    now: Timestamp,
) -> Result<(Vec<LedgerEntry>, Timestamp), StoreError> {
    let mut lines: Vec<LedgerEntry> = Vec::new();
    let mut before = None;
    loop {
        let request = PageRequest {
            before,
            limit: CHUNK,
        };
        let page = app.state.store.ledger(request).await?;
        let is_last = page.len() < CHUNK;
        before = page.last().map(|p| p.position);
        for line in page.into_iter().map(|p| p.item) {
            if line.at < from {
                return Ok((lines, from));
            }
            lines.push(line);
        }
        if is_last || lines.len() >= LINES_MAX {
            // The books begin here, or were not read further.
            let oldest = lines.last().map_or(now, |l| l.at);
            return Ok((lines, oldest.max(from)));
        }
    }
}

/// Asset and failure mode of every ticket of these lines.
async fn tickets_of(
    app: &App,
    lines: &[LedgerEntry],
) -> Result<HashMap<TicketId, (AssetId, ModeName)>, StoreError> {
    let wanted: HashSet<TicketId> = lines.iter().filter_map(|l| l.ticket).collect();
    let mut found = HashMap::with_capacity(wanted.len());
    let Some(oldest) = wanted.iter().min() else {
        return Ok(found);
    };
    let mut before = wanted.iter().max().map(|newest| newest.0.saturating_add(1));
    loop {
        let request = PageRequest {
            before,
            limit: CHUNK,
        };
        let page = app
            .state
            .store
            .tickets(&TicketFilter::default(), request)
            .await?;
        let is_last = page.len() < CHUNK || page.last().is_some_and(|p| p.position <= oldest.0);
        before = page.last().map(|p| p.position);
        for ticket in page.into_iter().map(|p| p.item) {
            if let Some(mode) = ticket.mode.filter(|_| wanted.contains(&ticket.id)) {
                found.insert(ticket.id, (ticket.asset, mode));
            }
        }
        if is_last {
            return Ok(found);
        }
    }
}

/// The depot whose machines are expected to need most.
fn busiest(machines: &[Machine]) -> Option<DepotName> {
    let mut expected: BTreeMap<&DepotName, f64> = BTreeMap::new();
    for machine in machines {
        if let Some(depot) = &machine.depot {
            let need = &machine.need;
            *expected.entry(depot).or_insert(0.0) += need.probability * f64::from(need.quantity);
        }
    }
    let most = expected.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
    most.map(|(depot, _)| depot.clone())
}

impl PartAdvice<'_> {
    /// The reasoning in a sentence.
    pub(crate) fn why(&self, service_level: f64) -> String {
        let a = &self.advice;
        if let Some(successor) = &self.part.superseded_by {
            return format!("Superseded by {successor}: it is used up, and not ordered any more.");
        }
        let demand = format!(
            "Within the lead time of {:.0} h {:.2} are expected to be needed by {} machines with a prognosis and {:.2} beside them",
            self.part.lead_time_hours, a.expected_predicted, self.n_machines, a.expected_base
        );
        let older = match self.older_free {
            0 => String::new(),
            n => format!(" and {n} of those it supersedes"),
        };
        let stock = format!(
            "{} free{older}, {} on order, {} back-ordered",
            self.on_hand.saturating_sub(self.held),
            self.on_order,
            self.back_ordered
        );
        let level = service_level * 100.0;
        if a.quantity > 0 {
            format!(
                "{demand}; {} suffice with {level:.0} %, and there are {} ({stock}): the chance of running short is {:.0} %. \
                 {} bring it to {}, which also lasts for the next order cycle.",
                a.reorder_point,
                a.position,
                a.short_probability * 100.0,
                a.quantity,
                a.order_up_to
            )
        } else {
            format!(
                "{demand}; {} suffice with {level:.0} %, and there are {} ({stock}): enough.",
                a.reorder_point, a.position
            )
        }
    }
}
