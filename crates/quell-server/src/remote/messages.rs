//! [`messages`]: the input of a run as the messages that a model is asked with.

use quell::Failure;
use serde_json::{Value, json};

/// Yields the messages of an input: a text, an object with one and perhaps with what was said
/// before it, or an object with messages.
///
/// # Errors
///
/// Fails if the input has no message.
pub(super) fn messages(input: Value) -> Result<Vec<Value>, Failure> {
    found(input).ok_or_else(|| Failure::new(format!("the input has no message; {RIGHT}")))
}

fn found(input: Value) -> Option<Vec<Value>> {
    let user = |text: Value| vec![json!({ "role": "user", "content": text })];
    match input {
        Value::String(_) => Some(user(input)),
        Value::Object(mut input) => {
            if let Some(Value::Array(all)) = input.get_mut("messages") {
                return Some(all.iter_mut().map(|one| message(one.take())).collect());
            }
            let keys = ["message", "prompt", "input", "text"];
            let text = keys.iter().find_map(|key| input.remove(*key))?;
            let before = before(input.remove("history").unwrap_or_default());
            text.is_string().then(|| before.chain(user(text)).collect())
        }
        _ => None,
    }
}

/// Yields what was said before a message: by the two who speak, and nobody else.
fn before(history: Value) -> impl Iterator<Item = Value> {
    let all = if let Value::Array(all) = history { all } else { Vec::new() };
    let is_said = |said: &Value| {
        matches!(said["role"].as_str(), Some("user" | "assistant")) && said["content"].is_string()
    };
    all.into_iter().filter(move |said| is_said(said)).map(message)
}

/// Yields a message as a model takes it: with the keys of its role alone, since strict endpoints
/// refuse others. One of `LangGraph` has words of its own for who speaks, as its role or its type,
/// and a text alone is that of the user.
fn message(mut said: Value) -> Value {
    if said.is_string() {
        return json!({ "role": "user", "content": said });
    }
    let who = said.get("role").or_else(|| said.get("type")).and_then(Value::as_str);
    let role = match who {
        Some("ai") => "assistant",
        None | Some("human") => "user",
        // An endpoint may know roles that are not known here. A type is no role.
        Some(role) if said.get("role").is_some() || ROLES.contains(&role) => role,
        Some(_) => "user",
    };
    let role = role.to_owned();
    let keys: &[&str] = match role.as_str() {
        "assistant" => &["name", "tool_calls", "refusal", "audio", "function_call"],
        "tool" => &["tool_call_id"],
        _ => &["name"],
    };
    let mut taken = |key| said.get_mut(key).map(Value::take).unwrap_or_default();
    let mut of_model = json!({ "role": role, "content": taken("content") });
    for key in keys {
        of_model[*key] = match taken(key) {
            Value::Null => continue,
            // A model refuses an empty list of these, and what a tool answers without the call
            // before it.
            Value::Array(calls) if calls.is_empty() => continue,
            Value::Array(calls) => calls.into_iter().map(tool_call).collect(),
            value => value,
        };
    }
    of_model
}

/// Yields a call of a tool as a model takes it; one of `LangGraph` has its arguments as an object.
fn tool_call(mut call: Value) -> Value {
    if call.get("function").is_some() || !call.is_object() {
        return call;
    }
    let function = json!({ "name": call["name"].take(), "arguments": call["args"].to_string() });
    json!({ "id": call["id"].take(), "type": "function", "function": function })
}

/// Who speaks, in the words of the model and of `LangGraph` alike.
const ROLES: [&str; 3] = ["assistant", "system", "tool"];

const RIGHT: &str = "expected a text, an object with a text `message`, `prompt`, `input` or \
                     `text`, or one with a list `messages`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_of_every_contract_reach_the_model() {
        let user = |text: &str| json!([{ "role": "user", "content": text }]);
        let parts = json!([{ "type": "text", "text": "hi" }]);
        for (input, right) in [
            (json!("hi"), user("hi")),
            (json!({ "message": "hi", "version": "1" }), user("hi")),
            (json!({ "prompt": "hi" }), user("hi")),
            (json!({ "input": "hi", "n": 1 }), user("hi")),
            (json!({ "text": "hi" }), user("hi")),
            (json!({ "messages": [{ "role": "human", "content": "hi" }] }), user("hi")),
            (
                json!({ "messages": [
                    { "role": "ai", "content": "a", "name": "n" },
                    { "type": "ai", "content": "", "tool_calls": [
                        { "name": "f", "args": { "x": 1 }, "id": "c", "type": "tool_call" },
                    ] },
                    { "type": "tool", "content": "b", "tool_call_id": "c", "status": "success" },
                    { "type": "ai", "content": "d", "tool_calls": [] },
                    7,
                ] }),
                json!([
                    { "role": "assistant", "content": "a", "name": "n" },
                    { "role": "assistant", "content": "", "tool_calls": [
                        {
                            "id": "c",
                            "type": "function",
                            "function": { "name": "f", "arguments": "{\"x\":1}" },
                        },
                    ] },
                    { "role": "tool", "content": "b", "tool_call_id": "c" },
                    { "role": "assistant", "content": "d" },
                    { "role": "user", "content": null },
                ]),
            ),
            (json!({ "messages": ["hi"] }), user("hi")),
            (json!({ "messages": [{ "type": "human", "content": "hi", "id": "1" }] }), user("hi")),
            (
                json!({ "messages": [
                    { "role": "assistant", "content": null, "tool_calls": [] },
                    { "type": "ai", "content": "a" },
                    { "role": "user", "content": parts },
                ] }),
                json!([
                    { "role": "assistant", "content": null },
                    { "role": "assistant", "content": "a" },
                    { "role": "user", "content": parts },
                ]),
            ),
            (
                json!({ "messages": [
                    { "role": "user", "type": "human", "id": "1", "content": "hi", "name": null },
                    { "role": "ai", "id": "2", "content": "a", "response_metadata": {} },
                    { "role": "developer", "content": "b", "name": "n", "x": 1 },
                    { "role": "tool", "content": "c", "tool_call_id": "t", "name": "f" },
                    { "type": "AIMessageChunk", "content": "d", "example": false },
                ] }),
                json!([
                    { "role": "user", "content": "hi" },
                    { "role": "assistant", "content": "a" },
                    { "role": "developer", "content": "b", "name": "n" },
                    { "role": "tool", "content": "c", "tool_call_id": "t" },
                    { "role": "user", "content": "d" },
                ]),
            ),
        ] {
            let said = messages(input.clone()).expect("it has a message");
            assert_eq!(Value::from(said), right, "{input}");
        }
    }

    #[test]
    fn what_the_two_have_said_before_comes_before_the_message() {
        let said = |role: &str, text: &str| json!({ "role": role, "content": text });
        let history = json!([
            { "role": "user", "content": "a", "run_id": "r" },
            { "role": "assistant", "content": "b", "run_id": "r" },
            { "role": "system", "content": "c" },
            { "role": "user", "content": 7 },
            "d",
        ]);
        let input = json!({ "message": "hi", "history": history });
        let right = [said("user", "a"), said("assistant", "b"), said("user", "hi")];
        assert_eq!(messages(input).expect("it has a message"), right);
        let input = json!({ "message": "hi", "history": "no list" });
        assert_eq!(messages(input).expect("it has a message"), [said("user", "hi")]);
    }

    #[test]
    fn what_has_no_message_is_refused() {
        for input in [json!(null), json!(7), json!([]), json!({}), json!({ "message": 1 })] {
            assert!(messages(input.clone()).is_err(), "{input}");
        }
    }
}
