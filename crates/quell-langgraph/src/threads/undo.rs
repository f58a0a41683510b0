//! [`Thread::undo`]: takes back what a run has left in a thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quell::{Engine, RunId};
use serde_json::Value;

use crate::threads::elsewhere::Mark;
use crate::threads::thread::Thread;
use crate::values::bytes_of;

impl Thread {
    /// Takes a run out that has ended. If it was the last one to end, or the last one of these that
    /// had started, the thread is as before it: as the one before has left it. What is not in
    /// memory of that is read again from the store, if there is one.
    pub(crate) fn undo(&self, engine: &Engine, id: RunId) {
        let mut state = self.state.lock();
        state.settle(engine);
        let tracked = state.ended.iter().position(|tracked| tracked.id == id);
        let tracked = tracked.and_then(|place| state.ended.remove(place));
        let is_of = |mark: Option<Mark>| mark.is_some_and(|mark| mark.run() == id);
        let (was_last, has_written) = (is_of(state.left), is_of(state.wrote));
        if has_written {
            let base = tracked.and_then(|tracked| tracked.fold.lock().base().map(Arc::clone));
            let base = base.or_else(|| state.card.base.clone());
            state.values_bytes = base.as_deref().map_or(0, bytes_of);
            (state.values, state.wrote, state.next) = (base, None, Vec::new());
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
}
