//! The first word on who could do the work, before everything is planned together.

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

/// Who could be sent, and what they have to do already.
#[derive(Debug, Clone, Copy)]
pub struct Crew<'a> {
    /// The technicians.
    pub technicians: &'a [Technician],
    /// Number of open tickets per technician; 0 for whom it does not name.
    pub load: &'a [(String, u32)],
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn names(skills: &[&str], load: &[(&str, u32)]) -> Vec<String> {
        let catalogue = fixtures::catalogue();
        let skills: Vec<String> = skills.iter().map(|s| (*s).to_owned()).collect();
        let load: Vec<(String, u32)> = load.iter().map(|(n, l)| ((*n).to_owned(), *l)).collect();
        let depot = fixtures::depot("north");
        candidates(&catalogue.technicians, &skills, Some(&depot), &load, 3)
            .iter()
            .map(|c| c.technician.name.clone())
            .collect()
    }

    #[test]
    fn nobody_without_every_skill_is_proposed() {
        assert_eq!(names(&["mechanics", "alignment"], &[]), ["Cy", "Di", "Ben"]);
        assert_eq!(names(&["electrics"], &[]), ["Cy"]);
        assert!(names(&["diving"], &[]).is_empty());
    }

    #[test]
    fn the_home_depot_comes_first_until_it_is_swamped() {
        let skills = ["mechanics", "alignment"];
        assert_eq!(names(&skills, &[("Cy", 1)]), ["Di", "Cy", "Ben"]);
        assert_eq!(names(&skills, &[("Cy", 4), ("Di", 5)]), ["Ben", "Cy", "Di"]);
    }

    #[test]
    fn equal_scores_stay_in_catalogue_order() {
        assert_eq!(
            names(&["alignment"], &[("Cy", 3), ("Di", 3)]),
            ["Ben", "Cy", "Di"]
        );
    }
}
