//! The open intervals of a calendar, one after the other.

use forecare_domain::Timestamp;
use jiff::Timestamp as Instant;

use super::{Calendar, DAY_MS, MINUTE_MS, Span};

/// Iterator over the open intervals of a [`Calendar`], see [`Calendar::openings`].
#[derive(Debug)]
pub struct Openings<'a> {
    pieces: Pieces<'a>,
    /// A piece that was read, and belongs to the next opening.
    ahead: Option<(i64, i64)>,
}

impl<'a> Openings<'a> {
    pub(super) fn new(calendar: &'a Calendar, from: Timestamp, to: Timestamp) -> Self {
        Self {
            pieces: Pieces::new(calendar, from, to),
            ahead: None,
        }
    }
}

impl Iterator for Openings<'_> {
    type Item = (Timestamp, Timestamp);

    fn next(&mut self) -> Option<Self::Item> {
        let (open, mut close) = self.ahead.take().or_else(|| self.pieces.next())?;
        for piece in self.pieces.by_ref() {
            if piece.0 > close {
                self.ahead = Some(piece);
                break;
            }
            close = piece.1;
        }
        Some((Timestamp::from_millis(open), Timestamp::from_millis(close)))
    }
}

/// Open pieces in UTC milliseconds, in order: none is longer than a day or crosses a change of the clocks, so
/// two may touch.
///
/// The walk goes by stretches of constant offset from UTC: within one, wall time is UTC plus the offset, and
/// days and spans are plain arithmetic.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    calendar: &'a Calendar,
    /// Where the search goes on.
    at: i64,
    to: i64,
    /// End of the present stretch of constant offset.
    stretch_end: i64,
    /// The offset in it: wall minus UTC, milliseconds.
    offset: i64,
    /// The day whose open minutes are in `minutes`.
    day: Option<i64>,
    minutes: Vec<Span>,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(calendar: &'a Calendar, from: Timestamp, to: Timestamp) -> Self {
        Self {
            calendar,
            at: from.as_millis(),
            to: to.as_millis(),
            stretch_end: i64::MIN,
            offset: 0,
            day: None,
            minutes: Vec::new(),
        }
    }

    /// Reads offset and end of the stretch that holds `self.at`.
    fn enter_stretch(&mut self) {
        let zone = &self.calendar.zone;
        // All instants of ours lie within the library's.
        let Ok(at) = Instant::from_millisecond(self.at) else {
            self.stretch_end = i64::MAX;
            return;
        };
        self.offset = i64::from(zone.to_offset(at).seconds()) * 1_000;
        self.stretch_end = zone
            .following(at)
            .map(|transition| transition.timestamp().as_millisecond())
            .find(|end| *end > self.at)
            .unwrap_or(i64::MAX);
    }
}

impl Iterator for Pieces<'_> {
    type Item = (i64, i64);

    fn next(&mut self) -> Option<(i64, i64)> {
        while self.at < self.to {
            if self.at >= self.stretch_end {
                self.enter_stretch();
            }
            let day = (self.at + self.offset).div_euclid(DAY_MS);
            if self.day != Some(day) {
                self.calendar.minutes_of(day, &mut self.minutes);
                self.day = Some(day);
            }
            let midnight = day * DAY_MS - self.offset;
            let end = self.stretch_end.min(self.to).min(midnight + DAY_MS);
            for (from, to) in &self.minutes {
                let open = (midnight + from * MINUTE_MS).max(self.at);
                let close = (midnight + to * MINUTE_MS).min(end);
                if open < close {
                    self.at = close;
                    return Some((open, close));
                }
            }
            self.at = end;
        }
        None
    }
}
