//! The people's side: what waits, who is sent, what is found.

use anyhow::Result;
use forecare_care::transition;
use forecare_catalogue::FailureMode;
use forecare_domain::{
    Actor, Asset, Channel, DepotName, ModeName, PartNumber, Priority, Supply, Ticket, TicketId,
    TicketState, Timestamp, Verdict,
};
use forecare_store::{CareCommit, CareOutcome};

use super::{Event, LOOK_HOURS, World, played};
use crate::backtest::crew::Hand;
use crate::backtest::history::Piece;
use crate::backtest::tally::{Fate, Spent};
use crate::backtest::truth::{Finding, Visit};
use crate::desk::{Book, step};

/// Work that waits for its time, its parts and somebody free.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) device: usize,
    pub(super) mode: ModeName,
    /// `None`: a repair after a failure that nobody foresaw.
    pub(super) ticket: Option<TicketId>,
    /// The failure has struck.
    pub(super) is_repair: bool,
    pub(super) priority: Priority,
    pub(super) due_at: Timestamp,
    /// When it must begin to end by then.
    pub(super) latest_begin: Timestamp,
    /// The technicians that have its skills.
    pub(super) able: Vec<usize>,
    /// When somebody can be there.
    pub(super) response_at: Timestamp,
    /// When it can begin at the earliest.
    pub(super) ready_at: Timestamp,
    /// When its parts are there, for work without a ticket.
    pub(super) parts_at: Option<Timestamp>,
}

impl Job {
    /// What is looked at first: repairs, then the most urgent.
    fn rank(&self) -> (bool, Priority, Timestamp, usize, Option<TicketId>) {
        (
            !self.is_repair,
            self.priority,
            self.due_at,
            self.device,
            self.ticket,
        )
    }
}

/// Whether the parts of a ticket are there.
enum Parts {
    /// The ticket is over.
    Over,
    /// Since then, as far as they are reserved.
    There(Option<Timestamp>),
    /// One is not; when the last of those on their way arrives.
    Awaited(Option<Timestamp>),
}

/// Work that goes on.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) device: usize,
    pub(super) mode: ModeName,
    pub(super) ticket: Option<TicketId>,
    pub(super) finding: Option<Finding>,
    pub(super) by: String,
}

impl World<'_> {
    /// Puts work among what waits.
    pub(super) fn wait(&mut self, job: Job) {
        let place = self.jobs.partition_point(|j| j.rank() <= job.rank());
        self.jobs.insert(place, job);
    }

    pub(super) fn opened(&mut self, device: usize, ticket: &Ticket) -> Result<()> {
        // Only alarms open tickets here, and theirs have a mode.
        let Some(mode) = &ticket.mode else {
            return Ok(());
        };
        let FailureMode {
            skills, work_hours, ..
        } = self.mode(device, mode)?;
        self.counts(device, mode).tickets += 1;
        let ready_at = ticket.opened_at.plus_hours(self.crew.response_hours());
        self.wait(Job {
            device,
            mode: mode.clone(),
            ticket: Some(ticket.id),
            is_repair: false,
            priority: ticket.priority,
            due_at: ticket.due_at,
            latest_begin: ticket.due_at.plus_hours(-work_hours),
            able: self.crew.able(skills),
            response_at: ready_at,
            ready_at,
            parts_at: None,
        });
        self.at(ready_at, Event::Dispatch);
        self.at(
            ticket.opened_at.plus_hours(LOOK_HOURS),
            Event::Look(ticket.id, device),
        );
        let skills = &ticket.skills;
        if !self.crew.can(skills) {
            self.tally.crew.without_skills += 1;
        }
        Ok(())
    }

    /// Parts of a repair without a ticket: part, serving depot, quantity, lead time in hours.
    pub(super) fn needs(
        &self,
        asset: &Asset,
        mode: &FailureMode,
    ) -> Vec<(PartNumber, DepotName, u32, f64)> {
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
                let lead = catalogue.lead_time_hours(&need.part);
                (need.part.clone(), depot.name.clone(), need.quantity, lead)
            })
            .collect()
    }

    /// What is reserved for a ticket, without copying anything.
    fn parts_reserved(&self, id: TicketId, now: Timestamp) -> Result<Parts> {
        let parts = self.book.see(id, |ticket, reserved| {
            if !ticket.state.is_open() {
                return Parts::Over;
            }
            let mut arrives: Option<Timestamp> = None;
            let mut is_there = true;
            for r in reserved.filter(|r| r.state.is_live()) {
                match r.supply {
                    Supply::Stock { .. } | Supply::Transfer { .. } => {
                        arrives = arrives.max(Some(r.available_at));
                        is_there &= r.available_at <= now;
                    }
                    // Told by its arrival.
                    Supply::BackOrder { .. } => is_there = false,
                }
            }
            if is_there {
                Parts::There(arrives)
            } else {
                Parts::Awaited(arrives.filter(|at| *at > now))
            }
        })?;
        Ok(parts)
    }

    /// Since when all parts of an open ticket are there; `None`: they are not.
    pub(super) async fn parts_there_since(
        &self,
        device: usize,
        ticket: &Ticket,
        now: Timestamp,
    ) -> Result<Option<Timestamp>> {
        let Parts::There(since) = self.parts_reserved(ticket.id, now)? else {
            return Ok(None);
        };
        let (asset, class) = (self.asset(device), self.class(device)?);
        let missing = self
            .rules()
            .missing_parts(asset, class, ticket, now)
            .await?;
        Ok(missing
            .is_empty()
            .then(|| since.unwrap_or(ticket.opened_at)))
    }

    /// Sends people to what can be done, the most urgent first. Where nobody is free nothing is looked at: whoever gets
    /// free looks again.
    pub(super) async fn dispatch(&mut self, now: Timestamp, piece: &Piece<'_>) -> Result<()> {
        let next_shift = self.crew.next_shift(now);
        let mut load = None;
        let mut place = 0;
        while let Some(job) = self.jobs.get(place) {
            if job.ready_at > now || !self.crew.is_one_free(&job.able, now) {
                place += 1;
                continue;
            }
            if !job.is_repair && !self.crew.may_begin(now, next_shift, job.latest_begin) {
                self.at(next_shift, Event::Dispatch);
                place += 1;
                continue;
            }
            let reserved = match job.ticket {
                Some(id) => self.parts_reserved(id, now)?,
                None => Parts::There(job.parts_at),
            };
            match reserved {
                Parts::Over => {
                    self.jobs.remove(place);
                    continue;
                }
                Parts::Awaited(again) => {
                    if let Some(again) = again {
                        self.at(again, Event::Dispatch);
                    }
                    place += 1;
                    continue;
                }
                Parts::There(_) => {}
            }
            let (device, id, parts_at) = (job.device, job.ticket, job.parts_at);
            let mode = self.mode(device, &job.mode)?;
            if load.is_none() {
                load = Some(self.book.load().await?);
            }
            let load = load.as_deref().unwrap_or_default();
            let depot = self.asset(device).depot.as_ref();
            let depot = depot.or(self.policy.catalogue.depots.first().map(|d| &d.name));
            let care = &self.policy.care;
            let Some(hand) = self.crew.free(&mode.skills, depot, load, care, now) else {
                place += 1;
                continue;
            };
            let ticket = match id {
                Some(id) => Some(self.book.ticket(id).await?),
                None => None,
            };
            let parts_at = match &ticket {
                Some(ticket) => {
                    let since = self.parts_there_since(device, ticket, now).await?;
                    if since.is_none() {
                        place += 1;
                        continue;
                    }
                    since
                }
                None => parts_at,
            };
            let job = self.jobs.remove(place);
            self.waited(&job, parts_at.unwrap_or(now), now);
            self.begin(&job, ticket, mode, &hand, now, piece).await?;
        }
        Ok(())
    }

    fn waited(&mut self, job: &Job, parts_at: Timestamp, now: Timestamp) {
        let crew = &mut self.tally.crew;
        let for_parts = parts_at.hours_since(job.response_at).max(0.0);
        let for_crew = now.hours_since(parts_at.max(job.response_at)).max(0.0);
        crew.wait_for_crew_hours += for_crew;
        crew.wait_for_crew_hours_max = crew.wait_for_crew_hours_max.max(for_crew);
        crew.wait_for_parts_hours += for_parts;
        crew.wait_for_parts_hours_max = crew.wait_for_parts_hours_max.max(for_parts);
    }

    async fn begin(
        &mut self,
        job: &Job,
        ticket: Option<Ticket>,
        mode: &FailureMode,
        hand: &Hand,
        now: Timestamp,
        piece: &Piece<'_>,
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
            self.hear(job.device, now, piece);
            self.rules().timers(&ticket, now, true).await?;
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
        let visit = Visit {
            device: job.device,
            mode: &job.mode,
            at: now,
            within_hours: within,
            known_to: self.given.period.to,
        };
        let truth = self.given.truth;
        Ok(truth.finding(&visit, class, |place| self.fates[place] == Fate::Ahead))
    }

    async fn stored(&self, commit: CareCommit) -> Result<Ticket> {
        match self.book.commit_care(commit).await? {
            CareOutcome::Updated(ticket) => Ok(*ticket),
            other @ (CareOutcome::Stored
            | CareOutcome::Opened { .. }
            | CareOutcome::AlreadyOpen(_)
            | CareOutcome::AlreadyDone) => {
                anyhow::bail!("a ticket's change was not stored: {other:?}")
            }
        }
    }

    /// The work is done: the verdict is given, and the detectors forget.
    pub(super) async fn work_end(
        &mut self,
        work: Work,
        now: Timestamp,
        piece: &Piece<'_>,
    ) -> Result<()> {
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
        self.at(confirm_at, Event::Look(id, work.device));
        let played = played(self.given, piece, work.device);
        let course = &mut self.courses[work.device];
        if let Some(at) = course.next_at() {
            self.heads.remove(&(at, work.device));
        }
        course.verdict(now, vec![work.mode], played);
        self.heads
            .extend(course.next_at().map(|at| (at, work.device)));
        Ok(())
    }
}

fn actor(name: &str) -> Actor {
    Actor {
        name: name.to_owned(),
        channel: Channel::System,
    }
}
