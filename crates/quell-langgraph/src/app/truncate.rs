//! [`App::truncate`]: empties a server, for a benchmark (contract, section 14).

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
        of_all.cancel_all(&live, request, Wait::quiescent()).await;
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
        let mut threads: Vec<Uuid> = Vec::new();
        loop {
            let (order, offset) = ("created_at", threads.len());
            let body = json!({
                "limit": PAGE, "offset": offset, "sort_by": order, "sort_order": "asc",
            });
            let mut body: Keys = written(&body).parse().unwrap_or_default();
            body.insert("metadata".to_owned(), written(metadata));
            let (page, _) = self.search_threads(view, &Search::read(&body)?).await?;
            if page.is_empty() {
                return Ok(threads);
            }
            threads.extend(page.iter().map(|thread| thread.id));
        }
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

/// Threads, and runs, that are listed at once.
const PAGE: usize = 1_000;
