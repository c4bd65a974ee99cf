//! A compact, bit-exact form of the state: little-endian bytes, base64 in text formats.
//!
//! The checkpoint of every device in a batch is written with the batch, so it must be small and quick;
//! numbers as JSON text would be three times as long.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserializer, Serializer, de};

/// Longest vector accepted when reading: guards against a hostile checkpoint.
const LENGTH_MAX: usize = 65_535;

/// A value with a fixed byte form.
pub(crate) trait Pack: Sized {
    fn pack(&self, out: &mut Vec<u8>);
    /// Takes the value off the front of `bytes`; `None`: the bytes are no such value.
    fn unpack(bytes: &mut &[u8]) -> Option<Self>;
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Pack for $type {
            fn pack(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn unpack(bytes: &mut &[u8]) -> Option<Self> {
                let (head, tail) = bytes.split_first_chunk()?;
                *bytes = tail;
                Some(Self::from_le_bytes(*head))
            }
        }
    )*};
}
number!(u8, u16, u32, i64, f32, f64);

impl<T: Pack> Pack for Vec<T> {
    fn pack(&self, out: &mut Vec<u8>) {
        let length = u16::try_from(self.len()).unwrap_or(u16::MAX);
        length.pack(out);
        for item in self.iter().take(LENGTH_MAX) {
            item.pack(out);
        }
    }
    fn unpack(bytes: &mut &[u8]) -> Option<Self> {
        let length = u16::unpack(bytes)?;
        // Every item takes at least a byte: no more capacity than the bytes can fill.
        let mut items = Self::with_capacity(usize::from(length).min(bytes.len()));
        for _ in 0..length {
            items.push(T::unpack(bytes)?);
        }
        Some(items)
    }
}

impl<T: Pack + Copy + Default, const N: usize> Pack for [T; N] {
    fn pack(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|item| item.pack(out));
    }
    fn unpack(bytes: &mut &[u8]) -> Option<Self> {
        let mut items = [T::default(); N];
        for item in &mut items {
            *item = T::unpack(bytes)?;
        }
        Some(items)
    }
}

/// Implements [`Pack`] for a struct, field by field in the order given.
macro_rules! packed {
    (impl<$n:ident> $type:ident { $($field:ident),* $(,)? }) => {
        impl<const $n: usize> $crate::codec::Pack for $type<$n> {
            fn pack(&self, out: &mut Vec<u8>) {
                $($crate::codec::Pack::pack(&self.$field, out);)*
            }
            fn unpack(bytes: &mut &[u8]) -> Option<Self> {
                Some(Self { $($field: $crate::codec::Pack::unpack(bytes)?),* })
            }
        }
    };
    ($type:ident { $($field:ident),* $(,)? }) => {
        impl $crate::codec::Pack for $type {
            fn pack(&self, out: &mut Vec<u8>) {
                $($crate::codec::Pack::pack(&self.$field, out);)*
            }
            fn unpack(bytes: &mut &[u8]) -> Option<Self> {
                Some(Self { $($field: $crate::codec::Pack::unpack(bytes)?),* })
            }
        }
    };
}
pub(crate) use packed;

/// Writes `value` under a format version.
pub(crate) fn serialize<T: Pack, S: Serializer>(
    version: u8,
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut bytes = Vec::with_capacity(4_096);
    version.pack(&mut bytes);
    value.pack(&mut bytes);
    if serializer.is_human_readable() {
        serializer.serialize_str(&STANDARD_NO_PAD.encode(&bytes))
    } else {
        serializer.serialize_bytes(&bytes)
    }
}

/// Reads what [`serialize`] wrote; another version, a cut or an overlong text is an error.
pub(crate) fn deserialize<'de, T: Pack, D: Deserializer<'de>>(
    version: u8,
    deserializer: D,
) -> Result<T, D::Error> {
    let bytes = if deserializer.is_human_readable() {
        deserializer.deserialize_str(Bytes { text: true })?
    } else {
        deserializer.deserialize_bytes(Bytes { text: false })?
    };
    let mut rest = &bytes[..];
    match u8::unpack(&mut rest) {
        Some(v) if v == version => {}
        v => {
            return Err(de::Error::custom(format_args!(
                "detector state has format {v:?}, this program reads {version}"
            )));
        }
    }
    match T::unpack(&mut rest) {
        Some(value) if rest.is_empty() => Ok(value),
        _ => Err(de::Error::custom("detector state is cut or corrupt")),
    }
}

struct Bytes {
    text: bool,
}

impl de::Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a detector state")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<u8>, E> {
        if self.text {
            STANDARD_NO_PAD.decode(text).map_err(E::custom)
        } else {
            Err(E::custom("a text where bytes are due"))
        }
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}
