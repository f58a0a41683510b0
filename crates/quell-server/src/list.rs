//! `quell list`: the components that `quell run` can start by name.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use quell_flow::{Component, Part};
use quell_report::text::printable;
use serde_json::{Value, json};

use crate::config;
use crate::faults::{check_of, refused_shortly};
use crate::stdout;

/// What `quell list` is told.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// What there is: a file like `quell.toml`, which is the default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print one line of JSON per component
    #[arg(long)]
    json: bool,
}

/// Lists the components, and yields the exit code: 0, or 2 if the file is wrong.
pub(crate) fn run(args: &ListArgs) -> ExitCode {
    let catalog = match config::catalog(args.config.as_deref()) {
        Ok((catalog, _)) => catalog,
        Err(faults) => {
            let file = args.config.as_deref().unwrap_or(Path::new(config::DEFAULT));
            return refused_shortly(&faults, &check_of(file));
        }
    };
    let mut text = String::new();
    for component in catalog.components() {
        if args.json {
            let _ = writeln!(text, "{}", to_json(component));
        } else {
            describe(&mut text, component);
        }
    }
    stdout::say(&text)
}

fn describe(text: &mut String, component: &Component) {
    let name = component.name();
    let name = printable(&name);
    match component.description() {
        // The first line says what it is.
        Some(words) => {
            let first = printable(words.lines().next().unwrap_or_default());
            let _ = writeln!(text, "{name:<32} {first}");
        }
        None => {
            let _ = writeln!(text, "{name}");
        }
    }
    parts(text, component.parts(), 1);
}

/// Recurses once per level of steps, which plans bound.
fn parts(text: &mut String, all: &[Part], depth: usize) {
    for part in all {
        let how = if part.is_parallel { " (parallel)" } else { "" };
        let who = part.agent.as_ref().map(|agent| format!(" by {}", printable(agent)));
        let (name, who) = (printable(&part.name), who.unwrap_or_default());
        let _ = writeln!(text, "{:indent$}{name}{who}{how}", "", indent = depth * 2);
        parts(text, &part.parts, depth + 1);
    }
}

fn to_json(component: &Component) -> Value {
    json!({
        "name": component.name(),
        "kind": component.kind().as_str(),
        "id": component.id(),
        "description": component.description(),
        "parts": component.parts().iter().map(part).collect::<Vec<_>>(),
    })
}

fn part(part: &Part) -> Value {
    json!({
        "name": part.name,
        "agent": part.agent,
        "parallel": part.is_parallel,
        "parts": part.parts.iter().map(self::part).collect::<Vec<_>>(),
    })
}
