//! Reading events.

use std::collections::HashSet;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use quell_core::{EventKind, RunEvent, RunId};

use crate::events::{AllEvents, Log, Read};
use crate::faults;
use crate::node::Node;
use crate::waiters::Key;

/// The events of a run and its subtree, or of a whole engine, in order.
///
/// A reader is never waited for: one that is too slow finds [`EventKind::Lagged`] in place of what
/// it missed. The stream of a run ends when the run is terminal and quiescent, that of an engine
/// when the engine has shut down.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use quell::{Engine, EventKind, RunSpec, RunStatus};
///
/// let engine = Engine::new();
/// let run = engine.submit(RunSpec::agent("greeter"), async |ctx| {
///     ctx.emit("hello");
///     Ok(())
/// })?;
/// let mut events = run.events();
/// let mut emitted = Vec::new();
/// while let Some(event) = events.next().await {
///     if let EventKind::Emitted(payload) = event.kind {
///         emitted.push(payload.to_string());
///     }
/// }
/// assert_eq!(emitted, ["\"hello\""]);
/// # Ok::<(), quell::SubmitError>(())
/// # }).unwrap();
/// ```
#[must_use = "a stream does nothing unless it is read"]
pub struct EventStream {
    source: Source,
    seq: u64,
    key: Key,
    over: bool,
}

enum Source {
    Tree { node: Arc<Node>, log: Arc<Log>, members: Option<HashSet<RunId>> },
    All(Arc<AllEvents>),
}

impl EventStream {
    /// Reads the log of a run's tree from `seq` on; of a child, only what concerns its subtree.
    pub(crate) fn of_run(node: &Arc<Node>, after: u64) -> Self {
        let log = node.log();
        let members = (log.root != node.id).then(|| members_of(node));
        let source = Source::Tree { node: Arc::clone(node), log, members };
        Self { source, seq: after.saturating_add(1), key: None, over: false }
    }

    pub(crate) fn of_engine(all: Arc<AllEvents>) -> Self {
        let seq = all.join();
        Self { source: Source::All(all), seq, key: None, over: false }
    }

    /// Yields the next event, or `None` when the stream has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: an event is taken only when it is returned.
    pub async fn next(&mut self) -> Option<RunEvent> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<RunEvent>> {
        if self.over {
            return Poll::Ready(None);
        }
        let (seq, key) = (&mut self.seq, &mut self.key);
        match &mut self.source {
            Source::All(all) => poll_all(all, seq, key, cx),
            Source::Tree { node, log, members } => loop {
                let (over, read) = {
                    let mut ring = log.lock();
                    // Asked under the lock of the ring. If it is over, all that came before is in
                    // the ring; if not, the end has yet to wake whoever is registered here.
                    let over = node.is_over();
                    let read = ring.read(*seq);
                    if matches!(read, Read::Nothing) && !over {
                        ring.wait(key, cx.waker());
                    }
                    (over, read)
                };
                match read {
                    Read::Entry(entry) => {
                        let at = *seq;
                        *seq += 1;
                        if concerns(node, members.as_mut(), entry.run, &entry.kind) {
                            let event = log.event(&node.shared.clock, at, entry);
                            self.over = is_last(node, &event);
                            if event.run == node.id && log.root != node.id && leaves(&event) {
                                // The run is a root from here on; its own log begins with the same.
                                log.lock().forget(key);
                                (*log, *members, *seq) = (node.log(), None, 2);
                            }
                            return Poll::Ready(Some(event));
                        }
                    }
                    Read::Gone { first } if faults::on("skip-what-was-missed") => *seq = first,
                    Read::Gone { first } => {
                        let from = std::mem::replace(seq, first);
                        return Poll::Ready(Some(log.lagged(
                            &node.shared.clock,
                            node.id,
                            from,
                            first - 1,
                        )));
                    }
                    Read::Nothing => {
                        let current = members.as_ref().map(|_| node.log());
                        match current.filter(|current| !Arc::ptr_eq(current, log)) {
                            Some(current) => {
                                // It has followed an ancestor that was detached.
                                log.lock().forget(key);
                                (*log, *seq) = (current, 1);
                            }
                            None if over => return Poll::Ready(None),
                            None => return Poll::Pending,
                        }
                    }
                }
            },
        }
    }
}

fn poll_all(
    all: &AllEvents,
    seq: &mut u64,
    key: &mut Key,
    cx: &Context<'_>,
) -> Poll<Option<RunEvent>> {
    let mut firehose = all.lock();
    match firehose.ring.read(*seq) {
        Read::Entry(event) => {
            *seq += 1;
            Poll::Ready(Some(event))
        }
        Read::Gone { first } => {
            let from = std::mem::replace(seq, first);
            let Read::Entry(mut event) = firehose.ring.read(first) else {
                return Poll::Pending;
            };
            event.seq = 0;
            event.kind = EventKind::Lagged { from, to: first - 1 };
            Poll::Ready(Some(event))
        }
        Read::Nothing if firehose.closed => Poll::Ready(None),
        Read::Nothing => {
            firehose.ring.wait(key, cx.waker());
            Poll::Pending
        }
    }
}

/// Collects the ids of a run and its descendants, ended ones too.
fn members_of(node: &Arc<Node>) -> HashSet<RunId> {
    let mut ids = HashSet::from([node.id]);
    ids.extend(crate::cascade::subtree(node, |_| true).iter().map(|node| node.id));
    ids
}

/// Tells whether an event belongs to the subtree; the members are those that may still have one.
fn concerns(of: &Node, members: Option<&mut HashSet<RunId>>, run: RunId, kind: &EventKind) -> bool {
    let Some(members) = members else { return true };
    if let EventKind::Queued { parent: Some(parent), .. } = kind
        && members.contains(parent)
    {
        members.insert(run);
    }
    let concerns = members.contains(&run);
    let over = match kind {
        EventKind::Quiesced | EventKind::Detached { .. } => true,
        EventKind::Ended(_) => match of.shared.registry.get(run) {
            Some(run) => !run.ended_restless(),
            // It has no row, so nothing of it goes on; or its whole tree is forgotten.
            None => !of.is_over(),
        },
        _ => false,
    };
    if over && run != of.id {
        members.remove(&run);
    }
    concerns
}

const fn leaves(event: &RunEvent) -> bool {
    matches!(event.kind, EventKind::Detached { .. })
}

/// Tells whether nothing can follow in the stream of this run.
fn is_last(node: &Node, event: &RunEvent) -> bool {
    event.run == node.id
        && match event.kind {
            EventKind::Ended(_) => !node.ended_restless(),
            EventKind::Quiesced => true,
            _ => false,
        }
}

impl Stream for EventStream {
    type Item = RunEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<RunEvent>> {
        self.poll(cx)
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        if let (true, Source::Tree { node, .. }) = (faults::on("stop-on-leaving"), &self.source) {
            node.cancel(&crate::control::by_token());
        }
        match &self.source {
            Source::Tree { log, .. } => log.lock().forget(&mut self.key),
            Source::All(all) => all.leave(&mut self.key),
        }
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("next", &self.seq).finish_non_exhaustive()
    }
}
