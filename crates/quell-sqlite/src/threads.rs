//! [`Threads`]: those that read and copy, and the one that writes, which ends last.

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use quell_core::store::StoreError;
use quell_durable::{Closing, Queue, catch_panic};
use rusqlite::Connection;

use crate::place::Place;
use crate::readers::Readers;
use crate::wal::Wal;

/// The code of a thread.
pub(crate) type Code = Box<dyn FnOnce() + Send>;

/// Starts a thread of a name.
pub(crate) type Spawn<'a> = &'a dyn Fn(&str, Code) -> io::Result<JoinHandle<()>>;

/// Threads that read, and the one that copies the log. When this is dropped, they end, and the file
/// is free.
#[derive(Debug)]
pub(crate) struct Threads {
    readers: Arc<Readers>,
    wal: Arc<Wal>,
    reading: Vec<JoinHandle<()>>,
    copying: Option<JoinHandle<()>>,
    /// Dropped last: until then nobody else has the file.
    _place: Place,
}

impl Threads {
    /// Starts a thread for each connection.
    ///
    /// # Errors
    ///
    /// Fails if the system refuses one. Then those that were started have ended.
    pub(crate) fn start(
        place: Place,
        (readers, reading): (&Arc<Readers>, Vec<Connection>),
        (wal, copies): (&Arc<Wal>, Connection),
        spawn: Spawn<'_>,
    ) -> Result<Self, StoreError> {
        let (of_readers, of_wal) = (Arc::clone(readers), Arc::clone(wal));
        let mut threads = Self {
            readers: of_readers,
            wal: of_wal,
            reading: Vec::new(),
            copying: None,
            _place: place,
        };
        for connection in reading {
            let readers = Arc::clone(readers);
            let code: Code = Box::new(move || readers.run(&connection));
            threads.reading.push(spawn("quell-sqlite-read", code).map_err(|e| no_thread(&e))?);
        }
        let wal = Arc::clone(wal);
        let code: Code = Box::new(move || wal.run(&copies));
        threads.copying = Some(spawn("quell-sqlite-log", code).map_err(|e| no_thread(&e))?);
        Ok(threads)
    }

    /// Starts the thread that writes. However it ends, what waits is answered, the other threads
    /// end, the file is free, and whoever waits for that is told.
    ///
    /// # Errors
    ///
    /// Fails if the system refuses it. Then the others have ended.
    pub(crate) fn write(
        self,
        queue: Arc<Queue>,
        closing: Arc<Closing>,
        write: Code,
        spawn: Spawn<'_>,
    ) -> Result<(), StoreError> {
        let code: Code = Box::new(move || {
            let ended = catch_panic(write).ok_or_else(|| StoreError::Io {
                what: "the thread that writes has panicked".into(),
            });
            queue.close();
            if let Err(error) = &ended {
                while let Some(job) = queue.wait() {
                    job.answer(Err(error.clone()));
                }
            }
            drop(self);
            closing.end(ended);
        });
        spawn("quell-sqlite-write", code).map(drop).map_err(|error| no_thread(&error))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.readers.close();
        for thread in self.reading.drain(..) {
            let _ = thread.join();
        }
        // Last, so that nobody reads while the log is cut.
        self.wal.close();
        if let Some(thread) = self.copying.take() {
            let _ = thread.join();
        }
    }
}

/// Starts a thread of the system.
pub(crate) fn of_the_system(name: &str, code: Code) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(code)
}

fn no_thread(error: &io::Error) -> StoreError {
    StoreError::Io { what: format!("no thread for the store: {error}") }
}

#[cfg(test)]
mod tests {
    use quell_core::RunId;
    use quell_core::store::{Epoch, Record};
    use quell_durable::Job;
    use tokio::sync::oneshot;

    use super::*;
    use crate::encode::encode;

    #[test]
    fn when_the_thread_that_writes_panics_all_are_answered_and_the_file_is_free() {
        let folder = std::env::temp_dir().join(format!("quell-ends-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let place = Place::take(&folder.join("runs.db")).unwrap();
        let (path, memory) = (place.path.clone(), Connection::open_in_memory().unwrap());
        let readers = Arc::new(Readers::new(Arc::default(), 1));
        let wal = Arc::new(Wal::new(Arc::default()));
        let (queue, closing) = (Arc::new(Queue::new(1, 0)), Arc::<Closing>::default());
        let job = || {
            let (run, epoch) = (RunId::from_text("run"), Epoch::new(1, 1));
            let started = Record::Started { run, epoch, at: std::time::SystemTime::UNIX_EPOCH };
            let (writes, bytes) = encode(vec![started]).unwrap();
            let (answer, answered) = oneshot::channel();
            (Job { writes, bytes, answer }, answered)
        };
        let jobs: Vec<_> = std::iter::repeat_with(job).take(3).collect();
        let mut answers = Vec::new();
        let mut waits = Vec::new();
        for (job, answered) in jobs {
            waits.extend(queue.push(job).unwrap());
            answers.push(answered);
        }
        assert_eq!(waits.len(), 2);
        let spawn: Spawn<'_> = &of_the_system;
        let threads = Threads::start(place, (&readers, Vec::new()), (&wal, memory), spawn).unwrap();
        let write: Code = Box::new(|| std::panic::resume_unwind(Box::new("a fault")));
        threads.write(Arc::clone(&queue), Arc::clone(&closing), write, spawn).unwrap();
        let panicked = StoreError::Io { what: "the thread that writes has panicked".into() };
        for answered in answers {
            assert_eq!(answered.blocking_recv().unwrap(), Err(panicked.clone()));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(closing.wait()), Err(panicked));
        assert_eq!(queue.push(job().0).unwrap_err(), StoreError::Closed);
        drop(Place::take(&path).unwrap());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
