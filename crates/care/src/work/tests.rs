//! Claims about work on a ticket.

use forecare_catalogue::Catalogue;
use forecare_domain::{ChecklistItem, TicketId};
use proptest::prelude::*;

use forecare_domain::NoticeKind;

use super::*;
use crate::fixtures::{TO_WORK, at, confirmed, part, person, resolved, ticket, walked};

fn take(ticket: &Ticket, step: WorkStep) -> Result<WorkDone, WorkError> {
    work(ticket, None, step, person(), at(9.0))
}

fn merged(ticket: &Ticket, into: &Ticket) -> Result<WorkDone, WorkError> {
    let into = Box::new(into.clone());
    let why = "same leak".to_owned();
    take(ticket, WorkStep::Merge { into, why })
}

#[test]
fn use_of_a_kit_is_use_of_its_parts() {
    let kit = "[[kit]]\nnumber = \"KIT-1\"\ntitle = \"-\"\nparts = [{ part = \"BRG-1\", quantity = 2 }, { part = \"SEAL-1\" }]\n";
    let text = format!("{}{kit}", crate::fixtures::CATALOGUE);
    let catalogue = Catalogue::parse(&text).unwrap();
    let reported = |of: &[(&str, u32)]| of.iter().map(|(p, n)| (part(p), *n).into()).collect();
    let named = parts_named(&catalogue, reported(&[("KIT-1", 2), ("SEAL-1", 1)])).unwrap();
    let seen: Vec<(&str, u32)> = named
        .iter()
        .map(|u| (u.part.as_str(), u.quantity))
        .collect();
    assert_eq!(seen, [("BRG-1", 4), ("SEAL-1", 3)]);
    let unknown = parts_named(&catalogue, reported(&[("NO-1", 1)]));
    assert_eq!(unknown, Err(part("NO-1")));
}

fn other() -> Ticket {
    Ticket {
        id: TicketId(2),
        ..ticket()
    }
}

#[test]
fn a_merged_ticket_ends_with_a_pointer_and_the_other_one_is_told() {
    let done = merged(&ticket(), &other()).unwrap();
    let after = done.ticket.unwrap();
    assert_eq!(after.state, TicketState::Cancelled);
    assert_eq!(after.work.merged_into, Some(TicketId(2)));
    assert_eq!(
        after.history.last().unwrap().why,
        "merged into T-2: same leak"
    );
    assert_eq!(done.entries[0].0, TicketId(2));
    let EntryBody::Note { text, .. } = &done.entries[0].1.body else {
        panic!("a note");
    };
    assert_eq!(text, "T-1 was merged into this ticket: same leak");
}

#[test]
fn what_a_customer_writes_is_told_while_the_ticket_lasts() {
    let note = |t: &Ticket, by: Actor| {
        let step = WorkStep::Note {
            text: "It leaks again".to_owned(),
            visibility: Visibility::Public,
        };
        work(t, None, step, by, at(9.0)).unwrap().ticket
    };
    let customer = || Actor {
        name: "Bo".to_owned(),
        channel: Channel::Email,
    };
    let told = |before: &Ticket, after: &Ticket| {
        let notices = crate::notices_of(Some(before), after, at(9.0));
        notices.iter().map(|n| n.what.label()).collect::<Vec<_>>()
    };
    for before in [ticket(), resolved(&confirmed())] {
        let after = note(&before, customer()).unwrap();
        assert_eq!(after.state, before.state);
        assert_eq!(after.history.last().unwrap().why, WROTE);
        assert_eq!(told(&before, &after), ["ticket.message"]);
        assert_eq!(note(&before, person()), None);
        assert_eq!(note(&after, customer()), None, "told a moment ago");
    }
    let mut closed = resolved(&confirmed());
    closed.state = TicketState::Closed;
    assert_eq!(note(&closed, customer()), None);
}

#[test]
fn what_we_write_for_the_customer_is_told_once_per_note() {
    let note = |text: &str, visibility, by: Actor, hour| {
        let text = text.to_owned();
        let step = WorkStep::Note { text, visibility };
        work(&ticket(), None, step, by, at(hour)).unwrap().notices
    };
    let told = note("We come", Visibility::Public, person(), 9.0);
    assert_eq!(told.len(), 1);
    let NoticeKind::TicketReplied { text, by } = &told[0].what else {
        panic!("a reply");
    };
    assert_eq!((text.as_str(), by), ("We come", &person().name));
    let again = note("We come", Visibility::Public, person(), 10.0);
    let other = note("Tomorrow", Visibility::Public, person(), 9.0);
    assert_ne!(told[0].id, again[0].id);
    assert_ne!(told[0].id, other[0].id);
    assert_eq!(note("Among us", Visibility::Internal, person(), 9.0), []);
    assert_eq!(note("By a rule", Visibility::Public, forecare(), 9.0), []);
    let customer = Actor {
        name: "Bo".to_owned(),
        channel: Channel::Email,
    };
    assert_eq!(note("It leaks", Visibility::Public, customer, 21.0), []);
}

#[test]
fn what_cannot_be_merged_is_refused_with_the_reason() {
    let elsewhere = Ticket {
        asset: forecare_domain::AssetId::new("pump-2").unwrap(),
        ..other()
    };
    let mut ended = other();
    ended.state = TicketState::Closed;
    for (from, into, says) in [
        (ticket(), ticket(), "into itself"),
        (ticket(), elsewhere, "one machine"),
        (ticket(), ended.clone(), "T-2 is closed"),
        (resolved(&confirmed()), other(), "T-1 is resolved"),
        (walked(&TO_WORK, &confirmed()), other(), "has begun"),
    ] {
        let refused = merged(&from, &into).unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
}

#[test]
fn a_line_is_done_once_and_undoing_it_is_told() {
    let mut t = ticket();
    t.work.checklist = vec![ChecklistItem {
        text: "Lock out".to_owned(),
        required: true,
        done: None,
    }];
    let check = |t: &Ticket, item, done| {
        let text = None;
        take(t, WorkStep::Check { item, done, text })
    };
    let done = check(&t, 0, true).unwrap().ticket.unwrap();
    assert_eq!(done.work.checklist[0].done.as_ref().unwrap().by, person());
    assert_eq!(check(&done, 0, true).unwrap(), WorkDone::default());
    let undone = check(&done, 0, false).unwrap().ticket.unwrap();
    assert_eq!(
        undone.history.last().unwrap().why,
        "not done after all: Lock out"
    );
    let text = Some("Look".to_owned());
    let other = WorkStep::Check {
        item: 0,
        done: true,
        text,
    };
    assert!(matches!(take(&t, other), Err(WorkError::Conflict(_))));
    assert!(matches!(
        check(&t, 1, true),
        Err(WorkError::Invalid { field, .. }) if field == "item"
    ));
    assert!(matches!(
        check(&resolved(&confirmed()), 0, true),
        Err(WorkError::Conflict(_))
    ));
}

#[test]
fn the_last_word_on_an_article_counts_once() {
    let says = |t: &Ticket, helped| {
        let article = "ticket-3".to_owned();
        take(t, WorkStep::Helped { article, helped }).unwrap()
    };
    let yes = says(&ticket(), true).ticket.unwrap();
    assert!(yes.work.helped["ticket-3"]);
    assert_eq!(says(&yes, true), WorkDone::default());
    let no = says(&yes, false).ticket.unwrap();
    assert_eq!(no.work.helped.len(), 1);
    assert_eq!(no.history, ticket().history, "nothing happened to it");
}

#[test]
fn parts_are_laid_down_while_the_ticket_is_open() {
    let needs = |quantity| WorkStep::Parts {
        parts: vec![PartWanted {
            part: part("BRG-1"),
            quantity,
        }],
        why: "worn too".to_owned(),
    };
    let after = take(&ticket(), needs(2)).unwrap().ticket.unwrap();
    assert_eq!(
        after.history.last().unwrap().why,
        "parts needed: 2 x BRG-1: worn too"
    );
    assert_eq!(take(&after, needs(2)).unwrap(), WorkDone::default());
    for quantity in [0, 10_001] {
        assert!(matches!(
            take(&ticket(), needs(quantity)),
            Err(WorkError::Invalid { field, .. }) if field == "parts.BRG-1"
        ));
    }
    assert!(matches!(
        take(&resolved(&confirmed()), needs(2)),
        Err(WorkError::Conflict(_))
    ));
}

#[test]
fn parts_are_used_while_work_goes_on() {
    let used = || WorkStep::PartsUsed(vec![(part("BRG-1"), 1).into()]);
    assert!(matches!(
        take(&ticket(), used()),
        Err(WorkError::Conflict(_))
    ));
    let done = take(&walked(&TO_WORK, &confirmed()), used()).unwrap();
    assert_eq!(done.parts_used, [PartUsed::from((part("BRG-1"), 1))]);
    assert_eq!(
        done.ticket.unwrap().history.last().unwrap().why,
        "parts used so far: 1 x BRG-1"
    );
}

#[test]
fn a_file_is_what_it_claims_to_be() {
    let attach = |name: &str, media_type: &str, content: &[u8]| {
        let step = WorkStep::Attach {
            name: name.to_owned(),
            media_type: media_type.to_owned(),
            signed_by: None,
            sha256: String::new(),
            content: content.to_vec(),
        };
        take(&ticket(), step)
    };
    let png = b"\x89PNG\r\n\x1a\nrest";
    assert!(attach("a.png", "image/png", png).is_ok());
    assert!(attach("a.txt", "text/plain", "grün".as_bytes()).is_ok());
    for (name, media_type, content, field) in [
        ("a.png", "image/png", &b"<script>"[..], "content"),
        ("a.html", "text/html", &b"<p>"[..], "Content-Type"),
        ("a.svg", "image/svg+xml", &b"<svg/>"[..], "Content-Type"),
        ("../a.png", "image/png", &png[..], "name"),
        ("a\r\nX: y", "image/png", &png[..], "name"),
        ("a.txt", "text/plain", &b"\xff\xfe"[..], "content"),
        ("a.txt", "text/plain", &b""[..], "content"),
    ] {
        let refused = attach(name, media_type, content).unwrap_err();
        assert!(
            matches!(&refused, WorkError::Invalid { field: at, .. } if at == field),
            "{refused}"
        );
    }
}

proptest! {
    #[test]
    fn no_step_of_work_takes_an_illegal_transition(state in 0..13_usize, into in 0..13_usize, step in 0..4_usize) {
        let mut t = ticket();
        t.state = TicketState::ALL[state];
        t.work.checklist = vec![ChecklistItem { text: "x".to_owned(), required: false, done: None }];
        let mut goes_on = other();
        goes_on.state = TicketState::ALL[into];
        let step = match step {
            0 => WorkStep::Check { item: 0, done: true, text: None },
            1 => WorkStep::PartsUsed(vec![(part("BRG-1"), 1).into()]),
            2 => WorkStep::Note { text: "x".to_owned(), visibility: Visibility::Public },
            _ => WorkStep::Merge { into: Box::new(goes_on), why: String::new() },
        };
        if let Ok(WorkDone { ticket: Some(after), .. }) = take(&t, step) {
            let stays = after.state == t.state && t.state.is_open();
            prop_assert!(stays || crate::allowed(t.state).contains(&after.state));
        }
    }
}
