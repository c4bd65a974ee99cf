//! A new device begins with what the fleet of its class has learnt.
//!
//! Of the devices that have settled one is taken whole, regimes, slopes, hours and all: the medoid, whose baselines
//! predict those of the others best. A mean of several models would need their regimes to match, and a
//! machine that runs one shift has other regimes than one that never stops; and the medoid is a model that some
//! machine has really had. How far the others are from it says how far its levels can be trusted elsewhere: the new
//! device's own samples count all the sooner, the more its sisters differ.

use forecare_domain::Timestamp;

use super::DeviceDetector;
use crate::ClassDetector;
use crate::class::Role;
use crate::operation::Axes;
use crate::regimes::AXES_MAX;

/// Fewest settled devices of a class that say what is usual.
const FLEET_MIN: usize = 4;
/// Most devices that are compared with each other.
const FLEET_MAX: usize = 24;
/// Age of a device from which others learn, hours: it has seen its regimes and a few days.
const MODEL_HOURS: f64 = 72.0;

/// The state with which a device of `class` begins that first reports at `at`, from others of the class; `None`
/// while too few of them have been reporting for three days by then. The same devices in the same order give the
/// same state; those beyond the first 24 that can serve are not looked at.
#[must_use]
pub fn from_fleet<'a>(
    class: &ClassDetector,
    at: Timestamp,
    fleet: impl IntoIterator<Item = &'a DeviceDetector>,
) -> Option<DeviceDetector> {
    let fleet: Vec<&DeviceDetector> = fleet
        .into_iter()
        .filter(|d| d.is_model(class, at))
        .take(FLEET_MAX)
        .collect();
    if fleet.len() < FLEET_MIN {
        return None;
    }
    let mut best: Option<(f64, &DeviceDetector, Vec<f64>)> = None;
    for &candidate in &fleet {
        let mut by_metric: Vec<Vec<f64>> = vec![Vec::new(); class.roles.len()];
        for other in fleet.iter().filter(|o| !std::ptr::eq(**o, candidate)) {
            candidate.differences(class, other, &mut by_metric);
        }
        let spreads: Vec<f64> = by_metric.iter_mut().map(|d| median(d)).collect();
        let all: f64 = spreads.iter().sum();
        if best.as_ref().is_none_or(|(least, _, _)| all < *least) {
            best = Some((all, candidate, spreads));
        }
    }
    best.map(|(_, medoid, spreads)| medoid.as_newborn(class, &spreads))
}

impl DeviceDetector {
    /// Whether others can learn from it: it has settled, and nothing departs at present.
    fn is_model(&self, class: &ClassDetector, at: Timestamp) -> bool {
        self.first_ms != i64::MIN
            && self.hours_since_first(at.as_millis()) >= MODEL_HOURS
            && self.fits(class)
            && self.settled == 1
            && self.joint_departed_ms == i64::MIN
            && class
                .roles
                .iter()
                .zip(&self.metrics)
                .all(|(role, metric)| !matches!(role, Role::Health(_)) || metric.is_model(class))
    }

    /// How far each metric of `other` lies from what this device would let expect of it, at the other's usual points;
    /// in deviations, by metric.
    fn differences(&self, class: &ClassDetector, other: &Self, by_metric: &mut [Vec<f64>]) {
        for regime in other.regimes.settled() {
            let mut standard = [0.0; AXES_MAX];
            let mut point = Axes::default();
            for ((role, mine), theirs) in class.roles.iter().zip(&self.metrics).zip(&other.metrics)
            {
                if let Role::Axis(axis) = *role
                    && mine.ready()
                    && let Some(x) = theirs.usual(regime)
                {
                    standard[axis] = mine.axis(x);
                    point[axis] = x;
                }
            }
            let here = self.regimes.nearest_to(&standard);
            let mut axes = Axes::default();
            for (role, mine) in class.roles.iter().zip(&self.metrics) {
                if let Role::Axis(axis) = *role
                    && let Some(departure) = mine.axis_from(point[axis], here)
                {
                    axes[axis] = departure;
                }
            }
            let row = self.operation.at_rest(&axes, here);
            for (i, (mine, theirs)) in self.metrics.iter().zip(&other.metrics).enumerate() {
                if let (Role::Health(_), Some(seen)) = (class.roles[i], theirs.usual(regime))
                    && let Some(difference) = mine.off_expected(seen, here, &row)
                {
                    by_metric[i].push(difference.abs());
                }
            }
        }
    }

    /// This device's model as the beginning of another one's; `spreads`: how far the fleet is from it, by metric.
    fn as_newborn(&self, class: &ClassDetector, spreads: &[f64]) -> Self {
        let mut newborn = Self {
            first_ms: i64::MIN,
            last_ms: i64::MIN,
            joint_ms: i64::MIN,
            joint_departed_ms: i64::MIN,
            health: 100.0,
            ..self.clone()
        };
        newborn.operation.doubt();
        newborn.operation.forget_present();
        newborn.together.forget_present();
        for ((metric, role), &spread) in newborn.metrics.iter_mut().zip(&class.roles).zip(spreads) {
            // The usual operating points stay: slopes count from them.
            let is_axis = matches!(role, Role::Axis(_));
            metric.begin_as_sister((!is_axis).then_some(spread));
        }
        newborn
    }
}

/// Median; 0 of nothing.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
