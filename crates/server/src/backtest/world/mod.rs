//! A course of things under a policy: what the monitors tell is taken in order of time by the care desk's own steps;
//! parts arrive, people work, faults strike or are prevented. What a technician finds is told to the monitor, as in the
//! service.

mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, Result};
use forecare_care::{Assessment, Precision};
use forecare_catalogue::{AssetClass, FailureMode, UNKNOWN_MODE};
use forecare_domain::{
    Asset, CareTask, ClassName, DeviceEvent, ModeName, Priority, Ticket, TicketId, TicketState,
    Timestamp, Verdict,
};
use forecare_store::{CareCommit, CareOutcome};
use tokio::runtime::Handle;

use crate::backtest::Period;
use crate::backtest::book::{Arrival, SimulatedBook};
use crate::backtest::crew::Crew;
use crate::backtest::device::{DeviceCourse, Played};
use crate::backtest::history::{Piece, Records, in_parallel};
use crate::backtest::policy::Policy;
use crate::backtest::tally::{Fate, Spent, Tally};
use crate::backtest::truth::Truth;
use crate::desk::{Book, Rules, Subject};
use crate::pipeline::{ClassContext, class_contexts};
use work::{Job, Work};

/// Hours between two looks at the timers of an open ticket.
const LOOK_HOURS: f64 = 1.0;
/// A fault counts if its machine sent a reading in so many hours before it.
pub(crate) const SEEN_WITHIN_H: f64 = 24.0;

/// What happens by itself. At one instant in this order, devices between faults and the rest.
enum Event {
    Fault(usize),
    Arrival(Arrival),
    WorkEnd(Work),
    /// At a ticket of a device.
    Look(TicketId, usize),
    Dispatch,
}

/// Rank of what devices tell among the events of an instant.
const DEVICES: u8 = 1;

impl Event {
    fn rank(&self) -> u8 {
        match self {
            Self::Fault(_) => 0,
            Self::Arrival(_) => 2,
            Self::WorkEnd(_) => 3,
            Self::Look(..) => 4,
            Self::Dispatch => 5,
        }
    }
}

/// What all courses share.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) records: &'a Records,
    pub(crate) truth: &'a Truth,
    /// Events that detectors may see.
    pub(crate) events: &'a [Vec<DeviceEvent>],
    pub(crate) period: Period,
    /// A visit is right if the fault strikes within so many hours; `None`: the class's horizon.
    pub(crate) right_within_hours: Option<f64>,
    pub(crate) n_threads: usize,
}

/// A course of things.
pub(crate) struct World<'a> {
    given: Given<'a>,
    pub(crate) policy: &'a Policy,
    book: SimulatedBook,
    courses: Vec<DeviceCourse>,
    crew: Crew,
    precisions: BTreeMap<(ClassName, ModeName), Precision>,
    pub(crate) fates: Vec<Fate>,
    /// What waits, in the order in which it is looked at.
    jobs: Vec<Job>,
    queue: BTreeMap<(Timestamp, u8, i64), Event>,
    n_queued: i64,
    /// When each device that has something to tell tells it.
    heads: BTreeSet<(Timestamp, usize)>,
    pub(crate) tally: Tally,
}

impl<'a> World<'a> {
    pub(crate) async fn new(policy: &'a Policy, given: Given<'a>) -> Result<Self> {
        let contexts = class_contexts(&policy.catalogue, policy.models.clone(), &policy.classes)?;
        let contexts: Vec<Arc<ClassContext>> = contexts
            .iter()
            .map(|context| Arc::new(context.explaining_alarms_only()))
            .collect();
        let courses = given.records.assets.iter().map(|asset| {
            let context = contexts.iter().find(|c| c.class.name == asset.class);
            let context = context.with_context(|| format!("no class {}", asset.class))?;
            Ok(DeviceCourse::new(Arc::clone(context)))
        });
        let mut world = Self {
            given,
            policy,
            book: SimulatedBook::new(&policy.catalogue, given.period.from).await?,
            courses: courses.collect::<Result<_>>()?,
            crew: Crew::new(policy.crew.clone(), policy.catalogue.technicians.clone()),
            precisions: BTreeMap::new(),
            fates: vec![Fate::Ahead; given.truth.faults.len()],
            jobs: Vec::new(),
            queue: BTreeMap::new(),
            n_queued: 0,
            heads: BTreeSet::new(),
            tally: Tally::default(),
        };
        for (place, fault) in given.truth.faults.iter().enumerate() {
            if given.period.from <= fault.at && fault.at < given.period.to {
                world.at(fault.at, Event::Fault(place));
            }
        }
        for label in given
            .records
            .labels
            .iter()
            .filter(|l| l.at < given.period.from)
        {
            let device = given
                .records
                .assets
                .binary_search_by(|a| a.device.cmp(&label.device));
            if let Ok(device) = device {
                world.learn(device, &label.mode, &label.verdict);
            }
        }
        Ok(world)
    }

    /// Plays a piece of history.
    pub(crate) fn play(&mut self, piece: &Piece<'_>, runtime: &Handle) -> Result<()> {
        let given = self.given;
        let mut numbered: Vec<(usize, &mut DeviceCourse)> =
            self.courses.iter_mut().enumerate().collect();
        in_parallel(&mut numbered, given.n_threads, |(device, course)| {
            course.play(played(given, piece, *device));
        });
        self.heads.clear();
        for (device, course) in self.courses.iter().enumerate() {
            self.heads.extend(course.next_at().map(|at| (at, device)));
        }
        runtime.block_on(self.pass(piece))
    }

    /// Everything of a piece in order of time.
    async fn pass(&mut self, piece: &Piece<'_>) -> Result<()> {
        loop {
            let told = self.heads.first().map(|(at, _)| (*at, DEVICES));
            let event = self
                .queue
                .first_key_value()
                .map(|((at, rank, _), _)| (*at, *rank));
            let Some(next) = [told, event].into_iter().flatten().min() else {
                return Ok(());
            };
            let (now, _) = next;
            if now > piece.end || now >= self.given.period.to {
                return Ok(());
            }
            if told == Some(next) {
                self.device(piece).await?;
            } else if let Some((_, event)) = self.queue.pop_first() {
                match event {
                    Event::Fault(place) => self.fault(place, now, piece).await?,
                    Event::Arrival(arrival) => {
                        self.book.receive(arrival).await?;
                        self.at(now, Event::Dispatch);
                    }
                    Event::WorkEnd(work) => self.work_end(work, now, piece).await?,
                    Event::Look(ticket, device) => self.look(ticket, device, now, piece).await?,
                    Event::Dispatch => self.dispatch(now, piece).await?,
                }
            }
            for arrival in self.book.take_arrivals() {
                self.at(arrival.at, Event::Arrival(arrival));
            }
        }
    }

    fn at(&mut self, at: Timestamp, event: Event) {
        let rank = event.rank();
        // One look at a ticket, and one dispatch, is enough at an instant.
        let number = match &event {
            Event::Look(ticket, _) => ticket.0,
            Event::Dispatch => 0,
            Event::Fault(_) | Event::Arrival(_) | Event::WorkEnd(_) => {
                self.n_queued += 1;
                self.n_queued
            }
        };
        self.queue.insert((at, rank, number), event);
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            book: &self.book,
            catalogue: &self.policy.catalogue,
            policy: &self.policy.care,
            terms: &self.policy.terms,
            tickets: None,
            clocks: None,
        }
    }

    fn asset(&self, device: usize) -> &'a Asset {
        &self.given.records.assets[device]
    }

    fn class(&self, device: usize) -> Result<&'a AssetClass> {
        let name = &self.asset(device).class;
        let class = self.policy.catalogue.class(name);
        class.with_context(|| format!("no class {name}"))
    }

    fn mode(&self, device: usize, mode: &ModeName) -> Result<&'a FailureMode> {
        let found = self.class(device)?.mode(mode);
        found.with_context(|| format!("no failure mode {mode}"))
    }

    fn heard(&self, device: usize, now: Timestamp, piece: &Piece<'_>) -> Option<Timestamp> {
        self.courses[device].heard_at(now, piece.rows[device])
    }

    fn hear(&self, device: usize, now: Timestamp, piece: &Piece<'_>) {
        self.book.hear(self.heard(device, now, piece));
    }

    fn key(&self, device: usize, mode: &ModeName) -> (ClassName, ModeName) {
        (self.asset(device).class.clone(), mode.clone())
    }

    fn learn(&mut self, device: usize, mode: &ModeName, verdict: &Verdict) {
        let key = self.key(device, mode);
        if let Ok(mode) = self.mode(device, mode) {
            self.precisions
                .entry(key)
                .or_insert_with(|| Precision::prior(mode))
                .observe(verdict);
        }
    }

    /// A device tells something.
    async fn device(&mut self, piece: &Piece<'_>) -> Result<()> {
        let Some((_, device)) = self.heads.pop_first() else {
            return Ok(());
        };
        let told = self.courses[device].hear();
        let next = self.courses[device].next_at();
        self.heads.extend(next.map(|at| (at, device)));
        let Some(told) = told else { return Ok(()) };
        self.tally.alarms += told.n_raised;
        let asset = self.asset(device);
        for task in &told.tasks {
            self.hear(device, told.at, piece);
            match task {
                CareTask::Assess { mode, .. } => {
                    if self.is_out_of_course(device, mode, told.at) {
                        continue;
                    }
                    self.sweep(asset, told.at).await?;
                    self.assess(device, task).await?;
                }
                CareTask::Cleared { .. } => self.sweep(asset, told.at).await?,
                CareTask::Replaced { component, at, .. } => {
                    self.sweep(asset, *at).await?;
                    let class = self.class(device)?;
                    let ended = self.rules().replaced(asset, class, component, *at).await?;
                    for ticket in ended {
                        let has_struck = self
                            .jobs
                            .iter()
                            .any(|job| job.ticket == Some(ticket.id) && job.is_repair);
                        let Some(mode) = &ticket.mode else {
                            continue;
                        };
                        let counts = self.counts(device, mode);
                        if has_struck {
                            counts.ended_by_failure += 1;
                        } else {
                            counts.overtaken += 1;
                        }
                        self.forget(ticket.id);
                    }
                }
                // The backtest has no rules for events of devices.
                CareTask::Reported { .. } | CareTask::Repaired { .. } => {}
            }
        }
        Ok(())
    }

    fn counts(&mut self, device: usize, mode: &ModeName) -> &mut crate::backtest::tally::ModeTally {
        let key = self.key(device, mode);
        self.tally.modes.entry(key).or_default()
    }

    fn forget(&mut self, ticket: TicketId) {
        self.jobs.retain(|job| job.ticket != Some(ticket));
    }

    /// True while the recorded readings say nothing of this course: between a visit that prevented a failure, or
    /// the failure, and the repair that the history has.
    fn is_out_of_course(&self, device: usize, mode: &ModeName, at: Timestamp) -> bool {
        self.given.truth.of_device(device).any(|place| {
            let fault = &self.given.truth.faults[place];
            let concerns = fault.mode == *mode || mode.as_str() == UNKNOWN_MODE;
            let began = match self.fates[place] {
                Fate::Prevented { .. } => true,
                Fate::Ahead | Fate::Unseen | Fate::TooLate { .. } | Fate::Missed => fault.at <= at,
            };
            concerns && began && at <= fault.mended_at
        })
    }

    async fn sweep(&mut self, asset: &Asset, now: Timestamp) -> Result<()> {
        let ended = self.rules().sweep(Some(&asset.id), now).await?;
        for ticket in ended {
            self.ended(&ticket);
        }
        Ok(())
    }

    /// A timer has changed a ticket.
    fn ended(&mut self, ticket: &Ticket) {
        if ticket.state != TicketState::Cancelled {
            return;
        }
        let device = self
            .given
            .records
            .assets
            .binary_search_by(|a| a.device.cmp(&ticket.device));
        if let (Ok(device), Some(mode)) = (device, &ticket.mode) {
            self.counts(device, mode).withdrawn += 1;
        }
        self.forget(ticket.id);
    }

    async fn assess(&mut self, device: usize, task: &CareTask) -> Result<()> {
        let Some(assessment) = Assessment::of(task) else {
            return Ok(());
        };
        let mode = self.mode(device, assessment.mode)?;
        let subject = Subject {
            asset: self.asset(device),
            class: self.class(device)?,
            mode,
        };
        let key = self.key(device, assessment.mode);
        let precision = self
            .precisions
            .entry(key)
            .or_insert_with(|| Precision::prior(mode));
        let precision = *precision;
        let outcome = self
            .rules()
            .assess(None, &assessment, subject, &precision)
            .await?;
        match outcome {
            CareOutcome::Opened { ticket, .. } => self.opened(device, &ticket)?,
            CareOutcome::Updated(ticket) => {
                // Parts may have been reserved again.
                if self.jobs.iter().any(|job| job.ticket == Some(ticket.id)) {
                    self.at(assessment.at, Event::Dispatch);
                }
            }
            CareOutcome::Stored | CareOutcome::AlreadyOpen(_) | CareOutcome::AlreadyDone => {}
        }
        Ok(())
    }

    /// Timers of a ticket. Mostly nothing is due: that is seen without copying anything.
    async fn look(
        &mut self,
        id: TicketId,
        device: usize,
        now: Timestamp,
        piece: &Piece<'_>,
    ) -> Result<()> {
        let heard = self.heard(device, now, piece);
        let rules = self.rules();
        let (mut is_open, is_due) = self.book.see(id, |ticket, reserved| {
            let is_due = rules.is_due(ticket, reserved, heard, now);
            (ticket.state.is_open(), is_due)
        })?;
        if is_due {
            let ticket = self.book.ticket(id).await?;
            self.book.hear(heard);
            let changed = self.rules().timers(&ticket, now, true).await?;
            if let Some(changed) = &changed {
                self.ended(changed);
            }
            is_open = changed.unwrap_or(ticket).state.is_open();
        }
        if is_open {
            self.at(now.plus_hours(LOOK_HOURS), Event::Look(id, device));
        }
        Ok(())
    }

    /// A fault of the history strikes, unless it was prevented.
    async fn fault(&mut self, place: usize, now: Timestamp, piece: &Piece<'_>) -> Result<()> {
        if matches!(self.fates[place], Fate::Prevented { .. }) {
            return Ok(());
        }
        let fault = &self.given.truth.faults[place];
        let (device, asset) = (fault.device, self.asset(fault.device));
        let heard = self.courses[device].heard_at(now, piece.rows[device]);
        if heard.is_none_or(|at| now.hours_since(at) > SEEN_WITHIN_H) {
            self.fates[place] = Fate::Unseen;
            return Ok(());
        }
        let mode = self.mode(device, &fault.mode)?;
        let class_name = asset.class.clone();
        let cost = mode.cost_of_failure;
        let spent = (now, Spent::Failure, class_name, mode.name.clone(), cost);
        self.tally.spent.push(spent);
        let open = self.rules().open_ticket_for(asset, &fault.mode).await?;
        if let Some(ticket) = open
            && let Some(job) = self.jobs.iter().position(|j| j.ticket == Some(ticket.id))
        {
            let there_since = self.parts_there_since(device, &ticket, now).await?;
            self.fates[place] = Fate::TooLate {
                opened_at: ticket.opened_at,
                part_there: there_since.is_some(),
            };
            let mut job = self.jobs.remove(job);
            job.is_repair = true;
            job.priority = Priority::P1;
            self.wait(job);
            // A hold may have run out: now the part is needed.
            let class = self.class(device)?;
            let needs = self
                .rules()
                .missing_parts(asset, class, &ticket, now)
                .await?;
            if !needs.is_empty() {
                let commit = CareCommit {
                    needs,
                    at: now,
                    ..CareCommit::default()
                };
                self.book.commit_care(commit).await?;
            }
            self.at(now, Event::Dispatch);
            return Ok(());
        }
        self.fates[place] = Fate::Missed;
        let response_at = now.plus_hours(self.crew.response_hours());
        let mut ready_at = response_at;
        let mut is_short = false;
        for (part, depot, quantity, lead_time_hours) in self.needs(asset, mode) {
            if !self.book.take(&part, &depot, quantity, now).await? {
                is_short = true;
                // Ordered for this repair alone: it never comes to lie on the shelf.
                ready_at = ready_at.max(now.plus_hours(lead_time_hours));
            }
        }
        self.tally.stock_outs += usize::from(is_short);
        self.wait(Job {
            device,
            mode: fault.mode.clone(),
            ticket: None,
            is_repair: true,
            priority: Priority::P1,
            due_at: now,
            latest_begin: now.plus_hours(-mode.work_hours),
            able: self.crew.able(&mode.skills),
            response_at,
            ready_at,
            parts_at: Some(ready_at),
        });
        if !self.crew.can(&mode.skills) {
            self.tally.crew.without_skills += 1;
        }
        self.at(ready_at, Event::Dispatch);
        Ok(())
    }

    /// The parts held up to the end, and the tickets open then.
    pub(crate) async fn close(&self) -> Result<(crate::backtest::book::Holdings, usize)> {
        let open = self.book.n_open();
        let holdings = self.book.holdings(self.given.period.to);
        Ok((holdings, open))
    }
}

fn played<'b>(given: Given<'b>, piece: &'b Piece<'b>, device: usize) -> Played<'b> {
    Played {
        rows: piece.rows[device],
        end: piece.end,
        events: &given.events[device],
        windows: &given.records.windows[device],
        told_from: given.period.from,
    }
}
