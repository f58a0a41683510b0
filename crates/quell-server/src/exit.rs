//! [`EXIT_FAILED`], [`EXIT_USAGE`] and [`EXIT_PAUSED`] are the exit codes of a failure, of a
//! refusal and of a run that is left paused; [`exit_code`] yields that of any run.

use quell::RunStatus;

/// The exit code of a run that failed, or whose report could not be written at its end, and of a
/// server that has lost its place among others, cannot reach their database, or finds a process
/// there that has its name: started again, it may go well.
pub(crate) const EXIT_FAILED: u8 = 1;

/// The exit code when nothing was started: wrong usage, a faulty plan or configuration, a report
/// file that cannot be opened, an address that cannot be listened on.
pub(crate) const EXIT_USAGE: u8 = 2;

/// The exit code of a run that waits for an answer in its store, when nobody gives it.
pub(crate) const EXIT_PAUSED: u8 = 3;

/// Yields the exit code of a command that has shown a run until it stood so.
pub(crate) const fn exit_code(status: RunStatus) -> u8 {
    match status {
        RunStatus::Completed => 0,
        RunStatus::Paused => EXIT_PAUSED,
        RunStatus::Queued | RunStatus::Running | RunStatus::Stopping | RunStatus::Failed => {
            EXIT_FAILED
        }
        RunStatus::TimedOut => 124,
        RunStatus::Cancelled => 130,
    }
}
