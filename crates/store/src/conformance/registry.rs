//! Master data: records under the callers' ids, their versions, and what holds between them.

use std::collections::BTreeSet;
use std::sync::Arc;

use forecare_domain::{Actor, Channel};
use forecare_registry::{
    Action, Body, Change, OutcomeKind, Person, RecordFault, RecordFaultKind, RecordId, RecordKind,
    RecordRef, RecordWrite,
};
use serde_json::{Value, json};

use super::fixtures::{ALL, hour, items, open, register};
use crate::{
    Attempt, DeliveryFilter, DeliveryState, Erasure, NewDelivery, RECORD_VERSIONS_KEPT,
    RecordCommit, RecordFilter, RecordPage, RecordsOutcome, Store, StoreError, StoredFile,
};

#[must_use]
pub fn record(kind: RecordKind, id: &str) -> RecordRef {
    RecordRef::new(kind, RecordId::new(id).unwrap())
}

#[must_use]
pub fn put(kind: RecordKind, id: &str, body: Value) -> RecordWrite {
    RecordWrite {
        kind,
        id: RecordId::new(id).unwrap(),
        if_version: None,
        change: Change::Put(Box::new(Body::read(kind, body).unwrap())),
    }
}

#[must_use]
pub fn delete(kind: RecordKind, id: &str) -> RecordWrite {
    RecordWrite {
        kind,
        id: RecordId::new(id).unwrap(),
        if_version: None,
        change: Change::Delete,
    }
}

fn crm() -> Actor {
    Actor {
        name: "crm".to_owned(),
        channel: Channel::Api,
    }
}

async fn commit(store: &Arc<dyn Store>, at: i64, writes: Vec<RecordWrite>) -> RecordsOutcome {
    let commit = RecordCommit {
        writes,
        by: crm(),
        at: hour(at),
    };
    store.commit_records(commit).await.unwrap()
}

async fn stored(store: &Arc<dyn Store>, at: i64, writes: Vec<RecordWrite>) -> Vec<OutcomeKind> {
    match commit(store, at, writes).await {
        RecordsOutcome::Stored(outcomes) => outcomes.into_iter().map(|o| o.kind).collect(),
        RecordsOutcome::Refused(faults) => panic!("refused: {faults:?}"),
    }
}

async fn refused(store: &Arc<dyn Store>, writes: Vec<RecordWrite>) -> Vec<RecordFault> {
    match commit(store, 1, writes).await {
        RecordsOutcome::Refused(faults) => faults,
        RecordsOutcome::Stored(outcomes) => panic!("stored: {outcomes:?}"),
    }
}

async fn list(store: &Arc<dyn Store>, kind: RecordKind, filter: RecordFilter) -> Vec<String> {
    let page = RecordPage {
        after: None,
        limit: 1_000,
    };
    let found = store.records(kind, &filter, &page).await.unwrap();
    found.into_iter().map(|r| r.record.id.into()).collect()
}

fn customer(name: &str) -> Value {
    json!({ "name": name })
}

pub async fn the_same_record_again_writes_nothing(store: Arc<dyn Store>) {
    let write = || {
        put(
            RecordKind::Customer,
            "c1",
            customer("Acme \"\u{202e}\u{1f600}'; DROP"),
        )
    };
    assert_eq!(
        stored(&store, 1, vec![write()]).await,
        [OutcomeKind::Created]
    );
    assert_eq!(
        stored(&store, 2, vec![write()]).await,
        [OutcomeKind::Unchanged]
    );
    let found = store
        .record(&record(RecordKind::Customer, "c1"))
        .await
        .unwrap();
    let found = found.unwrap();
    assert_eq!((found.version, found.updated_at), (1, hour(1)));
    assert_eq!(found.updated_by, crm());
    let Change::Put(body) = write().change else {
        panic!("a put")
    };
    assert_eq!(found.body, Some(*body));
    let history = store.record_history(&found.record, ALL).await.unwrap();
    assert_eq!(history.len(), 1);
    let missing = record(RecordKind::Customer, "c2");
    assert_eq!(store.record(&missing).await.unwrap(), None);
    // The same id is another record of another kind.
    assert_eq!(
        store.record(&record(RecordKind::Van, "c1")).await.unwrap(),
        None
    );
}

pub async fn every_kind_of_record_reads_back_as_written(store: Arc<dyn Store>) {
    register(&store, 1).await;
    let bodies = [
        (
            RecordKind::Calendar,
            "cal",
            json!({"name": "Office", "hours": {"time_zone": "Asia/Shanghai",
            "week": {"mon": ["08:00-12:00", "13:00-17:30"]},
            "holiday": [{"date": "2026-10-01", "title": "国庆节"}]}}),
        ),
        (
            RecordKind::Location,
            "site",
            json!({"name": "Werk 1", "level": "site",
            "position": {"latitude_deg": 53.55, "longitude_deg": 9.99}, "region": "north", "time_zone": "Europe/Berlin"}),
        ),
        (
            RecordKind::Location,
            "unit",
            json!({"name": "Unit", "level": "unit", "parent": "site"}),
        ),
        (
            RecordKind::Depot,
            "main",
            json!({"name": "Main", "address": "Dock 1"}),
        ),
        (
            RecordKind::Van,
            "v1",
            json!({"name": "HH-FC 1", "depot": "main"}),
        ),
        (
            RecordKind::Technician,
            "li-wei",
            json!({"name": "Li Wei", "skills": ["plc; ladder", "=1"],
            "certificates": [{"name": "high-voltage", "valid_until": "2027-01-31"}], "depot": "main", "van": "v1",
            "calendar": "cal", "home": {"latitude_deg": -0.5, "longitude_deg": 1e-9}, "active": false}),
        ),
        (
            RecordKind::Customer,
            "c1",
            json!({"name": "Acme", "value": {"yearly": 1234567.89},
            "contacts": [{"id": "p1", "name": "Ada", "role": "maintenance", "language": "zh-CN",
                "channels": [{"kind": "phone", "address": "+49 40 123"}],
                "consents": [{"purpose": "survey", "given": true, "at": "2026-01-01T00:00:00Z"}]}],
            "data_consents": [{"purpose": "prediction", "given": true, "at": "2026-01-01T00:00:00.123Z"}],
            "preferred_technicians": ["li-wei"], "note": "two\nlines"}),
        ),
        (
            RecordKind::Contract,
            "k1",
            json!({"customer": "c1", "kind": "full-service", "valid_from": "2026-01-01",
            "coverage": {"assets": ["asset-0"], "classes": ["pump"], "locations": ["site"]}, "calendar": "cal",
            "targets": [{"priority": "P1", "response_hours": 4, "resolution_hours": 24}],
            "includes": {"labour": true, "parts": ["BRG-1"]}}),
        ),
        (
            RecordKind::Asset,
            "asset-0",
            json!({"serial": "S-1", "model": "MX", "customer": "c1",
            "positions": [{"location": "unit", "from": "2026-01-01T00:00:00Z"}],
            "bill_of_parts": [{"part": "BRG-1", "quantity": 2}],
            "documents": [{"title": "Manual", "url": "https://example.com/m.pdf"}]}),
        ),
        (
            RecordKind::Lead,
            "l1",
            json!({"customer": "c1", "kind": "renewal", "title": "Renew", "contract": "k1",
            "asset": "asset-0", "opened_at": "2026-01-01T00:00:00Z", "value": 0.1}),
        ),
        (
            RecordKind::Article,
            "n1",
            json!({"title": "Bearing", "text": "# Grease\n\nNot too much.", "language": "en", "classes": ["pump"],
            "state": "published", "public": true, "from_ticket": 7}),
        ),
    ];
    // One list, the referring ones first.
    let writes = bodies.iter().rev();
    let writes = writes.map(|(kind, id, body)| put(*kind, id, body.clone()));
    stored(&store, 1, writes.collect()).await;
    for (kind, id, body) in bodies {
        let found = store.record(&record(kind, id)).await.unwrap().unwrap();
        assert_eq!(
            found.body,
            Some(Body::read(kind, body).unwrap()),
            "{kind:?}"
        );
    }
}

pub async fn a_list_of_records_is_stored_whole_or_not_at_all(store: Arc<dyn Store>) {
    let contract = json!({"customer": "c2", "kind": "basic", "valid_from": "2026-01-01"});
    let writes = vec![
        put(RecordKind::Customer, "c1", customer("Acme")),
        put(RecordKind::Contract, "k1", contract),
        put(RecordKind::Asset, "asset-0", json!({})),
    ];
    let faults = refused(&store, writes).await;
    let told: Vec<(usize, &str)> = faults.iter().map(|f| (f.index, f.field.as_str())).collect();
    assert_eq!(told, [(1, "customer"), (2, "id")]);
    assert_eq!(
        list(&store, RecordKind::Customer, RecordFilter::default()).await,
        [""; 0]
    );
    assert!(store.record_changes(0, 10).await.unwrap().is_empty());
}

pub async fn a_record_version_that_moved_on_is_refused(store: Arc<dyn Store>) {
    let write = |name: &str, if_version| RecordWrite {
        if_version,
        ..put(RecordKind::Customer, "c1", customer(name))
    };
    stored(&store, 1, vec![write("A", Some(0))]).await;
    stored(&store, 2, vec![write("B", Some(1))]).await;
    for version in [0, 1, 3] {
        let faults = refused(&store, vec![write("C", Some(version))]).await;
        assert_eq!(faults[0].kind, RecordFaultKind::Version { current: 2 });
    }
    stored(&store, 3, vec![delete(RecordKind::Customer, "c1")]).await;
    let again = stored(&store, 4, vec![write("D", Some(0))]).await;
    assert_eq!(again, [OutcomeKind::Created]);
    let found = store
        .record(&record(RecordKind::Customer, "c1"))
        .await
        .unwrap();
    assert_eq!(found.unwrap().version, 4);
}

pub async fn records_are_paged_by_id_and_found(store: Arc<dyn Store>) {
    let location = |id: &str, level: &str, parent: &str| {
        let body = json!({"name": format!("Ort {id}"), "level": level, "parent": parent});
        put(RecordKind::Location, id, body)
    };
    let mut writes = vec![
        put(
            RecordKind::Location,
            "root",
            json!({"name": "Werk Köln", "level": "site"}),
        ),
        put(RecordKind::Customer, "c9", customer("Müller & 100%_Söhne")),
    ];
    for n in 0..25 {
        writes.push(location(&format!("a-{n:02}"), "area", "root"));
        writes.push(location(&format!("L-{n:02}"), "line", "a-03"));
    }
    stored(&store, 1, writes).await;
    let mut walked = Vec::new();
    let mut after = None;
    loop {
        let page = RecordPage { after, limit: 7 };
        let filter = RecordFilter::default();
        let found = store
            .records(RecordKind::Location, &filter, &page)
            .await
            .unwrap();
        let Some(last) = found.last() else { break };
        after = Some(last.record.id.clone());
        walked.extend(found.into_iter().map(|r| String::from(r.record.id)));
    }
    let mut expected = walked.clone();
    expected.sort();
    expected.dedup();
    assert_eq!(
        (walked.len(), &walked),
        (51, &expected),
        "each once, by its bytes"
    );
    let of = |kind, target: &str| RecordFilter {
        refers_to: Some(record(kind, target)),
        text: None,
    };
    let text = |text: &str| RecordFilter {
        refers_to: None,
        text: Some(text.to_owned()),
    };
    let location = RecordKind::Location;
    assert_eq!(list(&store, location, of(location, "a-03")).await.len(), 25);
    assert_eq!(list(&store, location, of(location, "L-01")).await.len(), 0);
    assert_eq!(
        list(&store, location, of(RecordKind::Customer, "a-03"))
            .await
            .len(),
        0
    );
    assert_eq!(list(&store, location, text("KÖLN")).await, ["root"]);
    assert_eq!(list(&store, location, text("ort l-2")).await.len(), 5);
    let customer = RecordKind::Customer;
    assert_eq!(list(&store, customer, text("100%_s")).await, ["c9"]);
    for nothing in ["1000", "%", "_ü", "müllerx"] {
        let n = list(&store, customer, text(nothing)).await.len();
        assert_eq!(n, usize::from(nothing == "%"), "{nothing}");
    }
    let both = RecordFilter {
        text: Some("l-1".to_owned()),
        ..of(location, "a-03")
    };
    assert_eq!(list(&store, location, both).await.len(), 10);
}

pub async fn history_keeps_every_version_with_who_and_when(store: Arc<dyn Store>) {
    for (at, name) in [(1, "A"), (2, "B")] {
        stored(
            &store,
            at,
            vec![put(RecordKind::Customer, "c1", customer(name))],
        )
        .await;
    }
    stored(&store, 3, vec![delete(RecordKind::Customer, "c1")]).await;
    let key = record(RecordKind::Customer, "c1");
    let found = store.record(&key).await.unwrap().unwrap();
    assert_eq!((found.version, found.body), (3, None));
    assert_eq!(
        list(&store, RecordKind::Customer, RecordFilter::default()).await,
        [""; 0]
    );
    let history = store.record_history(&key, ALL).await.unwrap();
    let told: Vec<_> = history
        .iter()
        .map(|v| {
            let item = &v.item;
            let name = item.body.as_ref().map(|b| b.title().to_owned());
            (v.position, item.version, item.action, name, item.at)
        })
        .collect();
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(
        told,
        [
            (3, 3, Action::Delete, None, hour(3)),
            (2, 2, Action::Put, some("B"), hour(2)),
            (1, 1, Action::Put, some("A"), hour(1)),
        ]
    );
    assert!(history.iter().all(|v| v.item.by == crm()));
    let page = crate::PageRequest {
        before: Some(3),
        limit: 1,
    };
    let page = items(store.record_history(&key, page).await.unwrap());
    assert_eq!((page.len(), page[0].version), (1, 2));
}

pub async fn changes_are_read_in_order_each_once(store: Arc<dyn Store>) {
    for n in 0..5 {
        let writes = vec![
            put(RecordKind::Van, &format!("v{n}"), json!({"name": "Van"})),
            put(
                RecordKind::Depot,
                &format!("d{n}"),
                json!({"name": "Depot"}),
            ),
        ];
        stored(&store, n, writes).await;
    }
    let mut walked = Vec::new();
    let mut after = 0;
    loop {
        let found = store.record_changes(after, 3).await.unwrap();
        let Some(last) = found.last() else { break };
        assert!(found.iter().all(|v| v.position > after));
        after = last.position;
        walked.extend(found.into_iter().map(|v| v.item.record.id.to_string()));
    }
    let expected: Vec<String> = (0..5)
        .flat_map(|n| [format!("v{n}"), format!("d{n}")])
        .collect();
    assert_eq!(walked, expected);
    stored(&store, 9, vec![delete(RecordKind::Van, "v0")]).await;
    let found = items(store.record_changes(after, 10).await.unwrap());
    assert_eq!((found.len(), found[0].action), (1, Action::Delete));
}

pub async fn what_others_refer_to_cannot_go(store: Arc<dyn Store>) {
    let contract = json!({"customer": "c1", "kind": "basic", "valid_from": "2026-01-01"});
    let writes = vec![
        put(RecordKind::Customer, "c1", customer("Acme")),
        put(RecordKind::Contract, "k1", contract),
    ];
    stored(&store, 1, writes).await;
    let faults = refused(&store, vec![delete(RecordKind::Customer, "c1")]).await;
    assert_eq!(faults[0].kind, RecordFaultKind::InUse);
    let faults = refused(&store, vec![delete(RecordKind::Customer, "c2")]).await;
    assert_eq!(faults[0].kind, RecordFaultKind::NotFound);
    let both = || {
        vec![
            delete(RecordKind::Customer, "c1"),
            delete(RecordKind::Contract, "k1"),
        ]
    };
    assert_eq!(stored(&store, 2, both()).await, [OutcomeKind::Deleted; 2]);
    assert_eq!(stored(&store, 3, both()).await, [OutcomeKind::Unchanged; 2]);
}

pub async fn an_erased_person_is_in_no_version(store: Arc<dyn Store>) {
    let with = |people: &[&str]| {
        let contacts: Vec<Value> = people
            .iter()
            .map(|p| json!({"id": p, "name": format!("Name of {p}")}))
            .collect();
        put(
            RecordKind::Customer,
            "c1",
            json!({"name": "Acme", "contacts": contacts}),
        )
    };
    let key = record(RecordKind::Customer, "c1");
    let erasure = |person: &str| Erasure {
        record: key.clone(),
        person: Person::Contact(RecordId::new(person).unwrap()),
        by: crm(),
        at: hour(9),
    };
    for (at, people) in [(1, &["ada", "bo"][..]), (2, &["ada"]), (3, &["bo"])] {
        stored(&store, at, vec![with(people)]).await;
    }
    // Gone from the record already, but not from its history.
    let after = store.erase_person(erasure("ada")).await.unwrap();
    assert_eq!((after.version, after.updated_at), (4, hour(9)));
    assert_eq!(store.record(&key).await.unwrap(), Some(after));
    let history = store.record_history(&key, ALL).await.unwrap();
    let changes = store.record_changes(0, 100).await.unwrap();
    for versions in [&history, &changes] {
        assert_eq!(versions.len(), 4);
        let text = format!("{versions:?}");
        assert!(
            !text.contains("ada") && text.contains("Name of bo"),
            "{text}"
        );
    }
    assert_eq!(history[0].item.action, Action::Erase);
    let again = store.erase_person(erasure("ada")).await;
    assert!(matches!(again, Err(StoreError::NotFound(text)) if text.contains("ada")));
    let mut nobody = erasure("ada");
    nobody.record = record(RecordKind::Customer, "c7");
    assert!(matches!(
        store.erase_person(nobody).await,
        Err(StoreError::NotFound(_))
    ));
}

/// A delivery by mail that is due at hour 5.
fn mail_to(recipient: &str, address: &str, to_customer: bool) -> NewDelivery {
    NewDelivery {
        channel: "mail".to_owned(),
        recipient: recipient.to_owned(),
        address: address.to_owned(),
        language: "en".to_owned(),
        to_customer,
        digest: false,
        due_at: hour(5),
    }
}

/// Also of those sent long ago, under a name or address they had then; of what was to be sent, nothing is.
pub async fn an_erased_person_is_in_no_delivery(store: Arc<dyn Store>) {
    let known = |name: &str, address: &str| {
        let channels = json!([{"kind": "email", "address": address}]);
        let contacts = json!([{"id": "ada", "name": name, "channels": channels}]);
        put(
            RecordKind::Customer,
            "c1",
            json!({"name": "Acme", "contacts": contacts}),
        )
    };
    stored(&store, 1, vec![known("Ada", "ada@old.example")]).await;
    stored(&store, 2, vec![known("Ada L.", "ada@example.com")]).await;
    open(&store, 0, 3, Vec::new()).await;
    let notice = store.unrouted_notices(10).await.unwrap().remove(0).id;
    let deliveries = vec![
        mail_to("Ada", "ada@old.example", true),
        mail_to("Ada L.", "ada@example.com", true),
        mail_to("Bo", "office@example.com", true),
    ];
    store
        .route_notice(&notice, deliveries, hour(4))
        .await
        .unwrap();
    let first = Attempt {
        id: store.due_deliveries(hour(5), 10).await.unwrap()[0].id,
        attempts: 0,
        state: DeliveryState::Delivered,
        next_at: hour(5),
        error: None,
    };
    store
        .record_attempts(vec![first.clone()], hour(5))
        .await
        .unwrap();
    let erasure = Erasure {
        record: record(RecordKind::Customer, "c1"),
        person: Person::Contact(RecordId::new("ada").unwrap()),
        by: crm(),
        at: hour(9),
    };
    store.erase_person(erasure).await.unwrap();
    let all = DeliveryFilter::default();
    let mut found = store.deliveries(&all, ALL).await.unwrap();
    found.reverse();
    let text = format!("{found:?}").to_lowercase();
    assert!(!text.contains("ada"), "{text}");
    let states: Vec<DeliveryState> = found.iter().map(|d| d.item.state).collect();
    assert_eq!(
        states,
        [
            DeliveryState::Delivered,
            DeliveryState::Obsolete,
            DeliveryState::Waiting
        ]
    );
    let due = store.due_deliveries(hour(9), 10).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].recipient, "Bo");
    // What was sent meanwhile is not counted on what is no longer theirs.
    let late = Attempt {
        id: found[1].item.id,
        state: DeliveryState::Delivered,
        ..first
    };
    assert_eq!(store.record_attempts(vec![late], hour(9)).await.unwrap(), 0);
}

/// By name or id, whatever the address: people of the configuration have addresses that no record knows.
pub async fn an_erased_technician_is_in_no_delivery(store: Arc<dyn Store>) {
    let eve = json!({"name": "Eve", "channels": [{"kind": "email", "address": "eve@example.com"}]});
    stored(&store, 1, vec![put(RecordKind::Technician, "t-eve", eve)]).await;
    open(&store, 0, 3, Vec::new()).await;
    let notice = store.unrouted_notices(10).await.unwrap().remove(0).id;
    let deliveries = vec![
        mail_to("Eve", "eve@configured.example", false),
        mail_to("t-eve", "eve@example.com", false),
        mail_to("Eve", "another@customer.example", true),
    ];
    store
        .route_notice(&notice, deliveries, hour(4))
        .await
        .unwrap();
    let due = store.due_deliveries(hour(5), 10).await.unwrap();
    let dead = Attempt {
        id: due[0].id,
        attempts: 0,
        state: DeliveryState::Dead,
        next_at: hour(5),
        error: Some("eve@configured.example: no such user".to_owned()),
    };
    store.record_attempts(vec![dead], hour(5)).await.unwrap();
    let erasure = Erasure {
        record: record(RecordKind::Technician, "t-eve"),
        person: Person::Technician,
        by: crm(),
        at: hour(9),
    };
    store.erase_person(erasure).await.unwrap();
    let all = DeliveryFilter::default();
    let mut found = store.deliveries(&all, ALL).await.unwrap();
    found.reverse();
    let texts: Vec<String> = found.iter().map(|d| format!("{:?}", d.item)).collect();
    for text in &texts[..2] {
        assert!(!text.to_lowercase().contains("eve@"), "{text}");
    }
    let states: Vec<DeliveryState> = found.iter().map(|d| d.item.state).collect();
    let expected = [
        DeliveryState::Obsolete,
        DeliveryState::Obsolete,
        DeliveryState::Waiting,
    ];
    assert_eq!(states, expected);
    let retried = store.retry_delivery(found[0].item.id, hour(9)).await;
    assert!(matches!(retried, Err(StoreError::Conflict(_))));
}

pub async fn a_file_is_kept_once(store: Arc<dyn Store>) {
    let file = |digit: char, name: &str| StoredFile {
        sha256: digit.to_string().repeat(64),
        name: name.to_owned(),
        media_type: "text/plain".to_owned(),
        content: vec![0, 1, 2],
    };
    for name in ["first.txt", "again.txt"] {
        store.put_file(file('a', name)).await.unwrap();
    }
    store.put_file(file('b', "other.txt")).await.unwrap();
    let found = store.file(&"a".repeat(64)).await.unwrap();
    assert_eq!(found, Some(file('a', "first.txt")));
    let all = store.files().await.unwrap();
    let all: Vec<(&str, u64)> = all.iter().map(|f| (f.name.as_str(), f.bytes)).collect();
    assert_eq!(all, [("first.txt", 3), ("other.txt", 3)]);
    assert!(store.remove_file(&"a".repeat(64)).await.unwrap());
    assert!(!store.remove_file(&"a".repeat(64)).await.unwrap());
    assert_eq!(store.file(&"a".repeat(64)).await.unwrap(), None);
    assert!(store.file(&"b".repeat(64)).await.unwrap().is_some());
}

/// Clients that raise a counter, each by the version it read: none is lost.
pub async fn concurrent_writers_lose_no_version(store: Arc<dyn Store>) {
    const CLIENTS: usize = 8;
    const EACH: usize = 4;
    let first = json!({"name": "Acme", "value": {"yearly": 0.0}});
    stored(&store, 1, vec![put(RecordKind::Customer, "c1", first)]).await;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut n_done = 0;
                while n_done < EACH {
                    let key = record(RecordKind::Customer, "c1");
                    let found = store.record(&key).await.unwrap().unwrap();
                    let Some(Body::Customer(mut customer)) = found.body else {
                        panic!("a customer")
                    };
                    customer.value.yearly += 1.0;
                    let write = RecordWrite {
                        kind: key.kind,
                        id: key.id,
                        if_version: Some(found.version),
                        change: Change::Put(Box::new(Body::Customer(customer))),
                    };
                    match commit(&store, 2, vec![write]).await {
                        RecordsOutcome::Stored(_) => n_done += 1,
                        RecordsOutcome::Refused(faults) => {
                            let version = matches!(faults[0].kind, RecordFaultKind::Version { .. });
                            assert!(version, "{faults:?}");
                        }
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    let key = record(RecordKind::Customer, "c1");
    let found = store.record(&key).await.unwrap().unwrap();
    let n = CLIENTS * EACH;
    let Some(Body::Customer(customer)) = found.body else {
        panic!("a customer")
    };
    assert_eq!(customer.value.yearly, n as f64);
    assert_eq!(found.version, i64::try_from(n).unwrap() + 1);
    let history = store.record_history(&key, ALL).await.unwrap();
    let versions: BTreeSet<i64> = history.iter().map(|v| v.position).collect();
    assert_eq!(versions.len(), n + 1, "no version twice");
}

/// Some hang locations into others while others take those away: in the end nothing refers to nothing.
pub async fn references_hold_beside_concurrent_deletes(store: Arc<dyn Store>) {
    let clients: Vec<_> = (0..12_usize)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for step in 0..6_usize {
                    let site = format!("s{}", (n / 3 + step) % 4);
                    let unit = format!("u{n}");
                    let write = match n % 3 {
                        0 => put(
                            RecordKind::Location,
                            &site,
                            json!({"name": "S", "level": "site"}),
                        ),
                        1 => put(
                            RecordKind::Location,
                            &unit,
                            json!({"name": "U", "level": "unit", "parent": site}),
                        ),
                        _ => delete(RecordKind::Location, &site),
                    };
                    commit(&store, 1, vec![write]).await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    let page = RecordPage {
        after: None,
        limit: 1_000,
    };
    let filter = RecordFilter::default();
    let found = store
        .records(RecordKind::Location, &filter, &page)
        .await
        .unwrap();
    let there: BTreeSet<&RecordRef> = found.iter().map(|r| &r.record).collect();
    for location in &found {
        for (_, target) in location.body.iter().flat_map(Body::references) {
            assert!(there.contains(&target), "{target} is not there");
        }
    }
}

/// Beyond the suite, as it takes many transactions: of each record the newest versions are kept.
pub async fn old_versions_go(store: Arc<dyn Store>) {
    for n in 1..=RECORD_VERSIONS_KEPT + 2 {
        let body = json!({"name": format!("Van {n}")});
        stored(&store, n, vec![put(RecordKind::Van, "v1", body)]).await;
    }
    let key = record(RecordKind::Van, "v1");
    let history = store.record_history(&key, ALL).await.unwrap();
    let positions: Vec<i64> = history.iter().map(|v| v.position).collect();
    let expected: Vec<i64> = (3..=RECORD_VERSIONS_KEPT + 2).rev().collect();
    assert_eq!(positions, expected);
}
