//! [`wait`] reads a step that waits for an answer, and [`check`] refuses one where none may wait.

use super::fault::Fault;
use super::fields::{boolean, duration, entry, text, wrong_type};
use super::kinds::check_template;
use super::reader::Reader;
use super::tree::{Node, Value};
use crate::excerpt::excerpt;
use crate::plan::action::{WaitOptions, WaitStep};
use crate::plan::document::Plan;
use crate::plan::error::PlanError;
use crate::plan::step::{Action, Cleanup, PlanStep};

/// Reads a question, or a table with one.
pub(super) fn wait(reader: &mut Reader<'_>, node: &Node) -> Result<Action, Fault> {
    let options = match &node.value {
        Value::Text(_) => {
            let ask = question(reader, node).map_err(|fault| fault.of("wait"))?;
            WaitOptions { ask, expires: None, approve: false }
        }
        Value::Table(_) => {
            let table = reader.table(node, &WAIT_KEYS)?;
            let ask = table.need("ask", "wait");
            let ask = ask.and_then(|node| question(reader, node).map_err(|it| it.of("ask")));
            let expires = reader.noted(table.read("expires", duration));
            let approve = reader.noted(table.read("approve", boolean)).unwrap_or_default();
            WaitOptions { ask: ask?, expires, approve }
        }
        _ => {
            let example = entry(reader.format, "ask", "\"deploy?\"");
            let right = format!("a question such as `\"deploy?\"`, or a table such as `{example}`");
            return Err(wrong_type(node, &right).of("wait"));
        }
    };
    Ok(Action::Wait(WaitStep { options, origin: reader.origin(node.at) }))
}

fn question(reader: &Reader<'_>, node: &Node) -> Result<String, Fault> {
    let ask = text(node)?;
    if ask.trim().is_empty() {
        return Err(Fault::new(node.at, "empty question; expected one such as `\"deploy?\"`"));
    }
    check_template(reader, node, ask)?;
    Ok(ask.to_owned())
}

/// Refuses steps that wait where the run of the plan cannot: beside others, and in cleanup.
pub(super) fn check(plan: &Plan) -> Result<(), Vec<PlanError>> {
    let mut faults = Vec::new();
    look(&plan.steps, None, &mut faults);
    look_cleanup(&plan.cleanup, &mut faults);
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Looks at steps, which are inside of something where none may wait. Recurses once per level; the
/// depth of a plan is bounded.
fn look(steps: &[PlanStep], inside: Option<&str>, faults: &mut Vec<PlanError>) {
    for step in steps {
        if let Action::Wait(wait) = &step.action {
            faults.extend(fault(step, inside).map(|words| wait.origin.fault(words)));
        }
        look_cleanup(&step.cleanup, faults);
        for (key, steps) in step.action.parts() {
            let here = PLACES.iter().find(|(place, _)| *place == key).map(|(_, words)| *words);
            look(steps, inside.or(here), faults);
        }
        if let Action::Workflow(nested) = &step.action {
            look(&nested.workflow.steps, inside, faults);
            look_cleanup(&nested.workflow.cleanup, faults);
        }
    }
}

fn look_cleanup(cleanup: &Cleanup, faults: &mut Vec<PlanError>) {
    look(&cleanup.on_failure, Some(CLEANUP), faults);
    look(&cleanup.on_stop, Some(CLEANUP), faults);
}

/// Says what is wrong with a step that waits, if anything is.
fn fault(step: &PlanStep, inside: Option<&str>) -> Option<String> {
    let name = excerpt(&step.name);
    if let Some(inside) = inside {
        return Some(format!("step `{name}` waits for an answer, which {inside}"));
    }
    let keys = [
        ("timeout", step.timeout.is_some(), "; expected `expires` in the table of `wait`"),
        ("grace", step.grace.is_some(), ""),
        ("idle", step.idle.is_some(), "; expected `expires` in the table of `wait`"),
        ("retry", step.retry.is_some(), ""),
        ("on_stop", !step.cleanup.on_stop.is_empty(), ""),
    ];
    let (key, _, right) = keys.into_iter().find(|(_, is_there, _)| *is_there)?;
    Some(format!("`{key}` does not go with `wait`: nothing of `{name}` runs meanwhile{right}"))
}

pub(super) const WAIT_KEYS: [&str; 3] = ["ask", "expires", "approve"];

/// Where no step may wait, by the key of the list, and why.
const PLACES: [(&str, &str); 2] = [
    ("branches", "a branch cannot: the others would run on; expected it before or behind the step"),
    ("members", "a member of a team cannot; expected it before or behind the team"),
];

const CLEANUP: &str = "cleanup cannot: it has the time of the grace only";
