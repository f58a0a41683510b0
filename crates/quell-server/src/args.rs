//! [`Cli`]: the command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use quell::Payload;
use tracing_subscriber::filter::LevelFilter;

use crate::config::Setting;
use crate::list::ListArgs;
use crate::plan::PlanCommand;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "quell", version, about = ABOUT, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Reads the command line of this process.
    ///
    /// # Errors
    ///
    /// Fails with what clap shows: a usage error, the help or the version.
    pub(crate) fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let cli = Self::try_parse_from(args)?;
        let Command::Run(run) = &cli.command else { return Ok(cli) };
        if run.plan.is_none() && run.command.is_empty() {
            let message = "neither a plan nor a command was given; one of these would do:\n\n  \
                           quell run plan.toml\n  quell run --timeout 30s -- make test";
            return Err(usage_error(ErrorKind::MissingRequiredArgument, message));
        }
        if run.command.first().is_some_and(|program| program.is_empty()) {
            let message = "the program after `--` has an empty name";
            return Err(usage_error(ErrorKind::InvalidValue, message));
        }
        Ok(cli)
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a plan of commands, or a single command, as one run tree
    #[command(
        long_about = RUN_ABOUT,
        after_help = RUN_AFTER_HELP,
        override_usage = "quell run [OPTIONS] <PLAN | NAME>\n       \
                          quell run [OPTIONS] -- <COMMAND>..."
    )]
    Run(RunArgs),
    /// End the programs of a process that has died: what `run` and `serve` start for themselves
    #[command(hide = true)]
    Guard,
    /// Serve agents, teams and workflows over HTTP, so that runs can be started, watched, cancelled
    #[command(long_about = SERVE_ABOUT, after_help = SERVE_AFTER_HELP)]
    Serve(ServeArgs),
    /// List the components of the configuration that `quell run NAME` can start
    List(ListArgs),
    /// Check a plan, draw it, or print what a plan may say
    #[command(subcommand)]
    Plan(PlanCommand),
    /// Print what a program that quell runs can rely on: streams, signals, environment, bounds
    #[command(long_about = PROCESS_PAGE, help_template = "{about}", term_width = 0)]
    Process,
}

/// What `quell serve` is told.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen. Without it: `listen` of the file, or else 127.0.0.1:7777. Port 0 takes a
    /// free one. Beyond loopback only with keys or tokens in the file
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,

    /// Serve the demo components of every contract, and the witness of what they really do under
    /// /_bench. Only on loopback
    #[arg(long)]
    pub(crate) demo: bool,

    /// What to serve, to whom, with which options: a file like `quell.toml`
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Put a value over one of the file, for instance `langgraph.settle_ms=0`. Repeatable
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<Setting>,

    /// What to log on stderr: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub(crate) log: LevelFilter,

    /// Put this before the names of all demo components, to see that no client depends on them
    #[arg(long, value_name = "TEXT", hide = true, requires = "demo")]
    pub(crate) demo_prefix: Option<String>,
}

/// What `quell run` is told.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The plan: a file, `.toml`, `.json` or `.yaml`. Or the name of a component of the
    /// configuration: its id, or its kind and id, such as `agent/writer`
    #[arg(value_name = "PLAN")]
    pub(crate) plan: Option<PathBuf>,

    /// The input of the plan or the component, as JSON, for instance `{"topic": "tea"}`
    #[arg(long, value_name = "JSON", value_parser = input, conflicts_with = "command")]
    pub(crate) input: Option<Payload>,

    /// Where components are: a file like `quell.toml`, which is the default
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    pub(crate) config: Option<PathBuf>,

    /// A single program with its arguments, instead of a plan
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "plan")]
    pub(crate) command: Vec<OsString>,

    /// Stop the run after this time, for instance `90s` or `1h 30m`. Replaces the timeout of
    /// the plan; without both there is no limit
    #[arg(long, value_name = "DURATION", value_parser = timeout)]
    pub(crate) timeout: Option<Duration>,

    /// Time between a stop and the end of everything, for instance `500ms`. SIGKILL comes a tenth
    /// of it earlier, at most 500 ms. Replaces the grace of the plan; without both it is 5s. `0s`
    /// leaves no time for cleanup
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) grace: Option<Duration>,

    /// Write the report to this file as JSON when the run has ended. The file appears whole or
    /// not at all; a path that cannot be written is refused before anything starts
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    /// Write every event to stdout as one line of JSON; what is meant for people goes to stderr
    #[arg(long)]
    pub(crate) json: bool,

    /// Show every line that the programs write, and not just the last one
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

fn usage_error(kind: ErrorKind, message: &str) -> clap::Error {
    let mut cli = Cli::command();
    cli.build();
    match cli.find_subcommand_mut("run") {
        Some(run) => run.error(kind, message),
        None => cli.error(kind, message),
    }
}

fn input(text: &str) -> Result<Payload, String> {
    Payload::from_json_text(text).map_err(|error| format!("expected JSON: {error}"))
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if timeout.is_zero() {
        return Err("a timeout of zero would stop the run before it starts".into());
    }
    Ok(timeout)
}

/// The protocol of programs.
pub(crate) const PROCESS_PAGE: &str = include_str!("process.md");

const ABOUT: &str =
    "Run commands and serve agents as run trees that stop when told, on time, and say what stopped";

const AFTER_HELP: &str = "\
Examples:
  quell run plan.toml                          run a plan
  quell run --timeout 30s --grace 5s -- make   run one command, with a limit
  quell run plan.toml --json | jq .event       events for programs
  quell run writer --input '{\"by\": \"ada\"}'   run a component of quell.toml
  quell plan check plan.yaml                   every fault of a plan, with its line
  quell serve --demo                           every contract on http://127.0.0.1:7777
  quell help run                               signals, exit codes, the rest
  quell help process                           what a program that quell runs can rely on";

const RUN_ABOUT: &str = "\
Run a plan of commands, or a single command, as one run tree that stops when told.

Every command runs in a process group of its own. A stop (a timeout, a signal to quell, a branch \
that failed) sends SIGTERM to the groups, waits for the grace but \
for a tenth of it (at most 500 ms, for the rest of the output), then sends SIGKILL. What a program \
had written by then is kept as partial output. When quell exits, nothing it started is left. A \
small process of its own, the guardian, outlives a quell that is killed and ends what it had \
started; except on Linux it cannot find what has left its group, and on Linux not what has also \
given up its environment. A stopped run whose program left such a process holding stdout or stderr \
names it as abandoned.

In a terminal the tree is live; elsewhere transitions are lines on stdout, at most four a second \
(-v: all). The report follows: status and cause of every run, what a step that failed wrote (at \
most the last 200 lines and 32 KiB of what is kept of stdout, its first 4 MiB, and of stderr), \
which steps of a plan were not started and why, who was signalled and aborted, how long the stop \
took, what output was kept.";

const RUN_AFTER_HELP: &str = "\
Signals:
  SIGINT (Ctrl-C), SIGTERM, SIGHUP   the first one cancels with grace, the second one aborts
  SIGQUIT (Ctrl-\\)                   aborts at once
  after the run has ended, any of them gives up writing what is left to write

Exit codes:
    0   completed
    1   failed, or the report could not be written
    2   bad usage, bad plan, unwritable report: nothing was started
  124   timed out
  130   cancelled: by a signal, or because the reader of stdout went away (quell run … | head)

Examples:
  quell run crates/quell-server/plans/tour.toml
  quell run plan.toml --timeout 10m --report report.json
  quell run plan.toml --json > events.ndjson
  quell run --timeout 30s --grace 5s -- make test";

const SERVE_ABOUT: &str = "\
Serve agents, teams and workflows over HTTP, so that runs can be started, watched and cancelled.

One engine is behind all contracts, on one port: AgentOS (/agents, /teams, /workflows) and \
LangGraph (/threads, /assistants, /runs) at /, Playbook3D under /playbook3d, the native API under \
/v1 (/openapi.json describes it; /healthz and /readyz say how it is). A run that was started \
through one contract can be read by its id and cancelled through every other that exposes its \
component: through LangGraph if its session is a UUID, through Playbook3D if that is a team of the \
caller.

A cancel is answered while every body blocks its thread: bodies have threads of their own.

Programs do not outlive a server that is killed: a small process of its own, the guardian, ends \
them. Except on Linux it cannot find those that have left their group; on Linux not those that \
have also given up their environment (QUELL_PROCESS_IDS), or run as another user; and nobody ends \
them if the guardian is killed together with the server. A stopped run is not quiescent as long as \
such a process holds on to its stdout or stderr.

Programs are trusted with all that the user of the server may read and do, its files and its \
environment among it (/proc): run programs that must not see its keys as another user.";

const SERVE_AFTER_HELP: &str = "\
The file:
  listen = \"127.0.0.1:7777\"

  [server]
  grace = \"5s\"                     # between a stop and abort
  abort_wait = \"1s\"                # between abort and abandon
  running_max = 100                 # runs at once; the others are queued
                                    # (without: 1 for 16 descriptors, at most 256; programs, those
                                    # of plans as well, wait while 1 for 16 descriptors runs)
  memory_mib = 2048                 # of all state: inputs, outputs, logs, metadata, requests under
                                    # way; one owner may have a quarter, of streams as
                                    # well; more is answered 413 or 429
  trusted_hosts = [\"box.lan\"]       # served without keys, besides localhost and loopback
  trusted_origins = [\"http://…\"]    # pages that may write without keys, besides our own

  [agents.writer]                   # or [workflows.writer]
  run = [\"./writer.py\", \"--fast\"]  # input: one line of JSON on stdin; output: stdout
  timeout = \"10m\"                  # also: grace, cwd, env, description, model, contracts

  [workflows.publish]
  plan = \"publish.toml\"            # as for quell run
  reducers = { log = \"append\" }    # keys of its LangGraph state that are lists; others: overwrite

  [[keys]]                          # a caller, by the key that it sends: bearer token or x-api-key
  subject = \"ops\"
  secret_env = \"OPS_KEY\"           # the variable that holds it
  admin = true                      # or: scopes, teams, read_only

  [[tokens]]                        # JSON web tokens that somebody else issues
  algorithm = \"RS256\"              # public_key_file; or HS256 with secret_env
  public_key_file = \"issuer.pem\"   # also: audiences, issuer, subject_claim, default_scopes
                                    # (of several, each needs its issuer)

  [agentos]                         # options of the contract, as in its documentation
  [langgraph]
  [playbook3d]

Without keys and tokens everybody who reaches the port may do everything. So it listens on \
loopback only, answers 403 to a Host that is not localhost or an address of loopback (a name can \
be made to mean this machine), and to writes from pages of other origins than its own and those of \
[agentos] cors_origins; bodies must be application/json where the contract has JSON (415). With a \
key none of this applies. A page of another origin may still read what LangGraph shows to all \
(CORS *).

Descriptors (ulimit -n): the soft limit is raised to the hard one, and programs get it as it was. \
Half are for connections, at most 10,000. Streams, waits and starts have three quarters of these, \
one more is answered 503; the rest is for cancels and reads. A cancel that is to wait takes a \
place of the former; if none is left it is carried out and answered at once. When all are taken, \
the connection is closed that has been idle for longest, or taking more than 250 ms to ask. \
A client that takes nothing for 30 s, or less than about 200 KiB, of what is written to it is \
given up.

Signals:
  the first one drains: not ready, no new runs, live runs are stopped with grace, streams get their
  last event; the second one aborts

Exit codes:
  0   drained
  2   bad usage, bad file, address not to be had: nothing was served

Examples:
  quell serve --demo
  quell serve --demo --listen 127.0.0.1:0 --set agentos.completed_sentinel=true
  OPS_KEY=… quell serve --config quell.toml --listen 0.0.0.0:7777";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<RunArgs, clap::Error> {
        let cli = Cli::read(args.iter().map(OsString::from))?;
        let Command::Run(run) = cli.command else {
            return Err(Cli::command().error(ErrorKind::InvalidSubcommand, "another command"));
        };
        Ok(run)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_plan_takes_options_on_either_side() {
        let run =
            read(&["quell", "run", "--grace", "0s", "a.toml", "--timeout", "1m 30s"]).unwrap();
        assert_eq!(run.plan, Some(PathBuf::from("a.toml")));
        assert_eq!(run.timeout, Some(Duration::from_secs(90)));
        assert_eq!(run.grace, Some(Duration::ZERO));
    }

    #[test]
    fn a_command_keeps_its_own_options() {
        let run = read(&["quell", "run", "--json", "--", "ls", "--json", "-v"]).unwrap();
        assert_eq!(run.command, ["ls", "--json", "-v"]);
        assert!(run.json && !run.verbose);
    }

    #[test]
    fn a_plan_and_a_command_exclude_each_other() {
        let error = read(&["quell", "run", "a.toml", "--", "ls"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn neither_a_plan_nor_a_command_is_an_error_that_shows_what_to_do() {
        let error = read(&["quell", "run"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("quell run plan.toml"), "{error}");
        assert!(error.to_string().contains("-- <COMMAND>..."), "{error}");
    }

    #[test]
    fn durations_that_make_no_sense_are_refused() {
        for bad in ["0s", "-1s", "ten", "", "5"] {
            let error = read(&["quell", "run", "a.toml", "--timeout", bad]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{bad}");
        }
        assert!(read(&["quell", "run", "a.toml", "--grace", "-1s"]).is_err());
    }
}
