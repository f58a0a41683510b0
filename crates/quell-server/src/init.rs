//! `quell init`: an example of a configuration, which runs as it is.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use quell_flow::path_text;

use crate::config::DEFAULT;
use crate::exit::EXIT_USAGE;
use crate::shell_word::shell_word;
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
    if file == plan {
        let plan = path_text(plan);
        return Err(format!("{plan} is the plan beside the file; expected another name"));
    }
    let open = NewFile::create(file)?;
    let open_plan = NewFile::create(plan)?;
    open.write(EXAMPLE)?;
    open_plan.write(PLAN)?;
    open.keep();
    open_plan.keep();
    Ok(())
}

/// A file that was not there before. Dropped, it is removed.
struct NewFile<'a> {
    path: &'a Path,
    file: File,
    is_kept: bool,
}

impl<'a> NewFile<'a> {
    fn create(path: &'a Path) -> Result<Self, String> {
        let file = File::create_new(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                format!("{} is there already; expected the name of a new file", path_text(path))
            }
            _ => format!("{} cannot be written: {error}", path_text(path)),
        })?;
        Ok(Self { path, file, is_kept: false })
    }

    fn write(&self, text: &str) -> Result<(), String> {
        let written = (&self.file).write_all(text.as_bytes());
        written.map_err(|error| format!("{} cannot be written: {error}", path_text(self.path)))
    }

    fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            // What cannot be removed stays; the message says what failed.
            let _ = fs::remove_file(self.path);
        }
    }
}

fn next(file: &Path, plan: &Path) -> String {
    let [file, plan] = [file, plan].map(|path| shell_word(&path.to_string_lossy()));
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
