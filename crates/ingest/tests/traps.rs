//! What a well-behaved broker rarely does, done by one that we script packet by packet.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use forecare_ingest::{ExternalBroker, ExternalConfig, ExternalSource, IngestStats, Source};
use support::raw::{packet, publish, read_packet};
use support::{batch, clock, payloads, until, within};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

const CONNECT: u8 = 0x10;
const PUBACK: u8 = 0x40;
const PINGREQ: u8 = 0xc0;
const SUBSCRIBE: u8 = 0x82;

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

fn external(addr: SocketAddr) -> (ExternalBroker, ExternalSource, Arc<IngestStats>) {
    external_with(addr, 1_000)
}

fn external_with(
    addr: SocketAddr,
    payload_bytes_max: usize,
) -> (ExternalBroker, ExternalSource, Arc<IngestStats>) {
    let stats = Arc::new(IngestStats::default());
    let config = ExternalConfig {
        url: format!("mqtt://{addr}"),
        client_id: "forecare".to_owned(),
        username: None,
        password: None,
        ca_file: None,
        topics: vec!["devices/#".to_owned()],
        session_expiry: Duration::from_secs(600),
        receive_maximum: 10,
        payload_bytes_max,
        backoff_min: Duration::from_millis(50),
        backoff_max: Duration::from_millis(400),
    };
    let (broker, source) = ExternalBroker::connect(config, clock(), Arc::clone(&stats)).unwrap();
    (broker, source, stats)
}

/// Accepts one connection and its CONNECT; answers with CONNACK.
async fn accept(listener: &TcpListener, session_present: bool) -> TcpStream {
    let (mut stream, _) = within("a connection", listener.accept()).await.unwrap();
    let (first, body) = within("CONNECT", read_packet(&mut stream)).await.unwrap();
    assert_eq!(first, CONNECT);
    assert_eq!(body[7] & 0x02, 0, "clean start throws the session away");
    let connack = packet(0x20, &[u8::from(session_present), 0, 0]);
    stream.write_all(&connack).await.unwrap();
    stream
}

/// Reads SUBSCRIBE; returns its id.
async fn read_subscribe(stream: &mut TcpStream) -> [u8; 2] {
    let (first, body) = within("SUBSCRIBE", read_packet(stream)).await.unwrap();
    assert_eq!(first, SUBSCRIBE);
    [body[0], body[1]]
}

async fn grant(stream: &mut TcpStream, id: [u8; 2]) {
    let suback = packet(0x90, &[id[0], id[1], 0, 1]);
    stream.write_all(&suback).await.unwrap();
}

async fn send(stream: &mut TcpStream, ids: impl IntoIterator<Item = u16>) {
    for id in ids {
        let bytes = publish(5, "devices/m1/telemetry", id, &id.to_string());
        stream.write_all(&bytes).await.unwrap();
    }
}

async fn read_acks(stream: &mut TcpStream, n: usize) -> Vec<u16> {
    let mut acks = Vec::new();
    while acks.len() < n {
        let (first, body) = within("PUBACK", read_packet(stream)).await.unwrap();
        assert_eq!(first, PUBACK);
        acks.push(u16::from_be_bytes([body[0], body[1]]));
    }
    acks
}

#[tokio::test]
async fn connected_means_that_the_subscription_is_granted() {
    let (listener, addr) = listen().await;
    let (_broker, mut source, stats) = external(addr);
    let mut stream = accept(&listener, true).await;
    let id = read_subscribe(&mut stream).await;
    // What the session held arrives before the grant.
    send(&mut stream, [1]).await;
    let got = batch(&mut source, 1).await;
    assert!(!stats.connected());
    grant(&mut stream, id).await;
    until("the grant", || stats.connected()).await;
    source.commit(got.position).await;
    assert_eq!(read_acks(&mut stream, 1).await, [1]);
}

#[tokio::test]
async fn every_connection_subscribes_whatever_the_broker_says_of_the_session() {
    let (listener, addr) = listen().await;
    let (_broker, _source, stats) = external(addr);
    for session_present in [false, true, true, false] {
        let mut stream = accept(&listener, session_present).await;
        let id = read_subscribe(&mut stream).await;
        grant(&mut stream, id).await;
        until("the grant", || stats.connected()).await;
        drop(stream);
        until("the loss", || !stats.connected()).await;
    }
    assert_eq!(stats.reconnects(), 3);
}

#[tokio::test]
async fn acknowledgements_leave_in_receive_order_whatever_the_order_of_commits() {
    let (listener, addr) = listen().await;
    let (_broker, mut source, stats) = external(addr);
    let mut stream = accept(&listener, false).await;
    let id = read_subscribe(&mut stream).await;
    grant(&mut stream, id).await;
    // Ids as a broker that reuses them would give.
    send(&mut stream, [7, 3, 9, 1, 8]).await;
    until("all to arrive", || stats.received() == 5).await;
    let first = batch(&mut source, 2).await;
    let second = batch(&mut source, 1).await;
    let third = batch(&mut source, 2).await;
    assert_eq!(payloads(&third), ["1", "8"]);
    source.commit(third.position).await;
    source.commit(second.position).await;
    assert_eq!(stats.acked(), 0);
    source.commit(first.position).await;
    assert_eq!(read_acks(&mut stream, 5).await, [7, 3, 9, 1, 8]);
}

#[tokio::test]
async fn a_late_acknowledgement_never_hits_a_packet_id_of_the_next_connection() {
    let (listener, addr) = listen().await;
    let (_broker, mut source, stats) = external(addr);
    let mut stream = accept(&listener, false).await;
    let id = read_subscribe(&mut stream).await;
    grant(&mut stream, id).await;
    send(&mut stream, [1, 2]).await;
    let held = batch(&mut source, 1).await;
    drop(stream);

    let mut stream = accept(&listener, true).await;
    let id = read_subscribe(&mut stream).await;
    grant(&mut stream, id).await;
    until("the new connection", || {
        stats.reconnects() == 1 && stats.connected()
    })
    .await;
    // The same id 1, another message.
    let other = publish(5, "devices/m1/telemetry", 1, "other");
    stream.write_all(&other).await.unwrap();
    send(&mut stream, [5]).await;
    source.commit(held.position).await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let got = batch(&mut source, 1).await;
        seen.extend(payloads(&got));
        if seen.len() == 1 {
            // Id 5 alone is committed first below; id 1 stays open.
            assert_eq!(seen, ["other"]);
        }
        source.commit(got.position).await;
    }
    // One acknowledgement each, from the new batches only.
    assert_eq!(read_acks(&mut stream, 2).await, [1, 5]);
    assert_eq!(stats.stale_acks_dropped(), 1);
    assert_eq!(stats.acked(), 3);
}

#[tokio::test]
async fn a_broker_that_floods_beyond_every_bound_waits_and_memory_stays_bounded() {
    const FLOOD: usize = 150_000;
    let (listener, addr) = listen().await;
    let (_broker, mut source, stats) = external(addr);
    let mut stream = accept(&listener, false).await;
    let id = read_subscribe(&mut stream).await;
    grant(&mut stream, id).await;
    let flood = tokio::spawn(async move {
        let thousand: Vec<u8> = (1..=1_000)
            .flat_map(|id| publish(5, "devices/m1/telemetry", id, "x"))
            .collect();
        for _ in 0..FLOOD / 1_000 {
            stream.write_all(&thousand).await.unwrap();
        }
        stream
    });
    until("the queue to fill", || stats.held_up() == 1).await;
    assert_eq!(stats.queue_len(), 2 * 65_535);
    // On the same connection the rest comes as soon as there is room.
    let mut n_messages = 0;
    while n_messages < FLOOD {
        let got = batch(&mut source, 10_000).await;
        n_messages += got.messages.len();
        source.commit(got.position).await;
    }
    assert_eq!((n_messages, stats.reconnects()), (FLOOD, 0));
    drop(flood.await.unwrap());
}

#[tokio::test]
async fn large_messages_are_held_up_by_their_bytes_and_a_broker_that_answers_meanwhile_is_not_given_up()
 {
    const N: u16 = 24;
    let (listener, addr) = listen().await;
    let (_broker, mut source, stats) = external_with(addr, 2 << 20);
    let (mut stream, _) = within("a connection", listener.accept()).await.unwrap();
    within("CONNECT", read_packet(&mut stream)).await.unwrap();
    // Keep alive: a second.
    let connack = packet(0x20, &[1, 0, 3, 0x13, 0, 1]);
    stream.write_all(&connack).await.unwrap();
    let id = read_subscribe(&mut stream).await;
    grant(&mut stream, id).await;
    let (mut reader, mut writer) = stream.into_split();
    let mut pinged = async || {
        let (first, _) = within("PINGREQ", read_packet(&mut reader)).await.unwrap();
        assert_eq!(first, PINGREQ);
    };
    pinged().await;
    let flood = tokio::spawn(async move {
        let megabyte = "x".repeat(1 << 20);
        for id in 1..=N {
            let bytes = publish(5, "devices/m1/telemetry", id, &megabyte);
            writer.write_all(&bytes).await.unwrap();
        }
        // The answer lies behind what is not read yet.
        writer.write_all(&packet(0xd0, &[])).await.unwrap();
        writer
    });
    until("the queue to be full", || stats.held_up() == 1).await;
    assert!(stats.queue_len() <= 17, "{}", stats.queue_len());
    for _ in 0..2 {
        pinged().await;
    }
    assert!(stats.connected());
    let mut n_messages = 0;
    while n_messages < usize::from(N) {
        let got = batch(&mut source, 10_000).await;
        n_messages += got.messages.len();
        source.commit(got.position).await;
    }
    assert_eq!(stats.reconnects(), 0);
    drop(flood.await.unwrap());
}

#[tokio::test]
async fn a_broker_that_hangs_up_at_once_is_not_hammered() {
    let (listener, addr) = listen().await;
    let (_broker, _source, _stats) = external(addr);
    let mut started = None;
    for _ in 0..6 {
        let (stream, _) = within("a connection", listener.accept()).await.unwrap();
        started.get_or_insert_with(tokio::time::Instant::now);
        drop(stream);
    }
    // Five pauses, each at least half of 50, 100, 200, 400, 400 ms.
    let elapsed = started.unwrap().elapsed();
    assert!(elapsed >= Duration::from_millis(575), "{elapsed:?}");
}

#[tokio::test]
async fn a_broker_that_accepts_and_then_hangs_up_is_not_hammered_either() {
    let (listener, addr) = listen().await;
    let (_broker, _source, stats) = external(addr);
    let mut started = None;
    for _ in 0..6 {
        let mut stream = accept(&listener, true).await;
        started.get_or_insert_with(tokio::time::Instant::now);
        let id = read_subscribe(&mut stream).await;
        grant(&mut stream, id).await;
        until("the grant", || stats.connected()).await;
        drop(stream);
        until("the loss", || !stats.connected()).await;
    }
    let elapsed = started.unwrap().elapsed();
    assert!(elapsed >= Duration::from_millis(575), "{elapsed:?}");
}
