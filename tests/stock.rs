//! Stock under fire: 64 clients at once move parts over the API of a running service, some of their requests sent twice
//! at the same time, while the service is killed in the middle. Whatever was answered, each key counts once, nothing is
//! promised twice, and the books add up to what the clients were told.
//!
//! On SQLite, and on PostgreSQL; the latter has TimescaleDB where `FORECARE_TEST_TIMESCALE` names its programs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use forecare_care::Need;
use forecare_catalogue::Catalogue;
use forecare_domain::{
    Asset, AssetId, ClassName, DepotName, DeviceId, ModeName, PartNumber, Priority, Timestamp,
};
use forecare_store::conformance::fixtures;
use forecare_store::{CareCommit, CareOutcome, Store, TicketWrite};
use forecare_store_sqlite::SqliteStore;
use forecare_store_timescale::{TimescaleSettings, TimescaleStore};
use forecare_test_databases::Postgres;
use serde_json::{Value, json};
use support::{DEADLINE, Service, forecare, free_port, wait_for};

const CATALOGUE: &str = include_str!("../crates/catalogue/catalogues/demo.toml");
const CLIENTS: usize = 64;
const OPERATIONS: usize = 10_000;
const TICKETS: usize = 24;
const PARTS: [&str; 2] = ["BRG-6310", "SEAL-SH-55"];
const DEPOTS: [&str; 3] = ["hamburg", "leipzig", "munich"];

/// SplitMix64, for work that is the same on every run.
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

fn now() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

fn catalogue() -> Catalogue {
    Catalogue::parse(CATALOGUE).unwrap()
}

/// Where the service keeps its data.
enum Site {
    Sqlite,
    Postgres(Postgres),
}

impl Site {
    async fn store(&self, home: &Path) -> Arc<dyn Store> {
        match self {
            Self::Sqlite => Arc::new(SqliteStore::open(home, &catalogue(), now()).unwrap()),
            Self::Postgres(database) => {
                let settings = TimescaleSettings {
                    url: database.url(),
                    plain_postgres: !database.has_timescale(),
                    ..TimescaleSettings::default()
                };
                Arc::new(
                    TimescaleStore::open(settings, &catalogue(), now())
                        .await
                        .unwrap(),
                )
            }
        }
    }

    fn serve(&self, home: &Path, port: u16) -> Service {
        let mut command = forecare();
        let http = format!("127.0.0.1:{port}");
        command
            .args(["serve", "--http", &http, "--home"])
            .arg(home)
            .env("FORECARE_MQTT__LISTEN", "127.0.0.1:0")
            .env("FORECARE_LOG__FILTER", "error");
        if let Self::Postgres(database) = self {
            let is_plain = !database.has_timescale();
            command
                .env("FORECARE_STORE__URL", database.url())
                .env("FORECARE_STORE__PLAIN_POSTGRES", is_plain.to_string());
        }
        Service::start(&mut command, home)
    }

    /// The service's own examination of what is stored.
    fn examine(&self, home: &Path) {
        match self {
            Self::Sqlite => SqliteStore::check(&home.join("forecare.sqlite")).unwrap(),
            Self::Postgres(_) => {}
        }
    }
}

/// Tickets that hold parts, and wait for some.
async fn open_tickets(store: &Arc<dyn Store>) -> Vec<i64> {
    let now = now();
    let mut ids = Vec::new();
    for n in 0..TICKETS {
        let name = format!("machine-{n}");
        let asset = Asset {
            id: AssetId::new(&name).unwrap(),
            device: DeviceId::new(&name).unwrap(),
            class: ClassName::new("screw-compressor").unwrap(),
            name,
            site: "plant".to_owned(),
            depot: None,
            registered_at: now,
        };
        store.register_assets(vec![asset.clone()]).await.unwrap();
        let need = |part: &str| Need {
            part: PartNumber::new(part).unwrap(),
            quantity: 1 + (n % 3) as u32,
            depot: DepotName::new(DEPOTS[n % 3]).unwrap(),
            needed_at: now.plus_hours(if n % 2 == 0 { 24.0 } else { 400.0 }),
            lead_time_hours: 48.0,
            priority: [Priority::P1, Priority::P2, Priority::P3, Priority::P4][n % 4],
            soft_until: now.plus_hours(72.0),
        };
        let mut new = fixtures::new_ticket(n, 0, PARTS.map(need).to_vec());
        let ticket = &mut new.ticket;
        (ticket.asset, ticket.device) = (asset.id, asset.device.clone());
        let decision = ticket.decision.as_mut().unwrap();
        (decision.device, decision.at) = (asset.device, now);
        ticket.mode = ModeName::new("bearing-wear").ok();
        (ticket.opened_at, ticket.detected_at, ticket.evidence_at) = (now, now, now);
        ticket.due_at = now.plus_hours(400.0);
        let commit = CareCommit {
            ticket: TicketWrite::Open(Box::new(new)),
            at: now,
            ..CareCommit::default()
        };
        let outcome = store.commit_care(commit).await.unwrap();
        let CareOutcome::Opened { ticket, .. } = outcome else {
            panic!("{outcome:?}")
        };
        ids.push(ticket.id.0);
    }
    ids
}

/// One movement, as it is asked for.
#[derive(Clone)]
struct Asked {
    key: String,
    part: &'static str,
    body: Value,
}

fn random(draws: &mut Draws, key: String, tickets: &[i64]) -> Asked {
    let (part, depot) = (PARTS[draws.below(2)], DEPOTS[draws.below(3)]);
    let quantity = 1 + draws.below(3);
    let ticket = tickets[draws.below(tickets.len())].to_string();
    let centre = ["workshop", "training"][draws.below(2)];
    let mut body = json!({"depot": depot, "quantity": quantity});
    let fields = body.as_object_mut().unwrap();
    let mut set = |name: &str, value: &str| fields.insert(name.to_owned(), json!(value));
    let kind = match draws.below(100) {
        0..28 => "receipt",
        28..46 => {
            set("cost_centre", centre);
            "issue"
        }
        46..60 => {
            set("ticket", &ticket);
            "issue"
        }
        60..80 => {
            set("to", DEPOTS[draws.below(3)]);
            "transfer"
        }
        80..86 => {
            set("cost_centre", centre);
            "return"
        }
        86..92 => {
            set("ticket", &ticket);
            set("fate", ["shelf", "scrap", "repair"][draws.below(3)]);
            "return"
        }
        92..94 => {
            set("reason", "stock-take");
            "count"
        }
        94..97 => "repaired",
        _ => "scrap",
    };
    set("kind", kind);
    Asked { key, part, body }
}

/// Asks until there is an answer, whatever happens to the service meanwhile: true where the movement was booked, false
/// where it was refused.
fn insist(agent: &ureq::Agent, base: &str, token: &str, asked: &Asked) -> bool {
    let url = format!("{base}api/v1/parts/{}/movements", asked.part);
    let end = Instant::now() + DEADLINE;
    loop {
        assert!(Instant::now() < end, "no answer for {}", asked.key);
        let answer = agent
            .post(&url)
            .header("authorization", &format!("Bearer {token}"))
            .header("idempotency-key", &asked.key)
            .send_json(&asked.body);
        let Ok(mut answer) = answer else {
            // Killed, and not back yet.
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let text = answer.body_mut().read_to_string().unwrap_or_default();
        match answer.status().as_u16() {
            201 => return true,
            // The same request is under way on another connection.
            409 if text.contains("being worked on") => std::thread::sleep(Duration::from_millis(5)),
            409 | 422 => return false,
            503 => std::thread::sleep(Duration::from_millis(20)),
            status => panic!("{status} for {}: {text}", asked.body),
        }
    }
}

/// What one client did, and was told.
fn client(n: usize, base: &str, token: &str, tickets: &[i64], done: &AtomicUsize) -> Vec<Asked> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .new_agent();
    let mut draws = Draws(n as u64);
    let mut booked = Vec::new();
    for i in 0..OPERATIONS.div_ceil(CLIENTS) {
        let asked = random(&mut draws, format!("client-{n}-{i}"), tickets);
        let was_booked = match draws.below(10) {
            // Sent again, as a client does that has lost the answer.
            0 => {
                let first = insist(&agent, base, token, &asked);
                insist(&agent, base, token, &asked) || first
            }
            // Twice at the same time.
            1 => std::thread::scope(|scope| {
                let twin = scope.spawn(|| insist(&agent.clone(), base, token, &asked));
                let first = insist(&agent, base, token, &asked);
                twin.join().unwrap() || first
            }),
            _ => insist(&agent, base, token, &asked),
        };
        if was_booked {
            booked.push(asked);
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    booked
}

/// Changes of stock on hand that the movement means; those of a count are in the ledger alone.
fn deltas(asked: &Asked) -> Vec<(String, &'static str, i64)> {
    let text = |name: &str| asked.body[name].as_str().unwrap_or_default().to_owned();
    let quantity = asked.body["quantity"].as_i64().unwrap();
    let here = |kind, delta| (text("depot"), kind, delta);
    match text("kind").as_str() {
        "receipt" => vec![here("receipt", quantity)],
        "issue" => vec![here("issue", -quantity)],
        "transfer" => vec![
            here("transfer_out", -quantity),
            (text("to"), "transfer_in", quantity),
        ],
        "return" => {
            let mut lines = vec![here("return", quantity)];
            match text("fate").as_str() {
                "scrap" => lines.push(here("scrap", -quantity)),
                "repair" => lines.push(here("repair_out", -quantity)),
                _ => {}
            }
            lines
        }
        "repaired" => vec![here("repair_in", quantity)],
        "scrap" => vec![here("scrap", -quantity)],
        _ => Vec::new(),
    }
}

/// Sum and number of lines by part, place and kind.
type Books = BTreeMap<(String, String, String), (i64, usize)>;

fn add(books: &mut Books, part: &str, place: &str, kind: &str, delta: i64) {
    let key = (part.to_owned(), place.to_owned(), kind.to_owned());
    let entry = books.entry(key).or_default();
    *entry = (entry.0 + delta, entry.1 + 1);
}

async fn hold_out(site: Site) {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let store = site.store(home).await;
    let tickets = open_tickets(&store).await;
    let mut before = Books::new();
    for line in fixtures::ledger(&store).await {
        let (part, place) = (line.part.as_str(), line.depot.as_str());
        add(&mut before, part, place, &line.kind, line.delta);
    }
    drop(store);

    let port = free_port();
    let mut service = site.serve(home, port);
    let (base, token) = (service.http.clone(), service.token.clone());
    let done = AtomicUsize::new(0);
    let is_over = AtomicBool::new(false);
    let start = Instant::now();
    let mut oversold = Vec::new();
    let booked: Vec<Asked> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let (base, token, tickets, done) = (&base, &token, &tickets, &done);
                scope.spawn(move || client(n, base, token, tickets, done))
            })
            .collect();
        wait_for("the middle", || {
            done.load(Ordering::Relaxed) >= OPERATIONS / 2
        });
        service.kill();
        service = site.serve(home, port);
        let service = &service;
        let looking = scope.spawn(|| {
            let mut oversold = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                for part in service.get("api/v1/parts")["items"].as_array().unwrap() {
                    for at in part["stock"].as_array().unwrap() {
                        let n = |name: &str| at[name].as_i64().unwrap();
                        if n("held_soft") + n("held_hard") > n("on_hand") {
                            oversold.push(format!("{}: {at}", part["number"]));
                        }
                    }
                }
                std::thread::sleep(Duration::from_millis(250));
            }
            oversold
        });
        let booked = clients
            .into_iter()
            .flat_map(|c| c.join().unwrap())
            .collect();
        is_over.store(true, Ordering::Relaxed);
        oversold = looking.join().unwrap();
        booked
    });
    let took_s = start.elapsed().as_secs_f64();
    assert_eq!(oversold, [""; 0]);
    assert!(service.stop());

    let store = site.store(home).await;
    fixtures::assert_balanced(&store).await;
    let mut told = before;
    let mut counts = 0;
    for asked in &booked {
        counts += usize::from(asked.body["kind"] == "count");
        for (place, kind, delta) in deltas(asked) {
            add(&mut told, asked.part, &place, kind, delta);
        }
    }
    let mut stored = Books::new();
    let mut counted = 0;
    for line in fixtures::ledger(&store).await {
        // The care desk uses parts by itself only where a ticket ends; these do not.
        if line.kind == "count" {
            counted += 1;
        } else {
            let (part, place) = (line.part.as_str(), line.depot.as_str());
            add(&mut stored, part, place, &line.kind, line.delta);
        }
    }
    assert_eq!(
        stored, told,
        "what is in the ledger is what the clients were told"
    );
    assert_eq!(counted, counts);
    let asked = OPERATIONS.div_ceil(CLIENTS) * CLIENTS;
    assert!(
        booked.len() > asked / 3,
        "too few were booked: {}",
        booked.len()
    );
    drop(store);
    site.examine(home);
    println!(
        "{asked} movements, {} booked, {} refused, in {took_s:.1} s: {:.0} a second",
        booked.len(),
        asked - booked.len(),
        asked as f64 / took_s
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_and_a_kill_leave_the_books_balanced_on_sqlite() {
    hold_out(Site::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_and_a_kill_leave_the_books_balanced_on_postgresql() {
    hold_out(Site::Postgres(Postgres::start_with_timescale_if_there())).await;
}
