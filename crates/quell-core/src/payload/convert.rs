//! What becomes a payload by itself, and a payload as a field.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::Payload;

/// These are JSON as they are displayed.
macro_rules! from_plain {
    ($($plain:ty)*) => {$(
        impl From<$plain> for Payload {
            fn from(value: $plain) -> Self {
                Self::written(value.to_string())
            }
        }
    )*};
}

from_plain! { bool i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize }

/// Numbers that are not finite have no JSON: they are null.
macro_rules! from_float {
    ($($float:ty)*) => {$(
        impl From<$float> for Payload {
            fn from(value: $float) -> Self {
                // The form for debugging has an exponent where there would be many zeros.
                Self::written(if value.is_finite() { format!("{value:?}") } else { "null".into() })
            }
        }
    )*};
}

from_float! { f32 f64 }

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        Self::always(&value)
    }
}

impl From<&str> for Payload {
    fn from(text: &str) -> Self {
        Self::always(text)
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        Self::always(&*text)
    }
}

impl Serialize for Payload {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue =
            serde_json::from_str(self.as_json()).map_err(serde::ser::Error::custom)?;
        raw.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(from)?;
        Ok(Self::written(Box::<str>::from(raw)))
    }
}
