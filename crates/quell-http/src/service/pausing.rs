//! [`View::pause`] and [`View::resume`]: a client's pause, and the answer to a pause.

use std::convert::Infallible;

use quell::store::StoreError;
use quell::{
    AskError, Disposition, LimitsOutcome, NewLimits, Pause, PauseError, Payload, ResumeError,
    RunRef, RunStatus,
};
use quell_flow::check_answer;

use crate::run_view::{RunView, StoredRun};
use crate::service::elsewhere::Seen;
use crate::service::not_done::NotDone;
use crate::service::view::View;

/// Where a run is that may be asked for something.
enum Place {
    Here(RunRef),
    /// Another node has it.
    There(StoredRun),
}

impl View {
    /// Asks a run to pause at its next checkpoint, on whatever node has it: see
    /// [`Engine::pause_anywhere`](quell::Engine::pause_anywhere). It takes the right to stop the
    /// run ([`View::may_stop`]). Yields the run as it stands then.
    ///
    /// # Errors
    ///
    /// Fails for every reason in [`NotDone`] and [`PauseError`], and changes nothing but with
    /// [`NotDone::NotKnown`].
    ///
    /// # Cancel safety
    ///
    /// Once polled, the run may be asked to pause although the future was dropped.
    pub async fn pause(
        &self,
        run: impl Into<RunView>,
        pause: impl Into<Pause>,
    ) -> Result<RunView, NotDone<PauseError>> {
        let (run, pause) = (run.into(), pause.into());
        match self.place(&run, PauseError::Over)? {
            Place::Here(run) => {
                run.pause(pause)?;
                Ok(run.into())
            }
            Place::There(run) => {
                let engine = self.service().engine();
                engine.pause_anywhere(run.accepted().run, pause).await?;
                self.after(run).await
            }
        }
    }

    /// Says why a run that an earlier process had paused takes no answer
    /// ([`ResumeError::NoBody`]): by the catalog, as far as that tells it, and of a run that
    /// another node has by the name of that node, whose catalog may be another one.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    pub async fn why_no_body(&self, run: &RunView) -> String {
        let engine = self.service().engine();
        let node = self.node_of(run).await;
        if let Some(node) = node.filter(|node| engine.node() != Some(node)) {
            return format!(
                "node `{node}` has the run, which an earlier process had paused, and has no body \
                 for it"
            );
        }
        let catalog = self.service().catalog();
        let why = catalog.why_not_resumed(run.kind(), run.labels(), run.annotations());
        why.unwrap_or_else(|| ResumeError::NoBody.to_string())
    }

    /// Gives a run other limits, on whatever node has it: see
    /// [`Engine::set_limits_anywhere`](quell::Engine::set_limits_anywhere). That may stop it, so it
    /// takes the right to do that.
    ///
    /// # Errors
    ///
    /// Fails, and changes nothing, if the principal may not stop the run ([`View::may_stop`]), or
    /// does not see it. Fails with [`NotDone::NotDecided`] or [`NotDone::NotKnown`] if another node
    /// has it that does not answer.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the run may have its limits although the future was dropped.
    pub async fn set_limits(
        &self,
        run: impl Into<RunView>,
        limits: NewLimits,
    ) -> Result<LimitsOutcome, NotDone<Infallible>> {
        let run = run.into();
        match self.place(&run, |status| LimitsOutcome::AlreadyTerminal { status }) {
            Ok(Place::Here(run)) => Ok(run.set_limits(limits)),
            Ok(Place::There(run)) => {
                let engine = self.service().engine();
                Ok(engine.set_limits_anywhere(run.accepted().run, limits).await?)
            }
            Err(NotDone::Refused(over)) => Ok(over),
            Err(NotDone::Forbidden) => Err(NotDone::Forbidden),
            Err(_) => Err(NotDone::Unknown),
        }
    }

    /// Gives a paused run its answer, on whatever node has it, and waits until that is in the
    /// store, if there is one: see [`Engine::resume_anywhere`](quell::Engine::resume_anywhere). It
    /// takes the right to start runs of its component, which is that to stop it
    /// ([`View::may_stop`]). Yields the run as it stands then.
    ///
    /// # Errors
    ///
    /// Fails for every reason in [`NotDone`] and [`ResumeError`], and changes nothing but with
    /// [`ResumeError::NotStored`]: the run has its answer then; and with [`NotDone::NotKnown`]: it
    /// may have it. What a step of a plan does not take, as [`check_answer`] says, is
    /// [`NotDone::NoAnswer`]; where another question has come meanwhile, that step asks again.
    /// While the service drains, a run that is left paused to the next process takes none:
    /// [`ResumeError::NotTaken`].
    ///
    /// # Cancel safety
    ///
    /// As [`RunRef::resume_durably`].
    pub async fn resume(
        &self,
        run: impl Into<RunView>,
        answer: impl Into<Payload>,
    ) -> Result<RunView, NotDone<ResumeError>> {
        self.answer(run.into(), None, answer.into()).await
    }

    /// As [`View::resume`], if it is this attempt that asks: see [`RunRef::resume_attempt`].
    ///
    /// # Errors
    ///
    /// As [`View::resume`]; and with [`ResumeError::OtherAttempt`] if another attempt asks.
    ///
    /// # Cancel safety
    ///
    /// As [`RunRef::resume_durably`].
    pub async fn resume_attempt(
        &self,
        run: impl Into<RunView>,
        attempt: u32,
        answer: impl Into<Payload>,
    ) -> Result<RunView, NotDone<ResumeError>> {
        self.answer(run.into(), Some(attempt), answer.into()).await
    }

    /// Answers a run: this attempt of it, or whichever asks.
    async fn answer(
        &self,
        run: RunView,
        attempt: Option<u32>,
        answer: Payload,
    ) -> Result<RunView, NotDone<ResumeError>> {
        let is_left = || {
            let is_paused = run.status() == RunStatus::Paused;
            is_paused && self.service().is_draining() && self.refusal(&run).is_none()
        };
        let place = self.place(&run, ResumeError::NotPaused);
        let place = place.and_then(|place| check(&run, attempt, &answer).map(|()| place));
        let resumed = match place {
            Ok(Place::Here(run)) => {
                let answered = match attempt {
                    Some(attempt) => run.resume_attempt_durably(attempt, answer).await,
                    None => run.resume_durably(answer).await,
                };
                match answered {
                    Ok(()) => {
                        // From here on it is followed. On the heap: most have nothing to read.
                        let records = &self.service().shared().records;
                        Box::pin(records.begin(self.service().engine(), &run)).await;
                        Ok(run.into())
                    }
                    Err(error) => Err(error.into()),
                }
            }
            Ok(Place::There(run)) => {
                let engine = self.service().engine();
                // On the heap: for a run that is here nobody pays for its size.
                let asked = engine.resume_anywhere(run.accepted().run, attempt, answer);
                match Box::pin(asked).await {
                    Ok(()) => return self.after(run).await,
                    // It is this node that does not take it.
                    Err(AskError::NotDecided { owner })
                        if is_left() && engine.node() == Some(&*owner) =>
                    {
                        Err(NotDone::Unknown)
                    }
                    Err(error) => Err(error.into()),
                }
            }
            Err(error) => Err(error),
        };
        match resumed {
            // It is neither unknown nor over: the next process has its answer taken.
            Err(
                NotDone::Unknown | NotDone::Refused(ResumeError::NotPaused(RunStatus::Stopping)),
            ) if is_left() => {
                let what = "the process ends, and leaves its paused runs to the next".to_owned();
                Err(NotDone::Refused(ResumeError::NotTaken(StoreError::Io { what })))
            }
            resumed => resumed,
        }
    }

    /// Yields a run as it stands after another node has done what it was asked for.
    async fn after<E>(&self, run: StoredRun) -> Result<RunView, NotDone<E>> {
        let what = match self.look(&run).await {
            Ok(Seen::Here(run)) => return Ok(run.into()),
            Ok(Seen::There(run)) => return Ok(RunView::Stored(run)),
            Ok(Seen::Gone) => "it was done, and the run is gone",
            Err(_) => "it was done, and the run could not be read",
        };
        Err(NotDone::NotKnown { what: what.into() })
    }

    /// Yields where a run is, if the principal may ask it for something, and a node has it.
    fn place<E>(
        &self,
        run: &RunView,
        over: impl FnOnce(RunStatus) -> E,
    ) -> Result<Place, NotDone<E>> {
        match (self.refusal(run), run, run.status()) {
            (Some(Disposition::Forbidden), ..) => Err(NotDone::Forbidden),
            (Some(_), ..) => Err(NotDone::Unknown),
            (None, RunView::Live(run), _) => Ok(Place::Here(run.clone())),
            (None, _, status) if status.is_terminal() => Err(NotDone::Refused(over(status))),
            (None, RunView::Stored(stored), _) => {
                let is_there = self.may_ask(stored);
                if is_there { Ok(Place::There(stored.clone())) } else { Err(NotDone::Unknown) }
            }
        }
    }
}

/// Checks an answer against what a run asks, if it is to that.
fn check<E>(run: &RunView, attempt: Option<u32>, answer: &Payload) -> Result<(), NotDone<E>> {
    let pause = run.pause_state();
    let asks = pause.filter(|pause| attempt.is_none_or(|attempt| attempt == pause.attempt));
    let checked = asks.map_or(Ok(()), |pause| check_answer(&pause.request, answer));
    checked.map_err(NotDone::NoAnswer)
}
