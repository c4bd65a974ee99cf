//! Microsoft Azure Predictive Maintenance: simulated machines, hourly telemetry of one year.

mod load;
mod probabilities;
mod range;
mod report;

pub use load::{
    AzurePdm, Event, EventKind, Failure, LoadError, METRICS, Reading, Replacement, ReportedError,
    Telemetry, UnknownTelemetry, device_name,
};
pub use probabilities::{
    HORIZON_H, HourOfFailure, RowProbabilities, Warnings, before, cuts, judged, warnings,
};
pub use range::{MachineRange, MachineRangeError};
pub use report::{
    AlarmRecord, CAUGHT_EARLY_H, ComponentReport, LeadHours, RIGHT_WITHIN_H, Report, TicketRecord,
    next_failure, report,
};
