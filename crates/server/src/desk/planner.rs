//! The dispatcher at work: plans all open tickets and all technicians together whenever tickets change.

use std::collections::BTreeMap;
use std::time::Duration;

use forecare_api::StreamEvent;
use forecare_care::Calendar;
use forecare_care::dispatch::{
    DispatchPlan, DispatchProblem, DispatchWeights, FixedStart, Job, JobPart, Worker,
    default_rounds, delay_cost, is_proposable, missing, plan, proposed, usual_visit_cost,
};
use forecare_domain::{
    Asset, AssetId, Priority, Reservation, Ticket, TicketId, TicketState, Timestamp,
};
use forecare_store::{ReservationFilter, StoreError, TicketFilter, every};
use tokio::sync::watch;
use tracing::{info, warn};

use super::CareDesk;
use super::crew::Shifts;
use crate::pipeline::chain;

/// Shortest time between two plans.
const PLAN_GAP: Duration = Duration::from_secs(3);
/// A plan is made anew after so long even if no ticket changes: starts in it would lie in the past.
const PLAN_ANYWAY: Duration = Duration::from_secs(60);

/// What the dispatcher is told.
#[derive(Debug, Clone)]
pub(crate) struct DispatchSettings {
    /// How far ahead is planned, hours.
    pub(crate) horizon_hours: f64,
    /// When technicians work whose own calendar is not known.
    pub(crate) calendar: Calendar,
    /// What things cost.
    pub(crate) weights: DispatchWeights,
}

/// Hours before and after the time that is planned for which openings are looked at.
const MORE_HOURS: f64 = 48.0;

impl CareDesk {
    /// Plans whenever tickets have changed, until `stop` turns true.
    pub(super) async fn run_planner(&self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            if let Err(failure) = self.plan_now().await {
                // The desk itself says that the store does not answer; the next plan comes anyway.
                warn!(error = %chain(&failure), "nothing planned");
            }
            for wait in [PLAN_GAP, PLAN_ANYWAY] {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.replan.notified(), if wait == PLAN_ANYWAY => {}
                    _ = stop.wait_for(|stop| *stop) => return,
                }
            }
        }
    }

    /// Plans once, and stores what it says that is new; returns how many tickets that changes.
    pub(crate) async fn plan_now(&self) -> Result<usize, StoreError> {
        let now = self.clock.now();
        self.terms.refresh(&*self.store).await?;
        let tickets = self.open_tickets().await?;
        if !tickets.iter().any(|t| is_proposable(t.state)) {
            return Ok(0);
        }
        let problem = self.problem(&tickets, now).await?;
        let planning = tokio::task::spawn_blocking(move || (plan(&problem), problem));
        let Ok((plan, problem)) = planning.await else {
            // The runtime is shutting down, or planning broke: tickets keep what they have.
            return Ok(0);
        };
        self.keep(&tickets, &problem, &plan, now).await
    }

    async fn keep(
        &self,
        tickets: &[Ticket],
        problem: &DispatchProblem,
        plan: &DispatchPlan,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let by_id: BTreeMap<TicketId, &Ticket> = tickets.iter().map(|t| (t.id, t)).collect();
        let mut n_changed = 0;
        for (job, proposal) in problem.jobs.iter().zip(&plan.proposals) {
            let Some(after) = by_id
                .get(&job.ticket)
                .and_then(|ticket| proposed(ticket, proposal, now))
            else {
                continue;
            };
            // Who was faster has woken the planner: the next plan knows of it.
            if let Some(stored) = self.rules().store(after, now).await? {
                n_changed += 1;
                self.stream.send(StreamEvent::Ticket(Box::new(stored))).ok();
            }
        }
        if n_changed > 0 {
            info!(
                n_jobs = problem.jobs.len(),
                n_changed,
                cost = plan.cost,
                "planned"
            );
        }
        Ok(n_changed)
    }

    pub(super) async fn problem(
        &self,
        tickets: &[Ticket],
        now: Timestamp,
    ) -> Result<DispatchProblem, StoreError> {
        let assets = self.store.assets().await?;
        let assets: BTreeMap<AssetId, Asset> =
            assets.into_iter().map(|a| (a.id.clone(), a)).collect();
        let mut held: BTreeMap<TicketId, Vec<Reservation>> = BTreeMap::new();
        for reservation in self.live_reservations().await? {
            held.entry(reservation.ticket)
                .or_default()
                .push(reservation);
        }
        let jobs: Vec<Job> = tickets
            .iter()
            .filter(|t| !matches!(t.state, TicketState::OnHold(_)))
            .filter_map(|t| {
                let held = held.get(&t.id).map_or(&[][..], Vec::as_slice);
                self.job(t, assets.get(&t.asset)?, held, now)
            })
            .collect();
        Ok(DispatchProblem {
            now,
            rounds: default_rounds(jobs.len()),
            jobs,
            technicians: self.technicians(now).await?,
            depots: self.terms.depots(),
            weights: self.dispatch.weights,
        })
    }

    /// Those of the registry; of the catalogue where that knows nobody.
    async fn technicians(&self, now: Timestamp) -> Result<Vec<Worker>, StoreError> {
        let shifts = Shifts {
            standard: &self.dispatch.calendar,
            from: now,
            to: now.plus_hours(self.dispatch.horizon_hours),
        };
        let stock = self.store.stock().await?;
        let registered = self.terms.workers(&shifts, &stock);
        if !registered.is_empty() {
            return Ok(registered);
        }
        let shifts: Vec<_> = shifts.standard.openings(now, shifts.to).collect();
        let of_catalogue = self
            .catalogue
            .technicians
            .iter()
            .map(|t| Worker {
                name: t.name.clone(),
                home: None,
                depot: Some(t.depot.clone()),
                skills: t.skills.clone(),
                certificates: Vec::new(),
                regions: Vec::new(),
                excluded_customers: Vec::new(),
                shifts: shifts.clone(),
                planned_hours: 0.0,
                van: Vec::new(),
            })
            .collect();
        Ok(of_catalogue)
    }

    /// The work on a ticket; `None`: the catalogue no longer has its class or mode.
    fn job(
        &self,
        ticket: &Ticket,
        asset: &Asset,
        held: &[Reservation],
        now: Timestamp,
    ) -> Option<Job> {
        let class = self.catalogue.class(&asset.class)?;
        let mode = ticket.mode.as_ref().and_then(|mode| class.mode(mode));
        let work_hours = ticket.work.work_hours.or(mode.map(|m| m.work_hours))?;
        let visit = usual_visit_cost(&self.catalogue, &self.dispatch.weights);
        let delay = delay_cost(ticket.priority, ticket.work.report.as_ref(), visit);
        let (risk, another_visit) = ticket.decision.as_ref().map_or((0.0, 0.0), |d| {
            (
                // The failure strikes at a steady rate within the horizon.
                d.probability * d.cost_of_failure / d.horizon_hours.max(1.0),
                d.cost_of_acting,
            )
        });
        let promised = ticket.sla.as_ref().and_then(|sla| sla.resolution.due_at);
        let depot = asset
            .depot
            .clone()
            .filter(|own| self.catalogue.depots.iter().any(|d| d.name == *own));
        let spot = self.terms.spot(asset, now);
        // At home one comes at any hour.
        let visiting = if ticket.priority == Priority::P1 || spot.customer.is_none() {
            Vec::new()
        } else {
            self.visiting(asset, now)
        };
        Some(Job {
            ticket: ticket.id,
            place: spot.place,
            site: site(asset),
            depot: depot.or_else(|| self.catalogue.depots.first().map(|d| d.name.clone())),
            region: spot.region,
            customer: spot.customer,
            work_hours,
            skills: ticket.skills.clone(),
            certificates: mode.map_or_else(Vec::new, |m| m.certificates.clone()),
            parts: held
                .iter()
                .map(|r| JobPart {
                    part: r.part.clone(),
                    quantity: r.quantity,
                    available_at: r.available_at,
                })
                .collect(),
            earliest_at: now,
            visiting,
            due_at: promised.map_or(ticket.due_at, |promised| promised.min(ticket.due_at)),
            waiting_cost_per_hour: delay.waiting_per_hour + risk,
            // A day late costs at least as much as another visit, beside the risk.
            lateness_cost_per_hour: delay.lateness_per_hour.max(another_visit / 24.0),
            preferred: spot.preferred,
            excluded: spot.excluded,
            only: only(ticket),
            fixed: fixed(ticket, work_hours, now),
        })
    }

    /// When somebody may come to `asset`: in the hours of appointments, by the clocks of its place.
    pub(super) fn visiting(&self, asset: &Asset, now: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let calendar = &self.appointments.calendar;
        let there = self.terms.time_zone_of(&asset.id, now);
        let there = there.and_then(|zone| calendar.in_zone(&zone));
        let until = now.plus_hours(self.dispatch.horizon_hours);
        let hours = there.as_ref().unwrap_or(calendar);
        // From before, and to after: so that none is taken for a shorter one.
        let openings = hours.openings(now.plus_hours(-MORE_HOURS), until.plus_hours(MORE_HOURS));
        let mut windows: Vec<_> = openings.filter(|(_, close)| *close > now).collect();
        if windows.is_empty() {
            // None at all would mean at any time.
            let never = until.plus_hours(MORE_HOURS);
            windows.push((never, never.plus_hours(MORE_HOURS)));
        }
        windows
    }

    /// What `technician` has not that the work on `ticket` asks for, in words; begun at `start_at`, or now.
    pub(super) async fn lacking(
        &self,
        ticket: &Ticket,
        technician: &str,
        start_at: Option<Timestamp>,
    ) -> Result<Vec<String>, StoreError> {
        let now = self.clock.now();
        self.terms.refresh(&*self.store).await?;
        let workers = self.technicians(now).await?;
        let Some(worker) = workers.iter().find(|w| w.name == technician) else {
            return Ok(Vec::new());
        };
        let found = self.asset(&ticket.device).await?;
        let mode = found.and_then(|(_, class)| class.mode(ticket.mode.as_ref()?));
        let certificates = mode.map_or(&[][..], |m| &m.certificates);
        let hours = ticket.work.work_hours.or(mode.map(|m| m.work_hours));
        let end = start_at.unwrap_or(now).plus_hours(hours.unwrap_or(0.0));
        Ok(missing(worker, &ticket.skills, certificates, end))
    }

    pub(super) async fn open_tickets(&self) -> Result<Vec<Ticket>, StoreError> {
        let filter = TicketFilter {
            asset: None,
            open: Some(true),
            ..TicketFilter::default()
        };
        every(|page| self.store.tickets(&filter, page)).await
    }

    async fn live_reservations(&self) -> Result<Vec<Reservation>, StoreError> {
        let filter = ReservationFilter {
            ticket: None,
            live: true,
        };
        every(|page| self.store.reservations(&filter, page)).await
    }
}

/// Between visits to one machine nobody travels, whether or not it is known where it stands.
fn site(asset: &Asset) -> String {
    if asset.site.is_empty() {
        format!("at {}", asset.id)
    } else {
        asset.site.clone()
    }
}

/// Whom a person has chosen, or who has it already.
fn only(ticket: &Ticket) -> Option<String> {
    if let Some(laid_down) = &ticket.assignment {
        return Some(laid_down.technician.clone());
    }
    ticket
        .technician
        .clone()
        .filter(|_| !is_proposable(ticket.state))
}

/// When it begins, where that stands: work under way, a planner's word, the proposal it was sent out with.
fn fixed(ticket: &Ticket, work_hours: f64, now: Timestamp) -> Option<FixedStart> {
    let technician = only(ticket)?;
    let start_at = if ticket.state == TicketState::InProgress {
        let begun = ticket.history.iter().rev();
        let begun = begun
            .take_while(|c| c.to == TicketState::InProgress)
            .last()
            .map_or(now, |c| c.at);
        // Work that takes longer than planned is taken to end now.
        begun.max(now.plus_hours(-work_hours))
    } else {
        let laid_down = ticket.assignment.as_ref().and_then(|a| a.start_at);
        let sent_with = ticket
            .proposal
            .as_ref()
            .filter(|_| !is_proposable(ticket.state))
            .and_then(|p| p.assigned.as_ref())
            .filter(|a| a.technician == technician)
            .map(|a| a.start_at);
        // An appointment that has passed without the work beginning no longer stands.
        laid_down.or(sent_with).filter(|at| *at >= now)?
    };
    Some(FixedStart {
        technician,
        start_at,
    })
}
