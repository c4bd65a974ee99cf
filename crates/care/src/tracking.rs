//! Parts told apart: which pieces a movement moves, by serial number or batch, and which a ticket has used.

use forecare_catalogue::Tracking;
use forecare_domain::{
    BatchNumber, DepotName, Marks, PartNumber, SerialNumber, StockCommand, StockMove, TicketId,
    Unit, UnitAt, UnitPlace,
};

use crate::stock::{StockRefusal, StockView};

/// Serial numbers named in a refusal at most.
const NAMED_MAX: usize = 10;

/// Where a line of the ledger puts its pieces beside the shelf: what leaves the shelf arrives there, and the other way
/// round; `None`: nowhere, they come from outside, go for good, or are booked by another line.
#[must_use]
pub fn other_place(
    kind: &str,
    depot: &DepotName,
    ticket: Option<TicketId>,
    cost_centre: Option<&str>,
) -> Option<UnitPlace> {
    match kind {
        "consumed" | "issue" | "return" => match (ticket, cost_centre) {
            (Some(ticket), _) => Some(UnitPlace::Ticket(ticket)),
            (None, Some(name)) => Some(UnitPlace::CostCentre(name.to_owned())),
            (None, None) => None,
        },
        // Nothing comes back from there, but a recall asks for it.
        "scrap" => Some(UnitPlace::Scrapped(depot.clone())),
        "repair_out" | "repair_in" => Some(UnitPlace::Repair(depot.clone())),
        _ => None,
    }
}

/// Places whose pieces a command is judged on, beside the pieces it names.
#[must_use]
pub fn places_of(command: &StockCommand) -> Vec<UnitPlace> {
    let mut places = vec![
        UnitPlace::Shelf(command.depot.clone()),
        UnitPlace::Repair(command.depot.clone()),
    ];
    places.extend(command.ticket().map(UnitPlace::Ticket));
    let centre = command.cost_centre().map(str::to_owned);
    places.extend(centre.map(UnitPlace::CostCentre));
    places
}

/// Which pieces `command` moves, of which something is known; of a count with the sign of the change. Fewer than its
/// quantity where some that lie there are not told apart: they came before the part was tracked.
///
/// # Errors
/// What is named wrong, or must be named.
pub(crate) fn moved(
    command: &StockCommand,
    view: &StockView<'_>,
) -> Result<Vec<Unit>, StockRefusal> {
    let marks = &command.marks;
    let part = &command.part;
    let wrong = |what: String| StockRefusal::Marks {
        part: part.clone(),
        what,
    };
    check_marks(view.tracking, marks).map_err(wrong)?;
    let n = command.quantity;
    let shelf = UnitPlace::Shelf(command.depot.clone());
    let n_named = u32::try_from(marks.serials.len()).unwrap_or(u32::MAX);
    if n_named > n {
        return Err(wrong(format!(
            "{n_named} serial numbers for a quantity of {n}: name each piece once"
        )));
    }
    let total = match &command.kind {
        StockMove::Receipt => return arrived(view, marks, n).map_err(wrong),
        StockMove::Count => return counted(command, view).map_err(wrong),
        StockMove::Scrap | StockMove::Issue { .. } | StockMove::Transfer { .. } => {
            (shelf, view.here.on_hand)
        }
        StockMove::Repaired => (UnitPlace::Repair(command.depot.clone()), view.in_repair),
        StockMove::Return { .. } => {
            let out: u32 = view.held.iter().map(|r| r.used).sum();
            match command.ticket() {
                Some(ticket) => (UnitPlace::Ticket(ticket), out),
                None => {
                    let centre = command.cost_centre().unwrap_or_default().to_owned();
                    (UnitPlace::CostCentre(centre), view.at_cost_centre)
                }
            }
        }
    };
    let (from, all) = total;
    let mut named = marks.clone();
    let pieces = picked(view.tracking, &from, all, n, &mut named, view.units).map_err(&wrong)?;
    match named.serials.first() {
        None => pieces.ok_or_else(|| wrong(asked_to_name(view.tracking, &from, view.units))),
        Some(serial) => Err(wrong(elsewhere(serial, &from, view.units))),
    }
}

/// That a report of parts used names pieces only of parts that are told apart.
///
/// # Errors
/// What is named wrong.
pub fn check_report(
    part: &PartNumber,
    tracking: Tracking,
    marks: &Marks,
) -> Result<(), StockRefusal> {
    check_marks(tracking, marks).map_err(|what| StockRefusal::Marks {
        part: part.clone(),
        what,
    })
}

/// That marks fit the way a part is told apart.
fn check_marks(tracking: Tracking, marks: &Marks) -> Result<(), String> {
    let mut seen = std::collections::BTreeSet::new();
    if let Some(twice) = marks.serials.iter().find(|s| !seen.insert(*s)) {
        return Err(format!("serial number {twice} stands twice"));
    }
    match tracking {
        Tracking::Not if marks.is_empty() => Ok(()),
        Tracking::Not => Err(
            "it is not tracked; leave out batch and serial numbers, or set tracked in the catalogue"
                .to_owned(),
        ),
        Tracking::Batch if marks.serials.is_empty() => Ok(()),
        Tracking::Batch => Err("it is tracked by batch; leave out the serial numbers".to_owned()),
        Tracking::Serial => Ok(()),
    }
}

fn arrived(view: &StockView<'_>, marks: &Marks, n: u32) -> Result<Vec<Unit>, String> {
    match view.tracking {
        Tracking::Not => Ok(Vec::new()),
        Tracking::Batch => match &marks.batch {
            Some(batch) => Ok(vec![Unit::of_batch(batch.clone(), n.into())]),
            None => Err("it is tracked by batch; name the batch".to_owned()),
        },
        Tracking::Serial => {
            if marks.serials.len() != n as usize {
                return Err(format!(
                    "it is tracked by serial number; name {n} serial numbers, not {}",
                    marks.serials.len()
                ));
            }
            let fresh = |serial: &SerialNumber| match found(serial, view.units) {
                Some(at) => Err(format!("{serial} is {} already", at.place)),
                None => Ok(Unit::of_serial(serial.clone(), marks.batch.clone(), 1)),
            };
            marks.serials.iter().map(fresh).collect()
        }
    }
}

/// A count of a part that is told apart: the serial numbers found, all of them, where any differs; or the batch that the
/// difference is of.
fn counted(command: &StockCommand, view: &StockView<'_>) -> Result<Vec<Unit>, String> {
    let marks = &command.marks;
    let shelf = UnitPlace::Shelf(command.depot.clone());
    let here = || view.units.iter().filter(|u| u.place == shelf);
    let difference = i64::from(command.quantity) - i64::from(view.here.on_hand);
    match view.tracking {
        Tracking::Not => Ok(Vec::new()),
        Tracking::Batch => {
            if difference == 0 {
                return Ok(Vec::new());
            }
            let Some(batch) = &marks.batch else {
                return Err("name the batch that the difference is of".to_owned());
            };
            let lie = here().find(|u| u.batch.as_ref() == Some(batch));
            let lie = lie.map_or(0, |u| i64::from(u.quantity));
            if lie + difference < 0 {
                return Err(format!("only {lie} of batch {batch} lie there"));
            }
            Ok(vec![Unit::of_batch(batch.clone(), difference)])
        }
        Tracking::Serial => {
            if marks.serials.is_empty() && difference == 0 {
                return Ok(Vec::new());
            }
            if marks.serials.len() != command.quantity as usize {
                return Err(format!(
                    "name the {} serial numbers that were found",
                    command.quantity
                ));
            }
            let mut units = Vec::new();
            for unit in here() {
                let is_found = unit
                    .serial
                    .as_ref()
                    .is_some_and(|s| marks.serials.contains(s));
                if !is_found {
                    units.push(unit.piece(-1));
                }
            }
            for serial in &marks.serials {
                match found(serial, view.units) {
                    None => units.push(Unit::of_serial(serial.clone(), marks.batch.clone(), 1)),
                    Some(at) if at.place == shelf => {}
                    Some(at) => {
                        return Err(format!(
                            "{serial} is {} by the books; book it from there first",
                            at.place
                        ));
                    }
                }
            }
            Ok(units)
        }
    }
}

/// Takes `n` pieces out of the `all` that are at `from`: those named first, which are taken out of `named`; then those
/// not told apart; then the rest, where it leaves no choice. `None`: there is a choice, and nothing named.
fn picked(
    tracking: Tracking,
    from: &UnitPlace,
    all: u32,
    n: u32,
    named: &mut Marks,
    known: &[UnitAt],
) -> Result<Option<Vec<Unit>>, String> {
    let here: Vec<&UnitAt> = known.iter().filter(|u| u.place == *from).collect();
    let told_apart = here.iter().fold(0_u32, |n, u| n.saturating_add(u.quantity));
    let unknown = all.saturating_sub(told_apart);
    let mut pieces: Vec<Unit> = Vec::new();
    let mut left = n;
    match tracking {
        Tracking::Not => return Ok(Some(pieces)),
        Tracking::Serial => {
            let mut rest = Vec::new();
            for serial in std::mem::take(&mut named.serials) {
                let at = here.iter().find(|u| u.serial.as_ref() == Some(&serial));
                match at {
                    Some(unit) if left > 0 => {
                        pieces.push(unit.piece(1));
                        left -= 1;
                    }
                    Some(_) | None => rest.push(serial),
                }
            }
            named.serials = rest;
        }
        Tracking::Batch => {
            if let Some(batch) = &named.batch {
                let at = here.iter().find(|u| u.batch.as_ref() == Some(batch));
                let lie = at.map_or(0, |u| u.quantity);
                if lie < left {
                    return Err(format!("{lie} of batch {batch} are {from}, not {left}"));
                }
                return Ok(Some(vec![Unit::of_batch(batch.clone(), left.into())]));
            }
        }
    }
    if left <= unknown {
        return Ok(Some(pieces));
    }
    // No choice: all that is there, or all of one batch.
    let others: Vec<&&UnitAt> = here
        .iter()
        .filter(|u| {
            pieces
                .iter()
                .all(|p| p.serial != u.serial || u.serial.is_none())
        })
        .collect();
    let of_others: u32 = others.iter().map(|u| u.quantity).sum();
    let is_one_batch = tracking == Tracking::Batch && others.len() == 1 && left <= of_others;
    if unknown == 0 && (of_others == left || is_one_batch) {
        let all = others
            .iter()
            .map(|u| u.piece(i64::from(u.quantity.min(left))));
        pieces.extend(all);
        return Ok(Some(pieces));
    }
    Ok(None)
}

/// Pieces of a part that a ticket uses.
#[derive(Debug, Clone, Copy)]
pub struct Use<'a> {
    /// How the part is told apart.
    pub tracking: Tracking,
    /// The part.
    pub part: &'a PartNumber,
    /// The shelf they are taken from; `None`: the supplier brought them.
    pub from: Option<&'a DepotName>,
    /// How many lie on that shelf.
    pub on_hand: u32,
    /// How many are used.
    pub quantity: u32,
    /// What is known of the pieces on that shelf, and of those that are named.
    pub known: &'a [UnitAt],
    /// A person reports it, who can be asked which ones; otherwise the books may stay without an answer.
    pub by_person: bool,
}

/// Which pieces are used; taken out of `named`, which the report names.
///
/// # Errors
/// Which must be named.
pub fn used(used: &Use<'_>, named: &mut Marks) -> Result<Vec<Unit>, StockRefusal> {
    let wrong = |what: String| StockRefusal::Marks {
        part: used.part.clone(),
        what,
    };
    if used.tracking == Tracking::Not || used.quantity == 0 {
        return Ok(Vec::new());
    }
    let Some(depot) = used.from else {
        return brought(used, named).map_err(wrong);
    };
    let from = UnitPlace::Shelf(depot.clone());
    let pieces = picked(
        used.tracking,
        &from,
        used.on_hand,
        used.quantity,
        named,
        used.known,
    );
    match pieces.map_err(wrong)? {
        Some(pieces) => Ok(pieces),
        None if used.by_person => Err(wrong(asked_to_name(used.tracking, &from, used.known))),
        None => Ok(Vec::new()),
    }
}

/// What the supplier brought to the site is new to the books.
fn brought(used: &Use<'_>, named: &mut Marks) -> Result<Vec<Unit>, String> {
    match (used.tracking, &named.batch) {
        (Tracking::Batch, Some(batch)) => {
            Ok(vec![Unit::of_batch(batch.clone(), used.quantity.into())])
        }
        (Tracking::Batch, None) if used.by_person => {
            Err("name the batch of what the supplier brought".to_owned())
        }
        (Tracking::Serial, batch) => {
            let batch = batch.clone();
            let is_new = |s: &SerialNumber| found(s, used.known).is_none();
            let (mut new, mut rest): (Vec<_>, Vec<_>) = std::mem::take(&mut named.serials)
                .into_iter()
                .partition(is_new);
            let surplus = new.split_off(new.len().min(used.quantity as usize));
            rest.extend(surplus);
            named.serials = rest;
            if new.len() < used.quantity as usize && used.by_person {
                return Err(format!(
                    "name the {} serial numbers of what the supplier brought",
                    used.quantity
                ));
            }
            let unit = |serial| Unit::of_serial(serial, batch.clone(), 1);
            Ok(new.into_iter().map(unit).collect())
        }
        (Tracking::Batch | Tracking::Not, _) => Ok(Vec::new()),
    }
}

/// What a report names and was not used: named too much, or lying elsewhere.
///
/// # Errors
/// The first of them, and where it is.
pub fn check_left(
    part: &PartNumber,
    left: &Marks,
    ticket: TicketId,
    known: &[UnitAt],
) -> Result<(), StockRefusal> {
    let at_ticket = UnitPlace::Ticket(ticket);
    // What went to the ticket before is named again: a report is of all so far.
    let is_there = |s: &&SerialNumber| found(s, known).is_some_and(|at| at.place == at_ticket);
    let Some(serial) = left.serials.iter().find(|s| !is_there(s)) else {
        return Ok(());
    };
    let what = match found(serial, known) {
        Some(at) => format!(
            "{serial} is {}, and not among those booked for this ticket; book a transfer, or name another one",
            at.place
        ),
        None => format!("nobody knows serial number {serial}; book its receipt first"),
    };
    Err(StockRefusal::Marks {
        part: part.clone(),
        what,
    })
}

fn found<'a>(serial: &SerialNumber, known: &'a [UnitAt]) -> Option<&'a UnitAt> {
    known.iter().find(|u| u.serial.as_ref() == Some(serial))
}

fn elsewhere(serial: &SerialNumber, from: &UnitPlace, known: &[UnitAt]) -> String {
    match found(serial, known) {
        Some(at) => format!("{serial} is {}, not {from}", at.place),
        None => format!("nobody knows serial number {serial}"),
    }
}

fn asked_to_name(tracking: Tracking, from: &UnitPlace, known: &[UnitAt]) -> String {
    let what = match tracking {
        Tracking::Serial => "serial numbers",
        Tracking::Batch | Tracking::Not => "batch",
    };
    let here = known.iter().filter(|u| u.place == *from);
    let names: Vec<String> = here
        .take(NAMED_MAX)
        .filter_map(|u| match (&u.serial, &u.batch) {
            (Some(serial), _) => Some(serial.to_string()),
            (None, batch) => batch.as_ref().map(BatchNumber::to_string),
        })
        .collect();
    format!("name the {what}; {from}: {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{at, depot, part};

    fn serial(name: &str) -> SerialNumber {
        SerialNumber::new(name).unwrap()
    }

    fn on_shelf(name: &str) -> UnitAt {
        UnitAt {
            part: part("BRG-1"),
            batch: BatchNumber::new("B7").ok(),
            serial: Some(serial(name)),
            place: UnitPlace::Shelf(depot("north")),
            quantity: 1,
            since: at(0.0),
        }
    }

    fn pick(all: u32, n: u32, names: &[&str], known: &[UnitAt]) -> Option<Vec<String>> {
        let mut named = Marks {
            batch: None,
            serials: names.iter().map(|s| serial(s)).collect(),
        };
        let from = UnitPlace::Shelf(depot("north"));
        let pieces = picked(Tracking::Serial, &from, all, n, &mut named, known).unwrap()?;
        let names = pieces.into_iter().filter_map(|p| p.serial);
        Some(names.map(String::from).collect())
    }

    #[test]
    fn named_pieces_go_first_then_unknown_ones_then_what_leaves_no_choice() {
        let known = [on_shelf("S1"), on_shelf("S2")];
        assert_eq!(pick(2, 1, &["S2"], &known).unwrap(), ["S2"]);
        assert_eq!(pick(2, 1, &[], &known), None, "either could be meant");
        assert_eq!(pick(2, 2, &[], &known).unwrap(), ["S1", "S2"]);
        assert_eq!(pick(3, 1, &[], &known).unwrap(), [""; 0], "the unknown one");
        assert_eq!(pick(3, 2, &["S1"], &known).unwrap(), ["S1"]);
        assert_eq!(pick(3, 3, &[], &known), None);
    }

    #[test]
    fn a_persons_report_must_name_and_forecares_need_not() {
        let known = [on_shelf("S1"), on_shelf("S2")];
        let shelf = depot("north");
        let number = part("BRG-1");
        let mut one = Use {
            tracking: Tracking::Serial,
            part: &number,
            from: Some(&shelf),
            on_hand: 2,
            quantity: 1,
            known: &known,
            by_person: true,
        };
        let says = used(&one, &mut Marks::default()).unwrap_err().to_string();
        assert!(says.contains("S1, S2"), "{says}");
        one.by_person = false;
        assert_eq!(used(&one, &mut Marks::default()), Ok(Vec::new()));
    }
}
