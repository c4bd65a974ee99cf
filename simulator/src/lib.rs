#![doc = include_str!("../README.md")]

mod fault;
mod fleet;
mod machine;
mod noise;
mod payload;
mod publish;
mod session;

pub use fault::{HEALTHY_HOURS, InjectedFault};
pub use fleet::{
    CLASS, Emission, Fleet, FleetConfig, FleetError, STOPPED_CODE, histories, histories_start,
    run_to_failure,
};
pub use machine::METRICS;
pub use publish::{
    CONNECTIONS_MAX_DEFAULT, Credentials, PublishError, PublishStats, PublisherConfig, publish,
};
