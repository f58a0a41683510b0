//! [`PlanPart`]: a part of a plan that runs with the outputs of a former run.

use std::collections::BTreeMap;
use std::sync::Arc;

use quell::Payload;

use super::link::LinkedPlan;
use crate::Plan;
use crate::guess::guess;
use crate::plan::{excerpt, listed};

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
/// assert!(refusal.starts_with("step `send` reads the output of `build`"));
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
    /// Keeps a part of the plan. What its steps read of the steps that do not run is taken from
    /// these outputs, by name; others of them are ignored. The times, the cleanup and the input of
    /// the plan hold for the part, and its output has the steps that ran.
    ///
    /// # Errors
    ///
    /// Fails with a message if no step at the top has the name, and if an output is missing.
    pub fn part(
        self,
        part: PlanPart<'_>,
        outputs: &BTreeMap<String, Payload>,
    ) -> Result<Self, String> {
        let (PlanPart::Only(name) | PlanPart::From(name)) = part;
        let all = &self.plan.steps;
        let at = all.iter().position(|step| &*step.name == name);
        let at = at.ok_or_else(|| unknown(&self.plan, name))?;
        let steps = match part {
            PlanPart::Only(_) => &all[at..=at],
            PlanPart::From(_) => &all[at..],
        };
        let given = |name: &Arc<str>| Some((Arc::clone(name), outputs.get(&**name)?.clone()));
        let before: Arc<[_]> = all[..at].iter().filter_map(|step| given(&step.name)).collect();
        let mut missing = Vec::new();
        for step in steps {
            let runs = |name: &Arc<str>| steps.iter().any(|step| step.name == *name);
            let is_missing = |name: &&Arc<str>| !runs(name) && !outputs.contains_key(&***name);
            missing.extend(step.reads.iter().filter(is_missing).map(|name| {
                let (step, name) = (excerpt(&step.name), excerpt(name));
                format!(
                    "step `{step}` reads the output of `{name}`, which neither runs nor is given"
                )
            }));
        }
        if !missing.is_empty() {
            return Err(missing.join("; "));
        }
        let plan = Plan { steps: steps.into(), ..Plan::clone(&self.plan) };
        Ok(Self { plan: Arc::new(plan), before, ..self })
    }
}

fn unknown(plan: &Plan, name: &str) -> String {
    let known = || plan.steps.iter().map(|step| &*step.name);
    let right = match guess(name, known()) {
        Some(meant) => format!("did you mean `{}`?", excerpt(meant)),
        None => format!("expected one of {}", listed(known())),
    };
    format!("plan `{}` has no step `{}` at its top; {right}", excerpt(plan.name()), excerpt(name))
}
