//! What must be right with the server before anything is stored on it.

use forecare_store::StoreError;
use tokio_postgres::{Client, Config};

use crate::fault::{Outcome, misconfigured};

/// 15: `ON CONFLICT` on partitioned keys, `pg_stat` and privileges as used here; older ones are out of support
/// or about to be, and none of ours is tested on them.
const POSTGRES_MIN: i32 = 150_000;
/// 2.19: the first that takes a chunk interval for aggregates and batches for their refreshes; the columnstore's own statements (`enable_columnstore`, `add_columnstore_policy`), which
/// the older names are deprecated for.
const TIMESCALE_MIN: (u32, u32) = (2, 19);

/// What the server is, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// `server_version_num`, such as 150020.
    pub(crate) version: i32,
    pub(crate) is_standby: bool,
    pub(crate) encoding: String,
    pub(crate) fsync: String,
    pub(crate) full_page_writes: String,
    /// As role, database and server set it; not what this session has made of it.
    pub(crate) synchronous_commit: String,
    /// The standbys that a commit waits for; empty: none.
    pub(crate) synchronous_standby_names: String,
    /// Version of the extension in this database.
    pub(crate) timescale: Option<String>,
    /// Version of the extension that could be created here.
    pub(crate) timescale_available: Option<String>,
    pub(crate) license: Option<String>,
}

impl Server {
    pub(crate) async fn ask(client: &Client) -> Outcome<Self> {
        let row = client
            .query_one(
                "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), getdatabaseencoding()::text,
                     current_setting('fsync'), current_setting('full_page_writes'),
                     coalesce((SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'), 'on'),
                     (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),
                     (SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'),
                     current_setting('timescaledb.license', true), current_setting('synchronous_standby_names')",
                &[],
            )
            .await?;
        Ok(Self {
            version: row.try_get(0)?,
            is_standby: row.try_get(1)?,
            encoding: row.try_get(2)?,
            fsync: row.try_get(3)?,
            full_page_writes: row.try_get(4)?,
            synchronous_commit: row.try_get(5)?,
            timescale: row.try_get(6)?,
            timescale_available: row.try_get(7)?,
            license: row.try_get(8)?,
            synchronous_standby_names: row.try_get(9)?,
        })
    }

    /// Why nothing may be stored there; the texts name the fix.
    pub(crate) fn objections(&self, plain_postgres: bool) -> Vec<String> {
        let mut all = Vec::new();
        if self.version < POSTGRES_MIN {
            all.push(format!(
                "PostgreSQL {} is too old; use 15 or later",
                self.version / 10_000
            ));
        }
        if self.is_standby {
            all.push(
                "the server is in recovery (a standby) and takes no writes; name the primary too in the URL, as host1,host2"
                    .to_owned(),
            );
        }
        if self.encoding != "UTF8" {
            all.push(format!(
                "the database's encoding is {}; make one with CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8'",
                self.encoding
            ));
        }
        all.extend(self.durability());
        if !plain_postgres {
            all.extend(self.extension());
        }
        all
    }

    /// Settings with which a stored reading could be lost.
    pub(crate) fn durability(&self) -> Vec<String> {
        let mut all = Vec::new();
        let reload = "then SELECT pg_reload_conf()";
        if self.fsync == "off" {
            all.push(format!(
                "fsync is off: what is acknowledged would not survive a power cut; ALTER SYSTEM SET fsync = on, {reload}"
            ));
        }
        if self.full_page_writes == "off" {
            all.push(format!(
                "full_page_writes is off: a power cut could damage the database; ALTER SYSTEM SET full_page_writes = on, {reload}"
            ));
        }
        if self.synchronous_commit == "off" {
            all.push(format!(
                "synchronous_commit is off: what is acknowledged would not survive a crash; switch it on where it was switched off \
                 (ALTER SYSTEM, ALTER DATABASE … or ALTER ROLE … RESET synchronous_commit), {reload}"
            ));
        }
        all
    }

    /// Why the failover that a URL of several hosts asks for would lose stored readings, and what to do.
    pub(crate) fn failover_loss(&self, url: &str) -> Option<(String, String)> {
        if n_hosts(url) < 2 {
            return None;
        }
        let why = if self.synchronous_standby_names.trim().is_empty() {
            "synchronous_standby_names is empty".to_owned()
        } else if self.synchronous_commit == "local" {
            "synchronous_commit is local".to_owned()
        } else {
            return None;
        };
        Some((
            format!(
                "the URL names several hosts, and {why}: a commit waits for no standby, so what was acknowledged \
                 last is lost when one takes over"
            ),
            "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (…)' with the standbys' application_name, on every \
             host, synchronous_commit on, then SELECT pg_reload_conf(); with two standbys, since commits stop \
             while none answers"
                .to_owned(),
        ))
    }

    fn extension(&self) -> Option<String> {
        let Some(version) = &self.timescale else {
            return Some(if self.timescale_available.is_some() {
                "the extension timescaledb is not in this database; \
                 as a superuser in it: CREATE EXTENSION timescaledb"
                    .to_owned()
            } else {
                "the extension timescaledb is not installed on the server; install its package for this PostgreSQL, \
                 write shared_preload_libraries = 'timescaledb' into postgresql.conf, restart the server, \
                 and as a superuser in this database: CREATE EXTENSION timescaledb. \
                 For a trial without it, set plain_postgres"
                    .to_owned()
            });
        };
        if version_of(version).is_none_or(|found| found < TIMESCALE_MIN) {
            return Some(format!(
                "timescaledb {version} is too old; install {}.{} or later, and as the first statement of a new session: \
                 ALTER EXTENSION timescaledb UPDATE",
                TIMESCALE_MIN.0, TIMESCALE_MIN.1
            ));
        }
        if self.license.as_deref() != Some("timescale") {
            return Some(format!(
                "timescaledb.license is {}: there is neither compression nor continuous aggregates; install the community \
                 edition (package timescaledb-2-postgresql-…, not …-oss), and ALTER SYSTEM SET timescaledb.license = 'timescale', \
                 then restart",
                self.license.as_deref().unwrap_or("not set")
            ));
        }
        None
    }

    /// Refuses a role that could not make the schema, or work in it.
    pub(crate) async fn check_rights(client: &Client, schema: &str) -> Outcome<()> {
        let row = client
            .query_one(
                "SELECT quote_ident(current_user), quote_ident(current_database()), n.oid IS NOT NULL,
                     CASE WHEN n.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE')
                         ELSE has_schema_privilege(n.oid, 'USAGE') AND has_schema_privilege(n.oid, 'CREATE') END,
                     (SELECT quote_ident(pg_get_userbyid(c.relowner)) FROM pg_class AS c
                      WHERE c.relnamespace = n.oid AND c.relname = 'schema_steps' AND NOT pg_has_role(c.relowner, 'USAGE'))
                 FROM (SELECT 1) AS one LEFT JOIN pg_namespace AS n ON n.nspname = $1",
                &[&schema],
            )
            .await?;
        let (role, database): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let (is_there, may_create): (bool, bool) = (row.try_get(2)?, row.try_get(3)?);
        let other_owner: Option<String> = row.try_get(4)?;
        let objection = if let Some(owner) = other_owner {
            format!(
                "the schema {schema} is {owner}'s, and the role {role} may not work in it: name {owner} in store.url, \
                 give this service a schema of its own ([store] schema), or as a superuser: GRANT {owner} TO {role}"
            )
        } else if may_create {
            return Ok(());
        } else if is_there {
            format!(
                "the role {role} lacks rights on the schema {schema}; as its owner or a superuser: \
                 GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}"
            )
        } else {
            format!(
                "the role {role} may not make the schema {schema}; as the database's owner or a superuser: \
                 GRANT CREATE ON DATABASE {database} TO {role}"
            )
        };
        Err(misconfigured(objection).into())
    }

    /// Refuses a server with objections, all of them named.
    pub(crate) fn check(&self, plain_postgres: bool) -> Result<(), StoreError> {
        let objections = self.objections(plain_postgres);
        if objections.is_empty() {
            return Ok(());
        }
        Err(misconfigured(format!(
            "this database must not be used as it is: {}",
            objections.join("; also, ")
        )))
    }
}

/// Hosts that a URL of a database names; 0 where it cannot be read, which connecting says better.
fn n_hosts(url: &str) -> usize {
    // Two values of libpq's that the parser does not know.
    let url = url
        .replace("sslmode=verify-full", "sslmode=require")
        .replace("sslmode=verify-ca", "sslmode=require");
    url.parse::<Config>().map_or(0, |config| {
        config.get_hosts().len().max(config.get_hostaddrs().len())
    })
}

/// Major and minor of `2.22.1`, `2.23.0-dev`.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(['.', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Server {
        Server {
            version: 150_020,
            is_standby: false,
            encoding: "UTF8".to_owned(),
            fsync: "on".to_owned(),
            full_page_writes: "on".to_owned(),
            synchronous_commit: "on".to_owned(),
            synchronous_standby_names: String::new(),
            timescale: Some("2.23.0-dev".to_owned()),
            timescale_available: Some("2.23.0-dev".to_owned()),
            license: Some("timescale".to_owned()),
        }
    }

    #[test]
    fn a_sound_server_is_accepted_and_the_extension_is_needed_only_where_it_is_used() {
        sound().check(false).unwrap();
        let plain = Server {
            timescale: None,
            timescale_available: None,
            license: None,
            ..sound()
        };
        plain.check(true).unwrap();
        let refused = plain.check(false).unwrap_err().to_string();
        assert!(
            refused.contains("shared_preload_libraries = 'timescaledb'"),
            "{refused}"
        );
        assert!(
            refused.contains("CREATE EXTENSION timescaledb"),
            "{refused}"
        );
    }

    #[test]
    fn each_unfit_setting_is_refused_with_its_fix() {
        let cases: [(Server, &str); 9] = [
            (
                Server {
                    version: 140_010,
                    ..sound()
                },
                "use 15 or later",
            ),
            (
                Server {
                    is_standby: true,
                    ..sound()
                },
                "name the primary",
            ),
            (
                Server {
                    encoding: "SQL_ASCII".to_owned(),
                    ..sound()
                },
                "ENCODING 'UTF8'",
            ),
            (
                Server {
                    fsync: "off".to_owned(),
                    ..sound()
                },
                "SET fsync = on",
            ),
            (
                Server {
                    full_page_writes: "off".to_owned(),
                    ..sound()
                },
                "SET full_page_writes = on",
            ),
            (
                Server {
                    synchronous_commit: "off".to_owned(),
                    ..sound()
                },
                "RESET synchronous_commit",
            ),
            (
                Server {
                    timescale: None,
                    ..sound()
                },
                "CREATE EXTENSION timescaledb",
            ),
            (
                Server {
                    timescale: Some("2.17.2".to_owned()),
                    ..sound()
                },
                "ALTER EXTENSION timescaledb UPDATE",
            ),
            (
                Server {
                    license: Some("apache".to_owned()),
                    ..sound()
                },
                "SET timescaledb.license = 'timescale'",
            ),
        ];
        for (server, fix) in cases {
            let refused = server.check(false).unwrap_err().to_string();
            assert!(refused.contains(fix), "{refused}");
        }
    }

    #[test]
    fn several_hosts_without_a_synchronous_standby_are_told_apart() {
        let both = "postgres://forecare@a,b:5433/forecare?sslmode=verify-full";
        let with = |names: &str, commit: &str| Server {
            synchronous_standby_names: names.to_owned(),
            synchronous_commit: commit.to_owned(),
            ..sound()
        };
        let (what, fix) = with("", "on").failover_loss(both).unwrap();
        assert!(
            what.contains("synchronous_standby_names is empty"),
            "{what}"
        );
        assert!(
            fix.contains("ALTER SYSTEM SET synchronous_standby_names"),
            "{fix}"
        );
        let (what, _) = with("ANY 1 (s1, s2)", "local").failover_loss(both).unwrap();
        assert!(what.contains("synchronous_commit is local"), "{what}");
        assert_eq!(with("ANY 1 (s1, s2)", "on").failover_loss(both), None);
        for one in [
            "postgres://forecare@a/forecare",
            "host=a dbname=b",
            "no URL",
        ] {
            assert_eq!(with("", "on").failover_loss(one), None, "{one}");
        }
        let written_out = "host=a,b dbname=forecare";
        assert!(with("", "on").failover_loss(written_out).is_some());
    }

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        let server = Server {
            fsync: "off".to_owned(),
            encoding: "LATIN1".to_owned(),
            ..sound()
        };
        let refused = server.check(false).unwrap_err().to_string();
        assert!(
            refused.contains("fsync") && refused.contains("LATIN1"),
            "{refused}"
        );
    }
}
