//! JSON read flat: one object, or an array of objects, whose values are scalars, except that the key
//! `values` may hold one more object, and `waveforms` an object of waveforms. Keys and texts are borrowed from the
//! payload.

use std::borrow::Cow;
use std::fmt;

use forecare_domain::RejectReason;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::Limits;
use crate::findings::Finding;
use crate::shown::shown;
use crate::waveform_json::{Fields, WaveformsSeed};

/// Keys an object may have beside its metrics: `ts`, `seq`, `device`, `values` and `waveforms`.
const RESERVED_MAX: usize = 5;
/// Room made at first for the entries of an object: most have no more.
const N_USUAL: usize = 12;

/// A value as far as any dialect needs it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(Cow<'a, str>),
    Null,
    Array,
    Object,
}

impl Value<'_> {
    /// What it is, for a sentence.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Unsigned(_) | Self::Signed(_) | Self::Float(_) => "a number",
            Self::Bool(_) => "a boolean",
            Self::Text(_) => "a text",
            Self::Null => "null",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }

    /// The number it is, rounded to the nearest double; `None` for all else.
    pub(crate) fn number(&self) -> Option<f64> {
        // Integers beyond 2^53 round, as every JSON reader with doubles does.
        match *self {
            Self::Unsigned(n) => Some(n as f64),
            Self::Signed(n) => Some(n as f64),
            Self::Float(x) => Some(x),
            Self::Bool(_) | Self::Text(_) | Self::Null | Self::Array | Self::Object => None,
        }
    }

    /// The text it is; `None` for all else.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Unsigned(_)
            | Self::Signed(_)
            | Self::Float(_)
            | Self::Bool(_)
            | Self::Null
            | Self::Array
            | Self::Object => None,
        }
    }
}

/// A key and its value.
pub(crate) type Entry<'a> = (Cow<'a, str>, Value<'a>);

/// One object. Keys may repeat: see [`no_duplicates`].
#[derive(Debug, Default)]
pub(crate) struct Object<'a> {
    /// All entries; `values` and `waveforms` among them, as [`Value::Object`] where they hold one.
    pub(crate) entries: Vec<Entry<'a>>,
    /// The entries of `values`, if it holds an object.
    pub(crate) values: Vec<Entry<'a>>,
    /// Whether `values` holds an object.
    pub(crate) has_values: bool,
    /// The entries of `waveforms`, if it holds an object.
    pub(crate) waveforms: Vec<(Cow<'a, str>, Fields<'a>)>,
    /// Whether `waveforms` holds an object.
    pub(crate) has_waveforms: bool,
}

impl Object<'_> {
    fn clear(&mut self) {
        self.entries.clear();
        self.values.clear();
        self.has_values = false;
        self.waveforms.clear();
        self.has_waveforms = false;
    }
}

/// Takes what [`read`] finds. A finding that is returned refuses the whole message.
pub(crate) trait Consumer<'a> {
    /// An object: the whole payload, or the element `index` of an array. It may be emptied.
    fn object(&mut self, index: Option<usize>, object: &mut Object<'a>) -> Result<(), Finding>;
    /// Something else in the place of an object.
    fn other(&mut self, index: Option<usize>, value: &Value<'a>) -> Result<(), Finding>;
}

/// Reads a payload into `consumer`.
///
/// # Errors
/// The finding that refuses the whole message: broken JSON, too deep, too many keys, or the consumer's.
pub(crate) fn read<'a>(
    text: &'a str,
    limits: &Limits,
    consumer: &mut impl Consumer<'a>,
) -> Result<(), Finding> {
    let mut fatal = None;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let top = Top {
        limits,
        consumer,
        fatal: &mut fatal,
    };
    let result = deserializer
        .deserialize_any(top)
        .and_then(|()| deserializer.end());
    match (fatal, result) {
        (Some(finding), _) => Err(finding),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) => Err(broken(text, &error)),
    }
}

/// The finding for text that is not JSON.
fn broken(text: &str, error: &serde_json::Error) -> Finding {
    let why = error.to_string();
    // serde_json keeps its error codes to itself; the text is all there is to tell them apart.
    if why.starts_with("recursion limit exceeded") {
        return Finding::new(RejectReason::TooDeep, "nested deeper than 127 levels");
    }
    let hint = if error.is_eof() {
        ", the payload ends too early"
    } else if text.contains('\0') {
        ", the payload contains a NUL byte"
    } else {
        ""
    };
    let text = format!("not JSON: {}{hint}", crate::shown::shown_to(&why, 100));
    Finding::new(RejectReason::InvalidJson, text)
}

/// Refuses entries of which two have the same name.
pub(crate) fn no_duplicates<V>(entries: &[(Cow<'_, str>, V)]) -> Result<(), Finding> {
    // Comparing each with each is fastest for the few keys of most objects; sorting keeps a hostile
    // object of many keys from costing their square.
    const COMPARED_MAX: usize = 16;
    let twice = if entries.len() <= COMPARED_MAX {
        let later = |i: usize| entries.iter().skip(i + 1);
        let repeated = |(i, e): &(usize, &(Cow<'_, str>, V))| later(*i).any(|l| l.0 == e.0);
        entries
            .iter()
            .enumerate()
            .find(repeated)
            .map(|(_, e)| e.0.as_ref())
    } else {
        let mut names: Vec<&str> = entries.iter().map(|e| e.0.as_ref()).collect();
        names.sort_unstable();
        names.windows(2).find(|w| w[0] == w[1]).map(|w| w[0])
    };
    match twice {
        None => Ok(()),
        Some(name) => {
            let text = format!("`{}` is there more than once", shown(name));
            Err(Finding::new(RejectReason::DuplicateKey, text))
        }
    }
}

/// Leaves the finding where [`read`] looks for it, and returns an error that stops the reading.
pub(crate) fn refuse<E: serde::de::Error>(fatal: &mut Option<Finding>, finding: Finding) -> E {
    *fatal = Some(finding);
    E::custom("refused")
}

/// The whole payload: an object, or an array of them.
struct Top<'c, C> {
    limits: &'c Limits,
    consumer: &'c mut C,
    fatal: &'c mut Option<Finding>,
}

impl<'de, C: Consumer<'de>> Top<'_, C> {
    fn object_seed<'s>(&'s mut self, object: &'s mut Object<'de>) -> ObjectSeed<'s, 'de> {
        object.clear();
        ObjectSeed {
            limits: self.limits,
            object,
            fatal: self.fatal,
        }
    }

    fn hand_on<E: serde::de::Error>(
        &mut self,
        index: Option<usize>,
        value: &Value<'de>,
        object: &mut Object<'de>,
    ) -> Result<(), E> {
        let taken = if *value == Value::Object {
            self.consumer.object(index, object)
        } else {
            self.consumer.other(index, value)
        };
        taken.map_err(|finding| refuse(self.fatal, finding))
    }
}

impl<'de, C: Consumer<'de>> DeserializeSeed<'de> for Top<'_, C> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

/// The visits of scalars, each handed to the method `scalar`.
macro_rules! visit_scalars {
    ($lifetime:lifetime, $value:ty) => {
        fn visit_bool<E: serde::de::Error>(self, v: bool) -> Result<$value, E> {
            self.scalar(Value::Bool(v))
        }
        fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<$value, E> {
            self.scalar(Value::Unsigned(v))
        }
        fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<$value, E> {
            self.scalar(Value::Signed(v))
        }
        fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<$value, E> {
            self.scalar(Value::Float(v))
        }
        fn visit_borrowed_str<E: serde::de::Error>(self, v: &$lifetime str) -> Result<$value, E> {
            self.scalar(Value::Text(Cow::Borrowed(v)))
        }
        fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<$value, E> {
            self.scalar(Value::Text(Cow::Owned(v.to_owned())))
        }
        fn visit_unit<E: serde::de::Error>(self) -> Result<$value, E> {
            self.scalar(Value::Null)
        }
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("JSON")
        }
    };
}
pub(crate) use visit_scalars;

impl<'de, C: Consumer<'de>> Top<'_, C> {
    fn scalar<E: serde::de::Error>(mut self, value: Value<'de>) -> Result<(), E> {
        self.hand_on(None, &value, &mut Object::default())
    }
}

impl<'de, C: Consumer<'de>> Visitor<'de> for Top<'_, C> {
    type Value = ();

    visit_scalars!('de, ());

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<(), A::Error> {
        let mut object = Object::default();
        let value = self.object_seed(&mut object).visit_map(map)?;
        self.hand_on(None, &value, &mut object)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let mut object = Object::default();
        let mut n_elements = 0;
        while let Some(value) = seq.next_element_seed(self.object_seed(&mut object))? {
            self.hand_on(Some(n_elements), &value, &mut object)?;
            n_elements += 1;
        }
        if n_elements == 0 {
            self.hand_on(None, &Value::Array, &mut object)?;
        }
        Ok(())
    }
}

/// Fills an object, if it is one.
struct ObjectSeed<'s, 'a> {
    limits: &'s Limits,
    object: &'s mut Object<'a>,
    fatal: &'s mut Option<Finding>,
}

impl<'a> ObjectSeed<'_, 'a> {
    fn scalar<E: serde::de::Error>(self, value: Value<'a>) -> Result<Value<'a>, E> {
        Ok(value)
    }
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_, 'de> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value<'de>, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_, 'de> {
    type Value = Value<'de>;

    visit_scalars!('de, Value<'de>);

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        self.object.entries.reserve(N_USUAL);
        while let Some(Key(key)) = map.next_key()? {
            let metrics_max = self.limits.metrics_max;
            if self.object.entries.len() >= metrics_max.saturating_add(RESERVED_MAX) {
                return Err(refuse(self.fatal, too_many_metrics(metrics_max)));
            }
            // A second `values` or `waveforms` stays an entry, and so the first one: see `no_duplicates`.
            let value = if key == "values" && !self.object.has_values {
                let seed = ValuesSeed {
                    metrics_max,
                    object: self.object,
                    fatal: self.fatal,
                };
                map.next_value_seed(seed)?
            } else if key == "waveforms" && !self.object.has_waveforms {
                let seed = WaveformsSeed {
                    limits: self.limits,
                    waveforms: &mut self.object.waveforms,
                    fatal: self.fatal,
                };
                let value = map.next_value_seed(seed)?;
                self.object.has_waveforms = value == Value::Object;
                value
            } else {
                map.next_value()?
            };
            self.object.entries.push((key, value));
        }
        Ok(Value::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Value<'de>, A::Error> {
        AnyVisitor.visit_seq(seq)
    }
}

/// Fills the `values` of an object, if they are an object.
struct ValuesSeed<'s, 'a> {
    metrics_max: usize,
    object: &'s mut Object<'a>,
    fatal: &'s mut Option<Finding>,
}

impl<'a> ValuesSeed<'_, 'a> {
    fn scalar<E: serde::de::Error>(self, value: Value<'a>) -> Result<Value<'a>, E> {
        Ok(value)
    }
}

impl<'de> DeserializeSeed<'de> for ValuesSeed<'_, 'de> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value<'de>, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValuesSeed<'_, 'de> {
    type Value = Value<'de>;

    visit_scalars!('de, Value<'de>);

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        self.object.has_values = true;
        self.object.values.reserve(N_USUAL);
        while let Some(Key(key)) = map.next_key()? {
            if self.object.values.len() >= self.metrics_max {
                return Err(refuse(self.fatal, too_many_metrics(self.metrics_max)));
            }
            let value = map.next_value()?;
            self.object.values.push((key, value));
        }
        Ok(Value::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Value<'de>, A::Error> {
        AnyVisitor.visit_seq(seq)
    }
}

/// The finding for a sample with more metrics than allowed.
pub(crate) fn too_many_metrics(metrics_max: usize) -> Finding {
    let text = format!("a sample has more than {metrics_max} metrics");
    Finding::new(RejectReason::TooMany, text)
}

/// A key, borrowed unless it is escaped.
pub(crate) struct Key<'a>(pub(crate) Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key<'de>;

    fn visit_borrowed_str<E: serde::de::Error>(self, v: &'de str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Borrowed(v)))
    }

    fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(v.to_owned())))
    }

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
}

/// Any value. Arrays and objects are read to their end, within serde_json's limit of depth, and dropped.
pub(crate) struct AnyVisitor;

impl AnyVisitor {
    fn scalar<'a, E: serde::de::Error>(self, value: Value<'a>) -> Result<Value<'a>, E> {
        Ok(value)
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(AnyVisitor)
    }
}

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = Value<'de>;

    visit_scalars!('de, Value<'de>);

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        while map.next_entry::<Key<'de>, Value<'de>>()?.is_some() {}
        Ok(Value::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        while seq.next_element::<Value<'de>>()?.is_some() {}
        Ok(Value::Array)
    }
}
