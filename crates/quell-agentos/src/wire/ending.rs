//! [`lines`]: the events with which a run ends (contract, section 4), and [`count`] of them.

use quell::RunStatus;
use serde_json::json;

use crate::wire::event::{Line, Style};
use crate::wire::exact::Object;
use crate::wire::kinds::names_of;
use crate::wire::position::{Position, Role};
use crate::wire::run::Tree;
use crate::wire::step;

/// How a run has ended. Which events tell that follows from this, from its position and the style.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// As the event says.
    pub(super) status: RunStatus,
    /// Whether a run below has done its work, if it is a step.
    pub(super) has_executor: bool,
}

/// Makes the events with which the run of a tree ends: as many as [`count`] says, however much is
/// known of the tree.
pub(super) fn lines(tree: &Tree, end: End, style: Style) -> Vec<Line> {
    match tree.own().position.role {
        Role::Agent | Role::Team => answered(tree, end, style),
        Role::Workflow => flowed(tree, end, style),
        Role::Step => stepped(tree, end, style),
        Role::Parallel if end.status == RunStatus::Completed => {
            let results = step::steps(tree, 0, 0);
            let own = json!({ "parallel_step_count": results.len(), "step_results": results });
            vec![("ParallelExecutionCompleted".into(), own.into())]
        }
        // A Parallel has no event for an end that is none.
        Role::Parallel | Role::Hidden => Vec::new(),
    }
}

/// Yields how many [`lines`] are of a run that ends so.
pub(super) fn count(position: &Position, end: End, style: Style) -> u64 {
    match (position.role, end.status) {
        (Role::Agent | Role::Team, RunStatus::Completed) => 2,
        (Role::Agent | Role::Team | Role::Workflow, RunStatus::Cancelled) => {
            1 + u64::from(style.has_sentinel)
        }
        (Role::Step, RunStatus::Completed) if is_told_apart(position, end) => 2,
        (Role::Step, RunStatus::Cancelled) => u64::from(style.has_brackets),
        (Role::Parallel, status) => u64::from(status == RunStatus::Completed),
        (Role::Hidden, _) => 0,
        (Role::Agent | Role::Team | Role::Workflow | Role::Step, _) => 1,
    }
}

/// The end of an agent or a team.
fn answered(tree: &Tree, end: End, style: Style) -> Vec<Line> {
    let run = tree.own();
    let names = names_of(run.position.kind());
    let content = tree.content(0);
    let completed = || {
        let own = json!({
            "content": content, "content_type": "str", "metrics": run.metrics(),
        });
        let mut own = Object::from(own).with("session_state", run.session_state());
        if run.position.role == Role::Team {
            own.set("member_responses", tree.members(0, 0));
        }
        (format!("{}Completed", names.prefix), own)
    };
    match end.status {
        RunStatus::Completed => {
            vec![(format!("{}ContentCompleted", names.prefix), Object::default()), completed()]
        }
        RunStatus::Cancelled => {
            let own = json!({ "content": content, "reason": run.reason() });
            cancelled((format!("{}Cancelled", names.prefix), own.into()), style, completed)
        }
        _ => {
            let own = json!({ "content": content, "error_type": run.error_type() });
            vec![(names.error_event.into(), own.into())]
        }
    }
}

/// The end of a workflow.
fn flowed(tree: &Tree, end: End, style: Style) -> Vec<Line> {
    let run = tree.own();
    let content = tree.content(0);
    let completed = || {
        let own = json!({
            "content": content, "content_type": "str", "metadata": {},
            "step_results": tree.step_results(0), "metrics": run.metrics(),
        });
        let runs = tree.executor_runs(0, 0);
        ("WorkflowCompleted".into(), Object::from(own).with("step_executor_runs", runs))
    };
    match end.status {
        RunStatus::Completed => vec![completed()],
        RunStatus::Cancelled => {
            let own = json!({ "reason": run.reason(), "content": content });
            cancelled(("WorkflowCancelled".into(), own.into()), style, completed)
        }
        _ => {
            let own = json!({ "error": content, "error_type": run.error_type() });
            vec![("WorkflowError".into(), own.into())]
        }
    }
}

/// The end of a step.
fn stepped(tree: &Tree, end: End, style: Style) -> Vec<Line> {
    let run = tree.own();
    match end.status {
        RunStatus::Completed => step::completed(tree, is_told_apart(&run.position, end)),
        RunStatus::Cancelled if !style.has_brackets => Vec::new(),
        RunStatus::Cancelled => vec![("StepError".into(), json!({ "error": "cancelled" }).into())],
        _ => vec![("StepError".into(), json!({ "error": run.failure() }).into())],
    }
}

/// Tells whether the output of a step has an event of its own: upstream has one for that of a
/// function outside of a Parallel.
fn is_told_apart(position: &Position, end: End) -> bool {
    !end.has_executor && !position.is_branch()
}

/// The one terminal event of a cancelled run, or upstream's two.
fn cancelled(line: Line, style: Style, completed: impl FnOnce() -> Line) -> Vec<Line> {
    if style.has_sentinel { vec![line, completed()] } else { vec![line] }
}
