//! [`Asked`], and the words of a web socket (contract, section 9).

use std::borrow::Cow;
use std::collections::BTreeMap;

use quell_http::{AccessError, JSON_LEVELS_MAX, check_json};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::wire::refusal::{Refusal, access_error};

/// A message of a client.
#[derive(Debug)]
pub(crate) struct Asked {
    /// What it asks for; none if it does not say.
    pub(crate) action: Option<String>,
    /// Its other fields, as those of a form: what is no text is its JSON, and null is no field.
    pub(crate) fields: Map<String, Value>,
}

impl Asked {
    /// Reads a message; `None` if it is no JSON object.
    pub(crate) fn read(text: &str) -> Option<Self> {
        check_json(text, JSON_LEVELS_MAX).ok()?;
        let given: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(text).ok()?;
        let mut fields = Map::new();
        for (name, value) in given {
            let json = value.get();
            if json == "null" {
                continue;
            }
            let is_text = json.starts_with('"');
            let text = if is_text { serde_json::from_str(json).ok()? } else { json.to_owned() };
            fields.insert(name.into_owned(), Value::String(text));
        }
        let action = fields.remove("action");
        let mut asked = Self { action: None, fields };
        asked.action = action.and_then(into_text);
        Some(asked)
    }

    /// Takes a field; `None` if it is not there, or empty.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        self.fields.remove(name).and_then(into_text).filter(|text| !text.is_empty())
    }
}

fn into_text(value: Value) -> Option<String> {
    if let Value::String(text) = value { Some(text) } else { None }
}

/// The first word of the server.
pub(crate) fn connected(needs_auth: bool) -> Value {
    let more = if needs_auth { " Please authenticate to continue." } else { "" };
    let message = format!("Connected to AgentOS.{more}");
    json!({ "event": "connected", "message": message, "requires_auth": needs_auth })
}

/// The token is good. Of one that is no key the subject is told.
pub(crate) fn authenticated(by_token: bool, subject: Option<&str>) -> Value {
    if by_token {
        let message = "JWT authentication successful.";
        json!({ "event": "authenticated", "message": message, "user_id": subject })
    } else {
        let message = "Authentication successful. You can now send commands.";
        json!({ "event": "authenticated", "message": message })
    }
}

/// The token is not good.
pub(crate) fn auth_error(error: AccessError, by_token: bool) -> Value {
    if !by_token {
        return json!({ "event": "auth_error", "error": "Invalid token" });
    }
    let kind = if error == AccessError::Expired { "expired" } else { "invalid_token" };
    let text = access_error(error, true);
    json!({ "event": "auth_error", "error": text, "error_type": kind })
}

/// As [`auth_error`], of whatever else.
pub(crate) fn not_authenticated(text: &str) -> Value {
    json!({ "event": "auth_error", "error": text })
}

/// Something else was asked before the token came.
pub(crate) fn auth_required(by_token: bool) -> Value {
    let what = if by_token { "JWT" } else { "bearer token" };
    let error = format!("Authentication required. Send authenticate action with valid {what}.");
    json!({ "event": "auth_required", "error": error })
}

pub(crate) fn pong() -> Value {
    json!({ "event": "pong" })
}

/// What was asked is refused.
pub(crate) fn error(text: &str) -> Value {
    json!({ "event": "error", "error": text })
}

/// A message has more bytes than this.
pub(crate) fn too_large(most: usize) -> Value {
    error(&format!(
        "The message is too large: at most {most} bytes here, and 16 MiB by POST \
         /workflows/{{id}}/runs and its continue; then ask for the run with `reconnect`"
    ))
}

/// Says why a stream ends before its run, over a socket or not.
pub(crate) fn not_stored_yet() -> Value {
    error("Events of this run are not stored yet; resume behind the last one that you have")
}

/// Says that nothing more is told of a run of another node, although it has not ended.
pub(crate) fn ends_early() -> Value {
    error("The events of this run are told no further here, and it may go on; read the run")
}

/// As [`error`], of a run.
pub(crate) fn error_of(run: &str, text: &str) -> Value {
    json!({ "event": "error", "run_id": run, "error": text })
}

/// Refuses an action that there is not. Of a long word the beginning is told.
pub(crate) fn unknown(action: Option<&str>) -> Value {
    let Some(action) = action else { return error("Unknown action: None; expected `action`") };
    let word: String = action.chars().take(WORD_CHARS_MAX).collect();
    error(&format!("Unknown action: {word}"))
}

/// Yields the words of a refusal, of faults of fields one after the other.
pub(crate) fn words(refusal: &Refusal) -> String {
    let Some(faults) = refusal.detail.as_array() else {
        return refusal.detail.as_str().unwrap_or_default().to_owned();
    };
    let word = |fault: &Value| {
        let place = fault["loc"].as_array().and_then(|loc| loc.last()).and_then(Value::as_str);
        let msg = fault["msg"].as_str().unwrap_or_default();
        format!("{}: {msg}", place.unwrap_or_default())
    };
    faults.iter().map(word).collect::<Vec<_>>().join("; ")
}

/// What is said of a message that cannot be read.
pub(crate) const NO_OBJECT: &str = "Invalid JSON: expected an object";

/// How much of an action is told that there is not.
const WORD_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::refusal::{bad_id, missing};

    #[test]
    fn what_is_no_text_counts_as_its_json_and_null_as_nothing() {
        let text = r#"{"action": "a", "n": 12345678901234567890123, "l": [1, {"b":2}],
            "b": true, "none": null, "empty": "", "t": "\u00e9\"", "t2": ""}"#;
        let mut asked = Asked::read(text).unwrap();
        assert_eq!(asked.action.as_deref(), Some("a"));
        for (name, expected) in [
            ("n", Some("12345678901234567890123")),
            ("l", Some(r#"[1, {"b":2}]"#)),
            ("b", Some("true")),
            ("none", None),
            ("empty", None),
            ("t", Some("é\"")),
            ("absent", None),
        ] {
            assert_eq!(asked.take(name).as_deref(), expected, "{name}");
        }
        assert_eq!(asked.fields.len(), 1);
        for text in ["", "[]", "1", "null", "\"a\"", "{", "{\"a\":\"\\ud800\"}", "{\"a\":1}x"] {
            assert!(Asked::read(text).is_none(), "{text}");
        }
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(500), "]".repeat(500));
        assert!(Asked::read(&deep).is_none());
        assert_eq!(Asked::read("{}").unwrap().action, None);
    }

    #[test]
    fn an_action_that_there_is_not_is_told_shortly_and_faults_one_after_the_other() {
        assert_eq!(unknown(None)["error"], "Unknown action: None; expected `action`");
        let long = unknown(Some(&"é".repeat(5_000)));
        assert_eq!(long["error"].as_str().unwrap().chars().count(), 16 + WORD_CHARS_MAX);
        let refusal = Refusal::invalid(vec![missing("body", "message"), bad_id()]);
        let words = words(&refusal);
        assert!(words.starts_with("message: Field required; run_id: "), "{words}");
    }
}
