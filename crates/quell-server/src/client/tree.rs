//! `quell tree`: the tree of a run of a running server, as it stands.

use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;
use quell_report::text::{cut, printable};
use serde::Deserialize as _;

use super::answers::{TreePage, TreeRow};
use super::server_args::ServerArgs;
use crate::live::frame;
use crate::named::{in_path, run_ids};
use crate::out::{Fault, Out, written};
use crate::tree::{Entry, Tree};

/// What `quell tree` is told.
#[derive(Debug, Args)]
pub(crate) struct TreeArgs {
    /// The id of the run: a root, or one below
    #[arg(value_name = "RUN", value_parser = run_ids())]
    run: String,

    #[command(flatten)]
    server: ServerArgs,

    /// Print one line of JSON per run
    #[arg(long)]
    json: bool,
}

/// Draws the tree, and yields the exit code.
pub(crate) fn tree(args: &TreeArgs) -> ExitCode {
    written(|out| draw(args, out))
}

fn draw(args: &TreeArgs, out: &mut Out) -> Result<(), Fault> {
    let client = args.server.client()?;
    let path = format!("v1/runs/{}/tree?limit={PAGE}", in_path(&args.run));
    let (mut cursor, mut tree, mut rows) = (String::new(), Tree::default(), 0_usize);
    let omitted = loop {
        let page: TreePage = client.get(&format!("{path}{cursor}"))?;
        rows += page.rows.len();
        for row in &page.rows {
            if args.json {
                out.line(row)?;
                continue;
            }
            match TreeRow::deserialize(row) {
                Ok(row) => tree.read(row.uuid, row.queued_at.0, entry(&row)),
                Err(_) => out.gap("a run cannot be read: the server is of another release"),
            }
        }
        match page.next {
            // A server has 10,000 at most, unless it is made otherwise.
            Some(next) if rows < ROWS_MAX && !page.rows.is_empty() => {
                cursor = format!("&cursor={}", in_path(&next));
            }
            _ => break page.omitted,
        }
    };
    let drawn = frame(&tree, SystemTime::now(), usize::MAX);
    drawn.into_iter().try_for_each(|line| out.line(line))?;
    let left_out = omitted.live + omitted.completed + omitted.failed + omitted.cancelled;
    let left_out = left_out + omitted.timed_out;
    if left_out > 0 && !args.json {
        out.line(format!("… and {left_out} more, of which the server keeps no row"))?;
    }
    Ok(())
}

/// Yields what is drawn of a row.
fn entry(row: &TreeRow) -> Entry {
    let mut notes = Vec::new();
    if let Some(cause) = &row.cause {
        notes.push(cause.words());
    }
    if row.aborted {
        notes.push("aborted".to_owned());
    }
    if !row.abandoned.is_empty() {
        let still = if row.quiescent { "abandoned" } else { "abandoned, and executes still" };
        notes.push(format!("{still}: {}", row.abandoned.join(", ")));
    }
    notes.extend(row.error.clone());
    let note = cut(&printable(&notes.join("; ")), NOTE_CHARS_MAX);
    let mut entry = Entry::new(row.parent, &row.name);
    entry.status = row.status;
    entry.started_at = row.started_at.map(|at| at.0);
    entry.ended_at = row.ended_at.map(|at| at.0);
    entry.note = Some(note);
    entry
}

/// Rows that are asked for at once.
const PAGE: usize = 1_000;

const ROWS_MAX: usize = 100_000;

/// The most that is shown of why a run stands as it does.
const NOTE_CHARS_MAX: usize = 200;

/// Below the help of `quell tree`.
pub(crate) const TREE_AFTER_HELP: &str = "\
A line has a mark and the name of a run, how it stands, for how long it works or worked, and why \
it stops, what was aborted and abandoned of it, and its error. `quell watch RUN` draws it live.

Exit codes:
  0   drawn
  1   some runs cannot be read
  2   bad usage, no such run, or the server is not there, or refuses

Examples:
  quell tree my-run
  quell tree my-run --json | jq -r 'select(.status == \"failed\").name'";
