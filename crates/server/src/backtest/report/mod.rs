//! The outcome in numbers: what `report.json` holds, and what table and page show.

mod count;

use std::collections::BTreeMap;

use forecare_domain::{ClassName, ModeName, Timestamp};
use serde::Serialize;

use super::interval::AgeCost;
use super::truth::Source;

/// Classes of lead time: label, and the hours from which on it counts. The first is for faults without a ticket.
pub(crate) const LEAD_CLASSES: [(&str, f64); 6] = [
    ("no ticket", f64::NEG_INFINITY),
    ("under 4 h", f64::NEG_INFINITY),
    ("4 to 12 h", 4.0),
    ("12 to 24 h", 12.0),
    ("24 to 72 h", 24.0),
    ("72 h and more", 72.0),
];

/// The whole report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    pub(crate) currency: String,
    pub(crate) devices: usize,
    pub(crate) rows_scored: u64,
    pub(crate) truth: TruthReport,
    pub(crate) policies: Vec<PolicyReport>,
}

/// What is known of what happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct TruthReport {
    /// Faults in the period of machines that sent readings before them.
    pub(crate) faults: usize,
    /// Faults in the period left out: the machine sent nothing in the 24 hours before.
    pub(crate) left_out_without_readings: usize,
    /// Of `faults`: from the failures file.
    pub(crate) from_file: usize,
    /// From events of the devices.
    pub(crate) from_events: usize,
    /// From verdicts: a technician found it before it struck.
    pub(crate) from_verdicts: usize,
    /// True where every failure is on record: only then a visit can be known to be false.
    pub(crate) complete: bool,
    /// Lines of the failures file about devices that are not in the store.
    pub(crate) lines_of_other_devices: usize,
    /// Codes given as reports of failures that no event of the devices has.
    pub(crate) failure_codes_absent: Vec<String>,
}

/// What one policy came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct PolicyReport {
    pub(crate) name: String,
    /// Where a model speaks: its hash by class.
    pub(crate) models: BTreeMap<ClassName, String>,
    pub(crate) faults: FaultReport,
    pub(crate) visits: VisitReport,
    pub(crate) tickets: TicketReport,
    pub(crate) alarms: usize,
    pub(crate) alarms_per_device_month: f64,
    pub(crate) parts: PartsReport,
    pub(crate) crew: CrewReport,
    pub(crate) costs: CostReport,
    pub(crate) modes: Vec<ModeReport>,
    /// Costs so far, over time.
    pub(crate) curve: Vec<CurvePoint>,
    pub(crate) each_fault: Vec<EachFault>,
}

/// Faults by what became of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct FaultReport {
    pub(crate) faults: usize,
    /// The work began before it struck.
    pub(crate) prevented: usize,
    /// It struck while its ticket waited.
    pub(crate) too_late: usize,
    /// There was no ticket.
    pub(crate) missed: usize,
    /// Of those with a ticket: all parts were there before it struck.
    pub(crate) part_there: usize,
    pub(crate) part_not_there: usize,
    /// Of those with a ticket: opened earlier before it struck than the longest lead time of its parts.
    pub(crate) earlier_than_lead_time: usize,
    /// By the hours from ticket to failure. The sum of `faults` over the classes is the number of faults.
    pub(crate) by_lead: Vec<LeadClass>,
}

/// Faults of a class of lead time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct LeadClass {
    pub(crate) lead: String,
    pub(crate) faults: usize,
    pub(crate) prevented: usize,
    pub(crate) part_there: usize,
}

/// Planned visits by what was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct VisitReport {
    pub(crate) visits: usize,
    /// The fault was coming.
    pub(crate) right: usize,
    /// Another fault was coming.
    pub(crate) other_fault: usize,
    /// Nothing was coming.
    pub(crate) nothing_found: usize,
    /// It cannot be told.
    pub(crate) unknown: usize,
    /// Of those that can be told: the share that was right; `None`: none can.
    pub(crate) precision: Option<f64>,
}

/// Tickets by their end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct TicketReport {
    pub(crate) opened: usize,
    pub(crate) visited: usize,
    /// The failure had struck: the work was a repair.
    pub(crate) repaired_after_failure: usize,
    /// The failure had struck, and the history replaced the component at once.
    pub(crate) ended_by_failure: usize,
    /// The evidence stayed away.
    pub(crate) withdrawn: usize,
    /// The history replaced the component as planned.
    pub(crate) overtaken: usize,
    pub(crate) open_at_end: usize,
}

/// Parts.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct PartsReport {
    pub(crate) reserved: u32,
    pub(crate) back_ordered: u32,
    pub(crate) soft_part_days: f64,
    pub(crate) hard_part_days: f64,
    /// Repairs after a failure for which no shelf had the parts.
    pub(crate) stock_outs_at_failure: usize,
}

/// People.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct CrewReport {
    pub(crate) jobs: usize,
    pub(crate) planned_hours: f64,
    pub(crate) corrective_hours: f64,
    pub(crate) overtime_hours: f64,
    pub(crate) wait_for_crew_hours_mean: f64,
    pub(crate) wait_for_crew_hours_max: f64,
    pub(crate) wait_for_parts_hours_mean: f64,
    pub(crate) wait_for_parts_hours_max: f64,
    pub(crate) jobs_without_skills: usize,
}

/// Money, in the catalogue's currency.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct CostReport {
    pub(crate) visits: f64,
    pub(crate) failures: f64,
    pub(crate) overtime: f64,
    pub(crate) holding: f64,
    pub(crate) total: f64,
    pub(crate) run_to_failure: f64,
    pub(crate) saved_against_run_to_failure: f64,
    /// Every component replaced at the given age.
    pub(crate) interval_given: Option<IntervalReport>,
    /// Every mode's component replaced at the age that was best on this history.
    pub(crate) interval_best: IntervalReport,
}

/// Replacement at a fixed age.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct IntervalReport {
    pub(crate) failures: f64,
    pub(crate) replacements: f64,
    pub(crate) cost: f64,
    /// What the policy saves against it.
    pub(crate) saved: f64,
}

/// One failure mode.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ModeReport {
    pub(crate) class: ClassName,
    pub(crate) mode: ModeName,
    pub(crate) title: String,
    pub(crate) faults: FaultReport,
    pub(crate) visits: VisitReport,
    pub(crate) tickets: usize,
    pub(crate) cost: f64,
    pub(crate) run_to_failure: f64,
    pub(crate) interval_given: Option<AgeCost>,
    pub(crate) interval_best: AgeCost,
}

/// Costs up to an instant.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct CurvePoint {
    pub(crate) at: Timestamp,
    pub(crate) policy: f64,
    pub(crate) run_to_failure: f64,
}

/// One fault and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct EachFault {
    pub(crate) device: String,
    pub(crate) mode: ModeName,
    pub(crate) at: Timestamp,
    pub(crate) source: Source,
    pub(crate) outcome: &'static str,
    pub(crate) lead_hours: Option<f64>,
    pub(crate) part_there: Option<bool>,
}
