//! From the columns of a file to devices, times and metrics.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use clap::Args;
use forecare_catalogue::Catalogue;
use forecare_domain::{DeviceId, MetricName, Row, Timestamp};

use crate::tables::{Cell, DEVICE, EXTRA, Record, TIME, TS, metric_in};

/// What foreign files write where there is no reading.
const MISSING: [&str; 4] = ["nan", "null", "na", "none"];

/// How a foreign file is to be read.
#[derive(Debug, Args)]
pub(crate) struct MappingArgs {
    /// Column of the device.
    #[arg(long, value_name = "COLUMN", default_value = DEVICE)]
    device_column: String,
    /// The device of all lines, where the file has no column for it.
    #[arg(long, value_name = "DEVICE", conflicts_with_all = ["device_column", "device_format"])]
    device: Option<String>,
    /// The device's name made from its column, such as press-{}.
    #[arg(long, value_name = "TEXT", default_value = "{}")]
    device_format: String,
    /// Column of the time: RFC 3339, epoch milliseconds, or `2015-01-31 06:00:00` with --time-offset.
    #[arg(long, value_name = "COLUMN", default_value = TIME)]
    time_column: String,
    /// What times without an offset are in: Z, +01:00.
    #[arg(long, value_name = "OFFSET", value_parser = offset)]
    time_offset: Option<String>,
    /// A column that is called otherwise than its metric: machine_temp=temperature; may be given several times.
    #[arg(long = "column", value_name = "COLUMN=METRIC", value_parser = renamed)]
    columns: Vec<(String, String)>,
    /// A column to leave out; may be given several times.
    #[arg(long = "skip", value_name = "COLUMN")]
    skip: Vec<String>,
}

impl MappingArgs {
    /// Whether columns are called otherwise, or left out.
    pub(super) fn names_metrics(&self) -> bool {
        !self.columns.is_empty() || !self.skip.is_empty()
    }
}

fn offset(text: &str) -> Result<String, String> {
    match format!("2000-01-01T00:00:00{text}").parse::<Timestamp>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("\"{text}\" is no offset: write Z or +01:00")),
    }
}

fn renamed(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((column, metric)) if !column.is_empty() && !metric.is_empty() => {
            Ok((column.to_owned(), metric.to_owned()))
        }
        _ => Err(format!("\"{text}\" must be written COLUMN=METRIC")),
    }
}

/// The columns of device and time, understood.
pub(crate) struct Keys {
    n_columns: usize,
    device: DeviceFrom,
    time: usize,
    time_offset: Option<String>,
}

/// The columns of one file, understood.
pub(crate) struct Mapping {
    keys: Keys,
    extra: Option<usize>,
    /// Columns of metrics.
    metrics: Vec<(usize, MetricName)>,
    /// Per class of the catalogue, in the order of `metrics`: index of the metric in the class.
    places: Vec<Vec<Option<usize>>>,
    /// Number of metrics per class.
    n_metrics: Vec<usize>,
    classes: Vec<String>,
}

enum DeviceFrom {
    Column(usize, String),
    Fixed(DeviceId),
}

impl Keys {
    /// Of a file of events, which may call its time `ts`.
    ///
    /// # Errors
    /// A column is missing or twice there: the text names the option that helps.
    pub(crate) fn of_events(args: &MappingArgs, columns: &[String]) -> Result<Self> {
        let is_there = |name: &str| columns.iter().any(|c| c == name);
        if args.time_column == TIME && !is_there(TIME) && is_there(TS) {
            return Self::new(args, TS, columns);
        }
        Self::new(args, &args.time_column, columns)
    }

    fn new(args: &MappingArgs, time_column: &str, columns: &[String]) -> Result<Self> {
        for (i, column) in columns.iter().enumerate() {
            if columns[..i].contains(column) {
                bail!("the column \"{column}\" is there twice: rename or remove one of them");
            }
        }
        let time = find(columns, time_column, "--time-column")?;
        let device = match &args.device {
            Some(name) => DeviceFrom::Fixed(DeviceId::new(name).context("--device")?),
            None => {
                if args.device_format.matches("{}").count() != 1 {
                    bail!("--device-format must hold {{}} once, for the device's column");
                }
                let hint = "--device-column, or the device itself with --device";
                let column = find(columns, &args.device_column, hint)?;
                DeviceFrom::Column(column, args.device_format.clone())
            }
        };
        Ok(Self {
            n_columns: columns.len(),
            device,
            time,
            time_offset: args.time_offset.clone(),
        })
    }

    /// The record's time.
    pub(crate) fn time(&self, record: &Record) -> Result<Timestamp, String> {
        if let Some(trouble) = &record.trouble {
            return Err(trouble.clone());
        }
        if record.cells.len() != self.n_columns {
            return Err(format!(
                "{} places in a file of {} columns",
                record.cells.len(),
                self.n_columns
            ));
        }
        match &record.cells[self.time] {
            Cell::Millis(ms) => Ok(Timestamp::from_millis(*ms)),
            Cell::Text(text) => time(text, self.time_offset.as_deref()),
            Cell::Number(value) => Err(format!("{value} is no time")),
            Cell::Empty => Err("there is no time".to_owned()),
            Cell::Unreadable => Err("the time is no UTF-8".to_owned()),
        }
    }

    /// The record's device.
    pub(crate) fn device(&self, record: &Record) -> Result<DeviceId, String> {
        let (cell, format) = match &self.device {
            DeviceFrom::Fixed(device) => return Ok(device.clone()),
            DeviceFrom::Column(at, format) => (&record.cells[*at], format),
        };
        let name = match cell {
            Cell::Text(text) => text.clone(),
            Cell::Number(value) => value.to_string(),
            Cell::Empty => return Err("there is no device".to_owned()),
            Cell::Unreadable | Cell::Millis(_) => return Err("the device is no text".to_owned()),
        };
        DeviceId::new(format.replace("{}", &name)).map_err(|e| format!("device {name:?}: {e}"))
    }
}

fn find(columns: &[String], name: &str, option: &str) -> Result<usize> {
    columns.iter().position(|c| c == name).with_context(|| {
        format!(
            "there is no column \"{name}\"; name it with {option}; the file has {}",
            columns.join(", ")
        )
    })
}

impl Mapping {
    /// Finds every column's meaning.
    ///
    /// # Errors
    /// A column that is missing, twice there, or of no known metric: the text names the option that helps.
    pub(crate) fn new(
        args: &MappingArgs,
        columns: &[String],
        catalogue: &Catalogue,
    ) -> Result<Self> {
        let keys = Keys::new(args, &args.time_column, columns)?;
        for (name, option) in args
            .columns
            .iter()
            .map(|(c, _)| (c, "--column"))
            .chain(args.skip.iter().map(|c| (c, "--skip")))
        {
            find(columns, name, option)?;
        }
        let device_column = match &keys.device {
            DeviceFrom::Column(at, _) => Some(*at),
            DeviceFrom::Fixed(_) => None,
        };
        let mut extra = None;
        let mut metrics = Vec::new();
        let mut unknown = Vec::new();
        for (i, column) in columns.iter().enumerate() {
            if i == keys.time || Some(i) == device_column || args.skip.contains(column) {
                continue;
            }
            let renamed = args.columns.iter().find(|(c, _)| c == column);
            if renamed.is_none() && column == EXTRA {
                extra = Some(i);
                continue;
            }
            let name = renamed.map_or_else(|| metric_in(column), |(_, metric)| metric.as_str());
            let known = catalogue
                .classes
                .iter()
                .flat_map(|class| &class.metrics)
                .find(|m| m.name.as_str() == name);
            match known {
                Some(metric) => metrics.push((i, metric.name.clone())),
                None => unknown.push(name.to_owned()),
            }
        }
        if !unknown.is_empty() {
            bail!(
                "no class of the catalogue has a metric called {}: add it there, name its metric with --column COLUMN=METRIC, or leave it out with --skip COLUMN",
                unknown.join(" or ")
            );
        }
        for (i, (_, metric)) in metrics.iter().enumerate() {
            if metrics[..i].iter().any(|(_, other)| other == metric) {
                bail!("two columns hold {metric}: leave one out with --skip");
            }
        }
        let places = catalogue
            .classes
            .iter()
            .map(|class| {
                metrics
                    .iter()
                    .map(|(_, metric)| class.metric_index(metric.as_str()))
                    .collect()
            })
            .collect();
        Ok(Self {
            keys,
            extra,
            metrics,
            places,
            n_metrics: catalogue.classes.iter().map(|c| c.metrics.len()).collect(),
            classes: catalogue
                .classes
                .iter()
                .map(|c| c.name.to_string())
                .collect(),
        })
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The record as a row of class number `class`.
    pub(crate) fn row(
        &self,
        record: &Record,
        device: DeviceId,
        ts: Timestamp,
        class: usize,
    ) -> Result<Row, String> {
        let mut row = Row {
            device,
            ts,
            values: vec![None; self.n_metrics[class]],
            extra: Vec::new(),
        };
        for ((column, metric), place) in self.metrics.iter().zip(&self.places[class]) {
            let Some(value) =
                reading(&record.cells[*column]).map_err(|e| format!("{metric}: {e}"))?
            else {
                continue;
            };
            match place {
                Some(place) => row.values[*place] = Some(value),
                None => {
                    return Err(format!(
                        "{metric}: class {} has no such metric",
                        self.classes[class]
                    ));
                }
            }
        }
        if let Some(column) = self.extra {
            row.extra = extra(&record.cells[column])?;
        }
        if row.n_readings() == 0 {
            return Err("there is no reading".to_owned());
        }
        Ok(row)
    }
}

fn time(text: &str, offset: Option<&str>) -> Result<Timestamp, String> {
    if let Ok(ts) = text.parse::<Timestamp>() {
        return Ok(ts);
    }
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(Timestamp::from_millis(ms));
    }
    let local = text.replacen(' ', "T", 1);
    if let Ok(ts) = local.parse::<Timestamp>() {
        return Ok(ts);
    }
    match offset {
        Some(offset) => format!("{local}{offset}").parse(),
        None if format!("{local}Z").parse::<Timestamp>().is_ok() => {
            return Err(format!(
                "\"{text}\" does not say in which offset: add --time-offset Z (or +01:00)"
            ));
        }
        None => local.parse(),
    }
    .map_err(|_no_time: forecare_domain::InvalidTimestamp| {
        format!("\"{text}\" is no time such as 2026-01-31T08:00:00Z")
    })
}

fn reading(cell: &Cell) -> Result<Option<f64>, String> {
    let value = match cell {
        Cell::Empty => return Ok(None),
        Cell::Number(value) if value.is_nan() => return Ok(None),
        Cell::Text(text) if MISSING.iter().any(|m| text.eq_ignore_ascii_case(m)) => {
            return Ok(None);
        }
        Cell::Number(value) => *value,
        Cell::Text(text) => text
            .parse::<f64>()
            .map_err(|e| format!("\"{}\": {e}", text.chars().take(64).collect::<String>()))?,
        Cell::Millis(ms) => return Err(format!("{} is a time", Timestamp::from_millis(*ms))),
        Cell::Unreadable => return Err("no UTF-8".to_owned()),
    };
    if value.is_finite() {
        Ok(Some(value))
    } else {
        Err(format!("{value} is not finite"))
    }
}

/// The metrics beyond the catalogue, from a JSON object.
fn extra(cell: &Cell) -> Result<Vec<(MetricName, f64)>, String> {
    match cell {
        Cell::Empty => Ok(Vec::new()),
        Cell::Text(text) => serde_json::from_str::<BTreeMap<MetricName, f64>>(text)
            .map(|object| object.into_iter().collect())
            .map_err(|e| format!("{EXTRA}: {e}")),
        Cell::Number(_) | Cell::Millis(_) | Cell::Unreadable => {
            Err(format!("{EXTRA}: it is no JSON object"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_come_and_never_guessed() {
        let six = "2015-01-01T06:00:00Z";
        for (text, offset, expected) in [
            (six, None, six),
            ("1420092000000", None, six),
            ("2015-01-01 06:00:00", Some("Z"), six),
            ("2015-01-01T07:00:00", Some("+01:00"), six),
            ("2015-01-01 07:00:00+01:00", Some("Z"), six),
        ] {
            assert_eq!(time(text, offset).unwrap().to_string(), expected, "{text}");
        }
        assert!(
            time("2015-01-01 06:00:00", None)
                .unwrap_err()
                .contains("--time-offset")
        );
        assert!(
            time("yesterday", Some("Z"))
                .unwrap_err()
                .contains("yesterday")
        );
    }

    #[test]
    fn a_gap_is_no_reading_and_nonsense_is_no_gap() {
        for gap in [
            Cell::Empty,
            Cell::Text("NaN".to_owned()),
            Cell::Number(f64::NAN),
        ] {
            assert_eq!(reading(&gap), Ok(None));
        }
        assert_eq!(reading(&Cell::Text("1e3".to_owned())), Ok(Some(1_000.0)));
        for nonsense in ["4,2", "inf", "0x10", "high"] {
            assert!(
                reading(&Cell::Text(nonsense.to_owned())).is_err(),
                "{nonsense}"
            );
        }
    }
}
