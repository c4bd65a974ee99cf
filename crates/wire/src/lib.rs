#![doc = include_str!("../README.md")]

mod decode;
mod event;
mod findings;
mod json;
mod message;
mod non_finite;
mod senml;
mod shown;
mod stamp;
mod status;
mod telemetry;
mod topic;
mod waveform;
mod waveform_json;

pub use decode::{decode, reject};
pub use message::{Decoded, Envelope, Inbound, Limits, Sample, Telemetry, Waveform};
