//! Writing: CSV, plain or compressed, and Parquet.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use flate2::Compression;
use flate2::write::GzEncoder;
use forecare_catalogue::AssetClass;
use forecare_domain::Row;

#[cfg(feature = "parquet")]
use super::parquet::ParquetWriter;
use super::{DEVICE, EXTRA, TIME, column_of, number};

/// Shape of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Comma-separated text with a header.
    Csv,
    /// The same, compressed with gzip.
    CsvGz,
    /// Apache Parquet, compressed with gzip, whose checksums tell damage.
    #[cfg(feature = "parquet")]
    Parquet,
}

impl Format {
    /// Ending of the file's name.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::CsvGz => "csv.gz",
            #[cfg(feature = "parquet")]
            Self::Parquet => "parquet",
        }
    }
}

/// A file that gets its name once it is complete and on disk.
#[derive(Debug)]
pub(crate) struct PartialFile {
    file: BufWriter<File>,
    partial: PathBuf,
    path: PathBuf,
}

impl PartialFile {
    /// Begins to write what will be `path`.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".part");
        let partial = PathBuf::from(partial);
        let file = File::create(&partial)
            .with_context(|| format!("cannot write {}", partial.display()))?;
        Ok(Self {
            file: BufWriter::new(file),
            partial,
            path: path.to_owned(),
        })
    }

    /// Puts the file on disk under its name.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn finish(self) -> Result<()> {
        let name = || format!("cannot write {}", self.path.display());
        let file = self
            .file
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .with_context(name)?;
        file.sync_all().with_context(name)?;
        std::fs::rename(&self.partial, &self.path).with_context(name)
    }
}

impl Write for PartialFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Writes rows of one class.
pub(crate) enum TableWriter {
    /// Comma-separated text.
    Csv(Box<csv::Writer<Text>>),
    /// Parquet.
    #[cfg(feature = "parquet")]
    Parquet(Box<ParquetWriter>),
}

/// Text, plain or compressed.
pub(crate) enum Text {
    Plain(PartialFile),
    Gzip(GzEncoder<PartialFile>),
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Gzip(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Gzip(file) => file.flush(),
        }
    }
}

impl TableWriter {
    /// Begins the file `path` for rows of `class`, of which the metrics in `columns` (indices) are written.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub(crate) fn create(
        path: &Path,
        format: Format,
        class: &AssetClass,
        columns: &[usize],
    ) -> Result<Self> {
        let file = PartialFile::create(path)?;
        let names: Vec<String> = columns
            .iter()
            .map(|i| column_of(&class.metrics[*i].name))
            .collect();
        let text = match format {
            Format::Csv => Text::Plain(file),
            Format::CsvGz => Text::Gzip(GzEncoder::new(file, Compression::default())),
            #[cfg(feature = "parquet")]
            Format::Parquet => {
                return Ok(Self::Parquet(Box::new(ParquetWriter::new(file, &names)?)));
            }
        };
        let mut writer = csv::Writer::from_writer(text);
        let ends = [EXTRA];
        writer.write_record(
            [DEVICE, TIME]
                .into_iter()
                .chain(names.iter().map(String::as_str))
                .chain(ends),
        )?;
        Ok(Self::Csv(Box::new(writer)))
    }

    /// Writes a row: `values` in the order of the columns, `extra` as JSON where there is any.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn row(
        &mut self,
        row: &Row,
        values: impl Iterator<Item = Option<f64>>,
        extra: Option<String>,
    ) -> Result<()> {
        match self {
            Self::Csv(writer) => {
                writer.write_field(row.device.as_str())?;
                writer.write_field(row.ts.to_string())?;
                for value in values {
                    writer.write_field(value.map(number).unwrap_or_default())?;
                }
                writer.write_field(extra.unwrap_or_default())?;
                writer.write_record(None::<&[u8]>)?;
            }
            #[cfg(feature = "parquet")]
            Self::Parquet(writer) => writer.row(row, values, extra)?,
        }
        Ok(())
    }

    /// Rows held in memory until [`TableWriter::flush_rows`], or until they are enough for a group of Parquet's.
    pub(crate) fn held_rows(&self) -> usize {
        match self {
            Self::Csv(_) => 0,
            #[cfg(feature = "parquet")]
            Self::Parquet(writer) => writer.held_rows(),
        }
    }

    /// Writes the rows held in memory.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn flush_rows(&mut self) -> Result<()> {
        match self {
            Self::Csv(_) => Ok(()),
            #[cfg(feature = "parquet")]
            Self::Parquet(writer) => writer.flush_rows(),
        }
    }

    /// Completes the file.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn finish(self) -> Result<()> {
        match self {
            Self::Csv(writer) => match writer.into_inner().map_err(|e| e.into_error())? {
                Text::Plain(file) => file.finish(),
                Text::Gzip(file) => file.finish()?.finish(),
            },
            #[cfg(feature = "parquet")]
            Self::Parquet(writer) => writer.finish()?.finish(),
        }
    }
}
