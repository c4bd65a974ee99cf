//! Down-sampled telemetry.

use forecare_catalogue::{AssetClass, Limits, MetricSpec};
use std::collections::BTreeMap;

use forecare_domain::{Asset, Timestamp};
use forecare_store::{Fill, HEALTH_METRIC, LatestRow, Series, TelemetryQuery};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Engineering limits of a metric, in its unit; null: none on that side.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct LimitsDto {
    pub(crate) critical_low: Option<f64>,
    pub(crate) warning_low: Option<f64>,
    pub(crate) warning_high: Option<f64>,
    pub(crate) critical_high: Option<f64>,
}

impl From<Limits> for LimitsDto {
    fn from(l: Limits) -> Self {
        Self {
            critical_low: l.critical_low,
            warning_low: l.warning_low,
            warning_high: l.warning_high,
            critical_high: l.critical_high,
        }
    }
}

/// What stands in buckets without readings between others.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FillDto {
    /// They are left out.
    #[default]
    None,
    /// The mean before the gap.
    Previous,
    /// A straight line across the gap.
    Linear,
}

impl From<FillDto> for Fill {
    fn from(fill: FillDto) -> Self {
        match fill {
            FillDto::None => Self::None,
            FillDto::Previous => Self::Previous,
            FillDto::Linear => Self::Linear,
        }
    }
}

/// The newest readings of a device.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LatestRowDto {
    /// The device.
    pub(crate) device_id: String,
    /// When they were taken.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) ts: Timestamp,
    /// Health after them, 0 to 100; null: not scored.
    pub(crate) health_percent: Option<f64>,
    /// Readings by metric, as far as the catalogue knows it.
    pub(crate) values: BTreeMap<String, f64>,
}

impl From<&LatestRow> for LatestRowDto {
    fn from(row: &LatestRow) -> Self {
        let values = row.readings.iter().map(|(m, v)| (m.to_string(), *v));
        Self {
            device_id: row.device.to_string(),
            ts: row.ts,
            health_percent: row.health,
            values: values.collect(),
        }
    }
}

/// A bucket of readings.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PointDto {
    /// Begin of the bucket.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) ts: Timestamp,
    /// Mean of the readings.
    pub(crate) mean: f64,
    /// Least reading.
    pub(crate) min: f64,
    /// Greatest reading.
    pub(crate) max: f64,
    /// Number of readings; 0: filled in.
    pub(crate) n_readings: u64,
}

/// One metric's points.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SeriesDto {
    /// The metric; `health` is the health index.
    pub(crate) metric: String,
    /// Unit of the values; empty: the catalogue does not know the metric.
    pub(crate) unit: String,
    /// Engineering limits.
    pub(crate) limits: LimitsDto,
    /// Buckets with readings, in time order; with `fill`, those between them as well.
    pub(crate) points: Vec<PointDto>,
}

/// Telemetry of an asset in a range.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TelemetryDto {
    /// The asset.
    pub(crate) asset_id: String,
    /// Its device.
    pub(crate) device_id: String,
    /// Begin of the range, inclusive.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) from: Timestamp,
    /// End of the range, exclusive.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) to: Timestamp,
    /// One per metric, health first, then in the catalogue's order.
    pub(crate) series: Vec<SeriesDto>,
}

impl TelemetryDto {
    pub(crate) fn new(
        asset: &Asset,
        class: Option<&AssetClass>,
        query: &TelemetryQuery,
        series: Vec<Series>,
    ) -> Self {
        let rank = |metric: &str| match class.and_then(|c| c.metric_index(metric)) {
            _ if metric == HEALTH_METRIC => 0,
            Some(index) => index + 1,
            None => usize::MAX,
        };
        let mut series: Vec<SeriesDto> = series
            .into_iter()
            .map(|s| {
                let spec = class.and_then(|c| {
                    c.metric_index(s.metric.as_str())
                        .and_then(|i| c.metrics.get(i))
                });
                SeriesDto::new(s, spec)
            })
            .collect();
        series.sort_by(|a, b| (rank(&a.metric), &a.metric).cmp(&(rank(&b.metric), &b.metric)));
        Self {
            asset_id: asset.id.to_string(),
            device_id: asset.device.to_string(),
            from: query.from,
            to: query.to,
            series,
        }
    }
}

impl SeriesDto {
    fn new(series: Series, spec: Option<&MetricSpec>) -> Self {
        let unit = match spec {
            Some(spec) => spec.unit.clone(),
            None if series.metric.as_str() == HEALTH_METRIC => "%".to_owned(),
            None => String::new(),
        };
        Self {
            metric: series.metric.into(),
            unit,
            limits: spec.map(|s| s.limits.into()).unwrap_or_default(),
            points: series
                .buckets
                .into_iter()
                .map(|b| PointDto {
                    ts: b.ts,
                    mean: b.mean,
                    min: b.min,
                    max: b.max,
                    n_readings: b.n,
                })
                .collect(),
        }
    }
}
