#![doc = include_str!("../README.md")]

pub mod azure_pdm;
pub mod nab;
pub mod skab;
