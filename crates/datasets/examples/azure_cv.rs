//! Cross-validation by machine within machines 21-40 of the Azure predictive maintenance files, for choosing
//! settings: `cargo run --release -p forecare-datasets --example azure_cv -- DIR settings`, then `... -- DIR tickets`.
//! `... -- DIR speed`: the time of a prediction.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use forecare_catalogue::{AssetClass, Catalogue};
use forecare_datasets::azure_pdm::{
    AzurePdm, EventKind, HORIZON_H, MachineRange, Reading, Report, Telemetry, TicketRecord, before,
    cuts, device_name, report,
};
use forecare_domain::{ComponentName, Timestamp};
use forecare_prognosis::{CardData, FeatureState, History, ModeScores, Model, TrainParams, train};

const CATALOGUE: &str = include_str!("../../catalogue/catalogues/azure-pdm.toml");
/// A ticket nobody has started on is withdrawn after so many hours without evidence.
const WITHDRAWN_AFTER_H: f64 = 72.0;
const FOLDS: usize = 5;
const USAGE: &str = "usage: azure_cv DIR settings|tickets|speed";

type Failable<T> = Result<T, Box<dyn Error>>;

fn main() -> Failable<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, what] = args.as_slice() else {
        return Err(USAGE.into());
    };
    let dir = Path::new(dir);
    let catalogue = Catalogue::parse(CATALOGUE)?;
    let class = catalogue.classes.first().ok_or("no class")?;
    match what.as_str() {
        "settings" => settings(dir, class),
        "tickets" => [24.0, class.horizon_hours]
            .into_iter()
            .try_for_each(|horizon_hours| {
                println!("horizon {horizon_hours} h");
                tickets_cross_validated(
                    dir,
                    &AssetClass {
                        horizon_hours,
                        ..class.clone()
                    },
                )
            }),
        "speed" => speed(dir, class),
        _ => Err(USAGE.into()),
    }
}

/// What a model says of a machine as time goes by.
enum Step {
    Judged(Timestamp, Vec<f64>),
    Replaced(Timestamp, ComponentName),
}

fn judge(model: &Model, data: &AzurePdm, keep: impl Fn(u32) -> bool) -> BTreeMap<u32, Vec<Step>> {
    let mut states: BTreeMap<u32, FeatureState> = BTreeMap::new();
    let mut steps: BTreeMap<u32, Vec<Step>> = BTreeMap::new();
    for event in data.events_in_time_order().filter(|e| keep(e.machine)) {
        let state = states
            .entry(event.machine)
            .or_insert_with(|| FeatureState::new(4));
        let steps = steps.entry(event.machine).or_default();
        match event.kind {
            EventKind::Reading(values) => {
                state.push(event.ts, &values.map(Some));
                let p = model.predict(state, event.ts);
                steps.push(Step::Judged(
                    event.ts,
                    p.iter().map(|p| p.probability).collect(),
                ));
            }
            EventKind::Error(code) => state.event(event.ts, code),
            EventKind::Replaced(component) => {
                state.replaced(event.ts, component);
                steps.push(Step::Replaced(event.ts, component.clone()));
            }
        }
    }
    steps
}

/// One open ticket per machine and component; opened after `k` judgements in a row above the threshold,
/// ended by the replacement, withdrawn when evidence stays away.
fn tickets(
    steps: &BTreeMap<u32, Vec<Step>>,
    modes: &[ComponentName],
    threshold: f64,
    k: u32,
) -> Vec<TicketRecord> {
    let mut tickets: Vec<TicketRecord> = Vec::new();
    for (&machine, steps) in steps {
        for (m, component) in modes.iter().enumerate() {
            let mut open: Option<usize> = None;
            let mut evidence: Option<Timestamp> = None;
            let mut row = 0;
            for step in steps {
                match step {
                    Step::Judged(ts, p) => {
                        if p[m] > threshold {
                            row += 1;
                            evidence = Some(*ts);
                            if row >= k && open.is_none() {
                                open = Some(tickets.len());
                                tickets.push(TicketRecord {
                                    machine,
                                    component: component.clone(),
                                    opened_at: *ts,
                                    closed_at: None,
                                    part_reserved: true,
                                });
                            }
                        } else {
                            row = 0;
                            let gone =
                                evidence.is_some_and(|e| ts.hours_since(e) >= WITHDRAWN_AFTER_H);
                            if let Some(i) = open.filter(|_| gone) {
                                tickets[i].closed_at = Some(*ts);
                                open = None;
                            }
                        }
                    }
                    Step::Replaced(ts, replaced) if replaced == component => {
                        if let Some(i) = open.take() {
                            tickets[i].closed_at = Some(*ts);
                        }
                        row = 0;
                    }
                    Step::Replaced(..) => {}
                }
            }
        }
    }
    tickets
}

/// How many quiet hours an hourly row of the windows file stands for: its quiet time is thinned, so a false
/// ticket there weighs as much at the natural rate.
fn thinning(windows: &AzurePdm) -> f64 {
    let ends = |machine: &u32| {
        let mut ts = windows
            .readings
            .iter()
            .filter(|r| r.machine == *machine)
            .map(|r| r.ts);
        let first = ts.next()?;
        Some(ts.next_back()?.hours_since(first))
    };
    let span_h: f64 = windows.machines.iter().filter_map(ends).sum();
    let before_failures_h = 48.0 * windows.failures.len() as f64;
    (span_h - before_failures_h) / (windows.readings.len() as f64 - before_failures_h)
}

fn line(name: &str, report: &Report, thinning: f64) {
    let a = &report.all;
    let share = |n: usize, of: usize| 100.0 * n as f64 / of.max(1) as f64;
    let lead = a.lead_hours.map_or(String::new(), |l| {
        format!("lead {:.0}/{:.0}/{:.0} h", l.p10, l.p50, l.p90)
    });
    println!(
        "{name:34} failures {:3} (+{} unseen) caught {:3} ({:5.1} %) 12h {:3} ({:5.1} %) tickets {:3} right {:3} ({:5.1} %) planned {:2} right at the natural rate about {:.0} % {lead}",
        a.failures,
        a.failures_without_telemetry,
        a.caught,
        share(a.caught, a.failures),
        a.caught_12h,
        share(a.caught_12h, a.failures),
        a.tickets,
        a.tickets_right,
        share(a.tickets_right, a.tickets),
        a.tickets_planned,
        100.0 * a.tickets_right as f64
            / (a.tickets_right as f64 + thinning * (a.tickets - a.tickets_right) as f64),
    );
}

fn components(class: &AssetClass) -> Vec<ComponentName> {
    class
        .modes
        .iter()
        .filter_map(|m| m.component.clone())
        .collect()
}

fn learn(class: &AssetClass, histories: &[History], params: &TrainParams) -> Failable<Model> {
    let card = CardData {
        data: "Azure predictive maintenance".to_owned(),
        trained_at: Timestamp::from_millis(0),
    };
    Ok(train(class, histories, params, &card, &mut |_| {})?)
}

fn tickets_cross_validated(dir: &Path, class: &AssetClass) -> Failable<()> {
    let machines: MachineRange = "21-40".parse()?;
    let windows = AzurePdm::load(dir, &machines, Telemetry::Windows)?;
    let daily = AzurePdm::load(dir, &machines, Telemetry::Daily)?;
    let modes = components(class);
    let (mut steps_w, mut steps_d) = (BTreeMap::new(), BTreeMap::new());
    for fold in 0..FOLDS {
        let out = |machine: u32| machine as usize % FOLDS == fold;
        let inside = |h: &History| (21..=40).any(|m| h.device == device_name(m) && !out(m));
        let mut learnt = windows.histories();
        learnt.extend(daily.histories());
        learnt.retain(inside);
        let model = learn(class, &learnt, &TrainParams::default())?;
        steps_w.extend(judge(&model, &windows, out));
        steps_d.extend(judge(&model, &daily, out));
    }
    for threshold in [0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9] {
        for k in [1, 2] {
            let name = |what: &str| format!("{what} p > {threshold} x{k}");
            line(
                &name("windows"),
                &report(&windows, &tickets(&steps_w, &modes, threshold, k), &[]),
                thinning(&windows),
            );
            if k == 1 {
                line(
                    &name("daily"),
                    &report(&daily, &tickets(&steps_d, &modes, threshold, k), &[]),
                    1.0,
                );
            }
        }
    }
    let threshold = class.modes[0].cost_of_acting / class.modes[0].cost_of_failure;
    for (what, data, steps) in [("windows", &windows, &steps_w), ("daily", &daily, &steps_d)] {
        list_wrong(what, data, &tickets(steps, &modes, threshold, 1));
    }
    Ok(())
}

/// Tickets that were not right and failures that were missed, to think about.
fn list_wrong(what: &str, data: &AzurePdm, tickets: &[TicketRecord]) {
    for t in tickets {
        let next = data
            .failures
            .iter()
            .filter(|f| f.machine == t.machine && f.component == t.component)
            .map(|f| f.ts.hours_since(t.opened_at))
            .find(|h| *h > 0.0);
        if next.is_none_or(|h| h > 72.0) {
            let planned = data
                .replacements
                .iter()
                .filter(|r| r.machine == t.machine && r.component == t.component)
                .map(|r| r.ts.hours_since(t.opened_at))
                .find(|h| *h > 0.0);
            println!(
                "{what}: wrong: {} {} {} closed {:?} next failure {next:?} h next replacement {planned:?} h",
                t.machine,
                t.component,
                t.opened_at,
                t.closed_at.map(|c| c.hours_since(t.opened_at))
            );
        }
    }
    for f in &data.failures {
        let lead = tickets
            .iter()
            .filter(|t| t.machine == f.machine && t.component == f.component)
            .map(|t| f.ts.hours_since(t.opened_at))
            .rfind(|h| (0.0..=72.0).contains(h));
        if lead.is_none_or(|h| h < 12.0) {
            println!(
                "{what}: missed: {} {} {} lead {lead:?}",
                f.machine, f.component, f.ts
            );
        }
    }
}

/// Scores on machines held out, averaged over the components, of several settings: on the learning machines, and on
/// the little that the first part of three months of twelve others holds.
fn settings(dir: &Path, class: &AssetClass) -> Failable<()> {
    let machines: MachineRange = "21-40".parse()?;
    let mut many = AzurePdm::load(dir, &machines, Telemetry::Windows)?.histories();
    many.extend(AzurePdm::load(dir, &machines, Telemetry::Daily)?.histories());
    let few = AzurePdm::load(dir, &"1-12".parse()?, Telemetry::Days90)?;
    let cuts = cuts(&few, 0.8);
    let few: Vec<History> = few
        .histories()
        .into_iter()
        .filter_map(|h| {
            let cut = cuts.iter().find(|(m, _)| device_name(*m) == h.device)?.1;
            Some(before(h, cut))
        })
        .collect();
    let trees = |shared_rounds, own_rounds| TrainParams {
        shared_rounds,
        own_rounds,
        ..TrainParams::default()
    };
    for (name, params) in [
        ("each mode alone", trees(0, 0)),
        ("in common", trees(60, 0)),
        ("in common, then own", trees(60, 20)),
    ] {
        for (what, histories) in [("21-40", &many), ("1-12, first 80 %", &few)] {
            for horizon_hours in [HORIZON_H, class.horizon_hours] {
                let class = AssetClass {
                    horizon_hours,
                    ..class.clone()
                };
                let model = learn(&class, histories, &params)?;
                let card = model.card();
                let mean = |f: &dyn Fn(&ModeScores) -> f64| {
                    card.scores.iter().map(f).sum::<f64>() / card.scores.len() as f64
                };
                println!(
                    "{name:20} {what:16} {horizon_hours} h: average precision {:.3} log loss {:.5} Brier {:.5} calibration error {:.4}, from 0.1 on {:.3}; left out {:?}; {}",
                    mean(&|s| s.average_precision),
                    mean(&|s| s.log_loss),
                    mean(&|s| s.brier),
                    mean(&|s| s.calibration_error),
                    mean(&|s| s.calibration_error_high),
                    card.modes_left_out,
                    card.settings,
                );
            }
        }
    }
    Ok(())
}

/// Time of a prediction, all components.
fn speed(dir: &Path, class: &AssetClass) -> Failable<()> {
    let data = AzurePdm::load(dir, &"21-40".parse()?, Telemetry::Windows)?;
    let model = learn(class, &data.histories(), &TrainParams::default())?;
    let mut state = FeatureState::new(class.metrics.len());
    let machine = data.machines.first().copied();
    let rows: Vec<&Reading> = data
        .readings
        .iter()
        .filter(|r| Some(r.machine) == machine)
        .collect();
    let mut states = Vec::new();
    for row in rows {
        state.push(row.ts, &row.values.map(Some));
        states.push((row.ts, state.clone()));
    }
    let started = std::time::Instant::now();
    let mut worst = 0.0_f64;
    for _ in 0..20 {
        for (ts, state) in &states {
            for prognosis in model.predict(state, *ts) {
                worst = worst.max(prognosis.probability);
            }
        }
    }
    println!(
        "{:.2} us a prediction of {} modes, {} bytes of model; highest probability {worst:.3}",
        started.elapsed().as_secs_f64() * 1e6 / (20 * states.len()) as f64,
        model.modes().count(),
        model.to_json().len(),
    );
    Ok(())
}
