//! [`Readers`]: a few connections that read, each with a thread.
//!
//! A read whose caller gives up leaves the queue, or is interrupted: the thread is for those who
//! still wait. The interrupt is sent under the lock under which a thread takes its next read and
//! is through with it, so that it never meets another read.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use quell_core::store::StoreError;
use quell_durable::catch_panic;
use rusqlite::{Connection, InterruptHandle};
use tokio::sync::oneshot;

use crate::gate::Gate;

/// A read, which sends its own answer.
type Read = Box<dyn FnOnce(&Connection) + Send>;

/// Reads on their way to the threads that read. There are as many as callers that wait.
#[derive(Debug)]
pub(crate) struct Readers {
    /// Guards the reads that wait; never held while one of them runs or is dropped.
    state: Mutex<State>,
    /// One was added, or the store closes.
    changed: Condvar,
    gate: Arc<Gate>,
    /// Lists that are read at once: a thread is left for what is asked by id.
    lists_max: usize,
}

#[derive(Default)]
struct State {
    /// With their numbers, which rise.
    reads: VecDeque<(u64, Read)>,
    lists: VecDeque<(u64, Read)>,
    /// Lists that are read now.
    listing: usize,
    /// What is read now, each with what interrupts it.
    reading: Vec<(u64, Arc<InterruptHandle>)>,
    /// The number of the next one.
    next: u64,
    is_closed: bool,
}

/// A read that waits for a thread, or is with one. When it is dropped, it does not wait any more,
/// and is not read on.
struct Waits<'a> {
    readers: &'a Readers,
    number: u64,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { reads, lists, listing, reading, next: _, is_closed } = self;
        let mut all = f.debug_struct("State");
        all.field("reading", &reading.len());
        all.field("reads", &reads.len()).field("lists", &lists.len()).field("listing", listing);
        all.field("is_closed", is_closed).finish()
    }
}

impl Readers {
    /// Makes the way to so many threads.
    pub(crate) fn new(gate: Arc<Gate>, threads: usize) -> Self {
        let lists_max = threads.saturating_sub(1).max(1);
        Self { state: Mutex::default(), changed: Condvar::new(), gate, lists_max }
    }

    /// Reads on one of the threads, in the order in which callers came.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.answer(false, read).await
    }

    /// As [`Readers::read`], what takes long: it leaves a thread for the others.
    pub(crate) async fn list<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.answer(true, read).await
    }

    async fn answer<T: Send + 'static>(
        &self,
        is_list: bool,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let gate = Arc::clone(&self.gate);
        let read: Read = Box::new(move |connection| {
            let panicked = || StoreError::Io { what: "reading has panicked".into() };
            let reads = gate.reads.read();
            let found = catch_panic(|| read(connection)).unwrap_or_else(|| Err(panicked()));
            drop(reads);
            // It runs the waker of the caller. Who gave up is not told.
            catch_panic(|| drop(answer.send(found)));
        });
        let _waits = self.push(is_list, read)?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    fn push(&self, is_list: bool, read: Read) -> Result<Waits<'_>, StoreError> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(StoreError::Closed);
        }
        let number = state.next;
        state.next += 1;
        let reads = if is_list { &mut state.lists } else { &mut state.reads };
        reads.push_back((number, read));
        drop(state);
        self.changed.notify_one();
        Ok(Waits { readers: self, number })
    }

    /// Reads until the store closes.
    pub(crate) fn run(&self, connection: &Connection) {
        let interrupt = Arc::new(connection.get_interrupt_handle());
        loop {
            let (is_list, number, read) = {
                let mut state = self.state.lock();
                loop {
                    if let Some(taken) = self.take(&mut state) {
                        state.reading.push((taken.1, Arc::clone(&interrupt)));
                        break taken;
                    }
                    if state.is_closed && state.lists.is_empty() {
                        return;
                    }
                    self.changed.wait(&mut state);
                }
            };
            read(connection);
            let mut state = self.state.lock();
            state.reading.retain(|(of, _)| *of != number);
            if is_list {
                state.listing -= 1;
                drop(state);
                self.changed.notify_all();
            }
        }
    }

    /// Takes what is read next with its number, and tells whether it is a list.
    fn take(&self, state: &mut State) -> Option<(bool, u64, Read)> {
        if let Some((number, read)) = state.reads.pop_front() {
            return Some((false, number, read));
        }
        if state.listing >= self.lists_max {
            return None;
        }
        let (number, read) = state.lists.pop_front()?;
        state.listing += 1;
        Some((true, number, read))
    }

    /// Takes no more reads. Those that were taken are answered.
    pub(crate) fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_all();
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut state = self.readers.state.lock();
        let State { reads, lists, reading, .. } = &mut *state;
        if let Some((_, interrupt)) = reading.iter().find(|(number, _)| *number == self.number) {
            interrupt.interrupt();
        }
        let read = [reads, lists].into_iter().find_map(|reads| {
            let place = reads.binary_search_by_key(&self.number, |(number, _)| *number).ok()?;
            reads.remove(place)
        });
        drop(state);
        drop(read);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn a_read_that_is_given_up_while_it_waits_leaves() {
        let readers = Readers::new(Arc::default(), 1);
        let mut context = Context::from_waker(Waker::noop());
        let mut stays = pin!(readers.read(|_| Ok(1)));
        assert!(stays.as_mut().poll(&mut context).is_pending());
        for _ in 0..1_000 {
            let mut given_up = pin!(readers.read(|_| Ok(2)));
            assert!(given_up.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(readers.state.lock().reads.len(), 1);
        readers.close();
        readers.run(&Connection::open_in_memory().unwrap());
        let answer = stays.as_mut().poll(&mut context);
        assert_eq!(answer, std::task::Poll::Ready(Ok(1)), "it was taken before the close");
    }

    #[test]
    fn a_read_that_panics_is_an_error_and_the_thread_goes_on() {
        let readers = Readers::new(Arc::default(), 1);
        let mut context = Context::from_waker(Waker::noop());
        let mut bad = pin!(readers.read::<()>(|_| std::panic::resume_unwind(Box::new("a fault"))));
        let mut good = pin!(readers.read(|_| Ok(1)));
        assert!(bad.as_mut().poll(&mut context).is_pending());
        assert!(good.as_mut().poll(&mut context).is_pending());
        readers.close();
        readers.run(&Connection::open_in_memory().unwrap());
        let panicked = Err(StoreError::Io { what: "reading has panicked".into() });
        assert_eq!(bad.as_mut().poll(&mut context), std::task::Poll::Ready(panicked));
        assert_eq!(good.as_mut().poll(&mut context), std::task::Poll::Ready(Ok(1)));
    }

    #[test]
    fn a_read_whose_caller_gives_up_is_interrupted_and_the_thread_goes_on() {
        let readers = Readers::new(Arc::default(), 1);
        let mut context = Context::from_waker(Waker::noop());
        let (begun, has_begun) = std::sync::mpsc::channel();
        let (ended, has_ended) = std::sync::mpsc::channel();
        let mut given_up = Box::pin(readers.list(move |on| {
            let endless = "with recursive n(i) as (select 1 union all select i + 1 from n)
                select i from n where i = 1";
            let mut endless = on.prepare(endless).unwrap();
            let mut rows = endless.query([]).unwrap();
            // From its first row on a statement is under way.
            assert!(rows.next().unwrap().is_some());
            begun.send(()).unwrap();
            ended.send(rows.next().map(|_| ())).unwrap();
            Ok(())
        }));
        assert!(given_up.as_mut().poll(&mut context).is_pending());
        let mut next = pin!(readers.read(|_| Ok(2)));
        let first = std::thread::scope(|scope| {
            scope.spawn(|| readers.run(&Connection::open_in_memory().unwrap()));
            has_begun.recv().unwrap();
            drop(given_up);
            let error = has_ended.recv().unwrap().unwrap_err();
            let interrupted = rusqlite::ErrorCode::OperationInterrupted;
            assert_eq!(error.sqlite_error_code(), Some(interrupted));
            // The thread may be done with it already.
            let first = next.as_mut().poll(&mut context);
            readers.close();
            first
        });
        let told = if first.is_ready() { first } else { next.as_mut().poll(&mut context) };
        assert_eq!(told, std::task::Poll::Ready(Ok(2)));
        assert!(readers.state.lock().reading.is_empty());
    }

    #[test]
    fn lists_that_are_read_leave_a_thread_for_what_is_asked_by_id() {
        let readers = Readers::new(Arc::default(), 2);
        let mut context = Context::from_waker(Waker::noop());
        let mut lists = [(), ()].map(|()| Box::pin(readers.list(|_| Ok(1))));
        for list in &mut lists {
            assert!(list.as_mut().poll(&mut context).is_pending());
        }
        let take = || readers.take(&mut readers.state.lock());
        assert!(matches!(take(), Some((true, ..))));
        assert!(take().is_none(), "the other thread is left");
        let mut read = pin!(readers.read(|_| Ok(2)));
        assert!(read.as_mut().poll(&mut context).is_pending());
        assert!(matches!(take(), Some((false, ..))));
    }

    #[test]
    fn lists_that_wait_for_each_other_are_all_read_before_the_close() {
        let readers = Readers::new(Arc::default(), 1);
        let mut context = Context::from_waker(Waker::noop());
        let mut lists = [(), ()].map(|()| Box::pin(readers.list(|_| Ok(1))));
        for list in &mut lists {
            assert!(list.as_mut().poll(&mut context).is_pending());
        }
        readers.close();
        readers.run(&Connection::open_in_memory().unwrap());
        for list in &mut lists {
            assert_eq!(list.as_mut().poll(&mut context), std::task::Poll::Ready(Ok(1)));
        }
    }
}
