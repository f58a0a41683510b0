//! [`Survivors`]: what is still alive of a process group, and of what left it.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};

use super::system::signal_stray;

/// The program of which something may be alive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sought<'a> {
    /// Its group; none if it has none yet, or if the number can be another's by now.
    pub(crate) group: Option<Pid>,
    /// When its leader began. Without it nobody is in doubt.
    pub(crate) since: Option<u64>,
    pub(crate) mark: &'a str,
}

/// What is alive of a group, and of what left it.
#[derive(Debug, Default)]
pub(crate) struct Survivors {
    /// Whether there is nothing else. Without that, nothing found means nothing.
    pub(super) is_all: bool,
    pub(super) has_members: bool,
    /// What left the group and carries the mark, by handles that cannot come to mean another
    /// process.
    pub(super) strays: Vec<OwnedFd>,
    /// What left the group and hides its environment, but descends from the program.
    pub(super) hidden: Hidden,
    /// Whether something is alive that may have left the group, or be a stranger: it hides its
    /// environment. It is never signalled.
    pub(super) is_in_doubt: bool,
}

impl Survivors {
    /// Tells whether nothing is alive, but for what is [in doubt](Self::is_in_doubt).
    pub(crate) const fn is_empty(&self) -> bool {
        self.is_all && !self.has_members && self.strays.is_empty() && self.hidden.0.is_empty()
    }

    /// Tells whether something is alive of which it cannot be known whether it left the group.
    pub(crate) const fn is_in_doubt(&self) -> bool {
        self.is_in_doubt
    }

    /// Yields the descendants that are known by their parents only: once those have ended, nothing
    /// tells them from strangers.
    pub(crate) fn into_hidden(self) -> Hidden {
        self.hidden
    }

    /// Signals what left the group. One that is gone by now, or that belongs to another user,
    /// cannot be signalled.
    pub(crate) fn signal(&self, signal: Signal) {
        for stray in &self.strays {
            signal_stray(stray, signal);
        }
        self.hidden.signal(signal);
    }
}

/// Descendants that left the group and hide their environment, by handles.
#[derive(Debug, Default)]
pub(crate) struct Hidden(Vec<OwnedFd>);

impl Hidden {
    /// Adds one, unless there are [too many](HIDDEN_MAX).
    #[cfg(target_os = "linux")]
    pub(crate) fn push(&mut self, process: OwnedFd) {
        if self.0.len() < HIDDEN_MAX {
            self.0.push(process);
        }
    }

    /// Tells whether none of them is alive.
    pub(crate) fn have_ended(&self) -> bool {
        let mut ends: Vec<_> = self.0.iter().map(|it| PollFd::new(it, PollFlags::IN)).collect();
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::io::retry_on_intr(|| poll(&mut ends, Some(&at_once))) == Ok(self.0.len())
    }

    /// Signals them. One that is gone by now cannot be signalled.
    pub(crate) fn signal(&self, signal: Signal) {
        for process in &self.0 {
            signal_stray(process, signal);
        }
    }
}

/// How many hidden descendants of one program are known at once. Each costs a descriptor while the
/// program is being stopped; what is beyond is in doubt when its parents have ended.
#[cfg(target_os = "linux")]
const HIDDEN_MAX: usize = 64;

/// Hidden descendants that are killed when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct KilledOnDrop(pub(crate) Hidden);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        self.0.signal(Signal::KILL);
    }
}

/// The environment variable by which descendants are known: marks, separated by commas.
pub(crate) const MARKS: &str = "QUELL_PROCESS_IDS";
