//! A segment's file: its head, its records, and what is sound behind a damaged one.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::Unread;
use crate::Message;
use crate::spill::record::{self, HEAD_BYTES};

const MAGIC: [u8; 8] = *b"FORESPIL";
const VERSION: u32 = 1;
/// Magic, version (u32), sequence number of the first record (u64), CRC-32C of these (u32).
pub(super) const SEGMENT_HEAD_BYTES: u64 = 24;
pub(super) const SEGMENT_SUFFIX: &str = ".spill";
pub(super) const READ_BYTES: usize = 128 * 1024;

pub(super) fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}{SEGMENT_SUFFIX}"))
}

pub(super) fn segment_head(first: u64) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.extend_from_slice(&first.to_le_bytes());
    let sum = crc32c::crc32c(&head);
    head.extend_from_slice(&sum.to_le_bytes());
    head
}

/// A whole head of ours, with another version: a torn one is none.
pub(super) fn is_of_another_version(head: &[u8]) -> bool {
    head.split_last_chunk::<4>().is_some_and(|(body, sum)| {
        crc32c::crc32c(body).to_le_bytes() == *sum
            && body.starts_with(&MAGIC)
            && body.get(8..12) != Some(&VERSION.to_le_bytes()[..])
    })
}

/// Opens a segment for reading from an offset.
pub(super) fn open_at(path: &Path, offset: u64) -> Result<BufReader<File>, Unread> {
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
pub(super) struct Tail(Vec<u8>);

/// What lies behind a bad record.
pub(super) struct Behind {
    /// Bytes from the bad record to the next sound one.
    pub(super) skipped: u64,
    /// Sound records from there on, and one for each further place of damage among them.
    pub(super) n_records: u64,
}

/// A segment's bytes from `offset` to `end`.
pub(super) fn tail_of(path: &Path, offset: u64, end: u64) -> Result<Tail, Unread> {
    let mut bytes = Vec::new();
    open_at(path, offset)?
        .take(end.saturating_sub(offset))
        .read_to_end(&mut bytes)
        .map_err(Unread::Lost)?;
    Ok(Tail(bytes))
}

impl Tail {
    /// What is sound behind the bad record that it begins with; `None`: nothing.
    pub(super) fn sound_behind(&self) -> Option<Behind> {
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
    pub(super) fn next_sound(&self, at: usize) -> Option<usize> {
        let told = self
            .head_at(at)
            .and_then(|(length, _)| at.checked_add(HEAD_BYTES + length));
        told.filter(|&next| self.sound_at(next).is_some())
            .or_else(|| (at + 1..self.0.len()).find(|&next| self.sound_at(next).is_some()))
    }

    pub(super) fn head_at(&self, at: usize) -> Option<(usize, u32)> {
        let (head, _) = self.0.get(at..)?.split_first_chunk::<HEAD_BYTES>()?;
        let (length, sum) = record::head(*head);
        Some((usize::try_from(length).ok()?, sum))
    }

    /// Length of the sound record there, its head included.
    pub(super) fn sound_at(&self, at: usize) -> Option<usize> {
        let (length, sum) = self.head_at(at)?;
        let body = self.0.get(at + HEAD_BYTES..)?.get(..length)?;
        // Its inner lengths first: a checksum at every byte would take long.
        let sound = record::is_framed(body)
            && record::checksum(u32::try_from(length).ok()?, body) == sum
            && record::decode(body).is_some();
        sound.then_some(HEAD_BYTES + length)
    }
}

/// The next record; `None` where `left` bytes hold no whole and sound one. `body` is left holding it.
pub(super) fn read_record(
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
pub(super) fn filled(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
