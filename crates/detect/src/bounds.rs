//! Bounds of numbers that are never NaN: each a single machine instruction, where the standard library's `max`, `min` and
//! `clamp` have to look for NaN and for bounds that are crossed.

use std::ops::Neg;

/// The larger of two.
pub(crate) fn most<T: PartialOrd>(a: T, b: T) -> T {
    if b > a { b } else { a }
}

/// The smaller of two.
pub(crate) fn least<T: PartialOrd>(a: T, b: T) -> T {
    if b < a { b } else { a }
}

/// `x`, not farther than `reach` from 0.
pub(crate) fn within<T: PartialOrd + Neg<Output = T> + Copy>(x: T, reach: T) -> T {
    most(least(x, reach), -reach)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_on_both_sides() {
        assert_eq!(
            [-5.0, -2.0, 1.0, 7.0].map(|x: f32| within(x, 3.0)),
            [-3.0, -2.0, 1.0, 3.0]
        );
        assert_eq!((most(1.0, 2.0), least(1.0, 2.0)), (2.0, 1.0));
    }
}
