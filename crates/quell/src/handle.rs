//! [`RunHandle`] is held by the caller that started a run: awaited, it yields the value.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use quell_core::lifecycle::Input;
use quell_core::{CancelRequest, Cause, Disposition, RunId, RunReport, RunStatus, Stopped};

use crate::failure::{Failure, RunError, RunFailure, SubmitError};
use crate::foreign;
use crate::node::{Node, Reader, State, flags};
use crate::run::RunRef;
use crate::spec::RunSpec;
use crate::step::StopOrigin;
use crate::step::submit::{Refusal, Superseded};
use crate::stream::EventStream;
use crate::sync::waiters::{Key, Offer};

/// The caller that started a run holds this: awaited, it yields the value of the body.
///
/// Dropped, it lets the run go on (D12). A child that fails while nobody holds its handle fails
/// its parent (D5): errors are never silent.
///
/// # Cancel safety
///
/// As a future it is cancel safe: the value is taken only when it is returned.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use quell::{Engine, RunSpec};
///
/// let engine = Engine::new();
/// let run = engine.submit(RunSpec::agent("adder"), async |_ctx| Ok(1 + 1)).unwrap();
/// assert_eq!(run.await.unwrap(), 2);
/// # });
/// ```
#[must_use = "dropping the handle of a child unread makes its failure its parent's"]
pub struct RunHandle<T> {
    run: RunRef,
    /// What hardly any handle has.
    rare: Option<Box<Rare>>,
    key: Key,
    read: bool,
    /// The value was taken out: nothing of this handle is left at the run.
    taken: bool,
    value: PhantomData<fn() -> T>,
}

/// What hardly any handle has.
#[derive(Default)]
struct Rare {
    /// Why the run was never accepted.
    refused: Option<SubmitError>,
    /// The runs whose place it has taken in its lane.
    superseded: Box<[RunRef]>,
}

/// How a run ended, with what its body returned.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "an embedder has to handle all three")]
pub enum Outcome<T> {
    /// The body returned this.
    Completed(T),
    /// The run was stopped.
    Stopped {
        /// Why.
        cause: Arc<Cause>,
        /// What the body still returned after the stop.
        partial: Option<T>,
    },
    /// The run failed, or was refused.
    Failed(RunError),
}

impl<T> Outcome<T> {
    /// Yields the value, whole or partial, if there is one.
    pub fn into_value(self) -> Option<T> {
        match self {
            Self::Completed(value) => Some(value),
            Self::Stopped { partial, .. } => partial,
            Self::Failed(_) => None,
        }
    }
}

impl<T: Send + 'static> RunHandle<T> {
    pub(crate) const fn new(node: Arc<Node>) -> Self {
        Self {
            run: RunRef::new(node),
            rare: None,
            key: None,
            read: false,
            taken: false,
            value: PhantomData,
        }
    }

    /// Keeps the runs whose place the run has taken in its lane.
    pub(crate) fn superseding(mut self, superseded: Option<Superseded>) -> Self {
        if let Some(superseded) = superseded {
            let superseded = superseded.into_iter().map(RunRef::new).collect();
            self.rare = Some(Box::new(Rare { superseded, ..Rare::default() }));
        }
        self
    }

    /// Makes the handle of a run that was never accepted: it yields why. The run is in no list, no
    /// log and no report.
    pub(crate) fn refused(parent: &Arc<Node>, spec: RunSpec, refusal: Refusal) -> Self {
        let shared = &parent.shared;
        let now = shared.clock.now();
        let node = Node::new(shared, spec, None, now);
        let (cause, refused) = match refusal {
            Refusal::Stopped(stopped) => (Some(stopped.cause), None),
            Refusal::Submit(error) => (None, Some(error)),
        };
        {
            let mut state = node.lock();
            state.parent = Some(Arc::downgrade(parent));
            state.parent_id = Some(parent.id);
            state.life.refuse(refused.is_some());
            state.log = Some(Arc::new(shared.new_log(node.id, None, None)));
            state.cause = cause;
            state.failure = refused.clone().map(Failure::from);
            state.times.ended = Some(state.times.queued);
            state.times.quiesced = Some(state.times.queued);
            node.mirror(&state, 0);
        }
        let mut handle = Self::new(node);
        let rare = |error| Box::new(Rare { refused: Some(error), ..Rare::default() });
        handle.rare = refused.map(rare);
        handle
    }

    /// Waits for the end and yields all there is to know: the value, a partial value with the
    /// cause of the stop, or the error.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: it takes the handle, and dropping that gives up the value.
    pub async fn outcome(mut self) -> Outcome<T> {
        std::future::poll_fn(|cx| self.poll_outcome(cx)).await
    }

    fn poll_outcome(&mut self, cx: &Context<'_>) -> Poll<Outcome<T>> {
        if let Some(error) = self.rare.as_ref().and_then(|rare| rare.refused.as_ref()) {
            self.read = true;
            return Poll::Ready(Outcome::Failed(RunError::Refused(error.clone())));
        }
        let node = self.run.node();
        let mut offer = Offer::new(cx.waker(), &self.key, node.status().is_terminal());
        loop {
            let mut state = node.lock();
            if !state.is_ended() {
                if state.waiters.register(&mut self.key, &mut offer) {
                    return Poll::Pending;
                }
                drop(state);
                offer.renew();
                continue;
            }
            let removed = state.waiters.remove(&mut self.key);
            state.reader = Reader::Gone;
            let (task, left) = (state.let_task_go(), Left::take(&mut state));
            drop(state);
            (self.read, self.taken) = (true, true);
            drop((removed, task));
            return Poll::Ready(left.into_outcome(node));
        }
    }
}

impl State {
    /// Yields the last claim on the memory of a body's task, once the body has ended.
    ///
    /// The memory goes back with the handle, as that of a task does with its `JoinHandle`: on the
    /// thread that joins, which is often the one that asked for it. Where threads give back what
    /// others asked for, they wait for each other inside the allocator.
    fn let_task_go(&mut self) -> Option<Waker> {
        self.body.take_if(|_| self.life.is_body_over())
    }
}

/// What an ended run has left for its handle. Taken under the lock, looked at after it: the value
/// is the body's, down to its destructor.
struct Left {
    status: RunStatus,
    value: Option<Box<dyn Any + Send>>,
    cause: Option<Arc<Cause>>,
    failure: Option<Failure>,
}

impl Left {
    fn take(state: &mut State) -> Self {
        Self {
            status: state.life.status(),
            value: state.value.take(),
            cause: state.cause.clone(),
            failure: state.take_failure(),
        }
    }

    fn into_outcome<T: 'static>(self, node: &Node) -> Outcome<T> {
        let Self { status, value, cause, failure } = self;
        let value = value.and_then(|value| value.downcast::<T>().ok()).map(|value| *value);
        let failed = |failure: Option<Failure>, otherwise| {
            let failure = failure.unwrap_or_else(|| Failure::new(otherwise));
            if let Some(asked) = failure.pause_asked().filter(|_| !node.is_root()) {
                return Outcome::Failed(RunError::Paused(asked.clone()));
            }
            let failure = RunFailure::new(node.id, Arc::clone(&node.name), failure);
            Outcome::Failed(RunError::Failed(failure))
        };
        match (status, value, cause) {
            (RunStatus::Completed, Some(value), _) => Outcome::Completed(value),
            (RunStatus::Cancelled | RunStatus::TimedOut, partial, Some(cause)) => {
                Outcome::Stopped { cause, partial }
            }
            (RunStatus::Completed, None, _) => failed(None, "value was taken already"),
            _ => failed(failure, "no reason given"),
        }
    }
}

impl<T> RunHandle<T> {
    /// Yields the reference to the run.
    pub const fn run(&self) -> &RunRef {
        &self.run
    }

    /// Yields the id of the run.
    pub fn id(&self) -> RunId {
        self.run.id()
    }

    /// Yields the runs whose place it has taken in its lane, and which it has stopped, in the order
    /// of their stops; none but with [`OnBusy::CancelExisting`](crate::OnBusy::CancelExisting). The
    /// last of them may have been stopping before, or have ended by itself meanwhile.
    ///
    /// They are kept with this handle. Who has none asks [`RunRef::superseded`].
    pub fn superseded(&self) -> &[RunRef] {
        self.rare.as_ref().map_or(&[], |rare| &rare.superseded)
    }

    /// Asks the run to stop. See [`RunRef::cancel`].
    pub fn cancel(&self, request: CancelRequest) -> Disposition {
        self.run.cancel(request)
    }

    /// Reads the events of the run's subtree. See [`RunRef::events`].
    pub fn events(&self) -> EventStream {
        self.run.events()
    }

    /// Waits for the end of the run. See [`RunRef::ended`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ended(&self) -> Arc<RunReport> {
        self.run.ended().await
    }

    /// Gives up the value and keeps the reference; the failure of a child then stays its own.
    pub fn into_ref(mut self) -> RunRef {
        self.read = true;
        self.run.clone()
    }
}

impl<T: Send + 'static> Future for RunHandle<T> {
    type Output = Result<T, RunError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_outcome(cx).map(|outcome| match outcome {
            Outcome::Completed(value) => Ok(value),
            Outcome::Stopped { cause, .. } => Err(RunError::Stopped(Stopped { cause })),
            Outcome::Failed(error) => Err(error),
        })
    }
}

impl<T> Drop for RunHandle<T> {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        let node = self.run.node();
        let (unwanted, _task, parent) = {
            let mut state = node.lock();
            let removed = state.waiters.remove(&mut self.key);
            let task = state.let_task_go();
            let value = state.value.take();
            let mut parent = None;
            state.reader = if self.read { Reader::Gone } else { Reader::GoneUnread };
            node.set(flags::VALUE_UNCLAIMED);
            if !self.read && state.life.status() == RunStatus::Failed {
                parent = state.parent.as_ref().and_then(std::sync::Weak::upgrade);
            }
            let is_over = state.life.status().is_terminal();
            let failure = if is_over { state.take_failure() } else { None };
            ((removed, value, failure.clone()), task, parent.map(|parent| (parent, failure)))
        };
        foreign::release(unwanted);
        if let Some((parent, failure)) = parent {
            let mut failure = Some(RunFailure::of_child(node.id, Arc::clone(&node.name), failure));
            parent.apply(Input::ChildDisowned, StopOrigin::default(), |state, _| {
                if state.times.ended.is_none() && state.failure.is_none() {
                    state.failure = failure.take();
                }
            });
        }
    }
}

impl<T> Unpin for RunHandle<T> {}

impl<T> fmt::Debug for RunHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RunHandle").field(self.run.node()).finish()
    }
}
