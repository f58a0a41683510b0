//! [`EXIT_FAILED`] and [`EXIT_USAGE`] are the exit codes of a failure and of a refusal.

/// The exit code of a run that failed, or whose report could not be written at its end.
pub(crate) const EXIT_FAILED: u8 = 1;

/// The exit code when nothing was started: wrong usage, a faulty plan or configuration, a report
/// file that cannot be opened, an address that cannot be listened on.
pub(crate) const EXIT_USAGE: u8 = 2;
