//! Whether what a model is shown still looks like what it was learnt from: the population stability index of its
//! features, counted as they stream by.
//!
//! PSI = sum over bins of (seen - expected) * ln(seen / expected), after Siddiqi, "Credit Risk Scorecards" (2006).
//! His reading: below 0.1 stable, to 0.25 a moderate shift, above it a major one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Bins of a feature's known values, at most: tenths of the training rows.
const BINS_MAX: usize = 10;
/// Least share of a bin, on either side: an empty bin must not make the index infinite.
const SHARE_MIN: f64 = 1e-3;
/// Rows per bin, below which an index is chance: by itself it comes to about (bins - 1) / rows.
const ROWS_PER_BIN: f64 = 20.0;

/// How the features of a model were distributed over the healthy rows of its training.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inputs {
    bins: Vec<FeatureBins>,
}

/// One feature's bins: up to each cut, above the last, and unknown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FeatureBins {
    /// Place of the feature on the card.
    feature: usize,
    /// Upper bounds of the bins but the last, ascending.
    cuts: Vec<f64>,
    /// Share of the training rows per bin; the last one is that of rows where the feature is unknown.
    shares: Vec<f64>,
}

/// Rows counted into the bins of a model's features. About 50 bytes per feature, however many rows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InputCounts {
    n_rows: u64,
    /// Per feature of the model's bins, in order.
    counts: Vec<Vec<u32>>,
}

/// How far the inputs have moved away from the training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Rows looked at.
    pub n_rows: u64,
    /// Mean index of the features; 0: as in the training.
    pub psi: f64,
    /// The features that moved furthest, with their own index; at most 5, largest first.
    pub worst: Vec<(String, f64)>,
}

impl InputCounts {
    /// Rows counted.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }
}

impl Inputs {
    /// Cuts each of `n_features` features at the tenths of its known values; NaN where unknown.
    pub(crate) fn of<'a>(rows: impl Iterator<Item = &'a [f64]>, n_features: usize) -> Self {
        let rows: Vec<&[f64]> = rows.collect();
        if rows.is_empty() {
            return Self::default();
        }
        let bins = (0..n_features)
            .map(|feature| {
                let mut known: Vec<f64> = rows
                    .iter()
                    .map(|row| row[feature])
                    .filter(|v| !v.is_nan())
                    .collect();
                known.sort_by(f64::total_cmp);
                let mut cuts: Vec<f64> = (1..BINS_MAX)
                    .filter_map(|tenth| known.get(tenth * known.len() / BINS_MAX).copied())
                    .collect();
                cuts.dedup();
                let mut counts = vec![0_usize; cuts.len() + 2];
                for value in &known {
                    counts[bin_of(&cuts, *value)] += 1;
                }
                counts[cuts.len() + 1] = rows.len() - known.len();
                FeatureBins {
                    feature,
                    cuts,
                    shares: counts
                        .into_iter()
                        .map(|n| n as f64 / rows.len() as f64)
                        .collect(),
                }
            })
            .collect();
        Self { bins }
    }

    /// Whether the parts fit together, and ask only for features below `n_features`.
    pub(crate) fn is_sound(&self, n_features: usize) -> bool {
        self.bins.iter().all(|b| {
            b.feature < n_features
                && b.shares.len() == b.cuts.len() + 2
                && b.shares.iter().all(|s| (0.0..=1.0).contains(s))
        })
    }

    /// True where nothing is asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.bins.is_empty()
    }
}

/// One after the other, the bins of all parts of a model, each with what belongs to its part.
fn bins_of<'a, T: Copy>(
    parts: &'a [(&'a Inputs, T)],
) -> impl Iterator<Item = (&'a FeatureBins, T)> {
    parts
        .iter()
        .flat_map(|(inputs, of_part)| inputs.bins.iter().map(move |bins| (bins, *of_part)))
}

/// Counts a row, for each part of the model its features, NaN where one is unknown; `None` for a part that the row says
/// nothing of, such as another operating regime's. Counts of another model's bins begin anew.
pub(crate) fn count(parts: &[(&Inputs, Option<&[f64]>)], into: &mut InputCounts) {
    let fits = into.counts.len() == bins_of(parts).count()
        && into
            .counts
            .iter()
            .zip(bins_of(parts))
            .all(|(c, (b, _))| c.len() == b.shares.len());
    if !fits {
        into.n_rows = 0;
        into.counts = bins_of(parts)
            .map(|(b, _)| vec![0; b.shares.len()])
            .collect();
    }
    into.n_rows += 1;
    for (counts, (bins, x)) in into.counts.iter_mut().zip(bins_of(parts)) {
        let Some(x) = x else {
            continue;
        };
        let value = x[bins.feature];
        let bin = if value.is_nan() {
            bins.cuts.len() + 1
        } else {
            bin_of(&bins.cuts, value)
        };
        counts[bin] = counts[bin].saturating_add(1);
    }
}

/// The index of what was counted; with each part the names of its features. A feature that several parts have by the same
/// name has one index, the mean over the rows of all of them. A part with too few rows for its bins has none. `None` where
/// no part has one.
pub(crate) fn drift(parts: &[(&Inputs, &[String])], counted: &InputCounts) -> Option<Drift> {
    let n_bins = bins_of(parts).count();
    if counted.n_rows == 0 || counted.counts.len() != n_bins || n_bins == 0 {
        return None;
    }
    // Per feature the index times its rows, and the rows.
    let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (counts, (bins, names)) in counted.counts.iter().zip(bins_of(parts)) {
        let n: f64 = counts.iter().map(|c| f64::from(*c)).sum();
        if n < ROWS_PER_BIN * counts.len() as f64 {
            continue;
        }
        let index: f64 = counts
            .iter()
            .zip(&bins.shares)
            .map(|(count, expected)| {
                let seen = (f64::from(*count) / n.max(1.0)).max(SHARE_MIN);
                let expected = expected.max(SHARE_MIN);
                (seen - expected) * (seen / expected).ln()
            })
            .sum();
        let name = names.get(bins.feature).map_or("", String::as_str);
        let sum = sums.entry(name).or_default();
        sum.0 += n * index;
        sum.1 += n;
    }
    if sums.is_empty() {
        return None;
    }
    let mut each: Vec<(String, f64)> = sums
        .into_iter()
        .map(|(name, (sum, n))| (name.to_owned(), sum / n.max(1.0)))
        .collect();
    let psi = each.iter().map(|(_, index)| index).sum::<f64>() / each.len() as f64;
    each.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    each.truncate(5);
    Some(Drift {
        n_rows: counted.n_rows,
        psi,
        worst: each,
    })
}

/// The bin of a known value: the first whose upper bound it does not exceed.
fn bin_of(cuts: &[f64], value: f64) -> usize {
    cuts.partition_point(|cut| *cut < value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feature 0 runs through 0..100, feature 1 never changes, feature 2 is unknown in every tenth row.
    fn rows(shift: f64) -> Vec<[f64; 3]> {
        (0..1_000)
            .map(|i| {
                let value = f64::from(i % 100) + shift;
                let unknown = if i % 10 == 0 { f64::NAN } else { 1.0 };
                [value, 5.0, unknown]
            })
            .collect()
    }

    fn names() -> Vec<String> {
        ["heat", "age", "error"].map(str::to_owned).to_vec()
    }

    fn inputs() -> Inputs {
        let rows = rows(0.0);
        Inputs::of(rows.iter().map(<[f64; 3]>::as_slice), 3)
    }

    fn drift(rows: &[[f64; 3]]) -> Drift {
        let inputs = inputs();
        let mut counts = InputCounts::default();
        for row in rows {
            count(&[(&inputs, Some(row))], &mut counts);
        }
        super::drift(&[(&inputs, &names())], &counts).unwrap()
    }

    #[test]
    fn the_training_rows_themselves_have_not_moved() {
        let same = drift(&rows(0.0));
        assert!(same.psi.abs() < 1e-9, "{same:?}");
        assert_eq!(same.n_rows, 1_000);
    }

    #[test]
    fn a_shift_is_seen_and_its_feature_named() {
        let moved = drift(&rows(30.0));
        assert_eq!(moved.worst[0].0, "heat");
        assert!(moved.worst[0].1 > 0.25, "{moved:?}");
    }

    #[test]
    fn a_dead_sensor_is_drift() {
        let dead: Vec<[f64; 3]> = rows(0.0)
            .into_iter()
            .map(|[_, age, error]| [f64::NAN, age, error])
            .collect();
        let drift = drift(&dead);
        assert!(drift.psi > 1.0 && drift.worst[0].0 == "heat", "{drift:?}");
    }

    #[test]
    fn two_parts_of_a_model_count_as_one() {
        let (rows, inputs) = (rows(30.0), inputs());
        let one = [[1.0], [2.0]];
        let other = Inputs::of(one.iter().map(<[f64; 1]>::as_slice), 1);
        let mut counts = InputCounts::default();
        for (i, row) in rows.iter().enumerate() {
            let parts = [(&inputs, Some(&row[..])), (&other, Some(&one[i % 2][..]))];
            count(&parts, &mut counts);
        }
        let other_names = ["speed".to_owned()];
        let both = super::drift(&[(&inputs, &names()), (&other, &other_names)], &counts).unwrap();
        assert!((both.psi - 0.75 * drift(&rows).psi).abs() < 1e-9);
        assert!(
            both.worst
                .iter()
                .any(|(name, psi)| name == "speed" && psi.abs() < 1e-9)
        );
    }

    #[test]
    fn the_share_of_each_regime_does_not_matter() {
        let at = |value: f64| [[value], [value + 1.0]];
        let of = |rows: &[[f64; 1]]| Inputs::of(rows.iter().map(<[f64; 1]>::as_slice), 1);
        let (slow, fast) = (of(&at(0.0)), of(&at(50.0)));
        let mut counts = InputCounts::default();
        // Nine rows in ten of the one, in training it was every second.
        for i in 0..1_000 {
            let row = at(if i % 10 == 0 { 0.0 } else { 50.0 })[i / 10 % 2];
            let (in_slow, in_fast) = if i % 10 == 0 {
                (Some(&row[..]), None)
            } else {
                (None, Some(&row[..]))
            };
            count(&[(&slow, in_slow), (&fast, in_fast)], &mut counts);
        }
        let names = ["heat".to_owned()];
        let parts: [(&Inputs, &[String]); 2] = [(&slow, &names), (&fast, &names)];
        let found = super::drift(&parts, &counts).unwrap();
        assert!(
            found.psi.abs() < 1e-9 && found.worst.len() == 1,
            "{found:?}"
        );
    }

    #[test]
    fn the_index_matches_the_sum_by_hand() {
        // Two bins of known values, half each; then three quarters lie in the upper one.
        let training = [[0.0], [0.0], [1.0], [1.0]];
        let inputs = Inputs::of(training.iter().map(<[f64; 1]>::as_slice), 1);
        let mut counts = InputCounts::default();
        let names = ["x".to_owned()];
        for value in [0.0, 1.0, 1.0, 1.0].repeat(20) {
            let early = super::drift(&[(&inputs, &names)], &counts);
            assert_eq!(early, None, "fewer than 20 rows for each of its bins");
            count(&[(&inputs, Some(&[value]))], &mut counts);
        }
        let psi = super::drift(&[(&inputs, &names)], &counts).unwrap().psi;
        let by_hand =
            (0.25_f64 - 0.5) * (0.25_f64 / 0.5).ln() + (0.75_f64 - 0.5) * (0.75_f64 / 0.5).ln();
        assert!((psi - by_hand).abs() < 1e-12, "{psi} {by_hand}");
    }
}
