//! Gradient boosted trees on histograms: logistic loss for probabilities, squared loss for quantities.
//!
//! After Friedman, "Greedy function approximation: a gradient boosting machine" (2001), with the second-order
//! gain of Chen and Guestrin, "XGBoost" (2016). Probabilities are learnt without any randomness; quantities
//! may be learnt from a seeded share of rows and features per tree (Friedman, "Stochastic gradient
//! boosting", 2002).

use crate::forest::{Forest, LEAF, Node, sigmoid};

/// Most bins of a feature; a bin fits a byte.
const BINS_MAX: usize = 64;

/// Shape and pace of the trees.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BoostParams {
    pub(crate) rounds: usize,
    pub(crate) depth: usize,
    pub(crate) learning_rate: f64,
    pub(crate) leaf_weight_min: f64,
    pub(crate) l2: f64,
}

/// Rows cut into bins, once for all models on the same features.
#[derive(Debug)]
pub(crate) struct Binned {
    n_features: usize,
    /// Row by row.
    bins: Vec<u8>,
    /// Upper bounds of the bins but the last, per feature, ascending.
    cuts: Vec<Vec<f64>>,
}

impl Binned {
    /// Cuts rows (`n_features` values each, finite) at quantiles.
    pub(crate) fn new(rows: &[f64], n_features: usize) -> Self {
        let mut cuts = Vec::with_capacity(n_features);
        for feature in 0..n_features {
            let mut column: Vec<f64> = rows
                .iter()
                .skip(feature)
                .step_by(n_features)
                .copied()
                .collect();
            column.sort_by(f64::total_cmp);
            cuts.push(cuts_of(&column));
        }
        let bins = rows
            .chunks_exact(n_features)
            .flat_map(|row| row.iter().zip(&cuts).map(|(v, cuts)| bin_of(*v, cuts)))
            .collect();
        Self {
            n_features,
            bins,
            cuts,
        }
    }

    /// What a tree, learnt on these bins, adds for a row.
    fn value(&self, tree: &[Node], row: u32) -> f64 {
        let bins = self.row(row as usize);
        let mut i = 0;
        while tree[i].feature != LEAF {
            let feature = usize::from(tree[i].feature);
            // The threshold is one of the cuts.
            let bin = bin_of(tree[i].threshold, &self.cuts[feature]);
            i = if bins[feature] <= bin {
                i + 1
            } else {
                tree[i].right as usize
            };
        }
        tree[i].value
    }

    pub(crate) fn n_features(&self) -> usize {
        self.n_features
    }

    fn row(&self, row: usize) -> &[u8] {
        &self.bins[row * self.n_features..(row + 1) * self.n_features]
    }
}

fn bin_of(value: f64, cuts: &[f64]) -> u8 {
    u8::try_from(cuts.partition_point(|c| *c < value)).unwrap_or(u8::MAX)
}

/// Midpoints between neighbours, at most one for each quantile.
fn cuts_of(sorted: &[f64]) -> Vec<f64> {
    let mut cuts: Vec<f64> = Vec::new();
    let n = sorted.len();
    let mut cut_between = |low: f64, high: f64| {
        let cut = low + (high - low) / 2.0;
        if cut < high && cuts.last().is_none_or(|last| *last < cut) {
            cuts.push(cut);
        }
    };
    let mut distinct = sorted.to_vec();
    distinct.dedup();
    if distinct.len() <= BINS_MAX {
        for pair in distinct.windows(2) {
            cut_between(pair[0], pair[1]);
        }
        return cuts;
    }
    for q in 1..BINS_MAX {
        let at = q * n / BINS_MAX;
        let low = sorted[at];
        let above = sorted.partition_point(|v| *v <= low);
        if above < n {
            cut_between(low, sorted[above]);
        }
    }
    cuts
}

/// Sums of gradients and Hessians per feature that may be asked for, and bin.
type Histogram = Vec<[f64; 2]>;

struct Split {
    gain: f64,
    feature: usize,
    bin: usize,
}

/// Learns trees on the rows `at` of `data`. `labels` and `weights` are of all rows.
pub(crate) fn fit(
    data: &Binned,
    at: &[u32],
    labels: &[bool],
    weights: &[f64],
    params: &BoostParams,
) -> Forest {
    let total: f64 = at.iter().map(|&r| weights[r as usize]).sum();
    let positive: f64 = at
        .iter()
        .filter(|&&r| labels[r as usize])
        .map(|&r| weights[r as usize])
        .sum();
    let share = (positive / total.max(1e-9)).clamp(1e-6, 1.0 - 1e-6);
    let base = (share / (1.0 - share)).ln();
    let margins = vec![base; labels.len()];
    let trees = boost(data, at, margins, params, ALL, log_loss(labels, weights));
    Forest::new(base, trees)
}

/// Trees that go on where another model stopped: `margins` are its log-odds of all rows, and the forest's are to be
/// added to them.
pub(crate) fn fit_further(
    data: &Binned,
    at: &[u32],
    labels: &[bool],
    weights: &[f64],
    params: &BoostParams,
    margins: Vec<f64>,
) -> Forest {
    let trees = boost(data, at, margins, params, ALL, log_loss(labels, weights));
    Forest::new(0.0, trees)
}

/// Derivatives of the logistic loss at a margin.
fn log_loss<'a>(labels: &'a [bool], weights: &'a [f64]) -> impl Fn(usize, f64) -> [f64; 2] + 'a {
    move |r, margin| {
        let p = sigmoid(margin);
        let y = f64::from(u8::from(labels[r]));
        [weights[r] * (p - y), weights[r] * p * (1.0 - p)]
    }
}

/// Which share of rows and of features a tree sees, above 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampling {
    pub(crate) rows: f64,
    pub(crate) features: f64,
    pub(crate) seed: u64,
}

const ALL: Sampling = Sampling {
    rows: 1.0,
    features: 1.0,
    seed: 0,
};

/// Learns a quantity, squared loss, on the rows `at` of `data`. `targets` and `weights` are of all rows.
pub(crate) fn fit_quantity(
    data: &Binned,
    at: &[u32],
    targets: &[f64],
    weights: &[f64],
    params: &BoostParams,
    sampling: Sampling,
) -> Forest {
    let (total, sum) = at.iter().fold((0.0, 0.0), |(w, s), &r| {
        let r = r as usize;
        (w + weights[r], s + weights[r] * targets[r])
    });
    let base = if total > 0.0 { sum / total } else { 0.0 };
    let gradient = |r: usize, margin: f64| [weights[r] * (margin - targets[r]), weights[r]];
    let margins = vec![base; targets.len()];
    Forest::new(base, boost(data, at, margins, params, sampling, gradient))
}

/// `margins` are what is known of all rows before the first tree; `gradient` gives the first and second derivative
/// of a row's loss at its margin.
fn boost(
    data: &Binned,
    at: &[u32],
    mut margins: Vec<f64>,
    params: &BoostParams,
    sampling: Sampling,
    gradient: impl Fn(usize, f64) -> [f64; 2],
) -> Vec<Vec<Node>> {
    let mut gradients = vec![[0.0; 2]; margins.len()];
    let mut trees = Vec::with_capacity(params.rounds);
    for round in 0..params.rounds {
        let seed = split_mix(sampling.seed.wrapping_add(round as u64));
        let (mut rows, spared): (Vec<u32>, Vec<u32>) = at
            .iter()
            .partition(|&&r| drawn(seed, u64::from(r), sampling.rows));
        for &r in &rows {
            let r = r as usize;
            gradients[r] = gradient(r, margins[r]);
        }
        let features = features_drawn(data.n_features, split_mix(seed), sampling.features);
        let mut grower = Grower {
            data,
            gradients: &gradients,
            params,
            features: &features,
            nodes: Vec::new(),
        };
        let histogram = grower.histogram(&rows);
        grower.grow(&mut rows, histogram, params.depth, &mut margins);
        let tree = grower.nodes;
        for &r in &spared {
            margins[r as usize] += data.value(&tree, r);
        }
        trees.push(tree);
    }
    trees
}

/// True for the given share of things; all of them when it is 1.
fn drawn(seed: u64, thing: u64, share: f64) -> bool {
    // The upper 53 bits are an exact fraction.
    share >= 1.0 || (split_mix(seed ^ split_mix(thing)) >> 11) as f64 * 2_f64.powi(-53) < share
}

/// The share of the features with the smallest hashes, ascending; at least one.
fn features_drawn(n_features: usize, seed: u64, share: f64) -> Vec<usize> {
    let mut features: Vec<usize> = (0..n_features).collect();
    if share < 1.0 {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the number of features"
        )]
        let n = (n_features as f64 * share.max(0.0)).ceil() as usize;
        features.sort_by_key(|&f| split_mix(seed ^ split_mix(f as u64)));
        features.truncate(n.max(1));
        features.sort_unstable();
    }
    features
}

/// SplitMix64 (Steele, Lea, Flood 2014): a fixed scramble of 64 bits.
pub(crate) fn split_mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

struct Grower<'a> {
    data: &'a Binned,
    gradients: &'a [[f64; 2]],
    params: &'a BoostParams,
    /// Features that may be asked for, ascending.
    features: &'a [usize],
    nodes: Vec<Node>,
}

impl Grower<'_> {
    fn histogram(&self, rows: &[u32]) -> Histogram {
        let mut sums = vec![[0.0; 2]; self.features.len() * BINS_MAX];
        for &r in rows {
            let [g, h] = self.gradients[r as usize];
            let bins = self.data.row(r as usize);
            for (place, &feature) in sums.chunks_exact_mut(BINS_MAX).zip(self.features) {
                let cell = &mut place[usize::from(bins[feature])];
                cell[0] += g;
                cell[1] += h;
            }
        }
        sums
    }

    /// Grows a node over `rows` and adds its leaves' values to `margins`.
    fn grow(&mut self, rows: &mut [u32], sums: Histogram, depth: usize, margins: &mut [f64]) {
        let (g, h) = sums[..BINS_MAX]
            .iter()
            .fold((0.0, 0.0), |(g, h), c| (g + c[0], h + c[1]));
        let value = -self.params.learning_rate * g / (h + self.params.l2);
        let here = self.nodes.len();
        self.nodes.push(Node {
            feature: LEAF,
            threshold: 0.0,
            right: 0,
            value,
        });
        let split = if depth == 0 {
            None
        } else {
            self.best_split(&sums, g, h)
        };
        let Some(split) = split else {
            for &r in rows.iter() {
                margins[r as usize] += value;
            }
            return;
        };
        let n_left = partition(rows, |r| {
            usize::from(self.data.row(r as usize)[split.feature]) <= split.bin
        });
        let (left, right) = rows.split_at_mut(n_left);
        let left_is_small = left.len() <= right.len();
        let small = self.histogram(if left_is_small { left } else { right });
        let mut large = sums;
        for (all, part) in large.iter_mut().zip(&small) {
            all[0] -= part[0];
            all[1] -= part[1];
        }
        let (left_sums, right_sums) = if left_is_small {
            (small, large)
        } else {
            (large, small)
        };
        self.grow(left, left_sums, depth - 1, margins);
        let right_at = self.nodes.len();
        self.grow(right, right_sums, depth - 1, margins);
        let node = &mut self.nodes[here];
        node.feature = u16::try_from(split.feature).unwrap_or(LEAF);
        node.threshold = self.data.cuts[split.feature][split.bin];
        node.right = u32::try_from(right_at).unwrap_or(u32::MAX);
    }

    fn best_split(&self, sums: &Histogram, g: f64, h: f64) -> Option<Split> {
        let l2 = self.params.l2;
        let whole = g * g / (h + l2);
        let mut best: Option<Split> = None;
        for (&feature, cells) in self.features.iter().zip(sums.chunks_exact(BINS_MAX)) {
            let (mut gl, mut hl) = (0.0, 0.0);
            for (bin, cell) in cells[..self.data.cuts[feature].len()].iter().enumerate() {
                gl += cell[0];
                hl += cell[1];
                let hr = h - hl;
                if hl < self.params.leaf_weight_min {
                    continue;
                }
                if hr < self.params.leaf_weight_min {
                    break;
                }
                let gr = g - gl;
                let gain = gl * gl / (hl + l2) + gr * gr / (hr + l2) - whole;
                // The margin keeps rounding in the subtracted histograms from making splits.
                if gain > 1e-6 && best.as_ref().is_none_or(|b| gain > b.gain) {
                    best = Some(Split { gain, feature, bin });
                }
            }
        }
        best
    }
}

/// Moves the rows that go left to the front, keeping the order on both sides; returns their number.
fn partition(rows: &mut [u32], goes_left: impl Fn(u32) -> bool) -> usize {
    let (left, right): (Vec<u32>, Vec<u32>) = rows.iter().partition(|&&r| goes_left(r));
    rows[..left.len()].copy_from_slice(&left);
    rows[left.len()..].copy_from_slice(&right);
    left.len()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const PARAMS: BoostParams = BoostParams {
        rounds: 60,
        depth: 3,
        learning_rate: 0.2,
        leaf_weight_min: 1.0,
        l2: 1.0,
    };

    /// A grid over the unit square with a third feature that says nothing; true where exactly one of the first
    /// two is large.
    fn either_or() -> (Vec<f64>, Vec<bool>) {
        let mut rows = Vec::new();
        let mut labels = Vec::new();
        for i in 0..40 {
            for j in 0..40 {
                let (x, y) = (f64::from(i) / 40.0, f64::from(j) / 40.0);
                rows.extend([x, y, f64::from((i * 7 + j * 13) % 11)]);
                labels.push((x > 0.5) != (y > 0.3));
            }
        }
        (rows, labels)
    }

    /// A forest, the rows it was learnt from, three features each, and their labels.
    pub(crate) fn learn() -> (Forest, Vec<f64>, Vec<bool>) {
        let (rows, labels) = either_or();
        let data = Binned::new(&rows, 3);
        let at: Vec<u32> = (0..1600).collect();
        let forest = fit(&data, &at, &labels, &vec![1.0; labels.len()], &PARAMS);
        (forest, rows, labels)
    }

    #[test]
    fn an_interaction_of_two_features_is_learnt() {
        let (forest, rows, labels) = learn();
        let right = rows
            .chunks_exact(3)
            .zip(&labels)
            .filter(|(x, y)| (forest.margin(x) > 0.0) == **y)
            .count();
        assert!(right >= 1568, "{right} of 1600");
        assert!(forest.is_sound(3));
    }
}
