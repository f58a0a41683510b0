//! [`Thread::undo`]: takes back what a run has left in a thread.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use quell::{Engine, RunId};
use serde_json::Value;

use crate::threads::elsewhere::Mark;
use crate::threads::ground::Ground;
use crate::threads::thread::{State, Thread};
use crate::threads::tracked::Tracked;
use crate::values::bytes_of;
use crate::wire::asked::row_in_thread;

impl Thread {
    /// Takes a run out that has ended. If it was the last one to end, or the last one of these that
    /// had started, the thread is as before it: as the one before has left it. What is not in
    /// memory of that is read again from the store, if there is one.
    ///
    /// `known` is what there was of it when the engine had not forgotten it yet: readers have the
    /// first one leave the list with that.
    pub(crate) fn undo(&self, engine: &Engine, id: RunId, known: Option<Arc<Tracked>>) {
        let mut state = self.state.lock();
        state.settle(engine);
        state.undone += 1;
        let back = state.take_out(id, known);
        let is_of = |mark: Option<Mark>| mark.is_some_and(|mark| mark.run() == id);
        let (was_last, has_written) = (is_of(state.left), is_of(state.wrote));
        if has_written {
            state.go_back(back);
        }
        if was_last {
            (state.left, state.last) = (None, None);
            (state.graph, state.error) = (None, Value::Null);
        }
        if !was_last && !has_written {
            return;
        }
        // The last one that has started, and that which has ended last.
        for has_to_start in [true, false] {
            let ended = state.ended.iter().filter_map(|tracked| {
                let run = tracked.run(engine).filter(|run| !run.is_rolled_back())?;
                let row = row_in_thread(&(&run).into());
                let counts = row.started_at.is_some() || !has_to_start;
                counts.then(|| (Arc::clone(tracked), row))
            });
            // One may have come into memory behind one that has ended later.
            if let Some((tracked, row)) = ended.max_by_key(|(_, row)| row.ended_at) {
                let fold = tracked.fold.lock();
                state.leave((&tracked, &row), &fold, false);
            }
        }
        self.is_whole.store(false, Ordering::SeqCst);
    }

    /// As [`Thread::add`], of one that was read; false as well if a deletion came since, of which
    /// there had been so many then.
    #[must_use]
    pub(crate) fn add_unless_undone(&self, tracked: &Arc<Tracked>, undone: Option<u64>) -> bool {
        let mut state = self.state.lock();
        let is_added = undone.is_none_or(|undone| undone == state.undone) && !state.is_deleted;
        if is_added {
            state.live.push(Arc::clone(tracked));
        }
        is_added
    }

    /// Yields how often a deletion has taken a run out. Whoever reads the store tells by it whether
    /// what was read may be deleted by now.
    pub(crate) fn undone(&self) -> u64 {
        self.state.lock().undone
    }

    /// Notes that all that the store says is taken in, if no deletion came since it was read; tells
    /// whether none did.
    pub(crate) fn is_whole_since(&self, undone: u64) -> bool {
        let state = self.state.lock();
        let is_whole = state.undone == undone;
        if is_whole {
            self.is_whole.store(true, Ordering::SeqCst);
        }
        is_whole
    }

    /// Has the thread be as it was made, if no run has left anything in it: the store has none.
    pub(crate) fn go_back_to_base(&self, engine: &Engine) {
        let mut state = self.state.lock();
        state.settle(engine);
        if state.wrote.is_none() {
            let base = state.base();
            state.go_back(base);
        }
    }
}

impl State {
    /// Takes a run out, whatever has become of it. Yields what the thread goes back to without it:
    /// the values with which it was made, if no more is known. So do those that have started on
    /// what this one has left.
    fn take_out(&mut self, id: RunId, known: Option<Arc<Tracked>>) -> Ground {
        let own = self.unlist(id).or(known);
        let back = own.and_then(|own| own.back.lock().take()).unwrap_or_else(|| self.base());
        let leaving: Vec<_> = self.leaving.iter().filter_map(Weak::upgrade).collect();
        for behind in self.ended.iter().chain(&self.live).chain(&leaving) {
            if let Some(of) = &mut *behind.back.lock()
                && of.last.is_some_and(|last| last.run() == id)
            {
                *of = back.clone();
            }
        }
        back
    }

    /// Takes a run out of the lists. Yields it, if it was in one.
    pub(super) fn unlist(&mut self, id: RunId) -> Option<Arc<Tracked>> {
        let own = self.ended.iter().chain(&self.live).find(|one| one.id == id).map(Arc::clone);
        self.ended.retain(|one| one.id != id);
        self.live.retain(|one| one.id != id);
        own
    }

    /// Notes that one is in neither list any more. Whoever deletes it may still have it, and what
    /// the thread goes back to then must be none that is deleted meanwhile.
    pub(super) fn let_go(&mut self, tracked: &Arc<Tracked>) {
        // Besides the caller.
        if Arc::strong_count(tracked) > 1 {
            self.leaving.retain(|one| one.strong_count() > 0);
            self.leaving.push(Arc::downgrade(tracked));
        }
    }

    /// Yields what the thread was made with.
    pub(super) fn base(&self) -> Ground {
        Ground { values: self.card.base.clone(), ..Ground::default() }
    }

    /// Has the thread be as it was on this ground. One on which no run has left anything is what
    /// the thread was made with, which may not have been known yet when a run was found on it.
    pub(super) fn go_back(&mut self, ground: Ground) {
        let ground = if ground.last.is_some() { ground } else { self.base() };
        let Ground { values, next, last } = ground;
        self.values_bytes = values.as_deref().map_or(0, bytes_of);
        (self.values, self.next, self.wrote) = (values, next, last);
    }
}

#[cfg(test)]
mod tests {
    use quell::{CancelRequest, Payload, RunSpec};
    use uuid::Uuid;

    use super::*;
    use crate::threads::within;
    use crate::wire::exact::Keys;

    #[tokio::test]
    async fn readers_of_a_run_that_is_being_deleted_do_not_take_what_was_before_it_along() {
        let (engine, id) = (Engine::new(), Uuid::now_v7());
        let thread = Thread::new(id, None, &Keys::new(), false);
        let mut of = Vec::new();
        for input in [r#"{"nr":1}"#, r#"{"nr":2}"#] {
            let spec = RunSpec::agent("r").input(Payload::from_json_text(input).unwrap());
            let run = engine.submit(spec, async |_ctx| Ok(())).unwrap().into_ref();
            run.quiescent().await;
            let tracked = Arc::new(Tracked::of(&(&run).into(), within(id)));
            assert!(thread.add(&tracked));
            assert_eq!(thread.ended(&engine).last().unwrap().id, run.id());
            of.push((run, tracked));
        }
        let nr = || thread.values(&engine).and_then(|values| values.get("nr").cloned());
        assert_eq!(nr(), Some(2.into()));
        // It has made room.
        thread.remove(of[0].0.id());
        of[1].0.forget().unwrap();
        assert!(thread.ended(&engine).is_empty());
        thread.undo(&engine, of[1].0.id(), Some(Arc::clone(&of[1].1)));
        assert_eq!(nr(), Some(1.into()));
    }

    #[tokio::test]
    async fn a_run_that_is_rolled_back_leaves_nothing_to_those_before_it() {
        let (engine, id) = (Engine::new(), Uuid::now_v7());
        let thread = Thread::new(id, None, &Keys::new(), false);
        let spec = RunSpec::agent("r").input(Payload::from_json_text(r#"{"nr":1}"#).unwrap());
        let first = engine.submit(spec, async |_ctx| Ok(())).unwrap().into_ref();
        first.quiescent().await;
        let body = async |ctx: quell::RunContext| {
            ctx.stopped().await;
            Ok(())
        };
        let second = engine.submit(RunSpec::agent("r"), body).unwrap().into_ref();
        let of = [&first, &second].map(|run| Arc::new(Tracked::of(&run.into(), within(id))));
        for (run, tracked) in [&first, &second].into_iter().zip(&of) {
            tracked.begin(run);
            assert!(thread.add(tracked));
            thread.starts(&engine, tracked, run);
        }
        assert!(thread.values(&engine).is_some());
        drop(second.cancel(CancelRequest::because("deleted").rollback()));
        second.quiescent().await;
        // Whoever follows it takes it out while it is being deleted.
        thread.remove(second.id());
        thread.undo(&engine, second.id(), Some(Arc::clone(&of[1])));
        first.forget().unwrap();
        thread.undo(&engine, first.id(), Some(Arc::clone(&of[0])));
        assert!(thread.values(&engine).is_none());
    }

    #[tokio::test]
    async fn a_run_that_is_adopted_while_it_is_deleted_leaves_with_what_it_has_left() {
        let (engine, id) = (Engine::new(), Uuid::now_v7());
        let thread = Thread::new(id, None, &Keys::new(), false);
        let spec = RunSpec::agent("r").input(Payload::from_json_text(r#"{"nr":1}"#).unwrap());
        let run = engine.submit(spec, async |_ctx| Ok(())).unwrap().into_ref();
        run.quiescent().await;
        let undone = thread.undone();
        let tracked = || {
            let tracked = Arc::new(Tracked::of(&(&run).into(), within(id)));
            tracked.begin(&run);
            tracked
        };
        assert!(thread.add_unless_undone(&tracked(), Some(undone)));
        assert!(thread.values(&engine).is_some());
        run.forget().unwrap();
        // The deletion had not found it there.
        thread.undo(&engine, run.id(), None);
        assert!(thread.values(&engine).is_none() && thread.find(run.id()).is_none());
        // Nor does it come back by what was read before that.
        assert!(!thread.add_unless_undone(&tracked(), Some(undone)));
        assert!(thread.values(&engine).is_none());
    }
}
