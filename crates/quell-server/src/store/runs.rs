//! `quell runs`: the runs of a store.

use std::process::ExitCode;

use clap::Args;
use quell::store::{Page, RunRecord};
use quell::{RunFilter, RunStatus, limits};
use quell_http::{EXTERNAL_ID, RECORD};
use quell_report::text::{cut, printable, span};
use serde_json::{Value, json};

use super::ending::{RunsCommand, end};
use super::kept_runs::KeptRuns;
use super::store_args::StoreArgs;
use crate::answers::Question;
use crate::named::statuses;
use crate::out::{Fault, Out, written};
use crate::stdout::complain;
use crate::times::time;

/// What `quell runs` is told.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct RunsArgs {
    #[command(subcommand)]
    command: Option<RunsCommand>,

    #[command(flatten)]
    store: StoreArgs,

    /// Only runs that stand so. Repeatable
    #[arg(long, value_name = "STATUS", value_parser = statuses())]
    status: Vec<RunStatus>,

    /// The most runs that are listed, the newest first. Zero: all
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,

    /// List also what is no run: the threads of `LangGraph`, which nodes keep beside their runs
    #[arg(long)]
    records: bool,

    /// Print one line of JSON per run
    #[arg(long)]
    json: bool,
}

/// Lists the runs, or ends some, and yields the exit code.
pub(crate) fn runs(args: &RunsArgs) -> ExitCode {
    if let Some(command) = &args.command {
        return end(command);
    }
    written(|out| list(args, out))
}

fn list(args: &RunsArgs, out: &mut Out) -> Result<(), Fault> {
    let kept = KeptRuns::open(args.store.place()?)?;
    let filter = RunFilter::new().roots();
    let filter = args.status.iter().fold(filter, |filter, status| filter.status(*status));
    let mut left = if args.limit == 0 { usize::MAX } else { args.limit };
    let is_listed = |run: &RunRecord| args.records || !run.accepted.labels.contains_key(RECORD);
    let (mut next, mut len) = (None, left.min(limits::STORE_PAGE_MAX));
    while left > 0 {
        let page = Page::first(len);
        let page = next.iter().fold(page, |page, cursor| page.after(*cursor));
        let read = kept.reader.list(&filter, page).map_err(|error| kept.told(&error))?;
        let listed = read.items.into_iter();
        for run in listed.filter(|run| run.as_ref().map_or(true, is_listed)).take(left) {
            left -= 1;
            match run {
                Ok(run) if args.json => out.line(to_json(&run))?,
                Ok(run) => out.line(line(&run))?,
                Err(unreadable) => out.gap(unreadable),
            }
        }
        out.flush()?;
        next = read.next;
        if next.is_none() {
            break;
        }
        // So few were too few, if some are not listed.
        len = limits::STORE_PAGE_MAX;
    }
    if args.status.is_empty() && out.is_empty() {
        let place = kept.place().to_string();
        complain(&format!("quell: no run is in {}\n", printable(&place)));
    }
    Ok(())
}

/// Yields the id of a run as its caller knows it.
pub(super) fn id(run: &RunRecord) -> String {
    let labels = &run.accepted.labels;
    labels.get(EXTERNAL_ID).cloned().unwrap_or_else(|| run.run().to_string())
}

/// Draws a run as one line.
pub(super) fn line(run: &RunRecord) -> String {
    let row = run.row();
    let took = row.elapsed().map_or_else(|| "-".into(), span);
    let (id, name) = (id(run), printable(&row.name));
    let (id, at) = (printable(&id), time(row.queued_at));
    let (kind, status) = (row.kind.as_str(), row.status.as_str());
    let asks = run.paused.as_ref().map(|pause| Question::of(&pause.request).to_string());
    let asks = asks.map_or_else(String::new, |asks| format!("  ({})", cut(&asks, ASKS_CHARS_MAX)));
    format!("{id}  {status:<9}  {at}  {took:>12}  {kind:<8}  {name}{asks}")
}

fn to_json(run: &RunRecord) -> Value {
    let row = run.row();
    json!({
        "id": id(run),
        "run": row.run,
        "kind": row.kind,
        "name": row.name,
        "status": row.status,
        "owner": run.accepted.owner,
        "lane": run.accepted.lane,
        "labels": run.accepted.labels,
        "cause": row.cause,
        "error": row.error,
        "quiescent": row.executes_nothing(),
        "asks": run.paused.as_ref().map(|pause| &pause.request),
        "due_at": run.accepted.due.map(time),
        "queued_at": time(row.queued_at),
        "started_at": row.started_at.map(time),
        "stopped_at": row.stopped_at.map(time),
        "ended_at": row.ended_at.map(time),
        "attempt": run.epoch.attempt(),
    })
}

/// The most that a line shows of what a paused run asks.
const ASKS_CHARS_MAX: usize = 80;
