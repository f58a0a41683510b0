//! Values that cross the boundary of a run.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::PayloadError;

/// A JSON value as text, cheap to clone: an input, an output, or what a body emits.
///
/// The text is always valid JSON. A payload does not check its own size; whoever takes one in
/// refuses what is over [`limits::PAYLOAD_BYTES_MAX`](crate::limits::PAYLOAD_BYTES_MAX).
///
/// # Examples
///
/// ```
/// use quell_core::Payload;
///
/// let payload = Payload::json(&vec![1, 2, 3]).unwrap();
/// assert_eq!(payload.as_str(), "[1,2,3]");
/// assert_eq!(payload.parse::<Vec<u8>>().unwrap(), [1, 2, 3]);
/// assert_eq!(Payload::from("hi").as_str(), "\"hi\"");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Payload(Arc<str>);

impl Payload {
    /// Writes a value as JSON.
    ///
    /// # Errors
    ///
    /// Fails if the value cannot be JSON, for instance a map whose keys are no strings.
    pub fn json(value: &(impl Serialize + ?Sized)) -> Result<Self, PayloadError> {
        serde_json::to_string(value).map(|text| Self(text.into())).map_err(PayloadError::new)
    }

    /// Takes text that is already JSON.
    ///
    /// # Errors
    ///
    /// Fails if it is not.
    pub fn from_json_text(text: &str) -> Result<Self, PayloadError> {
        serde_json::from_str::<&RawValue>(text)
            .map(|raw| Self(raw.get().into()))
            .map_err(PayloadError::new)
    }

    /// Reads the value.
    ///
    /// # Errors
    ///
    /// Fails if the JSON does not have the shape of `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        serde_json::from_str(&self.0).map_err(PayloadError::new)
    }

    /// Yields the JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Yields the length of the JSON text in bytes.
    #[expect(clippy::len_without_is_empty, reason = "JSON text is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        Self(value.to_string().into())
    }
}

impl From<&str> for Payload {
    fn from(text: &str) -> Self {
        Self::from(Value::from(text))
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        Self::from(Value::from(text))
    }
}

impl Serialize for Payload {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(from)?;
        Ok(Self::from(value))
    }
}
