//! Master data through the real binary: commands, files, the connector's examples, roles.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{badly, forecare, run, serve, wait_for, well};

/// An instance that has run once.
fn instance() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    assert!(serve(home.path()).stop());
    home
}

#[test]
fn the_catalogues_people_and_places_are_the_first_records_and_stay_what_they_become() {
    let home = instance();
    let home = home.path();
    let listed = well(home, &["registry", "list", "technicians"]);
    assert_eq!(listed.lines().count(), 4, "{listed}");
    assert!(listed.contains("asli-demir"), "{listed}");
    assert!(well(home, &["registry", "list", "depots"]).contains("Hamburg"));
    // Changed here, and not changed back by the next start.
    let file = home.join("people.csv");
    let file_name = file.to_str().unwrap();
    well(
        home,
        &["registry", "export", "technicians", "--out", file_name],
    );
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("Asli Demir", "Aslı Demir")).unwrap();
    let said = well(home, &["registry", "import", "technicians", file_name]);
    assert!(
        said.contains("4 technicians: 0 new, 1 changed, 3 as before"),
        "{said}"
    );
    assert!(serve(home).stop());
    let shown = well(home, &["registry", "show", "technicians", "asli-demir"]);
    assert!(shown.contains("Aslı Demir"), "{shown}");
    let history = well(
        home,
        &["registry", "show", "technicians", "asli-demir", "--history"],
    );
    let history: Value = serde_json::from_str(&history).unwrap();
    let by: Vec<&str> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["by"]["channel"].as_str().unwrap())
        .collect();
    assert_eq!(by, ["cli", "system"]);
}

#[test]
fn files_come_back_as_they_went_and_faults_name_line_and_column() {
    let home = instance();
    let home = home.path();
    let file = |name: &str, text: &str| {
        let path = home.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let customers = file(
        "customers.csv",
        "id,name,value.yearly,preferred_technicians,note\n\
         C-1,\"Acme, \"\"Inc\"\"\",1000.5,asli-demir;jonas-petersen,\"=two\nlines\"\n\
         C-2,压缩机有限公司,0,,\n",
    );
    let said = well(home, &["registry", "import", "customers", &customers]);
    assert!(said.contains("2 new"), "{said}");
    for format in ["csv", "json"] {
        let args = ["registry", "export", "customers", "--format", format];
        let out = well(home, &args);
        let again = file(&format!("again.{format}"), &out);
        let said = well(home, &["registry", "import", "customers", &again]);
        assert!(said.contains("2 as before"), "{said}");
        assert_eq!(well(home, &args), out);
    }
    let bad = file(
        "bad.csv",
        "id,customer,kind,valid_from,targets\n\
         K-1,C-1,full-service,2026-01-01,\n\
         K-2,C-9,full-service,2026-13-01,\n\
         K-3,C-1,full-service,2026-01-01,[{]\n",
    );
    let said = badly(home, &["registry", "import", "contracts", &bad]);
    assert!(said.contains("nothing was imported"), "{said}");
    assert!(said.contains("line 3, column valid_from"), "{said}");
    assert!(
        said.contains("line 4, column targets: is no JSON"),
        "{said}"
    );
    let bad = file(
        "dangling.csv",
        "id,customer,kind,valid_from\nK-1,C-1,basic,2026-01-01\nK-2,C-9,basic,2026-01-01\n",
    );
    let said = badly(home, &["registry", "import", "contracts", &bad]);
    assert!(
        said.contains("line 3, column customer: customer \"C-9\" is not there"),
        "{said}"
    );
    assert_eq!(well(home, &["registry", "list", "contracts"]), "");
    let (_, columns, _) = run(forecare().args(["registry", "columns", "contracts"]));
    assert!(
        columns.starts_with("id,customer,kind,title,valid_from"),
        "{columns}"
    );
    // Nothing is left of somebody who asked for it.
    let people = file(
        "people.json",
        r#"[{"id":"C-3","body":{"name":"Small","contacts":[{"id":"ada","name":"Ada Lovelace"}]}}]"#,
    );
    well(home, &["registry", "import", "customers", &people]);
    well(
        home,
        &["registry", "erase", "customers", "C-3", "--contact", "ada"],
    );
    let history = well(home, &["registry", "show", "customers", "C-3", "--history"]);
    assert!(!history.contains("Lovelace"), "{history}");
    let bytes = std::fs::read(home.join("forecare.sqlite")).unwrap();
    let is_there = bytes.windows(8).any(|window| window == b"Lovelace");
    assert!(!is_there, "the name is still in the file");
}

/// The shell commands of a page of the documentation.
fn commands(page: &str) -> String {
    let mut text = String::from("set -eu\n");
    for block in page.split("```sh\n").skip(1) {
        text.push_str(block.split("```").next().unwrap());
    }
    text
}

#[test]
fn the_connectors_examples_work_as_written() {
    let home = instance();
    let home = home.path();
    let service = serve(home);
    let made = well(home, &["token", "add", "crm"]);
    let token = made.split_whitespace().last().unwrap().to_owned();
    let made = well(home, &["token", "add", "board", "--read-only"]);
    let reader = made.split_whitespace().last().unwrap().to_owned();
    let url = service.http.trim_end_matches('/').to_owned();
    let status = |token: &str, method: &str, path: &str| {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .new_agent();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{url}{path}"))
            .header("Authorization", format!("Bearer {token}"))
            .header("Content-Type", "application/json");
        let response = if method == "PUT" {
            agent.run(request.body("{\"name\":\"X\"}").unwrap())
        } else {
            agent.run(request.body(()).unwrap())
        };
        let mut response = response.unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), text)
    };
    let list = "/api/v1/registry/customers";
    wait_for("the tokens", || {
        status(&token, "GET", list).0 == 200 && status(&reader, "GET", list).0 == 200
    });
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/connector.md");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.matches("```sh").count() >= 5);
    let directory = tempfile::tempdir().unwrap();
    let (ok, out, err) = run(Command::new("bash")
        .args(["-c", &commands(&page)])
        .current_dir(directory.path())
        .env("FORECARE_URL", &url)
        .env("FORECARE_TOKEN", &token));
    assert!(ok, "{out}\n{err}");
    assert!(
        out.contains(r#"{"n_created":1,"n_updated":0,"n_unchanged":0}"#),
        "{out}"
    );
    assert!(out.contains("\"updated_by\":\"crm\""), "{out}");
    let history = status(&token, "GET", "/api/v1/registry/customers/C-1017/history").1;
    assert!(!history.contains("Ada Brandt"), "{history}");

    // Who may only read: reads without addresses, and changes nothing.
    let body = r#"{"name":"Y","contacts":[{"id":"p","name":"Bo","channels":[{"kind":"phone","address":"+49 40 1"}]}]}"#;
    let mut response = ureq::put(format!("{url}/api/v1/registry/customers/C-2"))
        .header("Authorization", format!("Bearer {token}"))
        .header("Content-Type", "application/json")
        .send(body)
        .unwrap();
    assert!(
        response
            .body_mut()
            .read_to_string()
            .unwrap()
            .contains("+49 40 1")
    );
    for path in [
        "/api/v1/registry/customers/C-2",
        "/api/v1/registry/customers/C-2/history",
        "/api/v1/registry/customers/export?format=csv",
        "/api/v1/registry/changes",
        "/api/v1/customers/C-2/overview",
    ] {
        let (code, text) = status(&reader, "GET", path);
        assert_eq!(code, 200, "{path}");
        assert!(
            text.contains("Bo") && !text.contains("+49 40 1"),
            "{path}: {text}"
        );
    }
    assert_eq!(status(&reader, "PUT", "/api/v1/registry/vans/v1").0, 403);
    assert_eq!(status(&token, "PUT", "/api/v1/registry/vans/v1").0, 201);
    well(home, &["token", "revoke", "board"]);
    wait_for("the end of the token", || {
        status(&reader, "GET", list).0 == 401
    });
    assert!(well(home, &["token", "list"]).contains("revoked"));
    assert!(service.stop());
}

#[test]
fn the_doctor_finds_what_the_catalogue_no_longer_has() {
    let home = instance();
    let home = home.path();
    let file = |name: &str, text: &str| {
        let path = home.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let customers = file("c.csv", "id,name\nC-1,Acme\n");
    well(home, &["registry", "import", "customers", &customers]);
    let contracts = file(
        "k.csv",
        "id,customer,kind,valid_from,coverage.classes\nK-1,C-1,basic,2026-01-01,screw-compressor\n",
    );
    well(home, &["registry", "import", "contracts", &contracts]);
    let (_, said, _) = run(forecare().args(["doctor", "--home"]).arg(home));
    assert!(
        said.contains("registry") && said.contains("every reference leads somewhere"),
        "{said}"
    );
    let kept = home.join("catalogue.toml");
    let text = std::fs::read_to_string(&kept).unwrap();
    std::fs::write(&kept, text.replace("screw-compressor", "scroll-compressor")).unwrap();
    let (_, said, _) = run(forecare().args(["doctor", "--home"]).arg(home));
    assert!(
        said.contains("contract \"K-1\": the catalogue has no class \"screw-compressor\""),
        "{said}"
    );
}
