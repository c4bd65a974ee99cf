//! The care desk at work: takes tasks off the queue, takes the steps of [`rules`], tells who listens.

mod appointments;
mod automation;
mod crew;
mod opening;
mod planner;
mod rules;
mod schedules;
mod terms;
#[cfg(test)]
mod tests;
mod work;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use forecare_api::{
    AssignmentRequest, Desk, DeskError, OpenRequest, StreamEvent, TransitionRequest, WorkRequest,
    request_key,
};
use forecare_care::appointments::Appointments;
use forecare_care::dispatch::{AssignError, Slot, assign};
use forecare_care::sla::sla_due;
use forecare_care::work::parts_named;
use forecare_care::{Assessment, CarePolicy, Precision, TicketRules, TransitionError, transition};
use forecare_catalogue::{AssetClass, Catalogue};
use forecare_domain::{
    Actor, Alarm, AlarmId, Asset, CareTask, ClassName, Clock, DeviceId, DispatchOverride, ModeName,
    PartNumber, TaskId, Ticket, TicketId, TicketState, Timestamp,
};
use forecare_store::{CareCommit, CareOutcome, MaintenanceWindow, Store, StoreError, every};
use tokio::sync::{Notify, Semaphore, broadcast, mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use crate::metrics::Metrics;
use crate::pipeline::{Control, chain};

pub(crate) use automation::{Automation, Rehearsed, Scene, Span};
pub(crate) use planner::DispatchSettings;
pub(crate) use rules::{Book, Clocks, Rules, Subject, step};
pub(crate) use terms::Terms;

/// Tasks read at once.
const TASKS_AT_ONCE: usize = 256;
/// How often timers are looked at when nothing else happens.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Searches for times at once.
pub(crate) const SLOT_PLACES: usize = 2;
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
    /// Service levels.
    pub(crate) terms: Arc<Terms>,
    /// Kinds of tickets, checklists, schedules.
    pub(crate) tickets: Arc<TicketRules>,
    /// Rules of automation, and what came of them.
    pub(crate) automation: Arc<Automation>,
    /// What the dispatcher is told.
    pub(crate) dispatch: Arc<DispatchSettings>,
    /// Tasks may be waiting.
    pub(crate) wake: Arc<Notify>,
    /// Merges, and visits that customers choose: one at a time, each by what the one before has left.
    pub(crate) one_by_one: Arc<tokio::sync::Mutex<()>>,
    /// Who may search for times at once.
    pub(crate) slot_places: Arc<Semaphore>,
    /// When customers may have somebody come.
    pub(crate) appointments: Arc<Appointments>,
    /// Tickets have changed: the plan is old.
    pub(crate) replan: Arc<Notify>,
    /// Assets by device, read from the store when one is not known.
    pub(crate) assets: Arc<Mutex<BTreeMap<DeviceId, Asset>>>,
}

/// Precision of alarms by class and mode, from all verdicts.
type Precisions = BTreeMap<(ClassName, ModeName), Precision>;

impl CareDesk {
    /// Works until `stop` turns true and the queue is empty.
    pub(crate) async fn run(self, stop: watch::Receiver<bool>) {
        tokio::join!(
            self.run_tasks(stop.clone()),
            self.run_planner(stop.clone()),
            self.run_schedules(stop.clone()),
            self.run_automation(stop)
        );
    }

    async fn run_tasks(&self, mut stop: watch::Receiver<bool>) {
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
                            if let Err(failure) = self.look_around().await {
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

    /// What is to be done when nothing happens: the registry may have changed, timers may have run out.
    async fn look_around(&self) -> Result<(), StoreError> {
        self.terms.refresh(&*self.store).await?;
        self.sweep(None, self.clock.now()).await
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
                CareTask::Reported { event, at } => self.reported(id, event, *at).await?,
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
        let subject = Subject {
            asset: &asset,
            class,
            mode,
        };
        let outcome = self
            .rules()
            .assess(Some(id), &assessment, subject, precision)
            .await?;
        match outcome {
            CareOutcome::Opened {
                ticket,
                reservations,
            } => {
                info!(ticket.id = %ticket.id, asset.id = %ticket.asset, mode = ?ticket.mode, n_reservations = reservations.len(), "ticket opened");
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
        for ticket in self.rules().replaced(&asset, class, component, at).await? {
            self.tell(StreamEvent::Ticket(Box::new(ticket)));
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
        for ticket in self.rules().sweep(asset.as_ref(), now).await? {
            self.tell(StreamEvent::Ticket(Box::new(ticket)));
        }
        Ok(())
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            book: &self.store,
            catalogue: &self.catalogue,
            policy: &self.policy,
            terms: &self.terms,
            tickets: Some(&self.tickets),
            clocks: Some(self.clocks()),
        }
    }

    fn clocks(&self) -> Clocks<'_> {
        Clocks {
            terms: &self.terms,
            metrics: &self.metrics,
        }
    }

    async fn precisions(&self) -> Result<Precisions, StoreError> {
        let mut precisions = Precisions::new();
        for label in every(|page| self.store.labels(page)).await? {
            if let Some((_, class)) = self.asset(&label.device).await?
                && let Some(mode) = class.mode(&label.mode)
            {
                precisions
                    .entry((class.name.clone(), mode.name.clone()))
                    .or_insert_with(|| Precision::prior(mode))
                    .observe(&label.verdict);
            }
        }
        Ok(precisions)
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
                self.terms.know(&all);
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
        if matches!(event, StreamEvent::Ticket(_)) {
            self.replan.notify_one();
        }
        // Nobody listening is fine.
        self.stream.send(event).ok();
    }

    /// Is there such a technician?
    fn known(&self, technician: &str) -> Result<(), DeskError> {
        let mut names = self.catalogue.technicians.iter().map(|t| &t.name);
        if self.terms.is_technician(technician) || names.any(|name| name == technician) {
            return Ok(());
        }
        Err(DeskError::Invalid(format!(
            "there is no technician \"{technician}\", neither in the registry (active) nor in the catalogue"
        )))
    }

    /// `why` with what `technician` has not that the work asks for; refused where that is something and no reason is
    /// given.
    async fn why_all_the_same(
        &self,
        ticket: &Ticket,
        technician: &str,
        start_at: Option<Timestamp>,
        why: &str,
    ) -> Result<String, DeskError> {
        let lacking = self.lacking(ticket, technician, start_at).await;
        let lacking = lacking.map_err(|failure| desk_error(&failure))?.join(", ");
        if lacking.is_empty() {
            return Ok(why.to_owned());
        }
        if why.trim().is_empty() {
            return Err(DeskError::Invalid(format!(
                "why: say why {technician} is to do it all the same: {lacking}"
            )));
        }
        Ok(format!("({lacking}) {}", why.trim()))
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

/// Parts name one that nobody knows.
fn no_part(field: &str, part: &PartNumber) -> DeskError {
    DeskError::Invalid(format!(
        "{field}: the catalogue has no part or kit \"{part}\""
    ))
}

fn desk_error(failure: &StoreError) -> DeskError {
    match failure {
        StoreError::NotFound(_) => DeskError::NotFound(failure.to_string()),
        StoreError::Conflict(_) => DeskError::Conflict(failure.to_string()),
        StoreError::Unavailable { .. }
        | StoreError::Misconfigured(_)
        | StoreError::Corrupt { .. } => {
            error!(error = %chain(failure), "the store refused");
            DeskError::Unavailable("the store does not answer; try again in a moment".to_owned())
        }
    }
}

/// What a person's request finds.
enum Requested {
    /// It was done before: the ticket after it.
    Done(Box<Ticket>),
    /// The ticket as it is, and the key to store the step under.
    Open {
        key: Option<String>,
        ticket: Box<Ticket>,
    },
}

impl CareDesk {
    /// Reads the ticket for a request: done before under this key, or moved on from the version it was made for?
    async fn for_request(
        &self,
        id: TicketId,
        key: Option<String>,
        if_version: Option<i64>,
    ) -> Result<Requested, DeskError> {
        let failed = |failure: StoreError| desk_error(&failure);
        let key = key.map(|key| request_key(id, &key));
        if let Some(key) = &key
            && let Some(CareOutcome::Updated(ticket)) =
                self.store.outcome(key).await.map_err(failed)?
        {
            return Ok(Requested::Done(ticket));
        }
        let ticket = self.store.ticket(id).await.map_err(failed)?;
        if if_version.is_some_and(|version| version != ticket.version) {
            return Err(DeskError::PreconditionFailed {
                current: ticket.version,
            });
        }
        let ticket = Box::new(ticket);
        Ok(Requested::Open { key, ticket })
    }

    /// Lays down who does a ticket and when, or leaves it to the dispatcher again.
    async fn lay_down(
        &self,
        id: TicketId,
        mut request: AssignmentRequest,
        by: Actor,
    ) -> Result<Ticket, DeskError> {
        let failed = |failure: StoreError| desk_error(&failure);
        let (key, ticket) = match self
            .for_request(id, request.idempotency_key.take(), request.if_version)
            .await?
        {
            Requested::Done(ticket) => return Ok(*ticket),
            Requested::Open { key, ticket } => (key, *ticket),
        };
        if let Some(technician) = &request.technician {
            self.known(technician)?;
        }
        let now = self.clock.now();
        if request.start_at.is_some_and(|at| at < now) {
            return Err(DeskError::Invalid(format!(
                "start_at must not lie in the past: it is {now}"
            )));
        }
        let (technician, start_at) = (request.technician, request.start_at);
        let why = match &technician {
            Some(technician) => {
                self.why_all_the_same(&ticket, technician, start_at, &request.why)
                    .await?
            }
            None => request.why,
        };
        let after = match assign(&ticket, technician, start_at, by, &why, now) {
            Ok(after) => after,
            Err(refused @ (AssignError::TooLate(_) | AssignError::NothingLaidDown)) => {
                return Err(DeskError::Conflict(refused.to_string()));
            }
            Err(refused @ AssignError::NoReason) => {
                return Err(DeskError::Invalid(format!("why: {refused}")));
            }
        };
        let commit = step(after, ticket.state, Vec::new(), Vec::new(), key, now);
        let stored = match self.store.commit_care(commit).await {
            Ok(CareOutcome::Updated(ticket)) => *ticket,
            Ok(_) => self.store.ticket(id).await.map_err(failed)?,
            Err(failure) => return Err(desk_error(&failure)),
        };
        self.tell(StreamEvent::Ticket(Box::new(stored.clone())));
        Ok(stored)
    }
}

#[async_trait]
impl Desk for CareDesk {
    async fn work(
        &self,
        id: TicketId,
        request: WorkRequest,
        by: Actor,
    ) -> Result<Ticket, DeskError> {
        self.work_on(id, request, by).await
    }

    async fn open_ticket(&self, request: OpenRequest, by: Actor) -> Result<Ticket, DeskError> {
        let asset = self.store.asset(&request.asset).await;
        let asset = asset.map_err(|failure| desk_error(&failure))?;
        let Some(asset) = asset else {
            return Err(DeskError::Invalid(format!(
                "asset_id: there is no asset \"{}\"",
                request.asset
            )));
        };
        self.open_for_person(&asset, request, by).await
    }

    async fn transition(
        &self,
        id: TicketId,
        mut request: TransitionRequest,
        by: Actor,
    ) -> Result<Ticket, DeskError> {
        let failed = |failure: StoreError| desk_error(&failure);
        let (key, ticket) = match self
            .for_request(id, request.idempotency_key.take(), request.if_version)
            .await?
        {
            Requested::Done(ticket) => return Ok(*ticket),
            Requested::Open { key, ticket } => (key, *ticket),
        };
        let parts_used = std::mem::take(&mut request.parts_used);
        let parts_used = parts_named(self.catalogue.as_ref(), parts_used)
            .map_err(|part| no_part("parts_used", &part))?;
        self.all_booked(id, &parts_used).await?;
        let now = self.clock.now();
        // What fell due on its clocks before this step is said before it.
        let (ticket, mut signals) =
            sla_due(&ticket, &self.terms.of(&ticket), now).unwrap_or_else(|| (ticket, Vec::new()));
        if let Some(technician) = &request.technician {
            self.known(technician)?;
            request.why = self
                .why_all_the_same(&ticket, technician, None, &request.why)
                .await?;
        }
        let actor = by.clone();
        let mut after =
            match transition(&ticket, request.to, by, &request.why, request.verdict, now) {
                Ok(after) => after,
                Err(
                    refused @ (TransitionError::Illegal(_) | TransitionError::ChecklistOpen(_)),
                ) => {
                    return Err(DeskError::Conflict(refused.to_string()));
                }
                Err(refused) => return Err(DeskError::Invalid(refused.to_string())),
            };
        if request.to == TicketState::Resolved
            && let Some(kind) = self.tickets.kind(ticket.kind.as_str())
        {
            let missing = kind.missing(&ticket.work.fields);
            let missing: Vec<&str> = missing.map(|field| field.title.as_str()).collect();
            if !missing.is_empty() {
                return Err(DeskError::Conflict(format!(
                    "before {} is resolved fill in: {}",
                    ticket.id,
                    missing.join(", ")
                )));
            }
        }
        if let Some(technician) = request.technician {
            // A person's choice: the dispatcher plans around it.
            after.assignment = Some(DispatchOverride {
                technician: technician.clone(),
                start_at: None,
                why: request.why.clone(),
                by: actor.clone(),
                at: now,
            });
            after.technician = Some(technician);
        }
        signals.extend(self.clocks().carry(&ticket, &mut after, &actor, now));
        let needs = match self.asset(&after.device).await.map_err(failed)? {
            Some((asset, class)) if request.to == TicketState::Reopened => self
                .rules()
                .missing_parts(&asset, class, &after, now)
                .await
                .map_err(failed)?,
            _ => Vec::new(),
        };
        let commit = step(after, request.to, needs, parts_used, key, now);
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
        self.metrics.sla(&signals);
        self.wake.notify_one();
        self.tell(StreamEvent::Ticket(Box::new(stored.clone())));
        Ok(stored)
    }

    async fn assign(
        &self,
        id: TicketId,
        request: AssignmentRequest,
        by: Actor,
    ) -> Result<Ticket, DeskError> {
        self.lay_down(id, request, by).await
    }

    async fn slots(&self, id: TicketId) -> Result<Vec<Slot>, DeskError> {
        self.slots_for(id).await
    }

    async fn take_slot(
        &self,
        id: TicketId,
        from: Timestamp,
        by: Actor,
    ) -> Result<Ticket, DeskError> {
        self.take_slot_of(id, from, by).await
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
        self.terms.assets_changed();
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
