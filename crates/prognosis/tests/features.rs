//! Streaming features against the same taken from all values at once.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use forecare_domain::{ComponentName, Timestamp};
use forecare_prognosis::{FeatureSpec, FeatureState, WINDOWS_H};
use proptest::prelude::*;

const HOUR_MS: i64 = 3_600_000;

fn spec() -> FeatureSpec {
    FeatureSpec {
        metrics: vec!["m".into()],
        codes: vec!["e".into()],
        components: vec!["c".into()],
        own_usual_at: None,
    }
}

fn ts(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn get(state: &FeatureState, at: Timestamp, name: &str) -> f64 {
    let mut out = Vec::new();
    spec().extract(state, at, &mut out);
    let names = spec().names();
    assert_eq!(names.len(), out.len());
    out[names.iter().position(|n| n == name).unwrap()]
}

fn close(a: f64, b: f64) -> bool {
    (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-7 * (1.0 + b.abs())
}

/// Mean and deviation of the values in the window's hours, by definition.
fn by_definition(values: &[(i64, f64)], now: i64, window_h: i64, interval_h: f64) -> (f64, f64) {
    let hour = |ms: i64| ms.div_euclid(HOUR_MS);
    let inside: Vec<(i64, f64)> = values
        .iter()
        .copied()
        .filter(|(at, _)| hour(*at) > hour(now) - window_h)
        .collect();
    let mut hours: Vec<i64> = inside.iter().map(|(at, _)| hour(*at)).collect();
    hours.dedup();
    if hours.len() as f64 * interval_h < window_h as f64 / 2.0 || inside.is_empty() {
        return (f64::NAN, f64::NAN);
    }
    let n = inside.len() as f64;
    let mean = inside.iter().map(|(_, v)| v).sum::<f64>() / n;
    let squares: f64 = inside.iter().map(|(_, v)| (v - mean) * (v - mean)).sum();
    let deviation = if n < 3.0 {
        f64::NAN
    } else {
        (squares / (n - 1.0)).sqrt()
    };
    (mean, deviation)
}

proptest! {
    #[test]
    fn windows_equal_their_definition(
        start in -1_000_000_000i64..1_000_000_000,
        steps in proptest::collection::vec((1i64..4_000, -50.0..50.0f64), 1..120),
        scale in prop_oneof![Just(1_000i64), Just(20_000), Just(60_000)],
    ) {
        let mut state = FeatureState::new(1);
        let mut values = Vec::new();
        let mut gaps: Vec<f64> = Vec::new();
        let mut now = start;
        for (i, (gap, value)) in steps.iter().enumerate() {
            if i > 0 {
                now += gap * scale;
                gaps.push((gap * scale) as f64 / HOUR_MS as f64);
            }
            state.push(ts(now), &[Some(1000.0 + value)]);
            values.push((now, 1000.0 + value));
        }
        let mut last: Vec<f64> = gaps.iter().rev().take(3).copied().collect();
        last.sort_by(f64::total_cmp);
        let interval_h = last.get(last.len() / 2).copied().unwrap_or(1.0).clamp(1.0, 24.0);
        for window_h in WINDOWS_H {
            let (mean, deviation) = by_definition(&values, now, i64::from(window_h), interval_h);
            let seen = get(&state, ts(now), &format!("m mean {window_h} h"));
            prop_assert!(close(seen, mean), "{window_h} h: {seen} for {mean}");
            let seen = get(&state, ts(now), &format!("m deviation {window_h} h"));
            prop_assert!(close(seen, deviation), "{window_h} h: {seen} for {deviation}");
        }
        prop_assert_eq!(get(&state, ts(now), "m latest"), values[values.len() - 1].1);
    }

    #[test]
    fn json_brings_back_every_bit(values in proptest::collection::vec(proptest::num::f64::NORMAL, 1..60)) {
        let mut state = FeatureState::new(2);
        for (i, value) in (0i64..).zip(&values) {
            let value = value.clamp(-1e100, 1e100);
            state.push(ts(i * 1_234_567), &[Some(value), (i % 2 == 0).then_some(value / 3.0)]);
            state.event(ts(i * 1_234_567), "e");
        }
        let back: FeatureState = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
        prop_assert_eq!(back, state);
    }
}

#[test]
fn a_steady_rise_has_its_slope() {
    let mut state = FeatureState::new(1);
    for h in 0..24 {
        state.push(ts(h * HOUR_MS), &[Some(5.0 + 0.25 * h as f64)]);
    }
    assert!((get(&state, ts(23 * HOUR_MS), "m slope per hour") - 0.25).abs() < 1e-9);
}

#[test]
fn after_a_gap_a_window_says_nothing_until_half_of_it_is_covered() {
    let mut state = FeatureState::new(1);
    for h in 0..30 {
        state.push(ts(h * HOUR_MS), &[Some(1.0)]);
    }
    for h in 200..212 {
        state.push(ts(h * HOUR_MS), &[Some(2.0)]);
        let mean = get(&state, ts(h * HOUR_MS), "m mean 24 h");
        if h < 211 {
            assert!(mean.is_nan(), "hour {h}");
        } else {
            assert_eq!(mean, 2.0);
        }
    }
}

#[test]
fn daily_means_fill_their_day() {
    let mut state = FeatureState::new(1);
    for day in 0..5 {
        state.push(ts(day * 24 * HOUR_MS), &[Some(day as f64)]);
    }
    assert_eq!(get(&state, ts(4 * 24 * HOUR_MS), "m mean 24 h"), 4.0);
}

#[test]
fn silence_forgets_the_latest_value() {
    let mut state = FeatureState::new(1);
    state.push(ts(0), &[Some(1.0)]);
    assert!(get(&state, ts(24 * HOUR_MS), "m latest").is_nan());
}

#[test]
fn codes_are_counted_in_their_windows_and_dated() {
    let mut state = FeatureState::new(1);
    for h in [0, 30, 40] {
        state.event(ts(h * HOUR_MS), "e");
    }
    let now = ts(50 * HOUR_MS);
    assert_eq!(get(&state, now, "e in 24 h"), 2.0);
    assert_eq!(get(&state, now, "e in 48 h"), 2.0);
    assert_eq!(get(&state, now, "hours since e"), 10.0);
    assert_eq!(get(&FeatureState::new(1), now, "hours since e"), 720.0);
}

#[test]
fn a_replacement_before_any_reading_counts() {
    let mut state = FeatureState::new(1);
    state.replaced(ts(-100 * HOUR_MS), &ComponentName::new("c").unwrap());
    state.push(ts(0), &[Some(1.0)]);
    assert_eq!(get(&state, ts(0), "hours since c replaced"), 100.0);
}

#[test]
fn a_flood_of_codes_and_components_stays_bounded() {
    let mut state = FeatureState::new(4);
    for i in 0..5_000 {
        state.event(ts(i), &format!("code-{i}"));
        state.replaced(ts(i), &ComponentName::new(format!("c-{i}")).unwrap());
        state.event(ts(i), "e");
    }
    let json = serde_json::to_string(&state).unwrap();
    assert!(json.len() < 8_000, "{}", json.len());
    assert_eq!(get(&state, ts(5_000), "e in 24 h"), 8.0);
}

#[test]
fn a_row_older_than_the_ring_changes_nothing() {
    let mut state = FeatureState::new(1);
    state.push(ts(100 * HOUR_MS), &[Some(1.0)]);
    let before = state.clone();
    state.push(ts(70 * HOUR_MS), &[Some(9.0)]);
    assert_eq!(state, before);
}

#[test]
fn wild_but_finite_readings_leave_a_state_that_can_be_written_and_read() {
    for wild in [1e200, -1e200, f64::MAX, f64::MIN] {
        let mut state = FeatureState::new(1);
        for (h, value) in (0i64..).zip([wild, wild, 1.0, -wild, 2.0, 3.0]) {
            state.push(ts(h * HOUR_MS / 3), &[Some(value)]);
        }
        let json = serde_json::to_string(&state).unwrap();
        let back: FeatureState = serde_json::from_str(&json).unwrap();
        assert_eq!(back, state, "{wild}");
        let mean = get(&state, ts(5 * HOUR_MS / 3), "m mean 3 h");
        assert!(mean.is_finite(), "{wild}: {mean}");
    }
}

#[test]
fn a_replacement_told_late_does_not_make_a_component_older() {
    let mut state = FeatureState::new(1);
    let component = ComponentName::new("c").unwrap();
    state.replaced(ts(50 * HOUR_MS), &component);
    state.replaced(ts(10 * HOUR_MS), &component);
    let age = get(&state, ts(60 * HOUR_MS), "hours since c replaced");
    assert_eq!(age, 10.0);
}
