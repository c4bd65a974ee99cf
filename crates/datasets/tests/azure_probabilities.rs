//! Probabilities against the truth, computed by hand.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use forecare_datasets::azure_pdm::{
    AzurePdm, Failure, HORIZON_H, HourOfFailure, Reading, RowProbabilities, TicketRecord, before,
    cuts, judged, next_failure, warnings,
};
use forecare_domain::{ComponentName, Timestamp};
use forecare_prognosis::{HistoryItem, judge};

fn hour(hour: i64) -> Timestamp {
    Timestamp::from_millis(hour * 3_600_000)
}

fn comp(n: u32) -> ComponentName {
    ComponentName::new(format!("comp{n}")).unwrap()
}

/// Two machines, a reading an hour from hour 0 to 100; comp1 of machine 1 fails at hour 50, comp2 of machine 2 at 90.
fn truth() -> AzurePdm {
    let failure = |machine, at, n| Failure {
        machine,
        ts: hour(at),
        component: comp(n),
    };
    AzurePdm {
        machines: vec![1, 2],
        readings: (0..=100)
            .flat_map(|h| {
                [1, 2].map(|machine| Reading {
                    machine,
                    ts: hour(h),
                    values: [1.0; 4],
                })
            })
            .collect(),
        errors: Vec::new(),
        replacements: Vec::new(),
        failures: vec![failure(1, 50, 1), failure(2, 90, 2)],
        absent: Vec::new(),
    }
}

fn row(machine: u32, at: i64, of_components: [f64; 2]) -> RowProbabilities {
    RowProbabilities {
        machine,
        ts: hour(at),
        of_components: of_components.to_vec(),
    }
}

#[test]
fn a_row_is_true_from_a_day_before_its_own_components_failure() {
    let truth = truth();
    let true_at =
        |component: Option<(&ComponentName, usize)>, hour_of_failure| -> Vec<(u32, i64)> {
            let rows: Vec<RowProbabilities> = [1, 2]
                .into_iter()
                .flat_map(|m| (0..=100).map(move |h| row(m, h, [0.1, 0.2])))
                .collect();
            judged(&truth, &rows, component, HORIZON_H, hour_of_failure)
                .iter()
                .zip(&rows)
                .filter(|(j, _)| j.came_true)
                .map(|(_, r)| (r.machine, r.ts.as_millis() / 3_600_000))
                .collect()
        };
    let hours = |machine, from: i64, to: i64| (from..=to).map(move |h| (machine, h));
    let first: Vec<_> = hours(1, 26, 49).collect();
    assert_eq!(true_at(Some((&comp(1), 0)), HourOfFailure::After), first);
    let with_hour: Vec<_> = hours(1, 26, 50).collect();
    assert_eq!(
        true_at(Some((&comp(1), 0)), HourOfFailure::Before),
        with_hour
    );
    let any: Vec<_> = hours(1, 26, 49).chain(hours(2, 66, 89)).collect();
    assert_eq!(true_at(None, HourOfFailure::After), any);
}

#[test]
fn any_component_is_one_less_the_chance_that_all_last() {
    assert!((row(1, 0, [0.5, 0.2]).any() - 0.6).abs() < 1e-12);
    assert_eq!(row(1, 0, [0.0, 0.0]).any(), 0.0);
}

#[test]
fn average_precision_of_four_rows_by_hand() {
    let truth = truth();
    // Sorted: 0.9 true, 0.8 false, 0.7 true, 0.1 false: (1 + 2/3) / 2.
    let rows = [
        row(1, 40, [0.7, 0.0]),
        row(2, 10, [0.0, 0.8]),
        row(2, 80, [0.0, 0.9]),
        row(1, 60, [0.1, 0.0]),
    ];
    let scores = judge(&judged(
        &truth,
        &rows,
        None,
        HORIZON_H,
        HourOfFailure::After,
    ));
    assert!((scores.average_precision - 5.0 / 6.0).abs() < 1e-12);
}

#[test]
fn warnings_count_what_lies_above_the_limit() {
    let truth = truth();
    let rows = [
        row(1, 40, [0.7, 0.0]),
        row(1, 41, [0.5, 0.0]),
        row(2, 10, [0.0, 0.8]),
        row(2, 80, [0.0, 0.9]),
    ];
    let found = warnings(
        &judged(&truth, &rows, None, HORIZON_H, HourOfFailure::After),
        0.5,
    );
    assert!((found.precision - 2.0 / 3.0).abs() < 1e-12);
    assert!((found.recall - 2.0 / 3.0).abs() < 1e-12);
    assert!((found.f1 - 2.0 / 3.0).abs() < 1e-12);
}

#[test]
fn nothing_after_the_cut_is_known_before_it() {
    let truth = truth();
    let cuts = cuts(&truth, 0.8);
    assert_eq!(cuts, [(1, hour(80)), (2, hour(80))]);
    for history in truth.histories() {
        let known = before(history, hour(80));
        assert!(known.items.iter().all(|i| i.ts() < hour(80)));
        let failures = known
            .items
            .iter()
            .filter(|i| matches!(i, HistoryItem::Failure { .. }))
            .count();
        assert_eq!(failures, usize::from(known.device == "machine-1"));
    }
}

#[test]
fn only_the_machines_to_keep_are_left() {
    let mut truth = truth();
    truth.keep(|m| m == 2);
    assert_eq!(
        (truth.machines.as_slice(), truth.readings.len()),
        ([2].as_slice(), 101)
    );
    assert_eq!(truth.failures.len(), 1);
}

#[test]
fn a_ticket_is_right_by_the_next_failure_of_its_component() {
    let truth = truth();
    let ticket = |component, opened| TicketRecord {
        machine: 1,
        component: comp(component),
        opened_at: hour(opened),
        closed_at: None,
        part_reserved: true,
    };
    assert_eq!(next_failure(&truth, &ticket(1, 30)), Some(hour(50)));
    assert_eq!(next_failure(&truth, &ticket(1, 50)), None);
    assert_eq!(next_failure(&truth, &ticket(2, 30)), None);
}
