//! [`StoredRun`]: runs that are only in the store, each shown from what it keeps of its request.
//!
//! A thread is in memory. That of a stored run may be gone: then its runs are listed, and each is
//! shown with the values on which it started, if it keeps them, and its own.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::StreamExt;
use quell::{EventKind, Payload, RunFilter, RunStatus};
use quell_http::{
    LookupError, Overdrawn, ROOM_WITHIN, Reading, RunView, SESSION, View, same_id, whole_millis,
};
use serde_json::json;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::app::App;
use crate::messages::Messages;
use crate::threads::Tracked;
use crate::values::{Fold, Keep, Values};
use crate::wire::asked::{Asked, VALUES};
use crate::wire::failure;
use crate::wire::interrupt::Interrupt;
use crate::wire::refusal::Refusal;
use crate::wire::rows::run_object;

/// A run that is only in the store and that a caller may see.
#[derive(Clone, Debug)]
pub(crate) struct StoredRun {
    pub(crate) run: RunView,
    pub(crate) tracked: Arc<Tracked>,
}

impl App {
    /// Finds a run that is only in the store; of a thread, if one is named.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(crate) async fn find_stored(
        &self,
        view: &View,
        thread: Option<Uuid>,
        run: Uuid,
    ) -> Result<Option<StoredRun>, Refusal> {
        let found = self.find_to_join(view, thread, run).await?;
        Ok(found.filter(|found| !is_deleted_at_end(&found.run)))
    }

    /// Lists the newest runs of a thread that are in the store, which the thread in memory has not,
    /// and that are `shown`, newest first, without those that another contract started. Fails if
    /// the store cannot be read.
    pub(crate) async fn stored_of(
        &self,
        view: &View,
        thread: Uuid,
        most: usize,
        shown: impl Fn(&RunView) -> bool + Send + Sync,
    ) -> Result<Vec<StoredRun>, Refusal> {
        let (mut found, mut next) = (Vec::new(), None);
        if !self.engine().has_store() {
            return Ok(found);
        }
        // A stateless run is found through its thread while it waits for an answer.
        let is_own = |run: &RunView| {
            let is_paused = run.status() == RunStatus::Paused;
            Asked::of(run).is_some_and(|asked| is_paused || !asked.is_temporary)
        };
        let of = self.threads().get(thread);
        let has_it = |run: &RunView| of.as_ref().is_some_and(|of| of.find(run.id()).is_some());
        // What it has and is not here, this process has left to the next one.
        let is_here = |run: &RunView| run.live().is_some() || run.status().is_terminal();
        let is_known = |run: &RunView| has_it(run) && is_here(run);
        let is_kept = |run: &RunView| !is_known(run) && !is_taken_back(run);
        let shown = |run: &RunView| is_kept(run) && shown(run) && is_own(run);
        for _ in 0..PARTS_MAX {
            let filter = RunFilter::new().label(SESSION, thread.to_string());
            let left = most.saturating_sub(found.len());
            let page = view.list_omitting((filter, VALUES), left, next, shown).await?;
            for run in page.runs.into_iter().filter_map(|run| self.stored(view, run)) {
                if !self.is_erased(&run.run).await? {
                    found.push(run);
                }
            }
            next = page.next;
            if next.is_none() || found.len() >= most {
                break;
            }
        }
        Ok(found)
    }

    /// Adds the runs that are meant and not here, as their records say: other nodes have them, or
    /// they are left to the next process.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(crate) async fn add_elsewhere(
        &self,
        view: &View,
        filter: RunFilter,
        is_meant: impl Fn(&RunView) -> bool + Send + Sync,
        found: &mut Vec<RunView>,
    ) -> Result<(), Refusal> {
        let (mut known, mut next) = (HashSet::new(), None);
        if !self.service().has_others() {
            return Ok(());
        }
        known.extend(found.iter().map(RunView::id));
        loop {
            let page = view.list(filter.clone(), usize::MAX, next, |run| is_meant(run)).await?;
            found.extend(page.runs.into_iter().filter(|run| known.insert(run.id())));
            next = page.next;
            if next.is_none() {
                return Ok(());
            }
        }
    }

    /// Makes what is shown of a stored root; none of one without a thread, and of one that was
    /// taken back.
    pub(super) fn stored(&self, view: &View, run: RunView) -> Option<StoredRun> {
        if is_deleted_at_end(&run) { None } else { self.stored_or_ended(view, run) }
    }

    /// As [`App::stored`], also of a stateless one that was deleted at its end.
    pub(super) fn stored_or_ended(&self, view: &View, run: RunView) -> Option<StoredRun> {
        if !run.is_root() || is_taken_back(&run) || self.hidden().has(run.meant()) {
            return None;
        }
        let session = Uuid::try_parse(run.label(SESSION)?).ok()?;
        if self.is_cleared_here(session, run.owner()) {
            return None;
        }
        let within = self.within(session, view.component_of(&run));
        let tracked = Arc::new(Tracked::of(&run, within));
        Some(StoredRun { run, tracked })
    }

    /// Waits until a stored run that another node has has ended, or asks something, and writes its
    /// final body.
    ///
    /// # Errors
    ///
    /// Fails if there is no room for it among what is under way.
    pub(crate) async fn wait_for_stored(
        &self,
        view: &View,
        found: &StoredRun,
        joins: bool,
    ) -> Result<Bytes, Overdrawn> {
        let over = match &found.run {
            RunView::Stored(stored) => view.ended_or_paused(stored).await,
            RunView::Live(_) => Ok(Some(found.run.clone())),
        };
        let text = match over {
            Ok(Some(RunView::Live(run))) => {
                // This node has taken it over meanwhile.
                let located = self.find(view, Some(found.tracked.about.thread), run.id().as_uuid());
                match located {
                    Some(located) => {
                        return self.wait_for(view, located, joins, ROOM_WITHIN).await;
                    }
                    None => Ok(not_found_text()),
                }
            }
            // This node ends, and follows nothing of others any more.
            Ok(Some(run)) if !run.status().is_terminal() && run.status() != RunStatus::Paused => {
                Ok(failure::not_known_text())
            }
            Ok(Some(run)) => {
                let found = StoredRun { run, tracked: Arc::clone(&found.tracked) };
                self.stored_text(view, &found, joins).await
            }
            Ok(None) => Ok(not_found_text()),
            Err(error) => Err(error),
        };
        let text = text.unwrap_or_else(|error| match error {
            LookupError::Unavailable => failure::not_known_text(),
            _ => failure::internal_text(),
        });
        Ok(Bytes::from(view.counted(text)?))
    }

    /// Writes the final body of a stored run that has ended or is paused (contract, section 7): of
    /// who joins it with the values that its thread has now.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read, or has not all of it.
    pub(crate) async fn stored_text(
        &self,
        view: &View,
        found: &StoredRun,
        joins: bool,
    ) -> Result<String, LookupError> {
        if let Some(error) = self.error_of(&found.run.report(), &found.tracked) {
            return Ok(json!({ "__error__": error }).to_string());
        }
        let fold = self.folded(view, found).await;
        let Some(fold) = self.unless_gone(found.run.id(), fold).await? else {
            return Ok(not_found_text());
        };
        let values = fold.current();
        if let Some(interrupt) = Interrupt::of(&found.run) {
            return Ok(interrupt.within(values.map(|values| &**values)).to_string());
        }
        // One that another contract started is none of its thread.
        let is_of_thread = joins && Asked::of(&found.run).is_some();
        let now = if is_of_thread { self.values_now(view, found).await } else { None };
        let values = now.as_ref().or(values);
        Ok(values.and_then(|values| serde_json::to_string(&**values).ok()).unwrap_or("{}".into()))
    }

    /// Yields the values that the thread of a stored run has now.
    async fn values_now(&self, view: &View, found: &StoredRun) -> Option<Arc<Values>> {
        let of = found.tracked.about.thread;
        let thread = self.thread_anywhere(view, of).await.ok()??;
        let values = thread.values(self.engine());
        self.heard_of(&thread).await.ok()?;
        values
    }

    /// Yields the values of a stored run that has ended or is paused: its own, laid over those of
    /// its thread on which it has started.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read, or has not all of it.
    pub(crate) async fn folded(&self, view: &View, found: &StoredRun) -> Result<Fold, LookupError> {
        self.folded_keeping(view, found, None).await
    }

    /// As [`App::folded`], with these of its steps.
    ///
    /// # Errors
    ///
    /// As [`App::folded`].
    pub(super) async fn folded_keeping(
        &self,
        view: &View,
        found: &StoredRun,
        keep: Option<&Keep>,
    ) -> Result<Fold, LookupError> {
        let base = match found.run.row().started_at {
            // On the heap: it is seldom there.
            Some(_) => Box::pin(self.base_of_stored(view, found)).await?,
            None => None,
        };
        self.folded_on(view, found, base, keep).await
    }

    /// As [`App::folded`], on these values of its thread.
    ///
    /// # Errors
    ///
    /// As [`App::folded`].
    pub(super) async fn folded_on(
        &self,
        view: &View,
        found: &StoredRun,
        base: Option<Arc<Values>>,
        keep: Option<&Keep>,
    ) -> Result<Fold, LookupError> {
        let StoredRun { run, tracked } = found;
        let reading = view.read(run.clone()).await?;
        let mut fold = Fold::default();
        // What a run of another contract said is not for this one.
        if tracked.service.is_some() {
            let is_over = run.status().is_terminal() || run.status() == RunStatus::Paused;
            let until = Instant::now() + PAUSE_TOLD_WAIT;
            loop {
                let is_whole;
                let begun = Fold::keeping(keep.cloned());
                (fold, is_whole) = self.said_by_now(view, found, base.clone(), begun).await?;
                if is_whole || !is_over || Instant::now() >= until {
                    break;
                }
                sleep(PAUSE_TOLD_REST).await;
            }
        }
        if run.status().is_terminal() {
            finish(&mut fold, &reading, tracked);
        }
        Ok(fold)
    }

    /// Yields what a stored run has said that has ended or is paused, and whether that is all: of
    /// one that another node has paused the record comes before the events.
    async fn said_by_now(
        &self,
        view: &View,
        StoredRun { run, tracked }: &StoredRun,
        base: Option<Arc<Values>>,
        mut fold: Fold,
    ) -> Result<(Fold, bool), LookupError> {
        let RunView::Stored(stored) = run else { return Err(LookupError::Unavailable) };
        let (mut attempt, mut is_whole) = (1, false);
        let record = stored.record();
        let mut events = pin!(view.events_by_now(run));
        while let Some(event) = events.next().await {
            if event.run == run.id() {
                match (&event.kind, &record.paused) {
                    (EventKind::Ended(_), _) => is_whole = true,
                    (EventKind::Resumed { attempt: next }, _) => attempt = *next,
                    (EventKind::Paused { .. }, Some(pause)) => is_whole |= attempt >= pause.attempt,
                    _ => {}
                }
            }
            fold.take(run, &event, &tracked.about, || base.clone());
        }
        match run.status() {
            RunStatus::Paused => Ok((fold, is_whole || !self.engine().is_elsewhere(record))),
            status if is_whole || !status.is_terminal() => Ok((fold, is_whole)),
            _ => Err(LookupError::Unavailable),
        }
    }
}

/// How long the events of a pause are waited for behind its record, and how long between two reads.
/// They come with the next commit of the node that has the run.
const PAUSE_TOLD_WAIT: Duration = Duration::from_secs(1);
const PAUSE_TOLD_REST: Duration = Duration::from_millis(10);

/// Yields the number of the last event in the log of a run that is only in the store.
pub(crate) async fn last_seq(view: &View, run: &RunView) -> u64 {
    if run.live().is_some() { 0 } else { view.last_seq_by_now(run).await }
}

/// Takes in what a stored run returned and said, which has ended.
pub(crate) fn finish(fold: &mut Fold, reading: &Reading, tracked: &Tracked) {
    let (run, report, about) = (reading.run().id(), reading.report(), &tracked.about);
    let output = report.output.as_ref();
    fold.finish(run, output, about, |is_answer| {
        if report.status != RunStatus::Completed {
            return Messages::default();
        }
        Messages::of_said(reading.tree_transcripts(), run, output, about, is_answer)
    });
}

/// What is answered for a run that was deleted while a client waited for it.
fn not_found_text() -> String {
    json!({ "__error__": failure::not_found_object() }).to_string()
}

impl StoredRun {
    /// When the run was made, in whole milliseconds as every node has that; of one that was to
    /// start later, when that was.
    pub(crate) fn created_at(&self) -> SystemTime {
        whole_millis(self.tracked.about.due.unwrap_or_else(|| self.run.queued_at()))
    }

    /// Tells whether another node may have it.
    pub(crate) fn is_live(&self, app: &App) -> bool {
        let RunView::Stored(stored) = &self.run else { return true };
        let record = stored.record();
        !record.status.is_terminal() && app.engine().is_elsewhere(record)
    }

    /// Tells whether this process, which ends, has left it to the next one before it began.
    pub(crate) fn is_left(&self, app: &App) -> bool {
        self.run.status() == RunStatus::Queued && !self.is_live(app)
    }

    pub(super) fn is_of(&self, thread: Uuid) -> bool {
        self.run.label(SESSION).is_some_and(|session| same_id(session, &thread.to_string()))
    }

    /// Writes the keys of the run object that a list shows.
    pub(crate) fn in_list(&self, view: &View, is_shown: impl Fn(&str) -> bool) -> Payload {
        let row = self.run.row();
        let state = view.state_in_list(&self.run, &row);
        run_object(&self.tracked.about, &row, &state, is_shown)
    }
}

/// Tells whether a run was rolled back, and nothing of it executes any more, as far as the store
/// tells: it is about to leave. One that stops elsewhere, or of which work may have outlived its
/// process, is shown as it is.
pub(super) fn is_taken_back(run: &RunView) -> bool {
    run.is_rolled_back() && run.row().quiescent
}

/// Tells whether a run is stateless and over: it is deleted, and there only until its webhook is
/// sent, or for clients of other nodes that come back.
pub(super) fn is_deleted_at_end(run: &RunView) -> bool {
    let row = run.row();
    let is_over = row.status.is_terminal() && row.quiescent;
    is_over && Asked::of(run).is_some_and(|asked| asked.is_temporary)
}

/// Parts of the list of a thread that are read for one answer.
const PARTS_MAX: usize = 8;
