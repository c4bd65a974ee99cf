#![doc = include_str!("../README.md")]

mod allocation;
pub mod appointments;
pub mod automation;
mod beta;
pub mod calendar;
pub mod classify;
mod decision;
pub mod dispatch;
#[cfg(test)]
mod fixtures;
pub mod kpi;
mod lifecycle;
mod notice;
mod opening;
mod policy;
mod precision;
pub mod promise;
pub mod reorder;
pub mod reporting;
mod reservation;
pub mod schedule;
pub mod sla;
pub mod stock;
pub mod ticket_rules;
mod timers;
pub mod tracking;
mod urgency;
pub mod work;

pub use allocation::{Allocation, AllocationPlan, Balance, Offer, allocate, may_serve};
pub use calendar::Calendar;
pub use decision::{Assessment, decide};
pub use dispatch::{Candidate, candidates};
pub use lifecycle::{
    HISTORY_MAX, TEXT_CHARS_MAX, TransitionError, allowed, close_reason, label_of, transition,
    verdicts,
};
pub use notice::{notices_of, parts_short, told_to_do, visit_start};
pub use opening::{Need, NewTicket, evidence_again, needs_of, open_ticket, outstanding, surplus};
pub use policy::CarePolicy;
pub use precision::Precision;
pub use reservation::{
    cut_down, hold_ends_at, reservation_due, reservation_on_transition, settle, unbooked,
};
pub use ticket_rules::TicketRules;
pub use timers::{confirm_due, replaced_elsewhere, withdraw_due};
pub use urgency::{Footing, Standing, due_by, priority};
