//! Work on a ticket, as people ask for it.

use forecare_api::{DeskError, StreamEvent, Work, WorkRequest};
use forecare_care::classify::classify;
use forecare_care::unbooked;
use forecare_care::work::{WorkDone, WorkError, WorkStep, parts_named, work};
use forecare_domain::{Actor, PartUsed, PartWanted, Reservation, Ticket, TicketId, Timestamp};
use forecare_store::{
    CareCommit, CareOutcome, NewEntry, PageRequest, ReservationFilter, StoreError, TicketWrite,
    counts,
};

use super::rules::PartsChanged;
use super::{CareDesk, Requested, desk_error, no_part};

/// Reservations of a ticket that are looked at.
const HELD_MAX: usize = 1_000;

fn no_class(ticket: &Ticket) -> DeskError {
    DeskError::Conflict(format!(
        "the catalogue no longer has the class of {}",
        ticket.asset
    ))
}

impl CareDesk {
    /// That parts reported as used are reserved for the ticket, or were handed out to it: others would be in no book.
    pub(super) async fn all_booked(
        &self,
        id: TicketId,
        parts: &[PartUsed],
    ) -> Result<(), DeskError> {
        if parts.is_empty() {
            return Ok(());
        }
        let filter = ReservationFilter {
            ticket: Some(id),
            live: false,
        };
        let page = PageRequest {
            before: None,
            limit: HELD_MAX,
        };
        let found = self.store.reservations(&filter, page).await;
        let found = found.map_err(|failure| desk_error(&failure))?;
        let held: Vec<Reservation> = found.into_iter().map(|paged| paged.item).collect();
        let missing: Vec<String> = unbooked(&held, &counts(parts))
            .iter()
            .map(|(part, n)| format!("{n} x {part}"))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(DeskError::Conflict(format!(
            "parts_used: {} {} neither reserved for {id} nor handed out to it: book an issue to the ticket from where they were taken, then report them",
            missing.join(", "),
            if missing.len() == 1 { "is" } else { "are" }
        )))
    }

    /// What `step` comes to, its names looked up.
    async fn taken(
        &self,
        ticket: &Ticket,
        step: Work,
        by: &Actor,
        now: Timestamp,
    ) -> Result<WorkDone, DeskError> {
        let failed = |failure: StoreError| desk_error(&failure);
        let refused = |refused: WorkError| match refused {
            WorkError::Invalid { .. } => DeskError::Invalid(refused.to_string()),
            WorkError::Conflict(text) => DeskError::Conflict(text),
        };
        let named = |parts: Vec<PartUsed>, field: &str| {
            let named = parts_named(self.catalogue.as_ref(), parts);
            named.map_err(|part| no_part(field, &part))
        };
        let step = match step {
            Work::MergeInto { into, why } => {
                let into = Box::new(self.store.ticket(into).await.map_err(failed)?);
                WorkStep::Merge { into, why }
            }
            Work::Classify(wanted) => {
                let Some((_, class)) = self.asset(&ticket.device).await.map_err(failed)? else {
                    return Err(no_class(ticket));
                };
                let rules = (self.catalogue.as_ref(), self.tickets.as_ref());
                return classify(rules, class, ticket, *wanted, by.clone(), now).map_err(refused);
            }
            Work::Step(WorkStep::PartsUsed(parts)) => {
                let parts = named(parts, "parts_used")?;
                self.all_booked(ticket.id, &parts).await?;
                WorkStep::PartsUsed(parts)
            }
            Work::Step(WorkStep::Parts { parts, why }) => {
                let parts = parts.into_iter().map(|p| (p.part, p.quantity).into());
                let parts = named(parts.collect(), "parts")?.into_iter();
                let parts = parts.map(|used| PartWanted {
                    part: used.part,
                    quantity: used.quantity,
                });
                let parts = parts.collect();
                WorkStep::Parts { parts, why }
            }
            Work::Step(step) => step,
        };
        let kind = self.tickets.kind(ticket.kind.as_str());
        work(ticket, kind, step, by.clone(), now).map_err(refused)
    }

    /// What becomes of the holds of `ticket`, which needs other parts than before.
    async fn parts_of(&self, ticket: &Ticket, now: Timestamp) -> Result<PartsChanged, DeskError> {
        let failed = |failure: StoreError| desk_error(&failure);
        let Some((asset, class)) = self.asset(&ticket.device).await.map_err(failed)? else {
            return Err(no_class(ticket));
        };
        let rules = self.rules();
        let changed = rules.parts_changed(&asset, class, ticket, now).await;
        changed.map_err(failed)
    }

    /// Takes the step: the ticket after it, entries and parts in one transaction.
    pub(super) async fn work_on(
        &self,
        id: TicketId,
        mut request: WorkRequest,
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
        if let Some(key) = &key
            && self.store.outcome(key).await.map_err(failed)?.is_some()
        {
            return Ok(ticket);
        }
        let _one = match &request.step {
            Work::MergeInto { .. } => Some(self.one_by_one.lock().await),
            Work::Step(_) | Work::Classify(_) => None,
        };
        let now = self.clock.now();
        let may_need_others = matches!(
            request.step,
            Work::Classify(_) | Work::Step(WorkStep::Parts { .. })
        );
        let done = self.taken(&ticket, request.step, &by, now).await?;
        // Asked for again, they are reserved again, where a hold was lost meanwhile.
        let after = done.ticket.as_ref().unwrap_or(&ticket);
        let changed = if may_need_others && after.state.is_open() {
            self.parts_of(after, now).await?
        } else {
            PartsChanged::default()
        };
        let mut signals = Vec::new();
        let write = match done.ticket {
            Some(mut after) => {
                signals = self.clocks().carry(&ticket, &mut after, &by, now);
                TicketWrite::Update {
                    ticket: Box::new(after),
                    parts_used: done.parts_used,
                }
            }
            None => TicketWrite::None,
        };
        let entries = done.entries.into_iter();
        let commit = CareCommit {
            idempotency_key: key,
            ticket: write,
            cuts: changed.cuts,
            needs: changed.needs,
            entries: entries
                .map(|(ticket, entry, content)| NewEntry {
                    ticket,
                    entry,
                    content,
                })
                .collect(),
            notices: done.notices,
            at: now,
            ..CareCommit::default()
        };
        let stored = match self.store.commit_care(commit).await.map_err(failed)? {
            CareOutcome::Updated(ticket) => *ticket,
            CareOutcome::Stored
            | CareOutcome::Opened { .. }
            | CareOutcome::AlreadyOpen(_)
            | CareOutcome::AlreadyDone => self.store.ticket(id).await.map_err(failed)?,
        };
        self.metrics.sla(&signals);
        self.tell(StreamEvent::Ticket(Box::new(stored.clone())));
        Ok(stored)
    }
}
