//! What people and dashboards read: views with names instead of numbers, derived from the layout and made by
//! the program. The README lists their columns.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};
use tokio_postgres::Transaction;

use crate::fault::Outcome;
use crate::layout::{ClassLayout, Layout, Level};

/// The group role that may read the views and nothing else.
pub(crate) const READ_ROLE: &str = "forecare_read";
/// Bytes of a name that PostgreSQL keeps.
const NAME_BYTES_MAX: usize = 63;

struct View {
    name: String,
    sql: String,
}

/// Makes the views anew where one is missing or has changed, and lets the reading role read them all.
pub(crate) async fn ensure(tx: &Transaction<'_>, layout: &Layout, schema: &str) -> Outcome<()> {
    let views = all(layout);
    let names: Vec<&str> = views.iter().map(|v| v.name.as_str()).collect();
    let marks: Vec<String> = views.iter().map(mark).collect();
    let row = tx
        .query_one(
            "SELECT bool_and(obj_description(to_regclass(quote_ident($1) || '.' || quote_ident(name)), 'pg_class')
                 IS NOT DISTINCT FROM mark) FROM unnest($2::text[], $3::text[]) AS wanted (name, mark)",
            &[&schema, &names, &marks],
        )
        .await?;
    if !row.try_get::<_, bool>(0)? {
        // All of them: one may be made from another.
        tx.batch_execute(&format!("DROP VIEW IF EXISTS {}", names.join(", ")))
            .await?;
        for (view, mark) in views.iter().zip(&marks) {
            tx.batch_execute(&format!(
                "CREATE VIEW {name} AS {sql}; COMMENT ON VIEW {name} IS {comment}",
                name = view.name,
                sql = view.sql,
                comment = literal(mark),
            ))
            .await?;
        }
    }
    grant(tx, &names, schema).await
}

async fn grant(tx: &Transaction<'_>, names: &[&str], schema: &str) -> Outcome<()> {
    // Roles belong to the whole server: another database's start may make it at the same time.
    tx.batch_execute(&format!(
        "DO $$ BEGIN
             IF to_regrole('{READ_ROLE}') IS NULL THEN CREATE ROLE {READ_ROLE} NOLOGIN; END IF;
         EXCEPTION WHEN duplicate_object OR unique_violation OR insufficient_privilege THEN NULL;
         END $$"
    ))
    .await?;
    let row = tx
        .query_one("SELECT to_regrole($1) IS NOT NULL", &[&READ_ROLE])
        .await?;
    if !row.try_get::<_, bool>(0)? {
        tracing::warn!(
            "no role to read the views with: as a superuser, CREATE ROLE {READ_ROLE} NOLOGIN; the next start lets it read"
        );
        return Ok(());
    }
    let is_granted = tx
        .query_one(
            "SELECT has_schema_privilege($1, $2, 'USAGE')
                 AND (SELECT bool_and(has_table_privilege($1, quote_ident($2) || '.' || name, 'SELECT')) FROM unnest($3::text[]) AS name)",
            &[&READ_ROLE, &schema, &names],
        )
        .await?;
    if !is_granted.try_get::<_, bool>(0)? {
        tx.batch_execute(&format!(
            "GRANT USAGE ON SCHEMA {schema} TO {READ_ROLE}; GRANT SELECT ON {} TO {READ_ROLE}",
            names.join(", ")
        ))
        .await?;
    }
    Ok(())
}

/// A view's comment: what it means, where that is not plain, and what tells one definition from another.
fn mark(view: &View) -> String {
    let digest = Sha256::digest(view.sql.as_bytes());
    let hex: String = digest[..8].iter().map(|b| format!("{b:02x}")).collect();
    let meaning = if view.name == "v_kpis" { KPIS } else { "" };
    format!("{meaning}Made by Forecare, which overwrites changes; definition {hex}")
}

fn all(layout: &Layout) -> Vec<View> {
    let mut views: Vec<View> = FIXED
        .iter()
        .map(|(name, sql)| View {
            name: (*name).to_owned(),
            sql: (*sql).to_owned(),
        })
        .collect();
    views.push(View {
        name: "v_telemetry".to_owned(),
        sql: readings(layout),
    });
    for level in Level::ALL {
        views.push(View {
            name: format!("v_telemetry_{}", level.suffix()),
            sql: buckets(layout, level),
        });
    }
    let mut taken: BTreeSet<String> = views.iter().map(|v| v.name.clone()).collect();
    for class in &layout.classes {
        let mut name = plain_name(class);
        if !taken.insert(name.clone()) {
            name = format!("{name}_{}", class.class_no);
            taken.insert(name.clone());
        }
        views.push(View {
            name,
            sql: wide(class),
        });
    }
    views
}

/// Columns of every device's readings or buckets. `branches` are queries of one device, `d`: said inside each,
/// the condition reaches the index and the sums below it; as a join above them it would not.
fn of_devices(columns: &str, branches: &[String]) -> String {
    format!(
        "SELECT t.ts, a.id AS asset, a.name AS asset_name, d.name AS device, c.name AS class, a.site, {columns}
         FROM devices d JOIN classes c USING (class_no) LEFT JOIN assets a ON a.device = d.name
         CROSS JOIN LATERAL ({}) AS t",
        branches.join(" UNION ALL ")
    )
}

/// Every reading: a branch per column, each with its metric as a constant, so that a condition on the metric
/// leaves the other branches out, and only the columns asked for are read.
fn readings(layout: &Layout) -> String {
    let mut branches = vec![
        "SELECT o.ts, m.name AS metric, o.value
         FROM overflow o JOIN metrics m USING (metric_no) WHERE o.device_no = d.device_no"
            .to_owned(),
    ];
    for class in &layout.classes {
        for (column, metric) in columns_and_metrics(class) {
            branches.push(format!(
                "SELECT ts, {}::text, {column} FROM {} WHERE device_no = d.device_no AND d.class_no = {} AND {column} IS NOT NULL",
                literal(&metric),
                class.table(),
                class.class_no
            ));
        }
    }
    of_devices("t.metric, t.value", &branches)
}

fn buckets(layout: &Layout, level: Level) -> String {
    let seconds = level.bucket_ms() / 1_000;
    let bucket = if layout.has_timescale() {
        format!("time_bucket(interval '{seconds} seconds', ts)")
    } else {
        format!("date_bin(interval '{seconds} seconds', ts, timestamptz '2000-01-03 00:00Z')")
    };
    let of_raw = |column: &str| {
        format!(
            "avg({column}) AS mean, min({column}) AS min, max({column}) AS max, count({column}) AS n"
        )
    };
    let mut branches = vec![format!(
        "SELECT o.ts, m.name AS metric, o.mean, o.min, o.max, o.n
         FROM (SELECT device_no, metric_no, {bucket} AS ts, {} FROM overflow GROUP BY 1, 2, 3) AS o
         JOIN metrics m USING (metric_no) WHERE o.device_no = d.device_no",
        of_raw("value")
    )];
    for class in &layout.classes {
        let class_no = class.class_no;
        for (column, metric) in columns_and_metrics(class) {
            let metric = literal(&metric);
            branches.push(if layout.has_timescale() {
                let generation = generation_of(class, &column);
                format!(
                    "SELECT ts, {metric}::text, {column}_sum / {column}_n, {column}_min, {column}_max, {column}_n
                     FROM {} WHERE device_no = d.device_no AND d.class_no = {class_no} AND {column}_n > 0",
                    class.aggregate(level, generation)
                )
            } else {
                format!(
                    "SELECT {bucket}, {metric}::text, {} FROM {}
                     WHERE device_no = d.device_no AND d.class_no = {class_no} AND {column} IS NOT NULL GROUP BY 1",
                    of_raw(&column),
                    class.table()
                )
            });
        }
    }
    of_devices("t.metric, t.mean, t.min, t.max, t.n", &branches)
}

fn generation_of(class: &ClassLayout, column: &str) -> i32 {
    let generations = class.all_generations();
    let holds = |g: &i32| class.columns_of_generation(*g).iter().any(|c| c == column);
    generations.into_iter().find(holds).unwrap_or(0)
}

/// `health` and m0, m1, ..., with the names people know.
fn columns_and_metrics(class: &ClassLayout) -> Vec<(String, String)> {
    let health = (
        "health".to_owned(),
        forecare_store::HEALTH_METRIC.to_owned(),
    );
    let metrics = class.columns.iter().enumerate();
    std::iter::once(health)
        .chain(metrics.map(|(i, m)| (format!("m{i}"), m.as_str().to_owned())))
        .collect()
}

/// The class's table with its metrics as columns.
fn wide(class: &ClassLayout) -> String {
    let mut taken: BTreeSet<String> = ["ts", "asset", "asset_name", "device", "site", "health"]
        .map(str::to_owned)
        .into();
    let mut columns = String::new();
    for (i, metric) in class.columns.iter().enumerate() {
        let mut name = cut(metric.as_str(), NAME_BYTES_MAX).to_owned();
        if !taken.insert(name.clone()) {
            name = format!("{}_m{i}", cut(metric.as_str(), NAME_BYTES_MAX - 8));
            taken.insert(name.clone());
        }
        columns.push_str(&format!(", t.m{i} AS \"{}\"", name.replace('"', "\"\"")));
    }
    format!(
        "SELECT t.ts, a.id AS asset, a.name AS asset_name, d.name AS device, a.site, t.health{columns}
         FROM {} t JOIN devices d USING (device_no) LEFT JOIN assets a ON a.device = d.name",
        class.table()
    )
}

/// `v_` and the class's name in lower-case letters, digits and `_`.
fn plain_name(class: &ClassLayout) -> String {
    let name = class.name.as_str().to_lowercase();
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    format!("v_{}", cut(&plain, NAME_BYTES_MAX - 16))
}

/// The longest beginning of at most `bytes` bytes.
fn cut(text: &str, bytes: usize) -> &str {
    let ends = text.char_indices().map(|(i, c)| i + c.len_utf8());
    let end = ends.take_while(|end| *end <= bytes).last().unwrap_or(0);
    &text[..end]
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What `v_kpis` counts, for those who compare it with the console.
const KPIS: &str = "Tickets that alarms opened, of all time, by class and failure mode. precision: as alarms are judged, a part with \
    much of its life left (too_early) is half a miss. lead_hours_p50: from detection to the last resolution. The figures of console \
    and API differ: they are of a period, too_early is a miss, the lead time runs from the opening to the failure or the begin of \
    the work, and response and resolution are of all tickets. ";

/// The views that do not depend on the catalogue.
const FIXED: [(&str, &str); 11] = [
    (
        "v_latest",
        "SELECT l.ts, a.id AS asset, a.name AS asset_name, d.name AS device, c.name AS class, a.site, r.metric, r.value
         FROM latest l JOIN devices d USING (device_no) JOIN classes c USING (class_no)
         LEFT JOIN assets a ON a.device = d.name
         CROSS JOIN LATERAL (
             SELECT 'health'::text AS metric, l.health AS value
             UNION ALL
             SELECT m.name, l.readings[k.column_no + 1]
             FROM class_columns k JOIN metrics m USING (metric_no) WHERE k.class_no = d.class_no) AS r
         WHERE r.value IS NOT NULL",
    ),
    (
        "v_health",
        "SELECT h.at AS ts, a.id AS asset, a.name AS asset_name, a.device, a.class, a.site,
             (h.body->>'health')::float8 AS health, (h.body->>'anomaly')::float8 AS anomaly,
             (h.body->'rul'->>'p10_hours')::float8 AS rul_p10_hours,
             (h.body->'rul'->>'p50_hours')::float8 AS rul_p50_hours,
             (h.body->'rul'->>'p90_hours')::float8 AS rul_p90_hours,
             s.online, p.mode AS worst_mode, p.probability AS worst_probability
         FROM assets a LEFT JOIN health h ON h.device = a.device LEFT JOIN statuses s ON s.device = a.device
         LEFT JOIN LATERAL (
             SELECT e->>'mode' AS mode, (e->>'probability')::float8 AS probability
             FROM json_array_elements(h.body->'prognoses') AS e ORDER BY 2 DESC LIMIT 1) AS p ON true",
    ),
    (
        "v_alarms",
        "SELECT l.id, a.id AS asset, a.name AS asset_name, l.device, a.class, a.site,
             l.body->>'mode' AS mode, l.body->>'source' AS source, l.body->>'severity' AS severity,
             l.active, l.acknowledged_at IS NOT NULL AS acknowledged, l.acknowledged_by, l.acknowledged_at,
             l.raised_at, l.updated_at, l.cleared_at, (l.body->>'strength')::float8 AS strength,
             l.body->'contributions'->0->>'name' AS metric, l.body->'contributions'->0->>'reason' AS reason
         FROM alarms l LEFT JOIN assets a ON a.device = l.device",
    ),
    (
        "v_tickets",
        "SELECT t.id, t.asset, a.name AS asset_name, t.body->>'device' AS device, a.class, a.site, t.mode,
             t.body->>'state' AS state, t.open, t.body->>'priority' AS priority, t.body->>'title' AS title,
             t.body->>'technician' AS technician,
             (t.body->>'detected_at')::timestamptz AS detected_at, t.opened_at,
             h.first_response_at, t.due_at, h.resolved_at,
             t.body->'verdict'->>'verdict' AS verdict,
             (t.body->'decision'->>'probability')::float8 AS probability,
             (t.body->'decision'->>'cost_of_failure')::float8 AS cost_of_failure,
             (t.body->'decision'->>'cost_of_acting')::float8 AS cost_of_acting,
             coalesce(t.body->>'kind', 'predictive') AS kind,
             coalesce(t.body->'origin'->>'from', 'alarm') AS origin
         FROM tickets t LEFT JOIN assets a ON a.id = t.asset
         CROSS JOIN LATERAL (
             SELECT min((e->>'at')::timestamptz) FILTER (WHERE e->'by'->>'channel' <> 'system') AS first_response_at,
                 max((e->>'at')::timestamptz) FILTER (WHERE e->>'to' = 'resolved') AS resolved_at
             FROM json_array_elements(t.body->'history') AS e) AS h",
    ),
    (
        "v_parts",
        "SELECT i.part, i.depot, coalesce(s.on_hand, 0) AS on_hand, i.soft, i.hard,
             coalesce(s.on_hand, 0) - i.soft - i.hard AS free, i.back_ordered, coalesce(s.in_repair, 0) AS in_repair
         FROM (
             SELECT part, depot, sum(soft)::bigint AS soft, sum(hard)::bigint AS hard,
                 sum(back_ordered)::bigint AS back_ordered
             FROM (
                 SELECT part, depot, 0 AS soft, 0 AS hard, 0 AS back_ordered FROM stock
                 UNION ALL
                 SELECT part, depot,
                     CASE WHEN supply <> 'back_order' AND state = 'soft' THEN quantity - used ELSE 0 END,
                     CASE WHEN supply <> 'back_order' AND state <> 'soft' THEN quantity - used ELSE 0 END,
                     CASE WHEN supply = 'back_order' THEN quantity - used ELSE 0 END
                 FROM reservations WHERE live) AS held
             GROUP BY part, depot) AS i
         LEFT JOIN stock s USING (part, depot)",
    ),
    (
        "v_reservations",
        "SELECT r.id, r.ticket, t.asset, r.part, r.quantity, r.used, r.state, r.live, r.supply, r.depot, r.transfer_to,
             r.reserved_at, r.needed_at, r.available_at, r.expires_at
         FROM reservations r JOIN tickets t ON t.id = r.ticket",
    ),
    (
        "v_decisions",
        "SELECT (e.body->>'at')::timestamptz AS ts, a.id AS asset, a.name AS asset_name, e.device, a.class, a.site,
             e.body->>'mode' AS mode, (e.body->>'probability')::float8 AS probability,
             e.body->>'probability_source' AS probability_source,
             (e.body->>'horizon_hours')::float8 AS horizon_hours,
             (e.body->>'cost_of_failure')::float8 AS cost_of_failure,
             (e.body->>'cost_of_acting')::float8 AS cost_of_acting,
             (e.body->>'expected_cost_of_waiting')::float8 AS expected_cost_of_waiting,
             (e.body->>'act')::boolean AS act, e.body->>'why' AS why
         FROM decisions e LEFT JOIN assets a ON a.device = e.device",
    ),
    // Of what alarms opened only: the others predicted nothing. A part with much of its life left is half a miss, as
    // the care desk counts.
    (
        "v_kpis",
        "SELECT a.class, t.mode, count(*) AS tickets, count(*) FILTER (WHERE t.open) AS open_tickets,
             count(*) FILTER (WHERE x.verdict IS NOT NULL) AS resolved,
             count(*) FILTER (WHERE x.verdict = 'confirmed') AS confirmed,
             count(*) FILTER (WHERE x.verdict = 'confirmed')
                 / nullif((count(x.verdict) - 0.5 * count(*) FILTER (WHERE x.verdict = 'too_early'))::float8, 0) AS precision,
             (percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM x.resolved_at - x.detected_at))
                 FILTER (WHERE x.verdict = 'confirmed') / 3600)::float8 AS lead_hours_p50,
             (percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM x.first_response_at - x.opened_at))
                 / 3600)::float8 AS first_response_hours_p50,
             (percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM x.resolved_at - x.opened_at))
                 / 3600)::float8 AS resolve_hours_p50
         FROM tickets t JOIN v_tickets x ON x.id = t.id LEFT JOIN assets a ON a.id = t.asset
         WHERE x.origin = 'alarm'
         GROUP BY a.class, t.mode",
    ),
    (
        "v_ingest",
        "SELECT a.id AS asset, a.name AS asset_name, a.device, a.class, a.site, s.online, l.ts AS newest_at,
             coalesce(c.n, 0) AS conflicts
         FROM assets a LEFT JOIN statuses s ON s.device = a.device LEFT JOIN devices d ON d.name = a.device
         LEFT JOIN latest l USING (device_no)
         LEFT JOIN (SELECT device, count(*) AS n FROM conflicts GROUP BY device) AS c ON c.device = a.device",
    ),
    (
        "v_rejections",
        "SELECT reason, n FROM rejection_counts",
    ),
    (
        "v_events",
        "SELECT e.ts, a.id AS asset, a.name AS asset_name, e.device, a.class, a.site, e.code, e.severity,
             nullif(e.component, '') AS component, e.message
         FROM events e LEFT JOIN assets a ON a.device = e.device",
    ),
];

#[cfg(test)]
mod tests {
    use forecare_domain::{ClassName, MetricName};

    use super::*;
    use crate::internals::Internals;

    fn class(class_no: i32, name: &str, metrics: &[&str]) -> ClassLayout {
        ClassLayout {
            class_no,
            name: ClassName::new(name).unwrap(),
            columns: metrics
                .iter()
                .map(|m| MetricName::new(m).unwrap())
                .collect(),
            generations: vec![0; metrics.len()],
            catalogue_columns: None,
        }
    }

    #[test]
    fn two_classes_never_share_a_view() {
        let layout = Layout {
            classes: vec![
                class(1, "screw-pump", &[]),
                class(2, "screw_pump", &[]),
                class(3, "alarms", &[]),
            ],
            internals: Some(Internals {
                oldest: String::new(),
                stale: None,
            }),
            chunk_ms: None,
        };
        let names: BTreeSet<String> = all(&layout).into_iter().map(|v| v.name).collect();
        assert_eq!(names.len(), FIXED.len() + 4 + 3);
        assert!(names.contains("v_screw_pump") && names.contains("v_screw_pump_2"));
        assert!(names.contains("v_alarms_3"));
    }

    #[test]
    fn two_metrics_never_share_a_column() {
        let long = "ä".repeat(40);
        let longer = format!("{long}b");
        let sql = wide(&class(1, "c", &[&long, &longer, "ts"]));
        assert!(
            sql.contains(&format!("t.m0 AS \"{}\"", "ä".repeat(31))),
            "{sql}"
        );
        assert!(
            sql.contains(&format!("t.m1 AS \"{}_m1\"", "ä".repeat(27))),
            "{sql}"
        );
        assert!(sql.contains("t.m2 AS \"ts_m2\""), "{sql}");
    }

    #[test]
    fn a_name_with_a_quote_stays_a_text() {
        assert_eq!(literal("it's"), "'it''s'");
    }
}
