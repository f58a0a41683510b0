//! The events of one run as an answer streams them.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt};
use quell::{Engine, EventKind, EventStream, RunEvent, RunRef};

/// The events of a run and its subtree, for a client.
///
/// It differs from [`EventStream`] in two ways. It ends after the run's terminal event and what is
/// in the log by then, also if something of the run was abandoned and still executes. And when it
/// yields the end of a run, every read shows that end.
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
            // The event is in the log a moment before the run's status is: wait for that moment.
            EventKind::Ended(_) => drop(self.engine.get(event.run).map(|run| run.row())),
            EventKind::Lagged { .. } => self.is_over = is_over(&self.run),
            _ => {}
        }
    }
}

/// Reads the next event as a follower should: gives way to other tasks from time to time, also if
/// there is always a next event.
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
    // The log of a body that never stops talking is always ready, and knows no budget.
    tokio::task::consume_budget().await;
    events.next().await
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

/// Reads the run under its lock: its terminal event is in the log then.
fn is_over(run: &RunRef) -> bool {
    run.row().status.is_terminal()
}
