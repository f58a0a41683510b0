//! [`Buried`]: a thread that is deleted, and what of it is about to leave.
//!
//! The process that has deleted it clears it. If that one ends before, whoever meets the last
//! record goes on with it: at its start, when it takes over runs of a node that is gone, and when
//! anybody reads the thread or makes one of its id.

use std::time::{Duration, SystemTime};

use quell::store::Page;
use quell::{CancelRequest, RunFilter, RunId, RunRef};
use quell_http::{LookupError, RECORD, RunView, SESSION, View, Wait};
use tokio::runtime::Handle;
use tokio::time::sleep;
use uuid::Uuid;

use crate::app::App;
use crate::app::elsewhere::of_thread;
use crate::app::record::{DELETED, NAME, Recorded};
use crate::threads::Thread;
use crate::wire::asked::{Asked, micros};
use crate::wire::refusal::Refusal;

/// A thread that is deleted. Runs of another owner may name it: they are none of it.
#[derive(Clone, Debug)]
pub(super) struct Buried {
    pub(super) id: Uuid,
    pub(super) owner: Option<String>,
    made_at: SystemTime,
    /// It has a record, which tells whether it is cleared.
    pub(super) is_recorded: bool,
}

impl Buried {
    fn has(&self, run: &RunView) -> bool {
        is_own(run) && run.owner() == self.owner.as_deref()
    }
}

impl App {
    pub(super) fn buried(&self, thread: &Thread) -> Buried {
        let is_recorded = self.has_records() && !thread.is_temporary;
        let (owner, made_at) = (thread.owner.clone(), thread.made_at());
        Buried { id: thread.id, owner, made_at, is_recorded }
    }

    /// Goes on with threads that are deleted and that nobody may clear any more.
    pub(super) fn clear_left(&self) {
        if !self.has_records() || Handle::try_current().is_err() {
            return;
        }
        let app = self.clone();
        drop(tokio::spawn(async move {
            let filter = RunFilter::new().label(DELETED, NAME);
            let mut page = Page::first(PAGE);
            // Of what cannot be read now readers go on.
            while let Ok(read) = app.engine().stored_runs(filter.clone(), page).await {
                for record in read.items.into_iter().flatten() {
                    let id = record.accepted.labels.get(RECORD);
                    if let Some(id) = id.and_then(|id| Uuid::try_parse(id).ok()) {
                        let _ = app.recorded(id).await;
                    }
                }
                let Some(next) = read.next else { return };
                page = page.after(next);
            }
        }));
    }

    /// Goes on with a thread in the background, if it is deleted and nobody here does so already.
    pub(super) fn go_on_clearing(&self, id: Uuid, recorded: &Recorded) {
        let owner = recorded.owner.as_deref();
        let is_meant = recorded.is_deleted && Handle::try_current().is_ok();
        if !is_meant || !self.hidden().bury(id, owner) {
            return;
        }
        let (owner, made_at) = (owner.map(str::to_owned), recorded.made_at);
        let buried = Buried { id, owner, made_at, is_recorded: true };
        let app = self.clone();
        drop(tokio::spawn(async move {
            if app.is_node() {
                // Mostly the node that has deleted it is there, and about to clear it.
                sleep(OTHERS_WAIT).await;
            }
            if matches!(app.is_still(&buried).await, Ok(false)) {
                return app.hidden().unbury(id);
            }
            app.hide_runs_of(&buried);
            app.clear(&app.all(), &buried).await;
        }));
    }

    /// Tells whether a run is one of a thread that is deleted, as its record says.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn is_of_deleted(&self, run: &RunView) -> Result<bool, Refusal> {
        let session = run.label(SESSION).and_then(|id| Uuid::try_parse(id).ok());
        let Some(session) = session.filter(|_| self.has_records() && is_own(run)) else {
            return Ok(false);
        };
        let recorded = self.recorded(session).await?;
        Ok(recorded.is_some_and(|it| it.is_deleted && it.owner.as_deref() == run.owner()))
    }

    /// Tells whether nobody is shown a run since its thread is being cleared here. Of several nodes
    /// another one may have done so by now: each asks the record.
    pub(super) fn is_cleared_here(&self, thread: Uuid, owner: Option<&str>) -> bool {
        !self.is_node() && self.hidden().is_buried(thread, owner)
    }

    /// Hides the runs of a thread that are in memory: its id may be used again at once.
    pub(super) fn hide_runs_of(&self, buried: &Buried) {
        let runs = self.engine().runs(&of_thread(buried.id).roots());
        let own = runs.iter().filter(|run| buried.has(&(*run).into()));
        self.hidden().hide(own.map(RunRef::id));
    }

    /// Stops the runs of a thread that is deleted, and forgets them, and the thread.
    pub(super) async fn clear(&self, view: &View, buried: &Buried) {
        let mut stopped = self.stop_all(view, buried).await;
        let (app, mut pause) = (self.weak(), PAUSES.0);
        while pause < PAUSES.1 {
            if self.forget_all(buried, &stopped).await {
                return;
            }
            sleep(pause).await;
            pause *= 2;
        }
        // What executes still, here or elsewhere, ends some time.
        let buried = buried.clone();
        drop(tokio::spawn(async move {
            while let Some(app) = app.upgrade() {
                // What a process has left may have been taken over since.
                stopped.extend(app.stop_all(&app.all(), &buried).await);
                if app.forget_all(&buried, &stopped).await {
                    return;
                }
                drop(app);
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.2);
            }
        }));
    }

    /// Stops the live runs of a thread, and yields them.
    async fn stop_all(&self, view: &View, buried: &Buried) -> Vec<RunId> {
        let mut live = self.live_of(&self.all(), buried).await.unwrap_or_default();
        // What an earlier process has left nobody stops before it is taken over.
        live.retain(|run| run.live().is_some() || self.is_node());
        if !matches!(self.is_still(buried).await, Ok(true)) {
            return Vec::new();
        }
        let ids: Vec<_> = live.iter().map(RunView::id).collect();
        self.hidden().hide(ids.iter().copied());
        let why = format!("deletion requested via DELETE /threads/{}", buried.id);
        let request = CancelRequest::because(why).rollback();
        view.cancel_all(&live, request, Wait::terminal()).await;
        for run in live.iter().filter_map(RunView::live) {
            run.ended().await;
        }
        ids
    }

    /// Forgets the runs of a thread of which nothing executes, and the thread if that are all;
    /// tells whether it did.
    async fn forget_all(&self, buried: &Buried, stopped: &[RunId]) -> bool {
        let Ok(is_all) = self.forget_runs(buried).await else { return false };
        if is_all {
            self.hidden().release(stopped.iter().copied());
        }
        let is_gone = is_all && self.forget_records(buried.id).await;
        if is_gone {
            self.hidden().unbury(buried.id);
        }
        is_gone
    }

    /// Forgets the runs of a thread of which nothing executes. Tells whether none is left.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    async fn forget_runs(&self, buried: &Buried) -> Result<bool, Refusal> {
        let (all, mut next, mut is_all) = (self.all(), None, true);
        loop {
            let meant = |run: &RunView| buried.has(run);
            let page = all.list_with_inputs(of_thread(buried.id), PAGE, next, meant).await?;
            // What was listed before this is none of a later thread of this id.
            if !self.is_still(buried).await? {
                return Ok(true);
            }
            for run in page.runs {
                let is_gone = if let Some(run) = run.live() {
                    all.forget(run)
                } else {
                    // Of what another node has ended, that one knows whether it executes.
                    let forgotten = self.engine().forget_stored(run.id()).await;
                    forgotten.is_ok() || !self.is_stored(run.id()).await?
                };
                if is_gone {
                    self.hidden().release([run.id()]);
                }
                is_all &= is_gone;
            }
            next = page.next;
            if next.is_none() {
                return Ok(is_all);
            }
        }
    }

    /// Tells whether a thread is not cleared yet, if it has a record that tells.
    async fn is_still(&self, buried: &Buried) -> Result<bool, Refusal> {
        if !buried.is_recorded {
            return Ok(true);
        }
        let recorded = self.recorded(buried.id).await?;
        let is_same = |it: &Recorded| micros(it.made_at) == micros(buried.made_at);
        Ok(recorded.is_some_and(|it| it.is_deleted && is_same(&it)))
    }

    /// Lists the live runs of a thread, on whatever node.
    pub(super) async fn live_of(
        &self,
        view: &View,
        buried: &Buried,
    ) -> Result<Vec<RunView>, LookupError> {
        let (mut live, mut next) = (Vec::new(), None);
        loop {
            let (filter, meant) = (of_thread(buried.id).live(), |run: &RunView| buried.has(run));
            let page = view.list_with_inputs(filter, PAGE, next, meant).await?;
            live.extend(page.runs);
            next = page.next;
            if next.is_none() {
                return Ok(live);
            }
        }
    }
}

/// Tells whether a run was made by this contract: another one may use the same session.
fn is_own(run: &RunView) -> bool {
    Asked::of(run).is_some()
}

/// Runs of a thread that are read at once.
const PAGE: usize = 100;

/// The pauses between two looks at what is left of a thread that is deleted: the first one, the
/// one from which on nobody waits, and the longest one.
pub(super) const PAUSES: (Duration, Duration, Duration) =
    (Duration::from_millis(5), Duration::from_millis(640), Duration::from_mins(1));

/// How long a node leaves a thread to the one that has deleted it.
const OTHERS_WAIT: Duration = Duration::from_secs(2);
