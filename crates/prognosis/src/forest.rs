//! Trees that are learnt, and the sum of what they add for a row.

use serde::{Deserialize, Serialize};

/// In place of a feature: this node is a leaf.
pub(crate) const LEAF: u16 = u16::MAX;

/// A node; the left child stands right behind its parent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "(u16, f64, u32, f64)", into = "(u16, f64, u32, f64)")]
pub(crate) struct Node {
    /// Feature compared, or [`LEAF`].
    pub(crate) feature: u16,
    /// Left when the feature is at most this.
    pub(crate) threshold: f64,
    /// Place of the right child.
    pub(crate) right: u32,
    /// What the tree adds here (log-odds, or the quantity's unit); of an inner node: what it would add if it
    /// were a leaf.
    pub(crate) value: f64,
}

impl From<(u16, f64, u32, f64)> for Node {
    fn from((feature, threshold, right, value): (u16, f64, u32, f64)) -> Self {
        Self {
            feature,
            threshold,
            right,
            value,
        }
    }
}

impl From<Node> for (u16, f64, u32, f64) {
    fn from(n: Node) -> Self {
        (n.feature, n.threshold, n.right, n.value)
    }
}

/// Trees whose sum is a log-odds, or a quantity in its own unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "ForestFile", into = "ForestFile")]
pub(crate) struct Forest {
    base: f64,
    trees: Vec<Vec<Node>>,
    whole: Option<Vec<Whole>>,
}

/// A forest in the model file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ForestFile {
    base: f64,
    trees: Vec<Vec<Node>>,
}

impl From<ForestFile> for Forest {
    fn from(ForestFile { base, trees }: ForestFile) -> Self {
        Self::new(base, trees)
    }
}

impl From<Forest> for ForestFile {
    fn from(Forest { base, trees, .. }: Forest) -> Self {
        Self { base, trees }
    }
}

pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl Forest {
    pub(crate) fn new(base: f64, trees: Vec<Vec<Node>>) -> Self {
        let whole = whole(&trees);
        Self { base, trees, whole }
    }

    /// The log-odds, or the quantity, of a row. `x` has a finite value for every feature.
    pub(crate) fn margin(&self, x: &[f64]) -> f64 {
        match &self.whole {
            Some(whole) => walk(whole, self.base, x),
            None => self.one_by_one(x),
        }
    }

    fn one_by_one(&self, x: &[f64]) -> f64 {
        let mut sum = self.base;
        for tree in &self.trees {
            let mut i = 0;
            while tree[i].feature != LEAF {
                i = next(&tree[i], i, x);
            }
            sum += tree[i].value;
        }
        sum
    }

    /// Adds to `out` how far each feature moved the log-odds: at every step down a tree the change of the
    /// node's value is credited to the feature that was asked (Saabas, "Interpreting random forests", 2014).
    pub(crate) fn contributions(&self, x: &[f64], out: &mut [f64]) {
        for tree in &self.trees {
            let mut i = 0;
            while tree[i].feature != LEAF {
                let j = next(&tree[i], i, x);
                out[usize::from(tree[i].feature)] += tree[j].value - tree[i].value;
                i = j;
            }
        }
    }

    /// True when every walk ends at a leaf and asks only for features below `n_features`.
    pub(crate) fn is_sound(&self, n_features: usize) -> bool {
        self.base.is_finite()
            && self.trees.iter().all(|tree| {
                !tree.is_empty()
                    && tree.iter().enumerate().all(|(i, node)| {
                        let right = usize::try_from(node.right).unwrap_or(usize::MAX);
                        node.value.is_finite()
                            && (node.feature == LEAF
                                || usize::from(node.feature) < n_features
                                    && right > i + 1
                                    && right < tree.len())
                    })
            })
    }
}

/// Trees walked side by side at once: each step waits for the one before, so several trees go down together.
const ABREAST: usize = 8;
/// Depth of the trees that are walked so.
const LEVELS: usize = 4;
/// Leaves of a whole tree.
const LEAVES: usize = 1 << LEVELS;

/// A tree filled up to a whole one, for walking: which child comes next is computed, not jumped to, because a processor
/// guesses every other jump wrong.
#[derive(Debug, Clone, PartialEq)]
struct Whole {
    /// Left when the feature is at most this. Node 1 is the root, those below `i` are `2 i` and `2 i + 1`.
    threshold: [f64; LEAVES],
    feature: [u16; LEAVES],
    /// What the tree adds.
    leaf: [f64; LEAVES],
}

impl Whole {
    /// Adds nothing, not even to a negative zero.
    const NOTHING: Self = Self {
        threshold: [f64::INFINITY; LEAVES],
        feature: [0; LEAVES],
        leaf: [-0.0; LEAVES],
    };

    /// Puts the node `at` of `tree` and what is below it at `place`. A leaf further up is a node that leads to the left
    /// whatever comes. Of a tree that is not sound it gives one that nobody may walk.
    fn fill(&mut self, tree: &[Node], at: usize, place: usize) {
        let Some(node) = tree.get(at) else { return };
        if let Some(below) = place.checked_sub(LEAVES) {
            self.leaf[below] = node.value;
            return;
        }
        let (left, right) = if node.feature == LEAF {
            (at, at)
        } else {
            self.threshold[place] = node.threshold;
            self.feature[place] = node.feature;
            (at + 1, node.right as usize)
        };
        self.fill(tree, left, 2 * place);
        self.fill(tree, right, 2 * place + 1);
    }
}

/// The trees once more as whole ones, a multiple of [`ABREAST`]; `None` where one is too deep for that.
fn whole(trees: &[Vec<Node>]) -> Option<Vec<Whole>> {
    if trees.iter().any(|tree| depth(tree) > LEVELS) {
        return None;
    }
    let mut all: Vec<Whole> = trees
        .iter()
        .map(|tree| {
            let mut whole = Whole::NOTHING;
            whole.fill(tree, 0, 1);
            whole
        })
        .collect();
    all.resize(all.len().next_multiple_of(ABREAST), Whole::NOTHING);
    Some(all)
}

/// `base` and what the trees add, in their order.
fn walk(trees: &[Whole], base: f64, x: &[f64]) -> f64 {
    let mut sum = base;
    for eight in trees.as_chunks::<ABREAST>().0 {
        let mut at = [1_usize; ABREAST];
        for _ in 0..LEVELS {
            for (place, tree) in at.iter_mut().zip(eight) {
                let node = *place % LEAVES;
                // The sign of a difference is that of the comparison, and nothing that a compiler makes a jump of.
                let short_of = tree.threshold[node] - x[usize::from(tree.feature[node])];
                *place = 2 * *place + usize::from(short_of.is_sign_negative());
            }
        }
        for (place, tree) in at.iter().zip(eight) {
            sum += tree.leaf[place % LEAVES];
        }
    }
    sum
}

/// Steps of the longest walk.
fn depth(tree: &[Node]) -> usize {
    let mut depths = vec![0; tree.len()];
    let mut most = 0;
    for (i, node) in tree.iter().enumerate() {
        let below = depths[i] + 1;
        most = most.max(depths[i]);
        if node.feature != LEAF {
            for child in [i + 1, node.right as usize] {
                if let Some(depth) = depths.get_mut(child) {
                    *depth = below;
                }
            }
        }
    }
    most
}

fn next(node: &Node, i: usize, x: &[f64]) -> usize {
    if x[usize::from(node.feature)] <= node.threshold {
        i + 1
    } else {
        // Checked by `is_sound`: a place in the tree.
        node.right as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boost::tests::learn;

    #[test]
    fn contributions_sum_to_the_way_from_root_to_leaf_and_spare_the_idle_feature() {
        let (forest, rows, _) = learn();
        let roots: f64 = forest.base + forest.trees.iter().map(|t| t[0].value).sum::<f64>();
        for x in rows.chunks_exact(3).step_by(37) {
            let mut moved = [0.0; 3];
            forest.contributions(x, &mut moved);
            let sum: f64 = moved.iter().sum();
            assert!((roots + sum - forest.margin(x)).abs() < 1e-9);
            assert!(moved[2].abs() < 0.5 * (moved[0].abs() + moved[1].abs()));
        }
    }

    #[test]
    fn side_by_side_the_trees_add_what_they_add_one_by_one() {
        let (forest, rows, _) = learn();
        for x in rows.chunks_exact(3) {
            assert_eq!(forest.one_by_one(x).to_bits(), forest.margin(x).to_bits());
        }
        assert!(forest.whole.is_some());
    }

    #[test]
    fn a_tree_that_leads_nowhere_is_not_sound() {
        let (mut forest, _, _) = learn();
        assert!(!forest.is_sound(1));
        forest.trees[0][0].right = 0;
        assert!(!forest.is_sound(3));
    }

    #[test]
    fn a_deep_tree_is_walked_too() {
        let leaf = |value| Node {
            feature: LEAF,
            threshold: 0.0,
            right: 0,
            value,
        };
        // Six questions after one another, each with a leaf to its left.
        let mut tree = Vec::new();
        for level in 0..6_u32 {
            tree.push(Node {
                feature: 0,
                threshold: f64::from(level),
                right: 2 * level + 2,
                value: 0.0,
            });
            tree.push(leaf(f64::from(level)));
        }
        tree.push(leaf(6.0));
        let forest = Forest::new(0.5, vec![tree]);
        assert!(forest.is_sound(1) && forest.whole.is_none());
        assert_eq!(forest.margin(&[-1.0]), 0.5);
        assert_eq!(forest.margin(&[3.0]), 3.5);
        assert_eq!(forest.margin(&[7.0]), 6.5);
    }
}
