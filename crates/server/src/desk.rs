//! The care desk at work: takes tasks off the queue, applies the rules of `care`, stores each step whole.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use forecare_api::{Desk, DeskError, StreamEvent, TransitionRequest};
use forecare_care::{
    Assessment, CarePolicy, Need, Precision, TransitionError, confirm_due, decide, evidence_again,
    hold_ends_at, label_of, needs_of, open_ticket, outstanding, replaced_elsewhere,
    reservation_due, transition, withdraw_due,
};
use forecare_catalogue::{AssetClass, Catalogue};
use forecare_domain::{
    Actor, Alarm, AlarmId, Asset, CareTask, ClassName, Clock, DeviceId, ModeName, PartNumber,
    Reservation, TaskId, Ticket, TicketId, TicketState, Timestamp, Verdict,
};
use forecare_store::{
    CareCommit, CareOutcome, MaintenanceWindow, PageRequest, ReservationFilter, ReservationWrite,
    Store, StoreError, TicketFilter, TicketWrite,
};
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use crate::metrics::Metrics;
use crate::pipeline::{Control, chain};

/// Tasks read at once.
const TASKS_AT_ONCE: usize = 256;
/// Entries read at once when sweeping.
const PAGE: usize = 500;
/// How often timers are looked at when nothing else happens.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How often it is said again that the store does not answer.
const REMIND_EVERY: Duration = Duration::from_secs(60);

/// The care desk. Cheap to clone.
#[derive(Clone)]
pub(crate) struct CareDesk {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) policy: CarePolicy,
    pub(crate) control: mpsc::Sender<Control>,
    pub(crate) stream: broadcast::Sender<StreamEvent>,
    pub(crate) metrics: Arc<Metrics>,
    /// Tasks may be waiting.
    pub(crate) wake: Arc<Notify>,
    /// Assets by device, read from the store when one is not known.
    pub(crate) assets: Arc<Mutex<BTreeMap<DeviceId, Asset>>>,
}

/// Precision of alarms by class and mode, from all verdicts.
type Precisions = BTreeMap<(ClassName, ModeName), Precision>;

impl CareDesk {
    /// Works until `stop` turns true and the queue is empty.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reported: Option<tokio::time::Instant> = None;
        loop {
            let worked = self.work().await;
            if worked.is_ok() && reported.take().is_some() {
                info!("the care desk goes on");
            }
            match worked {
                Ok(0) if *stop.borrow() => return,
                Ok(0) => {
                    tokio::select! {
                        () = self.wake.notified() => {}
                        _ = sweep.tick() => {
                            if let Err(failure) = self.sweep(None, self.clock.now()).await {
                                warn!(error = %chain(&failure), "timers not looked at");
                            }
                        }
                        _ = stop.changed() => {}
                    }
                }
                Ok(_) => {}
                Err(failure) => {
                    // Once, then a reminder now and then: it tries every second.
                    if reported.is_none_or(|at| at.elapsed() >= REMIND_EVERY) {
                        reported = Some(tokio::time::Instant::now());
                        error!(error = %chain(&failure), "care desk stopped by the store, trying again");
                    }
                    if *stop.borrow() {
                        return;
                    }
                    tokio::time::sleep(SWEEP_EVERY).await;
                }
            }
        }
    }

    /// Does the oldest tasks; returns how many.
    pub(crate) async fn work(&self) -> Result<usize, StoreError> {
        let tasks = self.store.next_tasks(TASKS_AT_ONCE).await?;
        if tasks.is_empty() {
            return Ok(0);
        }
        let mut precisions = self.precisions().await?;
        let n_tasks = tasks.len();
        for (id, task) in tasks {
            match &task {
                CareTask::Assess { device, at, .. } => {
                    self.sweep(Some(device), *at).await?;
                    self.assess(id, &task, &mut precisions).await?;
                }
                CareTask::Cleared { device, at, .. } => {
                    self.done(id, *at).await?;
                    self.sweep(Some(device), *at).await?;
                }
                CareTask::Repaired { device, modes, at } => {
                    self.repaired(device, modes, *at).await?;
                    self.done(id, *at).await?;
                }
                CareTask::Replaced {
                    device,
                    component,
                    at,
                } => {
                    self.sweep(Some(device), *at).await?;
                    self.replaced(device, component, *at).await?;
                    self.done(id, *at).await?;
                }
            }
        }
        Ok(n_tasks)
    }

    async fn done(&self, task: TaskId, at: Timestamp) -> Result<(), StoreError> {
        self.store
            .commit_care(CareCommit {
                task: Some(task),
                at,
                ..CareCommit::default()
            })
            .await?;
        Ok(())
    }

    async fn assess(
        &self,
        id: TaskId,
        task: &CareTask,
        precisions: &mut Precisions,
    ) -> Result<(), StoreError> {
        let Some(assessment) = Assessment::of(task) else {
            return Ok(());
        };
        let Some((asset, class)) = self.asset(assessment.device).await? else {
            warn!(device.id = %assessment.device, "no asset or class for a task: left out");
            return self.done(id, assessment.at).await;
        };
        let Some(mode) = class.mode(assessment.mode) else {
            warn!(mode = %assessment.mode, "a task names a mode that the catalogue no longer has: left out");
            return self.done(id, assessment.at).await;
        };
        let key = (class.name.clone(), mode.name.clone());
        let precision = precisions
            .entry(key)
            .or_insert_with(|| Precision::prior(mode));
        let decision = decide(
            class,
            mode,
            &self.catalogue,
            &assessment,
            precision,
            &self.policy,
            assessment.at,
        );
        let open = self.open_ticket_for(&asset, &mode.name).await?;
        let ticket = match open {
            Some(ticket) => {
                match evidence_again(
                    &ticket,
                    mode,
                    &assessment,
                    &decision,
                    &self.policy,
                    assessment.at,
                ) {
                    // Only evidence that would open a ticket keeps one open.
                    Some(after) if decision.act => changed(after, Vec::new()),
                    _ => TicketWrite::None,
                }
            }
            // What a backlog tells of days ago opens nothing today.
            None if decision.act
                && assessment.at.hours_since(assessment.reading_ts)
                    < self.policy.withdraw_after_hours =>
            {
                let load = self.load().await?;
                TicketWrite::Open(Box::new(open_ticket(
                    &self.catalogue,
                    &asset,
                    mode,
                    &assessment,
                    &decision,
                    &load,
                    &self.policy,
                )))
            }
            None => TicketWrite::None,
        };
        let needs = match &ticket {
            TicketWrite::Update { ticket, .. } => self.missing_parts(ticket, assessment.at).await?,
            TicketWrite::Open(_) | TicketWrite::None => Vec::new(),
        };
        let outcome = self
            .store
            .commit_care(CareCommit {
                task: Some(id),
                decision: Some(decision),
                ticket,
                needs,
                at: assessment.at,
                ..CareCommit::default()
            })
            .await?;
        match outcome {
            CareOutcome::Opened {
                ticket,
                reservations,
            } => {
                info!(ticket.id = %ticket.id, asset.id = %ticket.asset, mode = %ticket.mode, n_reservations = reservations.len(), "ticket opened");
                self.metrics.tickets_opened.inc();
                for reservation in reservations {
                    self.metrics.reservation(&reservation);
                    self.tell(StreamEvent::Reservation(reservation));
                }
                self.tell(StreamEvent::Ticket(ticket));
            }
            CareOutcome::Updated(ticket) => self.tell(StreamEvent::Ticket(ticket)),
            CareOutcome::Stored | CareOutcome::AlreadyOpen(_) | CareOutcome::AlreadyDone => {}
        }
        Ok(())
    }

    /// The detectors forget. Once more after a crash does no harm.
    async fn repaired(
        &self,
        device: &DeviceId,
        modes: &[ModeName],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let request = Control::Repaired(device.clone(), modes.to_vec(), at, reply);
        let stopped = || StoreError::Unavailable {
            what: "the pipeline has stopped".to_owned(),
            source: None,
        };
        self.control
            .send(request)
            .await
            .map_err(|_closed| stopped())?;
        match answer.await.map_err(|_closed| stopped())? {
            // A device that is no longer registered has nothing to forget.
            Err(StoreError::NotFound(_)) => Ok(()),
            other => other,
        }
    }

    /// A component was replaced: tickets for its modes that nobody started on have lost their reason.
    async fn replaced(
        &self,
        device: &DeviceId,
        component: &forecare_domain::ComponentName,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let Some((asset, class)) = self.asset(device).await? else {
            return Ok(());
        };
        for mode in class.modes_of_component(component) {
            if let Some(ticket) = self.open_ticket_for(&asset, &mode.name).await?
                && let Some(after) = replaced_elsewhere(&ticket, at)
            {
                self.update(after, at).await?;
            }
        }
        Ok(())
    }

    /// Looks at the timers of one device's tickets and reservations, or of all.
    async fn sweep(&self, device: Option<&DeviceId>, now: Timestamp) -> Result<(), StoreError> {
        let asset = match device {
            Some(device) => match self.asset(device).await? {
                Some((asset, _)) => Some(asset.id),
                None => return Ok(()),
            },
            None => None,
        };
        let filter = TicketFilter {
            asset,
            open: None,
            unfinished: true,
        };
        let mut before = None;
        loop {
            let page = self
                .store
                .tickets(
                    &filter,
                    PageRequest {
                        before,
                        limit: PAGE,
                    },
                )
                .await?;
            before = page.last().map(|p| p.position);
            let full = page.len() == PAGE;
            for ticket in page {
                self.timers(ticket.item, now, device.is_some()).await?;
            }
            if !full {
                return Ok(());
            }
        }
    }

    async fn timers(
        &self,
        ticket: Ticket,
        now: Timestamp,
        swept_alone: bool,
    ) -> Result<(), StoreError> {
        // A silent device is no sign of health: only time with readings counts against the evidence.
        let heard = self
            .store
            .newest_reading(&ticket.device)
            .await?
            .unwrap_or(ticket.evidence_at);
        let judged = now.min(heard);
        // Evidence up to the newest reading may still be queued.
        let settled = swept_alone || self.store.next_tasks(1).await?.is_empty();
        let mut ticket = ticket;
        if let Some(after) = confirm_due(&ticket, &self.policy, now)
            .or_else(|| withdraw_due(&ticket, false, &self.policy, judged).filter(|_| settled))
            && let Some(stored) = self.update(after, now).await?
        {
            ticket = stored;
        }
        let evidence_active = judged.hours_since(ticket.evidence_at) < self.policy.soft_hold_hours;
        let writes: Vec<ReservationWrite> = self
            .held_for(ticket.id, true)
            .await?
            .iter()
            .filter_map(|held| {
                let lead_time_hours = self
                    .catalogue
                    .part(&held.part)
                    .map_or(0.0, |p| p.lead_time_hours);
                let to = reservation_due(
                    held,
                    &ticket,
                    evidence_active,
                    lead_time_hours,
                    &self.policy,
                    now,
                )?;
                let expires_at = hold_ends_at(held, &ticket, &self.policy);
                Some(ReservationWrite {
                    id: held.id,
                    from: held.state,
                    to,
                    expires_at,
                })
            })
            .collect();
        if !writes.is_empty() {
            self.store
                .commit_care(CareCommit {
                    reservations: writes,
                    at: now,
                    ..CareCommit::default()
                })
                .await?;
        }
        Ok(())
    }

    async fn held_for(&self, ticket: TicketId, live: bool) -> Result<Vec<Reservation>, StoreError> {
        let filter = ReservationFilter {
            ticket: Some(ticket),
            live,
        };
        let page = self
            .store
            .reservations(
                &filter,
                PageRequest {
                    before: None,
                    limit: PAGE,
                },
            )
            .await?;
        Ok(page.into_iter().map(|p| p.item).collect())
    }

    /// Parts a ticket needs that nothing is held for: after a hold has expired, or the fault came back.
    async fn missing_parts(
        &self,
        ticket: &Ticket,
        now: Timestamp,
    ) -> Result<Vec<(TicketId, Need)>, StoreError> {
        let Some((asset, class)) = self.asset(&ticket.device).await? else {
            return Ok(Vec::new());
        };
        let Some(mode) = class.mode(&ticket.mode) else {
            return Ok(Vec::new());
        };
        let needs = needs_of(&self.catalogue, &asset, mode, ticket, &self.policy, now);
        let held = self.held_for(ticket.id, false).await?;
        Ok(outstanding(ticket, &needs, &held)
            .into_iter()
            .map(|need| (ticket.id, need))
            .collect())
    }

    async fn update(&self, after: Ticket, at: Timestamp) -> Result<Option<Ticket>, StoreError> {
        let write = changed(after, Vec::new());
        match self
            .store
            .commit_care(CareCommit {
                ticket: write,
                at,
                ..CareCommit::default()
            })
            .await
        {
            Ok(CareOutcome::Updated(ticket)) => {
                self.tell(StreamEvent::Ticket(ticket.clone()));
                Ok(Some(*ticket))
            }
            Ok(_) => Ok(None),
            // A person was faster; the next sweep sees what they did.
            Err(StoreError::Conflict(_)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn open_ticket_for(
        &self,
        asset: &Asset,
        mode: &ModeName,
    ) -> Result<Option<Ticket>, StoreError> {
        let filter = TicketFilter {
            asset: Some(asset.id.clone()),
            open: Some(true),
            ..TicketFilter::default()
        };
        let open = self
            .store
            .tickets(
                &filter,
                PageRequest {
                    before: None,
                    limit: PAGE,
                },
            )
            .await?;
        Ok(open.into_iter().map(|t| t.item).find(|t| &t.mode == mode))
    }

    /// Open tickets per technician.
    async fn load(&self) -> Result<Vec<(String, u32)>, StoreError> {
        let mut load: BTreeMap<String, u32> = BTreeMap::new();
        let filter = TicketFilter {
            asset: None,
            open: Some(true),
            ..TicketFilter::default()
        };
        let mut before = None;
        loop {
            let page = self
                .store
                .tickets(
                    &filter,
                    PageRequest {
                        before,
                        limit: PAGE,
                    },
                )
                .await?;
            before = page.last().map(|p| p.position);
            for technician in page.iter().filter_map(|t| t.item.technician.clone()) {
                *load.entry(technician).or_default() += 1;
            }
            if page.len() < PAGE {
                return Ok(load.into_iter().collect());
            }
        }
    }

    async fn precisions(&self) -> Result<Precisions, StoreError> {
        let mut precisions = Precisions::new();
        let mut before = None;
        loop {
            let page = self
                .store
                .labels(PageRequest {
                    before,
                    limit: PAGE,
                })
                .await?;
            before = page.last().map(|p| p.position);
            for label in &page {
                if let Some((_, class)) = self.asset(&label.item.device).await?
                    && let Some(mode) = class.mode(&label.item.mode)
                {
                    precisions
                        .entry((class.name.clone(), mode.name.clone()))
                        .or_insert_with(|| Precision::prior(mode))
                        .observe(&label.item.verdict);
                }
            }
            if page.len() < PAGE {
                return Ok(precisions);
            }
        }
    }

    async fn asset(&self, device: &DeviceId) -> Result<Option<(Asset, &AssetClass)>, StoreError> {
        let known = self
            .assets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(device)
            .cloned();
        let asset = match known {
            Some(asset) => asset,
            None => {
                let all = self.store.assets().await?;
                let mut assets = self.assets.lock().unwrap_or_else(PoisonError::into_inner);
                *assets = all.into_iter().map(|a| (a.device.clone(), a)).collect();
                match assets.get(device) {
                    Some(asset) => asset.clone(),
                    None => return Ok(None),
                }
            }
        };
        Ok(self
            .catalogue
            .class(&asset.class)
            .map(|class| (asset, class)))
    }

    fn tell(&self, event: StreamEvent) {
        // Nobody listening is fine.
        self.stream.send(event).ok();
    }

    async fn ask_pipeline(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<(), StoreError>>) -> Control,
    ) -> Result<(), DeskError> {
        let (reply, answer) = oneshot::channel();
        let stopped = || DeskError::Unavailable("the service is shutting down".to_owned());
        self.control
            .send(request(reply))
            .await
            .map_err(|_closed| stopped())?;
        answer
            .await
            .map_err(|_closed| stopped())?
            .map_err(|failure| desk_error(&failure))
    }
}

fn changed(after: Ticket, parts_used: Vec<(PartNumber, u32)>) -> TicketWrite {
    TicketWrite::Update {
        ticket: Box::new(after),
        parts_used,
    }
}

fn desk_error(failure: &StoreError) -> DeskError {
    match failure {
        StoreError::NotFound(_) => DeskError::NotFound(failure.to_string()),
        StoreError::Conflict(_) => DeskError::Conflict(failure.to_string()),
        StoreError::Unavailable { .. } | StoreError::Corrupt { .. } => {
            error!(error = %chain(failure), "the store refused");
            DeskError::Unavailable("the store does not answer; try again in a moment".to_owned())
        }
    }
}

#[async_trait]
impl Desk for CareDesk {
    async fn transition(
        &self,
        id: TicketId,
        request: TransitionRequest,
        by: Actor,
    ) -> Result<Ticket, DeskError> {
        let failed = |failure: StoreError| desk_error(&failure);
        // A key counts for this ticket only.
        let key = request.idempotency_key.map(|key| format!("{id}:{key}"));
        if let Some(key) = &key
            && let Some(CareOutcome::Updated(ticket)) =
                self.store.outcome(key).await.map_err(failed)?
        {
            return Ok(*ticket);
        }
        let ticket = self.store.ticket(id).await.map_err(failed)?;
        if request
            .if_version
            .is_some_and(|version| version != ticket.version)
        {
            return Err(DeskError::PreconditionFailed {
                current: ticket.version,
            });
        }
        for (part, _) in &request.parts_used {
            if self.catalogue.part(part).is_none() {
                return Err(DeskError::Invalid(format!(
                    "the catalogue has no part \"{part}\""
                )));
            }
        }
        let now = self.clock.now();
        let mut after =
            match transition(&ticket, request.to, by, &request.why, request.verdict, now) {
                Ok(after) => after,
                Err(TransitionError::Illegal(illegal)) => {
                    return Err(DeskError::Conflict(illegal.to_string()));
                }
                Err(refused) => return Err(DeskError::Invalid(refused.to_string())),
            };
        if let Some(technician) = request.technician {
            if !self
                .catalogue
                .technicians
                .iter()
                .any(|t| t.name == technician)
            {
                return Err(DeskError::Invalid(format!(
                    "there is no technician \"{technician}\" in the catalogue"
                )));
            }
            after.technician = Some(technician);
        }
        let verdict = after
            .verdict
            .clone()
            .filter(|_| request.to == TicketState::Resolved);
        // The detectors forget what the ticket was about in any case: a fault that was mended is gone, and one
        // that was not found is this machine's normal, or its sensor's.
        let follow_up = verdict.map(|verdict| CareTask::Repaired {
            device: after.device.clone(),
            modes: match verdict {
                Verdict::WrongMode { actual } => vec![after.mode.clone(), actual],
                Verdict::Confirmed { .. }
                | Verdict::TooEarly
                | Verdict::NoFaultFound
                | Verdict::DataFault => vec![after.mode.clone()],
            },
            at: now,
        });
        let needs = if request.to == TicketState::Reopened {
            self.missing_parts(&after, now).await.map_err(failed)?
        } else {
            Vec::new()
        };
        let commit = CareCommit {
            needs,
            label: follow_up.as_ref().and_then(|_| label_of(&after)),
            follow_up,
            idempotency_key: key,
            ticket: changed(after, request.parts_used),
            at: now,
            ..CareCommit::default()
        };
        let stored = match self.store.commit_care(commit).await {
            Ok(CareOutcome::Updated(ticket)) => *ticket,
            Ok(_) => self.store.ticket(id).await.map_err(failed)?,
            Err(StoreError::Conflict(text)) => {
                let current = self.store.ticket(id).await.map_err(failed)?.version;
                return Err(match request.if_version {
                    Some(_) if current != ticket.version => {
                        DeskError::PreconditionFailed { current }
                    }
                    _ => DeskError::Conflict(text),
                });
            }
            Err(failure) => return Err(desk_error(&failure)),
        };
        self.wake.notify_one();
        self.tell(StreamEvent::Ticket(Box::new(stored.clone())));
        Ok(stored)
    }

    async fn acknowledge_alarm(&self, id: &AlarmId, by: Actor) -> Result<Alarm, DeskError> {
        self.store
            .acknowledge_alarm(id, &by, self.clock.now())
            .await
            .map_err(|failure| desk_error(&failure))
    }

    async fn register_assets(&self, assets: Vec<Asset>) -> Result<(), DeskError> {
        for asset in &assets {
            if self.catalogue.class(&asset.class).is_none() {
                let known: Vec<&str> = self
                    .catalogue
                    .classes
                    .iter()
                    .map(|c| c.name.as_str())
                    .collect();
                return Err(DeskError::Invalid(format!(
                    "asset {}: the catalogue has no class \"{}\"; it has {}",
                    asset.id,
                    asset.class,
                    known.join(", ")
                )));
            }
        }
        self.ask_pipeline(|reply| Control::Register(assets, reply))
            .await?;
        self.assets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        Ok(())
    }

    async fn set_maintenance(&self, window: MaintenanceWindow) -> Result<(), DeskError> {
        if window.from >= window.to {
            return Err(DeskError::Invalid(
                "a maintenance window must end after it begins".to_owned(),
            ));
        }
        self.ask_pipeline(|reply| Control::Maintenance(window, reply))
            .await
    }
}
