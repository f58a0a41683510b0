//! [`RunEvents`]: the events of one run and its subtree, as an answer streams them.
//! [`LogPosition`]: how far a log was taken into a fold.

use std::iter;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{FutureExt, Stream, StreamExt};
use quell::{Engine, EventKind, EventStream, RunEvent, RunRef, limits};

/// The events of a run and its subtree, for a client.
///
/// It differs from [`EventStream`] in two ways. It ends after the run's terminal event, with
/// whatever is in the log by then, also if abandoned work of the run still executes. And once it
/// has yielded the end or the pause of a run, every read of that run shows it.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use futures::StreamExt;
/// use quell::{Engine, EventKind, RunSpec, RunStatus};
/// use quell_flow::Catalog;
/// use quell_http::Service;
///
/// let service = Service::new(Engine::new(), Catalog::new());
/// let run = service.engine().submit(RunSpec::agent("a"), async |_ctx| Ok(())).unwrap();
/// let events: Vec<_> = service.events(run.run(), 0).collect().await;
/// assert_eq!(events.last().unwrap().kind, EventKind::Ended(RunStatus::Completed));
/// # });
/// ```
#[derive(Debug)]
#[must_use = "a stream does nothing unless it is read"]
pub struct RunEvents {
    engine: Engine,
    run: RunRef,
    events: EventStream,
    /// The run is terminal: the stream ends when the log has no more.
    is_over: bool,
}

impl RunEvents {
    pub(crate) fn new(engine: Engine, run: &RunRef, after: u64) -> Self {
        let (events, is_over) = (run.events_since(after), is_over(run));
        Self { engine, run: run.clone(), events, is_over }
    }

    fn note(&mut self, event: &RunEvent) {
        match event.kind {
            EventKind::Ended(_) if event.run == self.run.id() => self.is_over = is_over(&self.run),
            // The engine publishes an end, and a pause, under the run's lock, the event before the
            // status. Reading the row takes that lock: the status is there before the client learns
            // of it.
            EventKind::Ended(_) | EventKind::Paused { .. } => {
                drop(self.engine.get(event.run).map(|run| run.row()));
            }
            EventKind::Lagged { .. } => self.is_over = is_over(&self.run),
            _ => {}
        }
    }
}

/// Reads the next event, and yields to other tasks from time to time, also if there is always a
/// next event.
///
/// # Cancel safety
///
/// Cancel safe: dropped, it has taken nothing.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use quell::{Engine, RunSpec};
///
/// let run = Engine::new().submit(RunSpec::agent("a"), async |_ctx| Ok(())).unwrap();
/// let (mut events, mut count) = (run.events(), 0);
/// while quell_http::next_event(&mut events).await.is_some() {
///     count += 1;
/// }
/// assert_eq!(count, 3);
/// # });
/// ```
pub async fn next_event(events: &mut EventStream) -> Option<RunEvent> {
    // An event stream has no budget of its own: the log of a busy body is always ready.
    tokio::task::consume_budget().await;
    events.next().await
}

/// Yields the events of a run after the one with this `seq` that are in its log by now, for a
/// reader that must not be behind the log. They are at most as many as a log holds: a body that
/// emits faster does not keep the reader here.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use quell::{Engine, EventKind, RunSpec, RunStatus};
///
/// let engine = Engine::new();
/// let run = engine.submit(RunSpec::agent("a"), async |_ctx| Ok(())).unwrap().into_ref();
/// let so_far = quell_http::events_by_now(&run, 0).last().unwrap();
/// run.quiescent().await;
/// let rest: Vec<_> = quell_http::events_by_now(&run, so_far.seq).collect();
/// assert_eq!(rest.last().unwrap().kind, EventKind::Ended(RunStatus::Completed));
/// # });
/// ```
pub fn events_by_now(run: &RunRef, after: u64) -> impl Iterator<Item = RunEvent> + use<> {
    log_by_now(run, after).map_while(|event| event)
}

/// As [`events_by_now`], and behind the last event of a tree that is over none.
pub(crate) fn log_by_now(
    run: &RunRef,
    after: u64,
) -> impl Iterator<Item = Option<RunEvent>> + use<> {
    let mut events = run.events_since(after);
    // One more: the first may say that others are gone.
    iter::from_fn(move || events.next().now_or_never()).take(limits::EVENTS_PER_ROOT_MAX + 1)
}

/// Yields the number of the attempt that the last answer among these events of a run has begun; 1
/// if there is none. The pauses of attempts before that were answered, and those behind it were
/// not: an attempt that goes on after a loss has a number of its own, and no answer.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use quell::{Engine, RunContext, RunSpec};
/// use quell_http::{answered, events_by_now};
///
/// let body = async |ctx: RunContext| ctx.resumed_with().ok_or_else(|| ctx.pause("may I?"));
/// let engine = Engine::new();
/// let run = engine.submit_resumable(RunSpec::agent("a"), body).unwrap().into_ref();
/// run.paused().await.unwrap();
/// assert_eq!(answered(events_by_now(&run, 0)), 1);
/// run.resume("yes").unwrap();
/// run.ended().await;
/// assert_eq!(answered(events_by_now(&run, 0)), 2);
/// # });
/// ```
pub fn answered(events: impl IntoIterator<Item = RunEvent>) -> u32 {
    let attempts = events.into_iter().map(|event| match event.kind {
        EventKind::Resumed { attempt } => attempt,
        _ => 1,
    });
    attempts.max().unwrap_or(1)
}

/// How far the log of a tree was taken into a fold.
///
/// Several readers may feed one fold: a task that follows the log as it grows, and whoever must not
/// be behind it. Whoever comes first with an event takes it in; to the others it is known.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use quell::{Engine, RunSpec};
/// use quell_http::{LogPosition, Unread};
///
/// let run = Engine::new().submit(RunSpec::agent("a"), async |_ctx| Ok(())).unwrap().into_ref();
/// run.quiescent().await;
/// let (mut position, mut events) = (LogPosition::default(), Vec::new());
/// for event in position.unread(&run) {
///     if position.pass(&event) == Some(Unread::Event) {
///         events.push(event);
///     }
/// }
/// assert_eq!(events.len(), 3);
/// assert_eq!(position.pass(&events[2]), None);
/// # });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogPosition {
    seq: u64,
}

/// What an event is to a fold that has not taken it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unread {
    /// The next one.
    Event,
    /// The word that events before the next one are gone, some of which it has not taken in.
    Gap,
}

impl LogPosition {
    /// Goes on behind an event. Yields what it is to the fold; `None` if the fold has it already.
    pub fn pass(&mut self, event: &RunEvent) -> Option<Unread> {
        let (seq, what) = match event.kind {
            EventKind::Lagged { to, .. } => (to, Unread::Gap),
            _ => (event.seq, Unread::Event),
        };
        let is_new = seq > self.seq;
        self.seq = self.seq.max(seq);
        is_new.then_some(what)
    }

    /// Yields the events behind it that are in the log by now, as [`events_by_now`].
    pub fn unread(self, run: &RunRef) -> impl Iterator<Item = RunEvent> + use<> {
        events_by_now(run, self.seq)
    }

    /// Yields the number of the last event that was passed; 0 before the first one.
    pub const fn seq(self) -> u64 {
        self.seq
    }
}

impl Stream for RunEvents {
    type Item = RunEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<RunEvent>> {
        match self.events.poll_next_unpin(cx) {
            Poll::Ready(Some(event)) => {
                self.note(&event);
                Poll::Ready(Some(event))
            }
            Poll::Pending if self.is_over => Poll::Ready(None),
            other => other,
        }
    }
}

/// Tells whether a run is terminal. This takes the run's lock: if it is terminal, its last event is
/// in the log.
fn is_over(run: &RunRef) -> bool {
    run.row().status.is_terminal()
}
