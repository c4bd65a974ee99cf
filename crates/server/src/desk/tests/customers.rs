//! What customers agree to, and what is written to them.

use forecare_api::{Desk, Work, WorkRequest};
use forecare_care::work::WorkStep;
use forecare_domain::{NoticeKind, TicketId, Visibility};
use forecare_registry::{Purpose, RecordKind};
use forecare_store::PageRequest;
use serde_json::{Value, json};

use super::opening::memory;
use super::{Office, eve, hour, office, office_with};
use crate::config::Config;
use crate::consents::refusing;

const MODE: &str = "bearing-wear";

fn customer(consents: Value) -> Value {
    json!({"name": "Acme", "data_consents": consents})
}

fn said(purpose: &str, given: bool) -> Value {
    json!([{"purpose": purpose, "given": given, "at": "2025-01-01T00:00:00Z"}])
}

async fn of_acme(office: &Office, consents: Value) {
    office.machines(&["c1"]).await;
    let asset = json!({"customer": "acme"});
    office
        .records(&[
            (RecordKind::Customer, "acme", customer(consents)),
            (RecordKind::Asset, "c1", asset),
        ])
        .await;
}

async fn last_decision(office: &Office) -> forecare_domain::Decision {
    let newest = PageRequest {
        before: None,
        limit: 1,
    };
    let found = office.desk.store.decisions(None, newest).await.unwrap();
    found.into_iter().next().unwrap().item
}

#[tokio::test]
async fn no_ticket_is_opened_before_a_failure_for_who_does_not_have_it_predicted() {
    let office = office(memory());
    of_acme(&office, said("prediction", false)).await;
    office.alarmed(&["c1"], MODE).await;
    assert!(office.tickets().await.is_empty());
    let decision = last_decision(&office).await;
    assert!(
        !decision.act
            && decision
                .why
                .ends_with("Acme does not have failures of their machines predicted."),
        "{}",
        decision.why
    );
    // Taken back: the next look at the same evidence opens it.
    of_acme(&office, said("prediction", true)).await;
    office.alarmed(&["c1"], MODE).await;
    assert_eq!(office.tickets().await.len(), 1);
    assert!(last_decision(&office).await.act);
}

#[tokio::test]
async fn who_has_said_nothing_is_taken_to_agree_as_configured() {
    let mut config = Config::load(None, &[]).unwrap();
    assert!(config.registry.consent.prediction && config.registry.consent.model_training);
    config.registry.consent.prediction = false;
    config.registry.consent.model_training = false;
    let presumed = config.registry.consent;
    let office = office_with(memory(), config);
    of_acme(&office, json!([])).await;
    office.alarmed(&["c1"], MODE).await;
    assert!(office.tickets().await.is_empty());
    let store = &*office.desk.store;
    let refused = refusing(store, &presumed, Purpose::ModelTraining, hour(1)).await;
    assert_eq!(refused.unwrap().len(), 1);
    of_acme(&office, said("model_training", true)).await;
    let refused = refusing(store, &presumed, Purpose::ModelTraining, hour(1)).await;
    assert!(refused.unwrap().is_empty());
}

#[tokio::test]
async fn a_public_note_is_told_once_and_an_internal_one_never() {
    let office = office(memory());
    office.alarmed(&["c1"], MODE).await;
    let note = async |text: &str, visibility, key: Option<&str>| {
        let request = WorkRequest {
            step: Work::Step(WorkStep::Note {
                text: text.to_owned(),
                visibility,
            }),
            if_version: None,
            idempotency_key: key.map(ToOwned::to_owned),
        };
        Desk::work(&office.desk, TicketId(1), request, eve())
            .await
            .unwrap();
    };
    for _ in 0..2 {
        note("We come on Monday", Visibility::Public, Some("k")).await;
    }
    note("He is angry", Visibility::Internal, None).await;
    let notices = office.desk.store.unrouted_notices(100).await.unwrap();
    let told: Vec<&str> = notices
        .iter()
        .filter_map(|n| {
            let NoticeKind::TicketReplied { text, by } = &n.what else {
                return None;
            };
            assert_eq!(by, "Eve");
            Some(text.as_str())
        })
        .collect();
    assert_eq!(told, ["We come on Monday"]);
    // Another one in the same words is another one.
    office.clock.set(hour(1));
    note("We come on Monday", Visibility::Public, None).await;
    let notices = office.desk.store.unrouted_notices(100).await.unwrap();
    let replied = |n: &&forecare_domain::Notice| n.what.label() == "ticket.replied";
    assert_eq!(notices.iter().filter(replied).count(), 2);
}
