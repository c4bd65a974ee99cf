//! The handlers of the API.

pub(crate) mod alarms;
pub(crate) mod assets;
pub(crate) mod automation;
pub(crate) mod catalogue;
pub(crate) mod customers;
pub(crate) mod devices;
pub(crate) mod earlier;
pub(crate) mod files;
pub(crate) mod inbound;
pub(crate) mod inbox;
pub(crate) mod knowledge;
pub(crate) mod kpis;
pub(crate) mod models;
pub(crate) mod notices;
pub(crate) mod ops;
pub(crate) mod parts;
pub(crate) mod plan;
pub(crate) mod records;
pub(crate) mod registry;
pub(crate) mod slots;
pub(crate) mod supply;
pub(crate) mod ticket_export;
pub(crate) mod tickets;
pub(crate) mod trace;
pub(crate) mod units;
pub(crate) mod work;
