//! What the dispatcher proposes for a ticket, kept with it: the vocabulary. The rules are in the `care` crate.

use serde::{Deserialize, Serialize};

use crate::{Actor, Timestamp};

/// A point on the globe.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// Degrees north of the equator, -90 to 90.
    pub latitude_deg: f64,
    /// Degrees east of Greenwich, -180 to 180.
    pub longitude_deg: f64,
}

/// What an assignment costs by the dispatcher's reckoning, term by term, in the catalogue's currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct DispatchCost {
    /// Time on the road.
    pub travel: f64,
    /// Time for fetching parts that are not in the van, the way to the depot included.
    pub parts: f64,
    /// The machine may fail until the work is done.
    pub waiting: f64,
    /// The work ends after it is due.
    pub lateness: f64,
    /// Somebody else than the customer asked for.
    pub preference: f64,
    /// Work heaped on one person.
    pub load: f64,
}

impl DispatchCost {
    /// Everything together.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.travel + self.parts + self.waiting + self.lateness + self.preference + self.load
    }
}

/// A technician who could do the work, at what cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DispatchCandidate {
    /// The technician's name.
    pub technician: String,
    /// When the work would begin.
    pub start_at: Timestamp,
    /// When it would end.
    pub end_at: Timestamp,
    /// What it adds to the plan's cost, all other tickets considered.
    pub cost: DispatchCost,
}

/// A technician who cannot do the work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatchRejection {
    /// The technician's name.
    pub technician: String,
    /// Why not, in words.
    pub why: String,
}

/// A technician, and perhaps a time, that a person has laid down; the dispatcher plans around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatchOverride {
    /// The technician's name.
    pub technician: String,
    /// When the work begins; `None`: when the plan has room.
    pub start_at: Option<Timestamp>,
    /// Why.
    pub why: String,
    /// Who laid it down.
    pub by: Actor,
    /// When that was.
    pub at: Timestamp,
}

/// The dispatcher's word on a ticket, from a plan over all open tickets and all technicians.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DispatchProposal {
    /// When it was planned.
    pub planned_at: Timestamp,
    /// Who, when and at what cost; `None`: nobody, `why` says why.
    pub assigned: Option<DispatchCandidate>,
    /// Why nobody, or what is wrong with an assignment that a person has laid down; empty otherwise.
    pub why: String,
    /// Who else could do it, cheapest first; at most 5.
    pub candidates: Vec<DispatchCandidate>,
    /// Who cannot, nearest first; at most 8.
    pub rejected: Vec<DispatchRejection>,
    /// How many cannot, those beyond the 8 included.
    pub n_rejected: u32,
}
