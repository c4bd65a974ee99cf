//! A figure and what it means.

use forecare_domain::TicketId;

/// In what a figure is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A number of tickets or machines.
    Count,
    /// Hours.
    Hours,
    /// A share, 0 to 1.
    Share,
    /// The catalogue's currency.
    Money,
    /// Points of a scale.
    Points,
}

impl Unit {
    /// The name in JSON.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Hours => "hours",
            Self::Share => "share",
            Self::Money => "money",
            Self::Points => "points",
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FigureKind {
    /// The name in JSON and in addresses.
    pub key: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// In what it is given.
    pub unit: Unit,
    /// How it is counted.
    pub meaning: &'static str,
}

/// A figure with what is behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What is counted.
    pub kind: &'static FigureKind,
    /// The value; `None`: nothing is known.
    pub value: Option<f64>,
    /// How many entries it is counted from.
    pub n: usize,
    /// Entries of which it is not known yet.
    pub n_unknown: usize,
    /// The tickets it is counted from; of a share, those that count for it.
    pub tickets: Vec<TicketId>,
}

macro_rules! kinds {
    ($($name:ident: $key:literal, $title:literal, $unit:ident, $meaning:literal;)*) => {
        $(pub(super) static $name: FigureKind = FigureKind {
            key: $key,
            title: $title,
            unit: Unit::$unit,
            meaning: $meaning,
        };)*
    };
}

kinds! {
    OPENED: "opened", "Opened", Count, "tickets opened in the period";
    RESOLVED: "resolved", "Resolved", Count, "tickets first resolved in the period";
    CANCELLED: "cancelled", "Cancelled", Count, "tickets cancelled in the period";
    BACKLOG: "backlog", "Backlog", Count, "tickets open at the end of the period";
    BACKLOG_AGE: "backlog_age_p50", "Age of the backlog", Hours, "median age of the tickets open at the end of the period";
    BACKLOG_OLD: "backlog_age_p90", "Age of the backlog, p90", Hours, "nine of ten tickets open at the end of the period are no older";
    RESPONSE: "first_response_p50", "First response", Hours, "median time from opening until a person took it up, of tickets taken up in the period";
    RESPONSE_SLOW: "first_response_p90", "First response, p90", Hours, "nine of ten tickets taken up in the period had a person by then";
    RESOLUTION: "resolution_p50", "Time to resolve", Hours, "median time from opening to the first resolution, of tickets resolved in the period";
    RESOLUTION_SLOW: "resolution_p90", "Time to resolve, p90", Hours, "nine of ten tickets resolved in the period had been by then";
    RESPONSE_KEPT: "response_kept", "First response in time", Share, "promises of a first response that were kept, of tickets opened in the period whose clock is over";
    RESOLUTION_KEPT: "resolution_kept", "Resolved in time", Share, "promises of a resolution that were kept, of tickets opened in the period whose clock is over";
    FIRST_CONTACT: "first_contact", "Resolved without a visit", Share, "tickets resolved in the period that were never sent to a technician";
    FIRST_TIME_FIX: "first_time_fix", "Fixed the first time", Share, "faults mended in the period that did not come back, by reopening or as another ticket for the same machine and failure mode, within 30 days (what was cancelled or found to be nothing left out); younger ones, and those of which a ticket is not judged yet, count later";
    REOPENED: "reopened", "Reopened", Share, "tickets resolved in the period that were reopened";
    CSAT: "csat", "Satisfaction (CSAT)", Share, "answers of 4 or 5 of 5, of tickets resolved in the period";
    NPS: "nps", "Net promoter score", Points, "share of 9 and 10 less share of 0 to 6, times 100, of tickets resolved in the period";
    CES: "ces", "Effort score (CES)", Points, "mean answer, 1 (hard) to 7 (easy), of tickets resolved in the period";
    AT_HAND: "parts_at_hand", "Parts at hand (fill rate)", Share, "tickets opened in the period all of whose parts lay at their depot when they were reserved, of those that hold or have used parts";
    COST: "cost_per_ticket", "Cost per ticket", Money, "mean of hours booked and parts used at today's prices, of tickets resolved in the period on which anything was booked";
    FAILURES: "failures", "Failures", Count, "machines failed in the period: corrective work that devices or people asked for, where production suffered, somebody could have been hurt or a fault was found";
    MTBF: "mtbf", "Mean time between failures", Hours, "hours of all machines in the period, by the failures in it";
    MTTR: "mttr", "Mean time to repair", Hours, "mean time from a failure to its last resolution, of failures of the period that are mended";
    AVAILABILITY: "availability", "Availability", Share, "hours of all machines in the period in which they did not stand: from a failure that stopped them to its repair; not known where nobody has told of a failure";
    WARNINGS: "warnings", "Warnings", Count, "tickets that alarms opened in the period";
    PRECISION: "warning_precision", "Warnings that were right", Share, "verdicts 'confirmed', of warnings opened in the period that have a verdict";
    RECALL: "warning_recall", "Failures foreseen", Share, "warnings opened in the period that were confirmed and failures of the period with an open warning, by these and the failures without";
    LEAD: "warning_lead_p50", "Lead time of warnings", Hours, "median time from a warning to the failure, or to the beginning of the work that prevented it";
    LEAD_SHORT: "warning_lead_p10", "Lead time of warnings, p10", Hours, "nine of ten warnings came that long before the failure, or the work that prevented it";
    LEAD_ENOUGH: "warning_lead_enough", "Warned before the part's lead time", Share, "of the same warnings, those that came at least as early as their parts take to come";
    AVOIDED_COST: "avoided_cost", "Cost avoided", Money, "of confirmed warnings, cost of failure less cost of acting; less the cost of acting of warnings that were wrong; as the decisions had them";
    AVOIDED_DOWNTIME: "avoided_downtime", "Downtime avoided", Hours, "confirmed warnings, times the mean time to repair of the failures of the period";
}
