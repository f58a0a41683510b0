//! [`App::thread_anywhere`]: threads of several nodes, or processes, on one store.
//!
//! A thread is in the memory of each node that serves it. What the nodes share is in the store: a
//! record of the thread itself, and those of its runs. Whoever reads a thread, or makes a run in
//! it, first takes in what the store says of it; alone once, when the thread comes into memory.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use quell::{RunFilter, RunRef, RunStatus};
use quell_http::{LookupError, RunView, SESSION, View};
use uuid::Uuid;

use crate::app::App;
use crate::app::base::ended;
use crate::app::stored::StoredRun;
use crate::threads::{Elsewhere, Ground, Left, Mark, Thread};
use crate::values::Fold;
use crate::wire::asked::{Asked, INPUTS, next_of, row_in_thread};
use crate::wire::interrupt::Interrupt;
use crate::wire::refusal::Refusal;

impl App {
    /// Tells whether others share the store.
    pub(crate) fn is_node(&self) -> bool {
        self.engine().node().is_some()
    }

    /// Has an answer wait that tells how a run ended, or what it asks, until that is stored: a
    /// crash would take it back, and other nodes tell it then. To be asked when the answer is
    /// made: an end that comes meanwhile may be in it.
    ///
    /// # Errors
    ///
    /// Fails if this node has lost the run, or ends: another one says how it ends.
    pub(crate) async fn heard(&self, run: &RunRef) -> Result<(), Refusal> {
        let status = run.status();
        if !status.is_terminal() && status != RunStatus::Paused {
            return Ok(());
        }
        if self.service().holds(run).await { Ok(()) } else { Err(Refusal::elsewhere()) }
    }

    /// As [`App::heard`], of the last runs of a thread: what it has left those before are stored
    /// with, or behind.
    pub(crate) async fn heard_of(&self, thread: &Thread) -> Result<(), Refusal> {
        if !self.engine().has_store() || thread.is_temporary {
            return Ok(());
        }
        let marks = thread.marks(self.engine()).into_iter().flatten();
        let last = marks.filter_map(|mark| self.engine().get(mark.run()));
        let paused = thread.paused(self.engine()).map(|(_, run)| run);
        for run in last.chain(paused) {
            self.heard(&run).await?;
        }
        Ok(())
    }

    /// Tells whether all of a run is stored, and waits for that as [`Service::holds`] does.
    ///
    /// [`Service::holds`]: quell_http::Service::holds
    pub(super) async fn is_settled(&self, run: &RunRef) -> bool {
        run.stored().await.is_ok()
    }

    /// As [`App::thread`], also of a thread that another node has made, and up to date with what
    /// the store says of its runs. Alone it does not wait.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(crate) async fn thread_anywhere(
        &self,
        view: &View,
        id: Uuid,
    ) -> Result<Option<Arc<Thread>>, Refusal> {
        let Some(known) = self.known_thread(view, id).await? else { return Ok(None) };
        if !self.is_read_again(&known) {
            return Ok(self.thread(view, id));
        }
        self.look_elsewhere(view, &known).await?;
        if known.is_over(SystemTime::now()) && self.expire(&known).await? {
            return Ok(None);
        }
        // It may have left the memory meanwhile, to make room: what was read of it stands.
        Ok(Some(self.thread(view, id).unwrap_or(known)))
    }

    /// Tells whether the store may say more of a thread than is in memory.
    pub(super) fn is_read_again(&self, thread: &Thread) -> bool {
        let is_whole = thread.is_whole.load(Ordering::SeqCst);
        self.engine().has_store() && !thread.is_temporary && (self.is_node() || !is_whole)
    }

    /// As [`App::thread_anywhere`], of one that is to be there.
    ///
    /// # Errors
    ///
    /// As that, and if there is none.
    pub(crate) async fn thread_of(&self, view: &View, id: Uuid) -> Result<Arc<Thread>, Refusal> {
        self.thread_anywhere(view, id).await?.ok_or_else(|| Refusal::no_thread(id))
    }

    /// As [`App::thread_anywhere`], as it is in memory if it is there.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn known_thread(
        &self,
        view: &View,
        id: Uuid,
    ) -> Result<Option<Arc<Thread>>, Refusal> {
        let known = self.thread(view, id);
        if let Some(known) = known.as_ref().filter(|known| !self.is_read_again(known)) {
            let is_over = known.is_over(SystemTime::now()) && self.expire(known).await?;
            return Ok((!is_over).then(|| Arc::clone(known)));
        }
        if !self.engine().has_store() {
            return Ok(None);
        }
        let recorded = self.recorded(id).await?;
        let Some(known) = known else { return self.stored_thread(view, id, recorded).await };
        if self.is_gone(&known, recorded.as_ref(), None).await? {
            // The run for which it was made was not made after all, or it was deleted.
            self.lose(&known).await?;
            return self.stored_thread(view, id, recorded).await;
        }
        if let Some(recorded) = recorded {
            self.take_card(&known, recorded)?;
        }
        Ok(Some(known))
    }

    /// Takes in what the store says of the newest runs of a thread.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn look_elsewhere(
        &self,
        view: &View,
        thread: &Arc<Thread>,
    ) -> Result<(), Refusal> {
        let view = self.owner_view(view, thread);
        // What a run that is found here, and that the thread had not, starts on is known after the
        // second look.
        let mut is_whole = false;
        for _ in 0..LOOKS_MAX {
            let undone = thread.undone();
            is_whole = self.takes_in_elsewhere(&view, thread, undone).await?
                && thread.is_whole_since(undone);
            if is_whole {
                break;
            }
        }
        if !is_whole {
            // Runs of it are deleted all the time: the next reader looks again, and who starts.
            thread.is_whole.store(false, Ordering::SeqCst);
        }
        for (tracked, run) in thread.beginning(self.engine()) {
            self.know_beginning(thread, &tracked, &run).await?;
        }
        self.hold_values(thread);
        Ok(())
    }

    /// Takes in what the store says, and tells whether that is all: no run was found here that the
    /// thread had not, and none was deleted meanwhile of those that were read.
    async fn takes_in_elsewhere(
        &self,
        view: &View,
        thread: &Arc<Thread>,
        undone: u64,
    ) -> Result<bool, Refusal> {
        // Before the store is read: what these start on is there by now.
        let awaiting = thread.awaiting(self.engine());
        let newest = self.newest_and_live(view, thread).await?;
        self.undo_deleted(thread, &newest).await?;
        let is_known = |run: &RunRef| {
            let row = row_in_thread(&run.into());
            thread.find(run.id()).is_some()
                || row.status.is_terminal() && thread.has(self.engine(), &row)
        };
        let (mut far, mut has_adopted) = (Vec::new(), false);
        for run in newest {
            match run.live() {
                // It was taken over from another node, or the thread was not in memory. What a run
                // left that has made room is in the thread already.
                Some(run) if !is_known(run) && !thread.has_left() => {
                    has_adopted |= self.adopt(run, Some(undone)).is_some();
                }
                Some(_) => {}
                None => far.extend(self.stored(view, run)),
            }
        }
        let elsewhere = self.elsewhere(view, &far).await?;
        far.retain(|far| far.run.status().is_terminal() && !far.run.is_rolled_back());
        far.sort_by_key(|far| Mark::of(&far.run.row()));
        for (tracked, end) in awaiting {
            let before = self.last_before(view, thread, (tracked.id, end)).await?;
            if !self.take_left(view, thread, before.as_ref(), undone).await? {
                return Ok(false);
            }
            if let Some(run) = tracked.run(self.engine())
                && !thread.starts_unless_undone(self.engine(), (&tracked, &run), undone)
            {
                return Ok(false);
            }
        }
        // Behind the last one that has left values one may have ended that never started.
        let wrote = far.iter().rfind(|far| has_left(&far.run));
        for last in [wrote, far.last()] {
            if !self.take_left(view, thread, last, undone).await? {
                return Ok(false);
            }
        }
        if wrote.is_none() {
            thread.go_back_to_base(self.engine());
        }
        thread.see(elsewhere);
        Ok(!has_adopted)
    }

    /// Lists the newest runs of a thread, all that are live, the last that has ended, and the last
    /// of these that has left values; also one that was due later, whatever has overtaken it.
    async fn newest_and_live(&self, view: &View, thread: &Thread) -> Result<Vec<RunView>, Refusal> {
        let is_own = |run: &RunView| {
            let asked = Asked::of(run).filter(|asked| !asked.is_temporary);
            asked.is_some_and(|asked| thread.is_of_record(asked.record_us))
        };
        let filter = of_thread(thread.id);
        let page = view.list_omitting((filter.clone(), INPUTS), NEWEST_MAX, None, is_own).await?;
        let (mut runs, has_more) = (page.runs, page.next.is_some());
        if !has_more {
            return Ok(runs);
        }
        let ended = ended(filter.clone());
        let has_ended = runs.iter().any(|run| run.status().is_terminal());
        let has_left = runs.iter().any(has_left);
        let live = Some((filter.live(), LIVE_MAX, false));
        let last = (!has_ended).then(|| (ended.clone(), 1, false));
        let wrote = (!has_left).then_some((ended, 1, true));
        for (filter, most, is_left) in [live, last, wrote].into_iter().flatten() {
            let shown = |run: &RunView| is_own(run) && (!is_left || self::has_left(run));
            let page = view.list_omitting((filter, INPUTS), most, None, shown).await?;
            let known: HashSet<_> = runs.iter().map(RunView::id).collect();
            runs.extend(page.runs.into_iter().filter(|run| !known.contains(&run.id())));
        }
        // Mostly the last one is there, and of this thread.
        for late in self.late_of(view, thread.id, |_, _| true).await?.into_iter().rev() {
            if runs.iter().any(|run| run.id() == late.run()) {
                break;
            }
            if let Some(run) = view.find_by_id(late.run()).await?.filter(is_own) {
                runs.push(run);
                break;
            }
        }
        Ok(runs)
    }

    async fn elsewhere(&self, view: &View, far: &[StoredRun]) -> Result<Elsewhere, Refusal> {
        let mut live: Vec<_> = far.iter().filter(|far| far.is_live(self)).collect();
        live.sort_by_key(|far| far.run.queued_at());
        let mut elsewhere = Elsewhere::default();
        for far in live {
            let is_paused = far.run.status() == RunStatus::Paused;
            if is_paused {
                // The list has not what it has started on.
                let Some(far) = &self.whole(view, &far.run).await? else { continue };
                let so_far = self.folded_on_heap(view, far).await?;
                if !so_far.has_started() && !self.is_stored(far.run.id()).await? {
                    // What it has said has left with it.
                    continue;
                }
                elsewhere.interrupt = Interrupt::of(&far.run);
                elsewhere.so_far = so_far.current().map(Arc::clone);
            }
            elsewhere.is_live |= !is_paused;
            elsewhere.since = Some(far.run.queued_at());
            elsewhere.graph = Some(far.tracked.graph_keys());
        }
        Ok(elsewhere)
    }

    /// Takes in what a run left, if the thread does not have it yet; false if the run is gone since
    /// it was listed, or here by now: then what is left is to be looked for again.
    async fn take_left(
        &self,
        view: &View,
        thread: &Thread,
        last: Option<&StoredRun>,
        undone: u64,
    ) -> Result<bool, Refusal> {
        let Some(last) = last else { return Ok(true) };
        if thread.has(self.engine(), &row_in_thread(&last.run)) {
            return Ok(true);
        }
        let Some(run) = self.whole(view, &last.run).await? else { return Ok(false) };
        let fold = self.folded_on_heap(view, &run).await;
        let Some(fold) = self.unless_gone(run.run.id(), fold).await? else { return Ok(false) };
        let (row, tracked) = (row_in_thread(&run.run), run.tracked);
        if tracked.needs_next() {
            let (values, next) = (fold.base().cloned(), next_of(&run.run).unwrap_or_default());
            tracked.begins_on(Ground { values, next, last: None });
        }
        Ok(thread.take_left(self.engine(), &Left { tracked, row, fold }, undone))
    }

    /// Reads a run of a list again that is only in the store, with its report, which lists have
    /// not: that has what the run returned.
    pub(super) async fn whole(
        &self,
        view: &View,
        listed: &RunView,
    ) -> Result<Option<StoredRun>, LookupError> {
        let whole = view.find_by_id(listed.id()).await?;
        let whole = whole.filter(|whole| whole.queued_at() == listed.queued_at());
        let whole = whole.filter(|whole| whole.live().is_none());
        Ok(whole.and_then(|run| self.stored(view, run)))
    }

    async fn folded_on_heap(&self, view: &View, run: &StoredRun) -> Result<Fold, LookupError> {
        let folded: Pin<Box<_>> = Box::pin(self.folded(view, run));
        folded.await
    }
}

/// Tells whether a run has ended that may have left values.
pub(super) fn has_left(run: &RunView) -> bool {
    let row = row_in_thread(run);
    row.status.is_terminal() && row.started_at.is_some() && !run.is_rolled_back()
}

pub(super) fn of_thread(id: Uuid) -> RunFilter {
    RunFilter::new().label(SESSION, id.to_string())
}

/// How many of the newest runs of a thread are looked at.
const NEWEST_MAX: usize = 20;

/// How many of its live ones besides.
const LIVE_MAX: usize = 100;

/// How often a thread is looked at for one reader.
const LOOKS_MAX: usize = 5;
