//! [`read`] makes a plan of a tree of values, or yields all of its faults.
//!
//! A part with a fault is noted and left out, and its neighbours are read: the plan is refused when
//! its end is reached.

use std::collections::HashSet;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::fault::Fault;
use super::fields::{Table, argument, duration, listed, steps, table, text, wrong_type};
use super::keys::{ACTION_KEYS, BRANCH_KEYS, GOES_WITH, PLAN_KEYS, STEP_KEYS};
use super::masked::Masked;
use super::names::Names;
use super::needs::Branches;
use super::places::Places;
use super::tree::{Key, Node, Value};
use super::{command, hints, kinds, options, waits};
use crate::excerpt::{Line, excerpt};
use crate::limits;
use crate::plan::action::Origin;
use crate::plan::document::{Plan, Warnings};
use crate::plan::format::PlanFormat;
use crate::plan::refusal::PlanRefusal;
use crate::plan::step::{Action, Cleanup, PlanStep, SequenceStep};

/// Reads the plan, or yields its faults in the order of the text, each with a line of the text that
/// may be shown.
pub(super) fn read(
    root: &Node,
    format: PlanFormat,
    (text, masked): (&str, &Masked),
    file: Option<&Path>,
) -> Result<Plan, PlanRefusal> {
    let mut reader = Reader {
        steps: 0,
        faults: Vec::new(),
        warnings: Vec::new(),
        never_waits: None,
        names: Names::of_plan(masked.secrets()),
        places: Places::new(text, masked),
        format,
        file: file.map(Into::into),
    };
    let plan = reader.plan(root, 0).map_err(|fault| reader.note(fault));
    let mut warnings = reader.warnings;
    warnings.extend(reader.names.take_warnings());
    warnings.sort_by_key(|warning| warning.at);
    let warnings = warnings.into_iter().map(|warning| {
        let warning = warning.in_text(&reader.places);
        if let Some(file) = file { warning.in_file(file) } else { warning }
    });
    let warnings = Warnings(warnings.collect());
    let rest = match plan {
        Ok(plan) if reader.faults.is_empty() => return Ok(Plan { warnings, ..plan }),
        plan => plan.ok().map(|plan| Plan { warnings, ..plan }),
    };
    let mut faults = reader.faults;
    faults.sort_by_key(|fault| fault.at);
    let faults = faults.into_iter().map(|fault| fault.in_text(&reader.places)).collect();
    Err(PlanRefusal::new(faults, rest))
}

pub(super) struct Reader<'a> {
    steps: usize,
    pub(super) faults: Vec<Fault>,
    /// What is no fault and should be otherwise.
    pub(super) warnings: Vec<Fault>,
    /// Why no step may wait for an answer at the reader's place; none if one may.
    never_waits: Option<&'static str>,
    /// The names that expressions may read at the reader's place.
    pub(super) names: Names,
    places: Places<'a>,
    /// The language of the text, for examples of what is right.
    pub(super) format: PlanFormat,
    file: Option<Arc<Path>>,
}

impl Reader<'_> {
    /// Reads a plan whose steps are one level deeper.
    pub(super) fn plan(&mut self, node: &Node, level: usize) -> Result<Plan, Fault> {
        let plan = self.table(node, &PLAN_KEYS)?;
        let name = self.noted(plan.name("plan"));
        let description = self.noted(plan.read("description", text)).map(Into::into);
        let timeout = self.noted(plan.read("timeout", duration));
        let grace = self.noted(plan.read("grace", duration));
        self.names.enter();
        let steps = plan.need("steps", "plan");
        let steps = steps.and_then(|steps| self.sequence(steps, "steps", level + 1));
        let steps = self.noted(steps);
        let cleanup = self.cleanup(&plan, level);
        self.names.leave();
        let warnings = Warnings::default();
        Ok(Plan { name, description, timeout, grace, steps, cleanup, warnings })
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
        self.items(node, key, level, &Siblings::InTurn)
    }

    /// Reads steps of which none may read another.
    pub(super) fn siblings(
        &mut self,
        node: &Node,
        key: &str,
        level: usize,
    ) -> Result<Arc<[PlanStep]>, Fault> {
        self.items(node, key, level, &Siblings::Apart)
    }

    /// Reads the branches of a parallel step: each may read those that it needs.
    pub(super) fn branches(&mut self, node: &Node, level: usize) -> Result<Arc<[PlanStep]>, Fault> {
        let branches = Rc::new(Branches::read(self, steps(node, "branches")?));
        self.items(node, "branches", level, &Siblings::Branches(branches))
    }

    /// Reads a list of steps. Recurses once per level, at most [`limits::PLAN_DEPTH_MAX`] times.
    fn items(
        &mut self,
        node: &Node,
        key: &str,
        level: usize,
        siblings: &Siblings,
    ) -> Result<Arc<[PlanStep]>, Fault> {
        let items = steps(node, key)?;
        if items.is_empty() {
            return Err(Fault::new(node.at, format!("`{key}` is empty; expected at least one")));
        }
        let around = self.never_waits;
        self.never_waits = around.or_else(|| waits::never_in(key));
        let mut names = HashSet::with_capacity(items.len());
        let mut steps = Vec::with_capacity(items.len());
        for (place, item) in items.iter().enumerate() {
            if self.is_full() {
                break;
            }
            let step = match siblings {
                Siblings::Branches(branches) => self.branch(branches, place, item, level),
                Siblings::InTurn | Siblings::Apart => self.step(item, STEP_KEYS, level),
            };
            match step {
                Ok(step) => steps.push(step),
                Err(fault) => self.note(fault),
            }
            // The name of a step with a fault counts as well, so that one fault causes no others.
            let Some(name) = name_of(item) else { continue };
            if !names.insert(name) {
                let at = Table::place_of(item, "name");
                let message =
                    format!("duplicate name `{}`; expected one of its own", excerpt(name));
                self.note(Fault::new(at, message));
            }
            if let Siblings::InTurn = siblings {
                self.names.add_step(name, item);
            }
        }
        self.never_waits = around;
        Ok(steps.into())
    }

    fn branch(
        &mut self,
        branches: &Rc<Branches>,
        place: usize,
        node: &Node,
        level: usize,
    ) -> Result<PlanStep, Fault> {
        self.names.enter_branch(Rc::clone(branches), place);
        let step = self.step(node, &BRANCH_KEYS, level);
        self.names.leave();
        let needs = branches.needs.get(place).cloned().unwrap_or_default();
        step.map(|step| PlanStep { needs, ..step })
    }

    fn step(
        &mut self,
        node: &Node,
        keys: &[&'static str],
        level: usize,
    ) -> Result<PlanStep, Fault> {
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
        let step = self.table(node, keys)?;
        let name = self.noted(step.name("step"));
        let timeout = self.noted(step.read("timeout", duration));
        let grace = self.noted(step.read("grace", duration));
        let idle = self.noted(step.read("idle", duration));
        let retry = step.get("retry").map(|node| options::retry(self, node)).transpose();
        let retry = self.noted(retry);
        let action = self.only_action(&step, &name);
        let waits = action.as_ref().ok().filter(|(key, _)| *key == "wait").map(|(_, node)| *node);
        // Cleanup may read the steps of a sequence, so that their frame stays. It may not read
        // those of a sequence with retries, which have several outputs, nor those of other actions.
        self.names.enter();
        let action = action.and_then(|(key, value)| {
            let action = self.action(&step, key, value, level);
            if key != "sequence" || step.get("retry").is_some() {
                self.names.leave();
                self.names.enter();
            }
            action
        });
        let cleanup = self.cleanup(&step, level);
        self.names.leave();
        if let Some(node) = waits {
            let keys = [
                ("timeout", timeout.is_some()),
                ("grace", grace.is_some()),
                ("idle", idle.is_some()),
                ("retry", retry.is_some()),
                ("on_stop", !cleanup.on_stop.is_empty()),
            ];
            let fault = waits::fault(self.never_waits, &name, &keys);
            if let Some(words) = fault {
                self.note(Fault::new(node.at, words));
            }
        }
        let action = action?;
        if let Some(node) = step.get("retry") {
            options::check_retry(node, &action)?;
        }
        if let Some((key, _)) = step.entry("on_failure").or_else(|| step.entry("on_stop")) {
            options::check_cleanup(key, &action)?;
        }
        let reads = if level == 1 { self.names.take_read() } else { Arc::default() };
        let needs = Arc::default();
        Ok(PlanStep { name, needs, timeout, grace, idle, retry, action, cleanup, reads })
    }

    fn action(
        &mut self,
        step: &Table<'_>,
        key: &str,
        value: &Node,
        level: usize,
    ) -> Result<Action, Fault> {
        match key {
            "run" => Ok(Action::Run(command::command(self, step, value))),
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
            "wait" => waits::wait(self, value),
            _ => kinds::parallel(self, step, value, level),
        }
    }

    fn cleanup(&mut self, owner: &Table<'_>, level: usize) -> Cleanup {
        let mut read = |key: &'static str, variable: &'static str| {
            let Some(node) = owner.get(key) else { return Arc::from([]) };
            self.names.enter();
            self.names.add_variable(variable);
            let around = self.never_waits.replace(waits::CLEANUP);
            let steps = self.sequence(node, key, level + 1);
            self.never_waits = around;
            self.names.leave();
            self.noted(steps)
        };
        let on_failure = read("on_failure", "error");
        let on_stop = read("on_stop", "cause");
        Cleanup { on_failure, on_stop }
    }

    /// Yields a key as messages may say it.
    pub(super) fn named<'k>(&self, key: &'k Key) -> &'k str {
        self.places.masked.named(key)
    }

    /// Takes a node as a table, and notes its unknown keys.
    pub(super) fn table<'n>(
        &mut self,
        node: &'n Node,
        keys: &[&'static str],
    ) -> Result<Table<'n>, Fault> {
        let left = limits::PLAN_FAULTS_MAX.saturating_sub(self.faults.len());
        let masked = self.places.masked;
        let (table, faults) = Table::of(node, keys, left, |key| masked.named(key))?;
        self.faults.extend(faults);
        Ok(table)
    }

    /// Reads a text for the operating system. A number is a text if that is how it is written.
    pub(super) fn argument(&self, node: &Node) -> Result<String, Fault> {
        let (Value::Number(_) | Value::Bool(_)) = node.value else {
            return argument(node).map(str::to_owned);
        };
        let written = self.places.text.get(node.at..node.end).unwrap_or_default();
        match &node.value {
            Value::Number(number) if number.to_string() == written => Ok(written.to_owned()),
            _ if self.places.masked.hides(node.at) => Err(wrong_type(node, "a string, in quotes")),
            _ => Err(wrong_type(node, &format!("a string such as `\"{}\"`", excerpt(written)))),
        }
    }

    /// Finds a part of a value in the text as it is written, between two offsets. None if it is
    /// written otherwise, with escapes.
    pub(super) fn place_of(&self, part: &str, from: usize, to: Option<usize>) -> Option<usize> {
        let text = self.places.text.get(from..to.unwrap_or(self.places.text.len()))?;
        let at = from + text.find(part)?;
        let braces = self.places.text[from..at].rfind("{{");
        braces.map(|braces| from + braces)
    }

    /// Yields the header of a table in TOML, as messages may show it.
    pub(super) fn header_of(&self, table: &Node) -> Option<String> {
        hints::header_of(table, self.format, self.places.text)
    }

    pub(super) fn origin(&mut self, at: usize) -> Origin {
        let line = Line::of(&self.places.masked.shown, at);
        let unsaid = Arc::clone(&self.places.masked.unsaid);
        Origin { file: self.file.clone(), place: self.places.find(at), line, unsaid }
    }

    /// Finds the one key that names the action of a step, and refuses the keys of other actions.
    fn only_action<'a>(
        &mut self,
        step: &Table<'a>,
        name: &str,
    ) -> Result<(&'static str, &'a Node), Fault> {
        let name =
            if name.is_empty() { "step".to_owned() } else { format!("step `{}`", excerpt(name)) };
        let mut found = ACTION_KEYS.iter().filter_map(|key| Some((*key, step.entry(key)?)));
        let one_of = || format!("expected exactly one of {}", listed(&ACTION_KEYS));
        let Some((action, (_, node))) = found.next() else {
            if let Some(fault) = hints::in_env(&name, step, self.format, self.places.text) {
                return Err(fault);
            }
            return Err(step.missing(step.at, format!("{name} does nothing; {}", one_of())));
        };
        if let Some((other, (key, _))) = found.next() {
            return Err(Fault::new(key.at, hints::two_actions(&name, action, other)));
        }
        for (key, owners) in GOES_WITH {
            if !owners.contains(&action)
                && let Some((found, _)) = step.entry(key)
            {
                let owners = listed(owners);
                let message = format!("`{key}` goes with {owners}; {name} has `{action}`");
                self.note(Fault::new(found.at, message));
            }
        }
        Ok((action, node))
    }
}

/// What the steps of a list have to do with each other.
enum Siblings {
    /// Each may read those before it.
    InTurn,
    /// None may read another.
    Apart,
    /// Each may read those that it needs.
    Branches(Rc<Branches>),
}

pub(super) fn name_of(item: &Node) -> Option<&str> {
    let entries = table(item).ok()?;
    let (_, name) = entries.iter().find(|(key, _)| key.name == "name")?;
    match &name.value {
        Value::Text(name) => Some(name),
        _ => None,
    }
}
