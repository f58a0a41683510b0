//! `quell show`: the report of a run of a store, or what is stored of one that has not ended.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;
use quell::store::RunRecord;
use quell_flow::COMPONENT;
use quell_report::text::{cut, printable, size};

use super::kept_runs::KeptRuns;
use super::over_http::answering;
use super::place::Place;
use super::resume::PLAN_FILE;
use super::runs::id;
use super::store_args::StoreArgs;
use crate::answers::Question;
use crate::named::run_ids;
use crate::out::{Fault, Out, written};
use crate::shell_word::shell_word;
use crate::times::time;
use crate::view;

/// What `quell show` is told.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The id of the run as its caller knows it, or what its UUID alone begins with
    #[arg(value_name = "RUN", value_parser = run_ids())]
    run: String,

    #[command(flatten)]
    store: StoreArgs,

    /// Print the report as JSON (`quell help report` has its fields)
    #[arg(long)]
    json: bool,
}

/// Shows the run, and yields the exit code.
pub(crate) fn show(args: &ShowArgs) -> ExitCode {
    written(|out| draw(args, out))
}

fn draw(args: &ShowArgs, out: &mut Out) -> Result<(), Fault> {
    let kept = KeptRuns::open(args.store.place()?)?;
    let run = kept.run(&args.run)?;
    let mut report = run.report_by_now();
    if args.json {
        // As over HTTP: of one that waits nothing executes either.
        report.quiescent = report.own_row().executes_nothing();
        for row in &mut report.rows {
            row.quiescent = row.executes_nothing();
        }
        let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        return out.line(text);
    }
    if run.report.is_none() {
        let node = kept.reader.owner(run.accepted.root).map_err(|error| kept.told(&error))?;
        return out.line(so_far(&run, node.as_deref(), kept.place()).trim_end());
    }
    out.line(quell_report::render(&report).trim_end())?;
    let answer = view::answer(&report).filter(|_| run.accepted.labels.contains_key(COMPONENT));
    answer.map_or(Ok(()), |answer| out.line(answer.trim_end()))
}

/// Draws what is stored of a run that has not ended.
fn so_far(run: &RunRecord, node: Option<&str>, store: &Place) -> String {
    let row = run.row();
    let mut text = format!("{}  {}\n", printable(&row.name), row.status);
    let mut fact = |title: &str, words: String| {
        let words = cut(&words, FACT_CHARS_MAX);
        let _ = writeln!(text, "  {title:<8} {}", printable(&words));
    };
    let accepted = &run.accepted;
    fact("run", id(run));
    fact("kind", row.kind.as_str().to_owned());
    if let Some(owner) = &accepted.owner {
        fact("owner", owner.as_ref().to_owned());
    }
    if let Some(node) = node {
        fact("node", node.to_owned());
    }
    if let Some(lane) = &accepted.lane {
        fact("lane", lane.as_ref().to_owned());
    }
    if let Some(input) = &accepted.input {
        fact("input", size(input.len()));
    }
    fact("accepted", time(row.queued_at));
    if let Some(due) = accepted.due {
        fact("due", time(due));
    }
    if let Some(at) = row.started_at {
        fact("started", time(at));
    }
    if !row.usage.is_zero() {
        fact("used", row.usage.to_string());
    }
    if let Some(partial) = &row.partial {
        fact("partial", size(partial.len()));
    }
    if let (Some(cause), Some(stop)) = (&row.cause, &run.stop) {
        fact("stop", format!("{}: {cause}", time(stop.cause.at)));
    }
    if let Some(pause) = &run.paused {
        fact("paused", time(pause.at));
        let question = Question::of(&pause.request);
        fact("asks", question.to_string());
        if let Some(at) = pause.expires_at {
            let is_over = at <= SystemTime::now();
            fact("until", until(at, is_over));
            if is_over {
                return text;
            }
        }
        let is_of_server = accepted.labels.contains_key(COMPONENT);
        if is_of_server {
            fact("answer", answering(run, store));
        } else if let Place::File(store) = store
            && accepted.annotations.contains_key(PLAN_FILE)
        {
            let (store, answer) = (store.to_string_lossy(), question.as_option());
            let store = shell_word(&store);
            let words = format!("quell run --resume {} --store {store} --answer {answer}", id(run));
            fact("answer", words);
        }
    }
    text
}

/// Says until when a question waits for its answer. No process had the run when that was over:
/// it would have ended.
fn until(at: SystemTime, is_over: bool) -> String {
    let over = "; that is over: no answer is taken any more, and the next process that opens the \
                store to write ends the run, timed-out";
    format!("{}{}", time(at), if is_over { over } else { "" })
}

/// The longest fact that is shown whole.
const FACT_CHARS_MAX: usize = 2_000;

/// Below the help of `quell show`.
pub(crate) const SHOW_AFTER_HELP: &str = "\
Exit codes:
  0   shown
  2   bad usage, no such run, or the store cannot be read

Examples:
  quell show 01a205c7 --store runs.db
  quell show my-run --store runs.db --json";
