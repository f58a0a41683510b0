//! What is still alive of a process group, and of what left it.

#[cfg_attr(target_os = "linux", path = "survivors/linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "survivors/elsewhere.rs")]
mod system;

use std::os::fd::OwnedFd;

use rustix::process::Signal;

pub(crate) use system::{began, condemn, find, find_blocking, find_each, prepare};

/// What is alive of a group, and of what left it.
#[derive(Debug, Default)]
pub(crate) struct Survivors {
    /// Whether there is nothing else. Without that, nothing found means nothing.
    is_all: bool,
    has_members: bool,
    /// What left the group, by handles that cannot come to mean another process.
    strays: Vec<OwnedFd>,
}

impl Survivors {
    /// Tells whether it is known that nothing is alive.
    pub(crate) const fn is_empty(&self) -> bool {
        self.is_all && !self.has_members && self.strays.is_empty()
    }

    /// Signals what left the group. One that is gone by now, or that belongs to another user,
    /// cannot be signalled.
    pub(crate) fn signal(&self, signal: Signal) {
        for stray in &self.strays {
            system::signal_stray(stray, signal);
        }
    }
}

/// The environment variable by which descendants are known: marks, separated by commas.
pub(crate) const MARKS: &str = "QUELL_PROCESS_IDS";
