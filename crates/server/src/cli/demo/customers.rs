//! Whose the simulated machines are: an invented customer per depot, so that the desk has somebody to care for.

use anyhow::{Context, Result, bail};
use forecare_domain::{Asset, Timestamp};
use forecare_registry::{Body, Change, RecordId, RecordKind, RecordWrite};
use forecare_store::{RecordCommit, RecordFilter, RecordPage, RecordsOutcome, Store, forecare};
use serde_json::{Value, json};

/// Rules for tiers of the demo.
pub(super) const TIERS: &str = r#"[
    { name = "gold", yearly_value_min = 100000, contract_kinds = ["full-service"] },
    { name = "silver", contract_kinds = ["full-service", "inspection"] },
    { name = "standard" },
]"#;

/// Invented firms: id, name, contact, yearly value, kind of contract.
const CUSTOMERS: [(&str, &str, &str, f64, &str); 3] = [
    (
        "C-1001",
        "Nordwind Foods",
        "Inga Petersen",
        240_000.0,
        "full-service",
    ),
    (
        "C-1002",
        "Saale Glass",
        "Tom Richter",
        84_000.0,
        "inspection",
    ),
    ("C-1003", "Isar Precision", "Eva Brandl", 31_000.0, ""),
];

fn put(kind: RecordKind, id: &str, body: Value) -> Result<RecordWrite> {
    let id = RecordId::new(id)?;
    let body =
        Body::parse(kind, body).with_context(|| format!("the demo's {} {id}", kind.label()))?;
    Ok(RecordWrite {
        kind,
        id,
        if_version: None,
        change: Change::Put(Box::new(body)),
    })
}

/// Stores customers, contracts, places and what `assets` are, where there are no customers yet.
///
/// # Errors
/// The store cannot be reached.
pub(super) async fn store(store: &dyn Store, assets: &[Asset], at: Timestamp) -> Result<()> {
    let one = RecordPage {
        after: None,
        limit: 1,
    };
    let known = store
        .records(RecordKind::Customer, &RecordFilter::default(), &one)
        .await?;
    if !known.is_empty() {
        return Ok(());
    }
    let day = |days: f64| forecare_registry::Date::of(at.plus_hours(days * 24.0));
    let hours = json!({"time_zone": "Europe/Berlin", "week": {
        "mon": ["07:00-18:00"], "tue": ["07:00-18:00"], "wed": ["07:00-18:00"], "thu": ["07:00-18:00"], "fri": ["07:00-16:00"]}});
    let calendar = json!({"name": "Office hours", "hours": hours});
    let mut writes = vec![put(RecordKind::Calendar, "office", calendar)?];
    let mut depots: Vec<&str> = assets
        .iter()
        .filter_map(|a| Some(a.depot.as_ref()?.as_str()))
        .collect();
    depots.sort_unstable();
    depots.dedup();
    for (i, depot) in depots.into_iter().enumerate() {
        let (id, name, contact, yearly, contract) = CUSTOMERS[i % CUSTOMERS.len()];
        // More depots than names: the same firm's next plant.
        let id = if i < CUSTOMERS.len() {
            id.to_owned()
        } else {
            format!("{id}-{i}")
        };
        let mail = format!("{}@example.com", contact.to_lowercase().replace(' ', "."));
        let consent =
            json!([{"purpose": "prediction", "given": true, "at": at.plus_hours(-24.0 * 400.0)}]);
        let customer = json!({"name": name, "value": {"yearly": yearly}, "data_consents": consent, "contacts": [{
            "id": "maintenance", "name": contact, "role": "maintenance", "language": "en",
            "channels": [{"kind": "email", "address": mail}]}]});
        writes.push(put(RecordKind::Customer, &id, customer)?);
        let (plant, line) = (format!("plant-{depot}"), format!("plant-{depot}-air"));
        let site = json!({"name": format!("{name}, plant {depot}"), "level": "site", "time_zone": "Europe/Berlin"});
        writes.push(put(RecordKind::Location, &plant, site)?);
        let air = json!({"name": "Compressed air", "level": "line", "parent": plant});
        writes.push(put(RecordKind::Location, &line, air)?);
        if !contract.is_empty() {
            let body = json!({"customer": id, "kind": contract, "valid_from": day(-400.0), "valid_to": day(330.0),
                "coverage": {"locations": [plant]}, "calendar": "office",
                "targets": [{"priority": "P1", "response_hours": 4.0, "resolution_hours": 24.0},
                            {"priority": "P2", "response_hours": 8.0, "resolution_hours": 72.0}],
                "includes": {"labour": true}});
            writes.push(put(RecordKind::Contract, &format!("K-{id}"), body)?);
        }
        for (n, asset) in assets.iter().enumerate() {
            if asset.depot.as_ref().is_none_or(|d| d.as_str() != depot) {
                continue;
            }
            let age_days = 300.0 + 37.0 * f64::from(u32::try_from(n % 40)?);
            let body = json!({"serial": format!("SC-{:05}", 40_000 + n * 17), "model": "SC 75", "manufacturer": "Kessel & Sohn",
                "customer": id, "installed_on": day(-age_days), "commissioned_on": day(-age_days + 14.0),
                "warranty_until": day(730.0 - age_days),
                "positions": [{"location": line, "from": at.plus_hours(-age_days * 24.0)}]});
            writes.push(put(RecordKind::Asset, asset.id.as_str(), body)?);
        }
    }
    let commit = RecordCommit {
        writes,
        by: forecare(),
        at,
    };
    match store.commit_records(commit).await? {
        RecordsOutcome::Stored(_) => Ok(()),
        RecordsOutcome::Refused(faults) => {
            let first = faults
                .first()
                .map(|f| format!("{} {}: {}", f.record, f.field, f.detail));
            bail!(
                "the demo's customers are refused: {}",
                first.unwrap_or_default()
            )
        }
    }
}
