//! Visits that customers choose.

use forecare_api::{Desk, DeskError};
use forecare_domain::{Actor, Channel, TicketState};

use super::opening::memory;
use super::{eve, hour, office};

fn customer() -> Actor {
    Actor {
        name: "customer".to_owned(),
        channel: Channel::Customer,
    }
}

#[tokio::test]
async fn a_chosen_time_is_laid_down_and_no_longer_offered_to_others() {
    let office = office(memory());
    let names: Vec<String> = (0..12).map(|n| format!("c{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    office.alarmed(&names, "bearing-wear").await;
    let tickets = office.tickets().await;
    assert_eq!(tickets.len(), names.len());
    office.desk.plan_now().await.unwrap();
    let id = tickets[0].id;
    let offered = office.desk.slots(id).await.unwrap();
    assert!(!offered.is_empty() && offered.len() <= 6, "{offered:?}");
    for slot in &offered {
        assert!(slot.from >= hour(24), "a day ahead at least");
        assert!(slot.from <= slot.visit.start_at && slot.visit.start_at < slot.to);
    }
    let chosen = offered.last().unwrap().clone();
    let after = office
        .desk
        .take_slot(id, chosen.from, customer())
        .await
        .unwrap();
    let laid_down = after.assignment.as_ref().unwrap();
    assert_eq!(laid_down.start_at, Some(chosen.visit.start_at));
    assert!(laid_down.by.is_customer());
    // Everybody asks for the same window: each technician comes to one at a time.
    let mut begun = vec![(chosen.visit.technician.clone(), chosen.visit.start_at)];
    let mut refused = 0;
    for ticket in &tickets[1..] {
        match office
            .desk
            .take_slot(ticket.id, chosen.from, customer())
            .await
        {
            Ok(after) => {
                let laid_down = after.assignment.unwrap();
                begun.push((laid_down.technician, laid_down.start_at.unwrap()));
            }
            Err(DeskError::Conflict(why)) => {
                assert!(why.contains("no longer free"), "{why}");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 0, "{begun:?}");
    begun.sort();
    for pair in begun.windows(2) {
        let hours = pair[1].1.hours_since(pair[0].1);
        assert!(pair[0].0 != pair[1].0 || hours >= 1.0, "{pair:?}");
    }
    // The plan keeps what was agreed.
    office.desk.plan_now().await.unwrap();
    let kept = office.desk.store.ticket(id).await.unwrap();
    let planned = kept.proposal.unwrap().assigned.unwrap();
    assert_eq!(planned.start_at, chosen.visit.start_at);
    // The customer changes their mind.
    let others = office.desk.slots(id).await.unwrap();
    let other = others.iter().find(|s| s.from != chosen.from).unwrap();
    let moved = office.desk.take_slot(id, other.from, customer()).await;
    assert_eq!(
        moved.unwrap().assignment.unwrap().start_at,
        Some(other.visit.start_at)
    );
}

#[tokio::test]
async fn nothing_is_offered_once_the_work_has_begun() {
    let office = office(memory());
    office.alarmed(&["c1"], "bearing-wear").await;
    let id = office.tickets().await[0].id;
    for to in [
        TicketState::Triaged,
        TicketState::Dispatched,
        TicketState::Accepted,
        TicketState::InProgress,
    ] {
        assert!(office.desk.slots(id).await.is_ok());
        office.step(id, to).await;
    }
    let refused = office.desk.slots(id).await.unwrap_err();
    assert!(matches!(&refused, DeskError::Conflict(why) if why.contains("begun")));
    let taken = office.desk.take_slot(id, hour(48), eve()).await;
    assert!(matches!(taken, Err(DeskError::Conflict(_))));
}
