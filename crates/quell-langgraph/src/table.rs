//! The threads of a service, by id.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use quell::Engine;
use uuid::Uuid;

use crate::threads::Thread;

/// The threads of a service, by id.
#[derive(Debug, Default)]
pub(crate) struct Threads(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    all: HashMap<Uuid, Arc<Thread>>,
    /// Those that are no run's own, oldest first, by their owner.
    orders: HashMap<Option<String>, VecDeque<Uuid>>,
}

/// There are as many threads as there may be, and those that would leave are busy.
#[derive(Debug)]
pub(crate) struct Full;

impl Threads {
    /// Takes ended runs of an owner's threads out, oldest first, until so many bytes of requests
    /// are given back.
    pub(crate) fn evict(&self, engine: &Engine, owner: Option<&str>, bytes: usize) {
        let table = self.0.lock();
        let own = table.all.values().filter(|thread| thread.owner.as_deref() == owner);
        let own: Vec<_> = own.map(Arc::clone).collect();
        drop(table);
        let ended = own.iter().flat_map(|thread| {
            thread.ended(engine).into_iter().map(move |tracked| (thread, tracked))
        });
        let mut ended: Vec<_> = ended.collect();
        // Ids of runs are in the order of time.
        ended.sort_by_key(|(_, tracked)| tracked.id);
        let mut freed = 0;
        for (thread, tracked) in ended {
            if freed >= bytes {
                return;
            }
            let of_request = tracked.charge.as_ref().map_or(0, quell_http::Charge::bytes);
            freed += of_request + tracked.left_bytes.load(Ordering::SeqCst);
            thread.remove(tracked.id);
            thread.shrink(engine);
        }
    }

    /// Forgets the oldest thread of an owner that is idle and holds values, but for one; false if
    /// there is none.
    pub(crate) fn forget_oldest(&self, engine: &Engine, owner: Option<&str>, but: Uuid) -> bool {
        let mut table = self.0.lock();
        let Some(order) = table.orders.get(&owner.map(str::to_owned)) else { return false };
        let mut threads = order.iter().filter_map(|id| table.all.get(id));
        let oldest = threads.find(|it| it.id != but && it.is_charged() && it.leave_if_idle(engine));
        let Some(oldest) = oldest.map(Arc::clone) else { return false };
        oldest.give_back();
        table.remove(&oldest);
        true
    }

    pub(crate) fn get(&self, id: Uuid) -> Option<Arc<Thread>> {
        self.0.lock().all.get(&id).map(Arc::clone)
    }

    /// Adds a thread, unless its id is in use: then it yields the one that is there.
    pub(crate) fn add(
        &self,
        engine: &Engine,
        thread: Thread,
    ) -> Result<Result<Arc<Thread>, Arc<Thread>>, Full> {
        let mut table = self.0.lock();
        if let Some(known) = table.all.get(&thread.id) {
            return Ok(Err(Arc::clone(known)));
        }
        if table.all.len() >= THREADS_MAX && !table.make_room(engine, &thread) {
            return Err(Full);
        }
        if !thread.is_temporary {
            table.orders.entry(thread.owner.clone()).or_default().push_back(thread.id);
        }
        let thread = Arc::new(thread);
        table.all.insert(thread.id, Arc::clone(&thread));
        Ok(Ok(thread))
    }

    /// Removes a thread that takes no runs any more. A later one of the same id stays.
    fn remove(&self, thread: &Arc<Thread>) {
        self.0.lock().remove(thread);
    }

    /// Removes a thread of which nothing is live or about to be.
    pub(crate) fn remove_if_idle(&self, engine: &Engine, thread: &Arc<Thread>) {
        if thread.leave_if_idle(engine) {
            self.remove(thread);
        }
    }

    /// Removes a thread that was made for a run which was not made.
    pub(crate) fn remove_if_unused(&self, thread: &Arc<Thread>) {
        if thread.leave_if_unused() {
            self.remove(thread);
        }
    }
}

impl Table {
    fn remove(&mut self, thread: &Arc<Thread>) {
        if self.all.get(&thread.id).is_none_or(|known| !Arc::ptr_eq(known, thread)) {
            return;
        }
        self.all.remove(&thread.id);
        if let Some(order) = self.orders.get_mut(&thread.owner) {
            order.retain(|known| *known != thread.id);
            if order.is_empty() {
                self.orders.remove(&thread.owner);
            }
        }
    }

    /// Forgets a thread for a new one: of whoever has the most, and of its
    /// owner if nobody has more. Nobody loses threads to one who has as many or more.
    fn make_room(&mut self, engine: &Engine, new: &Thread) -> bool {
        let own = self.orders.get(&new.owner).map_or(0, VecDeque::len);
        let most = self.orders.iter().max_by_key(|(_, order)| order.len());
        let most = most.filter(|(_, order)| order.len() > own).map(|(most, _)| most.clone());
        let loser = most.unwrap_or_else(|| new.owner.clone());
        let Some(order) = self.orders.get_mut(&loser) else { return false };
        // The oldest that is idle, among the first few.
        for _ in 0..EVICTIONS_TRIED_MAX.min(order.len()) {
            let Some(id) = order.pop_front() else { return false };
            if self.all.get(&id).is_some_and(|thread| !thread.leave_if_idle(engine)) {
                order.push_back(id);
            } else {
                self.all.remove(&id);
                if order.is_empty() {
                    self.orders.remove(&loser);
                }
                return true;
            }
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
    use serde_json::Map;

    use super::*;

    fn add(threads: &Threads, engine: &Engine, owner: &str) -> Uuid {
        let thread = Thread::new(Uuid::now_v7(), Some(owner), Map::new(), false);
        threads.add(engine, thread).unwrap().unwrap().id
    }

    #[tokio::test]
    async fn an_owner_of_many_threads_takes_none_of_anybody_else() {
        let (threads, engine) = (Threads::default(), Engine::new());
        let precious = add(&threads, &engine, "alice");
        let first = add(&threads, &engine, "bob");
        for _ in 0..THREADS_MAX {
            add(&threads, &engine, "bob");
        }
        assert_eq!(threads.0.lock().all.len(), THREADS_MAX);
        assert!(threads.get(precious).is_some());
        assert!(threads.get(first).is_none(), "bob lost his own");
        let more = add(&threads, &engine, "alice");
        assert!(threads.get(precious).is_some() && threads.get(more).is_some());
    }
}
