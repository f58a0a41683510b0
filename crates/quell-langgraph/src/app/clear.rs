//! [`Buried`]: a thread that is deleted, and what of it is about to leave.
//!
//! The process that has deleted it clears it. If that one ends before, whoever meets the last
//! record goes on with it: at its start, when it takes over runs of a node that is gone, and when
//! anybody reads the thread or makes one of its id.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use quell::cluster::RunMeant;
use quell::limits::STORE_ANSWER_WAIT;
use quell::store::Page;
use quell::{CancelRequest, RunFilter};
use quell_http::{LookupError, RECORD, RunView, SESSION, View, Wait};
use tokio::runtime::Handle;
use tokio::time::sleep;
use uuid::Uuid;

use crate::app::App;
use crate::app::elsewhere::of_thread;
use crate::app::leaving::PAUSES;
use crate::app::record::{DELETED, NAME, Recorded};
use crate::threads::Thread;
use crate::wire::asked::{Asked, INPUTS, micros};
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
        let asked = Asked::of(run).filter(|_| run.owner() == self.owner.as_deref());
        asked.is_some_and(|asked| self.is_of(asked.record_us))
    }

    /// Tells whether a run, or a record, is of this thread and no later one of its id, as it says
    /// when its thread was made.
    pub(super) fn is_of(&self, record_us: Option<u64>) -> bool {
        !self.is_recorded || record_us.is_none_or(|us| Some(us) == micros(self.made_at))
    }
}

impl App {
    pub(super) fn buried(&self, thread: &Thread) -> Buried {
        let is_recorded = self.has_records() && !thread.is_temporary;
        let (owner, made_at) = (thread.owner.clone(), thread.record_at());
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

    /// Looks in the background whether a thread is deleted of which the store did not say so: an
    /// append that has failed may take effect, for as long as the store may take, and whoever meets
    /// the last record clears the thread. One looks at a time, however often it is asked for.
    pub(super) fn clear_if_deleted(&self, id: Uuid) {
        if !self.hidden().begin_look(id) {
            return;
        }
        let app = self.clone();
        let look = move |app: Self, _| async move {
            let after = match app.recorded(id).await {
                Ok(Some(it)) if !it.is_deleted => STORE_ANSWER_WAIT,
                Ok(_) => Duration::ZERO,
                Err(_) => return false,
            };
            app.hidden().end_look(id, after)
        };
        drop(tokio::spawn(async move { app.until_gone(look).await }));
    }

    /// As [`App::recorded`], of what was just written: where a read fails, as one does whose
    /// connection breaks, it reads again for a moment.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn recorded_soon(&self, id: Uuid) -> Result<Option<Recorded>, Refusal> {
        let mut pause = PAUSES.0;
        loop {
            match self.recorded(id).await {
                Err(_) if pause < PAUSES.1 => sleep(pause).await,
                read => return read,
            }
            pause *= 2;
        }
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
            let own = app.runs_here(&buried);
            if matches!(app.is_still(&buried).await, Ok(false)) {
                return app.hidden().unbury(id);
            }
            let thread = app.threads().get(id).filter(|thread| buried.is_of(thread.record()));
            let known = own.iter().filter_map(|run| thread.as_ref()?.find(run.id()));
            let known: Vec<_> = known.collect();
            let hidden = app.hide(known, buried.owner.as_deref(), own);
            if let Some(thread) = &thread {
                // Whoever deleted it was not told that.
                app.threads().remove(thread);
            }
            app.clear(&app.all(), &buried, hidden).await;
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

    /// Lists the runs of a thread that are in memory. Before it is known that the thread is there:
    /// its id may be used again as soon as it is not.
    pub(super) fn runs_here(&self, buried: &Buried) -> Vec<RunMeant> {
        let runs = self.engine().runs(&of_thread(buried.id).roots());
        runs.iter().filter(|run| buried.has(&(*run).into())).map(RunMeant::from).collect()
    }

    /// Stops the runs of a thread that is deleted, and forgets them, and the thread. These runs are
    /// hidden already. Tells whether all have stopped: if this node ends, another one may be to do
    /// that.
    pub(super) async fn clear(
        &self,
        view: &View,
        buried: &Buried,
        mut hidden: Vec<RunMeant>,
    ) -> bool {
        let (stopped, have_stopped) = self.stop_all(view, buried).await;
        hidden.extend(stopped);
        let (buried, hidden) = (Arc::new(buried.clone()), Arc::new(Mutex::new(hidden)));
        self.until_gone(move |app, is_waited| {
            let (buried, hidden) = (Arc::clone(&buried), Arc::clone(&hidden));
            async move {
                if !is_waited {
                    // What a process has left may have been taken over since.
                    let (stopped, _) = app.stop_all(&app.all(), &buried).await;
                    hidden.lock().extend(stopped);
                }
                let is_gone = app.forget_all(&buried).await;
                if is_gone {
                    app.hidden().release(hidden.lock().drain(..));
                }
                is_gone
            }
        })
        .await;
        have_stopped
    }

    /// Stops the live runs of a thread, and yields them, and whether all have stopped.
    async fn stop_all(&self, view: &View, buried: &Buried) -> (Vec<RunMeant>, bool) {
        let mut live = self.live_of(&self.all(), buried).await.unwrap_or_default();
        // What an earlier process has left nobody stops before it is taken over.
        live.retain(|run| run.live().is_some() || self.is_node());
        if !matches!(self.is_still(buried).await, Ok(true)) {
            return (Vec::new(), true);
        }
        let meant: Vec<_> = live.iter().map(RunView::meant).collect();
        self.hidden().hide(meant.iter().copied());
        let why = format!("deletion requested via DELETE /threads/{}", buried.id);
        let request = CancelRequest::because(why).deletion();
        let stopped = view.cancel_all(&live, request, Wait::terminal()).await;
        for run in live.iter().filter_map(RunView::live) {
            run.ended().await;
        }
        (meant, stopped.iter().all(|outcome| outcome.is_reached))
    }

    /// Forgets the runs of a thread of which nothing executes, and the thread if that are all;
    /// tells whether it did.
    async fn forget_all(&self, buried: &Buried) -> bool {
        let is_gone = matches!(self.forget_runs(buried).await, Ok(true))
            && (!buried.is_recorded || self.forget_records(buried).await);
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
            let page = all.list_omitting((of_thread(buried.id), INPUTS), PAGE, next, meant).await?;
            // What was listed before this is none of a later thread of this id.
            if !self.is_still(buried).await? {
                return Ok(true);
            }
            for run in page.runs {
                is_all &= self.forget_run(&run).await;
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
        let is_same = |it: &Recorded| buried.is_of(micros(it.made_at));
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
            let page = view.list_omitting((filter, INPUTS), PAGE, next, meant).await?;
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

/// How long a node leaves a thread to the one that has deleted it.
const OTHERS_WAIT: Duration = Duration::from_secs(2);
