//! [`Interrupt`]: what a paused run asks, as the contract shows it (contract, section 7).

use std::collections::BTreeMap;

use quell::{Payload, RunId};
use quell_http::RunView;
use serde_json::json;
use uuid::Uuid;

use crate::wire::exact::{Keys, with, written};

/// What a paused run asks.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    /// The task that asks: the attempt of the run.
    task: Uuid,
    id: Uuid,
    pub(crate) value: Payload,
}

impl Interrupt {
    /// Makes that of an attempt of a run. Its ids follow from both: they are the same for every
    /// reader.
    pub(crate) fn new(run: RunId, attempt: u32, value: Payload) -> Self {
        let of = |what: &str| Uuid::new_v5(&run.as_uuid(), format!("{what} {attempt}").as_bytes());
        Self { task: of("task"), id: of("interrupt"), value }
    }

    /// Yields that of a run, if it is paused.
    pub(crate) fn of(run: &RunView) -> Option<Self> {
        let pause = run.pause_state()?;
        Some(Self::new(run.id(), pause.attempt, pause.request))
    }

    /// Yields what answers it, of what a request says: that, or, of an object whose keys are ids of
    /// interrupts, as upstream's clients may send it, what stands under its own. None if only
    /// others are answered.
    pub(crate) fn answer_of(&self, said: &Payload) -> Option<Payload> {
        let by_id = said.parse::<BTreeMap<String, Payload>>().ok();
        let is_id = |key: &String| key.len() == 32 && key.bytes().all(|it| HEX.contains(&it));
        match by_id.filter(|by_id| !by_id.is_empty() && by_id.keys().all(is_id)) {
            Some(mut by_id) => by_id.remove(&self.id()),
            None => Some(said.clone()),
        }
    }

    pub(crate) fn id(&self) -> String {
        self.id.simple().to_string()
    }

    pub(crate) const fn task(&self) -> Uuid {
        self.task
    }

    /// Writes it for a state: what is asked, and under which id.
    pub(crate) fn as_item(&self) -> Payload {
        with(self.shown(), "value", &self.value)
    }

    fn shown(&self) -> serde_json::Value {
        json!({ "id": self.id() })
    }

    /// Writes it for the row of a thread: an object of its task.
    pub(crate) fn of_thread(&self) -> Payload {
        with(json!({}), &self.task.to_string(), &[self.as_item()])
    }

    /// Writes it for values and updates: a list.
    pub(crate) fn listed(&self) -> Payload {
        let mut item = self.shown();
        item["response_schema"] = json!(null);
        written(&[with(item, "value", &self.value)])
    }

    /// Writes values with it.
    pub(crate) fn within(&self, values: Option<&Keys>) -> Payload {
        let mut all = values.cloned().unwrap_or_default();
        all.insert(INTERRUPT.to_owned(), self.listed());
        written(&all)
    }

    /// Writes it as an update.
    pub(crate) fn update(&self) -> Payload {
        with(json!({}), INTERRUPT, &self.listed())
    }
}

/// What the ids of interrupts are written with.
const HEX: &[u8] = b"0123456789abcdef";

/// The key of what is asked.
const INTERRUPT: &str = "__interrupt__";
