//! What it costs that a ticket waits, by its priority and what was reported.
//!
//! A predicted failure has its own risk beside it; without one, and whatever the catalogue holds of the machine, the
//! more urgent ticket still costs more while it waits. All machines share one scale, so that urgent work on
//! a cheap machine is not left for convenient work on a dear one.

use forecare_catalogue::Catalogue;
use forecare_domain::{Priority, ProductionImpact, Report};

use super::problem::DispatchWeights;

/// Where no class has a failure mode: a visit costs as much as so many hours on the road.
const VISIT_ROAD_HOURS: f64 = 4.0;
/// Late, each further hour costs this much more again.
const LATE_COUNTS: f64 = 2.0;
/// Waiting while somebody may get hurt.
const SAFETY_COUNTS: f64 = 2.0;
/// Waiting while nothing is made, or less.
const STOPPED_COUNTS: f64 = 2.0;
const REDUCED_COUNTS: f64 = 1.25;

/// What delay costs per hour, in the catalogue's currency. Above 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DelayCost {
    /// Until the work is done.
    pub waiting_per_hour: f64,
    /// Beside that, after the ticket is due.
    pub lateness_per_hour: f64,
}

/// What a visit usually costs, over all failure modes of the catalogue; where it has none, some hours on the
/// road. Above 0.
#[must_use]
pub fn usual_visit_cost(catalogue: &Catalogue, weights: &DispatchWeights) -> f64 {
    let modes = catalogue.classes.iter().flat_map(|class| &class.modes);
    let costs: Vec<f64> = modes.map(|mode| mode.cost_of_acting).collect();
    let usual = costs.iter().sum::<f64>() / costs.len().max(1) as f64;
    let candidates = [
        usual,
        weights.travel_per_hour * VISIT_ROAD_HOURS,
        DispatchWeights::default().travel_per_hour * VISIT_ROAD_HOURS,
    ];
    let known = candidates.into_iter().find(|cost| *cost > 0.0);
    known.unwrap_or(1.0)
}

/// What the delay of a ticket costs, where a visit costs `visit`.
#[must_use]
pub fn delay_cost(priority: Priority, report: Option<&Report>, visit: f64) -> DelayCost {
    let safety = match report {
        Some(report) if report.safety => SAFETY_COUNTS,
        _ => 1.0,
    };
    let production = match report.map(|report| report.production) {
        Some(ProductionImpact::Stopped) => STOPPED_COUNTS,
        Some(ProductionImpact::Reduced) => REDUCED_COUNTS,
        Some(ProductionImpact::None) | None => 1.0,
    };
    let waiting_per_hour = visit / hours_worth_a_visit(priority) * safety * production;
    DelayCost {
        waiting_per_hour,
        lateness_per_hour: LATE_COUNTS * waiting_per_hour,
    }
}

/// Hours of waiting that cost as much as a visit does. The steps are so wide that safety and stopped production
/// together do not lift a ticket over the next priority.
fn hours_worth_a_visit(priority: Priority) -> f64 {
    match priority {
        Priority::P1 => 1.0,
        Priority::P2 => 8.0,
        Priority::P3 => 72.0,
        Priority::P4 => 504.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    const ORDER: [Priority; 4] = [Priority::P1, Priority::P2, Priority::P3, Priority::P4];

    fn reported(safety: bool, production: ProductionImpact) -> Report {
        Report {
            safety,
            production,
            ..Report::default()
        }
    }

    #[test]
    fn each_priority_costs_more_than_the_next_whatever_was_reported() {
        let worst = reported(true, ProductionImpact::Stopped);
        for pair in ORDER.windows(2) {
            let more = delay_cost(pair[0], None, 100.0);
            let less = delay_cost(pair[1], Some(&worst), 100.0);
            assert!(more.waiting_per_hour > less.waiting_per_hour, "{pair:?}");
            assert!(more.lateness_per_hour > less.lateness_per_hour, "{pair:?}");
            assert!(less.waiting_per_hour > 0.0);
        }
    }

    #[test]
    fn safety_and_stopped_production_count() {
        let plain = delay_cost(Priority::P2, None, 100.0);
        for report in [
            reported(true, ProductionImpact::None),
            reported(false, ProductionImpact::Reduced),
            reported(false, ProductionImpact::Stopped),
        ] {
            let cost = delay_cost(Priority::P2, Some(&report), 100.0);
            assert!(cost.waiting_per_hour > plain.waiting_per_hour, "{report:?}");
        }
    }

    #[test]
    fn a_visit_costs_something_whatever_the_catalogue_holds() {
        let mut catalogue = fixtures::catalogue();
        let weights = DispatchWeights::default();
        assert!(usual_visit_cost(&catalogue, &weights) > 0.0);
        for class in &mut catalogue.classes {
            class.modes.clear();
        }
        assert_eq!(usual_visit_cost(&catalogue, &weights), 320.0);
        let free_roads = DispatchWeights {
            travel_per_hour: 0.0,
            ..weights
        };
        assert_eq!(usual_visit_cost(&catalogue, &free_roads), 320.0);
    }
}
