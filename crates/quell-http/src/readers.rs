//! [`Readers`]: counts the memory of streams that still read a run which the engine has forgotten.
//!
//! A client that reads its stream slowly, or not at all, keeps the run, its log and the rendered
//! events in memory. While the engine has the run, the engine counts them. From then on they count
//! as under way for the caller who reads; if there is no room for them, the stream is cut.
//!
//! Lock order: a stream, then the locks that its pieces are made under, the charges, the ledger. No
//! task locks two streams, or the table together with another lock. A stream is locked while its
//! pieces are made; the check skips it then, since such a stream is not stalled. Values of a stream
//! are dropped under no lock, and not on the task that checks.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use quell::{Engine, RunId, RunRef};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::counted::{Counted, counted, run_bytes};
use crate::ids::{Identity, find};
use crate::ledger::{Charge, Ledger, Overdrawn};
use crate::sse_event::Piece;

/// The streams of a service. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readers {
    table: Arc<Mutex<Table>>,
    charges: Arc<Mutex<Charges>>,
}

/// The charges of forgotten runs, each once for all streams of one owner.
#[derive(Debug, Default)]
struct Charges {
    all: HashMap<(Identity, Option<Arc<str>>), Weak<Charge>>,
}

#[derive(Debug, Default)]
struct Table {
    all: Vec<Weak<dyn Reader>>,
    /// The task that checks them, while there are any.
    watch: Option<JoinHandle<()>>,
}

/// A run that a client reads, and what is needed to count it.
pub(crate) struct Read {
    pub(crate) run: RunRef,
    pub(crate) name: Identity,
    pub(crate) engine: Engine,
    /// The ledger of large requests and answers under way.
    pub(crate) requests: Ledger,
    pub(crate) owner: Option<Arc<str>>,
    pub(crate) readers: Readers,
    /// Tells whether the adapter keeps the run, and counts it.
    pub(crate) is_kept: Option<IsKept>,
}

pub(crate) type IsKept = Box<dyn Fn(RunId) -> bool + Send + Sync>;

impl Read {
    fn is_forgotten(&self) -> bool {
        find(&self.engine, self.name).is_none()
            && !self.is_kept.as_ref().is_some_and(|is_kept| is_kept(self.name.0))
    }

    /// Charges the run and its log, once for all streams of the owner.
    fn charge(&self) -> Result<Arc<Charge>, Overdrawn> {
        let mut charges = self.readers.charges.lock();
        let known = charges.all.entry((self.name, self.owner.clone())).or_default();
        if let Some(charge) = known.upgrade() {
            return Ok(charge);
        }
        let charge = self.requests.charge(self.owner.as_ref(), run_bytes(&self.run))?;
        let charge = Arc::new(charge);
        *known = Arc::downgrade(&charge);
        Ok(charge)
    }
}

/// The stream of one client.
pub(crate) struct Reading<S> {
    state: Mutex<State<S>>,
    /// The task that polls the stream. It is woken when the stream is cut.
    waker: AtomicWaker,
}

pub(crate) enum State<S> {
    Open(Open<S>),
    Over,
    /// The stream was cut, and the task that polls it has not seen that yet.
    Cut,
}

/// The values that a stream holds until it has ended.
pub(crate) struct Open<S> {
    pub(crate) pieces: Pin<Box<S>>,
    /// The run that it reads; `None` for a body that reads none.
    read: Option<Box<Read>>,
    /// The charge of the run, once the engine has forgotten it.
    charge: Option<Arc<Charge>>,
    /// How often there was no room for that charge.
    refused: u8,
}

/// A stream of any type, for the task that checks all of them.
trait Reader: Send + Sync + fmt::Debug {
    /// If the engine has forgotten the run, charges it; cuts the stream if there is no room.
    fn look(&self);
}

impl Readers {
    fn add(&self, reader: Weak<dyn Reader>) {
        let Ok(runtime) = Handle::try_current() else { return };
        let mut table = self.table.lock();
        table.all.push(reader);
        if table.watch.as_ref().is_none_or(JoinHandle::is_finished) {
            let (all, charges) = (Arc::downgrade(&self.table), Arc::clone(&self.charges));
            table.watch = Some(runtime.spawn(watch(all, charges)));
        }
    }
}

/// Checks all streams from time to time, until there are none.
async fn watch(table: Weak<Mutex<Table>>, charges: Arc<Mutex<Charges>>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(open) = table.upgrade().map(|table| table.lock().open()) else { return };
        // Also after the last stream: this task ends then, and no other one would remove them.
        charges.lock().all.retain(|_, charge| charge.strong_count() > 0);
        let Some(all) = open else { return };
        for reader in all {
            if let Some(reader) = reader.upgrade() {
                reader.look();
            }
            tokio::task::consume_budget().await;
        }
    }
}

impl Table {
    /// Yields the open streams; `None` if there are none, and then the task ends.
    fn open(&mut self) -> Option<Vec<Weak<dyn Reader>>> {
        self.all.retain(|reader| reader.strong_count() > 0);
        if self.all.is_empty() {
            self.watch = None;
        }
        (!self.all.is_empty()).then(|| self.all.clone())
    }
}

impl<S: Send + 'static> Reading<S> {
    /// Makes the stream of a client, and registers it if it reads a run.
    pub(crate) fn new(pieces: S, read: Option<Box<Read>>) -> Arc<Self> {
        let readers = read.as_ref().map(|read| read.readers.clone());
        let open = Open { pieces: Box::pin(pieces), read, charge: None, refused: 0 };
        let state = Mutex::new(State::Open(open));
        let reading = Arc::new(Self { state, waker: AtomicWaker::new() });
        if let Some(readers) = readers {
            let reader: Weak<dyn Reader> = Arc::<Self>::downgrade(&reading);
            readers.add(reader);
        }
        reading
    }
}

impl<S> Reading<S> {
    /// Polls the stream under its lock, and registers the waker of the task.
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

    /// Drops the values of the stream.
    pub(crate) fn close(&self) {
        let held = std::mem::replace(&mut *self.state.lock(), State::Over);
        drop(held);
    }
}

impl<S> Open<S> {
    /// Counts a chunk until the client has taken it; `None` cuts the stream. While the engine has
    /// the run, a chunk without room is written all the same: a live run must not lose its client
    /// for want of room. After that, only a chunk as small as a single event is.
    pub(crate) fn counted(&self, (chunk, room): Piece) -> Option<Bytes> {
        let Some(read) = &self.read else { return Some(chunk) };
        if counted(chunk.len()) == 0 {
            return Some(chunk);
        }
        // Keep the room that was found for the chunk: given back, another caller could take it.
        let mut room = room.or_else(|| read.requests.charge(read.owner.as_ref(), 0).ok())?;
        let has_room = room.resize(chunk.len()).is_ok();
        // Small pieces that came before are in the same chunk, but not in its room.
        let uncounted = chunk.len().saturating_sub(room.bytes());
        let is_written = has_room || uncounted <= PIECE_BYTES_MAX || !read.is_forgotten();
        is_written.then(|| Counted::new(chunk, room).into())
    }
}

impl<S: Send + 'static> Reader for Reading<S> {
    fn look(&self) {
        let Some(mut state) = self.state.try_lock() else { return };
        let State::Open(open) = &mut *state else { return };
        let Some(read) = open.read.as_ref().filter(|_| open.charge.is_none()) else { return };
        if !read.is_forgotten() {
            return;
        }
        open.charge = read.charge().ok();
        open.refused += 1;
        if open.charge.is_some() || open.refused < LOOKS {
            return;
        }
        let held = std::mem::replace(&mut *state, State::Cut);
        drop(state);
        self.waker.wake();
        // The values may be of a user, whose destructors may take long.
        drop(tokio::task::spawn_blocking(move || drop(held)));
    }
}

/// The time between two checks of the streams.
const EVERY: Duration = Duration::from_millis(250);

/// Checks without room for a run before its stream is cut.
const LOOKS: u8 = 4;

/// The largest chunk of a forgotten run that is written without room: more than one event
/// ([`quell::limits`]).
const PIECE_BYTES_MAX: usize = 512 << 10;

impl<S> fmt::Debug for Reading<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::stream::pending;
    use quell::{Payload, RunContext, RunSpec};

    use super::*;
    use crate::ids::identity;

    #[tokio::test(start_paused = true)]
    async fn nothing_is_left_of_what_was_charged_when_the_last_stream_is_gone() {
        let (engine, readers) = (Engine::new(), Readers::default());
        let requests = Ledger::new("bytes", 1 << 20, 25);
        let body = async |_ctx: RunContext| Ok(Payload::from("hi"));
        let run = engine.submit(RunSpec::agent("a"), body).unwrap().run().clone();
        run.quiescent().await;
        let read = Read {
            name: identity(&run),
            run: run.clone(),
            engine: engine.clone(),
            requests: requests.clone(),
            owner: Some("ada".into()),
            readers: readers.clone(),
            is_kept: None,
        };
        let reading = Reading::new(pending::<Bytes>(), Some(Box::new(read)));
        engine.forget(run.id()).unwrap();
        tokio::time::sleep(2 * EVERY).await;
        assert!(requests.total() > 0 && readers.charges.lock().all.len() == 1);
        drop(reading);
        tokio::time::sleep(2 * EVERY).await;
        assert!(requests.total() == 0 && readers.table.lock().watch.is_none());
        assert!(readers.charges.lock().all.is_empty());
    }
}
