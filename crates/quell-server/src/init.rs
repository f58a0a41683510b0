//! `quell init`: an example of a configuration, which runs as it is.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::config::DEFAULT;
use crate::exit::EXIT_USAGE;
use crate::stdout;

/// What `quell init` is told.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The file to write. Its plan, `publish.toml`, is written beside it
    #[arg(value_name = "FILE", default_value = DEFAULT)]
    file: PathBuf,
}

/// Writes the example, and yields the exit code: 0, or 2 if a file is already there.
pub(crate) fn run(args: &InitArgs) -> ExitCode {
    let file = &args.file;
    let plan = file.with_file_name("publish.toml");
    match write(file, &plan) {
        Ok(()) => stdout::say(&next(file, &plan)),
        Err(error) => {
            stdout::complain(&format!("error: {error}\n"));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Writes both files, or says why neither was written.
fn write(file: &Path, plan: &Path) -> Result<(), String> {
    // Both are opened before one is written, so that nothing is left if the second is there.
    let mut open = new(file)?;
    let mut open_plan = new(plan).inspect_err(|_| drop(std::fs::remove_file(file)))?;
    let failed = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    open.write_all(EXAMPLE.as_bytes()).map_err(|error| failed(file, error))?;
    open_plan.write_all(PLAN.as_bytes()).map_err(|error| failed(plan, error))
}

/// Makes a file that is not there yet.
fn new(path: &Path) -> Result<File, String> {
    File::create_new(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{} is there already; expected the name of a new file", path.display())
        }
        _ => format!("{} cannot be written: {error}", path.display()),
    })
}

fn next(file: &Path, plan: &Path) -> String {
    let (file, plan) = (file.display(), plan.display());
    format!(
        "wrote {file} and {plan}; next:\n\n  \
         quell check {file}\n  \
         quell run agent/writer --config {file} --input '\"tea\"'\n  \
         quell serve --config {file}\n  \
         curl {RUNS} --json '{{\"component\": \"team/desk\"}}'\n  \
         curl {RUNS}\n"
    )
}

const RUNS: &str = "http://127.0.0.1:7777/v1/runs";
const EXAMPLE: &str = include_str!("example/quell.toml");
const PLAN: &str = include_str!("example/publish.toml");
