//! Models at work on stores in memory and on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use forecare_care::dispatch::Crew;
use forecare_care::{Assessment, CarePolicy, Footing, Precision, Standing, decide, open_ticket};
use forecare_catalogue::Catalogue;
use forecare_detect::{DetectSettings, EpisodeSettings};
use forecare_domain::{
    AlarmId, Asset, AssetId, ClassName, Clock, ComponentName, DeviceEvent, DeviceId, EventSeverity,
    Label, ManualClock, ModeName, REPLACED_CODE, Row, Rul, Severity, TicketId, Timestamp, Verdict,
};
use forecare_prognosis::{
    CardData, FeatureState, History, HistoryItem, LifeModel, LifeParams, LifeState, Model,
    TrainParams, train, train_life,
};
use forecare_store::{
    CareCommit, CareOutcome, CommitBatch, MemoryStore, ScoredRow, Store, TicketWrite,
};
use forecare_store_sqlite::SqliteStore;
use forecare_store_timescale::{TimescaleSettings, TimescaleStore};
use forecare_test_databases::Postgres;
use prometheus::Registry;

use super::compare::compare;
use super::gauges::ModelGauges;
use super::guard::{Guard, GuardParts, Verdicts};
use super::learn::{Span, add_life, must_speak, stored};
use super::library::{Library, Role};
use super::record::Reason;
use super::watch::Voice;
use crate::config::Config;
use crate::failures::Failure;
use crate::pipeline::{ClassContext, ClassSettings};

const MODE: &str = "bearing-wear";
const OTHER: &str = "oil-leak";
const VIBRATION: usize = 5;
const OIL: usize = 6;

fn catalogue() -> Catalogue {
    Catalogue::parse(crate::cli::DEMO_CATALOGUE).unwrap()
}

fn class_name() -> ClassName {
    ClassName::new("screw-compressor").unwrap()
}

fn hour(n: i64) -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000 + n * 3_600_000)
}

/// A row of a healthy machine, with a little of everything; `worn`: its vibration is far above the usual.
fn values(machine: usize, n: i64, worn: bool) -> Vec<Option<f64>> {
    let wobble =
        f64::from(u8::try_from((n * 7 + machine as i64 * 3).rem_euclid(11)).unwrap()) / 11.0;
    let mut values: Vec<f64> = vec![70.0, 22.0, 80.0, 7.2, 120.0, 2.0, 3.4, 25.0];
    for value in &mut values {
        *value += 0.02 * *value * wobble;
    }
    if worn {
        values[VIBRATION] += 3.0;
    }
    values.into_iter().map(Some).collect()
}

fn row(device: &DeviceId, machine: usize, n: i64, worn: bool) -> Row {
    Row {
        device: device.clone(),
        ts: hour(n),
        values: values(machine, n, worn),
        extra: Vec::new(),
    }
}

/// Learns that vibration announces wear within the class's 72 h; `reversed`: that quiet does.
fn model(reversed: bool) -> Model {
    let catalogue = catalogue();
    let histories: Vec<History> = (0..4)
        .map(|machine| {
            let fails = [200 + machine as i64, 420 + machine as i64];
            let mut items = Vec::new();
            for n in 0..500 {
                let before = fails.iter().any(|f| (f - 72..=*f).contains(&n));
                items.push(HistoryItem::Reading {
                    ts: hour(n),
                    values: values(machine, n, before != reversed),
                });
                if fails.contains(&n) {
                    items.push(HistoryItem::Failure {
                        ts: hour(n),
                        mode: ModeName::new(MODE).unwrap(),
                    });
                }
            }
            History {
                device: format!("m{machine}"),
                items,
            }
        })
        .collect();
    let params = TrainParams {
        rounds: 20,
        depth: 2,
        folds: 2,
        ..TrainParams::default()
    };
    let data = CardData {
        data: format!("a test, reversed: {reversed}"),
        trained_at: hour(500),
    };
    train(
        &catalogue.classes[0],
        &histories,
        &params,
        &data,
        &mut |_| {},
    )
    .unwrap()
}

fn reason(why: &str) -> Reason {
    Reason {
        at: hour(0),
        by: "anna".to_owned(),
        why: why.to_owned(),
    }
}

fn asset(name: &str) -> Asset {
    Asset {
        id: AssetId::new(name).unwrap(),
        device: DeviceId::new(name).unwrap(),
        class: class_name(),
        name: name.to_owned(),
        site: String::new(),
        depot: None,
        registered_at: hour(0),
    }
}

fn settings() -> ClassSettings {
    ClassSettings {
        detect: DetectSettings::default(),
        episodes: EpisodeSettings::default(),
        reassess_hours: 12.0,
        confirm_hours: 12.0,
        margin: 0.0,
        tickets: Arc::default(),
    }
}

fn context() -> ClassContext {
    let settings = settings();
    ClassContext::new(
        catalogue().classes.remove(0),
        None,
        &settings.detect,
        settings.episodes,
        settings.reassess_hours,
        settings.confirm_hours,
        settings.margin,
    )
    .unwrap()
}

fn parts(library: &Library, store: &Arc<dyn Store>, clock: Arc<dyn Clock>) -> GuardParts {
    let mut config = Config::load(None, &[]).unwrap().models;
    config.psi_window_hours = 100.0;
    GuardParts {
        library: library.clone(),
        catalogue: Arc::new(catalogue()),
        store: Arc::clone(store),
        clock,
        config,
        gauges: ModelGauges::new(&Registry::new()).unwrap(),
    }
}

async fn begin(
    library: &Library,
    store: &Arc<dyn Store>,
    now: Timestamp,
) -> (crate::pipeline::Devices, Guard) {
    let clock = Arc::new(ManualClock::new(now));
    let parts = parts(library, store, clock);
    let in_role = library.in_role(&parts.catalogue).unwrap();
    Guard::begin(parts, in_role, &settings()).await.unwrap()
}

/// A library in which the model that knows wear is live and the reversed one is tried.
fn two_models() -> (tempfile::TempDir, Library) {
    let dir = tempfile::tempdir().unwrap();
    let library = Library::new(dir.path().join("models"));
    let first = library.add(&model(false), &reason("")).unwrap();
    assert_eq!((first.version.as_str(), first.role), ("v1", Role::Live));
    let second = library.add(&model(true), &reason("")).unwrap();
    assert_eq!((second.version.as_str(), second.role), ("v2", Role::Shadow));
    (dir, library)
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(&catalogue(), hour(0)))
}

/// A promotion that the service has not carried out when it is killed: rows behind the newest checkpoint were scored by
/// the model before, and that is how they are scored again.
#[tokio::test]
async fn a_promotion_cut_off_by_a_crash_leaves_the_same_state() {
    let (_dir, library) = two_models();
    let store = memory();
    store.register_assets(vec![asset("a")]).await.unwrap();
    let (mut devices, guard) = begin(&library, &store, hour(0)).await;
    let device = DeviceId::new("a").unwrap();
    for n in 0..120 {
        let row = row(&device, 1, n, n > 60);
        let entry = devices.get_mut(&device).unwrap();
        let context = Arc::clone(&entry.context);
        let (_, outcome) = entry.monitor.row(&context, &row, row.ts, false);
        let health = outcome.health.map(|h| h.health);
        store
            .commit_batch(CommitBatch {
                rows: vec![ScoredRow { row, health }],
                alarms: outcome.alarms,
                ..CommitBatch::default()
            })
            .await
            .unwrap();
    }
    drop(guard);
    let undisturbed = devices.get_mut(&device).unwrap().monitor.clone();
    library
        .promote(&class_name(), "v2", &catalogue(), &reason("a hunch"))
        .unwrap();

    let (mut rebuilt, _guard) = begin(&library, &store, hour(121)).await;
    let entry = rebuilt.get_mut(&device).unwrap();
    assert_eq!(
        serde_json::to_value(&entry.monitor).unwrap(),
        serde_json::to_value(&undisturbed).unwrap()
    );
    let live = entry.context.watch.live.as_ref().unwrap();
    assert_eq!(live.version, "v2", "from the next row on");
    // And once more: now the checkpoint holds what the model before has judged.
    let (mut again, _guard) = begin(&library, &store, hour(121)).await;
    assert_eq!(
        serde_json::to_value(&again.get_mut(&device).unwrap().monitor).unwrap(),
        serde_json::to_value(&undisturbed).unwrap()
    );
    // What the test would miss otherwise: judged by the new model the same rows lead elsewhere.
    let elsewhere = memory();
    elsewhere.register_assets(vec![asset("a")]).await.unwrap();
    let rows = (0..120)
        .map(|n| ScoredRow {
            row: row(&device, 1, n, n > 60),
            health: None,
        })
        .collect();
    let batch = CommitBatch {
        rows,
        ..CommitBatch::default()
    };
    elsewhere.commit_batch(batch).await.unwrap();
    let (mut other, _guard) = begin(&library, &elsewhere, hour(121)).await;
    assert_ne!(
        serde_json::to_value(&other.get_mut(&device).unwrap().monitor).unwrap(),
        serde_json::to_value(&undisturbed).unwrap()
    );
}

/// Opens a ticket because of a model's probability, and closes it with a verdict at once.
async fn verdict(
    store: &dyn Store,
    device: &str,
    mode: &str,
    detected: i64,
    found: i64,
    verdict: Verdict,
) -> TicketId {
    let catalogue = catalogue();
    let class = &catalogue.classes[0];
    let asset = asset(device);
    let name = ModeName::new(mode).unwrap();
    let mode = class.mode(&name).unwrap();
    let alarm = AlarmId::of(&asset.device, &name, hour(detected));
    let config = Config::load(None, &[]).unwrap();
    let policy = CarePolicy::default();
    let assessment = Assessment {
        device: &asset.device,
        mode: &name,
        alarm: &alarm,
        severity: Severity::Critical,
        probability: Some(0.9),
        horizon_hours: class.horizon_hours,
        rul: &Rul::NoTrend,
        contributions: &[],
        reading_ts: hour(detected),
        at: hour(detected),
    };
    let decision = decide(
        class,
        mode,
        &catalogue,
        &assessment,
        &Precision::prior(mode),
        &policy,
        hour(detected),
    );
    let ticket = open_ticket(
        &catalogue,
        &asset,
        mode,
        &assessment,
        &decision,
        Crew {
            technicians: &catalogue.technicians,
            load: &[],
        },
        Footing {
            policy: &policy,
            terms: &config.care.sla,
            standing: &Standing::default(),
        },
    );
    let opened = store
        .commit_care(CareCommit {
            ticket: TicketWrite::Open(Box::new(ticket)),
            at: hour(detected),
            ..CareCommit::default()
        })
        .await
        .unwrap();
    let CareOutcome::Opened { ticket, .. } = opened else {
        panic!("{opened:?}");
    };
    let mut ticket = *ticket;
    ticket.state = forecare_domain::TicketState::Resolved;
    ticket.verdict = Some(verdict.clone());
    let id = ticket.id;
    store
        .commit_care(CareCommit {
            ticket: TicketWrite::Update {
                ticket: Box::new(ticket),
                parts_used: Vec::new(),
            },
            label: Some(Label {
                ticket: id,
                device: asset.device,
                mode: name,
                verdict,
                detected_at: hour(detected),
                at: hour(found),
                probability: 0.9,
            }),
            at: hour(found),
            ..CareCommit::default()
        })
        .await
        .unwrap();
    id
}

fn confirmed() -> Verdict {
    Verdict::Confirmed {
        failure_code: "VIB".to_owned(),
    }
}

#[tokio::test]
async fn ten_visits_for_nothing_demote_the_model_and_say_why() {
    let (_dir, library) = two_models();
    library
        .promote(&class_name(), "v2", &catalogue(), &reason(""))
        .unwrap();
    let store = memory();
    let names: Vec<String> = (0..10).map(|n| format!("m{n}")).collect();
    let assets = names.iter().map(|n| asset(n)).collect();
    store.register_assets(assets).await.unwrap();
    let (_devices, guard) = begin(&library, &store, hour(0)).await;
    let mut verdicts = Verdicts::default();
    for (n, name) in names.iter().enumerate() {
        guard.judge(&mut verdicts).await.unwrap();
        let roles = library.roles(&class_name()).unwrap();
        assert_eq!(roles.live.as_deref(), Some("v2"), "after {n} verdicts");
        verdict(&*store, name, MODE, 10, 20, Verdict::NoFaultFound).await;
    }
    guard.judge(&mut verdicts).await.unwrap();
    let roles = library.roles(&class_name()).unwrap();
    assert_eq!(roles.live.as_deref(), Some("v1"));
    let demotion = roles.demotion().unwrap();
    assert_eq!(demotion.by, "forecare");
    assert!(
        demotion.why.contains("10 verdicts") && demotion.why.contains("models.precision_min"),
        "{}",
        demotion.why
    );
    // The verdicts were on the one that is gone: the one before is not demoted for them.
    let (_devices, guard) = begin(&library, &store, hour(30)).await;
    guard.judge(&mut Verdicts::default()).await.unwrap();
    let roles = library.roles(&class_name()).unwrap();
    assert_eq!(roles.live.as_deref(), Some("v1"));
}

#[tokio::test]
async fn inputs_unlike_the_training_demote_the_model_and_name_the_features() {
    let (_dir, library) = two_models();
    for (worn_down, expected) in [(false, Some("v1")), (true, None)] {
        let store = memory();
        store
            .register_assets(vec![asset("a"), asset("b")])
            .await
            .unwrap();
        let (mut devices, guard) = begin(&library, &store, hour(0)).await;
        for n in 0..200 {
            for (machine, name) in ["a", "b"].iter().enumerate() {
                let device = DeviceId::new(*name).unwrap();
                let mut row = row(&device, machine, n, false);
                if worn_down {
                    // Another sensor, in other units, and one that is dead.
                    row.values[2] = row.values[2].map(|celsius| celsius * 1.8 + 32.0);
                    row.values[3] = None;
                    row.values[OIL] = None;
                }
                let entry = devices.get_mut(&device).unwrap();
                let context = Arc::clone(&entry.context);
                let (_, outcome) = entry.monitor.row(&context, &row, row.ts, false);
                let (watched, monitor) = (&mut entry.watched, &entry.monitor);
                context
                    .watch
                    .row(&context, watched, &row, monitor.features(), &outcome, false);
            }
        }
        guard.judge(&mut Verdicts::default()).await.unwrap();
        let roles = library.roles(&class_name()).unwrap();
        assert_eq!(roles.live.as_deref(), expected, "{:?}", roles.demotion());
        if worn_down {
            let why = &roles.demotion().unwrap().why;
            assert!(
                why.contains("stability index") && why.contains("discharge_pressure"),
                "{why}"
            );
        }
    }
}

/// Four machines: two wear out and are repaired in time, two are healthy; one of these was visited for nothing and
/// got a new bearing all the same.
async fn lived(store: &dyn Store) {
    let names = ["a", "b", "c", "d"];
    store
        .register_assets(names.map(asset).to_vec())
        .await
        .unwrap();
    for (machine, name) in names.iter().enumerate() {
        let device = DeviceId::new(*name).unwrap();
        let worn = |n: i64| machine < 2 && (200..300).contains(&n);
        let rows = (0..600)
            .map(|n| ScoredRow {
                row: row(&device, machine, n, worn(n)),
                health: None,
            })
            .collect();
        let events = (machine != 3)
            .then(|| DeviceEvent {
                device: device.clone(),
                ts: hour(300),
                code: REPLACED_CODE.to_owned(),
                severity: EventSeverity::Info,
                component: Some(ComponentName::new("bearing").unwrap()),
                message: String::new(),
            })
            .into_iter()
            .collect();
        store
            .commit_batch(CommitBatch {
                rows,
                events,
                ..CommitBatch::default()
            })
            .await
            .unwrap();
    }
    verdict(store, "a", MODE, 240, 300, confirmed()).await;
    verdict(store, "b", MODE, 240, 300, confirmed()).await;
}

async fn learnt(store: &dyn Store) -> Model {
    let catalogue = catalogue();
    let class = &catalogue.classes[0];
    let span = Span::new(None, None).unwrap();
    let history = stored(store, class, span, &BTreeSet::new(), &[], |_, _| {})
        .await
        .unwrap();
    let params = TrainParams {
        rounds: 10,
        depth: 2,
        folds: 2,
        row_distance_hours: history.row_distance_hours,
        ..TrainParams::default()
    };
    let data = CardData {
        data: history.data,
        trained_at: history.newest,
    };
    train(class, &history.histories, &params, &data, &mut |_| {}).unwrap()
}

#[tokio::test]
async fn every_store_gives_the_same_model_from_the_same_history() {
    let model = async |store: &dyn Store| {
        lived(store).await;
        let first = learnt(store).await.to_json();
        assert_eq!(first, learnt(store).await.to_json(), "again");
        first
    };
    let in_memory = model(&*memory()).await;
    let dir = tempfile::tempdir().unwrap();
    let sqlite = SqliteStore::open(&dir.path().join("db"), &catalogue(), hour(0)).unwrap();
    assert_eq!(model(&sqlite).await, in_memory);
    let cluster = Postgres::shared();
    let settings = TimescaleSettings {
        url: cluster.url_of(&cluster.database()),
        plain_postgres: true,
        ..TimescaleSettings::default()
    };
    let timescale = TimescaleStore::open(settings, &catalogue(), hour(0))
        .await
        .unwrap();
    assert_eq!(model(&timescale).await, in_memory);
}

#[tokio::test]
async fn a_later_training_learns_from_the_verdicts_that_came_meanwhile() {
    let store = memory();
    lived(&*store).await;
    let mut hashes = vec![learnt(&*store).await.card().sha256.clone()];
    // Its bearing was replaced at 300: without the verdict nobody knows what would have become of it.
    verdict(&*store, "c", MODE, 280, 300, Verdict::NoFaultFound).await;
    hashes.push(learnt(&*store).await.card().sha256.clone());
    verdict(&*store, "d", MODE, 400, 410, Verdict::DataFault).await;
    hashes.push(learnt(&*store).await.card().sha256.clone());
    let other = ModeName::new(OTHER).unwrap();
    assert!(learnt(&*store).await.modes().all(|mode| *mode != other));
    for (device, at) in [("c", 500), ("d", 520)] {
        let verdict_now = Verdict::WrongMode {
            actual: other.clone(),
        };
        verdict(&*store, device, MODE, at, at + 10, verdict_now).await;
    }
    let last = learnt(&*store).await;
    assert!(
        last.modes().any(|mode| *mode == other),
        "the mode that was found is learnt"
    );
    assert!(
        last.card().data.contains("2 wrong mode") && last.card().data.contains("1 no fault found"),
        "{}",
        last.card().data
    );
    hashes.push(last.card().sha256.clone());
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), 4, "each verdict has changed the model");
}

#[tokio::test]
async fn machines_whose_customers_do_not_agree_are_left_out_of_training() {
    let store = memory();
    lived(&*store).await;
    let catalogue = catalogue();
    let span = Span::new(None, None).unwrap();
    let refused = BTreeSet::from([
        AssetId::new("b").unwrap(),
        AssetId::new("elsewhere").unwrap(),
    ]);
    let history = stored(
        &*store,
        &catalogue.classes[0],
        span,
        &refused,
        &[],
        |_, _| {},
    )
    .await
    .unwrap();
    assert_eq!(history.n_refused, 1);
    let devices: Vec<&str> = history
        .histories
        .iter()
        .map(|h| h.device.as_str())
        .collect();
    assert_eq!(devices, ["a", "c", "d"]);
    assert!(
        history
            .data
            .starts_with("stored history of 3 machines (1 more left out"),
        "{}",
        history.data
    );
}

#[tokio::test]
async fn failures_on_record_elsewhere_are_learnt_from_beside_the_verdicts_and_count_once() {
    let store = memory();
    lived(&*store).await;
    let catalogue = catalogue();
    let class = &catalogue.classes[0];
    let failure = |device: &str, mode: &str, at: i64| Failure {
        device: DeviceId::new(device).unwrap(),
        mode: ModeName::new(mode).unwrap(),
        at: hour(at),
    };
    let failed = async |failures: &[Failure]| {
        let span = Span::new(None, None).unwrap();
        let found = stored(&*store, class, span, &BTreeSet::new(), failures, |_, _| {})
            .await
            .unwrap();
        let is_failure = |i: &&HistoryItem| matches!(i, HistoryItem::Failure { .. });
        let items = found.histories.iter().flat_map(|h| &h.items);
        (items.filter(is_failure).count(), found.data)
    };
    assert_eq!(failed(&[]).await.0, 2, "the verdicts'");
    let (n, data) = failed(&[
        // Told by the verdict, which found it from 240 to 300.
        failure("a", MODE, 310),
        failure("a", MODE, 500),
        failure("a", MODE, 520),
        failure("a", OTHER, 310),
        failure("elsewhere", MODE, 100),
    ])
    .await;
    assert_eq!(n, 4, "{data}");
    assert!(data.ends_with("; 2 failures from a file"), "{data}");
}

#[test]
fn a_model_that_speaks_of_nothing_is_refused_with_what_was_learnt_and_what_is_missing() {
    let catalogue = catalogue();
    // Readings that never change announce nothing.
    let histories: Vec<History> = (0..4)
        .map(|machine| {
            let mut items: Vec<HistoryItem> = (0..500)
                .map(|n| HistoryItem::Reading {
                    ts: hour(n),
                    values: vec![Some(1.0); 8],
                })
                .collect();
            items.push(HistoryItem::Failure {
                ts: hour(499),
                mode: ModeName::new(MODE).unwrap(),
            });
            History {
                device: format!("m{machine}"),
                items,
            }
        })
        .collect();
    let data = CardData {
        data: "a test".to_owned(),
        trained_at: hour(500),
    };
    let params = TrainParams {
        rounds: 10,
        ..TrainParams::default()
    };
    let class = &catalogue.classes[0];
    let learnt = train(class, &histories, &params, &data, &mut |_| {}).unwrap();
    let (learnt, said) = add_life(learnt, class, &histories, &mut |_| {});
    let error = must_speak(&learnt, &said).unwrap_err().to_string();
    for part in [
        MODE,
        "average precision",
        "AUC",
        "4 machine(s)",
        "--failures",
        "no model is stored",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    must_speak(&model(false), "").unwrap();
}

#[tokio::test]
async fn two_versions_are_told_apart_on_the_stored_history() {
    let store = memory();
    lived(&*store).await;
    verdict(&*store, "c", MODE, 100, 110, Verdict::NoFaultFound).await;
    let (good, reversed) = (model(false), model(true));
    let span = Span::new(None, None).unwrap();
    let found = compare(&*store, &context(), [&good, &reversed], span, |_, _| {})
        .await
        .unwrap();
    assert_eq!((found.n_devices, found.n_rows), (4, 2_400));
    assert_eq!((found.n_confirmed, found.n_refuted), (2, 1));
    let [good, reversed] = &found.each;
    assert_eq!((good.confirmed_seen, good.refuted_seen), (2, 0));
    assert_eq!(good.alarms, 2, "one per worn machine");
    assert_eq!(reversed.refuted_seen, 1, "it cries for every healthy one");
    assert_eq!(good.average_precision(), Some(1.0));
    assert!(found.agreement() < 0.5, "{}", found.agreement());
}

#[tokio::test]
async fn a_shadow_is_tried_on_the_same_rows_and_opens_nothing() {
    let (_dir, library) = two_models();
    let store = memory();
    store.register_assets(vec![asset("a")]).await.unwrap();
    let (mut devices, guard) = begin(&library, &store, hour(0)).await;
    let device = DeviceId::new("a").unwrap();
    let mut raised = 0;
    let mut assessed = None;
    for n in 0..200 {
        let row = row(&device, 1, n, n >= 120);
        let entry = devices.get_mut(&device).unwrap();
        let context = Arc::clone(&entry.context);
        let (_, outcome) = entry.monitor.row(&context, &row, row.ts, false);
        let (watched, monitor) = (&mut entry.watched, &entry.monitor);
        context
            .watch
            .row(&context, watched, &row, monitor.features(), &outcome, false);
        raised += outcome
            .alarms
            .iter()
            .filter(|c| matches!(c, forecare_domain::AlarmChange::Raised(a) if a.mode.as_str() == MODE && n < 120))
            .count();
        if !outcome.tasks.is_empty() && n >= 120 {
            assessed.get_or_insert(n);
        }
    }
    assert_eq!(
        raised, 0,
        "the shadow cries from the start, nobody hears it"
    );
    let assessed = assessed.expect("the live model asks the care desk");
    let verdict_on = |found| verdict(&*store, "a", MODE, assessed, 199, found);
    verdict_on(confirmed()).await;
    guard.judge(&mut Verdicts::default()).await.unwrap();
    guard.save().await.unwrap();

    let seen = super::guard::seen_of(&*store, &class_name()).await.unwrap();
    let trial = seen.trial.unwrap();
    assert_eq!(trial.n_rows, 200);
    assert!(trial.agreement().unwrap() < 0.5);
    assert_eq!((trial.live_alarms, trial.shadow_alarms), (1, 1));
    assert!((trial.device_hours - 199.0).abs() < 1e-9);
    assert_eq!(seen.precision.unwrap().n_verdicts, 1);
    // It goes on after a restart.
    let (_devices, guard) = begin(&library, &store, hour(200)).await;
    guard.save().await.unwrap();
    let seen = super::guard::seen_of(&*store, &class_name()).await.unwrap();
    assert_eq!(seen.trial.unwrap(), trial);
}

/// Wear shows in the vibration from the beginning of a life to its end.
fn wearing(machine: usize, n: i64, age: i64, life: i64) -> Vec<Option<f64>> {
    let mut values = values(machine, n, false);
    #[allow(clippy::cast_precision_loss, reason = "hours")]
    let wear = (age as f64 / life as f64).powi(2);
    values[VIBRATION] = values[VIBRATION].map(|v| v + 4.0 * wear);
    values
}

/// Hours from the first reading to the failure.
fn life_of(machine: usize) -> i64 {
    180 + 6 * i64::try_from(machine).unwrap()
}

/// Remaining life learnt from a dozen machines; `seed` makes another model of it.
fn life_model(seed: u64) -> Model {
    let histories: Vec<History> = (0..12)
        .map(|machine| {
            let life = life_of(machine);
            let reading = |n| HistoryItem::Reading {
                ts: hour(n),
                values: wearing(machine, n, n, life),
            };
            let mut items: Vec<HistoryItem> = (0..=life).map(reading).collect();
            items.push(HistoryItem::Failure {
                ts: hour(life),
                mode: ModeName::new(MODE).unwrap(),
            });
            History {
                device: format!("m{machine:02}"),
                items,
            }
        })
        .collect();
    let params = LifeParams {
        rounds: 60,
        leaf_rows_min: 10.0,
        seed,
        ..LifeParams::default()
    };
    let data = CardData {
        data: format!("lives, seed {seed}"),
        trained_at: hour(500),
    };
    train_life(
        &catalogue().classes[0],
        &histories,
        &params,
        &data,
        &mut |_| {},
    )
    .unwrap()
}

#[tokio::test]
async fn a_life_model_on_trial_is_followed_and_goes_on_where_it_was_when_it_is_promoted() {
    let dir = tempfile::tempdir().unwrap();
    let library = Library::new(dir.path().join("models"));
    library.add(&model(false), &reason("")).unwrap();
    let tried = life_model(1);
    let placed = library.add(&tried, &reason("")).unwrap();
    assert_eq!(placed.role, Role::Shadow);
    let store = memory();
    store.register_assets(vec![asset("a")]).await.unwrap();
    let (mut devices, guard) = begin(&library, &store, hour(0)).await;
    let device = DeviceId::new("a").unwrap();
    let mut alone = LifeState::new();
    let id = tried.card().sha256.clone();
    let step = |devices: &mut crate::pipeline::Devices, n: i64| {
        let row = Row {
            values: wearing(1, n, n, 200),
            ..row(&device, 1, n, false)
        };
        let entry = devices.get_mut(&device).unwrap();
        let context = Arc::clone(&entry.context);
        let (_, outcome) = entry.monitor.row(&context, &row, row.ts, false);
        let (watched, monitor) = (&mut entry.watched, &entry.monitor);
        context
            .watch
            .row(&context, watched, &row, monitor.features(), &outcome, false);
        (row, outcome)
    };
    for n in 0..200 {
        let (row, outcome) = step(&mut devices, n);
        let life = tried.life().unwrap();
        let rul = life.step(&id, &mut alone, row.ts, &row.values);
        assert_eq!(
            outcome.tried,
            tried.predict_from_life(&alone, &rul),
            "hour {n}"
        );
        let health = outcome.health.unwrap();
        assert!(
            !matches!(health.rul, Rul::Learnt { .. }),
            "what is tried has no effect"
        );
    }
    guard.save().await.unwrap();
    let seen = super::guard::seen_of(&*store, &class_name()).await.unwrap();
    let trial = seen.trial.unwrap();
    assert!(trial.n_rows == 200 && trial.shadow_alarms >= 1, "{trial:?}");

    // Promoted, it knows what it has seen of the machine.
    library
        .promote(&class_name(), "v2", &catalogue(), &reason(""))
        .unwrap();
    let models = library.in_role(&catalogue()).unwrap().remove(0).1;
    let watch = super::watch::Watch::new(models, super::watch::Seen::default(), 100.0, None);
    devices
        .switch(&*store, &class_name(), Arc::new(watch), hour(200))
        .await
        .unwrap();
    let (row, outcome) = step(&mut devices, 200);
    let rul = tried
        .life()
        .unwrap()
        .step(&id, &mut alone, row.ts, &row.values);
    assert_eq!(outcome.health.unwrap().rul, rul);
}

#[tokio::test]
async fn life_models_are_compared_on_the_stored_history_and_a_repair_begins_a_new_life() {
    let store = memory();
    store.register_assets(vec![asset("a")]).await.unwrap();
    let device = DeviceId::new("a").unwrap();
    let rows = (0..600)
        .map(|n| ScoredRow {
            row: Row {
                values: wearing(1, n, n % 200, 200),
                ..row(&device, 1, n, false)
            },
            health: None,
        })
        .collect();
    store
        .commit_batch(CommitBatch {
            rows,
            ..CommitBatch::default()
        })
        .await
        .unwrap();
    verdict(&*store, "a", MODE, 195, 200, confirmed()).await;
    verdict(&*store, "a", MODE, 395, 400, confirmed()).await;
    let (one, other) = (life_model(1), model(true));
    let span = Span::new(None, None).unwrap();
    let found = compare(&*store, &context(), [&one, &other], span, |_, _| {})
        .await
        .unwrap();
    assert_eq!(found.n_confirmed, 2);
    assert_eq!(found.each[0].confirmed_seen, 2, "{found:?}");
    assert!(found.each[0].alarms >= 3, "one in each life: {found:?}");
}

#[tokio::test]
async fn remaining_life_is_learnt_from_machines_that_came_to_a_confirmed_failure() {
    let class = catalogue().classes.remove(0);
    let histories = async |n_machines: usize| {
        let store = memory();
        let names: Vec<String> = (0..n_machines).map(|n| format!("m{n:02}")).collect();
        let assets = names.iter().map(|n| asset(n)).collect();
        store.register_assets(assets).await.unwrap();
        for (machine, name) in names.iter().enumerate() {
            let device = DeviceId::new(name.as_str()).unwrap();
            let life = life_of(machine);
            // The fault stays for ten hours, then a new life begins.
            let rows = (0..life + 60)
                .map(|n| {
                    let age = if n < life + 10 {
                        n.min(life)
                    } else {
                        n - life - 10
                    };
                    let row = Row {
                        values: wearing(machine, n, age, life),
                        ..row(&device, machine, n, false)
                    };
                    ScoredRow { row, health: None }
                })
                .collect();
            store
                .commit_batch(CommitBatch {
                    rows,
                    ..CommitBatch::default()
                })
                .await
                .unwrap();
            verdict(&*store, name, MODE, life, life + 10, confirmed()).await;
        }
        let span = Span::new(None, None).unwrap();
        stored(&*store, &class, span, &BTreeSet::new(), &[], |_, _| {})
            .await
            .unwrap()
            .histories
    };
    let (without, why) = add_life(model(false), &class, &histories(9).await, &mut |_| {});
    assert!(
        without.life().is_none() && why.contains("9 machine(s)"),
        "{why}"
    );
    let (with, said) = add_life(model(false), &class, &histories(14).await, &mut |_| {});
    let scores = with.life().and_then(LifeModel::scores).unwrap();
    assert_eq!(scores.n_machines, 14, "{said}");
    assert!(scores.rmse_hours < 30.0, "{said}: {scores:?}");
    assert!((0.6..=1.0).contains(&scores.coverage), "{scores:?}");
    assert!(with.modes().next().is_some(), "the trees are still there");
    Model::from_json(&with.to_json()).unwrap();
}

#[test]
fn loose_files_become_versions_once_however_often_it_is_tried() {
    let dir = tempfile::tempdir().unwrap();
    let library = Library::new(dir.path().to_owned());
    let file = dir.path().join("screw-compressor.json");
    super::save(&model(false), &file).unwrap();
    let in_role = library.in_role(&catalogue()).unwrap();
    assert_eq!(in_role.len(), 1, "it speaks before anybody has moved it");
    // A crash after the version was written: the file still lies there.
    for _ in 0..2 {
        super::save(&model(false), &file).unwrap();
        library.adopt(&catalogue(), &reason("")).unwrap();
        assert!(!file.exists());
        assert_eq!(library.versions(&class_name()).unwrap(), ["v1"]);
        let roles = library.roles(&class_name()).unwrap();
        assert_eq!(roles.live.as_deref(), Some("v1"));
        assert!(roles.shadow.is_none());
    }
    // Another one is put there by hand: it waits like one that was learnt.
    super::save(&model(true), &file).unwrap();
    library.adopt(&catalogue(), &reason("")).unwrap();
    let roles = library.roles(&class_name()).unwrap();
    assert_eq!(
        (roles.live.as_deref(), roles.shadow.as_deref()),
        (Some("v1"), Some("v2"))
    );
}

#[test]
fn a_version_that_was_tampered_with_is_refused_by_name() {
    let (_dir, library) = two_models();
    let file = library.file(&class_name(), "v2").unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        text.replacen("\"rounds", "\"circles", 1)
            .replacen("0.9", "0.8", 1),
    )
    .unwrap();
    let error = library
        .promote(&class_name(), "v2", &catalogue(), &reason(""))
        .unwrap_err();
    assert!(format!("{error:#}").contains("v2.json"), "{error:#}");
    let error = library
        .promote(&class_name(), "v9", &catalogue(), &reason(""))
        .unwrap_err();
    assert!(format!("{error:#}").contains("v1, v2"), "{error:#}");
}

/// The models that ship lie in the repository's `models`.
fn shipped(file: &str) -> Model {
    let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    super::read(&models.join(file), &catalogue()).unwrap()
}

/// Compressors the shipped model has never seen, run to failure again and again.
#[test]
fn the_shipped_compressor_model_names_faults_that_are_there() {
    let catalogue = catalogue();
    let model = shipped("screw-compressor.json");
    let context = context();
    let hours = 1_000.0;
    let mut fleet = forecare_simulator::histories(2_002, 20, hours, &catalogue).unwrap();
    let faults = fleet.faults().to_vec();
    let end = forecare_simulator::histories_start().plus_hours(hours);
    let mut states: BTreeMap<DeviceId, (FeatureState, Voice)> = BTreeMap::new();
    let mut raised: Vec<(DeviceId, ModeName, Timestamp)> = Vec::new();
    for emission in fleet.advance(end) {
        let device = emission.device().clone();
        let (features, voice) = states
            .entry(device.clone())
            .or_insert_with(|| (FeatureState::new(8), Voice::default()));
        match emission {
            forecare_simulator::Emission::Telemetry { ts, values, .. } => {
                let row = Row {
                    device: device.clone(),
                    ts,
                    values: values.iter().map(|v| Some(*v)).collect(),
                    extra: Vec::new(),
                };
                features.push(ts, &row.values);
                let said = model.predict(features, ts);
                for mode in voice.hear(&context, &row, &said, false) {
                    raised.push((device.clone(), mode, ts));
                }
            }
            forecare_simulator::Emission::Event(event) => match &event.component {
                Some(component) => {
                    features.replaced(event.ts, component);
                    voice.repaired(event.ts, &context.modes_of(component));
                }
                None => features.event(event.ts, &event.code),
            },
        }
    }
    let is_of = |fault: &forecare_simulator::InjectedFault,
                 (device, mode, at): &(DeviceId, ModeName, Timestamp)| {
        fault.device == *device
            && fault.mode == *mode
            && (fault.onset_at..=fault.failure_at).contains(at)
    };
    let n_right = raised
        .iter()
        .filter(|a| faults.iter().any(|f| is_of(f, a)))
        .count();
    let ended: Vec<_> = faults.iter().filter(|f| f.failure_at < end).collect();
    let n_caught = ended
        .iter()
        .filter(|f| {
            raised
                .iter()
                .any(|a| is_of(f, a) && f.failure_at.hours_since(a.2) >= 12.0)
        })
        .count();
    let figures = format!(
        "{n_right} of {} alarms name a fault that is there; {n_caught} of {} faults are named 12 h ahead",
        raised.len(),
        ended.len()
    );
    println!("{figures}");
    // At the catalogue's costs a visit pays from one right alarm in four on.
    assert!(3 * n_right >= raised.len(), "{figures}");
    assert!(10 * n_caught >= 9 * ended.len(), "{figures}");
}
