//! [`View::pause`] and [`View::resume`]: a client's pause, and the answer to a pause.

use quell::store::StoreError;
use quell::{Disposition, Pause, PauseError, Payload, ResumeError, RunRef, RunStatus};

use crate::run_view::RunView;
use crate::service::not_done::NotDone;
use crate::service::view::View;

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
            (None, None, _) if self.is_elsewhere(run) => Err(NotDone::Elsewhere),
            (Some(_), ..) | (None, None, _) => Err(NotDone::Unknown),
        }
    }

    /// Tells whether another node has a run that is only in the store.
    pub(super) fn is_elsewhere(&self, run: &RunView) -> bool {
        let RunView::Stored(run) = run else { return false };
        let is_over = run.record().status.is_terminal();
        !is_over && self.service().engine().is_elsewhere(run.record())
    }

    /// Says which node has a run, and what is to be asked of it, for a refusal.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn owner_of(&self, run: &RunView) -> String {
        let owner = match self.service().engine().owner_of(run.id()).await {
            Ok(Some(owner)) => format!("node `{owner}`"),
            Ok(None) | Err(_) => "another node".to_owned(),
        };
        format!("{owner} has the run: send the request to that one")
    }
}
