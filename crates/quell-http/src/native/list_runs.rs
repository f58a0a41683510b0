//! [`list_runs`]: the handler that lists roots.

use axum::extract::RawQuery;

use crate::counted::row_bytes;
use crate::native::extract::Caller;
use crate::native::problems::PROBLEM;
use crate::native::query::ListQuery;
use crate::native::routes::{Answer, unreadable_component};
use crate::native::run_response::without_output;
use crate::native::wire::{RunList, RunSummary};
use crate::problem::Problem;
use crate::run_view::RunView;

/// Lists roots, newest first.
#[utoipa::path(
    get, path = "/v1/runs", operation_id = "list_runs", tag = "runs",
    params(
        ("status" = Option<String>, Query, pattern = "^(queued|running|paused|stopping|\
            completed|failed|cancelled|timed-out)(,(queued|running|paused|stopping|completed|\
            failed|cancelled|timed-out))*$",
            description = "One status or several with commas"),
        ("kind" = Option<String>, Query, pattern = "^(agent|team|workflow)$",
            description = "`agent`, `team` or `workflow`"),
        ("component" = Option<String>, Query,
            description = "The name of a component, `agent/writer`, or its id"),
        ("session" = Option<String>, Query, description = "A session"),
        ("label" = Option<String>, Query, pattern = "=",
            description = "`key=value`; several apply together"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1_000,
            description = "1 to 1,000. Defaults to 100"),
        ("cursor" = Option<String>, Query,
            description = "The `next` of the list before, for the runs behind it"),
        ("owner" = Option<String>, Query, description = "Who has started it"),
        ("lane" = Option<String>, Query, description = "Its lane, as its owner calls it"),
        ("since" = Option<String>, Query, format = DateTime,
            description = "Accepted then or later"),
        ("until" = Option<String>, Query, format = DateTime, description = "Accepted before"),
        ("values" = Option<bool>, Query,
            description = "`false`: without outputs, which may be large. Defaults to `true`"),
    ),
    responses(
        (status = 200, description = "The runs", body = RunList),
        (status = 401, description = "Nobody", body = Problem, content_type = PROBLEM),
        (status = 422, description = "Bad parameter", body = Problem, content_type = PROBLEM),
        (status = 429, description = "No room for a large answer", body = Problem,
            content_type = PROBLEM),
        (status = 503, description = "The store cannot be read", body = Problem,
            content_type = PROBLEM),
    )
)]
pub(crate) async fn list_runs(Caller(view): Caller, RawQuery(query): RawQuery) -> Answer {
    let mut asked = ListQuery::read(query.as_deref())?;
    let meant = (std::mem::take(&mut asked.filter), asked.since);
    let shown = |run: &RunView| asked.means(run) && unreadable_component(&view, run).is_none();
    let page = view.list_since(meant, asked.limit, asked.cursor, shown).await?;
    let has_values = asked.has_values;
    let row_of = |run: &RunView| if has_values { run.row() } else { without_output(run.row()) };
    let runs: Vec<_> = page.runs.into_iter().map(|run| (row_of(&run), run)).collect();
    let about = runs.iter().map(|(row, _)| row_bytes(row)).sum();
    let (seen, total, next) = (view.clone(), page.total, page.next);
    let list = move || {
        let runs = runs.into_iter().map(|(row, run)| {
            let state = seen.state_in_list(&run, &row);
            RunSummary::new(&run, row, state)
        });
        RunList { runs: runs.collect(), total, next: next.map(|next| next.to_string()) }
    };
    Ok(view.json_response(about, list).await?)
}
