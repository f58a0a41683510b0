//! [`ClientCommand`]: the commands of a running server.

use std::process::ExitCode;

use clap::Subcommand;

use super::cancel::{CANCEL_AFTER_HELP, CancelArgs, cancel};
use super::pausing::{PAUSE_AFTER_HELP, PauseArgs, RESUME_AFTER_HELP, ResumeArgs, pause, resume};
use super::ps::{PS_AFTER_HELP, PsArgs, ps};

/// What to ask a running server.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// List the runs of a running server
    #[command(after_help = PS_AFTER_HELP)]
    Ps(PsArgs),
    /// Stop runs of a running server, those that are named or all that a filter means
    #[command(after_help = CANCEL_AFTER_HELP)]
    Cancel(CancelArgs),
    /// Ask a run of a running server to pause at its next checkpoint
    #[command(after_help = PAUSE_AFTER_HELP)]
    Pause(PauseArgs),
    /// Give a paused run of a running server its answer
    #[command(after_help = RESUME_AFTER_HELP)]
    Resume(ResumeArgs),
}

/// Asks the server, and yields the exit code.
pub(crate) fn run(command: &ClientCommand) -> ExitCode {
    match command {
        ClientCommand::Ps(args) => ps(args),
        ClientCommand::Cancel(args) => cancel(args),
        ClientCommand::Pause(args) => pause(args),
        ClientCommand::Resume(args) => resume(args),
    }
}
