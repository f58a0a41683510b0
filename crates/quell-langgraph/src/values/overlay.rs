//! [`overlay`]: how values are laid over those that a thread has, as the reducers of its graph say.

use std::sync::Arc;

use quell::{Payload, RunId, limits};
use quell_flow::{Reducer, Reducers};

use super::fold::Values;
use crate::messages::{asked, joined, keys_of_messages, to_list};
use crate::wire::exact::{finite, written};

/// The key of an output, or of a state, that is not an object.
pub(crate) const OUTPUT: &str = "output";

/// Yields what a body said as keys and values: null says nothing.
pub(crate) fn keyed(said: &Payload) -> Values {
    match said.parse() {
        Ok(keys) => keys,
        Err(_) if said.is_null() => Values::new(),
        Err(_) => Values::from([(OUTPUT.to_owned(), said.clone())]),
    }
}

/// Lays the values of a run over those that the thread had.
pub(crate) fn overlay(reducers: &Reducers, base: Option<&Values>, over: &Values) -> Values {
    let mut values = base.cloned().unwrap_or_default();
    for (key, value) in over {
        if reducers.of(key) == Reducer::Overwrite {
            values.insert(key.clone(), value.clone());
        }
    }
    for (key, reducer) in reducers.keys() {
        let more = over.get(key).map(to_list).unwrap_or_default();
        let items = match reducer {
            Reducer::Append => {
                values.get(key).map(to_list).into_iter().flatten().chain(more).collect()
            }
            Reducer::Messages => joined(values.get(key), more),
            _ => continue,
        };
        values.insert(key.to_owned(), written(&items));
    }
    values
}

/// Makes the input of a body: the values of its thread, but for what is appended to, with its own
/// input merged. An input that is no object stays as it is.
pub(crate) fn merged_input(
    reducers: &Reducers,
    base: Option<&Values>,
    input: &Payload,
    run: RunId,
) -> Payload {
    if input.is_null() {
        return written(&Values::new());
    }
    let Ok(own) = input.parse::<Values>() else { return input.clone() };
    let mut merged = base.cloned().unwrap_or_default();
    merged.retain(|key, _| reducers.of(key) != Reducer::Append);
    let messages = messages_of(reducers, base, &own, run);
    merged.extend(own);
    merged.extend(messages);
    for (key, _) in reducers.keys().filter(|(_, reducer)| *reducer == Reducer::Append) {
        if let Some(value) = merged.get_mut(key) {
            *value = written(&to_list(value));
        }
    }
    written(&merged)
}

/// As [`merged_input`]; or the input by itself, if both together are too large for a body.
pub(crate) fn fitting_input(
    reducers: &Reducers,
    base: Option<&Arc<Values>>,
    input: &Payload,
    run: RunId,
) -> Payload {
    let on = |base: Option<&Values>| {
        let merged = merged_input(reducers, base, input, run);
        (merged.len() <= limits::PAYLOAD_BYTES_MAX).then_some(merged)
    };
    on(base.map(|base| &**base)).or_else(|| on(None)).unwrap_or_else(|| input.clone())
}

/// Yields the messages of a thread with those of an input, under each key of messages for which it
/// has some.
pub(super) fn messages_of(
    reducers: &Reducers,
    base: Option<&Values>,
    own: &Values,
    run: RunId,
) -> Values {
    let with = |key: &str| {
        let asked = asked(key, own.get(key)?, run)?;
        Some((key.to_owned(), written(&joined(base.and_then(|base| base.get(key)), asked))))
    };
    keys_of_messages(reducers).filter_map(with).collect()
}

/// Yields what values take as text, about: characters of keys are rarely escaped.
pub(crate) fn bytes_of(values: &Values) -> usize {
    // Each with two quotes, a colon, and a comma or a brace.
    1 + values.iter().map(|(key, value)| key.len() + 4 + value.bytes_max()).sum::<usize>()
}

/// Yields what an input puts into the values: one that is no object is the body's alone.
pub(super) fn given(input: &Payload) -> Values {
    finite(input).parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use quell_flow::Component;
    use serde_json::{Value, json};

    use super::*;

    fn with_log() -> Reducers {
        let graph = Component::workflow("g", async |_ctx, input: Payload| Ok(input));
        graph.reducer("log", Reducer::Append).reducers().clone()
    }

    fn laid(reducers: &Reducers, base: Option<&Values>, over: &Value) -> Value {
        let over = keyed(&Payload::from(over.clone()));
        written(&overlay(reducers, base, &over)).parse().unwrap()
    }

    fn values(value: &Value) -> Option<Values> {
        Payload::from(value.clone()).parse().ok()
    }

    fn merged(reducers: &Reducers, base: Option<&Values>, input: &Value) -> Value {
        let run = RunId::from_text("r");
        merged_input(reducers, base, &Payload::from(input.clone()), run).parse().unwrap()
    }

    #[test]
    fn a_key_is_overwritten_and_one_that_is_declared_so_is_appended_to() {
        let base = values(&json!({"a": 1, "log": ["x"]}));
        let table = [
            (None, json!({}), json!({"log": []})),
            (None, json!({"b": 2, "log": ["y"]}), json!({"b": 2, "log": ["y"]})),
            (base.clone(), json!({"a": 2}), json!({"a": 2, "log": ["x"]})),
            (base.clone(), json!({"log": ["y", "z"]}), json!({"a": 1, "log": ["x", "y", "z"]})),
            (base.clone(), json!({"log": 7}), json!({"a": 1, "log": ["x", 7]})),
            (base.clone(), json!({"log": null}), json!({"a": 1, "log": ["x"]})),
            (base.clone(), json!("hi"), json!({"a": 1, "log": ["x"], "output": "hi"})),
            (base, Value::Null, json!({"a": 1, "log": ["x"]})),
        ];
        for (base, over, expected) in table {
            assert_eq!(laid(&with_log(), base.as_ref(), &over), expected, "{over}");
        }
    }

    #[test]
    fn messages_that_are_declared_are_added_by_their_ids_whatever_is_said_of_them() {
        let graph = Component::workflow("g", async |_ctx, input: Payload| Ok(input));
        let reducers = graph.reducer("talk", Reducer::Messages).reducers().clone();
        let message = |id: &str, text: &str| json!({ "id": id, "type": "ai", "content": text });
        let remove = |id: &str| json!({ "id": id, "type": "remove" });
        let (one, two) = (message("1", "one"), message("2", "two"));
        let base = values(&json!({ "talk": [one] }));
        let table = [
            (json!({}), json!([one])),
            (json!({ "talk": null }), json!([one])),
            (json!({ "talk": two }), json!([one, two])),
            (json!({ "talk": [one, two] }), json!([one, two])),
            (json!({ "talk": [two, message("1", "new")] }), json!([message("1", "new"), two])),
            (json!({ "talk": [two, remove("1")] }), json!([two])),
            (json!({ "talk": [remove("__remove_all__")] }), json!([])),
        ];
        for (over, expected) in table {
            assert_eq!(
                laid(&reducers, base.as_ref(), &over),
                json!({ "talk": expected }),
                "{over}"
            );
        }
        assert_eq!(laid(&reducers, None, &json!({})), json!({ "talk": [] }));
        // The body gets them all, with those of the input.
        let input = merged(&reducers, base.as_ref(), &json!({ "talk": "hi" }));
        assert_eq!(input["talk"][0], one);
        assert_eq!(
            (&input["talk"][1]["type"], &input["talk"][1]["content"]),
            (&json!("human"), &json!("hi"))
        );
        assert_eq!(merged(&reducers, base.as_ref(), &json!({ "a": 1 }))["talk"], json!([one]));
    }

    #[test]
    fn without_a_declaration_every_key_is_overwritten_and_none_is_added() {
        let none = Reducers::default();
        let base = values(&json!({"log": ["x"]}));
        assert_eq!(laid(&none, None, &json!({})), json!({}));
        assert_eq!(laid(&none, None, &json!({"log": "hello"})), json!({"log": "hello"}));
        assert_eq!(laid(&none, base.as_ref(), &json!({"log": ["y"]})), json!({"log": ["y"]}));
    }

    #[test]
    fn a_body_gets_the_values_of_its_thread_without_what_is_appended_to() {
        let base = values(&json!({"a": 1, "b": 1, "log": ["x"]}));
        let input = merged(&with_log(), base.as_ref(), &json!({"b": 2}));
        assert_eq!(input, json!({"a": 1, "b": 2}));
        let input = merged(&with_log(), base.as_ref(), &json!({"log": "y"}));
        assert_eq!(input, json!({"a": 1, "b": 1, "log": ["y"]}));
        assert_eq!(merged(&with_log(), base.as_ref(), &json!([1])), json!([1]));
        assert_eq!(merged(&with_log(), None, &Value::Null), json!({}));
        let input = merged(&Reducers::default(), base.as_ref(), &json!({"b": 2}));
        assert_eq!(input, json!({"a": 1, "b": 2, "log": ["x"]}));
    }
}
