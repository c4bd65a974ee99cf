//! SenML (RFC 8428): an array of records, each adding to the base fields of those before it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use forecare_domain::{DeviceId, RejectReason, Timestamp};

use crate::findings::{Finding, Findings};
use crate::json::{Entry, Object, Value, no_duplicates, too_many_metrics};
use crate::shown::shown;
use crate::stamp::StampRule;
use crate::telemetry::{Place, metric, too_many_samples};
use crate::{Limits, Sample};

/// The version of SenML that RFC 8428 describes; packs of a later one are refused, as it demands.
const VERSION_MAX: f64 = 10.0;

/// Whether the first object of an array is a SenML record: only there do `bn` and `n` hold texts.
pub(crate) fn looks_like(object: &Object<'_>) -> bool {
    let named = |(key, value): &Entry<'_>| {
        matches!(key.as_ref(), "bn" | "n") && matches!(value, Value::Text(_))
    };
    !object.has_values && !object.has_waveforms && object.entries.iter().any(named)
}

/// A pack as far as it has been read.
pub(crate) struct Pack<'a> {
    device: String,
    rule: StampRule,
    samples_max: usize,
    metrics_max: usize,
    base_name: String,
    base_time_s: f64,
    base_value: f64,
    samples: Vec<Sample<'a>>,
    at: BTreeMap<Timestamp, usize>,
}

/// The fields of one record that do not carry over to the next.
#[derive(Default)]
struct Record<'a> {
    name: Option<Cow<'a, str>>,
    time_s: f64,
    value: Option<Value<'a>>,
    refused: Option<Finding>,
}

impl<'a> Pack<'a> {
    pub(crate) fn new(device: &DeviceId, rule: StampRule, limits: &Limits) -> Self {
        Self {
            device: device.as_str().to_owned(),
            rule,
            samples_max: limits.samples_max,
            metrics_max: limits.metrics_max,
            base_name: String::new(),
            base_time_s: 0.0,
            base_value: 0.0,
            samples: Vec::new(),
            at: BTreeMap::new(),
        }
    }

    /// Takes one record. A base field that cannot be read refuses the whole pack, because all records
    /// after it mean something else; any other fault only its record.
    pub(crate) fn record(
        &mut self,
        index: usize,
        object: &mut Object<'a>,
        findings: &mut Findings,
    ) -> Result<(), Finding> {
        no_duplicates(&object.entries)?;
        let mut record = Record::default();
        for entry in object.entries.drain(..) {
            self.field(index, entry, &mut record)?;
        }
        let resolved = match record {
            Record {
                refused: Some(refused),
                ..
            } => Err(refused),
            // A record of base fields only.
            Record {
                name: None,
                value: None,
                ..
            } => return Ok(()),
            Record {
                name,
                time_s,
                value,
                ..
            } => self.resolve(name, time_s, value),
        };
        match resolved {
            Ok((ts, name, value)) => self.push(ts, name, value),
            Err(refused) => {
                let text = format_args!("{}{}", Place(Some(index)), refused.text);
                findings.add(refused.reason, text);
                Ok(())
            }
        }
    }

    /// The samples, one per time, in the order in which times were first met.
    pub(crate) fn finish(self) -> Result<Vec<Sample<'a>>, Finding> {
        for sample in &self.samples {
            no_duplicates(&sample.values)?;
        }
        Ok(self.samples)
    }

    fn field(
        &mut self,
        index: usize,
        (key, value): Entry<'a>,
        record: &mut Record<'a>,
    ) -> Result<(), Finding> {
        match key.as_ref() {
            "bn" => {
                self.base_name = self.prefix(value.text().ok_or_else(|| unreadable(index, &key))?)
            }
            "bt" => self.base_time_s = value.number().ok_or_else(|| unreadable(index, &key))?,
            "bv" => self.base_value = value.number().ok_or_else(|| unreadable(index, &key))?,
            "bver" => {
                let version = value.number().ok_or_else(|| unreadable(index, &key))?;
                if version > VERSION_MAX {
                    let text = format!("SenML version {version} is newer than {VERSION_MAX}");
                    return Err(Finding::new(RejectReason::UnknownShape, text));
                }
            }
            "n" => match value {
                Value::Text(name) => record.name = Some(name),
                Value::Unsigned(_)
                | Value::Signed(_)
                | Value::Float(_)
                | Value::Bool(_)
                | Value::Null
                | Value::Array
                | Value::Object => {
                    record.refused = Some(shape("`n` is not a text"));
                }
            },
            "t" => match value.number() {
                Some(seconds) => record.time_s = seconds,
                None => {
                    let text = "`t` is not a number of seconds";
                    record.refused = Some(Finding::new(RejectReason::InvalidTimestamp, text));
                }
            },
            "v" | "vb" | "vs" | "vd" if record.value.is_some() => {
                record.refused = Some(shape("a record has more than one value"));
            }
            // Kept as it is: what is neither number nor boolean is refused where values are checked.
            "v" | "vb" | "vs" | "vd" => record.value = Some(value),
            "s" | "bs" => record.refused = Some(shape("sums (`s`, `bs`) are not stored")),
            // Labels that end so must be understood (section 4.4); all other unknown ones, and units,
            // which the catalogue knows, are passed over as the RFC asks.
            label if label.ends_with('_') => {
                let text = format!(
                    "SenML label `{}` must be understood, and is not",
                    shown(label)
                );
                return Err(Finding::new(RejectReason::UnknownShape, text));
            }
            _ => {}
        }
        Ok(())
    }

    /// What a base name adds to a metric's name: nothing of it, where it names the device.
    fn prefix(&self, base_name: &str) -> String {
        if base_name.starts_with("urn:") {
            return String::new();
        }
        let separator = |c: char| matches!(c, ':' | '/' | '.');
        match base_name.strip_prefix(self.device.as_str()) {
            Some("") => String::new(),
            Some(rest) if rest.starts_with(separator) => rest[1..].to_owned(),
            _ => base_name.to_owned(),
        }
    }

    fn resolve(
        &self,
        name: Option<Cow<'a, str>>,
        time_s: f64,
        value: Option<Value<'a>>,
    ) -> Result<(Timestamp, Cow<'a, str>, f64), Finding> {
        let name = match name {
            Some(name) if self.base_name.is_empty() => name,
            name => Cow::Owned(format!("{}{}", self.base_name, name.unwrap_or_default())),
        };
        let Some(value) = value else {
            return Err(shape(&format!("`{}` has no value", shown(&name))));
        };
        let offset = metric(&name, &value)?;
        // The base value is added to numbers only.
        let number = if matches!(value, Value::Bool(_)) {
            offset
        } else {
            metric(&name, &Value::Float(self.base_value + offset))?
        };
        let ts = self.rule.read_senml(self.base_time_s + time_s)?;
        Ok((ts, name, number))
    }

    fn push(&mut self, ts: Timestamp, name: Cow<'a, str>, value: f64) -> Result<(), Finding> {
        let next = self.samples.len();
        let place = *self.at.entry(ts).or_insert(next);
        if place >= self.samples_max {
            return Err(too_many_samples(self.samples_max));
        }
        if place == next {
            self.samples.push(Sample {
                ts,
                values: Vec::new(),
                waveforms: Vec::new(),
            });
        }
        let values = &mut self.samples[place].values;
        if values.len() >= self.metrics_max {
            return Err(too_many_metrics(self.metrics_max));
        }
        values.push((name, value));
        Ok(())
    }
}

fn shape(text: &str) -> Finding {
    Finding::new(RejectReason::UnknownShape, text)
}

fn unreadable(index: usize, key: &str) -> Finding {
    shape(&format!(
        "{}base field `{}` cannot be read",
        Place(Some(index)),
        shown(key)
    ))
}
