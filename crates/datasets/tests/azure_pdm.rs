//! Loading small files of the data set's shape, and reports computed by hand.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::path::Path;

use forecare_datasets::azure_pdm::{
    AlarmRecord, AzurePdm, EventKind, Telemetry, TicketRecord, report,
};
use forecare_domain::{ComponentName, Timestamp};
use forecare_prognosis::HistoryItem;

/// Two machines, one day of readings each, columns in another order than the original's.
fn write_files(dir: &Path) {
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    write(
        "PdM_machines.csv",
        "machineID,model,age\n1,model3,18\n2,model4,7\n",
    );
    let mut telemetry = String::from("volt,machineID,rotate,extra,pressure,vibration,datetime\n");
    for hour in 0..24 {
        for machine in [2, 1] {
            telemetry += &format!("{hour}.5,{machine},400,x,100,40,2015-01-01 {hour:02}:00:00\n");
        }
    }
    write("PdM_telemetry_90days.csv", &telemetry);
    write(
        "PdM_telemetry_daily_mean.csv",
        "date,window_start,window_end,machineID,volt,rotate,pressure,vibration\n2015-01-01,2015-01-01 07:00:00,2015-01-02 06:00:00,1,170,446,97,40\n",
    );
    write(
        "PdM_errors.csv",
        "datetime,machineID,errorID\n2015-01-01 06:00:00,1,error1\n",
    );
    write(
        "PdM_maint.csv",
        "datetime,machineID,comp\n2014-06-01 06:00:00,1,comp2\n2015-01-01 06:00:00,1,comp1\n2015-01-01 20:00:00,2,comp3\n",
    );
    write(
        "PdM_failures.csv",
        "datetime,machineID,failure\n2015-01-01 20:00:00,1,comp1\n2015-01-01 22:00:00,1,comp4\n2015-03-01 06:00:00,2,comp2\n",
    );
}

fn load(dir: &Path, machines: &str, telemetry: Telemetry) -> Result<AzurePdm, String> {
    AzurePdm::load(dir, &machines.parse().unwrap(), telemetry).map_err(|e| {
        let mut text = e.to_string();
        if let Some(source) = std::error::Error::source(&e) {
            text += &format!(": {source}");
        }
        text
    })
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn comp(n: u32) -> ComponentName {
    ComponentName::new(format!("comp{n}")).unwrap()
}

#[test]
fn columns_are_found_by_name_and_machines_by_range() {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    let both = load(dir.path(), "1-9", Telemetry::Days90).unwrap();
    assert_eq!(both.machines, [1, 2]);
    assert_eq!(both.readings.len(), 48);
    assert_eq!(both.readings[2].values, [1.5, 400.0, 100.0, 40.0]);
    assert_eq!(both.readings[2].ts, at("2015-01-01T01:00:00Z"));
    let one = load(dir.path(), "2", Telemetry::Days90).unwrap();
    assert_eq!(
        (one.readings.len(), one.errors.len(), one.replacements.len()),
        (24, 0, 1)
    );
    let daily = load(dir.path(), "1", Telemetry::Daily).unwrap();
    assert_eq!(daily.readings[0].ts, at("2015-01-02T06:00:00Z"));
}

#[test]
fn the_replay_is_in_order_of_time_and_never_tells_failures() {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    let data = load(dir.path(), "1", Telemetry::Days90).unwrap();
    let events: Vec<_> = data.events_in_time_order().collect();
    assert_eq!(events.len(), 24 + 1 + 2);
    assert!(events.windows(2).all(|e| e[0].ts <= e[1].ts));
    assert_eq!(events[0].kind, EventKind::Replaced(&comp(2)));
    let six: Vec<_> = events
        .iter()
        .filter(|e| e.ts == at("2015-01-01T06:00:00Z"))
        .map(|e| e.kind)
        .collect();
    assert!(matches!(
        six.as_slice(),
        [
            EventKind::Error("error1"),
            EventKind::Reading(_),
            EventKind::Replaced(_)
        ]
    ));
    let histories = data.histories();
    let failures = histories[0]
        .items
        .iter()
        .filter(|i| matches!(i, HistoryItem::Failure { .. }))
        .count();
    assert_eq!((histories.len(), failures), (1, 2));
    assert_eq!(histories[0].device, "machine-1");
}

#[test]
fn a_part_is_read_without_what_is_not_there_and_says_what_that_is() {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    for name in ["PdM_machines.csv", "PdM_failures.csv", "PdM_errors.csv"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    let from = dir.path().join("PdM_telemetry_90days.csv");
    fs::rename(from, dir.path().join("PdM_telemetry.csv")).unwrap();
    let all = "1-9".parse().unwrap();
    let part = AzurePdm::load_part(dir.path(), &all, Telemetry::Days90).unwrap();
    assert_eq!(
        (part.machines.as_slice(), part.readings.len()),
        (&[1, 2][..], 48)
    );
    assert_eq!(part.absent, ["PdM_errors.csv", "PdM_failures.csv"]);
    assert!(part.failures.is_empty() && part.replacements.len() == 3);
    let whole = load(dir.path(), "1-9", Telemetry::Days90).unwrap_err();
    assert!(whole.contains("PdM_machines.csv"), "{whole}");
}

#[test]
fn errors_name_the_file_the_line_and_the_column() {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    let broken = |name: &str, from: &str, to: &str| {
        write_files(dir.path());
        let path = dir.path().join(name);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(from, to)).unwrap();
        load(dir.path(), "1-2", Telemetry::Days90).unwrap_err()
    };
    let absent = load(dir.path(), "1", Telemetry::Windows).unwrap_err();
    assert!(
        absent.contains("PdM_telemetry_windows.csv")
            && absent.contains(&dir.path().display().to_string()),
        "{absent}"
    );
    for (name, from, to, says) in [
        (
            "PdM_telemetry_90days.csv",
            "2.5,1,",
            "NaN,1,",
            vec!["line 7", "\"volt\"", "NaN"],
        ),
        (
            "PdM_maint.csv",
            "2014-06-01 06",
            "June 1st",
            vec!["line 2", "\"datetime\"", "June"],
        ),
        (
            "PdM_errors.csv",
            "errorID",
            "error",
            vec!["no column \"errorID\"", "machineID, error"],
        ),
        (
            "PdM_failures.csv",
            ",1,comp4",
            ",x,comp4",
            vec!["line 3", "\"machineID\""],
        ),
        (
            "PdM_errors.csv",
            ",error1",
            "",
            vec!["PdM_errors.csv", "line"],
        ),
    ] {
        let text = broken(name, from, to);
        assert!(text.contains(name), "{text}");
        for part in says {
            assert!(text.contains(part), "{text}");
        }
    }
    write_files(dir.path());
    let none = load(dir.path(), "7-9", Telemetry::Days90).unwrap_err();
    assert!(none.contains("7-9") && none.contains("1 to 2"), "{none}");
}

fn ticket(machine: u32, component: u32, opened: &str, closed: Option<&str>) -> TicketRecord {
    TicketRecord {
        machine,
        component: comp(component),
        opened_at: at(opened),
        closed_at: closed.map(at),
        part_reserved: machine == 1,
    }
}

#[test]
fn a_report_equals_the_count_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    let truth = load(dir.path(), "1-2", Telemetry::Days90).unwrap();
    let tickets = [
        // Comp1 of machine 1 fails at 20:00: caught 15 h ahead.
        ticket(1, 1, "2015-01-01T05:00:00Z", Some("2015-01-01T20:00:00Z")),
        // Comp4 fails at 22:00: caught, but only 6 h ahead.
        ticket(1, 4, "2015-01-01T16:00:00Z", None),
        // Right, but closed before the failure: not what caught it.
        ticket(1, 4, "2015-01-01T02:00:00Z", Some("2015-01-01T03:00:00Z")),
        // Comp3 of machine 2 is replaced as planned at 20:00.
        ticket(2, 3, "2015-01-01T10:00:00Z", None),
        // Nothing happens to it within 72 h.
        ticket(2, 2, "2015-01-01T10:00:00Z", None),
    ];
    let alarms = [AlarmRecord {
        machine: 1,
        raised_at: at("2015-01-01T05:00:00Z"),
    }];
    let report = report(&truth, &tickets, &alarms);
    let all = &report.all;
    // The failure of machine 2 in March has no telemetry before it.
    assert_eq!((all.failures, all.failures_without_telemetry), (2, 1));
    assert_eq!((all.caught, all.caught_12h), (2, 1));
    assert_eq!(
        (all.tickets, all.tickets_right, all.tickets_planned),
        (5, 3, 1)
    );
    assert_eq!(all.parts_reserved_right, 3);
    let lead = all.lead_hours.unwrap();
    assert!(
        (lead.p50 - 10.5).abs() < 1e-9 && (lead.p10 - 6.9).abs() < 1e-9,
        "{lead:?}"
    );
    let comp4 = &report.components[&comp(4)];
    assert_eq!(
        (
            comp4.failures,
            comp4.caught,
            comp4.caught_12h,
            comp4.tickets_right
        ),
        (1, 1, 0, 2)
    );
    assert_eq!(report.components[&comp(2)].lead_hours, None);
    // One alarm in two times 23 hours.
    assert!((report.alarms_per_machine_month - 730.5 / 46.0).abs() < 1e-9);
    let json: serde_json::Value = serde_json::to_value(&report).unwrap();
    assert_eq!(json["all"]["caught_12h"], 1);
    assert_eq!(json["components"]["comp1"]["tickets_right"], 1);
}

#[test]
fn a_replacement_that_mends_a_failure_is_not_planned() {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    fs::write(
        dir.path().join("PdM_maint.csv"),
        "datetime,machineID,comp\n2015-01-01 20:00:00,1,comp1\n",
    )
    .unwrap();
    let truth = load(dir.path(), "1", Telemetry::Days90).unwrap();
    // Opened at the hour of the failure: too late to be right, and the repair that follows is none of its merit.
    let tickets = [
        ticket(1, 1, "2015-01-01T20:00:00Z", None),
        ticket(1, 1, "2015-01-01T19:30:00Z", None),
    ];
    let all = report(&truth, &tickets, &[]).all;
    assert_eq!(
        (all.tickets, all.tickets_right, all.tickets_planned),
        (2, 1, 0)
    );
    assert_eq!((all.caught, all.caught_12h), (1, 0));
}
