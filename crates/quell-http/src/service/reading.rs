//! [`Reading`]: all that is needed to show a run and those below it.

use std::sync::Arc;

use futures::future::{Either, ready};
use futures::{Stream, StreamExt as _};
use parking_lot::Mutex;
use quell::store::Accepted;
use quell::{CauseKind, Labels, Payload, RunEvent, RunId, RunRef, RunReport, RunRow};

use crate::before_events::with_stored;
use crate::counted::row_bytes;
use crate::events::answered;
use crate::fold::Fold;
use crate::lookup_error::LookupError;
use crate::run_state::RunState;
use crate::run_view::{RunView, StoredRun};
use crate::service::below::Below;
use crate::service::view::View;
use crate::stored_events::{StoredEvents, read};
use crate::transcript::Transcript;

/// All that is needed to show a run and those below it, at once: a report, what the runs have said,
/// what they were given. Of a run that is in memory it is what stands there at that moment. Cheap
/// to clone.
///
/// [`View::read`] makes one.
#[derive(Clone, Debug)]
pub struct Reading {
    view: View,
    run: RunView,
    report: Arc<RunReport>,
    /// What was read of the store; none for a run that is in memory.
    stored: Option<Arc<Said>>,
}

/// What the runs of a tree have said, as far as their events were taken in: for a stream of a run
/// that is only in the store. [`View::tree_said`] makes one.
#[derive(Debug)]
pub struct TreeSaid(Arc<Mutex<Fold>>);

impl TreeSaid {
    /// Takes in the next event.
    pub fn take(&mut self, event: &RunEvent) {
        self.0.lock().apply(event);
    }

    /// Yields the transcript of a run so far; `None` if it has said nothing.
    pub fn transcript_of(&self, run: RunId) -> Option<Transcript> {
        self.0.lock().of(run)
    }
}

/// What was read of a stored tree.
#[derive(Debug)]
struct Said {
    fold: Arc<Mutex<Fold>>,
    below: Below,
}

impl View {
    /// Reads what is needed to show a run by itself, and, if it is only in the store and its root
    /// has not ended, the runs below. Of a run that is in memory it does not wait.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    pub async fn read(&self, run: RunView) -> Result<Reading, LookupError> {
        self.read_with(run, false).await
    }

    /// As [`View::read`], with what the runs below were given, and with their rows, also if the
    /// root is only in the store and has not ended.
    ///
    /// # Errors
    ///
    /// As [`View::read`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn read_tree(&self, run: RunView) -> Result<Reading, LookupError> {
        self.read_with(run, true).await
    }

    /// As [`View::read_tree`], for a reader of its events, who knows what was said. The run is of
    /// the tree of which that is.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn read_tree_of(&self, run: &StoredRun, said: &TreeSaid) -> Reading {
        let fold = Arc::clone(&said.0);
        let (report, below) = self.below(run, &fold).await;
        let stored = Some(Arc::new(Said { fold, below }));
        Reading { view: self.clone(), run: RunView::Stored(run.clone()), report, stored }
    }

    /// Reads a run that is in memory, whose report this is.
    pub fn read_live(&self, run: &RunRef, report: Arc<RunReport>) -> Reading {
        Reading { view: self.clone(), run: run.into(), report, stored: None }
    }

    async fn read_with(&self, run: RunView, with_below: bool) -> Result<Reading, LookupError> {
        let (report, said) = match &run {
            RunView::Live(run) => (run.report(), None),
            RunView::Stored(stored) => {
                // On the heap: without a store nobody pays for its size.
                let (report, said) = Box::pin(self.said(stored, with_below)).await?;
                (report, Some(Arc::new(said)))
            }
        };
        Ok(Reading { view: self.clone(), run, report, stored: said })
    }

    /// Folds the stored events of the tree of a run. What it keeps of them counts as under way for
    /// the principal; where there is no room it is cut, and marked so. Yields the report besides.
    async fn said(
        &self,
        run: &StoredRun,
        with_below: bool,
    ) -> Result<(Arc<RunReport>, Said), LookupError> {
        let (engine, root) = (self.service().engine(), run.root().run);
        let charge = self.service().shared().requests.charge(self.principal().owner(), 0).ok();
        let mut fold = Fold::charged(charge);
        let whole = if run.record().run() == root {
            Some(run.record().clone())
        } else {
            read(engine.stored_run(root)).await?
        };
        if let Some(whole) = whole {
            let mut events = StoredEvents::new(engine.clone(), whole.into(), 0);
            while let Some(event) = events.next().await? {
                fold.apply(&event);
            }
        }
        let fold = Arc::new(Mutex::new(fold));
        let (report, below) = if with_below || !run.has_whole_report() {
            self.below(run, &fold).await
        } else {
            (Arc::clone(run.report()), Below::default())
        };
        Ok((report, Said { fold, below }))
    }

    /// Yields the object `quell` of a run in a list, whose row this is. A list shows no transcript,
    /// so nothing of it can be missing.
    pub fn state_in_list(&self, run: &RunView, row: &RunRow) -> RunState {
        let state = match run {
            // Abandoned work of descendants is only in the report. There is none if the tree was
            // quiescent when the run ended, and then the row is enough.
            RunView::Live(_) if row.ended_at.is_some() && row.ended_at == row.quiesced_at => {
                self.state_of_row(row)
            }
            RunView::Live(run) => self.state(run),
            RunView::Stored(run) => RunState::of(run.report(), |id| run.external_id_of(id)),
        };
        RunState { truncated: false, ..state }
    }

    /// Folds what the runs of a tree say from its events, as they come. What it keeps counts as
    /// under way for the principal; where there is no room it is cut, and marked so.
    pub fn tree_said(&self) -> TreeSaid {
        let requests = &self.service().shared().requests;
        let charge = requests.charge(self.principal().owner(), 0).ok();
        TreeSaid(Arc::new(Mutex::new(Fold::charged(charge))))
    }

    /// As [`View::events`], from the first one on, of a run that is only in the store: those that
    /// are there by now, also if another node has the run. One that ends early has met trouble of
    /// the store.
    pub fn events_by_now(&self, run: &StoredRun) -> impl Stream<Item = RunEvent> + Send + use<> {
        let (engine, record) = (self.service().engine().clone(), run.record().clone());
        Box::new(StoredEvents::new(engine, record.into(), 0)).into_stream()
    }

    /// Yields the number of the last of them, or zero: behind it comes what is new.
    pub async fn last_seq_by_now(&self, run: &StoredRun) -> u64 {
        self.events_by_now(run).fold(0, |last: u64, event| ready(last.max(event.seq))).await
    }

    /// As [`answered`], of a run that is only in the store, as far as it tells by now. A run that
    /// was never in another attempt than the first is not looked through.
    pub async fn answered_by_now(&self, run: &StoredRun) -> u32 {
        let record = run.record();
        if record.attempt <= 1 || record.is_answered() {
            // The event of the answer may come behind it.
            return record.attempt.max(1);
        }
        let events = self.events_by_now(run);
        events.fold(1, |last: u32, event| ready(last.max(answered([event])))).await
    }

    /// Reads the events of a run after the one with this `seq`, for a client: of one that is only
    /// in the store those that are stored, of a live root those of an earlier process as well. Of
    /// one that another node has they are followed to its end, from the store: the node tells when
    /// there is something new, and each such stream reads twice a second besides. Where nobody
    /// tells ([`quell::cluster::LogWatch`]) it is up to 250 ms late, and reads 5 times a second
    /// while nothing happens, and up to 100 times while something does. Dropped, it does not. It
    /// goes on while the store is in trouble, and ends without an end if the run is forgotten
    /// meanwhile, or the engine is shut down.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    pub async fn events(
        &self,
        run: &RunView,
        after: u64,
    ) -> Result<impl Stream<Item = RunEvent> + Send + use<>, LookupError> {
        match run {
            RunView::Live(run) => {
                Ok(Either::Left(with_stored(self.service().engine().clone(), run, after)))
            }
            RunView::Stored(stored) => {
                let (engine, record) = (self.service().engine().clone(), stored.record().clone());
                let events = StoredEvents::new(engine, record.into(), after).following();
                let mut events = Box::new(events);
                // Before the answer begins: a store that fails is refused as such.
                Box::pin(events.turn()).await?;
                Ok(Either::Right(events.into_stream()))
            }
        }
    }
}

impl Reading {
    /// Yields the view that it was read through.
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// Yields the run.
    pub const fn run(&self) -> &RunView {
        &self.run
    }

    /// Yields the report of the run.
    pub const fn report(&self) -> &Arc<RunReport> {
        &self.report
    }

    /// Yields the object `quell` of the run.
    pub fn state(&self) -> RunState {
        match &self.stored {
            None => self.view.state_of(&self.report),
            Some(said) => {
                let state = RunState::of(&self.report, |id| self.external_id_of(id));
                RunState { truncated: said.fold.lock().is_cut(self.run.id()), ..state }
            }
        }
    }

    /// As [`Reading::state`], of a run below, from its row.
    pub fn state_of_row(&self, row: &RunRow) -> RunState {
        RunState::of_row(row, |id| self.external_id_of(id))
    }

    /// Yields the transcripts of the runs of its tree, parents before children.
    pub fn tree_transcripts(&self) -> Vec<Transcript> {
        match (&self.run, &self.stored) {
            (_, Some(said)) => said.fold.lock().all(),
            (RunView::Live(run), None) => self.view.tree_transcripts(run),
            (RunView::Stored(_), None) => Vec::new(),
        }
    }

    /// Yields the transcript of a run of the tree; `None` if nothing is known of the run any more.
    pub fn transcript_of(&self, run: RunId) -> Option<Transcript> {
        match &self.stored {
            None => {
                let found = self.known(run)?;
                Some(self.view.transcript(&found))
            }
            Some(said) => said.fold.lock().of(run),
        }
    }

    /// Yields the transcript of the run.
    pub fn transcript(&self) -> Transcript {
        self.transcript_of(self.run.id()).unwrap_or_else(|| {
            let (run, kind) = (self.run.id(), self.run.kind());
            let mut empty = Transcript::new(run, self.run.parent(), kind, self.run.name().into());
            empty.is_cut = true;
            empty
        })
    }

    /// Yields what a run of the tree was given.
    pub fn input_of(&self, run: RunId) -> Option<Payload> {
        match (&self.stored, self.known(run)) {
            (None, Some(found)) => found.input().cloned(),
            _ => self.accepted(run)?.input.clone(),
        }
    }

    /// Yields the value of a label of a run of the tree.
    pub fn label_of(&self, run: RunId, key: &str) -> Option<String> {
        let of = |labels: &Labels| labels.get(key).cloned();
        match (&self.stored, self.known(run)) {
            (None, Some(found)) => found.labels().and_then(of),
            _ => of(&self.accepted(run)?.labels),
        }
    }

    /// Yields the kind of the cause of another run, of which a stop came: of one of the tree, or of
    /// one that is in memory.
    pub fn cause_of(&self, run: RunId) -> Option<CauseKind> {
        let row = match &self.stored {
            None => self.known(run).map(|run| run.row()),
            Some(_) => self.stored_row(run).cloned(),
        };
        Some(row?.cause?.kind)
    }

    /// Yields the id of a run as its caller knows it.
    pub fn external_id_of(&self, id: RunId) -> String {
        match &self.run {
            RunView::Live(_) => self.view.service().external_id(id),
            RunView::Stored(stored) => stored.external_id_of(id),
        }
    }

    /// Estimates the bytes of an answer that shows all of it. It writes and copies nothing.
    pub fn weight(&self) -> usize {
        let Some(said) = &self.stored else { return self.view.weight(&self.report) };
        // Those of the runs below count with the transcripts.
        let input = self.run.input().map(Payload::bytes_max);
        self.report.rows.iter().map(row_bytes).chain(input).sum::<usize>()
            + said.below.bytes
            + said.fold.lock().bytes
    }

    fn stored_row(&self, run: RunId) -> Option<&RunRow> {
        match &self.run {
            RunView::Live(_) => None,
            RunView::Stored(stored) => stored.row_of(run),
        }
    }

    fn known(&self, run: RunId) -> Option<RunRef> {
        match &self.run {
            RunView::Live(own) if own.id() == run => Some(own.clone()),
            RunView::Live(_) => self.view.service().engine().get(run),
            RunView::Stored(_) => None,
        }
    }

    fn accepted(&self, run: RunId) -> Option<&Accepted> {
        let RunView::Stored(stored) = &self.run else { return None };
        let above = stored.line().find(|above| above.run == run);
        let below = || self.stored.as_ref()?.below.runs.get(&run);
        above.or_else(below)
    }
}
