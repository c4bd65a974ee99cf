//! Available to promise: how many parts can be given away when, without breaking what is promised already.
//!
//! The cumulative rule with look-ahead: what can be promised for an instant is the least that is projected to be there
//! from then on (APICS Dictionary, "available-to-promise"; Silver, Pyke and Thomas, 4th edition, chapter 14).

use forecare_domain::Timestamp;

/// Parts that come or go at a time that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dated {
    /// When.
    pub at: Timestamp,
    /// How many: positive ones arrive, negative ones are needed.
    pub change: i64,
}

/// What can be promised from an instant on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// From when on.
    pub at: Timestamp,
    /// Change of the projection at that instant.
    pub change: i64,
    /// Projected to be there then; negative: so many are missing.
    pub projected: i64,
    /// Can be promised for then: the least projected from then on, at least 0.
    pub promisable: u32,
}

/// What can be promised, from `now` on and after each change. What is overdue counts as of now. One entry per instant,
/// in order.
#[must_use]
pub fn promise(on_hand: u32, dated: &[Dated], now: Timestamp) -> Vec<Promise> {
    let mut changes: Vec<Dated> = dated
        .iter()
        .map(|d| Dated {
            at: d.at.max(now),
            change: d.change,
        })
        .collect();
    changes.sort_by_key(|d| d.at);
    let mut points = vec![Promise {
        at: now,
        change: 0,
        projected: i64::from(on_hand),
        promisable: 0,
    }];
    for d in changes {
        let Some(last) = points.last().copied() else {
            break;
        };
        let projected = last.projected + d.change;
        if last.at == d.at {
            points.pop();
        }
        points.push(Promise {
            at: d.at,
            change: d.change + if last.at == d.at { last.change } else { 0 },
            projected,
            promisable: 0,
        });
    }
    let mut least = i64::MAX;
    for point in points.iter_mut().rev() {
        least = least.min(point.projected);
        point.promisable = u32::try_from(least.max(0)).unwrap_or(u32::MAX);
    }
    points
}

/// The earliest instant for which `quantity` can be promised; `None`: not with what is known to come.
#[must_use]
pub fn earliest(points: &[Promise], quantity: u32) -> Option<Timestamp> {
    points
        .iter()
        .find(|p| p.promisable >= quantity)
        .map(|p| p.at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::at;

    fn dated(hours: f64, change: i64) -> Dated {
        Dated {
            at: at(hours),
            change,
        }
    }

    #[test]
    fn a_later_need_keeps_what_lies_there_now() {
        let points = promise(
            5,
            &[dated(48.0, -4), dated(24.0, 2), dated(72.0, 6)],
            at(0.0),
        );
        let seen: Vec<(i64, u32)> = points.iter().map(|p| (p.projected, p.promisable)).collect();
        assert_eq!(seen, [(5, 3), (7, 3), (3, 3), (9, 9)]);
        assert_eq!(earliest(&points, 3), Some(at(0.0)));
        assert_eq!(earliest(&points, 4), Some(at(72.0)));
        assert_eq!(earliest(&points, 10), None);
    }

    #[test]
    fn what_is_missing_is_told_and_nothing_is_promised_before() {
        let points = promise(1, &[dated(-5.0, -3), dated(24.0, 4)], at(0.0));
        let seen: Vec<(i64, i64, u32)> = points
            .iter()
            .map(|p| (p.change, p.projected, p.promisable))
            .collect();
        assert_eq!(seen, [(-3, -2, 0), (4, 2, 2)]);
    }

    proptest! {
        /// Promising it breaks nothing, and one more would, or was never there.
        #[test]
        fn a_promise_is_the_most_that_can_be_kept(
            on_hand in 0..10_u32,
            changes in prop::collection::vec((-2..20_i32, -5..6_i64), 0..12),
        ) {
            let changes: Vec<Dated> = changes.into_iter().map(|(h, change)| dated(f64::from(h), change)).collect();
            let points = promise(on_hand, &changes, at(0.0));
            // Hour by hour, by brute force.
            let projected = |hour: i32| {
                let due = changes.iter().filter(|d| d.at <= at(f64::from(hour)));
                i64::from(on_hand) + due.map(|d| d.change).sum::<i64>()
            };
            for hour in 0..22 {
                let expected = (hour..22).map(projected).min().unwrap().max(0);
                let point = points.iter().rev().find(|p| p.at <= at(f64::from(hour))).unwrap();
                prop_assert_eq!(i64::from(point.promisable), expected, "hour {}", hour);
                prop_assert_eq!(point.projected, projected(hour));
            }
        }
    }
}
