//! `forecare evaluate azure-pdm`: failure probabilities row by row, and the tickets that the service opens on them.

mod output;
mod service;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use forecare_catalogue::{AssetClass, Catalogue};
use forecare_datasets::azure_pdm::{
    AzurePdm, EventKind, HORIZON_H, HourOfFailure, LoadError, MachineRange, RowProbabilities,
    Telemetry, before, cuts, device_name, judged, report, warnings,
};
use forecare_domain::{ClassName, ComponentName, Timestamp};
use forecare_prognosis::{CardData, FeatureState, History, Model, TrainParams, judge, train};

use self::output::{Evaluation, Learnt, OfComponent, OtherMachines, Probabilities, TimeSplit};
use super::{EvaluateArgs, Unusable};
use crate::app::catalogue;
use crate::cli::AZURE_CATALOGUE;
use crate::cli::progress::Progress;
use crate::cli::replay::AZURE_CLASS;
use crate::config::Config;

/// Above this probability a row counts as a warning, for precision and recall by rows.
const WARN_ABOVE: f64 = 0.5;

#[derive(Debug, Args)]
pub(crate) struct AzureArgs {
    #[command(flatten)]
    at: EvaluateArgs,
    /// Machines to learn from, to judge on others.
    #[arg(long, default_value = "21-40")]
    learn: MachineRange,
    /// Telemetry files to learn from, comma-separated: 90days, windows, daily; those that are there.
    #[arg(long, default_value = "windows,daily", value_delimiter = ',')]
    learn_telemetry: Vec<Telemetry>,
    /// Directory of the machines to learn from, if it is another one.
    #[arg(long, value_name = "DIR")]
    learn_data: Option<PathBuf>,
    /// Machines to judge on; without it, all that are not learnt from. One that is learnt from is not judged.
    #[arg(long)]
    test: Option<MachineRange>,
    /// Share of each machine's 90 days to learn from, to judge on the rest.
    #[arg(long, default_value_t = 0.8, value_parser = share)]
    learn_share: f64,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("a share lies between 0 and 1, such as 0.8".to_owned()),
    }
}

pub(super) fn run(args: &AzureArgs) -> Result<()> {
    let (_, catalogue) = catalogue(Path::new(""), AZURE_CATALOGUE)?;
    let class = catalogue
        .class(&ClassName::new(AZURE_CLASS)?)
        .with_context(|| format!("the catalogue has no class {AZURE_CLASS}"))?;
    let components: Vec<ComponentName> = class
        .modes
        .iter()
        .filter_map(|m| m.component.clone())
        .collect();
    std::fs::create_dir_all(&args.at.out)
        .with_context(|| format!("cannot create {}", args.at.out.display()))?;
    let work = Work {
        args,
        catalogue: &catalogue,
        class,
        components: &components,
        unusable: RefCell::default(),
    };
    let mut evaluation = Evaluation {
        horizon_hours: HORIZON_H,
        ticket_horizon_hours: class.horizon_hours,
        ..Evaluation::default()
    };
    let learnt = work.learn_others()?;
    let hourly = work.load(Telemetry::Days90, &BTreeSet::new(), learnt.is_some());
    if let Some(data) = &hourly {
        evaluation.time_split = work.time_split(data, learnt.as_ref().map(|l| &l.probabilities))?;
    }
    if let Some(learnt) = learnt {
        evaluation.learnt_from = Some(Learnt {
            machines: args.learn.to_string(),
            telemetry: learnt.telemetry.iter().map(|t| t.file_name()).collect(),
            card: learnt.probabilities.card().clone(),
        });
        // A machine whose every hour is there is not judged on its excerpts as well.
        let complete: BTreeSet<u32> = hourly.iter().flat_map(|d| &d.machines).copied().collect();
        for telemetry in [Telemetry::Days90, Telemetry::Windows, Telemetry::Daily] {
            let without = match telemetry {
                Telemetry::Windows => &complete,
                Telemetry::Days90 | Telemetry::Daily => &BTreeSet::new(),
            };
            if let Some(data) = work.load(telemetry, without, true) {
                evaluation.absent.extend(data.absent.iter().copied());
                let found = work.other_machines(&data, telemetry, &learnt)?;
                evaluation.other_machines.push(found);
            }
        }
    }
    if evaluation.time_split.is_none() && evaluation.other_machines.is_empty() {
        work.unusable.borrow().count.end()?;
        bail!(
            "nothing in {} could be judged: it needs telemetry ({}) of machines other than {}, which are learnt from (--learn, --learn-data); or {} of any, with their failures",
            args.at.data.display(),
            "PdM_telemetry_90days.csv, PdM_telemetry.csv, PdM_telemetry_windows.csv or PdM_telemetry_daily_mean.csv",
            args.learn,
            Telemetry::Days90.file_name(),
        );
    }
    output::print(&evaluation);
    let path = args.at.out.join("metrics.json");
    let json = serde_json::to_string_pretty(&evaluation)?;
    std::fs::write(&path, json + "\n")
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("\nwritten to {}", args.at.out.display());
    work.unusable.borrow().count.end()
}

/// Files that cannot be used, each told once, however often it is asked for.
#[derive(Default)]
struct Told {
    count: Unusable,
    faults: BTreeSet<String>,
}

/// Two models of the same machines.
struct Models {
    /// With the benchmark's horizon.
    probabilities: Model,
    /// With the catalogue's horizon, as `forecare train` makes it.
    tickets: Model,
    /// What they were learnt from.
    telemetry: Vec<Telemetry>,
}

struct Work<'a> {
    args: &'a AzureArgs,
    catalogue: &'a Catalogue,
    class: &'a AssetClass,
    components: &'a [ComponentName],
    unusable: RefCell<Told>,
}

impl Work<'_> {
    fn learn_dir(&self) -> &Path {
        self.args.learn_data.as_ref().unwrap_or(&self.args.at.data)
    }

    /// The data of some machines; `None` where the telemetry's file or the machines are not there, or a file cannot be used,
    /// which is named.
    fn read(&self, dir: &Path, machines: &MachineRange, telemetry: Telemetry) -> Option<AzurePdm> {
        if !telemetry.path_in(dir).is_file() {
            return None;
        }
        match AzurePdm::load_part(dir, machines, telemetry) {
            Ok(data) => Some(data),
            Err(LoadError::NoMachines { .. }) => None,
            Err(fault) => {
                let mut told = self.unusable.borrow_mut();
                if told.faults.insert(fault.to_string()) {
                    told.count.tell(&fault);
                }
                None
            }
        }
    }

    /// The machines to judge on that have this telemetry, but for those in `without`; `None` if there are none. Where
    /// something is learnt from machines of the same directory, these are never among them.
    fn load(
        &self,
        telemetry: Telemetry,
        without: &BTreeSet<u32>,
        is_learnt: bool,
    ) -> Option<AzurePdm> {
        let machines = self.args.test.clone().unwrap_or_else(MachineRange::all);
        let mut data = self.read(&self.args.at.data, &machines, telemetry)?;
        let with_readings: BTreeSet<u32> = data.readings.iter().map(|r| r.machine).collect();
        let is_asked = self.args.test.is_some();
        let is_kept_apart = !is_asked || (is_learnt && self.args.learn_data.is_none());
        let learnt_from = |m: u32| is_kept_apart && self.args.learn.contains(m);
        let excluded: Vec<String> = with_readings
            .iter()
            .filter(|m| is_asked && learnt_from(**m))
            .map(u32::to_string)
            .collect();
        if !excluded.is_empty() {
            eprintln!(
                "{}: learnt from (--learn {}) and therefore not judged: machines {}",
                telemetry.file_name(),
                self.args.learn,
                excluded.join(", ")
            );
        }
        data.keep(|m| with_readings.contains(&m) && !learnt_from(m) && !without.contains(&m));
        if !data.machines.is_empty() && !data.absent.is_empty() {
            eprintln!(
                "{}: {} not there; what it would tell is unknown, everything else is done",
                self.args.at.data.display(),
                data.absent.join(", ")
            );
        }
        (!data.machines.is_empty()).then_some(data)
    }

    /// From the telemetry that is asked for, as far as it is there; where none of it is, from any that is.
    fn learn_others(&self) -> Result<Option<Models>> {
        let (dir, machines) = (self.learn_dir(), &self.args.learn);
        let asked = &self.args.learn_telemetry;
        let all = [Telemetry::Days90, Telemetry::Windows, Telemetry::Daily];
        let others = all.into_iter().filter(|t| !asked.contains(t));
        let mut histories = Vec::new();
        let mut used = Vec::new();
        for telemetry in asked.iter().copied().chain(others) {
            if used.is_empty() || asked.contains(&telemetry) {
                match self.read(dir, machines, telemetry) {
                    Some(data) if data.failures.is_empty() => eprintln!(
                        "no failures of machines {machines} are in {}: nothing is learnt from their {}",
                        dir.display(),
                        telemetry.file_name()
                    ),
                    Some(data) => {
                        histories.extend(data.histories());
                        used.push(telemetry);
                    }
                    None if asked.contains(&telemetry) => eprintln!(
                        "{} of machines {machines} is not in {}, or cannot be used",
                        telemetry.file_name(),
                        dir.display()
                    ),
                    None => {}
                }
            }
        }
        if used.is_empty() {
            eprintln!(
                "nothing is learnt from other machines; name others with --learn, or their directory with --learn-data"
            );
            return Ok(None);
        }
        let words = format!("Azure PdM, machines {machines}");
        let both = self
            .learn(HORIZON_H, &histories, &words)
            .and_then(|probabilities| {
                let tickets = self.learn(self.class.horizon_hours, &histories, &words)?;
                Ok((probabilities, tickets))
            });
        Ok(match both {
            Ok((probabilities, tickets)) => Some(Models {
                probabilities,
                tickets,
                telemetry: used,
            }),
            Err(error) => {
                eprintln!("nothing is learnt from other machines: {error:#}");
                None
            }
        })
    }

    fn learn(&self, horizon_hours: f64, histories: &[History], words: &str) -> Result<Model> {
        let class = AssetClass {
            horizon_hours,
            ..self.class.clone()
        };
        let newest = histories
            .iter()
            .filter_map(|h| h.items.last())
            .map(forecare_prognosis::HistoryItem::ts)
            .max();
        let card = CardData {
            data: words.to_owned(),
            // The data has its own time, so that the same command makes the same model.
            trained_at: newest.unwrap_or(Timestamp::from_millis(0)),
        };
        let progress = Progress::bar(100, "%");
        progress.say(format!("learning, {horizon_hours} h ahead: {words}"));
        let model = train(
            &class,
            histories,
            &TrainParams::default(),
            &card,
            &mut |done: f64| {
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "0 to 100"
                )]
                progress.set((done * 100.0) as u64);
            },
        )
        .with_context(|| format!("cannot learn from {words}"))?;
        progress.finish();
        Ok(model)
    }

    /// Learns from the first part of each machine's time, and judges on the rest.
    fn time_split(&self, data: &AzurePdm, others: Option<&Model>) -> Result<Option<TimeSplit>> {
        let cuts = cuts(data, self.args.learn_share);
        let cut_of = |device: &str| {
            cuts.iter()
                .find(|(machine, _)| device_name(*machine) == device)
                .map(|(_, cut)| *cut)
        };
        let histories: Vec<History> = data
            .histories()
            .into_iter()
            .filter_map(|h| cut_of(&h.device).map(|cut| before(h, cut)))
            .collect();
        let is_test =
            |machine: u32, ts: Timestamp| cuts.iter().any(|(m, cut)| *m == machine && ts >= *cut);
        let words = "the first part of each machine's time";
        let model = match self.learn(HORIZON_H, &histories, words) {
            Ok(model) => model,
            Err(error) => {
                eprintln!("no split in time: {error:#}");
                return Ok(None);
            }
        };
        let rows: Vec<RowProbabilities> = self
            .predict(&model, data)?
            .into_iter()
            .filter(|r| is_test(r.machine, r.ts))
            .collect();
        output::write_probabilities(
            &self.args.at.out.join("time_split_probabilities.csv"),
            self.components,
            &rows,
        )?;
        let by_others = match others {
            Some(model) => {
                let rows: Vec<RowProbabilities> = self
                    .predict(model, data)?
                    .into_iter()
                    .filter(|r| is_test(r.machine, r.ts))
                    .collect();
                self.probabilities(data, &rows)
                    .map(|p| p.any.average_precision)
            }
            None => None,
        };
        let failures = data
            .failures
            .iter()
            .filter(|f| {
                is_test(f.machine, f.ts)
                    && rows
                        .iter()
                        .any(|r| r.machine == f.machine && within(r.ts, f.ts))
            })
            .count();
        let learnt_failures = data
            .failures
            .iter()
            .filter(|f| {
                cuts.iter().any(|(m, cut)| *m == f.machine && f.ts < *cut)
                    && data.readings.first().is_some_and(|r| r.ts <= f.ts)
            })
            .count();
        Ok(Some(TimeSplit {
            machines: data.machines.clone(),
            learn_share: self.args.learn_share,
            failures_learnt_from: learnt_failures,
            failures_judged: failures,
            modes_left_out: model.card().modes_left_out.clone(),
            modes_refused: model.card().modes_refused.clone(),
            has_failures_file: has_failures_file(data),
            probabilities: self.probabilities(data, &rows),
            average_precision_learnt_on_others: by_others,
        }))
    }

    /// Judges models learnt from other machines: probabilities, and the service's tickets.
    fn other_machines(
        &self,
        data: &AzurePdm,
        telemetry: Telemetry,
        models: &Models,
    ) -> Result<OtherMachines> {
        let name = telemetry.short_name();
        let rows = self.predict(&models.probabilities, data)?;
        let out = &self.args.at.out;
        output::write_probabilities(
            &out.join(format!("{name}_probabilities.csv")),
            self.components,
            &rows,
        )?;
        let config = Config::load(None, &[])?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start")?;
        let done = runtime.block_on(service::run(
            self.catalogue,
            models.tickets.clone(),
            data,
            &config,
            &format!("the service on {name}"),
        ))?;
        output::write_tickets(
            &out.join(format!("{name}_tickets.csv")),
            data,
            &done.tickets,
        )?;
        Ok(OtherMachines {
            telemetry: telemetry.file_name().to_owned(),
            machines: data.machines.clone(),
            has_failures_file: has_failures_file(data),
            probabilities: self.probabilities(data, &rows),
            n_tickets: done.tickets.len(),
            tickets: (!data.failures.is_empty()).then(|| report(data, &done.tickets, &done.alarms)),
        })
    }

    /// What the model says at every reading, knowing what the machine told until then.
    fn predict(&self, model: &Model, data: &AzurePdm) -> Result<Vec<RowProbabilities>> {
        let mut states: std::collections::BTreeMap<u32, FeatureState> =
            std::collections::BTreeMap::new();
        let mut rows = Vec::with_capacity(data.readings.len());
        for event in data.events_in_time_order() {
            let state = states
                .entry(event.machine)
                .or_insert_with(|| FeatureState::new(self.class.metrics.len()));
            match event.kind {
                EventKind::Error(code) => state.event(event.ts, code),
                EventKind::Replaced(component) => state.replaced(event.ts, component),
                EventKind::Reading(values) => {
                    state.push(event.ts, &values.map(Some));
                    let prognoses = model.predict(state, event.ts);
                    let of = |component: &ComponentName| {
                        let mode = prognoses
                            .iter()
                            .find(|p| p.mode.as_str() == component.as_str());
                        mode.map_or(0.0, |p| p.probability)
                    };
                    rows.push(RowProbabilities {
                        machine: event.machine,
                        ts: event.ts,
                        of_components: self.components.iter().map(of).collect(),
                    });
                }
            }
        }
        Ok(rows)
    }

    /// `None` where no failure of any of the machines is known to come: then nothing can be scored, and to call all of
    /// it false would be wrong where the failures were merely kept back.
    fn probabilities(&self, data: &AzurePdm, rows: &[RowProbabilities]) -> Option<Probabilities> {
        let of = |component| judged(data, rows, component, HORIZON_H, HourOfFailure::Before);
        let any = of(None);
        if any.iter().all(|row| !row.came_true) {
            return None;
        }
        let without_hour = judged(data, rows, None, HORIZON_H, HourOfFailure::After);
        Some(Probabilities {
            any_warnings: warnings(&any, WARN_ABOVE),
            any: judge(&any),
            average_precision_without_hour_of_failure: judge(&without_hour).average_precision,
            components: self
                .components
                .iter()
                .enumerate()
                .map(|(i, name)| {
                    let rows = of(Some((name, i)));
                    let of = OfComponent {
                        scores: judge(&rows),
                        warnings: warnings(&rows, WARN_ABOVE),
                    };
                    (name.clone(), of)
                })
                .collect(),
        })
    }
}

fn has_failures_file(data: &AzurePdm) -> bool {
    !data.absent.contains(&output::FAILURES_FILE)
}

/// True where a failure at `failed` lies within the horizon after a reading at `ts`.
fn within(ts: Timestamp, failed: Timestamp) -> bool {
    failed > ts && failed.hours_since(ts) <= HORIZON_H
}
