//! [`App::truncate`]: empties a server, for a benchmark (contract, section 14).

use std::collections::HashSet;
use std::time::Duration;

use quell::{CancelRequest, RunFilter};
use quell_http::{NATIVE, RunView, View, Wait};
use serde_json::json;
use uuid::Uuid;

use crate::app::App;
use crate::app::assistants::there;
use crate::app::elsewhere::of_thread;
use crate::app::kept::Kind;
use crate::wire::asked::INPUTS;
use crate::wire::create::typed;
use crate::wire::exact::{Keys, written};
use crate::wire::refusal::Refusal;
use crate::wire::search::Search;

/// What is emptied, by the names that a request has for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Emptied(Vec<&'static str>);

impl Emptied {
    /// Reads the body of a request.
    pub(crate) fn read(body: &Keys) -> Result<Self, Refusal> {
        let mut named = Vec::new();
        for key in ["runs", "checkpoint", "threads", "assistants", "store"] {
            let is_named: Option<bool> = typed(body, key, "must be a boolean")?;
            named.extend(is_named.unwrap_or(false).then_some(key));
        }
        Ok(Self(named))
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }
}

impl App {
    /// Stops all that is live, and deletes what is named of what the caller sees. Crons go with the
    /// runs: they would make some.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read, or does not take it: then some of it is gone.
    pub(crate) async fn truncate(&self, view: &View, emptied: &Emptied) -> Result<(), Refusal> {
        // The states of a thread are its runs'.
        let (has_runs, has_threads) =
            (emptied.has("runs") || emptied.has("checkpoint"), emptied.has("threads"));
        if has_runs || has_threads {
            for cron in self.crons(view).await? {
                there(self.delete_cron(view, cron.id).await)?;
            }
        }
        // Those of other contracts as well, which share the server.
        let of_all = self.service().view(NATIVE, view.principal().clone());
        let filter = RunFilter::new().roots().live();
        let mut live: Vec<RunView> = of_all.runs(&filter).iter().map(RunView::from).collect();
        self.add_elsewhere(&of_all, filter, |_| true, &mut live).await?;
        let request = CancelRequest::because("truncation requested via POST /internal/truncate");
        of_all.cancel_all(&live, request, Wait::quiescent().at_most(QUIESCENT_WAIT)).await;
        if has_threads {
            self.delete_threads(view, &Keys::new()).await?;
        } else if has_runs {
            self.delete_runs(view).await?;
        }
        if emptied.has("assistants") {
            for kept in self.all_kept(view, Kind::Assistant).await? {
                there(self.delete_assistant(view, kept.id, false).await)?;
            }
        }
        if emptied.has("store") {
            for kept in self.all_kept(view, Kind::Item).await? {
                self.keep_item_no_more(&kept).await?;
            }
        }
        Ok(())
    }

    /// Deletes the threads of the caller that have these metadata.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read, or one of them cannot be deleted.
    pub(super) async fn delete_threads(&self, view: &View, metadata: &Keys) -> Result<(), Refusal> {
        for thread in self.threads_of(view, metadata).await? {
            there(self.delete_thread(view, thread).await)?;
        }
        Ok(())
    }

    /// Lists the threads of the caller that have these metadata: those that are there by now.
    async fn threads_of(&self, view: &View, metadata: &Keys) -> Result<Vec<Uuid>, Refusal> {
        let mut read = Pages::of(PAGE);
        while let Some(offset) = read.next {
            let body = json!({
                "limit": PAGE, "offset": offset, "sort_by": "created_at", "sort_order": "asc",
            });
            let mut body: Keys = written(&body).parse().unwrap_or_default();
            body.insert("metadata".to_owned(), written(metadata));
            let (page, total) = self.search_threads(view, &Search::read(&body)?).await?;
            read.take(page.iter().map(|thread| thread.id), total);
        }
        Ok(read.all)
    }

    async fn delete_runs(&self, view: &View) -> Result<(), Refusal> {
        for thread in self.threads_of(view, &Keys::new()).await? {
            let (mut next, mut runs) = (None, Vec::new());
            loop {
                let of = (of_thread(thread), INPUTS);
                let page = view.list_omitting(of, PAGE, next, |_| true).await?;
                runs.extend(page.runs.iter().map(|run| run.id().as_uuid()));
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
            for run in runs {
                there(self.delete_run(view, thread, run).await)?;
            }
        }
        Ok(())
    }
}

/// What was read of pages. Those behind what leaves meanwhile move up, and no later page has them,
/// so pages are read from the first one on until none has a new one.
struct Pages {
    page_len: usize,
    /// Where the next page begins; none if all are read.
    next: Option<usize>,
    known: HashSet<Uuid>,
    all: Vec<Uuid>,
    /// How many were known when the first page was read last.
    before: usize,
    passes: usize,
}

impl Pages {
    fn of(page_len: usize) -> Self {
        let (known, all) = (HashSet::new(), Vec::new());
        Self { page_len, next: Some(0), known, all, before: 0, passes: 0 }
    }

    /// Takes the next page, of so many in all.
    fn take(&mut self, page: impl Iterator<Item = Uuid>, total: usize) {
        let offset = self.next.unwrap_or_default();
        self.all.extend(page.filter(|id| self.known.insert(*id)));
        // A single page is of one moment.
        let is_whole = offset == 0 && total <= self.page_len;
        self.next = Some(offset + self.page_len).filter(|next| *next < total);
        if self.next.is_none() && !is_whole {
            self.passes += 1;
            let is_new = self.all.len() > self.before;
            self.next = (is_new && self.passes < PASSES_MAX).then_some(0);
            self.before = self.all.len();
        }
    }
}

/// Threads, and runs, that are listed at once.
const PAGE: usize = 1_000;

/// How often all pages are read, while some have a new one.
const PASSES_MAX: usize = 10;

/// What executes still behind this is deleted as it is: it may never end.
const QUIESCENT_WAIT: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_while_pages_are_read_hides_no_other() {
        let ids: Vec<_> = (1..=7).map(Uuid::from_u128).collect();
        let (mut there, mut read) = (ids.clone(), Pages::of(2));
        while let Some(offset) = read.next {
            let total = there.len();
            let page: Vec<_> = there.iter().skip(offset).take(2).copied().collect();
            if offset == 0 && total > 5 {
                // Somebody deletes the first one.
                there.remove(0);
            }
            read.take(page.into_iter(), total);
        }
        read.all.sort_unstable();
        assert_eq!(read.all, ids);
    }

    #[test]
    fn pages_that_have_new_ones_again_and_again_come_to_an_end() {
        let mut read = Pages::of(2);
        while read.next.is_some() {
            read.take((0..2).map(|_| Uuid::now_v7()), 3);
        }
        assert_eq!(read.all.len(), 4 * PASSES_MAX);
        let mut one = Pages::of(2);
        one.take((0..2).map(|_| Uuid::now_v7()), 2);
        assert_eq!((one.all.len(), one.next), (2, None));
    }
}
