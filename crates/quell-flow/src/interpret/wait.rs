//! [`ask`] has the run of a plan wait for an answer, [`answered`] is the step that has it,
//! [`check_answer`] tells before it is given whether it is one, and [`wait_asked`] what is asked.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

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
    let named =
        |why: &dyn fmt::Display| Failure::new(format!("step `{}` failed: {why}", excerpt(name)));
    if !world.recall.is_kept() {
        return named(&"it waits for an answer, and its run was not started as one that may wait");
    }
    let problem = world.recall.answer().map(|_| format!("expected {YES_OR_NO}").into());
    let asked = world.scope.render("wait", step.options.ask.clone()).and_then(|ask| {
        let approve = step.options.approve;
        let place = world.recall.place_to_ask().map(Cow::from);
        let (step, ask) = (name.into(), ask.into());
        Ok(Payload::json(&Request { step, ask, approve, problem, place })?)
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

/// Yields what the step asks, as far as that can be told.
pub(super) fn question<R: Runner>(step: &WaitStep, world: &World<R>) -> String {
    world.scope.render("wait", step.options.ask.clone()).unwrap_or_default()
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
        _ => Err(Failure::new(ANSWER_IS_NO)),
    }
}

/// The words with which a step ends that asked for approval and was answered no: those of a run
/// that fails by it end with them.
pub const ANSWER_IS_NO: &str = "the answer is no";

/// Checks an answer to a paused run against what that asks, before the run is given it.
///
/// A request of a step for approval, which is an object with `step`, `ask`, `approve: true` and
/// nothing that such a step does not say, takes yes or no: `yes`, `y`, `no` and `n` as a text in
/// any case, and booleans. Every other request takes every answer.
///
/// # Errors
///
/// Fails if the step would ask again.
///
/// # Examples
///
/// ```
/// use quell::Payload;
/// use quell_flow::check_answer;
///
/// let asked = r#"{"step":"ok","ask":"deploy?","approve":true}"#;
/// let asked = Payload::from_json_text(asked).unwrap();
/// assert!(check_answer(&asked, &"Yes".into()).is_ok());
/// let error = check_answer(&asked, &"perhaps".into()).unwrap_err();
/// assert_eq!(error.to_string(), "step `ok` waits for `yes` or `no`");
/// assert!(check_answer(&"a question of a component".into(), &"perhaps".into()).is_ok());
/// ```
pub fn check_answer(request: &Payload, answer: &Payload) -> Result<(), NoAnswer> {
    match wait_asked(request) {
        Some(asked) if asked.approve && approves(answer).is_none() => {
            Err(NoAnswer { step: excerpt(&asked.step) })
        }
        _ => Ok(()),
    }
}

/// Reads what a step of a plan waits for, if a paused run asks that: an object with `step`, `ask`
/// and nothing that such a step does not say.
///
/// # Examples
///
/// ```
/// use quell::Payload;
/// use quell_flow::wait_asked;
///
/// let asked = r#"{"step":"ok","ask":"deploy?","approve":true}"#;
/// let asked = wait_asked(&Payload::from_json_text(asked).unwrap()).unwrap();
/// assert_eq!((&*asked.step, &*asked.ask, asked.approve), ("ok", "deploy?", true));
/// assert_eq!(wait_asked(&"a question of a component".into()), None);
/// ```
pub fn wait_asked(request: &Payload) -> Option<WaitAsked> {
    // A list is none, although it could be read as one.
    if !request.as_json().trim_start().starts_with('{') {
        return None;
    }
    let Request { step, ask, approve, .. } = request.parse().ok()?;
    Some(WaitAsked { step: step.into(), ask: ask.into(), approve })
}

/// What a step of a plan waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitAsked {
    /// The name of the step.
    pub step: String,
    /// The question.
    pub ask: String,
    /// Whether the answer is yes or no; otherwise it is whatever is given.
    pub approve: bool,
}

/// Why an answer is none to what a paused run asks. It says what is awaited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAnswer {
    /// As messages show it.
    step: String,
}

impl NoAnswer {
    /// Yields what is awaited, as messages say it behind `expected`.
    pub const fn expected(&self) -> &'static str {
        YES_OR_NO
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step `{}` waits for {YES_OR_NO}", self.step)
    }
}

impl Error for NoAnswer {}

/// Tells what an answer to a question for approval is; none if it is neither yes nor no.
fn approves(answer: &Payload) -> Option<bool> {
    // A longer one is no word, and takes no time.
    if answer.len() > ANSWER_LEN_MAX {
        return None;
    }
    let text = answer.as_text().unwrap_or_else(|| answer.as_json().into());
    match &*text.trim().to_ascii_lowercase() {
        "yes" | "y" | "true" => Some(true),
        "no" | "n" | "false" => Some(false),
        _ => None,
    }
}

/// What a question for approval takes, as messages say it.
const YES_OR_NO: &str = "`yes` or `no`";

/// The longest answer to a question for approval, with space around it, in bytes of JSON.
const ANSWER_LEN_MAX: usize = 256;

/// What a paused run asks.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Request<'a> {
    step: Cow<'a, str>,
    ask: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    approve: bool,
    /// Why the answer before was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Cow<'a, str>>,
    /// Where the step is, for a process that gets the answer after this one was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<Cow<'a, str>>,
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
        let long = "yes".to_owned() + &" ".repeat(ANSWER_LEN_MAX);
        assert_eq!(approves(&long.into()), None);
    }

    #[test]
    fn only_what_a_step_asks_for_approval_refuses_an_answer() {
        for (request, is_refused) in [
            (r#"{"step":"ok","ask":"go?","approve":true}"#, true),
            (r#"{"approve":true,"ask":"go?","step":"ok","problem":"p","place":"/ok"}"#, true),
            (r#"{"step":"ok","ask":"go?"}"#, false),
            (r#"{"step":"ok","ask":"go?","approve":false}"#, false),
            // Requests of components, in forms of their own.
            (r#"{"approve":true}"#, false),
            (r#"{"step":"ok","ask":"go?","approve":true,"tool":"rm"}"#, false),
            (r#"{"step":"ok","ask":{"text":"go?"},"approve":true}"#, false),
            (r#"{"step":"ok","ask":"go?","approve":"true"}"#, false),
            (r#"["ok","go?",true,null,null]"#, false),
            (r#""go?""#, false),
            ("null", false),
        ] {
            let request = Payload::from_json_text(request).expect("JSON");
            let refused = check_answer(&request, &"perhaps".into()).is_err();
            assert_eq!(refused, is_refused, "{request:?}");
            assert_eq!(check_answer(&request, &"yes".into()), Ok(()), "{request:?}");
        }
    }
}
