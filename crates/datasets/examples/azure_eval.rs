//! The ticket policy of the product, offline, on the Azure predictive maintenance files.
//!
//! `cargo run --release -p forecare-datasets --example azure_eval -- DIR cv`: cross-validation by machine
//! within machines 21-40, for choosing settings. `... -- DIR once`: learn on 21-40, judge on 1-12 and 41-60.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use forecare_catalogue::{AssetClass, Catalogue};
use forecare_datasets::azure_pdm::{
    AzurePdm, EventKind, MachineRange, Report, Telemetry, TicketRecord, device_name, report,
};
use forecare_domain::{ComponentName, Timestamp};
use forecare_prognosis::{CardData, FeatureState, History, Model, TrainParams, train};

const CATALOGUE: &str = include_str!("../../catalogue/catalogues/azure-pdm.toml");
/// A ticket nobody has started on is withdrawn after so many hours without evidence.
const WITHDRAWN_AFTER_H: f64 = 72.0;
const FOLDS: usize = 5;

type Failable<T> = Result<T, Box<dyn Error>>;

fn main() -> Failable<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, what] = args.as_slice() else {
        return Err("usage: azure_eval DIR cv|once".into());
    };
    let dir = Path::new(dir);
    let catalogue = Catalogue::parse(CATALOGUE)?;
    let class = catalogue.classes.first().ok_or("no class")?;
    match what.as_str() {
        "cv" => cross_validate(dir, class),
        "once" => once(dir, class),
        _ => Err("usage: azure_eval DIR cv|once".into()),
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

fn learn(class: &AssetClass, histories: &[History]) -> Failable<Model> {
    let card = CardData {
        data: "Azure predictive maintenance".to_owned(),
        trained_at: Timestamp::from_millis(0),
    };
    Ok(train(
        class,
        histories,
        &TrainParams::default(),
        &card,
        &mut |_| {},
    )?)
}

fn cross_validate(dir: &Path, class: &AssetClass) -> Failable<()> {
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
        let model = learn(class, &learnt)?;
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

fn once(dir: &Path, class: &AssetClass) -> Failable<()> {
    let machines: MachineRange = "21-40".parse()?;
    let mut learnt = AzurePdm::load(dir, &machines, Telemetry::Windows)?.histories();
    learnt.extend(AzurePdm::load(dir, &machines, Telemetry::Daily)?.histories());
    let model = learn(class, &learnt)?;
    println!(
        "model {} bytes, {}",
        model.to_json().len(),
        model.card().sha256
    );
    let modes = components(class);
    let threshold = class.modes[0].cost_of_acting / class.modes[0].cost_of_failure;
    for (name, machines, telemetry) in [
        ("machines 1-12, 90 days", "1-12", Telemetry::Days90),
        ("machines 41-60, windows", "41-60", Telemetry::Windows),
        ("machines 1-12, daily", "1-12", Telemetry::Daily),
        ("machines 41-60, daily", "41-60", Telemetry::Daily),
    ] {
        let data = AzurePdm::load(dir, &machines.parse()?, telemetry)?;
        let steps = judge(&model, &data, |_| true);
        line(
            name,
            &report(&data, &tickets(&steps, &modes, threshold, 1), &[]),
            1.0,
        );
    }
    Ok(())
}
