//! The `waveforms` of an object, read as they come: fields by name, samples as numbers.

use std::borrow::Cow;

use forecare_domain::RejectReason;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::Limits;
use crate::findings::Finding;
use crate::json::{AnyVisitor, Entry, Key, Value, refuse, visit_scalars};

/// Most fields of a waveform: more than are known.
const FIELDS_MAX: usize = 8;
/// Room made at first for samples: a small waveform.
const N_USUAL: usize = 1_024;

/// What stands under a waveform's name.
#[derive(Debug, PartialEq)]
pub(crate) enum Fields<'a> {
    /// An object.
    Object(WaveformFields<'a>),
    /// Anything else.
    Other(Value<'a>),
}

/// The fields of a waveform. Keys may repeat: see [`crate::json::no_duplicates`].
#[derive(Debug, Default, PartialEq)]
pub(crate) struct WaveformFields<'a> {
    /// All fields; `samples` among them, as [`Value::Array`] where it holds numbers.
    pub(crate) entries: Vec<Entry<'a>>,
    /// The numbers of `samples`, as far as they are wanted.
    pub(crate) samples: Vec<f64>,
    /// How many elements `samples` has.
    pub(crate) n_samples: usize,
    /// The first element of `samples` that is no number, and its place.
    pub(crate) not_a_number: Option<(usize, Value<'a>)>,
}

/// Reads `waveforms`, if it is an object.
pub(crate) struct WaveformsSeed<'s, 'a> {
    pub(crate) limits: &'s Limits,
    pub(crate) waveforms: &'s mut Vec<(Cow<'a, str>, Fields<'a>)>,
    pub(crate) fatal: &'s mut Option<Finding>,
}

impl<'a> WaveformsSeed<'_, 'a> {
    fn scalar<E: serde::de::Error>(self, value: Value<'a>) -> Result<Value<'a>, E> {
        Ok(value)
    }
}

impl<'de> DeserializeSeed<'de> for WaveformsSeed<'_, 'de> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value<'de>, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for WaveformsSeed<'_, 'de> {
    type Value = Value<'de>;

    visit_scalars!('de, Value<'de>);

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        while let Some(Key(name)) = map.next_key()? {
            let waveforms_max = self.limits.waveforms_max;
            if self.waveforms.len() >= waveforms_max {
                let text = format!("a sample has more than {waveforms_max} waveforms");
                return Err(refuse(
                    self.fatal,
                    Finding::new(RejectReason::TooMany, text),
                ));
            }
            let fields = map.next_value_seed(FieldsSeed {
                samples_max: self.limits.waveform_samples_max,
                fatal: self.fatal,
            })?;
            self.waveforms.push((name, fields));
        }
        Ok(Value::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Value<'de>, A::Error> {
        AnyVisitor.visit_seq(seq)
    }
}

/// Reads one waveform.
struct FieldsSeed<'s> {
    samples_max: usize,
    fatal: &'s mut Option<Finding>,
}

impl FieldsSeed<'_> {
    fn scalar<'a, E: serde::de::Error>(self, value: Value<'a>) -> Result<Fields<'a>, E> {
        Ok(Fields::Other(value))
    }
}

impl<'de> DeserializeSeed<'de> for FieldsSeed<'_> {
    type Value = Fields<'de>;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Fields<'de>, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FieldsSeed<'_> {
    type Value = Fields<'de>;

    visit_scalars!('de, Fields<'de>);

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = WaveformFields::default();
        let mut has_samples = false;
        while let Some(Key(key)) = map.next_key()? {
            if fields.entries.len() >= FIELDS_MAX {
                let text = format!("a waveform has more than {FIELDS_MAX} fields");
                return Err(refuse(
                    self.fatal,
                    Finding::new(RejectReason::TooMany, text),
                ));
            }
            let value = if key == "samples" && !has_samples {
                has_samples = true;
                map.next_value_seed(SamplesSeed {
                    samples_max: self.samples_max,
                    fields: &mut fields,
                })?
            } else {
                map.next_value()?
            };
            fields.entries.push((key, value));
        }
        Ok(Fields::Object(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Fields<'de>, A::Error> {
        AnyVisitor.visit_seq(seq).map(Fields::Other)
    }
}

/// Reads `samples`: numbers up to the bound; beyond it they are only counted.
struct SamplesSeed<'s, 'a> {
    samples_max: usize,
    fields: &'s mut WaveformFields<'a>,
}

impl<'a> SamplesSeed<'_, 'a> {
    fn scalar<E: serde::de::Error>(self, value: Value<'a>) -> Result<Value<'a>, E> {
        Ok(value)
    }
}

impl<'de> DeserializeSeed<'de> for SamplesSeed<'_, 'de> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value<'de>, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for SamplesSeed<'_, 'de> {
    type Value = Value<'de>;

    visit_scalars!('de, Value<'de>);

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        let fields = self.fields;
        fields.samples.reserve(N_USUAL.min(self.samples_max));
        while let Some(value) = seq.next_element::<Value<'de>>()? {
            match value.number() {
                Some(number) if fields.samples.len() < self.samples_max => {
                    fields.samples.push(number);
                }
                Some(_) => {}
                None if fields.not_a_number.is_none() => {
                    fields.not_a_number = Some((fields.n_samples, value));
                }
                None => {}
            }
            fields.n_samples += 1;
        }
        Ok(Value::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value<'de>, A::Error> {
        AnyVisitor.visit_map(map)
    }
}
