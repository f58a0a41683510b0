//! [`Names`] holds the names that expressions may read, so that an unknown one is refused before
//! anything runs.

use std::collections::HashSet;

use super::fault::Fault;
use crate::plan::excerpt::excerpt;
use crate::plan::expression;

/// The variables and steps that are known at the reader's place, the innermost frame last.
pub(super) struct Names {
    frames: Vec<Frame>,
}

#[derive(Default)]
struct Frame {
    variables: Vec<&'static str>,
    steps: HashSet<String>,
    /// Whether the frames around it are hidden: those of a nested plan are.
    is_closed: bool,
}

impl Names {
    /// Makes the names that every plan knows.
    pub(super) fn of_plan() -> Self {
        let frame = Frame { variables: vec!["input", "steps"], ..Frame::default() };
        Self { frames: vec![frame] }
    }

    /// Makes the names that the predicate of a policy knows.
    pub(super) fn of_policy() -> Self {
        let variables = vec!["branches", "ended", "failed", "ok", "values"];
        Self { frames: vec![Frame { variables, ..Frame::default() }] }
    }

    /// Adds a frame for the names of inner steps.
    pub(super) fn enter(&mut self) {
        self.frames.push(Frame::default());
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
        let names = expression::check(text).map_err(|words| bad("expression", text, &words, at))?;
        self.check_names(&names, text, at)
    }

    /// Checks a template at an offset of the text.
    pub(super) fn check_template(&self, text: &str, at: usize) -> Result<(), Fault> {
        let names =
            expression::check_template(text).map_err(|words| bad("template", text, &words, at))?;
        self.check_names(&names, text, at)
    }

    fn check_names(&self, names: &expression::Names, text: &str, at: usize) -> Result<(), Fault> {
        for name in names {
            let mut parts = name.split('.');
            let variable = parts.next().unwrap_or_default();
            let mut seen = self.seen();
            if !seen.any(|frame| frame.variables.contains(&variable)) {
                let known = listed(self.seen().flat_map(|frame| frame.variables.iter().copied()));
                let message = format!(
                    "unknown name `{}` in `{}`; expected one of {known}",
                    excerpt(variable),
                    excerpt(text),
                );
                return Err(Fault::new(at, message));
            }
            let Some(step) = parts.next().filter(|_| variable == "steps") else { continue };
            if !self.seen().any(|frame| frame.steps.contains(step)) {
                let known = self.seen().flat_map(|frame| frame.steps.iter().map(String::as_str));
                let known = listed(known);
                let right = if known.is_empty() {
                    "no step comes before".to_owned()
                } else {
                    format!("expected one of those that come before: {known}")
                };
                let (step, text) = (excerpt(step), excerpt(text));
                let message = format!("unknown step `{step}` in `{text}`; {right}");
                return Err(Fault::new(at, message));
            }
        }
        Ok(())
    }

    /// Lists the frames that are not hidden, the innermost first.
    fn seen(&self) -> impl Iterator<Item = &Frame> {
        let closed = self.frames.iter().rposition(|frame| frame.is_closed).unwrap_or_default();
        self.frames[closed..].iter().rev()
    }
}

fn bad(what: &str, text: &str, words: &str, at: usize) -> Fault {
    Fault::new(at, format!("bad {what} `{}`: {}", excerpt(text), excerpt(words)))
}

/// Lists the first few names in alphabetical order.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    let shown: Vec<String> =
        names.iter().take(NAMES_SHOWN).map(|name| format!("`{}`", excerpt(name))).collect();
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

const NAMES_SHOWN: usize = 12;
