//! Reading the files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use forecare_domain::{ComponentName, InvalidName, ModeName, Timestamp};
use forecare_prognosis::{History, HistoryItem};

use super::MachineRange;

/// Telemetry columns, in the order of [`Reading::values`]. The source gives no units.
pub const METRICS: [&str; 4] = ["volt", "rotate", "pressure", "vibration"];

/// Which telemetry file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telemetry {
    /// `PdM_telemetry_90days.csv`, or the public `PdM_telemetry.csv`: every hour, natural failure rate.
    Days90,
    /// `PdM_telemetry_windows.csv`: hourly around failures, and quiet stretches.
    Windows,
    /// `PdM_telemetry_daily_mean.csv`: means of 24 h, stamped with the end of their window.
    Daily,
}

/// A text that names no telemetry file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no telemetry; use 90days, windows or daily")]
pub struct UnknownTelemetry(pub String);

impl FromStr for Telemetry {
    type Err = UnknownTelemetry;

    fn from_str(text: &str) -> Result<Self, UnknownTelemetry> {
        match text {
            "90days" => Ok(Self::Days90),
            "windows" => Ok(Self::Windows),
            "daily" => Ok(Self::Daily),
            other => Err(UnknownTelemetry(other.chars().take(64).collect())),
        }
    }
}

impl Telemetry {
    /// The file's name.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Days90 => "PdM_telemetry_90days.csv",
            Self::Windows => "PdM_telemetry_windows.csv",
            Self::Daily => "PdM_telemetry_daily_mean.csv",
        }
    }

    /// Where it lies in `dir`; under the name that the public data set has for it where the other is not there.
    #[must_use]
    pub fn path_in(self, dir: &Path) -> PathBuf {
        let path = dir.join(self.file_name());
        let public = dir.join("PdM_telemetry.csv");
        match self {
            Self::Days90 if !path.is_file() && public.is_file() => public,
            Self::Days90 | Self::Windows | Self::Daily => path,
        }
    }

    /// As it is named on the command line.
    #[must_use]
    pub fn short_name(self) -> &'static str {
        match self {
            Self::Days90 => "90days",
            Self::Windows => "windows",
            Self::Daily => "daily",
        }
    }

    fn time_column(self) -> &'static str {
        match self {
            Self::Days90 | Self::Windows => "datetime",
            Self::Daily => "window_end",
        }
    }
}

/// A row of telemetry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// The machine's number.
    pub machine: u32,
    /// When; the files' times are taken as UTC.
    pub ts: Timestamp,
    /// In the order of [`METRICS`].
    pub values: [f64; 4],
}

/// An error that a machine reported; it did not fail by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedError {
    /// The machine's number.
    pub machine: u32,
    /// When.
    pub ts: Timestamp,
    /// `error1` to `error5`.
    pub code: String,
}

/// A component that was replaced, as planned or after a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// The machine's number.
    pub machine: u32,
    /// When.
    pub ts: Timestamp,
    /// `comp1` to `comp4`.
    pub component: ComponentName,
}

/// A failure: the truth, never published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The machine's number.
    pub machine: u32,
    /// When.
    pub ts: Timestamp,
    /// `comp1` to `comp4`.
    pub component: ComponentName,
}

/// The data of some machines. Every list is in order of time, then machine, then file.
#[derive(Debug, Clone, PartialEq)]
pub struct AzurePdm {
    /// Machines that `PdM_machines.csv` lists, ascending; those of the telemetry where only a part is read.
    pub machines: Vec<u32>,
    /// Telemetry.
    pub readings: Vec<Reading>,
    /// Errors.
    pub errors: Vec<ReportedError>,
    /// Replacements; the first ones lie half a year before the first reading.
    pub replacements: Vec<Replacement>,
    /// Failures.
    pub failures: Vec<Failure>,
    /// Files that were not there, of those that [`AzurePdm::load_part`] can do without.
    pub absent: Vec<&'static str>,
}

/// What a machine tells at an instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum EventKind<'a> {
    /// A row of telemetry, in the order of [`METRICS`].
    Reading(&'a [f64; 4]),
    /// An error code.
    Error(&'a str),
    /// A component was replaced.
    Replaced(&'a ComponentName),
}

/// One event of the replay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event<'a> {
    /// The machine's number.
    pub machine: u32,
    /// When.
    pub ts: Timestamp,
    /// What.
    pub kind: EventKind<'a>,
}

/// Why the data could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file is not there or cannot be read.
    #[error("cannot read {}; --data must name the directory that holds the PdM_*.csv files", path.display())]
    File {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A column is missing.
    #[error("{}: line 1: no column \"{column}\" among: {found}", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
        /// The columns that are there.
        found: String,
    },
    /// A line is not CSV.
    #[error("{}: not readable as CSV", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: csv::Error,
    },
    /// A cell is malformed.
    #[error("{}: line {line}: column \"{column}\": \"{text}\" is no {expected}", path.display())]
    Cell {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The column.
        column: &'static str,
        /// What stands there, cut to 64 characters.
        text: String,
        /// What should.
        expected: &'static str,
    },
    /// None of the machines asked for.
    #[error("{}: no machine of {machines}; it lists {found}", path.display())]
    NoMachines {
        /// The file.
        path: PathBuf,
        /// The machines asked for.
        machines: String,
        /// First and last machine of the file.
        found: String,
    },
}

const MACHINES: &str = "PdM_machines.csv";
const ERRORS: &str = "PdM_errors.csv";
const REPLACEMENTS: &str = "PdM_maint.csv";

const FAILURES: &str = "PdM_failures.csv";

impl AzurePdm {
    /// Reads the data of some machines from a directory.
    ///
    /// # Errors
    /// [`LoadError`] says which file, where it was looked for, which line and column.
    pub fn load(
        dir: &Path,
        machines: &MachineRange,
        telemetry: Telemetry,
    ) -> Result<Self, LoadError> {
        let mut listed = BTreeSet::new();
        let path = dir.join(MACHINES);
        Table::open(&path, ["machineID"])?.each(|row| {
            listed.insert(row.machine(0)?);
            Ok(())
        })?;
        let mut data = Self::load_part(dir, machines, telemetry)?;
        if let Some(absent) = data.absent.first() {
            return Err(LoadError::File {
                path: dir.join(absent),
                source: io::ErrorKind::NotFound.into(),
            });
        }
        let found = span_of(&listed);
        listed.retain(|m| machines.contains(*m));
        if listed.is_empty() {
            return Err(LoadError::NoMachines {
                path,
                machines: machines.to_string(),
                found,
            });
        }
        data.machines = listed.into_iter().collect();
        Ok(data)
    }

    /// The same where only the telemetry must be there: the machines are those of its rows, and what else is not there is
    /// empty and named in [`Self::absent`].
    ///
    /// # Errors
    /// As of [`AzurePdm::load`].
    pub fn load_part(
        dir: &Path,
        machines: &MachineRange,
        telemetry: Telemetry,
    ) -> Result<Self, LoadError> {
        let mut readings = Vec::new();
        let mut listed = BTreeSet::new();
        let [volt, rotate, pressure, vibration] = METRICS;
        let columns = [
            "machineID",
            telemetry.time_column(),
            volt,
            rotate,
            pressure,
            vibration,
        ];
        let path = telemetry.path_in(dir);
        Table::open(&path, columns)?.each(|row| {
            let machine = row.machine(0)?;
            listed.insert(machine);
            if machines.contains(machine) {
                readings.push(Reading {
                    machine,
                    ts: row.time(1)?,
                    values: [
                        row.number(2)?,
                        row.number(3)?,
                        row.number(4)?,
                        row.number(5)?,
                    ],
                });
            }
            Ok(())
        })?;
        readings.sort_by_key(|r| (r.ts, r.machine));
        let found = span_of(&listed);
        listed.retain(|m| machines.contains(*m));

        let mut absent = Vec::new();
        let mut is_there = |name: &'static str| {
            let path = dir.join(name);
            let there = path.is_file();
            if !there {
                absent.push(name);
            }
            there.then_some(path)
        };
        let mut errors = Vec::new();
        if let Some(path) = is_there(ERRORS) {
            let columns = ["machineID", "datetime", "errorID"];
            Table::open(&path, columns)?.each(|row| {
                let machine = row.machine(0)?;
                if machines.contains(machine) {
                    let (ts, code) = (row.time(1)?, row.name(2)?.as_str().to_owned());
                    errors.push(ReportedError { machine, ts, code });
                }
                Ok(())
            })?;
        }
        errors.sort_by(|a, b| (a.ts, a.machine, &a.code).cmp(&(b.ts, b.machine, &b.code)));

        let mut replacements = Vec::new();
        if let Some(path) = is_there(REPLACEMENTS) {
            component_rows(&path, "comp", |machine, ts, component| {
                if machines.contains(machine) {
                    replacements.push(Replacement {
                        machine,
                        ts,
                        component,
                    });
                }
            })?;
        }
        replacements
            .sort_by(|a, b| (a.ts, a.machine, &a.component).cmp(&(b.ts, b.machine, &b.component)));

        let mut failures = Vec::new();
        if let Some(path) = is_there(FAILURES) {
            component_rows(&path, "failure", |machine, ts, component| {
                if machines.contains(machine) {
                    failures.push(Failure {
                        machine,
                        ts,
                        component,
                    });
                }
            })?;
        }
        failures
            .sort_by(|a, b| (a.ts, a.machine, &a.component).cmp(&(b.ts, b.machine, &b.component)));
        if listed.is_empty() {
            return Err(LoadError::NoMachines {
                path,
                machines: machines.to_string(),
                found,
            });
        }
        Ok(Self {
            machines: listed.into_iter().collect(),
            readings,
            errors,
            replacements,
            failures,
            absent,
        })
    }

    /// Leaves only the machines that `keep` says.
    pub fn keep(&mut self, keep: impl Fn(u32) -> bool) {
        self.machines.retain(|m| keep(*m));
        self.readings.retain(|r| keep(r.machine));
        self.errors.retain(|e| keep(e.machine));
        self.replacements.retain(|r| keep(r.machine));
        self.failures.retain(|f| keep(f.machine));
    }

    /// What the machines tell, in order of time; at one instant errors, then readings, then replacements,
    /// each by machine: a reading is judged with the errors of its hour known. The failures are not
    /// among it.
    pub fn events_in_time_order(&self) -> impl Iterator<Item = Event<'_>> {
        let readings = self.readings.iter().map(|r| Event {
            machine: r.machine,
            ts: r.ts,
            kind: EventKind::Reading(&r.values),
        });
        let errors = self.errors.iter().map(|e| Event {
            machine: e.machine,
            ts: e.ts,
            kind: EventKind::Error(&e.code),
        });
        let replacements = self.replacements.iter().map(|r| Event {
            machine: r.machine,
            ts: r.ts,
            kind: EventKind::Replaced(&r.component),
        });
        let mut all: Vec<Event<'_>> = readings.chain(errors).chain(replacements).collect();
        // Stable: within one list the order of time, machine and name stays.
        all.sort_by_key(|e| {
            let rank = match e.kind {
                EventKind::Error(_) => 0,
                EventKind::Reading(_) => 1,
                EventKind::Replaced(_) => 2,
            };
            (e.ts, rank)
        });
        all.into_iter()
    }

    /// The same with the failures, machine by machine, to learn from. A failure mode is named like its
    /// component, a device as [`device_name`] has it.
    #[must_use]
    pub fn histories(&self) -> Vec<History> {
        let mut items: BTreeMap<u32, Vec<HistoryItem>> = BTreeMap::new();
        for event in self.events_in_time_order() {
            let ts = event.ts;
            items
                .entry(event.machine)
                .or_default()
                .push(match event.kind {
                    EventKind::Reading(values) => HistoryItem::Reading {
                        ts,
                        values: values.map(Some).to_vec(),
                    },
                    EventKind::Error(code) => HistoryItem::Event {
                        ts,
                        code: code.to_owned(),
                    },
                    EventKind::Replaced(component) => HistoryItem::Replaced {
                        ts,
                        component: component.clone(),
                    },
                });
        }
        for failure in &self.failures {
            // A component's name is a mode's name: the rules are the same.
            if let Ok(mode) = ModeName::new(failure.component.as_str()) {
                let ts = failure.ts;
                let items = items.entry(failure.machine).or_default();
                items.push(HistoryItem::Failure { ts, mode });
            }
        }
        items
            .into_iter()
            .map(|(machine, mut items)| {
                items.sort_by_key(HistoryItem::ts);
                History {
                    device: device_name(machine),
                    items,
                }
            })
            .collect()
    }
}

/// The device that reports for a machine: `machine-7`.
#[must_use]
pub fn device_name(machine: u32) -> String {
    format!("machine-{machine}")
}

/// First and last, in words.
fn span_of(machines: &BTreeSet<u32>) -> String {
    match (machines.first(), machines.last()) {
        (Some(first), Some(last)) => format!("{first} to {last}"),
        _ => "none".to_owned(),
    }
}

fn component_rows(
    path: &Path,
    column: &'static str,
    mut take: impl FnMut(u32, Timestamp, ComponentName),
) -> Result<(), LoadError> {
    Table::open(path, ["machineID", "datetime", column])?.each(|row| {
        take(row.machine(0)?, row.time(1)?, row.name(2)?);
        Ok(())
    })
}

/// A CSV file of which `N` columns are wanted.
struct Table<const N: usize> {
    path: PathBuf,
    reader: csv::Reader<File>,
    columns: [(&'static str, usize); N],
}

struct TableRow<'a, const N: usize> {
    path: &'a Path,
    columns: &'a [(&'static str, usize); N],
    record: &'a csv::StringRecord,
}

impl<const N: usize> Table<N> {
    fn open(path: &Path, columns: [&'static str; N]) -> Result<Self, LoadError> {
        let file = File::open(path).map_err(|source| LoadError::File {
            path: path.to_owned(),
            source,
        })?;
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_reader(file);
        let header = reader.headers().map_err(|source| LoadError::Csv {
            path: path.to_owned(),
            source,
        })?;
        let mut places = columns.map(|c| (c, 0));
        for (name, place) in &mut places {
            *place = header
                .iter()
                .position(|h| h.trim_start_matches('\u{feff}') == *name)
                .ok_or_else(|| LoadError::Column {
                    path: path.to_owned(),
                    column: name,
                    found: header.iter().collect::<Vec<_>>().join(", "),
                })?;
        }
        Ok(Self {
            path: path.to_owned(),
            reader,
            columns: places,
        })
    }

    fn each(
        mut self,
        mut take: impl FnMut(TableRow<'_, N>) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let mut record = csv::StringRecord::new();
        loop {
            match self.reader.read_record(&mut record) {
                Ok(true) => take(TableRow {
                    path: &self.path,
                    columns: &self.columns,
                    record: &record,
                })?,
                Ok(false) => return Ok(()),
                Err(source) => {
                    return Err(LoadError::Csv {
                        path: self.path,
                        source,
                    });
                }
            }
        }
    }
}

impl<const N: usize> TableRow<'_, N> {
    fn text(&self, i: usize) -> &str {
        self.record.get(self.columns[i].1).unwrap_or("")
    }

    fn cell<T>(
        &self,
        i: usize,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, LoadError> {
        let text = self.text(i);
        parse(text).ok_or_else(|| LoadError::Cell {
            path: self.path.to_owned(),
            line: self.record.position().map_or(0, csv::Position::line),
            column: self.columns[i].0,
            text: text.chars().take(64).collect(),
            expected,
        })
    }

    fn machine(&self, i: usize) -> Result<u32, LoadError> {
        self.cell(i, "machine number", |t| t.parse().ok())
    }

    fn number(&self, i: usize) -> Result<f64, LoadError> {
        self.cell(i, "finite number", |t| {
            t.parse().ok().filter(|v: &f64| v.is_finite())
        })
    }

    fn name(&self, i: usize) -> Result<ComponentName, LoadError> {
        self.cell(i, "name of letters and digits", |t| {
            let name: Result<ComponentName, InvalidName> = ComponentName::new(t);
            name.ok()
        })
    }

    /// `2015-01-01 06:00:00`, taken as UTC.
    fn time(&self, i: usize) -> Result<Timestamp, LoadError> {
        self.cell(i, "time such as 2015-01-01 06:00:00", |t| {
            let (day, time) = t.split_once([' ', 'T'])?;
            format!("{day}T{}Z", time.trim_end_matches('Z'))
                .parse()
                .ok()
        })
    }
}
