//! [`App::until_gone`], [`App::hide`] and [`App::forget_run`]: what the deletions of a thread and
//! of a run share, and [`App::note_erased`]: the mark of a run that waits to leave.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quell::cluster::RunMeant;
use quell::{RunId, RunSpec, SubmitError};
use quell_http::{LookupError, RECORD, RunView};
use tokio::time::sleep;
use uuid::Uuid;

use crate::app::App;
use crate::app::gone::forget;
use crate::app::record::{NAME, refusal_of};
use crate::app::webhook_fence::record_of;
use crate::threads::Tracked;
use crate::wire::asked::Asked;
use crate::wire::refusal::Refusal;

impl App {
    /// Tries until something is gone: for a moment while the caller waits, and then in the
    /// background, since what executes still, here or elsewhere, ends some time. The attempt is
    /// told whether somebody waits. Tells whether it is gone.
    pub(super) async fn until_gone<F>(
        &self,
        attempt: impl Fn(Self, bool) -> F + Send + 'static,
    ) -> bool
    where
        F: Future<Output = bool> + Send,
    {
        let mut pause = PAUSES.0;
        while pause < PAUSES.1 {
            if attempt(self.clone(), true).await {
                return true;
            }
            sleep(pause).await;
            pause *= 2;
        }
        let app = self.weak();
        drop(tokio::spawn(async move {
            while let Some(app) = app.upgrade() {
                if attempt(app, false).await {
                    return;
                }
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.2);
            }
        }));
        false
    }

    /// Shows nobody these runs from here on, of which these are known, nor, once they have ended,
    /// their final bodies.
    pub(super) fn hide(
        &self,
        known: impl IntoIterator<Item = Arc<Tracked>>,
        owner: Option<&str>,
        runs: Vec<RunMeant>,
    ) -> Vec<RunMeant> {
        for tracked in known {
            tracked.is_deleted.store(true, Ordering::SeqCst);
        }
        self.hidden().hide(runs.iter().copied());
        // One that was rolled back just now may have one; later none is kept.
        self.finals().remove(owner, &runs);
        runs
    }

    /// Forgets a run that has ended, unless something of it executes; tells whether it is gone. Of
    /// what another node has ended, that one knows whether it executes. Whoever waits for its end
    /// through another node sees that first. A later run that has its id by now, which may be
    /// somebody else's, stays.
    pub(super) async fn forget_run(&self, of: &RunView) -> bool {
        let run = of.id();
        let all = self.all();
        if of.live().is_some() {
            all.until_seen(of).await;
        }
        let is_gone = all.forget_found(of).await || matches!(self.is_there(of).await, Ok(false));
        if is_gone {
            if Asked::of(of).is_some_and(|asked| asked.has_webhook) {
                self.webhooks().end(run);
                // Another node that sends it sees that, and takes away the rest.
                forget(self.engine(), record_of(run)).await;
            }
            self.hidden().release([of.meant()]);
        }
        is_gone
    }

    /// Stores that a run is deleted, and waits until nothing of it executes, so that no other node,
    /// and no later process, shows it meanwhile.
    ///
    /// # Errors
    ///
    /// Fails if the store does not take it.
    pub(super) async fn note_erased(&self, run: &RunView) -> Result<(), Refusal> {
        if !self.has_records() {
            return Ok(());
        }
        let spec = RunSpec::step(NAME).unlimited().id(run.mark(&MARKS));
        let spec = spec.label(RECORD, format!("{ERASED}{}", run.id()));
        let spec = run.owner().into_iter().fold(spec, RunSpec::owner);
        match self.engine().submit_durably(spec, async |_ctx| Ok(())).await {
            Ok(_) | Err(SubmitError::IdInUse(_)) => Ok(()),
            Err(error) => Err(refusal_of(&error)),
        }
    }

    /// Forgets that a run is deleted, which has left.
    pub(super) async fn forget_erased(&self, run: &RunView) -> bool {
        !self.has_records() || forget(self.engine(), run.mark(&MARKS)).await
    }

    /// Tells whether a run is deleted, and only waits until nothing of it executes. Whoever finds
    /// out goes on with the deletion, if nobody here does.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn is_erased(&self, run: &RunView) -> Result<bool, LookupError> {
        let row = run.row();
        if !self.has_records() || !row.status.is_terminal() || row.quiescent {
            return Ok(false);
        }
        let is_erased = self.is_stored(run.mark(&MARKS)).await?;
        if is_erased && !self.hidden().has(run.meant()) {
            self.hidden().hide([run.meant()]);
            let (app, run) = (self.clone(), run.clone());
            drop(tokio::spawn(async move { app.leave_run(&run).await }));
        }
        Ok(is_erased)
    }

    /// Yields what was read of a run that is only in the store; none if that could not be read, and
    /// the run is gone by now: what it has said has left with it.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn unless_gone<T: Send>(
        &self,
        run: RunId,
        read: Result<T, LookupError>,
    ) -> Result<Option<T>, LookupError> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(_) if !self.is_stored(run).await? => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Tells whether the store, or without one the engine, has this run, and not a later one that
    /// has its id by now.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn is_there(&self, run: &RunView) -> Result<bool, LookupError> {
        if !self.has_records() {
            let here = self.engine().get(run.id());
            return Ok(here.is_some_and(|here| RunView::Live(here).meant() == run.meant()));
        }
        let stored = self.engine().stored_run(run.id()).await;
        let stored = stored.map_err(|_| LookupError::Unavailable)?;
        Ok(stored.is_some_and(|stored| run.meant() == RunMeant::from(&stored)))
    }

    /// Tells whether the store has a run of this id.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn is_stored(&self, run: RunId) -> Result<bool, LookupError> {
        let stored = self.engine().stored_run(run).await;
        Ok(stored.map_err(|_| LookupError::Unavailable)?.is_some())
    }
}

/// What the label [`RECORD`] of such a mark begins with.
const ERASED: &str = "erased ";

/// The ids of such marks.
const MARKS: Uuid = Uuid::from_u128(0x7175_656c_6c2d_6572_6173_6564_2d72_756e);

/// The pauses between two looks at what is left of a thread or a run that is deleted: the first
/// one, the one from which on nobody waits, and the longest one.
pub(super) const PAUSES: (Duration, Duration, Duration) =
    (Duration::from_millis(5), Duration::from_millis(640), Duration::from_mins(1));
