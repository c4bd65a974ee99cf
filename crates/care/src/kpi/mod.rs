//! What the service achieves, counted from what happened to its tickets: each figure with the tickets behind it.
//!
//! What is not known is never counted as a success: a warning without a verdict is neither right nor wrong, a repair is
//! fixed the first time only once a month has passed without the fault, a survey that was not answered says nothing.

mod case;
mod cost;
mod count;
mod figure;
mod links;
mod pareto;
#[cfg(test)]
mod tests;

pub use case::{Answers, Case, Cut, Dimension, Failure, Machine, Promise, failures_of};
pub use cost::{Booked, costs};
pub use count::{Period, Scope, by, figures};
pub use figure::{Figure, FigureKind, Unit};
pub use links::Links;
pub use pareto::{ParetoLine, pareto};
