//! [`Engine::submit_resumable`] submits a run that may be paused; [`RunRef::pause`] and
//! [`RunRef::resume`] pause it and give it its answer.

use std::future::Future;
use std::sync::Arc;

use quell_core::{Payload, RunId, RunStatus};

use crate::body::context::RunContext;
use crate::body::driver;
use crate::engine::Engine;
use crate::failure::{Failure, SubmitError};
use crate::handle::RunHandle;
use crate::node::pausing::Maker;
use crate::node::wait::Wait;
use crate::node::{Node, State};
use crate::pause::{Pause, PauseError, PauseState, ResumeError};
use crate::run::RunRef;
use crate::spec::RunSpec;

impl Engine {
    /// As [`submit`](Self::submit), with a body that can be made again: once for each attempt of
    /// the run. So it may be paused: by itself ([`RunContext::pause`]), by a client
    /// ([`RunRef::pause`]), or because it passes on that a child asks for it.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub fn submit_resumable<T, F, Fut>(
        &self,
        spec: RunSpec,
        body: F,
    ) -> Result<RunHandle<T>, SubmitError>
    where
        F: Fn(RunContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Send + 'static,
    {
        let (node, superseded) = self.shared().accept_root(spec)?;
        start(&node, Arc::new(body));
        Ok(RunHandle::new(node).superseding(superseded))
    }

    /// As [`submit_resumable`](Self::submit_resumable), and waits until the acceptance is in the
    /// store, as [`submit_durably`](Self::submit_durably) does.
    ///
    /// # Errors
    ///
    /// As [`submit_durably`](Self::submit_durably).
    ///
    /// # Cancel safety
    ///
    /// The run goes on if it was accepted, although the future was dropped.
    pub async fn submit_resumable_durably<T, F, Fut>(
        &self,
        spec: RunSpec,
        body: F,
    ) -> Result<RunHandle<T>, SubmitError>
    where
        F: Fn(RunContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Send + 'static,
    {
        let submitted = self.submit_resumable(spec, body);
        self.durably(submitted).await
    }

    /// Gives a paused run its answer. See [`RunRef::resume`].
    ///
    /// # Errors
    ///
    /// As [`RunRef::resume`]; and if no run has this id.
    pub fn resume(&self, id: RunId, answer: impl Into<Payload>) -> Result<RunRef, ResumeError> {
        let run = self.get(id).ok_or(ResumeError::Unknown)?;
        run.resume(answer)?;
        Ok(run)
    }

    /// Gives a paused run its answer, and waits until that is in the store. See
    /// [`RunRef::resume_durably`].
    ///
    /// # Errors
    ///
    /// As [`RunRef::resume_durably`]; and if no run has this id.
    ///
    /// # Cancel safety
    ///
    /// As [`RunRef::resume_durably`].
    pub async fn resume_durably(
        &self,
        id: RunId,
        answer: impl Into<Payload> + Send,
    ) -> Result<RunRef, ResumeError> {
        let run = self.get(id).ok_or(ResumeError::Unknown)?;
        run.resume_durably(answer).await?;
        Ok(run)
    }
}

/// Starts an attempt, and keeps what starts the next one.
pub(super) fn start<T, F, Fut>(node: &Arc<Node>, body: Arc<F>)
where
    F: Fn(RunContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    T: Send + 'static,
{
    let next = Arc::clone(&body);
    node.keep_maker(Maker(Box::new(move |node| start(node, next))));
    driver::spawn_resumable(node, move |ctx| body(ctx));
}

impl RunRef {
    /// Asks the run, a root that was submitted with [`Engine::submit_resumable`], to pause at its
    /// next checkpoint: [`RunContext::checkpoint`] then fails, and an error that the body returns
    /// has the run paused, as with [`RunContext::pause`]. A run that ends first keeps its outcome.
    /// Once more changes nothing: what was asked first stands.
    ///
    /// # Errors
    ///
    /// Fails for every reason in [`PauseError`].
    pub fn pause(&self, pause: impl Into<Pause>) -> Result<(), PauseError> {
        self.node().pause_by_client(pause.into())
    }

    /// Gives a paused run its answer, at most 16 MiB: it is queued as its next attempt, which reads
    /// it with [`RunContext::resumed_with`]. Of several answers, and of an answer and a stop, the
    /// first one counts.
    ///
    /// # Errors
    ///
    /// Fails, and changes nothing, for every reason in [`ResumeError`].
    pub fn resume(&self, answer: impl Into<Payload>) -> Result<(), ResumeError> {
        self.node().resume(answer.into(), None)
    }

    /// As [`resume`](Self::resume), if it is this attempt that asks: an answer that is sent twice,
    /// or too late, answers no later question. The number is that of
    /// [`PauseState::attempt`](crate::PauseState::attempt).
    ///
    /// # Errors
    ///
    /// As [`resume`](Self::resume); and with [`ResumeError::OtherAttempt`] if another attempt asks.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use quell::{Engine, ResumeError, RunContext, RunSpec};
    ///
    /// let engine = Engine::new();
    /// let run = engine.submit_resumable(RunSpec::agent("clerk"), async |ctx: RunContext| {
    ///     match ctx.attempt() {
    ///         1 => Err(ctx.pause("may I delete the file?")),
    ///         2 => Err(ctx.pause("all of them?")),
    ///         _ => Ok(()),
    ///     }
    /// }).unwrap().into_ref();
    /// run.paused().await.unwrap();
    /// let asked = run.pause_state().unwrap();
    /// run.resume_attempt(asked.attempt, "yes").unwrap();
    /// run.paused().await.unwrap();
    /// let again = run.resume_attempt(asked.attempt, "yes");
    /// assert_eq!(again, Err(ResumeError::OtherAttempt { answered: 1, asks: 2 }));
    /// # });
    /// ```
    pub fn resume_attempt(
        &self,
        attempt: u32,
        answer: impl Into<Payload>,
    ) -> Result<(), ResumeError> {
        self.node().resume(answer.into(), Some(attempt))
    }

    /// As [`resume`](Self::resume), and waits until the answer is in the store: a crash never loses
    /// it, and the run never asks again what it was answered. Without a store it does not wait.
    ///
    /// # Errors
    ///
    /// As [`resume`](Self::resume); and with [`ResumeError::NotStored`] if the store is in trouble
    /// after the run has got its answer. Then it goes on as soon as that is stored.
    ///
    /// # Cancel safety
    ///
    /// The run has its answer once this was polled, although the future was dropped.
    pub async fn resume_durably(
        &self,
        answer: impl Into<Payload> + Send,
    ) -> Result<(), ResumeError> {
        self.resume(answer)?;
        self.answer_stored().await
    }

    /// As [`resume_attempt`](Self::resume_attempt), and waits until the answer is in the store, as
    /// [`resume_durably`](Self::resume_durably) does.
    ///
    /// # Errors
    ///
    /// As [`resume_durably`](Self::resume_durably); and with [`ResumeError::OtherAttempt`] if
    /// another attempt asks.
    ///
    /// # Cancel safety
    ///
    /// As [`resume_durably`](Self::resume_durably).
    pub async fn resume_attempt_durably(
        &self,
        attempt: u32,
        answer: impl Into<Payload> + Send,
    ) -> Result<(), ResumeError> {
        self.resume_attempt(attempt, answer)?;
        self.answer_stored().await
    }

    async fn answer_stored(&self) -> Result<(), ResumeError> {
        let stored = Wait::until(self.node(), |state: &State| self.node().answer_stored(state));
        stored.await.map_err(ResumeError::NotStored)
    }

    /// Yields what the run asks, if it is paused.
    pub fn pause_request(&self) -> Option<Payload> {
        self.node().lock().pause_request().cloned()
    }

    /// Yields the pause of the run, if it is paused: what it asks, since when, and for how long.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::time::Duration;
    /// use quell::{Engine, Pause, RunSpec};
    ///
    /// let engine = Engine::new();
    /// let run = engine.submit_resumable(RunSpec::agent("clerk"), async |ctx| -> Result<(), _> {
    ///     Err(ctx.pause(Pause::new("may I?").expires_in(Duration::from_secs(60))))
    /// }).unwrap().into_ref();
    /// run.paused().await.unwrap();
    /// let pause = run.pause_state().unwrap();
    /// assert_eq!(pause.request, "may I?".into());
    /// assert_eq!(pause.expires_at, Some(pause.paused_at + Duration::from_secs(60)));
    /// # });
    /// ```
    pub fn pause_state(&self) -> Option<PauseState> {
        self.node().pause_state()
    }

    /// Yields the answer to the last pause of the run; none while it is paused, and if it never
    /// was. A run that has ended has it as long as it is in memory.
    pub fn last_answer(&self) -> Option<Payload> {
        self.node().resumed().1.filter(|_| self.status() != RunStatus::Paused)
    }

    /// Yields the number of the attempt that the run is in, waits for, or was in last, from 1:
    /// that of [`RunContext::attempt`](crate::RunContext::attempt).
    pub fn attempt(&self) -> u32 {
        let node = self.node();
        node.attempt().saturating_add(node.resumed().0)
    }

    /// Waits until the run is paused, and yields what it asks; none if it ends instead. With a
    /// store it waits until the pause is stored, or the store is in trouble or has refused it:
    /// [`stored`](Self::stored) tells which.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn paused(&self) -> Option<Payload> {
        let look = |state: &State| match state.pause_request() {
            Some(request) => self.node().stored(state).map(|_| Some(request.clone())),
            None => state.is_ended().then_some(None),
        };
        Wait::until(self.node(), look).await
    }
}
