//! Trees laid out to be walked: all nodes in one row, small ones, and several trees at a time, so that the processor
//! does not wait for one comparison before it begins the next.

use crate::boost::{LEAF, Node};

/// Trees walked side by side.
const LANES: usize = 4;

/// The trees of a forest.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Walk {
    steps: Vec<Step>,
    /// Where each tree begins.
    roots: Vec<usize>,
    /// Steps from a root to its furthest leaf.
    depth: usize,
}

/// A node, 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    /// Left when the feature is at most this; what a leaf adds.
    split: f64,
    /// How far off the right child stands; a leaf is its own child.
    right: u32,
    /// The same of the left child.
    left: u16,
    feature: u16,
}

impl Walk {
    pub(crate) fn of(trees: &[Vec<Node>]) -> Self {
        let mut walk = Self::default();
        for tree in trees {
            walk.roots.push(walk.steps.len());
            walk.depth = walk.depth.max(depth(tree));
            walk.steps.extend(
                (0_u32..)
                    .zip(tree)
                    .map(|(place, node)| Step::of(node, place)),
            );
        }
        walk
    }

    /// `base` and what each tree adds for `x`, summed in their order.
    pub(crate) fn sum(&self, base: f64, x: &[f64]) -> f64 {
        let mut sum = base;
        for roots in self.roots.chunks(LANES) {
            let mut at = [0; LANES];
            at[..roots.len()].copy_from_slice(roots);
            for _ in 0..self.depth {
                for at in &mut at {
                    let step = &self.steps[*at];
                    let is_left = x[usize::from(step.feature)] <= step.split;
                    let by = if is_left {
                        u32::from(step.left)
                    } else {
                        step.right
                    };
                    *at += by as usize;
                }
            }
            for at in &at[..roots.len()] {
                sum += self.steps[*at].split;
            }
        }
        sum
    }
}

impl Step {
    /// Of a node at `place` of its tree.
    fn of(node: &Node, place: u32) -> Self {
        if node.feature == LEAF {
            return Self {
                split: node.value,
                right: 0,
                left: 0,
                feature: 0,
            };
        }
        Self {
            split: node.threshold,
            right: node.right.saturating_sub(place),
            left: 1,
            feature: node.feature,
        }
    }
}

/// Children stand behind their parent: one pass is enough.
fn depth(tree: &[Node]) -> usize {
    let mut of_nodes = vec![0; tree.len()];
    let mut deepest = 0;
    for (place, node) in tree.iter().enumerate() {
        let here = of_nodes[place];
        deepest = deepest.max(here);
        if node.feature != LEAF {
            for child in [place + 1, node.right as usize] {
                if let Some(of_child) = of_nodes.get_mut(child) {
                    *of_child = here + 1;
                }
            }
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of three features; the numbers decide where it ends.
    fn grow(tree: &mut Vec<Node>, left: usize, numbers: &mut impl Iterator<Item = u16>) {
        let number = numbers.next().unwrap_or(0);
        let place = tree.len();
        let is_leaf = left == 0 || number % 4 == 0;
        tree.push(Node {
            feature: if is_leaf { LEAF } else { number % 3 },
            threshold: f64::from(number % 7),
            right: 0,
            value: f64::from(number).sqrt(),
        });
        if !is_leaf {
            grow(tree, left - 1, numbers);
            tree[place].right = u32::try_from(tree.len()).unwrap();
            grow(tree, left - 1, numbers);
        }
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_one_tree_after_the_other(
            numbers in prop::collection::vec(prop::collection::vec(any::<u16>(), 1..60), 0..11),
            x in prop::array::uniform3(0.0_f64..7.0),
        ) {
            let trees: Vec<Vec<Node>> = numbers
                .into_iter()
                .map(|numbers| {
                    let mut tree = Vec::new();
                    grow(&mut tree, 5, &mut numbers.into_iter());
                    tree
                })
                .collect();
            let mut sum = 0.25;
            for tree in &trees {
                let mut node = &tree[0];
                let mut place = 0;
                while node.feature != LEAF {
                    let is_left = x[usize::from(node.feature)] <= node.threshold;
                    place = if is_left { place + 1 } else { node.right as usize };
                    node = &tree[place];
                }
                sum += node.value;
            }
            prop_assert_eq!(Walk::of(&trees).sum(0.25, &x).to_bits(), sum.to_bits());
        }
    }
}
