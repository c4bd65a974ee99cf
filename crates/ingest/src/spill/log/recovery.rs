//! What a former process left, found again: segments, the end behind damage and torn tails, the cursor.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::files::{cut, keep};
use super::segment::{
    READ_BYTES, SEGMENT_HEAD_BYTES, SEGMENT_SUFFIX, is_of_another_version, open_at, read_record,
    segment_path, tail_of,
};
use super::{Log, Place, Segment, Unread};
use crate::spill::record::HEAD_BYTES;

impl Log {
    pub(super) fn find_segments(&mut self) -> io::Result<()> {
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
    pub(super) fn find_end(&mut self) -> io::Result<()> {
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
    pub(super) fn find_cursor(&mut self) {
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
