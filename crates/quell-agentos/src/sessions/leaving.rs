//! [`Leaving`]: runs of sessions that are deleted, and of which something executes still.
//!
//! They are in no session any more, and leave when nothing of them executes. The process that has
//! deleted them sees to that; with a store they have a mark there, so that no other node, and no
//! later process, lists them meanwhile, and whoever meets one goes on with it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quell::cluster::RunMeant;
use quell::{RunSpec, SubmitError};
use quell_http::{LookupError, RECORD, RunView, View};
use tokio::time::sleep;
use uuid::Uuid;

use crate::sessions::record::{NAME, forget, is_stored};

/// The runs that are about to leave, as far as this process sees to it.
#[derive(Debug, Default)]
pub(crate) struct Leaving(Mutex<HashSet<RunMeant>>);

impl Leaving {
    /// Tells whether a run is about to leave. Whoever finds that in the store goes on with it.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn has(
        self: &Arc<Self>,
        view: &View,
        run: &RunView,
    ) -> Result<bool, LookupError> {
        if self.0.lock().contains(&run.meant()) {
            return Ok(true);
        }
        let (row, engine) = (run.row(), view.service().engine());
        if !engine.has_store() || !row.status.is_terminal() || row.quiescent {
            return Ok(false);
        }
        let mark = engine.stored_run(run.mark(&MARKS)).await;
        let is_marked = mark.map_err(LookupError::from)?.is_some();
        if is_marked && self.0.lock().insert(run.meant()) {
            self.go_on(view, run.clone());
        }
        Ok(is_marked)
    }

    /// Forgets a run that has ended, now or as soon as nothing of it executes. Tells whether that
    /// is stored, where a store is to see to it.
    pub(super) async fn leave(self: &Arc<Self>, view: &View, run: RunView) -> bool {
        // Before the look: whoever lists it meanwhile does not find it either.
        self.0.lock().insert(run.meant());
        let engine = view.service().engine();
        view.until_seen(&run).await;
        if view.forget_found(&run).await {
            let is_stored = match run.live() {
                Some(run) => is_stored(engine, run).await,
                None => true,
            };
            self.0.lock().remove(&run.meant());
            return is_stored;
        }
        let is_stored = mark(view, &run).await;
        self.go_on(view, run);
        is_stored
    }

    /// Tries in the background until a run is forgotten, or nobody asks for sessions any more.
    fn go_on(self: &Arc<Self>, view: &View, run: RunView) {
        let (this, view) = (Arc::downgrade(self), view.clone());
        drop(tokio::spawn(async move {
            let mut pause = PAUSES.0;
            loop {
                match run.live() {
                    // Not for what an earlier process has left: that nobody hears of.
                    Some(live) if pause == PAUSES.0 => drop(live.quiescent_status().await),
                    _ => sleep(pause).await,
                }
                pause = (pause * 2).min(PAUSES.1);
                let Some(leaving) = this.upgrade() else { return };
                let engine = view.service().engine();
                if view.forget_found(&run).await && forget(engine, run.mark(&MARKS)).await {
                    leaving.0.lock().remove(&run.meant());
                    return;
                }
            }
        }));
    }
}

/// Stores that a run is about to leave, and tells whether that is stored. If the store does not
/// take it, this process knows it.
async fn mark(view: &View, run: &RunView) -> bool {
    let engine = view.service().engine();
    if !engine.has_store() {
        return true;
    }
    let spec = RunSpec::step(NAME).unlimited().id(run.mark(&MARKS));
    let spec = spec.label(RECORD, format!("{LEAVES}{}", run.id()));
    let spec = run.owner().into_iter().fold(spec, RunSpec::owner);
    match engine.submit_durably(spec, async |_ctx| Ok(())).await {
        Ok(_) | Err(SubmitError::IdInUse(_)) => true,
        Err(_) => false,
    }
}

/// What the label [`RECORD`] of a mark begins with.
const LEAVES: &str = "agentos leaves ";

/// The ids of marks.
const MARKS: Uuid = Uuid::from_u128(0x7175_656c_6c2d_6167_6e6f_2d6c_6561_7665);

/// The pauses between two looks at a run: the first one, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_mins(1));
