//! What the row of a thread is made of, and what searches ask of it.

use std::sync::Arc;

use quell::{Engine, Payload};
use quell_http::whole_millis;

use crate::threads::elsewhere::Elsewhere;
use crate::threads::thread::Thread;
use crate::threads::tracked::Tracked;
use crate::wire::exact::{Keys, written};
use crate::wire::interrupt::Interrupt;
use crate::wire::rows::{ThreadParts, thread_row};
use crate::wire::status::ThreadFacts;

impl Thread {
    /// Writes the row.
    pub(crate) fn row(&self, engine: &Engine) -> Payload {
        self.with_parts(engine, thread_row)
    }

    /// Yields what is made of what its row is made of.
    pub(crate) fn with_parts<T>(
        &self,
        engine: &Engine,
        look: impl FnOnce(&ThreadParts<'_>) -> T,
    ) -> T {
        let mut state = self.state.lock();
        state.settle(engine);
        // The keys of a live run are not taken over: a rollback removes them together with the run.
        // The engine has a run before `has_begun` is set, and may have stopped those before it.
        let is_made = |id| engine.get(id).is_some();
        let none = Elsewhere::default();
        let far = state.elsewhere.as_deref().unwrap_or(&none);
        let live = state.live.iter().rfind(|it| it.has_begun() || is_made(it.id));
        let graph = live.map(|tracked| tracked.graph_keys()).or_else(|| far.graph.clone());
        let graph = graph.or_else(|| state.graph.clone());
        let since =
            live.and_then(|live| engine.get(live.id)).map(|run| whole_millis(run.queued_at()));
        let since = since.max(far.since);
        let updated_at = since.max(state.card.changed_at).max(Some(state.updated_at));
        let mut metadata: Keys = state.card.metadata.parse().unwrap_or_default();
        metadata.extend(graph.into_iter().flatten().map(|(key, value)| (key.to_owned(), value)));
        let asking = |one: &Arc<Tracked>| Interrupt::of(&engine.get(one.id)?.into());
        let interrupt = state.live.iter().find_map(asking);
        let paused = usize::from(interrupt.is_some());
        let interrupt = interrupt.or_else(|| far.interrupt.clone());
        let made = state.live.iter().filter(|it| it.has_begun() || is_made(it.id)).count();
        let (is_live, is_paused) = (made > paused || far.is_live, interrupt.is_some());
        let so_far = live.filter(|_| is_paused && !is_live).and_then(|tracked| {
            tracked.catch_up(&engine.get(tracked.id)?, state.here());
            tracked.fold.lock().current().map(Arc::clone)
        });
        let so_far = so_far.or_else(|| far.so_far.clone().filter(|_| !is_live));
        look(&ThreadParts {
            id: self.id,
            created_at: self.record_at(),
            updated_at: updated_at.unwrap_or(state.updated_at),
            state_updated_at: state.values_updated_at,
            metadata: written(&metadata),
            values: so_far.as_ref().or(state.values.as_ref()).map(|values| &**values),
            facts: ThreadFacts {
                is_live,
                is_paused,
                last: state.last,
                has_next: !state.next.is_empty(),
            },
            error: &state.error,
            interrupt: interrupt.filter(|_| !is_live),
        })
    }
}
