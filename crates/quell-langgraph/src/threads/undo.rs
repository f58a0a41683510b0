//! [`Thread::undo`]: takes back what a run has left in a thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quell::{Engine, RunId};
use serde_json::Value;

use crate::threads::elsewhere::Mark;
use crate::threads::ground::Back;
use crate::threads::thread::{State, Thread};
use crate::threads::tracked::Tracked;
use crate::values::{Values, bytes_of};

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
        let back = known.and_then(|known| state.take_out(&known));
        let is_of = |mark: Option<Mark>| mark.is_some_and(|mark| mark.run() == id);
        let (was_last, has_written) = (is_of(state.left), is_of(state.wrote));
        if has_written {
            let back = back.map_or_else(|| state.card.base.clone(), |Back(values)| values);
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
            let before = state.ended.iter().rev().map(Arc::clone).find_map(|tracked| {
                let run = tracked.run(engine).filter(|run| !run.is_rolled_back())?;
                let row = run.row();
                (row.started_at.is_some() || !has_to_start).then_some((tracked, row))
            });
            if let Some((tracked, row)) = before {
                let fold = tracked.fold.lock();
                state.leave(&tracked, &row, &fold);
            }
        }
        self.is_whole.store(false, Ordering::SeqCst);
    }

    /// Yields how often a run was deleted here.
    pub(crate) fn deletions(&self) -> u64 {
        self.deletions.load(Ordering::SeqCst)
    }

    /// Notes that a run is gone, before what it has left is undone: who has read the store before
    /// takes nothing in of that any more.
    pub(crate) fn note_deletion(&self) {
        self.deletions.fetch_add(1, Ordering::SeqCst);
    }

    /// Has it be whole, if there were no more deletions by now; tells whether it is.
    pub(crate) fn is_whole_with(&self, deletions: u64) -> bool {
        // What a deletion undoes waits for this.
        let _state = self.state.lock();
        let is_whole = self.deletions() == deletions;
        self.is_whole.fetch_or(is_whole, Ordering::SeqCst);
        is_whole
    }

    /// Has the thread be as it was made, if no run has left anything in it: the store has none.
    pub(crate) fn go_back_to_base(&self, engine: &Engine) {
        let mut state = self.state.lock();
        state.settle(engine);
        if state.wrote.is_none() {
            let base = state.card.base.clone();
            state.go_back(base);
        }
    }
}

impl State {
    /// Takes a run out that has ended. Yields what the thread goes back to without it, if that is
    /// known; so does the next one that has started, on what this one has left.
    fn take_out(&mut self, tracked: &Arc<Tracked>) -> Option<Back> {
        let place = self.ended.iter().position(|one| Arc::ptr_eq(one, tracked));
        drop(place.and_then(|place| self.ended.remove(place)));
        let back = tracked.back.lock().take()?;
        let mut behind = self.ended.iter().skip(place.unwrap_or(0)).chain(&self.live);
        if let Some(next) = behind.find(|next| next.back.lock().is_some()) {
            *next.back.lock() = Some(back.clone());
        }
        Some(back)
    }

    fn go_back(&mut self, values: Option<Arc<Values>>) {
        self.values_bytes = values.as_deref().map_or(0, bytes_of);
        (self.values, self.wrote, self.next) = (values, None, Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use quell::{Payload, RunSpec};
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
}
