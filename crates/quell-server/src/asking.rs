//! [`Asking`] answers what a paused run asks, or finds that nobody does.

use futures::FutureExt as _;
use futures::future::{BoxFuture, pending};
use quell::{Payload, ResumeError, RunRef, RunReport};
use quell_flow::{NoAnswer, check_answer};

use crate::answers::{Answers, Asked};

/// Asks on behalf of a run, and gives it its answers.
pub(crate) struct Asking {
    answers: Answers,
    /// The attempt whose question is being answered.
    attempt: u32,
    /// An answer that the run has, and that is not known to be stored; and what is said then.
    storing: Option<(String, BoxFuture<'static, Result<(), ResumeError>>)>,
    /// The command line with which the run goes on in a later process, but for the answer. None if
    /// it would be lost with this one.
    again: Option<String>,
}

/// What comes of a question.
#[derive(Debug)]
pub(crate) enum Turn {
    /// It goes on; there may be something to say.
    GoesOn(Option<String>),
    /// This is asked at the terminal, where a line is read.
    Asks(String),
    /// Nobody answers, and nobody can later: why, if that was not said, and for the run.
    GivenUp(Option<String>, &'static str),
    /// Nobody answers now: the run is left paused, and this says how it goes on.
    Left(String),
}

impl Asking {
    pub(crate) const fn new(answers: Answers, again: Option<String>) -> Self {
        Self { answers, attempt: 0, storing: None, again }
    }

    /// Tells whether a line of the terminal is being read.
    pub(crate) const fn is_reading(&self) -> bool {
        self.answers.is_reading()
    }

    /// Tells whether nobody has answered a step.
    pub(crate) const fn is_unanswered(&self) -> bool {
        self.answers.is_unanswered()
    }

    /// Yields notes about answers of the command line that no step has taken.
    pub(crate) fn unused(&self, report: &RunReport) -> Vec<String> {
        self.answers.unused(report)
    }

    /// Waits until there is something to do for the run.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(crate) async fn turn(&mut self, run: &RunRef) -> Turn {
        if let Some((_, stored)) = &mut self.storing {
            let stored = stored.await;
            let said = self.storing.take().map(|(said, _)| said).filter(|said| !said.is_empty());
            return self.answered(said, stored);
        }
        let mut wrong = None;
        if self.answers.is_reading() {
            let Some(answer) = self.answers.line().await else {
                return self.unanswered(None, "the terminal has no more lines");
            };
            wrong = self.check(run, &answer);
            if wrong.is_none() {
                return self.give(run, String::new(), answer);
            }
        }
        if run.paused().await.is_none() {
            return pending().await;
        }
        let Some(pause) = run.pause_state() else { return Turn::GoesOn(None) };
        self.attempt = pause.attempt;
        let now = std::time::SystemTime::now();
        if pause.expires_at.is_some_and(|end| end <= now) {
            // The time for an answer is over, although its timer is late: the run ends.
            run.ended().await;
            return pending().await;
        }
        let (said, asked) = self.answers.ask(&pause.request, wrong.as_ref());
        match asked {
            Asked::Answered(answer) => self.give(run, said, answer),
            Asked::AtTerminal => Turn::Asks(said),
            Asked::ByNobody => self.unanswered(Some(said), NOBODY),
        }
    }

    /// Says why this is no answer to the question that is being answered. None if it may be one.
    fn check(&self, run: &RunRef, answer: &Payload) -> Option<NoAnswer> {
        let asks = run.pause_state().filter(|pause| pause.attempt == self.attempt)?;
        check_answer(&asks.request, answer).err()
    }

    fn give(&mut self, run: &RunRef, said: String, answer: Payload) -> Turn {
        let (run, attempt) = (run.clone(), self.attempt);
        let stored = async move { run.resume_attempt_durably(attempt, answer).await };
        self.storing = Some((said, stored.boxed()));
        Turn::GoesOn(None)
    }

    /// Says that the answer is stored, so that it is never asked for again, or that it is not. Of a
    /// run that was stopped meanwhile the end follows.
    fn answered(&mut self, said: Option<String>, stored: Result<(), ResumeError>) -> Turn {
        match stored {
            Ok(()) => Turn::GoesOn(said.map(|said| format!("{said}: answered"))),
            Err(ResumeError::NotPaused(_) | ResumeError::OtherAttempt { .. }) => Turn::GoesOn(None),
            Err(error @ ResumeError::NotStored(_)) => Turn::GoesOn(Some(error.to_string())),
            Err(error) => self.unanswered(Some(error.to_string()), "the answer was refused"),
        }
    }

    fn unanswered(&self, said: Option<String>, why: &'static str) -> Turn {
        let Some(again) = &self.again else {
            let how = said.map(|said| match why {
                NOBODY => format!("{said}: {why}; expected {}", self.answers.expected()),
                _ => said,
            });
            return Turn::GivenUp(how, why);
        };
        let said = said.map_or_else(String::new, |said| format!("{said}: "));
        let answer = self.answers.as_option();
        Turn::Left(format!(
            "{said}{why}; the run is paused, and goes on with\n  {again} --answer {answer}"
        ))
    }
}

/// Why a question has no answer if there is neither a terminal nor an option for it.
const NOBODY: &str = "nobody answers";

#[cfg(test)]
mod tests {
    use quell::{Engine, RunContext, RunSpec};

    use super::*;
    use crate::answers::parse_answer;

    #[tokio::test]
    async fn an_answer_that_names_its_step_answers_no_step_that_asks_meanwhile() {
        let engine = Engine::new();
        let run = engine.submit_resumable(RunSpec::agent("r"), async |ctx: RunContext| {
            let asks = |step: &str| Payload::from_json_text(&format!(r#"{{"step":"{step}"}}"#));
            match ctx.attempt() {
                1 => Err(ctx.pause(asks("ok")?)),
                2 => Err(ctx.pause(asks("where")?)),
                _ => Ok(ctx.resumed_with()),
            }
        });
        let run = run.expect("it is accepted");
        let given = ["ok=yes", "where=home"].map(|text| parse_answer(text).expect("an answer"));
        let mut asking = Asking::new(Answers::new(given.into()), None);
        let turn = asking.turn(run.run()).await;
        assert!(matches!(turn, Turn::GoesOn(None)), "its answer is on its way: {turn:?}");
        run.run().resume("somebody else's").expect("it asks");
        let asked = run.run().paused().await.expect("it asks again");
        let turn = asking.turn(run.run()).await;
        assert!(matches!(turn, Turn::GoesOn(None)), "{turn:?}");
        assert_eq!(run.run().pause_request(), Some(asked), "nothing has changed");
        for _ in 0..2 {
            asking.turn(run.run()).await;
        }
        assert_eq!(run.await.expect("it ends"), Some("home".into()));
    }
}
