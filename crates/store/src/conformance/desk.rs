//! Tasks, tickets, decisions.

use std::sync::Arc;

use forecare_domain::{
    Attachment, EntryBody, Label, ModeName, Origin, Priority, ScheduleName, TaskId, TicketEntry,
    TicketId, TicketKind, TicketState, Verdict, Visibility,
};

use super::fixtures::{
    ALL, asset, decision, device, hour, items, mode, moved, need, new_ticket, open, reservations,
    step, task, update,
};
use crate::{
    CareCommit, CareOutcome, CommitBatch, NewEntry, PageRequest, ReservationFilter, Store,
    StoreError, TicketFilter, TicketWrite, forecare,
};

async fn queue(store: &Arc<dyn Store>, n: i64) -> Vec<TaskId> {
    let tasks = (0..n).map(|at| task(0, at)).collect();
    store
        .commit_batch(CommitBatch {
            tasks,
            ..CommitBatch::default()
        })
        .await
        .unwrap();
    store
        .next_tasks(100)
        .await
        .unwrap()
        .into_iter()
        .map(|(id, _)| id)
        .collect()
}

fn opening(n: usize, at: i64) -> CareCommit {
    let new = new_ticket(n, at, vec![need(1, Priority::P3)]);
    CareCommit {
        ticket: TicketWrite::Open(Box::new(new)),
        at: hour(at),
        ..CareCommit::default()
    }
}

pub async fn tasks_are_handed_out_in_order_and_done_once(store: Arc<dyn Store>) {
    let ids = queue(&store, 5).await;
    let first_two = store.next_tasks(2).await.unwrap();
    assert_eq!(first_two, [(ids[0], task(0, 0).0), (ids[1], task(0, 1).0)]);
    let mut done = opening(0, 1);
    done.task = Some(ids[4]);
    assert!(matches!(
        store.commit_care(done.clone()).await.unwrap(),
        CareOutcome::Opened { .. }
    ));
    done.ticket = TicketWrite::Open(Box::new(new_ticket(1, 1, Vec::new())));
    assert_eq!(
        store.commit_care(done).await.unwrap(),
        CareOutcome::AlreadyDone
    );
    assert_eq!(
        items(store.tickets(&TicketFilter::default(), ALL).await.unwrap()).len(),
        1
    );
    let again = queue(&store, 1).await;
    assert_eq!(again[..4], ids[..4]);
    assert!(again[4] > ids[4], "a task's number is never used again");
}

pub async fn one_open_ticket_per_asset_and_mode(store: Arc<dyn Store>) {
    let (first, _) = open(&store, 0, 1, Vec::new()).await;
    assert_eq!((first.id, first.version), (TicketId(1), 1));
    let outcome = store.commit_care(opening(0, 2)).await.unwrap();
    assert_eq!(outcome, CareOutcome::AlreadyOpen(first.id));
    assert_eq!(
        reservations(&store).await,
        [],
        "nothing is reserved for what was not opened"
    );
    let mut other_mode = new_ticket(0, 2, Vec::new());
    other_mode.ticket.mode = Some(mode("unknown"));
    let write = TicketWrite::Open(Box::new(other_mode));
    let commit = CareCommit {
        ticket: write,
        at: hour(2),
        ..CareCommit::default()
    };
    assert!(matches!(
        store.commit_care(commit).await.unwrap(),
        CareOutcome::Opened { .. }
    ));
    update(&store, step(&first, TicketState::Cancelled, 3, &[])).await;
    let (third, _) = open(&store, 0, 4, Vec::new()).await;
    assert_eq!(third.id, TicketId(3));
    let open_ones = TicketFilter {
        asset: Some(asset(0).id),
        open: Some(true),
        ..TicketFilter::default()
    };
    let ids: Vec<i64> = items(store.tickets(&open_ones, ALL).await.unwrap())
        .iter()
        .map(|t| t.id.0)
        .collect();
    assert_eq!(ids, [3, 2]);
    let ended = TicketFilter {
        asset: None,
        open: Some(false),
        ..TicketFilter::default()
    };
    assert_eq!(items(store.tickets(&ended, ALL).await.unwrap()).len(), 1);
    let unfinished = TicketFilter {
        unfinished: true,
        ..TicketFilter::default()
    };
    let states = items(store.tickets(&unfinished, ALL).await.unwrap());
    assert!(states.iter().all(|t| !t.state.is_finished()) && !states.is_empty());
}

pub async fn what_no_alarm_opened_has_keys_of_its_own(store: Arc<dyn Store>) {
    let (alarm, _) = open(&store, 0, 1, Vec::new()).await;
    let schedule = |name: &str, position| Origin::Schedule {
        schedule: ScheduleName::new(name).unwrap(),
        position,
    };
    let event = |code: &str| Origin::Event {
        code: code.to_owned(),
    };
    let person = || Origin::Person { by: forecare() };
    let commit = |origin: Origin, mode: Option<ModeName>| {
        let mut new = new_ticket(0, 2, Vec::new());
        new.ticket.origin = origin;
        new.ticket.kind = TicketKind::inspection();
        new.ticket.mode = mode;
        new.ticket.decision = None;
        CareCommit {
            ticket: TicketWrite::Open(Box::new(new)),
            at: hour(2),
            ..CareCommit::default()
        }
    };
    let opened = |outcome: CareOutcome| match outcome {
        CareOutcome::Opened { ticket, .. } => Some(*ticket),
        CareOutcome::AlreadyOpen(_)
        | CareOutcome::Stored
        | CareOutcome::Updated(_)
        | CareOutcome::AlreadyDone => None,
    };
    let try_open =
        async |origin, mode| opened(store.commit_care(commit(origin, mode)).await.unwrap());
    // Not even the alarm's own mode is in the way of a person's report, and people may report as often as they like.
    for _ in 0..2 {
        let ticket = try_open(person(), Some(mode("bearing-wear")))
            .await
            .unwrap();
        assert_eq!(store.ticket(ticket.id).await.unwrap(), ticket);
    }
    let oil = try_open(schedule("oil", 1.0), None).await.unwrap();
    assert!(try_open(schedule("oil", 2.0), None).await.is_none());
    assert!(try_open(schedule("belt", 2.0), None).await.is_some());
    assert!(try_open(event("E1"), None).await.is_some());
    assert!(try_open(event("E1"), None).await.is_none());
    assert!(try_open(event("E2"), None).await.is_some());
    update(&store, step(&oil, TicketState::Cancelled, 3, &[])).await;
    let next = try_open(schedule("oil", 2.0), None).await.unwrap();
    let of_key = |key: &str| TicketFilter {
        asset: Some(asset(0).id),
        opening_key: Some(key.to_owned()),
        ..TicketFilter::default()
    };
    let found = items(store.tickets(&of_key("schedule:oil"), ALL).await.unwrap());
    assert_eq!(
        found.iter().map(|t| t.id).collect::<Vec<_>>(),
        [next.id, oil.id]
    );
    let found = items(
        store
            .tickets(&of_key("mode:bearing-wear"), ALL)
            .await
            .unwrap(),
    );
    assert_eq!(found, [alarm]);
}

fn entry(ticket: TicketId, text: &str, content: Option<Vec<u8>>) -> NewEntry {
    let body = match &content {
        Some(content) => EntryBody::Attachment(Attachment {
            name: text.to_owned(),
            media_type: "text/plain".to_owned(),
            bytes: content.len() as u64,
            sha256: "00".repeat(32),
            signed_by: Some("Ada".to_owned()),
        }),
        None => EntryBody::Note {
            text: text.to_owned(),
            visibility: Visibility::Public,
        },
    };
    NewEntry {
        ticket,
        entry: TicketEntry {
            at: hour(1),
            by: forecare(),
            body,
        },
        content,
    }
}

pub async fn booked_minutes_are_added_up_by_ticket(store: Arc<dyn Store>) {
    let (first, _) = open(&store, 0, 1, Vec::new()).await;
    let (second, _) = open(&store, 1, 1, Vec::new()).await;
    let time = |of: TicketId, minutes: u32| {
        let mut new = entry(of, "a note", None);
        new.entry.body = EntryBody::Time {
            minutes,
            what: "on the road".to_owned(),
        };
        new
    };
    assert!(store.minutes_booked().await.unwrap().is_empty());
    let entries = vec![
        time(first.id, 30),
        time(second.id, 5),
        entry(second.id, "no time", None),
        time(first.id, 10_080),
    ];
    let commit = CareCommit {
        entries,
        at: hour(1),
        ..CareCommit::default()
    };
    store.commit_care(commit).await.unwrap();
    let mut booked = store.minutes_booked().await.unwrap();
    booked.sort_unstable();
    assert_eq!(booked, [(first.id, 10_110), (second.id, 5)]);
}

pub async fn entries_and_files_are_kept_with_their_ticket(store: Arc<dyn Store>) {
    let (first, _) = open(&store, 0, 1, Vec::new()).await;
    let (second, _) = open(&store, 1, 1, Vec::new()).await;
    let file: Vec<u8> = (0..=255).collect();
    let commit = |key: &str, entries: Vec<NewEntry>| CareCommit {
        idempotency_key: Some(key.to_owned()),
        entries,
        at: hour(1),
        ..CareCommit::default()
    };
    let new = [
        entry(first.id, "a note", None),
        entry(second.id, "of another", None),
        entry(first.id, "a file", Some(file.clone())),
    ];
    for _ in 0..2 {
        let outcome = store.commit_care(commit("k", new.to_vec())).await.unwrap();
        assert_eq!(outcome, CareOutcome::Stored);
    }
    let found = store.ticket_entries(first.id, ALL).await.unwrap();
    let kept: Vec<TicketEntry> = found.iter().map(|e| e.item.clone()).collect();
    assert_eq!(kept, [new[2].entry.clone(), new[0].entry.clone()]);
    let all = store.entries(ALL).await.unwrap();
    let all: Vec<(TicketId, TicketEntry)> = all.into_iter().map(|e| e.item).collect();
    let given = new.iter().rev().map(|n| (n.ticket, n.entry.clone()));
    assert_eq!(all, given.collect::<Vec<_>>());
    let position = found[0].position;
    let (entry_of, content) = store.attachment(first.id, position).await.unwrap();
    assert_eq!((entry_of, content), (new[2].entry.clone(), file));
    for (ticket, position) in [(first.id, found[1].position), (second.id, position)] {
        let none = store.attachment(ticket, position).await;
        assert!(matches!(none, Err(StoreError::NotFound(_))));
    }
    let older = PageRequest {
        before: Some(position),
        limit: 10,
    };
    let older = store.ticket_entries(first.id, older).await.unwrap();
    assert_eq!(older.len(), 1);
    // An entry for no ticket takes the whole step with it.
    let mut bad = commit(
        "l",
        vec![entry(first.id, "x", None), entry(TicketId(99), "y", None)],
    );
    bad.decision = Some(decision(0, 1));
    let refused = store.commit_care(bad).await;
    assert!(
        matches!(refused, Err(StoreError::NotFound(_))),
        "{refused:?}"
    );
    assert_eq!(store.ticket_entries(first.id, ALL).await.unwrap().len(), 2);
    assert!(store.decisions(None, ALL).await.unwrap().is_empty());
    let n = usize::try_from(crate::ENTRIES_MAX).unwrap_or(usize::MAX) - 2;
    let many = vec![entry(first.id, "more", None); n];
    store.commit_care(commit("m", many)).await.unwrap();
    let full = store
        .commit_care(commit("n", vec![entry(first.id, "one too many", None)]))
        .await;
    assert!(matches!(full, Err(StoreError::Conflict(text)) if text.contains("follow-up")));
}

pub async fn children_are_found_by_their_parent(store: Arc<dyn Store>) {
    let (parent, _) = open(&store, 0, 1, Vec::new()).await;
    let mut new = new_ticket(1, 2, Vec::new());
    new.ticket.work.parent = Some(parent.id);
    let commit = CareCommit {
        ticket: TicketWrite::Open(Box::new(new)),
        at: hour(2),
        ..CareCommit::default()
    };
    store.commit_care(commit).await.unwrap();
    let filter = TicketFilter {
        parent: Some(parent.id),
        ..TicketFilter::default()
    };
    let found = items(store.tickets(&filter, ALL).await.unwrap());
    assert_eq!(
        found.iter().map(|t| t.id).collect::<Vec<_>>(),
        [TicketId(2)]
    );
    // What a change of the ticket writes keeps it.
    update(&store, step(&found[0], TicketState::Triaged, 3, &[])).await;
    assert_eq!(store.tickets(&filter, ALL).await.unwrap().len(), 1);
}

pub async fn a_stale_version_changes_nothing(store: Arc<dyn Store>) {
    let (ticket, _) = open(&store, 0, 1, Vec::new()).await;
    let triaged = update(&store, step(&ticket, TicketState::Triaged, 2, &[])).await;
    assert_eq!((triaged.version, triaged.state), (2, TicketState::Triaged));
    let stale = store
        .commit_care(step(&ticket, TicketState::Cancelled, 3, &[]))
        .await;
    assert!(matches!(stale, Err(StoreError::Conflict(text)) if text.contains("version 2")));
    assert_eq!(store.ticket(ticket.id).await.unwrap(), triaged);
    let mut nobody = moved(&ticket, TicketState::Triaged, 3);
    nobody.id = TicketId(99);
    let write = TicketWrite::Update {
        ticket: Box::new(nobody),
        parts_used: Vec::new(),
    };
    let commit = CareCommit {
        ticket: write,
        at: hour(3),
        ..CareCommit::default()
    };
    assert!(matches!(
        store.commit_care(commit).await,
        Err(StoreError::NotFound(_))
    ));
    assert!(matches!(
        store.ticket(TicketId(99)).await,
        Err(StoreError::NotFound(_))
    ));
}

pub async fn an_idempotency_key_returns_the_first_outcome(store: Arc<dyn Store>) {
    let mut commit = opening(0, 1);
    commit.idempotency_key = Some("key".to_owned());
    let first = store.commit_care(commit.clone()).await.unwrap();
    let CareOutcome::Opened { ticket, .. } = &first else {
        panic!("{first:?}")
    };
    update(&store, step(ticket, TicketState::Triaged, 2, &[])).await;
    assert_eq!(store.commit_care(commit).await.unwrap(), first);
    assert_eq!(store.ticket(ticket.id).await.unwrap().version, 2);
    let keyed = CareCommit {
        idempotency_key: Some("note".to_owned()),
        decision: Some(decision(0, 1)),
        ..CareCommit::default()
    };
    for _ in 0..2 {
        assert_eq!(
            store.commit_care(keyed.clone()).await.unwrap(),
            CareOutcome::Stored
        );
    }
    assert_eq!(store.decisions(None, ALL).await.unwrap().len(), 1);
}

pub async fn ticket_and_reservation_come_together(store: Arc<dyn Store>) {
    let (ticket, reserved) = open(&store, 0, 1, vec![need(2, Priority::P3)]).await;
    assert_eq!(reserved.len(), 1);
    assert_eq!((reserved[0].ticket, reserved[0].quantity), (ticket.id, 2));
    let of_ticket = ReservationFilter {
        ticket: Some(ticket.id),
        live: true,
    };
    assert_eq!(
        items(store.reservations(&of_ticket, ALL).await.unwrap()),
        reserved
    );
}

pub async fn a_failing_step_leaves_nothing_behind(store: Arc<dyn Store>) {
    let ids = queue(&store, 1).await;
    let (ticket, _) = open(&store, 0, 1, Vec::new()).await;
    let mut commit = opening(1, 2);
    commit.task = Some(ids[0]);
    commit.idempotency_key = Some("key".to_owned());
    commit.decision = Some(decision(1, 2));
    commit.needs = vec![(TicketId(99), need(1, Priority::P1))];
    assert!(matches!(
        store.commit_care(commit.clone()).await,
        Err(StoreError::NotFound(_))
    ));
    assert_eq!(store.next_tasks(10).await.unwrap().len(), 1);
    assert_eq!(reservations(&store).await, []);
    assert_eq!(store.decisions(None, ALL).await.unwrap(), []);
    commit.needs = Vec::new();
    let CareOutcome::Opened { ticket: second, .. } = store.commit_care(commit).await.unwrap()
    else {
        panic!("the second try is a first one");
    };
    assert_eq!(second.id.0, ticket.id.0 + 1, "numbers have no gaps");
}

pub async fn reopening_beside_an_open_ticket_is_refused(store: Arc<dyn Store>) {
    let (first, _) = open(&store, 0, 1, Vec::new()).await;
    let resolved = update(&store, step(&first, TicketState::Resolved, 2, &[])).await;
    let (second, _) = open(&store, 0, 3, Vec::new()).await;
    let refused = store
        .commit_care(step(&resolved, TicketState::Reopened, 4, &[]))
        .await;
    assert!(
        matches!(refused, Err(StoreError::Conflict(text)) if text.contains(&second.id.to_string()))
    );
}

pub async fn decisions_and_labels_are_kept(store: Arc<dyn Store>) {
    let label = |n: usize| Label {
        ticket: TicketId(1),
        device: device(n),
        mode: mode("bearing-wear"),
        verdict: Verdict::Confirmed {
            failure_code: "VIB".to_owned(),
        },
        detected_at: hour(1),
        at: hour(2),
        probability: 0.1 + 0.2,
    };
    for n in 0..3 {
        let commit = CareCommit {
            decision: Some(decision(n, 1)),
            label: Some(label(n)),
            ..CareCommit::default()
        };
        assert_eq!(
            store.commit_care(commit).await.unwrap(),
            CareOutcome::Stored
        );
    }
    assert_eq!(
        items(store.labels(ALL).await.unwrap()),
        [label(2), label(1), label(0)]
    );
    assert_eq!(
        items(store.decisions(Some(&device(1)), ALL).await.unwrap()),
        [decision(1, 1)]
    );
    let two = PageRequest {
        before: None,
        limit: 2,
    };
    assert_eq!(
        items(store.decisions(None, two).await.unwrap()),
        [decision(2, 1), decision(1, 1)]
    );
}
