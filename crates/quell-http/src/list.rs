//! [`View::list`]: lists roots, those in memory and those that are only in the store, newest first.
//!
//! Runs in memory are listed as they stand there; of the store those are listed that are not in
//! memory. Both are merged by the time of their acceptance, to the millisecond. The store is read
//! in pages, as far as the list goes.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use quell::store::{Cursor, Page, RunRecord, Stored};
use quell::{RunFilter, RunId, RunRef};
use uuid::Uuid;

use crate::counted::row_bytes;
use crate::lookup_error::LookupError;
use crate::render::newest;
use crate::run_view::{RunView, StoredRun};
use crate::service::View;
use crate::stored_events::read;

/// A part of a list.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunPage {
    /// The runs, newest first.
    pub runs: Vec<RunView>,
    /// Where the next part begins; `None` if this was the last one.
    pub next: Option<ListCursor>,
    /// How many there are in all parts; `None` if that is not known without reading more of the
    /// store.
    pub total: Option<usize>,
}

/// A place in a list of runs. Its text means something to this service only.
///
/// # Examples
///
/// ```
/// use quell_http::ListCursor;
///
/// assert!("yesterday".parse::<ListCursor>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListCursor {
    /// The runs in memory that are left are those before this: nanoseconds since 1970, and the id.
    before: (u128, RunId),
    /// How far the store was read.
    store: Place,
}

/// A place in the list of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the page that begins here, behind so many runs, of which this one was the last.
    Within { page: Option<Cursor>, used: usize, last: RunId },
    /// Behind the last one.
    End,
}

/// A text is no place in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not the `next` of a list")]
#[non_exhaustive]
pub struct BadCursor;

impl fmt::Display for ListCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, run) = self.before;
        write!(f, "{at:x}.{}", run.as_uuid().simple())?;
        let Place::Within { page, used, last } = self.store else { return Ok(()) };
        write!(f, ".{used:x}.{}", last.as_uuid().simple())?;
        page.map_or(Ok(()), |page| write!(f, ".{:x}", page.as_u64()))
    }
}

impl FromStr for ListCursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let id = |text: &str| Uuid::try_parse(text).map(RunId::from_uuid).map_err(|_| BadCursor);
        let number = |text: &str| u64::from_str_radix(text, 16).map_err(|_| BadCursor);
        let parts: Vec<_> = text.split('.').collect();
        let (at, run, place) = match *parts {
            [at, run] => (at, run, None),
            [at, run, used, last] => (at, run, Some((used, last, None))),
            [at, run, used, last, page] => (at, run, Some((used, last, Some(page)))),
            _ => return Err(BadCursor),
        };
        let at = u128::from_str_radix(at, 16).map_err(|_| BadCursor)?;
        let store = match place {
            None => Place::End,
            Some((used, last, page)) => {
                let used = number(used)?.try_into().ok().filter(|used| *used <= PAGE);
                let page = page.map(number).transpose()?.map(Cursor::from_u64);
                Place::Within { page, used: used.ok_or(BadCursor)?, last: id(last)? }
            }
        };
        Ok(Self { before: (at, id(run)?), store })
    }
}

impl View {
    /// Lists visible roots that match a filter and are `shown`, in memory and in the store, each
    /// once and the newest first: at most `limit`, and fewer if they are large, or if few of those
    /// that are stored are visible; `next` tells whether there are more. Without a store it does
    /// not wait.
    ///
    /// A stored run that cannot be read is left out, and the log says so.
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
        let (filter, limit) = (filter.roots(), limit.max(1));
        let mut live = self.runs(&filter);
        live.retain(|run| shown(&RunView::Live(run.clone())));
        let total = live.len();
        let mut passed = Vec::new();
        if let Some(after) = after {
            (live, passed) = live.into_iter().partition(|run| key(run) < after.before);
        }
        let source = self.service().engine().has_store().then(|| {
            // On the heap, as what follows: without a store nobody pays for its size.
            Box::new(Source::new(self, filter, after, (&live, &passed)))
        });
        let left = live.len();
        let live = newest(live, limit);
        let Some(source) = source else {
            let next = live.last().filter(|_| left > limit);
            let next = next.map(|run| ListCursor { before: key(run), store: Place::End });
            let runs = live.into_iter().map(RunView::Live).collect();
            return Ok(RunPage { runs, next, total: Some(total) });
        };
        let mut page = Box::pin(merged((live, left), source, &shown, limit)).await?;
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
            bytes = bytes.saturating_add(row_bytes(run.report().own_row()));
            runs.push(RunView::Stored(run));
        }
    };
    let next = has_more.then(|| source.cursor());
    let total = Some(runs.len()).filter(|_| next.is_none());
    Ok(RunPage { runs, next, total })
}

/// The stored runs of a list that are not in memory, as far as they were read.
struct Source<'a> {
    view: &'a View,
    filter: RunFilter,
    /// Those in memory that this part, or a later one, lists.
    listed: HashSet<RunId>,
    /// Those in memory that earlier parts have listed.
    passed: HashSet<RunId>,
    /// Where the page begins, and how many of it were used.
    page: Option<Cursor>,
    used: usize,
    last: RunId,
    items: VecDeque<Stored<RunRecord>>,
    /// Where the next page begins; nowhere if the one that was read is the last.
    next: Option<Cursor>,
    /// How many pages were read.
    pages: usize,
    is_over: bool,
    /// The next one, once it is known; without the run if it is listed because it is in memory.
    head: Option<(RunId, u128, Option<StoredRun>)>,
    /// What is listed behind this point is older.
    before: (u128, RunId),
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
        mut filter: RunFilter,
        after: Option<ListCursor>,
        (left, passed): (&[RunRef], &[RunRef]),
    ) -> Self {
        if let Some(owner) = view.own_owner() {
            filter = filter.owner(owner);
        }
        let start = RunId::from_uuid(Uuid::nil());
        let (page, used, last, is_over) = match after.map(|after| after.store) {
            None => (None, 0, start, false),
            Some(Place::Within { page, used, last }) => (page, used, last, false),
            Some(Place::End) => (None, 0, start, true),
        };
        let before = after.map_or((u128::MAX, start), |after| after.before);
        let (items, next) = (VecDeque::new(), None);
        let (pages, head) = (0, None);
        let [listed, passed] = [left, passed].map(|all| all.iter().map(RunRef::id).collect());
        Self {
            view,
            filter,
            listed,
            passed,
            page,
            used,
            last,
            items,
            next,
            pages,
            is_over,
            head,
            before,
        }
    }

    /// Reads on to the next visible run that is not in memory.
    async fn head(
        &mut self,
        shown: &(impl Fn(&RunView) -> bool + Sync),
    ) -> Result<Head, LookupError> {
        loop {
            match self.head {
                Some((_, at, Some(_))) => return Ok(Head::At(at)),
                Some((run, _, None)) => return Ok(Head::Listed(run)),
                None => {}
            }
            if self.is_over {
                return Ok(Head::End);
            }
            let Some(item) = self.items.pop_front() else {
                if self.pages >= PAGES_MAX {
                    return Ok(Head::NotYet);
                }
                self.turn().await?;
                continue;
            };
            match item {
                Ok(record) => self.look(record, shown),
                Err(unreadable) => {
                    tracing::warn!(%unreadable, "a run is left out of a list");
                    self.used += 1;
                }
            }
        }
    }

    /// Makes a record the head, if it is to be listed.
    fn look(&mut self, record: RunRecord, shown: &impl Fn(&RunView) -> bool) {
        let id = record.run();
        let at = millis(record.accepted.at).min(self.before.0 / NANOS);
        if self.listed.contains(&id) {
            self.head = Some((id, at, None));
            return;
        }
        let is_in_memory =
            self.passed.contains(&id) || self.view.service().engine().get(id).is_some();
        let run = StoredRun::in_list(record);
        let view = RunView::Stored(run.clone());
        if is_in_memory || !self.view.sees_view(&view) || !shown(&view) {
            (self.used, self.last) = (self.used + 1, id);
        } else {
            self.head = Some((id, at, Some(run)));
        }
    }

    /// Reads the next page; the first time the one that the list goes on in.
    async fn turn(&mut self) -> Result<(), LookupError> {
        if self.pages > 0 {
            let Some(next) = self.next else {
                self.is_over = true;
                return Ok(());
            };
            (self.page, self.used) = (Some(next), 0);
        }
        let page = Page::first(PAGE);
        let page = self.page.map_or(page, |cursor| page.after(cursor));
        let engine = self.view.service().engine();
        let pages = read(engine.stored_runs(self.filter.clone(), page)).await?;
        self.next = pages.next;
        self.items = pages.items.into();
        if self.pages == 0 && self.used > 0 {
            // Those of before; the last one of them may have been forgotten since.
            let is_last = |run: &RunRecord| run.run() == self.last;
            let last = self.items.iter().position(|item| item.as_ref().is_ok_and(is_last));
            let used = last.map_or(self.used, |at| at + 1);
            self.items.drain(..used.min(self.items.len()));
        }
        self.pages += 1;
        Ok(())
    }

    /// Takes the head.
    fn take(&mut self) -> Option<StoredRun> {
        let (id, at, run) = self.head.take()?;
        (self.used, self.last) = (self.used + 1, id);
        if run.is_some() {
            self.before = (at * NANOS, RunId::from_uuid(Uuid::nil()));
        }
        run
    }

    /// Yields the place behind what was taken.
    fn cursor(&self) -> ListCursor {
        let Self { page, used, last, before, .. } = *self;
        let store = if self.is_over { Place::End } else { Place::Within { page, used, last } };
        ListCursor { before, store }
    }
}

fn key(run: &RunRef) -> (u128, RunId) {
    let since = run.queued_at().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_nanos(), run.id())
}

fn millis(at: SystemTime) -> u128 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

const NANOS: u128 = 1_000_000;

/// Runs of one read of the store.
const PAGE: usize = 128;

/// Pages that are read for one part of a list. Those that are not shown to the caller count.
const PAGES_MAX: usize = 16;

/// Bytes of stored runs in one part of a list, about: it ends when they are reached.
const BYTES_MAX: usize = 16 << 20;
