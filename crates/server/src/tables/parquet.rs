//! Parquet, as pandas, DuckDB and Spark read it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use forecare_domain::Row;
use parquet::basic::{Compression, GzipLevel, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::file::writer::SerializedFileWriter;
use parquet::record::Field;
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;

use super::read::{Cell, Record};
use super::write::PartialFile;
use super::{DEVICE, EXTRA, TIME};

/// Little time for most of the gain: 1 to 9.
const GZIP_LEVEL: u32 = 2;
/// Rows of a row group, held in memory until it is written.
const GROUP_ROWS: usize = 100_000;

/// Writes rows of one class.
pub(crate) struct ParquetWriter {
    writer: SerializedFileWriter<PartialFile>,
    devices: Vec<ByteArray>,
    times: Vec<i64>,
    metrics: Vec<Optional<f64>>,
    extra: Optional<ByteArray>,
}

/// A column with gaps: the values, and per row 1 where there is one.
#[derive(Debug)]
struct Optional<T> {
    values: Vec<T>,
    levels: Vec<i16>,
}

impl<T> Default for Optional<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            levels: Vec::new(),
        }
    }
}

impl<T> Optional<T> {
    fn push(&mut self, value: Option<T>) {
        self.levels.push(i16::from(value.is_some()));
        self.values.extend(value);
    }
}

impl ParquetWriter {
    pub(crate) fn new(file: PartialFile, metrics: &[String]) -> Result<Self> {
        let column = |name: &str, physical, repetition, logical| {
            let builder = Type::primitive_type_builder(name, physical)
                .with_repetition(repetition)
                .with_logical_type(logical);
            builder.build().map(Arc::new)
        };
        let mut columns = vec![
            column(
                DEVICE,
                Physical::BYTE_ARRAY,
                Repetition::REQUIRED,
                Some(LogicalType::String),
            )?,
            column(
                TIME,
                Physical::INT64,
                Repetition::REQUIRED,
                Some(LogicalType::timestamp(true, TimeUnit::MILLIS)),
            )?,
        ];
        for name in metrics {
            columns.push(column(name, Physical::DOUBLE, Repetition::OPTIONAL, None)?);
        }
        columns.push(column(
            EXTRA,
            Physical::BYTE_ARRAY,
            Repetition::OPTIONAL,
            Some(LogicalType::String),
        )?);
        let schema = Type::group_type_builder("telemetry")
            .with_fields(columns)
            .build()?;
        let properties = WriterProperties::builder()
            // Slower than Snappy, but every page has a checksum: a damaged file is not read as other values.
            .set_compression(Compression::GZIP(GzipLevel::try_new(GZIP_LEVEL)?))
            .build();
        Ok(Self {
            writer: SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))?,
            devices: Vec::new(),
            times: Vec::new(),
            metrics: metrics.iter().map(|_| Optional::default()).collect(),
            extra: Optional::default(),
        })
    }

    pub(crate) fn row(
        &mut self,
        row: &Row,
        values: impl Iterator<Item = Option<f64>>,
        extra: Option<String>,
    ) -> Result<()> {
        self.devices.push(ByteArray::from(row.device.as_str()));
        self.times.push(row.ts.as_millis());
        for (column, value) in self.metrics.iter_mut().zip(values) {
            column.push(value);
        }
        self.extra
            .push(extra.map(|json| ByteArray::from(json.into_bytes())));
        if self.times.len() >= GROUP_ROWS {
            self.group()?;
        }
        Ok(())
    }

    fn group(&mut self) -> Result<()> {
        let mut group = self.writer.next_row_group()?;
        let mut index = 0;
        while let Some(mut column) = group.next_column()? {
            // In the order of the schema: device, time, the metrics, the rest.
            match index {
                0 => column
                    .typed::<ByteArrayType>()
                    .write_batch(&self.devices, None, None)?,
                1 => column
                    .typed::<Int64Type>()
                    .write_batch(&self.times, None, None)?,
                _ => match self.metrics.get(index - 2) {
                    Some(metric) => column.typed::<DoubleType>().write_batch(
                        &metric.values,
                        Some(&metric.levels),
                        None,
                    )?,
                    None => column.typed::<ByteArrayType>().write_batch(
                        &self.extra.values,
                        Some(&self.extra.levels),
                        None,
                    )?,
                },
            };
            column.close()?;
            index += 1;
        }
        group.close()?;
        self.devices.clear();
        self.times.clear();
        self.metrics
            .iter_mut()
            .for_each(|c| *c = Optional::default());
        self.extra = Optional::default();
        Ok(())
    }

    /// Rows of the group that is not written yet.
    pub(crate) fn held_rows(&self) -> usize {
        self.times.len()
    }

    /// Ends the group early.
    pub(crate) fn flush_rows(&mut self) -> Result<()> {
        if self.times.is_empty() {
            return Ok(());
        }
        self.group()
    }

    pub(crate) fn finish(mut self) -> Result<PartialFile> {
        self.flush_rows()?;
        Ok(self.writer.into_inner()?)
    }
}

/// Reads any Parquet file of flat columns.
pub(crate) struct ParquetReader {
    pub(crate) columns: Vec<String>,
    pub(crate) n_rows: u64,
    /// Per column: what a number in it must be divided by to be milliseconds, where it is a time.
    ticks_per_ms: Vec<Option<i64>>,
    rows: std::iter::Skip<RowIter<'static>>,
    next: u64,
}

impl ParquetReader {
    /// Opens the file behind its first `skip` rows.
    ///
    /// # Errors
    /// The file is no Parquet, or damaged.
    pub(crate) fn open(path: &Path, skip: u64) -> Result<Self> {
        let name = || format!("{} cannot be read as Parquet", path.display());
        let file = File::open(path).with_context(name)?;
        let reader = SerializedFileReader::new(file).with_context(name)?;
        let metadata = reader.metadata().file_metadata();
        let n_rows = u64::try_from(metadata.num_rows()).unwrap_or(0);
        let described = metadata.schema_descr();
        let mut columns = Vec::new();
        let mut ticks_per_ms = Vec::new();
        for column in described.columns() {
            columns.push(column.path().string());
            ticks_per_ms.push(match column.logical_type_ref() {
                Some(LogicalType::Timestamp(time)) => Some(match time.unit {
                    TimeUnit::NANOS => 1_000_000,
                    TimeUnit::MICROS => 1_000,
                    TimeUnit::MILLIS => 1,
                }),
                _ => None,
            });
        }
        let rows = RowIter::from_file_into(Box::new(reader));
        Ok(Self {
            columns,
            n_rows,
            ticks_per_ms,
            rows: rows.skip(usize::try_from(skip).unwrap_or(usize::MAX)),
            next: skip,
        })
    }

    /// The next row; `None` at the end.
    ///
    /// # Errors
    /// The file is damaged here.
    pub(crate) fn next(&mut self) -> Result<Option<Record>> {
        let Some(row) = self.rows.next() else {
            return Ok(None);
        };
        let row = row.with_context(|| format!("the file is damaged at row {}", self.next + 1))?;
        self.next += 1;
        let cells = row
            .get_column_iter()
            .zip(&self.ticks_per_ms)
            .map(|((_, field), ticks)| cell(field, *ticks))
            .collect();
        Ok(Some(Record {
            line: self.next,
            cells,
            trouble: None,
        }))
    }

    /// Rows read so far, skipped ones included.
    pub(crate) fn position(&self) -> u64 {
        self.next
    }
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "other kinds are read as their text"
)]
fn cell(field: &Field, ticks_per_ms: Option<i64>) -> Cell {
    let instant = |ticks: i64, per_ms: i64| Cell::Millis(ticks.div_euclid(per_ms));
    match field {
        Field::Null => Cell::Empty,
        Field::Str(text) => Cell::Text(text.clone()),
        Field::Double(value) => Cell::Number(*value),
        Field::Float(value) => Cell::Number(f64::from(*value)),
        Field::TimestampMillis(ms) => Cell::Millis(*ms),
        Field::TimestampMicros(us) => instant(*us, 1_000),
        Field::Long(ticks) if ticks_per_ms.is_some() => instant(*ticks, ticks_per_ms.unwrap_or(1)),
        // Whole numbers, booleans, dates: as text they are read like those of a CSV file.
        other => Cell::Text(other.to_string()),
    }
}
