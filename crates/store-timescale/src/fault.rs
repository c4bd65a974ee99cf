//! What PostgreSQL says, in the port's language, with the fix.

use forecare_store::StoreError;
use tokio_postgres::error::SqlState;

/// Anything that can end a transaction.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Already in the port's language.
    Store(StoreError),
    /// PostgreSQL's own, or the connection's.
    Postgres(tokio_postgres::Error),
    /// A value that cannot be written as, or read from, JSON.
    Json(serde_json::Error),
    /// Another writer has stored the same rows meanwhile.
    Overtaken,
    /// Another program has given a metric a column meanwhile.
    LayoutChanged,
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

/// Cannot be done now, or not until somebody has done what the text says.
pub(crate) fn unavailable(what: impl Into<String>) -> StoreError {
    StoreError::Unavailable {
        what: what.into(),
        source: None,
    }
}

/// Somebody has to do what the text says.
pub(crate) fn misconfigured(what: impl Into<String>) -> StoreError {
    StoreError::Misconfigured(what.into())
}

const RESTORE: &str = "restore the database from a backup";

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(e) => e.fmt(f),
            Self::Postgres(e) => e.fmt(f),
            Self::Json(e) => e.fmt(f),
            Self::Overtaken => f.write_str("another writer stores the same rows"),
            Self::LayoutChanged => f.write_str("another program adds metrics to the tables"),
        }
    }
}

impl Fault {
    /// PostgreSQL's code of the error, where the server has spoken.
    pub(crate) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Postgres(e) => e.code(),
            Self::Store(_) | Self::Json(_) | Self::Overtaken | Self::LayoutChanged => None,
        }
    }

    /// The connection cannot be used again: it is lost, or its server no longer takes writes.
    pub(crate) fn spoils_connection(&self) -> bool {
        let Self::Postgres(e) = self else {
            return false;
        };
        let Some(code) = e.code() else { return true };
        *code == SqlState::READ_ONLY_SQL_TRANSACTION
            || code.code().starts_with("08")
            || code.code().starts_with("57P")
    }

    /// In the port's language; `address` is the database, `what` was being done.
    pub(crate) fn at(self, address: &str, what: &str) -> StoreError {
        match self {
            Self::Store(e) => e,
            Self::Json(e) => StoreError::Corrupt {
                what: format!(
                    "{what}: a record in {address} is no JSON of this version; {RESTORE}"
                ),
                source: Some(Box::new(e)),
            },
            Self::Postgres(e) => from_postgres(e, address, what),
            Self::Overtaken | Self::LayoutChanged => {
                unavailable(format!("{what}: {self}; try again"))
            }
        }
    }
}

fn from_postgres(e: tokio_postgres::Error, address: &str, what: &str) -> StoreError {
    let said = e.as_db_error().map(|db| db.message().to_owned());
    let Some(code) = e.code().map(|code| code.code().to_owned()) else {
        let text = without_code(&e, address);
        return StoreError::Unavailable {
            what: format!("{what}: {text}"),
            source: Some(Box::new(e)),
        };
    };
    let said = said.unwrap_or_default();
    if code.starts_with("23") {
        return StoreError::Conflict(format!("{what}: {said}"));
    }
    let fix = match code.as_str() {
        "XX001" | "XX002" => {
            return StoreError::Corrupt {
                what: format!("{what}: {address}: {said}; {RESTORE}"),
                source: Some(Box::new(e)),
            };
        }
        "28P01" => {
            "correct the password (store.password_file), or the role's: ALTER ROLE … PASSWORD '…'"
        }
        "28000" => {
            "the server does not let this user in: see its pg_hba.conf, and that the user may log in"
        }
        "3D000" => "make the database: CREATE DATABASE … with TEMPLATE template0 ENCODING 'UTF8'",
        "42501" => {
            "the role lacks a right: GRANT CREATE ON DATABASE … TO it, where Forecare's schema is yet to be made; else it must own that schema"
        }
        "42P01" | "42703" if said.contains("_timescaledb") => {
            "this version of timescaledb is not known here: use one that this Forecare was tested with (2.22, 2.23)"
        }
        "42P01" | "42703" | "3F000" => {
            "a table of Forecare's is missing: somebody has changed the schema; restore it from a backup"
        }
        "2BP01" => {
            "something of yours depends on a view of Forecare's, which has changed: drop yours, start, and make it again"
        }
        "53100" => {
            "the server's disk is full: free space on it; nothing was changed and the next try goes on"
        }
        "53200" => "the server has no memory left: try again, or give it more",
        "53300" => "the server has no connection left: raise max_connections, or lower pool_max",
        "55P03" | "57014" => {
            "it took too long: see what holds it up (pg_stat_activity), or raise statement_timeout"
        }
        "40001" | "40P01" => "another transaction was in the way: nothing was changed; try again",
        "25006" => {
            "the server takes no writes (a standby, or default_transaction_read_only): name the primary too in the URL"
        }
        "58P01" if said.contains("timescaledb-") => {
            "the extension's files of that version are gone: install that version's package again, or as a superuser, as the \
             first statement of a new session: ALTER EXTENSION timescaledb UPDATE"
        }
        "57P01" | "57P02" | "57P03" => "the server is stopping or starting: try again",
        _ => "see the server's log",
    };
    StoreError::Unavailable {
        what: format!("{what}: {address} says \"{said}\" ({code}); {fix}"),
        source: Some(Box::new(e)),
    }
}

/// Whether waiting may cure it: the server is away, starting, full or on its way to another host. False where
/// somebody has to do what the error's text says.
pub(crate) fn may_pass(error: &StoreError) -> bool {
    let StoreError::Unavailable { source, .. } = error else {
        return false;
    };
    let Some(source) = source else { return false };
    let Some(e) = source.downcast_ref::<tokio_postgres::Error>() else {
        // No connection in time, the pool's or ours.
        return source.is::<deadpool_postgres::PoolError>() || source.is::<std::io::Error>();
    };
    match e.code().map(SqlState::code) {
        Some(code) => {
            code.starts_with("08")
                || code.starts_with("57P")
                || matches!(
                    code,
                    "53300" | "55P03" | "57014" | "40001" | "40P01" | "25006"
                )
        }
        None => !SETTLED.iter().any(|words| said(e).contains(words)),
    }
}

/// Whether the error's words have become part of a [`StoreError`]'s text.
pub(crate) fn is_told(source: &(dyn std::error::Error + 'static)) -> bool {
    source.is::<tokio_postgres::Error>() || source.is::<deadpool_postgres::PoolError>()
}

/// What the connection says where the two ends cannot agree, however often it is tried.
const SETTLED: [&str; 3] = ["password missing", "does not support TLS", "certificate"];

/// An error with its sources.
fn said(e: &tokio_postgres::Error) -> String {
    let mut said = e.to_string();
    let mut source = std::error::Error::source(e);
    while let Some(inner) = source {
        said = format!("{said}: {inner}");
        source = inner.source();
    }
    said
}

/// An error of the connection itself.
fn without_code(e: &tokio_postgres::Error, address: &str) -> String {
    let said = said(e);
    let fix = if said.contains("password missing") {
        "the server wants a password: write it into a file and name that as store.password_file (or in the environment, \
         FORECARE_STORE__PASSWORD_FILE)"
    } else if said.contains("does not allow writes") {
        "the server takes no writes (a standby, in recovery, or default_transaction_read_only): name the primary too in the URL"
    } else if said.contains("does not support TLS") {
        "switch ssl on there, or write sslmode=disable into the URL if the network is trusted"
    } else if said.contains("certificate") {
        "its certificate was not accepted: name its authority's PEM file as ca_file, and the host as the certificate does"
    } else {
        "see that the server is up and reachable; what was not answered is tried again"
    };
    format!("{address}: {said}; {fix}")
}
