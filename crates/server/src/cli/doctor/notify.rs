//! Who is told: channels that can be used, names that lead to somebody.

use forecare_domain::Clock;
use forecare_registry::{Body, Purpose, RecordId, RecordKind, Technician};
use forecare_store::StoredRecord;
use forecare_store_sqlite::SqliteStore;
use forecare_store_timescale::TimescaleStore;

use super::{Findings, Patient};
use crate::app::check_automation;
use crate::clock::SystemClock;
use crate::consents::{Refusals, all};
use crate::home::DATABASE;
use crate::notifier::{Speech, unreachable_names};
use crate::storage::settings;

const CHECK: &str = "notify";

pub(super) async fn examine(patient: &Patient, findings: &mut Findings) {
    examine_automation(patient, findings).await;
    examine_consents(patient, findings).await;
    let speech = match Speech::open(&patient.config) {
        Ok(speech) => speech,
        Err(error) => return findings.failed(CHECK, &error),
    };
    let names: Vec<&str> = speech.channels.names().collect();
    if names.is_empty() {
        return findings.ok(
            CHECK,
            "no channel is configured: nobody is told of anything",
        );
    }
    if let [first, ..] = speech.channels.untrusting() {
        findings.warn(
            CHECK,
            format!(
                "channels {}: nothing can be sent over TLS, because the system has no certificate authorities",
                speech.channels.untrusting().join(", ")
            ),
            format!(
                "install them (Debian: ca-certificates), or name the PEM file of the server's: [notify.channel.{first}] ca_file"
            ),
        );
    }
    // Without a store that can be read, the people of the configuration alone.
    let known = known(patient).await.unwrap_or_default();
    let nobody = unreachable_names(&patient.config, &speech, &known);
    if nobody.is_empty() {
        findings.ok(
            CHECK,
            format!(
                "channels {}; every name leads to somebody",
                names.join(", ")
            ),
        );
    } else {
        findings.warn(
            CHECK,
            nobody.join("; "),
            "add a [[notify.person]] with an address, or a technician with channels to the registry",
        );
    }
}

/// Whom and what rules of automation name: in the catalogue, or active in the registry.
async fn examine_automation(patient: &Patient, findings: &mut Findings) {
    const CHECK: &str = "automation";
    let rules = &patient.config.care.automation;
    if rules.is_empty() {
        return;
    }
    // What is wrong with them was said with the catalogue.
    if check_automation(&patient.config, &patient.catalogue).is_err() {
        return;
    }
    let known = known(patient).await.unwrap_or_default();
    let of_catalogue = &patient.catalogue.technicians;
    let is_known = |who: &str| {
        of_catalogue.iter().any(|t| t.name == who)
            || known.iter().any(|(_, t)| t.active && t.name == who)
    };
    let has = |skills: &[String], skill: &str| skills.iter().any(|s| s == skill);
    let is_held = |skill: &str| {
        of_catalogue.iter().any(|t| has(&t.skills, skill))
            || known.iter().any(|(_, t)| t.active && has(&t.skills, skill))
    };
    let mut nobody: Vec<String> = rules
        .technicians()
        .filter(|(_, who)| !is_known(who))
        .map(|(rule, who)| format!("rule {rule} assigns to \"{who}\""))
        .collect();
    nobody.extend(
        rules
            .skills()
            .filter(|(_, skill)| !is_held(skill))
            .map(|(rule, skill)| format!("rule {rule} asks for the skill \"{skill}\"")),
    );
    if nobody.is_empty() {
        let n_rules = rules.all().len();
        findings.ok(
            CHECK,
            format!("{n_rules} rules; whom and what they assign to is known"),
        );
    } else {
        findings.fail(
            CHECK,
            format!("{}: nobody is, or has, that", nobody.join("; ")),
            "write names and skills as the registry or the catalogue does",
        );
    }
}

/// How many customers do not agree to what their machines' data is used for.
async fn examine_consents(patient: &Patient, findings: &mut Findings) {
    let kinds = [RecordKind::Customer, RecordKind::Asset];
    let Some(found) = records(patient, kinds).await else {
        return;
    };
    let [customers, assets] = found;
    if customers.is_empty() {
        return;
    }
    let (presumed, now) = (&patient.config.registry.consent, SystemClock.now());
    let refused = |purpose| {
        let refused = Refusals::of(&customers, &assets, presumed, purpose, now);
        format!(
            "{} customers with {} machines",
            refused.customers.len(),
            refused.assets.len()
        )
    };
    findings.ok(
        "consents",
        format!(
            "do not agree to prediction: {} (no tickets before failures); to model_training: {} (left out of training)",
            refused(Purpose::Prediction),
            refused(Purpose::ModelTraining)
        ),
    );
}

/// Technicians of the registry; the store may belong to a running service.
async fn known(patient: &Patient) -> Option<Vec<(RecordId, Technician)>> {
    let [found] = records(patient, [RecordKind::Technician]).await?;
    let technicians = found.into_iter().filter_map(|r| match r.body {
        Some(Body::Technician(technician)) if technician.active => Some((r.record.id, technician)),
        Some(_) | None => None,
    });
    Some(technicians.collect())
}

/// Records of the registry, by kind; the store may belong to a running service.
async fn records<const N: usize>(
    patient: &Patient,
    kinds: [RecordKind; N],
) -> Option<[Vec<StoredRecord>; N]> {
    let mut found = Vec::with_capacity(N);
    if patient.config.store.url.is_empty() {
        let file = patient.home.join(DATABASE);
        for kind in kinds {
            found.push(SqliteStore::read_records(&file, kind).ok()?);
        }
        return found.try_into().ok();
    }
    let settings = settings(&patient.config.store).ok()?;
    let opened = TimescaleStore::open_to_examine(settings, &patient.catalogue).await;
    let store = opened.ok()??;
    for kind in kinds {
        match all(&store, kind).await {
            Ok(records) => found.push(records),
            Err(_unreadable) => break,
        }
    }
    store.close().await;
    found.try_into().ok()
}
