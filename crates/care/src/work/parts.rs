//! Parts on a ticket: what was used, and what the work needs.

use forecare_catalogue::Catalogue;
use forecare_domain::{
    Actor, Marks, PartNumber, PartUsed, PartWanted, Ticket, TicketState, Timestamp,
};

use super::{WorkDone, WorkError, invalid, is_short, open, with_reason};
use crate::lifecycle::record;
use crate::ticket_rules::{PARTS_MAX, QUANTITY_MAX};

/// Most parts that a line of the history names.
const PARTS_NAMED_MAX: usize = 10;

/// What a report names, each kit as the parts in it, each part once, in the order of first mention.
///
/// # Errors
/// The number that the catalogue does not have.
pub fn parts_named(
    catalogue: &Catalogue,
    reported: Vec<PartUsed>,
) -> Result<Vec<PartUsed>, PartNumber> {
    let mut named: Vec<PartUsed> = Vec::with_capacity(reported.len());
    let mut add = |part: &PartNumber, quantity: u32, marks: Marks| {
        let place = named.iter().position(|used| used.part == *part);
        let place = place.unwrap_or_else(|| {
            named.push((part.clone(), 0).into());
            named.len() - 1
        });
        let used = &mut named[place];
        used.quantity = used.quantity.saturating_add(quantity);
        used.marks.batch = marks.batch.or(used.marks.batch.take());
        used.marks.serials.extend(marks.serials);
    };
    for used in reported {
        if let Some(kit) = catalogue.kit(&used.part) {
            for inside in &kit.parts {
                let quantity = inside.quantity.saturating_mul(used.quantity);
                add(&inside.part, quantity, Marks::default());
            }
        } else if catalogue.part(&used.part).is_some() {
            add(&used.part, used.quantity, used.marks);
        } else {
            return Err(used.part);
        }
    }
    Ok(named)
}

/// `2 x BRG-1, 1 x SEAL-1`, of many the first ones.
pub(super) fn listed(parts: &[PartWanted]) -> String {
    let named = parts.iter().take(PARTS_NAMED_MAX);
    let named: Vec<String> = named
        .map(|p| format!("{} x {}", p.quantity, p.part))
        .collect();
    match parts.len().saturating_sub(PARTS_NAMED_MAX) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

pub(super) fn parts_needed(
    ticket: &Ticket,
    parts: Vec<PartWanted>,
    why: &str,
    by: Actor,
    now: Timestamp,
) -> Result<WorkDone, WorkError> {
    open(ticket)?;
    is_short("why", why)?;
    if parts.len() > PARTS_MAX {
        return Err(invalid("parts", format!("name at most {PARTS_MAX} parts")));
    }
    let fits = |wanted: &PartWanted| (1..=QUANTITY_MAX).contains(&wanted.quantity);
    if let Some(wanted) = parts.iter().find(|wanted| !fits(wanted)) {
        let field = format!("parts.{}", wanted.part);
        return Err(invalid(&field, format!("give 1 to {QUANTITY_MAX}")));
    }
    if ticket.work.parts.as_ref() == Some(&parts) && ticket.work.parts_by.is_some() {
        return Ok(WorkDone::default());
    }
    let said = if parts.is_empty() {
        "needs no parts".to_owned()
    } else {
        format!("parts needed: {}", listed(&parts))
    };
    let mut after = ticket.clone();
    after.work.parts = Some(parts);
    after.work.parts_by = Some(by.clone());
    record(&mut after, ticket.state, by, &with_reason(said, why), now);
    Ok(WorkDone {
        ticket: Some(after),
        ..WorkDone::default()
    })
}

pub(super) fn parts_used(
    ticket: &Ticket,
    parts: Vec<PartUsed>,
    by: Actor,
    now: Timestamp,
) -> Result<WorkDone, WorkError> {
    if !matches!(
        ticket.state,
        TicketState::InProgress | TicketState::OnHold(_)
    ) {
        return Err(WorkError::Conflict(format!(
            "ticket {} is {}: parts are used while the work is in progress, or told when it is resolved",
            ticket.id,
            ticket.state.label()
        )));
    }
    if parts.is_empty() {
        return Err(invalid("parts_used", "name at least one part"));
    }
    let mut after = ticket.clone();
    let said: Vec<String> = parts
        .iter()
        .map(|used| {
            let serials: Vec<&str> = used.marks.serials.iter().map(|s| s.as_str()).collect();
            match serials.as_slice() {
                [] => format!("{} x {}", used.quantity, used.part),
                _ => format!("{} x {} ({})", used.quantity, used.part, serials.join(", ")),
            }
        })
        .collect();
    let why = format!("parts used so far: {}", said.join(", "));
    record(&mut after, ticket.state, by, &why, now);
    Ok(WorkDone {
        ticket: Some(after),
        parts_used: parts,
        ..WorkDone::default()
    })
}
