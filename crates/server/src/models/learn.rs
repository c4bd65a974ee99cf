//! From what the instance has stored to histories that a model can be learnt from: readings, events and replacements as
//! they are, and technicians' verdicts as labels.
//!
//! | verdict | what training makes of it |
//! |---|---|
//! | confirmed | the mode failed at the alarm's time, and the fault stayed until the verdict |
//! | wrong mode | explicitly sound for the predicted mode, and a failure of the mode that was found |
//! | no fault found | explicitly sound, from one horizon before the alarm to the verdict, whatever was replaced |
//! | too early | no rows of that mode in that span: nobody knows when it would have failed |
//! | data fault | no rows at all in that span: the readings were wrong |
//! | none yet (open ticket) | no rows of that mode from one horizon before the alarm on |
//!
//! A failure that is on record elsewhere counts as a confirmed verdict of its time, unless a verdict tells of it already.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use forecare_catalogue::AssetClass;
use forecare_domain::{
    AssetId, DeviceEvent, DeviceId, Label, ModeName, REPLACED_CODE, Ticket, Timestamp, Verdict,
};
use forecare_prognosis::{
    Finding, History, HistoryItem, LifeParams, Model, constant_rmse_hours, interval_gain,
    learn_life, machines_with_lives,
};
use forecare_store::{Store, StoreError, TicketFilter, every};

use crate::failures::{Failure, SAME_FAILURE_H};

/// Rows read at once.
const PAGE: usize = 1_000;
/// Most readings (rows of all metrics) that are held in memory to learn from: about a gigabyte.
const READINGS_MAX: usize = 5_000_000;
/// Most rows of features to learn from; beyond it rows are taken at greater distances.
const FEATURE_ROWS_MAX: f64 = 300_000.0;

/// Which part of the history.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) from: Timestamp,
    /// Exclusive.
    pub(crate) to: Timestamp,
}

impl Span {
    /// From the first reading to the last, where nothing else is said.
    ///
    /// # Errors
    /// It ends before it begins.
    pub(crate) fn new(from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Self> {
        let span = Self {
            from: from.unwrap_or(Timestamp::MIN),
            to: to.unwrap_or(Timestamp::MAX),
        };
        if span.from >= span.to {
            bail!("--from must be before --to");
        }
        Ok(span)
    }

    pub(crate) fn holds(&self, ts: Timestamp) -> bool {
        self.from <= ts && ts < self.to
    }
}

/// What there is to learn from.
pub(crate) struct Stored {
    pub(crate) histories: Vec<History>,
    /// In words, for the card.
    pub(crate) data: String,
    /// The newest reading: the time of the training, so that the same store gives the same file.
    pub(crate) newest: Timestamp,
    /// Distance of two rows of a machine, hours.
    pub(crate) row_distance_hours: f64,
    /// Machines left out, as their customers do not have models learnt from them.
    pub(crate) n_refused: usize,
}

/// Reads the histories of all machines of a class but those in `refused`; `failures` are on record elsewhere, of any device.
/// `progress` hears the machines read so far.
///
/// # Errors
/// The store cannot be read; there are no readings, or more than fit into memory.
pub(crate) async fn stored(
    store: &dyn Store,
    class: &AssetClass,
    span: Span,
    refused: &BTreeSet<AssetId>,
    failures: &[Failure],
    mut progress: impl FnMut(usize, usize),
) -> Result<Stored> {
    let labels = verdicts(store).await?;
    let open = TicketFilter {
        open: Some(true),
        ..TicketFilter::default()
    };
    let open: Vec<Ticket> = every(|page| store.tickets(&open, page)).await?;
    let mut assets = store.assets().await?;
    assets.retain(|asset| asset.class == class.name);
    let n_assets = assets.len();
    assets.retain(|asset| !refused.contains(&asset.id));
    let n_refused = n_assets - assets.len();
    let mut devices: Vec<DeviceId> = assets.into_iter().map(|asset| asset.device).collect();
    devices.sort();
    let mut histories = Vec::with_capacity(devices.len());
    let mut n_readings = 0;
    let mut newest: Option<Timestamp> = None;
    let mut machine_hours = 0.0;
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut n_on_record = 0;
    for (nth, device) in devices.iter().enumerate() {
        progress(nth, devices.len());
        let mut items = Vec::new();
        for_rows(store, device, span, |row| {
            newest = newest.max(Some(row.ts));
            items.push(HistoryItem::Reading {
                ts: row.ts,
                values: class.without_counters(&row.values).into_owned(),
            });
        })
        .await?;
        if items.is_empty() {
            continue;
        }
        n_readings += items.len();
        if n_readings > READINGS_MAX {
            bail!(
                "class {} has more than {READINGS_MAX} readings stored in this time: take less with --from and --to",
                class.name
            );
        }
        if let (Some(first), Some(last)) = (items.first(), items.last()) {
            machine_hours += last.ts().hours_since(first.ts());
        }
        items.extend(
            events_of(store, device)
                .await?
                .into_iter()
                .filter(|event| span.holds(event.ts))
                .filter_map(item_of),
        );
        for label in labels
            .iter()
            .filter(|l| l.device == *device && span.holds(l.detected_at))
        {
            *counts.entry(label.verdict.label()).or_default() += 1;
            items.extend(findings(class, label));
        }
        let told = items.iter().filter_map(told_failure).collect();
        let on_record = failures
            .iter()
            .filter(|f| f.device == *device && span.holds(f.at));
        let on_record = not_told(on_record, told);
        n_on_record += on_record.len();
        items.extend(on_record.into_iter().map(|f| HistoryItem::Failure {
            ts: f.at,
            mode: f.mode.clone(),
        }));
        for ticket in open
            .iter()
            .filter(|t| t.device == *device && t.verdict.is_none() && span.holds(t.detected_at))
            .filter(|t| t.is_predicted())
        {
            items.push(HistoryItem::Inspected {
                from: ticket.detected_at.plus_hours(-class.horizon_hours),
                ts: span.to,
                mode: ticket.mode.clone(),
                finding: Finding::Unusable,
            });
        }
        items.sort_by_key(|item| (item.ts(), rank(item)));
        histories.push(History {
            device: device.to_string(),
            items,
        });
    }
    let Some(newest) = newest else {
        bail!(
            "no readings of class {} are stored in this time{}: nothing to learn from",
            class.name,
            left_out(n_refused)
        );
    };
    let counts: Vec<String> = counts
        .iter()
        .map(|(verdict, n)| format!("{n} {}", verdict.replace('_', " ")))
        .collect();
    let data = format!(
        "stored history of {} machines{}, {n_readings} readings; verdicts: {}{}",
        histories.len(),
        left_out(n_refused),
        if counts.is_empty() {
            "none".to_owned()
        } else {
            counts.join(", ")
        },
        match n_on_record {
            0 => String::new(),
            n => format!("; {n} failures from a file"),
        }
    );
    Ok(Stored {
        histories,
        data,
        newest,
        row_distance_hours: (machine_hours / FEATURE_ROWS_MAX).ceil().max(1.0),
        n_refused,
    })
}

/// Mode, begin and end of a failure that a verdict has told of.
type Told = (ModeName, Timestamp, Timestamp);

fn told_failure(item: &HistoryItem) -> Option<Told> {
    let HistoryItem::Inspected {
        from,
        ts,
        mode: Some(mode),
        finding: Finding::Faulty,
    } = item
    else {
        return None;
    };
    Some((mode.clone(), *from, *ts))
}

/// The failures that neither a verdict nor an earlier line has told.
fn not_told<'a>(
    failures: impl Iterator<Item = &'a Failure>,
    mut told: Vec<Told>,
) -> Vec<&'a Failure> {
    let mut failures: Vec<&Failure> = failures.collect();
    failures.sort_by(|a, b| (a.at, &a.mode).cmp(&(b.at, &b.mode)));
    failures.retain(|failure| {
        let same = |(mode, from, to): &Told| {
            *mode == failure.mode
                && from.plus_hours(-SAME_FAILURE_H) <= failure.at
                && failure.at <= to.plus_hours(SAME_FAILURE_H)
        };
        let is_new = !told.iter().any(same);
        if is_new {
            told.push((failure.mode.clone(), failure.at, failure.at));
        }
        is_new
    });
    failures
}

/// A life model is learnt where the lives of at least so many machines are told to a failure: from nine on an interval
/// of p10 to p90 is narrower than everything that was seen, and every fold of the cross-validation holds two.
pub(crate) const LIFE_MACHINES_MIN: usize = 10;

/// Adds remaining life to a model where the histories tell enough lives to a failure, and where estimate and interval tell
/// more, on machines left out of the training, than always the same remaining life and always the same interval would. Says
/// in words what came of it; the model is never lost.
pub(crate) fn add_life(
    model: Model,
    class: &AssetClass,
    histories: &[History],
    progress: &mut dyn FnMut(f64),
) -> (Model, String) {
    let n = machines_with_lives(histories);
    if n < LIFE_MACHINES_MIN {
        let why = format!(
            "remaining life is not learnt: {n} machine(s) were followed from a beginning to a confirmed failure, it takes {LIFE_MACHINES_MIN}; the trend of health stands for it"
        );
        return (model, why);
    }
    let params = LifeParams::default();
    let (life, held) = match learn_life(class, histories, &params, progress) {
        Ok(learnt) => learnt,
        Err(error) => {
            let why =
                format!("remaining life is not learnt: {error}; the trend of health stands for it");
            return (model, why);
        }
    };
    let rmse = life.scores().map_or(f64::INFINITY, |s| s.rmse_hours);
    let constant = constant_rmse_hours(&held, life.cap_hours());
    // An error that is no number is none that is smaller.
    let learns = rmse < constant;
    if !learns {
        let why = format!(
            "remaining life is not learnt: on machines left out it misses by {rmse:.0} h (RMSE), always the same answer by {constant:.0} h; the trend of health stands for it"
        );
        return (model, why);
    }
    let gain = interval_gain(&held, life.cap_hours());
    // As above.
    let tells = gain > 0.0;
    if !tells {
        let width = life.scores().map_or(0.0, |s| s.interval_hours);
        let why = format!(
            "remaining life is not learnt: on machines left out p10 to p90 is {width:.0} h wide and no nearer to the truth than always the same interval (pinball loss {:+.0} %); the trend of health stands for it",
            -100.0 * gain
        );
        return (model, why);
    }
    let said = format!(
        "remaining life is learnt from {n} machines: it misses by {rmse:.0} h (RMSE), always the same answer by {constant:.0} h; its interval saves {:.0} % of the loss of always the same one",
        100.0 * gain
    );
    (model.with_life(life), said)
}

/// That a model speaks of something: of a failure mode, or of remaining life. `of_life` is what [`add_life`] said.
///
/// # Errors
/// It does not; the text says what was learnt and what is missing.
pub(crate) fn must_speak(model: &Model, of_life: &str) -> Result<()> {
    if model.modes().next().is_some() || model.life().is_some() {
        return Ok(());
    }
    let card = model.card();
    let mut said: Vec<String> = card.modes_refused.iter().map(ToString::to_string).collect();
    if !card.modes_left_out.is_empty() {
        let never = card.modes_left_out.join(", ");
        said.push(format!("{never}: too few failures to learn from"));
    }
    said.push(of_life.to_owned());
    bail!(
        "nothing was learnt that is better than chance, and no model is stored. From {}:\n  {}\nwhat is missing are failures that readings announce: more verdicts, `--failures FILE` with those on record, or a longer history",
        card.data,
        said.join("\n  ")
    );
}

/// What is said of machines left out; empty: none.
fn left_out(n_refused: usize) -> String {
    match n_refused {
        0 => String::new(),
        n => format!(" ({n} more left out, their customers do not agree to training)"),
    }
}

/// All verdicts, newest first.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn verdicts(store: &dyn Store) -> Result<Vec<Label>, StoreError> {
    every(|page| store.labels(page)).await
}

/// All events of a device, newest first.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn events_of(
    store: &dyn Store,
    device: &DeviceId,
) -> Result<Vec<DeviceEvent>, StoreError> {
    every(|page| store.events(Some(device), page)).await
}

/// Hands over a device's rows in order.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn for_rows(
    store: &dyn Store,
    device: &DeviceId,
    span: Span,
    mut take: impl FnMut(forecare_domain::Row),
) -> Result<(), StoreError> {
    let mut after = (span.from > Timestamp::MIN)
        .then(|| Timestamp::from_millis(span.from.as_millis().saturating_sub(1)));
    loop {
        let rows = store.rows_after(device, after, PAGE).await?;
        let full = rows.len() == PAGE;
        for row in rows {
            if row.ts >= span.to {
                return Ok(());
            }
            after = Some(row.ts);
            take(row);
        }
        if !full {
            return Ok(());
        }
    }
}

/// An event as an item of a history; one of which a model sees nothing is left out.
pub(crate) fn item_of(event: DeviceEvent) -> Option<HistoryItem> {
    if event.code == REPLACED_CODE {
        let component = event.component?;
        return Some(HistoryItem::Replaced {
            ts: event.ts,
            component,
        });
    }
    Some(HistoryItem::Event {
        ts: event.ts,
        code: event.code,
    })
}

/// At one instant: events, reading, replacements, failures, findings.
pub(crate) fn rank(item: &HistoryItem) -> u8 {
    match item {
        HistoryItem::Event { .. } => 0,
        HistoryItem::Reading { .. } => 1,
        HistoryItem::Replaced { .. } => 2,
        HistoryItem::Failure { .. } => 3,
        HistoryItem::Inspected { .. } => 4,
    }
}

/// What a verdict says of the rows around it.
fn findings(class: &AssetClass, label: &Label) -> Vec<HistoryItem> {
    let before = label.detected_at.plus_hours(-class.horizon_hours);
    let span =
        |from: Timestamp, mode: Option<&ModeName>, finding: Finding| HistoryItem::Inspected {
            from,
            ts: label.at.max(label.detected_at),
            mode: mode.cloned(),
            finding,
        };
    let there = |mode: &ModeName| {
        vec![
            HistoryItem::Failure {
                ts: label.detected_at,
                mode: mode.clone(),
            },
            span(label.detected_at, Some(mode), Finding::Faulty),
        ]
    };
    match &label.verdict {
        Verdict::Confirmed { .. } => there(&label.mode),
        Verdict::WrongMode { actual } => {
            let mut items = there(actual);
            items.push(span(before, Some(&label.mode), Finding::Sound));
            items
        }
        Verdict::NoFaultFound => vec![span(before, Some(&label.mode), Finding::Sound)],
        Verdict::TooEarly | Verdict::Done => {
            vec![span(before, Some(&label.mode), Finding::Unusable)]
        }
        Verdict::DataFault => vec![span(before, None, Finding::Unusable)],
    }
}
