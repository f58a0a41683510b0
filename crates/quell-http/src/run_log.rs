//! [`started`] and [`ended`]: what subscribers of `tracing` are told of the runs that callers
//! started, under the ids that these know, and under those by which the engine tells of every run.

use quell::RunRef;
use quell_flow::{COMPONENT, ComponentKind, Contract};

use crate::ids::external_id;
use crate::run_state::status_name;

/// Tells that a run was accepted.
pub(crate) fn started(run: &RunRef, contract: Contract) {
    if !tracing::enabled!(tracing::Level::INFO) {
        return;
    }
    tracing::info!(
        run.id = printable(&external_id(run)),
        run.uuid = %run.id(),
        run.component = component(run),
        run.owner = run.owner().map(printable),
        contract = contract.name(),
        "run accepted"
    );
}

/// Tells how a run ended, why if it failed, and how long it took from its acceptance on. The reason
/// may quote what a program wrote on stderr. One that this engine has no more, and that has not
/// ended, is not said to have: it is paused in the store, say, or another node has it.
pub(crate) fn ended(run: &RunRef) {
    if !tracing::enabled!(tracing::Level::INFO) {
        return;
    }
    let row = run.row();
    let what = if row.status.is_terminal() { "run ended" } else { "run left as it is" };
    let took = row.ended_at.and_then(|at| at.duration_since(row.queued_at).ok());
    tracing::info!(
        run.id = printable(&external_id(run)),
        run.uuid = %run.id(),
        run.component = component(run),
        run.owner = run.owner().map(printable),
        status = status_name(row.status),
        quiescent = row.quiescent,
        cause = row.cause.as_deref().map(|cause| cause.kind.as_str()),
        error = row.error.as_deref().map(|error| printable_to(error, ERROR_BYTES_MAX)),
        duration_ms = took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        "{what}"
    );
}

/// Yields the name of what a run is of.
fn component(run: &RunRef) -> String {
    let kind = ComponentKind::of_run(run.kind());
    printable(&format!("{kind}/{}", run.label(COMPONENT).unwrap_or_default()))
}

/// As [`printable_to`], for a text of a caller.
fn printable(text: &str) -> String {
    printable_to(text, BYTES_MAX)
}

/// Yields a text as one that fits into a line: cut at a bound, and what is not printed as itself is
/// escaped, control characters as well. Quotes stay as they are.
fn printable_to(text: &str, bytes_max: usize) -> String {
    let mut all = String::new();
    for c in text.chars() {
        let length = all.len();
        if matches!(c, '"' | '\'' | '\\') {
            all.push(c);
        } else {
            all.extend(c.escape_debug());
        }
        if all.len() > bytes_max {
            all.truncate(length);
            all.push('…');
            break;
        }
    }
    all
}

/// The longest text of a caller in a line, in bytes. More is cut.
const BYTES_MAX: usize = 128;

/// The longest reason of a failure in a line, in bytes. More is cut.
const ERROR_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_callers_fit_into_a_line_and_are_printable() {
        for (text, line) in [
            ("run-1", "run-1".to_owned()),
            ("grün \"x\"", "grün \"x\"".to_owned()),
            ("a\nb\u{1b}[31m\u{202e}", "a\\nb\\u{1b}[31m\\u{202e}".to_owned()),
            (&"x".repeat(500), format!("{}…", "x".repeat(BYTES_MAX))),
            (&"ü".repeat(500), format!("{}…", "ü".repeat(BYTES_MAX / 2))),
        ] {
            assert_eq!(printable(text), line);
        }
    }
}
