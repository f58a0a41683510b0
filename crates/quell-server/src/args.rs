//! [`Cli`]: the command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use quell::Payload;
use quell_flow::{PLAN_PAGE, PLAN_TEMPLATES};
use tracing_subscriber::filter::LevelFilter;

use crate::answers::{Answer, parse_answer};
use crate::check::CheckArgs;
use crate::client::ClientCommand;
use crate::config::{Setting, parse_address};
use crate::help::{
    ABOUT, AFTER_HELP, ANSWERS_PAGE, CHECK_AFTER_HELP, COMPLETIONS_AFTER_HELP, EVENTS_PAGE,
    MAN_AFTER_HELP, PROCESS_PAGE, REPORT_PAGE, RUN_ABOUT, RUN_AFTER_HELP, RUNS_AFTER_HELP,
    SERVE_ABOUT, SERVE_AFTER_HELP, SERVICE_PAGE,
};
use crate::init::InitArgs;
use crate::input::parse_input;
use crate::install::{CompletionsArgs, ManArgs};
use crate::list::ListArgs;
use crate::log_format::LogFormat;
use crate::named::run_ids;
use crate::plan::PlanCommand;
use crate::store::{
    EventsArgs, KeepArgs, NODES_AFTER_HELP, NodesArgs, Place, RunsArgs, SHOW_AFTER_HELP, ShowArgs,
    StoreCommand, is_no_path, places,
};
use crate::times;
use crate::tips::{with_tip, without_secrets};

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
        let args: Vec<OsString> = args.into_iter().collect();
        let cli = Self::try_parse_from(&args)
            .map_err(|error| without_secrets(with_tip(error, &args, &is_right)))?;
        let Command::Run(run) = &cli.command else { return Ok(cli) };
        if run.plan.is_none() && run.command.is_empty() && run.resume.is_none() {
            let message = "neither a plan nor a command was given; one of these would do:\n\n  \
                           quell run plan.toml\n  quell run --timeout 30s -- make test";
            return Err(usage_error(ErrorKind::MissingRequiredArgument, message));
        }
        if run.command.first().is_some_and(|program| program.is_empty()) {
            let message = "the program after `--` has an empty name";
            return Err(usage_error(ErrorKind::InvalidValue, message));
        }
        if matches!(run.store.as_deref().and_then(Path::to_str), Some(path) if is_no_path(path)) {
            let message = "`quell run` keeps its run in a file, and a database is for servers; one \
                           of these would do:\n\n  quell run --store runs.db …\n  \
                           quell serve --store URL, which starts runs over HTTP";
            return Err(usage_error(ErrorKind::InvalidValue, message));
        }
        if run.outputs.is_some() && run.only.is_none() && run.from.is_none() {
            let message = "`--outputs` goes with `--only STEP` or `--from STEP`";
            return Err(usage_error(ErrorKind::MissingRequiredArgument, message));
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
    /// Write an example of a configuration, which runs as it is; nothing is overwritten
    Init(InitArgs),
    /// Say what is wrong with a configuration and its plans, all at once; nothing is started
    #[command(after_help = CHECK_AFTER_HELP)]
    Check(CheckArgs),
    /// List the components of the configuration that `quell run NAME` can start
    List(ListArgs),
    /// Check a plan, draw it, or print what a plan may say, with a page of every key
    #[command(subcommand, after_long_help = PLAN_PAGE, term_width = 0)]
    Plan(PlanCommand),
    /// Print what a program that quell runs can rely on: streams, signals, environment, bounds
    #[command(long_about = PROCESS_PAGE, help_template = "{about}", term_width = 0)]
    Process,
    /// Print what arrives of a component through each contract and stream mode
    #[command(long_about = ANSWERS_PAGE, help_template = "{about}", term_width = 0)]
    Answers,
    /// Print what the report of a run says as JSON: every field, its type and its unit
    #[command(long_about = REPORT_PAGE, help_template = "{about}", term_width = 0)]
    Report,
    /// Print the events of a run of a store; or, without one, what events say as JSON, kind by kind
    #[command(after_long_help = EVENTS_PAGE, term_width = 0)]
    Events(EventsArgs),
    /// List the runs of a store
    #[command(after_help = RUNS_AFTER_HELP)]
    Runs(RunsArgs),
    /// Show the report of a run of a store, or what is stored of one that has not ended
    #[command(after_help = SHOW_AFTER_HELP)]
    Show(ShowArgs),
    /// List the nodes of a database: their leases, their processes, and how many runs they have
    #[command(after_help = NODES_AFTER_HELP)]
    Nodes(NodesArgs),
    #[command(flatten)]
    Client(ClientCommand),
    /// Check a store, or copy the file of one
    #[command(subcommand)]
    Store(StoreCommand),
    /// Print what templates of plans may say: names, filters, tests, operators, with examples
    #[command(long_about = PLAN_TEMPLATES, help_template = "{about}", term_width = 0)]
    Templates,
    /// Print what a shell reads to complete the command line
    #[command(after_help = COMPLETIONS_AFTER_HELP)]
    Completions(CompletionsArgs),
    /// Print the page of quell for man, or write those of all commands
    #[command(after_help = MAN_AFTER_HELP)]
    Man(ManArgs),
    /// Print what a service that quell runs can rely on: requests, answers, stops, bounds
    #[command(long_about = SERVICE_PAGE, help_template = "{about}", term_width = 0)]
    Service,
}

/// What `quell serve` is told.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen. Without it: `listen` of the file, or else 127.0.0.1:7777. Port 0 takes a
    /// free one. Beyond loopback only with keys or tokens in the file
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub(crate) listen: Option<SocketAddr>,

    /// Serve the demo components of every contract, and the witness of what they really do under
    /// /_bench. Only on loopback
    #[arg(long)]
    pub(crate) demo: bool,

    /// What to serve, to whom, with which options: a file like `quell.toml`, which is the default
    /// without `--demo`
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Put a value over one of the file, for instance `langgraph.settle_ms=0`. Repeatable.
    /// A path is relative to the folder of the file, as it is there, and not to the current one
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<Setting>,

    /// Keep the runs and their events in this SQLite file, which is made if it is missing: they
    /// outlive this process. One process at a time has it, and what an earlier one left behind
    /// fails first. Or in a database, as `postgres://USER@HOST/DATABASE`, with any number of
    /// servers. Without it: `path`, `url` or `url_env` of `[store]` of the configuration
    #[arg(long, value_name = "FILE | URL", value_parser = places())]
    pub(crate) store: Option<Place>,

    /// Keep them in the database whose address this environment variable has: others can read a
    /// command line. Programs do not get the variable
    #[arg(long, value_name = "NAME", conflicts_with = "store")]
    pub(crate) store_env: Option<String>,

    /// The name of this server among those on its database: one server has it at a time. One that
    /// comes back under its name has its runs at once; those of one that does not come back are
    /// taken over by the others after its lease. Without it: `node` of `[store]`, or else the name
    /// of the host and the port, as `web-1:7777`
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,

    #[command(flatten)]
    pub(crate) keep: KeepArgs,

    /// What to log on stderr. What the server itself does, from its start to its end, is said there
    /// whatever the level
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "warn",
        value_parser = levels(),
        ignore_case = true,
    )]
    pub(crate) log: LevelFilter,

    /// How to log: `human` lines, a `json` object on each line; `auto` is human if stderr is a
    /// terminal
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,

    /// Put this before the names of all demo components, to see that no client depends on them
    #[arg(long, value_name = "TEXT", hide = true, requires = "demo")]
    pub(crate) demo_prefix: Option<String>,
}

/// What `quell run` is told.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The plan: a file, `.toml`, `.json` or `.yaml`, or `-`, which reads it from stdin; the stdin
    /// of its steps is empty in any case. Or the name of a component of the configuration, such as
    /// `agent/writer`; its id alone if no other kind has it
    #[arg(value_name = "PLAN")]
    pub(crate) plan: Option<PathBuf>,

    /// The input of the plan or the component, as JSON, for instance `{"topic": "tea"}`
    #[arg(long, value_name = "JSON", value_parser = parse_input, conflicts_with = "command")]
    pub(crate) input: Option<Payload>,

    /// Run this step of the plan alone, with what it reads of others from `--outputs`
    #[arg(long, value_name = "STEP", conflicts_with_all = ["command", "from"])]
    pub(crate) only: Option<String>,

    /// Run this step of the plan and all after it, with what they read of the others from
    /// `--outputs`
    #[arg(long, value_name = "STEP", conflicts_with = "command")]
    pub(crate) from: Option<String>,

    /// The report of a former run of the plan, or of a part of it, as `--report` writes it: what
    /// `--only` and `--from` read of steps that do not run. Of these the completed ones at the top
    /// of the plan count, and those whose outputs that run was given itself
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    pub(crate) outputs: Option<PathBuf>,

    /// The answer to the step of this name when it waits for one. Repeatable: each answer is used
    /// once. Without one the terminal is asked; if there is none, the run is cancelled, or left
    /// paused in its store
    #[arg(long, value_name = "STEP=VALUE", value_parser = parse_answer, conflicts_with = "command")]
    pub(crate) answer: Vec<Answer>,

    /// Where components are: a file like `quell.toml`, which is the default if the plan names one.
    /// Programs do not get the variables with the secrets of the file that is read
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
    #[arg(long, value_name = "DURATION", value_parser = times::parse)]
    pub(crate) grace: Option<Duration>,

    /// Write the report to this file as JSON when the run has ended or is left paused (`quell help
    /// report` has its fields). The file appears whole or not at all; a path that cannot be
    /// written is refused before anything starts. What is no regular file, such as `/dev/stdout`
    /// or a named pipe, is written in place; a named pipe needs a reader from the start
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    /// Keep the run and its events in this SQLite file, which is made if it is missing: they
    /// outlive this process. One process at a time has it, and what an earlier one left behind
    /// fails first
    #[arg(long, value_name = "FILE")]
    pub(crate) store: Option<PathBuf>,

    /// Go on with this run of the store, by its id or the first digits of it, at least four: it is
    /// paused, or its process was killed. Steps of its plan that had ended are not run again,
    /// cleanup that was cut is, as a whole. Its plan may be left out if it was a file, which is
    /// where it was; its input is the one that it had, and so are `--timeout` and `--grace` unless
    /// others are given
    #[arg(
        long,
        value_name = "RUN",
        value_parser = run_ids(),
        requires = "store",
        conflicts_with_all = ["command", "input"],
    )]
    pub(crate) resume: Option<String>,

    /// Write every event to stdout as one line of JSON (`quell help events` has their kinds); what
    /// is meant for people goes to stderr
    #[arg(long)]
    pub(crate) json: bool,

    /// Show every line that the programs write, and not just the last one
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// Tells whether a command line can be read, and names no plan.
fn is_right(args: &[OsString]) -> bool {
    let has_plan = |cli: Cli| matches!(cli.command, Command::Run(RunArgs { plan: Some(_), .. }));
    Cli::try_parse_from(args).is_ok_and(|cli| !has_plan(cli))
}

fn usage_error(kind: ErrorKind, message: &str) -> clap::Error {
    let mut cli = Cli::command();
    cli.build();
    match cli.find_subcommand_mut("run") {
        Some(run) => run.error(kind, message),
        None => cli.error(kind, message),
    }
}

fn levels() -> impl TypedValueParser<Value = LevelFilter> {
    let names = ["off", "error", "warn", "info", "debug", "trace"];
    PossibleValuesParser::new(names).try_map(|level| level.parse::<LevelFilter>())
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = times::parse(text)?;
    if timeout.is_zero() {
        return Err("a timeout of zero would stop the run before it starts".into());
    }
    Ok(timeout)
}

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
