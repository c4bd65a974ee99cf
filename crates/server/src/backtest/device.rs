//! One device in a course of things: its monitor scores a piece of history ahead, and the next one while that is heard;
//! and again from the piece's begin where a technician's verdict comes in between.

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

/// How far a device was scored.
#[derive(Clone)]
struct Reached {
    monitor: Monitor,
    /// Events it has taken.
    n_events: usize,
}

/// A device's course.
pub(crate) struct DeviceCourse {
    context: Arc<ClassContext>,
    /// At the begin of the piece; `None`: as at its end, nothing was scored.
    begin: Option<Box<Reached>>,
    /// At its end.
    end: Box<Reached>,
    /// Verdicts of this piece.
    verdicts: Vec<(Timestamp, Vec<ModeName>)>,
    /// What it led to, by time; `n_heard` of it were taken.
    told: Vec<Told>,
    n_heard: usize,
    /// Newest row before this piece.
    heard_before: Option<Timestamp>,
    heard_last: Option<Timestamp>,
}

/// The next piece of a device's course, scored while this one is heard. A verdict in this one undoes it.
pub(crate) struct Ahead {
    context: Arc<ClassContext>,
    /// At its end; `None`: nothing happens in it.
    end: Option<Box<Reached>>,
    told: Vec<Told>,
}

impl Ahead {
    /// Scores the piece.
    pub(crate) fn play(&mut self, played: Played<'_>) {
        if let Some(end) = &mut self.end {
            self.told = end.score(&self.context, &[], played);
        }
    }
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
            end: Box::new(Reached {
                monitor,
                n_events: 0,
            }),
            verdicts: Vec::new(),
            told: Vec::new(),
            n_heard: 0,
            heard_before: None,
            heard_last: None,
        }
    }

    /// Begins the next piece: as it was scored `ahead`, unless a verdict has come since.
    pub(crate) fn play(&mut self, ahead: Option<Ahead>, played: Played<'_>) {
        let ahead = ahead.filter(|_| self.verdicts.is_empty());
        self.verdicts.clear();
        self.n_heard = 0;
        self.heard_before = self.heard_last;
        self.heard_last = played.rows.last().map(|r| r.ts).or(self.heard_before);
        let (end, told) = match ahead {
            Some(Ahead { end, told, .. }) => (end, told),
            None => match self.start(played) {
                Some(mut end) => {
                    let told = end.score(&self.context, &[], played);
                    (Some(end), told)
                }
                None => (None, Vec::new()),
            },
        };
        self.begin = end.map(|end| std::mem::replace(&mut self.end, end));
        self.told = told;
    }

    /// What the next piece is scored ahead from.
    pub(crate) fn ahead(&mut self, next: Played<'_>) -> Ahead {
        Ahead {
            context: Arc::clone(&self.context),
            end: self.start(next),
            told: Vec::new(),
        }
    }

    /// Where the scoring of a piece starts; `None`: nothing happens in it.
    fn start(&mut self, played: Played<'_>) -> Option<Box<Reached>> {
        let next_event = played.events.get(self.end.n_events);
        let is_still = played.rows.is_empty() && next_event.is_none_or(|e| e.ts > played.end);
        (!is_still).then(|| {
            self.end.monitor.checkpointed();
            self.end.clone()
        })
    }

    /// A verdict at `at`, an instant of this piece up to which everything was heard: what comes later is scored
    /// anew.
    pub(crate) fn verdict(&mut self, at: Timestamp, modes: Vec<ModeName>, played: Played<'_>) {
        self.verdicts.push((at, modes));
        match &self.begin {
            Some(begin) => self.end = begin.clone(),
            None => self.begin = Some(self.end.clone()),
        }
        self.told = self.end.score(&self.context, &self.verdicts, played);
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
}

impl Reached {
    /// From the begin of the piece to its end; what it leads to. At one instant: events, the row, replacements,
    /// verdicts.
    fn score(
        &mut self,
        context: &ClassContext,
        verdicts: &[(Timestamp, Vec<ModeName>)],
        played: Played<'_>,
    ) -> Vec<Told> {
        let mut all_told = Vec::new();
        let events = &played.events[self.n_events..];
        let n_events = events.partition_point(|e| e.ts <= played.end);
        self.n_events += n_events;
        let mut rows = played.rows.iter().peekable();
        let mut events = events[..n_events].iter().peekable();
        let mut verdicts = verdicts.iter().peekable();
        let monitor = &mut self.monitor;
        loop {
            let row = rows.peek().map(|r| (r.ts, 1));
            let event = events.peek().map(|e| (e.ts, rank(e)));
            let verdict = verdicts.peek().map(|(at, _)| (*at, 3));
            let Some(next) = [row, event, verdict].into_iter().flatten().min() else {
                return all_told;
            };
            let outcome = if event == Some(next) {
                events
                    .next()
                    .map(|e| (e.ts, monitor.event(context, e, e.ts)))
            } else if row == Some(next) {
                rows.next().map(|row| {
                    let suppressed = covered(played.windows, row.ts);
                    let (_, outcome) = monitor.row(context, row, row.ts, suppressed);
                    (row.ts, outcome)
                })
            } else {
                verdicts
                    .next()
                    .map(|(at, modes)| (*at, monitor.repaired(context, modes, *at, *at)))
            };
            if let Some((at, outcome)) = outcome
                && at >= played.told_from
            {
                all_told.extend(told(at, outcome));
            }
        }
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
