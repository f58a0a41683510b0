//! [`output`]: the result of a step, its `StepOutput` (contract, section 2).

use quell::RunStatus;
use serde_json::{Value, json};

use crate::wire::event::Line;
use crate::wire::position::Role;
use crate::wire::run::{Tree, text};

/// Writes the result of a step.
pub(crate) fn output(tree: &Tree, at: usize, depth: usize) -> Value {
    let run = &tree.runs[at];
    let executor = tree.executor(at).map(|kid| &tree.runs[kid].position);
    let is_parallel = run.position.role == Role::Parallel;
    let (executor_type, executor_name) = match executor {
        _ if is_parallel => ("parallel", run.position.name.as_str()),
        Some(position) if position.role == Role::Team => ("team", position.name.as_str()),
        Some(position) if position.role == Role::Workflow => ("workflow", position.name.as_str()),
        Some(position) => ("agent", position.name.as_str()),
        None => ("function", run.position.name.as_str()),
    };
    let mut out = json!({
        "content": content(tree, at, depth),
        "step_name": run.position.name,
        "step_id": run.position.run,
        "step_type": if is_parallel { "Parallel" } else { "Step" },
        "executor_type": executor_type,
        "executor_name": executor_name,
        "step_run_id": executor.filter(|_| !is_parallel).map(|position| position.run.as_str()),
        "success": run.status == RunStatus::Completed,
        "error": error(tree, at),
        "stop": false,
        "is_paused": false,
    });
    if is_parallel {
        out["steps"] = steps(tree, at, depth).into();
    }
    out
}

/// Writes the results of the steps within a step.
pub(crate) fn steps(tree: &Tree, at: usize, depth: usize) -> Vec<Value> {
    if depth >= NESTED_MAX {
        return Vec::new();
    }
    let steps = tree.below(at).filter(|kid| tree.is_step(*kid));
    steps.map(|kid| output(tree, kid, depth + 1)).collect()
}

/// Yields the output of a step; of one that was stopped, its text so far, or that of its executor.
pub(crate) fn content(tree: &Tree, at: usize, depth: usize) -> String {
    let run = &tree.runs[at];
    if run.position.role == Role::Parallel {
        return aggregate(&steps(tree, at, depth));
    }
    match run.answer() {
        Some(output) if run.status == RunStatus::Completed => text(output),
        _ if !run.text.is_empty() => run.text.clone(),
        _ => tree.joined(at),
    }
}

/// Yields why a step did not complete; `None` if it did, or is live.
pub(crate) fn error(tree: &Tree, at: usize) -> Option<String> {
    let run = &tree.runs[at];
    match run.status {
        RunStatus::Cancelled => Some("Cancelled during execution".into()),
        RunStatus::Failed | RunStatus::TimedOut => Some(run.failure()),
        RunStatus::Queued
        | RunStatus::Running
        | RunStatus::Paused
        | RunStatus::Stopping
        | RunStatus::Completed => None,
    }
}

/// Joins the contents of steps that ran in parallel, as upstream does.
fn aggregate(steps: &[Value]) -> String {
    let parts = steps.iter().map(|step| {
        let word = if step["success"] == true { "✅ SUCCESS" } else { "❌ FAILURE" };
        let name = step["step_name"].as_str().unwrap_or_default();
        format!("### {word}: {name}\n{}", step["content"].as_str().unwrap_or_default())
    });
    format!("## Parallel Execution Results\n\n{}", parts.collect::<Vec<_>>().join("\n\n"))
}

/// How deep steps are nested in a `StepOutput`.
const NESTED_MAX: usize = 8;

/// Makes the events of a step that has completed; its output may have one of its own.
pub(crate) fn completed(tree: &Tree, has_output: bool) -> Vec<Line> {
    let output = output(tree, 0, 0);
    let own = json!({
        "content": output["content"], "content_type": "str", "step_response": output,
    });
    let completed = ("StepCompleted".into(), own.into());
    if !has_output {
        return vec![completed];
    }
    vec![("StepOutput".into(), json!({ "step_output": output }).into()), completed]
}
