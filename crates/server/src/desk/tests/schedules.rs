//! Schedules across restarts, on time and on counters.

use std::sync::Arc;

use forecare_domain::{MetricName, Row, TicketState};
use forecare_store::{CommitBatch, ScoredRow, Store};
use forecare_store_sqlite::SqliteStore;

use super::super::schedules::Kept;
use super::opening::memory;
use super::{Office, catalogue, hour, office_with};
use crate::config::Config;

pub(super) fn config(rules: &str) -> Config {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("forecare.toml");
    std::fs::write(&file, rules).unwrap();
    Config::load(Some(&file), &[]).unwrap()
}

impl Office {
    /// A look as after a start: nothing is remembered but what is stored.
    async fn schedules(&self, at: i64) -> usize {
        self.clock.set(hour(at));
        let mut kept = Kept::new();
        let first = self
            .desk
            .look_at_schedules(&mut kept, hour(at))
            .await
            .unwrap();
        let again = self
            .desk
            .look_at_schedules(&mut kept, hour(at))
            .await
            .unwrap();
        assert_eq!(again, 0, "nothing opens twice");
        first
    }
}

const MONTHLY: &str = "[[care.tickets.schedule]]\nname = \"monthly\"\ntitle = \"Monthly look\"\nevery_days = 30\nlead = 48\n";

#[tokio::test]
async fn an_inspection_opens_the_lead_ahead_once_across_restarts_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let reopen = || {
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&path, &catalogue(), hour(0)).unwrap());
        office_with(store, config(MONTHLY))
    };
    {
        let first = reopen();
        first.machines(&["c1", "c2"]).await;
        assert_eq!(first.schedules(0).await, 0);
    }
    let mut opened = Vec::new();
    for at in [600, 671, 672, 673, 720, 721] {
        let again = reopen();
        opened.push(again.schedules(at).await);
    }
    assert_eq!(opened, [0, 0, 2, 0, 0, 0]);
    let office = reopen();
    let tickets = office.tickets().await;
    assert_eq!(tickets[0].due_at, hour(720));
    assert_eq!(tickets[0].kind.as_str(), "inspection");
    assert!(tickets[0].title.ends_with(": Monthly look"));
    // The next occurrence of the one that is still open counts as taken care of.
    office.step(tickets[0].id, TicketState::Cancelled).await;
    assert_eq!(office.schedules(1_400).await, 1);
    office.step(tickets[1].id, TicketState::Cancelled).await;
    assert_eq!(office.schedules(1_440).await, 0);
    assert_eq!(office.schedules(2_200).await, 1);
}

#[tokio::test]
async fn a_crash_between_the_ticket_and_what_is_kept_opens_nothing_twice() {
    let office = office_with(memory(), config(MONTHLY));
    office.machines(&["c1"]).await;
    office.schedules(0).await;
    let key = "schedule/c1/monthly";
    let before = office.desk.store.setting(key).await.unwrap().unwrap();
    assert_eq!(office.schedules(700).await, 1);
    let id = office.tickets().await[0].id;
    office.step(id, TicketState::Cancelled).await;
    office.desk.store.put_setting(key, &before).await.unwrap();
    office.schedules(701).await;
    assert_eq!(office.tickets().await.len(), 1);
}

#[tokio::test]
async fn a_counter_opens_by_its_value_and_begins_anew() {
    let metric = catalogue().classes[0].metrics[0].name.clone();
    let rules = format!(
        "[[care.tickets.schedule]]\nname = \"oil\"\ntitle = \"Oil\"\nkind = \"corrective\"\ncounter = {{ metric = \"{metric}\", every = 100 }}\nlead = 5\n"
    );
    let office = office_with(memory(), config(&rules));
    let assets = office.machines(&["c1"]).await;
    assert_eq!(
        office.schedules(0).await,
        0,
        "the counter was not heard yet"
    );
    let n_metrics = catalogue().classes[0].metrics.len();
    let mut opened = Vec::new();
    for (at, value) in [
        (1, 950.0),
        (2, 994.0),
        (3, 995.0),
        (4, 990.0),
        (5, 3.0),
        (6, 97.0),
    ] {
        let mut values = vec![None; n_metrics];
        values[0] = Some(value);
        let row = Row {
            device: assets[0].device.clone(),
            ts: hour(at),
            values,
            extra: Vec::<(MetricName, f64)>::new(),
        };
        let batch = CommitBatch {
            rows: vec![ScoredRow { row, health: None }],
            ..CommitBatch::default()
        };
        office.desk.store.commit_batch(batch).await.unwrap();
        opened.push(office.schedules(at).await);
        for ticket in office.tickets().await {
            if ticket.state.is_open() {
                office.step(ticket.id, TicketState::Cancelled).await;
            }
        }
    }
    assert_eq!(opened, [0, 0, 1, 0, 0, 1]);
}
