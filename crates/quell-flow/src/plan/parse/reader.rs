//! [`read`] makes a plan of a tree of values, or yields all of its faults.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::fault::Fault;
use super::fields::{Table, duration, list, listed, table, text};
use super::names::Names;
use super::tree::{Node, Value};
use super::{kinds, options};
use crate::limits;
use crate::plan::action::Origin;
use crate::plan::document::Plan;
use crate::plan::error::Place;
use crate::plan::excerpt::excerpt;
use crate::plan::step::{Action, Cleanup, PlanStep, SequenceStep};

/// Reads the plan, or yields its faults in the order of the text.
pub(super) fn read(root: &Node, text: &str, file: Option<&Path>) -> Result<Plan, Vec<Fault>> {
    let mut reader = Reader {
        steps: 0,
        faults: Vec::new(),
        names: Names::of_plan(),
        places: Places { text, last: (0, Place::START) },
        file: file.map(Into::into),
    };
    let plan = reader.plan(root, 0);
    let mut faults = reader.faults;
    match plan {
        Ok(plan) if faults.is_empty() => return Ok(plan),
        Ok(_) => {}
        Err(fault) => faults.push(fault),
    }
    faults.sort_by_key(|fault| fault.at);
    Err(faults)
}

pub(super) struct Reader<'a> {
    steps: usize,
    faults: Vec<Fault>,
    /// The names that expressions may read at the reader's place.
    pub(super) names: Names,
    places: Places<'a>,
    file: Option<Arc<Path>>,
}

impl Reader<'_> {
    /// Reads a plan whose steps are one level deeper.
    pub(super) fn plan(&mut self, node: &Node, level: usize) -> Result<Plan, Fault> {
        let plan = Table::of(node, &PLAN_KEYS)?;
        let name = plan.name("plan")?;
        let description = plan.get("description").map(text).transpose()?.map(Into::into);
        let time = |key| plan.get(key).map(duration).transpose();
        let (timeout, grace) = (time("timeout")?, time("grace")?);
        let steps = plan.need("steps", "plan")?;
        self.names.enter();
        let steps = self.sequence(steps, "steps", level + 1);
        let cleanup = self.cleanup(&plan, level);
        self.names.leave();
        Ok(Plan { name, description, timeout, grace, steps: steps?, cleanup: cleanup? })
    }

    /// Reads steps that run one after another: each may read those before it.
    ///
    /// Their names remain known: the caller adds a frame for them, and removes it.
    pub(super) fn sequence(
        &mut self,
        node: &Node,
        key: &str,
        level: usize,
    ) -> Result<Arc<[PlanStep]>, Fault> {
        self.items(node, key, level, true)
    }

    /// Reads steps of which none may read another.
    pub(super) fn siblings(
        &mut self,
        node: &Node,
        key: &str,
        level: usize,
    ) -> Result<Arc<[PlanStep]>, Fault> {
        self.items(node, key, level, false)
    }

    /// Reads a list of steps. Recurses once per level, at most [`limits::PLAN_DEPTH_MAX`] times.
    fn items(
        &mut self,
        node: &Node,
        key: &str,
        level: usize,
        in_turn: bool,
    ) -> Result<Arc<[PlanStep]>, Fault> {
        let items = list(node)?;
        if items.is_empty() {
            return Err(Fault::new(node.at, format!("`{key}` is empty; expected at least one")));
        }
        let mut names = HashSet::with_capacity(items.len());
        let mut steps = Vec::with_capacity(items.len());
        for item in items {
            match self.step(item, level) {
                Ok(step) => steps.push(step),
                Err(fault) if self.faults.len() >= limits::PLAN_FAULTS_MAX => return Err(fault),
                Err(fault) => self.faults.push(fault),
            }
            // The name of a step with a fault counts as well, so that one fault causes no others.
            let Some(name) = name_of(item) else { continue };
            if !names.insert(name) {
                let at = Table::place_of(item, "name");
                let message =
                    format!("duplicate name `{}`; expected one of its own", excerpt(name));
                self.faults.push(Fault::new(at, message));
            }
            if in_turn {
                self.names.add_step(name);
            }
        }
        Ok(steps.into())
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
        let time = |key| step.get(key).map(duration).transpose();
        let (timeout, grace, idle) = (time("timeout")?, time("grace")?, time("idle")?);
        let (key, value) = only_action(&step, &excerpt(&name))?;
        // Cleanup may read the steps of a sequence, so that their frame stays. It may not read
        // those of a sequence with retries, which have several outputs, nor those of other actions.
        self.names.enter();
        let action = self.action(&step, key, value, level);
        if key != "sequence" || step.get("retry").is_some() {
            self.names.leave();
            self.names.enter();
        }
        let cleanup = self.cleanup(&step, level);
        self.names.leave();
        let (action, cleanup) = (action?, cleanup?);
        let retry = step.get("retry").map(|node| options::retry(node, &action)).transpose()?;
        if let Some((key, _)) = step.entry("on_failure").or_else(|| step.entry("on_stop")) {
            options::check_cleanup(key, &action)?;
        }
        Ok(PlanStep { name, timeout, grace, idle, retry, action, cleanup })
    }

    fn action(
        &mut self,
        step: &Table<'_>,
        key: &str,
        value: &Node,
        level: usize,
    ) -> Result<Action, Fault> {
        match key {
            "run" => kinds::command(self, step, value).map(Action::Run),
            "sequence" => {
                let sequence = self.sequence(value, "sequence", level + 1)?;
                Ok(Action::Sequence(SequenceStep { sequence }))
            }
            "loop" => kinds::repeat(self, step, value, level),
            "if" => kinds::condition(self, step, value, level),
            "route" => kinds::route(self, step, value, level),
            "team" => kinds::team(self, step, value, level),
            "component" => kinds::component(self, step, value),
            "workflow" => kinds::workflow(self, step, value, level),
            _ => kinds::parallel(self, step, value, level),
        }
    }

    fn cleanup(&mut self, owner: &Table<'_>, level: usize) -> Result<Cleanup, Fault> {
        let mut read = |key: &'static str, variable: &'static str| {
            let Some(node) = owner.get(key) else { return Ok(Arc::from([])) };
            self.names.enter();
            self.names.add_variable(variable);
            let steps = self.sequence(node, key, level + 1);
            self.names.leave();
            steps
        };
        let on_failure = read("on_failure", "error");
        let on_stop = read("on_stop", "cause");
        Ok(Cleanup { on_failure: on_failure?, on_stop: on_stop? })
    }

    /// Notes a fault and goes on.
    pub(super) fn note(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(super) fn origin(&mut self, at: usize) -> Origin {
        Origin { file: self.file.clone(), place: self.places.find(at) }
    }
}

/// Finds the places of a text. Each search starts at the last one, so that a pass over the text
/// costs one count.
struct Places<'a> {
    text: &'a str,
    last: (usize, Place),
}

impl Places<'_> {
    fn find(&mut self, at: usize) -> Place {
        let (last, place) = self.last;
        let bytes = self.text.as_bytes();
        let at = at.min(bytes.len());
        let found = if at < last { Place::of(bytes, at) } else { place.after(&bytes[last..at]) };
        self.last = (at, found);
        found
    }
}

fn name_of(item: &Node) -> Option<&str> {
    let entries = table(item).ok()?;
    let (_, name) = entries.iter().find(|(key, _)| key.name == "name")?;
    match &name.value {
        Value::Text(name) => Some(name),
        _ => None,
    }
}

/// Finds the one key that names the action of a step, and refuses the keys of other actions.
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
    for (key, owners) in GOES_WITH {
        if !owners.contains(&action)
            && let Some((found, _)) = step.entry(key)
        {
            let owners = listed(owners);
            let message = format!("`{key}` goes with {owners}; step `{name}` has `{action}`");
            return Err(Fault::new(found.at, message));
        }
    }
    Ok((action, node))
}

pub(super) const PLAN_KEYS: [&str; 7] =
    ["name", "description", "timeout", "grace", "steps", "on_failure", "on_stop"];

pub(super) const ACTION_KEYS: [&str; 9] =
    ["run", "sequence", "parallel", "loop", "if", "route", "team", "component", "workflow"];

const GOES_WITH: [(&str, &[&str]); 10] = [
    ("cwd", &["run"]),
    ("env", &["run"]),
    ("input", &["run", "component", "workflow", "team"]),
    ("branches", &["parallel"]),
    ("steps", &["loop"]),
    ("then", &["if"]),
    ("else", &["if"]),
    ("routes", &["route"]),
    ("otherwise", &["route"]),
    ("members", &["team"]),
];

pub(super) const STEP_KEYS: [&str; 26] = [
    "name",
    "timeout",
    "grace",
    "idle",
    "run",
    "cwd",
    "env",
    "input",
    "sequence",
    "parallel",
    "branches",
    "loop",
    "steps",
    "if",
    "then",
    "else",
    "route",
    "routes",
    "otherwise",
    "team",
    "members",
    "component",
    "workflow",
    "retry",
    "on_failure",
    "on_stop",
];
