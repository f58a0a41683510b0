//! [`Names`] holds the names that expressions may read, so that an unknown one is refused before
//! anything runs.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use super::fault::Fault;
use super::guesses::Guesses;
use super::hints::braced;
use super::needs::Branches;
use super::shape::{Shape, Shapes};
use super::tree::Node;
use crate::excerpt::{excerpt, listed};
use crate::guess::guess;
use crate::limits;
use crate::plan::expression::{self, below, is_word};

/// The variables and steps that are known at the reader's place, the innermost frame last.
pub(super) struct Names {
    frames: Vec<Frame>,
    /// The steps at the top of the plan that were read since this was taken.
    read: RefCell<Read>,
    /// What expressions read and is no fault.
    warnings: RefCell<Vec<Fault>>,
    /// The guesses about steps and branches.
    pub(super) guesses: Guesses,
    /// What is known of the outputs of the steps.
    pub(super) shapes: Shapes,
    /// The places of texts that may have secrets, in order: no message has a word of one.
    secrets: Rc<[usize]>,
}

/// The steps that were read.
#[derive(Default)]
struct Read {
    all: BTreeSet<Arc<str>>,
    /// Those of them that an expression with `is defined` reads: it knows what to do without.
    optional: BTreeSet<Arc<str>>,
}

#[derive(Default)]
pub(super) struct Frame {
    variables: Vec<&'static str>,
    /// The steps, with what is known of their outputs.
    steps: BTreeMap<String, Rc<Shape>>,
    /// The branches of a parallel step, and which of them is inside of the frame.
    branch: Option<(Rc<Branches>, usize)>,
    /// Whether the frames around it are hidden: those of a nested plan are.
    is_closed: bool,
}

impl Frame {
    pub(super) fn shape(&self, step: &str) -> Option<&Shape> {
        let needed = || self.branch.as_ref().and_then(|(all, at)| all.readable_shape(*at, step));
        self.steps.get(step).map(|shape| &**shape).or_else(needed)
    }

    fn has(&self, step: &str) -> bool {
        self.shape(step).is_some()
    }

    fn steps(&self) -> impl Iterator<Item = (&str, &Shape)> {
        let needed = self.branch.iter().flat_map(|(all, at)| all.readable(*at));
        self.steps.iter().map(|(name, shape)| (name.as_str(), &**shape)).chain(needed)
    }
}

impl Names {
    /// Makes the names that every plan knows.
    pub(super) fn of_plan(secrets: Rc<[usize]>) -> Self {
        let frame = Frame { variables: vec!["input", "steps"], ..Frame::default() };
        Self { secrets, ..Self::of(frame) }
    }

    /// Makes the names that the predicate of a policy knows.
    pub(super) fn of_policy() -> Self {
        let variables = vec!["branches", "ended", "failed", "ok", "values"];
        Self::of(Frame { variables, ..Frame::default() })
    }

    fn of(frame: Frame) -> Self {
        let (read, warnings) = (RefCell::default(), RefCell::default());
        let (frames, guesses, shapes) = (vec![frame], Guesses::default(), Shapes::default());
        Self { frames, read, warnings, guesses, shapes, secrets: Rc::default() }
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

    /// Takes what is no fault of the expressions that were checked since the last call.
    pub(super) fn take_warnings(&self) -> Vec<Fault> {
        self.warnings.take()
    }

    pub(super) fn add_step(&mut self, name: &str, step: &Node) {
        if let Some(frame) = self.frames.last_mut() {
            frame.steps.insert(name.to_owned(), self.shapes.of(step));
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
            let (text, inside) = (self.quoted(text, at), self.quoted(inside, at));
            let message = format!("`{text}` has the braces of a template; expected `{inside}`");
            return Err(self.fault(at, message));
        }
        let names = expression::check(text);
        let names = names.map_err(|words| self.bad_parts("expression", text, &words, at))?;
        self.check_names(&names, text, at)?;
        self.warn_of_comparisons(text, at);
        Ok(())
    }

    /// Checks a template at an offset of the text.
    pub(super) fn check_template(&self, text: &str, at: usize) -> Result<(), Fault> {
        let names = expression::check_template(text);
        let names = names.map_err(|words| self.bad_parts("template", text, &words, at))?;
        self.check_names(&names, text, at)?;
        for inside in expression::expressions(text) {
            self.warn_of_comparisons(inside, at);
        }
        for inside in expression::behind_dollar(text) {
            let template = format!("{{{{ {} }}}}", self.quoted(inside.trim(), at));
            let right = format!("leaves `$` before the value; expected `{template}`");
            self.warn(at, format!("`${template}` {right}"));
        }
        Ok(())
    }

    pub(super) fn warn(&self, at: usize, message: String) {
        let mut warnings = self.warnings.borrow_mut();
        if warnings.len() < limits::PLAN_FAULTS_MAX {
            warnings.push(self.fault(at, message));
        }
    }

    /// Tells whether the text at a place may have a secret.
    pub(super) fn is_secret(&self, at: usize) -> bool {
        self.secrets.binary_search(&at).is_ok()
    }

    /// Quotes the text at a place, or a word of it, unless the text may have a secret.
    pub(super) fn quoted(&self, text: &str, at: usize) -> String {
        if self.is_secret(at) { "…".to_owned() } else { excerpt(text) }
    }

    /// Makes a fault of the text at a place. Of a secret no word is in the message.
    pub(super) fn fault(&self, at: usize, message: String) -> Fault {
        Fault { is_bare: self.is_secret(at), ..Fault::new(at, message) }
    }

    /// Checks every name, and yields the faults of all.
    pub(super) fn check_names(
        &self,
        names: &expression::Names,
        text: &str,
        at: usize,
    ) -> Result<(), Fault> {
        let faults = names.iter().filter_map(|name| self.check_name(name, text, at).err());
        let Some(fault) = faults.reduce(Fault::and) else { return Ok(()) };
        // `steps.my-step.output` reads `steps.my`, and subtracts `step.output`.
        Err(self.unbracketed(text, at).map_or(fault, |message| self.fault(at, message)))
    }

    fn check_name(&self, path: &expression::Path, text: &str, at: usize) -> Result<(), Fault> {
        let mut parts = path.iter().map(String::as_str);
        // The keys behind a name may be those of a secret.
        let behind = |name: usize| if self.is_secret(at) { &[] } else { &path[name + 1..] };
        let variable = parts.next().unwrap_or_default();
        let mut seen = self.seen();
        if !seen.any(|frame| frame.variables.contains(&variable)) {
            let right = self.right_for(variable, behind(0));
            let (variable, text) = (self.quoted(variable, at), self.quoted(text, at));
            let message = format!("unknown name `{variable}` in `{text}`; {right}");
            return Err(self.fault(at, message));
        }
        let Some(step) = parts.next().filter(|_| variable == "steps") else {
            return self.check_whole(path, text, at);
        };
        if !self.seen().any(|frame| frame.has(step)) {
            let right = self.right_for_step(step, behind(1));
            let (step, text) = (self.quoted(step, at), self.quoted(text, at));
            let message = format!("unknown step `{step}` in `{text}`; {right}");
            return Err(self.fault(at, message));
        }
        if self.seen().position(|frame| frame.has(step)) == self.top() {
            let mut read = self.read.borrow_mut();
            read.all.insert(step.into());
            if text.contains(DEFINED) {
                read.optional.insert(step.into());
            }
        }
        if let Some(of_step) = parts.next().filter(|of_step| *of_step != "output") {
            let output = output_of(step);
            let right = match guess(of_step, ["output"]) {
                None if !self.is_secret(at) => below(&output, of_step),
                Some(_) | None => output,
            };
            let (of_step, step) = (self.quoted(of_step, at), excerpt(step));
            let text = self.quoted(text, at);
            let message = format!(
                "step `{step}` has no `{of_step}` in `{text}`; did you mean `{}`?",
                excerpt(&right),
            );
            return Err(self.fault(at, message));
        }
        self.check_output(step, path.get(3..).unwrap_or_default(), text, at)
    }

    /// Finds the name of a step that is no word and stands behind a dot, and says what is right.
    pub(super) fn unbracketed(&self, text: &str, at: usize) -> Option<String> {
        let no_words = || self.step_names().filter(|name| !is_word(name));
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let written: Vec<&str> = text.split("steps.").skip(1).take(PATHS_TRIED).collect();
        let is_written =
            |name: &&str| written.iter().any(|after| after.strip_prefix(*name).is_some_and(ends));
        if let Some(name) = no_words().filter(is_written).max_by_key(|name| name.len()) {
            let (text, right) = (self.quoted(text, at), excerpt(&path_of(name)));
            return Some(format!(
                "`steps.{}` in `{text}`; expected `{right}`, because the name of the step is no \
                 word",
                excerpt(name),
            ));
        }
        if let Some(right) = self.unbracketed_inner(text, at) {
            return Some(right);
        }
        let is_of_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
        let mut written = written.iter().filter_map(|after| {
            let name = &after[..after.find(|c| !is_of_name(c)).unwrap_or(after.len())];
            name.contains('-').then_some(name)
        });
        let meant = |name| Some((name, self.guesses.guess(name, no_words())?));
        let (name, meant) = written.find_map(meant)?;
        let (name, text) = (self.quoted(name, at), self.quoted(text, at));
        let right = excerpt(&path_of(meant));
        Some(format!("unknown step `{name}` in `{text}`; did you mean `{right}`?"))
    }

    /// As [`Names::unbracketed`], for a step inside of another one.
    fn unbracketed_inner(&self, text: &str, at: usize) -> Option<String> {
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let written: Vec<&str> =
            text.match_indices("steps").take(PATHS_TRIED).map(|(at, _)| &text[at..]).collect();
        if written.is_empty() || self.guesses.are_over() {
            return None;
        }
        let is_written = |path: &str| {
            self.guesses.count();
            written.iter().any(|text| text.strip_prefix(path).is_some_and(ends))
        };
        let paths = self.steps().flat_map(|(outer, shape)| shape.dotted(&output_of(outer)));
        let path = paths.filter(|(dotted, _)| is_written(dotted)).max_by_key(|(it, _)| it.len());
        let shown = self.quoted(text, at);
        if let Some((dotted, right)) = path {
            let (dotted, right) = (excerpt(&dotted), excerpt(&right));
            return Some(format!(
                "`{dotted}` in `{shown}`; expected `{right}`, because the name of the step is no \
                 word",
            ));
        }
        let names = self.steps().flat_map(|(_, shape)| shape.names());
        let names = names.filter(|name| !is_word(name) && is_written(&format!("steps.{name}")));
        let name = names.max_by_key(|name| name.len())?;
        let right = self.right_for_inner(name, &[])?;
        Some(format!("unknown step `{}` in `{shown}`; {right}", excerpt(name)))
    }

    /// Says what would be right instead of a name.
    fn right_for(&self, name: &str, keys: &[String]) -> String {
        let variables = || self.seen().flat_map(|frame| frame.variables.iter().copied());
        if variables().any(|known| known == "steps") {
            if self.seen().any(|frame| frame.has(name)) {
                return format!("did you mean `{}`?", excerpt(&output_of(name)));
            }
            if let Some(right) = self.right_for_inner(name, keys) {
                return right;
            }
        }
        match guess(name, variables()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("expected one of {}", listed(variables())),
        }
    }

    /// Says what would be right instead of the name of a step.
    fn right_for_step(&self, name: &str, keys: &[String]) -> String {
        let mut branches = self.seen().filter_map(|frame| frame.branch.as_ref());
        if let Some(right) = branches.find_map(|(all, at)| all.right_for(*at, name)) {
            return right;
        }
        if let Some(right) = self.right_for_inner(name, keys) {
            return right;
        }
        if let Some(meant) = self.guesses.guess(name, self.step_names()) {
            let right = if is_word(meant) { meant.to_owned() } else { path_of(meant) };
            return format!("did you mean `{}`?", excerpt(&right));
        }
        let inner = self.steps().flat_map(|(_, shape)| shape.names());
        let right =
            self.guesses.guess(name, inner).and_then(|meant| self.right_for_inner(meant, keys));
        if let Some(right) = right {
            return right;
        }
        let known = listed(self.step_names());
        if known.is_empty() {
            return "no step comes before".to_owned();
        }
        format!("expected one of those that come before: {known}")
    }

    /// Says how a step inside of another one is read, with the keys behind it.
    fn right_for_inner(&self, name: &str, keys: &[String]) -> Option<String> {
        let (outer, inside) =
            self.steps().find_map(|(outer, shape)| Some((outer, shape.find(outer, name)?)))?;
        let keys = keys.strip_prefix(&["output".to_owned()]).unwrap_or(keys);
        let keys = inside.keys.into_iter().chain(keys.iter().map(String::as_str));
        let right = keys.fold(output_of(outer), |path, key| below(&path, key));
        let (what, of, right) = (inside.what, excerpt(inside.of), excerpt(&right));
        Some(format!("`{}` is a {what} of `{of}`; did you mean `{right}`?", excerpt(name)))
    }

    /// Lists the steps that are not hidden, with what is known of their outputs.
    fn steps(&self) -> impl Iterator<Item = (&str, &Shape)> {
        self.seen().flat_map(Frame::steps)
    }

    /// Lists the names of the steps that are not hidden.
    pub(super) fn step_names(&self) -> impl Iterator<Item = &str> {
        self.steps().map(|(name, _)| name)
    }

    /// Yields how many frames are inside of that of the steps at the top; none if it is hidden.
    fn top(&self) -> Option<usize> {
        let is_hidden = self.frames.iter().any(|frame| frame.is_closed);
        self.frames.len().checked_sub(2).filter(|_| !is_hidden)
    }

    /// Lists the frames that are not hidden, the innermost first.
    pub(super) fn seen(&self) -> impl Iterator<Item = &Frame> {
        let closed = self.frames.iter().rposition(|frame| frame.is_closed).unwrap_or_default();
        self.frames[closed..].iter().rev()
    }
}

/// Writes how an expression reads a step.
fn path_of(step: &str) -> String {
    below("steps", step)
}

/// Writes how an expression reads the output of a step.
pub(super) fn output_of(step: &str) -> String {
    below(&path_of(step), "output")
}

/// What a test for a value that may be missing has: `is defined`, `is not defined`, `is undefined`.
const DEFINED: &str = "defined";

/// How many paths of a text are looked at for a name that is no word.
const PATHS_TRIED: usize = 32;
