//! `quell logs`: the events of a run of a running server.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use quell::RunEvent;
use quell_report::text::{cut, printable};
use tokio::time::timeout;

use super::answers::TreeRow;
use super::client::Asks;
use super::follow::{Follow, Heard, own_row};
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
            let TreeRow { uuid, name, queued_at, .. } = own_row(&asks, &args.run).await?;
            let follow = Follow::new(Arc::clone(&asks), &args.run, uuid);
            // The event that says so may have left the log.
            let mut tree = Tree::default();
            tree.read(uuid, queued_at.0, Entry::new(None, &name));
            let printed = async {
                print(follow, tree, args, out).await?;
                if args.json { Ok(()) } else { error_line(&asks, &args.run, out).await }
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

async fn print(
    mut follow: Follow,
    mut tree: Tree,
    args: &LogsArgs,
    out: &mut Out,
) -> Result<(), Fault> {
    let begun = follow.open().await?;
    let mut wait = FIRST_WAIT;
    loop {
        let next = follow.next();
        let heard = if args.follow {
            next.await?
        } else {
            match timeout(wait, next).await {
                Ok(heard) => heard?,
                Err(_) if wait == FIRST_WAIT => return Err(NONE_CAME.to_owned().into()),
                // These are all that there are so far.
                Err(_) => return Ok(()),
            }
        };
        wait = SO_FAR_WAIT;
        match heard {
            None => return Ok(()),
            Some(Heard::Event(event)) if !args.follow && event.at > begun + CLOCK_SLACK => {
                return Ok(());
            }
            Some(Heard::Event(event)) => event_line(&event, &mut tree, args.json, out)?,
            Some(Heard::Unreadable) => out.gap("an event cannot be read: of another release"),
            Some(Heard::Lost(words)) if args.follow => {
                complain(&format!("quell: {words}; it is asked again\n"));
            }
            Some(Heard::Lost(words)) => return Err(words.into()),
        }
        out.flush()?;
    }
}

/// Prints why a run has failed, which no event says.
async fn error_line(asks: &Asks, run: &str, out: &mut Out) -> Result<(), Fault> {
    let TreeRow { name, status, error, .. } = own_row(asks, run).await?;
    let error = error.filter(|_| status.is_terminal());
    error.map_or(Ok(()), |error| {
        let name = cut(&printable(&name), NAME_CHARS_MAX);
        out.line(format!("{name}: {}", cut(&printable(&error), ERROR_CHARS_MAX)))
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

/// Each run has a first event, for which a server that has much to do needs its time.
const FIRST_WAIT: Duration = Duration::from_secs(30);

const NONE_CAME: &str = "the server has told no event of the run in 30s; ask again";

/// Behind one, without events for so long there are no others so far.
const SO_FAR_WAIT: Duration = Duration::from_secs(1);

/// An event that is so much later than the head of the answer has happened since: the head has
/// whole seconds, and is made of a clock that is read once in a while.
const CLOCK_SLACK: Duration = Duration::from_secs(3);

/// The longest name that is shown whole.
const NAME_CHARS_MAX: usize = 120;

/// The most that is shown of an error.
const ERROR_CHARS_MAX: usize = 1_000;

/// Below the help of `quell logs`.
pub(crate) const LOGS_AFTER_HELP: &str = "\
A line has the time since the run was accepted, the names from the root to the run, and what \
happened; behind `│` is what it wrote. The last line of a run that has failed says why. Without \
-f the events so far are printed: it ends when none has come for a second. With -f it ends with \
the run; a server that is away is asked again for two minutes, from the last event on.

Exit codes:
  0   printed
  1   some events cannot be read, or the server went away
  2   bad usage, no such run, or the server is not there, or refuses

Examples:
  quell logs my-run
  quell logs -f my-run
  quell logs -f my-run --json | jq -r .event";
