//! Service level clocks of a ticket: the vocabulary. The rules are in the `care` crate.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Hold, Priority, Timestamp};

/// What is promised to the customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlaKind {
    /// A person takes the ticket up.
    FirstResponse,
    /// The work is done.
    Resolution,
}

impl SlaKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::FirstResponse, Self::Resolution];

    /// The name in JSON and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::FirstResponse => "first_response",
            Self::Resolution => "resolution",
        }
    }
}

/// A point on a clock at which something is said, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlaPoint {
    /// So many percent of the target are used: 50, 75 or 100.
    Mark(u16),
    /// A level of the escalation chain.
    Level(u16),
}

/// What has been said already is kept under this key with the ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlaKey {
    /// On which clock.
    pub clock: SlaKind,
    /// Which point of it.
    pub point: SlaPoint,
}

impl fmt::Display for SlaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.point {
            SlaPoint::Mark(percent) => write!(f, "{} {percent} %", self.clock.label()),
            SlaPoint::Level(level) => write!(f, "{} level {level}", self.clock.label()),
        }
    }
}

/// One clock, as counted to [`Sla::counted_to`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlaClock {
    /// The target, milliseconds of the contract's working time. At least 1.
    pub target_ms: i64,
    /// How much has been used, milliseconds of working time.
    pub elapsed_ms: i64,
    /// True while it does not run.
    pub paused: bool,
    /// When it was stopped by the response or the resolution; running again after a reopening: `None`.
    pub stopped_at: Option<Timestamp>,
    /// When the target is or was reached if it just runs on; `None` while paused or stopped before that.
    pub due_at: Option<Timestamp>,
}

/// The clocks of one ticket, kept with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sla {
    /// Name of the terms that apply.
    pub terms: String,
    /// The priority by which it counts.
    pub priority: Priority,
    /// Both clocks are counted up to here.
    pub counted_to: Timestamp,
    /// What the ticket waits for, if it does: the terms say whether that pauses the resolution's clock.
    pub hold: Option<Hold>,
    /// Until a person takes it up.
    pub first_response: SlaClock,
    /// Until the work is done.
    pub resolution: SlaClock,
    /// True: the ticket was cancelled; no promise is left to keep or break.
    pub void: bool,
    /// What has been said, each once.
    pub said: Vec<SlaKey>,
}

impl Sla {
    /// The clock of that kind.
    #[must_use]
    pub fn clock(&self, kind: SlaKind) -> &SlaClock {
        match kind {
            SlaKind::FirstResponse => &self.first_response,
            SlaKind::Resolution => &self.resolution,
        }
    }

    /// The clock of that kind, to change.
    pub fn clock_mut(&mut self, kind: SlaKind) -> &mut SlaClock {
        match kind {
            SlaKind::FirstResponse => &mut self.first_response,
            SlaKind::Resolution => &mut self.resolution,
        }
    }
}
