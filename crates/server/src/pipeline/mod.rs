//! From a batch of messages to one transaction: decode, place, score, collect, commit, acknowledge.

mod devices;
mod monitor;
mod worker;

pub(crate) use devices::{ClassSettings, Devices};
pub(crate) use monitor::{ClassContext, Outcome, prognosis_evidence};
pub(crate) use worker::{Control, Pipeline, PipelineParts, chain};
