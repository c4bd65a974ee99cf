//! The care desk's steps: what each task, timer and person's change comes to, stored through a [`Book`]. The
//! service and the backtest take the same steps; they differ in the book, and in who is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use forecare_care::dispatch::Crew;
use forecare_care::sla::{SlaSignal, sla_changed, sla_due, sla_started};
use forecare_care::ticket_rules::TicketRules;
use forecare_care::{
    Assessment, CarePolicy, Footing, Need, Precision, confirm_due, decide, evidence_again,
    hold_ends_at, label_of, needs_of, open_ticket, outstanding, replaced_elsewhere,
    reservation_due, surplus, withdraw_due,
};
use forecare_catalogue::{AssetClass, Catalogue, FailureMode};
use forecare_domain::{
    Actor, Asset, AssetId, CareTask, ComponentName, DeviceId, ModeName, PartUsed, Reservation,
    ReservationId, TaskId, Ticket, TicketId, TicketState, Timestamp, Verdict,
};
use forecare_registry::RecordId;
use forecare_store::{
    CareCommit, CareOutcome, PageRequest, Paged, ReservationFilter, ReservationWrite, Store,
    StoreError, TicketFilter, TicketWrite, every, forecare,
};

use super::terms::Terms;
use crate::metrics::Metrics;

/// Entries read at once.
const PAGE: usize = 500;

/// The part of the store that the steps read and write.
#[async_trait]
pub(crate) trait Book: Send + Sync {
    /// Stores one step.
    async fn commit_care(&self, commit: CareCommit) -> Result<CareOutcome, StoreError>;
    /// Tickets, newest first.
    async fn tickets(
        &self,
        filter: &TicketFilter,
        page: PageRequest,
    ) -> Result<Vec<Paged<Ticket>>, StoreError>;
    /// Reservations, newest first.
    async fn reservations(
        &self,
        filter: &ReservationFilter,
        page: PageRequest,
    ) -> Result<Vec<Paged<Reservation>>, StoreError>;
    /// Time of the newest reading of `device`.
    async fn newest_reading(&self, device: &DeviceId) -> Result<Option<Timestamp>, StoreError>;
    /// True while evidence may still be queued.
    async fn has_tasks(&self) -> Result<bool, StoreError>;
    /// Open tickets per technician.
    async fn load(&self) -> Result<Vec<(String, u32)>, StoreError> {
        let mut load: BTreeMap<String, u32> = BTreeMap::new();
        let filter = TicketFilter {
            asset: None,
            open: Some(true),
            ..TicketFilter::default()
        };
        let open = every(|page| self.tickets(&filter, page)).await?;
        for technician in open.into_iter().filter_map(|t| t.technician) {
            *load.entry(technician).or_default() += 1;
        }
        Ok(load.into_iter().collect())
    }
}

#[async_trait]
impl Book for Arc<dyn Store> {
    async fn commit_care(&self, commit: CareCommit) -> Result<CareOutcome, StoreError> {
        self.as_ref().commit_care(commit).await
    }

    async fn tickets(
        &self,
        filter: &TicketFilter,
        page: PageRequest,
    ) -> Result<Vec<Paged<Ticket>>, StoreError> {
        self.as_ref().tickets(filter, page).await
    }

    async fn reservations(
        &self,
        filter: &ReservationFilter,
        page: PageRequest,
    ) -> Result<Vec<Paged<Reservation>>, StoreError> {
        self.as_ref().reservations(filter, page).await
    }

    async fn newest_reading(&self, device: &DeviceId) -> Result<Option<Timestamp>, StoreError> {
        self.as_ref().newest_reading(device).await
    }

    async fn has_tasks(&self) -> Result<bool, StoreError> {
        Ok(!self.as_ref().next_tasks(1).await?.is_empty())
    }
}

/// The rules at work on a book.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) book: &'a dyn Book,
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) policy: &'a CarePolicy,
    /// What the customers are promised.
    pub(crate) terms: &'a Terms,
    /// The checklists; `None`: nobody works through any.
    pub(crate) tickets: Option<&'a TicketRules>,
    /// The service level clocks on tickets; `None`: they are not watched.
    pub(crate) clocks: Option<Clocks<'a>>,
}

/// What the service level clocks need.
#[derive(Clone, Copy)]
pub(crate) struct Clocks<'a> {
    pub(crate) terms: &'a Terms,
    pub(crate) metrics: &'a Metrics,
}

impl Clocks<'_> {
    /// Says whose ticket it is that is about to be opened, and starts its clocks.
    pub(crate) fn start(&self, ticket: &mut Ticket) {
        // One that follows another stays with that one's customer.
        if ticket.work.customer.is_none() {
            ticket.work.customer = self.terms.owner(&ticket.asset).map(RecordId::into);
        }
        let terms = self.terms.of(ticket);
        ticket.sla = Some(sla_started(&terms, ticket.priority, ticket.opened_at));
    }

    /// Carries the clocks of `before` on into `after`; returns what is to be counted once that is stored.
    pub(crate) fn carry(
        &self,
        before: &Ticket,
        after: &mut Ticket,
        by: &Actor,
        now: Timestamp,
    ) -> Vec<SlaSignal> {
        sla_changed(before, after, &self.terms.of(before), by, now)
    }
}

/// The failure mode that a task speaks of.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) asset: &'a Asset,
    pub(crate) class: &'a AssetClass,
    pub(crate) mode: &'a FailureMode,
}

impl Rules<'_> {
    /// Weighs an assessment, and opens, renews or leaves a ticket. `task`: the queued task it answers.
    pub(crate) async fn assess(
        &self,
        task: Option<TaskId>,
        assessment: &Assessment<'_>,
        subject: Subject<'_>,
        precision: &Precision,
    ) -> Result<CareOutcome, StoreError> {
        let Subject { asset, class, mode } = subject;
        let mut decision = decide(
            class,
            mode,
            self.catalogue,
            assessment,
            precision,
            self.policy,
            assessment.at,
        );
        if decision.act
            && let Some(customer) = self.terms.prediction_refused(&asset.id, assessment.at)
        {
            decision.act = false;
            decision.why.push_str(&format!(
                " Not acted on: {customer} does not have failures of their machines predicted."
            ));
        }
        let open = self.open_ticket_for(asset, &mode.name).await?;
        let standing = self.terms.standing(asset, assessment.at);
        let mut signals = Vec::new();
        let ticket = match open {
            Some(ticket) => {
                match evidence_again(
                    &ticket,
                    mode,
                    assessment,
                    &decision,
                    Footing {
                        policy: self.policy,
                        terms: &self.terms.of(&ticket),
                        standing: &standing,
                    },
                    assessment.at,
                ) {
                    // Only evidence that would open a ticket keeps one open.
                    Some(mut after) if decision.act => {
                        signals = self.carry(&ticket, &mut after, assessment.at);
                        changed(after, Vec::new())
                    }
                    _ => TicketWrite::None,
                }
            }
            // What a backlog tells of days ago opens nothing today.
            None if decision.act
                && assessment.at.hours_since(assessment.reading_ts)
                    < self.policy.withdraw_after_hours =>
            {
                let load = self.book.load().await?;
                let registered = self.terms.crew();
                let mut new = open_ticket(
                    self.catalogue,
                    asset,
                    mode,
                    assessment,
                    &decision,
                    Crew {
                        technicians: registered.as_deref().unwrap_or(&self.catalogue.technicians),
                        load: &load,
                    },
                    Footing {
                        policy: self.policy,
                        terms: &self.terms.of_asset(asset, assessment.at),
                        standing: &standing,
                    },
                );
                if let Some(tickets) = self.tickets {
                    let ticket = &mut new.ticket;
                    ticket.work.checklist =
                        tickets.checklist(&ticket.kind, &class.name, &ticket.procedure);
                }
                if let Some(clocks) = self.clocks {
                    clocks.start(&mut new.ticket);
                }
                TicketWrite::Open(Box::new(new))
            }
            None => TicketWrite::None,
        };
        let needs = match &ticket {
            TicketWrite::Update { ticket, .. } => {
                self.missing_parts(asset, class, ticket, assessment.at)
                    .await?
            }
            TicketWrite::Open(_) | TicketWrite::None => Vec::new(),
        };
        let outcome = self
            .book
            .commit_care(CareCommit {
                task,
                decision: Some(decision),
                ticket,
                needs,
                at: assessment.at,
                ..CareCommit::default()
            })
            .await?;
        if matches!(outcome, CareOutcome::Updated(_)) {
            self.count(&signals);
        }
        Ok(outcome)
    }

    /// Carries the clocks on, where there are any: the care desk took the step.
    fn carry(&self, before: &Ticket, after: &mut Ticket, now: Timestamp) -> Vec<SlaSignal> {
        self.clocks.map_or_else(Vec::new, |clocks| {
            clocks.carry(before, after, &forecare(), now)
        })
    }

    /// What has fallen due is counted once it is stored.
    fn count(&self, signals: &[SlaSignal]) {
        if let Some(clocks) = self.clocks {
            clocks.metrics.sla(signals);
        }
    }

    /// `ticket` after what has fallen due on its clocks, stored; `None`: nothing has, or somebody was faster.
    async fn clocks_due(
        &self,
        ticket: &Ticket,
        now: Timestamp,
    ) -> Result<Option<Ticket>, StoreError> {
        let Some((after, signals)) = self
            .clocks
            .and_then(|clocks| sla_due(ticket, &clocks.terms.of(ticket), now))
        else {
            return Ok(None);
        };
        let stored = self.store(after, now).await?;
        if stored.is_some() {
            self.count(&signals);
        }
        Ok(stored)
    }

    /// A component was replaced: tickets for its modes that nobody started on have lost their reason. Returns
    /// those that ended.
    pub(crate) async fn replaced(
        &self,
        asset: &Asset,
        class: &AssetClass,
        component: &ComponentName,
        at: Timestamp,
    ) -> Result<Vec<Ticket>, StoreError> {
        let mut ended = Vec::new();
        for mode in class.modes_of_component(component) {
            if let Some(ticket) = self.open_ticket_for(asset, &mode.name).await?
                && let Some(after) = replaced_elsewhere(&ticket, at)
            {
                ended.extend(self.update(&ticket, after, at).await?);
            }
        }
        Ok(ended)
    }

    /// Looks at the timers of a ticket and its reservations; returns the ticket where it has changed. `settled`:
    /// no evidence for it can still be queued.
    pub(crate) async fn timers(
        &self,
        ticket: &Ticket,
        now: Timestamp,
        settled: bool,
    ) -> Result<Option<Ticket>, StoreError> {
        // A silent device is no sign of health: only time with readings counts against the evidence.
        let heard = self
            .book
            .newest_reading(&ticket.device)
            .await?
            .unwrap_or(ticket.evidence_at);
        let judged = now.min(heard);
        let settled = settled || !self.book.has_tasks().await?;
        let mut changed = self.clocks_due(ticket, now).await?;
        let ticket_now = changed.as_ref().unwrap_or(ticket);
        if let Some(after) = confirm_due(ticket_now, self.policy, now)
            .or_else(|| withdraw_due(ticket_now, false, self.policy, judged).filter(|_| settled))
            && let Some(stored) = self.update(ticket_now, after, now).await?
        {
            changed = Some(stored);
        }
        let ticket = changed.as_ref().unwrap_or(ticket);
        let writes: Vec<ReservationWrite> = self
            .held_for(ticket.id, true)
            .await?
            .iter()
            .filter_map(|held| self.reservation_write(held, ticket, judged, now))
            .collect();
        if !writes.is_empty() {
            self.book
                .commit_care(CareCommit {
                    reservations: writes,
                    at: now,
                    ..CareCommit::default()
                })
                .await?;
        }
        Ok(changed)
    }

    /// What time makes of a reservation; `judged`: time with readings.
    fn reservation_write(
        &self,
        held: &Reservation,
        ticket: &Ticket,
        judged: Timestamp,
        now: Timestamp,
    ) -> Option<ReservationWrite> {
        // What no alarm opened needs its parts until it ends.
        let evidence_active = !ticket.is_predicted()
            || judged.hours_since(ticket.evidence_at) < self.policy.soft_hold_hours;
        let lead_time_hours = self.catalogue.lead_time_hours(held.wanted());
        let to = reservation_due(
            held,
            ticket,
            evidence_active,
            lead_time_hours,
            self.policy,
            now,
        )?;
        Some(ReservationWrite {
            id: held.id,
            from: held.state,
            to,
            expires_at: hold_ends_at(held, ticket, self.policy),
        })
    }

    /// Whether [`Self::timers`] would change something, where no evidence can be queued and there are no service level
    /// clocks: of a ticket, its reservations, and the newest reading of its device.
    pub(crate) fn is_due<'r>(
        &self,
        ticket: &Ticket,
        mut reserved: impl Iterator<Item = &'r Reservation>,
        heard: Option<Timestamp>,
        now: Timestamp,
    ) -> bool {
        let judged = now.min(heard.unwrap_or(ticket.evidence_at));
        let is_due = |held: &Reservation| {
            held.state.is_live() && self.reservation_write(held, ticket, judged, now).is_some()
        };
        confirm_due(ticket, self.policy, now).is_some()
            || withdraw_due(ticket, false, self.policy, judged).is_some()
            || reserved.any(is_due)
    }

    /// Looks at the timers of one asset's tickets, or of all; returns the tickets that have changed.
    pub(crate) async fn sweep(
        &self,
        asset: Option<&AssetId>,
        now: Timestamp,
    ) -> Result<Vec<Ticket>, StoreError> {
        let filter = TicketFilter {
            asset: asset.cloned(),
            unfinished: true,
            ..TicketFilter::default()
        };
        let mut ended = Vec::new();
        let mut before = None;
        loop {
            let request = PageRequest {
                before,
                limit: PAGE,
            };
            let page = self.book.tickets(&filter, request).await?;
            before = page.last().map(|p| p.position);
            let full = page.len() == PAGE;
            for ticket in page {
                ended.extend(self.timers(&ticket.item, now, asset.is_some()).await?);
            }
            if !full {
                return Ok(ended);
            }
        }
    }

    /// What is reserved for a ticket.
    pub(crate) async fn held_for(
        &self,
        ticket: TicketId,
        live: bool,
    ) -> Result<Vec<Reservation>, StoreError> {
        let filter = ReservationFilter {
            ticket: Some(ticket),
            live,
        };
        every(|page| self.book.reservations(&filter, page)).await
    }

    /// Parts a ticket needs that nothing is held for: after a hold has expired, or the fault came back.
    pub(crate) async fn missing_parts(
        &self,
        asset: &Asset,
        class: &AssetClass,
        ticket: &Ticket,
        now: Timestamp,
    ) -> Result<Vec<(TicketId, Need)>, StoreError> {
        let mode = ticket.mode.as_ref().and_then(|mode| class.mode(mode));
        let needs = needs_of(self.catalogue, asset, mode, ticket, self.policy, now);
        if needs.is_empty() {
            return Ok(Vec::new());
        }
        let held = self.held_for(ticket.id, false).await?;
        Ok(not_held(ticket, &needs, &held))
    }

    /// What other needs of a ticket mean: holds that are cut down, and what is to be reserved.
    pub(crate) async fn parts_changed(
        &self,
        asset: &Asset,
        class: &AssetClass,
        ticket: &Ticket,
        now: Timestamp,
    ) -> Result<PartsChanged, StoreError> {
        let mode = ticket.mode.as_ref().and_then(|mode| class.mode(mode));
        let needs = needs_of(self.catalogue, asset, mode, ticket, self.policy, now);
        let held = self.held_for(ticket.id, false).await?;
        Ok(PartsChanged {
            cuts: surplus(ticket, &needs, &held),
            needs: not_held(ticket, &needs, &held),
        })
    }

    /// Stores `after`, a step of the care desk from `before`; `None`: somebody was faster.
    async fn update(
        &self,
        before: &Ticket,
        mut after: Ticket,
        at: Timestamp,
    ) -> Result<Option<Ticket>, StoreError> {
        let signals = self.carry(before, &mut after, at);
        let stored = self.store(after, at).await?;
        if stored.is_some() {
            self.count(&signals);
        }
        Ok(stored)
    }

    /// Stores a ticket as it is; `None`: somebody was faster.
    pub(crate) async fn store(
        &self,
        after: Ticket,
        at: Timestamp,
    ) -> Result<Option<Ticket>, StoreError> {
        let commit = CareCommit {
            ticket: changed(after, Vec::new()),
            at,
            ..CareCommit::default()
        };
        match self.book.commit_care(commit).await {
            Ok(CareOutcome::Updated(ticket)) => Ok(Some(*ticket)),
            Ok(_) => Ok(None),
            // A person was faster; the next sweep sees what they did.
            Err(StoreError::Conflict(_)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The open ticket for an asset's failure mode.
    pub(crate) async fn open_ticket_for(
        &self,
        asset: &Asset,
        mode: &ModeName,
    ) -> Result<Option<Ticket>, StoreError> {
        let filter = TicketFilter {
            asset: Some(asset.id.clone()),
            open: Some(true),
            opening_key: Some(Ticket::alarm_key(mode)),
            ..TicketFilter::default()
        };
        let open = self.book.tickets(&filter, first_page()).await?;
        Ok(open.into_iter().map(|t| t.item).next())
    }
}

fn not_held(ticket: &Ticket, needs: &[Need], held: &[Reservation]) -> Vec<(TicketId, Need)> {
    let missing = outstanding(ticket, needs, held).into_iter();
    missing.map(|need| (ticket.id, need)).collect()
}

/// What becomes of a ticket's holds where it needs other parts.
#[derive(Debug, Default)]
pub(crate) struct PartsChanged {
    /// Which, and how many each keeps.
    pub(crate) cuts: Vec<(ReservationId, u32)>,
    /// What is to be reserved.
    pub(crate) needs: Vec<(TicketId, Need)>,
}

/// A person's change of a ticket to `to` as one step: with its verdict as a label and the word to the
/// detectors. `needs`: parts to reserve with it.
pub(crate) fn step(
    after: Ticket,
    to: TicketState,
    needs: Vec<(TicketId, Need)>,
    parts_used: Vec<PartUsed>,
    idempotency_key: Option<String>,
    now: Timestamp,
) -> CareCommit {
    let verdict = after
        .verdict
        .clone()
        .filter(|_| to == TicketState::Resolved);
    // The detectors forget what the ticket was about in any case: a fault that was mended is gone, and one
    // that was not found is this machine's normal, or its sensor's.
    let label = verdict.as_ref().and_then(|_| label_of(&after));
    let modes: Vec<ModeName> = match verdict {
        Some(Verdict::WrongMode { actual }) => after.mode.iter().cloned().chain([actual]).collect(),
        Some(
            Verdict::Confirmed { .. }
            | Verdict::TooEarly
            | Verdict::NoFaultFound
            | Verdict::DataFault
            | Verdict::Done,
        ) => after.mode.iter().cloned().collect(),
        None => Vec::new(),
    };
    let follow_up = (!modes.is_empty()).then(|| CareTask::Repaired {
        device: after.device.clone(),
        modes,
        at: now,
    });
    CareCommit {
        needs,
        label,
        follow_up,
        idempotency_key,
        ticket: changed(after, parts_used),
        at: now,
        ..CareCommit::default()
    }
}

fn changed(after: Ticket, parts_used: Vec<PartUsed>) -> TicketWrite {
    TicketWrite::Update {
        ticket: Box::new(after),
        parts_used,
    }
}

fn first_page() -> PageRequest {
    PageRequest {
        before: None,
        limit: PAGE,
    }
}
