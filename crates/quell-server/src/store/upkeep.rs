//! `quell store`: what is done with a store, also while processes have it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use quell_report::text::printable;

use super::place::{Place, is_no_path, places};
use super::store_args::named;
use super::surveyed::surveyed;
use crate::exit::EXIT_USAGE;
use crate::stdout;

/// What `quell store` does.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Check that the file of a store is whole, and that all in it can be read; or the settings of
    /// the server of a database, and that its runs can be read. Nothing is changed
    #[command(after_help = CHECK_AFTER_HELP)]
    Check(CheckArgs),
    /// Copy the file of a store as it is at one instant to a place where there is nothing yet
    #[command(after_help = BACKUP_AFTER_HELP)]
    Backup(BackupArgs),
}

/// What `quell store check` is told.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The file of the store, or the database, as `postgres://USER@HOST/DATABASE`. Processes may
    /// have it meanwhile
    #[arg(
        value_name = "FILE | URL",
        value_parser = places(),
        required_unless_present_any = ["store", "store_env"],
        conflicts_with_all = ["store", "store_env"]
    )]
    file: Option<Place>,

    /// The same, as other commands name it
    #[arg(
        long,
        value_name = "FILE | URL",
        value_parser = places(),
        conflicts_with = "store_env"
    )]
    store: Option<Place>,

    /// The environment variable that has the address of the database: others can read a command
    /// line
    #[arg(long, value_name = "NAME")]
    store_env: Option<String>,
}

/// What `quell store backup` is told.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The file of the store. A process may have it meanwhile
    #[arg(value_name = "FILE", value_parser = places())]
    file: Place,

    /// Where the copy is to be. It is there whole or not at all
    #[arg(value_name = "TO")]
    to: PathBuf,
}

/// Does it, and yields the exit code: 0, or 2 if there is something wrong.
pub(crate) fn upkeep(command: &StoreCommand) -> ExitCode {
    let done = match command {
        StoreCommand::Check(CheckArgs { file, store, store_env }) => {
            let store = file.as_ref().or(store.as_ref());
            named(store, store_env.as_deref()).and_then(|place| match &place {
                Place::File(file) => check(&place, file).map(|()| line(&format!("{place}: fine"))),
                Place::Database(database) => surveyed(&place, database),
            })
        }
        StoreCommand::Backup(BackupArgs { file, to }) => match file {
            Place::File(file) => backup(file, to)
                .map(|()| line(&format!("{}: copied to {}", file.display(), to.display())))
                .map_err(|words| line(&words)),
            Place::Database(_) => Err(line(&format!(
                "{file} is a database, which its own programs copy: \
                 `pg_dump --schema=quell --file={} DATABASE`",
                to.display()
            ))),
        },
    };
    match done {
        Ok(words) => stdout::say(&format!("{words}\n")),
        Err(words) => {
            stdout::complain(&format!("error: {words}\n"));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Writes words as one line, whatever is in a path.
fn line(words: &str) -> String {
    printable(words).into_owned()
}

fn check(place: &Place, file: &Path) -> Result<(), String> {
    let found = quell_sqlite::check(file).map_err(|error| place.told(&error))?;
    let all = match found.len() {
        0 => return Ok(()),
        1 => "1 thing in it cannot".to_owned(),
        all => format!("{all} things in it cannot"),
    };
    let file = file.display().to_string();
    let mut words = format!("{}: the file is whole, and {all} be read:", printable(&file));
    for one in found.iter().take(SHOWN_MAX) {
        words.extend(["\n       ", &*printable(&one.to_string())]);
    }
    match found.len().saturating_sub(SHOWN_MAX) {
        0 => {}
        more => words.extend(["\n       and ", &more.to_string(), " more"]),
    }
    Err(words)
}

fn backup(file: &Path, to: &Path) -> Result<(), String> {
    if to.to_str().is_some_and(is_no_path) {
        return Err("a copy is a file, and this is the address of a database: name a path".into());
    }
    if to.try_exists().unwrap_or(false) {
        return Err(format!("{} is there already; name a place where nothing is", to.display()));
    }
    let failed = |error| format!("copying {} to {}: {error}", file.display(), to.display());
    quell_sqlite::backup(file, to).map_err(failed)
}

/// The most that is shown of what cannot be read. The others are counted.
const SHOWN_MAX: usize = 20;

const CHECK_AFTER_HELP: &str = "\
Exit codes:
  0   all is fine
  2   bad usage; or the store is damaged, or cannot be read, or something in it cannot

Examples:
  quell store check runs.db
  quell store check --store-env QUELL_STORE";

const BACKUP_AFTER_HELP: &str = "\
A copy is a store of its own. To put it in the place of a damaged one, end all that has that, move
FILE, FILE-wal and FILE-shm away, all three, and copy TO to FILE. A log (FILE-wal) that stays is
that of the damaged file, and would be written into the copy.

Exit codes:
  0   copied
  2   bad usage; or the store is damaged, or cannot be read, or the copy cannot be written

Examples:
  quell store backup runs.db copy.db";
