//! What comes with the readings, and the registry.

use std::sync::Arc;

use forecare_domain::{
    AlarmChange, AlarmId, ClassName, DeviceEvent, DeviceStatus, EventSeverity, RejectReason,
    Rejection, Severity,
};

use super::fixtures::{ALL, alarm, asset, decision, device, health, hour, items, register};
use crate::{
    AlarmFilter, CareCommit, Checkpoint, CommitBatch, Credential, CredentialRole, DECISIONS_KEPT,
    EVENTS_KEPT, MaintenanceWindow, PageRequest, Store, StoreError, forecare,
};

fn rejection(n: usize, reason: RejectReason) -> Rejection {
    Rejection {
        received_at: hour(1),
        topic: format!("devices/x{n}/telemetry"),
        reason,
        detail: "it's \"bad\"; DROP TABLE".to_owned(),
        payload: vec![0, 255, 10],
        payload_bytes: 3,
    }
}

pub async fn rejections_are_kept_and_counted(store: Arc<dyn Store>) {
    let rejections: Vec<Rejection> = (0..5)
        .map(|n| {
            rejection(
                n,
                if n == 3 {
                    RejectReason::TooDeep
                } else {
                    RejectReason::InvalidJson
                },
            )
        })
        .collect();
    let batch = CommitBatch {
        rejections: rejections.clone(),
        ..CommitBatch::default()
    };
    store.commit_batch(batch).await.unwrap();
    let mut all = items(store.dead_letters(None, ALL).await.unwrap());
    all.reverse();
    assert_eq!(all, rejections);
    let deep = items(
        store
            .dead_letters(Some(RejectReason::TooDeep), ALL)
            .await
            .unwrap(),
    );
    assert_eq!(deep, [rejections[3].clone()]);
    let counts = [(RejectReason::InvalidJson, 4), (RejectReason::TooDeep, 1)];
    assert_eq!(store.rejection_counts().await.unwrap(), counts);
}

pub async fn events_are_kept_once(store: Arc<dyn Store>) {
    let event = |n, code: &str| DeviceEvent {
        device: device(n),
        ts: hour(1),
        code: code.to_owned(),
        severity: EventSeverity::Error,
        component: None,
        message: "m".to_owned(),
    };
    let mut of_component = event(0, "E1");
    of_component.component = Some(forecare_domain::ComponentName::new("bearing").unwrap());
    let events = vec![
        event(0, "E1"),
        event(0, "E1"),
        of_component.clone(),
        event(1, "E2"),
    ];
    for _ in 0..2 {
        let batch = CommitBatch {
            events: events.clone(),
            ..CommitBatch::default()
        };
        store.commit_batch(batch).await.unwrap();
    }
    let all = items(store.events(None, ALL).await.unwrap());
    assert_eq!(all, [event(1, "E2"), of_component.clone(), event(0, "E1")]);
    let of_one = items(store.events(Some(&device(0)), ALL).await.unwrap());
    assert_eq!(of_one, [of_component, event(0, "E1")]);
}

/// Beyond the suite, as the model keeps everything: of events and decisions the newest are kept. `skip_to`
/// makes a position the next one of both.
pub async fn old_events_and_decisions_go(store: Arc<dyn Store>, skip_to: impl AsyncFn(i64)) {
    let add = async |n: i64| {
        let event = DeviceEvent {
            device: device(0),
            ts: hour(n),
            code: "E1".to_owned(),
            severity: EventSeverity::Error,
            component: None,
            message: String::new(),
        };
        let batch = CommitBatch {
            events: vec![event],
            ..CommitBatch::default()
        };
        store.commit_batch(batch).await.unwrap();
        let step = CareCommit {
            decision: Some(decision(0, n)),
            ..CareCommit::default()
        };
        store.commit_care(step).await.unwrap();
        let events = items(store.events(None, ALL).await.unwrap());
        let decisions = items(store.decisions(None, ALL).await.unwrap());
        let events: Vec<_> = events.into_iter().map(|e| e.ts).collect();
        let decisions: Vec<_> = decisions.into_iter().map(|d| d.at).collect();
        (events, decisions)
    };
    let both = |hours: &[i64]| {
        let times: Vec<_> = hours.iter().map(|n| hour(*n)).collect();
        (times.clone(), times)
    };
    assert_eq!(EVENTS_KEPT, DECISIONS_KEPT);
    assert_eq!(add(1).await, both(&[1]));
    skip_to(EVENTS_KEPT).await;
    assert_eq!(add(2).await, both(&[2, 1]));
    assert_eq!(add(3).await, both(&[3, 2]));
}

pub async fn newest_checkpoint_status_and_health_are_kept(store: Arc<dyn Store>) {
    for (at, byte) in [(2, 2_u8), (3, 3), (1, 1)] {
        let batch = CommitBatch {
            checkpoints: vec![Checkpoint {
                device: device(0),
                watermark: hour(at),
                state: vec![byte, 0],
            }],
            statuses: vec![DeviceStatus {
                device: device(0),
                online: byte == 3,
                at: hour(at),
            }],
            health: vec![
                health(0, at, f64::from(byte)),
                health(1, at, f64::from(byte)),
            ],
            ..CommitBatch::default()
        };
        store.commit_batch(batch).await.unwrap();
    }
    let newest = Checkpoint {
        device: device(0),
        watermark: hour(3),
        state: vec![3, 0],
    };
    assert_eq!(store.checkpoints().await.unwrap(), [newest]);
    let status = DeviceStatus {
        device: device(0),
        online: true,
        at: hour(3),
    };
    assert_eq!(store.statuses().await.unwrap(), [status]);
    assert_eq!(
        store.health().await.unwrap(),
        [health(0, 3, 3.0), health(1, 3, 3.0)]
    );
}

async fn change(store: &Arc<dyn Store>, change: AlarmChange) {
    let batch = CommitBatch {
        alarms: vec![change],
        ..CommitBatch::default()
    };
    store.commit_batch(batch).await.unwrap();
}

pub async fn alarm_changes_keep_the_acknowledgement(store: Arc<dyn Store>) {
    let raised = alarm(0, 1);
    change(&store, AlarmChange::Raised(raised.clone())).await;
    change(&store, AlarmChange::Raised(alarm(1, 2))).await;
    let seen = store
        .acknowledge_alarm(&raised.id, &forecare(), hour(2))
        .await
        .unwrap();
    assert!(seen.acknowledged && seen.active);
    let mut worse = raised.clone();
    (worse.severity, worse.updated_at) = (Severity::Critical, hour(3));
    change(&store, AlarmChange::Escalated(worse.clone())).await;
    let mut gone = worse.clone();
    (gone.active, gone.updated_at, gone.cleared_at) = (false, hour(4), Some(hour(4)));
    change(&store, AlarmChange::Cleared(gone.clone())).await;
    gone.acknowledged = true;
    let ended = AlarmFilter {
        active: Some(false),
        device: None,
    };
    assert_eq!(
        items(store.alarms(&ended, ALL).await.unwrap()),
        [gone.clone()]
    );
    let active = AlarmFilter {
        active: Some(true),
        device: None,
    };
    assert_eq!(
        items(store.alarms(&active, ALL).await.unwrap()),
        [alarm(1, 2)]
    );
    assert_eq!(store.alarm(&gone.id).await.unwrap(), gone);
    let of_one = AlarmFilter {
        active: None,
        device: Some(device(0)),
    };
    assert_eq!(items(store.alarms(&of_one, ALL).await.unwrap()), [gone]);
    let nobody = store
        .acknowledge_alarm(&AlarmId("x".to_owned()), &forecare(), hour(5))
        .await;
    assert!(matches!(nobody, Err(StoreError::NotFound(_))));
    let nobody = store.alarm(&AlarmId("x".to_owned())).await;
    assert!(matches!(nobody, Err(StoreError::NotFound(_))));
}

pub async fn late_alarm_change_does_not_turn_back_time(store: Arc<dyn Store>) {
    let mut gone = alarm(0, 1);
    (gone.active, gone.updated_at) = (false, hour(4));
    change(&store, AlarmChange::Cleared(gone.clone())).await;
    change(&store, AlarmChange::Raised(alarm(0, 1))).await;
    assert_eq!(
        items(store.alarms(&AlarmFilter::default(), ALL).await.unwrap()),
        [gone]
    );
}

pub async fn pages_walk_everything_once(store: Arc<dyn Store>) {
    let rejections = (0..25)
        .map(|n| rejection(n, RejectReason::InvalidJson))
        .collect();
    store
        .commit_batch(CommitBatch {
            rejections,
            ..CommitBatch::default()
        })
        .await
        .unwrap();
    let mut topics = Vec::new();
    let mut before = None;
    loop {
        let page = store
            .dead_letters(None, PageRequest { before, limit: 10 })
            .await
            .unwrap();
        assert!(page.len() <= 10);
        let Some(last) = page.last() else { break };
        before = Some(last.position);
        topics.extend(page.into_iter().map(|p| p.item.topic));
    }
    let expected: Vec<String> = (0..25)
        .rev()
        .map(|n| format!("devices/x{n}/telemetry"))
        .collect();
    assert_eq!(topics, expected);
    let none = PageRequest {
        before: None,
        limit: 0,
    };
    assert_eq!(
        store.dead_letters(None, none).await.unwrap().len(),
        1,
        "a page has at least one entry"
    );
}

pub async fn assets_are_replaced_but_not_their_birthday(store: Arc<dyn Store>) {
    register(&store, 2).await;
    let mut renamed = asset(0);
    (renamed.name, renamed.registered_at) = ("Big pump".to_owned(), hour(9));
    store.register_assets(vec![renamed.clone()]).await.unwrap();
    renamed.registered_at = hour(0);
    assert_eq!(store.assets().await.unwrap(), [renamed, asset(1)]);
}

pub async fn one_asset_and_its_health_are_found(store: Arc<dyn Store>) {
    register(&store, 2).await;
    let batch = CommitBatch {
        health: vec![health(0, 1, 10.0), health(1, 1, 20.0)],
        ..CommitBatch::default()
    };
    store.commit_batch(batch).await.unwrap();
    assert_eq!(store.asset(&asset(1).id).await.unwrap(), Some(asset(1)));
    assert_eq!(store.asset(&asset(2).id).await.unwrap(), None);
    let found = store.health_of(&device(1)).await.unwrap();
    assert_eq!(found, Some(health(1, 1, 20.0)));
    assert_eq!(store.health_of(&device(2)).await.unwrap(), None);
}

pub async fn auto_registration_leaves_known_assets_alone(store: Arc<dyn Store>) {
    register(&store, 1).await;
    let mut other = asset(0);
    other.name = "Other".to_owned();
    let mut taken = asset(5);
    taken.device = device(0);
    let mut unheard = asset(6);
    unheard.class = ClassName::new("unheard-of").unwrap();
    let assets = vec![other, taken, unheard, asset(1)];
    store
        .commit_batch(CommitBatch {
            assets,
            ..CommitBatch::default()
        })
        .await
        .unwrap();
    assert_eq!(store.assets().await.unwrap(), [asset(0), asset(1)]);
}

pub async fn impossible_assets_are_refused_whole(store: Arc<dyn Store>) {
    register(&store, 1).await;
    let mut unheard = asset(6);
    unheard.class = ClassName::new("unheard-of").unwrap();
    let refused = store.register_assets(vec![asset(1), unheard]).await;
    assert!(matches!(refused, Err(StoreError::NotFound(what)) if what.contains("unheard-of")));
    let mut taken = asset(5);
    taken.device = device(0);
    let refused = store.register_assets(vec![asset(1), taken]).await;
    assert!(matches!(refused, Err(StoreError::Conflict(what)) if what.contains("asset-0")));
    assert_eq!(store.assets().await.unwrap(), [asset(0)]);
    super::fixtures::commit(
        &store,
        vec![super::fixtures::row(0, 1, [Some(1.0), None, None])],
    )
    .await;
    let mut other_class = asset(0);
    other_class.class = ClassName::new("fan").unwrap();
    let refused = store.register_assets(vec![other_class]).await;
    assert!(
        matches!(refused, Err(StoreError::Conflict(what)) if what.contains("another device id"))
    );
}

pub async fn credentials_settings_and_windows_are_kept(store: Arc<dyn Store>) {
    let credential = |name: &str, role| Credential {
        username: name.to_owned(),
        role,
        secret_sha256: format!("{name}-{role:?}"),
    };
    for (name, role) in [
        ("b", CredentialRole::Api),
        ("a", CredentialRole::Device),
        ("b", CredentialRole::Gateway),
    ] {
        store.put_credential(credential(name, role)).await.unwrap();
    }
    let kept = [
        credential("a", CredentialRole::Device),
        credential("b", CredentialRole::Gateway),
    ];
    assert_eq!(store.credentials().await.unwrap(), kept);
    assert_eq!(store.setting("k").await.unwrap(), None);
    store.put_setting("k", "1").await.unwrap();
    store.put_setting("k", "2").await.unwrap();
    assert_eq!(store.setting("k").await.unwrap().as_deref(), Some("2"));
    let window = |n, to| MaintenanceWindow {
        device: device(n),
        from: hour(0),
        to: hour(to),
        why: "w".to_owned(),
    };
    for w in [window(1, 9), window(0, 5), window(0, 5), window(0, 2)] {
        store.put_maintenance_window(w).await.unwrap();
    }
    assert_eq!(
        store.maintenance_windows(hour(2)).await.unwrap(),
        [window(0, 5), window(1, 9)]
    );
}
