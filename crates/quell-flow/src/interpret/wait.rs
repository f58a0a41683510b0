//! [`ask`] has the run of a plan wait for an answer, [`answered`] is the step that has it.

use quell::{Failure, Pause, Payload, RunContext};
use serde::{Deserialize, Serialize};

use super::memory::{Place, Recall};
use super::runner::Runner;
use super::step::World;
use crate::WaitStep;
use crate::excerpt::excerpt;
use crate::output::set_output;

/// Tells whether a step that waits has an answer which is one.
pub(super) fn is_answered(step: &WaitStep, recall: &Recall) -> bool {
    let is_one = |answer: &Payload| !step.options.approve || approves(answer).is_some();
    recall.answer().as_ref().is_some_and(is_one)
}

/// Asks for the answer. Yields the failure with which the bodies around the step end, so that their
/// root is paused.
pub(super) fn ask<R: Runner>(
    step: &WaitStep,
    name: &str,
    world: &World<R>,
    ctx: &RunContext,
) -> Failure {
    let named = |why: &dyn std::fmt::Display| {
        Failure::new(format!("step `{}` failed: {why}", excerpt(name)))
    };
    if !world.recall.is_kept() {
        return named(&"it waits for an answer, and its run was not started as one that may wait");
    }
    let problem = world.recall.answer().map(|_| "expected `yes` or `no`");
    let asked = world.scope.render("wait", step.options.ask.clone()).and_then(|ask| {
        let approve = step.options.approve;
        let place = world.recall.place_to_ask();
        Ok(Payload::json(&Request { step: name, ask: &ask, approve, problem, place })?)
    });
    let request = match asked {
        Ok(request) => request,
        Err(failure) => return named(&failure),
    };
    let mut pause = Pause::new(request);
    if let Some(time) = step.options.expires {
        pause = pause.expires_in(time);
    }
    let failure = ctx.pause(pause);
    if crate::failures::is_pause(&failure) {
        world.recall.ask();
        return failure;
    }
    if failure.stopped().is_some() { failure } else { named(&failure) }
}

/// Yields the answer as the output of the step.
pub(super) fn answered<R: Runner>(
    step: &WaitStep,
    world: &World<R>,
    ctx: &RunContext,
) -> Result<Payload, Failure> {
    let Some(answer) = world.recall.answer() else {
        return Err(Failure::new("the step has no answer"));
    };
    if !step.options.approve {
        return set_output(ctx, answer);
    }
    match approves(&answer) {
        Some(true) => set_output(ctx, true.into()),
        _ => Err(Failure::new("the answer is no")),
    }
}

/// Tells what an answer to a question for approval is; none if it is neither yes nor no.
fn approves(answer: &Payload) -> Option<bool> {
    let text = answer.as_text().unwrap_or_else(|| answer.as_json().into());
    match &*text.trim().to_ascii_lowercase() {
        "yes" | "y" | "true" => Some(true),
        "no" | "n" | "false" => Some(false),
        _ => None,
    }
}

/// What a paused run asks.
#[derive(Serialize)]
struct Request<'a> {
    step: &'a str,
    ask: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    approve: bool,
    /// Why the answer before was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'static str>,
    /// Where the step is, for a process that gets the answer after this one was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'a str>,
}

/// Reads the place of the step that asks; none if it is no question of a plan that a store keeps.
pub(super) fn place_of(request: &Payload) -> Option<Place> {
    #[derive(Deserialize)]
    struct Asked {
        place: String,
    }
    request.parse().ok().map(|Asked { place }| Place::of_text(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yes_and_no_may_be_said_as_a_word_a_letter_or_a_boolean() {
        for (answer, meant) in [
            ("\"yes\"", Some(true)),
            ("\" Yes\\n\"", Some(true)),
            ("\"y\"", Some(true)),
            ("true", Some(true)),
            ("\"true\"", Some(true)),
            ("\"no\"", Some(false)),
            ("\"N\"", Some(false)),
            ("false", Some(false)),
            ("\"yesterday\"", None),
            ("\"\"", None),
            ("null", None),
            ("1", None),
            ("{\"yes\":true}", None),
        ] {
            let answer = Payload::from_json_text(answer).expect("JSON");
            assert_eq!(approves(&answer), meant, "{answer:?}");
        }
    }
}
