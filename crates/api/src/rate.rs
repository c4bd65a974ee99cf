//! How much of what is open to everyone is served: a flood of it keeps nobody else waiting.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// Requests at once, all visitors together.
const BURST: f64 = 60.0;
/// Requests per second in the long run.
const PER_SECOND: f64 = 10.0;

/// A token bucket.
pub(crate) struct Rate {
    state: Mutex<(f64, Instant)>,
}

impl Rate {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new((BURST, Instant::now())),
        }
    }

    /// Whether one more request is served now.
    pub(crate) fn admits(&self) -> bool {
        self.admits_at(Instant::now())
    }

    fn admits_at(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let since_s = now.duration_since(state.1).as_secs_f64();
        let filled = (state.0 + since_s * PER_SECOND).min(BURST);
        let admits = filled >= 1.0;
        *state = (if admits { filled - 1.0 } else { filled }, now);
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_comes_back() {
        let rate = Rate::new();
        let now = Instant::now();
        let served = |at| (0..500).filter(|_| rate.admits_at(at)).count();
        assert_eq!(served(now), 60);
        assert_eq!(served(now + std::time::Duration::from_secs(1)), 10);
    }
}
