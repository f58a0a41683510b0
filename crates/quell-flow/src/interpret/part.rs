//! [`PlanPart`]: a part of a plan that runs with the outputs of a former run.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use quell::Payload;

use super::link::LinkedPlan;
use crate::excerpt::{excerpt, listed};
use crate::guess::guess;
use crate::{Action, Plan, PlanStep};

/// Which of the steps at the top of a plan run.
///
/// # Examples
///
/// ```
/// # use quell::Payload;
/// use quell_flow::{Catalog, Plan, PlanPart};
///
/// let plan = || {
///     let text = "name: p\nsteps:\n- { name: build, run: [make] }\n\
///                 - { name: send, run: [mail, '{{ steps.build.output.stdout }}'] }\n";
///     Plan::from_yaml(text).unwrap().link(&Catalog::new()).unwrap()
/// };
/// let outputs = [("build".to_owned(), Payload::from("done"))].into();
/// let part = plan().part(PlanPart::Only("send"), &outputs).unwrap();
/// assert_eq!(part.plan().steps().len(), 1);
/// let refusal = plan().part(PlanPart::From("send"), &Default::default()).unwrap_err();
/// assert!(refusal.to_string().starts_with("step `send` reads the output of `build`"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PlanPart<'a> {
    /// The step of this name.
    Only(&'a str),
    /// The step of this name, and all after it.
    From(&'a str),
}

impl LinkedPlan {
    /// Keeps a part of the plan. What its steps read of the steps before it is taken from these
    /// outputs, by name; others of them are ignored. The times, the cleanup and the input of the
    /// plan hold for the part, and its output has the steps that ran.
    ///
    /// # Errors
    ///
    /// Fails if no step at the top has the name, and if an output of a step before the part is
    /// missing that a step of it, or of the cleanup of the plan, reads. What an expression with
    /// `is defined` reads may be missing.
    pub fn part(
        self,
        part: PlanPart<'_>,
        outputs: &BTreeMap<String, Payload>,
    ) -> Result<Self, PartError> {
        let (PlanPart::Only(name) | PlanPart::From(name)) = part;
        let all = &self.plan.steps;
        let at = all.iter().position(|step| &*step.name == name);
        let at = at.ok_or_else(|| PartError::UnknownStep(unknown(&self.plan, name)))?;
        let steps = match part {
            PlanPart::Only(_) => &all[at..=at],
            PlanPart::From(_) => &all[at..],
        };
        let names = all[..at].iter().map(|step| &step.name);
        let absent: BTreeSet<_> = names.filter(|name| !outputs.contains_key(&***name)).collect();
        let cleanup = &self.plan.cleanup;
        let readers = [
            (None, steps),
            (Some("on_failure"), &cleanup.on_failure),
            (Some("on_stop"), &cleanup.on_stop),
        ];
        let missing = |(key, steps): (Option<&'static str>, &[PlanStep])| {
            let of_step = |step: &PlanStep| -> Vec<_> {
                let read = step.reads.iter().filter(|name| absent.contains(name)).cloned();
                read.map(|of| MissingOutput { of, step: Arc::clone(&step.name), key }).collect()
            };
            steps.iter().flat_map(of_step).collect::<Vec<_>>()
        };
        let missing: Vec<_> = readers.into_iter().flat_map(missing).collect();
        if !missing.is_empty() {
            return Err(PartError::Missing(missing));
        }
        let given = |name: &Arc<str>| Some((Arc::clone(name), outputs.get(&**name)?.clone()));
        let before: Arc<[_]> = all[..at].iter().filter_map(|step| given(&step.name)).collect();
        let plan = Plan { steps: steps.into(), ..Plan::clone(&self.plan) };
        Ok(Self { plan: Arc::new(plan), before, ..self })
    }

    /// Yields the outputs that a part was given, in the order of the steps; none of a whole plan.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_flow::{Catalog, Plan};
    ///
    /// let plan = Plan::from_yaml("name: p\nsteps: [{ name: a, run: [make] }]\n").unwrap();
    /// assert!(plan.link(&Catalog::new()).unwrap().given().is_empty());
    /// ```
    pub fn given(&self) -> &[(Arc<str>, Payload)] {
        &self.before
    }
}

/// Why there is no such part of a plan.
///
/// # Examples
///
/// ```
/// use quell_flow::{Catalog, PartError, Plan, PlanPart};
///
/// let text = "name: p\nsteps:\n- { name: build, run: [make] }\n\
///             - { name: send, run: [mail, '{{ steps.build.output.stdout }}'] }\n";
/// let plan = Plan::from_yaml(text).unwrap().link(&Catalog::new()).unwrap();
/// let PartError::Missing(missing) =
///     plan.part(PlanPart::Only("send"), &Default::default()).unwrap_err() else { unreachable!() };
/// assert_eq!((&*missing[0].step, &*missing[0].of), ("send", "build"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PartError {
    /// No step at the top has the name; says which there are.
    UnknownStep(String),
    /// Outputs that neither are given nor come from a step that runs; at least one.
    Missing(Vec<MissingOutput>),
}

impl fmt::Display for PartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = match self {
            Self::UnknownStep(words) => return f.write_str(words),
            Self::Missing(missing) => missing,
        };
        for (at, one) in missing.iter().take(SHOWN_MAX).enumerate() {
            let between = if at == 0 { "" } else { "; " };
            write!(f, "{between}{one}, which neither runs nor is given")?;
        }
        match missing.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl Error for PartError {}

/// An output that a step of a part reads, and that is missing.
///
/// Displays as `` step `send` reads the output of `build` ``. [`PartError`] has an example.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct MissingOutput {
    /// The step that reads it.
    pub step: Arc<str>,
    /// `on_failure` or `on_stop`, if that step is one of the cleanup of the plan.
    pub key: Option<&'static str>,
    /// The step whose output it is.
    pub of: Arc<str>,
}

impl fmt::Display for MissingOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step `{}`", excerpt(&self.step))?;
        if let Some(key) = self.key {
            write!(f, " of `{key}`")?;
        }
        write!(f, " reads the output of `{}`", excerpt(&self.of))
    }
}

fn unknown(plan: &Plan, name: &str) -> String {
    let known = || plan.steps.iter().map(|step| &*step.name);
    let guessed = |meant: &str| format!("did you mean `{}`?", excerpt(meant));
    let holder = || plan.steps.iter().find_map(|step| Some((step, inside(step, name)?)));
    let right = if let Some((step, what)) = holder() {
        let (meant, holder) = (guessed(&step.name), excerpt(&step.name));
        format!("it is a {what} in `{holder}`, and only steps at the top run alone; {meant}")
    } else if let Some(meant) = guess(name, known()) {
        guessed(meant)
    } else {
        format!("expected one of {}", listed(known()))
    };
    format!("plan `{}` has no step `{}` at its top; {right}", excerpt(plan.name()), excerpt(name))
}

/// Tells what the step of a name inside of another one is there; none if there is no such step.
fn inside(step: &PlanStep, name: &str) -> Option<&'static str> {
    let mut open = step.action.parts();
    if let Action::Workflow(nested) = &step.action {
        open.push(("steps", &nested.workflow.steps));
    }
    while let Some((key, steps)) = open.pop() {
        if steps.iter().any(|step| &*step.name == name) {
            return Some(if key == "branches" { "branch" } else { "step" });
        }
        open.extend(steps.iter().flat_map(|step| step.action.parts()));
    }
    None
}

/// The missing outputs that a message lists. The others are counted.
const SHOWN_MAX: usize = 12;
