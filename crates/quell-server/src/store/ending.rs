//! `quell runs cancel` and `quell runs prune`: the end of runs of a file that no process has.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use quell::store::{EndedTree, Page, Record, RunRecord, StopAccepted, StoreError};
use quell::{CancelRequest, Engine, EngineConfig, RunStatus, Shutdown, StoreRetention, limits};
use quell_flow::excerpt;
use quell_report::text::printable;
use quell_sqlite::SqliteReader;
use tokio::runtime::{Builder, Runtime};

use super::kept_runs::KeptRuns;
use super::open::OpenStore;
use super::place::Place;
use super::runs::{id, line};
use super::store_args::FileArgs;
use crate::named::run_ids;
use crate::out::{Fault, Out, written};
use crate::signals::Signals;
use crate::times;

/// What `quell runs` does besides listing.
#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// Cancel a run of a file that no process has: one that `quell run` has left paused, or whose
    /// process was killed
    #[command(after_help = CANCEL_AFTER_HELP)]
    Cancel(CancelArgs),
    /// Delete runs of a file that ended long ago, with all below them
    #[command(after_help = PRUNE_AFTER_HELP)]
    Prune(PruneArgs),
}

/// What `quell runs cancel` is told.
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The run, by its id or the first digits of it, at least four
    #[arg(value_name = "RUN", value_parser = run_ids())]
    run: String,

    #[command(flatten)]
    store: FileArgs,

    /// Why, as its report says then
    #[arg(long, value_name = "TEXT", default_value = "quell runs cancel")]
    reason: String,
}

/// What `quell runs prune` is told.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    store: FileArgs,

    /// Delete runs that ended longer ago than this, for instance `30d`. `0s` deletes all that have
    /// ended
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = times::parse_kept,
        allow_hyphen_values = true,
    )]
    older_than: Duration,

    /// List them, and delete nothing
    #[arg(long)]
    dry_run: bool,
}

/// Does it, and yields the exit code.
pub(super) fn end(command: &RunsCommand) -> ExitCode {
    written(|out| match command {
        RunsCommand::Cancel(args) => cancel(args, out),
        RunsCommand::Prune(args) => prune(args, out),
    })
}

fn cancel(args: &CancelArgs, out: &mut Out) -> Result<(), Fault> {
    let place = args.store.place();
    let Place::File(file) = place else {
        return Err(Fault::Refused(no_file(place, BY_SERVER)));
    };
    let found = KeptRuns::open(place.clone())?.root(&args.run)?;
    let name = printable(&excerpt(&id(&found))).into_owned();
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let mut signals =
            Signals::listen().map_err(|error| format!("signals cannot be handled: {error}"))?;
        let store = open(place, file, BY_SERVER)?;
        let ended = cancel_in(&store, &mut signals, &found, &args.reason).await;
        store.close().await;
        ended
    })?;
    runtime.shutdown_background();
    match ended {
        Ended::Before(run) => {
            out.gap(format!("run `{name}` had ended before, {}", run.status));
            Ok(())
        }
        Ended::Now(run) => {
            if let Some(words) = not_ended(&name, run.status) {
                out.gap(words);
                return Ok(());
            }
            let cause = run.row().cause.map_or_else(String::new, |cause| format!(" ({cause})"));
            let cause = printable(&cause);
            out.line(format!("{name}: {}{cause}", run.status))
        }
    }
}

/// Says of a run that was told to stop, and has not ended, how it stands.
fn not_ended(name: &str, status: RunStatus) -> Option<String> {
    (!status.is_terminal()).then(|| {
        format!(
            "run `{name}` has not ended, it is {status}: its stop is stored, and the next process \
             that opens the file to write ends it"
        )
    })
}

/// How a run stands that was to be cancelled.
enum Ended {
    Before(Box<RunRecord>),
    Now(Box<RunRecord>),
}

/// Has the store know the stop, and then decides what earlier processes have left: the run ends
/// with that cause (T7, T13). If this process dies between the two, the next one ends it so (I34).
async fn cancel_in(
    store: &OpenStore,
    signals: &mut Signals,
    found: &RunRecord,
    reason: &str,
) -> Result<Ended, String> {
    let told = |error: StoreError| store.place.told(&error);
    // Until the store was opened, another process may have had it.
    let run = read(store, found).await?;
    if run.status.is_terminal() {
        return Ok(Ended::Before(Box::new(run)));
    }
    if run.stop.is_none() {
        let request = CancelRequest::because(reason);
        let cause = Arc::new(request.to_cause(SystemTime::now(), run.run()));
        let stop = StopAccepted::new(run.run(), run.epoch, request.mode(), cause);
        store.store.append(vec![Record::StopAccepted(stop.into())]).await.map_err(told)?;
    }
    let engine = Engine::with_config(store.engine(EngineConfig::new()));
    let say = |words: &str| crate::stdout::complain(&format!("quell: {words}\n"));
    let (_, lines) = store.recover(&engine, signals, say, |_| None).await?;
    for line in &lines {
        say(line);
    }
    engine.shutdown(Shutdown::default()).await;
    Ok(Ended::Now(Box::new(read(store, found).await?)))
}

/// Reads a run anew.
async fn read(store: &OpenStore, found: &RunRecord) -> Result<RunRecord, String> {
    let run = store.store.get(found.run()).await.map_err(|error| store.place.told(&error))?;
    run.ok_or_else(|| {
        format!("run `{}` is no longer in the store", printable(&excerpt(&id(found))))
    })
}

fn prune(args: &PruneArgs, out: &mut Out) -> Result<(), Fault> {
    let place = args.store.place();
    let Place::File(file) = place else {
        return Err(Fault::Refused(no_file(place, BY_KEEP)));
    };
    if args.dry_run {
        return list_older(place, file, args.older_than, out);
    }
    // Not made: there is nothing to delete then.
    drop(KeptRuns::open(place.clone())?);
    let runtime = runtime()?;
    let pruned = runtime.block_on(async {
        let store = open(place, file, BY_KEEP)?;
        let engine = Engine::with_config(store.engine(EngineConfig::new()));
        let retention = StoreRetention::new().ttl(args.older_than);
        let pruned = engine.prune_stored(&retention).await.map_err(|error| place.told(&error));
        engine.shutdown(Shutdown::default()).await;
        // What was not written was told above.
        let _ = store.store.close().await;
        pruned
    })?;
    runtime.shutdown_background();
    out.line(format!("{pruned} {} deleted", if pruned == 1 { "run" } else { "runs" }))
}

/// Lists what would be deleted.
fn list_older(
    place: &Place,
    file: &Path,
    older_than: Duration,
    out: &mut Out,
) -> Result<(), Fault> {
    let told = |error: StoreError| place.told(&error);
    let reader = SqliteReader::open(file).map_err(told)?;
    let (now, mut next) = (SystemTime::now(), None);
    loop {
        let page = Page::first(limits::STORE_PAGE_MAX);
        let page = next.iter().fold(page, |page, cursor| page.after(*cursor));
        let read = reader.ended(page).map_err(told)?;
        for tree in read.items {
            match tree {
                Ok(tree) if is_older(&tree, now, older_than) => match reader.get(tree.root) {
                    Ok(run) => run.iter().try_for_each(|run| out.line(line(run)))?,
                    Err(error) => out.gap(place.told(&error)),
                },
                Ok(_) => {}
                Err(unreadable) => out.gap(unreadable),
            }
        }
        next = read.next;
        if next.is_none() {
            return Ok(());
        }
    }
}

/// Tells whether a tree ended so long ago; it counts as [`StoreRetention::ttl`] does.
fn is_older(tree: &EndedTree, now: SystemTime, older_than: Duration) -> bool {
    now.duration_since(tree.quiesced_at).unwrap_or_default() >= older_than
}

fn runtime() -> Result<Runtime, String> {
    let built = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    built.map_err(|error| format!("no runtime can be built: {error}"))
}

fn open(place: &Place, file: &Path, instead: &str) -> Result<OpenStore, String> {
    OpenStore::of_file(file).map_err(|error| match error {
        StoreError::Locked { .. } => format!("{}; {instead}", place.told(&error)),
        error => place.told(&error),
    })
}

fn no_file(place: &Place, instead: &str) -> String {
    format!("{} is a database, which servers have; {instead}", printable(&place.to_string()))
}

/// What to do with a run that a server has.
const BY_SERVER: &str = "a run of a server is cancelled through it: `curl -X POST \
                         http://ADDRESS/v1/runs/ID/cancel`, where ADDRESS is the one that it has \
                         said at its start";

/// What deletes runs that a server has.
const BY_KEEP: &str = "a server deletes what has ended itself: `quell serve --keep 30d`";

/// Below the help of `quell runs cancel`.
const CANCEL_AFTER_HELP: &str = "\
The stop is stored with its cause, and the run ends as a stop of a paused run ends it: nothing \
of it executes, and `quell show` has its report. As with every command that opens the file to \
write, other runs that a killed process has left behind fail, and those that are paused stay so. A \
file that a process has is refused: stop the run there.

Exit codes:
  0   cancelled, or ended by the stop that it had before
  1   it had ended before, or it has not ended: stderr says which
  2   bad usage, no such run, a process has the file, or the store cannot be read

Examples:
  quell runs cancel 01a205c7 --store runs.db
  quell runs cancel 01a205c7 --store runs.db --reason 'asked too late'";

/// Below the help of `quell runs prune`.
const PRUNE_AFTER_HELP: &str = "\
A run leaves the file as a whole, with its events and all below it. What has not ended stays, also \
if it is paused: `quell runs cancel` ends that first. So does what ended in a lane that a live run \
has. The file keeps its size, and new runs take \
the room. A file that a process has is refused, but for `--dry-run`.

Exit codes:
  0   deleted, or listed
  1   some runs cannot be read: stderr names them
  2   bad usage, a process has the file, or the store cannot be read

Examples:
  quell runs prune --store runs.db --older-than 30d --dry-run
  quell runs prune --store runs.db --older-than 30d";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_was_told_to_stop_and_has_not_ended_is_no_success() {
        for status in [RunStatus::Running, RunStatus::Stopping, RunStatus::Paused] {
            let words = not_ended("a", status).expect("it is live");
            assert!(words.starts_with("run `a` has not ended, it is "), "{words}");
        }
        assert_eq!(not_ended("a", RunStatus::Cancelled), None);
    }
}
