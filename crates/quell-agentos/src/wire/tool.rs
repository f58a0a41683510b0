//! [`tool`]: the JSON of a tool call.

use std::time::{Duration, SystemTime};

use quell::{Payload, ToolOutcome};
use serde_json::{Value, json};

use crate::wire::exact::{Object, is_object};
use crate::wire::run::{seconds, text};

/// How a tool call ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// What it returned; null if that is nothing.
    Result(Payload),
    Error(String),
    Cancelled,
}

impl Outcome {
    pub(crate) fn of(outcome: &ToolOutcome) -> Self {
        match outcome {
            ToolOutcome::Result(None) => Self::Result(Payload::from(Value::Null)),
            ToolOutcome::Result(Some(output)) => Self::Result(output.clone()),
            ToolOutcome::Error(error) => Self::Error(error.to_string()),
            ToolOutcome::Cancelled => Self::Cancelled,
            ToolOutcome::Unknown => Self::Error("unknown".into()),
        }
    }
}

/// Writes a tool call; `asked` is its name and its input, if they are known.
pub(crate) fn tool(
    call: &str,
    asked: Option<(&str, &Payload)>,
    at: SystemTime,
    outcome: Option<&Outcome>,
    took: Option<Duration>,
) -> Object {
    let result = match outcome {
        Some(Outcome::Cancelled) | None => Value::Null,
        Some(Outcome::Result(value)) if value.is_null() => Value::Null,
        Some(Outcome::Result(value)) => text(value).into(),
        Some(Outcome::Error(error)) => error.as_str().into(),
    };
    let object = Object::from(json!({
        "tool_call_id": call,
        "tool_name": asked.map(|(name, _)| name),
        "tool_call_error": outcome.map(|outcome| !matches!(outcome, Outcome::Result(_))),
        "result": result,
        "metrics": took.map(|took| json!({ "duration": took.as_secs_f64() })),
        "child_run_id": null,
        "created_at": seconds(at),
    }));
    match asked {
        None => object.with("tool_args", json!(null)),
        Some((_, input)) if is_object(input) => object.with("tool_args", input),
        Some((_, input)) => object.with("tool_args", Object::default().with("input", input)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(object: &Object) -> Value {
        serde_json::to_value(object).unwrap()
    }

    #[test]
    fn every_outcome_is_told() {
        let table = [
            (ToolOutcome::Result(Some(Payload::from("sunny"))), json!(false), json!("sunny")),
            (ToolOutcome::Result(None), json!(false), Value::Null),
            (ToolOutcome::Error("no net".into()), json!(true), json!("no net")),
            (ToolOutcome::Cancelled, json!(true), Value::Null),
            (ToolOutcome::Unknown, json!(true), json!("unknown")),
        ];
        let input = Payload::from(json!({ "city": "Oslo" }));
        for (outcome, is_error, result) in table {
            let outcome = Outcome::of(&outcome);
            let at = SystemTime::UNIX_EPOCH;
            let object =
                tool("c1", Some(("weather", &input)), at, Some(&outcome), Some(Duration::ZERO));
            let object = read(&object);
            assert_eq!((&object["tool_call_error"], &object["result"]), (&is_error, &result));
            assert_eq!(object["tool_args"], json!({ "city": "Oslo" }));
        }
    }

    #[test]
    fn an_open_call_has_nulls_and_its_input_is_always_an_object() {
        let at = SystemTime::UNIX_EPOCH;
        let object = tool("c1", Some(("echo", &Payload::from("hi"))), at, None, None);
        let expected = json!({
            "tool_call_id": "c1", "tool_name": "echo", "tool_args": { "input": "hi" },
            "tool_call_error": null, "result": null, "metrics": null, "child_run_id": null,
            "created_at": 0,
        });
        assert_eq!(read(&object), expected);
    }
}
