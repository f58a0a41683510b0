//! [`RunRequest`]: the body of `run_workflow` (contract, section 3).

use std::time::Duration;

use quell::Payload;
use quell_http::{JSON_LEVELS_MAX, check_json};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::wire::refusal::Refusal;

/// Reads a UUID in the one spelling that the document allows: 36 characters, in either case.
pub(crate) fn parse_uuid(text: &str) -> Result<Uuid, Refusal> {
    if text.len() != SPELLING_LEN {
        return Err(Refusal::Malformed);
    }
    Uuid::try_parse(text).map_err(|_| Refusal::Malformed)
}

/// The body of `run_workflow`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RunRequest {
    /// The workflow.
    pub(crate) workflow: Uuid,
    /// From where it is run, as the client said it: text (Unity) or an integer (Python).
    pub(crate) platform: Option<Value>,
    /// A JSON object, as the client spelt it.
    pub(crate) inputs: Payload,
    /// The run's own deadline.
    pub(crate) timeout: Option<Duration>,
    /// Its grace.
    pub(crate) grace: Option<Duration>,
}

/// The keys that are known; others are ignored.
#[derive(Deserialize)]
struct Body<'a> {
    id: String,
    #[serde(default)]
    origin: Option<Origin>,
    #[serde(default, borrow)]
    inputs: Option<&'a RawValue>,
    #[serde(default)]
    quell_timeout_ms: Option<u64>,
    #[serde(default)]
    quell_grace_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Origin {
    Text(String),
    Number(i64),
}

impl RunRequest {
    /// Reads the body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        // An array would do for serde where an object is meant.
        let text = std::str::from_utf8(body).map_err(|_| Refusal::Malformed)?;
        if !text.trim_ascii_start().starts_with('{') {
            return Err(Refusal::Malformed);
        }
        let body: Body<'_> = serde_json::from_str(text).map_err(|_| Refusal::Malformed)?;
        Ok(Self {
            workflow: parse_uuid(&body.id)?,
            platform: body.origin.map(|origin| match origin {
                Origin::Text(text) => Value::from(text),
                Origin::Number(number) => Value::from(number),
            }),
            inputs: inputs(body.inputs)?,
            timeout: body.quell_timeout_ms.map(Duration::from_millis),
            grace: body.quell_grace_ms.map(Duration::from_millis),
        })
    }
}

/// Takes the inputs as they are spelt, so that no digit of a number is lost; they must be an
/// object, and no deeper than components can read.
fn inputs(raw: Option<&RawValue>) -> Result<Payload, Refusal> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else {
        return Ok(json!({}).into());
    };
    let is_object = raw.get().starts_with('{');
    if !is_object || check_json(raw.get(), JSON_LEVELS_MAX).is_err() {
        return Err(Refusal::Malformed);
    }
    Payload::from_json_text(raw.get()).map_err(|_| Refusal::Malformed)
}

/// The length of a UUID with its hyphens.
const SPELLING_LEN: usize = 36;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "cccccccc-0000-4000-8000-000000000001";

    fn parse(body: &Value) -> Result<RunRequest, Refusal> {
        RunRequest::parse(body.to_string().as_bytes())
    }

    #[test]
    fn both_sdks_are_understood() {
        let unity = parse(&json!({"id": ID, "origin": "2", "inputs": {"4": {"x": "y"}}}));
        let unity = unity.expect("as Unity sends it");
        assert_eq!(unity.platform, Some(json!("2")));
        assert_eq!(unity.inputs.as_json(), r#"{"4":{"x":"y"}}"#);
        let python = parse(&json!({"id": ID, "origin": 0, "inputs": {}})).expect("as Python does");
        assert_eq!((python.platform, python.inputs.as_json()), (Some(json!(0)), "{}"));
    }

    #[test]
    fn only_the_workflow_is_needed_and_unknown_keys_are_ignored() {
        let rows = [json!({"id": ID}), json!({"id": ID, "inputs": null, "origin": null, "x": [1]})];
        for body in rows {
            let request = parse(&body).expect("nothing is wrong with it");
            assert_eq!((request.platform, request.inputs.as_json()), (None, "{}"));
            assert_eq!((request.timeout, request.grace), (None, None));
        }
    }

    #[test]
    fn a_deadline_and_a_grace_are_milliseconds() {
        let body = json!({"id": ID, "quell_timeout_ms": 1500, "quell_grace_ms": 0});
        let request = parse(&body).expect("nothing is wrong with it");
        assert_eq!(request.timeout, Some(Duration::from_millis(1500)));
        assert_eq!(request.grace, Some(Duration::ZERO));
    }

    #[test]
    fn no_digit_of_a_number_is_lost() {
        let body = format!(r#"{{"id":"{ID}","inputs":{{"seed":123456789012345678901234567890}}}}"#);
        let request = RunRequest::parse(body.as_bytes()).expect("nothing is wrong with it");
        assert_eq!(request.inputs.as_json(), r#"{"seed":123456789012345678901234567890}"#);
    }

    #[test]
    fn a_malformed_body_is_refused() {
        let rows: [&[u8]; 17] = [
            b"",
            b"nonsense",
            b"null",
            b"[]",
            br#"["cccccccc-0000-4000-8000-000000000001"]"#,
            b"{}",
            b"{\"id\": null}",
            b"{\"id\": 1}",
            b"{\"id\": \"slow\"}",
            b"{\"id\": \"cccccccc000040008000000000000001\"}",
            br#"{"id":"cccccccc-0000-4000-8000-000000000001","inputs":[]}"#,
            br#"{"id":"cccccccc-0000-4000-8000-000000000001","inputs":"x"}"#,
            br#"{"id":"cccccccc-0000-4000-8000-000000000001","inputs":{"a":"\ud800"}}"#,
            br#"{"id":"cccccccc-0000-4000-8000-000000000001","origin":{}}"#,
            br#"{"id":"cccccccc-0000-4000-8000-000000000001","origin":1.5}"#,
            br#"{"id":"cccccccc-0000-4000-8000-000000000001","quell_timeout_ms":-1}"#,
            b"{\"id\":\"cccccccc-0000-4000-8000-000000000001\",\"x\":\"\xff\"}",
        ];
        for body in rows {
            let text = String::from_utf8_lossy(body);
            assert_eq!(RunRequest::parse(body), Err(Refusal::Malformed), "{text}");
        }
    }

    #[test]
    fn a_uuid_has_one_spelling() {
        assert!(parse_uuid(ID).is_ok() && parse_uuid(&ID.to_uppercase()).is_ok());
        let simple = ID.replace('-', "");
        let rows = [
            "",
            "x",
            &simple,
            &format!("{{{ID}}}"),
            &format!("urn:uuid:{ID}"),
            &ID.replace('0', "g"),
        ];
        for text in rows {
            assert_eq!(parse_uuid(text), Err(Refusal::Malformed), "{text}");
        }
    }
}
