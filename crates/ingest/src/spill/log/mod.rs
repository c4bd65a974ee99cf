//! Messages on disk, first in, first out: appended and synced at one end, read and settled at the other.
//!
//! Segments are files named by the sequence number of their first record; a segment is deleted once all
//! of it is settled. The cursor, how far that is, is written without a sync: after a crash it may be
//! older than it was, never newer than what was settled, and some messages are read again.

mod cursor;
mod files;
mod recovery;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::PathBuf;

use self::cursor::{read_cursor, write_cursor};
use self::files::{create_private_dir, cut, disk_free, keep, private, remove, sync_dir};
use self::segment::{
    Behind, SEGMENT_HEAD_BYTES, open_at, read_record, segment_head, segment_path, tail_of,
};
use super::record::{self, HEAD_BYTES};
use crate::{IngestError, Message};

/// Encoded and written at once.
const WRITE_BYTES: usize = 1024 * 1024;

/// Where a log lies and how large it may become.
#[derive(Debug, Clone)]
pub(super) struct LogSettings {
    pub(super) dir: PathBuf,
    /// Most bytes of all segments.
    pub(super) bytes_max: u64,
    /// Bytes that must stay free on the disk.
    pub(super) disk_free_min: u64,
    /// A segment this long is followed by another.
    pub(super) segment_bytes: u64,
}

/// A place between two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    segment: u64,
    offset: u64,
    /// Number of the record that follows, counted from the log's beginning.
    pub(super) sequence: u64,
}

impl Place {
    fn start_of(segment: u64) -> Self {
        Self {
            segment,
            offset: SEGMENT_HEAD_BYTES,
            sequence: segment,
        }
    }
}

/// Why messages were not appended. Nothing of them is in the log then.
#[derive(Debug)]
pub(super) enum Refused {
    /// The bound, or the disk's floor, is reached.
    Full(String),
    Failed(io::Error),
}

/// What a read found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) messages: Vec<Message>,
    /// Where they end.
    pub(super) to: Place,
    /// Records in front of them that are damaged, as far as their number is known.
    pub(super) n_damaged: u64,
}

/// Why a segment was not read.
#[derive(Debug)]
pub(super) enum Unread {
    /// It could not be opened, which may pass: a limit of this process, rights.
    NotOpened(io::Error),
    /// It is missing, or its disk does not give it.
    Lost(io::Error),
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotOpened(error) | Self::Lost(error) => error.fmt(f),
        }
    }
}

#[derive(Debug)]
struct Segment {
    /// Sequence number of its first record, and its name.
    first: u64,
    /// Bytes that are good.
    bytes: u64,
    /// Kept for a look when it would be deleted.
    damaged: bool,
}

/// An open log. One process at a time.
#[derive(Debug)]
pub(super) struct Log {
    settings: LogSettings,
    segments: VecDeque<Segment>,
    /// Of the last segment; `None`: the next append begins a new one.
    writer: Option<File>,
    cursor_file: File,
    cursor: Place,
    end: Place,
    /// Bytes of a torn tail that was cut when the log was opened.
    torn_bytes: u64,
    /// Messages that were lost with the end of the last segment when the log was opened, at least.
    n_lost: u64,
    _lock: File,
}

impl Log {
    /// Opens the log in its directory, created where needed; cuts a tail that a crash tore.
    pub(super) fn open(settings: LogSettings) -> Result<Self, IngestError> {
        let dir = settings.dir.clone();
        let failed = |source| IngestError::Spill {
            dir: dir.clone(),
            source,
        };
        create_private_dir(&dir).map_err(failed)?;
        let lock = private().open(dir.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(IngestError::SpillInUse { dir }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut cursor_file = private().open(dir.join("cursor")).map_err(failed)?;
        let cursor = read_cursor(&mut cursor_file).map_err(failed)?;
        let mut log = Self {
            settings,
            segments: VecDeque::new(),
            writer: None,
            cursor_file,
            cursor: cursor.unwrap_or(Place::start_of(0)),
            end: Place::start_of(0),
            torn_bytes: 0,
            n_lost: 0,
            _lock: lock,
        };
        log.find_segments().map_err(failed)?;
        log.find_end().map_err(failed)?;
        log.find_cursor();
        log.drop_settled();
        Ok(log)
    }

    /// Appends each group in order; they are on disk when this returns. Tells where each group lies.
    pub(super) fn append(
        &mut self,
        groups: &[Vec<Message>],
    ) -> Result<Vec<(Place, Place)>, Refused> {
        let bytes: usize = groups.iter().flatten().map(record::bytes_of).sum();
        self.room(u64::try_from(bytes).unwrap_or(u64::MAX))?;
        let (end, n_segments) = (self.end, self.segments.len());
        let n_bytes = self.segments.back().map(|segment| segment.bytes);
        self.write(groups).map_err(|error| {
            self.undo(end, n_segments, n_bytes);
            Refused::Failed(error)
        })
    }

    /// Reads on from `from`: whole messages, at most so many and (but for the last one) so many bytes. Ends in front
    /// of damage; where it begins with damage, it goes on behind it.
    pub(super) fn read(
        &mut self,
        from: Place,
        messages_max: usize,
        bytes_max: usize,
    ) -> Result<Found, Unread> {
        self.read_before(from, None, messages_max, bytes_max)
    }

    /// Reads again, at most so many messages of what an earlier read found from `from` to `to`; goes on behind damage
    /// that has come since. Fewer messages than asked for: what is missing up to `to` is damaged.
    pub(super) fn read_again(
        &mut self,
        from: Place,
        to: Place,
        messages_max: usize,
    ) -> Result<Found, Unread> {
        let mut all = Found {
            messages: Vec::new(),
            to: from,
            n_damaged: 0,
        };
        while all.messages.len() < messages_max && all.to != to {
            let n_left = messages_max - all.messages.len();
            let found = self.read_before(all.to, Some(to), n_left, usize::MAX)?;
            all.n_damaged += found.n_damaged;
            all.messages.extend(found.messages);
            // Damage may reach beyond `to`, and how many records it holds may not be known: the place is.
            let is_read = found.to.segment != to.segment || found.to.offset >= to.offset;
            all.to = if is_read { to } else { found.to };
        }
        Ok(all)
    }

    fn read_before(
        &mut self,
        from: Place,
        end: Option<Place>,
        messages_max: usize,
        bytes_max: usize,
    ) -> Result<Found, Unread> {
        let mut found = Found {
            messages: Vec::new(),
            to: from,
            n_damaged: 0,
        };
        let Some(index) = self.index_of(from.sequence) else {
            return Ok(found);
        };
        let first_after = self.first_after(index);
        let path = self.path_of(index);
        let Some(segment) = self.segments.get_mut(index) else {
            return Ok(found);
        };
        let mut to = if from.segment == segment.first {
            from
        } else {
            Place::start_of(segment.first)
        };
        let mut reader = open_at(&path, to.offset)?;
        let mut body = Vec::new();
        let mut bytes = 0;
        let offset_end = end
            .filter(|end| end.segment == segment.first)
            .map_or(u64::MAX, |end| end.offset);
        while to.sequence < first_after
            && to.offset < offset_end
            && found.messages.len() < messages_max
            && bytes < bytes_max
        {
            let left = segment.bytes.saturating_sub(to.offset);
            let message = match read_record(&mut reader, left, &mut body) {
                Ok(message) => message,
                // What was read is good; the next read begins with what is not.
                Err(_later) if !found.messages.is_empty() => break,
                Err(error) => return Err(Unread::Lost(error)),
            };
            if let Some(message) = message {
                bytes += body.len();
                to.offset += (HEAD_BYTES + body.len()) as u64;
                to.sequence += 1;
                found.messages.push(message);
                continue;
            }
            if !found.messages.is_empty() {
                break;
            }
            segment.damaged = true;
            let behind = match tail_of(&path, to.offset, segment.bytes)?.sound_behind() {
                Some(behind) => behind,
                None => Behind {
                    skipped: segment.bytes.saturating_sub(to.offset),
                    n_records: 0,
                },
            };
            // The segment's count tells how many are missing; each place of damage holds at least one.
            let n_missing = (first_after - to.sequence).saturating_sub(behind.n_records);
            to.sequence = (to.sequence + n_missing.max(1)).min(first_after);
            to.offset += behind.skipped;
            found.n_damaged += n_missing.max(1);
            reader = open_at(&path, to.offset)?;
        }
        found.to = to;
        Ok(found)
    }

    /// Passes over the rest of a segment that cannot be read; its file is kept where there is one.
    pub(super) fn give_up(&mut self, from: Place) -> Found {
        let mut found = Found {
            messages: Vec::new(),
            to: from,
            n_damaged: 0,
        };
        if let Some(index) = self.index_of(from.sequence) {
            let first_after = self.first_after(index);
            if let Some(segment) = self.segments.get_mut(index) {
                segment.damaged = true;
                found.n_damaged = first_after - from.sequence;
                found.to = Place {
                    segment: segment.first,
                    offset: segment.bytes,
                    sequence: first_after,
                };
            }
        }
        found
    }

    /// All before `to` is done with.
    pub(super) fn settle(&mut self, to: Place) {
        self.cursor = to;
        if let Err(error) = write_cursor(&mut self.cursor_file, to) {
            tracing::warn!(%error, "the spill's cursor is not written: after a crash more messages are read again");
        }
        self.drop_settled();
    }

    /// Where the oldest message that is not settled lies.
    pub(super) fn cursor(&self) -> Place {
        self.cursor
    }

    /// Where the next message will lie.
    pub(super) fn end(&self) -> Place {
        self.end
    }

    /// Messages that are not settled.
    pub(super) fn n_messages(&self) -> u64 {
        self.end.sequence.saturating_sub(self.cursor.sequence)
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Bytes of a torn tail that was cut when the log was opened.
    pub(super) fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }

    /// Messages that were lost with the end of the last segment when the log was opened, at least.
    pub(super) fn n_lost(&self) -> u64 {
        self.n_lost
    }

    /// Whether so many bytes may be appended.
    pub(super) fn room(&self, bytes: u64) -> Result<(), Refused> {
        let held = self.bytes();
        // One append always fits an empty log: a bound below it would stop everything for good.
        if held > 0 && held.saturating_add(bytes) > self.settings.bytes_max {
            return Err(Refused::Full(format!(
                "it holds {held} bytes and spill.bytes_max is {}",
                self.settings.bytes_max
            )));
        }
        let free = disk_free(&self.settings.dir).map_err(Refused::Failed)?;
        if free.saturating_sub(bytes) < self.settings.disk_free_min {
            return Err(Refused::Full(format!(
                "{free} bytes are free on the disk of {} and spill.disk_free_min is {}",
                self.settings.dir.display(),
                self.settings.disk_free_min
            )));
        }
        Ok(())
    }

    fn write(&mut self, groups: &[Vec<Message>]) -> io::Result<Vec<(Place, Place)>> {
        let mut spans = Vec::with_capacity(groups.len());
        let mut chunk = Vec::new();
        for group in groups {
            self.roll()?;
            let from = self.end;
            let mut messages = group.iter().peekable();
            while let Some(message) = messages.next() {
                record::encode(message, &mut chunk)
                    .ok_or_else(|| io::Error::other("a message of 4 GiB or more"))?;
                self.end.sequence += 1;
                if chunk.len() >= WRITE_BYTES || messages.peek().is_none() {
                    self.put(&chunk)?;
                    chunk.clear();
                }
            }
            spans.push((from, self.end));
        }
        self.sync()?;
        Ok(spans)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (Some(file), Some(segment)) = (&mut self.writer, self.segments.back_mut()) else {
            return Err(io::Error::other("no segment is open"));
        };
        file.write_all(bytes)?;
        segment.bytes += bytes.len() as u64;
        self.end.offset = segment.bytes;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.writer.as_ref().map_or(Ok(()), File::sync_data)
    }

    /// Begins a new segment where there is none to write to, or it is long enough.
    fn roll(&mut self) -> io::Result<()> {
        let long = self
            .segments
            .back()
            .is_some_and(|segment| segment.bytes >= self.settings.segment_bytes);
        if self.writer.is_some() && !long {
            return Ok(());
        }
        self.sync()?;
        let first = self.end.sequence;
        self.segments.push_back(Segment {
            first,
            bytes: SEGMENT_HEAD_BYTES,
            damaged: false,
        });
        let mut file = private()
            .truncate(true)
            .open(segment_path(&self.settings.dir, first))?;
        file.write_all(&segment_head(first))?;
        // Its name must be as durable as its content.
        sync_dir(&self.settings.dir)?;
        self.writer = Some(file);
        self.end = Place::start_of(first);
        Ok(())
    }

    /// Forgets a failed append. After a failed sync nobody knows what the file holds beyond what was synced
    /// before, so it is cut there and never written to again.
    fn undo(&mut self, end: Place, n_segments: usize, n_bytes: Option<u64>) {
        self.writer = None;
        self.end = end;
        while self.segments.len() > n_segments {
            let path = self.path_of(self.segments.len() - 1);
            self.segments.pop_back();
            remove(&path);
        }
        if let (Some(segment), Some(bytes)) = (self.segments.back_mut(), n_bytes) {
            segment.bytes = bytes;
            let path = segment_path(&self.settings.dir, segment.first);
            // What stays is unread: the next segment's first sequence number bounds this one.
            if let Err(error) = cut(&path, bytes) {
                tracing::warn!(path = %path.display(), %error, "a failed append is not cut off");
            }
        }
    }

    /// Deletes what lies wholly before the cursor.
    fn drop_settled(&mut self) {
        while !self.segments.is_empty() && self.first_after(0) <= self.cursor.sequence {
            let path = self.path_of(0);
            let Some(segment) = self.segments.pop_front() else {
                break;
            };
            if self.segments.is_empty() {
                self.writer = None;
            }
            if segment.damaged {
                keep(&path);
            } else {
                remove(&path);
            }
        }
    }

    /// The segment that holds the record with this number.
    fn index_of(&self, sequence: u64) -> Option<usize> {
        if sequence >= self.end.sequence {
            return None;
        }
        self.segments
            .partition_point(|segment| segment.first <= sequence)
            .checked_sub(1)
    }

    /// Sequence number of the first record behind a segment.
    fn first_after(&self, index: usize) -> u64 {
        self.segments
            .get(index + 1)
            .map_or(self.end.sequence, |next| next.first)
    }

    fn path_of(&self, index: usize) -> PathBuf {
        let first = self.segments.get(index).map_or(0, |segment| segment.first);
        segment_path(&self.settings.dir, first)
    }
}
