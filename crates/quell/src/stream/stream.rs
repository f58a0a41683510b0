//! [`EventStream`] reads the events of a run and its subtree, or of a whole engine.

use std::collections::HashSet;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use quell_core::{EventKind, RunEvent, RunId};

use crate::foreign;
use crate::log::firehose::AllEvents;
use crate::log::ring::Read;
use crate::log::{Entry, Log};
use crate::metrics::Counters;
use crate::node::Node;
use crate::stream::members::{concerns, members_of};
use crate::sync::waiters::{Key, Offer};

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
    counters: Arc<Counters>,
}

enum Source {
    Tree(Tree),
    All(Arc<AllEvents>),
    /// The stream has ended: it is no reader any more.
    Over,
}

/// What a reader of one run reads.
struct Tree {
    node: Arc<Node>,
    log: Arc<Log>,
    /// The runs of the subtree that may still have events; none if the whole log concerns the run.
    members: Option<HashSet<RunId>>,
    /// The entries that come next, the first of them last. A reader that is behind takes the lock,
    /// which the writers want, once for some of them (bench `events`).
    ahead: Vec<Entry>,
}

impl EventStream {
    /// Reads the log of a run's tree from `seq` on; of a child, only what concerns its subtree.
    pub(crate) fn of_run(node: &Arc<Node>, after: u64) -> Self {
        Self::of_log(node, node.log(), after.saturating_add(1))
    }

    /// Goes on after an event, also if the run has a log of its own since.
    pub(crate) fn after(node: &Arc<Node>, event: &RunEvent) -> Self {
        let after = event.last_seq();
        let log = node.log();
        if log.root == event.root {
            return Self::of_log(node, log, after.saturating_add(1));
        }
        match log.next_after_root(event.root) {
            // That of a log says in its own log what it has said in the log before already.
            Some((_, next)) if next.has_moved_by(after) => {
                let first = if next.root == node.id { 2 } else { 1 };
                Self::of_log(node, next, first)
            }
            Some((before, _)) => Self::of_log(node, before, after.saturating_add(1)),
            None => Self::of_log(node, log, 1),
        }
    }

    fn of_log(node: &Arc<Node>, log: Arc<Log>, seq: u64) -> Self {
        log.lock().entries.join();
        let members = (log.root != node.id).then(|| members_of(node, &log));
        let tree = Tree { node: Arc::clone(node), log, members, ahead: Vec::new() };
        Self::open(Source::Tree(tree), seq, &node.shared.counters)
    }

    pub(crate) fn of_engine(all: &Arc<AllEvents>, counters: &Arc<Counters>) -> Self {
        let seq = all.join();
        Self::open(Source::All(Arc::clone(all)), seq, counters)
    }

    fn open(source: Source, seq: u64, counters: &Arc<Counters>) -> Self {
        counters.stream_opened();
        Self { source, seq, key: None, counters: Arc::clone(counters) }
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
        loop {
            let tree = match &mut self.source {
                Source::Tree(tree) => tree,
                Source::All(all) => {
                    return poll_all(all, &mut self.seq, &mut self.key, &self.counters, cx);
                }
                Source::Over => return Poll::Ready(None),
            };
            let Some(entry) = tree.ahead.pop() else {
                match tree.fetch(&mut self.seq, &mut self.key, cx) {
                    Fetched::Some => continue,
                    Fetched::Waits => {
                        // It may wait for long.
                        tree.ahead = Vec::new();
                        return Poll::Pending;
                    }
                    Fetched::Missed { from, to } => {
                        let clock = &tree.node.shared.clock;
                        self.counters.reader_lagged();
                        let event = tree.log.lagged(clock, tree.node.id, from, to);
                        return Poll::Ready(Some(event));
                    }
                    Fetched::Over => {
                        self.leave();
                        return Poll::Ready(None);
                    }
                }
            };
            let at = self.seq;
            self.seq += 1;
            let concerns = concerns(&tree.node, tree.members.as_mut(), entry.run, &entry.kind);
            // Where nothing ends, the event is made where it is returned: to hand it from function
            // to function costs more than to read it (bench `events`).
            if is_end(&entry.kind) {
                if let Some(event) = self.take_end(at, entry, concerns) {
                    return Poll::Ready(Some(event));
                }
            } else if concerns {
                return Poll::Ready(Some(tree.log.event(&tree.node.shared.clock, at, entry)));
            }
        }
    }

    /// Takes an entry with which a run ends or leaves its tree: the stream may end with it, or go
    /// on in another log. Yields the event if it concerns the subtree.
    #[cold]
    fn take_end(&mut self, at: u64, entry: Entry, concerns: bool) -> Option<RunEvent> {
        let Source::Tree(tree) = &mut self.source else { return None };
        let event = tree.log.event(&tree.node.shared.clock, at, entry);
        if matches!(event.kind, EventKind::Detached { .. })
            && let Some(next) = tree.next_log()
            && next.root == event.run
        {
            // The subtree goes on there. The log of a root begins with this event.
            self.seq = if event.run == tree.node.id { 2 } else { 1 };
            tree.move_to(next, &mut self.key);
        }
        if is_last(&tree.node, &event) {
            self.leave();
        }
        concerns.then_some(event)
    }

    fn leave(&mut self) {
        if !matches!(self.source, Source::Over) {
            self.counters.stream_closed();
        }
        match std::mem::replace(&mut self.source, Source::Over) {
            Source::Tree(tree) => {
                let removed = tree.log.lock().entries.leave(&mut self.key);
                foreign::release(removed);
            }
            Source::All(all) => all.leave(&mut self.key),
            Source::Over => {}
        }
    }
}

impl Tree {
    /// Copies the entries that come next, in whatever log they are.
    fn fetch(&mut self, seq: &mut u64, key: &mut Key, cx: &Context<'_>) -> Fetched {
        let mut offer = Offer::new(cx.waker(), key, true);
        loop {
            let looked = match self.read(*seq, key, &mut offer) {
                Looked::At(Read::Nothing) => self.follow(seq, key, &mut offer),
                looked => looked,
            };
            match looked {
                Looked::At(Read::Entry(())) => return Fetched::Some,
                // In the log that was followed to.
                Looked::At(Read::Nothing) => {}
                Looked::At(Read::Gone { first }) => {
                    let from = std::mem::replace(seq, first);
                    if self.members.is_some() {
                        // Runs may have been accepted in what was missed.
                        self.members = Some(members_of(&self.node, &self.log));
                    }
                    return Fetched::Missed { from, to: first - 1 };
                }
                Looked::Waits => return Fetched::Waits,
                Looked::WouldWait => offer.renew(),
                Looked::Over => return Fetched::Over,
            }
        }
    }

    /// Copies the next entries. A reader of a whole log waits if there are none yet.
    fn read(&mut self, seq: u64, key: &mut Key, offer: &mut Offer<'_>) -> Looked {
        let mut held = self.log.lock();
        let read = held.entries.read_some(seq, &mut self.ahead);
        if self.members.is_some() || !matches!(read, Read::Nothing) {
            return Looked::At(read);
        }
        // Asked under the lock of the log. If it is over, all that came before is in it; if
        // not, the end has yet to wake those who are registered here.
        if self.node.is_over() {
            Looked::Over
        } else if held.entries.wait(key, offer) {
            Looked::Waits
        } else {
            Looked::WouldWait
        }
    }

    /// Goes on, after the last event of a log, to the log to which the run has moved with an
    /// ancestor. Waits if there is none: yields `At` when there is a log to read, from its start.
    fn follow(&mut self, seq: &mut u64, key: &mut Key, offer: &mut Offer<'_>) -> Looked {
        let next = self.next_log();
        {
            let mut held = self.log.lock();
            if !matches!(held.entries.read(*seq), Read::Nothing) {
                return Looked::WouldWait;
            }
            // Asked under the lock of the log: what has moved writes no more into it, and what has
            // not will say so in there.
            if let Some(next) = next.as_ref().filter(|next| next.has_moved()) {
                drop(held);
                self.move_to(Arc::clone(next), key);
                *seq = 1;
                return Looked::At(Read::Nothing);
            }
            if next.is_some() || !self.node.is_over() {
                return if held.entries.wait(key, offer) {
                    Looked::Waits
                } else {
                    Looked::WouldWait
                };
            }
        }
        // It is over; it may have moved before.
        if self.next_log().is_some() { Looked::WouldWait } else { Looked::Over }
    }

    fn next_log(&self) -> Option<Arc<Log>> {
        self.members.as_ref()?;
        self.node.log().next_after(&self.log)
    }

    fn move_to(&mut self, next: Arc<Log>, key: &mut Key) {
        let removed = self.log.lock().entries.leave(key);
        drop(removed);
        self.ahead.clear();
        next.lock().entries.join();
        if next.root == self.node.id {
            self.members = None;
        }
        self.log = next;
    }
}

/// What came of a look for more entries.
enum Fetched {
    Some,
    /// None of these is held any more.
    Missed {
        from: u64,
        to: u64,
    },
    /// There are none yet; the reader is registered.
    Waits,
    /// None follows.
    Over,
}

/// What came of looking into a log.
enum Looked {
    At(Read<()>),
    /// The reader is registered.
    Waits,
    /// It is not, and has to look again.
    WouldWait,
    /// Nothing follows.
    Over,
}

fn poll_all(
    all: &AllEvents,
    seq: &mut u64,
    key: &mut Key,
    counters: &Counters,
    cx: &Context<'_>,
) -> Poll<Option<RunEvent>> {
    let mut offer = Offer::new(cx.waker(), key, true);
    loop {
        let mut firehose = all.lock();
        match firehose.ring.read(*seq) {
            Read::Entry(event) => {
                *seq += 1;
                return Poll::Ready(Some(event));
            }
            Read::Gone { first } => {
                let from = std::mem::replace(seq, first);
                // Made of the oldest event, which is there: this ring holds more than none.
                let Read::Entry(mut event) = firehose.ring.read(first) else { continue };
                counters.reader_lagged();
                event.seq = 0;
                event.kind = EventKind::Lagged { from, to: first - 1 };
                return Poll::Ready(Some(event));
            }
            Read::Nothing if firehose.closed => return Poll::Ready(None),
            Read::Nothing if firehose.ring.wait(key, &mut offer) => return Poll::Pending,
            Read::Nothing => {}
        }
        drop(firehose);
        offer.renew();
    }
}

/// Tells whether a run ends with an event, or leaves its tree.
const fn is_end(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Ended(_) | EventKind::Quiesced | EventKind::Detached { .. })
}

/// Tells whether nothing can follow in the stream of this run.
fn is_last(node: &Node, event: &RunEvent) -> bool {
    event.run == node.id
        && match event.kind {
            EventKind::Ended(_) => !node.ended_non_quiescent(),
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
        self.leave();
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("next", &self.seq).finish_non_exhaustive()
    }
}
