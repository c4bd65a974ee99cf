//! Service level clocks, and who is to do a ticket.

use forecare_care::sla::SlaReading;
use forecare_domain::{
    DispatchCandidate, DispatchCost, DispatchOverride, DispatchProposal, DispatchRejection,
    Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::part::ChannelDto;

/// A service level clock of a ticket, now.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct SlaClockDto {
    /// `first_response` (a person takes the ticket up) or `resolution` (the work is done).
    pub(crate) clock: &'static str,
    /// `running`, `paused`, `met`, `breached` (whether it still runs or not), or `void` (cancelled in time).
    pub(crate) state: &'static str,
    /// The target, hours of the contract's working time.
    pub(crate) target_hours: f64,
    /// How much is used, hours of working time.
    pub(crate) elapsed_hours: f64,
    /// Share of the target used; above 1 it is late.
    pub(crate) fraction: f64,
    /// When the target is or was reached if the clock just runs on; null while paused, or once stopped in time.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) due_at: Option<Timestamp>,
    /// When it was stopped; null while it is not.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) stopped_at: Option<Timestamp>,
}

impl From<SlaReading> for SlaClockDto {
    fn from(r: SlaReading) -> Self {
        Self {
            clock: r.kind.label(),
            state: r.state.label(),
            target_hours: r.target_hours,
            elapsed_hours: r.elapsed_hours,
            fraction: r.fraction,
            due_at: r.due_at,
            stopped_at: r.stopped_at,
        }
    }
}

/// What an assignment adds to the plan's cost, in the catalogue's currency.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct DispatchCostDto {
    /// Everything together.
    pub(crate) total: f64,
    /// Time on the road.
    pub(crate) travel: f64,
    /// Fetching parts that are not in the van.
    pub(crate) parts: f64,
    /// The machine may fail until the work is done.
    pub(crate) waiting: f64,
    /// The work ends after it is due.
    pub(crate) lateness: f64,
    /// Somebody else than the customer asked for.
    pub(crate) preference: f64,
    /// Work heaped on one person.
    pub(crate) load: f64,
}

impl From<DispatchCost> for DispatchCostDto {
    fn from(c: DispatchCost) -> Self {
        Self {
            total: c.total(),
            travel: c.travel,
            parts: c.parts,
            waiting: c.waiting,
            lateness: c.lateness,
            preference: c.preference,
            load: c.load,
        }
    }
}

/// A technician who could do the work.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct DispatchCandidateDto {
    /// The technician.
    pub(crate) technician: String,
    /// When the work would begin.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) start_at: Timestamp,
    /// When it would end.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) end_at: Timestamp,
    /// What it adds to the plan's cost.
    pub(crate) cost: DispatchCostDto,
}

impl From<DispatchCandidate> for DispatchCandidateDto {
    fn from(c: DispatchCandidate) -> Self {
        Self {
            technician: c.technician,
            start_at: c.start_at,
            end_at: c.end_at,
            cost: c.cost.into(),
        }
    }
}

/// A technician who cannot do the work.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct DispatchRejectionDto {
    /// The technician.
    pub(crate) technician: String,
    /// Why not.
    pub(crate) why: String,
}

impl From<DispatchRejection> for DispatchRejectionDto {
    fn from(r: DispatchRejection) -> Self {
        Self {
            technician: r.technician,
            why: r.why,
        }
    }
}

/// The dispatcher's proposal, from a plan over all open tickets and all technicians.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct DispatchProposalDto {
    /// When it was planned.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) planned_at: Timestamp,
    /// Who, when and at what cost; null: nobody, see `why`.
    pub(crate) assigned: Option<DispatchCandidateDto>,
    /// Why nobody, or what speaks against an assignment that a person has laid down.
    pub(crate) why: String,
    /// Who else could do it, cheapest first; at most 5.
    pub(crate) candidates: Vec<DispatchCandidateDto>,
    /// Who cannot, nearest first; at most 8.
    pub(crate) rejected: Vec<DispatchRejectionDto>,
    /// How many cannot in all.
    pub(crate) n_rejected: u32,
}

impl From<DispatchProposal> for DispatchProposalDto {
    fn from(p: DispatchProposal) -> Self {
        Self {
            planned_at: p.planned_at,
            assigned: p.assigned.map(Into::into),
            why: p.why,
            candidates: p.candidates.into_iter().map(Into::into).collect(),
            rejected: p.rejected.into_iter().map(Into::into).collect(),
            n_rejected: p.n_rejected,
        }
    }
}

/// What a planner has laid down.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct DispatchOverrideDto {
    /// The technician.
    pub(crate) technician: String,
    /// When the work begins; null: when the plan has room.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) start_at: Option<Timestamp>,
    /// Why.
    pub(crate) why: String,
    /// Who laid it down.
    pub(crate) by: String,
    /// From where.
    pub(crate) channel: ChannelDto,
    /// When that was.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
}

impl From<DispatchOverride> for DispatchOverrideDto {
    fn from(o: DispatchOverride) -> Self {
        Self {
            technician: o.technician,
            start_at: o.start_at,
            why: o.why,
            by: o.by.name,
            channel: o.by.channel.into(),
            at: o.at,
        }
    }
}

/// A planner's word on who does a ticket.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AssignmentDto {
    /// The technician; null or left out: it is left to the dispatcher again.
    pub(crate) technician: Option<String>,
    /// When the work begins, not in the past; null or left out: when the plan has room.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) start_at: Option<Timestamp>,
    /// Why, in words, 1 to 500 characters.
    #[schema(min_length = 1, max_length = 500)]
    pub(crate) why: String,
}
