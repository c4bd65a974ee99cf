//! One waveform: rate, unit, and samples as numbers or as base64.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use forecare_domain::RejectReason;

use crate::findings::Finding;
use crate::json::{Entry, Value, no_duplicates};
use crate::shown::shown;
use crate::waveform_json::{Fields, WaveformFields};
use crate::{Limits, Waveform};

/// Highest sampling rate, Hz: beyond what acceleration, acoustic emission or current is sampled at.
const RATE_HZ_MAX: f64 = 1e8;

/// Standard alphabet, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How base64 holds samples, little-endian.
#[derive(Debug, Clone, Copy)]
enum Encoding {
    /// IEEE single precision.
    F32,
    /// Signed 16-bit integer, as from the converter.
    I16,
}

/// The fields that are known, as they stand in the payload.
#[derive(Default)]
struct Known<'a> {
    rate_hz: Option<Value<'a>>,
    unit: Option<Value<'a>>,
    scale: Option<Value<'a>>,
    encoding: Option<Value<'a>>,
    samples: Option<Value<'a>>,
}

/// Judges the fields of a waveform whose name is valid.
///
/// # Errors
/// The finding that refuses this waveform; what stands beside it is good all the same.
pub(crate) fn waveform<'a>(
    name: Cow<'a, str>,
    fields: Fields<'a>,
    limits: &Limits,
) -> Result<Waveform<'a>, Finding> {
    let read = match fields {
        Fields::Object(fields) => judge(fields, limits),
        Fields::Other(value) => Err(Finding::new(
            RejectReason::UnknownShape,
            format!("is {}, not an object", value.kind()),
        )),
    };
    match read {
        Ok((rate_hz, unit, samples)) => Ok(Waveform {
            name,
            rate_hz,
            unit,
            samples,
        }),
        Err(refused) => {
            let text = format!("waveform `{}` {}", shown(&name), refused.text);
            Err(Finding::new(refused.reason, text))
        }
    }
}

/// Rate, unit and samples; findings go on after the waveform's name.
type Judged<'a> = (f64, Option<Cow<'a, str>>, Vec<f64>);

fn judge<'a>(mut fields: WaveformFields<'a>, limits: &Limits) -> Result<Judged<'a>, Finding> {
    no_duplicates(&fields.entries)?;
    let known = sort(std::mem::take(&mut fields.entries))?;
    let rate_hz = match known.rate_hz.as_ref().map(Value::number) {
        Some(Some(hz)) if hz > 0.0 && hz <= RATE_HZ_MAX => hz,
        Some(Some(hz)) => {
            return Err(invalid(format!(
                "has a `rate_hz` of {hz}, not above 0 and at most {RATE_HZ_MAX}"
            )));
        }
        Some(None) => return Err(invalid("has a `rate_hz` that is not a number")),
        None => return Err(invalid("has no `rate_hz`")),
    };
    let unit = match known.unit {
        None | Some(Value::Null) => None,
        Some(Value::Text(unit)) if is_unit(&unit) => Some(unit),
        Some(Value::Text(unit)) => {
            return Err(invalid(format!(
                "has the `unit` `{}`, which is none",
                shown(&unit)
            )));
        }
        Some(other) => return Err(invalid(format!("has a `unit` that is {}", other.kind()))),
    };
    let scale = match known.scale.as_ref().map(Value::number) {
        None => 1.0,
        Some(Some(scale)) if scale.is_finite() && scale != 0.0 => scale,
        Some(_) => return Err(invalid("has a `scale` that is not a number other than 0")),
    };
    let encoding = known.encoding.as_ref().map(encoding).transpose()?;
    let mut samples = match (known.samples, encoding) {
        (Some(Value::Array), None) => numbers(fields, limits)?,
        (Some(Value::Array), Some(_)) => {
            return Err(invalid(
                "has `samples` as numbers: these have no `encoding`",
            ));
        }
        (Some(Value::Text(text)), Some(encoding)) => decoded(&text, encoding, limits)?,
        (Some(Value::Text(_)), None) => {
            return Err(invalid("has `samples` as text, and no `encoding`"));
        }
        (Some(other), _) => {
            return Err(invalid(format!("has `samples` that are {}", other.kind())));
        }
        (None, _) => return Err(invalid("has no `samples`")),
    };
    if samples.len() < limits.waveform_samples_min {
        let (n, min) = (samples.len(), limits.waveform_samples_min);
        return Err(invalid(format!("has {n} samples, fewer than {min}")));
    }
    for (i, sample) in samples.iter_mut().enumerate() {
        *sample *= scale;
        if !sample.is_finite() {
            let text = format!("has a sample [{i}] that is {sample}");
            return Err(Finding::new(RejectReason::NotFinite, text));
        }
    }
    Ok((rate_hz, unit, samples))
}

/// Whether it can be a unit: short, and harmless wherever it is shown.
fn is_unit(unit: &str) -> bool {
    const CHARS_MAX: usize = 16;
    unit.chars().count() <= CHARS_MAX
        && unit
            .chars()
            .all(|c| c.is_alphanumeric() || " /^*.()%°·²³".contains(c))
}

/// Fields that are not known may change what the others mean: they refuse the waveform.
fn sort(entries: Vec<Entry<'_>>) -> Result<Known<'_>, Finding> {
    let mut known = Known::default();
    for (key, value) in entries {
        let place = match key.as_ref() {
            "rate_hz" => &mut known.rate_hz,
            "unit" => &mut known.unit,
            "scale" => &mut known.scale,
            "encoding" => &mut known.encoding,
            "samples" => &mut known.samples,
            other => {
                let text = format!(
                    "has a field `{}`, none of rate_hz, unit, scale, encoding, samples",
                    shown(other)
                );
                return Err(invalid(text));
            }
        };
        *place = Some(value);
    }
    Ok(known)
}

fn encoding(value: &Value<'_>) -> Result<Encoding, Finding> {
    match value.text() {
        Some("f32") => Ok(Encoding::F32),
        Some("i16") => Ok(Encoding::I16),
        Some(other) => {
            let text = format!("has the encoding `{}`, neither f32 nor i16", shown(other));
            Err(invalid(text))
        }
        None => Err(invalid(format!(
            "has an `encoding` that is {}",
            value.kind()
        ))),
    }
}

fn numbers(fields: WaveformFields<'_>, limits: &Limits) -> Result<Vec<f64>, Finding> {
    if fields.n_samples > limits.waveform_samples_max {
        return Err(too_many(fields.n_samples, limits));
    }
    let Some((i, value)) = fields.not_a_number else {
        return Ok(fields.samples);
    };
    match value.text() {
        // NaN and the like arrive as texts.
        Some(text) if text.parse::<f64>().is_ok_and(|x| !x.is_finite()) => {
            let text = format!("has a sample [{i}] that is {}", shown(text));
            Err(Finding::new(RejectReason::NotFinite, text))
        }
        _ => {
            let text = format!("has a sample [{i}] that is {}", value.kind());
            Err(Finding::new(RejectReason::NotANumber, text))
        }
    }
}

fn decoded(text: &str, encoding: Encoding, limits: &Limits) -> Result<Vec<f64>, Finding> {
    let width = match encoding {
        Encoding::F32 => 4,
        Encoding::I16 => 2,
    };
    // Known before it is decoded, give or take the padding.
    let n_most = text.len() / 4 * 3 / width;
    if n_most > limits.waveform_samples_max + 2 {
        return Err(too_many(n_most, limits));
    }
    let bytes = BASE64.decode(text).map_err(|e| {
        invalid(format!(
            "has `samples` that are not base64: {}",
            shown(&e.to_string())
        ))
    })?;
    if bytes.len() % width != 0 {
        let n = bytes.len();
        return Err(invalid(format!(
            "has {n} bytes of samples of {width} bytes each"
        )));
    }
    let samples: Vec<f64> = match encoding {
        Encoding::F32 => words(&bytes)
            .map(|b| f64::from(f32::from_le_bytes(b)))
            .collect(),
        Encoding::I16 => words(&bytes)
            .map(|b| f64::from(i16::from_le_bytes(b)))
            .collect(),
    };
    if samples.len() > limits.waveform_samples_max {
        return Err(too_many(samples.len(), limits));
    }
    Ok(samples)
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks().0.iter().copied()
}

fn too_many(n: usize, limits: &Limits) -> Finding {
    let max = limits.waveform_samples_max;
    let text = format!("has {n} samples, more than {max}");
    Finding::new(RejectReason::TooMany, text)
}

fn invalid(text: impl Into<String>) -> Finding {
    Finding::new(RejectReason::InvalidWaveform, text)
}
