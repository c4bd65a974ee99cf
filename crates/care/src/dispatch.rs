//! Who could do the work.

use forecare_catalogue::Technician;
use forecare_domain::DepotName;

/// A technician who could do the work, and why this one comes where it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The technician.
    pub technician: &'a Technician,
    /// Open tickets this technician has.
    pub open_tickets: u32,
    /// True: of another depot than the one that serves the asset.
    pub away: bool,
    /// Lower is better: open tickets, plus the penalty for being away.
    pub score: u32,
}

/// Everyone with all `skills`, best first; skills are a hard condition. The score is the number of open
/// tickets in `load` (0 where not named), plus `away_counts_as_tickets` for another depot than `depot`;
/// equal scores stay in catalogue order.
#[must_use]
pub fn candidates<'a>(
    technicians: &'a [Technician],
    skills: &[String],
    depot: Option<&DepotName>,
    load: &[(String, u32)],
    away_counts_as_tickets: u32,
) -> Vec<Candidate<'a>> {
    let mut found: Vec<Candidate<'a>> = technicians
        .iter()
        .filter(|t| skills.iter().all(|skill| t.skills.contains(skill)))
        .map(|technician| {
            let open_tickets = load
                .iter()
                .find(|(name, _)| *name == technician.name)
                .map_or(0, |(_, n)| *n);
            let away = depot.is_some_and(|depot| *depot != technician.depot);
            let penalty = if away { away_counts_as_tickets } else { 0 };
            Candidate {
                technician,
                open_tickets,
                away,
                score: open_tickets.saturating_add(penalty),
            }
        })
        .collect();
    found.sort_by_key(|c| c.score);
    found
}
