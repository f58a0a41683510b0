//! Values that cross the boundary of a run.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::PayloadError;

/// A JSON value as text, cheap to clone: an input, an output, or what a body emits.
///
/// The text is always valid JSON. Taken from JSON text, by [`from_json_text`](Self::from_json_text)
/// or as a field that is deserialised, it is that text to the letter: every digit of a number, the
/// order of keys, keys that come twice. To be a field it needs `serde_json`, and a type that is
/// read directly: not `#[serde(flatten)]` or `#[serde(untagged)]`, which read into a buffer first.
///
/// A payload does not check its own size; whoever takes one in
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
#[derive(Clone)]
pub struct Payload(Arc<Text>);

/// Behind a thin pointer: payloads go from event to event, and one word moves in a register.
enum Text {
    Written(Box<str>),
    /// Written when somebody first reads it.
    Later(Box<Later>),
}

struct Later {
    bytes_max: usize,
    text: LazyLock<String, Write>,
}

type Write = Box<dyn FnOnce() -> String + Send>;

impl Payload {
    /// Writes a value as JSON.
    ///
    /// # Errors
    ///
    /// Fails if the value cannot be JSON, for instance a map whose keys are no strings.
    pub fn json(value: &(impl Serialize + ?Sized)) -> Result<Self, PayloadError> {
        serde_json::to_string(value).map(Self::written).map_err(PayloadError::new)
    }

    /// Takes a value that is written as JSON when somebody first reads the text; if nobody does, it
    /// never is. For large values that few look at.
    ///
    /// The text is at most `bytes_max` bytes long, or 64 if that is more: whoever takes the payload
    /// in looks at that, because to know the length is to write it. A value that is longer, cannot
    /// be JSON, or panics as it is written, is written as an error. Its code runs in the thread of
    /// that reader, its destructor there or, if nobody reads it, where the last copy is dropped; a
    /// panic of the destructor changes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_core::Payload;
    ///
    /// let payload = Payload::json_later(vec![1, 2, 3], 100);
    /// assert_eq!(payload.bytes_max(), 100);
    /// assert_eq!(payload.as_str(), "[1,2,3]");
    /// let longer = Payload::json_later("x".repeat(100), 100);
    /// assert_eq!(longer.as_str(), r#"{"error":"value is longer than it was said to be"}"#);
    /// ```
    pub fn json_later(value: impl Serialize + Send + 'static, bytes_max: usize) -> Self {
        let bytes_max = bytes_max.max(ERROR_BYTES_MAX);
        let value = Contained(Some(value));
        let write = move || match value.write() {
            Some(text) if text.len() <= bytes_max => text,
            Some(_) => TOO_LONG.to_owned(),
            None => NO_JSON.to_owned(),
        };
        let text = LazyLock::new(Box::new(write) as Write);
        Self(Arc::new(Text::Later(Box::new(Later { bytes_max, text }))))
    }

    /// Takes text that is already JSON.
    ///
    /// # Errors
    ///
    /// Fails if it is not.
    pub fn from_json_text(text: &str) -> Result<Self, PayloadError> {
        serde_json::from_str::<&RawValue>(text)
            .map(|raw| Self::written(raw.get()))
            .map_err(PayloadError::new)
    }

    /// Reads the value.
    ///
    /// # Errors
    ///
    /// Fails if the JSON does not have the shape of `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        serde_json::from_str(self.as_str()).map_err(PayloadError::new)
    }

    /// Yields the JSON text.
    #[inline]
    pub fn as_str(&self) -> &str {
        match &*self.0 {
            Text::Written(text) => text,
            Text::Later(later) => &later.text,
        }
    }

    /// Yields the length of the JSON text in bytes.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "JSON text is never empty")]
    pub fn len(&self) -> usize {
        self.as_str().len()
    }

    /// Tells whether the value is null. To know it is to write the text.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_core::Payload;
    /// use serde_json::Value;
    ///
    /// assert!(Payload::from(Value::Null).is_null());
    /// assert!(!Payload::from("null").is_null());
    /// ```
    pub fn is_null(&self) -> bool {
        self.as_str() == "null"
    }

    /// Yields a length that the text does not exceed: its own, unless it is to be written later.
    pub fn bytes_max(&self) -> usize {
        match &*self.0 {
            Text::Written(text) => text.len(),
            Text::Later(later) => later.bytes_max,
        }
    }

    fn written(text: impl Into<Box<str>>) -> Self {
        Self(Arc::new(Text::Written(text.into())))
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Payload {}

impl Hash for Payload {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        Self::written(value.to_string())
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
        let raw: &RawValue =
            serde_json::from_str(self.as_str()).map_err(serde::ser::Error::custom)?;
        raw.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(from)?;
        Ok(Self::written(Box::<str>::from(raw)))
    }
}

/// A foreign value whose panics are its alone: neither that of whoever reads it, which would leave
/// the text poisoned for every other reader, nor that of whoever drops it.
struct Contained<T>(Option<T>);

impl<T: Serialize> Contained<T> {
    /// Yields the JSON; none if there is none, or the value panics.
    fn write(&self) -> Option<String> {
        contained(|| serde_json::to_string(&self.0).ok()).flatten()
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        contained(|| drop(value));
    }
}

/// Calls foreign code; none if it panics. What it panics with is foreign too, down to its
/// destructor.
fn contained<T>(code: impl FnOnce() -> T) -> Option<T> {
    let panic = match catch_unwind(AssertUnwindSafe(code)) {
        Ok(value) => return Some(value),
        Err(panic) => panic,
    };
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        #[expect(clippy::mem_forget, reason = "a destructor that panics is not asked twice")]
        std::mem::forget(again);
    }
    None
}

/// What is written of a value that is longer than it was said to be.
const TOO_LONG: &str = r#"{"error":"value is longer than it was said to be"}"#;

/// What is written of a value that cannot be JSON.
const NO_JSON: &str = r#"{"error":"value cannot be written as JSON"}"#;

/// Neither of them is longer.
const ERROR_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Counted(Arc<AtomicUsize>);

    impl Serialize for Counted {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            self.0.fetch_add(1, Ordering::Relaxed);
            to.serialize_u8(7)
        }
    }

    #[test]
    fn a_value_is_written_once_and_only_if_somebody_reads_it() {
        let written = Arc::new(AtomicUsize::new(0));
        let payload = Payload::json_later(Counted(Arc::clone(&written)), 100);
        let other = payload.clone();
        assert_eq!(payload.bytes_max(), 100);
        assert_eq!(written.load(Ordering::Relaxed), 0);
        assert_eq!((payload.len(), other.as_str()), (1, "7"));
        assert_eq!(payload, Payload::from(Value::from(7)));
        assert_eq!(written.load(Ordering::Relaxed), 1);
    }

    #[derive(Debug, serde::Deserialize)]
    struct Holder {
        payload: Payload,
        list: Vec<Option<Payload>>,
    }

    #[test]
    fn a_payload_that_is_deserialised_keeps_every_digit_and_the_order_of_keys() {
        let exact = r#"{"z":12345678901234567890123,"a":0.1000,"z":1e400,"m":-0}"#;
        let text = format!(r#"{{"payload": {exact}, "list": [1.50, null, "\u00e4"]}}"#);
        let held: Holder = serde_json::from_str(&text).unwrap();
        assert_eq!(held.payload, Payload::from_json_text(exact).unwrap());
        assert_eq!(held.payload.as_str(), exact);
        let list: Vec<_> = held.list.iter().flatten().map(Payload::as_str).collect();
        assert_eq!(list, ["1.50", r#""\u00e4""#]);
        let read: Holder = serde_json::from_reader(text.as_bytes()).unwrap();
        assert_eq!(read.payload.as_str(), exact);
        let value = serde_json::json!({ "payload": { "a": 1 }, "list": [] });
        let held: Holder = serde_json::from_value(value).unwrap();
        assert_eq!(held.payload.as_str(), r#"{"a":1}"#);
        let payload: Payload = serde_json::from_str(exact).unwrap();
        assert_eq!(serde_json::to_string(&payload).unwrap(), exact);
    }

    struct Panics;

    impl Serialize for Panics {
        #[expect(clippy::panic, reason = "that is the matter")]
        fn serialize<S: serde::Serializer>(&self, _to: S) -> Result<S::Ok, S::Error> {
            panic!("no")
        }
    }

    #[test]
    fn a_value_that_panics_is_an_error_to_every_reader() {
        let payload = Payload::json_later(Panics, 100);
        assert_eq!(payload.as_str(), NO_JSON);
        assert_eq!(payload.clone().as_str(), NO_JSON);
    }

    /// Panics as it is dropped, with something that panics as it is dropped.
    struct Stubborn(u8);

    impl Serialize for Stubborn {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            if self.0 == 0 {
                std::panic::resume_unwind(Box::new(Self(1)));
            }
            to.serialize_u8(self.0)
        }
    }

    impl Drop for Stubborn {
        fn drop(&mut self) {
            if self.0 < 9 {
                std::panic::resume_unwind(Box::new(Self(self.0 + 1)));
            }
        }
    }

    #[test]
    fn a_destructor_that_panics_is_the_values_alone() {
        for (number, text) in [(7, "7"), (8, "8"), (0, NO_JSON)] {
            let payload = Payload::json_later(Stubborn(number), 100);
            let other = payload.clone();
            let read = std::thread::spawn(move || payload.as_str().to_owned()).join();
            assert_eq!(read.unwrap(), text);
            assert_eq!(other.as_str(), text);
        }
        // Nobody reads it.
        assert!(std::thread::spawn(|| drop(Payload::json_later(Stubborn(7), 100))).join().is_ok());
    }

    #[test]
    fn what_cannot_be_written_is_an_error_within_the_bound() {
        let keys = std::collections::BTreeMap::from([((1, 2), 3)]);
        for payload in [Payload::json_later(keys, 0), Payload::json_later("x".repeat(64), 0)] {
            assert!(payload.parse::<Value>().unwrap()["error"].is_string(), "{payload}");
            assert!(payload.len() <= payload.bytes_max(), "{payload}");
        }
    }

    #[test]
    fn what_is_no_json_is_an_error_and_so_is_another_shape() {
        let keys = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(Payload::json(&keys).is_err());
        for text in ["", "{", "1 2", "'a'", "NaN", "nul"] {
            assert!(Payload::from_json_text(text).is_err(), "{text}");
        }
        let payload = Payload::from_json_text(" [1.50, null] ").unwrap();
        assert_eq!(
            (payload.as_str(), payload.len(), payload.bytes_max()),
            ("[1.50, null]", 12, 12)
        );
        assert!(payload.parse::<Vec<u8>>().is_err());
        assert!(payload.parse::<Vec<Option<f64>>>().is_ok());
    }

    #[test]
    fn a_value_is_written_in_the_thread_of_its_first_reader() {
        struct Whose;
        impl Serialize for Whose {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(&format_args!("{:?}", std::thread::current().id()))
            }
        }
        let payload = Payload::json_later(Whose, 100);
        let other = payload.clone();
        let reader = std::thread::spawn(move || {
            assert!(!other.is_null());
            format!("{:?}", std::thread::current().id())
        });
        let reader = reader.join().unwrap();
        assert_eq!(payload.parse::<String>().unwrap(), reader);
    }
}
