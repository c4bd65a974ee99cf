//! What devices send, and what the detectors made of it.

use std::collections::BTreeMap;

use forecare_catalogue::{AssetClass, Catalogue};
use forecare_domain::{
    Alarm, Asset, AssetHealth, AssetId, ClassName, DeviceEvent, DeviceId, DeviceStatus, MetricName,
    Rejection, Row, Timestamp,
};

use crate::agreed::{ROWS_MAX, refusal, refused};
use crate::{
    Bucket, Checkpoint, CommitBatch, CommitReceipt, Conflict, Fingerprint, HEALTH_METRIC,
    LatestRow, ScoredRow, Series, StoreError, TelemetryQuery,
};

#[derive(Debug, Clone, Default)]
struct Stored {
    readings: BTreeMap<MetricName, f64>,
    health: Option<f64>,
}

#[derive(Debug)]
struct Device {
    class: ClassName,
    rows: BTreeMap<Timestamp, Stored>,
}

#[derive(Debug, Default)]
pub(super) struct Telemetry {
    pub(super) assets: BTreeMap<AssetId, Asset>,
    devices: BTreeMap<DeviceId, Device>,
    pub(super) statuses: BTreeMap<DeviceId, DeviceStatus>,
    pub(super) checkpoints: BTreeMap<DeviceId, Checkpoint>,
    pub(super) health: BTreeMap<DeviceId, AssetHealth>,
    pub(super) alarms: Vec<Alarm>,
    pub(super) events: Vec<DeviceEvent>,
    pub(super) rejections: Vec<Rejection>,
    pub(super) conflicts: Vec<Conflict>,
}

impl Telemetry {
    pub(super) fn commit(&mut self, catalogue: &Catalogue, batch: CommitBatch) -> CommitReceipt {
        let mut receipt = CommitReceipt::default();
        for asset in batch.assets {
            if !self.assets.contains_key(&asset.id) {
                // What cannot be registered is left out here; its rows are refused with the reason.
                if self.check(catalogue, &asset).is_ok() {
                    self.put(asset);
                }
            }
        }
        self.rejections.extend(batch.rejections);
        for scored in batch.rows {
            self.commit_row(catalogue, scored, &mut receipt);
        }
        for event in batch.events {
            let same = |e: &DeviceEvent| {
                (&e.device, e.ts, &e.code, &e.component)
                    == (&event.device, event.ts, &event.code, &event.component)
            };
            if !self.events.iter().any(same) {
                self.events.push(event);
            }
        }
        for status in batch.statuses {
            if self
                .statuses
                .get(&status.device)
                .is_none_or(|s| s.at <= status.at)
            {
                self.statuses.insert(status.device.clone(), status);
            }
        }
        for checkpoint in batch.checkpoints {
            let kept = self.checkpoints.get(&checkpoint.device);
            if kept.is_none_or(|c| c.watermark <= checkpoint.watermark) {
                self.checkpoints
                    .insert(checkpoint.device.clone(), checkpoint);
            }
        }
        for health in batch.health {
            if self
                .health
                .get(&health.device)
                .is_none_or(|h| h.at <= health.at)
            {
                self.health.insert(health.device.clone(), health);
            }
        }
        for change in batch.alarms {
            let alarm = change.alarm().clone();
            match self.alarms.iter_mut().find(|a| a.id == alarm.id) {
                None => self.alarms.push(Alarm {
                    acknowledged: false,
                    ..alarm
                }),
                Some(kept) if kept.updated_at <= alarm.updated_at => {
                    *kept = Alarm {
                        acknowledged: kept.acknowledged,
                        ..alarm
                    };
                }
                Some(_) => {}
            }
        }
        receipt
    }

    fn commit_row(
        &mut self,
        catalogue: &Catalogue,
        scored: ScoredRow,
        receipt: &mut CommitReceipt,
    ) {
        let ScoredRow { row, health } = scored;
        let class = self.class_of_registered(catalogue, &row.device);
        if let Some(why) = refusal(&row, class.map(|c| c.metrics.len())) {
            self.rejections.push(refused(&row, why));
            return;
        }
        let (Some(class), Some(device)) = (class, self.devices.get_mut(&row.device)) else {
            return;
        };
        if row.n_readings() == 0 {
            return;
        }
        let stored = device.rows.entry(row.ts).or_default();
        stored.health = stored.health.or(health);
        let of_class = class.metrics.iter().zip(&row.values);
        let readings = of_class
            .filter_map(|(m, v)| Some((&m.name, (*v)?)))
            .chain(row.extra.iter().map(|(m, v)| (m, *v)));
        for (metric, value) in readings {
            match stored.readings.get(metric).copied() {
                None => {
                    stored.readings.insert(metric.clone(), value);
                    receipt.inserted += 1;
                }
                Some(first) if first == value => receipt.duplicates += 1,
                Some(first) => {
                    receipt.conflicts += 1;
                    let conflict = Conflict {
                        device: row.device.clone(),
                        metric: metric.clone(),
                        ts: row.ts,
                        stored: first,
                        refused: value,
                    };
                    if !self.conflicts.contains(&conflict) {
                        self.conflicts.push(conflict);
                    }
                }
            }
        }
    }

    /// The class of a device that an asset stands behind.
    fn class_of_registered<'a>(
        &self,
        catalogue: &'a Catalogue,
        device: &DeviceId,
    ) -> Option<&'a AssetClass> {
        let asset = self.assets.values().find(|a| a.device == *device)?;
        catalogue.class(&asset.class)
    }

    fn check(&self, catalogue: &Catalogue, asset: &Asset) -> Result<(), StoreError> {
        if catalogue.class(&asset.class).is_none() {
            let what = format!(
                "class {} of asset {} in the catalogue",
                asset.class, asset.id
            );
            return Err(StoreError::NotFound(what));
        }
        if let Some(other) = self
            .assets
            .values()
            .find(|a| a.device == asset.device && a.id != asset.id)
        {
            return Err(StoreError::Conflict(format!(
                "device {} reports for asset {} already",
                asset.device, other.id
            )));
        }
        match self.devices.get(&asset.device) {
            Some(device) if device.class != asset.class && !device.rows.is_empty() => {
                Err(StoreError::Conflict(format!(
                    "device {} has readings as a {}; give the {} another device id",
                    asset.device, device.class, asset.class
                )))
            }
            _ => Ok(()),
        }
    }

    fn put(&mut self, asset: Asset) {
        let registered_at = self
            .assets
            .get(&asset.id)
            .map_or(asset.registered_at, |a| a.registered_at);
        let device = self
            .devices
            .entry(asset.device.clone())
            .or_insert_with(|| Device {
                class: asset.class.clone(),
                rows: BTreeMap::new(),
            });
        device.class = asset.class.clone();
        self.assets.insert(
            asset.id.clone(),
            Asset {
                registered_at,
                ..asset
            },
        );
    }

    pub(super) fn register(
        &mut self,
        catalogue: &Catalogue,
        assets: Vec<Asset>,
    ) -> Result<(), StoreError> {
        let before = self.assets.clone();
        for asset in assets {
            if let Err(e) = self.check(catalogue, &asset) {
                self.assets = before;
                return Err(e);
            }
            self.put(asset);
        }
        Ok(())
    }

    pub(super) fn rows_after(
        &self,
        catalogue: &Catalogue,
        device: &DeviceId,
        after: Option<Timestamp>,
        limit: usize,
    ) -> Vec<Row> {
        let Some(kept) = self.devices.get(device) else {
            return Vec::new();
        };
        let metrics = catalogue.class(&kept.class).map_or(&[][..], |c| &c.metrics);
        let later = kept
            .rows
            .iter()
            .filter(|(ts, _)| after.is_none_or(|after| **ts > after));
        later
            .take(limit.clamp(1, ROWS_MAX))
            .map(|(ts, stored)| Row {
                device: device.clone(),
                ts: *ts,
                values: metrics
                    .iter()
                    .map(|m| stored.readings.get(&m.name).copied())
                    .collect(),
                extra: stored
                    .readings
                    .iter()
                    .filter(|(name, _)| metrics.iter().all(|m| m.name != **name))
                    .map(|(name, value)| (name.clone(), *value))
                    .collect(),
            })
            .collect()
    }

    pub(super) fn latest(&self, catalogue: &Catalogue) -> Vec<LatestRow> {
        let newest = |asset: &Asset| {
            let (ts, stored) = self.devices.get(&asset.device)?.rows.last_key_value()?;
            let metrics = catalogue
                .class(&asset.class)
                .map_or(&[][..], |c| &c.metrics);
            let reading = |name: &MetricName| Some((name.clone(), *stored.readings.get(name)?));
            Some(LatestRow {
                device: asset.device.clone(),
                ts: *ts,
                health: stored.health,
                readings: metrics.iter().filter_map(|m| reading(&m.name)).collect(),
            })
        };
        let mut rows: Vec<LatestRow> = self.assets.values().filter_map(newest).collect();
        rows.sort_by(|a, b| a.device.cmp(&b.device));
        rows
    }

    pub(super) fn newest(&self, device: &DeviceId) -> Option<Timestamp> {
        let (ts, _) = self.devices.get(device)?.rows.last_key_value()?;
        Some(*ts)
    }

    pub(super) fn fingerprint(&self, device: &DeviceId) -> Fingerprint {
        let mut sum = Fingerprint::default();
        for (ts, stored) in self.devices.get(device).into_iter().flat_map(|d| &d.rows) {
            for (metric, value) in &stored.readings {
                sum.add(device, metric, *ts, *value);
            }
        }
        sum
    }

    pub(super) fn series(
        &self,
        catalogue: &Catalogue,
        query: &TelemetryQuery,
    ) -> Result<Vec<Series>, StoreError> {
        let device = self
            .devices
            .get(&query.device)
            .ok_or_else(|| StoreError::NotFound(format!("device {}", query.device)))?;
        let mut metrics = query.metrics.clone();
        if metrics.is_empty() {
            let class = catalogue.class(&device.class);
            metrics.extend(
                class
                    .into_iter()
                    .flat_map(|c| &c.metrics)
                    .map(|m| m.name.clone()),
            );
            metrics.extend(MetricName::new(HEALTH_METRIC));
        }
        let (from, to) = (query.from.as_millis(), query.to.as_millis());
        let bucket_ms = query.bucket_ms();
        let one = |metric: MetricName| {
            let mut values: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
            for (ts, stored) in &device.rows {
                let value = if metric.as_str() == HEALTH_METRIC {
                    stored.health
                } else {
                    stored.readings.get(&metric).copied()
                };
                let ts = ts.as_millis();
                if let Some(value) = value.filter(|_| from <= ts && ts < to) {
                    values
                        .entry((ts - from) / bucket_ms)
                        .or_default()
                        .push(value);
                }
            }
            let buckets = values.into_iter().map(|(i, values)| Bucket {
                ts: Timestamp::from_millis(from + i * bucket_ms),
                mean: values.iter().sum::<f64>() / values.len() as f64,
                min: values.iter().copied().fold(f64::INFINITY, f64::min),
                max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                n: values.len() as u64,
            });
            Series {
                buckets: query.filled(buckets.collect()),
                metric,
            }
        };
        Ok(metrics.into_iter().map(one).collect())
    }
}
