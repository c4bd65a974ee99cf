//! Remaining useful life from made-up health.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use forecare_domain::{Rul, Timestamp};
use forecare_prognosis::{FAILURE_HEALTH, TrendState};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn hour(h: f64) -> Timestamp {
    Timestamp::from_millis(0).plus_hours(h)
}

fn noisy(seed: u64, hours: u32, health: impl Fn(f64) -> f64) -> TrendState {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut state = TrendState::new();
    for h in 0..hours {
        let h = f64::from(h);
        state.push(hour(h), health(h) + rng.random_range(-2.0..2.0));
    }
    state
}

#[test]
fn a_steady_decline_is_extrapolated_with_an_interval_around_the_truth() {
    for seed in 0..20 {
        let state = noisy(seed, 200, |h| 100.0 - 0.2 * h);
        let left = (100.0 - 0.2 * 199.0 - FAILURE_HEALTH) / 0.2;
        let Rul::Trend {
            p10_hours,
            p50_hours,
            p90_hours,
        } = state.rul()
        else {
            unreachable!("seed {seed}: no trend");
        };
        assert!(p10_hours <= p50_hours && p50_hours <= p90_hours);
        assert!(
            (p50_hours - left).abs() < 0.1 * left,
            "seed {seed}: {p50_hours} for {left}"
        );
    }
}

#[test]
fn steady_or_recovering_health_gives_no_number() {
    for seed in 0..50 {
        assert_eq!(
            noisy(seed, 300, |_| 90.0).rul(),
            Rul::NoTrend,
            "seed {seed}"
        );
        assert_eq!(noisy(seed, 300, |h| 50.0 + 0.1 * h).rul(), Rul::NoTrend);
    }
}

#[test]
fn a_decline_that_begins_late_is_seen() {
    let state = noisy(
        3,
        300,
        |h| if h < 240.0 { 95.0 } else { 95.0 - (h - 240.0) },
    );
    let Rul::Trend { p50_hours, .. } = state.rul() else {
        unreachable!("no trend");
    };
    assert!((5.0..60.0).contains(&p50_hours), "{p50_hours}");
}

#[test]
fn a_repair_forgets_the_trend() {
    let mut state = noisy(1, 200, |h| 100.0 - 0.3 * h);
    assert_ne!(state.rul(), Rul::NoTrend);
    state.reset();
    assert_eq!(state, TrendState::new());
    assert_eq!(state.rul(), Rul::NoTrend);
}

#[test]
fn a_few_values_say_nothing() {
    let mut state = TrendState::new();
    for h in 0..7 {
        state.push(hour(f64::from(h)), 100.0 - 10.0 * f64::from(h));
    }
    assert_eq!(state.rul(), Rul::NoTrend);
}

proptest! {
    #[test]
    fn any_health_keeps_the_state_bounded_sound_and_the_same_after_json(
        steps in proptest::collection::vec((1i64..10_000_000, 0.0..100.0f64), 0..400),
    ) {
        let mut state = TrendState::new();
        let mut now = 0;
        for (gap, health) in steps {
            now += gap;
            state.push(Timestamp::from_millis(now), health);
            state.push(Timestamp::from_millis(now), 0.0);
        }
        let json = serde_json::to_string(&state).unwrap();
        prop_assert!(json.len() < 6_000);
        prop_assert_eq!(&serde_json::from_str::<TrendState>(&json).unwrap(), &state);
        if let Rul::Trend { p10_hours, p50_hours, p90_hours } = state.rul() {
            prop_assert!(0.0 <= p10_hours && p10_hours <= p50_hours && p50_hours <= p90_hours);
            prop_assert!(p90_hours.is_finite());
        }
    }
}
