//! `quell nodes forget`: an operator knows that a node is gone for good.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use quell::store::StoreError;
use quell_postgres::{NodeStanding, PostgresAdmin};
use quell_report::text::{printable, span};
use tokio::runtime::Builder;

use super::nodes::NO_DATABASE;
use super::place::{Database, Place};
use super::store_args::DatabaseArgs;
use crate::exit::{EXIT_FAILED, EXIT_USAGE};
use crate::named::node_names;
use crate::stdout;
use crate::times::time;

/// What `quell nodes forget` is told.
#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// The name of the node, as `quell nodes` lists it, or a run names it
    #[arg(value_name = "NAME", value_parser = node_names())]
    name: String,

    /// Do not ask: it is known that the node is gone, and that nothing it had begun executes on its
    /// host any more
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    store: DatabaseArgs,
}

/// What came of it, with words for the user.
enum Done {
    /// It is so.
    Said(String),
    /// The user does not want it.
    Declined,
}

/// Says that a node is gone for good, and yields the exit code.
pub(super) fn forget(args: &ForgetArgs) -> ExitCode {
    match forgotten(args) {
        Ok(Done::Said(words)) => stdout::say(&format!("{words}\n")),
        Ok(Done::Declined) => {
            stdout::complain("nothing was changed\n");
            ExitCode::from(EXIT_FAILED)
        }
        Err(words) => {
            stdout::complain(&format!("error: {words}\n"));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn forgotten(args: &ForgetArgs) -> Result<Done, String> {
    let place = args.store.place()?;
    let Place::Database(database) = &place else {
        return Err(format!("{} {NO_DATABASE}", printable(&place.to_string())));
    };
    let told = |error: StoreError| place.told(&error);
    let Admin { admin, waits } = Admin::open(database).map_err(told)?;
    let name = printable(&args.name).into_owned();
    let found = waits.block_on(admin.standing(&args.name)).map_err(told)?;
    let Some(runs) = in_doubt(found, &name, &place)? else { return Ok(nothing(&name)) };
    if !args.yes && !is_wanted(&name, runs)? {
        return Ok(Done::Declined);
    }
    // It is looked at again: the answer may have taken its time.
    let found = waits.block_on(admin.forget(&args.name)).map_err(told)?;
    let Some(runs) = in_doubt(found, &name, &place)? else { return Ok(nothing(&name)) };
    Ok(Done::Said(format!(
        "node {name} is forgotten: the nodes that have {} release {} within seconds, and a node \
         that joins as {name} from now on is another one",
        count(runs),
        if runs == 1 { "it" } else { "them" },
    )))
}

/// Yields how many runs it concerns; none if there is nothing to release.
fn in_doubt(found: NodeStanding, name: &str, place: &Place) -> Result<Option<u64>, String> {
    match found {
        NodeStanding::Gone { runs } => Ok(Some(runs).filter(|runs| *runs > 0)),
        NodeStanding::Unknown => Err(format!(
            "{}: no node {name} is known: none has this name, and no run names it; `quell nodes` \
             lists those that are there",
            printable(&place.to_string()),
        )),
        NodeStanding::Live { lease_left, process } => {
            Err(live(name, lease_left, process.as_deref()))
        }
    }
}

/// Says of a node that may be live what to do first: one whose process is gone cannot be stopped.
fn live(name: &str, lease_left: Option<Duration>, process: Option<&str>) -> String {
    let lease = lease_left.map(|left| {
        let until = SystemTime::now().checked_add(left).map(time);
        let until = until.map_or_else(String::new, |until| format!(", until {until}"));
        format!("its lease runs for {} more{until}", span(left))
    });
    match (process.map(printable), lease) {
        (None, lease) => format!(
            "node {name} has no process, but {}: try again then",
            lease.as_deref().unwrap_or("its lease has just ended"),
        ),
        (Some(process), lease) => {
            let lease = lease.map_or_else(String::new, |lease| format!(", and {lease}"));
            format!(
                "node {name} is live: {process} has its name{lease}. Stop it first; if it was \
                 killed just now, try again when its lease is over"
            )
        }
    }
}

fn nothing(name: &str) -> Done {
    Done::Said(format!("nothing is in doubt because of node {name}: there is nothing to release"))
}

fn count(runs: u64) -> String {
    if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") }
}

/// Asks the user.
fn is_wanted(name: &str, runs: u64) -> Result<bool, String> {
    let question = format!(
        "node {name} may execute something of {} still. Is it gone for good, and nothing that it \
         had begun executes on its host any more?",
        count(runs),
    );
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(format!(
            "{question} Without a terminal nobody is asked: `--yes` says that it is so"
        ));
    }
    stdout::complain(&format!("{question} [y/N] "));
    let _ = io::stderr().flush();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| format!("no answer: {error}"))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// What says so to a database.
struct Admin {
    admin: PostgresAdmin,
    /// It waits for that, which has a thread of its own.
    waits: tokio::runtime::Runtime,
}

impl Admin {
    fn open(database: &Database) -> Result<Self, StoreError> {
        let no_runtime = |error| StoreError::Io { what: format!("no runtime: {error}") };
        let waits = Builder::new_current_thread().build().map_err(no_runtime)?;
        let admin = waits.block_on(PostgresAdmin::open(database.options()))?;
        Ok(Self { admin, waits })
    }
}

/// Below the help of `quell nodes forget`.
pub(crate) const FORGET_AFTER_HELP: &str = "\
When a node is lost, another one has its runs at the end of its lease. Whether the lost one still \
executes them nobody can see from another host: such a run is not quiescent, and names the node, \
until that one is started again and finds that all of it has ended, or somebody knows. This says \
that the node is gone for good, and that nothing it had begun executes on its host any more: its \
process has ended or will never go on, and so have the programs of its runs. It is not taken back.

The nodes that have such runs hear of it at once and release them, also those that are taken over \
later. What else may execute of them, a request to a service, or the work of another node that was \
lost, stays named. A process that joins under the same name later is another one, and is not \
forgotten.

A node that is live is refused: stop it first. One that was killed has its lease for a while: try \
again when it is over. `quell nodes` lists the names that can be forgotten as `lost`. The role \
needs the rights of the nodes.

Exit codes:
  0   said, or there was nothing to release
  1   the answer to the question was not yes
  2   bad usage, no such node, it is live or has its lease still, or the database cannot be reached

Examples:
  quell nodes forget web-1:7777 --store postgres://quell@db.example/runs
  quell nodes forget web-1:7777 --yes --store-env RUNS_URL";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_was_killed_is_told_with_the_end_of_its_lease_and_a_live_one_is_to_be_stopped() {
        let left = Some(Duration::from_secs(7));
        let killed = live("a", left, None);
        let says = "node a has no process, but its lease runs for 7.00 s more, until 2";
        assert!(killed.starts_with(says) && killed.ends_with("try again then"), "{killed}");
        assert!(!killed.contains("Stop it"), "{killed}");
        let running = live("a", left, Some("quell, process 7"));
        let says = "node a is live: quell, process 7 has its name, and its lease runs for 7.00 s";
        assert!(running.starts_with(says) && running.contains("Stop it first"), "{running}");
    }
}
