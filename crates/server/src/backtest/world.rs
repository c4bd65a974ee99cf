//! A course of things under a policy: what the monitors tell is taken in order of time by the care desk's own steps;
//! parts arrive, people work, faults strike or are prevented. What a technician finds is told to the monitor, as in the
//! service.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use forecare_care::{Assessment, Precision, transition};
use forecare_catalogue::{AssetClass, FailureMode, UNKNOWN_MODE};
use forecare_domain::{
    Actor, Asset, CareTask, Channel, ClassName, DeviceEvent, ModeName, Priority, Supply, Ticket,
    TicketId, TicketState, Timestamp, Verdict,
};
use forecare_store::{CareCommit, CareOutcome};
use tokio::runtime::Handle;

use super::Period;
use super::book::{Arrival, SimulatedBook};
use super::crew::{Crew, Hand};
use super::device::{DeviceCourse, Played};
use super::history::{Records, Stretch, in_parallel};
use super::policy::Policy;
use super::tally::{Fate, Spent, Tally};
use super::truth::{Finding, Truth};
use crate::desk::{Book, Rules, Subject, step};
use crate::pipeline::class_contexts;

/// Hours between two looks at the timers of an open ticket.
const LOOK_HOURS: f64 = 1.0;
/// A fault counts if its machine sent a reading in so many hours before it.
pub(crate) const SEEN_WITHIN_H: f64 = 24.0;

/// What happens by itself. At one instant in this order, devices between faults and the rest.
enum Event {
    Fault(usize),
    Arrival(Arrival),
    WorkEnd(Work),
    Look(TicketId),
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
            Self::Look(_) => 4,
            Self::Dispatch => 5,
        }
    }
}

/// Work that waits for its time, its parts and somebody free.
#[derive(Debug, Clone)]
struct Job {
    device: usize,
    mode: ModeName,
    /// `None`: a repair after a failure that nobody foresaw.
    ticket: Option<TicketId>,
    /// The failure has struck.
    is_repair: bool,
    priority: Priority,
    due_at: Timestamp,
    ready_at: Timestamp,
    /// When its parts were first seen to be there.
    parts_at: Option<Timestamp>,
}

/// Work that goes on.
#[derive(Debug, Clone)]
struct Work {
    device: usize,
    mode: ModeName,
    ticket: Option<TicketId>,
    finding: Option<Finding>,
    by: String,
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
        let courses = given.records.assets.iter().map(|asset| {
            let context = contexts.iter().find(|c| c.class.name == asset.class);
            let context = context.with_context(|| format!("no class {}", asset.class))?;
            Ok(DeviceCourse::new(std::sync::Arc::clone(context)))
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

    /// Plays a stretch of history.
    pub(crate) fn play(&mut self, stretch: &Stretch, runtime: &Handle) -> Result<()> {
        let given = self.given;
        let mut numbered: Vec<(usize, &mut DeviceCourse)> =
            self.courses.iter_mut().enumerate().collect();
        in_parallel(&mut numbered, given.n_threads, |(device, course)| {
            course.play(played(given, stretch, *device));
        });
        self.heads.clear();
        for (device, course) in self.courses.iter().enumerate() {
            self.heads.extend(course.next_at().map(|at| (at, device)));
        }
        runtime.block_on(self.pass(stretch))
    }

    /// Everything of a stretch in order of time.
    async fn pass(&mut self, stretch: &Stretch) -> Result<()> {
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
            if now > stretch.end || now >= self.given.period.to {
                return Ok(());
            }
            if told == Some(next) {
                self.device(stretch).await?;
            } else if let Some((_, event)) = self.queue.pop_first() {
                match event {
                    Event::Fault(place) => self.fault(place, now, stretch).await?,
                    Event::Arrival(arrival) => {
                        self.book.receive(arrival).await?;
                        self.at(now, Event::Dispatch);
                    }
                    Event::WorkEnd(work) => self.work_end(work, now, stretch).await?,
                    Event::Look(ticket) => self.look(ticket, now, stretch).await?,
                    Event::Dispatch => self.dispatch(now, stretch).await?,
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
            Event::Look(ticket) => ticket.0,
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

    fn hear(&self, device: usize, now: Timestamp, stretch: &Stretch) {
        let newest = self.courses[device].heard_at(now, &stretch.rows[device]);
        self.book.hear(newest);
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
    async fn device(&mut self, stretch: &Stretch) -> Result<()> {
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
            self.hear(device, told.at, stretch);
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
                        let counts = self.counts(device, &ticket.mode);
                        if has_struck {
                            counts.ended_by_failure += 1;
                        } else {
                            counts.overtaken += 1;
                        }
                        self.forget(ticket.id);
                    }
                }
                CareTask::Repaired { .. } => {}
            }
        }
        Ok(())
    }

    fn counts(&mut self, device: usize, mode: &ModeName) -> &mut super::tally::ModeTally {
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
        if let Ok(device) = device {
            self.counts(device, &ticket.mode).withdrawn += 1;
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
            CareOutcome::Opened { ticket, .. } => self.opened(device, &ticket),
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

    fn opened(&mut self, device: usize, ticket: &Ticket) {
        self.counts(device, &ticket.mode).tickets += 1;
        let ready_at = ticket.opened_at.plus_hours(self.crew.response_hours());
        self.jobs.push(Job {
            device,
            mode: ticket.mode.clone(),
            ticket: Some(ticket.id),
            is_repair: false,
            priority: ticket.priority,
            due_at: ticket.due_at,
            ready_at,
            parts_at: None,
        });
        self.at(ready_at, Event::Dispatch);
        self.at(
            ticket.opened_at.plus_hours(LOOK_HOURS),
            Event::Look(ticket.id),
        );
        let skills = &ticket.skills;
        if !self.crew.can(skills) {
            self.tally.crew.without_skills += 1;
        }
    }

    /// Timers of a ticket.
    async fn look(&mut self, id: TicketId, now: Timestamp, stretch: &Stretch) -> Result<()> {
        let ticket = self.book.ticket(id).await?;
        let device = self
            .given
            .records
            .assets
            .binary_search_by(|a| a.device.cmp(&ticket.device));
        if let Ok(device) = device {
            self.hear(device, now, stretch);
        }
        let changed = self.rules().timers(ticket.clone(), now, true).await?;
        let ticket = match changed {
            Some(changed) => {
                self.ended(&changed);
                changed
            }
            None => ticket,
        };
        if ticket.state.is_open() {
            self.at(now.plus_hours(LOOK_HOURS), Event::Look(id));
        }
        Ok(())
    }

    /// A fault of the history strikes, unless it was prevented.
    async fn fault(&mut self, place: usize, now: Timestamp, stretch: &Stretch) -> Result<()> {
        if matches!(self.fates[place], Fate::Prevented { .. }) {
            return Ok(());
        }
        let fault = &self.given.truth.faults[place];
        let (device, asset) = (fault.device, self.asset(fault.device));
        let heard = self.courses[device].heard_at(now, &stretch.rows[device]);
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
            let (part_there, _) = self.parts_at_hand(device, &ticket, now).await?;
            self.fates[place] = Fate::TooLate {
                opened_at: ticket.opened_at,
                part_there,
            };
            self.jobs[job].is_repair = true;
            self.jobs[job].priority = Priority::P1;
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
        let mut ready_at = now.plus_hours(self.crew.response_hours());
        let mut is_short = false;
        for (part, depot, quantity, lead_time_hours) in self.needs(asset, mode) {
            if !self.book.take(&part, &depot, quantity, now).await? {
                is_short = true;
                // Ordered for this repair alone: it never comes to lie on the shelf.
                ready_at = ready_at.max(now.plus_hours(lead_time_hours));
            }
        }
        self.tally.stock_outs += usize::from(is_short);
        self.jobs.push(Job {
            device,
            mode: fault.mode.clone(),
            ticket: None,
            is_repair: true,
            priority: Priority::P1,
            due_at: now,
            ready_at,
            parts_at: Some(ready_at),
        });
        if !self.crew.can(&mode.skills) {
            self.tally.crew.without_skills += 1;
        }
        self.at(ready_at, Event::Dispatch);
        Ok(())
    }

    /// Parts of a repair without a ticket: part, serving depot, quantity, lead time in hours.
    fn needs(
        &self,
        asset: &Asset,
        mode: &FailureMode,
    ) -> Vec<(
        forecare_domain::PartNumber,
        forecare_domain::DepotName,
        u32,
        f64,
    )> {
        let catalogue = &self.policy.catalogue;
        let named = catalogue
            .depots
            .iter()
            .find(|d| Some(&d.name) == asset.depot.as_ref());
        let Some(depot) = named.or(catalogue.depots.first()) else {
            return Vec::new();
        };
        mode.parts
            .iter()
            .map(|need| {
                let lead = catalogue
                    .part(&need.part)
                    .map_or(0.0, |p| p.lead_time_hours);
                (need.part.clone(), depot.name.clone(), need.quantity, lead)
            })
            .collect()
    }

    /// Whether all parts of a ticket are there; where not, when a part that is on its way arrives.
    async fn parts_at_hand(
        &self,
        device: usize,
        ticket: &Ticket,
        now: Timestamp,
    ) -> Result<(bool, Option<Timestamp>)> {
        let held = self.rules().held_for(ticket.id, true).await?;
        let mut again: Option<Timestamp> = None;
        let mut is_there = true;
        for r in &held {
            match r.supply {
                Supply::Stock { .. } => {}
                Supply::Transfer { .. } if r.available_at <= now => {}
                Supply::Transfer { .. } => {
                    is_there = false;
                    again = again.max(Some(r.available_at));
                }
                Supply::BackOrder { .. } => is_there = false,
            }
        }
        let (asset, class) = (self.asset(device), self.class(device)?);
        let missing = self
            .rules()
            .missing_parts(asset, class, ticket, now)
            .await?;
        Ok((is_there && missing.is_empty(), again))
    }

    /// Sends people to what can be done, the most urgent first.
    async fn dispatch(&mut self, now: Timestamp, stretch: &Stretch) -> Result<()> {
        let mut waiting: Vec<Job> = std::mem::take(&mut self.jobs);
        waiting.sort_by_key(|job| {
            (
                !job.is_repair,
                job.priority,
                job.due_at,
                job.device,
                job.ticket,
            )
        });
        let mut load = None;
        for mut job in waiting {
            if job.ready_at > now {
                self.jobs.push(job);
                continue;
            }
            let ticket = match job.ticket {
                Some(id) => Some(self.book.ticket(id).await?),
                None => None,
            };
            if let Some(ticket) = &ticket {
                if !ticket.state.is_open() {
                    continue;
                }
                let (is_there, again) = self.parts_at_hand(job.device, ticket, now).await?;
                if !is_there {
                    if let Some(again) = again {
                        self.at(again, Event::Dispatch);
                    }
                    self.jobs.push(job);
                    continue;
                }
            }
            job.parts_at = job.parts_at.or(Some(now));
            let mode = self.mode(job.device, &job.mode)?;
            let latest_begin = job.due_at.plus_hours(-mode.work_hours);
            if !job.is_repair && !self.crew.may_begin(now, latest_begin) {
                let next = self.crew.next_shift(now);
                self.at(next, Event::Dispatch);
                self.jobs.push(job);
                continue;
            }
            if load.is_none() {
                load = Some(self.rules().load().await?);
            }
            let load = load.as_deref().unwrap_or_default();
            let depot = self.asset(job.device).depot.as_ref();
            let depot = depot.or(self.policy.catalogue.depots.first().map(|d| &d.name));
            let care = &self.policy.care;
            match self.crew.free(&mode.skills, depot, load, care, now) {
                Some(hand) => self.begin(&job, ticket, mode, &hand, now, stretch).await?,
                // Whoever gets free looks again.
                None => self.jobs.push(job),
            }
        }
        Ok(())
    }

    async fn begin(
        &mut self,
        job: &Job,
        ticket: Option<Ticket>,
        mode: &FailureMode,
        hand: &Hand,
        now: Timestamp,
        stretch: &Stretch,
    ) -> Result<()> {
        let until = now.plus_hours(mode.work_hours);
        let by = self.crew.name(hand);
        self.crew.occupy(hand, until);
        let overtime_hours = self.crew.overtime_hours(now, until);
        let crew = &mut self.tally.crew;
        crew.jobs += 1;
        crew.overtime_hours += overtime_hours;
        if job.is_repair {
            crew.corrective_hours += mode.work_hours;
        } else {
            crew.planned_hours += mode.work_hours;
        }
        let parts_at = job.parts_at.unwrap_or(now);
        let for_crew = now.hours_since(parts_at.max(job.ready_at)).max(0.0);
        let for_parts = parts_at.hours_since(job.ready_at).max(0.0);
        crew.wait_for_crew_hours += for_crew;
        crew.wait_for_crew_hours_max = crew.wait_for_crew_hours_max.max(for_crew);
        crew.wait_for_parts_hours += for_parts;
        crew.wait_for_parts_hours_max = crew.wait_for_parts_hours_max.max(for_parts);

        let mut finding = None;
        if let Some(mut ticket) = ticket {
            for to in [
                TicketState::Triaged,
                TicketState::Dispatched,
                TicketState::Accepted,
                TicketState::InProgress,
            ] {
                let why = "work begins";
                let Ok(mut after) = transition(&ticket, to, actor(&by), why, None, now) else {
                    continue;
                };
                if to == TicketState::Dispatched {
                    after.technician = Some(by.clone());
                }
                let commit = step(after, to, Vec::new(), Vec::new(), None, now);
                ticket = self.stored(commit).await?;
            }
            self.hear(job.device, now, stretch);
            self.rules().timers(ticket.clone(), now, true).await?;
            if job.is_repair {
                self.counts(job.device, &job.mode).visits_after += 1;
            } else {
                let found = self.find(job, now)?;
                if let Finding::Fault(place) = found {
                    self.fates[place] = Fate::Prevented {
                        opened_at: ticket.opened_at,
                    };
                }
                self.counts(job.device, &job.mode).visit(found);
                let key = self.key(job.device, &job.mode);
                let spent = (now, Spent::Visit, key.0, key.1, mode.cost_of_acting);
                self.tally.spent.push(spent);
                finding = Some(found);
            }
        }
        let work = Work {
            device: job.device,
            mode: job.mode.clone(),
            ticket: job.ticket,
            finding,
            by,
        };
        self.at(until, Event::WorkEnd(work));
        Ok(())
    }

    fn find(&self, job: &Job, now: Timestamp) -> Result<Finding> {
        let class = self.class(job.device)?;
        let within = self.given.right_within_hours.unwrap_or(class.horizon_hours);
        Ok(self.given.truth.finding(
            job.device,
            class,
            &job.mode,
            now,
            within,
            self.given.period.to,
            |place| self.fates[place] == Fate::Ahead,
        ))
    }

    async fn stored(&self, commit: CareCommit) -> Result<Ticket> {
        match self.book.commit_care(commit).await? {
            CareOutcome::Updated(ticket) => Ok(*ticket),
            other => anyhow::bail!("a ticket's change was not stored: {other:?}"),
        }
    }

    /// The work is done: the verdict is given, and the detectors forget.
    async fn work_end(&mut self, work: Work, now: Timestamp, stretch: &Stretch) -> Result<()> {
        self.at(now, Event::Dispatch);
        let Some(id) = work.ticket else {
            return Ok(());
        };
        let ticket = self.book.ticket(id).await?;
        let mode = self.mode(work.device, &work.mode)?;
        let confirmed = || Verdict::Confirmed {
            failure_code: if mode.iso14224.trim().is_empty() {
                mode.name.to_string()
            } else {
                mode.iso14224.clone()
            },
        };
        let verdict = match work.finding {
            None | Some(Finding::Fault(_)) => confirmed(),
            Some(Finding::Other(place)) => Verdict::WrongMode {
                actual: self.given.truth.faults[place].mode.clone(),
            },
            Some(Finding::Nothing | Finding::Unknown) => Verdict::NoFaultFound,
        };
        let resolved = TicketState::Resolved;
        let (by, why) = (actor(&work.by), "work done");
        let after = transition(&ticket, resolved, by, why, Some(verdict.clone()), now)?;
        self.stored(step(after, resolved, Vec::new(), Vec::new(), None, now))
            .await?;
        if work.finding != Some(Finding::Unknown) {
            self.learn(work.device, &work.mode, &verdict);
        }
        let confirm_at = now.plus_hours(self.policy.care.confirm_after_hours);
        self.at(confirm_at, Event::Look(id));
        let played = played(self.given, stretch, work.device);
        let course = &mut self.courses[work.device];
        if let Some(at) = course.next_at() {
            self.heads.remove(&(at, work.device));
        }
        course.verdict(now, vec![work.mode], played);
        self.heads
            .extend(course.next_at().map(|at| (at, work.device)));
        Ok(())
    }

    /// The parts held up to the end, and the tickets open then.
    pub(crate) async fn close(&self) -> Result<(super::book::Holdings, usize)> {
        let open = self.book.n_open().await?;
        let holdings = self.book.holdings(self.given.period.to);
        Ok((holdings, open))
    }
}

fn played<'b>(given: Given<'b>, stretch: &'b Stretch, device: usize) -> Played<'b> {
    Played {
        rows: &stretch.rows[device],
        end: stretch.end,
        events: &given.events[device],
        windows: &given.records.windows[device],
        told_from: given.period.from,
    }
}

fn actor(name: &str) -> Actor {
    Actor {
        name: name.to_owned(),
        channel: Channel::System,
    }
}
