//! Tickets, parts, figures and answers from a terminal, beside a service that runs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use serde_json::Value;
use support::{Service, badly, serve, well};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e} in {text}"))
}

/// The first class, its first mode with its first part, and the first depot of the instance's catalogue.
fn names(service: &Service) -> (String, String) {
    let parts = service.get("api/v1/parts");
    let name = |v: &Value| v.as_str().unwrap().to_owned();
    let first = parts["items"].as_array().unwrap().iter();
    let untracked = first.clone().find(|p| p["tracked"] == "no").unwrap();
    (
        name(&untracked["number"]),
        name(&untracked["stock"][0]["depot"]),
    )
}

#[test]
fn a_ticket_goes_its_way_from_a_terminal() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let service = serve(home);
    let class = std::fs::read_to_string(home.join("catalogue.toml")).unwrap();
    let (_, class) = class.split_once("[[class]]").unwrap();
    let (_, class) = class.split_once("name = \"").unwrap();
    let class = class.split('"').next().unwrap();
    let asset = serde_json::json!({"assets": [{"id": "m-1", "device_id": "m-1", "class": class, "name": "Machine 1"}]});
    let (status, answer) = service.post("api/v1/assets", &asset);
    assert!(status < 300, "{answer}");

    let opened = well(
        home,
        &[
            "tickets",
            "open",
            "--asset",
            "m-1",
            "--title",
            "Odd noise",
            "--urgency",
            "high",
            "--description",
            "It rattles",
        ],
    );
    assert!(
        opened.starts_with("T-1  ") && opened.contains("Odd noise"),
        "{opened}"
    );
    let listed = well(home, &["tickets", "list", "--q", "noise", "--open"]);
    assert!(
        listed.contains("T-1") && listed.ends_with("1 tickets\n"),
        "{listed}"
    );
    assert_eq!(
        well(home, &["tickets", "list", "--ended"]),
        "no ticket fits\n"
    );
    let csv = well(home, &["tickets", "list", "--csv"]);
    assert!(csv.starts_with("id,kind,origin"), "{csv}");
    well(home, &["tickets", "note", "T-1", "called back"]);
    well(
        home,
        &["tickets", "time", "1", "45", "--what", "on the road"],
    );
    well(home, &["tickets", "transition", "1", "triaged"]);
    let shown = well(home, &["tickets", "show", "1"]);
    assert!(
        shown.contains("cost so far") && shown.contains("45 min booked"),
        "{shown}"
    );
    assert!(shown.contains("reported     It rattles"), "{shown}");
    let ticket = json(&well(home, &["tickets", "show", "1", "--json"]));
    assert_eq!(ticket["state"], "triaged");
    assert_eq!(ticket["cost"]["minutes"], 45);

    well(
        home,
        &["tickets", "priority", "1", "P1", "--why", "the boss called"],
    );
    well(
        home,
        &["tickets", "classify", "1", "--title", "Very odd noise"],
    );
    let refused = badly(home, &["tickets", "classify", "1", "--kind", "party"]);
    assert!(refused.contains("corrective"), "names the kinds: {refused}");
    let notes = well(home, &["tickets", "notes", "1"]);
    assert!(
        notes.contains("45 min on the road") && notes.contains("called back"),
        "{notes}"
    );
    assert!(badly(home, &["tickets", "check", "1", "1"]).contains("0 lines"));

    let plan = well(home, &["tickets", "plan"]);
    assert!(
        plan.contains("T-1") && plan.contains("Very odd noise"),
        "{plan}"
    );

    let (part, depot) = names(&service);
    well(home, &["tickets", "parts", "1", &format!("{part}=1")]);
    let shown = well(home, &["tickets", "show", "1"]);
    let held = format!("part         1 x {part} ");
    assert!(
        shown.contains(&held) && !shown.contains("released"),
        "{shown}"
    );
    assert!(
        shown.contains("Very odd noise") && shown.contains("  P1  "),
        "{shown}"
    );
    well(home, &["tickets", "parts", "1", "--none"]);
    let shown = well(home, &["tickets", "show", "1"]);
    assert!(shown.contains(&format!("1 x {part} released")), "{shown}");

    let movement = ["--depot", depot.as_str(), "--key", "once"];
    let receive = ["parts", "receive", &part, "4"];
    let first = well(home, &[&receive[..], &movement].concat());
    assert!(first.contains("on hand"), "{first}");
    let again = well(home, &[&receive[..], &movement].concat());
    // Under one key it is booked once: four have come, not eight.
    assert!(again.ends_with(&first), "{first}{again}");
    let issue = ["parts", "issue", &part, "1", "--depot", &depot];
    assert!(
        badly(home, &issue).contains("--ticket"),
        "for whom must be said"
    );
    well(home, &[&issue[..], &["--ticket", "T-1"]].concat());
    let ledger = well(home, &["parts", "ledger"]);
    let second = ledger.lines().nth(1).unwrap();
    assert!(
        second.contains("issue") && second.contains("T-1"),
        "{ledger}"
    );
    let stock = json(&well(home, &["parts", "stock", &part, "--json"]));
    assert!(
        stock
            .as_array()
            .unwrap()
            .iter()
            .all(|s| s["part"] == part.as_str())
    );
    assert!(well(home, &["parts", "list"]).contains(&part));
    let refused = badly(
        home,
        &[
            "parts", "issue", &part, "1", "--depot", "moon", "--ticket", "1",
        ],
    );
    assert!(refused.contains(&depot), "names the known ones: {refused}");

    let refused = badly(home, &["tickets", "list", "--priority", "high"]);
    assert!(refused.contains("P1, P2, P3, P4"), "{refused}");
    well(home, &["tickets", "cancel", "1", "--why", "a mistake"]);
    assert!(badly(home, &["tickets", "close", "1"]).contains("cancelled"));

    let figures = well(home, &["kpis", "--by", "technician"]);
    assert!(
        figures.contains("figure") && figures.contains("not known yet"),
        "{figures}"
    );
    let csv = well(home, &["kpis", "--csv"]);
    assert!(csv.starts_with("dimension,group,figure"), "{csv}");
    assert!(json(&well(home, &["kpis", "--days", "7", "--json"]))["figures"].is_array());
    assert_eq!(well(home, &["surveys", "list"]), "no answer yet\n");
    assert!(service.stop());
}

#[test]
fn without_a_service_the_desks_commands_say_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    for args in [
        &["tickets", "list"][..],
        &["parts", "list"],
        &["kpis"],
        &["surveys", "list"],
    ] {
        let said = badly(home.path(), args);
        assert!(
            said.contains("no service runs in") && said.contains("forecare serve"),
            "{said}"
        );
    }
}

#[test]
fn a_record_is_put_and_deleted_by_version_from_a_terminal() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    assert!(serve(home).stop());
    let file = home.join("customer.json");
    std::fs::write(&file, r#"{"name": "Nordwind"}"#).unwrap();
    let file = file.to_str().unwrap();
    let put = ["registry", "put", "customers", "C-1", file];
    assert_eq!(well(home, &put), "customer \"C-1\": new\n");
    assert_eq!(well(home, &put), "customer \"C-1\": as before\n");
    assert!(well(home, &["registry", "show", "customers", "C-1"]).contains("Nordwind"));
    let stale = badly(
        home,
        &[
            "registry",
            "delete",
            "customers",
            "C-1",
            "--if-version",
            "9",
        ],
    );
    assert!(stale.contains("version"), "{stale}");
    assert_eq!(
        well(home, &["registry", "delete", "customers", "C-1"]),
        "customer \"C-1\": deleted\n"
    );
    std::fs::write(home.join("customer.json"), r#"{"nam": "Nordwind"}"#).unwrap();
    assert!(badly(home, &put).contains("name"));
}
