//! Readings.

use std::sync::Arc;

use forecare_domain::{RejectReason, Timestamp};

use super::fixtures::{
    ALL, asset, commit, device, items, metric, ms, receipt, register, row, with_extra,
};
use crate::{Bucket, Fill, Fingerprint, LatestRow, Series, Store, StoreError, TelemetryQuery};

pub async fn same_batch_twice_counts_once(store: Arc<dyn Store>) {
    register(&store, 1).await;
    let rows = vec![
        row(0, 1, [Some(1.0), None, Some(3.0)]),
        with_extra(row(0, 2, [Some(2.0), None, None]), &[("odd", 9.0)]),
    ];
    assert_eq!(commit(&store, rows.clone()).await, receipt(4, 0, 0));
    let once = store.fingerprint(&device(0)).await.unwrap();
    assert_eq!(commit(&store, rows).await, receipt(0, 4, 0));
    assert_eq!(store.fingerprint(&device(0)).await.unwrap(), once);
    assert_eq!(once.n_readings, 4);
}

pub async fn duplicates_inside_a_batch_count_once(store: Arc<dyn Store>) {
    register(&store, 1).await;
    let again = row(0, 1, [Some(1.0), None, None]);
    assert_eq!(
        commit(&store, vec![again.clone(), again.clone(), again]).await,
        receipt(1, 2, 0)
    );
}

pub async fn order_of_arrival_does_not_matter(store: Arc<dyn Store>) {
    register(&store, 2).await;
    let order = [5_i64, 1, 4, 2, 3];
    for (n, order) in [(0, order.to_vec()), (1, vec![1, 2, 3, 4, 5])] {
        for ts in order {
            let value = Some(ts as f64);
            commit(&store, vec![row(n, ts, [value, value, None])]).await;
        }
    }
    let values = |rows: Vec<forecare_domain::Row>| -> Vec<_> {
        rows.into_iter().map(|r| (r.ts, r.values)).collect()
    };
    let late = values(store.rows_after(&device(0), None, 10).await.unwrap());
    let timely = values(store.rows_after(&device(1), None, 10).await.unwrap());
    assert_eq!(late, timely);
    assert_eq!(late.len(), 5);
}

pub async fn messages_of_one_time_merge(store: Arc<dyn Store>) {
    register(&store, 1).await;
    let mut late = row(0, 1, [None, Some(2.0), None]);
    late.health = Some(90.0);
    assert_eq!(
        commit(&store, vec![row(0, 1, [Some(1.0), None, None]), late]).await,
        receipt(2, 0, 0)
    );
    let third = with_extra(row(0, 1, [Some(1.0), None, Some(3.0)]), &[("odd", 4.0)]);
    assert_eq!(commit(&store, vec![third]).await, receipt(2, 1, 0));
    let rows = store.rows_after(&device(0), None, 10).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].values, [Some(1.0), Some(2.0), Some(3.0)]);
    assert_eq!(rows[0].extra, [(metric("odd"), 4.0)]);
    // The health that was there first stays, as a redelivery must change nothing.
    let health = series(&store, &["health"], 0, 10, 10).await;
    assert_eq!(health[0].buckets[0].mean, 50.0);
}

pub async fn first_value_stays_and_each_other_is_recorded_once(store: Arc<dyn Store>) {
    register(&store, 1).await;
    let odd = |v, o| with_extra(row(0, 1, [Some(v), None, None]), &[("odd", o)]);
    assert_eq!(
        commit(&store, vec![odd(1.0, 1.0), odd(2.0, 1.0)]).await,
        receipt(2, 1, 1)
    );
    assert_eq!(
        commit(&store, vec![odd(2.0, 5.0), odd(3.0, 5.0)]).await,
        receipt(0, 0, 4)
    );
    let mut found: Vec<(String, f64, f64)> = items(store.conflicts(ALL).await.unwrap())
        .into_iter()
        .map(|c| (c.metric.as_str().to_owned(), c.stored, c.refused))
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0).then(a.2.total_cmp(&b.2)));
    let expected = [
        ("odd", 1.0, 5.0),
        ("vibration", 1.0, 2.0),
        ("vibration", 1.0, 3.0),
    ]
    .map(|(m, s, r)| (m.to_owned(), s, r));
    assert_eq!(found, expected);
    let rows = store.rows_after(&device(0), None, 10).await.unwrap();
    assert_eq!((rows[0].values[0], rows[0].extra[0].1), (Some(1.0), 1.0));
}

pub async fn metrics_beyond_the_catalogue_are_kept(store: Arc<dyn Store>) {
    register(&store, 1).await;
    let none = [None, None, None];
    let only = with_extra(
        row(0, 1, none),
        &[("zeta", 1.0), ("alpha", 2.0), ("TEMPERATURE", 3.0)],
    );
    assert_eq!(
        commit(&store, vec![only, row(0, 2, none)]).await,
        receipt(3, 0, 0)
    );
    let rows = store.rows_after(&device(0), None, 10).await.unwrap();
    assert_eq!(rows.len(), 1, "a row without readings is none");
    let names: Vec<&str> = rows[0].extra.iter().map(|(m, _)| m.as_str()).collect();
    assert_eq!(names, ["TEMPERATURE", "alpha", "zeta"], "in order of name");
    let found = series(&store, &["alpha", "nowhere"], 0, 10, 1).await;
    assert_eq!((found[0].buckets[0].mean, found[0].buckets[0].n), (2.0, 1));
    assert!(found[1].buckets.is_empty());
}

pub async fn minus_zero_is_zero(store: Arc<dyn Store>) {
    register(&store, 1).await;
    assert_eq!(
        commit(&store, vec![row(0, 1, [Some(-0.0), None, None])]).await,
        receipt(1, 0, 0)
    );
    assert_eq!(
        commit(&store, vec![row(0, 1, [Some(0.0), None, None])]).await,
        receipt(0, 1, 0)
    );
    let mut expected = Fingerprint::default();
    expected.add(&device(0), &metric("vibration"), ms(1), -0.0);
    assert_eq!(store.fingerprint(&device(0)).await.unwrap(), expected);
}

pub async fn a_poison_row_is_dead_lettered_and_its_company_stored(store: Arc<dyn Store>) {
    register(&store, 1).await;
    let mut short = row(0, 2, [None, None, None]);
    short.row.values = vec![Some(1.0)];
    let rows = vec![
        row(0, 1, [Some(1.0), None, None]),
        row(7, 1, [Some(1.0), None, None]),
        short,
        row(0, 3, [Some(f64::NAN), None, None]),
        with_extra(
            row(0, 4, [Some(1.0), None, None]),
            &[("odd", f64::INFINITY)],
        ),
        row(0, 5, [Some(f64::MAX), None, None]),
    ];
    assert_eq!(commit(&store, rows).await, receipt(2, 0, 0));
    let letters = items(
        store
            .dead_letters(Some(RejectReason::StoreRefused), ALL)
            .await
            .unwrap(),
    );
    let details: Vec<&str> = letters.iter().rev().map(|l| l.detail.as_str()).collect();
    assert_eq!(details.len(), 4, "{details:?}");
    assert!(
        details[0].contains("not registered") && letters[3].topic == "devices/pump-7/telemetry"
    );
    assert!(details[1].contains("1 values for a class of 3"));
    assert!(details[2].contains("not finite") && details[3].contains("not finite"));
    assert_eq!(
        store.rejection_counts().await.unwrap(),
        [(RejectReason::StoreRefused, 4)]
    );
}

pub async fn rows_after_are_in_order_and_after(store: Arc<dyn Store>) {
    register(&store, 2).await;
    let rows = (0..10)
        .rev()
        .map(|ts| row(0, ts, [Some(ts as f64), None, None]))
        .collect();
    commit(&store, rows).await;
    commit(&store, vec![row(1, 5, [Some(0.0), None, None])]).await;
    let got = store.rows_after(&device(0), Some(ms(3)), 4).await.unwrap();
    let times: Vec<i64> = got
        .iter()
        .map(|r| r.ts.as_millis() - ms(0).as_millis())
        .collect();
    assert_eq!(times, [4, 5, 6, 7]);
    assert_eq!(
        store.rows_after(&device(0), Some(ms(9)), 4).await.unwrap(),
        []
    );
    assert_eq!(store.rows_after(&device(9), None, 4).await.unwrap(), []);
}

pub async fn newest_reading_is_the_newest(store: Arc<dyn Store>) {
    register(&store, 2).await;
    let rows = vec![
        row(0, 9, [Some(1.0), None, None]),
        row(0, 4, [Some(1.0), None, None]),
    ];
    commit(&store, rows).await;
    assert_eq!(store.newest_reading(&device(0)).await.unwrap(), Some(ms(9)));
    assert_eq!(store.newest_reading(&device(1)).await.unwrap(), None);
    assert_eq!(store.newest_reading(&device(9)).await.unwrap(), None);
}

pub async fn latest_rows_are_the_newest_by_time_and_merged(store: Arc<dyn Store>) {
    register(&store, 4).await;
    let none = [None, None, None];
    let unscored = |mut row: crate::ScoredRow| {
        row.health = None;
        row
    };
    commit(
        &store,
        vec![
            row(2, 3, [Some(3.0), None, None]),
            unscored(row(0, 9, [Some(9.0), None, None])),
            row(0, 4, [Some(4.0), Some(4.0), Some(4.0)]),
            row(2, 7, [Some(7.0), None, None]),
        ],
    )
    .await;
    // Late ones change nothing, the newest time's second message adds to it, its first value stays.
    let mut second = row(0, 9, [Some(1.0), None, Some(-1.0)]);
    second.health = Some(75.0);
    commit(
        &store,
        vec![row(0, 5, [Some(5.0), Some(5.0), None]), second],
    )
    .await;
    commit(&store, vec![row(0, 8, [None, Some(8.0), None])]).await;
    // The newest row may have nothing but metrics beyond the catalogue, or nothing.
    commit(
        &store,
        vec![
            with_extra(row(2, 8, none), &[("odd", 1.0)]),
            row(2, 9, none),
        ],
    )
    .await;
    let latest = |n, ts, health, readings: &[(&str, f64)]| LatestRow {
        device: device(n),
        ts: ms(ts),
        health: Some(health),
        readings: readings.iter().map(|(m, v)| (metric(m), *v)).collect(),
    };
    let expected = [
        latest(0, 9, 75.0, &[("vibration", 9.0), ("Temperature", -1.0)]),
        latest(2, 8, 50.0, &[]),
    ];
    assert_eq!(store.latest().await.unwrap(), expected);
}

pub async fn latest_rows_are_those_of_registered_assets(store: Arc<dyn Store>) {
    assert_eq!(store.latest().await.unwrap(), []);
    register(&store, 2).await;
    commit(
        &store,
        (0..3).map(|n| row(n, 1, [Some(1.0), None, None])).collect(),
    )
    .await;
    let devices = async || -> Vec<_> {
        let rows = store.latest().await.unwrap();
        rows.into_iter().map(|r| r.device).collect()
    };
    assert_eq!(devices().await, [device(0), device(1)]);
    let mut moved = asset(0);
    moved.device = device(9);
    store.register_assets(vec![moved.clone()]).await.unwrap();
    assert_eq!(devices().await, [device(1)], "the new device sent nothing");
    moved.device = device(0);
    store.register_assets(vec![moved]).await.unwrap();
    assert_eq!(devices().await, [device(0), device(1)]);
}

async fn series(
    store: &Arc<dyn Store>,
    metrics: &[&str],
    from: i64,
    to: i64,
    points: usize,
) -> Vec<Series> {
    let metrics = metrics.iter().map(|m| metric(m)).collect();
    let query = TelemetryQuery {
        device: device(0),
        metrics,
        from: ms(from),
        to: ms(to),
        points,
        fill: Fill::None,
    };
    store.telemetry(&query).await.unwrap()
}

pub async fn gaps_between_readings_are_filled_as_asked(store: Arc<dyn Store>) {
    register(&store, 1).await;
    // In buckets of 2 ms from 10: none, 1 and 3, none, none, 8, none.
    let rows = [(12, 1.0), (13, 3.0), (18, 8.0)];
    let rows = rows.map(|(ts, value)| row(0, ts, [Some(value), None, None]));
    commit(&store, rows.to_vec()).await;
    for (fill, between) in [
        (Fill::None, None),
        (Fill::Previous, Some([2.0, 2.0])),
        (Fill::Linear, Some([4.0, 6.0])),
    ] {
        let query = TelemetryQuery {
            device: device(0),
            metrics: vec![metric("vibration"), metric("temperature"), metric("odd")],
            from: ms(10),
            to: ms(22),
            points: 6,
            fill,
        };
        let bucket = |ts, mean, min, max, n| Bucket {
            ts: ms(ts),
            mean,
            min,
            max,
            n,
        };
        let mut expected = vec![bucket(12, 2.0, 1.0, 3.0, 2)];
        for (value, ts) in between.into_iter().flatten().zip([14, 16]) {
            expected.push(bucket(ts, value, value, value, 0));
        }
        expected.push(bucket(18, 8.0, 8.0, 8.0, 1));
        let got = store.telemetry(&query).await.unwrap();
        assert_eq!(got[0].buckets.len(), expected.len(), "{fill:?}");
        for (g, e) in got[0].buckets.iter().zip(&expected) {
            assert!((g.mean - e.mean).abs() < 1e-9, "{fill:?}: {g:?} {e:?}");
            assert_eq!((g.ts, g.n), (e.ts, e.n), "{fill:?}");
            assert!(
                (g.min - e.min).abs() < 1e-9 && (g.max - e.max).abs() < 1e-9,
                "{fill:?}"
            );
        }
        assert!(
            got[1].buckets.is_empty() && got[2].buckets.is_empty(),
            "nothing is made of nothing"
        );
        let dense = TelemetryQuery {
            from: ms(0),
            to: ms(1_000_000_000),
            points: 5_000,
            ..query
        };
        assert!(store.telemetry(&dense).await.unwrap()[0].buckets.len() <= 5_000);
    }
}

pub async fn series_equal_brute_force(store: Arc<dyn Store>) {
    register(&store, 1).await;
    let value = |ts: i64| (ts * 37 % 101) as f64 / 7.0;
    let stamps: Vec<i64> = (0..500).map(|i| i * 13 % 997).collect();
    let rows = stamps
        .iter()
        .map(|ts| row(0, *ts, [Some(value(*ts)), None, None]))
        .collect();
    commit(&store, rows).await;
    for (from, to, points) in [
        (0, 1_000, 10),
        (100, 903, 7),
        (0, 1_000, 5_000),
        (990, 991, 3),
        (0, 10, 1),
    ] {
        let got = series(&store, &["vibration"], from, to, points).await;
        // The least whole number of milliseconds that needs no more than `points` buckets.
        let length = (1..)
            .find(|l| (to - from + l - 1) / l <= i64::try_from(points).unwrap())
            .unwrap();
        let mut expected: Vec<Bucket> = Vec::new();
        for begin in (from..to).step_by(usize::try_from(length).unwrap()) {
            let inside = |ts: &&i64| (begin..(begin + length).min(to)).contains(*ts);
            let values: Vec<f64> = stamps.iter().filter(inside).map(|ts| value(*ts)).collect();
            if !values.is_empty() {
                expected.push(Bucket {
                    ts: ms(begin),
                    mean: values.iter().sum::<f64>() / values.len() as f64,
                    min: values.iter().copied().fold(f64::INFINITY, f64::min),
                    max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    n: values.len() as u64,
                });
            }
        }
        let got = &got[0].buckets;
        assert!(got.len() <= points);
        assert_eq!(got.len(), expected.len(), "{from}..{to} in {points}");
        for (g, e) in got.iter().zip(&expected) {
            assert!((g.mean - e.mean).abs() < 1e-9, "{g:?} {e:?}");
            assert_eq!((g.ts, g.min, g.max, g.n), (e.ts, e.min, e.max, e.n));
        }
    }
}

pub async fn series_of_nothing_are_empty(store: Arc<dyn Store>) {
    register(&store, 1).await;
    commit(&store, vec![row(0, 5, [Some(1.0), None, None])]).await;
    let all = series(&store, &[], 0, 10, 5).await;
    let names: Vec<&str> = all.iter().map(|s| s.metric.as_str()).collect();
    assert_eq!(names, ["vibration", "temperature", "Temperature", "health"]);
    assert_eq!(
        (
            all[0].buckets.len(),
            all[1].buckets.len(),
            all[3].buckets.len()
        ),
        (1, 0, 1)
    );
    assert!(
        series(&store, &["vibration"], 6, 6, 5).await[0]
            .buckets
            .is_empty()
    );
    assert!(
        series(&store, &["vibration"], 9, 2, 5).await[0]
            .buckets
            .is_empty()
    );
    let query = TelemetryQuery {
        device: device(9),
        metrics: Vec::new(),
        from: ms(0),
        to: ms(1),
        points: 1,
        fill: Fill::None,
    };
    assert!(matches!(
        store.telemetry(&query).await,
        Err(StoreError::NotFound(_))
    ));
}

pub async fn fingerprint_is_the_sum_of_its_readings(store: Arc<dyn Store>) {
    register(&store, 2).await;
    let mut expected = Fingerprint::default();
    let mut rows = Vec::new();
    for ts in 0..50_i32 {
        let value = f64::from(ts) / 3.0;
        rows.push(with_extra(
            row(0, i64::from(ts), [Some(value), None, Some(-value)]),
            &[("odd", 0.5)],
        ));
        for (name, value) in [("vibration", value), ("Temperature", -value), ("odd", 0.5)] {
            expected.add(&device(0), &metric(name), ms(i64::from(ts)), value);
        }
    }
    rows.reverse();
    commit(&store, rows).await;
    assert_eq!(store.fingerprint(&device(0)).await.unwrap(), expected);
    assert_eq!(
        store.fingerprint(&device(1)).await.unwrap(),
        Fingerprint::default()
    );
    assert_eq!(
        store.fingerprint(&device(9)).await.unwrap(),
        Fingerprint::default()
    );
}

pub async fn extremes_of_time_and_value_survive(store: Arc<dyn Store>) {
    register(&store, 1).await;
    let mut rows = Vec::new();
    for (ts, value) in [
        (Timestamp::MIN, f64::MIN_POSITIVE),
        (Timestamp::MAX, -f64::MAX),
        (ms(0), 5e-324),
    ] {
        let mut one = row(0, 0, [Some(value), None, None]);
        one.row.ts = ts;
        rows.push(one);
    }
    commit(&store, rows).await;
    let got = store.rows_after(&device(0), None, 10).await.unwrap();
    let values: Vec<_> = got.iter().map(|r| r.values[0].unwrap()).collect();
    assert_eq!(values, [f64::MIN_POSITIVE, 5e-324, -f64::MAX]);
    assert_eq!((got[0].ts, got[2].ts), (Timestamp::MIN, Timestamp::MAX));
}
