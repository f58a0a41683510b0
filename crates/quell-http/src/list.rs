//! [`View::list`]: lists roots, those in memory and those that are only in the store, newest first.
//!
//! Runs in memory are listed as they stand there; of the store those are listed that are not in
//! memory. Both are merged by the time of their acceptance, to the millisecond. The store is read
//! in pages, as far as the list goes.
//!
//! On one node of several the store alone says which runs there are, and in which order: no other
//! order is the same on all of them, and what another node has forgotten is not in it.

use std::collections::{HashSet, VecDeque};
use std::time::SystemTime;

use quell::store::{Omitted, Page, RunRecord, Stored};
use quell::{RunFilter, RunId, RunRef};
use uuid::Uuid;

use crate::counted::{given_bytes, row_bytes};
use crate::list_cursor::{ListCursor, NANOS, Place, RunPage, dated, key, millis};
use crate::lookup_error::LookupError;
use crate::render::newest;
use crate::run_view::{RunView, StoredRun};
use crate::service::{View, is_known_as_accepted};
use crate::stored_events::read;

impl View {
    /// Lists visible roots that match a filter and are `shown`, in memory and in the store, each
    /// once and the newest first: at most `limit`, and fewer if they are large, or if few of those
    /// that are stored are visible; `next` tells whether there are more. Without a store it does
    /// not wait.
    ///
    /// Of several nodes each has the same list, in the order in which the store has taken the runs,
    /// without those that any of them has forgotten; a further part may be asked of any of them. A
    /// run of a node is listed there as it stands in memory, if the store has it with a status that
    /// the filter means: a status that is not stored yet is that of no filter. A part reads 16
    /// pages of the store at most, whatever is in memory: the first has one run more than are asked
    /// for, and each further one four times as many as the one before, at most 128.
    ///
    /// A stored run that cannot be read is left out, and the log says so. Of one that can, a list
    /// has neither the input nor the annotations: see [`View::list_with_inputs`].
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    pub async fn list(
        &self,
        filter: RunFilter,
        limit: usize,
        after: Option<ListCursor>,
        shown: impl Fn(&RunView) -> bool + Send + Sync,
    ) -> Result<RunPage, LookupError> {
        self.listed((filter, Omitted::Given, None), limit, after, shown).await
    }

    /// As [`View::list`], and reads the store no further than an instant, but for a minute by which
    /// clocks of nodes may differ: `shown` tells exactly.
    pub(crate) async fn list_since(
        &self,
        (filter, since): (RunFilter, Option<SystemTime>),
        limit: usize,
        after: Option<ListCursor>,
        shown: impl Fn(&RunView) -> bool + Send + Sync,
    ) -> Result<RunPage, LookupError> {
        self.listed((filter, Omitted::Given, since), limit, after, shown).await
    }

    /// As [`View::list`], with the inputs and annotations of stored runs, which count: a part ends
    /// when the runs in it have 16 MiB.
    ///
    /// # Errors
    ///
    /// As [`View::list`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn list_with_inputs(
        &self,
        filter: RunFilter,
        limit: usize,
        after: Option<ListCursor>,
        shown: impl Fn(&RunView) -> bool + Send + Sync,
    ) -> Result<RunPage, LookupError> {
        self.list_omitting((filter, Omitted::Nothing), limit, after, shown).await
    }

    /// As [`View::list_with_inputs`], without what is omitted of stored runs.
    ///
    /// # Errors
    ///
    /// As [`View::list`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn list_omitting(
        &self,
        (filter, omitted): (RunFilter, Omitted),
        limit: usize,
        after: Option<ListCursor>,
        shown: impl Fn(&RunView) -> bool + Send + Sync,
    ) -> Result<RunPage, LookupError> {
        self.listed((filter, omitted, None), limit, after, shown).await
    }

    async fn listed(
        &self,
        (filter, omitted, since): (RunFilter, Omitted, Option<SystemTime>),
        limit: usize,
        after: Option<ListCursor>,
        shown: impl Fn(&RunView) -> bool + Send + Sync,
    ) -> Result<RunPage, LookupError> {
        let (filter, limit) = (filter.roots(), limit.max(1));
        let own = self.own_owner();
        if own.is_some() && filter.asked_owner().is_some_and(|asked| own != Some(asked)) {
            return Ok(RunPage { runs: Vec::new(), next: None, total: Some(0) });
        }
        let engine = self.service().engine();
        // On one node of several none is listed because it is in memory.
        let is_node = engine.node().is_some();
        let mut live = if is_node { Vec::new() } else { self.runs(&filter) };
        live.retain(|run| is_known_as_accepted(run) && shown(&RunView::Live(run.clone())));
        let total = live.len();
        let mut passed = Vec::new();
        if let Some(after) = after {
            (live, passed) = live.into_iter().partition(|run| key(run) < after.before);
        }
        let left = live.len();
        if !engine.has_store() {
            let live = newest(live, limit);
            let next = live.last().filter(|_| left > limit);
            let next = next.map(|run| ListCursor { before: key(run), store: Place::End });
            let runs = live.into_iter().map(RunView::Live).collect();
            return Ok(RunPage { runs, next, total: Some(total) });
        }
        // On the heap, as what follows: without a store nobody pays for its size.
        let asked = (filter, omitted, since, limit);
        let source = Box::new(Source::new(self, asked, after, (&live, &passed)));
        let mut page = Box::pin(merged((newest(live, limit), left), source, &shown, limit)).await?;
        page.total = page.total.filter(|_| after.is_none());
        Ok(page)
    }
}

/// Merges the newest of those in memory, of which so many are left, with those of the store.
async fn merged(
    (live, left): (Vec<RunRef>, usize),
    mut source: Box<Source<'_>>,
    shown: &(impl Fn(&RunView) -> bool + Sync),
    limit: usize,
) -> Result<RunPage, LookupError> {
    let (mut live, mut taken) = (live.into_iter().peekable(), HashSet::new());
    let (mut runs, mut bytes) = (Vec::new(), 0_usize);
    let has_more = loop {
        let stored = source.head(shown).await?;
        let is_live = match (stored, live.peek()) {
            (Head::End, None) => break taken.len() < left,
            // Those in memory that are older come behind what is still to be read.
            (Head::NotYet, _) => break true,
            (Head::Listed(run), _) if taken.contains(&run) => {
                source.take();
                continue;
            }
            // Of the same millisecond, those in memory come first.
            (Head::At(at), next) => next.is_some_and(|run| millis(run.queued_at()) >= at),
            (Head::Listed(_), _) | (Head::End, Some(_)) => true,
        };
        if runs.len() >= limit || bytes >= BYTES_MAX {
            break true;
        }
        if let Some(run) = live.next_if(|_| is_live) {
            taken.insert(run.id());
            source.before = key(&run);
            runs.push(RunView::Live(run));
        } else if let Some(run) = source.take() {
            if let RunView::Stored(run) = &run {
                bytes = bytes.saturating_add(row_bytes(run.report().own_row()));
                bytes = bytes.saturating_add(given_bytes(run.accepted()));
            }
            runs.push(run);
        }
    };
    let next = has_more.then(|| source.cursor());
    let total = Some(runs.len()).filter(|_| next.is_none());
    Ok(RunPage { runs, next, total })
}

/// The stored runs of a list that are not in memory, as far as they were read; on one node of
/// several all of them.
struct Source<'a> {
    view: &'a View,
    filter: RunFilter,
    /// What the runs lack.
    omitted: Omitted,
    /// Nothing is read of runs that were accepted before this millisecond.
    since: u128,
    /// Those in memory that this part, or a later one, lists: each with when it was accepted, for
    /// the store may have another run of its id by now.
    listed: HashSet<(RunId, u128)>,
    /// Those in memory that earlier parts have listed.
    passed: HashSet<(RunId, u128)>,
    /// Behind what is listed or left out.
    place: Place,
    /// What was read, each with the place behind it.
    items: VecDeque<(Stored<RunRecord>, Place)>,
    /// Where the next page begins.
    next: Place,
    /// How many pages were read, and how many runs the next one has.
    pages: usize,
    size: usize,
    /// The next one, once it is known. What is listed behind this point is older.
    head: Option<Next>,
    before: (u128, RunId),
}

/// A run that a source has next.
struct Next {
    id: RunId,
    /// When it was accepted, in milliseconds.
    at: u128,
    /// None if it is listed because it is in memory.
    run: Option<RunView>,
    behind: Place,
}

/// What a source has next.
#[derive(Clone, Copy)]
enum Head {
    /// A run that was accepted in this millisecond.
    At(u128),
    /// One that is listed because it is in memory. It stays here until it was listed: it may be
    /// only in the store when the next part is asked for.
    Listed(RunId),
    /// Nothing.
    End,
    /// Nothing as far as it was read for this part.
    NotYet,
}

impl<'a> Source<'a> {
    fn new(
        view: &'a View,
        (mut filter, omitted, since, limit): (RunFilter, Omitted, Option<SystemTime>, usize),
        after: Option<ListCursor>,
        (left, passed): (&[RunRef], &[RunRef]),
    ) -> Self {
        if let Some(owner) = view.own_owner() {
            filter = filter.owner(owner);
        }
        let start = RunId::from_uuid(Uuid::nil());
        let place = after.map_or(Place::Begin, |after| after.store);
        let before = after.map_or((u128::MAX, start), |after| after.before);
        let [listed, passed] = [left, passed].map(|all| all.iter().map(dated).collect());
        // One more: whether there are more is known then.
        let (items, size) = (VecDeque::new(), limit.saturating_add(1).min(PAGE));
        Self {
            view,
            filter,
            omitted,
            since: since.map_or(0, |since| millis(since).saturating_sub(CLOCKS_DIFFER)),
            listed,
            passed,
            place,
            items,
            next: place,
            pages: 0,
            size,
            head: None,
            before,
        }
    }

    /// Reads on to the next visible run that is not in memory.
    async fn head(
        &mut self,
        shown: &(impl Fn(&RunView) -> bool + Sync),
    ) -> Result<Head, LookupError> {
        loop {
            match &self.head {
                Some(Next { at, run: Some(_), .. }) => return Ok(Head::At(*at)),
                Some(Next { id, run: None, .. }) => return Ok(Head::Listed(*id)),
                None => {}
            }
            match self.items.pop_front() {
                Some((Ok(record), behind)) => self.look(record, behind, shown),
                Some((Err(unreadable), behind)) => {
                    tracing::warn!(%unreadable, "a run is left out of a list");
                    self.place = behind;
                }
                None => {
                    self.place = self.next;
                    match self.next {
                        Place::End => return Ok(Head::End),
                        _ if self.pages >= PAGES_MAX => return Ok(Head::NotYet),
                        _ => self.turn().await?,
                    }
                }
            }
        }
    }

    /// Makes a record the head, if it is to be listed.
    fn look(&mut self, mut record: RunRecord, behind: Place, shown: &impl Fn(&RunView) -> bool) {
        let id = record.run();
        if millis(record.accepted.at) < self.since {
            // What the store has behind it is older, too.
            self.items.clear();
            (self.next, self.place) = (Place::End, Place::End);
            return;
        }
        let at = millis(record.accepted.at).min(self.before.0 / NANOS);
        let stored = (id, millis(record.accepted.at));
        if self.listed.contains(&stored) {
            self.head = Some(Next { id, at, run: None, behind });
            return;
        }
        let engine = self.view.service().engine();
        let is_it = |run: &RunRef| dated(run) == stored && is_known_as_accepted(run);
        let live = engine.get(id).filter(is_it);
        if engine.node().is_some()
            && let Some(run) = live
        {
            // Of what a filter means only the status may be another than in the store.
            let is_meant = self.filter.lets_through(run.status());
            let run = Some(RunView::Live(run)).filter(|run| is_meant && self.is_shown(run, shown));
            self.next_is(run, (id, at), behind);
            return;
        }
        let is_in_memory = self.passed.contains(&stored) || live.is_some();
        // A store may not know how to omit it.
        self.omitted.take_out(&mut record.accepted);
        let run = RunView::Stored(StoredRun::in_list(record));
        let run = Some(run).filter(|run| !is_in_memory && self.is_shown(run, shown));
        self.next_is(run, (id, at), behind);
    }

    fn is_shown(&self, run: &RunView, shown: &impl Fn(&RunView) -> bool) -> bool {
        self.view.sees_view(run) && shown(run)
    }

    /// Makes a run the head, or leaves out what has none.
    fn next_is(&mut self, run: Option<RunView>, (id, at): (RunId, u128), behind: Place) {
        match run {
            Some(_) => self.head = Some(Next { id, at, run, behind }),
            None => self.place = behind,
        }
    }

    /// Reads the next page.
    async fn turn(&mut self) -> Result<(), LookupError> {
        let first = Page::first(self.size).omitting(self.omitted);
        let page = match self.next {
            Place::Behind(cursor) => first.after(cursor),
            Place::Begin | Place::End => first,
        };
        let engine = self.view.service().engine();
        let pages = read(engine.stored_runs(self.filter.clone(), page)).await?;
        self.items =
            pages.items.into_iter().zip(pages.ends.into_iter().map(Place::Behind)).collect();
        self.next = pages.next.map_or(Place::End, Place::Behind);
        self.pages += 1;
        self.size = (self.size * GROWTH).min(PAGE);
        Ok(())
    }

    /// Takes the head.
    fn take(&mut self) -> Option<RunView> {
        let Next { at, run, behind, .. } = self.head.take()?;
        self.place = behind;
        if run.is_some() {
            self.before = (at * NANOS, RunId::from_uuid(Uuid::nil()));
        }
        run
    }

    /// Yields the place behind what was taken.
    const fn cursor(&self) -> ListCursor {
        ListCursor { before: self.before, store: self.place }
    }
}

/// Milliseconds by which the clocks of nodes may differ, and runs come to a store late.
const CLOCKS_DIFFER: u128 = 60_000;

/// The most runs of one read of the store, and how many times as many a further read has: most of
/// those before were not shown.
const PAGE: usize = 128;
const GROWTH: usize = 4;

/// Pages that are read for one part of a list. Those that are not shown to the caller count.
const PAGES_MAX: usize = 16;

/// Bytes of stored runs in one part of a list, about: it ends when they are reached.
const BYTES_MAX: usize = 16 << 20;
