//! By when a schedule opens its next ticket.
//!
//! Occurrences lie at the multiples of the interval: of the hours since the asset was registered, or of a counter. What is
//! kept per asset and schedule is only up to where all occurrences are taken care of. Several that were missed become
//! one, and one that comes up while a ticket is open counts as taken care of by it.

use serde::{Deserialize, Serialize};

/// What is kept of a schedule of an asset.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Covered {
    /// All occurrences up to here are taken care of.
    pub upto: f64,
    /// How often the counter has begun anew.
    pub epoch: u32,
}

/// What a look at a schedule comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Look {
    /// Nothing.
    Wait,
    /// Keep this; no ticket.
    Keep(Covered),
    /// Open a ticket for the occurrence at `upto`, then keep this.
    Open(Covered),
}

/// Looks at a schedule at `position`: hours since registration, or the counter's value. `covered`: what was kept;
/// `None`: it is looked at for the first time, and what lies before is not made up for. A counter that has fallen by
/// more than half an interval has begun anew.
#[must_use]
pub fn look(every: f64, lead: f64, position: f64, covered: Option<Covered>) -> Look {
    if !position.is_finite() || position < 0.0 {
        return Look::Wait;
    }
    let before = |position: f64| (position / every).floor() * every;
    let Some(covered) = covered else {
        return Look::Keep(Covered {
            upto: before(position),
            epoch: 0,
        });
    };
    if position + lead + every / 2.0 < covered.upto {
        return Look::Keep(Covered {
            upto: before(position),
            epoch: covered.epoch.saturating_add(1),
        });
    }
    let reached = before(position + lead);
    if reached > covered.upto {
        return Look::Open(Covered {
            upto: reached,
            epoch: covered.epoch,
        });
    }
    Look::Wait
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covered(upto: f64) -> Option<Covered> {
        Some(Covered { upto, epoch: 0 })
    }

    #[test]
    fn the_first_look_makes_up_for_nothing() {
        let kept = Covered {
            upto: 12_000.0,
            epoch: 0,
        };
        assert_eq!(look(1_000.0, 50.0, 12_960.0, None), Look::Keep(kept));
        assert_eq!(
            look(1_000.0, 50.0, 12_960.0, Some(kept)),
            Look::Open(Covered {
                upto: 13_000.0,
                epoch: 0
            })
        );
    }

    #[test]
    fn a_ticket_opens_the_lead_ahead_and_once() {
        assert_eq!(look(100.0, 10.0, 89.9, covered(0.0)), Look::Wait);
        let Look::Open(kept) = look(100.0, 10.0, 90.0, covered(0.0)) else {
            panic!("it is time");
        };
        assert_eq!(look(100.0, 10.0, 90.0, Some(kept)), Look::Wait);
        assert_eq!(look(100.0, 10.0, 189.0, Some(kept)), Look::Wait);
    }

    #[test]
    fn what_was_missed_becomes_one() {
        let open = Covered {
            upto: 500.0,
            epoch: 0,
        };
        assert_eq!(look(100.0, 0.0, 555.0, covered(100.0)), Look::Open(open));
    }

    #[test]
    fn a_counter_that_begins_anew_is_followed_and_one_that_trembles_is_not() {
        assert_eq!(look(100.0, 0.0, 499.0, covered(500.0)), Look::Wait);
        let Look::Keep(anew) = look(100.0, 0.0, 3.0, covered(500.0)) else {
            panic!("it has begun anew");
        };
        assert_eq!((anew.upto, anew.epoch), (0.0, 1));
        assert!(matches!(look(100.0, 0.0, 100.0, Some(anew)), Look::Open(_)));
        assert_eq!(look(100.0, 0.0, f64::NAN, covered(500.0)), Look::Wait);
    }

    proptest! {
        #[test]
        fn every_occurrence_opens_once_however_often_what_was_kept_is_lost(
            every in 1.0..50.0_f64, lead_share in 0.0..0.99_f64,
            steps in prop::collection::vec((0.0..30.0_f64, any::<bool>()), 1..80),
        ) {
            let lead = every * lead_share;
            // The store keeps a ticket per key; what is kept beside it may be lost in a crash.
            let mut tickets: Vec<(u32, u64)> = Vec::new();
            let mut position = 0.0;
            let Look::Keep(mut kept) = look(every, lead, position, None) else {
                return Err(TestCaseError::fail("the first look keeps"));
            };
            for (step, crash) in steps {
                position += step;
                if let Look::Open(next) = look(every, lead, position, Some(kept)) {
                    prop_assert!(next.upto <= position + lead && next.upto > kept.upto);
                    let key = (next.epoch, next.upto.to_bits());
                    if !tickets.contains(&key) {
                        tickets.push(key);
                    }
                    if !crash {
                        kept = next;
                    }
                }
            }
            // Looked at once more without a crash: nothing that is due is left out.
            if let Look::Open(next) = look(every, lead, position, Some(kept)) {
                kept = next;
            }
            prop_assert_eq!(look(every, lead, position, Some(kept)), Look::Wait);
            let n_due = ((position + lead) / every).floor();
            prop_assert!(tickets.len() as f64 <= n_due);
        }
    }
}
