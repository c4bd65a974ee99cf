//! Work on a ticket, as people ask for it.

use forecare_api::{DeskError, StreamEvent, Work, WorkRequest};
use forecare_care::unbooked;
use forecare_care::work::{WorkError, WorkStep, parts_named, work};
use forecare_domain::{Actor, PartUsed, Reservation, Ticket, TicketId};
use forecare_store::{
    CareCommit, CareOutcome, NewEntry, PageRequest, ReservationFilter, StoreError, TicketWrite,
    counts,
};

use super::{CareDesk, Requested, desk_error, no_part};

/// Reservations of a ticket that are looked at.
const HELD_MAX: usize = 1_000;

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
            Work::Step(_) => None,
        };
        let step = match request.step {
            Work::Step(step) => step,
            Work::MergeInto { into, why } => {
                let into = self.store.ticket(into).await.map_err(failed)?;
                let into = Box::new(into);
                WorkStep::Merge { into, why }
            }
        };
        let step = if let WorkStep::PartsUsed(parts) = step {
            let named = parts_named(self.catalogue.as_ref(), parts);
            let named = named.map_err(|part| no_part(&part))?;
            self.all_booked(id, &named).await?;
            WorkStep::PartsUsed(named)
        } else {
            step
        };
        let now = self.clock.now();
        let kind = self.tickets.kind(ticket.kind.as_str());
        let done = work(&ticket, kind, step, by.clone(), now).map_err(|refused| match refused {
            WorkError::Invalid { .. } => DeskError::Invalid(refused.to_string()),
            WorkError::Conflict(text) => DeskError::Conflict(text),
        })?;
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
