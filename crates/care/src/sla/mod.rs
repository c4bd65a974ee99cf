//! Service level clocks: first response and resolution, by priority and contract.

mod clock;
mod terms;
#[cfg(test)]
mod tests;
mod ticket;

pub use clock::{
    SLA_MARKS, SlaEvent, SlaReading, SlaSignal, SlaState, sla_advance, sla_event, sla_next,
    sla_reading, sla_started,
};
pub use terms::{Escalation, SlaTargets, SlaTerms, SlaTermsError, SlaTermsFile};
pub use ticket::{sla_changed, sla_due, sla_of};
