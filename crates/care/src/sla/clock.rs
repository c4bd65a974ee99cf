//! The two clocks of a ticket, and what falls due on them.
//!
//! A clock counts the contract's working time while it is neither paused nor stopped. What it has counted
//! stays when priority or contract change; only target, calendar and what is still to be said change. So the
//! share used may leap, and what it leaps over falls due at that instant.

use forecare_domain::{Priority, Sla, SlaClock, SlaKey, SlaKind, SlaPoint, TicketState, Timestamp};

use super::SlaTerms;
use super::terms::share_ms;

/// The shares of a target at which it is said that they are used, percent.
pub const SLA_MARKS: [u16; 3] = [50, 75, 100];

/// Something fell due on a clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlaSignal {
    /// What, once per ticket.
    pub key: SlaKey,
    /// When it fell due; may lie before the instant at which it is noticed.
    pub at: Timestamp,
    /// Who is to be told: people or roles; nobody in particular for a mark.
    pub to: Vec<String>,
}

/// What happens to a ticket, as far as its clocks care.
#[derive(Debug, Clone, Copy)]
pub enum SlaEvent<'a> {
    /// It has another priority.
    Priority(Priority),
    /// Other terms apply.
    Terms(&'a SlaTerms),
    /// It is in another state.
    State {
        /// The state.
        to: TicketState,
        /// True: a person did that. The first such step out of `new` is the response.
        by_person: bool,
    },
}

/// How a clock stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlaState {
    /// It runs, and the target is not reached.
    Running,
    /// It waits.
    Paused,
    /// It was stopped before the target.
    Met,
    /// The target was reached first, whether it still runs or not.
    Breached,
    /// The ticket was cancelled before the target.
    Void,
}

impl SlaState {
    /// The name in JSON.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Met => "met",
            Self::Breached => "breached",
            Self::Void => "void",
        }
    }
}

/// A clock as seen at an instant.
#[derive(Debug, Clone, PartialEq)]
pub struct SlaReading {
    /// Which clock.
    pub kind: SlaKind,
    /// How it stands.
    pub state: SlaState,
    /// The target, hours of working time.
    pub target_hours: f64,
    /// How much is used, hours of working time.
    pub elapsed_hours: f64,
    /// Share of the target used; above 1 it is late.
    pub fraction: f64,
    /// When the target is or was reached if it just runs on.
    pub due_at: Option<Timestamp>,
    /// When it was stopped.
    pub stopped_at: Option<Timestamp>,
}

/// The clocks of a ticket opened at `at`.
#[must_use]
pub fn sla_started(terms: &SlaTerms, priority: Priority, at: Timestamp) -> Sla {
    let clock = |kind| SlaClock {
        target_ms: terms.target_ms(kind, priority),
        elapsed_ms: 0,
        paused: false,
        stopped_at: None,
        due_at: None,
    };
    let mut sla = Sla {
        terms: terms.name().to_owned(),
        priority,
        counted_to: at,
        hold: None,
        first_response: clock(SlaKind::FirstResponse),
        resolution: clock(SlaKind::Resolution),
        void: false,
        said: Vec::new(),
    };
    foresee(&mut sla, terms);
    sla
}

/// Counts the clocks up to `to`, and returns what fell due by then and was not said before, in order. `terms`
/// are those in force up to `to`. An instant before [`Sla::counted_to`] counts nothing.
pub fn sla_advance(sla: &mut Sla, terms: &SlaTerms, to: Timestamp) -> Vec<SlaSignal> {
    let from = sla.counted_to;
    let to = to.max(from);
    let calendar = terms.calendar(sla.priority);
    let mut signals = Vec::new();
    let mut worked_ms = None;
    for kind in SlaKind::ALL {
        if !runs(sla.clock(kind)) {
            continue;
        }
        let worked_ms = *worked_ms.get_or_insert_with(|| calendar.open_ms(from, to));
        let elapsed_ms = sla.clock(kind).elapsed_ms;
        for point in points(sla, terms, kind) {
            if elapsed_ms.saturating_add(worked_ms) < point.threshold_ms {
                continue;
            }
            let at = calendar.after_open_ms(from, point.threshold_ms - elapsed_ms);
            signals.push(SlaSignal {
                key: point.key,
                at: at.unwrap_or(to),
                to: point.to.to_vec(),
            });
        }
        sla.clock_mut(kind).elapsed_ms = elapsed_ms.saturating_add(worked_ms);
    }
    sla.counted_to = to;
    signals.sort_by_key(|signal| (signal.at, signal.key));
    sla.said.extend(signals.iter().map(|signal| signal.key));
    signals
}

/// Counts up to `at` under `terms`, then lets `event` happen. Returns what fell due up to and by it.
pub fn sla_event(
    sla: &mut Sla,
    terms: &SlaTerms,
    event: SlaEvent<'_>,
    at: Timestamp,
) -> Vec<SlaSignal> {
    let mut signals = sla_advance(sla, terms, at);
    let at = sla.counted_to;
    let terms = match event {
        SlaEvent::Terms(new) => new,
        SlaEvent::Priority(_) | SlaEvent::State { .. } => terms,
    };
    match event {
        SlaEvent::Priority(priority) => sla.priority = priority,
        SlaEvent::Terms(new) => new.name().clone_into(&mut sla.terms),
        SlaEvent::State { to, by_person } => enter(sla, to, by_person, at),
    }
    sla.resolution.paused = sla.hold.is_some_and(|hold| terms.pauses_on(hold));
    for kind in SlaKind::ALL {
        let target_ms = terms.target_ms(kind, sla.priority);
        let clock = sla.clock_mut(kind);
        // What is over was judged by the target of its time.
        if clock.stopped_at.is_none() {
            clock.target_ms = target_ms;
        }
    }
    foresee(sla, terms);
    signals.extend(sla_advance(sla, terms, at));
    signals
}

/// What falls due next if nothing else happens, and when. `None`: nothing ever.
#[must_use]
pub fn sla_next(sla: &Sla, terms: &SlaTerms) -> Option<(Timestamp, SlaKey)> {
    let calendar = terms.calendar(sla.priority);
    SlaKind::ALL
        .into_iter()
        .filter(|kind| runs(sla.clock(*kind)))
        .flat_map(|kind| points(sla, terms, kind).map(move |point| (kind, point)))
        .filter_map(|(kind, point)| {
            let left_ms = point.threshold_ms - sla.clock(kind).elapsed_ms;
            Some((calendar.after_open_ms(sla.counted_to, left_ms)?, point.key))
        })
        .min()
}

/// False where nothing can have fallen due by `now`, as not even plain time has been long enough. Cheap: no
/// calendar is looked at.
pub(super) fn may_be_due(sla: &Sla, terms: &SlaTerms, now: Timestamp) -> bool {
    let since_ms = (now.as_millis() - sla.counted_to.as_millis()).max(0);
    SlaKind::ALL
        .into_iter()
        .filter(|kind| runs(sla.clock(*kind)))
        .flat_map(|kind| points(sla, terms, kind).map(move |point| (kind, point)))
        .any(|(kind, point)| point.threshold_ms - sla.clock(kind).elapsed_ms <= since_ms)
}

/// How a clock stands at `now`, no earlier than [`Sla::counted_to`], if nothing has happened since.
#[must_use]
pub fn sla_reading(sla: &Sla, terms: &SlaTerms, kind: SlaKind, now: Timestamp) -> SlaReading {
    let clock = sla.clock(kind);
    let since_ms = if runs(clock) {
        terms.calendar(sla.priority).open_ms(sla.counted_to, now)
    } else {
        0
    };
    let elapsed_ms = clock.elapsed_ms.saturating_add(since_ms);
    let state = if elapsed_ms >= clock.target_ms {
        SlaState::Breached
    } else if clock.stopped_at.is_some() {
        if sla.void {
            SlaState::Void
        } else {
            SlaState::Met
        }
    } else if clock.paused {
        SlaState::Paused
    } else {
        SlaState::Running
    };
    SlaReading {
        kind,
        state,
        target_hours: hours(clock.target_ms),
        elapsed_hours: hours(elapsed_ms),
        fraction: elapsed_ms as f64 / clock.target_ms as f64,
        due_at: clock.due_at,
        stopped_at: clock.stopped_at,
    }
}

fn hours(ms: i64) -> f64 {
    ms as f64 / 3_600_000.0
}

fn runs(clock: &SlaClock) -> bool {
    !clock.paused && clock.stopped_at.is_none()
}

/// A point of a clock that has not been said yet.
struct Point<'a> {
    key: SlaKey,
    threshold_ms: i64,
    to: &'a [String],
}

fn points<'a>(
    sla: &'a Sla,
    terms: &'a SlaTerms,
    clock: SlaKind,
) -> impl Iterator<Item = Point<'a>> {
    let target_ms = sla.clock(clock).target_ms;
    let marks = SLA_MARKS.into_iter().map(move |percent| Point {
        key: SlaKey {
            clock,
            point: SlaPoint::Mark(percent),
        },
        threshold_ms: share_ms(target_ms, percent),
        to: &[],
    });
    let levels = terms
        .escalations()
        .iter()
        .filter(move |e| e.clock == clock)
        .map(move |e| Point {
            key: SlaKey {
                clock,
                point: SlaPoint::Level(e.level),
            },
            threshold_ms: e.threshold_ms(target_ms),
            to: &e.to,
        });
    marks
        .chain(levels)
        .filter(|point| !sla.said.contains(&point.key))
}

fn enter(sla: &mut Sla, to: TicketState, by_person: bool, at: Timestamp) {
    sla.hold = if let TicketState::OnHold(hold) = to {
        Some(hold)
    } else {
        None
    };
    sla.void = to == TicketState::Cancelled;
    sla.resolution.stopped_at = if to.is_open() {
        // Reopened: it runs on with what it had counted.
        None
    } else {
        sla.resolution.stopped_at.or(Some(at))
    };
    if (by_person && to != TicketState::New) || !to.is_open() {
        sla.first_response.stopped_at = sla.first_response.stopped_at.or(Some(at));
    }
}

/// Works out when the targets are reached, from `counted_to` on.
fn foresee(sla: &mut Sla, terms: &SlaTerms) {
    let (calendar, from) = (terms.calendar(sla.priority), sla.counted_to);
    for kind in SlaKind::ALL {
        let clock = sla.clock_mut(kind);
        let left_ms = clock.target_ms - clock.elapsed_ms;
        clock.due_at = if left_ms <= 0 {
            // Reached already: at the instant foreseen, or now, by a target that has become shorter.
            clock.due_at.filter(|due| *due <= from).or(Some(from))
        } else if runs(clock) {
            calendar.after_open_ms(from, left_ms)
        } else {
            None
        };
    }
}
