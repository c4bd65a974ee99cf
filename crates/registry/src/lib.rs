#![doc = include_str!("../README.md")]

mod article;
mod asset;
mod calendar;
mod columns;
mod contract;
mod customer;
mod date;
mod erase;
mod fault;
mod form;
mod id;
mod kind;
mod lead;
mod location;
mod people;
mod plan;
mod record;
mod search;
mod seed;
mod table;
mod tier;
mod wording;

pub use article::{Article, ArticleState};
pub use asset::{AssetDetails, BillItem, Document, Placement, is_sha256};
pub use calendar::Calendar;
pub use columns::columns;
pub use contract::{Contract, Coverage, Covered, Includes, Target, covering};
pub use customer::{
    Contact, ContactAddress, ContactChannel, Customer, CustomerValue, DataConsent, PresumedConsent,
    Purpose,
};
pub use date::{Date, InvalidDate};
pub use erase::{Addressed, ERASED, Person, addressed, erase};
pub use fault::{Fault, Faults};
pub use form::{FormField, FormItem, Input, form, from_form};
pub use id::RecordId;
pub use kind::{RecordKind, UnknownKind};
pub use lead::{Lead, LeadState};
pub use location::{GeoPosition, Level, Location};
pub use people::{Certificate, Depot, Technician, Van};
pub use plan::{
    Action, Change, Known, Needs, Outcome, OutcomeKind, Plan, PlannedRow, RecordFault,
    RecordFaultKind, RecordWrite, Stored, needs, plan, stale,
};
pub use record::{Body, RecordRef};
pub use search::{ArticleIndex, Hit, excerpt, plain_text};
pub use seed::{id_of, seed};
pub use table::{
    Entry, FileFormat, ROW_ERRORS_MAX, RowError, from_csv, from_json, from_text, row_errors,
    to_csv, to_json, writes,
};
pub use tier::{InvalidTiers, Tier, TierRule, TierRules};
pub use wording::in_words;
