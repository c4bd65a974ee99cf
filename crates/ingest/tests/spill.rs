//! The spill behind a real Mosquitto and the embedded broker: the test is the pipeline, and its store is away.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forecare_ingest::{
    ExternalBroker, ExternalConfig, IngestStats, Source, SpillConfig, SpillStats, SpillingSource,
};
use support::device::Version::V5;
use support::device::{Device, Login, Seen};
use support::mosquitto::Mosquitto;
use support::{batch, embedded, embedded_config, payloads, until};

/// For tests whose store is away: what nobody stores is soon on disk.
const SOON: Duration = Duration::from_millis(100);
/// For tests that claim that something is not on disk: longer than any standstill of this machine.
const NEVER: Duration = Duration::from_secs(3_600);

fn config(dir: &Path, after: Duration) -> SpillConfig {
    SpillConfig {
        dir: dir.to_owned(),
        bytes_max: 1 << 30,
        disk_free_min: 0,
        after,
        memory_messages_max: 75,
        memory_bytes_max: 1 << 20,
    }
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// Opens the spill; a former one in this directory may need a moment to let go of it.
async fn open(
    config: SpillConfig,
    inner: impl Source + 'static,
) -> (SpillingSource, Arc<SpillStats>) {
    let stats = Arc::new(SpillStats::default());
    let dir = config.dir.clone();
    until("the directory to be free", || {
        std::fs::File::open(dir.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok())
            || !dir.join("lock").exists()
    })
    .await;
    let source = SpillingSource::open(config, Box::new(inner), Arc::clone(&stats)).unwrap();
    (source, stats)
}

async fn behind(
    mosquitto: &Mosquitto,
    dir: &Path,
    after: Duration,
) -> (
    ExternalBroker,
    SpillingSource,
    Arc<IngestStats>,
    Arc<SpillStats>,
) {
    let settings = ExternalConfig {
        url: mosquitto.url(),
        client_id: "forecare".to_owned(),
        username: None,
        password: None,
        ca_file: None,
        topics: vec!["devices/#".to_owned()],
        session_expiry: Duration::from_secs(600),
        receive_maximum: 100,
        payload_bytes_max: 1_000,
        backoff_min: Duration::from_millis(10),
        backoff_max: Duration::from_millis(200),
    };
    let stats = Arc::new(IngestStats::default());
    let (broker, inner) =
        ExternalBroker::connect(settings, support::clock(), Arc::clone(&stats)).unwrap();
    let (source, spill) = open(config(dir, after), inner).await;
    until("the subscription", || stats.connected()).await;
    (broker, source, stats, spill)
}

async fn publish(mosquitto: &Mosquitto, range: std::ops::Range<usize>) {
    let login = Login::anonymous("publisher");
    let mut device = Device::connect(V5, mosquitto.addr(), &login).await;
    for n in range.clone() {
        device.publish("devices/m1/telemetry", n.to_string()).await;
    }
    for _ in range {
        assert_eq!(device.next().await, Seen::Acknowledged(true));
    }
}

/// Stores the next `n` messages.
async fn store(source: &mut SpillingSource, n: usize) -> Vec<String> {
    let mut stored = Vec::new();
    while stored.len() < n {
        let next = batch(source, 40).await;
        stored.extend(payloads(&next));
        source.commit(next.position).await;
    }
    stored
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_answers_needs_no_disk() {
    let (mosquitto, dir) = (Mosquitto::start().await, tempfile::tempdir().unwrap());
    let (_broker, mut source, stats, spill) = behind(&mosquitto, dir.path(), NEVER).await;
    let ((), stored) = tokio::join!(publish(&mosquitto, 0..500), store(&mut source, 500));
    assert_eq!(stored, numbers(0..500));
    assert_eq!((spill.spilled(), stats.reconnects()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_the_broker_is_acknowledged_from_disk_and_nothing_moves_out_of_order()
 {
    let (mosquitto, dir) = (Mosquitto::start().await, tempfile::tempdir().unwrap());
    let (_broker, mut source, stats, spill) = behind(&mosquitto, dir.path(), SOON).await;
    let ((), stored) = tokio::join!(publish(&mosquitto, 0..20), store(&mut source, 20));
    assert_eq!(stored, numbers(0..20));

    publish(&mosquitto, 20..900).await;
    // Two batches out, as a pipeline has that scores one while it stores another; neither is stored.
    let first = batch(&mut source, 40).await;
    let second = batch(&mut source, 40).await;
    assert_eq!(payloads(&first)[0], "20");
    source.abandon(first.position).await;
    source.abandon(second.position).await;
    until("all to be on disk", || {
        spill.messages() == 880 && stats.in_flight() == 0
    })
    .await;
    assert!(spill.spilling() && spill.oldest().is_some());
    assert_eq!((spill.memory_messages(), spill.memory_bytes()), (0, 0));

    assert_eq!(store(&mut source, 880).await, numbers(20..900));
    until("the disk to be empty", || {
        !spill.spilling() && spill.bytes() == 0
    })
    .await;
    assert_eq!((spill.drained(), spill.oldest()), (spill.spilled(), None));
    let ((), stored) = tokio::join!(publish(&mosquitto, 900..950), store(&mut source, 50));
    assert_eq!(stored, numbers(900..950));
    assert_eq!(stats.reconnects(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn once_the_disk_is_read_to_its_end_messages_stay_in_memory_again() {
    let (mosquitto, dir) = (Mosquitto::start().await, tempfile::tempdir().unwrap());
    leave_on_disk(&mosquitto, dir.path(), 200).await;
    let (_broker, mut source, _stats, spill) = behind(&mosquitto, dir.path(), NEVER).await;
    until("the files to be seen", || spill.spilling()).await;
    assert_eq!(store(&mut source, 200).await, numbers(0..200));
    until("memory again", || !spill.spilling()).await;
    let ((), stored) = tokio::join!(publish(&mosquitto, 200..250), store(&mut source, 50));
    assert_eq!(stored, numbers(200..250));
    assert_eq!((spill.spilled(), spill.drained()), (0, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn once_the_rest_on_disk_would_fit_into_memory_new_messages_wait_there_behind_it() {
    let (mosquitto, dir) = (Mosquitto::start().await, tempfile::tempdir().unwrap());
    leave_on_disk(&mosquitto, dir.path(), 200).await;
    let (_broker, mut source, stats, spill) = behind(&mosquitto, dir.path(), NEVER).await;
    until("the files to be seen", || spill.spilling()).await;
    // 80 are left, and the window holds 75.
    assert_eq!(store(&mut source, 120).await, numbers(0..120));
    assert!(spill.spilling());
    assert_eq!(store(&mut source, 40).await, numbers(120..160));
    until("memory again", || !spill.spilling()).await;
    assert_eq!(spill.messages(), 40);
    publish(&mosquitto, 200..250).await;
    until("all to be in memory", || spill.memory_messages() == 50).await;
    assert_eq!(store(&mut source, 90).await, numbers(160..250));
    assert_eq!((spill.spilled(), spill.drained()), (0, 200));
    until("acknowledgement", || stats.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_disk_comes_first_after_a_restart_without_the_store() {
    let (mosquitto, dir) = (Mosquitto::start().await, tempfile::tempdir().unwrap());
    let (broker, mut source, stats, spill) = behind(&mosquitto, dir.path(), SOON).await;
    publish(&mosquitto, 0..300).await;
    let out = batch(&mut source, 40).await;
    until("all to be on disk", || {
        spill.messages() == 300 && stats.in_flight() == 0
    })
    .await;
    source.abandon(out.position).await;
    support::within("a stop without the store", broker.shutdown()).await;
    support::within("the end without the store", async {
        // The spill may learn of the stop a moment after us.
        while let Some(again) = source.next_batch(support::limit(40)).await {
            assert_eq!(payloads(&again), numbers(0..40));
            source.abandon(again.position).await;
        }
    })
    .await;
    drop(source);

    publish(&mosquitto, 300..350).await;
    let (_broker, mut source, _stats, _spill) = behind(&mosquitto, dir.path(), SOON).await;
    assert_eq!(store(&mut source, 350).await, numbers(0..350));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_makes_devices_wait_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, inner, stats) = embedded(embedded_config()).await;
    let bounds = SpillConfig {
        bytes_max: 3_000,
        memory_messages_max: 10,
        ..config(dir.path(), SOON)
    };
    let (mut source, spill) = open(bounds, inner).await;
    let login = Login::anonymous("m1");
    let mut device = Device::connect(V5, broker.local_addr(), &login).await;
    for n in 0..200 {
        device.publish("devices/m1/telemetry", n.to_string()).await;
    }
    until("the spill to be full", || spill.blocked()).await;
    assert_eq!(spill.full(), 1);
    assert!(stats.acked() < 200, "{stats:?}");
    assert_eq!(store(&mut source, 200).await, numbers(0..200));
    for _ in 0..200 {
        assert_eq!(device.next().await, Seen::Acknowledged(true));
    }
    until("room", || !spill.blocked()).await;
}

/// Leaves `n` messages on disk, numbered from 0, none of them stored.
async fn leave_on_disk(mosquitto: &Mosquitto, dir: &Path, n: usize) {
    let (broker, mut source, stats, spill) = behind(mosquitto, dir, SOON).await;
    publish(mosquitto, 0..n).await;
    until("all to be on disk", || {
        spill.messages() == n as u64 && stats.in_flight() == 0
    })
    .await;
    support::within("a stop without the store", broker.shutdown()).await;
    let first = batch(&mut source, 1).await;
    source.abandon(first.position).await;
    drop(source);
}

fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "spill"))
        .collect();
    paths.sort();
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_what_the_last_run_left_costs_one_message_and_is_counted() {
    let (mosquitto, dir) = (Mosquitto::start().await, tempfile::tempdir().unwrap());
    leave_on_disk(&mosquitto, dir.path(), 300).await;
    let path = segments(dir.path()).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    // In the first record: the read that meets it has nothing to hand out yet.
    bytes[40] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (_broker, mut source, _stats, spill) = behind(&mosquitto, dir.path(), SOON).await;
    assert_eq!(store(&mut source, 299).await, numbers(1..300));
    assert_eq!(spill.damaged(), 1);
    until("the disk to be empty", || spill.messages() == 0).await;
    assert!(path.with_extension("damaged").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_a_batch_that_is_out_costs_the_record_it_hits_when_the_batch_comes_again() {
    // A batch that fails often comes in parts: the damage is in a later one then.
    for n_failures in [1, 2, 4] {
        let (mosquitto, dir) = (Mosquitto::start().await, tempfile::tempdir().unwrap());
        leave_on_disk(&mosquitto, dir.path(), 200).await;
        let (_broker, mut source, _stats, spill) = behind(&mosquitto, dir.path(), NEVER).await;
        let mut out = batch(&mut source, 40).await;
        assert_eq!(payloads(&out), numbers(0..40));
        let path = segments(dir.path()).remove(0);
        let mut bytes = std::fs::read(&path).unwrap();
        let topic = b"devices/m1/telemetry";
        let of_20 = bytes
            .windows(topic.len())
            .enumerate()
            .filter(|(_, bytes)| bytes == topic)
            .nth(20);
        let at = of_20.unwrap().0;
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        for _ in 1..n_failures {
            source.abandon(out.position).await;
            out = batch(&mut source, 40).await;
        }
        source.abandon(out.position).await;
        let expected: Vec<String> = numbers(0..20).into_iter().chain(numbers(21..200)).collect();
        assert_eq!(store(&mut source, 199).await, expected);
        assert_eq!(spill.damaged(), 1, "after {n_failures} failures");
        until("the disk to be empty", || spill.messages() == 0).await;
        assert!(path.with_extension("damaged").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_vanished_is_given_up_and_what_follows_is_stored() {
    let (mosquitto, dir) = (Mosquitto::start().await, tempfile::tempdir().unwrap());
    leave_on_disk(&mosquitto, dir.path(), 200).await;
    let (_broker, mut source, _stats, spill) = behind(&mosquitto, dir.path(), SOON).await;
    publish(&mosquitto, 200..250).await;
    until("more on disk, in a file of its own", || {
        spill.messages() == 250
    })
    .await;
    let paths = segments(dir.path());
    assert!(paths.len() > 1);
    std::fs::remove_file(&paths[0]).unwrap();
    assert_eq!(store(&mut source, 50).await, numbers(200..250));
    assert_eq!(spill.damaged(), 200);
    assert!(spill.failed() >= 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_fails_again_and_again_comes_in_halves_down_to_one_and_then_whole() {
    let (broker, inner, _stats) = embedded(embedded_config()).await;
    let dir = tempfile::tempdir().unwrap();
    let (mut source, _spill) = open(config(dir.path(), NEVER), inner).await;
    let device = Device::connect(V5, broker.local_addr(), &Login::anonymous("m1")).await;
    for n in 0..8 {
        device.publish("devices/m1/telemetry", n.to_string()).await;
    }
    let mut n_tried = Vec::new();
    let mut stored = Vec::new();
    // The store takes nothing that holds the poison among others.
    while stored.len() < 8 {
        let next = batch(&mut source, 8).await;
        n_tried.push(next.messages.len());
        assert!(n_tried.len() < 30, "{n_tried:?}");
        if next.messages.len() > 1 && payloads(&next).contains(&"0".to_owned()) {
            source.abandon(next.position).await;
        } else {
            stored.extend(payloads(&next));
            source.commit(next.position).await;
        }
    }
    assert_eq!(stored, numbers(0..8));
    assert!(n_tried.contains(&1), "{n_tried:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_store_makes_the_broker_wait_and_fills_no_disk() {
    let (mosquitto, dir) = (Mosquitto::start().await, tempfile::tempdir().unwrap());
    // Seconds, so that what a busy machine adds to them decides nothing.
    let after = Duration::from_secs(4);
    let (_broker, mut source, _stats, spill) = behind(&mosquitto, dir.path(), after).await;
    let publishing = publish(&mosquitto, 0..160);
    let storing = async {
        let mut stored = Vec::new();
        while stored.len() < 160 {
            let next = batch(&mut source, 40).await;
            // The store's time for a batch: more than the quarter of `after` that a full window has.
            tokio::time::sleep(after * 3 / 10).await;
            stored.extend(payloads(&next));
            source.commit(next.position).await;
        }
        stored
    };
    let ((), stored) = tokio::join!(publishing, storing);
    assert_eq!(stored, numbers(0..160));
    assert_eq!(spill.spilled(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn spilling_ends_once_all_is_stored_though_the_disk_stays_below_its_floor() {
    let (mosquitto, dir) = (Mosquitto::start().await, tempfile::tempdir().unwrap());
    leave_on_disk(&mosquitto, dir.path(), 200).await;
    let (broker, inner, _stats) = embedded(embedded_config()).await;
    let floor = SpillConfig {
        disk_free_min: u64::MAX,
        ..config(dir.path(), SOON)
    };
    let (mut source, spill) = open(floor, inner).await;
    let device = Device::connect(V5, broker.local_addr(), &Login::anonymous("m1")).await;
    for n in 200..210 {
        device.publish("devices/m1/telemetry", n.to_string()).await;
    }
    until("the spill to be full", || spill.blocked()).await;
    assert_eq!(store(&mut source, 210).await, numbers(0..210));
    until("memory again", || !spill.spilling() && !spill.blocked()).await;
}
