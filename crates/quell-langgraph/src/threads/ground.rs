//! [`Ground`]: on what a run of a thread starts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quell::{Engine, RunRef};
use quell_http::RunView;

use crate::threads::elsewhere::Mark;
use crate::threads::thread::{State, Thread};
use crate::threads::tracked::Tracked;
use crate::values::Values;
use crate::wire::asked::{base_of, next_of, started_on};

/// What a thread has, on which a run starts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ground {
    pub(crate) values: Option<Arc<Values>>,
    /// What comes next there.
    pub(crate) next: Vec<String>,
    /// The last run that has left something in the values.
    pub(crate) last: Option<Mark>,
}

/// What a thread has now.
#[derive(Clone, Copy, Default)]
pub(super) struct Here<'a> {
    pub(super) values: Option<&'a Arc<Values>>,
    pub(super) next: &'a [String],
    pub(super) last: Option<Mark>,
}

impl State {
    pub(super) fn here(&self) -> Here<'_> {
        Here { values: self.values.as_ref(), next: &self.next, last: self.wrote }
    }
}

impl Here<'_> {
    pub(super) fn to_ground(self) -> Ground {
        Ground { values: self.values.cloned(), next: self.next.to_vec(), last: self.last }
    }
}

impl Thread {
    /// Yields what there is now.
    pub(crate) fn ground(&self, engine: &Engine) -> Ground {
        let mut state = self.state.lock();
        state.settle(engine);
        state.here().to_ground()
    }

    /// Yields on what a run starts: what there is when this is asked first.
    pub(crate) fn starts(&self, engine: &Engine, tracked: &Tracked, run: &RunRef) -> Ground {
        let mut state = self.state.lock();
        state.settle(engine);
        tracked.start_on(&run.into(), state.here()).clone()
    }

    /// Has a run start on what there is, if that is all; tells whether it is.
    pub(crate) fn starts_if_whole(&self, engine: &Engine, tracked: &Tracked, run: &RunRef) -> bool {
        let mut state = self.state.lock();
        state.settle(engine);
        let is_whole = self.is_whole.load(Ordering::SeqCst);
        if is_whole {
            tracked.start_on(&run.into(), state.here());
        }
        is_whole
    }

    /// Has a run start on what there is, unless a deletion came since the store was read; tells
    /// whether none did.
    pub(crate) fn starts_unless_undone(
        &self,
        engine: &Engine,
        (tracked, run): (&Tracked, &RunRef),
        undone: u64,
    ) -> bool {
        let mut state = self.state.lock();
        state.settle(engine);
        if state.undone != undone {
            return false;
        }
        tracked.start_on(&run.into(), state.here());
        true
    }

    /// Has a run start on what it keeps itself, which an earlier attempt has started on.
    pub(crate) fn starts_again(&self, tracked: &Tracked, run: &RunView, last: Mark) {
        let state = self.state.lock();
        let (values, next) = (base_of(run).and_then(to_base), next_of(run));
        let next = next.unwrap_or_else(|| state.next.clone());
        tracked.begins_on(Ground { values, next, last: Some(last) });
    }
}

impl Tracked {
    /// Has it start on this, unless that is decided.
    pub(crate) fn begins_on(&self, ground: Ground) {
        // What is decided stays.
        let _ = self.ground.set(ground);
    }

    /// Yields what came next where it started, if that is known here, or as it keeps that.
    pub(crate) fn next_at_start(&self, kept: &[String]) -> Vec<String> {
        self.ground.get().map_or(kept, |ground| &ground.next).to_vec()
    }

    /// Tells whether it has yet to be found out on what it starts: runs before it, perhaps of other
    /// nodes, have left that.
    pub(crate) fn awaits_base(&self) -> bool {
        self.is_behind && self.ground.get().is_none()
    }

    /// Yields on what it starts: what its thread has when this is asked first; of an adopted one
    /// what it keeps itself, if that is certain, or if the thread has nothing.
    pub(super) fn start_on(&self, run: &RunView, here: Here<'_>) -> &Ground {
        self.back.lock().get_or_insert_with(|| here.to_ground());
        self.ground.get_or_init(|| {
            let mut ground = here.to_ground();
            if !self.is_adopted {
                return ground;
            }
            let certain = started_on(run);
            let is_certain = certain.is_some();
            let has_own = !self.is_behind || here.values.is_none();
            let own = certain.or_else(|| if has_own { base_of(run) } else { None });
            let Some(own) = own.filter(|own| is_certain || !own.is_empty()) else { return ground };
            // What is the same is not held twice.
            if here.values.is_none_or(|values| **values != own) {
                ground.values = to_base(own);
            }
            ground.next = next_of(run).unwrap_or(ground.next);
            ground
        })
    }
}

/// Yields values that a run keeps; none if its thread had none.
pub(crate) fn to_base(kept: Values) -> Option<Arc<Values>> {
    Some(kept).filter(|kept| !kept.is_empty()).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use quell::RunSpec;
    use uuid::Uuid;

    use super::*;
    use crate::threads::within;
    use crate::wire::exact::Keys;

    #[tokio::test]
    async fn a_run_starts_on_what_there_is_only_if_that_is_all() {
        let (engine, id) = (Engine::new(), Uuid::now_v7());
        let thread = Thread::new(id, None, &Keys::new(), false);
        let run = engine.submit(RunSpec::agent("r"), async |_ctx| Ok(())).unwrap().into_ref();
        let tracked = Tracked::of(&(&run).into(), within(id)).behind_others();
        // As a deletion leaves it.
        thread.is_whole.store(false, Ordering::SeqCst);
        assert!(!thread.starts_if_whole(&engine, &tracked, &run));
        assert!(tracked.awaits_base());
        thread.is_whole.store(true, Ordering::SeqCst);
        assert!(thread.starts_if_whole(&engine, &tracked, &run));
        assert!(!tracked.awaits_base());
    }
}
