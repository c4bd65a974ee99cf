//! The registered devices with their monitors, and how they come back after a restart.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use forecare_care::TicketRules;
use forecare_catalogue::Catalogue;
use forecare_detect::{DetectSettings, EpisodeSettings};
use forecare_domain::{Asset, ClassName, DeviceId, Timestamp};
use forecare_prognosis::Model;
use forecare_store::{Checkpoint, CommitBatch, MaintenanceWindow, Store, StoreError};
use tracing::warn;

use super::monitor::{ClassContext, Monitor};
use crate::models::guard::Applied;
use crate::models::watch::{DeviceWatch, Watch};

/// Rows read at once when a monitor is rebuilt.
const REBUILD_ROWS: usize = 1_000;
/// Most devices of a class that new ones learn from.
const ELDERS_MAX: usize = 64;
/// States stored at once when a class changes its model.
const CHECKPOINTS_AT_ONCE: usize = 500;

/// What monitors need to know besides the catalogue.
#[derive(Debug, Clone)]
pub(crate) struct ClassSettings {
    pub(crate) detect: DetectSettings,
    pub(crate) episodes: EpisodeSettings,
    pub(crate) reassess_hours: f64,
    pub(crate) confirm_hours: f64,
    pub(crate) margin: f64,
    /// Which events of devices open tickets.
    pub(crate) tickets: Arc<TicketRules>,
}

/// What the devices of each class share, in the catalogue's order.
///
/// # Errors
/// A class or a setting with which nothing can be watched.
pub(crate) fn class_contexts(
    catalogue: &Catalogue,
    mut models: Vec<Model>,
    settings: &ClassSettings,
) -> Result<Vec<Arc<ClassContext>>> {
    let mut contexts = Vec::with_capacity(catalogue.classes.len());
    for class in &catalogue.classes {
        let model = models
            .iter()
            .position(|m| m.class() == &class.name)
            .map(|i| models.swap_remove(i));
        let context = ClassContext::new(
            class.clone(),
            model,
            &settings.detect,
            settings.episodes.clone(),
            settings.reassess_hours,
            settings.confirm_hours,
            settings.margin,
        )
        .with_context(|| format!("class {} cannot be watched", class.name))?
        .reporting(Arc::clone(&settings.tickets));
        contexts.push(Arc::new(context));
    }
    Ok(contexts)
}

/// One device.
pub(crate) struct Entry {
    pub(crate) asset: Asset,
    pub(crate) context: Arc<ClassContext>,
    pub(crate) monitor: Monitor,
    windows: Vec<MaintenanceWindow>,
    /// What the watch over the class's models remembers of it.
    pub(crate) watched: DeviceWatch,
    /// Health as last sent to listeners, whole points.
    pub(crate) health_sent: Option<i64>,
}

impl Entry {
    fn new(asset: Asset, context: Arc<ClassContext>) -> Self {
        let monitor = Monitor::new(&context);
        Self {
            asset,
            context,
            monitor,
            windows: Vec::new(),
            watched: DeviceWatch::default(),
            health_sent: None,
        }
    }

    /// True while a maintenance window covers `ts`.
    pub(crate) fn suppressed(&self, ts: Timestamp) -> bool {
        self.windows.iter().any(|w| w.from <= ts && ts < w.to)
    }
}

/// All registered devices.
pub(crate) struct Devices {
    contexts: Vec<Arc<ClassContext>>,
    entries: HashMap<DeviceId, Entry>,
    /// The devices of each class that were known first: new ones learn from them.
    elders: HashMap<ClassName, Vec<DeviceId>>,
}

impl Devices {
    /// Prepares the classes; no device is loaded yet.
    pub(crate) fn new(
        catalogue: &Catalogue,
        models: Vec<Model>,
        settings: &ClassSettings,
    ) -> Result<Self> {
        let contexts = class_contexts(catalogue, models, settings)?;
        Ok(Self {
            contexts,
            entries: HashMap::new(),
            elders: HashMap::new(),
        })
    }

    /// Loads every registered device, and brings each monitor to where the store is: newest checkpoint, then
    /// the rows after it.
    pub(crate) async fn restore(&mut self, store: &dyn Store) -> Result<()> {
        self.entries.clear();
        self.elders.clear();
        for asset in store.assets().await? {
            self.register(asset);
        }
        let mut checkpoints: HashMap<DeviceId, Checkpoint> = store
            .checkpoints()
            .await?
            .into_iter()
            .map(|c| (c.device.clone(), c))
            .collect();
        for window in store.maintenance_windows(Timestamp::MIN).await? {
            self.add_window(window);
        }
        for (device, entry) in &mut self.entries {
            let mut after = None;
            if let Some(checkpoint) = checkpoints.remove(device) {
                match Monitor::restored(&entry.context, &checkpoint.state) {
                    Some(monitor) => {
                        after = monitor.watermark;
                        entry.monitor = monitor;
                    }
                    None => {
                        warn!(device.id = %device, "checkpoint of another version or catalogue: learning anew from the stored rows");
                    }
                }
            }
            let mut replayed = false;
            loop {
                let rows = store.rows_after(device, after, REBUILD_ROWS).await?;
                let Some(last) = rows.last() else { break };
                after = Some(last.ts);
                replayed = true;
                for row in &rows {
                    let suppressed = entry
                        .windows
                        .iter()
                        .any(|w| w.from <= row.ts && row.ts < w.to);
                    // What these rows led to was stored with them.
                    let _stored_before = entry.monitor.row(&entry.context, row, row.ts, suppressed);
                }
            }
            if replayed {
                // Nor does the checkpoint bound it: late rows and rows per message differ. A gap in `seq` that spans a
                // crash is not seen; after an orderly stop nothing is replayed.
                entry.monitor.forget_sequence();
            }
        }
        Ok(())
    }

    /// Adds a device, or renews what is known of its asset. False where its class is not in the catalogue.
    pub(crate) fn register(&mut self, asset: Asset) -> bool {
        let Some(context) = self.context(&asset.class) else {
            warn!(device.id = %asset.device, class = %asset.class, "the asset's class is not in the catalogue: its readings are refused");
            return false;
        };
        match self.entries.get_mut(&asset.device) {
            Some(entry) if entry.asset.class == asset.class => entry.asset = asset,
            _ => {
                let elders = self.elders.entry(asset.class.clone()).or_default();
                if elders.len() < ELDERS_MAX && !elders.contains(&asset.device) {
                    elders.push(asset.device.clone());
                }
                self.entries
                    .insert(asset.device.clone(), Entry::new(asset, context));
            }
        }
        true
    }

    /// From now on these models speak for the class and are tried in it. What was scored so far was judged by the
    /// models before: the state of every device of the class is stored first, and then which model is live, so that
    /// *checkpoint + rows after it* stays the whole truth whatever is killed when. Nothing else may be under way.
    ///
    /// # Errors
    /// The store does not take it: the models before go on; states in memory may be newer than those stored.
    pub(crate) async fn switch(
        &mut self,
        store: &dyn Store,
        class: &ClassName,
        watch: Arc<Watch>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(before) = self.context(class) else {
            return Ok(());
        };
        let of = |watch: &Watch| watch.live.as_ref().map(|live| live.sha256().to_owned());
        if of(&before.watch) != of(&watch) {
            let moved: Vec<DeviceId> = {
                let mut moved: Vec<&Entry> = self
                    .entries
                    .values()
                    .filter(|e| e.asset.class == *class && e.monitor.needs_checkpoint(1))
                    .collect();
                moved.sort_by(|a, b| a.asset.device.cmp(&b.asset.device));
                moved.iter().map(|e| e.asset.device.clone()).collect()
            };
            for devices in moved.chunks(CHECKPOINTS_AT_ONCE) {
                let checkpoints = devices
                    .iter()
                    .filter_map(|device| {
                        checkpoint(device, &mut self.entries.get_mut(device)?.monitor)
                    })
                    .collect();
                store
                    .commit_batch(CommitBatch {
                        checkpoints,
                        ..CommitBatch::default()
                    })
                    .await?;
            }
            Applied::of(&watch, now).put(store, class).await?;
        }
        self.set_models(class, &watch);
        Ok(())
    }

    /// Lets these models speak, and be tried, without a word to the store.
    pub(crate) fn set_models(&mut self, class: &ClassName, watch: &Arc<Watch>) {
        for context in self.contexts.iter_mut().filter(|c| c.class.name == *class) {
            *context = Arc::new(context.with_models(Arc::clone(watch)));
            for entry in self
                .entries
                .values_mut()
                .filter(|e| e.asset.class == *class)
            {
                entry.context = Arc::clone(context);
                entry.watched = DeviceWatch::default();
            }
        }
    }

    fn context(&self, class: &ClassName) -> Option<Arc<ClassContext>> {
        self.contexts
            .iter()
            .find(|c| &c.class.name == class)
            .cloned()
    }

    pub(crate) fn add_window(&mut self, window: MaintenanceWindow) {
        if let Some(entry) = self.entries.get_mut(&window.device)
            && !entry.windows.contains(&window)
        {
            // Rows long past are never judged again.
            if let Some(watermark) = entry.monitor.watermark {
                entry.windows.retain(|w| w.to > watermark);
            }
            entry.windows.push(window);
        }
    }

    pub(crate) fn get_mut(&mut self, device: &DeviceId) -> Option<&mut Entry> {
        self.entries.get_mut(device)
    }

    /// Before the first row of a device, at `at`: it begins with what the others of its class have learnt.
    pub(crate) fn begin(&mut self, device: &DeviceId, at: Timestamp) {
        let Some(entry) = self.entries.get(device) else {
            return;
        };
        if entry.monitor.watermark.is_some() {
            return;
        }
        let context = Arc::clone(&entry.context);
        let mut monitor = entry.monitor.clone();
        let elders = self.elders.get(&context.class.name);
        let sisters = elders
            .into_iter()
            .flatten()
            .filter_map(|id| self.entries.get(id))
            // One whose asset has changed its class since is no sister any more.
            .filter(|e| Arc::ptr_eq(&e.context, &context))
            .map(|e| &e.monitor);
        monitor.begin_with_fleet(&context, at, sisters);
        if let Some(entry) = self.entries.get_mut(device) {
            entry.monitor = monitor;
        }
    }

    pub(crate) fn contains(&self, device: &DeviceId) -> bool {
        self.entries.contains_key(device)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// States of all devices that have moved since their last checkpoint.
    pub(crate) fn checkpoint_all(&mut self) -> Vec<Checkpoint> {
        let mut due: Vec<Checkpoint> = self
            .entries
            .values_mut()
            .filter(|e| e.monitor.needs_checkpoint(1))
            .filter_map(|e| checkpoint(&e.asset.device, &mut e.monitor))
            .collect();
        due.sort_by(|a, b| a.device.cmp(&b.device));
        due
    }
}

/// The monitor's state for the store.
pub(crate) fn checkpoint(device: &DeviceId, monitor: &mut Monitor) -> Option<Checkpoint> {
    monitor.checkpointed();
    let state = match serde_json::to_vec(&*monitor) {
        Ok(state) => state,
        Err(error) => {
            warn!(device.id = %device, %error, "the detector's state cannot be written");
            return None;
        }
    };
    Some(Checkpoint {
        device: device.clone(),
        watermark: monitor.watermark.unwrap_or(Timestamp::MIN),
        state,
    })
}
