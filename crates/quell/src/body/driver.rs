//! [`spawn`] starts the one task of a run: it polls the body, catches its panics and reports its
//! end.
//!
//! The task itself is never aborted. An abort sets a flag of the node and wakes the task; the task
//! drops the future in place, and reports the end after the destructors have run: a quiescent run
//! has no destructor running (I4). A body that does not return from its poll cannot be dropped; the
//! ladder abandons it.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use quell_core::Payload;
use quell_core::lifecycle::{BodyEnd, Input};
use tracing::Span;
use tracing::field::Empty;
use tracing::level_filters::LevelFilter;

use crate::body::context::RunContext;
use crate::failure::Failure;
use crate::foreign::{self, RunSpan, in_span};
use crate::node::{Node, Reader, State, flags};
use crate::pause::PauseError;
use crate::step::StopOrigin;

/// Spawns the task of a run.
pub(crate) fn spawn<T, F, Fut>(node: &Arc<Node>, body: F)
where
    F: FnOnce(RunContext) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    T: Send + 'static,
{
    spawn_attempt(node, body, false);
}

/// As [`spawn`], for a run whose next body can be made.
pub(crate) fn spawn_resumable<T, F, Fut>(node: &Arc<Node>, body: F)
where
    F: FnOnce(RunContext) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    T: Send + 'static,
{
    spawn_attempt(node, body, true);
}

fn spawn_attempt<T, F, Fut>(node: &Arc<Node>, body: F, is_resumable: bool)
where
    F: FnOnce(RunContext) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    T: Send + 'static,
{
    // Make the guard before the task: it reports the end of the run even if the runtime is gone and
    // drops the task unpolled.
    let span = span_of(node);
    if let Some(span) = &span {
        node.keep_span(span.clone());
    }
    let guard = Guard { node: Arc::clone(node), span, reported: false, is_resumable };
    let task = drive(body, guard);
    #[cfg(not(quell_loom))]
    drop(node.shared.runtime.spawn(task));
    #[cfg(quell_loom)]
    crate::sync::start(task);
}

/// Makes the span of a run, if a subscriber wants one. If the subscriber panics, the run goes on
/// without a span: it is accepted already.
///
/// It is a child of the span in which the run is submitted. A child that is spawned outside of any
/// span, by a task of its own say, is in that of its parent.
fn span_of(node: &Node) -> Option<RunSpan> {
    let make = || {
        tracing::info_span!(
            "run",
            run.uuid = %node.id,
            run.kind = %node.kind,
            run.name = %node.name,
            run.owner = node.owner().map(|owner| &**owner),
            run.status = Empty,
            run.cause = Empty,
        )
    };
    if node.is_root() || LevelFilter::current() < LevelFilter::INFO {
        return RunSpan::new(make);
    }
    RunSpan::new(|| {
        let above = if Span::current().is_none() { node.span_above() } else { None };
        in_span(above.as_ref(), make)
    })
}

/// What the task of a run does.
///
/// The future of the body is made in the place in which it stays, so that the task is hardly larger
/// than that future.
#[expect(clippy::manual_async_fn, reason = "an `async fn` holds its arguments twice")]
fn drive<T, F, Fut>(body: F, mut guard: Guard) -> impl Future<Output = ()> + Send
where
    F: FnOnce(RunContext) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    T: Send + 'static,
{
    async move {
        // A block drops its captures in the order in which it first names them. If the task never
        // runs, the guard must report the end after the body's destructors.
        let _ = (&body, &guard);
        let started = poll_fn(|cx| {
            let (node, turn) = (&guard.node, cx.waker());
            // A start that is to be stored first waits for a second turn.
            if !node.poll_turn(turn) || node.stores_start() && !node.poll_turn(turn) {
                return Poll::Pending;
            }
            Poll::Ready(node.why_not_started().is_none() && start(node, turn))
        });
        if !started.await {
            // Refused by the store, or stopped before the start: the body's destructors still run
            // on its runtime (I21).
            let refused = guard.node.why_not_started();
            let dropped = guard.call(|| drop(body));
            let end = refused.map_or(End::Dropped, |error| End::Returned(Err(error)));
            return guard.report::<T>(end, dropped.err());
        }
        let mut slot = pin!(None);
        match guard.call(|| body(RunContext::new(Arc::clone(&guard.node)))) {
            Ok(future) => slot.set(Some(future)),
            Err(panic) => return guard.report(End::<T>::Panicked(panic), None),
        }
        let end = poll_fn(|cx| match slot.as_mut().as_pin_mut() {
            Some(future) => poll_body(&guard, future, cx),
            None => Poll::Ready(End::Dropped),
        });
        let end = end.await;
        // Drop the future before the end is reported: its destructors are part of the run (I4).
        let dropped = guard.call(|| slot.set(None));
        guard.report(end, dropped.err());
    }
}

/// Polls a body, unless it is to be dropped.
fn poll_body<T, Fut>(guard: &Guard, future: Pin<&mut Fut>, cx: &mut Context<'_>) -> Poll<End<T>>
where
    Fut: Future<Output = Result<T, Failure>>,
{
    let node = &guard.node;
    let bits = node.flags();
    if bits & flags::DROP != 0 {
        return Poll::Ready(End::Dropped);
    }
    // Decide before the poll: children that end during it are news that the body has yet to see.
    let is_last = node.is_last_poll(bits);
    match guard.call(|| future.poll(cx)) {
        Ok(Poll::Ready(result)) => return Poll::Ready(End::Returned(result)),
        Err(panic) => return Poll::Ready(End::Panicked(panic)),
        Ok(Poll::Pending) if is_last => return Poll::Ready(End::Dropped),
        Ok(Poll::Pending) => {}
    }
    if node.flags() & flags::PARKED == 0
        && let Some(listens) = node.park()
    {
        // The run was stopped during the first poll. Whether the body asked about stops in that
        // poll decides whether it has the grace.
        node.apply(Input::Judged { listens }, StopOrigin::default(), |_, _| {});
    }
    // An abort during the poll takes effect now, not at the next wake-up.
    if node.flags() & flags::DROP != 0 { Poll::Ready(End::Dropped) } else { Poll::Pending }
}

fn start(node: &Arc<Node>, waker: &Waker) -> bool {
    node.ask_tokens();
    let keep = |state: &mut State, fx: &quell_core::lifecycle::Effects| {
        if !fx.refused {
            state.body = Some(waker.clone());
        }
    };
    !node.apply(Input::Started, StopOrigin::default(), keep).refused
}

/// How a body ended, with what it left.
enum End<T> {
    Returned(Result<T, Failure>),
    Panicked(Failure),
    Dropped,
}

/// Reports the end of a body, also when its runtime drops the task.
struct Guard {
    node: Arc<Node>,
    /// The span of the run, if a subscriber wants it. One word: `Instrumented` would add five to
    /// every task.
    span: Option<RunSpan>,
    /// Whether the end was reported; if not, dropping the guard reports it.
    reported: bool,
    /// Whether the run has what makes the body of another attempt.
    is_resumable: bool,
}

impl Guard {
    /// Calls the body's code in the span of the run. A panic of the subscriber is the subscriber's.
    fn call<R>(&self, code: impl FnOnce() -> R) -> Result<R, Failure> {
        in_span(self.span.as_ref(), || foreign::catch_panic(code))
    }

    fn report<T: Send + 'static>(&mut self, end: End<T>, panic: Option<Failure>) {
        self.reported = true;
        let has_returned = matches!(end, End::Returned(_)) && panic.is_none();
        let (mut value, mut failure, mut how) = match end {
            End::Returned(Ok(value)) => (Some(value), None, BodyEnd::Ok),
            End::Returned(Err(failure)) => (None, Some(failure), BodyEnd::Err),
            End::Panicked(panic) => (None, Some(panic), BodyEnd::Err),
            End::Dropped => (None, None, BodyEnd::Dropped),
        };
        let mut second = None;
        if let Some(panic) = panic {
            second = keep(&mut failure, Some(panic));
            how = if how == BodyEnd::Ok { BodyEnd::Err } else { how };
        }
        if has_returned && let Some(error) = &failure {
            how = self.end_of_attempt(error).unwrap_or_else(|refused| {
                failure = Some(refused);
                BodyEnd::Err
            });
        }
        // The report shows the value as well if the run does not complete.
        let returned =
            value.as_ref().and_then(|value| (value as &dyn Any).downcast_ref::<Payload>().cloned());
        if let (Some(payload), true) = (&returned, self.node.shared.journal.is_some()) {
            // Its text is written now, by the body, and not when it is stored.
            let _ = self.call(|| payload.len());
        }
        let bits = self.node.flags();
        let (unread, over) =
            (bits & flags::VALUE_UNCLAIMED != 0, flags::status(bits).is_terminal());
        let late = over && value.is_some();
        if (unread || over) && value.is_some() {
            // No caller can read the value any more. Drop it here: its destructor is the body's
            // code, and its panic counts as the run's failure.
            let dropped = self.call(|| drop(value.take()));
            second = second.or(keep(&mut failure, dropped.err()));
        }
        let value = value.map(|value| Box::new(value) as Box<dyn Any + Send>);
        self.tell(how, Returned { value, payload: returned, late, second }, failure);
    }

    /// Tells what comes of a body that has returned an error: a pause, if that was asked for. Fails
    /// with another error if it was asked for and cannot be.
    fn end_of_attempt(&self, error: &Failure) -> Result<BodyEnd, Failure> {
        if self.is_resumable {
            return Ok(self.node.end_of_attempt(error));
        }
        if self.node.is_root() && error.pause_asked().is_some() {
            return Err(PauseError::NotResumable.into());
        }
        Ok(BodyEnd::Err)
    }

    /// Reports the end, in the span of the run.
    fn tell(&mut self, how: BodyEnd, returned: Returned, mut failure: Option<Failure>) {
        if matches!(how, BodyEnd::Paused { .. }) {
            // It is no failure, whatever comes of the pause.
            let _ = self.call(|| drop(failure.take()));
        } else if self.is_resumable {
            // There is no other attempt. What would have made its body is dropped before this one
            // is reported (I4).
            let maker = self.node.lock().take_maker();
            let _ = self.call(|| drop(maker));
        }
        let _ = self.call(|| report(&self.node, how, returned, failure));
        // Now, and not when the task is dropped: nothing of the body executes any more.
        drop(self.span.take());
    }
}

/// Keeps the panic of a destructor as the failure, if there is none yet; otherwise yields it.
fn keep(failure: &mut Option<Failure>, panic: Option<Failure>) -> Option<Failure> {
    if failure.is_some() {
        return panic;
    }
    *failure = panic;
    None
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.reported {
            let gone = Failure::new("runtime of the body has shut down");
            self.tell(BodyEnd::Err, Returned::default(), Some(gone));
        }
    }
}

/// What a body has returned.
#[derive(Default)]
struct Returned {
    value: Option<Box<dyn Any + Send>>,
    /// The same, if it is a payload.
    payload: Option<Payload>,
    /// The value came after the end of the run, and is gone.
    late: bool,
    /// The panic of a destructor, after the body had failed already.
    second: Option<Failure>,
}

fn report(node: &Arc<Node>, how: BodyEnd, returned: Returned, failure: Option<Failure>) {
    let Returned { value, payload, late, second } = returned;
    // A value that comes too late, and an error that is replaced. Their destructors are foreign
    // code: they are dropped after the lock is released.
    let mut unwanted = (None, None, None);
    let cleanup = failure.as_ref().filter(|failure| failure.stopped().is_none());
    let cleanup = cleanup.map(Failure::to_string);
    let second = second.map(|panic| panic.to_string());
    let mut is_late = false;
    let how = if failure.is_some() && how == BodyEnd::Ok { BodyEnd::Err } else { how };
    node.apply(Input::BodyEnded(how), StopOrigin::default(), |state, _| {
        if state.reader != Reader::Held {
            state.body = None;
        }
        if state.times.ended.is_some() {
            // The body was abandoned: what it returns after the end is counted and refused (I4).
            node.note_late(state, u32::from(late || value.is_some()));
            is_late = true;
            unwanted = (value, failure, payload);
            return;
        }
        if state.reader == Reader::Held {
            state.value = value;
        } else {
            unwanted.0 = value;
        }
        unwanted.2 = payload.and_then(|payload| node.keep_returned(state, payload));
        let Some(failure) = failure else { return };
        if state.life.is_stopping()
            && let Some(words) = &cleanup
        {
            state.note_cleanup_error(words);
        }
        if let Some(words) = &second {
            state.note_cleanup_error(words);
        }
        unwanted.1 = state.failure.replace(failure);
    });
    foreign::release(unwanted);
    if is_late {
        cleanup.iter().chain(&second).for_each(|error| node.trace_late_error(error));
    }
}
