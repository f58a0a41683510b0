//! [`View::pause`] and [`View::resume`]: a client's pause, and the answer to a pause.

use std::convert::Infallible;
use std::task::Poll;

use futures::poll;
use quell::store::StoreError;
use quell::{
    Disposition, LimitsOutcome, NewLimits, Pause, PauseError, Payload, ResumeError, RunRef,
    RunStatus,
};
use quell_flow::check_answer;

use crate::ledger::Charge;
use crate::run_view::{RunView, StoredRun};
use crate::service::elsewhere::Seen;
use crate::service::guard::{DisconnectGuard, OnDisconnect};
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
                engine.pause_anywhere(run.accepted(), pause).await?;
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
                Ok(engine.set_limits_anywhere(run.accepted(), limits).await?)
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
        let nobody = (OnDisconnect::Continue, None);
        let (run, _guard) = self.answer(run.into(), None, answer.into(), nobody).await?;
        Ok(run)
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
        let nobody = (OnDisconnect::Continue, None);
        let (run, _guard) = self.answer(run.into(), Some(attempt), answer.into(), nobody).await?;
        Ok(run)
    }

    /// As [`View::resume_attempt`], for a client that follows the run from there to its end or its
    /// next pause. Yields the guard of that client as well: it counts from the moment at which the
    /// run has its answer, and keeps the charge of the stream or wait ([`View::charge_stream`]), if
    /// there is one.
    ///
    /// # Errors
    ///
    /// As [`View::resume_attempt`]. With [`ResumeError::NotStored`] nobody follows the run, which
    /// goes on as soon as its answer is stored, whatever the policy.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the run may have its answer. If the future is dropped then, the client has
    /// left, and the policy decides: the run is cancelled, or it goes on.
    pub async fn resume_followed(
        &self,
        run: impl Into<RunView>,
        attempt: u32,
        answer: impl Into<Payload>,
        follower: (OnDisconnect, Option<Charge>),
    ) -> Result<(RunView, DisconnectGuard), NotDone<ResumeError>> {
        self.answer(run.into(), Some(attempt), answer.into(), follower).await
    }

    /// Answers a run: this attempt of it, or whichever asks.
    async fn answer(
        &self,
        run: RunView,
        attempt: Option<u32>,
        answer: Payload,
        follower: Follower,
    ) -> Result<(RunView, DisconnectGuard), NotDone<ResumeError>> {
        let is_left = || {
            let is_paused = run.status() == RunStatus::Paused;
            is_paused && self.service().is_draining() && self.refusal(&run).is_none()
        };
        let place = self.place(&run, ResumeError::NotPaused);
        let place = place.and_then(|place| check(&run, attempt, &answer).map(|()| place));
        let asked = Answering { view: self, attempt, answer, follower };
        let resumed = match place {
            Ok(Place::Here(run)) => asked.here(run).await,
            // On the heap: for a run that is here nobody pays for its size.
            Ok(Place::There(run)) => match Box::pin(asked.there(run)).await {
                // It is this node that does not take it.
                Err(NotDone::NotDecided { owner })
                    if is_left() && self.service().engine().node() == Some(&*owner) =>
                {
                    Err(NotDone::Unknown)
                }
                resumed => resumed,
            },
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

/// What becomes of a run if its client leaves, and what that client costs, if it stays.
type Follower = (OnDisconnect, Option<Charge>);

/// An answer on its way to a run, and the client that may follow the run from then on.
struct Answering<'a> {
    view: &'a View,
    attempt: Option<u32>,
    answer: Payload,
    follower: Follower,
}

impl Answering<'_> {
    /// Gives it to a run of this node. If it is dropped while the store is waited for, the client
    /// has left.
    async fn here(self, run: RunRef) -> Result<(RunView, DisconnectGuard), NotDone<ResumeError>> {
        let Self { view, attempt, answer, follower } = self;
        let (service, given) = (view.service().clone(), run.clone());
        let mut stored = Box::pin(async move {
            match attempt {
                Some(attempt) => given.resume_attempt_durably(attempt, answer).await?,
                None => given.resume_durably(answer).await?,
            }
            // From here on it is followed.
            service.shared().records.begin(service.engine(), &given).await;
            Ok(())
        });
        // At its first poll the run has its answer, or refuses it.
        let first: Poll<Result<(), ResumeError>> = poll!(&mut stored);
        if let Poll::Ready(Err(error)) = first {
            return Err(error.into());
        }
        let guard = guard(view, &(&run).into(), attempt, follower);
        let stored = match first {
            Poll::Ready(stored) => stored,
            Poll::Pending => to_its_end(stored).await?,
        };
        match stored {
            Ok(()) => Ok((run.into(), guard)),
            Err(error) => {
                guard.give_up();
                Err(error.into())
            }
        }
    }

    /// Gives it to a run of another node. That is done to its end, also if this is dropped: what
    /// comes of it tells then whether there is a run that the client has left.
    async fn there(
        self,
        run: StoredRun,
    ) -> Result<(RunView, DisconnectGuard), NotDone<ResumeError>> {
        let Self { view, attempt, answer, follower } = self;
        let view = view.clone();
        to_its_end(async move {
            let engine = view.service().engine();
            engine.resume_anywhere(run.accepted(), attempt, answer).await?;
            let run = view.after(run).await?;
            let guard = guard(&view, &run, attempt, follower);
            Ok((run, guard))
        })
        .await?
    }
}

/// Makes the guard of a client that has answered this attempt of a run, and follows the next one.
fn guard(
    view: &View,
    run: &RunView,
    answered: Option<u32>,
    (policy, charge): Follower,
) -> DisconnectGuard {
    let mut guard = view.service().guard(run, policy);
    if let Some(charge) = charge {
        guard = guard.holding(charge);
    }
    match answered {
        Some(attempt) => guard.of_attempt(attempt.saturating_add(1)),
        None => guard.until_pause(),
    }
}

/// Does this to its end, also if the caller is dropped.
async fn to_its_end<T, E>(work: impl Future<Output = T> + Send + 'static) -> Result<T, NotDone<E>>
where
    T: Send + 'static,
{
    let done = tokio::spawn(work).await;
    done.map_err(|error| NotDone::NotKnown { what: error.to_string().into() })
}

/// Checks an answer against what a run asks, if it is to that.
fn check<E>(run: &RunView, attempt: Option<u32>, answer: &Payload) -> Result<(), NotDone<E>> {
    let pause = run.pause_state();
    let asks = pause.filter(|pause| attempt.is_none_or(|attempt| attempt == pause.attempt));
    let checked = asks.map_or(Ok(()), |pause| check_answer(&pause.request, answer));
    checked.map_err(NotDone::NoAnswer)
}
