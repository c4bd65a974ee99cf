//! Events as JSON lines, as `forecare export --what events` writes them: an object a line.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::read::{is_gzip, text};
use super::{CODE, COMPONENT, Cell, DEVICE, MESSAGE, Place, Record, SEVERITY, TS};

/// The keys of an event, in the order of a record's cells.
const KEYS: [&str; 6] = [DEVICE, TS, CODE, SEVERITY, COMPONENT, MESSAGE];

/// Reads JSON lines.
pub(crate) struct LinesReader {
    pub(super) columns: Vec<String>,
    lines: BufReader<Box<dyn Read + Send>>,
    place: Place,
    pub(super) bytes: u64,
}

/// True where the first thing in the file is an object.
pub(super) fn is_lines(path: &Path) -> Result<bool> {
    let mut head = Vec::new();
    let cannot = || format!("cannot read {}", path.display());
    text(path, 0)?
        .take(64)
        .read_to_end(&mut head)
        .with_context(cannot)?;
    let first = head.iter().find(|b| !b.is_ascii_whitespace());
    Ok(first == Some(&b'{'))
}

impl LinesReader {
    pub(super) fn open(path: &Path, place: Place) -> Result<Self> {
        let bytes = if is_gzip(path)? {
            0
        } else {
            std::fs::metadata(path)
                .with_context(|| format!("cannot read {}", path.display()))?
                .len()
        };
        Ok(Self {
            columns: KEYS.map(str::to_owned).to_vec(),
            lines: BufReader::new(text(path, place.at)?),
            place,
            bytes,
        })
    }

    pub(super) fn next(&mut self) -> Result<Option<Record>> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let n = self
                .lines
                .read_until(b'\n', &mut line)
                .context("the file cannot be read any further")?;
            if n == 0 {
                return Ok(None);
            }
            self.place.at += n as u64;
            self.place.lines += 1;
            if !line.trim_ascii().is_empty() {
                break;
            }
        }
        let object: Result<Map<String, Value>, _> = serde_json::from_slice(&line);
        let (cells, trouble) = match object {
            Ok(object) => (KEYS.map(|key| cell(object.get(key))).to_vec(), None),
            Err(error) => (
                vec![Cell::Text(String::from_utf8_lossy(&line).trim().to_owned())],
                Some(format!("it is no JSON object: {error}")),
            ),
        };
        Ok(Some(Record {
            line: self.place.lines,
            cells,
            trouble,
        }))
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }
}

fn cell(value: Option<&Value>) -> Cell {
    match value {
        None | Some(Value::Null) => Cell::Empty,
        Some(Value::String(text)) if text.trim().is_empty() => Cell::Empty,
        Some(Value::String(text)) => Cell::Text(text.trim().to_owned()),
        Some(Value::Number(number)) => Cell::Text(number.to_string()),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => Cell::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_goes_on_where_it_stopped() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let line = |n: usize| format!("{{\"device\":\"d{n}\",\"ts\":\"t\",\"code\":\"E\"}}\n");
        let text: String = (1..=3).map(line).collect();
        std::fs::write(file.path(), format!("{text}\n{}", line(4))).unwrap();
        assert!(is_lines(file.path()).unwrap());
        let mut reader = LinesReader::open(file.path(), Place::default()).unwrap();
        reader.next().unwrap().unwrap();
        reader.next().unwrap().unwrap();
        let mut reader = LinesReader::open(file.path(), reader.place()).unwrap();
        let mut rest = Vec::new();
        while let Some(record) = reader.next().unwrap() {
            rest.push((record.line, record.cells[0].clone()));
        }
        let device = |n: usize| Cell::Text(format!("d{n}"));
        assert_eq!(rest, [(3, device(3)), (5, device(4))]);
    }
}
