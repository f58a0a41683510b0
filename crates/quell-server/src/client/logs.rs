//! `quell logs`: the events of a run of a running server.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use quell::RunEvent;
use quell_report::text::{cut, printable};

use super::answers::{LogPage, TreeRow};
use super::follow::{Follow, Heard};
use super::one_run::{OneRun, own_row};
use super::server_args::ServerArgs;
use crate::lines;
use crate::named::run_ids;
use crate::out::{Fault, Out, written};
use crate::stdout::{self, complain};
use crate::tree::{Entry, Tree};

/// What `quell logs` is told.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The id of the run
    #[arg(value_name = "RUN", value_parser = run_ids())]
    run: String,

    #[command(flatten)]
    server: ServerArgs,

    /// Go on until the run has ended. A connection that is lost is made again, and no event is
    /// printed twice
    #[arg(short, long)]
    follow: bool,

    /// Print one line of JSON per event (`quell help events` has their kinds)
    #[arg(long)]
    json: bool,
}

/// Prints the events, and yields the exit code.
pub(crate) fn logs(args: &LogsArgs) -> ExitCode {
    written(|out| {
        let (asks, runtime) = args.server.client()?.into_parts();
        let printed = runtime.block_on(async {
            let asks = Arc::new(asks);
            let row = own_row(&asks, &args.run).await?;
            // The event that says so may have left the log.
            let mut tree = Tree::default();
            tree.read(row.uuid, row.queued_at.0, Entry::new(None, &row.name));
            let read = OneRun::new(asks, &args.run, &row);
            let printed = async {
                if args.follow {
                    print_all(Follow::new(read.clone()), tree, args, out).await?;
                } else {
                    print_so_far(&read, tree, args, out).await?;
                }
                if args.follow && args.json {
                    return Ok(());
                }
                // Of one that was deleted meanwhile not all may have been read.
                let row = read.own_row().await?;
                if args.json { Ok(()) } else { error_line(&row, out) }
            };
            tokio::select! {
                // What was read is printed.
                biased;
                printed = printed => printed,
                () = stdout::closed() => Ok(()),
            }
        });
        runtime.shutdown_background();
        printed
    })
}

/// Prints the events so far: those that there are at the first look. Others may come faster than
/// they are printed.
async fn print_so_far(
    read: &OneRun,
    mut tree: Tree,
    args: &LogsArgs,
    out: &mut Out,
) -> Result<(), Fault> {
    let (mut after, mut last) = (0, None);
    loop {
        let page: LogPage = read.log_page(after, PAGE, last.is_none()).await?;
        let end = *last.get_or_insert(page.last.unwrap_or(u64::MAX));
        for event in page.events {
            if after >= end {
                break;
            }
            match serde_json::from_str::<RunEvent>(event.get()) {
                Ok(event) => {
                    after = after.max(event.last_seq());
                    event_line(&event, &mut tree, args.json, out)?;
                }
                Err(_) => out.gap(UNREADABLE),
            }
        }
        out.flush()?;
        after = page.after;
        if !page.has_more || after >= end {
            return Ok(());
        }
    }
}

/// Prints the events until the run has ended.
async fn print_all(
    mut follow: Follow,
    mut tree: Tree,
    args: &LogsArgs,
    out: &mut Out,
) -> Result<(), Fault> {
    while let Some(heard) = follow.next().await? {
        match heard {
            Heard::Event(event) => event_line(&event, &mut tree, args.json, out)?,
            Heard::Unreadable => out.gap(UNREADABLE),
            Heard::Lost(words) => complain(&format!("quell: {words}; it is asked again\n")),
        }
        out.flush()?;
    }
    Ok(())
}

/// Prints why a run has failed, which no event says.
fn error_line(row: &TreeRow, out: &mut Out) -> Result<(), Fault> {
    let error = row.error.as_ref().filter(|_| row.status.is_terminal());
    error.map_or(Ok(()), |error| {
        let name = cut(&printable(&row.name), NAME_CHARS_MAX);
        out.line(format!("{name}: {}", cut(&printable(error), ERROR_CHARS_MAX)))
    })
}

fn event_line(event: &RunEvent, tree: &mut Tree, json: bool, out: &mut Out) -> Result<(), Fault> {
    if json {
        let line = serde_json::to_string(event).map_err(|error| error.to_string())?;
        return out.line(line);
    }
    tree.apply(event);
    let line = lines::line(tree, event, true);
    line.map_or(Ok(()), |line| out.line(line))
}

/// Events of one request: as many as a server gives at once.
const PAGE: usize = 1_000;

const UNREADABLE: &str = "an event cannot be read: of another release";

/// The longest name that is shown whole.
const NAME_CHARS_MAX: usize = 120;

/// The most that is shown of an error.
const ERROR_CHARS_MAX: usize = 1_000;

/// Below the help of `quell logs`.
pub(crate) const LOGS_AFTER_HELP: &str = "\
A line has the time since the run was accepted, the names from the root to the run, and what \
happened; behind `│` is what it wrote. The last line of a run that has failed says why. Without \
-f the events that there are when it begins are printed. With -f it ends with the run; a server \
that is away is asked again for two minutes, from the last event on.

Exit codes:
  0   printed
  1   some events cannot be read, or the server went away
  2   bad usage, no such run, or the server is not there, or refuses

Examples:
  quell logs my-run
  quell logs -f my-run
  quell logs -f my-run --json | jq -r .event";
