//! What came of a step (contract, section 2): its `StepOutput`.

use quell::RunStatus;
use serde_json::{Value, json};

use crate::wire::place::Role;
use crate::wire::run::{Tree, text};

/// Writes what came of a step.
pub(crate) fn output(tree: &Tree, at: usize, depth: usize) -> Value {
    let told = &tree.runs[at];
    let executor = tree.executor(at).map(|kid| &tree.runs[kid].place);
    let is_parallel = told.place.role == Role::Parallel;
    let (executor_type, executor_name) = match executor {
        _ if is_parallel => ("parallel", told.place.name.as_str()),
        Some(place) if place.role == Role::Team => ("team", place.name.as_str()),
        Some(place) if place.role == Role::Workflow => ("workflow", place.name.as_str()),
        Some(place) => ("agent", place.name.as_str()),
        None => ("function", told.place.name.as_str()),
    };
    let mut out = json!({
        "content": content(tree, at, depth),
        "step_name": told.place.name,
        "step_id": told.place.run,
        "step_type": if is_parallel { "Parallel" } else { "Step" },
        "executor_type": executor_type,
        "executor_name": executor_name,
        "step_run_id": executor.filter(|_| !is_parallel).map(|place| place.run.as_str()),
        "success": told.status == RunStatus::Completed,
        "error": error(tree, at),
        "stop": false,
        "is_paused": false,
    });
    if is_parallel {
        out["steps"] = steps(tree, at, depth).into();
    }
    out
}

/// Writes what came of the steps within a step.
pub(crate) fn steps(tree: &Tree, at: usize, depth: usize) -> Vec<Value> {
    if depth >= NESTED_MAX {
        return Vec::new();
    }
    let steps = tree.below(at).filter(|kid| tree.is_step(*kid));
    steps.map(|kid| output(tree, kid, depth + 1)).collect()
}

/// Yields what a step returned, or what it, or the one that did it, had said when it was cut.
pub(crate) fn content(tree: &Tree, at: usize, depth: usize) -> String {
    let told = &tree.runs[at];
    if told.place.role == Role::Parallel {
        return aggregate(&steps(tree, at, depth));
    }
    match told.answer() {
        Some(output) if told.status == RunStatus::Completed => text(output),
        _ if !told.text.is_empty() => told.text.clone(),
        _ => tree.joined(at),
    }
}

/// Says why a step did not complete; none if it did, or is at work.
pub(crate) fn error(tree: &Tree, at: usize) -> Option<String> {
    let told = &tree.runs[at];
    match told.status {
        RunStatus::Cancelled => Some("Cancelled during execution".into()),
        RunStatus::Failed | RunStatus::TimedOut => Some(told.failure()),
        RunStatus::Queued | RunStatus::Running | RunStatus::Stopping | RunStatus::Completed => None,
    }
}

/// Puts the contents of steps that ran at once together, as upstream does.
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
