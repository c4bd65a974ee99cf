#![doc = include_str!("../README.md")]

mod app;
mod auth;
mod backtest;
mod cli;
mod clock;
mod config;
mod consents;
mod desk;
mod failures;
mod home;
mod jobs;
mod master_data;
mod metrics;
mod models;
mod notifier;
mod outage;
mod pipeline;
mod storage;
mod survey;
mod tables;

pub use cli::run;
