//! Tickets that no alarm opens: people's reports and devices' events.

use forecare_api::{DeskError, OpenRequest, StreamEvent, opening_key};
use forecare_care::NewTicket;
use forecare_care::dispatch::Crew;
use forecare_care::reporting::{About, Desk as OpeningDesk, NewReport, open_event, open_reported};
use forecare_care::sla::SlaTerms;
use forecare_domain::{Actor, Asset, DeviceEvent, TaskId, Ticket, Timestamp};
use forecare_store::{AlarmFilter, CareCommit, CareOutcome, StoreError, TicketWrite, every};
use tracing::{info, warn};

use super::{CareDesk, desk_error};

impl CareDesk {
    pub(super) fn opening<'a>(&'a self, terms: &'a SlaTerms) -> OpeningDesk<'a> {
        OpeningDesk {
            catalogue: &self.catalogue,
            rules: &self.tickets,
            policy: &self.policy,
            terms,
        }
    }

    /// Stores a new ticket with its clocks started, and tells who listens.
    pub(super) async fn open(
        &self,
        mut new: NewTicket,
        task: Option<TaskId>,
        key: Option<String>,
        at: Timestamp,
    ) -> Result<CareOutcome, StoreError> {
        self.clocks().start(&mut new.ticket);
        let outcome = self
            .store
            .commit_care(CareCommit {
                task,
                idempotency_key: key,
                ticket: TicketWrite::Open(Box::new(new)),
                at,
                ..CareCommit::default()
            })
            .await?;
        if let CareOutcome::Opened {
            ticket,
            reservations,
        } = &outcome
        {
            info!(ticket.id = %ticket.id, asset.id = %ticket.asset, kind = %ticket.kind, origin = ticket.origin.label(), "ticket opened");
            self.metrics.tickets_opened.inc();
            for reservation in reservations {
                self.metrics.reservation(reservation);
                self.tell(StreamEvent::Reservation(reservation.clone()));
            }
            self.tell(StreamEvent::Ticket(ticket.clone()));
        }
        Ok(outcome)
    }

    /// A device reports an event for which the configuration has a rule.
    pub(super) async fn reported(
        &self,
        task: TaskId,
        event: &DeviceEvent,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let Some((asset, class)) = self.asset(&event.device).await? else {
            warn!(device.id = %event.device, "no asset or class for an event: left out");
            return self.done(task, at).await;
        };
        let rule = self.tickets.event(&class.name, event);
        let Some(rule) = rule.filter(|_| {
            // What a backlog tells of days ago opens nothing today.
            at.hours_since(event.ts) < self.policy.withdraw_after_hours
        }) else {
            return self.done(task, at).await;
        };
        let Some(kind) = self.tickets.kind(rule.kind.as_str()) else {
            return self.done(task, at).await;
        };
        let load = self.rules().book.load().await?;
        let registered = self.terms.crew();
        let about = About {
            asset: &asset,
            class,
            crew: Crew {
                technicians: registered.as_deref().unwrap_or(&self.catalogue.technicians),
                load: &load,
            },
        };
        let terms = self.terms.of_asset(&asset, at);
        let new = open_event(self.opening(&terms), about, (rule, kind), event, at);
        self.open(new, Some(task), None, at).await?;
        Ok(())
    }

    /// Opens the ticket that a person asks for; the same key again gives the one it opened.
    pub(super) async fn open_for_person(
        &self,
        asset: &Asset,
        request: OpenRequest,
        by: Actor,
    ) -> Result<Ticket, DeskError> {
        let failed = |failure: StoreError| desk_error(&failure);
        let key = request.idempotency_key.as_deref().map(opening_key);
        if let Some(key) = &key
            && let Some(CareOutcome::Opened { ticket, .. }) =
                self.store.outcome(key).await.map_err(failed)?
        {
            return self.store.ticket(ticket.id).await.map_err(failed);
        }
        let known = self.asset(&asset.device).await.map_err(failed)?;
        let Some((_, class)) = known else {
            return Err(DeskError::Invalid(format!(
                "the catalogue no longer has the class {} of asset {}",
                asset.class, asset.id
            )));
        };
        let Some(kind) = self.tickets.kind(&request.kind) else {
            let kinds = self.tickets.kinds().iter();
            let kinds: Vec<&str> = kinds.map(|kind| kind.name.as_str()).collect();
            return Err(DeskError::Invalid(format!(
                "kind: there is none of that name; use {}",
                kinds.join(", ")
            )));
        };
        let mode = match &request.mode {
            Some(name) => Some(class.mode(name).ok_or_else(|| {
                DeskError::Invalid(format!(
                    "mode: the class {} has no failure mode \"{name}\"",
                    class.name
                ))
            })?),
            None => None,
        };
        let parent = match request.parent {
            Some(id) => match self.store.ticket(id).await {
                Ok(parent) => Some(parent),
                Err(StoreError::NotFound(what)) => {
                    return Err(DeskError::Invalid(format!(
                        "parent_id: {what} was not found"
                    )));
                }
                Err(failure) => return Err(desk_error(&failure)),
            },
            None => None,
        };
        // Customers do not know our fields: who takes the ticket up fills them in.
        let fields = if by.is_customer() && request.fields.is_empty() {
            request.fields
        } else {
            kind.checked_fields(request.fields)
                .map_err(|(field, what)| DeskError::Invalid(format!("fields.{field}: {what}")))?
        };
        self.terms.refresh(&*self.store).await.map_err(failed)?;
        let now = self.clock.now();
        let load = self.rules().book.load().await.map_err(failed)?;
        let registered = self.terms.crew();
        let about = About {
            asset,
            class,
            crew: Crew {
                technicians: registered.as_deref().unwrap_or(&self.catalogue.technicians),
                load: &load,
            },
        };
        let filter = AlarmFilter {
            device: Some(asset.device.clone()),
            active: Some(true),
        };
        let active = every(|page| self.store.alarms(&filter, page)).await;
        let active = active.map_err(failed)?;
        let report = NewReport {
            kind,
            alarm: active.iter().map(|alarm| alarm.severity).max(),
            title: &request.title,
            report: request.report,
            mode,
            fields,
            by,
        };
        let standing = self.terms.standing(asset, now);
        let terms = self.terms.of_asset(asset, now);
        let mut new = open_reported(self.opening(&terms), about, report, &standing, now);
        if let Some(parent) = parent {
            if parent.asset == asset.id {
                new.ticket.work.customer = parent.work.customer;
            }
            new.ticket.work.parent = Some(parent.id);
        }
        new.ticket.work.is_contacts = request.contact.is_some();
        new.ticket.work.contact = request.contact;
        match self.open(new, None, key, now).await.map_err(failed)? {
            CareOutcome::Opened { ticket, .. } => Ok(*ticket),
            CareOutcome::AlreadyOpen(id) => self.store.ticket(id).await.map_err(failed),
            CareOutcome::Stored | CareOutcome::Updated(_) | CareOutcome::AlreadyDone => {
                Err(DeskError::Conflict(
                    "this key was used for something else; use a new one".to_owned(),
                ))
            }
        }
    }
}
