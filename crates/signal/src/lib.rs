#![doc = include_str!("../README.md")]

mod envelope;
mod extract;
mod missing;
mod plans;
mod shape;
mod spectrum;

pub use extract::{Extractor, Features};
pub use missing::Missing;
