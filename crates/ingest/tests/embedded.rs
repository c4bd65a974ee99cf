//! The embedded broker, with real clients of both protocol versions.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use forecare_ingest::{EmbeddedBroker, EmbeddedConfig, IngestError, IngestStats, Source};
use support::device::Version::{V4, V5};
use support::device::{Device, Login, Seen, Version};
use support::{
    OwnTopics, batch, clock, embedded, embedded_config, limit, payloads, raw, until, within,
};

/// Another client's round trip to the broker: time in which a wrong acknowledgement would show.
async fn round_trip(broker: &EmbeddedBroker) {
    let mut other = Device::connect(V5, broker.local_addr(), &Login::anonymous("other")).await;
    other.subscribe("some/where").await;
    other.disconnect().await;
}

async fn acknowledged_only_after_commit(version: Version, qos: u8) {
    let (broker, mut source, stats) = embedded(embedded_config()).await;
    let mut device = Device::connect(version, broker.local_addr(), &Login::user("m1")).await;
    device
        .publish_as("devices/m1/telemetry", qos, false, "1", None)
        .await;
    let got = batch(&mut source, 10).await;
    assert_eq!(payloads(&got), ["1"]);
    assert_eq!(got.messages[0].topic, "devices/m1/telemetry");
    assert_eq!(got.messages[0].principal.as_deref(), Some("m1"));
    assert_eq!(got.messages[0].received_at.as_millis(), 1_700_000_000_000);

    let committed = Arc::new(AtomicBool::new(false));
    let seen = tokio::spawn({
        let committed = Arc::clone(&committed);
        async move {
            let seen = device.next().await;
            (seen, committed.load(Ordering::SeqCst))
        }
    });
    round_trip(&broker).await;
    assert_eq!((stats.in_flight(), stats.acked()), (1, 0));
    committed.store(true, Ordering::SeqCst);
    source.commit(got.position).await;
    let (seen, was_committed) = within("the acknowledgement", seen).await.unwrap();
    assert_eq!(seen, Seen::Acknowledged(true));
    assert!(was_committed, "acknowledged before the commit");
    assert_eq!((stats.in_flight(), stats.acked()), (0, 1));
}

#[tokio::test]
async fn puback_comes_after_the_commit_mqtt_3() {
    acknowledged_only_after_commit(V4, 1).await;
}

#[tokio::test]
async fn puback_comes_after_the_commit_mqtt_5() {
    acknowledged_only_after_commit(V5, 1).await;
}

#[tokio::test]
async fn qos_2_completes_after_the_commit() {
    acknowledged_only_after_commit(V4, 2).await;
    acknowledged_only_after_commit(V5, 2).await;
}

async fn abandoned_comes_again(version: Version, qos: u8) {
    let (broker, mut source, stats) = embedded(embedded_config()).await;
    let mut device = Device::connect(version, broker.local_addr(), &Login::user("m1")).await;
    device
        .publish_as("devices/m1/telemetry", qos, false, "1", None)
        .await;
    let got = batch(&mut source, 10).await;
    source.abandon(got.position).await;
    // Not acknowledged, but disconnected; the client comes back and sends it again.
    assert!(matches!(device.next().await, Seen::Lost(_)));
    assert_eq!(device.next().await, Seen::Connected);
    let again = batch(&mut source, 10).await;
    assert_eq!(payloads(&again), ["1"]);
    source.commit(again.position).await;
    assert_eq!(device.next().await, Seen::Acknowledged(true));
    assert_eq!((stats.abandoned(), stats.acked()), (1, 1));
    assert_eq!(stats.in_flight(), 0);
}

#[tokio::test]
async fn an_abandoned_message_is_not_acknowledged_and_comes_again() {
    for version in [V4, V5] {
        abandoned_comes_again(version, 1).await;
        abandoned_comes_again(version, 2).await;
    }
}

#[tokio::test]
async fn an_abandoned_qos_0_message_is_counted_as_lost() {
    let (broker, mut source, stats) = embedded(embedded_config()).await;
    let device = Device::connect(V5, broker.local_addr(), &Login::user("m1")).await;
    device
        .publish_as("devices/m1/telemetry", 0, false, "1", None)
        .await;
    let got = batch(&mut source, 10).await;
    source.abandon(got.position).await;
    device.publish("devices/m1/telemetry", "2").await;
    assert_eq!(payloads(&batch(&mut source, 10).await), ["2"]);
    assert_eq!(stats.qos0_dropped(), 1);
}

#[tokio::test]
async fn a_later_commit_waits_for_the_earlier_one() {
    let (broker, mut source, stats) = embedded(embedded_config()).await;
    let mut first = Device::connect(V5, broker.local_addr(), &Login::user("m1")).await;
    let mut second = Device::connect(V5, broker.local_addr(), &Login::user("m2")).await;
    first.publish("devices/m1/telemetry", "1").await;
    let one = batch(&mut source, 1).await;
    second.publish("devices/m2/telemetry", "2").await;
    let two = batch(&mut source, 1).await;
    source.commit(two.position).await;
    assert_eq!(stats.acked(), 0);
    source.commit(one.position).await;
    assert_eq!(first.next().await, Seen::Acknowledged(true));
    assert_eq!(second.next().await, Seen::Acknowledged(true));
}

#[tokio::test]
async fn when_nobody_commits_the_queue_stays_bounded_and_nothing_is_lost() {
    let queue_max = 4;
    let (broker, mut source, stats) = embedded(EmbeddedConfig {
        queue_max,
        ..embedded_config()
    })
    .await;
    let mut devices = Vec::new();
    for n in 0..20 {
        let user = format!("m{n}");
        let device = Device::connect(V5, broker.local_addr(), &Login::user(&user)).await;
        for reading in 0..5 {
            device
                .publish(
                    &format!("devices/{user}/telemetry"),
                    format!("{n}/{reading}"),
                )
                .await;
        }
        devices.push(device);
    }
    until("the queue to fill", || stats.queue_len() == queue_max).await;
    round_trip(&broker).await;
    assert_eq!(stats.queue_len(), queue_max);
    assert_eq!(stats.received(), queue_max as u64);
    for device in &mut devices {
        assert!(device.seen.try_recv().is_err(), "acknowledged uncommitted");
    }

    let mut stored = BTreeSet::new();
    while stored.len() < 100 {
        let got = batch(&mut source, 7).await;
        assert!(stats.queue_len() <= queue_max);
        stored.extend(payloads(&got));
        source.commit(got.position).await;
    }
    for device in &mut devices {
        for _ in 0..5 {
            assert_eq!(device.next().await, Seen::Acknowledged(true));
        }
    }
    assert_eq!((stats.received(), stats.acked()), (100, 100));
}

#[tokio::test]
async fn a_foreign_topic_is_refused_and_counted_mqtt_5() {
    let (broker, mut source, stats) = embedded(embedded_config()).await;
    let mut device = Device::connect(V5, broker.local_addr(), &Login::user("m1")).await;
    device.publish("devices/m2/telemetry", "forged").await;
    assert_eq!(device.next().await, Seen::Acknowledged(false));
    device.publish("v1/devices/me/telemetry", "own").await;
    let got = batch(&mut source, 10).await;
    assert_eq!(payloads(&got), ["own"]);
    assert_eq!(got.messages[0].principal.as_deref(), Some("m1"));
    assert_eq!(stats.refused_topic(), 1);
}

#[tokio::test]
async fn a_foreign_topic_closes_the_connection_mqtt_3() {
    // A PUBACK of MQTT 3.1.1 cannot say no.
    let (broker, _source, stats) = embedded(embedded_config()).await;
    let mut device = Device::connect(V4, broker.local_addr(), &Login::user("m1")).await;
    device.publish("devices/m2/telemetry", "forged").await;
    assert!(matches!(device.next().await, Seen::Lost(_)));
    assert!(stats.refused_topic() >= 1);
    assert_eq!(stats.received(), 0);
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_counted() {
    let (broker, _source, stats) = embedded(embedded_config()).await;
    for version in [V4, V5] {
        let login = Login {
            password: "guess",
            ..Login::user("m1")
        };
        let mut device = Device::start(version, broker.local_addr(), &login);
        assert!(matches!(device.next().await, Seen::Lost(_)));
    }
    assert!(stats.refused_auth() >= 2);
}

#[tokio::test]
async fn a_busy_port_is_named_with_the_fix() {
    let (broker, _source, _stats) = embedded(embedded_config()).await;
    let config = EmbeddedConfig {
        listen: broker.local_addr(),
        ..embedded_config()
    };
    let stats = Arc::new(IngestStats::default());
    let error = EmbeddedBroker::start(config, Arc::new(OwnTopics), clock(), stats)
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, IngestError::AddressInUse { .. }));
    assert_eq!(
        error.to_string(),
        format!(
            "port {} is in use by another program: stop it or set mqtt.listen to another address",
            broker.local_addr().port()
        )
    );
}

#[tokio::test]
async fn shutdown_stores_and_acknowledges_what_was_taken_then_ends() {
    let (broker, mut source, stats) = embedded(embedded_config()).await;
    let addr = broker.local_addr();
    // Raw, because rumqttc loses an acknowledgement that arrives together with the end.
    let mut devices = Vec::new();
    for n in 0..5 {
        let id = format!("m{n}");
        devices.push(raw::publish_once(addr, &id, "devices/m/telemetry", &id).await);
    }
    until("all to arrive", || stats.received() == 5).await;
    let shutdown = tokio::spawn(broker.shutdown());
    let mut stored = BTreeSet::new();
    while let Some(got) = within("a batch or the end", source.next_batch(limit(2))).await {
        stored.extend(payloads(&got));
        source.commit(got.position).await;
    }
    within("shutdown", shutdown).await.unwrap();
    assert_eq!(stored.len(), 5);
    for device in devices {
        let connack_puback = [0x20, 2, 0, 0, 0x40, 2, 0, 1];
        assert_eq!(raw::read_to_end(device).await, connack_puback);
    }
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    assert!(!stats.connected());
}

#[tokio::test]
async fn an_abandoned_message_gets_no_puback_at_all() {
    let (broker, mut source, _stats) = embedded(embedded_config()).await;
    let device = raw::publish_once(broker.local_addr(), "m1", "devices/m1/telemetry", "1").await;
    let got = batch(&mut source, 1).await;
    source.abandon(got.position).await;
    let connack = [0x20, 2, 0, 0];
    assert_eq!(raw::read_to_end(device).await, connack);
}

#[tokio::test]
async fn a_consumer_that_is_gone_gets_nobody_a_puback() {
    let (broker, mut source, _stats) = embedded(embedded_config()).await;
    let addr = broker.local_addr();
    let taken = raw::publish_once(addr, "m1", "devices/m1/telemetry", "1").await;
    let got = batch(&mut source, 1).await;
    let queued = raw::publish_once(addr, "m2", "devices/m2/telemetry", "2").await;
    drop((source, got));
    for device in [taken, queued] {
        assert_eq!(raw::read_to_end(device).await, [0x20, 2, 0, 0]);
    }
}

#[tokio::test]
async fn the_last_will_of_a_device_that_vanishes_arrives() {
    for version in [V4, V5] {
        let (broker, mut source, _stats) = embedded(embedded_config()).await;
        let login = Login {
            will: Some(("devices/m1/status", "offline")),
            ..Login::user("m1")
        };
        let device = Device::connect(version, broker.local_addr(), &login).await;
        drop(device);
        let got = batch(&mut source, 1).await;
        assert_eq!(got.messages[0].topic, "devices/m1/status");
        assert_eq!(payloads(&got), ["offline"]);
        assert_eq!(got.messages[0].principal.as_deref(), Some("m1"));
        let content_type = (version == V5).then_some("text/plain");
        assert_eq!(got.messages[0].content_type.as_deref(), content_type);
        // It has no publisher that would send it again.
        source.abandon(got.position).await;
        let again = batch(&mut source, 1).await;
        assert_eq!(payloads(&again), ["offline"]);
        source.commit(again.position).await;
    }
}

#[tokio::test]
async fn a_delayed_will_arrives_when_it_is_due() {
    let (broker, mut source, _stats) = embedded(embedded_config()).await;
    let login = Login {
        will: Some(("devices/m1/status", "offline")),
        will_delay_s: Some(1),
        ..Login::user("m1")
    };
    let started = std::time::Instant::now();
    drop(Device::connect(V5, broker.local_addr(), &login).await);
    assert_eq!(payloads(&batch(&mut source, 1).await), ["offline"]);
    assert!(started.elapsed().as_millis() >= 1_000);
}

#[tokio::test]
async fn a_device_that_says_goodbye_leaves_no_will() {
    let (broker, mut source, _stats) = embedded(embedded_config()).await;
    let login = Login {
        will: Some(("devices/m1/status", "offline")),
        ..Login::user("m1")
    };
    let device = Device::connect(V5, broker.local_addr(), &login).await;
    device.disconnect().await;
    let other = Device::connect(V5, broker.local_addr(), &Login::user("m2")).await;
    other.publish("devices/m2/telemetry", "next").await;
    assert_eq!(payloads(&batch(&mut source, 1).await), ["next"]);
}

#[tokio::test]
async fn a_will_for_a_foreign_topic_is_refused_at_connect() {
    let (broker, _source, stats) = embedded(embedded_config()).await;
    let login = Login {
        will: Some(("devices/m2/status", "offline")),
        ..Login::user("m1")
    };
    let mut device = Device::start(V5, broker.local_addr(), &login);
    assert!(matches!(device.next().await, Seen::Lost(_)));
    assert!(stats.refused_topic() >= 1);
}

#[tokio::test]
async fn each_message_keeps_its_own_content_type() {
    let (broker, mut source, _stats) = embedded(embedded_config()).await;
    let device = Device::connect(V5, broker.local_addr(), &Login::user("m1")).await;
    let content_types = [
        Some("application/json"),
        None,
        Some("application/senml+json"),
    ];
    // The refused one, which no hook sees, must not shift the others.
    device
        .publish_as(
            "devices/m2/telemetry",
            1,
            false,
            "forged",
            Some("text/forged"),
        )
        .await;
    for content_type in content_types {
        device
            .publish_as("devices/m1/telemetry", 1, false, "[]", content_type)
            .await;
    }
    for content_type in content_types {
        let got = batch(&mut source, 1).await;
        assert_eq!(got.messages[0].content_type.as_deref(), content_type);
        source.commit(got.position).await;
    }
}

#[tokio::test]
async fn anonymous_devices_have_no_principal() {
    let (broker, mut source, _stats) = embedded(embedded_config()).await;
    let device = Device::connect(V4, broker.local_addr(), &Login::anonymous("anyone")).await;
    device.publish("devices/m1/telemetry", "1").await;
    let got = batch(&mut source, 1).await;
    assert_eq!(got.messages[0].principal, None);
}

#[tokio::test]
async fn subscribers_receive_a_message_once_it_is_stored_also_when_retained() {
    let (broker, mut source, _stats) = embedded(embedded_config()).await;
    let mut early = Device::connect(V5, broker.local_addr(), &Login::anonymous("early")).await;
    early.subscribe("devices/+/status").await;
    let device = Device::connect(V4, broker.local_addr(), &Login::user("m1")).await;
    device
        .publish_as("devices/m1/status", 1, true, "online", None)
        .await;
    let got = batch(&mut source, 1).await;
    round_trip(&broker).await;
    assert!(
        early.seen.try_recv().is_err(),
        "passed on before the commit"
    );
    source.commit(got.position).await;
    let online = Seen::Received("devices/m1/status".to_owned(), b"online".to_vec());
    assert_eq!(early.next().await, online);
    let mut late = Device::connect(V4, broker.local_addr(), &Login::anonymous("late")).await;
    late.subscribe("devices/+/status").await;
    assert_eq!(late.next().await, online);
}

#[tokio::test]
async fn a_payload_above_the_limit_is_cut_counted_and_passed_on() {
    let (broker, mut source, stats) = embedded(embedded_config()).await;
    let device = Device::connect(V4, broker.local_addr(), &Login::user("m1")).await;
    device
        .publish("devices/m1/telemetry", vec![b'x'; 5_000])
        .await;
    let got = batch(&mut source, 1).await;
    assert_eq!(got.messages[0].payload.len(), 1_001);
    assert_eq!(stats.oversized(), 1);
    source.commit(got.position).await;
    device.publish("devices/m1/telemetry", "good").await;
    assert_eq!(payloads(&batch(&mut source, 1).await), ["good"]);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_refused() {
    let (broker, _source, stats) = embedded(EmbeddedConfig {
        clients_max: 1,
        ..embedded_config()
    })
    .await;
    let first = Device::connect(V5, broker.local_addr(), &Login::user("m1")).await;
    let mut second = Device::start(V5, broker.local_addr(), &Login::user("m2"));
    assert!(matches!(second.next().await, Seen::Lost(_)));
    assert!(stats.refused_clients() >= 1);
    first.disconnect().await;
    // Its place is free again; the second keeps trying.
    while second.next().await != Seen::Connected {}
    assert_eq!(stats.clients(), 1);
}

#[tokio::test]
async fn settings_that_cannot_work_are_named() {
    for (config, words) in [
        (
            EmbeddedConfig {
                queue_max: 0,
                ..embedded_config()
            },
            "ingest.queue_max must be at least 1",
        ),
        (
            EmbeddedConfig {
                clients_max: 0,
                ..embedded_config()
            },
            "mqtt.clients_max must be at least 1",
        ),
        (
            EmbeddedConfig {
                payload_bytes_max: 0,
                ..embedded_config()
            },
            "ingest.payload_bytes_max must be at least 1",
        ),
    ] {
        let stats = Arc::new(IngestStats::default());
        let error = EmbeddedBroker::start(config, Arc::new(OwnTopics), clock(), stats)
            .await
            .map(|_| ())
            .unwrap_err();
        assert_eq!(error.to_string(), words);
    }
}
