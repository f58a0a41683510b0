//! [`Readers`]: a few connections that read, each with a thread.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};
use quell_core::store::StoreError;
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

/// A read, which sends its own answer.
type Read = Box<dyn FnOnce(&Connection) + Send>;

/// Reads on their way to the threads that read.
#[derive(Debug)]
pub(crate) struct Readers {
    /// Guards the reads that wait; never held while one of them runs.
    state: Mutex<State>,
    /// One was added, or the store closes.
    changed: Condvar,
    /// Room for reads. It is closed together with the store.
    room: Semaphore,
}

#[derive(Default)]
struct State {
    reads: VecDeque<Read>,
    is_closed: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { reads, is_closed } = self;
        f.debug_struct("State").field("reads", &reads.len()).field("is_closed", is_closed).finish()
    }
}

impl Readers {
    pub(crate) fn new() -> Self {
        let room = Semaphore::new(READS_MAX);
        Self { state: Mutex::default(), changed: Condvar::new(), room }
    }

    /// Reads on one of the threads. Waits in order when many read.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _room = self.room.acquire().await.map_err(|_| StoreError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let read: Read = Box::new(move |connection| {
            // Who gave up is not told.
            let _ = answer.send(read(connection));
        });
        {
            let mut state = self.state.lock();
            if state.is_closed {
                return Err(StoreError::Closed);
            }
            state.reads.push_back(read);
        }
        self.changed.notify_one();
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Reads until the store closes.
    pub(crate) fn run(&self, connection: &Connection) {
        loop {
            let read = {
                let mut state = self.state.lock();
                loop {
                    if let Some(read) = state.reads.pop_front() {
                        break read;
                    }
                    if state.is_closed {
                        return;
                    }
                    self.changed.wait(&mut state);
                }
            };
            read(connection);
        }
    }

    /// Takes no more reads. Those that were taken are answered.
    pub(crate) fn close(&self) {
        self.room.close();
        self.state.lock().is_closed = true;
        self.changed.notify_all();
    }
}

/// Reads under way and waiting for a thread. More wait for room.
const READS_MAX: usize = 256;
