//! Makes a plan of a tree of values, or says what is wrong with it and where.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use quell::Payload;

use super::Plan;
use super::document::{Key, Node, Value};
use super::error::Fault;
use super::step::{
    Action, CommandStep, ParallelOptions, ParallelStep, PlanPolicy, PlanStep, SequenceStep,
};
use crate::limits;
use crate::{OnCancelled, OnTimeout};

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
                let options = parallel_options(options)?;
                let branches = step.need("branches", "parallel step")?;
                let branches = self.steps(branches, "branches", level + 1)?;
                Action::Parallel(ParallelStep { options, branches })
            }
        };
        Ok(PlanStep {
            name,
            timeout: step.get("timeout").map(duration).transpose()?,
            grace: step.get("grace").map(duration).transpose()?,
            idle: step.get("idle").map(duration).transpose()?,
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

fn parallel_options(node: &Node) -> Result<ParallelOptions, Fault> {
    let options = Table::of(node, &PARALLEL_KEYS)?;
    Ok(ParallelOptions {
        policy: options.get("policy").map(policy).transpose()?.unwrap_or_default(),
        limit: options.get("limit").map(limit).transpose()?,
        branch_timeout: options.get("branch_timeout").map(duration).transpose()?,
        branch_grace: options.get("branch_grace").map(duration).transpose()?,
        on_branch_timeout: options
            .get("on_branch_timeout")
            .map(on_timeout)
            .transpose()?
            .unwrap_or_default(),
        on_branch_cancelled: options
            .get("on_branch_cancelled")
            .map(on_cancelled)
            .transpose()?
            .unwrap_or_default(),
    })
}

fn policy(node: &Node) -> Result<PlanPolicy, Fault> {
    match text(node)? {
        "all" => Ok(PlanPolicy::All),
        "settle" => Ok(PlanPolicy::Settle),
        "first_success" => Ok(PlanPolicy::FirstSuccess),
        other => Err(unknown(node.at, "policy", other, &["all", "settle", "first_success"])),
    }
}

fn on_timeout(node: &Node) -> Result<OnTimeout<Payload>, Fault> {
    if let Value::Table(_) = node.value {
        let value = Table::of(node, &["default"])?.need("default", "table")?;
        let payload =
            value.to_payload().map_err(|error| Fault::new(value.at, error.to_string()))?;
        return Ok(OnTimeout::Default(payload));
    }
    let Value::Text(word) = &node.value else {
        return Err(wrong_type(node, "a string or a table `{ default = … }`"));
    };
    match word.as_str() {
        "fail" => Ok(OnTimeout::Fail),
        "skip" => Ok(OnTimeout::Skip),
        "partial" => Ok(OnTimeout::Partial),
        other => {
            let mut fault = unknown(node.at, "word", other, &["fail", "skip", "partial"]);
            fault.message.push_str(", or a table `{ default = … }`");
            Err(fault)
        }
    }
}

fn on_cancelled(node: &Node) -> Result<OnCancelled, Fault> {
    match text(node)? {
        "fail" => Ok(OnCancelled::Fail),
        "skip" => Ok(OnCancelled::Skip),
        "partial" => Ok(OnCancelled::Partial),
        other => Err(unknown(node.at, "word", other, &["fail", "skip", "partial"])),
    }
}

fn limit(node: &Node) -> Result<usize, Fault> {
    let Value::Number(number) = &node.value else { return Err(wrong_type(node, "a number")) };
    number
        .as_u64()
        .and_then(|limit| usize::try_from(limit).ok())
        .filter(|limit| *limit > 0)
        .ok_or_else(|| {
            Fault::new(node.at, format!("limit `{number}`; expected a whole number above 0"))
        })
}

fn duration(node: &Node) -> Result<Duration, Fault> {
    let text = text(node)?;
    let right = "expected a time above zero such as \"30s\" or \"500ms\"";
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => Err(Fault::new(node.at, format!("time is zero; {right}"))),
        Ok(time) => Ok(time),
        Err(_) => Err(Fault::new(node.at, format!("invalid time `{}`; {right}", excerpt(text)))),
    }
}

fn text(node: &Node) -> Result<&str, Fault> {
    match &node.value {
        Value::Text(text) => Ok(text),
        _ => Err(wrong_type(node, "a string")),
    }
}

/// A text that an operating system takes: without NUL.
fn argument(node: &Node) -> Result<&str, Fault> {
    let text = text(node)?;
    if text.contains('\0') {
        return Err(Fault::new(node.at, "text contains NUL, which no command takes"));
    }
    Ok(text)
}

fn list(node: &Node) -> Result<&[Node], Fault> {
    match &node.value {
        Value::List(items) => Ok(items),
        _ => Err(wrong_type(node, "a list")),
    }
}

fn table(node: &Node) -> Result<&[(Key, Node)], Fault> {
    match &node.value {
        Value::Table(entries) => Ok(entries),
        _ => Err(wrong_type(node, "a table")),
    }
}

fn wrong_type(node: &Node, right: &str) -> Fault {
    Fault::new(node.at, format!("found {}; expected {right}", node.value.sort()))
}

fn unknown(at: usize, what: &str, found: &str, known: &[&str]) -> Fault {
    let message = format!("unknown {what} `{}`; expected one of {}", excerpt(found), listed(known));
    Fault::new(at, message)
}

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// Keeps a message readable whatever the text: its first characters, control characters escaped.
fn excerpt(text: &str) -> String {
    let mut short: String =
        text.chars().take(QUOTED_CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(QUOTED_CHARS_MAX).is_some() {
        short.push('…');
    }
    short
}

/// A table with no other keys than those that it may have.
struct Table<'a> {
    at: usize,
    entries: &'a [(Key, Node)],
}

impl<'a> Table<'a> {
    fn of(node: &'a Node, keys: &[&str]) -> Result<Self, Fault> {
        let entries = table(node)?;
        for (key, _) in entries {
            if !keys.contains(&key.name.as_str()) {
                return Err(unknown(key.at, "key", &key.name, keys));
            }
        }
        Ok(Self { at: node.at, entries })
    }

    fn entry(&self, name: &str) -> Option<&'a (Key, Node)> {
        self.entries.iter().find(|(key, _)| key.name == name)
    }

    fn get(&self, name: &str) -> Option<&'a Node> {
        self.entry(name).map(|(_, node)| node)
    }

    fn need(&self, name: &str, owner: &str) -> Result<&'a Node, Fault> {
        self.get(name).ok_or_else(|| Fault::new(self.at, format!("{owner} has no `{name}`")))
    }

    fn name(&self, owner: &str) -> Result<Arc<str>, Fault> {
        let node = self.need("name", owner)?;
        let name = text(node)?;
        let max = quell::limits::LABEL_BYTES_MAX;
        if name.trim().is_empty() {
            return Err(Fault::new(node.at, "empty name; expected a text"));
        }
        if name.len() > max {
            let message = format!("name has {} bytes; expected at most {max}", name.len());
            return Err(Fault::new(node.at, message));
        }
        Ok(name.into())
    }

    fn place_of(node: &Node, name: &str) -> usize {
        let entries = table(node).unwrap_or_default();
        entries.iter().find(|(key, _)| key.name == name).map_or(node.at, |(_, node)| node.at)
    }
}

const ACTION_KEYS: [&str; 3] = ["run", "sequence", "parallel"];

const GOES_WITH: [(&str, &[&str]); 2] =
    [("run", &["cwd", "env", "input"]), ("parallel", &["branches"])];

const STEP_KEYS: [&str; 11] = [
    "name", "timeout", "grace", "idle", "run", "cwd", "env", "input", "sequence", "parallel",
    "branches",
];

const PARALLEL_KEYS: [&str; 6] = [
    "policy",
    "limit",
    "branch_timeout",
    "branch_grace",
    "on_branch_timeout",
    "on_branch_cancelled",
];

/// Characters of a text that a message quotes; the rest is left out and marked.
const QUOTED_CHARS_MAX: usize = 80;
