//! Messages on disk, first in, first out: appended and synced at one end, read and settled at the other.
//!
//! Segments are files named by the sequence number of their first record; a segment is deleted once all
//! of it is settled. The cursor, how far that is, is written without a sync: after a crash it may be
//! older than it was, never newer than what was settled, and some messages are read again.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::record::{self, HEAD_BYTES};
use crate::{IngestError, Message};

const MAGIC: [u8; 8] = *b"FORESPIL";
const VERSION: u32 = 1;
/// Magic, version (u32), sequence number of the first record (u64), CRC-32C of these (u32).
const SEGMENT_HEAD_BYTES: u64 = 24;
/// Segment, offset, sequence number (u64 each), CRC-32C of these (u32).
const CURSOR_BYTES: usize = 28;
const SEGMENT_SUFFIX: &str = ".spill";
/// Encoded and written at once.
const WRITE_BYTES: usize = 1024 * 1024;
const READ_BYTES: usize = 128 * 1024;

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

    fn find_segments(&mut self) -> io::Result<()> {
        let mut firsts = Vec::new();
        for entry in fs::read_dir(&self.settings.dir)? {
            let name = entry?.file_name();
            if let Some(first) = name
                .to_str()
                .and_then(|name| name.strip_suffix(SEGMENT_SUFFIX))
                .and_then(|first| first.parse().ok())
            {
                firsts.push(first);
            }
        }
        firsts.sort_unstable();
        for first in firsts {
            let path = segment_path(&self.settings.dir, first);
            self.segments.push_back(Segment {
                first,
                bytes: fs::metadata(path)?.len(),
                damaged: false,
            });
        }
        Ok(())
    }

    /// Reads the last segment through, past damage. Only a tail with no sound record behind it was torn by a crash,
    /// and is cut.
    fn find_end(&mut self) -> io::Result<()> {
        let Some(segment) = self.segments.back_mut() else {
            // Numbers never come again, or an old cursor could point into a new segment.
            self.end = Place::start_of(self.cursor.sequence);
            return Ok(());
        };
        let path = segment_path(&self.settings.dir, segment.first);
        let mut reader = BufReader::with_capacity(READ_BYTES, File::open(&path)?);
        let mut end = Place::start_of(segment.first);
        let scanned = scan(&mut reader, &path, segment, self.cursor, &mut end);
        self.end = end;
        match scanned {
            Ok(()) => {}
            Err(Scan::OtherVersion) => {
                return Err(io::Error::other(
                    "a segment was written by another version: start that one, and let it drain",
                ));
            }
            Err(Scan::Failed(error)) => {
                // Not cut: the disk may give the rest another day.
                self.n_lost = 1;
                segment.damaged = true;
                tracing::error!(
                    path = %path.display(), %error,
                    "the end of the spill cannot be read: its messages are lost to the store; check spill.dir and its disk"
                );
                segment.bytes = end.offset;
                // The next segment must not get its name.
                if end.sequence == segment.first {
                    keep(&path);
                    self.segments.pop_back();
                    self.end = Place::start_of(end.sequence.max(self.cursor.sequence) + 1);
                }
                return Ok(());
            }
        }
        let good = end.offset;
        self.torn_bytes = segment.bytes.saturating_sub(good);
        if end.sequence == segment.first {
            // Not one sound record: nothing of it was ever acknowledged.
            fs::remove_file(path)?;
            self.segments.pop_back();
        } else if self.torn_bytes > 0 {
            segment.bytes = good;
            cut(&path, good)?;
        }
        Ok(())
    }

    /// The cursor as written, where it fits the segments; else the beginning, or the end.
    fn find_cursor(&mut self) {
        let written = self.cursor;
        self.cursor = match self.index_of(written.sequence) {
            Some(index) => match self.segments.get(index) {
                Some(s) if s.first == written.segment && written.offset <= s.bytes => written,
                Some(s) => Place::start_of(s.first),
                None => self.end,
            },
            None => match self.segments.front() {
                Some(oldest) if written.sequence < oldest.first => Place::start_of(oldest.first),
                _ => self.end,
            },
        };
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

fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}{SEGMENT_SUFFIX}"))
}

fn segment_head(first: u64) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.extend_from_slice(&first.to_le_bytes());
    let sum = crc32c::crc32c(&head);
    head.extend_from_slice(&sum.to_le_bytes());
    head
}

/// A whole head of ours, with another version: a torn one is none.
fn is_of_another_version(head: &[u8]) -> bool {
    head.split_last_chunk::<4>().is_some_and(|(body, sum)| {
        crc32c::crc32c(body).to_le_bytes() == *sum
            && body.starts_with(&MAGIC)
            && body.get(8..12) != Some(&VERSION.to_le_bytes()[..])
    })
}

/// Opens a segment for reading from an offset.
fn open_at(path: &Path, offset: u64) -> Result<BufReader<File>, Unread> {
    let mut file = File::open(path).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            Unread::Lost(error)
        } else {
            Unread::NotOpened(error)
        }
    })?;
    file.seek(SeekFrom::Start(offset)).map_err(Unread::Lost)?;
    Ok(BufReader::with_capacity(READ_BYTES, file))
}

/// What is left of a segment from a bad record on.
struct Tail(Vec<u8>);

/// What lies behind a bad record.
struct Behind {
    /// Bytes from the bad record to the next sound one.
    skipped: u64,
    /// Sound records from there on, and one for each further place of damage among them.
    n_records: u64,
}

/// A segment's bytes from `offset` to `end`.
fn tail_of(path: &Path, offset: u64, end: u64) -> Result<Tail, Unread> {
    let mut bytes = Vec::new();
    open_at(path, offset)?
        .take(end.saturating_sub(offset))
        .read_to_end(&mut bytes)
        .map_err(Unread::Lost)?;
    Ok(Tail(bytes))
}

impl Tail {
    /// What is sound behind the bad record that it begins with; `None`: nothing.
    fn sound_behind(&self) -> Option<Behind> {
        let first = self.next_sound(0)?;
        let (mut at, mut n_records) = (first, 0);
        loop {
            while let Some(length) = self.sound_at(at) {
                at += length;
                n_records += 1;
            }
            match self.next_sound(at) {
                Some(next) => {
                    at = next;
                    n_records += 1;
                }
                None => break,
            }
        }
        Some(Behind {
            skipped: first as u64,
            n_records,
        })
    }

    /// The first sound record behind the bad one at `at`. Where the bad one's length is right, that is where it ends:
    /// preferred, since a payload may look like a record.
    fn next_sound(&self, at: usize) -> Option<usize> {
        let told = self
            .head_at(at)
            .and_then(|(length, _)| at.checked_add(HEAD_BYTES + length));
        told.filter(|&next| self.sound_at(next).is_some())
            .or_else(|| (at + 1..self.0.len()).find(|&next| self.sound_at(next).is_some()))
    }

    fn head_at(&self, at: usize) -> Option<(usize, u32)> {
        let (head, _) = self.0.get(at..)?.split_first_chunk::<HEAD_BYTES>()?;
        let (length, sum) = record::head(*head);
        Some((usize::try_from(length).ok()?, sum))
    }

    /// Length of the sound record there, its head included.
    fn sound_at(&self, at: usize) -> Option<usize> {
        let (length, sum) = self.head_at(at)?;
        let body = self.0.get(at + HEAD_BYTES..)?.get(..length)?;
        // Its inner lengths first: a checksum at every byte would take long.
        let sound = record::is_framed(body)
            && record::checksum(u32::try_from(length).ok()?, body) == sum
            && record::decode(body).is_some();
        sound.then_some(HEAD_BYTES + length)
    }
}

/// Why the last segment was not read through.
enum Scan {
    OtherVersion,
    Failed(io::Error),
}

impl From<io::Error> for Scan {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Unread> for Scan {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::NotOpened(error) | Unread::Lost(error) => Self::Failed(error),
        }
    }
}

/// Reads the last segment through to its last sound record; `end` is left behind the last one read.
fn scan(
    reader: &mut BufReader<File>,
    path: &Path,
    segment: &mut Segment,
    cursor: Place,
    end: &mut Place,
) -> Result<(), Scan> {
    let mut head = Vec::new();
    reader
        .by_ref()
        .take(SEGMENT_HEAD_BYTES)
        .read_to_end(&mut head)?;
    if is_of_another_version(&head) {
        return Err(Scan::OtherVersion);
    }
    let mut body = Vec::new();
    loop {
        let left = segment.bytes.saturating_sub(end.offset);
        if read_record(reader, left, &mut body)?.is_some() {
            end.offset += (HEAD_BYTES + body.len()) as u64;
            end.sequence += 1;
        } else {
            let tail = tail_of(path, end.offset, segment.bytes)?;
            let Some(behind) = tail.sound_behind() else {
                return Ok(());
            };
            segment.damaged = true;
            tracing::error!(
                path = %path.display(), offset = end.offset, bytes = behind.skipped,
                "the spill is damaged there: what follows is kept"
            );
            end.offset += behind.skipped;
            end.sequence += 1;
            *reader = open_at(path, end.offset)?;
        }
        // The cursor knows how many there were before it, damaged ones included.
        if cursor.segment == segment.first && cursor.offset <= end.offset {
            let passed = u64::from(cursor.offset < end.offset);
            end.sequence = end.sequence.max(cursor.sequence + passed);
        }
    }
}

/// The next record; `None` where `left` bytes hold no whole and sound one. `body` is left holding it.
fn read_record(
    reader: &mut impl Read,
    left: u64,
    body: &mut Vec<u8>,
) -> io::Result<Option<Message>> {
    let mut head = [0; HEAD_BYTES];
    if left < head.len() as u64 || !filled(reader, &mut head)? {
        return Ok(None);
    }
    let (length, sum) = record::head(head);
    if u64::from(length) > left - head.len() as u64 {
        return Ok(None);
    }
    body.clear();
    body.resize(usize::try_from(length).map_err(io::Error::other)?, 0);
    if !filled(reader, body)? || record::checksum(length, body) != sum {
        return Ok(None);
    }
    Ok(record::decode(body))
}

/// Fills the buffer; false where the file ends before.
fn filled(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn read_cursor(file: &mut File) -> io::Result<Option<Place>> {
    let mut bytes = [0; CURSOR_BYTES];
    file.seek(SeekFrom::Start(0))?;
    if !filled(file, &mut bytes)? {
        return Ok(None);
    }
    let number = |at: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(number)
    };
    let place = Place {
        segment: number(0),
        offset: number(8),
        sequence: number(16),
    };
    Ok((cursor_bytes(place) == bytes).then_some(place))
}

fn write_cursor(file: &mut File, place: Place) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&cursor_bytes(place))
}

fn cursor_bytes(place: Place) -> [u8; CURSOR_BYTES] {
    let mut bytes = [0; CURSOR_BYTES];
    let (numbers, sum) = bytes.split_at_mut(24);
    for (field, number) in
        numbers
            .chunks_exact_mut(8)
            .zip([place.segment, place.offset, place.sequence])
    {
        field.copy_from_slice(&number.to_le_bytes());
    }
    sum.copy_from_slice(&crc32c::crc32c(numbers).to_le_bytes());
    bytes
}

fn cut(path: &Path, bytes: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(bytes)?;
    file.sync_all()
}

/// Keeps a damaged segment for a look.
fn keep(path: &Path) {
    let kept = path.with_extension("damaged");
    match fs::rename(path, &kept) {
        Ok(()) => {
            tracing::error!(path = %kept.display(), "a damaged part of the spill is kept: its unreadable messages are lost to the store");
        }
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "a damaged part of the spill cannot be kept: its unreadable messages are lost to the store");
        }
    }
}

/// What is not deleted now is deleted at the next start: it lies before the cursor.
fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "a part of the spill is not deleted");
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn create_private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

#[cfg(unix)]
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(not(unix))]
fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

/// Bytes that this user may still write.
#[cfg(unix)]
fn disk_free(dir: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(dir)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(unix))]
fn disk_free(_dir: &Path) -> io::Result<u64> {
    Ok(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::process::{Command, Stdio};

    use forecare_domain::Timestamp;
    use proptest::prelude::*;
    use proptest::test_runner::TestCaseError;

    use super::*;

    /// Tells the test binary, started again, that it is the one to be killed.
    const DIRECTORY: &str = "FORECARE_TEST_SPILL_DIRECTORY";
    const KILLS: usize = 15;

    fn settings(dir: &Path) -> LogSettings {
        LogSettings {
            dir: dir.to_owned(),
            bytes_max: u64::MAX,
            disk_free_min: 0,
            segment_bytes: 400,
        }
    }

    fn open(dir: &Path) -> Log {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            match Log::open(settings(dir)) {
                // A process that another test is starting holds our files until it is itself.
                Err(IngestError::SpillInUse { .. }) if std::time::Instant::now() < end => {
                    std::thread::yield_now();
                }
                opened => return opened.unwrap(),
            }
        }
    }

    /// Of a length that differs from number to number.
    fn message(number: u64) -> Message {
        Message {
            topic: format!("devices/m{}/telemetry", number % 3),
            payload: number
                .to_string()
                .repeat(usize::try_from(number % 7).unwrap())
                .into(),
            content_type: number.is_multiple_of(2).then(|| "json".to_owned()),
            principal: number.is_multiple_of(5).then(|| number.to_string()),
            received_at: Timestamp::from_millis(1_700_000_000_000 + i64::try_from(number).unwrap()),
        }
    }

    fn group(numbers: std::ops::Range<u64>) -> Vec<Message> {
        numbers.map(message).collect()
    }

    /// Everything from the cursor on.
    fn rest(log: &mut Log) -> Vec<Message> {
        let mut all = Vec::new();
        let mut at = log.cursor();
        while at.sequence < log.end().sequence {
            let found = log.read(at, 4, 1_000).unwrap();
            assert_eq!(found.n_damaged, 0);
            assert!(found.to.sequence > at.sequence);
            at = found.to;
            all.extend(found.messages);
        }
        all
    }

    fn segments(dir: &Path) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "spill"))
            .collect();
        paths.sort();
        paths
    }

    #[test]
    fn a_tail_torn_at_any_byte_leaves_the_whole_messages_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path());
        let mut ends = Vec::new();
        for number in 0..6 {
            log.append(&[group(number..number + 1)]).unwrap();
            ends.push(log.end().offset);
        }
        drop(log);
        let path = segments(dir.path()).remove(0);
        let whole = fs::read(&path).unwrap();
        for length in 0..=whole.len() {
            for filler in [&[][..], &[0; 40], b"\xff\xff\xff\xff garbage after a crash"] {
                let mut torn = whole[..length].to_vec();
                torn.extend_from_slice(filler);
                // What follows may happen to be what was torn off.
                let good = torn.iter().zip(&whole).take_while(|(a, b)| a == b).count();
                fs::write(&path, torn).unwrap();
                let n = ends.iter().filter(|end| **end <= good as u64).count() as u64;
                let mut log = open(dir.path());
                assert_eq!(rest(&mut log), group(0..n), "cut at {length}");
                // It goes on where it was cut.
                log.append(&[group(n..n + 2)]).unwrap();
                drop(log);
                assert_eq!(
                    rest(&mut open(dir.path())),
                    group(0..n + 2),
                    "cut at {length}"
                );
                for path in segments(dir.path()) {
                    fs::remove_file(path).unwrap();
                }
            }
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Append(Vec<u64>),
        Settle(usize),
        /// Ends without a word; what an append under way may have written is left behind.
        Crash(Vec<u8>),
        /// As after a power cut: the cursor is what it was some steps ago.
        OldCursor,
        NoCursor,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => prop::collection::vec(1..6_u64, 1..4).prop_map(Step::Append),
            4 => (1..12_usize).prop_map(Step::Settle),
            2 => prop::collection::vec(any::<u8>(), 0..60).prop_map(Step::Crash),
            1 => Just(Step::OldCursor),
            1 => Just(Step::NoCursor),
        ]
    }

    fn follow(steps: Vec<Step>) -> Result<(), TestCaseError> {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path());
        let cursor = dir.path().join("cursor");
        let mut old_cursor = fs::read(&cursor).unwrap();
        let (mut settled, mut appended) = (0, 0);
        for step in steps {
            match step {
                Step::Append(sizes) => {
                    let groups: Vec<_> = sizes
                        .iter()
                        .map(|size| {
                            appended += size;
                            group(appended - size..appended)
                        })
                        .collect();
                    let spans = log.append(&groups).unwrap();
                    for (group, (from, _)) in groups.iter().zip(spans) {
                        let found = log.read(from, group.len(), usize::MAX).unwrap();
                        prop_assert_eq!(&found.messages, group);
                    }
                }
                Step::Settle(n) => {
                    let found = log.read(log.cursor(), n, usize::MAX).unwrap();
                    settled += found.messages.len() as u64;
                    log.settle(found.to);
                }
                Step::Crash(torn) => {
                    drop(log);
                    if let Some(last) = segments(dir.path()).last() {
                        let mut file = OpenOptions::new().append(true).open(last).unwrap();
                        file.write_all(&torn).unwrap();
                    }
                    log = open(dir.path());
                }
                Step::OldCursor | Step::NoCursor => {
                    drop(log);
                    if matches!(step, Step::OldCursor) {
                        fs::write(&cursor, &old_cursor).unwrap();
                    } else {
                        fs::remove_file(&cursor).unwrap();
                    }
                    log = open(dir.path());
                    old_cursor = fs::read(&cursor).unwrap();
                    // Some are read again; which ones follows from what is left of the segments.
                    let n = log.n_messages();
                    prop_assert!(n >= appended - settled);
                    settled = appended - n;
                }
            }
            prop_assert_eq!(log.n_messages(), appended - settled);
            prop_assert_eq!(rest(&mut log), group(settled..appended));
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn it_is_a_queue_across_crashes(steps in prop::collection::vec(step(), 1..30)) {
            follow(steps)?;
        }
    }

    #[test]
    fn what_is_settled_leaves_the_disk_and_files_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path());
        for number in 0..40 {
            log.append(&[group(number..number + 1)]).unwrap();
        }
        let n_segments = segments(dir.path()).len();
        assert!(n_segments > 3, "{n_segments}");
        #[cfg(unix)]
        for entry in fs::read_dir(dir.path()).unwrap() {
            use std::os::unix::fs::PermissionsExt;
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let found = log.read(log.cursor(), 40, usize::MAX).unwrap();
        log.settle(found.to);
        assert_eq!(segments(dir.path()).len(), n_segments - 1);
        log.settle(log.end());
        assert_eq!((segments(dir.path()).len(), log.bytes()), (0, 0));
        drop(log);
        assert_eq!(open(dir.path()).n_messages(), 0);
    }

    #[test]
    fn a_full_log_takes_nothing_until_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(LogSettings {
            bytes_max: 1_000,
            ..settings(dir.path())
        })
        .unwrap();
        let mut n = 0;
        let why = loop {
            match log.append(&[group(n..n + 1)]) {
                Ok(_) => n += 1,
                Err(Refused::Full(why)) => break why,
                Err(Refused::Failed(error)) => panic!("{error}"),
            }
        };
        assert!(why.contains("spill.bytes_max"), "{why}");
        assert_eq!(rest(&mut log), group(0..n));
        log.settle(log.end());
        log.append(&[group(n..n + 1)]).unwrap();
        drop(log);

        let mut log = Log::open(LogSettings {
            disk_free_min: u64::MAX,
            ..settings(dir.path())
        })
        .unwrap();
        let Err(Refused::Full(why)) = log.append(&[group(0..1)]) else {
            panic!("there are not so many bytes on any disk");
        };
        assert!(why.contains("spill.disk_free_min"), "{why}");
    }

    /// Everything from the cursor on that can be read, and how much cannot; all of it is settled.
    fn drain(log: &mut Log) -> (Vec<Message>, u64) {
        let (mut all, mut n_damaged) = (Vec::new(), 0);
        while log.n_messages() > 0 {
            let found = log.read(log.cursor(), 4, 1_000).unwrap();
            assert!(found.to.sequence > log.cursor().sequence);
            n_damaged += found.n_damaged;
            all.extend(found.messages);
            log.settle(found.to);
        }
        (all, n_damaged)
    }

    fn flip(path: &Path, at: usize) {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn one_damaged_record_of_a_closed_segment_costs_itself_alone() {
        for in_body in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let mut log = open(dir.path());
            let mut begins = Vec::new();
            for number in 0..40 {
                begins.push(log.end().offset);
                log.append(&[group(number..number + 1)]).unwrap();
            }
            let path = segments(dir.path()).remove(0);
            let begin = usize::try_from(begins[2]).unwrap();
            flip(
                &path,
                if in_body {
                    begin + HEAD_BYTES + 9
                } else {
                    begin + 1
                },
            );
            let mut expected = group(0..40);
            expected.remove(2);
            assert_eq!(drain(&mut log), (expected, 1));
            assert!(path.with_extension("damaged").exists() && !path.exists());
        }
    }

    #[test]
    fn damage_anywhere_in_the_last_segment_costs_the_record_it_hits_and_is_no_torn_end() {
        let n = 8;
        let dir = tempfile::tempdir().unwrap();
        let roomy = || {
            Log::open(LogSettings {
                segment_bytes: 1 << 20,
                ..settings(dir.path())
            })
            .unwrap()
        };
        let mut log = roomy();
        let mut ends = Vec::new();
        for number in 0..n {
            log.append(&[group(number..number + 1)]).unwrap();
            ends.push(usize::try_from(log.end().offset).unwrap());
        }
        let cursor = fs::read(dir.path().join("cursor")).unwrap();
        drop(log);
        let path = segments(dir.path()).remove(0);
        let whole = fs::read(&path).unwrap();
        // Behind the last record nothing tells damage from a torn end.
        for at in 0..ends[ends.len() - 2] {
            fs::write(&path, &whole).unwrap();
            fs::write(dir.path().join("cursor"), &cursor).unwrap();
            flip(&path, at);
            let mut log = roomy();
            assert_eq!((log.torn_bytes(), log.n_messages()), (0, n), "byte {at}");
            log.append(&[group(n..n + 2)]).unwrap();
            let mut expected = group(0..n + 2);
            let in_head = at < usize::try_from(SEGMENT_HEAD_BYTES).unwrap();
            if !in_head {
                expected.remove(ends.iter().position(|end| at < *end).unwrap());
            }
            assert_eq!(
                drain(&mut log),
                (expected, u64::from(!in_head)),
                "byte {at}"
            );
            let kept = path.with_extension("damaged");
            assert_eq!(kept.exists(), !in_head, "byte {at}");
            drop(log);
            for path in segments(dir.path()) {
                fs::remove_file(path).unwrap();
            }
            fs::remove_file(kept).ok();
        }
    }

    #[test]
    fn a_cursor_behind_two_damaged_records_stays_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(LogSettings {
            segment_bytes: 1 << 20,
            ..settings(dir.path())
        })
        .unwrap();
        let mut begins = Vec::new();
        for number in 0..12 {
            begins.push(usize::try_from(log.end().offset).unwrap());
            log.append(&[group(number..number + 1)]).unwrap();
        }
        let found = log.read(log.cursor(), 8, usize::MAX).unwrap();
        log.settle(found.to);
        drop(log);
        // Lengths, so that nobody knows how many records lay there.
        let path = segments(dir.path()).remove(0);
        flip(&path, begins[3]);
        flip(&path, begins[4]);
        let mut log = open(dir.path());
        assert_eq!((log.cursor().sequence, log.n_messages()), (8, 4));
        log.append(&[group(12..14)]).unwrap();
        assert_eq!(drain(&mut log), (group(8..14), 0));
    }

    #[test]
    fn what_is_read_again_goes_on_behind_damage_and_not_beyond_its_end() {
        // (damaged records, asked for at once): in the middle, at both ends and beyond, several, all.
        for (damaged, n_at_once) in [
            (vec![5], 6),
            (vec![2, 7, 8], 6),
            (vec![3, 5], 2),
            (vec![2, 3, 4, 5, 6, 7], 6),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let mut log = Log::open(LogSettings {
                segment_bytes: 1 << 20,
                ..settings(dir.path())
            })
            .unwrap();
            let mut begins = Vec::new();
            for number in 0..12 {
                begins.push(log.end());
                log.append(&[group(number..number + 1)]).unwrap();
            }
            let from = log.read(log.cursor(), 2, usize::MAX).unwrap().to;
            let to = log.read(from, 6, usize::MAX).unwrap().to;
            assert_eq!((from, to), (begins[2], begins[8]));
            let path = segments(dir.path()).remove(0);
            for number in &damaged {
                flip(&path, usize::try_from(begins[*number].offset).unwrap() + 9);
            }
            let (mut all, mut at) = (Vec::new(), from);
            while at != to {
                let found = log.read_again(at, to, n_at_once).unwrap();
                all.extend(found.messages);
                at = found.to;
            }
            let mut expected = group(2..8);
            let mut number = 2;
            expected.retain(|_| {
                number += 1;
                !damaged.contains(&(number - 1))
            });
            assert_eq!(all, expected, "{damaged:?}");
        }
    }

    #[test]
    fn a_last_segment_that_the_disk_does_not_give_is_kept_and_the_log_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path());
        for number in 0..20 {
            log.append(&[group(number..number + 1)]).unwrap();
        }
        drop(log);
        let path = segments(dir.path()).pop().unwrap();
        // Can be opened and not be read.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let mut log = open(dir.path());
        assert!(log.n_lost() > 0);
        assert!(path.with_extension("damaged").exists());
        log.append(&[group(20..22)]).unwrap();
        let mut all = Vec::new();
        while log.n_messages() > 0 {
            let found = log.read(log.cursor(), 4, 1_000).unwrap();
            all.extend(found.messages);
            log.settle(found.to);
        }
        assert_eq!(all[..3], group(0..3)[..]);
        assert_eq!(all[all.len() - 2..], group(20..22)[..]);
    }

    #[test]
    fn a_second_process_is_told_who_to_stop() {
        let dir = tempfile::tempdir().unwrap();
        let _log = open(dir.path());
        let error = Log::open(settings(dir.path())).unwrap_err();
        assert!(error.to_string().contains("spill.dir"), "{error}");
    }

    /// Only does something when [`kill_9_at_any_moment_loses_and_reorders_nothing`] starts it.
    #[test]
    fn the_process_that_is_killed() {
        let Some(dir) = std::env::var_os(DIRECTORY) else {
            return;
        };
        let mut log = Log::open(LogSettings {
            segment_bytes: 20_000,
            ..settings(Path::new(&dir))
        })
        .unwrap();
        let mut said = std::io::stdout().lock();
        loop {
            let begin = log.end().sequence;
            log.append(&[group(begin..begin + 50), group(begin + 50..begin + 90)])
                .unwrap();
            writeln!(said, "appended {}", begin + 90).unwrap();
            let found = log.read(log.cursor(), 70, usize::MAX).unwrap();
            writeln!(said, "settling {}", found.to.sequence).unwrap();
            log.settle(found.to);
        }
    }

    #[test]
    fn kill_9_at_any_moment_loses_and_reorders_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (mut appended, mut settling) = (0, 0);
        for round in 0..KILLS {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args([
                    "spill::log::tests::the_process_that_is_killed",
                    "--exact",
                    "--nocapture",
                ])
                .env(DIRECTORY, dir.path())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut heard = 0;
            let mut hear = |line: &str| {
                // A line cut short by the kill ends with fewer digits: too small, so harmless.
                if let Some((what, number)) = line.split_once(' ')
                    && let Ok(number) = number.parse::<u64>()
                {
                    match what {
                        "appended" => appended = appended.max(number),
                        "settling" => settling = settling.max(number),
                        _ => return,
                    }
                    heard += 1;
                }
            };
            for line in said.by_ref().take(4 + (round * 7) % 23) {
                hear(&line.unwrap());
            }
            child.kill().unwrap();
            child.wait().unwrap();
            for line in said.map_while(Result::ok) {
                hear(&line);
            }
            assert!(heard > 0, "it ended by itself");
            let mut log = open(dir.path());
            let (from, to) = (log.cursor().sequence, log.end().sequence);
            assert!(to >= appended, "{appended} acknowledged, {to} there");
            assert!(
                from <= settling,
                "settled to {settling}, but read from {from}"
            );
            assert_eq!(rest(&mut log), group(from..to));
        }
    }
}
