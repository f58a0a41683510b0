//! [`Create`]: the body of a request that creates a run (contract, section 5).

use std::time::Duration;

use quell::Payload;
use quell_http::OnDisconnect;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::wire::exact::{Keys, null, written};
use crate::wire::modes::Modes;
use crate::wire::nodes::NodesWanted;
use crate::wire::refusal::Refusal;

/// A run that a caller asks for.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of the request")]
pub(crate) struct Create {
    pub(crate) assistant: String,
    /// The assistant, once it is found and is not the system's.
    pub(crate) own_assistant: Option<Uuid>,
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
    /// The answer to a paused run of the thread.
    pub(crate) resume: Option<Payload>,
    /// It is no run of the caller's, but a change of the values.
    pub(crate) is_update: bool,
    /// Where its end is told.
    pub(crate) webhook: Option<String>,
    pub(crate) nodes: NodesWanted,
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
    pub(crate) const ALL: [Self; 4] =
        [Self::Enqueue, Self::Reject, Self::Interrupt, Self::Rollback];

    /// Reads a name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

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
    /// Reads the keys of a body. Unknown keys are ignored.
    pub(crate) fn read(body: &Keys) -> Result<Self, Refusal> {
        let assistant = typed(body, "assistant_id", "must be text")?;
        let assistant =
            assistant.ok_or_else(|| Refusal::invalid("assistant_id: field required"))?;
        let own = object(body, "metadata")?;
        let (modes, mode_names) =
            Modes::of_body(given(body, "stream_mode")).map_err(Refusal::invalid)?;
        let (config, context) = (object(body, "config")?, object(body, "context")?);
        check_context(&config, &context)?;
        // Some clients give it there alone.
        let mut metadata = object(&config, "metadata")?;
        metadata.extend(own);
        let command = object(body, "command")?;
        let has_subgraphs = flag(body, "stream_subgraphs")?;
        let is_resumable = flag(body, "stream_resumable")?;
        let (nodes, update) = NodesWanted::read(body)?;
        choice(body, "durability", ["async", "sync", "exit"])?;
        let own = [
            ("config", written(&config)),
            ("context", written(&context)),
            ("stream_mode", mode_names.into()),
            ("subgraphs", json!(has_subgraphs).into()),
            ("resumable", json!(is_resumable).into()),
        ];
        Ok(Self {
            assistant,
            own_assistant: None,
            input: update.or_else(|| body.get("input").cloned()).unwrap_or_else(null),
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
            timeout: milliseconds(&metadata, TIMEOUT)?,
            grace: milliseconds(&metadata, GRACE)?,
            resume: given(&command, "resume").cloned(),
            is_update: false,
            webhook: typed(body, "webhook", "must be a URL")?,
            nodes,
            kwargs: kwargs(body, own),
            metadata,
        })
    }

    /// Gives it other metadata, and the times that they say.
    pub(crate) fn set_metadata(&mut self, metadata: Keys) -> Result<(), Refusal> {
        self.timeout = milliseconds(&metadata, TIMEOUT)?;
        self.grace = milliseconds(&metadata, GRACE)?;
        self.metadata = metadata;
        Ok(())
    }
}

/// Yields what is given under a key; null is nothing.
pub(crate) fn given<'a>(body: &'a Keys, key: &str) -> Option<&'a Payload> {
    body.get(key).filter(|value| !value.is_null())
}

/// Reads what is given under a key; refuses another type with this text.
pub(crate) fn typed<T: DeserializeOwned>(
    body: &Keys,
    key: &str,
    expected: &str,
) -> Result<Option<T>, Refusal> {
    let value = given(body, key).map(Payload::parse).transpose();
    value.map_err(|_| Refusal::invalid(format!("{key}: {expected}")))
}

/// Yields the keys of an object of the body; none of one that is not there.
pub(crate) fn object(body: &Keys, key: &str) -> Result<Keys, Refusal> {
    Ok(typed(body, key, "must be an object")?.unwrap_or_default())
}

fn kwargs<const N: usize>(body: &Keys, own: [(&str, Payload); N]) -> Keys {
    let or = |key, default: Value| given(body, key).cloned().unwrap_or_else(|| default.into());
    let defaults = [("checkpoint_during", json!(true)), ("durability", json!("async"))];
    let given = AS_GIVEN.map(|key| (key, Value::Null)).into_iter().chain(defaults);
    let given = given.map(|(key, default)| (key, or(key, default)));
    own.into_iter().chain(given).map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Parts of the request that the run object shows as they came.
/// Keys of the metadata that limit a run, in milliseconds.
pub(crate) const TIMEOUT: &str = "quell_timeout_ms";
pub(crate) const GRACE: &str = "quell_grace_ms";

const AS_GIVEN: [&str; 5] =
    ["command", "interrupt_before", "interrupt_after", "webhook", "feedback_keys"];

fn check_context(config: &Keys, context: &Keys) -> Result<(), Refusal> {
    let is_full = |value: &Payload| !value.parse().is_ok_and(|keys: Keys| keys.is_empty());
    if given(config, "configurable").is_some_and(is_full) && !context.is_empty() {
        let text = "Cannot specify both configurable and context. Prefer context.";
        return Err(Refusal::new(axum::http::StatusCode::BAD_REQUEST, text));
    }
    Ok(())
}

fn flag(body: &Keys, key: &str) -> Result<bool, Refusal> {
    Ok(typed(body, key, "must be a boolean")?.unwrap_or(false))
}

/// Reads one of some choices; the first is the default.
pub(crate) fn choice<const N: usize>(
    body: &Keys,
    key: &str,
    choices: [&'static str; N],
) -> Result<&'static str, Refusal> {
    let Some(value) = given(body, key) else { return Ok(choices[0]) };
    let given: Option<String> = value.parse().ok();
    let chosen = choices.into_iter().find(|choice| given.as_deref() == Some(choice));
    chosen.ok_or_else(|| Refusal::invalid(format!("{key}: must be one of {}", choices.join(", "))))
}

fn strategy(body: &Keys) -> Result<Strategy, Refusal> {
    let name = choice(body, "multitask_strategy", Strategy::ALL.map(Strategy::name))?;
    Ok(Strategy::of(name).unwrap_or(Strategy::Enqueue))
}

fn after(body: &Keys) -> Result<Duration, Refusal> {
    let Some(value) = given(body, "after_seconds") else { return Ok(Duration::ZERO) };
    let time = value.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| *time <= AFTER_MAX)
        .ok_or_else(|| Refusal::invalid("after_seconds: must be a number from 0 to a year"))
}

/// The longest delay of a start. A longer one is refused.
pub(crate) const AFTER_MAX: Duration = Duration::from_hours(365 * 24);

/// Reads a time of the extension (contract, choice 8): a positive integer.
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
        Create::read(&Payload::from(body.clone()).parse().unwrap())
    }

    #[test]
    fn a_body_is_refused_with_the_key_that_is_wrong() {
        let table = [
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
            (json!({"assistant_id": "a", "webhook": 5}), 422, "webhook: must be a URL"),
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
        for (body, status, text) in table {
            let refusal = read(&body).unwrap_err();
            assert_eq!(refusal.status.as_u16(), status, "{body}");
            assert!(refusal.detail.starts_with(text), "{body}: {}", refusal.detail);
        }
    }

    #[test]
    fn a_body_without_options_has_the_defaults_of_the_contract() {
        let create = read(&json!({"assistant_id": "a", "nobody": "knows"})).unwrap();
        assert_eq!(create.strategy, Strategy::Enqueue);
        assert_eq!(create.on_disconnect, OnDisconnect::Continue);
        assert!(!create.makes_thread && !create.keeps_thread && create.resume.is_none());
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
        assert!(create.makes_thread && create.keeps_thread && create.resume.is_some());
        assert!(create.has_subgraphs && create.modes.has("custom"));
        assert_eq!(create.after, Duration::from_millis(1_500));
        assert_eq!(create.timeout, Some(Duration::from_millis(5)));
        assert_eq!(create.grace, Some(Duration::from_millis(7)));
    }
}
