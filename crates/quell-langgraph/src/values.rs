//! The values of a thread, and how a run changes them.
//!
//! A body speaks of its own run: the `Values` that it emits are its input with its changes. They
//! are laid over what the thread had when the run started: every key is overwritten, `log` is
//! appended to (section 14 of the contract). What a body emits after a stop was accepted is not
//! merged (section 10, effects).

use std::sync::Arc;

use quell::{EventKind, Payload, RunEvent, RunId};
use quell_flow::Emit;
use serde_json::{Map, Value};

/// The values of a thread or of a run.
pub(crate) type Values = Map<String, Value>;

/// The key that is appended to.
pub(crate) const LOG: &str = "log";

/// Lays the values of a run over those that the thread had. What is no object changes nothing.
pub(crate) fn overlay(base: Option<&Values>, over: &Value) -> Values {
    let mut values = base.cloned().unwrap_or_default();
    for (key, value) in over.as_object().into_iter().flatten() {
        if key != LOG {
            values.insert(key.clone(), value.clone());
        }
    }
    let log = values.entry(LOG).or_insert_with(|| Value::Array(Vec::new()));
    if let (Value::Array(log), Some(Value::Array(new))) = (log, over.get(LOG)) {
        log.extend(new.iter().cloned());
    }
    values
}

/// Makes the input of a body: the values of its thread, but for `log`, with its own input merged.
/// An input that is no object stays as it is.
pub(crate) fn merged_input(base: Option<&Values>, input: &Value) -> Value {
    match input {
        Value::Null => Value::Object(Values::new()),
        Value::Object(_) => {
            let mut merged = base.cloned().unwrap_or_default();
            merged.remove(LOG);
            merged.extend(input.as_object().cloned().unwrap_or_default());
            Value::Object(merged)
        }
        other => other.clone(),
    }
}

/// The values of one run, folded from its events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fold {
    /// The last event that is in.
    pub(crate) seq: u64,
    base: Option<Arc<Values>>,
    current: Option<Arc<Values>>,
    has_started: bool,
    is_stopping: bool,
    has_spoken: bool,
}

impl Fold {
    /// Tells whether the run has started.
    pub(crate) const fn has_started(&self) -> bool {
        self.has_started
    }

    /// Yields the values so far; none before the start.
    pub(crate) const fn current(&self) -> Option<&Arc<Values>> {
        self.current.as_ref()
    }

    /// Yields what the run started on.
    pub(crate) const fn base(&self) -> Option<&Arc<Values>> {
        self.base.as_ref()
    }

    /// Takes in an event of the run's tree; tells whether the values are new, or the same again.
    pub(crate) fn take(
        &mut self,
        run: RunId,
        event: &RunEvent,
        input: &Value,
        base: impl FnOnce() -> Option<Arc<Values>>,
    ) -> bool {
        if event.seq <= self.seq {
            return false;
        }
        self.seq = event.seq;
        if event.run != run {
            return false;
        }
        match &event.kind {
            EventKind::Started => {
                self.has_started = true;
                self.base = base();
                self.current = Some(Arc::new(overlay(self.base.as_deref(), input)));
                true
            }
            EventKind::Stopping(_) => {
                self.is_stopping = true;
                false
            }
            EventKind::Emitted(payload) => self.take_emit(payload),
            _ => false,
        }
    }

    fn take_emit(&mut self, payload: &Payload) -> bool {
        let Some(Emit::Values { values }) = Emit::read(payload) else { return false };
        if self.is_stopping || !self.has_started {
            return false;
        }
        self.has_spoken = true;
        self.current = Some(Arc::new(overlay(self.base.as_deref(), &values)));
        true
    }

    /// Takes in the output of a completed run that emitted no values; tells whether it is some.
    pub(crate) fn finish(&mut self, output: Option<&Payload>) -> bool {
        let output = output.filter(|_| !self.has_spoken).and_then(|text| text.parse().ok());
        let Some(output @ Value::Object(_)) = output else { return false };
        self.has_spoken = true;
        let so_far = self.current.take();
        self.current = Some(Arc::new(overlay(so_far.as_deref(), &output)));
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_is_overwritten_and_the_log_is_appended_to() {
        let base = json!({"a": 1, "log": ["x"]}).as_object().cloned();
        let table = [
            (None, json!({}), json!({"log": []})),
            (None, json!({"b": 2, "log": ["y"]}), json!({"b": 2, "log": ["y"]})),
            (base.clone(), json!({"a": 2}), json!({"a": 2, "log": ["x"]})),
            (base.clone(), json!({"log": ["y", "z"]}), json!({"a": 1, "log": ["x", "y", "z"]})),
            (base.clone(), json!({"log": 7}), json!({"a": 1, "log": ["x"]})),
            (base.clone(), json!("no object"), json!({"a": 1, "log": ["x"]})),
            (base, Value::Null, json!({"a": 1, "log": ["x"]})),
        ];
        for (base, over, expected) in table {
            assert_eq!(Value::Object(overlay(base.as_ref(), &over)), expected, "{over}");
        }
    }

    #[test]
    fn a_body_gets_the_values_of_its_thread_without_the_log() {
        let base = json!({"a": 1, "b": 1, "log": ["x"]}).as_object().cloned();
        let merged = merged_input(base.as_ref(), &json!({"b": 2}));
        assert_eq!(merged, json!({"a": 1, "b": 2}));
        assert_eq!(merged_input(base.as_ref(), &json!([1])), json!([1]));
        assert_eq!(merged_input(None, &Value::Null), json!({}));
    }
}
