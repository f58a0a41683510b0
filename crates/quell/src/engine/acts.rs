//! Pauses, answers and new limits of a run on whatever node has it.

use std::convert::Infallible;
use std::sync::Arc;

use quell_core::cluster::{ActAnswer, RunMeant};
use quell_core::{LimitsOutcome, NewLimits, Payload, RunStatus, limits};

use crate::ask_error::AskError;
use crate::control::acts::{Act, Said};
use crate::engine::Engine;
use crate::pause::{Pause, PauseError, ResumeError};
use crate::run::RunRef;
use crate::sync;

/// What the node says that has a run.
enum Told {
    Said(Said),
    /// The run has ended.
    Ended(RunStatus),
    /// It is here by now.
    Here(RunRef),
}

impl Engine {
    /// As [`RunRef::pause`](crate::RunRef::pause), of a run on whatever node has it, which is named
    /// as for [`cancel_anywhere`](Self::cancel_anywhere). That node decides; if it does not take
    /// the request within [`limits::ASKED_STOP_WAIT`](crate::limits::ASKED_STOP_WAIT) it never
    /// does.
    ///
    /// # Errors
    ///
    /// Fails for every reason in [`AskError`], with what the engine says that has the run.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the run may be asked to pause although the future was dropped.
    pub async fn pause_anywhere(
        &self,
        run: impl Into<RunMeant> + Send,
        pause: impl Into<Pause> + Send,
    ) -> Result<(), AskError<PauseError>> {
        let (meant, pause) = (run.into(), pause.into());
        let run = if let Some(run) = self.accepted_here(meant).await {
            run
        } else {
            let (bytes, max) = (pause.request().len(), limits::EVENT_BYTES_MAX);
            if bytes > max {
                return Err(AskError::Refused(PauseError::TooLarge { bytes, max }));
            }
            match self.ask_owner(meant, &Act::pause(pause.clone())).await? {
                Told::Said(Said::Done) => return Ok(()),
                Told::Said(Said::NotPaused(error)) => return Err(AskError::Refused(error)),
                Told::Said(said) => return Err(strange(&said)),
                Told::Ended(status) => return Err(AskError::Refused(PauseError::Over(status))),
                Told::Here(run) => run,
            }
        };
        run.pause(pause).map_err(AskError::Refused)
    }

    /// As [`RunRef::resume_durably`](crate::RunRef::resume_durably), of a run on whatever node has
    /// it, which is named as for [`cancel_anywhere`](Self::cancel_anywhere): this attempt of it, or
    /// whichever asks. The node that has it decides; if it does not take the answer within
    /// [`limits::ASKED_STOP_WAIT`](crate::limits::ASKED_STOP_WAIT) it never does. An answer that is
    /// acknowledged is stored, and outlives that node.
    ///
    /// # Errors
    ///
    /// Fails for every reason in [`AskError`], with what the engine says that has the run.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the run may have its answer although the future was dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::time::Duration;
    /// use quell::testing::cluster::Nodes;
    /// use quell::{Engine, EngineConfig, RunContext, RunSpec, RunStatus};
    ///
    /// let nodes = Nodes::new(Duration::from_secs(15));
    /// let engine = |name: &str| {
    ///     let node = nodes.join(name);
    ///     Engine::with_config(EngineConfig::new().node(node))
    /// };
    /// let (a, b) = (engine("a"), engine("b"));
    /// let body = async |ctx: RunContext| ctx.resumed_with().ok_or_else(|| ctx.pause("may I?"));
    /// let run = a.submit_resumable_durably(RunSpec::agent("far"), body).await.unwrap();
    /// let run = run.into_ref();
    /// run.paused().await.unwrap();
    /// b.resume_anywhere(run.id(), Some(1), "yes").await.unwrap();
    /// assert_eq!(run.ended().await.status, RunStatus::Completed);
    /// # });
    /// ```
    pub async fn resume_anywhere(
        &self,
        run: impl Into<RunMeant> + Send,
        attempt: Option<u32>,
        answer: impl Into<Payload> + Send,
    ) -> Result<(), AskError<ResumeError>> {
        let (meant, answer) = (run.into(), answer.into());
        let run = if let Some(run) = self.accepted_here(meant).await {
            run
        } else {
            let (bytes, max) = (answer.len(), limits::PAYLOAD_BYTES_MAX);
            if bytes > max {
                return Err(AskError::Refused(ResumeError::TooLarge { bytes, max }));
            }
            let act = Act::Resume { answer: answer.clone(), attempt };
            match self.ask_owner(meant, &act).await? {
                Told::Said(Said::Done) => return Ok(()),
                Told::Said(Said::NotResumed(error)) => return Err(AskError::Refused(error)),
                Told::Said(said) => return Err(strange(&said)),
                Told::Ended(status) => {
                    return Err(AskError::Refused(ResumeError::NotPaused(status)));
                }
                Told::Here(run) => run,
            }
        };
        let resumed = match attempt {
            Some(attempt) => run.resume_attempt_durably(attempt, answer).await,
            None => run.resume_durably(answer).await,
        };
        resumed.map_err(AskError::Refused)
    }

    /// As [`RunRef::set_limits`](crate::RunRef::set_limits), of a run on whatever node has it, and
    /// named as for [`cancel_anywhere`](Self::cancel_anywhere). That node decides; if it does
    /// not take the request within
    /// [`limits::ASKED_STOP_WAIT`](crate::limits::ASKED_STOP_WAIT) it never does.
    ///
    /// # Errors
    ///
    /// Fails if no node has the run, or its node does not say what came of it.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the run may have its limits although the future was dropped.
    pub async fn set_limits_anywhere(
        &self,
        run: impl Into<RunMeant> + Send,
        limits: NewLimits,
    ) -> Result<LimitsOutcome, AskError<Infallible>> {
        let meant = run.into();
        let run = if let Some(run) = self.accepted_here(meant).await {
            run
        } else {
            match self.ask_owner(meant, &Act::Limits(limits)).await? {
                Told::Said(Said::Limits(words)) => return Ok(words.into_outcome(sync::now())),
                Told::Said(said) => return Err(strange(&said)),
                Told::Ended(status) => return Ok(LimitsOutcome::AlreadyTerminal { status }),
                Told::Here(run) => run,
            }
        };
        Ok(run.set_limits(limits))
    }

    /// Asks the node that has a run.
    async fn ask_owner<E>(&self, run: RunMeant, act: &Act) -> Result<Told, AskError<E>> {
        let member = self.shared().member.as_ref().ok_or(AskError::Unknown)?;
        let not_known = |what: String| AskError::NotKnown { what: what.into() };
        // Nothing is asked yet: what cannot be written is not done.
        let words = Payload::json(act).map_err(|error| not_known(error.to_string()))?;
        match member.cluster.act(run, words).await {
            Ok(ActAnswer::Said(words)) => {
                match words.parse().map_err(|error| not_known(error.to_string()))? {
                    Said::Left(owner) => Err(AskError::NotDecided { owner }),
                    Said::Gone => Err(AskError::Unknown),
                    said => Ok(Told::Said(said)),
                }
            }
            // Nobody had it: it may have come here since.
            Ok(ActAnswer::Unknown) => {
                self.accepted_here(run).await.map(Told::Here).ok_or(AskError::Unknown)
            }
            Ok(ActAnswer::Ended { status }) => Ok(Told::Ended(status)),
            Ok(ActAnswer::Lapsed { owner }) => Err(AskError::NotDecided { owner }),
            Ok(ActAnswer::Unanswered { owner }) => {
                Err(not_known(format!("node `{owner}` has taken it, and does not answer")))
            }
            Err(error) => Err(not_known(error.to_string())),
        }
    }
}

/// Says that the node has answered something else than it was asked.
fn strange<E>(said: &Said) -> AskError<E> {
    let what: Arc<str> = format!("its node says {said:?}").into();
    AskError::NotKnown { what }
}
