//! [`Readers`]: the streams that clients read, so that none of them keeps in memory, uncounted,
//! what the engine has forgotten.
//!
//! A client that takes its stream slowly, or not at all, holds the run, its log and what is
//! rendered of them. While the engine has the run, it counts them. From then on they count as under
//! way for whoever reads; if there is no room for them, the stream is cut.
//!
//! Lock order: a stream, then the ledger or a shard of the engine. The table is locked alone. A
//! stream is locked while its pieces are made, and then passed over here: it is not stalled.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use quell::{Engine, Payload, RunRef};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::ids::{Identity, find};
use crate::ledger::{Charge, Ledger};
use crate::render::{Counted, counted, row_bytes};

/// The streams of a service. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readers(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    all: Vec<Weak<dyn Reader>>,
    /// What looks after them, as long as there are any.
    watch: Option<JoinHandle<()>>,
}

/// What is to be known of a run that a client reads.
pub(crate) struct Read {
    pub(crate) run: RunRef,
    pub(crate) name: Identity,
    pub(crate) engine: Engine,
    /// What counts as under way.
    pub(crate) requests: Ledger,
    pub(crate) owner: Option<Arc<str>>,
    pub(crate) readers: Readers,
}

/// What one client reads.
pub(crate) struct Reading<S> {
    state: Mutex<State<S>>,
    /// Whoever polls it: woken when it is cut.
    waker: AtomicWaker,
}

pub(crate) enum State<S> {
    Open(Open<S>),
    Over,
    /// It was cut, and who polls it has yet to learn that.
    Cut,
}

/// What is held until the stream has ended.
pub(crate) struct Open<S> {
    pub(crate) pieces: Pin<Box<S>>,
    /// None of a body that reads no run.
    read: Option<Read>,
    /// What it holds since the engine has forgotten the run.
    charge: Option<Charge>,
}

/// A stream that can be looked at by whoever does not know its type.
trait Reader: Send + Sync + fmt::Debug {
    /// Counts what it holds of a run that the engine has forgotten, or cuts it.
    fn look(&self);
}

impl Readers {
    fn add(&self, reader: Weak<dyn Reader>) {
        let Ok(runtime) = Handle::try_current() else { return };
        let mut table = self.0.lock();
        table.all.push(reader);
        if table.watch.as_ref().is_none_or(JoinHandle::is_finished) {
            table.watch = Some(runtime.spawn(watch(Arc::downgrade(&self.0))));
        }
    }
}

/// Looks at all streams from time to time, until there are none.
async fn watch(table: Weak<Mutex<Table>>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(all) = table.upgrade().and_then(|table| table.lock().open()) else { return };
        for reader in all {
            reader.look();
            tokio::task::consume_budget().await;
        }
    }
}

impl Table {
    /// Yields the streams that are open; none if there are none, and so nobody to look at them.
    fn open(&mut self) -> Option<Vec<Arc<dyn Reader>>> {
        let all: Vec<_> = self.all.iter().filter_map(Weak::upgrade).collect();
        self.all = all.iter().map(Arc::downgrade).collect();
        if all.is_empty() {
            self.watch = None;
        }
        (!all.is_empty()).then_some(all)
    }
}

impl<S: Send + 'static> Reading<S> {
    /// Begins to read. What is read of a run is looked after.
    pub(crate) fn new(pieces: S, read: Option<Read>) -> Arc<Self> {
        let readers = read.as_ref().map(|read| read.readers.clone());
        let open = Open { pieces: Box::pin(pieces), read, charge: None };
        let state = Mutex::new(State::Open(open));
        let reading = Arc::new(Self { state, waker: AtomicWaker::new() });
        if let Some(readers) = readers {
            let reader: Weak<dyn Reader> = Arc::<Self>::downgrade(&reading);
            readers.add(reader);
        }
        reading
    }

    /// Looks at what there is, with the waker of whoever looks.
    pub(crate) fn polled<T>(
        &self,
        waker: &std::task::Waker,
        poll: impl FnOnce(&mut State<S>) -> T,
    ) -> T {
        self.waker.register(waker);
        poll(&mut self.state.lock())
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(&*self.state.lock(), State::Over)
    }
}

impl<S> Open<S> {
    /// Counts a chunk until the client has taken it. One for which there is no room is written all
    /// the same if a single event may be as large; a larger one is not.
    pub(crate) fn counted(&self, chunk: Bytes) -> Option<Bytes> {
        let Some(read) = &self.read else { return Some(chunk) };
        if counted(chunk.len()) == 0 {
            return Some(chunk);
        }
        match read.requests.charge(read.owner.as_ref(), chunk.len()) {
            Ok(room) => Some(Counted::new(chunk, room).into()),
            Err(_) if chunk.len() <= PIECE_BYTES_MAX => Some(chunk),
            Err(_) => None,
        }
    }
}

impl<S: Send> Reader for Reading<S> {
    fn look(&self) {
        let Some(mut state) = self.state.try_lock() else { return };
        let State::Open(Open { read: Some(read), charge: charge @ None, .. }) = &mut *state else {
            return;
        };
        if find(&read.engine, read.name).is_some() {
            return;
        }
        if let Ok(room) = read.requests.charge(read.owner.as_ref(), run_bytes(&read.run)) {
            *charge = Some(room);
            return;
        }
        let held = std::mem::replace(&mut *state, State::Cut);
        drop(state);
        drop(held);
        self.waker.wake();
    }
}

/// Yields what a run takes in memory with its log, about, also if the engine has forgotten it: its
/// rows, what it was given, and its events.
pub fn run_bytes(run: &RunRef) -> usize {
    let rows = run.report().rows.iter().map(row_bytes).sum::<usize>();
    rows + run.input().map_or(0, Payload::bytes_max) + run.log_bytes()
}

/// How often streams are looked at.
const EVERY: Duration = Duration::from_millis(250);

/// What is written although there is no room: more than one event ([`quell::limits`]).
const PIECE_BYTES_MAX: usize = 512 << 10;

impl<S> fmt::Debug for Reading<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").finish_non_exhaustive()
    }
}
