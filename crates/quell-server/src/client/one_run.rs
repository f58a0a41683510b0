//! [`OneRun`]: a run of a server that is asked for again and again, and no later one of its id.

use std::sync::Arc;

use hyper::Response;
use hyper::body::Incoming;
use quell::{RunId, RunReport};

use super::answers::{At, LogPage, TreePage, TreeRow, WholeRun};
use super::client::Asks;
use super::not_done::NotDone;
use crate::named::in_path;

/// A run that was found. When it was accepted tells it from a later one that has its id.
#[derive(Clone)]
pub(super) struct OneRun {
    asks: Arc<Asks>,
    /// As the user names it.
    name: String,
    run: RunId,
    queued_at: At,
}

impl OneRun {
    /// `row` is how it stood when it was found.
    pub(super) fn new(asks: Arc<Asks>, name: &str, row: &TreeRow) -> Self {
        let TreeRow { uuid: run, queued_at, .. } = *row;
        Self { asks, name: name.to_owned(), run, queued_at }
    }

    /// Yields its id as the user named it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn run(&self) -> RunId {
        self.run
    }

    /// Reads how it stands.
    ///
    /// # Errors
    ///
    /// Fails if the server refuses, or does not answer, or if it was deleted.
    pub(super) async fn own_row(&self) -> Result<TreeRow, NotDone> {
        let row = own_row(&self.asks, &self.name).await?;
        self.check(row.queued_at).map(|()| row)
    }

    /// Reads its report; none if the server says nothing of the run itself.
    ///
    /// # Errors
    ///
    /// As [`own_row`](Self::own_row).
    pub(super) async fn report(&self) -> Result<Option<RunReport>, NotDone> {
        let whole: WholeRun = self.asks.get(&format!("v1/runs/{}", in_path(&self.name))).await?;
        let Some(report) = whole.report() else { return Ok(None) };
        self.check(At(report.own_row().queued_at)).map(|()| Some(report))
    }

    /// Reads a part of its log, and how far that goes by now if `asks_last`.
    ///
    /// # Errors
    ///
    /// As [`own_row`](Self::own_row).
    pub(super) async fn log_page(
        &self,
        after: u64,
        limit: usize,
        asks_last: bool,
    ) -> Result<LogPage, NotDone> {
        let name = in_path(&self.name);
        let path = format!("v1/runs/{name}/log?limit={limit}&after={after}&last={asks_last}");
        let page: LogPage = self.asks.get(&path).await?;
        self.check(page.queued_at).map(|()| page)
    }

    /// Opens the stream of its events.
    ///
    /// # Errors
    ///
    /// As [`own_row`](Self::own_row).
    pub(super) async fn open_events(&self, after: u64) -> Result<Response<Incoming>, NotDone> {
        let path = format!("v1/runs/{}/events?after={after}", in_path(&self.name));
        let stream = self.asks.open(&path).await?;
        // Only behind that: if it is there now, it was when its events were asked for. If none is
        // there, no later one was.
        match own_row(&self.asks, &self.name).await {
            Ok(row) => self.check(row.queued_at).map(|()| stream),
            Err(NotDone::Refused(_)) => Ok(stream),
            Err(lost) => Err(lost),
        }
    }

    fn check(&self, queued_at: At) -> Result<(), NotDone> {
        if queued_at == self.queued_at {
            return Ok(());
        }
        Err(NotDone::Refused(ANOTHER.to_owned()).at(&self.asks.server()))
    }
}

/// Reads how a run stands.
///
/// # Errors
///
/// Fails if the server refuses, or does not answer.
pub(super) async fn own_row(asks: &Asks, name: &str) -> Result<TreeRow, NotDone> {
    let page: TreePage = asks.get(&format!("v1/runs/{}/tree?limit=1", in_path(name))).await?;
    let row = page.rows.into_iter().next();
    row.and_then(|row| serde_json::from_value(row).ok()).ok_or_else(|| {
        NotDone::Refused("its answer cannot be read, it may be of another release".to_owned())
            .at(&asks.server())
    })
}

const ANOTHER: &str = "the run was deleted meanwhile, and a later one has its id";
