//! [`SessionParts`], [`run`] and [`preview`]: sessions and their runs as JSON (contract, section
//! 10).

use std::time::SystemTime;

use quell_flow::ComponentKind;
use serde_json::{Value, json};

use crate::wire::exact::Object;
use crate::wire::kinds::names_of;
use crate::wire::position::Role;
use crate::wire::run::{Tree, message};
use crate::wire::status::status;

/// What is said of a session.
#[derive(Debug)]
pub(crate) struct SessionParts<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) kind: ComponentKind,
    pub(crate) component: &'a str,
    pub(crate) user: Option<&'a str>,
    pub(crate) created_at: SystemTime,
    pub(crate) updated_at: SystemTime,
}

impl SessionParts<'_> {
    /// Writes it as lists have it.
    pub(crate) fn in_list(&self) -> Value {
        let mut out = self.common();
        out["session_type"] = self.kind.run_kind().as_str().into();
        out["metrics"] = json!({});
        out
    }

    /// Writes it with the messages of its runs, in their order. A workflow's has none.
    pub(crate) fn in_full(&self, history: Vec<Value>) -> Value {
        let mut out = self.common();
        match self.kind {
            ComponentKind::Workflow => out["session_data"] = json!({ "session_state": {} }),
            kind => {
                if kind == ComponentKind::Agent {
                    out["agent_session_id"] = self.id.into();
                }
                out["metrics"] = json!({});
                out["chat_history"] = history.into();
            }
        }
        out
    }

    fn common(&self) -> Value {
        let mut out = json!({
            "session_id": self.id,
            "session_name": self.name,
            "session_state": {},
            "created_at": utc(self.created_at),
            "updated_at": utc(self.updated_at),
        });
        out[names_of(self.kind).id_key] = self.component.into();
        if let Some(user) = self.user {
            out["user_id"] = user.into();
        }
        out
    }
}

/// Writes a part of a list, and where in the list it is.
pub(crate) fn page(data: &[Value], page: u64, limit: u64, total: usize) -> Value {
    let total_pages = u64::try_from(total).unwrap_or(u64::MAX).div_ceil(limit);
    json!({
        "data": data,
        "meta": {
            "page": page,
            "limit": limit,
            "total_pages": total_pages,
            "total_count": total,
            "search_time_ms": 0.0,
        },
    })
}

/// Writes a run as the lists of its session have it: what there is not is null, or empty.
pub(crate) fn run(tree: &Tree) -> Object {
    let own = tree.own();
    let is_workflow = own.position.role == Role::Workflow;
    // Of a team upstream says null.
    let nobody = if own.position.role == Role::Team { Value::Null } else { "".into() };
    let mut out = json!({
        "user_id": nobody,
        "cancellation_stage": null,
        "run_input": message(&own.input),
        "content": "",
        "events": [],
        "created_at": utc(own.queued_at),
        "reasoning_content": "",
        "reasoning_steps": [],
        "reasoning_messages": [],
        "references": [],
        "citations": null,
        "images": [],
        "videos": [],
        "audio": [],
        "files": [],
        "response_audio": null,
    });
    let more = if is_workflow { of_workflow() } else { of_others() };
    if let (Value::Object(out), Value::Object(more)) = (&mut out, more) {
        out.extend(more);
    }
    let kept = if is_workflow { KEPT_OF_WORKFLOWS } else { KEPT_OF_OTHERS };
    let is_kept = |key: &str| KEPT.contains(&key) || kept.contains(&key);
    let mut run = Object::from(out);
    run.extend(tree.to_json().without(|key| !is_kept(key)));
    run
}

/// Writes a run in short: which one it is, how it stands, and how its message and its answer begin.
/// What there is not is left out, or empty, as in [`run`].
pub(crate) fn preview(tree: &Tree) -> Value {
    let own = tree.own();
    let mut out = json!({
        "run_id": own.position.run,
        "status": status(own.status),
        "run_input": beginning(&message(&own.input)),
        "content_preview": beginning(&tree.content(0)),
        "created_at": utc(own.queued_at),
    });
    out[names_of(own.position.kind()).id_key] = own.position.name.as_str().into();
    if own.position.role != Role::Workflow {
        out["parent_run_id"] = own.position.parent_run().unwrap_or_default().into();
    }
    if tree.user.is_some() || own.position.role != Role::Team {
        out["user_id"] = tree.user.as_deref().unwrap_or_default().into();
    }
    out
}

fn beginning(text: &str) -> String {
    text.chars().take(PREVIEW_CHARS).collect()
}

/// The characters of a message, or of an answer, in [`preview`]; as many as upstream's.
const PREVIEW_CHARS: usize = 280;

fn of_workflow() -> Value {
    json!({
        "content_type": "",
        "step_requirements": null,
        "pause_kind": null,
        "paused_step_name": null,
        "paused_step_index": null,
    })
}

fn of_others() -> Value {
    json!({
        "parent_run_id": "",
        "run_response_format": "text",
        "metadata": null,
        "messages": null,
        "input_media": { "images": [], "videos": [], "audios": [], "files": [] },
        "followups": null,
        "forked_from_run_id": null,
        "forked_from_message_index": null,
        "forked_from_session_id": null,
        "regenerated_from": null,
        "last_checkpoint_at_message_index": null,
    })
}

/// Yields the messages of a run that has ended.
pub(crate) fn messages(tree: &Tree) -> Vec<Value> {
    let is_over = tree.own().status.is_terminal();
    let said = if is_over { tree.own().messages() } else { Vec::new() };
    said.iter().map(|it| serde_json::to_value(it).unwrap_or_default()).collect()
}

/// Writes an instant as the contract does: whole seconds of UTC.
fn utc(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

/// The keys of the JSON of a run that are the same in a list: of all kinds, and of some.
const KEPT: [&str; 10] = [
    "run_id",
    "agent_id",
    "team_id",
    "workflow_id",
    "user_id",
    "status",
    "cancellation_stage",
    "content",
    "metrics",
    "quell",
];
const KEPT_OF_WORKFLOWS: &[&str] =
    &["content_type", "step_results", "step_executor_runs", "step_requirements"];
const KEPT_OF_OTHERS: &[&str] =
    &["parent_run_id", "forked_from_run_id", "messages", "tools", "session_state"];
