//! How far the log is settled, as it lies on disk: written without a sync, and believed only whole.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use super::Place;
use super::segment::filled;

/// Segment, offset, sequence number (u64 each), CRC-32C of these (u32).
const CURSOR_BYTES: usize = 28;

pub(super) fn read_cursor(file: &mut File) -> io::Result<Option<Place>> {
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

pub(super) fn write_cursor(file: &mut File, place: Place) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&cursor_bytes(place))
}

pub(super) fn cursor_bytes(place: Place) -> [u8; CURSOR_BYTES] {
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
