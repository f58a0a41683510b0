//! [`Asking`] answers what a paused run asks, or finds that nobody does.

use futures::FutureExt as _;
use futures::future::{BoxFuture, pending};
use quell::{Payload, ResumeError, RunRef};

use crate::answers::{Answers, Asked};

/// Asks on behalf of a run, and gives it its answers.
pub(crate) struct Asking {
    answers: Answers,
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
    /// Nobody answers, and nobody can later: why, if that was not said, and for the run.
    GivenUp(Option<String>, &'static str),
    /// Nobody answers now: the run is left paused, and this says how it goes on.
    Left(String),
}

impl Asking {
    pub(crate) const fn new(answers: Answers, again: Option<String>) -> Self {
        Self { answers, storing: None, again }
    }

    /// Tells whether a line of the terminal is being read.
    pub(crate) const fn is_reading(&self) -> bool {
        self.answers.is_reading()
    }

    /// Tells whether nobody has answered a step.
    pub(crate) const fn is_unanswered(&self) -> bool {
        self.answers.is_unanswered()
    }

    /// Yields notes about answers of the command line that no step has asked for.
    pub(crate) fn unused(&self) -> Vec<String> {
        self.answers.unused()
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
        if self.answers.is_reading() {
            return match self.answers.line().await {
                Some(answer) => self.give(run, String::new(), answer),
                None => self.unanswered(None, "the terminal has no more lines"),
            };
        }
        let Some(request) = run.paused().await else { return pending().await };
        let now = std::time::SystemTime::now();
        if run.pause_state().and_then(|pause| pause.expires_at).is_some_and(|end| end <= now) {
            // The time for an answer is over, although its timer is late: the run ends.
            run.ended().await;
            return pending().await;
        }
        let (said, asked) = self.answers.ask(&request);
        match asked {
            Asked::Answered(answer) => self.give(run, said, answer),
            Asked::AtTerminal => Turn::GoesOn(Some(said)),
            Asked::ByNobody => self.unanswered(Some(said), NOBODY),
        }
    }

    fn give(&mut self, run: &RunRef, said: String, answer: Payload) -> Turn {
        let run = run.clone();
        self.storing = Some((said, async move { run.resume_durably(answer).await }.boxed()));
        Turn::GoesOn(None)
    }

    /// Says that the answer is stored, so that it is never asked for again, or that it is not. Of a
    /// run that was stopped meanwhile the end follows.
    fn answered(&mut self, said: Option<String>, stored: Result<(), ResumeError>) -> Turn {
        match stored {
            Ok(()) => Turn::GoesOn(said.map(|said| format!("{said}: answered"))),
            Err(ResumeError::NotPaused(_)) => Turn::GoesOn(None),
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
