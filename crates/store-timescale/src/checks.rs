//! What `forecare doctor` asks of the database.

use forecare_domain::Timestamp;
use forecare_store::StoreError;
use tokio_postgres::Client;

use crate::connection::{config, in_the_clear};
use crate::fault::Outcome;
use crate::instant::Instant;
use crate::jobs::{self, Chunks, Jobs};
use crate::migrate::STEPS;
use crate::preflight::Server;
use crate::store::TimescaleStore;
use crate::views::READ_ROLE;

/// Difference between the two clocks from which on windows and policies disagree, s.
const SKEW_S_MAX: f64 = 5.0;
/// A certificate that expires earlier is to be renewed, days; as in `deploy/prometheus`.
const CERTIFICATE_DAYS_MIN: i64 = 21;
/// WAL that a replication slot may hold back, bytes.
const SLOT_BYTES_MAX: i64 = 1 << 30;

/// How good a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingVerdict {
    /// As it should be.
    Ok,
    /// It works, but should not stay so.
    Warn,
    /// It does not work, or stored readings are in danger.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: `server`, `schema`, `policies`, ...
    pub name: &'static str,
    /// How good it is.
    pub verdict: FindingVerdict,
    /// What was found, in words.
    pub what: String,
    /// What to do; `None` where nothing is to be done.
    pub fix: Option<String>,
}

impl Finding {
    pub(crate) fn ok(name: &'static str, what: impl Into<String>) -> Self {
        Self {
            name,
            verdict: FindingVerdict::Ok,
            what: what.into(),
            fix: None,
        }
    }

    pub(crate) fn warn(
        name: &'static str,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            verdict: FindingVerdict::Warn,
            fix: Some(fix.into()),
            ..Self::ok(name, what)
        }
    }

    pub(crate) fn fail(
        name: &'static str,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            verdict: FindingVerdict::Fail,
            ..Self::warn(name, what, fix)
        }
    }
}

impl TimescaleStore {
    /// Examines server, schema, policies, aggregates, stock and disk. `now` is this machine's time at the call.
    /// Changes nothing; every statement is bound by `statement_timeout`, the reconciliation by 20 s more.
    pub async fn examine(&self, now: Timestamp) -> Vec<Finding> {
        let session = match self.pool.session().await {
            Ok(session) => session,
            Err(fault) => {
                let error = fault.at(self.pool.address(), "examining the database");
                return vec![Finding::fail("server", error.to_string(), "see above")];
            }
        };
        let mut findings = Vec::new();
        let mut keep = |name, done: Outcome<Vec<Finding>>| match done {
            Ok(found) => findings.extend(found),
            Err(fault) => {
                let error = fault.at(self.pool.address(), "asking");
                findings.push(Finding::warn(
                    name,
                    format!("could not be examined: {error}"),
                    "let Forecare's role do what the message names, or ask again when the server is less busy",
                ));
            }
        };
        // First: the time that passes before counts as skew.
        keep("clock", clock(&session, now).await);
        keep("server", self.server(&session).await);
        keep("certificate", Ok(self.certificate(now)));
        keep("schema", self.schema(&session).await);
        if self.layout().has_timescale() {
            keep("aggregates", Ok(self.internals()));
            keep(
                "policies",
                Jobs::ask(&session, &self.layout(), &self.settings)
                    .await
                    .map(|jobs| jobs.findings),
            );
            keep("workers", jobs::workers(&session).await);
            keep("compression", self.compression(&session).await);
            keep("retention", self.retention(&session).await);
            keep("aggregates", self.reconcile(&session).await);
        }
        keep("stock", stock(&session).await);
        keep("disk", disk(&session).await);
        keep("replication", self.replication(&session).await);
        session.release();
        findings
    }

    /// What is worth a warning at every start, though the database may be used as it is.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the server cannot be reached.
    pub async fn warnings(&self) -> Result<Vec<Finding>, StoreError> {
        let asking = async {
            let session = self.pool.session().await?;
            let server = Server::ask(&session).await?;
            session.release();
            Ok(self.failover(&server))
        };
        self.pool.bounded("warnings", asking).await
    }

    fn failover(&self, server: &Server) -> Vec<Finding> {
        server
            .failover_loss(&self.settings.url)
            .map(|(what, fix)| Finding::warn("replication", what, fix))
            .into_iter()
            .collect()
    }

    fn certificate(&self, now: Timestamp) -> Vec<Finding> {
        let Some(at_s) = self.certificate_expires_at_s() else {
            let in_the_clear = config(&self.settings).is_ok_and(|config| in_the_clear(&config));
            let finding = Finding::warn(
                "certificate",
                "sslmode=disable: passwords and readings cross the network in the clear".to_owned(),
                "take it out of store.url, and switch ssl on there (store.ca_file: who has signed the server's certificate)",
            );
            return in_the_clear.then_some(finding).into_iter().collect();
        };
        let days = (at_s - now.as_millis() / 1_000) / 86_400;
        vec![if days < CERTIFICATE_DAYS_MIN {
            Finding::warn(
                "certificate",
                format!("the database's certificate expires in {days} days"),
                "renew it and let PostgreSQL read it (SELECT pg_reload_conf()): afterwards no connection can be made",
            )
        } else {
            Finding::ok(
                "certificate",
                format!("the database's expires in {days} days"),
            )
        }]
    }

    async fn server(&self, client: &Client) -> Outcome<Vec<Finding>> {
        let server = Server::ask(client).await?;
        let mut found: Vec<Finding> = server
            .objections(self.settings.plain_postgres)
            .into_iter()
            .map(|objection| Finding::fail("server", objection, "as it says"))
            .collect();
        let postgres = format!(
            "PostgreSQL {}.{}",
            server.version / 10_000,
            server.version % 10_000
        );
        match (&server.timescale, self.layout().has_timescale()) {
            (Some(version), true) if found.is_empty() => found.push(Finding::ok(
                "server",
                format!("{postgres}, timescaledb {version}, commits reach the disk"),
            )),
            (_, false) => found.push(Finding::warn(
                "server",
                format!(
                    "{postgres} without timescaledb: no compression, no aggregates, no retention"
                ),
                "for production install timescaledb and unset plain_postgres",
            )),
            _ => {}
        }
        if let (Some(here), Some(available)) = (&server.timescale, &server.timescale_available)
            && here != available
        {
            found.push(Finding::warn(
                "server",
                format!("timescaledb {here} is used, {available} is installed"),
                "stop Forecare, and as the first statement of a new session: ALTER EXTENSION timescaledb UPDATE",
            ));
        }
        Ok(found)
    }

    /// The schema's steps, and what of the catalogue has yet to be made room for.
    async fn schema(&self, client: &Client) -> Outcome<Vec<Finding>> {
        let row = client
            .query_one("SELECT count(*), max(name) FROM schema_steps", &[])
            .await?;
        let (n, newest): (i64, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
        let newest = newest.unwrap_or_default();
        let mut found = vec![if usize::try_from(n).ok() == Some(STEPS) {
            Finding::ok("schema", format!("at step {newest}, as this program"))
        } else {
            Finding::warn(
                "schema",
                format!("at step {newest} ({n}), this program is at {STEPS}"),
                "the next start of this version brings it up to date; back it up before",
            )
        }];
        let may_read = client
            .query_one("SELECT to_regrole($1) IS NOT NULL", &[&READ_ROLE])
            .await?;
        if !may_read.try_get::<_, bool>(0)? {
            found.push(Finding::warn(
                "schema",
                format!("there is no role {READ_ROLE}: nobody but Forecare may read the views"),
                format!(
                    "as a superuser CREATE ROLE {READ_ROLE} NOLOGIN; the next start lets it read"
                ),
            ));
        }
        let layout = self.layout();
        let mut new = Vec::new();
        for class in &self.catalogue.classes {
            let table = layout.classes.iter().find(|c| c.name == class.name);
            for metric in &class.metrics {
                if table.is_none_or(|t| t.column_of(&metric.name).is_none()) {
                    new.push(format!("{} of {}", metric.name, class.name));
                }
            }
        }
        if !new.is_empty() {
            found.push(Finding::warn(
                "schema",
                format!(
                    "the catalogue has metrics without a column: {}",
                    new.join(", ")
                ),
                "restart the service with this catalogue: it adds them, and moves their readings there",
            ));
        }
        Ok(found)
    }

    /// What cannot be used with this version of the extension.
    fn internals(&self) -> Vec<Finding> {
        let layout = self.layout();
        let unknown = layout.internals.as_ref().is_some_and(|i| i.stale.is_none());
        let finding = Finding::warn(
            "aggregates",
            "this version of timescaledb notes elsewhere what its aggregates lack: charts read the rows, which is slow",
            "use a version that this Forecare was tested with (2.22, 2.23), or a newer Forecare",
        );
        unknown.then_some(finding).into_iter().collect()
    }

    async fn compression(&self, client: &Client) -> Outcome<Vec<Finding>> {
        let Some(after) = self.settings.compress_after else {
            return Ok(vec![Finding::ok("compression", "switched off")]);
        };
        let chunks = Chunks::ask(client, after).await?;
        Ok(vec![jobs::compression(client, &chunks, after).await?])
    }

    /// What is dropped without having been aggregated.
    async fn retention(&self, client: &Client) -> Outcome<Vec<Finding>> {
        let Some(kept) = self.settings.retention.raw else {
            return Ok(Vec::new());
        };
        // Some of them are enough, and all would be many to look through.
        let rows = client
            .query(
                "SELECT DISTINCT m.name FROM (SELECT metric_no FROM overflow LIMIT 10000) AS o
                 JOIN metrics AS m USING (metric_no) ORDER BY 1 LIMIT 5",
                &[],
            )
            .await?;
        let days = kept.as_secs() / 86_400;
        if rows.is_empty() {
            let what = format!(
                "readings are dropped after {days} days, their aggregates are kept: {}",
                self.settings.retention.of_aggregates()
            );
            return Ok(vec![Finding::ok("retention", what)]);
        }
        let names: Result<Vec<&str>, _> = rows.iter().map(|r| r.try_get(0)).collect();
        Ok(vec![Finding::warn(
            "retention",
            format!(
                "metrics beyond the catalogue have no aggregates: after {days} days nothing is left of {}",
                names?.join(", ")
            ),
            "put those that should be kept into the catalogue and restart: their readings get a column, and aggregates",
        )])
    }

    async fn replication(&self, client: &Client) -> Outcome<Vec<Finding>> {
        let rows = client
        .query(
            "SELECT slot_name::text, active, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::int8
             FROM pg_replication_slots WHERE restart_lsn IS NOT NULL ORDER BY 1",
            &[],
        )
        .await?;
        let mut found = self.failover(&Server::ask(client).await?);
        for row in &rows {
            let (name, active): (String, bool) = (row.try_get(0)?, row.try_get(1)?);
            let behind: Option<i64> = row.try_get(2)?;
            let behind = behind.unwrap_or(0);
            if behind > SLOT_BYTES_MAX || !active {
                found.push(Finding::warn(
                "replication",
                format!(
                    "slot {name} is {} MiB behind{}; the server keeps that much WAL for it",
                    behind >> 20,
                    if active { "" } else { " and nobody reads it" }
                ),
                format!("see to its standby, or SELECT pg_drop_replication_slot('{name}'); set max_slot_wal_keep_size"),
            ));
            }
        }
        if found.is_empty() {
            found.push(Finding::ok(
                "replication",
                format!("{} slots, none behind", rows.len()),
            ));
        }
        Ok(found)
    }
}

async fn clock(client: &Client, now: Timestamp) -> Outcome<Vec<Finding>> {
    let row = client
        .query_one(
            "SELECT extract(epoch FROM clock_timestamp() - $1::timestamptz)::float8",
            &[&Instant(now)],
        )
        .await?;
    let ahead_s: f64 = row.try_get(0)?;
    Ok(vec![if ahead_s.abs() <= SKEW_S_MAX {
        Finding::ok("clock", format!("the server's differs by {ahead_s:.1} s"))
    } else {
        Finding::warn(
            "clock",
            format!("the server's clock is {ahead_s:.0} s ahead of this machine's"),
            "synchronise both by NTP: retention and refresh go by the server's",
        )
    }])
}

async fn stock(client: &Client) -> Outcome<Vec<Finding>> {
    let row = client
        .query_one(
            "SELECT count(*) FILTER (WHERE on_hand IS DISTINCT FROM booked AND coalesce(on_hand, 0) <> coalesce(booked, 0)), count(*)
             FROM stock FULL JOIN (
                 SELECT part, depot, sum(delta)::int8 AS booked FROM ledger GROUP BY part, depot) AS l USING (part, depot)",
            &[],
        )
        .await?;
    let (off, all): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let cure = "somebody has written to the tables: restore stock and ledger from a backup, or count the shelf and book the difference";
    let mut findings = Vec::new();
    if off > 0 {
        let what = format!("{off} of {all} items differ from their ledger");
        findings.push(Finding::fail("stock", what, cure));
    }
    for (what, sql) in IMBALANCES {
        let n: i64 = client.query_one(*sql, &[]).await?.try_get(0)?;
        if n > 0 {
            findings.push(Finding::fail("stock", format!("{n} {what}"), cure));
        }
    }
    if findings.is_empty() {
        let what = format!("{all} items equal their ledger");
        findings.push(Finding::ok("stock", what));
    }
    Ok(findings)
}

/// What may not add up beside the shelves themselves, each with the query that counts it.
const IMBALANCES: &[(&str, &str)] = &[
    (
        "shelves have more held than lies on them",
        "SELECT count(*) FROM (
             SELECT part, depot, sum(quantity - used) AS held FROM reservations
             WHERE live AND supply <> 'back_order' GROUP BY part, depot) AS h
         LEFT JOIN stock USING (part, depot) WHERE held > coalesce(on_hand, 0)",
    ),
    (
        "parts were sent and arrived in different numbers",
        "SELECT count(*) FROM (
             SELECT part FROM ledger WHERE kind IN ('transfer_out', 'transfer_in')
             GROUP BY part HAVING sum(delta) <> 0) AS l",
    ),
    (
        "stock items have another number in repair than their ledger",
        "SELECT count(*) FROM stock LEFT JOIN (
             SELECT part, depot, -sum(delta) AS gone FROM ledger
             WHERE kind IN ('repair_out', 'repair_in') GROUP BY part, depot) AS l USING (part, depot)
         WHERE in_repair <> coalesce(gone, 0)",
    ),
    (
        "tickets have used another number of parts than their ledger",
        "SELECT count(*) FROM (
             SELECT ticket, part, sum(used) AS used FROM reservations GROUP BY ticket, part) AS r
         LEFT JOIN (
             SELECT ticket, part, -sum(delta) AS gone FROM ledger
             WHERE ticket IS NOT NULL AND kind IN ('consumed', 'issue', 'return') GROUP BY ticket, part) AS l
         USING (ticket, part) WHERE used <> coalesce(gone, 0)",
    ),
];

async fn disk(client: &Client) -> Outcome<Vec<Finding>> {
    let row = client
        .query_one("SELECT pg_database_size(current_database())", &[])
        .await?;
    let bytes: i64 = row.try_get(0)?;
    Ok(vec![Finding::ok(
        "disk",
        format!(
            "the database takes {} MiB; SQL cannot tell what is free: watch the server's disk (deploy/README.md)",
            bytes >> 20
        ),
    )])
}
