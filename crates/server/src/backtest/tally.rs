//! What a course of things came to, as it is counted on the way.

use std::collections::BTreeMap;

use forecare_domain::{ClassName, ModeName, Timestamp};

use super::truth::{Fault, Finding};

/// What became of a fault.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fate {
    /// It has not struck yet, or not within the period.
    Ahead,
    /// Its machine sent nothing in the hours before: nobody could have known.
    Unseen,
    /// The work began before it struck.
    Prevented {
        /// When the ticket was opened.
        opened_at: Timestamp,
    },
    /// It struck while its ticket was open and nobody had begun.
    TooLate {
        /// When the ticket was opened.
        opened_at: Timestamp,
        /// All its parts were there.
        part_there: bool,
    },
    /// It struck, and there was no ticket.
    Missed,
}

impl Fate {
    /// Hours from the ticket to the failure.
    pub(crate) fn lead_hours(&self, fault: &Fault) -> Option<f64> {
        match self {
            Self::Prevented { opened_at } | Self::TooLate { opened_at, .. } => {
                Some(fault.at.hours_since(*opened_at))
            }
            Self::Ahead | Self::Unseen | Self::Missed => None,
        }
    }
}

/// Counts of one failure mode of one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ModeTally {
    pub(crate) tickets: usize,
    /// Ended by the desk because the evidence stayed away.
    pub(crate) withdrawn: usize,
    /// Ended because the history replaced the component as planned.
    pub(crate) overtaken: usize,
    /// Ended because the component had failed and was replaced.
    pub(crate) ended_by_failure: usize,
    /// Visits that prevented a failure.
    pub(crate) visits_right: usize,
    /// Visits at which another fault was coming.
    pub(crate) visits_other: usize,
    /// Visits at which nothing was coming.
    pub(crate) visits_nothing: usize,
    /// Visits of which it cannot be told.
    pub(crate) visits_unknown: usize,
    /// Work on a ticket whose failure had struck.
    pub(crate) visits_after: usize,
}

impl ModeTally {
    /// Planned visits: all but those after the failure.
    pub(crate) fn visits(&self) -> usize {
        self.visits_right + self.visits_other + self.visits_nothing + self.visits_unknown
    }

    pub(crate) fn visit(&mut self, finding: Finding) {
        match finding {
            Finding::Fault(_) => self.visits_right += 1,
            Finding::Other(_) => self.visits_other += 1,
            Finding::Nothing => self.visits_nothing += 1,
            Finding::Unknown => self.visits_unknown += 1,
        }
    }
}

/// What the crew did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct CrewTally {
    pub(crate) planned_hours: f64,
    pub(crate) corrective_hours: f64,
    pub(crate) overtime_hours: f64,
    /// Jobs that were begun.
    pub(crate) jobs: usize,
    /// Hours that jobs with their parts there waited for somebody free.
    pub(crate) wait_for_crew_hours: f64,
    pub(crate) wait_for_crew_hours_max: f64,
    /// Hours that jobs waited for parts.
    pub(crate) wait_for_parts_hours: f64,
    pub(crate) wait_for_parts_hours_max: f64,
    /// Jobs that nobody has the skills for.
    pub(crate) without_skills: usize,
}

/// What money was spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Spent {
    Visit,
    Failure,
}

/// All counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) modes: BTreeMap<(ClassName, ModeName), ModeTally>,
    pub(crate) crew: CrewTally,
    /// Alarm episodes raised.
    pub(crate) alarms: usize,
    /// Repairs after a failure for which no shelf had the parts.
    pub(crate) stock_outs: usize,
    /// When, for what, on which mode, how much.
    pub(crate) spent: Vec<(Timestamp, Spent, ClassName, ModeName, f64)>,
}
