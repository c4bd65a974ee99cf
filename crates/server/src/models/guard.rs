//! Brings what the library says to the running service within seconds, and takes a model out of service that is
//! wrong too often or sees what it was not trained for.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use forecare_api::ModelInfo;
use forecare_care::Precision;
use forecare_catalogue::Catalogue;
use forecare_domain::{ClassName, Clock, DeviceId, Label, TicketId, Timestamp, Verdict};
use forecare_store::{PageRequest, Store, StoreError};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::gauges::ModelGauges;
use super::library::{InRole, Library, Named, role_of};
use super::record::{Reason, Roles};
use super::watch::{Seen, SeenPrecision, Watch};
use crate::clock::SystemClock;
use crate::config::ModelsConfig;
use crate::pipeline::{ClassSettings, Control, Devices, chain};

/// How soon a change of roles by `forecare models` counts.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);
/// Rounds of [`FOLLOW_EVERY`] between two looks at verdicts and drift, and between two saves.
const JUDGE_EVERY: u32 = 5;
const SAVE_EVERY: u32 = 30;
/// The newest verdicts, which count.
const VERDICTS_MAX: usize = 1_000;
/// Mass of the central interval of the precision: above it lie 5 %.
const INTERVAL: f64 = 0.9;
/// Who changes roles when nobody does.
const FORECARE: &str = "forecare";

/// Which model has scored what is stored, and since when: kept with the data. After a crash rows behind the newest
/// checkpoint are scored again by this one, whatever was promoted meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    /// SHA-256 of the live model; `None`: none.
    sha256: Option<String>,
    /// The service's time when it went live.
    since: Timestamp,
}

impl Applied {
    pub(crate) fn of(watch: &Watch, since: Timestamp) -> Self {
        Self {
            sha256: watch.live.as_ref().map(|live| live.sha256().to_owned()),
            since,
        }
    }

    pub(crate) async fn put(&self, store: &dyn Store, class: &ClassName) -> Result<(), StoreError> {
        let text = serde_json::to_string(self).unwrap_or_default();
        store.put_setting(&applied_key(class), &text).await
    }

    async fn get(store: &dyn Store, class: &ClassName) -> Result<Option<Self>, StoreError> {
        let text = store.setting(&applied_key(class)).await?;
        // Of another version of the program: as if there were none.
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }
}

fn applied_key(class: &ClassName) -> String {
    format!("models.applied.{class}")
}

/// What was seen of a class's models, as last saved with the data.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn seen_of(store: &dyn Store, class: &ClassName) -> Result<Seen, StoreError> {
    let text = store.setting(&seen_key(class)).await?;
    Ok(text
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default())
}

fn seen_key(class: &ClassName) -> String {
    format!("models.seen.{class}")
}

/// What the guard works with.
pub(crate) struct GuardParts {
    pub(crate) library: Library,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: ModelsConfig,
    pub(crate) gauges: ModelGauges,
}

/// The guard. One task runs it; the API reads its list.
pub(crate) struct Guard {
    parts: GuardParts,
    at_work: Mutex<BTreeMap<ClassName, AtWork>>,
    list: Mutex<Listed>,
}

/// The models of a class at work.
#[derive(Clone)]
struct AtWork {
    watch: Arc<Watch>,
    /// Since when its live model is live, in the service's time.
    since: Timestamp,
    /// Roles that were tried and could not be used: not tried, nor warned of, again.
    refused: Option<(Option<String>, Option<String>)>,
}

/// What the API lists, and what it was made from.
#[derive(Default)]
struct Listed {
    of: Vec<(ClassName, Roles, Vec<String>)>,
    models: Vec<ModelInfo>,
}

/// Where verdicts were read last, and what is known of their tickets.
#[derive(Default)]
pub(crate) struct Verdicts {
    newest: Option<i64>,
    /// Whether a model's probability opened the ticket.
    by_model: BTreeMap<TicketId, bool>,
    classes: BTreeMap<DeviceId, ClassName>,
}

impl Guard {
    /// Rebuilds the devices as they were, by the models that scored them, and then lets the models of `in_role` speak.
    ///
    /// # Errors
    /// The store cannot be read or written; a class cannot be watched.
    pub(crate) async fn begin(
        parts: GuardParts,
        in_role: Vec<(ClassName, InRole)>,
        settings: &ClassSettings,
    ) -> Result<(Devices, Self)> {
        let store = Arc::clone(&parts.store);
        let store = store.as_ref();
        let now = parts.clock.now();
        let mut in_role: BTreeMap<ClassName, InRole> = in_role.into_iter().collect();
        let mut devices = Devices::new(&parts.catalogue, Vec::new(), settings)?;
        let mut at_work = BTreeMap::new();
        let mut turns = Vec::new();
        for class in &parts.catalogue.classes {
            let class = &class.name;
            parts.gauges.class(class);
            let models = in_role.remove(class).unwrap_or_default();
            let watch = Arc::new(parts.watch(models, seen_of(store, class).await?));
            let due = Applied::of(&watch, now);
            let applied = match Applied::get(store, class).await? {
                Some(applied) => applied,
                None => {
                    due.put(store, class).await?;
                    due.clone()
                }
            };
            if applied.sha256 != due.sha256 {
                let live = parts.by_hash(class, applied.sha256.as_deref());
                devices.set_models(class, &Arc::new(parts.watch(live, Seen::default())));
                turns.push(class.clone());
            } else {
                devices.set_models(class, &watch);
            }
            at_work.insert(
                class.clone(),
                AtWork {
                    watch,
                    since: applied.since,
                    refused: None,
                },
            );
        }
        devices
            .restore(store)
            .await
            .context("cannot rebuild the detectors from the store")?;
        for class in turns {
            if let Some(work) = at_work.get_mut(&class) {
                devices
                    .switch(store, &class, Arc::clone(&work.watch), now)
                    .await?;
                work.since = now;
            }
        }
        for (class, work) in &at_work {
            parts.gauges.roles(class, None, &work.watch);
            if let Some(live) = &work.watch.live {
                info!(%class, version = live.version, sha256 = live.sha256(), "a model speaks for this class");
            }
        }
        let guard = Self {
            parts,
            at_work: Mutex::new(at_work),
            list: Mutex::default(),
        };
        guard.list();
        guard.show();
        Ok((devices, guard))
    }

    /// Works for as long as the pipeline listens.
    pub(crate) async fn run(&self, control: mpsc::Sender<Control>) {
        let mut verdicts = Verdicts::default();
        let mut round = 0_u32;
        let mut complained = String::new();
        loop {
            tokio::time::sleep(FOLLOW_EVERY).await;
            round = round.wrapping_add(1);
            let mut done = self.follow(&control).await;
            if done.is_ok() && round.is_multiple_of(JUDGE_EVERY) {
                done = self.judge(&mut verdicts).await;
                self.show();
            }
            if done.is_ok() && round.is_multiple_of(SAVE_EVERY) {
                done = self.save().await;
            }
            self.list();
            // The same trouble is told once.
            let trouble = done
                .err()
                .map(|error| chain(error.as_ref()))
                .unwrap_or_default();
            if !trouble.is_empty() && trouble != complained {
                warn!(error = trouble, "models are not looked after: trying again");
            }
            complained = trouble;
        }
    }

    /// Keeps what was seen with the data.
    ///
    /// # Errors
    /// The store takes nothing.
    pub(crate) async fn save(&self) -> Result<()> {
        for (class, work) in self.snapshot() {
            if work.watch.live.is_some() || work.watch.shadow.is_some() {
                let text = serde_json::to_string(&work.watch.seen())?;
                self.parts
                    .store
                    .put_setting(&seen_key(&class), &text)
                    .await?;
            }
        }
        Ok(())
    }

    /// What the API lists: every version of every class.
    pub(crate) fn models(&self) -> Vec<ModelInfo> {
        let mut models = self.lock_list().models.clone();
        let at_work = self.snapshot();
        for model in &mut models {
            let Some(work) = at_work
                .iter()
                .find(|(class, _)| class.as_str() == model.class)
                .map(|(_, work)| work)
            else {
                continue;
            };
            let is =
                |named: &Option<Named>| named.as_ref().is_some_and(|n| n.sha256() == model.sha256);
            let seen = work.watch.seen();
            if is(&work.watch.live) {
                model.psi = seen.drift.as_ref().map(|d| d.drift.psi);
                model.precision = seen.precision.map(|p| p.mean);
            } else if is(&work.watch.shadow) {
                model.agreement = seen.trial.as_ref().and_then(super::watch::Trial::agreement);
            }
        }
        models
    }

    fn snapshot(&self) -> Vec<(ClassName, AtWork)> {
        let at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        at_work
            .iter()
            .map(|(class, work)| (class.clone(), work.clone()))
            .collect()
    }

    fn put(&self, class: &ClassName, work: AtWork) {
        let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        at_work.insert(class.clone(), work);
    }

    fn lock_list(&self) -> std::sync::MutexGuard<'_, Listed> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the pipeline work with the models that the library says.
    async fn follow(&self, control: &mpsc::Sender<Control>) -> Result<()> {
        for (class, mut work) in self.snapshot() {
            let roles = self.parts.library.roles(&class)?;
            let wanted = (roles.live.clone(), roles.shadow.clone());
            let version = |named: &Option<Named>| named.as_ref().map(|n| n.version.clone());
            let has = (version(&work.watch.live), version(&work.watch.shadow));
            // Without a history a file in the directory itself speaks.
            if roles.history.is_empty() || wanted == has || work.refused.as_ref() == Some(&wanted) {
                continue;
            }
            let models = match self.parts.named(&class, &roles) {
                Ok(models) => models,
                Err(error) => {
                    warn!(%class, error = format!("{error:#}"), "these models cannot be used: those before go on");
                    work.refused = Some(wanted);
                    self.put(&class, work);
                    continue;
                }
            };
            let watch = Arc::new(self.parts.watch(models, work.watch.seen()));
            let (reply, done) = oneshot::channel();
            let request = Control::Models(class.clone(), Arc::clone(&watch), reply);
            if control.send(request).await.is_err() {
                return Ok(());
            }
            match done.await {
                Ok(switched) => switched?,
                Err(_stopped) => return Ok(()),
            }
            let applied = Applied::get(self.parts.store.as_ref(), &class).await?;
            info!(
                %class,
                live = wanted.0.as_deref().unwrap_or("none"),
                shadow = wanted.1.as_deref().unwrap_or("none"),
                "the class's models have changed"
            );
            self.parts.gauges.roles(&class, Some(&work.watch), &watch);
            // What was seen of a trial that has ended goes at once.
            self.parts.gauges.seen(&class, &watch);
            self.put(
                &class,
                AtWork {
                    watch,
                    since: applied.map_or(work.since, |a| a.since),
                    refused: None,
                },
            );
        }
        Ok(())
    }

    /// Weighs verdicts and drift; demotes.
    pub(crate) async fn judge(&self, verdicts: &mut Verdicts) -> Result<()> {
        let labels = self.verdicts(verdicts).await?;
        for (class, work) in self.snapshot() {
            let Some(live) = &work.watch.live else {
                continue;
            };
            let mut precision = Precision::unknown();
            let mut n_verdicts = 0;
            for label in labels
                .iter()
                .filter(|l| verdicts.classes.get(&l.device) == Some(&class))
                .filter(|l| verdicts.by_model.get(&l.ticket) == Some(&true))
            {
                let right = match &label.verdict {
                    Verdict::Confirmed { .. } => Some(true),
                    Verdict::WrongMode { .. } | Verdict::NoFaultFound => Some(false),
                    Verdict::DataFault | Verdict::TooEarly | Verdict::Done => None,
                };
                if let Some(right) = right {
                    let at = label.detected_at;
                    work.watch
                        .judge(label.ticket, &label.device, &label.mode, at, right);
                }
                if label.detected_at >= work.since {
                    precision.observe(&label.verdict);
                    n_verdicts += 1;
                }
            }
            let (low, high) = precision.interval(INTERVAL);
            let seen = SeenPrecision {
                n_verdicts,
                mean: precision.mean(),
                low,
                high,
            };
            work.watch.set_precision((n_verdicts > 0).then_some(seen));
            let config = &self.parts.config;
            if config.precision_min > 0.0 && high < config.precision_min {
                let why = format!(
                    "95 % sure that fewer than {:.0} % of its tickets are right ({n_verdicts} verdicts); models.precision_min is {:.0} %",
                    100.0 * high,
                    100.0 * config.precision_min
                );
                self.demote(&class, live, "precision", why)?;
                continue;
            }
            let drift = work.watch.seen().drift;
            if let Some(seen) =
                drift.filter(|d| config.psi_max > 0.0 && d.drift.psi > config.psi_max)
            {
                let worst: Vec<&str> = seen
                    .drift
                    .worst
                    .iter()
                    .map(|(name, _)| name.as_str())
                    .collect();
                let why = format!(
                    "its inputs have moved away from the training: population stability index {:.2} over {} device hours up to {}, models.psi_max is {}; furthest: {}",
                    seen.drift.psi,
                    seen.drift.n_rows,
                    seen.to,
                    config.psi_max,
                    worst.join(", ")
                );
                self.demote(&class, live, "drift", why)?;
            }
        }
        Ok(())
    }

    /// The newest verdicts; what is needed to weigh them is known afterwards.
    async fn verdicts(&self, known: &mut Verdicts) -> Result<Vec<Label>> {
        let store = self.parts.store.as_ref();
        let page = PageRequest {
            before: None,
            limit: VERDICTS_MAX,
        };
        let labels = store.labels(page).await?;
        let newest = labels.first().map(|l| l.position);
        let labels: Vec<Label> = labels.into_iter().map(|l| l.item).collect();
        if newest != known.newest {
            known.newest = newest;
            let tickets: BTreeSet<TicketId> = labels.iter().map(|l| l.ticket).collect();
            known.by_model.retain(|ticket, _| tickets.contains(ticket));
            for ticket in tickets {
                if let Entry::Vacant(entry) = known.by_model.entry(ticket) {
                    let decision = store.ticket(ticket).await?.decision;
                    entry.insert(decision.is_some_and(|d| d.probability_source == "model"));
                }
            }
            known.classes = store
                .assets()
                .await?
                .into_iter()
                .map(|asset| (asset.device, asset.class))
                .collect();
        }
        Ok(labels)
    }

    fn demote(&self, class: &ClassName, live: &Named, reason: &str, why: String) -> Result<()> {
        let parts = &self.parts;
        let audit = Reason {
            at: SystemClock.now(),
            by: FORECARE.to_owned(),
            why: why.clone(),
        };
        let to = parts
            .library
            .demote(class, &live.version, &parts.catalogue, &audit)?;
        let Some(to) = to else { return Ok(()) };
        warn!(
            %class,
            version = live.version,
            to = to.as_deref().unwrap_or("none"),
            why,
            "model taken out of service"
        );
        parts
            .gauges
            .demotions
            .with_label_values(&[class.as_str(), reason])
            .inc();
        Ok(())
    }

    fn show(&self) {
        for (class, work) in self.snapshot() {
            self.parts.gauges.seen(&class, &work.watch);
        }
    }

    /// Renews the list where something has changed on disk.
    fn list(&self) {
        let library = &self.parts.library;
        let mut of = Vec::new();
        for class in &self.parts.catalogue.classes {
            let class = &class.name;
            let (Ok(roles), Ok(versions)) = (library.roles(class), library.versions(class)) else {
                continue;
            };
            self.parts.gauges.state(class, &roles);
            of.push((class.clone(), roles, versions));
        }
        if self.lock_list().of == of {
            return;
        }
        let mut models = Vec::new();
        for (class, roles, versions) in &of {
            for version in versions {
                let Ok(named) = library.version(class, version, &self.parts.catalogue) else {
                    continue;
                };
                models.push(info_of(class, &named, role_of(roles, version).label()));
            }
        }
        models.sort_by(|a, b| a.id.cmp(&b.id));
        *self.lock_list() = Listed { of, models };
    }
}

impl GuardParts {
    fn watch(&self, models: InRole, seen: Seen) -> Watch {
        let seconds = Some(self.gauges.shadow_seconds.clone());
        Watch::new(models, seen, self.config.psi_window_hours, seconds)
    }

    fn named(&self, class: &ClassName, roles: &Roles) -> Result<InRole> {
        let read = |version: &Option<String>| {
            version
                .as_deref()
                .map(|version| self.library.version(class, version, &self.catalogue))
                .transpose()
        };
        Ok(InRole {
            live: read(&roles.live)?,
            shadow: read(&roles.shadow)?,
        })
    }

    /// The version with that hash, as the live one.
    fn by_hash(&self, class: &ClassName, sha256: Option<&str>) -> InRole {
        let Some(sha256) = sha256 else {
            return InRole::default();
        };
        let versions = self.library.versions(class).unwrap_or_default();
        let live = versions
            .iter()
            .filter_map(|version| self.library.version(class, version, &self.catalogue).ok())
            .find(|named| named.sha256() == sha256);
        if live.is_none() {
            warn!(%class, sha256, "the model that scored the newest rows is gone: rows after the last checkpoint are scored again without it");
        }
        InRole { live, shadow: None }
    }
}

fn info_of(class: &ClassName, named: &Named, role: &str) -> ModelInfo {
    let card = named.model.card();
    ModelInfo {
        id: format!("{class}/{}", named.version),
        class: class.to_string(),
        version: named.version.clone(),
        role: role.to_owned(),
        sha256: card.sha256.clone(),
        data: card.data.clone(),
        trained_at: card.trained_at.to_string(),
        from: card.from.to_string(),
        to: card.to.to_string(),
        n_machines: card.n_machines,
        horizon_hours: card.horizon_hours,
        modes: named.model.spoken_of().map(ToString::to_string).collect(),
        psi: None,
        precision: None,
        agreement: None,
    }
}
