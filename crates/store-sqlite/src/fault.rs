//! What SQLite says, in the port's language, with the fix.

use std::path::Path;

use forecare_store::StoreError;
use rusqlite::ErrorCode;

/// Anything that can end a transaction.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Already in the port's language.
    Store(StoreError),
    /// SQLite's own.
    Sqlite(rusqlite::Error),
    /// A value that cannot be written as, or read from, JSON.
    Json(serde_json::Error),
}

pub(crate) type Outcome<T> = Result<T, Fault>;

impl From<StoreError> for Fault {
    fn from(e: StoreError) -> Self {
        Self::Store(e)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(e: rusqlite::Error) -> Self {
        Self::Sqlite(e)
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

const RESTORE: &str =
    "restore the file from a backup, or salvage what is readable with `sqlite3 FILE .recover`";

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(e) => e.fmt(f),
            Self::Sqlite(e) => e.fmt(f),
            Self::Json(e) => e.fmt(f),
        }
    }
}

impl Fault {
    /// In the port's language; `file` is the database, `what` was being done.
    pub(crate) fn at(self, file: &Path, what: &str) -> StoreError {
        match self {
            Self::Store(e) => e,
            Self::Json(e) => StoreError::Corrupt {
                what: format!(
                    "{what}: a record of {} is no JSON of this version; {RESTORE}",
                    file.display()
                ),
                source: Some(Box::new(e)),
            },
            Self::Sqlite(e) => from_sqlite(e, file, what),
        }
    }
}

fn from_sqlite(e: rusqlite::Error, file: &Path, what: &str) -> StoreError {
    let shown = file.display();
    if e.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) {
        return StoreError::Conflict(format!("{what}: {e}"));
    }
    // Every other code: an I/O error or a limit of the machine, where trying again may help.
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "SQLite has many codes; the rest is one case"
    )]
    let (lasting, text) = match e.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => (
            true,
            format!(
                "{shown} is not a database of Forecare; move it away or choose another data directory"
            ),
        ),
        Some(ErrorCode::DatabaseCorrupt) => {
            (true, format!("{what}: {shown} is damaged; {RESTORE}"))
        }
        Some(ErrorCode::DiskFull) => (
            false,
            format!(
                "{what}: no space left for {shown}; free some, nothing was changed and the next try goes on"
            ),
        ),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            false,
            format!("{what}: another process holds {shown}; end it, or try again"),
        ),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => (
            false,
            format!(
                "{what}: {shown} cannot be opened for writing; make its directory exist and writable for this user, or choose another data directory"
            ),
        ),
        _ => (false, format!("{what}: {shown}")),
    };
    let source: Option<Box<dyn std::error::Error + Send + Sync>> = Some(Box::new(e));
    if lasting {
        StoreError::Corrupt { what: text, source }
    } else {
        StoreError::Unavailable { what: text, source }
    }
}
