#![doc = include_str!("../README.md")]

mod fault;
mod instant;
