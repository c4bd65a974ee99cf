//! Notices, deliveries, answers of customers.

use std::sync::Arc;

use forecare_domain::{
    Actor, CareLead, Channel, DeliveryId, InboxMail, MailFate, Notice, NoticeId, NoticeKind,
    Priority, SurveyAnswer, Ticket, TicketId, TicketState,
};

use forecare_registry::{Person, RecordId, RecordKind};

use super::fixtures::{ALL, hour, items, moved, need, new_ticket, open, step, update};
use super::registry::{put, record};
use crate::{
    Attempt, CareCommit, DeliveryFilter, DeliveryState, Erasure, NewDelivery, NewMail, OutboxDepth,
    PageRequest, RecordCommit, SURVEY_ANSWERS_MAX, Store, StoreError, TicketWrite,
};

fn to(channel: &str, address: &str) -> NewDelivery {
    NewDelivery {
        channel: channel.to_owned(),
        recipient: "Eve".to_owned(),
        address: address.to_owned(),
        language: "en".to_owned(),
        to_customer: address.starts_with('1'),
        digest: false,
        due_at: hour(5),
    }
}

fn attempt(id: DeliveryId, attempts: u32, state: DeliveryState) -> Attempt {
    Attempt {
        id,
        attempts,
        state,
        next_at: hour(6),
        error: (state != DeliveryState::Delivered).then(|| "refused".to_owned()),
    }
}

async fn told(store: &Arc<dyn Store>) -> Vec<String> {
    let notices = store.unrouted_notices(100).await.unwrap();
    notices.into_iter().map(|n| n.id.0).collect()
}

/// A ticket whose opening goes to `n` addresses.
async fn delivered_to(store: &Arc<dyn Store>, n: usize) -> (Ticket, NoticeId) {
    let (ticket, _) = open(store, 0, 1, Vec::new()).await;
    let notice = store.unrouted_notices(10).await.unwrap().remove(0).id;
    let deliveries = (0..n).map(|i| to("mail", &format!("{i}@example.com")));
    assert!(
        store
            .route_notice(&notice, deliveries.collect(), hour(2))
            .await
            .unwrap()
    );
    (ticket, notice)
}

pub async fn notices_come_with_what_caused_them(store: Arc<dyn Store>) {
    let (ticket, _) = open(&store, 0, 1, Vec::new()).await;
    update(&store, step(&ticket, TicketState::Triaged, 2, &[])).await;
    assert_eq!(
        told(&store).await,
        [
            "T-1.1.ticket.opened",
            "T-1.2.ticket.changed",
            "T-1.2.visit.offered"
        ]
    );
    // A stale change, and one that fails on its way, tell nothing.
    let stale = step(&ticket, TicketState::Cancelled, 3, &[]);
    store.commit_care(stale).await.unwrap_err();
    let failing = CareCommit {
        ticket: TicketWrite::Open(Box::new(new_ticket(1, 3, Vec::new()))),
        needs: vec![(TicketId(99), need(1, Priority::P1))],
        at: hour(3),
        ..CareCommit::default()
    };
    store.commit_care(failing).await.unwrap_err();
    assert_eq!(told(&store).await.len(), 3);
    // A second one for the same fault is not opened.
    let again = TicketWrite::Open(Box::new(new_ticket(0, 4, Vec::new())));
    let again = CareCommit {
        ticket: again,
        at: hour(4),
        ..CareCommit::default()
    };
    store.commit_care(again).await.unwrap();
    let mut quiet = store.ticket(ticket.id).await.unwrap();
    quiet.due_at = hour(50);
    let quiet = CareCommit {
        ticket: TicketWrite::Update {
            ticket: Box::new(quiet),
            parts_used: Vec::new(),
        },
        at: hour(5),
        ..CareCommit::default()
    };
    store.commit_care(quiet).await.unwrap();
    assert_eq!(told(&store).await.len(), 3);
}

pub async fn a_keyed_step_is_told_once(store: Arc<dyn Store>) {
    let (ticket, _) = open(&store, 0, 1, Vec::new()).await;
    let mut triage = step(&ticket, TicketState::Triaged, 2, &[]);
    triage.idempotency_key = Some("key".to_owned());
    for _ in 0..3 {
        store.commit_care(triage.clone()).await.unwrap();
    }
    assert_eq!(told(&store).await.len(), 3);
}

pub async fn what_a_rule_says_is_told_once_beside_tickets(store: Arc<dyn Store>) {
    let (ticket, _) = open(&store, 0, 1, Vec::new()).await;
    let lead = Notice {
        id: NoticeId("care.lead.renew.K-1".to_owned()),
        at: hour(2),
        ticket: None,
        asset: None,
        device: None,
        title: "Renew K-1".to_owned(),
        priority: Priority::P4,
        state: None,
        technician: None,
        due_at: hour(90),
        why: String::new(),
        automation: vec!["renew".to_owned()],
        what: NoticeKind::CareLead(CareLead {
            lead: "renewal-K-1".to_owned(),
            offer: "renewal".to_owned(),
            customer: "C-1".to_owned(),
            contract: Some("K-1".to_owned()),
            reason: "it ends".to_owned(),
            rule: "renew".to_owned(),
        }),
    };
    let said = CareCommit {
        idempotency_key: Some("automation/renew/K-1".to_owned()),
        notices: vec![lead.clone()],
        at: hour(2),
        ..CareCommit::default()
    };
    for _ in 0..3 {
        store.commit_care(said.clone()).await.unwrap();
    }
    assert_eq!(
        told(&store).await,
        ["T-1.1.ticket.opened", "care.lead.renew.K-1"]
    );
    let to_crm = vec![to("crm", "")];
    store.route_notice(&lead.id, to_crm, hour(3)).await.unwrap();
    let all = DeliveryFilter::default();
    let deliveries = items(store.deliveries(&all, ALL).await.unwrap());
    assert_eq!((deliveries.len(), &deliveries[0].notice), (1, &lead));
    let of_ticket = DeliveryFilter {
        ticket: Some(ticket.id),
        ..all
    };
    assert!(store.deliveries(&of_ticket, ALL).await.unwrap().is_empty());
    // Kept, routed or not, newest first.
    let page = PageRequest {
        before: None,
        limit: 1,
    };
    let newest = store.notices(page).await.unwrap();
    assert_eq!((newest.len(), &newest[0].item), (1, &lead));
    let page = PageRequest {
        before: Some(newest[0].position),
        limit: 5,
    };
    let older = items(store.notices(page).await.unwrap());
    assert_eq!((older.len(), older[0].ticket), (1, Some(ticket.id)));
}

pub async fn parts_that_come_late_are_told(store: Arc<dyn Store>) {
    let mut wanted = need(9, Priority::P3);
    wanted.needed_at = hour(2);
    open(&store, 0, 1, vec![wanted.clone()]).await;
    let notices = store.unrouted_notices(10).await.unwrap();
    let kinds: Vec<&str> = notices.iter().map(|n| n.what.label()).collect();
    assert_eq!(kinds, ["ticket.opened", "parts.short"]);
    let NoticeKind::PartsShort { parts } = &notices[1].what else {
        panic!("{notices:?}")
    };
    assert!(parts.iter().all(|p| p.available_at > p.needed_at));
    let again = CareCommit {
        needs: vec![(TicketId(1), wanted)],
        at: hour(3),
        ..CareCommit::default()
    };
    store.commit_care(again).await.unwrap();
    let ids = told(&store).await;
    assert_eq!(ids.len(), 3, "{ids:?}");
}

pub async fn a_notice_is_routed_once(store: Arc<dyn Store>) {
    let (_, notice) = delivered_to(&store, 2).await;
    assert!(told(&store).await.is_empty());
    let more = vec![to("mail", "late@example.com")];
    assert!(!store.route_notice(&notice, more, hour(3)).await.unwrap());
    let found = items(
        store
            .deliveries(&DeliveryFilter::default(), ALL)
            .await
            .unwrap(),
    );
    let addresses: Vec<&str> = found.iter().map(|d| d.address.as_str()).collect();
    assert_eq!(addresses, ["1@example.com", "0@example.com"]);
    assert!(found.iter().all(|d| d.notice.id == notice));
    assert!(found[0].to_customer && !found[1].to_customer);
    let nobody = NoticeId("T-9.9.ticket.opened".to_owned());
    let refused = store.route_notice(&nobody, Vec::new(), hour(3)).await;
    assert!(matches!(refused, Err(StoreError::NotFound(_))));
}

pub async fn nobody_gets_a_notice_twice_by_the_same_channel(store: Arc<dyn Store>) {
    open(&store, 0, 1, Vec::new()).await;
    let notice = store.unrouted_notices(10).await.unwrap().remove(0).id;
    let twice = vec![
        to("mail", "a"),
        to("sms", "a"),
        to("mail", "a"),
        to("mail", "b"),
    ];
    store.route_notice(&notice, twice, hour(2)).await.unwrap();
    let found = store
        .deliveries(&DeliveryFilter::default(), ALL)
        .await
        .unwrap();
    let ids: Vec<i64> = found.iter().map(|d| d.position).collect();
    assert_eq!(ids, [3, 2, 1]);
}

pub async fn deliveries_fall_due_in_order_and_attempts_count_once(store: Arc<dyn Store>) {
    delivered_to(&store, 3).await;
    assert_eq!(store.due_deliveries(hour(4), 10).await.unwrap(), []);
    let due = store.due_deliveries(hour(5), 2).await.unwrap();
    let ids: Vec<i64> = due.iter().map(|d| d.id.0).collect();
    assert_eq!(ids, [1, 2]);
    let attempts = vec![
        attempt(due[0].id, 0, DeliveryState::Delivered),
        attempt(due[1].id, 0, DeliveryState::Waiting),
    ];
    let record = || store.record_attempts(attempts.clone(), hour(5));
    assert_eq!(record().await.unwrap(), 2);
    assert_eq!(record().await.unwrap(), 0, "what is recorded stays");
    let first = store.delivery(due[0].id).await.unwrap();
    assert_eq!(
        (first.state, first.attempts, first.error),
        (DeliveryState::Delivered, 1, None)
    );
    let second = store.delivery(due[1].id).await.unwrap();
    assert_eq!((second.attempts, second.next_at), (1, hour(6)));
    assert_eq!(second.error.as_deref(), Some("refused"));
    let left = store.due_deliveries(hour(9), 10).await.unwrap();
    let ids: Vec<i64> = left.iter().map(|d| d.id.0).collect();
    assert_eq!(ids, [3, 2]);
    let put_off = Attempt {
        error: None,
        ..attempt(left[0].id, 0, DeliveryState::Waiting)
    };
    store.record_attempts(vec![put_off], hour(9)).await.unwrap();
    let third = store.delivery(left[0].id).await.unwrap();
    assert_eq!((third.attempts, third.next_at), (0, hour(6)));
}

pub async fn dead_letters_are_listed_and_retried(store: Arc<dyn Store>) {
    let (ticket, _) = delivered_to(&store, 2).await;
    let long = Attempt {
        error: Some("é".repeat(2_000)),
        ..attempt(DeliveryId(1), 0, DeliveryState::Dead)
    };
    store.record_attempts(vec![long], hour(5)).await.unwrap();
    let dead = DeliveryFilter {
        state: Some(DeliveryState::Dead),
        ticket: Some(ticket.id),
        channel: Some("mail".to_owned()),
    };
    let found = items(store.deliveries(&dead, ALL).await.unwrap());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].error.as_ref().unwrap().chars().count(), 500);
    let expected = OutboxDepth {
        unrouted: 0,
        waiting: 1,
        dead: 1,
        oldest_due_at: Some(hour(5)),
    };
    assert_eq!(store.outbox_depth().await.unwrap(), expected);
    let other = DeliveryFilter {
        channel: Some("sms".to_owned()),
        ..DeliveryFilter::default()
    };
    assert!(store.deliveries(&other, ALL).await.unwrap().is_empty());
    let alive = store.retry_delivery(DeliveryId(2), hour(7)).await;
    assert!(matches!(alive, Err(StoreError::Conflict(text)) if text.contains("waiting")));
    let missing = store.retry_delivery(DeliveryId(9), hour(7)).await;
    assert!(matches!(missing, Err(StoreError::NotFound(_))));
    let back = store.retry_delivery(DeliveryId(1), hour(7)).await.unwrap();
    assert_eq!(
        (back.state, back.attempts, back.next_at),
        (DeliveryState::Waiting, 0, hour(7))
    );
    assert_eq!(store.delivery(DeliveryId(1)).await.unwrap(), back);
}

pub async fn the_newest_answer_of_a_customer_counts(store: Arc<dyn Store>) {
    let (ticket, _) = open(&store, 0, 1, Vec::new()).await;
    let (other, _) = open(&store, 1, 1, Vec::new()).await;
    let answer = |ticket: TicketId, n: i64| SurveyAnswer {
        ticket,
        at: hour(n),
        solved: Some(n > 3),
        csat: Some(5),
        nps: None,
        ces: Some(7),
        comment: Some("很好".to_owned()),
    };
    for (id, n) in [(ticket.id, 1), (other.id, 2), (ticket.id, 3)] {
        store.put_survey_answer(answer(id, n)).await.unwrap();
    }
    let newest = items(store.survey_answers(None, ALL).await.unwrap());
    assert_eq!(newest, [answer(ticket.id, 3), answer(other.id, 2)]);
    let history = items(store.survey_answers(Some(ticket.id), ALL).await.unwrap());
    assert_eq!(history, [answer(ticket.id, 3), answer(ticket.id, 1)]);
    let page = PageRequest {
        before: None,
        limit: 1,
    };
    assert_eq!(store.survey_answers(None, page).await.unwrap().len(), 1);
    for n in 2..i64::try_from(SURVEY_ANSWERS_MAX).unwrap() {
        store.put_survey_answer(answer(ticket.id, n)).await.unwrap();
    }
    let refused = store.put_survey_answer(answer(ticket.id, 99)).await;
    assert!(
        matches!(refused, Err(StoreError::Conflict(_))),
        "{refused:?}"
    );
    let nobody = store.put_survey_answer(answer(TicketId(99), 1)).await;
    assert!(matches!(nobody, Err(StoreError::NotFound(_))));
}

pub async fn a_ticket_that_closes_is_told(store: Arc<dyn Store>) {
    let (ticket, _) = open(&store, 0, 1, Vec::new()).await;
    let resolved = update(&store, step(&ticket, TicketState::Resolved, 2, &[])).await;
    // Two steps of the history in one: the state it ends in is told.
    let confirmed = moved(&resolved, TicketState::Confirmed, 3);
    let both = CareCommit {
        ticket: TicketWrite::Update {
            ticket: Box::new(moved(&confirmed, TicketState::Closed, 3)),
            parts_used: Vec::new(),
        },
        at: hour(3),
        ..CareCommit::default()
    };
    update(&store, both).await;
    assert_eq!(
        told(&store).await[1..],
        ["T-1.2.ticket.resolved", "T-1.3.ticket.closed"]
    );
}

fn mail(id: &str, address: &str) -> NewMail {
    let notice = Notice {
        id: NoticeId(format!("mail.{id}")),
        at: hour(2),
        ticket: None,
        asset: None,
        device: None,
        title: "Leak".to_owned(),
        priority: Priority::P4,
        state: None,
        technician: None,
        due_at: hour(2),
        why: String::new(),
        automation: Vec::new(),
        what: NoticeKind::MailUnplaced { from: None },
    };
    let mail = InboxMail {
        message_id: id.to_owned(),
        received_at: hour(2),
        from: format!("Ada <{address}>"),
        address: address.to_owned(),
        subject: "Leak".to_owned(),
        text: "It leaks.".to_owned(),
        n_files: 1,
        kind: None,
        customer: Some("c1".to_owned()),
        candidates: Vec::new(),
        fate: MailFate::Waiting,
    };
    NewMail {
        mail,
        content: Some(vec![0, 1, 255]),
        notice,
    }
}

fn bo() -> Actor {
    Actor {
        name: "Bo".to_owned(),
        channel: Channel::Console,
    }
}

pub async fn a_message_is_kept_once_until_it_is_settled(store: Arc<dyn Store>) {
    let first = store.put_mail(mail("<1@x>", "a@x.example")).await.unwrap();
    let again = store.put_mail(mail("<1@x>", "b@x.example")).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(told(&store).await, ["mail.<1@x>"]);
    let second = store.put_mail(mail("<2@x>", "a@x.example")).await.unwrap();
    assert!(second.position > first.position);
    let found = store.mail(first.position).await.unwrap();
    assert_eq!(
        found,
        (mail("<1@x>", "a@x.example").mail, Some(vec![0, 1, 255]))
    );
    let fate = MailFate::Placed {
        ticket: TicketId(7),
        by: bo(),
        at: hour(3),
    };
    for _ in 0..2 {
        let placed = store.settle_mail(first.position, fate.clone()).await;
        assert_eq!(placed.unwrap().fate, fate);
    }
    let other = MailFate::Discarded {
        why: "spam".to_owned(),
        by: bo(),
        at: hour(4),
    };
    let refused = store.settle_mail(first.position, other).await.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict(_)), "{refused}");
    assert_eq!(store.mail(first.position).await.unwrap().1, None);
    // It is known for as long as it is kept.
    let known = store.put_mail(mail("<1@x>", "a@x.example")).await.unwrap();
    assert_eq!(known.item.fate, fate);
    let waiting = store.mails(true, ALL).await.unwrap();
    assert_eq!(waiting, std::slice::from_ref(&second));
    let all = store.mails(false, ALL).await.unwrap();
    let positions: Vec<i64> = all.iter().map(|paged| paged.position).collect();
    assert_eq!(positions, [second.position, first.position]);
    let missing = store.mail(99).await.unwrap_err();
    assert!(matches!(missing, StoreError::NotFound(_)), "{missing}");
}

pub async fn a_message_of_an_erased_person_is_gone(store: Arc<dyn Store>) {
    let channels = serde_json::json!([{"kind": "email", "address": "Ada@X.example"}]);
    let contacts = serde_json::json!([{"id": "ada", "name": "Ada", "channels": channels}]);
    let acme = serde_json::json!({"name": "Acme", "contacts": contacts});
    let commit = RecordCommit {
        writes: vec![put(RecordKind::Customer, "c1", acme)],
        by: bo(),
        at: hour(1),
    };
    store.commit_records(commit).await.unwrap();
    store
        .put_mail(mail("<1@x>", "ada@x.example"))
        .await
        .unwrap();
    store.put_mail(mail("<2@x>", "bo@x.example")).await.unwrap();
    let erasure = Erasure {
        record: record(RecordKind::Customer, "c1"),
        person: Person::Contact(RecordId::new("ada").unwrap()),
        by: bo(),
        at: hour(9),
    };
    store.erase_person(erasure).await.unwrap();
    let left = store.mails(false, ALL).await.unwrap();
    let left: Vec<&str> = left.iter().map(|m| m.item.message_id.as_str()).collect();
    assert_eq!(left, ["<2@x>"]);
}
