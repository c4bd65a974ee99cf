//! Schedules at work: tickets that open by time or by a counter, each occurrence once.

use std::collections::BTreeMap;
use std::time::Duration;

use forecare_care::dispatch::Crew;
use forecare_care::reporting::{About, open_scheduled};
use forecare_care::schedule::{Covered, Look, look};
use forecare_care::ticket_rules::Schedule;
use forecare_domain::{Asset, AssetId, DeviceId, ScheduleName, Timestamp};
use forecare_store::{CareOutcome, LatestRow, StoreError};
use tokio::sync::watch;
use tracing::warn;

use super::CareDesk;
use crate::pipeline::chain;

/// How often schedules are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What was kept, as far as it was read since the start.
pub(crate) type Kept = BTreeMap<(AssetId, ScheduleName), Covered>;

impl CareDesk {
    /// Looks at the schedules now and then, until `stop` turns true.
    pub(super) async fn run_schedules(&self, mut stop: watch::Receiver<bool>) {
        if self.tickets.schedules().is_empty() {
            return;
        }
        let mut kept = Kept::new();
        while !*stop.borrow() {
            if let Err(failure) = self.look_at_schedules(&mut kept, self.clock.now()).await {
                // What was not kept is read again.
                kept.clear();
                warn!(error = %chain(&failure), "schedules not looked at");
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Opens what is due; returns how many tickets that is.
    pub(crate) async fn look_at_schedules(
        &self,
        kept: &mut Kept,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let schedules = self.tickets.schedules();
        let assets = self.store.assets().await?;
        let latest: BTreeMap<DeviceId, LatestRow> = if schedules.iter().any(|s| s.counter.is_some())
        {
            let rows = self.store.latest().await?.into_iter();
            rows.map(|row| (row.device.clone(), row)).collect()
        } else {
            BTreeMap::new()
        };
        let mut n_opened = 0;
        for asset in &assets {
            for schedule in schedules
                .iter()
                .filter(|s| s.concerns(&asset.id, &asset.class))
            {
                let Some(position) = position(schedule, asset, latest.get(&asset.device), now)
                else {
                    continue;
                };
                n_opened += usize::from(self.look_at(kept, schedule, asset, position, now).await?);
            }
        }
        Ok(n_opened)
    }

    async fn look_at(
        &self,
        kept: &mut Kept,
        schedule: &Schedule,
        asset: &Asset,
        position: f64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let place = (asset.id.clone(), schedule.name.clone());
        let setting = format!("schedule/{}/{}", asset.id, schedule.name);
        let covered = match kept.get(&place) {
            Some(covered) => Some(*covered),
            None => {
                let text = self.store.setting(&setting).await?;
                text.and_then(|text| serde_json::from_str(&text).ok())
            }
        };
        let (next, opens) = match look(schedule.every(), schedule.lead, position, covered) {
            Look::Wait => {
                kept.extend(covered.map(|covered| (place, covered)));
                return Ok(false);
            }
            Look::Keep(next) => (next, false),
            Look::Open(next) => (next, true),
        };
        let opened = opens && self.open_due(schedule, asset, next, now).await?;
        // After the ticket: a crash in between repeats the step under the same key.
        let text = serde_json::to_string(&next).map_err(|error| StoreError::Corrupt {
            what: format!("what is kept of schedule {}", schedule.name),
            source: Some(Box::new(error)),
        })?;
        self.store.put_setting(&setting, &text).await?;
        kept.insert(place, next);
        Ok(opened)
    }

    async fn open_due(
        &self,
        schedule: &Schedule,
        asset: &Asset,
        next: Covered,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (Some(class), Some(kind)) = (
            self.catalogue.class(&asset.class),
            self.tickets.kind(schedule.kind.as_str()),
        ) else {
            return Ok(false);
        };
        let due_at = match schedule.counter {
            Some(_) => None,
            None => Some(asset.registered_at.plus_hours(next.upto).max(now)),
        };
        let key = format!(
            "schedule/{}/{}/{}/{}",
            asset.id, schedule.name, next.epoch, next.upto
        );
        if self.store.outcome(&key).await?.is_some() {
            // Before a crash.
            return Ok(false);
        }
        let load = self.rules().book.load().await?;
        let registered = self.terms.crew();
        let about = About {
            asset,
            class,
            crew: Crew {
                technicians: registered.as_deref().unwrap_or(&self.catalogue.technicians),
                load: &load,
            },
        };
        let of = (schedule, kind);
        let terms = self.terms.of_asset(asset, now);
        let new = open_scheduled(self.opening(&terms), about, of, next.upto, due_at, now);
        let outcome = self.open(new, None, Some(key), now).await?;
        Ok(matches!(outcome, CareOutcome::Opened { .. }))
    }
}

/// Where the asset stands on the schedule's scale; `None`: its counter has not been heard.
fn position(
    schedule: &Schedule,
    asset: &Asset,
    latest: Option<&LatestRow>,
    now: Timestamp,
) -> Option<f64> {
    let Some(counter) = &schedule.counter else {
        return Some(now.hours_since(asset.registered_at));
    };
    let readings = &latest?.readings;
    let found = readings.iter().find(|(name, _)| *name == counter.metric);
    found.map(|(_, value)| *value)
}
