//! [`RunContext`] is what a body sees of its run.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Instant, SystemTime};

use quell_core::lifecycle::Input;
use quell_core::{Cause, Payload, RunId, Stopped, Usage, Work};
use tokio_util::sync::CancellationToken;

use crate::body::driver;
use crate::body::tool::ToolCall;
use crate::body::work::BlockingContext;
use crate::failure::{Elapsed, Failure};
use crate::handle::RunHandle;
use crate::marks::shield;
use crate::node::outputs::Said;
use crate::node::wait::Wait;
use crate::node::write::Written;
use crate::node::{Node, State};
use crate::run::RunRef;
use crate::spec::RunSpec;
use crate::step::StopOrigin;
use crate::step::hold::Hold;

/// What a body sees of its run: it spawns children, emits, and learns that it should stop.
///
/// One word, `Clone`: an `async move` block keeps it without lifetimes. Asking about stops in any
/// way makes the body a *listener*: it gets the grace when a stop comes. A body that never asks is
/// dropped at its next await at once.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use quell::{CancelRequest, Engine, Outcome, RunSpec, Stopped};
///
/// let engine = Engine::new();
/// let run = engine.submit(RunSpec::step("draw"), async |ctx| {
///     let mut tiles = 0;
///     while ctx.run_until_stopped(tokio::task::yield_now()).await.is_ok() {
///         tiles += 1;
///         if tiles == 3 {
///             ctx.run().cancel(CancelRequest::because("three will do"));
///         }
///     }
///     Ok(tiles)
/// }).unwrap();
/// assert!(matches!(run.outcome().await, Outcome::Stopped { partial: Some(3), .. }));
/// # });
/// ```
#[derive(Clone)]
pub struct RunContext {
    run: RunRef,
}

impl RunContext {
    pub(crate) const fn new(node: Arc<Node>) -> Self {
        Self { run: RunRef::new(node) }
    }

    pub(crate) const fn node(&self) -> &Arc<Node> {
        self.run.node()
    }

    /// Yields the run itself.
    pub const fn run(&self) -> &RunRef {
        &self.run
    }

    /// Yields the id of the run.
    pub fn id(&self) -> RunId {
        self.node().id
    }

    /// Yields the input of the run.
    pub fn input(&self) -> Option<&Payload> {
        self.run.input()
    }

    /// Starts a child. It ends before its parent does, and is stopped with it.
    ///
    /// Never refused at the call: when the run is stopping, or a bound is reached, nothing is
    /// started or recorded and the handle yields why. A child that fails while nobody holds its
    /// handle fails the parent.
    pub fn spawn<T, F, Fut>(&self, spec: RunSpec, body: F) -> RunHandle<T>
    where
        F: FnOnce(Self) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Send + 'static,
    {
        let (kind, name) = (spec.kind, Arc::clone(&spec.name));
        match self.node().shared.accept_child(spec, self.node()) {
            Ok(node) => {
                driver::spawn(&node, body);
                RunHandle::new(node)
            }
            Err(refusal) => RunHandle::refused(self.node(), RunSpec::new(kind, name), refusal),
        }
    }

    /// Tells whether the run is to stop: a stop was accepted, or the body has failed and what it
    /// has left behind, a hold or a closure, is to give way. One atomic load after the first call.
    pub fn is_stopping(&self) -> bool {
        self.node().listen()
    }

    /// Fails when the run is to stop, now and at every later call. A stop that was asked for
    /// `after_step` takes hold here.
    ///
    /// # Errors
    ///
    /// Fails with the cause of the stop.
    pub fn checkpoint(&self) -> Result<(), Stopped> {
        let node = self.node();
        if !node.is_called_on() {
            return Ok(());
        }
        node.apply(Input::Checkpoint, StopOrigin::default(), |_, _| {});
        if node.listen() { Err(node.refusal(&node.lock())) } else { node.meet_pause() }
    }

    /// Waits until the run is to stop, or its body has failed, and yields why.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is lost, the next call sees the same stop.
    pub async fn stopped(&self) -> Arc<Cause> {
        self.node().listen();
        Wait::until(self.node(), State::cause_to_give_way).await
    }

    /// Runs a future until it ends or the run is to stop; then the future is dropped. A stop that
    /// is there already wins.
    ///
    /// # Errors
    ///
    /// Fails with the cause of the stop.
    ///
    /// # Cancel safety
    ///
    /// As cancel safe as the future.
    pub async fn run_until_stopped<F: Future>(&self, future: F) -> Result<F::Output, Stopped> {
        let mut stopped = pin!(self.stopped());
        let mut future = pin!(future);
        poll_fn(|cx| {
            // The stop first: a future that is always ready must not hide it.
            if let Poll::Ready(cause) = stopped.as_mut().poll(cx) {
                return Poll::Ready(Err(Stopped { cause }));
            }
            future.as_mut().poll(cx).map(Ok)
        })
        .await
    }

    /// Runs a section of cleanup that a stop does not interrupt before the hard deadline. What it
    /// spawns passes the fence. It never hides [`is_stopping`](Self::is_stopping).
    ///
    /// # Errors
    ///
    /// Fails when the hard deadline comes first; the future is dropped.
    ///
    /// # Cancel safety
    ///
    /// As cancel safe as the future.
    pub async fn shield<F: Future>(&self, future: F) -> Result<F::Output, Elapsed> {
        let node = self.node();
        node.listen();
        let mut over = pin!(Wait::until(node, |state| state.life.is_aborting().then_some(())));
        let mut future = pin!(future);
        poll_fn(|cx| {
            // Work that is through at the deadline counts: the future first.
            if let Poll::Ready(output) = shield::poll(node.id, future.as_mut(), cx) {
                return Poll::Ready(Ok(output));
            }
            over.as_mut().poll(cx).map(|()| Err(Elapsed))
        })
        .await
    }

    /// Runs a closure on a thread where it may block. The closure can ask
    /// [`BlockingContext::is_stopping`]; one that does not come back is abandoned and named when
    /// the ladder is exhausted.
    ///
    /// # Errors
    ///
    /// Fails when the run is to stop: the closure is not started.
    ///
    /// # Panics
    ///
    /// Panics with the panic of the closure.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped, it loses the value; a closure that has started goes on, and the
    /// run waits for it.
    #[track_caller]
    pub fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(BlockingContext) -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, Stopped>> {
        crate::body::work::spawn_blocking(self, None, Location::caller(), work)
    }

    /// As [`spawn_blocking`](Self::spawn_blocking), with a name by which
    /// [`abandoned`](crate::RunReport::abandoned) lists the closure; without one it has that of the
    /// run. A name over 1 KiB is cut at a character and marked with `…`.
    ///
    /// # Errors
    ///
    /// Fails when the run is to stop: the closure is not started.
    ///
    /// # Panics
    ///
    /// Panics with the panic of the closure.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped, it loses the value; a closure that has started goes on, and the
    /// run waits for it.
    #[track_caller]
    pub fn spawn_blocking_named<T: Send + 'static>(
        &self,
        name: impl Into<Arc<str>>,
        work: impl FnOnce(BlockingContext) -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, Stopped>> {
        let name = Some(name.into());
        crate::body::work::spawn_blocking(self, name, Location::caller(), work)
    }

    /// Keeps the run from being quiescent until the hold is dropped: for work outside the body's
    /// future. A name over 1 KiB is cut at a character and marked with `…`.
    ///
    /// # Errors
    ///
    /// Fails when the run is to stop: the work must not start.
    #[track_caller]
    pub fn hold(&self, what: Work, name: impl Into<Arc<str>>) -> Result<Hold, Stopped> {
        self.node().listen();
        Hold::new(self.node(), what, name.into(), Location::caller())
    }

    /// Sets the output; the last one before the end counts. In the report it is `output` if the
    /// run completed, else `partial`. At most 16 MiB; a larger one is refused.
    pub fn set_output(&self, output: Payload) -> Written {
        self.node().write_kept(Said::Output, output)
    }

    /// Sets what the report says as `summary`, beside the output: for a run that decides over
    /// others, how it came to its outcome. The last one before the end counts. At most 16 MiB; a
    /// larger one is refused.
    pub fn set_summary(&self, summary: Payload) -> Written {
        self.node().write_kept(Said::Summary, summary)
    }

    /// Sets as summary what `change` makes of the one that is set. It is called again if another
    /// thread sets one meanwhile, so that nothing is lost. A panic of it changes nothing.
    ///
    /// A summary of the same run that `change` itself sets is replaced by what it returns. It must
    /// not wait for another thread that sets one: it would be called again without an end.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell::{Payload, RunContext};
    ///
    /// fn count(ctx: &RunContext) {
    ///     ctx.update_summary(|before| {
    ///         let count: u32 = before.map_or(0, |before| before.parse().unwrap_or(0));
    ///         Payload::json(&(count + 1)).unwrap_or_else(|_| "many".into())
    ///     });
    /// }
    /// ```
    pub fn update_summary(&self, change: impl FnMut(Option<&Payload>) -> Payload) -> Written {
        self.node().update_summary(change)
    }

    /// Writes [`EventKind::Decided`](crate::EventKind::Decided): for a run that decides over
    /// others, once, when its outcome is known. A name over 1 KiB is cut at a character and marked
    /// with `…`.
    ///
    /// # Errors
    ///
    /// Fails, and writes nothing, when nothing may start in the run any more: a stop was accepted,
    /// its body has failed, the hooks of its end run, or it has ended. It does not make the body a
    /// listener.
    pub fn emit_decided(
        &self,
        decided_at: SystemTime,
        decided_by: Option<Arc<str>>,
    ) -> Result<(), Stopped> {
        self.node().write_decided(decided_at, decided_by).map_or(Ok(()), Err)
    }

    /// Writes [`EventKind::Skipped`](crate::EventKind::Skipped): for a run that decides over
    /// others, for each that never starts because one that it needs did not complete. Cuts names
    /// as [`emit_decided`](Self::emit_decided).
    pub fn emit_skipped(&self, name: Arc<str>, unmet: Arc<str>) -> Written {
        self.node().write_skipped(name, unmet)
    }

    /// Writes [`EventKind::Settled`](crate::EventKind::Settled): for a run that decides over
    /// others, once, when all of them have ended.
    pub fn emit_settled(&self, settled_at: SystemTime) -> Written {
        self.node().write_settled(settled_at)
    }

    /// Tells whether every reader of the tree's events has read all of them and waits for more.
    /// True if nobody reads.
    ///
    /// Emitting never waits: a body that has much to say may ask, and go more slowly while readers
    /// are behind. One that does not read at all is behind for ever.
    pub fn is_read(&self) -> bool {
        self.node().log().lock().entries.is_read()
    }

    /// Emits a value into the log. At most 256 KiB; a larger one is refused.
    pub fn emit(&self, payload: impl Into<Payload>) -> Written {
        self.node().write_emitted(payload.into())
    }

    /// Runs a tool call: records that it begins and, exactly once, how it ended, also when the body
    /// is dropped or abandoned within it. Input and recorded output are at most 256 KiB, the id of
    /// the call and the name of the tool 1 KiB each; what is larger fails the call, but an output,
    /// which is returned and not recorded.
    ///
    /// A call that gives way to a stop, or is dropped, is `Cancelled` only if nothing that was
    /// started inside it still executes; otherwise it is `Unknown`. Inside is, as with a shield,
    /// what the future does itself: a closure, a hold, a process or a child that it starts, but not
    /// what a task that it spawns starts in turn.
    ///
    /// # Errors
    ///
    /// Fails with the failure of the future, and with `Stopped` when the run is to stop: the
    /// future is then not polled.
    ///
    /// # Cancel safety
    ///
    /// As cancel safe as the future; dropped, the call is recorded as cancelled or unknown.
    pub async fn tool<F>(&self, call: ToolCall, future: F) -> Result<Payload, Failure>
    where
        F: Future<Output = Result<Payload, Failure>>,
    {
        crate::body::tool::run(self, call, future).await
    }

    /// Says how far the body has come, from 0 to 1; beyond is cut, no number is 0.
    pub fn progress(&self, fraction: f32) -> Written {
        let fraction = if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) };
        self.node().write_progress(fraction)
    }

    /// Says what the body used. It counts for this run and every run above it, whatever the status;
    /// a run that has used more than its [`budget`](RunSpec::budget) is stopped when this returns.
    ///
    /// After the end it is late, and counts for the nearest run above that has not ended.
    pub fn usage(&self, used: Usage) -> Written {
        crate::body::usage::count(self.node(), used)
    }

    /// Yields a token that is cancelled when the run is to stop, or its body has failed, for code
    /// that knows tokio-util.
    /// Cancelling it does not stop the run.
    pub fn cancellation_token(&self) -> CancellationToken {
        let node = self.node();
        node.listen();
        let (token, stopping) = {
            let mut state = node.lock();
            let stopping = state.cause_to_give_way().is_some();
            let own = state.extra().token.get_or_insert_default();
            (own.child_token(), stopping.then(|| own.clone()))
        };
        if let Some(own) = stopping {
            own.cancel();
        }
        token
    }

    /// Yields the instant by which the body has to be through: before a stop the earliest timeout
    /// of the run and its ancestors as they are now, after it the hard deadline. In hooks of a run
    /// that was not stopped it is the end of their time, if that is earlier. Costs a lock for each
    /// ancestor: what asks often keeps the answer.
    pub fn deadline(&self) -> Option<Instant> {
        let (is_stopping, hard) = {
            let state = self.node().lock();
            (state.life.is_stopping(), state.life.hard_deadline())
        };
        if is_stopping { hard } else { self.node().deadline().into_iter().chain(hard).min() }
    }
}

impl fmt::Debug for RunContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RunContext").field(self.node()).finish()
    }
}
