//! Pauses between attempts to connect: doubling, bounded, with jitter.

use std::time::Duration;

/// Doubles from the minimum to the maximum. Each pause is drawn from the upper half of that, so that
/// many clients of a broker that comes back do not come back in step.
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    ceiling: Duration,
    state: u64,
}

impl Backoff {
    /// The jitter is seeded by `name`, which differs from process to process.
    pub(super) fn new(min: Duration, max: Duration, name: &str) -> Self {
        let min = min.max(Duration::from_millis(1));
        // FNV-1a: a name is all the entropy there is.
        let state = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self {
            min,
            max: max.max(min),
            ceiling: min,
            state,
        }
    }

    pub(super) fn reset(&mut self) {
        self.ceiling = self.min;
    }

    pub(super) fn max(&self) -> Duration {
        self.max
    }

    pub(super) fn next(&mut self) -> Duration {
        let half = self.ceiling / 2;
        self.ceiling = self.ceiling.saturating_mul(2).min(self.max);
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let thousandths = u32::try_from(z % 1_001).unwrap_or(0);
        half + half * thousandths / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_maximum_within_the_upper_half() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1), "a");
        for ceiling in [100, 200, 400, 800, 1_000, 1_000] {
            let pause = backoff.next();
            assert!(
                pause <= Duration::from_millis(ceiling),
                "{pause:?} {ceiling}"
            );
            assert!(
                pause >= Duration::from_millis(ceiling / 2),
                "{pause:?} {ceiling}"
            );
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }

    #[test]
    fn two_clients_do_not_come_back_in_step() {
        let pauses = |name| {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), name);
            (0..5).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        assert_ne!(pauses("forecare-a"), pauses("forecare-b"));
        assert_eq!(pauses("forecare-a"), pauses("forecare-a"));
    }
}
