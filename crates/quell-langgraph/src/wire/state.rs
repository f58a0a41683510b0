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
    /// The graph that would go on, if something was cut or waits.
    pub(crate) next: Option<String>,
    pub(crate) metadata: Payload,
    pub(crate) at: SystemTime,
    pub(crate) interrupt: Option<Interrupt>,
    /// The error of the graph that was cut.
    pub(crate) error: Option<String>,
}

impl StateParts {
    /// Writes the state.
    pub(crate) fn written(&self, values: Option<&Keys>) -> Payload {
        let task = self.next.as_ref().map(|name| self.task(name));
        let row = json!({
            "next": self.next.iter().collect::<Vec<_>>(),
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
            ("tasks", written(&task.into_iter().collect::<Vec<_>>())),
            ("metadata", self.metadata.clone()),
            ("interrupts", written(&interrupts.into_iter().collect::<Vec<_>>())),
        ];
        with_all(row, spelt.map(|(key, value)| (key.to_owned(), value)).into())
    }

    /// Writes the task that would go on.
    fn task(&self, name: &str) -> Payload {
        let of_run = || Uuid::new_v5(&self.id, b"task");
        let id = self.interrupt.as_ref().map_or_else(of_run, Interrupt::task);
        let task = json!({
            "id": id.to_string(),
            "name": name,
            "path": ["__pregel_pull", name],
            "error": self.error,
            "checkpoint": null,
            "state": null,
            "result": null,
        });
        let interrupts = self.interrupt.as_ref().map(Interrupt::as_item);
        with(task, "interrupts", &interrupts.into_iter().collect::<Vec<_>>())
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
