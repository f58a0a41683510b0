//! [`in_full`], [`listed`], [`under_error`], [`refused`] and [`warned`]: the messages of errors, of
//! lists of faults and of warnings.
//!
//! What is there to list faults, such as `quell check`, lists all. Other commands show the first
//! ones, and say what lists all.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use quell_flow::{PlanError, limits};

use crate::exit::EXIT_USAGE;
use crate::shell_word::shell_word;
use crate::stdout;

/// Yields the message of an error, followed by those of its sources.
pub(crate) fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

/// Yields the faults of plans, each with the line of its text below it, and says so if there may be
/// more. Every line but the first is indented by so many columns.
pub(crate) fn listed(faults: &[PlanError], indent: usize) -> String {
    let mut lines = lines(faults);
    // The search ends at a bound: nobody knows how many faults there are beyond it.
    if faults.len() >= limits::PLAN_FAULTS_MAX {
        lines.push(format!("there may be more: the search ends at {}", limits::PLAN_FAULTS_MAX));
    }
    indented(&lines, indent)
}

/// Yields all faults as [`listed`] does, below `error: `, which the caller writes.
pub(crate) fn all_under_error(faults: &[PlanError]) -> String {
    listed(faults, ERROR.len())
}

/// Yields the first faults as [`listed`] does, below `error: `, which the caller writes. Of more it
/// yields how many there are, and the command that lists all.
pub(crate) fn under_error(faults: &[PlanError], lister: &str) -> String {
    let mut lines = lines(&faults[..faults.len().min(SHOWN_MAX)]);
    let at_least = if faults.len() < limits::PLAN_FAULTS_MAX { "" } else { "at least " };
    match faults.len().saturating_sub(SHOWN_MAX) {
        0 => {}
        1 => lines.push(format!("and 1 more fault; `{lister}` lists all")),
        more => lines.push(format!("and {at_least}{more} more faults; `{lister}` lists all")),
    }
    indented(&lines, ERROR.len())
}

/// Says everything that is wrong on stderr, and yields the exit code of a refusal.
pub(crate) fn refused(faults: &[PlanError]) -> ExitCode {
    complained(&all_under_error(faults))
}

/// As [`refused`], with the first faults as [`under_error`] has them.
pub(crate) fn refused_shortly(faults: &[PlanError], lister: &str) -> ExitCode {
    complained(&under_error(faults, lister))
}

/// Yields warnings of plans, each with the line of its text below it; nothing if there are none.
pub(crate) fn warned(warnings: &[PlanError]) -> String {
    let margin = format!("\n{:1$}", "", WARNING.len());
    let mut lines = String::new();
    for warning in warnings {
        let _ = writeln!(lines, "{WARNING}{warning}");
        if let Some(snippet) = warning.snippet() {
            let _ = writeln!(lines, "{}{}", &margin[1..], snippet.replace('\n', &margin));
        }
    }
    lines
}

/// As [`warned`], of the first ones. Of more it yields how many there are, and the command that
/// lists all.
pub(crate) fn warned_shortly(warnings: &[PlanError], lister: &str) -> String {
    let mut lines = warned(&warnings[..warnings.len().min(SHOWN_MAX)]);
    match warnings.len().saturating_sub(SHOWN_MAX) {
        0 => {}
        more => drop(writeln!(lines, "{WARNING}and {more} more; `{lister}` lists all")),
    }
    lines
}

/// Yields the command that lists every fault of a configuration.
pub(crate) fn check_of(file: &Path) -> String {
    format!("quell check {}", shell_word(&file.to_string_lossy()))
}

/// Yields the command that lists every fault of a plan, with the components that it names.
pub(crate) fn plan_check_of(plan: &Path, config: Option<&Path>) -> String {
    let word = |path: &Path| shell_word(&path.to_string_lossy());
    let config = config.map(|file| format!(" --config {}", word(file))).unwrap_or_default();
    format!("quell plan check{config} {}", word(plan))
}

fn lines(faults: &[PlanError]) -> Vec<String> {
    faults.iter().flat_map(|fault| [Some(in_full(fault)), fault.snippet()]).flatten().collect()
}

fn indented(lines: &[String], indent: usize) -> String {
    lines.join("\n").replace('\n', &format!("\n{:indent$}", ""))
}

fn complained(words: &str) -> ExitCode {
    stdout::complain(&format!("{ERROR}{words}\n"));
    ExitCode::from(EXIT_USAGE)
}

const ERROR: &str = "error: ";

const WARNING: &str = "warning: ";

/// The faults of a plan that are shown by a command that is not there to list them.
const SHOWN_MAX: usize = 20;
