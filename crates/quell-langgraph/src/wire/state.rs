//! [`StateParts`]: the states of a thread, as the contract shows them (contract, section 4).

use std::time::SystemTime;

use quell::Payload;
use quell_http::whole_millis;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::wire::exact::{Keys, with, with_all, written};
use crate::wire::interrupt::Interrupt;
use crate::wire::rows::time;

/// What a state is made of.
#[derive(Clone, Debug)]
pub(crate) struct StateParts {
    pub(crate) thread: Uuid,
    pub(crate) id: Uuid,
    pub(crate) parent: Option<Uuid>,
    /// What comes next: nodes, or the graph, if that was cut or waits.
    pub(crate) next: Vec<String>,
    pub(crate) metadata: StateMetadata,
    pub(crate) at: SystemTime,
    pub(crate) interrupt: Option<Interrupt>,
    /// The error of what was cut.
    pub(crate) error: Option<String>,
    /// Before the first node: the input that it takes.
    pub(crate) input: Option<Payload>,
}

/// The metadata of a state: those of its run, and its own keys. They are put together when they are
/// shown: a thread has the states of many runs, and each run has all metadata of its thread.
#[derive(Clone, Debug)]
pub(crate) struct StateMetadata {
    of_run: Payload,
    own: Vec<(&'static str, Value)>,
}

impl StateMetadata {
    pub(crate) const fn new(of_run: Payload, own: Vec<(&'static str, Value)>) -> Self {
        Self { of_run, own }
    }

    /// Sets one of its own keys.
    pub(crate) fn set(&mut self, key: &'static str, value: Value) {
        self.own.retain(|(other, _)| *other != key);
        self.own.push((key, value));
    }

    /// Yields all keys. Takes as long as the run has metadata.
    pub(crate) fn keys(&self) -> Keys {
        let mut keys: Keys = self.of_run.parse().unwrap_or_default();
        keys.extend(self.own.iter().map(|(key, value)| ((*key).to_owned(), value.clone().into())));
        keys
    }

    /// Yields about how long they are, written.
    pub(crate) fn bytes(&self) -> usize {
        self.of_run.len() + OWN_BYTES
    }
}

impl StateParts {
    /// Yields about how long it is, written without its values.
    pub(crate) fn bytes(&self) -> usize {
        let error = self.error.as_ref().map_or(0, String::len);
        let tasks = self.next.iter().map(|name| 3 * name.len() + error + TASK_BYTES);
        let asks = self.interrupt.as_ref().map_or(0, |it| 2 * it.value.len());
        STATE_BYTES + self.metadata.bytes() + asks + tasks.sum::<usize>()
    }

    /// Writes the state.
    pub(crate) fn written(&self, values: Option<&Keys>) -> Payload {
        let tasks = self.next.iter().enumerate().map(|(nth, name)| self.task(nth, name));
        let row = json!({
            "next": self.next,
            // As every node tells it: stores keep whole milliseconds.
            "created_at": time(whole_millis(self.at)),
            "checkpoint": checkpoint(self.thread, self.id),
            "parent_checkpoint": self.parent.map(|id| checkpoint(self.thread, id)),
            "checkpoint_id": self.id.to_string(),
            "parent_checkpoint_id": self.parent.map(|id| id.to_string()),
        });
        let interrupts = self.interrupt.as_ref().map(Interrupt::as_item);
        let spelt = [
            ("values", values.map_or_else(|| written(&Keys::new()), written)),
            ("tasks", written(&tasks.collect::<Vec<_>>())),
            ("metadata", written(&self.metadata.keys())),
            ("interrupts", written(&interrupts.into_iter().collect::<Vec<_>>())),
        ];
        with_all(row, spelt.map(|(key, value)| (key.to_owned(), value)).into())
    }

    /// Writes one of the tasks that would go on.
    fn task(&self, nth: usize, name: &str) -> Payload {
        let asks = self.interrupt.as_ref().filter(|_| nth == 0);
        let id = asks.map_or_else(|| task_id(self.id, nth), Interrupt::task);
        let task = json!({
            "id": id.to_string(),
            "name": name,
            "path": ["__pregel_pull", name],
            "error": self.error,
            "checkpoint": null,
            "state": null,
            "result": null,
        });
        let interrupts = asks.map(Interrupt::as_item);
        with(task, "interrupts", &interrupts.into_iter().collect::<Vec<_>>())
    }
}

/// Yields the id of a task of those that come behind a state.
pub(crate) fn task_id(state: Uuid, nth: usize) -> Uuid {
    match nth {
        0 => Uuid::new_v5(&state, b"task"),
        nth => Uuid::new_v5(&state, format!("task {nth}").as_bytes()),
    }
}

/// Writes the name of a state.
pub(crate) fn checkpoint(thread: Uuid, id: Uuid) -> Value {
    json!({
        "thread_id": thread.to_string(),
        "checkpoint_ns": "",
        "checkpoint_id": id.to_string(),
    })
}

/// What a state takes, written, besides its values, its tasks and what is counted of it.
const STATE_BYTES: usize = 1 << 10;

/// What its own metadata take, written.
const OWN_BYTES: usize = 256;

/// What a task of a state takes, written, besides its name and its error.
const TASK_BYTES: usize = 200;

/// Writes the state of a thread that has none.
pub(crate) fn no_state() -> Value {
    json!({
        "values": {},
        "next": [],
        "tasks": [],
        "metadata": null,
        "created_at": null,
        "checkpoint": null,
        "parent_checkpoint": null,
        "interrupts": [],
        "checkpoint_id": null,
        "parent_checkpoint_id": null,
    })
}

#[cfg(test)]
mod tests {
    use quell::RunId;

    use super::*;

    #[test]
    fn a_state_is_no_longer_than_it_is_counted() {
        let asks =
            Interrupt::new(RunId::from_text("r"), 1, json!({ "ask": "x".repeat(99) }).into());
        for (next, error, interrupt) in [
            (Vec::new(), None, None),
            (vec!["node".to_owned(); 5_000], Some("it failed".repeat(9)), None),
            (vec!["n".repeat(1_000); 3], None, Some(asks)),
        ] {
            let state = StateParts {
                thread: Uuid::now_v7(),
                id: Uuid::now_v7(),
                parent: Some(Uuid::now_v7()),
                next,
                metadata: StateMetadata::new(json!({}).into(), vec![("step", json!(1))]),
                at: SystemTime::UNIX_EPOCH,
                interrupt,
                error,
                input: None,
            };
            let (counted, is) = (state.bytes(), state.written(None).len());
            assert!(counted >= is, "{counted} are counted, and it has {is}");
        }
    }
}
