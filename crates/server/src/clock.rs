//! The clocks of the product: the only place that reads the system's time.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use forecare_domain::{Clock, Timestamp};

#[allow(clippy::disallowed_methods, reason = "this is the clock")]
fn system_now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// The machine's clock.
#[derive(Debug, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        system_now()
    }
}

/// Simulated time that starts at the present and runs `factor` times as fast.
#[derive(Debug)]
pub(crate) struct ScaledClock {
    origin: Timestamp,
    started: Timestamp,
    factor: f64,
}

impl ScaledClock {
    /// A clock that shows `origin` now, and runs `factor` times as fast as the machine's.
    #[must_use]
    pub(crate) fn new(origin: Timestamp, factor: f64) -> Self {
        Self {
            origin,
            started: system_now(),
            factor,
        }
    }
}

impl Clock for ScaledClock {
    fn now(&self) -> Timestamp {
        self.origin
            .plus_hours(system_now().hours_since(self.started) * self.factor)
    }
}

/// Time as the devices tell it, for replaying history: "now" is the newest reading, and every reading is
/// judged at its own time.
#[derive(Debug)]
pub(crate) struct DeviceClock(AtomicI64);

impl DeviceClock {
    /// A clock that stands at `at` until a later reading comes.
    #[must_use]
    pub(crate) fn new(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.as_millis()))
    }
}

impl Clock for DeviceClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn judged_at(&self, ts: Timestamp) -> Timestamp {
        self.0.fetch_max(ts.as_millis(), Ordering::SeqCst);
        ts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_time_never_runs_back_but_late_readings_keep_their_own() {
        let clock = DeviceClock::new(Timestamp::from_millis(1_000));
        assert_eq!(
            clock.judged_at(Timestamp::from_millis(5_000)),
            Timestamp::from_millis(5_000)
        );
        assert_eq!(
            clock.judged_at(Timestamp::from_millis(2_000)),
            Timestamp::from_millis(2_000)
        );
        assert_eq!(clock.now(), Timestamp::from_millis(5_000));
    }
}
