//! [`read_tree`]: the handler that shows the runs of a tree, page by page.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::RawQuery;
use quell::{RunId, RunReport, RunRow};
use uuid::Uuid;

use crate::lookup_error::LookupError;
use crate::native::extract::{Caller, RunPath};
use crate::native::problems::RefusedPart;
use crate::native::query::TreeQuery;
use crate::native::routes::{Answer, readable_run};
use crate::native::wire::{TreePage, TreeRow};
use crate::run_view::RunView;
use crate::service::View;

/// Reads the runs of a tree: a run and those below it, in pre-order.
///
/// A page is of the moment at which it is read. The next one begins behind the last row of this
/// one, wherever that is by then: no row comes twice, and runs that were started since before that
/// place are in no page. The rows are those of the report, at most 10,000 unless the server is made
/// otherwise: when there are more, those that did not complete come first, and the others are
/// counted.
#[utoipa::path(
    get, path = "/v1/runs/{id}/tree", operation_id = "read_tree", tag = "runs",
    params(
        RunPath,
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 10_000,
            description = "1 to 10,000. Defaults to 1,000"),
        ("cursor" = Option<String>, Query,
            description = "The `next` of the page before, for the rows behind it"),
    ),
    responses(
        RefusedPart,
        (status = 200, description = "Rows of the tree", body = TreePage),
    )
)]
pub(crate) async fn read_tree(
    Caller(view): Caller,
    RunPath(id): RunPath,
    RawQuery(query): RawQuery,
) -> Answer {
    let TreeQuery { limit, cursor } = TreeQuery::read(query.as_deref())?;
    let run = readable_run(&view, id).await?;
    let report = report_of(&view, &run).await?;
    let total = report.rows.len();
    let begin = cursor.map_or(0, |cursor| cursor.behind(&report)).min(total);
    let end = begin.saturating_add(limit).min(total);
    let about = report.rows[begin..end].iter().map(bytes_of).sum();
    let seen = view.clone();
    let page = move || {
        let rows = &report.rows[begin..end];
        let told = rows.iter().map(|row| TreeRow::new(row, seen.state_of_row_of(&run, row)));
        let last = rows.last().filter(|_| end < total);
        let next = last.map(|row| TreeCursor { run: row.run, behind: end }.to_string());
        TreePage { rows: told.collect(), total, next, omitted: report.omitted }
    };
    Ok(view.json_response(about, page).await?)
}

/// Yields the report of a run with the rows of those below, wherever it is.
async fn report_of(view: &View, run: &RunView) -> Result<Arc<RunReport>, LookupError> {
    match run {
        RunView::Stored(stored) if !stored.has_whole_report() => {
            Ok(Arc::clone(view.read_tree(run.clone()).await?.report()))
        }
        run => Ok(run.report()),
    }
}

/// Estimates the bytes of a row.
fn bytes_of(row: &RunRow) -> usize {
    let message = row.cause.as_ref().and_then(|cause| cause.message.as_ref());
    let texts = [message, row.error.as_ref(), Some(&row.name)];
    let texts = texts.into_iter().flatten().map(|text| text.len()).sum::<usize>();
    768 + texts + row.abandoned.iter().map(|left| left.name.len() + 8).sum::<usize>()
}

/// A place in a tree: behind a run. Its text means something to this service only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TreeCursor {
    run: RunId,
    /// How many rows came before this place: it counts if the run has no row any more.
    behind: usize,
}

impl TreeCursor {
    fn behind(self, report: &RunReport) -> usize {
        // It is there mostly, or further on.
        let is_it = |row: &RunRow| row.run == self.run;
        let place = report.rows.iter().position(is_it);
        place.map_or(self.behind, |place| place + 1)
    }
}

impl fmt::Display for TreeCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.behind, self.run)
    }
}

impl FromStr for TreeCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (behind, run) = text.split_once('.').ok_or(())?;
        let run = RunId::from_uuid(Uuid::parse_str(run).map_err(|_| ())?);
        Ok(Self { run, behind: behind.parse().map_err(|_| ())? })
    }
}
