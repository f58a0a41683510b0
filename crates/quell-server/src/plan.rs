//! `quell plan`: what a plan may say, what is wrong with one, and what it does.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use quell_flow::{PLAN_SCHEMA, Plan, PlanError};

use crate::config;
use crate::exit::EXIT_USAGE;
use crate::faults::{listed, warned};
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
    /// Draw a plan as the tree of what it runs
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The plans: files, `.toml`, `.json` or `.yaml`
    #[arg(value_name = "PLAN", required = true)]
    plans: Vec<PathBuf>,

    /// Look up the components that the plans name in this file. Without it in `quell.toml`, if
    /// that is there and a plan names one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The plan: a file, `.toml`, `.json` or `.yaml`
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
}

/// Does it, and yields the exit code: 0, or 2 if a plan has a fault.
pub(crate) fn run(command: &PlanCommand) -> ExitCode {
    match command {
        PlanCommand::Schema => stdout::say(PLAN_SCHEMA),
        PlanCommand::Check(args) => check(args),
        PlanCommand::Show(args) => match Plan::load_all(&args.plan) {
            Ok(plan) => stdout::say(&plan.to_string()),
            Err(faults) => refused(&lines(&faults)),
        },
    }
}

fn check(args: &CheckArgs) -> ExitCode {
    let mut words = String::new();
    let mut faults = String::new();
    for path in &args.plans {
        match Plan::load_all(path) {
            Ok(plan) => {
                let missing = config::missing_of(&plan);
                stdout::complain(&warned(&[plan.warnings(), &missing].concat()));
                match config::linked(plan, args.config.as_deref()) {
                    Ok(_) => {
                        let _ = writeln!(words, "{}: ok", path.display());
                    }
                    Err(found) => faults.push_str(&lines(&found)),
                }
            }
            Err(found) => faults.push_str(&lines(&found)),
        }
    }
    let code = stdout::say(&words);
    if faults.is_empty() { code } else { refused(&faults) }
}

fn lines(faults: &[PlanError]) -> String {
    listed(faults, 0) + "\n"
}

fn refused(faults: &str) -> ExitCode {
    stdout::complain(faults);
    ExitCode::from(EXIT_USAGE)
}
