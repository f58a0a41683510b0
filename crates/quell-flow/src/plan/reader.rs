//! Makes a plan of a tree of values, or says what is wrong with it and where.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::Plan;
use super::document::Node;
use super::error::Fault;
use super::fields::{Table, argument, duration, excerpt, list, listed, table, text};
use super::options;
use super::step::{Action, CommandStep, ParallelStep, PlanStep, SequenceStep};
use crate::limits;

/// Reads the plan.
pub(crate) fn read(root: &Node) -> Result<Plan, Fault> {
    let plan = Table::of(root, &["name", "timeout", "grace", "steps"])?;
    let name = plan.name("plan")?;
    let steps = plan.need("steps", "plan")?;
    Ok(Plan {
        name,
        timeout: plan.get("timeout").map(duration).transpose()?,
        grace: plan.get("grace").map(duration).transpose()?,
        steps: Reader::default().steps(steps, "steps", 1)?,
    })
}

#[derive(Default)]
struct Reader {
    steps: usize,
}

impl Reader {
    /// Recurses once per level of steps, at most [`limits::PLAN_DEPTH_MAX`] times.
    fn steps(&mut self, node: &Node, key: &str, level: usize) -> Result<Vec<PlanStep>, Fault> {
        let items = list(node)?;
        if items.is_empty() {
            return Err(Fault::new(node.at, format!("`{key}` is empty; expected at least one")));
        }
        let mut names = HashSet::with_capacity(items.len());
        let mut steps = Vec::with_capacity(items.len());
        for item in items {
            let step = self.step(item, level)?;
            if !names.insert(Arc::clone(&step.name)) {
                let at = Table::place_of(item, "name");
                let message =
                    format!("duplicate name `{}`; expected one of its own", excerpt(&step.name));
                return Err(Fault::new(at, message));
            }
            steps.push(step);
        }
        Ok(steps)
    }

    fn step(&mut self, node: &Node, level: usize) -> Result<PlanStep, Fault> {
        if level > limits::PLAN_DEPTH_MAX {
            let message =
                format!("steps nest too deep; expected at most {} levels", limits::PLAN_DEPTH_MAX);
            return Err(Fault::new(node.at, message));
        }
        self.steps += 1;
        if self.steps > limits::PLAN_STEPS_MAX {
            let message = format!("too many steps; expected at most {}", limits::PLAN_STEPS_MAX);
            return Err(Fault::new(node.at, message));
        }
        let step = Table::of(node, &STEP_KEYS)?;
        let name = step.name("step")?;
        let action = match only_action(&step, &excerpt(&name))? {
            ("run", run) => Action::Run(command(&step, run)?),
            ("sequence", items) => Action::Sequence(SequenceStep {
                sequence: self.steps(items, "sequence", level + 1)?,
            }),
            (_, options) => {
                let read = options::parallel(options)?;
                let branches = step.need("branches", "parallel step")?;
                let branches = self.steps(branches, "branches", level + 1)?;
                options::check_counts(options, read.policy, branches.len())?;
                Action::Parallel(ParallelStep { options: read, branches })
            }
        };
        let retry = step.get("retry").map(|node| options::retry(node, &action)).transpose()?;
        Ok(PlanStep {
            name,
            timeout: step.get("timeout").map(duration).transpose()?,
            grace: step.get("grace").map(duration).transpose()?,
            idle: step.get("idle").map(duration).transpose()?,
            retry,
            action,
        })
    }
}

/// Finds the one key that says what a step does, and refuses keys that go with another.
fn only_action<'a>(step: &Table<'a>, name: &str) -> Result<(&'static str, &'a Node), Fault> {
    let mut found: Option<(&'static str, &Node)> = None;
    for action in ACTION_KEYS {
        let Some((key, node)) = step.entry(action) else { continue };
        if let Some((other, _)) = found {
            let message = format!(
                "step `{name}` has both `{other}` and `{action}`; expected exactly one of {}",
                listed(&ACTION_KEYS),
            );
            return Err(Fault::new(key.at, message));
        }
        found = Some((action, node));
    }
    let Some((action, node)) = found else {
        let message =
            format!("step `{name}` does nothing; expected exactly one of {}", listed(&ACTION_KEYS));
        return Err(Fault::new(step.at, message));
    };
    for (owner, keys) in GOES_WITH {
        for key in keys.iter().filter(|_| owner != action) {
            if let Some((found, _)) = step.entry(key) {
                let message = format!("`{key}` goes with `{owner}`; step `{name}` has `{action}`");
                return Err(Fault::new(found.at, message));
            }
        }
    }
    Ok((action, node))
}

fn command(step: &Table<'_>, run: &Node) -> Result<CommandStep, Fault> {
    let parts = list(run)?;
    let command: Vec<String> =
        parts.iter().map(|part| argument(part).map(str::to_owned)).collect::<Result<_, _>>()?;
    let program_at = parts.first().map_or(run.at, |program| program.at);
    if command.first().is_none_or(String::is_empty) {
        let message = "empty command; expected a program and its arguments";
        return Err(Fault::new(program_at, message));
    }
    let mut env = BTreeMap::new();
    for (key, value) in step.get("env").map(table).transpose()?.unwrap_or_default() {
        if key.name.is_empty() || key.name.contains(['=', '\0']) {
            let message = "name of a variable is empty or contains `=` or NUL";
            return Err(Fault::new(key.at, message));
        }
        env.insert(key.name.clone(), argument(value)?.to_owned());
    }
    let cwd = step.get("cwd").map(argument).transpose()?;
    let input = step.get("input").map(text).transpose()?;
    Ok(CommandStep { command, cwd: cwd.map(str::to_owned), env, input: input.map(str::to_owned) })
}

const ACTION_KEYS: [&str; 3] = ["run", "sequence", "parallel"];

const GOES_WITH: [(&str, &[&str]); 2] =
    [("run", &["cwd", "env", "input"]), ("parallel", &["branches"])];

const STEP_KEYS: [&str; 12] = [
    "name", "timeout", "grace", "idle", "run", "cwd", "env", "input", "sequence", "parallel",
    "branches", "retry",
];
