//! Master data at the port: records under the caller's ids, with every version they had.

use forecare_domain::{Actor, Timestamp};
use forecare_registry::{
    Action, Body, Outcome, Person, RecordFault, RecordId, RecordRef, RecordWrite,
};

/// Versions of one record that its history keeps; the oldest go first.
pub const RECORD_VERSIONS_KEPT: i64 = 500;
/// Most changes of one [`RecordCommit`].
pub const RECORD_WRITES_MAX: usize = 100_000;

/// Changes of records: stored whole, or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordCommit {
    /// The changes. At most [`RECORD_WRITES_MAX`].
    pub writes: Vec<RecordWrite>,
    /// Who.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
}

/// What became of a [`RecordCommit`].
#[derive(Debug, Clone, PartialEq)]
pub enum RecordsOutcome {
    /// Stored; one outcome per change, in their order.
    Stored(Vec<Outcome>),
    /// Nothing was stored: all that stands against it.
    Refused(Vec<RecordFault>),
}

/// A record as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRecord {
    /// Which.
    pub record: RecordRef,
    /// 1 when new; one more with each change.
    pub version: i64,
    /// `None`: deleted.
    pub body: Option<Body>,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Who changed it.
    pub updated_by: Actor,
}

/// Which records of a kind.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RecordFilter {
    /// Only those that refer to this one: contracts of a customer, locations in a location.
    pub refers_to: Option<RecordRef>,
    /// Only those with this text in their id or title (see [`Body::searched`]), whatever the case.
    pub text: Option<String>,
}

/// A page of records, by id.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordPage {
    /// Only ids after this one; `None`: from the first.
    pub after: Option<RecordId>,
    /// How many at most. 1 to 1,000.
    pub limit: usize,
}

/// A version that a record had or has.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordVersion {
    /// Which record.
    pub record: RecordRef,
    /// The version.
    pub version: i64,
    /// Why it was written.
    pub action: Action,
    /// The content from then on; `None`: deleted.
    pub body: Option<Body>,
    /// When.
    pub at: Timestamp,
    /// Who, and from where.
    pub by: Actor,
}

/// A person to take out of a record and its history.
#[derive(Debug, Clone, PartialEq)]
pub struct Erasure {
    /// The record.
    pub record: RecordRef,
    /// Who of it.
    pub person: Person,
    /// Who asks.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
}
