//! `quell nodes`: the members of a database, read there or asked of one of them.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use quell::limits;
use quell_postgres::{LostNode, NodeRecord};
use quell_report::text::{printable, span};
use serde_json::{Value, json};

use super::forget::{FORGET_AFTER_HELP, ForgetArgs, forget};
use super::place::Place;
use super::reader::DatabaseReader;
use super::store_args::AnyDatabaseArgs;
use crate::client::{ServerArgs, list_nodes};
use crate::out::{Fault, Out, written};
use crate::shell_word::shell_word;
use crate::times::time;

/// What `quell nodes` is told.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct NodesArgs {
    #[command(subcommand)]
    command: Option<NodesCommand>,

    #[command(flatten)]
    store: AnyDatabaseArgs,

    #[command(flatten)]
    server: ServerArgs,

    /// Print one line of JSON per node
    #[arg(long)]
    json: bool,
}

/// What `quell nodes` does beside listing them.
#[derive(Debug, Subcommand)]
pub(crate) enum NodesCommand {
    /// Say that a node is gone for good, so that its runs are in doubt no longer
    #[command(after_help = FORGET_AFTER_HELP)]
    Forget(ForgetArgs),
}

/// Lists the members, or forgets one, and yields the exit code.
pub(crate) fn nodes(args: &NodesArgs) -> ExitCode {
    let show = |draw: fn(&Value) -> String| {
        move |it: &Value| if args.json { it.to_string() } else { draw(it) }
    };
    match &args.command {
        Some(NodesCommand::Forget(args)) => forget(args),
        None if !args.store.is_given() => {
            written(|out| list_nodes(&args.server, out, show(line), show(lost_line)))
        }
        None if args.server.is_given() => written(|_| Err(Fault::Refused(TWO_PLACES.to_owned()))),
        None => written(|out| list(&args.store, out, show(line), show(lost_line))),
    }
}

fn list(
    store: &AnyDatabaseArgs,
    out: &mut Out,
    line: impl Fn(&Value) -> String,
    lost_line: impl Fn(&Value) -> String,
) -> Result<(), Fault> {
    let place = store.place()?;
    let Place::Database(database) = &place else {
        let path = place.to_string();
        return Err(Fault::Refused(format!("{} {NO_DATABASE}", printable(&path))));
    };
    let open = DatabaseReader::open(database).map_err(|error| place.told(&error))?;
    let DatabaseReader { reader, waits } = open;
    let mut after: Option<String> = None;
    loop {
        let page = waits.block_on(reader.nodes(after.as_deref(), limits::STORE_PAGE_MAX));
        let page = page.map_err(|error| place.told(&error))?;
        page.iter().try_for_each(|node| out.line(line(&node_json(node))))?;
        out.flush()?;
        match page.last() {
            Some(last) => after = Some(last.name.as_deref().unwrap_or_default().to_owned()),
            None => break,
        }
    }
    let mut after: Option<String> = None;
    loop {
        let page = waits.block_on(reader.lost_nodes(after.as_deref(), limits::STORE_PAGE_MAX));
        let page = page.map_err(|error| place.told(&error))?;
        page.iter().try_for_each(|lost| out.line(lost_line(&lost_json(lost))))?;
        out.flush()?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some((*last.name).to_owned());
    }
}

/// Draws a lost member, of which [`lost_json`] tells.
fn lost_line(lost: &Value) -> String {
    let (name, process) = (text(lost, "name").unwrap_or_default(), text(lost, "process"));
    // It would be refused to forget the node.
    let ends = process.map_or_else(String::new, |process| {
        format!(" and {} has its name still, end that;", printable(process))
    });
    format!(
        "{:<20}  {:<13}  something of {} may execute there still;{ends} once you know that nothing \
         does: quell nodes forget {}",
        printable(name),
        "lost",
        runs(count(lost, "runs_in_doubt")),
        shell_word(&printable(name)),
    )
}

fn runs(runs: u64) -> String {
    if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") }
}

/// Tells of a lost member in JSON.
pub(crate) fn lost_json(lost: &LostNode) -> Value {
    json!({
        "name": lost.name,
        "lost": true,
        "runs_in_doubt": lost.runs,
        "process": lost.process,
    })
}

/// Draws a member, of which [`node_json`] tells.
fn line(node: &Value) -> String {
    let name = printable(text(node, "name").unwrap_or("(alone)"));
    let ms = |key| node.get(key)?.as_u64().map(Duration::from_millis);
    let lease = match (ms("lease_left_ms"), ms("lease_over_ms")) {
        (Some(left), _) => format!("lease for {}", span(left)),
        (None, Some(since)) if node["drained"] == true => {
            format!("drained since {}", span(since))
        }
        (None, Some(since)) => format!("lease over since {}", span(since)),
        (None, None) => "no lease".to_owned(),
    };
    let connected = match node["connected"].as_bool() {
        Some(true) => "connected",
        Some(false) => "not connected",
        None => "on another server",
    };
    let (live, queued) = (count(node, "live"), count(node, "queued"));
    let asked = match count(node, "stops_waiting") {
        0 => String::new(),
        asked => format!("  {asked} stops wait"),
    };
    let doubt = match count(node, "runs_in_doubt") {
        0 => String::new(),
        in_doubt => format!("  {} in doubt", runs(in_doubt)),
    };
    let process = text(node, "process").map_or_else(String::new, |words| format!("  {words}"));
    let process = printable(&process);
    let runs = format!("{live} live, {queued} queued{asked}{doubt}");
    format!("{name:<20}  {connected:<13}  {lease:<24}  {runs}{process}")
}

fn text<'a>(of: &'a Value, key: &str) -> Option<&'a str> {
    of.get(key)?.as_str()
}

fn count(of: &Value, key: &str) -> u64 {
    of.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// Tells of a member in JSON.
pub(crate) fn node_json(node: &NodeRecord) -> Value {
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    json!({
        "name": node.name,
        "boot": node.boot,
        "connected": node.is_connected,
        "process": node.process,
        "lease_until": node.lease_until.map(time),
        "lease_left_ms": node.lease_left().map(millis),
        "lease_over_ms": node.lease_over_for().map(millis),
        "drained": node.is_drained,
        "live": node.live,
        "queued": node.queued,
        "stops_waiting": node.asked,
        "runs_in_doubt": node.in_doubt,
        "at": time(node.at),
    })
}

/// What is wrong with a store that is none of nodes, behind its path.
pub(super) const NO_DATABASE: &str = "is a file, which one process has at a time; nodes share a \
    database: `--store postgres://…`";

const TWO_PLACES: &str = "a store and a server are named; expected one of them";

/// Below the help of `quell nodes`.
pub(crate) const NODES_AFTER_HELP: &str = "\
They are read of the database that is named, or else asked of a running server, which needs the \
key of an administrator. A line has the name of a node, whether a process has that name by now, \
its lease by the clock of the database, how many runs it has that have not ended, those below \
another one not counted, how many stops it has not answered, how many runs are `in doubt` because \
of it, and what the database says of its process. A node whose lease is over is there until \
another one takes over what it had: one that is `drained` was shut down, and nothing that this \
process of it had begun executes any more; of another one nobody knows. A line with a name and ` \
(drained)` is what a node that shut down has given up. A server that is not one of several is \
`(alone)`.

A run is in doubt if an earlier process of the node was lost, and may have left something of it \
that executes still. Such runs are not quiescent. When the node is started again its process \
before is known to be gone, and programs which that has left are in doubt until the new one finds \
that they have ended, within some seconds. What is in doubt of a node that runs for longer nobody \
will know, unless you do: shut the node down, `quell nodes forget NAME`, and start it again.

Behind them is each node whose lease is over and because of which runs are in doubt, `lost`: also \
one that was `drained` since, of what an earlier process of it has left. It is there until it is \
started again, or until you say that it is gone for good: `quell nodes forget NAME`. With --json \
that is an object with `name`, `lost`, `runs_in_doubt` and `process`: one that has its name still, \
as a server that is frozen, which ends when it goes on.

Nothing is changed, and no lock is taken. A role needs usage on the schema `quell` and select on \
its tables; to see the processes of other roles also pg_read_all_stats.

Exit codes:
  0   listed
  2   bad usage, or the database cannot be read, or the server is not there, or refuses

Examples:
  quell nodes
  quell nodes --server https://quell.example --key-env OPS_KEY
  quell nodes --store postgres://quell@db.example/runs
  quell nodes --store-env RUNS_URL --json | jq -r 'select(.connected == false).name'
  quell nodes forget web-1:7777 --store-env RUNS_URL    one that is gone for good
  quell help nodes forget                               what that says, and to whom";
