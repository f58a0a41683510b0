//! The one task of a run: polls the body, catches its panics, reports its end.
//!
//! The task itself is never aborted. To abort a body is to set a bit of its node's word and wake
//! the task, which then drops the future in place and reports the end when the destructors have
//! run: quiescent means that they have run too (I4). A body that does not come back from its poll
//! cannot be dropped; the ladder abandons it.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

use quell_core::lifecycle::{BodyEnd, Input};
use tracing::Instrument as _;

use crate::context::RunContext;
use crate::failure::{Failure, RunError, RunFailure};
use crate::faults;
use crate::foreign;
use crate::handle::Reader;
use crate::node::{Node, State};
use crate::step::Note;
use crate::word;

/// Spawns the task of a run.
pub(crate) fn spawn<T, F, Fut>(node: &Arc<Node>, body: F)
where
    F: FnOnce(RunContext) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    T: Send + 'static,
{
    let span = tracing::info_span!(
        "run", run.id = %node.id, run.kind = %node.kind, run.name = %node.name
    );
    let runtime = node.shared.runtime.clone();
    // The future is made before the task: it reports the end of the run even if it is dropped
    // unpolled, as by a runtime that is gone.
    let guard = Guard { node: Some(Arc::clone(node)) };
    drop(runtime.spawn(drive(body, guard).instrument(span)));
}

/// The arguments are in the order in which they are dropped when the task never runs: the guard
/// reports the end after the body's destructors.
async fn drive<T, F, Fut>(body: F, mut guard: Guard)
where
    F: FnOnce(RunContext) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    T: Send + 'static,
{
    let Some(node) = guard.node.clone() else { return };
    let started = poll_fn(|cx| {
        if node.poll_turn(cx.waker()) {
            Poll::Ready(start(&node, cx.waker()))
        } else {
            Poll::Pending
        }
    })
    .await;
    if !started {
        let dropped = foreign::call(|| drop(body));
        return guard.report(End::<T>::Dropped, dropped.err());
    }
    let context = RunContext::new(Arc::clone(&node));
    let future = match foreign::call(|| body(context)) {
        Ok(future) => future,
        Err(panic) => return guard.report(End::<T>::Panicked(panic), None),
    };
    let mut slot = pin!(Some(future));
    let end = poll_fn(|cx| {
        let bits = node.word();
        if bits & word::DROP != 0 {
            return Poll::Ready(End::Dropped);
        }
        let Some(future) = slot.as_mut().as_pin_mut() else { return Poll::Ready(End::Dropped) };
        match foreign::call(|| future.poll(cx)) {
            Ok(Poll::Ready(result)) => Poll::Ready(End::Returned(result)),
            Err(panic) => Poll::Ready(End::Panicked(panic)),
            Ok(Poll::Pending) if bits & word::POLL_DROP != 0 => Poll::Ready(End::Dropped),
            Ok(Poll::Pending) if node.word() & word::DROP != 0 => Poll::Ready(End::Dropped),
            Ok(Poll::Pending) => Poll::Pending,
        }
    })
    .await;
    if faults::on("end-before-destructors") {
        return guard.report(end, None);
    }
    let dropped = foreign::call(|| slot.set(None));
    guard.report(end, dropped.err());
}

fn start(node: &Arc<Node>, waker: &Waker) -> bool {
    let keep = |state: &mut State, fx: &quell_core::lifecycle::Effects| {
        if !fx.refused {
            state.body = Some(waker.clone());
        }
    };
    !node.apply(Input::Started, Note::default(), keep).refused
}

/// How a body ended, with what it left.
enum End<T> {
    Returned(Result<T, Failure>),
    Panicked(Failure),
    Dropped,
}

/// Reports the end of a body, also when its runtime drops the task.
struct Guard {
    node: Option<Arc<Node>>,
}

impl Guard {
    fn report<T: Send + 'static>(&mut self, end: End<T>, panic: Option<Failure>) {
        let Some(node) = self.node.take() else { return };
        let (mut value, mut failure, mut how) = match end {
            End::Returned(Ok(value)) => (Some(value), None, BodyEnd::Ok),
            End::Returned(Err(failure)) => (None, Some(failure), BodyEnd::Err),
            End::Panicked(panic) => (None, Some(panic), BodyEnd::Err),
            End::Dropped => (None, None, BodyEnd::Dropped),
        };
        if let Some(panic) = panic {
            failure.get_or_insert(panic);
            how = if how == BodyEnd::Ok { BodyEnd::Err } else { how };
        }
        let (unread, over) = {
            let state = node.lock();
            (state.reader != Reader::Held, state.times.ended.is_some())
        };
        let late = over && value.is_some();
        if (unread || over) && value.is_some() {
            // Nobody can read it any more, and its destructor is the body's code.
            let dropped = foreign::call(|| drop(value.take()));
            failure = failure.or(dropped.err());
        }
        let value = value.map(|value| Box::new(value) as Box<dyn Any + Send>);
        report(&node, how, value, failure, late);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            let gone = Failure::new("runtime of the body has shut down");
            report(&node, BodyEnd::Err, None, Some(gone), false);
        }
    }
}

fn report(
    node: &Arc<Node>,
    how: BodyEnd,
    value: Option<Box<dyn Any + Send>>,
    failure: Option<Failure>,
    was_late: bool,
) {
    let mut late = None;
    let how = if failure.is_some() && how == BodyEnd::Ok { BodyEnd::Err } else { how };
    node.apply(Input::BodyEnded(how), Note::default(), |state, _| {
        state.body = None;
        if state.times.ended.is_some() {
            // Abandoned: what it returns after the end is refused (I4).
            state.late += u32::from(was_late || value.is_some());
            late = value;
            return;
        }
        if state.reader == Reader::Held {
            state.value = value;
        } else {
            late = value;
        }
        let Some(failure) = failure else { return };
        if state.life.is_stopping() && failure.stopped().is_none() {
            state.note_cleanup_error(&failure.to_string());
        }
        state.failure = Some(failure);
    });
    drop(foreign::call(|| drop(late)));
}

/// The failure of a parent whose child failed with nobody to see it (D5).
pub(crate) fn failure_of_child(child: &Node) -> Failure {
    let failure = child.lock().failure.clone();
    let failure = failure.unwrap_or_else(|| Failure::new("no reason given"));
    Failure::from(RunError::Failed(RunFailure::new(child.id, Arc::clone(&child.name), failure)))
}
