//! [`LogFormat`]: how `quell serve` writes its log.

use clap::ValueEnum;

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people if stderr is a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Human,
    /// A JSON object on each line.
    Json,
}
