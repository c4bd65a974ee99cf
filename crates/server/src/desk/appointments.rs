//! Visits that are agreed with customers: which times the plan has room for, and taking one.

use std::collections::BTreeMap;

use forecare_api::{AssignmentRequest, DeskError};
use forecare_care::dispatch::{FixedStart, Slot, is_proposable, slots};
use forecare_domain::{Actor, Ticket, TicketId, Timestamp};

use super::{CareDesk, desk_error};

/// Times a visit is tried to be laid down that somebody else's step comes before.
const TRIES: usize = 3;

impl CareDesk {
    /// Windows in which the visit for `ticket` can begin while every other visit stays where it is planned.
    async fn free_slots(&self, ticket: &Ticket, now: Timestamp) -> Result<Vec<Slot>, DeskError> {
        let failed = |failure| desk_error(&failure);
        self.terms.refresh(&*self.store).await.map_err(failed)?;
        let tickets = self.open_tickets().await.map_err(failed)?;
        let mut problem = self.problem(&tickets, now).await.map_err(failed)?;
        let planned: BTreeMap<TicketId, &Ticket> = tickets.iter().map(|t| (t.id, t)).collect();
        for job in &mut problem.jobs {
            if job.ticket == ticket.id {
                // What a customer has chosen before is theirs to change, the technician with it.
                let by_customer = ticket.assignment.as_ref().map(|a| a.by.is_customer());
                if by_customer == Some(true) && is_proposable(ticket.state) {
                    job.only = None;
                }
            } else if job.fixed.is_none() {
                let proposal = planned.get(&job.ticket).and_then(|t| t.proposal.as_ref());
                let visit = proposal.and_then(|p| p.assigned.as_ref());
                job.fixed = visit
                    .filter(|visit| visit.start_at >= now)
                    .map(|visit| FixedStart {
                        technician: visit.technician.clone(),
                        start_at: visit.start_at,
                    });
            }
        }
        let until = now.plus_hours(self.dispatch.horizon_hours);
        let windows = self.appointments.windows(now, until);
        let id = ticket.id;
        let searching = tokio::task::spawn_blocking(move || slots(&problem, id, &windows));
        let found = searching
            .await
            .map_err(|_stopped| DeskError::Unavailable("the service is stopping".to_owned()))?;
        Ok(self.appointments.offered(found, ticket.due_at))
    }

    pub(super) async fn slots_for(&self, id: TicketId) -> Result<Vec<Slot>, DeskError> {
        let ticket = self.store.ticket(id).await.map_err(|f| desk_error(&f))?;
        let now = self.clock.now();
        self.appointments
            .check(&ticket, now)
            .map_err(|refused| DeskError::Conflict(refused.to_string()))?;
        // Reading takes a while with many tickets, and comes from a page that is open to customers.
        let _place = self.slot_places.try_acquire().map_err(|_busy| {
            DeskError::Unavailable("many ask for times just now; try again in a moment".to_owned())
        })?;
        self.free_slots(&ticket, now).await
    }

    /// Lays down the visit in the window at `from`, where the plan still has room for it.
    pub(super) async fn take_slot_of(
        &self,
        id: TicketId,
        from: Timestamp,
        by: Actor,
    ) -> Result<Ticket, DeskError> {
        // Two customers do not get the same hour.
        let _one = self.one_by_one.lock().await;
        for _ in 0..TRIES {
            match self.take_free(id, from, by.clone()).await {
                // The dispatcher, or a clock, wrote to it in between.
                Err(DeskError::PreconditionFailed { .. }) => {}
                done => return done,
            }
        }
        Err(DeskError::Unavailable(format!(
            "{id} changes all the time; try again in a moment"
        )))
    }

    async fn take_free(
        &self,
        id: TicketId,
        from: Timestamp,
        by: Actor,
    ) -> Result<Ticket, DeskError> {
        let ticket = self.store.ticket(id).await.map_err(|f| desk_error(&f))?;
        let now = self.clock.now();
        self.appointments
            .check(&ticket, now)
            .map_err(|refused| DeskError::Conflict(refused.to_string()))?;
        let free = self.free_slots(&ticket, now).await?;
        let Some(slot) = free.into_iter().find(|slot| slot.from == from) else {
            return Err(DeskError::Conflict(
                "that time is no longer free; choose another one".to_owned(),
            ));
        };
        let request = AssignmentRequest {
            technician: Some(slot.visit.technician),
            start_at: Some(slot.visit.start_at),
            why: format!("chosen: between {} and {}", slot.from, slot.to),
            if_version: Some(ticket.version),
            idempotency_key: None,
        };
        self.lay_down(id, request, by).await
    }
}
