//! Every dashboard's queries: the SQL runs against a real TimescaleDB that a running instance has filled, as the role
//! that may only read, and gives what its panel needs; every metric's name is one that an instance has.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]

mod support;
#[path = "support/deploy.rs"]
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use forecare_test_databases::Timescale;
use serde_json::Value;
use support::{Service, forecare, run, wait_for};
use tree::{files, pass, root, text, tool};
use yaml_rust2::{Yaml, YamlLoader};

fn dashboards() -> Vec<Value> {
    let found: Vec<Value> = files(&root().join("deploy/grafana/dashboards"), ".json")
        .into_iter()
        .map(|file| {
            serde_json::from_str(&std::fs::read_to_string(&file).unwrap())
                .unwrap_or_else(|e| panic!("{}: {e}", file.display()))
        })
        .collect();
    assert!(found.len() >= 5);
    found
}

fn yaml(text: &str) -> Yaml {
    YamlLoader::load_from_str(text).unwrap().remove(0)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn str_of<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} of {value:#}"))
}

/// A query of a dashboard, and the columns that what shows it refers to.
struct Query {
    /// Dashboard and panel, for messages.
    at: String,
    sql: String,
    needs: BTreeSet<String>,
}

/// Every SQL query: panels, annotations.
fn sql_queries(dashboard: &Value) -> Vec<Query> {
    let uid = str_of(dashboard, "uid");
    let mut queries = Vec::new();
    for panel in list(&dashboard["panels"]) {
        let mut needs: BTreeSet<String> = BTreeSet::new();
        for over in list(&panel["fieldConfig"]["overrides"]) {
            needs.insert(str_of(&over["matcher"], "options").to_owned());
        }
        let links = panel["fieldConfig"].to_string();
        for (at, mark) in links.match_indices("${__data.fields.") {
            let rest = &links[at + mark.len()..];
            needs.insert(rest[..rest.find('}').unwrap()].to_owned());
        }
        needs.extend(panel["options"]["xField"].as_str().map(str::to_owned));
        for target in list(&panel["targets"]) {
            if let Some(sql) = target["rawSql"].as_str() {
                let mut needs = needs.clone();
                if target["format"] == "time_series" {
                    needs.insert("time".to_owned());
                }
                queries.push(Query {
                    at: format!("{uid}: {}", str_of(panel, "title")),
                    sql: sql.to_owned(),
                    needs,
                });
            }
        }
    }
    for annotation in list(&dashboard["annotations"]["list"]) {
        queries.push(Query {
            at: format!("{uid}: annotation {}", str_of(annotation, "name")),
            sql: str_of(&annotation["target"], "rawSql").to_owned(),
            needs: ["time", "text", "tags"].map(str::to_owned).into(),
        });
    }
    queries
}

/// Replaces Grafana's macros and variables as its PostgreSQL data source does.
fn expand(
    sql: &str,
    range: &(String, String),
    interval_ms: u64,
    variables: &BTreeMap<String, String>,
) -> String {
    let mut text = sql.to_owned();
    while let Some(at) = text.find("$__timeFilter(") {
        let end = at + text[at..].find(')').unwrap();
        let column = text[at + "$__timeFilter(".len()..end].to_owned();
        let filter = format!("{column} BETWEEN '{}' AND '{}'", range.0, range.1);
        text.replace_range(at..=end, &filter);
    }
    text = text
        .replace("$__timeFrom()", &format!("'{}'", range.0))
        .replace("$__timeTo()", &format!("'{}'", range.1))
        .replace("$__interval_ms", &interval_ms.to_string());
    for (name, value) in variables {
        text = text
            .replace(&format!("${{{name}}}"), value)
            .replace(&format!("${name}"), value);
    }
    assert!(!text.contains('$'), "something is left to replace: {text}");
    text
}

/// Runs a query as Grafana would: as the role that may read, with what `roles.sh` has set for it. Returns header and
/// lines.
fn ask(database: &Timescale, sql: &str) -> Result<Vec<String>, String> {
    let output = tool("psql", "postgresql-client")
        .args([
            "-X",
            "-q",
            "--csv",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            &database.url_of("grafana"),
            "-c",
            sql,
        ])
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect())
}

fn quoted(values: &[String]) -> String {
    let all: Vec<String> = values
        .iter()
        .map(|v| format!("'{}'", v.replace('\'', "''")))
        .collect();
    all.join(",")
}

/// The first column of a variable's query.
fn options(database: &Timescale, sql: &str) -> Vec<String> {
    let lines = ask(database, sql).unwrap_or_else(|e| panic!("{sql}\n{e}"));
    assert!(lines.len() > 1, "no value: {sql}");
    let values: Vec<String> = lines[1..]
        .iter()
        .map(|line| line.trim_matches('"').to_owned())
        .collect();
    assert!(
        values.iter().all(|value| !value.trim().is_empty()),
        "what is blank cannot be chosen: {sql}: {values:?}"
    );
    values
}

/// Roles as the container makes them, by the same script.
fn make_roles(database: &Timescale) {
    let dir = tempfile::tempdir().unwrap();
    for name in ["database_password", "grafana_database_password"] {
        std::fs::write(dir.path().join(name), "0123456789abcdef\n").unwrap();
    }
    let url = database.url();
    let (_, host) = url.rsplit_once('@').unwrap();
    let (host, name) = host.split_once('/').unwrap();
    let (host, port) = host.split_once(':').unwrap();
    let script = text("compose/timescaledb/roles.sh")
        .replace("/run/forecare", &dir.path().display().to_string())
        .replace("--dbname forecare", &format!("--dbname {name}"))
        .replace("DATABASE forecare", &format!("DATABASE {name}"));
    let file = dir.path().join("roles.sh");
    std::fs::write(&file, script).unwrap();
    pass(
        Command::new("sh")
            .arg(&file)
            .env("PGHOST", host)
            .env("PGPORT", port),
    );
}

#[test]
fn dashboards_are_distinct_and_their_data_sources_are_provisioned() {
    let provisioned: BTreeSet<(String, String)> =
        yaml(&text("grafana/provisioning/datasources/forecare.yaml"))["datasources"]
            .as_vec()
            .unwrap()
            .iter()
            .map(|source| {
                let field = |key: &str| source[key].as_str().unwrap().to_owned();
                (field("type"), field("uid"))
            })
            .collect();
    let mut uids = BTreeSet::new();
    let mut titles = BTreeSet::new();
    let all = dashboards();
    for dashboard in &all {
        assert!(
            uids.insert(str_of(dashboard, "uid")),
            "{}",
            dashboard["uid"]
        );
        assert!(
            titles.insert(str_of(dashboard, "title")),
            "{}",
            dashboard["title"]
        );
        let ids: BTreeSet<u64> = list(&dashboard["panels"])
            .iter()
            .map(|p| p["id"].as_u64().unwrap())
            .collect();
        assert_eq!(
            ids.len(),
            list(&dashboard["panels"]).len(),
            "{}: panel ids",
            dashboard["title"]
        );
        let mut sources = Vec::new();
        collect(dashboard, "datasource", &mut sources);
        for source in sources {
            let of = (
                str_of(source, "type").to_owned(),
                str_of(source, "uid").to_owned(),
            );
            assert!(provisioned.contains(&of), "{}: {of:?}", dashboard["title"]);
        }
    }
    // Links between dashboards lead somewhere.
    for dashboard in &all {
        let text = dashboard.to_string();
        for (at, mark) in text.match_indices("\"/d/") {
            let rest = &text[at + mark.len()..];
            let uid = &rest[..rest.find(['?', '"', '/']).unwrap()];
            assert!(uids.contains(uid), "{}: /d/{uid}", dashboard["title"]);
        }
    }
    let provider = text("grafana/provisioning/dashboards/forecare.yaml");
    assert!(
        yaml(&provider)["providers"][0]["options"]["path"].as_str()
            == Some("/etc/grafana/dashboards")
    );
    assert!(
        text("compose/compose.yaml").contains("../grafana/dashboards:/etc/grafana/dashboards:ro")
    );
}

/// Grafana asks for no finer steps than the data source's `timeInterval`, a minute where it says nothing: dashboards that
/// read readings below a minute would never come to it.
#[test]
fn charts_of_short_spans_may_ask_for_readings() {
    let sources = yaml(&text("grafana/provisioning/datasources/forecare.yaml"));
    let sources = sources["datasources"].as_vec().unwrap();
    let database = sources
        .iter()
        .find(|s| s["uid"].as_str() == Some("forecare-timescaledb"))
        .unwrap();
    let shortest = database["jsonData"]["timeInterval"].as_str().unwrap();
    let seconds: u64 = shortest.strip_suffix('s').unwrap().parse().unwrap();
    assert!((1..60).contains(&seconds), "{shortest}");
    let of_readings = query_of("forecare-asset", "$metric");
    assert!(of_readings.contains("FROM v_telemetry WHERE $__interval_ms < 60000"));
}

/// Every value of `key`, at any depth.
fn collect<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                if name == key {
                    found.push(inner);
                }
                collect(inner, key, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, key, found)),
        _ => {}
    }
}

/// Names of metrics in an expression: what is not a label, a function or a keyword begins with one of our prefixes.
fn metric_names(expression: &str) -> BTreeSet<String> {
    expression
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .filter(|word| word.starts_with("forecare") || word.starts_with("process_"))
        // The job's name, in `job="forecare"`.
        .filter(|word| *word != "forecare")
        .map(str::to_owned)
        .collect()
}

/// A demo on TimescaleDB, until it has seen a ticket with its parts; its `/metrics`.
fn fill(database: &Timescale, home: &std::path::Path) -> String {
    let mut demo = forecare();
    demo.args([
        "demo",
        "--devices",
        "8",
        "--faults",
        "4",
        "--speed",
        "7200",
        "--history",
        "3",
    ])
    .args([
        "--mqtt-listen",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
        "--home",
    ])
    .arg(home)
    // A channel, so that what is counted by channel is there.
    .env(
        "FORECARE_NOTIFY__CHANNEL",
        r#"{team={kind="http",url="http://127.0.0.1:9/",body="{}"}}"#,
    )
    .env("FORECARE_STORE__URL", database.url());
    let service = Service::start(&mut demo, home);
    wait_for("tickets, and the survey of them", || {
        service.metric("forecare_tickets_opened_total") >= 2.0
            && service.metric("forecare_tickets_open") >= 1.0
            && service.metric("forecare_alarms_active") >= 1.0
            && service.metric("forecare_reservations_total") >= 1.0
    });
    let metrics = service.text("metrics");
    assert!(service.stop());
    metrics
}

#[test]
fn every_query_of_every_dashboard_gives_what_its_panel_needs() {
    let database = Timescale::shared();
    make_roles(database);
    let home = tempfile::tempdir().unwrap();
    let metrics = fill(database, home.path());
    // One that nobody has said the site of.
    let (ok, _, said) = run(forecare()
        .args(["device", "add", "nowhere-1", "--class", "screw-compressor"])
        .arg("--home")
        .arg(home.path())
        .env("FORECARE_STORE__URL", database.url()));
    assert!(ok, "{said}");
    names_exist(&metrics);
    rows_come(database);
    machines_without_a_site_are_chosen_by_that(database);
    charts_have_a_row_a_step(database);
    what_began_before_the_span_and_lasts_is_marked(database);
    the_reading_role_is_bound(database);
}

fn names_exist(metrics: &str) {
    let mut known: BTreeSet<String> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split([' ', '{']).next())
        .map(str::to_owned)
        .collect();
    // Only with TLS (tests/deploy.rs looks at it), and written by whoever makes backups.
    for name in [
        "forecare_peer_certificate_expiry_timestamp_seconds",
        "forecare_backup_last_success_timestamp_seconds",
    ] {
        assert!(text("README.md").contains(name), "{name}");
        known.insert(name.to_owned());
    }
    let mut used = BTreeMap::new();
    for file in ["recording", "alerts"] {
        let rules = yaml(&text(&format!("prometheus/rules/{file}.yml")));
        for rule in rules["groups"]
            .as_vec()
            .unwrap()
            .iter()
            .flat_map(|g| g["rules"].as_vec().unwrap())
        {
            if let Some(name) = rule["record"].as_str() {
                known.insert(name.to_owned());
            }
            for name in metric_names(rule["expr"].as_str().unwrap()) {
                used.insert(name, format!("{file}.yml"));
            }
        }
    }
    for dashboard in dashboards() {
        let mut expressions = Vec::new();
        collect(&dashboard, "expr", &mut expressions);
        for expression in expressions {
            for name in metric_names(expression.as_str().unwrap()) {
                used.insert(name, str_of(&dashboard, "title").to_owned());
            }
        }
    }
    assert!(used.len() > 20);
    for (name, place) in used {
        assert!(known.contains(&name), "{place}: nothing is called {name}");
    }
}

fn rows_come(database: &Timescale) {
    let span = ask(
        database,
        "SELECT min(ts), max(ts) + interval '1 day' FROM v_telemetry",
    )
    .unwrap();
    let (from, to) = span[1].split_once(',').unwrap();
    let range = (from.to_owned(), to.to_owned());
    // The machine to look at: one with an alarm and a ticket.
    let asset = options(database, "SELECT t.asset FROM v_tickets t JOIN v_alarms a ON a.asset = t.asset ORDER BY t.opened_at LIMIT 1").remove(0);
    let mut failures = Vec::new();
    for dashboard in dashboards() {
        let mut variables = BTreeMap::new();
        for variable in list(&dashboard["templating"]["list"]) {
            let name = str_of(variable, "name").to_owned();
            if variable["type"] != "query" {
                continue;
            }
            let sql = expand(str_of(variable, "query"), &range, 1, &variables);
            let values = options(database, &sql);
            if name == "asset" {
                assert!(values.contains(&asset));
                variables.insert(name, asset.clone());
            } else {
                variables.insert(name, quoted(&values));
            }
        }
        for query in sql_queries(&dashboard) {
            for interval_ms in [1_000, 60_000, 3_600_000, 86_400_000] {
                let sql = expand(&query.sql, &range, interval_ms, &variables);
                match ask(database, &sql) {
                    Err(error) => failures.push(format!("{}: {error}\n{sql}", query.at)),
                    Ok(lines) => {
                        let columns: BTreeSet<String> = lines
                            .first()
                            .map(|l| {
                                l.split(',')
                                    .map(|c| c.trim_matches('"').to_owned())
                                    .collect()
                            })
                            .unwrap_or_default();
                        let missing: Vec<&String> = query.needs.difference(&columns).collect();
                        if !missing.is_empty() {
                            failures.push(format!(
                                "{}: no column {missing:?} in {columns:?}",
                                query.at
                            ));
                        }
                        if lines.len() < 2 {
                            failures.push(format!("{}: no row\n{sql}", query.at));
                        }
                    }
                }
                // Few queries depend on the interval.
                if !query.sql.contains("$__interval_ms") {
                    break;
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// A query of a dashboard's panel or annotation.
fn query_of(uid: &str, title: &str) -> String {
    let all = dashboards();
    let dashboard = all.iter().find(|d| d["uid"] == uid).unwrap();
    let queries = sql_queries(dashboard);
    let at = format!("{uid}: {title}");
    let query = queries.iter().find(|q| q.at == at);
    query.unwrap_or_else(|| panic!("{at}")).sql.clone()
}

fn machines_without_a_site_are_chosen_by_that(database: &Timescale) {
    let class = options(database, "SELECT DISTINCT class FROM v_health");
    let variables = BTreeMap::from([
        ("site".to_owned(), quoted(&["no site".to_owned()])),
        ("class".to_owned(), quoted(&class)),
    ]);
    let range = (String::new(), String::new());
    let sql = expand(
        &query_of("forecare-fleet", "Machines"),
        &range,
        1,
        &variables,
    );
    assert_eq!(ask(database, &sql).unwrap()[1], "1");
}

/// However long the span and however often the machine reports, there are as many rows as the chart has steps; and what
/// the steps hold is the mean of their readings, whatever level it is made from.
fn charts_have_a_row_a_step(database: &Timescale) {
    const DAY_MS: u64 = 86_400_000;
    let asset = options(
        database,
        "SELECT asset FROM v_ingest WHERE newest_at IS NOT NULL ORDER BY 1 LIMIT 1",
    )
    .remove(0);
    let of_asset = format!(
        "SELECT metric FROM v_latest WHERE asset = '{asset}' AND metric <> 'health' ORDER BY 1 LIMIT 1"
    );
    let metric = options(database, &of_asset).remove(0);
    let span = format!(
        "SELECT date_trunc('day', min(ts)), max(ts), extract(epoch FROM max(ts) - date_trunc('day', min(ts)))::bigint
         FROM v_telemetry WHERE asset = '{asset}' AND metric = '{metric}'"
    );
    let span = ask(database, &span).unwrap().remove(1);
    let span: Vec<&str> = span.split(',').collect();
    let range = (span[0].to_owned(), span[1].to_owned());
    let span_ms = span[2].parse::<u64>().unwrap() * 1_000;
    assert!(span_ms > 3 * DAY_MS, "{span:?}");
    let variables = BTreeMap::from([
        ("asset".to_owned(), asset.clone()),
        ("metric".to_owned(), quoted(std::slice::from_ref(&metric))),
    ]);
    for title in ["Health over time", "$metric"] {
        let query = query_of("forecare-asset", title);
        for interval_ms in [
            1_000,
            30_000,
            60_000,
            600_000,
            3_600_000,
            6 * 3_600_000,
            DAY_MS,
        ] {
            let rows = ask(database, &expand(&query, &range, interval_ms, &variables)).unwrap();
            let n_rows = rows.len() as u64 - 1;
            let n_steps = span_ms / interval_ms + 2;
            assert!(
                n_rows > 1 && n_rows <= n_steps,
                "{title}: {n_rows} rows for {n_steps} steps of {interval_ms} ms"
            );
        }
    }
    let query = query_of("forecare-asset", "$metric");
    for interval_ms in [1_800_000, 6 * 3_600_000, DAY_MS] {
        let of_chart = ask(database, &expand(&query, &range, interval_ms, &variables)).unwrap();
        let of_readings = format!(
            "SELECT date_bin({interval_ms} * interval '1 ms', ts, '2000-01-01 00:00Z') AS time, avg(value) AS mean, min(value), max(value)
             FROM v_telemetry WHERE asset = '{asset}' AND metric = '{metric}' GROUP BY 1 ORDER BY 1"
        );
        let of_readings = ask(database, &of_readings).unwrap();
        assert_eq!(of_chart.len(), of_readings.len(), "{interval_ms} ms");
        for (chart, readings) in of_chart.iter().zip(&of_readings).skip(1) {
            let values = |line: &str| -> Vec<f64> {
                let numbers = line.split(',').skip(1);
                numbers.map(|v| v.parse().unwrap()).collect()
            };
            assert_eq!(chart.split(',').next(), readings.split(',').next());
            for (a, b) in values(chart).into_iter().zip(values(readings)) {
                assert!(
                    (a - b).abs() <= 1e-9 * b.abs().max(1.0),
                    "{chart} {readings}"
                );
            }
        }
    }
}

fn what_began_before_the_span_and_lasts_is_marked(database: &Timescale) {
    for (annotation, lasts) in [
        (
            "annotation Alarms",
            "SELECT asset, raised_at + interval '1 s', raised_at + interval '2 s', raised_at - interval '1 s' FROM v_alarms WHERE active ORDER BY raised_at LIMIT 1",
        ),
        (
            "annotation Tickets",
            "SELECT asset, opened_at + interval '1 s', opened_at + interval '2 s', opened_at - interval '1 s' FROM v_tickets WHERE open AND resolved_at IS NULL ORDER BY opened_at LIMIT 1",
        ),
    ] {
        let row = ask(database, lasts).unwrap().remove(1);
        let row: Vec<&str> = row.split(',').collect();
        let variables = BTreeMap::from([("asset".to_owned(), row[0].to_owned())]);
        let query = query_of("forecare-asset", annotation);
        let marks = |from: &str, to: &str| {
            let range = (from.to_owned(), to.to_owned());
            ask(database, &expand(&query, &range, 1, &variables))
                .unwrap()
                .len()
                - 1
        };
        let before = marks("2000-01-01", row[3]);
        assert!(marks(row[1], row[2]) > 0, "{annotation}: {row:?}");
        assert!(
            marks("2000-01-01", row[2]) > before,
            "{annotation}: {row:?}"
        );
    }
}

/// The reading role reads views, and nothing else; and what `roles.sh` sets for it holds.
fn the_reading_role_is_bound(database: &Timescale) {
    for (setting, value) in [
        ("default_transaction_read_only", "on"),
        ("statement_timeout", "30s"),
        ("search_path", "\"forecare, public\""),
    ] {
        let shown = ask(database, &format!("SHOW {setting}")).unwrap();
        assert_eq!(shown[1], value, "{setting}");
    }
    let refused = ask(database, "CREATE TABLE public.x ()");
    assert!(refused.is_err_and(|e| e.contains("read-only")));
    for table in ["credentials", "tickets", "alarms"] {
        let refused = ask(database, &format!("SELECT * FROM {table}"));
        assert!(
            refused.is_err_and(|e| e.contains("permission denied")),
            "{table}"
        );
    }
}
