//! What an operator chooses.

use std::path::PathBuf;
use std::time::Duration;

use forecare_store::StoreError;

use crate::fault::misconfigured;

/// How long the chunks of the hypertables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChunkInterval {
    /// From the measured rate of readings: the newest chunk of all classes together, index included, is to fit
    /// into a quarter of `shared_buffers`. 1 hour to 30 days; looked at again at every start and by
    /// [`maintain`](crate::TimescaleStore::maintain).
    #[default]
    Auto,
    /// So many hours, 1 to 8,760.
    Hours(u32),
}

/// How long each level is kept; `None`: for ever. At least one day each, and no level shorter than the one
/// above it: a finer level that outlives a coarser one would leave a hole in every long view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Readings as they came.
    pub raw: Option<Duration>,
    /// Aggregates of one minute.
    pub minute: Option<Duration>,
    /// Aggregates of one hour.
    pub hour: Option<Duration>,
    /// Aggregates of one day.
    pub day: Option<Duration>,
}

impl Default for Retention {
    /// Everything for ever: deleting is a decision of the operator.
    fn default() -> Self {
        Self {
            raw: None,
            minute: None,
            hour: None,
            day: None,
        }
    }
}

impl Retention {
    /// How long each level of aggregates is kept, in words.
    pub(crate) fn of_aggregates(&self) -> String {
        let [minute, hour, day] = [self.minute, self.hour, self.day].map(|kept| {
            kept.map_or("for ever".to_owned(), |kept| {
                format!("{} days", kept.as_secs() / 86_400)
            })
        });
        format!("minutes {minute}, hours {hour}, days {day}")
    }
}

/// Where the database is and how it is used. [`Default`] has everything but the `url`.
#[derive(Clone, PartialEq, Eq)]
pub struct TimescaleSettings {
    /// `postgres://user@host1,host2/database?sslmode=require`. Several hosts: the one that accepts writes is
    /// used, and looked for again after a failure. TLS is used to every host but loopback, and the server's
    /// certificate verified, unless `sslmode=disable` stands here.
    pub url: String,
    /// The user's password; kept out of the URL so that the URL can be shown.
    pub password: Option<String>,
    /// PEM file of the authorities that may have signed the server's certificate; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// Schema of all tables, made where it is missing. Lower-case letters, digits and `_`; at most 40 bytes.
    pub schema: String,
    /// Connections at most, beside the one that stores readings. 1 to 100.
    pub pool_max: usize,
    /// Longest a statement, and longest a call of the port, may take. Migrations and maintenance are not
    /// bound by it.
    pub statement_timeout: Duration,
    /// Length of a chunk.
    pub chunk_interval: ChunkInterval,
    /// Age from which chunks are compressed; `None`: never.
    pub compress_after: Option<Duration>,
    /// How long what is kept.
    pub retention: Retention,
    /// Go without the extension: no compression, no aggregates, no retention. For evaluation and tests.
    pub plain_postgres: bool,
    /// Name of the connections in `pg_stat_activity`.
    pub application_name: String,
}

impl Default for TimescaleSettings {
    fn default() -> Self {
        Self {
            url: String::new(),
            password: None,
            ca_file: None,
            schema: "forecare".to_owned(),
            pool_max: 8,
            statement_timeout: Duration::from_secs(30),
            chunk_interval: ChunkInterval::Auto,
            compress_after: Some(Duration::from_secs(7 * 86_400)),
            retention: Retention::default(),
            plain_postgres: false,
            application_name: "forecare".to_owned(),
        }
    }
}

impl std::fmt::Debug for TimescaleSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither the password nor a URL that may carry one.
        f.debug_struct("TimescaleSettings")
            .field("schema", &self.schema)
            .field("pool_max", &self.pool_max)
            .field("statement_timeout", &self.statement_timeout)
            .field("chunk_interval", &self.chunk_interval)
            .field("compress_after", &self.compress_after)
            .field("retention", &self.retention)
            .field("plain_postgres", &self.plain_postgres)
            .finish_non_exhaustive()
    }
}

/// Shortest retention of any level, and the unit the refresh of aggregates counts in.
const DAY: Duration = Duration::from_secs(86_400);

impl TimescaleSettings {
    /// Finds what cannot work before anything is connected.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let of_schema = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !self.schema.starts_with(|c: char| c.is_ascii_lowercase())
            || !self.schema.chars().all(of_schema)
            || self.schema.len() > 40
            || self.schema == "public"
            || self.schema.starts_with("pg_")
        {
            return Err(misconfigured(format!(
                "schema \"{}\" cannot be used; take lower-case letters, digits and _, at most 40, beginning with a letter, not public",
                self.schema
            )));
        }
        if !(1..=100).contains(&self.pool_max) {
            return Err(misconfigured("pool_max must be 1 to 100"));
        }
        if self.statement_timeout < Duration::from_secs(1) {
            return Err(misconfigured("statement_timeout must be at least 1 s"));
        }
        if let ChunkInterval::Hours(hours) = self.chunk_interval
            && !(1..=8_760).contains(&hours)
        {
            return Err(misconfigured("a chunk must be 1 to 8,760 hours long"));
        }
        let Retention {
            raw,
            minute,
            hour,
            day,
        } = self.retention;
        let levels = [("raw", raw), ("1m", minute), ("1h", hour), ("1d", day)];
        for (name, kept) in levels {
            if kept.is_some_and(|kept| kept < DAY) {
                return Err(misconfigured(format!(
                    "the retention of level {name} must be at least a day"
                )));
            }
        }
        for pair in levels.windows(2) {
            let [(finer, a), (coarser, b)] = [pair[0], pair[1]];
            if b.is_some_and(|b| a.is_none_or(|a| a > b)) {
                return Err(misconfigured(format!(
                    "level {coarser} must be kept at least as long as level {finer}: long views are read from it"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_aggregates_are_kept_is_said_by_level() {
        let retention = Retention {
            minute: Some(90 * DAY),
            ..Retention::default()
        };
        assert_eq!(
            retention.of_aggregates(),
            "minutes 90 days, hours for ever, days for ever"
        );
    }
}
