//! The console over invented data: `cargo run -p forecare-api --example console`, then open the address
//! it prints. For looking at pages without a fleet.

#[path = "../tests/fixture/mod.rs"]
mod fixture;

use std::time::Duration;

use fixture::master;
use fixture::{TOKEN, World, health, now, raised, status};
use forecare_api::StreamEvent;
use forecare_domain::{
    DeviceEvent, DeviceId, EventSeverity, Row, Rul, Severity, SurveyAnswer, Ticket, TicketId,
    TicketState,
};
use forecare_store::{Attempt, CommitBatch, DeliveryState, NewDelivery, ScoredRow, Store};

/// A repeatable number in -1..1.
fn noise(seed: u32) -> f64 {
    let mixed = (seed ^ (seed >> 7)).wrapping_mul(0x9e37_79b1);
    f64::from((mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca6b) >> 8) / f64::from(1_u32 << 23) - 1.0
}

/// Ten days of readings every ten minutes; `wear` bends vibration and temperature up in the last four.
fn readings(device: &DeviceId, seed: u32, wear: f64) -> Vec<ScoredRow> {
    (0_u32..1_440)
        .map(|i| {
            let hours = f64::from(i) / 6.0 - 240.0;
            let late = ((hours + 96.0) / 96.0).max(0.0).powi(2) * wear;
            let load = 68.0 + 12.0 * (hours * std::f64::consts::TAU / 24.0).sin();
            let jitter = |k: u32| noise(seed.wrapping_mul(7_919).wrapping_add(i * 4 + k));
            ScoredRow {
                row: Row {
                    device: device.clone(),
                    ts: now().plus_hours(hours),
                    values: vec![
                        Some(load + 2.0 * jitter(0)),
                        Some(2.2 + 0.01 * load + 0.25 * jitter(1) + 3.1 * late),
                        Some(48.0 + 0.2 * load + 1.1 * jitter(2) + 11.0 * late),
                        Some(112.0 + 0.3 * load + 2.0 * jitter(3) - 20.0 * late),
                    ],
                    extra: Vec::new(),
                },
                health: Some((97.0 - 58.0 * late + jitter(0)).clamp(0.0, 100.0)),
            }
        })
        .collect()
}

/// Everybody is told of every ticket, with every outcome; the first ticket is done, and its customer has answered. The
/// customer's page of it is /answer/1.
#[allow(clippy::unwrap_used, reason = "the store in memory does not fail")]
async fn told(world: &World) {
    let (mut states, mut n_notices) = (DeliveryState::ALL.into_iter().cycle(), 0);
    for notice in world.store.unrouted_notices(100).await.unwrap() {
        let to = |channel: &str, recipient: &str, address: &str| NewDelivery {
            channel: channel.to_owned(),
            recipient: recipient.to_owned(),
            address: address.to_owned(),
            language: "en".to_owned(),
            to_customer: false,
            digest: false,
            due_at: now(),
        };
        let all = vec![
            to("mail", "dispatcher", "dispatch@example.com"),
            to("crm", "crm", ""),
            to("sms", "Lena Vogt", "+49 170 1234567"),
        ];
        world
            .store
            .route_notice(&notice.id, all, now())
            .await
            .unwrap();
        n_notices += 1;
    }
    for d in world
        .store
        .due_deliveries(now(), 3 * n_notices)
        .await
        .unwrap()
    {
        let state = states.next().unwrap_or(DeliveryState::Waiting);
        let failed = matches!(state, DeliveryState::Waiting | DeliveryState::Dead);
        let attempt = Attempt {
            id: d.id,
            attempts: 0,
            state,
            next_at: now().plus_hours(0.5),
            error: failed.then(|| "451 4.3.0 mail server temporarily rejected message".to_owned()),
        };
        world
            .store
            .record_attempts(vec![attempt], now())
            .await
            .unwrap();
    }
    if let Ok(ticket) = world.store.ticket(TicketId(1)).await {
        let ticket = Ticket {
            state: TicketState::Resolved,
            ..ticket
        };
        world.replace(ticket).await;
        let answer = SurveyAnswer {
            ticket: TicketId(1),
            at: now(),
            solved: None,
            csat: Some(4),
            nps: Some(9),
            ces: None,
            comment: Some("Quick, and <b>friendly</b>.\n服务很好。".to_owned()),
        };
        world.store.put_survey_answer(answer).await.unwrap();
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let n_assets = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(24_u32);
    let world = World::new();
    let sites = ["Hall 1", "Hall 2", "Pump house West", "Intake"];
    for i in 0..n_assets {
        let id = format!("pump-{i:05}");
        let site = sites[usize::try_from(i).unwrap_or(0) % sites.len()];
        let name = match i {
            2 => "<script>alert('name')</script> & \"Pump\"".to_owned(),
            _ => format!("Pump {}", i + 1),
        };
        let asset = world.add_asset(&id, "pump", &name, site).await;
        let wear = match i {
            0 => 1.0,
            1 => 0.6,
            2 => 0.35,
            _ => 0.0,
        };
        let trend = Rul::Trend {
            p10_hours: 31.0,
            p50_hours: 64.0,
            p90_hours: 118.0,
        };
        let mut batch = CommitBatch {
            health: vec![health(
                &asset,
                96.0 - 58.0 * wear - f64::from(i % 7),
                &[
                    ("bearing-wear", 0.004 + 0.82 * wear),
                    ("seal-leak", 0.006 + 0.11 * wear),
                ],
                if wear > 0.5 { trend } else { Rul::NoTrend },
            )],
            statuses: vec![status(&asset, i % 11 != 5, 3.0)],
            ..CommitBatch::default()
        };
        if i < 24 {
            batch.rows = readings(&asset.device, i, wear);
        }
        world.commit(batch).await;
        if wear > 0.0 {
            let severity = if wear > 0.5 {
                Severity::Critical
            } else {
                Severity::Warning
            };
            let mode = if i == 1 { "seal-leak" } else { "bearing-wear" };
            world
                .commit(raised(&asset, mode, severity, now().plus_hours(-20.0)))
                .await;
            let event = DeviceEvent {
                device: asset.device.clone(),
                ts: now().plus_hours(-6.0),
                code: "E42".to_owned(),
                severity: EventSeverity::Warning,
                component: None,
                message: "Vibration guard <b>armed</b>".to_owned(),
            };
            world
                .commit(CommitBatch {
                    events: vec![event],
                    ..CommitBatch::default()
                })
                .await;
            if i < 2 {
                world
                    .open_ticket(&asset, mode, 0.82 * wear, now().plus_hours(-19.0))
                    .await;
            }
        }
    }
    if n_assets >= 2 {
        master::fill(&world.store, ["pump-00000", "pump-00001"]).await;
    }
    told(&world).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8090").await?;
    println!("http://{}/login#token={TOKEN}", listener.local_addr()?);
    let stream = world.state.stream.clone();
    let sample = world
        .state
        .store
        .health()
        .await
        .ok()
        .and_then(|all| all.into_iter().next());
    tokio::spawn(async move {
        let mut beat = tokio::time::interval(Duration::from_secs(3));
        while let Some(sample) = &sample {
            beat.tick().await;
            let _nobody_listens = stream.send(StreamEvent::Health(sample.clone()));
        }
    });
    forecare_api::serve(listener, world.state, std::future::pending()).await
}
