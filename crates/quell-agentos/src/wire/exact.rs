//! [`Json`]: JSON whose numbers keep every digit, because payloads are written as they are spelt.

use std::borrow::Cow;

use quell::Payload;
use quell_http::RunState;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// A value: one of the server's own, a payload as it is spelt, or a list or object of both.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Json {
    Plain(Value),
    Text(Cow<'static, str>),
    Spelt(Payload),
    /// Apart, because it is larger than the others.
    State(Box<RunState>),
    Object(Object),
    List(Vec<Object>),
}

/// An object; its keys are written in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Object(
    /// In the order of the keys, none twice. Objects are small: a list of them is made and freed in
    /// less time than a tree (bench `http -- floor`).
    Vec<(Cow<'static, str>, Json)>,
);

impl Object {
    /// Makes an empty one, with room for so many keys.
    pub(crate) fn with_capacity(keys: usize) -> Self {
        Self(Vec::with_capacity(keys))
    }

    pub(crate) fn set(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Json>) {
        let (key, value) = (key.into(), value.into());
        // Most are set in their order.
        if self.0.last().is_none_or(|(last, _)| **last < *key) {
            return self.0.push((key, value));
        }
        match self.0.binary_search_by(|(known, _)| (**known).cmp(&*key)) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    /// As [`Object::set`], by value.
    pub(crate) fn with(mut self, key: &'static str, value: impl Into<Json>) -> Self {
        self.set(key, value);
        self
    }

    /// Leaves out some keys.
    pub(crate) fn without(mut self, is_out: impl Fn(&str) -> bool) -> Self {
        self.0.retain(|(key, _)| !is_out(key));
        self
    }

    /// Leaves out the keys without a value.
    pub(crate) fn without_nulls(mut self) -> Self {
        self.0.retain(|(_, value)| !matches!(value, Json::Plain(Value::Null)));
        self
    }

    /// Adds the keys of another object. A key that both have gets the other's value.
    pub(crate) fn extend(&mut self, other: Self) {
        other.0.into_iter().for_each(|(key, value)| self.set(key, value));
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl From<Map<String, Value>> for Object {
    fn from(object: Map<String, Value>) -> Self {
        let mut out = Self::with_capacity(object.len());
        object.into_iter().for_each(|(key, value)| out.set(key, value));
        out
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

impl From<&'static str> for Json {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<&RunState> for Json {
    fn from(state: &RunState) -> Self {
        Self::State(Box::new(state.clone()))
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
