//! [`ClientCommand`]: the commands of a running server.

use std::process::ExitCode;

use clap::Subcommand;

use super::cancel::{CANCEL_AFTER_HELP, CancelArgs, cancel};
use super::logs::{LOGS_AFTER_HELP, LogsArgs, logs};
use super::pausing::{PAUSE_AFTER_HELP, PauseArgs, RESUME_AFTER_HELP, ResumeArgs, pause, resume};
use super::ps::{PS_AFTER_HELP, PsArgs, ps};
use super::top::{TOP_AFTER_HELP, TopArgs, top};
use super::tree::{TREE_AFTER_HELP, TreeArgs, tree};
use super::watch::{WATCH_AFTER_HELP, WatchArgs, watch};

/// What to ask a running server.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// List the runs of a running server
    #[command(after_help = PS_AFTER_HELP)]
    Ps(PsArgs),
    /// Draw the tree of a run of a running server as it stands
    #[command(after_help = TREE_AFTER_HELP)]
    Tree(TreeArgs),
    /// Watch a run of a running server until nothing of it executes, and each stop as it proceeds
    #[command(after_help = WATCH_AFTER_HELP)]
    Watch(WatchArgs),
    /// Print the events of a run of a running server, or follow them
    #[command(after_help = LOGS_AFTER_HELP)]
    Logs(LogsArgs),
    /// Stop runs of a running server, those that are named or all that a filter means
    #[command(after_help = CANCEL_AFTER_HELP)]
    Cancel(CancelArgs),
    /// Ask a run of a running server to pause at its next checkpoint
    #[command(after_help = PAUSE_AFTER_HELP)]
    Pause(PauseArgs),
    /// Give a paused run of a running server its answer
    #[command(after_help = RESUME_AFTER_HELP)]
    Resume(ResumeArgs),
    /// Show what a running server executes, with the stops that are under way, until `q`
    #[command(after_help = TOP_AFTER_HELP)]
    Top(TopArgs),
}

/// Asks the server, and yields the exit code.
pub(crate) fn run(command: &ClientCommand) -> ExitCode {
    match command {
        ClientCommand::Ps(args) => ps(args),
        ClientCommand::Tree(args) => tree(args),
        ClientCommand::Watch(args) => watch(args),
        ClientCommand::Logs(args) => logs(args),
        ClientCommand::Cancel(args) => cancel(args),
        ClientCommand::Pause(args) => pause(args),
        ClientCommand::Resume(args) => resume(args),
        ClientCommand::Top(args) => top(args),
    }
}
