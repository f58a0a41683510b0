//! What a run that was taken in from before has said in another process: its log in memory begins
//! behind that, and the store has it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt as _;
use quell::{Engine, EventKind, RunRef};
use quell_http::{RunView, View, events_by_now};

use crate::threads::ground::Here;
use crate::threads::thread::Thread;
use crate::threads::tracked::Tracked;
use crate::values::Fold;

impl Tracked {
    /// Declares that what it has said before its log in memory has yet to be read, if that is
    /// something: nothing that it says is taken in until then.
    pub(crate) fn beginning_elsewhere(mut self, run: &RunRef) -> Self {
        let first = events_by_now(run, 0).next();
        let is_gap = first.is_some_and(|first| matches!(first.kind, EventKind::Lagged { .. }));
        *self.has_beginning.get_mut() = !is_gap;
        self
    }

    /// Tells whether what it has said before its log in memory has yet to be read.
    pub(crate) fn awaits_beginning(&self) -> bool {
        !self.has_beginning.load(Ordering::SeqCst)
    }

    /// Tells whether it has yet to be found out on what it starts, or what it has said before.
    pub(crate) fn awaits_start(&self) -> bool {
        self.awaits_base() || self.awaits_beginning()
    }

    /// Takes in what a run has said that its thread has lost: on what it keeps itself.
    pub(crate) async fn catch_up_alone(&self, view: &View, run: &RunRef) {
        let (of, mut events) = (RunView::from(run), pin!(view.events_by_now(run)));
        while let Some(event) = events.next().await {
            let base = || self.start_on(&of, Here::default()).values.clone();
            self.fold.lock().take(&of, &event, &self.about, base);
        }
        self.catch_up(run, Here::default());
    }
}

impl Thread {
    /// Lists the runs of which that has yet to be read, and it is known on what they start.
    pub(crate) fn beginning(&self, engine: &Engine) -> Vec<(Arc<Tracked>, RunRef)> {
        let state = self.state.lock();
        let all = state.live.iter().filter(|it| it.awaits_beginning() && !it.awaits_base());
        all.filter_map(|tracked| Some((Arc::clone(tracked), tracked.run(engine)?))).collect()
    }

    /// Takes in what a run has said from its first event on, unless somebody has.
    pub(crate) fn begins_with(&self, tracked: &Tracked, mut said: Fold) {
        let _state = self.state.lock();
        if tracked.awaits_beginning() {
            said.thin();
            *tracked.fold.lock() = said;
            tracked.has_beginning.store(true, Ordering::SeqCst);
        }
    }
}
