//! What each resource answers.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

mod fixture;

use axum::http::StatusCode;
use fixture::ask::{ask, get, post};
use fixture::{World, health, now, raised, status};
use forecare_api::router;
use forecare_domain::{AlarmChange, RejectReason, Rejection, Row, Rul, Severity};
use forecare_store::{CommitBatch, ScoredRow, Store};
use serde_json::{Value, json};

/// Walks a list to its end; every entry under `key`.
async fn walk(router: &axum::Router, path: &str, key: &str) -> Vec<Value> {
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for _ in 0..100 {
        let page = get(router, &format!("{path}{cursor}")).await.json();
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|i| i[key].clone()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return seen,
        }
    }
    unreachable!("the list has no end")
}

#[tokio::test]
async fn pages_of_every_list_walk_all_entries_exactly_once() {
    let world = World::new();
    let mut alarms = Vec::new();
    for i in 0..23 {
        let asset = world
            .add_asset(&format!("pump-{i:03}"), "pump", "Pump", "")
            .await;
        let at = now().plus_hours(-f64::from(i));
        let batch = raised(&asset, "bearing-wear", Severity::Warning, at);
        alarms.push(json!(batch.alarms[0].alarm().id.0));
        world.commit(batch).await;
        world.open_ticket(&asset, "seal-leak", 0.5, at).await;
        let rejection = Rejection {
            received_at: at,
            topic: format!("devices/{i}/telemetry"),
            reason: RejectReason::InvalidJson,
            detail: "not JSON".to_owned(),
            payload: vec![0xff, 0x00],
            payload_bytes: 2,
        };
        world
            .commit(CommitBatch {
                rejections: vec![rejection],
                ..CommitBatch::default()
            })
            .await;
    }
    let router = router(world.state);
    for (path, key) in [
        ("/api/v1/devices?limit=5", "id"),
        ("/api/v1/assets?limit=5", "id"),
        ("/api/v1/alarms?limit=5", "id"),
        ("/api/v1/alarms?active=true&limit=23", "id"),
        ("/api/v1/tickets?limit=1", "id"),
        ("/api/v1/tickets?open=true&limit=22", "id"),
        ("/api/v1/reservations?limit=4", "id"),
        ("/api/v1/dead-letters?limit=7", "topic"),
    ] {
        let seen = walk(&router, path, key).await;
        let mut distinct: Vec<String> = seen.iter().map(Value::to_string).collect();
        distinct.sort();
        distinct.dedup();
        assert_eq!((seen.len(), distinct.len()), (23, 23), "{path}");
    }
    // Newest first: the last raised is the first listed.
    let seen = walk(&router, "/api/v1/alarms?limit=5", "id").await;
    assert!(alarms.iter().all(|id| seen.contains(id)));
}

#[tokio::test]
async fn an_asset_shows_its_health_and_open_tickets() {
    let world = World::new();
    let asset = world.add_asset("pump-1", "pump", "Pump 1", "Hall 1").await;
    let trend = Rul::Trend {
        p10_hours: 10.0,
        p50_hours: 20.0,
        p90_hours: 40.0,
    };
    world
        .commit(CommitBatch {
            health: vec![health(&asset, 41.5, &[("bearing-wear", 0.8)], trend)],
            statuses: vec![status(&asset, true, 1.0)],
            ..CommitBatch::default()
        })
        .await;
    world.open_ticket(&asset, "bearing-wear", 0.8, now()).await;
    let router = router(world.state);
    let shown = get(&router, "/api/v1/assets/pump-1").await.json();
    assert_eq!(shown["health"]["health_percent"], 41.5);
    assert_eq!(shown["health"]["prognoses"][0]["probability"], 0.8);
    assert_eq!(
        shown["health"]["rul"],
        json!({"kind": "trend", "p10_hours": 10.0, "p50_hours": 20.0, "p90_hours": 40.0})
    );
    assert_eq!(shown["n_open_tickets"], 1);
    let device = get(&router, "/api/v1/devices/pump-1").await.json();
    assert_eq!(device["online"], true);
    assert_eq!(device["status_at"], "2026-03-02T07:00:00Z");
}

#[tokio::test]
async fn registered_assets_are_listed_and_silenced_in_maintenance() {
    let world = World::new();
    let store = world.store.clone();
    let router = router(world.state);
    let body = json!({"assets": [{"id": "fan-1", "class": "fan", "site": "Roof"}, {"id": "pump-9", "class": "pump", "name": "Pump 9", "device_id": "d-9", "depot": "south"}]});
    let answer = post(&router, "/api/v1/assets", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert_eq!(
        get(&router, "/api/v1/assets/fan-1").await.json()["name"],
        "fan-1"
    );
    assert_eq!(
        get(&router, "/api/v1/devices/d-9").await.json()["asset_id"],
        "pump-9"
    );

    let path = "/api/v1/assets/pump-9/maintenance-windows";
    let window =
        json!({"from": "2026-03-02T09:00:00Z", "to": "2026-03-02T11:00:00+01:00", "why": "oil"});
    assert_eq!(
        post(&router, path, &window).await.status,
        StatusCode::CREATED
    );
    let windows = store.maintenance_windows(now()).await.unwrap();
    assert_eq!(windows.len(), 1);
    assert_eq!(
        (
            windows[0].device.as_str(),
            windows[0].to.to_string().as_str()
        ),
        ("d-9", "2026-03-02T10:00:00Z")
    );
    let backwards =
        json!({"from": "2026-03-02T09:00:00Z", "to": "2026-03-02T08:00:00Z", "why": ""});
    assert_eq!(
        post(&router, path, &backwards).await.problem(422)["field"],
        "to"
    );
}

#[tokio::test]
async fn telemetry_defaults_to_the_last_day_that_has_data() {
    let world = World::new();
    let asset = world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let newest = now().plus_hours(-1_000.0);
    let rows = (0..48_u32).map(|i| ScoredRow {
        row: Row {
            device: asset.device.clone(),
            ts: newest.plus_hours(-f64::from(i)),
            values: vec![Some(70.0), Some(f64::from(i)), None, None],
            extra: Vec::new(),
        },
        health: Some(90.0),
    });
    world
        .commit(CommitBatch {
            rows: rows.collect(),
            ..CommitBatch::default()
        })
        .await;
    let router = router(world.state);
    let shown = get(&router, "/api/v1/assets/pump-1/telemetry?points=5000")
        .await
        .json();
    let names: Vec<&str> = shown["series"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|s| !s["points"].as_array().unwrap().is_empty())
        .map(|s| s["metric"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["health", "load", "vibration"]);
    let vibration = shown["series"]
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["metric"] == "vibration")
        .unwrap();
    assert_eq!(vibration["unit"], "mm/s");
    assert_eq!(vibration["limits"]["critical_high"], 7.1);
    assert_eq!(vibration["limits"]["critical_low"], Value::Null);
    let points = vibration["points"].as_array().unwrap();
    // 24 hours back from just after the newest: its own reading and the 23 before.
    assert_eq!(points.len(), 24);
    assert_eq!(points.last().unwrap()["mean"], 0.0);

    let coarse = get(
        &router,
        "/api/v1/assets/pump-1/telemetry?points=3&metrics=vibration",
    )
    .await
    .json();
    let series = coarse["series"].as_array().unwrap();
    assert_eq!(series.len(), 1);
    let points = series[0]["points"].as_array().unwrap();
    assert!(points.len() <= 3);
    let n: u64 = points
        .iter()
        .map(|p| p["n_readings"].as_u64().unwrap())
        .sum();
    assert_eq!(n, 24);
}

#[tokio::test]
async fn gaps_of_a_series_are_filled_as_asked() {
    let world = World::new();
    let asset = world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let rows = [(0.0, 1.0), (4.0, 9.0)].map(|(hours, value)| ScoredRow {
        row: Row {
            device: asset.device.clone(),
            ts: now().plus_hours(hours),
            values: vec![None, Some(value), None, None],
            extra: Vec::new(),
        },
        health: None,
    });
    world
        .commit(CommitBatch {
            rows: rows.to_vec(),
            ..CommitBatch::default()
        })
        .await;
    let router = router(world.state);
    let path = "/api/v1/assets/pump-1/telemetry?metrics=vibration&points=5\
        &from=2026-03-02T08:00:00Z&to=2026-03-02T13:00:00Z";
    for (fill, means, counts) in [
        ("", json!([1.0, 9.0]), json!([1, 1])),
        ("&fill=none", json!([1.0, 9.0]), json!([1, 1])),
        (
            "&fill=previous",
            json!([1.0, 1.0, 1.0, 1.0, 9.0]),
            json!([1, 0, 0, 0, 1]),
        ),
        (
            "&fill=linear",
            json!([1.0, 3.0, 5.0, 7.0, 9.0]),
            json!([1, 0, 0, 0, 1]),
        ),
    ] {
        let shown = get(&router, &format!("{path}{fill}")).await.json();
        let points = shown["series"][0]["points"].as_array().unwrap();
        let of = |key: &str| Value::from_iter(points.iter().map(|p| p[key].clone()));
        assert_eq!((of("mean"), of("n_readings")), (means, counts), "{fill}");
    }
}

#[tokio::test]
async fn the_newest_readings_of_the_fleet_come_in_pages() {
    let world = World::new();
    for i in 0..7 {
        let asset = world
            .add_asset(&format!("pump-{i}"), "pump", "Pump", "")
            .await;
        if i == 3 {
            continue;
        }
        let rows = [2.0, 1.0].map(|hours| ScoredRow {
            row: Row {
                device: asset.device.clone(),
                ts: now().plus_hours(hours),
                values: vec![None, Some(hours), None, None],
                extra: Vec::new(),
            },
            health: (i == 0).then_some(62.5),
        });
        world
            .commit(CommitBatch {
                rows: rows.to_vec(),
                ..CommitBatch::default()
            })
            .await;
    }
    let router = router(world.state);
    let path = "/api/v1/telemetry/latest?limit=2";
    let seen = walk(&router, path, "device_id").await;
    assert_eq!(
        seen,
        ["pump-0", "pump-1", "pump-2", "pump-4", "pump-5", "pump-6"]
    );
    let page = get(&router, path).await.json();
    assert_eq!(
        page["items"][0],
        json!({"device_id": "pump-0", "ts": "2026-03-02T10:00:00Z", "health_percent": 62.5, "values": {"vibration": 2.0}})
    );
    assert_eq!(page["items"][1]["health_percent"], Value::Null);
}

#[tokio::test]
async fn a_repeated_post_counts_once_and_answers_the_same() {
    let world = World::new();
    let asset = world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let (ticket, _) = world.open_ticket(&asset, "seal-leak", 0.8, now()).await;
    let batch = raised(&asset, "seal-leak", Severity::Critical, now());
    let alarm = batch.alarms[0].alarm().id.0.clone();
    world.commit(batch).await;
    let router = router(world.state);
    let window = json!({"from": "2026-03-02T09:00:00Z", "to": "2026-03-02T10:00:00Z", "why": ""});
    for (path, body, status) in [
        (
            "/api/v1/parts/BRG-6310/receipts".to_owned(),
            json!({"depot": "north", "quantity": 3}),
            201,
        ),
        (
            format!("/api/v1/tickets/{}/transitions", ticket.id.0),
            json!({"to": "triaged"}),
            200,
        ),
        (
            format!("/api/v1/tickets/{}/assignment", ticket.id.0),
            json!({"technician": "Ben Okafor", "why": "knows it"}),
            200,
        ),
        (
            format!("/api/v1/alarms/{alarm}/acknowledge"),
            json!({}),
            200,
        ),
        (
            "/api/v1/assets".to_owned(),
            json!({"assets": [{"id": "fan-1", "class": "fan"}]}),
            201,
        ),
        (
            "/api/v1/assets/pump-1/maintenance-windows".to_owned(),
            window,
            201,
        ),
    ] {
        let key = [("idempotency-key", path.as_str())];
        let first = ask(&router, "POST", &path, &key, &body.to_string()).await;
        assert_eq!(first.status.as_u16(), status, "{path}: {}", first.text);
        let again = ask(&router, "POST", &path, &key, &body.to_string()).await;
        assert_eq!(
            (again.status, again.text),
            (first.status, first.text),
            "{path}"
        );
        let other = ask(&router, "POST", &path, &key, "{\"else\":1}")
            .await
            .problem(422);
        assert_eq!(other["field"], "Idempotency-Key");
    }
    let parts = get(&router, "/api/v1/parts").await.json();
    let bearing = &parts["items"][0];
    assert_eq!(
        (&bearing["number"], &bearing["lead_time_hours"]),
        (&json!("BRG-6310"), &json!(48.0))
    );
    assert_eq!(bearing["stock"][0]["on_hand"], 9);
    // What was refused may be tried again with the same key.
    let path = "/api/v1/parts/BRG-6310/receipts";
    let key = [("idempotency-key", "second")];
    ask(
        &router,
        "POST",
        path,
        &key,
        "{\"depot\":\"moon\",\"quantity\":1}",
    )
    .await
    .problem(422);
    let answer = ask(
        &router,
        "POST",
        path,
        &key,
        "{\"depot\":\"south\",\"quantity\":1}",
    )
    .await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let missing = post(&router, path, &json!({"depot": "south", "quantity": 1}))
        .await
        .problem(400);
    assert_eq!(missing["field"], "Idempotency-Key");
    let key = [("idempotency-key", "")];
    ask(
        &router,
        "POST",
        path,
        &key,
        "{\"depot\":\"south\",\"quantity\":1}",
    )
    .await
    .problem(400);
}

#[tokio::test]
async fn an_acknowledged_alarm_stays_active() {
    let world = World::new();
    let asset = world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let batch = raised(&asset, "bearing-wear", Severity::Critical, now());
    let id = batch.alarms[0].alarm().id.0.clone();
    world.commit(batch).await;
    let router = router(world.state);
    let alarm = post(
        &router,
        &format!("/api/v1/alarms/{id}/acknowledge"),
        &json!({}),
    )
    .await
    .json();
    assert_eq!(
        (&alarm["active"], &alarm["acknowledged"]),
        (&json!(true), &json!(true))
    );
    let listed = get(&router, "/api/v1/alarms?active=true&device=pump-1")
        .await
        .json();
    assert_eq!(listed["items"][0]["acknowledged"], true);
    let ended = get(&router, "/api/v1/alarms?active=false").await.json();
    assert_eq!(ended["items"], json!([]));
    post(&router, "/api/v1/alarms/nope/acknowledge", &json!({}))
        .await
        .problem(404);
}

#[tokio::test]
async fn dead_letters_keep_what_is_no_text() {
    let world = World::new();
    let letter = |payload: &[u8], reason| Rejection {
        received_at: now(),
        topic: "devices/x/telemetry".to_owned(),
        reason,
        detail: "why".to_owned(),
        payload: payload.to_vec(),
        payload_bytes: 99,
    };
    let rejections = vec![
        letter(b"{<x>", RejectReason::InvalidJson),
        letter(&[0xff, 0x00], RejectReason::InvalidUtf8),
    ];
    world
        .commit(CommitBatch {
            rejections,
            ..CommitBatch::default()
        })
        .await;
    let router = router(world.state);
    let bytes = get(&router, "/api/v1/dead-letters?reason=invalid_utf8")
        .await
        .json();
    assert_eq!(bytes["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        (
            &bytes["items"][0]["payload_hex"],
            &bytes["items"][0]["payload_text"]
        ),
        (&json!("ff00"), &Value::Null)
    );
    let text = get(&router, "/api/v1/dead-letters?reason=invalid_json")
        .await
        .json();
    assert_eq!(text["items"][0]["payload_text"], "{<x>");
}

#[tokio::test]
async fn a_large_answer_to_a_request_with_a_key_is_passed_on() {
    let world = World::new();
    let asset = world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let mut alarm = fixture::alarm(&asset, "bearing-wear", Severity::Critical, now());
    alarm.contributions[0].reason = "x".repeat(100_000);
    let path = format!("/api/v1/alarms/{}/acknowledge", alarm.id.0);
    world
        .commit(CommitBatch {
            alarms: vec![AlarmChange::Raised(alarm)],
            ..CommitBatch::default()
        })
        .await;
    let router = router(world.state);
    let key = [("idempotency-key", "large")];
    for _ in 0..2 {
        let answer = ask(&router, "POST", &path, &key, "{}").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert!(answer.text.len() > 100_000, "{}", answer.text.len());
    }
}
