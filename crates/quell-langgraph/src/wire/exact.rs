//! JSON whose numbers keep every digit: text goes through as it is spelt.

use std::collections::BTreeMap;

use quell::Payload;
use serde::Serialize;
use serde_json::Value;

/// The keys of an object, each value as it is spelt.
pub(crate) type Keys = BTreeMap<String, Payload>;

/// Writes a value whose keys are texts.
pub(crate) fn written(value: &(impl Serialize + ?Sized)) -> Payload {
    Payload::json(value).unwrap_or_else(|_| null())
}

/// Writes an object with one more key.
pub(crate) fn with(object: Value, key: &str, value: &(impl Serialize + ?Sized)) -> Payload {
    with_all(object, Keys::from([(key.to_owned(), written(value))]))
}

/// Writes an object with more keys.
pub(crate) fn with_all(object: Value, more: Keys) -> Payload {
    let mut all = Keys::new();
    if let Value::Object(object) = object {
        all.extend(object.into_iter().map(|(key, value)| (key, Payload::from(value))));
    }
    all.extend(more);
    written(&all)
}

pub(crate) fn null() -> Payload {
    Payload::from(Value::Null)
}
