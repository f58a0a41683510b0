//! `quell plan`: what a plan may say, what is wrong with one, and what it does.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use quell_flow::{PLAN_SCHEMA, Plan, PlanError, PlanFormat, PlanRefusal, path_text};

use crate::config;
use crate::exit::EXIT_USAGE;
use crate::faults::{listed, plan_check_of, refused_shortly, warned};
use crate::help::PLAN_CHECK_AFTER_HELP;
use crate::stdout;

/// What `quell plan` is told.
#[derive(Debug, Subcommand)]
pub(crate) enum PlanCommand {
    /// Print the JSON Schema of the format, for editors and other programs
    Schema,
    /// Say what is wrong with plans: every fault, with file, line, column and what would be right;
    /// and warn of what is no fault, such as a template that a shell would read as its own
    #[command(after_help = PLAN_CHECK_AFTER_HELP)]
    Check(CheckArgs),
    /// Draw a plan as the tree of what it runs. Commands and conditions are shown as they are
    /// written, also where messages would leave out what may be a secret
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The plans: files, `.toml`, `.json` or `.yaml`; `-` is one on stdin, in any of these formats
    #[arg(value_name = "PLAN", required = true)]
    plans: Vec<PathBuf>,

    /// Look up the components that the plans name in this file, which is checked in any case.
    /// Without it in `quell.toml`, if that is there and a plan names one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The plan: a file, `.toml`, `.json` or `.yaml`; or `-`, which reads one from stdin
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
}

/// Does it, and yields the exit code: 0, or 2 if a plan has a fault.
pub(crate) fn run(command: &PlanCommand) -> ExitCode {
    match command {
        PlanCommand::Schema => stdout::say(PLAN_SCHEMA),
        PlanCommand::Check(args) => check(args),
        PlanCommand::Show(args) => match load(&args.plan) {
            Ok(plan) => stdout::say(&plan.to_string()),
            Err(refusal) => refused_shortly(refusal.faults(), &plan_check_of(&args.plan, None)),
        },
    }
}

/// Reads a plan from a file, or from stdin if it is called `-`. Waits for no writer of a pipe.
///
/// # Errors
///
/// Fails with every fault of the plan.
pub(crate) fn load(path: &Path) -> Result<Plan, PlanRefusal> {
    if is_stdin(path) {
        return Plan::read_checked(io::stdin().lock(), STDIN_NAME);
    }
    let is_special = |found: fs::Metadata| !found.is_file() && !found.is_dir();
    // `/dev/stdin` may be a file, whose format nobody knows.
    let is_stream = path.starts_with("/dev") && PlanFormat::of(path).is_err();
    if is_stream || fs::metadata(path).is_ok_and(is_special) {
        let words = "is no regular file; expected one, or `-`, which reads a plan from stdin";
        return Err(PlanError::new(words).in_file(path).into());
    }
    config::load_plan(path)
}

/// Tells whether a plan is read from stdin.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn check(args: &CheckArgs) -> ExitCode {
    let mut words = String::new();
    let mut faults = String::new();
    for path in &args.plans {
        match load(path) {
            Ok(plan) => {
                warn(&plan);
                match config::linked(plan, args.config.as_deref()) {
                    Ok(_) => {
                        let name = if is_stdin(path) { Path::new(STDIN_NAME) } else { path };
                        let _ = writeln!(words, "{}: ok", path_text(name));
                    }
                    Err(found) => faults.push_str(&lines(&found)),
                }
            }
            Err(refusal) => faults.push_str(&lines(&all_of(refusal, args.config.as_deref()))),
        }
    }
    let code = stdout::say(&words);
    if faults.is_empty() { code } else { refused(&faults) }
}

/// Warns of what is no fault of a plan, in the order of its lines.
fn warn(plan: &Plan) {
    let all = [plan.warnings(), &config::missing_of(plan)].concat();
    stdout::complain(&warned(&config::in_order(all)));
}

/// Yields the faults of a plan, with those of the components that the rest of it names, and warns
/// of that.
fn all_of(refusal: PlanRefusal, config: Option<&Path>) -> Vec<PlanError> {
    let Some(rest) = refusal.rest() else { return refusal.into_faults() };
    warn(rest);
    let unknown = config::linked(rest.clone(), config).err().unwrap_or_default();
    config::in_order([refusal.into_faults(), unknown].concat())
}

fn lines(faults: &[PlanError]) -> String {
    listed(faults, 0) + "\n"
}

fn refused(faults: &str) -> ExitCode {
    stdout::complain(faults);
    ExitCode::from(EXIT_USAGE)
}

/// The name of stdin in messages.
const STDIN_NAME: &str = "stdin";
