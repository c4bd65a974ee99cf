//! The pipeline's loop: one batch, one transaction, then the acknowledgement.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use forecare_api::StreamEvent;
use forecare_domain::{
    Asset, AssetHealth, AssetId, ClassName, Clock, DeviceEvent, DeviceId, DeviceStatus, ModeName,
    RejectReason, Row, Timestamp,
};
use forecare_ingest::{Batch, BatchLimit, Message, Source};
use forecare_store::{CommitBatch, MaintenanceWindow, NewTask, ScoredRow, Store, StoreError};
use forecare_wire::{Envelope, Inbound, Limits, Telemetry};
use tokio::sync::{Notify, broadcast, mpsc, oneshot};
use tracing::{error, info, warn};

use super::devices::{Devices, checkpoint};
use super::monitor::{EXTRA_METRICS_MAX, Outcome, Placement};
use crate::metrics::Metrics;

/// Pause after a batch that could not be stored, doubled up to the maximum.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);

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

/// The running pipeline.
pub(crate) struct Pipeline {
    parts: PipelineParts,
    retry_pause: Duration,
}

/// A batch being collected.
#[derive(Default)]
struct Draft {
    commit: CommitBatch,
    health: BTreeMap<DeviceId, AssetHealth>,
    touched: BTreeSet<DeviceId>,
    n_late: u64,
    n_seq_missing: u64,
}

impl Pipeline {
    pub(crate) fn new(parts: PipelineParts) -> Self {
        Self {
            parts,
            retry_pause: RETRY_PAUSE_MIN,
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
        loop {
            let batch = {
                let limit = self.parts.batch;
                let mut next = pin!(source.next_batch(limit));
                loop {
                    tokio::select! {
                        batch = &mut next => break batch,
                        Some(request) = control.recv() => self.control(request).await,
                    }
                }
            };
            let Some(batch) = batch else { break };
            self.batch(source.as_mut(), batch).await?;
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

    async fn batch(&mut self, source: &mut dyn Source, batch: Batch) -> anyhow::Result<()> {
        let n_messages = batch.messages.len();
        let timer = self.parts.metrics.batch_seconds.start_timer();
        let mut draft = Draft::default();
        for message in &batch.messages {
            self.message(message, &mut draft);
        }
        self.collect(&mut draft);
        let Draft {
            commit,
            health,
            n_late,
            n_seq_missing,
            ..
        } = draft;
        let alarms = commit.alarms.clone();
        let reasons: Vec<RejectReason> = commit.rejections.iter().map(|r| r.reason).collect();
        let has_tasks = !commit.tasks.is_empty();
        match self.parts.store.commit_batch(commit).await {
            Ok(receipt) => {
                source.commit(batch.position).await;
                timer.observe_duration();
                self.retry_pause = RETRY_PAUSE_MIN;
                let metrics = &self.parts.metrics;
                metrics
                    .messages
                    .inc_by(u64::try_from(n_messages).unwrap_or(0));
                metrics.readings_stored.inc_by(receipt.inserted);
                metrics.readings_duplicate.inc_by(receipt.duplicates);
                metrics.readings_conflicting.inc_by(receipt.conflicts);
                metrics.rows_late.inc_by(n_late);
                metrics.sequence_missing.inc_by(n_seq_missing);
                metrics
                    .devices
                    .set(i64::try_from(self.parts.devices.len()).unwrap_or(i64::MAX));
                for reason in reasons {
                    metrics.rejected(reason);
                }
                for change in alarms {
                    metrics.alarm(&change);
                    self.tell(StreamEvent::Alarm(change));
                }
                for health in health.into_values() {
                    self.tell_health(health);
                }
                if has_tasks {
                    self.parts.care_wake.notify_one();
                }
                Ok(())
            }
            Err(failure) => {
                timer.stop_and_discard();
                error!(n_messages, error = %chain(&failure), "batch not stored: not acknowledged, to be delivered again");
                self.parts.metrics.batches_failed.inc();
                source.abandon(batch.position).await;
                self.start_over().await;
                Ok(())
            }
        }
    }

    /// After a failure the detectors' memory is ahead of the store: rebuild it, however long that takes.
    async fn start_over(&mut self) {
        loop {
            tokio::time::sleep(self.retry_pause).await;
            self.retry_pause = (self.retry_pause * 2).min(RETRY_PAUSE_MAX);
            match self.parts.devices.restore(self.parts.store.as_ref()).await {
                Ok(()) => return,
                Err(error) => warn!(
                    error = format!("{error:#}"),
                    "the store does not answer yet"
                ),
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
        let Some(entry) = self.parts.devices.get_mut(&device) else {
            return Ok(());
        };
        let context = Arc::clone(&entry.context);
        let mut refused = Vec::new();
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
            let judged_at = self.parts.clock.judged_at(row.ts);
            let suppressed = entry.suppressed(row.ts);
            let (placement, outcome) = entry.monitor.row(&context, &row, judged_at, suppressed);
            draft.n_late += u64::from(placement == Placement::NotNewer);
            let health = outcome.health.as_ref().map(|h| h.health);
            draft.commit.rows.push(ScoredRow { row, health });
            draft.take(&device, outcome);
        }
        if let Some(seq) = telemetry.seq {
            draft.n_seq_missing += entry.monitor.sequence(seq);
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
        let outcome = entry.monitor.event(&entry.context, &event, judged_at);
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

    /// Adds the checkpoints that are due.
    fn collect(&mut self, draft: &mut Draft) {
        for device in &draft.touched {
            if let Some(entry) = self.parts.devices.get_mut(device)
                && entry.monitor.needs_checkpoint(self.parts.checkpoint_rows)
            {
                draft
                    .commit
                    .checkpoints
                    .extend(checkpoint(device, &mut entry.monitor));
            }
        }
        draft.commit.health.extend(draft.health.values().cloned());
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
            draft.touched.insert(window.device.clone());
            self.collect(&mut draft);
        }
        if let Err(failure) = self.parts.store.commit_batch(draft.commit).await {
            self.start_over().await;
            return Err(failure);
        }
        self.parts
            .store
            .put_maintenance_window(window.clone())
            .await?;
        self.parts.devices.add_window(window);
        Ok(())
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
        self.collect(&mut draft);
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
        self.touched.insert(device.clone());
        self.commit.alarms.extend(outcome.alarms);
        self.commit
            .tasks
            .extend(outcome.tasks.into_iter().map(NewTask));
        if let Some(health) = outcome.health {
            self.health.insert(device.clone(), health);
        }
    }
}

/// An error with its sources, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
