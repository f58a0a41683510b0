//! [`paused`], [`continued`] and [`add`]: what is shown of a run that waits for an answer
//! (contract, section 7).

use std::collections::BTreeMap;

use quell::Payload;
use serde_json::json;

use crate::wire::event::Line;
use crate::wire::exact::{Json, Object, is_object};
use crate::wire::kinds::names_of;
use crate::wire::position::{Position, Role};
use crate::wire::run::Tree;

/// Makes the event of a pause.
pub(crate) fn paused(tree: &Tree, request: &Payload) -> Line {
    let run = tree.own();
    let mut own = Object::default();
    if run.position.role == Role::Workflow {
        own.set("status", json!("PAUSED"));
        own.set("content", json!(tree.content(0)));
        own.set("metadata", json!({}));
        own.set("step_results", json!(tree.step_results(0)));
        own.set("step_executor_runs", tree.executor_runs(0, 0));
    } else {
        own.set("tools", Vec::new());
    }
    add(&mut own, run.position.role, request);
    own.set("quell", serde_json::to_value(&run.state).unwrap_or_default());
    (format!("{}Paused", names_of(run.position.kind()).prefix), own)
}

/// Makes the event that tells that a run goes on; the contract has none for workflows.
pub(crate) fn continued(position: &Position) -> Option<String> {
    let is_told = matches!(position.role, Role::Agent | Role::Team);
    is_told.then(|| format!("{}Continued", names_of(position.kind()).prefix))
}

/// Adds what a run asks: as it is, and what the clients of the contract look for, if the request is
/// an object that has it.
pub(crate) fn add(out: &mut Object, role: Role, request: &Payload) {
    let mut given: BTreeMap<String, Payload> = request.parse().unwrap_or_default();
    let name = if role == Role::Workflow { "step_requirements" } else { "requirements" };
    out.set(name, given.remove(name).and_then(|list| objects(&list)).unwrap_or_default());
    if role != Role::Workflow
        && let Some(tools) = given.remove("tools").and_then(|list| objects(&list))
    {
        out.set("tools", tools);
    }
    out.set("request", request);
}

/// Tells whether an answer, the list of this field, names questions, and none of those that are
/// asked. None that names nothing does.
pub(crate) fn is_to_others(field: &str, request: &Payload, answer: &Payload) -> bool {
    let key = match field {
        "tools" => "tool_call_id",
        "requirements" => "id",
        _ => "step_id",
    };
    let ids = |list: &Payload| -> Vec<Payload> {
        let items: Vec<BTreeMap<String, Payload>> = list.parse().unwrap_or_default();
        items.into_iter().filter_map(|mut item| item.remove(key)).collect()
    };
    let given: BTreeMap<String, Payload> = request.parse().unwrap_or_default();
    let (asked, answered) = (given.get(field).map(ids).unwrap_or_default(), ids(answer));
    !asked.is_empty() && !answered.is_empty() && !answered.iter().any(|id| asked.contains(id))
}

/// Yields the objects of a list of objects. The clients fail on anything else.
fn objects(list: &Payload) -> Option<Vec<Object>> {
    let list: Vec<Payload> = list.parse().ok()?;
    if !list.iter().all(is_object) {
        return None;
    }
    let object = |item: &Payload| {
        let keys: BTreeMap<String, Payload> = item.parse().ok()?;
        let mut object = Object::default();
        for (key, value) in &keys {
            object.set(key, Json::from(value));
        }
        Some(object)
    };
    list.iter().map(object).collect()
}
