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
use crate::threads::{Mark, Thread, to_base};
use crate::values::{Fold, Values};
use crate::wire::asked::{Asked, LARGE, base_last_of, base_of};

impl App {
    /// Yields the values of its thread on which a run has started: those that it keeps, unless
    /// others have left something behind these, or those that the runs before it have left. Runs of
    /// a thread do not overlap, so each has started on what the one before it left.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read, or has not all of it.
    pub(crate) async fn base_of_stored(
        &self,
        view: &View,
        run: &StoredRun,
    ) -> Result<Option<Arc<Values>>, LookupError> {
        let kept = base_of(&run.run).map(to_base);
        let last = last_in_base(&run.run).filter(|_| self.is_node());
        let is_own = Asked::of(&run.run).is_some_and(|asked| !asked.is_temporary);
        if kept.is_some() && last.is_none() || !self.has_records() || !is_own {
            return Ok(kept.flatten());
        }
        let (row, thread) = (run.run.row(), run.tracked.about.thread);
        let end = row.status.is_terminal().then(|| Mark::of(&row));
        let principal = view.principal().clone().in_the_name_of(run.run.owner());
        let view = self.service().view(CONTRACT, principal);
        let kept = last.zip(kept);
        if let Some((last, values)) = &kept
            && self.left_since(&view, thread, (run.run.id(), end), Some(*last)).await?
                != Since::Others
        {
            return Ok(values.clone());
        }
        let is_before = |mark: &Mark| end.is_none_or(|end| *mark < end);
        // What this node has in memory need not be read again.
        let known = self.threads().get(thread).and_then(|it| {
            let (mark, values) = it.left_values(self.engine());
            Some((mark.filter(is_before)?, values))
        });
        let known = known.into_iter().chain(kept).max_by_key(|(mark, _)| *mark);
        let (known, mut base) = known.map_or((None, None), |(mark, base)| (Some(mark), base));
        for before in self.runs_before((&view, thread), run.run.id(), known, is_before).await? {
            let on = before.own.map_or_else(|| base.clone(), to_base);
            let left = self.left_by((&view, thread), &before.run, on).await?;
            base = left.or(base);
        }
        Ok(base)
    }

    /// Finds out what has become of a thread since one of its runs has left something, before
    /// another one, which has its place if it has ended. It reads no large part of what they were
    /// given.
    ///
    /// One behind which very many have been made counts as gone: what a run keeps stands then, and
    /// one that starts looks at the thread again.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn left_since(
        &self,
        view: &View,
        thread: Uuid,
        (run, end): (RunId, Option<Mark>),
        last: Option<Mark>,
    ) -> Result<Since, LookupError> {
        let (filter, mut next, mut since) = (ended_of(thread), None, Since::Gone);
        let is_before = |mark: Mark| end.is_none_or(|end| mark < end);
        for _ in 0..PARTS_MAX {
            let page =
                view.list_omitting((filter.clone(), LARGE), LIGHT_PART, next, has_left).await?;
            let others = page.runs.iter().filter(|other| other.id() != run);
            let marks = others.map(|other| Mark::of(&other.row()));
            let mut is_there = false;
            for mark in marks.filter(|mark| is_before(*mark)) {
                if last < Some(mark) {
                    return Ok(Since::Others);
                }
                is_there |= last == Some(mark);
            }
            next = page.next;
            if is_there || last.is_none() && next.is_none() {
                since = Since::Nothing;
                break;
            }
            if next.is_none() {
                break;
            }
        }
        if next.is_none() {
            return Ok(since);
        }
        let late = self.late_of(view, thread, |id, mark| id != run && is_before(mark)).await?;
        let is_news = late.last().is_some_and(|late| last < Some(*late));
        Ok(if is_news { Since::Others } else { since })
    }

    /// Finds the runs of a thread that were due later than they were made, and are meant, in the
    /// order in which they have ended: others may have overtaken them, which stand before them in a
    /// list, however many they are. Of the last 800 that were made, the last 20 to end. It reads
    /// no large part of what they were given.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn late_of(
        &self,
        view: &View,
        thread: Uuid,
        is_meant: impl Fn(RunId, Mark) -> bool + Send + Sync,
    ) -> Result<Vec<Mark>, LookupError> {
        let filter = ended(RunFilter::new().label(LATE, thread.to_string()));
        let meant = |run: &RunView| has_left(run) && is_meant(run.id(), Mark::of(&run.row()));
        let (mut late, mut next) = (Vec::new(), None);
        for _ in 0..PARTS_MAX {
            let page = view.list_omitting((filter.clone(), LARGE), LIGHT_PART, next, meant).await?;
            late.extend(page.runs.iter().map(|run| Mark::of(&run.row())));
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        late.sort_unstable();
        late.drain(..late.len().saturating_sub(LATE_MAX));
        Ok(late)
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
        let (known, _) = thread.left_values(self.engine());
        let before = self.runs_before((view, thread.id), run, known, is_before).await?;
        let last = before.into_iter().rfind(|before| before.run.live().is_none());
        Ok(last.and_then(|before| self.stored(view, before.run)))
    }

    /// Lists the runs of a thread that have left something before one of them, the first one first:
    /// from behind a known one on, or from the last one that keeps what it has started on. Of one
    /// behind which more than 1,000 have been made, those are not found; neither are, of the runs
    /// due later that as many have overtaken, more than the last 20.
    async fn runs_before(
        &self,
        (view, thread): (&View, Uuid),
        run: RunId,
        known: Option<Mark>,
        is_before: impl Fn(&Mark) -> bool + Send + Sync,
    ) -> Result<Vec<Before>, LookupError> {
        // Those that never started fill no part: however many they are, the last one that has left
        // something is found.
        let is_own = |run: &RunView| Asked::of(run).is_some() && has_left(run);
        let (mut found, mut next, mut first) = (Vec::new(), None, None);
        let meant = |id, mark| id != run && is_before(&mark);
        let (mut parts, mut passed, mut late) = (0, 0, Vec::new());
        while parts < PARTS_MAX && passed < PASSED_MAX {
            let page = view.list_with_inputs(ended_of(thread), PART, next, is_own).await?;
            next = page.next;
            if next.is_some() && parts + passed == 0 {
                late = self.late_of(view, thread, meant).await?;
            }
            let marked = |run: RunView| (Mark::of(&run.row()), run);
            let (runs, had) = (page.runs.into_iter().map(marked), found.len());
            found.extend(runs.filter(|(mark, run)| meant(run.id(), *mark)));
            // Those that have ended since say nothing of what was before.
            *(if found.len() > had { &mut parts } else { &mut passed }) += 1;
            // One that has ended before all that are read says nothing of those between.
            let oldest = found.iter().map(|(mark, _)| *mark).min();
            while let Some(mark) = late.pop_if(|mark| oldest.is_some_and(|oldest| oldest < *mark)) {
                if found.iter().all(|(found, _)| *found != mark) {
                    let run = view.find_by_id(mark.run()).await?.filter(is_own);
                    found.extend(run.map(marked));
                }
            }
            found.sort_by_key(|(mark, _)| *mark);
            found.dedup_by_key(|(mark, _)| *mark);
            first = last_on_own(&found, next.is_none());
            let is_known = found.first().is_some_and(|(mark, _)| known >= Some(*mark));
            if is_known || first.is_some() || next.is_none() {
                break;
            }
        }
        let runs = found.into_iter().enumerate().skip(first.unwrap_or(0));
        let runs = runs.filter(|(_, (mark, _))| known < Some(*mark)).map(|(nth, (_, run))| {
            let own = if Some(nth) == first { base_of(&run) } else { None };
            Before { run, own }
        });
        Ok(runs.collect())
    }

    /// Yields the values that a run has left which has ended; none if it had none, or is gone.
    async fn left_by(
        &self,
        (view, thread): (&View, Uuid),
        run: &RunView,
        base: Option<Arc<Values>>,
    ) -> Result<Option<Arc<Values>>, LookupError> {
        if let Some(run) = run.live() {
            let tracked = self.threads().get(thread).and_then(|thread| thread.find(run.id()));
            return Ok(tracked.and_then(|tracked| tracked.left_on(run, base.as_ref())));
        }
        let Some(run) = self.whole(view, run).await? else { return Ok(None) };
        let fold = self.folded_on(view, &run, base, None).await;
        let fold = self.unless_gone(run.run.id(), fold).await?;
        let left = |fold: Fold| fold.left(run.run.status(), &run.tracked.about).map(Arc::clone);
        Ok(fold.and_then(left))
    }
}

/// What has become of a thread since a run has left something in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// That run was the last one.
    Nothing,
    /// That run is gone, and none has left anything behind it.
    Gone,
    /// Others have left something.
    Others,
}

/// A run that has left something before another one.
struct Before {
    run: RunView,
    /// What it has started on, of one that keeps that: else on what the one before it has left.
    own: Option<Values>,
}

/// Finds the last of these runs, in their order, that has started on what it keeps: nobody has left
/// something between. Of the first one that is known if there are no others before it.
fn last_on_own(runs: &[(Mark, RunView)], is_all: bool) -> Option<usize> {
    runs.iter().enumerate().rposition(|(nth, (_, run))| {
        let before = nth.checked_sub(1).map(|nth| runs[nth].0);
        let is_next = |last| before.map_or(is_all, |before| before <= last);
        base_of(run).is_some() && last_in_base(run).is_none_or(is_next)
    })
}

/// Yields the place of the last run that has left something in what a run keeps.
pub(super) fn last_in_base(run: &RunView) -> Option<Mark> {
    base_last_of(run).map(|(at, last)| Mark::new(at, last))
}

fn ended_of(thread: Uuid) -> RunFilter {
    ended(of_thread(thread))
}

/// Has a filter mean ended runs alone.
pub(super) fn ended(filter: RunFilter) -> RunFilter {
    let ended = RunStatus::ALL.into_iter().filter(|status| status.is_terminal());
    ended.fold(filter, RunFilter::status)
}

/// The label by which the runs of a thread are found that were due later than they were made.
pub(super) const LATE: &str = "langgraph.late";

/// Runs of one part of the list, of one without what they were given, and the parts that are read.
const PART: usize = 20;
const LIGHT_PART: usize = 100;
const PARTS_MAX: usize = 8;

/// Runs that were due later which are looked for besides.
const LATE_MAX: usize = 20;

/// Parts of the list that are passed by on the way to those before a run.
const PASSED_MAX: usize = 50;
