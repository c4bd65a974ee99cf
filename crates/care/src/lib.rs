#![doc = include_str!("../README.md")]

mod allocation;
mod beta;
pub mod calendar;
mod decision;
pub mod dispatch;
#[cfg(test)]
mod fixtures;
mod lifecycle;
mod opening;
mod policy;
mod precision;
pub mod promise;
pub mod reorder;
mod reservation;
pub mod sla;
pub mod stock;
mod timers;
mod urgency;

pub use allocation::{Allocation, AllocationPlan, Balance, allocate};
pub use calendar::Calendar;
pub use decision::{Assessment, decide};
pub use dispatch::{Candidate, candidates};
pub use lifecycle::{
    HISTORY_MAX, TEXT_CHARS_MAX, TransitionError, allowed, close_reason, label_of, transition,
};
pub use opening::{Need, NewTicket, evidence_again, needs_of, open_ticket, outstanding};
pub use policy::CarePolicy;
pub use precision::Precision;
pub use reservation::{hold_ends_at, reservation_due, reservation_on_transition, settle};
pub use timers::{confirm_due, replaced_elsewhere, withdraw_due};
pub use urgency::{due_at, priority};
