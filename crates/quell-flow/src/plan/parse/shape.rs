//! [`Shape`] is what is known of the output of a step before anything runs.

use std::collections::{BTreeMap, HashMap};
use std::ptr;
use std::rc::Rc;

use super::fields::{list, table};
use super::keys::BRANCH_KEYS;
use super::reader::name_of;
use super::tree::{Key, Node, Value};
use crate::plan::expression::below;

/// What is known of the output of a step.
#[derive(Debug)]
pub(super) enum Shape {
    /// Nothing.
    Unknown,
    /// It is what a command leaves: its keys are [`COMMAND_KEYS`] if the runner is that of quell.
    Command,
    /// It is a table with the outputs of the steps inside, by name.
    Table { what: &'static str, steps: Steps },
    /// It is the output of one of the steps inside.
    OneOf(Steps),
}

/// Steps inside, by name.
type Steps = BTreeMap<String, Rc<Shape>>;

/// The shapes of the steps of a text. Each is made once, and not again for every step around it.
#[derive(Default)]
pub(super) struct Shapes(HashMap<*const Node, Rc<Shape>>);

/// A step inside another one.
pub(super) struct Inside<'a> {
    /// What it is there: `branch`, `member` or `step`.
    pub(super) what: &'static str,
    /// The step that holds it.
    pub(super) of: &'a str,
    /// The keys that lead from the output of the outermost step to its output.
    pub(super) keys: Vec<&'a str>,
}

/// A key that an output does not have.
pub(super) enum Misread<'a> {
    /// So many keys of the path are right; then there are only these steps.
    NoStep(usize, Vec<&'a str>),
    /// So many keys of the path are right, and lead to the output of a command.
    NoKey(usize),
}

impl Shapes {
    /// Yields that of a step, which may have faults. Recurses as deep as the text nests, which the
    /// parsers bound.
    pub(super) fn of(&mut self, step: &Node) -> Rc<Shape> {
        let place = ptr::from_ref(step);
        if let Some(shape) = self.0.get(&place) {
            return Rc::clone(shape);
        }
        let shape = Rc::new(self.read(step));
        self.0.insert(place, Rc::clone(&shape));
        shape
    }

    fn read(&mut self, step: &Node) -> Shape {
        let is_strange = |(key, _): &(Key, Node)| !BRANCH_KEYS.contains(&key.name.as_str());
        if table(step).unwrap_or_default().iter().any(is_strange) {
            // One of the keys below may be meant.
            return Shape::Unknown;
        }
        let get = |key| entry(step, key);
        if get("run").is_some() {
            return Shape::Command;
        }
        if let Some(steps) = get("sequence") {
            return self.table("step", &[Some(steps)]);
        }
        if let Some(options) = get("parallel") {
            let branches = self.table("branch", &[get("branches")]);
            return if keeps_other_values(options) { branches.without_shapes() } else { branches };
        }
        if get("loop").is_some() {
            return self.table("step", &[get("steps")]);
        }
        if get("if").is_some() {
            return self.table("step", &[get("then"), get("else")]);
        }
        if let Some(plan) = get("workflow") {
            return self.table("step", &[entry(plan, "steps")]);
        }
        if get("route").is_some() {
            return self.steps_of(&[get("routes")]).map_or(Shape::Unknown, Shape::OneOf);
        }
        match get("team").and_then(|team| entry(team, "mode")).map(|mode| &mode.value) {
            Some(Value::Text(mode)) if mode == "broadcast" => {
                // A member that failed or was stopped has another value.
                self.table("member", &[get("members")]).without_shapes()
            }
            _ => Shape::Unknown,
        }
    }

    fn table(&mut self, what: &'static str, lists: &[Option<&Node>]) -> Shape {
        self.steps_of(lists).map_or(Shape::Unknown, |steps| Shape::Table { what, steps })
    }

    /// Yields the steps of lists, of which the first has to be there; none if not all have names.
    fn steps_of(&mut self, lists: &[Option<&Node>]) -> Option<Steps> {
        let mut steps = Steps::new();
        lists.first().copied().flatten()?;
        let lists = lists.iter().copied().flatten();
        for step in lists.map(list).collect::<Result<Vec<_>, _>>().ok()?.into_iter().flatten() {
            let name = name_of(step)?;
            let mut shape = self.of(step);
            // `then` and `else` may each have a step of a name, and one of them runs.
            if let Some(other) = steps.get(name)
                && !matches!((&**other, &*shape), (Shape::Command, Shape::Command))
            {
                shape = Rc::new(Shape::Unknown);
            }
            steps.insert(name.to_owned(), shape);
        }
        Some(steps)
    }
}

impl Shape {
    /// Forgets what is known of the steps inside but their names.
    fn without_shapes(mut self) -> Self {
        if let Self::Table { steps, .. } = &mut self {
            for shape in steps.values_mut() {
                *shape = Rc::new(Self::Unknown);
            }
        }
        self
    }

    fn steps(&self) -> (&'static str, Option<&Steps>) {
        match self {
            Self::Unknown | Self::Command => ("step", None),
            Self::Table { what, steps } => (what, Some(steps)),
            Self::OneOf(steps) => ("route", Some(steps)),
        }
    }

    /// Finds a step inside the step `of` that has this shape, the outer ones first.
    pub(super) fn find<'a>(&'a self, of: &'a str, name: &str) -> Option<Inside<'a>> {
        let (what, steps) = self.steps();
        let is_named = matches!(self, Self::Table { .. });
        let keys = |step: &'a str| if is_named { vec![step] } else { Vec::new() };
        let steps = steps?;
        if let Some((found, _)) = steps.get_key_value(name) {
            return Some(Inside { what, of, keys: keys(found) });
        }
        steps.iter().find_map(|(step, shape)| {
            let inside = shape.find(step, name)?;
            Some(Inside { keys: [keys(step), inside.keys].concat(), ..inside })
        })
    }

    /// Lists the names of all steps inside.
    pub(super) fn names(&self) -> Vec<&str> {
        let (_, steps) = self.steps();
        let mut names = Vec::new();
        for (name, shape) in steps.into_iter().flatten() {
            names.push(name.as_str());
            names.extend(shape.names());
        }
        names
    }

    /// Lists the paths to steps inside, some of whose names are no words: as they are written with
    /// dots, and as they are right.
    pub(super) fn dotted(&self, output: &str) -> Vec<(String, String)> {
        let mut paths = Vec::new();
        self.add_dotted(output, output, &mut paths);
        paths
    }

    fn add_dotted(&self, dotted: &str, right: &str, paths: &mut Vec<(String, String)>) {
        let Self::Table { steps, .. } = self else { return };
        for (name, shape) in steps {
            // Only the last name, or all of them, may lack their brackets.
            let last = format!("{right}.{name}");
            let (dotted, right) = (format!("{dotted}.{name}"), below(right, name));
            shape.add_dotted(&dotted, &right, paths);
            let wrong = [last, dotted].into_iter().filter(|path| *path != right);
            paths.extend(wrong.map(|path| (path, right.clone())));
        }
    }

    /// Finds the first key of a path into the output that is not there.
    pub(super) fn misread(&self, path: &[String]) -> Option<Misread<'_>> {
        let mut shape = self;
        for (at, key) in path.iter().enumerate() {
            match shape {
                Self::Table { steps, .. } => {
                    let Some(inner) = steps.get(key) else {
                        let names = steps.keys().map(String::as_str).collect();
                        return Some(Misread::NoStep(at, names));
                    };
                    shape = inner;
                }
                Self::Command if !COMMAND_KEYS.contains(&&**key) => {
                    return Some(Misread::NoKey(at));
                }
                Self::Unknown | Self::Command | Self::OneOf(_) => return None,
            }
        }
        None
    }

    /// Tells whether a path leads to one of these keys of the output of a command.
    pub(super) fn leads_to(&self, path: &[String], keys: &[&str]) -> bool {
        match (self, path) {
            (Self::Command, [key]) => keys.contains(&&**key),
            (Self::Table { steps, .. }, [key, rest @ ..]) => {
                steps.get(key).is_some_and(|shape| shape.leads_to(rest, keys))
            }
            _ => false,
        }
    }
}

/// Tells whether branches of a parallel step may have another value than their output.
fn keeps_other_values(options: &Node) -> bool {
    let on_timeout = entry(options, "on_branch_timeout").map(|node| &node.value);
    let on_cancelled = entry(options, "on_branch_cancelled").map(|node| &node.value);
    let is_kept = |value: Option<&Value>| match value {
        Some(Value::Text(word)) => word == "partial",
        Some(Value::Table(_)) => true,
        _ => false,
    };
    is_kept(on_timeout) || is_kept(on_cancelled)
}

fn entry<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    let entries = table(node).unwrap_or_default();
    entries.iter().find(|(found, _)| found.name == key).map(|(_, node)| node)
}

/// The keys of the output of a command, and `stdout_head`, which every expression may read of it.
pub(super) const COMMAND_KEYS: [&str; 13] = [
    "stdout",
    "stdout_head",
    "exit_code",
    "signal",
    "encoding",
    "stdout_bytes",
    "stdout_truncated",
    "stderr_tail",
    "stderr_bytes",
    "stderr_truncated",
    "content",
    "content_bytes",
    "result",
];

/// Those that are what the command wrote on stdout.
pub(super) const STDOUT_KEYS: [&str; 2] = ["stdout", "stdout_head"];

/// Those that are numbers.
pub(super) const NUMBER_KEYS: [&str; 4] =
    ["exit_code", "stdout_bytes", "stderr_bytes", "content_bytes"];

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    #[test]
    fn the_shape_of_a_step_is_made_once_for_all_steps_around_it() {
        let text = "{ name: a, sequence: [{ name: b, sequence: [{ name: c, run: [x] }] }] }";
        let outer = yaml::parse(text).expect("YAML");
        let inner = &list(entry(&outer, "sequence").expect("steps")).expect("a list")[0];
        let mut shapes = Shapes::default();
        let made = shapes.of(inner);
        let shape = shapes.of(&outer);
        let (_, steps) = shape.steps();
        assert!(Rc::ptr_eq(&steps.expect("it has steps")["b"], &made));
    }
}
