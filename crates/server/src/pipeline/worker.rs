//! The pipeline's loop: one batch, one transaction, then the acknowledgement. While one batch is being stored the
//! next is decoded and scored.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use forecare_api::StreamEvent;
use forecare_domain::{
    AlarmChange, Asset, AssetHealth, AssetId, CareTask, ClassName, Clock, DeviceEvent, DeviceId,
    DeviceStatus, ModeName, RejectReason, Row, Timestamp,
};
use forecare_ingest::{Batch, BatchLimit, Message, Position, Source};
use forecare_signal::Extractor;
use forecare_store::{
    CommitBatch, CommitReceipt, MaintenanceWindow, NewTask, ScoredRow, Store, StoreError,
};
use forecare_store_timescale::TimescaleStore;
use forecare_wire::{Envelope, Inbound, Limits, Telemetry};
use prometheus::HistogramTimer;
use tokio::sync::{Notify, broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::info;

use super::devices::{Devices, checkpoint};
use super::monitor::{EXTRA_METRICS_MAX, Outcome, Placement};
use super::waveforms::{self, WaveformFindings};
use crate::metrics::Metrics;
use crate::models::watch::Watch;

/// Pause after a batch that could not be stored, doubled up to the maximum.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// A setting that is written to learn whether the store takes anything.
const PROBE: &str = "pipeline_probe";
/// Checkpoints that a small batch may carry for their age.
const CHECKPOINTS_MIN: usize = 16;

/// What others ask of the pipeline, answered once it is stored.
pub(crate) enum Control {
    /// Take these assets in.
    Register(Vec<Asset>, oneshot::Sender<Result<(), StoreError>>),
    /// Another process has registered these assets: those not known yet are watched from now on.
    Noticed(Vec<Asset>, oneshot::Sender<()>),
    /// A technician has cured these modes.
    Repaired(
        DeviceId,
        Vec<ModeName>,
        Timestamp,
        oneshot::Sender<Result<(), StoreError>>,
    ),
    /// Nothing is to be raised in this window.
    Maintenance(MaintenanceWindow, oneshot::Sender<Result<(), StoreError>>),
    /// These models speak for the class, and are tried in it, from the next row on.
    Models(
        ClassName,
        Arc<Watch>,
        oneshot::Sender<Result<(), StoreError>>,
    ),
}

/// What a pipeline is made of.
pub(crate) struct PipelineParts {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) devices: Devices,
    /// Judges readings.
    pub(crate) clock: Arc<dyn Clock>,
    /// Tells when messages arrive, and what is too far in the future.
    pub(crate) arrival_clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
    pub(crate) batch: BatchLimit,
    pub(crate) checkpoint_rows: u32,
    pub(crate) auto_register: Option<ClassName>,
    pub(crate) devices_max: usize,
    pub(crate) stream: broadcast::Sender<StreamEvent>,
    pub(crate) care_wake: Arc<Notify>,
    pub(crate) metrics: Arc<Metrics>,
}

/// The running pipeline. At most one batch is being stored and one more is scored, so that a failed commit voids
/// two batches at most; commits and acknowledgements keep the order of arrival.
pub(crate) struct Pipeline {
    parts: PipelineParts,
    extractor: Extractor,
    retry_pause: Duration,
    storing: Option<Storing>,
    /// Scored on top of what is being stored: void if that fails.
    scored: Option<Scored>,
    /// Which of the next commits are to fail.
    #[cfg(test)]
    failures: std::collections::VecDeque<bool>,
}

/// A batch being collected.
#[derive(Default)]
struct Draft {
    commit: CommitBatch,
    /// The devices it changes, with their newest health.
    touched: HashMap<DeviceId, Option<AssetHealth>>,
    n_late: u64,
    n_seq_missing: u64,
}

/// A batch that can be stored.
struct Scored {
    commit: CommitBatch,
    news: News,
}

/// A batch that is being stored.
struct Storing {
    stored: JoinHandle<Result<CommitReceipt, StoreError>>,
    news: News,
}

/// What others hear of a batch once it is stored.
struct News {
    position: Position,
    timer: HistogramTimer,
    n_messages: usize,
    n_late: u64,
    n_seq_missing: u64,
    reasons: Vec<RejectReason>,
    alarms: Vec<AlarmChange>,
    has_tasks: bool,
    health: Vec<AssetHealth>,
}

/// What the loop goes on with.
enum Next {
    Stored(anyhow::Result<Result<CommitReceipt, StoreError>>),
    Asked(Control),
    Arrived(Option<Batch>),
}

/// Waits for the commit under way; for ever where there is none.
async fn stored(
    storing: &mut Option<Storing>,
) -> anyhow::Result<Result<CommitReceipt, StoreError>> {
    match storing {
        Some(storing) => (&mut storing.stored).await.context("the store broke"),
        None => std::future::pending().await,
    }
}

impl Pipeline {
    pub(crate) fn new(parts: PipelineParts) -> Self {
        Self {
            parts,
            extractor: Extractor::new(),
            retry_pause: RETRY_PAUSE_MIN,
            storing: None,
            scored: None,
            #[cfg(test)]
            failures: std::collections::VecDeque::new(),
        }
    }

    /// Runs until the source is closed and drained; then stores every detector's state.
    ///
    /// # Errors
    /// The store is damaged, or does not come back at the end.
    pub(crate) async fn run(
        mut self,
        mut source: Box<dyn Source>,
        mut control: mpsc::Receiver<Control>,
    ) -> anyhow::Result<()> {
        let mut drained = false;
        while !drained || self.storing.is_some() {
            let wants_more = !drained && self.scored.is_none();
            let next = tokio::select! {
                biased;
                done = stored(&mut self.storing) => Next::Stored(done),
                Some(request) = control.recv() => Next::Asked(request),
                batch = source.next_batch(self.parts.batch), if wants_more => Next::Arrived(batch),
            };
            match next {
                Next::Stored(done) => self.settle(source.as_mut(), done?).await,
                Next::Asked(request) => {
                    self.finish(source.as_mut()).await?;
                    self.control(request).await;
                }
                Next::Arrived(None) => drained = true,
                Next::Arrived(Some(batch)) => {
                    let scored = self.score(batch);
                    if self.storing.is_none() {
                        self.store(scored);
                    } else {
                        self.scored = Some(scored);
                    }
                }
            }
        }
        let checkpoints = self.parts.devices.checkpoint_all();
        let n_devices = checkpoints.len();
        self.parts
            .store
            .commit_batch(CommitBatch {
                checkpoints,
                ..CommitBatch::default()
            })
            .await?;
        info!(n_devices, "pipeline drained, detectors stored");
        Ok(())
    }

    /// Decodes and scores a batch.
    fn score(&mut self, batch: Batch) -> Scored {
        let timer = self.parts.metrics.batch_seconds.start_timer();
        let mut draft = Draft::default();
        draft.commit.rows.reserve(batch.messages.len());
        for message in &batch.messages {
            self.message(message, &mut draft);
        }
        let health = self.collect(&mut draft, batch.messages.len());
        let Draft {
            commit,
            n_late,
            n_seq_missing,
            ..
        } = draft;
        let news = News {
            position: batch.position,
            timer,
            n_messages: batch.messages.len(),
            n_late,
            n_seq_missing,
            reasons: commit.rejections.iter().map(|r| r.reason).collect(),
            alarms: commit.alarms.clone(),
            has_tasks: !commit.tasks.is_empty(),
            health,
        };
        Scored { commit, news }
    }

    /// Begins to store a batch.
    fn store(&mut self, scored: Scored) {
        let store = Arc::clone(&self.parts.store);
        let Scored { commit, news } = scored;
        #[cfg(test)]
        let fails = self.failures.pop_front() == Some(true);
        let stored = tokio::spawn(async move {
            #[cfg(test)]
            if fails {
                return Err(StoreError::Unavailable {
                    what: "the commit of a test".to_owned(),
                    source: None,
                });
            }
            store.commit_batch(commit).await
        });
        self.storing = Some(Storing { stored, news });
    }

    /// Waits until everything that is scored is stored, or void.
    async fn finish(&mut self, source: &mut dyn Source) -> anyhow::Result<()> {
        while self.storing.is_some() {
            let done = stored(&mut self.storing).await?;
            self.settle(source, done).await;
        }
        Ok(())
    }

    /// The commit under way has ended: acknowledges and tells the news, or starts over; then begins to store what
    /// was scored meanwhile.
    async fn settle(&mut self, source: &mut dyn Source, done: Result<CommitReceipt, StoreError>) {
        let Some(Storing { news, .. }) = self.storing.take() else {
            return;
        };
        match done {
            Ok(receipt) => {
                if let Some(scored) = self.scored.take() {
                    self.store(scored);
                }
                self.retry_pause = RETRY_PAUSE_MIN;
                self.parts.metrics.outage.over();
                self.tell_news(source, news, receipt).await;
            }
            Err(failure) => {
                self.parts.metrics.outage.failed(chain(&failure));
                self.parts.metrics.batches_failed.inc();
                news.timer.stop_and_discard();
                source.abandon(news.position).await;
                if let Some(Scored { news: later, .. }) = self.scored.take() {
                    later.timer.stop_and_discard();
                    source.abandon(later.position).await;
                }
                self.start_over().await;
            }
        }
    }

    async fn tell_news(&mut self, source: &mut dyn Source, news: News, receipt: CommitReceipt) {
        source.commit(news.position).await;
        news.timer.observe_duration();
        let metrics = &self.parts.metrics;
        metrics
            .messages
            .inc_by(u64::try_from(news.n_messages).unwrap_or(0));
        metrics.readings_stored.inc_by(receipt.inserted);
        metrics.readings_duplicate.inc_by(receipt.duplicates);
        metrics.readings_conflicting.inc_by(receipt.conflicts);
        metrics.rows_late.inc_by(news.n_late);
        metrics.sequence_missing.inc_by(news.n_seq_missing);
        metrics
            .devices
            .set(i64::try_from(self.parts.devices.len()).unwrap_or(i64::MAX));
        for reason in news.reasons {
            metrics.rejected(reason);
        }
        for change in news.alarms {
            metrics.alarm(&change);
            self.tell(StreamEvent::Alarm(change));
        }
        for health in news.health {
            self.tell_health(health);
        }
        if news.has_tasks {
            self.parts.care_wake.notify_one();
        }
    }

    /// After a failure the detectors' memory is ahead of the store: rebuild it, however long that takes.
    async fn start_over(&mut self) {
        loop {
            tokio::time::sleep(self.retry_pause).await;
            self.retry_pause = (self.retry_pause * 2).min(RETRY_PAUSE_MAX);
            // A store that can be read but not written to would be read in vain.
            let store = self.parts.store.as_ref();
            let restored = match store.put_setting(PROBE, "").await {
                Ok(()) => self.parts.devices.restore(store).await,
                Err(failure) => Err(failure.into()),
            };
            match restored {
                Ok(()) => return,
                Err(failure) => self.parts.metrics.outage.failed(chain(failure.as_ref())),
            }
        }
    }

    fn message(&mut self, message: &Message, draft: &mut Draft) {
        let envelope = Envelope {
            topic: &message.topic,
            payload: &message.payload,
            content_type: message.content_type.as_deref(),
            principal: message.principal.as_deref(),
            received_at: message.received_at,
        };
        let decoded = forecare_wire::decode(
            &envelope,
            self.parts.arrival_clock.now(),
            &self.parts.limits,
        );
        draft.commit.rejections.extend(decoded.rejections);
        let result = match decoded.message {
            None => Ok(()),
            Some(Inbound::Telemetry(telemetry)) => self.telemetry(&envelope, telemetry, draft),
            Some(Inbound::Event(event)) => self.event(event, draft),
            Some(Inbound::Status(status)) => self.status(status, draft),
        };
        if let Err((reason, detail)) = result {
            draft.commit.rejections.push(forecare_wire::reject(
                &envelope,
                reason,
                &detail,
                &self.parts.limits,
            ));
        }
    }

    fn telemetry(
        &mut self,
        envelope: &Envelope<'_>,
        telemetry: Telemetry<'_>,
        draft: &mut Draft,
    ) -> Result<(), (RejectReason, String)> {
        let device = telemetry.device;
        self.admit(&device, envelope.received_at, draft)?;
        if let Some(first) = telemetry.samples.first() {
            self.parts.devices.begin(&device, first.ts);
        }
        let Some(entry) = self.parts.devices.get_mut(&device) else {
            return Ok(());
        };
        let context = Arc::clone(&entry.context);
        let mut refused = Vec::new();
        let mut findings = WaveformFindings::default();
        for sample in telemetry.samples {
            let mut row = Row {
                device: device.clone(),
                ts: sample.ts,
                values: vec![None; context.class.metrics.len()],
                extra: Vec::new(),
            };
            for (name, value) in sample.values {
                match context.class.metric_index(&name) {
                    Some(index) => row.values[index] = Some(value),
                    None => match entry.monitor.extra_metric(name) {
                        Ok(metric) => row.extra.push((metric, value)),
                        Err(name) => refused.push(name),
                    },
                }
            }
            if !sample.waveforms.is_empty() {
                let extractor = &mut self.extractor;
                let class = &context.class;
                waveforms::place(
                    extractor,
                    class,
                    sample.waveforms,
                    &mut row.values,
                    &mut findings,
                );
                if row.n_readings() == 0 {
                    continue;
                }
            }
            let judged_at = self.parts.clock.judged_at(row.ts);
            let suppressed = entry.suppressed(row.ts);
            let (placement, outcome) = entry.monitor.row(&context, &row, judged_at, suppressed);
            draft.n_late += u64::from(placement == Placement::NotNewer);
            if placement != Placement::NotNewer {
                context.watch.row(
                    &context,
                    &mut entry.watched,
                    &row,
                    entry.monitor.features(),
                    &outcome,
                    suppressed,
                );
            }
            let health = outcome.health.as_ref().map(|h| h.health);
            draft.commit.rows.push(ScoredRow { row, health });
            draft.take(&device, outcome);
        }
        if let Some(seq) = telemetry.seq {
            draft.n_seq_missing += entry.monitor.sequence(seq);
        }
        if let Some(detail) = findings.detail() {
            let reason = RejectReason::InvalidWaveform;
            let rejection = forecare_wire::reject(envelope, reason, &detail, &self.parts.limits);
            draft.commit.rejections.push(rejection);
        }
        if refused.is_empty() {
            Ok(())
        } else {
            Err((
                RejectReason::TooManySeries,
                format!(
                    "{} and {} metrics unknown to the catalogue before: add them to class {}",
                    refused.join(", "),
                    EXTRA_METRICS_MAX,
                    context.class.name
                ),
            ))
        }
    }

    fn event(
        &mut self,
        event: DeviceEvent,
        draft: &mut Draft,
    ) -> Result<(), (RejectReason, String)> {
        self.admit(&event.device, event.ts, draft)?;
        let judged_at = self.parts.clock.judged_at(event.ts);
        let Some(entry) = self.parts.devices.get_mut(&event.device) else {
            return Ok(());
        };
        let mut outcome = entry.monitor.event(&entry.context, &event, judged_at);
        if entry.suppressed(event.ts) {
            let opens = |task: &CareTask| matches!(task, CareTask::Reported { .. });
            outcome.tasks.retain(|task| !opens(task));
        }
        let device = event.device.clone();
        draft.commit.events.push(event);
        draft.take(&device, outcome);
        Ok(())
    }

    fn status(
        &mut self,
        status: DeviceStatus,
        draft: &mut Draft,
    ) -> Result<(), (RejectReason, String)> {
        self.admit(&status.device, status.at, draft)?;
        draft.commit.statuses.push(status);
        Ok(())
    }

    /// Lets a known device pass, and a new one where auto-registration allows it.
    fn admit(
        &mut self,
        device: &DeviceId,
        at: Timestamp,
        draft: &mut Draft,
    ) -> Result<(), (RejectReason, String)> {
        if self.parts.devices.contains(device) {
            return Ok(());
        }
        let unknown = |why: &str| {
            (
                RejectReason::UnknownDevice,
                format!("device {device} is not registered{why}"),
            )
        };
        let Some(class) = &self.parts.auto_register else {
            return Err(unknown(
                ": register its asset (POST /api/v1/assets), or set ingest.auto_register",
            ));
        };
        if self.parts.devices.len() >= self.parts.devices_max {
            return Err(unknown(", and ingest.devices_max is reached"));
        }
        let id = AssetId::new(device.as_str())
            .map_err(|e| (RejectReason::InvalidName, e.to_string()))?;
        let asset = Asset {
            id,
            device: device.clone(),
            class: class.clone(),
            name: device.to_string(),
            site: String::new(),
            depot: None,
            registered_at: at,
        };
        draft.commit.assets.push(asset.clone());
        self.parts.devices.register(asset);
        Ok(())
    }

    /// Adds the checkpoints that are due and the devices' newest health; returns the latter where somebody listens.
    /// A batch carries only its share of the checkpoints that are due for their age: devices that began together
    /// would otherwise all be due in one batch.
    fn collect(&mut self, draft: &mut Draft, n_messages: usize) -> Vec<AssetHealth> {
        let rows_max = self.parts.checkpoint_rows;
        let share = 2 * n_messages / usize::try_from(rows_max).unwrap_or(usize::MAX).max(1);
        let mut n_left = CHECKPOINTS_MIN.max(share);
        let mut touched: Vec<_> = draft.touched.drain().collect();
        touched.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (device, health) in touched {
            if let Some(entry) = self.parts.devices.get_mut(&device) {
                let monitor = &mut entry.monitor;
                let due = monitor.needs_checkpoint(rows_max);
                if due && (n_left > 0 || monitor.must_checkpoint()) {
                    n_left = n_left.saturating_sub(1);
                    draft
                        .commit
                        .checkpoints
                        .extend(checkpoint(&device, monitor));
                }
            }
            draft.commit.health.extend(health);
        }
        if self.parts.stream.receiver_count() == 0 {
            return Vec::new();
        }
        draft.commit.health.clone()
    }

    async fn control(&mut self, request: Control) {
        let (result, reply) = match request {
            Control::Register(assets, reply) => (self.register(assets).await, reply),
            Control::Noticed(assets, reply) => {
                self.notice(assets);
                // The asker may have gone.
                reply.send(()).ok();
                return;
            }
            Control::Repaired(device, modes, at, reply) => {
                (self.repaired(&device, &modes, at).await, reply)
            }
            Control::Maintenance(window, reply) => (self.maintenance(window).await, reply),
            Control::Models(class, watch, reply) => (self.models(&class, watch).await, reply),
        };
        // The asker may have gone.
        reply.send(result).ok();
    }

    async fn register(&mut self, assets: Vec<Asset>) -> Result<(), StoreError> {
        self.parts.store.register_assets(assets.clone()).await?;
        for asset in assets {
            self.parts.devices.register(asset);
        }
        Ok(())
    }

    fn notice(&mut self, assets: Vec<Asset>) {
        for asset in assets {
            if !self.parts.devices.contains(&asset.device) {
                info!(device.id = %asset.device, class = %asset.class, "device registered by another process");
                self.parts.devices.register(asset);
            }
        }
    }

    async fn maintenance(&mut self, window: MaintenanceWindow) -> Result<(), StoreError> {
        // Rows seen so far were judged without the window: a rebuild must not judge them again.
        let mut draft = Draft::default();
        if let Some(entry) = self.parts.devices.get_mut(&window.device) {
            entry.monitor.touch();
            draft.touched.insert(window.device.clone(), None);
            self.collect(&mut draft, 0);
        }
        if let Err(failure) = self.parts.store.commit_batch(draft.commit).await {
            self.start_over().await;
            self.parts.metrics.outage.over();
            return Err(failure);
        }
        self.parts
            .store
            .put_maintenance_window(window.clone())
            .await?;
        self.parts.devices.add_window(window);
        Ok(())
    }

    async fn models(&mut self, class: &ClassName, watch: Arc<Watch>) -> Result<(), StoreError> {
        let store = Arc::clone(&self.parts.store);
        let now = self.parts.clock.now();
        let switched = self
            .parts
            .devices
            .switch(store.as_ref(), class, watch, now)
            .await;
        if switched.is_err() {
            self.start_over().await;
            self.parts.metrics.outage.over();
        }
        switched
    }

    async fn repaired(
        &mut self,
        device: &DeviceId,
        modes: &[ModeName],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(entry) = self.parts.devices.get_mut(device) else {
            return Err(StoreError::NotFound(format!("device {device}")));
        };
        let outcome = entry.monitor.repaired(&entry.context, modes, at, at);
        let mut draft = Draft::default();
        draft.take(device, outcome);
        self.collect(&mut draft, 0);
        let alarms = draft.commit.alarms.clone();
        let stored = self.parts.store.commit_batch(draft.commit).await;
        match stored {
            Ok(_) => {
                for change in alarms {
                    self.tell(StreamEvent::Alarm(change));
                }
                self.parts.care_wake.notify_one();
                Ok(())
            }
            Err(failure) => {
                self.start_over().await;
                self.parts.metrics.outage.over();
                Err(failure)
            }
        }
    }

    fn tell(&self, event: StreamEvent) {
        // Nobody listening is fine.
        self.parts.stream.send(event).ok();
    }

    /// Listeners hear of health when it has moved by a whole point.
    fn tell_health(&mut self, health: AssetHealth) {
        #[allow(clippy::cast_possible_truncation, reason = "health lies in 0..=100")]
        let points = health.health.round() as i64;
        if let Some(entry) = self.parts.devices.get_mut(&health.device)
            && entry.health_sent != Some(points)
        {
            entry.health_sent = Some(points);
            self.tell(StreamEvent::Health(health));
        }
    }
}

impl Draft {
    fn take(&mut self, device: &DeviceId, outcome: Outcome) {
        self.commit.alarms.extend(outcome.alarms);
        self.commit
            .tasks
            .extend(outcome.tasks.into_iter().map(NewTask));
        match self.touched.get_mut(device) {
            Some(newest) => *newest = outcome.health.or(newest.take()),
            None => {
                self.touched.insert(device.clone(), outcome.health);
            }
        }
    }
}

/// An error with its sources, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source
        && !TimescaleStore::is_told(inner)
    {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests;
