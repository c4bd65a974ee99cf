//! The service's monitors and care desk on a store in memory, told what happened instant by instant: what `replay`
//! does over MQTT, without the transport.

use std::sync::{Arc, Mutex};

use anyhow::Result;
use forecare_care::automation::AutomationRules;
use forecare_catalogue::Catalogue;
use forecare_datasets::azure_pdm::{AlarmRecord, AzurePdm, EventKind, TicketRecord, device_name};
use forecare_domain::{DeviceEvent, DeviceId, EventSeverity, REPLACED_CODE, Row, Timestamp};
use forecare_prognosis::Model;
use forecare_store::{CommitBatch, MemoryStore, NewTask, ScoredRow, Store};
use tokio::sync::{Notify, Semaphore, broadcast, mpsc};

use crate::cli::progress::Progress;
use crate::cli::replay::assets;
use crate::cli::report::{alarms, tickets};
use crate::clock::DeviceClock;
use crate::config::Config;
use crate::desk::{Automation, CareDesk, SLOT_PLACES, Terms};
use crate::metrics::Metrics;
use crate::pipeline::Devices;

/// What the service did.
pub(super) struct Done {
    pub(super) tickets: Vec<TicketRecord>,
    pub(super) alarms: Vec<AlarmRecord>,
}

/// Runs the service, with its default settings and this model, on what the machines of `data` tell.
pub(super) async fn run(
    catalogue: &Catalogue,
    model: Model,
    data: &AzurePdm,
    config: &Config,
    title: &str,
) -> Result<Done> {
    let start = Timestamp::from_millis(0);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(catalogue, start));
    let mut devices = Devices::new(catalogue, vec![model], &config.class_settings())?;
    let assets = assets(data)?;
    store.register_assets(assets.clone()).await?;
    for asset in assets {
        devices.register(asset);
    }
    // Nobody resolves a ticket here, so the desk has nothing to ask of the pipeline.
    let (control, _requests) = mpsc::channel(1);
    let (stream, _) = broadcast::channel(1);
    let metrics = Metrics::new()?;
    // Nobody routes notices here.
    let automation = Automation::new(AutomationRules::default(), &metrics.registry)?;
    let desk = CareDesk {
        store: Arc::clone(&store),
        catalogue: Arc::new(catalogue.clone()),
        clock: Arc::new(DeviceClock::new(start)),
        policy: config.care_policy(),
        control,
        stream,
        metrics: Arc::new(metrics),
        automation: Arc::new(automation),
        terms: Arc::new(Terms::new(
            config.care.sla.clone(),
            config.tiers()?,
            &catalogue.currency,
        )),
        tickets: Arc::new(config.care.tickets.clone()),
        dispatch: Arc::new(config.dispatch_settings()),
        wake: Arc::new(Notify::new()),
        one_by_one: Arc::default(),
        slot_places: Arc::new(Semaphore::new(SLOT_PLACES)),
        appointments: Arc::new(config.care.appointments.clone()),
        replan: Arc::new(Notify::new()),
        assets: Arc::new(Mutex::default()),
    };
    let events: Vec<_> = data.events_in_time_order().collect();
    let progress = Progress::bar(u64::try_from(events.len())?, "events");
    progress.say(title.to_owned());
    let mut done = 0;
    for instant in events.chunk_by(|a, b| a.ts == b.ts) {
        let mut batch = CommitBatch::default();
        for event in instant {
            let device = DeviceId::new(device_name(event.machine))?;
            let Some(entry) = devices.get_mut(&device) else {
                continue;
            };
            let context = Arc::clone(&entry.context);
            let outcome = match event.kind {
                EventKind::Reading(values) => {
                    let row = Row {
                        device,
                        ts: event.ts,
                        values: values.map(Some).to_vec(),
                        extra: Vec::new(),
                    };
                    let (_, outcome) = entry.monitor.row(&context, &row, event.ts, false);
                    batch.rows.push(ScoredRow {
                        health: outcome.health.as_ref().map(|h| h.health),
                        row,
                    });
                    outcome
                }
                EventKind::Error(code) => {
                    let event = told(device, event.ts, code, EventSeverity::Error);
                    entry.monitor.event(&context, &event, event.ts)
                }
                EventKind::Replaced(component) => {
                    let event = DeviceEvent {
                        component: Some(component.clone()),
                        ..told(device, event.ts, REPLACED_CODE, EventSeverity::Info)
                    };
                    entry.monitor.event(&context, &event, event.ts)
                }
            };
            batch.alarms.extend(outcome.alarms);
            batch.tasks.extend(outcome.tasks.into_iter().map(NewTask));
        }
        store.commit_batch(batch).await?;
        while desk.work().await? > 0 {}
        done += instant.len();
        progress.set(u64::try_from(done)?);
    }
    progress.finish();
    Ok(Done {
        tickets: tickets(store.as_ref(), &data.machines).await?,
        alarms: alarms(store.as_ref(), &data.machines).await?,
    })
}

fn told(device: DeviceId, ts: Timestamp, code: &str, severity: EventSeverity) -> DeviceEvent {
    DeviceEvent {
        device,
        ts,
        code: code.to_owned(),
        severity,
        component: None,
        message: String::new(),
    }
}
