//! [`in_full`], [`listed`], [`refused`] and [`warned`]: the messages of errors, of lists of faults
//! and of warnings.

use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

use quell_flow::{PlanError, limits};

use crate::exit::EXIT_USAGE;
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

/// Yields the first faults of plans, each with the line of its text below it, and how many more
/// there are. Every line but the first is indented by so many columns.
pub(crate) fn listed(faults: &[PlanError], indent: usize) -> String {
    let mut lines = Vec::new();
    for fault in faults.iter().take(SHOWN_MAX) {
        lines.push(in_full(fault));
        lines.extend(fault.snippet());
    }
    // The search ends at a bound: nobody knows how many faults there are beyond it.
    let at_least = if faults.len() < limits::PLAN_FAULTS_MAX { "" } else { "at least " };
    match faults.len().saturating_sub(SHOWN_MAX) {
        0 => {}
        1 => lines.push("and 1 more fault".to_owned()),
        more => lines.push(format!("and {at_least}{more} more faults")),
    }
    lines.join("\n").replace('\n', &format!("\n{:indent$}", ""))
}

/// As [`listed`], below `error: `, which the caller writes.
pub(crate) fn under_error(faults: &[PlanError]) -> String {
    listed(faults, "error: ".len())
}

/// Says what is wrong on stderr, and yields the exit code of a refusal.
pub(crate) fn refused(faults: &[PlanError]) -> ExitCode {
    stdout::complain(&format!("error: {}\n", under_error(faults)));
    ExitCode::from(EXIT_USAGE)
}

/// Yields the first warnings of plans, each with the line of its text below it; nothing if there
/// are none.
pub(crate) fn warned(warnings: &[PlanError]) -> String {
    let margin = format!("\n{:1$}", "", "warning: ".len());
    let mut lines = String::new();
    for warning in warnings.iter().take(SHOWN_MAX) {
        let _ = writeln!(lines, "warning: {warning}");
        if let Some(snippet) = warning.snippet() {
            let _ = writeln!(lines, "{}{}", &margin[1..], snippet.replace('\n', &margin));
        }
    }
    match warnings.len().saturating_sub(SHOWN_MAX) {
        0 => {}
        more => drop(writeln!(lines, "warning: and {more} more")),
    }
    lines
}

/// The faults of a plan that are shown. The others are counted.
const SHOWN_MAX: usize = 20;
