//! [`Engine::submit_resumable`] submits a run that may be paused; [`RunRef::pause`] and
//! [`RunRef::resume`] pause it and give it its answer.

use std::future::Future;
use std::sync::Arc;

use quell_core::{Payload, RunId};

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
}

/// Starts an attempt, and keeps what starts the next one.
fn start<T, F, Fut>(node: &Arc<Node>, body: Arc<F>)
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
        self.node().resume(answer.into())
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

    /// Yields the number of the attempt that the run is in, waits for, or was in last, from 1:
    /// that of [`RunContext::attempt`](crate::RunContext::attempt).
    pub fn attempt(&self) -> u32 {
        let node = self.node();
        node.attempt().saturating_add(node.resumed().0)
    }

    /// Waits until the run is paused, and yields what it asks; none if it ends instead.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn paused(&self) -> Option<Payload> {
        let look = |state: &State| match state.pause_request() {
            Some(request) => Some(Some(request.clone())),
            None => state.is_ended().then_some(None),
        };
        Wait::until(self.node(), look).await
    }
}
