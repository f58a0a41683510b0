//! Reading events.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use quell_core::{EventKind, RunEvent, RunId};

use crate::faults;
use crate::foreign;
use crate::log::firehose::AllEvents;
use crate::log::ring::Read;
use crate::log::{Entry, Log};
use crate::node::Node;
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
    /// The entries from the next one on that were copied with the one before: a reader that is
    /// behind takes the lock, which the writers want, once for some of them (bench `events`).
    ahead: VecDeque<Entry>,
}

impl EventStream {
    /// Reads the log of a run's tree from `seq` on; of a child, only what concerns its subtree.
    pub(crate) fn of_run(node: &Arc<Node>, after: u64) -> Self {
        Self::of_log(node, node.log(), after.saturating_add(1))
    }

    /// Goes on after an event, also if the run has a log of its own since.
    pub(crate) fn after(node: &Arc<Node>, event: &RunEvent) -> Self {
        let after = match event.kind {
            EventKind::Lagged { to, .. } => to,
            _ => event.seq,
        };
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
        log.lock().ring.join();
        let members = (log.root != node.id).then(|| members_of(node, &log));
        let tree = Tree { node: Arc::clone(node), log, members, ahead: VecDeque::new() };
        let source = Source::Tree(tree);
        Self { source, seq, key: None }
    }

    pub(crate) fn of_engine(all: Arc<AllEvents>) -> Self {
        let seq = all.join();
        Self { source: Source::All(all), seq, key: None }
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
        let (seq, key) = (&mut self.seq, &mut self.key);
        let (event, is_over) = match &mut self.source {
            Source::All(all) => (poll_all(all, seq, key, cx), false),
            Source::Tree(tree) => {
                let event = tree.poll(seq, key, cx);
                let is_over = match &event {
                    Poll::Ready(Some(event)) => is_last(&tree.node, event),
                    Poll::Ready(None) => true,
                    Poll::Pending => false,
                };
                (event, is_over)
            }
            Source::Over => (Poll::Ready(None), false),
        };
        if is_over {
            self.leave();
        }
        event
    }

    fn leave(&mut self) {
        match std::mem::replace(&mut self.source, Source::Over) {
            Source::Tree(tree) => {
                let removed = tree.log.lock().ring.leave(&mut self.key);
                foreign::release(removed);
            }
            Source::All(all) => all.leave(&mut self.key),
            Source::Over => {}
        }
    }
}

impl Tree {
    fn poll(&mut self, seq: &mut u64, key: &mut Key, cx: &Context<'_>) -> Poll<Option<RunEvent>> {
        let mut offer = Offer::new(cx.waker(), key, true);
        loop {
            match self.read(*seq, key, &mut offer) {
                Looked::Waits => return Poll::Pending,
                Looked::WouldWait => offer.renew(),
                Looked::Over => return Poll::Ready(None),
                Looked::At(Read::Nothing) => match self.follow(*seq, key, &mut offer) {
                    Looked::At(_) => *seq = 1,
                    Looked::Waits => return Poll::Pending,
                    Looked::WouldWait => offer.renew(),
                    Looked::Over => return Poll::Ready(None),
                },
                Looked::At(Read::Gone { first }) if faults::on("skip-what-was-missed") => {
                    *seq = first;
                }
                Looked::At(Read::Gone { first }) => {
                    let from = std::mem::replace(seq, first);
                    let clock = &self.node.shared.clock;
                    let event = self.log.lagged(clock, self.node.id, from, first - 1);
                    if self.members.is_some() {
                        // Runs may have been accepted in what was missed.
                        self.members = Some(members_of(&self.node, &self.log));
                    }
                    return Poll::Ready(Some(event));
                }
                Looked::At(Read::Entry(entry)) => {
                    let at = *seq;
                    *seq += 1;
                    let (run, members) = (entry.run, self.members.as_mut());
                    let concerns = concerns(&self.node, members, run, &entry.kind);
                    let event = self.log.event(&self.node.shared.clock, at, entry);
                    if matches!(event.kind, EventKind::Detached { .. })
                        && let Some(next) = self.next_log()
                        && next.root == run
                    {
                        // The subtree goes on there. The log of a root begins with this event.
                        *seq = if run == self.node.id { 2 } else { 1 };
                        self.move_to(next, key);
                    }
                    if concerns {
                        return Poll::Ready(Some(event));
                    }
                }
            }
        }
    }

    /// Reads an event. Who reads a whole log waits if there is none yet.
    fn read(&mut self, seq: u64, key: &mut Key, offer: &mut Offer<'_>) -> Looked {
        if let Some(entry) = self.ahead.pop_front() {
            return Looked::At(Read::Entry(entry));
        }
        let mut held = self.log.lock();
        let read = held.ring.read(seq);
        if matches!(read, Read::Entry(_)) {
            held.ring.copy_ahead(seq + 1, &mut self.ahead);
        }
        if self.members.is_some() || !matches!(read, Read::Nothing) {
            return Looked::At(read);
        }
        // Asked under the lock of the ring. If it is over, all that came before is in the ring; if
        // not, the end has yet to wake those who are registered here.
        if self.node.is_over() {
            Looked::Over
        } else if held.ring.wait(key, offer) {
            Looked::Waits
        } else {
            Looked::WouldWait
        }
    }

    /// Goes on, after the last event of a log, to the log to which the run has moved with an
    /// ancestor. Waits if there is none: yields `At` when there is something to read.
    fn follow(&mut self, seq: u64, key: &mut Key, offer: &mut Offer<'_>) -> Looked {
        let next = self.next_log();
        {
            let mut held = self.log.lock();
            if !matches!(held.ring.read(seq), Read::Nothing) {
                return Looked::WouldWait;
            }
            // Asked under the lock of the ring: what has moved writes no more into it, and what has
            // not will say so in there.
            if let Some(next) = next.as_ref().filter(|next| next.has_moved()) {
                drop(held);
                self.move_to(Arc::clone(next), key);
                return Looked::At(Read::Nothing);
            }
            if next.is_some() || !self.node.is_over() {
                return if held.ring.wait(key, offer) { Looked::Waits } else { Looked::WouldWait };
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
        let removed = self.log.lock().ring.leave(key);
        drop(removed);
        self.ahead.clear();
        next.lock().ring.join();
        if next.root == self.node.id {
            self.members = None;
        }
        self.log = next;
    }
}

/// What came of looking into a log.
enum Looked {
    At(Read<Entry>),
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

/// Collects the ids of a run and its descendants: those that are kept, and those without a row of
/// which the log may still hold an event.
fn members_of(node: &Arc<Node>, log: &Log) -> HashSet<RunId> {
    let mut ids = HashSet::from([node.id]);
    ids.extend(crate::node::cascade::subtree(node, |_| true).iter().map(|node| node.id));
    log.add_unlinked(&mut ids);
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
            Some(run) => !run.ended_non_quiescent(),
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
        if let (true, Source::Tree(Tree { node, .. })) =
            (faults::on("stop-on-leaving"), &self.source)
        {
            node.cancel(&crate::control::by_token());
        }
        self.leave();
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("next", &self.seq).finish_non_exhaustive()
    }
}
