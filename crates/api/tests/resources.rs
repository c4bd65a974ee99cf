//! What each resource answers.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

mod fixture;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use fixture::ask::{ask, get, post, send};
use fixture::{TOKEN, World, health, now, raised, status};
use forecare_api::router;
use forecare_domain::{
    AlarmChange, AssetHealth, DeviceId, ModeName, Prognosis, RejectReason, Rejection, Row, Rul,
    Severity,
};
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
async fn a_ticket_goes_its_way_with_etags_and_a_finding() {
    let world = World::new();
    let asset = world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let (ticket, reservations) = world.open_ticket(&asset, "bearing-wear", 0.8, now()).await;
    let router = router(world.state);
    let path = format!("/api/v1/tickets/{}", ticket.id);
    let read = get(&router, &path).await;
    let etag = read.header("etag").to_owned();
    let shown = read.json();
    assert_eq!(shown["state"], "new");
    assert_eq!(shown["can_become"], json!(["triaged", "cancelled"]));
    assert_eq!(shown["decision"]["currency"], "EUR");
    assert_eq!(shown["contributions"][0]["name"], "vibration");
    assert_eq!(
        shown["reservations"].as_array().unwrap().len(),
        reservations.len()
    );
    assert_eq!(shown["history"][0]["to"], "new");

    let steps = format!("{path}/transitions");
    let triage = json!({"to": "triaged", "why": "looks right"}).to_string();
    let first = ask(&router, "POST", &steps, &[("if-match", &etag)], &triage).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text);
    assert_ne!(first.header("etag"), etag);
    let moved = first.json();
    assert_eq!(moved["history"][1]["by"], "Lena");
    assert_eq!(moved["history"][1]["channel"], "api");

    let stale = ask(&router, "POST", &steps, &[("if-match", &etag)], &triage)
        .await
        .problem(412);
    assert_eq!(stale["current_version"], moved["version"]);
    ask(&router, "POST", &steps, &[("if-match", "\"x\"")], &triage)
        .await
        .problem(400);
    post(&router, &steps, &json!({"to": "closed"}))
        .await
        .problem(422);
    assert_eq!(
        post(&router, &steps, &json!({"to": "flying"}))
            .await
            .problem(422)["field"],
        "to"
    );
    for to in ["dispatched", "accepted", "in_progress"] {
        let answer = post(
            &router,
            &steps,
            &json!({"to": to, "technician": "Ben Okafor"}),
        )
        .await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    // Resolution takes a finding.
    post(&router, &steps, &json!({"to": "resolved"}))
        .await
        .problem(422);
    let resolve = json!({"to": "resolved", "finding": {"verdict": "confirmed", "failure_code": "VIB"}, "parts_used": {"BRG-6310": 2}});
    let resolved = post(&router, &steps, &resolve).await.json();
    assert_eq!(
        (&resolved["state"], &resolved["open"]),
        (&json!("resolved"), &json!(false))
    );
    assert_eq!(resolved["technician"], "Ben Okafor");
    let labels = get(&router, "/api/v1/labels").await.json();
    assert_eq!(
        labels["items"][0]["finding"],
        json!({"verdict": "confirmed", "failure_code": "VIB"})
    );
    let ledger = get(&router, "/api/v1/ledger").await.json();
    assert_eq!(
        (&ledger["items"][0]["kind"], &ledger["items"][0]["delta"]),
        (&json!("consumed"), &json!(-2))
    );
}

#[tokio::test]
async fn a_ticket_shows_its_service_levels_and_takes_a_planners_word() {
    let world = World::new();
    let asset = world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let opened_at = now().plus_hours(-36.0);
    let (ticket, _) = world
        .open_ticket(&asset, "bearing-wear", 0.8, opened_at)
        .await;
    let router = router(world.state);
    let path = format!("/api/v1/tickets/{}", ticket.id);
    let shown = get(&router, &path).await.json();
    assert_eq!(shown["sla"][0]["clock"], "first_response");
    assert_eq!(shown["sla"][0]["state"], "breached");
    assert_eq!(shown["sla"][1]["state"], "running");
    assert_eq!(shown["sla"][1]["fraction"], 0.75);
    assert_eq!(shown["sla"][1]["due_at"], "2026-03-02T20:00:00Z");
    assert_eq!(
        (&shown["assignment"], &shown["proposal"]),
        (&Value::Null, &Value::Null)
    );

    let assignment = format!("{path}/assignment");
    for (body, field) in [
        (json!({"technician": "Ben Okafor", "why": " "}), "why"),
        (
            json!({"start_at": "2026-03-03T08:00:00Z", "why": "x"}),
            "start_at",
        ),
    ] {
        assert_eq!(
            post(&router, &assignment, &body).await.problem(422)["field"],
            field
        );
    }
    let body =
        json!({"technician": "Ben Okafor", "start_at": "2026-03-03T08:00:00Z", "why": "knows it"});
    let assigned = post(&router, &assignment, &body).await;
    assert_eq!(assigned.status, StatusCode::OK, "{}", assigned.text);
    assert!(!assigned.header("etag").is_empty());
    let assigned = assigned.json();
    assert_eq!(assigned["technician"], "Ben Okafor");
    assert_eq!(assigned["assignment"]["by"], "Lena");
    assert_eq!(assigned["assignment"]["start_at"], "2026-03-03T08:00:00Z");
    let back = post(&router, &assignment, &json!({"why": "on leave"}))
        .await
        .json();
    assert_eq!(back["assignment"], Value::Null);
    post(&router, &assignment, &json!({"why": "again"}))
        .await
        .problem(409);
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
async fn a_receipt_is_booked_once_even_by_another_process() {
    let world = World::new();
    let body = "{\"depot\":\"north\",\"quantity\":4}";
    for _ in 0..2 {
        // A new router has no memory of the first answer: the store has.
        let router = router(world.state.clone());
        let key = [("idempotency-key", "delivery-17")];
        let answer = ask(
            &router,
            "POST",
            "/api/v1/parts/SEAL-45/receipts",
            &key,
            body,
        )
        .await;
        assert_eq!(answer.json()["on_hand"], 4, "{}", answer.text);
    }
}

#[tokio::test]
async fn every_kind_of_movement_is_booked_and_refusals_say_why() {
    let world = World::new();
    let asset = world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let (ticket, _) = world.open_ticket(&asset, "seal-leak", 0.8, now()).await;
    let router = router(world.state);
    let path = "/api/v1/parts/BRG-6310/movements";
    let n = std::cell::Cell::new(0);
    let ask_for = async |body: Value| {
        n.set(n.get() + 1);
        let key = format!("move-{}", n.get());
        ask(
            &router,
            "POST",
            path,
            &[("idempotency-key", &key)],
            &body.to_string(),
        )
        .await
    };
    for (body, on_hand) in [
        (
            json!({"kind": "receipt", "depot": "north", "quantity": 4, "bin": "A-12"}),
            10,
        ),
        (
            json!({"kind": "issue", "depot": "north", "quantity": 2, "cost_centre": "workshop"}),
            8,
        ),
        (
            json!({"kind": "issue", "depot": "north", "quantity": 1, "ticket": ticket.id.to_string()}),
            7,
        ),
        (
            json!({"kind": "return", "depot": "north", "quantity": 1, "ticket": ticket.id.to_string(), "fate": "repair"}),
            7,
        ),
        (
            json!({"kind": "repaired", "depot": "north", "quantity": 1}),
            8,
        ),
        (
            json!({"kind": "return", "depot": "north", "quantity": 1, "cost_centre": "workshop"}),
            9,
        ),
        (
            json!({"kind": "transfer", "depot": "north", "quantity": 2, "to": "south"}),
            7,
        ),
        (
            json!({"kind": "count", "depot": "north", "quantity": 5, "reason": "stock-take"}),
            5,
        ),
        (
            json!({"kind": "scrap", "depot": "north", "quantity": 1, "reason": "dropped"}),
            4,
        ),
    ] {
        let answer = ask_for(body.clone()).await;
        assert_eq!(
            answer.status,
            StatusCode::CREATED,
            "{body}: {}",
            answer.text
        );
        let moved = answer.json();
        assert_eq!(moved["stock"]["on_hand"], on_hand, "{body}: {moved}");
        assert_eq!(moved["stock"]["bin"], "A-12");
        assert_eq!(moved["repeated"], false);
        assert_eq!(moved["there"].is_object(), body["kind"] == "transfer");
    }
    let ledger = get(&router, "/api/v1/ledger").await.json();
    assert_eq!(ledger["items"][0]["kind"], "scrap");
    assert_eq!(ledger["items"][0]["reason"], "dropped");
    assert_eq!(ledger["items"][1]["delta"], -2, "what the count missed");
    for (body, status, field) in [
        (
            json!({"kind": "issue", "depot": "north", "quantity": 9, "cost_centre": "x"}),
            409,
            None,
        ),
        (
            json!({"kind": "return", "depot": "north", "quantity": 9, "cost_centre": "x"}),
            409,
            None,
        ),
        (
            json!({"kind": "count", "depot": "north", "quantity": 9}),
            409,
            None,
        ),
        (
            json!({"kind": "issue", "depot": "north", "quantity": 1}),
            422,
            Some("ticket"),
        ),
        (
            json!({"kind": "issue", "depot": "north", "quantity": 1, "ticket": "T-999"}),
            422,
            Some("ticket"),
        ),
        (
            json!({"kind": "issue", "depot": "north", "quantity": 1, "ticket": "x"}),
            422,
            Some("ticket"),
        ),
        (
            json!({"kind": "receipt", "depot": "moon", "quantity": 1}),
            422,
            Some("depot"),
        ),
        (
            json!({"kind": "transfer", "depot": "north", "quantity": 1, "to": "moon"}),
            422,
            Some("to"),
        ),
        (
            json!({"kind": "transfer", "depot": "north", "quantity": 1}),
            422,
            Some("to"),
        ),
        (
            json!({"kind": "receipt", "depot": "north", "quantity": 0}),
            422,
            Some("quantity"),
        ),
        (
            json!({"kind": "receipt", "depot": "north", "quantity": 1, "to": "south"}),
            422,
            Some("to"),
        ),
        (
            json!({"kind": "receipt", "depot": "n/a", "quantity": 1}),
            422,
            Some("depot"),
        ),
        (
            json!({"kind": "scrap", "depot": "north", "quantity": 1, "reason": "a\nb"}),
            422,
            Some("reason"),
        ),
    ] {
        let problem = ask_for(body.clone()).await.problem(status);
        assert_eq!(problem["field"].as_str(), field, "{body}: {problem}");
    }
    let unknown = "/api/v1/parts/NO-1/movements";
    let body = "{\"kind\":\"receipt\",\"depot\":\"north\",\"quantity\":1}";
    ask(&router, "POST", unknown, &[("idempotency-key", "n")], body)
        .await
        .problem(404);
}

#[tokio::test]
async fn an_order_on_its_way_can_be_promised_and_is_counted_by_its_receipts() {
    let world = World::new();
    let router = router(world.state);
    let put = async |id: &str, body: Value| {
        let path = format!("/api/v1/purchase-orders/{id}");
        ask(&router, "PUT", &path, &[], &body.to_string()).await
    };
    let due = now().plus_hours(48.0);
    let body = json!({"part": "BRG-6310", "depot": "north", "quantity": 5, "due_at": due});
    for _ in 0..2 {
        let order = put("PO-7", body.clone()).await;
        assert_eq!(order.status, StatusCode::OK, "{}", order.text);
        let order = order.json();
        assert_eq!(
            (&order["outstanding"], &order["received"]),
            (&json!(5), &json!(0))
        );
    }
    let availability = async |query: &str| -> Vec<(i64, i64)> {
        let path = format!("/api/v1/parts/BRG-6310/availability{query}");
        let body = get(&router, &path).await.json();
        let points = body["points"].as_array().unwrap().iter();
        let n = |p: &Value, name: &str| p[name].as_i64().unwrap();
        points
            .map(|p| (n(p, "projected"), n(p, "promisable")))
            .collect()
    };
    assert_eq!(availability("?depot=north").await, [(6, 6), (11, 11)]);
    assert_eq!(availability("?depot=south").await, [(0, 0)]);
    let receipt = json!({"kind": "receipt", "depot": "north", "quantity": 2, "order": "PO-7"});
    let path = "/api/v1/parts/BRG-6310/movements";
    let key = [("idempotency-key", "r1")];
    let answer = ask(&router, "POST", path, &key, &receipt.to_string()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert_eq!(availability("").await, [(8, 8), (11, 11)]);
    let orders = get(&router, "/api/v1/purchase-orders?open=true")
        .await
        .json();
    assert_eq!(orders["items"][0]["outstanding"], 3);
    let key = [("idempotency-key", "r2")];
    let unknown = json!({"kind": "receipt", "depot": "north", "quantity": 2, "order": "PO-8"});
    let problem = ask(&router, "POST", path, &key, &unknown.to_string())
        .await
        .problem(422);
    assert_eq!(problem["field"], "order");
    for (wrong, field) in [
        (
            json!({"part": "NO-1", "depot": "north", "quantity": 5, "due_at": due}),
            "part",
        ),
        (
            json!({"part": "BRG-6310", "depot": "moon", "quantity": 5, "due_at": due}),
            "depot",
        ),
        (
            json!({"part": "BRG-6310", "depot": "north", "quantity": 0, "due_at": due}),
            "quantity",
        ),
    ] {
        assert_eq!(put("PO-9", wrong).await.problem(422)["field"], field);
    }
    get(&router, "/api/v1/parts/NO-1/availability")
        .await
        .problem(404);
}

#[tokio::test]
async fn what_to_order_follows_the_probabilities_of_the_fleet() {
    let world = World::new();
    for n in 0..20 {
        let id = format!("pump-{n}");
        world.add_asset(&id, "pump", &id, "").await;
    }
    let health = |probability: f64| {
        let health = (0..20).map(|n| AssetHealth {
            device: DeviceId::new(format!("pump-{n}")).unwrap(),
            at: now(),
            health: 60.0,
            anomaly: 0.1,
            prognoses: vec![Prognosis {
                mode: ModeName::new("bearing-wear").unwrap(),
                probability,
                horizon_hours: 48.0,
                contributions: Vec::new(),
            }],
            rul: Rul::NoTrend,
        });
        CommitBatch {
            health: health.collect(),
            ..CommitBatch::default()
        }
    };
    world.commit(health(0.001)).await;
    let store = world.store.clone();
    let router = router(world.state);
    let bearing =
        async || get(&router, "/api/v1/reorder-proposals").await.json()["items"][0].clone();
    let calm = bearing().await;
    assert_eq!(calm["part"], "BRG-6310");
    assert_eq!(
        (&calm["quantity"], &calm["machines_at_risk"]),
        (&json!(0), &json!(20))
    );
    let mut later = health(0.5);
    for h in &mut later.health {
        h.at = now().plus_hours(0.1);
    }
    store.commit_batch(later).await.unwrap();
    let alarmed = bearing().await;
    assert!(alarmed["quantity"].as_u64().unwrap() > 10, "{alarmed}");
    assert!(
        alarmed["short_probability"].as_f64().unwrap() > 0.9,
        "{alarmed}"
    );
    assert!(
        alarmed["expected_predicted"].as_f64().unwrap() > 10.0,
        "{alarmed}"
    );
    assert_eq!(alarmed["likeliest"].as_array().unwrap().len(), 5);
    assert!(
        alarmed["why"]
            .as_str()
            .unwrap()
            .contains("20 machines with a prognosis")
    );
    let csv = get(&router, "/api/v1/reorder-proposals?format=csv").await;
    assert!(csv.header("content-type").starts_with("text/csv"));
    assert!(
        csv.text
            .lines()
            .nth(1)
            .unwrap()
            .starts_with("\"BRG-6310\","),
        "{}",
        csv.text
    );
    get(&router, "/api/v1/reorder-proposals?format=xml")
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

#[tokio::test]
async fn a_person_opens_a_ticket_and_reads_why_it_is_so_urgent() {
    let world = World::new();
    world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let router = router(world.state);
    let body = json!({
        "asset_id": "pump-1", "kind": "corrective", "description": "It leaks\non the floor.",
        "safety": true, "production": "reduced",
    });
    let key = [("idempotency-key", "k-1")];
    let first = ask(&router, "POST", "/api/v1/tickets", &key, &body.to_string()).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
    assert_eq!(first.header("location"), "/api/v1/tickets/1");
    assert_eq!(first.header("etag"), "\"1\"");
    let ticket = first.json();
    assert_eq!(ticket["kind"], "corrective");
    assert_eq!(ticket["title"], "Pump 1: Repair");
    assert_eq!(ticket["priority"], "P1");
    assert_eq!(
        ticket["origin"],
        json!({"from": "person", "by": "Lena", "channel": "api"})
    );
    assert_eq!(
        (&ticket["mode"], &ticket["decision"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(ticket["report"]["description"], "It leaks\non the floor.");
    let why = ticket["history"][0]["why"].as_str().unwrap();
    assert!(
        why.starts_with(
            "P1: impact high x urgency high (production is reduced; somebody may get hurt)"
        ),
        "{why}"
    );
    assert_eq!(ticket["checklist"][0]["required"], true);
    assert_eq!(ticket["verdicts"][0], "done");
    let again = ask(&router, "POST", "/api/v1/tickets", &key, &body.to_string()).await;
    assert_eq!((again.status, again.text), (first.status, first.text));

    let steps = "/api/v1/tickets/1/transitions";
    for to in ["triaged", "dispatched", "accepted", "in_progress"] {
        post(&router, steps, &json!({"to": to})).await;
    }
    let finding = |verdict: &str| json!({"to": "resolved", "finding": {"verdict": verdict}});
    let refused = post(&router, steps, &finding("too_early"))
        .await
        .problem(422);
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("none for a ticket from a person")
    );
    let refused = post(&router, steps, &finding("done")).await.problem(422);
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("Lock out and tag out")
    );
    assert_eq!(
        get(&router, "/api/v1/labels").await.json()["items"],
        json!([])
    );
}

#[tokio::test]
async fn an_opening_names_the_field_that_is_wrong() {
    let world = World::new();
    world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let router = router(world.state);
    let base = json!({"asset_id": "pump-1", "kind": "installation", "fields": {"order_number": "4711", "voltage": "400 V"}});
    let opened = post(&router, "/api/v1/tickets", &base).await;
    assert_eq!(opened.status, StatusCode::CREATED, "{}", opened.text);
    assert_eq!(
        opened.json()["fields"],
        json!({"order_number": "4711", "voltage": "400 V"})
    );
    let with = |key: &str, value: Value| {
        let mut body = base.clone();
        body[key] = value;
        body
    };
    for (body, field) in [
        (with("asset_id", json!("pump-9")), "asset_id"),
        (with("asset_id", json!("no/name")), "asset_id"),
        (with("kind", json!("party")), "kind"),
        (with("title", json!("x".repeat(201))), "title"),
        (with("description", json!("x".repeat(4001))), "description"),
        (with("mode", json!("a b")), "mode"),
        (with("fields", json!({})), "fields.order_number"),
        (
            with("fields", json!({"order_number": "1", "voltage": "9 V"})),
            "fields.voltage",
        ),
        (
            with("fields", json!({"order_number": "1", "colour": "red"})),
            "fields.colour",
        ),
    ] {
        let problem = post(&router, "/api/v1/tickets", &body).await.problem(422);
        assert_eq!(problem["field"], field, "{problem}");
    }
    post(
        &router,
        "/api/v1/tickets",
        &with("urgency", json!("yesterday")),
    )
    .await
    .problem(422);
    post(&router, "/api/v1/tickets", &with("colour", json!("red")))
        .await
        .problem(422);
}

#[tokio::test]
async fn work_on_a_ticket_is_kept_with_it() {
    let world = World::new();
    world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let router = router(world.state);
    for _ in 0..2 {
        let body = json!({"asset_id": "pump-1", "kind": "corrective"});
        post(&router, "/api/v1/tickets", &body).await;
    }
    let path = "/api/v1/tickets/1/work";
    for body in [
        json!({"work": "note", "text": "Oil on the floor", "visibility": "public"}),
        json!({"work": "time", "minutes": 45, "what": "looked"}),
        json!({"work": "check", "item": 0, "done": true}),
    ] {
        let done = post(&router, path, &body).await;
        assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    }
    let ticket = get(&router, "/api/v1/tickets/1").await.json();
    assert_eq!(ticket["checklist"][0]["done_by"], "Lena");
    for (body, status, field) in [
        (json!({"work": "note", "text": " "}), 422, "text"),
        (json!({"work": "time", "minutes": 0}), 422, "minutes"),
        (
            json!({"work": "check", "item": 7, "done": true}),
            422,
            "item",
        ),
        (
            json!({"work": "fields", "fields": {"x": 1}}),
            422,
            "fields.x",
        ),
        (json!({"work": "merge", "into": 1}), 422, "into"),
    ] {
        let problem = post(&router, path, &body).await.problem(status);
        assert_eq!(problem["field"], field, "{problem}");
    }
    let used = json!({"work": "parts_used", "parts_used": {"BRG-6310": 1}});
    post(&router, path, &used).await.problem(409);
    post(&router, path, &json!({"work": "merge", "into": 99}))
        .await
        .problem(404);

    let png = "\u{89}";
    let upload = |name: &'static str, media: &'static str, body: &'static str| {
        let router = router.clone();
        async move {
            let path = format!("/api/v1/tickets/1/attachments?name={name}&signed_by=Ada");
            let request = Request::post(&path)
                .header("authorization", format!("Bearer {TOKEN}"))
                .header("content-type", media);
            send(&router, request.body(Body::from(body)).unwrap()).await
        }
    };
    let taken = upload("gr%C3%BC%C3%9Fe.txt", "text/plain; charset=utf-8", "hello").await;
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.text);
    let refused = upload("a.png", "image/png", png).await.problem(422);
    assert_eq!(refused["field"], "content");
    let refused = upload("a.html", "text/html", "<script>").await.problem(422);
    assert_eq!(refused["field"], "Content-Type");

    let entries = get(&router, "/api/v1/tickets/1/entries").await.json();
    let kinds: Vec<&str> = entries["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["entry"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["attachment", "time", "note"]);
    let file = &entries["items"][0];
    assert_eq!(
        (&file["bytes"], &file["signed_by"]),
        (&json!(5), &json!("Ada"))
    );
    assert_eq!(
        file["sha256"],
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    );
    let address = format!("/api/v1/tickets/1/attachments/{}", file["id"]);
    let read = get(&router, &address).await;
    assert_eq!((read.status, read.text.as_str()), (StatusCode::OK, "hello"));
    assert_eq!(read.header("content-type"), "text/plain");
    assert_eq!(read.header("x-content-type-options"), "nosniff");
    assert_eq!(
        read.header("content-disposition"),
        "attachment; filename*=UTF-8''gr%C3%BC%C3%9Fe.txt"
    );
    get(&router, "/api/v1/tickets/2/attachments/1")
        .await
        .problem(404);

    let merged = post(
        &router,
        "/api/v1/tickets/2/work",
        &json!({"work": "merge", "into": 1, "why": "same leak"}),
    )
    .await
    .json();
    assert_eq!(
        (&merged["state"], &merged["merged_into"]),
        (&json!("cancelled"), &json!(1))
    );
    let entries = get(&router, "/api/v1/tickets/1/entries").await.json();
    assert_eq!(
        entries["items"][0]["text"],
        "T-2 was merged into this ticket: same leak"
    );
}

#[tokio::test]
async fn a_follow_up_knows_its_parent_and_exports_have_own_fields() {
    let world = World::new();
    world.add_asset("pump-1", "pump", "=Pump, \"1\"", "").await;
    let router = router(world.state);
    let body = json!({"asset_id": "pump-1", "kind": "corrective"});
    post(&router, "/api/v1/tickets", &body).await;
    let body = json!({"asset_id": "pump-1", "kind": "installation", "parent_id": 1,
        "fields": {"order_number": "@4711"}});
    let child = post(&router, "/api/v1/tickets", &body).await.json();
    assert_eq!(child["parent_id"], 1);
    let children = get(&router, "/api/v1/tickets?parent=T-1").await.json();
    assert_eq!(children["items"][0]["id"], 2);
    let csv = get(&router, "/api/v1/tickets/export").await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    let lines: Vec<&str> = csv.text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("id,kind,origin,asset_id,"));
    assert!(lines[0].ends_with(",procedure,field.order_number"));
    assert!(
        lines[1].starts_with("2,installation,person,pump-1,,new,"),
        "{}",
        lines[1]
    );
    assert!(
        lines[1].contains("\"'=Pump, \"\"1\"\": Installation\"") && lines[1].ends_with(",'@4711"),
        "{}",
        lines[1]
    );
    let json = get(&router, "/api/v1/tickets/export?format=json&open=true")
        .await
        .json();
    assert_eq!(json[0]["fields"]["order_number"], "@4711");
    get(&router, "/api/v1/tickets/export?format=xml")
        .await
        .problem(400);
}
