//! `quell ps`: the runs of a running server.

use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;
use form_urlencoded::Serializer;
use quell::RunStatus;
use quell_report::text::{cut, printable, span};
use serde::Deserialize as _;
use serde_json::Value;

use super::answers::{Run, RunPage};
use super::server_args::ServerArgs;
use crate::named::statuses;
use crate::out::{Fault, Out, written};
use crate::stdout::complain;
use crate::times::time;

/// What `quell ps` is told.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    #[command(flatten)]
    server: ServerArgs,

    /// List also the runs that have ended
    #[arg(short, long, conflicts_with = "status")]
    all: bool,

    /// Only runs that stand so. Repeatable, or several with commas. Without it those that have not
    /// ended
    #[arg(long, value_name = "STATUS", value_parser = statuses(), value_delimiter = ',')]
    status: Vec<RunStatus>,

    /// Only runs of this kind: `agent`, `team` or `workflow`
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,

    /// Only runs of this component: its name, `agent/writer`, or its id
    #[arg(long, value_name = "NAME")]
    component: Option<String>,

    /// Only runs of this session
    #[arg(long, value_name = "SESSION")]
    session: Option<String>,

    /// Only runs that this caller has started
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,

    /// Only runs of this lane, as its owner calls it
    #[arg(long, value_name = "LANE")]
    lane: Option<String>,

    /// Only runs with this label. Repeatable: all of them apply
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,

    /// The most runs that are listed, the newest first. Zero: all
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,

    /// Print one line of JSON per run
    #[arg(long)]
    json: bool,
}

/// Lists the runs, and yields the exit code.
pub(crate) fn ps(args: &PsArgs) -> ExitCode {
    written(|out| list(args, out))
}

fn list(args: &PsArgs, out: &mut Out) -> Result<(), Fault> {
    let client = args.server.client()?;
    let mut left = if args.limit == 0 { usize::MAX } else { args.limit };
    let (mut cursor, mut runs) = (None, Vec::new());
    while left > 0 {
        let page: RunPage = client.get(&path(args, left.min(PAGE), cursor.as_deref()))?;
        runs.extend(page.runs.into_iter().take(left));
        left = left.saturating_sub(runs.len());
        if args.json {
            runs.drain(..).try_for_each(|run| out.line(run))?;
        } else {
            table(&runs, SystemTime::now()).into_iter().try_for_each(|line| out.line(line))?;
            runs.clear();
        }
        out.flush()?;
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    if out.is_empty() {
        complain(&format!("quell: {} has no such run\n", printable(&client.server())));
    }
    Ok(())
}

/// Yields the path of a page of the list.
fn path(args: &PsArgs, limit: usize, cursor: Option<&str>) -> String {
    let mut query = Serializer::new(String::new());
    let live = RunStatus::ALL.into_iter().filter(|status| !status.is_terminal());
    let meant: Vec<_> = match (&args.status[..], args.all) {
        ([], true) => Vec::new(),
        ([], false) => live.collect(),
        (meant, _) => meant.to_vec(),
    };
    let mut texts = vec![
        ("kind", args.kind.as_deref()),
        ("component", args.component.as_deref()),
        ("session", args.session.as_deref()),
        ("owner", args.owner.as_deref()),
        ("lane", args.lane.as_deref()),
        ("cursor", cursor),
    ];
    if !meant.is_empty() {
        let names: Vec<_> = meant.into_iter().map(RunStatus::as_str).collect();
        query.append_pair("status", &names.join(","));
    }
    texts.extend(args.label.iter().map(|label| ("label", Some(label.as_str()))));
    for (key, value) in texts {
        if let Some(value) = value {
            query.append_pair(key, value);
        }
    }
    query.append_pair("limit", &limit.to_string()).append_pair("values", "false");
    format!("v1/runs?{}", query.finish())
}

/// Draws runs, one as a line, with columns. What cannot be read is a line that says so.
pub(super) fn table(runs: &[Value], now: SystemTime) -> Vec<String> {
    let all: Vec<_> = runs.iter().map(Run::deserialize).collect();
    let ids = all.iter().flatten().map(|run| shown(&run.id, ID_CHARS_MAX).chars().count());
    let width = ids.max().unwrap_or(0);
    let line = |run: &Result<Run, _>| match run {
        Ok(run) => line(run, width, now),
        Err(_) => "a run that cannot be read: the server is of another release".to_owned(),
    };
    all.iter().map(line).collect()
}

fn line(run: &Run, width: usize, now: SystemTime) -> String {
    let id = shown(&run.id, ID_CHARS_MAX);
    let (status, at) = (run.status.as_str(), time(run.queued_at.0));
    let end = run.ended_at.map_or(now, |at| at.0);
    let took = run.started_at.and_then(|began| end.duration_since(began.0).ok());
    let took = took.map_or_else(|| "-".to_owned(), span);
    let name = match &run.component {
        Some(component) => shown(component, NAME_CHARS_MAX),
        None => {
            format!("{} {}", shown(&run.kind, NAME_CHARS_MAX), shown(&run.name, NAME_CHARS_MAX))
        }
    };
    let mut more = String::new();
    if let Some(cause) = &run.cause {
        more = format!("  ({})", cause.words());
    }
    if run.status.is_terminal() && !run.quiescent {
        let names = cut(&run.abandoned.join(", "), NAME_CHARS_MAX);
        more = format!("{more}  still executes: {}", printable(&names));
    }
    format!("{id:<width$}  {status:<9}  {at}  {took:>12}  {name}{more}")
}

fn shown(text: &str, chars_max: usize) -> String {
    cut(&printable(text), chars_max)
}

/// Runs that are asked for at once.
const PAGE: usize = 100;

/// The longest id that is shown whole in a table. With JSON all are.
const ID_CHARS_MAX: usize = 128;

/// The longest name, and list of names, that is shown whole.
const NAME_CHARS_MAX: usize = 120;

/// Below the help of `quell ps`.
pub(crate) const PS_AFTER_HELP: &str = "\
A line has the id of the run as its caller knows it, how it stands, when it was accepted, for how \
long it works or worked (`-` if it never began), its component, and in brackets why it stops. One \
that has ended with something of it executing still names that. Only roots are listed: `quell tree \
RUN` has those below. Of several servers on one database any one lists the runs of all.

Exit codes:
  0   listed
  2   bad usage, or the server is not there, or refuses

Examples:
  quell ps
  quell ps --all --limit 5
  quell ps --status stopping --component workflow/publish
  quell ps --server https://quell.example --key-env OPS_KEY --label team=a
  quell ps --profile prod --json | jq -r .id";
