//! One device in a course of things: its monitor scores a piece of history ahead, and again from the piece's begin
//! where a technician's verdict comes in between.

use std::sync::Arc;

use forecare_domain::{
    AlarmChange, CareTask, DeviceEvent, ModeName, REPLACED_CODE, Row, Timestamp,
};
use forecare_store::MaintenanceWindow;

use crate::pipeline::{ClassContext, Monitor, Outcome};

/// What a device led to at an instant.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) at: Timestamp,
    pub(crate) tasks: Vec<CareTask>,
    pub(crate) n_raised: usize,
}

/// A device's course.
pub(crate) struct DeviceCourse {
    context: Arc<ClassContext>,
    /// At the begin of the piece; `None`: as at its end, nothing was scored.
    begin: Option<Monitor>,
    begin_event: usize,
    /// At its end.
    end: Monitor,
    end_event: usize,
    /// Verdicts of this piece.
    verdicts: Vec<(Timestamp, Vec<ModeName>)>,
    /// What it led to, by time; `n_heard` of it were taken.
    told: Vec<Told>,
    n_heard: usize,
    /// Newest row before this piece.
    heard_before: Option<Timestamp>,
    heard_last: Option<Timestamp>,
}

/// What a device's course is scored from.
#[derive(Clone, Copy)]
pub(crate) struct Played<'a> {
    /// The piece's rows.
    pub(crate) rows: &'a [Row],
    /// The piece's last instant.
    pub(crate) end: Timestamp,
    /// All events that detectors may see.
    pub(crate) events: &'a [DeviceEvent],
    pub(crate) windows: &'a [MaintenanceWindow],
    /// Nothing that comes of earlier instants is told: the detectors only learn.
    pub(crate) told_from: Timestamp,
}

impl DeviceCourse {
    pub(crate) fn new(context: Arc<ClassContext>) -> Self {
        let monitor = Monitor::new(&context);
        Self {
            context,
            begin: None,
            begin_event: 0,
            end: monitor,
            end_event: 0,
            verdicts: Vec::new(),
            told: Vec::new(),
            n_heard: 0,
            heard_before: None,
            heard_last: None,
        }
    }

    /// Begins the next piece and scores it.
    pub(crate) fn play(&mut self, played: Played<'_>) {
        let next_event = played.events.get(self.end_event);
        let is_still = played.rows.is_empty() && next_event.is_none_or(|e| e.ts > played.end);
        self.begin = (!is_still).then(|| {
            self.end.checkpointed();
            self.end.clone()
        });
        self.begin_event = self.end_event;
        self.verdicts.clear();
        self.told.clear();
        self.n_heard = 0;
        self.heard_before = self.heard_last;
        self.score(played);
        self.heard_last = played.rows.last().map(|r| r.ts).or(self.heard_before);
    }

    /// A verdict at `at`, an instant of this piece up to which everything was heard: what comes later is scored
    /// anew.
    pub(crate) fn verdict(&mut self, at: Timestamp, modes: Vec<ModeName>, played: Played<'_>) {
        self.verdicts.push((at, modes));
        match &self.begin {
            Some(begin) => self.end = begin.clone(),
            None => self.begin = Some(self.end.clone()),
        }
        self.end_event = self.begin_event;
        self.told.clear();
        self.score(played);
    }

    /// When it next has something to tell.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        self.told.get(self.n_heard).map(|told| told.at)
    }

    /// Takes the next thing it tells.
    pub(crate) fn hear(&mut self) -> Option<Told> {
        let told = self.told.get(self.n_heard).cloned()?;
        self.n_heard += 1;
        Some(told)
    }

    /// Time of its newest row at `at`, an instant of this piece.
    pub(crate) fn heard_at(&self, at: Timestamp, rows: &[Row]) -> Option<Timestamp> {
        let n = rows.partition_point(|row| row.ts <= at);
        n.checked_sub(1)
            .map(|place| rows[place].ts)
            .or(self.heard_before)
    }

    /// From the begin of the piece to its end. At one instant: events, the row, replacements, verdicts.
    fn score(&mut self, played: Played<'_>) {
        let events = &played.events[self.end_event..];
        let n_events = events.partition_point(|e| e.ts <= played.end);
        let events = &events[..n_events];
        self.end_event += n_events;
        let mut rows = played.rows.iter().peekable();
        let mut events = events.iter().peekable();
        let verdicts = std::mem::take(&mut self.verdicts);
        let mut given = verdicts.iter().peekable();
        loop {
            let row = rows.peek().map(|r| (r.ts, 1));
            let event = events.peek().map(|e| (e.ts, rank(e)));
            let verdict = given.peek().map(|(at, _)| (*at, 3));
            let Some(next) = [row, event, verdict].into_iter().flatten().min() else {
                break;
            };
            let outcome = if event == Some(next) {
                events
                    .next()
                    .map(|e| (e.ts, self.end.event(&self.context, e, e.ts)))
            } else if row == Some(next) {
                rows.next().map(|row| {
                    let suppressed = covered(played.windows, row.ts);
                    let (_, outcome) = self.end.row(&self.context, row, row.ts, suppressed);
                    (row.ts, outcome)
                })
            } else {
                given
                    .next()
                    .map(|(at, modes)| (*at, self.end.repaired(&self.context, modes, *at, *at)))
            };
            if let Some((at, outcome)) = outcome
                && at >= played.told_from
            {
                self.told.extend(told(at, outcome));
            }
        }
        self.verdicts = verdicts;
    }
}

fn rank(event: &DeviceEvent) -> u8 {
    if event.code == REPLACED_CODE { 2 } else { 0 }
}

fn covered(windows: &[MaintenanceWindow], at: Timestamp) -> bool {
    windows.iter().any(|w| w.from <= at && at < w.to)
}

fn told(at: Timestamp, outcome: Outcome) -> Option<Told> {
    let n_raised = outcome
        .alarms
        .iter()
        .filter(|change| matches!(change, AlarmChange::Raised(_)))
        .count();
    let tasks = outcome.tasks;
    (n_raised > 0 || !tasks.is_empty()).then_some(Told {
        at,
        tasks,
        n_raised,
    })
}
