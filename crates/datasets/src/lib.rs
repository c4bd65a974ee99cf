#![doc = include_str!("../README.md")]

pub mod azure_pdm;
pub mod cmapss;
pub mod femto;
pub mod nab;
pub mod skab;
