//! [`Names`] holds the names that expressions may read, so that an unknown one is refused before
//! anything runs.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use super::fault::Fault;
use super::needs::Branches;
use crate::guess::guess;
use crate::plan::excerpt::{excerpt, listed};
use crate::plan::expression::{self, below, is_word};

/// The variables and steps that are known at the reader's place, the innermost frame last.
pub(super) struct Names {
    frames: Vec<Frame>,
    /// The steps at the top of the plan that were read since this was taken.
    read: RefCell<Read>,
}

/// The steps that were read.
#[derive(Default)]
struct Read {
    all: BTreeSet<Arc<str>>,
    /// Those of them that an expression with `is defined` reads: it knows what to do without.
    optional: BTreeSet<Arc<str>>,
}

#[derive(Default)]
struct Frame {
    variables: Vec<&'static str>,
    steps: HashSet<String>,
    /// The branches of a parallel step, and which of them is inside of the frame.
    branch: Option<(Rc<Branches>, usize)>,
    /// Whether the frames around it are hidden: those of a nested plan are.
    is_closed: bool,
}

impl Frame {
    fn has(&self, step: &str) -> bool {
        let branch = self.branch.as_ref();
        self.steps.contains(step) || branch.is_some_and(|(all, at)| all.may_read(*at, step))
    }

    fn steps(&self) -> impl Iterator<Item = &str> {
        let needed = self.branch.iter().flat_map(|(all, at)| all.readable(*at));
        self.steps.iter().map(String::as_str).chain(needed)
    }
}

impl Names {
    /// Makes the names that every plan knows.
    pub(super) fn of_plan() -> Self {
        let frame = Frame { variables: vec!["input", "steps"], ..Frame::default() };
        Self { frames: vec![frame], read: RefCell::default() }
    }

    /// Makes the names that the predicate of a policy knows.
    pub(super) fn of_policy() -> Self {
        let variables = vec!["branches", "ended", "failed", "ok", "values"];
        Self { frames: vec![Frame { variables, ..Frame::default() }], read: RefCell::default() }
    }

    /// Adds a frame for the names of inner steps.
    pub(super) fn enter(&mut self) {
        self.frames.push(Frame::default());
    }

    /// Adds a frame for a branch of a parallel step, which may read those that it needs.
    pub(super) fn enter_branch(&mut self, branches: Rc<Branches>, place: usize) {
        self.frames.push(Frame { branch: Some((branches, place)), ..Frame::default() });
    }

    /// Adds a frame from which those around it are hidden.
    pub(super) fn enter_closed(&mut self) {
        let variables = vec!["input", "steps"];
        self.frames.push(Frame { variables, is_closed: true, ..Frame::default() });
    }

    /// Removes the innermost frame.
    pub(super) fn leave(&mut self) {
        self.frames.pop();
    }

    /// Takes the steps at the top of the plan that were read since the last call, and that nothing
    /// checked for with `is defined`.
    pub(super) fn take_read(&self) -> Arc<[Arc<str>]> {
        let Read { all, optional } = self.read.take();
        all.difference(&optional).cloned().collect()
    }

    pub(super) fn add_step(&mut self, name: &str) {
        if let Some(frame) = self.frames.last_mut() {
            frame.steps.insert(name.to_owned());
        }
    }

    pub(super) fn add_variable(&mut self, name: &'static str) {
        if let Some(frame) = self.frames.last_mut() {
            frame.variables.push(name);
        }
    }

    /// Checks an expression at an offset of the text.
    pub(super) fn check(&self, text: &str, at: usize) -> Result<(), Fault> {
        if let Some(inside) = braced(text) {
            let (text, inside) = (excerpt(text), excerpt(inside));
            let message = format!("`{text}` has the braces of a template; expected `{inside}`");
            return Err(Fault::new(at, message));
        }
        let names = expression::check(text);
        let names = names.map_err(|words| self.bad("expression", text, &words, at))?;
        self.check_names(&names, text, at)
    }

    /// Checks a template at an offset of the text.
    pub(super) fn check_template(&self, text: &str, at: usize) -> Result<(), Fault> {
        let names = expression::check_template(text);
        let names = names.map_err(|words| self.bad("template", text, &words, at))?;
        self.check_names(&names, text, at)
    }

    fn bad(&self, what: &str, text: &str, words: &str, at: usize) -> Fault {
        let message = self.unbracketed(text).unwrap_or_else(|| {
            format!("bad {what} `{}`: {}{}", excerpt(text), excerpt(words), hint(text))
        });
        Fault::new(at, message)
    }

    /// Checks every name, and yields the faults of all.
    fn check_names(&self, names: &expression::Names, text: &str, at: usize) -> Result<(), Fault> {
        let faults = names.iter().filter_map(|name| self.check_name(name, text, at).err());
        let Some(fault) = faults.reduce(Fault::and) else { return Ok(()) };
        // `steps.my-step.output` reads `steps.my`, and subtracts `step.output`.
        Err(self.unbracketed(text).map_or(fault, |message| Fault::new(at, message)))
    }

    fn check_name(&self, path: &expression::Path, text: &str, at: usize) -> Result<(), Fault> {
        let mut parts = path.iter().map(String::as_str);
        let variable = parts.next().unwrap_or_default();
        let mut seen = self.seen();
        if !seen.any(|frame| frame.variables.contains(&variable)) {
            let right = self.right_for(variable);
            let (variable, text) = (excerpt(variable), excerpt(text));
            let message = format!("unknown name `{variable}` in `{text}`; {right}");
            return Err(Fault::new(at, message));
        }
        let Some(step) = parts.next().filter(|_| variable == "steps") else { return Ok(()) };
        if !self.seen().any(|frame| frame.has(step)) {
            let right = self.right_for_step(step);
            let (step, text) = (excerpt(step), excerpt(text));
            let message = format!("unknown step `{step}` in `{text}`; {right}");
            return Err(Fault::new(at, message));
        }
        if self.seen().position(|frame| frame.has(step)) == self.top() {
            let mut read = self.read.borrow_mut();
            read.all.insert(step.into());
            if text.contains(DEFINED) {
                read.optional.insert(step.into());
            }
        }
        if let Some(of_step) = parts.next().filter(|of_step| *of_step != "output") {
            let output = below(&path_of(step), "output");
            let right = match guess(of_step, ["output"]) {
                Some(_) => output,
                None => below(&output, of_step),
            };
            let (of_step, step, text) = (excerpt(of_step), excerpt(step), excerpt(text));
            let message = format!(
                "step `{step}` has no `{of_step}` in `{text}`; did you mean `{}`?",
                excerpt(&right),
            );
            return Err(Fault::new(at, message));
        }
        Ok(())
    }

    /// Finds the name of a step that is no word and stands behind a dot, and says what is right.
    fn unbracketed(&self, text: &str) -> Option<String> {
        let no_words = || self.steps().filter(|name| !is_word(name));
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let is_written = |name: &&str| {
            let mut after = text.split("steps.").skip(1);
            after.any(|after| after.strip_prefix(*name).is_some_and(ends))
        };
        if let Some(name) = no_words().filter(is_written).max_by_key(|name| name.len()) {
            let (text, right) = (excerpt(text), excerpt(&path_of(name)));
            return Some(format!(
                "`steps.{}` in `{text}`; expected `{right}`, because the name of the step is no \
                 word",
                excerpt(name),
            ));
        }
        let is_of_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
        let written = text.split("steps.").skip(1).filter_map(|after| {
            let name = &after[..after.find(|c| !is_of_name(c)).unwrap_or(after.len())];
            name.contains('-').then_some(name)
        });
        let meant = |name| Some((name, guess(name, no_words())?));
        let (name, meant) = { written }.find_map(meant)?;
        let (name, text, right) = (excerpt(name), excerpt(text), excerpt(&path_of(meant)));
        Some(format!("unknown step `{name}` in `{text}`; did you mean `{right}`?"))
    }

    /// Says what would be right instead of a name.
    fn right_for(&self, name: &str) -> String {
        let variables = || self.seen().flat_map(|frame| frame.variables.iter().copied());
        if self.seen().any(|frame| frame.has(name)) && variables().any(|known| known == "steps") {
            return format!("did you mean `{}`?", excerpt(&below(&path_of(name), "output")));
        }
        match guess(name, variables()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("expected one of {}", listed(variables())),
        }
    }

    /// Says what would be right instead of the name of a step.
    fn right_for_step(&self, name: &str) -> String {
        let mut branches = self.seen().filter_map(|frame| frame.branch.as_ref());
        if let Some(right) = branches.find_map(|(all, at)| all.right_for(*at, name)) {
            return right;
        }
        if let Some(meant) = guess(name, self.steps()) {
            let right = if is_word(meant) { meant.to_owned() } else { path_of(meant) };
            return format!("did you mean `{}`?", excerpt(&right));
        }
        let known = listed(self.steps());
        if known.is_empty() {
            return "no step comes before".to_owned();
        }
        format!("expected one of those that come before: {known}")
    }

    /// Lists the steps that are not hidden.
    fn steps(&self) -> impl Iterator<Item = &str> {
        self.seen().flat_map(Frame::steps)
    }

    /// Yields how many frames are inside of that of the steps at the top; none if it is hidden.
    fn top(&self) -> Option<usize> {
        let is_hidden = self.frames.iter().any(|frame| frame.is_closed);
        self.frames.len().checked_sub(2).filter(|_| !is_hidden)
    }

    /// Lists the frames that are not hidden, the innermost first.
    fn seen(&self) -> impl Iterator<Item = &Frame> {
        let closed = self.frames.iter().rposition(|frame| frame.is_closed).unwrap_or_default();
        self.frames[closed..].iter().rev()
    }
}

/// Writes how an expression reads a step.
fn path_of(step: &str) -> String {
    below("steps", step)
}

/// Says what is right instead of an operator of other languages. What is in quotes or in round
/// brackets does not count: arguments may have names, `f(a=1)`.
fn hint(text: &str) -> &'static str {
    let (mut quote, mut depth) = (None, 0_usize);
    let is_outside = |c: &char| {
        match (quote, *c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(*c),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, _) => return depth == 0,
        }
        false
    };
    let mut outside: String = text.chars().filter(is_outside).collect();
    for sign in ["==", "!=", "<=", ">="] {
        outside = outside.replace(sign, " ");
    }
    HINTS.iter().find(|(sign, _)| outside.contains(sign)).map_or("", |(_, hint)| hint)
}

/// Yields what is inside of the braces of a template, if they are all that is around it.
fn braced(text: &str) -> Option<&str> {
    let inside = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    Some(inside.trim()).filter(|inside| !inside.contains(['{', '}']))
}

/// What a test for a value that may be missing has: `is defined`, `is not defined`, `is undefined`.
const DEFINED: &str = "defined";

/// Operators of other languages, and what is right.
const HINTS: [(&str, &str); 3] = [
    ("=", "; expected `==`, which compares"),
    ("&&", "; expected `and`"),
    ("||", "; expected `or`"),
];
