//! When a delivery that failed is tried again.

use forecare_domain::Timestamp;

/// Exponential back-off with jitter, and an end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// Pause after the first failure, seconds; doubles with each further one.
    pub first_s: f64,
    /// Longest pause, seconds.
    pub max_s: f64,
    /// Attempts in all.
    pub attempts_max: u32,
    /// Of the jitter.
    pub seed: u64,
}

/// When the delivery `key` is tried again, `failed` attempts having failed by `now`; `None`: it is given up. Between half
/// and all of the pause, by a hash of seed, key and number: the same every time, different for each delivery, so that
/// what failed together does not come back together.
#[must_use]
pub fn next_attempt(
    backoff: &Backoff,
    key: &str,
    failed: u32,
    now: Timestamp,
) -> Option<Timestamp> {
    if failed >= backoff.attempts_max {
        return None;
    }
    let doublings = i32::try_from(failed.saturating_sub(1).min(40)).unwrap_or(40);
    let pause_s = (backoff.first_s * 2.0_f64.powi(doublings)).min(backoff.max_s);
    let share = 0.5 + 0.5 * unit(hash(backoff.seed, key, failed));
    Some(now.plus_hours(pause_s * share / 3_600.0))
}

/// FNV-1a, finished with the mixing step of SplitMix64.
fn hash(seed: u64, key: &str, n: u32) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ seed;
    for byte in key.bytes().chain(n.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// 0 (inclusive) to 1 (exclusive).
fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        first_s: 30.0,
        max_s: 3_600.0,
        attempts_max: 12,
        seed: 7,
    };

    fn pause_s(failed: u32, key: &str) -> f64 {
        let now = Timestamp::from_millis(1_767_225_600_000);
        let next = next_attempt(&BACKOFF, key, failed, now).unwrap();
        next.hours_since(now) * 3_600.0
    }

    #[test]
    fn pauses_double_within_their_jitter_up_to_the_longest() {
        for failed in 1..12 {
            let whole = (30.0 * 2.0_f64.powi(i32::try_from(failed).unwrap() - 1)).min(3_600.0);
            for key in ["a", "b", "T-1.1.ticket.opened/mail/x"] {
                let pause = pause_s(failed, key);
                assert!((whole / 2.0..=whole).contains(&pause), "{failed}: {pause}");
                assert_eq!(pause, pause_s(failed, key));
            }
        }
        assert_ne!(pause_s(3, "a"), pause_s(3, "b"));
    }

    #[test]
    fn there_is_an_end() {
        let now = Timestamp::from_millis(0);
        assert!(next_attempt(&BACKOFF, "a", 11, now).is_some());
        assert_eq!(next_attempt(&BACKOFF, "a", 12, now), None);
    }
}
