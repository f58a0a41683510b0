//! Values that cross the boundary of a run.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::PayloadError;
use crate::payload::later::Later;

/// A JSON value as text, cheap to clone: an input, an output, or what a body emits.
///
/// The text is always valid JSON. Taken from JSON text, by [`from_json_text`](Self::from_json_text)
/// or as a field that is deserialised, it is that text to the letter: every digit of a number, the
/// order of keys, keys that come twice. To be a field it needs `serde_json`, and a type that is
/// read directly: not `#[serde(flatten)]` or `#[serde(untagged)]`, which read into a buffer first.
///
/// A payload does not check its own size. The functions that take one refuse a payload over
/// [`limits::PAYLOAD_BYTES_MAX`](crate::limits::PAYLOAD_BYTES_MAX).
///
/// # Examples
///
/// ```
/// use quell_core::Payload;
///
/// let payload = Payload::json(&vec![1, 2, 3]).unwrap();
/// assert_eq!(payload.as_json(), "[1,2,3]");
/// assert_eq!(payload.parse::<Vec<u8>>().unwrap(), [1, 2, 3]);
/// assert_eq!(Payload::from("hi").as_json(), "\"hi\"");
/// assert_eq!(Payload::from("hi").as_text().unwrap(), "hi");
/// ```
#[derive(Clone)]
pub struct Payload(Arc<Text>);

/// Behind a thin pointer: payloads go from event to event, and one word moves in a register.
enum Text {
    Written(Box<str>),
    /// Written when somebody first reads it.
    Later(Box<Later>),
}

impl Payload {
    /// Writes a value as JSON.
    ///
    /// # Errors
    ///
    /// Fails if the value cannot be JSON, for instance a map whose keys are no strings.
    pub fn json(value: &(impl Serialize + ?Sized)) -> Result<Self, PayloadError> {
        let text = serde_json::to_string(value).map_err(PayloadError::new)?;
        // A small text is copied: an allocator takes longer to shrink an allocation than to make a
        // second one (bench `http -- floor`).
        Ok(if text.len() <= COPIED_MAX { Self::written(&*text) } else { Self::written(text) })
    }

    /// Takes a value that is written as JSON when somebody first reads the text; if nobody does, it
    /// never is. For large values that few look at.
    ///
    /// The text is at most `bytes_max` bytes long, or 64 if that is more. The functions that
    /// take the payload check `bytes_max`, because the length is known only once the text is
    /// written. A value that is longer, cannot
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
    /// assert_eq!(payload.as_json(), "[1,2,3]");
    /// let longer = Payload::json_later("x".repeat(100), 100);
    /// assert_eq!(longer.as_json(), r#"{"error":"value is longer than it was said to be"}"#);
    /// ```
    pub fn json_later(value: impl Serialize + Send + 'static, bytes_max: usize) -> Self {
        Self(Arc::new(Text::Later(Box::new(Later::new(value, bytes_max)))))
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
        serde_json::from_str(self.as_json()).map_err(PayloadError::new)
    }

    /// Yields the JSON text: that of a string has its quotes and escapes. The string itself is
    /// [`as_text`](Self::as_text).
    #[inline]
    pub fn as_json(&self) -> &str {
        match &*self.0 {
            Text::Written(text) => text,
            Text::Later(later) => later.text(),
        }
    }

    /// Yields the string, if the value is one; none if its escapes stand for no text, as those of
    /// half a surrogate pair.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_core::Payload;
    ///
    /// assert_eq!(Payload::from("one\ntwo").as_text().unwrap(), "one\ntwo");
    /// assert_eq!(Payload::from(12).as_text(), None);
    /// ```
    pub fn as_text(&self) -> Option<Cow<'_, str>> {
        let json = self.as_json();
        // Only a string without escapes can be borrowed.
        let plain = serde_json::from_str::<&str>(json).map(Cow::Borrowed);
        plain.or_else(|_| serde_json::from_str::<String>(json).map(Cow::Owned)).ok()
    }

    /// Yields the length of the JSON text in bytes.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "JSON text is never empty")]
    pub fn len(&self) -> usize {
        self.as_json().len()
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
        self.as_json() == "null"
    }

    /// Yields a length that the text does not exceed: its own, unless it is to be written later.
    pub fn bytes_max(&self) -> usize {
        match &*self.0 {
            Text::Written(text) => text.len(),
            Text::Later(later) => later.bytes_max(),
        }
    }

    /// As [`Payload::json`], of what always is JSON, as its keys are strings.
    pub(super) fn always(value: &(impl Serialize + ?Sized)) -> Self {
        Self::json(value).unwrap_or_else(|_| Self::written("null"))
    }

    pub(super) fn written(text: impl Into<Box<str>>) -> Self {
        Self(Arc::new(Text::Written(text.into())))
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
    }
}

impl Eq for Payload {}

impl Hash for Payload {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_json().hash(state);
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_json())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_json())
    }
}

/// The longest text that is copied to fit, in bytes.
const COPIED_MAX: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::Value;

    use super::*;
    use crate::payload::later::NO_JSON;

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
        assert_eq!((payload.len(), other.as_json()), (1, "7"));
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
        assert_eq!(held.payload.as_json(), exact);
        let list: Vec<_> = held.list.iter().flatten().map(Payload::as_json).collect();
        assert_eq!(list, ["1.50", r#""\u00e4""#]);
        let read: Holder = serde_json::from_reader(text.as_bytes()).unwrap();
        assert_eq!(read.payload.as_json(), exact);
        let value = serde_json::json!({ "payload": { "a": 1 }, "list": [] });
        let held: Holder = serde_json::from_value(value).unwrap();
        assert_eq!(held.payload.as_json(), r#"{"a":1}"#);
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
        assert_eq!(payload.as_json(), NO_JSON);
        assert_eq!(payload.clone().as_json(), NO_JSON);
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
            let read = std::thread::spawn(move || payload.as_json().to_owned()).join();
            assert_eq!(read.unwrap(), text);
            assert_eq!(other.as_json(), text);
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
            (payload.as_json(), payload.len(), payload.bytes_max()),
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

    #[test]
    fn numbers_and_truth_values_are_their_own_json() {
        let written = [
            (Payload::from(true), "true"),
            (Payload::from(-7_i64), "-7"),
            (Payload::from(u128::MAX), "340282366920938463463374607431768211455"),
            (Payload::from(0.1_f32), "0.1"),
            (Payload::from(2.0), "2.0"),
            (Payload::from(1e300), "1e300"),
            (Payload::from(-1e-7), "-1e-7"),
            (Payload::from(f64::NAN), "null"),
            (Payload::from(f32::NEG_INFINITY), "null"),
        ];
        for (payload, json) in written {
            assert_eq!(payload.as_json(), json);
            assert_eq!(Payload::from_json_text(json).unwrap(), payload, "it is JSON");
        }
    }

    #[test]
    fn the_text_of_a_string_has_no_quotes_and_nothing_else_is_text() {
        for text in ["", "plain", "a \"quoted\" one\n", "ünï \u{1f600} \0"] {
            assert_eq!(Payload::from(text).as_text().unwrap(), text);
        }
        assert!(matches!(Payload::from("plain").as_text(), Some(Cow::Borrowed("plain"))));
        assert_eq!(Payload::from_json_text("[\"a\"]").unwrap().as_text(), None);
        let spaced = Payload::from_json_text(" \"a\" ").unwrap();
        assert_eq!(spaced.as_text().unwrap(), "a");
    }
}
