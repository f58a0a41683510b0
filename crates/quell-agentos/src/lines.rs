//! [`Lines`]: how many lines of the contract the events of background runs have made, by which
//! their streams are numbered also where the log has dropped events (contract, section 8). Where
//! there is a store, it has the whole log, and nothing is counted here.
//!
//! One task per tree follows the log as it grows. Each reader lets the count catch up with what it
//! reads, and numbers as that does: two readers never number one line differently, whatever either
//! has seen of the tree.
//!
//! Lock order: a count, then the locks of the engine, which runs nothing of this crate under them.
//! The table is locked alone.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use futures::stream::{BoxStream, StreamExt as _};
use parking_lot::Mutex;
use quell::{EventKind, RunEvent, RunId, RunRef, limits};
use quell_http::{
    BoundedMap, LogPosition, LookupError, RunView, Unread, View, events_by_now, next_event,
};
use tokio::task::consume_budget;

use crate::begin::{Known, count};
use crate::snapshot;
use crate::wire::event::{Adopted, COUNTS_ONLY, Renderer, Style};
use crate::wire::position::Position;

/// The counts of the runs that were started here in the background, for a client that may come
/// back.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    table: Arc<Mutex<Table>>,
}

/// A root, also where another run had its id before.
type Key = (RunId, SystemTime);

#[derive(Debug)]
struct Table {
    live: HashMap<Key, Arc<Mutex<Count>>>,
    ended: BoundedMap<Key, Arc<Mutex<Count>>>,
}

/// The lines of one tree.
///
/// Invariant: `kept` has a number for each event from `first` to the last one that was taken, and
/// all before have made `before` lines.
#[derive(Debug)]
struct Count {
    view: View,
    renderer: Renderer,
    position: LogPosition,
    /// The number of the first event in `kept`.
    first: u64,
    before: u64,
    /// The lines of each of the last events.
    kept: VecDeque<u8>,
}

impl Lines {
    pub(crate) fn new(owner_share_percent: u8) -> Self {
        let ended = BoundedMap::new(limits::ENDED_TREES_MAX, ENDED_BYTES_MAX, owner_share_percent);
        Self { table: Arc::new(Mutex::new(Table { live: HashMap::new(), ended })) }
    }

    /// Counts the lines of a root until it is over, and for as long as it is kept, unless its log
    /// is in a store. Once more changes nothing.
    pub(crate) fn follow(&self, view: &View, run: &RunRef, style: Style) {
        if view.service().engine().has_store() || run.status().is_terminal() {
            return;
        }
        let Some(renderer) = renderer(view, &run.into(), style) else { return };
        let (key, owner) = (key(run), run.owner().map(Arc::from));
        let count = Arc::new(Mutex::new(Count::new(view.clone(), renderer)));
        match self.table.lock().live.entry(key) {
            Entry::Occupied(_) => return,
            Entry::Vacant(place) => drop(place.insert(Arc::clone(&count))),
        }
        let (run, table) = (run.clone(), Arc::clone(&self.table));
        drop(tokio::spawn(async move {
            let mut events = run.events();
            while let Some(event) = next_event(&mut events).await {
                count.lock().take(&event);
            }
            let bytes = count.lock().kept.len() + ENTRY_BYTES;
            let until = Instant::now() + limits::ENDED_TREES_TTL;
            let mut table = table.lock();
            if let Some(count) = table.live.remove(&key) {
                table.ended.put(owner.as_ref(), key, count, bytes, until);
            }
        }));
    }

    /// Yields how many lines there are up to an event of a root; none if that was not counted.
    pub(crate) fn up_to(&self, run: &RunRef, seq: u64) -> Option<u64> {
        let count = self.count_of(run)?;
        let mut count = count.lock();
        if count.position.seq() < seq {
            count.catch_up(run);
        }
        count.up_to(seq)
    }

    fn count_of(&self, run: &RunRef) -> Option<Arc<Mutex<Count>>> {
        let owner: Option<Arc<str>> = run.owner().map(Arc::from);
        let table = self.table.lock();
        let ended = || table.ended.get(owner.as_ref(), &key(run));
        table.live.get(&key(run)).or_else(ended).map(Arc::clone)
    }

    /// Yields what there is by now of a root that was counted, for a client that has the lines
    /// before this index.
    fn counted(&self, run: &RunRef, from: u64) -> Option<SoFar> {
        let count = self.count_of(run)?;
        let mut count = count.lock();
        count.catch_up(run);
        let first = events_by_now(run, 0).next()?;
        let mut so_far = count.so_far(from);
        if let EventKind::Lagged { to, .. } = first.kind {
            // The start of the root is told in any case.
            so_far.gone = count.up_to(to)?.saturating_sub(from.max(1));
        }
        Some(so_far)
    }

    /// Counts the lines of a root by now, for a client that has those before this index. Where they
    /// are not counted the log is read once; of a root that is only in the store, up to what the
    /// client has also for the stream, which goes on behind that. What is behind it is read again:
    /// how much that is is said first, and it may be more than is held.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(crate) async fn so_far(
        &self,
        view: &View,
        run: &RunView,
        style: Style,
        from: u64,
    ) -> Result<SoFar, LookupError> {
        if let RunView::Live(run) = run
            && let Some(so_far) = self.counted(run, from)
        {
            return Ok(so_far);
        }
        let mut so_far = SoFar::default();
        let both = renderer(view, run, style).zip(renderer(view, run, style));
        let Some((mut counting, behind)) = both else { return Ok(so_far) };
        counting.write_from(COUNTS_ONLY);
        let is_far = matches!(run, RunView::Stored(_));
        let mut known = is_far.then(|| Box::new(Known::new(view, behind)));
        let (mut events, last) = by_now(view, run).await?;
        while so_far.last < last
            && let Some(event) = events.next().await
        {
            consume_budget().await;
            so_far.last = event.last_seq();
            if !is_far {
                place(view, &mut counting, &event);
                let is_gap = matches!(event.kind, EventKind::Lagged { .. });
                if is_gap && !view.is_gone_for_good(&event).await {
                    return Err(LookupError::Unavailable);
                }
            }
            let seen = count(&mut counting, &event);
            so_far.lines = counting.lines();
            so_far.gone += so_far.lines.saturating_sub(seen.max(from));
            if let (Some(known), EventKind::Resumed { attempt }) = (&mut known, &event.kind) {
                known.answered = known.answered.max(*attempt);
            }
            if so_far.lines <= from {
                so_far.after = so_far.last;
                if let Some(known) = &mut known {
                    known.take(&event);
                }
            }
        }
        so_far.known = known;
        Ok(so_far)
    }
}

/// Yields the events of a root that there are by now, up to this number. If it is only in the
/// store, perhaps another node has it; otherwise the event of an end may be missing there, and
/// follows from the record.
async fn by_now(
    view: &View,
    run: &RunView,
) -> Result<(BoxStream<'static, RunEvent>, u64), LookupError> {
    let last = match run {
        RunView::Stored(_) => return Ok((view.events_by_now(run.clone()).boxed(), u64::MAX)),
        RunView::Live(run) if run.status().is_terminal() => u64::MAX,
        RunView::Live(_) => view.last_seq_by_now(run).await,
    };
    Ok((view.events(run, 0).await?.boxed(), last))
}

/// What there was of a stream when its client came back.
#[derive(Debug, Default)]
pub(crate) struct SoFar {
    /// The number of the last event of which the client has all lines.
    pub(crate) after: u64,
    /// The number of the last event.
    pub(crate) last: u64,
    /// The lines.
    pub(crate) lines: u64,
    /// Those that the client has not, and that are gone.
    pub(crate) gone: u64,
    /// What the events tell of which the client has all lines, if the run is only in the store.
    pub(crate) known: Option<Box<Known>>,
}

impl Count {
    fn new(view: View, mut renderer: Renderer) -> Self {
        renderer.write_from(COUNTS_ONLY);
        let position = LogPosition::default();
        Self { view, renderer, position, first: 1, before: 0, kept: VecDeque::new() }
    }

    fn take(&mut self, event: &RunEvent) {
        let (last, lines) = (self.position.seq(), self.renderer.lines());
        match self.position.pass(event) {
            Some(Unread::Event) => {
                place(&self.view, &mut self.renderer, event);
                drop(self.renderer.on(event, None));
                let lines = self.renderer.lines() - lines;
                self.kept.push_back(u8::try_from(lines).unwrap_or(u8::MAX));
                if self.kept.len() > KEPT_MAX
                    && let Some(lines) = self.kept.pop_front()
                {
                    self.before += u64::from(lines);
                    self.first += 1;
                }
            }
            Some(Unread::Gap) => {
                // Nobody has read them. So that all readers agree, each counts for a line.
                place(&self.view, &mut self.renderer, event);
                drop(self.renderer.on(event, None));
                self.renderer.go_on_behind(lines + (event.last_seq() - last));
                (self.first, self.before) = (event.last_seq() + 1, self.renderer.lines());
                self.kept.clear();
            }
            _ => {}
        }
    }

    fn catch_up(&mut self, run: &RunRef) {
        for event in self.position.unread(run) {
            self.take(&event);
        }
    }

    fn up_to(&self, seq: u64) -> Option<u64> {
        let nth = usize::try_from((seq + 1).checked_sub(self.first)?).ok()?;
        let behind = self.kept.len().checked_sub(nth)?;
        // Most readers are not far behind it.
        let behind = self.kept.iter().rev().take(behind).map(|lines| u64::from(*lines));
        Some(self.renderer.lines() - behind.sum::<u64>())
    }

    fn so_far(&self, from: u64) -> SoFar {
        let (last, lines) = (self.position.seq(), self.renderer.lines());
        let mut so_far = SoFar { last, lines, ..SoFar::default() };
        let mut at = self.before;
        for (seq, lines) in (self.first..).zip(&self.kept) {
            if at <= from {
                so_far.after = seq - 1;
            }
            at += u64::from(*lines);
        }
        if at <= from {
            so_far.after = last;
        }
        so_far
    }
}

/// Makes the renderer of a root, from its first event on.
pub(crate) fn renderer(view: &View, run: &RunView, style: Style) -> Option<Renderer> {
    let position = Position::root(view.component_of(run)?, run.external_id());
    Some(Renderer::new(run.id(), position, snapshot::session_of(run), style))
}

/// Lets a renderer know the run of an event although the event of its begin was dropped, and forget
/// those whose end was, where no store has it. Yields the run if it is still in memory.
pub(crate) fn place(view: &View, renderer: &mut Renderer, event: &RunEvent) -> Option<RunRef> {
    let engine = view.service().engine();
    if matches!(event.kind, EventKind::Lagged { .. }) {
        if !engine.has_store() {
            renderer.retain(|run| engine.get(run).is_some());
        }
        return None;
    }
    let run = engine.get(event.run);
    if !matches!(event.kind, EventKind::Queued { .. })
        && renderer.position(event.run).is_none()
        && let Some(run) = &run
        && let Some(position) = snapshot::position_of(view, &run.into())
    {
        let is_started = match event.kind {
            EventKind::Started => false,
            EventKind::Ended(_) => run.row().started_at.is_some(),
            _ => true,
        };
        let has_executor = snapshot::has_executor(run);
        renderer.adopt(event.run, Adopted { position, has_executor, is_started });
    }
    run
}

fn key(run: &RunRef) -> Key {
    (run.id(), run.queued_at())
}

/// The numbers that a count keeps: a reader may be as far behind as its log, and that goes on while
/// it asks.
const KEPT_MAX: usize = 2 * limits::EVENTS_PER_ROOT_MAX;

/// The bytes of the counts of ended runs.
const ENDED_BYTES_MAX: usize = 16 << 20;

/// The approximate bytes of a count without its numbers.
const ENTRY_BYTES: usize = 512;
