//! [`Json`]: JSON whose numbers keep every digit, because payloads are written as they are spelt.

use std::borrow::Cow;
use std::collections::BTreeMap;

use quell::Payload;
use serde::Serialize;
use serde_json::{Map, Value};

/// A value: one of the server's own, a payload as it is spelt, or a list or object of both.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Json {
    Plain(Value),
    Spelt(Payload),
    Object(Object),
    List(Vec<Object>),
}

/// An object; its keys are written in their order.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Object(BTreeMap<Cow<'static, str>, Json>);

impl Object {
    pub(crate) fn set(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Json>) {
        self.0.insert(key.into(), value.into());
    }

    /// As [`Object::set`], by value.
    pub(crate) fn with(mut self, key: &'static str, value: impl Into<Json>) -> Self {
        self.set(key, value);
        self
    }

    /// Leaves out some keys.
    pub(crate) fn without(mut self, is_out: impl Fn(&str) -> bool) -> Self {
        self.0.retain(|key, _| !is_out(key));
        self
    }

    /// Leaves out the keys without a value.
    pub(crate) fn without_nulls(mut self) -> Self {
        self.0.retain(|_, value| !matches!(value, Json::Plain(Value::Null)));
        self
    }

    /// Adds the keys of another object. A key that both have gets the other's value.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

impl From<Map<String, Value>> for Object {
    fn from(object: Map<String, Value>) -> Self {
        Self(object.into_iter().map(|(key, value)| (key.into(), Json::Plain(value))).collect())
    }
}

/// What is no object has no keys.
impl From<Value> for Object {
    fn from(value: Value) -> Self {
        match value {
            Value::Object(object) => object.into(),
            _ => Self::default(),
        }
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        Self::Plain(value)
    }
}

impl From<Object> for Json {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

impl From<Vec<Object>> for Json {
    fn from(list: Vec<Object>) -> Self {
        Self::List(list)
    }
}

impl From<&Payload> for Json {
    fn from(payload: &Payload) -> Self {
        Self::Spelt(payload.clone())
    }
}

/// Tells whether a value is an object.
pub(crate) fn is_object(payload: &Payload) -> bool {
    payload.as_json().trim_start().starts_with('{')
}

#[cfg(test)]
mod tests {
    use quell_http::SseEvent;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_spelt_keeps_its_digits_and_is_one_line_of_a_stream() {
        let text = "{\r\n  \"n\": 123456789012345678901234567890,\n\"t\": \"a\\nb\"}";
        let spelt = Payload::from_json_text(text).unwrap();
        assert!(is_object(&spelt) && !is_object(&Payload::from("{}")));
        let inner = Object::default().with("spelt", &spelt);
        let object = Object::from(json!({ "b": 1, "a": 0 })).with("list", vec![inner]);
        let inner = r#"{"spelt":{  "n": 123456789012345678901234567890,"t": "a\nb"}}"#;
        let expected = format!(r#"{{"a":0,"b":1,"list":[{inner}]}}"#);
        assert_eq!(SseEvent::json("", &object).to_bytes(), format!("data: {expected}\n\n"));
    }
}
