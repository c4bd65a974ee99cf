//! Failures of commits, with a batch scored on top of the failed one.

use std::collections::VecDeque;

use async_trait::async_trait;
use forecare_catalogue::Catalogue;
use forecare_detect::{DetectSettings, EpisodeSettings};
use forecare_store::{AlarmFilter, MemoryStore, PageRequest};
use proptest::prelude::*;

use super::super::devices::ClassSettings;
use super::*;
use crate::clock::DeviceClock;

const DEVICES: [&str; 3] = ["press-1", "press-2", "press-3"];
const ROUNDS: usize = 120;
const START_MS: i64 = 1_767_225_600_000;

/// Messages of three machines, every ten minutes; the bearing of the second wears out half-way, some messages come
/// late or twice, one is no JSON.
fn messages() -> Vec<Message> {
    let mut messages = Vec::new();
    for round in 0..ROUNDS {
        for (nth, device) in DEVICES.iter().enumerate() {
            let late = round % 17 == 5;
            let at = i64::try_from(round).unwrap() * 600_000 - if late { 1_500_000 } else { 0 };
            let wobble = ((round * 7 + nth * 3) % 11) as f64 / 10.0;
            let vibration = if nth == 1 && round > ROUNDS / 2 {
                9.0
            } else {
                2.0
            };
            let payload = format!(
                "{{\"ts\":{},\"values\":{{\"load\":{},\"vibration\":{},\"oil_pressure\":{}}}}}",
                START_MS + at,
                70.0 + wobble,
                vibration + 0.1 * wobble,
                2.4 + 0.05 * wobble
            );
            let message = Message {
                topic: format!("devices/{device}/telemetry"),
                payload: payload.into_bytes(),
                content_type: None,
                principal: None,
                received_at: Timestamp::from_millis(START_MS),
            };
            if round % 23 == 7 {
                messages.push(message.clone());
            }
            messages.push(message);
        }
    }
    messages[40].payload = b"{".to_vec();
    messages
}

/// Hands messages out in batches of given sizes; what is abandoned comes again, with all that followed it, as from
/// a broker.
struct Resending {
    messages: Vec<Message>,
    sizes: Vec<usize>,
    n_batches: u64,
    next: usize,
    /// Number, first message and end of the batches that are out.
    out: VecDeque<(u64, usize, usize)>,
    /// Messages before this are acknowledged.
    acknowledged: usize,
}

#[async_trait]
impl Source for Resending {
    async fn next_batch(&mut self, _limit: BatchLimit) -> Option<Batch> {
        if self.next == self.messages.len() {
            if self.out.is_empty() {
                return None;
            }
            // What is out may come again.
            std::future::pending::<()>().await;
        }
        let size = self.sizes[usize::try_from(self.n_batches).unwrap() % self.sizes.len()];
        let end = (self.next + size).min(self.messages.len());
        self.n_batches += 1;
        self.out.push_back((self.n_batches, self.next, end));
        assert!(self.out.len() <= 2, "more than two batches are out");
        let messages = self.messages[self.next..end].to_vec();
        self.next = end;
        Some(Batch {
            messages,
            position: Position::new(self.n_batches),
        })
    }

    async fn commit(&mut self, position: Position) {
        let (number, first, end) = self.out.pop_front().unwrap();
        assert_eq!(number, position.number(), "acknowledged in order");
        assert_eq!(first, self.acknowledged, "nothing is skipped");
        self.acknowledged = end;
    }

    async fn abandon(&mut self, position: Position) {
        let (number, first, _) = self.out.pop_front().unwrap();
        assert_eq!(number, position.number(), "abandoned in order");
        self.next = self.next.min(first);
    }
}

/// Everything the pipeline has stored, checkpoints apart: these depend on where batches end.
async fn content(store: &MemoryStore) -> String {
    let page = PageRequest {
        before: None,
        limit: 1_000,
    };
    let mut fingerprints = Vec::new();
    for device in DEVICES {
        let device = DeviceId::new(device).unwrap();
        fingerprints.push(store.fingerprint(&device).await.unwrap());
    }
    let alarms = store.alarms(&AlarmFilter::default(), page).await.unwrap();
    let tasks = store.next_tasks(1_000).await.unwrap();
    assert!(
        !alarms.is_empty() && !tasks.is_empty(),
        "the worn bearing is seen"
    );
    format!(
        "{fingerprints:?}\n{:?}\n{alarms:?}\n{tasks:?}\n{:?}",
        store.health().await.unwrap(),
        store.dead_letters(None, page).await.unwrap(),
    )
}

/// Runs the messages through a pipeline; returns what is stored.
fn run(sizes: &[usize], failures: &[bool]) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let catalogue = Catalogue::parse(crate::cli::DEMO_CATALOGUE).unwrap();
        let start = Timestamp::from_millis(START_MS);
        let store = Arc::new(MemoryStore::new(&catalogue, start));
        let settings = ClassSettings {
            detect: DetectSettings::default(),
            episodes: EpisodeSettings::default(),
            reassess_hours: 2.0,
            confirm_hours: 1.0,
            margin: 0.0,
            tickets: Arc::default(),
        };
        let clock = Arc::new(DeviceClock::new(start));
        let mut pipeline = Pipeline::new(PipelineParts {
            store: store.clone(),
            devices: Devices::new(&catalogue, Vec::new(), &settings).unwrap(),
            clock: clock.clone(),
            arrival_clock: Arc::new(DeviceClock::new(start.plus_hours(10_000.0))),
            limits: Limits::default(),
            batch: BatchLimit {
                messages_max: 1,
                linger: Duration::ZERO,
            },
            checkpoint_rows: 20,
            auto_register: Some(catalogue.classes[0].name.clone()),
            devices_max: 10,
            stream: broadcast::channel(16).0,
            care_wake: Arc::default(),
            metrics: Arc::new(Metrics::new().unwrap()),
        });
        pipeline.failures = failures.iter().copied().collect();
        let messages = messages();
        let source = Resending {
            messages,
            sizes: sizes.to_vec(),
            n_batches: 0,
            next: 0,
            out: VecDeque::new(),
            acknowledged: 0,
        };
        let (_control, requests) = mpsc::channel(1);
        pipeline.run(Box::new(source), requests).await.unwrap();
        content(&store).await
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn failed_commits_leave_no_trace(
        sizes in prop::collection::vec(1_usize..90, 1..8),
        failures in prop::collection::vec(prop::bool::weighted(0.3), 0..12),
    ) {
        prop_assert_eq!(run(&sizes, &failures), run(&[37], &[]));
    }
}
