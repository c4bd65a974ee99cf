//! From a batch of messages to one transaction: decode, place, score, collect, commit, acknowledge.

mod devices;
mod monitor;
mod waveforms;
mod worker;

pub(crate) use devices::{ClassSettings, Devices, class_contexts};
pub(crate) use monitor::{ClassContext, Monitor, Outcome, prognosis_evidence};
pub(crate) use worker::{Control, Pipeline, PipelineParts, chain};
