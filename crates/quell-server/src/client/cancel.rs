//! `quell cancel`: stops runs of a running server.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use quell::{RunKind, RunStatus};
use quell_flow::guess;
use quell_report::text::{cut, printable, span};
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use super::answers::{Cancelled, CancelledRun};
use super::server_args::ServerArgs;
use crate::named::run_ids;
use crate::out::{Fault, Out, written};
use crate::times;

/// What `quell cancel` is told.
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    server: ServerArgs,

    #[command(flatten)]
    meant: Meant,

    /// Stop nothing, and say what would be stopped
    #[arg(long)]
    dry_run: bool,

    /// Why, in words: the run, its events and its report have them
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,

    /// Time between the stop and the end of bodies that ignore it, for instance `500ms`. `0s` drops
    /// them at once. Without it that of each run
    #[arg(long, value_name = "DURATION", value_parser = times::parse)]
    grace: Option<Duration>,

    /// Drop the bodies at once, without grace
    #[arg(long, conflicts_with = "grace")]
    abort: bool,

    /// What to wait for: that each stop is accepted, that the runs have ended, or that nothing of
    /// them executes any more
    #[arg(long, value_name = "STATE", value_enum, default_value_t)]
    wait: Wait,

    /// The longest wait
    #[arg(long, value_name = "DURATION", value_parser = times::parse, default_value = "30s")]
    wait_max: Duration,

    /// Print one line of JSON per run
    #[arg(long)]
    json: bool,
}

/// Which runs are meant: one of these has to say so.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Meant {
    /// The ids of the runs, those below a root as well
    #[arg(value_name = "RUN", value_parser = run_ids())]
    runs: Vec<String>,

    /// The runs to which this applies: `status`, `kind`, `component`, `session`, `owner`, `lane`
    /// or `label`, whose value is KEY=VALUE. Repeatable: all of it applies, and one of several
    /// statuses
    #[arg(long = "where", value_name = "KEY=VALUE", value_parser = condition)]
    conditions: Vec<(String, String)>,

    /// All runs that have not ended
    #[arg(long)]
    all: bool,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Wait {
    #[default]
    Accepted,
    Terminal,
    Quiescent,
}

/// Stops the runs, and yields the exit code.
pub(crate) fn cancel(args: &CancelArgs) -> ExitCode {
    written(|out| stop(args, out))
}

fn stop(args: &CancelArgs, out: &mut Out) -> Result<(), Fault> {
    let client = args.server.client()?;
    let body = body(args)?;
    let wait = if args.wait == Wait::Accepted { Duration::ZERO } else { args.wait_max };
    let asked_at = Instant::now();
    let answer: Cancelled = client.post("v1/runs/cancel", &body, wait)?.read()?;
    let waited = span(asked_at.elapsed());
    let (mut missed, mut count) = (0_usize, 0_usize);
    for value in &answer.runs {
        count += 1;
        let run = CancelledRun::deserialize(value).map_err(|error| {
            format!("{}: its answer cannot be read: {error}", printable(&client.server()))
        })?;
        missed += usize::from(is_missed(&run, args.wait));
        if args.json { out.line(value)? } else { out.line(line(&run))? }
    }
    for id in &answer.unknown {
        out.gap(format!("{}: there is no such run, or no right to stop it", cut(id, ID_CHARS_MAX)));
    }
    if !args.json && args.meant.runs.is_empty() {
        let did = if args.dry_run { "would be stopped" } else { "were told to stop" };
        let total = answer.total.filter(|_| answer.more);
        let of = total.map_or_else(String::new, |total| format!(" of {total}"));
        let runs = if count == 1 && of.is_empty() { "run" } else { "runs" };
        let did = if runs == "run" { did.replace("were", "was") } else { did.to_owned() };
        out.line(format!("{count}{of} {runs} {did}"))?;
    }
    if answer.more && !args.dry_run {
        out.gap("there are more runs: the same command again stops the next ones");
    }
    if missed > 0 {
        out.gap(match args.wait {
            Wait::Accepted => format!("{missed} of {count} stops are not acknowledged: ask again"),
            Wait::Terminal => format!("{missed} of {count} runs have not ended after {waited}"),
            Wait::Quiescent => format!(
                "of {missed} of {count} runs something executes after {waited}, or nobody knows \
                 whether it does: those of a node that is lost `quell nodes forget` closes"
            ),
        });
    }
    Ok(())
}

/// Tells whether what was asked for has not come to pass. A stop that is recorded waits for the
/// node that has the run, and may come to nothing.
fn is_missed(run: &CancelledRun, wait: Wait) -> bool {
    let is_open = wait == Wait::Accepted && run.disposition.as_deref() == Some("recorded");
    !run.reached || is_open
}

/// Makes the request.
fn body(args: &CancelArgs) -> Result<Value, String> {
    let mut body = Map::new();
    let Meant { runs, conditions, all } = &args.meant;
    if *all {
        body.insert("all".to_owned(), true.into());
    } else if conditions.is_empty() {
        body.insert("runs".to_owned(), json!(runs));
    } else {
        body.insert("where".to_owned(), filter(conditions)?);
    }
    if args.dry_run {
        body.insert("dry_run".to_owned(), true.into());
    }
    if !args.reason.is_empty() {
        body.insert("reason".to_owned(), json!(args.reason));
    }
    if args.abort {
        body.insert("mode".to_owned(), "abort".into());
    }
    if let Some(grace) = args.grace {
        body.insert("grace_ms".to_owned(), millis(grace).into());
    }
    let wait = match args.wait {
        Wait::Accepted => "none",
        Wait::Terminal => "terminal",
        Wait::Quiescent => "quiescent",
    };
    if args.wait != Wait::Accepted {
        body.insert("wait".to_owned(), wait.into());
        body.insert("wait_ms".to_owned(), millis(args.wait_max).into());
    }
    Ok(body.into())
}

/// Puts conditions into the object that the server reads.
fn filter(conditions: &[(String, String)]) -> Result<Value, String> {
    let (mut filter, mut statuses, mut labels) = (Map::new(), Vec::new(), Map::new());
    for (key, value) in conditions {
        let before = match key.as_str() {
            "status" => {
                statuses.extend(value.split(',').map(Value::from));
                None
            }
            "label" => {
                let (key, value) = value.split_once('=').unwrap_or((value, ""));
                labels.insert(key.to_owned(), value.into())
            }
            _ => filter.insert(key.clone(), value.clone().into()),
        };
        if before.is_some() {
            return Err(format!("--where: `{key}` is given twice, and no run has both"));
        }
    }
    if !statuses.is_empty() {
        filter.insert("status".to_owned(), statuses.into());
    }
    if !labels.is_empty() {
        filter.insert("labels".to_owned(), labels.into());
    }
    Ok(filter.into())
}

/// Reads a condition.
fn condition(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or(CONDITIONS)?;
    if !KEYS.contains(&key) || value.is_empty() || (key == "label" && !value.contains('=')) {
        return Err(CONDITIONS.to_owned());
    }
    match key {
        "status" => value.split(',').try_for_each(live_status)?,
        "kind" if !RunKind::ALL.iter().any(|kind| kind.as_str() == value) => {
            let right = guess(value, RunKind::ALL.map(RunKind::as_str))
                .map(|meant| format!("did you mean `{meant}`?"));
            let all = || "expected `agent`, `team` or `workflow`".to_owned();
            return Err(format!("unknown kind; {}", right.unwrap_or_else(all)));
        }
        _ => {}
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Refuses the status of a run that has ended, and what is none.
fn live_status(name: &str) -> Result<(), String> {
    let all = RunStatus::ALL.into_iter();
    let live: Vec<_> = all.filter(|it| !it.is_terminal()).map(RunStatus::as_str).collect();
    if live.contains(&name) {
        return Ok(());
    }
    let is_over = RunStatus::ALL.into_iter().any(|it| it.as_str() == name);
    let why =
        if is_over { "such a run has ended, and cannot be stopped" } else { "unknown status" };
    Err(format!("{why}; expected one of {}", live.join(", ")))
}

fn line(run: &CancelledRun) -> String {
    let status = run.status.map_or("gone", |status| status.as_str());
    let id = cut(&printable(&run.id), ID_CHARS_MAX);
    let component = run.component.as_deref().map(|it| format!("  {}", printable(it)));
    let component = component.unwrap_or_default();
    let Some(disposition) = &run.disposition else { return format!("{id}  {status}{component}") };
    let mut more = match run.hard_deadline_in_ms {
        Some(ms) if run.status.is_none_or(|status| !status.is_terminal()) => {
            format!("  aborted in {} if it has not ended", span(Duration::from_millis(ms)))
        }
        _ => String::new(),
    };
    match run.quiescent {
        Some(true) => more.push_str("  quiescent"),
        Some(false) => more.push_str("  something of it executes"),
        None => {}
    }
    format!("{id}  {}  {status}{component}{more}", printable(disposition))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

const KEYS: [&str; 7] = ["status", "kind", "component", "session", "owner", "lane", "label"];

const CONDITIONS: &str = "expected one such as `status=running`, `component=agent/writer`, \
                          `kind=team`, `session=s1`, `owner=ann`, `lane=l1` or `label=team=a`";

/// The longest id that is shown whole. With JSON all are.
const ID_CHARS_MAX: usize = 128;

/// Below the help of `quell cancel`.
pub(crate) const CANCEL_AFTER_HELP: &str = "\
A line has the id of a run, what became of its stop, how the run stands, its component, and how \
long it may take at most. The stop is `accepted`, or the run was `already-stopping`, or \
`already-terminal`; `not-stored` says that the store has not taken it: ask again; `recorded`, \
that the node which has the run has not answered yet: the run may end otherwise. With --dry-run \
there is no stop, and a line has how the run stands. One request stops 10,000 runs.

With --wait the answer comes when all are there, or after --wait-max; what still executes then \
goes on to stop. `quell watch RUN` shows how.

Exit codes:
  0   every stop was accepted, and what was waited for came to pass
  1   some runs are unknown, or what was waited for did not come to pass in time: stderr says it
  2   bad usage, or the server is not there, or refuses: whether it has the stops is not known if
      the answer was lost

Examples:
  quell cancel my-run --reason 'wrong input' --wait quiescent
  quell cancel a b c --grace 2s --wait terminal --wait-max 1m
  quell cancel --where status=running --where component=agent/writer --dry-run
  quell cancel --where label=team=a --json | jq -r .disposition
  quell cancel --all --abort";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_that_waits_for_another_node_is_not_accepted() {
        let run = |disposition: &str, reached: bool| {
            let run = json!({ "id": "r", "disposition": disposition, "reached": reached });
            CancelledRun::deserialize(&run).unwrap()
        };
        for (disposition, reached, wait, missed) in [
            ("accepted", true, Wait::Accepted, false),
            ("recorded", true, Wait::Accepted, true),
            ("recorded", true, Wait::Terminal, false),
            ("accepted", false, Wait::Quiescent, true),
        ] {
            assert_eq!(is_missed(&run(disposition, reached), wait), missed, "{disposition}");
        }
    }

    #[test]
    fn conditions_are_those_of_the_api_and_what_no_run_can_be_is_refused() {
        let read = |all: &[&str]| {
            let all: Result<Vec<_>, _> = all.iter().map(|text| condition(text)).collect();
            filter(&all?)
        };
        let right = json!({ "status": ["running", "queued", "paused"], "component": "agent/a",
            "labels": { "team": "a=b", "x": "" } });
        let words = ["status=running,queued", "status=paused", "component=agent/a"];
        assert_eq!(read(&[&words[..], &["label=team=a=b", "label=x="]].concat()), Ok(right));
        for wrong in ["state=running", "status", "status=", "=x", "label=team", ""] {
            assert!(condition(wrong).is_err(), "{wrong}");
        }
        for (wrong, says) in [
            ("status=completed", "such a run has ended, and cannot be stopped; expected one of"),
            ("status=running,live", "unknown status; expected one of queued, "),
            ("kind=agents", "unknown kind; did you mean `agent`?"),
            ("kind=x", "expected `agent`, `team` or `workflow`"),
        ] {
            let words = condition(wrong).expect_err(wrong);
            assert!(words.contains(says), "{wrong}: {words}");
        }
        for twice in [["owner=a", "owner=b"], ["label=a=1", "label=a=2"]] {
            assert!(read(&twice).expect_err("twice").contains("given twice"));
        }
    }
}
