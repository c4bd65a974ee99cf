//! Two versions asked about the stored history: what each would have said, and what the verdicts say of that.

use std::collections::BTreeMap;

use anyhow::Result;
use forecare_domain::{DeviceId, Label, ModeName, Prognosis, Row, Timestamp, Verdict};
use forecare_prognosis::{FeatureState, HistoryItem, LifeState, Model};
use forecare_store::Store;

use super::learn::{Span, events_of, for_rows, item_of, rank, verdicts};
use super::watch::{MONTH_HOURS, Voice, average_precision};
use crate::pipeline::ClassContext;

/// A longer silence of a device is not counted as watched time, hours.
const GAP_HOURS_MAX: f64 = 24.0;

/// What two versions would have said.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Comparison {
    pub(crate) n_devices: usize,
    pub(crate) n_rows: u64,
    /// Rows for which both would act on the same failure modes.
    pub(crate) n_rows_agreed: u64,
    pub(crate) device_hours: f64,
    pub(crate) each: [Said; 2],
    /// Verdicts in the span that tell whether the predicted mode was there.
    pub(crate) n_confirmed: usize,
    pub(crate) n_refuted: usize,
}

/// What one version would have said.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Said {
    pub(crate) alarms: u64,
    /// Confirmed faults for which it would have raised, or held, an alarm in the horizon before the verdict.
    pub(crate) confirmed_seen: usize,
    /// Visits that found no such fault, for which it would have done so too.
    pub(crate) refuted_seen: usize,
    /// Highest probability in that time, and whether the fault was there.
    judged: Vec<(f64, bool)>,
}

impl Said {
    /// On the verdicts; `None` until there are right and wrong ones.
    pub(crate) fn average_precision(&self) -> Option<f64> {
        average_precision(&self.judged)
    }
}

impl Comparison {
    pub(crate) fn agreement(&self) -> f64 {
        self.n_rows_agreed as f64 / (self.n_rows as f64).max(1.0)
    }

    pub(crate) fn alarms_per_device_month(&self, which: usize) -> f64 {
        let months = self.device_hours / MONTH_HOURS;
        self.each[which].alarms as f64 / months.max(f64::MIN_POSITIVE)
    }
}

/// A visit and what is known of it: the fault was there, or not.
struct Visit {
    mode: ModeName,
    from: Timestamp,
    to: Timestamp,
    was_there: bool,
    /// Per version: highest probability in the span, and whether an alarm of it fell into it.
    said: [(f64, bool); 2],
}

/// Runs both models over the history of all devices of the class. `progress` hears the devices done.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn compare(
    store: &dyn Store,
    context: &ClassContext,
    models: [&Model; 2],
    span: Span,
    mut progress: impl FnMut(usize, usize),
) -> Result<Comparison> {
    let labels = verdicts(store).await?;
    let mut devices: Vec<DeviceId> = store
        .assets()
        .await?
        .into_iter()
        .filter(|asset| asset.class == context.class.name)
        .map(|asset| asset.device)
        .collect();
    devices.sort();
    let mut comparison = Comparison::default();
    for (nth, device) in devices.iter().enumerate() {
        progress(nth, devices.len());
        let mut events: Vec<HistoryItem> = events_of(store, device)
            .await?
            .into_iter()
            .filter_map(item_of)
            .collect();
        events.sort_by_key(|item| (item.ts(), rank(item)));
        let mut run = Run {
            context,
            models,
            features: FeatureState::new(context.class.metrics.len()),
            voices: [Voice::default(), Voice::default()],
            lives: [LifeState::new(), LifeState::new()],
            repairs: repairs(labels.iter().filter(|l| l.device == *device)),
            last: None,
            visits: labels
                .iter()
                .filter(|l| l.device == *device && span.holds(l.detected_at))
                .flat_map(|label| visits(context.class.horizon_hours, label))
                .collect(),
        };
        let n_before = comparison.n_rows;
        let mut events = events.into_iter().peekable();
        for_rows(store, device, span, |row| {
            // Replacements of the reading's own instant come after it.
            while let Some(event) =
                events.next_if(|e| e.ts() < row.ts || (e.ts() == row.ts && rank(e) == 0))
            {
                run.event(&event);
            }
            run.row(&row, &mut comparison);
        })
        .await?;
        comparison.n_devices += usize::from(comparison.n_rows > n_before);
        run.settle(&mut comparison);
    }
    Ok(comparison)
}

/// What a verdict says a model should have said.
fn visits(horizon_hours: f64, label: &Label) -> Vec<Visit> {
    let visit = |mode: &ModeName, was_there: bool| Visit {
        mode: mode.clone(),
        from: label.detected_at.plus_hours(-horizon_hours),
        to: label.at.max(label.detected_at),
        was_there,
        said: [(0.0, false); 2],
    };
    match &label.verdict {
        Verdict::Confirmed { .. } => vec![visit(&label.mode, true)],
        Verdict::WrongMode { actual } => vec![visit(&label.mode, false), visit(actual, true)],
        Verdict::NoFaultFound => vec![visit(&label.mode, false)],
        Verdict::TooEarly | Verdict::DataFault | Verdict::Done => Vec::new(),
    }
}

/// When technicians confirmed a fault and so mended it, latest first.
fn repairs<'a>(labels: impl Iterator<Item = &'a Label>) -> Vec<Timestamp> {
    let mut at: Vec<Timestamp> = labels
        .filter_map(|label| match &label.verdict {
            Verdict::Confirmed { .. } | Verdict::WrongMode { .. } => Some(label.at),
            Verdict::NoFaultFound | Verdict::TooEarly | Verdict::DataFault | Verdict::Done => None,
        })
        .collect();
    at.sort_by(|a, b| b.cmp(a));
    at
}

/// One device's way through its history.
struct Run<'a> {
    context: &'a ClassContext,
    models: [&'a Model; 2],
    features: FeatureState,
    voices: [Voice; 2],
    /// What each remembers of the machine's life.
    lives: [LifeState; 2],
    /// When a fault was confirmed, latest first: a new life begins.
    repairs: Vec<Timestamp>,
    last: Option<Timestamp>,
    visits: Vec<Visit>,
}

impl Run<'_> {
    fn event(&mut self, item: &HistoryItem) {
        match item {
            HistoryItem::Event { ts, code } => self.features.event(*ts, code),
            HistoryItem::Replaced { ts, component } => {
                self.features.replaced(*ts, component);
                self.lives = [LifeState::new(), LifeState::new()];
                let modes = self.context.modes_of(component);
                for voice in &mut self.voices {
                    voice.repaired(*ts, &modes);
                }
            }
            HistoryItem::Reading { .. }
            | HistoryItem::Failure { .. }
            | HistoryItem::Inspected { .. } => {}
        }
    }

    fn row(&mut self, row: &Row, comparison: &mut Comparison) {
        let values = self.context.class.without_counters(&row.values);
        self.features.push(row.ts, &values);
        while self.repairs.pop_if(|at| *at <= row.ts).is_some() {
            self.lives = [LifeState::new(), LifeState::new()];
        }
        let mut said = self.models.map(|m| m.predict(&self.features, row.ts));
        for ((model, life), prognoses) in self.models.iter().zip(&mut self.lives).zip(&mut said) {
            if let Some(learnt) = model.life() {
                let rul = learnt.step(&model.card().sha256, life, row.ts, &values);
                prognoses.extend(model.predict_from_life(life, &rul));
            }
        }
        let act = |prognoses: &[Prognosis]| -> BTreeMap<ModeName, ()> {
            prognoses
                .iter()
                .filter(|p| p.probability > self.context.act_above(&p.mode))
                .map(|p| (p.mode.clone(), ()))
                .collect()
        };
        comparison.n_rows += 1;
        comparison.n_rows_agreed += u64::from(act(&said[0]) == act(&said[1]));
        let gap = self.last.map_or(0.0, |last| row.ts.hours_since(last));
        if gap <= GAP_HOURS_MAX {
            comparison.device_hours += gap;
        }
        self.last = Some(row.ts);
        for (which, prognoses) in said.iter().enumerate() {
            let raised = self.voices[which].hear(self.context, row, prognoses, false);
            comparison.each[which].alarms += raised.len() as u64;
            for visit in self
                .visits
                .iter_mut()
                .filter(|v| v.from <= row.ts && row.ts <= v.to)
            {
                let (highest, alarmed) = &mut visit.said[which];
                *alarmed |= self.voices[which].speaks_of(&visit.mode);
                for prognosis in prognoses.iter().filter(|p| p.mode == visit.mode) {
                    *highest = highest.max(prognosis.probability);
                }
            }
        }
    }

    fn settle(self, comparison: &mut Comparison) {
        for visit in self.visits {
            if visit.was_there {
                comparison.n_confirmed += 1;
            } else {
                comparison.n_refuted += 1;
            }
            for (said, (highest, alarmed)) in comparison.each.iter_mut().zip(visit.said) {
                said.judged.push((highest, visit.was_there));
                if visit.was_there {
                    said.confirmed_seen += usize::from(alarmed);
                } else {
                    said.refuted_seen += usize::from(alarmed);
                }
            }
        }
    }
}
