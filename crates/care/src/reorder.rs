//! When to order a part, and how many: from what the fleet is likely to need while an order is on its way.
//!
//! A machine with a prognosis needs its parts with the probability the model gives; what was consumed beside such
//! machines comes as a Poisson stream at the past rate. The sum is the demand over a lead time. The reorder point is the
//! least stock that suffices for it with the wanted probability; what is ordered brings the stock to what suffices for
//! lead time and one order cycle together: the (s, S) policy of Silver, Pyke and Thomas, *Inventory and Production
//! Management in Supply Chains*, 4th edition, chapter 7, with an exact distribution in place of a normal one, as spare
//! parts are few.

use forecare_domain::Timestamp;

/// Pieces of one part up to which a distribution is worked out: beyond, one would order by other means.
const PIECES_MAX: usize = 50_000;
const HOURS_PER_YEAR: f64 = 8_766.0;

/// What is wanted of the stock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReorderPolicy {
    /// Probability with which an order cycle is to end without a part missing, 0 to 1, both excluded.
    pub service_level: f64,
    /// How long an order is to last beyond the lead time, hours. Above 0.
    pub cycle_hours: f64,
}

/// A machine that may come to need the part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LikelyNeed {
    /// Probability that it does within the horizon, 0 to 1.
    pub probability: f64,
    /// That horizon, hours. Above 0.
    pub horizon_hours: f64,
    /// Pieces needed then.
    pub quantity: u32,
}

/// What a part is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PartDemand<'a> {
    /// Machines with a prognosis and no ticket for it yet: what tickets need is held or on back-order already.
    pub likely: &'a [LikelyNeed],
    /// Pieces an hour that are consumed beside these machines.
    pub base_per_hour: f64,
    /// Supplier's lead time, hours.
    pub lead_time_hours: f64,
}

/// What there is of a part, all places together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StockPosition {
    /// On hand and held by nobody.
    pub free: u32,
    /// Waited for by tickets.
    pub back_ordered: u32,
    /// Ordered from the supplier, on its way.
    pub on_order: u32,
}

/// When to order, and the numbers behind it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReorderAdvice {
    /// Pieces expected to be needed over the lead time by machines with a prognosis.
    pub expected_predicted: f64,
    /// Pieces expected to be needed over the lead time beside them.
    pub expected_base: f64,
    /// Order where the position is below this.
    pub reorder_point: u32,
    /// What an order brings the position to.
    pub order_up_to: u32,
    /// Free + on order - back-ordered.
    pub position: i64,
    /// Pieces to order now; 0: none.
    pub quantity: u32,
    /// Probability that the position does not last until an order of now would arrive.
    pub short_probability: f64,
}

/// When to order a part and how many.
#[must_use]
pub fn reorder(
    demand: &PartDemand<'_>,
    stock: StockPosition,
    policy: &ReorderPolicy,
) -> ReorderAdvice {
    let lead = demand.lead_time_hours.max(0.0);
    let over_lead = pieces_needed(demand, lead);
    let over_cycle = pieces_needed(demand, lead + policy.cycle_hours.max(0.0));
    let reorder_point = suffices(&over_lead, policy.service_level);
    let order_up_to = suffices(&over_cycle, policy.service_level).max(reorder_point);
    let position =
        i64::from(stock.free) + i64::from(stock.on_order) - i64::from(stock.back_ordered);
    let quantity = if position < i64::from(reorder_point) {
        u32::try_from(i64::from(order_up_to) - position).unwrap_or(u32::MAX)
    } else {
        0
    };
    let covered: f64 = match usize::try_from(position) {
        Ok(position) => over_lead.iter().take(position.saturating_add(1)).sum(),
        Err(_) => 0.0,
    };
    ReorderAdvice {
        expected_predicted: demand
            .likely
            .iter()
            .map(|need| within(need, lead) * f64::from(need.quantity))
            // A sum of none is -0.
            .fold(0.0, |sum, n| sum + n),
        expected_base: demand.base_per_hour.max(0.0) * lead,
        reorder_point,
        order_up_to,
        position,
        quantity,
        short_probability: (1.0 - covered).clamp(0.0, 1.0),
    }
}

/// Probability of a need within `hours`, where the hazard behind its probability stays as it is.
#[must_use]
pub fn within(need: &LikelyNeed, hours: f64) -> f64 {
    let p = need.probability.clamp(0.0, 1.0);
    if p >= 1.0 || hours <= 0.0 || need.horizon_hours <= 0.0 {
        return if hours > 0.0 { p } else { 0.0 };
    }
    -((1.0 - p).ln() * hours / need.horizon_hours).exp_m1()
}

/// Probability of each number of pieces needed within `hours`, from 0 on; what is left out at the end has a probability
/// beyond any service level.
#[must_use]
pub fn pieces_needed(demand: &PartDemand<'_>, hours: f64) -> Vec<f64> {
    let base = demand.base_per_hour.max(0.0) * hours.max(0.0);
    let (mut mean, mut variance) = (base, base);
    for need in demand.likely {
        let (p, n) = (within(need, hours), f64::from(need.quantity));
        mean += p * n;
        variance += p * (1.0 - p) * n * n;
    }
    let largest = demand.likely.iter().map(|n| n.quantity).max().unwrap_or(0);
    let reach = mean + 12.0 * variance.sqrt() + 12.0 * f64::from(largest.max(1));
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded on both sides just before"
    )]
    let n = reach.clamp(1.0, PIECES_MAX as f64) as usize + 1;
    let mut pieces = poisson(base, n);
    for need in demand.likely {
        let (p, step) = (within(need, hours), need.quantity as usize);
        if p <= 0.0 || step == 0 {
            continue;
        }
        for k in (0..n).rev() {
            let from = if k >= step { pieces[k - step] } else { 0.0 };
            pieces[k] = pieces[k] * (1.0 - p) + from * p;
        }
    }
    pieces
}

/// The first `n` probabilities of a Poisson distribution.
fn poisson(mean: f64, n: usize) -> Vec<f64> {
    let mut log = -mean;
    (0..n)
        .map(|k| {
            if k > 0 {
                log += mean.ln() - (k as f64).ln();
            }
            log.exp()
        })
        .collect()
}

/// The least number of pieces that suffices with probability `level`.
fn suffices(pieces: &[f64], level: f64) -> u32 {
    let mut sum = 0.0;
    let found = pieces.iter().position(|p| {
        sum += p;
        // Sums of rounded terms fall short of 1 by a little.
        sum >= level - 1e-12
    });
    u32::try_from(found.unwrap_or(pieces.len())).unwrap_or(u32::MAX)
}

/// A change of a part's stock, all places together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Movement {
    /// When.
    pub at: Timestamp,
    /// Change of stock on hand.
    pub delta: i64,
    /// Whether it is for use: handed out or consumed, or come back from there.
    pub is_use: bool,
}

/// How fast a part moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turnover {
    /// Pieces used in the span, less those that came back.
    pub used: i64,
    /// Mean stock on hand over the span.
    pub mean_on_hand: f64,
    /// Times a year that the stock is used up; `None`: there was none.
    pub turns_per_year: Option<f64>,
    /// How long what is on hand lasts at the span's rate, days; `None`: nothing was used.
    pub days_of_cover: Option<f64>,
    /// When it was last used, within the span.
    pub last_used_at: Option<Timestamp>,
}

/// How fast a part has moved from `from` to `now`: `on_hand` lie there now, `movements` are those of the span, newest
/// first.
#[must_use]
pub fn turnover(on_hand: i64, movements: &[Movement], from: Timestamp, now: Timestamp) -> Turnover {
    let span_hours = now.hours_since(from).max(f64::MIN_POSITIVE);
    let (mut level, mut until, mut piece_hours) = (on_hand, now, 0.0);
    let mut used = 0;
    let mut last_used_at = None;
    for movement in movements.iter().filter(|m| m.at >= from && m.at <= now) {
        piece_hours += level as f64 * until.hours_since(movement.at).max(0.0);
        until = movement.at;
        level -= movement.delta;
        if movement.is_use {
            used -= movement.delta;
            if movement.delta < 0 && last_used_at.is_none() {
                last_used_at = Some(movement.at);
            }
        }
    }
    piece_hours += level as f64 * until.hours_since(from).max(0.0);
    let mean_on_hand = piece_hours / span_hours;
    let per_hour = used.max(0) as f64 / span_hours;
    Turnover {
        used,
        mean_on_hand,
        turns_per_year: (mean_on_hand > 0.0).then(|| per_hour * HOURS_PER_YEAR / mean_on_hand),
        days_of_cover: (per_hour > 0.0).then(|| on_hand as f64 / per_hour / 24.0),
        last_used_at,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::at;

    const POLICY: ReorderPolicy = ReorderPolicy {
        service_level: 0.95,
        cycle_hours: 168.0,
    };

    fn stock(free: u32, back_ordered: u32, on_order: u32) -> StockPosition {
        StockPosition {
            free,
            back_ordered,
            on_order,
        }
    }

    /// SplitMix64.
    struct Dice(u64);

    impl Dice {
        fn unit(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        }

        /// Time to the next event of a process of this rate.
        fn wait(&mut self, rate: f64) -> f64 {
            -(1.0 - self.unit()).ln() / rate
        }
    }

    /// Pieces needed within `hours` in one life of the fleet, event by event.
    fn one_life(demand: &PartDemand<'_>, hours: f64, dice: &mut Dice) -> usize {
        let mut pieces = 0;
        for need in demand.likely {
            let rate = -(1.0 - need.probability).ln() / need.horizon_hours;
            if rate > 0.0 && dice.wait(rate) <= hours {
                pieces += need.quantity as usize;
            }
        }
        if demand.base_per_hour > 0.0 {
            let mut clock = dice.wait(demand.base_per_hour);
            while clock <= hours {
                pieces += 1;
                clock += dice.wait(demand.base_per_hour);
            }
        }
        pieces
    }

    #[test]
    fn the_point_is_the_least_that_suffices_in_a_simulation() {
        let need = |probability, quantity| LikelyNeed {
            probability,
            horizon_hours: 72.0,
            quantity,
        };
        let fleets: [(Vec<LikelyNeed>, f64, f64); 4] = [
            (vec![need(0.02, 1); 200], 0.0, 48.0),
            (vec![need(0.7, 2), need(0.4, 4), need(0.05, 2)], 0.01, 240.0),
            (Vec::new(), 0.03, 336.0),
            (vec![need(0.1, 3); 40], 0.05, 24.0),
        ];
        for (n, (likely, base_per_hour, lead_time_hours)) in fleets.iter().enumerate() {
            let demand = PartDemand {
                likely,
                base_per_hour: *base_per_hour,
                lead_time_hours: *lead_time_hours,
            };
            let advice = reorder(&demand, stock(0, 0, 0), &POLICY);
            let mut dice = Dice(7 + n as u64);
            let lives = 40_000;
            let mut total = 0;
            let [mut enough, mut one_less] = [0, 0];
            for _ in 0..lives {
                let pieces = one_life(&demand, *lead_time_hours, &mut dice);
                total += pieces;
                enough += usize::from(pieces <= advice.reorder_point as usize);
                one_less += usize::from(pieces < advice.reorder_point as usize);
            }
            let share = |n: usize| n as f64 / f64::from(lives);
            // Three standard errors of a share near 0.95.
            assert!(
                share(enough) >= 0.95 - 0.0033,
                "fleet {n}: {}",
                share(enough)
            );
            assert!(
                share(one_less) < 0.95 + 0.0033,
                "fleet {n}: {}",
                share(one_less)
            );
            let expected = advice.expected_predicted + advice.expected_base;
            assert!(
                (share(total) - expected).abs() < 0.05 * expected + 0.02,
                "fleet {n}"
            );
        }
    }

    #[test]
    fn the_chance_of_a_need_grows_with_the_time() {
        let need = LikelyNeed {
            probability: 0.36,
            horizon_hours: 48.0,
            quantity: 1,
        };
        assert!((within(&need, 48.0) - 0.36).abs() < 1e-12);
        assert!((within(&need, 24.0) - 0.2).abs() < 1e-12);
        assert!(within(&need, 0.0).abs() < 1e-12);
        let certain = LikelyNeed {
            probability: 1.0,
            ..need
        };
        assert!((within(&certain, 1.0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_likely_orders_nothing_but_what_is_waited_for() {
        let demand = PartDemand {
            likely: &[],
            base_per_hour: 0.0,
            lead_time_hours: 48.0,
        };
        let advice = reorder(&demand, stock(0, 0, 0), &POLICY);
        assert_eq!((advice.reorder_point, advice.quantity), (0, 0));
        let waiting = reorder(&demand, stock(0, 2, 0), &POLICY);
        assert_eq!((waiting.position, waiting.quantity), (-2, 2));
        assert!((waiting.short_probability - 1.0).abs() < 1e-12);
        let ordered = reorder(&demand, stock(0, 2, 2), &POLICY);
        assert_eq!(ordered.quantity, 0, "an order on its way counts");
    }

    #[test]
    fn turnover_is_use_over_the_mean_of_what_lay_there() {
        // 10 for 50 hours, then 4 for 50 hours.
        let movements = [
            Movement {
                at: at(75.0),
                delta: 0,
                is_use: false,
            },
            Movement {
                at: at(50.0),
                delta: -6,
                is_use: true,
            },
        ];
        let t = turnover(4, &movements, at(0.0), at(100.0));
        assert_eq!((t.used, t.last_used_at), (6, Some(at(50.0))));
        assert!((t.mean_on_hand - 7.0).abs() < 1e-9);
        let per_year = 6.0 / 100.0 * HOURS_PER_YEAR / 7.0;
        assert!((t.turns_per_year.unwrap() - per_year).abs() < 1e-9);
        assert!((t.days_of_cover.unwrap() - 4.0 / 0.06 / 24.0).abs() < 1e-9);
        let still = turnover(4, &[], at(0.0), at(100.0));
        assert_eq!(
            (still.turns_per_year, still.days_of_cover),
            (Some(0.0), None)
        );
    }

    proptest! {
        #[test]
        fn more_likely_or_longer_never_means_fewer(
            likely in prop::collection::vec((0.0..1.0_f64, 1.0..200.0_f64, 1..5_u32), 0..20),
            base in 0.0..0.2_f64,
            lead in 0.0..300.0_f64,
            free in 0..20_u32,
        ) {
            let likely: Vec<LikelyNeed> = likely.into_iter().map(|(probability, horizon_hours, quantity)| LikelyNeed {
                probability, horizon_hours, quantity,
            }).collect();
            let demand = PartDemand { likely: &likely, base_per_hour: base, lead_time_hours: lead };
            let sum: f64 = pieces_needed(&demand, lead).iter().sum();
            prop_assert!((sum - 1.0).abs() < 1e-6, "{sum}");
            let advice = reorder(&demand, stock(free, 0, 0), &POLICY);
            prop_assert!(advice.order_up_to >= advice.reorder_point);
            prop_assert_eq!(advice.quantity > 0, free < advice.reorder_point);
            prop_assert_eq!(advice.short_probability > 0.05 + 1e-9, free < advice.reorder_point);
            let longer = PartDemand { lead_time_hours: lead + 24.0, ..demand };
            prop_assert!(reorder(&longer, stock(free, 0, 0), &POLICY).reorder_point >= advice.reorder_point);
            let more = PartDemand { base_per_hour: base + 0.05, ..demand };
            prop_assert!(reorder(&more, stock(free, 0, 0), &POLICY).reorder_point >= advice.reorder_point);
        }
    }
}
