//! What code of a user does where it runs: looks around, and makes its call.

use std::any::Any;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use quell::{
    CancelRequest, Engine, Failure, RunContext, RunFilter, RunHandle, RunRef, RunSpec, RunStatus,
    Shutdown, Usage, Work,
};
use tokio::sync::{oneshot, watch};

use super::Shared;
use crate::support::{listener, ms, secs};

/// Yields how many locks of the engine this thread holds. They are counted only in the instrumented
/// copy of the engine, for which `mutations` replaces this line.
const LOCKS_HELD: fn() -> usize = || 0;

/// A call that code of a user may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Nothing,
    Emit,
    SetOutput,
    Spawn,
    Submit,
    CancelSelf,
    CancelParent,
    CancelOther,
    CancelAll,
    DropFailed,
    Report,
    Register,
    RegisterForTheEnd,
    Listen,
    Detach,
    Hold,
    Use,
    Subscribe,
    Forget,
    Shutdown,
    Panic,
    Block,
}

impl Call {
    pub(super) const ALL: &[Self] = &[
        Self::Nothing,
        Self::Emit,
        Self::SetOutput,
        Self::Spawn,
        Self::Submit,
        Self::CancelSelf,
        Self::CancelParent,
        Self::CancelOther,
        Self::CancelAll,
        Self::DropFailed,
        Self::Report,
        Self::Register,
        Self::RegisterForTheEnd,
        Self::Listen,
        Self::Detach,
        Self::Hold,
        Self::Use,
        Self::Subscribe,
        Self::Forget,
        Self::Shutdown,
        Self::Panic,
        Self::Block,
    ];
}

/// Acts once, wherever it is asked to first.
pub(super) struct Actor {
    call: Call,
    engine: Mutex<Option<Engine>>,
    /// The run whose code it is.
    ctx: OnceLock<RunContext>,
    /// A run of another tree.
    other: RunRef,
    other_ctx: Mutex<Option<RunContext>>,
    /// The handle of a child that has failed.
    failed: Mutex<Option<RunHandle<()>>>,
    acted: AtomicUsize,
    /// The call has returned, or panicked.
    done: AtomicBool,
    faults: Shared<Vec<String>>,
    /// Futures and streams whose wakers are registered.
    kept: Mutex<Vec<Box<dyn Any + Send>>>,
    /// The body waits for its end.
    set: AtomicBool,
    /// Those outside have looked at the run.
    pub(super) let_go: watch::Sender<bool>,
}

impl Actor {
    pub(super) async fn new(engine: &Engine, call: Call) -> Arc<Self> {
        let (tell, told) = oneshot::channel();
        let other = engine.submit(RunSpec::agent("other"), async move |ctx| {
            drop(tell.send(ctx.clone()));
            listener(ctx).await
        });
        let other_ctx = told.await.expect("it says who it is");
        let other = other.expect("it is accepted");
        Arc::new(Self {
            call,
            engine: Mutex::new(Some(engine.clone())),
            ctx: OnceLock::new(),
            other: other.into_ref(),
            other_ctx: Mutex::new(Some(other_ctx)),
            failed: Mutex::default(),
            acted: AtomicUsize::new(0),
            done: AtomicBool::new(false),
            faults: Shared::default(),
            kept: Mutex::default(),
            set: AtomicBool::new(false),
            let_go: watch::channel(false).0,
        })
    }

    /// Gives the actor its run, and the handle of a child of it that has failed.
    pub(super) async fn take_seat(&self, ctx: &RunContext) {
        let failed = ctx.spawn(RunSpec::step("fails"), async |_| Err(Failure::new("planned")));
        failed.ended().await;
        *self.failed() = Some(failed);
        drop(self.ctx.set(ctx.clone()));
    }

    /// Keeps a future as it is.
    pub(super) fn keep(&self, what: impl Any + Send) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(what));
    }

    pub(super) fn set(&self) {
        self.set.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_set(&self) -> bool {
        self.set.load(Ordering::SeqCst)
    }

    /// Waits until those outside have looked at the run.
    pub(super) async fn stand_by(&self) {
        let mut go = self.let_go.subscribe();
        drop(go.wait_for(|go| *go).await);
    }

    fn failed(&self) -> MutexGuard<'_, Option<RunHandle<()>>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Foreign code runs here.
    pub(super) fn act(&self) {
        self.look_around();
        if self.acted.fetch_add(1, Ordering::SeqCst) == 0 {
            let _done = Done(&self.done);
            self.make_call();
        }
    }

    fn look_around(&self) {
        let thread = std::thread::current();
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.name() == Some("quell-control") {
            faults.push("it ran on the control thread".to_owned());
        }
        let locks = LOCKS_HELD();
        if locks > 0 {
            faults.push(format!("it ran under {locks} locks of the engine"));
        }
    }

    fn make_call(&self) {
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // At the end of everything its own run is gone.
        let other = || self.other_ctx.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let ctx = self.ctx.get().cloned().or_else(other);
        let (Some(ctx), Some(engine)) = (ctx, engine) else { return };
        let because = |words: &str| CancelRequest::because(words);
        match self.call {
            Call::Nothing => {}
            Call::Emit => drop(ctx.emit("foreign")),
            Call::SetOutput => drop(ctx.set_output("foreign".into())),
            Call::Spawn => {
                drop(ctx.spawn(RunSpec::step("spawned"), async |_| Ok(())).into_ref());
            }
            Call::Submit => drop(engine.submit(RunSpec::agent("new"), async |_| Ok(()))),
            Call::CancelSelf => drop(ctx.run().cancel(because("foreign"))),
            Call::CancelParent => {
                let parent = ctx.run().parent();
                drop(parent.map(|parent| parent.cancel(because("foreign"))));
            }
            Call::CancelOther => drop(self.other.cancel(because("foreign"))),
            Call::CancelAll => drop(engine.cancel_where(&RunFilter::new(), because("foreign"))),
            Call::DropFailed => {
                let failed = self.failed().take();
                drop(failed);
            }
            Call::Report => {
                for run in engine.runs(&RunFilter::new()) {
                    drop((run.report(), run.row(), run.children(), run.status()));
                }
            }
            Call::Register => ctx.on_stop(async |_| {}),
            Call::RegisterForTheEnd => ctx.on_end(async |_| {}),
            Call::Listen => {
                let _ = (ctx.is_stopping(), ctx.checkpoint(), ctx.deadline());
                drop(ctx.cancellation_token());
            }
            Call::Detach => drop(ctx.run().detach()),
            Call::Hold => drop(ctx.hold(Work::Blocking, "foreign")),
            Call::Use => drop(ctx.usage(Usage { output_tokens: 1, ..Usage::default() })),
            Call::Subscribe => {
                let mut events = ctx.run().events();
                drop(poll(events.next()));
                let mut all = engine.events();
                drop(poll(all.next()));
            }
            Call::Forget => drop(engine.forget(self.other.id())),
            Call::Shutdown => drop(poll(engine.shutdown(Shutdown::default()))),
            // As `panic!`, and prints nothing: it is planned.
            Call::Panic => resume_unwind(Box::new("foreign code panics")),
            Call::Block => self.block(&engine),
        }
    }

    /// Blocks until the deadline of another run has fired, which needs no worker.
    fn block(&self, engine: &Engine) {
        let far = Instant::now() + secs(3600);
        let spec = RunSpec::agent("canary").not_before(far).start_within(ms(20));
        let Ok(canary) = engine.submit(spec, async |_| Ok(())) else { return };
        let since = Instant::now();
        while canary.run().status() == RunStatus::Queued {
            if since.elapsed() > BLOCKED_MAX {
                let words = "the deadline of another run waited for it".to_owned();
                self.faults.lock().unwrap_or_else(PoisonError::into_inner).push(words);
                return;
            }
            std::thread::sleep(ms(1));
        }
    }

    /// Waits until the code has run, for a while, and says whether it has.
    pub(super) async fn acted(&self) -> bool {
        let since = Instant::now();
        while !self.done.load(Ordering::SeqCst) {
            if since.elapsed() > secs(10) {
                return false;
            }
            tokio::time::sleep(ms(1)).await;
        }
        true
    }

    /// Lets go of what it holds of the engine.
    pub(super) fn leave(&self) {
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner).take();
        let failed = self.failed().take();
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        let other = self.other_ctx.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop((engine, failed, kept, other));
    }

    pub(super) fn faults(&self) -> Result<(), String> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.first().map_or(Ok(()), |fault| Err(fault.clone()))
    }
}

/// Says that a call is over, also when it panics.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Polls a future once, and gives it up.
fn poll<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    match future.poll_unpin(&mut cx) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

const BLOCKED_MAX: Duration = secs(10);
