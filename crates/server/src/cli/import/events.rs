//! From the lines of a file to events of devices.

use anyhow::{Context, Result};
use clap::Args;
use forecare_domain::{DeviceEvent, DeviceId, Timestamp};
use forecare_wire::{Decoded, Envelope, Inbound, Limits, decode};
use serde_json::{Map, Value};

use super::mapping::{Keys, MappingArgs};
use crate::tables::{CODE, COMPONENT, Cell, MESSAGE, Record, SEVERITY};

/// Where a file does not say how serious an event is.
const SEVERITY_UNSAID: &str = "info";

/// How a foreign file of events is to be read.
#[derive(Debug, Args)]
pub(crate) struct EventArgs {
    /// Column of an event's code, with --what events.
    #[arg(long, value_name = "COLUMN", default_value = CODE)]
    code_column: String,
}

/// The columns of one file of events, understood.
pub(crate) struct EventMapping {
    keys: Keys,
    code: usize,
    /// Columns that may be there, each with the key of an event.
    others: Vec<(usize, &'static str)>,
}

impl EventMapping {
    /// Finds the columns of an event.
    ///
    /// # Errors
    /// One is missing or twice there: the text names the option that helps.
    pub(crate) fn new(args: &MappingArgs, event: &EventArgs, columns: &[String]) -> Result<Self> {
        let place = |name: &str| columns.iter().position(|c| c == name);
        Ok(Self {
            keys: Keys::of_events(args, columns)?,
            code: place(&event.code_column).with_context(|| {
                format!(
                    "there is no column \"{}\"; name that of the events' codes with --code-column; the file has {}",
                    event.code_column,
                    columns.join(", ")
                )
            })?,
            others: [SEVERITY, COMPONENT, MESSAGE]
                .into_iter()
                .filter_map(|key| Some((place(key)?, key)))
                .collect(),
        })
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The record as an event, by the rules for what a device itself publishes.
    pub(crate) fn event(
        &self,
        record: &Record,
        device: &DeviceId,
        ts: Timestamp,
    ) -> Result<DeviceEvent, String> {
        let mut object = Map::new();
        object.insert("ts".to_owned(), Value::from(ts.as_millis()));
        object.insert(SEVERITY.to_owned(), Value::from(SEVERITY_UNSAID));
        let code = text(&record.cells[self.code]).ok_or("there is no code")?;
        object.insert(CODE.to_owned(), Value::from(code));
        for (column, key) in &self.others {
            if let Some(text) = text(&record.cells[*column]) {
                object.insert((*key).to_owned(), Value::from(text));
            }
        }
        let (topic, payload) = (
            format!("devices/{device}/events"),
            Value::from(object).to_string(),
        );
        let envelope = Envelope {
            topic: &topic,
            payload: payload.as_bytes(),
            content_type: None,
            principal: None,
            received_at: ts,
        };
        let Decoded {
            message,
            rejections,
        } = decode(&envelope, ts, &Limits::default());
        if let Some(Inbound::Event(event)) = message {
            return Ok(event);
        }
        let reasons: Vec<String> = rejections.into_iter().map(|r| r.detail).collect();
        Err(reasons.join("; "))
    }
}

/// What stands there; `None`: nothing.
fn text(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Text(text) => Some(text.clone()),
        Cell::Number(number) => Some(number.to_string()),
        Cell::Empty | Cell::Millis(_) | Cell::Unreadable => None,
    }
}
