//! The event stream, and the service on a socket.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

mod fixture;

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use fixture::{TOKEN, World, health, now, raised};
use forecare_api::{StreamEvent, router, serve};
use forecare_domain::{AlarmChange, Rul, Severity};
use forecare_store::Store;
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt;

/// Nothing here takes as long: a hang is a failure.
const DEADLINE: Duration = Duration::from_secs(20);

async fn connect(router: axum::Router) -> BodyDataStream {
    let request = Request::get("/api/v1/stream").header("authorization", format!("Bearer {TOKEN}"));
    let response = router
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body().into_data_stream()
}

/// Reads until `wanted` has come.
async fn read_until(stream: &mut BodyDataStream, wanted: &str) -> String {
    let mut text = String::new();
    let reading = async {
        while !text.contains(wanted) {
            let chunk = stream.next().await.unwrap().unwrap();
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    tokio::time::timeout(DEADLINE, reading).await.unwrap();
    text
}

#[tokio::test]
async fn events_arrive_with_their_types_and_ids() {
    let world = World::new();
    let asset = world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let (ticket, reservations) = world.open_ticket(&asset, "bearing-wear", 0.8, now()).await;
    let AlarmChange::Raised(alarm) = raised(&asset, "bearing-wear", Severity::Critical, now())
        .alarms
        .remove(0)
    else {
        unreachable!()
    };
    let sender = world.state.stream.clone();
    let mut stream = connect(router(world.state)).await;
    read_until(&mut stream, "connected").await;
    for (event, name, within) in [
        (
            StreamEvent::Alarm(AlarmChange::Escalated(alarm)),
            "alarm",
            "\"change\":\"escalated\"",
        ),
        (
            StreamEvent::Ticket(Box::new(ticket)),
            "ticket",
            "\"asset_id\":\"pump-1\"",
        ),
        (
            StreamEvent::Reservation(reservations[0].clone()),
            "reservation",
            "\"part\":",
        ),
        (
            StreamEvent::Health(health(&asset, 50.0, &[], Rul::NoTrend)),
            "health",
            "\"health_percent\":50.0",
        ),
    ] {
        sender.send(event).unwrap();
        let text = read_until(&mut stream, "\n\n").await;
        assert!(text.starts_with(&format!("event: {name}\n")), "{text}");
        assert!(text.contains(within), "{text}");
    }
}

#[tokio::test]
async fn an_alarm_on_the_stream_is_acknowledged_where_somebody_has_seen_it() {
    let world = World::new();
    let asset = world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let batch = raised(&asset, "bearing-wear", Severity::Critical, now());
    let alarm = batch.alarms[0].alarm().clone();
    world.commit(batch).await;
    let (store, sender) = (world.store.clone(), world.state.stream.clone());
    let mut stream = connect(router(world.state)).await;
    read_until(&mut stream, "connected").await;
    for acknowledged in [false, true] {
        if acknowledged {
            let by = forecare_store::forecare();
            store
                .acknowledge_alarm(&alarm.id, &by, now())
                .await
                .unwrap();
        }
        let change = StreamEvent::Alarm(AlarmChange::Escalated(alarm.clone()));
        sender.send(change).unwrap();
        let text = read_until(&mut stream, "\n\n").await;
        let expected = format!("\"acknowledged\":{acknowledged}");
        assert!(text.contains(&expected), "{text}");
    }
}

#[tokio::test]
async fn a_slow_reader_is_told_what_it_missed_and_holds_nobody_up() {
    let world = World::new();
    let asset = world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let sender = world.state.stream.clone();
    let mut stream = connect(router(world.state)).await;
    read_until(&mut stream, "connected").await;
    // The channel of the fixture holds 8; the reader has taken none of 20.
    for i in 0..20 {
        let event = StreamEvent::Health(health(&asset, f64::from(i), &[], Rul::NoTrend));
        assert_eq!(sender.send(event).unwrap(), 1);
    }
    let text = read_until(&mut stream, "\"health_percent\":19.0").await;
    assert!(
        text.starts_with("event: lagged\ndata: {\"n_missed\":12}"),
        "{text}"
    );
    assert_eq!(text.matches("event: health").count(), 8);
}

#[tokio::test]
async fn shutdown_ends_streams_and_finishes() {
    let world = World::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(serve(listener, world.state, async move {
        stopped.await.unwrap();
    }));
    let mut reader = tokio::net::TcpStream::connect(address).await.unwrap();
    let request =
        format!("GET /api/v1/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
    reader.write_all(request.as_bytes()).await.unwrap();
    let mut seen = String::new();
    let mut buffer = [0_u8; 4096];
    while !seen.contains("connected") {
        let n = tokio::time::timeout(DEADLINE, reader.read(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        seen.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
    }
    stop.send(()).unwrap();
    tokio::time::timeout(DEADLINE, served)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_transition_is_seen_on_the_stream() {
    let world = World::new();
    let asset = world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let (ticket, _) = world.open_ticket(&asset, "bearing-wear", 0.8, now()).await;
    let store = world.store.clone();
    let router = router(world.state);
    let mut stream = connect(router.clone()).await;
    let path = format!("/api/v1/tickets/{}/transitions", ticket.id.0);
    fixture::ask::post(&router, &path, &serde_json::json!({"to": "triaged"})).await;
    let text = read_until(&mut stream, "\"state\":\"triaged\"").await;
    let version = store.ticket(ticket.id).await.unwrap().version;
    assert!(text.contains(&format!("\"version\":{version}")), "{text}");
}
