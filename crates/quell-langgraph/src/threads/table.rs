//! [`Threads`]: the threads of a service, by id.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use quell::Engine;
use uuid::Uuid;

use crate::threads::thread::Thread;

/// The threads of a service, by id.
#[derive(Debug, Default)]
pub(crate) struct Threads(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    all: HashMap<Uuid, Entry>,
    /// Those of every owner, that of stateless runs included, by when they were used last.
    owners: HashMap<Option<String>, BTreeMap<u64, Uuid>>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    thread: Arc<Thread>,
    used: u64,
}

/// There are as many threads as there may be, and those that would leave are busy.
#[derive(Debug)]
pub(crate) struct Full;

impl Threads {
    /// Takes ended runs of an owner's threads out, oldest first, until so many bytes of values are
    /// given back.
    pub(crate) fn evict(&self, engine: &Engine, owner: Option<&str>, bytes: usize) {
        let table = self.0.lock();
        let own: Vec<_> = table.of(owner).map(Arc::clone).collect();
        drop(table);
        let ended = own.iter().flat_map(|thread| {
            thread.ended(engine).into_iter().map(move |tracked| (thread, tracked))
        });
        let ended = ended.filter(|(_, tracked)| tracked.left_bytes.load(Ordering::SeqCst) > 0);
        let mut ended: Vec<_> = ended.collect();
        // Ids of runs are in the order of time.
        ended.sort_by_key(|(_, tracked)| tracked.id);
        let mut freed = 0;
        for (thread, tracked) in ended {
            if freed >= bytes {
                return;
            }
            freed += thread.evict(engine, tracked.id);
        }
    }

    /// Forgets the thread of an owner that is idle, holds values or is in the store with what it
    /// holds, and was used longest ago, but for one; false if there is none.
    pub(crate) fn forget_oldest(&self, engine: &Engine, owner: Option<&str>, but: Uuid) -> bool {
        let mut table = self.0.lock();
        let mut threads = table.of(owner);
        let is_meant = |it: &Thread| it.is_charged() || it.record().is_some();
        let oldest = threads.find(|it| it.id != but && is_meant(it) && it.leave_if_idle(engine));
        let Some(oldest) = oldest.map(Arc::clone) else { return false };
        drop(threads);
        oldest.give_back();
        table.take(&oldest);
        true
    }

    pub(crate) fn get(&self, id: Uuid) -> Option<Arc<Thread>> {
        self.0.lock().all.get(&id).map(|entry| Arc::clone(&entry.thread))
    }

    /// Notes that a thread is used.
    pub(crate) fn touch(&self, thread: &Thread) {
        self.0.lock().touch(thread);
    }

    /// Adds a thread, unless its id is in use: then it yields the one that is there.
    pub(crate) fn add(
        &self,
        engine: &Engine,
        thread: Thread,
    ) -> Result<Result<Arc<Thread>, Arc<Thread>>, Full> {
        let mut table = self.0.lock();
        if let Some(known) = table.all.get(&thread.id) {
            return Ok(Err(Arc::clone(&known.thread)));
        }
        if table.all.len() >= THREADS_MAX && !table.make_room(engine, &thread) {
            return Err(Full);
        }
        let thread = Arc::new(thread);
        table.all.insert(thread.id, Entry { thread: Arc::clone(&thread), used: 0 });
        table.touch(&thread);
        Ok(Ok(thread))
    }

    /// Removes a thread of which nothing is live or about to be.
    pub(crate) fn remove_if_idle(&self, engine: &Engine, thread: &Arc<Thread>) {
        if thread.leave_if_idle(engine) {
            self.0.lock().take(thread);
        }
    }

    /// Removes a thread that is deleted.
    pub(crate) fn remove(&self, thread: &Arc<Thread>) {
        thread.leave();
        self.0.lock().take(thread);
    }

    /// Lists the threads of an owner, without those of stateless runs.
    pub(crate) fn list_of(&self, owner: Option<&str>) -> Vec<Uuid> {
        let table = self.0.lock();
        table.of(owner).filter(|thread| !thread.is_temporary).map(|thread| thread.id).collect()
    }

    /// Lists all threads, without those of stateless runs.
    pub(crate) fn list(&self) -> Vec<Uuid> {
        let table = self.0.lock();
        let all = table.all.values().map(|entry| &entry.thread);
        all.filter(|thread| !thread.is_temporary).map(|thread| thread.id).collect()
    }

    /// Removes a thread that was made for a run which was not made; tells whether nobody else uses
    /// it.
    pub(crate) fn remove_if_unused(&self, thread: &Arc<Thread>) -> bool {
        let is_unused = thread.leave_if_unused();
        if is_unused {
            self.0.lock().take(thread);
        }
        is_unused
    }
}

impl Table {
    /// Yields the threads of an owner, the one first that was used longest ago.
    fn of(&self, owner: Option<&str>) -> impl Iterator<Item = &Arc<Thread>> {
        let order = self.owners.get(&owner.map(str::to_owned));
        let ids = order.into_iter().flat_map(BTreeMap::values);
        ids.filter_map(|id| self.all.get(id)).map(|entry| &entry.thread)
    }

    /// Makes a thread the one that was used last, if it is there.
    fn touch(&mut self, thread: &Thread) {
        let Some(entry) = self.all.get_mut(&thread.id) else { return };
        let order = self.owners.entry(entry.thread.owner.clone()).or_default();
        order.remove(&entry.used);
        self.next += 1;
        entry.used = self.next;
        order.insert(entry.used, thread.id);
    }

    /// Takes a thread out that takes no runs any more. A later one of the same id stays.
    fn take(&mut self, thread: &Arc<Thread>) {
        let entry = self.all.get(&thread.id).filter(|it| Arc::ptr_eq(&it.thread, thread));
        let Some(used) = entry.map(|entry| entry.used) else { return };
        self.all.remove(&thread.id);
        if let Some(order) = self.owners.get_mut(&thread.owner) {
            order.remove(&used);
            if order.is_empty() {
                self.owners.remove(&thread.owner);
            }
        }
    }

    /// Forgets a thread to make room for a new one: a thread of the owner with the most, or of the
    /// new thread's owner if no other has more. So no owner loses threads to one who has as many or
    /// more.
    fn make_room(&mut self, engine: &Engine, new: &Thread) -> bool {
        let own = self.owners.get(&new.owner).map_or(0, BTreeMap::len);
        let most = self.owners.iter().max_by_key(|(_, order)| order.len());
        let most = most.filter(|(_, order)| order.len() > own).map(|(most, _)| most.clone());
        let loser = most.unwrap_or_else(|| new.owner.clone());
        // The oldest that is idle, among the first few.
        for _ in 0..EVICTIONS_TRIED_MAX {
            let oldest = self.of(loser.as_deref()).next().map(Arc::clone);
            let Some(thread) = oldest else { return false };
            if thread.leave_if_idle(engine) {
                self.take(&thread);
                return true;
            }
            self.touch(&thread);
        }
        false
    }
}

/// Threads in memory. One more, and the oldest idle one of the owner who has the most leaves; if
/// there is none, it is refused.
const THREADS_MAX: usize = 100_000;

const EVICTIONS_TRIED_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::exact::Keys;

    fn new(owner: &str, is_temporary: bool) -> Thread {
        Thread::new(Uuid::now_v7(), Some(owner), &Keys::new(), is_temporary)
    }

    fn add(threads: &Threads, engine: &Engine, owner: &str) -> Uuid {
        threads.add(engine, new(owner, false)).unwrap().unwrap().id
    }

    #[tokio::test]
    async fn an_owner_of_many_threads_takes_none_of_anybody_else() {
        for is_temporary in [false, true] {
            let (threads, engine) = (Threads::default(), Engine::new());
            let precious = add(&threads, &engine, "alice");
            let first = add(&threads, &engine, "bob");
            for _ in 0..THREADS_MAX {
                drop(threads.add(&engine, new("bob", is_temporary)));
            }
            assert_eq!(threads.0.lock().all.len(), THREADS_MAX);
            assert!(threads.get(precious).is_some(), "alice lost her thread to bob's");
            assert!(threads.get(first).is_none(), "bob lost his own");
            let more = add(&threads, &engine, "alice");
            assert!(threads.get(precious).is_some() && threads.get(more).is_some());
        }
    }

    #[tokio::test]
    async fn threads_are_in_the_order_of_their_use_and_one_that_left_is_in_no_order() {
        let (threads, engine) = (Threads::default(), Engine::new());
        let ids = [(); 3].map(|()| add(&threads, &engine, "bob"));
        threads.touch(&threads.get(ids[0]).unwrap());
        let order = || threads.0.lock().of(Some("bob")).map(|it| it.id).collect::<Vec<_>>();
        assert_eq!(order(), [ids[1], ids[2], ids[0]]);
        for id in ids {
            threads.remove_if_idle(&engine, &threads.get(id).unwrap());
        }
        let table = threads.0.lock();
        assert_eq!((table.all.len(), table.owners.len()), (0, 0));
    }
}
