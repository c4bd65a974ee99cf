//! `…/telemetry`: the JSON dialects.

use std::borrow::Cow;
use std::fmt;

use forecare_domain::{DeviceId, MetricName, RejectReason};

use crate::findings::{Finding, Findings};
use crate::json::{self, Consumer, Entry, Object, Value, no_duplicates, too_many_metrics};
use crate::non_finite::quote_non_finite;
use crate::senml::{self, Pack};
use crate::shown::shown;
use crate::stamp::StampRule;
use crate::topic::same_device;
use crate::waveform::waveform;
use crate::{Limits, Sample, Telemetry};

/// Reads a telemetry payload; `senml` says that the content type calls it SenML.
///
/// # Errors
/// The finding that refuses the whole message.
pub(crate) fn telemetry<'a>(
    device: DeviceId,
    text: &'a str,
    senml: bool,
    rule: StampRule,
    limits: &Limits,
) -> Result<(Option<Telemetry<'a>>, Findings), Finding> {
    let mut reader = Reader::new(&device, senml, rule, limits);
    let (samples, seq, findings) = match json::read(text, limits, &mut reader) {
        Ok(()) => reader.finish()?,
        // Serde stops at NaN and the like. What stands beside them is good all the same.
        Err(broken) if broken.reason == RejectReason::InvalidJson => {
            let Some(quoted) = quote_non_finite(text) else {
                return Err(broken);
            };
            let mut reader = Reader::new(&device, senml, rule, limits);
            match json::read(&quoted, limits, &mut reader) {
                Ok(()) => {
                    let (samples, seq, findings) = reader.finish()?;
                    let samples = samples.into_iter().map(Sample::into_owned).collect();
                    (samples, seq, findings)
                }
                // Still broken: the first error has the true position.
                Err(again) if again.reason == RejectReason::InvalidJson => return Err(broken),
                Err(other) => return Err(other),
            }
        }
        Err(other) => return Err(other),
    };
    let some = !samples.is_empty() || seq.is_some();
    let message = some.then_some(Telemetry {
        device,
        samples,
        seq,
    });
    Ok((message, findings))
}

/// What a reader has read: samples, `seq` and what was refused.
type Read<'a> = (Vec<Sample<'a>>, Option<u64>, Findings);

/// How the objects of this message are to be understood.
enum Dialect<'a> {
    /// To be decided by the first object.
    Open,
    Json,
    Senml(Pack<'a>),
}

struct Reader<'a, 'c> {
    device: &'c DeviceId,
    content_type_senml: bool,
    rule: StampRule,
    limits: &'c Limits,
    dialect: Dialect<'a>,
    samples: Vec<Sample<'a>>,
    seq: Option<u64>,
    findings: Findings,
}

impl<'a, 'c> Reader<'a, 'c> {
    fn new(device: &'c DeviceId, senml: bool, rule: StampRule, limits: &'c Limits) -> Self {
        Self {
            device,
            content_type_senml: senml,
            rule,
            limits,
            dialect: Dialect::Open,
            samples: Vec::new(),
            seq: None,
            findings: Findings::default(),
        }
    }

    fn finish(mut self) -> Result<Read<'a>, Finding> {
        if let Dialect::Senml(pack) = self.dialect {
            self.samples = pack.finish()?;
            if self.samples.is_empty() && self.findings.is_empty() {
                return Err(Finding::new(
                    RejectReason::UnknownShape,
                    "no record has a value",
                ));
            }
        }
        Ok((self.samples, self.seq, self.findings))
    }

    /// Reads one object of the JSON dialects.
    fn sample(&mut self, index: Option<usize>, object: &mut Object<'a>) -> Result<(), Finding> {
        if index.is_some_and(|i| i >= self.limits.samples_max) {
            return Err(too_many_samples(self.limits.samples_max));
        }
        no_duplicates(&object.entries)?;
        no_duplicates(&object.values)?;
        no_duplicates(&object.waveforms)?;
        let n_findings_before = self.findings.n_findings();
        let mut ts = Ok(self.rule.received_at);
        let mut same = Ok(());
        let mut values = Vec::with_capacity(object.values.len().max(object.entries.len()));
        for (key, value) in object.entries.drain(..) {
            match key.as_ref() {
                "ts" => ts = self.rule.read(&value),
                "seq" => self.take_seq(&value),
                "device" => same = same_device(value.text(), self.device),
                "values" | "waveforms" if value == Value::Object => {}
                "values" | "waveforms" => self.findings.add(
                    RejectReason::UnknownShape,
                    format_args!("{}`{key}` is {}, not an object", Place(index), value.kind()),
                ),
                _ if object.has_values => self.findings.add(
                    RejectReason::UnknownShape,
                    format_args!("{}`{}` stands beside `values`", Place(index), shown(&key)),
                ),
                _ => self.take_value(index, (key, value), &mut values),
            }
        }
        for entry in object.values.drain(..) {
            self.take_value(index, entry, &mut values);
        }
        if values.len() > self.limits.metrics_max {
            return Err(too_many_metrics(self.limits.metrics_max));
        }
        let mut waveforms = Vec::with_capacity(object.waveforms.len());
        for (name, fields) in object.waveforms.drain(..) {
            match check_name(&name).and_then(|()| waveform(name, fields, self.limits)) {
                Ok(waveform) => waveforms.push(waveform),
                Err(refused) => {
                    let text = format_args!("{}{}", Place(index), refused.text);
                    self.findings.add(refused.reason, text);
                }
            }
        }
        match (same, ts) {
            (Err(refused), _) | (Ok(()), Err(refused)) => {
                let text = format_args!("{}{}", Place(index), refused.text);
                self.findings.add(refused.reason, text);
            }
            (Ok(()), Ok(ts)) if !values.is_empty() || !waveforms.is_empty() => {
                self.samples.push(Sample {
                    ts,
                    values,
                    waveforms,
                });
            }
            (Ok(()), Ok(_)) => {
                if self.findings.n_findings() == n_findings_before {
                    let text = format_args!("{}no metric in the object", Place(index));
                    self.findings.add(RejectReason::UnknownShape, text);
                }
            }
        }
        Ok(())
    }

    fn take_value(
        &mut self,
        index: Option<usize>,
        (name, value): Entry<'a>,
        values: &mut Vec<(Cow<'a, str>, f64)>,
    ) {
        match metric(&name, &value) {
            Ok(number) => values.push((name, number)),
            Err(refused) => {
                let text = format_args!("{}{}", Place(index), refused.text);
                self.findings.add(refused.reason, text);
            }
        }
    }

    fn take_seq(&mut self, value: &Value<'_>) {
        let seq = match *value {
            Value::Unsigned(n) => n,
            // Some languages write every number as a float; below 2^53 nothing is lost.
            Value::Float(x) if x.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&x) => {
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "whole and in range by the guard"
                )]
                let n = x as u64;
                n
            }
            Value::Float(_)
            | Value::Signed(_)
            | Value::Bool(_)
            | Value::Text(_)
            | Value::Null
            | Value::Array
            | Value::Object => {
                let text = format_args!("`seq` is not a whole number of at least 0");
                return self.findings.add(RejectReason::UnknownShape, text);
            }
        };
        match self.seq {
            Some(other) if other != seq => {
                let text = format_args!("`seq` {other} and {seq} in one message");
                self.findings.add(RejectReason::UnknownShape, text);
                self.seq = Some(other.max(seq));
            }
            _ => self.seq = Some(seq),
        }
    }
}

impl<'a> Consumer<'a> for Reader<'a, '_> {
    fn object(&mut self, index: Option<usize>, object: &mut Object<'a>) -> Result<(), Finding> {
        if matches!(self.dialect, Dialect::Open) {
            self.dialect = if self.content_type_senml && index.is_none() {
                let text = "the content type says SenML, which is an array of records";
                return Err(Finding::new(RejectReason::UnknownShape, text));
            } else if index.is_some() && (self.content_type_senml || senml::looks_like(object)) {
                Dialect::Senml(Pack::new(self.device, self.rule, self.limits))
            } else {
                Dialect::Json
            };
        }
        match &mut self.dialect {
            Dialect::Senml(pack) => pack.record(index.unwrap_or(0), object, &mut self.findings),
            Dialect::Open | Dialect::Json => self.sample(index, object),
        }
    }

    fn other(&mut self, index: Option<usize>, value: &Value<'a>) -> Result<(), Finding> {
        let text = match index {
            // An array that is not empty never comes without an index.
            None if *value == Value::Array => "an empty array".to_owned(),
            None => format!("the payload is {}, not an object or array", value.kind()),
            Some(i) if i >= self.limits.samples_max => {
                return Err(too_many_samples(self.limits.samples_max));
            }
            Some(_) => format!("{}{}, not an object", Place(index), value.kind()),
        };
        self.findings
            .add(RejectReason::UnknownShape, format_args!("{text}"));
        Ok(())
    }
}

/// The finding for a message with more samples than allowed.
pub(crate) fn too_many_samples(samples_max: usize) -> Finding {
    let text = format!("the message has more than {samples_max} samples");
    Finding::new(RejectReason::TooMany, text)
}

/// Checks a metric's name and value.
pub(crate) fn metric(name: &str, value: &Value<'_>) -> Result<f64, Finding> {
    check_name(name)?;
    let number = match value {
        Value::Bool(b) => return Ok(f64::from(u8::from(*b))),
        Value::Unsigned(_) | Value::Signed(_) | Value::Float(_) => value.number(),
        Value::Text(text) => return Err(text_for_number(name, text)),
        Value::Null | Value::Array | Value::Object => None,
    };
    match number {
        // Adding zero turns minus zero into zero, so that equal readings are equal in their bits.
        Some(x) if x.is_finite() => Ok(x + 0.0),
        Some(x) => {
            let text = format!("`{}` is {x}", shown(name));
            Err(Finding::new(RejectReason::NotFinite, text))
        }
        None => {
            let text = format!("`{}` is {}", shown(name), value.kind());
            Err(Finding::new(RejectReason::NotANumber, text))
        }
    }
}

fn text_for_number(name: &str, text: &str) -> Finding {
    let (name, shown_text) = (shown(name), shown(text));
    match text.parse::<f64>() {
        Ok(x) if !x.is_finite() => {
            Finding::new(RejectReason::NotFinite, format!("`{name}` is {shown_text}"))
        }
        Ok(_) => {
            let text = format!("`{name}` is the text `{shown_text}` (send it without quotes)");
            Finding::new(RejectReason::NotANumber, text)
        }
        Err(_) => {
            let text = format!("`{name}` is the text `{shown_text}`");
            Finding::new(RejectReason::NotANumber, text)
        }
    }
}

/// Checks a metric's name without building one.
fn check_name(name: &str) -> Result<(), Finding> {
    // The rule is the domain's; the table only says yes early to what it is sure of.
    if (1..=128).contains(&name.len()) && name.bytes().all(|b| PLAIN[usize::from(b)]) {
        return Ok(());
    }
    match MetricName::new(name) {
        Ok(_) => Ok(()),
        Err(e) => Err(Finding::name("metric", name, &e)),
    }
}

/// Whether a byte is an ASCII character that every name may contain.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
        byte += 1;
    }
    table
};

/// Where in an array: `[3] `, or nothing.
pub(crate) struct Place(pub(crate) Option<usize>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(index) => write!(f, "[{index}] "),
            None => Ok(()),
        }
    }
}
