//! [`App::base_of_stored`]: the values of a thread on which a run of it has started, of what is in
//! the store.

use std::sync::Arc;

use quell::{RunFilter, RunId, RunStatus};
use quell_http::{LookupError, RunView, View};
use uuid::Uuid;

use crate::app::App;
use crate::app::elsewhere::{has_left, of_thread};
use crate::app::stored::StoredRun;
use crate::options::CONTRACT;
use crate::threads::{Mark, Thread};
use crate::values::Values;
use crate::wire::asked::{Asked, base_of};

impl App {
    /// Yields the values of its thread on which a run has started: those that it keeps, or, of one
    /// that waited behind others, those that these have left. Runs of a thread do not overlap, so
    /// each has started on what the one before it left.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read, or has not all of it.
    pub(crate) async fn base_of_stored(
        &self,
        view: &View,
        run: &StoredRun,
    ) -> Result<Option<Arc<Values>>, LookupError> {
        if let Some(own) = base_of(&run.run) {
            return Ok(Some(own).filter(|own| !own.is_empty()).map(Arc::new));
        }
        let is_own = Asked::of(&run.run).is_some_and(|asked| !asked.is_temporary);
        if !self.has_records() || !is_own {
            return Ok(None);
        }
        let row = run.run.row();
        let end = row.status.is_terminal().then(|| Mark::of(&row));
        let is_before = |mark: &Mark| end.is_none_or(|end| *mark < end);
        // What this node has in memory need not be read again.
        let thread = run.tracked.about.thread;
        let known = self.threads().get(thread).and_then(|it| it.left_values(self.engine()));
        let (known, mut base) = match known.filter(|(mark, _)| is_before(mark)) {
            Some((mark, values)) => (Some(mark), values),
            None => (None, None),
        };
        let principal = view.principal().clone().in_the_name_of(run.run.owner());
        let view = self.service().view(CONTRACT, principal);
        for before in self.runs_before((&view, thread), run.run.id(), known, is_before).await? {
            let left = self.left_by((&view, thread), &before, base.clone()).await?;
            base = left.or(base);
        }
        Ok(base)
    }

    /// Finds the last run that has ended elsewhere before a run of this node, which has its place
    /// if it has ended; none if the thread knows what all of them have left.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn last_before(
        &self,
        view: &View,
        thread: &Thread,
        (run, end): (RunId, Option<Mark>),
    ) -> Result<Option<StoredRun>, LookupError> {
        let is_before = |mark: &Mark| end.is_none_or(|end| *mark < end);
        let known = thread.left_values(self.engine()).map(|(mark, _)| mark);
        let before = self.runs_before((view, thread.id), run, known, is_before).await?;
        let last = before.into_iter().rfind(|run| run.live().is_none());
        Ok(last.and_then(|run| self.stored(view, run)))
    }

    /// Lists the runs of a thread that have left something before one of them, the first one first:
    /// from behind a known one on, or from the last one that keeps what it has started on.
    async fn runs_before(
        &self,
        (view, thread): (&View, Uuid),
        run: RunId,
        known: Option<Mark>,
        is_before: impl Fn(&Mark) -> bool,
    ) -> Result<Vec<RunView>, LookupError> {
        let ended = RunStatus::ALL.into_iter().filter(|status| status.is_terminal());
        let ended = ended.fold(of_thread(thread), RunFilter::status);
        // Those that never started fill no part: however many they are, the last one that has left
        // something is found.
        let is_own = |run: &RunView| Asked::of(run).is_some() && has_left(run);
        let (mut found, mut next, mut is_all) = (Vec::new(), None, false);
        for _ in 0..PARTS_MAX {
            let page = view.list_with_inputs(ended.clone(), PART, next, is_own).await?;
            for before in page.runs {
                let mark = Mark::of(&before.row());
                if is_before(&mark) && before.id() != run {
                    is_all |= known >= Some(mark) || base_of(&before).is_some();
                    found.push((mark, before));
                }
            }
            next = page.next;
            if is_all || next.is_none() {
                break;
            }
        }
        found.retain(|(mark, _)| known < Some(*mark));
        found.sort_by_key(|(mark, _)| *mark);
        let first = found.iter().rposition(|(_, run)| base_of(run).is_some()).unwrap_or(0);
        Ok(found.into_iter().skip(first).map(|(_, run)| run).collect())
    }

    /// Yields the values that a run has left which has ended; none if it had none, or is gone.
    async fn left_by(
        &self,
        (view, thread): (&View, Uuid),
        run: &RunView,
        base: Option<Arc<Values>>,
    ) -> Result<Option<Arc<Values>>, LookupError> {
        let base = match base_of(run) {
            Some(own) => Some(own).filter(|own| !own.is_empty()).map(Arc::new),
            None => base,
        };
        if let Some(run) = run.live() {
            let tracked = self.threads().get(thread).and_then(|thread| thread.find(run.id()));
            return Ok(tracked.and_then(|tracked| {
                let mut fold = tracked.fold.lock();
                fold.fill(&tracked.about);
                fold.current().map(Arc::clone)
            }));
        }
        let Some(run) = self.whole(view, run).await? else { return Ok(None) };
        let fold = self.folded_on(view, &run, base, None).await?;
        Ok(fold.current().map(Arc::clone))
    }
}

/// Runs of one part of the list, and the parts that are read.
const PART: usize = 20;
const PARTS_MAX: usize = 8;
