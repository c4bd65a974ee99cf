//! From log-odds to probabilities that come true, and how well they do.

use serde::{Deserialize, Serialize};

use crate::boost::sigmoid;
use crate::model::{ModeScores, ReliabilityBin};

/// Platt scaling: probability = sigmoid(slope * log-odds + offset). After Platt (1999), with the smoothed
/// targets and the guarded Newton steps of Lin, Lin and Weng (2007).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Platt {
    pub(crate) slope: f64,
    pub(crate) offset: f64,
}

/// A prediction on a machine the model had not seen: log-odds, what happened, weight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) margin: f64,
    pub(crate) label: bool,
    pub(crate) weight: f64,
}

impl Platt {
    pub(crate) fn probability(self, margin: f64) -> f64 {
        sigmoid(self.slope.mul_add(margin, self.offset))
    }

    pub(crate) fn fit(held: &[Held]) -> Self {
        let positive: f64 = held.iter().filter(|h| h.label).map(|h| h.weight).sum();
        let negative: f64 = held.iter().filter(|h| !h.label).map(|h| h.weight).sum();
        let high = (positive + 1.0) / (positive + 2.0);
        let low = 1.0 / (negative + 2.0);
        let target = |h: &Held| if h.label { high } else { low };
        let loss = |slope: f64, offset: f64| -> f64 {
            held.iter()
                .map(|h| {
                    let z = slope.mul_add(h.margin, offset);
                    // log(1 + e^z) - t z, without overflow.
                    h.weight * (z.max(0.0) + (-z.abs()).exp().ln_1p() - target(h) * z)
                })
                .sum()
        };
        let (mut slope, mut offset) = (1.0, 0.0);
        let mut best = loss(slope, offset);
        for _ in 0..50 {
            let (mut ga, mut gb, mut haa, mut hab, mut hbb) = (0.0, 0.0, 1e-9, 0.0, 1e-9);
            for h in held {
                let p = sigmoid(slope.mul_add(h.margin, offset));
                let d = h.weight * (p - target(h));
                let w = h.weight * p * (1.0 - p);
                ga += d * h.margin;
                gb += d;
                haa += w * h.margin * h.margin;
                hab += w * h.margin;
                hbb += w;
            }
            let det = haa * hbb - hab * hab;
            if det <= 0.0 {
                break;
            }
            let step_a = (hbb * ga - hab * gb) / det;
            let step_b = (haa * gb - hab * ga) / det;
            let mut pace = 1.0;
            let mut moved = false;
            while pace > 1e-6 {
                let (a, b) = (slope - pace * step_a, offset - pace * step_b);
                let now = loss(a, b);
                if now < best {
                    moved = best - now > 1e-10 * best.abs();
                    (slope, offset, best) = (a, b, now);
                    break;
                }
                pace /= 2.0;
            }
            if !moved {
                break;
            }
        }
        Self { slope, offset }
    }
}

/// Bounds of the reliability table; failures are rare, so it is finer below.
const RELIABILITY_BOUNDS: [f64; 9] = [0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0];

/// Scores of calibrated probabilities on machines the model had not seen.
pub(crate) fn score(mode: &str, held: &[Held], platt: Platt, n_failures: usize) -> ModeScores {
    let mut judged: Vec<(f64, bool, f64)> = held
        .iter()
        .map(|h| (platt.probability(h.margin), h.label, h.weight))
        .collect();
    judged.sort_by(|a, b| b.0.total_cmp(&a.0));
    let weight: f64 = judged.iter().map(|j| j.2).sum();
    let positive: f64 = judged.iter().filter(|j| j.1).map(|j| j.2).sum();
    let negative = weight - positive;
    let mean = |f: &dyn Fn(f64, f64) -> f64| {
        judged
            .iter()
            .map(|&(p, y, w)| w * f(p, f64::from(u8::from(y))))
            .sum::<f64>()
            / weight.max(f64::MIN_POSITIVE)
    };
    let (mut hits, mut false_alarms, mut area, mut precision_sum) = (0.0, 0.0, 0.0, 0.0);
    for ties in judged.chunk_by(|a, b| a.0 == b.0) {
        let up: f64 = ties.iter().filter(|j| j.1).map(|j| j.2).sum();
        let across: f64 = ties.iter().filter(|j| !j.1).map(|j| j.2).sum();
        area += across * (hits + up / 2.0);
        hits += up;
        false_alarms += across;
        if up > 0.0 {
            precision_sum += up * hits / (hits + false_alarms);
        }
    }
    let reliability = RELIABILITY_BOUNDS
        .windows(2)
        .map(|bounds| {
            let inside = || {
                judged
                    .iter()
                    .filter(|j| j.0 >= bounds[0] && (j.0 < bounds[1] || bounds[1] >= 1.0))
            };
            let w: f64 = inside().map(|j| j.2).sum();
            let share = |sum: f64| if w > 0.0 { sum / w } else { 0.0 };
            ReliabilityBin {
                from: bounds[0],
                to: bounds[1],
                n_rows: inside().count(),
                predicted: share(inside().map(|j| j.2 * j.0).sum()),
                observed: share(inside().filter(|j| j.1).map(|j| j.2).sum()),
            }
        })
        .collect();
    let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
    ModeScores {
        mode: mode.to_owned(),
        n_failures,
        n_rows: judged.len(),
        n_rows_before_failure: judged.iter().filter(|j| j.1).count(),
        auc: ratio(area, positive * negative),
        average_precision: ratio(precision_sum, positive),
        log_loss: mean(&|p, y| {
            let p = p.clamp(1e-12, 1.0 - 1e-12);
            -(y * p.ln() + (1.0 - y) * (1.0 - p).ln())
        }),
        brier: mean(&|p, y| (p - y) * (p - y)),
        reliability,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platt_undoes_overconfidence() {
        // Margins three times too large: at m the event comes true with sigmoid(m / 3).
        let mut held = Vec::new();
        for step in -20..=20 {
            let margin = f64::from(step) * 0.6;
            let p = sigmoid(margin / 3.0);
            held.push(Held {
                margin,
                label: true,
                weight: 1000.0 * p,
            });
            held.push(Held {
                margin,
                label: false,
                weight: 1000.0 * (1.0 - p),
            });
        }
        let platt = Platt::fit(&held);
        assert!((platt.slope - 1.0 / 3.0).abs() < 0.01, "{platt:?}");
        assert!(platt.offset.abs() < 0.01, "{platt:?}");
    }

    #[test]
    fn platt_stays_finite_when_classes_part_perfectly() {
        let held: Vec<Held> = (-10..10)
            .map(|i| Held {
                margin: f64::from(i) + 0.5,
                label: i >= 0,
                weight: 1.0,
            })
            .collect();
        let platt = Platt::fit(&held);
        assert!(platt.slope.is_finite() && platt.offset.is_finite() && platt.slope > 0.0);
    }

    #[test]
    fn scores_of_a_hand_computed_ranking() {
        let identity = Platt {
            slope: 1.0,
            offset: 0.0,
        };
        let held: Vec<Held> = [(4.0, true), (3.0, false), (2.0, true), (1.0, false)]
            .map(|(margin, label)| Held {
                margin,
                label,
                weight: 1.0,
            })
            .to_vec();
        let scores = score("m", &held, identity, 1);
        assert!((scores.auc - 0.75).abs() < 1e-12);
        assert!((scores.average_precision - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
        assert_eq!(
            scores.reliability.iter().map(|b| b.n_rows).sum::<usize>(),
            4
        );
    }
}
