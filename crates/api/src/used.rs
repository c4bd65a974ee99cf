//! What the ledger says of tickets: which parts they used, and which piece had failed. Pure: lines in, oldest first.

use std::collections::BTreeMap;

use forecare_care::kpi::Booked;
use forecare_catalogue::{Catalogue, Tracking};
use forecare_domain::{AssetId, PartNumber, TicketId};
use forecare_store::LedgerEntry;

/// What became of the parts of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Handed out, or used up.
    Out,
    /// Handed back unused. What is scrapped or repaired with its return was in the machine: it has been used.
    Unused,
}

/// Lines that move parts to tickets and back, each with its ticket and way.
fn moves(lines: &[LedgerEntry]) -> impl Iterator<Item = (&LedgerEntry, TicketId, Way)> {
    lines.iter().enumerate().filter_map(|(i, line)| {
        let way = match line.kind.as_str() {
            "consumed" | "issue" => Way::Out,
            "return" if !is_worn_out(line, lines.get(i + 1)) => Way::Unused,
            _ => return None,
        };
        Some((line, line.ticket?, way))
    })
}

/// The two lines of one command stand one behind the other.
fn is_worn_out(back: &LedgerEntry, next: Option<&LedgerEntry>) -> bool {
    next.is_some_and(|next| {
        matches!(next.kind.as_str(), "scrap" | "repair_out")
            && next.at == back.at
            && next.part == back.part
            && next.depot == back.depot
            && next.delta == -back.delta
    })
}

/// Parts used by ticket, at today's prices; of parts that the catalogue has.
pub(crate) fn parts_used(
    catalogue: &Catalogue,
    lines: &[LedgerEntry],
) -> BTreeMap<TicketId, Booked> {
    let mut booked: BTreeMap<TicketId, Booked> = BTreeMap::new();
    for (line, ticket, _) in moves(lines) {
        if let Some(part) = catalogue.part(&line.part) {
            let of = booked.entry(ticket).or_default();
            of.n_parts -= line.delta;
            of.parts -= line.delta as f64 * part.unit_cost;
        }
    }
    booked
}

/// How many of each part went to tickets, those given back unused taken off.
pub(crate) fn quantities_used(lines: &[LedgerEntry]) -> BTreeMap<PartNumber, i64> {
    let mut used: BTreeMap<PartNumber, i64> = BTreeMap::new();
    for (line, ..) in moves(lines) {
        *used.entry(line.part.clone()).or_default() -= line.delta;
    }
    used.retain(|_, n| *n != 0);
    used
}

/// Pieces of one batch, or the one with that serial number, that went into a machine for a ticket.
struct Fitted {
    ticket: TicketId,
    name: String,
    quantity: i64,
}

/// Batch, or else serial number, of the part that failed, by ticket: of what was in the machine when another piece of
/// the same part took its place.
pub(crate) fn failed_batches(
    catalogue: &Catalogue,
    asset_of: &BTreeMap<TicketId, &AssetId>,
    lines: &[LedgerEntry],
) -> BTreeMap<TicketId, String> {
    // By machine and what the part has become; the last is in it.
    let mut fitted: BTreeMap<(&AssetId, &PartNumber), Vec<Fitted>> = BTreeMap::new();
    for (line, ticket, way) in moves(lines) {
        if catalogue.tracking(&line.part) == Tracking::Not {
            continue;
        }
        let Some(asset) = asset_of.get(&ticket) else {
            continue;
        };
        let pieces = fitted
            .entry((*asset, catalogue.newest(&line.part)))
            .or_default();
        for unit in &line.units {
            let batch = unit.batch.as_ref().map(ToString::to_string);
            let serial = unit.serial.as_ref().map(ToString::to_string);
            let Some(name) = batch.or(serial) else {
                continue;
            };
            let quantity = unit.delta.abs();
            let same = |f: &&mut Fitted| f.ticket == ticket && f.name == name;
            match (pieces.iter_mut().rfind(same), way) {
                (Some(known), Way::Out) => known.quantity += quantity,
                (Some(known), Way::Unused) => known.quantity -= quantity,
                (None, Way::Out) => pieces.push(Fitted {
                    ticket,
                    name,
                    quantity,
                }),
                (None, Way::Unused) => {}
            }
        }
    }
    let mut failed = BTreeMap::new();
    for pieces in fitted.values() {
        let stayed = pieces.iter().filter(|f| f.quantity > 0);
        let mut before: Option<&Fitted> = None;
        for piece in stayed {
            if let Some(before) = before
                && before.ticket != piece.ticket
            {
                failed
                    .entry(piece.ticket)
                    .or_insert_with(|| before.name.clone());
            }
            before = Some(piece);
        }
    }
    failed
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]
mod tests {
    use forecare_domain::{Actor, BatchNumber, Channel, Timestamp, Unit};

    use super::*;

    fn catalogue() -> Catalogue {
        let text = include_str!("../tests/fixture/catalogue.toml");
        let tracked = "number = \"BRG-6310\"\ntracked = \"batch\"";
        let on_hand = "on_hand = 6";
        let named = "on_hand = 6\nbatch = \"A\"";
        let text = text.replace("number = \"BRG-6310\"", tracked);
        Catalogue::parse(&text.replacen(on_hand, named, 1)).unwrap()
    }

    fn line(at: i64, kind: &str, delta: i64, ticket: i64, batch: &str) -> LedgerEntry {
        LedgerEntry {
            at: Timestamp::from_millis(at),
            kind: kind.to_owned(),
            part: PartNumber::new("BRG-6310").unwrap(),
            depot: forecare_domain::DepotName::new("north").unwrap(),
            delta,
            units: vec![Unit::of_batch(BatchNumber::new(batch).unwrap(), delta)],
            ticket: Some(TicketId(ticket)),
            cost_centre: None,
            reason: None,
            by: Actor {
                name: "Ada".to_owned(),
                channel: Channel::Api,
            },
        }
    }

    type Told = (Vec<(i64, String)>, Vec<(i64, f64)>);

    /// Failed batches of tickets 1 to 3, all about one machine, and what the parts of each cost.
    fn told(lines: &[LedgerEntry]) -> Told {
        let asset = AssetId::new("pump-1").unwrap();
        let asset_of = (1..=3).map(|n| (TicketId(n), &asset)).collect();
        let failed = failed_batches(&catalogue(), &asset_of, lines);
        let used = parts_used(&catalogue(), lines);
        (
            failed.into_iter().map(|(t, b)| (t.0, b)).collect(),
            used.into_iter().map(|(t, b)| (t.0, b.parts)).collect(),
        )
    }

    #[test]
    fn the_piece_that_was_replaced_has_failed_whenever_it_is_given_back() {
        let fit = |ticket, batch| line(ticket * 10, "consumed", -1, ticket, batch);
        let back = |at, ticket, batch, fate| {
            [
                line(at, "return", 1, ticket, batch),
                line(at, fate, -1, ticket, batch),
            ]
        };
        let expected = (
            vec![(2, "A".to_owned()), (3, "B".to_owned())],
            vec![(1, 86.0), (2, 86.0), (3, 86.0)],
        );
        let three = [fit(1, "A"), fit(2, "B"), fit(3, "C")];
        assert_eq!(told(&three), expected);
        for fate in ["scrap", "repair_out"] {
            let (a, b) = (back(15, 1, "A", fate), back(25, 2, "B", fate));
            let mut lines = vec![three[0].clone()];
            lines.extend(a);
            lines.push(three[1].clone());
            lines.extend(b);
            lines.push(three[2].clone());
            assert_eq!(told(&lines), expected, "{fate}");
        }
    }

    #[test]
    fn what_is_handed_out_and_back_unused_was_in_no_machine_and_costs_nothing() {
        let lines = [
            line(1, "consumed", -1, 1, "A"),
            line(2, "issue", -2, 2, "B"),
            line(3, "return", 1, 2, "B"),
        ];
        let one_stayed = (vec![(2, "A".to_owned())], vec![(1, 86.0), (2, 86.0)]);
        assert_eq!(told(&lines), one_stayed);
        let mut lines = lines.to_vec();
        lines.push(line(4, "return", 1, 2, "B"));
        lines.push(line(5, "consumed", -1, 3, "C"));
        let none_stayed = (
            vec![(3, "A".to_owned())],
            vec![(1, 86.0), (2, 0.0), (3, 86.0)],
        );
        assert_eq!(told(&lines), none_stayed);
    }
}
