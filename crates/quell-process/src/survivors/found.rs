//! [`Survivors`]: what is still alive of a process group, and of what left it; and [`Strays`]: what
//! was found that left it, from one look to the next.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, Signal, getpgid};

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
    pub(super) extent: Extent,
    /// What is in the group: the id of each, and when it began.
    pub(super) members: Vec<(i32, u64)>,
    /// What left the group and carries the mark, or has its number.
    pub(super) strays: Vec<Stray>,
    /// What left the group and hides its environment, has no number, but descends from the program.
    pub(super) hidden: Vec<Stray>,
    /// What may have left the group, or be a stranger: it hides its environment. It is never
    /// signalled.
    pub(super) doubtful: Vec<i32>,
}

impl Survivors {
    /// Tells whether the look met everything that was alive when it began.
    pub(crate) fn is_listed(&self) -> bool {
        self.extent >= Extent::Listed
    }

    /// Tells whether nothing is alive, but for what is [in doubt](Self::is_in_doubt).
    pub(crate) fn is_empty(&self) -> bool {
        self.extent == Extent::All
            && self.members.is_empty()
            && self.strays.is_empty()
            && self.hidden.is_empty()
    }

    /// Tells whether something is alive of which it cannot be known whether it left the group.
    pub(crate) const fn is_in_doubt(&self) -> bool {
        !self.doubtful.is_empty()
    }

    /// Yields the ids of what is in doubt.
    pub(crate) fn doubtful(&self) -> impl Iterator<Item = i32> {
        self.doubtful.iter().copied()
    }

    /// Signals what left the group. One that is gone by now, or that belongs to another user,
    /// cannot be signalled.
    pub(crate) fn signal(&self, signal: Signal) {
        self.strays.iter().chain(&self.hidden).for_each(|it| signal_stray(&it.handle, signal));
    }
}

/// How much a look met of what is alive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Extent {
    /// Nobody knows: nothing found means nothing.
    #[default]
    Unknown,
    /// What was alive when the look began. Something else may have been born.
    Listed,
    All,
}

/// A process that left the group.
#[derive(Debug)]
pub(crate) struct Stray {
    pub(super) id: i32,
    /// When it began. Together with the id it is unique.
    pub(super) began: u64,
    /// Cannot come to mean another process.
    pub(super) handle: OwnedFd,
}

/// What left the group of a program that is being ended. What hides is killed when this is dropped:
/// it is known by its parents only, and once those have ended, nothing tells it from a stranger.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    /// What hides, by handles.
    hidden: Vec<Stray>,
    /// When each began that was asked to end, by number.
    asked: BTreeMap<i32, u64>,
}

impl Strays {
    /// Keeps what hides, unless there is [too much](HIDDEN_MAX) of it. What has ended makes room.
    pub(crate) fn keep_hidden(&mut self, found: Survivors) {
        self.hidden.retain(|it| ended(std::slice::from_ref(it)) != Ok(1));
        for stray in found.hidden {
            let is_known = |it: &Stray| (it.id, it.began) == (stray.id, stray.began);
            if self.hidden.len() < HIDDEN_MAX && !self.hidden.iter().any(is_known) {
                self.hidden.push(stray);
            }
        }
    }

    /// Counts as asked the leader of a group, which is about to be asked wherever it is.
    pub(crate) fn ask_leader(&mut self, leader: Pid, since: Option<u64>) {
        self.asked.extend(since.map(|began| (leader.as_raw_pid(), began)));
    }

    /// Counts as asked what was found in a group that is about to be asked. What has left it since
    /// is not asked with it.
    pub(crate) fn ask_members(&mut self, found: &Survivors, group: Pid) {
        for &(id, began) in &found.members {
            if Pid::from_raw(id).is_some_and(|id| getpgid(Some(id)) == Ok(group)) {
                self.asked.insert(id, began);
            }
        }
    }

    /// Asks what was found, and what is kept, to end: each process once. What is suspended is
    /// resumed, so that it hears.
    pub(crate) fn terminate(&mut self, found: &Survivors) {
        for stray in found.strays.iter().chain(&found.hidden).chain(&self.hidden) {
            if self.asked.insert(stray.id, stray.began) != Some(stray.began) {
                signal_stray(&stray.handle, Signal::TERM);
                signal_stray(&stray.handle, Signal::CONT);
            }
        }
    }

    /// Kills what is kept. One that is gone by now cannot be signalled.
    pub(crate) fn kill_hidden(&self) {
        self.hidden.iter().for_each(|it| signal_stray(&it.handle, Signal::KILL));
    }

    /// Tells whether nothing is alive of what is kept.
    pub(crate) fn have_ended(&self) -> bool {
        ended(&self.hidden) == Ok(self.hidden.len())
    }
}

/// Counts those that have ended.
fn ended(strays: &[Stray]) -> Result<usize, Errno> {
    let handles = strays.iter().map(|it| PollFd::new(&it.handle, PollFlags::IN));
    let mut ends: Vec<_> = handles.collect();
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    retry_on_intr(|| poll(&mut ends, Some(&at_once)))
}

impl Drop for Strays {
    fn drop(&mut self) {
        self.kill_hidden();
    }
}

/// How many hidden descendants of one program are known at once. Each costs a descriptor while the
/// program is being stopped; what is beyond is in doubt when its parents have ended.
pub(super) const HIDDEN_MAX: usize = 64;

/// The environment variable by which descendants are known: marks, separated by commas.
pub(crate) const MARKS: &str = "QUELL_PROCESS_IDS";
