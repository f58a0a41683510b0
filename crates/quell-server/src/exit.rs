//! The exit codes that do not say how a run ended.

/// The exit code for a run that failed, or whose report could not be written.
pub(crate) const EXIT_FAILED: u8 = 1;

/// The exit code for bad usage, a bad plan or an unwritable report: nothing was started.
pub(crate) const EXIT_USAGE: u8 = 2;
