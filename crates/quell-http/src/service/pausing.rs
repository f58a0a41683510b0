//! [`View::pause`] and [`View::resume`]: a client's pause, and the answer to a pause.

use quell::store::StoreError;
use quell::{Disposition, Pause, PauseError, Payload, ResumeError, RunRef, RunStatus};

use crate::run_view::RunView;
use crate::service::view::View;

/// Why a client's pause or answer has changed nothing: [`PauseError`] or [`ResumeError`], unless
/// the engine was not even asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "every adapter must name a new reason")]
pub enum NotDone<E> {
    /// There is no such run for this principal; or an earlier process has left it behind, and
    /// nobody has decided about it.
    #[error("no run has this id")]
    Unknown,
    /// The principal sees the run, and may not start or stop runs of its component.
    #[error("credentials do not allow to pause or resume this run")]
    Forbidden,
    /// The engine has refused.
    #[error(transparent)]
    Refused(#[from] E),
}

impl View {
    /// Asks a run to pause at its next checkpoint: see [`RunRef::pause`]. It takes the right to
    /// stop the run ([`View::may_stop`]).
    ///
    /// # Errors
    ///
    /// Fails, and changes nothing, for every reason in [`NotDone`] and [`PauseError`].
    pub fn pause(
        &self,
        run: impl Into<RunView>,
        pause: impl Into<Pause>,
    ) -> Result<RunRef, NotDone<PauseError>> {
        let run = self.asked(&run.into(), PauseError::Over)?;
        run.pause(pause)?;
        Ok(run)
    }

    /// Gives a paused run its answer, and waits until that is in the store, if there is one: see
    /// [`RunRef::resume_durably`]. It takes the right to start runs of its component, which is that
    /// to stop it ([`View::may_stop`]).
    ///
    /// # Errors
    ///
    /// Fails for every reason in [`NotDone`] and [`ResumeError`], and changes nothing but with
    /// [`ResumeError::NotStored`]: the run has its answer then. While the service drains, a run
    /// that is left paused to the next process takes none: [`ResumeError::NotTaken`].
    ///
    /// # Cancel safety
    ///
    /// As [`RunRef::resume_durably`].
    pub async fn resume(
        &self,
        run: impl Into<RunView>,
        answer: impl Into<Payload>,
    ) -> Result<RunRef, NotDone<ResumeError>> {
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
    ) -> Result<RunRef, NotDone<ResumeError>> {
        self.answer(run.into(), Some(attempt), answer.into()).await
    }

    /// Answers a run: this attempt of it, or whichever asks.
    async fn answer(
        &self,
        run: RunView,
        attempt: Option<u32>,
        answer: Payload,
    ) -> Result<RunRef, NotDone<ResumeError>> {
        let is_left = || {
            let is_paused = run.status() == RunStatus::Paused;
            is_paused && self.service().is_draining() && self.refusal(&run).is_none()
        };
        let resumed = match self.asked(&run, ResumeError::NotPaused) {
            Ok(run) => {
                let answered = match attempt {
                    Some(attempt) => run.resume_attempt_durably(attempt, answer).await,
                    None => run.resume_durably(answer).await,
                };
                answered.map(|()| run).map_err(NotDone::from)
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

    /// Yields the run, if the principal may ask it for something, and it is in memory.
    fn asked<E>(
        &self,
        run: &RunView,
        over: impl FnOnce(RunStatus) -> E,
    ) -> Result<RunRef, NotDone<E>> {
        match (self.refusal(run), run.live(), run.status()) {
            (Some(Disposition::Forbidden), ..) => Err(NotDone::Forbidden),
            (None, Some(run), _) => Ok(run.clone()),
            (None, None, status) if status.is_terminal() => Err(NotDone::Refused(over(status))),
            (Some(_), ..) | (None, None, _) => Err(NotDone::Unknown),
        }
    }
}
