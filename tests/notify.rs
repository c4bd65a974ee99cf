//! People are told: over real HTTP, across kill -9, with a dead letter and its retry.
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

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use forecare_catalogue::Catalogue;
use forecare_domain::{
    AlarmId, Asset, AssetId, CareTask, ClassName, DeviceId, ModeName, Rul, Severity, Timestamp,
};
use forecare_store::{CommitBatch, NewTask, Store};
use forecare_store_sqlite::SqliteStore;
use forecare_test_databases::{Authority, Certificate};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use support::{Service, forecare, free_port, run, wait_for};

/// A receiver of webhooks; while it is `silent` it takes messages and answers nothing.
struct Receiver {
    url: String,
    silent: Arc<AtomicBool>,
    bodies: Arc<Mutex<Vec<(String, String)>>>,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let silent = Arc::new(AtomicBool::new(false));
        let bodies: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let (quiet, kept) = (silent.clone(), bodies.clone());
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(stream);
                let mut length = 0;
                let mut signature = String::new();
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap_or_default();
                    let (name, value) = line.split_once(':').unwrap_or_default();
                    match name.to_lowercase().as_str() {
                        "content-length" => length = value.trim().parse().unwrap(),
                        "forecare-signature" => signature = value.trim().to_owned(),
                        _ => {}
                    }
                    if line.trim().is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                // A sender that was killed may not have said it all.
                if length == 0 || reader.read_exact(&mut body).is_err() {
                    continue;
                }
                kept.lock()
                    .unwrap()
                    .push((signature, String::from_utf8(body).unwrap()));
                let mut stream = reader.into_inner();
                if quiet.load(Ordering::SeqCst) {
                    held.push(stream);
                } else {
                    // The sender may have died meanwhile.
                    stream
                        .write_all(
                            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                        )
                        .ok();
                }
            }
        });
        Self {
            url,
            silent,
            bodies,
        }
    }

    /// Bodies of the event `id`.
    fn of(&self, id: &str) -> Vec<String> {
        let bodies = self.bodies.lock().unwrap();
        let is_it = |body: &str| serde_json::from_str::<Value>(body).unwrap()["id"] == id;
        bodies
            .iter()
            .filter(|(_, b)| is_it(b))
            .map(|(_, b)| b.clone())
            .collect()
    }
}

/// Puts a machine with evidence of a fault into a new instance: its desk opens a ticket at the start.
fn prepare(home: &Path, devices: &[&str]) {
    std::fs::create_dir_all(home).unwrap();
    let catalogue =
        Catalogue::parse(include_str!("../crates/catalogue/catalogues/demo.toml")).unwrap();
    let at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let store = SqliteStore::open(home, &catalogue, at).unwrap();
    let mode = ModeName::new("bearing-wear").unwrap();
    let assets: Vec<Asset> = devices
        .iter()
        .map(|name| Asset {
            id: AssetId::new(name).unwrap(),
            device: DeviceId::new(name).unwrap(),
            class: ClassName::new("screw-compressor").unwrap(),
            name: (*name).to_owned(),
            site: "Hall 1".to_owned(),
            depot: None,
            registered_at: at,
        })
        .collect();
    let tasks = assets.iter().map(|asset| {
        NewTask(CareTask::Assess {
            device: asset.device.clone(),
            mode: mode.clone(),
            alarm: AlarmId::of(&asset.device, &mode, at),
            severity: Severity::Warning,
            probability: Some(0.9),
            horizon_hours: 72.0,
            rul: Rul::NoTrend,
            contributions: Vec::new(),
            reading_ts: at,
            at,
        })
    });
    let batch = CommitBatch {
        tasks: tasks.collect(),
        ..CommitBatch::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        store.register_assets(assets).await.unwrap();
        store.commit_batch(batch).await.unwrap();
    });
    store.close().unwrap();
}

fn config(dir: &Path, notify: &str) -> std::path::PathBuf {
    let file = dir.join("forecare.toml");
    std::fs::write(dir.join("secret"), "0123456789abcdef0123456789abcdef\n").unwrap();
    std::fs::write(
        &file,
        notify.replace("SECRET", &dir.join("secret").display().to_string()),
    )
    .unwrap();
    file
}

fn serve(home: &Path, config: &Path) -> Service {
    let mut command = forecare();
    command
        .args([
            "serve",
            "--mqtt-listen",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--config",
        ])
        .arg(config)
        .arg("--home")
        .arg(home);
    Service::start(&mut command, home)
}

fn deliveries(service: &Service, query: &str) -> Vec<Value> {
    let page = service.get(&format!("api/v1/deliveries?limit=500{query}"));
    page["items"].as_array().unwrap().clone()
}

#[test]
fn kill_9_during_a_delivery_loses_nothing_and_records_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    prepare(&home, &["c1", "c2", "c3"]);
    let receiver = Receiver::start();
    let config = config(
        dir.path(),
        &format!(
            "[notify]\ntimeout_s = 60\nrule = [{{ event = [\"*\"], to = [\"#crm\"] }}]\n\
             [notify.channel.crm]\nkind = \"webhook\"\nurl = \"{}\"\nsecret_file = \"SECRET\"\n",
            receiver.url
        ),
    );
    let id = "T-1.1.ticket.opened";
    receiver.silent.store(true, Ordering::SeqCst);
    // Twice it dies after the message went out and before the answer came.
    for round in 1..=2 {
        let mut service = serve(&home, &config);
        wait_for("the message", || receiver.of(id).len() >= round);
        service.kill();
    }
    receiver.silent.store(false, Ordering::SeqCst);
    let service = serve(&home, &config);
    wait_for("all to be told", || {
        let all = deliveries(&service, "");
        all.len() >= 3 && all.iter().all(|d| d["state"] == "delivered")
    });
    let bodies = receiver.of(id);
    assert!(
        bodies.len() >= 3,
        "at least once, and again after each death"
    );
    assert!(
        bodies.windows(2).all(|pair| pair[0] == pair[1]),
        "{bodies:?}"
    );
    let opened: Value = serde_json::from_str(&bodies[0]).unwrap();
    assert_eq!(opened["type"], "forecare.ticket.opened");
    assert_eq!(opened["data"]["what"]["kind"], "ticket_opened");
    let all = deliveries(&service, "");
    let mut ids: Vec<&str> = all
        .iter()
        .map(|d| d["event_id"].as_str().unwrap())
        .collect();
    let n = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), n, "each is recorded once");
    assert!(
        ids.contains(&id) && ids.iter().any(|i| i.contains("sla.escalated")),
        "{ids:?}"
    );
    let first = all.iter().find(|d| d["event_id"] == id).unwrap();
    assert_eq!(first["attempts"], 1, "only an answer counts as an attempt");
    // What arrived is signed by the shared secret.
    for (signature, body) in receiver.bodies.lock().unwrap().iter() {
        let (time, _) = signature[2..].split_once(',').unwrap();
        let sent_at_s = time.parse().unwrap();
        let secret = b"0123456789abcdef0123456789abcdef";
        assert!(forecare_notify::verify(
            secret,
            signature,
            body.as_bytes(),
            sent_at_s,
            0
        ));
    }
    assert!(service.metric("forecare_deliveries_total") >= 3.0);
    assert_eq!(service.metric("forecare_outbox_waiting"), 0.0);
    assert!(service.stop());
    let n_bodies = receiver.bodies.lock().unwrap().len();
    let service = serve(&home, &config);
    wait_for("a look at the outbox", || {
        service.metric("forecare_outbox_unrouted") == 0.0
    });
    assert!(service.stop());
    assert_eq!(
        receiver.bodies.lock().unwrap().len(),
        n_bodies,
        "nobody is told twice"
    );
}

#[test]
fn what_is_given_up_is_listed_and_goes_out_once_it_is_retried() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    prepare(&home, &["c1"]);
    let port = free_port();
    let text = format!(
        "[notify]\nattempts_max = 1\ntimeout_s = 5\npublic_url = \"https://care.example\"\n\
         rule = [{{ event = [\"ticket.opened\"], to = [\"#team\"] }}, {{ event = [\"sla.escalated\"], to = [\"@escalation\"] }}]\n\
         [notify.channel.team]\nkind = \"http\"\nurl = \"http://127.0.0.1:{port}/\"\nbody = '{{\"text\": {{{{ text|tojson }}}}}}'\n"
    );
    let config = config(dir.path(), &text);
    let service = serve(&home, &config);
    wait_for("a dead letter", || {
        !deliveries(&service, "&state=dead").is_empty()
    });
    wait_for("the gauge", || {
        service.metric("forecare_outbox_dead") == 1.0
    });
    // The chain names people whom nobody knows: counted, and said by the doctor.
    wait_for("unreachable people", || {
        service.metric("forecare_notices_unreachable_total") >= 1.0
    });
    assert!(service.stop());
    let with = |args: &[&str]| {
        let mut command = forecare();
        command.args(args).arg("--config").arg(&config);
        command
    };
    let (ok, out, err) = run(with(&["outbox", "list", "--state", "dead"])
        .arg("--home")
        .arg(&home));
    assert!(
        ok && out.contains("1 dead") && out.contains("ticket.opened  T-1 by team"),
        "{out}{err}"
    );
    let (_, out, err) = run(with(&["doctor"]).arg("--home").arg(&home));
    assert!(out.contains("\"dispatcher\" is nobody"), "{out}{err}");
    let (ok, out, err) = run(&mut with(&["config", "check"]));
    assert!(
        ok && out.contains("told by team") && out.contains("\"head of service\" is nobody"),
        "{out}{err}"
    );
    let (ok, _, err) = run(&mut with(&["notify", "test", "team"]));
    assert!(!ok && err.contains("did not take the message"), "{err}");
    let receiver = Receiver::start();
    let moved = text.replace(&format!("http://127.0.0.1:{port}/"), &receiver.url);
    std::fs::write(&config, moved).unwrap();
    let (ok, out, err) = run(&mut with(&["notify", "test", "team"]));
    assert!(ok && out.contains("took the message"), "{out}{err}");
    let (ok, out, err) = run(with(&["outbox", "retry", "--all"]).arg("--home").arg(&home));
    assert!(
        ok && out.starts_with("1 deliveries wait again"),
        "{out}{err}"
    );
    let service = serve(&home, &config);
    wait_for("the retried delivery", || {
        deliveries(&service, "&state=delivered").len() == 1
    });
    let bodies = receiver.bodies.lock().unwrap();
    let told: Value = serde_json::from_str(&bodies[1].1).unwrap();
    assert!(
        told["text"]
            .as_str()
            .unwrap()
            .contains("https://care.example/tickets/1"),
        "{told}"
    );
}

/// A mail server that takes everything.
fn mail_server() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mails: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = mails.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut writing = stream.try_clone().unwrap();
            writing.write_all(b"220 test\r\n").unwrap();
            let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
            while let Some(line) = lines.next() {
                let verb = line
                    .split([' ', ':'])
                    .next()
                    .unwrap_or_default()
                    .to_uppercase();
                let answer: &[u8] = match verb.as_str() {
                    "EHLO" => b"250 test\r\n",
                    "DATA" => {
                        writing.write_all(b"354 go on\r\n").unwrap();
                        let mail: Vec<String> = lines.by_ref().take_while(|l| l != ".").collect();
                        kept.lock().unwrap().push(mail.join("\n"));
                        b"250 taken\r\n"
                    }
                    "QUIT" => b"221 bye\r\n",
                    _ => b"250 ok\r\n",
                };
                if writing.write_all(answer).is_err() {
                    break;
                }
            }
        }
    });
    (port, mails)
}

#[test]
fn a_customer_is_told_by_mail_and_confirms_by_the_link() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    prepare(&home, &["c1"]);
    let (mail_port, mails) = mail_server();
    let http = format!("127.0.0.1:{}", free_port());
    let config = config(
        dir.path(),
        &format!(
            "[http]\nlisten = \"{http}\"\n[notify]\npublic_url = \"http://{http}/\"\ntime_zone = \"Europe/Berlin\"\n\
             visit_notice_hours = 8760\n\
             [notify.channel.mail]\nkind = \"smtp\"\nhost = \"127.0.0.1\"\nport = {mail_port}\ntls = \"none\"\n\
             from = \"Care <care@example.com>\"\n"
        ),
    );
    let mut command = forecare();
    command.args(["serve", "--mqtt-listen", "127.0.0.1:0", "--config"]);
    command.arg(&config).arg("--home").arg(&home);
    let service = Service::start(&mut command, &home);
    let put = |path: &str, body: Value| {
        let url = format!("{}api/v1/registry/{path}", service.http);
        let put = ureq::put(&url).header("authorization", &format!("Bearer {}", service.token));
        put.send_json(&body)
            .unwrap_or_else(|e| panic!("PUT {url}: {e}"));
    };
    let yes = |purpose: &str| serde_json::json!({"purpose": purpose, "given": true, "at": "2020-01-01T00:00:00Z"});
    put(
        "customers/C-1",
        serde_json::json!({"name": "Nordwind", "contacts": [{"id": "1", "name": "Ute", "language": "en",
            "channels": [{"kind": "email", "address": "ute@example.com"}], "consents": [yes("service"), yes("survey")]}]}),
    );
    put("assets/c1", serde_json::json!({"customer": "C-1"}));
    wait_for("a ticket", || {
        !service.get("api/v1/tickets")["items"]
            .as_array()
            .unwrap()
            .is_empty()
    });
    let step = |ticket: u32, body: Value| {
        // The clocks that fall due in between write to the ticket as well.
        wait_for("the step", || {
            let path = format!("api/v1/tickets/{ticket}/transitions");
            let (status, said) = service.post(&path, &body);
            assert!(matches!(status, 200 | 409), "{said}");
            status == 200
        });
    };
    let work_on = |ticket: u32| {
        for to in ["triaged", "dispatched", "accepted", "in_progress"] {
            step(ticket, serde_json::json!({ "to": to }));
        }
        step(
            ticket,
            serde_json::json!({"to": "resolved", "why": "bearing replaced",
            "finding": {"verdict": "confirmed", "failure_code": "VIB"}}),
        );
    };
    let mail_with = |words: &str, ticket: u32| {
        let link = format!("/answer/{ticket}-");
        let mut found = None;
        wait_for(words, || {
            let mails = mails.lock().unwrap();
            let is_it = |m: &&String| m.contains(words) && m.contains(&link);
            found = mails.iter().find(is_it).cloned();
            found.is_some()
        });
        found.unwrap()
    };
    let link_in = |mail: &str| {
        let link = mail.lines().find(|l| l.starts_with("http://")).unwrap();
        link.trim_end_matches('\r').to_owned()
    };
    work_on(1);
    let mail = mail_with("is done", 1);
    assert!(
        mail.contains("To: ute@example.com") && mail.contains("Dear Ute"),
        "{mail}"
    );
    assert!(mail.contains("(Europe/Berlin)"), "{mail}");
    let link = link_in(&mail);
    assert!(
        link.starts_with(&format!("http://{http}/answer/1-")),
        "{link}"
    );
    let page = ureq::get(&link)
        .call()
        .unwrap()
        .body_mut()
        .read_to_string()
        .unwrap();
    assert!(page.contains("Is the problem solved?"), "{page}");
    let forged = link.replacen("/answer/1-", "/answer/2-", 1);
    assert!(ureq::get(&forged).call().is_err());
    let say = |link: &str, form: &[(&str, &str)]| {
        let sent = ureq::post(link).send_form(form.iter().copied());
        let thanks = sent.unwrap().body_mut().read_to_string().unwrap();
        assert!(thanks.contains("Thank you"), "{thanks}");
    };
    let closes = |ticket: u32| {
        wait_for("the ticket to close", || {
            service.get(&format!("api/v1/tickets/{ticket}"))["state"] == "closed"
        });
    };
    say(&link, &[("solved", "yes")]);
    closes(1);
    let question = mail_with("How did we do?", 1);
    let scores = [
        ("csat", "5"),
        ("nps", "9"),
        ("ces", "6"),
        ("comment", "well done"),
    ];
    say(&link_in(&question), &scores);
    let ticket = service.get("api/v1/tickets/1");
    let history = ticket["history"].as_array().unwrap();
    let confirmed = history.iter().find(|c| c["to"] == "confirmed").unwrap();
    assert_eq!(
        (&confirmed["by"], &confirmed["channel"]),
        (&"customer".into(), &"customer".into())
    );
    assert_eq!(ticket["survey"]["csat"], 5);
    assert_eq!(
        service.get("api/v1/surveys")["items"][0]["comment"],
        "well done"
    );

    // Who has said how it went is not asked.
    let look = serde_json::json!({"asset_id": "c1", "kind": "inspection", "title": "Look"});
    assert_eq!(service.post("api/v1/tickets", &look).0, 201);
    work_on(2);
    let link = link_in(&mail_with("is done", 2));
    say(&link, &[("solved", "yes"), ("csat", "4")]);
    closes(2);
    // Who agrees to nothing any more is not written to, and the ticket says so.
    put(
        "customers/C-1",
        serde_json::json!({"name": "Nordwind", "contacts": [{"id": "1", "name": "Ute"}]}),
    );
    assert_eq!(service.post("api/v1/tickets", &look).0, 201);
    work_on(3);
    let untold = "The customer is not written to: no contact of Nordwind has agreed to messages about the work.";
    wait_for("the note", || {
        let entries = service.get("api/v1/tickets/3/entries");
        let mut entries = entries["items"].as_array().unwrap().iter();
        entries.any(|e| e["text"] == untold && e["visibility"] == "internal")
    });
    let mails = mails.lock().unwrap();
    let n_questions = mails.iter().filter(|m| m.contains("How did we do?"));
    assert_eq!(n_questions.count(), 1);
    drop(mails);
    assert!(service.stop());
}

#[test]
fn a_customer_who_mails_in_is_told_that_it_has_come_and_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    prepare(&home, &[]);
    let (mail_port, mails) = mail_server();
    let http = format!("127.0.0.1:{}", free_port());
    let config = config(
        dir.path(),
        &format!(
            "[http]\nlisten = \"{http}\"\n[notify]\npublic_url = \"http://{http}/\"\ntime_zone = \"Europe/Berlin\"\n\
             person = [{{ name = \"dispatcher\", address = {{ mail = \"dispatch@example.com\" }}, quiet = \"\" }},\n\
             {{ name = \"Jonas Petersen\", address = {{ mail = \"jonas@example.com\" }}, quiet = \"\" }}]\n\
             [notify.channel.mail]\nkind = \"smtp\"\nhost = \"127.0.0.1\"\nport = {mail_port}\ntls = \"none\"\n\
             from = \"Care <care@example.com>\"\n"
        ),
    );
    let mut command = forecare();
    command.args(["serve", "--mqtt-listen", "127.0.0.1:0", "--config"]);
    command.arg(&config).arg("--home").arg(&home);
    let service = Service::start(&mut command, &home);
    let machines: Vec<Value> = ["c1", "c2"]
        .iter()
        .map(|id| serde_json::json!({"id": id, "device_id": id, "class": "screw-compressor", "name": format!("Compressor {id}")}))
        .collect();
    let (status, said) = service.post("api/v1/assets", &serde_json::json!({ "assets": machines }));
    assert!(status < 300, "{said}");
    let put = |path: &str, body: Value| {
        let url = format!("{}api/v1/registry/{path}", service.http);
        let put = ureq::put(&url).header("authorization", &format!("Bearer {}", service.token));
        put.send_json(&body)
            .unwrap_or_else(|e| panic!("PUT {url}: {e}"));
    };
    // She agreed to nothing, but writes herself.
    let ute = |consents: Value| {
        serde_json::json!({"name": "Nordwind", "contacts": [{"id": "1", "name": "Ute", "language": "en",
            "time_zone": "Asia/Shanghai", "quiet": "", "consents": consents,
            "channels": [{"kind": "email", "address": "ute@example.com"}]}]})
    };
    put("customers/C-1", ute(serde_json::json!([])));
    for (id, serial) in [("c1", "SC-40001"), ("c2", "SC-40017")] {
        put(
            &format!("assets/{id}"),
            serde_json::json!({"customer": "C-1", "serial": serial}),
        );
    }
    let mail_in = |id: &str, from: &str, headers: &str, subject: &str, text: &str| -> Value {
        let raw = format!(
            "From: {from}\r\nTo: care@example.com\r\nSubject: {subject}\r\nMessage-ID: <{id}@x>\r\n{headers}\r\n{text}\r\n"
        );
        let url = format!("{}api/v1/inbound/email/raw", service.http);
        let post = ureq::post(&url)
            .header("authorization", &format!("Bearer {}", service.token))
            .header("content-type", "message/rfc822");
        let mut answer = post.send(raw.as_bytes()).unwrap();
        serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap()
    };
    let mail_with = |words: &str| {
        let mut found = None;
        wait_for(words, || {
            let mails = mails.lock().unwrap();
            found = mails.iter().find(|m| m.contains(words)).cloned();
            found.is_some()
        });
        found.unwrap()
    };
    let ute_writes = "Ute <ute@example.com>";
    let taken = mail_in("1", ute_writes, "", "Leak", "SC-40017 leaks.");
    assert_eq!(
        (&taken["outcome"], &taken["ticket_id"]),
        (&"opened".into(), &1.into())
    );
    assert_eq!(service.get("api/v1/tickets/1")["asset_id"], "c2");
    let told = mail_with("[T-1] We have your message: Leak");
    assert!(
        told.contains("To: ute@example.com") && told.contains("What happens next"),
        "{told}"
    );
    assert!(told.contains("(Asia/Shanghai)"), "{told}");
    assert!(
        !told.contains("Why:") && !told.contains("/tickets/"),
        "{told}"
    );

    let note =
        serde_json::json!({"work": "note", "text": "We come on Monday.", "visibility": "public"});
    assert_eq!(service.post("api/v1/tickets/1/work", &note).0, 200);
    let answer = mail_with("[T-1] Our answer: Leak");
    assert!(answer.contains("We come on Monday."), "{answer}");
    let header = |mail: &str, name: &str| {
        let line = mail.lines().find(|l| l.starts_with(name)).unwrap();
        line[name.len()..].trim().to_owned()
    };
    // Laid down twice alike, it is told once, with what whoever goes there has to know.
    let given = |start_at: &str| {
        let body = serde_json::json!({"technician": "Jonas Petersen", "start_at": start_at, "why": "knows it"});
        let (status, said) = service.post("api/v1/tickets/1/assignment", &body);
        assert_eq!(status, 200, "{said}");
    };
    given("2099-01-05T08:00:00Z");
    given("2099-01-05T08:00:00Z");
    let told = mail_with("When: 2099-01-05 09:00 (Europe/Berlin)");
    for known in [
        "Compressor c2",
        "SC-40017",
        "Nordwind",
        "Ute, ute@example.com",
    ] {
        assert!(told.contains(known), "{known}: {told}");
    }
    given("2099-01-06T08:00:00Z");
    mail_with("When: 2099-01-06 09:00 (Europe/Berlin)");
    let is_his = |m: &&String| m.contains("T-1 is yours");
    let n_his = mails.lock().unwrap().iter().filter(is_his).count();
    assert_eq!(n_his, 2);
    // Whatever became of the subject, it is found by what it answers.
    let answers = format!("In-Reply-To: {}\r\n", header(&answer, "Message-ID:"));
    let heard = mail_in("2", ute_writes, &answers, "Monday", "Fine with us.");
    assert_eq!(
        (&heard["outcome"], &heard["ticket_id"]),
        (&"noted".into(), &1.into())
    );
    let told = mail_with("The customer wrote on T-1");
    assert!(told.contains("Ute: Fine with us."), "{told}");
    let link = answer.lines().find(|l| l.starts_with("http://")).unwrap();
    let page = ureq::get(link.trim_end()).call().unwrap();
    let page = page.into_body().read_to_string().unwrap();
    for shown in [
        "SC-40017 leaks.",
        "We come on Monday.",
        "Fine with us.",
        "name=\"message\"",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }

    // Which machine it is about nobody knows: it waits, and she is told so.
    let kept = mail_in("3", ute_writes, "", "Another one", "It squeals.");
    assert_eq!(
        (&kept["outcome"], &kept["mail_id"]),
        (&"kept".into(), &1.into())
    );
    let told = mail_with("Subject: We have your message: Another one");
    assert!(told.contains("find out which machine"), "{told}");
    let stranger = mail_in(
        "4",
        "Zoe <zoe@elsewhere.example>",
        "",
        "Buy",
        "Cheap oil for c1",
    );
    assert_eq!(stranger["outcome"], "kept");
    let told = mail_with("An e-mail waits to be placed: Buy");
    assert!(
        told.contains("From: Zoe") && told.contains("Cheap oil for c1"),
        "{told}"
    );
    let inbox = |args: &[&str]| {
        let mut command = forecare();
        command
            .args(["tickets", "inbox"])
            .args(args)
            .arg("--home")
            .arg(&home);
        let (ok, out, err) = run(&mut command);
        assert!(ok, "{out}{err}");
        out
    };
    let listed = inbox(&["list"]);
    assert!(
        listed.contains("Another one") && listed.contains("zoe@elsewhere.example"),
        "{listed}"
    );
    assert!(inbox(&["show", "2"]).contains("perhaps      c1"));
    assert_eq!(inbox(&["place", "1", "--asset", "c1"]), "T-2\n");
    assert_eq!(
        inbox(&["discard", "2", "--why", "advertisement"]),
        "2 discarded\n"
    );
    assert_eq!(inbox(&["list"]), "no e-mail waits\n");
    mail_with("[T-2] We have your message: Another one");

    // Who has refused is not written to, and the ticket says so.
    let no =
        serde_json::json!([{"purpose": "service", "given": false, "at": "2020-01-01T00:00:00Z"}]);
    put("customers/C-1", ute(no));
    let note = serde_json::json!({"work": "note", "text": "Still Monday.", "visibility": "public"});
    assert_eq!(service.post("api/v1/tickets/1/work", &note).0, 200);
    let untold = "The customer is not written to: no contact of Nordwind has agreed to messages about the work.";
    wait_for("the note", || {
        let entries = service.get("api/v1/tickets/1/entries");
        let mut entries = entries["items"].as_array().unwrap().iter();
        entries.any(|e| e["text"] == untold && e["visibility"] == "internal")
    });
    let mails = mails.lock().unwrap();
    assert!(
        !mails
            .iter()
            .any(|m| m.contains("zoe@") || m.contains("Still Monday"))
    );
    let acknowledged = mails
        .iter()
        .filter(|m| m.contains("[T-1] We have your message"));
    assert_eq!(acknowledged.count(), 1);
    drop(mails);
    let (ok, out, err) = run(forecare()
        .args(["doctor", "--config"])
        .arg(&config)
        .arg("--home")
        .arg(&home));
    assert!(
        out.contains("do not agree to prediction: 0 customers with 0 machines"),
        "{ok}{out}{err}"
    );
    assert!(service.stop());
}

#[test]
fn a_section_that_cannot_be_used_is_refused_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    for (text, says) in [
        ("[notify]\nattempts = 3\n", "attempts"),
        (
            "[notify]\ntime_zone = \"Moon/Sea\"\n",
            "notify.quiet, digest_at, time_zone",
        ),
        (
            "[notify]\ntemplate_dir = \"/nowhere\"\n",
            "cannot read /nowhere",
        ),
        ("[notify.channel.a]\nkind = \"pigeon\"\n", "pigeon"),
        (
            "[notify.channel.a]\nkind = \"webhook\"\nsecret_file = \"/nowhere\"\n",
            "notify.channel.a: cannot read /nowhere",
        ),
        (
            "[notify.channel.a]\nkind = \"http\"\nurl = \"https://a.example/\"\nbody = \"{}\"\nca_file = \"/nowhere\"\n",
            "notify.channel.a: ca_file",
        ),
        (
            "[notify.channel.a]\nkind = \"smtp\"\nhost = \"mail.example\"\ntls = \"none\"\nfrom = \"a@b.example\"\n",
            "notify.channel.a.tls",
        ),
    ] {
        let file = config(dir.path(), text);
        let (ok, out, err) = run(forecare().args(["config", "check", "--config"]).arg(&file));
        assert!(!ok && err.contains(says), "{text}: {out}{err}");
    }
}

/// Answers 200 to one request over TLS, and no more.
fn secured_receiver(shown: &Certificate) -> (String, std::thread::JoinHandle<bool>) {
    let chain = CertificateDer::pem_file_iter(&shown.certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(&shown.key).unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.collect::<Result<_, _>>().unwrap(), key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "https://localhost:{}/",
        listener.local_addr().unwrap().port()
    );
    let answering = std::thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        let session = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = rustls::StreamOwned::new(session, tcp);
        let mut request = [0; 4_096];
        stream.read(&mut request).is_ok_and(|n| n > 0)
            && stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .is_ok()
    });
    (url, answering)
}

#[test]
fn without_certificate_authorities_plain_http_works_and_https_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let authority = Authority::new();
    let (url, answered) = secured_receiver(&authority.issue("DNS:localhost"));
    let file = config(
        dir.path(),
        &format!(
            "[notify.channel.plain]\nkind = \"webhook\"\nurl = \"{}\"\nsecret_file = \"SECRET\"\n\
             [notify.channel.system]\nkind = \"http\"\nurl = \"{url}\"\nbody = \"{{}}\"\n\
             [notify.channel.own]\nkind = \"http\"\nurl = \"{url}\"\nbody = \"{{}}\"\nca_file = {:?}\n",
            receiver.url,
            authority.file(),
        ),
    );
    let send = |channel: &str| {
        let mut command = forecare();
        command
            .args(["notify", "test", channel, "--config"])
            .arg(&file)
            .env("SSL_CERT_FILE", "/nowhere")
            .env_remove("SSL_CERT_DIR");
        run(&mut command)
    };
    let (ok, _, err) = send("plain");
    assert!(ok, "{err}");
    let (ok, _, err) = send("system");
    assert!(
        !ok && err.contains("certificate authorities") && err.contains("ca_file"),
        "{err}"
    );
    let (ok, _, err) = send("own");
    assert!(ok && answered.join().unwrap(), "{err}");
}

#[test]
fn rules_of_automation_act_once_across_kill_9_and_the_crm_gets_the_lead() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    prepare(&home, &["c1"]);
    let receiver = Receiver::start();
    let text = format!(
        "[notify]\ntimeout_s = 60\nrule = [{{ event = [\"care.lead\"], to = [\"#crm\"] }}]\n\
         [notify.channel.crm]\nkind = \"webhook\"\nurl = \"{}\"\nsecret_file = \"SECRET\"\n\
         [[care.automation]]\nname = \"notice-7\"\non = \"firmware.notice\"\nversions = [\"2.1.*\"]\n\
         then = [{{ lead = {{ offer = \"upgrade\", title = \"New controller for {{asset}}\" }} }},\n\
         {{ open = {{ kind = \"corrective\", title = \"Update {{asset}}\" }} }}]\n\
         [[care.automation]]\nname = \"to-jonas\"\non = \"ticket.opened\"\n\
         then = [{{ assign = {{ technician = \"Jonas Petersen\", send = true }} }}, {{ note = {{ text = \"Hello {{ticket}}\" }} }}]\n",
        receiver.url
    );
    let config = config(dir.path(), &text);
    let mut service = serve(&home, &config);
    let put = |service: &Service, path: &str, body: Value| {
        let url = format!("{}api/v1/registry/{path}", service.http);
        let put = ureq::put(&url).header("authorization", &format!("Bearer {}", service.token));
        put.send_json(&body)
            .unwrap_or_else(|e| panic!("PUT {url}: {e}"));
    };
    receiver.silent.store(true, Ordering::SeqCst);
    put(
        &service,
        "customers/C-1",
        serde_json::json!({"name": "Nordwind",
            "data_consents": [{"purpose": "marketing", "given": true, "at": "2020-01-01T00:00:00Z"}]}),
    );
    put(
        &service,
        "assets/c1",
        serde_json::json!({"customer": "C-1", "firmware": "2.1.4"}),
    );
    let id = "care.lead.notice-7.c1.firmware-2.1.4.0";
    wait_for("the lead's message", || !receiver.of(id).is_empty());
    service.kill();
    receiver.silent.store(false, Ordering::SeqCst);
    let service = serve(&home, &config);
    let sent_out = || {
        let tickets = service.get("api/v1/tickets");
        let tickets = tickets["items"].as_array().unwrap();
        let sent = tickets
            .iter()
            .filter(|t| t["state"] == "dispatched" && t["technician"] == "Jonas Petersen");
        (tickets.len(), sent.count())
    };
    wait_for("both tickets to be sent out", || sent_out() == (2, 2));
    wait_for("the lead to be told", || {
        let all = deliveries(&service, "&state=delivered");
        all.iter()
            .any(|d| d["event_id"] == id && d["ticket_id"].is_null())
    });
    let told: Value = serde_json::from_str(receiver.of(id).last().unwrap()).unwrap();
    assert_eq!(told["type"], "forecare.care.lead");
    let what = &told["data"]["what"];
    assert_eq!(
        (&what["offer"], &what["customer"]),
        (&"upgrade".into(), &"C-1".into())
    );
    assert_eq!(told["subject"], what["lead"]);
    let leads = service.get("api/v1/registry/leads");
    assert_eq!(leads["items"].as_array().unwrap().len(), 1);
    assert_eq!(leads["items"][0]["id"], what["lead"]);
    for ticket in [1, 2] {
        let entries = service.get(&format!("api/v1/tickets/{ticket}/entries"));
        let entries = entries["items"].as_array().unwrap();
        assert_eq!(entries.len(), 1, "{entries:?}");
        let ticket = service.get(&format!("api/v1/tickets/{ticket}"));
        let rule = "automation:to-jonas";
        assert!(ticket["history"].to_string().contains(rule), "{ticket}");
    }
    let opened = service.get("api/v1/tickets/2");
    assert_eq!(opened["origin"]["from"], "automation");
    assert_eq!(opened["origin"]["rule"], "notice-7");
    let rules = service.get("api/v1/automation");
    let names: Vec<&Value> = rules["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["name"])
        .collect();
    assert_eq!(names, ["notice-7", "to-jonas"]);
    let with = |args: &[&str]| {
        let mut command = forecare();
        command.args(args).arg("--config").arg(&config);
        command
    };
    // The instance may be running.
    let (ok, out, err) = run(with(&[
        "automation",
        "test",
        "--from",
        "2020-01-01",
        "--rule",
        "to-jonas",
    ])
    .arg("--home")
    .arg(&home));
    assert!(
        ok && out.contains("T-1")
            && out.contains("assign to Jonas Petersen, send out")
            && out.contains("to-jonas: 2 times"),
        "{out}{err}"
    );
    let (ok, out, err) = run(
        with(&["automation", "test", "--from", "2020-01-01", "--json"])
            .arg("--home")
            .arg(&home),
    );
    let all: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
    assert!(ok && all["items"][0]["rule"] == "notice-7", "{all}");
    assert!(service.stop());
    let (ok, out, err) = run(with(&["doctor"]).arg("--home").arg(&home));
    assert!(
        out.contains("2 rules; whom and what they assign to is known"),
        "{ok}{out}{err}"
    );
    let refusal = |broken: &str| {
        std::fs::write(&config, broken).unwrap();
        let (ok, _, err) = run(&mut with(&["config", "check"]));
        assert!(!ok);
        err
    };
    let err = refusal("[[care.automation]]\nname = \"x\"\non = \"ticket.opend\"\nthen = []\n");
    assert!(
        err.contains("rule \"x\", on: \"ticket.opend\" is no event; use ticket.opened"),
        "{err}"
    );
    let err = refusal(
        "[[care.automation]]\nname = \"x\"\non = \"ticket.opened\"\nwhen = { classes = [\"fan\"] }\nthen = [{ priority = \"P1\" }]\n",
    );
    assert!(
        err.contains("when.classes: there is no \"fan\"; there is screw-compressor"),
        "{err}"
    );
}
