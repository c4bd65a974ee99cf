//! From log-odds to probabilities that come true.

use serde::{Deserialize, Serialize};

use crate::forest::sigmoid;
use crate::scores::{Judged, log_loss};

/// A prediction on a machine the trees had not seen: log-odds, what happened, weight, and the fold it was held
/// out with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) margin: f64,
    pub(crate) label: bool,
    pub(crate) weight: f64,
    pub(crate) fold: usize,
}

/// How log-odds become a probability: rising, continuous, within 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum Calibration {
    Platt(Platt),
    Isotonic(Isotonic),
}

/// The kinds of calibration that are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Platt,
    Isotonic,
}

impl Calibration {
    pub(crate) fn fit(kind: Kind, held: &[Held]) -> Self {
        match kind {
            Kind::Platt => Self::Platt(Platt::fit(held)),
            Kind::Isotonic => Self::Isotonic(Isotonic::fit(held)),
        }
    }

    pub(crate) fn probability(&self, margin: f64) -> f64 {
        match self {
            Self::Platt(platt) => platt.probability(margin),
            Self::Isotonic(isotonic) => isotonic.probability(margin),
        }
    }

    /// True when it gives a probability for every log-odds.
    pub(crate) fn is_sound(&self) -> bool {
        match self {
            Self::Platt(platt) => platt.slope.is_finite() && platt.offset.is_finite(),
            Self::Isotonic(isotonic) => isotonic.is_sound(),
        }
    }
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Platt, Self::Isotonic];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Platt => "Platt scaling",
            Self::Isotonic => "isotonic regression",
        }
    }
}

/// Probabilities of the rows in `judged`, each by a calibration fitted on the rows of `held` from the other folds:
/// what is scored has not been fitted on.
pub(crate) fn cross_fitted(kind: Kind, held: &[Held], judged: &[Held]) -> Vec<Judged> {
    let folds = judged.iter().map(|h| h.fold + 1).max().unwrap_or(0);
    let by_fold: Vec<Calibration> = (0..folds)
        .map(|fold| {
            let others: Vec<Held> = held.iter().copied().filter(|h| h.fold != fold).collect();
            Calibration::fit(kind, &others)
        })
        .collect();
    judged
        .iter()
        .map(|h| Judged {
            probability: by_fold[h.fold].probability(h.margin),
            came_true: h.label,
            weight: h.weight,
        })
        .collect()
}

/// The calibration of each mode, and its cross-fitted probabilities.
pub(crate) struct Chosen {
    pub(crate) kind: Kind,
    /// One curve for all modes, fitted on all of them.
    pub(crate) shared: bool,
    pub(crate) of_modes: Vec<(Calibration, Vec<Judged>)>,
}

impl Chosen {
    pub(crate) fn words(&self) -> String {
        let curves = if self.shared {
            "one curve for all modes"
        } else {
            "a curve per mode"
        };
        format!("{}, {curves}", self.kind.name())
    }
}

/// Chooses kind and scope of the calibration by the cross-fitted log loss over all modes; one curve for all is on
/// offer where `may_share`, as their log-odds mean the same only if they come from the same trees.
pub(crate) fn choose(held: &[Vec<Held>], may_share: bool) -> Chosen {
    let pooled: Vec<Held> = held.iter().flatten().copied().collect();
    let mut best: Option<(f64, Kind, bool)> = None;
    for kind in Kind::ALL {
        for shared in [false, true] {
            if shared && !may_share {
                continue;
            }
            let judged: Vec<Judged> = held
                .iter()
                .flat_map(|own| cross_fitted(kind, if shared { &pooled } else { own }, own))
                .collect();
            let loss = log_loss(&judged);
            if best.is_none_or(|(least, _, _)| loss < least) {
                best = Some((loss, kind, shared));
            }
        }
    }
    let (_, kind, shared) = best.unwrap_or((0.0, Kind::Platt, false));
    let of_modes = held
        .iter()
        .map(|own| {
            let basis = if shared { &pooled } else { own };
            (
                Calibration::fit(kind, basis),
                cross_fitted(kind, basis, own),
            )
        })
        .collect();
    Chosen {
        kind,
        shared,
        of_modes,
    }
}

/// Platt scaling: probability = sigmoid(slope * log-odds + offset). After Platt (1999), with the smoothed
/// targets and the guarded Newton steps of Lin, Lin and Weng (2007).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Platt {
    pub(crate) slope: f64,
    pub(crate) offset: f64,
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

/// Isotonic regression: the rising steps nearest to the outcomes (pool adjacent violators; Ayer et al. 1955,
/// Zadrozny and Elkan 2002), joined by straight lines between the middles of the steps, so that two different
/// log-odds rarely share a probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Isotonic {
    /// Log-odds and probability, both rising.
    knots: Vec<(f64, f64)>,
}

/// A step of the isotonic regression.
#[derive(Debug, Clone, Copy)]
struct Step {
    weight: f64,
    positive: f64,
    margins: f64,
}

impl Step {
    fn share(&self) -> f64 {
        self.positive / self.weight
    }
}

impl Isotonic {
    fn fit(held: &[Held]) -> Self {
        let mut sorted: Vec<Held> = held.iter().copied().filter(|h| h.weight > 0.0).collect();
        sorted.sort_by(|a, b| a.margin.total_cmp(&b.margin));
        let mut steps: Vec<Step> = Vec::new();
        for equal in sorted.chunk_by(|a, b| a.margin == b.margin) {
            let weight: f64 = equal.iter().map(|h| h.weight).sum();
            let positive: f64 = equal.iter().filter(|h| h.label).map(|h| h.weight).sum();
            steps.push(Step {
                weight,
                positive,
                margins: weight * equal[0].margin,
            });
            while let [.., below, last] = steps[..]
                && below.share() >= last.share()
            {
                steps.pop();
                if let Some(below) = steps.last_mut() {
                    below.weight += last.weight;
                    below.positive += last.positive;
                    below.margins += last.margins;
                }
            }
        }
        let weight: f64 = steps.iter().map(|s| s.weight).sum();
        let base = (steps.iter().map(|s| s.positive).sum::<f64>() + 0.5) / (weight + 1.0);
        // A step says at most what its rows can bear: one more row, of the base rate, keeps it off 0 and 1.
        let mut knots: Vec<(f64, f64)> = steps
            .iter()
            .map(|s| {
                let share = (s.positive + base) / (s.weight + 1.0);
                (s.margins / s.weight, share)
            })
            .collect();
        // The extra row may have turned two small steps round.
        let mut floor = 0.0_f64;
        for (_, share) in &mut knots {
            *share = share.max(floor);
            floor = *share;
        }
        Self { knots }
    }

    fn probability(&self, margin: f64) -> f64 {
        let above = self.knots.partition_point(|k| k.0 <= margin);
        match (
            above.checked_sub(1).map(|i| self.knots[i]),
            self.knots.get(above),
        ) {
            (Some((from, low)), Some(&(to, high))) => {
                low + (high - low) * ((margin - from) / (to - from))
            }
            (Some((_, p)), None) | (None, Some(&(_, p))) => p,
            (None, None) => 0.0,
        }
    }

    fn is_sound(&self) -> bool {
        self.knots
            .iter()
            .all(|(m, p)| m.is_finite() && (0.0..=1.0).contains(p))
            && self
                .knots
                .windows(2)
                .all(|k| k[0].0 < k[1].0 && k[0].1 <= k[1].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(margin: f64, label: bool, weight: f64, fold: usize) -> Held {
        Held {
            margin,
            label,
            weight,
            fold,
        }
    }

    /// At log-odds m the event comes true with this probability; two folds alike.
    fn events(probability: impl Fn(f64) -> f64) -> Vec<Held> {
        let mut all = Vec::new();
        for step in -20..=20 {
            let margin = f64::from(step) * 0.6;
            for fold in 0..2 {
                let p = probability(margin);
                all.push(held(margin, true, 1000.0 * p, fold));
                all.push(held(margin, false, 1000.0 * (1.0 - p), fold));
            }
        }
        all
    }

    #[test]
    fn platt_undoes_overconfidence() {
        // Log-odds three times too large.
        let platt = Platt::fit(&events(|m| sigmoid(m / 3.0)));
        assert!((platt.slope - 1.0 / 3.0).abs() < 0.01, "{platt:?}");
        assert!(platt.offset.abs() < 0.01, "{platt:?}");
    }

    #[test]
    fn platt_stays_finite_when_classes_part_perfectly() {
        let parted: Vec<Held> = (-10..10)
            .map(|i| held(f64::from(i) + 0.5, i >= 0, 1.0, 0))
            .collect();
        let platt = Platt::fit(&parted);
        assert!(platt.slope.is_finite() && platt.offset.is_finite() && platt.slope > 0.0);
    }

    #[test]
    fn isotonic_steps_of_a_hand_computed_example() {
        // 1 and 2 violate the order and are pooled: 1/2 at 1.5. 0 keeps none, 3 keeps all. Each step has one more row
        // of the base rate (2 + 0.5) / (4 + 1) = 0.5.
        let isotonic = Isotonic::fit(&[
            held(2.0, false, 1.0, 0),
            held(0.0, false, 1.0, 0),
            held(1.0, true, 1.0, 0),
            held(3.0, true, 1.0, 0),
        ]);
        assert_eq!(isotonic.knots, [(0.0, 0.25), (1.5, 0.5), (3.0, 0.75)]);
        assert_eq!(isotonic.probability(-9.0), 0.25);
        assert_eq!(isotonic.probability(0.75), 0.375);
        assert_eq!(isotonic.probability(9.0), 0.75);
        assert!(isotonic.is_sound());
    }

    #[test]
    fn a_plateau_that_no_sigmoid_has_makes_isotonic_the_choice() {
        let plateau = events(|m| if m < 0.0 { 0.02 } else { 0.4 });
        let chosen = choose(&[plateau], false);
        assert_eq!(chosen.kind, Kind::Isotonic);
        let (calibration, judged) = &chosen.of_modes[0];
        assert!((calibration.probability(6.0) - 0.4).abs() < 0.01);
        assert!(judged.iter().all(|j| j.probability < 0.45));
    }

    #[test]
    fn what_is_scored_was_not_fitted_on() {
        // In fold 1 everything is reversed: a fit on all would find nothing, the cross-fit is as wrong as it can be.
        let mut all = Vec::new();
        for i in 0..100 {
            let margin = f64::from(i) / 25.0 - 2.0;
            all.push(held(margin, i >= 50, 1.0, 0));
            all.push(held(margin, i < 50, 1.0, 1));
        }
        let judged = cross_fitted(Kind::Isotonic, &all, &all);
        let base_rate = 0.5_f64;
        assert!(log_loss(&judged) >= -base_rate.ln());
        // Fold 0 was calibrated on fold 1 alone, and the other way round.
        let swapped: Vec<Held> = all.iter().copied().filter(|h| h.fold == 1).collect();
        let on_one = Calibration::fit(Kind::Isotonic, &swapped);
        for (h, j) in all.iter().zip(&judged).filter(|(h, _)| h.fold == 0) {
            assert_eq!(j.probability, on_one.probability(h.margin));
        }
    }
}
