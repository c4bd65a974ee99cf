//! Reading: CSV and JSON lines, plain or compressed, and Parquet; from the beginning, or from where an earlier run stopped.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::read::MultiGzDecoder;

use super::lines::{LinesReader, is_lines};
#[cfg(feature = "parquet")]
use super::parquet::ParquetReader;

/// What stands in a place of a table.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    not(feature = "parquet"),
    allow(dead_code, reason = "only Parquet files are typed")
)]
pub(crate) enum Cell {
    /// Nothing.
    Empty,
    /// Text, to be understood by whoever needs it.
    Text(String),
    /// A number of a typed file.
    Number(f64),
    /// A time of a typed file, epoch milliseconds.
    Millis(i64),
    /// Bytes that are no UTF-8.
    Unreadable,
}

/// A line, or a row.
#[derive(Debug)]
pub(crate) struct Record {
    /// Its number: lines of a CSV file from 1 with the header, rows of Parquet from 1.
    pub(crate) line: u64,
    /// As many as the header has columns, or not: to be checked.
    pub(crate) cells: Vec<Cell>,
    /// Why it could not be taken apart into cells; it then stands in one.
    pub(crate) trouble: Option<String>,
}

/// A position between two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    /// Bytes of text, or rows of Parquet, before it.
    pub(crate) at: u64,
    /// Lines before it.
    pub(crate) lines: u64,
}

/// Reads one file.
pub(crate) enum TableReader {
    /// Text.
    Csv(CsvReader),
    /// Events as JSON lines.
    Lines(LinesReader),
    /// Parquet.
    #[cfg(feature = "parquet")]
    Parquet(Box<ParquetReader>),
}

/// Reads comma-separated text.
pub(crate) struct CsvReader {
    columns: Vec<String>,
    reader: csv::Reader<Box<dyn Read + Send>>,
    record: csv::ByteRecord,
    /// Where the reader's own counting begins.
    origin: Place,
    bytes: u64,
}

fn begins_with(path: &Path, magic: &[u8]) -> Result<bool> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut head = Vec::new();
    file.by_ref()
        .take(4)
        .read_to_end(&mut head)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(head.starts_with(magic))
}

pub(super) fn is_gzip(path: &Path) -> Result<bool> {
    begins_with(path, &[0x1f, 0x8b])
}

/// The file's text from byte `skip` on.
pub(super) fn text(path: &Path, skip: u64) -> Result<Box<dyn Read + Send>> {
    let cannot = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    if is_gzip(path)? {
        let mut text = MultiGzDecoder::new(BufReader::new(file));
        std::io::copy(&mut (&mut text).take(skip), &mut std::io::sink()).with_context(cannot)?;
        return Ok(Box::new(BufReader::new(text)));
    }
    file.seek(SeekFrom::Start(skip)).with_context(cannot)?;
    Ok(Box::new(file))
}

fn csv_reader(text: Box<dyn Read + Send>) -> csv::Reader<Box<dyn Read + Send>> {
    csv::ReaderBuilder::new()
        .has_headers(false)
        // A line of another length is refused by itself, not the file.
        .flexible(true)
        .buffer_capacity(1 << 20)
        .from_reader(text)
}

impl TableReader {
    /// Opens a file at `place`, as [`TableReader::place`] has told it.
    ///
    /// # Errors
    /// The file cannot be read, is empty, or of another kind.
    pub(crate) fn open(path: &Path, place: Place) -> Result<Self> {
        if begins_with(path, b"PAR1")? {
            #[cfg(feature = "parquet")]
            return Ok(Self::Parquet(Box::new(ParquetReader::open(
                path, place.at,
            )?)));
            #[cfg(not(feature = "parquet"))]
            bail!(
                "{} is a Parquet file, and this forecare was built without Parquet: build it with the feature parquet, or convert the file to CSV",
                path.display()
            );
        }
        if begins_with(path, &[0x28, 0xb5, 0x2f, 0xfd])? {
            bail!(
                "{} is compressed with Zstandard: decompress it first (zstd -d), or use gzip",
                path.display()
            );
        }
        if is_lines(path)? {
            return Ok(Self::Lines(LinesReader::open(path, place)?));
        }
        Ok(Self::Csv(CsvReader::open(path, place)?))
    }

    /// Whether these are JSON lines, which only events come in.
    pub(crate) fn is_lines(&self) -> bool {
        matches!(self, Self::Lines(_))
    }

    /// The columns' names.
    pub(crate) fn columns(&self) -> &[String] {
        match self {
            Self::Csv(reader) => &reader.columns,
            Self::Lines(reader) => &reader.columns,
            #[cfg(feature = "parquet")]
            Self::Parquet(reader) => &reader.columns,
        }
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// The file cannot be read any further.
    pub(crate) fn next(&mut self) -> Result<Option<Record>> {
        match self {
            Self::Csv(reader) => reader.next(),
            Self::Lines(reader) => reader.next(),
            #[cfg(feature = "parquet")]
            Self::Parquet(reader) => reader.next(),
        }
    }

    /// Behind the last record.
    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Csv(reader) => reader.place(),
            Self::Lines(reader) => reader.place(),
            #[cfg(feature = "parquet")]
            Self::Parquet(reader) => Place {
                at: reader.position(),
                lines: reader.position(),
            },
        }
    }

    /// How far a place can get, where that is known: bytes of plain text, or rows.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Csv(reader) => Some(reader.bytes).filter(|bytes| *bytes > 0),
            Self::Lines(reader) => Some(reader.bytes).filter(|bytes| *bytes > 0),
            #[cfg(feature = "parquet")]
            Self::Parquet(reader) => Some(reader.n_rows),
        }
    }
}

impl CsvReader {
    fn open(path: &Path, place: Place) -> Result<Self> {
        let mut reader = csv_reader(text(path, 0)?);
        let mut record = csv::ByteRecord::new();
        let cannot = || format!("cannot read {}", path.display());
        if !reader.read_byte_record(&mut record).with_context(cannot)? {
            bail!(
                "{} is empty: its first line must name the columns",
                path.display()
            );
        }
        let columns = record
            .iter()
            .map(|name| {
                String::from_utf8_lossy(name)
                    .trim_start_matches('\u{feff}')
                    .trim()
                    .to_owned()
            })
            .collect();
        // A compressed file does not say how long its text is.
        let bytes = if is_gzip(path)? {
            0
        } else {
            std::fs::metadata(path).with_context(cannot)?.len()
        };
        let origin = if place.at == 0 {
            Place::default()
        } else {
            reader = csv_reader(text(path, place.at)?);
            place
        };
        Ok(Self {
            columns,
            reader,
            record,
            origin,
            bytes,
        })
    }

    fn next(&mut self) -> Result<Option<Record>> {
        if !self
            .reader
            .read_byte_record(&mut self.record)
            .context("the file cannot be read any further")?
        {
            return Ok(None);
        }
        let lines = self.record.position().map_or(0, csv::Position::line);
        let cells = self
            .record
            .iter()
            .map(|bytes| match std::str::from_utf8(bytes).map(str::trim) {
                Ok("") => Cell::Empty,
                Ok(text) => Cell::Text(text.to_owned()),
                Err(_) => Cell::Unreadable,
            })
            .collect();
        Ok(Some(Record {
            line: self.origin.lines + lines,
            cells,
            trouble: None,
        }))
    }

    fn place(&self) -> Place {
        let own = self.reader.position();
        Place {
            at: self.origin.at + own.byte(),
            // Its lines count from 1.
            lines: self.origin.lines + own.line().saturating_sub(1),
        }
    }
}
