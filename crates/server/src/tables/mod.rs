//! History as files. Telemetry: a line per device and time, a column per metric of the class; events: a line per event.

mod lines;
#[cfg(feature = "parquet")]
mod parquet;
mod read;
mod write;

use forecare_domain::MetricName;

pub(crate) use read::{Cell, Place, Record, TableReader};
pub(crate) use write::{Format, PartialFile, TableWriter};

/// Column of the device.
pub(crate) const DEVICE: &str = "device";
/// Column of the time.
pub(crate) const TIME: &str = "time";
/// Column of the metrics that the class does not have, as one JSON object.
pub(crate) const EXTRA: &str = "extra";
/// Column of an event's time, in JSON lines and in what other programs write.
pub(crate) const TS: &str = "ts";
/// Columns of an event beside device and time.
pub(crate) const CODE: &str = "code";
pub(crate) const SEVERITY: &str = "severity";
pub(crate) const COMPONENT: &str = "component";
pub(crate) const MESSAGE: &str = "message";
/// Stands before a metric that is called like one of the columns above; no name contains a slash.
const METRIC_PREFIX: &str = "metric/";

/// The column of a metric.
pub(crate) fn column_of(metric: &MetricName) -> String {
    match metric.as_str() {
        DEVICE | TIME | EXTRA => format!("{METRIC_PREFIX}{metric}"),
        name => name.to_owned(),
    }
}

/// The metric's name in a column's.
pub(crate) fn metric_in(column: &str) -> &str {
    column.strip_prefix(METRIC_PREFIX).unwrap_or(column)
}

/// A number as short as it can be written without changing it.
fn number(value: f64) -> String {
    if value == 0.0 || (1e-5..1e16).contains(&value.abs()) {
        format!("{value}")
    } else {
        format!("{value:e}")
    }
}
