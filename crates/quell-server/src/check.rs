//! `quell check`: everything that is wrong with a configuration and its plans.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use quell_flow::{ComponentKind, path_text};

use crate::config::{Asked, Checked, DEFAULT, Refused};
use crate::faults::{refused, warned};
use crate::stdout;

/// What `quell check` is told.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// What `quell serve --config` would read
    #[arg(value_name = "FILE", default_value = DEFAULT)]
    file: PathBuf,
}

/// Checks it, starts nothing, and yields the exit code: 0, or 2 if there is a fault.
pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    match Checked::load(Some(&args.file), Asked::default()) {
        Ok(checked) => {
            stdout::complain(&warned(&checked.warnings));
            stdout::say(&format!("{}: {}: fine\n", path_text(&args.file), summary(&checked)))
        }
        Err(Refused { faults, warnings }) => {
            stdout::complain(&warned(&warnings));
            refused(&faults)
        }
    }
}

fn summary(checked: &Checked) -> String {
    let of_kind = |kind: ComponentKind| {
        let all = checked.catalog.components();
        (all.filter(|component| component.kind() == kind).count(), kind.as_str())
    };
    let (keys, tokens) = checked.config.credentials();
    let counts = ComponentKind::ALL
        .map(of_kind)
        .into_iter()
        .chain([(keys, "key"), (tokens, "issuer of tokens")]);
    let counts: Vec<String> = counts.filter(|(count, _)| *count > 0).map(counted).collect();
    counts.join(", ")
}

fn counted((count, what): (usize, &str)) -> String {
    match (count, what) {
        (1, what) => format!("1 {what}"),
        (_, "issuer of tokens") => format!("{count} issuers of tokens"),
        (_, what) => format!("{count} {what}s"),
    }
}
