//! The body of a request that creates a run (section 5 of the contract).

use std::time::Duration;

use quell::Payload;
use quell_http::OnDisconnect;
use serde_json::{Map, Value, json};

use crate::wire::exact::{Keys, null, written};
use crate::wire::modes::Modes;
use crate::wire::refusal::Refusal;

/// A run that a caller asks for.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of the request")]
pub(crate) struct Create {
    pub(crate) assistant: String,
    /// As it is spelt: no digit of a number is lost.
    pub(crate) input: Payload,
    pub(crate) metadata: Keys,
    pub(crate) modes: Modes,
    pub(crate) has_subgraphs: bool,
    pub(crate) is_resumable: bool,
    pub(crate) strategy: Strategy,
    pub(crate) makes_thread: bool,
    pub(crate) keeps_thread: bool,
    pub(crate) after: Duration,
    pub(crate) on_disconnect: OnDisconnect,
    pub(crate) timeout: Option<Duration>,
    pub(crate) grace: Option<Duration>,
    pub(crate) is_resuming: bool,
    /// What the run object says of the request, but for `input` and `temporary`.
    pub(crate) kwargs: Keys,
}

/// What becomes of a run whose thread is busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    Enqueue,
    Reject,
    Interrupt,
    Rollback,
}

impl Strategy {
    /// Yields the name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Enqueue => "enqueue",
            Self::Reject => "reject",
            Self::Interrupt => "interrupt",
            Self::Rollback => "rollback",
        }
    }
}

impl Create {
    /// Reads the body, of which the text is the same. Unknown keys are ignored.
    pub(crate) fn read(body: &Value, text: &[u8]) -> Result<Self, Refusal> {
        let Value::Object(body) = body else {
            return Err(Refusal::invalid("body: must be an object"));
        };
        let parts = keys(text)?;
        let assistant = match body.get("assistant_id") {
            Some(Value::String(text)) => text.clone(),
            None | Some(Value::Null) => {
                return Err(Refusal::invalid("assistant_id: field required"));
            }
            Some(_) => return Err(Refusal::invalid("assistant_id: must be text")),
        };
        let metadata = spelt(&parts, "metadata")?;
        let (modes, mode_names) = Modes::of_body(body.get("stream_mode").unwrap_or(&Value::Null))
            .map_err(Refusal::invalid)?;
        check_context(body)?;
        let command = spelt(&parts, "command")?;
        let has_subgraphs = flag(body, "stream_subgraphs")?;
        let is_resumable = flag(body, "stream_resumable")?;
        Ok(Self {
            assistant,
            input: parts.get("input").cloned().unwrap_or_else(null),
            modes,
            has_subgraphs,
            is_resumable,
            strategy: strategy(body)?,
            makes_thread: choice(body, "if_not_exists", ["reject", "create"])? == "create",
            keeps_thread: choice(body, "on_completion", ["delete", "keep"])? == "keep",
            after: after(body)?,
            on_disconnect: match choice(body, "on_disconnect", ["continue", "cancel"])? {
                "cancel" => OnDisconnect::Cancel,
                _ => OnDisconnect::Continue,
            },
            timeout: milliseconds(&metadata, "quell_timeout_ms")?,
            grace: milliseconds(&metadata, "quell_grace_ms")?,
            is_resuming: command.get("resume").is_some_and(|resume| !resume.is_null()),
            kwargs: kwargs(body, &parts, mode_names, [has_subgraphs, is_resumable])?,
            metadata,
        })
    }
}

/// Yields the keys of a body.
pub(crate) fn keys(text: &[u8]) -> Result<Keys, Refusal> {
    serde_json::from_slice(text).map_err(|_| Refusal::invalid("body: must be an object"))
}

/// Yields the keys of an object of the body; none of one that is not there.
pub(crate) fn spelt(parts: &Keys, key: &str) -> Result<Keys, Refusal> {
    match parts.get(key).filter(|part| !part.is_null()) {
        None => Ok(Keys::new()),
        Some(part) => part.parse().map_err(|_| no_object(key)),
    }
}

fn kwargs(
    body: &Map<String, Value>,
    parts: &Keys,
    modes: Value,
    [has_subgraphs, is_resumable]: [bool; 2],
) -> Result<Keys, Refusal> {
    let is_set = |key| parts.get(key).filter(|part| !part.is_null()).cloned();
    let or = |key, default: Value| is_set(key).unwrap_or_else(|| default.into());
    choice(body, "durability", ["async", "sync", "exit"])?;
    let own = [
        ("config", written(&spelt(parts, "config")?)),
        ("context", written(&spelt(parts, "context")?)),
        ("stream_mode", modes.into()),
        ("subgraphs", json!(has_subgraphs).into()),
        ("resumable", json!(is_resumable).into()),
        ("checkpoint_during", or("checkpoint_during", json!(true))),
        ("durability", or("durability", json!("async"))),
    ];
    let given = AS_GIVEN.map(|key| (key, or(key, Value::Null)));
    let all = own.into_iter().chain(given);
    Ok(all.map(|(key, value)| (key.to_owned(), value)).collect())
}

/// Parts of the request that the run object shows as they came.
const AS_GIVEN: [&str; 5] =
    ["command", "interrupt_before", "interrupt_after", "webhook", "feedback_keys"];

fn check_context(body: &Map<String, Value>) -> Result<(), Refusal> {
    let is_full = |value: Option<&Value>| match value {
        None | Some(Value::Null) => false,
        Some(Value::Object(keys)) => !keys.is_empty(),
        Some(_) => true,
    };
    let configurable = body.get("config").and_then(|config| config.get("configurable"));
    if is_full(configurable) && is_full(body.get("context")) {
        let text = "Cannot specify both configurable and context. Prefer context.";
        return Err(Refusal::new(axum::http::StatusCode::BAD_REQUEST, text));
    }
    Ok(())
}

pub(crate) fn object(body: &Map<String, Value>, key: &str) -> Result<Map<String, Value>, Refusal> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(object)) => Ok(object.clone()),
        Some(_) => Err(no_object(key)),
    }
}

fn no_object(key: &str) -> Refusal {
    Refusal::invalid(format!("{key}: must be an object"))
}

fn flag(body: &Map<String, Value>, key: &str) -> Result<bool, Refusal> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(Refusal::invalid(format!("{key}: must be a boolean"))),
    }
}

/// Reads one of some words; the first is the default.
pub(crate) fn choice<const N: usize>(
    body: &Map<String, Value>,
    key: &str,
    words: [&'static str; N],
) -> Result<&'static str, Refusal> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(words[0]),
        Some(value) => {
            let word = words.iter().find(|word| value.as_str() == Some(word));
            word.copied().ok_or_else(|| {
                Refusal::invalid(format!("{key}: must be one of {}", words.join(", ")))
            })
        }
    }
}

fn strategy(body: &Map<String, Value>) -> Result<Strategy, Refusal> {
    let all = [Strategy::Enqueue, Strategy::Reject, Strategy::Interrupt, Strategy::Rollback];
    let word = choice(body, "multitask_strategy", all.map(Strategy::name))?;
    Ok(all.into_iter().find(|one| one.name() == word).unwrap_or(Strategy::Enqueue))
}

fn after(body: &Map<String, Value>) -> Result<Duration, Refusal> {
    let Some(value) = body.get("after_seconds").filter(|value| !value.is_null()) else {
        return Ok(Duration::ZERO);
    };
    let time = value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| *time <= AFTER_MAX)
        .ok_or_else(|| Refusal::invalid("after_seconds: must be a number from 0 to a year"))
}

/// The longest delay of a start. A longer one is refused.
const AFTER_MAX: Duration = Duration::from_hours(365 * 24);

/// Reads a time of the extension (choice 8): a positive integer.
fn milliseconds(metadata: &Keys, key: &str) -> Result<Option<Duration>, Refusal> {
    let Some(value) = metadata.get(key) else { return Ok(None) };
    match value.parse() {
        Ok(ms) if ms > 0 => Ok(Some(Duration::from_millis(ms))),
        _ => Err(Refusal::invalid(format!("metadata.{key}: must be a positive integer"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &Value) -> Result<Create, Refusal> {
        Create::read(body, body.to_string().as_bytes())
    }

    #[test]
    fn a_body_is_refused_with_the_key_that_is_wrong() {
        let table = [
            (json!([]), 422, "body"),
            (json!({}), 422, "assistant_id: field required"),
            (json!({"assistant_id": 1}), 422, "assistant_id"),
            (json!({"assistant_id": "a", "metadata": 1}), 422, "metadata"),
            (json!({"assistant_id": "a", "config": []}), 422, "config"),
            (json!({"assistant_id": "a", "stream_mode": "nope"}), 422, "stream_mode"),
            (json!({"assistant_id": "a", "multitask_strategy": "nope"}), 422, "multitask_strategy"),
            (json!({"assistant_id": "a", "after_seconds": -1}), 422, "after_seconds"),
            (json!({"assistant_id": "a", "after_seconds": 1e300}), 422, "after_seconds"),
            (json!({"assistant_id": "a", "on_disconnect": "x"}), 422, "on_disconnect"),
            (json!({"assistant_id": "a", "durability": "x"}), 422, "durability"),
            (json!({"assistant_id": "a", "stream_resumable": 1}), 422, "stream_resumable"),
            (
                json!({"assistant_id": "a", "metadata": {"quell_timeout_ms": 0}}),
                422,
                "metadata.quell_timeout_ms",
            ),
            (
                json!({"assistant_id": "a", "metadata": {"quell_grace_ms": 1.5}}),
                422,
                "metadata.quell_grace_ms",
            ),
            (
                json!({"assistant_id": "a", "config": {"configurable": {"a": 1}},
                       "context": {"b": 2}}),
                400,
                "Cannot specify both",
            ),
        ];
        for (body, status, words) in table {
            let refusal = read(&body).unwrap_err();
            assert_eq!(refusal.status.as_u16(), status, "{body}");
            assert!(refusal.detail.starts_with(words), "{body}: {}", refusal.detail);
        }
    }

    #[test]
    fn a_body_without_options_has_the_defaults_of_the_contract() {
        let create = read(&json!({"assistant_id": "a", "nobody": "knows"})).unwrap();
        assert_eq!(create.strategy, Strategy::Enqueue);
        assert_eq!(create.on_disconnect, OnDisconnect::Continue);
        assert!(!create.makes_thread && !create.keeps_thread && !create.is_resuming);
        assert_eq!((create.after, create.timeout, create.grace), (Duration::ZERO, None, None));
        assert_eq!(
            written(&create.kwargs).parse::<Value>().unwrap(),
            json!({"command": null, "config": {}, "context": {},
                "stream_mode": ["values"], "interrupt_before": null, "interrupt_after": null,
                "webhook": null, "feedback_keys": null, "subgraphs": false, "resumable": false,
                "checkpoint_during": true, "durability": "async"})
        );
    }

    #[test]
    fn options_are_read() {
        let create = read(&json!({
            "assistant_id": "a", "after_seconds": 1.5, "multitask_strategy": "rollback",
            "if_not_exists": "create", "on_completion": "keep", "on_disconnect": "cancel",
            "command": {"resume": 1}, "stream_mode": "custom", "stream_subgraphs": true,
            "metadata": {"quell_timeout_ms": 5, "quell_grace_ms": 7},
        }))
        .unwrap();
        assert_eq!(create.strategy, Strategy::Rollback);
        assert_eq!(create.on_disconnect, OnDisconnect::Cancel);
        assert!(create.makes_thread && create.keeps_thread && create.is_resuming);
        assert!(create.has_subgraphs && create.modes.has("custom"));
        assert_eq!(create.after, Duration::from_millis(1_500));
        assert_eq!(create.timeout, Some(Duration::from_millis(5)));
        assert_eq!(create.grace, Some(Duration::from_millis(7)));
    }
}
