//! [`Reading`]: all that is needed to show a run and those below it.

use std::sync::Arc;

use parking_lot::Mutex;
use quell::cluster::AskedStop;
use quell::store::Accepted;
use quell::{CauseKind, Labels, Payload, RunEvent, RunId, RunRef, RunReport, RunRow, RunStatus};

use crate::counted::row_bytes;
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
    /// What was read of the store; none for a run that is in memory with all of its tree.
    stored: Option<Arc<Said>>,
    /// The number of the event of the pause as of which the run is shown.
    paused_by: Option<u64>,
    /// A stop that the node of the run has not decided yet.
    recorded: Option<Box<AskedStop>>,
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

/// What a tree has said of which the store was read.
#[derive(Debug)]
struct Said {
    fold: Arc<Mutex<Fold>>,
    below: Below,
    /// Whether something of what they were given had no room.
    is_cut: bool,
}

impl View {
    /// Reads what is needed to show a run by itself, and, if it is only in the store and its root
    /// has not ended, the runs below. Of a run that is in memory it reads what an earlier process
    /// or another node has written, and does not wait if that is nothing. Where the store is in
    /// trouble that is missing, and marked so. Of a run that another node has it also reads
    /// the stop that this has not decided yet ([`RunState::recorded_at`]).
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
        let stored = Some(Arc::new(Said { fold, below, is_cut: false }));
        Reading::new(self, RunView::Stored(run.clone()), report, stored)
    }

    /// Reads a run that is in memory, whose report this is, without what only the store has.
    pub fn read_live(&self, run: &RunRef, report: Arc<RunReport>) -> Reading {
        Reading::new(self, run.into(), report, None)
    }

    async fn read_with(&self, run: RunView, with_below: bool) -> Result<Reading, LookupError> {
        let (report, said) = match &run {
            RunView::Live(run) if !self.service().engine().has_store() => (run.report(), None),
            // On the heap: without a store nobody pays for its size.
            RunView::Live(run) => Box::pin(self.said_here(run)).await,
            RunView::Stored(stored) => Box::pin(self.said(stored, with_below)).await?,
        };
        let recorded = match &run {
            RunView::Live(_) => None,
            RunView::Stored(stored) => Box::pin(self.recorded_stop(stored)).await?,
        };
        Ok(Reading { recorded, ..Reading::new(self, run, report, said) })
    }

    /// Takes in what the tree of a run in memory has said before that was here, and what those were
    /// given that this engine never had. Yields the report besides; nothing else if it has all.
    async fn said_here(&self, run: &RunRef) -> (Arc<RunReport>, Option<Arc<Said>>) {
        let (engine, records) = (self.service().engine(), &self.service().shared().records);
        records.begin(engine, run).await;
        let report = run.report();
        let before = report.rows.iter().map(|row| row.run).filter(|id| engine.get(*id).is_none());
        let before: Vec<_> = before.collect();
        if before.is_empty() {
            return (report, None);
        }
        let (below, is_cut) = self.given(before).await;
        let fold = records.fold(run);
        (report, Some(Arc::new(Said { fold, below, is_cut })))
    }

    /// Folds the stored events of the tree of a run. What it keeps of them counts as under way for
    /// the principal; where there is no room it is cut, and marked so. Yields the report besides.
    async fn said(
        &self,
        run: &StoredRun,
        with_below: bool,
    ) -> Result<(Arc<RunReport>, Option<Arc<Said>>), LookupError> {
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
        Ok((report, Some(Arc::new(Said { fold, below, is_cut: false }))))
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

    /// Yields what the tree of a run in memory has said by now, also what an earlier process, or
    /// another node, has written of it.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    pub async fn tree_said_of(&self, run: &RunRef) -> TreeSaid {
        let records = &self.service().shared().records;
        records.begin(self.service().engine(), run).await;
        TreeSaid(records.fold(run))
    }

    /// Folds what the runs of a tree say from its events, as they come. What it keeps counts as
    /// under way for the principal; where there is no room it is cut, and marked so.
    pub fn tree_said(&self) -> TreeSaid {
        let requests = &self.service().shared().requests;
        let charge = requests.charge(self.principal().owner(), 0).ok();
        TreeSaid(Arc::new(Mutex::new(Fold::charged(charge))))
    }
}

impl Reading {
    fn new(view: &View, run: RunView, report: Arc<RunReport>, stored: Option<Arc<Said>>) -> Self {
        Self { view: view.clone(), run, report, stored, paused_by: None, recorded: None }
    }

    /// Yields the run as it was when this event paused it, as far as that is still known: paused,
    /// with the text that it had said, and with the runs below that had begun. Those have ended by
    /// then, mostly, and are shown as they stand now.
    #[must_use]
    pub fn as_paused_by(&self, pause: &RunEvent) -> Self {
        let mut own = self.report.own_row().clone();
        if own.status != RunStatus::Paused {
            own.abandoned.clear();
        }
        (own.status, own.cause, own.quiescent) = (RunStatus::Paused, None, false);
        (own.stopped_at, own.ended_at, own.quiesced_at) = (None, None, None);
        (own.output, own.partial, own.error) = (None, None, None);
        let below = self.look(|fold| {
            let begun = |row: &&RunRow| fold.had_begun(row.run, pause.seq);
            self.report.rows.iter().skip(1).filter(begun).cloned().collect::<Vec<_>>()
        });
        let rows = std::iter::once(own).chain(below).collect();
        let report = RunReport::new(rows, self.report.omitted).into();
        Self { report, paused_by: Some(pause.seq), recorded: None, ..self.clone() }
    }

    /// Looks at what the tree has said.
    fn look<T>(&self, look: impl FnOnce(&Fold) -> T) -> T {
        match (&self.run, &self.stored) {
            (_, Some(said)) => look(&said.fold.lock()),
            (RunView::Live(run), None) => self.view.service().shared().records.read(run, look),
            (RunView::Stored(_), None) => look(&Fold::default()),
        }
    }

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
        let Some(said) = &self.stored else { return self.view.state_of(&self.report) };
        let mut state = RunState::of(&self.report, |id| self.external_id_of(id));
        state.truncated = said.is_cut || said.fold.lock().is_cut(self.run.id());
        if let Some(stop) = &self.recorded {
            state.add_recorded(stop, |id| self.external_id_of(id));
        }
        state
    }

    /// As [`Reading::state`], of a run below, from its row.
    pub fn state_of_row(&self, row: &RunRow) -> RunState {
        RunState::of_row(row, |id| self.external_id_of(id))
    }

    /// Yields the transcripts of the runs of its tree, parents before children.
    pub fn tree_transcripts(&self) -> Vec<Transcript> {
        self.look(Fold::all)
    }

    /// Yields the transcript of a run of the tree; `None` if nothing is known of the run any more.
    pub fn transcript_of(&self, run: RunId) -> Option<Transcript> {
        let mut said = match &self.stored {
            None => self.view.transcript(&self.known(run)?),
            Some(said) => said.fold.lock().of(run)?,
        };
        if let Some(pause) = self.paused_by.filter(|_| run == self.run.id()) {
            said.cut_behind_pause(pause);
        }
        Some(said)
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
        match self.known(run) {
            Some(found) => found.input().cloned(),
            None => self.accepted(run)?.input.clone(),
        }
    }

    /// Yields the value of a label of a run of the tree.
    pub fn label_of(&self, run: RunId, key: &str) -> Option<String> {
        let of = |labels: &Labels| labels.get(key).cloned();
        match self.known(run) {
            Some(found) => found.labels().and_then(of),
            None => of(&self.accepted(run)?.labels),
        }
    }

    /// Yields the kind of the cause of another run, of which a stop came: of one of the tree, or of
    /// one that is in memory.
    pub fn cause_of(&self, run: RunId) -> Option<CauseKind> {
        let row = match &self.run {
            RunView::Live(_) => self.known(run).map(|run| run.row()),
            RunView::Stored(stored) => stored.row_of(run).cloned(),
        };
        Some(row.or_else(|| self.report.row(run).cloned())?.cause?.kind)
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
        if let RunView::Live(_) = self.run {
            return self.view.weight(&self.report) + said.below.bytes;
        }
        // Those of the runs below count with the transcripts.
        let input = self.run.input().map(Payload::bytes_max);
        self.report.rows.iter().map(row_bytes).chain(input).sum::<usize>()
            + said.below.bytes
            + said.fold.lock().bytes
    }

    fn known(&self, run: RunId) -> Option<RunRef> {
        match &self.run {
            RunView::Live(own) if own.id() == run => Some(own.clone()),
            RunView::Live(_) => self.view.service().engine().get(run),
            RunView::Stored(_) => None,
        }
    }

    fn accepted(&self, run: RunId) -> Option<&Accepted> {
        let above = match &self.run {
            RunView::Live(_) => None,
            RunView::Stored(stored) => stored.line().find(|above| above.run == run),
        };
        above.or_else(|| self.stored.as_ref()?.below.runs.get(&run))
    }
}
