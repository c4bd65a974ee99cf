//! What PostgreSQL says, in the port's language, with the fix.

use forecare_store::StoreError;

/// Anything that can end a transaction.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Already in the port's language.
    Store(StoreError),
    /// PostgreSQL's own, or the connection's.
    Postgres(tokio_postgres::Error),
    /// A value that cannot be written as, or read from, JSON.
    Json(serde_json::Error),
}

pub(crate) type Outcome<T> = Result<T, Fault>;

impl From<StoreError> for Fault {
    fn from(e: StoreError) -> Self {
        Self::Store(e)
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(e: tokio_postgres::Error) -> Self {
        Self::Postgres(e)
    }
}

impl From<serde_json::Error> for Fault {
    fn from(e: serde_json::Error) -> Self {
        Self::Json(e)
    }
}

/// A stored text that the domain does not accept.
pub(crate) fn unreadable(what: impl Into<String>) -> Fault {
    let what = what.into();
    Fault::Store(StoreError::Corrupt {
        what: format!("{what}; {RESTORE}"),
        source: None,
    })
}

const RESTORE: &str = "restore the database from a backup";
